//! One suite for every provider, and what is promised of sources that change, break and overlap.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use samara_model::{Capability, ValueSource};
use tempfile::TempDir;

use super::{Config, ConfigError, Granted, Layers, PROVIDERS, check::check_config, env, open};
use crate::{Denial, Recorder, SOURCE_VALUES};

/// Each question is a look.
const AT_ONCE: Duration = Duration::ZERO;

/// A file of the greatest size.
const LARGEST: usize = 1 << 20;

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn source(scheme: &str, path: &Path) -> String {
    format!("{scheme}:{}", path.display())
}

async fn file(path: &Path) -> Result<Arc<dyn Config>, ConfigError> {
    open(&source("file", path), AT_ONCE).await
}

async fn get(config: &Arc<dyn Config>, key: &str) -> Option<String> {
    config.get(key).await.unwrap().map(|text| text.to_string())
}

#[test]
fn schemes_are_unique_words() {
    let schemes: BTreeSet<_> = PROVIDERS.iter().map(|provider| provider.scheme()).collect();
    assert_eq!(schemes.len(), PROVIDERS.len());
}

#[tokio::test]
async fn every_source_keeps_the_promises() {
    let all = ["a", "b.c", "empty", "ü"];
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("x.toml"), "a = 'one'\nempty = ''\n'ü' = 'grün'\n[b]\nc = 'two words'").unwrap();
    check_config(file(&at("x.toml")).await.unwrap(), &all).await;
    fs::write(at("x.json"), r#"{"a": "one", "b": {"c": "two words"}, "empty": "", "ü": "grün", "none": null}"#)
        .unwrap();
    check_config(file(&at("x.json")).await.unwrap(), &all).await;
    fs::write(at(".env"), "# comment\na=one\nexport b.c=\"two words\" # why\nempty=\n").unwrap();
    check_config(file(&at(".env")).await.unwrap(), &["a", "b.c", "empty"]).await;

    let values = at("values");
    fs::create_dir(&values).unwrap();
    for (name, text) in [("a", "one\n"), ("b.c", "two words"), ("empty", ""), ("ü", "grün\r\n")] {
        fs::write(values.join(name), text).unwrap();
    }
    check_config(open(&source("dir", &values), AT_ONCE).await.unwrap(), &all).await;

    let variables = [("X_a", "one"), ("X_b.c", "two words"), ("X_empty", ""), ("X_", "no key"), ("Y_a", "other")];
    let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
    let values = Layers::constant(env::read("X_", variables).unwrap());
    check_config(Arc::new(values), &["a", "b.c", "empty"]).await;

    let manifest: BTreeMap<_, _> = [("a", "one"), ("empty", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    check_config(Arc::new(Layers::open(&[], &manifest, AT_ONCE).await.unwrap()), &["a", "empty"]).await;
}

#[tokio::test]
async fn the_environment_is_told_by_prefix_and_never_whole() {
    let cargo = open("env:CARGO_PKG_", AT_ONCE).await.unwrap();
    assert_eq!(get(&cargo, "NAME").await.as_deref(), Some("samara-capability"));
    assert_eq!(get(&cargo, "PATH").await, None);
    let error = open("env:", AT_ONCE).await.unwrap_err().to_string();
    assert!(error.contains("write `env:CART_`"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let folder = scratch();
    let cases: [(&str, &[u8], &str); 12] = [
        ("x.yaml", b"a: b", "no known format; write a `.toml`, `.json` or `.env` file"),
        ("x.toml", b"a = 1\nb = ", "x.toml` is not read: line 2 is no TOML"),
        ("y.toml", b"a = [1]", "`a` is a list"),
        ("z.toml", b"\xff\xfe", "is not UTF-8"),
        ("x.json", b"[1]", "it is no object"),
        ("y.json", b"{\"a\":\n1,}", "line 2 is no JSON"),
        ("x.env", b"A=1\nnonsense", "line 2 is no `KEY=value`"),
        ("y.env", b"A='open", "line 1 is no `KEY=value`"),
        ("z.env", b"A=\"x\" y", "line 1 is no `KEY=value`"),
        ("w.env", b"A B=1", "line 1 is no `KEY=value`"),
        ("big.toml", &[b' '; LARGEST + 1], "big.toml`: the file is over its limit of `1MiB`"),
        ("many.env", "k=v\n".repeat(SOURCE_VALUES + 1).leak().as_bytes(), "more than 1000 values"),
    ];
    for (name, text, says) in cases {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let error = file(&path).await.unwrap_err().to_string();
        assert!(error.contains(says), "{name}: {error}");
    }
    let missing = file(&folder.path().join("none.toml")).await.unwrap_err().to_string();
    assert!(missing.contains("none.toml` cannot be read"), "{missing}");
    fs::create_dir(folder.path().join("dir.toml")).unwrap();
    let error = file(&folder.path().join("dir.toml")).await.unwrap_err().to_string();
    assert!(error.contains("is not a file"), "{error}");
    let error = open("http://x", AT_ONCE).await.unwrap_err().to_string();
    assert_eq!(error, "no source of configuration values for `http:`; known schemes: file, env, dir");
}

#[tokio::test]
async fn a_pipe_is_no_file_and_nobody_waits_at_it() {
    let folder = scratch();
    let pipe = folder.path().join("pipe.toml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let error = file(&pipe).await.unwrap_err().to_string();
    assert!(error.contains("is not a file"), "{error}");
}

#[tokio::test]
async fn a_changed_file_is_seen_and_a_broken_one_keeps_what_was_there() {
    let folder = scratch();
    let path = folder.path().join("x.toml");
    fs::write(&path, "a = 1").unwrap();
    let config = file(&path).await.unwrap();
    assert_eq!(get(&config, "a").await.as_deref(), Some("1"));
    // As long as before and, perhaps, within one tick of the file system's clock.
    fs::write(&path, "a = 2").unwrap();
    assert_eq!(get(&config, "a").await.as_deref(), Some("2"));
    let before = config.values().await.unwrap();
    fs::write(&path, "a = ").unwrap();
    assert_eq!(get(&config, "a").await.as_deref(), Some("2"));
    fs::remove_file(&path).unwrap();
    assert_eq!(get(&config, "a").await.as_deref(), Some("2"));
    fs::write(folder.path().join("new"), "b = true\n").unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    assert_eq!((get(&config, "a").await, get(&config, "b").await.as_deref()), (None, Some("true")));
    assert_eq!(&*before.get("a").unwrap().text, "2", "who holds an answer keeps it");
}

#[tokio::test]
async fn what_is_fresh_is_told_without_a_look() {
    let folder = scratch();
    let path = folder.path().join("x.toml");
    fs::write(&path, "a = 1").unwrap();
    let config = open(&source("file", &path), Duration::from_secs(3600)).await.unwrap();
    fs::write(&path, "a = 2").unwrap();
    assert_eq!(get(&config, "a").await.as_deref(), Some("1"));
}

/// Writes a version of a mounted config map as a kubelet does: a new folder, then the link is turned by a rename.
fn mount(folder: &Path, version: &str, values: &[(&str, &str)]) {
    let data = folder.join(format!("..{version}"));
    fs::create_dir(&data).unwrap();
    for (name, text) in values {
        fs::write(data.join(name), text).unwrap();
        let link = folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(format!("..data/{name}"), link).unwrap();
        }
    }
    symlink(format!("..{version}"), folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_as_a_whole() {
    let folder = scratch();
    mount(folder.path(), "2026_1", &[("a", "1"), ("b", "1")]);
    let config = open(&source("dir", folder.path()), AT_ONCE).await.unwrap();
    let told = async || {
        let values = config.values().await.unwrap();
        values.iter().map(|(key, value)| format!("{key}={}", value.text)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told().await, "a=1 b=1");
    mount(folder.path(), "2026_2", &[("a", "2"), ("c", "2")]);
    assert_eq!(told().await, "a=2 c=2");
    fs::remove_dir_all(folder.path().join("..2026_2")).unwrap();
    assert_eq!(told().await, "a=2 c=2", "a version that is gone stays until there is another");
}

#[tokio::test]
async fn versions_are_never_mixed_while_they_change() {
    let folder = scratch();
    mount(folder.path(), "0", &[("a", "0"), ("b", "0")]);
    let config = open(&source("dir", folder.path()), AT_ONCE).await.unwrap();
    let path = folder.path().to_owned();
    let writer = tokio::task::spawn_blocking(move || {
        for version in 1..200_u32 {
            let text = version.to_string();
            mount(&path, &text, &[("a", &text), ("b", &text)]);
            fs::remove_dir_all(path.join(format!("..{}", version - 1))).unwrap();
        }
    });
    while !writer.is_finished() {
        let values = config.values().await.unwrap();
        assert_eq!(values.get("a").unwrap().text, values.get("b").unwrap().text);
    }
    writer.await.unwrap();
    assert_eq!(get(&config, "a").await.as_deref(), Some("199"));
}

#[tokio::test]
async fn links_do_not_lead_out_of_a_folder_and_folders_are_bounded() {
    let outside = scratch();
    fs::write(outside.path().join("password"), "secret").unwrap();
    let folder = scratch();
    symlink(outside.path().join("password"), folder.path().join("a")).unwrap();
    let error = open(&source("dir", folder.path()), AT_ONCE).await.unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    fs::remove_file(folder.path().join("a")).unwrap();
    symlink(outside.path(), folder.path().join("..data")).unwrap();
    let error = open(&source("dir", folder.path()), AT_ONCE).await.unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");

    let many = scratch();
    for number in 0..=SOURCE_VALUES {
        fs::write(many.path().join(number.to_string()), "").unwrap();
    }
    let error = open(&source("dir", many.path()), AT_ONCE).await.unwrap_err().to_string();
    assert!(error.contains("more than 1000 values"), "{error}");

    let heavy = scratch();
    for number in 0..9 {
        fs::write(heavy.path().join(number.to_string()), vec![b'x'; LARGEST]).unwrap();
    }
    let error = open(&source("dir", heavy.path()), AT_ONCE).await.unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { what: "folder", .. }), "{error}");
}

#[tokio::test]
async fn later_sources_win_and_the_manifest_over_all() {
    let folder = scratch();
    let (one, two) = (folder.path().join("1.toml"), folder.path().join("2.toml"));
    fs::write(&one, "a = 1\nb = 1\nc = 1").unwrap();
    fs::write(&two, "b = 2\nc = 2").unwrap();
    let sources = [&one, &two].map(|path| ValueSource::File(path.clone()));
    let manifest = [("c".to_owned(), "3".to_owned())].into();
    let layers = Layers::open(&sources, &manifest, AT_ONCE).await.unwrap();
    let values = layers.values().await.unwrap();
    let told: Vec<_> = values.iter().map(|(key, value)| (&**key, &*value.text, &*value.origin)).collect();
    assert_eq!(told, [("a", "1", &*source("file", &one)), ("b", "2", &*source("file", &two)), ("c", "3", "manifest")]);
    // What one source loses, the one below has again.
    fs::write(&two, "").unwrap();
    assert_eq!(&*layers.get("b").await.unwrap().unwrap(), "1");
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Recorder for Told {
    fn used(&self, capability: Capability, name: &str, operation: &'static str) {
        self.0.lock().push(format!("{capability} {name} {operation}"));
    }

    fn denied(&self, denial: &Denial) {
        self.0.lock().push(format!("denied {} {}", denial.what, denial.grant));
    }
}

#[tokio::test]
async fn a_workload_sees_its_values_and_without_a_grant_nothing() {
    let recorder = Arc::new(Told::default());
    let manifest = [("colour".to_owned(), "red".to_owned())].into();
    let layers = Layers::open(&[], &manifest, AT_ONCE).await.unwrap();
    let granted = Granted::new(Some(Arc::new(layers)), recorder.clone());
    assert_eq!(granted.get("colour").await.unwrap().as_deref(), Some("red"));
    assert_eq!(granted.get("flavour").await, Ok(None));
    assert_eq!(granted.values().await.unwrap().len(), 1);
    let refused = Granted::new(None, recorder.clone());
    for key in ["colour", "flavour"] {
        let error = refused.get(key).await.unwrap_err();
        assert!(error.to_string().contains("config = { KEY"), "{error}");
        assert_eq!(error.into_fault().label(), "denied");
    }
    let told = recorder.0.lock().clone();
    let denied = "denied configuration values config = { KEY = \"value\" }";
    assert_eq!(told, ["config colour get", "config * get-all", denied, denied]);
}

#[tokio::test]
async fn lines_of_an_env_file_are_read_as_shells_do_and_nothing_is_put_in() {
    let folder = scratch();
    let path = folder.path().join("x.env");
    let text = "A = spaced \nB='single $HOME \\n'\nC=\"two\\nlines \\\"q\\\"\" # why\nD=x#y\nE=x # y\nF=$HOME\nG=a=b\r\nA=last\n";
    fs::write(&path, text).unwrap();
    let config = file(&path).await.unwrap();
    for (key, value) in [
        ("A", "last"),
        ("B", "single $HOME \\n"),
        ("C", "two\nlines \"q\""),
        ("D", "x#y"),
        ("E", "x"),
        ("F", "$HOME"),
        ("G", "a=b"),
    ] {
        assert_eq!(get(&config, key).await.as_deref(), Some(value), "{key}");
    }
}
