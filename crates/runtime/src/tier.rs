//! The two compilers, and how one version of a workload goes from the code of the fast one to that of the good one.
//!
//! A workload with `compile = "tiered"` that nobody compiled before answers first with baseline code (Winch: one pass, no
//! optimisation), while the optimised code (Cranelift) is made behind it by a worker of the same kind. Then every new call
//! takes the optimised code, and calls that run end on what they began with: a call finds its code by one load of a pointer
//! that is set once, so there is nothing to drop and nothing to wait for. Instances that were kept for another call are let go.
//!
//! Baseline code stays loaded as long as its version: giving it back would cost every call of every workload a reference
//! count. A version whose optimised code is in the cache has no baseline code at all.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use samara_inspect::Module;
use samara_model::{Fault, Shape, WorkloadId};
use samara_telemetry::{Gauge, HostMetrics};
use tokio::task::AbortHandle;

use crate::{
    Code, CodeKind, CompileError, Contract, EngineHandle, EngineKey, Linked, Ready, Runtime, Workload, pool::Footprint,
};

/// Features that the baseline compiler does not know, by their names in `samara inspect`. It may refuse others' rarer
/// instructions too, which only it can say.
const NOT_BASELINE: &[&str] =
    &["gc", "gc-types", "exceptions", "function-references", "tail-calls", "relaxed-simd", "stack-switching"];

/// Which compiler made some code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The optimising one.
    #[default]
    Optimized,
    /// The fast one.
    Baseline,
}

impl Tier {
    /// Both, the better first.
    pub const ALL: [Self; 2] = [Self::Optimized, Self::Baseline];

    /// The word in listings and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Optimized => "optimized",
            Self::Baseline => "baseline",
        }
    }
}

/// One tier's code of a workload, ready to be called.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) tier: Tier,
    pub(crate) ready: Arc<dyn Ready>,
    pub(crate) engine: Arc<EngineHandle>,
    pub(crate) footprint: Footprint,
    pub(crate) linked: Linked,
}

/// What the code of a workload is made of, in either tier.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) id: WorkloadId,
    pub(crate) bytes: Bytes,
    pub(crate) module: Module,
    pub(crate) contract: &'static dyn Contract,
    pub(crate) shape: Shape,
    pub(crate) settings: serde_json::Value,
    pub(crate) strict: bool,
    pub(crate) concurrency: bool,
    pub(crate) pooled: bool,
}

impl Material {
    fn key(&self, tier: Tier) -> EngineKey {
        EngineKey { code: CodeKind { concurrency: self.concurrency, tier }, pooled: self.pooled }
    }
}

/// The code of one workload: what it began with, and what replaced it.
#[derive(Debug)]
pub(crate) struct Tiers {
    first: Prepared,
    better: OnceLock<Prepared>,
    progress: Mutex<Progress>,
}

/// What becomes of baseline code.
#[derive(Debug, Default)]
struct Progress {
    /// Counted while baseline code is what new calls get.
    baseline: Option<Baseline>,
    /// Makes the optimised code; ends with the workload.
    making: Option<AbortHandle>,
    /// Why there will be no optimised code.
    failed: Option<String>,
}

/// Counts a workload that serves baseline code while it does.
#[derive(Debug)]
struct Baseline(Gauge);

impl Baseline {
    fn count(metrics: &HostMetrics) -> Self {
        metrics.baseline_workloads.inc();
        Self(metrics.baseline_workloads.clone())
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(making) = &self.making {
            making.abort();
        }
    }
}

impl Tiers {
    pub(crate) fn new(first: Prepared) -> Self {
        Self { first, better: OnceLock::new(), progress: Mutex::default() }
    }

    /// What a new call is to run.
    pub(crate) fn now(&self) -> &Prepared {
        self.better.get().unwrap_or(&self.first)
    }

    /// What a call that began in this tier runs.
    pub(crate) fn of(&self, tier: Tier) -> &Prepared {
        self.better.get().filter(|better| better.tier == tier).unwrap_or(&self.first)
    }

    /// Why it goes on serving baseline code, if optimised code was tried and failed.
    pub(crate) fn failed(&self) -> Option<String> {
        self.progress.lock().failed.clone()
    }
}

