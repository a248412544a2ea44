//! Moves a share to another backend while workloads use it, so that nothing that was answered is lost.
//!
//! First everything is copied, page by page, while the share is used and the keys that are written are noted ([`gate`]); after
//! each page those keys again, as they are then. When few are left, or no fewer than before, the operations wait: those that have begun end, the last
//! keys are copied, the link is changed, and the others go on at the new place. Until that moment every operation is done at
//! the old place, and at no moment at both: increments and swaps are as atomic as ever. Whatever fails before it, or takes
//! too long, leaves the share where it is, with all that was written meanwhile.
//!
//! Only what goes through this [`Store`] and its clones is noted: whoever else writes to the same backend (another app of the
//! tenant, another process) has to be moved, or to pause, by whoever runs them. A write that was abandoned or not answered in
//! time may have happened at the old place alone.
//!
//! The old place keeps what it has, for whoever wants to go back to that moment.
//!
//! [`gate`]: super::gate

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Copied, KeyValue, KvError, PAGE_KEYS, Store, Usage,
    copy::{Pages, copy_again},
    gate::Noting,
};

/// How many keys may be left for the moment in which operations wait.
const FEW_KEYS: usize = 100;

/// How often the keys that were written meanwhile are copied before that moment comes anyway.
const ROUNDS: usize = 20;

/// How many keys more than the share had at the beginning, and as many again, the first copy may come to.
const MORE_KEYS: u64 = 100_000;

/// How the key begins by which two URLs of one place are told.
const PROBE: &str = ".samara-moving-";

/// How long that key stays if nobody is left to remove it.
const PROBE_TIME: Duration = Duration::from_mins(1);

/// What becomes of the keys that the new place has under the tenant's prefix already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Present {
    /// There may be none, or nothing is moved.
    #[default]
    Refused,
    /// They stay unless the share has the same key: two become one, and what was deleted here while it was there is back.
    Kept,
    /// They are removed before anything is copied: for a place that the share was at before, or that a move that failed has
    /// left in pieces.
    Removed,
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What has been copied of the share.
    pub copied: Copied,
    /// What the share held when the move began, `None` if that could not be measured. Keys come and go meanwhile, so that
    /// there may be more to copy, or less.
    pub total: Option<Usage>,
}

/// Why a share is where it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store stays where it is: {why}{}", Left(.left))]
pub struct MoveError {
    /// What failed.
    pub why: KvError,
    /// What was copied until then, and stays at the new place until somebody removes it or moves the store there with
    /// [`Present::Removed`].
    pub left: Copied,
}

struct Left<'c>(&'c Copied);

impl fmt::Display for Left<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.keys {
            0 => Ok(()),
            keys => {
                write!(f, "; `{keys}` keys that were copied are left at the new place, remove them or move it again")
            }
        }
    }
}

/// The two places of one move.
struct Move<'m> {
    from: Arc<dyn KeyValue>,
    to: &'m Arc<dyn KeyValue>,
    prefix: &'m str,
}

