//! What manifests will say one day and may not say yet.
//!
//! One table, so that a key moves out of it by deleting a line. A reader asks it before it calls a key unknown.

/// One key that this version refuses by name.
struct NotYet {
    /// The kind of table it stands in: the `place` of its reader.
    place: &'static str,
    /// The key.
    key: &'static str,
    /// What is not there yet, as the subject of a sentence in the plural.
    what: &'static str,
}

const fn key(place: &'static str, key: &'static str, what: &'static str) -> NotYet {
    NotYet { place, key, what }
}

const NOT_YET: &[NotYet] = &[
    key("manifest", "proxy", "data planes (`[[proxy]]`)"),
    key("fs", "quota", "quotas of folders (`quota`)"),
    key("trigger", "steps", "pipelines (`steps`)"),
    key("trigger", "response", "pipelines (`response`)"),
    key("trigger", "admission", "`admission` triggers"),
];

/// The sentence that refuses this key in this kind of table, if a later version brings it.
pub(super) fn refusal(place: &str, key: &str) -> Option<String> {
    let found = NOT_YET.iter().find(|entry| entry.place == place && entry.key == key);
    found.map(|entry| format!("{} are not in this version yet; remove it", entry.what))
}
