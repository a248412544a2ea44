//! The registry client against servers that do what they should: pulls, pushes, logins, mirrors, TLS.

use std::{
    collections::{BTreeMap, HashMap},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use samara_artifact::{
    Descriptor, Digest, Error, OciReference, Progress, Repository, Store, Version,
    registry::{Client, Login, Logins, RegistrySettings},
    repository::{read_blob, sha256},
};
use samara_model::RegistryHost;

use crate::hostile::{
    BLOB, INDEX_TYPE, MANIFEST_TYPE, PASSWORD, PATIENCE, all, blob, client, manifest,
    server::{Answers, Asked, Reply, Sent, Server},
};

/// A registry in memory, as the specification wants it, without the Referrers API unless told otherwise.
#[derive(Default)]
struct Memory {
    stored: Mutex<HashMap<String, (String, Vec<u8>)>>,
    upload: Mutex<Vec<u8>>,
    referrers_api: bool,
}

impl Memory {
    fn with_demo() -> Arc<Self> {
        let memory = Self::default();
        memory.keep("/v2/demo/app/manifests/v1", MANIFEST_TYPE, manifest());
        memory.keep(&format!("/v2/demo/app/manifests/{}", sha256(manifest().as_bytes())), MANIFEST_TYPE, manifest());
        memory.keep(&format!("/v2/demo/app/blobs/{}", sha256(BLOB)), "application/octet-stream", BLOB);
        Arc::new(memory)
    }

    fn keep(&self, path: &str, media_type: &str, bytes: impl Into<Vec<u8>>) {
        self.stored.lock().insert(path.to_owned(), (media_type.to_owned(), bytes.into()));
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        match asked.method.as_str() {
            "POST" => Reply::new(202, "").with("Location", "/v2/demo/app/upload?state=1"),
            "PATCH" => {
                let mut upload = self.upload.lock();
                assert_eq!(
                    asked.header("content-range").unwrap(),
                    format!("{}-{}", upload.len(), upload.len() + asked.body.len() - 1)
                );
                upload.extend_from_slice(&asked.body);
                Reply::new(202, "").with("Location", format!("/v2/demo/app/upload?state={}", upload.len()))
            }
            "PUT" if path == "/v2/demo/app/upload" => {
                let mut bytes = std::mem::take(&mut *self.upload.lock());
                bytes.extend_from_slice(&asked.body);
                let digest = query.rsplit_once("digest=").unwrap().1.replace("%3A", ":");
                assert_eq!(digest, sha256(&bytes).to_string());
                self.keep(&format!("/v2/demo/app/blobs/{digest}"), "application/octet-stream", bytes);
                Reply::new(201, "")
            }
            "PUT" => {
                let media_type = asked.header("content-type").unwrap();
                let digest = sha256(&asked.body);
                self.keep(path, media_type, asked.body.clone());
                self.keep(&format!("/v2/demo/app/manifests/{digest}"), media_type, asked.body.clone());
                let reply = Reply::new(201, "").with("Docker-Content-Digest", digest.to_string());
                if self.referrers_api { reply.with("OCI-Subject", digest.to_string()) } else { reply }
            }
            _ => match self.stored.lock().get(path) {
                None => Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here"}]}"#),
                Some((media_type, bytes)) => Reply::new(200, bytes.clone())
                    .with("Content-Type", media_type)
                    .with("Docker-Content-Digest", sha256(bytes).to_string()),
            },
        }
    }

    fn answers(self: Arc<Self>) -> Answers {
        Arc::new(move |asked| self.answer(asked))
    }
}

fn repository(client: &Client, address: &str) -> Arc<dyn Repository> {
    client.repository(&reference(address)).unwrap()
}

fn reference(address: &str) -> OciReference {
    format!("{address}/demo/app:v1").parse().unwrap()
}

/// A server and a repository of it.
async fn serve(answers: Answers) -> (Server, Arc<dyn Repository>) {
    let server = Server::start(None, answers).await;
    let address = server.address.to_string();
    let repository = repository(&client(&address), &address);
    (server, repository)
}

fn requests(server: &Server) -> Vec<String> {
    let line = |asked: Asked| format!("{} {}", asked.method, asked.target.replace(&sha256(BLOB).to_string(), "BLOB"));
    server.asked().into_iter().map(line).collect()
}

fn version(tag: &str) -> Version {
    Version::Tag(tag.to_owned())
}

#[tokio::test]
async fn a_pull_is_one_request_for_each_thing() {
    let (server, repository) = serve(Memory::with_demo().answers()).await;
    let found = repository.resolve(&version("v1")).await.unwrap();
    assert_eq!((found.digest(), found.size()), (&sha256(manifest().as_bytes()), manifest().len() as u64));
    assert_eq!(found.media_type().as_ref(), MANIFEST_TYPE);
    assert_eq!(repository.manifest(found.digest()).await.unwrap(), manifest());
    assert_eq!(read_blob(&*repository, &blob(), 100).await.unwrap(), BLOB);
    let asked = requests(&server);
    let digest = found.digest();
    assert_eq!(
        asked,
        [
            "HEAD /v2/demo/app/manifests/v1".to_owned(),
            format!("GET /v2/demo/app/manifests/{digest}"),
            "GET /v2/demo/app/blobs/BLOB".to_owned()
        ]
    );
    let error = repository.resolve(&version("v2")).await.unwrap_err();
    assert_eq!(error, Error::NotFound(format!("`{}` has no `demo/app:v2`", server.address)));
    assert!(server.asked().iter().all(|asked| asked.header("authorization").is_none()), "nobody wanted a login");
}

#[tokio::test]
async fn a_head_that_says_little_costs_a_get() {
    let memory = Memory::with_demo();
    for silent in ["Docker-Content-Digest", "Content-Type", "HEAD"] {
        let memory = Arc::clone(&memory);
        let (_server, repository) = serve(Arc::new(move |asked| {
            let mut reply = memory.answer(asked);
            reply.headers.retain(|(name, _)| name != silent);
            if silent == "HEAD" && asked.method == "HEAD" { Reply::new(405, "") } else { reply }
        }))
        .await;
        let found = repository.resolve(&version("v1")).await.unwrap();
        assert_eq!(found.digest(), &sha256(manifest().as_bytes()), "{silent}");
        assert_eq!(found.media_type().as_ref(), MANIFEST_TYPE, "{silent}");
    }
}

/// A blob of 3 MiB whose connection breaks after each MiB and a bit, and after `more` the next time where there are no ranges.
fn breaking(with_ranges: bool, more: usize) -> (Bytes, Descriptor, Answers) {
    let bytes: Bytes = (0..3_u32 << 20).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    let descriptor = Descriptor::new("application/wasm".into(), bytes.len() as u64, sha256(&bytes));
    let all = bytes.clone();
    let answers = move |asked: &Asked| {
        let range = asked.header("range").filter(|_| with_ranges);
        let from: usize = range.map_or(0, |range| range["bytes=".len()..range.len() - 1].parse().unwrap());
        let rest = all.slice(from..);
        let sent = rest
            .slice(..rest.len().min(1_100_000 + if with_ranges || from_try(asked) == 0 { 0 } else { more }))
            .to_vec();
        let body = Sent::Cut { announced: rest.len() as u64, bytes: sent };
        let reply = Reply { status: if range.is_some() { 206 } else { 200 }, headers: Vec::new(), body };
        reply.with("Content-Range", format!("bytes {from}-{}/{}", all.len() - 1, all.len()))
    };
    (bytes, descriptor, Arc::new(answers))
}

/// What is asked for, also of a server without ranges.
fn from_try(asked: &Asked) -> usize {
    let range = asked.header("range").unwrap_or("bytes=0-");
    range["bytes=".len()..range.len() - 1].parse().unwrap()
}

#[tokio::test]
async fn a_connection_that_breaks_is_gone_on_with() {
    for with_ranges in [true, false] {
        let (bytes, descriptor, answers) = breaking(with_ranges, 3 << 20);
        let (server, repository) = serve(answers).await;
        let came = read_blob(&*repository, &descriptor, u64::MAX).await.unwrap();
        assert!(came == bytes, "other bytes");
        let ranges: Vec<_> = server.asked().iter().map(|asked| asked.header("range").map(str::to_owned)).collect();
        assert_eq!(ranges.len(), if with_ranges { 3 } else { 2 }, "{ranges:?}");
        assert!(ranges[0].is_none() && ranges[1].is_some(), "{ranges:?}");
    }
}

/// Each try brings a MiB more than the one before, and costs all that came before it.
#[tokio::test]
async fn a_server_without_ranges_that_breaks_off_again_is_given_up() {
    let directory = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let (_, descriptor, answers) = breaking(false, 1 << 20);
    let (server, repository) = serve(answers).await;
    let error = store.fetch(&*repository, &descriptor, u64::MAX, &Progress::default()).await.unwrap_err();
    assert!(matches!(&error, Error::OverLimit(why) if why.contains("began it anew 1 time")), "{error:?}");
    assert_eq!(server.asked().len(), 2, "the first try, and the one that is all of `MAX_RESTARTS`");
}

/// The first mirror has other bytes, the second fewer and more of them, and the third is not there.
#[tokio::test]
async fn a_mirror_with_other_bytes_is_passed_over() {
    let memory = Memory::with_demo();
    let wrong = |asked: &Asked, body: Sent| match asked.target.contains("/blobs/") {
        true => Reply::sending(body),
        false => Memory::with_demo().answer(asked),
    };
    let other = [&BLOB[..BLOB.len() - 1], b"\x01"].concat();
    let length = BLOB.len() as u64;
    let mirrors = [
        Server::start(None, Arc::new(move |asked| wrong(asked, Sent::Whole(other.clone())))).await,
        Server::start(None, Arc::new(move |asked| wrong(asked, Sent::Whole(BLOB[..3].to_vec())))).await,
        Server::start(None, Arc::new(move |asked| wrong(asked, Sent::Cut { announced: length, bytes: vec![7; 3] })))
            .await,
        Server::start(None, Arc::new(|_: &Asked| Reply::new(404, ""))).await,
    ];
    let own = Server::start(None, memory.answers()).await;
    let insecure = || RegistryHost { insecure: true, ..RegistryHost::default() };
    let mut hosts: BTreeMap<_, _> = mirrors.iter().map(|server| (server.address.to_string(), insecure())).collect();
    let names = mirrors.iter().map(|server| server.address.to_string()).collect();
    hosts.insert(own.address.to_string(), RegistryHost { mirrors: names, ..insecure() });
    let settings = RegistrySettings {
        hosts,
        patience: PATIENCE,
        logins: Logins::Given(BTreeMap::new()),
        ..RegistrySettings::default()
    };
    let repository = repository(&Client::new(settings), &own.address.to_string());

    let directory = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let blobs = |server: &Server| server.asked().iter().filter(|asked| asked.target.contains("/blobs/")).count();
    let asked = || (mirrors.iter().map(blobs).collect::<Vec<_>>(), blobs(&own));
    let fetched = store.fetch(&*repository, &blob(), u64::MAX, &Progress::default()).await.unwrap();
    assert_eq!(fetched.read().await.unwrap(), BLOB);
    // Those between may be asked again: who breaks off is asked as often as anybody who does.
    let (first, own_first) = asked();
    assert_eq!((first[0], first[3], own_first), (1, 1, 1), "{first:?}");
    assert_eq!(read_blob(&*repository, &blob(), 1 << 20).await.unwrap(), BLOB, "small documents too");
    let (second, own_second) = asked();
    assert_eq!((second[0], second[3], own_second), (2, 2, 2), "{second:?}");
    // Through the store, as pulls do.
    let before = Store::open(directory.path().join("another")).unwrap().before(Arc::clone(&repository)).await.unwrap();
    assert_eq!(read_blob(&before, &blob(), 1 << 20).await.unwrap(), BLOB);

    // Where nobody has the right bytes, it is the registry that is to blame.
    let missing = Descriptor::new("application/wasm".into(), 8, sha256(b"another"));
    let error = store.fetch(&*repository, &missing, u64::MAX, &Progress::default()).await.unwrap_err();
    assert!(error.to_string().contains(&own.address.to_string()), "{error}");
}

#[tokio::test]
async fn a_blob_begins_where_it_is_asked_for() {
    let (_server, repository) = serve(Arc::new(|asked: &Asked| match asked.header("range") {
        Some("bytes=3-") => Reply::new(206, &BLOB[3..]).with("Content-Range", "bytes 3-7/8"),
        _ => Reply::new(200, BLOB),
    }))
    .await;
    let rest = repository.blob(&blob(), 3).await.unwrap();
    assert_eq!(rest.offset, 3);
    assert_eq!(all(rest).await.unwrap(), BLOB[3..]);
    let nothing = repository.blob(&blob(), 8).await.unwrap();
    assert_eq!((nothing.offset, all(nothing).await.unwrap().len()), (8, 0));
    assert!(repository.blob(&blob(), 9).await.is_err());

    let (_server, plain) = serve(Arc::new(|_: &Asked| Reply::new(200, BLOB))).await;
    let whole = plain.blob(&blob(), 3).await.unwrap();
    assert_eq!(whole.offset, 0, "a server without ranges begins at the beginning, and says so");
    assert_eq!(all(whole).await.unwrap(), BLOB);
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let tries = Mutex::new(0);
    let memory = Memory::with_demo();
    let (server, repository) = serve(Arc::new(move |asked| {
        *tries.lock() += 1;
        if *tries.lock() == 1 { Reply::new(503, "").with("Retry-After", "0") } else { memory.answer(asked) }
    }))
    .await;
    repository.resolve(&version("v1")).await.unwrap();
    assert_eq!(server.asked().len(), 2);
    let refused = repository.resolve(&version("none")).await.unwrap_err();
    assert!(matches!(refused, Error::NotFound(_)), "{refused}");
    assert_eq!(server.asked().len(), 3, "what is not there is asked once");
}

#[tokio::test]
async fn a_server_that_has_no_such_part_is_asked_for_the_whole() {
    let (server, repository) = serve(Arc::new(|asked: &Asked| match asked.header("range") {
        Some(_) => Reply::new(416, "").with("Content-Range", "bytes */8"),
        None => Reply::new(200, BLOB),
    }))
    .await;
    let whole = repository.blob(&blob(), 3).await.unwrap();
    assert_eq!(whole.offset, 0);
    assert_eq!(all(whole).await.unwrap(), BLOB);
    assert_eq!(server.asked().len(), 2);
    let (_server, repository) = serve(Arc::new(|_: &Asked| Reply::new(416, ""))).await;
    assert!(repository.blob(&blob(), 3).await.is_err(), "and has no whole either");
}

#[tokio::test]
async fn a_document_that_breaks_off_is_asked_for_again() {
    let memory = Memory::with_demo();
    memory.keep("/v2/demo/app/tags/list", "application/json", r#"{"tags":["v1"]}"#);
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX_TYPE}","manifests":[]}}"#);
    let subject = sha256(manifest().as_bytes());
    memory.keep(&format!("/v2/demo/app/referrers/{subject}"), INDEX_TYPE, index);
    let seen = Mutex::new(HashMap::<String, u32>::new());
    let answers: Answers = Arc::new(move |asked| {
        let mut seen = seen.lock();
        let count = seen.entry(asked.target.clone()).or_default();
        *count += 1;
        let mut reply = memory.answer(asked);
        if *count == 1 {
            reply.body = Sent::Cut { announced: 100, bytes: b"{".into() };
        }
        reply
    });
    let (server, repository) = serve(answers).await;
    assert_eq!(repository.manifest(&subject).await.unwrap(), manifest());
    assert_eq!(repository.referrers(&subject).await.unwrap(), []);
    let address = server.address.to_string();
    assert_eq!(client(&address).tags(&reference(&address)).await.unwrap(), ["v1"]);
    assert_eq!(server.asked().len(), 6, "{:?}", requests(&server));
}

#[tokio::test]
async fn a_list_of_referrers_without_a_later_page_is_no_list() {
    let subject = sha256(manifest().as_bytes());
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX_TYPE}","manifests":[]}}"#);
    for later in [404, 200] {
        let index = index.clone();
        let answers: Answers = Arc::new(move |asked| match asked.target.contains("page=2") {
            _ if asked.target.contains("/manifests/") => Reply::new(404, ""),
            true => Reply::new(later, "a page for people").with("Content-Type", "text/html"),
            false => Reply::new(200, index.clone())
                .with("Content-Type", INDEX_TYPE)
                .with("Link", format!("<{}?page=2>; rel=\"next\"", asked.target)),
        });
        let (server, repository) = serve(answers).await;
        assert!(repository.referrers(&subject).await.is_err(), "{later}");
        assert_eq!(server.asked().len(), 2, "{later}: {:?}", requests(&server));
    }
}

