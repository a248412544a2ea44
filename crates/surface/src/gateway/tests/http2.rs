//! HTTP/2 by prior knowledge, through hyper's own client.

use super::{http1::DropSender, *};
use http::{HeaderMap, Request, Version};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};

async fn connect(server: &Server) -> SendRequest<Body> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(path: &str) -> Request<Body> {
    Request::builder().uri(format!("http://x.test{path}")).body(samara_model::empty()).unwrap()
}

async fn text(response: Response<hyper::body::Incoming>) -> String {
    let bytes = timeout(LONG, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}

#[tokio::test]
async fn a_request_reaches_its_workload() {
    let server = Server::new(&[("/a/*rest", &echo())]);
    let response = connect(&server).await.send_request(request("/a/b?c")).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    assert!(text(response).await.contains(r#"GET http://x.test/a/b?c ["rest=b"]"#));
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let pass = http(|call| async { Ok(Response::new(call.request.into_body())) });
    let server = Server::new(&[("/", &pass)]);
    let sender = connect(&server).await;
    let streams = (0..200).map(|n| {
        let mut sender = sender.clone();
        tokio::spawn(async move {
            sender.ready().await.unwrap();
            let body = full(format!("stream {n}"));
            let request = Request::post("http://x.test/").body(body).unwrap();
            assert_eq!(text(sender.send_request(request).await.unwrap()).await, format!("stream {n}"));
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        timeout(LONG, stream).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn trailers_and_head_work() {
    let back = http(|_| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", 7.into());
        Ok(Response::new(full("abc").with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync()))
    });
    let server = Server::new(&[("/", &back), ("/echo", &http(|_| async { Ok(Response::new(full("hello"))) }))]);
    let mut sender = connect(&server).await;
    let whole = sender.send_request(request("/")).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["x-sum"], "7");
    let mut head = request("/echo");
    *head.method_mut() = http::Method::HEAD;
    let response = sender.send_request(head).await.unwrap();
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn a_body_that_fails_after_the_head_resets_its_stream_only() {
    let fails = http(|_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            sender.send(Ok(Bytes::from_static(b"part"))).await.unwrap();
            sender.send(Err(Fault::Guest("it trapped".into()))).await.unwrap();
        });
        Ok(Response::new(body))
    });
    let short = http(|_| async {
        let (_, body) = channel();
        Ok(Response::builder().header("content-length", "4").body(body).unwrap())
    });
    let server = Server::new(&[("/fails", &fails), ("/short", &short), ("/", &echo())]);
    let mut sender = connect(&server).await;
    for path in ["/fails", "/short"] {
        let response = sender.send_request(request(path)).await.unwrap();
        assert!(timeout(LONG, response.into_body().collect()).await.unwrap().is_err(), "{path}");
    }
    assert_eq!(sender.send_request(request("/")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_its_call() {
    let (gone, mut left) = mpsc::unbounded_channel();
    let (started, mut ready) = mpsc::unbounded_channel();
    let hang = http(move |_| {
        let gone = DropSender(gone.clone());
        started.send(()).unwrap();
        async move {
            let _gone = gone;
            std::future::pending().await
        }
    });
    let server = Server::new(&[("/", &hang)]);
    let mut sender = connect(&server).await;
    let call = tokio::spawn(sender.send_request(request("/")));
    ready.recv().await.unwrap();
    call.abort();
    timeout(LONG, left.recv()).await.expect("the call is given up");
}

#[tokio::test]
async fn heads_over_the_limits_are_refused() {
    let server = Server::with(&[("/", &echo())], |config| (config.header_bytes, config.header_fields) = (16 << 10, 20));
    let mut sender = connect(&server).await;
    let mut many = request("/");
    for n in 0..30 {
        many.headers_mut().insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), 1.into());
    }
    assert_eq!(sender.send_request(many).await.unwrap().status(), 431);
    let mut large = request("/");
    large.headers_mut().insert("x-large", "x".repeat(17 << 10).parse().unwrap());
    let refused = sender.send_request(large).await.map(|response| response.status().as_u16());
    assert!(matches!(refused, Ok(431) | Err(_)), "{refused:?}");
}

#[tokio::test]
async fn draining_finishes_streams_in_flight() {
    let (started, mut ready) = mpsc::channel(8);
    let (go, wait) = tokio::sync::watch::channel(false);
    let slow = http(move |_| {
        let (started, mut wait) = (started.clone(), wait.clone());
        async move {
            started.send(()).await.unwrap();
            wait.wait_for(|go| *go).await.unwrap();
            Ok(Response::new(full("done")))
        }
    });
    let mut server = Server::new(&[("/", &slow)]);
    let sender = connect(&server).await;
    // Several, so that some are on another thread than the connection.
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let mut sender = sender.clone();
            tokio::spawn(async move { text(sender.send_request(request("/")).await.unwrap()).await })
        })
        .collect();
    for _ in 0..4 {
        ready.recv().await.unwrap();
    }
    server.stop();
    go.send(true).unwrap();
    for call in calls {
        assert_eq!(timeout(LONG, call).await.unwrap().unwrap(), "done");
    }
    server.ended().await;
}
