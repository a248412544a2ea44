//! What an artifact must show before it runs: the data of `[trust]`, without the keys' bytes and without any check.
//!
//! One [`TrustPolicy`] is one table: the host file's is the floor of every app, an app's manifest may have one of its own, a
//! single command may be given a file. Whoever verifies asks each of them and all must be content, so that a further table
//! can only add. Within a table the first rule whose pattern names the artifact stands *in place of* the table's own terms:
//! what must hold for everything belongs into the table's `require`, and a rule makes an exception, to either side, for a
//! place that the table's author controls.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use crate::Capability;

/// How deep `all` and `any` nest.
pub const MAX_REQUIREMENT_DEPTH: usize = 8;

/// One `[trust]` table. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    /// What holds for an artifact that no rule names.
    pub terms: TrustTerms,
    /// Exceptions by where an artifact is from; the first that matches is the one.
    pub rules: Vec<TrustRule>,
}

/// Terms for the artifacts of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRule {
    /// Which artifacts.
    pub pattern: ReferencePattern,
    /// What they must show. Lists that the rule does not write are those of its table.
    pub terms: TrustTerms,
}

/// What is required, and who is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustTerms {
    /// What an artifact must show.
    pub require: Requirement,
    /// Public keys of `cosign`, PEM files.
    pub keys: Vec<PathBuf>,
    /// Accounts whose `claims` are believed: nkeys that begin with `A`.
    pub issuers: Vec<String>,
    /// Public keys of embedded signatures (`signature`): Ed25519, PEM files.
    pub signature_keys: Vec<PathBuf>,
    /// Digests (`sha256:...`) of modules or manifests that satisfy `digest` however they were asked for.
    pub digests: Vec<String>,
    /// Who may have signed without a key (`keyless`).
    pub identities: Vec<Identity>,
    /// The certificate authorities and logs that `keyless` is checked against: a `trusted_root.json`.
    pub trusted_root: Option<PathBuf>,
}

/// One signer without a key: what the certificate of a short-lived key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who vouched for the signer: `https://token.actions.example`.
    pub issuer: String,
    /// Who signed: an address, or the URI of a workflow.
    pub subject: String,
}

/// What an artifact must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// One kind of evidence.
    Show(Evidence),
    /// Each of these; of none is nothing.
    All(Vec<Self>),
    /// At least one of these.
    Any(Vec<Self>),
    /// Nothing is enough.
    Never,
}

/// A kind of evidence, by the word of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// It was asked for by its digest, or the policy lists its digest.
    Digest,
    /// A signature of cosign over its manifest by one of `keys`.
    Cosign,
    /// Claims in the module, signed by one of `issuers`.
    Claims,
    /// A signature in the module by one of `signature_keys`.
    Signature,
    /// A signature over its manifest by one of `identities`.
    Keyless,
}

impl Evidence {
    /// Every kind, in the order they are checked.
    pub const ALL: &[Self] = &[Self::Digest, Self::Cosign, Self::Keyless, Self::Signature, Self::Claims];

    /// The word of policies, messages and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Cosign => "cosign",
            Self::Claims => "claims",
            Self::Signature => "signature",
            Self::Keyless => "keyless",
        }
    }

    /// Whether it is over the module's bytes, and not over the manifest that led to them.
    pub fn is_in_module(self) -> bool {
        matches!(self, Self::Claims | Self::Signature)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Default for Requirement {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl Requirement {
    /// Whether it is met, where `shown` tells what was shown: `None` is "not looked at yet", and so may be the answer.
    pub fn is_met(&self, shown: &impl Fn(Evidence) -> Option<bool>) -> Option<bool> {
        match self {
            Self::Show(evidence) => shown(*evidence),
            Self::All(parts) => decided(parts, false, shown),
            Self::Any(parts) => decided(parts, true, shown),
            Self::Never => Some(false),
        }
    }

    /// Whether nothing is required.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::All(parts) if parts.iter().all(Self::is_nothing))
    }

    /// Whether it mentions a kind of evidence anywhere.
    pub fn mentions(&self, evidence: Evidence) -> bool {
        match self {
            Self::Show(shown) => *shown == evidence,
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.mentions(evidence)),
            Self::Never => false,
        }
    }
}

