//! The stores of all apps: who names the same backend shares it, and keeps it over a change of version.
//!
//! A store is opened as each capability that some workload of its app is granted it as. A backend whose server does not
//! answer is no mistake of the manifest: whoever needs it waits, and everything else is loaded.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use anyhow::{Context, anyhow};
use parking_lot::Mutex;
use samara_capability::{blob, http::Inside, kv, messaging, sql, without_credentials};
use samara_model::{
    AppId, Capability, DEFAULT_BUS, Tenant,
    manifest::{self, App, guest_of, path_address},
};
use samara_runtime::{Runtime, Stores};

use super::{
    guest_store::GuestStores,
    guests::{AppGuests, Corridor, Guests},
};

/// The time one backend has to open; a provider that gives up sooner says better why.
pub(super) const OPENING: Duration = Duration::from_secs(15);

/// The open backends of all apps, and their stores.
pub(super) struct Backends {
    guests: Guests,
    kv: Shelf<dyn kv::KeyValue>,
    blob: Shelf<dyn blob::Blob>,
    messaging: Shelf<dyn messaging::Messaging>,
    stores: Mutex<HashMap<StoreKey, Weak<AppStore>>>,
}

/// One store of one app, as one manifest declares it: another provider or other settings make another store. They may hold
/// credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
struct StoreKey {
    app: AppId,
    name: String,
    provider: String,
    settings: String,
}

/// The stores of one version of an app.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// What its workloads may be lent.
    pub(super) stores: Stores,
    /// Keeps them open, and knows what they lead to.
    pub(super) held: Vec<Arc<AppStore>>,
    /// Those whose backend does not answer as one capability, and what it came to.
    pub(super) waiting: BTreeMap<(Capability, String), String>,
    /// Where they find those that are workloads.
    pub(super) guests: Option<Arc<AppGuests>>,
}

/// A store of an app. All its versions that declare it alike have the same one.
pub struct AppStore {
    /// Whose it is.
    pub(super) app: AppId,
    /// The name the manifest gives it.
    pub name: String,
    /// What the manifest says that opens it.
    pub(super) declared: Place,
    /// What it was linked to since.
    pub(super) linked: Mutex<Option<Place>>,
    /// How far it has been copied to where it is being led.
    pub(super) moving: Mutex<Option<Moving>>,
    /// Held while it is opened or linked: one of them at a time. What its versions want it as.
    pub(super) wanted: tokio::sync::Mutex<BTreeSet<Capability>>,
    pub(super) kv: OnceLock<kv::Store>,
    pub(super) blob: OnceLock<blob::Store>,
    pub(super) sql: OnceLock<sql::Store>,
    pub(super) messaging: OnceLock<messaging::Store>,
}

/// How far a copy of a store has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Keys, or objects, that were copied.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many there were when it began, if that is known.
    pub total: Option<u64>,
}

/// Where a backend is, as a manifest writes it.
#[derive(Clone, PartialEq)]
pub(super) struct Place {
    /// The URL; it may hold credentials.
    pub(super) provider: String,
    pub(super) settings: toml::Table,
}

/// Why a backend is not open.
pub(super) enum Failed {
    /// It never will be: the manifest is wrong.
    Refused(anyhow::Error),
    /// It may be later.
    Down(String),
}

impl Backends {
    /// None are open yet; `runtime` calls the workloads that are stores.
    pub(super) fn new(runtime: &Arc<Runtime>) -> Self {
        Self {
            guests: Guests::new(runtime),
            kv: Shelf::default(),
            blob: Shelf::default(),
            messaging: Shelf::default(),
            stores: Mutex::default(),
        }
    }

    /// The workloads that other guests of their app call.
    pub(super) fn guests(&self) -> &Guests {
        &self.guests
    }

    /// Opens an app's stores, each as its tenant's share of the backend.
    ///
    /// # Errors
    /// The manifest is wrong; the message names the store and its line.
    pub(super) async fn open(&self, app: &App) -> anyhow::Result<Opened> {
        let id = super::registry::id_of(app);
        let bus = default_bus(app);
        // One after the other they would wait for each other's servers.
        let opening = app.stores.iter().chain(&bus).map(|store| async {
            let place = || format!("{}: store `{}`", super::load::place(app, store.line), store.name);
            let wanted = wanted(app, &store.name);
            if wanted.is_empty() {
                return known_scheme(&store.provider).with_context(place).map(|()| None);
            }
            let held = self.store(&id, store);
            let opened = held.open_as(self, &app.tenant, wanted).await;
            opened.map(|waiting| Some((held, waiting))).with_context(place)
        });
        let guests = self.guests.of(&id);
        let inside: Arc<dyn Inside> = Arc::new(Corridor(Arc::downgrade(&guests)));
        let stores = Stores { inside: Some(inside), ..Stores::default() };
        let mut opened = Opened { guests: Some(guests), stores, ..Opened::default() };
        for (held, waiting) in futures::future::try_join_all(opening).await?.into_iter().flatten() {
            held.put_into(&mut opened.stores);
            let named = |(capability, why)| ((capability, held.name.clone()), why);
            opened.waiting.extend(waiting.into_iter().map(named));
            opened.held.push(held);
        }
        Ok(opened)
    }

