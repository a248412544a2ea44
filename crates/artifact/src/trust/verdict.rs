//! What was found about an artifact, what was checked and what is missing: for people as steps, for programs as data.

use samara_model::Evidence;
use serde::Serialize;

use super::Claims;
use crate::Error;

/// Characters of one step, or of one reason.
const MAX_TEXT_CHARS: usize = 1_000;

/// Whether an artifact may run, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What was asked for.
    pub reference: String,
    /// The digest of the manifest or index that was asked for; `None` for a file or a URL.
    pub manifest: Option<String>,
    /// The digest of the module's bytes; `None` if it was refused before they were looked at.
    pub module: Option<String>,
    /// Whether every policy is content, and nothing is damaged.
    pub accepted: bool,
    /// What is not what its digest, size or media type says; whatever the policies say of the rest, it is not accepted then.
    pub damage: Option<String>,
    /// Each policy's own verdict.
    pub policies: Vec<PolicyVerdict>,
    /// Whose evidence is good: trusted by at least one policy.
    pub signers: Vec<Signer>,
    /// The claims in the module, believed or not: they only ever take away.
    pub claims: Option<Claims>,
    /// What was looked at, in order.
    pub steps: Vec<Step>,
}

/// What one policy says.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyVerdict {
    /// Where the policy is written: `host.toml`, `[trust] of shop`.
    pub origin: String,
    /// The pattern of the rule that stood in place of the table's terms.
    pub rule: Option<String>,
    /// What it requires, in words: `digest and (cosign or claims)`.
    pub require: String,
    /// Whether that is met.
    pub met: bool,
    /// What is missing, and what would satisfy the policy.
    pub missing: Vec<Missing>,
}

/// Evidence that was asked for and not shown.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    /// Which.
    pub evidence: Evidence,
    /// Why it does not hold, and what would.
    pub why: String,
}

/// Whoever vouched for an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signer {
    /// By which kind of evidence.
    pub evidence: Evidence,
    /// Who: the file of a key and its hint, an account, an identity.
    pub who: String,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is about; `None` is the artifact as a whole.
    pub evidence: Option<Evidence>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub text: String,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was checked and holds.
    Good,
    /// It was checked and does not hold.
    Bad,
    /// There is none.
    Absent,
    /// It was found and says something, and nothing was to be checked.
    Note,
}

impl Step {
    pub(super) fn new(evidence: impl Into<Option<Evidence>>, outcome: Outcome, text: impl AsRef<str>) -> Self {
        Self { evidence: evidence.into(), outcome, text: harmless(text.as_ref()) }
    }
}

impl Missing {
    pub(super) fn new(evidence: Evidence, why: &str) -> Self {
        Self { evidence, why: harmless(why) }
    }
}

/// Text that whoever signs, or says to have signed, has a say in.
pub(super) fn harmless(text: &str) -> String {
    crate::error::harmless(text, MAX_TEXT_CHARS)
}

impl Verdict {
    /// The verdict if it accepts.
    ///
    /// # Errors
    /// [`Error::Untrusted`] with [`Self::refusal`].
    pub fn into_accepted(self) -> Result<Self, Error> {
        if self.accepted { Ok(self) } else { Err(Error::Untrusted(self.refusal())) }
    }

    /// Why it is refused, in one line: each policy that is not content, and what would satisfy it.
    pub fn refusal(&self) -> String {
        let refusing = self.policies.iter().filter(|policy| !policy.met).map(|policy| {
            let rule = policy.rule.as_ref().map(|rule| format!(" for `{rule}`")).unwrap_or_default();
            let why: Vec<_> =
                policy.missing.iter().map(|missing| format!("{}: {}", missing.evidence, missing.why)).collect();
            let why = if why.is_empty() { "nothing would be enough".to_owned() } else { why.join("; ") };
            format!("{} requires {}{rule}: {why}", policy.origin, policy.require)
        });
        let damage = self.damage.iter().map(|why| format!("it is not what it says it is: {why}"));
        let refusing: Vec<_> = damage.chain(refusing).collect();
        format!("`{}` is not trusted: {}", self.reference, refusing.join("; and "))
    }
}
