//! Core modules that were built to become components: their SDK left the component's type in a custom section, and its host
//! makes the component when it loads them. The Rust SDK of Spin did so up to version 5 (target wasm32-wasip1). Before there were
//! such sections its modules had the interfaces all the same: [`spin_module`].
//!
//! The work is that of the family's own encoder, with the engine authors' adapter between preview 1 and 0.2. What the module
//! does is unchanged; it is the same code with the component's types around it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use crate::{Encoding, Module, spin_module};

/// How the names of the custom sections begin in which SDKs leave the component's type.
const TYPE_SECTION: &str = "component-type";

/// The largest module that is made a component: beyond it the work in this process is no longer short.
const MAX_BYTES: usize = 64 << 20;

/// Why a module that says what component it becomes cannot be made one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was built to become a component and cannot be made one: {0}")]
pub struct ComponentizeError(String);

impl Module {
    /// Whether this is a core module that its SDK meant to become a component.
    pub fn becomes_component(&self) -> bool {
        let typed = || self.custom_sections.iter().any(|name| name.starts_with(TYPE_SECTION));
        self.encoding == Encoding::Core && (typed() || spin_module::is_one(self))
    }
}

/// Makes the component that `bytes`, whose facts are `module`, was built to become. Takes milliseconds per megabyte, on the
/// thread that calls it.
///
/// # Errors
/// Its type does not fit what it imports and exports, or is of a form that this version of the encoder no longer reads.
pub fn componentize(module: &Module, bytes: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    if bytes.len() > MAX_BYTES {
        let (size, limit) = (bytes.len(), MAX_BYTES);
        return Err(ComponentizeError(format!(
            "it is {size} bytes, over the limit of {limit}; ship it as a component"
        )));
    }
    let adapter = match module.exports_function("_start") {
        Some(_) => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        None => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    let encode = || {
        let spin = spin_module::renamed(module, bytes)?;
        let (bytes, adapter) = match &spin {
            Some(renamed) => (renamed.as_slice(), WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER),
            None => (bytes, adapter),
        };
        let encoded = ComponentEncoder::default()
            .module(bytes)
            .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?.encode());
        encoded.map_err(|error| format!("{error:#}"))
    };
    // The encoder trusts the types it is given more than strangers deserve.
    match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(why)) => Err(ComponentizeError(why)),
        Err(_) => {
            Err(ComponentizeError("its encoder gave up; build it as a component (target wasm32-wasip2)".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(name: &str) -> Vec<u8> {
        let path = format!("{}/../../guests/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_spin_module_becomes_the_component_it_was_built_for() {
        let bytes = guest("wasi_http/spin3-kit/spin3-kit.wasm");
        let module = Module::read(&bytes).unwrap();
        assert!(module.becomes_component());
        let component = Module::read(&componentize(&module, &bytes).unwrap()).unwrap();
        assert_eq!(component.encoding, Encoding::Component);
        assert_eq!(component.exports_interface("wasi:http/incoming-handler"), Some("0.2.0"));
        assert!(!component.becomes_component());
    }

    #[test]
    fn other_modules_stay_what_they_are() {
        for name in ["function/add/add.wasm", "wasi_cli/cli-p1/cli-p1.wasm", "wasi_http/http-hello/http-hello.wasm"] {
            assert!(!Module::read(&guest(name)).unwrap().becomes_component(), "{name}");
        }
    }

    /// Every byte of the type changed in turn: an answer or an error, and never a panic that gets out.
    #[test]
    fn a_type_that_lies_is_an_error() {
        let bytes = guest("wasi_http/spin3-kit/spin3-kit.wasm");
        let module = Module::read(&bytes).unwrap();
        let at = bytes.windows(TYPE_SECTION.len()).position(|window| window == TYPE_SECTION.as_bytes()).unwrap();
        let silent = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let mut refused = 0;
        for offset in (0..4096).step_by(31) {
            let mut changed = bytes.clone();
            let Some(byte) = changed.get_mut(at + TYPE_SECTION.len() + offset) else { break };
            *byte ^= 0x15;
            refused += usize::from(componentize(&module, &changed).is_err());
        }
        std::panic::set_hook(silent);
        assert!(refused > 50, "{refused} of 133 were refused");
    }
}
