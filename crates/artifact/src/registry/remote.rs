//! One repository of a registry: manifests and blobs, from its mirrors first, and what is pushed to itself alone.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use oci_spec::image::{Descriptor, Digest, MediaType};

use super::{
    auth::Access,
    download::{Download, Length},
    endpoint::Endpoint,
    exchange::{Exchange, Wanted},
    explain::clean,
    transport::{Answer, Request},
};
use crate::{
    BlobStream, Error, Mirror, Repository, Version,
    bounds::MAX_MANIFEST_BYTES,
    document::{self, DOCKER_LIST, DOCKER_MANIFEST, Document},
    repository::sha256,
};

/// What a manifest may be, as it is asked for.
const ACCEPT: HeaderValue = HeaderValue::from_static(
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json",
);
/// Whose digest the registry says it is.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A repository and where it is.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) exchange: Arc<Exchange>,
    /// As messages call it.
    pub(super) name: String,
    pub(super) mirrors: Vec<Endpoint>,
    pub(super) own: Endpoint,
}

impl Remote {
    /// Asks the mirrors, then the registry, until one has an answer; if none has, the registry's error counts.
    pub(super) async fn first_of<'a, T, F>(&'a self, ask: impl Fn(&'a Endpoint) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        for mirror in &self.mirrors {
            match ask(mirror).await {
                Ok(answer) => return Ok(answer),
                Err(error) => tracing::debug!(mirror = mirror.host(), %error, "the mirror was of no use"),
            }
        }
        ask(&self.own).await
    }

    /// Asks one endpoint, to read.
    pub(super) async fn read(
        &self,
        at: &Endpoint,
        request: &Request,
        good: &[StatusCode],
        what: &str,
    ) -> Result<Answer, Error> {
        self.exchange.ask(request, Some(&at.access("pull")), good, what).await
    }

    /// Asks one endpoint for a document.
    pub(super) async fn read_for(
        &self,
        at: &Endpoint,
        request: &Request,
        good: &[StatusCode],
        what: &str,
        wanted: &Wanted<'_>,
    ) -> Result<(Answer, Option<Bytes>), Error> {
        self.exchange.ask_for(request, Some(&at.access("pull")), good, what, wanted).await
    }

    /// Asks the registry itself, to write.
    pub(super) async fn write(&self, request: &Request, good: &[StatusCode], what: &str) -> Result<Answer, Error> {
        self.exchange.ask(request, Some(&self.own.access("pull,push")), good, what).await
    }

    /// The bytes of a manifest by tag or digest, and what the registry says they are; `None` if it has none.
    pub(super) async fn manifest_at(
        &self,
        at: &Endpoint,
        version: &Version,
    ) -> Result<Option<(Bytes, Option<String>)>, Error> {
        let what = format!("`{}{version}`", at.repository);
        let request = Request::new(Method::GET, at.url(&format!("manifests/{}", word(version))))
            .with(header::ACCEPT, ACCEPT)
            .with(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let name = format!("the manifest of {what}");
        let is_one = |answer: &Answer| answer.status == StatusCode::OK;
        let wanted = Wanted { name: &name, limit: MAX_MANIFEST_BYTES, is_one };
        let good = [StatusCode::OK, StatusCode::NOT_FOUND];
        let (answer, bytes) = self.read_for(at, &request, &good, &what, &wanted).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        let said = answer.text(header::CONTENT_TYPE).map(str::to_owned);
        if let Version::Digest(asked) = version {
            let found = sha256(&bytes);
            if found != *asked {
                return Err(Error::Invalid(format!("what `{}` has as {what} is `{found}`", at.host())));
            }
        }
        Ok(Some((bytes, said)))
    }

    /// A blob from one of the mirrors, beginning with the one at `first`, else from the registry itself.
    async fn blob_from(&self, first: usize, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let (digest, length) = (descriptor.digest(), Length::Exactly(descriptor.size()));
        document::only_sha256(digest)?;
        let begin = |at: &Endpoint| {
            let what = format!("the blob `{digest}` of `{}`", at.repository);
            let (exchange, url) = (Arc::clone(&self.exchange), at.url(&format!("blobs/{digest}")));
            Download::begin(exchange, url, Some(at.access("pull")), what, length, offset)
        };
        for (place, at) in self.mirrors.iter().enumerate().skip(first) {
            let mirror = Mirror { host: at.host(), place };
            match begin(at).await {
                Ok(stream) => return Ok(BlobStream { mirror: Some(mirror), ..stream }),
                // What it has is not what was asked for; that it has nothing is nothing to tell.
                Err(error @ (Error::Invalid(_) | Error::OverLimit(_))) => mirror.passed_over(digest, &error),
                Err(error) => tracing::debug!(mirror = mirror.host, %error, "the mirror was of no use"),
            }
        }
        begin(&self.own).await
    }

    async fn resolve_at(&self, at: &Endpoint, version: &Version) -> Result<Descriptor, Error> {
        let what = format!("`{}{version}`", at.repository);
        let request = Request::new(Method::HEAD, at.url(&format!("manifests/{}", word(version))))
            .with(header::ACCEPT, ACCEPT)
            .with(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // Some registries know no HEAD, or answer without saying what they have.
        let good = [StatusCode::OK, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
        let answer = self.read(at, &request, &good, &what).await?;
        if answer.status == StatusCode::OK
            && let Some(found) = told(&answer, version, &what)?
        {
            return Ok(found);
        }
        let missing = || Error::NotFound(format!("`{}` has no {what}", at.host()));
        let (bytes, said) = self.manifest_at(at, version).await?.ok_or_else(missing)?;
        let media_type = match document::read(&bytes, said.as_deref())? {
            Document::Manifest(manifest) => manifest.media_type().clone().unwrap_or(MediaType::ImageManifest),
            Document::Index(index) => index.media_type().clone().unwrap_or(MediaType::ImageIndex),
        };
        Ok(Descriptor::new(media_type, bytes.len() as u64, sha256(&bytes)))
    }
}

impl Endpoint {
    /// Who asks, to do `actions` in this repository.
    fn access(&self, actions: &str) -> Access {
        Access { host: self.login.clone(), scope: format!("repository:{}:{actions}", self.repository) }
    }
}

/// A version as it stands in a URL.
pub(super) fn word(version: &Version) -> String {
    match version {
        Version::Tag(tag) => tag.clone(),
        Version::Digest(digest) => digest.to_string(),
    }
}

/// What the head of an answer says a manifest is; `None` if it does not say enough.
fn told(answer: &Answer, version: &Version, what: &str) -> Result<Option<Descriptor>, Error> {
    let host = || super::endpoint::authority(&answer.url);
    let (Some(digest), Some(size), Some(said)) =
        (answer.text(CONTENT_DIGEST), answer.length(), answer.text(header::CONTENT_TYPE))
    else {
        return Ok(None);
    };
    let digest: Digest =
        digest.parse().ok().filter(|digest: &Digest| digest.as_ref().starts_with("sha256:")).ok_or_else(|| {
            Error::Invalid(format!(
                "`{}` says that {what} is `{}`, which is no digest of sha256",
                host(),
                clean(digest)
            ))
        })?;
    if let Version::Digest(asked) = version
        && *asked != digest
    {
        return Err(Error::Invalid(format!("`{}` says that {what} is `{digest}`", host())));
    }
    if size > MAX_MANIFEST_BYTES {
        return Err(Error::OverLimit(format!(
            "the manifest of {what} is of {size} bytes at `{}`, and at most {MAX_MANIFEST_BYTES} are read",
            host()
        )));
    }
    let said = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = [MediaType::ImageManifest.as_ref(), MediaType::ImageIndex.as_ref(), DOCKER_LIST, DOCKER_MANIFEST]
        .contains(&said.as_str());
    // The document itself is asked, which may know better, or is refused with what is wrong with it.
    Ok((known && size > 0).then(|| Descriptor::new(said.as_str().into(), size, digest)))
}

#[async_trait]
impl Repository for Remote {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn resolve(&self, version: &Version) -> Result<Descriptor, Error> {
        self.first_of(|at| self.resolve_at(at, version)).await
    }

    async fn manifest(&self, digest: &Digest) -> Result<Bytes, Error> {
        let version = &Version::Digest(digest.clone());
        self.first_of(|at| async move {
            let missing = || Error::NotFound(format!("`{}` has no `{}{version}`", at.host(), at.repository));
            let (bytes, said) = self.manifest_at(at, version).await?.ok_or_else(missing)?;
            // What a registry says it is must be what it is, or two clients would read two things.
            document::read(&bytes, said.as_deref())?;
            Ok(bytes)
        })
        .await
    }

    async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        self.blob_from(0, descriptor, offset).await
    }

    async fn blob_after(&self, mirror: &Mirror, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        self.blob_from(mirror.place.saturating_add(1), descriptor, offset).await
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        // A mirror that keeps no signatures says the same as one that has none, so only what one has counts.
        for mirror in &self.mirrors {
            match self.referrers_at(mirror, subject).await {
                Ok(found) if found.is_empty() => {}
                Ok(found) => return Ok(found),
                Err(error) => tracing::debug!(mirror = mirror.host(), %error, "the mirror was of no use"),
            }
        }
        self.referrers_at(&self.own, subject).await
    }

    async fn push_blob(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<(), Error> {
        self.upload(descriptor.digest(), bytes).await
    }

    async fn push_manifest(&self, tag: Option<&str>, media_type: &str, bytes: Bytes) -> Result<Digest, Error> {
        self.put_manifest(tag, media_type, bytes).await
    }
}

/// What a registry says it stored must be what it was given.
pub(super) fn stored_as(answer: &Answer, digest: &Digest, what: &str) -> Result<(), Error> {
    match answer.text(CONTENT_DIGEST) {
        Some(stored) if stored != digest.as_ref() => Err(Error::Invalid(format!(
            "`{}` says that it stored {what} as `{}`, and it is `{digest}`",
            super::endpoint::authority(&answer.url),
            clean(stored)
        ))),
        _ => Ok(()),
    }
}
