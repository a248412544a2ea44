//! Every layout in use, by bytes: which module is taken of it, and what is refused. Each test walks the whole line, from a
//! reference to an artifact, through an image layout on disk.

use std::{
    io::{Cursor, Write as _},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use samara_artifact::{
    Artifact, Error, Fetcher, ImageLayout, Progress, Reference, Repository as _, Store,
    bounds::Bounds,
    bundle::{Kind, Listing},
    pack::{Layout, Metadata, pack},
    registry::{Client, RegistrySettings},
    repository::sha256,
    trust::Trust,
};
use serde_json::{Value, json};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const SPIN_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";
const MODULE_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";

/// A module that no other is equal to.
fn module(name: &str) -> Vec<u8> {
    let mut section = vec![1, b'n'];
    section.extend_from_slice(name.as_bytes());
    let mut bytes = b"\0asm\x01\0\0\0\0".to_vec();
    bytes.push(u8::try_from(section.len()).unwrap());
    bytes.extend(section);
    bytes
}

/// What [`module`] was called.
fn called(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(12..).unwrap_or_default()).into_owned()
}

/// Entries of a tar: a name and what it is.
enum Entry<'e> {
    File(&'e str, &'e [u8]),
    Folder(&'e str),
    Link(&'e str, &'e str),
}

use Entry::{File, Folder, Link};

fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        match entry {
            File(name, bytes) => {
                header.set_size(bytes.len() as u64);
                // As OPA writes them: `/policy.wasm`.
                header.set_path_absolute(name).unwrap();
                header.set_cksum();
                builder.append(&header, *bytes).unwrap();
            }
            Folder(name) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                builder.append_data(&mut header, name, &[][..]).unwrap();
            }
            Link(name, to) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, name, to).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layout on disk and whoever fetches from it.
struct Place {
    folder: tempfile::TempDir,
    layout: ImageLayout,
    fetcher: Fetcher,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = ImageLayout::create(&folder.path().join("layout"), false).await.unwrap();
        let fetcher = Fetcher {
            client: Client::new(RegistrySettings::default()),
            store: Store::open(folder.path().join("store")).unwrap(),
            bounds: Bounds::default(),
        };
        Self { folder, layout, fetcher }
    }

    /// Stores a blob and describes it.
    async fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let described = json!({ "mediaType": media_type, "digest": sha256(bytes).to_string(), "size": bytes.len() });
        let descriptor = serde_json::from_value(described.clone()).unwrap();
        self.layout.push_blob(&descriptor, Bytes::copy_from_slice(bytes)).await.unwrap();
        described
    }

    /// Stores a manifest of these layers under the tag `v1`, and describes it.
    async fn push_as(&self, media_type: &str, config: (&str, Value), layers: &[(&str, &[u8])]) -> Value {
        let mut described = Vec::new();
        for (kind, bytes) in layers {
            // `type title` gives a layer a name.
            let (kind, title) = kind.split_once(' ').unwrap_or((kind, ""));
            let mut layer = self.blob(kind, bytes).await;
            if !title.is_empty() {
                layer["annotations"] = json!({ "org.opencontainers.image.title": title });
            }
            described.push(layer);
        }
        let config = self.blob(config.0, config.1.to_string().as_bytes()).await;
        self.document(
            media_type,
            &json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": described }),
        )
        .await
    }

    async fn push(&self, config: (&str, Value), layers: &[(&str, &[u8])]) -> Value {
        self.push_as(OCI, config, layers).await
    }

    async fn document(&self, media_type: &str, document: &Value) -> Value {
        let bytes = Bytes::from(document.to_string());
        let described = json!({ "mediaType": media_type, "digest": sha256(&bytes).to_string(), "size": bytes.len() });
        self.layout.push_manifest(Some("v1"), media_type, bytes).await.unwrap();
        described
    }

    fn reference(&self, member: Option<&str>) -> Reference {
        let layout = format!("oci:{}:v1", self.folder.path().join("layout").display());
        let text = member.map_or_else(|| layout.clone(), |member| format!("bundle://{layout}#{member}"));
        Reference::parse(&text).unwrap()
    }

    async fn fetch(&self, member: Option<&str>) -> Result<Artifact, Error> {
        self.fetcher.fetch(&self.reference(member), &Trust::default(), &Progress::default()).await
    }

    async fn members(&self) -> Result<Listing, Error> {
        self.fetcher.members(&self.reference(None), &Progress::default()).await
    }

    /// The name of the module that comes, or the error without the place of this test.
    async fn found(&self, member: Option<&str>) -> String {
        match self.fetch(member).await {
            Ok(artifact) => {
                assert_eq!(artifact.digest, sha256(&artifact.bytes));
                assert!(artifact.manifest.is_some());
                called(&artifact.bytes)
            }
            Err(error) => {
                error.to_string().replace(&format!("oci:{}:v1", self.folder.path().join("layout").display()), "REF")
            }
        }
    }
}

