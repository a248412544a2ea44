//! Key-value provider on a Redis server (`redis://`, and `rediss://` over TLS), version 6 or later, or what speaks its protocol.
//!
//! Values are plain strings under the keys that a tenant's share gives them (`TENANT:KEY`), which other programs may read.
//! What they write is read here too, but listed only after it was written here or when the store is first used: Redis has
//! no way to list keys by prefix, so that there is an index ([`scripts`]). Names that start with a colon are ours.
//!
//! One connection carries the requests of all calls, [`IN_FLIGHT`] at once; it comes back by itself. A write that was under
//! way when it broke may have happened. Changes are told over a second connection, which is made for the first watcher.
//! Scripts name keys of several hash slots: a cluster is not supported. The settings are `timeout`,
//! and `user` and `password` (`"env:NAME"` or `"file:PATH"`) for a URL without them.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, LazyLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError, Script, ScriptInvocation,
    Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use super::{
    Entry, Increment, KeyValue, KvError, Opener, Page, Provider, Swap, Usage, Watch, milliseconds,
    settings::{Settings, TIMEOUT},
};

use crate::secrets::{self, Secret, SecretError};

mod changes;
mod scripts;

use changes::Changes;
use scripts::Scripts;

/// Requests of one store that are under way at once; others wait.
const IN_FLIGHT: usize = 1024;

/// Attempts to connect again before those who wait are told that the server is out of reach.
const RECONNECTS: usize = 2;

/// Keys that one step in the server looks at, at most: it does nothing else meanwhile.
const STEP_KEYS: usize = 1000;

/// How often keys whose time is over are taken out of the index and told to watchers.
const SWEEP: Duration = Duration::from_secs(1);

/// Sets of ours, and what says that the index has all that was there before.
const INDEX: &str = ":samara:index";
const ENDS: &str = ":samara:ends";
const INDEXED: &str = ":samara:indexed";

static SCRIPTS: LazyLock<Scripts> = LazyLock::new(Scripts::new);

/// The provider of both schemes, one value for each.
#[derive(Debug)]
pub(super) struct Redis(pub(super) &'static str);

#[async_trait]
impl Provider for Redis {
    fn scheme(&self) -> &'static str {
        self.0
    }

    async fn open(&self, url: &str, settings: &toml::Table, _: &dyn Opener) -> Result<Arc<dyn KeyValue>, KvError> {
        let known = ["password", "timeout", "user"];
        let timeout = Settings::new(self.0, settings, &known)?.duration("timeout", TIMEOUT)?;
        let place: Arc<str> = crate::without_credentials(url).into();
        let user = Settings::new(self.0, settings, &known)?.text("user", "a name such as \"samara\"")?;
        let refused = |error: SecretError| KvError::Configuration(error.to_string());
        let password = secrets::setting(settings, "password").await.map_err(refused)?;
        let parsed = url.into_connection_info().and_then(|info| Client::open(login(info, user, password.as_ref())));
        // The library's own words may repeat parts of the URL.
        let wrong =
            |_| KvError::Configuration(format!("`{place}` is no URL of Redis; write `redis://HOST:PORT/DATABASE`"));
        let client = parsed.map_err(wrong)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            // Whoever asks waits no longer than that, for a connection too: one timer is enough.
            .set_response_timeout(None)
            .set_number_of_retries(RECONNECTS)
            .set_max_delay(timeout / 4)
            .set_pipeline_buffer_size(IN_FLIGHT)
            .set_concurrency_limit(IN_FLIGHT);
        let server = Server { place, timeout };
        let manager = server.ask(ConnectionManager::new_with_config(client.clone(), config)).await?;
        let channel: Arc<str> =
            format!(":samara:changes:{}", client.get_connection_info().redis_settings().db()).into();
        let store = Arc::new_cyclic(|this: &Weak<Remote>| Remote {
            changes: Changes::new(client, channel.clone(), server.clone(), this.clone()),
            manager,
            channel,
            server,
        });
        store.index_what_is_there().await?;
        tokio::spawn(sweeping(Arc::downgrade(&store)));
        Ok(store)
    }
}

/// The credentials of the settings over those of the URL.
fn login(info: ConnectionInfo, user: Option<&str>, password: Option<&Secret>) -> ConnectionInfo {
    let mut login = info.redis_settings().clone();
    if let Some(user) = user {
        login = login.set_username(user);
    }
    // Redis takes any bytes and the client text alone; what is none is no password that anybody could have given it.
    if let Some(password) = password.and_then(Secret::expose_text) {
        login = login.set_password(password);
    }
    info.set_redis_settings(login)
}

/// The server, and how long it may take.
#[derive(Clone, Debug)]
struct Server {
    /// Without credentials.
    place: Arc<str>,
    timeout: Duration,
}

impl Server {
    /// Asks something, and says whose fault it is if there is no answer.
    async fn ask<T>(&self, question: impl Future<Output = Result<T, RedisError>>) -> Result<T, KvError> {
        let place = &self.place;
        let late = || KvError::TimedOut(format!("`{place}` has not answered within {:?}", self.timeout));
        match tokio::time::timeout(self.timeout, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_timeout() => Err(late()),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(late()),
        }
    }

