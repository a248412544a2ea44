//! Core modules of Spin before there were components (Spin 0.x, wit-bindgen 0.2): their interfaces are those of
//! `fermyon:spin` under older names, laid out in memory as the canonical ABI came to have it. Under the newer names, and with the
//! type of their world, they are modules that become components.
//!
//! Source: <https://github.com/spinframework/spin>, `wit/ephemeral/` of the releases 0.x, and modules of 2023 built by its Rust, Go,
//! JS and TypeScript SDKs.

use std::{borrow::Cow, ops::Range};

use wasm_encoder::{
    ExportKind, ExportSection, ImportSection, RawSection,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{FunctionBody, Operator, Parser, Payload, TypeRef};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::{Encoding, Module};

/// The interfaces by their later names.
const WIT: &str = include_str!("../../bindings/wit/spin-1.wit");

/// What a module of then imports from, and the interface it became.
const IMPORTS: &[(&str, &str)] = &[
    ("key-value", "fermyon:spin/key-value"),
    ("spin-config", "fermyon:spin/config"),
    ("wasi-outbound-http", "fermyon:spin/http"),
    ("outbound-redis", "fermyon:spin/redis"),
    ("outbound-pg", "fermyon:spin/postgres"),
    ("outbound-mysql", "fermyon:spin/mysql"),
    ("sqlite", "fermyon:spin/sqlite"),
    ("llm", "fermyon:spin/llm"),
];

/// What it exports for its host to call, and the interface's function that it became.
const HANDLERS: &[(&str, &str, &str)] = &[
    ("handle-http-request", "fermyon:spin/inbound-http#handle-request", "http-trigger"),
    ("handle-redis-message", "fermyon:spin/inbound-redis#handle-message", "redis-trigger"),
];

/// Its allocator, which no other ABI calls so.
const REALLOC: &str = "canonical_abi_realloc";

/// The operator that does nothing.
const NOP: u8 = 0x01;

/// The handler of a module of then, by the name it has now, and the world of which that is.
fn handler(module: &Module) -> Option<&'static (&'static str, &'static str, &'static str)> {
    let legacy = module.encoding == Encoding::Core && module.exports_function(REALLOC).is_some();
    HANDLERS.iter().find(|(name, ..)| legacy && module.exports_function(name).is_some())
}

/// Whether this is such a module.
pub(crate) fn is_one(module: &Module) -> bool {
    handler(module).is_some()
}

/// The same module under the names of now, with the section that says what component it becomes; `None` if it is none of them.
pub(crate) fn renamed(module: &Module, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let Some((old, new, world)) = handler(module) else { return Ok(None) };
    // What a language has to set up is in a function of its own, in one that is called as a program's is, or before each export.
    let initialized = module.exports_function("_initialize").is_some();
    let starts = !initialized && module.exports_function("_start").is_some();
    let (mut bytes, mut constructors) = (Cow::Borrowed(bytes), None);
    if !initialized && !starts {
        let found = Functions::read(&bytes).and_then(|functions| functions.constructors(&[old, REALLOC]));
        if let Some((function, calls)) = found.map_err(|error| error.to_string())? {
            constructors = Some(function);
            // The allocator is called where it may call nobody, and once is enough.
            for call in calls {
                bytes.to_mut().get_mut(call).into_iter().flatten().for_each(|byte| *byte = NOP);
            }
        }
    }
    let bytes = &*bytes;
    let mut renamed = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| error.to_string())?;
        match payload {
            Payload::ImportSection(section) => {
                renamed.section(&imports(section).map_err(|error| error.to_string())?);
            }
            Payload::ExportSection(section) => {
                let mut exports = ExportSection::new();
                for export in section {
                    let export = export.map_err(|error| error.to_string())?;
                    let name = match export.name {
                        REALLOC => "cabi_realloc",
                        // What a language has to set up, and what it calls a main function that has nothing to do.
                        "_start" if starts => "_initialize",
                        "memory" | "_initialize" => export.name,
                        name if name == *old => new,
                        // Nobody calls the others.
                        _ => continue,
                    };
                    let kind = match export.kind {
                        wasmparser::ExternalKind::Memory => ExportKind::Memory,
                        _ => ExportKind::Func,
                    };
                    exports.export(name, kind, export.index);
                }
                if let Some(constructors) = constructors {
                    exports.export("_initialize", ExportKind::Func, constructors);
                }
                renamed.section(&exports);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    let data = bytes.get(range).unwrap_or_default();
                    renamed.section(&RawSection { id, data });
                }
            }
        }
    }
    let mut renamed = renamed.finish();
    // The imports and the one export that this module has; the encoder leaves out what it does not import.
    let text = format!("{WIT}\nworld module {{ include imports; include {world}; }}\n");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("spin-1.wit", &text).map_err(|error| format!("{error:#}"))?;
    let world = resolve.select_world(&[package], Some("module")).map_err(|error| format!("{error:#}"))?;
    embed_component_metadata(&mut renamed, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| format!("{error:#}"))?;
    Ok(Some(renamed))
}

