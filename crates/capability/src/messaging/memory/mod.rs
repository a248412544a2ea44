//! The bus in this process (`memory:`): for the workloads of one tenant that name the same store.
//!
//! What is kept for groups that acknowledge ends with the process. It is bounded by `max`; then publishing to a subject
//! that such a group waits for fails, instead of losing what nobody has seen. A group that nobody has been subscribed to
//! for `keep` is forgotten.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use samara_model::SubjectPattern;

use self::kept::{Group, GroupKey};
use super::{
    Deliveries, Delivery, Features, Message, Messaging, MessagingError, Mode, Provider, Subscription,
    queue::Queue,
    request::{Replies, inbox},
    settings::Settings,
};
use crate::account::Account;

mod kept;

/// The default of `max`.
const MAX_BYTES: u64 = 64 << 20;

/// The default of `keep`: long enough for an app that is replaced by its next version.
const KEEP: Duration = Duration::from_secs(600);

/// Subscriptions of one bus, requests that wait for their replies included.
const MAX_SUBSCRIPTIONS: usize = 10_000;

/// Groups that acknowledge, of one bus.
const MAX_GROUPS: usize = 1000;

#[derive(Debug)]
pub(super) struct Memory;

#[async_trait]
impl Provider for Memory {
    fn scheme(&self) -> &'static str {
        "memory"
    }

    async fn open(&self, url: &str, settings: &toml::Table) -> Result<Arc<dyn Messaging>, MessagingError> {
        if url != "memory:" && url != "memory" {
            return Err(MessagingError::Configuration(format!(
                "`{url}` names nothing more than `memory:` can open; write `memory:`"
            )));
        }
        let mut settings = Settings::new("memory", settings);
        let max_bytes = settings.bytes("max", MAX_BYTES)?;
        let keep = settings.duration("keep", KEEP)?;
        settings.finish()?;
        Ok(Arc::new(Handle(Arc::new(Bus { max_bytes, keep, ..Bus::default() }))))
    }
}

/// What all handles of one bus share.
#[derive(Default)]
struct Bus {
    max_bytes: u64,
    keep: Duration,
    /// Bytes kept for groups that acknowledge.
    kept: Account,
    listeners: RwLock<Listeners>,
    groups: RwLock<HashMap<GroupKey, Arc<Group>>>,
    /// Numbers subscriptions.
    next: AtomicU64,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (listeners, groups) = (self.listeners.read().count, self.groups.read().len());
        f.debug_struct("Bus").field("listeners", &listeners).field("groups", &groups).finish_non_exhaustive()
    }
}

/// Subscriptions at most once, found by subject.
#[derive(Default)]
struct Listeners {
    literal: HashMap<Box<str>, Vec<Arc<Listener>>>,
    wild: Vec<Arc<Listener>>,
    count: usize,
}

struct Listener {
    id: u64,
    pattern: SubjectPattern,
    group: Option<Box<str>>,
    queue: Queue,
    /// Whose turn it is in the group, as long as this member is its first.
    turn: AtomicU64,
}

impl Listeners {
    fn add(&mut self, listener: Arc<Listener>) -> Result<(), MessagingError> {
        if self.count >= MAX_SUBSCRIPTIONS {
            return Err(MessagingError::TooMany { what: "subscriptions of this bus", limit: MAX_SUBSCRIPTIONS });
        }
        self.count += 1;
        if listener.pattern.is_literal() {
            self.literal.entry(listener.pattern.as_str().into()).or_default().push(listener);
        } else {
            self.wild.push(listener);
        }
        Ok(())
    }

    fn remove(&mut self, gone: &Listener) {
        let among = |list: &mut Vec<Arc<Listener>>| list.retain(|one| one.id != gone.id);
        self.count = self.count.saturating_sub(1);
        if !gone.pattern.is_literal() {
            return among(&mut self.wild);
        }
        if let Some(list) = self.literal.get_mut(gone.pattern.as_str()) {
            among(list);
            if list.is_empty() {
                self.literal.remove(gone.pattern.as_str());
            }
        }
    }

    fn of<'a>(&'a self, subject: &'a str) -> impl Iterator<Item = &'a Arc<Listener>> {
        let literal = self.literal.get(subject).into_iter().flatten();
        literal.chain(self.wild.iter().filter(|one| one.pattern.matches(subject)))
    }
}

