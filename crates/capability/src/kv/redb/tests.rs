//! The embedded store in bad weather: power that goes, disks that are full or fail, files that are somebody else's.

#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use parking_lot::Mutex;
use redb::{Database, DatabaseError, StorageBackend};

use super::{
    super::{KeyValue, KvError, NoWorkloads, open},
    Embedded, Medium, READERS,
};

/// Bytes that the machine caches of a disk as one piece: a power cut keeps or loses each by itself.
const SECTOR: usize = 512;

const SOON: Duration = Duration::from_secs(60);

/// A disk whose power can be cut, and which can be full or broken.
#[derive(Debug)]
struct Disk {
    state: Mutex<State>,
    /// Bytes that still fit; what is written over does not count.
    room: AtomicI64,
    /// Syncs until one fails; below 0: none does.
    syncs: AtomicI64,
    /// Whether the library meets its end when it is closed.
    panics: AtomicBool,
    /// How often it was cut: what was plugged in before has none.
    power: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// What a reader sees.
    now: Vec<u8>,
    /// What has been synced.
    synced: Vec<u8>,
    /// Sectors that were written since.
    dirty: BTreeMap<usize, ()>,
}

/// A disk as one process sees it, until the power goes.
#[derive(Clone, Debug)]
struct Plugged {
    disk: Arc<Disk>,
    power: u64,
}

impl Disk {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            room: AtomicI64::new(i64::MAX),
            syncs: AtomicI64::new(-1),
            panics: AtomicBool::new(false),
            power: AtomicU64::new(0),
        })
    }

    /// Cuts the power: what was not synced is lost, sector by sector, or has reached the disk by chance.
    fn cut(&self, chance: &mut impl FnMut() -> u64) {
        let mut state = self.state.lock();
        self.power.fetch_add(1, Ordering::SeqCst);
        let mut kept = state.synced.clone();
        // The new length may have been noted or not.
        if chance().is_multiple_of(2) {
            kept.resize(state.now.len(), 0);
        }
        for sector in std::mem::take(&mut state.dirty).into_keys() {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(kept.len()).min(state.now.len());
            if chance().is_multiple_of(2) && !range.is_empty() {
                kept[range.clone()].copy_from_slice(&state.now[range]);
            }
        }
        state.now.clone_from(&kept);
        state.synced = kept;
    }
}

impl Medium for Plugged {
    fn place(&self) -> String {
        "disk".to_owned()
    }

    fn open(&self) -> Result<Database, DatabaseError> {
        self.powered()?;
        Database::builder().set_cache_size(1 << 20).create_with_backend(self.clone())
    }
}

impl Plugged {
    fn powered(&self) -> io::Result<()> {
        let on = self.disk.power.load(Ordering::SeqCst) == self.power;
        if on { Ok(()) } else { Err(io::Error::other("the power is off")) }
    }
}

impl StorageBackend for Plugged {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state.lock();
        let at = usize::try_from(offset).unwrap();
        let from = state.now.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.powered()?;
        let (old, new) = (state.now.len(), usize::try_from(len).unwrap());
        let grown = new as i64 - old as i64;
        if self.disk.room.fetch_sub(grown, Ordering::SeqCst) < grown {
            self.disk.room.fetch_add(grown, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.now.resize(new, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.powered()?;
        if self.disk.syncs.load(Ordering::SeqCst) >= 0 && self.disk.syncs.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(io::Error::other("the disk has failed to sync"));
        }
        state.synced = state.now.clone();
        state.dirty.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.powered()?;
        let at = usize::try_from(offset).unwrap();
        // A file grows by what is written behind its end; after a cut it may be shorter than its own header says.
        let end = (at + data.len()).max(state.now.len());
        state.now.resize(end, 0);
        state.now[at..at + data.len()].copy_from_slice(data);
        for sector in at / SECTOR..=(at + data.len().max(1) - 1) / SECTOR {
            state.dirty.insert(sector, ());
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        assert!(!self.disk.panics.swap(false, Ordering::SeqCst), "a panic of the library while it closes");
        Ok(())
    }

    // One opening at a time is what these tests do.
    fn try_lock_range(&self, _: std::ops::Bound<u64>, _: std::ops::Bound<u64>) -> Result<bool, redb::BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _: std::ops::Bound<u64>, _: std::ops::Bound<u64>) -> Result<(), redb::BackendError> {
        Ok(())
    }
}

/// Numbers that are the same in every run: an xorshift.
fn chances(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 8
    }
}

