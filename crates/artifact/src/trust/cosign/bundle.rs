//! Sigstore's bundle: what cosign 3 writes. One JSON document with a DSSE envelope around an in-toto statement whose subject is
//! the manifest's digest, and either the hint of a key or a certificate.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use super::Signature;

/// The type of the bundles that are written.
pub(in crate::trust) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What an envelope's payload is.
const PAYLOAD: &str = "application/vnd.in-toto+json";
/// What the statement is.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// What the statement states: that this was signed. Others are about how it was built or what is in it.
pub(in crate::trust) const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// Subjects of one statement.
const MAX_SUBJECTS: usize = 16;

/// What a bundle turned out to be.
pub(in crate::trust) enum Signed {
    /// A signature to check with a key.
    ByKey(Signature),
    /// One with a certificate.
    ByCertificate,
    /// Something else that was signed.
    Otherwise(String),
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    #[serde(skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<Hint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<serde_json::Value>,
}

#[derive(Deserialize, Serialize)]
struct Hint {
    #[serde(default)]
    hint: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize, Serialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    #[serde(default)]
    predicate: serde_json::Value,
}

#[derive(Deserialize, Serialize)]
struct Subject {
    digest: std::collections::BTreeMap<String, String>,
}

/// Whether a layer or an artifact of this type is a bundle, of any version.
pub(super) fn is_media_type(kind: &str) -> bool {
    kind.starts_with("application/vnd.dev.sigstore.bundle.v")
        || kind.starts_with("application/vnd.dev.sigstore.bundle+json")
}

/// Reads a bundle and holds it against the digest that it should be over.
pub(in crate::trust) fn read(blob: &[u8], subject: &Digest) -> Result<Signed, String> {
    let unreadable = |error: serde_json::Error| format!("cannot be read: {error}");
    let bundle: Bundle = serde_json::from_slice(blob).map_err(unreadable)?;
    if !is_media_type(&bundle.media_type) {
        return Err(format!("says that it is `{}`, which is no bundle", bundle.media_type));
    }
    let Some(envelope) = bundle.dsse_envelope else {
        return Err("has no envelope, so it names no artifact".to_owned());
    };
    if envelope.payload_type != PAYLOAD {
        return Err(format!("holds `{}`, and not `{PAYLOAD}`", envelope.payload_type));
    }
    // As the specification of bundles has it. Each is tried with each key, and bundles are what is counted.
    let [signature] = envelope.signatures.as_slice() else {
        return Err(format!("has {} signatures, and a bundle is of one", envelope.signatures.len()));
    };
    let base_64 = |text: &str| STANDARD.decode(text).map_err(|_| "is not base 64".to_owned());
    let payload = base_64(&envelope.payload)?;
    let statement: Statement = serde_json::from_slice(&payload).map_err(unreadable)?;
    if statement.kind != STATEMENT {
        return Err(format!("states `{}`, and not `{STATEMENT}`", statement.kind));
    }
    if statement.subject.len() > MAX_SUBJECTS {
        return Err(format!("is over {} subjects, and at most {MAX_SUBJECTS} are read", statement.subject.len()));
    }
    let names = |found: &Subject| found.digest.get("sha256").is_some_and(|hex| hex == subject.digest());
    if !statement.subject.iter().any(names) {
        return Err("is over another artifact".to_owned());
    }
    if statement.predicate_type != PREDICATE {
        return Ok(Signed::Otherwise(format!("a statement `{}` about it", statement.predicate_type)));
    }
    let material = bundle.verification_material;
    if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
        return Ok(Signed::ByCertificate);
    }
    Ok(Signed::ByKey(Signature {
        message: pre_authentication(&payload),
        signature: base_64(&signature.sig)?,
        hint: material.public_key.map(|key| key.hint).filter(|hint| !hint.is_empty()),
    }))
}

/// What the signature of an envelope is over: its type and its payload, each with its length, so that neither runs into the
/// other.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {PAYLOAD} {} ", PAYLOAD.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

/// A bundle that says that a manifest was signed. `sign` makes a signature over a message.
pub(in crate::trust) fn write(subject: &Digest, hint: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let statement = Statement {
        kind: STATEMENT.to_owned(),
        subject: vec![Subject { digest: [("sha256".to_owned(), subject.digest().to_owned())].into() }],
        predicate_type: PREDICATE.to_owned(),
        predicate: serde_json::json!({}),
    };
    let payload = serde_json::to_vec(&statement).expect("strings under fixed names are JSON");
    let signature = sign(&pre_authentication(&payload));
    let envelope = Envelope {
        payload: STANDARD.encode(&payload),
        payload_type: PAYLOAD.to_owned(),
        signatures: vec![EnvelopeSignature { sig: STANDARD.encode(signature) }],
    };
    let public_key = Some(Hint { hint: hint.to_owned() });
    let bundle = Bundle {
        media_type: MEDIA_TYPE.to_owned(),
        verification_material: Material { public_key, certificate: None, x509_certificate_chain: None },
        dsse_envelope: Some(envelope),
    };
    serde_json::to_vec(&bundle).expect("strings under fixed names are JSON")
}
