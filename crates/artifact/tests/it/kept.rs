//! What the store keeps together: records, memory of tags and signatures, and collections beside pulls.

use std::{
    fs::{self, File, FileTimes},
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use samara_artifact::{
    Descriptor, Digest, Error, ImageLayout, Progress, Repository, Store, Version,
    repository::{read_blob, sha256},
    store::{CopyOptions, Record, Removed, copy},
};
use serde_json::json;
use tempfile::TempDir;

use crate::memory::{Manner, Memory};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const HOUR: Duration = Duration::from_secs(60 * 60);

fn place() -> (TempDir, Store) {
    let directory = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

/// An artifact under a tag: `own` bytes of its own, and a configuration that it shares with all others.
async fn publish(memory: &Memory, tag: &str, own: usize) -> Descriptor {
    let config = memory.add("application/vnd.wasm.config.v0+json", "{}");
    let mut layer = vec![1; own];
    layer.extend_from_slice(tag.as_bytes());
    let layer = memory.add("application/wasm", layer);
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
    let digest = memory.push_manifest(Some(tag), MANIFEST, manifest.to_string().into()).await.unwrap();
    memory.resolve(&Version::Digest(digest)).await.unwrap()
}

/// Pulls it as a program does: what is asked is asked through the store, the layer is fetched.
async fn pull(store: &Store, memory: &Arc<Memory>, tag: &str) -> Result<Descriptor, Error> {
    let repository = store.before(memory.clone()).await?;
    let root = repository.resolve(&Version::Tag(tag.to_owned())).await?;
    read(&repository, &root).await?;
    repository.keep(&format!("memory:{tag}"), &root, "module").await?;
    Ok(root)
}

async fn read(repository: &samara_artifact::store::Remembered, root: &Descriptor) -> Result<(), Error> {
    let manifest: serde_json::Value = serde_json::from_slice(&repository.manifest(root.digest()).await?).unwrap();
    let config: Descriptor = serde_json::from_value(manifest["config"].clone()).unwrap();
    read_blob(repository, &config, 1000).await?;
    let layer: Descriptor = serde_json::from_value(manifest["layers"][0].clone()).unwrap();
    repository.fetch(&layer, u64::MAX, &Progress::default()).await?;
    Ok(())
}

/// Lets everything in the store be as old as this.
fn age(store: &Store, folder: &str, ago: Duration) {
    for entry in fs::read_dir(store.directory().join(folder)).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        file.set_times(FileTimes::new().set_modified(SystemTime::now() - ago)).unwrap();
    }
}

fn names(store: &Store) -> Vec<String> {
    store.list().unwrap().into_iter().map(|entry| entry.name.unwrap_or_else(|| "?".to_owned())).collect()
}

fn blobs(store: &Store) -> usize {
    fs::read_dir(store.directory().join("blobs/sha256")).unwrap().count()
}

fn digest(tag: &str) -> Version {
    Version::Tag(tag.to_owned())
}

#[tokio::test]
async fn what_was_pulled_is_listed_and_costs_no_request_again() {
    let (_directory, store) = place();
    let memory = Arc::new(Memory::new(Manner::default()));
    let root = publish(&memory, "v1", 5000).await;
    pull(&store, &memory, "v1").await.unwrap();
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    let size = 5002 + 2 + root.size();
    assert_eq!((listed[0].name.as_deref(), &listed[0].digest), (Some("memory:v1"), root.digest()));
    assert_eq!((listed[0].kind.as_str(), listed[0].bytes), ("module", size));
    let requests = memory.requests.load(Ordering::Relaxed);
    pull(&store, &memory, "v1").await.unwrap();
    assert_eq!(memory.requests.load(Ordering::Relaxed), requests);
    // By tag and by digest from memory alone.
    let offline = store.remembered("memory").await.unwrap();
    assert_eq!(offline.resolve(&digest("v1")).await.unwrap(), root);
    assert_eq!(offline.resolve(&Version::Digest(root.digest().clone())).await.unwrap(), root);
    read(&offline, &root).await.unwrap();
    let error = offline.resolve(&digest("v2")).await.unwrap_err();
    assert!(matches!(&error, Error::Unasked(why) if why.contains("is not in the store")), "{error}");
}

#[tokio::test]
async fn a_digest_is_only_known_of_the_repository_it_came_from() {
    let (_directory, store) = place();
    let memory = Arc::new(Memory::new(Manner::default()));
    let root = publish(&memory, "v1", 10).await;
    pull(&store, &memory, "v1").await.unwrap();
    let other = store.remembered("registry.example/team-a/x").await.unwrap();
    let version = Version::Digest(root.digest().clone());
    assert!(matches!(other.resolve(&version).await, Err(Error::NotFound(_))));
    assert!(matches!(other.manifest(root.digest()).await, Err(Error::NotFound(_))));
    let mut empty = Memory::default();
    empty.name = "registry.example/team-a/x".to_owned();
    let live = store.before(Arc::new(empty)).await.unwrap();
    assert!(matches!(live.resolve(&version).await, Err(Error::NotFound(_))), "it must be asked");
}

#[tokio::test]
async fn a_tag_that_moved_is_asked_for_and_signatures_are_remembered() {
    let (_directory, store) = place();
    let memory = Arc::new(Memory::new(Manner::default()));
    let first = publish(&memory, "v1", 10).await;
    let signature = memory.add("application/x", "signature");
    let signed = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": signature, "layers": [], "subject": first,
    });
    let signed = memory.push_manifest(None, MANIFEST, signed.to_string().into()).await.unwrap();
    let live = store.before(memory.clone()).await.unwrap();
    live.resolve(&digest("v1")).await.unwrap();
    live.manifest(first.digest()).await.unwrap();
    assert_eq!(live.referrers(first.digest()).await.unwrap()[0].digest(), &signed);
    live.manifest(&signed).await.unwrap();
    read_blob(&live, &signature, 1000).await.unwrap();
    live.keep("memory:v1", &first, "module").await.unwrap();
    // A second pull that looks at no signature forgets none.
    pull(&store, &memory, "v1").await.unwrap();
    let offline = store.remembered("memory").await.unwrap();
    assert_eq!(offline.referrers(first.digest()).await.unwrap()[0].digest(), &signed);
    offline.manifest(&signed).await.unwrap();
    assert_eq!(read_blob(&offline, &signature, 1000).await.unwrap(), "signature");
    let config = memory.add("application/x", "moved");
    let second = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [config] });
    let second = memory.push_manifest(Some("v1"), MANIFEST, second.to_string().into()).await.unwrap();
    assert_eq!(pull(&store, &memory, "v1").await.unwrap().digest(), &second);
    assert_eq!(names(&store).iter().filter(|name| *name == "memory:v1").count(), 1);
}

