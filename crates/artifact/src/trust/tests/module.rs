//! Evidence in the module: claims of wasmCloud, signatures of the tool conventions.

use data_encoding::{BASE64URL_NOPAD, HEXUPPER};
use ed25519_dalek::{Signer as _, SigningKey, pkcs8::EncodePublicKey as _};
use samara_model::Capability;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::trust::{
    Claims,
    claims::MAX_TOKEN_BYTES,
    embedded::{self, MAX_COUNT, MAX_SECTION_BYTES},
    key::PublicKey,
    nkey,
    section::push_custom,
};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
pub(super) const NOW: u64 = 1_700_000_000;

pub(super) fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// A token over a module without claims; `more` are claims beside the usual ones.
pub(super) fn token(module: &[u8], by: &SigningKey, more: &serde_json::Value) -> String {
    let mut claims = json!({
        "jti": "x", "iat": NOW, "iss": nkey::write_account(&by.verifying_key()), "sub": "MSUBJECT",
        "wascap": {
            "name": "Cart", "hash": HEXUPPER.encode(&Sha256::digest(module)), "tags": [], "rev": 0, "ver": "v1",
            "caps": ["wasmcloud:httpserver", "wasmcloud:keyvalue"], "call_alias": "shop/cart", "prov": false,
        },
        "wascap_revision": 3,
    });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let encode = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", encode(json!({ "typ": "jwt", "alg": "Ed25519" })), encode(claims));
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&by.sign(signed.as_bytes()).to_bytes()))
}

pub(super) fn claimed(module: &[u8], section: &str, token: &str) -> Vec<u8> {
    let mut module = module.to_vec();
    push_custom(&mut module, section, token.as_bytes());
    module
}

fn problem(module: &[u8]) -> Option<String> {
    Claims::find(module, NOW).expect("claims can be read").expect("there are claims").problem
}

#[test]
fn claims_are_found_in_either_section_of_modules_and_components() {
    for preamble in [MODULE, COMPONENT] {
        for section in ["jwt", "wasmcloud_jwt"] {
            let mut module = preamble.to_vec();
            push_custom(&mut module, "name", b"before");
            // Padded lengths are hashed as they are.
            module.extend_from_slice(&[0, 0x83, 0x80, 0x80, 0x80, 0x00, 1, b'b', 7]);
            let signed = claimed(&module, section, &token(&module, &signer(1), &json!({})));
            let claims = Claims::find(&signed, NOW).unwrap().unwrap();
            assert_eq!(claims.problem, None);
            assert_eq!(claims.name.as_deref(), Some("Cart"));
            assert_eq!(claims.call_alias.as_deref(), Some("shop/cart"));
            let bounds = claims.bounds();
            assert_eq!(bounds.allows(Capability::Kv), Ok(()));
            assert!(bounds.allows(Capability::Http).is_err());
        }
    }
    assert_eq!(Claims::find(MODULE, NOW), Ok(None));
    assert_eq!(Claims::find(b"(module)", NOW), Ok(None));
}

#[test]
fn claims_that_do_not_hold_say_why() {
    let good = token(MODULE, &signer(1), &json!({}));
    let mut changed = claimed(MODULE, "jwt", &good);
    push_custom(&mut changed, "added", b"later");
    assert!(problem(&changed).unwrap().contains("changed after it was signed"));

    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = token(MODULE, &signer(2), &json!({}));
    let forged = format!("{signed}.{}", other.rsplit_once('.').unwrap().1);
    assert!(problem(&claimed(MODULE, "jwt", &forged)).unwrap().contains("is not signed by"));
    let unsigned = format!("{signed}.");
    assert!(problem(&claimed(MODULE, "jwt", &unsigned)).unwrap().contains("is not signed by"));

    let header = BASE64URL_NOPAD.encode(b"{\"alg\":\"none\"}");
    let none = format!("{header}.{}.{signature}", signed.split_once('.').unwrap().1);
    assert!(problem(&claimed(MODULE, "jwt", &none)).unwrap().contains("signed by `none`"));

    for (more, why) in [(json!({ "exp": NOW }), "it held until"), (json!({ "nbf": NOW + 1 }), "it holds from")] {
        let module = claimed(MODULE, "jwt", &token(MODULE, &signer(1), &more));
        assert!(problem(&module).unwrap().contains(why), "{more}");
    }
    let module = claimed(MODULE, "jwt", &token(MODULE, &signer(1), &json!({ "nbf": NOW, "exp": NOW + 1 })));
    assert_eq!(problem(&module), None);
}

