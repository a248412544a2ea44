//! The report on one screen.
//!
//! Two columns: what a line is about, and what there is to say. Lists are cut so that the whole stays on a screen;
//! `--json` has everything.

use std::collections::HashMap;

use samara_model::format_bytes;

use super::{Report, json};
use crate::{Encoding, Item, Memory, Metadata, Table, display::harmless};

/// Lines of each list that are shown.
const MAX_VERDICTS: usize = 4;
const MAX_EXPORTS: usize = 8;
const MAX_SECTIONS: usize = 7;
const MAX_CUSTOM: usize = 4;
/// Columns of the left column.
const LABEL: usize = 11;
/// The narrowest and the widest screen that is written for.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=240;

/// Colours, by what they mean.
#[derive(Clone, Copy)]
enum Ink {
    Label,
    Good,
    Warning,
    Faint,
    Bar,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Label => "1",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Faint => "2",
            Self::Bar => "36",
        }
    }
}

pub(super) fn render(report: &Report<'_>, width: usize, color: bool) -> String {
    let mut page = Page { text: String::new(), width: width.clamp(*WIDTHS.start(), *WIDTHS.end()), color };
    head(report, &mut page);
    verdicts(report, &mut page);
    needs(report, &mut page);
    exports(report, &mut page);
    memory(report, &mut page);
    sections(report, &mut page);
    functions(report, &mut page);
    custom(report, &mut page);
    page.wrapped("features", &report.module.features.names().collect::<Vec<_>>().join(", "));
    let compile = &report.module.compile;
    page.line(
        "compile",
        &[(
            None,
            format!(
                "{}: {} in {}, the largest {}",
                compile.cost(),
                format_bytes(compile.code_bytes),
                count(compile.functions, "function", "functions"),
                format_bytes(compile.largest_function_bytes)
            ),
        )],
    );
    for warning in &report.warnings {
        page.wrapped_in(Some(Ink::Warning), "warning", warning);
    }
    page.text
}

struct Page {
    text: String,
    width: usize,
    color: bool,
}

impl Page {
    fn room(&self) -> usize {
        self.width - LABEL
    }

    /// One line, cut at the screen's edge. The parts are already harmless.
    fn line(&mut self, label: &str, parts: &[(Option<Ink>, String)]) {
        self.paint(Some(Ink::Label), &format!("{label:<LABEL$}"));
        let mut room = self.room();
        for (ink, part) in parts {
            let length = part.chars().count();
            if length <= room {
                self.paint(*ink, part);
                room -= length;
            } else {
                if room > 0 {
                    self.paint(*ink, &cut(part, room));
                }
                break;
            }
        }
        let end = self.text.trim_end_matches(' ').len();
        self.text.truncate(end);
        self.text.push('\n');
    }

    /// Text broken between words.
    fn wrapped(&mut self, label: &str, text: &str) {
        self.wrapped_in(None, label, text);
    }

    fn wrapped_in(&mut self, ink: Option<Ink>, label: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let (mut label, mut line) = (label, String::new());
        for word in text.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > self.room() {
                self.line(label, &[(ink, std::mem::take(&mut line))]);
                label = "";
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        self.line(label, &[(ink, line)]);
    }

    fn paint(&mut self, ink: Option<Ink>, text: &str) {
        match ink {
            Some(ink) if self.color && !text.trim().is_empty() => {
                let code = ink.code();
                let body = text.trim_end_matches(' ');
                let blanks = " ".repeat(text.len() - body.len());
                self.text.push_str(&format!("\x1b[{code}m{body}\x1b[0m{blanks}"));
            }
            _ => self.text.push_str(text),
        }
    }
}

/// The label on the first line of a list only.
fn once(index: usize, label: &str) -> &str {
    if index == 0 { label } else { "" }
}

/// `1 memory`, `1,234 memories`
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// `1,234,567`
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 3 == first % 3 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// ` 12.3%`
fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1_000 / u128::from(whole.max(1));
    format!("{:>3}.{}%", tenths / 10, tenths % 10)
}

