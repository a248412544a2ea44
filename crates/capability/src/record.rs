//! Tells the layer above what guests ask for and what they were refused.
//!
//! Capabilities only report: whoever implements [`Recorder`] counts, logs, or writes the least-privilege manifest.

use std::{fmt, time::Duration};

use samara_model::Capability;

/// One request of a guest that its grants do not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The capability the guest reached for.
    pub capability: Capability,
    /// What it asked for, for people: ``set on store `carts` ``.
    pub what: String,
    /// The grant that would have allowed it, as a manifest writes it.
    pub grant: String,
}

/// Receives what guests ask for. Called inline, once per request of a guest: it must not block.
pub trait Recorder: fmt::Debug + Send + Sync {
    /// A guest uses a granted capability: the store or origin by name, and the operation. Called when it begins.
    fn used(&self, capability: Capability, name: &str, operation: &'static str);
    /// An operation that was begun has ended: how long it took, and whether it failed (or was abandoned).
    fn finished(&self, capability: Capability, name: &str, operation: &'static str, took: Duration, failed: bool) {
        let _ = (capability, name, operation, took, failed);
    }
    /// A guest was refused.
    fn denied(&self, denial: &Denial);
}

/// A recorder that keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unrecorded;

impl Recorder for Unrecorded {
    fn used(&self, _: Capability, _: &str, _: &'static str) {}
    fn denied(&self, _: &Denial) {}
}
