//! A store as the runtime keeps it: opened for one tenant, lent to that tenant's workloads.
//!
//! Two tenants never share a container. Every container of a tenant is called `TENANT:NAME` in the backend, and a tenant's
//! name cannot contain a colon, so that no tenant's containers are another's even if both name the same backend. Apps of one
//! tenant that name the same backend do share it: that is how one app's data reaches another.

use std::sync::Arc;

use samara_model::{BlobGrant, Limits, Tenant};

use super::{Blob, BlobError, Granted, Usage, moving::Change};
use crate::{
    Link, Recorder,
    account::Account,
    gate::{Gate, Turn},
};

/// What each container and each object counts for in a share beside its content: its name, its attributes, and the block
/// that the smallest file takes. So that nobody has a million empty ones for nothing.
pub const OBJECT_BYTES: u64 = 4 << 10;

/// One tenant's share of an open backend, under the name its manifest gives it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) name: Arc<str>,
    pub(super) prefix: Arc<str>,
    pub(super) backend: Arc<Link<dyn Blob>>,
    pub(super) account: Arc<Account>,
    /// Where operations wait for the moment in which the backend is exchanged.
    pub(super) gate: Arc<Gate<Change>>,
}

impl Store {
    /// Takes a tenant's share of a backend and measures what is in it. Clones share one account; opening the same share
    /// twice makes two, each of which learns of the other's writes when it [measures](Self::measure).
    ///
    /// # Errors
    /// The backend failed.
    pub async fn new(name: &str, tenant: &Tenant, backend: Arc<dyn Blob>) -> Result<Self, BlobError> {
        let prefix = format!("{tenant}:");
        let usage = backend.usage(&prefix).await?;
        Ok(Self {
            name: name.into(),
            prefix: prefix.into(),
            backend: Arc::new(Link::new(backend)),
            account: Arc::new(Account::of(counted(&usage))),
            gate: Arc::default(),
        })
    }

    /// The name the manifest gives this store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of this share: content, uploads that are not finished, and [`OBJECT_BYTES`] for each container and object.
    pub fn bytes(&self) -> u64 {
        self.account.bytes()
    }

    /// Measures the share now: after its link leads elsewhere, or somebody else has written to it. Uploads that are not
    /// finished count as they did.
    ///
    /// # Errors
    /// The backend failed; the account is what it was.
    pub async fn measure(&self) -> Result<(), BlobError> {
        let measuring = self.account.measuring();
        let usage = self.backend.get().usage(&self.prefix).await?;
        measuring.found(&self.account, counted(&usage));
        Ok(())
    }

    /// What the name leads to; whoever changes it changes it for all clones, and so for all workloads it was lent to. Nothing
    /// is copied: [`move_to`](Self::move_to) takes the data along.
    pub fn link(&self) -> &Arc<Link<dyn Blob>> {
        &self.backend
    }

    /// How this share's containers begin in the backend.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Lends the store to a workload, to the extent of a grant and within its limits.
    pub fn grant(&self, grant: BlobGrant, limits: &Limits, recorder: Arc<dyn Recorder>) -> Granted {
        Granted::new(self.clone(), grant, limits, recorder)
    }

    /// The backend for one operation, which is not moved until it is over.
    pub(super) async fn turn(&self) -> Turn<'_, dyn Blob, Change> {
        self.gate.turn(|| self.backend.get()).await
    }
}

/// What is stored, as a share counts it.
pub(super) fn counted(usage: &Usage) -> u64 {
    let entries = usage.containers.saturating_add(usage.objects);
    usage.bytes.saturating_add(entries.saturating_mul(OBJECT_BYTES))
}
