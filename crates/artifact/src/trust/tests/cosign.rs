//! Signatures over manifests: what counts, what does not, and how many are looked at.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::*;
use crate::trust::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Outcome};

const COSIGN: &str = "require = \"cosign\"\nkeys = [\"a.pub\"]";

#[tokio::test]
async fn each_layout_alone_is_enough() {
    for layout in SignatureLayout::ALL {
        let (keys, repository) = (Keys::new(), Memory::default());
        let pair = keys.pair("a");
        let (digest, document) = repository.put_artifact("v1", MODULE);
        sign(&repository, &digest, &pair, &[*layout]).await.unwrap();
        let verdict = verify(&keys.trust(COSIGN), &repository, &[document]).await.unwrap();
        assert!(verdict.accepted, "{layout:?}: {}", verdict.refusal());
        let [signer] = verdict.signers.as_slice() else { panic!("one signer") };
        assert_eq!(keys.plain(&signer.who), format!("`a.pub` (hint {})", pair.public().hint()));
        assert_eq!(verdict.manifest, Some(digest.to_string()));
        assert_eq!(verdict.module, Some(sha256(MODULE).to_string()));
    }
}

#[tokio::test]
async fn an_unsigned_artifact_is_refused_with_what_would_do() {
    let (keys, repository) = (Keys::new(), Memory::default());
    keys.pair("a");
    let (_, document) = repository.put_artifact("v1", MODULE);
    assert_eq!(
        keys.plain(&refusal(&keys.trust(COSIGN), &repository, &document).await),
        "`r.example/team/app:v1` is not trusted: t.toml requires cosign: cosign: it is not signed; a signature by `a.pub` \
         would do (`samara sign`, `cosign sign`)"
    );
}

#[tokio::test]
async fn another_key_is_refused() {
    let (keys, repository) = (Keys::new(), Memory::default());
    keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    sign_all(&repository, &digest, &keys.pair("b")).await;
    let refusal = refusal(&keys.trust(COSIGN), &repository, &document).await;
    assert!(refusal.contains("is by none of the trusted keys"), "{refusal}");
}

/// What another policy verified is said of it by this one, which wants somebody else.
#[tokio::test]
async fn what_is_signed_for_another_policy_is_not_said_to_be_unsigned() {
    let (keys, repository) = (Keys::new(), Memory::default());
    keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    sign_all(&repository, &digest, &keys.pair("b")).await;
    let others = keys.policy("require = \"cosign\"\nkeys = [\"b.pub\"]");
    let both = keys.trust(COSIGN).and("[trust] of shop", &others).unwrap();
    assert_eq!(
        keys.plain(&refusal(&both, &repository, &document).await),
        "`r.example/team/app:v1` is not trusted: t.toml requires cosign: cosign: it is signed by `b.pub`, which is none of \
         these; a signature by `a.pub` would do (`samara sign`, `cosign sign`)"
    );
}

#[tokio::test]
async fn one_good_signature_among_several_counts_and_signing_keeps_the_others() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let (a, b, c) = (keys.pair("a"), keys.pair("b"), keys.pair("c"));
    let (digest, document) = repository.put_artifact("v1", MODULE);
    for pair in [&b, &a, &c, &a] {
        sign_all(&repository, &digest, pair).await;
    }
    assert_eq!(
        repository.manifest_of(&crate::trust::cosign::simple::tag(&digest))["layers"].as_array().unwrap().len(),
        3
    );
    assert_eq!(repository.referrers(&digest).await.unwrap().len(), 3);
    for name in ["a", "b", "c"] {
        let trust = keys.trust(&format!("require = \"cosign\"\nkeys = [\"{name}.pub\"]"));
        assert_eq!(refusal(&trust, &repository, &document).await, "", "{name}");
    }
    let again = sign(&repository, &digest, &a, SignatureLayout::ALL).await.unwrap();
    assert!(again.iter().all(|signature| signature.already), "{again:?}");
}

