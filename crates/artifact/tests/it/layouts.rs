//! Layouts through real tools and a real registry: what is packed here passes through oras and skopeo and stays the same
//! artifact, and what they make is read here, Docker's manifests among it.

use std::{fs, time::SystemTime};

use bytes::Bytes;
use samara_artifact::{
    Artifact, Fetcher, Progress, Reference, Store,
    bounds::Bounds,
    pack::{Layout, Metadata, pack},
    registry::{Client, Logins, RegistrySettings},
    trust::Trust,
};
use samara_model::RegistryHost;

use crate::{docker_registry::Registry, hostile::BLOB, tools::succeeds};

/// The Debian suites that have the releases of oras.
const SUITES: [&str; 2] = ["trixie", "sid"];

/// A fetcher with a store of its own, so that nothing is had from an earlier pull.
fn fetcher(place: &Registry, store: &str) -> Fetcher {
    let host = RegistryHost { insecure: true, ..RegistryHost::default() };
    let hosts = [(place.address.to_string(), host)].into();
    let settings = RegistrySettings { hosts, logins: Logins::Given([].into()), ..RegistrySettings::default() };
    Fetcher { client: Client::new(settings), store: Store::open(place.path(store)).unwrap(), bounds: Bounds::default() }
}

async fn fetch(place: &Registry, store: &str, text: &str) -> Artifact {
    let reference = Reference::parse(text).unwrap();
    let fetched = fetcher(place, store).fetch(&reference, &Trust::default(), &Progress::default()).await;
    fetched.unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_packed_here_passes_through_every_tool() {
    let place = Registry::start();
    for layout in Layout::ALL {
        let metadata = Metadata { created: SystemTime::UNIX_EPOCH, ..Metadata::of("hello.wasm").unwrap() };
        let packed = pack(&Bytes::from_static(BLOB), layout, &metadata).unwrap();
        let name = format!("{}/demo/{layout}:v1", place.address);
        let client = fetcher(&place, "pushed").client;
        packed.push(&*client.repository(&name.parse().unwrap()).unwrap(), Some("v1")).await.unwrap();
        let same = async |store: &str, text: &str| {
            let artifact = fetch(&place, &format!("{layout}-{store}"), text).await;
            assert_eq!((artifact.bytes.as_ref(), artifact.manifest.as_ref()), (BLOB, Some(&packed.digest)), "{text}");
        };
        same("registry", &name).await;

        let skopeo = |to: &str| {
            let mut skopeo = std::process::Command::new("skopeo");
            skopeo.args(["--insecure-policy", "copy", "--src-tls-verify=false", &format!("docker://{name}"), to]);
            succeeds(skopeo.env("HOME", place.folder.path()).current_dir(place.folder.path()));
        };
        let folder = place.path(&format!("skopeo-{layout}"));
        skopeo(&format!("oci:{}:v1", folder.display()));
        same("folder", &format!("oci:{}:v1", folder.display())).await;
        let archive = place.path(&format!("skopeo-{layout}.tar"));
        skopeo(&format!("oci-archive:{}:v1", archive.display()));
        same("archive", &format!("oci-archive:{}:v1", archive.display())).await;

        for suite in SUITES {
            let oras = |args: &[&str]| succeeds(place.debian(suite, "oras").args(args));
            let folder = format!("oras-{suite}-{layout}");
            oras(&["cp", "--from-plain-http", "--to-oci-layout", &name, &format!("{folder}:v1")]);
            same(&folder, &format!("oci:{}:v1", place.path(&folder).display())).await;
            if !matches!(layout, Layout::Image | Layout::Compat) {
                let files = format!("files-{suite}-{layout}");
                oras(&["pull", "--plain-http", "--output", &files, &name]);
                assert_eq!(fs::read(place.path(&files).join("hello.wasm")).unwrap(), BLOB, "{suite} {layout}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_skopeo_makes_docker_s_are_read() {
    let place = Registry::start();
    for layout in [Layout::Image, Layout::Compat] {
        let metadata = Metadata { created: SystemTime::UNIX_EPOCH, ..Metadata::of("hello.wasm").unwrap() };
        let packed = pack(&Bytes::from_static(BLOB), layout, &metadata).unwrap();
        let name = format!("{}/oci/{layout}:v1", place.address);
        let client = fetcher(&place, "pushed").client;
        packed.push(&*client.repository(&name.parse().unwrap()).unwrap(), Some("v1")).await.unwrap();
        let docker = format!("{}/docker/{layout}:v1", place.address);
        let mut skopeo = std::process::Command::new("skopeo");
        skopeo.args([
            "--insecure-policy",
            "copy",
            "--format",
            "v2s2",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ]);
        succeeds(skopeo.args([format!("docker://{name}"), format!("docker://{docker}")]));
        let artifact = fetch(&place, &format!("docker-{layout}"), &docker).await;
        assert_eq!(artifact.bytes, BLOB, "{layout}");
        assert_ne!(artifact.manifest, Some(packed.digest), "{layout} is still the manifest of OCI");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_oras_pushes_by_hand_is_read() {
    let place = Registry::start();
    fs::write(place.path("hello.wasm"), BLOB).unwrap();
    fs::write(place.path("note.md"), "about it").unwrap();
    fs::write(place.path("config.json"), "{}").unwrap();
    let hello = |kind: &str| format!("hello.wasm{kind}");
    for suite in SUITES {
        for (number, (config, files)) in [
            // Nothing said at all, one more file, and the media types that producers use.
            (None, vec![hello("")]),
            (None, vec![hello(""), "note.md".to_owned()]),
            (Some("application/vnd.wasm.config.v1+json"), vec![hello(":application/vnd.wasm.content.layer.v1+wasm")]),
            (
                Some("application/vnd.module.wasm.config.v1+json"),
                vec![
                    hello(":application/vnd.module.wasm.content.layer.v1+wasm"),
                    "config.json:application/vnd.module.wasm.runtime.config.v1+json".to_owned(),
                ],
            ),
            (
                Some("application/vnd.wasm.config.v0+json"),
                vec![hello(":application/vnd.bytecodealliance.wasm.component.layer.v0+wasm")],
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("{}/by-hand/{suite}:v{number}", place.address);
            let mut oras = place.debian(suite, "oras");
            oras.args(["push", "--plain-http"]);
            if let Some(config) = config {
                oras.args(["--config", &format!("config.json:{config}")]);
            }
            succeeds(oras.arg(&name).args(&files));
            assert_eq!(fetch(&place, &format!("{suite}-{number}"), &name).await.bytes, BLOB, "{suite}: {files:?}");
        }
    }
}
