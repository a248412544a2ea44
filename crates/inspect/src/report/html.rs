//! The report as a page to look at: one file, no other assets, light or dark as the reader's system is.
//!
//! People look before they read: the two pictures come first. Every string of the guest is made harmless and escaped;
//! the script only zooms and says what the pointer is on, and everything it shows is in the page without it.

use std::fmt::Write;

use samara_model::format_bytes;

use super::{
    Report, json,
    memory::{self, Layout},
    text::count,
    treemap::{self, Kind, Part, Rect, squarify, weight},
};
use crate::{
    Encoding, Item,
    display::{harmless, last_step},
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The treemap's size, in the units of its picture.
const MAP: Rect = Rect { x: 0.0, y: 0.0, width: 1000.0, height: 600.0 };
/// Rectangles that are drawn, and the smallest area of one; what is smaller is left out of its group.
const MAX_CELLS: usize = 2_500;
const MIN_AREA: f64 = 6.0;
/// Imports that are listed for a need.
const MAX_NEED_IMPORTS: usize = 12;
/// Rows of each table.
const MAX_ROWS: usize = 60;

/// A guest's string in HTML.
fn text(guest: &str) -> String {
    escape(&harmless(guest))
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
        escaped
    })
}

/// Appends formatted text; writing to a string cannot fail.
macro_rules! put {
    ($page:expr, $($format:tt)*) => { let _ = write!($page, $($format)*); };
}

pub(super) fn render(report: &Report<'_>) -> String {
    let module = report.module;
    let title = report.title.as_deref().unwrap_or("A WebAssembly file");
    let mut page = String::with_capacity(64 << 10);
    put!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{} · samara inspect</title>\
         <style>{STYLE}</style></head><body><main><header><h1>{}</h1><p>{}, {}</p>\
         <p class=\"faint mono\">sha256 {}</p></header>",
        text(title),
        text(title),
        module.encoding.as_str(),
        format_bytes(module.size_bytes),
        module.sha256
    );
    warnings(report, &mut page);
    map_section(report, &mut page);
    if let Some(layout) = memory::layout(&report.cores) {
        memory_section(&layout, &mut page);
    }
    page.push_str("<div class=\"columns\">");
    contracts(report, &mut page);
    needs(report, &mut page);
    page.push_str("</div>");
    functions(report, &mut page);
    exports(report, &mut page);
    imports(report, &mut page);
    sections(report, &mut page);
    about(report, &mut page);
    put!(page, "</main><script>{SCRIPT}</script></body></html>\n");
    page
}

fn warnings(report: &Report<'_>, page: &mut String) {
    if report.warnings.is_empty() {
        return;
    }
    page.push_str("<section><h2>Warnings</h2>");
    for warning in &report.warnings {
        put!(page, "<p class=\"warn\">{}</p>", text(warning));
    }
    page.push_str("</section>");
}

fn map_section(report: &Report<'_>, page: &mut String) {
    let root = treemap::parts(report.module, &report.cores);
    put!(
        page,
        "<section aria-labelledby=\"bytes\"><h2 id=\"bytes\">Where the bytes are</h2>\
         <svg id=\"map\" role=\"group\" aria-label=\"Treemap of the file: areas are sizes\" viewBox=\"0 0 {} {}\">",
        MAP.width,
        MAP.height
    );
    page.push_str(&map(&root, report.module.size_bytes));
    page.push_str(
        "</svg><p><span id=\"where\" class=\"mono\" aria-live=\"polite\">Point at a part; choose a group to zoom in.\
         </span> <button id=\"out\" type=\"button\" hidden>whole file</button></p><p class=\"faint legend\">",
    );
    for (name, class) in
        [("code", "code"), ("data", "data"), ("custom sections", "custom"), ("types, imports, linking", "structure")]
    {
        put!(page, "<i style=\"background:var(--{class})\"></i>{name}");
    }
    page.push_str("</p><details><summary>The same as a table</summary><table><tr><th>part<th class=\"r\">size<th class=\"r\">of the file</tr>");
    rows(&root, report.module.size_bytes, 0, &mut 0, page);
    page.push_str("</table></details></section>");
}

