//! Files that cannot be used, and files that change.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::Duration,
};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use samara_telemetry::Metrics;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{testing::Authority, *};

const LONG: Duration = Duration::from_secs(10);

/// Settings of a certificate and key in a folder.
fn settings(folder: &Path) -> Settings {
    Settings::new(folder.join("server.pem"), folder.join("server.key"))
}

fn refused(folder: &Path) -> String {
    format!("{:#}", Tls::load(settings(folder)).unwrap_err())
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_would_fix_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let authority = Authority::new("test");
    assert!(refused(path).contains("server.pem`: No such file"), "{}", refused(path));
    authority.server(&["a.test"]).write(path, "server");
    assert!(Tls::load(settings(path)).is_ok());

    authority.server(&["a.test"]).write(path, "other");
    fs::rename(path.join("other.key"), path.join("server.key")).unwrap();
    let message = refused(path);
    assert!(message.contains("server.pem` with the key") && message.contains("server.key"), "{message}");

    fs::copy(path.join("server.pem"), path.join("server.key")).unwrap();
    assert!(refused(path).contains("server.key` holds no private key; write PEM"), "{}", refused(path));
    authority.server(&["a.test"]).write(path, "server");
    fs::write(path.join("server.pem"), "nothing").unwrap();
    assert!(refused(path).contains("server.pem` holds no certificate; write PEM"), "{}", refused(path));
    fs::write(path.join("server.pem"), vec![b'x'; 2 << 20]).unwrap();
    assert!(refused(path).contains("too large for a PEM file"), "{}", refused(path));
    fs::remove_file(path.join("server.pem")).unwrap();
    fs::create_dir(path.join("server.pem")).unwrap();
    assert!(refused(path).contains("server.pem` is not a file"), "{}", refused(path));
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new("test").server(&["a.test"]).write(folder.path(), "server");
    for (mode, warned) in [(0o600, false), (0o440, false), (0o644, true), (0o660, true)] {
        fs::set_permissions(folder.path().join("server.key"), fs::Permissions::from_mode(mode)).unwrap();
        let warnings = Files::read(&settings(folder.path())).unwrap().warnings;
        assert_eq!(!warnings.is_empty(), warned, "{mode:o} {warnings:?}");
    }
}

/// What serves, told apart from another.
fn serving(tls: &Tls) -> Arc<ServerConfig> {
    Arc::clone(&tls.current.read())
}

#[tokio::test]
async fn changed_files_are_taken_and_bad_ones_are_not() {
    let root = tempfile::tempdir().unwrap();
    let authority = Authority::new("test");
    // As Kubernetes mounts a secret: files are links through `..data`, which is swapped.
    for version in ["1", "2", "3"] {
        fs::create_dir(root.path().join(version)).unwrap();
        authority.server(&["a.test"]).write(&root.path().join(version), "server");
    }
    let swap = |version: &str| {
        symlink(version, root.path().join("..next")).unwrap();
        fs::rename(root.path().join("..next"), root.path().join("..data")).unwrap();
    };
    swap("1");
    for file in ["server.pem", "server.key"] {
        symlink(Path::new("..data").join(file), root.path().join(file)).unwrap();
    }
    let tls = Arc::new(Tls::load(settings(root.path())).unwrap());
    let metrics = Metrics::new();
    let host = metrics.host().clone();
    let watching = tokio::spawn(Arc::clone(&tls).watch_every(Duration::from_millis(5), host.clone()));
    let until = async |what: &str, condition: &dyn Fn() -> bool| {
        let come = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LONG, come).await.unwrap_or_else(|_| panic!("{what}"));
    };

    let first = serving(&tls);
    swap("2");
    until("the link is followed", &|| host.tls_reloads.get() == 1).await;
    let second = serving(&tls);
    assert!(!Arc::ptr_eq(&first, &second) && host.tls_certificate_expiry.get() > 0);

    // Half a change is a certificate with another's key.
    fs::copy(root.path().join("3/server.pem"), root.path().join("2/server.pem")).unwrap();
    until("half a change is refused", &|| host.tls_reload_failures.get() == 1).await;
    assert!(Arc::ptr_eq(&second, &serving(&tls)));
    fs::remove_file(root.path().join("2/server.key")).unwrap();
    until("a missing file is refused", &|| host.tls_reload_failures.get() == 2).await;
    assert!(Arc::ptr_eq(&second, &serving(&tls)));
    fs::copy(root.path().join("3/server.key"), root.path().join("2/server.key")).unwrap();
    until("the other half is taken", &|| host.tls_reloads.get() == 2).await;
    assert!(!Arc::ptr_eq(&second, &serving(&tls)));
    // What stays the same is not tried again.
    assert_eq!(host.tls_reload_failures.get(), 2);
    watching.abort();
}

#[tokio::test]
async fn a_hammer_of_handshakes_does_not_notice_a_change() {
    let root = tempfile::tempdir().unwrap();
    let authority = Authority::new("test");
    let fresh = |name: &str| {
        fs::create_dir(root.path().join(name)).unwrap();
        authority.server(&["a.test"]).write(&root.path().join(name), "server");
    };
    let swap = |name: &str| {
        symlink(name, root.path().join("next")).unwrap();
        fs::rename(root.path().join("next"), root.path().join("now")).unwrap();
    };
    fresh("0");
    swap("0");
    let tls = Arc::new(Tls::load(settings(&root.path().join("now"))).unwrap());
    let metrics = Metrics::new();
    let host = metrics.host().clone();
    let watching = tokio::spawn(Arc::clone(&tls).watch_every(Duration::from_millis(1), host.clone()));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let client = client.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let connector = TlsConnector::from(Arc::new(client.with_no_client_auth()));
    let shake = async || {
        let (near, far) = tokio::io::duplex(64 << 10);
        let name = ServerName::try_from("a.test").unwrap();
        let (client, server) = tokio::join!(connector.connect(name, near), tls.acceptor().accept(far));
        client.and(server.map(drop)).unwrap_or_else(|error| panic!("a handshake failed: {error}"));
    };
    for name in ["1", "2", "3", "4"] {
        fresh(name);
        swap(name);
        let before = host.tls_reloads.get();
        let changed = async {
            while host.tls_reloads.get() == before {
                shake().await;
            }
        };
        timeout(LONG, changed).await.expect("the change is taken");
    }
    assert_eq!(host.tls_reload_failures.get(), 0);
    watching.abort();
}
