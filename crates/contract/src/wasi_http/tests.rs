//! HTTP guests through `Runtime::call`: streaming, isolation, limits, and what a client sees when a guest dies.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use samara_model::{Fault, Shape, empty, full};

use crate::testing::{definition, get, http, load, request, runtime};

const ECHO: &str = "wasi_http/http-echo";
const RELEASE_3: &str = "wasi_http/http-p3";

#[tokio::test]
async fn every_toolchain_says_hello() {
    for (guest, expected) in [
        ("wasi_http/http-hello", "200 Hello, WASI!"),
        (ECHO, "200 Hello, WASI!"),
        ("wasi_http/wstd-hello", "200 Hello, wasi:http/proxy world!"),
        (RELEASE_3, "200 Hello"),
        ("wasi_http/spin7-hello", "200 Hello"),
    ] {
        let workload = load(guest, Shape::Http, |_| {}).await;
        assert!(workload.pooled, "{guest}");
        let answer = get(&workload, "/").await;
        assert!(answer.to_lowercase().starts_with(&expected.to_lowercase()[..9]), "{guest}: {answer}");
    }
}

#[tokio::test]
async fn a_call_never_sees_another_calls_memory() {
    let workload = load(ECHO, Shape::Http, |_| {}).await;
    for _ in 0..3 {
        assert_eq!(get(&workload, "/count").await, "200 1");
    }
}

