//! `REF` on the command line: what to load, and what is required of it.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use samara_artifact::Reference;
use samara_model::manifest::{Host, check_host};

use super::Failure;
use crate::{
    deploy,
    source::{Sourced, Sources},
};

/// Where artifacts come from, and what they must show.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Artifacts")]
pub struct OriginArgs {
    /// Speak plain HTTP with this registry or web server
    #[arg(long, value_name = "HOST[:PORT]", value_parser = host)]
    pub insecure: Vec<String>,
    /// The operator's file: registries, what artifacts may cost and must show, and for `serve` listeners, tenants, ceilings
    #[arg(long, value_name = "FILE")]
    pub host: Option<PathBuf>,
    /// A file with a `[trust]` table: what the artifact must show before anything of it is run
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// Let no request leave: what is neither a file nor in the store is not to be had
    #[arg(long)]
    pub offline: bool,
}

fn host(text: &str) -> Result<String, String> {
    check_host(text).map(|()| text.to_owned())
}

impl OriginArgs {
    /// Where artifacts come from, and what they must show: the operator's file, and more if the command line says so.
    pub(super) fn sources(&self) -> Result<Sources, Failure> {
        self.sources_of(&self.operators()?)
    }

    /// The same, of an operator's file that is read already.
    pub(super) fn sources_of(&self, operators: &Host) -> Result<Sources, Failure> {
        Sources::of_host(operators, &self.insecure, self.offline, self.trust.as_deref()).map_err(Failure::Usage)
    }

    /// The operator's file, or what holds without one.
    pub(super) fn operators(&self) -> Result<Host, Failure> {
        deploy::read_host(self.host.as_deref()).map_err(Failure::Usage)
    }

    /// The sources of a command that runs, saves and shows nothing, and so has nothing to ask a policy.
    pub(super) fn sources_untrusted(&self) -> Result<Sources, Failure> {
        if self.trust.is_some() {
            return Err(Failure::Usage(anyhow!(
                "`--trust` has no say here: nothing of the artifact is run; leave it out, or ask `samara verify REF --trust FILE`"
            )));
        }
        self.sources()
    }

    /// What a person wrote, loaded.
    pub(super) async fn load(&self, reference: &Reference) -> Result<Sourced, Failure> {
        self.sources()?.load(reference, None).await.map_err(Failure::Usage)
    }
}

/// Reads what a person wrote.
pub(super) fn reference(text: &str) -> Result<Reference, Failure> {
    Reference::parse(text).map_err(|error| Failure::Usage(error.into()))
}

/// The same, of a path that may be one of a file only.
pub(super) fn of_path(path: &Path) -> Result<Reference, Failure> {
    match path.to_str() {
        Some(text) => reference(text),
        None => Ok(Reference::File(path.to_owned())),
    }
}
