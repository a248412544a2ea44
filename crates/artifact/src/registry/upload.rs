//! What is pushed: blobs in one piece or several, manifests, and the index that makes a signature findable where the registry
//! does not do that itself.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use oci_spec::image::{Descriptor, Digest, ImageIndexBuilder, MediaType};

use super::{
    endpoint::header as value,
    exchange::named_place,
    list::{fallback_tag, is_tag},
    remote::{Remote, stored_as, word},
    transport::{Answer, Request},
};
use crate::{
    Error, Version,
    bounds::{MAX_MANIFESTS, UPLOAD_CHUNK_BYTES},
    document::{self, Document},
    repository::sha256,
};

/// The smallest piece that a registry takes, if it says so.
const CHUNK_MIN_LENGTH: &str = "oci-chunk-min-length";
/// What a registry with the Referrers API answers to a manifest with a subject.
const SUBJECT: &str = "oci-subject";
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl Remote {
    /// Stores a blob, unless it is there.
    pub(super) async fn upload(&self, digest: &Digest, bytes: Bytes) -> Result<(), Error> {
        document::only_sha256(digest)?;
        let own = &self.own;
        let what = format!("a push of `{digest}` to `{}`", own.repository);
        let look = Request::new(Method::HEAD, own.url(&format!("blobs/{digest}")));
        let there = self.write(&look, &[StatusCode::OK, StatusCode::NOT_FOUND], &what).await?;
        if there.status == StatusCode::OK {
            return Ok(());
        }
        let begin = Request::new(Method::POST, own.url("blobs/uploads/"));
        let begun = self.write(&begin, &[StatusCode::ACCEPTED, StatusCode::CREATED], &what).await?;
        let mut place = self.place(&begun, &what)?;
        let mut rest = bytes;
        if rest.len() > UPLOAD_CHUNK_BYTES {
            let least = begun.text(CHUNK_MIN_LENGTH).and_then(|least| least.trim().parse().ok());
            let size = UPLOAD_CHUNK_BYTES.max(least.unwrap_or(0));
            let mut sent = 0;
            while rest.len() > size {
                let piece = rest.split_to(size);
                let range = value(&format!("{sent}-{}", sent + piece.len() - 1))?;
                sent += piece.len();
                let mut patch = Request::new(Method::PATCH, place)
                    .with(header::CONTENT_TYPE, BYTES)
                    .with(header::CONTENT_RANGE, range);
                patch.body = piece;
                let taken = self.write(&patch, &[StatusCode::ACCEPTED, StatusCode::NO_CONTENT], &what).await?;
                place = self.place(&taken, &what)?;
            }
        }
        place.query_pairs_mut().append_pair("digest", digest.as_ref());
        let mut put = Request::new(Method::PUT, place).with(header::CONTENT_TYPE, BYTES);
        put.body = rest;
        let stored = self.write(&put, &[StatusCode::CREATED, StatusCode::NO_CONTENT, StatusCode::OK], &what).await?;
        stored_as(&stored, digest, &what)
    }

    fn place(&self, answer: &Answer, what: &str) -> Result<url::Url, Error> {
        let to = answer
            .text(header::LOCATION)
            .ok_or_else(|| Error::Invalid(format!("`{}` does not say where {what} goes to", self.own.host())))?;
        named_place(answer, to, &format!("the place for {what}"))
    }

    /// Stores a manifest, and makes it findable by its subject.
    pub(super) async fn put_manifest(
        &self,
        tag: Option<&str>,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Error> {
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(Error::Reference(format!(
                "`{tag}` is no tag; write letters, digits, `.`, `_` and `-`, 128 at most"
            )));
        }
        let read = document::read(&bytes, Some(media_type))?;
        let size = bytes.len() as u64;
        let digest = sha256(&bytes);
        let version = tag.map_or_else(|| Version::Digest(digest.clone()), |tag| Version::Tag(tag.to_owned()));
        let what = format!("a push to `{}{version}`", self.own.repository);
        let mut put = Request::new(Method::PUT, self.own.url(&format!("manifests/{}", word(&version))))
            .with(header::CONTENT_TYPE, value(media_type)?);
        put.body = bytes;
        let stored = self.write(&put, &[StatusCode::CREATED, StatusCode::ACCEPTED, StatusCode::OK], &what).await?;
        stored_as(&stored, &digest, &what)?;

        let (subject, artifact_type, annotations) = match &read {
            Document::Manifest(manifest) => (
                manifest.subject(),
                Some(manifest.artifact_type().clone().unwrap_or_else(|| manifest.config().media_type().clone())),
                manifest.annotations(),
            ),
            Document::Index(index) => (index.subject(), index.artifact_type().clone(), index.annotations()),
        };
        if let Some(subject) = subject
            && !stored.headers.contains_key(SUBJECT)
        {
            let mut entry = Descriptor::new(media_type.into(), size, digest.clone());
            entry.set_artifact_type(artifact_type);
            entry.set_annotations(annotations.clone());
            self.list_referrer(subject.digest(), entry).await?;
        }
        Ok(digest)
    }

    /// Adds to the index under the tag that stands in for the Referrers API.
    // Differs from the spec: it says that two who do this at once may lose one entry, and gives no way to prevent it; so it is
    // looked at again afterwards, and done again if ours is the one that was lost.
    async fn list_referrer(&self, subject: &Digest, entry: Descriptor) -> Result<(), Error> {
        let tag = fallback_tag(subject);
        let what = format!("a push to `{}:{tag}`", self.own.repository);
        for _ in 0..=self.exchange.transport.settings.patience.tries {
            let mut listed = self.fallback_at(&self.own, subject).await?.unwrap_or_default();
            if listed.iter().any(|known| known.digest() == entry.digest()) {
                return Ok(());
            }
            if listed.len() >= MAX_MANIFESTS {
                return Err(Error::OverLimit(format!("`{subject}` has {MAX_MANIFESTS} referrers already")));
            }
            listed.push(entry.clone());
            let index = ImageIndexBuilder::default()
                .schema_version(2_u32)
                .media_type(MediaType::ImageIndex)
                .manifests(listed)
                .build()
                .and_then(|index| index.to_string());
            let index = index.map_err(|error| Error::Invalid(format!("no index can be made of referrers: {error}")))?;
            let mut put = Request::new(Method::PUT, self.own.url(&format!("manifests/{tag}")))
                .with(header::CONTENT_TYPE, value(MediaType::ImageIndex.as_ref())?);
            put.body = Bytes::from(index);
            self.write(&put, &[StatusCode::CREATED, StatusCode::ACCEPTED, StatusCode::OK], &what).await?;
        }
        Err(Error::Unreachable(format!("others write to the referrers of `{subject}` all the time; try again")))
    }
}
