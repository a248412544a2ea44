//! Components that take messages as Spin's Redis trigger hands them out: they export `inbound-redis`, of `fermyon:spin` without
//! a version (Spin SDK 1 to 5) or `spin:redis@3.0.0`.
//!
//! Source: <https://github.com/spinframework/spin>, `wit/`. Where a message comes from is the trigger's business: the bus may
//! be Redis or any other. The interface hands over the payload alone.

use std::sync::Arc;

use async_trait::async_trait;
use samara_bindings::{spin1::redis_trigger as release1, spin3::redis_trigger as release3};
use samara_inspect::Module;
use samara_model::{Fault, Shape};
use samara_runtime::{CodeKind, Confidence, Contract, Fit, LinkTarget, Linked, Loaded, Ready};

use crate::world;

mod serve;
#[cfg(test)]
mod tests;

/// What a guest exports: before there were versions, and since.
const UNVERSIONED: &str = "fermyon:spin/inbound-redis";
const VERSIONED: &str = "spin:redis/inbound-redis";

/// The contract.
pub(crate) struct SpinRedis;

impl SpinRedis {
    fn handler(module: &Module) -> Option<(&'static str, &str)> {
        [VERSIONED, UNVERSIONED].into_iter().find_map(|name| Some((name, module.exports_interface(name)?)))
    }
}

#[async_trait]
impl Contract for SpinRedis {
    fn name(&self) -> &'static str {
        "spin-redis"
    }

    fn spec_url(&self) -> &'static str {
        "https://github.com/spinframework/spin"
    }

    fn shapes(&self) -> &'static [Shape] {
        &[Shape::Message]
    }

    fn fit(&self, module: &Module) -> Vec<Fit> {
        let fit = |(name, version): (&str, &str)| {
            let version = if version.is_empty() { String::new() } else { format!("@{version}") };
            Fit { shape: Shape::Message, confidence: Confidence::Certain, why: format!("exports `{name}{version}`") }
        };
        Self::handler(module).map(fit).into_iter().collect()
    }

    fn code_kind(&self, module: &Module) -> CodeKind {
        world::code_kind(module)
    }

    fn link(&self, target: LinkTarget<'_>) -> wasmtime::Result<()> {
        world::link(target)
    }

    async fn prepare(&self, loaded: Loaded<'_>) -> Result<Arc<dyn Ready>, Fault> {
        let config = |error: wasmtime::Error| Fault::Config(format!("its handler of messages does not link: {error:#}"));
        match (loaded.linked, Self::handler(loaded.module)) {
            (Linked::Component(pre), Some((VERSIONED, _))) => {
                Ok(Arc::new(serve::Release3(release3::RedisTriggerPre::new(pre).map_err(config)?)))
            }
            (Linked::Component(pre), Some(_)) => {
                Ok(Arc::new(serve::Release1(release1::RedisTriggerPre::new(pre).map_err(config)?)))
            }
            _ => Err(Fault::Config("it exports no `inbound-redis`".into())),
        }
    }
}