impl Store {
    /// Moves this share to another backend: copies all its keys with their times there, and leads the link to it. Whatever was
    /// answered before is there, and what was deleted is not. `progress` is told at the beginning and after each page.
    ///
    /// Takes as long as copying takes; operations wait for moments at its beginning and its end, [`HOLD`](super::HOLD) at most
    /// each. A page of keys is in memory, sixteen of their values, and the keys that are written meanwhile
    /// ([`NOTED_KEYS`](super::NOTED_KEYS)). Dropped half-way it has failed.
    ///
    /// # Errors
    /// One of the two backends failed, or has no room for a key; both lead to the same data; the new one has keys already and
    /// they are [`Refused`](Present::Refused); the share is written to faster than it is copied, is being moved already, or
    /// was linked elsewhere meanwhile. Then all operations go on where they were.
    pub async fn move_to(
        &self,
        to: Arc<dyn KeyValue>,
        present: Present,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Copied, MoveError> {
        let mut pages = Pages::default();
        match self.try_move(&to, present, &mut pages, progress).await {
            Ok(()) => {}
            Err(why) => return Err(MoveError { why, left: pages.copied }),
        }
        // The sum has come along with the data. Only what else is there now has to be found.
        if present == Present::Kept
            && let Err(error) = self.measure().await
        {
            tracing::debug!(%error, "a store that was moved could not be measured");
        }
        Ok(pages.copied)
    }

    async fn try_move(
        &self,
        to: &Arc<dyn KeyValue>,
        present: Present,
        pages: &mut Pages,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), KvError> {
        let noting = self.gate.note().await?;
        let moving = Move { from: self.backend.get(), to, prefix: &self.prefix };
        moving.check_places().await?;
        moving.make_room(present).await?;
        let total = moving.from.usage(moving.prefix).await.ok();
        progress(Progress { copied: pages.copied, total });
        while pages.next(&*moving.from, &**to, moving.prefix).await? {
            progress(Progress { copied: pages.copied, total });
            let most = total.map_or(u64::MAX, |total| total.keys.saturating_mul(2).saturating_add(MORE_KEYS));
            if pages.copied.keys > most {
                let why = "keys are written faster than they are copied; move it when less is written";
                return Err(KvError::Backend(why.to_owned()));
            }
            // Between two pages nothing else writes to the new place, so that no older value comes after a newer one.
            moving.catch_up(&noting).await?;
        }
        progress(Progress { copied: pages.copied, total });
        let mut before = usize::MAX;
        for _ in 0..ROUNDS {
            let written = moving.catch_up(&noting).await?;
            // Keys that are written again and again never become fewer.
            if written <= FEW_KEYS || written >= before {
                break;
            }
            before = written;
        }
        let last = async {
            moving.catch_up(&noting).await?;
            if self.backend.replace(&moving.from, to.clone()) {
                return Ok(());
            }
            Err(KvError::Configuration("it was linked elsewhere while it was moved; move it from there".to_owned()))
        };
        self.gate.alone(last).await
    }
}

impl Move<'_> {
    /// Copies the keys that were written since the last time; how many they are.
    async fn catch_up(&self, noting: &Noting<'_>) -> Result<usize, KvError> {
        let written = noting.take()?;
        let count = written.len();
        copy_again(&*self.from, &**self.to, written).await?;
        Ok(count)
    }

    /// Refuses two ways to the same data, which would be copied over itself. URLs do not tell; a key that is written at one
    /// place and seen at the other does.
    async fn check_places(&self) -> Result<(), KvError> {
        let same = || KvError::Configuration("both places are one, with the same data; move it elsewhere".to_owned());
        if Arc::ptr_eq(&self.from, self.to) {
            return Err(same());
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| KvError::Backend(format!("no random numbers: {error}")))?;
        let probe = format!("{}{PROBE}{:032x}", self.prefix, u128::from_ne_bytes(random));
        match self.to.set_expiring(&probe, Bytes::new(), Some(PROBE_TIME)).await {
            Err(KvError::Unsupported { .. }) => self.to.set(&probe, Bytes::new()).await?,
            written => written?,
        };
        let seen = self.from.exists(&probe).await;
        self.to.delete(&probe).await?;
        if seen? { Err(same()) } else { Ok(()) }
    }

    /// Does with what is there as whoever moves the share wants it.
    async fn make_room(&self, present: Present) -> Result<(), KvError> {
        let page_keys = match present {
            Present::Kept => return Ok(()),
            Present::Refused => 1,
            Present::Removed => PAGE_KEYS,
        };
        let mut cursor = None;
        loop {
            let page = self.to.list_keys(self.prefix, cursor.as_deref(), page_keys).await?;
            if present == Present::Refused && !page.keys.is_empty() {
                return Err(KvError::Configuration(
                    "the new place has keys of this tenant already; have them removed (`replace`) or kept (`merge`)"
                        .to_owned(),
                ));
            }
            self.to.delete_many(&page.keys).await.into_iter().try_for_each(|removed| removed.map(drop))?;
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
