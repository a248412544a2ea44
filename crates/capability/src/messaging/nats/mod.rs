//! The bus of NATS servers (`nats://HOST:PORT`, several with commas): core for what is at most once, JetStream for what is
//! acknowledged.
//!
//! The client reconnects by itself and brings its subscriptions back. A publication is answered when the server has it: NATS
//! says nothing to one, so a question to nobody is sent behind it, which the server answers at once. Where this process may
//! not ask (the server's permissions), a publication is answered when it has been written to the socket.
//!
//! What is published to a subject whose first word has a stream of ours (see [`kept`]) is stored before it is answered. An
//! address for replies is not stored: a message of a subscription that acknowledges has none.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, ServerAddr, StatusCode, client::RequestErrorKind,
    connection::State,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use percent_encoding::percent_decode_str;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::kept::{Keeper, Keeping};
use super::{
    Deliveries, Delivery, Features, INBOX, Message, Messaging, MessagingError, Mode, Provider, Subscription,
    queue::Queue,
    request::{Replies, inbox},
    settings::Settings,
};
use crate::without_credentials;

mod kept;

/// Messages that the client holds for one subscription until its task runs.
const CLIENT_QUEUE: usize = 4096;

/// Commands that wait for the connection; who has one more waits too.
const COMMANDS: usize = 1024;

/// How often the client asks a silent server whether it is there; after two questions it connects anew.
const PING: Duration = Duration::from_secs(5);

/// The longest pause between attempts to connect.
const BACK_OFF: Duration = Duration::from_secs(4);

/// How often a connection that is away is looked at, beside what the client tells.
const LOOK: Duration = Duration::from_millis(50);

/// A subject that nobody listens to, for the question behind a publication.
const NOBODY: &str = "_INBOX.samara.nobody";

#[derive(Debug)]
pub(super) struct Nats;

#[async_trait]
impl Provider for Nats {
    fn scheme(&self) -> &'static str {
        "nats"
    }

    async fn open(&self, url: &str, settings: &toml::Table) -> Result<Arc<dyn Messaging>, MessagingError> {
        let place: Arc<str> = without_credentials(url).into();
        let mut settings = Settings::new("nats", settings);
        let timeout = settings.timeout()?;
        let keeping = Keeping::read(&mut settings)?;
        let mut options = options(&mut settings, timeout).await?;
        settings.finish()?;
        let wrong = || MessagingError::Configuration(format!("`{place}` is no address; write `nats://HOST:PORT`"));
        let servers = url.split(',').map(|one| one.trim().parse::<ServerAddr>().map_err(|_| wrong()));
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        // The client does not look at what stands before the `@` itself.
        let text = |part: &str| percent_decode_str(part).decode_utf8().map(Cow::into_owned).map_err(|_| wrong());
        if let Some((user, password)) = servers.iter().find_map(|one| Some((one.username()?, one.password()))) {
            options = match password {
                Some(password) => options.user_and_password(text(user)?, text(password)?),
                None => options.token(text(user)?),
            };
        }

        let (tell, link) = watch::channel(Connection::default());
        let options = options.event_callback(move |event| {
            tell.send_modify(|connection| connection.note(&event));
            async {}
        });
        let until = Instant::now() + timeout;
        let client = match timeout_at(until, options.connect(servers)).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(refusal(&place, &error)),
            Err(_) => return Err(MessagingError::TimedOut(format!("`{place}` does not let us in"))),
        };
        let keeper = Keeper::new(client.clone(), timeout, keeping);
        let mut bus = Bus { place, client, link, timeout, confirms: true, keeper: Arc::new(keeper) };
        bus.confirms = bus.may_ask(until).await?;
        Ok(Arc::new(bus))
    }
}

/// How the client connects, by the settings of the store.
async fn options(settings: &mut Settings<'_>, timeout: Duration) -> Result<ConnectOptions, MessagingError> {
    let mut options = ConnectOptions::new()
        .name("samara")
        .connection_timeout(timeout)
        .request_timeout(Some(timeout))
        .subscription_capacity(CLIENT_QUEUE)
        .client_capacity(COMMANDS)
        .ping_interval(PING)
        .reconnect_delay_callback(|attempts| {
            let doubled = 1_u32.checked_shl(u32::try_from(attempts).unwrap_or(u32::MAX)).unwrap_or(u32::MAX);
            Duration::from_millis(50).saturating_mul(doubled).min(BACK_OFF)
        })
        .require_tls(settings.flag("tls")?);
    if let Some(file) = settings.text("ca", "a path such as \"./ca.pem\"")? {
        options = options.add_root_certificates(file.into());
    }
    let unreadable = |name| MessagingError::Configuration(format!("`{name}` is no text"));
    let user = settings.text("user", "a name such as \"samara\"")?;
    let password = settings.secret("password").await?;
    match (user, password) {
        (Some(user), Some(password)) => {
            let password = password.expose_text().ok_or_else(|| unreadable("password"))?;
            options = options.user_and_password(user.to_owned(), password.to_owned());
        }
        (None, None) => {}
        _ => {
            let why = "`user` and `password` belong together; write both or none";
            return Err(MessagingError::Configuration(why.to_owned()));
        }
    }
    if let Some(token) = settings.secret("token").await? {
        options = options.token(token.expose_text().ok_or_else(|| unreadable("token"))?.to_owned());
    }
    if let Some(seed) = settings.secret("nkey").await? {
        options = options.nkey(seed.expose_text().ok_or_else(|| unreadable("nkey"))?.to_owned());
    }
    if let Some(file) = settings.secret("credentials").await? {
        let text = file.expose_text().ok_or_else(|| unreadable("credentials"))?;
        // The error's own text may repeat what it could not read.
        let wrong = |_| MessagingError::Configuration("`credentials` is no credentials file of NATS".to_owned());
        options = options.credentials(text).map_err(wrong)?;
    }
    Ok(options)
}

