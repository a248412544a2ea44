//! Key files: made, read back, refused.

use std::os::unix::fs::PermissionsExt as _;

use ed25519_dalek::{Signer as _, pkcs8::EncodePublicKey as _};
use serde_json::json;

use super::*;
use crate::trust::{key::PublicKey, pair::MAX_SCRYPT_BYTES};

#[test]
fn a_pair_is_written_for_its_owner_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = (folder.path().join("a.key"), folder.path().join("a.pub"));
    let pair = KeyPair::generate().unwrap();
    pair.write(&private, &public, b"secret").unwrap();
    assert_eq!(std::fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&private).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), "{text}");
    assert!(KeyPair::needs_password(&text));
    let read = KeyPair::load(&private, b"secret").unwrap();
    assert_eq!(read.public().hint(), PublicKey::load(&public).unwrap().hint());
    assert!(PublicKey::load(&public).unwrap().verifies(b"message", &read.sign(b"message")));
    let error = KeyPair::load(&private, b"wrong").unwrap_err().to_string();
    assert!(error.contains("the password is not its own"), "{error}");
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = (folder.path().join("a.key"), folder.path().join("a.pub"));
    let pair = KeyPair::generate().unwrap();
    std::fs::write(&public, "mine").unwrap();
    assert!(pair.write(&private, &public, b"").unwrap_err().to_string().contains("never overwritten"));
    assert!(!private.exists(), "no half pair is left");
    std::fs::remove_file(&public).unwrap();
    std::fs::write(&private, "mine").unwrap();
    assert!(pair.write(&private, &public, b"").unwrap_err().to_string().contains("never overwritten"));
    assert_eq!(std::fs::read_to_string(&private).unwrap(), "mine");
    assert!(!public.exists());
}

fn sealed(n: u64, r: u32, p: u32) -> String {
    let contents = json!({
        "kdf": { "name": "scrypt", "params": { "N": n, "r": r, "p": p }, "salt": "AAAA" },
        "cipher": { "name": "nacl/secretbox", "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" },
        "ciphertext": "AAAA",
    });
    let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
    p256::pkcs8::der::pem::encode_string(label, p256::pkcs8::LineEnding::LF, contents.to_string().as_bytes()).unwrap()
}

#[test]
fn what_a_password_may_cost_is_bounded() {
    let error = |n, r, p| KeyPair::parse("k", &sealed(n, r, p), b"").unwrap_err().to_string();
    assert!(error(2, 8, 1).contains("the password is not its own"), "a cheap one is tried");
    for (n, r, p) in [
        (1 << 40, 8, 1),
        (u64::MAX, u32::MAX, u32::MAX),
        (1 << 14, 1 << 20, 1),
        (1 << 10, 8, 1000),
        (3, 8, 1),
        (0, 8, 1),
    ] {
        assert!(error(n, r, p).contains("are spent"), "{n} {r} {p}: {}", error(n, r, p));
    }
    assert!(error(1 << 10, 0, 1).contains("no cost of scrypt"), "{}", error(1 << 10, 0, 1));
    const { assert!((1 << 16) * 8 * 128 <= MAX_SCRYPT_BYTES, "what cosign writes is within") };
}

#[test]
fn other_files_are_refused_with_what_they_are() {
    let pair = KeyPair::generate().unwrap();
    let private = |text: &str| KeyPair::parse("k", text, b"").unwrap_err().to_string();
    assert!(private("hello").contains("it is not PEM"));
    assert!(private(&pair.public_pem()).contains("the public half"));
    let public = |text: &str| PublicKey::parse("k", text).unwrap_err().to_string();
    assert!(public(&pair.to_pem(b"").unwrap()).contains("it holds a `ENCRYPTED SIGSTORE PRIVATE KEY`"));
    // The heads of keys of other kinds, which is all that is looked at.
    let of_kind = |der: &[u8]| {
        public(&p256::pkcs8::der::pem::encode_string("PUBLIC KEY", p256::pkcs8::LineEnding::LF, der).unwrap())
    };
    let rsa = b"\x30\x13\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x02\x00\x00";
    assert!(of_kind(rsa).contains("it is RSA"), "{}", of_kind(rsa));
    let p384 = b"\x30\x16\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x02\x00\x00";
    assert!(of_kind(p384).contains("a curve other than P-256"), "{}", of_kind(p384));
    assert!(of_kind(b"\x30\x00").contains("damaged"));
    // All zeroes is a point of small order: its signatures fit every message.
    let weak = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), &[0; 32]].concat();
    assert!(of_kind(&weak).contains("no point of its curve"), "{}", of_kind(&weak));
}

#[test]
fn plain_pkcs8_is_read() {
    use p256::pkcs8::EncodePrivateKey as _;
    let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let pem = secret.to_pkcs8_pem(p256::pkcs8::LineEnding::LF).unwrap();
    assert!(!KeyPair::needs_password(&pem));
    let pair = KeyPair::parse("k", &pem, b"").unwrap();
    assert!(pair.public().verifies(b"x", &pair.sign(b"x")));
}

/// cosign signs with Ed25519 too, where it is given such a key.
#[tokio::test]
async fn a_signature_of_ed25519_is_verified() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let key = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
    let pem = key.verifying_key().to_public_key_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF).unwrap();
    keys.write("a.pub", &pem);
    let (digest, document) = repository.put_artifact("v1", MODULE);
    sign(&repository, &digest, &keys.pair("p256"), &[SignatureLayout::Tag]).await.unwrap();
    let tag = crate::trust::cosign::simple::tag(&digest);
    let mut manifest = repository.manifest_of(&tag);
    let layer = manifest["layers"][0]["digest"].as_str().unwrap().parse::<Digest>().unwrap();
    let signature = {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(key.sign(&repository.blobs.lock()[&layer]).to_bytes())
    };
    let trust = keys.trust("require = \"cosign\"\nkeys = [\"a.pub\"]");
    assert!(!refusal(&trust, &repository, &document).await.is_empty());
    manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"] = signature.into();
    repository.put_manifest(Some(&tag), &manifest);
    assert_eq!(refusal(&trust, &repository, &document).await, "");
}
