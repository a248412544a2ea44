//! The command line: arguments in, tables and exit codes out. The only folder that prints.
//!
//! Results go to standard output, everything else to standard error. Errors are told once, by [`report`].

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use samara_model::Fault;
use samara_runtime::{Backtrace, CodeCache, Compiler, CompilerSettings, Contract, PoolSize, Runtime, Worker, Workload};
use samara_telemetry::Metrics;

mod apps;
mod artifact;
mod cache;
mod call;
mod completions;
mod convert;
mod explain;
mod grants;
mod guest;
mod host;
mod input;
mod link;
mod observe;
mod origin;
mod profile;
mod run;
mod serve;
mod top;
mod trace;
mod usage;

pub use apps::{AppsAction, AppsArgs};
pub use artifact::{KeysAction, KeysArgs, LoadArgs, PullArgs, PushArgs, SaveArgs, SignArgs, VerifyArgs};
pub use cache::CacheArgs;
pub use call::CallArgs;
pub use completions::{CompletionsArgs, ManArgs};
pub use convert::ConvertArgs;
pub use explain::{InspectArgs, MetadataArgs, PrintArgs, StripArgs, ValidateArgs, WatArgs};
pub use grants::{GrantArgs, LimitArgs};
pub use guest::GuestArgs;
pub use link::LinkArgs;
pub use observe::ObserveArgs;
pub use origin::OriginArgs;
pub use profile::ProfileArgs;
pub use run::RunArgs;
pub use serve::ServeArgs;
pub use top::TopArgs;
pub use trace::TraceArgs;
pub use usage::{GrantsAction, GrantsArgs};

/// The contracts this binary was built with.
pub type Contracts = &'static [&'static dyn Contract];

/// The name of the hidden subcommand that compiles guests in a process of its own.
pub const COMPILE_WORKER: &str = "compile-worker";

/// Where guests are compiled and their code is kept.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Compiling")]
pub struct CompileArgs {
    /// Do not read or write the code cache
    #[arg(long)]
    pub no_cache: bool,
    /// Compile in this process: no start-up cost, and no protection from a module made to exhaust the compiler
    #[arg(long)]
    pub in_process: bool,
}

/// A runtime whose guests are compiled by this same program in a child process.
pub(crate) fn runtime(contracts: Contracts, size: PoolSize, compile: &CompileArgs) -> Runtime {
    let metrics = Metrics::new();
    let cache = if compile.no_cache {
        None
    } else {
        CodeCache::open_default().inspect_err(|error| tracing::warn!("no code cache: {error:#}")).ok()
    };
    let worker = if compile.in_process { Worker::InProcess } else { Worker::this_program([COMPILE_WORKER]) };
    let compiler = Compiler::new(CompilerSettings {
        cache,
        worker,
        metrics: Some(metrics.host().clone()),
        ..CompilerSettings::default()
    });
    Runtime::new(contracts, size, compiler, metrics)
}

/// The life of a compile worker: the hidden subcommand [`COMPILE_WORKER`].
pub fn compile_worker() -> ExitCode {
    samara_runtime::run_worker(std::io::stdin(), std::io::stdout(), std::io::stderr())
}

/// Waits for work that may take a while, with a spinner on a terminal once it does.
pub(crate) async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    /// Nobody wonders before this.
    const PATIENCE: Duration = Duration::from_millis(700);
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return done;
    }
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    let spinner = indicatif::ProgressBar::new_spinner().with_message(what.to_owned()).with_elapsed(PATIENCE);
    spinner.set_style(
        indicatif::ProgressStyle::with_template("{spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| indicatif::ProgressStyle::default_spinner()),
    );
    spinner.enable_steady_tick(Duration::from_millis(100));
    let done = work.await;
    spinner.finish_and_clear();
    done
}

/// Why a command failed: a fault has an exit code of its own.
#[derive(Debug)]
pub enum Failure {
    /// A call or a load went wrong.
    Fault(Fault),
    /// A call went wrong in the midst of the guest.
    Failed(Fault, Backtrace),
    /// The command line or a file on it is wrong: exit code 2.
    Usage(anyhow::Error),
    /// Anything else: exit code 1.
    Other(anyhow::Error),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// What became of the only call of a workload, and where in the guest.
    pub(crate) fn of(fault: Fault, workload: &Workload) -> Self {
        match workload.last_faults().pop().and_then(|last| last.backtrace) {
            Some(backtrace) => Self::Failed(fault, backtrace),
            None => Self::Fault(fault),
        }
    }
}

/// Tells a failure on standard error and picks the exit code.
pub fn report(result: Result<ExitCode, Failure>) -> ExitCode {
    let (message, code) = match result {
        Ok(code) => return code,
        Err(Failure::Failed(fault, backtrace)) => (format!("{fault}\nwasm backtrace:\n{backtrace}"), fault.exit_code()),
        Err(Failure::Fault(fault)) => (fault.to_string(), fault.exit_code()),
        Err(Failure::Usage(error)) => (format!("{error:#}"), 2),
        Err(Failure::Other(error)) => (format!("{error:#}"), 1),
    };
    let mut stderr = std::io::stderr().lock();
    let label = if stderr.is_terminal() { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
    // Messages may quote what a guest or a file says.
    let message: Vec<_> = message.lines().map(samara_telemetry::sanitize).collect();
    drop(writeln!(stderr, "{label} {}", message.join("\n")));
    ExitCode::from(code)
}

/// A current-thread runtime for commands that wait for one thing.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")?;
    let done = runtime.block_on(future);
    // A guest's read of standard input may still be blocked in a thread.
    runtime.shutdown_background();
    Ok(done)
}

/// Opens the stores of the command line, under the default tenant.
pub(crate) async fn stores(named: &[(String, String)]) -> Result<samara_runtime::Stores, Failure> {
    use samara_capability::kv;
    let mut stores = samara_runtime::Stores::default();
    for (name, provider) in named {
        let failed = |error: kv::KvError| {
            Failure::Usage(anyhow::Error::from(error).context(format!("opening the store `{name}`")))
        };
        let backend = kv::open(provider, &toml::Table::new(), &kv::NoWorkloads).await.map_err(failed)?;
        let store = kv::Store::new(name, &samara_model::Tenant::default(), backend).await.map_err(failed)?;
        stores.kv.insert(name.clone(), store);
    }
    Ok(stores)
}
