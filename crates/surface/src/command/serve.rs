//! `samara serve`: apps over HTTP until it is told to stop.

use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread::available_parallelism,
};

use anyhow::{Context, bail};
use clap::Args;
use samara_artifact::Reference;
use samara_model::{
    Compile, format_bytes,
    manifest::{App, CertificateFiles, Host, LISTEN_ADMIN, LISTEN_HTTP, LISTEN_HTTPS, Store, Tls},
};
use samara_runtime::PoolSize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CompileArgs, Contracts, Failure, GrantArgs, LimitArgs, ObserveArgs, OriginArgs, TraceArgs, runtime};
use crate::{
    admin::{self, Admin, Names, Token},
    deploy::{self, Deployment, Follow},
    gateway::{Config, Gateway, Https},
};

/// Arguments of `samara serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What to serve: modules (files or references), manifests, ours or of Spin or wasmCloud, or the folder of one; more can be added by `samara apps put`
    #[arg(value_name = "REF|MANIFEST|DIRECTORY")]
    pub apps: Vec<PathBuf>,
    /// Where clients connect; port 0 picks one [default: 127.0.0.1:8080, or nowhere with a certificate]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where clients connect over TLS; port 0 picks one [default: 127.0.0.1:8443 with a certificate]
    #[arg(long, value_name = "ADDRESS")]
    pub listen_tls: Option<SocketAddr>,
    /// The certificate to serve HTTPS with, PEM, followed by those that lead to its authority
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of `--tls-cert`, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Where metrics, health and the admin API are; port 0 picks one [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// The token for changes by the admin API, made if it is not there [default: samara/admin.token in the user's state folder]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Serve what loads: an app that does not is told in the log and at the admin address, and can be put right there
    #[arg(long)]
    pub keep_going: bool,
    /// Load an app anew when its manifest or a file it names changes; a bad change is told, and what served goes on
    #[arg(long)]
    pub watch: bool,
    /// How workloads are compiled whose manifest does not say: `tiered` answers with code of a fast compiler while the
    /// optimising one works [default: optimized; tiered with --watch]
    #[arg(long = "compile", value_name = "optimized|tiered")]
    pub compile_as: Option<Compile>,
    /// The contract of modules given without a manifest
    #[arg(long, value_name = "NAME")]
    pub contract: Option<String>,
    /// Calls that one instance of a module given without a manifest may serve; 0 is a fresh one per call
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub reuse: u32,
    /// Whether requests are told.
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// Whether calls are told.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Where artifacts come from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// What modules given without a manifest may do.
    #[command(flatten)]
    pub grants: GrantArgs,
    /// What bounds modules given without a manifest.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How guests are compiled.
    #[command(flatten)]
    pub compile: CompileArgs,
}

impl ServeArgs {
    /// Serves until SIGTERM or Ctrl-C, then finishes what is in flight.
    ///
    /// # Errors
    /// A manifest, a module or a port cannot be used.
    pub fn run(self, contracts: Contracts) -> Result<ExitCode, Failure> {
        let host = self.origin.operators()?;
        let apps = self
            .apps
            .iter()
            .map(|path| Ok((path.clone(), self.app(path, &host)?)))
            .collect::<anyhow::Result<Vec<_>>>()
            .map_err(Failure::Usage)?;
        // Calls run on the gateway's threads; this runtime loads, and waits for signals.
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("starting the async runtime")?;
        control.block_on(self.serve(contracts, host, apps))
    }

