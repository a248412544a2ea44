//! Walks a TOML table key by key, remembers what was asked for, and reports all that is wrong.
//!
//! A [`Reader`] is one table, an [`Item`] one value in it. Both answer `None` after they have reported a problem, so
//! that the walk goes on and the next problem is found too. Whatever no one asked for is reported by
//! [`Reader::finish`], with the nearest key that would have been right.

use std::{cell::RefCell, fmt::Display, ops::Range, path::Path};

use serde::Deserialize as _;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{ManifestErrors, Position, Problem, not_yet};

/// Files over this are refused unread; a manifest of a thousand workloads is about a fifth of it.
pub const MAX_MANIFEST_BYTES: usize = 1 << 20;

/// Problems reported of one file; those after it are dropped.
pub const MAX_PROBLEMS: usize = 100;

/// Elements of one list, and names in one table: some checks compare each with each.
pub const MAX_ELEMENTS: usize = 1_000;

/// Candidates that a misspelt word is compared with.
const MAX_CANDIDATES: usize = 256;

/// Characters of one message: a value that is a whole page long does not help to find it.
const MAX_MESSAGE_CHARS: usize = 600;

/// The file being read and its problems so far.
pub(super) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    line_starts: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_breaks).collect();
        Self { file, text, line_starts, problems: RefCell::default() }
    }

    /// The root table; `None` after a problem of syntax or size was reported.
    pub(super) fn parse(&self) -> Option<Spanned<DeTable<'a>>> {
        if self.text.len() > MAX_MANIFEST_BYTES {
            let limit = crate::format_bytes(MAX_MANIFEST_BYTES as u64);
            self.problem(0, format!("the file is over {limit}; split it into several apps"));
            return None;
        }
        let (root, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let found = self.text.get(span.clone()).map(str::trim).filter(|t| !t.is_empty() && !t.contains('\n'));
            let what = error.message();
            let fix = if what.starts_with("duplicate key") { "; remove one or rename it" } else { "" };
            let found = found.map(|text| format!(" at `{text}`")).unwrap_or_default();
            self.problem(span.start, format!("{what}{found}{fix}"));
        }
        errors.is_empty().then_some(root)
    }

    /// The line of an offset, from 1.
    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.line(offset);
        let start = line.checked_sub(1).and_then(|index| self.line_starts.get(index)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position { line: count(line), column: count(column + 1) }
    }

    /// Whether no more problems are taken.
    fn full(&self) -> bool {
        self.problems.borrow().len() >= MAX_PROBLEMS
    }

    /// Reports a problem; control characters of the file never reach a terminal.
    pub(super) fn problem(&self, offset: usize, message: impl Display) {
        if self.full() {
            return;
        }
        let mut clean = String::new();
        for c in message.to_string().chars().take(MAX_MESSAGE_CHARS) {
            if c.is_control() {
                clean.extend(c.escape_default());
            } else {
                clean.push(c);
            }
        }
        self.problems.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            position: self.position(offset),
            message: clean,
        });
    }

    /// What was read, or everything that is wrong with it.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, ManifestErrors> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.position);
        match read {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(ManifestErrors { problems }),
        }
    }
}

