//! Every embedded provider against the suite, and the promises of the wrapper around all of them.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use samara_model::{Capability, Fault, KvGrant, KvOperation, Limits, Tenant};
use tempfile::TempDir;

use super::{
    BATCH_KEYS, Change, Granted, KeyValue, KvError, NoWorkloads, PROVIDERS, Page, Store, check_kv, copy, open,
};
use crate::{Denial, Recorder, Unrecorded};

/// The URL of an empty store in a folder.
type Url = fn(&Path) -> String;

/// Providers whose stores are in this process, and the URL of an empty one in a folder; those on servers are checked by
/// `tests/it`. A new provider adds its line here and passes the whole suite.
const EMBEDDED: &[(&str, Url)] =
    &[("memory", |_| "memory:".to_owned()), ("redb", |folder| format!("redb:{}/store.redb", folder.display()))];

/// Providers that other tests check: on servers, and the one that is whatever opens it.
const ELSEWHERE: &[&str] = &["redis", "rediss", "nats", "workload"];

/// A store of a provider that nobody else uses, and the folder it may be in.
async fn scratch_in(scheme: &str) -> (Arc<dyn KeyValue>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (_, url) = EMBEDDED.iter().find(|(embedded, _)| *embedded == scheme).unwrap();
    let store = open(&url(folder.path()), &toml::Table::new(), &NoWorkloads).await.unwrap();
    (store, folder)
}

/// The same of one that is in memory.
async fn scratch() -> Arc<dyn KeyValue> {
    scratch_in("memory").await.0
}

/// Every provider bare, and every provider as a workload sees it beside another tenant's data.
async fn subjects() -> Vec<(String, Arc<dyn KeyValue>, TempDir)> {
    let mut subjects = Vec::new();
    for (scheme, _) in EMBEDDED {
        let (bare, folder) = scratch_in(scheme).await;
        subjects.push((format!("{scheme} bare"), bare, folder));
        let (shared, folder) = scratch_in(scheme).await;
        let neighbour = granted(&shared, "neighbour", &Limits::serve()).await;
        for key in ["a", "key-3", "zz"] {
            neighbour.set(key, "not yours".into()).await.unwrap();
        }
        let ours: Arc<dyn KeyValue> = Arc::new(granted(&shared, "tenant", &Limits::serve()).await);
        subjects.push((format!("{scheme} granted"), ours, folder));
    }
    subjects
}

async fn granted(backend: &Arc<dyn KeyValue>, tenant: &str, limits: &Limits) -> Granted {
    let store = Store::new("carts", &Tenant::new(tenant).unwrap(), backend.clone()).await.unwrap();
    store.grant(KvGrant::default(), limits, Arc::new(Unrecorded))
}

async fn memory(limits: &Limits) -> Granted {
    granted(&scratch().await, "tenant", limits).await
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn schemes_are_unique_words() {
    let schemes: BTreeSet<_> = PROVIDERS.iter().map(|provider| provider.scheme()).collect();
    assert_eq!(schemes.len(), PROVIDERS.len());
    let checked: BTreeSet<_> = EMBEDDED.iter().map(|(scheme, _)| *scheme).chain(ELSEWHERE.iter().copied()).collect();
    let unchecked: Vec<_> = schemes.difference(&checked).collect();
    assert!(
        unchecked.is_empty(),
        "no suite is run for {unchecked:?}; add a line to `EMBEDDED`, or to `remote.rs` and `ELSEWHERE`"
    );
    assert!(schemes.iter().all(|scheme| !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_lowercase())));
}

