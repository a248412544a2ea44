//! Messages: the trait that contracts and triggers call, and the table of providers behind it.
//!
//! A subject is words between dots, `orders.eu.created`; in a pattern `*` is one word and a final `>` one or more. A
//! provider sees subjects and bytes and nothing else: tenants are kept apart by [`Store`], grants and limits are applied
//! once, by [`Store::grant`], whatever the provider.
//!
//! What is promised to whom:
//! - A message is published **at most once** to each subscription that is there, unless the subscription asked for
//!   acknowledgement: then it is handed out **at least once**, until it is acknowledged or given up.
//! - **Order** is that of publishing, for one publisher, one subject and one subscription that is alone in its group.
//!   Groups, retries and reconnections change it.
//! - **Queues are bounded.** A subscription that is slow loses messages as its [`Overflow`] says; one that acknowledges
//!   makes publishing fail instead, when the bus holds as much as it may.
//! - **A lost connection** comes back by itself, with a back-off, and subscriptions with it. Until then operations wait
//!   for it and fail when their time is over. What was asked may still have happened.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

#[cfg(any(test, feature = "conformance"))]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the suite fails by panicking, as tests do"
)]
mod check;
mod error;
mod granted;
mod memory;
mod message;
#[cfg(feature = "nats")]
mod nats;
mod queue;
#[cfg(feature = "redis")]
mod redis;
mod request;
mod settings;
mod share;
mod store;
mod subscription;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "conformance"))]
pub use check::check_messaging;
pub use error::MessagingError;
pub use granted::{Granted, REQUESTS_IN_FLIGHT};
pub use message::{MAX_HEADERS, Message};
pub use share::Share;
pub use store::Store;
pub use subscription::{Deliveries, Delivery, MAX_QUEUE, Mode, Overflow, QUEUE_BYTES, Receipt, Subscription, Verdict};

/// Every provider. A new one is one file and one line here.
pub const PROVIDERS: &[&dyn Provider] = &[
    &memory::Memory,
    #[cfg(feature = "nats")]
    &nats::Nats,
    #[cfg(feature = "redis")]
    &redis::Redis,
];

/// Schemes that have a provider, but only in builds with a cargo feature.
const OPTIONAL: &[(&str, &str, bool)] =
    &[("nats", "nats", cfg!(feature = "nats")), ("redis", "redis", cfg!(feature = "redis"))];

/// What every reply's address starts with, as guests see it. Who was handed one may publish to it without a grant; nobody
/// may subscribe to it.
pub const INBOX: &str = "_INBOX";

/// Replies to one request, at most.
pub const MAX_REPLIES: usize = 1000;

/// A bus that is open: shared by all workloads it is granted to. None of its methods blocks its thread.
#[async_trait]
pub trait Messaging: fmt::Debug + Send + Sync {
    /// What this bus can do beside publishing to whoever listens; the rest it refuses by name.
    fn features(&self) -> Features;

    /// Sends a message to everybody who subscribed to its subject, as the module says. It answers when the bus has the
    /// message, and for subscriptions that acknowledge when it keeps it; that nobody listens is no error. May wait for a
    /// connection, for the provider's time-out.
    ///
    /// # Errors
    /// The message is larger than the bus takes, the bus holds as much as it may, or the backend failed.
    async fn publish(&self, message: Message) -> Result<(), MessagingError>;

    /// Publishes a message and waits for replies: for `replies` of them (at least one, at most [`MAX_REPLIES`]) or, once
    /// there is one, for as many as come `within` the time. Whoever answers publishes to the message's `reply_to`, which
    /// the bus fills in; one that is there already must be a subject nobody can guess.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); nobody listens (where the bus can tell), or nobody answered in time.
    async fn request(&self, message: Message, replies: usize, within: Duration)
    -> Result<Vec<Message>, MessagingError>;

    /// Subscribes. Messages that are published after this has answered are delivered until what it answers is dropped.
    ///
    /// # Errors
    /// The bus cannot do what the subscription asks for, there are too many, or the backend failed.
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, MessagingError>;
}

/// What a bus can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Subscriptions that share their messages.
    pub groups: bool,
    /// Subscriptions that acknowledge.
    pub acknowledgement: bool,
    /// Headers, addresses for replies, and so requests. Without them a message is its bytes alone.
    pub envelopes: bool,
}

/// Opens buses of one kind.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// The word before the colon of its URLs.
    fn scheme(&self) -> &'static str;

    /// Opens the bus that a URL of this scheme names. Called when an app is loaded, on a runtime that may wait.
    ///
    /// `settings` are the other keys of the store's table in the manifest; an unknown one is an error.
    ///
    /// # Errors
    /// The URL or a setting is wrong, or the backend does not answer; the caller tries again.
    async fn open(&self, url: &str, settings: &toml::Table) -> Result<Arc<dyn Messaging>, MessagingError>;
}

/// Opens the bus a URL names, with the provider of its scheme.
///
/// # Errors
/// No provider has the scheme (the message lists those there are), or the provider refuses.
pub async fn open(url: &str, settings: &toml::Table) -> Result<Arc<dyn Messaging>, MessagingError> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    if let Some(provider) = PROVIDERS.iter().find(|provider| provider.scheme() == scheme) {
        return provider.open(url, settings).await;
    }
    if let Some((_, feature, _)) = OPTIONAL.iter().find(|(name, _, built)| *name == scheme && !built) {
        return Err(MessagingError::Configuration(format!(
            "this build has no messaging provider for `{scheme}:`; build it with the cargo feature `{feature}`"
        )));
    }
    let known = PROVIDERS.iter().map(|provider| provider.scheme()).collect::<Vec<_>>().join(", ");
    Err(MessagingError::Configuration(format!("no messaging provider for `{scheme}:`; known schemes: {known}")))
}