impl Runtime {
    /// The first code of a workload: optimised if it was asked for, if it is in the cache, or if the baseline compiler
    /// cannot; then `warnings` says why.
    pub(crate) async fn prepare_first(
        &self,
        material: &Material,
        tiered: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Prepared, Fault> {
        if !tiered {
            return self.prepare(material, Tier::Optimized, warnings).await;
        }
        let engine = self.engine(material.key(Tier::Optimized))?;
        if let Some(code) = self.compiler.cached(&engine, &material.module).await? {
            return self.prepare_code(material, engine, &code, warnings).await;
        }
        match self.baseline(material).await? {
            Ok((engine, code)) => self.prepare_code(material, engine, &code, warnings).await,
            Err(why) => {
                warnings.push(format!(
                    "the baseline compiler cannot compile it, so it waits for optimised code (`compile = \"optimized\"`): {why}"
                ));
                self.prepare(material, Tier::Optimized, warnings).await
            }
        }
    }

    /// The baseline code, or why only another compiler can have some.
    async fn baseline(&self, material: &Material) -> Result<Result<(Arc<EngineHandle>, Code), String>, Fault> {
        let lacks = |feature: &&&str| material.module.features.contains(feature);
        if let Some(feature) = NOT_BASELINE.iter().find(lacks) {
            return Ok(Err(format!("it uses the Wasm feature `{feature}`")));
        }
        // There are machines that this compiler has no instructions for.
        let engine = match self.engines.get(material.key(Tier::Baseline)) {
            Ok(engine) => engine,
            Err(error) => return Ok(Err(format!("{error:#}"))),
        };
        match self.compiler.code(&engine, &material.module, &material.bytes).await {
            Ok(code) => Ok(Ok((engine, code))),
            Err(CompileError::Unable(why)) => Ok(Err(why)),
            Err(error @ (CompileError::Refused(_) | CompileError::Host(_))) => Err(error.into()),
        }
    }

    pub(crate) async fn prepare(
        &self,
        material: &Material,
        tier: Tier,
        warnings: &mut Vec<String>,
    ) -> Result<Prepared, Fault> {
        let engine = self.engine(material.key(tier))?;
        let code = self.compiler.code(&engine, &material.module, &material.bytes).await?;
        self.prepare_code(material, engine, &code, warnings).await
    }

    /// Makes the optimised code of a workload that serves baseline code, in the background, and lets it take over.
    pub(crate) fn improve(self: &Arc<Self>, workload: &Arc<Workload>, material: Material) {
        let metrics = self.metrics().host().clone();
        let mut progress = workload.tiers.progress.lock();
        progress.baseline = Some(Baseline::count(&metrics));
        let (runtime, weak) = (Arc::clone(self), Arc::downgrade(workload));
        let making = tokio::spawn(async move {
            let _turn = runtime.improving.acquire().await;
            // They were told when the workload was loaded.
            let mut warnings = Vec::new();
            let prepared = runtime.prepare(&material, Tier::Optimized, &mut warnings).await;
            let Some(workload) = weak.upgrade() else { return };
            match prepared {
                Ok(prepared) => {
                    workload.take_over(prepared);
                    metrics.tier_swaps.inc();
                    tracing::info!(workload = %workload.id, "optimised code has taken over from baseline code");
                }
                Err(fault) => {
                    metrics.tier_failures.inc();
                    tracing::warn!(workload = %workload.id, "baseline code goes on serving, there is no optimised code: {fault}");
                    workload.tiers.progress.lock().failed = Some(fault.to_string());
                }
            }
        });
        progress.making = Some(making.abort_handle());
    }
}

impl Workload {
    /// The compiler of the code that new calls get.
    pub fn tier(&self) -> Tier {
        self.tiers.now().tier
    }

    /// Gives new calls this code. Calls that run end on the old one; instances kept of it go.
    fn take_over(&self, prepared: Prepared) {
        drop(self.tiers.better.set(prepared));
        let mut progress = self.tiers.progress.lock();
        progress.baseline = None;
        progress.making = None;
        drop(progress);
        self.evict_idle();
    }
}
