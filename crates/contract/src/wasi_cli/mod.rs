//! WASI commands: preview 1 modules with `_start`, and components that export `wasi:cli/run` of 0.2 or 0.3.
//!
//! Source: the WASI preview 1 witx (`_start` takes and returns nothing; `proc_exit` ends the instance) and the WIT
//! package `wasi:cli` (<https://github.com/WebAssembly/wasi-cli>), whose `run` returns a result without payload: an
//! error is exit code 1.

use std::sync::Arc;

use async_trait::async_trait;
use samara_inspect::{Encoding, Module};
use samara_model::{Fault, Shape};
use samara_runtime::{CodeKind, Confidence, Contract, Fit, LinkTarget, Linked, Loaded, Ready};

use crate::world;

mod serve;
#[cfg(test)]
mod tests;

/// Preview 1's module of imports, and the one it had before it was released.
const PREVIEW_1: &[&str] = &["wasi_snapshot_preview1", "wasi_unstable"];

/// The contract.
pub(crate) struct WasiCli;

#[async_trait]
impl Contract for WasiCli {
    fn name(&self) -> &'static str {
        "wasi-cli"
    }

    fn spec_url(&self) -> &'static str {
        "https://github.com/WebAssembly/wasi-cli"
    }

    fn shapes(&self) -> &'static [Shape] {
        &[Shape::Command]
    }

    fn fit(&self, module: &Module) -> Vec<Fit> {
        let found = match module.encoding {
            Encoding::Core => {
                let start = module.exports_function("_start").filter(|start| start.params.is_empty() && start.results.is_empty());
                start.map(|_| match PREVIEW_1.iter().find(|name| module.imports_from(name)) {
                    Some(name) => (Confidence::Certain, format!("exports `_start` and imports `{name}`")),
                    None => (Confidence::Likely, "exports `_start`".to_owned()),
                })
            }
            Encoding::Component => module
                .exports_interface("wasi:cli/run")
                .map(|version| (Confidence::Certain, format!("exports `wasi:cli/run@{version}`"))),
        };
        found.into_iter().map(|(confidence, why)| Fit { shape: Shape::Command, confidence, why }).collect()
    }

    fn code_kind(&self, module: &Module) -> CodeKind {
        world::code_kind(module)
    }

    fn link(&self, target: LinkTarget<'_>) -> wasmtime::Result<()> {
        world::link(target)
    }

    async fn prepare(&self, loaded: Loaded<'_>) -> Result<Arc<dyn Ready>, Fault> {
        let config = |error: wasmtime::Error| Fault::Config(format!("{error:#}"));
        Ok(match loaded.linked {
            Linked::Module(pre) => Arc::new(serve::Preview1(pre)),
            Linked::Component(pre) => {
                let version = loaded.module.exports_interface("wasi:cli/run").unwrap_or_default();
                if version.starts_with("0.3") {
                    Arc::new(serve::Preview3(wasmtime_wasi::p3::bindings::CommandPre::new(pre).map_err(config)?))
                } else {
                    Arc::new(serve::Preview2(wasmtime_wasi::p2::bindings::CommandPre::new(pre).map_err(config)?))
                }
            }
        })
    }
}
