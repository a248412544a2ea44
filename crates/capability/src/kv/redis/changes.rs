//! Changes as the scripts publish them, over a connection of their own that is made for the first watcher.
//!
//! Redis keeps nothing for a subscriber that is away: whenever the connection comes back, watchers are told that they missed
//! something.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use redis::Client;
use tokio::sync::watch;

use super::{
    super::{KvError, Watch, watch::Hub},
    Remote, Server, logical,
};

/// Time between two attempts to subscribe.
const RETRY: Duration = Duration::from_millis(250);

/// How often it is looked whether anybody still needs the changes, if there are none.
const IDLE: Duration = Duration::from_secs(5);

/// What listens for the changes of one database.
pub(super) struct Changes {
    client: Client,
    channel: Arc<str>,
    server: Server,
    hub: Arc<Hub>,
    /// Whether the subscription stands.
    standing: watch::Sender<bool>,
    started: AtomicBool,
    store: Weak<Remote>,
}

impl Changes {
    pub(super) fn new(client: Client, channel: Arc<str>, server: Server, store: Weak<Remote>) -> Self {
        let started = AtomicBool::new(false);
        Self { client, channel, server, hub: Arc::default(), standing: watch::Sender::new(false), started, store }
    }

    /// A watcher, once the subscription stands.
    pub(super) async fn watch(&self, prefix: &str) -> Result<Watch, KvError> {
        if !self.started.swap(true, Ordering::AcqRel) {
            tokio::spawn(listen(self.store.clone()));
        }
        let mut standing = self.standing.subscribe();
        let waiting = tokio::time::timeout(self.server.timeout, standing.wait_for(|stands| *stands)).await;
        let late = || KvError::TimedOut(format!("`{}` does not take a subscription", self.server.place));
        // The sender is ours.
        let _ = waiting.map_err(|_| late())?;
        self.hub.watch(prefix)
    }
}

/// Listens as long as the store is open.
async fn listen(store: Weak<Remote>) {
    loop {
        let Some(open) = store.upgrade() else { return };
        let (client, channel) = (open.changes.client.clone(), open.changes.channel.clone());
        let (hub, timeout) = (Arc::downgrade(&open.changes.hub), open.server.timeout);
        drop(open);
        let subscribing = async {
            let mut subscription = client.get_async_pubsub().await?;
            subscription.subscribe(&*channel).await?;
            Ok::<_, redis::RedisError>(subscription)
        };
        if let Ok(Ok(mut subscription)) = tokio::time::timeout(timeout, subscribing).await {
            let Some(open) = store.upgrade() else { return };
            // Those who watched before; whoever waits for the subscription has missed nothing.
            open.changes.hub.missed();
            open.changes.standing.send_replace(true);
            drop(open);
            let mut messages = subscription.on_message();
            loop {
                match tokio::time::timeout(IDLE, messages.next()).await {
                    Ok(Some(message)) => {
                        let Some(hub) = hub.upgrade() else { return };
                        tell(&hub, message.get_payload_bytes());
                    }
                    Ok(None) => break,
                    Err(_) if hub.strong_count() == 0 => return,
                    Err(_) => {}
                }
            }
            drop(messages);
            let Some(open) = store.upgrade() else { return };
            open.changes.standing.send_replace(false);
            open.changes.hub.missed();
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// `+KEY` is there now, `-KEY` is not.
fn tell(hub: &Hub, message: &[u8]) {
    match message.split_first() {
        Some((b'+', key)) => logical(key).into_iter().for_each(|key| hub.set(key)),
        Some((b'-', key)) => logical(key).into_iter().for_each(|key| hub.removed(key)),
        _ => {}
    }
}
