//! Image layouts: whole artifacts in and out, and folders and tars that were made to do harm.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use samara_artifact::{
    Descriptor, Digest, Error, ImageLayout, Repository, Version,
    repository::{read_blob, sha256},
    store::{Children, CopyOptions, copy},
};
use serde_json::{Value, json};
use tar::{EntryType, Header};
use tempfile::TempDir;

use crate::memory::{Manner, Memory};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn json_of(descriptor: &Descriptor) -> Value {
    serde_json::to_value(descriptor).unwrap()
}

/// A manifest of one layer, with what `more` adds.
fn manifest(config: &Descriptor, layer: &Descriptor, more: &Value) -> Bytes {
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": json_of(config), "layers": [json_of(layer)],
    });
    manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    manifest.to_string().into()
}

/// An index of two platforms under the tag `v1`, with a signature by referrer and one by tag.
struct Signed {
    memory: Memory,
    index: Digest,
    wasm: Digest,
    layer: Descriptor,
    referrer: Digest,
    signature_tag: String,
}

async fn signed() -> Signed {
    let memory = Memory::new(Manner::default());
    let config = memory.add("application/vnd.wasm.config.v0+json", "{}");
    let layer = memory.add("application/wasm", Bytes::from(vec![7; 300_000]));
    let other = memory.add("application/wasm", "another");
    let wasm = memory.push_manifest(None, MANIFEST, manifest(&config, &layer, &json!({}))).await.unwrap();
    let linux = memory.push_manifest(None, MANIFEST, manifest(&config, &other, &json!({}))).await.unwrap();
    let size = async |digest: &Digest| memory.manifest(digest).await.unwrap().len();
    let child = |digest: &Digest, size: usize, os: &str, architecture: &str| {
        json!({
            "mediaType": MANIFEST, "digest": digest.to_string(), "size": size,
            "platform": { "os": os, "architecture": architecture },
        })
    };
    let children =
        [child(&linux, size(&linux).await, "linux", "amd64"), child(&wasm, size(&wasm).await, "wasip2", "wasm")];
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children }).to_string();
    let index = memory.push_manifest(Some("v1"), INDEX, index.into()).await.unwrap();
    let subject = json_of(&memory.resolve(&Version::Digest(index.clone())).await.unwrap());
    let signature = memory.add("application/vnd.dev.sigstore.bundle.v0.3+json", "signature");
    let more = json!({ "subject": subject, "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json" });
    let referrer = memory.push_manifest(None, MANIFEST, manifest(&config, &signature, &more)).await.unwrap();
    let signature_tag = format!("sha256-{}.sig", index.digest());
    let old = manifest(&config, &memory.add("application/vnd.dev.cosign.simplesigning.v1+json", "old"), &json!({}));
    memory.push_manifest(Some(&signature_tag), MANIFEST, old).await.unwrap();
    Signed { memory, index, wasm, layer, referrer, signature_tag }
}

/// Everything of [`signed`] is there.
async fn assert_whole(signed: &Signed, copied: &dyn Repository, tag: &str) {
    let root = copied.resolve(&Version::Tag(tag.to_owned())).await.unwrap();
    assert_eq!((root.digest(), root.media_type().as_ref()), (&signed.index, INDEX));
    for digest in [&signed.index, &signed.wasm, &signed.referrer] {
        assert_eq!(copied.manifest(digest).await.unwrap(), signed.memory.manifest(digest).await.unwrap());
    }
    assert_eq!(read_blob(copied, &signed.layer, u64::MAX).await.unwrap(), vec![7; 300_000]);
    let referrers = copied.referrers(&signed.index).await.unwrap();
    assert_eq!(referrers.iter().map(Descriptor::digest).collect::<Vec<_>>(), [&signed.referrer]);
    copied.resolve(&Version::Tag(signed.signature_tag.clone())).await.unwrap();
}

fn v1() -> Version {
    Version::Tag("v1".to_owned())
}

