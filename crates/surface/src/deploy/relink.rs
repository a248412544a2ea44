//! `link`'s part: the backends of a store at another place, opened before any store is led there.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, OnceLock},
};

use anyhow::{bail, ensure};
use samara_capability::{Link, Present, blob, kv, messaging, sql};
use samara_model::{Capability, Tenant, manifest::guest_of};
use tokio::sync::MutexGuard;

use super::{
    guest_store::GuestStore,
    stores::{AppStore, Backends, Failed, Moving, OPENING, Place, late},
};

/// A store that is ready to lead elsewhere. Nobody else opens or links it meanwhile; dropped, it leads where it did.
pub(super) struct Relink<'a> {
    store: &'a AppStore,
    place: Place,
    kv: Option<Ready<dyn kv::KeyValue, kv::Store>>,
    blob: Option<Ready<dyn blob::Blob, blob::Store>>,
    sql: Option<Ready<dyn sql::Sql, sql::Store>>,
    messaging: Option<Ready<dyn messaging::Messaging, messaging::Store>>,
    wanted: MutexGuard<'a, BTreeSet<Capability>>,
}

/// The backend of a store that is open already, or the store itself if its server has not been there until now.
enum Ready<T: ?Sized, S> {
    Again(Arc<T>),
    First(S),
}

impl<'a> Relink<'a> {
    /// Opens what a store is to lead to, as everything that its versions want it as.
    ///
    /// # Errors
    /// Why it does not open.
    pub(super) async fn open(
        backends: &Backends,
        tenant: &Tenant,
        store: &'a AppStore,
        place: Place,
    ) -> anyhow::Result<Self> {
        let wanted = store.wanted.lock().await;
        let mut relink = Self { store, place, kv: None, blob: None, sql: None, messaging: None, wanted };
        let opened = tokio::time::timeout(OPENING, relink.open_all(backends, tenant)).await;
        opened.unwrap_or_else(|_| Err(late())).map_err(Failed::into_error)?;
        Ok(relink)
    }

    async fn open_all(&mut self, backends: &Backends, tenant: &Tenant) -> Result<(), Failed> {
        let AppStore { app, name, kv, blob, sql, messaging, .. } = self.store;
        let place = &self.place;
        if let Some(guest) = guest_of(&place.provider) {
            GuestStore::check(&backends.guests().of(app), guest)?;
        }
        for capability in &*self.wanted {
            match capability {
                Capability::Kv => {
                    let backend = backends.kv(app, name, place).await?;
                    self.kv = Some(match kv.get() {
                        Some(_) => Ready::Again(backend),
                        None => Ready::First(kv::Store::new(name, tenant, backend).await?),
                    });
                }
                Capability::Blob => {
                    let backend = backends.blob(tenant, name, place).await?;
                    self.blob = Some(match blob.get() {
                        Some(_) => Ready::Again(backend),
                        None => Ready::First(blob::Store::new(name, tenant, backend).await?),
                    });
                }
                Capability::Sql => {
                    let (url, settings) = (&place.provider, &place.settings);
                    self.sql = Some(match sql.get() {
                        Some(_) => Ready::Again(sql::open(url, settings, &sql::Share::of(tenant)).await?),
                        None => Ready::First(sql::Store::open(name, tenant, url, settings).await?),
                    });
                }
                Capability::Messaging => {
                    let backend = backends.messaging(tenant, name, place).await?;
                    self.messaging = Some(match messaging.get() {
                        Some(_) => Ready::Again(backend),
                        None => Ready::First(messaging::Store::new(name, tenant, backend)),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Copies the store's keys and objects there while they are used, and leads these parts of it there, one after the other.
    ///
    /// # Errors
    /// There is more, or less, to copy than these; or why they were not copied. Then it leads where it did, but for keys if it
    /// is the objects that were not.
    pub(super) async fn copy(&mut self, present: Present) -> anyhow::Result<()> {
        let store = self.store;
        ensure!(self.sql.is_none(), "it is used as a database too, which is not copied; link it without a copy");
        if self.kv.is_none() && self.blob.is_none() {
            bail!("nobody is granted its keys or objects, so that there is nothing to copy; link it without a copy");
        }
        let _told = Told(store);
        let tell = |entries, bytes, total| *store.moving.lock() = Some(Moving { entries, bytes, total });
        if let Some(ready) = self.kv.take() {
            let (keys, backend) = both(store.kv.get(), ready)?;
            let told = |progress: kv::Progress| {
                tell(progress.copied.keys, progress.copied.bytes, progress.total.map(|total| total.keys));
            };
            keys.move_to(backend, present, &told).await?;
        }
        if let Some(ready) = self.blob.take() {
            let (objects, backend) = both(store.blob.get(), ready)?;
            let told = |progress: blob::Progress| {
                tell(progress.copied.objects, progress.copied.bytes, progress.total.map(|total| total.objects));
            };
            objects.move_to(backend, present, &told).await?;
        }
        Ok(())
    }

    /// Leads the store there: what begins from now on is done there.
    pub(super) async fn done(self) {
        let Self { store, place, kv, blob, sql, messaging, wanted } = self;
        let again = (matches!(kv, Some(Ready::Again(_))), matches!(blob, Some(Ready::Again(_))));
        lead(&store.kv, kv, kv::Store::link);
        lead(&store.blob, blob, blob::Store::link);
        lead(&store.sql, sql, sql::Store::link);
        lead(&store.messaging, messaging, messaging::Store::link);
        *store.linked.lock() = (place != store.declared).then_some(place);
        drop(wanted);
        // The link holds all the same; the store measures itself again in its time.
        let unknown = |error: &dyn fmt::Display| {
            tracing::warn!(store = store.name, "what it holds where it was linked to is not known yet: {error}");
        };
        if let Some(kv) = store.kv.get().filter(|_| again.0)
            && let Err(error) = kv.measure().await
        {
            unknown(&error);
        }
        if let Some(blob) = store.blob.get().filter(|_| again.1)
            && let Err(error) = blob.measure().await
        {
            unknown(&error);
        }
    }
}

/// A store that is open, and the place it is to be copied to.
fn both<T: ?Sized, S>(open: Option<&S>, ready: Ready<T, S>) -> anyhow::Result<(&S, Arc<T>)> {
    match (open, ready) {
        (Some(open), Ready::Again(backend)) => Ok((open, backend)),
        _ => bail!("its server does not answer, so that nothing can be copied; link it without a copy"),
    }
}

/// Forgets how far a copy has come, when it has ended in whatever way.
struct Told<'a>(&'a AppStore);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        *self.0.moving.lock() = None;
    }
}

fn lead<T: ?Sized, S>(place: &OnceLock<S>, ready: Option<Ready<T, S>>, link: fn(&S) -> &Arc<Link<T>>) {
    match ready {
        Some(Ready::Again(backend)) => drop(place.get().map(|store| link(store).set(backend))),
        Some(Ready::First(store)) => drop(place.set(store)),
        None => {}
    }
}
