//! `spin.toml` of both versions and published applications, key by key.

use std::path::Path;

use super::{Row, check, check_covered, read, refused};
use crate::{Options, import};

/// Every key of version 2, and of the triggers that are known.
const SCHEMA_2: &[&str] = &[
    "spin_manifest_version",
    "application.name",
    "application.version",
    "application.description",
    "application.authors",
    "application.targets",
    "application.trigger.http.base",
    "application.trigger.redis.address",
    "application.tool",
    "variables.*.default",
    "variables.*.required",
    "variables.*.secret",
    "variables.*.description",
    "trigger.*.id",
    "trigger.*.component",
    "trigger.*.components",
    "trigger.*.dependencies.middleware",
    "trigger.http.route",
    "trigger.http.route.private",
    "trigger.http.static_response",
    "trigger.http.executor.type",
    "trigger.http.executor.argv",
    "trigger.http.executor.entrypoint",
    "trigger.redis.channel",
    "trigger.redis.address",
    "trigger.cron.cron_expression",
    "trigger.timer.interval_secs",
    "component.*.source",
    "component.*.source.url",
    "component.*.source.digest",
    "component.*.source.registry",
    "component.*.source.package",
    "component.*.source.version",
    "component.*.description",
    "component.*.variables",
    "component.*.environment",
    "component.*.files",
    "component.*.files.source",
    "component.*.files.destination",
    "component.*.exclude_files",
    "component.*.allowed_http_hosts",
    "component.*.allowed_outbound_hosts",
    "component.*.key_value_stores",
    "component.*.sqlite_databases",
    "component.*.ai_models",
    "component.*.targets",
    "component.*.build.command",
    "component.*.build.workdir",
    "component.*.build.watch",
    "component.*.tool",
    "component.*.dependencies",
    "component.*.dependencies_inherit_configuration",
    "component.*.profile",
];

/// A component that is whole without more.
const COMPONENT: &str = "component.c.source = \"c.wasm\"";

