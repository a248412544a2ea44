//! The suite that every provider passes, bare and as a workload sees it: `check_kv(store)`.
//!
//! It writes under prefixes of its own into a store that nobody else uses, and panics at the first broken promise of
//! [`KeyValue`], naming it. The store may hold other keys; they are neither read nor touched.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a suite fails fast"
)]

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use tokio::{task::JoinSet, time::timeout};

use super::{Change, Entry, Increment, KeyValue, KvError, Page, Swap, Watch};

/// How long something may take that happens by itself: the end of a key's time, the news of a change.
const SOON: Duration = Duration::from_secs(60);

/// Runs the whole suite against one store.
pub async fn check_kv(store: Arc<dyn KeyValue>) {
    a_value_is_what_was_set_last(&*store, "value/").await;
    any_text_is_a_key(&*store, "text/").await;
    values_have_any_bytes_and_sizes(&*store, "sizes/").await;
    batches_keep_their_order(&*store, "batch/").await;
    pages_have_every_key_under_the_prefix_exactly_once(&*store, "page/").await;
    a_forged_cursor_never_leads_to_other_keys(&*store, "forged/").await;
    numbers_are_decimal_text_and_never_wrap(&*store, "number/").await;
    a_swap_writes_only_over_what_was_expected(&*store, "swap/").await;
    usage_counts_keys_and_values_under_a_prefix(&*store, "usage/").await;
    a_key_is_not_there_when_its_time_is_over(&*store, "ttl/").await;
    who_keeps_a_time_and_who_ends_it(&*store, "kept/").await;
    watchers_are_told_what_changes(&*store, "watch/").await;
    hammered_from_many_tasks_no_update_is_lost(&store, "hammer/").await;
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn a_value_is_what_was_set_last(store: &dyn KeyValue, p: &str) {
    let a = &format!("{p}a");
    assert_eq!(store.get(a).await, Ok(None));
    assert_eq!(store.entry(a).await, Ok(None));
    assert_eq!(store.exists(a).await, Ok(false));
    assert_eq!(store.set(a, bytes("one")).await, Ok(None));
    assert_eq!(store.set(a, bytes("three")).await, Ok(Some(3)));
    assert_eq!(store.get(a).await, Ok(Some(bytes("three"))));
    assert_eq!(store.entry(a).await, Ok(Some(Entry { value: bytes("three"), ttl: None })));
    assert_eq!(store.exists(a).await, Ok(true));
    assert_eq!(store.delete(a).await, Ok(Some(5)));
    assert_eq!(store.delete(a).await, Ok(None));
    assert_eq!(store.get(a).await, Ok(None));
    assert_eq!(store.set(a, bytes("")).await, Ok(None), "after a removal there is nothing to replace");
    assert_eq!(store.set(a, bytes("x")).await, Ok(Some(0)), "empty is not absent");
}

/// Keys that mean something to one backend or another, and to a path.
async fn any_text_is_a_key(store: &dyn KeyValue, p: &str) {
    let long = "l".repeat(1000);
    let wide = "\u{1f341}".repeat(100);
    let awkward = [
        "",
        ".",
        "..",
        "../../etc/passwd",
        "a/b",
        "/",
        "//",
        "\0",
        "a\0b",
        "a b",
        " ",
        "*",
        ">",
        "a.*",
        "a.b",
        "a..b",
        ".a",
        "a.",
        "$KV.x.>",
        "?",
        "[a-z]",
        "{x}",
        "\\",
        "\"",
        "'",
        "%2e",
        "=",
        "==",
        "=2E",
        "a=b",
        "_",
        ":",
        "::",
        "a:",
        ":a",
        "a:b",
        "a:b:c",
        "\u{10ffff}",
        "\u{1f341}",
        "ü",
        "u\u{308}",
        "\r\n",
        "\t",
        "\u{202e}",
        "SELECT",
        "\u{7f}",
        &long,
        &wide,
    ];
    for (number, key) in awkward.iter().enumerate() {
        let value = bytes(&number.to_string());
        assert_eq!(store.set(&format!("{p}{key}"), value).await, Ok(None), "{key:?} is a key of its own");
    }
    for (number, key) in awkward.iter().enumerate() {
        assert_eq!(store.get(&format!("{p}{key}")).await, Ok(Some(bytes(&number.to_string()))), "{key:?}");
    }
    let mut listed = list(store, p, 7).await;
    listed.sort();
    let mut expected: Vec<_> = awkward.iter().map(|key| format!("{p}{key}")).collect();
    expected.sort();
    assert_eq!(listed, expected);
    // Prefixes are text too, not patterns.
    for prefix in ["a", ".", "*", "[a-z]", "\0", "a:", "\u{1f341}", "=", "$KV", "?", "\\", "nothing*"] {
        let of: BTreeSet<_> = list(store, &format!("{p}{prefix}"), 3).await.into_iter().collect();
        let expected: BTreeSet<_> =
            expected.iter().filter(|key| key.starts_with(&format!("{p}{prefix}"))).cloned().collect();
        assert_eq!(of, expected, "under {prefix:?}");
    }
    for (number, key) in awkward.iter().enumerate() {
        let length = number.to_string().len() as u64;
        assert_eq!(store.delete(&format!("{p}{key}")).await, Ok(Some(length)), "{key:?}");
    }
    assert_eq!(list(store, p, 7).await, Vec::<String>::new());
}

async fn values_have_any_bytes_and_sizes(store: &dyn KeyValue, p: &str) {
    for length in [0, 1, 255, 256, 4095, 4096, 65_537, 900_000] {
        let key = format!("{p}{length}");
        let value: Bytes = (0..length).map(|at: usize| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        assert_eq!(store.set(&key, value.clone()).await, Ok(None), "{length} bytes");
        assert_eq!(store.get(&key).await, Ok(Some(value)), "{length} bytes");
        assert_eq!(store.delete(&key).await, Ok(Some(length as u64)));
    }
}

async fn batches_keep_their_order(store: &dyn KeyValue, p: &str) {
    let key = |name: &str| format!("{p}{name}");
    let entries = vec![(key("x"), bytes("1")), (key("y"), bytes("22")), (key("x"), bytes("333"))];
    assert_eq!(store.set_many(entries).await, [Ok(None), Ok(None), Ok(Some(1))]);
    let keys = [key("y"), key("none"), key("x"), key("y")];
    let values = [Some("22"), None, Some("333"), Some("22")].map(|value| value.map(bytes));
    assert_eq!(store.get_many(&keys).await, Ok(values.to_vec()));
    assert_eq!(store.delete_many(&keys).await, [Ok(Some(2)), Ok(None), Ok(Some(3)), Ok(None)]);
    assert_eq!(store.set_many(Vec::new()).await, []);
    assert_eq!(store.get_many(&[]).await, Ok(Vec::new()));
    assert_eq!(store.delete_many(&[]).await, []);

    let many: Vec<_> = (0..1000).map(|number| (key(&format!("n{number}")), bytes(&number.to_string()))).collect();
    assert!(store.set_many(many.clone()).await.iter().all(|outcome| *outcome == Ok(None)));
    let keys: Vec<_> = many.iter().map(|(key, _)| key.clone()).collect();
    let values: Vec<_> = many.into_iter().map(|(_, value)| Some(value)).collect();
    assert_eq!(store.get_many(&keys).await, Ok(values));
    assert!(store.delete_many(&keys).await.iter().all(|outcome| matches!(outcome, Ok(Some(_)))));
}

async fn list(store: &dyn KeyValue, prefix: &str, page: usize) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let Page { keys: some, cursor: next } = store.list_keys(prefix, cursor.as_deref(), page).await.unwrap();
        assert!(some.len() <= page.max(1), "a page is no longer than asked for");
        keys.extend(some);
        cursor = next;
        if cursor.is_none() {
            return keys;
        }
    }
}

