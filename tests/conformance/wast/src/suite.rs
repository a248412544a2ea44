//! Which suite a checkout holds, and its scripts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Depth of folders that is looked into; the suites have three.
const MAX_DEPTH: usize = 8;

/// A suite that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// WebAssembly/testsuite: scripts at the top, and proposals below.
    Core,
    /// WebAssembly/component-model: scripts below `test/`, run with all proposals that they test.
    Component,
    /// The same scripts, run with what Samara's guests have.
    Served,
}

/// One script.
#[derive(Debug)]
pub(crate) struct Script {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its path below the suite's folder, with `/`.
    pub(crate) name: String,
}

impl Script {
    /// The folder in its name; `.` at the top.
    pub(crate) fn folder(&self) -> &str {
        self.name.rsplit_once('/').map_or(".", |(folder, _)| folder)
    }
}

impl Suite {
    /// As `expected.txt` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Component => "component",
            Self::Served => "served",
        }
    }
}

/// The suite of a checkout, and its scripts by name.
pub(crate) fn find(checkout: &Path, as_served: bool) -> Result<(Suite, Vec<Script>)> {
    let tests = checkout.join("test");
    let (suite, root) = match (tests.is_dir(), as_served) {
        (false, _) => (Suite::Core, checkout),
        (true, false) => (Suite::Component, tests.as_path()),
        (true, true) => (Suite::Served, tests.as_path()),
    };
    let mut scripts = Vec::new();
    collect(root, "", MAX_DEPTH, &mut scripts)?;
    if (suite != Suite::Core) != cfg!(feature = "component-model") {
        let how = if suite == Suite::Core { "without" } else { "with" };
        bail!("this is a checkout of the {} suite: build {how} `--features component-model` to run it", suite.name());
    }
    if scripts.is_empty() {
        bail!("no .wast file in `{}`: check out WebAssembly/testsuite or WebAssembly/component-model", root.display());
    }
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((suite, scripts))
}

fn collect(folder: &Path, below: &str, depth: usize, scripts: &mut Vec<Script>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading `{}`", folder.display()))? {
        let entry = entry.with_context(|| format!("reading `{}`", folder.display()))?;
        let path = entry.path();
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if path.is_dir() {
            if depth > 0 {
                collect(&path, &format!("{name}/"), depth - 1, scripts)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "wast") {
            scripts.push(Script { path, name });
        }
    }
    Ok(())
}
