//! Where the bytes are: a tree of parts, laid out as rectangles whose areas are the parts' sizes.
//!
//! The layout is the squarified treemap of Bruls, Huizing and van Wijk (2000): rows are filled along the shorter side
//! for as long as that makes their rectangles less oblong.

use std::collections::HashMap;

use samara_model::format_bytes;

use super::detail::CoreModule;
use crate::{
    Encoding, Module,
    display::{group_of, harmless, subgroup_of},
};

/// Functions of one module that are named and grouped, largest first; the rest is one part.
const MAX_FUNCTIONS: usize = 100_000;
/// Parts of a kind that are shown on their own, largest first; the rest is one part.
const MAX_MODULES: usize = 24;
const MAX_GROUPS: usize = 40;
const MAX_GROUP_FUNCTIONS: usize = 120;
const MAX_SEGMENTS: usize = 300;
const MAX_SECTIONS: usize = 24;

/// A part of the file.
#[derive(Debug)]
pub(super) struct Part {
    /// Its name, harmless.
    pub(super) label: String,
    pub(super) bytes: u64,
    /// What it is, which decides its colour.
    pub(super) kind: Kind,
    /// Stands for many parts too small to be shown on their own.
    pub(super) is_rest: bool,
    pub(super) children: Vec<Self>,
}

/// What a part of the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    Data,
    Custom,
    Structure,
    Module,
}

impl Kind {
    /// The style class of its colour.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Data => "data",
            Self::Custom => "custom",
            Self::Structure => "structure",
            Self::Module => "module",
        }
    }
}

impl Part {
    fn leaf(label: String, bytes: u64, kind: Kind) -> Self {
        Self { label, bytes, kind, is_rest: false, children: Vec::new() }
    }

    /// A part made of others; they come out largest first, and all but `keep` of them as one.
    fn of(label: String, kind: Kind, mut children: Vec<Self>, keep: usize, rest: &str) -> Self {
        children.retain(|child| child.bytes > 0);
        children.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.label.cmp(&b.label)));
        if children.len() > keep {
            let small = children.split_off(keep);
            let bytes = small.iter().map(|child| child.bytes).sum();
            let rest = Self { is_rest: true, ..Self::leaf(format!("{} more {rest}", small.len()), bytes, kind) };
            let at = children.partition_point(|child| child.bytes > bytes);
            children.insert(at, rest);
        }
        let bytes = children.iter().map(|child| child.bytes).sum();
        Self { label, bytes, kind, is_rest: false, children }
    }
}

