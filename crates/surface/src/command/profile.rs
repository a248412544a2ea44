//! `samara profile`: where a guest spends its time, as a file for the Firefox Profiler and a few lines for now.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use samara_artifact::Reference;
use samara_model::manifest::LISTEN_ADMIN;
use samara_runtime::{Profile, Profiling};

use super::{Contracts, Failure, RunArgs, block_on, host::Host};
use crate::profile::{cpu_profile, hottest};

/// Functions in the table.
const SHOWN: usize = 10;
/// The longest profile of a running host, as its admin address has it.
const MAX_SECONDS: u32 = 60;

/// Arguments of `samara profile`.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// Where to write the profile; <https://profiler.firefox.com> opens it
    #[arg(short, long, value_name = "FILE", default_value = "samara.cpuprofile")]
    pub output: PathBuf,
    /// The admin address of the host, for a workload of a running one
    #[arg(long, value_name = "ADDRESS", default_value_t = LISTEN_ADMIN.to_string())]
    pub admin: String,
    /// How long to look at a running workload, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SECONDS)))]
    pub seconds: u32,
    /// What to run, or the workload of a running host: APP/WORKLOAD or TENANT/APP/WORKLOAD.
    #[command(flatten)]
    pub run: RunArgs,
}

impl ProfileArgs {
    /// Takes a profile of a command while it runs, or of a workload of a running host.
    ///
    /// # Errors
    /// The file cannot be loaded or written, or no host answers.
    pub fn run(self, contracts: Contracts) -> Result<ExitCode, Failure> {
        let command = super::origin::of_path(&self.run.file)?;
        if self.run.file.is_file() || !matches!(command, Reference::File(_)) {
            return block_on(self.of_command(contracts))?;
        }
        block_on(self.of_workload())?
    }

    async fn of_command(self, contracts: Contracts) -> Result<ExitCode, Failure> {
        let mut profiling: Option<Profiling> = None;
        let ran = self.run.serve(contracts, |workload| profiling = workload.profile()).await;
        // A guest that failed is one that somebody wants to know about.
        if let Some(profile) = profiling.map(Profiling::finish) {
            let file = cpu_profile(&profile).context("writing the profile").map_err(Failure::Other)?;
            write(&self.output, &file)?;
            tell(&profile).context("printing").map_err(Failure::Other)?;
        }
        ran
    }

    async fn of_workload(self) -> Result<ExitCode, Failure> {
        let wanted = self.run.file.display().to_string();
        let path = match wanted.split('/').collect::<Vec<_>>().as_slice() {
            [app, workload] => format!("default/{app}/{workload}"),
            [_, _, _] => wanted.clone(),
            _ => {
                return Err(Failure::Usage(anyhow::anyhow!(
                    "`{wanted}` is neither a file nor a workload; write APP/WORKLOAD or TENANT/APP/WORKLOAD, as `samara top` shows them"
                )));
            }
        };
        let host = Host::new(&self.admin);
        let patience = Duration::from_secs(u64::from(self.seconds) + 10);
        let question = format!("/v1/workloads/{path}/profile?seconds={}", self.seconds);
        let asked = host.get(&question, patience);
        let file = super::patiently(&format!("looking at {path}"), asked).await.map_err(Failure::Other)?;
        write(&self.output, &file)?;
        if is_empty(&file) {
            let mut stderr = std::io::stderr().lock();
            // Whoever does not read it sees an empty profile.
            drop(writeln!(
                stderr,
                "nothing of {path} ran in these {} s; send it requests meanwhile, or look for longer: `--seconds`",
                self.seconds
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether a profile has no sample.
fn is_empty(file: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Profile {
        samples: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Profile>(file).is_ok_and(|profile| profile.samples.is_empty())
}

fn write(output: &Path, file: &[u8]) -> Result<(), Failure> {
    let written = std::fs::write(output, file).with_context(|| format!("writing `{}`", output.display()));
    written.map_err(Failure::Other)?;
    let mut stderr = std::io::stderr().lock();
    // Whoever does not read it has the file.
    drop(writeln!(stderr, "written: {}; https://profiler.firefox.com opens it", output.display()));
    Ok(())
}

/// The hottest functions on standard error: standard output is the guest's.
fn tell(profile: &Profile) -> std::io::Result<()> {
    let mut stderr = std::io::stderr().lock();
    let (count, left_out) = (profile.samples.len(), profile.left_out);
    writeln!(stderr, "{count} samples in {:.3} s, {left_out} left out", profile.duration.as_secs_f64())?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["SELF", "TOTAL", "FUNCTION"]);
    for (name, own, total) in hottest(profile, SHOWN) {
        table.add_row([format!("{:.1}%", own * 100.0), format!("{:.1}%", total * 100.0), name]);
    }
    for column in table.column_iter_mut().take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(stderr, "{}", table.trim_fmt())
}
