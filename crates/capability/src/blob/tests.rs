//! The suite on the providers that need no server, and the promises of the wrapper around all of them.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use samara_model::{BlobGrant, BlobOperation, Capability, Fault, Limits, Tenant};

use super::{
    Attributes, Blob, BlobError, DELETE_OBJECTS, Granted, OBJECT_BYTES, PROVIDERS, Place, Store, UPLOADS, Usage,
    Written,
    check::{check_blob, get, names, pattern, put},
    copy_all, open,
};
use crate::{Denial, Recorder, Unrecorded};

mod account;

async fn memory() -> Arc<dyn Blob> {
    open("memory:", &toml::Table::new()).await.unwrap()
}

async fn folder() -> (Arc<dyn Blob>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&format!("fs:{}", dir.path().join("deep/blobs").display()), &toml::Table::new()).await.unwrap();
    (store, dir)
}

async fn granted(backend: &Arc<dyn Blob>, tenant: &str, limits: &Limits) -> Granted {
    let store = Store::new("pictures", &Tenant::new(tenant).unwrap(), backend.clone()).await.unwrap();
    store.grant(BlobGrant::default(), limits, Arc::new(Unrecorded))
}

/// The suite as a workload sees it, beside another tenant's data, which nobody touches.
async fn check_granted(backend: Arc<dyn Blob>) {
    let neighbour = granted(&backend, "neighbour", &Limits::serve()).await;
    for container in ["check-c", "check-o"] {
        neighbour.create_container(container).await.unwrap();
        put(&neighbour, container, "a", "not yours".into()).await.unwrap();
    }
    let ours = granted(&backend, "tenant", &Limits::serve()).await;
    check_blob(Arc::new(ours.clone())).await;
    assert_eq!(get(&neighbour, "check-o", "a").await.unwrap(), "not yours");
    let (usage, bytes) = (ours.usage("").await.unwrap(), ours.store().bytes());
    assert_eq!(bytes, usage.bytes + (usage.objects + usage.containers) * OBJECT_BYTES, "the account is exact");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_passes_the_suite() {
    check_blob(memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_passes_the_suite_as_it_is_lent() {
    check_granted(memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_passes_the_suite() {
    let (store, _dir) = folder().await;
    check_blob(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_passes_the_suite_as_it_is_lent() {
    let (store, _dir) = folder().await;
    check_granted(store).await;
}

#[test]
fn schemes_are_unique_words() {
    let schemes: BTreeSet<_> = PROVIDERS.iter().map(|provider| provider.scheme()).collect();
    assert_eq!(schemes.len(), PROVIDERS.len());
    let plain = |scheme: &&str| scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    assert!(schemes.iter().all(|scheme| !scheme.is_empty() && plain(scheme)));
}

#[tokio::test]
async fn what_cannot_be_opened_says_what_can() {
    let refused =
        async |url: &str, settings: &str| open(url, &settings.parse().unwrap()).await.unwrap_err().to_string();
    let unknown = refused("foo:bar", "").await;
    assert!(unknown.starts_with("no blob provider for `foo:`; known schemes: memory, fs"), "{unknown}");
    assert!(refused("memory:x", "").await.contains("write `memory:`"));
    assert!(refused("memory:", "size = 3").await.contains("has no setting `size`; it has `max`"));
    assert!(refused("memory:", "max = 3").await.contains("`max` is a integer; write a text such as \"1GiB\""));
    assert!(refused("memory:", "max = \"3 cows\"").await.contains("`3 cows` is not a size"));
    assert!(refused("fs:", "").await.contains("names no folder"));
    assert!(refused("fs:/tmp", "max = \"1MiB\"").await.contains("`fs:` has no setting `max`; it has none"));
    assert!(refused("fs:/proc/none", "").await.contains("the folder `/proc/none` cannot be opened"));
}

#[tokio::test]
async fn memory_is_bounded_whatever_the_workloads_may_write() {
    let store = open("memory:", &"max = \"1MiB\"".parse().unwrap()).await.unwrap();
    let full = BlobError::TooLarge { what: "store", limit: 1 << 20 };
    store.create_container("c").await.unwrap();
    let mut kept = 0;
    while put(&*store, "c", &kept.to_string(), Bytes::new()).await.is_ok() {
        kept += 1;
    }
    assert!(kept > 1000 && kept < 3000, "an empty object takes memory too: {kept}");
    assert_eq!(store.create_container("d").await, Err(full.clone()));
    store.clear("c").await.unwrap();

    let mut upload = store.put("c", "o", Attributes::default()).await.unwrap();
    upload.write(pattern(900 << 10)).await.unwrap();
    assert_eq!(put(&*store, "c", "p", pattern(200 << 10)).await, Err(full.clone()), "uploads count before their end");
    assert_eq!(upload.write(pattern(200 << 10)).await, Err(full.clone()));
    drop(upload);
    put(&*store, "c", "p", pattern(600 << 10)).await.unwrap();
    let reader = store.get("c", "p", 0..u64::MAX).await.unwrap();
    store.delete("c", "p").await.unwrap();
    assert_eq!(put(&*store, "c", "p", pattern(600 << 10)).await, Err(full), "what is read is there");
    drop(reader);
    put(&*store, "c", "p", pattern(600 << 10)).await.unwrap();
}

#[tokio::test]
async fn a_longer_name_takes_more_of_a_memory() {
    let store = open("memory:", &"max = \"100KiB\"".parse().unwrap()).await.unwrap();
    store.create_container("c").await.unwrap();
    let (short, long) = ("s".to_owned(), "l".repeat(60 << 10));
    let place = |object| Place { container: "c", object };
    put(&*store, "c", &short, pattern(50 << 10)).await.unwrap();
    let full = BlobError::TooLarge { what: "store", limit: 100 << 10 };
    assert_eq!(store.rename(place(&short), place(&long)).await, Err(full));
    assert_eq!(get(&*store, "c", &short).await.unwrap(), pattern(50 << 10), "it is where it was");
    put(&*store, "c", &short, Bytes::new()).await.unwrap();
    store.rename(place(&short), place(&long)).await.unwrap();
    put(&*store, "c", "o", pattern(50 << 10)).await.unwrap_err();
    store.rename(place(&long), place(&short)).await.unwrap();
    put(&*store, "c", "o", pattern(50 << 10)).await.unwrap();
}

#[tokio::test]
async fn tenants_of_one_backend_never_meet() {
    let backend = memory().await;
    let (a, ab) = (granted(&backend, "a", &Limits::serve()).await, granted(&backend, "a.b", &Limits::serve()).await);
    for (lent, text) in [(&a, "a's"), (&ab, "ab's")] {
        for container in ["c", ".b:c", "../a.b:c"] {
            lent.create_container(container).await.unwrap();
            put(lent, container, "o", text.into()).await.unwrap();
        }
    }
    let listed = a.list_containers("", None, 100).await.unwrap();
    assert_eq!(listed.entries, ["../a.b:c", ".b:c", "c"]);
    assert_eq!(get(&a, "c", "o").await.unwrap(), "a's");
    for container in listed.entries {
        a.delete_container(&container).await.unwrap();
        assert_eq!(get(&ab, &container, "o").await.unwrap(), "ab's");
    }
    let missing = a.info("c", "o").await.unwrap_err();
    assert_eq!(missing.to_string(), "no container `c`; create it first", "a guest reads its own names");
}

#[derive(Debug, Default)]
struct Seen {
    used: Mutex<Vec<String>>,
    finished: Mutex<Vec<(String, bool)>>,
    denied: Mutex<Vec<Denial>>,
}

impl Recorder for Seen {
    fn used(&self, capability: Capability, name: &str, operation: &'static str) {
        self.used.lock().push(format!("{capability}:{name} {operation}"));
    }
    fn finished(&self, _: Capability, _: &str, operation: &'static str, _: std::time::Duration, failed: bool) {
        self.finished.lock().push((operation.to_owned(), failed));
    }
    fn denied(&self, denial: &Denial) {
        self.denied.lock().push(denial.clone());
    }
}

#[tokio::test]
async fn each_operation_needs_its_own_words_in_the_grant_and_a_denial_names_them() {
    use BlobOperation::{Container, Delete, List, Read, Write};
    for granted in
        [&[][..], &[Read], &[Write], &[Delete], &[List], &[Container], &[Read, Write], &[Read, Write, Delete]]
    {
        let seen = Arc::new(Seen::default());
        let store = Store::new("pictures", &Tenant::default(), memory().await).await.unwrap();
        let all = store.grant(BlobGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
        all.create_container("c").await.unwrap();
        put(&all, "c", "o", "x".into()).await.unwrap();
        let lent = store.grant(BlobGrant { operations: granted.to_vec() }, &Limits::serve(), seen.clone());
        let (o, p) = (Place { container: "c", object: "o" }, Place { container: "c", object: "p" });
        let attempts: Vec<(&[BlobOperation], Option<BlobError>)> = vec![
            (&[Read], lent.info("c", "o").await.err()),
            (&[Read], lent.get("c", "o", 0..1).await.err()),
            (&[Write], lent.put("c", "o", Attributes::default()).await.err()),
            (&[Read, Write], lent.copy(o, p).await.err()),
            (&[Read, Write, Delete], lent.rename(o, p).await.err()),
            (&[Delete], lent.delete("c", "x").await.err()),
            (&[Delete], lent.delete_many("c", &["x".to_owned()]).await.remove(0).err()),
            (&[List], lent.list("c", "", None, 1).await.err()),
            (&[List], lent.list_containers("", None, 1).await.err()),
            (&[Container], lent.create_container("d").await.err()),
            (&[Container], lent.clear("c").await.err()),
            (&[Container], lent.delete_container("c").await.err()),
        ];
        for (needed, error) in &attempts {
            let allowed = needed.iter().all(|operation| granted.contains(operation));
            assert_eq!(error.is_none(), allowed, "{needed:?} with {granted:?} granted: {error:?}");
        }
        let refused = attempts.iter().filter(|(_, error)| error.is_some()).count();
        assert_eq!(seen.denied.lock().len(), refused);
        assert_eq!(seen.used.lock().len(), attempts.len() - refused);
        assert_eq!(lent.container("c").await.is_ok(), !granted.is_empty(), "any operation needs to know of containers");
    }
    let store = Store::new("pictures", &Tenant::default(), memory().await).await.unwrap();
    let lent = store.grant(BlobGrant { operations: vec![Read] }, &Limits::serve(), Arc::new(Unrecorded));
    let (o, p) = (Place { container: "c", object: "o" }, Place { container: "c", object: "p" });
    assert_eq!(
        lent.rename(o, p).await.unwrap_err().to_string(),
        "denied: `write` on blob store `pictures`; `blob = [{ store = \"pictures\", ops = [\"read\", \"write\", \"delete\"] }]` \
         would allow it"
    );
}

#[tokio::test]
async fn an_upload_is_told_when_it_ends() {
    let seen = Arc::new(Seen::default());
    let store = Store::new("pictures", &Tenant::default(), memory().await).await.unwrap();
    let lent = store.grant(BlobGrant::default(), &Limits::serve(), seen.clone());
    lent.create_container("c").await.unwrap();
    let upload = lent.put("c", "o", Attributes::default()).await.unwrap();
    assert_eq!(*seen.finished.lock(), [("container".to_owned(), false)]);
    upload.finish().await.unwrap();
    drop(lent.put("c", "o", Attributes::default()).await.unwrap());
    lent.put("none", "o", Attributes::default()).await.unwrap_err();
    let writes: Vec<bool> =
        seen.finished.lock().iter().filter(|(name, _)| name == "write").map(|(_, failed)| *failed).collect();
    assert_eq!(writes, [false, true, true]);
}

#[tokio::test]
async fn names_objects_and_the_total_have_limits() {
    let limits = Limits {
        blob_name_bytes: 4,
        blob_object_bytes: 10_000,
        blob_total_bytes: 5 * OBJECT_BYTES + 20_000,
        ..Limits::serve()
    };
    let lent = granted(&memory().await, "tenant", &limits).await;
    let over = |what, limit| BlobError::TooLarge { what, limit };
    let total = || over("total of all objects", limits.blob_total_bytes);

    lent.create_container("four").await.unwrap();
    assert_eq!(lent.create_container("five5").await, Err(over("name of the container", 4)));
    assert_eq!(lent.info("four", "five5").await, Err(over("name of the object", 4)));
    assert_eq!(put(&lent, "four", "five5", Bytes::new()).await, Err(over("name of the object", 4)));
    assert_eq!(lent.list("four", "five5", None, 1).await, Err(over("name of the object", 4)));
    assert_eq!(lent.list("four", "", Some(&"c".repeat(1000)), 1).await, Err(over("cursor", 272)));
    let many = vec!["o".to_owned(); DELETE_OBJECTS + 1];
    let too_many = BlobError::TooMany { what: "objects", asked: 1001, limit: 1000 };
    assert_eq!(lent.delete_many("four", &many).await[0], Err(too_many));

    assert_eq!(put(&lent, "four", "a", pattern(10_001)).await, Err(over("object", 10_000)));
    assert_eq!(put(&lent, "four", "a", pattern(10_000)).await, Ok(Written { bytes: 10_000, replaced: None }));
    let mut upload = lent.put("four", "b", Attributes::default()).await.unwrap();
    upload.write(pattern(6000)).await.unwrap();
    assert_eq!(upload.write(pattern(4001)).await, Err(over("object", 10_000)), "however it is cut");
    let in_flight = lent.store().bytes();
    assert_eq!(in_flight, 3 * OBJECT_BYTES + 16_000, "an upload counts before its end");
    drop(upload);
    assert_eq!(lent.store().bytes(), 2 * OBJECT_BYTES + 10_000);

    let (a, b) = (Place { container: "four", object: "a" }, Place { container: "four", object: "b" });
    lent.copy(a, b).await.unwrap();
    assert_eq!(lent.copy(a, Place { object: "c", ..a }).await, Err(total()));
    assert_eq!(put(&lent, "four", "a", pattern(5000)).await, Err(total()), "the old one is there until the end");
    assert_eq!(put(&lent, "four", "c", Bytes::new()).await, Ok(Written { bytes: 0, replaced: None }));
    assert_eq!(put(&lent, "four", "d", Bytes::new()).await, Ok(Written { bytes: 0, replaced: None }));
    assert_eq!(put(&lent, "four", "e", Bytes::new()).await, Err(total()), "an empty one counts");
    assert_eq!(lent.create_container("more").await, Err(total()));
    assert_eq!(lent.rename(a, b).await, Ok(Written { bytes: 10_000, replaced: Some(10_000) }));
    assert_eq!(lent.store().bytes(), 4 * OBJECT_BYTES + 10_000);
    assert_eq!(lent.create_container("four").await, Ok(false));
    assert_eq!(lent.delete_many("four", &["c".into(), "d".into()]).await, [Ok(Some(0)), Ok(Some(0))]);
    assert_eq!(lent.clear("four").await, Ok(Usage { containers: 0, objects: 1, bytes: 10_000 }));
    lent.delete_container("four").await.unwrap();
    assert_eq!(lent.store().bytes(), 0);
}

#[tokio::test]
async fn uploads_and_readers_are_counted() {
    let lent = granted(&memory().await, "tenant", &Limits::serve()).await;
    lent.create_container("c").await.unwrap();
    put(&lent, "c", "o", "x".into()).await.unwrap();
    let mut uploads = Vec::new();
    for _ in 0..UPLOADS {
        uploads.push(lent.put("c", "o", Attributes::default()).await.unwrap());
    }
    let error = lent.put("c", "o", Attributes::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "`9` uploads are too many; at most 8 go at once");
    uploads.pop();
    put(&lent, "c", "o", "y".into()).await.unwrap();

    let mut readers = Vec::new();
    while let Ok(object) = lent.get("c", "o", 0..1).await {
        readers.push(object);
        assert!(readers.len() <= 64);
    }
    assert_eq!(readers.len(), 64);
    readers.pop();
    assert_eq!(get(&lent, "c", "o").await.unwrap(), "y");
}

#[tokio::test]
async fn a_store_is_copied_into_another() {
    let (from, (to, _dir)) = (memory().await, folder().await);
    for (container, object) in [("a:1", "x"), ("a:1", "y"), ("a:2", "z"), ("b:1", "not this one")] {
        from.create_container(container).await.unwrap();
        put(&*from, container, object, object.into()).await.unwrap();
    }
    to.create_container("a:1").await.unwrap();
    put(&*to, "a:1", "x", "replaced".into()).await.unwrap();
    let told = Mutex::new(Vec::new());
    let copied = copy_all(&*from, &*to, "a:", &|usage| told.lock().push(usage.objects)).await.unwrap();
    assert_eq!(copied, Usage { containers: 2, objects: 3, bytes: 3 });
    assert_eq!(*told.lock(), [1, 2, 3]);
    assert_eq!(to.usage("").await, Ok(copied));
    assert_eq!(get(&*to, "a:1", "x").await.unwrap(), "x");
    assert_eq!(names(&*to, "a:2", "", 10).await.unwrap(), ["z".to_owned()].into());
}

#[test]
fn a_fault_says_who_is_to_blame() {
    let check = |error: BlobError, label: &str| assert_eq!(error.into_fault("pictures").label(), label);
    check(BlobError::no_such_store("x"), "denied");
    check(BlobError::AccessDenied { what: String::new(), grant: String::new() }, "denied");
    check(BlobError::no_such_container("x"), "guest");
    check(BlobError::TooLarge { what: "object", limit: 1 }, "guest");
    check(BlobError::Configuration(String::new()), "config");
    check(BlobError::Backend(String::new()), "backend");
    assert!(matches!(BlobError::TimedOut(String::new()).into_fault("s"), Fault::Backend { slow: true, .. }));
}

#[test]
fn a_guests_own_words_are_cut_before_they_reach_a_log() {
    let hostile = "\n\u{1b}[2J".repeat(1000);
    for error in [
        BlobError::no_such_store(&hostile),
        BlobError::no_such_container(&hostile),
        BlobError::no_such_object(&hostile),
    ] {
        let message = error.to_string();
        assert!(message.len() < 1000 && !message.contains(['\n', '\u{1b}']), "{message}");
    }
}
