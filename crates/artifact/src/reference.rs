//! `REF`: what people write to name an artifact, on the command line and in manifests.
//!
//! | written | is |
//! | --- | --- |
//! | `./cart.wasm`, anything that exists on disk | a file |
//! | `registry.example/cart:1.4`, `127.0.0.1:5000/demo/hello@sha256:...`, `oci://...` | a repository of a registry |
//! | `oci:DIR:tag`, `oci-archive:FILE:tag` | an image layout, a folder or a tar of one, as skopeo writes them |
//! | `https://host/cart.wasm` | a web server |
//! | `bundle://shop.wasm.zip#cart` | a member of an archive |
//!
//! Without a scheme, a first segment with a dot or a port (or `localhost`) is a registry's host, as everywhere in that field;
//! what exists on disk is a file before it is anything else.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use oci_spec::image::Digest;
use samara_model::place_of_host;
use url::Position;

use crate::{Error, grammar};

/// Docker's registry, which has more names than one.
const DOCKER: &str = "docker.io";

/// Where an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A file.
    File(PathBuf),
    /// A repository of a registry.
    Oci(OciReference),
    /// An image layout: a folder, or a tar of one.
    Layout {
        /// The folder or file.
        path: PathBuf,
        /// Whether `path` is a tar.
        archive: bool,
        /// The tag or digest in it; `None` if it has only one.
        version: Option<Version>,
    },
    /// A web server, over `https`, or over `http` where the operator allows that host.
    Url(url::Url),
    /// A member of an archive.
    Bundle {
        /// The archive: a file, a URL or a registry's artifact.
        archive: Box<Self>,
        /// The member's path in it; `None` if it has only one module.
        member: Option<String>,
    },
}

/// One artifact of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OciReference {
    /// The host and its port as written, `registry.example`, `127.0.0.1:5000`; Docker's, by any of its names, is `docker.io`.
    pub registry: String,
    /// The repository's path.
    pub repository: String,
    /// The tag it was asked by, also where a digest was given too: then for people only.
    pub tag: Option<String>,
    /// The digest it must have.
    pub digest: Option<Digest>,
}

/// What names one manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A name that may move.
    Tag(String),
    /// A name that cannot.
    Digest(Digest),
}

