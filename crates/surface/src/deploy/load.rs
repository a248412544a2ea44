//! One version of an app: its workloads, loaded, and the routes that lead to them.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::SystemTime};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use samara_model::{
    AppId, Capability, Compile, Fault, Limits, RouteTable, Shape, WorkloadId,
    manifest::{Answer, App, EventTrigger, Host, Trigger, guest_of},
};
use samara_runtime::{Definition, Quota, Runtime, Stores, Workload};

use super::{
    events::{self, VersionEvent},
    guest_store,
    guests::{AppGuests, Cast},
    routes::{self, VersionRoute},
    stores::{AppStore, Opened},
    waiting::Waiting,
};
use crate::{
    gateway::{Destination, Fixed, Folder, Served, probe},
    source::{self, Provenance, Sourced, Sources},
};

/// Artifacts of one app that are fetched at once.
const MAX_FETCHES: usize = 4;
/// The shapes an HTTP route can use, best first: what is not HTTP itself is adapted by the gateway.
const ROUTED: &[Shape] = &[Shape::Http, Shape::Command, Shape::Function];

/// One version of an app, ready to serve.
#[derive(Debug)]
pub struct Version {
    /// Counts the versions of this process, from 1: the newest has the highest. 0 until it is one of a deployment.
    pub revision: u64,
    /// The manifest it was loaded from.
    pub app: App,
    /// Its workloads that are guests, in the order of the manifest, but for those that wait.
    pub workloads: Vec<Arc<Workload>>,
    /// Its workloads that wait for a store.
    pub waiting: Vec<Waiting>,
    /// Where each of the manifest's workloads came from, and who vouches for it.
    pub provenances: Vec<Provenance>,
    /// Its stores, in the order of the manifest: those that somebody is granted.
    pub stores: Vec<Arc<AppStore>>,
    /// Its workloads that are folders, in the order of the manifest.
    pub folders: Vec<Folder>,
    /// Its routes, in the order of the manifest.
    pub routes: Vec<VersionRoute>,
    /// What starts its workloads beside its routes.
    pub(super) events: Vec<VersionEvent>,
    /// Where guests of the app find each other.
    pub(super) _guests: Option<Arc<AppGuests>>,
    /// Its workloads as they see each other.
    pub(super) cast: Arc<Cast>,
    /// When it was loaded.
    pub loaded: SystemTime,
}

