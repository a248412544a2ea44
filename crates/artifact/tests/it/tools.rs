//! The tools of `tests/registry-tools.sh`, at home in a test's folder, so that no login of this machine is used.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use crate::docker_registry::{Registry, tool};

impl Registry {
    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A tool of a suite, with the folder as its home.
    pub(crate) fn debian(&self, suite: &str, name: &str) -> Command {
        let mut command = tool(name, suite);
        command.env("HOME", self.folder.path()).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }
}

/// Runs a tool that must do what it should; what it told.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ran.status.success(), "{command:?}\n{}", told(&ran));
    told(&ran)
}

/// All that a tool printed.
pub(crate) fn told(ran: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}
