//! Manifests of other hosts in place of our own: converted while they are read, and what is not carried over is told.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use samara_import::{FILE_NAMES, Format, MAX_INPUT_BYTES, Note, Options, Severity};
use samara_model::manifest::App;

/// The name of a manifest of our own in a folder.
const OWN_NAME: &str = "samara.toml";

/// How `spin up` is given a variable by the environment: this and its name in capitals.
const SPIN_VARIABLE: &str = "SPIN_VARIABLE_";

/// A manifest that was read.
#[derive(Debug)]
pub struct ReadManifest {
    /// Its text, of a native manifest.
    pub text: String,
    /// What it says.
    pub app: App,
    /// Whose it was and what is told of it, if it was not ours.
    pub foreign: Option<(Format, Vec<Note>)>,
}

/// The manifest in a folder: ours, or else one that can be converted.
pub(super) fn in_folder(folder: &Path) -> PathBuf {
    let own = folder.join(OWN_NAME);
    let foreign = FILE_NAMES.iter().map(|name| folder.join(name)).find(|file| file.is_file());
    foreign.filter(|_| !own.is_file()).unwrap_or(own)
}

/// Whether a path is that of a manifest, by its name.
pub fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    path.is_dir() || extension.is_some_and(|extension| matches!(extension, "toml" | "yaml" | "yml" | "json"))
}

/// Reads a manifest; one of another host is converted.
///
/// # Errors
/// The file cannot be read, or everything that is wrong in it.
pub(super) fn read(file: &Path, options: &Options) -> anyhow::Result<ReadManifest> {
    let mut text = String::new();
    let opened = File::open(file).and_then(|opened| {
        // One byte more, so that what is too large is seen to be.
        let most = u64::try_from(MAX_INPUT_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        opened.take(most).read_to_string(&mut text)
    });
    opened.with_context(|| format!("reading the manifest `{}`", file.display()))?;
    of_text(text, file, options)
}

/// Reads the text of a manifest; `file` names it.
///
/// # Errors
/// Everything that is wrong in it.
pub(super) fn of_text(text: String, file: &Path, options: &Options) -> anyhow::Result<ReadManifest> {
    // Ours are written in one language; of the others' languages nothing is ours.
    let maybe_own = file.extension().is_none_or(|extension| extension == "toml");
    let is_own = maybe_own && samara_import::detect(&text).is_none();
    if is_own || file.file_name().is_some_and(|name| name == OWN_NAME) {
        let app = App::parse(&text, file)?;
        return Ok(ReadManifest { text, app, foreign: None });
    }
    let imported = samara_import::import(&text, file, options)?;
    let foreign = Some((imported.format, imported.notes));
    Ok(ReadManifest { text: imported.manifest, app: imported.app, foreign })
}

/// What `spin up` would have known of the values of variables.
pub fn options_of_environment() -> Options {
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let name = name.to_str()?.strip_prefix(SPIN_VARIABLE)?.to_ascii_lowercase();
        Some((name, value.into_string().ok()?))
    };
    let variables: BTreeMap<_, _> = std::env::vars_os().filter_map(variable).collect();
    Options { variables, ..Options::default() }
}

impl ReadManifest {
    /// Logs what was not carried over.
    pub fn tell(&self, file: &Path) {
        let Some((format, notes)) = &self.foreign else { return };
        let file = file.display();
        for note in notes {
            match note.severity {
                Severity::Lost => tracing::warn!("{file}:{note}"),
                Severity::Changed => tracing::info!("{file}:{note}"),
                Severity::Info => tracing::debug!("{file}:{note}"),
            }
        }
        let lost = notes.iter().filter(|note| note.severity == Severity::Lost).count();
        tracing::info!("`{file}` is a {format}: {lost} of what it says not carried over; `samara convert` shows all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_s_own_manifest_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(in_folder(folder.path()), at("samara.toml"), "which is what a message should name");
        std::fs::write(at("wadm.yaml"), "").unwrap();
        assert_eq!(in_folder(folder.path()), at("wadm.yaml"));
        std::fs::write(at("spin.toml"), "").unwrap();
        assert_eq!(in_folder(folder.path()), at("spin.toml"));
        std::fs::write(at("samara.toml"), "").unwrap();
        assert_eq!(in_folder(folder.path()), at("samara.toml"));
    }

    #[test]
    fn what_is_ours_is_never_taken_for_another_s() {
        let text =
            "# core.oam.dev/v1beta1\n[app]\nname = \"a\"\n[workload.w]\nsource = \"w.wasm\"\nsettings = { x = 1 }\n";
        let read = of_text(text.to_owned(), Path::new("other.toml"), &Options::default()).unwrap();
        assert!(read.foreign.is_none() && read.text == text);
        let spin = "spin_manifest_version = 2\napplication.name = \"a\"\n";
        assert!(of_text(spin.to_owned(), Path::new("samara.toml"), &Options::default()).is_err());
        let other = of_text("kind: Deployment".to_owned(), Path::new("a.yaml"), &Options::default()).unwrap_err();
        assert!(other.to_string().contains("no manifest that can be converted"), "{other}");
        let read = of_text(spin.to_owned(), Path::new("spin.toml"), &Options::default()).unwrap();
        assert_eq!(read.foreign.unwrap().0, Format::Spin);
    }

    #[test]
    fn a_manifest_that_is_too_large_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spin.toml");
        let opened = File::create(&file).unwrap();
        opened.set_len(1 << 40).unwrap();
        let error = read(&file, &Options::default()).unwrap_err();
        assert!(format!("{error:#}").contains("the file is over"), "{error:#}");
    }
}
