//! A workload as a key-value store: each operation is one call of it, under the call of whoever asks.
//!
//! Two sorts of guests serve a store. A component that exports `wasi:keyvalue/store` answers calls of the shape
//! [`Shape::KeyValue`]. One of plain functions has `get(key)`, `set(key, value)`, `delete(key)` and `list-keys(cursor)`, and
//! perhaps `exists(key)` and `increment(key, delta)`, with the parameters and results that `wasi:keyvalue` gives them: their
//! values are lists of bytes.
//!
//! Keys are the app's own: what stands before them in backends that tenants share is taken off.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use bytes::Bytes;
use samara_capability::kv::{
    Entry, Increment, KeyValue, KvError, NoWorkloads, Opener, PAGE_KEYS, Page, Swap, Usage, Watch, share,
};
use samara_model::{Call, Encoding, Fault, Function, KeyValueCall, KeyValueReply, Limit, Reply, Shape, Tenant};
use samara_runtime::{Runtime, Workload};
use serde_json::{Value, json};

use super::guests::AppGuests;

/// The shapes of workloads that a store may lead to, best first.
pub(super) const SHAPES: &[Shape] = &[Shape::KeyValue, Shape::Function];

/// Pages of a guest that are read for one page of ours: a guest that gives none of the keys that are asked for is asked no
/// further in one operation.
const GUEST_PAGES: usize = 64;

/// Pages that are read to measure a store; one with more is not measured.
const MEASURED_PAGES: usize = 10_000;

/// Bytes of a guest's cursor.
const CURSOR_BYTES: usize = 1024;

/// The opener of an app's stores.
pub(super) struct GuestStores<'a> {
    pub(super) guests: Option<Weak<AppGuests>>,
    pub(super) tenant: &'a Tenant,
}

#[async_trait]
impl Opener for GuestStores<'_> {
    async fn workload(&self, name: &str) -> Result<Arc<dyn KeyValue>, KvError> {
        let Some(guests) = &self.guests else { return NoWorkloads.workload(name).await };
        Ok(Arc::new(GuestStore { guests: guests.clone(), name: name.into(), share: share(self.tenant) }))
    }
}

/// A store that a workload is.
pub(super) struct GuestStore {
    guests: Weak<AppGuests>,
    name: Box<str>,
    /// What keys begin with that are the tenant's.
    share: String,
}

/// Where a listing goes on: so many keys into the page that the guest gives for a cursor of its own.
#[derive(Debug, Default, PartialEq, Eq)]
struct Position {
    skip: usize,
    cursor: Option<String>,
}

impl Position {
    fn parse(text: &str) -> Result<Self, KvError> {
        let (skip, cursor) = match text.split_once('.') {
            Some((skip, cursor)) => (skip, Some(cursor.to_owned())),
            None => (text, None),
        };
        Ok(Self { skip: skip.parse().map_err(|_| KvError::UnknownCursor)?, cursor })
    }

    fn text(&self) -> String {
        match &self.cursor {
            Some(cursor) => format!("{}.{cursor}", self.skip),
            None => self.skip.to_string(),
        }
    }
}