/// An annotation is copied by whoever can write to the tag, onto a layer that it is not over.
#[tokio::test]
async fn a_copied_annotation_is_not_the_signature() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let pair = keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    sign(&repository, &digest, &pair, &[SignatureLayout::Tag]).await.unwrap();
    let tag = crate::trust::cosign::simple::tag(&digest);
    let mut manifest = repository.manifest_of(&tag);
    manifest["layers"][0]["digest"] = repository.put_blob(&b"another"[..]).to_string().into();
    repository.put_manifest(Some(&tag), &manifest);
    assert!(!refusal(&keys.trust(COSIGN), &repository, &document).await.is_empty());
    let again = sign(&repository, &digest, &pair, &[SignatureLayout::Tag]).await.unwrap();
    assert!(!again[0].already);
    assert_eq!(refusal(&keys.trust(COSIGN), &repository, &document).await, "");
}

/// What is signed, and what holds signatures, is read by one reader.
#[tokio::test]
async fn a_manifest_of_signatures_that_is_two_things_is_not_read() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let pair = keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    sign(&repository, &digest, &pair, &[SignatureLayout::Tag]).await.unwrap();
    let tag = crate::trust::cosign::simple::tag(&digest);
    let mut manifest = repository.manifest_of(&tag);
    manifest["manifests"] = json!([]);
    repository.put_manifest(Some(&tag), &manifest);
    let refusal = refusal(&keys.trust(COSIGN), &repository, &document).await;
    assert!(refusal.contains("has both `layers` and `manifests`"), "{refusal}");
    let error = sign(&repository, &digest, &pair, &[SignatureLayout::Tag]).await.unwrap_err().to_string();
    assert!(error.contains("has both `layers` and `manifests`") && error.ends_with("remove that tag"), "{error}");
}

#[tokio::test]
async fn a_thorough_look_tells_of_each_signature() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let (a, b) = (keys.pair("a"), keys.pair("b"));
    let (digest, document) = repository.put_artifact("v1", MODULE);
    sign_all(&repository, &digest, &a).await;
    sign_all(&repository, &digest, &b).await;
    let count = |verdict: &Verdict, outcome| verdict.steps.iter().filter(|step| step.outcome == outcome).count();
    let trust = keys.trust(COSIGN);
    let thorough = verify(&trust.clone().thorough(), &repository, std::slice::from_ref(&document)).await.unwrap();
    assert_eq!((count(&thorough, Outcome::Good), count(&thorough, Outcome::Bad)), (2, 2), "{:#?}", thorough.steps);
    let brief = verify(&trust, &repository, &[document]).await.unwrap();
    assert_eq!(count(&brief, Outcome::Good), 1, "{:#?}", brief.steps);
    let json = serde_json::to_value(&thorough).unwrap();
    assert_eq!(json["accepted"], true);
    assert_eq!(json["signers"][0]["evidence"], "cosign");
    assert_eq!(json["policies"][0]["require"], "cosign");
}

/// Nothing is wrong with what nobody could check.
#[tokio::test]
async fn a_signature_is_told_where_no_key_was_given() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let pair = keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    sign_all(&repository, &digest, &pair).await;
    let verdict = verify(&Trust::default().thorough(), &repository, &[document]).await.unwrap();
    assert!(verdict.steps.iter().all(|step| step.outcome != Outcome::Bad), "{:#?}", verdict.steps);
    let told = |what: &str| verdict.steps.iter().filter(|step| step.text.contains(what)).count();
    assert_eq!(told("no key was given to check it with"), 2, "{:#?}", verdict.steps);
    assert_eq!(told(&format!("(its key has the hint `{}`)", pair.public().hint())), 1, "only bundles have one");
}

