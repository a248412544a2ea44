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
use samara_capability::{blob, kv, messaging, sql, without_credentials};
use samara_model::{
    AppId, Capability, DEFAULT_BUS, Tenant,
    manifest::{self, App},
};
use samara_runtime::Stores;

/// The time one backend has to open; a provider that gives up sooner says better why.
const OPENING: Duration = Duration::from_secs(15);

/// The open backends of all apps, and their stores.
#[derive(Debug, Default)]
pub(super) struct Backends {
    kv: Shelf<dyn kv::KeyValue>,
    blob: Shelf<dyn blob::Blob>,
    messaging: Shelf<dyn messaging::Messaging>,
    stores: Mutex<HashMap<StoreKey, Weak<AppStore>>>,
}

/// One store of one app, as one manifest declares it: another provider or other settings make another store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// Those whose backend does not answer, and what it came to.
    pub(super) waiting: BTreeMap<String, String>,
}

/// A store of an app. All its versions that declare it alike have the same one.
pub struct AppStore {
    /// The name the manifest gives it.
    pub name: String,
    /// What the manifest says that opens it.
    declared: Place,
    /// What it was linked to since.
    linked: Mutex<Option<Place>>,
    /// Held while it is opened or linked: one of them at a time.
    turn: tokio::sync::Mutex<()>,
    kv: OnceLock<kv::Store>,
    blob: OnceLock<blob::Store>,
    sql: OnceLock<sql::Store>,
    messaging: OnceLock<messaging::Store>,
}

/// Where a backend is, as a manifest writes it.
#[derive(Clone, PartialEq)]
pub(super) struct Place {
    /// The URL; it may hold credentials.
    pub(super) provider: String,
    pub(super) settings: toml::Table,
}

/// Why a backend is not open.
enum Failed {
    /// It never will be: the manifest is wrong.
    Refused(anyhow::Error),
    /// It may be later.
    Down(String),
}

