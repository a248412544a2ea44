//! The report for programs.

use serde_json::{Value, json};

use super::Report;
use crate::{Item, Memory, Table, WitFunction};

pub(super) fn render(report: &Report<'_>) -> Value {
    let module = report.module;
    let size = module.size_bytes;
    json!({
        "kind": module.encoding.as_str(),
        "size": size,
        "sha256": module.sha256,
        "contracts": report.verdicts.iter().map(|verdict| json!({
            "contract": verdict.contract,
            "shape": verdict.shape,
            "confidence": verdict.confidence,
            "why": verdict.why,
            "chosen": verdict.chosen,
        })).collect::<Vec<_>>(),
        "needs": report.needs.iter().map(|need| json!({
            "capability": need.capability.as_str(),
            "default": if need.capability.granted_to_all() { "granted" } else { "denied" },
            "imports": need.imports,
        })).collect::<Vec<_>>(),
        "unrecognised": report.unrecognised,
        "imports": module.imports.iter().map(|import| {
            let mut value = item(&import.name, &import.item);
            if !import.module.is_empty() {
                set(&mut value, "module", json!(import.module));
            }
            value
        }).collect::<Vec<_>>(),
        "exports": module.exports.iter().map(|export| item(&export.name, &export.item)).collect::<Vec<_>>(),
        "memories": module.memories.iter().map(memory).collect::<Vec<_>>(),
        "tables": module.tables.iter().map(table).collect::<Vec<_>>(),
        "start": module.start.map(|index| json!({ "index": index, "name": report.start_name })),
        "globals": module.globals,
        "sections": module.sections.iter().map(|section| json!({
            "name": section.name,
            "offset": section.offset_bytes,
            "size": section.size_bytes,
            "share": share(section.size_bytes, size),
        })).collect::<Vec<_>>(),
        "data_bytes": module.data_bytes,
        "data_segments": module.data_segments,
        "functions": report.largest.iter().map(|function| json!({
            "name": function.name,
            "index": function.index,
            "size": function.size_bytes,
            "share": share(function.size_bytes, size),
        })).collect::<Vec<_>>(),
        "function_count": module.functions,
        "core_modules": module.core_modules,
        "modules": report.cores.iter().map(|core| json!({
            "name": core.name,
            "size": core.bytes,
            "functions": core.functions.len(),
            "sections": core.sections.iter().map(|(name, bytes)| json!({ "name": name, "size": bytes }))
                .collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "features": module.features.names().collect::<Vec<_>>(),
        "footprint": {
            "core_instances": module.footprint.core_instances,
            "memories": module.footprint.memories,
            "memory_min_bytes": module.footprint.memory_min_bytes,
            "max_memory_min_bytes": module.footprint.max_memory_min_bytes,
            "tables": module.footprint.tables,
            "table_min_elements": module.footprint.table_min_elements,
            "max_table_min_elements": module.footprint.max_table_min_elements,
        },
        "compile": {
            "cost": module.compile.cost(),
            "estimated_cpu_ms": u64::try_from(module.compile.estimated_cpu.as_millis()).unwrap_or(u64::MAX),
            "estimated_memory_bytes": module.compile.estimated_memory_bytes,
            "functions": module.compile.functions,
            "code_bytes": module.compile.code_bytes,
            "operators": module.compile.operators,
            "largest_function_bytes": module.compile.largest_function_bytes,
            "max_locals": module.compile.max_locals,
            "max_branches": module.compile.max_branches,
            "max_calls": module.compile.max_calls,
        },
        "producers": producers(report),
        "custom": report.metadata.iter().flat_map(crate::Metadata::all).flat_map(|part| &part.custom)
            .map(|custom| json!(custom)).collect::<Vec<_>>(),
        "claims": claims(report),
        "kubewarden": kubewarden(report),
        "metadata": report.metadata,
        "warnings": report.warnings,
    })
}

/// Bytes as a part of the whole file, in percent with two decimals.
fn share(bytes: u64, of: u64) -> f64 {
    let hundredths = u32::try_from(u128::from(bytes) * 10_000 / u128::from(of.max(1))).unwrap_or(u32::MAX);
    f64::from(hundredths) / 100.0
}

/// The claims of a signed actor, not verified.
pub(super) fn claims(report: &Report<'_>) -> Option<Value> {
    first(report, |part| part.claims.clone())
}

/// The metadata of a Kubewarden policy.
pub(super) fn kubewarden(report: &Report<'_>) -> Option<Value> {
    first(report, |part| part.kubewarden.clone())
}

fn first(report: &Report<'_>, get: impl Fn(&crate::Metadata) -> Option<Value>) -> Option<Value> {
    report.metadata.iter().flat_map(crate::Metadata::all).find_map(get)
}

/// The tools of all parts, each once.
fn producers(report: &Report<'_>) -> Vec<Value> {
    super::producers(report).into_iter().map(|producer| json!(producer)).collect()
}

fn set(value: &mut Value, key: &str, to: Value) {
    if let Some(object) = value.as_object_mut() {
        object.insert(key.to_owned(), to);
    }
}

fn item(name: &str, item: &Item) -> Value {
    let mut value = json!({ "name": name, "kind": item.kind() });
    match item {
        Item::Function(signature) | Item::Tag(signature) => {
            set(&mut value, "signature", json!(signature.to_string()));
        }
        Item::Memory(ty) => set(&mut value, "memory", memory(ty)),
        Item::Table(ty) => set(&mut value, "table", table(ty)),
        Item::Global(global) => {
            set(&mut value, "type", json!(global.value.to_string()));
            set(&mut value, "mutable", json!(global.mutable));
        }
        Item::WitFunction(function) => set(&mut value, "signature", json!(function.signature)),
        Item::Interface(functions) => {
            let functions: Vec<_> = functions.iter().map(wit_function).collect();
            set(&mut value, "functions", json!(functions));
        }
        Item::Type | Item::Module | Item::Component | Item::Value => {}
    }
    value
}

fn wit_function(function: &WitFunction) -> Value {
    json!({ "name": function.name, "signature": function.signature })
}

fn memory(memory: &Memory) -> Value {
    json!({
        "min_pages": memory.min_pages,
        "max_pages": memory.max_pages,
        "min_bytes": memory.min_bytes(),
        "max_bytes": memory.max_bytes(),
        "page_bytes": memory.page_bytes,
        "memory64": memory.memory64,
        "shared": memory.shared,
        "imported": memory.imported,
    })
}

fn table(table: &Table) -> Value {
    json!({
        "min_elements": table.min_elements,
        "max_elements": table.max_elements,
        "element": table.element.to_string(),
        "imported": table.imported,
    })
}