/// Whoever may write to a repository can put any signature beside any artifact.
#[tokio::test]
async fn a_signature_over_another_artifact_does_not_count() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let pair = keys.pair("a");
    let (good, _) = repository.put_artifact("v1", MODULE);
    let (bad, document) = repository.put_artifact("v2", b"\0asm\x01\0\0\0\0\x02\x01x");
    sign_all(&repository, &good, &pair).await;
    let tag = |digest| crate::trust::cosign::simple::tag(digest);
    let signatures = repository.tags.lock()[&tag(&good)].clone();
    repository.tags.lock().insert(tag(&bad), signatures);
    let referrer = repository.referrers(&good).await.unwrap().remove(0);
    let moved = String::from_utf8(repository.manifest(referrer.digest()).await.unwrap().to_vec()).unwrap();
    let moved = moved.replace(good.as_ref(), bad.as_ref());
    repository.put_manifest(None, &serde_json::from_str(&moved).unwrap());
    let verdict = verify(&keys.trust(COSIGN).thorough(), &repository, &[document]).await.unwrap();
    assert!(!verdict.accepted);
    let bad: Vec<_> = verdict.steps.iter().filter(|step| step.outcome == Outcome::Bad).map(|step| &step.text).collect();
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(bad.iter().all(|text| text.contains("another artifact")), "{bad:?}");
}

/// A statement by the right key about what is in an artifact does not say that it may run.
#[tokio::test]
async fn an_attestation_is_no_signature() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let pair = keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    sign(&repository, &digest, &pair, &[SignatureLayout::Bundle]).await.unwrap();
    let envelope = |predicate: &str| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let payload = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": digest.digest() } }],
            "predicateType": predicate,
            "predicate": {},
        })
        .to_string();
        let kind = "application/vnd.in-toto+json";
        let signature = pair.sign(format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len()).as_bytes());
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": { "publicKey": { "hint": "" } },
            "dsseEnvelope": {
                "payload": STANDARD.encode(&payload),
                "payloadType": kind,
                "signatures": [{ "sig": STANDARD.encode(signature) }],
            },
        })
        .to_string()
    };
    let refer = |bundle: String| {
        let size = bundle.len();
        let layer = repository.put_blob(bundle);
        repository.manifests.lock().retain(|digest, _| repository.tags.lock().values().any(|tagged| tagged == digest));
        repository.put_manifest(
            None,
            &json!({
                "schemaVersion": 2,
                "mediaType": MediaType::ImageManifest.as_ref(),
                "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}").to_string(), "size": 2 },
                "layers": [{
                    "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "digest": layer.to_string(), "size": size,
                }],
                "subject": { "mediaType": MediaType::ImageManifest.as_ref(), "digest": digest.to_string(), "size": 1 },
            }),
        );
    };
    let trust = keys.trust(COSIGN);
    refer(envelope("https://sigstore.dev/cosign/sign/v1"));
    assert_eq!(refusal(&trust, &repository, &document).await, "", "the same envelope with the right predicate is good");
    refer(envelope("https://spdx.dev/Document"));
    let verdict = verify(&trust, &repository, std::slice::from_ref(&document)).await.unwrap();
    assert!(!verdict.accepted);
    assert!(verdict.steps.iter().any(|step| step.text.contains("a statement `https://spdx.dev/Document` about it")));
}

#[tokio::test]
async fn a_signature_over_an_index_covers_what_it_lists() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let pair = keys.pair("a");
    let (child, child_document) = repository.put_artifact("child", MODULE);
    let (_, stranger) = repository.put_artifact("stranger", b"\0asm\x0d\0\x01\0");
    let (index, index_document) = repository.put_manifest(
        Some("v1"),
        &json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageIndex.as_ref(),
            "manifests": [{ "mediaType": MediaType::ImageManifest.as_ref(), "digest": child.to_string(), "size": 1 }],
        }),
    );
    sign_all(&repository, &index, &pair).await;
    let trust = keys.trust(COSIGN);
    let verdict = verify(&trust, &repository, &[index_document.clone(), child_document.clone()]).await.unwrap();
    assert!(verdict.accepted, "{}", verdict.refusal());
    assert_eq!(verdict.manifest, Some(index.to_string()), "what was asked for");
    assert!(
        !verify(&trust, &repository, std::slice::from_ref(&child_document)).await.unwrap().accepted,
        "alone it is unsigned"
    );
    let error = verify(&trust, &repository, &[index_document.clone(), stranger]).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(why) if why.contains("does not list")), "{error}");

    // And the other way round: what runs is what was signed, whoever wrote the index.
    let by_child = Memory::default();
    let (_, child_document) = by_child.put_artifact("child", MODULE);
    sign_all(&by_child, &child, &pair).await;
    assert!(verify(&trust, &by_child, &[index_document, child_document]).await.unwrap().accepted);
}

