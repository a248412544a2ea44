//! `samara save` and `samara load`: artifacts with their signatures over an air gap, as a tar of an image layout.

use std::{path::PathBuf, process::ExitCode};

use anyhow::anyhow;
use clap::Args;
use samara_artifact::{
    ImageLayout, Reference, Version,
    store::{CopyOptions, copy},
};
use serde_json::json;

use super::{Writable, other, print, pull::tag_of, usage};
use crate::{
    command::{Failure, OriginArgs, block_on, origin},
    source::shown,
};

/// Arguments of `samara save`.
#[derive(Debug, Args)]
pub struct SaveArgs {
    /// What to save
    #[arg(value_name = "REF", required = true)]
    pub references: Vec<String>,
    /// The tar to write; of several artifacts each goes by its whole reference in it
    #[arg(short, long, value_name = "FILE.tar")]
    pub output: PathBuf,
    /// Where they come from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl SaveArgs {
    /// Copies the artifacts, verified if a policy asks for it.
    ///
    /// # Errors
    /// One is not there, not trusted, or the file cannot be written.
    pub fn run(self) -> Result<ExitCode, Failure> {
        block_on(self.save())?
    }

    async fn save(self) -> Result<ExitCode, Failure> {
        let sources = self.origin.sources()?;
        let fetcher = sources.fetcher().map_err(usage)?;
        let layout = &ImageLayout::create(&self.output, true).await.map_err(other)?;
        let mut saved = Vec::new();
        for text in &self.references {
            let reference = &origin::reference(text)?;
            let (repository, mut version) = fetcher.repository(reference).await.map_err(usage)?;
            if !sources.trust().is_empty() {
                let loaded = sources.load(reference, None).await?;
                // What was verified is what is copied, also when the tag moves meanwhile.
                let digest = loaded.provenance.manifest.and_then(|digest| digest.parse().ok());
                version = digest.map_or(version, Version::Digest);
            }
            let name = if self.references.len() == 1 { tag_of(reference) } else { Some(reference.to_string()) };
            let copying = |progress| async move {
                let options = CopyOptions { progress, ..CopyOptions::default() };
                copy(&*repository, &version, layout, name.as_deref(), &options).await
            };
            let copied = shown(text, copying).await.map_err(other)?;
            saved.push((reference.to_string(), copied.digest));
        }
        layout.finish().await.map_err(other)?;
        told(&saved, "saved", self.json);
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `samara load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// A tar of an image layout, or a folder that is one
    #[arg(value_name = "FILE.tar|DIRECTORY")]
    pub from: PathBuf,
    /// Where it goes: `registry.example/name:tag` [default: what each artifact was saved as]
    #[arg(long, value_name = "REF")]
    pub to: Option<String>,
    /// Where they go.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl LoadArgs {
    /// Copies what is in a layout into registries.
    ///
    /// # Errors
    /// It is no layout, says not where it goes, or a registry cannot be written to.
    pub fn run(self) -> Result<ExitCode, Failure> {
        block_on(self.load())?
    }

    async fn load(self) -> Result<ExitCode, Failure> {
        let sources = self.origin.sources()?;
        let layout = &ImageLayout::open(&self.from, !self.from.is_dir()).await.map_err(usage)?;
        let mut loaded = Vec::new();
        let mut plan = self.plan(layout).await?;
        if !sources.trust().is_empty() {
            // All of them before the first is written.
            for (version, to) in &mut plan {
                let (path, archive) = (self.from.clone(), !self.from.is_dir());
                let within = Reference::Layout { path, archive, version: Some(version.clone()) };
                let verified = sources.load(&within, None).await.map_err(|error| {
                    Failure::Usage(error.context(format!("`{to}` is not loaded, nor is anything else")))
                })?;
                // What was verified is what is copied.
                if let Some(digest) = verified.provenance.manifest.and_then(|digest| digest.parse().ok()) {
                    *version = Version::Digest(digest);
                }
            }
        }
        for (version, to) in plan {
            let writable = Writable::open(&sources, &to).await?;
            let tag = writable.tag()?.to_owned();
            let repository = &*writable.repository;
            let copying = |progress| async move {
                let options = CopyOptions { progress, ..CopyOptions::default() };
                copy(layout, &version, repository, Some(&tag), &options).await
            };
            let copied = shown(&to.to_string(), copying).await.map_err(other)?;
            writable.finish().await?;
            loaded.push((to.to_string(), copied.digest));
        }
        told(&loaded, "loaded", self.json);
        Ok(ExitCode::SUCCESS)
    }

    /// What goes where.
    async fn plan(&self, layout: &ImageLayout) -> Result<Vec<(Version, Reference)>, Failure> {
        if let Some(to) = &self.to {
            let version = layout.only().await.map_err(|error| {
                Failure::Usage(anyhow::Error::new(error).context(format!(
                    "`--to` is the place of one artifact, and `{}` holds not just one; leave it out, and each goes where it was saved from",
                    self.from.display()
                )))
            })?;
            return Ok(vec![(version, origin::reference(to)?)]);
        }
        let listed = layout.list().await.map_err(usage)?;
        let named = listed.into_iter().filter_map(|(name, _)| {
            let name = name?;
            match Reference::parse(&name) {
                Ok(reference @ Reference::Oci(_)) => Some((Version::Tag(name), reference)),
                _ => None,
            }
        });
        let plan: Vec<_> = named.collect();
        if plan.is_empty() {
            return Err(Failure::Usage(anyhow!(
                "`{}` does not say where it came from; name where it goes with `--to registry.example/name:tag`",
                self.from.display()
            )));
        }
        Ok(plan)
    }
}

fn told(done: &[(String, samara_artifact::Digest)], what: &str, json: bool) {
    if json {
        let list =
            done.iter().map(|(reference, digest)| json!({ "reference": reference, "manifest": digest.to_string() }));
        return print(&serde_json::Value::from_iter(list).to_string());
    }
    for (reference, digest) in done {
        print(&format!("{}@{digest}: {what}", samara_telemetry::sanitize(reference)));
    }
}