/// One table of the file.
pub(super) struct Reader<'a> {
    pub(super) report: &'a Report<'a>,
    /// The kind of table, which `not_yet.rs` knows it by.
    place: &'static str,
    /// Its name as a header writes it: `workload.cart.limits`; empty for the whole file.
    path: String,
    offset: usize,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn root(report: &'a Report<'a>, place: &'static str, root: &'a Spanned<DeTable<'a>>) -> Self {
        Self { report, place, path: String::new(), offset: 0, table: root.get_ref(), asked: Vec::new() }
    }

    /// The value of a key, if the table has it.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.asked.push(key);
        self.table.get_key_value(key).map(|(key, value)| self.item(key, value))
    }

    /// The value of a key that must be there; its absence is reported with the fix.
    pub(super) fn require(&mut self, key: &'static str, example: &str) -> Option<Item<'a>> {
        let item = self.take(key);
        if item.is_none() {
            self.problem(format!("{} has no `{key}`; write `{example}`", label(&self.path)));
        }
        item
    }

    /// Every entry of a table whose keys are names that the author chose.
    pub(super) fn entries(self) -> impl Iterator<Item = Item<'a>> {
        let table = self.table;
        if table.len() > MAX_ELEMENTS {
            self.problem(format!("{} has {} names; write at most {MAX_ELEMENTS}", label(&self.path), table.len()));
        }
        table.iter().take(MAX_ELEMENTS).map(move |(key, value)| self.item(key, value))
    }

    fn item(&self, key: &'a Spanned<std::borrow::Cow<'a, str>>, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        Item {
            report: self.report,
            place: self.place,
            within: self.path.clone(),
            key: key.get_ref(),
            key_offset: key.span().start,
            span: value.span(),
            value: value.get_ref(),
        }
    }

    /// Reports keys that stand here and belong into the table `below` this one.
    pub(super) fn belongs(&mut self, keys: &[&'static str], below: &str) {
        for key in keys {
            if let Some((found, _)) = self.table.get_key_value(*key) {
                self.asked.push(key);
                let message = format!("`{key}` belongs in {}", label(&join(&self.path, below)));
                self.report.problem(found.span().start, message);
            }
        }
    }

    /// Reports a problem of the table as a whole.
    pub(super) fn problem(&self, message: impl Display) {
        self.report.problem(self.offset, message);
    }

    pub(super) fn line(&self) -> u32 {
        self.report.position(self.offset).line
    }

    /// Whether the table has a key that a later version brings (`finish` reports it).
    pub(super) fn waits(&self) -> bool {
        self.table.keys().any(|key| not_yet::refusal(self.place, key.get_ref()).is_some())
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            if self.report.full() {
                return;
            }
            let message = not_yet::refusal(self.place, name).unwrap_or_else(|| {
                let fix = match nearest(name, self.asked.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known keys: {}", self.asked.join(", ")),
                };
                format!("unknown key `{name}` in {}; {fix}", label(&self.path))
            });
            self.report.problem(key.span().start, message);
        }
    }
}

/// One value, with the key it belongs to.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) report: &'a Report<'a>,
    place: &'static str,
    within: String,
    pub(super) key: &'a str,
    key_offset: usize,
    span: Range<usize>,
    value: &'a DeValue<'a>,
}

impl<'a> Item<'a> {
    /// Reports a problem of this value, naming its key.
    pub(super) fn problem(&self, message: impl Display) {
        self.report.problem(self.span.start, format!("`{}` in {}: {message}", self.key, label(&self.within)));
    }

    /// Reports that the value is of the wrong kind, and what to write instead.
    pub(super) fn expected<T>(&self, what: &str) -> Option<T> {
        self.problem(format!("this is {}; write {what}", kind(self.value)));
        None
    }

    pub(super) fn position(&self) -> Position {
        self.report.position(self.span.start)
    }

    /// The line of the key: for a table, the line of its header.
    pub(super) fn line(&self) -> u32 {
        self.report.position(self.key_offset).line
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(super) fn is_array(&self) -> bool {
        self.value.is_array()
    }

    /// A string that is not empty; `example` is what to write instead of anything else.
    pub(super) fn text(&self, example: &str) -> Option<&'a str> {
        let text = self.any_text(example)?;
        if text.is_empty() {
            self.problem(format!("this is empty; write something like `{example}`"));
            return None;
        }
        Some(text)
    }