impl Backends {
    /// Opens an app's stores, each as its tenant's share of the backend.
    ///
    /// # Errors
    /// The manifest is wrong; the message names the store and its line.
    pub(super) async fn open(&self, app: &App) -> anyhow::Result<Opened> {
        let mut opened = Opened::default();
        let id = super::registry::id_of(app);
        let bus = default_bus(app);
        for store in app.stores.iter().chain(&bus) {
            let place = || format!("{}: store `{}`", super::load::place(app, store.line), store.name);
            let wanted = wanted(app, &store.name);
            if wanted.is_empty() {
                known_scheme(&store.provider).with_context(place)?;
                continue;
            }
            let held = self.store(&id, store);
            for capability in wanted {
                let opening = held.open(self, &app.tenant, capability);
                let done = tokio::time::timeout(OPENING, opening).await;
                match done.unwrap_or_else(|_| Err(late())) {
                    Ok(()) => {}
                    Err(Failed::Refused(error)) => return Err(error.context(place())),
                    Err(Failed::Down(why)) => {
                        opened.waiting.insert(store.name.clone(), why);
                        break;
                    }
                }
            }
            held.put_into(&mut opened.stores);
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
            name: store.name.clone(),
            declared: Place { provider: store.provider.clone(), settings: store.settings.clone() },
            linked: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
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

    /// Opens it as one capability, unless it is already.
    async fn open(&self, backends: &Backends, tenant: &Tenant, capability: Capability) -> Result<(), Failed> {
        let _turn = self.turn.lock().await;
        let place = self.place();
        match capability {
            Capability::Kv if self.kv.get().is_none() => {
                let backend = backends.kv(tenant, &self.name, &place).await?;
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
    async fn kv(&self, tenant: &Tenant, name: &str, place: &Place) -> Result<Arc<dyn kv::KeyValue>, Failed> {
        let opening = kv::open(&place.provider, &place.settings, &kv::NoWorkloads);
        self.kv.open(tenant, name, place, opening).await
    }

    async fn blob(&self, tenant: &Tenant, name: &str, place: &Place) -> Result<Arc<dyn blob::Blob>, Failed> {
        let opening = blob::open(&place.provider, &place.settings);
        self.blob.open(tenant, name, place, opening).await
    }

    async fn messaging(
        &self,
        tenant: &Tenant,
        name: &str,
        place: &Place,
    ) -> Result<Arc<dyn messaging::Messaging>, Failed> {
        let opening = messaging::open(&place.provider, &place.settings);
        self.messaging.open(tenant, name, place, opening).await
    }
}

impl Backends {
    /// Leads a store to another place, as everything it is open as; or, if one of these does not open, as nothing.
    ///
    /// # Errors
    /// Why it does not open.
    pub(super) async fn link(&self, tenant: &Tenant, store: &AppStore, place: Place) -> anyhow::Result<()> {
        let _turn = store.turn.lock().await;
        let opening = async {
            let kv = match store.kv.get() {
                Some(open) => Some((open, self.kv(tenant, &store.name, &place).await?)),
                None => None,
            };
            let messaging = match store.messaging.get() {
                Some(open) => Some((open, self.messaging(tenant, &store.name, &place).await?)),
                None => None,
            };
            let sql = match store.sql.get() {
                Some(open) => {
                    let share = sql::Share::of(tenant);
                    Some((open, sql::open(&place.provider, &place.settings, &share).await?))
                }
                None => None,
            };
            let blob = match store.blob.get() {
                Some(open) => Some((open, self.blob(tenant, &store.name, &place).await?)),
                None => None,
            };
            Ok::<_, Failed>((kv, blob, sql, messaging))
        };
        let opened = tokio::time::timeout(OPENING, opening).await.unwrap_or_else(|_| Err(late()));
        let (kv, blob, sql, messaging) = opened.map_err(Failed::into_error)?;
        if let Some((store, backend)) = blob {
            store.link().set(backend);
        }
        if let Some((store, backend)) = sql {
            store.link().set(backend);
        }
        if let Some((store, backend)) = messaging {
            store.link().set(backend);
        }
        if let Some((store, backend)) = kv {
            store.link().set(backend);
            // The link holds all the same; the store measures itself again in its time.
            if let Err(error) = store.measure().await {
                tracing::warn!(store = store.name(), "what it holds where it was linked to is not known yet: {error}");
            }
        }
        *store.linked.lock() = (place != store.declared).then_some(place);
        Ok(())
    }
}

impl Failed {
    fn into_error(self) -> anyhow::Error {
        match self {
            Self::Refused(error) => error,
            Self::Down(why) => anyhow!("{why}"),
        }
    }
}

fn late() -> Failed {
    Failed::Down(format!("no answer within {} s", OPENING.as_secs()))
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
struct Shelf<T: ?Sized>(Mutex<HashMap<String, Open<T>>>);

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
        // A memory store has no address: it is one per tenant and name, shared by the tenant's apps and versions.
        let address = if place.provider.trim_end_matches(':') == "memory" {
            format!("memory:{tenant}/{name}")
        } else {
            place.provider.clone()
        };
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

    fn known(&self, address: &str, name: &str, place: &Place) -> Option<Arc<T>> {
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
    let heard = heard.map(|(name, bus)| (if bus { Capability::Messaging } else { Capability::Kv }, name));
    granted.chain(heard).filter(|(_, name)| *name == store).map(|(capability, _)| capability).collect()
}

/// The bus that is there without being declared, if somebody is granted it or listens to it.
fn default_bus(app: &App) -> Option<manifest::Store> {
    let declared = app.stores.iter().any(|store| store.name == DEFAULT_BUS);
    let granted = app.workloads.iter().any(|workload| workload.grants.messaging.contains_key(DEFAULT_BUS));
    let heard = app.events.iter().filter_map(|event| event.store()).any(|heard| heard == (DEFAULT_BUS, true));
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