#[tokio::test]
async fn a_whole_artifact_goes_through_a_folder_and_a_tar_and_back() {
    let directory = TempDir::new().unwrap();
    let signed = signed().await;
    for (name, archive) in [("folder", false), ("x.tar", true)] {
        let path = directory.path().join(name);
        let layout = ImageLayout::create(&path, archive).await.unwrap();
        let copied = copy(&signed.memory, &v1(), &layout, Some("1.0"), &CopyOptions::default()).await.unwrap();
        assert_eq!((&copied.digest, copied.manifests, copied.blobs), (&signed.index, 5, 5));
        assert_whole(&signed, &layout, "1.0").await;
        assert_eq!(archive, !path.exists(), "a tar has its name when it is whole");
        layout.finish().await.unwrap();
        let read = ImageLayout::open(&path, archive).await.unwrap();
        assert_whole(&signed, &read, "1.0").await;
        assert_eq!(read.only().await.unwrap(), Version::Tag("1.0".to_owned()));
        assert_eq!(read.list().await.unwrap().len(), 3, "children and the tag's signature are not listed twice");
        let back = Memory::new(Manner::default());
        copy(&read, &Version::Digest(signed.index.clone()), &back, Some("v2"), &CopyOptions::default()).await.unwrap();
        assert_whole(&signed, &back, "v2").await;
    }
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test]
async fn the_child_for_us_is_copied_alone_when_asked() {
    let directory = TempDir::new().unwrap();
    let signed = signed().await;
    let layout = ImageLayout::create(&directory.path().join("folder"), false).await.unwrap();
    let options = CopyOptions { children: Children::ForUs, ..CopyOptions::default() };
    let copied = copy(&signed.memory, &v1(), &layout, Some("v1"), &options).await.unwrap();
    assert_eq!((copied.manifests, copied.blobs), (4, 4));
    assert_whole(&signed, &layout, "v1").await;
}

#[tokio::test]
async fn two_tars_of_one_artifact_are_the_same_bytes() {
    let directory = TempDir::new().unwrap();
    let signed = signed().await;
    let mut tars = Vec::new();
    for name in ["a.tar", "b.tar"] {
        let path = directory.path().join(name);
        let layout = ImageLayout::create(&path, true).await.unwrap();
        copy(&signed.memory, &v1(), &layout, Some("v1"), &CopyOptions::default()).await.unwrap();
        layout.finish().await.unwrap();
        tars.push(fs::read(path).unwrap());
    }
    assert!(tars[0] == tars[1]);
}

#[tokio::test]
async fn a_tar_that_is_not_finished_leaves_what_was_there() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.tar");
    fs::write(&path, "precious").unwrap();
    let layout = ImageLayout::create(&path, true).await.unwrap();
    copy(&signed().await.memory, &v1(), &layout, Some("v1"), &CopyOptions::default()).await.unwrap();
    drop(layout);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_is_copied_is_checked_and_leaves_no_tag_when_it_is_wrong() {
    for (archive, name) in [(false, "folder"), (true, "x.tar")] {
        let directory = TempDir::new().unwrap();
        let mut signed = signed().await;
        let check = async |memory: &Memory, expected: &str| {
            let layout = ImageLayout::create(&directory.path().join(name), archive).await.unwrap();
            let error = copy(memory, &v1(), &layout, Some("v1"), &CopyOptions::default()).await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(matches!(layout.resolve(&v1()).await, Err(Error::NotFound(_))));
        };
        signed.memory.manner.flips = true;
        check(&signed.memory, "what `memory` sent as `sha256:").await;
        signed.memory.manner = Manner { surplus: 3, ..Manner::default() };
        check(&signed.memory, "what `memory` sent as `sha256:").await;
        signed.memory.manner = Manner { surplus: -1, ..Manner::default() };
        check(&signed.memory, "what `memory` sent as `sha256:").await;
        let layout = ImageLayout::create(&directory.path().join("small"), archive).await.unwrap();
        let options = CopyOptions { max_blob_bytes: 100, ..CopyOptions::default() };
        signed.memory.manner = Manner::default();
        let error = copy(&signed.memory, &v1(), &layout, None, &options).await.unwrap_err();
        assert!(matches!(error, Error::OverLimit(_)), "{error}");
    }
}

