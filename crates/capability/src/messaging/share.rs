//! The part of a bus that is one tenant's: every subject below one word, and no way out of it.
//!
//! A tenant's subjects begin with its name as their first word in the backend: `orders.created` of the tenant `acme` is
//! `acme.orders.created`. A pattern gets the same word in front, so that its wildcards stay below it. Replies go to
//! `_INBOX.acme.`, where no pattern of a guest reaches, to addresses that nobody can guess. A name with dots is one word
//! all the same: `a.b` is `a:b` there, and names have no colons.
//!
//! An operator may open a store *outside* of that ([`Share::outside`]), to talk to others on the bus. Then subjects are what
//! they are, and so is who else hears them; the server's own subjects (`$...`) and addresses of replies stay closed.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use samara_model::{MAX_SUBJECT_BYTES, SubjectPattern, Tenant};
use tokio::time::{Instant, sleep_until};

use super::{
    Deliveries, Delivery, Features, INBOX, Message, Messaging, MessagingError, Mode, Subscription, request::inbox_below,
};
use crate::Link;

/// How soon a subscription notices that its store leads to another bus.
const FOLLOWS: Duration = Duration::from_millis(500);

/// One tenant's share of a bus, which may be exchanged while it is used. Knows no grants.
#[derive(Clone, Debug)]
pub struct Share {
    scope: Scope,
    backend: Arc<Link<dyn Messaging>>,
}

/// What a share's subjects are in the backend.
#[derive(Clone, Debug)]
struct Scope {
    /// What every subject begins with: nothing, or a word and a dot.
    subjects: Arc<str>,
    /// What every address for replies begins with: words, no dot behind them.
    inboxes: Arc<str>,
    /// Whether all of that is the tenant's own.
    owned: bool,
}

impl Scope {
    /// A subject of the tenant as the backend knows it.
    fn inward(&self, subject: &str) -> Result<String, MessagingError> {
        let (first, rest) = subject.split_once('.').unwrap_or((subject, ""));
        let full = match first {
            INBOX if !rest.is_empty() => format!("{}.{rest}", self.inboxes),
            _ if first.starts_with('$') || first == INBOX => {
                let why = format!("a subject that begins with `$` or is `{INBOX}` is the server's own; choose another");
                return Err(MessagingError::Malformed(why));
            }
            _ => format!("{}{subject}", self.subjects),
        };
        if full.len() > MAX_SUBJECT_BYTES {
            let room = MAX_SUBJECT_BYTES.saturating_sub(self.subjects.len());
            return Err(MessagingError::Malformed(format!("the subject is too long; at most {room} bytes fit")));
        }
        Ok(full)
    }

    /// A subject of the backend as the tenant knows it; `None` if it is not the tenant's.
    fn outward(&self, full: &str) -> Option<String> {
        if let Some(rest) = full.strip_prefix(&*self.inboxes).and_then(|rest| rest.strip_prefix('.')) {
            return Some(format!("{INBOX}.{rest}"));
        }
        let own = full.strip_prefix(&*self.subjects)?;
        let first = own.split('.').next().unwrap_or_default();
        (!own.is_empty() && !first.starts_with('$') && first != INBOX).then(|| own.to_owned())
    }

    fn message_inward(&self, mut message: Message) -> Result<Message, MessagingError> {
        message.check()?;
        message.subject = self.inward(&message.subject)?;
        message.reply_to = message.reply_to.map(|subject| self.inward(&subject)).transpose()?;
        Ok(message)
    }

    /// A message that a subscription of the tenant hears; `None` if it is not for the tenant's ears.
    fn heard(&self, message: Message) -> Option<Message> {
        let message = self.message_outward(message)?;
        (message.subject.split('.').next() != Some(INBOX)).then_some(message)
    }

    /// A message as the tenant may see it. An address for replies that leads elsewhere is left out: nobody could use it.
    fn message_outward(&self, mut message: Message) -> Option<Message> {
        message.subject = self.outward(&message.subject)?;
        message.reply_to = message.reply_to.and_then(|subject| self.outward(&subject));
        Some(message)
    }

    fn subscription(&self, mut subscription: Subscription) -> Result<Subscription, MessagingError> {
        subscription.check()?;
        if subscription.pattern.as_str().split('.').next() == Some(INBOX) {
            return Err(MessagingError::Malformed(format!("nobody may listen to `{INBOX}`; use a request")));
        }
        let full = self.inward(subscription.pattern.as_str())?;
        subscription.pattern =
            full.parse::<SubjectPattern>().map_err(|error| MessagingError::Malformed(error.to_string()))?;
        if let Mode::Acknowledged { owned, .. } = &mut subscription.mode {
            *owned = self.owned;
        }
        Ok(subscription)
    }
}

impl Share {
    /// What is a tenant's own.
    pub fn of(tenant: &Tenant, backend: Arc<dyn Messaging>) -> Self {
        let word = tenant.as_str().replace('.', ":");
        let scope =
            Scope { subjects: format!("{word}.").into(), inboxes: format!("{INBOX}.{word}").into(), owned: true };
        Self { scope, backend: Arc::new(Link::new(backend)) }
    }

