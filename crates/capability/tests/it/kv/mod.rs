//! Key-value stores beyond one process: on real servers, in bad weather, killed.

mod killed;
mod moved;
mod relinked;
#[cfg(feature = "external-tests")]
mod remote;

use std::sync::Arc;

use samara_capability::{
    Unrecorded,
    kv::{Granted, KeyValue, KvError, NoWorkloads, Store, open},
};
use samara_model::{KvGrant, Limits, Tenant};

/// For what is not about time-outs: the machine and its disk may be busy.
const PATIENT: &str = "timeout = \"60s\"";

/// Opens a store with settings as a manifest writes them.
async fn opened(url: &str, settings: &str) -> Result<Arc<dyn KeyValue>, KvError> {
    open(url, &settings.parse().unwrap(), &NoWorkloads).await
}

/// A tenant's share, without limits that a test would meet by chance.
async fn share(backend: &Arc<dyn KeyValue>, tenant: &str) -> Granted {
    let store = Store::new("carts", &Tenant::new(tenant).unwrap(), backend.clone()).await.unwrap();
    store.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded))
}