#[tokio::test]
async fn an_artifact_comes_out_of_a_tar_into_the_store_and_back() {
    let (directory, store) = place();
    let memory = Memory::new(Manner::default());
    let root = publish(&memory, "v1", 100_000).await;
    let tar = directory.path().join("x.tar");
    let layout = ImageLayout::create(&tar, true).await.unwrap();
    copy(&memory, &digest("v1"), &layout, Some("v1"), &CopyOptions::default()).await.unwrap();
    layout.finish().await.unwrap();
    let layout = ImageLayout::open(&tar, true).await.unwrap();
    let into = store.remembered("registry.example/x").await.unwrap();
    copy(&layout, &digest("v1"), &into, Some("v1"), &CopyOptions::default()).await.unwrap();
    into.keep("registry.example/x:v1", &root, "module").await.unwrap();
    drop(into);
    let loaded = store.remembered("registry.example/x").await.unwrap();
    assert_eq!(loaded.resolve(&digest("v1")).await.unwrap().digest(), root.digest());
    let back = Memory::new(Manner::default());
    copy(&loaded, &digest("v1"), &back, Some("v1"), &CopyOptions::default()).await.unwrap();
    assert_eq!(back.resolve(&digest("v1")).await.unwrap().digest(), root.digest());
}

#[tokio::test]
async fn whole_artifacts_go_the_least_recently_used_first() {
    let (_directory, store) = place();
    let memory = Arc::new(Memory::new(Manner::default()));
    for (tag, ago) in [("v1", 4), ("v2", 3), ("v3", 2), ("v4", 1)] {
        publish(&memory, tag, 10_000).await;
        pull(&store, &memory, tag).await.unwrap();
        let record = newest_record(&store);
        record.set_times(FileTimes::new().set_modified(SystemTime::now() - HOUR * ago)).unwrap();
    }
    age(&store, "blobs/sha256", HOUR);
    assert_eq!(names(&store), ["memory:v4", "memory:v3", "memory:v2", "memory:v1"]);
    assert_eq!(blobs(&store), 9, "the configuration is shared");
    let removed = store.gc(u64::MAX, Some(HOUR * 7 / 2)).unwrap();
    assert_eq!((removed.artifacts, names(&store).len(), blobs(&store)), (1, 3, 7));
    // Used again: now the first to stay.
    pull(&store, &memory, "v2").await.unwrap();
    store.gc(22_000, None).unwrap();
    assert_eq!(names(&store), ["memory:v2", "memory:v4"]);
    assert_eq!(blobs(&store), 5);
    assert_eq!(store.gc(22_000, None).unwrap(), Removed::default());
    let offline = store.remembered("memory").await.unwrap();
    for tag in ["v2", "v4"] {
        let root = offline.resolve(&digest(tag)).await.unwrap();
        read(&offline, &root).await.unwrap();
    }
    drop(offline);
    store.clear().unwrap();
    assert_eq!((names(&store).len(), blobs(&store)), (0, 0));
}