#[tokio::test]
async fn no_more_signatures_are_looked_at_than_the_bound() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let pair = keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    let document_bytes = crate::trust::cosign::simple::write("x", &digest);
    let layer = repository.put_blob(document_bytes.clone());
    let junk = json!({
        "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
        "digest": layer.to_string(),
        "size": document_bytes.len(),
        "annotations": { "dev.cosignproject.cosign/signature": "AAAA" },
    });
    sign(&repository, &digest, &pair, &[SignatureLayout::Tag]).await.unwrap();
    let tag = crate::trust::cosign::simple::tag(&digest);
    let signed = repository.manifest_of(&tag);
    let with_junk = |count: usize| {
        let mut manifest = signed.clone();
        let layers = manifest["layers"].as_array_mut().unwrap();
        layers.splice(0..0, std::iter::repeat_n(junk.clone(), count));
        repository.put_manifest(Some(&tag), &manifest);
    };
    let trust = keys.trust(COSIGN);
    with_junk(MAX_SIGNATURES - 1);
    assert_eq!(refusal(&trust, &repository, &document).await, "", "the last that is looked at is good");
    with_junk(MAX_SIGNATURES);
    repository.requests.store(0, Ordering::Relaxed);
    let refusal = refusal(&trust, &repository, &document).await;
    assert!(refusal.contains("64 signatures were looked at, and no more are"), "{refusal}");
    assert_eq!(
        repository.requests.load(Ordering::Relaxed),
        MAX_SIGNATURES + 3,
        "referrers, tag, manifest, and each blob"
    );
}

#[tokio::test]
async fn referrers_that_are_no_signatures_count_against_the_bound() {
    let (keys, repository) = (Keys::new(), Memory::default());
    keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    for index in 0..MAX_SIGNATURES * 2 {
        repository.put_manifest(
            None,
            &json!({
                "schemaVersion": 2,
                "mediaType": MediaType::ImageManifest.as_ref(),
                "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}").to_string(), "size": 2 },
                "layers": [],
                "subject": { "mediaType": MediaType::ImageManifest.as_ref(), "digest": digest.to_string(), "size": 1 },
                "annotations": { "n": index.to_string() },
            }),
        );
    }
    repository.requests.store(0, Ordering::Relaxed);
    assert!(!refusal(&keys.trust(COSIGN), &repository, &document).await.is_empty());
    assert_eq!(repository.requests.load(Ordering::Relaxed), MAX_SIGNATURES + 2, "referrers, each manifest, tag");
}

/// Each answer comes in time, and all of them together do not.
#[tokio::test]
async fn a_registry_that_is_slow_with_each_signature_is_given_up() {
    let (keys, mut repository) = (Keys::new(), Memory::default());
    keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    for _ in 0..MAX_SIGNATURES / 2 {
        sign(&repository, &digest, &keys.pair("b"), &[SignatureLayout::Bundle]).await.unwrap();
    }
    repository.pause = Duration::from_millis(20);
    repository.requests.store(0, Ordering::Relaxed);
    let error =
        verify(&keys.trust(COSIGN).within(Duration::from_millis(100)), &repository, std::slice::from_ref(&document))
            .await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable(why) if why.contains("took over 100ms") && why.contains("verify_timeout")),
        "{error:?}"
    );
    let requests = repository.requests.load(Ordering::Relaxed);
    assert!(requests <= 5, "{requests} requests of 20 ms were made in 100");
    repository.pause = Duration::ZERO;
    let verdict = verify(&keys.trust(COSIGN).within(Duration::from_secs(60)), &repository, &[document]).await.unwrap();
    assert!(verdict.refusal().contains("is by none of the trusted keys"), "{}", verdict.refusal());
}

