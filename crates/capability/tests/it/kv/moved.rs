//! A store moves from backend to backend, data and all, while many use it: at the end everything is as if it had never moved.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use samara_capability::{
    Unrecorded,
    kv::{Granted, KeyValue, KvError, Present, Store, Swap, Usage},
};
use samara_model::{KvGrant, Limits, Tenant};

use super::{opened, share};

/// Workers, each with keys of its own beside those that all count on.
const TASKS: usize = 4;

/// Keys of each worker.
const OWN_KEYS: usize = 20;

/// Keys that nobody touches after the beginning.
const STILL_KEYS: usize = 1100;

async fn lent(backend: &Arc<dyn KeyValue>) -> (Store, Granted) {
    let store = Store::new("carts", &Tenant::default(), backend.clone()).await.unwrap();
    let lent = store.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
    (store, lent)
}

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// One worker: does to its keys what is done to a model of them, and looks whether both are the same all the time.
#[derive(Default)]
struct Worker {
    task: usize,
    model: BTreeMap<String, Bytes>,
    counted: i64,
    swapped: i64,
}

impl Worker {
    async fn step(&mut self, lent: &Granted, numbers: &mut Numbers) {
        let key = format!("own-{}-{}", self.task, numbers.below(OWN_KEYS));
        let here = self.model.get(&key).cloned();
        let length = here.as_ref().map(|value| value.len() as u64);
        let value = Bytes::from(format!("{}", numbers.below(1_000_000)));
        match numbers.below(8) {
            0 | 1 => {
                assert_eq!(lent.set(&key, value.clone()).await, Ok(length), "{key}");
                self.model.insert(key, value);
            }
            2 => {
                let ttl = Some(Duration::from_hours(1));
                assert_eq!(lent.set_expiring(&key, value.clone(), ttl).await, Ok(length), "{key}");
                self.model.insert(key, value);
            }
            3 => {
                assert_eq!(lent.delete(&key).await, Ok(length), "{key}");
                self.model.remove(&key);
            }
            4 => {
                let done = lent.increment(&key, 1).await.unwrap();
                let before = here.map_or(0, |value| String::from_utf8_lossy(&value).parse::<i64>().unwrap());
                assert_eq!(done.value, before + 1, "{key}");
                self.model.insert(key, done.value.to_string().into());
            }
            5 => {
                assert_eq!(lent.swap(&key, here.as_deref(), value.clone()).await, Ok(Swap::Done), "{key}");
                self.model.insert(key, value);
            }
            6 => assert_eq!(lent.get(&key).await, Ok(here), "{key}"),
            _ => {
                lent.increment("count", 1).await.unwrap();
                self.counted += 1;
                self.swap_one(lent).await;
            }
        }
    }

    /// Adds one to what all share, by comparing and swapping.
    async fn swap_one(&mut self, lent: &Granted) {
        let mut seen = lent.get("swapped").await.unwrap();
        loop {
            let sum = seen.as_ref().map_or(0, |seen| String::from_utf8_lossy(seen).parse::<i64>().unwrap()) + 1;
            match lent.swap("swapped", seen.as_deref(), sum.to_string().into()).await.unwrap() {
                Swap::Done => break,
                Swap::Differs(now) => seen = now,
            }
        }
        self.swapped += 1;
    }
}

/// Moves a store. On a machine that others use too, the last moment may come to more than operations wait: then it stays
/// where it is and is moved again.
async fn moved(store: &Store, to: &Arc<dyn KeyValue>) -> Usage {
    for _ in 0..5 {
        match store.move_to(to.clone(), Present::Removed, &|_| ()).await {
            Ok(copied) => return copied,
            Err(error) => assert!(matches!(error.why, KvError::TimedOut(_)), "{error}"),
        }
    }
    panic!("five times in a row it took too long");
}

