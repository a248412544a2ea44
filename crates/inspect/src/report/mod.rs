//! What a module is, on one screen, as JSON, or as a page to look at.
//!
//! The report joins the facts of [`Module`] with a closer look at the file, and with the verdicts of contracts, which
//! the caller brings: this crate knows no contract.

mod detail;
mod html;
mod json;
mod memory;
mod text;
mod treemap;

use samara_model::format_bytes;

use crate::{Metadata, Module, Need, metadata, needs, unrecognised};

use detail::CoreModule;

/// Whether a contract fits a module, as the contract sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The contract's name.
    pub contract: String,
    /// The shape of call it would serve.
    pub shape: String,
    /// How sure it is.
    pub confidence: String,
    /// What in the module says so.
    pub why: String,
    /// Whether this is the one that would be used.
    pub chosen: bool,
}

/// A function and its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeFunction {
    /// Its name as its author wrote it, made harmless; or its number.
    pub name: String,
    /// Its index in its module.
    pub index: u32,
    /// Bytes of its body.
    pub size_bytes: u64,
}

/// Functions that are listed, largest first.
const LARGEST: usize = 10;

/// Everything there is to say about a file.
#[derive(Debug)]
pub struct Report<'a> {
    title: Option<String>,
    module: &'a Module,
    verdicts: Vec<Verdict>,
    warnings: Vec<String>,
    needs: Vec<Need>,
    unrecognised: Vec<String>,
    metadata: Option<Metadata>,
    cores: Vec<CoreModule<'a>>,
    largest: Vec<LargeFunction>,
    start_name: Option<String>,
}

impl<'a> Report<'a> {
    /// Looks closer at `bytes`, which `module` was read from.
    pub fn new(bytes: &'a [u8], module: &'a Module, verdicts: Vec<Verdict>) -> Self {
        let cores = detail::core_modules(bytes);
        let largest = largest(&cores);
        let start_name = module.start.and_then(|index| {
            let core = cores.first()?;
            core.is_named(index).then(|| core.function_name(index))
        });
        Self {
            title: None,
            module,
            verdicts,
            warnings: warnings(module),
            needs: needs(module),
            unrecognised: unrecognised(module),
            metadata: metadata(bytes).ok(),
            cores,
            largest,
            start_name,
        }
    }

    /// Names the file, for the page's title.
    pub fn set_title(&mut self, title: impl Into<String>) {
        self.title = Some(title.into());
    }

    /// Replaces the needs read from imports by what the module's contract knows better.
    pub fn set_needs(&mut self, needs: Vec<Need>) {
        self.needs = needs;
    }

    /// Adds something that whoever reads the report should know: that the module is larger than a pool slot.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// The largest functions, largest first.
    pub fn largest_functions(&self) -> &[LargeFunction] {
        &self.largest
    }

    /// The facts as JSON, for programs.
    pub fn to_json(&self) -> serde_json::Value {
        json::render(self)
    }

    /// The facts as a page to look at, in one file without other assets.
    pub fn to_html(&self) -> String {
        html::render(self)
    }

    /// The facts on one screen of `width` columns; with `color`, for a terminal that shows colours.
    pub fn to_text(&self, width: usize, color: bool) -> String {
        text::render(self, width, color)
    }
}

fn largest(cores: &[CoreModule<'_>]) -> Vec<LargeFunction> {
    let mut all: Vec<(u64, u32, &CoreModule<'_>)> =
        cores.iter().flat_map(|core| core.functions.iter().map(move |(index, bytes)| (*bytes, *index, core))).collect();
    let by_size = |a: &(u64, u32, &CoreModule<'_>), b: &(u64, u32, &CoreModule<'_>)| b.0.cmp(&a.0).then(a.1.cmp(&b.1));
    if all.len() > LARGEST {
        all.select_nth_unstable_by(LARGEST, by_size);
        all.truncate(LARGEST);
    }
    all.sort_by(by_size);
    all.into_iter()
        .map(|(size_bytes, index, core)| LargeFunction { name: core.function_name(index), index, size_bytes })
        .collect()
}

/// What the facts alone warn of.
fn warnings(module: &Module) -> Vec<String> {
    /// A compile that takes longer deserves a warning.
    const SLOW: std::time::Duration = std::time::Duration::from_secs(10);
    const MUCH_MEMORY: u64 = 1 << 30;
    /// Real components have up to 14 core instances.
    const MANY_INSTANCES: u64 = 100;
    let mut warnings = Vec::new();
    if module.compile.estimated_cpu > SLOW {
        warnings.push(format!(
            "compiling may take very long: {}; a function has {} branches",
            module.compile.cost(),
            module.compile.max_branches
        ));
    }
    if module.footprint.core_instances > MANY_INSTANCES {
        let footprint = &module.footprint;
        warnings.push(format!(
            "each instance of it is {} core instances with {} memories of {}",
            footprint.core_instances,
            footprint.memories,
            format_bytes(footprint.memory_min_bytes)
        ));
    }
    if module.compile.estimated_memory_bytes > MUCH_MEMORY {
        warnings.push(format!(
            "compiling may need {} of memory: its largest function is {}",
            format_bytes(module.compile.estimated_memory_bytes),
            format_bytes(module.compile.largest_function_bytes)
        ));
    }
    if module.features.contains("threads") {
        warnings.push("it uses threads, which are not supported".to_owned());
    }
    if module.features.contains("legacy-exceptions") {
        warnings.push("it uses exceptions of the legacy proposal; rebuild it for the standard one".to_owned());
    }
    if module.has_custom_section("linking") {
        warnings.push("it is an object file; link it first".to_owned());
    }
    warnings
}

/// The tools that made the parts of the file, each once.
fn producers(report: &Report<'_>) -> Vec<crate::Producer> {
    let mut found: Vec<crate::Producer> = Vec::new();
    for producer in report.metadata.iter().flat_map(Metadata::all).flat_map(|part| &part.producers).take(1_000) {
        if !found.contains(producer) {
            found.push(producer.clone());
        }
    }
    found
}
