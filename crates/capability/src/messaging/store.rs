//! A bus as the runtime keeps it: opened for one tenant, lent to that tenant's workloads.
//!
//! Two tenants never hear each other, also if both name the same backend; see [`Share`]. Apps of one tenant that name the
//! same backend do share it: that is how one app's messages reach another.

use std::sync::Arc;

use samara_model::{Limits, MessagingGrant, Tenant};

use super::{Granted, Messaging, MessagingError, Share};
use crate::{Link, Recorder};

/// One tenant's share of an open bus, under the name its manifest gives it.
#[derive(Clone, Debug)]
pub struct Store {
    name: Arc<str>,
    share: Share,
}

impl Store {
    /// Takes a tenant's share of a bus.
    pub fn new(name: &str, tenant: &Tenant, backend: Arc<dyn Messaging>) -> Self {
        Self { name: name.into(), share: Share::of(tenant, backend) }
    }

    /// A store whose subjects are those that others on the bus use, or those below one of them. Only an operator may
    /// decide that: see [`Share::outside`].
    ///
    /// # Errors
    /// `below` is neither empty nor a subject.
    pub fn outside(name: &str, below: &str, backend: Arc<dyn Messaging>) -> Result<Self, MessagingError> {
        Ok(Self { name: name.into(), share: Share::outside(below, backend)? })
    }

    /// The name the manifest gives this store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The share itself, for the host's own work: triggers subscribe with it. No grant is asked for.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// What the name leads to; whoever changes it changes it for all clones, and so for all workloads it was lent to.
    /// Subscriptions follow.
    pub fn link(&self) -> &Arc<Link<dyn Messaging>> {
        self.share.link()
    }

    /// Lends the store to a workload, to the extent of a grant and within its limits.
    pub fn grant(&self, grant: MessagingGrant, limits: &Limits, recorder: Arc<dyn Recorder>) -> Granted {
        Granted::new(self.clone(), grant, limits, recorder)
    }
}
