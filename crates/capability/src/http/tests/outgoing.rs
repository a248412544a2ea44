//! Headers that the guest never sees, requests that are tried again, and time for all of it.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use samara_model::{
    Body, BodyError, HeaderRule, HeaderTemplate, HttpGrant, HttpPool, HttpTimeouts, SecretsGrant, ValueSource, empty,
    full,
};

use super::{
    super::AddedHeaders,
    Egress, EgressError, EgressPolicy, NOW, SOON, Seen, get, grant, policy, send,
    server::{AsyncAnswer, Server, closed_port},
    text,
};
use crate::secrets::{SecretError, Secrets, Sources};

/// Answers with the headers of the request that are not of every request.
async fn mirror() -> Server {
    Server::start(async |request: Request<hyper::body::Incoming>| {
        let headers = request.headers().iter().filter(|(name, _)| *name != "host" && *name != "content-length");
        let lines = headers.map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
        Response::new(full(lines.collect::<String>()))
    })
    .await
}

fn rule(origin: &str, name: &str, value: &str) -> HeaderRule {
    HeaderRule {
        origin: origin.parse().unwrap(),
        name: name.to_owned(),
        value: value.parse::<HeaderTemplate>().unwrap(),
    }
}

/// A grant of origins, with headers.
fn with_headers(origins: &[&str], headers: Vec<HeaderRule>) -> HttpGrant {
    HttpGrant { headers, ..grant(origins, true) }
}

async fn opened(grant: HttpGrant, secrets: Option<&Arc<dyn Secrets>>) -> Result<Egress, SecretError> {
    let headers = AddedHeaders::open(&grant, secrets, Duration::ZERO).await?;
    let origin = "http://127.0.0.1";
    Ok(Egress::with_policy(EgressPolicy { grant, headers: Some(Arc::new(headers)), ..policy(origin) }))
}

#[tokio::test]
async fn a_guest_uses_a_credential_that_it_never_sees() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("KEY");
    fs::write(&key, "hunter2\n").unwrap();
    let secrets =
        SecretsGrant { values: [("KEY".to_owned(), ValueSource::File(key.clone()))].into(), ..SecretsGrant::default() };
    let secrets: Arc<dyn Secrets> = Arc::new(Sources::open(&secrets, Duration::ZERO).await.unwrap());

    let (server, other) = (mirror().await, mirror().await);
    let rules = vec![
        rule(&server.origin(), "authorization", "Bearer ${secret:KEY}"),
        rule(&server.origin(), "x-key", &format!("file:{}", key.display())),
        rule(&server.origin(), "x-app", "shop"),
    ];
    let egress = opened(with_headers(&[&server.origin(), &other.origin()], rules), Some(&secrets)).await.unwrap();

    // What the guest writes under these names is not sent, and naming them in `connection` does not take them off.
    let forged = Request::get(server.origin())
        .header("authorization", "Bearer mine")
        .header("connection", "authorization, x-key")
        .body(empty());
    let sent = text(send(&egress, forged.unwrap()).await.unwrap()).await;
    assert_eq!(sent, "authorization: Bearer hunter2\nx-key: hunter2\nx-app: shop\n");

    // Another origin, granted too, gets nothing of it: neither asked directly nor after a redirect, which is a request like any.
    assert_eq!(text(send(&egress, get(&other.origin())).await.unwrap()).await, "");

    fs::write(&key, "rotated").unwrap();
    let sent = text(send(&egress, get(&server.origin())).await.unwrap()).await;
    assert_eq!(sent, "authorization: Bearer rotated\nx-key: rotated\nx-app: shop\n");

    fs::write(&key, "two\nlines").unwrap();
    let error = send(&egress, get(&server.origin())).await.unwrap_err();
    assert!(error.to_string().contains("write printable ASCII"), "{error}");
    for told in [format!("{egress:?}"), error.to_string(), format!("{error:?}")] {
        assert!(!["hunter2", "rotated", "two", "lines"].iter().any(|secret| told.contains(secret)), "{told}");
    }
}

#[tokio::test]
async fn one_origins_headers_are_over_those_of_its_domain() {
    let server = mirror().await;
    let one = server.named("http", "api.shop.test");
    let all = server.named("http", "*.test");
    let shop = server.named("http", "*.shop.test");
    let rules =
        vec![rule(&one, "x-a", "one"), rule(&all, "x-a", "all"), rule(&all, "x-b", "all"), rule(&shop, "x-b", "shop")];
    let egress = opened(with_headers(&[&all], rules), None).await.unwrap();
    let mut sent = text(send(&egress, get(&one)).await.unwrap()).await;
    assert_eq!(sent, "x-a: one\nx-b: shop\n");
    sent = text(send(&egress, get(&server.named("http", "else.test"))).await.unwrap()).await;
    assert_eq!(sent, "x-a: all\nx-b: all\n");
}

