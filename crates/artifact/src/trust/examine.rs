//! Gathers evidence, then asks each policy.

use std::time::SystemTime;

use oci_spec::image::{Digest, ImageIndex};
use samara_model::{Evidence, Identity, format_duration};
use tokio::time::timeout;

use super::{
    Asked, Claims, Missing, Outcome, PolicyVerdict, Signer, Step, Trust, Verdict,
    cosign::{Certified, Search, UNASKED},
    embedded,
    key::PublicKey,
    policy::{Terms, place},
};
use crate::{Error, OciReference, Reference, Repository, Version, repository::sha256};

/// What is known before the module's bytes are looked at.
#[derive(Debug)]
pub struct Examined<'t> {
    trust: &'t Trust,
    reference: String,
    place: String,
    /// What kind of thing cannot be signed from outside, for messages: `a file`.
    unsigned_kind: Option<&'static str>,
    pinned: bool,
    digests: Vec<Digest>,
    cosign: Vec<PublicKey>,
    /// Whether nobody was asked for signatures, now or when it was pulled.
    unasked: bool,
    /// Who signed without a key, by whose terms that holds.
    keyless: Vec<(&'t Terms, Identity)>,
    steps: Vec<Step>,
}

/// What was in the module.
#[derive(Default)]
struct InModule {
    digest: Option<Digest>,
    claims: Option<Claims>,
    signed_by: Vec<PublicKey>,
}

impl Trust {
    /// Looks at all that can be known before the module's bytes are: the digest, and signatures over the manifest.
    ///
    /// # Errors
    /// A document is not the one that was asked for, an index does not list what was chosen from it, or nobody answers who
    /// could say whether there are signatures; or that took longer than [`Trust::within`] allows.
    pub async fn examine(&self, asked: Asked<'_>) -> Result<Examined<'_>, Error> {
        let reference = asked.reference.to_string();
        let has_rules = self.policies.iter().any(super::policy::Policy::has_rules);
        let place = if has_rules { place(asked.reference)? } else { String::new() };
        let digests = chain(&asked)?;
        let pin = pinned_digest(asked.reference);
        let mut steps = Vec::new();
        match (pin, digests.first()) {
            (Some(pin), Some(first)) if pin != first => {
                return Err(Error::Invalid(format!("`{reference}` was asked for, and `{first}` is what came")));
            }
            (Some(pin), _) => {
                let text = format!("it was asked for by its digest `{pin}`");
                steps.push(Step::new(Evidence::Digest, Outcome::Good, text));
            }
            (None, Some(first)) => {
                let text = format!("it was asked for by a name that may move, which is now `{first}`");
                steps.push(Step::new(Evidence::Digest, Outcome::Note, text));
            }
            (None, None) => {}
        }
        let unsigned_kind = digests.is_empty().then_some(match asked.reference {
            Reference::Url(_) => "what a URL names",
            Reference::Bundle { .. } => "a bundle that is a file",
            _ => "a file",
        });
        let pinned = pin.is_some();
        let mut examined = Examined {
            trust: self,
            reference,
            place,
            unsigned_kind,
            pinned,
            digests,
            cosign: Vec::new(),
            unasked: false,
            keyless: Vec::new(),
            steps,
        };
        if let Some(repository) = asked.repository {
            // A registry may be slow with each of many answers: the bound is on all of them together.
            let looked = timeout(self.timeout, examined.look_for_signatures(repository)).await;
            looked.map_err(|_| {
                let allowed = format_duration(self.timeout);
                Error::Unreachable(format!(
                    "looking for who signed `{}` took over {allowed}, the most that is waited; a host file may allow more: \
                     `[artifacts] verify_timeout`",
                    asked.reference
                ))
            })??;
        }
        Ok(examined)
    }
}

impl<'t> Examined<'t> {
    /// The terms of each policy for this artifact.
    fn terms(&self) -> impl Iterator<Item = &'t Terms> {
        self.trust.policies.iter().map(|policy| policy.terms(&self.place).1)
    }

    /// The documents' digests, if anybody wants to know who signed them.
    pub(crate) fn signed_over(&self) -> &[Digest] {
        if self.wants_signatures() { &self.digests } else { &[] }
    }

    fn wants_signatures(&self) -> bool {
        let asks = |evidence| self.terms().any(|terms| terms.require.mentions(evidence));
        asks(Evidence::Cosign) || asks(Evidence::Keyless) || self.trust.thorough
    }