/// A bar of up to `columns`.
fn bar(part: u64, whole: u64, columns: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(part) * u128::from(columns) * 8 / u128::from(whole.max(1));
    let full = usize::try_from(eighths / 8).unwrap_or(0);
    let rest = usize::try_from(eighths % 8).ok().and_then(|rest| EIGHTHS.get(rest)).unwrap_or(&"");
    format!("{}{rest}", "█".repeat(full))
}

fn head(report: &Report<'_>, page: &mut Page) {
    let module = report.module;
    let mut what = format!("{}, {}", module.encoding.as_str(), format_bytes(module.size_bytes));
    if module.encoding == Encoding::Component {
        what.push_str(&format!(", {} inside", count(module.core_modules, "core module", "core modules")));
    }
    if let Some(name) = report.metadata.as_ref().and_then(|metadata| metadata.name.as_deref()) {
        what.push_str(&format!(", named `{}`", harmless(name)));
    }
    page.line("kind", &[(None, what)]);
    page.line("sha256", &[(Some(Ink::Faint), module.sha256.clone())]);
}

fn verdicts(report: &Report<'_>, page: &mut Page) {
    if report.verdicts.is_empty() {
        page.line("fits", &[(Some(Ink::Warning), "no contract".to_owned())]);
    }
    for (index, verdict) in report.verdicts.iter().take(MAX_VERDICTS).enumerate() {
        let ink = if verdict.chosen { Some(Ink::Good) } else { None };
        let mark = if verdict.chosen { "→ " } else { "  " };
        page.line(
            once(index, "fits"),
            &[
                (ink, format!("{mark}{} ", harmless(&verdict.contract))),
                (Some(Ink::Faint), format!("({}, {})", harmless(&verdict.shape), harmless(&verdict.confidence))),
                (None, format!(" {}", harmless(&verdict.why))),
            ],
        );
    }
    more(page, report.verdicts.len(), MAX_VERDICTS, "contracts");
}

fn more(page: &mut Page, all: usize, shown: usize, what: &str) {
    if all > shown {
        page.line("", &[(Some(Ink::Faint), format!("and {} more {what}", all - shown))]);
    }
}

fn needs(report: &Report<'_>, page: &mut Page) {
    let denied = report.needs.iter().filter(|need| !need.capability.granted_to_all()).count();
    let mut first = true;
    for need in &report.needs {
        let (ink, word) = if need.capability.granted_to_all() {
            (Ink::Good, "granted")
        } else {
            (Ink::Warning, "denied unless granted")
        };
        let pad = if denied > 0 { 21 } else { 7 };
        page.line(
            if std::mem::take(&mut first) { "needs" } else { "" },
            &[
                (None, format!("{:<10}", need.capability.as_str())),
                (Some(ink), format!("{word:<pad$}  ")),
                (Some(Ink::Faint), names(&need.imports)),
            ],
        );
    }
    if !report.unrecognised.is_empty() {
        page.line(
            if first { "needs" } else { "" },
            &[
                (None, format!("{:<10}", "unknown")),
                (Some(Ink::Warning), "traps when called    ".to_owned() + "  "),
                (Some(Ink::Faint), names(&report.unrecognised)),
            ],
        );
    }
    if report.needs.is_empty() && report.unrecognised.is_empty() {
        page.line("needs", &[(Some(Ink::Good), "nothing".to_owned())]);
    }
}

/// Names in a row; what several have in common is written once.
fn names(imports: &[String]) -> String {
    let mut text = String::new();
    let mut last = "";
    for import in imports.iter().take(64) {
        text.push_str(if text.is_empty() { "" } else { ", " });
        let module = import.split_once('.').filter(|_| !import.contains(':')).map_or("", |(module, _)| module);
        if !module.is_empty() && module == last {
            text.push_str(&harmless(import.get(module.len() + 1..).unwrap_or(import)));
        } else {
            text.push_str(&harmless(import));
        }
        last = module;
    }
    text
}

