//! Manifests that read, manifests that are refused with the fix, and bytes that are neither.

use std::{path::Path, time::Duration};

use http::Method;

use super::{
    Answer, App, CertificateFiles, ClientCertificates, Folder, Host, Http2Settings, LimitOverrides, LogFormat,
    MAX_ELEMENTS, MAX_MANIFEST_BYTES, MAX_PROBLEMS, Overlap, Starts, Trigger,
};
use crate::{BlobOperation, Capability, KvOperation, Limits, SqlOperation, Tenant, ValueSource};

/// Every key of an app manifest that this version reads.
const SHOP: &str = r#"
[app]
name = "shop"
version = "1.4.0"
tenant = "acme"

[workload.cart]
source = "./cart.wasm"
contract = "wasi-http"
strict = true
settings = { depth = { of = [1, 2.5, "x", true, 2026-01-01] } }
reuse = 10
features = ["gc"]
compile = "optimized"
update = "never"
args = ["--verbose", "", "--verbose"]
[workload.cart.grants]
kv = [{ store = "carts", ops = ["get", "set"] }, "cache"]
blob = [{ store = "pictures", ops = ["read", "list"] }, "cache"]
sql = [{ store = "orders", ops = ["query"], statements = { by_id = "select * from orders where id = $1" }, named_only = true }]
messaging = [{ publish = ["orders.*"] }, { store = "cache", subscribe = ["stock.>"] }]
secrets = ["dir:./secrets", { API_KEY = "env:CART_API_KEY", CERTIFICATE = "file:./cart.pem" }]
fs = [{ host = "./public", guest = "/", write = true }, { host = "/srv", guest = "/srv" }]
env = { GREETING = "hi" }
config = ["file:./cart.toml", { SIZE = "9" }, "env:CART_", "dir:./values", { SIZE = "10", A = "1" }]
net = { connect = ["10.0.0.5:5432"], listen = ["[::1]:80"] }
log = "32KiB/s"
clock = { resolution = "5ms", jitter = "1ms" }
random = true
[workload.cart.grants.http]
allow = ["https://api.example", "https://*.cdn.example:8443"]
private = true
headers = { "https://api.example" = { Authorization = "Bearer ${secret:API_KEY}", x-key = "file:./key", x-app = "shop" } }
timeouts = { connect = "5s", first_byte = "10s", between_bytes = "3s", total = "1m" }
retries = 2
pool = { connections = 8, idle = 0, idle_time = "5s" }
[workload.cart.limits]
memory = "64MiB"
cpu = "50ms"
concurrency = 8
headers = 4096

[workload."a.b"]
source = "hello.wasm"
contract = "auto"
grants = { config = { COLOUR = "red" }, http = ["http://127.0.0.1:9000"] }

[store.carts]
provider = "redb:./data/carts.redb"
settings = { fsync = true }

[store.cache]
provider = "memory"

[store.pictures]
provider = "fs:./data/pictures"

[store.orders]
provider = "sqlite:./data/orders.db"

[[trigger]]
http = { host = "Shop.test", methods = ["GET", "HEAD"], path = "/cart/:id" }
fn = "cart"
operation = "show"

[[trigger]]
http = { path = "/*rest" }
fn = "a.b"
"#;

fn app(text: &str) -> App {
    App::parse(text, Path::new("samara.toml")).unwrap_or_else(|errors| panic!("{errors}"))
}

