//! The providers as their users meet them: files that outlive a process, real servers that come and go. One binary, a module
//! per subject.
//!
//! `cargo test -p samara-capability --features external-tests --test it` runs all of it. Real servers sit behind that
//! feature; one that is not installed fails the test and says how to install it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests may fail fast"
)]

mod kv;
#[cfg(feature = "external-tests")]
#[allow(dead_code, reason = "weather that only some capabilities are tested in")]
mod servers;

#[cfg(feature = "external-tests")]
mod blob;
mod blob_moved;
#[cfg(feature = "external-tests")]
mod credentials;
mod folder;
#[cfg(feature = "external-tests")]
mod messaging;

#[cfg(feature = "external-tests")]
mod postgres;