impl GuestStore {
    fn key<'k>(&self, key: &'k str) -> &'k str {
        key.strip_prefix(&self.share).unwrap_or(key)
    }

    fn workload(&self) -> Option<(Arc<Runtime>, Arc<Workload>)> {
        let guests = self.guests.upgrade()?;
        Some((Arc::clone(&guests.runtime), guests.find(&self.name)?))
    }

    /// Refuses, once it is there, what is no store.
    ///
    /// # Errors
    /// There is no such workload in the version that serves, or it is none that may be a store.
    pub(super) fn check(guests: &AppGuests, name: &str) -> Result<(), KvError> {
        let wrong = |why: &str| {
            let fitting = guests.named(SHAPES);
            let there = match fitting.as_slice() {
                [] => "none of the app's workloads may be one".to_owned(),
                names => format!("`{}` may be one", names.join("`, `")),
            };
            KvError::Configuration(format!("{why}; {there}"))
        };
        match guests.find(name) {
            None => Err(wrong(&format!("the app has no workload `{name}` that could be a store"))),
            Some(workload) if !SHAPES.contains(&workload.shape) => {
                Err(wrong(&format!("workload `{name}` answers {} calls, which no store does", workload.shape)))
            }
            Some(workload) => {
                workload.expect_nested_calls();
                Ok(())
            }
        }
    }

    async fn ask(&self, call: KeyValueCall) -> Result<KeyValueReply, KvError> {
        let absent = || KvError::Backend(format!("workload `{}`, which is the store, is not loaded", self.name));
        let (runtime, workload) = self.workload().ok_or_else(absent)?;
        let reply = match workload.shape {
            Shape::KeyValue => match runtime.call(&workload, Call::KeyValue(call)).await {
                Ok(Reply::KeyValue(reply)) => reply,
                Ok(_) => return Err(KvError::Backend(format!("workload `{}` is no store", self.name))),
                Err(fault) => return Err(self.failed(&fault)),
            },
            _ => Functions { store: self, runtime: &runtime, workload: &workload }.answer(call).await?,
        };
        match reply {
            KeyValueReply::Unsupported(what) => Err(KvError::Unsupported { scheme: "workload", what }),
            KeyValueReply::Failed(said) => Err(KvError::Backend(format!("workload `{}`: {said}", self.name))),
            reply => Ok(reply),
        }
    }

    fn failed(&self, fault: &Fault) -> KvError {
        let text = format!("workload `{}`: {fault}", self.name);
        match fault {
            Fault::Limit { limit: Limit::Deadline, .. } | Fault::Backend { slow: true, .. } => KvError::TimedOut(text),
            _ => KvError::Backend(text),
        }
    }

    /// An answer that is none to what was asked.
    fn confused(&self) -> KvError {
        KvError::Backend(format!("workload `{}` answered something else than was asked", self.name))
    }

    async fn values(&self, keys: Vec<String>) -> Result<Vec<Option<Bytes>>, KvError> {
        let asked = keys.len();
        match self.ask(KeyValueCall::Get(keys)).await? {
            KeyValueReply::Values(values) if values.len() == asked => Ok(values),
            _ => Err(self.confused()),
        }
    }

    async fn replaced(&self, call: KeyValueCall) -> Result<Option<u64>, KvError> {
        match self.ask(call).await? {
            KeyValueReply::Replaced(replaced) => Ok(replaced),
            _ => Err(self.confused()),
        }
    }

    async fn page(&self, cursor: Option<String>) -> Result<(Vec<String>, Option<String>), KvError> {
        match self.ask(KeyValueCall::List(cursor.clone())).await? {
            KeyValueReply::Keys(_, next) if next.is_some() && next == cursor => {
                Err(KvError::Backend(format!("workload `{}` lists the same page again and again", self.name)))
            }
            KeyValueReply::Keys(_, Some(next)) if next.len() > CURSOR_BYTES => {
                Err(KvError::Backend(format!("workload `{}` has a cursor of over {CURSOR_BYTES} bytes", self.name)))
            }
            KeyValueReply::Keys(keys, next) => Ok((keys, next)),
            _ => Err(self.confused()),
        }
    }
}

