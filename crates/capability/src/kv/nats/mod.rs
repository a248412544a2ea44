//! Key-value provider in a JetStream bucket (`nats://HOST:PORT/BUCKET`), as NATS's own key-value clients know it.
//!
//! The bucket is made on first use, with one version of each key; without a name it is `samara`. [`names`] tells how keys
//! are written, values are as they are. NATS gives a write the number of what it replaces, so that each write looks first
//! and is made again if somebody was faster: two questions, and what it replaced is known. Writes to one key from one process
//! wait for each other rather than race.
//!
//! A time to live is a header ([`EXPIRES`]), because servers before 2.11 have none for single keys; it is counted by the
//! clocks of the hosts. Whoever wrote a key takes it out when its time is over, which tells watchers; what a host that is
//! gone has left, and the marks that removals leave, go when a share is measured.
//!
//! Settings: `timeout`, and `replicas` of a bucket that is made.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, HeaderMap, ServerAddr,
    jetstream::{
        self, Context, ErrorCode,
        context::PublishErrorKind,
        stream::{self, DirectGetErrorKind, LastRawMessageErrorKind, Stream},
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;

use super::{
    Entry, Increment, KeyValue, KvError, Opener, Page, Provider, Swap, Usage, Watch, milliseconds, number,
    settings::{Settings, TIMEOUT},
};

mod changes;
mod names;
mod scan;

use changes::Changes;

/// The bucket of a URL that names none.
const BUCKET: &str = "samara";

/// The header of an entry that ends: when, in milliseconds since 1970.
const EXPIRES: &str = "Samara-Expires";

/// The header by which NATS marks that a key was removed.
const OPERATION: &str = "KV-Operation";

/// Questions of one batch that are under way at once.
const AT_ONCE: usize = 32;

/// Locks that keep writes to one key in order; keys share them.
const LOCKS: usize = 256;

/// Keys whose end this process looks after, at most; others are found when a share is measured.
const ENDS_KEPT: usize = 100_000;

/// How often keys whose time is over are taken out.
const SWEEP: Duration = Duration::from_secs(1);

/// Keys that one sweep takes out.
const SWEEP_KEYS: usize = 1000;

#[derive(Debug)]
pub(super) struct Nats;

#[async_trait]
impl Provider for Nats {
    fn scheme(&self) -> &'static str {
        "nats"
    }

    async fn open(&self, url: &str, settings: &toml::Table, _: &dyn Opener) -> Result<Arc<dyn KeyValue>, KvError> {
        let settings = Settings::new("nats", settings, &["timeout", "replicas"])?;
        let timeout = settings.duration("timeout", TIMEOUT)?;
        let replicas = settings.count("replicas", 1, 5)?;
        let server = Server { place: crate::without_credentials(url).into(), timeout };
        let (servers, bucket) = address(url, &server.place)?;
        let client = connect(&servers, &server).await?;
        let mut context = jetstream::new(client.clone());
        // Longer than ours, which says what was waited for.
        context.set_timeout(timeout.saturating_mul(2));
        let stream = server.in_time(bucket_stream(&context, &server, bucket, replicas)).await?;
        let store = Arc::new_cyclic(|this: &Weak<Bucket>| Bucket {
            changes: Changes::new(this.clone()),
            subjects: format!("$KV.{bucket}."),
            client,
            context,
            stream,
            server,
            locks: (0..LOCKS).map(|_| tokio::sync::Mutex::new(())).collect(),
            hasher: RandomState::new(),
            ends: Mutex::default(),
        });
        tokio::spawn(sweeping(Arc::downgrade(&store)));
        Ok(store)
    }
}

/// The servers of a URL and the bucket.
fn address<'u>(url: &'u str, place: &str) -> Result<(Vec<ServerAddr>, &'u str), KvError> {
    let wrong = || KvError::Configuration(format!("`{place}` is no bucket of NATS; write `nats://HOST:PORT/BUCKET`"));
    let rest = url.strip_prefix("nats://").ok_or_else(wrong)?;
    let (hosts, bucket) = rest.rsplit_once('/').unwrap_or((rest, ""));
    let bucket = if bucket.is_empty() { BUCKET } else { bucket };
    if !bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Err(wrong());
    }
    let server = |host: &str| ServerAddr::from_str(host.trim().trim_start_matches("nats://")).map_err(|_| wrong());
    let servers = hosts.split(',').map(server).collect::<Result<Vec<_>, _>>()?;
    Ok((servers, bucket))
}

