//! Manifests of other hosts, read into the app that Samara would have been given.
//!
//! Text in, the text of a native `samara.toml` and a list of notes out; no file is opened and nothing is fetched. The
//! promise: whatever the input says is carried over, or there is a note that says it is not, and why. Two things hold
//! that up: a table of the input that is read reports each of its keys that nobody asked for (`document.rs`), and what
//! the native manifest does not accept is put in comments and noted (`write.rs`), so that its text always parses.
//!
//! Deny stays the default. What cannot be carried over exactly becomes less, never more: a route whose middleware is
//! not carried over is not served, a pattern of files in the folder of the manifest is not given.
//!
//! | format | is | read by |
//! | --- | --- | --- |
//! | [`Format::Spin`] | `spin.toml`, versions 1 and 2 | `spin/` |
//! | [`Format::LockedSpin`] | a published Spin application, as its registry keeps it | `spin/locked.rs` |
//! | [`Format::Wadm`] | a wasmCloud application (Open Application Model) | `wadm/` |

mod document;
mod draft;
mod names;
mod note;
mod place;
pub mod spin;
mod toml_text;
pub mod wadm;
mod write;
mod yaml_text;

use std::{collections::BTreeMap, fmt, path::Path};

pub use document::MAX_DEPTH;
pub use note::{MAX_NOTES, Note, Severity};
use samara_model::{
    format_bytes,
    manifest::{App, ManifestErrors, Position, Problem},
};

/// Larger files are refused unread. A published Spin application holds its small files, hence the room.
pub const MAX_INPUT_BYTES: usize = 4 << 20;

/// The names under which these manifests lie in a folder, in the order in which they are looked for.
pub const FILE_NAMES: &[&str] = &["spin.toml", "wadm.yaml", "wadm.yml"];

/// Whose manifest a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Spin's `spin.toml`.
    Spin,
    /// A Spin application as it is published: JSON, the configuration of its image.
    LockedSpin,
    /// An application of wasmCloud: YAML or JSON.
    Wadm,
}

impl Format {
    /// Its name, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spin => "Spin manifest",
            Self::LockedSpin => "published Spin application",
            Self::Wadm => "wasmCloud application",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the input does not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Values of the application's variables, over their defaults. Those of secret variables are never written.
    pub variables: BTreeMap<String, String>,
    /// Where a published application was found: `oci://registry.example/shop:1`.
    pub reference: Option<String>,
}

/// A foreign manifest, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// What it was.
    pub format: Format,
    /// The text of a native manifest, with comments; [`App::parse`] accepts it.
    pub manifest: String,
    /// The app that the text says, with the lines of the input, by which messages name what is wrong with it.
    pub app: App,
    /// What was not carried over, means something else here, or should be known, in the order of the input.
    pub notes: Vec<Note>,
}

/// Whose manifest a text is, by what every one of that kind must say; `None` if it is none of these.
pub fn detect(text: &str) -> Option<Format> {
    let starts = |key: &str| {
        let says =
            |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        text.lines().any(says)
    };
    let is_json = text.trim_start().starts_with('{');
    if is_json && text.contains("\"spin_lock_version\"") {
        Some(Format::LockedSpin)
    } else if !is_json && (starts("spin_manifest_version") || starts("spin_version")) {
        Some(Format::Spin)
    } else if text.lines().any(says_oam) {
        Some(Format::Wadm)
    } else {
        None
    }
}

/// Whether a line gives the version of the Open Application Model, in YAML or in JSON.
fn says_oam(line: &str) -> bool {
    line.contains("core.oam.dev/") && line.contains("apiVersion") && !line.trim_start().starts_with('#')
}

/// Reads a manifest of any known format; `file` names it in messages and notes.
///
/// # Errors
/// It is of no known format, too large, not the language it should be in, or without what makes it an application.
pub fn import(text: &str, file: &Path, options: &Options) -> Result<Imported, ManifestErrors> {
    check_size(text, file)?;
    match detect(text) {
        Some(Format::Spin) => spin::import(text, file, options),
        Some(Format::LockedSpin) => spin::import_locked(text, file, options),
        Some(Format::Wadm) => wadm::import(text, file, options),
        None => Err(refuse(
            file,
            Position { line: 1, column: 1 },
            "this is no manifest that can be converted; a `spin.toml` has `spin_manifest_version`, a wasmCloud application `apiVersion: core.oam.dev/v1beta1`",
        )),
    }
}

fn check_size(text: &str, file: &Path) -> Result<(), ManifestErrors> {
    if text.len() > MAX_INPUT_BYTES {
        let limit = format_bytes(MAX_INPUT_BYTES as u64);
        return Err(refuse(file, Position { line: 1, column: 1 }, format!("the file is over {limit}")));
    }
    Ok(())
}

/// The one problem that ends an import.
fn refuse(file: &Path, position: Position, message: impl Into<String>) -> ManifestErrors {
    let message = note::clean(&message.into());
    ManifestErrors { problems: vec![Problem { file: file.to_owned(), position, message }] }
}

#[cfg(test)]
mod tests;
