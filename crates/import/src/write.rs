//! The draft as the text of a native manifest.
//!
//! The text is parsed by the model before it is handed out. What the model refuses, because this version does not have it
//! or because the input chose a value that is none, becomes a comment and a note, and the rest is tried again: a line of
//! its own if the table can do without it, else the table. So the rules are the model's, and are not repeated here.

use std::path::Path;

use samara_model::manifest::{self, App, ManifestErrors, Position};

use crate::{
    draft::{Draft, Grants, Origin, Starts, Store, Target, Trigger, Workload},
    note::{Notes, Severity, clean},
    refuse,
};

/// Times the text is parsed, each with less in it. One takes out what is wrong by itself, the next what depended on that.
const MAX_ROUNDS: usize = 12;
/// Characters of a line, above which a list is written over several.
const LINE_CHARS: usize = 120;

/// One table of the text.
#[derive(Debug)]
struct Section {
    comments: Vec<String>,
    pieces: Vec<Piece>,
    /// Whether it is a comment as a whole.
    off: bool,
}

/// One header or key with its value, on one line or more.
#[derive(Debug)]
struct Piece {
    text: String,
    origin: Origin,
    /// Whether the table makes no sense without it.
    essential: bool,
    off: bool,
}

/// The text of a draft and what it says.
///
/// # Errors
/// Not even its head is accepted.
pub(crate) fn write(draft: &Draft, notes: &Notes, file: &Path) -> Result<(String, App), ManifestErrors> {
    let mut sections = sections(draft);
    for _ in 0..MAX_ROUNDS {
        let text = print(&sections);
        let errors = match App::parse(&text, file) {
            Ok(mut app) => {
                in_lines_of_the_input(&mut app, &sections);
                return Ok((text, app));
            }
            Err(errors) => errors,
        };
        let mut refused = Vec::new();
        for problem in &errors.problems {
            let Some((section, piece)) = find(&sections, problem.position.line) else {
                return Err(refuse(file, Position { line: 1, column: 1 }, problem.message.as_str()));
            };
            refused.push((section, piece, problem.message.as_str()));
        }
        turn_off(&mut sections, refused, notes);
    }
    Err(refuse(file, Position { line: 1, column: 1 }, "no part of this makes a native manifest"))
}

/// What is said later about the app names its file, which is the input: lines are those of the input too.
fn in_lines_of_the_input(app: &mut App, sections: &[Section]) {
    let origin = |line: u32| {
        let found = find(sections, line).and_then(|(section, piece)| sections.get(section)?.pieces.get(piece));
        found.map(|piece| piece.origin.at).unwrap_or_default()
    };
    for workload in &mut app.workloads {
        workload.source.position = origin(workload.source.position.line);
        workload.line = origin(workload.line).line;
        for (_, position) in &mut workload.limits.positions {
            *position = origin(position.line);
        }
    }
    for store in &mut app.stores {
        store.line = origin(store.line).line;
    }
    for trigger in &mut app.triggers {
        #[allow(irrefutable_let_patterns, reason = "as long as there is one kind of triggers")]
        if let manifest::Trigger::Http { line, .. } = trigger {
            *line = origin(*line).line;
        }
    }
}

/// Makes comments of what the model refused: whole tables first, whose lines then need no notes of their own.
fn turn_off(sections: &mut [Section], mut refused: Vec<(usize, usize, &str)>, notes: &Notes) {
    let is_essential = |sections: &[Section], section: usize, piece: usize| {
        sections.get(section).and_then(|section| section.pieces.get(piece)).is_some_and(|piece| piece.essential)
    };
    refused.sort_by_key(|(section, piece, _)| !is_essential(sections, *section, *piece));
    for (section, piece, why) in refused {
        let Some(section) = sections.get_mut(section).filter(|section| !section.off) else { continue };
        let Some(piece) = section.pieces.get_mut(piece).filter(|piece| !piece.off) else { continue };
        let name = piece.text.split(" = ").next().unwrap_or_default();
        let what = format!("`{name}` of the native manifest");
        notes.add(Severity::Lost, piece.origin.at, &piece.origin.key, &what, why);
        if piece.essential {
            section.off = true;
        } else {
            piece.off = true;
        }
    }
}

