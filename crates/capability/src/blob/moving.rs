//! Moves a share of containers to another backend while workloads use it ([`crate::moving`] says how).
//!
//! An object is read by whoever began to, from the place where it began. An upload goes on where it was begun, and when it is
//! finished after a move it is carried on to the new place before it is answered, so that nobody has to wait for uploads that
//! take long.
//!
//! Times are not moved: an object was written when it was copied.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;

use super::{
    Blob, BlobError, Place, Present, Store, Usage,
    copy::{Pages, copy_again, prune},
    granted::PAGE_NAMES,
};
use crate::{
    Amount, gate,
    moving::{self, Move, Refusal, Told, unique},
};

/// How the container is called by which two URLs of one place are told. No tenant is without a name, so that it is nobody's.
const PROBE: &str = ":samara-moving-";

/// How far a move has come, in containers, objects and their bytes.
pub type Progress = moving::Progress<Usage>;

/// Why a share is where it was, and what was copied.
pub type MoveError = moving::MoveError<BlobError, Usage>;

impl Amount for Usage {
    const ENTRIES: &'static str = "containers and objects";

    fn entries(&self) -> u64 {
        self.containers.saturating_add(self.objects)
    }
}

/// What an operation may have changed, by the names that the backend knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    /// Whether the container is there.
    Created(String),
    /// The same, and what it had in it is removed.
    Emptied(String),
    /// An object: the container's name and its own.
    Object(String, String),
}

impl Change {
    pub(super) fn object(place: Place<'_>) -> Self {
        Self::Object(place.container.to_owned(), place.object.to_owned())
    }
}

impl gate::Change for Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Created(container) | Self::Emptied(container) => container.len(),
            Self::Object(container, object) => container.len().saturating_add(object.len()),
        }
    }
}

impl Store {
    /// Moves this share to another backend: copies all its containers with all that is in them there, and leads the link to
    /// it. Whatever was answered before is there, and what was removed is not. `progress` is told at the beginning and after
    /// each object.
    ///
    /// Takes as long as copying takes; operations wait for moments at its beginning and its end, [`HOLD`](crate::HOLD) at most
    /// each. A page of names is in memory, the buffers of the objects that are copied (64 MiB of them), and the names of what
    /// is written meanwhile ([`NOTED_CHANGES`](crate::NOTED_CHANGES)). Dropped half-way it has failed.
    ///
    /// # Errors
    /// One of the two backends failed, has no room for an object or cannot have its name; both lead to the same data; the new
    /// one has containers already and they are [`Refused`](Present::Refused); the share is written to faster than it is
    /// copied, is being moved already, or was linked elsewhere meanwhile. Then all operations go on where they were.
    pub async fn move_to(
        &self,
        to: Arc<dyn Blob>,
        present: Present,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Usage, MoveError> {
        let from = self.backend.get();
        let mut containers = Containers { from: &from, to: &to, prefix: &self.prefix, pages: Pages::default() };
        let moved = moving::run(&mut containers, &self.gate, &self.backend, (&from, &to), present, progress).await;
        let copied = containers.pages.copied;
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

/// The containers of one move.
struct Containers<'m> {
    from: &'m Arc<dyn Blob>,
    to: &'m Arc<dyn Blob>,
    prefix: &'m str,
    pages: Pages,
}

impl Containers<'_> {
    /// Makes a container be there, or not, as it is at the old place; answers whether it is.
    async fn settle(&self, container: &str) -> Result<bool, BlobError> {
        if self.from.container(container).await?.is_some() {
            self.to.create_container(container).await?;
            return Ok(true);
        }
        self.to.delete_container(container).await?;
        Ok(false)
    }
}

#[async_trait]
impl Move for Containers<'_> {
    type Backend = dyn Blob;
    type Change = Change;
    type Amount = Usage;
    type Error = BlobError;

    async fn is_one_place(&self) -> Result<bool, BlobError> {
        let probe = format!("{PROBE}{}", unique()?);
        self.to.create_container(&probe).await?;
        let seen = self.from.container(&probe).await;
        self.to.delete_container(&probe).await?;
        Ok(seen?.is_some())
    }

    async fn make_room(&self, present: Present) -> Result<(), BlobError> {
        if present == Present::Kept {
            return Ok(());
        }
        let mut cursor = None;
        loop {
            let page = self.to.list_containers(self.prefix, cursor.as_deref(), PAGE_NAMES).await?;
            if present == Present::Refused && !page.entries.is_empty() {
                return Err(Refusal::Present(Usage::ENTRIES).into());
            }
            for container in &page.entries {
                self.to.delete_container(container).await?;
            }
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn held(&self) -> Result<Usage, BlobError> {
        self.from.usage(self.prefix).await
    }

    fn copied(&self) -> Usage {
        self.pages.copied
    }

    async fn next(&mut self, told: Told<'_, Usage>) -> Result<bool, BlobError> {
        self.pages.next(&**self.from, &**self.to, self.prefix, told).await
    }

    /// As many as there are names, and one more for each chunk of an object and for each object that may have to go.
    async fn again(&self, changes: HashSet<Change>) -> Result<usize, BlobError> {
        let mut much = 0_usize;
        let mut objects = Vec::new();
        for change in changes {
            match change {
                Change::Object(container, object) => objects.push((container, object)),
                Change::Created(container) => {
                    self.settle(&container).await?;
                    much = much.saturating_add(1);
                }
                // What was written since is noted by itself; so all there is to do is to remove what is not there now.
                Change::Emptied(container) => {
                    if self.settle(&container).await? {
                        much = much.saturating_add(prune(&**self.from, &**self.to, &container).await?);
                    }
                    much = much.saturating_add(1);
                }
            }
        }
        let again = copy_again(&**self.from, &**self.to, objects, &self.pages.room).await?;
        Ok(much.saturating_add(again))
    }
}

#[cfg(test)]
mod tests;
