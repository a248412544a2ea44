//! Does one operation on a guest's bucket.
//!
//! Whoever writes through us learns how long the value was that is replaced, which no export tells: it is read before, in the
//! same call. What another call writes between the two makes that length a wrong one; the account of the store is right
//! again when it is measured.

use async_trait::async_trait;
use bytes::Bytes;
use samara_model::{Call, Fault, KeyValueCall, KeyValueReply, Reply};
use samara_runtime::{After, Failure, Guest, Live, Ready, ReplyTo, instantiating, trace};
use wasmtime::{
    Store,
    component::{InstancePre, ResourceAny},
};

use super::codec::{Cas, CasError, Error, Exports, Functions, Increment, ListKeys};

/// Characters of a guest's own words that are repeated; they go to a log.
const SAID_CHARACTERS: usize = 512;

/// A component that is a store.
pub(super) struct Provider {
    pub(super) pre: InstancePre<Guest>,
    pub(super) exports: Exports,
    pub(super) bucket: String,
}

/// An instance, and its open bucket.
struct Opened {
    functions: Functions,
    bucket: ResourceAny,
}

/// Why an operation did not happen: the engine says, or the guest.
enum Failed {
    Engine(wasmtime::Error),
    Said(Error),
    Unsupported(&'static str),
}

impl From<wasmtime::Error> for Failed {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

#[async_trait]
impl Ready for Provider {
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let Call::KeyValue(call) = call else {
            return Err(Fault::Host("a contract of stores was given another shape of call".into()).into());
        };
        let Live { store, instance } = live;
        let kept = instance.take().and_then(|kept| kept.downcast::<Opened>().ok());
        trace::to_guest("wasi:keyvalue", format_args!("{call:?}"));
        let done = match kept {
            Some(opened) => opened.answer(store, call).await.map(|answer| (opened, answer)),
            None => match self.open(store).await {
                Ok(opened) => opened.answer(store, call).await.map(|answer| (opened, answer)),
                Err(failed) => Err(failed),
            },
        };
        let answer = match done {
            Ok((opened, answer)) => {
                *instance = Some(opened);
                answer
            }
            Err(Failed::Engine(error)) => return Err(error.into()),
            Err(Failed::Unsupported(what)) => KeyValueReply::Unsupported(what),
            Err(Failed::Said(error)) => KeyValueReply::Failed(error.text(&self.bucket)),
        };
        trace::from_guest(format_args!("{answer:?}"));
        let after = if instance.is_some() { After::Keep } else { After::Discard };
        reply.send(Reply::KeyValue(answer));
        Ok(after)
    }
}

impl Provider {
    async fn open(&self, store: &mut Store<Guest>) -> Result<Box<Opened>, Failed> {
        use wasmtime::AsContextMut as _;
        let instance = instantiating(self.pre.instantiate_async(&mut *store)).await?;
        let functions = self.exports.of(&instance, store.as_context_mut())?;
        let (bucket,) = functions.open.call_async(&mut *store, (self.bucket.clone(),)).await?;
        Ok(Box::new(Opened { functions, bucket: bucket? }))
    }
}

impl Opened {
    async fn answer(&self, store: &mut Store<Guest>, call: KeyValueCall) -> Result<KeyValueReply, Failed> {
        Ok(match call {
            KeyValueCall::Get(keys) => {
                let mut values = Vec::with_capacity(keys.len());
                for key in keys {
                    values.push(self.get(store, key).await?);
                }
                KeyValueReply::Values(values)
            }
            KeyValueCall::Set(key, value) => {
                let replaced = self.length(store, key.clone()).await?;
                self.functions.set.call_async(&mut *store, (self.bucket, key, value.into())).await?.0?;
                KeyValueReply::Replaced(replaced)
            }
            KeyValueCall::Delete(key) => {
                let replaced = self.length(store, key.clone()).await?;
                self.functions.delete.call_async(&mut *store, (self.bucket, key)).await?.0?;
                KeyValueReply::Replaced(replaced)
            }
            KeyValueCall::Exists(key) => {
                KeyValueReply::Exists(self.functions.exists.call_async(&mut *store, (self.bucket, key)).await?.0?)
            }
            KeyValueCall::List(cursor) => self.list(store, cursor).await?,
            KeyValueCall::Increment(key, delta) => self.increment(store, key, delta).await?,
            KeyValueCall::Swap(key, expected, new) => {
                let cas = self.functions.cas.as_ref().ok_or(Failed::Unsupported("compare-and-swap"))?;
                KeyValueReply::Swapped(self.swap(cas, store, key, expected.as_deref(), new).await?)
            }
        })
    }

