//! `samara apps`: what a running host serves, and how that changes. A client of the admin API and no more.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use http::Method;
use samara_model::manifest::LISTEN_ADMIN;
use serde_json::{Value, json};

use super::{Failure, block_on, host::Host, patiently};
use crate::{
    admin::{Token, default_file},
    deploy::{ReadManifest, read_manifest},
};

/// How long the host may take: it may have to compile.
const PATIENCE: Duration = Duration::from_secs(300);

/// Arguments of `samara apps`.
#[derive(Debug, Args)]
pub struct AppsArgs {
    /// What to do
    #[command(subcommand)]
    pub action: AppsAction,
    /// The host's admin address
    #[arg(long, global = true, value_name = "ADDRESS", default_value_t = LISTEN_ADMIN.to_string())]
    pub admin: String,
    /// The host's token [default: samara/admin.token in the user's state folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done with a running host's apps.
#[derive(Debug, Subcommand)]
pub enum AppsAction {
    /// List the apps, their versions and what was refused
    List,
    /// Add an app, or replace its version: compiled and tried first, then swapped without dropping a request
    Put {
        /// The manifest, or the folder that holds it
        #[arg(value_name = "MANIFEST|DIRECTORY")]
        path: PathBuf,
        /// Percent of the requests that the new version gets; the one before keeps the rest [default: `rollout.weight` of the manifest, or 100]
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
        weight: Option<u32>,
    },
    /// Remove an app; what has begun ends as it would have
    Remove {
        /// The app
        #[arg(value_name = "[TENANT/]APP")]
        app: String,
    },
    /// Give all requests back to an earlier version
    Rollback {
        /// The app
        #[arg(value_name = "[TENANT/]APP")]
        app: String,
        /// The revision to go back to, as `list` shows it [default: the one before]
        #[arg(long, value_name = "REVISION")]
        to: Option<u64>,
    },
    /// Divide an app's requests among its versions
    Traffic {
        /// The app
        #[arg(value_name = "[TENANT/]APP")]
        app: String,
        /// Revisions with their percentages, 100 in sum: `3=90 4=10`
        #[arg(required = true, value_name = "REVISION=PERCENT", value_parser = share)]
        shares: Vec<(u64, u32)>,
    },
}

fn share(text: &str) -> Result<(u64, u32), String> {
    let read = text.split_once('=').and_then(|(revision, weight)| Some((revision.parse().ok()?, weight.parse().ok()?)));
    read.ok_or_else(|| format!("`{text}` is not a share; write `3=90`"))
}

impl AppsArgs {
    /// Asks the host, and prints what it answered.
    ///
    /// # Errors
    /// The host is not there, or refuses.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let answer = block_on(self.ask())??;
        let text = match (&self.action, answer) {
            (_, Some(answer)) if self.json => answer.to_string(),
            (AppsAction::List, Some(answer)) => table(&answer),
            (_, Some(answer)) => line(&answer),
            (AppsAction::Remove { app }, None) if !self.json => {
                format!("{}: removed", path(app).map_err(Failure::Usage)?)
            }
            (_, None) => return Ok(ExitCode::SUCCESS),
        };
        // A reader that has seen enough is not an error.
        drop(writeln!(std::io::stdout().lock(), "{text}"));
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(&self) -> Result<Option<Value>, Failure> {
        let (method, path, body) = self.request().map_err(Failure::Usage)?;
        let token =
            if method == Method::GET { None } else { Some(token(self.token_file.as_deref()).map_err(Failure::Usage)?) };
        let host = Host::new(&self.admin);
        let asked = host.ask(&method, &path, body.into(), token.as_ref(), PATIENCE);
        let answer = patiently("waiting for the host", asked).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice(&answer) {
            Ok(answer) => Ok(Some(answer)),
            Err(_) => Err(Failure::Other(anyhow!(
                "what answers at `{host}` is not a host; name the admin address with `--admin`"
            ))),
        }
    }