    fn failed(&self, error: &RedisError) -> KvError {
        let place = &self.place;
        let refused = error.kind() == ErrorKind::AuthenticationFailed
            || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
        if refused {
            // Without the server's words: some repeat what they were sent.
            return KvError::Configuration(format!(
                "`{place}` does not accept the user or password; correct its URL, or `user` and `password`"
            ));
        }
        KvError::Backend(format!("`{place}`: {error}"))
    }

    fn nonsense(&self) -> KvError {
        KvError::Backend(format!("`{}` answers what no Redis would", self.place))
    }
}

/// A store on a server.
struct Remote {
    manager: ConnectionManager,
    channel: Arc<str>,
    server: Server,
    changes: Changes,
}

impl fmt::Debug for Remote {
    /// Without the client, which knows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("server", &self.server).finish_non_exhaustive()
    }
}

/// The key as the server knows it: ours begin with one colon, so those of others with two.
fn physical(key: &str) -> Cow<'_, str> {
    if key.starts_with(':') { format!(":{key}").into() } else { key.into() }
}

/// The key as its writer knows it; `None` for what is ours, and what is no text.
fn logical(key: &[u8]) -> Option<&str> {
    let key = std::str::from_utf8(key).ok()?;
    match key.strip_prefix(':') {
        Some(rest) => rest.starts_with(':').then_some(rest),
        None => Some(key),
    }
}

/// Bounds of the index that hold what is under a prefix and after a cursor. No text has the byte 255.
fn range(prefix: &str, cursor: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let start = match cursor {
        Some(cursor) => [b"(", physical(&format!("{prefix}{cursor}")).as_bytes()].concat(),
        None => [b"[", physical(prefix).as_bytes()].concat(),
    };
    let end = if prefix.is_empty() { b"+".to_vec() } else { [b"(", physical(prefix).as_bytes(), b"\xff"].concat() };
    (start, end)
}

/// A length as scripts tell it.
fn replaced(length: i64) -> Option<u64> {
    u64::try_from(length).ok()
}