impl Reference {
    /// Reads what a person wrote on a command line: without a scheme, what exists on disk is a file.
    ///
    /// # Errors
    /// It is none of the forms; the message shows the nearest.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if let Some(reference) = Self::with_scheme(text)? {
            return Ok(reference);
        }
        let path = Path::new(text);
        if path.is_absolute() || text.starts_with('.') || path.exists() || !names_a_registry(text) {
            return Ok(Self::File(path.to_owned()));
        }
        text.parse().map(Self::Oci)
    }

    /// Reads a manifest's `source`: without a scheme it is always a file, relative to `folder`.
    ///
    /// # Errors
    /// It is none of the forms.
    pub fn parse_in(text: &str, folder: &Path) -> Result<Self, Error> {
        Ok(match Self::with_scheme(text)? {
            Some(Self::File(path)) => Self::File(folder.join(path)),
            Some(Self::Layout { path, archive, version }) => Self::Layout { path: folder.join(path), archive, version },
            Some(Self::Bundle { archive, member }) => match *archive {
                Self::File(path) => Self::Bundle { archive: Box::new(Self::File(folder.join(path))), member },
                other => Self::Bundle { archive: Box::new(other), member },
            },
            Some(other) => other,
            None => Self::File(folder.join(text)),
        })
    }

    fn with_scheme(text: &str) -> Result<Option<Self>, Error> {
        if let Some(rest) = text.strip_prefix("oci://") {
            return rest.parse().map(Self::Oci).map(Some);
        }
        if let Some(rest) = text.strip_prefix("bundle://") {
            let (archive, member) = match rest.split_once('#') {
                Some((archive, member)) if !member.is_empty() => (archive, Some(member.to_owned())),
                Some((archive, _)) => (archive, None),
                None => (rest, None),
            };
            if archive.is_empty() {
                return Err(invalid(text, "it names no archive; write `bundle://shop.wasm.zip#member`"));
            }
            let archive = Box::new(Self::with_scheme(archive)?.unwrap_or_else(|| Self::File(archive.into())));
            if matches!(*archive, Self::Bundle { .. }) {
                return Err(invalid(text, "a bundle in a bundle is not read; unpack the outer one"));
            }
            return Ok(Some(Self::Bundle { archive, member }));
        }
        for (scheme, archive) in [("oci:", false), ("oci-archive:", true)] {
            let Some(rest) = text.strip_prefix(scheme) else { continue };
            return layout(text, rest, archive).map(Some);
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            let url = url::Url::parse(text).map_err(|error| {
                // What is no URL has no parts; what stands before an `@` may be a login all the same.
                let shown = text.split('?').next().unwrap_or_default();
                let shown = shown.rsplit_once('@').map_or(shown, |(_, after)| after);
                invalid(shown, &error.to_string())
            })?;
            if !url.username().is_empty() || url.password().is_some() {
                let host = url.host_str().unwrap_or_default();
                return Err(Error::Reference(format!(
                    "the URL of `{host}` carries a login, which would end in logs; remove it"
                )));
            }
            if url.fragment().is_some() {
                let shown = text.split(['#', '?']).next().unwrap_or_default();
                return Err(invalid(
                    shown,
                    "what stands behind the `#` is not looked at; write `digests = [\"sha256:...\"]` into a policy to have its digest checked, or `bundle://URL#member` for what is in it",
                ));
            }
            return Ok(Some(Self::Url(url)));
        }
        if let Some(path) = text.strip_prefix("file://") {
            return Ok(Some(Self::File(path.into())));
        }
        match text.split_once("://") {
            Some((scheme, _)) => Err(invalid(
                text,
                &format!(
                    "no source has the scheme `{scheme}://`; known are oci, https, http, bundle and file, or write a path"
                ),
            )),
            None => Ok(None),
        }
    }

    /// What a table, a log line or a workload calls it when it has no other name: the last part of it, without a version.
    pub fn short_name(&self) -> String {
        let last =
            |path: &Path| path.file_name().map_or_else(|| "main".into(), |name| name.to_string_lossy().into_owned());
        match self {
            Self::File(path) | Self::Layout { path, .. } => last(path),
            Self::Oci(oci) => oci.repository.rsplit('/').next().unwrap_or(&oci.repository).to_owned(),
            Self::Url(url) => last(Path::new(url.path())),
            Self::Bundle { member: Some(member), .. } => last(Path::new(member)),
            Self::Bundle { archive, member: None } => archive.short_name(),
        }
    }
}

/// `DIR`, `DIR:tag`, `DIR@sha256:...`: a colon in the last segment begins a tag.
fn layout(text: &str, rest: &str, archive: bool) -> Result<Reference, Error> {
    let (path, version) = match rest.split_once("@sha256:") {
        Some((path, hex)) => {
            let digest = format!("sha256:{hex}").parse().map_err(|_| invalid(text, "what follows `@` is no digest"))?;
            (path, Some(Version::Digest(digest)))
        }
        None => match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(Version::Tag(tag.to_owned()))),
            _ => (rest, None),
        },
    };
    if path.is_empty() {
        return Err(invalid(text, "it names no folder; write `oci:DIRECTORY:tag`"));
    }
    Ok(Reference::Layout { path: path.into(), archive, version })
}

/// Whether the first segment looks like a registry's host.
fn names_a_registry(text: &str) -> bool {
    text.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost")
}

