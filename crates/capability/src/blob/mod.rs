//! Object storage: containers of objects that stream, and the table of providers behind them.
//!
//! A provider sees names and bytes and nothing else. Grants, limits and the separation of tenants are applied once, by
//! [`Store::grant`], whatever the provider.
//!
//! An object is written whole: what another reads is always one version of it, from its first byte to its last, and an
//! upload that was not finished was never there. So the time an object was written is when it was created and when it was
//! last changed.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

#[cfg(any(test, feature = "conformance"))]
pub mod check;
mod copy;
mod error;
mod fs;
mod granted;
mod lending;
mod memory;
mod moving;
mod name;
mod object;
#[cfg(feature = "s3")]
mod s3;
mod settings;
mod store;
#[cfg(test)]
mod tests;

pub use crate::Present;
pub use copy::{copy_all, copy_through};
pub use error::BlobError;
pub use granted::{DELETE_OBJECTS, Granted, PAGE_NAMES, UPLOADS};
pub use moving::{MoveError, Progress};
pub use object::{
    ATTRIBUTES_BYTES, Attributes, Body, CHUNK_BYTES, Container, Info, Listed, Object, Page, Place, Written,
};
pub use store::{OBJECT_BYTES, Store};

/// Every provider. A new one is one file and one line here.
pub const PROVIDERS: &[&dyn Provider] = &[
    &memory::Memory,
    &fs::Fs,
    #[cfg(feature = "s3")]
    &s3::S3,
];

/// Providers whose client may be left out of the binary, and the cargo feature that has it.
const FEATURES: &[(&str, &str)] = &[("s3", "s3")];

/// A blob store that is open: shared by all calls of all workloads it is granted to.
///
/// Names of containers and objects are any text; what they are like on a disk or in a URL is the provider's business. Every method is atomic for one object; those that handle several are not atomic as a whole.
/// Whoever writes learns the size of what was there before, which is what quotas are kept with; a backend that several
/// processes write to may have a size that is older by the time of one request.
///
/// Nothing here blocks the thread. A backend that does not answer is an error within the provider's own time-out.
#[async_trait]
pub trait Blob: fmt::Debug + Send + Sync {
    /// Makes a container; answers whether it is new. One that is there stays as it is.
    ///
    /// # Errors
    /// The backend failed.
    async fn create_container(&self, container: &str) -> Result<bool, BlobError>;

    /// What is known of a container, `None` if it is not there.
    ///
    /// # Errors
    /// The backend failed.
    async fn container(&self, container: &str) -> Result<Option<Container>, BlobError>;

    /// Up to `limit` containers whose names start with `prefix`; pages as [`list`](Self::list) does.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    async fn list_containers(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, BlobError>;

    /// Removes a container and all in it; answers what was removed, `None` if it was not there. An upload into it that is
    /// finished at the same time may be lost.
    ///
    /// # Errors
    /// The backend failed; some of the objects may be removed.
    async fn delete_container(&self, container: &str) -> Result<Option<Usage>, BlobError>;

    /// Removes all that is in a container; answers what was removed (as no container).
    ///
    /// # Errors
    /// There is no such container, or the backend failed; some of the objects may be removed.
    async fn clear(&self, container: &str) -> Result<Usage, BlobError>;

    /// What is known of an object, `None` if it is not there.
    ///
    /// # Errors
    /// There is no such container, or the backend failed.
    async fn info(&self, container: &str, object: &str) -> Result<Option<Info>, BlobError>;

    /// An object's bytes from `start` up to and without `end`, as far as it has them: `0..u64::MAX` is all of it. The bytes
    /// come in chunks of at most [`CHUNK_BYTES`] as they are asked for, all of the version that was there at the call,
    /// whatever is written meanwhile. A body that ends before its length is an error in the body.
    ///
    /// # Errors
    /// There is no such container or object, or the backend failed.
    async fn get(&self, container: &str, object: &str, range: std::ops::Range<u64>) -> Result<Object, BlobError>;

    /// Begins to write an object. Nothing is seen of it before [`Upload::finish`]; an upload that is dropped leaves nothing.
    /// Of two that write the same object, the one that finishes last stays.
    ///
    /// # Errors
    /// There is no such container, an attribute is none (see [`Attributes::check`]), or the backend failed.
    async fn put(&self, container: &str, object: &str, attributes: Attributes) -> Result<Box<dyn Upload>, BlobError>;

    /// Removes an object; answers its size, `None` if it was not there.
    ///
    /// # Errors
    /// There is no such container, or the backend failed.
    async fn delete(&self, container: &str, object: &str) -> Result<Option<u64>, BlobError>;