/// The section and piece that a line of the text belongs to.
fn find(sections: &[Section], line: u32) -> Option<(usize, usize)> {
    let line = usize::try_from(line).ok()?;
    let mut at = 1;
    for (s, section) in sections.iter().enumerate() {
        at += section.comments.len();
        for (p, piece) in section.pieces.iter().enumerate() {
            let next = at + piece.text.lines().count();
            if (at..next).contains(&line) {
                return Some((s, p));
            }
            at = next;
        }
        at += 1;
    }
    None
}

fn print(sections: &[Section]) -> String {
    let mut text = String::new();
    for (index, section) in sections.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        for comment in &section.comments {
            text.push_str(&comment_line(comment));
        }
        for piece in &section.pieces {
            for line in piece.text.lines() {
                let prefix = if section.off || piece.off { "# " } else { "" };
                text.push_str(&format!("{prefix}{line}\n"));
            }
        }
    }
    text
}

fn comment_line(comment: &str) -> String {
    format!("# {}\n", clean(comment))
}

fn sections(draft: &Draft) -> Vec<Section> {
    let mut head =
        vec![piece("[app]", &Origin::default(), true), pair("name", &quoted(&draft.name), &Origin::default())];
    if let Some((version, origin)) = &draft.version {
        head.push(Piece { essential: false, ..pair("version", &quoted(version), origin) });
    }
    let mut sections = vec![Section { comments: draft.comments.clone(), pieces: head, off: false }];
    sections.extend(draft.workloads.iter().map(workload));
    sections.extend(draft.stores.iter().map(store));
    sections.extend(draft.triggers.iter().map(trigger));
    sections
}

fn workload(workload: &Workload) -> Section {
    let Workload { name, origin, comments, source, args, grants, limits } = workload;
    let name = key(name);
    let mut pieces = vec![piece(&format!("[workload.{name}]"), origin, true), pair("source", &quoted(source), origin)];
    if !args.is_empty() {
        pieces.push(optional("args", &list(args.iter().map(|arg| quoted(arg))), origin));
    }
    let granted = granted(grants, origin);
    if !granted.is_empty() {
        pieces.push(Piece { essential: false, ..piece(&format!("[workload.{name}.grants]"), origin, false) });
        pieces.extend(granted);
    }
    if !limits.is_empty() {
        pieces.push(piece(&format!("[workload.{name}.limits]"), origin, false));
        pieces.extend(limits.iter().map(|(key, value)| optional(key, value, origin)));
    }
    Section { comments: comments.clone(), pieces, off: false }
}

fn granted(grants: &Grants, origin: &Origin) -> Vec<Piece> {
    let Grants { kv, blob, sql, messaging, http, http_private, fs, env, config, secrets, connect } = grants;
    let mut pieces = Vec::new();
    for (name, texts) in [("kv", kv), ("blob", blob), ("sql", sql)] {
        if !texts.is_empty() {
            pieces.push(optional(name, &texts_list(texts), origin));
        }
    }
    if !messaging.is_empty() {
        let buses: Vec<_> = messaging
            .iter()
            .map(|(store, bus)| {
                let mut fields = vec![format!("store = {}", quoted(store))];
                for (name, subjects) in [("publish", &bus.publish), ("subscribe", &bus.subscribe)] {
                    if !subjects.is_empty() {
                        fields.push(format!("{name} = {}", texts_list(subjects)));
                    }
                }
                format!("{{ {} }}", fields.join(", "))
            })
            .collect();
        let value = if let [only] = buses.as_slice() { only.clone() } else { list(buses.into_iter()) };
        pieces.push(optional("messaging", &value, origin));
    }
    if !http.is_empty() {
        let allow = texts_list(http);
        let value = if *http_private { format!("{{ allow = {allow}, private = true }}") } else { allow };
        pieces.push(optional("http", &value, origin));
    }
    if !fs.is_empty() {
        let folders = fs.iter().map(|folder| {
            let write = if folder.write { ", write = true" } else { "" };
            format!("{{ host = {}, guest = {}{write} }}", quoted(&folder.host), quoted(&folder.guest))
        });
        pieces.push(optional("fs", &list(folders), origin));
    }
    // Each value is a line of its own: one that is refused does not take the others with it.
    for (name, values) in [("env", env), ("config", config), ("secrets", secrets)] {
        pieces.extend(
            values.iter().map(|(named, value)| optional(&format!("{name}.{}", key(named)), &quoted(value), origin)),
        );
    }
    if !connect.is_empty() {
        pieces.push(optional("net", &format!("{{ connect = {} }}", texts_list(connect)), origin));
    }
    pieces
}

