//! What the importers promise, as tables of inputs and what becomes of them.

mod hostile;
mod spin;
mod wadm;

use std::{collections::BTreeSet, path::Path};

use crate::{Imported, Options, import};

/// What becomes of a few keys of an input.
pub(super) struct Row {
    /// The keys of the schema that it is about.
    pub(super) keys: &'static [&'static str],
    pub(super) input: &'static str,
    /// Lines of the native manifest.
    pub(super) lines: &'static [&'static str],
    /// All notes there are: severity, key, and a part of what is said.
    pub(super) notes: &'static [(&'static str, &'static str, &'static str)],
}

pub(super) fn read(input: &str) -> Imported {
    let imported = import(input, Path::new("in"), &Options::default());
    imported.unwrap_or_else(|errors| panic!("{errors}\n{input}"))
}

pub(super) fn refused(input: &str) -> String {
    import(input, Path::new("in"), &Options::default()).map(|imported| imported.manifest).unwrap_err().to_string()
}

/// What the model says of triggers that a later version has: until then they are comments, with a note that says so.
const LATER: &str = "triggers are not in this version yet";

/// Whether a line is of such a trigger.
fn awaited(line: &str) -> bool {
    ["every", "cron", "subject"].iter().any(|key| line.starts_with(key))
}

/// Checks that a row holds, and that nothing else was noted.
pub(super) fn check(row: &Row, input: &str) {
    let imported = read(input);
    for line in row.lines {
        let is =
            |there: &str| there == *line || line.strip_prefix("# ").is_some_and(|line| awaited(line) && there == line);
        assert!(imported.manifest.lines().any(is), "no `{line}` in\n{}", imported.manifest);
    }
    let told: Vec<_> = imported.notes.iter().map(ToString::to_string).collect();
    let refused = |key: &str| imported.notes.iter().any(|note| note.key == key && note.why.contains(LATER));
    let expected: Vec<_> = row.notes.iter().filter(|(_, key, part)| !part.contains(LATER) || refused(key)).collect();
    for (severity, key, part) in &expected {
        let said = |note: &&crate::Note| {
            note.severity.as_str() == *severity
                && note.key == *key
                && format!("{}: {}", note.what, note.why).contains(part)
        };
        assert!(imported.notes.iter().any(|note| said(&note)), "no {severity} `{key}` {part} in\n{}", told.join("\n"));
    }
    assert_eq!(imported.notes.len(), expected.len(), "{input}\n{}\n{}", told.join("\n"), imported.manifest);
}

/// Checks that the rows are about every key of a schema, and about no other.
pub(super) fn check_covered(schema: &[&str], rows: &[Row]) {
    let schema: BTreeSet<_> = schema.iter().copied().collect();
    let covered: BTreeSet<_> = rows.iter().flat_map(|row| row.keys).copied().collect();
    let missing: Vec<_> = schema.difference(&covered).collect();
    assert!(missing.is_empty(), "no row says what becomes of {missing:?}");
    let unknown: Vec<_> = covered.difference(&schema).collect();
    assert!(unknown.is_empty(), "the schema does not have {unknown:?}");
}
