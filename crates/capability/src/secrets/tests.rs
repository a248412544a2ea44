//! One suite for every provider, and what is promised of secrets that rotate, break or are asked for by the wrong one.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::symlink},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use samara_model::{Capability, SecretsGrant, ValueSource};
use tempfile::TempDir;

use super::{Granted, PROVIDERS, Secret, SecretError, Secrets, Sources, check::check_secrets, env, open_one, setting};
use crate::{Denial, FILE_BYTES, Recorder};

/// Each question is a look.
const AT_ONCE: Duration = Duration::ZERO;

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn one(source: ValueSource) -> Result<Arc<dyn Secrets>, SecretError> {
    open_one("KEY", &source, AT_ONCE).await
}

async fn all(sources: &[ValueSource]) -> Result<Sources, SecretError> {
    Sources::open(&SecretsGrant { sources: sources.to_vec(), ..SecretsGrant::default() }, AT_ONCE).await
}

async fn text(secrets: &dyn Secrets, name: &str) -> Option<String> {
    secrets.get(name).await.unwrap().map(|secret| secret.expose_text().unwrap().to_owned())
}

#[test]
fn schemes_are_unique_words() {
    let schemes: BTreeSet<_> = PROVIDERS.iter().map(|provider| provider.scheme()).collect();
    assert_eq!(schemes.len(), PROVIDERS.len());
}

#[tokio::test]
async fn every_source_keeps_the_promises() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("KEY"), "hunter2\n").unwrap();
    check_secrets(one(ValueSource::File(at("KEY"))).await.unwrap()).await;
    check_secrets(one(ValueSource::Directory(folder.path().into())).await.unwrap()).await;
    check_secrets(Arc::new(all(&[ValueSource::Directory(folder.path().into())]).await.unwrap())).await;

    let lines = scratch();
    fs::write(lines.path().join(".env"), "# mine\nKEY=\"hunter2\"\n").unwrap();
    check_secrets(Arc::new(all(&[ValueSource::File(lines.path().join(".env"))]).await.unwrap())).await;

    let variables = [("X_KEY", "hunter2"), ("Y_KEY", "other"), ("X_", "")];
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    check_secrets(Arc::new(env::read("X_", variables.into_iter()))).await;
    let cargo = one(ValueSource::Environment("CARGO_PKG_NAME".into())).await.unwrap();
    assert_eq!(text(&*cargo, "KEY").await.as_deref(), Some("samara-capability"));
}

#[tokio::test]
async fn what_cannot_be_opened_names_the_place_and_nothing_in_it() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("x.toml"), "KEY = 'hunter2'").unwrap();
    fs::write(at("x.env"), "hunter2").unwrap();
    fs::write(at("large"), vec![b'x'; 1 + (1 << 20)]).unwrap();
    for (refused, says) in [
        (one(ValueSource::File(at("none"))).await.map(drop), "none` cannot be read"),
        (one(ValueSource::File(folder.path().into())).await.map(drop), "is not a file"),
        (one(ValueSource::File(at("large"))).await.map(drop), "the file is over its limit of `1MiB`"),
        (one(ValueSource::Directory(at("none"))).await.map(drop), "none` cannot be read"),
        (
            one(ValueSource::Environment("SAMARA_UNSET".into())).await.map(drop),
            "`SAMARA_UNSET` of secret `KEY` is not set",
        ),
        (all(&[ValueSource::File(at("x.toml"))]).await.map(drop), "write a `.env` file, or a folder"),
        (all(&[ValueSource::File(at("x.env"))]).await.map(drop), "line 1 is no `KEY=value`"),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
    }
    fs::remove_file(at("large")).unwrap();
    let error = one(ValueSource::Directory(folder.path().into())).await.unwrap_err().to_string();
    assert!(error.contains("has no file `KEY`"), "{error}");
    assert_eq!(FILE_BYTES, 1 << 20);
}

#[tokio::test]
async fn a_rotated_secret_is_given_and_a_lost_one_stays() {
    let folder = scratch();
    let path = folder.path().join("KEY");
    fs::write(&path, "one").unwrap();
    for source in [ValueSource::File(path.clone()), ValueSource::Directory(folder.path().into())] {
        fs::write(&path, "one").unwrap();
        let secrets = one(source).await.unwrap();
        let before = secrets.get("KEY").await.unwrap().unwrap();
        fs::write(&path, "two").unwrap();
        assert_eq!(text(&*secrets, "KEY").await.as_deref(), Some("two"));
        assert_eq!(before.expose(), b"one", "who holds a secret keeps it");
        fs::remove_file(&path).unwrap();
        assert_eq!(text(&*secrets, "KEY").await.as_deref(), Some("two"));
    }
}

