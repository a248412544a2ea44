//! `source` and `update` of a workload: where its artifact comes from, and whether it follows a tag.
//!
//! What a reference means is not known here: that is the business of whoever fetches it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Position,
    reader::{Item, did_you_mean},
};
use crate::parse_duration;

/// A tag is not asked for more often: a registry is shared by many.
pub const MIN_POLL: Duration = Duration::from_secs(1);
/// Whoever asks less often means never.
pub const MAX_POLL: Duration = Duration::from_secs(24 * 60 * 60);

/// What a source may begin with; without any of these it is a path.
const SCHEMES: [&str; 5] = ["oci", "https", "http", "bundle", "file"];

/// Where a workload's artifact comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// As the manifest writes it: a path, or a reference with a scheme.
    pub text: String,
    /// The folder that a path in it is relative to: empty until [`App::resolve_paths`](super::App::resolve_paths).
    pub folder: PathBuf,
    /// Where the manifest says so.
    pub position: Position,
}

impl Source {
    /// The file that it is, if it is nothing but a file.
    pub fn file(&self) -> Option<PathBuf> {
        let path = match self.text.split_once(':') {
            Some(("file", rest)) => rest.strip_prefix("//").unwrap_or(&self.text),
            Some(("oci" | "oci-archive", _)) => return None,
            Some((_, rest)) if rest.starts_with("//") => return None,
            _ => &self.text,
        };
        Some(self.folder.join(path))
    }

    /// Whether a tag of a registry or an image layout names it, which may come to name another artifact.
    pub fn is_tag(&self) -> bool {
        self.text.starts_with("oci:") && !self.text.contains('@')
    }

    pub(super) fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("./guest.wasm")?;
        if let Some((scheme, _)) = text.split_once("://")
            && !SCHEMES.contains(&scheme)
        {
            let near = did_you_mean(scheme, SCHEMES.into_iter());
            item.problem(format!(
                "no source has the scheme `{scheme}://`; write a path, or `oci://registry.example/name:tag`{near}"
            ));
            return None;
        }
        Some(Self { text: text.to_owned(), folder: PathBuf::new(), position: item.position() })
    }

    pub(super) fn resolve(&mut self, folder: &Path) {
        self.folder = folder.join(&self.folder);
    }
}

/// Whether a workload follows the tag that its source names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update {
    /// What was loaded stays until somebody changes it.
    #[default]
    Never,
    /// The registry is asked this often, and what the tag names then takes over.
    Poll(Duration),
}

impl Update {
    pub(super) fn read(item: &Item<'_>) -> Option<Self> {
        item.parse("poll:30s", |text| {
            let wrong = || format!("`{text}` is not known; write `never`, or `poll:30s` to follow a tag");
            match text.split_once(':') {
                None if text == "never" => Ok(Self::Never),
                Some(("poll", interval)) => {
                    let interval = parse_duration(interval).map_err(|error| error.to_string())?;
                    if interval < MIN_POLL || interval > MAX_POLL {
                        return Err(format!("`{text}` is out of bounds; write from `poll:1s` to `poll:24h`"));
                    }
                    Ok(Self::Poll(interval))
                }
                _ => Err(wrong()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::App;

    fn read(workload: &str) -> Result<(Source, Update), String> {
        let text = format!("app.name = \"a\"\n[workload.w]\n{workload}");
        let app = App::parse(&text, Path::new("f")).map_err(|errors| errors.to_string())?;
        let first = app.workloads.into_iter().next().ok_or("no workload")?;
        Ok((first.source, first.update))
    }

    fn file_of(source: &str) -> Option<PathBuf> {
        let mut source = read(&format!("source = \"{source}\"")).expect("it is one").0;
        source.resolve(Path::new("/app"));
        source.file()
    }

    #[test]
    fn a_source_is_a_file_unless_it_says_otherwise() {
        for (source, file) in [
            ("./cart.wasm", "/app/./cart.wasm"),
            ("r.example/cart", "/app/r.example/cart"),
            ("/srv/cart.wasm", "/srv/cart.wasm"),
            ("file:///srv/cart.wasm", "/srv/cart.wasm"),
            ("odd:name.wasm", "/app/odd:name.wasm"),
        ] {
            assert_eq!(file_of(source).as_deref(), Some(Path::new(file)), "{source}");
        }
        for source in [
            "oci://r.example/cart:1",
            "https://w.example/a.wasm",
            "bundle://b.zip#m",
            "oci:dir:v1",
            "oci-archive:x.tar",
        ] {
            assert_eq!(file_of(source), None, "{source}");
        }
    }

    #[test]
    fn only_a_tag_is_followed_and_within_bounds() {
        let update = |text: &str| read(&format!("source = \"oci://r.example/a:1\"\nupdate = \"{text}\""));
        assert_eq!(update("poll:30s").unwrap().1, Update::Poll(Duration::from_secs(30)));
        assert_eq!(update("never").unwrap().1, Update::Never);
        for (text, why) in [
            ("poll:10ms", "out of bounds; write from `poll:1s` to `poll:24h`"),
            ("poll:100h", "out of bounds"),
            ("poll:", "`update` in [workload.w]"),
            ("always", "write `never`, or `poll:30s` to follow a tag"),
        ] {
            assert!(update(text).unwrap_err().contains(why), "{text}: {:?}", update(text));
        }
        let digest = format!("oci://r.example/a@sha256:{}", "ab".repeat(32));
        for source in ["./a.wasm", "https://w.example/a.wasm", &digest] {
            let told = read(&format!("source = \"{source}\"\nupdate = \"poll:30s\"")).unwrap_err();
            assert!(told.contains("only a tag (`oci://registry.example/name:tag`) can move"), "{told}");
        }
        let told = read("source = \"htps://w.example/a.wasm\"").unwrap_err();
        assert!(
            told.contains("no source has the scheme `htps://`") && told.contains("did you mean `https`?"),
            "{told}"
        );
    }
}
