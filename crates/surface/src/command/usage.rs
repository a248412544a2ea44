//! `samara inspect --usage` and `samara grants suggest`: what the workloads of a running app ask for, may do, and really do.
//!
//! The suggestion is what was used and nothing else. What nobody records the use of (folders, sockets, variables, values) is
//! left as it is granted: its absence from the record says nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use samara_model::manifest::LISTEN_ADMIN;
use serde::Deserialize;

use super::{Failure, apps::path, block_on, host::Host};

/// How long the host may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `samara grants`.
#[derive(Debug, Args)]
pub struct GrantsArgs {
    /// What to do
    #[command(subcommand)]
    pub action: GrantsAction,
}

/// What can be done with grants.
#[derive(Debug, Subcommand)]
pub enum GrantsAction {
    /// The least that would have sufficed for what an app did since the host started, as its manifest would write it
    Suggest {
        /// The app
        #[arg(value_name = "[TENANT/]APP")]
        app: String,
        /// The host's admin address
        #[arg(long, value_name = "ADDRESS", default_value_t = LISTEN_ADMIN.to_string())]
        admin: String,
    },
}

impl GrantsArgs {
    /// Asks the host, and prints what its record suggests.
    ///
    /// # Errors
    /// The host is not there, or does not know the app.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let GrantsAction::Suggest { app, admin } = self.action;
        say(&suggestion(&ask(&app, &admin)?.0))
    }
}

/// Prints what the workloads of an app do with their grants.
///
/// # Errors
/// The host is not there, or does not know the app.
pub(super) fn print(app: &str, admin: &str, json: bool) -> Result<ExitCode, Failure> {
    let (usage, text) = ask(app, admin)?;
    if json { say(&format!("{text}\n")) } else { say(&told(&usage)) }
}

fn say(text: &str) -> Result<ExitCode, Failure> {
    // A reader that has seen enough is not an error.
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
    Ok(ExitCode::SUCCESS)
}

/// What the host knows of an app's workloads, read and as it was sent.
fn ask(app: &str, admin: &str) -> Result<(Vec<Usage>, String), Failure> {
    let path = format!("/v1/apps/{}/usage", path(app).map_err(Failure::Usage)?);
    let host = Host::new(admin);
    let answer = block_on(host.get(&path, PATIENCE))??;
    let text = String::from_utf8(answer.to_vec()).context("reading the host's answer")?;
    let usage = serde_json::from_str(&text).map_err(|_| {
        anyhow!("what answers at `{host}` is not a host of this version; name the admin address with `--admin`")
    })?;
    Ok((usage, text))
}

/// One workload, as the admin API tells it.
#[derive(Debug, Deserialize)]
struct Usage {
    workload: String,
    declared: Vec<String>,
    granted: Granted,
    used: Vec<Used>,
    overflowed: bool,
    denied: Vec<Denied>,
}