    async fn look_for_signatures(&mut self, repository: &dyn Repository) -> Result<(), Error> {
        if !self.wants_signatures() {
            return Ok(());
        }
        let keyless = self.terms().any(|terms| terms.require.mentions(Evidence::Keyless));
        let mut keys: Vec<PublicKey> = Vec::new();
        for key in self.terms().flat_map(|terms| &terms.keys) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        let thorough = self.trust.thorough || keyless;
        let wanting: Vec<_> = self.terms().filter(|terms| terms.require.mentions(Evidence::Cosign)).collect();
        let enough = |search: &Search<'_>| !thorough && wanting.iter().all(|terms| by(&search.good, &terms.keys));
        let mut search = Search::new(repository, keys);
        for digest in &self.digests {
            if enough(&search) {
                break;
            }
            search.look(digest, &enough).await?;
        }
        if search.steps.is_empty() {
            let text = format!("there is no signature over `{}` in `{}`", listed(&self.digests), repository.name());
            search.steps.push(Step::new(Evidence::Cosign, Outcome::Absent, text));
        }
        self.steps.append(&mut search.steps);
        self.cosign = search.good;
        self.unasked = search.unasked;
        self.look_at_certificates(search.certified).await
    }

    /// Holds certificates against the roots of those terms that ask for it.
    async fn look_at_certificates(&mut self, certified: Vec<Certified>) -> Result<(), Error> {
        let roots: Vec<_> = self.terms().filter_map(|terms| terms.root.as_ref().map(|root| (terms, root))).collect();
        for Certified { place, bundle, subject } in certified {
            for (terms, root) in &roots {
                let step = match root.verify(&bundle, &subject).await? {
                    Ok(identity) if terms.identities.contains(&identity) => {
                        let text = format!(
                            "{place} over `{subject}` is good: `{}` by `{}`",
                            identity.subject, identity.issuer
                        );
                        self.keyless.push((terms, identity));
                        Step::new(Evidence::Keyless, Outcome::Good, text)
                    }
                    Ok(Identity { issuer, subject }) => {
                        let text = format!("{place} is by `{subject}` of `{issuer}`, who is none of the `identities`");
                        Step::new(Evidence::Keyless, Outcome::Bad, text)
                    }
                    Err(why) => Step::new(Evidence::Keyless, Outcome::Bad, format!("{place} does not hold: {why}")),
                };
                self.steps.push(step);
            }
        }
        Ok(())
    }

    /// The verdict if it cannot be better any more, whatever is in the module: it need not be fetched or read.
    pub fn refused(&self) -> Option<Verdict> {
        let hopeless = |terms: &Terms| {
            let shown = |evidence: Evidence| match evidence {
                Evidence::Digest if !self.pinned && !terms.digests.is_empty() => None,
                _ if evidence.is_in_module() => None,
                _ => Some(self.shows(evidence, terms, &InModule::default())),
            };
            terms.require.is_met(&shown) == Some(false)
        };
        self.terms().any(hopeless).then(|| self.verdict(InModule::default(), self.steps.clone()))
    }

    /// The verdict on what cannot be looked into because something of it is not what it says it is. Nothing more is checked.
    pub(crate) fn damaged(self, error: &Error) -> Verdict {
        let mut steps = self.steps.clone();
        let step = Step::new(None, Outcome::Bad, error.to_string());
        let damage = Some(step.text.clone());
        steps.push(step);
        Verdict { accepted: false, damage, ..self.verdict(InModule::default(), steps) }
    }

    /// Looks at the module and asks each policy.
    pub fn module(self, bytes: &[u8]) -> Verdict {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut steps = self.steps.clone();
        let mut found = InModule::default();
        if self.trust.thorough || !self.trust.is_empty() {
            let digest = sha256(bytes);
            let listed = |one: &&Digest| self.terms().any(|terms| terms.digests.contains(&one.to_string()));
            for one in self.digests.iter().chain([&digest]).filter(listed) {
                let text = format!("`{one}` is on the list of a policy");
                steps.push(Step::new(Evidence::Digest, Outcome::Good, text));
            }
            found.digest = Some(digest);
        }
        self.look_for_claims(bytes, now, &mut found, &mut steps);
        self.look_for_embedded(bytes, &mut found, &mut steps);
        self.verdict(found, steps)
    }

