//! An app's `samara.toml`: its workloads, the stores they use and the triggers that start them.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use http::Method;

use super::{
    EventTrigger, FixedReply, Folder, Host, LimitOverrides, ManifestErrors, Position, Problem, Rollout, Source, Update,
    event,
    grants::{self, Given},
    guest_store::Around,
    outgoing, provider,
    reader::{Item, Reader, Report, did_you_mean},
    rollout,
};
use crate::{
    Compile, GUARDED_FEATURES, Grants, Limits, Pattern, RouteTable, Tenant, TrustPolicy, ValueSource, name::check_name,
    route,
};

/// Methods of one route.
const MAX_METHODS: usize = 32;

/// One app: workloads under names, what they use and what starts them.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// The file it was read from, as it was named to [`App::parse`].
    pub file: PathBuf,
    /// Its name, unique in a tenant.
    pub name: String,
    /// Its version, for people.
    pub version: Option<String>,
    /// Whose it is.
    pub tenant: Tenant,
    /// The request that a new version must answer before it serves.
    pub canary: Option<Canary>,
    /// How a new version takes over; `None` is at once.
    pub rollout: Option<Rollout>,
    /// What its artifacts must show, beside what the operator asks for.
    pub trust: TrustPolicy,
    /// Its workloads that are guests, in the order of the file.
    pub workloads: Vec<Workload>,
    /// Its workloads that are folders, in the order of the file.
    pub folders: Vec<Folder>,
    /// Its stores, in the order of the file.
    pub stores: Vec<Store>,
    /// Its triggers by clients, in the order of the file.
    pub triggers: Vec<Trigger>,
    /// Its triggers by times, messages and changes, in the order of the file.
    pub events: Vec<EventTrigger>,
}

/// A `GET` that tells whether a version works: `/healthz`, or `shop.test/healthz` for a route of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The host asked for; `None` is any.
    pub host: Option<String>,
    /// The path, and perhaps a query.
    pub path: String,
}

/// One workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its name, unique in the app.
    pub name: String,
    /// Its artifact.
    pub source: Source,
    /// Whether it follows the tag that its source names.
    pub update: Update,
    /// The contract it must be served by; `None` chooses by fit.
    pub contract: Option<String>,
    /// Whether a need that is not granted refuses the load.
    pub strict: bool,
    /// Handed to the contract as they are.
    pub settings: toml::Table,
    /// Calls served by one instance; 0 is a fresh instance for each.
    pub reuse: u32,
    /// How it is compiled; `None` leaves it to whoever serves it.
    pub compile: Option<Compile>,
    /// The guarded Wasm features it may use: see [`GUARDED_FEATURES`](crate::GUARDED_FEATURES).
    pub features: Vec<String>,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// What it is given.
    pub grants: Grants,
    /// What it says about its limits.
    pub limits: LimitOverrides,
    /// The line of its header.
    pub line: u32,
}

/// A provider opened under a name.
#[derive(Clone, PartialEq)]
pub struct Store {
    /// The name workloads are granted it by.
    pub name: String,
    /// What opens it: `memory`, `redb:./data/carts.redb`.
    pub provider: String,
    /// Handed to the provider as they are.
    pub settings: toml::Table,
    /// The line of its header.
    pub line: u32,
}

impl fmt::Debug for Store {
    /// Without what may be credentials: of the provider its scheme, of the settings their names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.provider.split(':').next();
        let settings: Vec<_> = self.settings.keys().collect();
        let mut store = f.debug_struct("Store");
        store.field("name", &self.name).field("scheme", &scheme).field("settings", &settings).finish_non_exhaustive()
    }
}

/// What starts a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// HTTP requests of one route.
    Http {
        /// The host asked for, in lower case; `None` is any.
        host: Option<String>,
        /// The methods; empty is any.
        methods: Vec<Method>,
        /// The pattern of the path.
        path: Pattern,
        /// Who answers.
        answer: Answer,
        /// The line of its header.
        line: u32,
    },
}

/// Who answers the requests of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A workload.
    Workload {
        /// Its name.
        name: String,
        /// The export or operation to call, where the workload is called as a function.
        operation: Option<String>,
    },
    /// Nobody: this is what is answered.
    Reply(FixedReply),
}

