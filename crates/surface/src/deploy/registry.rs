//! The apps that are served, their versions, and the one place where that changes.
//!
//! Loading and trying a version happens beside what serves and may take long; taking it over is short, under a lock that
//! no request ever waits for: requests read the gateway's table of routes, which is replaced as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Weak},
    time::SystemTime,
};

use parking_lot::Mutex;
use samara_model::{
    AppId, Compile, RouteTable, WorkloadId,
    manifest::{self, App, Host, Update},
};
use samara_runtime::{Runtime, Workload};
use tokio::sync::{Semaphore, watch};

use super::{
    Deployed, FULL_WEIGHT, RefusedVersion, Rollout, Share, Version, deployed::ids, rollout::Verdict, routes,
    stores::Backends, waiting::Waiting,
};
use crate::{
    gateway::{Backing, Routes},
    source::Sources,
};

/// Versions loaded at once; more wait.
const MAX_LOADS: usize = 4;
/// Apps of one process.
pub const MAX_APPS: usize = 10_000;

/// What is done with each workload once it is loaded.
type OnLoad = dyn Fn(&Workload) + Send + Sync;

/// Everything that is served.
pub struct Deployment {
    runtime: Arc<Runtime>,
    host: Host,
    routes: Routes,
    backends: Backends,
    on_load: Box<OnLoad>,
    compile: Compile,
    sources: Sources,
    loads: Semaphore,
    state: Mutex<State>,
    /// Told whenever others may serve than before.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    apps: BTreeMap<AppId, Deployed>,
    revisions: u64,
    /// Workloads of versions that are kept no more, until the last of their calls ends.
    leaving: Vec<Leaving>,
}

#[derive(Debug)]
struct Leaving {
    revision: u64,
    workload: Weak<Workload>,
}