fn rows(part: &Part, file: u64, depth: usize, count: &mut usize, page: &mut String) {
    /// Rows of the table that says what the treemap shows.
    const MAX_PARTS: usize = 200;
    for child in &part.children {
        if *count >= MAX_PARTS || (depth > 0 && child.bytes.saturating_mul(200) < file) {
            continue;
        }
        *count += 1;
        put!(
            page,
            "<tr><td style=\"padding-left:{}px\">{}<td class=\"r\">{}<td class=\"r\">{}</tr>",
            depth * 18,
            escape(&child.label),
            format_bytes(child.bytes),
            percent(child.bytes, file)
        );
        rows(child, file, depth + 1, count, page);
    }
}

/// The treemap's rectangles: as many as may be drawn, by leaving out the smallest.
fn map(root: &Part, file: u64) -> String {
    let mut min_area = MIN_AREA;
    loop {
        let mut map = Map { page: String::new(), file, cells: 0, min_area };
        map.children(root, MAP);
        if map.cells <= MAX_CELLS {
            return map.page;
        }
        min_area *= 1.5;
    }
}

/// The treemap being drawn.
struct Map {
    page: String,
    file: u64,
    cells: usize,
    min_area: f64,
}

impl Map {
    fn children(&mut self, part: &Part, space: Rect) {
        let sizes: Vec<u64> = part.children.iter().map(|child| child.bytes).collect();
        for (child, rect) in part.children.iter().zip(squarify(&sizes, space)) {
            if self.cells <= MAX_CELLS && rect.width * rect.height >= self.min_area {
                self.cells += 1;
                self.part(child, rect);
            }
        }
    }

    fn part(&mut self, part: &Part, rect: Rect) {
        /// A group this small has no room for a title of its own.
        const TITLED: (f64, f64) = (50.0, 34.0);
        let said = escape(&format!("{}: {}", part.label, weight(part.bytes, self.file)));
        let group = !part.children.is_empty();
        let focus = if group { " tabindex=\"0\" role=\"button\"" } else { "" };
        put!(
            self.page,
            "<g class=\"{}{}\"{focus}><title>{said}</title>",
            if group { "group" } else { "leaf" },
            if part.is_rest { " rest" } else { "" }
        );
        put!(
            self.page,
            "<rect class=\"box {}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            part.kind.class(),
            rect.x,
            rect.y,
            rect.width,
            rect.height
        );
        if group && rect.width > TITLED.0 && rect.height > TITLED.1 {
            self.label(&part.label, rect, 12.0);
            self.children(part, rect.inside(2.0, 15.0));
        } else if group {
            self.children(part, rect.inside(0.5, 0.0));
        } else {
            let short = if part.kind == Kind::Code && !part.is_rest { last_step(&part.label) } else { &part.label };
            self.label(short, rect, 11.0);
        }
        self.page.push_str("</g>");
    }

    /// A label at the top of a rectangle, as large as fits and cut where it must be. Small ones are for those who
    /// zoom in.
    fn label(&mut self, label: &str, rect: Rect, size: f64) {
        /// The width of an average letter, in its height.
        const LETTER: f64 = 0.56;
        // Shrunk to fit, down to what can be read after zooming in.
        let letters = f64::from(u32::try_from(label.chars().count().max(1)).unwrap_or(u32::MAX));
        let fitting = (rect.width / (letters + 1.0) / LETTER).max(4.5);
        let size = size.min(fitting).min(rect.height * 0.6).min(rect.width / 4.0);
        if size < 1.5 {
            return;
        }
        let mut room = 0usize;
        let mut width = size * LETTER;
        while width <= rect.width - size * 0.6 && room < 80 {
            room += 1;
            width += size * LETTER;
        }
        let cut: String = if label.chars().count() <= room {
            label.to_owned()
        } else {
            label.chars().take(room.saturating_sub(1)).chain(['…']).collect()
        };
        if room >= 2 {
            put!(
                self.page,
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{size:.1}\">{}</text>",
                rect.x + size * 0.35,
                rect.y + size * 1.05,
                escape(&cut)
            );
        }
    }
}

