//! A registry of our own that misbehaves in every way there is, and what the client says to each.
//!
//! The whole table runs in a process of its own, so that its memory can be measured: each row ends with its error, in time,
//! and all rows together in little memory.

mod line;
pub(crate) mod server;
mod table;

use std::{
    collections::BTreeMap,
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use samara_artifact::{
    BlobStream, Descriptor, Error, Fetcher, OciReference, Progress, Reference, Store, Version,
    bounds::Bounds,
    registry::{Client, Login, Logins, Patience, RegistrySettings},
    repository::{read_blob, sha256},
    trust::Trust,
};
use samara_model::RegistryHost;
use server::{Answers, Reply, Server};

/// What any attack may take, besides what this process waits for a core that somebody else has.
const MAX_TIME: Duration = Duration::from_secs(5);
/// When an attack is taken to have succeeded in hanging us.
const FOR_EVER: Duration = Duration::from_secs(120);
const MAX_MEMORY_KIB: u64 = 64 << 10;
/// Attacks at once; most of them mostly wait.
const AT_ONCE: usize = 6;
/// Set in the process that runs the table.
const CHILD: &str = "SAMARA_HOSTILE_TABLE";

/// The one blob and the one manifest that a registry of these tests has, unless a row says otherwise.
pub(crate) const BLOB: &[u8] = b"\0asm\x01\0\0\0";
pub(crate) const PASSWORD: &str = "hunter2";

pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

pub(crate) fn manifest() -> String {
    let (digest, size) = (sha256(BLOB), BLOB.len());
    let blob = format!(r#""digest":"{digest}","size":{size}"#);
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{{"mediaType":"application/vnd.wasm.config.v0+json",{blob}}},"layers":[{{"mediaType":"application/wasm",{blob}}}]}}"#
    )
}

pub(crate) fn blob() -> Descriptor {
    Descriptor::new("application/wasm".into(), BLOB.len() as u64, sha256(BLOB))
}

/// What is asked of the registry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Resolve,
    ResolveDigest,
    Manifest,
    Blob,
    /// From its fourth byte on.
    BlobRest,
    Referrers,
    Tags,
    Url,
    PushBlob,
    PushManifest,
    /// The whole line, into a store.
    Fetch,
}

/// One attack.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) ask: Ask,
    /// A part of the error that it must end in.
    pub(crate) expected: &'static str,
    pub(crate) answers: Answers,
}

pub(crate) fn row(
    name: &'static str,
    ask: Ask,
    expected: &'static str,
    answers: impl Fn(&server::Asked) -> Reply + Send + Sync + 'static,
) -> Row {
    Row { name, ask, expected, answers: Arc::new(answers) }
}

/// A patience for servers that answer, also where the machine is busy with something else.
pub(crate) const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(30),
    stall: Duration::from_secs(30),
    document: Duration::from_secs(30),
    slow: Duration::from_secs(30),
    tries: 2,
    backoff: Duration::from_millis(2),
    longest_wait: Duration::from_millis(20),
};

/// How patient a row is. It is about one timer at most, by the error that it ends in, and that one is short; on a busy machine
/// another short one might be first.
fn patience(row: &Row) -> Patience {
    let short = Duration::from_millis(500);
    match row.expected {
        "did not answer within" => Patience { answer: short, ..PATIENCE },
        "stopped in the middle" => Patience { stall: short, ..PATIENCE },
        "did not come within" => Patience { document: short, ..PATIENCE },
        "is too slow" => Patience { slow: short, ..PATIENCE },
        _ => PATIENCE,
    }
}

/// A client that may speak plain HTTP with `address`, and has a login for it.
pub(crate) fn client(address: &str) -> Client {
    client_with(address, PATIENCE)
}

fn client_with(address: &str, patience: Patience) -> Client {
    let insecure = RegistryHost { insecure: true, ..RegistryHost::default() };
    let login = Login::Password { user: "me".to_owned(), password: PASSWORD.to_owned() };
    Client::new(RegistrySettings {
        hosts: [(address.to_owned(), insecure)].into(),
        logins: Logins::Given(BTreeMap::from([(address.to_owned(), login)])),
        patience,
        offline: false,
    })
}

pub(crate) async fn all(stream: BlobStream) -> Result<Bytes, Error> {
    let mut chunks = stream.chunks;
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes.into())
}

