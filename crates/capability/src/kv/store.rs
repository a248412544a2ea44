//! A store as the runtime keeps it: opened for one tenant, lent to that tenant's workloads.
//!
//! Two tenants never share a key. Every key of a tenant starts with `TENANT:` in the backend, and a tenant's name cannot
//! contain a colon, so that no tenant's keys are below another's even if both name the same backend. Apps of one tenant
//! that name the same backend do share it: that is how one app's data reaches another.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use samara_model::{KvGrant, Limits, Tenant};

use super::{Granted, KeyValue, KvError};
use crate::Recorder;

/// One tenant's share of an open backend, under the name its manifest gives it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) name: Arc<str>,
    pub(super) prefix: Arc<str>,
    pub(super) backend: Arc<dyn KeyValue>,
    pub(super) account: Arc<Account>,
}

impl Store {
    /// Takes a tenant's share of a backend and measures what is in it. Clones share one account; opening the same share
    /// twice makes two, each of which bounds only what is written through it.
    ///
    /// # Errors
    /// The backend failed.
    pub async fn new(name: &str, tenant: &Tenant, backend: Arc<dyn KeyValue>) -> Result<Self, KvError> {
        let prefix = format!("{tenant}:");
        let usage = backend.usage(&prefix).await?;
        // Guests pay for their own bytes, not for our prefix.
        let bytes = usage.bytes.saturating_sub(usage.keys.saturating_mul(prefix.len() as u64));
        Ok(Self {
            name: name.into(),
            prefix: prefix.into(),
            backend,
            account: Arc::new(Account { bytes: AtomicU64::new(bytes) }),
        })
    }

    /// The name the manifest gives this store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of keys and values in this share.
    pub fn bytes(&self) -> u64 {
        self.account.bytes.load(Ordering::Relaxed)
    }

    /// Lends the store to a workload, to the extent of a grant and within its limits.
    pub fn grant(&self, grant: KvGrant, limits: &Limits, recorder: Arc<dyn Recorder>) -> Granted {
        Granted::new(self.clone(), grant, limits, recorder)
    }
}

/// Bytes of keys and values in one share of a store.
#[derive(Debug)]
pub(super) struct Account {
    bytes: AtomicU64,
}

impl Account {
    /// Counts `bytes` in before they are written, if the sum stays within `limit`.
    pub(super) fn reserve(&self, bytes: u64, limit: u64) -> bool {
        let grown = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    /// Counts bytes out again.
    pub(super) fn release(&self, bytes: u64) {
        self.add_and_take(0, bytes);
    }

    /// Counts some in and some out, in one step.
    pub(super) fn add_and_take(&self, add: u64, take: u64) {
        let changed = |used: u64| Some(used.saturating_add(add).saturating_sub(take));
        // The closure never refuses.
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}
