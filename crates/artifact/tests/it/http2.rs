//! The registry client over HTTP/2, which most registries speak: what works over HTTP/1.1 works, and what is refused is refused.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, Version as Http};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use samara_artifact::{
    Descriptor, Error, Repository, Version,
    registry::{Client, Logins, Patience, RegistrySettings},
    repository::{read_blob, sha256},
};
use samara_model::RegistryHost;
use tokio::net::TcpListener;

use crate::{
    hostile::{BLOB, MANIFEST_TYPE, PATIENCE, blob, manifest},
    registry::certificate,
};

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn whole(bytes: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(bytes.into()).boxed())
}

fn endless() -> Answer {
    let chunk = || Ok(Frame::data(Bytes::from_static(&[b' '; 16 << 10])));
    Response::new(BoxBody::new(StreamBody::new(stream::repeat_with(chunk))))
}

fn answer(request: &Request<hyper::body::Incoming>) -> Answer {
    assert_eq!(request.version(), Http::HTTP_2);
    let path = request.uri().path();
    let typed = |mut answer: Answer| {
        answer.headers_mut().insert("content-type", MANIFEST_TYPE.parse().unwrap());
        answer
    };
    match path.rsplit('/').next().unwrap() {
        "v1" => {
            let mut answer = typed(whole(if request.method() == "HEAD" { String::new() } else { manifest() }));
            let headers = answer.headers_mut();
            headers.insert("content-length", manifest().len().into());
            headers.insert("docker-content-digest", sha256(manifest().as_bytes()).to_string().parse().unwrap());
            answer
        }
        "endless" if request.method() == "GET" => typed(endless()),
        "headers" => {
            let mut answer = whole("");
            for name in 0..50 {
                let name: http::HeaderName = format!("x-{name}").parse().unwrap();
                answer.headers_mut().insert(name, "y".repeat(4000).parse().unwrap());
            }
            answer
        }
        digest if digest == sha256(manifest().as_bytes()).as_ref() => typed(whole(manifest())),
        digest if digest == sha256(BLOB).as_ref() => whole(BLOB),
        digest if digest == sha256(b"endless").as_ref() => endless(),
        _ => whole(""),
    }
}

#[tokio::test]
async fn http_2_is_spoken_within_the_same_bounds() {
    let (mut tls, file) = certificate();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(socket) = tls.accept(socket).await else { return };
                let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // The client resets what it does not want.
                drop(server.serve_connection(TokioIo::new(socket), service).await);
            });
        }
    });
    let host = RegistryHost { ca: Some(file.path().to_owned()), ..RegistryHost::default() };
    let patience = Patience { document: Duration::from_secs(20), ..PATIENCE };
    let hosts = BTreeMap::from([(address.clone(), host)]);
    let client = Client::new(RegistrySettings {
        hosts,
        patience,
        logins: Logins::Given(BTreeMap::new()),
        ..RegistrySettings::default()
    });
    let repository: Arc<dyn Repository> =
        client.repository(&format!("{address}/demo/app:v1").parse().unwrap()).unwrap();

    let tag = |tag: &str| Version::Tag(tag.to_owned());
    let found = repository.resolve(&tag("v1")).await.unwrap();
    assert_eq!(repository.manifest(found.digest()).await.unwrap(), manifest());
    assert_eq!(read_blob(&*repository, &blob(), 100).await.unwrap(), BLOB);

    let error = repository.resolve(&tag("endless")).await.unwrap_err();
    assert!(matches!(&error, Error::OverLimit(why) if why.contains("is over 4194304 bytes")), "{error}");
    let error = repository.resolve(&tag("headers")).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable(why) if why.contains("broke off")), "{error}");
    let endless = Descriptor::new("application/wasm".into(), 1 << 20, sha256(b"endless"));
    let error = read_blob(&*repository, &endless, 1 << 20).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(why) if why.contains("is longer than")), "{error}");
    // The connection goes on.
    repository.resolve(&tag("v1")).await.unwrap();
}
