//! HTTPS as an operator sets it up: certificates by name, clients with certificates, and a change of both while it serves.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
};
use tempfile::TempDir;

use crate::{
    samara,
    serving::{Apps, Response, Serving, eventually, receive, serve_tls},
};

/// An authority, and a folder with what it signed.
struct Signed {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Signed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("authority.pem"), root.pem()).unwrap();
        Self { folder, root: root.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes `NAME.pem` and `NAME.key` for a host.
    fn host(&self, name: &str, host: &str) {
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        // As careful tools do: the whole file appears at once.
        let write = |file: PathBuf, text: String| {
            fs::write(file.with_extension("new"), text).unwrap();
            fs::rename(file.with_extension("new"), file).unwrap();
        };
        write(self.path(&format!("{name}.pem")), signed.pem());
        write(self.path(&format!("{name}.key")), key.serialize_pem());
    }

    /// `GET /path` of a host by its name, as somebody or as nobody.
    fn get(&self, serving: &Serving, path: &str, host: &str, who: Option<&str>) -> Result<Response, String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let config = match who {
            None => builder.with_no_client_auth(),
            Some(who) => {
                let mut params = CertificateParams::default();
                params.distinguished_name.push(DnType::CommonName, who);
                let key = KeyPair::generate().unwrap();
                let signed = params.signed_by(&key, &self.issuer).unwrap();
                let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
                builder.with_client_auth_cert(vec![signed.der().clone()], key).unwrap()
            }
        };
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(session, TcpStream::connect(serving.http).unwrap());
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nssl_client_s_dn: CN=eve\r\nsamara-client-subject: CN=eve\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).map_err(|error| error.to_string())?;
        receive(stream, false).map_err(|error| error.to_string())
    }
}

/// A host file beside the certificates.
fn host_file(signed: &Signed, text: &str) -> String {
    let file = signed.path("host.toml");
    fs::write(&file, format!("tenant.default = {{}}\n{text}")).unwrap();
    format!("--host {}", file.display())
}

#[test]
fn a_certificate_on_the_command_line_is_enough_for_https() {
    let signed = Signed::new();
    signed.host("server", "shop.test");
    let (cert, key) = (signed.path("server.pem"), signed.path("server.key"));
    let serving = serve_tls(&format!("--tls-cert {} --tls-key {} {{cgi-hello}}", cert.display(), key.display()));
    assert!(serving.announced[0].contains(" https://127.0.0.1:"), "{:?}", serving.announced);
    let response = signed.get(&serving, "/env", "shop.test", None).unwrap();
    let has = |line: &str| response.body.lines().any(|written| written == line);
    assert!(has("HTTPS=on") && has("SSL_CLIENT_VERIFY=NONE") && !has("SSL_CLIENT_S_DN=CN=eve"), "{response:?}");
    assert!(has("X_FULL_URL=https://shop.test/env"), "{response:?}");
    // Plain HTTP is not served unless it is asked for.
    assert!(serving.request_fails());
    serving.logs(&["server.key` has mode", "chmod 600"]);
}

#[test]
fn certificates_go_by_name_and_are_followed_when_they_change() {
    let signed = Signed::new();
    signed.host("first", "first.test");
    signed.host("second", "*.second.test");
    let options = host_file(
        &signed,
        "[tls]\ncertificate = \"first.pem\"\nkey = \"first.key\"\n[[tls.also]]\ncertificate = \"second.pem\"\nkey = \"second.key\"",
    );
    let serving = serve_tls(&format!("{options} {{http-hello}}"));
    let answers = |host: &str| signed.get(&serving, "/", host, None).is_ok_and(|response| response.status == 200);
    assert!(answers("first.test") && answers("www.second.test") && !answers("third.test"));
    // A bad change: the old ones go on.
    fs::write(signed.path("second.pem"), "rubbish").unwrap();
    serving.logs(&["the certificates changed and are refused", "second.pem` holds no certificate"]);
    assert!(answers("first.test") && answers("www.second.test"));
    assert!(serving.metric("samara_tls_reload_failures_total") >= 1.0);
    signed.host("second", "third.test");
    assert!(eventually(|| answers("third.test")), "{}", serving.log());
    assert!(answers("first.test") && !answers("www.second.test"));
    assert!(serving.metric("samara_tls_reloads_total") >= 1.0);
    assert!(serving.metric("samara_tls_certificate_expiry_seconds") > 0.0);
}

#[test]
fn who_must_show_a_certificate_is_told_to_the_guest() {
    let signed = Signed::new();
    signed.host("server", "shop.test");
    let options = host_file(
        &signed,
        "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\nclient_ca = \"authority.pem\"\n",
    );
    let apps = Apps::new(&[(
        "samara.toml",
        "app.name = \"a\"\nworkload.cgi.source = \"{cgi-hello}\"\nworkload.echo.source = \"{http-echo}\"\n\
         [[trigger]]\nhttp.path = \"/cgi/*rest\"\nfn = \"cgi\"\n[[trigger]]\nhttp.path = \"/headers\"\nfn = \"echo\"\n",
    )]);
    let serving = serve_tls(&format!("{options} {}", apps.path("samara.toml").display()));
    assert!(signed.get(&serving, "/headers", "shop.test", None).is_err());
    let stranger = Signed::new();
    assert!(
        Signed { root: signed.root.clone(), ..stranger }.get(&serving, "/headers", "shop.test", Some("eve")).is_err()
    );
    let script = signed.get(&serving, "/cgi/env", "shop.test", Some("ada")).unwrap().body;
    for line in ["SSL_CLIENT_VERIFY=SUCCESS", "SSL_CLIENT_S_DN=CN=ada", "SSL_CLIENT_I_DN=CN=authority"] {
        assert!(script.lines().any(|written| written == line), "no {line} in {script}");
    }
    let component = signed.get(&serving, "/headers", "shop.test", Some("ada")).unwrap().body;
    assert!(
        component.contains("samara-client-subject: CN=ada") && !component.contains("subject: CN=eve"),
        "{component}"
    );
}

#[test]
fn https_that_cannot_be_served_is_refused_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |line: &str, message: &str| {
        samara(&format!("serve --admin 127.0.0.1:0 {line} {{http-hello}}")).within(folder.path()).fails(2, message);
    };
    refused(
        "--listen-tls 127.0.0.1:0",
        "`--listen-tls` has no certificate to serve; add `--tls-cert FILE --tls-key FILE`",
    );
    refused("--tls-cert a.pem --tls-key b.pem", "reading `a.pem`: No such file or directory");
    let write = |file: &str, text: &str| fs::write(Path::new(folder.path()).join(file), text).unwrap();
    write("a.pem", "rubbish");
    write("b.pem", "rubbish");
    refused(
        "--tls-cert a.pem --tls-key b.pem",
        "`a.pem` holds no certificate; write PEM with `-----BEGIN CERTIFICATE-----`",
    );
    write("host.toml", "tls.certificate = \"a.pem\"");
    refused("--host host.toml", "host.toml:1:1: [tls] has no `key`; write `key = \"tls/key.pem\"`");
}