/// Why a change was not made. Everything serves as before.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// A file that is missing or wrong, a limit, a guest that does not fit or compile.
    #[error("{0}")]
    Load(String),
    /// Another app has its routes.
    #[error("{0}")]
    Conflict(String),
    /// It was loaded and tried, and failed.
    #[error("{0}; the version before it goes on serving, if there is one")]
    Canary(String),
    /// No app, or no version, of that name.
    #[error("{0}")]
    Unknown(String),
    /// There is no more room.
    #[error("{0}")]
    Full(String),
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The app is new.
    Created,
    /// A new version serves.
    Replaced,
    /// The version that serves is the same.
    Unchanged,
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Deployment {
    /// Serves nothing yet. `host` is the ceiling of every app; `on_load` sees each workload before its first call.
    pub fn new(runtime: Arc<Runtime>, host: Host, on_load: impl Fn(&Workload) + Send + Sync + 'static) -> Self {
        Self {
            backends: Backends::new(&runtime),
            runtime,
            host,
            routes: Routes::default(),
            on_load: Box::new(on_load),
            compile: Compile::default(),
            sources: Sources::default(),
            loads: Semaphore::new(MAX_LOADS),
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// How workloads are compiled whose manifest does not say.
    #[must_use]
    pub fn compiling(self, compile: Compile) -> Self {
        Self { compile, ..self }
    }

    /// Where artifacts come from, and what they must show. Without these, files and whatever needs no policy.
    #[must_use]
    pub fn with_sources(self, sources: Sources) -> Self {
        Self { sources, ..self }
    }

    /// Where artifacts come from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Tells whenever others may serve than before.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The open backends.
    pub(super) fn backends(&self) -> &Backends {
        &self.backends
    }

    /// The table that the gateway serves: it follows every change.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The runtime that calls the workloads.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The operator's file.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Every app as it is now, by name.
    pub fn apps(&self) -> Vec<(AppId, Deployed)> {
        self.state.lock().apps.iter().map(|(id, deployed)| (id.clone(), deployed.clone())).collect()
    }

    /// The versions that serve and follow a tag.
    pub(super) fn following(&self) -> Vec<(AppId, Arc<Version>)> {
        let polls = |workload: &manifest::Workload| workload.update != Update::Never;
        let state = self.state.lock();
        let main = |(id, deployed): (&AppId, &Deployed)| {
            let main = deployed.main().filter(|main| main.app.workloads.iter().any(polls))?.revision;
            let version = deployed.versions.iter().find(|version| version.revision == main)?;
            Some((id.clone(), Arc::clone(version)))
        };
        state.apps.iter().filter_map(main).collect()
    }

    /// One app as it is now.
    pub fn app(&self, id: &AppId) -> Option<Deployed> {
        self.state.lock().apps.get(id).cloned()
    }

    /// Workloads of versions that are gone and whose last calls are not.
    pub fn leaving(&self) -> Vec<(WorkloadId, u64)> {
        let mut state = self.state.lock();
        state.leaving.retain(|leaving| leaving.workload.strong_count() > 0);
        let alive = |leaving: &Leaving| Some((leaving.workload.upgrade()?.id.clone(), leaving.revision));
        state.leaving.iter().filter_map(alive).collect()
    }

    /// Adds an app when the process starts: there is nothing to fall back to, so that only a canary the manifest asks for
    /// can refuse it. The routes serve once [`Self::publish`] is called, which spares a table per app.
    ///
    /// # Errors
    /// Why it is refused; [`Self::apps`] lists it with the reason from now on.
    pub async fn start(&self, app: App) -> Result<(), Refused> {
        let (id, name) = (id_of(&app), app.version.clone());
        let started = async {
            if let Some(main) = self.app(&id_of(&app)).as_ref().and_then(Deployed::main) {
                let (file, other) = (app.file.display(), main.app.file.display());
                return Err(Refused::Conflict(format!(
                    "{file}: its name is that of {other}; change the `name` in [app] of one"
                )));
            }
            let version = self.load(app).await?;
            // What waits cannot be asked; it is when it takes over.
            if version.waiting.is_empty() {
                version.ask_canary().await.map_err(Refused::Canary)?;
            }
            self.take_over(version, None, None, false).map(drop)
        };
        let started = started.await;
        self.backends.guests().loaded(&id);
        started.inspect_err(|refused| self.note(id, name, refused))
    }

    /// Serves the routes of everything that was started.
    ///
    /// # Errors
    /// Two apps claim one route.
    pub fn publish(&self) -> Result<(), Refused> {
        let table = table(&self.state.lock().apps)?;
        self.routes.replace(table);
        Ok(())
    }

    /// Adds an app, or replaces its version by a new one: loads it, tries it, then lets it have `weight` percent of the
    /// requests; the version that had most of them keeps the rest. With `[rollout]` in the manifest the new version is on
    /// trial from then on, and `None` is the weight written there.
    ///
    /// # Errors
    /// Why it is refused: then everything serves as before.
    pub async fn put(self: &Arc<Self>, app: App, weight: Option<u32>) -> Result<Put, Refused> {
        self.put_after(app, weight, None).await
    }

    /// Loads the manifest of a version anew, unless another has taken its place or does by then.
    ///
    /// # Errors
    /// As [`Self::put`]; or what serves is another version.
    pub(super) async fn renew(self: &Arc<Self>, version: &Version) -> Result<Put, Refused> {
        self.put_after(version.app.clone(), None, Some(version.revision)).await
    }

    async fn put_after(self: &Arc<Self>, app: App, weight: Option<u32>, after: Option<u64>) -> Result<Put, Refused> {
        let (id, name) = (id_of(&app), app.version.clone());
        let put = async {
            let version = self.load(app).await?;
            if let Some(revision) = self.app(&version.id()).and_then(|deployed| deployed.serves(&version)) {
                return self.weigh(&version.id(), revision, weight);
            }
            self.check_waiting(&version)?;
            if after.is_some() {
                self.check_shapes(&version)?;
            }
            version.try_out(&self.runtime).await.map_err(Refused::Canary)?;
            self.take_over(version, weight, after, true)
        };
        let done = put.await;
        self.backends.guests().loaded(&id);
        let done = done.inspect_err(|refused| {
            // Whoever put or removed another meanwhile is told nothing of one that nobody asked for.
            if after.is_none() || after == self.main_revision(&id) {
                self.note(id.clone(), name, refused);
            }
        })?;
        if let Some(deployed) = self.state.lock().apps.get_mut(&id) {
            match (done, &deployed.rollout) {
                (Put::Unchanged, None) => deployed.refused = None,
                (Put::Replaced, Some(rollout)) => {
                    tokio::spawn(watch_trial(Arc::downgrade(self), id, Arc::clone(rollout)));
                }
                _ => {}
            }
        }
        Ok(done)
    }

    /// The versions that have most of their app's requests, and of which some workload waits for its store.
    pub(super) fn waiting(&self) -> Vec<Arc<Version>> {
        let state = self.state.lock();
        let main = |deployed: &Deployed| {
            let main = deployed.main().filter(|main| !main.waiting.is_empty())?.revision;
            deployed.versions.iter().find(|version| version.revision == main).cloned()
        };
        state.apps.values().filter_map(main).collect()
    }

    /// Loads a version again whose stores were not there. Nothing is done, and `false` is the answer, while none of those it
    /// waits for has come.
    pub(super) async fn load_awaited(self: &Arc<Self>, version: &Version) -> Result<bool, Refused> {
        let opened = self.backends.open(&version.app).await.map_err(|error| Refused::Load(format!("{error:#}")))?;
        let still = |waiting: &Waiting| {
            opened.waiting.keys().any(|on| (on.0, on.1.as_str()) == (waiting.capability, &waiting.store))
        };
        if version.waiting.iter().all(still) {
            return Ok(false);
        }
        // Held until the load has opened them again, which is then only to find them.
        let put = self.renew(version).await;
        drop(opened);
        put.map(|_| true)
    }

    /// Refuses a version that would wait for stores, if the one that serves does not.
    fn check_waiting(&self, version: &Version) -> Result<(), Refused> {
        let serves = |deployed: &Deployed| deployed.main().is_some_and(|main| main.waiting.is_empty());
        match version.waiting.first() {
            Some(waiting) if self.app(&version.id()).as_ref().is_some_and(serves) => Err(Refused::Canary(format!(
                "workload `{}` would wait for its store `{}`: {}",
                waiting.id.name, waiting.store, waiting.why
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses what a manifest's sources came to be by themselves, if a workload of it is called otherwise than the one that
    /// serves: nobody who routes requests to it has asked for that.
    fn check_shapes(&self, version: &Version) -> Result<(), Refused> {
        let Some(serving) = self.app(&version.id()) else { return Ok(()) };
        let serving: Vec<_> = serving.main().into_iter().flat_map(|main| &main.workloads).collect();
        for workload in &version.workloads {
            let before = serving.iter().find(|before| before.id == workload.id);
            if let Some(before) = before.filter(|before| before.shape != workload.shape) {
                return Err(Refused::Canary(format!(
                    "workload `{}` would answer {} calls, and the one that serves answers {} calls; put the manifest again if that is meant",
                    workload.id.name, workload.shape, before.shape
                )));
            }
        }
        Ok(())
    }

    /// Gives a version that serves already another weight, if it shares the requests and one is asked for.
    fn weigh(&self, id: &AppId, revision: u64, weight: Option<u32>) -> Result<Put, Refused> {
        let mut state = self.state.lock();
        let Some(deployed) = state.apps.get(id) else { return Err(unknown(id)) };
        let other = deployed.traffic.iter().map(|share| share.revision).find(|other| *other != revision);
        match (other, weight) {
            (Some(other), Some(weight)) if weight != deployed.weight(revision) => {
                let other = Share { revision: other, weight: FULL_WEIGHT.saturating_sub(weight) };
                self.divide(&mut state, id, &[other, Share { revision, weight }])?;
                Ok(Put::Replaced)
            }
            _ => Ok(Put::Unchanged),
        }
    }

    /// Looks at a version on trial; whether the trial is over.
    fn settle(&self, id: &AppId, rollout: &Arc<Rollout>) -> bool {
        let mut state = self.state.lock();
        let Some(deployed) = state.apps.get(id) else { return true };
        let current = deployed.rollout.as_ref().is_some_and(|current| Arc::ptr_eq(current, rollout));
        let version = deployed.versions.iter().find(|version| version.revision == rollout.revision).cloned();
        let (true, Some(version)) = (current, version) else { return true };
        let revision = rollout.revision;
        let (settled, why) = match rollout.judge(&version) {
            Verdict::Wait => return false,
            Verdict::Passed => (self.divide(&mut state, id, &[Share { revision, weight: FULL_WEIGHT }]), None),
            Verdict::Failed(why) => (self.divide(&mut state, id, &rollout.before), Some(why)),
        };
        if let Err(refused) = settled {
            tracing::error!(app = %id, revision, "its trial is over, and nothing can be changed: {refused}");
        } else if let Some(why) = &why {
            tracing::warn!(app = %id, revision, "rolled back: {why}");
        } else {
            tracing::info!(app = %id, revision, "it passed its trial and has all requests");
        }
        if let Some(deployed) = state.apps.get_mut(id) {
            deployed.rollout = None;
            if let Some(why) = why {
                // Nobody goes back to it unless they name it.
                deployed.versions.sort_by_key(|version| version.revision != revision);
                deployed.refused = Some(RefusedVersion {
                    version: version.app.version.clone(),
                    reason: format!("revision {revision} was rolled back: {why}"),
                    at: SystemTime::now(),
                });
            }
        }
        true
    }

    /// Removes an app. Calls that have begun end as they would have.
    ///
    /// # Errors
    /// There is no such app.
    pub fn remove(&self, id: &AppId) -> Result<(), Refused> {
        let mut state = self.state.lock();
        let removed = state.apps.remove(id).ok_or_else(|| unknown(id))?;
        // Without an app there are fewer routes: none of the others conflict.
        let table = table(&state.apps)?;
        self.routes.replace(table);
        state.leave(removed.versions.iter());
        self.forget(&removed.workloads(), &BTreeSet::new());
        self.tell(&state);
        tracing::info!(app = %id, "removed");
        Ok(())
    }

    /// Gives all requests of an app back to an earlier version: the one named, or else the one that served before.
    ///
    /// # Errors
    /// There is no such app, or no such version is kept.
    pub fn roll_back(&self, id: &AppId, revision: Option<u64>) -> Result<u64, Refused> {
        let mut state = self.state.lock();
        let deployed = state.apps.get(id).ok_or_else(|| unknown(id))?;
        let revision = revision.or_else(|| deployed.earlier()).ok_or_else(|| {
            Refused::Unknown(format!("`{id}` has no earlier version to go back to; put one, or name a kept revision"))
        })?;
        self.divide(&mut state, id, &[Share { revision, weight: FULL_WEIGHT }])?;
        tracing::info!(app = %id, revision, "rolled back");
        Ok(revision)
    }

    /// Divides the requests of an app among its kept versions. Weights are of any sum; those of 0 do not serve.
    ///
    /// # Errors
    /// There is no such app or version, or no weight is over 0.
    pub fn set_traffic(&self, id: &AppId, traffic: &[Share]) -> Result<(), Refused> {
        let mut state = self.state.lock();
        self.divide(&mut state, id, traffic)?;
        tracing::info!(app = %id, "its requests are divided anew");
        Ok(())
    }

    async fn load(&self, app: App) -> Result<Version, Refused> {
        let _turn = self.loads.acquire().await.map_err(|_| Refused::Load("the host is ending".to_owned()))?;
        {
            let state = self.state.lock();
            let own = id_of(&app);
            if state.apps.len() >= MAX_APPS && !state.apps.contains_key(&own) {
                return Err(Refused::Full(format!("there are {MAX_APPS} apps already; remove one")));
            }
            let others = state.apps.iter().filter(|(id, _)| **id != own).flat_map(|(_, other)| other.active());
            let others: Vec<_> = others.map(|(_, version)| version).collect();
            routes::check(&app, others)?;
        }
        let failed = |error: anyhow::Error| Refused::Load(format!("{error:#}"));
        let opened = self.backends.open(&app).await.map_err(failed)?;
        let version =
            Version::load(&self.runtime, &self.host, self.compile, &self.sources, opened, app).await.map_err(failed)?;
        for workload in &version.workloads {
            (self.on_load)(workload);
            for warning in &workload.warnings() {
                tracing::warn!(workload = %workload.id, "{warning}");
            }
        }
        Ok(version)
    }

    fn main_revision(&self, id: &AppId) -> Option<u64> {
        self.state.lock().apps.get(id)?.main().map(|main| main.revision)
    }

    /// Makes a loaded version one of its app's, with this weight or that of its manifest; `after` is the revision that must
    /// still serve.
    fn take_over(
        &self,
        mut version: Version,
        weight: Option<u32>,
        after: Option<u64>,
        publish: bool,
    ) -> Result<Put, Refused> {
        let mut state = self.state.lock();
        let id = version.id();
        let main = state.apps.get(&id).and_then(Deployed::main).map(|main| main.revision);
        if after.is_some() && after != main {
            return Err(Refused::Conflict("another version was put, or the app removed, meanwhile".to_owned()));
        }
        version.revision = state.revisions + 1;
        let revision = version.revision;
        let mut next = state.apps.get(&id).cloned().unwrap_or_default();
        // Whoever waits for its stores serves nothing that a trial could fall back to.
        let put = if next.main().is_some() { Put::Replaced } else { Put::Created };
        let main = next.main().filter(|main| main.waiting.is_empty()).map(|main| main.revision);
        let terms = version.app.rollout.clone();
        let weight = weight.or(terms.as_ref().map(|terms| terms.weight)).unwrap_or(FULL_WEIGHT);
        // Without a version to go back to, and without requests, there is no trial.
        next.rollout = terms.zip(main).filter(|_| weight > 0).map(|(terms, main)| {
            Arc::new(Rollout::new(&version, terms, vec![Share { revision: main, weight: FULL_WEIGHT }]))
        });
        next.traffic = match main {
            Some(main) if weight < FULL_WEIGHT => {
                vec![Share { revision: main, weight: FULL_WEIGHT - weight }, Share { revision, weight }]
            }
            _ => vec![Share { revision, weight: FULL_WEIGHT }],
        };
        next.traffic.retain(|share| share.weight > 0);
        next.refused = None;
        next.versions.push(Arc::new(version));
        let dropped = next.trim();
        let before = state.apps.insert(id.clone(), next);
        if publish {
            match table(&state.apps) {
                Ok(table) => self.routes.replace(table),
                Err(refused) => {
                    // Another app took the routes while this one was loading.
                    match before {
                        Some(before) => drop(state.apps.insert(id, before)),
                        None => drop(state.apps.remove(&id)),
                    }
                    return Err(refused);
                }
            }
        }
        state.revisions = revision;
        state.leave(dropped.iter());
        if let Some(deployed) = state.apps.get(&id) {
            deployed.rest();
            let kept = deployed.workloads();
            self.forget(&dropped.iter().flat_map(|version| ids(version)).collect(), &kept);
        }
        if publish {
            tracing::info!(app = %id, revision, weight, "a new version serves");
        }
        self.tell(&state);
        Ok(put)
    }

    /// Tells whoever follows who serves.
    fn tell(&self, state: &State) {
        self.backends.guests().serve(|id| {
            let main = state.apps.get(id).and_then(Deployed::main);
            main.map(|main| Arc::clone(&main.cast))
        });
        self.changed.send_replace(());
    }

    /// Sets who serves. Nothing is changed on an error.
    fn divide(&self, state: &mut State, id: &AppId, traffic: &[Share]) -> Result<(), Refused> {
        let deployed = state.apps.get(id).ok_or_else(|| unknown(id))?;
        for share in traffic {
            if !deployed.versions.iter().any(|version| version.revision == share.revision) {
                let kept: Vec<_> = deployed.versions.iter().map(|version| version.revision.to_string()).collect();
                return Err(Refused::Unknown(format!(
                    "`{id}` keeps no revision {}; it keeps {}",
                    share.revision,
                    kept.join(", ")
                )));
            }
        }
        let mut next = deployed.clone();
        next.traffic = traffic.iter().copied().filter(|share| share.weight > 0).collect();
        // Whoever decides who serves has ended the trial.
        next.rollout = None;
        let weights = next.traffic.clone();
        let weight = |version: &Version| {
            weights.iter().find(|share| share.revision == version.revision).map_or(0, |share| share.weight)
        };
        next.versions.sort_by_key(|version| (weight(version), deployed.weight(version.revision)));
        if next.traffic.is_empty() {
            return Err(Refused::Unknown(format!("no version of `{id}` would serve; give one a weight over 0")));
        }
        // Awake before the first request may come, and at rest after the last.
        next.active().flat_map(|(_, version)| &version.workloads).for_each(|workload| workload.set_resting(false));
        let before = state.apps.insert(id.clone(), next);
        match table(&state.apps) {
            Ok(table) => self.routes.replace(table),
            Err(refused) => {
                if let Some(before) = before {
                    before.rest();
                    state.apps.insert(id.clone(), before);
                }
                return Err(refused);
            }
        }
        if let Some(deployed) = state.apps.get(id) {
            deployed.rest();
        }
        self.tell(state);
        Ok(())
    }

    /// Keeps why a version could not even be read.
    pub fn note_refused(&self, id: &AppId, reason: String) {
        self.note(id.clone(), None, &Refused::Load(reason));
    }

    /// Keeps why a version was refused.
    fn note(&self, id: AppId, version: Option<String>, refused: &Refused) {
        let mut state = self.state.lock();
        if state.apps.len() < MAX_APPS || state.apps.contains_key(&id) {
            let reason = refused.to_string();
            state.apps.entry(id).or_default().refused = Some(RefusedVersion { version, reason, at: SystemTime::now() });
        }
    }

    /// Ends the metrics of workloads that no kept version names.
    fn forget(&self, gone: &BTreeSet<WorkloadId>, kept: &BTreeSet<WorkloadId>) {
        for id in gone.difference(kept) {
            self.runtime.metrics().remove(id);
        }
    }
}

impl State {
    fn leave<'v>(&mut self, versions: impl Iterator<Item = &'v Arc<Version>>) {
        self.leaving.retain(|leaving| leaving.workload.strong_count() > 0);
        for version in versions {
            for workload in &version.workloads {
                workload.set_resting(true);
                self.leaving.push(Leaving { revision: version.revision, workload: Arc::downgrade(workload) });
            }
        }
    }
}

pub(super) fn id_of(app: &App) -> AppId {
    AppId { tenant: app.tenant.clone(), name: app.name.as_str().into() }
}

pub(super) fn unknown(id: &AppId) -> Refused {
    Refused::Unknown(format!("there is no app `{id}`; `samara apps list` shows those there are"))
}

/// The routes of all apps.
fn table(apps: &BTreeMap<AppId, Deployed>) -> Result<RouteTable<Backing>, Refused> {
    let mut table = RouteTable::new();
    for (id, deployed) in apps {
        let active: Vec<_> = deployed.active().collect();
        routes::add(&mut table, id, &active, deployed.rollout.as_deref())?;
    }
    Ok(table)
}

/// Looks at a version on trial until its trial is over.
async fn watch_trial(deployment: Weak<Deployment>, id: AppId, rollout: Arc<Rollout>) {
    loop {
        tokio::time::sleep(rollout.pause()).await;
        let Some(deployment) = deployment.upgrade() else { return };
        if deployment.settle(&id, &rollout) {
            return;
        }
    }
}
