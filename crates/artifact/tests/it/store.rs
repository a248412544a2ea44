//! The content store: one download, resumed, checked, and sound whenever its writer is killed.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use samara_artifact::{Blob, Descriptor, Error, Progress, Store, Watch, store::StoreOptions};
use tempfile::TempDir;

use crate::memory::{Manner, Memory};

/// A blob of several writes.
const BLOB_BYTES: usize = 3 << 20;

fn private_directory() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// Bytes that look like nothing else.
pub(crate) fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// A store, a repository with one blob of noise in it.
fn place(manner: Manner) -> (TempDir, Store, Memory, Descriptor) {
    let directory = private_directory();
    let store = Store::open(directory.path().join("artifacts")).unwrap();
    let memory = Memory::new(manner);
    let blob = memory.add("application/wasm", noise(BLOB_BYTES, 1));
    (directory, store, memory, blob)
}

async fn fetch(store: &Store, memory: &Memory, blob: &Descriptor) -> Result<Blob, Error> {
    store.fetch(memory, blob, u64::MAX, &Progress::default()).await
}

fn files(store: &Store, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(store.directory().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Every name in the store says what is in the file.
fn assert_sound(store: &Store) {
    for name in files(store, "blobs/sha256") {
        let path = store.directory().join("blobs/sha256").join(&name);
        let found = samara_artifact::repository::sha256(&fs::read(&path).unwrap());
        assert_eq!(found.digest(), name, "a half file has a digest for a name");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
    }
}

#[tokio::test]
async fn a_blob_is_fetched_once_and_then_found() {
    let (_directory, store, memory, blob) = place(Manner::default());
    assert!(store.get(blob.digest()).await.unwrap().is_none());
    let fetched = fetch(&store, &memory, &blob).await.unwrap();
    assert_eq!((fetched.digest(), fetched.size()), (blob.digest(), blob.size()));
    assert_eq!(fetched.read().await.unwrap(), noise(BLOB_BYTES, 1));
    fetch(&store, &memory, &blob).await.unwrap();
    assert_eq!(memory.requests.load(Ordering::Relaxed), 1);
    assert_eq!(files(&store, "partial"), [""; 0]);
    assert_sound(&store);
}

#[tokio::test]
async fn a_blob_is_read_from_any_place_by_several() {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let (_directory, store, _, _) = place(Manner::default());
    let blob = store.put(noise(BLOB_BYTES, 2)).await.unwrap();
    let (mut one, mut other) = (blob.open().unwrap(), blob.open().unwrap());
    one.seek(SeekFrom::Start(BLOB_BYTES as u64 - 3)).unwrap();
    let (mut end, mut start) = (Vec::new(), [0; 3]);
    one.read_to_end(&mut end).unwrap();
    other.read_exact(&mut start).unwrap();
    assert_eq!((&end[..], &start[..]), (&noise(BLOB_BYTES, 2)[BLOB_BYTES - 3..], &noise(3, 2)[..]));
    use futures::TryStreamExt as _;
    let pieces: Vec<Bytes> = blob.stream(1).chunks.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), noise(BLOB_BYTES, 2)[1..]);
}

#[tokio::test]
async fn what_is_wrong_leaves_nothing() {
    let check = async |manner: Manner, expected: &str| {
        let (_directory, store, memory, blob) = place(manner);
        let error = fetch(&store, &memory, &blob).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(expected), "{error:?}");
        assert_eq!(files(&store, "partial"), [""; 0]);
        assert_eq!(files(&store, "blobs/sha256"), [""; 0]);
    };
    check(Manner { flips: true, ..Manner::default() }, "what `memory` sent as `sha256:").await;
    check(Manner { surplus: 1, ..Manner::default() }, "is longer than the 3145728 bytes that its manifest says").await;
}