#[tokio::test]
async fn reuse_keeps_an_instance_for_so_many_calls() {
    let workload = load(ECHO, Shape::Http, |definition| definition.reuse = 3).await;
    let mut counts = Vec::new();
    for _ in 0..5 {
        counts.push(get(&workload, "/count").await);
        // The instance comes back once its guest has ended, which may be after the body was read.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(counts, ["200 1", "200 2", "200 3", "200 1", "200 2"]);
}

/// What a call leaves behind in a kept instance must neither hold the next call up nor reach it.
#[tokio::test]
async fn an_instance_that_still_holds_its_reply_is_not_kept() {
    let workload = load("hostile/http-attack", Shape::Http, |definition| {
        definition.reuse = 1000;
        // The next call waits until the instance of the last one is back.
        definition.limits.concurrency = 1;
        definition.limits.deadline = Some(Duration::from_millis(500));
    })
    .await;
    for _ in 0..3 {
        assert_eq!(get(&workload, "/forget-reply").await, "fault guest");
        assert_eq!(get(&workload, "/count").await, "200 1", "the instance that holds a reply is gone");
        let body = get(&workload, "/forget-body").await;
        assert!(body.starts_with("200 then") && body.contains("`deadline`"), "{body}");
    }
}

#[tokio::test]
async fn handles_that_a_kept_instance_forgets_end_with_it() {
    let workload = load("hostile/http-attack", Shape::Http, |definition| {
        definition.reuse = 1000;
        // The next call waits until the instance of the last one is back.
        definition.limits.concurrency = 1;
        definition.limits.handles = 100;
    })
    .await;
    for _ in 0..3 {
        assert_eq!(get(&workload, "/forget-fields?n=40").await, "200 forgot 40");
        assert_eq!(get(&workload, "/forget-fields?n=40").await, "200 forgot 40");
        assert_eq!(get(&workload, "/forget-fields?n=40").await, "fault guest");
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_with_trailers() {
    for guest in [ECHO, RELEASE_3] {
        let workload = load(guest, Shape::Http, |_| {}).await;
        let (sender, receiver) = futures::channel::mpsc::channel(1);
        let body = StreamBody::new(receiver).boxed_unsync();
        let mut sender = sender;
        let mut response = http(&workload, request("POST", "/echo", body)).await.unwrap();
        assert_eq!(response.status(), 200);
        for piece in ["one", "two"] {
            // The next piece is sent only after the last one came back: nothing waits for the whole body.
            futures::SinkExt::send(&mut sender, Ok(http_body::Frame::data(Bytes::from(piece)))).await.unwrap();
            let frame = response.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece, "{guest}");
        }
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-end", "yes".parse().unwrap());
        futures::SinkExt::send(&mut sender, Ok(http_body::Frame::trailers(trailers))).await.unwrap();
        drop(sender);
        let end = response.into_body().collect().await.unwrap();
        assert_eq!(end.trailers().and_then(|trailers| trailers.get("x-end")).map(|value| value.as_bytes()), Some(&b"yes"[..]), "{guest}");
    }
}

#[tokio::test]
async fn a_hostile_guest_gets_its_fault_and_its_neighbour_keeps_answering() {
    let neighbour = load("wasi_http/http-hello", Shape::Http, |_| {}).await;
    for guest in [ECHO, RELEASE_3] {
        let workload = load(guest, Shape::Http, |definition| {
            definition.limits.cpu = Some(Duration::from_millis(100));
            definition.limits.deadline = Some(Duration::from_millis(1500));
            definition.limits.memory_bytes = 16 << 20;
        })
        .await;
        for (path, expected) in [
            ("/spin", "fault limit"),
            ("/grow", "fault limit"),
            ("/recurse", "fault guest"),
            ("/trap", "fault guest"),
            ("/never", "fault limit"),
        ] {
            assert_eq!(get(&workload, path).await, expected, "{guest}{path}");
            assert_eq!(get(&neighbour, "/").await, "200 Hello, WASI!", "after {guest}{path}");
        }
    }
}

#[tokio::test]
async fn a_guest_that_dies_after_the_head_breaks_the_body_instead_of_ending_it() {
    for guest in [ECHO, RELEASE_3] {
        let workload = load(guest, Shape::Http, |_| {}).await;
        let answer = get(&workload, "/partial").await;
        assert!(answer.starts_with("200 then") && answer.contains("failed"), "{guest}: {answer}");
    }
}

#[tokio::test]
async fn a_guest_that_never_answers_is_its_own_fault() {
    let workload = load(ECHO, Shape::Http, |_| {}).await;
    assert_eq!(get(&workload, "/silent").await, "fault guest");
    let release_3 = load(RELEASE_3, Shape::Http, |_| {}).await;
    assert_eq!(get(&release_3, "/fail").await, "fault guest");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_guest() {
    for guest in [ECHO, RELEASE_3] {
        let workload = load(guest, Shape::Http, |definition| definition.limits.concurrency = 1).await;
        // Before the head.
        let waiting = http(&workload, request("GET", "/never", empty()));
        assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
        // In the body: with one place, the next call shows that the place came free.
        let response = http(&workload, request("GET", "/slow?ms=60000&n=5", empty())).await;
        drop(response);
        let answer = tokio::time::timeout(Duration::from_secs(5), get(&workload, "/status/204")).await;
        assert!(answer.unwrap().starts_with("204"), "{guest}");
    }
}

#[tokio::test]
async fn a_full_workload_queues_and_then_says_busy() {
    let workload = load(ECHO, Shape::Http, |definition| {
        definition.limits.concurrency = 1;
        definition.limits.queue = 1;
        definition.limits.deadline = Some(Duration::from_millis(300));
    })
    .await;
    let (first, second, third) = tokio::join!(get(&workload, "/never"), get(&workload, "/"), async {
        tokio::task::yield_now().await;
        get(&workload, "/").await
    });
    assert_eq!(first, "fault limit");
    // The one that queued ran when the first was stopped, or ran out of patience at the same moment.
    assert!(second.starts_with("200") || second == "fault busy", "{second}");
    assert_eq!(third, "fault busy");
}

#[tokio::test]
async fn a_request_body_reaches_the_guest_whole() {
    let workload = load(ECHO, Shape::Http, |_| {}).await;
    let body = full(vec![b'x'; 3 << 20]);
    let response = http(&workload, request("POST", "/discard", body)).await.unwrap();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("3145728"), "{text:?}");
}

#[tokio::test]
async fn nothing_is_in_the_environment_unless_granted() {
    let bare = load(ECHO, Shape::Http, |_| {}).await;
    assert_eq!(get(&bare, "/env").await.trim(), "200");
    let granted = load(ECHO, Shape::Http, |definition| {
        definition.grants.env.insert("GREETING".into(), "hi".into());
    })
    .await;
    assert_eq!(get(&granted, "/env").await, "200 GREETING=hi");
}

#[tokio::test]
async fn what_a_route_matched_reaches_the_guest_and_cannot_be_forged() {
    let workload = load(ECHO, Shape::Http, |_| {}).await;
    let samara_model::Call::Http(mut call) = request("GET", "/headers", empty()) else { panic!("an HTTP call") };
    call.route = "/cart/:id/:name".into();
    call.params = vec![("id".into(), "42".into()), ("name".into(), "é b".into())];
    call.request.headers_mut().insert("samara-param-admin", "yes".parse().unwrap());
    let response = http(&workload, samara_model::Call::Http(call)).await.unwrap();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&text).to_lowercase();
    assert!(text.contains("samara-param-id: 42") && text.contains("samara-param-name: %c3%a9%20b"), "{text}");
    assert!(text.contains("samara-route: /cart/:id/:name") && !text.contains("admin"), "{text}");
}

#[tokio::test]
async fn a_handler_of_a_draft_is_refused_with_the_sdk_that_mends_it() {
    for (name, said) in [
        ("wasi:http/incoming-handler@0.2.0-rc-2023-10-18", "Spin's SDKs from 3.0 on"),
        ("wasi:http/incoming-handler@0.2.0-rc-2023-11-10", "Spin's SDKs from 3.0 on"),
        ("wasi:http/handler@0.3.0-rc-2026-03-15", "Spin's SDK from 7.0 on"),
    ] {
        let guest = format!("(component (instance $handler) (export \"{name}\" (instance $handler)))");
        let refused = runtime().load(definition(&guest, Shape::Http)).await.unwrap_err();
        let (Fault::Config(why), true) = (&refused, refused.to_string().contains(name)) else { panic!("{refused:?}") };
        assert!(why.contains(said), "{why}");
    }
}
