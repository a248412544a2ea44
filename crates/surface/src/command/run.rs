//! `samara run`: a WASI command, with this terminal as its streams.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use samara_model::{Call, Command, Compile, Fault, Limits, Reply, Shape, Stdio, Tenant, WorkloadId};
use samara_runtime::{Definition, PoolSize, Runtime, Workload};

use super::{CompileArgs, Contracts, Failure, GrantArgs, LimitArgs, TraceArgs, block_on, patiently, runtime, stores};

/// Arguments of `samara run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The command: a preview 1 module, a component, or either as text
    pub file: PathBuf,
    /// What the guest sees as its arguments
    #[arg(last = true)]
    pub args: Vec<String>,
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
    /// How it is compiled.
    #[command(flatten)]
    pub compile: CompileArgs,
}

impl RunArgs {
    /// Runs the command to its end; the exit code is the guest's own.
    ///
    /// # Errors
    /// The file cannot be loaded, or the guest failed rather than exited.
    pub fn run(self, contracts: Contracts) -> Result<ExitCode, Failure> {
        block_on(self.serve(contracts, |_| {}))?
    }

    /// The same, with a look at the workload before it is called.
    pub(super) async fn serve(self, contracts: Contracts, loaded: impl FnOnce(&Workload)) -> Result<ExitCode, Failure> {
        let bytes = crate::deploy::read_artifact(&self.file).map_err(Failure::Usage)?;
        let runtime = Arc::new(runtime(contracts, PoolSize::small(1), &self.compile));
        let name = self.file.file_name().map_or_else(|| "main.wasm".into(), |name| name.to_string_lossy().into_owned());
        let definition = Definition {
            id: id(&self.file),
            bytes,
            contract: self.contract.clone(),
            shapes: vec![Shape::Command],
            grants: self.grants.grants(),
            limits: self.limits.over(&Limits::run()),
            strict: false,
            features: None,
            reuse: 0,
            compile: Compile::Optimized,
            settings: serde_json::Value::Null,
            stores: stores(&self.grants.kv).await?,
        };
        let workload = patiently("compiling", runtime.load(definition)).await?;
        warn(&workload.warnings());
        self.trace.follow(&workload);
        loaded(&workload);
        let args = std::iter::once(name).chain(self.args).collect();
        let call = Call::Command(Command { args, env: Vec::new(), stdio: Stdio::Inherit });
        match Runtime::call(&runtime, &workload, call).await.map_err(|fault| Failure::of(fault, &workload))? {
            Reply::Exit(code) => Ok(exit_code(code)),
            Reply::Http(_) | Reply::Bytes(_) => {
                Err(Fault::Host("a command replied with something else than an exit code".into()).into())
            }
        }
    }
}

/// The only workload of a process that runs one goes by the name of its file.
pub(super) fn id(file: &Path) -> WorkloadId {
    let name = file.file_name().map_or_else(|| "main".into(), |name| name.to_string_lossy());
    WorkloadId { tenant: Tenant::default(), app: Arc::from("run"), name: name.into() }
}

pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::info!("{warning}");
    }
}

/// A shell sees eight bits; a guest's code that has more must not become a success.
fn exit_code(code: i32) -> ExitCode {
    match u8::try_from(code) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::from(u8::try_from(code & 0xff).ok().filter(|low| *low != 0).unwrap_or(1)),
    }
}
