//! A store as a workload sees it: only what its grant allows, only within its limits, only its tenant's containers.
//!
//! The total is kept without asking the backend, because every write says what it replaced: bytes are reserved as they are
//! written and corrected at the end. An object that replaces another needs room beside it until it is finished, as it does
//! in the backend. What was not answered in time stays counted until the store is measured again, because it may have
//! happened.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use futures::StreamExt;
use samara_model::{BlobGrant, BlobOperation, Capability, Limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Attributes, Blob, BlobError, Container, Info, Listed, OBJECT_BYTES, Object, Page, Place, Store, Upload, Usage,
    Written,
    lending::{BegunAt, Held, Lending},
    moving::Change,
    store::counted,
};
use crate::{Lent, Operation, Recorder};

/// Names in one page of a listing, at most.
pub const PAGE_NAMES: usize = 1000;

/// Objects that are removed in one call, at most.
pub const DELETE_OBJECTS: usize = 1000;

/// Uploads that one workload has open at once, at most: each has buffers, of 15 MiB if it goes to S3.
pub const UPLOADS: usize = 8;

/// Objects that one workload reads at once, at most: each is a file or a connection.
const READS: usize = 64;

/// A store lent to one workload. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Granted {
    pub(super) store: Store,
    grant: BlobGrant,
    name_bytes: u64,
    pub(super) object_bytes: u64,
    pub(super) total_bytes: u64,
    uploads: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    pub(super) lent: Lent,
}

impl Granted {
    pub(super) fn new(store: Store, grant: BlobGrant, limits: &Limits, recorder: Arc<dyn Recorder>) -> Self {
        let lent = Lent::new(Capability::Blob, store.name.clone(), recorder);
        Self {
            store,
            grant,
            name_bytes: limits.blob_name_bytes.into(),
            object_bytes: limits.blob_object_bytes,
            total_bytes: limits.blob_total_bytes,
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            reads: Arc::new(Semaphore::new(READS)),
            lent,
        }
    }

    /// The store that is lent.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Checks operations against the grant without doing them, for ABIs that ask before they act. The first is the one that
    /// is told as used.
    ///
    /// # Errors
    /// The grant does not include all of them; the denial is recorded.
    pub fn check(&self, needed: &[BlobOperation]) -> Result<(), BlobError> {
        let granted = &self.grant.operations;
        let missing = needed.iter().find(|operation| !granted.contains(operation));
        let Some(missing) = missing else {
            if let Some(first) = needed.first() {
                self.lent.used(named(*first));
            }
            return Ok(());
        };
        let name = self.lent.store();
        let wanted = BlobOperation::ALL.iter().filter(|one| needed.contains(one) || granted.contains(one));
        let wanted = wanted.map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ");
        let what = format!("`{missing}` on blob store `{name}`");
        let denial = self.lent.refused(what, format!("blob = [{{ store = \"{name}\", ops = [{wanted}] }}]"));
        Err(BlobError::AccessDenied { what: denial.what, grant: denial.grant })
    }

    /// Checks what an operation needs (the first names it) and does it, as a span of the call.
    async fn told<T>(
        &self,
        needed: &[BlobOperation],
        work: impl Future<Output = Result<T, BlobError>> + Send,
    ) -> Result<T, BlobError> {
        let operation = named(needed.first().copied().unwrap_or(BlobOperation::List));
        let work = async { work.await.map_err(|error| self.own(error)) };
        self.lent.told(operation, self.check(needed), work).await
    }

    /// The container as the backend knows it.
    fn full(&self, container: &str) -> Result<String, BlobError> {
        bound("name of the container", container.len() as u64, self.name_bytes)?;
        Ok(format!("{}{container}", self.store.prefix))
    }

    fn object(&self, object: &str) -> Result<(), BlobError> {
        bound("name of the object", object.len() as u64, self.name_bytes)
    }

    fn cursor(&self, cursor: Option<&str>) -> Result<(), BlobError> {
        // No provider's cursor is longer than a name that is written out, and a few words.
        let limit = self.name_bytes.saturating_mul(4).saturating_add(256);
        bound("cursor", cursor.map_or(0, str::len) as u64, limit)
    }

    /// An error of the backend in the guest's own names.
    pub(super) fn own(&self, error: BlobError) -> BlobError {
        match error {
            BlobError::NoSuchContainer { container } => {
                let own = container.strip_prefix(&*self.store.prefix).map(str::to_owned);
                BlobError::NoSuchContainer { container: own.unwrap_or(container) }
            }
            other => other,
        }
    }

    /// Counts bytes in before they are written.
    fn reserve(&self, bytes: u64) -> Result<(), BlobError> {
        if self.store.account.reserve(bytes, self.total_bytes) {
            return Ok(());
        }
        Err(BlobError::TooLarge { what: "total of all objects", limit: self.total_bytes })
    }

