//! From manifests to loaded workloads and the routes that lead to them: the second straight line of the architecture.
//!
//! Everything that can be refused is refused here, before a listener opens: files that are not there, limits over the
//! operator's ceilings, stores that nobody declares, two apps that claim one route.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use futures::future::BoxFuture;
use samara_capability::kv;
use samara_model::{
    Call, Fault, Grants, Limits, Reply, RouteTable, Shape, WorkloadId,
    manifest::{App, Host, Trigger},
};
use samara_runtime::{Definition, Quota, Runtime, Workload};

use crate::gateway::{Destination, Target};

/// Bytes of a configuration file that a grant names.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// The shapes an HTTP route can use, best first: what is not HTTP itself is adapted by the gateway.
const ROUTED: &[Shape] = &[Shape::Http, Shape::Command, Shape::Function];

/// What stands behind one route.
#[derive(Clone, Debug)]
pub struct Routed {
    /// Where the requests go.
    pub destination: Destination,
    /// Where the route is written: `samara.toml:12`.
    pub origin: Arc<str>,
}

/// A workload behind a route, and the runtime that calls it.
#[derive(Clone, Debug)]
struct Loaded {
    runtime: Arc<Runtime>,
    workload: Arc<Workload>,
}

impl Target for Loaded {
    fn id(&self) -> &WorkloadId {
        &self.workload.id
    }

    fn shape(&self) -> Shape {
        self.workload.shape
    }

    fn limits(&self) -> &Limits {
        self.workload.limits()
    }

    fn answer(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let Self { runtime, workload } = self.clone();
        Box::pin(async move { runtime.call(&workload, call).await })
    }
}

/// Everything that is served.
#[derive(Debug, Default)]
pub struct Deployment {
    /// The routes of all apps.
    pub routes: RouteTable<Routed>,
    /// The workloads, in the order they were loaded.
    pub workloads: Vec<Arc<Workload>>,
    /// Backends by provider URL: two apps that name one backend share it.
    backends: HashMap<String, Arc<dyn kv::KeyValue>>,
}

/// Reads an app from a manifest, or from a folder that holds one.
///
/// # Errors
/// The file cannot be read, or everything that is wrong in it.
pub fn read_app(path: &Path, host: &Host) -> anyhow::Result<App> {
    let file = if path.is_dir() { path.join("samara.toml") } else { path.to_owned() };
    let text = fs::read_to_string(&file).with_context(|| format!("reading the manifest `{}`", file.display()))?;
    let mut app = App::parse(&text, &file)?;
    app.check(host)?;
    app.resolve_paths(file.parent().unwrap_or(Path::new("")));
    Ok(app)
}

/// Reads the operator's file, or takes the defaults.
///
/// # Errors
/// The file cannot be read, or everything that is wrong in it.
pub fn read_host(path: Option<&Path>) -> anyhow::Result<Host> {
    let Some(path) = path else { return Ok(Host::default()) };
    let text = fs::read_to_string(path).with_context(|| format!("reading the host file `{}`", path.display()))?;
    let mut host = Host::parse(&text, path)?;
    host.resolve_paths(path.parent().unwrap_or(Path::new("")));
    Ok(host)
}

impl Deployment {
    /// The routes as the gateway takes them.
    ///
    /// # Errors
    /// None of two routes may take the same requests, which this table has checked already.
    pub fn gateway_routes(&self) -> anyhow::Result<RouteTable<Destination>> {
        let mut routes = RouteTable::new();
        for route in self.routes.routes() {
            let value = route.value.destination.clone();
            routes
                .insert(route.host.as_deref(), &route.methods, &route.pattern, value)
                .map_err(|conflict| anyhow!("{conflict}"))?;
        }
        Ok(routes)
    }

