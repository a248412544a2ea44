//! Any text made harmless for a log: nothing in it is for a terminal, and doing it again changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;

// Its crate brings the whole of logs and metrics, which this file does not need.
#[path = "../../crates/telemetry/src/logs/sanitize.rs"]
mod sanitize;

fuzz_target!(|text: &str| {
    let safe = sanitize::sanitize(text);
    assert!(!safe.chars().any(|c| c.is_control() && c != '\t'), "{safe:?}");
    assert_eq!(sanitize::sanitize(&safe), safe);
});
