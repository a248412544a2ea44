//! Makes a preview 2 component of a preview 1 command: `samara-adapt MODULE COMPONENT`.
//!
//! What `wasm-tools component new --adapt` does, with the adapter of the very engine release that Samara runs, so that
//! `tests/conformance/run.py --adapted` can put the preview 1 suite through Samara's preview 2 host.

use std::{env, fs, process::ExitCode};

use anyhow::{Context, Result, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wit_component::ComponentEncoder;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [module, component] = arguments.as_slice() else { bail!("usage: samara-adapt MODULE COMPONENT") };
    let bytes = fs::read(module).with_context(|| format!("reading `{}`", module.display()))?;
    let adapted = adapt(&bytes).with_context(|| format!("adapting `{}`", module.display()))?;
    fs::write(component, adapted).with_context(|| format!("writing `{}`", component.display()))
}

fn adapt(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)?
        .encode()
}