/// The error of a server that does not let us in.
fn refusal(place: &str, error: &async_nats::ConnectError) -> MessagingError {
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => MessagingError::Backend(
            format!("`{place}` refuses our credentials; set `user` and `password`, `token`, `nkey` or `credentials`"),
        ),
        ConnectErrorKind::TimedOut => MessagingError::TimedOut(format!("`{place}` does not let us in")),
        _ => MessagingError::Backend(format!("`{place}` cannot be reached: {error}")),
    }
}

/// What the client tells about its connection.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    /// How often it has come up.
    times: u64,
    /// The server has refused a subject to us.
    denied: bool,
    /// It will never come up again.
    closed: bool,
}

impl Connection {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Connected => self.times += 1,
            Event::Closed => self.closed = true,
            Event::ServerError(error) => {
                self.denied |= error.to_string().to_ascii_lowercase().contains("permissions violation");
            }
            _ => {}
        }
    }
}

#[derive(Clone)]
struct Bus {
    /// Where it is, without credentials.
    place: Arc<str>,
    client: Client,
    link: watch::Receiver<Connection>,
    timeout: Duration,
    /// Whether a publication is confirmed by a question to nobody.
    confirms: bool,
    keeper: Arc<Keeper>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nats").field(&self.place).finish()
    }
}

impl Bus {
    fn late(&self, what: &str) -> MessagingError {
        MessagingError::TimedOut(format!("`{}` {what}", self.place))
    }

    fn failed(&self, what: &str, error: &dyn fmt::Display) -> MessagingError {
        MessagingError::Backend(format!("`{}` {what}: {error}", self.place))
    }

    /// Waits until there is a connection.
    async fn connected(&self, until: Instant) -> Result<(), MessagingError> {
        let mut link = self.link.clone();
        loop {
            match self.client.connection_state() {
                State::Connected => return Ok(()),
                _ if link.borrow_and_update().closed => {
                    return Err(MessagingError::Backend(format!("the connection to `{}` is closed", self.place)));
                }
                State::Pending | State::Disconnected => {}
            }
            // The client may drop what it tells, if it has much to tell: so it is asked too.
            match timeout_at(until.min(Instant::now() + LOOK), link.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    return Err(MessagingError::Backend(format!("the connection to `{}` is closed", self.place)));
                }
                Err(_) if Instant::now() < until => {}
                Err(_) => return Err(self.late("cannot be reached")),
            }
        }
    }

    /// Does something that needs the connection, within the time-out.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, MessagingError>> + Send,
    ) -> Result<T, MessagingError> {
        let until = Instant::now() + self.timeout;
        self.connected(until).await?;
        timeout_at(until, work).await.unwrap_or_else(|_| Err(self.late("does not answer")))
    }

    /// Whether the server lets us ask nobody; also shows that it answers at all.
    async fn may_ask(&self, until: Instant) -> Result<bool, MessagingError> {
        self.connected(until).await?;
        let mut link = self.link.clone();
        tokio::select! {
            answer = timeout_at(until, self.ask_nobody()) => match answer {
                Ok(answer) => answer.map(|()| true),
                Err(_) => Err(self.late("does not answer")),
            },
            _ = link.wait_for(|connection| connection.denied) => Ok(false),
        }
    }

    async fn ask_nobody(&self) -> Result<(), MessagingError> {
        match self.client.request(NOBODY, Bytes::new()).await {
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            // Somebody may listen to everything, and even answer.
            Ok(_) => Ok(()),
            Err(error) if error.kind() == RequestErrorKind::TimedOut => Err(self.late("does not answer")),
            Err(error) => Err(self.failed("does not answer", &error)),
        }
    }

    /// Writes a publication to the connection.
    async fn send(&self, message: Message) -> Result<(), MessagingError> {
        let Message { subject, body, headers, reply_to } = message;
        let headers = (!headers.is_empty()).then(|| header_map(&headers));
        let sent = match (headers, reply_to) {
            (None, None) => self.client.publish(subject, body).await,
            (None, Some(reply)) => self.client.publish_with_reply(subject, reply, body).await,
            (Some(headers), None) => self.client.publish_with_headers(subject, headers, body).await,
            (Some(headers), Some(reply)) => {
                self.client.publish_with_reply_and_headers(subject, reply, headers, body).await
            }
        };
        sent.map_err(|error| self.failed("does not take a message", &error))
    }

    fn bound(&self, message: &Message) -> Result<(), MessagingError> {
        let limit = self.client.max_payload() as u64;
        if message.bytes() > limit {
            return Err(MessagingError::TooLarge { what: "message for this server", limit });
        }
        Ok(())
    }
}