/// Pushes layers under a configuration and tells what is found.
async fn check(config: (&str, Value), layers: &[(&str, &[u8])], expected: &str) {
    let place = Place::new().await;
    place.push(config, layers).await;
    let found = place.found(None).await;
    assert!(found.starts_with(expected), "{found}\n  is not\n{expected}");
}

fn no_config(media_type: &str) -> (&str, Value) {
    (media_type, json!({}))
}

#[tokio::test]
async fn a_layer_of_a_known_media_type_is_the_module() {
    let wasm = module("it");
    for (config, layer) in [
        ("application/vnd.wasm.config.v0+json", "application/wasm"),
        ("application/vnd.wasmcloud.actor.archive.config", MODULE_LAYER),
        ("application/vnd.wasm.config.v1+json", SPIN_LAYER),
        (IMAGE_CONFIG, "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"),
        ("application/vnd.unknown.config.v1+json", "application/vnd.module.wasm.content.layer.v1+wasm trivy.wasm"),
        ("application/vnd.oci.empty.v1+json", "application/octet-stream hello.wasm"),
    ] {
        check(no_config(config), &[(layer, &wasm)], "it").await;
    }
    // Istio's two layers; a signature or a text beside the module.
    let istio = [(MODULE_LAYER, &wasm[..]), ("application/vnd.module.wasm.runtime-config.v1+json", b"{}")];
    check(no_config("application/vnd.module.wasm.config.v1+json"), &istio, "it").await;
    let with_text = [("text/markdown README.md", &b"# it"[..]), ("application/octet-stream it.wasm", &wasm)];
    check(no_config("application/vnd.oci.empty.v1+json"), &with_text, "it").await;
    let with_data = [("application/octet-stream data.bin", &b"1234"[..]), ("application/x-unknown", &wasm)];
    check(no_config("application/vnd.oci.empty.v1+json"), &with_data, "it").await;
    // What oras calls a file of which it was told nothing.
    let called_tar = [("application/vnd.oci.image.layer.v1.tar README.md", &b"# it"[..]), (TAR, &wasm)];
    check(no_config("application/vnd.unknown.config.v1+json"), &called_tar, "it").await;
}

#[tokio::test]
async fn what_is_announced_as_a_module_must_be_one() {
    let layers = [("application/wasm", &b"#!/bin/sh"[..])];
    let place = Place::new().await;
    place.push(no_config("application/vnd.wasm.config.v0+json"), &layers).await;
    let found = place.found(None).await;
    assert!(found.contains("is announced as `application/wasm` and is no WebAssembly"), "{found}");
    check(
        no_config("application/vnd.oci.empty.v1+json"),
        &[("application/vnd.dev.cosign.simplesigning.v1+json", b"{}")],
        "`REF`: it holds no WebAssembly; it is of the type `application/vnd.oci.empty.v1+json`, and its layers are \
         `application/vnd.dev.cosign.simplesigning.v1+json`",
    )
    .await;
    check(no_config("application/vnd.cncf.helm.config.v1+json"), &[], "`REF`: it holds no WebAssembly").await;
}

