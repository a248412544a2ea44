//! Blob provider in a folder (`fs:./data/blobs`): crash-safe, and bounded to that folder.
//!
//! ```text
//! FOLDER/containers/_photos/about            when the container was created, and its name
//! FOLDER/containers/_photos/objects/3f/_cat  an object: a head with its attributes, then its bytes
//! FOLDER/incoming/...                        uploads that are not finished
//! FOLDER/removed/...                         containers that are being removed
//! ```
//!
//! An object is written to `incoming`, synced, and renamed to its name, and then the folder is synced: whoever looks, after a
//! power cut too, sees the old version or the new one. Objects are spread over 256 folders by the hash of their name.
//!
//! Nothing leaves the folder: names are [written](super::name) so that none means anything to a file system, and every file
//! is opened beneath the folder's handle without following links. Files that others put there are not seen.
//!
//! Several processes may share a folder; the size of what a write replaced is exact only within one.

use std::{ops::Range, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::BytesMut;
use futures::{StreamExt, stream};
use tokio::sync::Semaphore;

use super::{
    Attributes, Blob, BlobError, CHUNK_BYTES, Container, Info, Listed, Object, Page, Place, Provider, Upload, Usage,
    Written, object::within, settings::Settings,
};

mod file;
mod folder;
mod list;
#[cfg(test)]
mod tests;
mod upload;

use folder::Folder;

/// Operations of one store that occupy a thread at once, at most; more wait for their turn.
const THREADS: usize = 16;

#[derive(Debug)]
pub(super) struct Fs;

#[async_trait]
impl Provider for Fs {
    fn scheme(&self) -> &'static str {
        "fs"
    }

    async fn open(&self, url: &str, settings: &toml::Table) -> Result<Arc<dyn Blob>, BlobError> {
        Settings::new("fs:", settings, &[])?;
        let path = url.strip_prefix("fs:").filter(|path| !path.is_empty()).ok_or_else(|| {
            BlobError::Configuration(format!("`{url}` names no folder; write one, such as `fs:./data/blobs`"))
        })?;
        let path = path.to_owned();
        let threads = Threads(Arc::new(Semaphore::new(THREADS)));
        let folder = threads.run(move || Folder::open(Path::new(&path))).await?;
        Ok(Arc::new(Shared { folder: Arc::new(folder), threads }))
    }
}

/// Threads for what may wait for a disk.
#[derive(Clone, Debug)]
struct Threads(Arc<Semaphore>);

impl Threads {
    /// Does something on a thread that may wait. If nobody waits for the answer any more, it is done all the same.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let permit = self.0.clone().acquire_owned().await;
        let permit = permit.map_err(|_| BlobError::Backend("the store is closed".to_owned()))?;
        let worked = tokio::task::spawn_blocking(move || {
            let _held = permit;
            work()
        });
        worked.await.unwrap_or_else(|error| Err(BlobError::Backend(format!("a thread of the store ended: {error}"))))
    }
}

#[derive(Clone, Debug)]
struct Shared {
    folder: Arc<Folder>,
    threads: Threads,
}

impl Shared {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let folder = self.folder.clone();
        self.threads.run(move || work(&folder)).await
    }
}

/// A place that outlives the call.
fn owned(place: Place<'_>) -> (String, String) {
    (place.container.to_owned(), place.object.to_owned())
}

#[async_trait]
impl Blob for Shared {
    async fn create_container(&self, container: &str) -> Result<bool, BlobError> {
        let container = container.to_owned();
        self.run(move |folder| folder.create(&container)).await
    }

    async fn container(&self, container: &str) -> Result<Option<Container>, BlobError> {
        let container = container.to_owned();
        self.run(move |folder| folder.about(&container)).await
    }

    async fn list_containers(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, BlobError> {
        let (prefix, cursor) = (prefix.to_owned(), cursor.map(str::to_owned));
        self.run(move |folder| folder.list_containers(&prefix, cursor.as_deref(), limit)).await
    }

    async fn delete_container(&self, container: &str) -> Result<Option<Usage>, BlobError> {
        let container = container.to_owned();
        self.run(move |folder| folder.delete_container(&container)).await
    }

    async fn clear(&self, container: &str) -> Result<Usage, BlobError> {
        let container = container.to_owned();
        self.run(move |folder| folder.clear(&container)).await
    }

    async fn info(&self, container: &str, object: &str) -> Result<Option<Info>, BlobError> {
        let (container, object) = owned(Place { container, object });
        self.run(move |folder| Ok(folder.read(&container, &object)?.map(|stored| stored.info))).await
    }

    async fn get(&self, container: &str, object: &str, range: Range<u64>) -> Result<Object, BlobError> {
        let (container, object) = owned(Place { container, object });
        let opened = self.run(move |folder| {
            let stored = folder.read(&container, &object)?.ok_or_else(|| BlobError::no_such_object(&object))?;
            let range = within(&range, stored.info.bytes);
            Ok((stored.part(range.clone())?, stored.info, range))
        });
        let (part, info, range) = opened.await?;
        let threads = self.threads.clone();
        let body = stream::try_unfold(part, move |mut part| {
            let threads = threads.clone();
            async move {
                if part.left == 0 {
                    return Ok(None);
                }
                let next = threads.run(move || {
                    let chunk = part.read(CHUNK_BYTES)?;
                    Ok((chunk, part))
                });
                next.await.map(Some)
            }
        });
        Ok(Object { info, range, body: body.boxed() })
    }

    async fn put(&self, container: &str, object: &str, attributes: Attributes) -> Result<Box<dyn Upload>, BlobError> {
        attributes.check()?;
        let (container, object) = owned(Place { container, object });
        let place = (container.clone(), object.clone());
        let incoming = self.run(move |folder| folder.begin(&container, &object, &attributes)).await?;
        Ok(Box::new(upload::Writing { store: self.clone(), place, incoming: Some(incoming), buffer: BytesMut::new() }))
    }

    async fn delete(&self, container: &str, object: &str) -> Result<Option<u64>, BlobError> {
        let (container, object) = owned(Place { container, object });
        self.run(move |folder| folder.delete(&container, &object)).await
    }

    async fn list(
        &self,
        container: &str,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Listed>, BlobError> {
        let (container, prefix, cursor) = (container.to_owned(), prefix.to_owned(), cursor.map(str::to_owned));
        self.run(move |folder| folder.list(&container, &prefix, cursor.as_deref(), limit)).await
    }

    async fn copy(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError> {
        let (from, to) = (owned(from), owned(to));
        self.run(move |folder| folder.copy((&from.0, &from.1), (&to.0, &to.1))).await
    }

    async fn rename(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError> {
        let (from, to) = (owned(from), owned(to));
        self.run(move |folder| folder.rename((&from.0, &from.1), (&to.0, &to.1))).await
    }

    fn renames_in_one(&self, from: Place<'_>, to: Place<'_>) -> bool {
        folder::renames_in_one(from.object, to.object)
    }

    async fn usage(&self, prefix: &str) -> Result<Usage, BlobError> {
        let prefix = prefix.to_owned();
        self.run(move |folder| folder.usage(&prefix)).await
    }
}
