//! An upload to S3: small ones in one request, larger ones in parts, of which few are in memory.

use std::fmt;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use object_store::{
    Attributes, Error, MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, path::Path,
};
use tokio::task::JoinSet;

use super::{Bucket, lock, wire::allowance};
use crate::blob::{BlobError, Upload, Written};

/// Bytes of one part: the least that S3 takes, because so much of every upload is in memory, and as much for each of
/// [`PARTS_AT_ONCE`].
pub(super) const PART_BYTES: usize = 5 << 20;

/// Parts of one upload that are on their way at once; another one is filled meanwhile.
const PARTS_AT_ONCE: usize = 2;

/// Parts of one upload, at most: so an object has no more than 48 GiB.
const PARTS: u64 = 10_000;

pub(super) struct Writing {
    pub(super) bucket: Bucket,
    pub(super) container: String,
    pub(super) path: Path,
    pub(super) headers: Attributes,
    pub(super) bytes: u64,
    pub(super) buffer: BytesMut,
    pub(super) multipart: Option<Box<dyn MultipartUpload>>,
    pub(super) parts: JoinSet<Result<(), BlobError>>,
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("path", &self.path).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Writing {
    /// Sends the buffer as a part, when there is room for one more on its way.
    async fn send(&mut self) -> Result<(), BlobError> {
        while self.parts.len() >= PARTS_AT_ONCE {
            self.arrived().await?;
        }
        if self.multipart.is_none() {
            let options = PutMultipartOptions { attributes: self.headers.clone(), ..PutMultipartOptions::default() };
            let begun = self.bucket.asked(self.bucket.client.put_multipart_opts(&self.path, options)).await?;
            self.multipart = Some(begun.map_err(|error| self.bucket.failed(&error))?);
        }
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        let part = self.buffer.split().freeze();
        let allowed = self.bucket.timeout + allowance(part.len());
        let sent = multipart.put_part(PutPayload::from(part));
        let bucket = self.bucket.clone();
        self.parts.spawn(async move {
            match tokio::time::timeout(allowed, sent).await {
                Ok(sent) => sent.map_err(|error| bucket.failed(&error)),
                Err(_) => Err(BlobError::TimedOut(format!("`{}` takes a part too slowly", bucket.place))),
            }
        });
        Ok(())
    }

    /// Waits for one of the parts on their way.
    async fn arrived(&mut self) -> Result<(), BlobError> {
        match self.parts.join_next().await {
            None => Ok(()),
            Some(Ok(sent)) => sent,
            Some(Err(error)) => Err(BlobError::Backend(format!("a part was not sent: {error}"))),
        }
    }

    /// Makes the object what was sent, however it was sent.
    async fn complete(&mut self) -> Result<Written, BlobError> {
        if self.multipart.is_some() {
            if !self.buffer.is_empty() {
                self.send().await?;
            }
            while !self.parts.is_empty() {
                self.arrived().await?;
            }
        }
        let _object = lock(&self.path).lock().await;
        let replaced = self.bucket.replaced(&self.container, &self.path).await?;
        let client = self.bucket.client.clone();
        let done: Result<_, Error> = match &mut self.multipart {
            Some(multipart) => self.bucket.asked(multipart.complete()).await?,
            None => {
                let options = PutOptions { attributes: std::mem::take(&mut self.headers), ..PutOptions::default() };
                let whole = self.buffer.split().freeze();
                let allowed = self.bucket.timeout + allowance(whole.len());
                let sent = tokio::time::timeout(allowed, client.put_opts(&self.path, PutPayload::from(whole), options));
                sent.await.map_err(|_| BlobError::TimedOut(format!("`{}` takes too long", self.bucket.place)))?
            }
        };
        done.map_err(|error| self.bucket.failed(&error))?;
        // Nothing is left to abort.
        self.multipart = None;
        Ok(Written { bytes: self.bytes, replaced })
    }
}

#[async_trait]
impl Upload for Writing {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), BlobError> {
        let limit = PARTS * PART_BYTES as u64;
        self.bytes = self.bytes.saturating_add(chunk.len() as u64);
        if self.bytes > limit {
            return Err(BlobError::TooLarge { what: "object", limit });
        }
        while !chunk.is_empty() {
            // Sent only when there is more, so that an object of one part is no multipart upload.
            if self.buffer.len() == PART_BYTES {
                self.send().await?;
            }
            let some = chunk.split_to(chunk.len().min(PART_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(&some);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Written, BlobError> {
        self.complete().await
    }
}

impl Drop for Writing {
    /// Tells the server to forget the parts. If the process ends first, the bucket's own rules must.
    fn drop(&mut self) {
        let Some(mut multipart) = self.multipart.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (mut parts, bucket) = (std::mem::take(&mut self.parts), self.bucket.clone());
        runtime.spawn(async move {
            // A part that arrives later would stay.
            parts.shutdown().await;
            if let Ok(Err(error)) = bucket.asked(multipart.abort()).await {
                tracing::warn!(error = %bucket.failed(&error), "an upload was not aborted; its parts stay in the bucket");
            }
        });
    }
}
