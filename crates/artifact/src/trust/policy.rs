//! A policy with its keys in memory, and which of its terms are for an artifact.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use samara_model::{Evidence, Identity, ReferencePattern, Requirement, TrustPolicy, TrustTerms, place_of_host};

use super::{key::PublicKey, keyless::Root, nkey};
use crate::{Error, Reference};

/// One `[trust]` table, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) origin: String,
    terms: Terms,
    rules: Vec<(ReferencePattern, Terms)>,
}

/// What is required, and who is believed, as keys.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) require: Requirement,
    pub(super) keys: Vec<PublicKey>,
    pub(super) signature_keys: Vec<PublicKey>,
    pub(super) issuers: Vec<String>,
    pub(super) digests: Vec<String>,
    pub(super) identities: Vec<Identity>,
    pub(super) root: Option<Root>,
}

impl Policy {
    /// Reads the keys that a table names.
    pub(super) fn load(origin: &str, table: &TrustPolicy) -> Result<Self, Error> {
        // Rules repeat their table's keys: each file is read once.
        let mut keys = BTreeMap::new();
        let terms = load_terms(&table.terms, &mut keys)?;
        let rules = table
            .rules
            .iter()
            .map(|rule| Ok((rule.pattern.clone(), load_terms(&rule.terms, &mut keys)?)))
            .collect::<Result<_, Error>>()?;
        Ok(Self { origin: origin.to_owned(), terms, rules })
    }

    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The terms for what is at a place, and the pattern of the rule that they are from.
    pub(super) fn terms(&self, place: &str) -> (Option<&ReferencePattern>, &Terms) {
        let rule = self.rules.iter().find(|(pattern, _)| pattern.matches(place));
        rule.map_or((None, &self.terms), |(pattern, terms)| (Some(pattern), terms))
    }
}

type KeyFiles = BTreeMap<std::path::PathBuf, PublicKey>;

fn load_terms(terms: &TrustTerms, files: &mut KeyFiles) -> Result<Terms, Error> {
    let mut load = |paths: &[std::path::PathBuf]| {
        let load = |path: &std::path::PathBuf| {
            if let Some(key) = files.get(path) {
                return Ok(key.clone());
            }
            let key = PublicKey::load(path)?;
            files.insert(path.clone(), key.clone());
            Ok(key)
        };
        paths.iter().map(load).collect::<Result<Vec<_>, Error>>()
    };
    let (keys, signature_keys) = (load(&terms.keys)?, load(&terms.signature_keys)?);
    if let Some(key) = signature_keys.iter().find(|key| !key.is_ed25519()) {
        return Err(Error::Invalid(format!(
            "`{}` is no key of embedded signatures, which are of Ed25519; take it out of `signature_keys`",
            key.name()
        )));
    }
    for issuer in &terms.issuers {
        nkey::account(issuer).map_err(Error::Invalid)?;
    }
    let root = match &terms.trusted_root {
        Some(file) if terms.require.mentions(Evidence::Keyless) => Some(Root::load(file)?),
        _ => None,
    };
    Ok(Terms {
        require: terms.require.clone(),
        keys,
        signature_keys,
        issuers: terms.issuers.clone(),
        digests: terms.digests.clone(),
        identities: terms.identities.clone(),
        root,
    })
}

/// Where an artifact is, in the spelling that patterns are compared with: without tag and digest, which whoever asks chooses.
pub(super) fn place(reference: &Reference) -> Result<String, Error> {
    Ok(match reference {
        Reference::File(path) => format!("file:{}", path.display()),
        Reference::Layout { path, .. } => format!("layout:{}", path.display()),
        Reference::Oci(oci) => format!("oci://{}/{}", place_of_host("oci", &oci.registry), oci.repository),
        Reference::Bundle { archive, .. } => place(archive)?,
        Reference::Url(url) => {
            let hidden = || {
                Error::Untrusted(format!(
                    "`{reference}` hides where it leads: write it without escaped separators and dots"
                ))
            };
            let path = percent_decode_str(url.path()).decode_utf8().map_err(|_| hidden())?;
            let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
            if slashes(&path) != slashes(url.path())
                || path.contains('\\')
                || path.split('/').any(|segment| matches!(segment, "." | ".."))
            {
                return Err(hidden());
            }
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            let host = place_of_host(url.scheme(), &format!("{}{port}", url.host_str().unwrap_or_default()));
            // Web servers take several slashes for one.
            let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
            // One at the end makes a folder, and rules are about what is below folders.
            let folder = if !segments.is_empty() && path.ends_with('/') { "/" } else { "" };
            format!("{}://{host}/{}{folder}", url.scheme(), segments.join("/"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = Reference::parse(text).and_then(|reference| place(&reference));
        assert_eq!(found.unwrap_or_else(|error| error.to_string()), expected, "{text}");
    }

    #[test]
    fn an_artifact_has_one_place() {
        check("./a.wasm", "file:./a.wasm");
        check("R.example:443/a/b:v1", "oci://r.example/a/b");
        check("r.example:5000/a:v1", "oci://r.example:5000/a");
        for docker in ["docker.io", "index.docker.io", "registry-1.docker.io", "Registry-1.docker.io:443"] {
            check(&format!("oci://{docker}/me/app:1"), "oci://docker.io/me/app");
            check(&format!("oci://{docker}/busybox"), "oci://docker.io/library/busybox");
        }
        check("oci:dir:v1", "layout:dir");
        check("bundle://oci://r.example/a:1#m", "oci://r.example/a");
        check("https://W.example.:443//te%61m/x.wasm?v=1", "https://w.example/team/x.wasm");
        check("https://w.example//team//?v=1", "https://w.example/team/");
        check("https://w.example//", "https://w.example/");
        check("https://w.example/a/../b/x.wasm", "https://w.example/b/x.wasm");
        check("https://w.example/a/%2e%2e/b/x.wasm", "https://w.example/b/x.wasm");
        check(
            "https://w.example/a/..%2fb/x.wasm",
            "`https://w.example/a/..%2fb/x.wasm` hides where it leads: write it without escaped separators and dots",
        );
    }
}
