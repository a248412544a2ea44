//! What manifests will say one day and may not say yet.
//!
//! One table, so that a key moves out of it by deleting a line. A reader asks it before it calls a key unknown.

/// One key, or one kind of value of a key, that this version refuses by name.
struct NotYet {
    /// The kind of table it stands in: the `place` of its reader.
    place: &'static str,
    /// The key.
    key: &'static str,
    /// Only values that start with this; empty for the key whatever its value.
    value: &'static str,
    /// What is not there yet, as the subject of a sentence in the plural.
    what: &'static str,
}

const fn key(place: &'static str, key: &'static str, what: &'static str) -> NotYet {
    NotYet { place, key, value: "", what }
}

const fn value(place: &'static str, key: &'static str, value: &'static str, what: &'static str) -> NotYet {
    NotYet { place, key, value, what }
}

const NOT_YET: &[NotYet] = &[
    key("manifest", "proxy", "data planes (`[[proxy]]`)"),
    key("manifest", "trust", "trust policies (`[trust]`)"),
    value("workload", "update", "poll:", "updates of running workloads (`update = \"poll:...\"`)"),
    value("workload", "source", "oci://", "sources in registries (`oci://`)"),
    value("workload", "source", "https://", "sources on the web (`https://`)"),
    value("workload", "source", "http://", "sources on the web (`http://`)"),
    value("workload", "source", "bundle://", "sources in bundles (`bundle://`)"),
    key("fs", "quota", "quotas of folders (`quota`)"),
    key("grants", "blob", "`blob` grants"),
    key("grants", "messaging", "`messaging` grants"),
    key("grants", "sql", "`sql` grants"),
    key("grants", "secrets", "`secrets` grants"),
    key("trigger", "steps", "pipelines (`steps`)"),
    key("trigger", "response", "pipelines (`response`)"),
    key("trigger", "every", "`every` triggers"),
    key("trigger", "cron", "`cron` triggers"),
    key("trigger", "subject", "`subject` triggers"),
    key("trigger", "admission", "`admission` triggers"),
    key("host", "trust", "trust policies (`[trust]`)"),
];

/// The sentence that refuses this key or value in this kind of table, if a later version brings it.
pub(super) fn refusal(place: &str, key: &str, value: Option<&str>) -> Option<String> {
    NOT_YET
        .iter()
        .find(|entry| {
            let value_fits = entry.value.is_empty() || value.is_some_and(|value| value.starts_with(entry.value));
            entry.place == place && entry.key == key && value_fits
        })
        .map(|entry| format!("{} are not in this version yet; remove it", entry.what))
}
