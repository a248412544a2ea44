//! Where artifacts are from and what may be done with them, as an operator writes it: mirrors, authorities, claims, bounds, no
//! network at all, and tags that move while requests come.

use std::{
    fs,
    net::TcpListener,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
};

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD, HEXUPPER};
use ed25519_dalek::{Signer as _, SigningKey};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    artifacts::{Workshop, versioned},
    registry::Registry,
    serving::request,
};

/// Tags of the app `hello` that are not followed because what they name is refused.
const REFUSED: &str = r#"samara_tag_update_failures_total{tenant="default",app="hello",reason="refused"}"#;

/// The line that serves a module by its reference with `host.toml`, on ports of its own.
fn serve(reference: &str) -> String {
    format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 {reference} --host host.toml")
}

fn write(workshop: &Workshop, file: &str, text: &str) {
    fs::write(workshop.folder().join(file), text).unwrap();
}

/// Where nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_mirror_is_asked_first_and_one_that_sends_other_bytes_is_named_and_passed_over() {
    let workshop = Workshop::new();
    let (mirror, own, dead) = (Registry::start(), Registry::start(), nobody());
    let plain = |host: &str, mirrors: &str| format!("[registry.\"{host}\"]\ninsecure = true\nmirrors = [{mirrors}]\n");
    for registry in [&mirror, &own] {
        workshop.does(&format!("push v1.wat {0}/demo/hello:v1 --insecure {0}", registry.address));
    }
    let host = plain(&mirror.address.to_string(), "")
        + &plain(&own.address.to_string(), &format!("\"{}\"", mirror.address))
        + &plain(&dead, &format!("\"{}\"", mirror.address))
        + "[tenant.default]\n";
    write(&workshop, "host.toml", &host);
    // The registry itself is away, and its mirror is not.
    let (before, asked) = (own.requests(), mirror.requests());
    let serving = workshop.serve(&format!("{dead}/demo/hello:v1 --host host.toml"));
    assert!(mirror.requests() > asked, "the mirror was not asked");
    assert!(!serving.log().contains("a mirror, did not send"), "{}", serving.log());
    drop(serving);
    assert_eq!(own.requests(), before);
    // A mirror that changes bytes costs a warning.
    fs::remove_dir_all(workshop.folder().join("cache")).unwrap();
    mirror.tamper();
    let serving = workshop.serve(&format!("{}/demo/hello:v1 --host host.toml", own.address));
    serving
        .logs(&[&format!("`{}`, a mirror, did not send `sha256:", mirror.address), "whoever comes after it is asked"]);
    assert!(own.requests() > before);
    drop(serving);
    // Where there is nobody after it, that is the end.
    fs::remove_dir_all(workshop.folder().join("cache")).unwrap();
    workshop.line(&serve(&format!("{dead}/demo/hello:v1"))).fails(2, &dead);
}

#[test]
fn an_authority_of_ones_own_is_named_in_the_host_file() {
    let workshop = Workshop::new();
    let registry = Registry::start();
    workshop.does(&format!("push v1.wat {0}/demo/hello:v1 --insecure {0}", registry.address));
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    write(&workshop, "ca.pem", &authority.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(authority, key);
    let own = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let secure = registry.over_tls(config);
    let reference = format!("{secure}/demo/hello:v1");
    write(&workshop, "host.toml", "[tenant.default]\n");
    workshop.line(&serve(&reference)).fails(2, &format!("`[registry.\"{secure}\"] ca = \"FILE\"`"));
    write(&workshop, "host.toml", &format!("[registry.\"{secure}\"]\nca = \"ca.pem\"\n[tenant.default]\n"));
    let serving = workshop.serve(&format!("{reference} --host host.toml"));
    let apps = request(serving.admin, "GET /v1/apps", &[], b"").unwrap().body;
    assert!(apps.contains(&reference), "{apps}");
}

/// An account as wasmCloud writes it: `A` and the key with its checksum, in base 32.
fn account(key: &SigningKey) -> String {
    let mut raw = vec![0];
    raw.extend_from_slice(key.verifying_key().as_bytes());
    let crc = raw.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ if crc >> 15 == 1 { 0x1021 } else { 0 })
    });
    raw.extend_from_slice(&crc.to_le_bytes());
    BASE32_NOPAD.encode(&raw)
}

/// A module with wasmCloud claims to these capabilities.
fn claimed(module: &[u8], key: &SigningKey, capabilities: &[&str], expires: u64) -> Vec<u8> {
    let claims = json!({
        "jti": "x", "iat": 1, "iss": account(key), "sub": "MSUBJECT", "exp": expires, "wascap_revision": 3,
        "wascap": {
            "name": "Cart", "hash": HEXUPPER.encode(&Sha256::digest(module)), "tags": [], "caps": capabilities, "prov": false,
        },
    });
    let encode = |value: &serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", encode(&json!({ "typ": "jwt", "alg": "Ed25519" })), encode(&claims));
    let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()).to_bytes()));
    let mut claimed = wasm_encoder::Module::new();
    claimed.section(&wasm_encoder::CustomSection { name: "jwt".into(), data: token.as_bytes().into() });
    let mut bytes = module.to_vec();
    bytes.extend_from_slice(&claimed.finish()[8..]);
    bytes
}

