//! `samara link`: another backend behind a store's name, while the app serves.
//!
//! Every operation takes the backend once, when it begins: those in flight finish where they began, those that begin later
//! are done on the new one. All versions of an app that declare the store alike are linked together, since it is one store.
//!
//! A link is of the running process. It stays when the same manifest is put again, also with other workloads; a manifest
//! that names another provider has the last word, and a host that starts anew begins with what the manifest says.

use std::sync::Arc;

use anyhow::anyhow;
use samara_capability::{kv, without_credentials};
use samara_model::{AppId, manifest::relative_path};

use super::{AppStore, Deployment, Refused, relink::Relink, stores::Place};

impl Deployment {
    /// Leads a store of an app to another backend from now on; with `copy` its keys are there before anybody looks.
    ///
    /// # Errors
    /// There is no such app or store, or the backend does not open as what the store is used as: then it leads where it did.
    pub async fn link(
        self: &Arc<Self>,
        id: &AppId,
        store: &str,
        provider: String,
        settings: toml::Table,
        copy: Option<kv::Present>,
    ) -> Result<(), Refused> {
        if let Some(path) = relative_path(&provider, &settings) {
            return Err(Refused::Load(format!(
                "`{}` is a relative path; write one that begins with `/`, as the host knows no folder that it is relative to",
                path.display()
            )));
        }
        let place = Place { provider, settings };
        let held = self.held(id, store)?;
        let mut ready = Vec::new();
        for held in &held {
            let opened = Relink::open(self.backends(), &id.tenant, held, place.clone()).await;
            ready.push(opened.map_err(|why| Refused::Load(format!("store `{store}` was not linked: {why:#}")))?);
        }
        let failed = |why: anyhow::Error| Refused::Load(format!("store `{store}` was not linked: {why:#}"));
        if copy.is_some() && ready.len() > 1 {
            return Err(failed(anyhow!(
                "the versions of `{id}` that share its requests declare it differently; give one of them all, then copy"
            )));
        }
        // All of them or none.
        for mut relink in ready {
            if let Some(present) = copy {
                relink.copy(present).await.map_err(failed)?;
            }
            relink.done().await;
        }
        tracing::info!(app = %id, store, provider = without_credentials(&place.provider), "linked");
        // Who waited for the store need not wait for the next attempt.
        for version in self.waiting().iter().filter(|version| version.id() == *id) {
            if let Err(refused) = self.load_awaited(version).await {
                tracing::error!(app = %id, "its stores are there, and still it is not loaded: {refused}");
            }
        }
        Ok(())
    }

    /// A store of an app by its name: each of the versions that serve may declare another.
    fn held(&self, id: &AppId, name: &str) -> Result<Vec<Arc<AppStore>>, Refused> {
        let deployed = self.app(id).ok_or_else(|| super::registry::unknown(id))?;
        let mut found: Vec<Arc<AppStore>> = Vec::new();
        let mut others = Vec::new();
        for store in deployed.active().flat_map(|(_, version)| &version.stores) {
            if store.name != name {
                others.push(format!("`{}`", store.name));
            } else if !found.iter().any(|known| Arc::ptr_eq(known, store)) {
                found.push(Arc::clone(store));
            }
        }
        if found.is_empty() {
            others.sort();
            others.dedup();
            let there =
                if others.is_empty() { "it has none".to_owned() } else { format!("it has {}", others.join(", ")) };
            return Err(Refused::Unknown(format!("`{id}` has no store `{name}` that a workload is granted; {there}")));
        }
        Ok(found)
    }
}