#[tokio::test]
async fn signatures_that_refer_to_each_other_end() {
    let signed = signed().await;
    // A tag that says that the artifact is its own signature.
    let bytes = signed.memory.manifest(&signed.index).await.unwrap();
    signed.memory.push_manifest(Some(&signed.signature_tag), INDEX, bytes).await.unwrap();
    let directory = TempDir::new().unwrap();
    let layout = ImageLayout::create(&directory.path().join("folder"), false).await.unwrap();
    copy(&signed.memory, &v1(), &layout, Some("v1"), &CopyOptions::default()).await.unwrap();
    assert_eq!(layout.resolve(&v1()).await.unwrap().digest(), &signed.index);
}

#[tokio::test]
async fn indexes_within_indexes_end() {
    let memory = Memory::new(Manner::default());
    let mut inner = memory.add(MANIFEST, manifest(&memory.add("x/y", "{}"), &memory.add("x/y", "x"), &json!({})));
    for _ in 0..6 {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [json_of(&inner)] });
        inner = memory.add(INDEX, index.to_string());
    }
    let directory = TempDir::new().unwrap();
    let layout = ImageLayout::create(&directory.path().join("folder"), false).await.unwrap();
    let root = Version::Digest(inner.digest().clone());
    let error = copy(&memory, &root, &layout, None, &CopyOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("more than 4 within each other"), "{error}");
}