async fn connect(servers: &[ServerAddr], server: &Server) -> Result<Client, KvError> {
    let mut options = ConnectOptions::new()
        .name("samara")
        .connection_timeout(server.timeout)
        .request_timeout(Some(server.timeout.saturating_mul(2)))
        .ping_interval(server.timeout);
    // The client does not look at what stands before the `@` itself.
    if let Some((user, password)) = servers.iter().find_map(|one| Some((one.username()?, one.password()))) {
        let text = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        options = match password {
            Some(password) => options.user_and_password(text(user), text(password)),
            None => options.token(text(user)),
        };
    }
    let place = &server.place;
    let connected = async {
        Ok(options.connect(servers).await.map_err(|error| match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                KvError::Configuration(format!("`{place}` does not accept the user or password; correct its URL"))
            }
            ConnectErrorKind::TimedOut => server.late(),
            kind => KvError::Backend(format!("`{place}` is out of reach: {kind}")),
        }))
    };
    server.in_time(connected).await?
}

/// The stream of a bucket, which is made if it is not there.
async fn bucket_stream(context: &Context, server: &Server, bucket: &str, replicas: usize) -> Result<Stream, KvError> {
    let place = &server.place;
    let name = format!("KV_{bucket}");
    let stream = match context.get_stream(&name).await {
        Ok(stream) => stream,
        Err(error) => {
            use jetstream::context::GetStreamErrorKind as Kind;
            match error.kind() {
                Kind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    let made = context.create_stream(bucket_config(bucket, replicas)).await;
                    // Another process may have been faster: then it is there.
                    let there = context.get_stream(&name).await;
                    there.map_err(|error| match made {
                        Err(made) => KvError::Backend(format!("`{place}` does not make a bucket: {made}")),
                        Ok(_) => KvError::Backend(format!("`{place}` has no bucket `{bucket}`: {error}")),
                    })?
                }
                Kind::JetStream(error) => {
                    return Err(KvError::Backend(format!("`{place}` has no bucket `{bucket}`: {error}")));
                }
                kind => {
                    return Err(KvError::Backend(format!("`{place}` has no JetStream: {kind}; start it with `-js`")));
                }
            }
        }
    };
    let kept = stream.cached_info().config.max_messages_per_subject;
    if kept != 1 {
        return Err(KvError::Configuration(format!(
            "the bucket `{bucket}` keeps {kept} versions of a key; name one with a history of 1"
        )));
    }
    Ok(stream)
}

/// A bucket as NATS's own clients make one.
fn bucket_config(bucket: &str, replicas: usize) -> stream::Config {
    stream::Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        discard: stream::DiscardPolicy::New,
        num_replicas: replicas,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        max_bytes: -1,
        max_messages: -1,
        max_message_size: -1,
        ..stream::Config::default()
    }
}

/// The server, and how long it may take.
#[derive(Clone, Debug)]
struct Server {
    /// Without credentials.
    place: Arc<str>,
    timeout: Duration,
}

impl Server {
    fn late(&self) -> KvError {
        KvError::TimedOut(format!("`{}` has not answered within {:?}", self.place, self.timeout))
    }

    fn failed(&self, error: &impl fmt::Display) -> KvError {
        KvError::Backend(format!("`{}`: {error}", self.place))
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, KvError>>) -> Result<T, KvError> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| Err(self.late()))
    }
}

/// A store in a bucket.
struct Bucket {
    client: Client,
    context: Context,
    stream: Stream,
    server: Server,
    /// `$KV.BUCKET.`, before every key.
    subjects: String,
    locks: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
    /// The keys written here that end: when, and the number of the write.
    ends: Mutex<BTreeMap<(u64, String), u64>>,
    changes: Changes,
}

impl fmt::Debug for Bucket {
    /// Without the client, which knows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, subjects, .. } = self;
        f.debug_struct("Nats").field("server", server).field("subjects", subjects).finish_non_exhaustive()
    }
}

/// The last that was written to a key: its number, and the entry if it is there.
struct Head {
    number: u64,
    live: Option<Live>,
    /// It is neither there nor marked as removed: its time is over.
    over: bool,
}

struct Live {
    value: Bytes,
    /// In milliseconds since 1970.
    ends: Option<u64>,
}

