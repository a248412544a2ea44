//! Components that are key-value stores to others: they export `wasi:keyvalue/store`, and perhaps `atomics`, in one of the
//! two revisions that SDKs have.
//!
//! Source: <https://github.com/WebAssembly/wasi-keyvalue>. A store of the manifest leads here by
//! `provider = "workload:NAME"`. The guest's bucket is the one that `settings = { bucket = "..." }` of its workload names,
//! `default` otherwise; it is opened once an instance.

use std::sync::Arc;

use async_trait::async_trait;
use samara_inspect::Module;
use samara_model::{Fault, Shape};
use samara_runtime::{CodeKind, Confidence, Contract, Fit, LinkTarget, Linked, Loaded, Ready};
use serde::Deserialize;

use crate::world;

mod codec;
mod serve;
#[cfg(test)]
mod tests;

/// What a guest exports.
const STORE: &str = "wasi:keyvalue/store";
/// What it exports beside that if it can do more.
const ATOMICS: &str = "wasi:keyvalue/atomics";

/// The contract.
pub(crate) struct WasiKeyvalue;

/// The workload's `settings`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "usual_bucket")]
    bucket: String,
}

fn usual_bucket() -> String {
    "default".to_owned()
}

#[async_trait]
impl Contract for WasiKeyvalue {
    fn name(&self) -> &'static str {
        "wasi-keyvalue"
    }

    fn spec_url(&self) -> &'static str {
        "https://github.com/WebAssembly/wasi-keyvalue"
    }

    fn shapes(&self) -> &'static [Shape] {
        &[Shape::KeyValue]
    }

    fn fit(&self, module: &Module) -> Vec<Fit> {
        let fit = |version: &str| Fit {
            shape: Shape::KeyValue,
            confidence: Confidence::Certain,
            why: format!("exports `{STORE}@{version}`"),
        };
        module.exports_interface(STORE).map(fit).into_iter().collect()
    }

    fn code_kind(&self, module: &Module) -> CodeKind {
        world::code_kind(module)
    }

    fn link(&self, target: LinkTarget<'_>) -> wasmtime::Result<()> {
        world::link(target)
    }

    async fn prepare(&self, loaded: Loaded<'_>) -> Result<Arc<dyn Ready>, Fault> {
        let (Linked::Component(pre), Some(version)) = (loaded.linked, loaded.module.exports_interface(STORE)) else {
            return Err(Fault::Config(format!("it exports no `{STORE}`")));
        };
        let settings = if loaded.settings.is_null() { &serde_json::json!({}) } else { loaded.settings };
        let Settings { bucket } = Settings::deserialize(settings).map_err(|error| {
            Fault::Config(format!("`settings` of a key-value store: {error}; `bucket = \"default\"` is all there is"))
        })?;
        let exports = codec::Exports::find(pre.component(), version)?;
        Ok(Arc::new(serve::Provider { pre, exports, bucket }))
    }
}