/// All that is in a share.
async fn contents(store: &dyn KeyValue) -> BTreeMap<String, Bytes> {
    let (mut all, mut cursor) = (BTreeMap::new(), None);
    loop {
        let page = store.list_keys("", cursor.as_deref(), 1000).await.unwrap();
        for key in page.keys {
            let value = store.get(&key).await.unwrap().unwrap();
            all.insert(key, value);
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_moved_while_it_is_used_is_as_if_it_had_never_moved() {
    let folder = tempfile::tempdir().unwrap();
    let mut backends = vec![
        opened("memory:", "").await.unwrap(),
        opened(&format!("redb:{}/store.redb", folder.path().display()), "").await.unwrap(),
    ];
    #[cfg(feature = "external-tests")]
    let servers = [crate::servers::Server::redis(), crate::servers::Server::nats()];
    #[cfg(feature = "external-tests")]
    for server in &servers {
        backends.push(opened(&server.url(), "timeout = \"30s\"").await.unwrap());
    }
    // Somebody else is everywhere, and is left alone.
    for (number, backend) in backends.iter().enumerate() {
        share(backend, "neighbour").await.set("count", number.to_string().into()).await.unwrap();
    }
    let (store, lent) = lent(&backends[0]).await;
    let mut expected = BTreeMap::new();
    for number in 0..STILL_KEYS {
        let (key, value) = (format!("still-{number}"), Bytes::from(number.to_string()));
        lent.set(&key, value.clone()).await.unwrap();
        expected.insert(key, value);
    }
    let (end, ended) = tokio::sync::watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (lent, ended) = (lent.clone(), ended.clone());
        tasks.spawn(async move {
            let (mut worker, mut numbers) = (Worker { task, ..Worker::default() }, Numbers(task as u64));
            while !*ended.borrow() {
                worker.step(&lent, &mut numbers).await;
                // The machine is the copy's and the servers' too.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            worker
        });
    }
    // There, and the same way back.
    let there = backends.iter().skip(1);
    for next in there.chain(backends.iter().rev().skip(1)) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let copied = moved(&store, next).await;
        assert!(copied.keys >= STILL_KEYS as u64, "{copied:?}");
    }
    end.send(true).unwrap();
    let (mut counted, mut swapped) = (0, 0);
    while let Some(task) = tasks.join_next().await {
        let worker = task.unwrap();
        counted += worker.counted;
        swapped += worker.swapped;
        expected.extend(worker.model);
    }
    assert!(counted > 0);
    expected.insert("count".into(), counted.to_string().into());
    expected.insert("swapped".into(), swapped.to_string().into());
    assert_eq!(contents(&lent).await, expected);
    assert_eq!(store.bytes(), lent.usage("").await.unwrap().bytes);
    for (number, backend) in backends.iter().enumerate() {
        assert_eq!(backend.get("neighbour:count").await, Ok(Some(number.to_string().into())));
        assert_eq!(backend.usage("neighbour:").await.unwrap().keys, 1);
    }
}

#[cfg(feature = "external-tests")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_half_way_leaves_the_store_serving_where_it_was() {
    for server in [crate::servers::Server::redis(), crate::servers::Server::nats()] {
        let from = opened("memory:", "").await.unwrap();
        let (store, lent) = lent(&from).await;
        for number in 0..3000 {
            lent.set(&format!("still-{number}"), number.to_string().into()).await.unwrap();
        }
        let to = opened(&server.url(), "").await.unwrap();
        let (end, ended) = tokio::sync::watch::channel(false);
        let counting = tokio::spawn({
            let lent = lent.clone();
            async move {
                let mut counted = 0_i64;
                while !*ended.borrow() {
                    counted += 1;
                    assert_eq!(lent.increment("count", 1).await.unwrap().value, counted, "it serves all the time");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                counted
            }
        });
        let killing = |progress: samara_capability::kv::Progress| {
            if progress.copied.keys == 1000 {
                server.kill();
            }
        };
        let error = store.move_to(to, Present::Refused, &killing).await.unwrap_err();
        assert!(matches!(error.why, KvError::Backend(_) | KvError::TimedOut(_)), "{error:?}");
        assert!(error.left.keys >= 1000 && error.to_string().contains("are left at the new place"), "{error}");
        end.send(true).unwrap();
        let counted = counting.await.unwrap();
        assert!(Arc::ptr_eq(&store.link().get(), &from));
        assert_eq!(from.usage("").await.unwrap().keys, 3001);
        assert_eq!(from.get("default:count").await, Ok(Some(counted.to_string().into())));

        // It is moved when the server is there again, over what was left.
        server.start();
        let to = opened(&server.url(), "").await.unwrap();
        store.move_to(to.clone(), Present::Removed, &|_| ()).await.unwrap();
        assert_eq!(to.usage("default:").await.unwrap().keys, 3001);
        assert_eq!(lent.increment("count", 1).await.unwrap().value, counted + 1);
    }
}

#[cfg(feature = "external-tests")]
#[tokio::test]
async fn two_urls_of_one_server_are_one_place() {
    let server = crate::servers::Server::redis();
    let from = opened(&server.url(), "").await.unwrap();
    let (store, lent) = lent(&from).await;
    lent.set("k", "v".into()).await.unwrap();
    let to = opened(&server.url(), "timeout = \"3s\"").await.unwrap();
    let error = store.move_to(to, Present::Removed, &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("both places are one"), "{error}");
    assert_eq!(lent.get("k").await, Ok(Some("v".into())));
    assert_eq!(lent.usage("").await.unwrap().keys, 1);
}
