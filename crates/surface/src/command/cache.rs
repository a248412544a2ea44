//! `samara cache`: what was compiled and what was fetched before, and how to be rid of it.

use std::{
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use samara_artifact::{Store, store::Entry};
use samara_model::{UnitError, format_bytes, parse_bytes, parse_duration};
use samara_runtime::{CacheEntry, CodeCache, DEFAULT_CACHE_BYTES, Removed, Tier};
use serde_json::json;

use super::Failure;

/// Characters of a digest in a table; enough to tell entries apart.
const SHORT_DIGEST: usize = 12;

/// Arguments of `samara cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// What to do
    #[command(subcommand)]
    pub action: CacheAction,
    /// A cache of compiled code, if it is not $SAMARA_CACHE or the user's own; artifacts are left alone then
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done with the code cache.
#[derive(Debug, Subcommand)]
pub enum CacheAction {
    /// List what is compiled, the most recently used first
    Ls,
    /// Remove what was not used for long, then the least recently used until the rest fits
    Gc {
        /// Bytes to keep at most
        #[arg(long, value_name = "SIZE", value_parser = size, default_value_t = format_bytes(DEFAULT_CACHE_BYTES))]
        max_size: String,
        /// Remove what was not used for this long: `30d`, `12h`
        #[arg(long, value_name = "DURATION", value_parser = age)]
        max_age: Option<Duration>,
    },
    /// Remove everything
    Clear,
}

fn size(text: &str) -> Result<String, UnitError> {
    parse_bytes(text).map(|_| text.to_owned())
}

/// A duration that may also be in days.
fn age(text: &str) -> Result<Duration, UnitError> {
    let days = text.trim().strip_suffix('d').and_then(|number| number.trim_end().parse::<u32>().ok());
    days.map_or_else(|| parse_duration(text), |days| Ok(Duration::from_secs(u64::from(days) * 24 * 60 * 60)))
}

impl CacheArgs {
    /// Does it, and prints what it did.
    ///
    /// # Errors
    /// The cache cannot be opened, read or written.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let artifacts = if self.directory.is_none() { Some(Store::open_default().map_err(in_store)?) } else { None };
        let artifacts = artifacts.as_ref();
        let opened = self.directory.map_or_else(CodeCache::open_default, CodeCache::open);
        let cache = opened.map_err(Failure::Usage)?;
        let shown = cache.directory().display().to_string();
        let during = |what: &str| format!("{what} the code cache `{shown}`");
        let text = match self.action {
            CacheAction::Ls => {
                let entries = cache.list().with_context(|| during("listing"))?;
                let fetched = artifacts.map(Store::list).transpose().map_err(in_store)?.unwrap_or_default();
                if self.json {
                    listed_as_json(&entries, &fetched)
                } else {
                    let now = SystemTime::now();
                    let place = artifacts.map(|store| store.directory().display().to_string());
                    let fetched = place.map(|place| fetched_table(&fetched, &place, now));
                    format!("{}{}", listed(&entries, &shown, now), fetched.unwrap_or_default())
                }
            }
            CacheAction::Gc { max_size, max_age } => {
                let max_bytes = parse_bytes(&max_size).map_err(|error| Failure::Usage(error.into()))?;
                let code = cache.gc(max_bytes, max_age).with_context(|| during("tidying"))?;
                let gone = artifacts.map(|store| store.gc(max_bytes, max_age)).transpose().map_err(in_store)?;
                removed(code, gone.unwrap_or_default(), self.json)
            }
            CacheAction::Clear => {
                let code = cache.clear().with_context(|| during("emptying"))?;
                let gone = artifacts.map(Store::clear).transpose().map_err(in_store)?;
                removed(code, gone.unwrap_or_default(), self.json)
            }
        };
        // A reader that has seen enough is not an error.
        drop(writeln!(std::io::stdout().lock(), "{text}"));
        Ok(ExitCode::SUCCESS)
    }
}

fn in_store(error: samara_artifact::Error) -> Failure {
    Failure::Usage(error.into())
}

