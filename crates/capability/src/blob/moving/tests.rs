//! Moves beside whatever may happen meanwhile, between stores of this process. Real servers are moved between in `tests/it`.

use std::{
    fmt,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use parking_lot::Mutex;
use samara_model::{BlobGrant, Limits, Tenant};

use super::*;
use crate::{
    Unrecorded,
    blob::{
        Attributes, Container, Granted, Info, Listed, OBJECT_BYTES, Object, Page, Upload, Written,
        check::{get, names, pattern, put},
        copy::Room,
        open,
    },
};

type Hook = Box<dyn Fn(usize) -> BoxFuture<'static, Result<(), BlobError>> + Send + Sync>;

/// A place where something happens before an object is written to it: it is told how many were before.
struct Hooked {
    inner: Arc<dyn Blob>,
    puts: AtomicUsize,
    hook: Hook,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooked").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl Blob for Hooked {
    async fn create_container(&self, container: &str) -> Result<bool, BlobError> {
        self.inner.create_container(container).await
    }
    async fn container(&self, container: &str) -> Result<Option<Container>, BlobError> {
        self.inner.container(container).await
    }
    async fn list_containers(&self, p: &str, cursor: Option<&str>, limit: usize) -> Result<Page<String>, BlobError> {
        self.inner.list_containers(p, cursor, limit).await
    }
    async fn delete_container(&self, container: &str) -> Result<Option<Usage>, BlobError> {
        self.inner.delete_container(container).await
    }
    async fn clear(&self, container: &str) -> Result<Usage, BlobError> {
        self.inner.clear(container).await
    }
    async fn info(&self, container: &str, object: &str) -> Result<Option<Info>, BlobError> {
        self.inner.info(container, object).await
    }
    async fn get(&self, container: &str, object: &str, range: Range<u64>) -> Result<Object, BlobError> {
        self.inner.get(container, object, range).await
    }
    async fn put(&self, container: &str, object: &str, with: Attributes) -> Result<Box<dyn Upload>, BlobError> {
        (self.hook)(self.puts.fetch_add(1, Ordering::Relaxed)).await?;
        self.inner.put(container, object, with).await
    }
    async fn delete(&self, container: &str, object: &str) -> Result<Option<u64>, BlobError> {
        self.inner.delete(container, object).await
    }
    async fn list(&self, c: &str, p: &str, cursor: Option<&str>, limit: usize) -> Result<Page<Listed>, BlobError> {
        self.inner.list(c, p, cursor, limit).await
    }
    async fn copy(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError> {
        self.inner.copy(from, to).await
    }
    async fn usage(&self, prefix: &str) -> Result<Usage, BlobError> {
        self.inner.usage(prefix).await
    }
}

async fn memory() -> Arc<dyn Blob> {
    open("memory:", &toml::Table::new()).await.unwrap()
}

fn hooked(
    inner: &Arc<dyn Blob>,
    hook: impl Fn(usize) -> BoxFuture<'static, Result<(), BlobError>> + Send + Sync + 'static,
) -> Arc<dyn Blob> {
    Arc::new(Hooked { inner: inner.clone(), puts: AtomicUsize::new(0), hook: Box::new(hook) })
}

/// Something that happens before one object is written, and before the others nothing.
fn at(
    inner: &Arc<dyn Blob>,
    number: usize,
    happens: impl Fn() -> BoxFuture<'static, Result<(), BlobError>> + Send + Sync + 'static,
) -> Arc<dyn Blob> {
    hooked(inner, move |n| if n == number { happens() } else { Box::pin(async { Ok(()) }) })
}

/// A share of `backend` as a workload sees it, with containers `a` and `b` of so many objects each, whose content is their
/// name.
async fn filled(backend: &Arc<dyn Blob>, objects: usize) -> (Store, Granted) {
    let store = Store::new("pictures", &Tenant::new("t").unwrap(), backend.clone()).await.unwrap();
    let lent = store.grant(BlobGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
    for container in ["a", "b"] {
        lent.create_container(container).await.unwrap();
        for number in 0..objects {
            put(&lent, container, &number.to_string(), number.to_string().into()).await.unwrap();
        }
    }
    (store, lent)
}

/// What a share's account has to be.
fn counted(usage: &Usage) -> u64 {
    usage.bytes + (usage.objects + usage.containers) * OBJECT_BYTES
}

fn silent(_: Progress) {}

#[tokio::test]
async fn all_containers_of_the_tenant_come_along_with_attributes_and_no_others() {
    let (from, to) = (memory().await, memory().await);
    let (store, lent) = filled(&from, 1200).await;
    lent.create_container("empty").await.unwrap();
    let attributes = Attributes { content_type: Some("image/png".to_owned()), ..Attributes::default() };
    let mut upload = lent.put("a", "picture", attributes.clone()).await.unwrap();
    upload.write(pattern(700_000)).await.unwrap();
    upload.finish().await.unwrap();
    for backend in [&from, &to] {
        backend.create_container("u:a").await.unwrap();
        put(&**backend, "u:a", "0", "not theirs".into()).await.unwrap();
    }
    let total = from.usage("t:").await.unwrap();
    let told = Mutex::new(Vec::new());
    let copied = store.move_to(to.clone(), Present::Refused, &|progress| told.lock().push(progress)).await.unwrap();
    assert_eq!((copied, copied.objects), (total, 2401));
    assert_eq!(
        told.lock().iter().map(|progress| progress.copied.objects).collect::<Vec<_>>(),
        (0..=2401).collect::<Vec<_>>()
    );
    assert!(told.lock().iter().all(|progress| progress.total == Some(total)));
    assert!(Arc::ptr_eq(&store.link().get(), &to));
    assert_eq!(lent.info("a", "picture").await.unwrap().unwrap().attributes, attributes);
    assert!(get(&lent, "a", "picture").await.unwrap() == pattern(700_000));
    assert_eq!(names(&lent, "empty", "", 10).await.unwrap().len(), 0);
    assert_eq!(to.usage("").await.unwrap().containers, 4, "nothing is left of what told the places apart");
    assert_eq!(to.usage("t:").await, Ok(total));
    assert_eq!(store.bytes(), counted(&total));
    // The old place is as it was, and what is written now goes to the new one alone.
    put(&lent, "a", "0", "new".into()).await.unwrap();
    assert_eq!(get(&*from, "t:a", "0").await.unwrap(), "0");
    assert_eq!(get(&*to, "t:a", "0").await.unwrap(), "new");
    assert_eq!(get(&*to, "u:a", "0").await.unwrap(), "not theirs");
    assert_eq!(from.usage("t:").await, Ok(total));
}

#[tokio::test]
async fn what_is_done_while_it_is_copied_comes_along() {
    // Before the container `b` is copied, in its middle, and when all is copied but for the last object.
    for moment in [900, 1500, 2399] {
        let (from, inner) = (memory().await, memory().await);
        let (store, lent) = filled(&from, 1200).await;
        let guest = lent.clone();
        let to = at(&inner, moment, move || {
            let guest = guest.clone();
            Box::pin(async move {
                let place = |container, object| Place { container, object };
                put(&guest, "a", "0", "changed".into()).await?;
                guest.delete("a", "1").await?;
                guest.rename(place("a", "2"), place("b", "renamed")).await?;
                guest.copy(place("b", "3"), place("a", "copied")).await?;
                guest.delete_many("b", &["4".into(), "5".into(), "no such".into()]).await;
                guest.create_container("new").await?;
                put(&guest, "new", "o", "new".into()).await?;
                guest.create_container("gone").await?;
                guest.delete_container("gone").await?;
                Ok(())
            })
        });
        store.move_to(to, Present::Refused, &silent).await.unwrap();
        assert_eq!(inner.usage("t:").await, from.usage("t:").await, "{moment}");
        for container in ["t:a", "t:b", "t:new"] {
            let all = names(&*from, container, "", 1000).await.unwrap();
            assert_eq!(names(&*inner, container, "", 1000).await.unwrap(), all, "{container} at {moment}");
            for object in all.iter().filter(|name| name.len() > 3 || name.parse::<usize>().is_ok_and(|n| n < 9)) {
                assert_eq!(get(&*inner, container, object).await, get(&*from, container, object).await, "{object}");
            }
        }
        assert_eq!(inner.container("t:gone").await, Ok(None));
        assert_eq!(store.bytes(), counted(&lent.usage("").await.unwrap()), "and is counted once");
    }
}

#[tokio::test]
async fn containers_that_are_emptied_while_they_are_copied_are_empty_there() {
    for moment in [0, 1500, 2399] {
        let (from, inner) = (memory().await, memory().await);
        let (store, lent) = filled(&from, 1200).await;
        let guest = lent.clone();
        let to = at(&inner, moment, move || {
            let guest = guest.clone();
            Box::pin(async move {
                guest.clear("a").await?;
                put(&guest, "a", "7", "again".into()).await?;
                guest.delete_container("b").await?;
                guest.create_container("b").await?;
                put(&guest, "b", "8", "again".into()).await?;
                Ok(())
            })
        });
        store.move_to(to, Present::Refused, &silent).await.unwrap();
        assert_eq!(lent.usage("").await, Ok(Usage { containers: 2, objects: 2, bytes: 10 }), "{moment}");
        assert_eq!(get(&lent, "a", "7").await.unwrap(), "again");
        assert_eq!(get(&lent, "b", "8").await.unwrap(), "again");
        assert_eq!(store.bytes(), counted(&lent.usage("").await.unwrap()));
    }
}

#[tokio::test]
async fn an_upload_that_is_finished_after_a_move_is_at_the_new_place() {
    let (from, to) = (memory().await, memory().await);
    let (store, lent) = filled(&from, 3).await;
    lent.create_container("c").await.unwrap();
    let attributes = Attributes { content_type: Some("image/png".to_owned()), ..Attributes::default() };
    let mut upload = lent.put("a", "0", attributes.clone()).await.unwrap();
    let mut made_again = lent.put("c", "0", Attributes::default()).await.unwrap();
    made_again.write("again".into()).await.unwrap();
    lent.delete_container("c").await.unwrap();
    let mut lost = lent.put("b", "0", Attributes::default()).await.unwrap();
    let dropped = lent.put("a", "dropped", Attributes::default()).await.unwrap();
    upload.write(pattern(300_000)).await.unwrap();
    let reading = lent.get("a", "1", 0..u64::MAX).await.unwrap();
    store.move_to(to.clone(), Present::Refused, &silent).await.unwrap();
    assert_eq!(get(&lent, "a", "0").await.unwrap(), "0", "nothing is seen of it before it is finished");
    upload.write(pattern(300_000)).await.unwrap();
    assert_eq!(upload.finish().await, Ok(Written { bytes: 600_000, replaced: Some(1) }));
    assert_eq!(get(&lent, "a", "0").await.unwrap(), [pattern(300_000), pattern(300_000)].concat());
    assert_eq!(lent.info("a", "0").await.unwrap().unwrap().attributes, attributes);
    drop(dropped);
    lent.delete("a", "1").await.unwrap();
    assert_eq!(reading.collect(10).await.unwrap(), "1", "who reads reads on where it was begun");
    lent.delete_container("b").await.unwrap();
    lost.write("late".into()).await.unwrap();
    assert_eq!(lost.finish().await, Err(BlobError::no_such_container("b")), "its container is gone");
    lent.create_container("c").await.unwrap();
    assert_eq!(made_again.finish().await, Ok(Written { bytes: 5, replaced: None }), "its container is there again");
    assert_eq!(store.bytes(), counted(&lent.usage("").await.unwrap()));

    // One that was begun where the share is again is not carried anywhere, and a link without data changes nothing for it.
    let mut upload = lent.put("a", "0", Attributes::default()).await.unwrap();
    upload.write("back".into()).await.unwrap();
    store.move_to(from.clone(), Present::Removed, &silent).await.unwrap();
    store.move_to(to.clone(), Present::Removed, &silent).await.unwrap();
    assert_eq!(upload.finish().await, Ok(Written { bytes: 4, replaced: Some(600_000) }));
    assert_eq!(store.bytes(), counted(&lent.usage("").await.unwrap()));
    let upload = lent.put("a", "2", Attributes::default()).await.unwrap();
    store.link().set(memory().await);
    assert_eq!(upload.finish().await, Ok(Written { bytes: 0, replaced: Some(1) }));
    assert_eq!(get(&*to, "t:a", "2").await.unwrap(), "");
}

#[tokio::test]
async fn what_the_new_place_has_already_is_refused_or_kept_or_removed() {
    let (from, to) = (memory().await, memory().await);
    let (store, lent) = filled(&from, 3).await;
    for (container, object) in [("t:a", "0"), ("t:a", "own"), ("t:own", "o"), ("u:own", "o")] {
        to.create_container(container).await.unwrap();
        put(&*to, container, object, "old".into()).await.unwrap();
    }
    let refused = store.move_to(to.clone(), Present::default(), &silent).await.unwrap_err();
    assert!(matches!(refused.why, BlobError::Configuration(_)) && refused.left == Usage::default(), "{refused}");
    assert!(refused.to_string().contains("has containers and objects of this tenant already"), "{refused}");
    assert_eq!(to.usage("").await.unwrap().objects, 4);

    store.move_to(to.clone(), Present::Kept, &silent).await.unwrap();
    assert_eq!(get(&lent, "a", "0").await.unwrap(), "0");
    assert_eq!(get(&lent, "a", "own").await.unwrap(), "old");
    let usage = to.usage("t:").await.unwrap();
    assert_eq!(usage, Usage { containers: 3, objects: 8, bytes: 12 });
    assert_eq!(store.bytes(), counted(&usage), "it is in the total");

    lent.delete("a", "0").await.unwrap();
    store.move_to(from.clone(), Present::Removed, &silent).await.unwrap();
    assert_eq!(from.info("t:a", "0").await, Ok(None), "what was deleted there is not back here");
    assert_eq!(from.usage("t:").await, to.usage("t:").await);
    assert_eq!(get(&*to, "u:own", "o").await.unwrap(), "old");
}

#[tokio::test]
async fn one_place_under_two_names_is_not_copied_onto_itself() {
    let from = memory().await;
    let (store, _) = filled(&from, 3).await;
    let other_name = hooked(&from, |_| panic!("an object is written"));
    for to in [from.clone(), other_name] {
        let error = store.move_to(to, Present::Removed, &silent).await.unwrap_err();
        assert!(error.to_string().contains("both places are one"), "{error}");
        assert_eq!(from.usage("").await, Ok(Usage { containers: 2, objects: 6, bytes: 6 }));
    }
}

#[tokio::test]
async fn a_place_that_fails_half_way_changes_nothing_and_what_is_left_there_is_told() {
    let (from, inner) = (memory().await, memory().await);
    let (store, lent) = filled(&from, 1200).await;
    let to = hooked(&inner, |number| {
        let failed = number >= 1500;
        Box::pin(async move { if failed { Err(BlobError::Backend("it burns".to_owned())) } else { Ok(()) } })
    });
    let before = from.usage("").await;
    let error = store.move_to(to, Present::Refused, &silent).await.unwrap_err();
    assert_eq!(error.why, BlobError::Backend("it burns".to_owned()));
    let left = inner.usage("t:").await.unwrap();
    assert!(left.containers == 2 && (1200..=left.objects).contains(&error.left.objects), "{left:?} of {error}");
    let text = error.to_string();
    assert!(text.starts_with("the store stays where it is: it burns; `1"), "{text}");
    assert!(text.contains("containers and objects that were copied are left at the new place"), "{text}");
    assert!(Arc::ptr_eq(&store.link().get(), &from));
    assert_eq!(from.usage("").await, before);
    put(&lent, "a", "0", "written".into()).await.unwrap();
    store.move_to(inner.clone(), Present::Removed, &silent).await.unwrap();
    assert_eq!(inner.usage("t:").await.unwrap().objects, 2400);
    assert_eq!(get(&*inner, "t:a", "0").await.unwrap(), "written");
}

#[tokio::test]
async fn a_measurement_finds_what_is_there_and_what_is_being_uploaded() {
    let (here, there) = (memory().await, memory().await);
    let (store, lent) = filled(&here, 3).await;
    there.create_container("t:a").await.unwrap();
    put(&*there, "t:a", "other", pattern(9999)).await.unwrap();
    let mut upload = lent.put("a", "0", Attributes::default()).await.unwrap();
    upload.write(pattern(5000)).await.unwrap();
    let mut given_up = lent.put("b", "0", Attributes::default()).await.unwrap();
    given_up.write(pattern(70)).await.unwrap();

    store.link().set(there.clone());
    store.measure().await.unwrap();
    let usage = Usage { containers: 1, objects: 1, bytes: 9999 };
    assert_eq!(lent.usage("").await, Ok(usage));
    assert_eq!(store.bytes(), counted(&usage) + 5070 + 2 * OBJECT_BYTES, "uploads count as they did");
    drop(given_up);
    assert_eq!(store.bytes(), counted(&usage) + 5000 + OBJECT_BYTES);
    there.delete("t:a", "other").await.unwrap();
    store.measure().await.unwrap();
    assert_eq!(store.bytes(), 2 * OBJECT_BYTES + 5000);

    // Back, and finished: counted where it was begun, which is where the name leads.
    store.link().set(here.clone());
    store.measure().await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(store.bytes(), counted(&lent.usage("").await.unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_is_measured_while_it_is_written_to_keeps_its_account() {
    let backend = memory().await;
    let (store, lent) = filled(&backend, 3).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4_usize {
        let lent = lent.clone();
        tasks.spawn(async move {
            for round in 0..300_usize {
                let object = format!("{}", (task + round) % 5);
                let mut upload = lent.put("a", &object, Attributes::default()).await.unwrap();
                for _ in 0..round % 4 {
                    upload.write(pattern(round * 10)).await.unwrap();
                    tokio::task::yield_now().await;
                }
                if round % 3 != 0 {
                    upload.finish().await.unwrap();
                }
            }
        });
    }
    let mut measured = 0;
    while !tasks.is_empty() {
        store.measure().await.unwrap();
        measured += 1;
        while let Some(done) = tasks.try_join_next() {
            done.unwrap();
        }
        tokio::task::yield_now().await;
    }
    assert!(measured > 0);
    store.measure().await.unwrap();
    assert_eq!(store.bytes(), counted(&lent.usage("").await.unwrap()));
}

#[tokio::test]
async fn what_is_copied_at_once_is_bounded_in_memory() {
    let room = Room::default();
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(room.take(40 << 30).now_or_never().expect("room for four large objects").unwrap());
    }
    assert!(room.take(0).now_or_never().is_none(), "and not for the smallest beside them");
    taken.pop();
    for _ in 0..16 {
        taken.push(room.take(1).now_or_never().expect("room for sixteen small ones").unwrap());
    }
    assert!(room.take(1).now_or_never().is_none());
    // An object's own stream is in chunks, whatever the place.
    let from = memory().await;
    let (_, lent) = filled(&from, 0).await;
    put(&lent, "a", "large", pattern(3 << 20)).await.unwrap();
    let read = lent.get("a", "large", 0..u64::MAX).await.unwrap();
    assert!(read.body.all(|chunk| async move { chunk.unwrap().len() <= crate::blob::CHUNK_BYTES }).await);
}
