//! `samara completions` and `samara man`: what a shell and a manual know of the command line, from the tree of commands
//! itself, so that neither can say something else.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;

use super::Failure;

/// Arguments of `samara completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Whose completions: `samara completions bash > ~/.local/share/bash-completion/completions/samara`
    pub shell: clap_complete::Shell,
}

impl CompletionsArgs {
    /// Prints the script that the shell loads.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(self, mut tree: clap::Command) -> Result<ExitCode, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut tree, "samara", &mut script);
        std::io::stdout().write_all(&script).context("printing the completions")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `samara man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// A folder for one page per command; standard output gets `samara.1` alone
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

impl ManArgs {
    /// Writes the manual pages.
    ///
    /// # Errors
    /// The folder or standard output cannot be written.
    pub fn run(self, tree: clap::Command) -> Result<ExitCode, Failure> {
        match self.output {
            Some(folder) => {
                std::fs::create_dir_all(&folder).with_context(|| format!("creating `{}`", folder.display()))?;
                let written = clap_mangen::generate_to(tree, &folder);
                written.with_context(|| format!("writing manual pages to `{}`", folder.display()))?;
            }
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(tree).render(&mut page).context("writing the manual page")?;
                std::io::stdout().write_all(&page).context("printing the manual page")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