fn host(text: &str) -> Host {
    Host::parse(text, Path::new("host.toml")).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn an_app_says_all_of_it() {
    let app = app(SHOP);
    assert_eq!((app.name.as_str(), app.version.as_deref(), app.tenant.as_str()), ("shop", Some("1.4.0"), "acme"));

    let [cart, other] = &app.workloads[..] else { panic!("{:?}", app.workloads) };
    assert_eq!((cart.name.as_str(), cart.line, cart.source.text.as_str()), ("cart", 7, "./cart.wasm"));
    assert_eq!((cart.source.position.line, cart.source.position.column), (8, 10));
    assert_eq!((cart.contract.as_deref(), cart.strict, cart.reuse), (Some("wasi-http"), true, 10));
    assert_eq!(cart.features, ["gc"]);
    assert_eq!(cart.args, ["--verbose", "", "--verbose"]);
    assert_eq!(cart.settings["depth"]["of"][1].as_float(), Some(2.5));
    let grants = &cart.grants;
    assert_eq!(grants.kv["carts"].operations, [KvOperation::Get, KvOperation::Set]);
    assert_eq!(grants.kv["cache"].operations, KvOperation::ALL);
    assert_eq!(grants.blob["pictures"].operations, [BlobOperation::Read, BlobOperation::List]);
    assert_eq!(grants.blob["cache"].operations, BlobOperation::ALL);
    let orders = &grants.sql["orders"];
    assert_eq!((&orders.operations[..], orders.named_only), (&[SqlOperation::Query][..], true));
    assert_eq!(orders.statements["by_id"], "select * from orders where id = $1");
    assert!(grants.messaging["default"].may_publish("orders.created"));
    assert!(!grants.messaging["default"].may_publish("stock.low"));
    assert!(grants.messaging["cache"].may_subscribe(&"stock.*".parse().unwrap()));
    assert_eq!(grants.secrets.values["API_KEY"], ValueSource::Environment("CART_API_KEY".to_owned()));
    assert!(grants.http.allows("https", "a.cdn.example", 8443) && grants.http.private);
    assert!(grants.fs[0].write && !grants.fs[1].write);
    assert_eq!(grants.env["GREETING"], "hi");
    let sources: Vec<_> = grants.config_sources.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["file:./cart.toml", "env:CART_", "dir:./values"]);
    assert_eq!((grants.config["SIZE"].as_str(), grants.config.len()), ("10", 2));
    assert_eq!(grants.secrets.sources, [ValueSource::Directory("./secrets".into())]);
    let headers: Vec<_> =
        grants.http.headers.iter().map(|rule| format!("{} {}: {}", rule.origin, rule.name, rule.value)).collect();
    let expected = ["authorization: Bearer ${secret:API_KEY}", "x-key: ${file:./key}", "x-app: shop"];
    assert_eq!(headers, expected.map(|header| format!("https://api.example:443 {header}")));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let times = grants.http.timeouts;
    assert_eq!([times.connect, times.first_byte, times.between_bytes, times.total], [5, 10, 3, 60].map(seconds));
    let pool = grants.http.pool;
    assert_eq!((grants.http.retries, pool.connections, pool.idle, pool.idle_time), (2, Some(8), Some(0), seconds(5)));
    assert_eq!((grants.net.connect.len(), grants.net.listen.len(), grants.net.any), (1, 1, false));
    assert_eq!((grants.clock, grants.clock_jitter), (Some(Duration::from_millis(5)), Duration::from_millis(1)));
    let limits = cart.limits.apply(&Limits::serve());
    assert_eq!((limits.memory_bytes, limits.cpu), (64 << 20, Some(Duration::from_millis(50))));
    assert_eq!((limits.concurrency, limits.header_bytes), (8, 4096));
    assert_eq!((limits.log_bytes_per_second, limits.queue), (Some(32 << 10), Limits::serve().queue));

    assert_eq!((other.name.as_str(), other.contract.as_deref()), ("a.b", None));
    assert_eq!(other.grants.config["COLOUR"], "red");
    assert!(!other.grants.http.private);
    assert_eq!(other.grants.clock, Some(Duration::from_millis(1)), "a served guest's clock is coarse");

    assert_eq!((app.stores[0].provider.as_str(), app.stores[1].name.as_str()), ("redb:./data/carts.redb", "cache"));
    let Trigger::Http { host, methods, path, answer, line } = &app.triggers[0];
    assert_eq!((host.as_deref(), methods.as_slice()), (Some("shop.test"), &[Method::GET, Method::HEAD][..]));
    assert_eq!((path.as_str(), *line), ("/cart/:id", 61));
    assert_eq!(*answer, Answer::Workload { name: "cart".to_owned(), operation: Some("show".to_owned()) });
}

#[test]
fn the_examples_in_the_tree_read() {
    let example = app(include_str!("../../../../examples/hello/samara.toml"));
    let mut routes = crate::RouteTable::new();
    for Trigger::Http { host, methods, path, answer, .. } in &example.triggers {
        let Answer::Workload { name, .. } = answer else { panic!("{answer:?}") };
        routes.insert(host.as_deref(), methods, path, name.as_str()).unwrap();
    }
    for (method, path, target) in [(Method::GET, "/", "page"), (Method::DELETE, "/kv/visits/clicks", "reader")] {
        assert_eq!(routes.find("127.0.0.1:8080", &method, path).map(|found| *found.value), Ok(target));
    }
}

