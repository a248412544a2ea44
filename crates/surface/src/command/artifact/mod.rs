//! Artifacts on the command line: `pull`, `push`, `save`, `load`, `sign`, `verify`, `keys`.

mod copy;
mod pull;
mod push;
mod sign;
mod verify;

use std::{io::Write as _, sync::Arc};

use anyhow::anyhow;
use samara_artifact::{ImageLayout, Reference, Repository, Version};

pub use self::{
    copy::{LoadArgs, SaveArgs},
    pull::PullArgs,
    push::PushArgs,
    sign::{KeysAction, KeysArgs, SignArgs},
    verify::VerifyArgs,
};
use super::Failure;
use crate::source::Sources;

/// Somewhere that can be written to.
struct Writable {
    repository: Arc<dyn Repository>,
    version: Version,
    /// A tar that must be ended.
    layout: Option<ImageLayout>,
}

impl Writable {
    /// The repository that a reference names, to be written to.
    async fn open(sources: &Sources, reference: &Reference) -> Result<Self, Failure> {
        match reference {
            Reference::Oci(oci) => {
                let repository = sources.fetcher().and_then(|fetcher| fetcher.client.repository(oci)).map_err(usage)?;
                Ok(Self { repository, version: oci.version(), layout: None })
            }
            Reference::Layout { path, archive, version } => {
                let layout = ImageLayout::create(path, *archive).await.map_err(other)?;
                let version = version.clone().unwrap_or_else(|| Version::Tag("latest".to_owned()));
                Ok(Self { repository: Arc::new(layout.clone()), version, layout: Some(layout) })
            }
            other => Err(Failure::Usage(anyhow!(
                "`{other}` cannot be written to; write `registry.example/name:tag`, or `oci:DIRECTORY:tag`"
            ))),
        }
    }

    /// The tag to write; a digest names what is there and nothing new.
    fn tag(&self) -> Result<&str, Failure> {
        match &self.version {
            Version::Tag(tag) => Ok(tag),
            Version::Digest(digest) => {
                Err(Failure::Usage(anyhow!("`{digest}` is what something is, and no name for it; write a tag")))
            }
        }
    }

    async fn finish(self) -> Result<(), Failure> {
        match self.layout {
            Some(layout) => layout.finish().await.map_err(other),
            None => Ok(()),
        }
    }
}

/// What a person wrote is wrong.
fn usage(error: samara_artifact::Error) -> Failure {
    Failure::Usage(error.into())
}

/// Something went wrong.
fn other(error: samara_artifact::Error) -> Failure {
    Failure::Other(error.into())
}

/// Prints a result; a reader that has seen enough is no failure.
fn print(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}