fn exports(report: &Report<'_>, page: &mut Page) {
    let exports = &report.module.exports;
    for (index, export) in exports.iter().take(MAX_EXPORTS).enumerate() {
        let name = harmless(&export.name);
        let what = match &export.item {
            Item::Function(signature) => signature.to_string(),
            Item::Tag(signature) => format!("  tag {signature}"),
            Item::Memory(memory) => format!("  memory, {}", memory_text(memory)),
            Item::Table(table) => format!("  table, {}", table_text(table)),
            Item::Global(global) => {
                format!("  global {}{}", if global.mutable { "mut " } else { "" }, global.value)
            }
            Item::WitFunction(function) => format!(": {}", harmless(&function.signature)),
            Item::Interface(functions) => match functions.as_slice() {
                [only] => format!("  {}: {}", harmless(&only.name), harmless(&only.signature)),
                many => format!("  {}", count(many.len() as u64, "function", "functions")),
            },
            other => format!("  {}", other.kind()),
        };
        page.line(once(index, "exports"), &[(None, name), (Some(Ink::Faint), what)]);
    }
    if exports.is_empty() {
        page.line("exports", &[(Some(Ink::Faint), "nothing".to_owned())]);
    }
    more(page, exports.len(), MAX_EXPORTS, "exports");
}

fn memory_text(memory: &Memory) -> String {
    let mut text = count(memory.min_pages, "page", "pages");
    text.push_str(&format!(" ({})", format_bytes(memory.min_bytes())));
    match memory.max_bytes() {
        Some(max) => text.push_str(&format!(", up to {}", format_bytes(max))),
        None => text.push_str(", no limit of its own"),
    }
    for (is, word) in [(memory.memory64, "64-bit"), (memory.shared, "shared"), (memory.imported, "imported")] {
        if is {
            text.push_str(", ");
            text.push_str(word);
        }
    }
    text
}

fn table_text(table: &Table) -> String {
    let max = match table.max_elements {
        Some(max) if max == table.min_elements => String::new(),
        Some(max) => format!(", up to {}", thousands(max)),
        None => ", no limit of its own".to_owned(),
    };
    format!("{} {}{max}", count(table.min_elements, "element", "elements"), table.element)
}

fn memory(report: &Report<'_>, page: &mut Page) {
    let module = report.module;
    let footprint = &module.footprint;
    if module.encoding == Encoding::Component {
        page.line(
            "instance",
            &[(
                None,
                format!(
                    "{}, {} of {} at start, {} of {}",
                    count(footprint.core_instances, "core instance", "core instances"),
                    count(footprint.memories, "memory", "memories"),
                    format_bytes(footprint.memory_min_bytes),
                    count(footprint.tables, "table", "tables"),
                    count(footprint.table_min_elements, "element", "elements"),
                ),
            )],
        );
    } else {
        for (index, memory) in module.memories.iter().take(2).enumerate() {
            page.line(once(index, "memory"), &[(None, memory_text(memory))]);
        }
        more(page, module.memories.len(), 2, "memories");
        for (index, table) in module.tables.iter().take(2).enumerate() {
            page.line(once(index, "table"), &[(None, table_text(table))]);
        }
        more(page, module.tables.len(), 2, "tables");
    }
    if let Some(index) = module.start {
        let name = report.start_name.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default();
        page.line("start", &[(None, format!("function {index}{name} runs at instantiation"))]);
    }
    if module.data_segments > 0 {
        let text =
            format!("{} in {}", format_bytes(module.data_bytes), count(module.data_segments, "segment", "segments"));
        page.line("data", &[(None, text)]);
    }
}

/// A row of sections: in a component the many small ones of a kind are one row.
struct Row {
    name: String,
    size: u64,
    offset: u64,
    count: u64,
}

fn section_rows(report: &Report<'_>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut kinds: HashMap<&str, usize> = HashMap::new();
    let mut cores = report.cores.iter();
    for section in &report.module.sections {
        let row =
            Row { name: harmless(&section.name), size: section.size_bytes, offset: section.offset_bytes, count: 1 };
        if section.name == "core module" {
            // Modules at the top level come in the order in which they are nested.
            let name = cores.find(|core| core.bytes == section.size_bytes).and_then(|core| core.name);
            rows.push(Row { name: name.map_or(row.name, |name| format!("module {}", harmless(name))), ..row });
            continue;
        }
        let known = kinds.get(section.name.as_str()).and_then(|index| rows.get_mut(*index));
        match known.filter(|_| report.module.encoding == Encoding::Component) {
            Some(known) => {
                known.size += row.size;
                known.count += 1;
            }
            None => {
                kinds.insert(&section.name, rows.len());
                rows.push(row);
            }
        }
    }
    rows
}