/// What a write does after it has looked.
enum Step<T> {
    Put { value: Bytes, ends: Option<u64>, answer: T },
    Remove { answer: T },
    Nothing { answer: T },
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// When an entry ends, by its headers.
fn ends(headers: &HeaderMap) -> Option<u64> {
    headers.get(EXPIRES)?.as_str().parse().ok()
}

/// Whether a message marks a removal.
fn is_mark(headers: &HeaderMap) -> bool {
    headers.get(OPERATION).is_some_and(|operation| matches!(operation.as_str(), "DEL" | "PURGE"))
}

fn length(live: Option<&Live>) -> Option<u64> {
    live.map(|live| live.value.len() as u64)
}

impl Bucket {
    fn subject(&self, key: &str) -> Result<String, KvError> {
        let subject = [&*self.subjects, &names::encoded(key)].concat();
        if subject.len() > names::SUBJECT_BYTES {
            return Err(KvError::TooLarge { what: "key as NATS writes it", limit: names::SUBJECT_BYTES as u64 });
        }
        Ok(subject)
    }

    /// What is there, by the newest write; replicas other than the leader are not asked, because they may be late.
    async fn head(&self, subject: &str) -> Result<Head, KvError> {
        let config = &self.stream.cached_info().config;
        let found = if config.allow_direct && config.num_replicas <= 1 {
            match self.stream.direct_get_last_for_subject(subject).await {
                Ok(message) => Some(message),
                Err(error) => match error.kind() {
                    DirectGetErrorKind::NotFound => None,
                    DirectGetErrorKind::TimedOut => return Err(self.server.late()),
                    _ => return Err(self.server.failed(&error)),
                },
            }
        } else {
            match self.stream.get_last_raw_message_by_subject(subject).await {
                Ok(message) => Some(message),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => None,
                Err(error) => return Err(self.server.failed(&error)),
            }
        };
        let Some(message) = found else { return Ok(Head { number: 0, live: None, over: false }) };
        let ends = ends(&message.headers);
        let (mark, over) = (is_mark(&message.headers), ends.is_some_and(|ends| ends <= now()));
        let live = (!mark && !over).then_some(Live { value: message.payload, ends });
        Ok(Head { number: message.sequence, live, over: over && !mark })
    }

    /// Writes over the write with this number; `None` if there was another one meanwhile.
    async fn publish(
        &self,
        subject: &str,
        mut headers: HeaderMap,
        value: Bytes,
        over: u64,
    ) -> Result<Option<u64>, KvError> {
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, over.to_string());
        let published = match self.context.publish_with_headers(subject.to_owned(), headers, value).await {
            Ok(acknowledged) => acknowledged.await,
            Err(error) => Err(error),
        };
        match published {
            Ok(acknowledged) => Ok(Some(acknowledged.sequence)),
            Err(error) => match error.kind() {
                PublishErrorKind::WrongLastSequence => Ok(None),
                PublishErrorKind::MaxPayloadExceeded => {
                    Err(KvError::TooLarge { what: "value for the server", limit: self.client.max_payload() as u64 })
                }
                PublishErrorKind::TimedOut => Err(self.server.late()),
                _ => Err(self.server.failed(&error)),
            },
        }
    }