#[tokio::test]
async fn headers_that_cannot_be_made_refuse_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        format!("file:{}", path.display())
    };
    let origin = "http://a.test";
    for (value, says) in [
        (
            "secret:KEY".to_owned(),
            "header `x-key` for `http://a.test:80`: no secret `KEY` is granted; `secrets = { KEY = \"env:NAME\" }` would grant it",
        ),
        ("env:SAMARA_UNSET".to_owned(), "`SAMARA_UNSET`"),
        (format!("file:{}/none", folder.path().display()), "cannot be read"),
        (at("lines", b"hunter2\nx"), "write printable ASCII"),
        (at("binary", b"hunter2\xff"), "write printable ASCII"),
        (at("long", "hunter2".repeat(3000).as_bytes()), "over its limit"),
    ] {
        let error =
            opened(with_headers(&[origin], vec![rule(origin, "x-key", &value)]), None).await.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("hunter2"), "{value}: {error}");
    }
    let none: Arc<dyn Secrets> = Arc::new(Sources::open(&SecretsGrant::default(), SOON).await.unwrap());
    let grant = with_headers(&[origin], vec![rule(origin, "x-key", "secret:KEY")]);
    let error = opened(grant, Some(&none)).await.unwrap_err().to_string();
    assert!(error.contains("no secret `KEY`"), "{error}");
}

#[tokio::test]
async fn a_request_whose_headers_were_never_opened_is_not_sent_without_them() {
    let server = mirror().await;
    let grant = with_headers(&[&server.origin()], vec![rule(&server.origin(), "x-key", "env:KEY")]);
    let egress = Egress::with_policy(EgressPolicy { grant, ..policy(&server.origin()) });
    let error = send(&egress, get(&server.origin())).await.unwrap_err();
    assert_eq!((error.code(), server.connections()), ("internal-error", 0), "{error}");
}

/// A server whose first answers are of a status, and its later ones `200`; and how often it was asked.
async fn failing(times: usize, status: StatusCode, retry_after: bool) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let answer = move |_| {
        let failed = counter.fetch_add(1, Ordering::Relaxed) < times;
        async move {
            let mut response = Response::new(full("done"));
            if failed {
                *response.status_mut() = status;
                if retry_after {
                    response.headers_mut().insert("retry-after", http::HeaderValue::from_static("1"));
                }
            }
            response
        }
    };
    (Server::start(answer).await, asked)
}

fn retrying(origin: &str, retries: u32) -> Egress {
    Egress::with_policy(EgressPolicy { retries, ..policy(origin) })
}

#[tokio::test]
async fn what_may_be_repeated_is_tried_again_as_often_as_is_allowed() {
    for (times, retries, method, status, asked) in [
        (2, 2, Method::GET, 503, 3),
        (3, 2, Method::GET, 503, 3),
        (1, 2, Method::DELETE, 502, 2),
        (1, 2, Method::GET, 500, 1),
        (1, 2, Method::POST, 503, 1),
        (1, 0, Method::GET, 503, 1),
    ] {
        let (server, counter) = failing(times, StatusCode::from_u16(status).unwrap(), false).await;
        let request =
            Request::builder().method(&method).uri(server.origin()).header("x-mine", "1").body(empty()).unwrap();
        let response = send(&retrying(&server.origin(), retries), request).await.unwrap();
        assert_eq!(counter.load(Ordering::Relaxed), asked, "{times} {retries} {method} {status}");
        let done = times < asked;
        assert_eq!(response.status().as_u16(), if done { 200 } else { status }, "{times} {retries} {method} {status}");
    }
    let (server, counter) = failing(1, StatusCode::SERVICE_UNAVAILABLE, true).await;
    let response = send(&retrying(&server.origin(), 2), get(&server.origin())).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), counter.load(Ordering::Relaxed)),
        (503, 1),
        "the server said when to come back"
    );
    let (server, counter) = failing(1, StatusCode::SERVICE_UNAVAILABLE, false).await;
    let body = Request::put(server.origin()).body(full("a body that is gone once it is sent")).unwrap();
    let response = send(&retrying(&server.origin(), 2), body).await.unwrap();
    assert_eq!((response.status().as_u16(), counter.load(Ordering::Relaxed)), (503, 1));
}