#[async_trait]
impl KeyValue for GuestStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        let values = self.values(vec![self.key(key).to_owned()]).await?;
        values.into_iter().next().ok_or_else(|| self.confused())
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, KvError> {
        self.values(keys.iter().map(|key| self.key(key).to_owned()).collect()).await
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, KvError> {
        Ok(self.get(key).await?.map(|value| Entry { value, ttl: None }))
    }

    async fn set_expiring(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<std::time::Duration>,
    ) -> Result<Option<u64>, KvError> {
        if ttl.is_some() {
            return Err(KvError::Unsupported { scheme: "workload", what: "time to live" });
        }
        self.replaced(KeyValueCall::Set(self.key(key).to_owned(), value)).await
    }

    async fn delete(&self, key: &str) -> Result<Option<u64>, KvError> {
        self.replaced(KeyValueCall::Delete(self.key(key).to_owned())).await
    }

    async fn exists(&self, key: &str) -> Result<bool, KvError> {
        match self.ask(KeyValueCall::Exists(self.key(key).to_owned())).await? {
            KeyValueReply::Exists(exists) => Ok(exists),
            _ => Err(self.confused()),
        }
    }

    async fn list_keys(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, KvError> {
        let mut at = cursor.map_or(Ok(Position::default()), Position::parse)?;
        let mut keys = Vec::new();
        for _ in 0..GUEST_PAGES {
            let (page, next) = self.page(at.cursor.clone()).await?;
            for (index, key) in page.into_iter().enumerate().skip(at.skip) {
                if keys.len() == limit {
                    at.skip = index;
                    return Ok(Page { keys, cursor: Some(at.text()) });
                }
                let key = format!("{}{key}", self.share);
                if key.starts_with(prefix) {
                    keys.push(key);
                }
            }
            if next.is_none() {
                return Ok(Page { keys, cursor: None });
            }
            at = Position { skip: 0, cursor: next };
        }
        Ok(Page { keys, cursor: Some(at.text()) })
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<Increment, KvError> {
        match self.ask(KeyValueCall::Increment(self.key(key).to_owned(), delta)).await? {
            KeyValueReply::Sum(value, replaced) => Ok(Increment { value, replaced }),
            _ => Err(self.confused()),
        }
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes) -> Result<Swap, KvError> {
        let expected = expected.map(Bytes::copy_from_slice);
        match self.ask(KeyValueCall::Swap(self.key(key).to_owned(), expected, new)).await? {
            KeyValueReply::Swapped(Ok(())) => Ok(Swap::Done),
            KeyValueReply::Swapped(Err(now)) => Ok(Swap::Differs(now)),
            _ => Err(self.confused()),
        }
    }

    async fn watch(&self, _: &str) -> Result<Watch, KvError> {
        Err(KvError::Unsupported { scheme: "workload", what: "watch" })
    }

    async fn usage(&self, prefix: &str) -> Result<Usage, KvError> {
        // A store is opened before the guest that it is; it is measured once that is there.
        if self.workload().is_none() {
            return Ok(Usage::default());
        }
        let mut usage = Usage::default();
        let mut cursor = None;
        for _ in 0..MEASURED_PAGES {
            let page = self.list_keys(prefix, cursor.as_deref(), PAGE_KEYS).await?;
            for (key, value) in page.keys.iter().zip(self.get_many(&page.keys).await?) {
                let Some(value) = value else { continue };
                usage.keys += 1;
                usage.bytes += (key.len() + value.len()) as u64;
            }
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(usage);
            }
        }
        Err(KvError::Backend(format!("workload `{}` has too many keys to be measured", self.name)))
    }
}

impl fmt::Debug for GuestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuestStore").field(&self.name).finish()
    }
}

/// A workload of plain functions, asked in JSON.
struct Functions<'a> {
    store: &'a GuestStore,
    runtime: &'a Arc<Runtime>,
    workload: &'a Arc<Workload>,
}

