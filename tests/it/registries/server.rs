//! The registry and the tools of `samara-artifact`'s tests, with what these ask of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

#[path = "../../../crates/artifact/tests/it/docker_registry.rs"]
mod docker_registry;

pub(super) use docker_registry::Registry;

/// The Debian suites that the tools are of; cosign of the older writes signatures as tags, of the newer as referrers.
pub(super) const SUITES: [&str; 2] = ["trixie", "sid"];

/// A program of a suite, with no login but that of the test.
pub(super) fn tool(name: &str, suite: &str) -> Command {
    let mut command = docker_registry::tool(name, suite);
    command.env("COSIGN_PASSWORD", "").env("DOCKER_CONFIG", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-logins"));
    command
}

/// Runs a tool to its end; it succeeds. What it printed.
#[track_caller]
pub(super) fn done(command: &mut Command) -> String {
    let ran = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{command:?}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

impl Registry {
    /// `127.0.0.1:PORT/name`.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// A folder that lives as long as the registry.
    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Every file that the registry keeps for a blob, to be tampered with.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let folder = Path::new("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex);
        self.folder.path().join(folder).join("data")
    }
}
