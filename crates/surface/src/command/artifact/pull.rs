//! `samara pull`: an artifact into the store, a file, or an image layout.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use samara_artifact::{
    ImageLayout, Reference, Version,
    store::{CopyOptions, copy},
};
use samara_model::format_bytes;
use serde_json::json;

use super::{other, print, usage};
use crate::{
    command::{Failure, OriginArgs, block_on, origin},
    source::shown,
};

/// Arguments of `samara pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// What to fetch
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Write the module to this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "to")]
    pub output: Option<PathBuf>,
    /// Copy the whole artifact with its signatures into an image layout: a folder, or a tar of one
    #[arg(long, value_name = "DIRECTORY|FILE.tar")]
    pub to: Option<PathBuf>,
    /// Where it comes from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl PullArgs {
    /// Fetches, verifies, writes.
    ///
    /// # Errors
    /// It is not there, not trusted, or cannot be written.
    pub fn run(self) -> Result<ExitCode, Failure> {
        block_on(self.pull())?
    }

    async fn pull(self) -> Result<ExitCode, Failure> {
        let (reference, sources) = (origin::reference(&self.reference)?, self.origin.sources()?);
        let (fetcher, trust, wanted) = (sources.fetcher().map_err(usage)?, sources.trust(), &reference);
        let fetch = |progress| async move { Box::pin(fetcher.fetch(wanted, trust, &progress)).await };
        let artifact = shown(&self.reference, fetch).await.map_err(other)?;
        if let Some(file) = &self.output {
            let written = std::fs::write(file, &artifact.bytes);
            written.with_context(|| format!("writing `{}`", file.display())).map_err(Failure::Other)?;
        }
        if let Some(path) = &self.to {
            let archive = path.extension().is_some_and(|extension| extension == "tar");
            let layout = ImageLayout::create(path, archive).await.map_err(other)?;
            let (repository, asked) = fetcher.repository(&reference).await.map_err(usage)?;
            // What was verified is what is copied, also when the tag moves meanwhile.
            let first = artifact.verdict.manifest.as_deref().and_then(|digest| digest.parse().ok());
            let version = first.map_or(asked, Version::Digest);
            let tag = tag_of(&reference);
            let copying = |progress| async move {
                let options = CopyOptions { progress, ..CopyOptions::default() };
                copy(&*repository, &version, &layout, tag.as_deref(), &options).await?;
                layout.finish().await
            };
            shown(&self.reference, copying).await.map_err(other)?;
        }
        let signers: Vec<_> = artifact.verdict.signers.iter().map(|signer| signer.who.clone()).collect();
        if self.json {
            let manifest = artifact.verdict.manifest.clone();
            print(
                &json!({
                    "reference": artifact.reference.to_string(),
                    "manifest": manifest,
                    "digest": artifact.digest.to_string(),
                    "bytes": artifact.bytes.len(),
                    "signers": artifact.verdict.signers,
                    "timings": artifact.timings,
                })
                .to_string(),
            );
        } else {
            let manifest = artifact.verdict.manifest.map(|digest| format!("\nmanifest  {digest}")).unwrap_or_default();
            let signed = signers.iter().map(|who| format!("\nsigned    {who}")).collect::<String>();
            let text = format!(
                "{}{manifest}\nmodule    {} ({}){signed}",
                artifact.reference,
                artifact.digest,
                format_bytes(artifact.bytes.len() as u64)
            );
            print(&text.lines().map(samara_telemetry::sanitize).collect::<Vec<_>>().join("\n"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The tag that a reference was asked by.
pub(super) fn tag_of(reference: &Reference) -> Option<String> {
    match reference {
        Reference::Oci(oci) => oci.tag.clone().or_else(|| oci.digest.is_none().then(|| "latest".to_owned())),
        Reference::Layout { version: Some(Version::Tag(tag)), .. } => Some(tag.clone()),
        _ => None,
    }
}