    async fn mark(&self, subject: &str, over: u64) -> Result<Option<u64>, KvError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, "DEL");
        self.publish(subject, headers, Bytes::new(), over).await
    }

    /// Looks, decides and writes, until nobody was faster.
    async fn write<T>(
        &self,
        key: &str,
        decide: impl Fn(Option<&Live>) -> Result<Step<T>, KvError> + Send,
    ) -> Result<T, KvError> {
        let subject = self.subject(key)?;
        let lock = usize::try_from(self.hasher.hash_one(key) % LOCKS as u64).unwrap_or_default();
        let writing = async {
            let _turn = match self.locks.get(lock) {
                Some(lock) => Some(lock.lock().await),
                None => None,
            };
            loop {
                let head = self.head(&subject).await?;
                let answer = match decide(head.live.as_ref())? {
                    Step::Put { value, ends, answer } => {
                        let mut headers = HeaderMap::new();
                        if let Some(ends) = ends {
                            headers.insert(EXPIRES, ends.to_string());
                        }
                        let written = self.publish(&subject, headers, value, head.number).await?;
                        if let (Some(number), Some(ends)) = (written, ends) {
                            self.look_after(key, ends, number);
                        }
                        written.map(|_| answer)
                    }
                    Step::Remove { answer } => self.mark(&subject, head.number).await?.map(|_| answer),
                    Step::Nothing { answer } => {
                        if head.over {
                            self.mark(&subject, head.number).await?;
                        }
                        Some(answer)
                    }
                };
                if let Some(answer) = answer {
                    return Ok(answer);
                }
            }
        };
        self.server.in_time(writing).await
    }

    /// Remembers to take a key out when its time is over.
    fn look_after(&self, key: &str, ends: u64, number: u64) {
        let mut kept = self.ends.lock();
        if kept.len() < ENDS_KEPT {
            kept.insert((ends, key.to_owned()), number);
        }
    }

    /// Takes out keys whose time is over, unless they were written again.
    async fn sweep(&self) {
        let over: Vec<(String, u64)> = {
            let mut kept = self.ends.lock();
            let now = now();
            let mut over = Vec::new();
            while over.len() < SWEEP_KEYS {
                match kept.first_entry() {
                    Some(first) if first.key().0 <= now => {
                        let ((_, key), number) = first.remove_entry();
                        over.push((key, number));
                    }
                    _ => break,
                }
            }
            over
        };
        for (key, number) in over {
            if let Ok(subject) = self.subject(&key)
                && self.mark(&subject, number).await.is_err()
            {
                // It is out of reach: what is over is not seen, and found again when a share is measured.
                return;
            }
        }
    }

    /// Does something for each of a batch, some at once; after the server failed it is not asked again.
    async fn each<I: Send, T: Clone + Send, F: Future<Output = Result<T, KvError>> + Send>(
        &self,
        items: Vec<I>,
        ask: impl Fn(I) -> F + Send,
    ) -> Vec<Result<T, KvError>> {
        let count = items.len();
        let mut done = Vec::with_capacity(count);
        let mut answers = futures::stream::iter(items.into_iter().map(ask)).buffered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            let failed = matches!(answer, Err(KvError::Backend(_) | KvError::TimedOut(_)));
            done.push(answer.clone());
            if failed {
                done.resize(count, answer);
                break;
            }
        }
        done
    }
}

#[async_trait]
impl KeyValue for Bucket {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        let subject = self.subject(key)?;
        let head = self.server.in_time(self.head(&subject)).await?;
        Ok(head.live.map(|live| live.value))
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, KvError> {
        let subject = self.subject(key)?;
        let head = self.server.in_time(self.head(&subject)).await?;
        let ttl = |ends: u64| Duration::from_millis(ends.saturating_sub(now()));
        Ok(head.live.map(|live| Entry { value: live.value, ttl: live.ends.map(ttl) }))
    }

    async fn set_expiring(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Option<u64>, KvError> {
        self.write(key, |live| {
            let ends = ttl.map(|ttl| now().saturating_add(milliseconds(ttl)));
            Ok(Step::Put { value: value.clone(), ends, answer: length(live) })
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<Option<u64>, KvError> {
        self.write(key, |live| match length(live) {
            None => Ok(Step::Nothing { answer: None }),
            length => Ok(Step::Remove { answer: length }),
        })
        .await
    }

    async fn list_keys(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, KvError> {
        let after = cursor.map_or(Ok(0), str::parse).map_err(|_| KvError::UnknownCursor)?;
        self.page(prefix, after, limit.max(1)).await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<Increment, KvError> {
        self.write(key, |live| {
            let value = number::add(live.map(|live| &*live.value), delta)?;
            let answer = Increment { value, replaced: length(live) };
            Ok(Step::Put { value: value.to_string().into(), ends: live.and_then(|live| live.ends), answer })
        })
        .await
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes) -> Result<Swap, KvError> {
        self.write(key, |live| {
            if live.map(|live| &*live.value) != expected {
                return Ok(Step::Nothing { answer: Swap::Differs(live.map(|live| live.value.clone())) });
            }
            Ok(Step::Put { value: new.clone(), ends: live.and_then(|live| live.ends), answer: Swap::Done })
        })
        .await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, KvError> {
        self.each(keys.to_vec(), |key| async move { self.get(&key).await }).await.into_iter().collect()
    }

    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Vec<Result<Option<u64>, KvError>> {
        self.each(entries, |(key, value)| async move { self.set(&key, value).await }).await
    }

    async fn delete_many(&self, keys: &[String]) -> Vec<Result<Option<u64>, KvError>> {
        self.each(keys.to_vec(), |key| async move { self.delete(&key).await }).await
    }

    async fn watch(&self, prefix: &str) -> Result<Watch, KvError> {
        self.changes.watch(prefix, &self.server).await
    }

    async fn usage(&self, prefix: &str) -> Result<Usage, KvError> {
        self.measure(prefix).await
    }
}

/// Takes keys out whose time is over, as long as the store is open.
async fn sweeping(store: Weak<Bucket>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(store) = store.upgrade() else { return };
        store.sweep().await;
    }
}
