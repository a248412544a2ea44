//! Signatures without keys, by a Sigstore of the test's own: an authority, a log of certificates and a log of signatures, each
//! a key and what it would say.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::{
    ecdsa::{DerSignature, SigningKey, signature::Signer as _},
    pkcs8::{
        EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
        der::{Decode as _, Header, Reader as _, SliceReader},
    },
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    SanType, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::trust::Outcome;

const ISSUER: &str = "https://token.example";
const WHO: &str = "https://ci.example/team/flow@main";
/// 2024-01-01, within the years of the certificates.
const SIGNED_AT: u64 = 1_704_067_200;

struct Sigstore {
    authority: SigningKey,
    certificates: SigningKey,
    signatures: SigningKey,
}

/// What goes wrong with one signature.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    Nothing,
    ExpiredCertificate,
    NoCertificateTimestamp,
    NoPromise,
    OtherLogEntry,
    TamperedSignature,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn spki(key: &SigningKey) -> Vec<u8> {
    key.verifying_key().to_public_key_der().unwrap().into_vec()
}

fn log_id(key: &SigningKey) -> [u8; 32] {
    Sha256::digest(spki(key)).into()
}

fn signed(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    let signature: DerSignature = key.sign(message);
    signature.as_bytes().to_vec()
}

fn for_rcgen(key: &SigningKey) -> rcgen::KeyPair {
    rcgen::KeyPair::try_from(key.to_pkcs8_der().unwrap().as_bytes()).unwrap()
}

fn base_64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// The part of a certificate that is signed.
fn to_be_signed(certificate: &[u8]) -> Vec<u8> {
    let mut reader = SliceReader::new(certificate).unwrap();
    Header::decode(&mut reader).unwrap();
    reader.tlv_bytes().unwrap().to_vec()
}

fn with_length(bytes: &[u8], length_bytes: usize) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[4 - length_bytes..], bytes].concat()
}

impl Sigstore {
    fn new(seed: u8) -> Self {
        Self { authority: key(seed), certificates: key(seed + 1), signatures: key(seed + 2) }
    }

