//! Public keys of signers: the PEM files that a policy names.
//!
//! ECDSA on P-256 is what cosign makes; Ed25519 is what it also verifies and what embedded signatures are made with. Others
//! get an error that names them.

use std::{fmt, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use p256::{
    ecdsa::signature::hazmat::PrehashVerifier as _,
    pkcs8::{ObjectIdentifier, SubjectPublicKeyInfoRef, der::pem::decode_vec},
};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// A key file, of either half of a pair.
pub(super) const MAX_KEY_FILE_BYTES: u64 = 64 << 10;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Somebody's public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    hint: String,
    curve: Curve,
}

#[derive(Clone, PartialEq, Eq)]
enum Curve {
    P256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl PublicKey {
    /// Reads PEM; `name` is what messages call the key: its file.
    ///
    /// # Errors
    /// It is not a public key, or of a kind that is not verified here.
    pub fn parse(name: &str, pem: &str) -> Result<Self, Error> {
        let wrong =
            |why: &str| Error::Invalid(format!("`{name}` is not a key that signatures are checked with: {why}"));
        let Ok((label, der)) = decode_vec(pem.trim().as_bytes()) else {
            return Err(wrong(
                "it is not PEM; give the file that `samara keys new` or `cosign generate-key-pair` ends in `.pub`",
            ));
        };
        if label != "PUBLIC KEY" {
            return Err(wrong(&format!("it holds a `{label}`; give the public half, which ends in `.pub`")));
        }
        let Ok(info) = SubjectPublicKeyInfoRef::try_from(der.as_slice()) else {
            return Err(wrong("its contents are damaged"));
        };
        let (kind, parameters) = (info.algorithm.oid, info.algorithm.parameters_oid().ok());
        let curve = match kind {
            EC if parameters == Some(P256) => {
                p256::ecdsa::VerifyingKey::from_public_key_der(&der).ok().map(Curve::P256)
            }
            EC => return Err(wrong("it is of a curve other than P-256; make one with `samara keys new`")),
            ED25519 => {
                let key = ed25519_dalek::VerifyingKey::from_public_key_der(&der).ok();
                // A weak key has signatures that fit every message.
                key.filter(|key| !key.is_weak()).map(Curve::Ed25519)
            }
            RSA => return Err(wrong("it is RSA; make one of P-256 with `samara keys new`")),
            other => return Err(wrong(&format!("its kind is `{other}`; P-256 and Ed25519 are read"))),
        };
        let Some(curve) = curve else { return Err(wrong("its contents are no point of its curve")) };
        let hint = STANDARD.encode(Sha256::digest(&der));
        Ok(Self { name: name.to_owned(), hint, curve })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or as for [`Self::parse`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(&path.display().to_string(), &read_file(path)?)
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What cosign's bundles name it by: base 64 of SHA-256 of its DER form. The same key has the same hint everywhere.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Whether a signature over a message is its own: ASN.1 for P-256, 64 bytes for Ed25519.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifies_hashed(message, &Sha256::digest(message), signature)
    }

    /// The same for whoever asks several keys, with the message's SHA-256 at hand.
    pub(super) fn verifies_hashed(&self, message: &[u8], hash: &[u8], signature: &[u8]) -> bool {
        match &self.curve {
            Curve::P256(key) => p256::ecdsa::DerSignature::try_from(signature)
                .is_ok_and(|signature| key.verify_prehash(hash, &signature).is_ok()),
            Curve::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
        }
    }

    /// Whether it can check signatures in a module, which are of Ed25519 only.
    pub(super) fn is_ed25519(&self) -> bool {
        matches!(self.curve, Curve::Ed25519(_))
    }
}

/// The text of a key file, bounded.
pub(super) fn read_file(path: &Path) -> Result<String, Error> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)
        .map_err(|error| Error::Disk(format!("the key `{}` cannot be read: {error}", path.display())))?;
    file.take(MAX_KEY_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| Error::Disk(format!("the key `{}` cannot be read: {error}", path.display())))?;
    if text.len() as u64 > MAX_KEY_FILE_BYTES {
        return Err(Error::OverLimit(format!("`{}` is over {MAX_KEY_FILE_BYTES} bytes and no key", path.display())));
    }
    Ok(text)
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("name", &self.name).field("hint", &self.hint).finish_non_exhaustive()
    }
}

impl fmt::Display for PublicKey {
    /// For people: `keys/release.pub (hint kQ0r...)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (hint {})", self.name, self.hint)
    }
}
