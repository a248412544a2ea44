//! HTTPS: what is spoken, which certificate is shown, whose is taken, and who is shown out.

use std::path::Path;

use http::{Request, Version};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use samara_model::manifest::{ClientCertificates, Tls};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::gateway::{
    Https,
    tls::testing::{Authority, Leaf},
};

/// An authority, and a folder for certificates.
struct Folder {
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { authority: Authority::new("test"), folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Settings with certificates for these names, one for each list.
    fn tls(&self, certificates: &[&[&str]]) -> Tls {
        let files = certificates
            .iter()
            .enumerate()
            .map(|(index, names)| self.authority.server(names).write(self.path(), &format!("server{index}")));
        let mut files = files.collect::<Vec<_>>().into_iter();
        let first = files.next().unwrap();
        let mut tls = Tls::new(first.chain, first.key);
        tls.certificates.extend(files);
        tls
    }

    fn clients(&self, tls: &mut Tls, required: bool) {
        let authorities = self.path().join("clients.pem");
        std::fs::write(&authorities, self.authority.pem()).unwrap();
        tls.clients = Some(ClientCertificates { authorities, required });
    }

    fn trust(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        roots
    }

    /// What a client of these protocols is made of.
    fn client(&self, alpn: &[&str], own: Option<&Leaf>) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS12, &TLS13]).unwrap().with_root_certificates(self.trust());
        let mut client = match own {
            None => builder.with_no_client_auth(),
            Some(leaf) => builder.with_client_auth_cert(leaf.chain(), leaf.key()).unwrap(),
        };
        client.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        client
    }
}

fn serve(tls: Tls, change: impl FnOnce(&mut Config)) -> Server {
    let told = http(|call| async move {
        let HttpCall { request, caller, .. } = call;
        let certificate = caller.certificate.map(|certificate| certificate.subject.clone());
        let text = format!("{} {} {:?} {certificate:?}", request.uri(), caller.secure, request.version());
        Ok(Response::new(full(text)))
    });
    Server::with(&[("/*rest", &told)], |config| {
        config.listen = None;
        config.https = Some(Https { listen: "127.0.0.1:0".parse().unwrap(), tls });
        change(config);
    })
}

/// Waits for what a connection's task has yet to do.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let come = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, come).await.unwrap_or_else(|_| panic!("{what}"));
}

type Connected = std::io::Result<TlsStream<TcpStream>>;

async fn connect(server: &Server, client: ClientConfig, name: &str) -> Connected {
    let stream = TcpStream::connect(server.https()).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    timeout(LONG, TlsConnector::from(Arc::new(client)).connect(name, stream)).await.expect("a handshake")
}

async fn get(stream: TlsStream<TcpStream>, uri: &str) -> hyper::Result<String> {
    let io = TokioIo::new(stream);
    let request = Request::get(uri).header("host", "shop.test").body(samara_model::empty()).unwrap();
    let response = if io.inner().get_ref().1.alpn_protocol() == Some(b"h2") {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = http1::handshake::<_, Body>(io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    let bytes = timeout(LONG, response.into_body().collect()).await.unwrap()?.to_bytes();
    Ok(String::from_utf8(bytes.into()).unwrap())
}

#[tokio::test]
async fn what_is_spoken_is_what_the_client_prefers_and_guests_see_https() {
    let folder = Folder::new();
    let server = serve(folder.tls(&[&["shop.test"]]), |_| {});
    for (alpn, version) in
        [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11), (&[], Version::HTTP_11)]
    {
        let stream = connect(&server, folder.client(alpn, None), "shop.test").await.unwrap();
        let text = get(stream, "https://shop.test/a?b").await.unwrap();
        let host = "https://shop.test/a?b";
        assert_eq!(text, format!("{host} true {version:?} None"));
    }
    assert!(connect(&server, folder.client(&["spdy/1"], None), "shop.test").await.is_err());
}

#[tokio::test]
async fn old_tls_is_served_unless_the_operator_says_otherwise() {
    let folder = Folder::new();
    let old = || {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS12]).unwrap();
        builder.with_root_certificates(folder.trust()).with_no_client_auth()
    };
    let tls = folder.tls(&[&["shop.test"]]);
    let both = serve(tls.clone(), |_| {});
    assert!(connect(&both, old(), "shop.test").await.is_ok());
    let only_13 = serve(Tls { only_13: true, ..tls }, |_| {});
    assert!(connect(&only_13, old(), "shop.test").await.is_err());
    assert!(connect(&only_13, folder.client(&[], None), "shop.test").await.is_ok());
}

#[tokio::test]
async fn the_certificate_is_the_one_for_the_name_that_is_asked() {
    let folder = Folder::new();
    let names: [&[&str]; 4] =
        [&["default.test", "127.0.0.1"], &["shop.test", "www.shop.test"], &["*.shop.test"], &["b.a.shop.test"]];
    let tls = folder.tls(&names);
    let chains: Vec<_> =
        tls.certificates.iter().map(|files| CertificateDer::from_pem_file(&files.chain).unwrap()).collect();
    let server = serve(tls, |_| {});
    for (name, expected) in [
        ("default.test", 0),
        ("127.0.0.1", 0),
        ("shop.test", 1),
        ("WWW.Shop.test", 1),
        ("any.shop.test", 2),
        ("b.a.shop.test", 3),
    ] {
        let stream = connect(&server, folder.client(&[], None), name).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], chains[expected], "{name}");
    }
    // A wildcard stands for one label, and nobody answers for names that are not there: the client sees the default one.
    for name in ["c.a.shop.test", "other.test"] {
        let error = connect(&server, folder.client(&[], None), name).await.unwrap_err().to_string();
        assert!(error.contains("not valid for name") && error.contains("default.test"), "{name}: {error}");
    }
}

