//! An upload of a workload: counted while it is written, bounded, told when it ends, and finished where its store is by then.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use samara_model::BlobOperation;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Blob, BlobError, Granted, OBJECT_BYTES, Place, Upload, Written, copy_through,
    granted::{bound, named},
    moving::Change,
};
use crate::{Begun, gate::Turn};

/// Bytes that are counted in for an upload. Dropped before it is finished, they are counted out again.
#[derive(Debug)]
pub(super) struct Held {
    granted: Granted,
    bytes: u64,
}

impl Held {
    pub(super) fn nothing(granted: &Granted) -> Self {
        Self { granted: granted.clone(), bytes: 0 }
    }

    /// Counts more bytes in.
    ///
    /// # Errors
    /// There is no room for them.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), BlobError> {
        let Granted { store, total_bytes, .. } = &self.granted;
        if !store.account.hold(bytes, *total_bytes) {
            return Err(BlobError::TooLarge { what: "total of all objects", limit: *total_bytes });
        }
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// What the backend is about to be told of, also if nobody waits for the answer: it stays counted.
    fn send(&mut self) -> u64 {
        let bytes = std::mem::take(&mut self.bytes);
        self.granted.store.account.sent(bytes);
        bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = self.send();
        self.granted.store.account.release(bytes);
    }
}

/// Where an upload was begun.
#[derive(Debug)]
pub(super) struct BegunAt {
    pub(super) backend: Arc<dyn Blob>,
    /// How often the share had been moved.
    pub(super) moves: u64,
    /// Its name in the backend.
    pub(super) container: String,
    pub(super) object: String,
}

/// An upload of a workload.
#[derive(Debug)]
pub(super) struct Lending {
    pub(super) upload: Box<dyn Upload>,
    pub(super) begun_at: BegunAt,
    pub(super) held: Held,
    pub(super) begun: Begun,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl BegunAt {
    /// Finishes an upload; if the share was moved to another place since it was begun, at both.
    async fn finish(
        &self,
        upload: Box<dyn Upload>,
        turn: &mut Turn<'_, dyn Blob, Change>,
    ) -> Result<Written, BlobError> {
        let place = Place { container: &self.container, object: &self.object };
        let is_elsewhere = turn.moves() != self.moves && !Arc::ptr_eq(&turn.backend, &self.backend);
        let there = turn.changing(|| [Change::object(place)]);
        if !is_elsewhere {
            return upload.finish().await;
        }
        // It may have been removed where the upload was begun, and made again since. Whether it is there counts at the new
        // place.
        self.backend.create_container(place.container).await?;
        upload.finish().await?;
        copy_through(&*self.backend, place, &**there, place).await
    }
}

#[async_trait]
impl Upload for Lending {
    async fn write(&mut self, chunk: Bytes) -> Result<(), BlobError> {
        let more = chunk.len() as u64;
        let content = (self.held.bytes - OBJECT_BYTES).saturating_add(more);
        bound("object", content, self.held.granted.object_bytes)?;
        self.held.grow(more)?;
        self.upload.write(chunk).await
    }

    async fn finish(self: Box<Self>) -> Result<Written, BlobError> {
        let Self { upload, begun_at, mut held, begun, _permit } = *self;
        let granted = held.granted.clone();
        let span = granted.lent.span(named(BlobOperation::Write));
        let mut turn = granted.store.turn().await;
        // From here on it may happen, also if nobody waits for the answer.
        let bytes = held.send();
        let written = begun_at.finish(upload, &mut turn).await.map_err(|error| granted.own(error));
        drop(turn);
        granted.settle(bytes, &written);
        match &written {
            Ok(_) => begun.succeeded(),
            Err(error) if span.is_on() => span.failed(&error.to_string()),
            Err(_) => {}
        }
        written
    }
}