    /// Corrects the account after a write that reserved `reserved` bytes.
    pub(super) fn settle(&self, reserved: u64, written: &Result<Written, BlobError>) {
        match written {
            Ok(written) => {
                let out = written.replaced.map_or(0, of_object);
                self.store.account.add_and_take(of_object(written.bytes), out.saturating_add(reserved));
            }
            Err(BlobError::TimedOut(_)) => {}
            Err(_) => self.store.account.release(reserved),
        }
    }

    /// Copies an object of up to `most` bytes, between places as the backend knows them.
    async fn copied(
        &self,
        backend: &dyn Blob,
        from: Place<'_>,
        to: Place<'_>,
        most: u64,
    ) -> Result<Written, BlobError> {
        let info = backend.info(from.container, from.object).await?;
        let bytes = info.ok_or_else(|| BlobError::no_such_object(from.object))?.bytes;
        bound("object", bytes, most)?;
        self.reserve(of_object(bytes))?;
        let written = backend.copy(from, to).await;
        self.settle(of_object(bytes), &written);
        written
    }

    /// Counts out what was removed.
    fn removed(&self, usage: &Usage) {
        self.store.account.release(counted(usage));
    }
}

/// What an object counts for.
fn of_object(bytes: u64) -> u64 {
    bytes.saturating_add(OBJECT_BYTES)
}

/// The names of an operation.
pub(super) fn named(operation: BlobOperation) -> Operation {
    let span = match operation {
        BlobOperation::Read => "blob read",
        BlobOperation::Write => "blob write",
        BlobOperation::Delete => "blob delete",
        BlobOperation::List => "blob list",
        BlobOperation::Container => "blob container",
    };
    Operation { name: operation.as_str(), span }
}

pub(super) fn bound(what: &'static str, bytes: u64, limit: u64) -> Result<(), BlobError> {
    if bytes > limit { Err(BlobError::TooLarge { what, limit }) } else { Ok(()) }
}

/// One of so many that may be open at once.
fn one_of(open: &Arc<Semaphore>, what: &'static str, limit: usize) -> Result<OwnedSemaphorePermit, BlobError> {
    let permit = open.clone().try_acquire_owned();
    permit.map_err(|_| BlobError::TooMany { what, asked: limit.saturating_add(1), limit })
}

#[async_trait]
impl Blob for Granted {
    async fn create_container(&self, container: &str) -> Result<bool, BlobError> {
        self.told(&[BlobOperation::Container], async {
            let full = self.full(container)?;
            self.reserve(OBJECT_BYTES)?;
            let mut turn = self.store.turn().await;
            let created = turn.changing(|| [Change::Created(full.clone())]).create_container(&full).await;
            drop(turn);
            if !matches!(created, Ok(true) | Err(BlobError::TimedOut(_))) {
                self.store.account.release(OBJECT_BYTES);
            }
            created
        })
        .await
    }

    /// Needs one operation, whichever: who reads or writes must know whether the container is there.
    async fn container(&self, container: &str) -> Result<Option<Container>, BlobError> {
        let any = self.grant.operations.first().copied().unwrap_or(BlobOperation::List);
        self.told(&[any], async { self.store.turn().await.backend.container(&self.full(container)?).await }).await
    }