/// What the parts come to, where one that answers `decisive` decides: then it does not matter what is not known (Kleene).
fn decided(parts: &[Requirement], decisive: bool, shown: &impl Fn(Evidence) -> Option<bool>) -> Option<bool> {
    let mut answer = Some(!decisive);
    for part in parts {
        match part.is_met(shown) {
            Some(met) if met == decisive => return Some(decisive),
            Some(_) => {}
            None => answer = None,
        }
    }
    answer
}

impl fmt::Display for Requirement {
    /// For people: `digest and (cosign or claims)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word) = match self {
            Self::Show(evidence) => return write!(f, "{evidence}"),
            Self::Never => return f.write_str("never"),
            Self::All(parts) => (parts, "and"),
            Self::Any(parts) => (parts, "or"),
        };
        if parts.is_empty() {
            return f.write_str(if word == "and" { "nothing" } else { "never" });
        }
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                write!(f, " {word} ")?;
            }
            match part {
                Self::All(inner) | Self::Any(inner) if inner.len() > 1 && parts.len() > 1 => write!(f, "({part})")?,
                _ => write!(f, "{part}")?,
            }
        }
        Ok(())
    }
}

/// Which artifacts a rule is about, by where they are from: never by a tag, which whoever asks could choose.
///
/// | pattern | names |
/// | --- | --- |
/// | `oci://registry.example/team-a/cart` | one repository |
/// | `oci://registry.example/team-a/*`, `oci://registry.example/*` | what is below it |
/// | `https://host/path/*`, `https://host/file.wasm` | the same on the web |
/// | `file:*`, `layout:*` | every file, every image layout on disk |
/// | `*` | everything |
///
/// An archive's members are where the archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferencePattern(String);

impl ReferencePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It could match what it does not seem to, or nothing; the message says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "*" | "file:*" | "layout:*") {
            return Ok(Self(text.to_owned()));
        }
        let wrong = |why: &str| Err(format!("`{text}` names no artifacts: {why}"));
        let Some((scheme, rest)) = text.split_once("://").filter(|(s, _)| matches!(*s, "oci" | "https" | "http"))
        else {
            return wrong("write `oci://registry.example/team/*`, `https://host/*`, `file:*`, `layout:*` or `*`");
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || path.is_empty() || host.contains(['*', '@']) {
            return wrong("a host and a path are needed; write `/*` after the host for all of it");
        }
        let place = place_of_host(scheme, host);
        if let Err(why) = one_spelling(&place) {
            return wrong(why);
        }
        let body = path.strip_suffix('*').unwrap_or(path);
        if body.contains('*') || (body.len() < path.len() && !body.is_empty() && !body.ends_with('/')) {
            return wrong("`*` is the last thing, after a `/`, and stands for all that is below");
        }
        if body.split('/').any(|segment| matches!(segment, "." | "..")) || body.contains(['%', '?', '#', '\\']) {
            return wrong("write the plain path");
        }
        let of_repository =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '/');
        if scheme == "oci" && !body.chars().all(of_repository) {
            return wrong("it is about a repository, whose name is of lower case and has neither tag nor digest");
        }
        let whole = if body.len() < path.len() { body.strip_suffix('/').unwrap_or("*") } else { body };
        if whole.split('/').any(str::is_empty) {
            return wrong("no place has two `/` in a row or one at its end; write `/*` for all that is below");
        }
        let library =
            if scheme == "oci" && place == DOCKER && !path.contains('/') && path != "*" { "library/" } else { "" };
        Ok(Self(format!("{scheme}://{place}/{library}{path}")))
    }

    /// Whether it names what is at `place`: `oci://HOST/REPOSITORY`, `https://HOST/PATH`, `file:PATH`, `layout:PATH`, with
    /// the host as [`place_of_host`] writes it.
    pub fn matches(&self, place: &str) -> bool {
        let on_the_web = self.0.starts_with("http");
        match self.0.strip_suffix('*') {
            // A folder of a web server may have a page of its own; one of repositories is none.
            Some(beginning) => place.starts_with(beginning) && (on_the_web || place.len() > beginning.len()),
            // Web servers may take a `/` at the end for nothing.
            None => place == self.0 || (on_the_web && place.strip_suffix('/') == Some(&self.0)),
        }
    }

    /// As it was written, but for the host's spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What Docker's registry is called here, whichever of its names was written.
