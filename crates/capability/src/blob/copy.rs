//! Copies through this process, for what a backend cannot copy by itself: large objects of S3, and one store's content into
//! another when an operator exchanges them.

use futures::StreamExt;

use super::{Blob, BlobError, Page, Place, Usage, Written};

/// Names that are asked for at once.
const PAGE: usize = 1000;

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
/// was copied so far. What the target has already under the same name is replaced, what it has beside that stays. An object
/// that is removed meanwhile is left out.
///
/// # Errors
/// One of the backends failed; what was copied until then stays.
pub async fn copy_all(
    source: &dyn Blob,
    target: &dyn Blob,
    prefix: &str,
    told: &mut (dyn FnMut(Usage) + Send),
) -> Result<Usage, BlobError> {
    let mut copied = Usage::default();
    let mut after: Option<String> = None;
    loop {
        let Page { entries, cursor } = source.list_containers(prefix, after.as_deref(), PAGE).await?;
        for container in entries {
            target.create_container(&container).await?;
            copied.containers = copied.containers.saturating_add(1);
            copy_container(source, target, &container, &mut copied, told).await?;
        }
        if cursor.is_none() {
            return Ok(copied);
        }
        after = cursor;
    }
}

async fn copy_container(
    source: &dyn Blob,
    target: &dyn Blob,
    container: &str,
    copied: &mut Usage,
    told: &mut (dyn FnMut(Usage) + Send),
) -> Result<(), BlobError> {
    let mut after: Option<String> = None;
    loop {
        let Page { entries, cursor } = source.list(container, "", after.as_deref(), PAGE).await?;
        for object in entries {
            let place = Place { container, object: &object.name };
            match copy_through(source, place, target, place).await {
                Ok(written) => copied.count(written.bytes),
                Err(BlobError::NoSuchObject { .. }) => continue,
                Err(error) => return Err(error),
            }
            told(*copied);
        }
        if cursor.is_none() {
            return Ok(());
        }
        after = cursor;
    }
}
