//! Builds what is compared: samara as it is published, the native server beside this program, `wasmtime` from its crate.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

/// The version of wasmtime that Samara embeds.
const WASMTIME: &str = "48.0.8";
/// What `wasmtime serve` needs, pooling and its cache included, as its published binaries have it.
const WASMTIME_FEATURES: &str = "run,serve,cranelift,component-model,component-model-async,pooling-allocator,\
    parallel-compilation,cache,gc,gc-drc,wasi-http";

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Samara with the profile of its published binaries.
pub(crate) fn samara() -> anyhow::Result<PathBuf> {
    build(&["--profile", "dist", "--bin", "samara"], &root().join("Cargo.toml"))
}

/// The native server.
pub(crate) fn native() -> anyhow::Result<PathBuf> {
    build(&["--release", "--bin", "native"], &Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
}

/// hyper and the engine with nothing around them.
pub(crate) fn ceiling() -> anyhow::Result<PathBuf> {
    build(&["--release", "--bin", "ceiling"], &root().join("benches/engine/Cargo.toml"))
}

/// `wasmtime`, installed once into the user's cache.
pub(crate) fn wasmtime() -> anyhow::Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache"))).context("no `HOME`")?;
    let folder = cache.join(format!("samara-bench/wasmtime-{WASMTIME}"));
    let program = folder.join("bin/wasmtime");
    if !program.exists() {
        eprintln!("installing wasmtime {WASMTIME} into `{}`: this takes minutes, once", folder.display());
        let status = cargo()
            .args(["install", "wasmtime-cli", "--version", WASMTIME, "--locked", "--no-default-features"])
            .args(["--features", WASMTIME_FEATURES, "--root"])
            .arg(&folder)
            .status()
            .context("starting cargo")?;
        ensure!(status.success(), "`cargo install wasmtime-cli` failed; leave wasmtime out with `--no-wasmtime`");
    }
    Ok(program)
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds one binary and says where cargo put it.
fn build(arguments: &[&str], manifest: &Path) -> anyhow::Result<PathBuf> {
    let output = cargo()
        .arg("build")
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    ensure!(output.status.success(), "`cargo build {}` failed", arguments.join(" "));
    let text = String::from_utf8_lossy(&output.stdout);
    let executable = text.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executable.with_context(|| format!("`cargo build {}` made no program", arguments.join(" ")))
}
