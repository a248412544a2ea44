//! Manifests and indexes, read strictly: what two readers could understand in two ways is refused.
//!
//! A document that is both a manifest and an index is one thing to whoever checks it and another to whoever runs it
//! (GHSA-mc8v-mgrf-8f4m), so it is refused, also where the names differ only in case, as Go reads them. Docker's manifests of
//! schema 2 and its lists are the same documents under other media types. Format:
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md>, `image-index.md` beside it.

use std::fmt;

use oci_spec::image::{Arch, Descriptor, Digest, DigestAlgorithm, ImageIndex, ImageManifest, MediaType, Os, Platform};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{
    Error,
    bounds::{MAX_DOCUMENT_STRINGS, MAX_LAYERS, MAX_MANIFEST_BYTES, MAX_MANIFESTS},
};

/// Docker's manifest of schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list of manifests, its index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// What every manifest of schema 1 begins with, signed or not.
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";
/// What a server says that does not know.
const SAYS_NOTHING: &[&str] = &["", "application/json", "application/octet-stream", "text/plain"];
/// Platforms that an error lists.
const LISTED: usize = 16;

/// What a tag or a digest of a repository names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One artifact: a configuration and layers.
    Manifest(Box<ImageManifest>),
    /// Manifests for several platforms.
    Index(Box<ImageIndex>),
}

/// Reads a manifest or an index. `said` is the media type of the descriptor that led here, or the server's `Content-Type`.
///
/// # Errors
/// It is no JSON, too much, of an old schema, two things at once, or not of the media type that was said.
pub fn read(bytes: &[u8], said: Option<&str>) -> Result<Document, Error> {
    // What is wrong with it is said in its own words too: media types, names, values.
    read_as(bytes, said).map_err(Error::harmless)
}

fn read_as(bytes: &[u8], said: Option<&str>) -> Result<Document, Error> {
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(Error::OverLimit(format!(
            "the manifest is of {} bytes, and at most {MAX_MANIFEST_BYTES} are read",
            bytes.len()
        )));
    }
    let strings = bytes.iter().filter(|byte| **byte == b'"').count() / 2;
    if strings > MAX_DOCUMENT_STRINGS {
        return Err(Error::OverLimit(format!(
            "the manifest has {strings} strings, and at most {MAX_DOCUMENT_STRINGS} are read"
        )));
    }
    let said = said.map(essence).filter(|said| !SAYS_NOTHING.contains(&said.as_str()));
    let outline: Outline = serde_json::from_slice(bytes).map_err(|error| not_read(&error))?;
    let written = outline.media_type.as_deref();
    outline.refuse_old(said.as_deref().or(written))?;
    if outline.layers && outline.manifests {
        return Err(Error::Invalid(
            "the document has both `layers` and `manifests`, so that it is two things to two readers; ask its publisher for \
             one of them"
                .to_owned(),
        ));
    }
    if let (Some(said), Some(written)) = (said.as_deref(), written)
        && said != written
    {
        return Err(Error::Invalid(format!("the manifest says that it is `{written}`, and was announced as `{said}`")));
    }
    let named = written.or(said.as_deref());
    let is_index = match named {
        Some(DOCKER_LIST) => true,
        Some(DOCKER_MANIFEST) => false,
        Some(named) if named == MediaType::ImageIndex.as_ref() => true,
        Some(named) if named == MediaType::ImageManifest.as_ref() => false,
        Some(named) => {
            return Err(Error::Invalid(format!(
                "`{named}` is neither a manifest nor an index of an image specification that is read here"
            )));
        }
        None => outline.manifests,
    };
    if is_index { index(bytes) } else { manifest(bytes) }
}

fn manifest(bytes: &[u8]) -> Result<Document, Error> {
    let manifest: ImageManifest = serde_json::from_slice(bytes).map_err(|error| not_read(&error))?;
    if manifest.layers().len() > MAX_LAYERS {
        return Err(Error::OverLimit(format!(
            "the manifest has {} layers, and at most {MAX_LAYERS} are read",
            manifest.layers().len()
        )));
    }
    for descriptor in manifest.layers().iter().chain([manifest.config()]).chain(manifest.subject()) {
        only_sha256(descriptor.digest())?;
    }
    Ok(Document::Manifest(Box::new(manifest)))
}