/// What was fetched, below what was compiled; nothing if nothing was.
fn fetched_table(entries: &[Entry], directory: &str, now: SystemTime) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["FETCHED", "DIGEST", "KIND", "SIZE", "LAST USED"]);
    for entry in entries {
        let digest = entry.digest.digest();
        let name = entry.name.as_deref().unwrap_or("-");
        table.add_row([
            samara_telemetry::sanitize(name).into_owned(),
            format!("sha256:{}", digest.get(..SHORT_DIGEST).unwrap_or(digest)),
            samara_telemetry::sanitize(&entry.kind).into_owned(),
            format_bytes(entry.bytes),
            ago(now.duration_since(entry.last_used).unwrap_or_default()),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if let Some(sizes) = table.column_mut(3) {
        sizes.set_cell_alignment(CellAlignment::Right);
    }
    let total = entries.iter().map(|entry| entry.bytes).fold(0, u64::saturating_add);
    let count = counted(entries.len() as u64);
    format!("\n\n{}\n{count}, {} in `{directory}`", table.trim_fmt(), format_bytes(total))
}

fn listed(entries: &[CacheEntry], directory: &str, now: SystemTime) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["ARTIFACT", "KIND", "ENGINE", "SIZE", "LAST USED"]);
    for entry in entries {
        let digest = entry.digest.get(..SHORT_DIGEST).unwrap_or(&entry.digest);
        table.add_row([
            format!("sha256:{digest}"),
            entry.encoding.as_str().to_owned(),
            engine(entry).to_owned(),
            format_bytes(entry.bytes),
            ago(now.duration_since(entry.last_used).unwrap_or_default()),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if let Some(sizes) = table.column_mut(3) {
        sizes.set_cell_alignment(CellAlignment::Right);
    }
    let total = entries.iter().map(|entry| entry.bytes).fold(0, u64::saturating_add);
    let sum = format!("{}, {} in `{directory}`", counted(entries.len() as u64), format_bytes(total));
    if entries.is_empty() { sum } else { format!("{}\n{sum}", table.trim_fmt()) }
}

/// Which engine an entry is for, in the words of a table.
fn engine(entry: &CacheEntry) -> &'static str {
    match (entry.engine_current, entry.kind.concurrency, entry.kind.tier) {
        (false, ..) => "outdated",
        (true, false, Tier::Optimized) => "current",
        (true, true, Tier::Optimized) => "current, 0.3",
        (true, false, Tier::Baseline) => "current, baseline",
        (true, true, Tier::Baseline) => "current, 0.3, baseline",
    }
}

fn listed_as_json(entries: &[CacheEntry], fetched: &[Entry]) -> String {
    let list = entries.iter().map(|entry| {
        let used = entry.last_used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        json!({
            "sha256": entry.digest,
            "kind": entry.encoding.as_str(),
            "concurrency": entry.kind.concurrency,
            "tier": entry.kind.tier.as_str(),
            "engine_current": entry.engine_current,
            "bytes": entry.bytes,
            "last_used": used.as_secs(),
        })
    });
    let fetched = fetched.iter().map(|entry| {
        let used = entry.last_used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        json!({
            "sha256": entry.digest.digest(),
            "fetched": entry.name,
            "kind": entry.kind,
            "bytes": entry.bytes,
            "last_used": used.as_secs(),
        })
    });
    serde_json::Value::from_iter(list.chain(fetched)).to_string()
}

fn removed(code: Removed, artifacts: samara_artifact::store::Removed, json: bool) -> String {
    let entries = code.entries.saturating_add(artifacts.artifacts);
    let bytes = code.bytes.saturating_add(artifacts.bytes);
    if json {
        json!({ "removed": entries, "bytes": bytes }).to_string()
    } else {
        format!("removed {}, {}", counted(entries), format_bytes(bytes))
    }
}

fn counted(entries: u64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

/// How long ago, as people say it.
fn ago(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    match minutes {
        0..2 => "just now".to_owned(),
        2..120 => format!("{minutes} minutes ago"),
        120..2880 => format!("{} hours ago", minutes / 60),
        _ => format!("{} days ago", minutes / (24 * 60)),
    }
}

#[cfg(test)]
mod tests {
    use samara_inspect::Encoding;
    use samara_runtime::CodeKind;

    use super::*;

    #[test]
    fn ages_read_in_days_too() {
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 86400)));
        assert_eq!(age("12h"), parse_duration("12h"));
        assert!(age("d").is_err() && age("-1d").is_err() && age("week").is_err());
    }

    #[test]
    fn a_listing_is_a_table_with_a_sum() {
        let now = SystemTime::now();
        let entry = |hours: u64, engine_current| CacheEntry {
            digest: "ab".repeat(32),
            encoding: Encoding::Core,
            kind: CodeKind::default(),
            bytes: 1 << 20,
            last_used: now - Duration::from_secs(hours * 3600),
            engine_current,
        };
        let text = listed(&[entry(3, true), entry(72, false)], "/c", now);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["sha256:abababababab", "core", "module", "current", "1MiB", "3", "hours", "ago"]);
        assert_eq!(lines[2][3..], ["outdated", "1MiB", "3", "days", "ago"]);
        assert_eq!(lines[3].join(" "), "2 entries, 2MiB in `/c`");
        assert_eq!(listed(&[], "/c", now), "0 entries, 0B in `/c`");
        let json = listed_as_json(&[entry(0, true)], &[]);
        assert!(json.starts_with("[{\"sha256\":\"abab") && json.contains("\"engine_current\":true"), "{json}");
    }
}
