//! What an HTTP/2 client may not do, in raw frames.
//!
//! The attacks have names: rapid reset (CVE-2023-44487), CONTINUATION flood (CVE-2024-27316 and its kin), HPACK bomb
//! (CVE-2016-6581), PING and SETTINGS floods (CVE-2019-9512, -9515).

use super::{http1::DropSender, *};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Of RFC 9113, section 7.
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// `:method GET`, `:scheme http`, `:path /`, and `:authority x` as a literal.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'x'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, GET)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// A client that sends and reads frames.
struct Raw(TcpStream);

impl Raw {
    async fn new(server: &Server) -> Self {
        let mut raw = Self(server.client().await.0);
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.send(&frame(SETTINGS, 0, 0, &[])).await;
        raw
    }

    /// Sends what the server will take.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(LONG, self.0.write_all(bytes)).await, Ok(Ok(())))
    }

    /// The next frame: kind, flags, stream, payload. `None` when the connection has ended.
    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        timeout(LONG, self.0.read_exact(&mut head)).await.expect("a frame or the end").ok()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).unwrap()];
        timeout(LONG, self.0.read_exact(&mut payload)).await.expect("a payload").ok()?;
        Some((kind, flags, u32::from_be_bytes([s0, s1, s2, s3]), payload))
    }

    /// Reads to the end; gives the error of the last GOAWAY.
    async fn ended(&mut self) -> Option<u32> {
        let mut error = None;
        while let Some((kind, _, _, payload)) = self.next().await {
            if kind == GOAWAY {
                error = payload[4..8].try_into().ok().map(u32::from_be_bytes);
            }
        }
        error
    }

    /// Reads to the headers of a response; gives its block, empty if the stream or the connection ended instead.
    async fn response(&mut self, stream: u32) -> Vec<u8> {
        loop {
            match self.next().await {
                Some((HEADERS, _, of, block)) if of == stream => return block,
                Some((RST_STREAM, _, of, _)) if of == stream => return Vec::new(),
                None | Some((GOAWAY, ..)) => return Vec::new(),
                Some(_) => {}
            }
        }
    }
}

/// Answers at once, so that a server that is well can show it.
async fn answers(server: &Server) {
    let mut raw = Raw::new(server).await;
    raw.send(&get(1)).await;
    // `:status 200` is the eighth entry of the static table.
    assert_eq!(raw.response(1).await.first(), Some(&0x88));
}

fn hello() -> Destination {
    http(|_| async { Ok(Response::new(full("hello"))) })
}

#[tokio::test]
async fn settings_say_what_is_allowed() {
    let server = Server::with(&[("/", &hello())], |config| {
        config.http.http2.streams = 7;
        config.http.http2.stream_window = 70_000;
        config.http.http2.connection_window = 100_000;
    });
    let mut raw = Raw::new(&server).await;
    let Some((SETTINGS, 0, 0, settings)) = raw.next().await else { panic!("no settings") };
    let setting = |id: u8| {
        let found = settings.chunks(6).find(|setting| setting[..2] == [0, id]);
        found.map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap()))
    };
    // MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE.
    assert_eq!((setting(3), setting(4), setting(6)), (Some(7), Some(70_000), Some(64 << 10)));
    let window = loop {
        if let (8, _, 0, increment) = raw.next().await.expect("a window update") {
            break u32::from_be_bytes(increment.try_into().unwrap());
        }
    };
    assert_eq!(window, 100_000 - 65_535);
}

#[tokio::test]
async fn streams_over_the_bound_are_refused() {
    let hang = http(|_| std::future::pending());
    let server = Server::with(&[("/", &hang)], |config| config.http.http2.streams = 2);
    let mut raw = Raw::new(&server).await;
    raw.send(&[get(1), get(3), get(5)].concat()).await;
    let refused = loop {
        if let (RST_STREAM, _, stream, error) = raw.next().await.expect("a reset") {
            break (stream, error);
        }
    };
    // REFUSED_STREAM: it may be asked for again.
    assert_eq!(refused, (5, 7_u32.to_be_bytes().to_vec()));
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    let server = Server::new(&[("/", &hello())]);
    let mut raw = Raw::new(&server).await;
    let flood: Vec<u8> = (0..2_000).flat_map(|n| [get(n * 2 + 1), reset(n * 2 + 1)].concat()).collect();
    raw.send(&flood).await;
    let error = raw.ended().await;
    assert!(matches!(error, None | Some(ENHANCE_YOUR_CALM)), "{error:?}");
    answers(&server).await;
}