#[test]
fn claims_that_cannot_be_read_are_refused() {
    let unreadable = |module: &[u8]| Claims::find(module, NOW).unwrap_err();
    let good = token(MODULE, &signer(1), &json!({}));
    let twice = claimed(&claimed(MODULE, "jwt", &good), "wasmcloud_jwt", &good);
    assert!(unreadable(&twice).contains("more than one section of claims"));
    assert!(unreadable(&claimed(MODULE, "jwt", &"x".repeat(MAX_TOKEN_BYTES + 1))).contains("at most 65536 are read"));
    assert!(unreadable(&claimed(MODULE, "jwt", "a.b")).contains("is no token"));
    assert!(unreadable(&claimed(MODULE, "jwt", "a.b.c")).contains("not base 64"));
    assert!(
        unreadable(&claimed(MODULE, "jwt", &token(MODULE, &signer(1), &json!({ "wascap": null }))))
            .contains("about a module")
    );
    let mut cut = claimed(MODULE, "jwt", &good);
    cut.pop();
    assert!(unreadable(&cut).contains("is no section"));
}

/// Whoever spoils the claims of a module would otherwise free it of them.
#[tokio::test]
async fn claims_that_cannot_be_read_allow_nothing() {
    let good = token(MODULE, &signer(1), &json!({}));
    let no_hash = json!({ "wascap": { "name": "Cart", "caps": ["wasmcloud:keyvalue"] } });
    let reference = Reference::parse("./a.wasm").unwrap();
    let asked = Asked { reference: &reference, documents: &[], repository: None };
    for module in [
        claimed(&claimed(MODULE, "jwt", &good), "wasmcloud_jwt", &good),
        claimed(MODULE, "jwt", &"x".repeat(MAX_TOKEN_BYTES + 1)),
        claimed(MODULE, "jwt", &token(MODULE, &signer(1), &json!({ "exp": 1e30 }))),
        claimed(MODULE, "jwt", &token(MODULE, &signer(1), &no_hash)),
    ] {
        let verdict = Trust::default().verify(asked, &module).await.unwrap();
        assert!(verdict.accepted && verdict.signers.is_empty());
        let bounds = verdict.claims.expect("they bound grants").bounds();
        let why = bounds.allows(Capability::Kv).unwrap_err();
        assert!(why.starts_with("its claims cannot be read, and so allow nothing: it"), "{why}");
        assert!(bounds.serves_http().is_err());
    }
}

#[tokio::test]
async fn a_policy_believes_the_accounts_it_names() {
    let keys = Keys::new();
    let module = claimed(MODULE, "jwt", &token(MODULE, &signer(1), &json!({})));
    let reference = Reference::parse("./a.wasm").unwrap();
    let asked = Asked { reference: &reference, documents: &[], repository: None };
    let policy = |by: &SigningKey| {
        keys.trust(&format!("require = \"claims\"\nissuers = [\"{}\"]", nkey::write_account(&by.verifying_key())))
    };
    let verdict = policy(&signer(1)).verify(asked, &module).await.unwrap();
    assert!(verdict.accepted, "{}", verdict.refusal());
    assert_eq!(verdict.signers.len(), 1);
    let verdict = policy(&signer(2)).verify(asked, &module).await.unwrap();
    assert!(verdict.refusal().contains("is not one of the `issuers`"), "{}", verdict.refusal());
    assert!(verdict.signers.is_empty());
    let verdict = policy(&signer(1)).verify(asked, MODULE).await.unwrap();
    assert!(verdict.refusal().ends_with("claims: there are none in the module"), "{}", verdict.refusal());
    // Claims bound grants whoever asks for them, and whoever signed them.
    let verdict = Trust::default().verify(asked, &module).await.unwrap();
    assert!(verdict.accepted && verdict.claims.is_some());
}

/// What a signer writes ends in log lines and on terminals.
#[tokio::test]
async fn what_claims_say_is_shown_and_not_obeyed() {
    let name = format!("a\u{1b}[2J\u{202e}\n{}", "x".repeat(10_000));
    let metadata = json!({ "name": name, "hash": HEXUPPER.encode(&Sha256::digest(MODULE)), "caps": [name] });
    let module = claimed(MODULE, "jwt", &token(MODULE, &signer(1), &json!({ "wascap": metadata })));
    let reference = Reference::parse("./a.wasm").unwrap();
    let asked = Asked { reference: &reference, documents: &[], repository: None };
    let keys = Keys::new();
    let issuer = nkey::write_account(&signer(2).verifying_key());
    let verdict = keys.trust(&format!("require = \"claims\"\nissuers = [\"{issuer}\"]")).verify(asked, &module).await;
    let verdict = verdict.unwrap();
    let bounds = verdict.claims.as_ref().unwrap().bounds();
    let texts = verdict.steps.iter().map(|step| step.text.clone()).chain([
        verdict.refusal(),
        bounds.allows(Capability::Http).unwrap_err(),
        bounds.serves_http().unwrap_err(),
    ]);
    for text in texts {
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(text.chars().count() < 3_000, "{} characters", text.chars().count());
    }
}

fn varint(out: &mut Vec<u8>, value: usize) {
    assert!(value < 1 << 14);
    if value < 0x80 {
        out.push(u8::try_from(value).unwrap());
    } else {
        out.extend_from_slice(&[u8::try_from(value & 0x7f).unwrap() | 0x80, u8::try_from(value >> 7).unwrap()]);
    }
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, bytes.len());
    out.extend_from_slice(bytes);
    out
}

