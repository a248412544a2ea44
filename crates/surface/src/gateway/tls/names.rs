//! Which certificate answers which name.
//!
//! An exact name comes before a wildcard, a wildcard stands for one label (RFC 6125, 6.4.3), and of two certificates for
//! one name the first that the client can check is taken: so one of RSA beside one of ECDSA serves old clients. Whoever
//! names no host, or one that no certificate is for, gets the first certificate of the file and decides himself.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context as _;
use rustls::{
    SignatureScheme,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    certificate::{self, Facts},
    files::Pair,
};

/// Certificates by the names they are for.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Names {
    /// Adds a certificate under all its names; tells what it says.
    ///
    /// # Errors
    /// The key is not the certificate's, or one of them cannot be used.
    pub(super) fn add(&mut self, pair: &Pair, provider: &CryptoProvider) -> anyhow::Result<Facts> {
        let (file, key_file) = (pair.file.display(), pair.key_file.display());
        let certified = CertifiedKey::from_der(pair.chain.clone(), pair.key.clone_key(), provider)
            .with_context(|| format!("using `{file}` with the key `{key_file}`"))?;
        let certified = Arc::new(certified);
        let leaf = certified.end_entity_cert().with_context(|| format!("reading `{file}`"))?;
        let facts = certificate::facts(leaf).with_context(|| format!("reading `{file}`"))?;
        for name in &facts.names {
            let (names, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent.to_owned()),
                None => (&mut self.exact, name.clone()),
            };
            names.entry(name).or_default().push(Arc::clone(&certified));
        }
        self.default.get_or_insert(certified);
        Ok(facts)
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len()
    }

    /// The certificate for a name, in lower case, among those that a client can check.
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(schemes).is_some();
        let named = name.and_then(|name| {
            let exact = self.exact.get(name);
            let wildcard = || self.wildcard.get(name.split_once('.')?.1);
            let candidates = exact.or_else(wildcard)?;
            candidates.iter().find(fits).or(candidates.first())
        });
        named.or(self.default.as_ref()).cloned()
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.find(name.as_deref(), hello.signature_schemes())
    }
}