async fn pages_have_every_key_under_the_prefix_exactly_once(store: &dyn KeyValue, p: &str) {
    assert_eq!(list(store, p, 10).await, Vec::<String>::new());
    let mut expected: Vec<String> = (0..25).map(|n| format!("{p}key-{n}")).collect();
    for key in &expected {
        store.set(key, bytes("v")).await.unwrap();
    }
    store.set(&format!("{p}other"), bytes("v")).await.unwrap();
    expected.sort();
    for page in [0, 1, 7, 24, 25, 26, 1000] {
        let mut keys = list(store, &format!("{p}key-"), page).await;
        keys.sort();
        assert_eq!(keys, expected, "{page} a page");
    }
    assert_eq!(list(store, p, 7).await.len(), 26);
    assert_eq!(list(store, &format!("{p}nothing"), 7).await.len(), 0);
    // What was removed, written again, or counted up meanwhile is there once or not at all.
    store.delete(&expected[3]).await.unwrap();
    store.set(&expected[4], bytes("again")).await.unwrap();
    store.delete(&expected[5]).await.unwrap();
    store.set(&expected[5], bytes("back")).await.unwrap();
    let mut keys = list(store, &format!("{p}key-"), 4).await;
    keys.sort();
    expected.remove(3);
    assert_eq!(keys, expected);
}

