//! A folder over real sockets: what of it is served, how, and what never is.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, FileTimes},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::SystemTime,
};

use http::{HeaderValue, header::X_FRAME_OPTIONS};
use samara_model::manifest::{Folder as Settings, LimitOverrides};
use samara_telemetry::WorkloadTotals;

use super::*;
use crate::gateway::Folder;

const PAGE: &str = "<!doctype html><title>here</title>";

/// A folder that is served.
struct Site {
    root: tempfile::TempDir,
    server: Server,
    metrics: Arc<Metrics>,
    id: WorkloadId,
}

impl Site {
    fn with(routes: &[&str], change: impl FnOnce(&mut Settings, &mut Limits)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let public = root.path().join("public");
        fs::create_dir_all(public.join("docs/empty")).unwrap();
        for (file, text) in [
            ("index.html", PAGE),
            ("app.js", "let a = 1;"),
            ("docs/index.html", "docs"),
            ("docs/a b.txt", "spaced"),
            (".env", "SECRET=1"),
            (".well-known", ""),
        ] {
            if file == ".well-known" {
                fs::create_dir(public.join(file)).unwrap();
                fs::write(public.join(".well-known/security.txt"), "contact").unwrap();
            } else {
                fs::write(public.join(file), text).unwrap();
            }
        }
        fs::write(root.path().join("secret"), "outside").unwrap();
        let mut settings = Settings {
            name: "page".into(),
            path: public,
            cache_control: None,
            headers: Vec::new(),
            dotfiles: false,
            not_found: "404.html".into(),
            limits: LimitOverrides::default(),
            line: 0,
        };
        let mut limits = settings.effective_limits(&LimitOverrides::default());
        change(&mut settings, &mut limits);
        let id = WorkloadId { tenant: Tenant::default(), app: "test".into(), name: "page".into() };
        let metrics = Metrics::new();
        let folder = Folder::open(id.clone(), settings, limits, metrics.workload(&id), None).unwrap();
        let destination = Destination::new(Arc::new(folder));
        let routes: Vec<_> = routes.iter().map(|route| (*route, &destination)).collect();
        let server = Server::new(&routes);
        Self { root, server, metrics, id }
    }

    fn new() -> Self {
        Self::with(&["/*rest"], |_, _| {})
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join("public").join(file)
    }

    fn totals(&self) -> WorkloadTotals {
        self.metrics.workload(&self.id).totals()
    }

    async fn ask(&self, line: &str, headers: &[&str]) -> String {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        self.server.ask(&format!("{line} HTTP/1.1\r\nhost: x.test\r\nconnection: close\r\n{headers}\r\n")).await
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path}"), &[]).await
    }
}

/// A header of a response.
fn header<'r>(response: &'r str, name: &str) -> Option<&'r str> {
    response.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Gives a file a time long past, so that its tag is strong but for its `ctime`.