#[tokio::test]
async fn several_modules_are_listed_and_taken_by_name() {
    let place = Place::new().await;
    let (a, b) = (module("a"), module("b"));
    let layers = [("application/wasm a.wasm", &a[..]), ("application/wasm b.wasm", &b)];
    place.push(no_config("application/vnd.oci.empty.v1+json"), &layers).await;
    assert_eq!(
        place.found(None).await,
        "`REF`: it carries 2 modules, `a.wasm`, `b.wasm`; name one: `bundle://REF#a.wasm`"
    );
    assert_eq!(place.found(Some("b.wasm")).await, "b");
    assert_eq!(place.found(Some(sha256(&a).as_ref())).await, "a");
    assert_eq!(
        place.found(Some("c.wasm")).await,
        "`bundle://REF#c.wasm`: it has no member `c.wasm`; it has `a.wasm`, `b.wasm`"
    );
    let names: Vec<_> = place.members().await.unwrap().members.into_iter().map(|member| member.name).collect();
    assert_eq!(names, ["a.wasm", "b.wasm"]);
}

#[tokio::test]
async fn components_of_a_spin_application_are_members_by_id() {
    let place = Place::new().await;
    let (one, two, asset) = (module("one"), module("two"), b"body {}");
    let content = |bytes: &[u8]| json!({ "digest": sha256(bytes).to_string() });
    let lock = json!({
        "spin_lock_version": 1,
        "metadata": { "name": "shop" },
        "triggers": [],
        "components": [
            { "id": "one", "source": { "content_type": "application/wasm", "digest": sha256(&one).to_string() } },
            { "id": "two", "source": content(&two), "files": [
                { "content": content(asset), "path": "/site.css" },
                { "content": { "inline": "aGVsbG8=" }, "path": "hello.txt" },
            ] },
            { "id": "gone", "source": content(b"gone") },
        ],
    });
    let layers = [
        ("application/vnd.fermyon.spin.application.v1+config", lock.to_string()),
        (SPIN_LAYER, String::from_utf8(one.clone()).unwrap()),
        (SPIN_LAYER, String::from_utf8(two.clone()).unwrap()),
        ("application/vnd.wasm.content.layer.v1+data", String::from_utf8_lossy(asset).into_owned()),
    ];
    let layers: Vec<_> = layers.iter().map(|(kind, bytes)| (*kind, bytes.as_bytes())).collect();
    place.push(no_config(IMAGE_CONFIG), &layers).await;
    assert_eq!(place.found(Some("one")).await, "one");
    assert_eq!(place.found(Some("two")).await, "two");
    assert_eq!(
        place.found(None).await,
        "`REF`: it is a Spin application of 3 components, `one`, `two`, `gone`; name one: `bundle://REF#one`"
    );
    assert!(place.found(Some("gone")).await.contains("`gone` of the Spin application is in no layer of the manifest"));
    assert!(place.found(Some("three")).await.contains("has no component `three`; it has `one`, `two`, `gone`"));
    let members = place.members().await.unwrap();
    assert_eq!(members.format.to_string(), "Spin application");
    let listed: Vec<_> =
        members.members.iter().map(|member| format!("{} {} {}", member.name, member.size, member.kind)).collect();
    let size = one.len();
    let expected = [
        &format!("one {size} module"),
        &format!("two {size} module"),
        "two/site.css 7 file",
        "two/hello.txt 6 file",
        "gone 0 component",
    ];
    assert_eq!(listed, expected);
}

fn started(word: &str) -> (&'static str, Value) {
    (IMAGE_CONFIG, json!({ "architecture": "wasm", "os": "wasi", "config": { "Entrypoint": [word] } }))
}

