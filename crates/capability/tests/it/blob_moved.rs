//! A blob store moves from backend to backend, data and all, while many use it: at the end everything is as if it had never
//! moved.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use samara_capability::{
    Unrecorded,
    blob::{
        Attributes, Blob, BlobError, Granted, OBJECT_BYTES, Place, Present, Store, Upload, Usage, Written,
        check::{get, names, pattern, put},
        open,
    },
};
use samara_model::{BlobGrant, Limits, Tenant};

/// Workers, each with containers of its own.
const TASKS: usize = 3;

/// Containers of each worker.
const CONTAINERS: usize = 2;

/// Objects of each of them.
const OBJECTS: usize = 5;

/// Objects that nobody touches after the beginning.
const STILL_OBJECTS: usize = 60;

/// Bytes of the largest of those: more than one part of an upload to S3, which is another way to write.
const LARGE: usize = 6 << 20;

async fn lent(backend: &Arc<dyn Blob>, tenant: &str) -> (Store, Granted) {
    let store = Store::new("pictures", &Tenant::new(tenant).unwrap(), backend.clone()).await.unwrap();
    let lent = store.grant(BlobGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
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

/// What is in a container.
type Objects = BTreeMap<String, Bytes>;

/// An upload that is under way while other things are done.
struct Uploading {
    upload: Box<dyn Upload>,
    container: String,
    object: String,
    content: Vec<u8>,
}

/// One worker: does to its containers what is done to a model of them, and looks whether both are the same all the time.
struct Worker {
    task: usize,
    model: BTreeMap<String, Objects>,
    uploading: Option<Uploading>,
    finished_later: usize,
}

impl Worker {
    fn new(task: usize) -> Self {
        Self { task, model: BTreeMap::new(), uploading: None, finished_later: 0 }
    }

    async fn step(&mut self, lent: &Granted, numbers: &mut Numbers) {
        let container = format!("own-{}-{}", self.task, numbers.below(CONTAINERS));
        let object = numbers.below(OBJECTS).to_string();
        let content = pattern(numbers.below(3000)).slice(..);
        let Some(here) = self.model.get_mut(&container) else {
            let refused = put(lent, &container, &object, content).await;
            assert_eq!(refused, Err(BlobError::no_such_container(&container)));
            assert_eq!(lent.create_container(&container).await, Ok(true), "{container}");
            self.model.insert(container, Objects::new());
            return;
        };
        let replaced = here.get(&object).map(|content| content.len() as u64);
        match numbers.below(16) {
            0..4 => {
                let written = Written { bytes: content.len() as u64, replaced };
                assert_eq!(put(lent, &container, &object, content.clone()).await, Ok(written), "{container}/{object}");
                here.insert(object, content);
            }
            4 => {
                assert_eq!(lent.delete(&container, &object).await, Ok(replaced), "{container}/{object}");
                here.remove(&object);
            }
            5 => {
                let target = numbers.below(OBJECTS).to_string();
                let (from, to) = (place(&container, &object), place(&container, &target));
                let done = lent.copy(from, to).await;
                check_written(&done, here, &object, &target);
                if let Some(content) = here.get(&object).cloned() {
                    here.insert(target, content);
                }
            }
            6 => {
                let target = numbers.below(OBJECTS).to_string();
                let (from, to) = (place(&container, &object), place(&container, &target));
                let done = lent.rename(from, to).await;
                check_written(&done, here, &object, &target);
                if let Some(content) = here.remove(&object) {
                    here.insert(target, content);
                }
            }
            7 => {
                let all = vec![object.clone(), "no such".to_owned()];
                assert_eq!(lent.delete_many(&container, &all).await, [Ok(replaced), Ok(None)]);
                here.remove(&object);
            }
            8 => {
                assert_eq!(lent.clear(&container).await, Ok(Usage { containers: 0, ..usage(here) }), "{container}");
                here.clear();
            }
            9 => {
                let gone = Usage { containers: 1, ..usage(here) };
                assert_eq!(lent.delete_container(&container).await, Ok(Some(gone)), "{container}");
                self.model.remove(&container);
            }
            10 => assert_eq!(lent.create_container(&container).await, Ok(false), "{container}"),
            11 | 12 => self.upload(lent, container, object, content).await,
            _ => match here.get(&object) {
                Some(content) => {
                    assert!(get(lent, &container, &object).await.unwrap() == content, "{container}/{object}");
                }
                None => assert_eq!(lent.info(&container, &object).await, Ok(None), "{container}/{object}"),
            },
        }
    }

    /// Goes on with the upload that is under way, ends it, or begins one. It may outlive its container.
    async fn upload(&mut self, lent: &Granted, container: String, object: String, content: Bytes) {
        match self.uploading.take() {
            None => {
                let upload = lent.put(&container, &object, Attributes::default()).await.unwrap();
                self.uploading = Some(Uploading { upload, container, object, content: Vec::new() });
            }
            Some(mut uploading) if uploading.content.len() < 5000 => {
                uploading.upload.write(content.clone()).await.unwrap();
                uploading.content.extend(content);
                self.uploading = Some(uploading);
            }
            Some(uploading) => self.finish(uploading).await,
        }
    }

    async fn finish(&mut self, uploading: Uploading) {
        let Uploading { upload, container, object, content } = uploading;
        let bytes = content.len() as u64;
        match self.model.get_mut(&container) {
            Some(here) => {
                let replaced = here.insert(object, content.into()).map(|old| old.len() as u64);
                assert_eq!(upload.finish().await, Ok(Written { bytes, replaced }), "{container}");
                self.finished_later += 1;
            }
            None => assert_eq!(upload.finish().await, Err(BlobError::no_such_container(&container))),
        }
    }
}

fn place<'a>(container: &'a str, object: &'a str) -> Place<'a> {
    Place { container, object }
}

fn usage(objects: &Objects) -> Usage {
    let bytes = objects.values().map(|content| content.len() as u64).sum();
    Usage { containers: 1, objects: objects.len() as u64, bytes }
}

/// What copying or renaming has answered.
fn check_written(done: &Result<Written, BlobError>, here: &Objects, from: &str, to: &str) {
    let length = |name: &str| here.get(name).map(|content| content.len() as u64);
    match length(from) {
        Some(bytes) => assert_eq!(*done, Ok(Written { bytes, replaced: length(to) }), "{from} {to}"),
        None => assert_eq!(*done, Err(BlobError::no_such_object(from))),
    }
}

/// Moves a store. On a machine that others use too, the last moment may come to more than operations wait: then it stays
/// where it is and is moved again.
async fn moved(store: &Store, to: &Arc<dyn Blob>) -> Usage {
    for _ in 0..5 {
        match store.move_to(to.clone(), Present::Removed, &|_| ()).await {
            Ok(copied) => return copied,
            Err(error) => assert!(matches!(error.why, BlobError::TimedOut(_)), "{error}"),
        }
    }
    panic!("five times in a row it took too long");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_store_that_is_moved_while_it_is_used_is_as_if_it_had_never_moved() {
    let folder = tempfile::tempdir().unwrap();
    let memory = open("memory:", &toml::Table::new()).await.unwrap();
    let disk = open(&format!("fs:{}", folder.path().display()), &toml::Table::new()).await.unwrap();
    #[cfg(not(feature = "external-tests"))]
    let backends = [memory, disk];
    #[cfg(feature = "external-tests")]
    let server = crate::servers::Server::s3();
    #[cfg(feature = "external-tests")]
    let backends = [memory, disk, crate::blob::bucket(&server, "moved").await];
    // Somebody else is everywhere, and is left alone.
    for (number, backend) in backends.iter().enumerate() {
        let (_, neighbour) = lent(backend, "neighbour").await;
        neighbour.create_container("own-0-0").await.unwrap();
        put(&neighbour, "own-0-0", "0", number.to_string().into()).await.unwrap();
    }
    let (store, ours) = lent(&backends[0], "tenant").await;
    let mut still = Objects::new();
    ours.create_container("still").await.unwrap();
    for number in 0..STILL_OBJECTS {
        let length = if number == 0 { LARGE } else { number };
        put(&ours, "still", &number.to_string(), pattern(length)).await.unwrap();
        still.insert(number.to_string(), pattern(length));
    }
    let (end, ended) = tokio::sync::watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (lent, ended) = (ours.clone(), ended.clone());
        tasks.spawn(async move {
            let (mut worker, mut numbers) = (Worker::new(task), Numbers(task as u64));
            while !*ended.borrow() {
                worker.step(&lent, &mut numbers).await;
                // The machine is the copy's and the servers' too.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if let Some(uploading) = worker.uploading.take() {
                worker.finish(uploading).await;
            }
            worker
        });
    }
    // There, and the same way back.
    let there = backends.iter().skip(1);
    for next in there.chain(backends.iter().rev().skip(1)) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let copied = moved(&store, next).await;
        assert!(copied.objects >= STILL_OBJECTS as u64, "{copied:?}");
        store.measure().await.unwrap();
    }
    end.send(true).unwrap();
    let mut expected = BTreeMap::from([("still".to_owned(), still)]);
    let mut finished_later = 0;
    while let Some(task) = tasks.join_next().await {
        let worker = task.unwrap();
        finished_later += worker.finished_later;
        expected.extend(worker.model);
    }
    assert!(finished_later > 0, "uploads went on over other operations");
    let mut found = BTreeMap::<String, Objects>::new();
    for container in ours.list_containers("", None, 1000).await.unwrap().entries {
        let mut objects = Objects::new();
        for name in names(&ours, &container, "", 1000).await.unwrap() {
            objects.insert(name.clone(), get(&ours, &container, &name).await.unwrap());
        }
        found.insert(container, objects);
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(found == expected, "an object differs");
    store.measure().await.unwrap();
    let usage = ours.usage("").await.unwrap();
    assert_eq!(store.bytes(), usage.bytes + (usage.objects + usage.containers) * OBJECT_BYTES);
    for (number, backend) in backends.iter().enumerate() {
        let usage = backend.usage("neighbour:").await;
        assert_eq!(usage, Ok(Usage { containers: 1, objects: 1, bytes: 1 }));
        assert_eq!(get(&**backend, "neighbour:own-0-0", "0").await.unwrap(), number.to_string());
    }
}

#[cfg(feature = "external-tests")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_whose_server_dies_half_way_leaves_the_store_serving_where_it_was() {
    let server = crate::servers::Server::s3();
    let from = open("memory:", &toml::Table::new()).await.unwrap();
    let (store, ours) = lent(&from, "tenant").await;
    ours.create_container("c").await.unwrap();
    for number in 0..50 {
        put(&ours, "c", &number.to_string(), pattern(number)).await.unwrap();
    }
    let before = ours.usage("").await;
    let killing = |progress: samara_capability::blob::Progress| {
        if progress.copied.objects == 20 {
            server.kill();
        }
    };
    let to = crate::blob::bucket(&server, "").await;
    let error = store.move_to(to, Present::Refused, &killing).await.unwrap_err();
    assert!(matches!(error.why, BlobError::Backend(_) | BlobError::TimedOut(_)), "{error:?}");
    assert!(error.left.objects >= 20 && error.to_string().contains("are left at the new place"), "{error}");
    assert!(Arc::ptr_eq(&store.link().get(), &from));
    assert_eq!(ours.usage("").await, before);
    put(&ours, "c", "0", "written".into()).await.unwrap();

    server.start();
    let to = crate::blob::bucket(&server, "").await;
    assert_eq!(store.move_to(to.clone(), Present::Removed, &|_| ()).await.unwrap().objects, 50);
    assert_eq!(get(&*to, "tenant:c", "0").await.unwrap(), "written");
    assert_eq!(to.usage("").await, ours.usage("").await);
}
