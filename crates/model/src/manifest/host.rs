//! The operator's host file: where to listen, whom to serve, and the ceiling of everything an app may ask for.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    LimitOverrides, ManifestErrors,
    artifacts::ArtifactSettings,
    http2::Http2Settings,
    reader::{Item, Reader, Report},
    registry,
    tls::Tls,
};
use crate::{RegistryHost, Tenant, TrustPolicy, parse_bytes, parse_duration, parse_rate, route::parse_host};

/// Where HTTP is served when nobody says otherwise.
pub const LISTEN_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Where HTTPS is served when there is a certificate and nobody says otherwise.
pub const LISTEN_HTTPS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
/// Where metrics and the admin API are served when nobody says otherwise.
pub const LISTEN_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
/// Connections held at once.
pub const MAX_CONNECTIONS: u32 = 10_000;
/// How long a client may take over the head of a request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a kept connection may wait for its next request.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may leave a body without a byte, in either direction.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What the operator says; [`Host::default`] is what holds without a host file.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// The file it was read from; `None` for the defaults.
    pub file: Option<PathBuf>,
    /// Where to serve HTTP; `None` leaves it to the command line, then to [`LISTEN_HTTP`] if there is no HTTPS.
    pub listen_http: Option<SocketAddr>,
    /// Where to serve HTTPS; `None` leaves it to the command line, then to [`LISTEN_HTTPS`] if there is a certificate.
    pub listen_https: Option<SocketAddr>,
    /// Where to serve metrics; `None` leaves it to the command line, then [`LISTEN_ADMIN`].
    pub listen_admin: Option<SocketAddr>,
    /// How HTTPS is served, if it is.
    pub tls: Option<Tls>,
    /// The tenants it knows.
    pub tenants: BTreeMap<Tenant, TenantQuota>,
    /// The quota of tenants that are not listed; `None`, as in every host file, refuses them.
    pub unlisted: Option<TenantQuota>,
    /// Whether WASI 0.3 guests are served.
    pub wasi03: bool,
    /// Whether workloads may answer with baseline code first (`compile = "tiered"`). A host file must say so: whoever writes
    /// the guests would choose what compiler to attack.
    pub tiered: bool,
    /// Instances in the pool; `None` sizes it by the machine.
    pub instances: Option<u32>,
    /// The bounds of connections.
    pub http: HttpSettings,
    /// Where the admin token is, as the file writes it; `None` is the user's own.
    pub admin_token: Option<PathBuf>,
    /// Names that the admin address may be asked by, beside addresses and `localhost`.
    pub admin_hosts: Vec<String>,
    /// Registries and web servers that are not like others, by `host` or `host:port`.
    pub registries: BTreeMap<String, RegistryHost>,
    /// What one artifact may cost, and whether any is fetched.
    pub artifacts: ArtifactSettings,
    /// What every artifact must show: the floor of all apps.
    pub trust: TrustPolicy,
    /// How logs are written.
    pub log: LogFormat,
    /// How the access log is written; `None` leaves it to the command line, then there is none.
    pub access_log: Option<LogFormat>,
    /// The collector that traces are sent to; `None` leaves it to the command line, then there is none.
    pub otlp: Option<String>,
    /// The share of traces that are told, 0 to 1, where whoever calls has not decided; `None` leaves it to the command line, then all.
    pub sample: Option<f64>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            file: None,
            listen_http: None,
            listen_https: None,
            listen_admin: None,
            tls: None,
            tenants: BTreeMap::new(),
            unlisted: Some(TenantQuota::default()),
            wasi03: true,
            tiered: true,
            instances: None,
            http: HttpSettings::default(),
            admin_token: None,
            admin_hosts: Vec::new(),
            registries: BTreeMap::new(),
            artifacts: ArtifactSettings::default(),
            trust: TrustPolicy::default(),
            log: LogFormat::default(),
            access_log: None,
            otlp: None,
            sample: None,
        }
    }
}

/// What one tenant may use at most; `None` is no bound but the machine's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantQuota {
    /// Memory of all its instances, in bytes.
    pub memory_bytes: Option<u64>,
    /// Calls of all its workloads at once.
    pub concurrency: Option<u32>,
    /// Calls a second.
    pub rate_per_second: Option<u64>,
    /// Ceilings of the limits of each of its workloads.
    pub limits: LimitOverrides,
}

/// The bounds of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Connections held at once.
    pub max_connections: u32,
    /// How long a client may take over the head of a request.
    pub header_timeout: Duration,
    /// How long a kept connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long a client may leave a body without a byte, in either direction.
    pub body_timeout: Duration,
    /// What bounds connections of HTTP/2 besides.
    pub http2: Http2Settings,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            header_timeout: HEADER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            body_timeout: BODY_TIMEOUT,
            http2: Http2Settings::default(),
        }
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// A tenant that the host file does not list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tenant `{tenant}` is not in the host file `{}`; `[tenant.{tenant}]` there would admit it", file.display())]
pub struct UnknownTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// The host file.
    pub file: PathBuf,
}

impl Host {
    /// Reads the text of a host file; `file` names it in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ManifestErrors> {
        let report = Report::new(file, text);
        let root = report.parse();
        let host = root.as_ref().map(|root| read(Reader::root(&report, "host", root), file));
        report.finish(host)
    }

    /// Makes every relative path of the host file relative to `folder`, the one that holds it.
    pub fn resolve_paths(&mut self, folder: &Path) {
        if let Some(tls) = &mut self.tls {
            tls.resolve_paths(folder);
        }
        if let Some(token) = &mut self.admin_token {
            *token = folder.join(&*token);
        }
        self.trust.resolve_paths(folder);
        for ca in self.registries.values_mut().filter_map(|host| host.ca.as_mut()) {
            *ca = folder.join(&*ca);
        }
    }

    /// What a tenant may use.
    ///
    /// # Errors
    /// There is a host file and it does not list the tenant.
    pub fn tenant(&self, tenant: &Tenant) -> Result<&TenantQuota, UnknownTenant> {
        self.tenants
            .get(tenant)
            .or(self.unlisted.as_ref())
            .ok_or_else(|| UnknownTenant { tenant: tenant.clone(), file: self.file.clone().unwrap_or_default() })
    }
}

