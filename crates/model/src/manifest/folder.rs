//! `[workload.NAME]` with `files`: a workload that is a folder.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue, header};

use super::{
    LimitOverrides,
    reader::{Item, Reader},
};
use crate::Limits;

/// Files sent at once when nobody says otherwise: a large one counts until its last byte is read, however slow the client.
const CONCURRENCY: u32 = 1024;
/// The page for what is not there, when nobody says otherwise.
const NOT_FOUND: &str = "404.html";
/// The limits that bound a folder.
const LIMITS: [&str; 2] = ["concurrency", "queue"];

/// Headers that say what is sent, which nobody else can know.
static OURS: [HeaderName; 14] = [
    header::ACCEPT_RANGES,
    header::ALLOW,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VARY,
];

/// A folder whose files are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its name, unique among the workloads of the app.
    pub name: String,
    /// Where it is: relative to the manifest until `App::resolve_paths`.
    pub path: PathBuf,
    /// What caches are told; `None` is to ask again each time.
    pub cache_control: Option<HeaderValue>,
    /// Headers that each file is sent with besides.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether files are seen whose names, or whose folders' names, begin with a dot.
    pub dotfiles: bool,
    /// The page for what is not there, below the folder. It need not exist.
    pub not_found: String,
    /// What it says about its limits.
    pub limits: LimitOverrides,
    /// The line of its header.
    pub line: u32,
}

impl Folder {
    /// The limits it is served under: its defaults, what it says itself, and its tenant's ceilings.
    pub fn effective_limits(&self, ceiling: &LimitOverrides) -> Limits {
        let mut limits = self.limits.apply(&Limits { concurrency: CONCURRENCY, ..Limits::serve() });
        ceiling.clamp(&mut limits);
        limits
    }

    /// Reads the rest of a workload that has `files`.
    pub(super) fn read(mut reader: Reader<'_>, files: &Item<'_>, name: &str, line: u32) -> Option<Self> {
        let path = files.text("./public").map(PathBuf::from);
        let cache_control = reader.take("cache_control").and_then(|item| {
            let example = "public, max-age=3600";
            item.parse(example, |text| {
                HeaderValue::from_str(text).map_err(|_| format!("`{text}` is not a header; write `{example}`"))
            })
        });
        let headers = reader.take("headers").map(|item| read_headers(&item)).unwrap_or_default();
        let dotfiles = reader.take("dotfiles").and_then(|item| item.boolean()).unwrap_or_default();
        let not_found = reader.take("not_found").and_then(|item| item.parse(NOT_FOUND, page));
        let mut limits = LimitOverrides::default();
        if let Some(item) = reader.take("limits") {
            limits =
                item.table("limits", "limits = { concurrency = 64 }").map(LimitOverrides::read).unwrap_or_default();
            for (key, _) in limits.positions.iter().filter(|(key, _)| !LIMITS.contains(key)) {
                item.problem(format!(
                    "`{key}` bounds guests, and files are none; those of files are {}",
                    LIMITS.join(", ")
                ));
            }
        }
        reader.finish();
        let not_found = not_found.unwrap_or_else(|| NOT_FOUND.to_owned());
        Some(Self { name: name.to_owned(), path: path?, cache_control, headers, dotfiles, not_found, limits, line })
    }
}

fn read_headers(item: &Item<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let entries = item.strings("headers = { x-frame-options = \"DENY\" }").unwrap_or_default();
    let mut headers = Vec::new();
    for (entry, value) in entries {
        match (HeaderName::try_from(entry.key), HeaderValue::from_str(value)) {
            (Ok(name), _) if name == header::CACHE_CONTROL => {
                entry.problem("write it as `cache_control` of the workload");
            }
            (Ok(name), _) if OURS.contains(&name) => {
                entry.problem("this depends on the file and is set for each; remove it");
            }
            (Ok(name), Ok(value)) => headers.push((name, value)),
            (Err(_), _) => entry.problem("this is not the name of a header"),
            (_, Err(_)) => entry.problem("this is not the value of a header; remove control characters"),
        }
    }
    headers
}

fn page(text: &str) -> Result<String, String> {
    let up = text.split('/').any(|name| name.is_empty() || name == "..");
    if up {
        return Err(format!("`{text}` is not a file below the folder; write `{NOT_FOUND}`"));
    }
    Ok(text.to_owned())
}
