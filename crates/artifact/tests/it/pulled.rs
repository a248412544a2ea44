//! What a pull costs, and that what was resolved is what comes: the whole line against a registry and a web server.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use samara_artifact::{
    Artifact, Descriptor, Error, Fetcher, ImageLayout, Progress, Reference, Repository as _, Store, Version,
    bounds::Bounds,
    pack::{Layout, Metadata, pack},
    registry::{Client, RegistrySettings},
    repository::sha256,
    store::{CopyOptions, copy},
    trust::{KeyPair, Outcome, SignatureLayout, Trust, sign},
};

use crate::{
    hostile::{
        BLOB, MANIFEST_TYPE, blob, client, manifest,
        server::{Answers, Asked, Reply, Sent, Server},
    },
    memory::Memory,
};

/// A fetcher that speaks with `server`, and the folder of its store.
fn fetcher(server: &Server) -> (Fetcher, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let client = client(&server.address.to_string());
    (Fetcher { client, store, bounds: Bounds::default() }, folder)
}

async fn fetch(fetcher: &Fetcher, text: &str) -> Result<Artifact, Error> {
    fetcher.fetch(&Reference::parse(text).unwrap(), &Trust::default(), &Progress::default()).await
}

/// The demo artifact of these tests in the repository `demo/app`, and nothing else.
fn demo(asked: &Asked) -> Reply {
    let (manifest, blob) = (manifest(), sha256(BLOB));
    let digest = sha256(manifest.as_bytes());
    let path = asked.target.as_str();
    if path == "/v2/demo/app/manifests/v1" || path == format!("/v2/demo/app/manifests/{digest}") {
        Reply::new(200, manifest).with("Content-Type", MANIFEST_TYPE).with("Docker-Content-Digest", digest.to_string())
    } else if path == format!("/v2/demo/app/blobs/{blob}") {
        Reply::new(200, BLOB)
    } else {
        Reply::new(404, "")
    }
}

