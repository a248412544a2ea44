//! Artifacts as a user has them: pushed, signed, served, refused, followed. Over image layouts, which are repositories like
//! any other and need no server, and over a small registry where the protocol is what matters.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    process::{Samara, samara},
    registry::Registry,
    serving::{Serving, eventually},
};

/// Tags of the app `hello` that are not followed because what they name is refused.
const REFUSED: &str = r#"samara_tag_update_failures_total{tenant="default",app="hello",reason="refused"}"#;

/// A function of WAT that tells its version.
pub(crate) fn versioned(version: u32) -> String {
    format!(r#"(module (func (export "version") (result i32) i32.const {version}))"#)
}

/// A folder with a key pair, `v1.wat`, `v2.wat` and a `trust.toml` that wants signatures by that key.
pub(crate) struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workshop = Self { folder };
        for version in [1, 2] {
            fs::write(workshop.folder().join(format!("v{version}.wat")), versioned(version)).unwrap();
        }
        workshop.does("keys new release");
        fs::write(workshop.folder().join("trust.toml"), "[trust]\nrequire = \"cosign\"\nkeys = [\"release.pub\"]\n")
            .unwrap();
        workshop
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command in this folder, with a store of its own.
    pub(crate) fn line(&self, line: &str) -> Samara {
        let cache = self.folder().join("cache").display().to_string();
        samara(line).within(self.folder()).env("SAMARA_KEY_PASSWORD", "a secret").env("SAMARA_CACHE", &cache)
    }

    #[track_caller]
    pub(crate) fn does(&self, line: &str) -> String {
        let ran = self.line(line).run();
        assert_eq!(ran.code, 0, "{line}: {ran}");
        ran.stdout
    }

    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.does(&format!("{line} --json"))).unwrap()
    }

    pub(crate) fn serve(&self, line: &str) -> Serving {
        Serving::start(&self.line(&format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 {line}")))
    }
}

#[test]
fn what_is_pushed_is_pulled_run_and_inspected_by_its_reference() {
    let workshop = Workshop::new();
    let registry = Registry::start();
    let reference = format!("{}/demo/hello:v1", registry.address);
    let insecure = format!("--insecure {}", registry.address);
    workshop.line(&format!("push v1.wat {reference}")).fails(1, &format!("`--insecure {}`", registry.address));
    let pushed = workshop.json(&format!("push v1.wat {reference} {insecure}"));
    let digest = pushed["manifest"].as_str().unwrap().to_owned();
    workshop.line(&format!("call {reference} version {insecure}")).prints("1\n");
    let pulled = workshop.json(&format!("pull {reference} -o pulled.wasm {insecure}"));
    assert_eq!(pulled["manifest"], digest.as_str(), "{pulled}");
    workshop.line("call ./pulled.wasm version").prints("1\n");
    // By its digest, what is in the store costs no request.
    let before = registry.requests();
    workshop.line(&format!("call {reference}@{digest} version {insecure}")).prints("1\n");
    assert_eq!(registry.requests(), before);
    // By its tag it costs one.
    workshop.line(&format!("call {reference} version {insecure}")).prints("1\n");
    assert_eq!(registry.requests(), before + 1);
    let shown = workshop.does(&format!("inspect {reference} {insecure}"));
    assert!(shown.contains(&digest) && shown.contains("demo/hello:v1"), "{shown}");
    workshop.line(&format!("call {}/demo/none:v1 version {insecure}", registry.address)).fails(2, "demo/none");
}

#[test]
fn a_signature_is_required_made_and_checked() {
    let workshop = Workshop::new();
    workshop.does("push v1.wat oci:images:v1");
    let refused = workshop.line("verify oci:images:v1 --key release.pub").run();
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stdout.contains("it is not signed") && refused.stdout.contains("not trusted"), "{refused}");
    workshop.line("call oci:images:v1 version --trust trust.toml").fails(2, "`oci:images:v1` is not trusted");
    workshop.does("sign oci:images:v1 --key release.key");
    let verdict = workshop.json("verify oci:images:v1 --key release.pub");
    assert_eq!(
        (verdict["accepted"].as_bool(), verdict["signers"][0]["evidence"].as_str()),
        (Some(true), Some("cosign"))
    );
    workshop.line("call oci:images:v1 version --trust trust.toml").prints("1\n");
    // Another key is not the one.
    workshop.does("keys new other");
    let refused = workshop.line("verify oci:images:v1 --key other.pub").run();
    assert_eq!(refused.code, 1, "{refused}");
    // Without a policy nothing is decided, and nothing succeeds.
    workshop.line("verify oci:images:v1").fails(2, "nothing was required");
    // A key is never written over, and its password matters.
    workshop.line("keys new release").fails(2, "release");
    workshop
        .line("sign oci:images:v1 --key release.key")
        .env("SAMARA_KEY_PASSWORD", "another")
        .fails(2, "`release.key` is not a key to sign with");
}