impl Trigger {
    /// Whether it starts a workload of this name.
    pub fn is_for(&self, workload: &str) -> bool {
        let Self::Http { answer, .. } = self;
        matches!(answer, Answer::Workload { name, .. } if name == workload)
    }

    /// Whether it calls a function of a workload of this name.
    pub fn calls_function_of(&self, workload: &str) -> bool {
        let Self::Http { answer, .. } = self;
        matches!(answer, Answer::Workload { name, operation: Some(_) } if name == workload)
    }
}

impl App {
    /// Reads the text of a `samara.toml`; `file` names it in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ManifestErrors> {
        let report = Report::new(file, text);
        let root = report.parse();
        let app = root.as_ref().and_then(|root| read(Reader::root(&report, "manifest", root), file));
        report.finish(app)
    }

    /// The app of one artifact without a manifest: nothing granted, and every request is its.
    ///
    /// `source` is what a manifest would write, and relative to where this process runs. The names are `name` without what
    /// follows its last dot, as far as it is a name.
    pub fn alone(name: &str, source: &str) -> Self {
        let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).filter(|stem| check_name(stem).is_ok());
        let name = stem.unwrap_or("guest").to_owned();
        let workload = Workload {
            name: name.clone(),
            source: Source { text: source.to_owned(), ..Source::default() },
            update: Update::Never,
            contract: None,
            strict: false,
            settings: toml::Table::new(),
            reuse: 0,
            compile: None,
            features: Vec::new(),
            args: Vec::new(),
            grants: Given::default().grants,
            limits: LimitOverrides::default(),
            line: 0,
        };
        let trigger = Trigger::Http {
            host: None,
            methods: Vec::new(),
            path: Pattern::everything(),
            answer: Answer::Workload { name: name.clone(), operation: None },
            line: 0,
        };
        Self {
            file: source.into(),
            name,
            version: None,
            tenant: Tenant::default(),
            canary: None,
            rollout: None,
            trust: TrustPolicy::default(),
            workloads: vec![workload],
            folders: Vec::new(),
            stores: Vec::new(),
            triggers: vec![trigger],
            events: Vec::new(),
        }
    }

    /// Makes every relative path of the manifest relative to `folder`, the one that holds the manifest.
    pub fn resolve_paths(&mut self, folder: &Path) {
        self.workloads.iter_mut().for_each(|workload| workload.source.resolve(folder));
        self.each_path(&mut |path| *path = folder.join(&path));
    }

    /// The paths, those of sources left out, that do not say all of themselves.
    pub fn relative_paths(&self) -> Vec<PathBuf> {
        let mut relative = Vec::new();
        self.clone().each_path(&mut |path| relative.extend(path.is_relative().then(|| path.clone())));
        relative
    }

    /// Every path but those of sources, which are URLs as often.
    fn each_path(&mut self, visit: &mut dyn FnMut(&mut PathBuf)) {
        self.trust.paths_mut().for_each(&mut *visit);
        for Grants { config_sources, http, fs, secrets, .. } in self.workloads.iter_mut().map(|w| &mut w.grants) {
            let values = config_sources.iter_mut().chain(secrets.values.values_mut()).chain(&mut secrets.sources);
            values.chain(outgoing::sources_mut(http)).filter_map(ValueSource::path_mut).for_each(&mut *visit);
            fs.iter_mut().for_each(|grant| visit(&mut grant.host));
        }
        self.folders.iter_mut().for_each(|served| visit(&mut served.path));
        for store in &mut self.stores {
            provider::each_path(&mut store.provider, &mut store.settings, visit);
        }
    }

    /// Checks the app against the operator's file: its tenant must be known and no limit over a ceiling.
    ///
    /// # Errors
    /// Every limit that is over, with what it may be at most; or the tenant.
    pub fn check(&self, host: &Host) -> Result<(), ManifestErrors> {
        let problem = |position, message| Problem { file: self.file.clone(), position, message };
        let quota = host.tenant(&self.tenant).map_err(|unknown| ManifestErrors {
            problems: vec![problem(Position { line: 1, column: 1 }, unknown.to_string())],
        })?;
        let mut problems = Vec::new();
        let guests = self.workloads.iter().map(|workload| (&workload.name, workload.line, &workload.limits));
        let folders = self.folders.iter().map(|folder| (&folder.name, folder.line, &folder.limits));
        for (name, line, limits) in guests.chain(folders) {
            for over in limits.check(&quota.limits) {
                let position = over.position.unwrap_or(Position { line, column: 1 });
                let message = format!(
                    "`{}` of workload `{}`: `{}` is over the ceiling of `{}` that tenant `{}` has; lower it, or raise it in [tenant.{}] of the host file",
                    over.key, name, over.asked, over.ceiling, self.tenant, self.tenant
                );
                problems.push(problem(position, message));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ManifestErrors { problems }) }
    }
}