/// The parts of the whole file.
pub(super) fn parts(module: &Module, cores: &[CoreModule<'_>]) -> Part {
    match (module.encoding, cores) {
        (Encoding::Core, [core]) => core_part("the file".to_owned(), core),
        _ => {
            let modules = cores.iter().enumerate().map(|(index, core)| {
                let name = core.name.map_or_else(|| format!("core module {index}"), harmless);
                core_part(name, core)
            });
            let mut own: HashMap<&str, u64> = HashMap::new();
            for section in module.sections.iter().filter(|section| section.name != "core module") {
                *own.entry(&section.name).or_default() += section.size_bytes;
            }
            // Nested components are shown by the core modules in them.
            own.remove("component");
            let own = own.into_iter().map(|(name, bytes)| section_part(name, bytes));
            let mut children =
                vec![Part::of("types and linking".to_owned(), Kind::Structure, own.collect(), MAX_SECTIONS, "kinds")];
            children.extend(modules);
            Part::of("the file".to_owned(), Kind::Module, children, MAX_MODULES, "modules")
        }
    }
}

fn section_part(name: &str, bytes: u64) -> Part {
    let kind = if name.starts_with("custom ") { Kind::Custom } else { Kind::Structure };
    Part::leaf(harmless(name.strip_prefix("custom ").unwrap_or(name)), bytes, kind)
}

fn core_part(label: String, core: &CoreModule<'_>) -> Part {
    let sections = core.sections.iter().map(|(name, bytes)| match name.as_str() {
        "code" => code_part(core),
        "data" => data_part(core),
        _ => section_part(name, *bytes),
    });
    Part::of(label, Kind::Module, sections.collect(), MAX_SECTIONS, "sections")
}

fn code_part(core: &CoreModule<'_>) -> Part {
    let mut order: Vec<(u64, u32)> = core.functions.iter().map(|(index, bytes)| (*bytes, *index)).collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    let mut groups: HashMap<String, Vec<Part>> = HashMap::new();
    for (bytes, index) in order.iter().take(MAX_FUNCTIONS) {
        let name = core.function_name(*index);
        let group = if core.is_named(*index) { group_of(&name) } else { "functions without names" };
        let part = |name| Part::leaf(name, *bytes, Kind::Code);
        match groups.get_mut(group) {
            Some(parts) => parts.push(part(name)),
            None => drop(groups.insert(group.to_owned(), vec![part(name)])),
        }
    }
    let rest: u64 = order.iter().skip(MAX_FUNCTIONS).map(|(bytes, _)| bytes).sum();
    let mut parts: Vec<Part> = groups.into_iter().map(|(name, functions)| group_part(name, functions)).collect();
    parts.push(Part::leaf("the smallest functions".to_owned(), rest, Kind::Code));
    // One group says nothing that the section does not say.
    if let [only, empty] = parts.as_mut_slice()
        && empty.bytes == 0
    {
        only.label = format!("code: {}", only.label);
        return parts.swap_remove(0);
    }
    Part::of("code".to_owned(), Kind::Code, parts, MAX_GROUPS, "groups of functions")
}

/// A group of functions; a large one is divided once more, by the next step of their paths.
fn group_part(name: String, functions: Vec<Part>) -> Part {
    if functions.len() <= MAX_GROUP_FUNCTIONS {
        return Part::of(name, Kind::Code, functions, MAX_GROUP_FUNCTIONS, "functions");
    }
    let mut children = Vec::new();
    let mut divided: HashMap<String, Vec<Part>> = HashMap::new();
    for function in functions {
        match subgroup_of(&function.label) {
            Some(step) => divided.entry(step.to_owned()).or_default().push(function),
            None => children.push(function),
        }
    }
    for (step, mut functions) in divided {
        if functions.len() == 1 {
            children.append(&mut functions);
        } else {
            children.push(Part::of(step, Kind::Code, functions, MAX_GROUP_FUNCTIONS, "functions"));
        }
    }
    Part::of(name, Kind::Code, children, MAX_GROUP_FUNCTIONS, "functions and modules")
}

fn data_part(core: &CoreModule<'_>) -> Part {
    let segments = core.data.iter().map(|(address, bytes)| {
        let label = match address {
            Some(address) => format!("data at 0x{address:x}"),
            None => "passive data".to_owned(),
        };
        Part::leaf(label, *bytes, Kind::Data)
    });
    Part::of("data".to_owned(), Kind::Data, segments.collect(), MAX_SEGMENTS, "segments")
}

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    fn area(&self) -> f64 {
        self.width * self.height
    }

    /// The rectangle without a margin on each side and a title at its top.
    pub(super) fn inside(&self, margin: f64, title: f64) -> Self {
        Self {
            x: self.x + margin,
            y: self.y + title + margin,
            width: (self.width - 2.0 * margin).max(0.0),
            height: (self.height - title - 2.0 * margin).max(0.0),
        }
    }
}

/// Sizes as floats: exact below 2^53, and a picture needs less.
#[expect(clippy::cast_precision_loss, reason = "a picture has fewer pixels than a float has digits")]
fn float(number: u64) -> f64 {
    number as f64
}

