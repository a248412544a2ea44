//! Ten verdicts: two releases of cosign, whose signatures neither look nor lie alike, and five things that may be signed or not.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Registry, digest, done, tool, with};
use crate::{guest, samara};

/// The releases of cosign by the suite they are of.
const COSIGN: [(&str, &str); 2] = [("trixie", "2.5"), ("sid", "3.1")];

/// A key pair that cosign made.
fn keys(registry: &Registry, suite: &str, name: &str) -> (PathBuf, PathBuf) {
    let folder = registry.scratch(&format!("keys-{suite}-{name}"));
    done(tool("cosign", suite).current_dir(&folder).arg("generate-key-pair"));
    (folder.join("cosign.key"), folder.join("cosign.pub"))
}

fn sign(registry: &Registry, suite: &str, key: &Path, reference: &str) {
    let mut cosign = tool("cosign", suite);
    cosign.args(["sign", "--yes", "--allow-http-registry", "--key"]).arg(key);
    if suite == "trixie" {
        cosign.arg("--tlog-upload=false");
    } else {
        let config = registry.scratch("signing").join("config.json");
        done(tool("cosign", suite).args(["signing-config", "create", "--out"]).arg(&config));
        cosign.arg("--signing-config").arg(&config);
    }
    done(cosign.arg(reference));
}

/// `name@sha256:...` of what was just pushed as `name:v1`.
fn push(registry: &Registry, name: &str) -> (String, String) {
    let tag = registry.name(&format!("{name}:v1"));
    let ran = with(registry, "push").arg(guest("http-hello")).arg(&tag).run();
    assert_eq!(ran.code, 0, "{ran}");
    let by_digest = format!("{}@{}", registry.name(name), digest(&tag));
    (tag, by_digest)
}

/// `samara verify` with a key; its exit code and what it told.
fn verify(registry: &Registry, key: &Path, reference: &str) -> (i32, String) {
    let ran = with(registry, "verify").arg(reference).arg("--key").arg(key).run();
    (ran.code, ran.to_string())
}

#[test]
fn ten_verdicts_on_what_cosign_signed_are_right() {
    for (suite, release) in COSIGN {
        let registry = Registry::start();
        let (key, public) = keys(&registry, suite, "ours");
        let (_, another) = keys(&registry, suite, "another");

        let (tag, signed) = push(&registry, "good");
        sign(&registry, suite, &key, &signed);
        let (code, told) = verify(&registry, &public, &tag);
        assert_eq!(code, 0, "cosign {release}, good: {told}");

        let (code, told) = verify(&registry, &another, &tag);
        assert_eq!(code, 1, "cosign {release}, wrong key: {told}");

        let (unsigned, _) = push(&registry, "unsigned");
        let (code, told) = verify(&registry, &public, &unsigned);
        assert_eq!(code, 1, "cosign {release}, unsigned: {told}");

        // The tag moves to what nobody signed; the signature stays where it was.
        let moved = registry.scratch("moved").join("other.wasm");
        fs::copy(guest("http-echo"), &moved).unwrap();
        let ran = with(&registry, "push").arg(&moved).arg(&tag).run();
        assert_eq!(ran.code, 0, "{ran}");
        let (code, told) = verify(&registry, &public, &tag);
        assert_eq!(code, 1, "cosign {release}, moved tag: {told}");
        let (code, told) = verify(&registry, &public, &signed);
        assert_eq!(code, 0, "cosign {release}, by its digest it is good still: {told}");

        // Whoever owns the registry's disk changes the layer.
        let manifest = done(tool("oras", suite).args(["manifest", "fetch", "--plain-http", &signed]));
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let layer = registry.blob(manifest["layers"][0]["digest"].as_str().unwrap());
        let mut bytes = fs::read(&layer).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&layer, bytes).unwrap();
        // A store that never saw the layer as it was.
        let fresh = registry.scratch("fresh").display().to_string();
        let ran = with(&registry, "verify").arg(&signed).arg("--key").arg(&public).env("SAMARA_CACHE", &fresh).run();
        assert_eq!(ran.code, 1, "cosign {release}, tampered layer: {ran}");
    }
}

#[test]
fn what_samara_signs_both_cosigns_verify() {
    let registry = Registry::start();
    let folder = registry.scratch("own-keys");
    let made = samara("keys new").arg(folder.join("release")).env("SAMARA_KEY_PASSWORD", "seed").run();
    assert_eq!(made.code, 0, "{made}");
    let (key, public) = (folder.join("release.key"), folder.join("release.pub"));
    let (tag, signed) = push(&registry, "own");
    let ran = with(&registry, "sign").arg(&tag).arg("--key").arg(&key).env("SAMARA_KEY_PASSWORD", "seed").run();
    assert_eq!(ran.code, 0, "{ran}");
    let (code, told) = verify(&registry, &public, &signed);
    assert_eq!(code, 0, "{told}");
    for (suite, _) in COSIGN {
        let mut cosign = tool("cosign", suite);
        cosign.args(["verify", "--insecure-ignore-tlog=true", "--allow-http-registry", "--key"]).arg(&public);
        done(cosign.arg(&signed));
        // cosign signs with the same key: the file is in its own format.
        let mut cosign = tool("cosign", suite);
        cosign.args(["public-key", "--key"]).arg(&key).env("COSIGN_PASSWORD", "seed");
        assert_eq!(done(&mut cosign).trim(), fs::read_to_string(&public).unwrap().trim());
    }
}