#[tokio::test]
async fn an_image_starts_the_module_of_its_entrypoint() {
    let layer =
        tar(&[File("x.wasm", &module("x")), File("bin/app", &module("app")), File("plugin.wasm", &module("p"))]);
    check(started("/bin/app"), &[(TAR, &layer)], "app").await;
    check(started("x.wasm"), &[(TAR_GZIP, &gzip(&layer))], "x").await;
    let zstd = zstd::encode_all(&layer[..], 3).unwrap();
    check(started("/x.wasm"), &[("application/vnd.oci.image.layer.v1.tar+zstd", &zstd)], "x").await;
    let by_cmd = json!({ "config": { "Cmd": ["app"], "WorkingDir": "/bin" } });
    check((IMAGE_CONFIG, by_cmd), &[(TAR, &layer)], "app").await;
    // Docker's media types; the compression is what the bytes say.
    let place = Place::new().await;
    let config = ("application/vnd.docker.container.image.v1+json", started("/x.wasm").1);
    place.push_as(DOCKER, config, &[("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer)]).await;
    assert_eq!(place.found(None).await, "x");
}

#[tokio::test]
async fn an_image_that_starts_something_else_has_its_module_by_name() {
    let only = tar(&[File("bin/sh", b"\x7fELF"), File("opt/it.wasm", &module("it"))]);
    let empty = gzip(&tar(&[]));
    check(started("/bin/sh"), &[(TAR, &only), (TAR_GZIP, &empty)], "it").await;
    let compat = tar(&[File("plugin.wasm", &module("plugin")), File("other.wasm", &module("other"))]);
    check(no_config(IMAGE_CONFIG), &[(TAR_GZIP, &gzip(&compat))], "plugin").await;
    let opa = tar(&[File("/policy.wasm", &module("policy")), File("data.json", b"{}")]);
    check(no_config("application/vnd.cncf.openpolicyagent.config.v1+json"), &[(TAR_GZIP, &gzip(&opa))], "policy").await;
    let two = tar(&[File("a.wasm", &module("a")), File("b.wasm", &module("b"))]);
    let several = "`REF`: it holds 2 modules, `a.wasm`, `b.wasm`; name one: `bundle://REF#a.wasm`";
    check(no_config(IMAGE_CONFIG), &[(TAR, &two)], several).await;
    check(no_config(IMAGE_CONFIG), &[(TAR, &tar(&[File("a", b"a")]))], "`REF`: the image holds no WebAssembly").await;
    let place = Place::new().await;
    place.push(no_config(IMAGE_CONFIG), &[(TAR, &two)]).await;
    assert_eq!(place.found(Some("/b.wasm")).await, "b");
    let listing = place.members().await.unwrap();
    assert!(listing.members.iter().all(|member| member.kind == Kind::Module), "{listing:?}");
}

#[tokio::test]
async fn a_later_layer_replaces_and_removes() {
    let lower = tar(&[
        Folder("app"),
        File("app/it.wasm", &module("lower")),
        File("app/other.wasm", &module("other")),
        File("app/sub/deep.wasm", &module("deep")),
    ]);
    let layers = |upper: &[Entry<'_>]| [gzip(&lower), tar(upper)];
    let cases: [(&[Entry<'_>], &str); 7] = [
        (&[File("app/it.wasm", &module("upper"))], "upper"),
        (&[File("app/.wh.it.wasm", b"")], "`REF`: it holds 2 modules, `app/other.wasm`, `app/sub/deep.wasm`"),
        (&[File(".wh.app", b"")], "`REF`: the image holds no WebAssembly"),
        (&[File("app/it.wasm", &module("kept")), File("app/.wh..wh..opq", b"")], "kept"),
        (&[File("app/sub/.wh..wh..opq", b"")], "lower"),
        // A link in place of the folder: what was in it is gone, and the link is not followed.
        (&[Link("app", "/etc")], "`REF`: the image holds no WebAssembly"),
        (
            &[Link("app/it.wasm", "/etc/passwd")],
            "`REF`: `app/it.wasm` is a link to `/etc/passwd`, and links are not followed",
        ),
    ];
    for (upper, expected) in cases {
        let [lower, upper] = layers(upper);
        check(started("/app/it.wasm"), &[(TAR_GZIP, &lower), (TAR, &upper)], expected).await;
    }
}

#[tokio::test]
async fn an_archive_that_was_pushed_is_read_as_one() {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for name in ["Directive.yaml", "hello.wasm"] {
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(&module("zipped")).unwrap();
    }
    let zip = writer.finish().unwrap().into_inner();
    let layers = [("application/octet-stream shop.wasm.zip", &zip[..])];
    let place = Place::new().await;
    place.push(no_config("application/vnd.oci.empty.v1+json"), &layers).await;
    assert_eq!(place.found(Some("hello.wasm")).await, "zipped");
    assert_eq!(place.members().await.unwrap().format.to_string(), "Suborbital runnables");
    let bundle = gzip(&tar(&[File("policy.wasm", &module("policy")), File("data.json", b"{}")]));
    check(no_config("application/vnd.oci.empty.v1+json"), &[("application/octet-stream b.tar.gz", &bundle)], "policy")
        .await;
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_wasm() {
    let place = Place::new().await;
    let linux =
        place.push(no_config("application/vnd.wasm.config.v0+json"), &[("application/wasm", &module("linux"))]).await;
    let wasm =
        place.push(no_config("application/vnd.wasm.config.v0+json"), &[("application/wasm", &module("wasm"))]).await;
    let of = |mut descriptor: Value, os: &str, arch: &str| {
        descriptor["platform"] = json!({ "os": os, "architecture": arch });
        descriptor
    };
    let list = [
        of(linux.clone(), "unknown", "unknown"),
        of(linux.clone(), "linux", "amd64"),
        of(wasm.clone(), "wasip2", "wasm"),
    ];
    place.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": list })).await;
    assert_eq!(place.found(None).await, "wasm");

    let windows = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [of(linux, "windows", "amd64")] });
    place.document(INDEX, &windows).await;
    assert_eq!(place.found(None).await, "`REF`: the index has no image for Wasm; it has windows/amd64");

    // Indexes within indexes: four are followed, not five.
    let mut inner = wasm;
    for depth in 1..=5 {
        inner = place.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [inner] })).await;
        let found = place.found(None).await;
        match depth {
            ..=4 => assert_eq!(found, "wasm"),
            _ => assert_eq!(found, "`REF` is an index in more than 4 indexes, the most that are followed"),
        }
    }

    // A descriptor that says another size than its manifest has.
    let mut lie =
        place.push(no_config("application/vnd.wasm.config.v0+json"), &[("application/wasm", &module("x"))]).await;
    lie["size"] = json!(7);
    place.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [lie] })).await;
    assert!(place.found(None).await.ends_with("and was announced with 7"));
}

