//! Copies through this process, for what a backend cannot copy by itself: large objects of S3, and one store's content into
//! another when an operator exchanges them.
//!
//! Objects stream. [`AT_ONCE`] of them are under way together, as far as there is room for their buffers.

use futures::{StreamExt, stream};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Blob, BlobError, CHUNK_BYTES, Page, Place, Usage, Written};

/// Names that are asked for at once.
const PAGE: usize = 1000;

/// Objects that are under way at once.
const AT_ONCE: usize = 16;

/// MiB of all objects that are under way, at most: an object takes its size, up to [`LARGE_MIB`].
const ROOM_MIB: usize = 64;

/// What a large object takes: more than the buffers of an upload to S3, which has the largest.
const LARGE_MIB: u32 = 16;

/// Writes an object of one store into another (or the same): chunk by chunk, never more than the buffers of the two in
/// memory.
///
/// # Errors
/// One of the backends failed: the target is as it was.
pub async fn copy_through(
    source: &dyn Blob,
    from: Place<'_>,
    target: &dyn Blob,
    to: Place<'_>,
) -> Result<Written, BlobError> {
    let mut object = source.get(from.container, from.object, 0..u64::MAX).await?;
    let mut upload = target.put(to.container, to.object, object.info.attributes.clone()).await?;
    while let Some(chunk) = object.body.next().await {
        upload.write(chunk?).await?;
    }
    upload.finish().await
}

/// Writes all containers whose names start with `prefix`, with all that is in them, into another store; `told` hears what
/// was copied so far after each object. What the target has already under the same name is replaced, what it has beside that
/// stays. An object that is removed meanwhile is left out. The times of what is copied are those of the copy.
///
/// What is written to `source` meanwhile is copied or not; [`Store::move_to`](super::Store::move_to) copies a store that is
/// in use.
///
/// # Errors
/// One of the backends failed; what was copied until then stays.
pub async fn copy_all(
    source: &dyn Blob,
    target: &dyn Blob,
    prefix: &str,
    told: &(dyn Fn(Usage) + Send + Sync),
) -> Result<Usage, BlobError> {
    let mut pages = Pages::default();
    while pages.next(source, target, prefix, told).await? {}
    Ok(pages.copied)
}

/// Room for the buffers of objects that are copied.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(ROOM_MIB))
    }
}

impl Room {
    /// Room for an object, once those before it have left enough.
    pub(super) async fn take(&self, bytes: u64) -> Result<SemaphorePermit<'_>, BlobError> {
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).saturating_add(1).min(LARGE_MIB);
        self.0.acquire_many(mib).await.map_err(|_| BlobError::Backend("the copy has ended".to_owned()))
    }
}

/// A copy that is made page by page.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// What the pages so far have come to; that of one that failed too.
    pub(super) copied: Usage,
    pub(super) room: Room,
    at: At,
}

/// Where the next page begins.
#[derive(Debug, Default)]
enum At {
    /// With the first containers.
    #[default]
    Begin,
    /// With the containers that were listed, last first, and then after this cursor.
    Containers(Vec<String>, Option<String>),
    /// In the middle of a container.
    Within { container: String, cursor: Option<String>, containers: Vec<String>, after: Option<String> },
    /// There is none.
    End,
}

impl Pages {
    /// Copies the next page: some of a container's objects, the container with the first of them. Answers whether there is
    /// another one. Nothing of it is under way when this returns.
    pub(super) async fn next(
        &mut self,
        from: &dyn Blob,
        to: &dyn Blob,
        prefix: &str,
        told: &(dyn Fn(Usage) + Send + Sync),
    ) -> Result<bool, BlobError> {
        self.at = match std::mem::replace(&mut self.at, At::End) {
            At::Begin => listed(from.list_containers(prefix, None, PAGE).await?),
            At::Containers(mut containers, after) => match containers.pop() {
                Some(container) => {
                    // It may be gone since it was listed; what becomes of it after this look is somebody else's to notice.
                    if from.container(&container).await?.is_some() {
                        to.create_container(&container).await?;
                        self.copied.containers = self.copied.containers.saturating_add(1);
                        At::Within { container, cursor: None, containers, after }
                    } else {
                        At::Containers(containers, after)
                    }
                }
                None => match after {
                    Some(after) => listed(from.list_containers(prefix, Some(&after), PAGE).await?),
                    None => At::End,
                },
            },
            At::Within { container, cursor, containers, after } => {
                match self.objects(from, to, &container, cursor.as_deref(), told).await? {
                    Some(cursor) => At::Within { container, cursor: Some(cursor), containers, after },
                    None => At::Containers(containers, after),
                }
            }
            At::End => At::End,
        };
        Ok(!matches!(self.at, At::End))
    }

