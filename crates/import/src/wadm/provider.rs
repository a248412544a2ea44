//! wasmCloud's providers as stores and routes.

use super::{
    guest::environment,
    model::{Component, Link},
    values::Values,
};
use crate::draft::{Draft, Origin, Starts, Store};

/// A provider that something here stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    HttpServer,
    HttpClient,
    KeyValueRedis,
    KeyValueNats,
    MessagingNats,
    BlobFs,
    BlobS3,
    BlobNats,
    Postgres,
}

/// Names of their images, old ones too.
const PROVIDERS: &[(&str, Provider)] = &[
    ("http-server", Provider::HttpServer),
    ("httpserver", Provider::HttpServer),
    ("http-client", Provider::HttpClient),
    ("httpclient", Provider::HttpClient),
    ("keyvalue-redis", Provider::KeyValueRedis),
    ("kvredis", Provider::KeyValueRedis),
    ("keyvalue-nats", Provider::KeyValueNats),
    ("messaging-nats", Provider::MessagingNats),
    ("nats_messaging", Provider::MessagingNats),
    ("blobstore-fs", Provider::BlobFs),
    ("blobstore_fs", Provider::BlobFs),
    ("blobstore-s3", Provider::BlobS3),
    ("blobstore_s3", Provider::BlobS3),
    ("blobstore-nats", Provider::BlobNats),
    ("sqldb-postgres", Provider::Postgres),
];

/// Where the servers are when nobody says.
const REDIS: &str = "redis://127.0.0.1:6379";
const NATS: &str = "nats://127.0.0.1:4222";

impl Provider {
    /// What stands in for a component that is a provider, by the name of its image.
    pub(super) fn of(component: &Component<'_>) -> Option<Self> {
        let name = component.image_name();
        PROVIDERS.iter().find(|(known, _)| *known == name).map(|(_, provider)| *provider)
    }

    pub(super) fn is_kv(self) -> bool {
        matches!(self, Self::KeyValueRedis | Self::KeyValueNats)
    }

    pub(super) fn is_blob(self) -> bool {
        matches!(self, Self::BlobFs | Self::BlobS3 | Self::BlobNats)
    }
}

/// Settings of one link: its own, then those of the provider.
struct Settings<'a, 'v> {
    link: [&'v Values<'a>; 2],
    provider: &'v Values<'a>,
}

impl<'a, 'v> Settings<'a, 'v> {
    fn of(link: &'v Link<'a>, provider: &'v Component<'a>) -> Self {
        Self { link: [&link.target_values, &link.source_values], provider: &provider.config }
    }

    /// The nearest value of a name; those that it hides are seen too.
    fn text(&self, name: &str) -> Option<&'v str> {
        let [target, source] = self.link.map(|values| values.text(name));
        let provider = self.provider.text(name);
        target.or(source).or(provider)
    }

    /// Notes a setting that is not carried over, if it is there.
    fn lost(&self, name: &str, why: &str) {
        let [target, source] = self.link;
        for values in [target, source, self.provider] {
            if let Some((item, _)) = values.take(name) {
                item.lost("a setting", why);
            }
        }
    }
}

/// The store that a link leads to, declared; answers its name.
pub(super) fn store(
    provider: Provider,
    link: &Link<'_>,
    target: &Component<'_>,
    asked: &str,
    draft: &mut Draft,
) -> Option<String> {
    let settings = Settings::of(link, target);
    let mut store = Store { name: asked.to_owned(), origin: Origin::from(&link.item), ..Store::default() };
    match provider {
        Provider::KeyValueRedis => {
            url(settings.text("url").or(settings.text("uri")).unwrap_or(REDIS), link, &mut store);
        }
        Provider::KeyValueNats | Provider::BlobNats | Provider::MessagingNats => nats(&settings, link, &mut store),
        Provider::BlobFs => {
            let root = settings.text("root").unwrap_or("./data/blobs");
            let root = if root.starts_with(['/', '.']) { root.to_owned() } else { format!("./{root}") };
            store.provider = format!("fs:{root}");
            link.item.changed(
                &format!("the folder `{root}`"),
                "containers and objects are kept in it in a form of their own: what others put there is not seen",
            );
        }
        Provider::BlobS3 => s3(&settings, link, &mut store)?,
        Provider::Postgres => postgres(&settings, link, &mut store)?,
        Provider::HttpServer | Provider::HttpClient => {
            link.item.lost(&link.shown(), "the provider does not have this interface");
            return None;
        }
    }
    // A store that says something else has a name of its own.
    let taken = |name: &str| draft.stores.iter().any(|there| there.name == name && there.provider != store.provider);
    if taken(&store.name) {
        let own = (2_u32..).map(|number| format!("{}-{number}", target.legal_name));
        let mut free = std::iter::once(target.legal_name.clone()).chain(own).filter(|name| !taken(name));
        store.name = free.next()?;
        link.item.changed(
            &link.shown(),
            &format!(
                "another store is `{asked}`, so that this is `{}`: a guest with several opens it by this name",
                store.name
            ),
        );
    }
    let name = store.name.clone();
    draft.add_store(store);
    Some(name)
}