/// The record that was written last.
fn newest_record(store: &Store) -> File {
    let records = fs::read_dir(store.directory().join("records")).unwrap();
    let newest =
        records.map(|entry| entry.unwrap().path()).max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    File::open(newest.unwrap()).unwrap()
}

#[tokio::test]
async fn a_store_has_a_bound_without_being_asked() {
    let (directory, _) = place();
    let store = Store::open_bounded(directory.path(), 25_000).unwrap();
    let memory = Arc::new(Memory::new(Manner::default()));
    for tag in ["v1", "v2", "v3", "v4"] {
        publish(&memory, tag, 10_000).await;
        pull(&store, &memory, tag).await.unwrap();
    }
    let total: u64 = store.list().unwrap().iter().map(|entry| entry.bytes).sum();
    assert!(names(&store).contains(&"memory:v4".to_owned()) && total <= 25_000, "{:?}", store.list());
}

#[tokio::test]
async fn what_is_open_is_not_collected() {
    let (_directory, store) = place();
    let blob = store.put(Bytes::from_static(b"open")).await.unwrap();
    age(&store, "blobs/sha256", HOUR * 48);
    store.clear().unwrap();
    assert_eq!(blobs(&store), 1);
    assert_eq!(blob.read().await.unwrap(), "open");
    drop(blob);
    let removed = store.clear().unwrap();
    assert_eq!((removed.bytes, blobs(&store)), (4, 0));
}

