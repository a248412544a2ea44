//! From verified bytes to engine code: in this process for now; the worker process and the code cache follow.

use std::{ffi::OsString, path::PathBuf};

use bytes::Bytes;
use samara_inspect::{Encoding, Module};
use samara_model::Fault;
use wasmtime::component::Component;

use crate::EngineHandle;

/// Compiled code.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Code {
    Module(wasmtime::Module),
    Component(Component),
}

/// Where compilation happens.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Worker {
    #[default]
    InProcess,
    Child {
        program: PathBuf,
        args: Vec<OsString>,
    },
}

/// Compiled code kept on disk.
#[derive(Debug)]
pub struct CodeCache;

impl CodeCache {
    /// The user's own cache.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open_default() -> anyhow::Result<Self> {
        Ok(Self)
    }
}

/// How a compiler works.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct CompilerSettings {
    pub cache: Option<CodeCache>,
    pub worker: Worker,
}

/// Compiles guests.
#[derive(Debug)]
pub struct Compiler;

impl Compiler {
    /// A compiler.
    #[expect(clippy::needless_pass_by_value, reason = "the settings will be kept")]
    pub fn new(_settings: CompilerSettings) -> Self {
        Self
    }

    /// Code for an engine.
    ///
    /// # Errors
    /// The module does not validate.
    #[expect(clippy::unused_async, reason = "the worker process will be awaited")]
    pub async fn code(&self, engine: &EngineHandle, module: &Module, bytes: &Bytes) -> Result<Code, Fault> {
        let bad = |error: wasmtime::Error| Fault::Config(format!("{error:#}"));
        match module.encoding {
            Encoding::Core => wasmtime::Module::new(&engine.engine, bytes).map(Code::Module).map_err(bad),
            Encoding::Component => Component::new(&engine.engine, bytes).map(Code::Component).map_err(bad),
        }
    }
}