    fn look_for_claims(&self, bytes: &[u8], now: u64, found: &mut InModule, steps: &mut Vec<Step>) {
        let asked_for = self.terms().any(|terms| terms.require.mentions(Evidence::Claims));
        let mut step = |outcome, text: String| steps.push(Step::new(Evidence::Claims, outcome, text));
        match Claims::find(bytes, now) {
            Ok(None) if asked_for || self.trust.thorough => {
                step(Outcome::Absent, "there are no claims in the module".to_owned());
            }
            Ok(None) => {}
            Ok(Some(claims)) => {
                let name = claims.name.as_deref().unwrap_or(&claims.subject);
                match &claims.problem {
                    Some(problem) => step(Outcome::Bad, format!("the claims of `{name}` do not hold: {problem}")),
                    None => step(Outcome::Good, format!("the claims of `{name}` are signed by `{}`", claims.issuer)),
                }
                let bound = match claims.capabilities.as_slice() {
                    [] => "nothing".to_owned(),
                    words => format!("`{}`", words.join("`, `")),
                };
                step(Outcome::Note, format!("they allow {bound}, and no more is granted"));
                found.claims = Some(claims);
            }
            Err(why) => {
                step(Outcome::Bad, format!("claims cannot be read, so nothing is granted: {why}"));
                found.claims = Some(Claims::unreadable(why));
            }
        }
    }

    fn look_for_embedded(&self, bytes: &[u8], found: &mut InModule, steps: &mut Vec<Step>) {
        let asked_for = self.terms().any(|terms| terms.require.mentions(Evidence::Signature));
        if !asked_for && !self.trust.thorough {
            return;
        }
        let keys: Vec<_> = self.terms().flat_map(|terms| terms.signature_keys.iter().cloned()).collect();
        let mut step = |outcome, text: String| steps.push(Step::new(Evidence::Signature, outcome, text));
        match embedded::find(bytes, &keys) {
            Ok(None) => step(Outcome::Absent, "there is no signature in the module".to_owned()),
            Ok(Some(embedded)) => {
                for key in &embedded.good {
                    step(Outcome::Good, format!("the signature in the module is good: {key}"));
                }
                if embedded.good.is_empty() {
                    let (whole, other) = (embedded.whole, embedded.other);
                    let text = format!(
                        "{whole} signatures in the module are over all of it and {other} over something else; none is by a \
                         trusted key"
                    );
                    step(Outcome::Bad, text);
                }
                found.signed_by = embedded.good;
            }
            Err(why) => step(Outcome::Bad, format!("the signature in the module cannot be read: {why}")),
        }
    }

    /// Whether a kind of evidence is there, as these terms want it.
    fn shows(&self, evidence: Evidence, terms: &Terms, found: &InModule) -> bool {
        match evidence {
            Evidence::Digest => {
                let listed = |digest: &Digest| terms.digests.contains(&digest.to_string());
                self.pinned || self.digests.iter().chain(&found.digest).any(listed)
            }
            Evidence::Cosign => by(&self.cosign, &terms.keys),
            Evidence::Signature => by(&found.signed_by, &terms.signature_keys),
            Evidence::Claims => found
                .claims
                .as_ref()
                .is_some_and(|claims| claims.problem.is_none() && terms.issuers.contains(&claims.issuer)),
            Evidence::Keyless => self.keyless.iter().any(|(by, _)| std::ptr::eq(*by, terms)),
        }
    }

    fn verdict(&self, found: InModule, steps: Vec<Step>) -> Verdict {
        let policies: Vec<_> = self
            .trust
            .policies
            .iter()
            .map(|policy| {
                let (rule, terms) = policy.terms(&self.place);
                let shown = |evidence| self.shows(evidence, terms, &found);
                let met = terms.require.is_met(&|evidence| Some(shown(evidence))) == Some(true);
                let wanting = Evidence::ALL.iter().filter(|one| !met && terms.require.mentions(**one) && !shown(**one));
                PolicyVerdict {
                    origin: policy.origin.clone(),
                    rule: rule.map(|pattern| pattern.as_str().to_owned()),
                    require: terms.require.to_string(),
                    met,
                    missing: wanting
                        .map(|evidence| Missing::new(*evidence, &self.why(*evidence, terms, &found)))
                        .collect(),
                }
            })
            .collect();
        Verdict {
            reference: self.reference.clone(),
            manifest: self.digests.first().map(ToString::to_string),
            module: found.digest.as_ref().map(ToString::to_string),
            accepted: policies.iter().all(|policy| policy.met),
            damage: None,
            signers: self.signers(&found),
            policies,
            claims: found.claims,
            steps,
        }
    }

    /// Whose evidence a policy believes.
    fn signers(&self, found: &InModule) -> Vec<Signer> {
        let of = |evidence, keys: &[PublicKey]| {
            keys.iter().map(|key| Signer { evidence, who: key.to_string() }).collect::<Vec<_>>()
        };
        let mut signers = of(Evidence::Cosign, &self.cosign);
        signers.extend(of(Evidence::Signature, &found.signed_by));
        let believed = found.claims.iter().filter(|claims| {
            claims.problem.is_none() && self.terms().any(|terms| terms.issuers.contains(&claims.issuer))
        });
        signers.extend(believed.map(|claims| Signer { evidence: Evidence::Claims, who: claims.issuer.clone() }));
        signers.extend(
            self.keyless.iter().map(|(_, who)| Signer { evidence: Evidence::Keyless, who: who.subject.clone() }),
        );
        signers
    }

