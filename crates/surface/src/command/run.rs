//! `samara run`: a WASI command, with this terminal as its streams.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use samara_model::{Call, Command, Fault, Reply, Shape, Stdio};
use samara_runtime::{Runtime, Workload};

use super::{Contracts, Failure, GuestArgs, block_on, origin};

/// Arguments of `samara run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The command: a preview 1 module, a component, or either as text; a file or a reference
    #[arg(value_name = "REF")]
    pub file: PathBuf,
    /// What the guest sees as its arguments
    #[arg(last = true)]
    pub args: Vec<String>,
    /// How it is loaded.
    #[command(flatten)]
    pub guest: GuestArgs,
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
        let (runtime, workload) = self.guest.load(contracts, &self.file, Shape::Command).await?;
        loaded(&workload);
        let args = std::iter::once(origin::of_path(&self.file)?.short_name()).chain(self.args).collect();
        let call = Call::Command(Command { args, env: Vec::new(), stdio: Stdio::Inherit });
        match Runtime::call(&runtime, &workload, call).await.map_err(|fault| Failure::of(fault, &workload))? {
            Reply::Exit(code) => Ok(exit_code(code)),
            Reply::Http(_) | Reply::Bytes(_) | Reply::Message(_) | Reply::KeyValue(_) => {
                Err(Fault::Host("a command replied with something else than an exit code".into()).into())
            }
        }
    }
}

/// A shell sees eight bits; a guest's code that has more must not become a success.
fn exit_code(code: i32) -> ExitCode {
    match u8::try_from(code) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::from(u8::try_from(code & 0xff).ok().filter(|low| *low != 0).unwrap_or(1)),
    }
}
