//! Any bytes as an archive: zip, tar, compressed or not. Nothing of it is larger than its bounds.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use samara_artifact::{bounds::Bounds, bundle};

/// What a member may have here, so that a bomb is over it soon.
const MODULE_BYTES: u64 = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let bounds = Bounds { module_bytes: MODULE_BYTES, unpacked_bytes: 1 << 20, ..Bounds::default() };
    let Ok(listing) = bundle::members(&mut Cursor::new(bytes), &bounds) else { return };
    let names = listing.members.iter().take(4).map(|member| Some(member.name.as_str()));
    for name in names.chain([None]) {
        if let Ok((_, member)) = bundle::read(&mut Cursor::new(bytes), name, &bounds) {
            assert!(member.len() as u64 <= MODULE_BYTES);
        }
    }
});
