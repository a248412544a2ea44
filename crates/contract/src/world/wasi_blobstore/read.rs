//! An object's bytes as the stream that a guest reads: one chunk of the store at a time, asked for when the guest waits.

use bytes::Bytes;
use futures::StreamExt;
use samara_capability::blob::Body;
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

/// The stream.
pub(super) struct ObjectStream {
    body: Body,
    chunk: Bytes,
    ended: Option<Result<(), String>>,
}

impl ObjectStream {
    /// A stream over what a store answered.
    pub(super) fn new(body: Body) -> Self {
        Self { body, chunk: Bytes::new(), ended: None }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for ObjectStream {
    async fn ready(&mut self) {
        while self.chunk.is_empty() && self.ended.is_none() {
            match self.body.next().await {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => self.ended = Some(Err(error.to_string())),
                None => self.ended = Some(Ok(())),
            }
        }
    }
}

impl InputStream for ObjectStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if !self.chunk.is_empty() {
            let size = size.min(self.chunk.len());
            return Ok(self.chunk.split_to(size));
        }
        match &mut self.ended {
            None => Ok(Bytes::new()),
            Some(ended) => match std::mem::replace(ended, Ok(())) {
                Ok(()) => Err(StreamError::Closed),
                Err(why) => Err(StreamError::LastOperationFailed(wasmtime::Error::msg(why))),
            },
        }
    }
}
