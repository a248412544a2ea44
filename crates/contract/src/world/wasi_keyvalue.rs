//! `wasi:keyvalue` in both of its revisions, over the stores of the workload's `kv` grant.
//!
//! Source: <https://github.com/WebAssembly/wasi-keyvalue>. It was never released: SDKs carry different pre-release
//! versions, which do not match by semver, so that each is linked under its own name. Nothing is decided here: grants and
//! limits are those of `kv::Granted`.
//!
//! Numbers are signed in our stores and unsigned in 0.2.0-draft: there, a sum below 0 is an error, though it has been
//! written.

use std::collections::VecDeque;

use bytes::Bytes;
use samara_bindings::{keyvalue_draft as draft, keyvalue_draft2 as draft2};
use samara_capability::kv::{Granted, KeyValue, KvError, PAGE_KEYS, Swap};
use samara_runtime::Guest;
use wasmtime::component::{Linker, Resource};

use super::view::{View, Views, kept, view};

/// Listings that may be under way in one bucket, in the revision whose cursors are numbers.
const OPEN_CURSORS: usize = 64;

pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    draft::store::add_to_linker::<_, Views>(linker, view)?;
    draft::atomics::add_to_linker::<_, Views>(linker, view)?;
    draft::batch::add_to_linker::<_, Views>(linker, view)?;
    draft2::store::add_to_linker::<_, Views>(linker, view)?;
    draft2::atomics::add_to_linker::<_, Views>(linker, view)?;
    draft2::batch::add_to_linker::<_, Views>(linker, view)
}

/// What a guest's handle of a bucket stands for, in both revisions.
struct Bucket {
    store: Granted,
    /// The text cursors behind the numbers that were given out, oldest first.
    cursors: VecDeque<(u64, String)>,
    next_cursor: u64,
}

/// What a key held when a guest looked.
struct Cas {
    store: Granted,
    key: String,
    current: Option<Bytes>,
}

/// A cursor as a revision has it, and the store's own behind it.
trait Cursor: Sized {
    /// Gives out a cursor for the store's own.
    fn give(bucket: &mut Bucket, cursor: String) -> Self;
    /// The store's own again.
    fn take(self, bucket: &Bucket) -> Result<String, KvError>;
}

impl Cursor for String {
    fn give(_: &mut Bucket, cursor: String) -> Self {
        cursor
    }

    fn take(self, _: &Bucket) -> Result<String, KvError> {
        Ok(self)
    }
}

impl Cursor for u64 {
    fn give(bucket: &mut Bucket, cursor: String) -> Self {
        if bucket.cursors.len() >= OPEN_CURSORS {
            bucket.cursors.pop_front();
        }
        let number = bucket.next_cursor;
        bucket.next_cursor = number.wrapping_add(1);
        bucket.cursors.push_back((number, cursor));
        number
    }

    fn take(self, bucket: &Bucket) -> Result<String, KvError> {
        let found = bucket.cursors.iter().find(|(number, _)| *number == self);
        found.map(|(_, cursor)| cursor.clone()).ok_or(KvError::UnknownCursor)
    }
}

impl View<'_> {
    fn store(&mut self, bucket: u32) -> wasmtime::Result<&Granted> {
        Ok(&self.find::<Bucket>(bucket)?.store)
    }

    fn open_bucket(&mut self, name: &str) -> Result<u32, KvError> {
        let store = self.kv(name)?;
        self.keep(Bucket { store, cursors: VecDeque::new(), next_cursor: 1 }).map_err(kept)
    }

    async fn page<C: Cursor>(&mut self, bucket: u32, cursor: Option<C>) -> wasmtime::Result<Listed<C>> {
        let bucket = self.find::<Bucket>(bucket)?;
        let cursor = match cursor.map(|cursor| cursor.take(bucket)).transpose() {
            Ok(cursor) => cursor,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match bucket.store.list_keys("", cursor.as_deref(), PAGE_KEYS).await {
            Ok(page) => Ok((page.keys, page.cursor.map(|next| C::give(bucket, next)))),
            Err(error) => Err(error),
        })
    }
}

type Listed<C> = Result<(Vec<String>, Option<C>), KvError>;

