//! The registry client with a real registry (Debian's `docker-registry`, which has no Referrers API) and two releases of oras:
//! what one writes the other reads, with a login and without.

use std::{fs, sync::Arc};

use bytes::Bytes;
use samara_artifact::{
    Descriptor, Error, ImageManifest, OciReference, Repository, Version,
    registry::{Client, Login, Logins, RegistrySettings},
    repository::{read_blob, sha256},
};
use samara_model::RegistryHost;

use crate::{
    docker_registry::Registry,
    hostile::{BLOB, MANIFEST_TYPE, PASSWORD, all, blob, manifest},
    tools::succeeds,
};

/// The Debian suites that have the releases of oras.
const SUITES: [&str; 2] = ["trixie", "sid"];
/// `me` and [`PASSWORD`], as `htpasswd -B` writes them.
const USERS: &str = "me:$2y$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n";

fn client(place: &Registry, logins: Logins) -> Client {
    let host = RegistryHost { insecure: true, ..RegistryHost::default() };
    let hosts = [(place.address.to_string(), host)].into();
    Client::new(RegistrySettings { hosts, logins, ..RegistrySettings::default() })
}

fn open(place: &Registry, name: &str) -> (OciReference, Arc<dyn Repository>) {
    let reference: OciReference = format!("{}/demo/{name}:v1", place.address).parse().unwrap();
    let repository = client(place, Logins::Given([].into())).repository(&reference).unwrap();
    (reference, repository)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_oras_pushed_is_pulled() {
    let place = Registry::start();
    fs::write(place.path("hello.wasm"), BLOB).unwrap();
    fs::write(place.path("note.txt"), "about it").unwrap();
    for suite in SUITES {
        let (reference, repository) = open(&place, suite);
        let name = reference.to_string();
        let oras = |args: &[&str]| succeeds(place.debian(suite, "oras").args(args));
        oras(&["push", "--plain-http", &name, "hello.wasm:application/wasm"]);
        oras(&["tag", "--plain-http", &name, "v2"]);
        let found = repository.resolve(&reference.version()).await.unwrap();
        let manifest = repository.manifest(found.digest()).await.unwrap();
        let manifest: ImageManifest = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(read_blob(&*repository, &manifest.layers()[0], 100).await.unwrap(), BLOB);
        assert_eq!(client(&place, Logins::Given([].into())).tags(&reference).await.unwrap(), ["v1", "v2"]);

        assert_eq!(repository.referrers(found.digest()).await.unwrap(), []);
        oras(&["attach", "--plain-http", "--artifact-type", "example/note", &name, "note.txt:text/plain"]);
        let notes = repository.referrers(found.digest()).await.unwrap();
        assert_eq!(notes.len(), 1, "{suite}");
        let note: ImageManifest =
            serde_json::from_slice(&repository.manifest(notes[0].digest()).await.unwrap()).unwrap();
        assert_eq!(read_blob(&*repository, &note.layers()[0], 100).await.unwrap(), "about it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_here_oras_pulls() {
    let place = Registry::start();
    let (reference, repository) = open(&place, "app");
    // Larger than what is sent in one piece.
    let large: Bytes = (0..(33_u32 << 20) + 7).map(|at| (at % 253) as u8).collect::<Vec<_>>().into();
    let layer = Descriptor::new("application/wasm".into(), large.len() as u64, sha256(&large));
    repository.push_blob(&blob(), Bytes::from_static(BLOB)).await.unwrap();
    repository.push_blob(&layer, large.clone()).await.unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&manifest()).unwrap();
    document["layers"][0]["digest"] = layer.digest().to_string().into();
    document["layers"][0]["size"] = layer.size().into();
    document["layers"][0]["annotations"] = serde_json::json!({ "org.opencontainers.image.title": "app.wasm" });
    let pushed = repository.push_manifest(Some("v1"), MANIFEST_TYPE, document.to_string().into()).await.unwrap();
    let rest = repository.blob(&layer, 33 << 20).await.unwrap();
    assert_eq!((rest.offset, all(rest).await.unwrap()), (33 << 20, large.slice(33 << 20..)));

    document["subject"] = serde_json::json!({ "mediaType": MANIFEST_TYPE, "digest": pushed.to_string(), "size": 1 });
    document["artifactType"] = "example/note".into();
    let note = repository.push_manifest(None, MANIFEST_TYPE, document.to_string().into()).await.unwrap();
    for suite in SUITES {
        let folder = format!("pulled-{suite}");
        let oras = |args: &[&str]| succeeds(place.debian(suite, "oras").args(args));
        oras(&["pull", "--plain-http", "--output", &folder, &reference.to_string()]);
        assert!(fs::read(place.path(&folder).join("app.wasm")).unwrap() == large, "{suite} pulled other bytes");
        let listed = oras(&["discover", "--plain-http", "--format", "json", &reference.to_string()]);
        assert!(listed.contains(note.as_ref()) && listed.contains("example/note"), "{suite}: {listed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_users_is_read_and_written_by_who_has_a_login() {
    let users = tempfile::NamedTempFile::new().unwrap();
    fs::write(users.path(), USERS).unwrap();
    let place =
        Registry::start_with(&format!("auth: {{ htpasswd: {{ realm: here, path: '{}' }} }}\n", users.path().display()));
    let address = place.address.to_string();
    let reference: OciReference = format!("{address}/demo/app:v1").parse().unwrap();
    let given = |password: &str| {
        let login = Login::Password { user: "me".to_owned(), password: password.to_owned() };
        Logins::Given([(address.clone(), login)].into())
    };
    for logins in [Logins::Given([].into()), given("wrong")] {
        let repository = client(&place, logins).repository(&reference).unwrap();
        let error = repository.resolve(&reference.version()).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized(_)), "{error}");
    }
    let repository = client(&place, given(PASSWORD)).repository(&reference).unwrap();
    repository.push_blob(&blob(), Bytes::from_static(BLOB)).await.unwrap();
    let pushed = repository.push_manifest(Some("v1"), MANIFEST_TYPE, manifest().into()).await.unwrap();
    assert_eq!(repository.resolve(&Version::Tag("v1".to_owned())).await.unwrap().digest(), &pushed);

    // What oras leaves after its login is found as well.
    for suite in SUITES {
        let file = place.path(&format!("{suite}.json"));
        let mut login = place.debian(suite, "oras");
        login.args(["login", "--plain-http", "--registry-config"]).arg(&file);
        succeeds(login.args(["--username", "me", "--password", PASSWORD, &address]));
        let repository = client(&place, Logins::Files(vec![file])).repository(&reference).unwrap();
        assert_eq!(read_blob(&*repository, &blob(), 100).await.unwrap(), BLOB, "{suite}");
    }
}
