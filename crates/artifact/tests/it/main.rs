//! The crate as its users meet it: one binary, a module per subject.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests may fail fast"
)]

mod contents;
#[cfg(feature = "external-tests")]
mod distribution;
#[cfg(feature = "external-tests")]
mod docker_registry;
#[cfg(feature = "external-tests")]
mod exchange;
mod hostile;
mod http2;
mod kept;
mod killed;
mod layout;
#[cfg(feature = "external-tests")]
mod layouts;
mod memory;
mod pulled;
#[cfg(feature = "external-tests")]
mod registries;
mod registry;
mod store;
#[cfg(feature = "external-tests")]
mod tools;
