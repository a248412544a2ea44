//! The store under several processes, killed at any moment: the tests run this binary again as their children.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Stdio,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use samara_artifact::{
    Descriptor, Error, Progress, Repository as _, Store, Version,
    repository::{read_blob, sha256},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::sleep,
};

use crate::{
    memory::{Manner, Memory},
    store::noise,
};

/// Where a child finds its store.
const DIRECTORY: &str = "SAMARA_TEST_STORE";
const LAYER_BYTES: usize = 2 << 20;
const TAGS: [&str; 3] = ["v0", "v1", "v2"];
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn private_directory() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// This binary as a child that runs one test, which sees that it is one by [`DIRECTORY`].
fn child(test: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("killed::{test}"), "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Tells the parent something.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).unwrap();
}

/// The next line of a child that says `word`, without it.
async fn line(child: &mut Child, word: &str) -> Option<String> {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, rest)) = line.split_once(word) {
            return Some(rest.trim().to_owned());
        }
    }
    None
}

/// The same repository in every process, slow enough to be met in the middle.
async fn published(pause: Duration) -> Arc<Memory> {
    let memory = Memory::new(Manner { chunk: 256 << 10, pause, ..Manner::default() });
    let config = memory.add("application/vnd.wasm.config.v0+json", "{}");
    for (seed, tag) in (1..).zip(TAGS) {
        let layer = memory.add("application/wasm", noise(4096, seed).repeat(LAYER_BYTES / 4096));
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
        memory.push_manifest(Some(tag), MANIFEST, manifest.to_string().into()).await.unwrap();
    }
    Arc::new(memory)
}

async fn layer(memory: &Memory, tag: &str) -> (Descriptor, Descriptor, Descriptor) {
    let root = memory.resolve(&Version::Tag(tag.to_owned())).await.unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&memory.manifest(root.digest()).await.unwrap()).unwrap();
    let part = |value: &serde_json::Value| serde_json::from_value(value.clone()).unwrap();
    (root, part(&manifest["config"]), part(&manifest["layers"][0]))
}

async fn pull(store: &Store, memory: &Arc<Memory>, tag: &str) -> Result<(), Error> {
    let (root, config, layer) = layer(memory, tag).await;
    let repository = store.before(memory.clone()).await?;
    repository.resolve(&Version::Tag(tag.to_owned())).await?;
    repository.manifest(root.digest()).await?;
    read_blob(&repository, &config, 1000).await?;
    repository.fetch(&layer, u64::MAX, &Progress::default()).await?;
    repository.keep(&format!("memory:{tag}"), &root, "module").await
}