impl Workload {
    /// The limits it runs under: the defaults of `samara serve`, what it says itself, and its tenant's ceilings.
    pub fn effective_limits(&self, ceiling: &LimitOverrides) -> Limits {
        let mut limits = self.limits.apply(&Limits::serve());
        ceiling.clamp(&mut limits);
        limits
    }
}

/// Stores that were granted, and where: checked once all stores are known.
type Granted<'a> = Vec<(String, Item<'a>)>;

fn read(mut root: Reader<'_>, file: &Path) -> Option<App> {
    let head = root.require("app", "[app]").and_then(|item| item.table("app", "[app]")).map(read_head);

    let mut granted = Granted::new();
    let rollout = root.take("rollout").and_then(|item| item.table("rollout", "[rollout]")).map(rollout::read);

    let trust =
        root.take("trust").and_then(|item| item.table("trust", "[trust]")).map(TrustPolicy::read).unwrap_or_default();

    let mut workloads = Vec::new();
    let mut folders = Vec::new();
    let mut workload_names = Vec::new();
    for item in named_tables(&mut root, "workload", "[workload.NAME]") {
        workload_names.push(item.key);
        match read_workload(&item, &mut granted) {
            Some(Read::Guest(workload)) => workloads.push(*workload),
            Some(Read::Folder(folder)) => folders.push(*folder),
            None => {}
        }
    }

    let mut stores = Vec::new();
    let mut store_names = Vec::new();
    let mut store_items = Vec::new();
    for item in named_tables(&mut root, "store", "[store.NAME]") {
        store_names.push(item.key);
        if let Some(store) = read_store(&item) {
            stores.push(store);
            store_items.push(item);
        }
    }

    let mut triggers = Vec::new();
    let mut events = Vec::new();
    let mut routes = RouteTable::new();
    for item in root.take("trigger").and_then(|item| item.array("[[trigger]]")).into_iter().flatten() {
        match read_trigger(&item, &workload_names, &mut routes, &mut granted) {
            Some(ReadTrigger::Http(trigger)) => triggers.push(trigger),
            Some(ReadTrigger::Event(event)) => events.push(event),
            None => {}
        }
    }
    root.finish();

    for (store, item) in &granted {
        if !store_names.contains(&store.as_str()) {
            let near = did_you_mean(store, store_names.iter().copied());
            item.problem(format!("store `{store}` is not declared; `[store.{store}]` would declare it{near}"));
        }
    }
    let around = Around { stores: &stores, workloads: &workloads, triggers: &triggers, events: &events };
    for (store, item) in stores.iter().zip(&store_items) {
        if let Err(why) = around.check(store) {
            item.problem(why);
        }
    }
    let Head { name, version, tenant, canary } = head?;
    Some(App {
        file: file.to_owned(),
        name: name?,
        version,
        tenant,
        canary,
        rollout,
        trust,
        workloads,
        folders,
        stores,
        triggers,
        events,
    })
}

/// The table `[app]`.
struct Head {
    name: Option<String>,
    version: Option<String>,
    tenant: Tenant,
    canary: Option<Canary>,
}

fn read_head(mut reader: Reader<'_>) -> Head {
    let name = reader
        .require("name", "name = \"shop\"")
        .and_then(|item| item.parse("shop", |name| check_name(name).map(|()| name.to_owned())));
    let version = reader.take("version").and_then(|item| item.text("1.0.0")).map(str::to_owned);
    let tenant = reader.take("tenant").and_then(|item| item.parse("acme", Tenant::new)).unwrap_or_default();
    let canary = reader.take("canary").and_then(|item| item.parse("/healthz", read_canary));
    reader.finish();
    Head { name, version, tenant, canary }
}

