//! The messages that wait for one subscriber: bounded in number and bytes, losing what its [`Overflow`] says.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Delivery, MessagingError, Overflow, QUEUE_BYTES};

/// Messages on their way from a bus to one subscriber.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the one who reads.
    arrived: Notify,
    /// Wakes the one who waits for room.
    #[cfg(feature = "nats")]
    left: Notify,
    length: usize,
    overflow: Overflow,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Delivery>,
    bytes: u64,
    dropped: u64,
    /// Why nothing more will come.
    over: Option<MessagingError>,
}

impl Queue {
    pub(super) fn new(length: u32, overflow: Overflow) -> Self {
        let length = usize::try_from(length).unwrap_or(usize::MAX).max(1);
        Self {
            state: Mutex::default(),
            arrived: Notify::new(),
            #[cfg(feature = "nats")]
            left: Notify::new(),
            length,
            overflow,
        }
    }

    /// Whether another message of this size fits.
    fn fits(&self, state: &State, bytes: u64) -> bool {
        state.waiting.len() < self.length && state.bytes.saturating_add(bytes) <= QUEUE_BYTES
    }

    /// Whether a message would be lost now.
    pub(super) fn is_full(&self) -> bool {
        !self.fits(&self.state.lock(), 0)
    }

    /// Adds a message, never waits: if there is no room, some are lost.
    pub(super) fn push(&self, delivery: Delivery) {
        let bytes = delivery.message.footprint();
        let mut state = self.state.lock();
        while !self.fits(&state, bytes) {
            state.dropped += 1;
            let oldest = if self.overflow == Overflow::Oldest { state.waiting.pop_front() } else { None };
            let Some(oldest) = oldest else { return };
            state.bytes -= oldest.message.footprint();
        }
        state.bytes += bytes;
        state.waiting.push_back(delivery);
        drop(state);
        self.arrived.notify_one();
    }

    /// The next message; for one reader.
    pub(super) async fn next(&self) -> Result<Delivery, MessagingError> {
        loop {
            let arrived = self.arrived.notified();
            if let Some(next) = self.pop() {
                return Ok(next);
            }
            if let Some(error) = &self.state.lock().over {
                return Err(error.clone());
            }
            arrived.await;
        }
    }

    /// The next message, if there is one.
    pub(super) fn pop(&self) -> Option<Delivery> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front()?;
        state.bytes -= next.message.footprint();
        drop(state);
        #[cfg(feature = "nats")]
        self.left.notify_one();
        Some(next)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Ends the queue: who reads gets what is in it, then this error.
    #[cfg(feature = "nats")]
    pub(super) fn end(&self, error: MessagingError) {
        self.state.lock().over.get_or_insert(error);
        self.arrived.notify_one();
    }

    /// How many more messages there is room for, once there is room for one. For one who fills the queue.
    #[cfg(feature = "nats")]
    pub(super) async fn room(&self) -> usize {
        loop {
            let left = self.left.notified();
            {
                let state = self.state.lock();
                if self.fits(&state, 0) {
                    return self.length - state.waiting.len();
                }
            }
            left.await;
        }
    }

    /// Adds a message that was asked for when there was [`room`](Self::room): nothing is lost.
    #[cfg(feature = "nats")]
    pub(super) fn push_kept(&self, delivery: Delivery) {
        let mut state = self.state.lock();
        state.bytes += delivery.message.footprint();
        state.waiting.push_back(delivery);
        drop(state);
        self.arrived.notify_one();
    }

    /// Counts a message that was lost before it got here.
    #[cfg(feature = "redis")]
    pub(super) fn lost(&self) {
        self.state.lock().dropped += 1;
    }
}
