//! What NATS keeps for groups that acknowledge: one JetStream stream for everything below a first word, one durable consumer
//! for each group and pattern.
//!
//! The stream `samara_WORD` has the subjects `WORD.>` and keeps a message until every group that waits for it has settled
//! it, for at most `keep`; a message that no group waits for is not kept. When it holds `max` bytes it refuses more, and
//! publishing says so: nothing that was taken is lost. It is made by the first group, with the settings of that moment; who
//! wants others changes the stream with the tools of NATS. Where the subjects are not the subscriber's own
//! ([`Share::outside`](crate::messaging::Share::outside)), nothing is made: a stream must be there.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_nats::{
    Client,
    jetstream::{
        AckKind, Context,
        consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
        context,
        message::{Acker, PublishMessage},
        stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
    },
};
use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use samara_model::SubjectPattern;
use tokio::time::{Instant, sleep};

use super::{Bus, INBOX, header_map, received};
use crate::messaging::{Delivery, Message, MessagingError, Receipt, Verdict, queue::Queue, settings::Settings};

/// The default of `max`. The server sets that much aside for each tenant, and takes no more tenants when its disk is given
/// away.
const MAX_BYTES: u64 = 64 << 20;

/// The default of `keep`: a week.
const KEEP: Duration = Duration::from_secs(7 * 86_400);

/// Messages of one group that were handed out and not settled, at most, over all processes.
const UNSETTLED: i64 = 10_000;

/// Publications that wait until they are stored, at most; who has one more waits too.
const PUBLICATIONS: usize = 1024;

/// How long it is believed that there is a stream, or none. Until it is noticed, a message is kept but not confirmed.
const BELIEVED: Duration = Duration::from_secs(5);

/// First words about which that is remembered.
const REMEMBERED: usize = 10_000;

/// How long one question for messages waits at the server.
const WAIT: Duration = Duration::from_secs(30);

/// Pauses after an error, from the first to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Bytes of a consumer's name, at most: the server's own limit.
const MAX_NAME_BYTES: usize = 255;

/// How a stream is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    max_bytes: i64,
    keep: Duration,
    replicas: usize,
    storage: StorageType,
}

impl Keeping {
    pub(super) fn read(settings: &mut Settings<'_>) -> Result<Self, MessagingError> {
        let max_bytes = i64::try_from(settings.bytes("max", MAX_BYTES)?).unwrap_or(i64::MAX);
        let keep = settings.duration("keep", KEEP)?;
        let wrong = |name: &str, example: &str| MessagingError::Configuration(format!("`{name}` is {example}"));
        let replicas = match settings.text("replicas", "\"1\", \"3\" or \"5\"")? {
            None | Some("1") => 1,
            Some("3") => 3,
            Some("5") => 5,
            Some(_) => return Err(wrong("replicas", "\"1\", \"3\" or \"5\"")),
        };
        let storage = match settings.text("storage", "\"file\" or \"memory\"")? {
            None | Some("file") => StorageType::File,
            Some("memory") => StorageType::Memory,
            Some(_) => return Err(wrong("storage", "\"file\" or \"memory\"")),
        };
        Ok(Self { max_bytes, keep, replicas, storage })
    }
}

/// What a group asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) pattern: SubjectPattern,
    pub(super) group: String,
    pub(super) within: Duration,
    pub(super) owned: bool,
}

impl Asked {
    /// The name under which the server remembers the group: every character that a name may not have is written as its
    /// bytes, so that no two are the same.
    fn name(&self) -> Result<String, MessagingError> {
        use fmt::Write as _;
        let mut name = String::new();
        for byte in self.group.bytes().chain(*b" ").chain(self.pattern.as_str().bytes()) {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                // Writing to a string cannot fail.
                _ => drop(write!(name, "={byte:02X}")),
            }
        }
        if name.len() > MAX_NAME_BYTES {
            let why = "the group's name and the pattern together are too long for NATS; shorten one of them";
            return Err(MessagingError::Malformed(why.to_owned()));
        }
        Ok(name)
    }
}

/// Makes and finds what keeps messages.
pub(super) struct Keeper {
    context: Context,
    keeping: Keeping,
    /// Which first words have a stream, and when that was asked.
    streams: Mutex<HashMap<String, (bool, Instant)>>,
}

impl Keeper {
    pub(super) fn new(client: Client, timeout: Duration, keeping: Keeping) -> Self {
        let context = context::ContextBuilder::new()
            .timeout(timeout)
            .ack_timeout(timeout)
            .max_ack_inflight(PUBLICATIONS)
            .backpressure_on_inflight(true)
            .build(client);
        Self { context, keeping, streams: Mutex::default() }
    }