#[tokio::test]
async fn what_push_writes_is_what_pull_reads() {
    for layout in Layout::ALL {
        let place = Place::new().await;
        let wasm = Bytes::from(module("cart"));
        let metadata = Metadata { created: SystemTime::UNIX_EPOCH, ..Metadata::of("cart.wasm").unwrap() };
        let packed = pack(&wasm, layout, &metadata).unwrap();
        let digest = packed.push(&place.layout, Some("v1")).await.unwrap();
        assert_eq!(digest, packed.digest);
        let artifact = place.fetch(None).await.unwrap();
        assert_eq!((artifact.bytes, artifact.manifest), (wasm, Some(digest)), "{layout}");
    }
}

#[tokio::test]
async fn names_that_strangers_chose_do_no_harm_in_an_error() {
    let place = Place::new().await;
    let title = format!("application/wasm \u{1b}[2J{}", "n".repeat(100_000));
    let (a, b) = (module("a"), module("b"));
    place.push(no_config("application/vnd.oci.empty.v1+json"), &[(&title, &a), (&title, &b)]).await;
    for found in [place.found(None).await, place.found(Some("x")).await] {
        assert!(found.contains("\\u{1b}[2Jnnn") && !found.chars().any(char::is_control), "{found}");
        assert!(found.len() < 2000, "{} bytes", found.len());
    }
}

/// Attacks that a layer may carry. Each is told within 5 s; what it may cost in memory is bounded by what is counted.
#[tokio::test]
async fn hostile_layers_are_refused_in_time() {
    let zeros = vec![0; 32 << 20];
    let mut huge = tar::Header::new_gnu();
    huge.set_path("plugin.wasm").unwrap();
    huge.set_size(1 << 60);
    huge.set_cksum();
    let mut climbing = tar::Header::new_gnu();
    climbing.as_mut_bytes()[..14].copy_from_slice(b"../plugin.wasm");
    climbing.set_size(0);
    climbing.set_cksum();
    let linked = tar(&[Link("plugin.wasm", "/etc/passwd")]);
    let many: Vec<_> = (0..20_001).map(|number| format!("f{number}")).collect();
    let many = tar(&many.iter().map(|name| File(name, b"")).collect::<Vec<_>>());
    let cases: [(Vec<u8>, &str); 7] = [
        (gzip(&tar(&[File("zeros", &zeros)])), "it unpacks to more than 100 times its size"),
        (huge.as_bytes().to_vec(), "the archive is not read: unexpected EOF"),
        (climbing.as_bytes().to_vec(), "the entry `../plugin.wasm` leaves the archive"),
        (linked, "`plugin.wasm` is a link to `/etc/passwd`"),
        (gzip(&many), "the archive has more than 20000 entries"),
        (b"\x1f\x8b\x08\0garbage".to_vec(), "it is no archive that is read here"),
        (vec![0xff; 2048], "it is no archive that is read here"),
    ];
    for (layer, expected) in cases {
        let place = Place::new().await;
        place.push(no_config(IMAGE_CONFIG), &[(TAR_GZIP, &layer)]).await;
        let begun = Instant::now();
        let found = place.found(None).await;
        assert!(found.contains(expected), "{found}\n  is not\n{expected}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{expected}: {:?}", begun.elapsed());
        assert!(!place.folder.path().join("plugin.wasm").exists(), "written outside of the store");
        only_the_store_and_the_layout(place.folder.path());
    }
}

