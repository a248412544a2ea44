//! The bus of a Redis server (`redis://HOST:PORT`): its publish and subscribe, at most once.
//!
//! A subject is a channel and a message is its bytes alone, so that others on the server understand both. Redis has neither
//! groups nor acknowledgement nor room for headers: those are refused by name. A subscription is a connection of its own; one
//! that is lost is made again, and what was published meanwhile is gone.
//!
//! The number of a database in the URL separates keys, not channels.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Msg, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig, PubSub},
};
use samara_model::SubjectPattern;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Deliveries, Delivery, Features, Message, Messaging, MessagingError, Mode, Provider, Subscription, queue::Queue,
    settings::Settings,
};
use crate::without_credentials;

/// Subscriptions of one bus: each is a connection.
const MAX_SUBSCRIPTIONS: usize = 256;

/// Publications in flight on one connection.
const PUBLICATIONS: usize = 1024;

/// How often a silent server is asked whether it is there.
const PING: Duration = Duration::from_secs(5);

/// Pauses between attempts to connect again, from the first to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(4));

#[derive(Debug)]
pub(super) struct Redis;

#[async_trait]
impl Provider for Redis {
    fn scheme(&self) -> &'static str {
        "redis"
    }

    async fn open(&self, url: &str, settings: &toml::Table) -> Result<Arc<dyn Messaging>, MessagingError> {
        let place: Arc<str> = without_credentials(url).into();
        let mut settings = Settings::new("redis", settings);
        let timeout = settings.timeout()?;
        let info = connection(url, &place, &mut settings).await?;
        settings.finish()?;
        let wrong = |_| MessagingError::Configuration(format!("`{place}` is no address; write `redis://HOST:PORT`"));
        let client = Client::open(info).map_err(wrong)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_min_delay(PAUSE.0)
            .set_max_delay(PAUSE.1)
            // Who asks waits for one attempt; the next one who asks begins another.
            .set_number_of_retries(0)
            .set_concurrency_limit(PUBLICATIONS);
        let server = Server { place, client, timeout };
        let manager = server.in_time(ConnectionManager::new_with_config(server.client.clone(), config)).await?;
        Ok(Arc::new(Bus { server, manager, open: Arc::default() }))
    }
}

/// Where and how to connect, by the URL and the settings of the store.
async fn connection(url: &str, place: &str, settings: &mut Settings<'_>) -> Result<ConnectionInfo, MessagingError> {
    let wrong = || MessagingError::Configuration(format!("`{place}` is no address; write `redis://HOST:PORT`"));
    let mut info = url.into_connection_info().map_err(|_| wrong())?;
    let mut login = info.redis_settings().clone();
    if let Some(user) = settings.text("user", "a name such as \"samara\"")? {
        login = login.set_username(user);
    }
    if let Some(password) = settings.secret("password").await? {
        let text = password.expose_text();
        let text = text.ok_or_else(|| MessagingError::Configuration("`password` is no text".to_owned()))?;
        login = login.set_password(text);
    }
    info = info.set_redis_settings(login);
    if settings.flag("tls")? {
        let ConnectionAddr::Tcp(host, port) = info.addr().clone() else { return Err(wrong()) };
        info = info.set_addr(ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None });
    }
    Ok(info)
}

/// A server, and how long it may take.
#[derive(Clone)]
struct Server {
    /// Where it is, without credentials.
    place: Arc<str>,
    client: Client,
    timeout: Duration,
}

impl Server {
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, MessagingError> {
        match timeout(self.timeout, work).await {
            Ok(done) => done.map_err(|error| self.failed(&error)),
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> MessagingError {
        MessagingError::TimedOut(format!("`{}` does not answer", self.place))
    }

    fn failed(&self, error: &RedisError) -> MessagingError {
        let place = &self.place;
        if error.is_timeout() {
            return self.late();
        }
        match error.code() {
            Some("WRONGPASS" | "NOAUTH") => {
                MessagingError::Backend(format!("`{place}` refuses our credentials; set `user` and `password`"))
            }
            Some("NOPERM") => MessagingError::Backend(format!("`{place}` does not allow us this channel")),
            _ => MessagingError::Backend(format!("`{place}`: {error}")),
        }
    }

    async fn listen(&self, pattern: &SubjectPattern) -> Result<PubSub, MessagingError> {
        self.in_time(async {
            let mut connection = self.client.get_async_pubsub().await?;
            if pattern.is_literal() {
                connection.subscribe(pattern.as_str()).await?;
            } else {
                connection.psubscribe(glob(pattern)).await?;
            }
            Ok(connection)
        })
        .await
    }
}

struct Bus {
    server: Server,
    manager: ConnectionManager,
    /// Subscriptions that are open.
    open: Arc<AtomicUsize>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.server.place).finish()
    }
}