#[async_trait]
impl Messaging for Bus {
    fn features(&self) -> Features {
        Features { groups: true, acknowledgement: true, envelopes: true }
    }

    async fn publish(&self, message: Message) -> Result<(), MessagingError> {
        message.check()?;
        self.bound(&message)?;
        self.in_time(async {
            let Some(message) = self.keeper.publish(&self.place, message).await? else { return Ok(()) };
            self.send(message).await?;
            if self.confirms {
                return self.ask_nobody().await;
            }
            self.client.flush().await.map_err(|error| self.failed("does not take a message", &error))
        })
        .await
    }

    async fn request(
        &self,
        mut message: Message,
        replies: usize,
        within: Duration,
    ) -> Result<Vec<Message>, MessagingError> {
        let address = message.reply_to.get_or_insert_with(inbox).clone();
        message.check()?;
        self.bound(&message)?;
        let subject = message.subject.clone();
        let replies = Replies::new(replies, within);
        let answers = self
            .in_time(async {
                let subscribed = self.client.subscribe(address).await;
                let answers = subscribed.map_err(|error| self.failed("does not take a subscription", &error))?;
                self.send(message).await?;
                Ok(answers)
            })
            .await?;
        let queue = Arc::new(replies.queue());
        let ours = Arc::clone(&queue);
        let mut answers = Listening::new(queue, async move {
            let mut answers = answers;
            while let Some(answer) = answers.next().await {
                if answer.status == Some(StatusCode::NO_RESPONDERS) {
                    return MessagingError::NoResponders;
                }
                // A stream confirms to the address for replies that it keeps the request.
                if !kept::is_confirmation(&subject, &answer) {
                    ours.push(Delivery::plain(received(answer)));
                }
            }
            MessagingError::Backend("the connection is closed".to_owned())
        });
        replies.gather(&mut answers).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, MessagingError> {
        subscription.check()?;
        let Subscription { pattern, mode, queue } = subscription;
        match mode {
            Mode::AtMostOnce { group, overflow } => {
                let messages = self
                    .in_time(async {
                        let pattern = pattern.as_str().to_owned();
                        let subscribed = match group {
                            Some(group) => self.client.queue_subscribe(pattern, group).await,
                            None => self.client.subscribe(pattern).await,
                        };
                        let subscribed =
                            subscribed.map_err(|error| self.failed("does not take a subscription", &error))?;
                        // What is published after this must arrive: the server has to have read it.
                        if self.confirms {
                            self.ask_nobody().await?;
                        }
                        Ok(subscribed)
                    })
                    .await?;
                let queue = Arc::new(Queue::new(queue, overflow));
                let (ours, place) = (Arc::clone(&queue), Arc::clone(&self.place));
                Ok(Box::new(Listening::new(queue, async move {
                    let mut messages = messages;
                    while let Some(message) = messages.next().await {
                        ours.push(Delivery::plain(received(message)));
                    }
                    MessagingError::Backend(format!("the connection to `{place}` is closed"))
                })))
            }
            Mode::Acknowledged { group, within, owned } => {
                let asked = kept::Asked { pattern, group, within, owned };
                let consumer = self.in_time(self.keeper.consumer(&self.place, &asked)).await?;
                let queue = Arc::new(Queue::new(queue, super::Overflow::Newest));
                let pump = kept::Pump { bus: self.clone(), asked, queue: Arc::clone(&queue) };
                Ok(Box::new(Listening::new(queue, pump.run(consumer))))
            }
        }
    }
}

/// A subscription: its queue, and the task that fills it, which ends with it.
struct Listening {
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Runs what fills the queue; it ends by saying why nothing more comes.
    fn new(queue: Arc<Queue>, fill: impl Future<Output = MessagingError> + Send + 'static) -> Self {
        let ended = Arc::clone(&queue);
        let task = tokio::spawn(async move { ended.end(fill.await) });
        Self { queue, task }
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}

#[async_trait]
impl Deliveries for Listening {
    async fn next(&mut self) -> Result<Delivery, MessagingError> {
        loop {
            let delivery = self.queue.next().await?;
            // One that waited here for too long comes again, to us or to somebody else.
            if !delivery.receipt.as_ref().is_some_and(|receipt| receipt.is_over()) {
                return Ok(delivery);
            }
        }
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

fn header_map(headers: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.as_str(), value.as_str());
    }
    map
}

/// A message as it came in.
fn received(message: async_nats::Message) -> Message {
    let mut headers = Vec::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        headers.extend(values.iter().map(|value| (name.to_string(), value.as_str().to_owned())));
    }
    Message {
        subject: message.subject.into_string(),
        body: message.payload,
        headers,
        reply_to: message.reply.map(async_nats::Subject::into_string),
    }
}