/// Whether the path of a file, as it is, would be read as something else.
fn reads_otherwise(path: &str) -> bool {
    let plain = Path::new(path).is_absolute() || path.starts_with('.');
    !matches!(Reference::with_scheme(path), Ok(None)) || (!plain && names_a_registry(path))
}

impl OciReference {
    /// What to ask the registry for: the digest if there is one, else the tag.
    pub fn version(&self) -> Version {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Version::Digest(digest.clone()),
            (None, tag) => Version::Tag(tag.clone().unwrap_or_else(|| "latest".to_owned())),
        }
    }
}

impl FromStr for OciReference {
    type Err = Error;

    /// Reads `registry.example/team/app:tag@sha256:...`; a name without a tag or digest is of `latest`.
    fn from_str(text: &str) -> Result<Self, Error> {
        if !names_a_registry(text) {
            return Err(invalid(text, "it names no registry; write `registry.example/name:tag`"));
        }
        let Some(parsed) = grammar::parts(text) else {
            return Err(invalid(
                text,
                "invalid reference format; names are of lower case: `registry.example/team/name:tag`",
            ));
        };
        let digest = match parsed.digest {
            None => None,
            Some(digest) if digest.starts_with("sha256:") => {
                Some(digest.parse().map_err(|_| invalid(text, "its digest is not 64 hexadecimal digits"))?)
            }
            Some(_) => return Err(invalid(text, "its digest is not of sha256, the only kind that is checked here")),
        };
        // A name without a version is of `latest`, as everywhere in that field.
        let tag = parsed.tag.or(digest.is_none().then_some("latest")).map(str::to_owned);
        let (registry, repository) = one_spelling(text, parsed.registry, parsed.repository)?;
        Ok(Self { registry, repository, tag, digest })
    }
}

/// A repository under the one name that rules of trust, logins, mirrors and the store know it by. A host that another text than
/// this one leads to would be another place to them, so only the spelling of what is connected to is taken.
fn one_spelling(text: &str, registry: &str, repository: &str) -> Result<(String, String), Error> {
    let place = place_of_host("oci", registry);
    let connected = url::Url::parse(&format!("https://{registry}/")).ok().filter(url::Url::has_host);
    let connected =
        connected.as_ref().map(authority).ok_or_else(|| invalid(text, &format!("`{registry}` is no host")))?;
    if place_of_host("oci", &connected) != place {
        return Err(invalid(text, &format!("its host has one spelling only; write `{connected}`")));
    }
    if place != DOCKER {
        return Ok((registry.to_owned(), repository.to_owned()));
    }
    let library = if repository.contains('/') { "" } else { "library/" };
    Ok((place, format!("{library}{repository}")))
}

