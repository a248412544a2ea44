//! What the text toolkit reads: a file, standard input, or whatever a reference names, and what `--trust` says of it.
//!
//! A file needs neither a store nor a network. Text is assembled, but for `wat`, which is about text.

use std::{
    io::{self, Read as _},
    path::Path,
};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use samara_artifact::{Reference, trust::Asked};
use samara_inspect::{MAX_SIZE_BYTES, ReadError, is_text, read_any};

use super::{Failure, OriginArgs, block_on, origin};
use crate::source::Provenance;

/// What was read, and where it came from if it was no plain file.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) bytes: Bytes,
    pub(super) provenance: Option<Provenance>,
}

impl Input {
    /// A module or component in binary form; text is assembled.
    pub(super) fn binary(path: &Path, origin: &OriginArgs) -> Result<Self, Failure> {
        Self::read(path, origin, |bytes| assembled(bytes, path))
    }

    /// The bytes as they are.
    pub(super) fn raw(path: &Path, origin: &OriginArgs) -> Result<Self, Failure> {
        Self::read(path, origin, Ok)
    }

    fn read(
        path: &Path,
        origin: &OriginArgs,
        prepare: impl FnOnce(Bytes) -> Result<Bytes, Failure>,
    ) -> Result<Self, Failure> {
        let reference = origin::of_path(path)?;
        if !matches!(reference, Reference::File(_)) {
            let loaded = block_on(origin.load(&reference))??;
            return Ok(Self { bytes: prepare(loaded.bytes)?, provenance: Some(loaded.provenance) });
        }
        let bytes = prepare(local(path)?)?;
        let sources = origin.sources()?;
        let trust = sources.trust();
        if trust.is_empty() {
            return Ok(Self { bytes, provenance: None });
        }
        let asked = Asked { reference: &reference, documents: &[], repository: None };
        let verdict = block_on(trust.verify(asked, &bytes))?.and_then(|verdict| verdict.into_accepted());
        let verdict = verdict.map_err(|error| Failure::Usage(error.into()))?;
        Ok(Self { bytes, provenance: Some(Provenance::of(&reference, verdict)) })
    }
}

/// The file's name in messages and titles.
pub(super) fn shown_name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// It is not what it should be.
pub(super) fn broken(path: &Path, error: &ReadError) -> Failure {
    Failure::Other(anyhow!("`{}`: {error}", shown_name(path)))
}

fn assembled(bytes: Bytes, path: &Path) -> Result<Bytes, Failure> {
    if !is_text(&bytes) {
        return Ok(bytes);
    }
    let wasm = read_any(&bytes, Some(path)).map_err(|error| Failure::Other(error.into()))?;
    Ok(wasm.into_owned().into())
}

/// A file, or standard input.
fn local(path: &Path) -> Result<Bytes, Failure> {
    let named = || format!("reading `{}`", shown_name(path));
    let mut bytes = Vec::new();
    let reader: Box<dyn io::Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).with_context(named).map_err(Failure::Usage)?)
    };
    // One byte more than is read, so that what is too large is seen to be.
    reader.take(MAX_SIZE_BYTES + 1).read_to_end(&mut bytes).with_context(named).map_err(Failure::Usage)?;
    Ok(bytes.into())
}