    async fn list_containers(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, BlobError> {
        self.told(&[BlobOperation::List], async {
            let prefix = self.full(prefix)?;
            self.cursor(cursor)?;
            let page =
                self.store.turn().await.backend.list_containers(&prefix, cursor, limit.clamp(1, PAGE_NAMES)).await?;
            let own = |name: String| name.strip_prefix(&*self.store.prefix).map(str::to_owned);
            Ok(Page { entries: page.entries.into_iter().filter_map(own).collect(), cursor: page.cursor })
        })
        .await
    }

    async fn delete_container(&self, container: &str) -> Result<Option<Usage>, BlobError> {
        self.told(&[BlobOperation::Container], async {
            let full = self.full(container)?;
            let mut turn = self.store.turn().await;
            let removed = turn.changing(|| [Change::Emptied(full.clone())]).delete_container(&full).await?;
            if let Some(usage) = &removed {
                self.removed(usage);
            }
            Ok(removed)
        })
        .await
    }

    async fn clear(&self, container: &str) -> Result<Usage, BlobError> {
        self.told(&[BlobOperation::Container], async {
            let full = self.full(container)?;
            let mut turn = self.store.turn().await;
            let removed = turn.changing(|| [Change::Emptied(full.clone())]).clear(&full).await?;
            self.removed(&removed);
            Ok(removed)
        })
        .await
    }

    async fn info(&self, container: &str, object: &str) -> Result<Option<Info>, BlobError> {
        self.told(&[BlobOperation::Read], async {
            self.object(object)?;
            self.store.turn().await.backend.info(&self.full(container)?, object).await
        })
        .await
    }

    /// Told as done when the body begins; the body counts among those that are read at once until it is dropped.
    async fn get(&self, container: &str, object: &str, range: Range<u64>) -> Result<Object, BlobError> {
        self.told(&[BlobOperation::Read], async {
            self.object(object)?;
            let permit = one_of(&self.reads, "objects read at once", READS)?;
            let full = self.full(container)?;
            let read = self.store.turn().await.backend.get(&full, object, range).await?;
            let Object { info, range, body } = read;
            let held = move |chunk| {
                let _held = &permit;
                chunk
            };
            Ok(Object { info, range, body: body.map(held).boxed() })
        })
        .await
    }

    /// Told as done when the upload is finished, and as failed if it never is.
    async fn put(&self, container: &str, object: &str, attributes: Attributes) -> Result<Box<dyn Upload>, BlobError> {
        self.check(&[BlobOperation::Write])?;
        let begun = self.lent.begin(named(BlobOperation::Write));
        let full = self.full(container)?;
        self.object(object)?;
        attributes.check()?;
        let permit = one_of(&self.uploads, "uploads", UPLOADS)?;
        let mut held = Held::nothing(self);
        held.grow(OBJECT_BYTES)?;
        let turn = self.store.turn().await;
        let upload = turn.backend.put(&full, object, attributes).await.map_err(|error| self.own(error))?;
        let begun_at =
            BegunAt { backend: turn.backend.clone(), moves: turn.moves(), container: full, object: object.to_owned() };
        Ok(Box::new(Lending { upload, begun_at, held, begun, _permit: permit }))
    }

    async fn delete(&self, container: &str, object: &str) -> Result<Option<u64>, BlobError> {
        self.told(&[BlobOperation::Delete], async {
            self.object(object)?;
            let full = self.full(container)?;
            let mut turn = self.store.turn().await;
            let place = Place { container: &full, object };
            let removed = turn.changing(|| [Change::object(place)]).delete(&full, object).await?;
            self.store.account.release(removed.map_or(0, of_object));
            Ok(removed)
        })
        .await
    }

    /// Refused as a whole if there are too many or a name is over its limit.
    async fn delete_many(&self, container: &str, objects: &[String]) -> Vec<Result<Option<u64>, BlobError>> {
        let done = self.told(&[BlobOperation::Delete], async {
            if objects.len() > DELETE_OBJECTS {
                let (asked, limit) = (objects.len(), DELETE_OBJECTS);
                return Err(BlobError::TooMany { what: "objects", asked, limit });
            }
            objects.iter().try_for_each(|object| self.object(object))?;
            let full = self.full(container)?;
            let mut turn = self.store.turn().await;
            let changes =
                || objects.iter().map(|object| Change::Object(full.clone(), object.clone())).collect::<Vec<_>>();
            let outcomes = turn.changing(changes).delete_many(&full, objects).await;
            let removed = outcomes.iter().flatten().flatten().map(|bytes| of_object(*bytes));
            self.store.account.release(removed.fold(0, u64::saturating_add));
            Ok(outcomes.into_iter().map(|outcome| outcome.map_err(|error| self.own(error))).collect())
        });
        done.await.unwrap_or_else(|error| vec![Err(error); objects.len()])
    }

    async fn list(
        &self,
        container: &str,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Listed>, BlobError> {
        self.told(&[BlobOperation::List], async {
            self.object(prefix)?;
            self.cursor(cursor)?;
            self.store
                .turn()
                .await
                .backend
                .list(&self.full(container)?, prefix, cursor, limit.clamp(1, PAGE_NAMES))
                .await
        })
        .await
    }

    async fn copy(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError> {
        self.told(&[BlobOperation::Write, BlobOperation::Read], async {
            let (source, target) = (self.full(from.container)?, self.full(to.container)?);
            self.object(from.object)?;
            self.object(to.object)?;
            let places = (Place { container: &source, ..from }, Place { container: &target, ..to });
            let mut turn = self.store.turn().await;
            let backend = turn.changing(|| [Change::object(places.1)]);
            self.copied(&**backend, places.0, places.1, self.object_bytes).await
        })
        .await
    }

    async fn rename(&self, from: Place<'_>, to: Place<'_>) -> Result<Written, BlobError> {
        self.told(&[BlobOperation::Write, BlobOperation::Read, BlobOperation::Delete], async {
            let (source, target) = (self.full(from.container)?, self.full(to.container)?);
            self.object(from.object)?;
            self.object(to.object)?;
            let places = (Place { container: &source, ..from }, Place { container: &target, ..to });
            let mut turn = self.store.turn().await;
            let backend = turn.changing(|| [Change::object(places.0), Change::object(places.1)]);
            if from == to || backend.renames_in_one(places.0, places.1) {
                let written = backend.rename(places.0, places.1).await?;
                if from != to {
                    self.store.account.release(written.replaced.map_or(0, of_object));
                }
                return Ok(written);
            }
            // Both are there in between, and stay if the removal fails: each counts for as long as it may be there.
            let written = self.copied(&**backend, places.0, places.1, u64::MAX).await?;
            let removed = backend.delete(places.0.container, places.0.object).await?;
            self.store.account.release(removed.map_or(0, of_object));
            Ok(written)
        })
        .await
    }

    /// What this share holds under a prefix. For the host: it needs no grant.
    async fn usage(&self, prefix: &str) -> Result<Usage, BlobError> {
        self.store.turn().await.backend.usage(&format!("{}{prefix}", self.store.prefix)).await
    }
}