fn unsupported(what: &'static str, instead: &'static str) -> MessagingError {
    MessagingError::Unsupported { scheme: "redis", what, instead }
}

#[async_trait]
impl Messaging for Bus {
    fn features(&self) -> Features {
        Features { groups: false, acknowledgement: false, envelopes: false }
    }

    async fn publish(&self, message: Message) -> Result<(), MessagingError> {
        message.check()?;
        if !message.headers.is_empty() {
            return Err(unsupported("headers", "put them into the body"));
        }
        if message.reply_to.is_some() {
            return Err(unsupported("addresses for replies", "use `memory:` or `nats:`"));
        }
        let mut manager = self.manager.clone();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&message.subject).arg(&message.body[..]);
        self.server.in_time(publish.query_async::<()>(&mut manager)).await
    }

    async fn request(&self, _: Message, _: usize, _: Duration) -> Result<Vec<Message>, MessagingError> {
        Err(unsupported("requests", "use `memory:` or `nats:`"))
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, MessagingError> {
        subscription.check()?;
        let Subscription { pattern, mode, queue } = subscription;
        let overflow = match mode {
            Mode::AtMostOnce { group: None, overflow } => overflow,
            Mode::AtMostOnce { group: Some(_), .. } => {
                return Err(unsupported("groups", "subscribe without one, or use `memory:` or `nats:`"));
            }
            Mode::Acknowledged { .. } => {
                return Err(unsupported("acknowledgement", "subscribe at most once, or use `memory:` or `nats:`"));
            }
        };
        let place = Place::take(&self.open)?;
        let connection = self.server.listen(&pattern).await?;
        let queue = Arc::new(Queue::new(queue, overflow));
        let ears = Ears { server: self.server.clone(), pattern, queue: Arc::clone(&queue) };
        let task = tokio::spawn(ears.hear(connection));
        Ok(Box::new(Listening { queue, task, _place: place }))
    }
}

/// One of a bus's subscriptions; given back when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Result<Self, MessagingError> {
        let add = |open: usize| (open < MAX_SUBSCRIPTIONS).then_some(open + 1);
        match open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Self(Arc::clone(open))),
            Err(_) => Err(MessagingError::TooMany { what: "subscriptions of this bus", limit: MAX_SUBSCRIPTIONS }),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Fills the queue of one subscription.
struct Ears {
    server: Server,
    pattern: SubjectPattern,
    queue: Arc<Queue>,
}

impl Ears {
    /// Hears, and connects again whenever the connection is lost.
    async fn hear(self, mut connection: PubSub) {
        loop {
            self.hear_one(connection).await;
            let mut pause = PAUSE.0;
            connection = loop {
                sleep(pause).await;
                match self.server.listen(&self.pattern).await {
                    Ok(connection) => break connection,
                    Err(error) => {
                        pause = (pause * 2).min(PAUSE.1);
                        tracing::warn!(pattern = %self.pattern, %error, "a subscription is not back yet; trying again in {pause:?}");
                    }
                }
            };
        }
    }

    /// Hears until the connection is lost, or the server does not say that it is there.
    async fn hear_one(&self, connection: PubSub) {
        let (mut asks, mut messages) = connection.split();
        let hear = async {
            while let Some(message) = messages.next().await {
                self.take(&message);
            }
        };
        let ask = async {
            loop {
                sleep(PING).await;
                if !matches!(timeout(self.server.timeout, asks.ping::<redis::Value>()).await, Ok(Ok(_))) {
                    break;
                }
            }
        };
        tokio::select! {
            () = hear => {}
            () = ask => {}
        }
    }

    fn take(&self, message: &Msg) {
        let Ok(channel) = message.get_channel::<String>() else { return self.queue.lost() };
        // A `*` of Redis reaches over dots, ours does not.
        if self.pattern.matches(&channel) {
            self.queue.push(Delivery::plain(Message::new(channel, message.get_payload_bytes().to_vec())));
        }
    }
}

/// A pattern as Redis writes those that name everything it does, and perhaps more.
fn glob(pattern: &SubjectPattern) -> String {
    let words = pattern.as_str().split('.').map(|word| match word {
        "*" | ">" => "*".to_owned(),
        word => {
            let mut literal = String::with_capacity(word.len());
            for character in word.chars() {
                if matches!(character, '?' | '[' | ']' | '^' | '\\') {
                    literal.push('\\');
                }
                literal.push(character);
            }
            literal
        }
    });
    words.collect::<Vec<_>>().join(".")
}

/// A subscription; its connection is closed when it is dropped.
struct Listening {
    queue: Arc<Queue>,
    task: JoinHandle<()>,
    _place: Place,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}

#[async_trait]
impl Deliveries for Listening {
    async fn next(&mut self) -> Result<Delivery, MessagingError> {
        self.queue.next().await
    }

    fn waiting(&mut self) -> Option<Delivery> {
        self.queue.pop()
    }

    fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}
