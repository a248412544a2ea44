//! The stores of all apps: who names the same backend shares it, and keeps it over a change of version.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use anyhow::Context;
use parking_lot::Mutex;
use samara_capability::kv;
use samara_model::manifest::{App, Store};

/// The open backends. Each lives as long as a version that names it.
#[derive(Debug, Default)]
pub(super) struct Backends(Mutex<HashMap<String, Open>>);

#[derive(Debug)]
struct Open {
    backend: Weak<dyn kv::KeyValue>,
    settings: toml::Table,
}

impl Backends {
    /// Opens an app's stores, each as its tenant's share of the backend.
    ///
    /// # Errors
    /// A store cannot be opened; the message names it and its line.
    pub(super) async fn open(&self, app: &App) -> anyhow::Result<BTreeMap<String, kv::Store>> {
        let mut stores = BTreeMap::new();
        for store in &app.stores {
            let place = || format!("{}: store `{}`", super::load::place(app, store.line), store.name);
            let backend = self.backend(app, store).await.with_context(place)?;
            let opened = kv::Store::new(&store.name, &app.tenant, backend).await.with_context(place)?;
            stores.insert(store.name.clone(), opened);
        }
        Ok(stores)
    }

    async fn backend(&self, app: &App, store: &Store) -> anyhow::Result<Arc<dyn kv::KeyValue>> {
        // A memory store has no address: it is one per tenant and name, shared by the tenant's apps and versions.
        let address = if store.provider.trim_end_matches(':') == "memory" {
            format!("memory:{}/{}", app.tenant, store.name)
        } else {
            store.provider.clone()
        };
        if let Some(backend) = self.known(&address, store) {
            return Ok(backend);
        }
        let opened = kv::open(&store.provider, &store.settings, &kv::NoWorkloads).await?;
        // Another load may have opened it meanwhile: the first one is everybody's.
        let mut open = self.0.lock();
        open.retain(|_, known| known.backend.strong_count() > 0);
        if let Some(known) = open.get(&address).and_then(|known| known.backend.upgrade()) {
            return Ok(known);
        }
        open.insert(address, Open { backend: Arc::downgrade(&opened), settings: store.settings.clone() });
        Ok(opened)
    }

    fn known(&self, address: &str, store: &Store) -> Option<Arc<dyn kv::KeyValue>> {
        let open = self.0.lock();
        let known = open.get(address)?;
        let backend = known.backend.upgrade()?;
        if known.settings != store.settings {
            tracing::warn!(store = store.name, "it is open with other settings, which hold until no version uses it");
        }
        Some(backend)
    }
}
