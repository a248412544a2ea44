//! A tenant's stores as whoever loads a workload hands them over: by the manifest's name, opened as each capability that some
//! workload is granted them as.

use std::{collections::BTreeMap, sync::Arc};

use samara_capability::{Recorder, blob, http, kv, messaging, sql};
use samara_model::{Capability, Grants, Limits};

/// The stores of one tenant that a workload may be lent. A grant picks from them; what is not granted is not lent.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    /// Key-value stores.
    pub kv: BTreeMap<String, kv::Store>,
    /// Blob stores.
    pub blob: BTreeMap<String, blob::Store>,
    /// Databases.
    pub sql: BTreeMap<String, sql::Store>,
    /// Buses.
    pub messaging: BTreeMap<String, messaging::Store>,
    /// The other workloads of the app, for those that are granted to ask them by HTTP.
    pub inside: Option<Arc<dyn http::Inside>>,
}

impl Stores {
    /// Whether a store is open as a capability.
    pub fn has(&self, capability: Capability, name: &str) -> bool {
        match capability {
            Capability::Kv => self.kv.contains_key(name),
            Capability::Blob => self.blob.contains_key(name),
            Capability::Sql => self.sql.contains_key(name),
            Capability::Messaging => self.messaging.contains_key(name),
            _ => false,
        }
    }

    /// What a workload is lent of them.
    pub(crate) fn lend(&self, grants: &Grants, limits: &Limits, recorder: &Arc<dyn Recorder>) -> Loans {
        let told = || Arc::clone(recorder);
        Loans {
            kv: pick(&self.kv, &grants.kv, |store, grant| store.grant(grant.clone(), limits, told())),
            blob: pick(&self.blob, &grants.blob, |store, grant| store.grant(grant.clone(), limits, told())),
            sql: pick(&self.sql, &grants.sql, |store, grant| store.grant(grant.clone(), limits, told())),
            messaging: pick(&self.messaging, &grants.messaging, |bus, grant| bus.grant(grant.clone(), limits, told())),
        }
    }
}

/// What one workload was lent, by the manifest's names.
#[derive(Debug, Default)]
pub(crate) struct Loans {
    pub(crate) kv: BTreeMap<String, kv::Granted>,
    pub(crate) blob: BTreeMap<String, blob::Granted>,
    pub(crate) sql: BTreeMap<String, sql::Granted>,
    pub(crate) messaging: BTreeMap<String, messaging::Granted>,
}

fn pick<S, G, L>(
    stores: &BTreeMap<String, S>,
    grants: &BTreeMap<String, G>,
    lend: impl Fn(&S, &G) -> L,
) -> BTreeMap<String, L> {
    let granted = grants.iter().filter_map(|(name, grant)| Some((name.clone(), lend(stores.get(name)?, grant))));
    granted.collect()
}