fn memory_section(layout: &Layout, page: &mut String) {
    /// The picture's size; what may grow and what traps have a fixed width.
    const WIDTH: f64 = 1000.0;
    const TALL: f64 = 64.0;
    const GROW: f64 = 130.0;
    const TRAP: f64 = 90.0;
    /// The narrowest region, so that its name can be read.
    const NARROW: f64 = 62.0;
    put!(page, "<section aria-labelledby=\"memory\"><h2 id=\"memory\">Linear memory");
    if let Some(name) = &layout.module {
        put!(page, " of <code>{}</code>", escape(name));
    }
    let size = layout.regions.last().map_or(0, |region| region.end);
    put!(
        page,
        "</h2><svg class=\"memory\" role=\"img\" aria-label=\"The linear memory from address 0 upwards; the table below says the same\" viewBox=\"0 0 {WIDTH} 112\"><defs>"
    );
    for (id, class) in [("grow", "hatch"), ("guard", "hatch trap")] {
        put!(
            page,
            "<pattern id=\"{id}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <line class=\"{class}\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"8\" stroke-width=\"3\"/></pattern>"
        );
    }
    page.push_str("</defs>");
    let grows = layout.max_bytes > size;
    let room = WIDTH - TRAP - if grows { GROW } else { 0.0 };
    let spread = (room - NARROW * f64::from(u32::try_from(layout.regions.len()).unwrap_or(8))).max(0.0);
    let mut x = 0.0;
    for region in &layout.regions {
        let width = NARROW + spread * ratio(region.end - region.start, size);
        let said = format!("{} {}", region.label, format_bytes(region.end - region.start));
        put!(
            page,
            "<g><title>{said}</title><rect class=\"{}\" x=\"{x:.1}\" y=\"16\" width=\"{width:.1}\" height=\"{TALL}\"/>\
             <text class=\"in\" x=\"{:.1}\" y=\"44\" font-size=\"13\" text-anchor=\"middle\">{}</text>\
             <text class=\"in\" x=\"{:.1}\" y=\"62\" font-size=\"12\" text-anchor=\"middle\">{}</text>\
             <text x=\"{x:.1}\" y=\"96\" font-size=\"11\">0x{:x}</text></g>",
            region.class,
            x + width / 2.0,
            region.label,
            x + width / 2.0,
            format_bytes(region.end - region.start),
            region.start
        );
        x += width;
    }
    let ends = [(grows, GROW, "grow", "may grow", size), (true, TRAP, "guard", "traps", layout.max_bytes)];
    for (shown, width, class, label, start) in ends {
        if shown {
            put!(
                page,
                "<g><rect class=\"{class}\" x=\"{x:.1}\" y=\"16\" width=\"{width:.1}\" height=\"{TALL}\"/>\
                 <text x=\"{:.1}\" y=\"12\" font-size=\"12\" text-anchor=\"middle\">{label}</text>\
                 <text x=\"{x:.1}\" y=\"96\" font-size=\"11\">0x{start:x}</text></g>",
                x + width / 2.0
            );
            x += width;
        }
    }
    page.push_str("</svg><table><tr><th>part<th class=\"r\">from<th class=\"r\">to<th class=\"r\">size<th></tr>");
    for region in &layout.regions {
        memory_row(page, region.label, region.start, region.end, region.note);
    }
    if grows {
        let note = if layout.max_is_declared {
            "its own limit"
        } else {
            "no limit of its own: the workload's memory limit decides"
        };
        memory_row(page, "may grow", size, layout.max_bytes, note);
    }
    page.push_str("</table><p class=\"faint\">Parts too small to see are drawn wider. Any address beyond the memory's current size traps.");
    if let Some(remark) = layout.remark {
        put!(page, " {remark}");
    }
    page.push_str("</p></section>");
}

