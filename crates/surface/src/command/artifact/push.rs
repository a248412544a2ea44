//! `samara push`: a module as an artifact of a registry or an image layout.

use std::{path::PathBuf, process::ExitCode};

use anyhow::anyhow;
use clap::Args;
use samara_artifact::{
    bundle::Kind,
    pack::{Layout, Metadata, pack},
    trust::{SignatureLayout, sign},
};
use serde_json::json;

use super::{Writable, other, print, sign::key_pair, usage};
use crate::command::{Failure, OriginArgs, block_on, origin};

/// Arguments of `samara push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The module or component, or either as text
    pub file: PathBuf,
    /// Where it goes: `registry.example/name:tag`, `oci:DIRECTORY:tag`
    #[arg(value_name = "REF")]
    pub reference: String,
    /// How it is laid out, for those who want it otherwise than the CNCF's Wasm artifact: kubewarden, spin-module, image, compat
    #[arg(long, value_name = "LAYOUT", default_value_t = Layout::Wasm)]
    pub layout: Layout,
    /// An annotation of the manifest, such as `org.opencontainers.image.source=https://...`
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub annotation: Vec<(String, String)>,
    /// Sign it with this private key
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
    /// Where it goes.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

impl PushArgs {
    /// Packs, pushes, and signs if asked to.
    ///
    /// # Errors
    /// The file is no WebAssembly, or the registry cannot be written to.
    pub fn run(self) -> Result<ExitCode, Failure> {
        block_on(self.push())?
    }

    async fn push(self) -> Result<ExitCode, Failure> {
        let module = crate::deploy::read_artifact(&self.file).map_err(Failure::Usage)?;
        if !Kind::of(&module).is_wasm() {
            return Err(Failure::Usage(anyhow!(
                "`{}` is no WebAssembly, neither in binary form nor as text; `samara push` is for modules and components",
                self.file.display()
            )));
        }
        // The password first: nobody wants to be asked for it after an upload.
        let key = self.sign.as_deref().map(key_pair).transpose()?;
        let (reference, sources) = (origin::reference(&self.reference)?, self.origin.sources_untrusted()?);
        let name = self.file.file_stem().and_then(|stem| stem.to_str());
        let name = name.ok_or_else(|| Failure::Usage(anyhow!("`{}` has no name", self.file.display())))?;
        // Text was assembled on the way.
        let mut metadata = Metadata::of(&format!("{name}.wasm")).map_err(usage)?;
        metadata.annotations.extend(self.annotation);
        let packed = pack(&module, self.layout, &metadata).map_err(usage)?;
        let to = Writable::open(&sources, &reference).await?;
        let tag = to.tag()?.to_owned();
        let digest = packed.push(&*to.repository, Some(&tag)).await.map_err(other)?;
        let mut signatures = Vec::new();
        if let Some(key) = &key {
            signatures = sign(&*to.repository, &digest, key, SignatureLayout::ALL).await.map_err(other)?;
        }
        to.finish().await?;
        if self.json {
            let json =
                json!({ "reference": reference.to_string(), "manifest": digest.to_string(), "signatures": signatures });
            print(&json.to_string());
        } else {
            let signed = if signatures.is_empty() { "" } else { ", signed" };
            print(&format!("{reference}@{digest}: pushed{signed}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
