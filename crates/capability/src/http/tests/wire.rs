//! What the server sees of a request, what the guest sees of a response, and what bad servers lead to.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use samara_model::{Body, BodyError, full};

use super::{
    EgressError, LOOPBACK, SOON, bytes, egress, get, policy, send,
    server::{Server, read_head},
    text,
};

/// Answers with the request's line, headers and body.
async fn mirror() -> Server {
    Server::start(async |request: Request<hyper::body::Incoming>| {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned();
        let mut text = format!("{} {}\n", head.method, head.uri);
        for (name, value) in head.headers.iter().chain(trailers.iter().flatten()) {
            text += &format!("{name}: {}\n", value.to_str().unwrap());
        }
        text += &String::from_utf8_lossy(&body.to_bytes());
        Response::builder().header("keep-alive", "timeout=5").header("x-mine", "1").body(full(text)).unwrap()
    })
    .await
}

#[tokio::test]
async fn the_server_sees_the_request_and_nothing_of_the_guests_connection() {
    let server = mirror().await;
    let uri = format!("{}/path?query", server.origin());
    let request = Request::post(&uri)
        .header("host", server.address.to_string())
        .header("connection", "close, x-private")
        .header("x-private", "1")
        .header("x-kept", "yes")
        .body(full("body"));
    let response = send(&egress(&server.origin()), request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["x-mine"], "1");
    assert!(!response.headers().contains_key("keep-alive"));
    let expected = format!("POST /path?query\nx-kept: yes\nhost: {}\ncontent-length: 4\nbody", server.address);
    assert_eq!(text(response).await, expected);
}

#[tokio::test]
async fn a_host_header_for_another_site_never_leaves() {
    let server = mirror().await;
    let request = Request::get(server.origin()).header("host", "internal.test").body(full("")).unwrap();
    let error = send(&egress(&server.origin()), request).await.unwrap_err();
    assert_eq!(error.code(), "HTTP-request-denied", "{error}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn bodies_and_trailers_stream_both_ways() {
    let server = Server::start(async |request: Request<hyper::body::Incoming>| {
        // Each frame is sent back as it comes.
        let body = request.into_body().map_err(|error| BodyError::Closed(error.to_string())).boxed_unsync();
        Response::builder().header("trailer", "x-sum").body(body).unwrap()
    })
    .await;
    let (sender, mut receiver) = pieces();
    let body = StreamBody::new(futures::stream::poll_fn(move |context| receiver.poll_recv(context))).boxed_unsync();
    let request =
        Request::post(server.origin()).header("te", "trailers").header("trailer", "x-sum").body(body).unwrap();
    let egress = egress(&server.origin());
    let response = send(&egress, request).await.unwrap();
    let mut echo = response.into_body();
    for round in 0..100_u8 {
        let piece = Bytes::from(vec![round; 1000]);
        sender.send(Ok(Frame::data(piece.clone()))).await.unwrap();
        let mut back = Vec::new();
        while back.len() < piece.len() {
            back.extend(echo.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(back, piece);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
    drop(sender);
    let last = echo.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(last["x-sum"], "1");
}

type Piece = Result<Frame<Bytes>, BodyError>;

fn pieces() -> (tokio::sync::mpsc::Sender<Piece>, tokio::sync::mpsc::Receiver<Piece>) {
    tokio::sync::mpsc::channel(1)
}

#[tokio::test]
async fn a_request_body_that_fails_is_the_guests_error() {
    let server = mirror().await;
    let pieces = [Ok(Frame::data(Bytes::from_static(b"some"))), Err(BodyError::Closed("gone".to_owned()))];
    let body: Body = StreamBody::new(futures::stream::iter(pieces)).boxed_unsync();
    let error = send(&egress(&server.origin()), Request::post(server.origin()).body(body).unwrap()).await.unwrap_err();
    assert!(matches!(error, EgressError::RequestBody(_)), "{error:?}");
}

async fn code(answer: &'static [u8]) -> &'static str {
    let server = Server::raw(Some(answer)).await;
    let uri = server.origin();
    let egress =
        super::Egress::with_policy(super::EgressPolicy { head_bytes: 8 << 10, head_fields: 3, ..policy(&uri) });
    send(&egress, get(&uri)).await.map_or_else(|error| error.code(), |_| "answered")
}

#[tokio::test]
async fn what_is_not_a_response_is_an_error_of_its_kind() {
    assert_eq!(code(b"HTTP/1.1 200 OK\r\n\r\n").await, "answered");
    assert_eq!(code(b"").await, "HTTP-response-incomplete");
    assert_eq!(code(b"HTTP/1.1 200").await, "HTTP-response-incomplete");
    assert_eq!(code(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await, "HTTP-protocol-error");
    assert_eq!(
        code(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab").await,
        "HTTP-protocol-error"
    );
    assert_eq!(code(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n").await, "HTTP-protocol-error");
    assert_eq!(
        code(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await,
        "HTTP-upgrade-failed"
    );
    assert_eq!(
        code(b"HTTP/1.1 200 OK\r\na: 1\r\nb: 1\r\nc: 1\r\nd: 1\r\n\r\n").await,
        "HTTP-response-header-section-size"
    );
    let long: &'static [u8] = Vec::leak([b"HTTP/1.1 200 OK\r\na: ".as_slice(), &[b'x'; 10_000], b"\r\n\r\n"].concat());
    assert_eq!(code(long).await, "HTTP-response-header-section-size");
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error_not_an_end() {
    let server = Server::raw(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort")).await;
    let response = send(&egress(&server.origin()), get(&server.origin())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(matches!(response.into_body().collect().await.unwrap_err(), BodyError::Closed(_)));
}

#[tokio::test]
async fn a_guest_that_drops_a_response_stops_the_server() {
    let listener = tokio::net::TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let egress = egress(&uri);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        use tokio::io::AsyncWriteExt;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await.unwrap();
        // Writes until the other side is gone: the back-pressure of a reader that does not read holds it.
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    });
    drop(send(&egress, get(&uri)).await.unwrap());
    tokio::time::timeout(SOON, server).await.expect("the server still has a reader").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_requests_at_once_each_get_their_own_answer() {
    let server = mirror().await;
    let egress = std::sync::Arc::new(egress(&server.origin()));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let (egress, origin) = (egress.clone(), server.origin());
        tasks.spawn(async move {
            for round in 0..20 {
                let body = format!("{task}/{round}");
                let request = Request::post(format!("{origin}/{body}")).body(full(body.clone())).unwrap();
                let answer = bytes(send(&egress, request).await.unwrap()).await;
                assert!(answer.starts_with(format!("POST /{body}\n").as_bytes()) && answer.ends_with(body.as_bytes()));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // The pool opens a connection when none is idle and may then take one that came back sooner, so their number is not
    // exact; without a pool there would be one a request.
    assert!(server.connections() <= 16 * 4, "{} connections for {} requests", server.connections(), 16 * 20);
}