#[tokio::test]
async fn clients_without_the_right_certificate_are_turned_away() {
    let folder = Folder::new();
    let mut tls = folder.tls(&[&["shop.test"]]);
    folder.clients(&mut tls, true);
    let ada = folder.authority.client("ada, O=Acme");
    let stranger = Authority::new("test").client("ada");
    let required = serve(tls.clone(), |_| {});
    folder.clients(&mut tls, false);
    let optional = serve(tls, |_| {});
    let ask = async |server: &Server, own: Option<&Leaf>| -> Option<String> {
        // With TLS 1.3 the client learns that it was refused when it reads.
        let stream = connect(server, folder.client(&["http/1.1"], own), "shop.test").await.ok()?;
        get(stream, "/").await.ok()
    };
    let known = |text: Option<String>| text.is_some_and(|text| text.ends_with(r#"Some("CN=ada\\, O=Acme")"#));
    assert!(known(ask(&required, Some(&ada)).await) && known(ask(&optional, Some(&ada)).await));
    assert_eq!(ask(&required, None).await, None);
    assert!(ask(&optional, None).await.unwrap().ends_with("None"));
    for server in [&required, &optional] {
        assert_eq!(ask(server, Some(&stranger)).await, None);
        until("it is counted", || server.metrics.host().tls_handshake_failures.get() > 0).await;
    }
}

#[tokio::test]
async fn a_slow_handshake_holds_a_slot_and_is_ended() {
    let folder = Folder::new();
    let server = serve(folder.tls(&[&["shop.test"]]), |config| {
        config.http.max_connections = 1;
        config.http.header_timeout = SHORT * 2;
    });
    let mut slow = TcpStream::connect(server.https()).await.unwrap();
    // The start of a ClientHello.
    slow.write_all(&[22, 3, 1, 1, 0, 1]).await.unwrap();
    until("it counts as a connection", || server.metrics.host().http_connections.get() == 1).await;
    // Its slot is the only one: the next client is served once it is gone.
    let stream = connect(&server, folder.client(&[], None), "shop.test").await.unwrap();
    assert!(get(stream, "/").await.unwrap().contains("true"));
    let mut rest = Vec::new();
    let _ = timeout(LONG, slow.read_to_end(&mut rest)).await.expect("it was closed");
    until("it is counted", || server.metrics.host().tls_handshake_failures.get() == 1).await;
}

#[tokio::test]
async fn who_speaks_something_else_is_turned_away_and_a_head_has_its_time() {
    let folder = Folder::new();
    let server = serve(folder.tls(&[&["shop.test"]]), |config| config.http.header_timeout = SHORT);
    let mut plain = Client(TcpStream::connect(server.https()).await.unwrap());
    plain.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut bytes = Vec::new();
    let _ = timeout(LONG, plain.0.read_to_end(&mut bytes)).await.expect("it is closed");
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");
    until("it is counted", || server.metrics.host().tls_handshake_failures.get() == 1).await;
    // After a good handshake the head is waited for as without TLS.
    let mut silent = connect(&server, folder.client(&["http/1.1"], None), "shop.test").await.unwrap();
    let _ = timeout(LONG, silent.read_to_end(&mut bytes)).await.expect("it is closed");
}

#[tokio::test]
async fn plain_http_may_be_served_beside_it_or_send_clients_there() {
    let folder = Folder::new();
    let tls = folder.tls(&[&["shop.test"]]);
    let both = serve(tls.clone(), |config| config.listen = Some("127.0.0.1:0".parse().unwrap()));
    check(&both.get("/a").await, 200, &["http://x.test/a false HTTP/1.1 None"]);
    let stream = connect(&both, folder.client(&[], None), "shop.test").await.unwrap();
    assert!(get(stream, "/a").await.unwrap().starts_with("https://shop.test/a true"));

    let sends = |tls| serve(tls, |config| config.listen = Some("127.0.0.1:0".parse().unwrap()));
    let server = sends(Tls { redirect: true, ..tls.clone() });
    let port = server.https().port();
    let there = format!("location: https://x.test:{port}/a?b=//c\r\n");
    check(&server.get("/a?b=//c").await, 308, &[&there]);
    // What has no safe address is refused before it is sent anywhere.
    check(&server.ask("GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await, 400, &[]);
    check(&server.ask("GET / HTTP/1.1\r\nhost: a@b\r\nconnection: close\r\n\r\n").await, 400, &[]);
    let server = sends(Tls { redirect: true, redirect_port: Some(443), ..tls });
    check(&server.get("/").await, 308, &["location: https://x.test/\r\n"]);
}

#[tokio::test]
async fn who_has_connected_when_the_server_ends_is_answered() {
    let folder = Folder::new();
    let mut server = serve(folder.tls(&[&["shop.test"]]), |_| {});
    let stream = TcpStream::connect(server.https()).await.unwrap();
    until("it is accepted", || server.metrics.host().http_connections.get() == 1).await;
    server.stop();
    while TcpStream::connect(server.https()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let connector = TlsConnector::from(Arc::new(folder.client(&["http/1.1"], None)));
    let stream = connector.connect(ServerName::try_from("shop.test").unwrap(), stream).await.unwrap();
    assert!(get(stream, "/").await.unwrap().starts_with("https://shop.test/ true"));
    server.ended().await;
}

#[tokio::test]
async fn draining_says_goodbye_over_tls() {
    let folder = Folder::new();
    let mut server = serve(folder.tls(&[&["shop.test"]]), |_| {});
    let mut idle = connect(&server, folder.client(&["http/1.1"], None), "shop.test").await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    server.stop();
    let mut rest = Vec::new();
    let _ = timeout(LONG, idle.read_to_end(&mut rest)).await.expect("the connection ends");
    server.ended().await;
}
