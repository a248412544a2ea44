//! A bus as a workload sees it: only the subjects that its grant names, only within its limits, only its tenant's.
//!
//! A reply needs no grant: who was handed a message with an address for replies may publish to that address, which nobody
//! can guess ([`INBOX`](super::INBOX)). Any other subject that a publisher names for replies needs one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use samara_model::{Capability, DEFAULT_BUS, Limits, MessagingGrant, SubjectPattern};
use tokio::sync::Semaphore;

use super::{Deliveries, Delivery, Features, INBOX, Message, Messaging, MessagingError, Store, Subscription, Verdict};
use crate::{Lent, Operation, Recorder};

/// Requests of one workload on one bus that wait for their replies at once.
pub const REQUESTS_IN_FLIGHT: usize = 64;

const PUBLISH: Operation = Operation { name: "publish", span: "messaging publish" };
const REQUEST: Operation = Operation { name: "request", span: "messaging request" };
const SUBSCRIBE: Operation = Operation { name: "subscribe", span: "messaging subscribe" };

/// A bus lent to one workload. Cheap to clone; clones share what is bounded.
#[derive(Clone, Debug)]
pub struct Granted {
    store: Store,
    grant: Arc<MessagingGrant>,
    bounds: Bounds,
    lent: Lent,
    requests: Arc<Semaphore>,
    subscriptions: Arc<AtomicU32>,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    message_bytes: u64,
    queue: u32,
    subscriptions: u32,
}

impl Granted {
    pub(super) fn new(store: Store, grant: MessagingGrant, limits: &Limits, recorder: Arc<dyn Recorder>) -> Self {
        let lent = Lent::new(Capability::Messaging, store.name().into(), recorder);
        let bounds = Bounds {
            message_bytes: limits.message_bytes,
            queue: limits.message_queue,
            subscriptions: limits.subscriptions,
        };
        let requests = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT));
        Self { store, grant: Arc::new(grant), bounds, lent, requests, subscriptions: Arc::default() }
    }

    /// The store that is lent.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Checks a publication or a request against the grant without doing it, for ABIs that ask before they act.
    ///
    /// # Errors
    /// The grant does not include the subject; the denial is recorded.
    pub fn check_publish(&self, subject: &str) -> Result<(), MessagingError> {
        self.check(PUBLISH, subject)
    }

    fn check(&self, operation: Operation, subject: &str) -> Result<(), MessagingError> {
        let is_reply = subject.split_once('.').is_some_and(|(first, _)| first == INBOX);
        if is_reply || self.grant.may_publish(subject) {
            self.lent.used(operation);
            return Ok(());
        }
        // What is no subject at all is said to be that, rather than denied.
        samara_model::check_subject(subject).map_err(|error| MessagingError::Malformed(error.to_string()))?;
        Err(self.refused(operation, subject))
    }

    fn check_subscribe(&self, pattern: &SubjectPattern) -> Result<(), MessagingError> {
        if self.grant.may_subscribe(pattern) {
            self.lent.used(SUBSCRIBE);
            return Ok(());
        }
        Err(self.refused(SUBSCRIBE, pattern.as_str()))
    }

    /// The error for a subject that is not granted; the grant in it is the one there is, with the subject added.
    fn refused(&self, operation: Operation, subject: &str) -> MessagingError {
        let name = self.lent.store();
        let list = |patterns: &[SubjectPattern], added: Option<&str>| {
            let all = patterns.iter().map(SubjectPattern::as_str).chain(added);
            all.map(|pattern| format!("{pattern:?}")).collect::<Vec<_>>().join(", ")
        };
        let hears = operation == SUBSCRIBE;
        let publish = list(&self.grant.publish, (!hears).then_some(subject));
        let subscribe = list(&self.grant.subscribe, hears.then_some(subject));
        let mut keys = Vec::new();
        if name != DEFAULT_BUS {
            keys.push(format!("store = \"{name}\""));
        }
        if !publish.is_empty() {
            keys.push(format!("publish = [{publish}]"));
        }
        if !subscribe.is_empty() {
            keys.push(format!("subscribe = [{subscribe}]"));
        }
        let what = format!("`{}` `{subject}` on bus `{name}`", operation.name);
        let denial = self.lent.refused(what, format!("messaging = {{ {} }}", keys.join(", ")));
        MessagingError::AccessDenied { what: denial.what, grant: denial.grant }
    }

    fn bound(&self, message: &Message) -> Result<(), MessagingError> {
        if message.bytes() > self.bounds.message_bytes {
            return Err(MessagingError::TooLarge { what: "message", limit: self.bounds.message_bytes });
        }
        Ok(())
    }

    /// Takes one of the workload's subscriptions.
    fn place(&self) -> Result<Place, MessagingError> {
        let most = self.bounds.subscriptions;
        let add = |open: u32| (open < most).then_some(open + 1);
        if self.subscriptions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            let limit = usize::try_from(most).unwrap_or(usize::MAX);
            return Err(MessagingError::TooMany { what: "subscriptions of this workload", limit });
        }
        Ok(Place(Arc::clone(&self.subscriptions)))
    }
}

