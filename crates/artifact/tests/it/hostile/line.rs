//! Attacks in what is carried: indexes and layers that are what their digests say, and still no good. They go the whole line,
//! into a store and through whatever unpacks them, and leave nothing beside the store.

use std::{collections::HashMap, io::Write as _};

use flate2::{Compression, write::GzEncoder};
use samara_artifact::repository::sha256;

use super::{
    Ask, BLOB, INDEX_TYPE, MANIFEST_TYPE, Row, row,
    server::{Asked, Reply},
};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const WASM: &str = "application/wasm";

fn entry(media_type: &str, bytes: &[u8]) -> String {
    entry_of(media_type, bytes, bytes.len() as u64)
}

fn entry_of(media_type: &str, bytes: &[u8], size: u64) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{size}}}"#, sha256(bytes))
}

/// A registry with these documents and blobs, the first under every tag.
fn serves(documents: Vec<(&'static str, String)>, blobs: Vec<Vec<u8>>) -> impl Fn(&Asked) -> Reply + Send + Sync {
    let (first_type, first) = documents.first().unwrap().clone();
    let mut stored = HashMap::new();
    stored.insert("v1".to_owned(), (first_type, first.into_bytes()));
    for (media_type, document) in documents {
        stored.insert(sha256(document.as_bytes()).to_string(), (media_type, document.into_bytes()));
    }
    stored.extend(blobs.into_iter().map(|blob| (sha256(&blob).to_string(), ("application/octet-stream", blob))));
    move |asked| match stored.get(asked.target.rsplit('/').next().unwrap()) {
        None => Reply::new(404, ""),
        Some((media_type, bytes)) => Reply::new(200, bytes.clone())
            .with("Content-Type", *media_type)
            .with("Docker-Content-Digest", sha256(bytes).to_string()),
    }
}

/// A registry with one image of these layers.
fn image(config: &str, layers: Vec<(&str, Vec<u8>)>) -> impl Fn(&Asked) -> Reply + Send + Sync + use<> {
    let config = config.as_bytes().to_vec();
    let entries: Vec<_> = layers.iter().map(|(media_type, bytes)| entry(media_type, bytes)).collect();
    let manifest = manifest(&entry(CONFIG, &config), &entries.join(","));
    let blobs = layers.into_iter().map(|(_, bytes)| bytes).chain([config]).collect();
    serves(vec![(MANIFEST_TYPE, manifest)], blobs)
}

fn manifest(config: &str, layers: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{config},"layers":[{layers}]}}"#)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar of one module of zero bytes, as many, packed.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&head(tar::EntryType::Regular, "plugin.wasm", "", (mebibytes as u64) << 20)).unwrap();
    for _ in 0..mebibytes {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap()
}

/// The head of an entry of a tar, however impossible.
fn head(kind: tar::EntryType, name: &str, link: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    let fields = header.as_gnu_mut().unwrap();
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn tar_of(entries: &[(tar::EntryType, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, link) in entries {
        let size = if kind.is_file() { BLOB.len() } else { 0 };
        bytes.extend(head(*kind, name, link, size as u64));
        bytes.extend_from_slice(&BLOB[..size]);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    gzip(&bytes)
}

/// An index in an index, as often, around a manifest.
fn nested(times: usize) -> impl Fn(&Asked) -> Reply + Send + Sync {
    let inner = manifest(&entry(CONFIG, b"{}"), &entry(WASM, BLOB));
    let mut documents = vec![(MANIFEST_TYPE, inner)];
    for _ in 0..times {
        let (media_type, inner) = documents.last().unwrap();
        let inside = entry(media_type, inner.as_bytes());
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX_TYPE}","manifests":[{inside}]}}"#);
        documents.push((INDEX_TYPE, index));
    }
    documents.reverse();
    serves(documents, vec![BLOB.to_vec(), b"{}".to_vec()])
}

/// An index that lists what is under its own tag, by a digest that cannot be its own.
fn circle() -> impl Fn(&Asked) -> Reply + Send + Sync {
    let inside = entry(INDEX_TYPE, b"the index itself");
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX_TYPE}","manifests":[{inside}]}}"#);
    move |asked| {
        let digest = asked.target.rsplit('/').next().filter(|word| word.contains(':')).map(str::to_owned);
        Reply::new(200, index.clone())
            .with("Content-Type", INDEX_TYPE)
            .with("Docker-Content-Digest", digest.unwrap_or_else(|| sha256(index.as_bytes()).to_string()))
    }
}

pub(super) fn rows() -> Vec<Row> {
    use tar::EntryType;
    let file = EntryType::Regular;
    let layer = |bytes: Vec<u8>| image("{}", vec![(LAYER, bytes)]);
    let wasm = |size: u64| {
        let manifest = manifest(&entry(CONFIG, b"{}"), &entry_of(WASM, BLOB, size));
        serves(vec![(MANIFEST_TYPE, manifest)], vec![BLOB.to_vec(), b"{}".to_vec()])
    };
    vec![
        row("indexes in indexes", Ask::Fetch, "in more than 4 indexes", nested(8)),
        row("an index that lists itself", Ask::Fetch, "is `sha256:", circle()),
        row("a layer of a tebibyte", Ask::Fetch, "at most", wasm(1 << 40)),
        row("a layer that is one byte longer", Ask::Fetch, "is announced as 8 bytes", wasm(9)),
        row("a layer that is one byte shorter", Ask::Fetch, "is announced as 8 bytes", wasm(7)),
        row("a layer that unpacks to a thousand times", Ask::Fetch, "more than 100 times its size", layer(bomb(200))),
        row("an entry of eight gibibytes", Ask::Fetch, "is not read", {
            layer(gzip(&head(file, "plugin.wasm", "", (1 << 33) - 1)))
        }),
        row("an entry that leaves the archive", Ask::Fetch, "leaves the archive", {
            layer(tar_of(&[(file, "../../outside.wasm", "")]))
        }),
        row("a link to a file of the machine", Ask::Fetch, "links are not followed", {
            layer(tar_of(&[(EntryType::Symlink, "plugin.wasm", "/etc/passwd")]))
        }),
        row("a hard link out of the archive", Ask::Fetch, "links are not followed", {
            layer(tar_of(&[(EntryType::Link, "plugin.wasm", "../../../etc/passwd")]))
        }),
        row("a device", Ask::Fetch, "which is never read", layer(tar_of(&[(EntryType::Char, "plugin.wasm", "")]))),
        row("a folder that is a link, and a file in it", Ask::Fetch, "leaves", {
            layer(tar_of(&[(EntryType::Symlink, "a", "/tmp"), (file, "a/../../outside.wasm", "")]))
        }),
        row("a name with a terminal's command", Ask::Fetch, "control characters", {
            layer(tar_of(&[(file, "\u{1b}[2J.wasm", "")]))
        }),
        row("a layer that is no archive", Ask::Fetch, "is no archive", layer(b"no archive at all".to_vec())),
        row("a layer that is cut off", Ask::Fetch, "is not read", {
            let whole = tar_of(&[(file, "plugin.wasm", "")]);
            layer(whole[..whole.len() / 2].to_vec())
        }),
        row("a configuration that is none", Ask::Fetch, "configuration", {
            image("[", vec![(LAYER, tar_of(&[(file, "plugin.wasm", "")]))])
        }),
        row("no layer", Ask::Fetch, "no", image("{}", vec![])),
    ]
}
