//! TLS: who is trusted, what is spoken over it, and which error each failure is.

use std::sync::Arc;

use http::{Response, Version};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use samara_model::full;
use tokio_rustls::TlsAcceptor;

use super::{Egress, EgressPolicy, LOOPBACK, get, policy, send, server::Server, text};

/// A server with a certificate of its own for `tls.test`, and the trust in that certificate.
async fn server(alpn: &[&str]) -> (Server, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["tls.test".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());

    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let answer =
        async |request: http::Request<hyper::body::Incoming>| Response::new(full(format!("{:?}", request.version())));
    let server = Server::start_at((LOOPBACK, 0).into(), Some(acceptor), answer).await;

    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trust = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (server, Arc::new(trust.with_root_certificates(roots).with_no_client_auth()))
}

#[tokio::test]
async fn what_is_spoken_over_tls_is_what_the_server_offers() {
    for (alpn, version) in
        [(&["h2", "http/1.1"] as &[_], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11), (&[], Version::HTTP_11)]
    {
        let (server, tls) = server(alpn).await;
        let uri = server.named("https", "tls.test");
        let egress = Egress::with_policy(EgressPolicy { tls: Some(tls), ..policy(&uri) });
        for _ in 0..3 {
            let response = send(&egress, get(&uri)).await.unwrap();
            assert_eq!(text(response).await, format!("{version:?}"));
        }
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_is_refused() {
    let (server, tls) = server(&[]).await;
    for (host, tls) in [("other.test", Some(tls.clone())), ("127.0.0.1", Some(tls)), ("tls.test", None)] {
        let uri = server.named("https", host);
        let mut policy = policy(&uri);
        policy.tls = tls;
        let error = send(&Egress::with_policy(policy), get(&uri)).await.unwrap_err();
        assert_eq!(error.code(), "TLS-certificate-error", "{host}: {error}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_a_protocol_error_and_an_alert_is_told() {
    let plain = Server::raw(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let uri = plain.named("https", "tls.test");
    // A handshake has no blank line, so the server waits for one: it is the client that must notice.
    let silent = Egress::with_policy(EgressPolicy { connect: super::NOW, ..policy(&uri) });
    assert_eq!(send(&silent, get(&uri)).await.unwrap_err().code(), "connection-timeout");

    let listener = tokio::net::TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let uri = format!("https://tls.test:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        for answer in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), &[21, 3, 3, 0, 2, 2, 40]] {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
        }
    });
    let egress = Egress::with_policy(policy(&uri));
    assert_eq!(send(&egress, get(&uri)).await.unwrap_err().code(), "TLS-protocol-error");
    let alert = send(&egress, get(&uri)).await.unwrap_err();
    assert_eq!(
        (alert.code(), alert.to_string()),
        ("TLS-alert-received", "the server refused with the tls alert HandshakeFailure (40)".to_owned())
    );
}
