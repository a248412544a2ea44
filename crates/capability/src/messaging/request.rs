//! Requests: the address that replies go to, and how they are gathered.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Deliveries, INBOX, MAX_REPLIES, Message, MessagingError, Overflow, queue::Queue};

/// An address that nobody can guess: who knows it was asked.
pub(super) fn inbox() -> String {
    inbox_below(INBOX)
}

/// An address below another.
pub(super) fn inbox_below(above: &str) -> String {
    let mut random = [0_u8; 16];
    // Without the kernel's randomness nothing here is safe: the address stays one that is refused as no subject.
    if getrandom::fill(&mut random).is_err() {
        return String::new();
    }
    format!("{above}.{:032x}", u128::from_be_bytes(random))
}

/// The replies one request waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replies {
    wanted: usize,
    within: Duration,
    until: Instant,
}

impl Replies {
    /// The time begins now.
    pub(super) fn new(wanted: usize, within: Duration) -> Self {
        // A time so long that it cannot be counted to is a day.
        let until = Instant::now().checked_add(within).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        Self { wanted: wanted.clamp(1, MAX_REPLIES), within, until }
    }

    /// A queue that holds as many as are wanted, and loses what comes after.
    pub(super) fn queue(self) -> Queue {
        Queue::new(u32::try_from(self.wanted).unwrap_or(1), Overflow::Newest)
    }

    /// Waits for them.
    pub(super) async fn gather(self, deliveries: &mut dyn Deliveries) -> Result<Vec<Message>, MessagingError> {
        let mut replies = Vec::new();
        while replies.len() < self.wanted {
            match timeout_at(self.until, deliveries.next()).await {
                Ok(delivery) => replies.push(delivery?.message),
                Err(_) if replies.is_empty() => {
                    let why = format!("nobody replied within {}", samara_model::format_duration(self.within));
                    return Err(MessagingError::TimedOut(why));
                }
                Err(_) => break,
            }
        }
        Ok(replies)
    }
}
