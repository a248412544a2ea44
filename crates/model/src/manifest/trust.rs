//! `[trust]`, the same table in the host file, in an app's manifest and in the file of `--trust`.
//!
//! What could never be satisfied, or would be satisfied by anybody, is refused here with its line: a word that no table
//! knows, `cosign` without keys, an `any` of nothing, keys that nothing asks for.

use std::path::{Path, PathBuf};

use super::{
    ManifestErrors,
    reader::{Item, Reader, Report, did_you_mean},
};
use crate::{
    Evidence, Identity, MAX_REQUIREMENT_DEPTH, ReferencePattern, Requirement, TrustPolicy, TrustRule, TrustTerms,
};

/// Rules of one table.
const MAX_RULES: usize = 256;
/// Keys, issuers, identities or digests of one list: each signature is tried with each key.
const MAX_SIGNERS: usize = 64;
/// Digits of an nkey: 35 bytes in base 32.
const NKEY_DIGITS: usize = 56;

impl TrustPolicy {
    /// Reads a file that holds `[trust]` and nothing else; `file` names it in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ManifestErrors> {
        let report = Report::new(file, text);
        let root = report.parse();
        let policy = root.as_ref().and_then(|root| {
            let mut root = Reader::root(&report, "policy", root);
            let table = root.require("trust", "[trust]").and_then(|item| item.table("trust", "[trust]"));
            root.finish();
            table.map(Self::read)
        });
        report.finish(policy)
    }

    /// Makes every relative path relative to `folder`, the one that holds the file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        self.paths_mut().for_each(|path| *path = folder.join(&path));
    }

    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let of_rules = self.rules.iter_mut().flat_map(|rule| rule.terms.paths_mut());
        self.terms.paths_mut().chain(of_rules)
    }

    /// Reads `[trust]` to its end.
    pub(super) fn read(mut reader: Reader<'_>) -> Self {
        let terms = read_terms(&mut reader, None);
        let rules = reader.take("rule").and_then(|item| {
            let items = item.array("[[trust.rule]]")?;
            if items.len() > MAX_RULES {
                item.problem(format!("this has {} rules; write at most {MAX_RULES}", items.len()));
            }
            Some(items)
        });
        let rules: Vec<_> =
            rules.into_iter().flatten().take(MAX_RULES).filter_map(|item| read_rule(&item, &terms)).collect();
        if rules.is_empty() {
            refuse_unused(&reader, &terms);
        }
        reader.finish();
        Self { terms, rules }
    }
}

impl TrustTerms {
    fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.keys.iter_mut().chain(&mut self.signature_keys).chain(&mut self.trusted_root)
    }
}

fn read_rule(item: &Item<'_>, table: &TrustTerms) -> Option<TrustRule> {
    let mut reader = item.table("trust rule", "[[trust.rule]]")?;
    let pattern = reader
        .require("match", "match = \"oci://registry.example/team/*\"")
        .and_then(|item| item.parse("oci://registry.example/team/*", ReferencePattern::parse));
    let terms = read_terms(&mut reader, Some(table));
    reader.finish();
    Some(TrustRule { pattern: pattern?, terms })
}

/// The keys that a table and a rule have in common; a rule takes from its table what it does not write.
fn read_terms(reader: &mut Reader<'_>, table: Option<&TrustTerms>) -> TrustTerms {
    let require = reader.require("require", "require = \"cosign\"");
    let path = |text: &str| Ok::<_, String>(PathBuf::from(text));
    let mut terms = table.cloned().unwrap_or_default();
    replace(&mut terms.keys, reader.take("keys"), "keys/cosign.pub", path);
    replace(&mut terms.issuers, reader.take("issuers"), "ACOJ...", account);
    replace(&mut terms.signature_keys, reader.take("signature_keys"), "keys/wasm.pub", path);
    replace(&mut terms.digests, reader.take("digests"), "sha256:...", digest);
    if let Some(read) = reader.take("identities").and_then(|item| read_identities(&item)) {
        terms.identities = read;
    }
    if let Some(item) = reader.take("trusted_root") {
        terms.trusted_root = item.parse("keys/trusted_root.json", path);
    }
    let read = require.as_ref().and_then(|item| read_requirement(item, 0));
    terms.require = read.unwrap_or(Requirement::Never);
    if let Some(item) = &require {
        for (evidence, missing) in [
            (Evidence::Cosign, terms.keys.is_empty().then_some("keys = [\"keys/cosign.pub\"]")),
            (Evidence::Claims, terms.issuers.is_empty().then_some("issuers = [\"ACOJ...\"]")),
            (Evidence::Signature, terms.signature_keys.is_empty().then_some("signature_keys = [\"keys/wasm.pub\"]")),
            (
                Evidence::Keyless,
                terms
                    .identities
                    .is_empty()
                    .then_some("identities = [{ issuer = \"https://...\", subject = \"release@team.example\" }]"),
            ),
            (Evidence::Keyless, terms.trusted_root.is_none().then_some("trusted_root = \"keys/trusted_root.json\"")),
        ] {
            if let Some(missing) = missing.filter(|_| terms.require.mentions(evidence)) {
                item.problem(format!("nobody is named whose `{evidence}` would do; write `{missing}` too"));
            }
        }
    }
    terms
}