fn read(mut root: Reader<'_>, file: &Path) -> Host {
    let mut host = Host { file: Some(file.to_owned()), unlisted: None, tiered: false, ..Host::default() };
    let tls = section(&mut root, "tls");
    let certified = tls.is_some();
    host.tls = tls.and_then(Tls::read);
    if let Some(mut reader) = section(&mut root, "listen") {
        host.listen_http = reader.take("http").and_then(|item| item.parse("127.0.0.1:8080", socket_address));
        host.listen_https = reader.take("https").and_then(|item| {
            if !certified {
                item.problem("there is no certificate to serve it with; write `[tls]`");
            }
            item.parse("127.0.0.1:8443", socket_address)
        });
        host.listen_admin = reader.take("admin").and_then(|item| item.parse("127.0.0.1:9090", socket_address));
        reader.finish();
    }
    if let Some(reader) = section(&mut root, "http") {
        read_http(reader, &mut host.http);
    }
    if let Some(mut reader) = section(&mut root, "admin") {
        host.admin_token = reader.take("token_file").and_then(|item| item.text("admin.token")).map(PathBuf::from);
        host.admin_hosts =
            reader.take("hosts").and_then(|item| item.list("ops.example", parse_host)).unwrap_or_default();
        reader.finish();
    }
    if let Some(reader) = section(&mut root, "http2") {
        host.http.http2 = Http2Settings::read(reader);
    }
    if let Some(mut reader) = section(&mut root, "engine") {
        host.wasi03 = reader.take("wasi03").and_then(|item| item.boolean()).unwrap_or(true);
        host.tiered = reader.take("tiered").and_then(|item| item.boolean()).unwrap_or_default();
        host.instances = reader.take("instances").and_then(|item| at_least_one(&item));
        reader.finish();
    }
    if let Some(mut reader) = section(&mut root, "telemetry") {
        host.log = reader.take("log").and_then(|item| item.parse("text", log_format)).unwrap_or_default();
        host.access_log = reader.take("access_log").and_then(|item| item.parse("text", access_log)).flatten();
        host.otlp = reader.take("otlp").and_then(|item| item.text("http://127.0.0.1:4318").map(str::to_owned));
        host.sample = reader.take("sample").and_then(|item| item.share());
        reader.finish();
    }
    if let Some(reader) = section(&mut root, "registry") {
        host.registries = registry::read(reader);
    }
    if let Some(reader) = section(&mut root, "artifacts") {
        host.artifacts = ArtifactSettings::read(reader);
    }
    if let Some(reader) = section(&mut root, "trust") {
        host.trust = TrustPolicy::read(reader);
    }
    if let Some(reader) = section(&mut root, "tenant") {
        for item in reader.entries() {
            let tenant = Tenant::new(item.key).map_err(|error| item.problem(error)).ok();
            let quota = item.table("tenant", "[tenant.NAME]").map(read_tenant);
            host.tenants.extend(tenant.zip(quota));
        }
    }
    root.finish();
    host
}

fn section<'a>(root: &mut Reader<'a>, key: &'static str) -> Option<Reader<'a>> {
    root.take(key).and_then(|item| item.table(key, &format!("[{key}]")))
}

fn read_http(mut reader: Reader<'_>, http: &mut HttpSettings) {
    if let Some(max_connections) = reader.take("max_connections").and_then(|item| at_least_one(&item)) {
        http.max_connections = max_connections;
    }
    for (key, place) in [
        ("header_timeout", &mut http.header_timeout),
        ("idle_timeout", &mut http.idle_timeout),
        ("body_timeout", &mut http.body_timeout),
    ] {
        let Some(item) = reader.take(key) else { continue };
        match item.quantity(parse_duration) {
            Some(timeout) if timeout.is_zero() => item.problem("no client is that fast; write a time over zero"),
            Some(timeout) => *place = timeout,
            None => {}
        }
    }
    reader.finish();
}

fn read_tenant(mut reader: Reader<'_>) -> TenantQuota {
    let quota = TenantQuota {
        memory_bytes: reader.take("memory").and_then(|item| item.quantity(parse_bytes)),
        concurrency: reader.take("concurrency").and_then(|item| at_least_one(&item)),
        rate_per_second: reader.take("rate").and_then(|item| item.quantity(parse_rate)),
        limits: reader
            .take("limits")
            .and_then(|item| item.table("limits", "limits = { memory = \"256MiB\" }"))
            .map(LimitOverrides::read)
            .unwrap_or_default(),
    };
    reader.belongs(&["cpu", "deadline"], "limits");
    reader.finish();
    quota
}

pub(super) fn at_least_one(item: &Item<'_>) -> Option<u32> {
    let number = item.number()?;
    if number == 0 {
        item.problem("nothing would be left to serve with; write at least `1`");
        return None;
    }
    Some(number)
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>()
        .map_err(|_| format!("`{text}` is not an address to listen on; write `127.0.0.1:8080` or `[::1]:8080`"))
}

fn access_log(text: &str) -> Result<Option<LogFormat>, String> {
    match text {
        "off" => Ok(None),
        _ => log_format(text)
            .map(Some)
            .map_err(|_| format!("`{text}` is not a form of access log; write `text`, `json` or `off`")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` is not a log format; write `text` or `json`")),
    }
}