const DOCKER: &str = "docker.io";
/// Its other names: the same repositories, by the same login.
const DOCKER_TOO: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// One spelling for one host: lower case, no dot at the end, no port that is the scheme's own, one name for Docker's registry.
///
/// Numbers keep the spelling they have: who reads a host from people refuses those that [`ReferencePattern::parse`] refuses.
pub fn place_of_host(scheme: &str, host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let own = if scheme == "http" { ":80" } else { ":443" };
    let host = host.strip_suffix(own).unwrap_or(&host);
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => format!("{}:{port}", name.trim_end_matches('.')),
        _ => match host.trim_end_matches('.') {
            name if scheme == "oci" && DOCKER_TOO.contains(&name) => DOCKER.to_owned(),
            name => name.to_owned(),
        },
    }
}

/// Whether a host is spelled as the address that is connected to; a pattern of another spelling would match nothing.
fn one_spelling(host: &str) -> Result<(), &'static str> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port.is_some_and(|port| port.parse().map(|number: u16| number.to_string()).as_deref() != Ok(port)) {
        return Err("a port is a number of 1 to 65535 without zeros before it");
    }
    if let Some(inner) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        let canonical = |address: Ipv6Addr| match (address.to_ipv4_mapped(), address.segments()) {
            (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
            _ => address.to_string(),
        };
        let is_canonical = inner.parse().map(canonical).is_ok_and(|canonical| canonical == inner);
        return if is_canonical { Ok(()) } else { Err("write the IPv6 address in its shortest form") };
    }
    let of_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(of_host) || name.split('.').any(str::is_empty) {
        return Err("write the host as DNS has it: `r.example`, `xn--bcher-kva.example`");
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_number = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && name.parse::<Ipv4Addr>().is_err() {
        return Err("write the IPv4 address as four decimal numbers: `127.0.0.1`");
    }
    Ok(())
}

/// What a signer's claims let a module have at most. No bound without claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedBounds {
    /// Whose claims, for messages: the name in them.
    pub name: String,
    /// The words of the claims: `wasmcloud:keyvalue`.
    pub words: Vec<String>,
    /// Why there is nothing to be read of them, if so: then they allow nothing.
    pub unreadable: Option<String>,
}

impl ClaimedBounds {
    /// Whether a grant is within the claims.
    ///
    /// Values that the operator hands over (`config`, `env`, `secrets`) and what every guest has reach nothing outside and
    /// are always within. What reaches outside and has no word in the vocabulary of claims (`fs`, `net`) never is.
    ///
    /// # Errors
    /// It is not; the message names the words that would allow it.
    pub fn allows(&self, capability: Capability) -> Result<(), String> {
        let words: &[&str] = match capability {
            Capability::Kv => &["wasmcloud:keyvalue", "wascc:key_value", "wascc:keyvalue"],
            Capability::Blob => &["wasmcloud:blobstore", "wascc:blobstore"],
            Capability::Messaging => &["wasmcloud:messaging", "wascc:messaging"],
            Capability::Sql => &["wasmcloud:sqldb", "wascc:sqldb"],
            Capability::Http => &["wasmcloud:httpclient", "wascc:http_client", "wascc:httpclient"],
            Capability::Fs | Capability::Net => &[],
            Capability::Config
            | Capability::Secrets
            | Capability::Env
            | Capability::Log
            | Capability::Clock
            | Capability::Random => return Ok(()),
        };
        self.readable()?;
        if self.has_any(words) {
            return Ok(());
        }
        let fix = match words.first() {
            Some(word) => format!("sign it with `{word}`, or do not grant `{capability}`"),
            None => format!("claims have no word for it, so do not grant `{capability}` to a module with claims"),
        };
        Err(format!("the claims of `{}` do not allow `{capability}` (they list {}); {fix}", self.name, self.listed()))
    }

