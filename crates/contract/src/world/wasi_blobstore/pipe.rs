//! What a guest writes into a value, on its way to the object: a bounded queue between the guest's stream and the upload.
//!
//! A guest may begin to write before it says into which object, so that more is kept until it has ([`EARLY_BYTES`]); from
//! then on a fast guest waits for a slow store after [`AHEAD_BYTES`].

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Bytes that a guest may write before it names the object.
const EARLY_BYTES: usize = 8 << 20;
/// Bytes that a guest may be ahead of the store.
const AHEAD_BYTES: usize = 256 << 10;

/// The queue.
#[derive(Default)]
pub(super) struct Pipe {
    state: Mutex<State>,
    /// Something changed, for either side.
    changed: Notify,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    attached: bool,
    ended: bool,
    failed: Option<String>,
}

impl State {
    fn room(&self) -> usize {
        let limit = if self.attached { AHEAD_BYTES } else { EARLY_BYTES };
        limit.saturating_sub(self.bytes)
    }
}

impl Pipe {
    /// The upload has begun.
    pub(super) fn attach(&self) {
        self.state.lock().attached = true;
        self.changed.notify_waiters();
    }

    /// Nothing more will be written.
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_waiters();
    }

    /// The upload has failed: writing fails from now on.
    pub(super) fn fail(&self, why: &str) {
        self.state.lock().failed = Some(why.to_owned());
        self.changed.notify_waiters();
    }

    /// The next piece, for the upload; `None` when the guest has finished.
    pub(super) async fn next(&self) -> Option<Bytes> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock();
                if let Some(chunk) = state.chunks.pop_front() {
                    state.bytes -= chunk.len();
                    self.changed.notify_waiters();
                    return Some(chunk);
                }
                if state.ended {
                    return None;
                }
            }
            changed.await;
        }
    }
}

/// A guest's end of the queue.
pub(super) struct PipeStream {
    pipe: Arc<Pipe>,
    /// What the guest was last told that it may write.
    permit: usize,
}

impl PipeStream {
    /// The guest's end of a queue; there is one.
    pub(super) fn new(pipe: Arc<Pipe>) -> Self {
        Self { pipe, permit: 0 }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for PipeStream {
    async fn ready(&mut self) {
        loop {
            let changed = self.pipe.changed.notified();
            {
                let state = self.pipe.state.lock();
                if state.room() > 0 || state.ended || state.failed.is_some() {
                    return;
                }
            }
            changed.await;
        }
    }
}

impl OutputStream for PipeStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = self.pipe.state.lock();
        if state.ended {
            return Err(StreamError::Closed);
        }
        let Some(left) = self.permit.checked_sub(bytes.len()) else {
            return Err(StreamError::Trap(wasmtime::Error::msg("it wrote more than `check-write` allows")));
        };
        self.permit = left;
        if !bytes.is_empty() {
            state.bytes += bytes.len();
            state.chunks.push_back(bytes);
        }
        drop(state);
        self.pipe.changed.notify_waiters();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let state = self.pipe.state.lock();
        match &state.failed {
            Some(why) => Err(StreamError::LastOperationFailed(wasmtime::Error::msg(why.clone()))),
            None if state.ended => Err(StreamError::Closed),
            None => {
                self.permit = state.room();
                Ok(self.permit)
            }
        }
    }
}