    /// Publishes a message so that it is stored, if it is one to be stored; gives back one that is not.
    pub(super) async fn publish(&self, place: &str, message: Message) -> Result<Option<Message>, MessagingError> {
        // The address for replies is where the server confirms; a message with one of its own is sent as it is.
        if message.reply_to.is_some() {
            return Ok(Some(message));
        }
        let Some((word, stream)) = stream_of(&message.subject) else { return Ok(Some(message)) };
        if !self.has_stream(word, &stream).await {
            return Ok(Some(message));
        }
        let word = word.to_owned();
        let mut publication = PublishMessage::build().payload(message.body);
        if !message.headers.is_empty() {
            publication = publication.headers(header_map(&message.headers));
        }
        let sent = async { self.context.send_publish(message.subject, publication).await?.await };
        match sent.await {
            Ok(_) => Ok(None),
            Err(error) => {
                self.streams.lock().remove(&word);
                match error.kind() {
                    // It is gone, and nobody else listens either.
                    context::PublishErrorKind::StreamNotFound => Ok(None),
                    context::PublishErrorKind::TimedOut => {
                        Err(MessagingError::TimedOut(format!("`{place}` does not answer")))
                    }
                    _ if error.to_string().contains("maximum bytes") => {
                        let limit = u64::try_from(self.keeping.max_bytes).unwrap_or(u64::MAX);
                        Err(MessagingError::TooLarge { what: "bus", limit })
                    }
                    _ => Err(MessagingError::Backend(format!("`{place}` does not keep a message: {error}"))),
                }
            }
        }
    }

    async fn has_stream(&self, word: &str, stream: &str) -> bool {
        if let Some((there, since)) = self.streams.lock().get(word)
            && since.elapsed() < BELIEVED
        {
            return *there;
        }
        // Also `false` if JetStream is off, or not for us: then nothing of ours is kept there.
        let there = self.context.get_stream(stream).await.is_ok();
        self.believe(word, there);
        there
    }

    fn believe(&self, word: &str, there: bool) {
        let mut streams = self.streams.lock();
        if streams.len() >= REMEMBERED {
            streams.clear();
        }
        streams.insert(word.to_owned(), (there, Instant::now()));
    }

    /// The consumer of a group, made if it is not there.
    pub(super) async fn consumer(&self, place: &str, asked: &Asked) -> Result<PullConsumer, MessagingError> {
        let failed = |what: &str, error: &dyn fmt::Display| {
            MessagingError::Backend(format!(
                "`{place}` {what}: {error}; is JetStream on, and are we allowed to use it?"
            ))
        };
        let stream = match stream_of(asked.pattern.as_str()) {
            Some((word, name)) if asked.owned => {
                let config = Config {
                    name: name.clone(),
                    description: Some("what groups of Samara wait for".to_owned()),
                    subjects: vec![format!("{word}.>")],
                    retention: RetentionPolicy::Interest,
                    discard: DiscardPolicy::New,
                    max_bytes: self.keeping.max_bytes,
                    max_age: self.keeping.keep,
                    num_replicas: self.keeping.replicas,
                    storage: self.keeping.storage,
                    ..Config::default()
                };
                let made = self.context.get_or_create_stream(config).await;
                made.map_err(|error| failed("makes no stream", &error))?;
                self.believe(word, true);
                name
            }
            _ => self.context.stream_by_subject(asked.pattern.as_str()).await.map_err(|error| {
                let pattern = &asked.pattern;
                failed(&format!("has no stream that keeps `{pattern}`, which an operator must make"), &error)
            })?,
        };
        let name = asked.name()?;
        let config = pull::Config {
            durable_name: Some(name.clone()),
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::Explicit,
            ack_wait: asked.within,
            max_ack_pending: UNSETTLED,
            max_deliver: -1,
            filter_subject: asked.pattern.as_str().to_owned(),
            inactive_threshold: self.keeping.keep,
            ..pull::Config::default()
        };
        let made = self.context.create_consumer_on_stream(config, stream).await;
        made.map_err(|error| failed(&format!("does not remember the group `{}`", asked.group), &error))
    }
}

/// The first word of a subject, and the stream for everything below it, whether there is one or not.
fn stream_of(subject: &str) -> Option<(&str, String)> {
    let (word, _) = subject.split_once('.')?;
    (word != INBOX && !word.starts_with('$')).then(|| (word, format!("samara_{word}")))
}