    /// Whether it may be sent HTTP requests.
    ///
    /// # Errors
    /// It may not; the message names the word that would allow it.
    pub fn serves_http(&self) -> Result<(), String> {
        const WORDS: &[&str] = &["wasmcloud:httpserver", "wascc:http_server", "wascc:httpserver"];
        self.readable()?;
        if self.has_any(WORDS) {
            return Ok(());
        }
        Err(format!(
            "the claims of `{}` do not let it serve HTTP (they list {}); sign it with `wasmcloud:httpserver`",
            self.name,
            self.listed()
        ))
    }

    fn readable(&self) -> Result<(), String> {
        match &self.unreadable {
            Some(why) => Err(format!("its claims cannot be read, and so allow nothing: {why}; is the module whole?")),
            None => Ok(()),
        }
    }

    fn has_any(&self, words: &[&str]) -> bool {
        self.words.iter().any(|found| words.contains(&found.as_str()))
    }

    fn listed(&self) -> String {
        if self.words.is_empty() { "nothing".to_owned() } else { format!("`{}`", self.words.join("`, `")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str, place: &str) -> bool {
        ReferencePattern::parse(pattern).unwrap_or_else(|error| panic!("{error}")).matches(place)
    }

    #[test]
    fn a_pattern_names_a_place_and_what_is_below_it() {
        for (pattern, place, expected) in [
            ("*", "file:/a.wasm", true),
            ("file:*", "file:/a.wasm", true),
            ("file:*", "https://h/file:x", false),
            ("layout:*", "layout:dir", true),
            ("oci://R.example/team-a/*", "oci://r.example/team-a/cart", true),
            ("oci://r.example:443/team-a/*", "oci://r.example/team-a/cart", true),
            ("oci://r.example/team-a/*", "oci://r.example/team-a", false),
            ("oci://r.example/team-a/*", "oci://r.example/team-attack/cart", false),
            ("oci://r.example/*", "oci://r.example.evil/cart", false),
            ("oci://r.example/*", "oci://r.example:5000/cart", false),
            ("oci://r.example/cart", "oci://r.example/cart", true),
            ("oci://r.example/cart", "oci://r.example/cart2", false),
            ("https://w.example/a/*", "https://w.example/a/b.wasm", true),
            ("https://w.example/a/*", "http://w.example/a/b.wasm", false),
            ("https://h/*", "https://h/", true),
            ("https://h/*", "https://h2/", false),
            ("https://h/a/*", "https://h/a/", true),
            ("https://h/a/*", "https://h/a", false),
            ("https://h/a", "https://h/a/", true),
            ("https://h/a", "https://h/a/b", false),
            ("https://h/a/*", "https://h/", false),
            ("oci://index.docker.io/*", "oci://docker.io/me/app", true),
            ("oci://registry-1.docker.io:443/me/*", "oci://docker.io/me/app", true),
            ("oci://docker.io/busybox", "oci://docker.io/library/busybox", true),
            ("oci://docker.io/me/app", "oci://docker.io/me/app", true),
            ("https://index.docker.io/*", "https://index.docker.io/a", true),
            ("oci://127.0.0.1:5000/*", "oci://127.0.0.1:5000/a", true),
            ("oci://[::1]:5000/*", "oci://[::1]:5000/a", true),
        ] {
            assert_eq!(names(pattern, place), expected, "{pattern} names {place}");
        }
    }

    #[test]
    fn a_pattern_that_says_too_much_is_refused() {
        for (pattern, why) in [
            ("", "write `oci://"),
            ("r.example/a", "write `oci://"),
            ("oci://r.example", "a host and a path"),
            ("oci://*/a", "a host and a path"),
            ("oci://me@r.example/a", "a host and a path"),
            ("oci://r.example/team*", "`*` is the last thing"),
            ("oci://r.example/*/a", "`*` is the last thing"),
            ("oci://r.example/a:v1", "neither tag nor digest"),
            ("oci://r.example/A", "of lower case"),
            ("https://w.example/a/../*", "the plain path"),
            ("https://w.example/a%2f*", "`*` is the last thing"),
            ("https://w.example/a%2fb/*", "the plain path"),
            ("oci://r.example/team/", "one at its end"),
            ("oci://r.example//*", "two `/` in a row"),
            ("https://h/a//b/*", "two `/` in a row"),
            ("https://h/a//*", "two `/` in a row"),
            ("https://h/dir/", "one at its end"),
            ("oci://r.example/te am/*", "neither tag nor digest"),
            ("https://b\u{fc}cher.example/*", "as DNS has it"),
            ("https://.../*", "as DNS has it"),
            ("https://127.1/*", "four decimal numbers"),
            ("oci://0x7f.0.0.1:5443/*", "four decimal numbers"),
            ("oci://127.0.0.01/*", "four decimal numbers"),
            ("oci://2130706433:5443/*", "four decimal numbers"),
            ("oci://r.example:0443/*", "without zeros"),
            ("oci://r.example:/*", "without zeros"),
            ("oci://r.example:70000/*", "without zeros"),
            ("oci://[::0001]:5000/*", "its shortest form"),
            ("oci://[::ffff:127.0.0.1]/*", "its shortest form"),
        ] {
            let error = ReferencePattern::parse(pattern).expect_err(pattern);
            assert!(error.contains(why), "{pattern}: {error}");
        }
    }

    #[test]
    fn a_host_has_one_spelling() {
        for (scheme, host, place) in [
            ("oci", "R.Example.:443", "r.example"),
            ("oci", "r.example.", "r.example"),
            ("oci", "r.example:80", "r.example:80"),
            ("http", "r.example:80", "r.example"),
            ("oci", "r.example.:5000", "r.example:5000"),
            ("oci", "[::1]:5000", "[::1]:5000"),
            ("oci", "Registry-1.Docker.io:443", "docker.io"),
            ("https", "index.docker.io", "index.docker.io"),
        ] {
            assert_eq!(place_of_host(scheme, host), place);
        }
    }

    #[test]
    fn a_requirement_is_met_by_its_parts() {
        use Evidence::{Claims, Cosign, Digest};
        let require = Requirement::All(vec![
            Requirement::Show(Digest),
            Requirement::Any(vec![Requirement::Show(Cosign), Requirement::Show(Claims)]),
        ]);
        assert_eq!(require.to_string(), "digest and (cosign or claims)");
        let met = |digest, cosign, claims| {
            require.is_met(&|evidence| match evidence {
                Digest => digest,
                Cosign => cosign,
                _ => claims,
            })
        };
        let (yes, no, unknown) = (Some(true), Some(false), None);
        assert_eq!(met(yes, yes, no), yes);
        assert_eq!(met(yes, no, yes), yes);
        assert_eq!(met(no, yes, yes), no);
        assert_eq!(met(yes, no, no), no);
        assert_eq!(met(yes, no, unknown), unknown);
        assert_eq!(met(yes, yes, unknown), yes);
        assert_eq!(met(no, unknown, unknown), no);
        assert_eq!(Requirement::Never.is_met(&|_| yes), no);
        assert_eq!(Requirement::default().is_met(&|_| no), yes);
        assert_eq!(Requirement::Any(Vec::new()).is_met(&|_| yes), no);
    }

    #[test]
    fn claims_bound_what_reaches_outside() {
        let words = vec!["wasmcloud:httpserver".to_owned(), "wascc:key_value".to_owned()];
        let claims = ClaimedBounds { name: "cart".to_owned(), words, unreadable: None };
        assert_eq!(claims.allows(Capability::Kv), Ok(()));
        assert_eq!(claims.allows(Capability::Env), Ok(()));
        assert_eq!(claims.allows(Capability::Clock), Ok(()));
        assert_eq!(claims.serves_http(), Ok(()));
        assert_eq!(
            claims.allows(Capability::Http).unwrap_err(),
            "the claims of `cart` do not allow `http` (they list `wasmcloud:httpserver`, `wascc:key_value`); sign it with \
             `wasmcloud:httpclient`, or do not grant `http`"
        );
        assert!(claims.allows(Capability::Fs).unwrap_err().ends_with("do not grant `fs` to a module with claims"));
        let none = ClaimedBounds { name: "x".to_owned(), words: Vec::new(), unreadable: None };
        assert!(none.serves_http().unwrap_err().contains("(they list nothing)"));
    }
}