#[async_trait]
impl Messaging for Granted {
    fn features(&self) -> Features {
        self.store.share().features()
    }

    async fn publish(&self, message: Message) -> Result<(), MessagingError> {
        let allowed = self.check(PUBLISH, &message.subject);
        let work = async {
            self.bound(&message)?;
            self.store.share().publish(message).await
        };
        self.lent.told(PUBLISH, allowed, work).await
    }

    async fn request(
        &self,
        message: Message,
        replies: usize,
        within: Duration,
    ) -> Result<Vec<Message>, MessagingError> {
        let allowed = self.check(REQUEST, &message.subject);
        let work = async {
            self.bound(&message)?;
            let too_many = MessagingError::TooMany {
                what: "requests of this workload without a reply",
                limit: REQUESTS_IN_FLIGHT,
            };
            let _place = self.requests.try_acquire().map_err(|_| too_many)?;
            let replies = self.store.share().request(message, replies, within).await?;
            replies.iter().try_for_each(|reply| self.bound(reply))?;
            Ok(replies)
        };
        self.lent.told(REQUEST, allowed, work).await
    }

    /// The queue is cut to the workload's limit.
    async fn subscribe(&self, mut subscription: Subscription) -> Result<Box<dyn Deliveries>, MessagingError> {
        let allowed = self.check_subscribe(&subscription.pattern);
        let work = async {
            let place = self.place()?;
            subscription.queue = subscription.queue.min(self.bounds.queue);
            let inner = self.store.share().subscribe(subscription).await?;
            let deliveries = Bounded { inner, message_bytes: self.bounds.message_bytes, dropped: 0, _place: place };
            Ok(Box::new(deliveries) as Box<dyn Deliveries>)
        };
        self.lent.told(SUBSCRIBE, allowed, work).await
    }
}

/// One of a workload's subscriptions; given back when it is dropped.
#[derive(Debug)]
struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A subscription within a workload's limits: what is too large for it is given up.
#[derive(Debug)]
struct Bounded {
    inner: Box<dyn Deliveries>,
    message_bytes: u64,
    dropped: u64,
    _place: Place,
}

#[async_trait]
impl Deliveries for Bounded {
    async fn next(&mut self) -> Result<Delivery, MessagingError> {
        loop {
            let delivery = self.inner.next().await?;
            if delivery.message.bytes() <= self.message_bytes {
                return Ok(delivery);
            }
            self.dropped += 1;
            if let Some(receipt) = delivery.receipt {
                receipt.settle(Verdict::Dropped).await?;
            }
        }
    }

    fn waiting(&mut self) -> Option<Delivery> {
        self.inner.waiting()
    }

    fn dropped(&self) -> u64 {
        self.dropped + self.inner.dropped()
    }
}
