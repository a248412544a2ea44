//! Key pairs that sign: made here or by `cosign generate-key-pair`, read from either.
//!
//! A private key is a PEM file of cosign's own kind: PKCS #8 in a `nacl/secretbox` under a key that scrypt derives from a
//! password. Facts: the `encrypted` package of go-securesystemslib, which takes no other cost than the ones below, and files
//! that cosign 2.5 and 3.1 wrote. Plain PKCS #8 is read too, and never written.

use std::{fmt, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crypto_secretbox::{KeyInit as _, Nonce, XSalsa20Poly1305, aead::Aead as _};
use p256::{
    SecretKey,
    ecdsa::{DerSignature, SigningKey, signature::Signer as _},
    elliptic_curve::zeroize::Zeroizing,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
};
use serde::{Deserialize, Serialize};

use super::key::{PublicKey, read_file};
use crate::Error;

/// The kinds of PEM that hold an encrypted key: cosign's of today, and of its first years.
const ENCRYPTED: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
const KDF: &str = "scrypt";
const CIPHER: &str = "nacl/secretbox";
/// What deriving a key costs where we write it: 64 MiB for an instant.
const COST: Cost = Cost { n: 1 << 16, r: 8, p: 1 };
/// Memory that a key file may make us spend on deriving its key.
pub(super) const MAX_SCRYPT_BYTES: u64 = 256 << 20;
/// How often over it may.
const MAX_SCRYPT_PASSES: u32 = 4;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// A private key of P-256 with its public half.
#[derive(Clone)]
pub struct KeyPair {
    key: SigningKey,
    public: PublicKey,
}

#[derive(Deserialize, Serialize)]
struct Sealed {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize, Serialize)]
struct Derivation {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize, Serialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl KeyPair {
    /// Makes a new pair.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn generate() -> Result<Self, Error> {
        loop {
            let mut bytes = Zeroizing::new([0; 32]);
            random(bytes.as_mut_slice())?;
            // One number in 2^32 or fewer is not below the order of the curve.
            if let Ok(secret) = SecretKey::from_slice(bytes.as_slice()) {
                return Self::new("the new key", &secret);
            }
        }
    }

    fn new(name: &str, secret: &SecretKey) -> Result<Self, Error> {
        let pem = secret.public_key().to_public_key_pem(LineEnding::LF).expect("a point has a PEM form");
        Ok(Self { key: SigningKey::from(secret), public: PublicKey::parse(name, &pem)? })
    }

    /// Whether the text of a key file is under a password.
    pub fn needs_password(pem: &str) -> bool {
        ENCRYPTED.iter().any(|kind| pem.contains(kind))
    }

    /// Reads a private key; `name` is what messages call it: its file.
    ///
    /// # Errors
    /// It is no private key of P-256, or under another password.
    pub fn parse(name: &str, pem: &str, password: &[u8]) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Invalid(format!("`{name}` is not a key to sign with: {why}"));
        let Ok((label, contents)) = p256::pkcs8::der::pem::decode_vec(pem.trim().as_bytes()) else {
            return Err(wrong("it is not PEM; make one with `samara keys new`"));
        };
        let contents = Zeroizing::new(contents);
        let der = match label {
            kind if ENCRYPTED.contains(&kind) => open(&contents, password).map_err(|why| wrong(&why))?,
            "PRIVATE KEY" => contents,
            "PUBLIC KEY" => return Err(wrong("it is the public half; give the file that ends in `.key`")),
            other => return Err(wrong(&format!("it holds a `{other}`; keys of cosign and PKCS #8 are read"))),
        };
        let secret = SecretKey::from_pkcs8_der(&der)
            .map_err(|_| wrong("it is not of P-256; make one with `samara keys new`"))?;
        Self::new(name, &secret)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or as for [`Self::parse`].
    pub fn load(path: &Path, password: &[u8]) -> Result<Self, Error> {
        Self::parse(&path.display().to_string(), &Zeroizing::new(read_file(path)?), password)
    }

