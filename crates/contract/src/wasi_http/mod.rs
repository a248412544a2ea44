//! HTTP components: `wasi:http/incoming-handler@0.2.x` and `wasi:http/handler@0.3.x`.
//!
//! Source: the WIT package `wasi:http` (<https://github.com/WebAssembly/wasi-http>). Seen in real guests: one component
//! mixes several 0.2 versions (they link by semver), and guests of `wstd` export `wasi:cli/run` beside the handler, so
//! that the trigger's shape decides.

use std::sync::Arc;

use async_trait::async_trait;
use samara_inspect::Module;
use samara_model::{Fault, Shape};
use samara_runtime::{CodeKind, Confidence, Contract, Fit, LinkTarget, Linked, Loaded, Ready};
use wasmtime_wasi_http::{p2::bindings::ProxyPre, p3::bindings::ServicePre};

use crate::world;

mod serve;
#[cfg(test)]
mod tests;

/// The handler of WASI 0.2.
const INCOMING_HANDLER: &str = "wasi:http/incoming-handler";
/// The handler of WASI 0.3.
const HANDLER: &str = "wasi:http/handler";

/// The contract.
pub(crate) struct WasiHttp;

impl WasiHttp {
    /// The handler a module exports, with its version.
    fn handler(module: &Module) -> Option<(&'static str, &str)> {
        [INCOMING_HANDLER, HANDLER].into_iter().find_map(|name| Some((name, module.exports_interface(name)?)))
    }
}

#[async_trait]
impl Contract for WasiHttp {
    fn name(&self) -> &'static str {
        "wasi-http"
    }

    fn spec_url(&self) -> &'static str {
        "https://github.com/WebAssembly/wasi-http"
    }

    fn shapes(&self) -> &'static [Shape] {
        &[Shape::Http]
    }

    fn fit(&self, module: &Module) -> Vec<Fit> {
        let found = Self::handler(module);
        let fit = |(name, version): (&str, &str)| {
            Fit { shape: Shape::Http, confidence: Confidence::Certain, why: format!("exports `{name}@{version}`") }
        };
        found.map(fit).into_iter().collect()
    }

    fn code_kind(&self, module: &Module) -> CodeKind {
        world::code_kind(module)
    }

    fn link(&self, target: LinkTarget<'_>) -> wasmtime::Result<()> {
        world::link(target)
    }

    async fn prepare(&self, loaded: Loaded<'_>) -> Result<Arc<dyn Ready>, Fault> {
        let config = |error: wasmtime::Error| {
            let text = format!("{error:#}");
            Fault::Config(format!("its HTTP handler does not link: {text}; this host speaks the releases 0.2.x and 0.3.x"))
        };
        if let Some(why) = Self::handler(loaded.module).and_then(|(name, version)| draft(name, version)) {
            return Err(Fault::Config(why));
        }
        match (loaded.linked, Self::handler(loaded.module)) {
            (Linked::Component(pre), Some((HANDLER, _))) => Ok(Arc::new(serve::Release3(ServicePre::new(pre).map_err(config)?))),
            (Linked::Component(pre), Some(_)) => Ok(Arc::new(serve::Release2(ProxyPre::new(pre).map_err(config)?))),
            _ => Err(Fault::Config("it exports no `wasi:http` handler".into())),
        }
    }
}

/// What mends a handler of a draft, whose types are others than those of the release.
fn draft(name: &str, version: &str) -> Option<String> {
    let (release, _) = version.split_once("-rc-")?;
    let rebuild = match release {
        "0.2.0" => "rebuild it with an SDK for WASI 0.2.0 (Spin's SDKs from 3.0 on; those of Spin 2 made drafts)",
        _ => "rebuild it with an SDK for the release (Spin's SDK from 7.0 on)",
    };
    Some(format!("it exports `{name}@{version}`, a draft of {release} that this host does not speak; {rebuild}"))
}