    /// A string that may be empty.
    pub(super) fn any_text(&self, example: &str) -> Option<&'a str> {
        self.value.as_str().or_else(|| self.expected(&format!("text, such as `{example}`")))
    }

    /// A string, read by a parser whose error says what would do.
    pub(super) fn parse<T, E: Display>(&self, example: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text(example)?;
        parse(text).map_err(|error| self.problem(error)).ok()
    }

    /// A quantity: text with a unit, or a bare whole number.
    pub(super) fn quantity<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = match self.value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            _ => return self.expected("a quantity in quotes, such as `\"64MiB\"` or `\"50ms\"`"),
        };
        parse(&text).map_err(|error| self.problem(error)).ok()
    }

    /// A whole number that fits `T`.
    pub(super) fn number<T: TryFrom<u64>>(&self) -> Option<T> {
        let DeValue::Integer(number) = self.value else { return self.expected("a whole number, such as `16`") };
        let read = u64::from_str_radix(number.as_str(), number.radix()).ok().and_then(|n| T::try_from(n).ok());
        if read.is_none() {
            self.problem(format!(
                "`{number}` is out of range; write a whole number of at most {} bits, not negative",
                size_of::<T>() * 8
            ));
        }
        read
    }

    /// A part of a whole: from 0 to 1.
    pub(super) fn share(&self) -> Option<f64> {
        let text = match self.value {
            DeValue::Integer(number) => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => return self.expected("a share, such as `0.1`"),
        };
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.problem(format!("`{text}` is not a share; write a number from 0 to 1"));
        }
        share
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.expected("`true` or `false`"))
    }

    /// A table, as a reader of its keys. `place` is its kind for `not_yet.rs`.
    pub(super) fn table(&self, place: &'static str, example: &str) -> Option<Reader<'a>> {
        let Some(table) = self.value.as_table() else { return self.expected(&format!("a table, such as `{example}`")) };
        let path = join(&self.within, self.key);
        Some(Reader { report: self.report, place, path, offset: self.key_offset, table, asked: Vec::new() })
    }

    /// The values of an array.
    pub(super) fn array(&self, example: &str) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else { return self.expected(&format!("a list, such as `{example}`")) };
        let element = |value: &'a Spanned<DeValue<'a>>| Self {
            report: self.report,
            place: self.place,
            within: self.within.clone(),
            key: self.key,
            key_offset: value.span().start,
            span: value.span(),
            value: value.get_ref(),
        };
        if array.len() > MAX_ELEMENTS {
            self.problem(format!("this has {} elements; write at most {MAX_ELEMENTS}", array.len()));
        }
        Some(array.iter().take(MAX_ELEMENTS).map(element).collect())
    }

    /// An array of strings, each read by a parser; the same one twice is reported.
    pub(super) fn list<T: PartialEq, E: Display>(
        &self,
        example: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let mut read = Vec::new();
        for item in self.array(example)? {
            let Some(value) = item.parse(example, &parse) else { continue };
            if read.contains(&value) {
                item.problem("this is listed twice; remove one");
            } else {
                read.push(value);
            }
        }
        Some(read)
    }

    /// A table of strings under names that the author chose.
    pub(super) fn strings(&self, example: &str) -> Option<Vec<(Self, &'a str)>> {
        let entries = self.table("names", example)?.entries();
        Some(
            entries
                .filter_map(|entry| match entry.value.as_str() {
                    Some(text) => Some((entry, text)),
                    None => entry.expected("text in quotes"),
                })
                .collect(),
        )
    }

    /// The table as it is, for those who know its keys.
    pub(super) fn as_it_is(&self, example: &str) -> Option<toml::Table> {
        let Some(table) = self.value.as_table() else { return self.expected(&format!("a table, such as `{example}`")) };
        let spanned = Spanned::new(self.span.clone(), table.clone());
        let read = toml::Table::deserialize(toml::de::Deserializer::from(spanned));
        read.map_err(|error| self.problem(error.message())).ok()
    }
}

/// The candidate that was probably meant.
pub(super) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // A long word is never a slip of a short key, and the distance is quadratic.
    if word.len() > 64 {
        return None;
    }
    // Two letters of three must be right, and one of two: `a` is no slip of `b`.
    let length = word.chars().count();
    let worst = (length / 3).max(1).min(length.saturating_sub(1));
    candidates
        .take(MAX_CANDIDATES)
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= worst)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean ...?` where there is a near candidate, else nothing.
pub(super) fn did_you_mean<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> String {
    nearest(word, candidates).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A table as its header writes it.
fn label(path: &str) -> String {
    match path {
        "" => "the file".to_owned(),
        "trigger" | "trust.rule" => format!("[[{path}]]"),
        path => format!("[{path}]"),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