    /// The private half as cosign writes it, under a password, which may be empty.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn to_pem(&self, password: &[u8]) -> Result<Zeroizing<String>, Error> {
        let der = SecretKey::from(self.key.as_nonzero_scalar()).to_pkcs8_der().expect("a key has a DER form");
        let json = seal(der.as_bytes(), password)?;
        let pem = p256::pkcs8::der::pem::encode_string(ENCRYPTED[0], LineEnding::LF, &json);
        Ok(Zeroizing::new(pem.expect("a short text has a PEM form")))
    }

    /// The public half.
    pub fn public_pem(&self) -> String {
        self.key.verifying_key().to_public_key_pem(LineEnding::LF).expect("a point has a PEM form")
    }

    /// The public half, to check signatures with.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Writes both halves as new files, the private one for its owner alone. What is there is never replaced.
    ///
    /// # Errors
    /// One of the files is there, or cannot be written; the private one is not left behind without the other.
    pub fn write(&self, private: &Path, public: &Path, password: &[u8]) -> Result<(), Error> {
        let pem = self.to_pem(password)?;
        if public.exists() {
            return Err(in_the_way(public));
        }
        write_new(private, 0o600, &pem)?;
        write_new(public, 0o644, &self.public_pem()).inspect_err(|_| {
            // Ours and a moment old: nobody has signed with it.
            let _ = std::fs::remove_file(private);
        })
    }

    /// A signature over SHA-256 of a message, as ASN.1. The same message has the same one each time (RFC 6979).
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.key.sign(message);
        signature.as_bytes().to_vec()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

fn in_the_way(path: &Path) -> Error {
    Error::Disk(format!("`{}` is there already, and a key is never overwritten; name another file", path.display()))
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), Error> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => in_the_way(path),
        _ => Error::Disk(format!("`{}` cannot be written: {error}", path.display())),
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| Error::Disk(format!("`{}` cannot be written: {error}", path.display())))
}

fn random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| Error::Disk(format!("this machine gives no random numbers: {error}")))
}

fn seal(plain: &[u8], password: &[u8]) -> Result<Vec<u8>, Error> {
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
    random(&mut salt)?;
    random(&mut nonce)?;
    let cipher = cipher(COST, &salt, password).expect("our own cost is within the bounds");
    let ciphertext = cipher.encrypt(Nonce::from_slice(&nonce), plain).expect("a key is short enough for the cipher");
    let sealed = Sealed {
        kdf: Derivation { name: KDF.to_owned(), params: COST, salt: STANDARD.encode(salt) },
        cipher: Cipher { name: CIPHER.to_owned(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    };
    Ok(serde_json::to_vec(&sealed).expect("strings under fixed names are JSON"))
}

fn open(json: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let sealed: Sealed = serde_json::from_slice(json).map_err(|error| format!("its contents are damaged: {error}"))?;
    if sealed.kdf.name != KDF || sealed.cipher.name != CIPHER {
        return Err(format!(
            "it is sealed by `{}` and `{}`, not {KDF} and {CIPHER}",
            sealed.kdf.name, sealed.cipher.name
        ));
    }
    let base_64 = |text: &str| STANDARD.decode(text).map_err(|_| "its contents are not base 64".to_owned());
    let (salt, nonce) = (base_64(&sealed.kdf.salt)?, base_64(&sealed.cipher.nonce)?);
    let ciphertext = base_64(&sealed.ciphertext)?;
    let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| "its nonce is not of 24 bytes")?;
    let cipher = cipher(sealed.kdf.params, &salt, password)?;
    cipher.decrypt(Nonce::from_slice(&nonce), ciphertext.as_slice()).map(Zeroizing::new).map_err(|_| {
        "the password is not its own; set `SAMARA_KEY_PASSWORD` or `COSIGN_PASSWORD`, or give it when asked".to_owned()
    })
}

/// The cipher under a password, with the memory that deriving it takes bounded before it is taken.
fn cipher(cost: Cost, salt: &[u8], password: &[u8]) -> Result<XSalsa20Poly1305, String> {
    let Cost { n, r, p } = cost;
    let memory = n.saturating_mul(u64::from(r)).saturating_mul(128);
    let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    if !n.is_power_of_two() || memory > MAX_SCRYPT_BYTES || p > MAX_SCRYPT_PASSES {
        return Err(format!(
            "its password would cost {} MiB, {p} times (N={n}, r={r}, p={p}), and at most {} MiB, {MAX_SCRYPT_PASSES} times, are spent",
            memory >> 20,
            MAX_SCRYPT_BYTES >> 20
        ));
    }
    let params =
        scrypt::Params::new(log_n, r, p, 32).map_err(|_| format!("N={n}, r={r}, p={p} are no cost of scrypt"))?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password, salt, &params, key.as_mut_slice()).map_err(|error| error.to_string())?;
    Ok(XSalsa20Poly1305::new(key.as_slice().into()))
}