    /// The store of an app that a manifest declares, as its other versions have it.
    fn store(&self, app: &AppId, store: &manifest::Store) -> Arc<AppStore> {
        let key = StoreKey {
            app: app.clone(),
            name: store.name.clone(),
            provider: store.provider.clone(),
            settings: store.settings.to_string(),
        };
        let mut stores = self.stores.lock();
        stores.retain(|_, known| known.strong_count() > 0);
        if let Some(known) = stores.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let before = stores.iter().filter(|(other, _)| other.app == key.app && other.name == key.name);
        if before.filter_map(|(_, known)| known.upgrade()).any(|known| known.linked.lock().is_some()) {
            tracing::warn!(app = %app, store = store.name, "the new version's manifest names another provider than before, which holds for it: the link is of the old one");
        }
        let made = Arc::new(AppStore {
            app: app.clone(),
            name: store.name.clone(),
            declared: Place { provider: store.provider.clone(), settings: store.settings.clone() },
            linked: Mutex::default(),
            moving: Mutex::default(),
            wanted: tokio::sync::Mutex::default(),
            kv: OnceLock::new(),
            blob: OnceLock::new(),
            sql: OnceLock::new(),
            messaging: OnceLock::new(),
        });
        stores.insert(key, Arc::downgrade(&made));
        made
    }
}

impl AppStore {
    /// What it leads to now, without credentials.
    pub fn provider(&self) -> String {
        without_credentials(&self.place().provider)
    }

    /// What the manifest says it leads to, without credentials, if it was linked elsewhere since.
    pub fn declared(&self) -> Option<String> {
        let linked = self.linked.lock().is_some();
        linked.then(|| without_credentials(&self.declared.provider))
    }

    /// How far it has been copied to another place, if it is being copied.
    pub fn moving(&self) -> Option<Moving> {
        *self.moving.lock()
    }

    /// The capabilities it is open as.
    pub fn capabilities(&self) -> Vec<Capability> {
        let kv = self.kv.get().map(|_| Capability::Kv);
        let messaging = self.messaging.get().map(|_| Capability::Messaging);
        let sql = self.sql.get().map(|_| Capability::Sql);
        let blob = self.blob.get().map(|_| Capability::Blob);
        [kv, blob, sql, messaging].into_iter().flatten().collect()
    }

    /// The bus it is open as.
    pub(super) fn bus(&self) -> Option<&messaging::Store> {
        self.messaging.get()
    }

    /// The key-value store it is open as.
    pub(super) fn key_value(&self) -> Option<&kv::Store> {
        self.kv.get()
    }

    fn place(&self) -> Place {
        self.linked.lock().clone().unwrap_or_else(|| self.declared.clone())
    }

    /// Opens it as the capabilities it is wanted as and not open as already: those whose backend does not answer, and why.
    async fn open_as(
        &self,
        backends: &Backends,
        tenant: &Tenant,
        capabilities: BTreeSet<Capability>,
    ) -> anyhow::Result<Vec<(Capability, String)>> {
        let mut wanted = self.wanted.lock().await;
        let mut waiting = Vec::new();
        for capability in capabilities {
            let done = tokio::time::timeout(OPENING, self.open(backends, tenant, capability)).await;
            match done.unwrap_or_else(|_| Err(late())) {
                Ok(()) => {}
                Err(Failed::Refused(error)) => return Err(error),
                Err(Failed::Down(why)) => waiting.push((capability, why)),
            }
            wanted.insert(capability);
        }
        Ok(waiting)
    }

