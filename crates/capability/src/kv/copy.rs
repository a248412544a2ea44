//! Copies what is under a prefix from one store to another, as before a link leads elsewhere.

use futures::{StreamExt, stream};

use super::{KeyValue, KvError, PAGE_KEYS};

/// Entries that are under way at once; no more than their values are in memory, beside one page of keys.
const AT_ONCE: usize = 16;

/// How far a copy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Entries that have been written.
    pub keys: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// Copies all entries under a prefix, with the time they still live. What the other store has under the same keys is
/// replaced, under other keys it stays. `progress` is told after each page; how much there is altogether is
/// [`usage`](KeyValue::usage).
///
/// What is written to `from` meanwhile is copied or not; nothing is locked. A copy that failed may be begun again.
///
/// # Errors
/// One of the two stores failed; what was copied until then is there.
pub async fn copy(
    from: &dyn KeyValue,
    to: &dyn KeyValue,
    prefix: &str,
    progress: &(dyn Fn(Copied) + Send + Sync),
) -> Result<Copied, KvError> {
    let (mut copied, mut cursor) = (Copied::default(), None);
    loop {
        let page = from.list_keys(prefix, cursor.as_deref(), PAGE_KEYS).await?;
        let mut entries =
            stream::iter(page.keys.into_iter().map(|key| copy_one(from, to, key))).buffer_unordered(AT_ONCE);
        while let Some(bytes) = entries.next().await {
            // What has ended since it was listed is not there.
            if let Some(bytes) = bytes? {
                copied.keys += 1;
                copied.bytes += bytes;
            }
        }
        drop(entries);
        progress(copied);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(copied);
        }
    }
}

/// Copies one entry; its bytes, `None` if it is not there.
async fn copy_one(from: &dyn KeyValue, to: &dyn KeyValue, key: String) -> Result<Option<u64>, KvError> {
    let Some(entry) = from.entry(&key).await? else { return Ok(None) };
    let bytes = (key.len() + entry.value.len()) as u64;
    to.set_expiring(&key, entry.value, entry.ttl).await?;
    Ok(Some(bytes))
}