    /// Copies a page of a container's objects; the cursor of the next one.
    async fn objects(
        &mut self,
        from: &dyn Blob,
        to: &dyn Blob,
        container: &str,
        cursor: Option<&str>,
        told: &(dyn Fn(Usage) + Send + Sync),
    ) -> Result<Option<String>, BlobError> {
        let Page { entries, cursor } = match from.list(container, "", cursor, PAGE).await {
            Ok(page) => page,
            Err(BlobError::NoSuchContainer { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let room = &self.room;
        let copying = entries.into_iter().map(|object| async move {
            copy_one(from, to, Place { container, object: &object.name }, object.bytes, room).await
        });
        let mut copying = stream::iter(copying).buffer_unordered(AT_ONCE);
        while let Some(bytes) = copying.next().await {
            // What was removed since it was listed is not there.
            if let Some(bytes) = bytes? {
                self.copied.count(bytes);
                told(self.copied);
            }
        }
        Ok(cursor)
    }
}

fn listed(Page { mut entries, cursor }: Page<String>) -> At {
    entries.reverse();
    At::Containers(entries, cursor)
}

/// Copies one object of about so many bytes; its size, `None` if it is not there.
async fn copy_one(
    from: &dyn Blob,
    to: &dyn Blob,
    place: Place<'_>,
    bytes: u64,
    room: &Room,
) -> Result<Option<u64>, BlobError> {
    let _room = room.take(bytes).await?;
    let Place { container, object } = place;
    let mut source = match from.get(container, object, 0..u64::MAX).await {
        Ok(source) => source,
        Err(BlobError::NoSuchObject { .. } | BlobError::NoSuchContainer { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let attributes = &source.info.attributes;
    let begun = to.put(container, object, attributes.clone()).await;
    let mut upload = match begun {
        // Made after the containers were listed.
        Err(BlobError::NoSuchContainer { .. }) => {
            to.create_container(container).await?;
            to.put(container, object, attributes.clone()).await?
        }
        begun => begun?,
    };
    while let Some(chunk) = source.body.next().await {
        upload.write(chunk?).await?;
    }
    Ok(Some(upload.finish().await?.bytes))
}

/// Makes some objects (containers and their own names) of the other store what they are in this one: the same, or not there.
/// Answers how much it was: one for each, and one more for each chunk of its bytes.
pub(super) async fn copy_again(
    from: &dyn Blob,
    to: &dyn Blob,
    objects: Vec<(String, String)>,
    room: &Room,
) -> Result<usize, BlobError> {
    let one = |(container, object): (String, String)| async move {
        copy_one_again(from, to, Place { container: &container, object: &object }, room).await
    };
    let mut much = 0_usize;
    let mut again = stream::iter(objects.into_iter().map(one)).buffer_unordered(AT_ONCE);
    while let Some(done) = again.next().await {
        much = much.saturating_add(done?);
    }
    Ok(much)
}

async fn copy_one_again(from: &dyn Blob, to: &dyn Blob, place: Place<'_>, room: &Room) -> Result<usize, BlobError> {
    let there = match from.info(place.container, place.object).await {
        Ok(info) => info,
        Err(BlobError::NoSuchContainer { .. }) => None,
        Err(error) => return Err(error),
    };
    let copied = match there {
        Some(info) => copy_one(from, to, place, info.bytes, room).await?,
        None => None,
    };
    let Some(bytes) = copied else {
        return match to.delete(place.container, place.object).await {
            Ok(_) | Err(BlobError::NoSuchContainer { .. }) => Ok(1),
            Err(error) => Err(error),
        };
    };
    Ok(usize::try_from(bytes / CHUNK_BYTES as u64).unwrap_or(usize::MAX).saturating_add(1))
}

/// Removes from a container of the other store what this one does not have in it; answers how much was looked at.
pub(super) async fn prune(from: &dyn Blob, to: &dyn Blob, container: &str) -> Result<usize, BlobError> {
    let mut much = 0_usize;
    let mut cursor = None;
    loop {
        let page = to.list(container, "", cursor.as_deref(), PAGE).await?;
        let missing = |name: String| async move {
            match from.info(container, &name).await {
                Ok(Some(_)) => Ok(None),
                Ok(None) | Err(BlobError::NoSuchContainer { .. }) => Ok(Some(name)),
                Err(error) => Err(error),
            }
        };
        much = much.saturating_add(page.entries.len());
        let names = page.entries.into_iter().map(|listed| missing(listed.name));
        let mut looking = stream::iter(names).buffer_unordered(AT_ONCE);
        let mut gone = Vec::new();
        while let Some(name) = looking.next().await {
            gone.extend(name?);
        }
        drop(looking);
        to.delete_many(container, &gone).await.into_iter().try_for_each(|removed| removed.map(drop))?;
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(much);
        }
    }
}
