//! The attacks, one row each.

use std::time::Duration;

use samara_artifact::repository::sha256;

use super::{
    Ask, BLOB, INDEX_TYPE, MANIFEST_TYPE, PASSWORD, Row, manifest, row,
    server::{Asked, Reply, Sent},
};

const JSON: &str = "application/json";
const TIB: u64 = 1 << 40;

fn of_type(media_type: &str, body: impl Into<Vec<u8>>) -> Reply {
    Reply::new(200, body).with("Content-Type", media_type)
}

fn typed(media_type: &str, body: Sent) -> Reply {
    Reply::sending(body).with("Content-Type", media_type)
}

fn nothing() -> Reply {
    Reply::new(404, "")
}

/// A manifest with as many layers.
fn layers(count: usize) -> String {
    let layer = format!(r#"{{"mediaType":"application/wasm","digest":"{}","size":1}}"#, sha256(BLOB));
    let layers = vec![layer.as_str(); count].join(",");
    format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{layer},"layers":[{layers}]}}"#)
}

/// An index of as many manifests.
fn index(count: usize) -> String {
    let entry = format!(r#"{{"mediaType":"{MANIFEST_TYPE}","digest":"{}","size":1}}"#, sha256(BLOB));
    let entries = vec![entry.as_str(); count].join(",");
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX_TYPE}","manifests":[{entries}]}}"#)
}

/// A registry whose only manifest is this.
fn has(document: impl Fn() -> String + Send + Sync + 'static) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| {
        // A HEAD that does not say which digest it is, so that the document itself is asked.
        if asked.method == "HEAD" { Reply::new(200, "") } else { of_type(MANIFEST_TYPE, document()) }
    }
}

/// A HEAD with these headers.
fn head(digest: &str, length: &str) -> Reply {
    Reply::new(200, "")
        .with("Content-Type", MANIFEST_TYPE)
        .with("Docker-Content-Digest", digest)
        .with("Content-Length", length)
}

fn wants_token(realm: &'static str) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |_| {
        let bearer = format!(r#"Bearer realm="{realm}",service="here""#);
        Reply::new(401, "").with("WWW-Authenticate", bearer)
    }
}

/// A registry that names itself as its token server, which answers so.
fn token_server(token: impl Fn() -> Reply + Send + Sync + 'static) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| match asked.is("GET", "/token") {
        true => token(),
        false => wants_token("http://{self}/token")(asked),
    }
}

fn raw(once: &[u8], forever: &[u8], every: Duration) -> Reply {
    Reply::sending(Sent::Raw { once: once.into(), forever: forever.into(), every })
}

pub(super) fn rows() -> Vec<Row> {
    [documents(), blobs(), heads(), redirects(), tokens(), lists(), pushes(), urls()].into_iter().flatten().collect()
}

