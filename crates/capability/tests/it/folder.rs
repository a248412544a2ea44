//! Blobs in a folder when the process is killed, the disk is full, or somebody else has been in the folder.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use samara_capability::blob::{
    Attributes, Blob, BlobError, Place, Usage,
    check::{get, names, pattern, put},
    open,
};
use tempfile::TempDir;

/// Names the folder of the child that a test starts of itself.
const FOLDER: &str = "SAMARA_TEST_BLOBS";

async fn at(path: &Path) -> Arc<dyn Blob> {
    open(&format!("fs:{}", path.display()), &toml::Table::new()).await.unwrap()
}

/// This test again, in a process of its own.
fn child(test: &str, folder: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(FOLDER, folder).stdout(Stdio::piped());
    child.spawn().unwrap()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "said: {line}").unwrap();
    out.flush().unwrap();
}

/// Everything in a folder that is a file, with its size.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        // Writing beyond the limit is an error rather than the end, once somebody listens to the signal.
        let signal = tokio::signal::unix::SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        let _signal = tokio::signal::unix::signal(signal).unwrap();
        let limit = rustix::process::Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        let store = at(Path::new(&folder)).await;
        let refused =
            |error: BlobError| assert!(matches!(&error, BlobError::Backend(why) if why.contains("disk")), "{error}");
        refused(put(&*store, "c", "o", pattern(2 << 20)).await.unwrap_err());
        let mut upload = store.put("c", "o", Attributes::default()).await.unwrap();
        refused(upload.write(pattern(2 << 20)).await.unwrap_err());
        assert!(upload.finish().await.is_err());
        let large = Place { container: "c", object: "large" };
        refused(store.copy(large, Place { container: "c", object: "copy" }).await.unwrap_err());
        say("refused");
        return;
    }
    let folder = TempDir::new().unwrap();
    let store = at(folder.path()).await;
    store.create_container("c").await.unwrap();
    put(&*store, "c", "o", "old".into()).await.unwrap();
    put(&*store, "c", "large", pattern(3 << 20)).await.unwrap();
    let mut child = child("folder::a_full_disk_is_told_and_leaves_nothing", folder.path());
    let said: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
    assert!(said.iter().any(|line| line.ends_with("said: refused")), "the child failed; its words are above");
    assert!(child.wait().unwrap().success());
    assert_eq!(get(&*store, "c", "o").await.unwrap(), "old");
    assert_eq!(names(&*store, "c", "", 10).await.unwrap(), ["large".to_owned(), "o".to_owned()].into());
    assert_eq!(files(&folder.path().join("incoming")), Vec::<PathBuf>::new(), "what was begun is removed");
}

/// Objects whose bytes say which version they are, so that one that is mixed or cut is noticed.
fn version(number: u32) -> bytes::Bytes {
    let length = 1 + number as usize * 7919 % 300_000;
    vec![number.to_le_bytes(); length].concat().into()
}

#[tokio::test]
async fn a_kill_at_any_moment_loses_nothing_that_was_answered() {
    const KILLS: u32 = 30;
    const OBJECTS: u32 = 3;
    if let Some(folder) = std::env::var_os(FOLDER) {
        let store = at(Path::new(&folder)).await;
        let first = std::env::var("SAMARA_TEST_FIRST").unwrap().parse().unwrap();
        for number in first.. {
            let object = format!("o{}", number % OBJECTS);
            put(&*store, "c", &object, version(number)).await.unwrap();
            say(&number.to_string());
        }
    }
    let folder = TempDir::new().unwrap();
    at(folder.path()).await.create_container("c").await.unwrap();
    let mut answered = BTreeMap::<u32, u32>::new();
    let mut next = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "folder::a_kill_at_any_moment_loses_nothing_that_was_answered", "--nocapture"]);
        child.env(FOLDER, folder.path()).env("SAMARA_TEST_FIRST", next.to_string()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let numbers = lines.by_ref().filter_map(|line| line.rsplit_once("said: ")?.1.parse::<u32>().ok());
        // It is killed while it goes on with the write after the last that was heard of here.
        let mut heard: Vec<u32> = numbers.take(1 + kill as usize % 4).collect();
        child.kill().unwrap();
        heard.extend(lines.filter_map(|line| line.rsplit_once("said: ")?.1.parse::<u32>().ok()));
        child.wait().unwrap();
        assert!(!heard.is_empty(), "the child failed; its words are above");
        answered.extend(heard.iter().map(|number| (number % OBJECTS, *number)));
        let last = heard.last().copied().unwrap();
        next = last + 1;

        let store = at(folder.path()).await;
        for (object, number) in &answered {
            let read = get(&*store, "c", &format!("o{object}")).await.unwrap();
            // The write that nobody answered may have happened.
            let unanswered = (next % OBJECTS == *object).then(|| version(next));
            assert!(read == version(*number) || Some(read) == unanswered, "object {object} is not version {number}");
        }
        let usage = store.usage("").await.unwrap();
        assert_eq!((usage.containers, usage.objects as usize), (1, names(&*store, "c", "", 10).await.unwrap().len()));
    }
}

