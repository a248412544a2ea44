//! What a manifest may say of a bucket, and servers that lie, flood, wait or break off. The suite runs against a real server,
//! in `tests/it/blob.rs`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::blob::{Attributes, Blob, BlobError, check::put, open};

/// What must be in no error.
const SECRET: &str = "sesame-of-the-test";

/// An answer to a request, by its first line. An empty one is none: the connection stays silent.
type Script = fn(&str) -> Vec<u8>;

/// A server that follows a script; its address.
async fn server(script: Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8_lossy(&head);
                let answer = script(head.lines().next().unwrap_or_default());
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                let _ = stream.write_all(&answer).await;
                if answer.ends_with(b"<endless>") {
                    while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
                }
            });
        }
    });
    format!("http://{address}")
}

/// A file with the secret in it.
fn secret() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    let path = format!("file:{}", path.display());
    (dir, path)
}

async fn opened(endpoint: &str) -> Result<Arc<dyn Blob>, BlobError> {
    let (_dir, secret) = secret();
    let settings = format!(
        "endpoint = \"{endpoint}\"\nallow_http = true\ntimeout = \"1s\"\naccess_key_id = \"me\"\n\
         secret_access_key = \"{secret}\""
    );
    open("s3://bucket/folder", &settings.parse().unwrap()).await
}