fn age(path: &Path, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[tokio::test]
async fn files_are_served_with_their_type() {
    let site = Site::new();
    let page = site.get("/").await;
    check(&page, 200, &[PAGE, "content-type: text/html; charset=utf-8", "x-content-type-options: nosniff"]);
    check(&page, 200, &["accept-ranges: bytes", "etag: ", "last-modified: ", "cache-control: no-cache"]);
    check(&site.get("/app.js?v=1").await, 200, &["let a = 1;", "content-type: text/javascript"]);
    check(&site.get("/docs/a%20b.txt").await, 200, &["spaced", "content-length: 6"]);
    check(&site.get("/.well-known/security.txt").await, 200, &["contact"]);
    let head = site.ask("HEAD /app.js", &[]).await;
    check(&head, 200, &["content-length: 10"]);
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    check(&site.ask("POST /app.js", &["content-length: 0"]).await, 405, &["allow: GET, HEAD"]);
    fs::write(site.path("empty.css"), "").unwrap();
    check(&site.get("/empty.css").await, 200, &["content-length: 0"]);
    fs::write(site.path("nameless"), "?").unwrap();
    check(&site.get("/nameless").await, 200, &["content-type: application/octet-stream"]);
    assert_eq!(site.totals().outcomes().find(|(label, _)| *label == "ok"), Some(("ok", 7)));
}

#[tokio::test]
async fn folders_have_a_page_and_a_slash() {
    let site = Site::new();
    check(&site.get("/docs/").await, 200, &["docs"]);
    check(&site.get("/docs?a=b").await, 308, &["location: ./docs/?a=b\r\n"]);
    // No listing, and no word on whether a folder is there.
    check(&site.get("/docs/empty/").await, 404, &["nothing is served here"]);
    check(&site.get("/docs/empty").await, 404, &["nothing is served here"]);
    check(&site.get("/app.js/").await, 404, &[]);
    // A path that a client could read as a host is not repeated.
    check(&site.get("//docs").await, 404, &[]);

    let site = Site::with(&["/assets/*rest", "/favicon.ico"], |_, _| {});
    check(&site.get("/assets/app.js").await, 200, &["let a = 1;"]);
    fs::write(site.path("favicon.ico"), "icon").unwrap();
    check(&site.get("/favicon.ico").await, 200, &["icon"]);
}

#[tokio::test]
async fn nothing_outside_of_the_folder_is_served() {
    let site = Site::new();
    let outside = site.root.path().join("secret");
    symlink(&outside, site.path("absolute")).unwrap();
    symlink("../secret", site.path("relative")).unwrap();
    symlink("..", site.path("up")).unwrap();
    symlink("relative", site.path("twice")).unwrap();
    symlink("/proc/self", site.path("proc")).unwrap();
    symlink("loop", site.path("loop")).unwrap();
    symlink("app.js", site.path("inside")).unwrap();
    symlink("docs/../app.js", site.path("around")).unwrap();
    let long = format!("/{}", "a".repeat(300));
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/docs/../../secret",
        "/docs/%2e%2e/%2e%2e/secret",
        "/absolute",
        "/relative",
        "/up/secret",
        "/up",
        "/up/",
        "/twice",
        "/proc/environ",
        "/proc/fd/0",
        "/loop",
        "/.env",
        "/%2eenv",
        "/docs/..%5c..%5csecret",
        "/app.js%00.html",
        "/%00",
        "//etc/passwd",
        "/%2fetc/passwd",
        &long,
    ] {
        let response = site.get(path).await;
        let refused = ["HTTP/1.1 404 ", "HTTP/1.1 400 "].iter().any(|head| response.starts_with(head));
        assert!(refused && !response.contains("outside") && !response.contains("SECRET"), "{path}: {response}");
    }
    // Links that stay inside are followed.
    check(&site.get("/inside").await, 200, &["let a = 1;"]);
    check(&site.get("/around").await, 200, &["let a = 1;"]);
}

#[tokio::test]
async fn a_folder_that_is_replaced_as_a_whole_is_followed() {
    let site = Site::new();
    let public = site.root.path().join("public");
    let becomes = async |text: &str| {
        let seen = async {
            while !site.get("/app.js").await.contains(text) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, seen).await.unwrap_or_else(|_| panic!("{text} does not show"));
    };
    // As build tools do: gone, and made anew.
    fs::remove_dir_all(&public).unwrap();
    check(&site.get("/app.js").await, 404, &[]);
    fs::create_dir(&public).unwrap();
    fs::write(public.join("app.js"), "built anew").unwrap();
    becomes("built anew").await;
    // As deployments do: a link that goes to the next release.
    for release in ["one", "two"] {
        fs::create_dir(site.root.path().join(release)).unwrap();
        fs::write(site.root.path().join(release).join("app.js"), release).unwrap();
    }
    fs::remove_dir_all(&public).unwrap();
    for release in ["one", "two"] {
        symlink(release, site.root.path().join("next")).unwrap();
        fs::rename(site.root.path().join("next"), &public).unwrap();
        becomes(release).await;
    }
    check(&site.get("/../one/app.js").await, 404, &[]);
}