fn store(store: &Store) -> Section {
    let Store { name, origin, comments, provider, settings } = store;
    let mut pieces =
        vec![piece(&format!("[store.{}]", key(name)), origin, true), pair("provider", &quoted(provider), origin)];
    if !settings.is_empty() {
        let settings = settings.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value)));
        let value = format!("{{ {} }}", settings.collect::<Vec<_>>().join(", "));
        pieces.push(optional("settings", &value, origin));
    }
    Section { comments: comments.clone(), pieces, off: false }
}

fn trigger(trigger: &Trigger) -> Section {
    let Trigger { origin, starts, target, held_back } = trigger;
    let (name, value) = match starts {
        Starts::Nothing => ("http", "{}".to_owned()),
        Starts::Http { host, methods, path } => {
            let host = host.as_ref().map(|host| format!("host = {}, ", quoted(host))).unwrap_or_default();
            let methods = if methods.is_empty() {
                String::new()
            } else {
                format!("methods = {}, ", list(methods.iter().map(|method| quoted(method))))
            };
            ("http", format!("{{ {host}{methods}path = {} }}", quoted(path)))
        }
        Starts::Every(duration) => ("every", quoted(duration)),
        Starts::Cron(expression) => ("cron", quoted(expression)),
        Starts::Subject { subject, .. } => ("subject", quoted(subject)),
    };
    let mut pieces = vec![piece("[[trigger]]", origin, true), pair(name, &value, origin)];
    if let Starts::Subject { store, .. } = starts {
        pieces.push(optional("store", &quoted(store), origin));
    }
    pieces.push(match target {
        Target::Workload(name) => pair("fn", &quoted(name), origin),
        Target::Reply { status, headers, body } => pair("reply", &reply(*status, headers, body), origin),
    });
    let comments = held_back.iter().map(|why| format!("Held back: {why}.")).collect();
    Section { comments, pieces, off: held_back.is_some() }
}

fn reply(status: u16, headers: &[(String, String)], body: &str) -> String {
    let mut parts = vec![format!("status = {status}")];
    if !headers.is_empty() {
        let headers = headers.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value)));
        parts.push(format!("headers = {{ {} }}", headers.collect::<Vec<_>>().join(", ")));
    }
    if !body.is_empty() {
        parts.push(format!("body = {}", quoted(body)));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn piece(text: &str, origin: &Origin, essential: bool) -> Piece {
    Piece { text: text.to_owned(), origin: origin.clone(), essential, off: false }
}

/// A key that its table needs.
fn pair(key: &str, value: &str, origin: &Origin) -> Piece {
    piece(&format!("{key} = {value}"), origin, true)
}

/// A key that its table can do without.
fn optional(key: &str, value: &str, origin: &Origin) -> Piece {
    piece(&format!("{key} = {value}"), origin, false)
}

fn texts_list(texts: &[String]) -> String {
    list(texts.iter().map(|text| quoted(text)))
}

fn list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<_> = values.collect();
    let one_line = format!("[{}]", values.join(", "));
    if one_line.chars().count() <= LINE_CHARS || one_line.contains('\n') {
        return one_line;
    }
    format!("[\n    {},\n]", values.join(",\n    "))
}

/// A text as a TOML string on one line, whatever is in it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A key, bare if it can be.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}