/// Keys that nothing asks for are a policy that somebody believes to be in force.
fn refuse_unused(reader: &Reader<'_>, terms: &TrustTerms) {
    for (evidence, key, given) in [
        (Evidence::Cosign, "keys", !terms.keys.is_empty()),
        (Evidence::Claims, "issuers", !terms.issuers.is_empty()),
        (Evidence::Signature, "signature_keys", !terms.signature_keys.is_empty()),
        (Evidence::Keyless, "identities", !terms.identities.is_empty()),
        (Evidence::Digest, "digests", !terms.digests.is_empty()),
    ] {
        if given && !terms.require.mentions(evidence) && terms.require != Requirement::Never {
            reader.problem(format!("[trust] has `{key}` and nothing asks for them; write `{evidence}` in `require`"));
        }
    }
}

/// Puts the list that a key holds in the place of another, if it is there.
fn replace<T: PartialEq>(
    list: &mut Vec<T>,
    item: Option<Item<'_>>,
    example: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) {
    let Some((item, read)) = item.and_then(|item| item.list(example, parse).map(|read| (item, read))) else { return };
    refuse_many(&item, read.len());
    *list = read;
}

fn refuse_many(item: &Item<'_>, count: usize) {
    if count > MAX_SIGNERS {
        item.problem(format!("this has {count} elements; write at most {MAX_SIGNERS}"));
    }
}

fn read_identities(item: &Item<'_>) -> Option<Vec<Identity>> {
    let items = item.array("[{ issuer = \"https://...\", subject = \"...\" }]")?;
    refuse_many(item, items.len());
    let read = items.iter().filter_map(|item| {
        let mut reader = item.table("identity", "{ issuer = \"https://...\", subject = \"...\" }")?;
        let mut text =
            |key, example| reader.require(key, example).and_then(|item| item.text(example).map(str::to_owned));
        let issuer = text("issuer", "issuer = \"https://...\"");
        let subject = text("subject", "subject = \"release@team.example\"");
        reader.finish();
        Some(Identity { issuer: issuer?, subject: subject? })
    });
    Some(read.collect())
}

/// A word, a list (which is `all`), or a table of `all`, `any` or both.
fn read_requirement(item: &Item<'_>, depth: usize) -> Option<Requirement> {
    const EXAMPLE: &str = "{ all = [\"digest\", \"cosign\"] }";
    if depth >= MAX_REQUIREMENT_DEPTH {
        item.problem(format!("this is nested over {MAX_REQUIREMENT_DEPTH} deep; write it flatter"));
        return None;
    }
    if item.is_text() {
        return item.parse("cosign", word);
    }
    if item.is_array() {
        return Some(Requirement::All(read_parts(item, depth)?));
    }
    let mut reader = item.table("requirement", EXAMPLE)?;
    let mut parts = Vec::new();
    if let Some(all) = reader.take("all") {
        parts.push(Requirement::All(read_parts(&all, depth)?));
    }
    if let Some(any) = reader.take("any") {
        let found = read_parts(&any, depth)?;
        if found.is_empty() {
            any.problem("nothing would be enough; write what would be, or `require = \"never\"` if that is meant");
        }
        parts.push(Requirement::Any(found));
    }
    if parts.is_empty() {
        reader.problem(format!("this asks for nothing; write `{EXAMPLE}`, or `require = []` if that is meant"));
    }
    reader.finish();
    Some(if parts.len() == 1 { parts.remove(0) } else { Requirement::All(parts) })
}

fn read_parts(item: &Item<'_>, depth: usize) -> Option<Vec<Requirement>> {
    let items = item.array("[\"digest\", \"cosign\"]")?;
    Some(items.iter().filter_map(|item| read_requirement(item, depth + 1)).collect())
}

fn word(text: &str) -> Result<Requirement, String> {
    if text == "never" {
        return Ok(Requirement::Never);
    }
    let words = || Evidence::ALL.iter().map(|evidence| evidence.as_str());
    Evidence::ALL
        .iter()
        .find(|evidence| evidence.as_str() == text)
        .map(|evidence| Requirement::Show(*evidence))
        .ok_or_else(|| {
            let near = did_you_mean(text, words());
            let known = words().collect::<Vec<_>>().join(", ");
            let near = if near.is_empty() { format!("; known are {known} and never") } else { near };
            format!("`{text}` is no kind of evidence{near}")
        })
}