/// What opening a bucket of a server fails with: soon, and without the secret.
async fn refused(script: Script) -> BlobError {
    let since = Instant::now();
    let error = opened(&server(script).await).await.unwrap_err();
    assert!(since.elapsed() < Duration::from_secs(20), "{error}");
    let message = error.to_string();
    assert!(!message.contains(SECRET) && !message.contains("me/2") && message.len() < 300, "{message}");
    error
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

const EMPTY_LIST: &str = "<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";

#[tokio::test]
async fn no_word_of_a_server_is_repeated_but_its_code() {
    let error = refused(|_| {
        answer(
            "403 Forbidden",
            "<Error><Code>SignatureDoesNotMatch</Code><StringToSign>sesame-of-the-test</StringToSign></Error>",
        )
    });
    assert_eq!(
        error.await.to_string(),
        "`s3://bucket/folder/` refuses what the credentials ask for (`SignatureDoesNotMatch`); check them, and what they may do"
    );
    let error = refused(|_| answer("400 Bad Request", "<Error><Code>\u{1b}[2J sesame-of-the-test</Code></Error>"));
    assert_eq!(error.await.to_string(), "`s3://bucket/folder/` answered with status 400");
    let error = refused(|_| answer("401 Unauthorized", "sesame-of-the-test"));
    assert!(error.await.to_string().contains("does not know the credentials; check `access_key_id`"));
}

#[tokio::test]
async fn a_server_that_waits_floods_or_talks_nonsense_is_given_up() {
    assert!(matches!(refused(|_| Vec::new()).await, BlobError::TimedOut(_)));
    let flood = refused(|_| b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<ListBucketResult><endless>".to_vec());
    assert_eq!(flood.await.to_string(), "the answer of `s3://bucket/folder/` cannot be read: length limit exceeded");
    for nonsense in [
        (|_| answer("200 OK", "this is no XML")) as Script,
        |_| answer("200 OK", "<ListBucketResult><Contents><Key>../x</Key></Contents></ListBucketResult>"),
        |_| answer("503 Slow Down", ""),
        |_| b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(),
        |_| b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\ncut".to_vec(),
    ] {
        assert!(matches!(refused(nonsense).await, BlobError::Backend(_) | BlobError::TimedOut(_)));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let error = refused(|line| {
        assert!(!line.contains("elsewhere"), "{line}");
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            .to_vec()
    });
    assert!(matches!(error.await, BlobError::Backend(_)));
}

#[tokio::test]
async fn an_object_that_breaks_off_is_an_error_in_its_body() {
    let script: Script = |line| match line {
        _ if line.contains("list-type") => answer("200 OK", EMPTY_LIST),
        _ => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nETag: \"e\"\r\nLast-Modified: Sat, 21 Nov 2026 18:00:00 GMT\r\n\
               Connection: close\r\n\r\npart of it"
                .to_vec()
        }
    };
    let store = opened(&server(script).await).await.unwrap();
    let object = store.get("c", "o", 0..u64::MAX).await.unwrap();
    assert_eq!(object.info.bytes, 99);
    let chunks: Vec<_> = object.body.collect().await;
    assert!(chunks.last().unwrap().is_err(), "{chunks:?}");
}

#[tokio::test]
async fn names_that_no_key_can_carry_are_refused_before_anybody_is_asked() {
    let script: Script = |line| if line.contains("list-type") { answer("200 OK", EMPTY_LIST) } else { Vec::new() };
    let store = opened(&server(script).await).await.unwrap();
    let long = "x".repeat(1024);
    let over = |what| BlobError::TooLarge { what, limit: 1024 };
    assert_eq!(store.info("c", &long).await, Err(over("name of the object")));
    assert_eq!(store.create_container(&long).await, Err(over("name of the container")));
    assert_eq!(put(&*store, "c", &"\0".repeat(400), "x".into()).await, Err(over("name of the object")));
    let error = store.put("c", &long, Attributes::default()).await.unwrap_err();
    assert_eq!(error, over("name of the object"));
}

#[tokio::test]
async fn what_a_manifest_says_wrongly_is_told() {
    let (_dir, secret) = secret();
    let keys = format!("access_key_id = \"me\"\nsecret_access_key = \"{secret}\"\n");
    let check = async |url: &str, settings: &str, expected: &str| {
        let message = open(url, &settings.parse().unwrap()).await.unwrap_err().to_string();
        assert!(message.contains(expected), "{url}, {settings}: {message}");
        assert!(!message.contains(SECRET), "{message}");
    };
    check("s3:bucket", "", "`s3:bucket` names no bucket; write `s3://bucket`").await;
    check("s3://", "", "names no bucket").await;
    check(&format!("s3://me:{SECRET}@bucket/x"), "", "credentials are settings").await;
    check("s3://bucket/a//b", "", "has a folder that is none").await;
    check("s3://bucket/../b", "", "has a folder that is none").await;
    check("s3://bucket", "", "a bucket needs credentials").await;
    check("s3://bucket", "access_key_id = \"me\"", "a bucket needs credentials").await;
    check("s3://bucket", "bucket = \"b\"", "`s3:` has no setting `bucket`; it has `region`").await;
    check("s3://bucket", &format!("secret_access_key = \"{SECRET}\""), "where everybody reads it").await;
    check("s3://bucket", "secret_access_key = 7", "`secret_access_key` is a integer; write a text").await;
    check("s3://bucket", "secret_access_key = \"env:NO_SUCH_VARIABLE\"", "which is not set").await;
    check("s3://bucket", "secret_access_key = \"file:/none\"", "which cannot be read").await;
    check("s3://bucket", "credentials = \"guess\"", "write `environment` or `none`").await;
    check("s3://bucket", &format!("{keys}credentials = \"none\""), "exclude each other").await;
    check("s3://bucket", &format!("{keys}timeout = \"0s\""), "nothing answers that fast").await;
    check("s3://bucket", &format!("{keys}ca = \"/none\""), "which cannot be read").await;
    let endpoint = |endpoint: &str| format!("{keys}endpoint = \"{endpoint}\"");
    check("s3://bucket", &endpoint("http://minio.internal:9000"), "`allow_http = true`").await;
    check("s3://bucket", &endpoint("minio.internal"), "write a URL such as").await;
    check("s3://bucket", &endpoint("ftp://minio.internal"), "the scheme must be https or http").await;
    check("s3://bucket", &endpoint(&format!("https://me:{SECRET}@minio")), "credentials do not belong here").await;
}