impl Functions<'_> {
    async fn answer(&self, call: KeyValueCall) -> Result<KeyValueReply, KvError> {
        Ok(match call {
            KeyValueCall::Get(keys) => {
                let mut values = Vec::with_capacity(keys.len());
                for key in &keys {
                    values.push(self.get(key).await?);
                }
                KeyValueReply::Values(values)
            }
            KeyValueCall::Set(key, value) => {
                let replaced = self.length(&key).await?;
                self.call("set", &json!([key, &value[..]])).await?.ok_or_else(|| missing("set"))?;
                KeyValueReply::Replaced(replaced)
            }
            KeyValueCall::Delete(key) => {
                let replaced = self.length(&key).await?;
                self.call("delete", &json!([key])).await?.ok_or_else(|| missing("delete"))?;
                KeyValueReply::Replaced(replaced)
            }
            KeyValueCall::Exists(key) => match self.call("exists", &json!([key])).await? {
                Some(Value::Bool(exists)) => KeyValueReply::Exists(exists),
                Some(_) => return Err(self.store.confused()),
                None => KeyValueReply::Exists(self.get(&key).await?.is_some()),
            },
            KeyValueCall::List(cursor) => {
                let page = self.call("list-keys", &json!([cursor])).await?.ok_or_else(|| missing("list-keys"))?;
                let (keys, cursor) = page_of(&page).ok_or_else(|| self.store.confused())?;
                KeyValueReply::Keys(keys, cursor)
            }
            KeyValueCall::Increment(key, delta) => {
                let before = self.length(&key).await?;
                let sum = self.call("increment", &json!([key, delta])).await?;
                let sum = sum.ok_or_else(|| missing("increment"))?;
                KeyValueReply::Sum(sum.as_i64().ok_or_else(|| self.store.confused())?, before)
            }
            KeyValueCall::Swap(..) => KeyValueReply::Unsupported("compare-and-swap"),
        })
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        let value = self.call("get", &json!([key])).await?.ok_or_else(|| missing("get"))?;
        bytes_of(&value).ok_or_else(|| self.store.confused())
    }

    async fn length(&self, key: &str) -> Result<Option<u64>, KvError> {
        Ok(self.get(key).await?.map(|value| value.len() as u64))
    }

    /// What a function gives, out of its `result` if it gives one; `None` if there is no such function.
    async fn call(&self, operation: &str, arguments: &Value) -> Result<Option<Value>, KvError> {
        let payload = arguments.to_string().into();
        let function = Function { operation: operation.to_owned(), payload, encoding: Encoding::Json };
        let reply = match self.runtime.call(self.workload, Call::Function(function)).await {
            Ok(Reply::Bytes(reply)) => reply,
            Ok(_) => return Err(self.store.confused()),
            Err(Fault::Caller { status: 404, .. }) => return Ok(None),
            Err(fault) => return Err(self.store.failed(&fault)),
        };
        let value: Value = serde_json::from_slice(&reply).map_err(|_| self.store.confused())?;
        let Value::Object(mut fields) = value else { return Ok(Some(value)) };
        if let (1, Some(error)) = (fields.len(), fields.get("err")) {
            return Err(KvError::Backend(format!("workload `{}`: {error}", self.store.name)));
        }
        match (fields.len(), fields.remove("ok")) {
            (1, Some(value)) => Ok(Some(value)),
            (_, Some(ok)) => {
                fields.insert("ok".to_owned(), ok);
                Ok(Some(Value::Object(fields)))
            }
            (_, None) => Ok(Some(Value::Object(fields))),
        }
    }
}

/// A function that a store of functions must have.
fn missing(name: &'static str) -> KvError {
    KvError::Unsupported { scheme: "workload", what: name }
}

/// A list of bytes, or nothing; `None` if it is neither.
fn bytes_of(value: &Value) -> Option<Option<Bytes>> {
    match value {
        Value::Null => Some(None),
        Value::Array(bytes) => {
            let byte = |byte: &Value| byte.as_u64().and_then(|byte| u8::try_from(byte).ok());
            Some(Some(bytes.iter().map(byte).collect::<Option<Vec<u8>>>()?.into()))
        }
        _ => None,
    }
}

/// `{"keys": [...], "cursor": ...}`.
fn page_of(value: &Value) -> Option<(Vec<String>, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let keys = value.get("keys")?.as_array()?.iter().map(text).collect::<Option<_>>()?;
    match value.get("cursor") {
        None | Some(Value::Null) => Some((keys, None)),
        Some(Value::Number(cursor)) => Some((keys, Some(cursor.to_string()))),
        Some(cursor) => Some((keys, Some(text(cursor)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        for (skip, cursor) in [(0, None), (7, None), (7, Some("")), (0, Some("a.b")), (12, Some("7"))] {
            let position = Position { skip, cursor: cursor.map(str::to_owned) };
            assert_eq!(Position::parse(&position.text()).unwrap(), position);
        }
        for text in ["", "x", "-1", ".a"] {
            assert_eq!(Position::parse(text), Err(KvError::UnknownCursor), "{text}");
        }
    }

    #[test]
    fn what_functions_answer_is_read_or_refused() {
        assert_eq!(bytes_of(&json!(null)), Some(None));
        assert_eq!(bytes_of(&json!([1, 255])), Some(Some(Bytes::from_static(&[1, 255]))));
        for wrong in [json!([256]), json!([-1]), json!(["a"]), json!("a"), json!(1)] {
            assert_eq!(bytes_of(&wrong), None, "{wrong}");
        }
        assert_eq!(page_of(&json!({"keys": ["a"], "cursor": null})), Some((vec!["a".to_owned()], None)));
        assert_eq!(page_of(&json!({"keys": [], "cursor": 7})), Some((vec![], Some("7".to_owned()))));
        for wrong in [json!([]), json!({"keys": "a"}), json!({"keys": [1]}), json!({"keys": [], "cursor": []})] {
            assert_eq!(page_of(&wrong), None, "{wrong}");
        }
    }
}
