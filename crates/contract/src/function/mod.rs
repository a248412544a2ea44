//! Plain functions: exports of a core module that take and give numbers, and exported functions of a component.
//!
//! There is no ABI beyond the core specification's numbers and the component model's value types
//! (<https://component-model.bytecodealliance.org>), so this is the most general contract and stands last in the table.
//! A reactor's `_initialize` runs before the first call of an instance, as the WASI application ABI says.

use std::sync::Arc;

use async_trait::async_trait;
use samara_inspect::{Encoding, Item, Module, ValueType};
use samara_model::{Fault, Shape};
use samara_runtime::{Code, CodeKind, Confidence, Contract, Fit, LinkTarget, Linked, Loaded, Ready};

use crate::world;

mod codec;
mod serve;
#[cfg(test)]
mod tests;

/// Exports that belong to another convention and are not anybody's function.
const NOT_FUNCTIONS: &[&str] = &["_start", "_initialize", "__wasm_call_ctors", "cabi_realloc", "canonical_abi_realloc"];

/// The contract.
pub(crate) struct PlainFunction;

#[async_trait]
impl Contract for PlainFunction {
    fn name(&self) -> &'static str {
        "function"
    }

    fn spec_url(&self) -> &'static str {
        "https://component-model.bytecodealliance.org"
    }

    fn shapes(&self) -> &'static [Shape] {
        &[Shape::Function]
    }

    fn fit(&self, module: &Module) -> Vec<Fit> {
        let names: Vec<&str> = match module.encoding {
            Encoding::Core => module
                .exports
                .iter()
                .filter(|export| !NOT_FUNCTIONS.contains(&export.name.as_str()))
                .filter(|export| module.exports_function(&export.name).is_some_and(|ty| only_numbers(&ty.params) && only_numbers(&ty.results)))
                .map(|export| export.name.as_str())
                .collect(),
            Encoding::Component => module
                .exports
                .iter()
                .filter(|export| match &export.item {
                    Item::WitFunction(_) => true,
                    // The worlds of WASI have contracts of their own.
                    Item::Interface { .. } => !export.name.starts_with("wasi:"),
                    _ => false,
                })
                .map(|export| export.name.as_str())
                .collect(),
        };
        let [first, ..] = names.as_slice() else { return Vec::new() };
        // A command may export helpers too, but it was made to be run.
        let is_command = module.exports_function("_start").is_some();
        let confidence = if is_command { Confidence::Possible } else { Confidence::Likely };
        let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        vec![Fit { shape: Shape::Function, confidence, why: format!("exports the function `{first}`{more}") }]
    }

    fn code_kind(&self, module: &Module) -> CodeKind {
        world::code_kind(module)
    }

    fn link(&self, target: LinkTarget<'_>) -> wasmtime::Result<()> {
        world::link(target)
    }

    async fn prepare(&self, loaded: Loaded<'_>) -> Result<Arc<dyn Ready>, Fault> {
        match (loaded.linked, loaded.code) {
            (Linked::Module(pre), _) => Ok(Arc::new(serve::CoreFunctions::new(pre, loaded.module))),
            (Linked::Component(pre), Code::Component(component)) => Ok(Arc::new(serve::ComponentFunctions::new(pre, component, world::code_kind(loaded.module).concurrency))),
            (Linked::Component(_), Code::Module(_)) => Err(Fault::Host("a component was compiled as a module".into())),
        }
    }
}

fn only_numbers(types: &[ValueType]) -> bool {
    types.iter().all(|ty| matches!(ty, ValueType::I32 | ValueType::I64 | ValueType::F32 | ValueType::F64))
}
