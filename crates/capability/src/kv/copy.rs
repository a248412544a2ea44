//! Copies what is under a prefix from one store to another, as before a link leads elsewhere.

use futures::{StreamExt, stream};

use super::{KeyValue, KvError, PAGE_KEYS, Usage};

/// Entries that are under way at once; no more than their values are in memory, beside one page of keys.
const AT_ONCE: usize = 16;

/// Copies all entries under a prefix, with the time they still live. What the other store has under the same keys is
/// replaced, under other keys it stays. `progress` is told after each page; how much there is altogether is
/// [`usage`](KeyValue::usage).
///
/// What is written to `from` meanwhile is copied or not; nothing is locked. A copy that failed may be begun again.
/// [`Store::move_to`](super::Store::move_to) copies a store that is in use.
///
/// # Errors
/// One of the two stores failed; what was copied until then is there.
pub async fn copy(
    from: &dyn KeyValue,
    to: &dyn KeyValue,
    prefix: &str,
    progress: &(dyn Fn(Usage) + Send + Sync),
) -> Result<Usage, KvError> {
    let mut pages = Pages::default();
    loop {
        let more = pages.next(from, to, prefix).await?;
        progress(pages.copied);
        if !more {
            return Ok(pages.copied);
        }
    }
}

/// A copy that is made page by page.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// What the pages so far have come to; that of one that failed too.
    pub(super) copied: Usage,
    cursor: Option<String>,
}

impl Pages {
    /// Copies the next page; answers whether there is another one. Nothing of it is under way when this returns.
    pub(super) async fn next(&mut self, from: &dyn KeyValue, to: &dyn KeyValue, prefix: &str) -> Result<bool, KvError> {
        let page = from.list_keys(prefix, self.cursor.as_deref(), PAGE_KEYS).await?;
        let mut entries =
            stream::iter(page.keys.into_iter().map(|key| copy_one(from, to, key))).buffer_unordered(AT_ONCE);
        while let Some(bytes) = entries.next().await {
            // What has ended since it was listed is not there.
            if let Some(bytes) = bytes? {
                self.copied.keys += 1;
                self.copied.bytes += bytes;
            }
        }
        drop(entries);
        self.cursor = page.cursor;
        Ok(self.cursor.is_some())
    }
}

/// Copies one entry; its bytes, `None` if it is not there.
async fn copy_one(from: &dyn KeyValue, to: &dyn KeyValue, key: String) -> Result<Option<u64>, KvError> {
    let Some(entry) = from.entry(&key).await? else { return Ok(None) };
    let bytes = (key.len() + entry.value.len()) as u64;
    to.set_expiring(&key, entry.value, entry.ttl).await?;
    Ok(Some(bytes))
}

/// Makes some keys of the other store what they are in this one: with the same values and times, or not there.
pub(super) async fn copy_again(
    from: &dyn KeyValue,
    to: &dyn KeyValue,
    keys: impl IntoIterator<Item = String, IntoIter: Send>,
) -> Result<(), KvError> {
    let one = |key: String| async move {
        if copy_one(from, to, key.clone()).await?.is_none() {
            to.delete(&key).await?;
        }
        Ok::<_, KvError>(())
    };
    let mut keys = stream::iter(keys.into_iter().map(one)).buffer_unordered(AT_ONCE);
    while let Some(done) = keys.next().await {
        done?;
    }
    Ok(())
}