/// The contents of a signature section over hashes.
pub(super) fn signature(hashes: &[[u8; 32]], by: &[&SigningKey]) -> Vec<u8> {
    let message = [b"wasmsig\x01\x01\x01".as_slice(), &hashes.concat()].concat();
    let mut set = Vec::new();
    varint(&mut set, hashes.len());
    set.extend_from_slice(&hashes.concat());
    varint(&mut set, by.len());
    for key in by {
        let one = [prefixed(b"id"), vec![1], prefixed(&key.sign(&message).to_bytes())].concat();
        set.extend_from_slice(&prefixed(&one));
    }
    [vec![1, 1, 1, 1], prefixed(&set)].concat()
}

/// A module whose first section is a signature, then `rest`.
pub(super) fn with_signature(contents: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut module = MODULE.to_vec();
    push_custom(&mut module, "signature", contents);
    module.extend_from_slice(rest);
    module
}

pub(super) fn sections() -> Vec<u8> {
    let mut rest = Vec::new();
    push_custom(&mut rest, "code", b"the module's own");
    rest
}

pub(super) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn public(key: &SigningKey) -> (String, PublicKey) {
    let pem = key.verifying_key().to_public_key_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF).unwrap();
    let public = PublicKey::parse("wasm.pub", &pem).unwrap();
    (pem, public)
}

pub(super) fn good(module: &[u8], key: &SigningKey) -> Result<usize, String> {
    embedded::find(module, &[public(key).1]).map(|found| found.expect("there is a signature").good.len())
}

#[test]
fn a_signature_counts_if_it_is_over_the_whole_module() {
    let rest = sections();
    let (key, other) = (signer(1), signer(2));
    let whole = with_signature(&signature(&[hash(&rest)], &[&other, &key]), &rest);
    assert_eq!(good(&whole, &key), Ok(1));
    assert_eq!(good(&whole, &signer(3)), Ok(0));
    // A set of several hashes, the last of which is over all of it.
    let several = with_signature(&signature(&[hash(b"a part"), hash(&rest)], &[&key]), &rest);
    assert_eq!(good(&several, &key), Ok(1));
    assert_eq!(embedded::find(MODULE, &[public(&key).1]), Ok(None));
}

/// The reference implementation takes this module: it only looks at hashes up to a delimiter.
#[test]
fn what_is_added_behind_a_signed_part_spoils_the_signature() {
    let mut rest = sections();
    push_custom(&mut rest, "signature_delimiter", &[7; 16]);
    let key = signer(1);
    let contents = signature(&[hash(&rest)], &[&key]);
    assert_eq!(good(&with_signature(&contents, &rest), &key), Ok(1));
    push_custom(&mut rest, "code", b"an attacker's");
    assert_eq!(good(&with_signature(&contents, &rest), &key), Ok(0));
    assert_eq!(good(&with_signature(&contents, &[]), &key), Ok(0), "nor is a module from which all was taken");
}

#[test]
fn hostile_signature_sections_are_refused() {
    let rest = sections();
    let key = signer(1);
    let contents = signature(&[hash(&rest)], &[&key]);
    for end in 0..contents.len() {
        assert!(good(&with_signature(&contents[..end], &rest), &key).is_err(), "cut at {end}");
    }
    assert!(good(&with_signature(&[&contents[..], &[0]].concat(), &rest), &key).is_err(), "something behind it");
    let mut late = MODULE.to_vec();
    late.extend_from_slice(&rest);
    push_custom(&mut late, "signature", &contents);
    assert!(good(&late, &key).unwrap_err().contains("is not the first"));
    let many: Vec<_> = std::iter::repeat_n(&key, MAX_COUNT).collect();
    assert_eq!(good(&with_signature(&signature(&[hash(&rest)], &many), &rest), &key), Ok(1));
    let many: Vec<_> = std::iter::repeat_n(&key, MAX_COUNT + 1).collect();
    assert!(good(&with_signature(&signature(&[hash(&rest)], &many), &rest), &key).unwrap_err().contains("over 64"));
    let large = with_signature(&vec![1; MAX_SECTION_BYTES + 1], &rest);
    assert!(good(&large, &key).unwrap_err().contains("at most 262144 are read"));
}

#[tokio::test]
async fn a_policy_takes_a_module_signed_by_its_key() {
    let keys = Keys::new();
    let key = signer(1);
    keys.write("wasm.pub", &public(&key).0);
    let trust = keys.trust("require = \"signature\"\nsignature_keys = [\"wasm.pub\"]");
    let rest = sections();
    let reference = Reference::parse("./a.wasm").unwrap();
    let asked = Asked { reference: &reference, documents: &[], repository: None };
    let signed = with_signature(&signature(&[hash(&rest)], &[&key]), &rest);
    assert!(trust.verify(asked, &signed).await.unwrap().accepted);
    let stranger = with_signature(&signature(&[hash(&rest)], &[&signer(2)]), &rest);
    let verdict = trust.verify(asked, &stranger).await.unwrap();
    assert!(keys.plain(&verdict.refusal()).ends_with("no signature in the module over all of it is by `wasm.pub`"));
}
