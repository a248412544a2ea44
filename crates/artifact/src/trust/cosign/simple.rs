//! Simple signing: what cosign 1 and 2 write. The manifest behind the tag `sha256-HEX.sig` has one layer a signature; the layer
//! is a small JSON document that names the digest, and an annotation of the layer is the signature over the layer's bytes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use oci_spec::image::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use super::Signature;

/// The type of a layer that is such a document.
pub(in crate::trust) const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of a layer that is the signature over it.
pub(in crate::trust) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The annotation of a layer that was signed without a key.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// What the document says it is.
const TYPE: &str = "cosign container image signature";

/// The document, as far as it is critical: `optional` is for whoever signed.
#[derive(Deserialize, Serialize)]
struct Document {
    critical: Critical,
    optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize, Serialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Serialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Deserialize, Serialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// The tag that signatures over a manifest are behind.
pub(in crate::trust) fn tag(subject: &Digest) -> String {
    format!("sha256-{}.sig", subject.digest())
}

/// The document that says that a manifest was signed under a name.
pub(in crate::trust) fn write(name: &str, subject: &Digest) -> Vec<u8> {
    let critical = Critical {
        identity: Identity { docker_reference: name.to_owned() },
        image: Image { digest: subject.to_string() },
        kind: TYPE.to_owned(),
    };
    serde_json::to_vec(&Document { critical, optional: None }).expect("strings under fixed names are JSON")
}

/// Reads a layer and its annotation: the signature to check, and the name that it was made for.
pub(super) fn read(blob: &[u8], layer: &Descriptor, subject: &Digest) -> Result<(Signature, Option<String>), String> {
    if layer.annotations().as_ref().is_some_and(|all| all.contains_key(CERTIFICATE)) {
        return Err(
            "was made without a key and put behind a tag; `keyless` is about bundles, which cosign 3 writes".to_owned()
        );
    }
    let annotation = layer.annotations().as_ref().and_then(|all| all.get(SIGNATURE)).ok_or("has no signature")?;
    let signature = STANDARD.decode(annotation.trim()).map_err(|_| "is not base 64")?;
    let document: Document = serde_json::from_slice(blob).map_err(|error| format!("cannot be read: {error}"))?;
    let Critical { identity, image, kind } = document.critical;
    if kind != TYPE {
        return Err(format!("is of the type `{kind}`, and not `{TYPE}`"));
    }
    if image.digest != subject.to_string() {
        return Err(format!("is over `{}`, which is another artifact", image.digest));
    }
    let named = Some(identity.docker_reference).filter(|name| !name.is_empty());
    Ok((Signature { message: blob.to_vec(), signature, hint: None }, named))
}