#[tokio::test]
async fn a_broken_connection_is_tried_again_and_a_silent_one_is_not() {
    let server = Server::raw(Some(b"")).await;
    let error = send(&retrying(&server.origin(), 2), get(&server.origin())).await.unwrap_err();
    assert_eq!((error.code(), server.connections()), ("HTTP-response-incomplete", 3), "{error}");
    let silent = Server::raw(None).await;
    let egress = Egress::with_policy(EgressPolicy { retries: 2, first_byte: NOW, ..policy(&silent.origin()) });
    let error = send(&egress, get(&silent.origin())).await.unwrap_err();
    assert_eq!((error.code(), silent.connections()), ("HTTP-response-timeout", 1), "{error}");
}

#[tokio::test]
async fn retries_have_a_budget() {
    let uri = format!("http://127.0.0.1:{}", closed_port(super::LOOPBACK).await);
    let (server, counter) = failing(usize::MAX, StatusCode::BAD_GATEWAY, false).await;
    let egress = retrying(&server.origin(), 5);
    for _ in 0..30 {
        assert_eq!(send(&egress, get(&server.origin())).await.unwrap().status(), StatusCode::BAD_GATEWAY);
    }
    // Ten that were saved up, and a fifth of thirty.
    let retries = counter.load(Ordering::Relaxed) - 30;
    assert!((10..=16).contains(&retries), "{retries}");
    assert_eq!(send(&retrying(&uri, 1), get(&uri)).await.unwrap_err(), EgressError::ConnectionRefused);
}

/// A body that says something now and then, for ever.
async fn trickling(_: Request<hyper::body::Incoming>) -> Response<Body> {
    let pieces = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Some((Ok::<_, BodyError>(http_body::Frame::data("x".into())), ()))
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(pieces)))
}

async fn with_total<F: AsyncAnswer>(answer: F) -> (Server, Egress) {
    let server = Server::start(answer).await;
    let total = Some(Duration::from_millis(150));
    let egress = Egress::with_policy(EgressPolicy { total, retries: 5, ..policy(&server.origin()) });
    (server, egress)
}

#[tokio::test]
async fn the_time_of_all_of_a_request_is_bounded_however_busy_it_is() {
    let (server, egress) = with_total(trickling).await;
    let response = send(&egress, get(&server.origin())).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err().to_string();
    assert!(error.contains("not complete within `150ms`"), "{error}");

    let (server, egress) = with_total(async |_| std::future::pending().await).await;
    assert_eq!(send(&egress, get(&server.origin())).await.unwrap_err().code(), "HTTP-response-timeout");

    let (server, egress) = with_total(async |_| Response::new(full("whole"))).await;
    assert_eq!(text(send(&egress, get(&server.origin())).await.unwrap()).await, "whole");
}

#[test]
fn a_grant_may_ask_for_less_than_the_host_allows_and_not_for_more() {
    let of = |grant: HttpGrant| EgressPolicy::new(grant, Arc::new(Seen::default()));
    let (day, least) = (Some(Duration::from_secs(86_400)), Some(NOW));
    let most = of(HttpGrant::default());
    let asked = of(HttpGrant {
        timeouts: HttpTimeouts { connect: day, first_byte: day, between_bytes: day, total: day },
        retries: 1000,
        pool: HttpPool { connections: Some(u32::MAX), idle: Some(u32::MAX), idle_time: day },
        ..HttpGrant::default()
    });
    assert_eq!(
        (asked.connect, asked.first_byte, asked.between_bytes, asked.idle),
        (most.connect, most.first_byte, most.between_bytes, most.idle)
    );
    assert_eq!((asked.connections, asked.idle_per_origin, asked.retries), (most.connections, most.idle_per_origin, 5));
    let asked = of(HttpGrant {
        timeouts: HttpTimeouts { connect: least, first_byte: least, between_bytes: least, total: least },
        pool: HttpPool { connections: Some(1), idle: Some(0), idle_time: least },
        ..HttpGrant::default()
    });
    assert_eq!([asked.connect, asked.first_byte, asked.between_bytes, asked.idle], [NOW; 4]);
    assert_eq!((asked.total, asked.connections, asked.idle_per_origin, asked.retries), (least, 1, 0, 0));
}
