//! The parts of a file by name, for lists and for errors.

use wasmparser::Payload;

use super::parser;
use crate::Encoding;

/// The name of a payload's section: `type`, `code`.
pub(crate) fn section_name(payload: &Payload<'_>) -> &'static str {
    match payload {
        Payload::TypeSection(_) => "type",
        Payload::ImportSection(_) => "import",
        Payload::FunctionSection(_) => "function",
        Payload::TableSection(_) => "table",
        Payload::MemorySection(_) => "memory",
        Payload::TagSection(_) => "tag",
        Payload::GlobalSection(_) => "global",
        Payload::ExportSection(_) => "export",
        Payload::StartSection { .. } => "start",
        Payload::ElementSection(_) => "element",
        Payload::DataCountSection { .. } => "data count",
        Payload::DataSection(_) => "data",
        Payload::CodeSectionStart { .. } | Payload::CodeSectionEntry(_) => "code",
        Payload::ModuleSection { .. } => "core module",
        Payload::InstanceSection(_) => "core instance",
        Payload::CoreTypeSection(_) => "core type",
        Payload::ComponentSection { .. } => "component",
        Payload::ComponentInstanceSection(_) => "instance",
        Payload::ComponentAliasSection(_) => "alias",
        Payload::ComponentTypeSection(_) => "component type",
        Payload::ComponentCanonicalSection(_) => "canonical function",
        Payload::ComponentStartSection { .. } => "component start",
        Payload::ComponentImportSection(_) => "component import",
        Payload::ComponentExportSection(_) => "component export",
        Payload::CustomSection(_) => "custom",
        Payload::UnknownSection { .. } => "unknown",
        _ => "header",
    }
}

/// The name of the innermost section around a byte of the file.
pub(crate) fn section_at(bytes: &[u8], offset: usize) -> &'static str {
    let mut found = "header";
    for payload in parser().parse_all(bytes) {
        let Ok(payload) = payload else { break };
        match payload.as_section() {
            Some((_, range)) if range.start > offset => break,
            Some((_, range)) if offset <= range.end => found = section_name(&payload),
            _ => {}
        }
    }
    found
}

/// The name of the section that `id` introduces in a module or component.
pub(super) fn section_of_id(encoding: Encoding, id: u8) -> &'static str {
    const CORE: &[&str] = &[
        "custom",
        "type",
        "import",
        "function",
        "table",
        "memory",
        "global",
        "export",
        "start",
        "element",
        "code",
        "data",
        "data count",
        "tag",
    ];
    const COMPONENT: &[&str] = &[
        "custom",
        "core module",
        "core instance",
        "core type",
        "component",
        "instance",
        "alias",
        "component type",
        "canonical function",
        "component start",
        "component import",
        "component export",
    ];
    let names = if encoding == Encoding::Core { CORE } else { COMPONENT };
    names.get(usize::from(id)).copied().unwrap_or("unknown")
}

/// Where the parser goes on after a payload.
pub(super) fn end_of(payload: &Payload<'_>) -> Option<usize> {
    match payload {
        Payload::Version { range, .. } => Some(range.end),
        // What is inside comes next.
        Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
            Some(unchecked_range.start)
        }
        other => other.as_section().map(|(_, range)| range.end),
    }
}
