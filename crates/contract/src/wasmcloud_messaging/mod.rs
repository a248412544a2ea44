//! Components that take messages as wasmCloud's do: they export `wasmcloud:messaging/handler` 0.2.0 or 0.3.0.
//!
//! Source: <https://github.com/wasmCloud/wasmCloud>, `wit/` (0.2.0: wasmCloud 1.x, 0.3.0: 2.x). A handler answers by
//! publishing to the message's `reply-to` itself; an error that it returns is a failed delivery, which the subscription's
//! retries and dead letter are for.

use std::sync::Arc;

use async_trait::async_trait;
use samara_bindings::{wasmcloud_messaging as release2, wasmcloud_messaging3 as release3};
use samara_inspect::Module;
use samara_model::{Fault, Shape};
use samara_runtime::{CodeKind, Confidence, Contract, Fit, LinkTarget, Linked, Loaded, Ready};

use crate::world;

mod serve;
#[cfg(test)]
mod tests;

/// What a guest exports.
const HANDLER: &str = "wasmcloud:messaging/handler";

/// The contract.
pub(crate) struct WasmcloudMessaging;

#[async_trait]
impl Contract for WasmcloudMessaging {
    fn name(&self) -> &'static str {
        "wasmcloud-messaging"
    }

    fn spec_url(&self) -> &'static str {
        "https://github.com/wasmCloud/wasmCloud"
    }

    fn shapes(&self) -> &'static [Shape] {
        &[Shape::Message]
    }

    fn fit(&self, module: &Module) -> Vec<Fit> {
        let fit = |version: &str| Fit {
            shape: Shape::Message,
            confidence: Confidence::Certain,
            why: format!("exports `{HANDLER}@{version}`"),
        };
        module.exports_interface(HANDLER).map(fit).into_iter().collect()
    }

    fn code_kind(&self, module: &Module) -> CodeKind {
        world::code_kind(module)
    }

    fn link(&self, target: LinkTarget<'_>) -> wasmtime::Result<()> {
        world::link(target)
    }

    async fn prepare(&self, loaded: Loaded<'_>) -> Result<Arc<dyn Ready>, Fault> {
        let config = |error: wasmtime::Error| {
            Fault::Config(format!("its handler of messages does not link: {error:#}; this host speaks 0.2.0 and 0.3.0"))
        };
        let Linked::Component(pre) = loaded.linked else {
            return Err(Fault::Config(format!("it exports no `{HANDLER}`")));
        };
        match loaded.module.exports_interface(HANDLER) {
            Some(version) if version.starts_with("0.3") => {
                Ok(Arc::new(serve::Release3(release3::subscriber::SubscriberPre::new(pre).map_err(config)?)))
            }
            Some(_) => Ok(Arc::new(serve::Release2(release2::subscriber::SubscriberPre::new(pre).map_err(config)?))),
            None => Err(Fault::Config(format!("it exports no `{HANDLER}`"))),
        }
    }
}
