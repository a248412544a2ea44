//! An upload into a folder: bytes are gathered in a buffer of [`CHUNK_BYTES`], so that a guest that writes byte by byte does
//! not cost a thread each time, and written when it is full.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::{Shared, file::Incoming};
use crate::blob::{BlobError, CHUNK_BYTES, Upload, Written};

#[derive(Debug)]
pub(super) struct Writing {
    pub(super) store: Shared,
    /// The container and the object.
    pub(super) place: (String, String),
    /// `None` after a write that failed or was abandoned.
    pub(super) incoming: Option<Incoming>,
    pub(super) buffer: BytesMut,
}

impl Writing {
    /// Writes the buffer to the file.
    async fn flush(&mut self) -> Result<(), BlobError> {
        let mut incoming = self.incoming.take().ok_or_else(broken)?;
        let bytes = self.buffer.split().freeze();
        let written = self.store.threads.run(move || {
            incoming.write(&bytes)?;
            Ok(incoming)
        });
        self.incoming = Some(written.await?);
        Ok(())
    }
}

fn broken() -> BlobError {
    BlobError::Backend("the upload is broken: a write before this one failed; begin again".to_owned())
}

#[async_trait]
impl Upload for Writing {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), BlobError> {
        while !chunk.is_empty() {
            let some = chunk.split_to(chunk.len().min(CHUNK_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(&some);
            if self.buffer.len() == CHUNK_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Written, BlobError> {
        self.flush().await?;
        let Self { store, place: (container, object), incoming, .. } = *self;
        let incoming = incoming.ok_or_else(broken)?;
        store.run(move |folder| folder.finish(&container, &object, &incoming)).await
    }
}
