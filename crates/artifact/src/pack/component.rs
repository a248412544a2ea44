//! What a component imports and exports, by name, for the configuration of its artifact. Nothing else of it is read.

use serde_json::{Value, json};
use wasmparser::{Parser, Payload};

use crate::Error;

/// `{"exports": [..], "imports": [..], "target": null}`, each in the order of the component.
///
/// # Errors
/// It is no component that can be read.
pub(super) fn described(bytes: &[u8]) -> Result<Value, Error> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    // Depth of modules and components within: only what is outermost is the component's own.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(not_read)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth = depth.saturating_add(1),
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(not_read)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(not_read)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(json!({ "exports": exports, "imports": imports, "target": null }))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn not_read(error: wasmparser::BinaryReaderError) -> Error {
    Error::Invalid(format!("the component is not read: {error}"))
}