    /// A bus as others on it see it, or what is below a subject of it. For an operator to give, never for an app to take:
    /// there may be anybody's messages.
    ///
    /// # Errors
    /// `below` is neither empty nor a subject.
    pub fn outside(below: &str, backend: Arc<dyn Messaging>) -> Result<Self, MessagingError> {
        if !below.is_empty() {
            samara_model::check_subject(below).map_err(|error| MessagingError::Configuration(error.to_string()))?;
        }
        let subjects = if below.is_empty() { String::new() } else { format!("{below}.") };
        let scope = Scope { subjects: subjects.into(), inboxes: INBOX.into(), owned: false };
        Ok(Self { scope, backend: Arc::new(Link::new(backend)) })
    }

    /// What the share is a share of; whoever changes it changes it for all clones. Subscriptions follow.
    pub fn link(&self) -> &Arc<Link<dyn Messaging>> {
        &self.backend
    }
}

#[async_trait]
impl Messaging for Share {
    fn features(&self) -> Features {
        self.backend.get().features()
    }

    async fn publish(&self, message: Message) -> Result<(), MessagingError> {
        let message = self.scope.message_inward(message)?;
        self.backend.get().publish(message).await
    }

    /// An address that the message brings along is replaced.
    async fn request(
        &self,
        mut message: Message,
        replies: usize,
        within: Duration,
    ) -> Result<Vec<Message>, MessagingError> {
        message.reply_to = None;
        let mut message = self.scope.message_inward(message)?;
        message.reply_to = Some(inbox_below(&self.scope.inboxes));
        let replies = self.backend.get().request(message, replies, within).await?;
        Ok(replies.into_iter().filter_map(|reply| self.scope.message_outward(reply)).collect())
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, MessagingError> {
        let subscription = self.scope.subscription(subscription)?;
        let backend = self.backend.get();
        let current = backend.subscribe(subscription.clone()).await?;
        let share = self.clone();
        let look = Instant::now() + FOLLOWS;
        Ok(Box::new(Following { share, subscription, backend, current, before: None, dropped: 0, look }))
    }
}

/// A subscription that goes with its store when that is linked to another bus.
///
/// It subscribes there first and then hands out what is left of the bus before, so that no message that was published
/// meanwhile is missed.
#[derive(Debug)]
struct Following {
    share: Share,
    subscription: Subscription,
    backend: Arc<dyn Messaging>,
    current: Box<dyn Deliveries>,
    /// The subscription of the bus before, until it has been silent for [`FOLLOWS`].
    before: Option<Box<dyn Deliveries>>,
    /// What subscriptions before have lost.
    dropped: u64,
    /// When the link is looked at next.
    look: Instant,
}

impl Following {
    /// Goes over to the bus that the store leads to now.
    async fn follow(&mut self) -> Result<(), MessagingError> {
        let backend = self.share.backend.get();
        let next = backend.subscribe(self.subscription.clone()).await?;
        self.backend = backend;
        let before = std::mem::replace(&mut self.current, next);
        if let Some(last) = self.before.replace(before) {
            self.dropped += last.dropped();
        }
        Ok(())
    }

    async fn next_of_any(&mut self) -> Result<Delivery, MessagingError> {
        loop {
            let look = sleep_until(self.look);
            let silent = match &mut self.before {
                Some(before) => tokio::select! {
                    biased;
                    delivery = before.next() => match delivery {
                        Ok(delivery) => return Ok(delivery),
                        Err(_) => true,
                    },
                    delivery = self.current.next() => return delivery,
                    () = look => true,
                },
                None => tokio::select! {
                    delivery = self.current.next() => return delivery,
                    () = look => false,
                },
            };
            if silent && let Some(last) = self.before.take() {
                self.dropped += last.dropped();
            }
            self.look = Instant::now() + FOLLOWS;
            if !Arc::ptr_eq(&self.backend, &self.share.backend.get()) {
                // A bus that does not take us yet is asked again; the one before serves until then.
                if let Err(error) = self.follow().await {
                    tracing::warn!(pattern = %self.subscription.pattern, %error, "the store's new bus has not taken a subscription; trying again");
                }
            }
        }
    }
}

#[async_trait]
impl Deliveries for Following {
    async fn next(&mut self) -> Result<Delivery, MessagingError> {
        loop {
            let Delivery { message, attempt, receipt } = self.next_of_any().await?;
            if let Some(message) = self.share.scope.heard(message) {
                return Ok(Delivery { message, attempt, receipt });
            }
            // What is not the tenant's is none of its work either.
            if let Some(receipt) = receipt {
                receipt.settle(super::Verdict::Dropped).await?;
            }
        }
    }

    fn waiting(&mut self) -> Option<Delivery> {
        let before = self.before.as_mut().and_then(|before| before.waiting());
        let Delivery { message, attempt, receipt } = before.or_else(|| self.current.waiting())?;
        let message = self.share.scope.heard(message)?;
        Some(Delivery { message, attempt, receipt })
    }

    fn dropped(&self) -> u64 {
        self.dropped + self.current.dropped() + self.before.as_ref().map_or(0, |before| before.dropped())
    }
}
