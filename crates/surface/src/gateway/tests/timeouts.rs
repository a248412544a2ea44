//! Clients that take their time, and clients that are too many.

use super::{http1::DropSender, *};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};

fn impatient(routes: &[(&str, &Destination)]) -> Server {
    Server::with(routes, |config| {
        config.http.header_timeout = SHORT;
        config.http.idle_timeout = SHORT * 2;
        config.http.body_timeout = SHORT;
    })
}

#[tokio::test]
async fn a_client_that_says_nothing_is_shown_out() {
    let server = impatient(&[("/", &echo())]);
    assert_eq!(server.ask("").await, "");
}

#[tokio::test]
async fn a_head_that_comes_drop_by_drop_is_not_waited_for() {
    let server = impatient(&[("/", &echo())]);
    for start in ["G", "GET / HTTP/1.1\r\nhost: x\r\na: ", "PRI * HT", "PRI"] {
        let mut client = server.client().await;
        client.send(start).await;
        // Each byte would renew a time-out that only watches for silence.
        let drip = async {
            while client.0.write_all(b"a").await.is_ok() {
                tokio::time::sleep(SHORT / 4).await;
            }
        };
        timeout(LONG, drip).await.expect(start);
    }
}

#[tokio::test]
async fn a_kept_connection_is_closed_when_it_idles() {
    let server = impatient(&[("/", &echo())]);
    let mut client = server.client().await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.until("{}").await;
    assert_eq!(client.rest().await, "");
    // The second head has its own, shorter time.
    let mut client = server.client().await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.until("{}").await;
    client.send("GET /").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_slow_call_is_not_an_idle_connection() {
    let slow = http(|_| async {
        tokio::time::sleep(SHORT * 8).await;
        Ok(Response::new(full("at last")))
    });
    check(&impatient(&[("/", &slow)]).get("/").await, 200, &["at last"]);
}

#[tokio::test]
async fn a_body_that_falls_silent_is_not_waited_for() {
    let server = impatient(&[("/", &echo())]);
    let mut client = server.client().await;
    client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345").await;
    check(&client.rest().await, 400, &["idle"]);
}

/// A response without end; the receiver hears when it is given up.
fn flood() -> (Destination, mpsc::UnboundedReceiver<()>) {
    let (sender, left) = mpsc::unbounded_channel();
    let flood = http(move |_| {
        let gone = DropSender(sender.clone());
        async move {
            let frames = futures::stream::repeat_with(move || {
                let _ = &gone;
                Ok(http_body::Frame::data(Bytes::from_static(&[0; 64 << 10])))
            });
            Ok(Response::new(http_body_util::StreamBody::new(frames).boxed_unsync()))
        }
    });
    (flood, left)
}

#[tokio::test]
async fn a_client_that_does_not_take_its_response_is_given_up() {
    let (flood, mut left) = flood();
    let server = impatient(&[("/", &flood)]);
    let mut client = server.client().await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    timeout(LONG, left.recv()).await.expect("the response is given up");
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let server = Server::with(&[("/", &echo())], |config| config.http.max_connections = 1);
    let mut first = server.client().await;
    first.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    first.until("{}").await;
    let mut second = server.client().await;
    second.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(timeout(SHORT, second.0.readable()).await.is_err());
    drop(first);
    second.until("{}").await;
}

#[tokio::test]
async fn an_http2_connection_that_idles_is_closed() {
    let server = impatient(&[("/", &echo())]);
    let mut client = server.client().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut bytes = Vec::new();
    timeout(LONG, client.0.read_to_end(&mut bytes)).await.expect("the server closes the connection").unwrap();
}

#[tokio::test]
async fn an_http2_client_that_makes_no_room_for_its_response_is_given_up() {
    let (flood, mut left) = flood();
    let server = impatient(&[("/", &flood)]);
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().uri("http://x.test/").body(samara_model::empty()).unwrap();
    // Holding the response keeps its window shut, while the connection goes on being read.
    let response = sender.send_request(request).await.unwrap();
    timeout(LONG, left.recv()).await.expect("the response is given up");
    drop(response);
}

#[tokio::test]
async fn an_http2_client_that_takes_its_time_but_takes_is_not_given_up() {
    let slow = http(|_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(SHORT * 2).await;
                sender.send(Ok(Bytes::from_static(b"part"))).await.unwrap();
            }
        });
        Ok(Response::new(body))
    });
    let server = impatient(&[("/", &slow)]);
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().uri("http://x.test/").body(samara_model::empty()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = timeout(LONG, response.into_body().collect()).await.unwrap().unwrap();
    assert_eq!(body.to_bytes(), "partpartpartpart");
}