fn memory_row(page: &mut String, label: &str, start: u64, end: u64, note: &str) {
    put!(
        page,
        "<tr><td>{label}<td class=\"r mono\">0x{start:x}<td class=\"r mono\">0x{end:x}<td class=\"r\">{}<td class=\"faint\">{note}</tr>",
        format_bytes(end - start)
    );
}

/// A part of a whole, 0 to 1.
fn ratio(part: u64, whole: u64) -> f64 {
    let millionths = u128::from(part) * 1_000_000 / u128::from(whole.max(1));
    f64::from(u32::try_from(millionths).unwrap_or(1_000_000)) / 1e6
}

fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1_000 / u128::from(whole.max(1));
    format!("{}.{}%", tenths / 10, tenths % 10)
}

fn contracts(report: &Report<'_>, page: &mut String) {
    page.push_str("<section><h2>What it is</h2>");
    if report.verdicts.is_empty() {
        page.push_str("<p class=\"warn\">No contract fits.</p>");
    }
    for verdict in &report.verdicts {
        put!(
            page,
            "<p class=\"{}\">{}<b>{}</b> <span class=\"faint\">({}, {})</span><br><span class=\"faint\">{}</span></p>",
            if verdict.chosen { "good" } else { "" },
            if verdict.chosen { "→ " } else { "" },
            text(&verdict.contract),
            text(&verdict.shape),
            text(&verdict.confidence),
            text(&verdict.why)
        );
    }
    let footprint = &report.module.footprint;
    put!(
        page,
        "<p class=\"faint\">One instance: {}, {} with {} at start, {} with {}.</p></section>",
        count(footprint.core_instances, "core instance", "core instances"),
        count(footprint.memories, "memory", "memories"),
        format_bytes(footprint.memory_min_bytes),
        count(footprint.tables, "table", "tables"),
        count(footprint.table_min_elements, "element", "elements")
    );
}

fn needs(report: &Report<'_>, page: &mut String) {
    page.push_str("<section><h2>What it needs</h2>");
    if report.needs.is_empty() && report.unrecognised.is_empty() {
        page.push_str("<p class=\"good\">Nothing.</p>");
    }
    let mut row = |name: &str, class: &str, word: &str, imports: &[String]| {
        let mut list: Vec<String> = imports.iter().take(MAX_NEED_IMPORTS).map(|import| text(import)).collect();
        if imports.len() > MAX_NEED_IMPORTS {
            list.push(format!("and {} more", imports.len() - MAX_NEED_IMPORTS));
        }
        put!(
            page,
            "<p><b>{name}</b> <span class=\"{class}\">{word}</span><br><span class=\"faint mono\">{}</span></p>",
            list.join(", ")
        );
    };
    for need in &report.needs {
        let granted = need.capability.granted_to_all();
        let (class, word) = if granted { ("good", "granted to all") } else { ("warn", "denied unless granted") };
        row(need.capability.as_str(), class, word, &need.imports);
    }
    if !report.unrecognised.is_empty() {
        row("unknown", "warn", "traps when called", &report.unrecognised);
    }
    page.push_str("</section>");
}

fn functions(report: &Report<'_>, page: &mut String) {
    let Some(largest) = report.largest.first() else { return };
    page.push_str("<section><h2>Largest functions</h2><table>");
    for function in &report.largest {
        put!(
            page,
            "<tr><td class=\"r\">{}<td class=\"r\">{}<td style=\"width:20%\"><span class=\"bar\" style=\"width:{:.1}%\"></span><td class=\"n\">{}</tr>",
            format_bytes(function.size_bytes),
            percent(function.size_bytes, report.module.size_bytes),
            ratio(function.size_bytes, largest.size_bytes) * 100.0,
            escape(&function.name)
        );
    }
    let compile = &report.module.compile;
    put!(
        page,
        "</table><p class=\"faint\">{} functions, {} of code. To compile: {}.</p></section>",
        compile.functions,
        format_bytes(compile.code_bytes),
        escape(&compile.cost())
    );
}

