//! Applications of wasmCloud, key by key.

use super::{Row, check, check_covered, read};

/// Every key of an application, of its traits and of the providers that something here stands in for.
const SCHEMA: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata.name",
    "metadata.annotations",
    "metadata.labels",
    "spec.policies",
    "spec.components[].name",
    "spec.components[].type",
    "properties.image",
    "properties.id",
    "properties.application",
    "properties.config",
    "properties.secrets",
    "traits[].spreadscaler.instances",
    "traits[].spreadscaler.replicas",
    "traits[].spreadscaler.spread",
    "traits[].daemonscaler",
    "traits[].type",
    "link.namespace",
    "link.package",
    "link.interfaces",
    "link.name",
    "link.source.config",
    "link.source.secrets",
    "link.source_config",
    "link.target",
    "link.target.name",
    "link.target.config",
    "link.target.secrets",
    "link.target_config",
    "link.values",
    "http-server.address",
    "http-server.port",
    "http-server.default_address",
    "http-server.routing_mode",
    "http-server.path",
    "http-server.host",
    "http-server.timeout_ms",
    "http-server.readonly_mode",
    "http-server.cache_control",
    "http-server.cors",
    "http-server.tls",
    "http-server.config_json",
    "http-client",
    "keyvalue-redis.url",
    "keyvalue-nats.bucket",
    "keyvalue-nats.cluster_uri",
    "keyvalue-nats.credentials",
    "keyvalue-nats.js_domain",
    "messaging-nats.subscriptions",
    "messaging-nats.cluster_uris",
    "messaging-nats.consumers",
    "blobstore-fs.root",
    "blobstore-s3.config_json",
    "blobstore-s3.alias",
    "blobstore-s3.bucket_region",
    "blobstore-nats",
    "sqldb-postgres",
];

/// Every input begins with this, and goes on within `components`.
const HEAD: &str =
    "apiVersion: core.oam.dev/v1beta1\nkind: Application\nmetadata: { name: shop }\nspec:\n  components:\n";

const GUEST: &str = "  - { name: cart, type: component, properties: { image: r.example/cart:1 } }\n";

