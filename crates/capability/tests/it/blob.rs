//! Buckets of a real S3 server, in good weather and bad.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use samara_capability::{
    Unrecorded,
    blob::{
        Attributes, Blob, BlobError, OBJECT_BYTES, Page, Store, Usage,
        check::{check_blob, get, names, pattern, put},
        open,
    },
};
use samara_model::{BlobGrant, Limits, Tenant};

use crate::servers::{PASSWORD, Server, USER};

/// How long anything may take that is no time-out itself, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

/// For what is not about time-outs.
const PATIENT: &str = "timeout = \"60s\"";

/// A time-out that a server meets on a busy machine, unless it hangs.
const SHORT: &str = "timeout = \"8s\"";

/// The settings that lead to a server, with more of them.
fn settings(server: &Server, more: &str) -> toml::Table {
    let variable = secret();
    format!(
        "endpoint = \"http://{}\"\nallow_http = true\naccess_key_id = \"{USER}\"\nsecret_access_key = \"file:{variable}\"\n{more}",
        server.address()
    )
    .parse()
    .unwrap()
}

/// A file with a secret in it.
fn secret() -> &'static str {
    static FILE: std::sync::LazyLock<(tempfile::TempDir, String)> = std::sync::LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, format!("{PASSWORD}\n")).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (dir, path)
    });
    &FILE.1
}

pub(crate) async fn bucket(server: &Server, folder: &str) -> Arc<dyn Blob> {
    open(&format!("s3://{USER}/{folder}"), &settings(server, PATIENT)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_passes_the_suite() {
    let server = Server::s3();
    check_blob(bucket(&server, "").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_passes_the_suite_as_it_is_lent() {
    let server = Server::s3();
    let backend = bucket(&server, "deep/folder").await;
    let lend = async |tenant: &str| {
        let store = Store::new("pictures", &Tenant::new(tenant).unwrap(), backend.clone()).await.unwrap();
        store.grant(BlobGrant::default(), &Limits::serve(), Arc::new(Unrecorded))
    };
    let neighbour = lend("neighbour").await;
    neighbour.create_container("check-c").await.unwrap();
    put(&neighbour, "check-c", "a", "not yours".into()).await.unwrap();
    let ours = lend("tenant").await;
    check_blob(Arc::new(ours.clone())).await;
    assert_eq!(get(&neighbour, "check-c", "a").await.unwrap(), "not yours");
    let usage = ours.usage("").await.unwrap();
    let counted = usage.bytes + (usage.objects + usage.containers) * OBJECT_BYTES;
    assert_eq!(ours.store().bytes(), counted, "the account is exact");
    // Another folder of the same bucket is another store.
    assert_eq!(bucket(&server, "deep").await.usage("").await, Ok(Usage::default()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_page_of_the_server_is_listed_and_removed() {
    let server = Server::s3();
    let store = bucket(&server, "").await;
    store.create_container("many").await.unwrap();
    // Written past the store, which would ask three times before each write: a server in Python takes its time.
    let address = server.address();
    let writers = (0..8).map(|writer| {
        std::thread::spawn(move || {
            for n in (writer..1100).step_by(8) {
                let mut stream = TcpStream::connect(address).unwrap();
                let head = "Host: s3.amazonaws.com\r\nContent-Length: 1\r\nConnection: close";
                write!(stream, "PUT /{USER}/o/_many/_o{n} HTTP/1.1\r\n{head}\r\n\r\nx").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
        })
    });
    writers.collect::<Vec<_>>().into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(names(&*store, "many", "", 5000).await.unwrap().len(), 1100);
    assert_eq!(names(&*store, "many", "o10", 7).await.unwrap().len(), 111);
    assert_eq!(store.usage("").await, Ok(Usage { containers: 1, objects: 1100, bytes: 1100 }));
    assert_eq!(store.delete_container("many").await, Ok(Some(Usage { containers: 1, objects: 1100, bytes: 1100 })));
    assert_eq!(store.usage("").await, Ok(Usage::default()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_keep_in_the_bucket_is_not_seen() {
    let server = Server::s3();
    let inner = bucket(&server, "o").await;
    // Its keys begin `o/c/` and `o/o/`, which in the outer store are objects of containers that do not exist.
    inner.create_container("x").await.unwrap();
    put(&*inner, "x", "y", "z".into()).await.unwrap();
    let outer = bucket(&server, "").await;
    assert_eq!(outer.list_containers("", None, 10).await, Ok(Page { entries: Vec::new(), cursor: None }));
    assert_eq!(outer.info("c", "x").await, Err(BlobError::no_such_container("c")));
}

/// Bounded in time, and naming nothing secret.
async fn fails<T: std::fmt::Debug>(work: impl Future<Output = Result<T, BlobError>>) -> BlobError {
    let since = Instant::now();
    let error = work.await.unwrap_err();
    assert!(since.elapsed() < SOON, "{:?}: {error}", since.elapsed());
    assert!(!error.to_string().contains(PASSWORD), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_and_comes_back() {
    let server = Server::s3();
    let store = open(&format!("s3://{USER}"), &settings(&server, SHORT)).await.unwrap();
    assert!(!format!("{store:?}").contains(PASSWORD), "{store:?}");
    store.create_container("c").await.unwrap();
    let mut upload = store.put("c", "large", Attributes::default()).await.unwrap();
    upload.write(pattern(20 << 20)).await.unwrap();

    server.freeze();
    let failed =
        tokio::join!(fails(store.info("c", "o")), fails(put(&*store, "c", "o", "x".into())), fails(upload.finish()));
    assert!(matches!(failed, (BlobError::TimedOut(_), BlobError::TimedOut(_), BlobError::TimedOut(_))), "{failed:?}");
    server.thaw();
    assert_eq!(store.create_container("c").await, Ok(false));
    assert_eq!(store.info("c", "large").await, Ok(None), "an upload that failed left nothing");

    server.kill();
    let error = fails(store.info("c", "o")).await;
    assert!(matches!(&error, BlobError::Backend(why) if why.contains("cannot be reached")), "{error}");
    let error = fails(open(&format!("s3://{USER}"), &settings(&server, SHORT))).await;
    assert!(matches!(&error, BlobError::Backend(why) if why.contains("cannot be reached")), "{error}");
    server.start();
    // What it had was in its memory; what matters is that the same store goes on.
    assert_eq!(store.create_container("c").await, Ok(true));
    put(&*store, "c", "o", "back".into()).await.unwrap();
    assert_eq!(get(&*store, "c", "o").await.unwrap(), "back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_not_there_is_refused_at_once() {
    let server = Server::s3();
    let error = fails(open("s3://no-such-bucket", &settings(&server, PATIENT))).await;
    assert_eq!(error.to_string(), "`s3://no-such-bucket/` is not there (`NoSuchBucket`); create the bucket first");
}