#[tokio::test]
async fn what_is_no_file_is_not_opened_for_long() {
    let site = Site::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        site.path("pipe.txt"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(site.path("socket.txt")).unwrap();
    for path in ["/pipe.txt", "/socket.txt"] {
        let answer = timeout(LONG, site.get(path)).await;
        check(&answer.expect("it does not block"), 404, &[]);
    }
}

#[tokio::test]
async fn a_client_that_has_a_file_is_told_so() {
    let site = Site::new();
    // A file of just now may change again within a tick of the clock: its tag promises less, and is another soon.
    let young = SystemTime::now();
    fs::write(site.path("app.js"), "let a = 1;").unwrap();
    let first = site.get("/app.js").await;
    let soon = young.elapsed().is_ok_and(|time| time < Duration::from_millis(900));
    assert!(!soon || header(&first, "etag").unwrap().starts_with("W/"), "{first}");
    let settled = async {
        loop {
            let response = site.get("/app.js").await;
            match header(&response, "etag").unwrap() {
                tag if !tag.starts_with("W/") => return tag.to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let tag = timeout(LONG, settled).await.expect("the tag becomes strong once the file is left alone");
    let modified = header(&first, "last-modified").unwrap();
    for condition in [format!("if-none-match: {tag}"), format!("if-modified-since: {modified}")] {
        let response = site.ask("GET /app.js", &[&condition]).await;
        check(&response, 304, &["etag: ", "cache-control: no-cache"]);
        assert!(response.ends_with("\r\n\r\n"), "{response}");
    }
    check(&site.ask("GET /app.js", &["if-match: \"other\""]).await, 412, &[]);
    // The same size, and the date as it was: only the disk knows.
    let times = fs::metadata(site.path("app.js")).unwrap();
    fs::write(site.path("app.js"), "let a = 2;").unwrap();
    let old = FileTimes::new().set_modified(times.modified().unwrap());
    File::options().write(true).open(site.path("app.js")).unwrap().set_times(old).unwrap();
    let changed = site.ask("GET /app.js", &[&format!("if-none-match: {tag}")]).await;
    check(&changed, 200, &["let a = 2;"]);
}

#[tokio::test]
async fn parts_of_a_file_are_served() {
    let site = Site::new();
    let part = site.ask("GET /app.js", &["range: bytes=4-6"]).await;
    check(&part, 206, &["content-range: bytes 4-6/10", "content-length: 3"]);
    assert!(part.ends_with("\r\n\r\na ="), "{part}");
    check(&site.ask("GET /app.js", &["range: bytes=10-"]).await, 416, &["content-range: bytes */10"]);
    check(&site.ask("GET /app.js", &["range: bytes=0-1,4-6"]).await, 200, &["let a = 1;"]);
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| b'a' + u8::try_from(n % 23).unwrap()).collect();
    fs::write(site.path("large.bin"), &large).unwrap();
    let part = site.ask("GET /large.bin", &["range: bytes=100000-899999"]).await;
    check(&part, 206, &["content-range: bytes 100000-899999/1000000"]);
    let (_, body) = part.split_once("\r\n\r\n").unwrap();
    assert!(body.as_bytes() == &large[100_000..900_000]);
    let whole = site.get("/large.bin").await;
    assert!(whole.split_once("\r\n\r\n").unwrap().1.as_bytes() == large);
    assert_eq!(site.totals().calls(), 5);
}

#[tokio::test]
async fn compressed_files_beside_a_file_are_used() {
    let site = Site::new();
    age(&site.path("app.js"), 60);
    fs::write(site.path("app.js.br"), "brotli").unwrap();
    fs::write(site.path("app.js.gz"), "gzipped").unwrap();
    let brotli = site.ask("GET /app.js", &["accept-encoding: gzip, br"]).await;
    check(
        &brotli,
        200,
        &["\r\n\r\nbrotli", "content-encoding: br", "content-type: text/javascript", "vary: accept-encoding"],
    );
    let gzip = site.ask("GET /app.js", &["accept-encoding: gzip"]).await;
    check(&gzip, 200, &["\r\n\r\ngzipped", "content-encoding: gzip"]);
    let plain = site.get("/app.js").await;
    check(&plain, 200, &["let a = 1;", "vary: accept-encoding"]);
    assert!(header(&plain, "content-encoding").is_none());
    let tags: HashSet<_> = [&brotli, &gzip, &plain].map(|answer| header(answer, "etag")).into();
    assert_eq!(tags.len(), 3, "each is a representation of its own");
    // One that is older than its original is not it.
    age(&site.path("app.js.br"), 120);
    check(&site.ask("GET /app.js", &["accept-encoding: br"]).await, 200, &["let a = 1;"]);
    // A link out of the folder is none.
    fs::remove_file(site.path("app.js.gz")).unwrap();
    symlink("../secret", site.path("app.js.gz")).unwrap();
    check(&site.ask("GET /app.js", &["accept-encoding: gzip"]).await, 200, &["let a = 1;"]);
    fs::write(site.path("photo.jpg"), "photo").unwrap();
    fs::write(site.path("photo.jpg.gz"), "not looked at").unwrap();
    let photo = site.ask("GET /photo.jpg", &["accept-encoding: gzip"]).await;
    assert!(photo.ends_with("photo") && header(&photo, "vary").is_none(), "{photo}");
}

#[tokio::test]
async fn what_is_not_there_may_have_a_page_and_caches_be_told_more() {
    let site = Site::with(&["/*rest"], |settings, _| {
        settings.cache_control = Some(HeaderValue::from_static("public, max-age=60"));
        settings.headers = vec![(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"))];
        settings.dotfiles = true;
    });
    check(&site.get("/nothing").await, 404, &["nothing is served here"]);
    fs::write(site.path("404.html"), "<h1>lost</h1>").unwrap();
    check(&site.get("/nothing").await, 404, &["<h1>lost</h1>", "text/html", "cache-control: no-cache"]);
    check(&site.get("/app.js").await, 200, &["cache-control: public, max-age=60", "x-frame-options: DENY"]);
    check(&site.get("/.env").await, 200, &["SECRET=1"]);
    let outcomes: HashMap<_, _> = site.totals().outcomes().collect();
    assert_eq!((outcomes["ok"], outcomes["caller"]), (2, 2));
}

/// A file that does not fit into what sockets buffer.
fn large(path: &Path, letter: u8) {
    fs::write(path, vec![letter; 32 << 20]).unwrap();
}

#[tokio::test]
async fn a_file_that_is_replaced_is_sent_as_it_was() {
    let site = Site::new();
    large(&site.path("film"), b'a');
    let mut client = site.server.client().await;
    client.send("GET /film HTTP/1.1\r\nhost: x.test\r\nconnection: close\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    large(&site.path("next"), b'b');
    fs::rename(site.path("next"), site.path("film")).unwrap();
    let body = client.rest().await;
    assert!(body.len() == 32 << 20 && body.bytes().all(|byte| byte == b'a'), "{}", body.len());
    check(&site.ask("GET /film", &["range: bytes=0-0"]).await, 206, &["\r\n\r\nb"]);
}

#[tokio::test]
async fn a_hammer_of_replacements_never_mixes_two_files() {
    let site = Site::new();
    let replace = |letter: u8| {
        fs::write(site.path("next"), vec![letter; 200_000 + usize::from(letter)]).unwrap();
        fs::rename(site.path("next"), site.path("file")).unwrap();
    };
    replace(b'a');
    let read = async |count: usize| {
        for _ in 0..count {
            let response = site.get("/file").await;
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            let letter = body.as_bytes()[0];
            assert!(body.len() == 200_000 + usize::from(letter) && body.bytes().all(|byte| byte == letter), "{head}");
        }
    };
    let write = async {
        for round in 0..200_u8 {
            replace(b'a' + round % 26);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(read(25), read(25), read(25), read(25), write);
    assert_eq!(site.totals().outcomes().find(|(label, _)| *label == "ok"), Some(("ok", 100)));
}

#[tokio::test]
async fn a_file_that_is_changed_in_place_never_looks_whole() {
    let site = Site::new();
    let change = |file: &Path, how: &str| match how {
        "cut" => File::options().write(true).open(file).unwrap().set_len(1 << 20).unwrap(),
        _ => large(file, b'b'),
    };
    for how in ["cut", "written"] {
        large(&site.path("film"), b'a');
        let mut client = site.server.client().await;
        client.send("GET /film HTTP/1.1\r\nhost: x.test\r\nconnection: close\r\n\r\n").await;
        client.until("\r\n\r\n").await;
        change(&site.path("film"), how);
        let body = client.rest().await;
        assert!(body.len() < 32 << 20, "{how}: {}", body.len());
    }
    assert_eq!(site.totals().outcomes().find(|(label, _)| *label == "host"), Some(("host", 2)));
}

#[tokio::test]
async fn a_bounded_number_of_files_is_open() {
    let site = Site::with(&["/*rest"], |_, limits| (limits.concurrency, limits.queue) = (1, 1));
    large(&site.path("film"), b'a');
    let mut slow = site.server.client().await;
    slow.send("GET /film HTTP/1.1\r\nhost: x.test\r\n\r\n").await;
    slow.until("\r\n\r\n").await;
    let mut waiting = site.server.client().await;
    waiting.send("GET /app.js HTTP/1.1\r\nhost: x.test\r\nconnection: close\r\n\r\n").await;
    let queued = async {
        while site.totals().queue_depth != 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, queued).await.expect("it waits");
    check(&site.get("/app.js").await, 503, &["retry-after: 1"]);
    // The slow client leaves: whoever waits has its turn.
    drop(slow);
    check(&waiting.rest().await, 200, &["let a = 1;"]);
    let outcomes: HashMap<_, _> = site.totals().outcomes().collect();
    assert_eq!((outcomes["ok"], outcomes["busy"], outcomes["cancelled"]), (1, 1, 1));
}