/// Asks, and shows what came.
pub(crate) async fn ask(client: &Client, address: &str, ask: Ask) -> Result<String, Error> {
    let reference: OciReference = format!("{address}/demo/app:v1").parse().unwrap();
    let repository = client.repository(&reference)?;
    let digest = sha256(manifest().as_bytes());
    Ok(match ask {
        Ask::Resolve => format!("{:?}", repository.resolve(&Version::Tag("v1".to_owned())).await?),
        Ask::ResolveDigest => format!("{:?}", repository.resolve(&Version::Digest(digest)).await?),
        Ask::Manifest => String::from_utf8_lossy(&repository.manifest(&digest).await?).into_owned(),
        Ask::Blob => format!("{:?}", read_blob(&*repository, &blob(), 1 << 20).await?),
        Ask::BlobRest => {
            let stream = repository.blob(&blob(), 3).await?;
            let offset = stream.offset;
            format!("{offset} {:?}", all(stream).await?)
        }
        Ask::Referrers => format!("{:?}", repository.referrers(&digest).await?),
        Ask::Tags => client.tags(&reference).await?.join(" "),
        Ask::Url => {
            let url = format!("http://{address}/cart.wasm").parse().unwrap();
            format!("{:?}", all(client.get_url(&url, 0, 1 << 20).await?).await?)
        }
        Ask::PushBlob => {
            repository.push_blob(&blob(), Bytes::from_static(BLOB)).await?;
            "pushed".to_owned()
        }
        Ask::PushManifest => {
            repository.push_manifest(Some("v1"), MANIFEST_TYPE, Bytes::from(manifest())).await?.to_string()
        }
        Ask::Fetch => fetch(client, reference).await?,
    })
}

/// Fetches into a store of its own, beside which there must be nothing afterwards.
async fn fetch(client: &Client, reference: OciReference) -> Result<String, Error> {
    let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let fetcher = Fetcher { client: client.clone(), store, bounds: Bounds::default() };
    let fetched = fetcher.fetch(&Reference::Oci(reference), &Trust::default(), &Progress::default()).await;
    let beside = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(beside.collect::<Vec<_>>(), ["store"], "something was written outside of the store");
    assert!(!Path::new("/tmp/outside.wasm").exists(), "something was written outside of the store");
    Ok(format!("{:?}", fetched?.bytes))
}

/// Another server, which would like to see a login.
fn elsewhere(asked: &server::Asked) -> Reply {
    match asked.target.as_str() {
        "/wants-login" => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
        _ => Reply::new(200, BLOB),
    }
}

/// Runs one row; what is wrong with how it ended, if anything.
async fn run(row: &Row) -> Result<(), String> {
    let other = Server::start(None, Arc::new(elsewhere)).await;
    let server = Server::start(Some(other.address), Arc::clone(&row.answers)).await;
    let address = server.address.to_string();
    let (begun, waited) = (Instant::now(), waited_for_cores());
    let came = tokio::time::timeout(FOR_EVER, ask(&client_with(&address, patience(row)), &address, row.ask)).await;
    let (took, waited) = (begun.elapsed(), waited_for_cores().saturating_sub(waited));
    if took > MAX_TIME + waited {
        return Err(format!(
            "it took {took:?}, of which the machine was busy with something else for {waited:?} at most"
        ));
    }
    let error = match came {
        Err(_) => return Err(format!("still waiting after {FOR_EVER:?}")),
        Ok(Ok(came)) => return Err(format!("it was taken: {came:.200}")),
        Ok(Err(error)) => error.to_string(),
    };
    if !error.contains(row.expected) {
        return Err(format!("said: {error:.600}"));
    }
    if error.contains(PASSWORD) || error.contains("bWU6aHVudGVyMg") || error.chars().any(char::is_control) {
        return Err(format!("shows what it should not: {error:?}"));
    }
    if error.len() > 1000 {
        return Err(format!("said {} bytes", error.len()));
    }
    let led_astray = other.asked().iter().any(|asked| asked.header("authorization").is_some());
    if led_astray {
        return Err("another server was shown the login".to_owned());
    }
    // What lies in the sockets' buffers counts as well.
    let taken = server.sent().max(other.sent());
    if taken > MAX_MEMORY_KIB << 10 {
        return Err(format!("{taken} bytes were taken in {took:?}"));
    }
    Ok(())
}

/// How long threads of this process were ready to run and had no core, in all: nothing on a machine with time for us.
fn waited_for_cores() -> Duration {
    let of_thread = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let threads = std::fs::read_dir("/proc/self/task").unwrap().map_while(Result::ok);
    Duration::from_nanos(threads.filter_map(of_thread).sum())
}

/// The most memory that this process has held, in KiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn each_attack_ends_in_its_error_in_time_and_in_little_memory() {
    if std::env::var_os(CHILD).is_some() {
        return the_table();
    }
    let name = "hostile::each_attack_ends_in_its_error_in_time_and_in_little_memory";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let ran = child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

fn the_table() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let rows: Vec<_> = table::rows().into_iter().chain(line::rows()).collect();
    let before = most_memory();
    let ended = stream::iter(&rows).map(|row| async move { (row, run(row).await) });
    let ended: Vec<_> = runtime.block_on(ended.buffer_unordered(AT_ONCE).collect());
    let wrong: Vec<_> =
        ended.into_iter().filter_map(|(row, ended)| Some(format!("{}: {}", row.name, ended.err()?))).collect();
    let grown = most_memory() - before;
    assert!(wrong.is_empty(), "{} of {} rows:\n  {}", wrong.len(), rows.len(), wrong.join("\n  "));
    assert!(grown < MAX_MEMORY_KIB, "the table took {grown} KiB");
}