#[tokio::test]
async fn what_a_dead_writer_left_is_swept_when_nobody_comes_back() {
    let (_directory, store) = place();
    let partial = store.directory().join("partial");
    let digest: Digest = sha256(b"");
    let resumable = format!("sha256-{}", digest.digest());
    let left = || {
        fs::write(partial.join("new-0123"), "x").unwrap();
        fs::write(partial.join(&resumable), "x").unwrap();
        fs::write(store.directory().join("records/new-4567"), "x").unwrap();
    };
    let found = || {
        let mut names: Vec<_> =
            fs::read_dir(&partial).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    left();
    store.gc(u64::MAX, None).unwrap();
    assert_eq!(found().len(), 2, "they may be of this moment");
    assert_eq!(fs::read_dir(store.directory().join("records")).unwrap().count(), 0);
    age(&store, "partial", HOUR);
    store.gc(u64::MAX, None).unwrap();
    assert_eq!(found(), [resumable.as_str()]);
    age(&store, "partial", HOUR * 25);
    store.gc(u64::MAX, None).unwrap();
    assert_eq!(found(), [""; 0]);
    // But not from somebody who is writing.
    left();
    age(&store, "partial", HOUR * 25);
    let held = File::open(partial.join("new-0123")).unwrap();
    held.lock().unwrap();
    store.clear().unwrap();
    assert_eq!(found(), ["new-0123"]);
}

#[tokio::test]
async fn a_record_that_is_damaged_is_no_record() {
    let (_directory, store) = place();
    let memory = Arc::new(Memory::new(Manner::default()));
    publish(&memory, "v1", 10).await;
    pull(&store, &memory, "v1").await.unwrap();
    for text in ["", "{}", "[1", "\0"] {
        fs::write(store.directory().join("records/0123456789abcdef-x.json"), text).unwrap();
        assert_eq!(names(&store), ["memory:v1"]);
        pull(&store, &memory, "v1").await.unwrap();
    }
}

#[tokio::test]
async fn a_record_is_small_whatever_strangers_annotate_and_is_never_lost_from_sight() {
    let (_directory, store) = place();
    let memory = Arc::new(Memory::new(Manner::default()));
    let mut root = publish(&memory, "v1", 10).await;
    store.before(memory.clone()).await.unwrap().manifest(root.digest()).await.unwrap();
    let long = |bytes: usize| Some([("note".to_owned(), "x".repeat(bytes))].into());
    let mut referrer = Descriptor::new("application/x".into(), 1, sha256(b"signature"));
    referrer.set_artifact_type(Some("application/y".into()));
    let plain = referrer.clone();
    referrer.set_annotations(long(5 << 20));
    root.set_annotations(long(5 << 20));
    let mut record = Record {
        name: "memory:v1".to_owned(),
        repository: "memory".to_owned(),
        root: root.clone(),
        kind: "module".to_owned(),
        tags: [("v1".to_owned(), root.clone())].into(),
        absent: [].into(),
        referrers: [(root.digest().to_string(), vec![referrer])].into(),
        blobs: [(root.digest().to_string(), root.size())].into(),
    };
    store.keep(&record).unwrap();
    assert!(newest_record(&store).metadata().unwrap().len() < 2000);
    let offline = store.remembered("memory").await.unwrap();
    assert_eq!(offline.referrers(root.digest()).await.unwrap(), vec![plain.clone()]);
    // Kept again, it is known to be the same.
    store.keep(&record).unwrap();
    // So many that even their digests are too much are refused, and what was kept before stays.
    record.referrers.insert(sha256(b"more").to_string(), vec![plain; 20_000]);
    let error = store.keep(&record).unwrap_err();
    assert!(matches!(&error, Error::OverLimit(why) if why.contains("at most 2097152 are kept")), "{error}");
    assert_eq!(names(&store), ["memory:v1"]);
    // What nobody reads as a record is not left lying about.
    let records = store.directory().join("records");
    fs::write(records.join("0123456789abcdef-x.json"), " ".repeat(3 << 20)).unwrap();
    fs::write(records.join("0123456789abcdef-y.json"), "{}").unwrap();
    std::os::unix::fs::symlink("/", records.join("0123456789abcdef-z.json")).unwrap();
    store.gc(u64::MAX, None).unwrap();
    assert_eq!((names(&store).len(), fs::read_dir(&records).unwrap().count()), (1, 1));
    store.clear().unwrap();
    assert_eq!(fs::read_dir(&records).unwrap().count(), 0);
}

#[tokio::test]
async fn what_was_cleared_meanwhile_is_not_said_to_be_kept() {
    let (_directory, store) = place();
    let memory = Arc::new(Memory::new(Manner::default()));
    let root = publish(&memory, "v1", 10).await;
    let repository = store.before(memory.clone()).await.unwrap();
    read(&repository, &root).await.unwrap();
    fs::remove_file(store.directory().join("blobs/sha256").join(root.digest().digest())).unwrap();
    let error = repository.keep("memory:v1", &root, "module").await.unwrap_err();
    assert!(matches!(&error, Error::NotFound(why) if why.contains("is not in the store any more")), "{error}");
    assert!(store.list().unwrap().iter().all(|entry| entry.name.is_none()));
}

/// Pulls and collections at once, over several handles of one store: each is a process, as far as locks are concerned. What
/// is recorded is whole, whoever collected.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn collections_beside_pulls_break_no_artifact() {
    let (directory, store) = place();
    let memory = Arc::new(Memory::new(Manner { chunk: 512, ..Manner::default() }));
    for tag in 0..8 {
        publish(&memory, &format!("v{tag}"), 20_000).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..6 {
        let (memory, store) = (memory.clone(), Store::open(directory.path()).unwrap());
        tasks.spawn(async move {
            for turn in 0..20 {
                let tag = format!("v{}", (worker + turn) % 8);
                pull(&store, &memory, &tag).await.unwrap();
                assert_whole(&store).await;
            }
        });
    }
    for max_bytes in [0, 30_000, 90_000] {
        let store = Store::open(directory.path()).unwrap();
        tasks.spawn(async move {
            for _ in 0..40 {
                let store = store.clone();
                tokio::task::spawn_blocking(move || store.gc(max_bytes, None).unwrap()).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_whole(&store).await;
    store.gc(0, None).unwrap();
    assert_eq!(names(&store).iter().filter(|name| *name != "?").count(), 0);
}

/// Everything in every record is there, while no collection runs: the lock that records are written under is taken.
async fn assert_whole(store: &Store) {
    let directory = store.directory().to_owned();
    tokio::task::spawn_blocking(move || {
        let lock = File::open(directory.join("lock")).unwrap();
        lock.lock_shared().unwrap();
        for entry in fs::read_dir(directory.join("records")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            for digest in record["blobs"].as_object().unwrap().keys() {
                let blob = directory.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap());
                assert!(blob.exists(), "{} lacks {digest}", record["name"]);
            }
        }
    })
    .await
    .unwrap();
}