    fn authority_params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    fn trusted_root(&self) -> String {
        let since = json!({ "start": "2020-01-01T00:00:00Z" });
        let log = |key: &SigningKey| {
            let details = "PKIX_ECDSA_P256_SHA_256";
            json!({
                "baseUrl": "https://log.example",
                "hashAlgorithm": "SHA2_256",
                "publicKey": { "rawBytes": base_64(spki(key)), "keyDetails": details, "validFor": since },
                "logId": { "keyId": base_64(log_id(key)) },
            })
        };
        let authority = Self::authority_params().self_signed(&for_rcgen(&self.authority)).unwrap();
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&self.signatures)],
            "certificateAuthorities": [{
                "subject": { "organization": "example", "commonName": "authority" },
                "uri": "https://authority.example",
                "certChain": { "certificates": [{ "rawBytes": base_64(authority.der()) }] },
                "validFor": since,
            }],
            "ctlogs": [log(&self.certificates)],
            "timestampAuthorities": [],
        })
        .to_string()
    }

    /// A certificate for a key that lives for a moment, with the promise of the log of certificates.
    fn certify(&self, signer: &SigningKey, wrong: Wrong) -> rcgen::Certificate {
        let issuer = Issuer::new(Self::authority_params(), for_rcgen(&self.authority));
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (date_time_ymd(2023, 12, 1), date_time_ymd(2024, 2, 1));
        if wrong == Wrong::ExpiredCertificate {
            (params.not_before, params.not_after) = (date_time_ymd(2023, 1, 1), date_time_ymd(2023, 2, 1));
        }
        params.serial_number = Some(SerialNumber::from(7));
        params.subject_alt_names = vec![SanType::URI(WHO.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let utf8 = [&[0x0c, u8::try_from(ISSUER.len()).unwrap()], ISSUER.as_bytes()].concat();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], utf8)];
        let public = for_rcgen(signer);
        let before = params.signed_by(&public, &issuer).unwrap();
        if wrong == Wrong::NoCertificateTimestamp {
            return before;
        }
        let timestamp = (SIGNED_AT * 1000).to_be_bytes();
        let issuer_hash = Sha256::digest(spki(&self.authority));
        let entry = [&issuer_hash[..], &with_length(&to_be_signed(before.der()), 3)].concat();
        // RFC 6962: version, kind of signature, time, kind of entry, entry, no extensions.
        let message = [&[0, 0], &timestamp[..], &[0, 1], &entry, &[0, 0]].concat();
        let signature = with_length(&signed(&self.certificates, &message), 2);
        let promise = [&[0], &log_id(&self.certificates)[..], &timestamp, &[0, 0], &[4, 3], &signature].concat();
        let list = with_length(&with_length(&promise, 2), 2);
        let octets = [&[0x04, 0x81, u8::try_from(list.len()).unwrap()][..], &list].concat();
        let octets = if list.len() < 128 { [&[0x04, octets[2]], &list[..]].concat() } else { octets };
        params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], octets));
        params.signed_by(&public, &issuer).unwrap()
    }

    /// What cosign would write for a manifest.
    fn bundle(&self, subject: &Digest, wrong: Wrong) -> Value {
        let signer = key(99);
        let certificate = self.certify(&signer, wrong);
        let payload = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": subject.digest() } }],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        })
        .to_string();
        let kind = "application/vnd.in-toto+json";
        let message = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        let mut signature = signed(&signer, message.as_bytes());
        if wrong == Wrong::TamperedSignature {
            signature = signed(&signer, b"something else");
        }
        let logged = if wrong == Wrong::OtherLogEntry { "another".to_owned() } else { payload.clone() };
        let pem = p256::pkcs8::der::pem::encode_string("CERTIFICATE", LineEnding::LF, certificate.der()).unwrap();
        let hash = |text: &str| json!({ "algorithm": "sha256", "value": data_encoding::HEXLOWER.encode(&Sha256::digest(text)) });
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": hash("not checked by anybody"),
                "payloadHash": hash(&logged),
                "signatures": [{ "signature": base_64(&signature), "verifier": base_64(pem) }],
            },
        })
        .to_string();
        let root = Sha256::digest([&[0], body.as_bytes()].concat());
        let note = format!("log.example\n1\n{}\n", base_64(root));
        let id = log_id(&self.signatures);
        let by = base_64([&id[..4], &signed(&self.signatures, note.as_bytes())].concat());
        // The order of the keys is the canonical one.
        let promised = format!(
            r#"{{"body":"{}","integratedTime":{SIGNED_AT},"logID":"{}","logIndex":0}}"#,
            base_64(&body),
            data_encoding::HEXLOWER.encode(&id)
        );
        let mut entry = json!({
            "logIndex": "0",
            "logId": { "keyId": base_64(id) },
            "kindVersion": { "kind": "dsse", "version": "0.0.1" },
            "integratedTime": SIGNED_AT.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": base_64(signed(&self.signatures, promised.as_bytes())) },
            "inclusionProof": {
                "logIndex": "0", "treeSize": "1", "hashes": [], "rootHash": base_64(root),
                "checkpoint": { "envelope": format!("{note}\n\u{2014} log.example {by}\n") },
            },
            "canonicalizedBody": base_64(&body),
        });
        if wrong == Wrong::NoPromise {
            entry.as_object_mut().unwrap().remove("inclusionPromise");
        }
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": { "rawBytes": base_64(certificate.der()) },
                "tlogEntries": [entry],
                "timestampVerificationData": { "rfc3161Timestamps": [] },
            },
            "dsseEnvelope": {
                "payload": base_64(&payload),
                "payloadType": kind,
                "signatures": [{ "sig": base_64(&signature), "keyid": "" }],
            },
        })
    }
}

fn refer(repository: &Memory, subject: &Digest, bundle: &Value) {
    let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let bytes = bundle.to_string();
    let size = bytes.len();
    let layer = repository.put_blob(bytes);
    repository.put_manifest(
        None,
        &json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest.as_ref(),
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}").to_string(), "size": 2 },
            "layers": [{ "mediaType": kind, "digest": layer.to_string(), "size": size }],
            "subject": { "mediaType": MediaType::ImageManifest.as_ref(), "digest": subject.to_string(), "size": 1 },
        }),
    );
}