impl Remote {
    /// A script's call, with what every script is given first.
    fn call<'s>(&self, script: &'s Script) -> ScriptInvocation<'s> {
        let mut call = script.prepare_invoke();
        call.key(INDEX).key(ENDS).arg(&*self.channel);
        call
    }

    async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, KvError> {
        let mut manager = self.manager.clone();
        self.server.ask(call.invoke_async(&mut manager)).await
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, KvError> {
        let mut manager = self.manager.clone();
        self.server.ask(command.query_async(&mut manager)).await
    }

    /// Puts what others have written into the index, once in the life of a database.
    async fn index_what_is_there(&self) -> Result<(), KvError> {
        if self.query(redis::cmd("EXISTS").arg(INDEXED)).await? {
            return Ok(());
        }
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(STEP_KEYS).arg("TYPE").arg("string");
            let (next, keys): (u64, Vec<Vec<u8>>) = self.query(&scan).await?;
            let mut add = redis::cmd("ZADD");
            add.arg(INDEX);
            let mut found = false;
            for key in keys.iter().filter(|key| logical(key).is_some()) {
                add.arg(0).arg(key);
                found = true;
            }
            if found {
                let _: u64 = self.query(&add).await?;
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
        self.query(redis::cmd("SET").arg(INDEXED).arg(1)).await
    }

    /// Writes or removes several keys in one step; the lengths of what was there.
    async fn replace(&self, call: &ScriptInvocation<'_>, keys: usize) -> Result<Vec<Option<u64>>, KvError> {
        let lengths: Vec<i64> = self.run(call).await?;
        if lengths.len() != keys {
            return Err(self.server.nonsense());
        }
        Ok(lengths.into_iter().map(replaced).collect())
    }

    async fn replace_one(&self, call: &ScriptInvocation<'_>) -> Result<Option<u64>, KvError> {
        let replaced = self.replace(call, 1).await?;
        Ok(replaced.into_iter().next().flatten())
    }
}

#[async_trait]
impl KeyValue for Remote {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        self.query(redis::cmd("GET").arg(&*physical(key))).await
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, KvError> {
        let key = physical(key);
        let mut both = redis::pipe();
        both.atomic().cmd("GET").arg(&key).cmd("PTTL").arg(&key);
        let mut manager = self.manager.clone();
        let (value, left): (Option<Bytes>, i64) = self.server.ask(both.query_async(&mut manager)).await?;
        let ttl = u64::try_from(left).ok().map(Duration::from_millis);
        Ok(value.map(|value| Entry { value, ttl }))
    }

    async fn set_expiring(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Option<u64>, KvError> {
        let mut call = self.call(&SCRIPTS.set);
        call.key(physical(key)).arg(ttl.map(|ttl| milliseconds(ttl).to_string()).unwrap_or_default()).arg(&*value);
        self.replace_one(&call).await
    }

    async fn delete(&self, key: &str) -> Result<Option<u64>, KvError> {
        let mut call = self.call(&SCRIPTS.delete);
        call.key(physical(key));
        self.replace_one(&call).await
    }

    async fn exists(&self, key: &str) -> Result<bool, KvError> {
        self.query(redis::cmd("EXISTS").arg(physical(key))).await
    }

    /// The cursor is the last key that was looked at, without the prefix: it cannot lead out of it.
    async fn list_keys(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, KvError> {
        let (start, end) = range(prefix, cursor);
        let limit = limit.clamp(1, STEP_KEYS);
        let mut call = self.call(&SCRIPTS.list);
        call.arg(start).arg(end).arg(limit);
        let (last, seen, keys): (Vec<u8>, usize, Vec<Vec<u8>>) = self.run(&call).await?;
        let keys = keys.iter().filter_map(|key| logical(key)).filter(|key| key.starts_with(prefix));
        let keys = keys.map(str::to_owned).collect();
        let rest = || logical(&last)?.strip_prefix(prefix);
        Ok(Page { keys, cursor: if seen < limit { None } else { rest().map(str::to_owned) } })
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<Increment, KvError> {
        let mut call = self.call(&SCRIPTS.increment);
        call.key(physical(key)).arg(delta);
        let answer: Vec<Value> = self.run(&call).await?;
        let text = |at: usize| answer.get(at).and_then(|value| String::from_redis_value_ref(value).ok());
        let number = |at: usize| text(at)?.parse::<i64>().ok();
        match (text(0).as_deref(), number(1), number(2)) {
            (Some("sum"), Some(before), Some(value)) => Ok(Increment { value, replaced: replaced(before) }),
            (Some("overflow"), ..) => Err(KvError::Overflow),
            (Some("no number"), ..) => Err(KvError::NotANumber),
            _ => Err(self.server.nonsense()),
        }
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes) -> Result<Swap, KvError> {
        let mut call = self.call(&SCRIPTS.swap);
        call.key(physical(key)).arg(u8::from(expected.is_some())).arg(expected.unwrap_or_default()).arg(&*new);
        let mut answer: Vec<Value> = self.run(&call).await?;
        let current = (answer.len() == 2).then(|| answer.pop()).flatten();
        match (answer.first(), current) {
            (Some(Value::Int(1)), None) => Ok(Swap::Done),
            (Some(Value::Int(0)), current) => {
                let current = current.map(Bytes::from_redis_value).transpose();
                Ok(Swap::Differs(current.map_err(|_| self.server.nonsense())?))
            }
            _ => Err(self.server.nonsense()),
        }
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, KvError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("MGET");
        for key in keys {
            command.arg(physical(key));
        }
        let values: Vec<Option<Bytes>> = self.query(&command).await?;
        if values.len() == keys.len() { Ok(values) } else { Err(self.server.nonsense()) }
    }

    /// One step in the server: others see all of it or nothing.
    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Vec<Result<Option<u64>, KvError>> {
        if entries.is_empty() {
            return Vec::new();
        }
        let mut call = self.call(&SCRIPTS.set);
        call.arg("");
        for (key, value) in &entries {
            call.key(physical(key)).arg(&**value);
        }
        each(self.replace(&call, entries.len()).await, entries.len())
    }

    /// As [`set_many`](KeyValue::set_many).
    async fn delete_many(&self, keys: &[String]) -> Vec<Result<Option<u64>, KvError>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let mut call = self.call(&SCRIPTS.delete);
        for key in keys {
            call.key(physical(key));
        }
        each(self.replace(&call, keys.len()).await, keys.len())
    }

    async fn watch(&self, prefix: &str) -> Result<Watch, KvError> {
        self.changes.watch(prefix).await
    }

    async fn usage(&self, prefix: &str) -> Result<Usage, KvError> {
        let mut usage = Usage::default();
        let (mut start, end) = range(prefix, None);
        loop {
            let mut call = self.call(&SCRIPTS.usage);
            call.arg(&start).arg(&end).arg(STEP_KEYS);
            let (last, seen, keys, bytes): (Vec<u8>, usize, u64, u64) = self.run(&call).await?;
            usage.keys += keys;
            usage.bytes += bytes;
            if seen < STEP_KEYS {
                return Ok(usage);
            }
            start = [b"(", &*last].concat();
        }
    }
}

/// The outcome of a batch that happened or failed as a whole, for each entry.
fn each(done: Result<Vec<Option<u64>>, KvError>, count: usize) -> Vec<Result<Option<u64>, KvError>> {
    match done {
        Ok(done) => done.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); count],
    }
}

/// Takes keys whose time is over out of the index, as long as the store is open.
async fn sweeping(store: Weak<Remote>) {
    let mut more = false;
    loop {
        if !more {
            tokio::time::sleep(SWEEP).await;
        }
        let Some(store) = store.upgrade() else { return };
        let mut call = store.call(&SCRIPTS.sweep);
        call.arg(STEP_KEYS);
        // A server that is out of reach is told to those who use the store.
        more = store.run::<usize>(&call).await.is_ok_and(|swept| swept == STEP_KEYS);
    }
}