#[test]
fn claims_are_required_checked_and_bound_what_is_granted() {
    let workshop = Workshop::new();
    let (ours, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    let module = wat::parse_str(versioned(1)).unwrap();
    let save = |name: &str, bytes: Vec<u8>| fs::write(workshop.folder().join(name), bytes).unwrap();
    let later = 1 << 40;
    save("none.wasm", module.clone());
    save("good.wasm", claimed(&module, &ours, &["wasmcloud:httpserver", "wasmcloud:keyvalue"], later));
    save("mute.wasm", claimed(&module, &ours, &[], later));
    save("other.wasm", claimed(&module, &other, &["wasmcloud:httpserver"], later));
    save("late.wasm", claimed(&module, &ours, &["wasmcloud:httpserver"], 2));
    let mut changed = claimed(&module, &ours, &["wasmcloud:httpserver"], later);
    changed.extend_from_slice(b"\0\x02\x01a");
    save("changed.wasm", changed);
    write(&workshop, "claims.toml", &format!("[trust]\nrequire = \"claims\"\nissuers = [\"{}\"]\n", account(&ours)));
    for (file, why) in [
        ("none.wasm", "there are none in the module"),
        ("other.wasm", "who is not one of the `issuers`"),
        ("late.wasm", "it held until second 2"),
        ("changed.wasm", "this one was changed after it was signed"),
    ] {
        workshop.line(&format!("call ./{file} version --trust claims.toml")).fails(2, why);
        let told = workshop.line(&format!("verify ./{file} --trust claims.toml")).run();
        assert!(told.code == 1 && told.stdout.contains(why), "{told}");
        // The same out of a registry or a layout, where it is looked at before any of it runs.
        workshop.does(&format!("push {file} oci:images:{}", file.trim_end_matches(".wasm")));
        let reference = format!("oci:images:{}", file.trim_end_matches(".wasm"));
        workshop.line(&format!("call {reference} version --trust claims.toml")).fails(2, why);
    }
    workshop.line("call ./good.wasm version --trust claims.toml --kv default=memory:").prints("1\n");
    // Whoever signed them and whether anybody asks for them or not: what they do not list is not granted.
    workshop
        .line("call ./mute.wasm version --kv default=memory:")
        .fails(2, "the claims of `Cart` do not allow `kv` (they list nothing); sign it with `wasmcloud:keyvalue`");
    workshop.line("call ./mute.wasm version").prints("1\n");
    let manifest = |file: &str| {
        format!(
            "app.name = \"cart\"\nworkload.cart.source = \"{file}\"\ntrigger = [{{ http = {{ path = \"/\" }}, fn = \"cart\", operation = \"version\" }}]"
        )
    };
    write(&workshop, "samara.toml", &manifest("mute.wasm"));
    write(&workshop, "host.toml", "[tenant.default]\n");
    workshop.line(&serve("samara.toml")).fails(2, "the claims of `Cart` do not let it serve HTTP");
    write(&workshop, "samara.toml", &manifest("good.wasm"));
    assert_eq!(workshop.serve("samara.toml --trust claims.toml").request("GET /", &[], "").body.trim(), "1");
}

#[test]
fn without_a_network_what_is_in_the_store_is_served() {
    let workshop = Workshop::new();
    let registry = Registry::start();
    let reference = format!("{}/demo/hello:v1", registry.address);
    let insecure = format!("--insecure {}", registry.address);
    workshop.does(&format!("push v1.wat {reference} --sign release.key {insecure}"));
    workshop.line(&format!("call {reference} version --offline {insecure}")).fails(2, "is not in the store");
    // With its signatures, because a policy asked for them.
    workshop.does(&format!("pull {reference} --trust trust.toml {insecure}"));
    let before = registry.requests();
    workshop.line(&format!("call {reference} version --offline --trust trust.toml")).prints("1\n");
    workshop.does(&format!("inspect {reference} --offline"));
    // A copy is whole, with what only a copy needs.
    workshop.does(&format!("save {reference} -o gap.tar --offline"));
    let other = format!("{}/demo/other:v1", registry.address);
    workshop.line(&format!("push v1.wat {other} --offline {insecure}")).fails(1, "lets no request leave");
    workshop
        .line(&format!("call http://{}/x.wasm version --offline {insecure}", registry.address))
        .fails(2, "`--offline`");
    write(&workshop, "host.toml", "[artifacts]\noffline = true\n[tenant.default]\n");
    workshop.line(&serve(&other)).fails(2, "is not in the store");
    drop(workshop.serve(&format!("{reference} --host host.toml --trust trust.toml")));
    assert_eq!(registry.requests(), before, "a request left");
}

#[test]
fn a_host_file_bounds_what_an_artifact_may_cost() {
    let workshop = Workshop::new();
    let filler = "x".repeat(4000);
    write(&workshop, "large.wat", &format!("(module (memory 1) (data (i32.const 0) \"{filler}\"))"));
    workshop.does("push large.wat oci:images:large");
    write(&workshop, "host.toml", "[artifacts]\nmodule = \"2KiB\"\n[tenant.default]\n");
    workshop.line(&serve("oci:images:large")).fails(2, "at most 2048 are read");
    write(&workshop, "host.toml", "[artifacts]\nmodule = \"2GiB\"\n[tenant.default]\n");
    workshop.line(&serve("oci:images:large")).fails(2, "at most `1GiB`");
}

#[test]
fn the_text_toolkit_reads_references() {
    let workshop = Workshop::new();
    workshop.does("push v1.wat oci:images:v1 --sign release.key");
    let printed = workshop.does("print oci:images:v1 --trust trust.toml");
    assert!(printed.contains("(export \"version\""), "{printed}");
    workshop.line("validate oci:images:v1 ./v2.wat").prints("oci:images:v1: valid\n./v2.wat: valid\n");
    let metadata = workshop.json("metadata oci:images:v1");
    assert!(metadata.is_object(), "{metadata}");
    workshop.does("strip oci:images:v1 -o stripped.wasm");
    workshop.line("call ./stripped.wasm version").prints("1\n");
    workshop.does("wat ./v2.wat -o v2.wasm");
    workshop.line("call ./v2.wasm version").prints("2\n");
    workshop.line("wat oci:images:v1").fails(2, "`samara print` turns a binary into text");
    for command in ["print", "validate", "strip", "metadata"] {
        workshop.line(&format!("{command} oci:images:none")).fails(2, "none");
        workshop.line(&format!("{command} ./v1.wat --trust trust.toml")).fails(2, "is not trusted");
    }
    fs::write(workshop.folder().join("README.md"), "# Hello").unwrap();
    workshop.line("push README.md oci:images:readme").fails(2, "`README.md` is no WebAssembly");
}

/// A tag moves twenty times, once to what nobody signed, and every request meanwhile is answered, by no older version than
/// the one before it.
#[test]
fn tags_that_move_drop_no_request() {
    const MOVES: u32 = 20;
    const UNSIGNED: u32 = 10;
    let workshop = Workshop::new();
    let registry = Registry::start();
    let insecure = format!("--insecure {}", registry.address);
    let tag = format!("{}/demo/hello:v1", registry.address);
    let push = |version: u32| {
        write(&workshop, "hello.wat", &versioned(version));
        let pushes = |line: String| {
            // The same module is the same artifact, whenever it is pushed.
            let ran = workshop.line(&format!("push hello.wat {line} {insecure}")).env("SOURCE_DATE_EPOCH", "0").run();
            assert_eq!(ran.code, 0, "{ran}");
        };
        if version != UNSIGNED {
            // A signature is of a digest: it is there before the tag is.
            pushes(format!("{}/demo/hello:next --sign release.key", registry.address));
        }
        pushes(tag.clone());
    };
    push(0);
    let manifest = format!(
        "app.name = \"hello\"\nworkload.hello = {{ source = \"oci://{tag}\", update = \"poll:1s\" }}\n\
         trigger = [{{ http = {{ path = \"/\" }}, fn = \"hello\", operation = \"version\" }}]\n\
         trust = {{ require = \"cosign\", keys = [\"release.pub\"] }}\n"
    );
    write(&workshop, "samara.toml", &manifest);
    let serving = workshop.serve(&format!("samara.toml {insecure}"));
    let (ended, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ask = || -> u32 {
        let response = serving.request("GET /", &[], "");
        assert!(response.status == 200 && response.complete, "{response:?}\n{}", serving.log());
        answered.fetch_add(1, SeqCst);
        response.body.trim().parse().unwrap()
    };
    let clients = || {
        let mut last = 0;
        while !ended.load(SeqCst) {
            let version = ask();
            assert!(version >= last && version != UNSIGNED, "{version} came after {last}");
            last = version;
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..2).map(|_| scope.spawn(clients)).collect();
        let moves = std::panic::AssertUnwindSafe(|| {
            for version in 1..=MOVES {
                push(version);
                if version == UNSIGNED {
                    serving.logs(&["not updated", "is not trusted", "what served goes on"]);
                } else {
                    assert!(crate::serving::eventually(|| ask() == version), "{version}\n{}", serving.log());
                }
            }
        });
        let moved = std::panic::catch_unwind(moves);
        ended.store(true, SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
        moved.unwrap();
    });
    assert_eq!(serving.metric("samara_tag_updates_total"), f64::from(MOVES - 1));
    assert_eq!(serving.metric(REFUSED), 1.0);
    assert!(answered.load(SeqCst) > 100, "{answered:?} requests are no load");
}
