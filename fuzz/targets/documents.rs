//! Any bytes as what a registry calls a manifest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use samara_artifact::document::{self, Document};

fuzz_target!(|bytes: &[u8]| {
    for said in
        [None, Some("application/vnd.oci.image.manifest.v1+json"), Some("application/vnd.oci.image.index.v1+json")]
    {
        match document::read(bytes, said) {
            Ok(Document::Index(index)) => drop(document::for_us(&index)),
            Ok(Document::Manifest(manifest)) => assert!(manifest.layers().len() <= samara_artifact::bounds::MAX_LAYERS),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
