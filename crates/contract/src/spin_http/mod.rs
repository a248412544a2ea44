//! HTTP components of Spin before `wasi:http`: they export `fermyon:spin/inbound-http` (Spin SDK 1), as do the components that
//! modules of Spin 0.x become when they are loaded.
//!
//! Source: <https://github.com/spinframework/spin>, `wit/` and `crates/trigger-http` of the releases 0.x to 1.x. Request and
//! response are values: their bodies are in memory, within the workload's `request_body` limit.

use std::sync::Arc;

use async_trait::async_trait;
use samara_bindings::spin1::http_trigger::HttpTriggerPre;
use samara_inspect::Module;
use samara_model::{Fault, Shape};
use samara_runtime::{CodeKind, Confidence, Contract, Fit, LinkTarget, Linked, Loaded, Ready};

use crate::world;

mod serve;
#[cfg(test)]
mod tests;

/// What a guest exports.
const HANDLER: &str = "fermyon:spin/inbound-http";

/// The contract.
pub(crate) struct SpinHttp;

#[async_trait]
impl Contract for SpinHttp {
    fn name(&self) -> &'static str {
        "spin-http"
    }

    fn spec_url(&self) -> &'static str {
        "https://github.com/spinframework/spin"
    }

    fn shapes(&self) -> &'static [Shape] {
        &[Shape::Http]
    }

    fn fit(&self, module: &Module) -> Vec<Fit> {
        let why = format!("exports `{HANDLER}`");
        let fit = |_| Fit { shape: Shape::Http, confidence: Confidence::Certain, why };
        module.exports_interface(HANDLER).map(fit).into_iter().collect()
    }

    fn code_kind(&self, module: &Module) -> CodeKind {
        world::code_kind(module)
    }

    fn link(&self, target: LinkTarget<'_>) -> wasmtime::Result<()> {
        world::link(target)
    }

    async fn prepare(&self, loaded: Loaded<'_>) -> Result<Arc<dyn Ready>, Fault> {
        let config = |error: wasmtime::Error| Fault::Config(format!("its HTTP handler does not link: {error:#}"));
        match loaded.linked {
            Linked::Component(pre) => Ok(Arc::new(serve::Handler(HttpTriggerPre::new(pre).map_err(config)?))),
            Linked::Module(_) => Err(Fault::Config(format!("it exports no `{HANDLER}`"))),
        }
    }
}