fn exports(report: &Report<'_>, page: &mut String) {
    let exports = &report.module.exports;
    if exports.is_empty() {
        return;
    }
    page.push_str("<section><h2>Exports</h2><table>");
    for export in exports.iter().take(MAX_ROWS) {
        item_row(page, &export.name, &export.item);
    }
    more(page, exports.len());
    page.push_str("</table></section>");
}

fn imports(report: &Report<'_>, page: &mut String) {
    let imports = &report.module.imports;
    if imports.is_empty() {
        return;
    }
    put!(page, "<section><details><summary>{} imports</summary><table>", imports.len());
    for import in imports.iter().take(MAX_ROWS) {
        item_row(page, &import.full_name(), &import.item);
    }
    more(page, imports.len());
    page.push_str("</table></details></section>");
}

fn more(page: &mut String, count: usize) {
    if count > MAX_ROWS {
        put!(page, "<tr><td class=\"faint\" colspan=\"2\">and {} more; --json has them all</tr>", count - MAX_ROWS);
    }
}

fn item_row(page: &mut String, name: &str, item: &Item) {
    put!(page, "<tr><td class=\"n\">{}<td class=\"n faint\">", text(name));
    match item {
        Item::Function(signature) => put_str(page, &signature.to_string()),
        Item::WitFunction(function) => put_str(page, &function.signature),
        Item::Interface(functions) => {
            for (index, function) in functions.iter().take(MAX_ROWS).enumerate() {
                put!(
                    page,
                    "{}{}: {}",
                    if index > 0 { "<br>" } else { "" },
                    text(&function.name),
                    text(&function.signature)
                );
            }
        }
        other => put_str(page, other.kind()),
    }
    page.push_str("</tr>");
}

fn put_str(page: &mut String, guest: &str) {
    page.push_str(&text(guest));
}

fn sections(report: &Report<'_>, page: &mut String) {
    let module = report.module;
    let what = if module.encoding == Encoding::Component { "top-level sections" } else { "sections" };
    put!(
        page,
        "<section><details><summary>{} {what}</summary><table><tr><th>section<th class=\"r\">offset<th class=\"r\">size<th class=\"r\">of the file</tr>",
        module.sections.len()
    );
    for section in module.sections.iter().take(MAX_ROWS * 5) {
        put!(
            page,
            "<tr><td>{}<td class=\"r mono\">0x{:x}<td class=\"r\">{}<td class=\"r\">{}</tr>",
            text(&section.name),
            section.offset_bytes,
            format_bytes(section.size_bytes),
            percent(section.size_bytes, module.size_bytes)
        );
    }
    page.push_str("</table></details></section>");
}

fn about(report: &Report<'_>, page: &mut String) {
    page.push_str("<section><h2>What it says about itself</h2><p>");
    for producer in super::producers(report).iter().take(MAX_ROWS) {
        put!(page, "<span class=\"chip\">{} {}</span>", text(&producer.name), text(&producer.version));
    }
    page.push_str("</p><p>");
    for feature in report.module.features.names() {
        put!(page, "<span class=\"chip faint\">{feature}</span>");
    }
    page.push_str("</p>");
    for (name, value) in [("Claims, not verified", json::claims(report)), ("Kubewarden", json::kubewarden(report))] {
        if let Some(value) = value {
            let pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
            let lines: Vec<String> = pretty.lines().take(MAX_ROWS * 2).map(text).collect();
            put!(page, "<details><summary>{name}</summary><pre class=\"mono\">{}</pre></details>", lines.join("\n"));
        }
    }
    let custom: Vec<_> = report.metadata.iter().flat_map(crate::Metadata::all).flat_map(|part| &part.custom).collect();
    if !custom.is_empty() {
        page.push_str("<table><tr><th>custom section<th class=\"r\">size<th></tr>");
        for custom in custom.iter().take(MAX_ROWS) {
            put!(
                page,
                "<tr><td class=\"n\">{}<td class=\"r\">{}<td class=\"faint\">{}</tr>",
                text(&custom.name),
                format_bytes(custom.size),
                custom.meaning.unwrap_or("")
            );
        }
        page.push_str("</table>");
    }
    page.push_str("</section>");
}
