//! The files that are known to fail, each with its reason: `expected.txt`.

use anyhow::{Context, Result};

use crate::{engine::Allocation, suite::Suite};

/// The list as it is committed.
const LIST: &str = include_str!("../expected.txt");

/// Known failures.
#[derive(Debug)]
pub(crate) struct Expected {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    suite: &'static str,
    /// `always`, or the one allocation it fails under.
    when: &'static str,
    file: &'static str,
    reason: &'static str,
}

impl Expected {
    /// Reads the list: `# reason` and below it the lines `SUITE WHEN FILE` that it explains.
    pub(crate) fn read() -> Result<Self> {
        let mut reason = None;
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(LIST.lines()).filter(|(_, line)| !line.is_empty()) {
            if let Some(text) = line.strip_prefix("# ") {
                reason = Some(text);
                continue;
            }
            let mut words = line.split_whitespace();
            let entry =
                (|| Some(Entry { suite: words.next()?, when: words.next()?, file: words.next()?, reason: reason? }))();
            entries.push(
                entry.with_context(|| format!("expected.txt:{number}: write SUITE WHEN FILE below a `# reason`"))?,
            );
        }
        Ok(Self { entries })
    }

    /// Why a file fails, if it is known to.
    pub(crate) fn reason(&self, suite: Suite, allocation: Allocation, file: &str) -> Option<&str> {
        let applies = |entry: &&Entry| {
            entry.suite == suite.name()
                && entry.file == file
                && (entry.when == "always" || entry.when == allocation.name())
        };
        self.entries.iter().find(applies).map(|entry| entry.reason)
    }
}