/// What is counted against the bound is one check with each key, and no envelope brings more.
#[tokio::test]
async fn a_bundle_is_of_one_signature() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let pair = keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    let bundle = crate::trust::cosign::bundle::write(&digest, pair.public().hint(), |message| pair.sign(message));
    let with = |count: usize| {
        let mut bundle: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
        let good = bundle["dsseEnvelope"]["signatures"][0].clone();
        bundle["dsseEnvelope"]["signatures"] = std::iter::repeat_n(good, count).collect();
        let bytes = bundle.to_string();
        let layer = repository.put_blob(bytes.clone());
        repository.put_manifest(
            Some(&crate::trust::cosign::simple::tag(&digest)),
            &json!({
                "schemaVersion": 2,
                "config": { "mediaType": MediaType::ImageConfig.as_ref(), "digest": sha256(b"{}").to_string(), "size": 2 },
                "layers": [{
                    "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                    "digest": layer.to_string(),
                    "size": bytes.len(),
                }],
            }),
        );
    };
    let trust = keys.trust(COSIGN);
    with(1);
    assert_eq!(refusal(&trust, &repository, &document).await, "");
    for count in [0, 2, 16] {
        with(count);
        let refusal = refusal(&trust, &repository, &document).await;
        assert!(refusal.contains(&format!("has {count} signatures, and a bundle is of one")), "{refusal}");
    }
}

#[tokio::test]
async fn a_signature_over_its_size_is_not_fetched() {
    let (keys, repository) = (Keys::new(), Memory::default());
    keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    repository.put_manifest(
        Some(&crate::trust::cosign::simple::tag(&digest)),
        &json!({
            "schemaVersion": 2,
            "config": { "mediaType": MediaType::ImageConfig.as_ref(), "digest": sha256(b"{}").to_string(), "size": 2 },
            "layers": [{
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": sha256(b"never stored").to_string(),
                "size": MAX_SIGNATURE_BYTES + 1,
            }],
        }),
    );
    let refusal = refusal(&keys.trust(COSIGN), &repository, &document).await;
    assert!(refusal.contains("at most 262144 are read"), "{refusal}");
}

#[tokio::test]
async fn hostile_signatures_are_told_and_do_no_harm() {
    let (keys, repository) = (Keys::new(), Memory::default());
    let pair = keys.pair("a");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    let blobs: &[&[u8]] = &[b"", b"{", b"[]", b"{\"critical\":{}}", "[".repeat(200_000).leak().as_bytes()];
    let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let simple = "application/vnd.dev.cosign.simplesigning.v1+json";
    let mut layers = Vec::new();
    for blob in blobs {
        let stored = repository.put_blob(*blob);
        for kind in [bundle, simple] {
            layers.push(json!({
                "mediaType": kind, "digest": stored.to_string(), "size": blob.len(),
                "annotations": { "dev.cosignproject.cosign/signature": "*not base 64*" },
            }));
        }
    }
    let hostile = json!({
        "schemaVersion": 2,
        "config": { "mediaType": MediaType::ImageConfig.as_ref(), "digest": sha256(b"{}").to_string(), "size": 2 },
        "layers": layers,
        "subject": { "mediaType": MediaType::ImageManifest.as_ref(), "digest": digest.to_string(), "size": 1 },
    });
    repository.put_manifest(None, &hostile);
    let trust = keys.trust(COSIGN);
    let verdict = verify(&trust, &repository, std::slice::from_ref(&document)).await.unwrap();
    assert!(!verdict.accepted);
    assert_eq!(verdict.steps.iter().filter(|step| step.outcome == Outcome::Bad).count(), blobs.len() * 2);
    sign(&repository, &digest, &pair, &[SignatureLayout::Tag]).await.unwrap();
    assert_eq!(refusal(&trust, &repository, &document).await, "");
}

