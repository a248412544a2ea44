//! Moves beside whatever may happen meanwhile, between stores of this process. Real servers are moved between in `tests/it`.

use std::{
    fmt,
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use samara_model::{KvGrant, Limits, Tenant};
use tokio::{sync::oneshot, time::Instant};

use super::*;
use crate::{
    HOLD, NOTED_BYTES, Unrecorded,
    kv::{Entry, Granted, Increment, NoWorkloads, Page, Swap, Watch, open},
};

type Hook = Box<dyn Fn(usize, &str) -> BoxFuture<'static, Result<(), KvError>> + Send + Sync>;

/// A place where something happens before the writes to it: it is told their number and key, without those of probes.
struct Hooked {
    inner: Arc<dyn KeyValue>,
    sets: AtomicUsize,
    hook: Hook,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooked").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyValue for Hooked {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        self.inner.get(key).await
    }
    async fn entry(&self, key: &str) -> Result<Option<Entry>, KvError> {
        self.inner.entry(key).await
    }
    async fn set_expiring(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Option<u64>, KvError> {
        if !key.contains(PROBE) {
            (self.hook)(self.sets.fetch_add(1, Ordering::Relaxed), key).await?;
        }
        self.inner.set_expiring(key, value, ttl).await
    }
    async fn delete(&self, key: &str) -> Result<Option<u64>, KvError> {
        self.inner.delete(key).await
    }
    async fn list_keys(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, KvError> {
        self.inner.list_keys(prefix, cursor, limit).await
    }
    async fn increment(&self, key: &str, delta: i64) -> Result<Increment, KvError> {
        self.inner.increment(key, delta).await
    }
    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes) -> Result<Swap, KvError> {
        self.inner.swap(key, expected, new).await
    }
    async fn watch(&self, prefix: &str) -> Result<Watch, KvError> {
        self.inner.watch(prefix).await
    }
    async fn usage(&self, prefix: &str) -> Result<Usage, KvError> {
        self.inner.usage(prefix).await
    }
}

async fn memory() -> Arc<dyn KeyValue> {
    open("memory:", &toml::Table::new(), &NoWorkloads).await.unwrap()
}

fn hooked(
    inner: &Arc<dyn KeyValue>,
    hook: impl Fn(usize, &str) -> BoxFuture<'static, Result<(), KvError>> + Send + Sync + 'static,
) -> Arc<dyn KeyValue> {
    Arc::new(Hooked { inner: inner.clone(), sets: AtomicUsize::new(0), hook: Box::new(hook) })
}

/// Something that happens before one write, and to the others nothing.
fn at(
    inner: &Arc<dyn KeyValue>,
    number: usize,
    happens: impl Fn() -> BoxFuture<'static, Result<(), KvError>> + Send + Sync + 'static,
) -> Arc<dyn KeyValue> {
    hooked(inner, move |n, _| if n == number { happens() } else { Box::pin(async { Ok(()) }) })
}

/// A share of `backend` with keys `0` and up in it, and as a workload sees it.
async fn filled(backend: &Arc<dyn KeyValue>, keys: usize) -> (Store, Granted) {
    let store = Store::new("carts", &Tenant::new("t").unwrap(), backend.clone()).await.unwrap();
    let lent = store.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
    for number in 0..keys {
        lent.set(&number.to_string(), number.to_string().into()).await.unwrap();
    }
    (store, lent)
}

fn silent(_: Progress) {}

#[tokio::test]
async fn all_keys_of_the_tenant_come_along_with_their_times_and_no_others() {
    let (from, to) = (memory().await, memory().await);
    let (store, lent) = filled(&from, 2500).await;
    lent.set_expiring("ends", "v".into(), Some(Duration::from_hours(1))).await.unwrap();
    from.set("u:other", "not theirs".into()).await.unwrap();
    to.set("u:own", "stays".into()).await.unwrap();
    let total = from.usage("t:").await.unwrap();
    let told = Mutex::new(Vec::new());
    let copied = store.move_to(to.clone(), Present::Refused, &|progress| told.lock().push(progress)).await.unwrap();
    assert_eq!(copied, Usage { keys: 2501, bytes: total.bytes });
    assert_eq!(told.lock().iter().map(|progress| progress.copied.keys).collect::<Vec<_>>(), [0, 1000, 2000, 2501]);
    assert!(told.lock().iter().all(|progress| progress.total == Some(total)));
    assert!(Arc::ptr_eq(&store.link().get(), &to));
    assert!(to.entry("t:ends").await.unwrap().unwrap().ttl.is_some());
    assert_eq!(to.get("u:other").await, Ok(None));
    assert_eq!(to.usage("").await.unwrap().keys, 2502, "nothing is left of what told the places apart");
    // The old place is as it was, and what is written now goes to the new one alone.
    lent.set("0", "new".into()).await.unwrap();
    assert_eq!(from.get("t:0").await, Ok(Some("0".into())));
    assert_eq!(to.get("t:0").await, Ok(Some("new".into())));
    assert_eq!(from.usage("t:").await, Ok(total));
}

#[tokio::test]
async fn what_is_done_while_it_is_copied_comes_along() {
    let (from, inner) = (memory().await, memory().await);
    let (store, lent) = filled(&from, 2500).await;
    let guest = lent.clone();
    // On the second page: keys that are copied, that are about to be, and that were not there.
    let to = at(&inner, 1200, move || {
        let guest = guest.clone();
        Box::pin(async move {
            for key in ["0", "2499"] {
                guest.increment(key, 1_000_000).await?;
            }
            guest.delete("1").await?;
            assert_eq!(guest.swap("2", Some(b"2"), "swapped".into()).await?, Swap::Done);
            guest.set_expiring("3", "ends".into(), Some(Duration::from_hours(1))).await?;
            for answered in guest.set_many(vec![("4".into(), "many".into()), ("new".into(), "many".into())]).await {
                answered?;
            }
            for answered in guest.delete_many(&["5".into(), "2498".into()]).await {
                answered?;
            }
            Ok(())
        })
    });
    store.move_to(to, Present::Refused, &silent).await.unwrap();
    let there = async |key: &str| inner.get(&format!("t:{key}")).await.unwrap();
    for (key, value) in [("0", "1000000"), ("2499", "1002499"), ("2", "swapped"), ("4", "many"), ("new", "many")] {
        assert_eq!(there(key).await.as_deref(), Some(value.as_bytes()), "{key}");
    }
    for key in ["1", "5", "2498"] {
        assert_eq!(there(key).await, None, "{key}");
    }
    assert!(inner.entry("t:3").await.unwrap().unwrap().ttl.is_some());
    assert_eq!(inner.usage("t:").await, from.usage("t:").await);
    assert_eq!(store.bytes(), lent.usage("").await.unwrap().bytes, "and is counted once");
}

#[tokio::test]
async fn what_the_new_place_has_already_is_refused_or_kept_or_removed() {
    let (from, to) = (memory().await, memory().await);
    let (store, _) = filled(&from, 3).await;
    to.set("t:0", "old".into()).await.unwrap();
    to.set("t:own", "old".into()).await.unwrap();
    to.set("u:own", "old".into()).await.unwrap();
    let refused = store.move_to(to.clone(), Present::default(), &silent).await.unwrap_err();
    assert!(matches!(refused.why, KvError::Configuration(_)) && refused.left.keys == 0, "{refused}");
    assert!(refused.to_string().contains("has keys of this tenant already"), "{refused}");
    assert_eq!(to.usage("").await.unwrap().keys, 3);

    store.move_to(to.clone(), Present::Kept, &silent).await.unwrap();
    assert_eq!(to.get("t:0").await, Ok(Some("0".into())));
    assert_eq!(to.usage("t:").await.unwrap().keys, 4);
    assert_eq!(store.bytes(), 3 * 2 + "ownold".len() as u64, "it is in the total");

    to.delete("t:0").await.unwrap();
    store.move_to(from.clone(), Present::Removed, &silent).await.unwrap();
    assert_eq!(from.get("t:0").await, Ok(None), "what was deleted there is not back here");
    assert_eq!(from.usage("t:").await, to.usage("t:").await);
    assert!(to.exists("u:own").await.unwrap());
}

#[tokio::test]
async fn one_place_under_two_names_is_not_copied_onto_itself() {
    let from = memory().await;
    let (store, _) = filled(&from, 3).await;
    let other_name = hooked(&from, |_, key| panic!("`{key}` is written"));
    for to in [from.clone(), other_name] {
        let error = store.move_to(to, Present::Removed, &silent).await.unwrap_err();
        assert!(error.to_string().contains("both places are one"), "{error}");
        assert_eq!(from.usage("").await.unwrap().keys, 3);
    }
}

#[tokio::test]
async fn a_place_that_fails_half_way_changes_nothing_and_what_is_left_there_is_told() {
    let (from, inner) = (memory().await, memory().await);
    let (store, lent) = filled(&from, 2500).await;
    let to = hooked(&inner, |number, _| {
        let failed = number >= 1200;
        Box::pin(async move { if failed { Err(KvError::Backend("it burns".to_owned())) } else { Ok(()) } })
    });
    let before = from.usage("").await;
    let error = store.move_to(to, Present::Refused, &silent).await.unwrap_err();
    assert_eq!(error.why, KvError::Backend("it burns".to_owned()));
    let left = inner.usage("t:").await.unwrap().keys;
    assert!((1000..=left).contains(&error.left.keys), "{left} of {error}");
    let text = error.to_string();
    assert!(text.starts_with("the store stays where it is: it burns; `1"), "{text}");
    assert!(Arc::ptr_eq(&store.link().get(), &from));
    assert_eq!(from.usage("").await, before);
    lent.increment("0", 1).await.unwrap();
    store.move_to(inner.clone(), Present::Removed, &silent).await.unwrap();
    assert_eq!(inner.usage("t:").await.unwrap().keys, 2500);
    assert_eq!(inner.get("t:0").await, Ok(Some("1".into())));
}

#[tokio::test(start_paused = true)]
async fn operations_wait_for_a_moment_and_no_longer() {
    let (from, inner) = (memory().await, memory().await);
    let (store, lent) = filled(&from, 3).await;
    let waited = Arc::new(Mutex::new(None));
    let (guest, waits) = (lent.clone(), waited.clone());
    let to = hooked(&inner, move |number, key| {
        let (guest, waits, key) = (guest.clone(), waits.clone(), key.to_owned());
        Box::pin(async move {
            match &*key {
                // Written while the page is copied; and while that is copied again; which is left for the last moment.
                _ if number == 0 => drop(guest.set("first", "v".into()).await?),
                "t:first" => drop(guest.set("late", "v".into()).await?),
                "t:late" => {
                    let (since, (done, answer)) = (Instant::now(), oneshot::channel());
                    tokio::spawn(async move {
                        let _ = done.send((guest.set("0", "waited".into()).await, since.elapsed()));
                    });
                    *waits.lock() = Some(answer);
                    pending::<()>().await;
                }
                _ => {}
            }
            Ok(())
        })
    });
    let error = store.move_to(to, Present::Refused, &silent).await.unwrap_err();
    assert!(matches!(error.why, KvError::TimedOut(_)), "{error}");
    let answer = waited.lock().take().expect("the last key was copied while operations waited");
    let (answered, after) = answer.await.unwrap();
    assert_eq!(answered, Ok(Some(1)));
    assert!(after >= HOLD && after < 2 * HOLD, "{after:?}");
    assert!(Arc::ptr_eq(&store.link().get(), &from));
    assert_eq!(from.get("t:0").await, Ok(Some("waited".into())));
}

#[tokio::test]
async fn one_move_at_a_time_and_one_that_is_dropped_leaves_all_as_it_was() {
    let (from, inner) = (memory().await, memory().await);
    let (store, lent) = filled(&from, 20).await;
    let (reached, began) = oneshot::channel::<()>();
    let reached = Mutex::new(Some(reached));
    let stuck = at(&inner, 10, move || {
        let reached = reached.lock().take();
        Box::pin(async move {
            drop(reached);
            pending().await
        })
    });
    let mut first = Box::pin(store.move_to(stuck, Present::Refused, &silent));
    tokio::select! {
        moved = &mut first => panic!("it cannot end: {moved:?}"),
        _ = began => {
            let second = store.move_to(memory().await, Present::Refused, &silent).await.unwrap_err();
            assert!(second.to_string().contains("is being moved already"), "{second}");
            lent.set("0", "new".into()).await.unwrap();
        }
    }
    drop(first);
    assert!(Arc::ptr_eq(&store.link().get(), &from));
    store.move_to(inner.clone(), Present::Removed, &silent).await.unwrap();
    assert_eq!(inner.get("t:0").await, Ok(Some("new".into())));
    assert_eq!(inner.usage("t:").await, from.usage("t:").await);
}

#[tokio::test]
async fn a_store_that_is_linked_elsewhere_meanwhile_stays_there() {
    let (from, inner, elsewhere) = (memory().await, memory().await, memory().await);
    let (store, lent) = filled(&from, 20).await;
    let (link, place) = (store.link().clone(), elsewhere.clone());
    let to = at(&inner, 10, move || {
        link.set(place.clone());
        Box::pin(async { Ok(()) })
    });
    let error = store.move_to(to, Present::Refused, &silent).await.unwrap_err();
    assert!(error.to_string().contains("linked elsewhere while it was moved"), "{error}");
    lent.set("0", "new".into()).await.unwrap();
    assert!(elsewhere.exists("t:0").await.unwrap());
}

#[tokio::test]
async fn a_store_that_is_written_to_faster_than_it_is_copied_stays_where_it_is() {
    let (from, inner) = (memory().await, memory().await);
    let (store, lent) = filled(&from, 20).await;
    let guest = lent.clone();
    let to = at(&inner, 10, move || {
        let guest = guest.clone();
        Box::pin(async move {
            let keys = NOTED_BYTES / 2000 + 1;
            for number in 0..keys {
                guest.set(&format!("{number:01998}"), Bytes::new()).await?;
            }
            Ok(())
        })
    });
    let error = store.move_to(to, Present::Refused, &silent).await.unwrap_err();
    assert!(error.to_string().contains("were written while some were copied"), "{error}");
    assert!(Arc::ptr_eq(&store.link().get(), &from));
}