#[tokio::test]
async fn a_key_in_binary_is_taken_as_it_is() {
    let folder = scratch();
    for (bytes, taken) in [
        (&b"\xff\n"[..], &b"\xff\n"[..]),
        (b"text\r\n", b"text"),
        (b"text\n\n", b"text\n"),
        (b"\n", b""),
        (b"", b""),
        (b"a\0b", b"a\0b"),
    ] {
        fs::write(folder.path().join("KEY"), bytes).unwrap();
        let secrets = one(ValueSource::File(folder.path().join("KEY"))).await.unwrap();
        assert_eq!(secrets.get("KEY").await.unwrap().unwrap().expose(), taken);
    }
    let variable = (OsString::from("X_KEY"), OsString::from_vec(vec![0xff]));
    let secret = env::read("X_", [variable].into_iter()).get("KEY").await.unwrap().unwrap();
    assert_eq!((secret.expose(), secret.expose_text()), (&[0xff][..], None));
}

#[tokio::test]
async fn single_secrets_are_over_sources_and_later_sources_over_earlier() {
    let (first, second) = (scratch(), scratch());
    for (folder, name, value) in
        [(&first, "A", "1"), (&first, "B", "1"), (&first, "C", "1"), (&second, "B", "2"), (&second, "C", "2")]
    {
        fs::write(folder.path().join(name), value).unwrap();
    }
    let grant = SecretsGrant {
        values: [("C".to_owned(), ValueSource::File(first.path().join("A")))].into(),
        sources: [&first, &second].map(|folder| ValueSource::Directory(folder.path().into())).into(),
    };
    let secrets = Sources::open(&grant, AT_ONCE).await.unwrap();
    assert_eq!(secrets.names().await.unwrap(), ["A", "B", "C"]);
    for (name, value) in [("A", "1"), ("B", "2"), ("C", "1")] {
        assert_eq!(text(&secrets, name).await.as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_mounted_secret_is_followed() {
    let folder = scratch();
    for (version, value) in [("..1", "one"), ("..2", "two")] {
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(folder.path().join(version).join("KEY"), value).unwrap();
    }
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/KEY", folder.path().join("KEY")).unwrap();
    let secrets = one(ValueSource::Directory(folder.path().into())).await.unwrap();
    assert_eq!(text(&*secrets, "KEY").await.as_deref(), Some("one"));
    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    assert_eq!(text(&*secrets, "KEY").await.as_deref(), Some("two"));
}

#[tokio::test]
async fn a_stores_credentials_are_named_and_never_written() {
    let folder = scratch();
    fs::write(folder.path().join("password"), "hunter2\n").unwrap();
    let read = async |text: &str| setting(&text.parse().unwrap(), "password").await;
    let file = format!("password = 'file:{}'", folder.path().join("password").display());
    let dir = format!("password = 'dir:{}'", folder.path().display());
    for named in [file, dir] {
        assert_eq!(read(&named).await.unwrap().unwrap().expose(), b"hunter2");
    }
    assert!(read("user = 'me'").await.unwrap().is_none());
    for wrong in [
        "password = 'hunter2'",
        "password = 'redis:hunter2'",
        "password = ['hunter2']",
        "password = 'file:/hunter2/none'",
    ] {
        let error = read(wrong).await.unwrap_err();
        let said = error.to_string();
        assert!(
            matches!(error, SecretError::Backend(_)) || said.contains("write `env:NAME`") && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[test]
fn a_secret_is_taken_out_of_the_texts_of_others() {
    let secret = Secret::new("hunter2");
    assert_eq!(secret.hide_in("auth failed for me:hunter2 (hunter2)"), "auth failed for me:*** (***)");
    assert_eq!(Secret::new("").hide_in("text"), "text");
    assert_eq!(Secret::new([0xff]).hide_in("text"), "text");
    assert!(secret.is(&secret.clone()) && !secret.is(&Secret::new("hunter2")));
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Recorder for Told {
    fn used(&self, capability: Capability, name: &str, operation: &'static str) {
        self.0.lock().push(format!("{capability} {name} {operation}"));
    }

    fn denied(&self, denial: &Denial) {
        self.0.lock().push(format!("denied {}", denial.what));
    }
}

#[tokio::test]
async fn a_workload_has_the_secrets_of_its_grant_and_is_refused_all_others() {
    let folder = scratch();
    fs::write(folder.path().join("KEY"), "hunter2").unwrap();
    let recorder = Arc::new(Told::default());
    let source = one(ValueSource::Directory(folder.path().into())).await.unwrap();
    let granted = Granted::new(Some(source), recorder.clone());
    assert_eq!(text(&granted, "KEY").await.as_deref(), Some("hunter2"));
    assert_eq!(granted.names().await.unwrap(), ["KEY"]);
    let none = Granted::new(None, recorder.clone());
    for refused in [granted.get("OTHER").await.map(drop), none.get("KEY").await.map(drop), none.names().await.map(drop)]
    {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("secrets = { KEY = \"env:NAME\" }"), "{error}");
        assert_eq!(error.into_fault().label(), "denied");
    }
    let denied = "denied a secret";
    assert_eq!(*recorder.0.lock(), ["secrets KEY get", "secrets * list", denied, denied, denied]);
    assert!(!format!("{granted:?}").contains("hunter2"));
}