impl Version {
    /// Loads an app: reads its artifacts, compiles, links. Nothing of it serves yet.
    ///
    /// # Errors
    /// What is refused, by file, line and name.
    pub(super) async fn load(
        runtime: &Arc<Runtime>,
        host: &Host,
        compile: Compile,
        sources: &Sources,
        opened: Opened,
        app: App,
    ) -> anyhow::Result<Self> {
        let quota = host.tenant(&app.tenant)?;
        runtime.set_quota(
            &app.tenant,
            Quota {
                memory_bytes: quota.memory_bytes,
                concurrency: quota.concurrency,
                rate_per_second: quota.rate_per_second,
            },
        );
        let sourced = fetch(sources, &app).await?;
        let mut workloads = Vec::new();
        let mut waiting = Vec::new();
        let mut provenances = Vec::new();
        let mut by_name: HashMap<&str, Destination> = HashMap::new();
        for (workload, Sourced { bytes, provenance }) in app.workloads.iter().zip(sourced) {
            let mut definition = define(&app, workload, bytes, &quota.limits, &opened.stores)
                .with_context(|| format!("{}: workload `{}`", place(&app, workload.line), workload.name))?;
            let serves_http = app.triggers.iter().any(|trigger| trigger.is_for(&workload.name));
            provenance
                .allows(&definition.grants, serves_http)
                .map_err(|why| anyhow!("{}: workload `{}`: {why}", place(&app, workload.line), workload.name))?;
            provenances.push(provenance);
            definition.compile = workload.compile.unwrap_or(compile);
            let heard = app.events.iter().filter(|event| event.target == workload.name);
            let heard = heard.filter_map(EventTrigger::store);
            let needed: Vec<_> = definition.grants.stores().chain(heard).collect();
            let waits = |(capability, store): &&(Capability, String)| needed.contains(&(*capability, store.as_str()));
            if let Some((on, why)) = opened.waiting.iter().find(|(on, _)| waits(on)) {
                let (id, limits) = (definition.id.clone(), definition.limits.clone());
                let absent = Waiting { id, capability: on.0, store: on.1.clone(), why: why.clone(), limits };
                let store = &absent.store;
                tracing::warn!(workload = %absent.id, store, "it waits for its store: {why}");
                by_name.insert(&workload.name, Destination::new(Arc::new(absent.clone())));
                waiting.push(absent);
                continue;
            }
            let name = definition.id.to_string();
            let ready = crate::command::patiently(&format!("loading {name}"), runtime.load(definition)).await;
            let ready = ready.map_err(|fault| anyhow!("{}: {fault}", place(&app, workload.line)))?;
            workloads.push(Arc::clone(&ready));
            let target = Served { runtime: Arc::clone(runtime), workload: ready };
            let args = workload.args.clone().into();
            by_name.insert(&workload.name, Destination { args, ..Destination::new(Arc::new(target)) });
        }
        let mut folders = Vec::new();
        for settings in &app.folders {
            let id = workload_id(&app, &settings.name);
            let limits = settings.effective_limits(&quota.limits);
            let metrics = runtime.metrics().workload(&id);
            let folder = Folder::open(id, settings.clone(), limits, metrics, Some(runtime.tenant(&app.tenant)))
                .with_context(|| format!("{}: workload `{}`", place(&app, settings.line), settings.name))?;
            folders.push(folder.clone());
            by_name.insert(&settings.name, Destination::new(Arc::new(folder)));
        }
        let mut routes = Vec::new();
        for trigger in &app.triggers {
            let Trigger::Http { host, methods, path, answer, line } = trigger;
            let destination = match answer {
                Answer::Workload { name, operation } => {
                    let Some(destination) = by_name.get(name.as_str()) else { continue };
                    Destination { operation: operation.as_deref().map(Into::into), ..destination.clone() }
                }
                Answer::Reply(reply) => {
                    let id = workload_id(&app, &format!("reply-{line}"));
                    let tenant = runtime.tenant(&app.tenant);
                    Destination::new(Arc::new(Fixed::new(id, reply.clone(), Limits::serve(), tenant)))
                }
            };
            let (host, methods, path) = (host.clone(), methods.clone(), path.clone());
            routes.push(VersionRoute { host, methods, path, destination, origin: routes::origin(&app, *line) });
        }
        let cast = Arc::new(Cast::new(&workloads, by_name.iter().map(|(name, destination)| (*name, destination)))?);
        drop(by_name);
        let mut events = Vec::new();
        for event in &app.events {
            let at = || format!("{}: trigger of workload `{}`", place(&app, event.line), event.target);
            let Some(settings) = app.workloads.iter().find(|workload| workload.name == event.target) else {
                return Err(anyhow!("a folder answers requests alone").context(at()));
            };
            // Who waits is started by nothing.
            let Some(workload) = workloads.iter().find(|workload| *workload.id.name == *event.target) else { continue };
            let event = VersionEvent::new(runtime, workload, &settings.args, event, &opened.held);
            events.push(event.with_context(at)?);
        }
        let Opened { held: stores, guests, .. } = opened;
        if let Some(guests) = &guests {
            guests.load(&cast);
        }
        if app.workloads.iter().any(|workload| workload.grants.http.is_of_workloads()) {
            workloads.iter().for_each(|workload| workload.expect_nested_calls());
        }
        serve_stores(&app, &workloads, &stores).await;
        let loaded = SystemTime::now();
        Ok(Self {
            revision: 0,
            app,
            workloads,
            waiting,
            provenances,
            stores,
            folders,
            routes,
            events,
            _guests: guests,
            cast,
            loaded,
        })
    }

    /// Whose version it is.
    pub fn id(&self) -> AppId {
        AppId { tenant: self.app.tenant.clone(), name: self.app.name.as_str().into() }
    }

    /// The files it was made of: when one of them changes, a new version can be made.
    pub fn files(app: &App) -> Vec<PathBuf> {
        let mut files = vec![app.file.clone()];
        for workload in &app.workloads {
            files.extend(workload.source.file());
        }
        files
    }

    /// Where a workload came from.
    pub fn provenance(&self, workload: &str) -> Option<&Provenance> {
        let mut named = self.app.workloads.iter().zip(&self.provenances);
        named.find(|(other, _)| other.name == workload).map(|(_, from)| from)
    }