impl Bus {
    /// Gives a message to everybody it is for; answers how many those are.
    fn deliver(&self, mut message: Message) -> Result<usize, MessagingError> {
        // What the publisher's buffer keeps alive is none of ours.
        message.body = Bytes::copy_from_slice(&message.body);
        let groups = self.groups_of(&message.subject);
        let bytes = message.footprint();
        if !self.kept.reserve(bytes.saturating_mul(groups.len() as u64), self.max_bytes) {
            return Err(MessagingError::TooLarge { what: "bus", limit: self.max_bytes });
        }
        for group in &groups {
            if !group.add(message.clone()) {
                self.kept.release(bytes);
            }
        }
        let mut receivers = groups.len();
        let listeners = self.listeners.read();
        let mut shared: Vec<&Arc<Listener>> = Vec::new();
        for listener in listeners.of(&message.subject) {
            if listener.group.is_some() {
                shared.push(listener);
            } else {
                listener.queue.push(Delivery::plain(message.clone()));
                receivers += 1;
            }
        }
        shared.sort_by(|a, b| a.group.cmp(&b.group).then(a.id.cmp(&b.id)));
        for members in shared.chunk_by(|a, b| a.group == b.group) {
            let turn = members.first().map_or(0, |first| first.turn.fetch_add(1, Ordering::Relaxed));
            let turn = turn % members.len() as u64;
            let (before, after) = members.split_at(usize::try_from(turn).unwrap_or(0));
            let mut in_turn = after.iter().chain(before);
            let first = in_turn.clone().next();
            // Who has no room is passed over, as long as somebody has.
            if let Some(member) = in_turn.find(|member| !member.queue.is_full()).or(first) {
                member.queue.push(Delivery::plain(message.clone()));
                receivers += 1;
            }
        }
        Ok(receivers)
    }

    /// The groups that keep a subject's messages; forgets those among them that nobody came back to.
    fn groups_of(&self, subject: &str) -> Vec<Arc<Group>> {
        let groups = self.groups.read();
        let matching = groups.iter().filter(|(key, _)| key.pattern.matches(subject));
        let (left, kept): (Vec<_>, Vec<_>) = matching.partition(|(_, group)| group.is_left(self.keep));
        let kept = kept.into_iter().map(|(_, group)| Arc::clone(group)).collect();
        let left: Vec<GroupKey> = left.into_iter().map(|(key, _)| key.clone()).collect();
        drop(groups);
        for key in left {
            self.forget(&key);
        }
        kept
    }

    /// Forgets a group, unless somebody has come back to it meanwhile.
    fn forget(&self, key: &GroupKey) {
        let mut groups = self.groups.write();
        if groups.get(key).is_some_and(|group| group.is_left(self.keep))
            && let Some(group) = groups.remove(key)
        {
            self.kept.release(group.forget());
        }
    }

    fn join(self: &Arc<Self>, key: GroupKey, within: Duration) -> Result<kept::Member, MessagingError> {
        let mut groups = self.groups.write();
        if groups.len() >= MAX_GROUPS && !groups.contains_key(&key) {
            groups.retain(|_, group| {
                let stays = !group.is_left(self.keep);
                if !stays {
                    self.kept.release(group.forget());
                }
                stays
            });
            if groups.len() >= MAX_GROUPS {
                return Err(MessagingError::TooMany { what: "groups of this bus", limit: MAX_GROUPS });
            }
        }
        let group = groups.entry(key).or_default();
        Ok(kept::Member::join(Arc::clone(group), Arc::clone(self), within))
    }

    fn listen(
        self: &Arc<Self>,
        pattern: SubjectPattern,
        group: Option<&str>,
        queue: Queue,
    ) -> Result<Listening, MessagingError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let listener = Arc::new(Listener { id, pattern, group: group.map(Into::into), queue, turn: AtomicU64::new(0) });
        self.listeners.write().add(Arc::clone(&listener))?;
        Ok(Listening { bus: Arc::clone(self), listener })
    }
}

/// A bus as it is lent.
#[derive(Debug)]
struct Handle(Arc<Bus>);

#[async_trait]
impl Messaging for Handle {
    fn features(&self) -> Features {
        Features { groups: true, acknowledgement: true, envelopes: true }
    }

    async fn publish(&self, message: Message) -> Result<(), MessagingError> {
        message.check()?;
        self.0.deliver(message).map(drop)
    }

    async fn request(
        &self,
        mut message: Message,
        replies: usize,
        within: Duration,
    ) -> Result<Vec<Message>, MessagingError> {
        let address = message.reply_to.get_or_insert_with(inbox).clone();
        message.check()?;
        let pattern = address.parse::<SubjectPattern>().map_err(|e| MessagingError::Malformed(e.to_string()))?;
        let replies = Replies::new(replies, within);
        let mut answers = self.0.listen(pattern, None, replies.queue())?;
        if self.0.deliver(message)? == 0 {
            return Err(MessagingError::NoResponders);
        }
        replies.gather(&mut answers).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, MessagingError> {
        subscription.check()?;
        match subscription.mode {
            Mode::AtMostOnce { group, overflow } => {
                let queue = Queue::new(subscription.queue, overflow);
                Ok(Box::new(self.0.listen(subscription.pattern, group.as_deref(), queue)?))
            }
            Mode::Acknowledged { group, within, .. } => {
                let key = GroupKey { group: group.into(), pattern: subscription.pattern };
                Ok(Box::new(self.0.join(key, within)?))
            }
        }
    }
}

/// A subscription at most once; leaves the bus when it is dropped.
struct Listening {
    bus: Arc<Bus>,
    listener: Arc<Listener>,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listening").field(&self.listener.pattern).finish()
    }
}

#[async_trait]
impl Deliveries for Listening {
    async fn next(&mut self) -> Result<Delivery, MessagingError> {
        self.listener.queue.next().await
    }

    fn waiting(&mut self) -> Option<Delivery> {
        self.listener.queue.pop()
    }

    fn dropped(&self) -> u64 {
        self.listener.queue.dropped()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.bus.listeners.write().remove(&self.listener);
    }
}