/// The functions of a module, as far as it takes to find what its exports begin with.
#[derive(Default)]
struct Functions<'a> {
    imported: usize,
    /// Whether a type takes and gives nothing.
    empty: Vec<bool>,
    types: Vec<u32>,
    exports: Vec<(&'a str, u32)>,
    bodies: Vec<FunctionBody<'a>>,
}

impl<'a> Functions<'a> {
    fn read(bytes: &'a [u8]) -> wasmparser::Result<Self> {
        let mut found = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        let ty = ty?;
                        found.empty.push(ty.params().is_empty() && ty.results().is_empty());
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        if let TypeRef::Func(ty) = import?.ty {
                            found.imported += 1;
                            found.types.push(ty);
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        found.types.push(ty?);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == wasmparser::ExternalKind::Func {
                            found.exports.push((export.name, export.index));
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => found.bodies.push(body),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Whether a function takes and gives nothing.
    fn is_plain(&self, function: u32) -> bool {
        let at = |index: u32| usize::try_from(index).ok();
        let ty = at(function).and_then(|function| self.types.get(function)).copied();
        ty.and_then(at).and_then(|ty| self.empty.get(ty)).copied().unwrap_or_default()
    }

    /// What all of these exports call before anything else, as linkers of programs have it, and where.
    fn constructors(&self, exports: &[&str]) -> wasmparser::Result<Option<(u32, Vec<Range<usize>>)>> {
        let (mut common, mut calls) = (None, Vec::new());
        for name in exports {
            let export = self.exports.iter().find(|(export, _)| export == name).map(|(_, function)| *function);
            let body = export.and_then(|function| usize::try_from(function).ok()?.checked_sub(self.imported));
            let Some(body) = body.and_then(|body| self.bodies.get(body)) else { return Ok(None) };
            let mut operators = body.get_operators_reader()?;
            let start = operators.original_position();
            let Operator::Call { function_index } = operators.read()? else { return Ok(None) };
            if !self.is_plain(function_index) || common.is_some_and(|common| common != function_index) {
                return Ok(None);
            }
            common = Some(function_index);
            calls.push(start..operators.original_position());
        }
        Ok(common.map(|common| (common, calls)))
    }
}

fn imports(section: wasmparser::ImportSectionReader<'_>) -> Result<ImportSection, wasm_encoder::reencode::Error> {
    let mut imports = ImportSection::new();
    for import in section.into_imports() {
        let import = import?;
        let interface = IMPORTS.iter().find(|(old, _)| *old == import.module).map(|(_, new)| *new);
        let name = match (interface, import.name) {
            // What it was called when it was all there was.
            (Some("fermyon:spin/http"), "request") => Cow::Borrowed("send-request"),
            (_, name) => Cow::Borrowed(name),
        };
        imports.import(interface.unwrap_or(import.module), &name, RoundtripReencoder.entity_type(import.ty)?);
    }
    Ok(imports)
}
