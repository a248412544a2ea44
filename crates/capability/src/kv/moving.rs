//! Moves a share of keys to another backend while workloads use it ([`crate::moving`] says how).

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    KeyValue, KvError, PAGE_KEYS, Present, Store, Usage,
    copy::{Pages, copy_again},
};
use crate::{
    Amount,
    gate::Change,
    moving::{self, Move, Refusal, Told, unique},
};

/// How the key begins by which two URLs of one place are told.
const PROBE: &str = ".samara-moving-";

/// How long that key stays if nobody is left to remove it.
const PROBE_TIME: Duration = Duration::from_mins(1);

/// How far a move has come, in keys and bytes.
pub type Progress = moving::Progress<Usage>;

/// Why a share is where it was, and the keys that were copied.
pub type MoveError = moving::MoveError<KvError, Usage>;

/// A key, as the backend knows it.
impl Change for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Store {
    /// Moves this share to another backend: copies all its keys with their times there, and leads the link to it. Whatever was
    /// answered before is there, and what was deleted is not. `progress` is told at the beginning and after each page.
    ///
    /// Takes as long as copying takes; operations wait for moments at its beginning and its end, [`HOLD`](crate::HOLD) at most
    /// each. A page of keys is in memory, sixteen of their values, and the keys that are written meanwhile
    /// ([`NOTED_CHANGES`](crate::NOTED_CHANGES)). Dropped half-way it has failed.
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
    ) -> Result<Usage, MoveError> {
        let from = self.backend.get();
        let mut keys = Keys { from: &from, to: &to, prefix: &self.prefix, pages: Pages::default() };
        let moved = moving::run(&mut keys, &self.gate, &self.backend, (&from, &to), present, progress).await;
        let copied = keys.pages.copied;
        moved.map_err(|why| MoveError { why, left: copied })?;
        // The sum has come along with the data. Only what else is there now has to be found.
        if present == Present::Kept
            && let Err(error) = self.measure().await
        {
            tracing::debug!(%error, "a store that was moved could not be measured");
        }
        Ok(copied)
    }
}

/// The keys of one move.
struct Keys<'m> {
    from: &'m Arc<dyn KeyValue>,
    to: &'m Arc<dyn KeyValue>,
    prefix: &'m str,
    pages: Pages,
}

#[async_trait]
impl Move for Keys<'_> {
    type Backend = dyn KeyValue;
    type Change = String;
    type Amount = Usage;
    type Error = KvError;

    async fn is_one_place(&self) -> Result<bool, KvError> {
        let probe = format!("{}{PROBE}{}", self.prefix, unique()?);
        match self.to.set_expiring(&probe, Bytes::new(), Some(PROBE_TIME)).await {
            Err(KvError::Unsupported { .. }) => self.to.set(&probe, Bytes::new()).await?,
            written => written?,
        };
        let seen = self.from.exists(&probe).await;
        self.to.delete(&probe).await?;
        seen
    }

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
                return Err(Refusal::Present(Usage::ENTRIES).into());
            }
            self.to.delete_many(&page.keys).await.into_iter().try_for_each(|removed| removed.map(drop))?;
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn held(&self) -> Result<Usage, KvError> {
        self.from.usage(self.prefix).await
    }

    fn copied(&self) -> Usage {
        self.pages.copied
    }

    async fn next(&mut self, told: Told<'_, Usage>) -> Result<bool, KvError> {
        let more = self.pages.next(&**self.from, &**self.to, self.prefix).await?;
        told(self.pages.copied);
        Ok(more)
    }

    /// As many as there are keys.
    async fn again(&self, changes: HashSet<String>) -> Result<usize, KvError> {
        let keys = changes.len();
        copy_again(&**self.from, &**self.to, changes).await?;
        Ok(keys)
    }
}

#[cfg(test)]
mod tests;