    async fn serve(self, contracts: Contracts, host: Host, apps: Vec<(PathBuf, App)>) -> Result<ExitCode, Failure> {
        let operators = self.admin.or(host.listen_admin).unwrap_or(LISTEN_ADMIN);
        let https = self.https(&host).map_err(Failure::Usage)?;
        // Whoever has a certificate serves nothing without it unless asked to.
        let plain = https.as_ref().is_none_or(|https| https.tls.redirect);
        let http = self.listen.or(host.listen_http).or(plain.then_some(LISTEN_HTTP));
        let config = Config { listen: http, https, http: host.http.clone(), ..Config::new(LISTEN_HTTP) };
        // The ports first: whoever forgot a running host should not wait for modules to compile.
        let gateway = Gateway::bind(config).map_err(Failure::Usage)?;
        let bound = admin::Bound::bind(operators).map_err(Failure::Usage)?;
        let admin_address = bound.address();
        let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let runtime = runtime(contracts, PoolSize::of_this_machine(host.instances), &self.compile)
            .with_wasi03(host.wasi03)
            .with_tiered(host.tiered)
            .with_lane(cores);
        let gateway = gateway.observed_by(self.observe.observer(&host, runtime.metrics())?);
        let (token, names) = (self.token(&host)?, Names(host.admin_hosts.clone()));
        let trace = self.trace;
        // Whoever watches waits for each change; where the operator forbids it nobody asks for it.
        let watched = if self.watch && host.tiered { Compile::Tiered } else { Compile::Optimized };
        let compile = self.compile_as.unwrap_or(watched);
        let sources = self.origin.sources_of(&host)?;
        let deployment = Deployment::new(Arc::new(runtime), host, move |workload| trace.follow_served(workload));
        let deployment = deployment.with_sources(sources);
        let deployment = Arc::new(deployment.compiling(compile));
        let admin = Admin::new(Arc::clone(&deployment), token, names)?;
        let answering = tokio::spawn(Arc::clone(&admin).serve(bound));
        let follow = if self.watch { Some(Follow::begin(&apps).await) } else { None };
        for (_, app) in apps {
            let name = format!("{}/{}", app.tenant, app.name);
            match deployment.start(app).await {
                Err(refused) if self.keep_going || self.watch => tracing::error!(app = name, "not served: {refused}"),
                Err(refused) => return Err(Failure::Usage(refused.into())),
                Ok(()) => {}
            }
        }
        deployment.publish().map_err(|refused| Failure::Usage(refused.into()))?;
        let (terminated, shutdown) = tokio::sync::oneshot::channel();
        let mut signals = Signals::watch().context("watching signals")?;
        // Whoever connects from now on waits in the listeners for a moment at most.
        admin.set_ready(true);
        announce(&deployment, &gateway, admin_address).context("printing the routes")?;
        let metrics = deployment.runtime().metrics().host().clone();
        let routes = deployment.routes().clone();
        let mut served = std::pin::pin!(gateway.run(routes, metrics, async { drop(shutdown.await) }));
        let watched = async {
            match follow {
                Some(follow) => follow.follow(&deployment, |path| self.app(path, deployment.host())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = watched => {}
            () = deploy::follow_tags(&deployment) => {}
            () = deploy::await_stores(&deployment) => {}
            () = deploy::run_triggers(&deployment) => {}
            ended = &mut served => return ended.map(|()| ExitCode::SUCCESS).map_err(Failure::Other),
            () = signals.next() => {}
        }
        admin.set_ready(false);
        tracing::info!("draining; a second signal ends at once");
        // The gateway waits on the other end, or has failed, which `served` tells.
        let _waits: Result<(), ()> = terminated.send(());
        // Operators may watch the end.
        let ended = tokio::select! {
            ended = served => ended.map(|()| ExitCode::SUCCESS).map_err(Failure::Other),
            () = signals.next() => Ok(ExitCode::from(INTERRUPTED)),
        };
        answering.abort();
        ended
    }

    /// The token for changes. Whoever named a file wants it; without a place of its own the host serves, unchanging.
    fn token(&self, host: &Host) -> Result<Option<Token>, Failure> {
        if let Some(named) = self.token_file.clone().or_else(|| host.admin_token.clone()) {
            return Token::read_or_make(&named).map(Some).map_err(Failure::Usage);
        }
        let Some(file) = admin::default_file() else { return Ok(None) };
        let token = Token::read_or_make(&file);
        Ok(token.inspect_err(|error| tracing::warn!("nothing can be changed by the admin API: {error:#}")).ok())
    }

    /// Where HTTPS is served and with what, if it is.
    fn https(&self, host: &Host) -> anyhow::Result<Option<Https>> {
        let mut tls = host.tls.clone();
        if let (Some(chain), Some(key)) = (self.tls_cert.clone(), self.tls_key.clone()) {
            match &mut tls {
                // The command line's certificate stands in for all of the file's; whose clients are let in stays.
                Some(tls) => tls.certificates = vec![CertificateFiles { chain, key }],
                None => tls = Some(Tls::new(chain, key)),
            }
        }
        let listen = self.listen_tls.or(host.listen_https).unwrap_or(LISTEN_HTTPS);
        if tls.is_none() && self.listen_tls.is_some() {
            bail!("`--listen-tls` has no certificate to serve; add `--tls-cert FILE --tls-key FILE`");
        }
        Ok(tls.map(|tls| Https { listen, tls }))
    }

    /// The app behind one argument.
    fn app(&self, path: &Path, host: &Host) -> anyhow::Result<App> {
        if deploy::is_manifest(path) {
            return deploy::read_app(path, host);
        }
        let text = path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))?;
        let reference = Reference::parse(text)?;
        let source = match &reference {
            // On a command line a registry needs no scheme; in a manifest that would be a file.
            Reference::Oci(oci) => format!("oci://{oci}"),
            _ => text.to_owned(),
        };
        let mut app = App::alone(&reference.short_name(), &source);
        for workload in &mut app.workloads {
            workload.contract.clone_from(&self.contract);
            workload.reuse = self.reuse;
            let clock = workload.grants.clock;
            workload.grants = self.grants.grants();
            workload.grants.clock = clock;
            workload.limits.memory_bytes = self.limits.memory;
            workload.limits.cpu = self.limits.cpu;
            workload.limits.deadline = self.limits.deadline;
        }
        let store = |(name, provider): &(String, String)| Store {
            name: name.clone(),
            provider: provider.clone(),
            settings: toml::Table::new(),
            line: 0,
        };
        app.stores = self.grants.kv.iter().map(store).collect();
        app.check(host)?;
        Ok(app)
    }
}

