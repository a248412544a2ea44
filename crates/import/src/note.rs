//! What is told about an import: one note for each thing that did not simply become its counterpart.

use std::{cell::RefCell, fmt};

use samara_model::manifest::Position;

/// Notes of one import; a last one says that there are more.
pub const MAX_NOTES: usize = 1_000;

/// Characters of one part of a note.
const MAX_NOTE_CHARS: usize = 400;

/// How much a note matters, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is not carried over.
    Lost,
    /// It is carried over, and means something a little different here or wants a look.
    Changed,
    /// Nothing is missing; it is said so that nobody wonders.
    Info,
}

impl Severity {
    /// The word that tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Changed => "changed",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that whoever converts a manifest should know.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Note {
    /// How much it matters.
    pub severity: Severity,
    /// The line of the input, from 1.
    pub line: u32,
    /// The column of the input, from 1.
    pub column: u32,
    /// The key of the input: `component.cart.ai_models`.
    pub key: String,
    /// What it is about. Never a value that may be a secret.
    pub what: String,
    /// Why, and what to do about it.
    pub why: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, line, column, key, what, why } = self;
        write!(f, "{line}:{column}: {severity}: `{key}`: {what}: {why}")
    }
}

/// The notes of one import, while it goes on.
#[derive(Debug, Default)]
pub(crate) struct Notes(RefCell<Vec<Note>>);

impl Notes {
    pub(crate) fn add(&self, severity: Severity, at: Position, key: &str, what: &str, why: &str) {
        let mut notes = self.0.borrow_mut();
        if notes.len() > MAX_NOTES {
            return;
        }
        let full = notes.len() == MAX_NOTES;
        let (what, why) = if full {
            ("the rest", "there are more notes than are listed; convert the manifest in parts")
        } else {
            (what, why)
        };
        let severity = if full { Severity::Lost } else { severity };
        let note =
            Note { severity, line: at.line, column: at.column, key: clean(key), what: clean(what), why: clean(why) };
        // One key may be asked about twice, such as a variable that two components use.
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// The notes, in the order of the input.
    pub(crate) fn into_sorted(self) -> Vec<Note> {
        let mut notes = self.0.into_inner();
        notes.sort_by(|one, other| {
            (one.line, one.column, one.severity).cmp(&(other.line, other.column, other.severity))
        });
        notes
    }
}

/// Text of the input as one line that a terminal and a comment can take: no control characters, not too long.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == MAX_NOTE_CHARS {
            clean.push('…');
            break;
        }
        // Characters that turn the direction of writing make a line read as what it is not.
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    clean
}