fn methods(asked: &[Asked]) -> Vec<String> {
    asked
        .iter()
        .map(|asked| format!("{} {}", asked.method, asked.target.rsplit('/').nth(1).unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn what_was_pulled_costs_one_request_by_its_tag_and_none_by_its_digest() {
    let answers: Answers = Arc::new(demo);
    let server = Server::start(None, answers).await;
    let (fetcher, _folder) = fetcher(&server);
    let by_tag = format!("{}/demo/app:v1", server.address);
    let first = fetch(&fetcher, &by_tag).await.unwrap();
    assert_eq!(first.bytes, BLOB);
    assert_eq!(first.manifest, Some(sha256(manifest().as_bytes())));
    let cold = server.asked().len();
    assert_eq!(fetch(&fetcher, &by_tag).await.unwrap().bytes, BLOB);
    assert_eq!(methods(&server.asked()[cold..]), ["HEAD manifests"]);
    let warm = server.asked().len();
    let by_digest = format!("{}/demo/app@{}", server.address, first.manifest.unwrap());
    assert_eq!(fetch(&fetcher, &by_digest).await.unwrap().bytes, BLOB);
    assert_eq!(server.asked().len(), warm, "{:?}", methods(&server.asked()[warm..]));
}

/// A policy that wants a signature of cosign by the key in this file.
fn wants(key: &std::path::Path) -> Trust {
    let text = format!("[trust]\nrequire = \"cosign\"\nkeys = [\"{}\"]", key.display());
    let policy = samara_model::TrustPolicy::parse(&text, "trust.toml".as_ref()).unwrap();
    Trust::default().and("trust.toml", &policy).unwrap()
}

#[tokio::test]
async fn what_was_verified_by_its_digest_is_verified_again_without_a_request() {
    let (memory, digest, server) = answering().await;
    let (fetcher, folder) = fetcher(&server);
    let reference = Reference::parse(&format!("{}/demo/app@{digest}", server.address)).unwrap();
    let (file, other) = (folder.path().join("a.pub"), folder.path().join("b.pub"));
    let key = KeyPair::generate().unwrap();
    key.write(&folder.path().join("a.key"), &file, b"").unwrap();
    KeyPair::generate().unwrap().write(&folder.path().join("b.key"), &other, b"").unwrap();
    let fetch = async |trust: Trust| fetcher.fetch(&reference, &trust, &Progress::default()).await;
    // Pulled unsigned, signed then: memory is not the last word.
    fetch(Trust::default()).await.unwrap();
    assert!(matches!(fetch(wants(&file)).await, Err(Error::Untrusted(_))));
    sign(&*memory, &digest, &key, SignatureLayout::ALL).await.unwrap();
    assert_eq!(fetch(wants(&file)).await.unwrap().bytes, BLOB);
    let asked = server.asked().len();
    assert_eq!(fetch(wants(&file)).await.unwrap().bytes, BLOB);
    assert_eq!(server.asked().len(), asked, "{:?}", methods(&server.asked()[asked..]));
    assert!(matches!(fetch(wants(&other)).await, Err(Error::Untrusted(_))));
    assert!(server.asked().len() > asked, "another key may have signed by now");
}

/// The same store and registry, by a client that lets no request leave.
fn offline(fetcher: &Fetcher) -> Fetcher {
    let client = Client::new(RegistrySettings { offline: true, ..RegistrySettings::default() });
    Fetcher { client, ..fetcher.clone() }
}

#[tokio::test]
async fn offline_what_is_in_the_store_is_had_and_nothing_else_is_asked_for() {
    let answers: Answers = Arc::new(demo);
    let server = Server::start(None, answers).await;
    let (online, _folder) = fetcher(&server);
    let by_tag = format!("{}/demo/app:v1", server.address);
    let offline = offline(&online);
    let refused = async |text: String| fetch(&offline, &text).await.unwrap_err().to_string();
    assert!(refused(by_tag.clone()).await.contains("demo/app:v1` is not in the store"));
    let pulled = fetch(&online, &by_tag).await.unwrap();
    let asked = server.asked().len();
    assert_eq!(fetch(&offline, &by_tag).await.unwrap().bytes, BLOB);
    let by_digest = format!("{}/demo/app@{}", server.address, pulled.manifest.unwrap());
    assert_eq!(fetch(&offline, &by_digest).await.unwrap().bytes, BLOB);
    for text in [format!("http://{}/cart.wasm", server.address), format!("https://{}/cart.wasm", server.address)] {
        let why = refused(text).await;
        assert!(why.contains("--insecure") || why.contains("lets no request leave"), "{why}");
    }
    // Whatever else speaks with a registry is told the same.
    let Reference::Oci(oci) = Reference::parse(&by_tag).unwrap() else { panic!("it is of a registry") };
    let why = offline.client.repository(&oci).unwrap().push_blob(&blob(), BLOB.into()).await.unwrap_err();
    assert!(why.to_string().contains("`--offline`"), "{why}");
    assert!(offline.client.tags(&oci).await.is_err());
    let repository = offline.repository(&Reference::Oci(oci)).await.unwrap();
    repository.0.resolve(&repository.1).await.unwrap();
    assert_eq!(server.asked().len(), asked, "{:?}", methods(&server.asked()[asked..]));
}

/// The store sweeps what no record keeps after a day.
#[tokio::test]
async fn what_came_out_of_an_image_layout_is_kept_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("images");
    let layout = ImageLayout::create(&at, false).await.unwrap();
    let metadata = Metadata::of("hello.wasm").unwrap();
    pack(&BLOB.into(), Layout::Wasm, &metadata).unwrap().push(&layout, Some("v1")).await.unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let fetcher = Fetcher { client: Client::new(RegistrySettings::default()), store, bounds: Bounds::default() };
    let text = format!("oci:{}:v1", at.display());
    fetch(&fetcher, &text).await.unwrap();
    let kept: Vec<_> = fetcher.store.list().unwrap().into_iter().map(|kept| kept.name).collect();
    assert_eq!(kept, [Some(text)]);
}

#[tokio::test]
async fn a_digest_that_is_here_from_elsewhere_is_not_in_every_repository() {
    let answers: Answers = Arc::new(demo);
    let server = Server::start(None, answers).await;
    let (fetcher, _folder) = fetcher(&server);
    let pulled = fetch(&fetcher, &format!("{}/demo/app:v1", server.address)).await.unwrap();
    let digest = pulled.manifest.unwrap();
    let other = fetch(&fetcher, &format!("{}/trusted/app@{digest}", server.address)).await;
    assert!(matches!(other, Err(Error::NotFound(_))), "{other:?}");
}

#[tokio::test]
async fn a_tag_that_moves_meanwhile_changes_nothing() {
    // The tag is the demo when it is resolved, and something else whenever it is asked again.
    let resolved = Arc::new(AtomicBool::new(false));
    let answers: Answers = Arc::new(move |asked: &Asked| {
        if asked.target.ends_with("/manifests/v1") && resolved.swap(true, Ordering::Relaxed) {
            return Reply::new(200, r#"{"schemaVersion":2}"#).with("Content-Type", MANIFEST_TYPE);
        }
        demo(asked)
    });
    let server = Server::start(None, answers).await;
    let (fetcher, _folder) = fetcher(&server);
    let pulled = fetch(&fetcher, &format!("{}/demo/app:v1", server.address)).await.unwrap();
    assert_eq!(pulled.bytes, BLOB);
    let by_tag = server.asked().iter().filter(|asked| asked.target.ends_with("/manifests/v1")).count();
    assert_eq!(by_tag, 1, "{:?}", methods(&server.asked()));
}

#[tokio::test]
async fn a_web_server_has_modules_and_archives() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(BLOB.len() as u64);
    builder.append_data(&mut header, "policy.wasm", BLOB).unwrap();
    let bundle = builder.into_inner().unwrap();
    let answers: Answers = Arc::new(move |asked: &Asked| match asked.target.as_str() {
        "/it.wasm" => Reply::new(200, BLOB),
        "/bundle.tar" => Reply::new(200, bundle.clone()),
        _ => Reply::new(404, ""),
    });
    let server = Server::start(None, answers).await;
    let (mut fetcher, folder) = fetcher(&server);
    let at = |path: &str| format!("http://{}/{path}", server.address);
    let plain = fetch(&fetcher, &at("it.wasm")).await.unwrap();
    assert_eq!((plain.bytes.as_ref(), plain.manifest), (BLOB, None));
    assert_eq!(fetch(&fetcher, &format!("bundle://{}#policy.wasm", at("bundle.tar"))).await.unwrap().bytes, BLOB);
    let archive = fetch(&fetcher, &at("bundle.tar")).await.unwrap_err().to_string();
    assert!(archive.contains("is an archive; write `bundle://http://"), "{archive}");
    assert!(matches!(fetch(&fetcher, &at("none.wasm")).await, Err(Error::NotFound(_))));
    fetcher.bounds = Bounds { module_bytes: 4, layer_bytes: 100, ..Bounds::default() };
    for text in [at("it.wasm"), format!("bundle://{}", at("bundle.tar"))] {
        let over = fetch(&fetcher, &text).await;
        assert!(matches!(over, Err(Error::OverLimit(_))), "{over:?}");
    }
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["store"]);
}

#[tokio::test]
async fn the_query_of_a_url_is_asked_with_and_never_shown() {
    let answers: Answers = Arc::new(|asked: &Asked| match asked.target.split('?').next().unwrap() {
        "/a.wasm" => Reply::new(200, BLOB),
        "/a.zip" => Reply::new(200, b"PK\x03\x04 and so on".as_slice()),
        "/long" => Reply::new(200, vec![0; 100]),
        "/unsaid" => Reply { headers: Vec::new(), status: 200, body: Sent::Endless { announced: None } },
        "/cut" => Reply::sending(Sent::Cut { announced: 8, bytes: b"\0a".into() }),
        _ => Reply::new(404, ""),
    });
    let server = Server::start(None, answers).await;
    let (mut fetcher, _folder) = fetcher(&server);
    fetcher.bounds.module_bytes = 50;
    let address = server.address;
    // One that refuses, and has a rule, for which the place is looked at.
    let policy = "[trust]\nrequire = \"digest\"\n[[trust.rule]]\nmatch = \"oci://r.example/*\"\nrequire = \"never\"";
    let policy = samara_model::TrustPolicy::parse(policy, "trust.toml".as_ref()).unwrap();
    let policy = Trust::default().and("trust.toml", &policy).unwrap();
    for path in ["long", "unsaid", "cut", "none", "a.zip", "a%2fb", "bundle"] {
        let text = match path {
            "bundle" => format!("bundle://http://{address}/a.zip?key=SECRET#a"),
            path => format!("http://{address}/{path}?key=SECRET"),
        };
        let reference = Reference::parse(&text).unwrap();
        for trust in [&Trust::default(), &policy] {
            let error = fetcher.fetch(&reference, trust, &Progress::default()).await.unwrap_err().to_string();
            assert!(error.contains(&address.to_string()) && !error.contains("SECRET"), "{path}: {error}");
        }
        let error = fetcher.members(&reference, &Progress::default()).await.err().map(|error| error.to_string());
        assert!(!error.unwrap_or_default().contains("SECRET"), "{path}");
    }
    let found = fetch(&fetcher, &format!("http://{address}/a.wasm?key=SECRET")).await.unwrap();
    let verdict = serde_json::to_string(&found.verdict).unwrap();
    assert!(verdict.contains("/a.wasm") && !verdict.contains("SECRET"), "{verdict}");
    assert!(server.asked().iter().all(|asked| asked.target.ends_with("?key=SECRET")), "and it is asked with");
}

#[test]
fn a_module_is_judged_on_every_kind_of_runtime() {
    use tokio::runtime::Builder;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.wasm");
    std::fs::write(&file, BLOB).unwrap();
    let text = format!("[trust]\nrequire = \"digest\"\ndigests = [\"{}\"]", sha256(BLOB));
    let policy = samara_model::TrustPolicy::parse(&text, "trust.toml".as_ref()).unwrap();
    let listed = Trust::default().and("trust.toml", &policy).unwrap();
    for mut runtime in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let found = runtime.enable_all().build().unwrap().block_on(async {
            let server = Server::start(None, Arc::new(|_: &Asked| Reply::new(404, ""))).await;
            let (fetcher, _folder) = fetcher(&server);
            let mut found = Vec::new();
            for trust in [&Trust::default(), &listed] {
                found.push(fetcher.fetch(&Reference::File(file.clone()), trust, &Progress::default()).await.unwrap());
            }
            found
        });
        // One that looked at the bytes has hashed them; of the other the digest is asked for.
        let hashed = found.iter().map(|artifact| artifact.verdict.module.is_some()).collect::<Vec<_>>();
        assert_eq!(hashed, [false, true]);
        assert!(found.iter().all(|artifact| artifact.digest == sha256(BLOB) && artifact.bytes == BLOB));
    }
}

