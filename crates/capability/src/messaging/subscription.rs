//! What a subscriber asks for, and what it is handed.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use samara_model::SubjectPattern;

use super::{Message, MessagingError};

/// Messages that wait in one subscription, at most.
pub const MAX_QUEUE: u32 = 65_536;

/// Bytes of messages that wait in one subscription, at most.
pub const QUEUE_BYTES: u64 = 64 << 20;

/// Bytes of a group's name, at most.
const MAX_GROUP_BYTES: usize = 63;

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Which subjects.
    pub pattern: SubjectPattern,
    /// What is promised about each message.
    pub mode: Mode,
    /// Messages that may wait in this process for the subscriber, 1 to [`MAX_QUEUE`].
    pub queue: u32,
}

/// What is promised to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each message at most once; none that is published while nobody is subscribed.
    AtMostOnce {
        /// Those who name the same group share its messages: each goes to one of them.
        group: Option<String>,
        /// What happens to messages when the queue is full.
        overflow: Overflow,
    },
    /// Each message until somebody of the group settles it. The group remembers where it was: it begins with its first
    /// subscription, and who subscribes again with the same pattern gets what was published meanwhile, for as long as the
    /// bus keeps it.
    Acknowledged {
        /// Who shares the messages, and the name they are remembered under.
        group: String,
        /// A message that was handed out and not settled after this time is handed out again. It begins when the message
        /// arrives in this process.
        within: Duration,
        /// Whether everything below the first word of the pattern is the subscriber's own, so that the provider may set
        /// up what keeps it. Otherwise somebody else must have.
        owned: bool,
    },
}

impl Mode {
    /// At most once, to this subscriber alone; the oldest messages give way.
    pub fn plain() -> Self {
        Self::AtMostOnce { group: None, overflow: Overflow::Oldest }
    }
}

/// Which messages a full queue loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Those that wait longest: the subscriber sees what is newest.
    #[default]
    Oldest,
    /// Those that arrive: the subscriber sees what came first.
    Newest,
}

impl Subscription {
    /// A subscription at most once.
    pub fn plain(pattern: SubjectPattern, queue: u32) -> Self {
        Self { pattern, mode: Mode::plain(), queue }
    }

    /// The group, if there is one.
    pub fn group(&self) -> Option<&str> {
        match &self.mode {
            Mode::AtMostOnce { group, .. } => group.as_deref(),
            Mode::Acknowledged { group, .. } => Some(group),
        }
    }

    /// Checks the bounds that hold for every provider.
    ///
    /// # Errors
    /// The group's name or the length of the queue cannot be.
    pub(super) fn check(&self) -> Result<(), MessagingError> {
        if let Some(group) = self.group() {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
            if group.is_empty() || group.len() > MAX_GROUP_BYTES || !group.chars().all(legal) {
                return Err(MessagingError::Malformed(format!(
                    "a group's name is 1 to {MAX_GROUP_BYTES} of a-z, A-Z, 0-9, `-`, `_`, `.` and `/`"
                )));
            }
        }
        if !(1..=MAX_QUEUE).contains(&self.queue) {
            let why = format!("a queue of `{}` messages cannot be; choose 1 to {MAX_QUEUE}", self.queue);
            return Err(MessagingError::Configuration(why));
        }
        Ok(())
    }
}

/// Hands out messages, until it is dropped.
#[async_trait]
pub trait Deliveries: fmt::Debug + Send {
    /// The next message; waits for it. A call that is abandoned loses no message.
    ///
    /// # Errors
    /// The subscription is over, and so is every call after this one: the bus or what keeps its messages is gone.
    async fn next(&mut self) -> Result<Delivery, MessagingError>;

    /// A message that waits in this process, if one does; asks the bus for none. Who stops listening takes them all, to give
    /// them back before their time is over.
    fn waiting(&mut self) -> Option<Delivery>;

    /// Messages that were lost because this subscriber was slow.
    fn dropped(&self) -> u64;
}

/// One message on its way to a subscriber.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// How often it has been handed out, this time included; 1 the first time. Always 1 without acknowledgement.
    pub attempt: u32,
    /// With what it is settled; `None` without acknowledgement.
    pub receipt: Option<Box<dyn Receipt>>,
}

impl Delivery {
    /// A message that is not acknowledged.
    pub fn plain(message: Message) -> Self {
        Self { message, attempt: 1, receipt: None }
    }
}

/// What becomes of a message that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was dealt with.
    Done,
    /// It is handed out again, not before this time has passed.
    Retry(Duration),
    /// It is given up: nobody gets it again.
    Dropped,
}

/// Settles one message. One that is dropped unused leaves the message to be handed out again.
#[async_trait]
pub trait Receipt: fmt::Debug + Send + Sync {
    /// Says what becomes of the message, and answers when the bus knows.
    ///
    /// # Errors
    /// The backend failed: the message may be handed out again.
    async fn settle(self: Box<Self>, verdict: Verdict) -> Result<(), MessagingError>;

    /// Says that the message is still being worked on: the time until it is handed out again begins anew.
    ///
    /// # Errors
    /// The backend failed.
    async fn hold(&self) -> Result<(), MessagingError>;

    /// Whether the time has passed that the message was ours: somebody else may have it. A message that is not yet worked
    /// on is then left alone. After a [`hold`](Self::hold) nobody needs to ask.
    fn is_over(&self) -> bool {
        false
    }
}
