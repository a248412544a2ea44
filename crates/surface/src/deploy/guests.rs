//! Workloads as other guests of their app see them: those of the version that serves now, found by name when they are called.
//!
//! A version that is being loaded finds its own where the one that serves has none of that name: its canary may need them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use anyhow::bail;
use async_trait::async_trait;
use http::{Request, Response};
use parking_lot::{Mutex, RwLock};
use samara_capability::http::{EgressError, Inside};
use samara_model::{AppId, Body, INSIDE_DOMAINS, Pattern, RouteTable, Shape, inside_host};
use samara_runtime::{Runtime, Workload};

use crate::gateway::{Backing, Destination, Indoors};

/// The workloads of all apps that somebody looks for.
pub(super) struct Guests {
    runtime: Arc<Runtime>,
    apps: Mutex<HashMap<AppId, Weak<AppGuests>>>,
}

/// The workloads of one app. Its versions keep it; whoever is called by way of it must not.
pub(super) struct AppGuests {
    pub(super) runtime: Arc<Runtime>,
    /// Those of the version that has most of the requests.
    serving: RwLock<Option<Arc<Cast>>>,
    /// Those of a version that is being loaded.
    loading: RwLock<Option<Arc<Cast>>>,
}

/// The workloads of one version.
#[derive(Debug, Default)]
pub(super) struct Cast {
    workloads: Vec<Arc<Workload>>,
    /// All that answer requests, by the host's name.
    indoors: Indoors,
}

impl Cast {
    /// The workloads of a version, and where requests to each lead.
    pub(super) fn new<'d>(
        workloads: &[Arc<Workload>],
        named: impl Iterator<Item = (&'d str, &'d Destination)>,
    ) -> anyhow::Result<Self> {
        let mut routes = RouteTable::new();
        let all: Pattern = "/*rest".parse()?;
        for (name, destination) in named {
            for domain in INSIDE_DOMAINS {
                let host = format!("{name}.{domain}");
                if routes.insert(Some(&host), &[], &all, Backing::from(destination.clone())).is_err() {
                    bail!("two workloads are called `{name}`; give one another name");
                }
            }
        }
        Ok(Self { workloads: workloads.to_vec(), indoors: Indoors::new(routes) })
    }

    fn find(&self, name: &str) -> Option<&Arc<Workload>> {
        self.workloads.iter().find(|workload| *workload.id.name == *name)
    }
}

impl Guests {
    pub(super) fn new(runtime: &Arc<Runtime>) -> Self {
        Self { runtime: Arc::clone(runtime), apps: Mutex::default() }
    }

    /// The workloads of an app, now and later.
    pub(super) fn of(&self, app: &AppId) -> Arc<AppGuests> {
        let mut apps = self.apps.lock();
        apps.retain(|_, known| known.strong_count() > 0);
        if let Some(known) = apps.get(app).and_then(Weak::upgrade) {
            return known;
        }
        let runtime = Arc::clone(&self.runtime);
        let made = Arc::new(AppGuests { runtime, serving: RwLock::default(), loading: RwLock::default() });
        apps.insert(app.clone(), Arc::downgrade(&made));
        made
    }

    /// Says who serves now.
    pub(super) fn serve(&self, serving: impl Fn(&AppId) -> Option<Arc<Cast>>) {
        for (id, app) in &*self.apps.lock() {
            if let Some(app) = app.upgrade() {
                *app.serving.write() = serving(id);
            }
        }
    }

    /// Says that nothing of an app is being loaded any more.
    pub(super) fn loaded(&self, app: &AppId) {
        if let Some(app) = self.apps.lock().get(app).and_then(Weak::upgrade) {
            *app.loading.write() = None;
        }
    }
}

impl AppGuests {
    /// Says which version is being loaded.
    pub(super) fn load(&self, cast: &Arc<Cast>) {
        *self.loading.write() = Some(Arc::clone(cast));
    }

    fn casts(&self) -> impl Iterator<Item = Arc<Cast>> {
        let serving = self.serving.read().clone();
        serving.into_iter().chain(self.loading.read().clone())
    }

    /// A workload by its name in the manifest.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Workload>> {
        self.casts().find_map(|cast| cast.find(name).cloned())
    }

    /// The names of those that answer calls of some shape.
    pub(super) fn named(&self, shapes: &[Shape]) -> Vec<String> {
        let Some(serving) = self.serving.read().clone() else { return Vec::new() };
        let fitting = serving.workloads.iter().filter(|workload| shapes.contains(&workload.shape));
        fitting.map(|workload| workload.id.name.to_string()).collect()
    }
}

/// The way from one guest of an app to another by HTTP.
#[derive(Debug)]
pub(super) struct Corridor(pub(super) Weak<AppGuests>);

#[async_trait]
impl Inside for Corridor {
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, EgressError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let missing = || EgressError::NotFound(host.clone());
        let name = inside_host(&host).ok_or_else(missing)?;
        let guests = self.0.upgrade().ok_or_else(missing)?;
        let cast = guests.casts().find(|cast| cast.indoors.has(&host)).ok_or_else(missing)?;
        drop(guests);
        tracing::debug!(workload = name, "asked by another workload of its app");
        Ok(cast.indoors.answer(request).await)
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("apps", &self.apps.lock().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for AppGuests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serving = self.serving.read().as_ref().map(|cast| cast.workloads.len());
        f.debug_struct("AppGuests").field("serving", &serving).finish_non_exhaustive()
    }
}