/// Wants a token for each scope, and says in its token which login asked.
fn with_tokens(memory: Arc<Memory>, life: &'static str) -> Answers {
    Arc::new(move |asked| {
        if asked.target.starts_with("/token") {
            let grant = asked.header("authorization").unwrap_or("nobody").replace(' ', "-");
            let form = String::from_utf8_lossy(&asked.body).replace(['&', '%'], "-");
            let token = format!("{grant}.{form}.{}", asked.target.rsplit(':').next().unwrap());
            return Reply::new(200, format!(r#"{{"access_token":"{token}"{life}}}"#));
        }
        match asked.header("authorization") {
            Some(shown) if shown.starts_with("Bearer ") => memory.answer(asked),
            _ => Reply::new(401, "").with(
                "WWW-Authenticate",
                r#"Bearer realm="http://{self}/token?a=1",service="here",scope="repository:demo/app:pull""#,
            ),
        }
    })
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_ends() {
    for (life, tokens) in [(r#","expires_in":300"#, 1), (r#","expires_in":10"#, 2)] {
        let (server, repository) = serve(with_tokens(Memory::with_demo(), life)).await;
        repository.resolve(&version("v1")).await.unwrap();
        repository.resolve(&version("v1")).await.unwrap();
        let asked: Vec<_> = server.asked().into_iter().filter(|asked| asked.target.starts_with("/token")).collect();
        assert_eq!(asked.len(), tokens, "{life}");
        assert_eq!(asked[0].target, "/token?a=1&service=here&scope=repository%3Ademo%2Fapp%3Apull");
        assert_eq!(asked[0].header("authorization"), Some("Basic bWU6aHVudGVyMg=="));
    }
}

#[tokio::test]
async fn a_push_needs_one_token() {
    let (server, repository) = serve(with_tokens(Memory::with_demo(), r#","expires_in":300"#)).await;
    let bytes = Bytes::from_static(b"new");
    let new = Descriptor::new("application/wasm".into(), 3, sha256(&bytes));
    repository.push_blob(&new, bytes).await.unwrap();
    repository.push_manifest(Some("v2"), MANIFEST_TYPE, manifest().into()).await.unwrap();
    let asked: Vec<_> = requests(&server).into_iter().filter(|line| line.contains("/token")).collect();
    assert_eq!(asked, ["GET /token?a=1&service=here&scope=repository%3Ademo%2Fapp%3Apull%2Cpush"]);
}

/// A client with these logins for a server, or none.
async fn shown_login(login: Option<Login>, answers: Answers) -> (Result<Descriptor, Error>, Vec<Asked>) {
    let server = Server::start(None, answers).await;
    let address = server.address.to_string();
    let insecure = RegistryHost { insecure: true, ..RegistryHost::default() };
    let logins = login.map(|login| (address.clone(), login));
    let client = Client::new(RegistrySettings {
        hosts: BTreeMap::from([(address.clone(), insecure)]),
        logins: Logins::Given(logins.into_iter().collect()),
        patience: PATIENCE,
        offline: false,
    });
    let found = repository(&client, &address).resolve(&version("v1")).await;
    let shown = format!("{client:?}");
    assert!(!shown.contains(PASSWORD) && !shown.contains("refresh-me"), "{shown}");
    (found, server.asked())
}

#[tokio::test]
async fn without_a_login_a_token_is_asked_for_in_nobodys_name() {
    let (found, asked) = shown_login(None, with_tokens(Memory::with_demo(), "")).await;
    found.unwrap();
    assert_eq!(asked[1].header("authorization"), None);
    assert!(asked[2].header("authorization").unwrap().starts_with("Bearer nobody."), "{}", asked[2].head);
}

#[tokio::test]
async fn an_identity_token_is_changed_for_a_token() {
    let login = Login::IdentityToken("refresh-me".to_owned());
    let (found, asked) = shown_login(Some(login), with_tokens(Memory::with_demo(), "")).await;
    found.unwrap();
    assert_eq!((asked[1].method.as_str(), asked[1].header("authorization")), ("POST", None));
    let form = String::from_utf8(asked[1].body.clone()).unwrap();
    assert!(form.starts_with("grant_type=refresh_token&refresh_token=refresh-me&client_id=samara&scope="), "{form}");
}

#[tokio::test]
async fn a_password_is_shown_to_who_wants_one() {
    let memory = Memory::with_demo();
    let basic: Answers = Arc::new(move |asked| match asked.header("authorization") {
        Some("Basic bWU6aHVudGVyMg==") => memory.answer(asked),
        _ => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"here\""),
    });
    let login = |password: &str| Some(Login::Password { user: "me".to_owned(), password: password.to_owned() });
    let (found, asked) = shown_login(login(PASSWORD), Arc::clone(&basic)).await;
    found.unwrap();
    assert_eq!(asked.len(), 2);
    let refused = [(None, "wants a login for `demo/app:v1`"), (login("wrong"), "does not accept the login")];
    for (login, expected) in refused {
        let (found, _) = shown_login(login, Arc::clone(&basic)).await;
        let error = found.unwrap_err();
        assert!(matches!(&error, Error::Unauthorized(why) if why.contains(expected)), "{error}");
    }
}

#[tokio::test]
async fn a_blob_may_be_stored_elsewhere_and_the_login_stays() {
    let other = Server::start(None, Arc::new(|_: &Asked| Reply::new(200, BLOB))).await;
    let answers: Answers = Arc::new(|asked| match asked.header("authorization") {
        None => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
        Some(_) => Reply::to("http://{other}/storage?signature=secret"),
    });
    let server = Server::start(Some(other.address), answers).await;
    let address = server.address.to_string();
    let repository = repository(&client(&address), &address);
    assert_eq!(read_blob(&*repository, &blob(), 100).await.unwrap(), BLOB);
    let asked = other.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].target, "/storage?signature=secret");
    assert!(asked[0].header("authorization").is_none(), "{}", asked[0].head);
}

#[tokio::test]
async fn a_login_that_left_the_registry_does_not_come_back_with_a_redirect() {
    // From the registry elsewhere and from there to the registry again: to what, elsewhere has chosen.
    let back = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&back);
    let elsewhere = Server::start(None, Arc::new(move |_: &Asked| Reply::to(&told.lock()))).await;
    for first in [401, 307] {
        let answers: Answers = Arc::new(move |asked| match asked.header("authorization") {
            _ if asked.target.ends_with("/chosen") => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
            None if first == 401 => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
            _ => Reply::to("http://{other}/"),
        });
        let server = Server::start(Some(elsewhere.address), answers).await;
        let address = server.address.to_string();
        *back.lock() = format!("http://{address}/v2/other/app/blobs/chosen");
        assert!(repository(&client(&address), &address).blob(&blob(), 0).await.is_err());
        let asked = server.asked();
        let shown: Vec<_> = asked.iter().map(|asked| asked.header("authorization").is_some()).collect();
        let expected: &[bool] = if first == 401 { &[false, true, false] } else { &[false, false] };
        assert_eq!(shown, expected, "{first}");
    }
}

#[tokio::test]
async fn where_to_go_on_is_for_the_registry_itself_to_say() {
    // It sends on for a list and for an upload, and who is asked then names a place at itself.
    let elsewhere: Answers = Arc::new(|asked| match asked.method.as_str() {
        "POST" => Reply::new(202, "").with("Location", "/upload"),
        _ => Reply::new(200, r#"{"tags":["v1"]}"#).with("Link", "</more>; rel=\"next\""),
    });
    let elsewhere = Server::start(None, elsewhere).await;
    let answers: Answers = Arc::new(|asked| match (asked.method.as_str(), asked.header("authorization")) {
        (_, None) => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
        ("HEAD", _) => Reply::new(404, ""),
        _ => Reply::to("http://{other}/list"),
    });
    let server = Server::start(Some(elsewhere.address), answers).await;
    let address = server.address.to_string();
    let client = client(&address);
    let listed = client.tags(&reference(&address)).await.unwrap_err().to_string();
    let pushed = repository(&client, &address).push_blob(&blob(), BLOB.into()).await.unwrap_err().to_string();
    assert!(listed.contains("is elsewhere") && pushed.contains("is elsewhere"), "{listed}; {pushed}");
    let asked = elsewhere.asked();
    assert_eq!(requests(&elsewhere), ["GET /list", "POST /list"]);
    assert!(asked.iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_the_registry_last() {
    let dead = Server::start(None, Arc::new(|_: &Asked| Reply::new(500, ""))).await;
    let empty = Server::start(None, Arc::new(|_: &Asked| Reply::new(404, ""))).await;
    let lies =
        Server::start(None, Arc::new(|_: &Asked| Reply::new(200, "{}").with("Content-Type", MANIFEST_TYPE))).await;
    let memory = Memory::with_demo();
    let prefixed: Answers = Arc::new(move |asked| {
        let mut asked = asked.clone();
        asked.target = asked.target.replace("/v2/hub/", "/v2/");
        memory.answer(&asked)
    });
    let good = Server::start(None, prefixed).await;
    let own = Server::start(None, Memory::with_demo().answers()).await;
    let insecure = || RegistryHost { insecure: true, ..RegistryHost::default() };
    let servers = [&dead, &empty, &lies, &good];
    let mut hosts: BTreeMap<_, _> = servers.iter().map(|server| (server.address.to_string(), insecure())).collect();
    let mirrors = vec![
        dead.address.to_string(),
        empty.address.to_string(),
        lies.address.to_string(),
        format!("{}/hub", good.address),
    ];
    hosts.insert(own.address.to_string(), RegistryHost { mirrors, ..insecure() });
    let client = Client::new(RegistrySettings {
        hosts,
        patience: PATIENCE,
        logins: Logins::Given(BTreeMap::new()),
        ..RegistrySettings::default()
    });
    let repository = repository(&client, &own.address.to_string());

    assert_eq!(repository.manifest(&sha256(manifest().as_bytes())).await.unwrap(), manifest());
    let counts = servers.map(|server| server.asked().len());
    assert_eq!((counts, own.asked().len()), ([2, 1, 1, 1], 0), "a mirror that lies about a digest is passed over");
    let error = repository.resolve(&version("none")).await.unwrap_err();
    assert!(error.to_string().contains(&own.address.to_string()), "the registry's own word counts: {error}");

    repository.push_blob(&Descriptor::new("a/b".into(), 1, sha256(b"x")), Bytes::from_static(b"x")).await.unwrap();
    let posted = |server: &Server| server.asked().iter().filter(|asked| asked.method == "POST").count();
    assert_eq!((servers.map(posted), posted(&own)), ([0; 4], 1), "a push goes to the registry itself");
}

#[tokio::test]
async fn tags_come_in_pages() {
    let answers: Answers = Arc::new(|asked| match asked.target.contains("last=v2") {
        false => Reply::new(200, r#"{"tags":["v1","v2"]}"#)
            .with("Link", "</v2/demo/app/tags/list?last=v2&n=1000>; rel=\"next\""),
        true => Reply::new(200, r#"{"tags":["v3"]}"#),
    });
    let server = Server::start(None, answers).await;
    let address = server.address.to_string();
    assert_eq!(client(&address).tags(&reference(&address)).await.unwrap(), ["v1", "v2", "v3"]);
    assert_eq!(requests(&server)[0], "GET /v2/demo/app/tags/list?n=1000");
    let empty = Server::start(None, Arc::new(|_: &Asked| Reply::new(200, r#"{"tags":null}"#))).await;
    let address = empty.address.to_string();
    assert_eq!(client(&address).tags(&reference(&address)).await.unwrap(), [""; 0]);
}

/// A signature of the demo's manifest.
fn signature(name: &str) -> String {
    let subject = sha256(manifest().as_bytes());
    manifest().replacen(
        '{',
        &format!(
            r#"{{"artifactType":"example/signature","annotations":{{"name":"{name}"}},"subject":{{"mediaType":"{MANIFEST_TYPE}","digest":"{subject}","size":{}}},"#,
            manifest().len()
        ),
        1,
    )
}

#[tokio::test]
async fn a_signature_is_found_by_what_it_signs_also_without_the_api() {
    let subject = sha256(manifest().as_bytes());
    let (server, repository) = serve(Memory::with_demo().answers()).await;
    assert_eq!(repository.referrers(&subject).await.unwrap(), []);
    let mut pushed: Vec<Digest> = Vec::new();
    for name in ["one", "two", "two"] {
        pushed.push(repository.push_manifest(None, MANIFEST_TYPE, signature(name).into()).await.unwrap());
    }
    let found = repository.referrers(&subject).await.unwrap();
    let digests: Vec<_> = found.iter().map(|found| found.digest().clone()).collect();
    assert_eq!(digests, pushed[..2], "each once");
    assert_eq!(found[0].artifact_type().as_ref().unwrap().as_ref(), "example/signature");
    assert_eq!(found[1].annotations().as_ref().unwrap()["name"], "two");
    let index = format!("PUT /v2/demo/app/manifests/{}", subject.to_string().replace(':', "-"));
    assert_eq!(requests(&server).iter().filter(|line| **line == index).count(), 2);
}

#[tokio::test]
async fn where_there_is_the_referrers_api_it_is_used() {
    let subject = sha256(manifest().as_bytes());
    let mut memory = Memory::with_demo();
    Arc::get_mut(&mut memory).unwrap().referrers_api = true;
    let entry = serde_json::to_string(&blob()).unwrap();
    let page = |entries: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX_TYPE}","manifests":[{entries}]}}"#);
    let (first, second) = (page(&entry), page(&entry));
    let path = format!("/v2/demo/app/referrers/{subject}");
    let api = Arc::clone(&memory);
    let (server, repository) = serve(Arc::new(move |asked| match asked.target.split_once('?') {
        None if asked.target == path => Reply::new(200, first.clone())
            .with("Content-Type", INDEX_TYPE)
            .with("Link", format!("<{path}?p=2>; rel=next")),
        Some((before, "p=2")) if before == path => Reply::new(200, second.clone()).with("Content-Type", INDEX_TYPE),
        _ => api.answer(asked),
    }))
    .await;
    assert_eq!(repository.referrers(&subject).await.unwrap().len(), 2);
    repository.push_manifest(None, MANIFEST_TYPE, signature("one").into()).await.unwrap();
    assert!(!requests(&server).iter().any(|line| line.contains("sha256-")), "no tag stands in for what is there");
}

#[tokio::test]
async fn a_push_is_in_one_piece_or_in_several() {
    let memory = Memory::with_demo();
    let (server, repository) = serve(Arc::clone(&memory).answers()).await;
    for (length, patches) in [(0, 0), (5, 0), ((32 << 20) + 1, 1)] {
        let bytes = Bytes::from(vec![7_u8; length]);
        let descriptor = Descriptor::new("application/wasm".into(), length as u64, sha256(&bytes));
        let before = server.asked().len();
        repository.push_blob(&descriptor, bytes.clone()).await.unwrap();
        let sent = server.asked();
        assert_eq!(sent[before..].iter().filter(|asked| asked.method == "PATCH").count(), patches);
        assert!(read_blob(&*repository, &descriptor, u64::MAX).await.unwrap() == bytes);
        let before = server.asked().len();
        repository.push_blob(&descriptor, bytes).await.unwrap();
        assert_eq!(server.asked().len(), before + 1, "what is there is not sent again");
    }
    let digest = repository.push_manifest(Some("v9"), MANIFEST_TYPE, manifest().into()).await.unwrap();
    assert_eq!(repository.resolve(&version("v9")).await.unwrap().digest(), &digest);
    let error = repository.push_manifest(Some("../v9"), MANIFEST_TYPE, manifest().into()).await.unwrap_err();
    assert!(error.to_string().starts_with("`../v9` is no tag"), "{error}");
}

#[tokio::test]
async fn a_file_comes_from_a_web_server() {
    let whole: Answers = Arc::new(|asked: &Asked| match asked.header("range") {
        None => Reply::sending(Sent::Cut { announced: 8, bytes: BLOB[..3].into() }).with("ETag", "\"1\""),
        Some(_) => {
            assert_eq!(asked.header("if-range"), Some("\"1\""));
            Reply::new(206, &BLOB[3..]).with("Content-Range", "bytes 3-7/8").with("ETag", "\"1\"")
        }
    });
    let server = Server::start(None, whole).await;
    let address = server.address.to_string();
    let url = format!("http://{address}/cart.wasm?x=1").parse().unwrap();
    let came = all(client(&address).get_url(&url, 0, 100).await.unwrap()).await.unwrap();
    assert_eq!(came, BLOB, "it went on after the connection broke");
    assert!(server.asked().iter().all(|asked| asked.header("authorization").is_none()));

    let strict = Client::new(RegistrySettings::default());
    let error = strict.get_url(&url, 0, 100).await.unwrap_err().to_string();
    assert!(error.contains("is plain HTTP") && error.contains(&format!("--insecure {address}")), "{error}");
    assert!(!error.contains("x=1"), "{error}");
}

/// A server's certificate for 127.0.0.1, and the file of its authority.
pub(crate) fn certificate() -> (rustls::ServerConfig, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    (config, file)
}

#[tokio::test]
async fn an_authority_of_ones_own_is_believed_for_its_host_alone() {
    let (tls, file) = certificate();
    let memory = Memory::with_demo();
    let answers: Answers = Arc::new(move |asked| match asked.target.contains("/down") {
        true => Reply::to("http://{self}/v2/demo/app/manifests/v1"),
        false => memory.answer(asked),
    });
    let server = Server::start_with(None, Some(Arc::new(tls).into()), answers).await;
    let address = server.address.to_string();
    let with = |host: Option<RegistryHost>| {
        let hosts = host.into_iter().map(|host| (address.clone(), host)).collect();
        Client::new(RegistrySettings {
            hosts,
            patience: PATIENCE,
            logins: Logins::Given(BTreeMap::new()),
            ..RegistrySettings::default()
        })
    };
    let ca = || Some(RegistryHost { ca: Some(file.path().to_owned()), ..RegistryHost::default() });
    repository(&with(ca()), &address).resolve(&version("v1")).await.unwrap();

    let error = repository(&with(ca()), &address).resolve(&version("down")).await.unwrap_err().to_string();
    assert!(error.contains("from https to plain http; it is not followed"), "{error}");

    let error = repository(&with(None), &address).resolve(&version("v1")).await.unwrap_err().to_string();
    assert!(error.contains("is not believed") && error.contains("ca = \"FILE\""), "{error}");

    let none = RegistryHost { ca: Some("/nowhere.pem".into()), ..RegistryHost::default() };
    let error = repository(&with(Some(none)), &address).resolve(&version("v1")).await.unwrap_err();
    assert!(matches!(&error, Error::Disk(why) if why.contains("/nowhere.pem")), "{error}");
}

#[tokio::test]
async fn a_registry_on_plain_http_says_how_to_allow_it() {
    let server = Server::start(None, Memory::with_demo().answers()).await;
    let address = server.address.to_string();
    let client = Client::new(RegistrySettings { patience: PATIENCE, ..RegistrySettings::default() });
    let error = repository(&client, &address).resolve(&version("v1")).await.unwrap_err().to_string();
    assert!(error.contains("does not speak TLS") && error.contains(&format!("--insecure {address}")), "{error}");
    assert!(server.asked().is_empty(), "nothing was asked in plain");
}

/// Set in the process whose home has a login, to the address of a registry that wants one.
const WITH_A_HOME: &str = "SAMARA_TEST_WITH_A_HOME";

/// The environment leads to docker's files, and these to a credential helper, which is another program.
#[tokio::test]
async fn logins_are_found_where_docker_keeps_them() {
    if let Ok(address) = std::env::var(WITH_A_HOME) {
        let insecure = RegistryHost { insecure: true, ..RegistryHost::default() };
        let hosts = BTreeMap::from([(address.clone(), insecure)]);
        let client = Client::new(RegistrySettings { hosts, patience: PATIENCE, ..RegistrySettings::default() });
        let found = repository(&client, &address).resolve(&version("v1")).await;
        // What the helper prints is the secret: it is in no error, whatever the helper does.
        let said = found.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!said.contains(PASSWORD), "{said}");
        assert_eq!(said, std::env::var("SAMARA_TEST_EXPECTED").unwrap());
        return;
    }
    let memory = Memory::with_demo();
    let server = Server::start(
        None,
        Arc::new(move |asked| match asked.header("authorization") {
            Some("Basic bWU6aHVudGVyMg==") => memory.answer(asked),
            _ => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
        }),
    )
    .await;
    let address = server.address.to_string();
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config.json");
    std::fs::write(&config, format!(r#"{{"credHelpers":{{"{address}":"samara-test"}}}}"#)).unwrap();
    let wanted = format!("`{address}` wants a login for `demo/app:v1`; log in with `docker login {address}`");
    let broken = format!(
        "the login for `{address}` in `{}` cannot be used: the helper `docker-credential-samara-test` failed; run \
         `docker-credential-samara-test get` to see why",
        config.display()
    );
    for (script, expected) in [
        (format!(r#"[ "$host" = {address} ] && echo '{{"Username":"me","Secret":"{PASSWORD}"}}'"#), ""),
        ("echo credentials not found in native keychain; exit 1".to_owned(), wanted.as_str()),
        (format!("echo {PASSWORD}; echo {PASSWORD} >&2; exit 1"), broken.as_str()),
    ] {
        let helper = home.path().join("docker-credential-samara-test");
        // Written by another process: what this one has open to write, a child of another test may have open too, for a
        // moment, and then it cannot be run.
        let mut write = tokio::process::Command::new("sh");
        write
            .args(["-c", r#"printf '#!/bin/sh\nread host\n%s\n' "$1" > "$0" && chmod 755 "$0""#])
            .arg(&helper)
            .arg(&script);
        assert!(write.status().await.unwrap().success());
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
        child.args(["registry::logins_are_found_where_docker_keeps_them", "--exact"]);
        child.env(WITH_A_HOME, &address).env("SAMARA_TEST_EXPECTED", expected).env_remove("REGISTRY_AUTH_FILE");
        let path = std::env::var("PATH").unwrap();
        child.env("DOCKER_CONFIG", home.path()).env("PATH", format!("{}:{path}", home.path().display()));
        let ran = child.output().await.unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    }
}

/// Set in the process that has a proxy, to the address of a registry on this machine.
const BEHIND_A_PROXY: &str = "SAMARA_TEST_BEHIND_A_PROXY";

/// The environment's proxy is asked for names, which may mean something to it alone, and never for this machine.
#[tokio::test]
async fn the_proxy_of_the_environment_is_asked_but_not_for_this_machine() {
    if let Ok(local) = std::env::var(BEHIND_A_PROXY) {
        for address in ["registry.test:5000", &local] {
            repository(&client(address), address).resolve(&version("v1")).await.unwrap();
        }
        return;
    }
    let memory = Memory::with_demo();
    let proxy = Server::start(
        None,
        Arc::new(move |asked| {
            let mut asked = asked.clone();
            asked.target = asked.target.replace("http://registry.test:5000/", "/");
            memory.answer(&asked)
        }),
    )
    .await;
    let local = Server::start(None, Memory::with_demo().answers()).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["registry::the_proxy_of_the_environment_is_asked_but_not_for_this_machine", "--exact"]);
    child.env(BEHIND_A_PROXY, local.address.to_string()).env_remove("NO_PROXY").env_remove("no_proxy");
    for variable in ["http_proxy", "HTTP_PROXY"] {
        child.env(variable, format!("http://{}", proxy.address));
    }
    let ran = child.output().await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert_eq!(requests(&proxy), ["HEAD http://registry.test:5000/v2/demo/app/manifests/v1"]);
    assert_eq!(requests(&local), ["HEAD /v2/demo/app/manifests/v1"]);
}