/// Nothing is beside them.
fn only_the_store_and_the_layout(folder: &Path) {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["layout", "store"]);
}

#[tokio::test]
async fn an_image_has_no_more_layers_than_may_be_open() {
    let layers: Vec<_> = (0..128).map(|n| tar(&[File(&format!("{n}"), b"x")])).collect();
    let mut layers: Vec<_> = layers.iter().map(|layer| (TAR, &layer[..])).collect();
    let wasm = tar(&[File("app.wasm", &module("it"))]);
    layers[127] = (TAR, &wasm);
    check(no_config(IMAGE_CONFIG), &layers, "it").await;
    layers.push((TAR, &wasm));
    check(no_config(IMAGE_CONFIG), &layers, "`REF`: the image has 129 layers, and at most 128 archives").await;
}

#[tokio::test]
async fn modules_layers_and_all_of_them_are_bounded() {
    let mut place = Place::new().await;
    let wasm = [module("it"), vec![0; 500]].concat();
    place.push(no_config("application/vnd.wasm.config.v0+json"), &[("application/wasm", &wasm)]).await;
    place.fetcher.bounds.module_bytes = 100;
    assert!(matches!(place.fetch(None).await, Err(Error::OverLimit(_))));
    place.push(no_config(IMAGE_CONFIG), &[(TAR, &tar(&[File("plugin.wasm", &wasm)]))]).await;
    let found = place.found(None).await;
    assert_eq!(found, "`REF`: `plugin.wasm` is of more than 100 bytes, the most that a module may have");
    place.fetcher.bounds = Bounds { layer_bytes: 1000, ..Bounds::default() };
    assert!(matches!(place.fetch(None).await, Err(Error::OverLimit(_))));
    place.fetcher.bounds = Bounds { unpacked_bytes: 2000, ..Bounds::default() };
    let found = place.found(None).await;
    assert!(found.contains("and at most 2000 are read of one artifact"), "{found}");
}

#[tokio::test]
async fn files_and_their_members_are_fetched_too() {
    let place = Place::new().await;
    let path = place.folder.path().join("layout/it.wasm");
    let fetch = async |text: String| {
        let reference = Reference::parse(&text).unwrap();
        let fetched = place.fetcher.fetch(&reference, &Trust::default(), &Progress::default()).await;
        fetched.map_or_else(
            |error| error.to_string().replace(&place.folder.path().display().to_string(), "DIR"),
            |artifact| called(&artifact.bytes),
        )
    };
    std::fs::write(&path, module("file")).unwrap();
    assert_eq!(fetch(format!("{}", path.display())).await, "file");
    std::fs::write(&path, gzip(&tar(&[File("a.wasm", &module("a")), File("b.wasm", &module("b"))]))).unwrap();
    assert_eq!(fetch(format!("bundle://{}#b.wasm", path.display())).await, "b");
    assert_eq!(
        fetch(format!("bundle://{}", path.display())).await,
        "`DIR/layout/it.wasm`: it holds 2 modules, `a.wasm`, `b.wasm`; name one: `bundle://DIR/layout/it.wasm#a.wasm`"
    );
    assert_eq!(
        fetch(format!("{}", path.display())).await,
        "`DIR/layout/it.wasm` is an archive; write `bundle://DIR/layout/it.wasm#MEMBER`"
    );
    let missing = place.folder.path().join("none.wasm");
    assert_eq!(fetch(format!("file://{}", missing.display())).await, "there is no file `DIR/none.wasm`");
}
