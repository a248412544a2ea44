//! HTTP/1.1 as clients see it.

use super::*;
use http_body::Frame;
use http_body_util::StreamBody;

#[tokio::test]
async fn a_request_reaches_its_workload_with_an_absolute_uri() {
    let server = Server::new(&[("/cart/:id", &echo())]);
    let response = server.get("/cart/a%20b?x=1").await;
    check(&response, 200, &["GET http://x.test/cart/a%20b?x=1", r#"["id=a b"]"#, "\r\ndate: ", "content-length: "]);
    assert!(!response.contains("\r\nserver:"), "{response}");
}

#[tokio::test]
async fn connections_are_kept_and_counted() {
    let server = Server::new(&[("/", &echo())]);
    let mut client = server.client().await;
    for _ in 0..3 {
        client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc").await;
        assert!(client.until("{}").await.contains("b\"abc\""));
    }
    assert!(server.metrics.encode().contains("samara_http_connections 1"));
}

#[tokio::test]
async fn an_absolute_target_and_http_1_0_are_understood() {
    let server = Server::new(&[("/", &echo())]);
    let absolute = "GET http://a.test/ HTTP/1.1\r\nhost: b.test\r\nconnection: close\r\n\r\n";
    check(&server.ask(absolute).await, 200, &["GET http://a.test/"]);
    let old = server.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert!(old.contains(&format!("GET http://{}/", server.address)), "{old}");
}

#[tokio::test]
async fn doubtful_requests_are_refused() {
    let server = Server::new(&[("/", &echo())]);
    for head in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        "GET / HTTP/1.1\r\nhost: user@a\r\n",
        "GET / HTTP/1.1\r\nhost: a:99999\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n",
        "GET /%zz HTTP/1.1\r\nhost: a b\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n",
        "NONSENSE\r\n",
    ] {
        let response = server.ask(&format!("{head}connection: close\r\n\r\n")).await;
        check(&response, 400, &[]);
    }
}

#[tokio::test]
async fn paths_and_methods_without_a_route_are_told_so() {
    let server = Server::new(&[("GET /a", &echo()), ("PUT /a", &echo())]);
    check(&server.get("/b").await, 404, &["nothing is served here"]);
    let post = "POST /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: application/json\r\n\r\n";
    check(&server.ask(post).await, 405, &["allow: GET, HEAD, PUT\r\n", "\"error\":\"caller\""]);
    check(&server.get(&format!("/{}", "a".repeat(9000))).await, 414, &[]);
}

#[tokio::test]
async fn heads_over_the_limits_are_431() {
    let server = Server::with(&[("/", &echo())], |config| (config.header_bytes, config.header_fields) = (16 << 10, 20));
    let head = |fields: &str| format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
    check(&server.ask(&head(&format!("a: {}\r\n", "x".repeat(17 << 10)))).await, 431, &[]);
    check(&server.ask(&head(&"a: b\r\n".repeat(19))).await, 431, &[]);
    check(&server.ask(&head(&"a: b\r\n".repeat(18))).await, 200, &[]);
    // A head that never ends is refused as soon as it is too long.
    check(&server.ask(&format!("GET / HTTP/1.1\r\na: {}", "x".repeat(20 << 10))).await, 431, &[]);
}

#[tokio::test]
async fn head_is_answered_with_the_length_and_without_the_body() {
    let server = Server::new(&[("GET /", &http(|_| async { Ok(Response::new(full("hello"))) }))]);
    let mut client = server.client().await;
    client.send("HEAD / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let both = client.rest().await;
    assert_eq!(both.matches("content-length: 5").count(), 2, "{both}");
    assert_eq!(both.matches("hello").count(), 1, "{both}");
}

#[tokio::test]
async fn continue_is_said_when_the_body_is_wanted() {
    let refuse = http(|_| async { Err(Fault::Caller { status: 403, message: "no".into() }) });
    let server = Server::new(&[("/echo", &echo()), ("/refuse", &refuse)]);
    let head = |path| format!("POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    let mut client = server.client().await;
    client.send(&head("/echo")).await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ok").await;
    assert!(client.until("{}").await.contains("b\"ok\""));
    check(&server.ask(&head("/refuse")).await, 403, &["no\n"]);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let back = http(|call| async move {
        let body = call.request.into_body().collect().await.map_err(|error| Fault::Host(error.to_string()))?;
        let frames =
            [Frame::data(Bytes::from_static(b"abc")), Frame::trailers(body.trailers().cloned().unwrap_or_default())];
        let body = StreamBody::new(futures::stream::iter(frames.map(Ok))).boxed_unsync();
        Ok(Response::builder().header("trailer", "x-sum").body(body).unwrap())
    });
    let server = Server::new(&[("/", &back)]);
    let mut client = server.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: x\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\n\r\n")
        .await;
    assert!(client.until("0\r\nx-sum: 7\r\n\r\n").await.contains("3\r\nabc\r\n"));
}

#[tokio::test]
async fn bodies_stream_both_ways_with_one_side_waiting_for_the_other() {
    let pass = http(|call| async { Ok(Response::new(call.request.into_body())) });
    let server = Server::new(&[("/", &pass)]);
    let mut client = server.client().await;
    client.send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    for word in ["one", "two"] {
        client.send(&format!("3\r\n{word}\r\n")).await;
        client.until(&format!("3\r\n{word}\r\n")).await;
    }
    client.send("0\r\n\r\n").await;
    client.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn a_body_that_fails_after_the_head_is_not_ended() {
    let fails = http(|_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            sender.send(Ok(Bytes::from_static(b"part"))).await.unwrap();
            sender.send(Err(Fault::Guest("it trapped".into()))).await.unwrap();
        });
        Ok(Response::new(body))
    });
    let server = Server::new(&[("/", &fails)]);
    let response = server.get("/").await;
    check(&response, 200, &["4\r\npart\r\n"]);
    assert!(!response.contains("0\r\n\r\n"), "{response}");
}

#[tokio::test]
async fn faults_become_their_status_and_neighbours_go_on() {
    let busy = http(|_| async {
        Err(Fault::Busy { why: "its queue is full".into(), retry_after: Duration::from_secs(2), quota: false })
    });
    let trap = http(|_| async { Err(Fault::Guest("secret".into())) });
    let early = http(|_| async { Ok(Response::builder().status(103).body(full("")).unwrap()) });
    let server = Server::new(&[("/busy", &busy), ("/trap", &trap), ("/early", &early), ("/", &echo())]);
    check(&server.get("/busy").await, 503, &["retry-after: 2\r\n", "too many requests at once"]);
    let trap = server.get("/trap").await;
    check(&trap, 502, &["the application failed"]);
    assert!(!trap.contains("secret"));
    check(&server.get("/early").await, 502, &[]);
    check(&server.get("/").await, 200, &[]);
}

#[tokio::test]
async fn headers_of_the_connection_are_not_the_guests() {
    let guest = http(|call| async move {
        assert!(!call.request.headers().contains_key("x-hop"));
        let response =
            Response::builder().header("connection", "x-mine").header("x-mine", "1").header("transfer-encoding", "x");
        Ok(response.body(full("ok")).unwrap())
    });
    let server = Server::new(&[("/", &guest)]);
    let response = server.ask("GET / HTTP/1.1\r\nhost: x\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\r\n").await;
    check(&response, 200, &["content-length: 2\r\n"]);
    assert!(!response.contains("x-mine") && !response.contains("transfer-encoding"), "{response}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    let (sender, mut left) = mpsc::unbounded_channel();
    let (started, mut ready) = mpsc::unbounded_channel();
    let hang = http(move |_| {
        let gone = DropSender(sender.clone());
        started.send(()).unwrap();
        async move {
            let _gone = gone;
            std::future::pending().await
        }
    });
    let server = Server::new(&[("/", &hang)]);
    let mut client = server.client().await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    ready.recv().await.unwrap();
    drop(client);
    timeout(LONG, left.recv()).await.expect("the call is given up");
}

pub(super) struct DropSender(pub(super) mpsc::UnboundedSender<()>);

impl Drop for DropSender {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn draining_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (started, mut ready) = mpsc::channel(1);
    let (go, wait) = tokio::sync::watch::channel(false);
    let slow = http(move |_| {
        let (started, mut wait) = (started.clone(), wait.clone());
        async move {
            started.send(()).await.unwrap();
            wait.wait_for(|go| *go).await.unwrap();
            Ok(Response::new(full("done")))
        }
    });
    let mut server = Server::new(&[("/slow", &slow), ("/", &echo())]);
    let mut idle = server.client().await;
    idle.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.until("{}").await;
    let mut client = server.client().await;
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    ready.recv().await.unwrap();
    server.stop();
    // Kept connections close at once, and with them went the listeners.
    assert_eq!(idle.rest().await, "");
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.send(true).unwrap();
    check(&client.rest().await, 200, &["connection: close\r\n", "done"]);
    server.ended().await;
}

#[tokio::test]
async fn draining_gives_up_what_takes_too_long() {
    let hang = http(|_| std::future::pending());
    let mut server = Server::with(&[("/", &hang)], |config| config.drain = SHORT);
    let mut client = server.client().await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    while !server.metrics.encode().contains("samara_http_connections 1") {
        tokio::task::yield_now().await;
    }
    server.stop();
    assert_eq!(client.rest().await, "");
    server.ended().await;
}