const ROWS: &[Row] = &[
    Row {
        keys: &[
            "apiVersion",
            "kind",
            "metadata.name",
            "spec.components[].name",
            "spec.components[].type",
            "properties.image",
        ],
        input: "  - { name: cart, type: component, properties: { image: r.example/cart:1 } }\n  - { name: old one, type: actor, properties: { image: 'file://./build/old.wasm' } }\n  - { name: odd, type: service, properties: { image: x } }\n",
        lines: &[
            "# Made by `samara convert` from a wasmCloud application.",
            "name = \"shop\"",
            "[workload.cart]",
            "source = \"oci://r.example/cart:1\"",
            "[workload.old-one]",
            "source = \"./build/old.wasm\"",
        ],
        notes: &[
            ("changed", "spec.components[1]", "it is `old-one` here"),
            ("lost", "spec.components[2]", "of the type `service`"),
        ],
    },
    Row {
        keys: &["properties.id", "properties.application"],
        input: "  - { name: cart, type: component, properties: { id: cart-1, image: r.example/cart:1 } }\n  - { name: lent, type: component, properties: { application: { name: other, component: lent } } }\n",
        lines: &["[workload.cart]"],
        notes: &[
            ("info", "spec.components[0].properties.id", "there is none here"),
            ("lost", "spec.components[1].properties.application", "name the artifact here too"),
            ("lost", "spec.components[1]", "no `image`"),
        ],
    },
    Row {
        keys: &["properties.config", "properties.secrets"],
        input: "  - name: cart\n    type: component\n    properties:\n      image: r.example/cart:1\n      config: [{ name: a, properties: { level: debug, port: 8080 } }, { name: b }]\n      secrets: [{ name: api-key, properties: { policy: vault, key: shop/api, field: key, version: 2 } }]\n",
        lines: &["config.level = \"debug\"", "config.port = \"8080\"", "secrets.api-key = \"env:API_KEY\""],
        notes: &[
            ("lost", "spec.components[0].properties.config[1]", "kept in the lattice"),
            (
                "changed",
                "spec.components[0].properties.secrets[0]",
                "(policy `vault`, key `shop/api`, field `key`, version `2`); here it is read from the environment variable `API_KEY`",
            ),
        ],
    },
    Row {
        keys: &[
            "traits[].spreadscaler.instances",
            "traits[].spreadscaler.replicas",
            "traits[].spreadscaler.spread",
            "traits[].daemonscaler",
            "traits[].type",
        ],
        input: "  - name: cart\n    type: component\n    properties: { image: r.example/cart:1 }\n    traits:\n    - { type: spreadscaler, properties: { instances: 5, spread: [{ name: east, requirements: { zone: a }, weight: 1 }] } }\n    - { type: custom, properties: {} }\n  - name: stock\n    type: component\n    properties: { image: r.example/stock:1 }\n    traits: [{ type: daemonscaler, properties: { replicas: 7 } }]\n",
        lines: &["concurrency = 5", "concurrency = 7"],
        notes: &[
            ("lost", "spec.components[0].traits[0].properties.spread", "on which hosts it runs"),
            ("lost", "spec.components[0].traits[1]", "a trait of the type `custom`"),
        ],
    },
    Row {
        keys: &[
            "link.namespace",
            "link.package",
            "link.interfaces",
            "link.target",
            "link.target.name",
            "link.source.config",
            "http-server.address",
        ],
        input: "  - { name: cart, type: component, properties: { image: r.example/cart:1 } }\n  - name: web\n    type: capability\n    properties: { image: 'ghcr.example/http-server:0.23.0' }\n    traits:\n    - type: link\n      properties: { namespace: wasi, package: http, interfaces: [incoming-handler], target: { name: cart }, source: { config: [{ name: c, properties: { address: '0.0.0.0:8000' } }] } }\n",
        lines: &["[[trigger]]", "http = { path = \"/*rest\" }", "fn = \"cart\""],
        notes: &[("changed", "spec.components[1].traits[0]", "`samara serve --listen 0.0.0.0:8000`")],
    },
    Row {
        keys: &[
            "link.source_config",
            "link.values",
            "http-server.port",
            "http-server.timeout_ms",
            "http-server.readonly_mode",
            "http-server.cache_control",
            "http-server.cors",
            "http-server.tls",
            "http-server.config_json",
        ],
        input: "  - { name: cart, type: component, properties: { image: r.example/cart:1 } }\n  - name: web\n    type: capability\n    properties: { image: 'ghcr.example/http-server:0.23.0' }\n    traits:\n    - type: link\n      properties:\n        namespace: wasi\n        package: http\n        interfaces: [incoming-handler]\n        target: cart\n        values: { port: 8080 }\n        source_config:\n        - { name: c, properties: { timeout_ms: 500, readonly_mode: true, cache_control: none, cors_allowed_origins: '[]', cors_max_age_secs: 3, tls_cert_file: c.pem, config_json: '{}', made_up: 1 } }\n",
        lines: &["deadline = \"500ms\"", "http = { methods = [\"GET\", \"HEAD\"], path = \"/*rest\" }"],
        notes: &[
            ("changed", "spec.components[1].traits[0]", "`samara serve --listen 127.0.0.1:8080`"),
            (
                "lost",
                "spec.components[1].traits[0].properties.source_config[0].properties.cache_control",
                "sets its own headers",
            ),
            (
                "lost",
                "spec.components[1].traits[0].properties.source_config[0].properties.cors_allowed_origins",
                "answers such requests itself",
            ),
            (
                "lost",
                "spec.components[1].traits[0].properties.source_config[0].properties.cors_max_age_secs",
                "answers such requests itself",
            ),
            ("lost", "spec.components[1].traits[0].properties.source_config[0].properties.tls_cert_file", "--tls-cert"),
            ("lost", "spec.components[1].traits[0].properties.source_config[0].properties.config_json", "one by one"),
            (
                "lost",
                "spec.components[1].traits[0].properties.source_config[0].properties.made_up",
                "nothing here has such a setting",
            ),
        ],
    },
    Row {
        keys: &["http-server.default_address", "http-server.routing_mode", "http-server.path", "http-server.host"],
        input: "  - { name: cart, type: component, properties: { image: r.example/cart:1 } }\n  - name: by-path\n    type: capability\n    properties: { image: 'ghcr.example/http-server:0.23.0', config: [{ name: c, properties: { routing_mode: path, default_address: '0.0.0.0:80' } }] }\n    traits:\n    - type: link\n      properties: { namespace: wasi, package: http, interfaces: [incoming-handler], target: { name: cart }, source: { config: [{ name: c, properties: { path: /cart } }] } }\n  - name: by-host\n    type: capability\n    properties: { image: 'ghcr.example/http-server:0.23.0', config: [{ name: c, properties: { routing_mode: host } }] }\n    traits:\n    - type: link\n      properties: { namespace: wasi, package: http, interfaces: [incoming-handler], target: { name: cart }, source: { config: [{ name: c, properties: { host: 'shop.example:8000' } }] } }\n",
        lines: &["http = { path = \"/cart\" }", "http = { host = \"shop.example\", path = \"/*rest\" }"],
        notes: &[("changed", "spec.components[1].traits[0]", "`samara serve --listen 0.0.0.0:80`")],
    },
    Row {
        keys: &["link.name", "link.target.config", "keyvalue-redis.url"],
        input: "  - name: cart\n    type: component\n    properties: { image: r.example/cart:1 }\n    traits:\n    - type: link\n      properties: { namespace: wasi, package: keyvalue, interfaces: [store, atomics], name: carts, target: { name: kv, config: [{ name: c, properties: { url: 'redis://u:hunter2@r.example:6379/' } }] } }\n  - { name: kv, type: capability, properties: { image: 'ghcr.example/keyvalue-redis:0.28.0' } }\n",
        lines: &[
            "kv = [\"carts\"]",
            "[store.carts]",
            "provider = \"redis://u@r.example:6379\"",
            "settings = { password = \"env:CARTS_PASSWORD\" }",
        ],
        notes: &[("changed", "spec.components[0].traits[0]", "set `CARTS_PASSWORD`")],
    },
    Row {
        keys: &[
            "link.target_config",
            "keyvalue-nats.bucket",
            "keyvalue-nats.cluster_uri",
            "keyvalue-nats.credentials",
            "keyvalue-nats.js_domain",
        ],
        input: "  - name: cart\n    type: component\n    properties: { image: r.example/cart:1 }\n    traits:\n    - type: link\n      properties: { namespace: wasi, package: keyvalue, interfaces: [store], target: kv, target_config: [{ name: c, properties: { bucket: b, cluster_uri: 'nats://n.example', client_jwt: hunter2, tls_ca_file: ca.pem, js_domain: d, enable_bucket_auto_create: 'true' } }] }\n  - { name: kv, type: capability, properties: { image: 'ghcr.example/keyvalue-nats:0.3.1' } }\n",
        lines: &["kv = [\"default\"]", "provider = \"nats://n.example\""],
        notes: &[
            (
                "lost",
                "spec.components[0].traits[0].properties.target_config[0].properties.bucket",
                "what is in this one is not seen",
            ),
            ("lost", "spec.components[0].traits[0].properties.target_config[0].properties.client_jwt", "user.creds"),
            ("lost", "spec.components[0].traits[0].properties.target_config[0].properties.tls_ca_file", "ca.pem"),
            ("lost", "spec.components[0].traits[0].properties.target_config[0].properties.js_domain", "default domain"),
        ],
    },
    Row {
        keys: &["messaging-nats.cluster_uris", "messaging-nats.consumers"],
        input: "  - name: cart\n    type: component\n    properties: { image: r.example/cart:1 }\n    traits:\n    - type: link\n      properties: { namespace: wasmcloud, package: messaging, interfaces: [consumer], target: { name: bus, config: [{ name: c, properties: { cluster_uris: '0.0.0.0:4222, n2.example', consumers: '[]' } }] } }\n  - { name: bus, type: capability, properties: { image: 'ghcr.example/messaging-nats:0.27.0' } }\n",
        lines: &["messaging = { store = \"bus\", publish = [\">\"] }", "provider = \"nats://127.0.0.1:4222\""],
        notes: &[
            ("lost", "spec.components[0].traits[0]", "names one server"),
            ("changed", "spec.components[0].traits[0]", "publish to every subject"),
            ("lost", "spec.components[0].traits[0].properties.target.config[0].properties.consumers", "[[trigger]]"),
        ],
    },
    Row {
        keys: &["messaging-nats.subscriptions"],
        input: "  - { name: cart, type: component, properties: { image: r.example/cart:1 } }\n  - name: bus\n    type: capability\n    properties: { image: 'ghcr.example/messaging-nats:0.27.0' }\n    traits:\n    - type: link\n      properties: { namespace: wasmcloud, package: messaging, interfaces: [handler], target: { name: cart }, source: { config: [{ name: c, properties: { subscriptions: 'orders.*,stock|workers' } }] } }\n",
        lines: &["messaging = { store = \"bus\", subscribe = [\"orders.*\", \"stock\"] }"],
        notes: &[
            ("changed", "spec.components[1].traits[0]", "the queue group `workers`"),
            ("lost", "spec.components[1].traits[0]", "`subject` triggers are not in this version yet"),
        ],
    },
    Row {
        keys: &["http-client"],
        input: "  - name: cart\n    type: component\n    properties: { image: r.example/cart:1 }\n    traits:\n    - type: link\n      properties: { namespace: wasi, package: http, interfaces: [outgoing-handler], target: { name: client } }\n  - { name: client, type: capability, properties: { image: 'ghcr.example/http-client:0.12.0' } }\n",
        lines: &["http = [\"https://*\", \"http://*\"]"],
        notes: &[("changed", "spec.components[0].traits[0]", "every public host")],
    },
    Row {
        keys: &["blobstore-fs.root", "blobstore-nats"],
        input: "  - name: cart\n    type: component\n    properties: { image: r.example/cart:1 }\n    traits:\n    - type: link\n      properties: { namespace: wasi, package: blobstore, interfaces: [blobstore], target: { name: files, config: [{ name: c, properties: { ROOT: pictures } }] } }\n    - type: link\n      properties: { namespace: wasi, package: blobstore, interfaces: [blobstore], target: { name: objects } }\n  - { name: files, type: capability, properties: { image: 'ghcr.example/blobstore-fs:0.6.0' } }\n  - { name: objects, type: capability, properties: { image: 'ghcr.example/blobstore-nats:0.1.0' } }\n",
        lines: &[
            "blob = [\"files\", \"objects\"]",
            "provider = \"fs:./pictures\"",
            "provider = \"nats://127.0.0.1:4222\"",
        ],
        notes: &[("changed", "spec.components[0].traits[0]", "what others put there is not seen")],
    },
    Row {
        keys: &[
            "blobstore-s3.config_json",
            "blobstore-s3.alias",
            "blobstore-s3.bucket_region",
            "link.target.secrets",
            "link.source.secrets",
        ],
        input: "  - name: cart\n    type: component\n    properties: { image: r.example/cart:1 }\n    traits:\n    - type: link\n      properties:\n        namespace: wasi\n        package: blobstore\n        interfaces: [blobstore]\n        target:\n          name: s3\n          config: [{ name: c, properties: { config_json: '{\"endpoint\":\"https://s.example\",\"secret_access_key\":\"hunter2\"}', alias_pics: pictures, BUCKET_REGION: eu } }]\n          secrets: [{ name: key, properties: { policy: vault, key: s3 } }]\n    - type: link\n      properties: { namespace: wasi, package: blobstore, interfaces: [blobstore], target: { name: s3 } }\n  - { name: s3, type: capability, properties: { image: 'ghcr.example/blobstore-s3:0.8.0' } }\n",
        lines: &["blob = [\"s3\"]", "provider = \"s3://pictures\"", "settings = { endpoint = \"https://s.example\" }"],
        notes: &[
            ("lost", "spec.components[0].traits[0]", "`secret_access_key` of `config_json`"),
            (
                "lost",
                "spec.components[0].traits[0].properties.target.config[0].properties.BUCKET_REGION",
                "buckets are not made",
            ),
            ("lost", "spec.components[0].traits[0].properties.target.secrets[0]", "the secret `key`"),
            ("lost", "spec.components[0].traits[1]", "a store is one bucket"),
        ],
    },
    Row {
        keys: &["sqldb-postgres"],
        input: "  - name: cart\n    type: component\n    properties: { image: r.example/cart:1 }\n    traits:\n    - type: link\n      properties: { namespace: wasmcloud, package: postgres, interfaces: [query], target: { name: db, config: [{ name: c, properties: { POSTGRES_HOST: pg.example, POSTGRES_PORT: 5433, POSTGRES_USERNAME: u, POSTGRES_PASSWORD: hunter2, POSTGRES_DATABASE: shop, POSTGRES_TLS_REQUIRED: 'true', POSTGRES_POOL_SIZE: 4 } }] } }\n    - type: link\n      properties: { namespace: wasmcloud, package: postgres, interfaces: [query], target: { name: db } }\n  - { name: db, type: capability, properties: { image: 'ghcr.example/sqldb-postgres:0.7.2' } }\n",
        lines: &[
            "sql = [\"db\"]",
            "provider = \"postgres://u@pg.example:5433/shop?sslmode=require\"",
            "settings = { password = \"env:DB_PASSWORD\" }",
        ],
        notes: &[
            ("changed", "spec.components[0].traits[0]", "`POSTGRES_PASSWORD`"),
            (
                "lost",
                "spec.components[0].traits[0].properties.target.config[0].properties.POSTGRES_POOL_SIZE",
                "a bounded pool",
            ),
            ("lost", "spec.components[0].traits[1]", "where the server is"),
        ],
    },
    Row {
        keys: &["link.target"],
        input: "  - name: cart\n    type: component\n    properties: { image: r.example/cart:1 }\n    traits:\n    - { type: link, properties: { namespace: a, package: b, interfaces: [c], target: { name: stock } } }\n    - { type: link, properties: { namespace: a, package: b, interfaces: [c], target: { name: nobody } } }\n    - { type: link, properties: { namespace: a, package: b, interfaces: [c], target: { name: own } } }\n  - { name: stock, type: component, properties: { image: r.example/stock:1 } }\n  - { name: own, type: capability, properties: { image: r.example/own:1, config: [{ name: c, properties: { a: b } }] } }\n",
        lines: &[],
        notes: &[
            ("lost", "spec.components[0].traits[0]", "wac plug"),
            ("lost", "spec.components[0].traits[1]", "its target `nobody` is not in the manifest"),
            ("lost", "spec.components[0].traits[2]", "nothing here stands in for the provider `own`"),
            ("lost", "spec.components[2]", "the provider `own`"),
            ("lost", "spec.components[2].properties.config[0].properties.a", "a setting of the provider"),
        ],
    },
    Row {
        keys: &["keyvalue-redis.url"],
        input: "  - name: cart\n    type: component\n    properties: { image: r.example/cart:1 }\n    traits:\n    - { type: link, properties: { namespace: wasi, package: keyvalue, interfaces: [store], target: { name: one } } }\n    - { type: link, properties: { namespace: wasi, package: keyvalue, interfaces: [store], target: { name: two, config: [{ name: c, properties: { URL: 'redis://r2.example' } }] } } }\n  - { name: one, type: capability, properties: { image: 'ghcr.example/keyvalue-redis:0.28.0' } }\n  - { name: two, type: capability, properties: { image: 'ghcr.example/keyvalue-redis:0.28.0' } }\n",
        lines: &[
            "kv = [\"default\", \"two\"]",
            "provider = \"redis://127.0.0.1:6379\"",
            "provider = \"redis://r2.example\"",
        ],
        notes: &[("changed", "spec.components[0].traits[1]", "a guest with several opens it by this name")],
    },
];

