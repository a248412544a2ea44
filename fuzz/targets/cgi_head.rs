//! What a CGI command writes first, as a head.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The gateway's crate knows the engine, which takes minutes to build; this file of it does not.
#[path = "../../crates/surface/src/gateway/command/head.rs"]
mod head;

fuzz_target!(|written: &[u8]| {
    if let Some(length) = head::length(written) {
        assert!(length <= written.len(), "{length}");
        assert_eq!(head::length(&written[..length]), Some(length), "the head is whole");
        match head::parse(&written[..length]) {
            Ok(head::Head::Response(parts)) => assert!(parts.status.as_u16() >= 200, "{parts:?}"),
            Ok(head::Head::Elsewhere(path)) => assert!(path.starts_with('/'), "{path:?}"),
            Err(fault) => assert_eq!(fault.label(), "guest"),
        }
    }
});
