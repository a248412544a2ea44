//! Workloads as other guests of their app see them: the version that serves now, found by name when it is called.
//!
//! A version that is being loaded, and is the first of its app, is found as well: its canary may need its own workloads.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::{Mutex, RwLock};
use samara_model::{AppId, Shape};
use samara_runtime::{Runtime, Workload};

/// The workloads of all apps that somebody looks for.
pub(super) struct Guests {
    runtime: Arc<Runtime>,
    apps: Mutex<HashMap<AppId, Weak<AppGuests>>>,
}

/// The workloads of one app.
pub(super) struct AppGuests {
    pub(super) runtime: Arc<Runtime>,
    /// Those of the version that has most of the requests.
    serving: RwLock<Vec<Weak<Workload>>>,
    /// Those of the version that was loaded last.
    loaded: RwLock<Vec<Weak<Workload>>>,
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
        let made = Arc::new(AppGuests { runtime, serving: RwLock::default(), loaded: RwLock::default() });
        apps.insert(app.clone(), Arc::downgrade(&made));
        made
    }

    /// Says who serves now: nothing else of an app is found from then on.
    pub(super) fn serve<'v>(&self, serving: impl Fn(&AppId) -> &'v [Arc<Workload>]) {
        for (id, app) in &*self.apps.lock() {
            if let Some(app) = app.upgrade() {
                *app.serving.write() = serving(id).iter().map(Arc::downgrade).collect();
            }
        }
    }
}

impl AppGuests {
    /// Says which version was loaded last.
    pub(super) fn load(&self, workloads: &[Arc<Workload>]) {
        *self.loaded.write() = workloads.iter().map(Arc::downgrade).collect();
    }

    /// A workload by its name in the manifest.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Workload>> {
        let named = |workloads: &RwLock<Vec<Weak<Workload>>>| {
            let workloads = workloads.read();
            let mut found = workloads.iter().filter_map(Weak::upgrade);
            found.find(|workload| *workload.id.name == *name)
        };
        named(&self.serving).or_else(|| named(&self.loaded))
    }

    /// The names of those that answer calls of some shape.
    pub(super) fn named(&self, shapes: &[Shape]) -> Vec<String> {
        let serving = self.serving.read();
        let fitting = serving.iter().filter_map(Weak::upgrade).filter(|workload| shapes.contains(&workload.shape));
        fitting.map(|workload| workload.id.name.to_string()).collect()
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("apps", &self.apps.lock().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for AppGuests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppGuests").field("serving", &self.serving.read().len()).finish_non_exhaustive()
    }
}
