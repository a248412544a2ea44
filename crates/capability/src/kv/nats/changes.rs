//! Changes of a bucket, from one consumer that is made for the first watcher.
//!
//! The client makes the consumer anew where it ended, and each key's last write is kept; so that an outage costs a watcher
//! nothing but time. Where it cannot, watchers are told that they missed something.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::consumer::{
    DeliverPolicy,
    push::{Ordered, OrderedConfig},
};
use futures::StreamExt;
use tokio::sync::watch;

use super::{
    super::{KvError, Watch, watch::Hub},
    Bucket, Server, is_mark, names,
};

/// Time between two attempts to make the consumer.
const RETRY: Duration = Duration::from_millis(250);

/// How often it is looked whether anybody still needs the changes, if there are none.
const IDLE: Duration = Duration::from_secs(5);

/// What listens for the changes of one bucket.
pub(super) struct Changes {
    hub: Arc<Hub>,
    /// Whether the consumer stands.
    standing: watch::Sender<bool>,
    started: AtomicBool,
    store: Weak<Bucket>,
}

impl Changes {
    pub(super) fn new(store: Weak<Bucket>) -> Self {
        Self { hub: Arc::default(), standing: watch::Sender::new(false), started: AtomicBool::new(false), store }
    }

    /// A watcher, once the consumer stands.
    pub(super) async fn watch(&self, prefix: &str, server: &Server) -> Result<Watch, KvError> {
        if !self.started.swap(true, Ordering::AcqRel) {
            tokio::spawn(listen(self.store.clone()));
        }
        let mut standing = self.standing.subscribe();
        // The sender is ours.
        let _ = tokio::time::timeout(server.timeout, standing.wait_for(|stands| *stands))
            .await
            .map_err(|_| server.late())?;
        self.hub.watch(prefix)
    }
}

impl Bucket {
    async fn new_changes(&self) -> Result<Ordered, KvError> {
        let config = OrderedConfig {
            deliver_subject: self.client.new_inbox(),
            filter_subject: [&*self.subjects, ">"].concat(),
            headers_only: true,
            deliver_policy: DeliverPolicy::New,
            ..OrderedConfig::default()
        };
        let failed = |error: &dyn std::fmt::Display| self.server.failed(&error.to_string());
        let made = async {
            let consumer = self.stream.create_consumer(config).await.map_err(|error| failed(&error))?;
            consumer.messages().await.map_err(|error| failed(&error))
        };
        self.server.in_time(made).await
    }
}

/// Listens as long as the store is open.
async fn listen(store: Weak<Bucket>) {
    loop {
        let Some(open) = store.upgrade() else { return };
        let (hub, subjects) = (Arc::downgrade(&open.changes.hub), open.subjects.clone());
        let made = open.new_changes().await;
        if let Ok(mut messages) = made {
            // Those who watched before; whoever waits for the consumer has missed nothing.
            open.changes.hub.missed();
            open.changes.standing.send_replace(true);
            drop(open);
            loop {
                match tokio::time::timeout(IDLE, messages.next()).await {
                    Ok(Some(Ok(message))) => {
                        let Some(hub) = hub.upgrade() else { return };
                        let removed = message.headers.as_ref().is_some_and(is_mark);
                        tell(&hub, message.subject.strip_prefix(&*subjects).unwrap_or_default(), removed);
                    }
                    Ok(Some(Err(_)) | None) => break,
                    Err(_) if hub.strong_count() == 0 => return,
                    Err(_) => {}
                }
            }
            let Some(open) = store.upgrade() else { return };
            open.changes.standing.send_replace(false);
            open.changes.hub.missed();
        } else {
            drop(open);
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn tell(hub: &Hub, words: &str, removed: bool) {
    match names::decoded(words) {
        Some(key) if removed => hub.removed(&key),
        Some(key) => hub.set(&key),
        None => {}
    }
}
