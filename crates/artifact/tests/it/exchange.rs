//! Image layouts as other tools write them and read them: skopeo, and both releases of oras.

use std::{process::Command, sync::Arc};

use samara_artifact::{
    Descriptor, Digest, ImageLayout, MediaType, OciReference, Repository, Version,
    registry::{Client, Logins, RegistrySettings},
    repository::read_blob,
    store::{CopyOptions, copy},
};
use samara_model::RegistryHost;
use serde_json::json;

use crate::{docker_registry::Registry, tools::succeeds};

const ORAS: [&str; 2] = ["trixie", "sid"];
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &[u8] = b"\0asm\x01\0\0\0";

fn repository(place: &Registry, name: &str) -> Arc<dyn Repository> {
    let host = RegistryHost { insecure: true, ..RegistryHost::default() };
    let hosts = [(place.address.to_string(), host)].into();
    let settings = RegistrySettings { hosts, logins: Logins::Given([].into()), ..RegistrySettings::default() };
    let reference: OciReference = format!("{}/demo/{name}:v1", place.address).parse().unwrap();
    Client::new(settings).repository(&reference).unwrap()
}

/// A module in a registry with something that refers to it; the digests of both.
async fn publish(to: &dyn Repository) -> (Digest, Digest) {
    let part = |media_type: &str, bytes: &'static [u8]| {
        let digest = samara_artifact::repository::sha256(bytes);
        (Descriptor::new(MediaType::from(media_type), bytes.len() as u64, digest), bytes.into())
    };
    let (config, bytes) = part("application/vnd.wasm.config.v0+json", b"{}");
    to.push_blob(&config, bytes).await.unwrap();
    let (layer, bytes) = part("application/wasm", LAYER);
    to.push_blob(&layer, bytes).await.unwrap();
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] }).to_string();
    let size = manifest.len() as u64;
    let digest = to.push_manifest(Some("v1"), MANIFEST, manifest.into()).await.unwrap();
    let subject = Descriptor::new(MediaType::ImageManifest, size, digest.clone());
    let referrer = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer], "subject": subject,
        "artifactType": "application/x-signature",
    });
    let referrer = to.push_manifest(None, MANIFEST, referrer.to_string().into()).await.unwrap();
    (digest, referrer)
}

/// The artifact is there, with its bytes, under this tag.
async fn assert_there(from: &dyn Repository, tag: &str, digest: &Digest) {
    assert_eq!(from.resolve(&Version::Tag(tag.to_owned())).await.unwrap().digest(), digest, "in {from:?}");
    let manifest: serde_json::Value = serde_json::from_slice(&from.manifest(digest).await.unwrap()).unwrap();
    let layer: Descriptor = serde_json::from_value(manifest["layers"][0].clone()).unwrap();
    assert_eq!(read_blob(from, &layer, 1000).await.unwrap(), LAYER);
}

async fn assert_referred(from: &dyn Repository, digest: &Digest, referrer: &Digest) {
    let found = from.referrers(digest).await.unwrap();
    assert_eq!(found.iter().map(Descriptor::digest).collect::<Vec<_>>(), [referrer], "in {from:?}");
    from.manifest(referrer).await.unwrap();
}

async fn open(place: &Registry, name: &str) -> ImageLayout {
    ImageLayout::open(&place.path(name), name.ends_with(".tar")).await.unwrap()
}

/// A layout of what is in `from`, made by us.
async fn written(place: &Registry, name: &str, from: &dyn Repository) {
    let layout = ImageLayout::create(&place.path(name), name.ends_with(".tar")).await.unwrap();
    copy(from, &Version::Tag("v1".to_owned()), &layout, Some("v1"), &CopyOptions::default()).await.unwrap();
    layout.finish().await.unwrap();
}

fn skopeo(place: &Registry, from: &str, to: &str) {
    let mut skopeo = Command::new("skopeo");
    skopeo.env("HOME", place.folder.path()).current_dir(place.folder.path());
    skopeo.args(["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", from, to]);
    succeeds(&mut skopeo);
}

fn scheme(name: &str) -> &'static str {
    if name.ends_with(".tar") { "oci-archive" } else { "oci" }
}

#[tokio::test]
async fn what_skopeo_writes_is_read_and_what_we_write_is_read_by_skopeo() {
    let place = Registry::start();
    let source = repository(&place, "source");
    let (digest, _) = publish(&*source).await;
    for name in ["theirs", "theirs.tar"] {
        skopeo(&place, &format!("docker://{}/demo/source:v1", place.address), &format!("{}:{name}:v1", scheme(name)));
        assert_there(&open(&place, name).await, "v1", &digest).await;
    }
    for name in ["ours", "ours.tar"] {
        written(&place, name, &*source).await;
        let target = format!("from-{}", name.replace('.', "-"));
        let to = format!("docker://{}/demo/{target}:v1", place.address);
        skopeo(&place, &format!("{}:{name}:v1", scheme(name)), &to);
        assert_there(&*repository(&place, &target), "v1", &digest).await;
    }
    // Added by skopeo to ours, and by us to theirs.
    skopeo(&place, &format!("docker://{}/demo/source:v1", place.address), "oci:ours:v2");
    assert_there(&open(&place, "ours").await, "v2", &digest).await;
    let theirs = ImageLayout::create(&place.path("theirs"), false).await.unwrap();
    copy(&*source, &Version::Digest(digest.clone()), &theirs, Some("v3"), &CopyOptions::default()).await.unwrap();
    skopeo(&place, "oci:theirs:v3", &format!("docker://{}/demo/added:v1", place.address));
    assert_there(&*repository(&place, "added"), "v1", &digest).await;
}

#[tokio::test]
async fn what_oras_writes_is_read_and_what_we_write_is_read_by_oras() {
    let place = Registry::start();
    let source = repository(&place, "source");
    let (digest, referrer) = publish(&*source).await;
    written(&place, "ours", &*source).await;
    written(&place, "ours.tar", &*source).await;
    for suite in ORAS {
        let oras =
            |arguments: &[&str]| succeeds(place.debian(suite, "oras").arg("cp").arg("--recursive").args(arguments));
        let theirs = format!("theirs-{suite}");
        let address = place.address;
        oras(&["--from-plain-http", "--to-oci-layout", &format!("{address}/demo/source:v1"), &format!("{theirs}:v1")]);
        let layout = open(&place, &theirs).await;
        assert_there(&layout, "v1", &digest).await;
        assert_referred(&layout, &digest, &referrer).await;
        assert_eq!(layout.only().await.unwrap(), Version::Tag("v1".to_owned()));
        for name in ["ours", "ours.tar"] {
            let target = format!("{suite}-{}", name.replace('.', "-"));
            oras(&[
                "--from-oci-layout",
                "--to-plain-http",
                &format!("{name}:v1"),
                &format!("{address}/demo/{target}:v1"),
            ]);
            let copied = repository(&place, &target);
            assert_there(&*copied, "v1", &digest).await;
            assert_referred(&*copied, &digest, &referrer).await;
        }
    }
    assert!(place.path("ours.tar").is_file());
}