#[tokio::test]
async fn links_and_files_of_others_are_not_followed_and_not_seen() {
    let (folder, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = at(folder.path()).await;
    store.create_container("c").await.unwrap();
    put(&*store, "c", "mine", "mine".into()).await.unwrap();
    let object = files(&folder.path().join("containers/_c/objects")).remove(0);
    let precious = outside.path().join("precious");
    fs::copy(&object, &precious).unwrap();

    // An object, a folder of objects and a container that lead elsewhere.
    fs::remove_file(&object).unwrap();
    symlink(&precious, &object).unwrap();
    symlink(outside.path(), folder.path().join("containers/_linked")).unwrap();
    for shard in 0..=255_u8 {
        let _ = symlink(outside.path(), folder.path().join(format!("containers/_c/objects/{shard:02x}")));
    }
    let refused = store.get("c", "mine", 0..1).await.unwrap_err();
    assert!(matches!(refused, BlobError::Backend(_)), "{refused}");
    assert!(put(&*store, "c", "other", "x".into()).await.is_err(), "nothing is written where a link leads");
    assert_eq!(names(&*store, "c", "", 10).await.unwrap(), [].into());
    // That a link stands there may be an error or nothing, but never what it leads to.
    assert_eq!(store.container("linked").await.unwrap_or_default(), None);
    assert_eq!(store.list_containers("", None, 10).await.unwrap().entries, ["c"]);
    assert_eq!(store.usage("").await, Ok(Usage { containers: 1, objects: 0, bytes: 0 }));
    assert_eq!(store.delete_container("c").await.unwrap().unwrap().objects, 0);
    assert_eq!(files(outside.path()), [precious], "what a link leads to is not removed with it");
}

#[tokio::test]
async fn damaged_files_are_told_and_not_believed() {
    let folder = TempDir::new().unwrap();
    let store = at(folder.path()).await;
    store.create_container("c").await.unwrap();
    put(&*store, "c", "o", pattern(1000)).await.unwrap();
    put(&*store, "c", "whole", "x".into()).await.unwrap();
    let object = files(&folder.path().join("containers/_c/objects"))
        .into_iter()
        .find(|path| path.file_name().unwrap() == "_o")
        .unwrap();
    let good = fs::read(&object).unwrap();
    let head_of = |length: u32| [b"samblob\x01".as_slice(), &length.to_le_bytes(), b"{}"].concat();
    let long_head = [b"samblob\x01".as_slice(), &u32::MAX.to_le_bytes(), b"{}"].concat();
    for damaged in [Vec::new(), b"short".to_vec(), vec![0; 5000], good[1..].to_vec(), head_of(3), long_head, head_of(0)]
    {
        fs::write(&object, &damaged).unwrap();
        let error = store.get("c", "o", 0..1).await.unwrap_err();
        assert!(matches!(error, BlobError::Backend(_)), "{damaged:?}: {error}");
        assert_eq!(names(&*store, "c", "", 10).await.unwrap(), ["whole".to_owned()].into());
    }
    // One that is cut is as long as it is: nothing says how long it was.
    fs::write(&object, &good).unwrap();
    let reader = store.get("c", "o", 0..u64::MAX).await.unwrap();
    fs::OpenOptions::new().write(true).open(&object).unwrap().set_len(100).unwrap();
    let error = reader.collect(1000).await.unwrap_err();
    assert!(matches!(&error, BlobError::Backend(why) if why.contains("cut while it was read")), "{error}");
}

#[tokio::test]
async fn what_a_crash_left_is_removed_when_the_store_is_opened() {
    let folder = TempDir::new().unwrap();
    drop(at(folder.path()).await);
    let (incoming, removed) = (folder.path().join("incoming"), folder.path().join("removed"));
    fs::write(incoming.join("old"), "x").unwrap();
    fs::create_dir_all(removed.join("container/objects/00")).unwrap();
    fs::write(removed.join("container/objects/00/_o"), "x").unwrap();
    fs::write(incoming.join("young"), "x").unwrap();
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 60 * 60);
    fs::File::options().write(true).open(incoming.join("old")).unwrap().set_modified(yesterday).unwrap();
    drop(at(folder.path()).await);
    assert_eq!(files(folder.path()), [incoming.join("young")], "another process may be writing that one");
}