/// A registry that answers from memory, with the demo artifact under `v1`.
async fn answering() -> (Arc<Memory>, samara_artifact::Digest, Server) {
    let memory = Arc::new(Memory::default());
    memory.add("application/vnd.wasm.config.v0+json", "{}");
    memory.add("application/wasm", BLOB);
    let digest = memory.push_manifest(Some("v1"), MANIFEST_TYPE, manifest().into()).await.unwrap();
    let server = serve(&memory).await;
    (memory, digest, server)
}

async fn serve(memory: &Arc<Memory>) -> Server {
    let answering = Arc::clone(memory);
    let answers: Answers = Arc::new(move |asked: &Asked| {
        let path = asked.target.strip_prefix("/v2/demo/app/").unwrap_or_default();
        match answering.answer(path) {
            Some((media_type, bytes)) => Reply::new(200, bytes).with("Content-Type", &media_type),
            None => Reply::new(404, ""),
        }
    });
    Server::start(None, answers).await
}

/// What is not known is not taken for nothing: whoever pulled without a policy asked nobody who signed.
#[tokio::test]
async fn offline_nobody_is_told_that_what_was_not_asked_about_is_not_signed() {
    for layouts in [SignatureLayout::ALL, &[SignatureLayout::Tag], &[SignatureLayout::Bundle], &[]] {
        let (memory, digest, server) = answering().await;
        let (online, folder) = fetcher(&server);
        let offline = offline(&online);
        let file = folder.path().join("a.pub");
        let key = KeyPair::generate().unwrap();
        key.write(&folder.path().join("a.key"), &file, b"").unwrap();
        sign(&*memory, &digest, &key, layouts).await.unwrap();
        let reference = Reference::parse(&format!("{}/demo/app:v1", server.address)).unwrap();
        let look = async |fetcher: &Fetcher, trust: &Trust| {
            fetcher.look(&reference, trust, &Progress::default()).await.unwrap().verdict
        };
        let copied = async |name: &str| {
            let layout = ImageLayout::create(&folder.path().join(name), false).await.unwrap();
            let (repository, version) = offline.repository(&reference).await.unwrap();
            let copied = copy(&*repository, &version, &layout, Some("v1"), &CopyOptions::default()).await;
            copied.map(|_| layout)
        };
        look(&online, &Trust::default()).await;
        let asked = server.asked().len();
        let unasked = "signatures were not asked for when it was pulled; `samara pull` it with the policy while there is a network";
        let verdict = look(&offline, &wants(&file)).await;
        assert!(!verdict.accepted && verdict.refusal().contains(unasked), "{}", verdict.refusal());
        assert!(!verdict.refusal().contains("not signed"), "{}", verdict.refusal());
        assert!(verdict.steps.iter().any(|step| step.text == unasked), "{:#?}", verdict.steps);
        let thorough = look(&offline, &Trust::default().thorough()).await;
        assert!(thorough.steps.iter().all(|step| !step.text.contains("there is no signature over")), "{thorough:#?}");
        let error = copied("refused").await.unwrap_err();
        assert!(matches!(&error, Error::Unasked(why) if why.contains("`samara pull` it with the policy")), "{error}");
        assert_eq!(server.asked().len(), asked, "{:?}", methods(&server.asked()[asked..]));
        // Now as it advises; of what is not signed somebody must look without being told to require it.
        let policy = if layouts.is_empty() { Trust::default().thorough() } else { wants(&file) };
        assert!(look(&online, &policy).await.accepted);
        let asked = server.asked().len();
        let verdict = look(&offline, &wants(&file)).await;
        assert_eq!(verdict.accepted, !layouts.is_empty(), "{layouts:?}: {}", verdict.refusal());
        assert!(verdict.accepted || verdict.refusal().contains("it is not signed"), "{}", verdict.refusal());
        let layout = copied("whole").await.unwrap();
        let signatures = layout.referrers(&digest).await.unwrap().len();
        assert_eq!(signatures == 1, layouts.contains(&SignatureLayout::Bundle), "{layouts:?}");
        let tag = Version::Tag(format!("sha256-{}.sig", digest.digest()));
        assert_eq!(layout.resolve(&tag).await.is_ok(), layouts.contains(&SignatureLayout::Tag), "{layouts:?}");
        assert_eq!(server.asked().len(), asked, "{:?}", methods(&server.asked()[asked..]));
    }
}