fn read_canary(text: &str) -> Result<Canary, String> {
    let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let host = if host.is_empty() { None } else { Some(route::parse_host(host)?) };
    match path.parse::<http::uri::PathAndQuery>() {
        Ok(_) if path.starts_with('/') => Ok(Canary { host, path: path.to_owned() }),
        _ => Err(format!("`{text}` is not a path to ask for; write `/healthz`, or `shop.test/healthz`")),
    }
}

/// The entries of `[workload.*]` or `[store.*]` whose names are names.
fn named_tables<'a>(root: &mut Reader<'a>, key: &'static str, example: &str) -> Vec<Item<'a>> {
    let Some(reader) = root.take(key).and_then(|item| item.table("names", example)) else { return Vec::new() };
    let items = reader.entries();
    items.filter(|item| check_name(item.key).map_err(|error| item.problem(error)).is_ok()).collect()
}

fn guarded_feature(name: &str) -> Result<String, String> {
    if GUARDED_FEATURES.contains(&name) {
        return Ok(name.to_owned());
    }
    let near = did_you_mean(name, GUARDED_FEATURES.iter().copied());
    let known = GUARDED_FEATURES.join(", ");
    Err(format!("`{name}` is not a feature that must be declared; those are {known}{near}"))
}

/// What a `[workload.NAME]` is.
enum Read {
    Guest(Box<Workload>),
    Folder(Box<Folder>),
}

fn read_workload<'a>(item: &Item<'a>, granted: &mut Granted<'a>) -> Option<Read> {
    let mut reader = item.table("workload", "[workload.NAME]")?;
    if let Some(files) = reader.take("files") {
        return Folder::read(reader, &files, item.key, item.line()).map(|folder| Read::Folder(Box::new(folder)));
    }
    let source = reader.require("source", "source = \"./guest.wasm\"").and_then(|item| Source::read(&item));
    let update = reader.take("update").and_then(|item| {
        let update = Update::read(&item)?;
        if update != Update::Never && source.as_ref().is_some_and(|source| !source.is_tag()) {
            item.problem(
                "only a tag (`oci://registry.example/name:tag`) can move; remove it, or name a tag as the source",
            );
        }
        Some(update)
    });
    let contract = reader.take("contract").and_then(|item| item.text("auto")).filter(|name| *name != "auto");
    let strict = reader.take("strict").and_then(|item| item.boolean()).unwrap_or_default();
    let settings = reader.take("settings").and_then(|item| item.as_it_is("settings = {}")).unwrap_or_default();
    let reuse = reader.take("reuse").and_then(|item| item.number()).unwrap_or_default();
    let features = reader.take("features").and_then(|item| item.list("gc", guarded_feature)).unwrap_or_default();
    let args = reader.take("args").and_then(|item| read_args(&item)).unwrap_or_default();
    let compile = reader.take("compile").and_then(|item| item.parse("optimized", str::parse::<Compile>));
    let Given { grants, log_bytes_per_second, stores } = reader
        .take("grants")
        .and_then(|item| item.table("grants", "grants = { kv = [\"carts\"] }"))
        .map(grants::read)
        .unwrap_or_default();
    granted.extend(stores);
    let mut limits = reader
        .take("limits")
        .and_then(|item| item.table("limits", "limits = { memory = \"64MiB\" }"))
        .map(LimitOverrides::read)
        .unwrap_or_default();
    if let Some((item, rate)) = log_bytes_per_second {
        if limits.log_bytes_per_second.is_some() {
            item.problem("`log` is set in the limits too; remove one");
        }
        limits.log_bytes_per_second = Some(rate);
        limits.positions.push(("log", item.position()));
    }
    reader.belongs(grants::KEYS, "grants");
    reader.belongs(LimitOverrides::KEYS, "limits");
    reader.finish();
    Some(Read::Guest(Box::new(Workload {
        name: item.key.to_owned(),
        source: source?,
        update: update.unwrap_or_default(),
        contract: contract.map(str::to_owned),
        strict,
        settings,
        reuse,
        compile,
        features,
        args,
        grants,
        limits,
        line: item.line(),
    })))
}