fn documents() -> Vec<Row> {
    let tick = Duration::from_millis(50);
    vec![
        row("a manifest without an end", Ask::Manifest, "is over 4194304 bytes", |_| {
            typed(MANIFEST_TYPE, Sent::Endless { announced: None })
        }),
        row("a manifest of a tebibyte", Ask::Manifest, "is over 4194304 bytes", |_| {
            typed(MANIFEST_TYPE, Sent::Endless { announced: Some(TIB) })
        }),
        row("a manifest that is announced as a tebibyte", Ask::Resolve, "at most 4194304 are read", |_| {
            head(sha256(BLOB).as_ref(), &TIB.to_string())
        }),
        row("another manifest", Ask::Manifest, "is `sha256:", |_| of_type(MANIFEST_TYPE, manifest() + " ")),
        row("a digest of another kind", Ask::Resolve, "which is no digest of sha256", |_| {
            head(&format!("sha512:{}", "ab".repeat(64)), "100")
        }),
        row("a digest that is none", Ask::Resolve, "`../../etc/passwd`, which is no digest", |_| {
            head("../../etc/passwd", "100")
        }),
        row("another digest than was asked", Ask::ResolveDigest, "says that `demo/app@sha256:", |_| {
            head(sha256(b"other").as_ref(), "100")
        }),
        row("a page for people", Ask::Manifest, "was announced as `text/html`", |_| of_type("text/html", manifest())),
        row("a manifest that is announced as an index", Ask::Manifest, "was announced as", |_| {
            of_type(INDEX_TYPE, manifest())
        }),
        row("a manifest and an index at once", Ask::Resolve, "has both `layers` and `manifests`", {
            has(|| manifest().replacen('{', r#"{"manifests":[],"#, 1))
        }),
        row("1,000 layers", Ask::Resolve, "has 1000 layers, and at most 512 are read", has(|| layers(1_000))),
        row("100,000 layers", Ask::Resolve, "is over 4194304 bytes", has(|| layers(100_000))),
        row("1,000 manifests", Ask::Resolve, "has 1000 manifests, and at most 512", |asked| {
            if asked.method == "HEAD" { Reply::new(200, "") } else { of_type(INDEX_TYPE, index(1_000)) }
        }),
        row(
            "nested a million deep",
            Ask::Resolve,
            "is not read",
            has(|| r#"{"x":"#.to_owned() + &"[".repeat(1_000_000)),
        ),
        row("no JSON", Ask::Resolve, "is not read", has(|| "\u{1b}[2J".to_owned())),
        row("nothing at all", Ask::Resolve, "is not read", has(String::new)),
        row("a manifest that unpacks to much more", Ask::Manifest, "encoded as `gzip`, though plain bytes", |_| {
            of_type(MANIFEST_TYPE, [0x1f, 0x8b, 8, 0]).with("Content-Encoding", "gzip")
        }),
        row("a manifest that stops", Ask::Manifest, "stopped in the middle", |_| {
            typed(MANIFEST_TYPE, Sent::Stalled { announced: 100, bytes: b"{".into() })
        }),
        row("a manifest byte by byte", Ask::Manifest, "did not come within", move |_| {
            typed(MANIFEST_TYPE, Sent::Drip { announced: 4 << 20, every: tick })
        }),
        row("half a manifest", Ask::Manifest, "broke off", |_| {
            typed(MANIFEST_TYPE, Sent::Cut { announced: 100, bytes: b"{".into() })
        }),
    ]
}

fn blobs() -> Vec<Row> {
    let tick = Duration::from_millis(50);
    let part = |range: &'static str, bytes: &'static [u8]| {
        move |_: &Asked| Reply::new(206, bytes).with("Content-Range", range)
    };
    vec![
        row("a blob without an end", Ask::Blob, "is longer than the 8 bytes", |_| {
            Reply::sending(Sent::Endless { announced: None })
        }),
        row("a blob of a tebibyte", Ask::Blob, "is announced as 1099511627776 bytes", |_| {
            Reply::sending(Sent::Endless { announced: Some(TIB) })
        }),
        row("a blob that is too short", Ask::Blob, "is announced as 3 bytes", |_| Reply::new(200, "abc")),
        row("another blob", Ask::Blob, "is `sha256:", |_| Reply::new(200, "12345678")),
        row("half a blob, each time", Ask::Blob, "broke off", |_| {
            Reply::sending(Sent::Cut { announced: 8, bytes: b"\0a".into() })
        }),
        row("a blob that stops", Ask::Blob, "stopped in the middle", |_| {
            Reply::sending(Sent::Stalled { announced: 8, bytes: b"\0a".into() })
        }),
        row("a blob byte by byte", Ask::Blob, "is too slow", move |_| {
            Reply::sending(Sent::Drip { announced: 8, every: Duration::from_millis(450) })
        }),
        row("a blob in heads byte by byte", Ask::Blob, "did not answer within", move |_| {
            raw(b"HTTP/1.1 200 OK\r\n", b"x", tick)
        }),
        row("a part of another place", Ask::BlobRest, "came with the range `bytes 0-7/8`", part("bytes 0-7/8", BLOB)),
        row(
            "a part after that",
            Ask::BlobRest,
            "came with the range `bytes 4-7/8`",
            part("bytes 4-7/8", b"\x01\0\0\0"),
        ),
        row(
            "a part of something longer",
            Ask::BlobRest,
            "is announced as 99 bytes",
            part("bytes 3-7/99", b"m\x01\0\0\0"),
        ),
        row("a part with other lengths", Ask::BlobRest, "came with the range", part("bytes 3-7/8", b"m")),
        row("a part that ends before it begins", Ask::BlobRest, "came with the range", part("bytes 3-1/8", b"m")),
        row("a part of all numbers", Ask::BlobRest, "came with the range", {
            part("bytes 3-18446744073709551615/18446744073709551616", b"m")
        }),
        row("a part of what", Ask::BlobRest, "came with the range `pages 3-7/8`", part("pages 3-7/8", b"m\x01\0\0\0")),
        row("a part that does not say which", Ask::BlobRest, "came with the range ``", |_| Reply::new(206, BLOB)),
        row("a part that nobody asked for", Ask::Blob, "answered 206", part("bytes 0-7/8", BLOB)),
    ]
}

fn heads() -> Vec<Row> {
    vec![
        row("one header of many megabytes", Ask::Manifest, "broke off", |_| {
            raw(b"HTTP/1.1 200 OK\r\nx: ", &[b'x'; 4096], Duration::ZERO)
        }),
        row("headers without an end", Ask::Manifest, "broke off", |_| {
            raw(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", Duration::ZERO)
        }),
        row("a thousand headers", Ask::Manifest, "broke off", |_| {
            (0..1000).fold(of_type(MANIFEST_TYPE, manifest()), |reply, at| reply.with(&format!("x-{at}"), "y"))
        }),
        row("answers before the answer, without an end", Ask::Manifest, "did not answer within", |_| {
            raw(b"", &b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(1000), Duration::ZERO)
        }),
        row("no answer", Ask::Manifest, "did not answer within", |_| raw(b"", b"", Duration::from_secs(60))),
        row("another protocol", Ask::Manifest, "broke off", |_| {
            raw(b"220 mail.example ESMTP\r\n", b"", Duration::ZERO)
        }),
        row("two lengths", Ask::Manifest, "broke off", |_| {
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"", Duration::ZERO)
        }),
        row("a hang-up", Ask::Manifest, "broke off", |_| raw(b"", b"", Duration::ZERO)),
        row("come back in a year", Ask::Manifest, "is asked too often", |_| {
            Reply::new(429, "").with("Retry-After", "31536000")
        }),
        row("come back after the end of time", Ask::Manifest, "is asked too often", |_| {
            Reply::new(429, "").with("Retry-After", "18446744073709551615")
        }),
        row("an error with a terminal's commands", Ask::Manifest, "500 Internal Server Error", |_| {
            Reply::new(500, "{\"errors\":[{\"code\":\"\\u001b[2J\\u202e\",\"message\":\"a\\nb\"}]}")
        }),
        row("an error without an end", Ask::Manifest, "503 Service Unavailable", |_| Reply {
            status: 503,
            headers: Vec::new(),
            body: Sent::Endless { announced: None },
        }),
        row("an error that repeats the login", Ask::Manifest, "does not let this login to", |asked| {
            match asked.header("authorization") {
                None => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x"),
                Some(login) => Reply::new(403, format!(r#"{{"errors":[{{"message":"{login} is {PASSWORD}"}}]}}"#)),
            }
        }),
    ]
}

fn redirects() -> Vec<Row> {
    let to = |location: &'static str| move |_: &Asked| Reply::to(location);
    vec![
        row("a circle", Ask::Blob, "redirects more than 5 times", |asked| Reply::to(&asked.target)),
        row("a spiral", Ask::Manifest, "redirects more than 5 times", |asked| Reply::to(&format!("{}x", asked.target))),
        row("to a private address", Ask::Blob, "an address that is private", to("http://10.0.0.1/x")),
        row("to the cloud's metadata", Ask::Blob, "is link-local", to("http://169.254.169.254/latest/meta-data")),
        row("to that in other words", Ask::Blob, "is link-local", to("http://0xa9fea9fe/latest")),
        row("to that in IPv6", Ask::Blob, "is link-local", to("http://[::ffff:169.254.169.254]/latest")),
        row("to a file", Ask::Blob, "which is not on the web", to("file:///etc/passwd")),
        row("with a login in it", Ask::Blob, "a URL with a login in it", to("http://me:secret@{other}/x")),
        row("to nowhere", Ask::Blob, "leads nowhere", |_| Reply::new(307, "")),
        row("to no URL", Ask::Blob, "leads nowhere", to("http://[")),
        row("of a push", Ask::PushManifest, "answered 302 Found", |_| Reply::new(302, "").with("Location", "/x")),
        row("to somebody who wants our login", Ask::Blob, "wants a login", |asked| {
            match asked.header("authorization") {
                None if asked.target.starts_with("/v2/") => {
                    Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x")
                }
                None => Reply::new(500, ""),
                Some(_) => Reply::to("http://{other}/wants-login"),
            }
        }),
    ]
}

fn tokens() -> Vec<Row> {
    vec![
        row("a token server on plain HTTP", Ask::Manifest, "plain http, over which no login is sent", {
            wants_token("http://auth.example/token")
        }),
        row("a token server in a private network", Ask::Manifest, "an address that is private", {
            wants_token("https://10.0.0.1/token")
        }),
        row("the cloud's metadata as a token server", Ask::Manifest, "is link-local", {
            wants_token("https://169.254.169.254/token")
        }),
        row("a file as a token server", Ask::Manifest, "which is not on the web", wants_token("file:///etc/passwd")),
        row("a token server that is none", Ask::Manifest, "is no URL", wants_token("token")),
        row("a token server with a login in it", Ask::Manifest, "a URL with a login in it", {
            wants_token("https://me:secret@auth.example/token")
        }),
        row("a huge token", Ask::Manifest, "is over 65536 bytes", {
            token_server(|| of_type(JSON, format!(r#"{{"token":"{}"}}"#, "x".repeat(100_000))))
        }),
        row("a token without an end", Ask::Manifest, "is over 65536 bytes", {
            token_server(|| typed(JSON, Sent::Endless { announced: None }))
        }),
        row("a token with a line in it", Ask::Manifest, "answered what is no token", {
            token_server(|| of_type(JSON, r#"{"token":"a\r\nX-Evil: b"}"#))
        }),
        row("an empty token", Ask::Manifest, "answered what is no token", token_server(|| of_type(JSON, "{}"))),
        row(
            "a token server that sends on",
            Ask::Manifest,
            "gave no token",
            token_server(|| Reply::to("http://{other}/")),
        ),
        row("a token server that repeats the login", Ask::Manifest, "does not accept this login", {
            token_server(|| Reply::new(401, format!(r#"{{"errors":[{{"message":"{PASSWORD} is wrong"}}]}}"#)))
        }),
        row("a token that is not enough", Ask::Manifest, "does not accept the login", {
            token_server(|| of_type(JSON, r#"{"token":"good"}"#))
        }),
    ]
}

fn lists() -> Vec<Row> {
    let page = |asked: &Asked, body: String, media_type| {
        let number = asked.target.len();
        of_type(media_type, body).with("Link", format!("<{}{number}>; rel=\"next\"", asked.target))
    };
    let links = |link: &'static str| {
        move |_: &Asked| of_type(JSON, r#"{"tags":["v1"]}"#).with("Link", format!("<{link}>; rel=\"next\""))
    };
    let tags = |tags: &'static str| move |_: &Asked| of_type(JSON, format!(r#"{{"tags":["{tags}"]}}"#));
    let many = |count| format!(r#"{{"tags":["{}"]}}"#, vec!["v"; count].join("\",\""));
    vec![
        row("pages of tags in a circle", Ask::Tags, "in a circle", links("/v2/demo/app/tags/list?n=1000")),
        row("pages of tags in a longer circle", Ask::Tags, "in a circle", links("/v2/demo/app/tags/list?n=1")),
        row("pages of tags without an end", Ask::Tags, "on over 100 pages", move |asked| {
            page(asked, r#"{"tags":[]}"#.to_owned(), JSON)
        }),
        row("the next page at another host", Ask::Tags, "is elsewhere", links("http://{other}/v2/demo/app/tags/list")),
        row("the next page in a file", Ask::Tags, "is elsewhere", links("file:///etc/passwd")),
        row("a tag that is a path", Ask::Tags, "`../../etc/passwd` among tags", tags("../../etc/passwd")),
        row("a tag with a terminal's command", Ask::Tags, "which is no tag", tags("\\u001b[2J")),
        row("an empty tag", Ask::Tags, "which is no tag", tags("")),
        row("very many tags", Ask::Tags, "has over 10000 tags", move |_| of_type(JSON, many(10_001))),
        row("tags without an end", Ask::Tags, "is over 4194304 bytes", |_| {
            typed(JSON, Sent::Endless { announced: None })
        }),
        row("tags that are none", Ask::Tags, "is none", |_| of_type(JSON, "[]")),
        row("very many referrers", Ask::Referrers, "at most 512 are read", |_| of_type(INDEX_TYPE, index(600))),
        row("referrers on pages without an end", Ask::Referrers, "has over 512 referrers", move |asked| {
            page(asked, index(100), INDEX_TYPE)
        }),
        row("empty pages of referrers without an end", Ask::Referrers, "on over 100 pages", move |asked| {
            page(asked, index(0), INDEX_TYPE)
        }),
        row("referrers without an end", Ask::Referrers, "is over 4194304 bytes", |_| {
            typed(INDEX_TYPE, Sent::Endless { announced: None })
        }),
        row("a manifest where referrers are listed", Ask::Referrers, "is a manifest and no index", |asked| match asked
            .target
            .contains("/manifests/sha256-")
        {
            true => of_type(MANIFEST_TYPE, manifest()),
            false => nothing(),
        }),
    ]
}

fn pushes() -> Vec<Row> {
    let place = |location: &'static str| {
        move |asked: &Asked| match asked.method.as_str() {
            "POST" => Reply::new(202, "").with("Location", location),
            _ => nothing(),
        }
    };
    vec![
        row("a place for a blob elsewhere", Ask::PushBlob, "is elsewhere", place("http://{other}/upload")),
        row("a place for a blob in a private network", Ask::PushBlob, "is elsewhere", place("http://10.0.0.1/upload")),
        row("a place for a blob that is none", Ask::PushBlob, "is no URL", place("http://[")),
        row("no place for a blob", Ask::PushBlob, "does not say where", |asked| {
            if asked.method == "POST" { Reply::new(202, "") } else { nothing() }
        }),
        row("a blob stored as another", Ask::PushBlob, "says that it stored", |asked| match asked.method.as_str() {
            "POST" => Reply::new(202, "").with("Location", "/upload"),
            "PUT" => Reply::new(201, "").with("Docker-Content-Digest", sha256(b"other").to_string()),
            _ => nothing(),
        }),
        row("a manifest stored as another", Ask::PushManifest, "says that it stored", |_| {
            Reply::new(201, "").with("Docker-Content-Digest", sha256(b"other").to_string())
        }),
    ]
}

fn urls() -> Vec<Row> {
    vec![
        row("a file without an end", Ask::Url, "is over 1048576 bytes", |_| {
            Reply::sending(Sent::Endless { announced: None })
        }),
        row("a file of a tebibyte", Ask::Url, "at most 1048576 are read", |_| {
            Reply::sending(Sent::Endless { announced: Some(TIB) })
        }),
        row("a file that is packed", Ask::Url, "encoded as `gzip`", |_| {
            Reply::new(200, BLOB).with("Content-Encoding", "gzip")
        }),
        row("half a file", Ask::Url, "broke off", |_| Reply::sending(Sent::Cut { announced: 8, bytes: b"\0a".into() })),
        row("a file that changes while it comes", Ask::Url, "has become another", |asked| {
            match asked.header("range") {
                None => Reply::sending(Sent::Cut { announced: 8, bytes: b"\0a".into() }).with("ETag", "\"1\""),
                Some(_) => Reply::new(200, BLOB).with("ETag", "\"2\""),
            }
        }),
        row("a file in a private network", Ask::Url, "an address that is private", |_| Reply::to("http://10.0.0.1/x")),
        row("a web server that wants a login", Ask::Url, "wants a login", |_| {
            Reply::new(401, "").with("WWW-Authenticate", "Basic realm=x")
        }),
    ]
}
