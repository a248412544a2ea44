//! Stores on real servers: the suite, servers that are down, frozen, away for a while, or ask for another password.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use samara_capability::kv::{Change, KeyValue, KvError, Watch, check_kv};

use super::{PATIENT, opened, share};
use crate::servers::{PASSWORD, Server};

/// How long anything may take that comes by itself.
const SOON: Duration = Duration::from_secs(60);

/// A time-out that a server meets on a busy machine, unless it hangs.
const SHORT: &str = "timeout = \"4s\"";

/// The servers a store may be on.
fn servers() -> Vec<Server> {
    vec![Server::redis(), Server::nats()]
}

/// Those that ask for a password.
fn guarded() -> Vec<Server> {
    vec![Server::redis_with_password(), Server::nats_with_password()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_passes_the_suite() {
    for server in servers() {
        let store = opened(&server.url(), PATIENT).await.unwrap();
        check_kv(store.clone()).await;
        let neighbour = share(&store, "neighbour").await;
        for key in ["a", "page/key-3", "zz"] {
            neighbour.set(key, "not yours".into()).await.unwrap();
        }
        check_kv(Arc::new(share(&store, "tenant").await)).await;
        assert_eq!(neighbour.get("page/key-3").await, Ok(Some("not yours".into())));
        assert_eq!(neighbour.usage("").await.unwrap().keys, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_server_see_each_others_writes_and_changes() {
    for server in servers() {
        let (here, there) =
            (opened(&server.url(), PATIENT).await.unwrap(), opened(&server.url(), PATIENT).await.unwrap());
        let mut watch = here.watch("t:").await.unwrap();
        skip_missed(&mut watch, &there, "t:first").await;
        there.set("t:k", "v".into()).await.unwrap();
        assert_eq!(next(&mut watch).await, Change::Set("t:k".into()));
        assert_eq!(here.get("t:k").await, Ok(Some("v".into())));
        let counting = |store: Arc<dyn KeyValue>| async move {
            for _ in 0..200 {
                store.increment("t:n", 1).await.unwrap();
            }
        };
        tokio::join!(counting(here.clone()), counting(there.clone()));
        assert_eq!(here.get("t:n").await, Ok(Some("400".into())));
        let lent = share(&here, "t").await;
        assert_eq!(lent.store().bytes(), there.usage("t:").await.unwrap().bytes - 2 * "t:".len() as u64);
    }
}

/// Waits until a watch stands: it tells of a first change, perhaps after saying that it knows of none before.
async fn skip_missed(watch: &mut Watch, store: &Arc<dyn KeyValue>, key: &str) {
    store.set(key, "v".into()).await.unwrap();
    while next(watch).await != Change::Set(key.into()) {}
    store.delete(key).await.unwrap();
    while next(watch).await != Change::Removed(key.into()) {}
}

async fn next(watch: &mut Watch) -> Change {
    tokio::time::timeout(SOON, watch.next()).await.expect("a change is told").expect("the store is open")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_is_said_so_at_once() {
    for server in servers() {
        server.stop();
        let since = Instant::now();
        let error = opened(&server.url(), SHORT).await.unwrap_err();
        assert!(since.elapsed() < SOON / 2, "{:?}", since.elapsed());
        assert!(matches!(error, KvError::Backend(_) | KvError::TimedOut(_)), "{error:?}");
        assert!(error.to_string().contains(&server.address().to_string()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_is_used_again() {
    for server in servers() {
        let store = opened(&server.url(), SHORT).await.unwrap();
        let mut watch = store.watch("k").await.unwrap();
        store.set("kept", "v".into()).await.unwrap();
        server.stop();
        for _ in 0..3 {
            let since = Instant::now();
            let error = store.get("kept").await.unwrap_err();
            assert!(matches!(error, KvError::Backend(_) | KvError::TimedOut(_)), "{error:?}");
            assert!(since.elapsed() < SOON / 2, "{:?}", since.elapsed());
        }
        server.start();
        eventually(async || store.get("kept").await == Ok(Some("v".into()))).await;
        assert_eq!(store.increment("n", 1).await.unwrap().value, 1, "scripts are there again");
        // A watch goes on: what happens is told, or that something was missed.
        let heard = async |watch: &mut Watch| {
            store.set("k", "v".into()).await.unwrap();
            let told = tokio::time::timeout(Duration::from_millis(300), watch.next()).await;
            matches!(told, Ok(Some(Change::Missed))) || told == Ok(Some(Change::Set("k".into())))
        };
        let since = Instant::now();
        while !heard(&mut watch).await {
            assert!(since.elapsed() < SOON, "{server:?}: a watch does not come back");
        }
        eventually(async || matches!(tokio::time::timeout(SOON / 6, watch_next(&store)).await, Ok(true))).await;
    }
}

/// Whether a new watch is told of a change.
async fn watch_next(store: &Arc<dyn KeyValue>) -> bool {
    let Ok(mut watch) = store.watch("seen").await else { return false };
    if store.set("seen", "v".into()).await.is_err() {
        return false;
    }
    loop {
        match watch.next().await {
            Some(Change::Set(key)) => return key == "seen",
            Some(_) => {}
            None => return false,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_costs_its_time_out_and_no_more() {
    for server in servers() {
        let store = opened(&server.url(), SHORT).await.unwrap();
        store.set("k", "1".into()).await.unwrap();
        server.freeze();
        let since = Instant::now();
        let (get, set, list) = tokio::join!(store.get("k"), store.increment("k", 1), store.list_keys("", None, 10));
        for error in [get.unwrap_err(), set.map(drop).unwrap_err(), list.map(drop).unwrap_err()] {
            assert!(matches!(error, KvError::TimedOut(_)), "{error:?}");
        }
        assert!(since.elapsed() < SOON / 2, "{:?}", since.elapsed());
        assert!(opened(&server.url(), "timeout = \"400ms\"").await.is_err());
        server.thaw();
        eventually(async || store.get("k").await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_is_ever_told() {
    for server in guarded() {
        let right = opened(&server.url_in_full(), PATIENT).await.unwrap();
        right.set("k", "v".into()).await.unwrap();
        assert!(!format!("{right:?}").contains(PASSWORD), "{right:?}");
        let wrong = "hunter2-of-the-test";
        for url in [server.url_as("default", wrong), server.url_as(wrong, wrong), server.url()] {
            let error = opened(&url, PATIENT).await.unwrap_err();
            assert!(matches!(error, KvError::Configuration(_)), "{error:?}");
            let told = format!("{error} {error:?}");
            assert!(!told.contains(wrong) && !told.contains(PASSWORD), "{told}");
            assert!(told.contains("does not accept"), "{told}");
        }
        server.stop();
        let told = format!("{:?}", right.get("k").await);
        assert!(!told.contains(PASSWORD), "{told}");
    }
}

async fn eventually(holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("it comes by itself");
}

#[tokio::test]
async fn urls_that_are_none_say_what_to_write() {
    for url in ["redis:", "redis://", "redis://h:port", "redis://:s3cret@h:x/y"] {
        let error = opened(url, "timeout = \"300ms\"").await.unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
    assert!(opened("redis://127.0.0.1", "pool = 3").await.unwrap_err().to_string().contains("`timeout`"));
    assert!(opened("redis://127.0.0.1", "timeout = \"0s\"").await.is_err());
}

mod nats {
    //! What only NATS has: a bound on messages, names that are not any text, buckets of others.

    use super::*;

    #[tokio::test]
    async fn what_the_server_does_not_take_is_too_large() {
        let server = Server::nats();
        let store = opened(&server.url(), "").await.unwrap();
        let large = store.set("k", Bytes::from(vec![0; 2 << 20])).await.unwrap_err();
        assert!(matches!(large, KvError::TooLarge { limit, .. } if limit == 1 << 20), "{large:?}");
        let long = store.set(&"\u{1f341}".repeat(500), Bytes::new()).await.unwrap_err();
        assert!(matches!(long, KvError::TooLarge { .. }), "{long:?}");
        assert_eq!(store.set("k", "v".into()).await, Ok(None), "it goes on");
    }

    #[tokio::test]
    async fn buckets_are_stores_of_their_own() {
        let server = Server::nats();
        let one = opened(&format!("{}/one", server.url()), "").await.unwrap();
        let other = opened(&format!("{}/other", server.url()), "").await.unwrap();
        one.set("k", "v".into()).await.unwrap();
        assert_eq!(other.get("k").await, Ok(None));
        assert_eq!(opened(&format!("{}/one", server.url()), "").await.unwrap().get("k").await, Ok(Some("v".into())));
        one.set_expiring("ends", "v".into(), Some(Duration::from_millis(1))).await.unwrap();
        eventually(async || one.usage("").await.unwrap().keys == 1).await;
    }
}

mod redis {
    //! What only Redis has: data of other programs beside ours.

    use super::*;

    #[tokio::test]
    async fn what_others_have_written_is_there_and_what_is_no_string_is_an_error() {
        let server = Server::redis();
        let told = |commands: &[&[&str]]| {
            for command in commands {
                let port = server.address().port().to_string();
                let done = std::process::Command::new("redis-cli").args(["-p", &port]).args(*command).output().unwrap();
                assert!(done.status.success(), "{done:?}");
            }
        };
        told(&[&["SET", "t:theirs", "text"], &["SET", ":odd", "x"], &["RPUSH", "t:list", "a"]]);
        let store = opened(&server.url(), PATIENT).await.unwrap();
        assert_eq!(store.list_keys("t:", None, 10).await.unwrap().keys, ["t:theirs"]);
        assert_eq!(store.get("t:theirs").await, Ok(Some("text".into())));
        for error in [
            store.get("t:list").await.map(drop).unwrap_err(),
            store.set("t:list", Bytes::new()).await.map(drop).unwrap_err(),
            store.increment("t:list", 1).await.map(drop).unwrap_err(),
        ] {
            assert!(matches!(&error, KvError::Backend(text) if text.contains("WRONGTYPE")), "{error:?}");
        }
        told(&[&["SCRIPT", "FLUSH"], &["DEL", "t:theirs"]]);
        assert_eq!(store.set("t:ours", "v".into()).await, Ok(None), "a forgotten script is loaded again");
        assert_eq!(store.list_keys("t:", None, 10).await.unwrap().keys, ["t:ours"]);
        assert_eq!(store.usage("t:").await.unwrap().keys, 1);
        let ours = std::process::Command::new("redis-cli")
            .args(["-p", &server.address().port().to_string(), "GET", "t:ours"])
            .output()
            .unwrap();
        assert_eq!(ours.stdout, b"v\n", "others read it");
    }
}