/// What it may do.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Granted {
    kv: BTreeMap<String, Vec<String>>,
    blob: BTreeMap<String, Vec<String>>,
    sql: BTreeMap<String, Sql>,
    messaging: BTreeMap<String, Messaging>,
    http: Vec<String>,
    http_private: bool,
    fs: Vec<String>,
    env: Vec<String>,
    config: Vec<String>,
    secrets: Vec<String>,
    net_connect: Vec<String>,
    net_listen: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sql {
    operations: Vec<String>,
    statements: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Messaging {
    publish: Vec<String>,
    subscribe: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Used {
    capability: String,
    store: String,
    operation: String,
    count: u64,
    failed: u64,
    seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Denied {
    what: String,
    grant: String,
    count: u64,
}

impl Granted {
    /// Every grant as a line of the table: its capability, its store, what may be done.
    fn lines(&self) -> Vec<(&'static str, String, String)> {
        let mut lines = Vec::new();
        for (kind, stores) in [("kv", &self.kv), ("blob", &self.blob)] {
            lines.extend(stores.iter().map(|(store, operations)| (kind, store.clone(), operations.join(", "))));
        }
        lines.extend(self.sql.iter().map(|(store, grant)| ("sql", store.clone(), grant.operations.join(", "))));
        for (bus, grant) in &self.messaging {
            let kinds = [("publish", &grant.publish), ("subscribe", &grant.subscribe)];
            let told = kinds.iter().filter(|(_, subjects)| !subjects.is_empty());
            let told = told.map(|(verb, subjects)| format!("{verb} {}", subjects.join(", ")));
            lines.push(("messaging", bus.clone(), told.collect::<Vec<_>>().join("; ")));
        }
        lines.extend(self.http.iter().map(|origin| ("http", origin.clone(), "request".to_owned())));
        let plain = [("fs", &self.fs), ("env", &self.env), ("config", &self.config), ("secrets", &self.secrets)];
        for (kind, names) in plain {
            lines.extend(names.iter().map(|name| (kind, name.clone(), String::new())));
        }
        for (verb, addresses) in [("connect", &self.net_connect), ("listen", &self.net_listen)] {
            lines.extend(addresses.iter().map(|address| ("net", address.clone(), verb.to_owned())));
        }
        lines
    }
}

/// The tables of `--usage`.
fn told(usage: &[Usage]) -> String {
    let mut text = String::new();
    for one in usage {
        let declared = if one.declared.is_empty() { "nothing".to_owned() } else { one.declared.join(", ") };
        // Writing into a String does not fail.
        let _ = writeln!(text, "{}\n  asks for  {declared}", clean(&one.workload));
        let granted = one.granted.lines();
        if granted.is_empty() {
            let _ = writeln!(text, "  granted   nothing");
        } else {
            let rows = granted.into_iter().map(|(kind, store, what)| [kind.to_owned(), store, what]);
            let _ = writeln!(text, "  granted\n{}", table(&["CAPABILITY", "STORE", "MAY"], rows));
        }
        if one.used.is_empty() {
            let _ = writeln!(text, "  used      nothing");
        } else {
            let rows = one.used.iter().map(|used| {
                let mean = if used.count == 0 { 0.0 } else { used.seconds / used.count as f64 };
                let mean = format!("{:.3} ms", mean * 1e3);
                let Used { capability, store, operation, count, failed, .. } = used;
                [capability.clone(), store.clone(), operation.clone(), count.to_string(), failed.to_string(), mean]
            });
            let header = ["CAPABILITY", "STORE", "DID", "TIMES", "FAILED", "MEAN"];
            let _ = writeln!(text, "  used\n{}", table(&header, rows));
        }
        if !one.denied.is_empty() {
            let rows =
                one.denied.iter().map(|denied| [denied.what.clone(), denied.count.to_string(), denied.grant.clone()]);
            let _ = writeln!(text, "  denied\n{}", table(&["IT ASKED FOR", "TIMES", "WOULD ALLOW IT"], rows));
        }
    }
    if text.is_empty() { "no workload of it serves\n".to_owned() } else { text }
}

fn table<const N: usize>(header: &[&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.to_vec());
    for row in rows {
        table.add_row(row.map(|cell| clean(&cell)));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 4 } else { 0 }, 2));
        if matches!(header.get(index), Some(&("TIMES" | "FAILED" | "MEAN"))) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn clean(text: &str) -> String {
    samara_telemetry::sanitize(text).into_owned()
}

/// The tables of grants that would have sufficed.
fn suggestion(usage: &[Usage]) -> String {
    let mut text = String::new();
    for one in usage {
        let _ = write!(text, "{}", one.suggestion());
    }
    text
}

impl Usage {
    fn suggestion(&self) -> String {
        let done: u64 = self.used.iter().map(|used| used.count).sum();
        let mut text = format!("# What `{}` used: {done} operations since the host started.\n", clean(&self.workload));
        if self.overflowed {
            text.push_str(
                "# It did more different things than are told apart: what is missing here may have been used.\n",
            );
        }
        let _ = writeln!(text, "[workload.{}.grants]", key(&self.workload));
        for kind in ["kv", "blob", "sql"] {
            let stores = self.operations(kind);
            if stores.is_empty() {
                continue;
            }
            let entry = |(store, operations): (&str, BTreeSet<&str>)| {
                let ops = operations.into_iter().map(quoted).collect::<Vec<_>>().join(", ");
                format!("{{ store = {}, ops = [{ops}] }}", quoted(store))
            };
            let entries: Vec<_> = stores.into_iter().map(entry).collect();
            let _ = writeln!(text, "{kind} = [{}]", entries.join(", "));
            let named = self.granted.sql.values().any(|grant| !grant.statements.is_empty());
            if kind == "sql" && named {
                text.push_str(
                    "# `statements` and `named_only` of sql are not repeated here: keep those of the manifest.\n",
                );
            }
        }
        self.suggest_messaging(&mut text);
        self.suggest_http(&mut text);
        self.suggest_the_rest(&mut text);
        text.push('\n');
        text
    }

    /// The operations that were used, by store, in words of the grant.
    fn operations(&self, kind: &str) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut stores: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for used in self.used.iter().filter(|used| used.capability == kind && used.count > 0) {
            stores.entry(&used.store).or_default().insert(&used.operation);
        }
        stores
    }

    /// Buses are suggested with the subjects that are granted: which of them were used is not recorded.
    fn suggest_messaging(&self, text: &mut String) {
        let used = self.operations("messaging");
        let mut entries = Vec::new();
        for (bus, grant) in &self.granted.messaging {
            let Some(operations) = used.get(bus.as_str()) else { continue };
            let list = |subjects: &[String]| subjects.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
            let spoke = operations.iter().any(|operation| *operation != "subscribe");
            let mut parts = vec![format!("store = {}", quoted(bus))];
            if spoke && !grant.publish.is_empty() {
                parts.push(format!("publish = [{}]", list(&grant.publish)));
            }
            if operations.contains("subscribe") && !grant.subscribe.is_empty() {
                parts.push(format!("subscribe = [{}]", list(&grant.subscribe)));
            }
            entries.push(format!("{{ {} }}", parts.join(", ")));
        }
        if !entries.is_empty() {
            let _ = writeln!(text, "messaging = [{}]", entries.join(", "));
        }
    }

    fn suggest_http(&self, text: &mut String) {
        let origins: Vec<_> = self.operations("http").into_keys().map(quoted).collect();
        if origins.is_empty() {
            return;
        }
        let origins = origins.join(", ");
        if self.granted.http_private {
            let _ = writeln!(text, "http = {{ allow = [{origins}], private = true }}");
        } else {
            let _ = writeln!(text, "http = [{origins}]");
        }
    }

    fn suggest_the_rest(&self, text: &mut String) {
        let granted = &self.granted;
        let folder = |folder: &String| {
            let (rest, mode) = folder.rsplit_once(':')?;
            let (host, guest) = rest.rsplit_once(':')?;
            Some(format!("{{ host = {}, guest = {}, write = {} }}", quoted(host), quoted(guest), mode == "rw"))
        };
        let folders: Vec<_> = granted.fs.iter().filter_map(folder).collect();
        if !folders.is_empty() {
            let _ = writeln!(text, "fs = [{}] # as it is granted: its use is not recorded", folders.join(", "));
        }
        if !granted.net_connect.is_empty() || !granted.net_listen.is_empty() {
            let list = |all: &[String]| all.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
            let (connect, listen) = (list(&granted.net_connect), list(&granted.net_listen));
            let _ = writeln!(
                text,
                "net = {{ connect = [{connect}], listen = [{listen}] }} # as it is granted: its use is not recorded"
            );
        }
        for (kind, names) in [("env", &granted.env), ("config", &granted.config), ("secrets", &granted.secrets)] {
            if !names.is_empty() {
                let names: Vec<_> = names.iter().map(|name| clean(name)).collect();
                let _ = writeln!(text, "# {kind}: keep {} of the manifest; values are not shown.", names.join(", "));
            }
        }
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(clean(text)).to_string()
}

/// A key as a header writes it.
fn key(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use samara_model::manifest::App;

    use super::*;

    const ANSWER: &str = r#"[{
        "workload": "cart", "declared": ["kv", "http"], "overflowed": false,
        "granted": {
            "kv": { "carts": ["get", "set", "delete"], "cache": ["get"] }, "blob": { "pictures": ["read", "write"] },
            "messaging": { "default": { "publish": ["orders.*"], "subscribe": ["stock.>"] } },
            "http": ["https://*.example:443"], "http_private": true, "fs": ["/srv/a:/a:ro"], "env": ["MODE"]
        },
        "used": [
            { "capability": "kv", "store": "carts", "operation": "get", "count": 5, "failed": 1, "seconds": 0.01 },
            { "capability": "kv", "store": "carts", "operation": "set", "count": 2, "failed": 0, "seconds": 0.01 },
            { "capability": "messaging", "store": "default", "operation": "publish", "count": 1, "failed": 0, "seconds": 0.0 },
            { "capability": "http", "store": "https://a.example:443", "operation": "request", "count": 3, "failed": 0, "seconds": 1.5 }
        ],
        "denied": [{ "what": "`delete` on\u001b[2J", "grant": "kv = []", "count": 7 }]
    }]"#;

    fn usage() -> Vec<Usage> {
        serde_json::from_str(ANSWER).unwrap()
    }

    #[test]
    fn what_is_suggested_is_a_manifest_of_what_was_used() {
        let text = suggestion(&usage());
        for line in [
            r#"kv = [{ store = "carts", ops = ["get", "set"] }]"#,
            r#"messaging = [{ store = "default", publish = ["orders.*"] }]"#,
            r#"http = { allow = ["https://a.example:443"], private = true }"#,
            r#"fs = [{ host = "/srv/a", guest = "/a", write = false }] # as it is granted: its use is not recorded"#,
            "# env: keep MODE of the manifest; values are not shown.",
        ] {
            assert!(text.lines().any(|one| one == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("cache") && !text.contains("blob"), "what was not used is not suggested:\n{text}");
        let manifest = format!(
            "app.name = \"shop\"\n[workload.cart]\nsource = \"cart.wasm\"\n[store.carts]\nprovider = \"memory\"\n{text}"
        );
        let app =
            App::parse(&manifest, Path::new("samara.toml")).unwrap_or_else(|errors| panic!("{errors}\n{manifest}"));
        assert!(app.workloads[0].grants.http.allows("https", "a.example", 443));
    }

    #[test]
    fn usage_tells_what_is_asked_granted_used_and_denied() {
        let text = told(&usage());
        for part in [
            "asks for  kv, http",
            "carts",
            "get, set, delete",
            "publish orders.*; subscribe stock.>",
            "500.000 ms",
            "7",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "a guest's text reaches no terminal as it is");
        assert_eq!(told(&[]), "no workload of it serves\n");
    }
}