/// The verdict on one bundle, by a policy that trusts the Sigstore of `seed` and one identity.
async fn verdict(seed: u8, identity: (&str, &str), wrong: Wrong) -> Verdict {
    let (keys, repository) = (Keys::new(), Memory::default());
    keys.write("root.json", &Sigstore::new(seed).trusted_root());
    let (digest, document) = repository.put_artifact("v1", MODULE);
    refer(&repository, &digest, &Sigstore::new(1).bundle(&digest, wrong));
    let (issuer, subject) = identity;
    let trust = keys.trust(&format!(
        "require = \"keyless\"\ntrusted_root = \"root.json\"\nidentities = [{{ issuer = \"{issuer}\", subject = \"{subject}\" }}]"
    ));
    verify(&trust, &repository, &[document]).await.unwrap()
}

#[tokio::test]
async fn whoever_signed_without_a_key_is_known_by_the_certificate() {
    let good = verdict(1, (ISSUER, WHO), Wrong::Nothing).await;
    assert!(good.accepted, "{}\n{:#?}", good.refusal(), good.steps);
    assert_eq!(good.signers.len(), 1);
    assert_eq!(good.signers[0].who, WHO);
}

#[tokio::test]
async fn another_identity_or_another_root_is_refused() {
    for (seed, issuer, subject, why) in [
        (1, ISSUER, "https://ci.example/other", "none of the `identities`"),
        (1, "https://other.example", WHO, "none of the `identities`"),
        (50, ISSUER, WHO, "does not hold"),
    ] {
        let verdict = verdict(seed, (issuer, subject), Wrong::Nothing).await;
        assert!(!verdict.accepted, "{seed} {issuer} {subject}");
        assert!(verdict.refusal().contains(why), "{}", verdict.refusal());
    }
}

#[tokio::test]
async fn every_part_of_the_proof_must_hold() {
    for (wrong, why) in [
        (Wrong::ExpiredCertificate, "expired"),
        (Wrong::NoCertificateTimestamp, "SCT"),
        (Wrong::NoPromise, "timestamp"),
        (Wrong::OtherLogEntry, "mismatch"),
        (Wrong::TamperedSignature, "signature"),
    ] {
        let verdict = verdict(1, (ISSUER, WHO), wrong).await;
        assert!(!verdict.accepted, "{wrong:?}");
        let bad: Vec<_> =
            verdict.steps.iter().filter(|step| step.outcome == Outcome::Bad).map(|step| &step.text).collect();
        assert!(bad.iter().any(|text| text.to_lowercase().contains(&why.to_lowercase())), "{wrong:?}: {bad:?}");
    }
}

/// Whoever may write to the repository puts the bundle beside another artifact.
#[tokio::test]
async fn a_certificate_is_for_its_own_artifact() {
    let (keys, repository) = (Keys::new(), Memory::default());
    keys.write("root.json", &Sigstore::new(1).trusted_root());
    let (good, _) = repository.put_artifact("v1", MODULE);
    let (bad, document) = repository.put_artifact("v2", b"\0asm\x0d\0\x01\0");
    refer(&repository, &bad, &Sigstore::new(1).bundle(&good, Wrong::Nothing));
    let trust = keys.trust(&format!(
        "require = \"keyless\"\ntrusted_root = \"root.json\"\nidentities = [{{ issuer = \"{ISSUER}\", subject = \"{WHO}\" }}]"
    ));
    assert!(!verify(&trust, &repository, &[document]).await.unwrap().accepted);
}

#[test]
fn a_root_that_is_none_is_refused() {
    let keys = Keys::new();
    let error = |text: &str| {
        keys.write("root.json", text);
        let policy = keys.policy(
            "require = \"keyless\"\ntrusted_root = \"root.json\"\nidentities = [{ issuer = \"i\", subject = \"s\" }]",
        );
        keys.plain(&Trust::default().and("t.toml", &policy).unwrap_err().to_string())
    };
    assert!(error("{}").starts_with("the trusted root `root.json` cannot be read"));
    assert!(error(&" ".repeat((1 << 20) + 1)).contains("it is over 1048576 bytes"));
}