async fn a_forged_cursor_never_leads_to_other_keys(store: &dyn KeyValue, p: &str) {
    let own = ["in/1", "in/2", "out"].map(|key| format!("{p}{key}"));
    for key in &own {
        store.set(key, bytes("v")).await.unwrap();
    }
    for forged in [
        "",
        "neighbour:",
        "\0",
        "in/1",
        "../out",
        "\u{10ffff}",
        "0",
        "-1",
        "1e9",
        "18446744073709551615",
        "18446744073709551616",
    ] {
        let inner = format!("{p}in/");
        match store.list_keys(&inner, Some(forged), 1000).await {
            Ok(page) => assert!(page.keys.iter().all(|key| key.starts_with(&inner)), "{forged:?}: {page:?}"),
            Err(error) => assert_eq!(error, KvError::UnknownCursor, "{forged:?}"),
        }
        if let Ok(page) = store.list_keys(p, Some(forged), 1000).await {
            assert!(page.keys.iter().all(|key| own.contains(key)), "{forged:?}: {page:?}");
        }
    }
}

async fn numbers_are_decimal_text_and_never_wrap(store: &dyn KeyValue, p: &str) {
    let n = &format!("{p}n");
    let step = async |delta| store.increment(n, delta).await;
    assert_eq!(step(5).await, Ok(Increment { value: 5, replaced: None }));
    assert_eq!(step(-22).await, Ok(Increment { value: -17, replaced: Some(1) }));
    assert_eq!(store.get(n).await, Ok(Some(bytes("-17"))));
    assert_eq!(step(0).await, Ok(Increment { value: -17, replaced: Some(3) }));
    for edge in [i64::MAX, i64::MIN, (1 << 53) + 1] {
        store.set(n, bytes(&(edge - edge.signum()).to_string())).await.unwrap();
        assert_eq!(step(edge.signum()).await.map(|done| done.value), Ok(edge), "no digit is lost");
        assert_eq!(store.get(n).await, Ok(Some(bytes(&edge.to_string()))));
    }
    store.set(n, bytes(&i64::MAX.to_string())).await.unwrap();
    assert_eq!(step(1).await, Err(KvError::Overflow));
    assert_eq!(step(i64::MIN).await.unwrap().value, -1);
    assert_eq!(step(i64::MIN).await, Err(KvError::Overflow));
    assert_eq!(store.get(n).await, Ok(Some(bytes("-1"))), "a refused sum changes nothing");

    for text in ["", "x", "1.5", "99999999999999999999", "+5", "007", "-0", " 5", "5 ", "0x5", "5\n", "5\0", "1e3"] {
        store.set(n, bytes(text)).await.unwrap();
        assert_eq!(step(1).await, Err(KvError::NotANumber), "{text:?}");
        assert_eq!(store.get(n).await, Ok(Some(bytes(text))), "{text:?}");
    }
}

async fn a_swap_writes_only_over_what_was_expected(store: &dyn KeyValue, p: &str) {
    let s = &format!("{p}s");
    let swap = async |expected: Option<&str>, new| store.swap(s, expected.map(str::as_bytes), bytes(new)).await;
    assert_eq!(swap(Some("a"), "b").await, Ok(Swap::Differs(None)));
    assert_eq!(store.exists(s).await, Ok(false));
    assert_eq!(swap(None, "a").await, Ok(Swap::Done));
    assert_eq!(swap(None, "b").await, Ok(Swap::Differs(Some(bytes("a")))));
    assert_eq!(swap(Some("a"), "").await, Ok(Swap::Done));
    assert_eq!(swap(None, "b").await, Ok(Swap::Differs(Some(bytes("")))), "empty is not absent");
    assert_eq!(swap(Some(""), "c").await, Ok(Swap::Done));
    assert_eq!(store.get(s).await, Ok(Some(bytes("c"))));
    store.delete(s).await.unwrap();
    assert_eq!(swap(None, "again").await, Ok(Swap::Done), "what was removed is absent");
    assert_eq!(swap(Some("again"), "again").await, Ok(Swap::Done), "with the same");
}