/// A rectangle in `space` for each of `sizes`, which come largest first.
pub(super) fn squarify(sizes: &[u64], mut space: Rect) -> Vec<Rect> {
    let total: u64 = sizes.iter().sum();
    let mut rects = Vec::with_capacity(sizes.len());
    let scale = space.area() / float(total.max(1));
    let areas: Vec<f64> = sizes.iter().map(|size| float(*size) * scale).collect();
    let mut rest = areas.as_slice();
    while !rest.is_empty() {
        let side = space.width.min(space.height);
        let mut taken = 1;
        while taken < rest.len() && worst(rest, taken + 1, side) <= worst(rest, taken, side) {
            taken += 1;
        }
        let (row, after) = rest.split_at(taken);
        let sum: f64 = row.iter().sum();
        // The row lies along the shorter side and takes its thickness off the longer one.
        let thickness = if side > 0.0 { sum / side } else { 0.0 };
        let mut along = 0.0;
        for area in row {
            let length = if thickness > 0.0 { area / thickness } else { 0.0 };
            rects.push(if space.width >= space.height {
                Rect { x: space.x, y: space.y + along, width: thickness, height: length }
            } else {
                Rect { x: space.x + along, y: space.y, width: length, height: thickness }
            });
            along += length;
        }
        if space.width >= space.height {
            space.x += thickness;
            space.width = (space.width - thickness).max(0.0);
        } else {
            space.y += thickness;
            space.height = (space.height - thickness).max(0.0);
        }
        rest = after;
    }
    rects
}

/// How oblong the most oblong of the first `count` areas would be as a row along `side`.
fn worst(areas: &[f64], count: usize, side: f64) -> f64 {
    let row = areas.get(..count).unwrap_or(areas);
    let sum: f64 = row.iter().sum();
    let (largest, smallest) = (row.first().copied().unwrap_or(0.0), row.last().copied().unwrap_or(0.0));
    if sum <= 0.0 || smallest <= 0.0 {
        return f64::INFINITY;
    }
    let side = side * side;
    (side * largest / (sum * sum)).max(sum * sum / (side * smallest))
}

/// `12.3KiB, 4.5% of the file`
pub(super) fn weight(bytes: u64, file: u64) -> String {
    let tenths = u128::from(bytes) * 1_000 / u128::from(file.max(1));
    format!("{}, {}.{}% of the file", format_bytes(bytes), tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_the_sizes_and_cover_the_space() {
        let space = Rect { x: 0.0, y: 0.0, width: 600.0, height: 400.0 };
        let sizes = [6, 6, 4, 3, 2, 2, 1];
        let rects = squarify(&sizes, space);
        for (size, rect) in sizes.iter().zip(&rects) {
            assert!((rect.area() - float(*size) * 10_000.0).abs() < 1e-6, "{rect:?}");
            assert!(rect.x >= -1e-9 && rect.x + rect.width <= 600.0 + 1e-6, "{rect:?}");
            assert!(rect.y >= -1e-9 && rect.y + rect.height <= 400.0 + 1e-6, "{rect:?}");
            assert!(rect.width / rect.height < 3.0 && rect.height / rect.width < 3.0, "squarish: {rect:?}");
        }
        assert_eq!(rects.len(), sizes.len());
    }

    #[test]
    fn nothing_and_nowhere_are_laid_out_too() {
        let nowhere = Rect { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
        assert_eq!(squarify(&[], nowhere), []);
        for rect in squarify(&[5, 1, 0], nowhere) {
            assert!(rect.area().is_finite());
        }
        assert_eq!(squarify(&[u64::MAX / 2, 1], Rect { width: 10.0, height: 10.0, ..nowhere }).len(), 2);
    }

    #[test]
    fn small_parts_are_one_part() {
        let leaves = (1..=10).map(|bytes| Part::leaf(format!("f{bytes}"), bytes, Kind::Code)).collect();
        let part = Part::of("code".to_owned(), Kind::Code, leaves, 3, "functions");
        let shown: Vec<_> = part.children.iter().map(|child| (child.label.as_str(), child.bytes)).collect();
        assert_eq!(shown, [("7 more functions", 28), ("f10", 10), ("f9", 9), ("f8", 8)]);
        assert_eq!(part.bytes, 55);
    }
}