/// Nobody reads the configuration of a module, and an artifact is not whole without it.
#[tokio::test]
async fn what_was_only_pulled_is_copied_offline_with_its_configuration() {
    for there in [true, false] {
        let memory = Arc::new(Memory::default());
        let config = if there {
            memory.add("application/vnd.wasm.config.v0+json", "{}")
        } else {
            Descriptor::new("application/vnd.wasm.config.v0+json".into(), 2, sha256(b"{}"))
        };
        let layer = memory.add("application/wasm", BLOB);
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": [layer],
        });
        memory.push_manifest(Some("v1"), MANIFEST_TYPE, manifest.to_string().into()).await.unwrap();
        let server = serve(&memory).await;
        let (online, folder) = fetcher(&server);
        let reference = Reference::parse(&format!("{}/demo/app:v1", server.address)).unwrap();
        let looked = online.look(&reference, &Trust::default().thorough(), &Progress::default()).await.unwrap();
        assert_eq!(looked.module.unwrap().bytes, BLOB, "no pull needs it");
        let layout = ImageLayout::create(&folder.path().join("copy"), false).await.unwrap();
        let (repository, version) = offline(&online).repository(&reference).await.unwrap();
        let copied = copy(&*repository, &version, &layout, Some("v1"), &CopyOptions::default()).await;
        assert_eq!(copied.is_ok(), there, "{copied:?}");
    }
}