/// Arguments may repeat and may be empty, so that they are not a list of names.
fn read_args(item: &Item<'_>) -> Option<Vec<String>> {
    let example = "args = [\"--verbose\"]";
    Some(item.array(example)?.iter().filter_map(|arg| arg.any_text(example)).map(str::to_owned).collect())
}

fn read_store(item: &Item<'_>) -> Option<Store> {
    let mut reader = item.table("store", "[store.NAME]")?;
    let provider = reader.require("provider", "provider = \"memory\"").and_then(|item| item.text("memory"));
    let settings = reader.take("settings").and_then(|item| item.as_it_is("settings = {}")).unwrap_or_default();
    reader.finish();
    Some(Store { name: item.key.to_owned(), provider: provider?.to_owned(), settings, line: item.line() })
}

fn read_methods(item: &Item<'_>) -> Option<Vec<Method>> {
    let methods = item.list("GET", route::parse_method)?;
    if methods.len() > MAX_METHODS {
        item.problem(format!("this has {} methods; leave it out to take any", methods.len()));
        return None;
    }
    Some(methods)
}

/// What a `[[trigger]]` is.
enum ReadTrigger {
    Http(Trigger),
    Event(EventTrigger),
}

fn read_trigger<'a>(
    item: &Item<'a>,
    workloads: &[&str],
    routes: &mut RouteTable<u32>,
    stores: &mut Granted<'a>,
) -> Option<ReadTrigger> {
    let mut reader = item.table("trigger", "[[trigger]]")?;
    let line = reader.line();
    let http = reader.take("http");
    let event = event::read(&mut reader);
    let kinds = usize::from(http.is_some()) + event.kinds.len();
    let target = reader.take("fn");
    let reply = reader.take("reply").filter(|item| {
        if target.is_some() {
            item.problem("this trigger has a workload that answers; remove `fn` or this");
        } else if http.is_none() {
            item.problem("only requests are replied to; write `http = { path = \"/\" }`");
        }
        true
    });
    let operation = reader.take("operation").and_then(|item| item.text("add")).map(str::to_owned);
    // A trigger of a kind that comes later is refused as such, not for lacking what this version's kinds need.
    let complete = !reader.waits();
    if let (true, Some(last)) = (kinds > 1, event.kinds.last()) {
        last.problem("this trigger has something else that starts it already; write one [[trigger]] for each");
    }
    stores.extend(event.store);
    if complete && kinds == 0 {
        reader.problem("[[trigger]] has nothing that starts it; write `http = { path = \"/\" }`");
    }
    if complete && target.is_none() && reply.is_none() {
        reader.problem("[[trigger]] names no workload; write `fn = \"NAME\"`");
    }
    let reply = reply.and_then(|item| FixedReply::read(&item));
    reader.finish();

    let target = target.and_then(|item| {
        let name = item.text("cart")?;
        if !workloads.contains(&name) {
            let near = did_you_mean(name, workloads.iter().copied());
            item.problem(format!("no workload `{name}` in this app; `[workload.{name}]` would declare it{near}"));
        }
        Some(name.to_owned())
    });
    let Some(http) = http else {
        return Some(ReadTrigger::Event(EventTrigger { starts: event.starts?, target: target?, operation, line }));
    };
    let mut reader = http.table("http", "http = { path = \"/\" }")?;
    let host = reader.take("host").and_then(|item| item.parse("shop.test", route::parse_host));
    let methods = reader.take("methods").and_then(|item| read_methods(&item)).unwrap_or_default();
    let path = reader.require("path", "path = \"/\"").and_then(|item| item.parse("/cart/:id", str::parse::<Pattern>));
    reader.finish();
    let path = path?;
    if let Err(conflict) = routes.insert(host.as_deref(), &methods, &path, line) {
        http.problem(format!("{conflict} in line {}; remove one", conflict.existing.value));
    }
    let answer = match reply {
        Some(reply) => Answer::Reply(reply),
        None => Answer::Workload { name: target?, operation },
    };
    Some(ReadTrigger::Http(Trigger::Http { host, methods, path, answer, line }))
}