fn authority(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn invalid(text: &str, why: &str) -> Error {
    // A query may hold what opens a storage service; a file's name may hold a question mark.
    let text = if text.contains("://") { text.split('?').next().unwrap_or_default() } else { text };
    Error::Reference(format!("`{text}` names no artifact: {why}"))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => {
                let scheme = if path.to_str().is_some_and(reads_otherwise) { "file://" } else { "" };
                write!(f, "{scheme}{}", path.display())
            }
            Self::Oci(oci) => write!(f, "{oci}"),
            Self::Layout { path, archive, version } => {
                write!(f, "{}:{}", if *archive { "oci-archive" } else { "oci" }, path.display())?;
                version.iter().try_for_each(|version| write!(f, "{version}"))
            }
            // Without a query, in which storage services put what opens them: this ends in errors, verdicts and logs.
            Self::Url(url) => {
                write!(f, "{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPath])
            }
            Self::Bundle { archive, member } => {
                // Without a scheme it would be a file.
                let scheme = if matches!(**archive, Self::Oci(_)) { "oci://" } else { "" };
                write!(f, "bundle://{scheme}{archive}")?;
                member.iter().try_for_each(|member| write!(f, "#{member}"))
            }
        }
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl fmt::Display for Version {
    /// As it follows a repository's name: `:v1`, `@sha256:...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let shown = match Reference::parse(text) {
            Ok(reference) => format!("{reference:?}")
                .split(['(', ' '])
                .next()
                .map(|kind| format!("{kind} {reference}"))
                .unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_people_write_names_an_artifact() {
        check("./cart.wasm", "File ./cart.wasm");
        check("cart.wasm", "File cart.wasm");
        check("guests/cart.wasm", "File guests/cart.wasm");
        check("Cargo.toml", "File Cargo.toml");
        check("file:///tmp/a.wasm", "File /tmp/a.wasm");
        check("127.0.0.1:5000/demo/hello:v1", "Oci 127.0.0.1:5000/demo/hello:v1");
        check("localhost/demo", "Oci localhost/demo:latest");
        check("ghcr.example/a/b/c", "Oci ghcr.example/a/b/c:latest");
        let digest = format!("@sha256:{}", "ab".repeat(32));
        check(&format!("r.example/a:v1{digest}"), &format!("Oci r.example/a:v1{digest}"));
        check("oci://r.example/a:v1", "Oci r.example/a:v1");
        check("oci:dir/x:v1", "Layout oci:dir/x:v1");
        check("oci-archive:x.tar", "Layout oci-archive:x.tar");
        check("https://w.example/a.wasm", "Url https://w.example/a.wasm");
        check("https://w.example:8443/a.wasm?v=1", "Url https://w.example:8443/a.wasm");
        for pin in ["https://w.example/a.wasm#sha256:00", "https://w.example/a.wasm?key=SECRET#x"] {
            let refused = Reference::parse(pin).unwrap_err().to_string();
            assert!(refused.contains("`https://w.example/a.wasm`") && refused.contains("digests ="), "{refused}");
            assert!(!refused.contains("SECRET"), "{refused}");
        }
        check("bundle://shop.zip#cart", "Bundle bundle://shop.zip#cart");
        check("bundle://https://w.example/a.zip?key=SECRET#cart", "Bundle bundle://https://w.example/a.zip#cart");
        check("bundle://oci://r.example/shop:1#cart.wasm", "Bundle bundle://oci://r.example/shop:1#cart.wasm");
    }

    #[test]
    fn what_names_nothing_says_why() {
        check("oci://cart:1", "`cart:1` names no artifact: it names no registry; write `registry.example/name:tag`");
        check(
            "r.example/UPPER",
            "`r.example/UPPER` names no artifact: invalid reference format; names are of lower case: `registry.example/team/name:tag`",
        );
        check(
            "ftp://x/y",
            "`ftp://x/y` names no artifact: no source has the scheme `ftp://`; known are oci, https, http, bundle and file, or write a path",
        );
        check(
            "https://me:secret@w.example/a",
            "the URL of `w.example` carries a login, which would end in logs; remove it",
        );
        check(
            "https://me:SECRET@w.example:99999/a?key=SECRET",
            "`w.example:99999/a` names no artifact: invalid port number",
        );
        check(
            "ftp://w.example/a?key=SECRET",
            "`ftp://w.example/a` names no artifact: no source has the scheme `ftp://`; known are oci, https, http, bundle and file, or write a path",
        );
        check(
            "bundle://bundle://a#b",
            "`bundle://bundle://a#b` names no artifact: a bundle in a bundle is not read; unpack the outer one",
        );
        let sha512 = format!("r.example/a@sha512:{}", "ab".repeat(64));
        check(
            &sha512,
            &format!("`{sha512}` names no artifact: its digest is not of sha256, the only kind that is checked here"),
        );
    }

    /// Rules of trust are compared with the text of a host, so that one host has one text.
    #[test]
    fn a_host_has_one_spelling() {
        for (written, host) in [
            ("r.example:0443", "r.example"),
            ("r.example:05000", "r.example:5000"),
            ("127.1:5443", "127.0.0.1:5443"),
            ("0x7f.0.0.1:5443", "127.0.0.1:5443"),
            ("0177.0.0.1:5443", "127.0.0.1:5443"),
            ("2130706433:5443", "127.0.0.1:5443"),
        ] {
            let text = format!("oci://{written}/a");
            let why = format!("names no artifact: its host has one spelling only; write `{host}`");
            check(&text, &format!("`{written}/a` {why}"));
        }
        check("oci://r.example:99999/a", "`r.example:99999/a` names no artifact: `r.example:99999` is no host");
        check("oci://1.2.3.4.5/a", "`1.2.3.4.5/a` names no artifact: `1.2.3.4.5` is no host");
        check("registry-1.docker.io/me/app:1", "Oci docker.io/me/app:1");
        check("Registry-1.Docker.io:443/me/app:1", "Oci docker.io/me/app:1");
        check("index.docker.io/me/app:1", "Oci docker.io/me/app:1");
        check("registry-1.docker.io/busybox:1", "Oci docker.io/library/busybox:1");
        check("r.example:443/a:1", "Oci r.example:443/a:1");
    }

    #[test]
    fn a_manifest_means_files_unless_it_says_otherwise() {
        let parse = |text: &str| Reference::parse_in(text, Path::new("/app")).map(|found| found.to_string());
        assert_eq!(parse("cart.wasm"), Ok("/app/cart.wasm".to_owned()));
        assert_eq!(parse("r.example/cart"), Ok("/app/r.example/cart".to_owned()));
        assert_eq!(parse("oci://r.example/cart"), Ok("r.example/cart:latest".to_owned()));
        assert_eq!(parse("bundle://b.zip#m"), Ok("bundle:///app/b.zip#m".to_owned()));
    }

    /// What a reference is shown as names the same thing when it is typed in: errors, logs and records hold it, and people copy
    /// it from there. All but a URL's query, which is not shown.
    #[test]
    fn what_is_shown_names_the_same() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut pick = |most: usize| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(seed >> 33).unwrap() % most
            };
            let version = ["", ":v1", ":1.4-rc_2", "@DIGEST", ":v1@DIGEST"];
            let host = ["r.example", "127.0.0.1:5000", "localhost", "[::1]:5000", "r.example:443"][pick(5)];
            let name = ["a", "team/app", "a/b/c-d__e.f"][pick(3)];
            let oci = format!("{host}/{name}{}", version[pick(5)]);
            let path =
                ["./a.wasm", "/srv/a b.wasm", "../x:y/z.zip", "./oci:x", "/r.example/app", "./caf\u{e9}.tar"][pick(6)];
            let layout = format!("{}:{path}{}", ["oci", "oci-archive"][pick(2)], ["", ":v1", "@DIGEST"][pick(3)]);
            let url =
                ["https://w.example/a.wasm", "http://127.0.0.1:8080/x/%20y.zip", "https://w.example:8443/"][pick(3)];
            let file =
                ["", "file://", "file://oci:", "file://bundle:"][pick(4)].to_owned() + path.trim_start_matches('.');
            let plain = [oci.clone(), format!("oci://{oci}"), layout.clone(), url.to_owned(), path.to_owned(), file]
                [pick(6)]
            .clone();
            let archive = [format!("oci://{oci}"), layout, url.to_owned(), path.to_owned()][pick(4)].clone();
            let member = ["", "#cart", "#a/b.wasm", "#x#y"][pick(4)];
            let text = [plain, format!("bundle://{archive}{member}")][pick(2)]
                .replace("DIGEST", &format!("sha256:{}", "5d".repeat(32)));
            let Ok(reference) = Reference::parse(&text) else { continue };
            let shown = reference.to_string();
            assert_eq!(Reference::parse(&shown).as_ref(), Ok(&reference), "`{text}` is shown as `{shown}`");
            assert_eq!(Reference::parse(&shown).unwrap().to_string(), shown);
        }
    }
}
