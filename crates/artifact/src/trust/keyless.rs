//! Signatures without keys: a certificate for one moment, from an authority (Fulcio) that knew who signed, and an entry in a
//! log (Rekor) that proves the moment. Everything is in the bundle, and is held against a trusted root that the operator
//! supplies; nothing is asked of the network.
//!
//! The rules are those of the `sigstore-verify` crate, with none of them left out: chain, certificate's time against the log's,
//! signed certificate timestamp, inclusion proof, checkpoint, promise, and the entry against the bundle. What is ours is the
//! cryptography it is given: ring, which TLS uses too.

use std::{fmt, io::Read as _, path::Path, sync::Arc};

use bytes::Bytes;
use oci_spec::image::Digest;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use samara_model::Identity;
use sha2::Digest as _;
use sigstore_verify::{
    VerificationPolicy, Verifier,
    crypto::{CryptoProvider, Error as CryptoError, HashContext, SigningScheme, install_default_provider},
    trust_root::TrustedRoot,
    types::{Bundle, HashAlgorithm, Sha256Hash},
};

use crate::{Error, store::blocking};

/// A trusted root.
pub(super) const MAX_ROOT_BYTES: u64 = 1 << 20;

/// The authorities and logs that are trusted.
#[derive(Clone)]
pub(super) struct Root(Arc<Verifier>);

impl Root {
    /// Reads a `trusted_root.json`.
    pub(super) fn load(path: &Path) -> Result<Self, Error> {
        // The first of a process counts, and all of them are this one.
        let _ = install_default_provider(&Ring);
        let unreadable = |why: &dyn fmt::Display| {
            Error::Invalid(format!("the trusted root `{}` cannot be read: {why}", path.display()))
        };
        let mut json = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_ROOT_BYTES + 1).read_to_string(&mut json))
            .map_err(|error| unreadable(&error))?;
        if json.len() as u64 > MAX_ROOT_BYTES {
            return Err(unreadable(&format_args!("it is over {MAX_ROOT_BYTES} bytes")));
        }
        let root = TrustedRoot::from_json(&json).map_err(|error| unreadable(&error))?;
        Verifier::new(&root).map(Arc::new).map(Self).map_err(|error| unreadable(&error))
    }

    /// Who signed, if all of a bundle holds: chains, logs and proofs of a stranger's making, on a thread that may be busy.
    pub(super) async fn verify(&self, bundle: &Bytes, subject: &Digest) -> Result<Result<Identity, String>, Error> {
        let (root, bundle, subject) = (self.clone(), bundle.clone(), subject.clone());
        blocking(move || Ok(root.check(&bundle, &subject))).await
    }

    /// What the bundle states was read before, from the same bytes.
    fn check(&self, bundle: &[u8], subject: &Digest) -> Result<Identity, String> {
        let text = std::str::from_utf8(bundle).map_err(|_| "it is not text")?;
        let bundle = Bundle::from_json(text).map_err(|error| error.to_string())?;
        let digest = Sha256Hash::from_hex(subject.digest()).map_err(|error| error.to_string())?;
        // Anybody here, and the caller asks who: each identity of a policy would cost all of the checks again.
        let verified = self.0.verify(digest, &bundle, &VerificationPolicy::any_identity());
        let verified = verified.map_err(|error| error.to_string())?;
        if !(verified.certificate_verified() && verified.sct_verified() && verified.tlog_verified()) {
            return Err("a part of it was not checked".to_owned());
        }
        let (issuer, identity) = verified.issuer().zip(verified.identity()).ok_or("its certificate names nobody")?;
        Ok(Identity { issuer: issuer.to_owned(), subject: identity.as_str().to_owned() })
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").finish_non_exhaustive()
    }
}

/// Hashes and checks of signatures, by ring and sha2.
#[derive(Debug)]
struct Ring;

struct Hash<D>(D);

impl<D: sha2::Digest + Send> HashContext for Hash<D> {
    fn update(&mut self, data: &[u8]) {
        sha2::Digest::update(&mut self.0, data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

impl CryptoProvider for Ring {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, CryptoError> {
        Ok(match algorithm {
            HashAlgorithm::Sha2256 => Box::new(Hash(sha2::Sha256::new())),
            HashAlgorithm::Sha2384 => Box::new(Hash(sha2::Sha384::new())),
            HashAlgorithm::Sha2512 => Box::new(Hash(sha2::Sha512::new())),
            other => return Err(CryptoError::UnsupportedAlgorithm(format!("{other:?}"))),
        })
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        public_key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        let algorithm: &'static dyn VerificationAlgorithm = match scheme {
            SigningScheme::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
            SigningScheme::EcdsaP256Sha384 => &signature::ECDSA_P256_SHA384_ASN1,
            SigningScheme::EcdsaP384Sha256 => &signature::ECDSA_P384_SHA256_ASN1,
            SigningScheme::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
            SigningScheme::Ed25519 => &signature::ED25519,
            SigningScheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            SigningScheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            SigningScheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            SigningScheme::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
            SigningScheme::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
            SigningScheme::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
            other => return Err(CryptoError::UnsupportedAlgorithm(format!("{other:?}"))),
        };
        UnparsedPublicKey::new(algorithm, public_key)
            .verify(data, signature)
            .map_err(|_| CryptoError::Verification("the signature is not that key's".to_owned()))
    }

    /// Artifacts are signed in envelopes, whose bytes are there: nothing is verified by its hash alone.
    fn verify_prehashed(&self, scheme: SigningScheme, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), CryptoError> {
        Err(CryptoError::UnsupportedAlgorithm(format!("{scheme:?} over a hash")))
    }
}