/// A URL without the password that may be in it.
fn url(text: &str, link: &Link<'_>, store: &mut Store) {
    let text = text.trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
    let Some((credentials, address)) = rest.rsplit_once('@') else {
        store.provider = format!("{scheme}://{rest}");
        return;
    };
    let (user, password) =
        credentials.split_once(':').map_or((credentials, None), |(user, password)| (user, Some(password)));
    let user = if user.is_empty() { String::new() } else { format!("{user}@") };
    store.provider = format!("{scheme}://{user}{address}");
    if password.is_some() {
        let name = store.name.clone();
        password_by_environment(&name, "the password of the URL", link, store);
    }
}

/// A password is never written into a manifest.
fn password_by_environment(name: &str, what: &str, link: &Link<'_>, store: &mut Store) {
    let variable = environment(&format!("{name}_password"));
    link.item.changed(what, &format!("a password is not written into a manifest; set `{variable}`"));
    store.settings.push(("password".to_owned(), format!("env:{variable}")));
}

fn nats(settings: &Settings<'_, '_>, link: &Link<'_>, store: &mut Store) {
    let address =
        settings.text("cluster_uris").or(settings.text("cluster_uri")).or(settings.text("uri")).unwrap_or(NATS);
    let mut addresses = address.split(',').map(str::trim).filter(|address| !address.is_empty());
    let first = addresses.next().unwrap_or(NATS);
    if addresses.next().is_some() {
        link.item.lost("further servers of the cluster", "a store names one server, which tells of the others");
    }
    // Their default is the address that a server listens on, by which it is not found everywhere.
    let first = first.replace("0.0.0.0", "127.0.0.1");
    let first = if first.contains("://") { first } else { format!("nats://{first}") };
    url(&first, link, store);
    for name in ["client_jwt", "client_seed", "auth_jwt", "auth_seed"] {
        settings.lost(name, "credentials are not written into a manifest; `settings = { credentials = \"file:./user.creds\" }` of the store reads them");
    }
    for name in ["tls_ca", "tls_ca_file"] {
        settings.lost(name, "`settings = { ca = \"./ca.pem\" }` of the store names the authority");
    }
    settings.lost("bucket", "the store makes its own buckets; what is in this one is not seen");
    if settings.text("enable_bucket_auto_create").is_some_and(|value| value != "true") {
        settings.lost("enable_bucket_auto_create", "the store makes its buckets when it needs them");
    }
    settings.lost("js_domain", "JetStream is asked in its default domain");
    settings.lost("consumers", "messages are acknowledged by triggers; see `[[trigger]]`");
}

fn s3(settings: &Settings<'_, '_>, link: &Link<'_>, store: &mut Store) -> Option<()> {
    let json = settings.text("config_json").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let mut buckets: Vec<String> = Vec::new();
    for values in [&link.target_values, &link.source_values, settings.provider] {
        buckets.extend(values.beginning("alias_").into_iter().map(str::to_owned));
    }
    if let Some(json) = json.as_ref().and_then(serde_json::Value::as_object) {
        for (name, value) in json {
            match (name.as_str(), value.as_str()) {
                ("endpoint" | "region", Some(text)) => store.settings.push((name.clone(), text.to_owned())),
                ("aliases", _) => {
                    let aliases = value.as_object().into_iter().flatten();
                    buckets.extend(aliases.filter_map(|(_, bucket)| bucket.as_str().map(str::to_owned)));
                }
                _ => link.item.lost(
                    &format!("`{name}` of `config_json`"),
                    "credentials are read from the environment (`AWS_ACCESS_KEY_ID`); the rest has no counterpart",
                ),
            }
        }
    }
    settings.lost("bucket_region", "buckets are not made by the store; name one that is there");
    buckets.dedup();
    let [bucket] = buckets.as_slice() else {
        link.item.lost(&link.shown(), "a store is one bucket, and there any of the account is; name it with an alias");
        return None;
    };
    store.provider = format!("s3://{bucket}");
    Some(())
}

