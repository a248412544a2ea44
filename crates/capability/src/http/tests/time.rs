//! Nothing waits for ever, and each wait that ends has its own error.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use http_body_util::{BodyExt, StreamBody};
use samara_model::{Body, BodyError};
use tokio::io::AsyncReadExt;

use super::{
    Egress, EgressPolicy, LOOPBACK, NOW, Names, Resolver, SOON, Timeouts, egress, get, policy, send,
    server::{Server, closed_port, read_head},
};

const NO_TIME: Timeouts = Timeouts { connect: None, first_byte: None, between_bytes: None };

#[derive(Debug)]
struct Silent;

#[async_trait]
impl Resolver for Silent {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        std::future::pending().await
    }
}

async fn code(policy: EgressPolicy, uri: &str, asked: Timeouts) -> &'static str {
    Egress::with_policy(policy).send(get(uri), asked).await.unwrap_err().code()
}

#[tokio::test]
async fn names_that_do_not_resolve_say_why() {
    let uri = "http://name.test";
    let slow = EgressPolicy { resolver: Arc::new(Silent), lookup: NOW, ..policy(uri) };
    assert_eq!(code(slow, uri, NO_TIME).await, "DNS-timeout");
    assert_eq!(code(EgressPolicy { resolver: Names::new(&[]), ..policy(uri) }, uri, NO_TIME).await, "DNS-error");
    assert_eq!(
        code(EgressPolicy { resolver: Names::new(&[&[]]), ..policy(uri) }, uri, NO_TIME).await,
        "destination-not-found"
    );
    let asked = Timeouts { connect: Some(NOW), ..NO_TIME };
    assert_eq!(
        code(EgressPolicy { resolver: Arc::new(Silent), ..policy(uri) }, uri, asked).await,
        "connection-timeout"
    );
}

#[tokio::test]
async fn nobody_listening_is_a_refusal() {
    let uri = format!("http://127.0.0.1:{}", closed_port(LOOPBACK).await);
    assert_eq!(code(policy(&uri), &uri, NO_TIME).await, "connection-refused");
}

#[tokio::test]
async fn a_server_without_an_answer_is_given_up() {
    let server = Server::raw(None).await;
    let uri = server.origin();
    let asked = Timeouts { first_byte: Some(NOW), ..NO_TIME };
    assert_eq!(code(policy(&uri), &uri, asked).await, "HTTP-response-timeout");
    // What a guest asks for is cut to what the policy allows.
    let asked = Timeouts { first_byte: Some(SOON), ..NO_TIME };
    assert_eq!(code(EgressPolicy { first_byte: NOW, ..policy(&uri) }, &uri, asked).await, "HTTP-response-timeout");
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let server = Server::start(async |_| {
        let first = futures::stream::once(async { Ok(http_body::Frame::data("first".into())) });
        let body = StreamBody::new(futures::StreamExt::chain(first, futures::stream::pending()));
        http::Response::new(BodyExt::boxed_unsync(body))
    });
    let server = server.await;
    let asked = Timeouts { between_bytes: Some(NOW), ..NO_TIME };
    let egress = egress(&server.origin());
    let mut body: Body = egress.send(get(&server.origin()), asked).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    assert!(matches!(body.frame().await.unwrap().unwrap_err(), BodyError::Idle { seconds: 0 }));
}

#[tokio::test]
async fn connections_are_bounded() {
    let server = Server::raw(None).await;
    let uri = server.origin();
    let egress =
        Egress::with_policy(EgressPolicy { connections: 1, connect: Duration::from_millis(200), ..policy(&uri) });
    let first = egress.send(get(&uri), NO_TIME);
    let second = egress.send(get(&uri), NO_TIME);
    // The first holds the only connection for as long as the server is silent.
    let second = tokio::select! {
        biased;
        _ = first => panic!("a silent server answered"),
        second = second => second.unwrap_err(),
    };
    assert_eq!(second.code(), "connection-limit-reached", "{second}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_any_more_closes_its_connection() {
    let listener = tokio::net::TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let egress = egress(&uri);
    let sent = tokio::spawn(async move { send(&egress, get(&uri)).await.map(|_| ()) });
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await;
    sent.abort();
    let end = tokio::time::timeout(SOON, stream.read(&mut [0; 16])).await.expect("the connection is still open");
    assert_eq!(end.unwrap_or(0), 0);
}