fn index(bytes: &[u8]) -> Result<Document, Error> {
    let index: ImageIndex = serde_json::from_slice(bytes).map_err(|error| not_read(&error))?;
    if index.manifests().len() > MAX_MANIFESTS {
        return Err(Error::OverLimit(format!(
            "the index has {} manifests, and at most {MAX_MANIFESTS} are read",
            index.manifests().len()
        )));
    }
    for descriptor in index.manifests().iter().chain(index.subject()) {
        only_sha256(descriptor.digest())?;
    }
    Ok(Document::Index(Box::new(index)))
}

/// The only kind of digest that is checked here.
///
/// # Errors
/// It is of another kind.
pub fn only_sha256(digest: &Digest) -> Result<(), Error> {
    match digest.algorithm() {
        DigestAlgorithm::Sha256 => Ok(()),
        other => Err(Error::Invalid(format!("a digest of the manifest is of `{other}`; only sha256 is checked here"))),
    }
}

fn not_read(error: &serde_json::Error) -> Error {
    Error::Invalid(format!("the manifest is not read: {error}"))
}

/// A media type without its parameters, in lower case.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What a document has at its top.
#[derive(Debug, Default)]
struct Outline {
    schema_version: Option<u64>,
    media_type: Option<String>,
    layers: bool,
    manifests: bool,
    /// Layers as schema 1 named them.
    fs_layers: bool,
    /// Layers of the artifact manifest that OCI 1.1 withdrew.
    blobs: bool,
}