fn postgres(settings: &Settings<'_, '_>, link: &Link<'_>, store: &mut Store) -> Option<()> {
    if let Some(text) = settings.text("uri").or(settings.text("url")) {
        url(text, link, store);
        return Some(());
    }
    let Some(host) = settings.text("POSTGRES_HOST") else {
        link.item.lost(&link.shown(), "it does not say where the server is (`POSTGRES_HOST`)");
        return None;
    };
    let port = settings.text("POSTGRES_PORT").unwrap_or("5432");
    let user = settings.text("POSTGRES_USERNAME").map(|user| format!("{user}@")).unwrap_or_default();
    let database = settings.text("POSTGRES_DATABASE").map(|name| format!("/{name}")).unwrap_or_default();
    let required = settings.text("POSTGRES_TLS_REQUIRED").is_some_and(|value| matches!(value, "true" | "yes"));
    let tls = if required { "?sslmode=require" } else { "" };
    store.provider = format!("postgres://{user}{host}:{port}{database}{tls}");
    if settings.text("POSTGRES_PASSWORD").is_some() {
        let name = store.name.clone();
        password_by_environment(&name, "`POSTGRES_PASSWORD`", link, store);
    }
    settings.lost("POSTGRES_POOL_SIZE", "the store has a bounded pool of its own");
    Some(())
}

/// The route of an HTTP server's link, and the deadline of its requests in milliseconds.
pub(super) fn route(link: &Link<'_>, source: &Component<'_>) -> Option<(Starts, Option<u64>)> {
    let settings = Settings::of(link, source);
    let mode = settings.text("routing_mode").unwrap_or("address");
    let (mut host, mut path) = (None, "/*rest".to_owned());
    let lost = |why: &str| link.item.lost(&link.shown(), why);
    match mode {
        "address" => {}
        "path" => match settings.text("path") {
            Some(text) => path = text.to_owned(),
            None => {
                lost("requests are told apart by path, and it has no `path`");
                return None;
            }
        },
        "host" => match settings.text("host") {
            // A port is not part of what a route asks for.
            Some(text) => host = Some(text.split(':').next().unwrap_or_default().to_owned()),
            None => {
                lost("requests are told apart by host, and it has no `host`");
                return None;
            }
        },
        _ => {
            lost(&format!("requests are told apart by `{mode}`, which is not known here"));
            return None;
        }
    }
    let address = settings.text("address").map(str::to_owned);
    let port = settings.text("port").map(|port| format!("127.0.0.1:{port}"));
    let default = settings.text("default_address").map(str::to_owned);
    if let Some(address) = address.or(port).or(default) {
        let why =
            format!("where is listened is for whoever serves the app; `samara serve --listen {address}` does so there");
        link.item.changed(&format!("the address `{address}`"), &why);
    }
    let methods = if settings.text("readonly_mode") == Some("true") { vec!["GET", "HEAD"] } else { Vec::new() };
    let deadline = settings.text("timeout_ms").and_then(|text| text.parse().ok());
    for name in ["tls_cert_file", "tls_priv_key_file"] {
        settings.lost(name, "certificates are for whoever serves the app: `--tls-cert` and `--tls-key`");
    }
    settings.lost("cache_control", "the component sets its own headers");
    for name in ["origins", "headers", "methods"] {
        settings.lost(&format!("cors_allowed_{name}"), "the component answers such requests itself");
    }
    for name in ["cors_exposed_headers", "cors_max_age_secs"] {
        settings.lost(name, "the component answers such requests itself");
    }
    for name in ["config_json", "config_b64"] {
        settings.lost(name, "settings inside of a text are not read; write them one by one");
    }
    Some((Starts::Http { host, methods, path }, deadline))
}

/// The subjects of a subscription: `a,b|queue`.
pub(super) fn subjects(link: &Link<'_>) -> Vec<String> {
    let values = [&link.source_values, &link.target_values];
    let Some(text) = values.into_iter().find_map(|values| values.text("subscriptions")) else {
        link.item.lost(&link.shown(), "it subscribes to nothing (`subscriptions`)");
        return Vec::new();
    };
    let mut subjects = Vec::new();
    for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let (subject, queue) = one.split_once('|').map_or((one, None), |(subject, queue)| (subject, Some(queue)));
        if let Some(queue) = queue {
            link.item.changed(
                &format!("the queue group `{queue}`"),
                "all hosts that serve an app share its messages; the group has a name of its own",
            );
        }
        subjects.push(subject.to_owned());
    }
    subjects
}