/// Whether an answer to a request is not a reply but our stream's confirmation that it keeps the request.
pub(super) fn is_confirmation(subject: &str, answer: &async_nats::Message) -> bool {
    if answer.headers.is_some() || !answer.payload.starts_with(b"{\"stream\":") {
        return false;
    }
    let Some((_, stream)) = stream_of(subject) else { return false };
    let Ok(said) = serde_json::from_slice::<serde_json::Value>(&answer.payload) else { return false };
    said.get("stream").and_then(|name| name.as_str()) == Some(&stream) && said.get("seq").is_some()
}

/// Asks for messages whenever there is room for them, and never for more.
pub(super) struct Pump {
    pub(super) bus: Bus,
    pub(super) asked: Asked,
    pub(super) queue: Arc<Queue>,
}

impl Pump {
    /// Fills the queue until the connection is closed for good; says so.
    pub(super) async fn run(self, mut consumer: PullConsumer) -> MessagingError {
        let mut pause = PAUSE.0;
        loop {
            let room = self.queue.room().await;
            match self.ask(&consumer, room).await {
                Ok(true) => pause = PAUSE.0,
                Ok(false) => {}
                Err(_) if self.bus.link.borrow().closed => {
                    return MessagingError::Backend(format!("the connection to `{}` is closed", self.bus.place));
                }
                Err(error) => {
                    let Asked { pattern, group, .. } = &self.asked;
                    tracing::warn!(%pattern, %group, %error, "a group gets no messages; trying again in {pause:?}");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                    let again = self.bus.keeper.consumer(&self.bus.place, &self.asked);
                    if let Ok(again) = self.bus.in_time(again).await {
                        consumer = again;
                    }
                }
            }
        }
    }

    /// Asks once; answers whether anything came.
    async fn ask(&self, consumer: &PullConsumer, room: usize) -> Result<bool, MessagingError> {
        let failed = |error: &dyn fmt::Display| self.bus.failed("hands out no messages", error);
        let mut link = self.bus.link.clone();
        let times = link.borrow_and_update().times;
        let since = Instant::now();
        let asking = consumer.batch().max_messages(room).expires(WAIT).messages();
        let mut batch = asking.await.map_err(|error| failed(&error))?;
        let mut came = false;
        loop {
            let next = tokio::select! {
                next = batch.next() => next,
                // A server that is back knows nothing of what it was asked before.
                _ = link.wait_for(|now| now.closed || now.times != times) => return Ok(came),
            };
            match next {
                Some(Ok(message)) => {
                    came = true;
                    self.queue.push_kept(self.handed(message));
                }
                Some(Err(error)) => return Err(failed(&error)),
                None if !came && since.elapsed() < PAUSE.0 => return Err(failed(&"the answer is empty")),
                None => return Ok(came),
            }
        }
    }

    fn handed(&self, message: async_nats::jetstream::Message) -> Delivery {
        let attempt = message.info().map_or(1, |info| u32::try_from(info.delivered).unwrap_or(u32::MAX));
        let (mut message, acker) = message.split();
        // That is where it is settled; no reply belongs there.
        message.reply = None;
        let receipt = Handed { acker, place: Arc::clone(&self.bus.place), until: Instant::now() + self.asked.within };
        Delivery { message: received(message), attempt, receipt: Some(Box::new(receipt)) }
    }
}

/// A message that was handed out.
struct Handed {
    acker: Acker,
    place: Arc<str>,
    until: Instant,
}

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handed").field("until", &self.until).finish_non_exhaustive()
    }
}

#[async_trait]
impl Receipt for Handed {
    async fn settle(self: Box<Self>, verdict: Verdict) -> Result<(), MessagingError> {
        let kind = match verdict {
            Verdict::Done => AckKind::Ack,
            Verdict::Retry(after) => AckKind::Nak(Some(after)),
            Verdict::Dropped => AckKind::Term,
        };
        let settled = self.acker.double_ack_with(kind).await;
        settled.map_err(|error| MessagingError::Backend(format!("`{}` settles no message: {error}", self.place)))
    }

    async fn hold(&self) -> Result<(), MessagingError> {
        let held = self.acker.ack_with(AckKind::Progress).await;
        held.map_err(|error| MessagingError::Backend(format!("`{}` holds no message: {error}", self.place)))
    }

    fn is_over(&self) -> bool {
        self.until <= Instant::now()
    }
}