fn account(text: &str) -> Result<String, String> {
    let digits = text.len() == NKEY_DIGITS && text.bytes().all(|c| matches!(c, b'A'..=b'Z' | b'2'..=b'7'));
    if digits && text.starts_with('A') {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not an account; write its public nkey, {NKEY_DIGITS} letters and digits from `A`"))
}

fn digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a digest; write `sha256:` and 64 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "ACOJJN6WUP4ODD75XEBKKTCCUJJCY5ZKQ56XVKYK4BEJWGVAOOQHZMCW";

    fn read(text: &str) -> TrustPolicy {
        TrustPolicy::parse(text, Path::new("t")).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn refused(text: &str, expected: &[&str]) {
        let errors = TrustPolicy::parse(text, Path::new("t")).expect_err(text).to_string();
        let found: Vec<_> = errors.lines().map(|line| line.trim_start_matches("t:")).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_table_says_all_of_it() {
        let mut policy = read(&format!(
            "[trust]\nrequire = {{ all = [\"digest\", {{ any = [\"cosign\", \"claims\"] }}] }}\nkeys = [\"keys/a.pub\"]\n\
             issuers = [\"{ACCOUNT}\"]\ndigests = [\"sha256:{hex}\"]\n[[trust.rule]]\nmatch = \"oci://r.example/team-a/*\"\n\
             require = [\"cosign\", \"signature\"]\nkeys = [\"/b.pub\"]\nsignature_keys = [\"c.pub\"]\n\
             [[trust.rule]]\nmatch = \"file:*\"\nrequire = []\n",
            hex = "ab".repeat(32),
        ));
        policy.resolve_paths(Path::new("/etc/samara"));
        assert_eq!(policy.terms.require.to_string(), "digest and (cosign or claims)");
        assert_eq!(policy.terms.keys, [PathBuf::from("/etc/samara/keys/a.pub")]);
        let [team, files] = policy.rules.as_slice() else { panic!("two rules") };
        assert_eq!(team.pattern.as_str(), "oci://r.example/team-a/*");
        assert_eq!(team.terms.require.to_string(), "cosign and signature");
        assert_eq!(team.terms.keys, [PathBuf::from("/b.pub")], "a rule's keys stand in place of its table's");
        assert_eq!(team.terms.signature_keys, [PathBuf::from("/etc/samara/c.pub")]);
        assert_eq!(team.terms.issuers, [ACCOUNT], "and what it does not write is its table's");
        assert!(files.terms.require.is_nothing());
    }

    #[test]
    fn each_problem_has_its_line() {
        refused("", &["1:1: the file has no `trust`; write `[trust]`"]);
        refused("[trust]", &["1:2: [trust] has no `require`; write `require = \"cosign\"`"]);
        refused(
            "[trust]\nrequire = \"cosine\"",
            &["2:11: `require` in [trust]: `cosine` is no kind of evidence; did you mean `cosign`?"],
        );
        refused(
            "[trust]\nrequire = [\"cosign\", \"x\"]",
            &[
                "2:11: `require` in [trust]: nobody is named whose `cosign` would do; write `keys = [\"keys/cosign.pub\"]` too",
                "2:22: `require` in [trust]: `x` is no kind of evidence; known are digest, cosign, keyless, signature, claims and never",
            ],
        );
        refused(
            "[trust]\nrequire = { any = [] }",
            &[
                "2:19: `any` in [trust.require]: nothing would be enough; write what would be, or `require = \"never\"` if that is meant",
            ],
        );
        refused(
            "[trust]\nrequire = []\nkeys = [\"a.pub\"]",
            &["1:2: [trust] has `keys` and nothing asks for them; write `cosign` in `require`"],
        );
        refused(
            "[trust]\nrequire = []\n[[trust.rule]]\nmatch = \"r.example\"\nrequire = \"claims\"\nissuers = [\"MBAD\"]",
            &[
                "4:9: `match` in [[trust.rule]]: `r.example` names no artifacts: write `oci://registry.example/team/*`, `https://host/*`, `file:*`, `layout:*` or `*`",
                "5:11: `require` in [[trust.rule]]: nobody is named whose `claims` would do; write `issuers = [\"ACOJ...\"]` too",
                "6:12: `issuers` in [[trust.rule]]: `MBAD` is not an account; write its public nkey, 56 letters and digits from `A`",
            ],
        );
    }

    #[test]
    fn nesting_and_lists_are_bounded() {
        let deep = format!("[trust]\nrequire = {}\"digest\"{}", "[".repeat(9), "]".repeat(9));
        refused(&deep, &["2:19: `require` in [trust]: this is nested over 8 deep; write it flatter"]);
        let keys: Vec<_> = (0..=MAX_SIGNERS).map(|n| format!("\"{n}.pub\"")).collect();
        refused(
            &format!("[trust]\nrequire = \"cosign\"\nkeys = [{}]", keys.join(",")),
            &["3:8: `keys` in [trust]: this has 65 elements; write at most 64"],
        );
        let rules = "[[trust.rule]]\nmatch = \"*\"\nrequire = []\n".repeat(MAX_RULES + 1);
        refused(
            &format!("[trust]\nrequire = []\n{rules}"),
            &["3:1: `rule` in [trust]: this has 257 rules; write at most 256"],
        );
    }
}