    async fn open(&self, backends: &Backends, tenant: &Tenant, capability: Capability) -> Result<(), Failed> {
        let place = self.place();
        match capability {
            Capability::Kv if self.kv.get().is_none() => {
                let backend = backends.kv(&self.app, &self.name, &place).await?;
                let store = kv::Store::new(&self.name, tenant, backend).await?;
                self.kv.get_or_init(|| store);
            }
            Capability::Blob if self.blob.get().is_none() => {
                let backend = backends.blob(tenant, &self.name, &place).await?;
                let store = blob::Store::new(&self.name, tenant, backend).await?;
                self.blob.get_or_init(|| store);
            }
            // A database is a tenant's own from the start, so that there is none to share.
            Capability::Sql if self.sql.get().is_none() => {
                let store = sql::Store::open(&self.name, tenant, &place.provider, &place.settings).await?;
                self.sql.get_or_init(|| store);
            }
            Capability::Messaging if self.messaging.get().is_none() => {
                let backend = backends.messaging(tenant, &self.name, &place).await?;
                self.messaging.get_or_init(|| messaging::Store::new(&self.name, tenant, backend));
            }
            // Open already, or no capability that stores are granted as.
            _ => {}
        }
        Ok(())
    }

    fn put_into(&self, stores: &mut Stores) {
        if let Some(store) = self.kv.get() {
            stores.kv.insert(self.name.clone(), store.clone());
        }
        if let Some(store) = self.blob.get() {
            stores.blob.insert(self.name.clone(), store.clone());
        }
        if let Some(store) = self.sql.get() {
            stores.sql.insert(self.name.clone(), store.clone());
        }
        if let Some(store) = self.messaging.get() {
            stores.messaging.insert(self.name.clone(), store.clone());
        }
    }
}

impl Backends {
    pub(super) async fn kv(&self, app: &AppId, name: &str, place: &Place) -> Result<Arc<dyn kv::KeyValue>, Failed> {
        let leads_to_guest = guest_of(&place.provider).is_some();
        let opener =
            GuestStores { guests: leads_to_guest.then(|| Arc::downgrade(&self.guests.of(app))), tenant: &app.tenant };
        let opening = kv::open(&place.provider, &place.settings, &opener);
        // Such a store holds nothing open, and is each app's own.
        if leads_to_guest {
            return Ok(opening.await?);
        }
        self.kv.open(&app.tenant, name, place, opening).await
    }

    pub(super) async fn blob(&self, tenant: &Tenant, name: &str, place: &Place) -> Result<Arc<dyn blob::Blob>, Failed> {
        let opening = blob::open(&place.provider, &place.settings);
        self.blob.open(tenant, name, place, opening).await
    }

    pub(super) async fn messaging(
        &self,
        tenant: &Tenant,
        name: &str,
        place: &Place,
    ) -> Result<Arc<dyn messaging::Messaging>, Failed> {
        let opening = messaging::open(&place.provider, &place.settings);
        self.messaging.open(tenant, name, place, opening).await
    }
}

impl Failed {
    pub(super) fn into_error(self) -> anyhow::Error {
        match self {
            Self::Refused(error) => error,
            Self::Down(why) => anyhow!("{why}"),
        }
    }
}

pub(super) fn late() -> Failed {
    Failed::Down(format!("no answer within {} s", OPENING.as_secs()))
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { guests, kv, blob, messaging, stores } = self;
        let mut backends = f.debug_struct("Backends");
        backends.field("guests", guests).field("kv", kv).field("blob", blob).field("messaging", messaging);
        backends.field("stores", &stores.lock().len()).finish()
    }
}

impl fmt::Debug for AppStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppStore").field("name", &self.name).field("provider", &self.provider()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&without_credentials(&self.provider)).finish()
    }
}

impl From<kv::KvError> for Failed {
    fn from(error: kv::KvError) -> Self {
        match error {
            kv::KvError::Backend(_) | kv::KvError::TimedOut(_) => Self::Down(error.to_string()),
            _ => Self::Refused(error.into()),
        }
    }
}

impl From<messaging::MessagingError> for Failed {
    fn from(error: messaging::MessagingError) -> Self {
        match error {
            messaging::MessagingError::Backend(_) | messaging::MessagingError::TimedOut(_) => {
                Self::Down(error.to_string())
            }
            _ => Self::Refused(error.into()),
        }
    }
}

impl From<blob::BlobError> for Failed {
    fn from(error: blob::BlobError) -> Self {
        match error {
            blob::BlobError::Backend(_) | blob::BlobError::TimedOut(_) => Self::Down(error.to_string()),
            _ => Self::Refused(error.into()),
        }
    }
}

impl From<sql::SqlError> for Failed {
    fn from(error: sql::SqlError) -> Self {
        match error {
            sql::SqlError::Backend(_) | sql::SqlError::TimedOut(_) => Self::Down(error.to_string()),
            _ => Self::Refused(error.into()),
        }
    }
}

