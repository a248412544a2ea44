//! Evidence and policies over a repository in memory, with keys that are made for each test.

mod cosign;
#[cfg(feature = "keyless")]
mod keyless;
mod keys;
mod module;
mod mutations;
mod policies;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use oci_spec::image::{Descriptor, DescriptorBuilder, Digest, MediaType};
use parking_lot::Mutex;
use samara_model::{TrustPolicy, manifest::ManifestErrors};

use super::{Asked, KeyPair, SignatureLayout, Trust, Verdict, sign};
use crate::{BlobStream, Error, Reference, Repository, Version, repository::sha256};

/// The smallest module.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A repository that keeps everything, and counts what is asked of it.
#[derive(Debug, Default)]
struct Memory {
    blobs: Mutex<HashMap<Digest, Bytes>>,
    manifests: Mutex<HashMap<Digest, (String, Bytes)>>,
    tags: Mutex<HashMap<String, Digest>>,
    /// What every request answers instead.
    broken: Option<Error>,
    /// How long each request takes.
    pause: Duration,
    requests: AtomicUsize,
}

impl Memory {
    async fn asked(&self) -> Result<(), Error> {
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn put_blob(&self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        self.blobs.lock().insert(digest.clone(), bytes);
        digest
    }

    fn put_manifest(&self, tag: Option<&str>, document: &serde_json::Value) -> (Digest, Bytes) {
        let bytes = Bytes::from(document.to_string());
        let media_type = document.get("mediaType").and_then(|kind| kind.as_str()).unwrap_or("application/json");
        let digest = sha256(&bytes);
        self.manifests.lock().insert(digest.clone(), (media_type.to_owned(), bytes.clone()));
        self.tags.lock().extend(tag.map(|tag| (tag.to_owned(), digest.clone())));
        (digest, bytes)
    }

    /// An artifact of one module; its manifest.
    fn put_artifact(&self, tag: &str, module: &[u8]) -> (Digest, Bytes) {
        let layer = self.put_blob(module.to_vec());
        let config = self.put_blob(b"{}".to_vec());
        self.put_manifest(
            Some(tag),
            &serde_json::json!({
                "schemaVersion": 2,
                "mediaType": MediaType::ImageManifest.as_ref(),
                "config": { "mediaType": "application/vnd.wasm.config.v0+json", "digest": config.to_string(), "size": 2 },
                "layers": [{ "mediaType": "application/wasm", "digest": layer.to_string(), "size": module.len() }],
            }),
        )
    }

    fn manifest_of(&self, tag: &str) -> serde_json::Value {
        let digest = self.tags.lock()[tag].clone();
        serde_json::from_slice(&self.manifests.lock()[&digest].1).unwrap()
    }
}

#[async_trait]
impl Repository for Memory {
    fn name(&self) -> String {
        "r.example/team/app".to_owned()
    }

    async fn resolve(&self, version: &Version) -> Result<Descriptor, Error> {
        self.asked().await?;
        let digest = match version {
            Version::Digest(digest) => Some(digest.clone()),
            Version::Tag(tag) => self.tags.lock().get(tag).cloned(),
        };
        let manifests = self.manifests.lock();
        let found = digest.and_then(|digest| manifests.get_key_value(&digest));
        let (digest, (media_type, bytes)) = found.ok_or_else(|| Error::NotFound(format!("no {version}")))?;
        let builder = DescriptorBuilder::default().media_type(media_type.as_str()).size(bytes.len() as u64);
        Ok(builder.digest(digest.clone()).build().unwrap())
    }

    async fn manifest(&self, digest: &Digest) -> Result<Bytes, Error> {
        self.asked().await?;
        let found = self.manifests.lock().get(digest).map(|(_, bytes)| bytes.clone());
        found.ok_or_else(|| Error::NotFound(format!("no `{digest}`")))
    }

    async fn blob(&self, descriptor: &Descriptor, _: u64) -> Result<BlobStream, Error> {
        self.asked().await?;
        let found = self.blobs.lock().get(descriptor.digest()).cloned();
        let bytes = found.ok_or_else(|| Error::NotFound(format!("no `{}`", descriptor.digest())))?;
        Ok(BlobStream::new(0, futures::stream::iter([Ok(bytes)]).boxed()))
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        self.asked().await?;
        let refers = |bytes: &Bytes| {
            let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            document["subject"]["digest"].as_str() == Some(subject.as_ref())
        };
        let manifests = self.manifests.lock();
        let found = manifests.iter().filter(|(_, (_, bytes))| refers(bytes)).map(|(digest, (media_type, bytes))| {
            let builder = DescriptorBuilder::default().media_type(media_type.as_str()).size(bytes.len() as u64);
            // As the registries that do not know artifact types say.
            builder.digest(digest.clone()).artifact_type("application/vnd.oci.empty.v1+json").build().unwrap()
        });
        Ok(found.collect())
    }

    async fn push_blob(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Error> {
        self.asked().await?;
        assert_eq!(*descriptor.digest(), self.put_blob(bytes));
        Ok(())
    }

    async fn push_manifest(&self, tag: Option<&str>, media_type: &str, bytes: Bytes) -> Result<Digest, Error> {
        self.asked().await?;
        let digest = sha256(&bytes);
        self.manifests.lock().insert(digest.clone(), (media_type.to_owned(), bytes));
        self.tags.lock().extend(tag.map(|tag| (tag.to_owned(), digest.clone())));
        Ok(digest)
    }
}

/// A folder with keys in files, and policies that name them.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A new pair, whose public half is `NAME.pub`.
    fn pair(&self, name: &str) -> KeyPair {
        let pair = KeyPair::generate().unwrap();
        self.write(&format!("{name}.pub"), &pair.public_pem());
        pair
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    /// What is inside `[trust]`.
    fn policy(&self, text: &str) -> TrustPolicy {
        let read: Result<_, ManifestErrors> = TrustPolicy::parse(&format!("[trust]\n{text}"), "t.toml".as_ref());
        let mut policy = read.unwrap_or_else(|errors| panic!("{errors}"));
        policy.resolve_paths(self.0.path());
        policy
    }

    fn trust(&self, text: &str) -> Trust {
        Trust::default().and("t.toml", &self.policy(text)).unwrap()
    }

    /// Words of a message without the folder's name.
    fn plain(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

async fn verify(trust: &Trust, repository: &Memory, documents: &[Bytes]) -> Result<Verdict, Error> {
    verify_as("oci://r.example/team/app:v1", trust, repository, documents).await
}

async fn verify_as(text: &str, trust: &Trust, repository: &Memory, documents: &[Bytes]) -> Result<Verdict, Error> {
    let reference = Reference::parse(text).unwrap();
    trust.verify(Asked { reference: &reference, documents, repository: Some(repository) }, MODULE).await
}

/// A verdict on the artifact's one manifest: empty if it is accepted, else the refusal.
async fn refusal(trust: &Trust, repository: &Memory, document: &Bytes) -> String {
    let verdict = verify(trust, repository, std::slice::from_ref(document)).await.unwrap();
    if verdict.accepted { String::new() } else { verdict.refusal() }
}

async fn sign_all(repository: &Memory, subject: &Digest, key: &KeyPair) {
    sign(repository, subject, key, SignatureLayout::ALL).await.unwrap();
}