/// Every field that a stranger fills and a message repeats.
#[tokio::test]
async fn what_signatures_say_is_shown_and_not_obeyed() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    const HOSTILE: &str = "x\u{1b}[2J\n\u{202e}\u{200b}";
    let (keys, repository) = (Keys::new(), Memory::default());
    keys.pair("a");
    let other = keys.pair("b");
    let (digest, document) = repository.put_artifact("v1", MODULE);
    let simple: serde_json::Value =
        serde_json::from_slice(&crate::trust::cosign::simple::write(HOSTILE, &digest)).unwrap();
    let bundle = crate::trust::cosign::bundle::write(&digest, HOSTILE, |message| other.sign(message));
    let bundle: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    let payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    let statement: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    let changed = |document: &serde_json::Value, field: &str| {
        let mut document = document.clone();
        *document.pointer_mut(field).unwrap_or_else(|| panic!("no {field}")) = HOSTILE.into();
        document
    };
    let stating = |field| {
        let statement = changed(&statement, field).to_string();
        let mut bundle = bundle.clone();
        bundle["dsseEnvelope"]["payload"] = STANDARD.encode(statement).into();
        bundle
    };
    let simple_type = "application/vnd.dev.cosign.simplesigning.v1+json";
    let bundle_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let documents = [
        (simple_type, simple.clone()),
        (simple_type, changed(&simple, "/critical/type")),
        (simple_type, changed(&simple, "/critical/image/docker-manifest-digest")),
        (simple_type, changed(&simple, "/critical/identity")),
        (bundle_type, bundle.clone()),
        (bundle_type, changed(&bundle, "/mediaType")),
        (bundle_type, changed(&bundle, "/verificationMaterial")),
        (bundle_type, changed(&bundle, "/dsseEnvelope/payloadType")),
        (bundle_type, changed(&bundle, "/dsseEnvelope/signatures/0/sig")),
        (bundle_type, stating("/_type")),
        (bundle_type, stating("/predicateType")),
        (bundle_type, stating("/subject")),
    ];
    let layers: Vec<_> = documents
        .iter()
        .map(|(kind, document)| {
            let bytes = document.to_string();
            json!({
                "mediaType": kind,
                "digest": repository.put_blob(bytes.clone()).to_string(),
                "size": bytes.len(),
                "annotations": { "dev.cosignproject.cosign/signature": "AAAA" },
            })
        })
        .collect();
    repository.put_manifest(
        Some(&crate::trust::cosign::simple::tag(&digest)),
        &json!({
            "schemaVersion": 2,
            "config": { "mediaType": MediaType::ImageConfig.as_ref(), "digest": sha256(b"{}").to_string(), "size": 2 },
            "layers": layers,
        }),
    );
    let mut referrer = repository.manifest_of(&crate::trust::cosign::simple::tag(&digest));
    referrer["subject"] =
        json!({ "mediaType": MediaType::ImageManifest.as_ref(), "digest": digest.to_string(), "size": 1 });
    referrer["mediaType"] = HOSTILE.into();
    repository.put_manifest(None, &referrer);
    let verdict = verify(&keys.trust(COSIGN).thorough(), &repository, &[document]).await.unwrap();
    let refusal = verdict.refusal();
    let texts: Vec<_> = verdict.steps.iter().map(|step| step.text.as_str()).chain([refusal.as_str()]).collect();
    assert!(texts.iter().filter(|text| text.contains(r"x\u{1b}[2J")).count() > 6, "{texts:#?}");
    for text in texts {
        assert!(!text.chars().any(|c| c.is_control() || matches!(c, '\u{202e}' | '\u{200b}')), "{text:?}");
    }
}

/// Nobody's answer is not the answer that there are no signatures, and says so.
#[tokio::test]
async fn a_registry_that_does_not_answer_is_an_error() {
    let (keys, mut repository) = (Keys::new(), Memory::default());
    keys.pair("a");
    let (_, document) = repository.put_artifact("v1", MODULE);
    repository.broken = Some(Error::Unreachable("`r.example` does not answer".to_owned()));
    let error = verify(&keys.trust(COSIGN), &repository, std::slice::from_ref(&document)).await.unwrap_err();
    assert_eq!(error, Error::Unreachable("`r.example` does not answer".to_owned()));
    // Without a policy nobody is asked.
    assert!(verify(&Trust::default(), &repository, &[document]).await.unwrap().accepted);
}