#[test]
fn an_artifact_alone_is_an_app_like_the_shortest_manifest() {
    let alone = App::alone("hello.wasm", "guests/hello.wasm");
    let written = app(r#"
        app.name = "hello"
        workload.hello.source = "guests/hello.wasm"
        trigger = [{ fn = "hello", http = { path = "/*rest" } }]
    "#);
    assert_eq!((&alone.name, &alone.tenant, alone.check(&Host::default())), (&written.name, &written.tenant, Ok(())));
    assert_eq!(alone.workloads[0].source.file(), written.workloads[0].source.file());
    assert_eq!(alone.workloads[0].grants, written.workloads[0].grants);
    let route = |app: &App| match &app.triggers[0] {
        Trigger::Http { host, methods, path, answer, .. } => {
            (host.clone(), methods.clone(), path.clone(), answer.clone())
        }
    };
    assert_eq!(route(&alone), route(&written));
    assert_eq!(App::alone("a b.wasm", "a b.wasm").name, "guest", "a name that is none is not taken from the file");
}

#[test]
fn relative_paths_become_the_manifests_own() {
    let mut app = app(SHOP);
    app.resolve_paths(Path::new("/apps/shop"));
    let cart = &app.workloads[0];
    assert_eq!(cart.source.file().as_deref(), Some(Path::new("/apps/shop/./cart.wasm")));
    assert_eq!(cart.grants.config_sources[0], ValueSource::File("/apps/shop/./cart.toml".into()));
    assert_eq!(cart.grants.fs[0].host, Path::new("/apps/shop/./public"));
    assert_eq!(cart.grants.secrets.values["CERTIFICATE"], ValueSource::File("/apps/shop/./cart.pem".into()));
    assert_eq!(cart.grants.fs[1].host, Path::new("/srv"), "an absolute path stays");
    assert_eq!(app.stores[0].provider, "redb:/apps/shop/./data/carts.redb");
    assert_eq!(app.stores[1].provider, "memory");
}

#[test]
fn a_host_file_says_all_of_it() {
    let host = host(
        r#"
        listen = { http = "127.0.0.1:80", admin = "[::1]:9090" }
        [http]
        max_connections = 5
        header_timeout = "1s"
        [engine]
        wasi03 = false
        tiered = true
        instances = 100
        [tenant.acme]
        memory = "1GiB"
        concurrency = 256
        rate = "500/s"
        limits = { memory = "256MiB", cpu = "1s", response_body = "1MiB" }
        [tenant.other]
        [telemetry]
        log = "json"
        access_log = "text"
        otlp = "http://127.0.0.1:4318"
        sample = 0.25
        "#,
    );
    assert_eq!(host.listen_http.map(|address| address.port()), Some(80));
    assert_eq!(host.listen_admin.map(|address| address.to_string()).as_deref(), Some("[::1]:9090"));
    assert_eq!((host.http.max_connections, host.http.header_timeout), (5, Duration::from_secs(1)));
    assert_eq!(host.http.idle_timeout, super::IDLE_TIMEOUT);
    assert_eq!((host.wasi03, host.tiered, host.instances), (false, true, Some(100)));
    assert_eq!(host.log, LogFormat::Json);
    assert_eq!(host.access_log, Some(LogFormat::Text));
    assert_eq!((host.otlp.as_deref(), host.sample), (Some("http://127.0.0.1:4318"), Some(0.25)));
    let over = Host::parse("[telemetry]\nsample = 1.5", Path::new("h")).unwrap_err().to_string();
    assert!(over.contains("`1.5` is not a share; write a number from 0 to 1"), "{over}");
    let acme = host.tenant(&Tenant::new("acme").unwrap()).unwrap();
    assert_eq!((acme.memory_bytes, acme.concurrency, acme.rate_per_second), (Some(1 << 30), Some(256), Some(500)));
    let unknown = host.tenant(&Tenant::default()).unwrap_err().to_string();
    assert_eq!(
        unknown,
        "tenant `default` is not in the host file `host.toml`; `[tenant.default]` there would admit it"
    );
}

#[test]
fn without_a_host_file_every_tenant_is_served_and_nothing_is_lowered() {
    let host = Host::default();
    assert_eq!(app(SHOP).check(&host), Ok(()));
    let quota = host.tenant(&Tenant::new("anyone").unwrap()).unwrap();
    assert_eq!(app(SHOP).workloads[1].effective_limits(&quota.limits), Limits::serve());
    assert_eq!(
        self::host(""),
        Host { file: Some("host.toml".into()), unlisted: None, tiered: false, ..Host::default() }
    );
}

#[test]
fn a_ceiling_refuses_what_is_asked_for_and_lowers_what_is_not() {
    let host = host("tenant.acme.limits = { memory = \"32MiB\", cpu = \"40ms\", queue = 3, response_body = \"1MiB\" }");
    let errors = app(SHOP).check(&host).unwrap_err().to_string();
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(
        lines[0],
        "samara.toml:38:10: `memory` of workload `cart`: `64MiB` is over the ceiling of `32MiB` that tenant `acme` has; \
         lower it, or raise it in [tenant.acme] of the host file"
    );
    assert!(lines[1].contains("`cpu` of workload `cart`: `50ms` is over the ceiling of `40ms`"), "{errors}");
    assert_eq!(lines.len(), 2, "{errors}");
    let ceiling = &host.tenant(&Tenant::new("acme").unwrap()).unwrap().limits;
    let limits = app(SHOP).workloads[1].effective_limits(ceiling);
    assert_eq!((limits.queue, limits.response_body_bytes), (3, Some(1 << 20)), "unbounded is over any ceiling");
    assert_eq!(limits.concurrency, Limits::serve().concurrency);

    let stranger = app(&SHOP.replace("acme", "stranger")).check(&host).unwrap_err().to_string();
    assert!(stranger.contains("`[tenant.stranger]` there would admit it"), "{stranger}");
}

/// Every limit can be written, and writing its default changes nothing.
#[test]
fn every_limit_reads_back_as_it_is_written() {
    let base = Limits::serve();
    for key in LimitOverrides::KEYS {
        let read = ["3", "\"3s\"", "\"3/s\""].into_iter().find_map(|value| {
            let text = format!("tenant.a.limits = {{ {key} = {value} }}");
            Host::parse(&text, Path::new("host.toml")).ok()
        });
        let limits = read.unwrap_or_else(|| panic!("{key} does not read")).tenants.into_values().next().unwrap().limits;
        assert_ne!(limits.apply(&base), base, "{key} changes nothing");
        let raised = LimitOverrides { positions: Vec::new(), ..limits.clone() };
        assert!(raised.check(&limits).is_empty(), "{key} is not over itself");
        assert!(limits.position(key).is_some());
    }
}

/// `text` below a sound head is refused with these problems and no others; each is written `line:column: message`.
#[track_caller]
fn refused(text: &str, problems: &[&str]) {
    let text = format!("app.name = \"a\"\n{text}");
    let found = App::parse(&text, Path::new("f")).map(|_| ()).unwrap_err().to_string();
    let wanted: Vec<_> = problems.iter().map(|problem| format!("f:{problem}")).collect();
    assert_eq!(found.lines().collect::<Vec<_>>(), wanted, "{text}");
}

/// The same for one workload's inside: `text` is line 4 of the file.
#[track_caller]
fn refused_workload(text: &str, problems: &[&str]) {
    refused(&format!("[workload.w]\nsource = \"w.wasm\"\n{text}"), problems);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    refused_workload(
        "limits.memmory = \"1MiB\"",
        &["4:8: unknown key `memmory` in [workload.w.limits]; did you mean `memory`?"],
    );
    refused("[workloads.w]", &["2:2: unknown key `workloads` in the file; did you mean `workload`?"]);
    refused(
        "[nonsense]",
        &["2:2: unknown key `nonsense` in the file; known keys: app, rollout, trust, workload, store, trigger"],
    );
    refused_workload(
        "memory = \"1MiB\"\nkv = []",
        &["4:1: `memory` belongs in [workload.w.limits]", "5:1: `kv` belongs in [workload.w.grants]"],
    );
}

#[test]
fn grants_of_stores_that_do_not_fit_say_what_would() {
    let declared = "`[store.x]` would declare it";
    refused_workload(
        "[workload.w.grants]\nblob = [\"x\", { store = \"x\", ops = [\"get\"] }]",
        &[
            &format!("5:9: `blob` in [workload.w.grants]: store `x` is not declared; {declared}"),
            "5:14: `blob` in [workload.w.grants]: store `x` is granted twice; put all its operations into one grant",
            &format!("5:14: `blob` in [workload.w.grants]: store `x` is not declared; {declared}"),
            "5:36: `ops` in [workload.w.grants.blob]: `get` is not an operation of a blob store; known operations: read, write, delete, list, container",
        ],
    );
    refused_workload(
        "grants.sql = [{ store = \"x\", named_only = true }]",
        &[
            &format!("4:15: `sql` in [workload.w.grants]: store `x` is not declared; {declared}"),
            "4:43: `named_only` in [workload.w.grants.sql]: there are no named statements, so that nothing is granted; add `statements`",
        ],
    );
    refused_workload(
        "grants.messaging = { publish = [\"a b\"], store = \"x\" }",
        &[
            "4:33: `publish` in [workload.w.grants.messaging]: `a b` is not a subject: it has a space or a control character; write `orders.created`, `orders.*` or `orders.>`",
            &format!("4:49: `store` in [workload.w.grants.messaging]: store `x` is not declared; {declared}"),
        ],
    );
    refused_workload(
        "grants.secrets = { KEY = \"hunter2\" }",
        &[
            "4:26: `KEY` in [workload.w.grants.secrets]: this does not say where to read; write `env:NAME`, `file:./path` or `dir:./path`",
        ],
    );
}

#[test]
fn triggers_without_a_client_say_what_starts_them() {
    let app = app(r#"
        app.name = "shop"
        workload.w.source = "w.wasm"
        store.carts.provider = "memory"
        trigger = [
            { every = "30s", fn = "w", operation = "reindex" },
            { cron = "0 3 * * *", time_zone = "Europe/Berlin", overlap = 2, fn = "w" },
            { subject = "orders.*", group = "w", acknowledge = true, tries = 3, dead_letter = "dead.orders", fn = "w" },
            { watch = { store = "carts", prefix = "eu/" }, fn = "w" },
        ]
    "#);
    let [every, cron, subject, watch] = &app.events[..] else { panic!("{:?}", app.events) };
    let interval = Duration::from_secs(30);
    assert_eq!(every.starts, Starts::Every { interval, overlap: Overlap::Skip });
    assert_eq!(every.operation.as_deref(), Some("reindex"));
    assert!(matches!(&cron.starts, Starts::Cron { overlap: Overlap::Allow(2), time_zone: Some(_), .. }));
    assert_eq!(
        (subject.store(), watch.store(), cron.store()),
        (Some((Capability::Messaging, "default")), Some((Capability::Kv, "carts")), None)
    );
    refused_workload(
        "[[trigger]]\nevery = \"30s\"\nsubject = \"a b\"\noverlap = \"never\"\nfn = \"w\"\n[[trigger]]\nwatch = \"cats\"\nfn = \"w\"",
        &[
            "6:11: `subject` in [[trigger]]: `a b` is not a subject: it has a space or a control character; write `orders.created`, `orders.*` or `orders.>`",
            "6:11: `subject` in [[trigger]]: this trigger has something else that starts it already; write one [[trigger]] for each",
            "7:11: `overlap` in [[trigger]]: `never` is no overlap; write `skip`, `queue`, or how many may run at once",
            "10:9: `watch` in [[trigger]]: store `cats` is not declared; `[store.cats]` would declare it",
        ],
    );
}

#[test]
fn what_comes_later_is_refused_by_name() {
    refused_workload(
        "source2 = 1\nupdate = \"poll:30s\"\ncompile = \"fast\"",
        &[
            "4:1: unknown key `source2` in [workload.w]; did you mean `source`?",
            "5:10: `update` in [workload.w]: only a tag (`oci://registry.example/name:tag`) can move; remove it, or name a tag as the source",
            "6:11: `compile` in [workload.w]: `fast` is no way to compile; write `optimized` or `tiered`",
        ],
    );
    refused("[[trigger]]\nsteps = []", &["3:1: pipelines (`steps`) are not in this version yet; remove it"]);
    refused("[[proxy]]\nlisten = 1", &["2:3: data planes (`[[proxy]]`) are not in this version yet; remove it"]);
}

#[test]
fn tls_has_certificates_and_perhaps_authorities() {
    let mut host = host(
        r#"
        [listen]
        https = "0.0.0.0:443"
        [tls]
        certificate = "tls/cert.pem"
        key = "tls/key.pem"
        client_ca = "/etc/clients.pem"
        min_version = "1.3"
        redirect = true
        redirect_port = 443
        [[tls.also]]
        certificate = "other.pem"
        key = "other.key"
        "#,
    );
    host.resolve_paths(Path::new("/srv"));
    let tls = host.tls.unwrap();
    let files = |chain: &str, key: &str| CertificateFiles { chain: chain.into(), key: key.into() };
    assert_eq!(
        tls.certificates,
        [files("/srv/tls/cert.pem", "/srv/tls/key.pem"), files("/srv/other.pem", "/srv/other.key")]
    );
    // Whoever names authorities means it.
    assert_eq!(tls.clients, Some(ClientCertificates { authorities: "/etc/clients.pem".into(), required: true }));
    assert_eq!((tls.only_13, tls.redirect, tls.redirect_port), (true, true, Some(443)));
    assert_eq!(host.listen_https, Some("0.0.0.0:443".parse().unwrap()));
}

#[test]
fn tls_that_is_half_said_is_refused() {
    let refused = |text: &str, message: &str| {
        let errors = Host::parse(text, Path::new("h")).unwrap_err().to_string();
        assert_eq!(errors, message, "{text}");
    };
    refused(
        "listen.https = \"[::1]:1\"",
        "h:1:16: `https` in [listen]: there is no certificate to serve it with; write `[tls]`",
    );
    refused("tls.certificate = \"c\"", "h:1:1: [tls] has no `key`; write `key = \"tls/key.pem\"`");
    let pair = "tls.certificate = \"c\"\ntls.key = \"k\"\n";
    refused(
        &format!("{pair}tls.client_auth = \"optional\""),
        "h:3:19: `client_auth` in [tls]: nobody could be checked; write `client_ca = \"tls/clients.pem\"` too",
    );
    refused(
        &format!("{pair}tls.client_ca = \"a\"\ntls.client_auth = \"maybe\""),
        "h:4:19: `client_auth` in [tls]: `maybe` is not known; write `require` or `optional`",
    );
    refused(
        &format!("{pair}tls.min_version = \"1.1\""),
        "h:3:19: `min_version` in [tls]: `1.1` is not a version of TLS that is served; write `1.2` or `1.3`",
    );
    refused(
        &format!("{pair}tls.redirect_port = 443"),
        "h:3:21: `redirect_port` in [tls]: nobody is sent there; write `redirect = true` too",
    );
}

#[test]
fn values_that_do_not_parse_name_their_key_and_the_fix() {
    for (text, problem) in [
        (
            "limits.memory = \"64 lightyears\"",
            "4:17: `memory` in [workload.w.limits]: `64 lightyears` is not a size; write `64MiB`, `512KiB` or a number of bytes",
        ),
        (
            "limits.deadline = 5",
            "4:19: `deadline` in [workload.w.limits]: `5` is not a duration; write `50ms`, `2s` or `1m`",
        ),
        (
            "limits.queue = -1",
            "4:16: `queue` in [workload.w.limits]: `-1` is out of range; write a whole number of at most 32 bits, not negative",
        ),
        (
            "limits.queue = 4294967296",
            "4:16: `queue` in [workload.w.limits]: `4294967296` is out of range; write a whole number of at most 32 bits, not negative",
        ),
        (
            "limits.headers = \"5GiB\"",
            "4:18: `headers` in [workload.w.limits]: `5GiB` is over 4GiB; write a smaller size",
        ),
        (
            "limits.cpu = true",
            "4:14: `cpu` in [workload.w.limits]: this is true or false; write a quantity in quotes, such as `\"64MiB\"` or `\"50ms\"`",
        ),
        (
            "limits = 3",
            "4:10: `limits` in [workload.w]: this is a whole number; write a table, such as `limits = { memory = \"64MiB\" }`",
        ),
        (
            "features = [\"gcc\"]",
            "4:13: `features` in [workload.w]: `gcc` is not a feature that must be declared; those are gc, exceptions, memory64; did you mean `gc`?",
        ),
        ("strict = \"yes\"", "4:10: `strict` in [workload.w]: this is text; write `true` or `false`"),
        ("reuse = 1.5", "4:9: `reuse` in [workload.w]: this is a fraction; write a whole number, such as `16`"),
        ("args = \"x\"", "4:8: `args` in [workload.w]: this is text; write a list, such as `args = [\"--verbose\"]`"),
        ("contract = \"\"", "4:12: `contract` in [workload.w]: this is empty; write something like `auto`"),
        (
            "update = \"always\"",
            "4:10: `update` in [workload.w]: `always` is not known; write `never`, or `poll:30s` to follow a tag",
        ),
        (
            "grants.log = \"64KiB\"",
            "4:14: `log` in [workload.w.grants]: `64KiB` is not a rate; write `64KiB/s` or `500/s`",
        ),
        (
            "grants.env = { A = 1 }",
            "4:20: `A` in [workload.w.grants.env]: this is a whole number; write text in quotes",
        ),
        (
            "grants.env = { \"A=B\" = \"1\" }",
            "4:24: `A=B` in [workload.w.grants.env]: this is not a name that a guest could ask for; use letters, digits and `_`",
        ),
        (
            "grants.config = [\"x.toml\"]",
            "4:18: `config` in [workload.w.grants]: this does not say where to read; write `env:NAME`, `file:./path` or `dir:./path`",
        ),
        (
            "grants.config = [\"env:A_\", \"env:A_\"]",
            "4:28: `config` in [workload.w.grants]: this is listed twice; remove one",
        ),
        (
            "grants.clock = { resolution = \"1ms\", jitter = \"2ms\" }",
            "4:47: `jitter` in [workload.w.grants.clock]: this is over the resolution; write `1ms` at most",
        ),
        (
            "grants.random = false",
            "4:17: `random` in [workload.w.grants]: no guest starts without random numbers; write `true`, or leave it out",
        ),
        (
            "grants.http = { allow = [\"https://a.b\"], headers = { \"https://a.c\" = { x = \"1\" } } }",
            "4:70: `https://a.c` in [workload.w.grants.http.headers]: `allow` does not have this origin, so that no request goes there; add it",
        ),
        (
            "grants.http = { allow = [\"https://a.b\"], headers = { \"https://a.b\" = { Host = \"1\" } } }",
            "4:79: `Host` in [workload.w.grants.http.headers.\"https://a.b\"]: `Host` belongs to the connection or to the body, and is not added; remove it",
        ),
        (
            "grants.http = { allow = [\"https://a.b\"], headers = { \"https://a.b\" = { authorization = \"Bearer hunter2\" } } }",
            "4:88: `authorization` in [workload.w.grants.http.headers.\"https://a.b\"]: a credential does not belong in a manifest; write `secret:NAME`, `env:NAME` or `file:./path`, within text as `Bearer ${env:NAME}`",
        ),
        (
            "grants.http = { allow = [\"https://a.b\"], headers = { \"https://a.b\" = { x = \"1\", X = \"2\" } } }",
            "4:85: `X` in [workload.w.grants.http.headers.\"https://a.b\"]: this header is added twice to the same origin; remove one",
        ),
        (
            "grants.http = { allow = [\"https://a.b\"], retries = 6 }",
            "4:52: `retries` in [workload.w.grants.http]: `6` is out of range; write a whole number of at most 5",
        ),
        (
            "grants.http = { allow = [\"https://a.b\"], timeouts.total = \"0s\" }",
            "4:59: `total` in [workload.w.grants.http.timeouts]: no request is done in no time; write `5s`, or leave it out",
        ),
        (
            "grants.http = { allow = [\"https://a.b\"], pool.connections = 0 }",
            "4:61: `connections` in [workload.w.grants.http.pool]: without a connection there is no request; write `1` or more",
        ),
        (
            "grants.net = { connect = [\"db:1\", \"db:1\"] }",
            "4:35: `connect` in [workload.w.grants.net]: this is listed twice; remove one",
        ),
        (
            "grants.fs = [{ host = \"a\", guest = \"b\" }]",
            "4:36: `guest` in [workload.w.grants.fs]: `b` is not a folder of the guest; write it from its root, such as `/` or `/data`",
        ),
        ("grants.fs = [{ host = \"a\" }]", "4:14: [workload.w.grants.fs] has no `guest`; write `guest = \"/\"`"),
        ("grants.http = {}", "4:8: [workload.w.grants.http] has no `allow`; write `allow = [\"https://api.example\"]`"),
        (
            "settings = 1",
            "4:12: `settings` in [workload.w]: this is a whole number; write a table, such as `settings = {}`",
        ),
    ] {
        refused_workload(text, &[problem]);
    }
    for (text, part) in [
        ("grants.http = [\"api.example\"]", "4:16: `http` in [workload.w.grants]: `api.example` is not an origin"),
        ("grants.net.connect = [\"db\"]", "4:23: `connect` in [workload.w.grants.net]: `db` is not an address"),
        ("settings = { big = 99999999999999999999 }", "4:12: `settings` in [workload.w]: "),
    ] {
        let text = format!("app.name = \"a\"\n[workload.w]\nsource = \"w.wasm\"\n{text}");
        let error = App::parse(&text, Path::new("f")).unwrap_err().to_string();
        assert!(error.starts_with(&format!("f:{part}")), "{error}");
    }
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    refused("workload.w.strict = true", &["2:10: [workload.w] has no `source`; write `source = \"./guest.wasm\"`"]);
    refused(
        "workload.w.source = \"ftp://x\"",
        &[
            "2:21: `source` in [workload.w]: no source has the scheme `ftp://`; write a path, or `oci://registry.example/name:tag`",
        ],
    );
    refused_workload(
        "grants.kv = [\"cart\"]\n[store.carts]\nprovider = \"memory\"",
        &[
            "4:14: `kv` in [workload.w.grants]: store `cart` is not declared; `[store.cart]` would declare it; did you mean `carts`?",
        ],
    );
    refused_workload(
        "[[trigger]]\nhttp = { path = \"/a\" }\nfn = \"w\"\nreply = {}\n[[trigger]]\nevery = \"1s\"\nreply = {}\n\
         [[trigger]]\nhttp = { path = \"/b\" }\nreply = { status = 101, headers = { \"content-length\" = \"1\", \"a b\" = \"\" } }",
        &[
            "7:9: `reply` in [[trigger]]: this trigger has a workload that answers; remove `fn` or this",
            "10:9: `reply` in [[trigger]]: only requests are replied to; write `http = { path = \"/\" }`",
            "13:20: `status` in [trigger.reply]: this is no status of a reply; write one from 200 to 599",
            "13:56: `content-length` in [trigger.reply.headers]: this depends on how it is sent; remove it",
            "13:69: `a b` in [trigger.reply.headers]: this is not the name of a header",
        ],
    );
    refused_workload(
        "[store.s]\nprovider = \"workload:x\"",
        &["4:1: `s` in [store]: there is no workload `x` that could be this store; `[workload.x]` would be one"],
    );
    refused_workload(
        "grants.kv = [\"s\"]\n[store.s]\nprovider = \"workload:v\"\n[store.t]\nprovider = \"workload:w\"\n\
         [workload.v]\nsource = \"./v.wasm\"\ngrants.kv = [\"t\"]",
        &[
            "5:1: `s` in [store]: workload `v` is this store, and uses it itself by its store `t`; give it a store that leads elsewhere",
            "7:1: `t` in [store]: workload `w` is this store, and uses it itself by its store `s`; give it a store that leads elsewhere",
        ],
    );
    refused_workload(
        "[store.s]\nprovider = \"workload:w\"\n[[trigger]]\nhttp = { path = \"/\" }\nfn = \"w\"",
        &[
            "4:1: `s` in [store]: workload `w` is this store, and a trigger starts it too; name the same source in a workload of its own",
        ],
    );
    refused_workload(
        "grants.kv = [\"s\", { store = \"s\", ops = [\"get\"] }]\n[store.s]\nprovider = \"memory\"",
        &["4:19: `kv` in [workload.w.grants]: store `s` is granted twice; put all its operations into one grant"],
    );
    refused_workload(
        "grants.log = \"1/s\"\nlimits.log = \"1/s\"",
        &["4:14: `log` in [workload.w.grants]: `log` is set in the limits too; remove one"],
    );
    refused_workload(
        "[[trigger]]\nhttp.path = \"/\"\nfn = \"v\"",
        &["6:6: `fn` in [[trigger]]: no workload `v` in this app; `[workload.v]` would declare it"],
    );
    refused_workload(
        "[[trigger]]\nhttp = { path = \"/a/:x\" }\nfn = \"w\"\n[[trigger]]\nhttp = { path = \"/a/:y\" }\nfn = \"w\"",
        &["8:8: `http` in [[trigger]]: route `/a/:y` takes the same requests as `/a/:x` in line 4; remove one"],
    );
    refused(
        "[[trigger]]",
        &[
            "2:1: [[trigger]] has nothing that starts it; write `http = { path = \"/\" }`",
            "2:1: [[trigger]] names no workload; write `fn = \"NAME\"`",
        ],
    );
    refused(
        "[workload.\"a b\"]\nsource = \"x\"",
        &[
            "2:1: `a b` in [workload]: `a b` is not a name: use 1 to 63 of a-z, A-Z, 0-9, `-`, `_` and `.`, starting with a letter or digit",
        ],
    );
    refused(
        "[workload.w]\nsource = \"a\"\n[workload.w]\nargs = []",
        &["4:11: duplicate key at `w`; remove one or rename it"],
    );
    refused(
        "[[workload]]\nsource = \"a\"",
        &["2:1: `workload` in the file: this is a list; write a table, such as `[workload.NAME]`"],
    );
    let nameless = App::parse("", Path::new("f")).unwrap_err().to_string();
    assert_eq!(nameless, "f:1:1: the file has no `app`; write `[app]`");
}

#[test]
fn routes_of_triggers_are_checked() {
    for (http, problem) in [
        ("host = \"a.test:80\", path = \"/\"", "`host` in [trigger.http]: `a.test:80` is not a host"),
        ("host = \"*.test\", path = \"/\"", "wildcards are not hosts"),
        ("methods = [\"get\"], path = \"/\"", "`get` is not a method; write `GET`"),
        ("methods = [\"GET\", \"GET\"], path = \"/\"", "this is listed twice; remove one"),
        ("path = \"cart\"", "`cart` is not a path: it must start with `/`; write `/cart`"),
        ("method = \"GET\", path = \"/\"", "unknown key `method` in [trigger.http]; did you mean `methods`?"),
        ("host = \"a\"", "[trigger.http] has no `path`"),
    ] {
        let text = format!("app.name = \"a\"\nworkload.w.source = \"w\"\n[[trigger]]\nfn = \"w\"\nhttp = {{ {http} }}");
        let error = App::parse(&text, Path::new("f")).unwrap_err().to_string();
        assert!(error.starts_with("f:5:") && error.contains(problem) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn text_that_is_not_toml_says_where() {
    for (text, place) in [("a = ", "f:1:"), ("\n\n[app\n", "f:3:"), ("x = \"\u{7}\"", "f:1:"), ("é = = 1", "f:1:")] {
        let error = App::parse(text, Path::new("f")).unwrap_err().to_string();
        assert!(error.starts_with(place) && !error.contains('\u{7}'), "{error}");
    }
    let huge = "#".repeat(MAX_MANIFEST_BYTES + 1);
    let error = App::parse(&huge, Path::new("f")).unwrap_err().to_string();
    assert_eq!(error, "f:1:1: the file is over 1MiB; split it into several apps");
    let many: String = (0..10 * MAX_PROBLEMS).map(|n| format!("k{n} = 1\n")).collect();
    assert_eq!(App::parse(&many, Path::new("f")).unwrap_err().problems.len(), MAX_PROBLEMS);
    let long = format!("\"{}\\u001b[31m\" = 1", "k".repeat(10_000));
    let error = App::parse(&long, Path::new("f")).unwrap_err().to_string();
    assert!(error.len() < 2_000 && !error.contains('\u{1b}'), "{error}");
}

/// Nothing that is compared with everything else grows without a bound.
#[test]
fn long_lists_are_refused() {
    let names: String = (0..=MAX_ELEMENTS).map(|n| format!("w{n}.source = \"w\"\n")).collect();
    refused(&format!("[workload]\n{names}"), &["2:2: [workload] has 1001 names; write at most 1000"]);
    let args = vec!["\"x\""; MAX_ELEMENTS + 1].join(",");
    refused_workload(
        &format!("args = [{args}]"),
        &["4:8: `args` in [workload.w]: this has 1001 elements; write at most 1000"],
    );
    let methods: Vec<_> = (0..33).map(|n| format!("\"M{n}\"")).collect();
    refused_workload(
        &format!("[[trigger]]\nfn = \"w\"\nhttp = {{ path = \"/\", methods = [{}] }}", methods.join(",")),
        &["6:32: `methods` in [trigger.http]: this has 33 methods; leave it out to take any"],
    );
}

/// Any bytes get an answer. Mutations of a sound file go deeper than noise would.
#[test]
fn no_text_panics() {
    let host = "[listen]\nhttp = \"127.0.0.1:80\"\n[engine]\nwasi03 = true\n[tenant.a]\nrate = \"5/s\"\nlimits = { cpu = \"1s\" }";
    let tokens: [&[u8]; 12] =
        [b"[", b"]]", b"{", b"}", b"\"", b"=", b"\n", b"'''", b"-9", b"1e9", b"\xff", "é\u{0}".as_bytes()];
    let mut random = crate::hammer::Random::new(5);
    for round in 0..4000 {
        let mut bytes = if round % 4 == 0 { host.as_bytes().to_vec() } else { SHOP.as_bytes().to_vec() };
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() + 1);
            let end = (at + random.below(12)).min(bytes.len());
            match random.below(4) {
                0 => drop(bytes.drain(at..end)),
                1 => bytes.truncate(at.max(1)),
                2 => drop(bytes.splice(at..end, tokens[random.below(tokens.len())].iter().copied())),
                _ => {
                    let copy = bytes[at..end].to_vec();
                    let to = random.below(bytes.len() + 1);
                    bytes.splice(to..to, copy);
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        for errors in [App::parse(&text, Path::new("f")).err(), Host::parse(&text, Path::new("f")).err()] {
            let Some(errors) = errors else { continue };
            assert!(!errors.problems.is_empty(), "{text}");
            assert!(errors.problems.iter().all(|p| p.position.line > 0 && p.position.column > 0), "{errors}");
        }
    }
}

#[test]
fn a_workload_may_be_a_folder() {
    let mut app = app(r#"
        app.name = "a"
        [workload.page]
        files = "./public"
        cache_control = "public, max-age=60"
        headers = { x-frame-options = "DENY" }
        dotfiles = true
        not_found = "errors/404.html"
        limits = { concurrency = 8 }
        [workload.plain]
        files = "/srv/www"
        [[trigger]]
        http.path = "/*rest"
        fn = "page"
        "#);
    app.resolve_paths(Path::new("/apps"));
    let [page, plain] = &app.folders[..] else { panic!("{:?}", app.folders) };
    assert_eq!((page.name.as_str(), page.path.as_path(), page.line), ("page", Path::new("/apps/./public"), 3));
    assert_eq!(page.cache_control.as_ref().unwrap(), "public, max-age=60");
    assert_eq!(page.headers, [("x-frame-options".parse().unwrap(), "DENY".parse().unwrap())]);
    assert_eq!((page.dotfiles, page.not_found.as_str()), (true, "errors/404.html"));
    let limits = |folder: &Folder| folder.effective_limits(&LimitOverrides::default());
    assert_eq!((limits(page).concurrency, limits(plain).concurrency), (8, 1024));
    assert_eq!(
        (plain.dotfiles, plain.not_found.as_str(), plain.path.as_path()),
        (false, "404.html", Path::new("/srv/www"))
    );
    assert!(app.workloads.is_empty());
    let ceiling = host("tenant.default.limits.concurrency = 4");
    let over = app.check(&ceiling).unwrap_err().to_string();
    assert!(over.contains("`concurrency` of workload `page`: `8` is over the ceiling of `4`"), "{over}");
}

#[test]
fn what_bounds_guests_or_is_known_of_each_file_is_no_setting_of_a_folder() {
    let refused = |line: &str, problem: &str| {
        let text = format!("app.name = \"a\"\n[workload.w]\nfiles = \".\"\n{line}\n");
        let errors = App::parse(&text, Path::new("m")).unwrap_err().to_string();
        assert!(errors.starts_with(problem), "{line}: {errors}");
    };
    refused(
        "source = \"a.wasm\"",
        "m:4:1: unknown key `source` in [workload.w]; known keys: files, cache_control, headers,",
    );
    refused("grants = {}", "m:4:1: unknown key `grants` in [workload.w]");
    refused("limits = { cpu = \"1s\" }", "m:4:10: `limits` in [workload.w]: `cpu` bounds guests, and files are none");
    refused("headers = { etag = \"x\" }", "m:4:20: `etag` in [workload.w.headers]: this depends on the file");
    refused("headers = { \"a b\" = \"x\" }", "m:4:21: `a b` in [workload.w.headers]: this is not the name of a header");
    refused("headers = { a = \"\\u0000\" }", "m:4:17: `a` in [workload.w.headers]: this is not the value");
    refused("headers = { cache-control = \"x\" }", "m:4:29: `cache-control` in [workload.w.headers]: write it as");
    refused(
        "not_found = \"../secret\"",
        "m:4:13: `not_found` in [workload.w]: `../secret` is not a file below the folder",
    );
}

#[test]
fn http2_has_bounds_of_its_own() {
    let settings = host("[http2]\nstreams = 100\nstream_window = \"1MiB\"\nping_interval = \"10s\"").http.http2;
    let expected = Http2Settings {
        streams: 100,
        stream_window: 1 << 20,
        ping_interval: Duration::from_secs(10),
        ..Http2Settings::default()
    };
    assert_eq!(settings, expected);
    let refused = |line: &str, problem: &str| {
        let errors = Host::parse(&format!("[http2]\n{line}"), Path::new("h")).unwrap_err().to_string();
        assert!(errors.starts_with(problem), "{line}: {errors}");
    };
    refused("streams = 0", "h:2:11: `streams` in [http2]: nothing would be left to serve with");
    refused("connection_window = \"1KiB\"", "h:2:21: `connection_window` in [http2]: `1KiB` is no window of HTTP/2");
    refused("stream_window = \"4GiB\"", "h:2:17: `stream_window` in [http2]: `4GiB` is no window of HTTP/2");
    refused("ping_timeout = \"0s\"", "h:2:16: `ping_timeout` in [http2]: no client is that fast");
}
