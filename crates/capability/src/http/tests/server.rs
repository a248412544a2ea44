//! Servers on loopback: one that speaks HTTP properly, and one that says what it is told to, proper or not.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use samara_model::Body;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::LOOPBACK;

/// A server of one test; it ends with the test's runtime.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Answers each request with `answer`.
    pub(super) async fn start<F>(answer: F) -> Self
    where
        F: AsyncAnswer,
    {
        Self::start_at((LOOPBACK, 0).into(), None, answer).await
    }

    pub(super) async fn start_at<F>(address: SocketAddr, tls: Option<TlsAcceptor>, answer: F) -> Self
    where
        F: AsyncAnswer,
    {
        let (listener, server) = Self::listen(address).await;
        let connections = Arc::clone(&server.connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                let (answer, tls) = (answer.clone(), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = answer.clone();
                        async move { Ok::<_, Infallible>(answer.answer(request).await) }
                    });
                    let http = auto::Builder::new(TokioExecutor::new());
                    // How a connection ends is the client's affair.
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        server
    }

    /// Answers the first request of each connection with these bytes, then closes it, or with `None` keeps silent.
    pub(super) async fn raw(answer: Option<&'static [u8]>) -> Self {
        let (listener, server) = Self::listen((LOOPBACK, 0).into()).await;
        let connections = Arc::clone(&server.connections);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    read_head(&mut stream).await;
                    match answer {
                        Some(answer) => {
                            let _ = stream.write_all(answer).await;
                            let _ = stream.shutdown().await;
                        }
                        None => std::future::pending::<()>().await,
                    }
                });
            }
        });
        server
    }

    async fn listen(address: SocketAddr) -> (TcpListener, Self) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, Self { address, connections: Arc::default() })
    }

    /// `http://127.0.0.1:PORT`.
    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The origin under a name.
    pub(super) fn named(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}://{name}:{}", self.address.port())
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A port of this machine where nobody listens.
pub(super) async fn closed_port(address: IpAddr) -> u16 {
    TcpListener::bind((address, 0)).await.unwrap().local_addr().unwrap().port()
}

/// Reads up to the end of a request's head; everything that came is returned.
pub(super) async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            break;
        }
    }
    head
}

/// Answers a request; implemented by async functions of it.
pub(super) trait AsyncAnswer: Clone + Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

impl<F, R> AsyncAnswer for F
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send,
{
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send {
        self(request)
    }
}