/// The longest of the rows as a manifest.
pub(super) fn everything() -> String {
    let longest = ROWS.iter().map(|row| row.input).max_by_key(|input| input.len());
    format!("{HEAD}{}", longest.unwrap_or_default())
}

#[test]
fn each_key_of_an_application_is_carried_over_or_noted() {
    let elsewhere = ["metadata.annotations", "metadata.labels", "spec.policies"];
    let schema: Vec<_> = SCHEMA.iter().copied().filter(|key| !elsewhere.contains(key)).collect();
    check_covered(&schema, ROWS);
    for row in ROWS {
        check(row, &format!("{HEAD}{}", row.input));
        assert!(!read(&format!("{HEAD}{}", row.input)).manifest.contains("hunter2"));
    }
}

#[test]
fn what_an_application_says_of_itself_is_carried_over_or_noted() {
    let input = format!(
        "apiVersion: core.oam.dev/v1beta1\nkind: Application\nmetadata:\n  name: my shop\n  annotations:\n    version: v1.2.3\n    description: |\n      sells\n      things\n    wasmcloud.dev/authors: A\n    wasmcloud.dev/homepage: https://h.example\n    experimental.wasmcloud.dev/shared: 'true'\n  labels: {{ a: b }}\nspec:\n  policies:\n  - {{ name: vault, type: policy.secret.wasmcloud.dev/v1alpha1, properties: {{ backend: vault }} }}\n  - {{ name: other, type: other, properties: {{ a: b }} }}\n  components:\n{GUEST}---\nkind: Application\n---\nkind: Other\n"
    );
    let imported = read(&input);
    for line in ["name = \"my-shop\"", "version = \"v1.2.3\"", "# sells things", "# By A."] {
        assert!(imported.manifest.lines().any(|there| there == line), "{}", imported.manifest);
    }
    let told: Vec<_> =
        imported.notes.iter().map(|note| format!("{} {} {}", note.severity, note.key, note.what)).collect();
    assert_eq!(
        told,
        [
            "changed metadata.name the name",
            "info metadata.annotations `wasmcloud.dev/homepage`",
            "lost metadata.annotations.experimental.wasmcloud.dev/shared components that other applications use",
            "info metadata.labels labels",
            "changed spec.policies[0] where secrets are kept",
            "lost spec.policies[1] a policy of the type `other`",
            "lost  another application",
            "lost  a document that is no application",
        ]
    );
}

#[test]
fn two_servers_on_two_ports_are_one_address_here() {
    let web = |name: &str, target: &str| {
        format!(
            "  - name: {name}\n    type: capability\n    properties: {{ image: 'ghcr.example/http-server:0.23.0' }}\n    traits:\n    - type: link\n      properties: {{ namespace: wasi, package: http, interfaces: [incoming-handler], target: {{ name: {target} }} }}\n"
        )
    };
    let stock = GUEST.replace("cart", "stock");
    let imported = read(&format!("{HEAD}{GUEST}{stock}{}{}", web("a", "cart"), web("b", "stock")));
    assert_eq!(imported.app.triggers.len(), 1);
    assert!(imported.notes.iter().any(|note| note.why.starts_with("`cart` has all these requests already")));
}

#[test]
fn json_is_read_too() {
    let input = r#"{"apiVersion":"core.oam.dev/v1beta1","kind":"Application","metadata":{"name":"shop"},"spec":{"components":[{"name":"cart","type":"component","properties":{"image":"r.example/cart:1"}}]}}"#;
    assert_eq!(read(input).app.workloads.len(), 1);
}
