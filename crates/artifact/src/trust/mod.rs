//! Who vouches for an artifact, and whether that is enough.
//!
//! [`Trust`] holds every policy that has a say: the host file's, the app's, the one of `--trust`. [`Trust::examine`] looks at
//! what there is before the module's bytes are touched (its digest, signatures over its manifest) and [`Examined::module`] at
//! what is in them (claims, embedded signatures). Evidence is gathered once, for all policies together; then each policy is
//! asked, and all must be content. Without a policy everything is accepted and nothing is looked for but claims, which bound
//! what may be granted whoever signed them.
//!
//! What was signed is what runs: every check is over digests that are computed here from bytes, never over what a tag, a
//! repository or a caller says that they are. The names of repositories are not signed (as with cosign): whoever may write
//! to one can put there what the same key signed elsewhere.

mod claims;
mod cosign;
mod embedded;
mod examine;
mod key;
#[cfg_attr(not(feature = "keyless"), path = "keyless_absent.rs")]
mod keyless;
mod nkey;
mod pair;
mod policy;
mod section;
mod sign;
#[cfg(test)]
mod tests;
mod verdict;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use samara_model::{TrustPolicy, manifest::ManifestErrors};

use self::policy::Policy;
pub use self::{
    claims::Claims,
    cosign::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES},
    examine::Examined,
    key::PublicKey,
    pair::KeyPair,
    sign::{Signature, SignatureLayout, sign},
    verdict::{Missing, Outcome, PolicyVerdict, Signer, Step, Verdict},
};
use crate::{Error, Reference, Repository, bounds::VERIFY_TIMEOUT};

/// Every policy that has a say. The default accepts everything.
#[derive(Clone, Debug)]
pub struct Trust {
    policies: Vec<Policy>,
    thorough: bool,
    timeout: Duration,
}

impl Default for Trust {
    fn default() -> Self {
        Self { policies: Vec::new(), thorough: false, timeout: VERIFY_TIMEOUT }
    }
}

/// What is to be trusted or not, before its module is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// As it was asked for.
    pub reference: &'a Reference,
    /// The documents that lead to the module, as they were received: the index or manifest that was asked for, those on the
    /// way, and the manifest of the module. None for a file or a URL.
    pub documents: &'a [Bytes],
    /// Where signatures are looked for; `None` for a file or a URL.
    pub repository: Option<&'a dyn Repository>,
}

impl Trust {
    /// Adds a policy: from now on it must be content too. `origin` is what messages call it: `host.toml`, `[trust] of shop`.
    ///
    /// # Errors
    /// A key that it names cannot be read.
    pub fn and(mut self, origin: &str, policy: &TrustPolicy) -> Result<Self, Error> {
        if *policy != TrustPolicy::default() {
            self.policies.push(Policy::load(origin, policy)?);
        }
        Ok(self)
    }

    /// Adds the policy of a file that holds a `[trust]` table, as `--trust FILE` does; paths in it are relative to its folder.
    ///
    /// # Errors
    /// The file, or a key that it names, cannot be read.
    pub fn and_file(self, file: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Error::Disk(format!("the policy `{}` cannot be read: {error}", file.display())))?;
        let read = TrustPolicy::parse(&text, file);
        let mut policy = read.map_err(|errors: ManifestErrors| Error::Invalid(errors.to_string()))?;
        policy.resolve_paths(file.parent().unwrap_or(Path::new("")));
        self.and(&file.display().to_string(), &policy)
    }

    /// Looks at all evidence there is, also where no policy asks for it or the first was enough: for `samara verify`.
    #[must_use]
    pub fn thorough(self) -> Self {
        Self { thorough: true, ..self }
    }

    /// Looks for signatures for so long at most, all of them and whatever they refer to: [`VERIFY_TIMEOUT`] if nobody says.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Whether all evidence is wanted, also what came after the last look.
    pub(crate) fn is_thorough(&self) -> bool {
        self.thorough
    }

    /// Whether everything is accepted.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Looks at both what leads to the module and the module.
    ///
    /// # Errors
    /// As for [`Self::examine`]. A refusal is a verdict and no error: see [`Verdict::into_accepted`].
    pub async fn verify(&self, asked: Asked<'_>, module: &[u8]) -> Result<Verdict, Error> {
        Ok(self.examine(asked).await?.module(module))
    }
}
