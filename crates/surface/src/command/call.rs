//! `samara call`: one function, with its arguments as words of the command line.

use std::{io::Read, io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use samara_model::{Call, Encoding, Fault, Function, Reply, Shape};
use samara_runtime::Runtime;

use super::{Contracts, Failure, GuestArgs, block_on};

/// Arguments of `samara call`.
#[derive(Debug, Args)]
pub struct CallArgs {
    /// The module or component, or either as text; a file or a reference
    #[arg(value_name = "REF")]
    pub file: PathBuf,
    /// The exported function: `add`, `greet`, or `package:name/interface#function`
    pub operation: String,
    /// Arguments: numbers for a core function, WAVE for a component's (strings need no quotes)
    #[arg(allow_negative_numbers = true)]
    pub args: Vec<String>,
    /// The arguments as JSON (an array, or an object by name): text, `@FILE`, or `-` for standard input
    #[arg(long, value_name = "JSON", conflicts_with = "args")]
    pub data: Option<String>,
    /// Print the result as JSON rather than WAVE
    #[arg(long)]
    pub json: bool,
    /// How it is loaded.
    #[command(flatten)]
    pub guest: GuestArgs,
}

impl CallArgs {
    /// Calls the function and prints its result.
    ///
    /// # Errors
    /// The file cannot be loaded, the arguments do not fit, or the guest failed.
    pub fn run(self, contracts: Contracts) -> Result<ExitCode, Failure> {
        block_on(self.serve(contracts))?
    }

    async fn serve(self, contracts: Contracts) -> Result<ExitCode, Failure> {
        let (payload, encoding) = self.payload()?;
        let (runtime, workload) = self.guest.load(contracts, &self.file, Shape::Function).await?;
        let call = Call::Function(Function { operation: self.operation, payload: payload.into(), encoding });
        match Runtime::call(&runtime, &workload, call).await.map_err(|fault| Failure::of(fault, &workload))? {
            Reply::Bytes(bytes) => {
                let mut stdout = std::io::stdout().lock();
                let printed = stdout
                    .write_all(&bytes)
                    .and_then(|()| if bytes.is_empty() { Ok(()) } else { stdout.write_all(b"\n") });
                match printed {
                    Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Other(error.into())),
                    _ => Ok(ExitCode::SUCCESS),
                }
            }
            Reply::Exit(_) | Reply::Http(_) | Reply::Message(_) | Reply::KeyValue(_) => {
                Err(Fault::Host("a function replied with something else than bytes".into()).into())
            }
        }
    }

    fn payload(&self) -> Result<(Vec<u8>, Encoding), Failure> {
        let Some(data) = &self.data else {
            let pairs: Vec<_> = self.args.iter().map(|text| ("", text)).collect();
            let payload = serde_json::to_vec(&pairs).context("writing the arguments")?;
            return Ok((payload, if self.json { Encoding::Text } else { Encoding::Wave }));
        };
        let payload = match data.strip_prefix('@') {
            Some(path) => std::fs::read(path).with_context(|| format!("reading `{path}`")).map_err(Failure::Usage)?,
            None if data == "-" => {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes).context("reading standard input")?;
                bytes
            }
            None => data.clone().into_bytes(),
        };
        Ok((payload, Encoding::Json))
    }
}