/// One error would tell nothing of who signed it, and what.
#[tokio::test]
async fn a_tampered_layer_is_one_step_of_a_thorough_look() {
    let (memory, digest, _) = answering().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pub");
    let key = KeyPair::generate().unwrap();
    key.write(&folder.path().join("a.key"), &file, b"").unwrap();
    sign(&*memory, &digest, &key, SignatureLayout::ALL).await.unwrap();
    let (answering, layer) = (Arc::clone(&memory), format!("blobs/{}", sha256(BLOB)));
    let answers: Answers = Arc::new(move |asked: &Asked| {
        let path = asked.target.strip_prefix("/v2/demo/app/").unwrap_or_default();
        match answering.answer(path) {
            Some((media_type, bytes)) if path == layer => {
                let changed: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
                Reply::new(200, changed).with("Content-Type", &media_type)
            }
            Some((media_type, bytes)) => Reply::new(200, bytes).with("Content-Type", &media_type),
            None => Reply::new(404, ""),
        }
    });
    let server = Server::start(None, answers).await;
    let (fetcher, _folder) = fetcher(&server);
    let reference = Reference::parse(&format!("{}/demo/app:v1", server.address)).unwrap();
    let look = async |trust: Trust| fetcher.look(&reference, &trust, &Progress::default()).await;
    let verdict = look(wants(&file).thorough()).await.unwrap().verdict;
    assert!(!verdict.accepted && verdict.policies[0].met, "{verdict:#?}");
    let outcomes: Vec<_> = verdict.steps.iter().map(|step| step.outcome).collect();
    assert!(outcomes.contains(&Outcome::Good) && outcomes.last() == Some(&Outcome::Bad), "{:#?}", verdict.steps);
    let damage = verdict.damage.clone().unwrap();
    assert!(damage.contains(sha256(BLOB).as_ref()) && verdict.steps.last().unwrap().text == damage, "{damage}");
    assert!(verdict.refusal().contains("it is not what it says it is"), "{}", verdict.refusal());
    // Without a policy too; and whoever wants to run it gets the error as before.
    assert!(!look(Trust::default().thorough()).await.unwrap().verdict.accepted);
    assert!(matches!(look(wants(&file)).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn what_is_wrong_with_a_document_is_said_of_the_reference() {
    let two = format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","layers":[],"manifests":[]}}"#);
    for (document, why) in [("[", "the manifest is not read"), (two.as_str(), "the document has both")] {
        let memory = Arc::new(Memory::default());
        let digest = memory.add(MANIFEST_TYPE, document.to_owned()).digest().clone();
        let served = document.to_owned();
        let answers: Answers = Arc::new(move |asked: &Asked| match asked.target.contains("/manifests/") {
            true => Reply::new(200, served.clone()).with("Content-Type", MANIFEST_TYPE),
            false => Reply::new(404, ""),
        });
        let server = Server::start(None, answers).await;
        let (fetcher, folder) = fetcher(&server);
        for version in [":v1".to_owned(), format!("@{digest}")] {
            let text = format!("{}/demo/app{version}", server.address);
            let error = fetch(&fetcher, &text).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}`")) && error.contains(why), "{error}");
        }
        let layout = ImageLayout::create(&folder.path().join("copy"), false).await.unwrap();
        let copied = copy(&*memory, &Version::Digest(digest.clone()), &layout, None, &CopyOptions::default()).await;
        let error = copied.unwrap_err().to_string();
        assert!(error.contains(&digest.to_string()) && error.contains(why), "{error}");
    }
}