#[tokio::test]
async fn a_patient_reset_of_calls_that_have_begun_does_too() {
    let (gone, mut left) = mpsc::unbounded_channel();
    let (begun, mut calls) = mpsc::unbounded_channel();
    let hang = http(move |_| {
        let guard = DropSender(gone.clone());
        begun.send(()).unwrap();
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let server = Server::with(&[("/", &hang), ("/hello", &hello())], |config| config.http.http2.abandoned = 5);
    let mut raw = Raw::new(&server).await;
    let mut count = 0;
    for n in 0..100 {
        // Each call has begun before it is taken back, which no bound of streams sees.
        if !raw.send(&get(n * 2 + 1)).await || timeout(SHORT * 20, calls.recv()).await.is_err() {
            break;
        }
        count += 1;
        raw.send(&reset(n * 2 + 1)).await;
        timeout(LONG, left.recv()).await.expect("the call is given up");
    }
    assert_eq!(count, 6);
    raw.ended().await;
}

#[tokio::test]
async fn a_head_without_end_is_not_collected() {
    let server = Server::new(&[("/", &hello())]);
    let mut raw = Raw::new(&server).await;
    raw.send(&frame(HEADERS, END_STREAM, 1, GET)).await;
    // `x: y` as a literal that is not remembered, again and again.
    let piece = frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y'].repeat(1_000));
    let mut sent = 0_usize;
    while sent < 64 << 20 && raw.send(&piece).await {
        sent += piece.len();
    }
    assert!(sent < 64 << 20, "the server reads for ever");
    answers(&server).await;
}

#[tokio::test]
async fn empty_pieces_of_a_head_are_not_read_for_ever() {
    let server = Server::new(&[("/", &hello())]);
    let mut raw = Raw::new(&server).await;
    raw.send(&frame(HEADERS, END_STREAM, 1, GET)).await;
    let pieces = frame(CONTINUATION, 0, 1, &[]).repeat(1_000);
    let mut sent = 0;
    while sent < 10_000 && raw.send(&pieces).await {
        sent += 1;
    }
    assert!(sent < 10_000, "the server reads for ever");
    answers(&server).await;
}

#[tokio::test]
async fn a_small_block_that_unpacks_to_a_large_head_is_refused() {
    let server = Server::new(&[("/", &hello())]);
    let mut raw = Raw::new(&server).await;
    // A header of 3,000 bytes that is remembered, and then named 10,000 times with a byte each: 30 MB.
    let value = 3_000_u16;
    let rest = value - 127;
    let literal = [
        &[0x40, 1, b'x', 127, u8::try_from(rest % 128 + 128).unwrap(), u8::try_from(rest / 128).unwrap()],
        &vec![b'a'; usize::from(value)][..],
    ]
    .concat();
    let block = [GET, &literal, &[0xbe; 10_000]].concat();
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
    let answer = raw.response(1).await;
    // Whatever it is, no 200.
    assert_ne!(answer.first(), Some(&0x88), "{answer:?}");
    answers(&server).await;
}

/// Sends one frame again and again without reading an answer, until the server has enough.
async fn flood(piece: &[u8]) {
    let server = Server::with(&[("/", &hello())], |config| {
        config.http.body_timeout = SHORT;
        config.http.idle_timeout = SHORT;
        config.http.header_timeout = SHORT;
    });
    let mut raw = Raw::new(&server).await;
    let pieces = piece.repeat(1_000);
    let flooding = async { while raw.0.write_all(&pieces).await.is_ok() {} };
    timeout(LONG, flooding).await.expect("the connection is ended");
    answers(&server).await;
}

#[tokio::test]
async fn floods_of_frames_that_want_answers_are_not_served_for_ever() {
    flood(&frame(PING, 0, 0, b"12345678")).await;
    flood(&frame(SETTINGS, 0, 0, &[])).await;
}

#[tokio::test]
async fn a_client_that_is_silent_is_asked_and_then_given_up() {
    let (gone, mut left) = mpsc::unbounded_channel();
    let hang = http(move |_| {
        let guard = DropSender(gone.clone());
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let server = Server::with(&[("/", &hang)], |config| {
        config.http.http2.ping_interval = SHORT;
        config.http.http2.ping_timeout = SHORT * 4;
    });
    let mut alive = Raw::new(&server).await;
    alive.send(&get(1)).await;
    let mut dead = Raw::new(&server).await;
    dead.send(&get(1)).await;
    // One answers, the other's machine has lost its network: nothing tells but the missing answer.
    let mut pings = 0;
    let answering = async {
        loop {
            let (kind, flags, _, payload) = alive.next().await.expect("it is not given up");
            assert_ne!(kind, GOAWAY);
            if kind == PING && flags & ACK == 0 {
                alive.send(&frame(PING, ACK, 0, &payload)).await;
                pings += 1;
            }
        }
    };
    tokio::select! {
        () = answering => {}
        given_up = timeout(LONG, left.recv()) => assert!(given_up.is_ok(), "the call of the silent client goes on"),
    }
    assert!(pings > 0);
    assert!(timeout(SHORT, left.recv()).await.is_err(), "the call of the other one goes on");
}
