//! What a bus in this process keeps for one group that acknowledges: messages that wait, that were handed out, and that are
//! to be handed out again.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use samara_model::SubjectPattern;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::Bus;
use crate::messaging::{Deliveries, Delivery, Message, MessagingError, Receipt, Verdict};

/// Which group: its name, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub(super) group: Box<str>,
    pub(super) pattern: SubjectPattern,
}

/// What is kept for one group.
#[derive(Default)]
pub(super) struct Group {
    state: Mutex<State>,
    /// Wakes one member that waits; who takes a message wakes the next if there are more.
    ready: Notify,
}

struct State {
    waiting: VecDeque<Kept>,
    /// Handed out, or to be handed out again: by the moment at which they are handed out (again).
    timed: BTreeMap<(Instant, u64), Kept>,
    /// That moment, by the message's number.
    due: HashMap<u64, Instant>,
    /// Numbers messages.
    next: u64,
    members: usize,
    /// When the last member left; when the group was made, before the first came.
    left: Instant,
    /// Whether the bus has forgotten the group.
    forgotten: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            timed: BTreeMap::new(),
            due: HashMap::new(),
            next: 0,
            members: 0,
            left: Instant::now(),
            forgotten: false,
        }
    }
}

impl State {
    fn set_due(&mut self, due: Instant, kept: Kept) {
        self.due.insert(kept.id, due);
        self.timed.insert((due, kept.id), kept);
    }

    fn take_timed(&mut self, id: u64) -> Option<Kept> {
        let due = self.due.remove(&id)?;
        self.timed.remove(&(due, id))
    }
}

struct Kept {
    id: u64,
    message: Message,
    /// How often it was handed out.
    attempts: u32,
}

impl Group {
    /// Keeps a message; answers whether the group is still there to keep it.
    pub(super) fn add(&self, message: Message) -> bool {
        let mut state = self.state.lock();
        if state.forgotten {
            return false;
        }
        let id = state.next;
        state.next += 1;
        state.waiting.push_back(Kept { id, message, attempts: 0 });
        drop(state);
        self.ready.notify_one();
        true
    }

    /// Whether nobody has been here for so long.
    pub(super) fn is_left(&self, keep: Duration) -> bool {
        let state = self.state.lock();
        state.members == 0 && state.left.elapsed() >= keep
    }

    /// Throws everything away, for good; answers how many bytes that were.
    pub(super) fn forget(&self) -> u64 {
        let mut state = self.state.lock();
        state.forgotten = true;
        state.due.clear();
        let timed = std::mem::take(&mut state.timed);
        state.waiting.drain(..).chain(timed.into_values()).map(|kept| kept.message.footprint()).sum()
    }

    /// Hands out a message that is due, or says when there will be one.
    fn take(&self, within: Duration) -> Result<Taken, Option<Instant>> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let due = state.timed.first_key_value().map(|((due, _), _)| *due);
        let again = match state.timed.first_key_value() {
            Some(((due, id), _)) if *due <= now => {
                let id = *id;
                state.take_timed(id)
            }
            _ => None,
        };
        let Some(mut kept) = again.or_else(|| state.waiting.pop_front()) else { return Err(due) };
        kept.attempts = kept.attempts.saturating_add(1);
        let taken = Taken { id: kept.id, message: kept.message.clone(), attempts: kept.attempts };
        state.set_due(now + within, kept);
        drop(state);
        // There may be more; if not, who wakes learns until when to sleep, in case this message is never settled.
        self.ready.notify_one();
        Ok(taken)
    }

    /// Does something with a message that was handed out, wherever it is now: also if its time was over, as long as nobody
    /// settled it.
    fn settle(&self, id: u64, verdict: impl FnOnce(&mut State, Kept)) {
        let mut state = self.state.lock();
        if let Some(kept) = state.take_timed(id) {
            verdict(&mut state, kept);
        }
        drop(state);
        // Whoever sleeps until the next message is due may have to wake earlier now.
        self.ready.notify_one();
    }
}

struct Taken {
    id: u64,
    message: Message,
    attempts: u32,
}

/// One subscriber of a group.
pub(super) struct Member {
    group: Arc<Group>,
    bus: Arc<Bus>,
    within: Duration,
}

impl Member {
    pub(super) fn join(group: Arc<Group>, bus: Arc<Bus>, within: Duration) -> Self {
        group.state.lock().members += 1;
        Self { group, bus, within }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("within", &self.within).finish_non_exhaustive()
    }
}

#[async_trait]
impl Deliveries for Member {
    async fn next(&mut self) -> Result<Delivery, MessagingError> {
        loop {
            let ready = self.group.ready.notified();
            match self.group.take(self.within) {
                Ok(Taken { id, message, attempts }) => {
                    let receipt = Handed {
                        id,
                        bytes: message.footprint(),
                        group: Arc::clone(&self.group),
                        bus: Arc::clone(&self.bus),
                        within: self.within,
                    };
                    return Ok(Delivery { message, attempt: attempts, receipt: Some(Box::new(receipt)) });
                }
                Err(Some(due)) => tokio::select! {
                    () = ready => {}
                    () = sleep_until(due) => {}
                },
                Err(None) => ready.await,
            }
        }
    }

    /// What waits here waits for the whole group.
    fn waiting(&mut self) -> Option<Delivery> {
        None
    }

    /// Nothing is lost here: the bus refuses what it cannot keep.
    fn dropped(&self) -> u64 {
        0
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.group.state.lock();
        state.members = state.members.saturating_sub(1);
        state.left = Instant::now();
        drop(state);
        // It may have been woken for a message that it did not take.
        self.group.ready.notify_one();
    }
}

/// A message that was handed out.
struct Handed {
    id: u64,
    bytes: u64,
    group: Arc<Group>,
    bus: Arc<Bus>,
    within: Duration,
}

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handed").field(&self.id).finish()
    }
}

#[async_trait]
impl Receipt for Handed {
    async fn settle(self: Box<Self>, verdict: Verdict) -> Result<(), MessagingError> {
        let Self { id, bytes, group, bus, .. } = *self;
        group.settle(id, |state, kept| match verdict {
            Verdict::Retry(after) => state.set_due(Instant::now() + after, kept),
            Verdict::Done | Verdict::Dropped => bus.kept.release(bytes),
        });
        Ok(())
    }

    async fn hold(&self) -> Result<(), MessagingError> {
        self.group.settle(self.id, |state, kept| state.set_due(Instant::now() + self.within, kept));
        Ok(())
    }
}