#[tokio::test]
async fn what_cannot_be_opened_says_what_can() {
    let refused = async |url: &str, settings: &str| {
        open(url, &settings.parse().unwrap(), &NoWorkloads).await.unwrap_err().to_string()
    };
    let unknown = refused("foo:bar", "").await;
    assert!(unknown.starts_with("no key-value provider for `foo:`; known schemes: memory, redb"), "{unknown}");
    assert!(refused("memory:x", "").await.contains("write `memory:`"));
    assert!(refused("memory:", "size = 3").await.contains("has no setting `size`; it has `max`"));
    assert!(refused("memory:", "max = 3").await.contains("write a size such as"));
    assert!(refused("memory:", "max = \"3 cows\"").await.contains("`3 cows` is not a size"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite() {
    for (name, store, _folder) in subjects().await {
        tracing::debug!(name, "is checked");
        check_kv(store).await;
    }
}

async fn list(store: &dyn KeyValue, prefix: &str, page: usize) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let Page { keys: some, cursor: next } = store.list_keys(prefix, cursor.as_deref(), page).await.unwrap();
        assert!(some.len() <= page.max(1));
        keys.extend(some);
        cursor = next;
        if cursor.is_none() {
            return keys;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_account_of_a_hammered_store_is_exact() {
    let store = Store::new("carts", &Tenant::default(), scratch().await).await.unwrap();
    let limits = Limits { kv_total_bytes: 2000, ..Limits::serve() };
    let lent = store.grant(KvGrant::default(), &limits, Arc::new(Unrecorded));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_usize {
        let lent = lent.clone();
        tasks.spawn(async move {
            for round in 0..300_usize {
                let key = format!("k{}", (task * 7 + round) % 11);
                // Some of these are refused for room, some find no number: neither may leave a trace in the account.
                let _ = lent.set(&key, Bytes::from(vec![b'1'; (round * 37) % 400])).await;
                let _ = lent.increment(&format!("k{}", round % 11), 3).await;
                let _ = lent.swap(&key, None, bytes("fresh")).await;
                let _ = lent.set_many(vec![(key.clone(), bytes("123")), ("b".into(), bytes("1"))]).await;
                let _ = lent.delete_many(&[key, "b".into()]).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(store.bytes(), lent.usage("").await.unwrap().bytes);
    let again = Store::new("carts", &Tenant::default(), store.link().get()).await.unwrap();
    assert_eq!(again.bytes(), store.bytes(), "a store that is opened again knows what is in it");
}

#[tokio::test]
async fn tenants_of_one_backend_never_meet() {
    let backend = scratch().await;
    let (a, ab) = (granted(&backend, "a", &Limits::serve()).await, granted(&backend, "a.b", &Limits::serve()).await);
    for (lent, value) in [(&a, "a's"), (&ab, "ab's")] {
        lent.set("key", bytes(value)).await.unwrap();
        lent.set(".b:key", bytes(value)).await.unwrap();
    }
    assert_eq!(a.get("key").await, Ok(Some(bytes("a's"))));
    assert_eq!(ab.get("key").await, Ok(Some(bytes("ab's"))));
    assert_eq!(list(&a, "", 1).await, [".b:key", "key"]);
    a.delete("key").await.unwrap();
    assert_eq!(ab.get("key").await, Ok(Some(bytes("ab's"))));
}

#[tokio::test]
async fn a_watcher_is_told_of_its_own_tenants_keys_by_their_own_names() {
    let backend = scratch().await;
    let (a, b) = (granted(&backend, "a", &Limits::serve()).await, granted(&backend, "b", &Limits::serve()).await);
    let mut watch = a.watch("").await.unwrap();
    b.set("theirs", bytes("1")).await.unwrap();
    a.set("a:b", bytes("1")).await.unwrap();
    assert_eq!(watch.next().await, Some(Change::Set("a:b".into())));
    drop((a, b, backend));
    assert_eq!(watch.next().await, None, "a watch does not keep a store open");
}

#[tokio::test(start_paused = true)]
async fn room_comes_back_when_times_are_over_or_others_remove_keys() {
    let backend = scratch().await;
    let lent = granted(&backend, "t", &Limits { kv_total_bytes: 20, ..Limits::serve() }).await;
    let hour = Duration::from_hours(1);
    lent.set_expiring("k", bytes("ten bytes!"), Some(hour)).await.unwrap();
    assert!(lent.set("l", bytes("ten bytes!")).await.is_err());
    tokio::time::sleep(hour + Duration::from_mins(2)).await;
    assert_eq!(lent.get("k").await, Ok(None));
    assert_eq!(lent.store().bytes(), 0, "it was measured meanwhile");

    lent.set("k", bytes("ten bytes!")).await.unwrap();
    backend.delete("t:k").await.unwrap();
    assert!(lent.set("l", bytes("ten bytes!")).await.is_err(), "nobody has told the account");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(lent.set("l", bytes("ten bytes!")).await, Ok(None), "a refusal has it measured at once");
}

#[tokio::test(start_paused = true)]
async fn memory_takes_out_what_is_over_and_tells_it() {
    let store = open("memory:", &"max = \"1KiB\"".parse().unwrap(), &NoWorkloads).await.unwrap();
    let mut watch = store.watch("").await.unwrap();
    store.set_expiring("k", Bytes::from(vec![0; 700]), Some(Duration::from_secs(5))).await.unwrap();
    assert_eq!(watch.next().await, Some(Change::Set("k".into())));
    assert!(store.set("l", Bytes::from(vec![0; 700])).await.is_err());
    assert_eq!(watch.next().await, Some(Change::Removed("k".into())));
    store.set_expiring("l", Bytes::from(vec![0; 700]), Some(Duration::from_millis(5))).await.unwrap();
    tokio::time::advance(Duration::from_millis(6)).await;
    assert_eq!(store.set("k", Bytes::from(vec![0; 700])).await, Ok(None), "before the sweep comes a write sweeps");
}

#[derive(Debug, Default)]
struct Seen {
    used: Mutex<Vec<String>>,
    denied: Mutex<Vec<Denial>>,
}

impl Recorder for Seen {
    fn used(&self, capability: Capability, name: &str, operation: &'static str) {
        self.used.lock().push(format!("{capability}:{name} {operation}"));
    }
    fn denied(&self, denial: &Denial) {
        self.denied.lock().push(denial.clone());
    }
}

#[tokio::test]
async fn each_operation_needs_its_own_word_in_the_grant_and_a_denial_names_it() {
    for allowed in KvOperation::ALL {
        let seen = Arc::new(Seen::default());
        let store = Store::new("carts", &Tenant::default(), scratch().await).await.unwrap();
        let lent = store.grant(KvGrant { operations: vec![*allowed] }, &Limits::serve(), seen.clone());
        let (keys, entries) = (["k".to_owned()], vec![("k".to_owned(), bytes("1"))]);
        let first = |mut outcomes: Vec<Result<Option<u64>, KvError>>| outcomes.remove(0).err();
        let attempts = [
            (KvOperation::Get, lent.get("k").await.err()),
            (KvOperation::Get, lent.exists("k").await.err()),
            (KvOperation::Get, lent.get_many(&keys).await.err()),
            (KvOperation::Set, lent.set("k", bytes("1")).await.err()),
            (KvOperation::Set, first(lent.set_many(entries).await)),
            (KvOperation::Delete, lent.delete("k").await.err()),
            (KvOperation::Delete, first(lent.delete_many(&keys).await)),
            (KvOperation::Increment, lent.increment("k", 1).await.err()),
            (KvOperation::Increment, lent.swap("k", None, bytes("1")).await.err()),
            (KvOperation::List, lent.list_keys("", None, 1).await.err()),
            (KvOperation::Watch, lent.watch("").await.err()),
        ];
        for (needed, error) in &attempts {
            assert_eq!(error.is_none(), needed == allowed, "{needed:?} with {allowed:?} granted: {error:?}");
        }
        let refused = attempts.iter().filter(|(_, error)| error.is_some()).count();
        assert_eq!(seen.denied.lock().len(), refused);
        assert_eq!(seen.used.lock().len(), attempts.len() - refused);
    }
    let store = Store::new("carts", &Tenant::default(), scratch().await).await.unwrap();
    let lent = store.grant(KvGrant { operations: vec![KvOperation::Get] }, &Limits::serve(), Arc::new(Unrecorded));
    assert_eq!(
        lent.set("k", bytes("v")).await.unwrap_err().to_string(),
        "denied: `set` on key-value store `carts`; `kv = [{ store = \"carts\", ops = [\"get\", \"set\"] }]` would allow it"
    );
}

#[tokio::test]
async fn keys_values_and_the_total_have_limits() {
    let limits = Limits { kv_key_bytes: 4, kv_value_bytes: 10, kv_total_bytes: 30, ..Limits::serve() };
    let lent = memory(&limits).await;
    let over = |what, limit| KvError::TooLarge { what, limit };
    let full = || over("total of keys and values", 30);

    assert_eq!(lent.set("four", bytes("ten bytes!")).await, Ok(None));
    assert_eq!(lent.set("five5", bytes("")).await, Err(over("key", 4)));
    assert_eq!(lent.get("five5").await, Err(over("key", 4)));
    assert_eq!(lent.delete_many(&["a".into(), "five5".into()]).await[0], Err(over("key", 4)));
    assert_eq!(lent.set("a", bytes("eleven byte")).await, Err(over("value", 10)));
    assert_eq!(lent.swap("a", None, bytes("eleven byte")).await, Err(over("value", 10)));
    assert_eq!(lent.list_keys("", Some(&"c".repeat(1000)), 1).await, Err(over("cursor", 260)));

    assert_eq!(lent.set("b", bytes("ten bytes!")).await, Ok(None));
    assert_eq!(lent.store().bytes(), 25);
    assert_eq!(lent.set("c", bytes("12345")).await, Err(full()));
    assert_eq!(lent.increment("n", 1).await, Err(full()), "room for the longest number is needed");
    assert_eq!(lent.swap("c", None, bytes("12345")).await, Err(full()));
    let batch = vec![("c".to_owned(), bytes("12345")), ("c".to_owned(), bytes("1234")), ("b".to_owned(), bytes("!"))];
    assert_eq!(lent.set_many(batch).await, [Err(full()), Ok(None), Ok(Some(10))]);
    assert_eq!(lent.set("four", bytes("exchanged!")).await, Ok(Some(10)), "replacing does not grow");
    assert_eq!(lent.store().bytes(), lent.usage("").await.unwrap().bytes);
    assert_eq!(lent.delete_many(&["four".into(), "c".into(), "b".into()]).await.len(), 3);
    assert_eq!(lent.store().bytes(), 0);
    assert_eq!(lent.increment("n", 1).await.unwrap().value, 1);
    assert_eq!(lent.store().bytes(), 2);
}

#[tokio::test]
async fn what_others_wrote_is_read_within_the_readers_own_limits() {
    let backend = scratch().await;
    let writer = granted(&backend, "t", &Limits::serve()).await;
    let reader = granted(&backend, "t", &Limits { kv_value_bytes: 3, ..Limits::serve() }).await;
    writer.set("k", bytes("long")).await.unwrap();
    let over = KvError::TooLarge { what: "value", limit: 3 };
    assert_eq!(reader.get("k").await, Err(over.clone()));
    assert_eq!(reader.get_many(&["k".into()]).await, Err(over.clone()));
    assert_eq!(reader.swap("k", None, bytes("x")).await, Err(over));
    assert_eq!(reader.exists("k").await, Ok(true));
}

#[tokio::test]
async fn a_batch_is_bounded_in_keys_and_in_bytes() {
    let lent = memory(&Limits::serve()).await;
    let long = vec!["k".to_owned(); BATCH_KEYS + 1];
    assert_eq!(lent.get_many(&long).await, Err(KvError::TooMany { keys: 1001, limit: 1000 }));
    assert_eq!(lent.delete_many(&long).await[0], Err(KvError::TooMany { keys: 1001, limit: 1000 }));
    let entries = long.iter().map(|key| (key.clone(), bytes(""))).collect();
    assert_eq!(lent.set_many(entries).await[0], Err(KvError::TooMany { keys: 1001, limit: 1000 }));

    lent.set("k", Bytes::from(vec![0; 8 << 20])).await.unwrap();
    assert_eq!(lent.get_many(&long[..8]).await.unwrap().len(), 8);
    assert_eq!(lent.get_many(&long[..9]).await, Err(KvError::TooLarge { what: "batch", limit: 64 << 20 }));
}

#[tokio::test]
async fn memory_is_bounded_whatever_the_workloads_may_write() {
    let settings = "max = \"1KiB\"".parse().unwrap();
    let store = open("memory:", &settings, &NoWorkloads).await.unwrap();
    let full = KvError::TooLarge { what: "store", limit: 1024 };
    assert_eq!(full.to_string(), "the store is over its limit of `1KiB`");
    let mut kept = 0;
    while store.set(&kept.to_string(), Bytes::new()).await.is_ok() {
        kept += 1;
    }
    assert_eq!(kept, 7, "an empty value takes memory too");
    assert_eq!(store.set("0", Bytes::from(vec![0; 89])).await, Ok(Some(0)));
    assert_eq!(store.set("0", Bytes::from(vec![0; 1000])).await, Err(full.clone()));
    assert_eq!(store.increment("n", 1).await, Err(full.clone()));
    assert_eq!(store.swap("n", None, Bytes::new()).await, Err(full));
    assert_eq!(store.get("0").await.unwrap().map(|value| value.len()), Some(89));
    store.delete("0").await.unwrap();
    assert_eq!(store.increment("n", 1).await.unwrap().value, 1);
}

#[test]
fn a_fault_says_who_is_to_blame() {
    let check = |error: KvError, label: &str| assert_eq!(error.into_fault("carts").label(), label);
    check(KvError::no_such_store("x"), "denied");
    check(KvError::AccessDenied { what: String::new(), grant: String::new() }, "denied");
    check(KvError::TooLarge { what: "key", limit: 1 }, "guest");
    check(KvError::Overflow, "guest");
    check(KvError::Configuration(String::new()), "config");
    check(KvError::Backend(String::new()), "backend");
    assert!(matches!(KvError::TimedOut(String::new()).into_fault("s"), Fault::Backend { slow: true, .. }));
}

#[test]
fn a_guests_own_words_are_cut_before_they_reach_a_log() {
    let message = KvError::no_such_store(&"\n\u{1b}[2J".repeat(1000)).to_string();
    assert!(message.len() < 500 && !message.contains(['\n', '\u{1b}']), "{message}");
}

#[tokio::test]
async fn a_copy_has_everything_under_the_prefix_with_its_time_and_nothing_else() {
    let (to, _folder) = scratch_in("redb").await;
    let from = scratch().await;
    for number in 0..2500 {
        from.set(&format!("t:{number}"), bytes(&number.to_string())).await.unwrap();
    }
    from.set("u:other", bytes("stays")).await.unwrap();
    from.set_expiring("t:ends", bytes("v"), Some(Duration::from_hours(1))).await.unwrap();
    to.set("t:7", bytes("old")).await.unwrap();
    to.set("t:own", bytes("stays")).await.unwrap();
    let told = Mutex::new(Vec::new());
    let done = copy(&*from, &*to, "t:", &|copied| told.lock().push(copied.keys)).await.unwrap();
    assert_eq!(done.keys, 2501);
    assert_eq!(done.bytes, from.usage("t:").await.unwrap().bytes);
    assert_eq!(*told.lock(), [1000, 2000, 2501]);
    assert_eq!(to.usage("").await.unwrap().keys, 2502);
    assert_eq!(to.get("t:7").await, Ok(Some(bytes("7"))));
    assert!(to.entry("t:ends").await.unwrap().unwrap().ttl.is_some());
}
