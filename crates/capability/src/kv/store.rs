//! A store as the runtime keeps it: opened for one tenant, lent to that tenant's workloads.
//!
//! Two tenants never share a key. Every key of a tenant starts with `TENANT:` in the backend, and a tenant's name cannot
//! contain a colon, so that no tenant's keys are below another's even if both name the same backend. Apps of one tenant
//! that name the same backend do share it: that is how one app's data reaches another.

use std::sync::Arc;

use samara_model::{KvGrant, Limits, Tenant};
use tokio::sync::Notify;

use super::{Granted, KeyValue, KvError, measure};
use crate::{
    Link, Recorder,
    account::Account,
    gate::{Gate, Turn},
};

/// One tenant's share of an open backend, under the name its manifest gives it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) name: Arc<str>,
    pub(super) prefix: Arc<str>,
    pub(super) backend: Arc<Link<dyn KeyValue>>,
    pub(super) account: Arc<Account>,
    /// Wakes whoever measures: a write found no room.
    pub(super) hurry: Arc<Notify>,
    /// Where operations wait for the moment in which the backend is exchanged.
    pub(super) gate: Arc<Gate<String>>,
}

/// What every key of a tenant begins with in a backend.
pub fn share(tenant: &Tenant) -> String {
    format!("{tenant}:")
}

impl Store {
    /// Takes a tenant's share of a backend and measures what is in it, then and now and again while the store is in use.
    /// Clones share one account; opening the same share twice makes two, each of which learns of the other's writes when it
    /// measures.
    ///
    /// # Errors
    /// The backend failed.
    ///
    /// # Panics
    /// Outside of a tokio runtime, which goes on measuring.
    pub async fn new(name: &str, tenant: &Tenant, backend: Arc<dyn KeyValue>) -> Result<Self, KvError> {
        let prefix = share(tenant);
        let bytes = measure::held(&prefix, &*backend).await?;
        let store = Self {
            name: name.into(),
            prefix: prefix.into(),
            backend: Arc::new(Link::new(backend)),
            account: Arc::new(Account::of(bytes)),
            hurry: Arc::default(),
            gate: Arc::default(),
        };
        measure::start(&store);
        Ok(store)
    }

    /// The name the manifest gives this store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of keys and values in this share.
    pub fn bytes(&self) -> u64 {
        self.account.bytes()
    }

    /// Measures the share now, rather than when its time comes: after its link leads elsewhere.
    ///
    /// # Errors
    /// The backend failed; the account is what it was.
    pub async fn measure(&self) -> Result<(), KvError> {
        measure::measure(&self.prefix, &*self.backend.get(), &self.account).await
    }

    /// What the name leads to; whoever changes it changes it for all clones, and so for all workloads it was lent to. Nothing
    /// is copied: [`move_to`](Self::move_to) takes the data along.
    pub fn link(&self) -> &Arc<Link<dyn KeyValue>> {
        &self.backend
    }

    /// Lends the store to a workload, to the extent of a grant and within its limits.
    pub fn grant(&self, grant: KvGrant, limits: &Limits, recorder: Arc<dyn Recorder>) -> Granted {
        Granted::new(self.clone(), grant, limits, recorder)
    }

    /// The backend for one operation, which is not moved until it is over.
    pub(super) async fn turn(&self) -> Turn<'_, dyn KeyValue, String> {
        self.gate.turn(|| self.backend.get()).await
    }
}