    /// Whether another version would serve exactly what this one does.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let workload = |(one, other): (&Arc<Workload>, &Arc<Workload>)| {
            one.digest == other.digest && one.authority().grants == other.authority().grants
        };
        self.app == other.app
            && self.waiting.iter().map(Waiting::on).eq(other.waiting.iter().map(Waiting::on))
            && self.workloads.iter().zip(&other.workloads).all(workload)
    }

    /// Tries it as the manifest's `canary` says.
    ///
    /// # Errors
    /// No route takes the canary, a fault, or a status of 500 and over.
    pub(super) async fn ask_canary(&self) -> Result<bool, String> {
        let Some(canary) = &self.app.canary else { return Ok(false) };
        let shown = format!("`GET {}{}`", canary.host.as_deref().unwrap_or_default(), canary.path);
        let mut table = RouteTable::new();
        routes::add(&mut table, &self.id(), &[(1, self)], None).map_err(|refused| refused.to_string())?;
        match probe(table, canary).await {
            Ok(status) if status.as_u16() < 500 => Ok(true),
            Ok(status) => Err(format!("its canary {shown} answered {}", status.as_u16())),
            Err(Fault::Caller { status: 404, .. }) => {
                Err(format!("no route of the app takes its canary {shown}; add a trigger for it, or change `canary`"))
            }
            Err(fault) => Err(format!("its canary {shown} failed: {}: {fault}", fault.label())),
        }
    }

    /// Tries it before it replaces another: by its canary, or else by one instance of each workload.
    ///
    /// # Errors
    /// Why it should not serve.
    pub(super) async fn try_out(&self, runtime: &Arc<Runtime>) -> Result<(), String> {
        if self.ask_canary().await? {
            return Ok(());
        }
        for workload in &self.workloads {
            runtime
                .try_instance(workload)
                .await
                .map_err(|fault| format!("workload `{}` does not start: {}: {fault}", workload.id, fault.label()))?;
        }
        Ok(())
    }
}

/// Readies the workloads that are stores, and looks at what is in them.
async fn serve_stores(app: &App, workloads: &[Arc<Workload>], opened: &[Arc<AppStore>]) {
    for store in &app.stores {
        let guest = guest_of(&store.provider);
        let Some(workload) = workloads.iter().find(|workload| Some(&*workload.id.name) == guest) else { continue };
        workload.expect_nested_calls();
        let key_value = opened.iter().find(|held| held.name == store.name).and_then(|held| held.key_value());
        if let Some(key_value) = key_value
            && let Err(error) = key_value.measure().await
        {
            tracing::warn!(workload = %workload.id, store = store.name, "what this store holds is not known: {error}");
        }
    }
}

/// The artifacts of an app in the order of its workloads, several at once, each as its own policy and the host's have it.
async fn fetch(sources: &Sources, app: &App) -> anyhow::Result<Vec<Sourced>> {
    let origin = format!("[trust] of {}", app.name);
    let fetched: Vec<_> = app.workloads.iter().map(|workload| fetch_one(sources, app, workload, &origin)).collect();
    futures::stream::iter(fetched).buffered(MAX_FETCHES).try_collect().await
}

async fn fetch_one(
    sources: &Sources,
    app: &App,
    workload: &samara_model::manifest::Workload,
    origin: &str,
) -> anyhow::Result<Sourced> {
    let place = || format!("{}: workload `{}`", place(app, workload.line), workload.name);
    let reference = source::reference(&workload.source).with_context(place)?;
    sources.load(&reference, Some((origin, &app.trust))).await.with_context(place)
}

/// Everything the runtime must know of a workload.
fn define(
    app: &App,
    workload: &samara_model::manifest::Workload,
    bytes: Bytes,
    ceiling: &samara_model::manifest::LimitOverrides,
    stores: &Stores,
) -> anyhow::Result<Definition> {
    // A trigger that names a function wants one, whatever else the module could do.
    let as_function = |trigger: &Trigger| trigger.calls_function_of(&workload.name);
    let routed = |trigger: &Trigger| trigger.is_for(&workload.name);
    let event = app.events.iter().find(|event| event.target == workload.name);
    let is_store = app.stores.iter().any(|store| guest_of(&store.provider) == Some(&workload.name));
    let shapes = match event {
        _ if is_store => guest_store::SHAPES.to_vec(),
        _ if app.triggers.iter().any(as_function) => vec![Shape::Function],
        Some(event) if !app.triggers.iter().any(routed) => events::shapes(event).to_vec(),
        _ => ROUTED.to_vec(),
    };
    let limits: Limits = workload.effective_limits(ceiling);
    Ok(Definition {
        id: workload_id(app, &workload.name),
        bytes,
        contract: workload.contract.clone(),
        shapes,
        grants: workload.grants.clone(),
        limits,
        strict: workload.strict,
        features: Some(workload.features.clone()),
        reuse: workload.reuse,
        compile: workload.compile.unwrap_or_default(),
        settings: serde_json::to_value(&workload.settings).context("reading `settings`")?,
        stores: stores.clone(),
    })
}

fn workload_id(app: &App, name: &str) -> WorkloadId {
    WorkloadId { tenant: app.tenant.clone(), app: app.name.as_str().into(), name: name.into() }
}

/// Where in a manifest something is said; an app without a manifest has no lines.
pub(super) fn place(app: &App, line: u32) -> String {
    let file = app.file.display();
    if line == 0 { file.to_string() } else { format!("{file}:{line}") }
}