    /// What to ask the host for.
    fn request(&self) -> anyhow::Result<(Method, String, Vec<u8>)> {
        let at = |app: &str, rest: &str| Ok::<_, anyhow::Error>(format!("/v1/apps/{}{rest}", path(app)?));
        Ok(match &self.action {
            AppsAction::List => (Method::GET, "/v1/apps".to_owned(), Vec::new()),
            AppsAction::Put { path, weight } => {
                let (file, ReadManifest { text, app, .. }) = read_manifest(path)?;
                let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let folder = fs::canonicalize(folder).with_context(|| format!("finding `{}`", folder.display()))?;
                let base = escape(folder.to_str().with_context(|| format!("`{}` is not UTF-8", folder.display()))?);
                let weight = weight.map(|weight| format!("&weight={weight}")).unwrap_or_default();
                let to = format!("/v1/apps/{}/{}?base={base}{weight}", app.tenant, app.name);
                (Method::PUT, to, text.into_bytes())
            }
            AppsAction::Remove { app } => (Method::DELETE, at(app, "")?, Vec::new()),
            AppsAction::Rollback { app, to } => {
                let body = to.map(|revision| json!({ "revision": revision }).to_string()).unwrap_or_default();
                (Method::POST, at(app, "/rollback")?, body.into_bytes())
            }
            AppsAction::Traffic { app, shares } => {
                let share = |(revision, weight): &(u64, u32)| json!({ "revision": revision, "weight": weight });
                let body = json!({ "traffic": shares.iter().map(share).collect::<Vec<_>>() });
                (Method::PUT, at(app, "/traffic")?, body.to_string().into_bytes())
            }
        })
    }
}

/// The host's token, from the file named or the one that hosts make.
pub(super) fn token(named: Option<&Path>) -> anyhow::Result<Token> {
    let file = named.map(Path::to_owned).or_else(default_file);
    Token::read(&file.context("there is no folder for the token; name the host's with `--token-file FILE`")?)
        .context("changing what is served takes the host's token; name it with `--token-file FILE`")
}

/// An app's place under `/v1/apps/`; without a tenant it is one of the default tenant's.
pub(super) fn path(app: &str) -> anyhow::Result<String> {
    let (tenant, name) = app.split_once('/').unwrap_or(("default", app));
    Ok(samara_model::AppId::new(tenant, name)?.to_string())
}

pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn name(app: &Value) -> String {
    format!("{}/{}", text(app, "tenant"), text(app, "name"))
}

/// `2: 90%, 3: 10%`.
fn traffic(app: &Value) -> String {
    let share = |share: &Value| format!("{}: {}%", number(share, "revision"), number(share, "weight"));
    list(app, "traffic").iter().map(share).collect::<Vec<_>>().join(", ")
}

/// Where the artifacts of the version that serves come from, and who signed them; of each a line.
fn origins(app: &Value) -> (String, String) {
    /// Characters of a digest in a table.
    const SHORT_DIGEST: usize = 19;
    let serving = number(app, "revision");
    let versions = list(app, "versions");
    let Some(version) = versions.iter().find(|version| number(version, "revision") == serving) else {
        return Default::default();
    };
    let source = |workload: &Value| {
        let manifest = text(workload, "manifest");
        let short = manifest.get(..SHORT_DIGEST).map(|digest| format!(" {digest}")).unwrap_or_default();
        format!("{}{short}", text(workload, "source"))
    };
    let signers =
        |workload: &Value| list(workload, "signers").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    // A cell is one line after it was made harmless.
    let lines = |of: &dyn Fn(&Value) -> String| {
        let lines: Vec<_> = list(version, "workloads").iter().map(of).filter(|line| !line.is_empty()).collect();
        lines.join("; ")
    };
    (lines(&source), lines(&signers))
}

fn table(apps: &Value) -> String {
    let apps = apps.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "APP",
        "STATE",
        "VERSION",
        "TRAFFIC",
        "KEPT",
        "IN FLIGHT",
        "SOURCE",
        "SIGNED BY",
        "REFUSED",
    ]);
    for app in apps {
        let kept: Vec<_> = list(app, "versions").iter().map(|one| number(one, "revision").to_string()).collect();
        let in_flight: u64 = list(app, "versions").iter().map(|one| number(one, "in_flight")).sum();
        let refused = app.get("refused").map(|refused| text(refused, "reason")).unwrap_or_default();
        let (sources, signers) = origins(app);
        let row = [
            name(app),
            text(app, "state").to_owned(),
            text(app, "version").to_owned(),
            traffic(app),
            kept.join(", "),
            in_flight.to_string(),
            sources,
            signers,
            refused.lines().next().unwrap_or_default().to_owned(),
        ];
        table.add_row(row.map(|cell| samara_telemetry::sanitize(&cell).into_owned()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if apps.is_empty() { "no apps".to_owned() } else { table.trim_fmt() }
}

fn line(app: &Value) -> String {
    let version = text(app, "version");
    let version = if version.is_empty() { String::new() } else { format!(" (version {version})") };
    let line = match list(app, "traffic") {
        [_] => format!("{}: revision {}{version} serves", name(app), number(app, "revision")),
        _ => format!("{}: its requests are divided: {}", name(app), traffic(app)),
    };
    samara_telemetry::sanitize(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_a_table_and_a_change_is_a_line() {
        let app = json!({
            "tenant": "acme", "name": "shop", "state": "sharing", "revision": 2, "version": "1.4.0",
            "traffic": [{ "revision": 2, "weight": 90 }, { "revision": 3, "weight": 10 }],
            "versions": [{ "revision": 3, "in_flight": 1 }, { "revision": 2, "in_flight": 4 }],
            "refused": { "reason": "its canary `GET /` answered 500\nmore" },
        });
        let text = table(&json!([app]));
        for part in ["acme/shop", "sharing", "1.4.0", "2: 90%, 3: 10%", "3, 2", "5", "its canary `GET /` answered 500"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(line(&app), "acme/shop: its requests are divided: 2: 90%, 3: 10%");
        let alone =
            json!({ "tenant": "acme", "name": "shop", "revision": 4, "traffic": [{ "revision": 4, "weight": 100 }] });
        assert_eq!(line(&alone), "acme/shop: revision 4 serves");
        assert_eq!(table(&json!([])), "no apps");
    }

    #[test]
    fn names_shares_and_folders_are_read() {
        assert_eq!(path("shop").unwrap(), "default/shop");
        assert_eq!(path("acme/shop").unwrap(), "acme/shop");
        assert!(path("../shop").is_err() && path("a/b/c").is_err());
        assert_eq!(share("3=90"), Ok((3, 90)));
        assert!(share("3").is_err() && share("x=1").is_err() && share("1=-1").is_err());
        assert_eq!(escape("/srv/a b&c"), "/srv/a%20b%26c");
    }
}
