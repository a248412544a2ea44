//! Any text as a reference. What was read and is written again is the same place, and policies see it so.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use samara_artifact::{OciReference, Reference};

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<OciReference>() {
        let written = reference.to_string();
        assert_eq!(written.parse::<OciReference>().as_ref(), Ok(&reference), "written `{written}`");
    }
    match Reference::parse_in(text, Path::new("/apps")) {
        Ok(reference) => drop((reference.to_string(), reference.short_name())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