/// How often the power is cut: `SAMARA_POWER_CUTS=1000` for the whole of it.
fn cuts() -> u64 {
    std::env::var("SAMARA_POWER_CUTS").map_or(60, |cuts| cuts.parse().unwrap())
}

async fn on(disk: &Arc<Disk>) -> Result<Embedded, KvError> {
    let power = disk.power.load(Ordering::SeqCst);
    Embedded::open(Arc::new(Plugged { disk: disk.clone(), power }), SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_power_cut() {
    let disk = Disk::new();
    let mut chance = chances(1);
    // What each key must hold: its last answered value, or one that was on its way when the power went.
    let mut known: BTreeMap<String, Vec<Option<Bytes>>> = BTreeMap::new();
    let (mut answered, mut slow) = (0_u64, 0_u64);
    for cut in 0..cuts() {
        let since = std::time::Instant::now();
        let store = Arc::new(on(&disk).await.unwrap());
        slow += u64::from(since.elapsed() > Duration::from_secs(1));
        for (key, possible) in &mut known {
            let found = store.get(key).await.unwrap();
            assert!(possible.contains(&found), "cut {cut}, {key}: {found:?} is none of {possible:?}");
            *possible = vec![found];
        }
        let usage = store.usage("ns:").await.unwrap();
        assert_eq!(usage.keys, known.values().filter(|value| value[0].is_some()).count() as u64, "the sums are true");

        // Several write at once; then the power goes while they do.
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4_u64 {
            let (store, tell, mut chance) = (store.clone(), tell.clone(), chances(cut * 4 + task + 7));
            tasks.spawn(async move {
                loop {
                    // Each task has keys of its own, so that the order of its writes is known.
                    let key = format!("ns:{task}-{}", chance() % 10);
                    let value = (chance() % 5 != 0).then(|| Bytes::from(vec![b'v'; (chance() % 3000) as usize]));
                    tell.send((key.clone(), value.clone(), false)).unwrap();
                    let done = match &value {
                        Some(value) => store.set(&key, value.clone()).await,
                        None => store.delete(&key).await,
                    };
                    if done.is_err() {
                        return;
                    }
                    tell.send((key, value, true)).unwrap();
                }
            });
        }
        drop(tell);
        let enough = chance() % 40;
        let mut seen = 0;
        while let Some((key, value, done)) = told.recv().await {
            let possible = known.entry(key).or_insert_with(|| vec![None]);
            if done {
                *possible = vec![value];
                answered += 1;
                seen += 1;
                if seen == enough + 1 {
                    disk.cut(&mut chance);
                }
            } else {
                possible.push(value);
            }
        }
        while tasks.join_next().await.is_some() {}
    }
    assert!(answered > cuts());
    // A machine that is busy stops anybody now and then.
    assert!(slow <= cuts() / 4, "{slow} of {} times it did not open at once after a cut", cuts());
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_not_the_end() {
    let disk = Disk::new();
    let store = on(&disk).await.unwrap();
    store.set("kept", "before".into()).await.unwrap();
    disk.room.store(1 << 20, Ordering::SeqCst);
    let large = Bytes::from(vec![1; 8 << 20]);
    let refused = store.set("large", large.clone()).await.unwrap_err();
    assert!(matches!(refused, KvError::Backend(_)), "{refused:?}");
    // Each failure has it opened anew, and what comes meanwhile is told so.
    eventually(async || store.get("kept").await == Ok(Some("before".into()))).await;
    eventually(async || store.get("large").await == Ok(None)).await;
    eventually(async || store.set("small", "fits".into()).await.is_ok()).await;
    eventually(async || store.delete("kept").await == Ok(Some(6))).await;
    disk.room.store(i64::MAX, Ordering::SeqCst);
    eventually(async || store.set("large", large.clone()).await.is_ok()).await;
}

#[tokio::test]
async fn a_failed_sync_is_told_to_all_who_waited_and_costs_nothing_that_was_answered() {
    let disk = Disk::new();
    let store = on(&disk).await.unwrap();
    for round in 0..20 {
        let key = format!("k{round}");
        assert_eq!(store.increment("answered", 1).await.unwrap().value, round + 1);
        disk.syncs.store(round % 3, Ordering::SeqCst);
        while store.set(&key, "v".into()).await.is_ok() {}
        disk.syncs.store(-1, Ordering::SeqCst);
        eventually(async || store.exists("answered").await.is_ok()).await;
    }
    // The store that failed may have answered from what it had in memory, before it is opened anew.
    eventually(async || store.get("answered").await == Ok(Some("20".into()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_share_threads_and_each_sees_what_was_answered_before() {
    let store = Arc::new(on(&Disk::new()).await.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64_usize {
        let store = store.clone();
        tasks.spawn(async move {
            for round in 0..40_usize {
                let (key, value) = (format!("k{task}"), Bytes::from(format!("{task} {round}")));
                store.set(&key, value.clone()).await.unwrap();
                for _ in 0..5 {
                    assert_eq!(store.get(&key).await, Ok(Some(value.clone())));
                }
                // Some give up half-way, and some ask for what is not there.
                drop(store.get(&key).now_or_never());
                assert_eq!(store.get("none").await, Ok(None));
                assert!(store.reader.threads() <= READERS);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    eventually(async || store.reader.threads() == 0).await;
}

#[test]
fn a_runtime_that_ends_takes_no_reader_with_it() {
    let disk = Disk::new();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().max_blocking_threads(1).build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let store = first.block_on(on(&disk)).unwrap();
    first.block_on(store.set("k", "v".into())).unwrap();
    // Its only thread is taken, so that the one that is asked for is never started.
    let (release, released) = std::sync::mpsc::channel::<()>();
    first.spawn_blocking(move || {
        let _ = released.recv();
    });
    first.block_on(async { assert!(store.get("k").now_or_never().is_none()) });
    first.shutdown_background();
    let waiting = second.block_on(async {
        let waiting = store.get("k");
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(release);
        waiting.await
    });
    assert!(matches!(waiting, Err(KvError::Backend(_))), "{waiting:?}");
    assert_eq!(second.block_on(store.get("k")), Ok(Some("v".into())));
}

#[tokio::test]
async fn a_library_that_panics_while_it_closes_is_opened_again() {
    let disk = Disk::new();
    let store = on(&disk).await.unwrap();
    store.set("kept", "before".into()).await.unwrap();
    disk.panics.store(true, Ordering::SeqCst);
    disk.syncs.store(0, Ordering::SeqCst);
    while store.set("k", "v".into()).await.is_ok() {}
    eventually(async || store.set("k", "again".into()).await.is_ok()).await;
    assert!(!disk.panics.load(Ordering::SeqCst), "it was closed");
    assert_eq!(store.get("kept").await, Ok(Some("before".into())));
}

/// Waits for something that comes by itself.
async fn eventually(holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("it comes back by itself");
}

#[tokio::test]
async fn times_and_sums_outlive_the_process() {
    let disk = Disk::new();
    let store = on(&disk).await.unwrap();
    store.set_expiring("t:short", "v".into(), Some(Duration::from_millis(100))).await.unwrap();
    store.set_expiring("t:long", "v".into(), Some(Duration::from_hours(1))).await.unwrap();
    store.set("t:kept", "v".into()).await.unwrap();
    drop(store);
    let store = on(&disk).await.unwrap();
    eventually(async || store.usage("t:").await.unwrap().keys == 2).await;
    assert_eq!(store.get("t:short").await, Ok(None));
    assert!(store.entry("t:long").await.unwrap().unwrap().ttl.is_some());
    assert_eq!(store.usage("t:").await.unwrap().bytes, "t:long".len() as u64 + "t:kept".len() as u64 + 2);
    assert_eq!(store.usage("t").await, store.usage("t:").await, "sums and entries agree");
}

#[tokio::test]
async fn many_writers_share_a_commit() {
    let disk = Disk::new();
    let store = Arc::new(on(&disk).await.unwrap());
    disk.syncs.store(i64::MAX, Ordering::SeqCst);
    let writes = (0..500).map(|number| {
        let store = store.clone();
        async move { store.set(&number.to_string(), "v".into()).await.unwrap() }
    });
    futures::future::join_all(writes).await;
    let syncs = i64::MAX - disk.syncs.load(Ordering::SeqCst);
    assert!(syncs < 100, "500 writes took {syncs} syncs");
}

#[tokio::test]
async fn a_file_that_does_not_open_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let refused = async |url: &str, settings: &str| {
        open(url, &settings.parse().unwrap(), &NoWorkloads).await.unwrap_err().to_string()
    };
    assert!(refused("redb:", "").await.contains("write `redb:./data/store.redb`"));
    assert!(refused("redb://host/x", "").await.contains("names no file"));
    assert!(refused("redb:x", "size = 1").await.contains("it has `cache`, `timeout`"));
    let url = |name: &str| format!("redb:{}/{name}", folder.path().display());
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text"), "this is no database").unwrap();
    assert!(refused(&url("text"), "").await.contains("does not open"));
    std::fs::create_dir(path("folder")).unwrap();
    assert!(refused(&url("folder"), "").await.contains("does not open"));

    let held = open(&url("deep/er/held"), &toml::Table::new(), &NoWorkloads).await.unwrap();
    let error = refused(&url("deep/er/held"), "").await;
    assert!(error.contains("is in use by another process or under another name; end that one"), "{error}");
    held.set("k", "v".into()).await.unwrap();
    drop(held);
    let again = open(&url("deep/er/held"), &toml::Table::new(), &NoWorkloads).await.unwrap();
    assert_eq!(again.get("k").await, Ok(Some("v".into())), "it waits for the store that was just closed");
}

/// The bytes of a file, changed at places of chance, cost no more than an error.
#[tokio::test]
async fn a_damaged_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let url = format!("redb:{}", path.display());
    let store = open(&url, &toml::Table::new(), &NoWorkloads).await.unwrap();
    for key in 0..200 {
        store.set(&format!("t:{key}"), Bytes::from(vec![b'v'; 100])).await.unwrap();
    }
    drop(store);
    // It is closed when it can be opened again.
    drop(open(&url, &toml::Table::new(), &NoWorkloads).await.unwrap());
    let sound = std::fs::read(&path).unwrap();
    let mut chance = chances(3);
    for round in 0..40 {
        let damaged = folder.path().join(format!("damaged-{round}"));
        let mut bytes = sound.clone();
        for _ in 0..20 {
            let at = chance() as usize % bytes.len();
            bytes[at] ^= 1 << (chance() % 8);
        }
        std::fs::write(&damaged, bytes).unwrap();
        let opened = open(&format!("redb:{}", damaged.display()), &toml::Table::new(), &NoWorkloads).await;
        let Ok(store) = opened else { continue };
        for key in 0..200 {
            let _ = store.get(&format!("t:{key}")).await;
        }
        let _ = store.usage("t").await;
        let _ = tokio::time::timeout(SOON, store.set("t:0", "v".into())).await.expect("it answers");
    }
}
