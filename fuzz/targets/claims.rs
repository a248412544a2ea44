//! Any bytes as a module that may carry claims and signatures: what stands in its sections is judged before anything else is.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use samara_artifact::{
    Reference,
    trust::{Asked, Trust},
};

/// What waits for the verdict.
static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));

fuzz_target!(|bytes: &[u8]| {
    let reference = Reference::File("guest.wasm".into());
    let asked = Asked { reference: &reference, documents: &[], repository: None };
    let trust = Trust::default().thorough();
    let verdict = RUNTIME.block_on(trust.verify(asked, bytes)).expect("without a policy nothing is refused");
    for step in verdict.steps {
        assert!(!format!("{step:?}").contains('\u{1b}'), "{step:?}");
    }
});