/// What the revisions have in common: all of the store but the type of its cursors, and writing in batches.
macro_rules! revision {
    ($revision:ident, $error:ident, cursor: $cursor:ty, pair: $pair:ty = $make_pair:expr) => {
        fn $error(error: KvError) -> $revision::store::Error {
            match error {
                KvError::NoSuchStore { .. } => $revision::store::Error::NoSuchStore,
                KvError::AccessDenied { .. } => $revision::store::Error::AccessDenied,
                other => $revision::store::Error::Other(other.to_string()),
            }
        }

        impl $revision::store::Host for View<'_> {
            async fn open(
                &mut self,
                identifier: String,
            ) -> wasmtime::Result<Result<Resource<$revision::store::Bucket>, $revision::store::Error>> {
                Ok(self.open_bucket(&identifier).map(Resource::new_own).map_err($error))
            }
        }

        impl $revision::store::HostBucket for View<'_> {
            async fn get(
                &mut self,
                bucket: Resource<$revision::store::Bucket>,
                key: String,
            ) -> wasmtime::Result<Result<Option<Vec<u8>>, $revision::store::Error>> {
                let value = self.store(bucket.rep())?.get(&key).await;
                Ok(value.map(|value| value.map(Vec::from)).map_err($error))
            }

            async fn set(
                &mut self,
                bucket: Resource<$revision::store::Bucket>,
                key: String,
                value: Vec<u8>,
            ) -> wasmtime::Result<Result<(), $revision::store::Error>> {
                let replaced = self.store(bucket.rep())?.set(&key, value.into()).await;
                Ok(replaced.map(drop).map_err($error))
            }

            async fn delete(
                &mut self,
                bucket: Resource<$revision::store::Bucket>,
                key: String,
            ) -> wasmtime::Result<Result<(), $revision::store::Error>> {
                let removed = self.store(bucket.rep())?.delete(&key).await;
                Ok(removed.map(drop).map_err($error))
            }

            async fn exists(
                &mut self,
                bucket: Resource<$revision::store::Bucket>,
                key: String,
            ) -> wasmtime::Result<Result<bool, $revision::store::Error>> {
                Ok(self.store(bucket.rep())?.exists(&key).await.map_err($error))
            }

            async fn list_keys(
                &mut self,
                bucket: Resource<$revision::store::Bucket>,
                cursor: Option<$cursor>,
            ) -> wasmtime::Result<Result<$revision::store::KeyResponse, $revision::store::Error>> {
                let page = self.page(bucket.rep(), cursor).await?;
                Ok(page.map(|(keys, cursor)| $revision::store::KeyResponse { keys, cursor }).map_err($error))
            }

            async fn drop(&mut self, bucket: Resource<$revision::store::Bucket>) -> wasmtime::Result<()> {
                self.forget::<Bucket>(bucket.rep()).map(drop)
            }
        }

        impl $revision::batch::Host for View<'_> {
            async fn get_many(
                &mut self,
                bucket: Resource<$revision::store::Bucket>,
                keys: Vec<String>,
            ) -> wasmtime::Result<Result<Vec<$pair>, $revision::store::Error>> {
                let values = self.store(bucket.rep())?.get_many(&keys).await;
                let pairs = |values: Vec<Option<Bytes>>| keys.into_iter().zip(values).map($make_pair).collect();
                Ok(values.map(pairs).map_err($error))
            }

            async fn set_many(
                &mut self,
                bucket: Resource<$revision::store::Bucket>,
                pairs: Vec<(String, Vec<u8>)>,
            ) -> wasmtime::Result<Result<(), $revision::store::Error>> {
                let entries = pairs.into_iter().map(|(key, value)| (key, value.into())).collect();
                Ok(all(self.store(bucket.rep())?.set_many(entries).await).map_err($error))
            }

            async fn delete_many(
                &mut self,
                bucket: Resource<$revision::store::Bucket>,
                keys: Vec<String>,
            ) -> wasmtime::Result<Result<(), $revision::store::Error>> {
                Ok(all(self.store(bucket.rep())?.delete_many(&keys).await).map_err($error))
            }
        }
    };
}

revision!(draft, draft_error, cursor: u64, pair: Option<(String, Vec<u8>)> =
    |(key, value): (String, Option<Bytes>)| value.map(|value| (key, Vec::from(value))));

revision!(draft2, draft2_error, cursor: String, pair: (String, Option<Vec<u8>>) =
    |(key, value): (String, Option<Bytes>)| (key, value.map(Vec::from)));

/// The first error of a batch: the interface has one for all.
fn all(outcomes: Vec<Result<Option<u64>, KvError>>) -> Result<(), KvError> {
    outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
}

impl draft::atomics::Host for View<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<draft::store::Bucket>,
        key: String,
        delta: u64,
    ) -> wasmtime::Result<Result<u64, draft::store::Error>> {
        let Ok(delta) = i64::try_from(delta) else { return Ok(Err(draft_error(KvError::Overflow))) };
        let sum = self.store(bucket.rep())?.increment(&key, delta).await;
        let unsigned = |sum: i64| {
            let below =
                || draft::store::Error::Other(format!("the sum `{sum}` is below 0; use wasi:keyvalue@0.2.0-draft2"));
            u64::try_from(sum).map_err(|_| below())
        };
        Ok(sum.map_err(draft_error).and_then(|sum| unsigned(sum.value)))
    }
}

impl draft2::atomics::Host for View<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<draft2::store::Bucket>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, draft2::store::Error>> {
        let sum = self.store(bucket.rep())?.increment(&key, delta).await;
        Ok(sum.map(|sum| sum.value).map_err(draft2_error))
    }

    async fn swap(
        &mut self,
        cas: Resource<draft2::atomics::Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), draft2::atomics::CasError>> {
        use draft2::atomics::CasError;
        let failed = |error| Ok(Err(CasError::StoreError(draft2_error(error))));
        let Cas { store, key, current } = self.forget::<Cas>(cas.rep())?;
        match store.swap(&key, current.as_deref(), value.into()).await {
            Ok(Swap::Done) => Ok(Ok(())),
            Ok(Swap::Differs(current)) => match self.keep(Cas { store, key, current }).map_err(kept) {
                Ok(index) => Ok(Err(CasError::CasFailed(Resource::new_own(index)))),
                Err(error) => failed(error),
            },
            Err(error) => failed(error),
        }
    }
}

impl draft2::atomics::HostCas for View<'_> {
    async fn new(
        &mut self,
        bucket: Resource<draft2::store::Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<draft2::atomics::Cas>, draft2::store::Error>> {
        let store = self.store(bucket.rep())?.clone();
        let cas = match store.get(&key).await {
            Ok(current) => self.keep(Cas { store, key, current }).map_err(kept),
            Err(error) => Err(error),
        };
        Ok(cas.map(Resource::new_own).map_err(draft2_error))
    }

    async fn current(
        &mut self,
        cas: Resource<draft2::atomics::Cas>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, draft2::store::Error>> {
        Ok(Ok(self.find::<Cas>(cas.rep())?.current.clone().map(Vec::from)))
    }

    async fn drop(&mut self, cas: Resource<draft2::atomics::Cas>) -> wasmtime::Result<()> {
        self.forget::<Cas>(cas.rep()).map(drop)
    }
}