#[tokio::test]
async fn a_blob_over_its_limit_is_not_asked_for() {
    let (_directory, store, memory, blob) = place(Manner::default());
    let error = store.fetch(&memory, &blob, 1000, &Progress::default()).await.unwrap_err();
    assert!(matches!(&error, Error::OverLimit(why) if why.contains("at most 1000")), "{error:?}");
    assert_eq!(memory.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn another_algorithm_is_refused_before_it_is_a_path() {
    let (_directory, store, memory, _) = place(Manner::default());
    for digest in ["sha512:".to_owned() + &"ab".repeat(64), "x:..".to_owned()] {
        let Ok(digest) = digest.parse::<samara_artifact::Digest>() else { continue };
        let blob = Descriptor::new("application/wasm".into(), 3, digest);
        let error = fetch(&store, &memory, &blob).await.unwrap_err();
        assert!(error.to_string().contains("is not of sha256"), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_resumed_where_it_broke() {
    let (_directory, store, memory, blob) = place(Manner { breaks_after: Some(30), ..Manner::default() });
    fetch(&store, &memory, &blob).await.unwrap();
    assert_eq!(*memory.offsets.lock(), [0, 30 << 16]);
    assert_eq!(memory.sent.load(Ordering::Relaxed), blob.size());
}

#[tokio::test]
async fn a_connection_that_brings_nothing_is_given_up_but_what_came_is_kept() {
    let (_directory, store, mut memory, blob) =
        place(Manner { breaks_after: Some(1), chunk: 100, ..Manner::default() });
    let error = fetch(&store, &memory, &blob).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert_eq!(memory.requests.swap(0, Ordering::Relaxed), 9);
    memory.manner.breaks_after = Some(0);
    fetch(&store, &memory, &blob).await.unwrap_err();
    assert_eq!(memory.requests.load(Ordering::Relaxed), 1);
    // Another process would find it too: nothing of it is in memory.
    let again = Store::open(store.directory()).unwrap();
    memory.manner.breaks_after = None;
    fetch(&again, &memory, &blob).await.unwrap();
    assert_eq!(memory.offsets.lock()[9..], [900, 900]);
    assert_sound(&store);
}

#[tokio::test]
async fn a_server_that_cannot_begin_in_the_middle_begins_again() {
    let (_directory, store, memory, blob) = place(Manner { ignores_offset: true, ..Manner::default() });
    left_over(&store, &blob, &noise(1000, 1));
    fetch(&store, &memory, &blob).await.unwrap();
    assert_eq!(*memory.offsets.lock(), [1000]);
    assert_sound(&store);
}

#[tokio::test]
async fn a_server_that_begins_again_and_breaks_again_is_given_up() {
    let manner = Manner { ignores_offset: true, breaks_after: Some(30), ..Manner::default() };
    let (_directory, store, memory, blob) = place(manner);
    left_over(&store, &blob, &noise(1000, 1));
    let error = fetch(&store, &memory, &blob).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert_eq!(*memory.offsets.lock(), [1000], "it is not asked again for what it would send from the beginning");
}

/// What a process that died has left of a blob.
fn left_over(store: &Store, blob: &Descriptor, bytes: &[u8]) {
    fs::write(store.directory().join(format!("partial/sha256-{}", blob.digest().digest())), bytes).unwrap();
}

#[tokio::test]
async fn a_left_over_that_is_wrong_costs_a_second_download_and_no_more() {
    let (_directory, store, memory, blob) = place(Manner::default());
    for wrong in [noise(1000, 9), noise(BLOB_BYTES, 9), noise(BLOB_BYTES + 1, 1)] {
        left_over(&store, &blob, &wrong);
        let fetched = fetch(&store, &memory, &blob).await.unwrap();
        drop(fetched);
        assert_sound(&store);
        fs::remove_file(store.directory().join("blobs/sha256").join(blob.digest().digest())).unwrap();
    }
    // Resumed and begun again; whole but wrong; too long to be it.
    assert_eq!(*memory.offsets.lock(), [1000, 0, 0, 0]);
    left_over(&store, &blob, &noise(BLOB_BYTES, 1));
    fetch(&store, &memory, &blob).await.unwrap();
    assert_eq!(memory.requests.load(Ordering::Relaxed), 4, "it was whole already");
}

#[tokio::test]
async fn a_blob_that_the_disk_has_changed_is_fetched_again() {
    let (_directory, store, memory, blob) = place(Manner::default());
    fetch(&store, &memory, &blob).await.unwrap();
    let path = store.directory().join("blobs/sha256").join(blob.digest().digest());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, b"short").unwrap();
    assert!(store.get(blob.digest()).await.unwrap().is_none());
    fetch(&store, &memory, &blob).await.unwrap();
    assert_sound(&store);
}

/// Counts what it is told.
#[derive(Default)]
struct Counted(parking_lot::Mutex<(u64, u64)>);

impl Watch for Counted {
    fn total(&self, bytes: u64) {
        self.0.lock().0 += bytes;
    }
    fn received(&self, bytes: u64) {
        self.0.lock().1 += bytes;
    }
    fn step(&self, _: &str) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_are_one_download() {
    let (_directory, store, memory, blob) = place(Manner { pause: Duration::from_millis(2), ..Manner::default() });
    // Two handles of one directory are two processes, as far as locks on files are concerned.
    let other = Store::open(store.directory()).unwrap();
    let counted = Arc::new(Counted::default());
    let progress = Progress::new(counted.clone());
    let fetches = (0..64).map(|turn| {
        let store = if turn % 2 == 0 { &store } else { &other };
        store.fetch(&memory, &blob, u64::MAX, &progress)
    });
    for fetched in join_all(fetches).await {
        assert_eq!(fetched.unwrap().digest(), blob.digest());
    }
    assert_eq!(memory.requests.load(Ordering::Relaxed), 1);
    assert_eq!(*counted.0.lock(), (blob.size(), blob.size()));
    assert_sound(&store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn those_who_wait_learn_of_the_failure_and_those_who_come_later_try_again() {
    let (_directory, store, mut memory, blob) =
        place(Manner { flips: true, pause: Duration::from_millis(2), ..Manner::default() });
    let failed = join_all((0..8).map(|_| fetch(&store, &memory, &blob))).await;
    assert!(failed.iter().all(|fetched| matches!(fetched, Err(Error::Invalid(_)))), "{failed:?}");
    assert_eq!(memory.requests.load(Ordering::Relaxed), 1);
    memory.manner.flips = false;
    fetch(&store, &memory, &blob).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_repository_is_asked_when_the_first_fails() {
    let (_directory, store, mut bad, blob) =
        place(Manner { flips: true, pause: Duration::from_millis(2), ..Manner::default() });
    bad.name = "bad".to_owned();
    let good = Memory::new(Manner::default());
    good.add("application/wasm", noise(BLOB_BYTES, 1));
    let (one, other) = tokio::join!(fetch(&store, &bad, &blob), fetch(&store, &good, &blob));
    assert!(one.is_err() || bad.requests.load(Ordering::Relaxed) == 0);
    other.unwrap();
}

/// What is written of the blob that somebody downloads.
fn is_written(store: &Store, bytes: u64) -> bool {
    files(store, "partial")
        .iter()
        .any(|name| fs::metadata(store.directory().join("partial").join(name)).is_ok_and(|file| file.len() >= bytes))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_repository_does_not_hold_up_another() {
    let (directory, _, mut slow, blob) =
        place(Manner { chunk: 1 << 10, pause: Duration::from_millis(1), ..Manner::default() });
    slow.name = "slow".to_owned();
    let options = StoreOptions { patience: Duration::from_millis(100), ..StoreOptions::default() };
    let store = Store::open_with(directory.path().join("artifacts"), options).unwrap();
    let good = Memory::new(Manner::default());
    good.add("application/wasm", noise(BLOB_BYTES, 1));
    let slow = tokio::spawn({
        let (store, blob) = (store.clone(), blob.clone());
        async move { fetch(&store, &slow, &blob).await.map(drop) }
    });
    // It goes on and on: three thousand pieces of a millisecond at least.
    while !is_written(&store, 1 << 20) {
        tokio::task::yield_now().await;
    }
    let process = Store::open_with(store.directory(), options).unwrap();
    let (one, other) = tokio::join!(fetch(&store, &good, &blob), fetch(&process, &good, &blob));
    assert_eq!((one.unwrap().size(), other.unwrap().size()), (blob.size(), blob.size()));
    assert!(!slow.is_finished(), "the slow one was waited for");
    assert_sound(&store);
    slow.await.unwrap().unwrap();
    assert_sound(&store);
    assert_eq!(files(&store, "partial"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_one_is_cancelled_the_next_goes_on() {
    let (_directory, store, memory, blob) = place(Manner { pause: Duration::from_millis(2), ..Manner::default() });
    let memory = Arc::new(memory);
    let first = tokio::spawn({
        let (store, memory, blob) = (store.clone(), Arc::clone(&memory), blob.clone());
        async move { fetch(&store, &memory, &blob).await.map(drop) }
    });
    while !is_written(&store, 1 << 20) {
        tokio::task::yield_now().await;
    }
    let second = fetch(&store, &memory, &blob);
    first.abort();
    second.await.unwrap();
    let offsets = memory.offsets.lock().clone();
    assert!(matches!(offsets[..], [0, 1048576 | 2097152]), "{offsets:?}");
    assert_sound(&store);
}

#[test]
fn a_place_that_is_not_ours_is_refused() {
    let directory = private_directory();
    let check = |path: &Path, expected: &str| {
        let error = Store::open(path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let open_to_all = directory.path().join("open");
    fs::create_dir(&open_to_all).unwrap();
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o755)).unwrap();
    check(&open_to_all, "others may enter it (mode 755); `chmod 700` it");
    let link = directory.path().join("link");
    symlink(directory.path(), &link).unwrap();
    check(&link, "it is a symbolic link");
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    check(&file, "opening the artifact store");
}

#[tokio::test]
async fn a_link_or_a_pipe_in_a_blobs_place_is_not_followed() {
    let (directory, store, memory, blob) = place(Manner::default());
    let outside = directory.path().join("outside");
    fs::write(&outside, noise(BLOB_BYTES, 1)).unwrap();
    let path = store.directory().join("blobs/sha256").join(blob.digest().digest());
    symlink(&outside, &path).unwrap();
    let error = fetch(&store, &memory, &blob).await.unwrap_err().to_string();
    assert!(error.contains("it is not a regular file"), "{error}");
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let error = fetch(&store, &memory, &blob).await.unwrap_err().to_string();
    assert!(error.contains("it is not a regular file"), "{error}");
    fs::remove_file(&path).unwrap();
    symlink(&outside, store.directory().join(format!("partial/sha256-{}", blob.digest().digest()))).unwrap();
    fetch(&store, &memory, &blob).await.unwrap_err();
    assert_eq!(fs::read(&outside).unwrap(), noise(BLOB_BYTES, 1));
}