    async fn get(&self, store: &mut Store<Guest>, key: String) -> Result<Option<Bytes>, Failed> {
        let (value,) = self.functions.get.call_async(&mut *store, (self.bucket, key)).await?;
        Ok(value?.map(Bytes::from))
    }

    async fn length(&self, store: &mut Store<Guest>, key: String) -> Result<Option<u64>, Failed> {
        Ok(self.get(store, key).await?.map(|value| value.len() as u64))
    }

    async fn list(&self, store: &mut Store<Guest>, cursor: Option<String>) -> Result<KeyValueReply, Failed> {
        Ok(match &self.functions.list_keys {
            ListKeys::Texts(list) => {
                let page = list.call_async(&mut *store, (self.bucket, cursor)).await?.0?;
                KeyValueReply::Keys(page.keys, page.cursor)
            }
            ListKeys::Numbers(list) => {
                let unknown = |_| Error::Other("a cursor that is none of this store's".to_owned());
                let cursor = cursor.map(|cursor| cursor.parse()).transpose().map_err(unknown)?;
                let page = list.call_async(&mut *store, (self.bucket, cursor)).await?.0?;
                KeyValueReply::Keys(page.keys, page.cursor.map(|cursor| cursor.to_string()))
            }
        })
    }

    async fn increment(&self, store: &mut Store<Guest>, key: String, delta: i64) -> Result<KeyValueReply, Failed> {
        let increment = self.functions.increment.as_ref().ok_or(Failed::Unsupported("increment"))?;
        let before = self.length(store, key.clone()).await?;
        let sum = match increment {
            Increment::Signed(increment) => increment.call_async(&mut *store, (self.bucket, key, delta)).await?.0?,
            Increment::Unsigned(increment) => {
                let delta = u64::try_from(delta).map_err(|_| Failed::Unsupported("increment by less than 0"))?;
                let sum = increment.call_async(&mut *store, (self.bucket, key, delta)).await?.0?;
                i64::try_from(sum).map_err(|_| Error::Other("the sum does not fit 64 bits with a sign".to_owned()))?
            }
        };
        Ok(KeyValueReply::Sum(sum, before))
    }

    async fn swap(
        &self,
        cas: &Cas,
        store: &mut Store<Guest>,
        key: String,
        expected: Option<&[u8]>,
        new: Bytes,
    ) -> Result<Result<(), Option<Bytes>>, Failed> {
        let handle = cas.new.call_async(&mut *store, (self.bucket, key)).await?.0?;
        let current = cas.current.call_async(&mut *store, (handle,)).await?.0;
        match current {
            Ok(current) if current.as_deref() == expected => {}
            other => {
                handle.resource_drop_async(&mut *store).await?;
                return Ok(Err(other?.map(Bytes::from)));
            }
        }
        match cas.swap.call_async(&mut *store, (handle, new.into())).await?.0 {
            Ok(()) => Ok(Ok(())),
            Err(CasError::Store(error)) => Err(error.into()),
            Err(CasError::Differs(handle)) => {
                let current = cas.current.call_async(&mut *store, (handle,)).await?.0;
                handle.resource_drop_async(&mut *store).await?;
                Ok(Err(current?.map(Bytes::from)))
            }
        }
    }
}

impl Error {
    fn text(self, bucket: &str) -> String {
        match self {
            Self::NoSuchStore => format!("it has no bucket `{bucket}`; `settings = {{ bucket = \"...\" }}` names another"),
            Self::AccessDenied => format!("it denies access; its bucket is `{bucket}`"),
            Self::Other(said) => said.chars().take(SAID_CHARACTERS).collect(),
        }
    }
}
