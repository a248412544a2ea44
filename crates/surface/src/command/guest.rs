//! The guest of `samara run`, `call` and `profile`: one module, loaded to be called once.

use std::{path::Path, sync::Arc};

use anyhow::anyhow;
use clap::Args;
use samara_model::{Compile, Limits, Shape, Tenant, WorkloadId};
use samara_runtime::{Definition, PoolSize, Runtime, Workload};

use super::{
    CompileArgs, Contracts, Failure, GrantArgs, LimitArgs, OriginArgs, TraceArgs, origin, patiently, runtime, stores,
};
use crate::source::Sourced;

/// How a guest that is called once is loaded.
#[derive(Clone, Debug, Default, Args)]
pub struct GuestArgs {
    /// The contract, if the module fits several
    #[arg(long, value_name = "NAME")]
    pub contract: Option<String>,
    /// Whether calls are told.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// What it may do.
    #[command(flatten)]
    pub grants: GrantArgs,
    /// What bounds it.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Where it comes from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// How it is compiled.
    #[command(flatten)]
    pub compile: CompileArgs,
}

impl GuestArgs {
    /// Loads the guest, to be called in one shape.
    ///
    /// # Errors
    /// It cannot be read, compiled or linked, or a store cannot be opened.
    pub(super) async fn load(
        &self,
        contracts: Contracts,
        file: &Path,
        shape: Shape,
    ) -> Result<(Arc<Runtime>, Arc<Workload>), Failure> {
        let reference = origin::of_path(file)?;
        let Sourced { bytes, provenance } = self.origin.load(&reference).await?;
        let grants = self.grants.grants();
        provenance.allows(&grants, false).map_err(|why| Failure::Usage(anyhow!("`{reference}`: {why}")))?;
        let runtime = Arc::new(runtime(contracts, PoolSize::small(1), &self.compile));
        let definition = Definition {
            // The only workload of a process that runs one goes by the name of its artifact.
            id: WorkloadId { tenant: Tenant::default(), app: Arc::from("run"), name: reference.short_name().into() },
            bytes,
            contract: self.contract.clone(),
            shapes: vec![shape],
            grants,
            limits: self.limits.over(&Limits::run()),
            strict: false,
            features: None,
            reuse: 0,
            compile: Compile::Optimized,
            settings: serde_json::Value::Null,
            stores: stores(&self.grants.kv).await?,
        };
        let workload = patiently("compiling", runtime.load(definition)).await?;
        for warning in &workload.warnings() {
            tracing::info!("{warning}");
        }
        self.trace.follow(&workload);
        Ok((runtime, workload))
    }
}