#[tokio::test]
async fn a_tag_moves_and_a_digest_stays() {
    let directory = TempDir::new().unwrap();
    let layout = ImageLayout::create(&directory.path().join("folder"), false).await.unwrap();
    let memory = Memory::new(Manner::default());
    let config = memory.add("x/y", "{}");
    layout.push_blob(&config, "{}".into()).await.unwrap();
    let mut digests = Vec::new();
    for turn in 0..3 {
        let more = json!({ "annotations": { "turn": turn.to_string() } });
        digests.push(layout.push_manifest(Some("v1"), MANIFEST, manifest(&config, &config, &more)).await.unwrap());
    }
    assert_eq!(layout.resolve(&v1()).await.unwrap().digest(), &digests[2]);
    assert_eq!(layout.list().await.unwrap().len(), 1);
    assert!(layout.resolve(&Version::Digest(digests[0].clone())).await.is_ok());
    layout.push_manifest(Some("v2"), MANIFEST, manifest(&config, &config, &json!({}))).await.unwrap();
    let error = layout.only().await.unwrap_err().to_string();
    assert!(error.ends_with("has 2 tags, write one: `v1`, `v2`"), "{error}");
    let error = layout.resolve(&Version::Tag("v3".to_owned())).await.unwrap_err().to_string();
    assert!(error.ends_with("has no tag `v3`; it has `v1`, `v2`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_of_one_folder_lose_no_tag() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("folder");
    ImageLayout::create(&path, false).await.unwrap();
    let push = async |turn: usize| {
        let layout = ImageLayout::create(&path, false).await.unwrap();
        let config = Memory::default().add("x/y", "{}");
        let more = json!({ "annotations": { "turn": turn.to_string() } });
        layout.push_manifest(Some(&format!("v{turn}")), MANIFEST, manifest(&config, &config, &more)).await.unwrap();
    };
    futures::future::join_all((0..32).map(push)).await;
    assert_eq!(ImageLayout::open(&path, false).await.unwrap().list().await.unwrap().len(), 32);
}

/// A folder with these files, and a layout otherwise.
fn folder(at: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(at.join("blobs/sha256")).unwrap();
    fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(at.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    for (name, text) in files {
        fs::write(at.join(name), text).unwrap();
    }
}

/// Opening the folder, and asking for its index and for one blob.
async fn read_all(path: &Path, archive: bool) -> Result<(), Error> {
    let layout = ImageLayout::open(path, archive).await?;
    layout.list().await?;
    let blob = Descriptor::new("x/y".into(), 6, sha256(b"secret"));
    let read: Vec<Bytes> = layout.blob(&blob, 0).await?.chunks.try_collect().await?;
    layout.manifest(blob.digest()).await?;
    drop(read);
    Ok(())
}

#[tokio::test]
async fn a_hostile_folder_is_refused() {
    let check = async |files: &[(&str, &str)], change: &dyn Fn(&Path), expected: &str| {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("outside"), "secret").unwrap();
        let at = directory.path().join("layout");
        folder(&at, files);
        change(&at);
        let error = read_all(&at, false).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let nothing = |_: &Path| {};
    let blob = |at: &Path| at.join("blobs/sha256").join(sha256(b"secret").digest());
    check(&[], &nothing, "has no `sha256:").await;
    check(&[], &|at| symlink("../../../outside", blob(at)).unwrap(), "it is not a regular file").await;
    check(&[], &|at| fs::create_dir(blob(at)).unwrap(), "it is not a regular file").await;
    let fifo = |path: PathBuf| {
        let mode = rustix::fs::Mode::from_bits_retain(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    check(&[], &|at| fifo(blob(at)), "it is not a regular file").await;
    check(&[], &|at| fs::write(blob(at), "longer than it says").unwrap(), "is of 19 bytes, and its manifest says 6")
        .await;
    check(&[], &|at| fs::write(blob(at), "public").unwrap(), "is `sha256:").await;
    let replace = |at: &Path, name: &str| {
        fs::remove_file(at.join(name)).unwrap();
        symlink("../outside", at.join(name)).unwrap();
    };
    check(&[], &|at| replace(at, "index.json"), "it is not a regular file").await;
    check(&[], &|at| replace(at, "oci-layout"), "it is not a regular file").await;
    check(&[], &|at| fs::remove_file(at.join("oci-layout")).unwrap(), "is no image layout").await;
    check(&[], &|at| fs::remove_file(at.join("index.json")).unwrap(), "there is no").await;
    let elsewhere = |at: &Path| {
        fs::rename(at.join("blobs"), at.join("../elsewhere")).unwrap();
        symlink("../elsewhere", at.join("blobs")).unwrap();
    };
    check(&[], &elsewhere, "it is no directory, or a link to one").await;
    check(&[("oci-layout", "{}")], &nothing, "does not say of which version").await;
    check(&[("oci-layout", r#"{"imageLayoutVersion":"2"}"#)], &nothing, "is a layout of version `2`").await;
    check(&[("oci-layout", &" ".repeat(5000))], &nothing, "at most 4096 are read").await;
    check(&[("index.json", "[]")], &nothing, "index.json`").await;
    check(&[("index.json", &" ".repeat((4 << 20) + 1))], &nothing, "at most 4194304 are read").await;
    let both = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
    check(&[("index.json", both)], &nothing, "both `layers` and `manifests`").await;
    let colour = r#"{"schemaVersion":2,"mediaType":"\u001b[31mred","manifests":[]}"#;
    check(&[("index.json", colour)], &nothing, "`\\u{1b}[31mred`").await;
    let many = vec![json!({ "mediaType": MANIFEST, "size": 1, "digest": sha256(b"").to_string() }); 513];
    let many = json!({ "schemaVersion": 2, "manifests": many }).to_string();
    check(&[("index.json", &many)], &nothing, "at most 512 are read").await;
}

/// A layout that lists these manifests, one or more times each, and has them as blobs.
fn listing(at: &Path, manifests: &[Bytes], times: usize) {
    fs::create_dir_all(at.join("blobs/sha256")).unwrap();
    fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut listed = Vec::new();
    for bytes in manifests {
        let digest = sha256(bytes);
        fs::write(at.join("blobs/sha256").join(digest.digest()), bytes).unwrap();
        let one = json!({ "mediaType": MANIFEST, "size": bytes.len(), "digest": digest.to_string() });
        listed.extend(std::iter::repeat_n(one, times));
    }
    let index = json!({ "schemaVersion": 2, "manifests": listed }).to_string();
    fs::write(at.join("index.json"), index).unwrap();
}

/// One that refers to `subject`, and is as long as `padding` makes it.
fn referring(number: usize, subject: &[u8], padding: usize) -> Bytes {
    let nothing = Descriptor::new(MANIFEST.into(), 2, sha256(b"{}"));
    let subject = Descriptor::new(MANIFEST.into(), subject.len() as u64, sha256(subject));
    let note = "x".repeat(padding);
    manifest(&nothing, &nothing, &json!({ "subject": subject, "annotations": { "n": number.to_string(), "x": note } }))
}

#[tokio::test]
async fn what_a_layout_lists_is_read_once_and_has_a_bound() {
    let directory = TempDir::new().unwrap();
    let open = async |name: &str, manifests: &[Bytes], times: usize| {
        let at = directory.path().join(name);
        listing(&at, manifests, times);
        (ImageLayout::open(&at, false).await.unwrap(), at)
    };
    // Each once, however often it is listed: 400 times this one would be over the bound.
    let one = referring(0, b"subject", 1 << 20);
    let (layout, _) = open("same", std::slice::from_ref(&one), 400).await;
    assert_eq!(layout.referrers(&sha256(b"subject")).await.unwrap().len(), 1);
    // And once for all who ask: what is not there any more is not read again.
    let many: Vec<_> = (0..64).map(|n| referring(n, &[u8::try_from(n % 4).unwrap()], 0)).collect();
    let (layout, at) = open("many", &many, 8).await;
    assert_eq!(layout.referrers(&sha256(&[0])).await.unwrap().len(), 16);
    fs::remove_dir_all(at.join("blobs/sha256")).unwrap();
    for subject in 1..4 {
        assert_eq!(layout.referrers(&sha256(&[subject])).await.unwrap().len(), 16);
    }
    assert!(layout.only().await.unwrap_err().to_string().contains("has no tag"));
    // But another `index.json` is another layout.
    let (_, other) = open("other", &many[..1], 1).await;
    fs::copy(other.join("index.json"), at.join("index.json")).unwrap();
    assert!(layout.referrers(&sha256(&[0])).await.unwrap().is_empty());
    let large: Vec<_> = (0..65).map(|n| referring(n, b"subject", 1 << 20)).collect();
    let (layout, _) = open("large", &large, 1).await;
    let error = layout.referrers(&sha256(b"subject")).await.unwrap_err();
    assert!(matches!(&error, Error::OverLimit(why) if why.contains("more than the 67108864 bytes")), "{error}");
}

/// A tar of a layout with an entry more.
fn tar_with(path: &Path, add: impl FnOnce(&mut tar::Builder<fs::File>)) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, text) in
        [("./oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#), ("index.json", r#"{"schemaVersion":2,"manifests":[]}"#)]
    {
        append(&mut tar, name, EntryType::Regular, text.as_bytes());
    }
    add(&mut tar);
    tar.finish().unwrap();
}

/// An entry whose name nobody has looked at.
fn append(tar: &mut tar::Builder<fs::File>, name: &str, kind: EntryType, bytes: &[u8]) {
    let header = raw_header(name, kind, bytes.len() as u64);
    tar.append(&header, bytes).unwrap();
}

fn raw_header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    if kind == EntryType::Symlink || kind == EntryType::Link {
        header.set_link_name("../../outside").unwrap();
    }
    header.set_cksum();
    header
}

#[tokio::test]
async fn a_hostile_tar_is_refused() {
    let blob = format!("blobs/sha256/{}", sha256(b"secret").digest());
    let check = async |add: &dyn Fn(&mut tar::Builder<fs::File>), expected: &str| {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("x.tar");
        tar_with(&path, add);
        let error = read_all(&path, true).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something was written");
    };
    let entry = |name: &'static str, kind, bytes: &'static [u8]| {
        move |tar: &mut tar::Builder<fs::File>| append(tar, name, kind, bytes)
    };
    check(&|_| {}, "has no `sha256:").await;
    for name in ["/etc/x", "../x", "blobs/../../x", "blobs//x", "blobs/./x", "..\\x"] {
        check(&entry(name, EntryType::Regular, b"x"), "a path which leads out of the layout").await;
    }
    check(&entry("../\x1b[2J", EntryType::Regular, b"x"), "`../\\u{1b}[2J`").await;
    check(&entry("../", EntryType::Directory, b""), "a path which leads out of the layout").await;
    check(&entry("/", EntryType::Directory, b""), "a path which leads out of the layout").await;
    check(&|tar| append(tar, &blob, EntryType::Symlink, b""), "is a link, which is not followed").await;
    check(&|tar| append(tar, &blob, EntryType::Link, b""), "is a link, which is not followed").await;
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        check(&entry("blobs/x", kind, b""), "neither a file nor a folder").await;
    }
    check(&entry("x", EntryType::GNUSparse, b"x"), "sparse").await;
    check(&entry("x", EntryType::GNULongName, b"../../x\0"), "a name longer than any").await;
    check(&entry("x", EntryType::XHeader, b"13 path=../x\n"), "a description with `path`").await;
    check(&entry("x", EntryType::XHeader, b"12 size=123\n"), "a description with `size`").await;
    check(&entry("x", EntryType::XHeader, b"no record"), "a description with `?`").await;
    check(&entry("x", EntryType::XHeader, &[b' '; (1 << 20) + 1]), "of more bytes than are read").await;
    check(&entry("index.json", EntryType::Regular, b"{}"), "there twice").await;
    check(&entry("./index.json", EntryType::Regular, b"{}"), "there twice").await;
    let twice = |tar: &mut tar::Builder<fs::File>| {
        append(tar, &blob, EntryType::Regular, b"secret");
        append(tar, &blob, EntryType::Regular, b"public");
    };
    check(&twice, "there twice").await;
    check(&|tar| append(tar, &blob, EntryType::Regular, b"public"), "is `sha256:").await;
    check(&|tar| append(tar, &blob, EntryType::Regular, b"longer"), "is `sha256:").await;
    for size in [1 << 40, (1 << 63) - 1, u64::MAX] {
        let huge = |tar: &mut tar::Builder<fs::File>| {
            let header = raw_header("x", EntryType::Regular, size);
            tar.get_mut().write_all(header.as_bytes()).unwrap();
        };
        check(&huge, "x.tar").await;
    }
    let many = |tar: &mut tar::Builder<fs::File>| {
        (0..20_001).for_each(|turn| append(tar, &format!("{turn}"), EntryType::Regular, b""));
    };
    check(&many, "more than 20000 entries").await;
}

#[tokio::test]
async fn what_is_no_layout_says_what_it_may_be() {
    let directory = TempDir::new().unwrap();
    let check = async |name: &str, archive: bool, bytes: Option<&[u8]>, expected: &str| {
        let path = directory.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let error = ImageLayout::open(&path, archive).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("none", false, None, "there is no directory").await;
    check("none", true, None, "there is no file").await;
    check(".", true, None, "`oci:` names a folder").await;
    check(".", false, None, "is no image layout").await;
    check("x.gz", true, Some(&[0x1f; 600]), "if it is compressed, unpack it first").await;
    check("empty", true, Some(b""), "is no image layout").await;
    let error = ImageLayout::create(directory.path(), false).await.unwrap_err().to_string();
    assert!(error.contains("is neither empty nor an image layout"), "{error}");
    let docker = directory.path().join("docker.tar");
    let mut tar = tar::Builder::new(fs::File::create(&docker).unwrap());
    append(&mut tar, "manifest.json", EntryType::Regular, b"[]");
    tar.finish().unwrap();
    let error = ImageLayout::open(&docker, true).await.unwrap_err().to_string();
    assert!(error.contains("skopeo copy docker-archive:"), "{error}");
}