    /// Removes several objects of a container; answers as [`delete`](Self::delete) for each, in their order. After the
    /// backend failed once it is not asked again: the objects that are left get its error.
    async fn delete_many(&self, container: &str, objects: &[String]) -> Vec<Result<Option<u64>, BlobError>> {
        let mut outcomes = Vec::with_capacity(objects.len());
        let mut failed: Option<BlobError> = None;
        for object in objects {
            let outcome = match &failed {
                Some(error) => Err(error.clone()),
                None => self.delete(container, object).await,
            };
            if let Err(error @ (BlobError::Backend(_) | BlobError::TimedOut(_))) = &outcome {
                failed = Some(error.clone());
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Up to `limit` objects of a container whose names start with `prefix`, in no particular order, each exactly once over
    /// all pages if nobody writes meanwhile. `cursor` is that of the page before, `None` for the first. A page may be empty
    /// and still have a cursor. A cursor that this store never gave out gives an error or any page of objects of the same
    /// container under the same prefix, never others.
    ///
    /// # Errors
    /// There is no such container, the backend failed, or does not know the cursor.
    async fn list(
        &self,
        container: &str,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Listed>, BlobError>;

    /// Writes an object that is the same as another, attributes too. Copied onto itself it stays as it is.
    ///
    /// # Errors
    /// There is no such container or object, or the backend failed: the target is as it was.
    async fn copy(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError>;

    /// Gives an object another name, or another container; what had that name is replaced. Answers as if it had been
    /// written there. In providers that cannot rename, both are there for a moment. Moved onto itself it stays as it is.
    ///
    /// # Errors
    /// As [`copy`](Self::copy); if only the removal failed, both are there.
    async fn rename(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError> {
        let written = self.copy(from, to).await?;
        if from != to {
            self.delete(from.container, from.object).await?;
        }
        Ok(written)
    }

    /// Whether [`rename`](Self::rename) is one step for these names, so that never both are there. Where it is not, whoever
    /// keeps an account copies and removes, and counts both.
    fn renames_in_one(&self, from: Place<'_>, to: Place<'_>) -> bool {
        let _ = (from, to);
        false
    }

    /// What is in the containers whose names start with a prefix. Called when a store is opened, measured or moved, never for a
    /// guest: it may read the whole store.
    ///
    /// # Errors
    /// The backend failed.
    async fn usage(&self, prefix: &str) -> Result<Usage, BlobError>;
}

/// An object that is being written. Dropped before it is finished, it leaves nothing.
#[async_trait]
pub trait Upload: fmt::Debug + Send {
    /// Adds bytes at the end. Waits while the provider's bounded buffer is full, so that a fast writer cannot fill the
    /// memory of a slow backend.
    ///
    /// # Errors
    /// The backend failed or has no room: the upload is lost, all that can be done is to drop it.
    async fn write(&mut self, chunk: Bytes) -> Result<(), BlobError>;

    /// Makes the object what was written, at once. When this answers, it is as durable as the provider keeps anything.
    ///
    /// # Errors
    /// The container is gone, the backend failed or has no room: the object is as it was. After
    /// [`TimedOut`](BlobError::TimedOut) it may be either.
    async fn finish(self: Box<Self>) -> Result<Written, BlobError>;
}

/// What is stored, in one or several containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of containers.
    pub containers: u64,
    /// Number of objects in them.
    pub objects: u64,
    /// Bytes of the objects' content.
    pub bytes: u64,
}

impl Usage {
    /// Counts one more object.
    fn count(&mut self, bytes: u64) {
        self.objects = self.objects.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Opens stores of one kind.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// The word before the colon of its URLs.
    fn scheme(&self) -> &'static str;

    /// Opens the store that a URL of this scheme names. Called when an app is loaded, on a runtime that may wait.
    ///
    /// `settings` are the other keys of the store's table in the manifest; an unknown one is an error.
    ///
    /// # Errors
    /// The URL or a setting is wrong, or the backend does not answer.
    async fn open(&self, url: &str, settings: &toml::Table) -> Result<Arc<dyn Blob>, BlobError>;
}

/// Opens the store a URL names, with the provider of its scheme.
///
/// # Errors
/// No provider has the scheme (the message lists those there are, or names the cargo feature that has it), or the provider
/// refuses.
pub async fn open(url: &str, settings: &toml::Table) -> Result<Arc<dyn Blob>, BlobError> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    if let Some(provider) = PROVIDERS.iter().find(|provider| provider.scheme() == scheme) {
        return provider.open(url, settings).await;
    }
    Err(BlobError::Configuration(match FEATURES.iter().find(|(known, _)| *known == scheme) {
        Some((_, feature)) => format!(
            "this binary was built without the blob provider for `{scheme}:`; build it with `--features {feature}`"
        ),
        None => {
            let known = PROVIDERS.iter().map(|provider| provider.scheme()).collect::<Vec<_>>().join(", ");
            format!("no blob provider for `{scheme}:`; known schemes: {known}")
        }
    }))
}
