//! From manifests to what is served, and how that changes while it runs: the second straight line of the architecture.
//!
//! [`Deployment`] is the list of apps. A change loads and tries the new version beside the old one and then replaces the
//! gateway's table of routes as a whole: a request takes either the old way or the new one, and nothing in between. What a
//! request has begun with, it ends with: a version is dropped when the last of its calls is.
//!
//! Everything that can be refused is refused before anything changes: files that are not there, limits over the operator's
//! ceilings, stores that nobody declares, two apps that claim one route, a canary that fails.

mod deployed;
mod events;
mod follow;
mod foreign;
mod guest_store;
mod guests;
mod link;
mod load;
mod registry;
mod relink;
mod rollout;
mod routes;
mod stores;
#[cfg(test)]
mod tests;
mod update;
mod waiting;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use samara_model::manifest::{App, Host};

pub use deployed::{Deployed, FULL_WEIGHT, MAX_VERSIONS, RefusedVersion, Share};
pub use events::run_triggers;
pub use follow::Follow;
pub use foreign::{ReadManifest, is_manifest, options_of_environment};
pub use load::Version;
pub use registry::{Deployment, MAX_APPS, Put, Refused};
pub use rollout::{Rollout, Trial};
pub use routes::VersionRoute;
pub use stores::{AppStore, Moving};
pub use update::follow_tags;
pub use waiting::{Waiting, await_stores};

/// The manifest behind a path: the file, or of a folder its `samara.toml`, or else one of another host.
pub fn manifest_file(path: &Path) -> PathBuf {
    if path.is_dir() { foreign::in_folder(path) } else { path.to_owned() }
}

/// Reads a manifest, or that of a folder; one of another host is converted, and what is not carried over is logged.
///
/// # Errors
/// The file cannot be read, or everything that is wrong in it.
pub fn read_manifest(path: &Path) -> anyhow::Result<(PathBuf, ReadManifest)> {
    let file = manifest_file(path);
    let read = foreign::read(&file, &options_of_environment())?;
    read.tell(&file);
    Ok((file, read))
}

/// Reads an app from a manifest, or from a folder that holds one.
///
/// # Errors
/// The file cannot be read, or everything that is wrong in it.
pub fn read_app(path: &Path, host: &Host) -> anyhow::Result<App> {
    let (file, ReadManifest { mut app, .. }) = read_manifest(path)?;
    app.check(host)?;
    app.resolve_paths(file.parent().unwrap_or(Path::new("")));
    Ok(app)
}

/// Reads the operator's file, or takes the defaults.
///
/// # Errors
/// The file cannot be read, or everything that is wrong in it.
pub fn read_host(path: Option<&Path>) -> anyhow::Result<Host> {
    let Some(path) = path else { return Ok(Host::default()) };
    let text = fs::read_to_string(path).with_context(|| format!("reading the host file `{}`", path.display()))?;
    let mut host = Host::parse(&text, path)?;
    host.resolve_paths(path.parent().unwrap_or(Path::new("")));
    Ok(host)
}

/// Reads an artifact from a file; text is assembled on the way in.
///
/// # Errors
/// The file cannot be read or is not WebAssembly; the message says what it is instead.
pub fn read_artifact(path: &Path) -> anyhow::Result<bytes::Bytes> {
    if path.is_dir() {
        bail!("`{}` is a directory, not a WebAssembly file", path.display());
    }
    let file = fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
    let wasm = samara_inspect::read_any(&file, Some(path)).map_err(|error| anyhow!("`{}`: {error}", path.display()))?;
    Ok(wasm.into_owned().into())
}