    /// Loads an app and adds its routes. A failure leaves the routes of other apps as they were.
    ///
    /// # Errors
    /// What is refused, by file and name.
    pub async fn add(&mut self, runtime: &Arc<Runtime>, host: &Host, app: &App) -> anyhow::Result<()> {
        let quota = host.tenant(&app.tenant)?;
        runtime.set_quota(
            &app.tenant,
            Quota {
                memory_bytes: quota.memory_bytes,
                concurrency: quota.concurrency,
                rate_per_second: quota.rate_per_second,
            },
        );
        let stores = self.stores(app).await?;
        let mut loaded: HashMap<&str, (Arc<Workload>, Arc<[String]>)> = HashMap::new();
        for workload in &app.workloads {
            let place = || format!("{}: workload `{}`", place(app, workload.line), workload.name);
            let bytes = read_artifact(&workload.source.path).with_context(place)?;
            let mut grants = workload.grants.clone();
            for file in &workload.config_files {
                read_config(file, &mut grants).with_context(place)?;
            }
            let mut shapes = ROUTED.to_vec();
            // A trigger that names a function wants one, whatever else the module could do.
            if app.triggers.iter().any(|trigger| matches!(trigger, Trigger::Http { target, operation: Some(_), .. } if *target == workload.name)) {
                shapes = vec![Shape::Function];
            }
            let limits: Limits = workload.effective_limits(&quota.limits);
            let definition = Definition {
                id: WorkloadId {
                    tenant: app.tenant.clone(),
                    app: app.name.as_str().into(),
                    name: workload.name.as_str().into(),
                },
                bytes,
                contract: workload.contract.clone(),
                shapes,
                grants,
                limits,
                strict: workload.strict,
                features: Some(workload.features.clone()),
                reuse: workload.reuse,
                settings: serde_json::to_value(&workload.settings).context("reading `settings`")?,
                stores: stores.clone(),
            };
            let name = definition.id.to_string();
            let ready = super::command::patiently(&format!("loading {name}"), runtime.load(definition)).await;
            let ready = ready.map_err(|fault| anyhow!("{}: {fault}", self::place(app, workload.line)))?;
            loaded.insert(&workload.name, (ready, workload.args.clone().into()));
        }
        for trigger in &app.triggers {
            let Trigger::Http { host, methods, path, target, operation, line } = trigger;
            let Some((workload, args)) = loaded.get(target.as_str()) else { continue };
            let origin: Arc<str> = format!("{}:{line}", app.file.display()).into();
            let target = Loaded { runtime: Arc::clone(runtime), workload: Arc::clone(workload) };
            let destination = Destination {
                target: Arc::new(target),
                operation: operation.as_deref().map(Into::into),
                args: Arc::clone(args),
            };
            let value = Routed { destination, origin: Arc::clone(&origin) };
            if let Err(conflict) = self.routes.insert(host.as_deref(), methods, path, value) {
                bail!(
                    "{origin}: {conflict}, at {}; change the host, the method or the path of one",
                    conflict.existing.value.origin
                );
            }
        }
        self.workloads.extend(
            app.workloads.iter().filter_map(|workload| loaded.remove(workload.name.as_str())).map(|(ready, _)| ready),
        );
        Ok(())
    }

    /// Opens the app's stores, each as its tenant's share of the backend.
    async fn stores(&mut self, app: &App) -> anyhow::Result<BTreeMap<String, kv::Store>> {
        let mut stores = BTreeMap::new();
        for store in &app.stores {
            let place = || format!("{}: store `{}`", place(app, store.line), store.name);
            // A memory store has no address: it is one per tenant and name, shared by the tenant's apps.
            let address = if store.provider.trim_end_matches(':') == "memory" {
                format!("memory:{}/{}", app.tenant, store.name)
            } else {
                store.provider.clone()
            };
            let backend = match self.backends.get(&address) {
                Some(backend) => Arc::clone(backend),
                None => {
                    let opened =
                        kv::open(&store.provider, &store.settings, &kv::NoWorkloads).await.with_context(place)?;
                    self.backends.insert(address, Arc::clone(&opened));
                    opened
                }
            };
            stores.insert(
                store.name.clone(),
                kv::Store::new(&store.name, &app.tenant, backend).await.with_context(place)?,
            );
        }
        Ok(stores)
    }
}

/// Where in a manifest something is said; an app without a manifest has no lines.
fn place(app: &App, line: u32) -> String {
    let file = app.file.display();
    if line == 0 { file.to_string() } else { format!("{file}:{line}") }
}

/// Reads an artifact from a file; text is assembled on the way in.
///
/// # Errors
/// The file cannot be read or is not WebAssembly; the message says what it is instead.
pub fn read_artifact(path: &Path) -> anyhow::Result<bytes::Bytes> {
    if path.is_dir() {
        bail!("`{}` is a directory, not a WebAssembly file", path.display());
    }
    let file = fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
    let wasm = samara_inspect::read_any(&file, Some(path)).map_err(|error| anyhow!("`{}`: {error}", path.display()))?;
    Ok(wasm.into_owned().into())
}

/// Adds a configuration file's values to the grants: a TOML table of strings, numbers and booleans.
fn read_config(path: &Path, grants: &mut Grants) -> anyhow::Result<()> {
    let place = || format!("reading the configuration `{}`", path.display());
    if fs::metadata(path).with_context(place)?.len() > MAX_CONFIG_BYTES {
        bail!("the configuration `{}` is over {MAX_CONFIG_BYTES} bytes", path.display());
    }
    let table: toml::Table = fs::read_to_string(path).with_context(place)?.parse().with_context(place)?;
    for (key, value) in table {
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Datetime(_) => {
                value.to_string()
            }
            toml::Value::Array(_) | toml::Value::Table(_) => {
                bail!("`{key}` in `{}` is not a single value", path.display())
            }
        };
        grants.config.insert(key, text);
    }
    Ok(())
}