impl Outline {
    fn refuse_old(&self, named: Option<&str>) -> Result<(), Error> {
        if self.fs_layers
            || self.schema_version == Some(1)
            || named.is_some_and(|named| named.starts_with(DOCKER_SCHEMA_1))
        {
            return Err(Error::Invalid(
                "it is a Docker manifest of schema 1, whose layers cannot be checked; push it again with a tool of this \
                 decade"
                    .to_owned(),
            ));
        }
        if named == Some(MediaType::ArtifactManifest.as_ref()) || (self.blobs && !self.layers) {
            return Err(Error::Invalid(
                "it is an OCI artifact manifest, which the specification withdrew before 1.1; push it again as an image \
                 manifest"
                    .to_owned(),
            ));
        }
        match self.schema_version {
            Some(2) => Ok(()),
            Some(other) => Err(Error::Invalid(format!("the manifest is of schema {other}; schema 2 is read"))),
            None => Err(Error::Invalid("the manifest has no `schemaVersion`; 2 is read".to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Outline;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a manifest or an index")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
                let mut outline = Outline::default();
                let mut names = Names::of(TOP);
                while let Some(key) = map.next_key::<String>()? {
                    match names.once(&key).map_err(A::Error::custom)? {
                        Some("schemaVersion") => outline.schema_version = Some(map.next_value()?),
                        Some("mediaType") => outline.media_type = Some(map.next_value()?),
                        Some(list @ ("layers" | "manifests")) => {
                            (outline.layers, outline.manifests) =
                                (outline.layers || list == "layers", outline.manifests || list == "manifests");
                            map.next_value_seed(Names::of(DESCRIPTOR))?;
                        }
                        Some("config" | "subject") => map.next_value_seed(Names::of(DESCRIPTOR))?,
                        other => {
                            outline.fs_layers |= other == Some("fsLayers");
                            outline.blobs |= other == Some("blobs");
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(outline)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// What manifests and indexes have at their top.
const TOP: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
    "blobs",
];
/// What descriptors have.
const DESCRIPTOR: &[&str] = &["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"];
/// What platforms have.
const PLATFORM: &[&str] = &["architecture", "os", "os.version", "os.features", "variant", "features"];

/// The names an object may have, each once and in this spelling. Go takes any case, and the last of several: what has
/// `layers` and `Layers` is one artifact to it and another to us.
#[derive(Clone)]
struct Names {
    known: &'static [&'static str],
    seen: Vec<&'static str>,
}

impl Names {
    fn of(known: &'static [&'static str]) -> Self {
        Self { known, seen: Vec::new() }
    }

    /// Which of the names a key is; `None` is one that nobody knows.
    fn once(&mut self, key: &str) -> Result<Option<&'static str>, String> {
        // The two letters beyond ASCII that Go folds into it.
        let folded = key.replace('\u{17f}', "s").replace('\u{212a}', "k");
        let Some(name) = self.known.iter().copied().find(|name| name.eq_ignore_ascii_case(&folded)) else {
            return Ok(None);
        };
        if self.seen.contains(&name) {
            return Err(format!("it has two `{name}`"));
        }
        if name != key {
            return Err(format!("it has `{key}`, which only some readers take for `{name}`"));
        }
        self.seen.push(name);
        Ok(Some(name))
    }
}

/// Looks at one object, or at each of a list, and keeps nothing.
impl<'de> DeserializeSeed<'de> for Names {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a descriptor, or a list of them")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self.clone())?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.once(&key).map_err(A::Error::custom)? {
                Some("platform") => map.next_value_seed(Self::of(PLATFORM))?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// The manifest of an index that is for us: the first for Wasm of any kind, else the first without a platform, else a linux
/// image, of this machine's architecture if there is one. Several for Wasm are in the publisher's order of preference, as
/// the specification has it.
///
/// # Errors
/// None is; the message lists the platforms that there are.
pub fn for_us(index: &ImageIndex) -> Result<&Descriptor, Error> {
    let real = || index.manifests().iter().filter(|descriptor| !is_attestation(descriptor));
    let of = |wanted: &dyn Fn(Option<&Platform>) -> bool| real().find(|found| wanted(found.platform().as_ref()));
    let linux = |arch: Option<&Arch>| {
        of(&|platform| {
            platform
                .is_some_and(|found| *found.os() == Os::Linux && arch.is_none_or(|arch| found.architecture() == arch))
        })
    };
    of(&|platform| platform.is_some_and(is_wasm))
        .or_else(|| of(&|platform| platform.is_none()))
        .or_else(|| linux(Some(&Arch::default())))
        .or_else(|| linux(None))
        .ok_or_else(|| Error::NotFound(format!("the index has no image for Wasm; {}", listed(index))))
}

/// `wasip1/wasm`, `wasip2/wasm`, `wasi/wasm`, `wasi/wasm32`, `wasm/...`, `linux/wasm`; but not `js/wasm`, Go's for browsers.
fn is_wasm(platform: &Platform) -> bool {
    let (os, arch) = (platform.os().to_string(), platform.architecture().to_string());
    (matches!(arch.as_str(), "wasm" | "wasm32" | "wasm64") && os != "js") || os.starts_with("wasi") || os == "wasm"
}

/// What build tools add beside the images: of platform `unknown/unknown`, or so annotated.
fn is_attestation(descriptor: &Descriptor) -> bool {
    let unknown = descriptor.platform().as_ref().is_some_and(|platform| {
        platform.os().to_string() == "unknown" && platform.architecture().to_string() == "unknown"
    });
    let annotated = |annotations: &std::collections::HashMap<String, String>| {
        annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest")
    };
    unknown || descriptor.annotations().as_ref().is_some_and(annotated)
}

fn listed(index: &ImageIndex) -> String {
    let mut names: Vec<_> = index
        .manifests()
        .iter()
        .filter(|descriptor| !is_attestation(descriptor))
        .filter_map(|descriptor| descriptor.platform().as_ref())
        .map(|platform| format!("{}/{}", platform.os(), platform.architecture()))
        .collect();
    if names.is_empty() {
        return "it lists none at all".to_owned();
    }
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("it has {}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn descriptor(platform: &str) -> String {
        let platform = match platform.split_once('/') {
            Some((os, arch)) => format!(r#","platform":{{"os":"{os}","architecture":"{arch}"}}"#),
            None => String::new(),
        };
        format!(r#"{{"mediaType":"{OCI}","digest":"sha256:{}","size":2{platform}}}"#, "ab".repeat(32))
    }

    fn manifest_of(layers: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#, descriptor(""))
    }

    #[track_caller]
    fn check(text: &str, said: Option<&str>, expected: &str) {
        let found = match read(text.as_bytes(), said) {
            Ok(Document::Manifest(_)) => "manifest".to_owned(),
            Ok(Document::Index(_)) => "index".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(found.starts_with(expected), "{found}\n  is not\n{expected}");
    }

    #[test]
    fn documents_of_all_makers_are_read() {
        let plain = manifest_of(&descriptor(""));
        check(&plain, None, "manifest");
        check(&plain, Some(OCI), "manifest");
        check(&plain, Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"), "manifest");
        check(&plain, Some("application/json"), "manifest");
        check(&plain, Some(DOCKER_MANIFEST), "manifest");
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor("wasi/wasm"));
        check(&index, None, "index");
        check(&index, Some(DOCKER_LIST), "index");
        let docker = format!(r#"{{"schemaVersion":2,"mediaType":"{DOCKER_LIST}","manifests":[]}}"#);
        check(&docker, Some(DOCKER_LIST), "index");
    }

    #[test]
    fn what_is_two_things_at_once_is_refused() {
        let both = "the document has both `layers` and `manifests`";
        let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}}"#, descriptor(""));
        check(&text, None, both);
        check(&text, Some(OCI), both);
        let variant = "the manifest is not read: it has `Manifests`, which only some readers take for `manifests`";
        check(&text.replace("\"manifests\"", "\"Manifests\""), None, variant);
        check(&text.replace("\"manifests\"", r#""m\u0061nifests""#), None, both);
        let twice = format!(r#"{{"schemaVersion":2,"config":{},"layers":[],"layers":[]}}"#, descriptor(""));
        check(&twice, None, "the manifest is not read: it has two `layers`");
        let types = r#"{"schemaVersion":2,"mediaType":"a/b","mediatype":"c/d"}"#;
        check(types, None, "the manifest is not read: it has two `mediaType`");
    }

    /// Go takes any case of a name, and the last of several.
    #[test]
    fn doubles_in_any_case_are_refused() {
        let plain = manifest_of(&descriptor("wasi/wasm"));
        check(&plain, None, "manifest");
        let other = "sha256:".to_owned() + &"cd".repeat(32);
        for (before, added, expected) in [
            ("\"layers\"", r#""Layers":[],"#, "it has `Layers`, which only some readers take for `layers`"),
            ("\"layers\"", r#""layer\u017f":[],"#, "it has `layer\u{17f}`, which only some readers take for `layers`"),
            ("\"config\"", r#""Config":{},"#, "it has `Config`, which only some readers take for `config`"),
            ("\"config\"", r#""config":{},"#, "it has two `config`"),
            ("\"config\"", r#""Subject":{},"#, "it has `Subject`, which only some"),
            ("\"digest\"", &format!(r#""Digest":"{other}","#), "it has `Digest`, which only some"),
            ("\"digest\"", &format!(r#""digest":"{other}","#), "it has two `digest`"),
            ("\"size\"", r#""SIZE":3,"#, "it has `SIZE`, which only some"),
            ("\"os\"", r#""OS":"linux","#, "it has `OS`, which only some"),
        ] {
            // The first such name, and where there are several also the last: of the config, of a layer.
            let expected = format!("the manifest is not read: {expected}");
            check(&plain.replacen(before, &format!("{added}{before}"), 1), None, &expected);
            let at = plain.rfind(before).unwrap();
            check(&format!("{}{added}{}", &plain[..at], &plain[at..]), None, &expected);
        }
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor("wasi/wasm"));
        let double = index.replace(r#""digest""#, &format!(r#""DIGEST":"{other}","digest""#));
        check(&double, None, "the manifest is not read: it has `DIGEST`");
        let annotated = plain.replace(r#""layers""#, r#""annotations":{"Digest":"x","digest":"y"},"layers""#);
        check(&annotated, None, "manifest");
        check(&plain.replace(r#""layers""#, r#""subject":null,"layers""#), None, "manifest");
    }

    #[test]
    fn a_document_is_what_it_was_announced_as() {
        let text = manifest_of("").replace(r#""config""#, &format!(r#""mediaType":"{OCI}","config""#));
        check(&text, Some(OCI), "manifest");
        check(
            &text,
            Some(OCI_INDEX),
            "the manifest says that it is `application/vnd.oci.image.manifest.v1+json`, and was",
        );
        check(&manifest_of(""), Some(OCI_INDEX), "the manifest is not read: missing field `manifests`");
        check(&manifest_of(""), Some("application/vnd.x+json"), "`application/vnd.x+json` is neither");
    }

    #[test]
    fn what_a_document_says_does_no_harm_in_an_error() {
        let hostile = r"a/\u001b[2J\u202e\n";
        let long = "x".repeat(10_000);
        for text in [
            format!(r#"{{"schemaVersion":2,"mediaType":"{hostile}"}}"#),
            format!(r#"{{"schemaVersion":2,"mediaType":"{long}"}}"#),
            format!(r#"{{"schemaVersion":"{hostile}{long}"}}"#),
            manifest_of("").replace("sha256:", hostile),
        ] {
            for said in [None, Some("a/\u{1b}[2J")] {
                let error = read(text.as_bytes(), said).unwrap_err().to_string();
                assert!(!error.chars().any(|c| c.is_control() || c == '\u{202e}'), "{error:?}");
                assert!(error.chars().count() < 1_000, "{} characters", error.chars().count());
            }
        }
    }

    #[test]
    fn old_schemas_are_refused_by_name() {
        let old = "it is a Docker manifest of schema 1";
        check(r#"{"schemaVersion":1,"fsLayers":[]}"#, None, old);
        check("{}", Some("application/vnd.docker.distribution.manifest.v1+prettyjws"), old);
        let artifact = r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[]}"#;
        check(artifact, None, "it is an OCI artifact manifest");
        check(r#"{"schemaVersion":3,"layers":[]}"#, None, "the manifest is of schema 3; schema 2 is read");
        check(r#"{"layers":[]}"#, None, "the manifest has no `schemaVersion`");
        check("[]", None, "the manifest is not read: invalid type: sequence, expected a manifest or an index");
    }

    #[test]
    fn layers_manifests_strings_and_bytes_are_bounded() {
        let many = |count: usize| vec![descriptor(""); count].join(",");
        check(&manifest_of(&many(MAX_LAYERS)), None, "manifest");
        check(&manifest_of(&many(MAX_LAYERS + 1)), None, "the manifest has 513 layers, and at most 512 are read");
        let index = |count| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, many(count));
        check(&index(MAX_MANIFESTS), None, "index");
        check(&index(MAX_MANIFESTS + 1), None, "the index has 513 manifests, and at most 512 are read");
        check(&format!("[{}]", vec!["\"\""; 70_000].join(",")), None, "the manifest has 70000 strings");
        check(&" ".repeat((4 << 20) + 1), None, "the manifest is of 4194305 bytes, and at most 4194304 are read");
        check(&"[".repeat(4 << 20), None, "the manifest is not read: invalid type: sequence");
        check(&format!(r#"{{"a":{}"#, "[".repeat(1 << 20)), None, "the manifest is not read: EOF while parsing a list");
    }

    #[test]
    fn only_sha256_counts_as_a_digest() {
        let other = format!("sha512:{}", "ab".repeat(64));
        let text = manifest_of(&descriptor("")).replace(&format!("sha256:{}", "ab".repeat(32)), &other);
        check(&text, None, "a digest of the manifest is of `sha512`; only sha256 is checked here");
        let path = manifest_of(&descriptor("").replace("sha256:ab", "sha256:../"));
        check(&path, None, "the manifest is not read: Invalid");
    }

    #[track_caller]
    fn chosen(platforms: &[&str], expected: &str) {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            platforms.iter().map(|platform| descriptor(platform)).collect::<Vec<_>>().join(",")
        );
        let Ok(Document::Index(index)) = read(text.as_bytes(), None) else { panic!("{text}") };
        let found = match for_us(&index) {
            Ok(found) => found
                .platform()
                .as_ref()
                .map_or_else(|| "none".to_owned(), |platform| format!("{}/{}", platform.os(), platform.architecture())),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn an_index_is_asked_for_wasm_first() {
        for wasm in ["wasip1/wasm", "wasip2/wasm", "wasi/wasm", "wasi/wasm32", "wasm/wasm", "linux/wasm"] {
            chosen(&["linux/amd64", "unknown/unknown", "", wasm], wasm);
        }
        chosen(&["wasip2/wasm", "wasip1/wasm"], "wasip2/wasm");
        chosen(&["linux/s390x", ""], "none");
        let here = format!("linux/{}", Arch::default());
        chosen(&["windows/amd64", "linux/mips", &here], &here);
        chosen(&["unknown/unknown", "linux/mips"], "linux/mips");
    }

    #[test]
    fn an_index_without_wasm_lists_what_it_has() {
        chosen(
            &["windows/amd64", "js/wasm", "unknown/unknown"],
            "the index has no image for Wasm; it has windows/amd64, js/wasm",
        );
        chosen(&["unknown/unknown"], "the index has no image for Wasm; it lists none at all");
        chosen(
            &["aix/ppc64"; 18],
            &format!("the index has no image for Wasm; it has {} and 2 more", ["aix/ppc64"; 16].join(", ")),
        );
    }
}
