//! Any text as the text format: an error, or a binary that can be read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use samara_inspect::{Module, text};

fuzz_target!(|source: &str| {
    if let Ok(bytes) = text::wat_to_wasm(source, None)
        && text::validate(&bytes, None).is_ok()
    {
        assert!(Module::read(&bytes).is_ok(), "what is valid can be read");
    }
});