/// One line per route, on standard output: that is how a program that started us learns the port.
fn announce(deployment: &Deployment, gateway: &Gateway, admin: SocketAddr) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let (bold, dim, plain) = if stdout.is_terminal() { ("\u{1b}[1m", "\u{1b}[2m", "\u{1b}[0m") } else { ("", "", "") };
    let redirects = deployment.host().tls.as_ref().is_some_and(|tls| tls.redirect);
    let plain_http = gateway.http_address();
    let (scheme, address) = match (plain_http, gateway.https_address()) {
        (_, Some(address)) if redirects || plain_http.is_none() => ("https", address),
        (http, https) => ("http", http.or(https).context("nothing is listened on")?),
    };
    let routes = deployment.routes().load();
    let rows: Vec<_> = routes
        .routes()
        .iter()
        .map(|route| {
            let host =
                route.host.as_deref().map_or_else(|| address.to_string(), |host| format!("{host}:{}", address.port()));
            let methods = if route.methods.is_empty() {
                "ANY".to_owned()
            } else {
                route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join(",")
            };
            let target = &route.value.first().target;
            (methods, format!("{scheme}://{host}{}", route.pattern.as_str()), target.id().to_string(), target.shape())
        })
        .collect();
    let width = |f: fn(&(String, String, String, samara_model::Shape)) -> &str| {
        rows.iter().map(|row| f(row).len()).max().unwrap_or(0)
    };
    let (methods_width, url_width) = (width(|row| &row.0), width(|row| &row.1));
    if rows.is_empty() {
        writeln!(
            stdout,
            "{dim}{scheme}{plain}  {scheme}://{address} serves nothing yet; `samara apps put` adds an app"
        )?;
    }
    for (methods, url, id, shape) in &rows {
        writeln!(stdout, "{methods:methods_width$}  {bold}{url:url_width$}{plain}  {id} {dim}({shape}){plain}")?;
    }
    match (plain_http, gateway.https_address()) {
        (Some(http), Some(_)) if redirects => {
            writeln!(stdout, "{dim}http{plain}  http://{http} sends clients to https")?;
        }
        (Some(_), Some(https)) => writeln!(stdout, "{dim}https{plain} https://{https} serves the same")?,
        _ => {}
    }
    writeln!(stdout, "{dim}admin{plain} http://{admin}/")?;
    let pool = deployment.runtime().pool_size();
    writeln!(
        stdout,
        "{dim}pool{plain}  {} instances of up to {} (bounded by {})",
        pool.calls,
        format_bytes(pool.memory_bytes as u64),
        pool.bound_by
    )?;
    stdout.flush().context("printing")
}

/// The exit code of a process that was told twice to stop, as a shell reports Ctrl-C.
const INTERRUPTED: u8 = 130;

/// SIGTERM from a supervisor, Ctrl-C from a person: the first drains, the second ends the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