#[test]
fn a_host_with_trust_serves_what_is_signed_and_refuses_the_tampered_by_name() {
    let workshop = Workshop::new();
    let registry = Registry::start();
    let reference = format!("{}/demo/hello:v1", registry.address);
    let insecure = format!("--insecure {}", registry.address);
    workshop.does(&format!("push v1.wat {reference} --sign release.key {insecure}"));
    fs::write(
        workshop.folder().join("host.toml"),
        format!(
            "[trust]\nrequire = \"cosign\"\nkeys = [\"release.pub\"]\n[registry.\"{}\"]\ninsecure = true\n[tenant.default]\n",
            registry.address
        ),
    )
    .unwrap();
    let serving = workshop.serve(&format!("{reference} --host host.toml"));
    let apps = crate::serving::request(serving.admin, "GET /v1/apps", &[], b"").unwrap().body;
    let apps: Value = serde_json::from_str(&apps).unwrap();
    let workload = &apps[0]["versions"][0]["workloads"][0];
    assert_eq!(workload["source"], reference.as_str(), "{apps}");
    assert!(workload["signers"][0].as_str().unwrap().starts_with("cosign: "), "{apps}");
    assert!(workload["manifest"].as_str().unwrap().starts_with("sha256:"), "{apps}");
    drop(serving);
    // The same name, other bytes, and nobody's signature.
    workshop.does(&format!("push v2.wat {reference} {insecure}"));
    workshop
        .line(&format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 {reference} --host host.toml"))
        .fails(2, &format!("`{reference}` is not trusted: host.toml requires cosign"));
    // Whoever changes bytes on the way is found out by the digest.
    workshop.does(&format!("push v1.wat {reference} {insecure} --sign release.key"));
    registry.tamper();
    fs::remove_dir_all(workshop.folder().join("cache")).unwrap();
    workshop
        .line(&format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 {reference} --host host.toml"))
        .fails(2, "sha256:");
}

#[test]
fn artifacts_cross_an_air_gap_with_their_signatures() {
    let workshop = Workshop::new();
    let registry = Registry::start();
    let insecure = format!("--insecure {}", registry.address);
    workshop.does("push v1.wat oci:images:v1 --sign release.key");
    workshop.does("save oci:images:v1 -o gap.tar --trust trust.toml");
    let there = format!("{}/far/hello:v1", registry.address);
    workshop.does(&format!("load gap.tar --to {there} {insecure}"));
    workshop.line(&format!("call {there} version {insecure} --trust trust.toml")).prints("1\n");
    workshop.line("call oci-archive:gap.tar:v1 version --trust trust.toml").prints("1\n");
    workshop.does(&format!("pull {there} --to copied {insecure}"));
    workshop.line("call oci:copied:v1 version --trust trust.toml").prints("1\n");
    // Of several, each goes back to where it came from.
    workshop.does(&format!("push v2.wat {}/far/other:v2 {insecure}", registry.address));
    workshop.does(&format!("save {there} {}/far/other:v2 -o both.tar {insecure}", registry.address));
    let loaded = workshop.does(&format!("load both.tar {insecure}"));
    assert!(loaded.contains("/far/hello:v1@") && loaded.contains("/far/other:v2@"), "{loaded}");
}

#[test]
fn a_tag_is_followed_and_what_is_not_trusted_is_not() {
    let workshop = Workshop::new();
    workshop.does("push v1.wat oci:images:v1 --sign release.key");
    let manifest = r#"
        app.name = "hello"
        workload.hello = { source = "oci:images:v1", update = "poll:1s" }
        trigger = [{ http = { path = "/" }, fn = "hello", operation = "version" }]
        trust = { require = "cosign", keys = ["release.pub"] }
    "#;
    fs::write(workshop.folder().join("samara.toml"), manifest).unwrap();
    let serving = workshop.serve("samara.toml");
    let answer = || serving.request("GET /", &[], "").body.trim().to_owned();
    assert_eq!(answer(), "1");
    // It moves to something that nobody signed: told once, and what served goes on.
    workshop.does("push v2.wat oci:images:v1");
    serving.logs(&["not updated", "is not trusted", "what served goes on"]);
    assert!(eventually(|| serving.metric(REFUSED) == 1.0));
    assert_eq!(answer(), "1");
    // The signature comes after what it signs. Meanwhile requests are answered, every one of them.
    workshop.does("sign oci:images:v1 --key release.key");
    assert!(eventually(|| {
        let answer = answer();
        assert!(answer == "1" || answer == "2", "{answer}");
        answer == "2"
    }));
    assert!(eventually(|| serving.metric("samara_tag_updates_total") == 1.0));
    assert_eq!(serving.log().matches("not updated").count(), 1, "{}", serving.log());
}

#[test]
fn a_source_over_the_admin_api_is_within_the_hosts_trust() {
    let workshop = Workshop::new();
    workshop.does("push v1.wat oci:images:v1");
    let serving = workshop.serve("--trust trust.toml --token-file token");
    let token = fs::read_to_string(workshop.folder().join("token")).unwrap();
    let images = workshop.folder().join("images").display().to_string();
    let put = |source: &str| {
        let manifest = format!(
            "app.name = \"hello\"\nworkload.hello.source = \"{source}\"\ntrigger = [{{ http = {{ path = \"/\" }}, fn = \"hello\", operation = \"version\" }}]"
        );
        let header = format!("authorization: Bearer {}", token.trim());
        let line = "PUT /v1/apps/default/hello";
        crate::serving::request(serving.admin, line, &[&header], manifest.as_bytes()).unwrap()
    };
    let refused = put(&format!("oci:{images}:v1"));
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(
        refused.body.contains("is not trusted") && refused.body.contains("trust.toml requires cosign"),
        "{refused:?}"
    );
    let relative = put("oci:images:v1");
    assert!(relative.body.contains("is a relative path"), "{relative:?}");
    workshop.does("sign oci:images:v1 --key release.key");
    let taken = put(&format!("oci:{images}:v1"));
    assert_eq!(taken.status, 201, "{taken:?}");
    assert_eq!(serving.request("GET /", &[], "").body.trim(), "1");
}

#[test]
fn a_file_needs_no_store() {
    let workshop = Workshop::new();
    let nowhere = workshop.folder().join("trust.toml/no-folder").display().to_string();
    let line = samara("call ./v1.wat version --no-cache").within(workshop.folder()).env("SAMARA_CACHE", &nowhere);
    line.prints("1\n");
}