/// The open backends of one capability, by address. Each lives as long as a store that leads to it.
struct Shelf<T: ?Sized>(Mutex<HashMap<Address, Open<T>>>);

/// What makes two backends one.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Address {
    /// A memory store has no other: it is one per tenant and name, shared by the tenant's apps and versions.
    Memory(Tenant, String),
    /// A file is opened once, whatever its settings are.
    Path(String),
    /// A server is asked on behalf of whoever the settings say: others with the same URL are not they.
    Server { provider: String, settings: BTreeMap<String, String> },
}

impl Address {
    pub(super) fn of(tenant: &Tenant, name: &str, Place { provider, settings }: &Place) -> Self {
        if provider.trim_end_matches(':') == "memory" {
            return Self::Memory(tenant.clone(), name.to_owned());
        }
        match path_address(provider) {
            Some(path) => Self::Path(path),
            None => {
                let settings = settings.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
                Self::Server { provider: provider.clone(), settings }
            }
        }
    }
}

struct Open<T: ?Sized> {
    backend: Weak<T>,
    settings: toml::Table,
}

impl<T: ?Sized> Default for Shelf<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: ?Sized> fmt::Debug for Shelf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("open", &self.0.lock().len()).finish()
    }
}

impl<T: ?Sized> Shelf<T> {
    /// The backend at a place: the one that is open, or what `opening` gives, which is not begun otherwise.
    async fn open<E: Into<Failed>>(
        &self,
        tenant: &Tenant,
        name: &str,
        place: &Place,
        opening: impl Future<Output = Result<Arc<T>, E>>,
    ) -> Result<Arc<T>, Failed> {
        let address = Address::of(tenant, name, place);
        if let Some(backend) = self.known(&address, name, place) {
            return Ok(backend);
        }
        let opened = opening.await.map_err(Into::into)?;
        // Another load may have opened it meanwhile: the first one is everybody's.
        let mut open = self.0.lock();
        open.retain(|_, known| known.backend.strong_count() > 0);
        if let Some(known) = open.get(&address).and_then(|known| known.backend.upgrade()) {
            return Ok(known);
        }
        open.insert(address, Open { backend: Arc::downgrade(&opened), settings: place.settings.clone() });
        Ok(opened)
    }

    fn known(&self, address: &Address, name: &str, place: &Place) -> Option<Arc<T>> {
        let open = self.0.lock();
        let known = open.get(address)?;
        let backend = known.backend.upgrade()?;
        if known.settings != place.settings {
            tracing::warn!(store = name, "it is open with other settings, which hold until no version uses it");
        }
        Some(backend)
    }
}

/// What the workloads of an app are granted a store as, and its triggers listen to.
fn wanted(app: &App, store: &str) -> BTreeSet<Capability> {
    let granted = app.workloads.iter().flat_map(|workload| workload.grants.stores());
    let heard = app.events.iter().filter_map(|event| event.store());
    granted.chain(heard).filter(|(_, name)| *name == store).map(|(capability, _)| capability).collect()
}

/// The bus that is there without being declared, if somebody is granted it or listens to it.
fn default_bus(app: &App) -> Option<manifest::Store> {
    let declared = app.stores.iter().any(|store| store.name == DEFAULT_BUS);
    let granted = app.workloads.iter().any(|workload| workload.grants.messaging.contains_key(DEFAULT_BUS));
    let heard =
        app.events.iter().filter_map(|event| event.store()).any(|heard| heard == (Capability::Messaging, DEFAULT_BUS));
    ((granted || heard) && !declared).then(|| manifest::Store {
        name: DEFAULT_BUS.to_owned(),
        provider: "memory".to_owned(),
        settings: toml::Table::new(),
        line: 0,
    })
}

/// Refuses the URL of a store that nobody is granted, and that no capability could open.
fn known_scheme(provider: &str) -> anyhow::Result<()> {
    let scheme = provider.split_once(':').map_or(provider, |(scheme, _)| scheme);
    let kv = kv::PROVIDERS.iter().map(|provider| provider.scheme());
    let messaging = messaging::PROVIDERS.iter().map(|provider| provider.scheme());
    let blob = blob::PROVIDERS.iter().map(|provider| provider.scheme());
    let sql = sql::PROVIDERS.iter().map(|provider| provider.scheme());
    let known: BTreeSet<_> = kv.chain(blob).chain(sql).chain(messaging).collect();
    if known.contains(scheme) {
        return Ok(());
    }
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    Err(anyhow!("no provider for `{scheme}:`; known schemes: {known}"))
}