fn sections(report: &Report<'_>, page: &mut Page) {
    let size = report.module.size_bytes;
    let mut rows = section_rows(report);
    rows.sort_by_key(|row| std::cmp::Reverse(row.size));
    let all = rows.len();
    rows.truncate(MAX_SECTIONS);
    rows.sort_by_key(|row| row.offset);
    for (index, row) in rows.iter().enumerate() {
        let place = if row.count > 1 { format!("{} times", row.count) } else { format!("at 0x{:x}", row.offset) };
        let name = cut(&row.name, 20);
        page.line(
            once(index, "sections"),
            &[
                (None, format!("{name:<20} {:>9} {} ", format_bytes(row.size), percent(row.size, size))),
                (Some(Ink::Faint), format!("{place:<12} ")),
                (Some(Ink::Bar), bar(row.size, size, 16)),
            ],
        );
    }
    more(page, all, MAX_SECTIONS, "sections");
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

fn functions(report: &Report<'_>, page: &mut Page) {
    let size = report.module.size_bytes;
    for (index, function) in report.largest.iter().enumerate() {
        page.line(
            once(index, "largest"),
            &[
                (None, format!("{:>9} {}  ", format_bytes(function.size_bytes), percent(function.size_bytes, size))),
                (None, function.name.clone()),
            ],
        );
    }
}

fn custom(report: &Report<'_>, page: &mut Page) {
    let producers: Vec<String> = super::producers(report)
        .iter()
        .map(|producer| format!("{} {}", harmless(&producer.name), harmless(&producer.version)).trim_end().to_owned())
        .collect();
    if !producers.is_empty() {
        page.line("made by", &[(None, producers.join(", "))]);
    }
    let parts: Vec<&Metadata> = report.metadata.iter().flat_map(Metadata::all).collect();
    if let Some(claims) = json::claims(report) {
        let field = |pointer: &str| claims.pointer(pointer).and_then(|value| value.as_str()).map(harmless);
        let name = field("/wascap/name").or_else(|| field("/sub")).unwrap_or_else(|| "no name".to_owned());
        let issuer = field("/iss").unwrap_or_else(|| "nobody".to_owned());
        page.line("claims", &[(None, format!("`{name}` by {issuer}, not verified here"))]);
    }
    if let Some(policy) = json::kubewarden(report) {
        let title = policy.pointer("/annotations/io.kubewarden.policy.title").and_then(|value| value.as_str());
        let mode = policy.get("executionMode").and_then(|value| value.as_str()).unwrap_or("kubewarden-wapc");
        let mutating = policy.get("mutating").and_then(serde_json::Value::as_bool).unwrap_or(false);
        let text = format!(
            "policy `{}`, {}{}",
            harmless(title.unwrap_or("without a title")),
            harmless(mode),
            if mutating { ", mutating" } else { "" }
        );
        page.line("kubewarden", &[(None, text)]);
    }
    let shown = |name: &str| matches!(name, "producers" | "target_features");
    let mut customs: Vec<_> =
        parts.iter().flat_map(|part| &part.custom).filter(|custom| !shown(&custom.name)).collect();
    customs.sort_by_key(|custom| std::cmp::Reverse(custom.size));
    for (index, custom) in customs.iter().take(MAX_CUSTOM).enumerate() {
        page.line(
            once(index, "custom"),
            &[
                (None, format!("{:<20} {:>9}  ", cut(&harmless(&custom.name), 20), format_bytes(custom.size))),
                (Some(Ink::Faint), custom.meaning.unwrap_or("").to_owned()),
            ],
        );
    }
    more(page, customs.len(), MAX_CUSTOM, "custom sections");
}