async fn usage_counts_keys_and_values_under_a_prefix(store: &dyn KeyValue, p: &str) {
    let used = async |prefix: &str| {
        let usage = store.usage(&format!("{p}{prefix}")).await.unwrap();
        (usage.keys, usage.bytes - usage.keys * p.len() as u64)
    };
    assert_eq!(used("").await, (0, 0));
    store.set(&format!("{p}p/a"), bytes("12345")).await.unwrap();
    store.set(&format!("{p}p/b"), bytes("")).await.unwrap();
    store.set(&format!("{p}q"), bytes("1")).await.unwrap();
    assert_eq!(used("p/").await, (2, 11));
    assert_eq!(used("").await, (3, 13));
    store.set(&format!("{p}p/a"), bytes("1")).await.unwrap();
    store.increment(&format!("{p}q"), 99).await.unwrap();
    store.delete(&format!("{p}p/b")).await.unwrap();
    assert_eq!(used("").await, (2, 8));
}

/// Waits until a key is gone by itself.
async fn gone(store: &dyn KeyValue, key: &str) {
    let waiting = async {
        while store.exists(key).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("`{key}` does not end"));
}

async fn a_key_is_not_there_when_its_time_is_over(store: &dyn KeyValue, p: &str) {
    let key = &format!("{p}short");
    let mut short = Duration::from_millis(300);
    loop {
        let since = Instant::now();
        assert_eq!(store.set_expiring(key, bytes("17"), Some(short)).await, Ok(None));
        let (value, entry) = (store.get(key).await.unwrap(), store.entry(key).await.unwrap());
        // A busy machine may take longer to ask than the key lasts.
        if since.elapsed() < short {
            assert_eq!(value, Some(bytes("17")));
            assert!(entry.as_ref().unwrap().ttl.is_some_and(|ttl| ttl <= short), "{entry:?}");
            break;
        }
        gone(store, key).await;
        short *= 2;
    }
    gone(store, key).await;
    assert_eq!(store.get(key).await, Ok(None));
    assert_eq!(store.entry(key).await, Ok(None));
    assert_eq!(store.get_many(std::slice::from_ref(key)).await, Ok(vec![None]));
    assert_eq!(list(store, p, 10).await, Vec::<String>::new());
    assert_eq!(store.usage(p).await.unwrap().keys, 0);
    assert_eq!(store.swap(key, Some(b"17"), bytes("x")).await, Ok(Swap::Differs(None)));
    assert_eq!(store.delete(key).await, Ok(None));

    // Each kind of write finds the key of before gone.
    let again = async || {
        store.set_expiring(key, bytes("17"), Some(Duration::from_millis(1))).await.unwrap();
        gone(store, key).await;
    };
    again().await;
    assert_eq!(store.set(key, bytes("new")).await, Ok(None));
    again().await;
    assert_eq!(store.increment(key, 1).await, Ok(Increment { value: 1, replaced: None }));
    again().await;
    assert_eq!(store.swap(key, None, bytes("new")).await, Ok(Swap::Done));
    again().await;
    assert_eq!(store.set_many(vec![(key.clone(), bytes("new"))]).await, [Ok(None)]);
    assert_eq!(store.entry(key).await.unwrap().unwrap().ttl, None, "a key that is made anew stays");

    // The shortest and the longest.
    store.set_expiring(key, bytes("x"), Some(Duration::ZERO)).await.unwrap();
    gone(store, key).await;
    store.set_expiring(key, bytes("x"), Some(Duration::MAX)).await.unwrap();
    let ttl = store.entry(key).await.unwrap().unwrap().ttl;
    assert!(ttl.is_none_or(|ttl| ttl > Duration::from_hours(10 * 365 * 24)), "{ttl:?}");
    assert_eq!(store.delete(key).await, Ok(Some(1)));
}

