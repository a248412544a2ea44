//! Measures a share of a store now and then, because its account knows only what was written through it: keys end by
//! themselves, and other processes may write to the same server.
//!
//! The work is bounded: one measurement at a time, the next one at the earliest after [`PAUSE`] and after
//! [`SHARE_OF_TIME`] times what the last one took, so that a store of any size is read for a hundredth of the time at most.
//! A write that is refused for want of room asks for one ahead of time, [`HASTE`] after the last one.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{KeyValue, KvError, Store};
use crate::{Link, account::Account};

/// Time between two measurements, at least.
const PAUSE: Duration = Duration::from_mins(1);

/// The same if somebody waits for room.
const HASTE: Duration = Duration::from_secs(1);

/// How many times as long as it took to measure nothing is measured.
const SHARE_OF_TIME: u32 = 100;

/// What is measured, without keeping it open.
struct Share {
    prefix: Arc<str>,
    backend: Weak<Link<dyn KeyValue>>,
    account: Weak<Account>,
    hurry: Weak<Notify>,
}

/// Measures a store as long as anybody has it.
pub(super) fn start(store: &Store) {
    let share = Share {
        prefix: store.prefix.clone(),
        backend: Arc::downgrade(&store.backend),
        account: Arc::downgrade(&store.account),
        hurry: Arc::downgrade(&store.hurry),
    };
    tokio::spawn(async move {
        let mut took = Duration::ZERO;
        while let Some(hurry) = share.hurry.upgrade() {
            let rest = took.saturating_mul(SHARE_OF_TIME);
            tokio::time::sleep(HASTE.max(rest)).await;
            let waiting = PAUSE.saturating_sub(HASTE.max(rest));
            let _ = tokio::time::timeout(waiting, hurry.notified()).await;
            drop(hurry);
            let (Some(backend), Some(account)) = (share.backend.upgrade(), share.account.upgrade()) else { return };
            let since = Instant::now();
            if let Err(error) = measure(&share.prefix, &*backend.get(), &account).await {
                // The next one may find it in reach again; whoever uses the store is told by its own operations.
                tracing::debug!(%error, "a store could not be measured");
            }
            took = since.elapsed();
        }
    });
}

/// Corrects an account by what is there.
pub(super) async fn measure(prefix: &str, backend: &dyn KeyValue, account: &Account) -> Result<(), KvError> {
    let measuring = account.measuring();
    measuring.found(account, held(prefix, backend).await?);
    Ok(())
}

/// Bytes in a share, without its prefix: guests pay for their own bytes, not for ours.
pub(super) async fn held(prefix: &str, backend: &dyn KeyValue) -> Result<u64, KvError> {
    let usage = backend.usage(prefix).await?;
    Ok(usage.bytes.saturating_sub(usage.keys.saturating_mul(prefix.len() as u64)))
}