    /// Why a kind of evidence does not hold, and what would make it.
    fn why(&self, evidence: Evidence, terms: &Terms, found: &InModule) -> String {
        let last_bad = |evidence| {
            let bad =
                self.steps.iter().rev().find(|step| step.evidence == Some(evidence) && step.outcome == Outcome::Bad);
            bad.map(|step| format!("{}; ", step.text)).unwrap_or_default()
        };
        let names =
            |keys: &[PublicKey]| keys.iter().map(|key| format!("`{}`", key.name())).collect::<Vec<_>>().join(", ");
        match evidence {
            Evidence::Digest => match (self.unsigned_kind, self.digests.first()) {
                (Some(kind), _) => format!(
                    "{kind} is not asked for by a digest; write `digests = [\"{}\"]` into the policy if that module is meant",
                    found.digest.as_ref().map_or_else(|| "sha256:...".to_owned(), ToString::to_string)
                ),
                (None, Some(digest)) => format!("the reference names no digest; write `@{digest}` after it"),
                (None, None) => "the reference names no digest".to_owned(),
            },
            Evidence::Cosign | Evidence::Keyless if self.unsigned_kind.is_some() => {
                let kind = self.unsigned_kind.unwrap_or_default();
                format!(
                    "{kind} has no manifest that could be signed; push it to a registry or an image layout and sign it there"
                )
            }
            Evidence::Cosign => {
                let bad = last_bad(Evidence::Cosign);
                let others = match self.cosign.as_slice() {
                    [] => String::new(),
                    others => format!("it is signed by {}, which is none of these; ", names(others)),
                };
                let found = match (self.unasked, bad.is_empty() && others.is_empty()) {
                    (true, _) => format!("{bad}{others}{UNASKED}; "),
                    (false, true) => "it is not signed; ".to_owned(),
                    (false, false) if others.is_empty() => bad,
                    (false, false) => others,
                };
                format!("{found}a signature by {} would do (`samara sign`, `cosign sign`)", names(&terms.keys))
            }
            Evidence::Signature => {
                format!("no signature in the module over all of it is by {}", names(&terms.signature_keys))
            }
            Evidence::Claims => match &found.claims {
                Some(Claims { problem: Some(problem), .. }) => problem.clone(),
                Some(claims) => format!("`{}` signed them, who is not one of the `issuers`", claims.issuer),
                None => "there are none in the module".to_owned(),
            },
            Evidence::Keyless => format!(
                "{}{}a signature by {} would do",
                last_bad(Evidence::Keyless),
                if self.unasked { format!("{UNASKED}; ") } else { String::new() },
                terms.identities.iter().map(|one| format!("`{}`", one.subject)).collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

/// Whether one of these keys is trusted.
fn by(good: &[PublicKey], trusted: &[PublicKey]) -> bool {
    good.iter().any(|key| trusted.contains(key))
}

fn listed(digests: &[Digest]) -> String {
    digests.iter().map(ToString::to_string).collect::<Vec<_>>().join("`, `")
}

/// The digest that a reference names.
fn pinned_digest(reference: &Reference) -> Option<&Digest> {
    match reference {
        Reference::Oci(OciReference { digest, .. }) => digest.as_ref(),
        Reference::Layout { version: Some(Version::Digest(digest)), .. } => Some(digest),
        Reference::Bundle { archive, .. } => pinned_digest(archive),
        _ => None,
    }
}

/// The digests of the documents, each of which must be listed by the one before it.
fn chain(asked: &Asked<'_>) -> Result<Vec<Digest>, Error> {
    let digests: Vec<_> = asked.documents.iter().map(|bytes| sha256(bytes)).collect();
    for ((bytes, digest), child) in asked.documents.iter().zip(&digests).zip(digests.iter().skip(1)) {
        let index: ImageIndex = serde_json::from_slice(bytes).map_err(|error| {
            Error::Invalid(format!("`{digest}` of `{}` is no index: {error}", asked.reference)).harmless()
        })?;
        if !index.manifests().iter().any(|listed| listed.digest() == child) {
            return Err(Error::Invalid(format!(
                "the index `{digest}` of `{}` does not list `{child}`, which was chosen from it",
                asked.reference
            )));
        }
    }
    Ok(digests)
}
