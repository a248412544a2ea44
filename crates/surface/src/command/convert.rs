//! `samara convert`: the native manifest of an app that was written for another host.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use samara_artifact::Reference;
use samara_import::{Imported, MAX_INPUT_BYTES, Note, Options, Severity};
use serde_json::json;

use super::{Failure, OriginArgs, block_on};
use crate::{deploy::manifest_file, source::Published};

/// Arguments of `samara convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// A `spin.toml`, a wasmCloud application, the folder of one, a published Spin application, or `-`
    #[arg(value_name = "FILE|DIRECTORY|REF")]
    pub file: String,
    /// The value of a variable of the application, in place of its default
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::grants::parse_pair)]
    pub variable: Vec<(String, String)>,
    /// Fail if something is not carried over
    #[arg(long)]
    pub strict: bool,
    /// Where a published application comes from.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print JSON: the manifest and the notes
    #[arg(long)]
    pub json: bool,
}

impl ConvertArgs {
    /// Converts, prints the manifest on standard output and the notes on standard error.
    ///
    /// # Errors
    /// The input cannot be read, or is no application that can be converted.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let imported = self.imported()?;
        let lost = imported.notes.iter().filter(|note| note.severity == Severity::Lost).count();
        let mut stdout = std::io::stdout().lock();
        // A reader that has seen enough is not an error.
        if self.json {
            let Imported { format, manifest, notes, .. } = &imported;
            let printed = json!({ "format": format.as_str(), "manifest": manifest, "notes": notes });
            drop(writeln!(stdout, "{printed}"));
        } else {
            drop(write!(stdout, "{}", imported.manifest));
            drop(stdout.flush());
            drop(write!(std::io::stderr().lock(), "{}", told(&imported.notes)));
        }
        Ok(if self.strict && lost > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn imported(&self) -> Result<Imported, Failure> {
        let mut options = Options { variables: self.variable.iter().cloned().collect(), reference: None };
        let (text, file) = if self.file == "-" {
            (read(std::io::stdin().lock()).context("reading standard input").map_err(Failure::Usage)?, "-".into())
        } else if let Some(published) = self.published()? {
            options.reference = Some(published.reference);
            (published.text, PathBuf::from(&self.file))
        } else {
            let file = manifest_file(Path::new(&self.file));
            let opened = std::fs::File::open(&file).and_then(read);
            (opened.with_context(|| format!("reading `{}`", file.display())).map_err(Failure::Usage)?, file)
        };
        samara_import::import(&text, &file, &options).map_err(|errors| Failure::Usage(errors.into()))
    }

    /// What a registry or an image layout holds, if that is what was named.
    fn published(&self) -> Result<Option<Published>, Failure> {
        let reference = super::origin::reference(&self.file)?;
        if !matches!(reference, Reference::Oci(_) | Reference::Layout { .. }) {
            return Ok(None);
        }
        let sources = self.origin.sources_untrusted()?;
        let published = block_on(sources.published(&reference))?.map_err(Failure::Usage)?;
        let nothing =
            || anyhow::anyhow!("`{reference}` is no application that can be converted, but it may be served as it is");
        published.map(Some).ok_or_else(|| Failure::Usage(nothing()))
    }
}

/// Reads text up to a little more than is taken, so that what is too large is seen to be.
fn read(from: impl std::io::Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take((MAX_INPUT_BYTES as u64).saturating_add(1)).read_to_string(&mut text)?;
    Ok(text)
}

/// The notes as a table; nothing if there are none.
fn told(notes: &[Note]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["", "LINE", "KEY", "WHAT", "WHY"]);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    let mut sorted: Vec<_> = notes.iter().collect();
    sorted.sort_by_key(|note| note.severity);
    for Note { severity, line, key, what, why, .. } in sorted {
        let row = [severity.as_str().to_owned(), line.to_string(), key.clone(), what.clone(), why.clone()];
        table.add_row(row.map(|cell| samara_telemetry::sanitize(&cell).into_owned()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let count = |severity| notes.iter().filter(|note| note.severity == severity).count();
    let (lost, changed) = (count(Severity::Lost), count(Severity::Changed));
    format!("\n{}\n{lost} not carried over, {changed} to look at\n", table.trim_fmt())
}
