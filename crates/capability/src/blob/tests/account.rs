//! A store's account is what is in its backend, whatever goes on at once and whatever fails.

use std::sync::Arc;

use parking_lot::Mutex;
use samara_model::{BlobGrant, Limits, Tenant};

use super::{
    super::{
        Attributes, Blob, BlobError, Container, Info, Listed, OBJECT_BYTES, Object, Page, Place, Store, Upload, Usage,
        Written,
        check::{names, pattern, put},
    },
    folder, granted, memory,
};
use crate::Unrecorded;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_account_of_a_hammered_memory_is_exact() {
    check_hammered(memory().await, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_account_of_a_hammered_folder_is_exact() {
    let (store, _dir) = folder().await;
    check_hammered(store, 60).await;
}

async fn check_hammered(backend: Arc<dyn Blob>, rounds: usize) {
    let store = Store::new("pictures", &Tenant::default(), backend).await.unwrap();
    let limits = Limits { blob_total_bytes: 8 * OBJECT_BYTES, ..Limits::serve() };
    let lent = store.grant(BlobGrant::default(), &limits, Arc::new(Unrecorded));
    lent.create_container("c").await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_usize {
        let lent = lent.clone();
        tasks.spawn(async move {
            for round in 0..rounds {
                let object = format!("o{}", (task * 7 + round) % 5);
                // Some of these are refused for room, some find nothing: none may leave a trace in the account.
                let _ = put(&lent, "c", &object, pattern((round * 37) % 5000)).await;
                let upload = lent.put("c", &object, Attributes::default()).await;
                if let (Ok(mut upload), 0) = (upload, round % 2) {
                    let _ = upload.write(pattern(100)).await;
                }
                let (from, to) = (Place { container: "c", object: &object }, Place { container: "c", object: "o0" });
                let _ = lent.copy(from, to).await;
                let _ = lent.rename(to, from).await;
                let _ = lent.delete("c", &object).await;
                if round % 8 == task {
                    let _ = lent.clear("c").await;
                }
                let _ = lent.create_container("d").await;
                let _ = put(&lent, "d", "o0", pattern(round)).await;
                let _ = lent.rename(Place { container: "d", object: "o0" }, from).await;
                let _ = put(&lent, "d", &object, pattern(round)).await;
                if task % 2 == 0 {
                    let _ = lent.delete_container("d").await;
                } else {
                    let _ = lent.delete("d", &object).await;
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let usage = lent.usage("").await.unwrap();
    assert_eq!(store.bytes(), usage.bytes + (usage.objects + usage.containers) * OBJECT_BYTES);
    let again = Store::new("pictures", &Tenant::default(), store.link().get()).await.unwrap();
    assert_eq!(again.bytes(), store.bytes(), "a store that is opened again knows what is in it");
}

/// Few names, and everybody wants them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_renames_or_clears_what_is_being_written_loses_no_byte_of_the_account() {
    let (backend, _dir) = folder().await;
    for backend in [backend, memory().await] {
        let store = Store::new("pictures", &Tenant::default(), backend).await.unwrap();
        let lent = store.grant(BlobGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
        lent.create_container("c").await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..6_usize {
            let lent = lent.clone();
            tasks.spawn(async move {
                let (a, b) = (Place { container: "c", object: "a" }, Place { container: "c", object: "b" });
                for round in 0..150_usize {
                    match task {
                        0 | 1 => drop(put(&lent, "c", "a", pattern(round + task)).await),
                        2 => drop(lent.rename(a, b).await),
                        3 => drop(lent.rename(b, a).await),
                        4 => drop(lent.clear("c").await),
                        _ if round % 5 == 4 => {
                            let _ = lent.delete_container("c").await;
                            let _ = lent.create_container("c").await;
                        }
                        _ => drop(lent.delete("c", "b").await),
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let usage = lent.usage("").await.unwrap();
        assert_eq!(store.bytes(), usage.bytes + (usage.objects + usage.containers) * OBJECT_BYTES);
    }
}

/// A store that renames by a copy and a removal, and fails at either when it is told to.
#[derive(Debug)]
struct Apart {
    inner: Arc<dyn Blob>,
    fails: Mutex<Fails>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    Nothing,
    Copies,
    Removals,
    /// It happens, and the answer is late.
    RemovalsLate,
}

#[async_trait::async_trait]
impl Blob for Apart {
    async fn create_container(&self, container: &str) -> Result<bool, BlobError> {
        self.inner.create_container(container).await
    }
    async fn container(&self, container: &str) -> Result<Option<Container>, BlobError> {
        self.inner.container(container).await
    }
    async fn list_containers(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, BlobError> {
        self.inner.list_containers(prefix, cursor, limit).await
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
    async fn get(&self, container: &str, object: &str, range: std::ops::Range<u64>) -> Result<Object, BlobError> {
        self.inner.get(container, object, range).await
    }
    async fn put(&self, container: &str, object: &str, with: Attributes) -> Result<Box<dyn Upload>, BlobError> {
        self.inner.put(container, object, with).await
    }
    async fn delete(&self, container: &str, object: &str) -> Result<Option<u64>, BlobError> {
        let fails = *self.fails.lock();
        if fails == Fails::Removals {
            return Err(BlobError::Backend("no removal".to_owned()));
        }
        let removed = self.inner.delete(container, object).await;
        if fails == Fails::RemovalsLate { Err(BlobError::TimedOut("late".to_owned())) } else { removed }
    }
    async fn list(
        &self,
        container: &str,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Listed>, BlobError> {
        self.inner.list(container, prefix, cursor, limit).await
    }
    async fn copy(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError> {
        if *self.fails.lock() == Fails::Copies {
            return Err(BlobError::Backend("no copy".to_owned()));
        }
        self.inner.copy(from, to).await
    }
    async fn usage(&self, prefix: &str) -> Result<Usage, BlobError> {
        self.inner.usage(prefix).await
    }
}

#[tokio::test]
async fn a_rename_that_copies_counts_the_copy_however_it_ends() {
    let backend = Arc::new(Apart { inner: memory().await, fails: Mutex::new(Fails::Nothing) });
    let store = Store::new("pictures", &Tenant::default(), backend.clone()).await.unwrap();
    let limits = Limits { blob_total_bytes: 6 * OBJECT_BYTES, ..Limits::serve() };
    let lent = store.grant(BlobGrant::default(), &limits, Arc::new(Unrecorded));
    lent.create_container("c").await.unwrap();
    let (a, b) = (Place { container: "c", object: "a" }, Place { container: "c", object: "b" });
    let exact = async |what: &str| {
        let usage = lent.usage("").await.unwrap();
        assert_eq!(store.bytes(), usage.bytes + (usage.objects + usage.containers) * OBJECT_BYTES, "{what}");
        (usage.objects, usage.bytes)
    };
    put(&lent, "c", "a", pattern(3000)).await.unwrap();
    assert_eq!(lent.rename(a, b).await, Ok(Written { bytes: 3000, replaced: None }));
    assert_eq!(exact("renamed").await, (1, 3000));
    put(&lent, "c", "a", pattern(1000)).await.unwrap();
    assert_eq!(lent.rename(b, a).await, Ok(Written { bytes: 3000, replaced: Some(1000) }));
    assert_eq!(exact("renamed over another").await, (1, 3000));
    assert_eq!(lent.rename(a, a).await, Ok(Written { bytes: 3000, replaced: Some(3000) }));
    assert_eq!(lent.rename(b, a).await, Err(BlobError::no_such_object("b")));
    assert_eq!(exact("onto itself, and nothing").await, (1, 3000));

    *backend.fails.lock() = Fails::Copies;
    assert_eq!(lent.rename(a, b).await, Err(BlobError::Backend("no copy".to_owned())));
    assert_eq!(exact("not copied").await, (1, 3000));
    *backend.fails.lock() = Fails::Removals;
    assert_eq!(lent.rename(a, b).await, Err(BlobError::Backend("no removal".to_owned())));
    assert_eq!(exact("copied and not removed").await, (2, 6000));
    let full = BlobError::TooLarge { what: "total of all objects", limit: limits.blob_total_bytes };
    let c = Place { container: "c", object: "c" };
    assert_eq!(lent.rename(a, c).await, Err(full.clone()), "there is no room for both");
    *backend.fails.lock() = Fails::Nothing;
    assert_eq!(lent.rename(a, c).await, Err(full), "nor for a moment");
    assert_eq!(exact("refused").await, (2, 6000));
    lent.delete("c", "b").await.unwrap();
    *backend.fails.lock() = Fails::RemovalsLate;
    assert_eq!(lent.rename(a, b).await, Err(BlobError::TimedOut("late".to_owned())));
    assert_eq!(store.bytes(), 3 * OBJECT_BYTES + 6000, "what may be there counts until it is measured");
}

#[tokio::test]
async fn a_folder_counts_both_where_a_name_is_hidden_behind_a_hash() {
    let (backend, _dir) = folder().await;
    let limits = Limits { blob_total_bytes: 2 * OBJECT_BYTES + 5000, ..Limits::serve() };
    let lent = granted(&backend, "tenant", &limits).await;
    lent.create_container("c").await.unwrap();
    put(&lent, "c", "a", pattern(5000)).await.unwrap();
    let long = "l".repeat(300);
    let (a, b) = (Place { container: "c", object: "a" }, Place { container: "c", object: "b" });
    let full = BlobError::TooLarge { what: "total of all objects", limit: limits.blob_total_bytes };
    assert_eq!(lent.rename(a, Place { object: &long, ..a }).await, Err(full));
    lent.rename(a, b).await.unwrap();
    assert_eq!(names(&lent, "c", "", 10).await.unwrap(), ["b".to_owned()].into());
}