/// Every name says what is in its file, and everything in every record is there.
fn assert_sound(directory: &Path) {
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let mut blobs = BTreeMap::new();
    for entry in fs::read_dir(directory.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(sha256(&read(&path)).digest(), name, "a half file has a digest for a name");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
        blobs.insert(format!("sha256:{name}"), ());
    }
    for entry in fs::read_dir(directory.join("records")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let record: serde_json::Value = serde_json::from_slice(&read(&path)).expect("a record is whole");
            for digest in record["blobs"].as_object().unwrap().keys() {
                assert!(blobs.contains_key(digest), "{} lacks {digest}", record["name"]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_at_any_moment_leave_the_store_sound() {
    let memory = published(Duration::from_millis(1)).await;
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        // The child: pulls and collects for ever.
        let store = Store::open(directory).unwrap();
        say("ready");
        for turn in std::process::id() as usize.. {
            pull(&store, &memory, TAGS[turn % TAGS.len()]).await.unwrap();
            let collected = store.clone();
            let max_bytes = if turn % 3 == 0 { 0 } else { LAYER_BYTES as u64 * 2 };
            tokio::task::spawn_blocking(move || collected.gc(max_bytes, None).unwrap()).await.unwrap();
        }
    }
    let directory = private_directory();
    let mut found_partial = 0;
    for turn in 0..50u64 {
        let mut children =
            [(); 2].map(|()| child("a_hundred_kills_at_any_moment_leave_the_store_sound", directory.path()));
        for (other, child) in (0..).zip(&mut children) {
            line(child, "ready").await.unwrap();
            // From at once to after some pulls, at other moments for the two.
            sleep(Duration::from_micros((turn * 7919 + other * 3571) % 40_000)).await;
            child.kill().await.unwrap();
        }
        assert_sound(directory.path());
        found_partial += fs::read_dir(directory.path().join("partial")).unwrap().count();
    }
    assert!(found_partial > 0, "no kill came in the middle of a download");
    let store = Store::open(directory.path()).unwrap();
    for tag in TAGS {
        pull(&store, &memory, tag).await.unwrap();
    }
    assert_sound(directory.path());
    assert_eq!(store.list().unwrap().iter().filter(|entry| entry.name.is_some()).count(), TAGS.len());
    store.clear().unwrap();
    for folder in ["blobs/sha256", "partial", "records"] {
        assert_eq!(fs::read_dir(directory.path().join(folder)).unwrap().count(), 0, "{folder}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_pull_the_same_download_it_once() {
    let memory = published(Duration::from_millis(20)).await;
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let store = Store::open(directory).unwrap();
        let (_, _, layer) = layer(&memory, "v1").await;
        store.fetch(memory.as_ref(), &layer, u64::MAX, &Progress::default()).await.unwrap();
        say(&format!("requests {}", memory.requests.load(Ordering::Relaxed)));
        return;
    }
    let directory = private_directory();
    let mut children = [(); 5].map(|()| child("processes_that_pull_the_same_download_it_once", directory.path()));
    let mut requests = 0;
    for child in &mut children {
        requests += line(child, "requests ").await.unwrap().parse::<usize>().unwrap();
        assert!(child.wait().await.unwrap().success());
    }
    assert_eq!(requests, 1);
    assert_sound(directory.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_process_that_downloads_is_killed_the_next_goes_on() {
    // The child never ends by itself.
    let slow = std::env::var_os(DIRECTORY).is_some();
    let memory = published(if slow { Duration::from_millis(200) } else { Duration::ZERO }).await;
    let (_, _, layer) = layer(&memory, "v1").await;
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let store = Store::open(directory).unwrap();
        store.fetch(memory.as_ref(), &layer, u64::MAX, &Progress::default()).await.unwrap();
        return;
    }
    let directory = private_directory();
    let store = Store::open(directory.path()).unwrap();
    let mut child = child("when_the_process_that_downloads_is_killed_the_next_goes_on", directory.path());
    let partial = directory.path().join(format!("partial/sha256-{}", layer.digest().digest()));
    while !fs::metadata(&partial).is_ok_and(|file| file.len() >= 1 << 20) {
        sleep(Duration::from_millis(5)).await;
    }
    let progress = Progress::default();
    let fetch = store.fetch(memory.as_ref(), &layer, u64::MAX, &progress);
    tokio::pin!(fetch);
    let waits = tokio::time::timeout(Duration::from_millis(50), &mut fetch).await;
    assert!(waits.is_err() && memory.requests.load(Ordering::Relaxed) == 0, "it does not wait");
    child.kill().await.unwrap();
    fetch.await.unwrap();
    assert_eq!(*memory.offsets.lock(), [1 << 20]);
    assert_sound(directory.path());
}

#[tokio::test]
async fn a_disk_that_is_full_is_told_and_gets_its_room_back() {
    let memory = published(Duration::ZERO).await;
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        // Writing beyond the limit is an error rather than the end, once somebody listens to the signal.
        let _signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(
            rustix::process::Signal::XFSZ.as_raw(),
        ))
        .unwrap();
        let limit = rustix::process::Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        let store = Store::open(&directory).unwrap();
        let error = pull(&store, &memory, "v1").await.unwrap_err();
        assert!(matches!(&error, Error::Disk(why) if why.contains("writing to")), "{error}");
        let error = store.put(noise(LAYER_BYTES, 9)).await.unwrap_err();
        assert!(matches!(&error, Error::Disk(why) if why.contains("writing to")), "{error}");
        say("refused");
        return;
    }
    let directory = private_directory();
    let mut child = child("a_disk_that_is_full_is_told_and_gets_its_room_back", directory.path());
    line(&mut child, "refused").await.expect("the child failed; its words are above");
    assert!(child.wait().await.unwrap().success());
    assert_sound(directory.path());
    assert_eq!(fs::read_dir(directory.path().join("partial")).unwrap().count(), 0);
    let store = Store::open(directory.path()).unwrap();
    pull(&store, &memory, "v1").await.unwrap();
    assert_sound(directory.path());
}