const ROWS_2: &[Row] = &[
    Row {
        keys: &["spin_manifest_version", "component.*.source"],
        input: COMPONENT,
        lines: &["# Made by `samara convert` from a Spin manifest.", "[app]", "[workload.c]", "source = \"./c.wasm\""],
        notes: &[],
    },
    Row {
        keys: &["application.name"],
        input: "application.name = \"my shop\"",
        lines: &["name = \"my-shop\""],
        notes: &[("changed", "application.name", "it is `my-shop` here")],
    },
    Row {
        keys: &["application.version", "application.description", "application.authors"],
        input: "application.name = \"a\"\napplication.version = \"1.2.3\"\napplication.description = \"sells\"\napplication.authors = [\"A <a@b.example>\", \"B\"]",
        lines: &["version = \"1.2.3\"", "# sells", "# By A <a@b.example>, B."],
        notes: &[],
    },
    Row {
        keys: &["application.targets", "application.tool"],
        input: "application.name = \"a\"\napplication.targets = [\"spin-up:3.3\"]\napplication.tool.lint.level = 3",
        lines: &[],
        notes: &[("info", "application.targets", "spin build"), ("info", "application.tool", "hosts do not read them")],
    },
    Row {
        keys: &["application.trigger.http.base", "trigger.http.route", "trigger.*.id", "trigger.*.component"],
        input: "application.trigger.http.base = \"/shop\"\ncomponent.c.source = \"c.wasm\"\n[[trigger.http]]\nid = \"t\"\nroute = \"/cart/...\"\ncomponent = \"c\"",
        lines: &["http = { path = \"/shop/cart\" }", "http = { path = \"/shop/cart/*rest\" }", "fn = \"c\""],
        notes: &[],
    },
    Row {
        keys: &["trigger.http.route"],
        input: "component.c.source = \"c.wasm\"\n[[trigger.http]]\nroute = \"/cart/:id\"\ncomponent = \"c\"",
        lines: &["http = { path = \"/cart/:id\" }"],
        notes: &[("changed", "trigger.http[0].route", "`/a/`")],
    },
    Row {
        keys: &["trigger.http.route"],
        input: "component.c.source = \"c.wasm\"\ncomponent.d.source = \"d.wasm\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"c\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"d\"",
        lines: &["http = { path = \"/*rest\" }", "fn = \"d\""],
        notes: &[("changed", "trigger.http[1].route", "the later one has it")],
    },
    Row {
        keys: &["trigger.*.component"],
        input: "[[trigger.http]]\nid = \"inner\"\nroute = \"/\"\ncomponent = { source = \"i.wasm\" }\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"nobody\"",
        lines: &["[workload.inner-component]", "source = \"./i.wasm\"", "http = { path = \"/\" }"],
        notes: &[("lost", "trigger.http[1]", "a trigger of the component `nobody`")],
    },
    Row {
        keys: &["trigger.*.components"],
        input: "component.c.source = \"c.wasm\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"c\"\ncomponents.helper = \"c\"",
        lines: &["fn = \"c\""],
        notes: &[("lost", "trigger.http[0].components.helper", "a trigger starts one workload")],
    },
    Row {
        keys: &["trigger.*.dependencies.middleware"],
        input: "component.c.source = \"c.wasm\"\n[[trigger.http]]\nroute = \"/admin\"\ncomponent = \"c\"\ndependencies.middleware = [{ path = \"auth.wasm\" }]\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"c\"\ndependencies.middleware = []",
        lines: &[
            "# Held back: the components that a request must pass first are not carried over.",
            "# [[trigger]]",
            "# http = { path = \"/admin\" }",
            "http = { path = \"/\" }",
        ],
        notes: &[
            ("lost", "trigger.http[0].dependencies", "it is held back"),
            ("changed", "trigger.http[0].route", "end with a slash"),
        ],
    },
    Row {
        keys: &["trigger.http.route.private"],
        input: "component.c.source = \"c.wasm\"\n[[trigger.http]]\nroute = { private = true }\ncomponent = \"c\"\n[[trigger.http]]\nroute = { private = false }\ncomponent = \"c\"",
        lines: &["[workload.c]"],
        notes: &[("lost", "trigger.http[1].route", "it is a path, or `{ private = true }`")],
    },
    Row {
        keys: &["trigger.http.static_response"],
        input: "component.c.source = \"c.wasm\"\n[[trigger.http]]\nroute = \"/...\"\nstatic_response = { status_code = 404, body = \"no\" }\n[[trigger.http]]\nroute = \"/old\"\nstatic_response = { status_code = 301, headers = { location = \"/new\" } }",
        lines: &[
            "http = { path = \"/*rest\" }",
            "reply = { status = 404, body = \"no\" }",
            "reply = { status = 301, headers = { location = \"/new\" } }",
        ],
        notes: &[("changed", "trigger.http[1].route", "paths that end with a slash")],
    },
    Row {
        keys: &["trigger.http.executor.type", "trigger.http.executor.argv", "trigger.http.executor.entrypoint"],
        input: "component.c.source = \"c.wasm\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"c\"\nexecutor = { type = \"wagi\", argv = \"c --quiet\", entrypoint = \"main\" }",
        lines: &["args = [\"--quiet\"]"],
        notes: &[
            ("info", "trigger.http[0].executor", "run as CGI"),
            ("lost", "trigger.http[0].executor.entrypoint", "begins with `_start`"),
        ],
    },
    Row {
        keys: &["trigger.http.executor.argv"],
        input: "component.c.source = \"c.wasm\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"c\"\nexecutor = { type = \"wagi\", argv = \"${SCRIPT_NAME} --all ${ARGS}\" }",
        lines: &["fn = \"c\""],
        notes: &[
            ("info", "trigger.http[0].executor", "run as CGI"),
            ("lost", "trigger.http[0].executor.argv", "in its environment"),
        ],
    },
    Row {
        keys: &["application.trigger.redis.address", "trigger.redis.channel", "trigger.redis.address"],
        input: "application.trigger.redis.address = \"redis://u:hunter2@r.example:6379/1\"\ncomponent.c.source = \"c.wasm\"\n[[trigger.redis]]\nchannel = \"orders\"\ncomponent = \"c\"",
        lines: &[
            "messaging = { store = \"redis-r-example-6379\", subscribe = [\"orders\"] }",
            "provider = \"redis://r.example:6379\"",
        ],
        notes: &[
            ("changed", "application.trigger.redis.address", "the credentials of the address are left out"),
            LATER,
        ],
    },
    Row {
        keys: &["trigger.redis.address"],
        input: "component.c.source = \"c.wasm\"\n[[trigger.redis]]\naddress = \"redis://*\"\nchannel = \"orders\"\ncomponent = \"c\"",
        lines: &[],
        notes: &[("lost", "trigger.redis[0].address", "a store is one server")],
    },
    Row {
        keys: &["trigger.cron.cron_expression"],
        input: "component.c.source = \"c.wasm\"\n[[trigger.cron]]\ncron_expression = \"0 3 * * *\"\ncomponent = \"c\"",
        lines: &["# cron = \"0 3 * * *\""],
        notes: &[("lost", "trigger.cron[0]", "`cron` triggers are not in this version yet")],
    },
    Row {
        keys: &["trigger.timer.interval_secs"],
        input: "component.c.source = \"c.wasm\"\n[[trigger.timer]]\ninterval_secs = 30\ncomponent = \"c\"",
        lines: &["# every = \"30s\""],
        notes: &[("lost", "trigger.timer[0]", "`every` triggers are not in this version yet")],
    },
    Row {
        keys: &["variables.*.default", "variables.*.description", "component.*.variables"],
        input: "component.c.source = \"c.wasm\"\n[variables]\nhost = { default = \"h.example\", description = \"who answers\" }\nunused = { default = \"\" }\n[component.c.variables]\nurl = \"https://{{ host }}/\"\nfixed = \"1\"\nbad = \"{{ nothing }}\"",
        lines: &["config.url = \"https://h.example/\"", "config.fixed = \"1\"", "# Variable `host`: who answers"],
        notes: &[
            ("changed", "variables.host", "Spin would have asked `SPIN_VARIABLE_HOST` first"),
            ("info", "variables.unused", "no component uses it"),
            ("lost", "component.c.variables.bad", "the application has no variable `nothing`"),
        ],
    },
    Row {
        keys: &["variables.*.required", "variables.*.secret"],
        input: "component.c.source = \"c.wasm\"\n[variables]\ntoken = { secret = true, default = \"hunter2\" }\nname = { required = true }\n[component.c.variables]\ntoken = \"{{ token }}\"\nname = \"{{name}}\"\nmixed = \"Bearer {{ token }}\"",
        lines: &["secrets.token = \"env:SPIN_VARIABLE_TOKEN\"", "secrets.name = \"env:SPIN_VARIABLE_NAME\""],
        notes: &[
            ("lost", "variables.token.default", "a secret is not written into a manifest"),
            ("info", "variables.token", "read from the environment variable `SPIN_VARIABLE_TOKEN`"),
            ("changed", "variables.name", "`SPIN_VARIABLE_NAME`"),
            ("lost", "component.c.variables.mixed", "write the whole value"),
        ],
    },
    Row {
        keys: &["component.*.source.url", "component.*.source.digest"],
        input: "component.c.source = { url = \"https://w.example/c.wasm\", digest = \"sha256:00\" }\ncomponent.d.source = { url = \"ftp://w.example/d.wasm\" }",
        lines: &["source = \"https://w.example/c.wasm\""],
        notes: &[
            ("lost", "component.c.source.digest", "not compared with a digest"),
            ("lost", "component.d.source", "https or http"),
        ],
    },
    Row {
        keys: &["component.*.source.registry", "component.*.source.package", "component.*.source.version"],
        input: "component.c.source = { registry = \"r.example\", package = \"team:cart\", version = \"1.0.0\" }\ncomponent.d.source = { package = \"team:cart\", version = \"1.0.0\" }",
        lines: &["source = \"oci://r.example/team/cart:1.0.0\""],
        notes: &[
            ("changed", "component.c.source", "registry.json"),
            ("lost", "component.d.source", "name the registry"),
        ],
    },
    Row {
        keys: &[
            "component.*.description",
            "component.*.build.command",
            "component.*.build.workdir",
            "component.*.build.watch",
        ],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.description = \"the cart\"\n[component.c.build]\ncommand = [\"npm install\", \"npm run build\"]\nworkdir = \"cart\"\nwatch = [\"src/**/*.ts\"]",
        lines: &[
            "# the cart",
            "# Built by `npm install` in `cart`.",
            "# Built by `npm run build` in `cart`.",
            "# Built again when `src/**/*.ts` change.",
        ],
        notes: &[],
    },
    Row {
        keys: &["component.*.environment"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.environment = { LEVEL = \"debug\", \"odd key\" = \"two\\nlines\" }",
        lines: &["env.LEVEL = \"debug\"", "env.\"odd key\" = \"two\\nlines\""],
        notes: &[],
    },
    Row {
        keys: &["component.*.environment"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.environment = { \"a=b\" = \"1\", OK = \"2\" }",
        lines: &["# env.\"a=b\" = \"1\"", "env.OK = \"2\""],
        notes: &[("lost", "component.c", "not a name that a guest could ask for")],
    },
    Row {
        keys: &["component.*.files", "component.*.files.source", "component.*.files.destination"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.files = [{ source = \"assets\", destination = \"/\" }, \"pages/**/*.html\", \"*.md\", { source = \"..\", destination = \"/up\" }, \"etc/app.conf\"]",
        lines: &[
            "fs = [{ host = \"./assets\", guest = \"/\" }, { host = \"./pages\", guest = \"/pages\" }, { host = \"./etc\", guest = \"/etc\" }]",
        ],
        notes: &[
            ("changed", "component.c.files[1]", "the guest sees all of `pages`"),
            ("lost", "component.c.files[2]", "move the files into a folder of their own"),
            ("lost", "component.c.files[3]", "the folder of the manifest, or above it"),
            ("changed", "component.c.files[4]", "the guest sees all of `etc`"),
        ],
    },
    Row {
        keys: &["component.*.exclude_files"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.files = [{ source = \"assets\", destination = \"/\" }]\ncomponent.c.exclude_files = [\"assets/private/*\"]\ncomponent.d.source = \"d.wasm\"\ncomponent.d.exclude_files = [\"**/node_modules\"]",
        lines: &[],
        notes: &[
            ("lost", "component.c.exclude_files[0]", "move these files out of it"),
            ("info", "component.d.exclude_files", "it is given no files"),
        ],
    },
    Row {
        keys: &["component.*.allowed_http_hosts"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.allowed_http_hosts = [\"api.example\", \"https://b.example:8443/\", \"self\"]",
        lines: &[
            "http = [\"http://api.example\", \"https://api.example\", \"http://b.example:8443\", \"https://b.example:8443\"]",
        ],
        notes: &[("lost", "component.c.allowed_http_hosts[2]", "grant the address under which it is served")],
    },
    Row {
        keys: &["component.*.allowed_outbound_hosts"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.allowed_outbound_hosts = [\"https://*.api.example\", \"http://10.0.0.7:3000\", \"https://e.example:9000..9003\", \"tcp://db.example:5432\"]",
        lines: &[
            "    \"https://*.api.example\",",
            "    \"http://10.0.0.7:3000\",",
            "    \"https://e.example:9002\",",
            "], private = true }",
            "net = { connect = [\"db.example:5432\"] }",
        ],
        notes: &[("changed", "component.c.allowed_outbound_hosts[1]", "of a private network")],
    },
    Row {
        keys: &["component.*.allowed_outbound_hosts", "component.*.allowed_http_hosts"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.allowed_outbound_hosts = [\"https://*:*\", \"*://e.example:99\"]\ncomponent.d.source = \"d.wasm\"\ncomponent.d.allowed_http_hosts = [\"insecure:allow-all\"]",
        lines: &[
            "http = [\"https://*:*\", \"http://e.example:99\", \"https://e.example:99\"]",
            "net = { connect = [\"e.example:99\"] }",
            "http = [\"http://*:*\", \"https://*:*\"]",
        ],
        notes: &[],
    },
    Row {
        keys: &["component.*.allowed_outbound_hosts"],
        input: "component.c.source = \"c.wasm\"\nvariables.db = { default = \"pg.example\" }\nvariables.late = { required = true }\ncomponent.c.allowed_outbound_hosts = [\"postgres://{{ db }}\", \"redis://u:hunter2@r.example:6379\", \"https://{{ late }}\", \"{{ late }}\"]",
        lines: &[
            "kv = [\"redis-r-example-6379\"]",
            "sql = [\"postgres-pg-example\"]",
            "messaging = { store = \"redis-r-example-6379\", publish = [\">\"] }",
            "[store.postgres-pg-example]",
            "provider = \"postgres://pg.example\"",
        ],
        notes: &[
            ("changed", "variables.db", "its default is written out"),
            ("changed", "component.c.allowed_outbound_hosts[0]", "the server is the store `postgres-pg-example` here"),
            ("changed", "component.c.allowed_outbound_hosts[1]", "the credentials of the address are left out"),
            ("lost", "component.c.allowed_outbound_hosts[2]", "write the whole value"),
            ("changed", "variables.late", "SPIN_VARIABLE_LATE"),
            ("lost", "component.c.allowed_outbound_hosts[3]", "must be known before it is loaded"),
        ],
    },
    Row {
        keys: &["component.*.allowed_outbound_hosts"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.allowed_outbound_hosts = [\"http://self\", \"https://other.spin.internal\", \"mysql://h.example\", \"https://10.0.0.0/8\", \"https://h.example:1..9999\", \"redis://*\", \"gopher://h.example\", \"tcp://*:*\"]",
        lines: &[],
        notes: &[
            ("lost", "component.c.allowed_outbound_hosts[0]", "cannot ask itself"),
            ("lost", "component.c.allowed_outbound_hosts[1]", "without TLS"),
            ("lost", "component.c.allowed_outbound_hosts[2]", "no provider"),
            ("lost", "component.c.allowed_outbound_hosts[3]", "not networks"),
            ("lost", "component.c.allowed_outbound_hosts[4]", "name the ports"),
            ("lost", "component.c.allowed_outbound_hosts[5]", "one server"),
            ("lost", "component.c.allowed_outbound_hosts[6]", "this scheme"),
            ("lost", "component.c.allowed_outbound_hosts[7]", "net = { any = true }"),
        ],
    },
    Row {
        keys: &["component.*.key_value_stores", "component.*.sqlite_databases"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.key_value_stores = [\"default\", \"other\"]\ncomponent.c.sqlite_databases = [\"orders\", \"default\"]",
        lines: &[
            "kv = [\"default\", \"other\"]",
            "sql = [\"orders\"]",
            "provider = \"redb:./data/default.redb\"",
            "provider = \"sqlite:./data/orders.sqlite\"",
        ],
        notes: &[
            ("changed", "component.c.key_value_stores[0]", "here it is `redb:./data/default.redb`"),
            ("changed", "component.c.key_value_stores[1]", "here it is `redb:./data/other.redb`"),
            ("changed", "component.c.sqlite_databases[0]", "here it is `sqlite:./data/orders.sqlite`"),
            ("lost", "component.c.sqlite_databases[1]", "one name is one store"),
        ],
    },
    Row {
        keys: &["component.*.key_value_stores", "component.*.sqlite_databases"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.key_value_stores = [\"default\"]\ncomponent.c.sqlite_databases = [\"default\"]",
        lines: &[
            "kv = [\"default\"]",
            "sql = [\"default-sqlite\"]",
            "[store.default-sqlite]",
            "provider = \"sqlite:./data/default.sqlite\"",
        ],
        notes: &[
            ("changed", "component.c.key_value_stores[0]", "here it is `redb:./data/default.redb`"),
            ("changed", "component.c.sqlite_databases[0]", "and called `default-sqlite`"),
        ],
    },
    Row {
        keys: &["component.*.ai_models"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.ai_models = [\"llama2-chat\"]",
        lines: &[],
        notes: &[("lost", "component.c.ai_models[0]", "the model `llama2-chat`")],
    },
    Row {
        keys: &["component.*.targets", "component.*.tool", "component.*.profile"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.targets = [\"spin-up:3\"]\ncomponent.c.tool.lint.level = 1\ncomponent.c.profile.debug.source = \"debug.wasm\"",
        lines: &["source = \"./c.wasm\""],
        notes: &[
            ("info", "component.c.targets", "spin build"),
            ("info", "component.c.tool", "hosts do not read them"),
            ("lost", "component.c.profile.debug", "write a manifest for each"),
        ],
    },
    Row {
        keys: &["component.*.dependencies", "component.*.dependencies_inherit_configuration"],
        input: "component.c.source = \"c.wasm\"\ncomponent.c.dependencies_inherit_configuration = true\n[component.c.dependencies]\n\"a:b/c\" = { path = \"b.wasm\" }",
        lines: &[],
        notes: &[
            ("lost", "component.c.dependencies.a:b/c", "wac plug"),
            ("lost", "component.c.dependencies_inherit_configuration", "all of it"),
        ],
    },
];

/// Triggers on subjects are refused by this version of the model.
const LATER: (&str, &str, &str) = ("lost", "trigger.redis[0]", "`subject` triggers are not in this version yet");

/// All rows of version 2 that stand together in one manifest, as one text.
pub(super) fn everything() -> String {
    let rows = ROWS_2.iter().filter(|row| !row.keys.contains(&"application.name"));
    rows.max_by_key(|row| row.input.len()).map(version_2).unwrap_or_default()
}

fn version_2(row: &Row) -> String {
    let name = if row.input.contains("application.name") { "" } else { "application.name = \"a\"\n" };
    format!("spin_manifest_version = 2\n{name}{}", row.input)
}

#[test]
fn each_key_of_version_2_is_carried_over_or_noted() {
    check_covered(SCHEMA_2, ROWS_2);
    for row in ROWS_2 {
        check(row, &version_2(row));
    }
}

/// Every key of version 1 that version 2 does not have in the same place.
const SCHEMA_1: &[&str] = &[
    "spin_version",
    "name",
    "version",
    "description",
    "authors",
    "trigger.type",
    "trigger.base",
    "trigger.address",
    "variables",
    "component[].id",
    "component[].source",
    "component[].trigger",
    "component[].config",
    "component[].allowed_http_hosts",
    "component[].allowed_outbound_hosts",
];

/// What is noted of each component of version 1 that does not say which servers it reaches.
const ALL_SERVERS: (&str, &str, &str) = ("lost", "component[0]", "lets a component reach all of them");

const ROWS_1: &[Row] = &[
    Row {
        keys: &[
            "spin_version",
            "name",
            "version",
            "description",
            "authors",
            "trigger.type",
            "trigger.base",
            "component[].id",
            "component[].source",
            "component[].trigger",
        ],
        input: "spin_version = \"1\"\nname = \"old\"\nversion = \"1.0.0\"\ndescription = \"d\"\nauthors = [\"A\"]\ntrigger = { type = \"http\", base = \"/b\" }\n[[component]]\nid = \"c\"\nsource = \"c.wasm\"\nallowed_outbound_hosts = []\n[component.trigger]\nroute = \"/...\"",
        lines: &[
            "name = \"old\"",
            "version = \"1.0.0\"",
            "# d",
            "# By A.",
            "[workload.c]",
            "source = \"./c.wasm\"",
            "http = { path = \"/b\" }",
            "http = { path = \"/b/*rest\" }",
        ],
        notes: &[],
    },
    Row {
        keys: &["trigger.address", "variables", "component[].config"],
        input: "spin_manifest_version = \"1\"\nname = \"old\"\ntrigger = { type = \"redis\", address = \"redis://r.example\" }\nvariables.v = { default = \"1\" }\n[[component]]\nid = \"c\"\nsource = \"c.wasm\"\nconfig = { k = \"{{ v }}\" }\n[component.trigger]\nchannel = \"orders\"",
        lines: &["config.k = \"1\"", "messaging = { store = \"redis-r-example\", subscribe = [\"orders\"] }"],
        notes: &[
            ("changed", "trigger.address", "the server is the store"),
            ("changed", "variables.v", "its default is written out"),
            ALL_SERVERS,
            ("lost", "component[0].trigger", "`subject` triggers are not in this version yet"),
        ],
    },
    Row {
        keys: &["component[].allowed_http_hosts"],
        input: "spin_version = \"1\"\nname = \"old\"\ntrigger = { type = \"http\" }\n[[component]]\nid = \"c\"\nsource = \"c.wasm\"\nallowed_http_hosts = [\"a.example\"]",
        lines: &["http = [\"http://a.example\", \"https://a.example\"]"],
        notes: &[ALL_SERVERS],
    },
    Row {
        keys: &["component[].allowed_outbound_hosts"],
        input: "spin_version = \"1\"\nname = \"old\"\ntrigger = { type = \"http\" }\n[[component]]\nid = \"c\"\nsource = \"c.wasm\"\nallowed_outbound_hosts = [\"https://a.example\"]",
        lines: &["http = [\"https://a.example\"]"],
        notes: &[],
    },
];

#[test]
fn each_key_of_version_1_is_carried_over_or_noted() {
    check_covered(SCHEMA_1, ROWS_1);
    for row in ROWS_1 {
        check(row, row.input);
    }
}

/// A published application, with every key of its form.
const LOCKED: &str = r#"{
  "spin_lock_version": 1,
  "must_understand": ["host_requirements"],
  "host_requirements": { "local_service_chaining": "required", "new": "optional", "newer": "required" },
  "metadata": { "name": "shop", "version": "1.0.0", "description": "sells", "authors": ["A"], "origin": "file:///x/spin.toml",
    "triggers": { "http": { "base": "/shop" } }, "trigger": { "type": "http", "base": "/shop" } },
  "variables": { "v": { "default": "1" }, "s": { "secret": true } },
  "triggers": [
    { "id": "t", "trigger_type": "http", "trigger_config": { "component": "cart", "route": "/..." } },
    { "id": "u", "trigger_type": "http", "trigger_config": { "component": "admin", "route": "/admin/...", "executor": null } }
  ],
  "components": [
    { "id": "cart", "source": { "content_type": "application/wasm", "digest": "sha256:00" }, "env": { "A": "b" },
      "files": [{ "path": "/a", "inline": "YQ==" }], "config": { "k": "{{ v }}", "token": "{{ s }}" },
      "metadata": { "description": "the cart", "allowed_outbound_hosts": ["https://a.example"], "key_value_stores": ["default"], "databases": ["db"], "ai_models": [], "build": { "command": "make" } } },
    { "id": "admin", "source": { "content_type": "application/wasm", "digest": "sha256:00" },
      "dependencies": { "a:b/c": { "source": {} } }, "trigger_dependencies": { "middleware": [{ "source": {} }] },
      "host_requirements": { "middleware": "required" }, "metadata": { "resolve-trigger-dependencies-using": "http" } }
  ]
}"#;

#[test]
fn a_published_application_is_its_members() {
    let options = Options { reference: Some("oci://r.example/shop:1".to_owned()), ..Options::default() };
    let imported = import(LOCKED, Path::new("in"), &options).unwrap();
    for line in [
        "# Made by `samara convert` from a published Spin application.",
        "name = \"shop\"",
        "# the cart",
        "# Built by `make`.",
        "source = \"bundle://oci://r.example/shop:1#cart\"",
        "kv = [\"default\"]",
        "sql = [\"db\"]",
        "http = [\"https://a.example\"]",
        "env.A = \"b\"",
        "config.k = \"1\"",
        "secrets.token = \"env:SPIN_VARIABLE_S\"",
        "http = { path = \"/shop/*rest\" }",
        "# http = { path = \"/shop/admin/*rest\" }",
    ] {
        assert!(imported.manifest.lines().any(|there| there == line), "no `{line}` in\n{}", imported.manifest);
    }
    let told: Vec<_> = imported.notes.iter().map(|note| format!("{} {}", note.severity, note.key)).collect();
    for expected in [
        "info host_requirements.new",
        "lost host_requirements.newer",
        "info metadata.origin",
        "changed variables.v",
        "info variables.s",
        "lost components[0].files",
        "changed components[0].metadata.key_value_stores[0]",
        "changed components[0].metadata.databases[0]",
        "lost components[1].dependencies.a:b/c",
        "lost components[1].trigger_dependencies",
    ] {
        assert!(told.iter().any(|there| there == expected), "no {expected} in {told:#?}");
    }
    assert_eq!(told.len(), 10, "{told:#?}");
}

#[test]
fn without_its_reference_a_published_application_has_no_sources() {
    let imported = read(LOCKED);
    assert!(imported.app.workloads.is_empty());
    assert!(
        imported
            .notes
            .iter()
            .any(|note| note.key == "components[0].source" && note.why.contains("convert its reference"))
    );
    // What `spin` keeps beside a manifest names files.
    let local = LOCKED.replace("\"digest\": \"sha256:00\"", "\"source\": \"file:///x/cart.wasm\"");
    assert!(read(&local).manifest.contains("source = \"/x/cart.wasm\""));
}

#[test]
fn the_app_has_the_lines_of_its_input() {
    let app = read("spin_manifest_version = 2\napplication.name = \"a\"\n\n[component.c]\nsource = \"c.wasm\"\n\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"c\"\n").app;
    assert_eq!(app.workloads.iter().map(|workload| workload.line).collect::<Vec<_>>(), [4]);
    assert_eq!(app.workloads.iter().map(|workload| workload.source.position.line).collect::<Vec<_>>(), [4]);
    assert!(format!("{:?}", app.triggers).contains("line: 7"), "{:?}", app.triggers);
}

#[test]
fn values_that_are_given_are_written_in_place_of_defaults_but_never_secrets() {
    let input = "spin_manifest_version = 2\napplication.name = \"a\"\ncomponent.c.source = \"c.wasm\"\nvariables.v = { default = \"1\" }\nvariables.r = { required = true }\nvariables.s = { secret = true }\ncomponent.c.variables = { v = \"{{ v }}\", r = \"{{ r }}\", s = \"{{ s }}\" }";
    let values = [("v", "2"), ("r", "3"), ("s", "hunter2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = Options { variables: values.into(), ..Options::default() };
    let imported = import(input, Path::new("in"), &options).unwrap();
    for line in ["config.v = \"2\"", "config.r = \"3\"", "secrets.s = \"env:SPIN_VARIABLE_S\""] {
        assert!(imported.manifest.contains(line), "{}", imported.manifest);
    }
    assert!(!imported.manifest.contains("hunter2"));
}

#[test]
fn a_key_that_nobody_knows_is_noted_wherever_it_stands() {
    let input = "spin_manifest_version = 2\nnew1 = 1\napplication = { name = \"a\", new2 = 1 }\nvariables.v = { default = \"\", new3 = 1 }\n[component.c]\nsource = { url = \"https://w.example/c.wasm\", new4 = 1 }\nfiles = [{ source = \"a\", destination = \"/\", new5 = 1 }]\nbuild = { command = \"make\", new6 = 1 }\nnew7 = []\n[[trigger.http]]\ncomponent = \"c\"\nroute = \"/\"\nexecutor = { type = \"http\", new8 = 1 }\nnew9 = true\n[[trigger.new10]]\ncomponent = \"c\"";
    let notes = read(input).notes;
    for number in 1..=9 {
        let name = format!("new{number}");
        assert!(
            notes.iter().any(|note| note.key.ends_with(&name) && note.why.contains("not known")),
            "{name}: {notes:#?}"
        );
    }
    assert!(notes.iter().any(|note| note.key == "trigger.new10[0]"), "{notes:#?}");
    assert_eq!(refused("spin_version = \"0\"").lines().count(), 1);
}