async fn who_keeps_a_time_and_who_ends_it(store: &dyn KeyValue, p: &str) {
    let key = &format!("{p}key");
    let hour = Duration::from_hours(1);
    let ends = async || {
        let ttl = store.entry(key).await.unwrap().unwrap().ttl;
        assert!(ttl.is_none_or(|ttl| ttl <= hour && ttl > hour / 2), "{ttl:?}");
        ttl.is_some()
    };
    store.set_expiring(key, bytes("1"), Some(hour)).await.unwrap();
    assert!(ends().await);
    store.increment(key, 1).await.unwrap();
    assert!(ends().await, "an increment keeps it");
    assert_eq!(store.swap(key, Some(b"2"), bytes("3")).await, Ok(Swap::Done));
    assert!(ends().await, "a swap keeps it");
    store.set(key, bytes("4")).await.unwrap();
    assert!(!ends().await, "a set without one ends it");
    store.set_expiring(key, bytes("5"), Some(hour)).await.unwrap();
    assert!(ends().await, "and one with one begins it");
    store.set_many(vec![(key.clone(), bytes("6"))]).await;
    assert!(!ends().await, "a batch is many sets");
}

/// The next change, which must come.
async fn next(watch: &mut Watch) -> Change {
    timeout(SOON, watch.next()).await.expect("a change is told").expect("the store is open")
}

async fn watchers_are_told_what_changes(store: &dyn KeyValue, p: &str) {
    let mut watch = store.watch(&format!("{p}in/")).await.unwrap();
    let key = format!("{p}in/a");
    let set = || Change::Set(key.clone());
    store.set(&format!("{p}out"), bytes("not told")).await.unwrap();
    store.set(&key, bytes("1")).await.unwrap();
    assert_eq!(next(&mut watch).await, set());
    store.increment(&key, 1).await.unwrap();
    assert_eq!(next(&mut watch).await, set());
    store.swap(&key, Some(b"2"), bytes("3")).await.unwrap();
    assert_eq!(next(&mut watch).await, set());
    assert_eq!(store.swap(&key, Some(b"2"), bytes("4")).await, Ok(Swap::Differs(Some(bytes("3")))));
    store.delete(&key).await.unwrap();
    assert_eq!(next(&mut watch).await, Change::Removed(key.clone()), "a swap that failed changed nothing");
    assert_eq!(store.set_many(vec![(key.clone(), bytes("5"))]).await, [Ok(None)]);
    assert_eq!(next(&mut watch).await, set());
    assert_eq!(store.delete_many(std::slice::from_ref(&key)).await, [Ok(Some(1))]);
    assert_eq!(next(&mut watch).await, Change::Removed(key.clone()));
    store.set_expiring(&key, bytes("6"), Some(Duration::from_millis(50))).await.unwrap();
    assert_eq!(next(&mut watch).await, set());
    gone(store, &key).await;
    assert_eq!(next(&mut watch).await, Change::Removed(key.clone()), "the end of its time");

    let mut second = store.watch(&format!("{p}in/")).await.unwrap();
    let keys: Vec<_> = (0..100).map(|number| format!("{p}in/{number:03}")).collect();
    join_all(keys.iter().map(|key| store.set(key, bytes("v")))).await;
    for watch in [&mut watch, &mut second] {
        let mut told = BTreeSet::new();
        while told.len() < keys.len() {
            match next(watch).await {
                Change::Set(key) => assert!(told.insert(key.clone()), "{key} is told once"),
                other => panic!("{other:?}"),
            }
        }
        assert!(told.iter().eq(&keys));
    }
}

async fn hammered_from_many_tasks_no_update_is_lost(store: &Arc<dyn KeyValue>, p: &'static str) {
    const TASKS: usize = 8;
    const ROUNDS: usize = 50;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let swapped = &format!("{p}swapped");
            for round in 0..ROUNDS {
                store.increment(&format!("{p}count"), 1).await.unwrap();
                let mut current = store.get(swapped).await.unwrap();
                loop {
                    let number: u64 = current.as_deref().map_or(0, |v| String::from_utf8_lossy(v).parse().unwrap());
                    match store.swap(swapped, current.as_deref(), bytes(&(number + 1).to_string())).await.unwrap() {
                        Swap::Done => break,
                        Swap::Differs(now) => current = now,
                    }
                    tokio::task::yield_now().await;
                }
                let key = format!("{p}{}", (task + round) % 5);
                store.set(&key, Bytes::from(vec![b'x'; round])).await.unwrap();
                if round % 3 == 0 {
                    store.delete(&key).await.unwrap();
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let total = bytes(&(TASKS * ROUNDS).to_string());
    assert_eq!(store.get(&format!("{p}count")).await, Ok(Some(total.clone())));
    assert_eq!(store.get(&format!("{p}swapped")).await, Ok(Some(total)));
}
