//! `samara link`: another provider behind a store's name, while the app serves.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use http::Method;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use samara_capability::without_credentials;
use samara_model::manifest::{LISTEN_ADMIN, resolve_provider};

use super::{
    Failure,
    apps::{escape, path, token},
    block_on,
    host::Host,
    patiently,
};

/// How long the host may take: the provider's server may be slow to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take if there is something to copy.
const COPYING: Duration = Duration::from_hours(24);
/// The time between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(300);

/// Arguments of `samara link`.
#[derive(Debug, Args)]
pub struct LinkArgs {
    /// The app
    #[arg(value_name = "[TENANT/]APP")]
    pub app: String,
    /// The store, by its name in the manifest
    #[arg(value_name = "STORE")]
    pub store: String,
    /// What it shall lead to, as a manifest writes it: `redis://cache:6379`, `redb:./carts.redb`
    #[arg(value_name = "PROVIDER")]
    pub provider: String,
    /// A setting of the provider, as the manifest's `settings` have it: `timeout="2s"`
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub setting: Vec<(String, toml::Value)>,
    /// Copy the store's keys and objects there first, while they are used. Those that are there already: none (`--copy`), those that stay
    /// beside the copied ones (`--copy=merge`), or those that are removed (`--copy=replace`)
    #[arg(long, value_name = "KEYS", num_args = 0..=1, require_equals = true, default_missing_value = "empty")]
    pub copy: Option<CopyInto>,
    /// The host's admin address
    #[arg(long, value_name = "ADDRESS", default_value_t = LISTEN_ADMIN.to_string())]
    pub admin: String,
    /// The host's token [default: samara/admin.token in the user's state folder]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print the app as JSON
    #[arg(long)]
    pub json: bool,
}

/// What becomes of keys that are at the new place already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyInto {
    /// There may be none
    Empty,
    /// They stay, unless a key of the same name is copied
    Merge,
    /// They are removed first
    Replace,
}

/// One setting: its value is TOML, or else text as it stands.
fn setting(text: &str) -> Result<(String, toml::Value), String> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| "this is not a setting; write `timeout=2s`".to_owned())?;
    let read: Option<toml::Value> =
        format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut read| read.remove("v"));
    Ok((key.to_owned(), read.unwrap_or_else(|| toml::Value::String(value.to_owned()))))
}

impl LinkArgs {
    /// Has the host link the store.
    ///
    /// # Errors
    /// The host is not there, or refuses.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let app = path(&self.app).map_err(Failure::Usage)?;
        let token = token(self.token_file.as_deref()).map_err(Failure::Usage)?;
        let here = std::env::current_dir().context("finding the folder of this process")?;
        let (mut provider, mut settings) = (self.provider, self.setting.into_iter().collect());
        resolve_provider(&mut provider, &mut settings, &here);
        let body = serde_json::json!({ "provider": provider, "settings": settings, "copy": self.copy }).to_string();
        let to = format!("/v1/apps/{app}/stores/{}", escape(&self.store));
        let host = Host::new(&self.admin);
        let patience = if self.copy.is_some() { COPYING } else { PATIENCE };
        let asked = host.ask(&Method::PUT, &to, body.into(), Some(&token), patience);
        let answer = block_on(async {
            match self.copy {
                None => patiently("waiting for the host", asked).await,
                Some(_) => copying(&host, &app, &self.store, asked).await,
            }
        })??;
        let text = if self.json {
            String::from_utf8_lossy(&answer).into_owned()
        } else {
            let provider = without_credentials(&provider);
            let copied = if self.copy.is_some() { ", with what it held," } else { "" };
            format!(
                "{app}: store `{}` leads to {provider}{copied} until the host ends; write `provider = \"{provider}\"` into the manifest to keep it",
                self.store
            )
        };
        // A reader that has seen enough is not an error.
        drop(writeln!(std::io::stdout().lock(), "{}", samara_telemetry::sanitize(&text)));
        Ok(ExitCode::SUCCESS)
    }
}

/// Waits for the host while it copies, with a bar on a terminal that shows how far it has come.
async fn copying<T>(host: &Host, app: &str, store: &str, asked: impl Future<Output = T>) -> T {
    let mut asked = std::pin::pin!(asked);
    let bar = ProgressBar::hidden();
    let style = ProgressStyle::with_template("{spinner} copying {msg} [{bar:30}] {human_pos}/{human_len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_message(store.to_owned());
    loop {
        if let Ok(done) = tokio::time::timeout(LOOK, &mut asked).await {
            bar.finish_and_clear();
            return done;
        }
        // What is only to be looked at may fail.
        let Ok(shown) = host.get(&format!("/v1/apps/{app}"), PATIENCE).await else { continue };
        let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap_or_default();
        let list = |value: &serde_json::Value, key: &str| value.get(key).and_then(|list| list.as_array().cloned());
        let versions = list(&shown, "versions").unwrap_or_default();
        let mut stores = versions.iter().filter_map(|version| list(version, "stores")).flatten();
        let moving = stores.find(|one| one.get("name").is_some_and(|name| name == store));
        let count = |key: &str| moving.as_ref()?.get("moving")?.get(key)?.as_u64();
        let (Some(entries), total) = (count("entries"), count("entries_total")) else { continue };
        bar.set_length(total.unwrap_or(entries).max(entries));
        bar.set_position(entries);
        // Not before the first of it is known: a bar of nothing says nothing.
        if bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_toml_or_text() {
        assert_eq!(setting("timeout=2s"), Ok(("timeout".to_owned(), toml::Value::String("2s".to_owned()))));
        assert_eq!(setting("timeout=\"2s\""), Ok(("timeout".to_owned(), toml::Value::String("2s".to_owned()))));
        assert_eq!(setting("connections=4"), Ok(("connections".to_owned(), toml::Value::Integer(4))));
        assert_eq!(setting("url=a=b"), Ok(("url".to_owned(), toml::Value::String("a=b".to_owned()))));
        assert!(setting("x").is_err() && setting("=x").is_err());
        let secret = setting("hunter2").unwrap_err();
        assert!(!secret.contains("hunter2"), "{secret}");
    }
}
