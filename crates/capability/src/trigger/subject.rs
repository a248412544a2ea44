//! Messages of a bus that are handed to a handler: so many at once, each tried so often, and what never succeeds goes to the
//! dead letter.
//!
//! With acknowledgement a message that failed goes back to the bus, which hands it out again after the pause, to this process
//! or another of the group; one whose process died is handed out again too, and one that has been handed out more often than
//! it may be tried goes to the dead letter unopened. Without acknowledgement the pause is spent here, in the place of the one
//! that failed, so that a handler that always fails slows its trigger down and the bus's queue bounds the rest.
//!
//! **Order** is that of the bus as long as `concurrency` is 1 and nothing that is acknowledged fails.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use samara_model::SubjectPattern;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::interval,
};

use super::{
    Event, Handler, MAX_CONCURRENCY, Outcome, Retry, Running, Stop, Tally, TriggerError, count,
    retry::{away, busy},
};
use crate::messaging::{
    Deliveries, Delivery, INBOX, Message, Messaging, MessagingError, Mode, Overflow, Receipt, Subscription, Verdict,
};

/// How often one message may go to a dead letter: dead letters may have handlers, which may fail.
pub const MAX_DEATHS: u32 = 3;

/// Where a dead letter came from.
const DEAD_SUBJECT: &str = "dead-subject";
/// How often it was tried.
const DEAD_TRIES: &str = "dead-tries";
/// What the last failure was.
const DEAD_REASON: &str = "dead-reason";
/// How often it has died.
const DEATHS: &str = "dead-times";

/// Characters of the reason in a dead letter, at most.
const REASON_CHARACTERS: usize = 500;

/// Tries to publish a dead letter that nobody would hand out again.
const DEAD_LETTER_TRIES: u32 = 5;

/// What a trigger listens to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Which subjects.
    pub pattern: SubjectPattern,
    /// Who shares the messages; `None` is everybody for themselves.
    pub group: Option<String>,
    /// Whether the bus keeps messages until they are handled. Needs a group.
    pub acknowledge: bool,
    /// Messages handled at once, 1 to [`MAX_CONCURRENCY`].
    pub concurrency: u32,
    /// Messages that wait here. With acknowledgement as many as `concurrency` are enough: the bus has the others.
    pub queue: u32,
    /// Which messages a full queue loses, without acknowledgement.
    pub overflow: Overflow,
    /// The time that one try takes at most: the handler's own deadline. With acknowledgement a message that nobody has held
    /// or settled for twice as long and [`SLACK`] is handed out again.
    pub longest: Duration,
    /// How often a message is tried.
    pub retry: Retry,
    /// The subject that messages go to when they are given up; `None` only counts and logs them.
    pub dead_letter: Option<String>,
}

/// What a message that was handed out may wait here on top of what handling takes.
pub const SLACK: Duration = Duration::from_secs(5);

impl Subject {
    /// At most once, alone, one at a time.
    pub fn new(pattern: SubjectPattern) -> Self {
        Self {
            pattern,
            group: None,
            acknowledge: false,
            concurrency: 1,
            queue: 1024,
            overflow: Overflow::default(),
            longest: Duration::from_secs(30),
            retry: Retry::default(),
            dead_letter: None,
        }
    }

    fn check(&self) -> Result<(), TriggerError> {
        let Self { pattern, concurrency, dead_letter, .. } = self;
        self.retry.check()?;
        if !(1..=MAX_CONCURRENCY).contains(concurrency) {
            let why = format!("a concurrency of `{concurrency}` cannot be; choose 1 to {MAX_CONCURRENCY}");
            return Err(TriggerError(why));
        }
        if self.acknowledge && self.group.is_none() {
            let why = "messages are acknowledged by a group; name one, such as `group = \"workers\"`";
            return Err(TriggerError(why.to_owned()));
        }
        let Some(dead_letter) = dead_letter else { return Ok(()) };
        samara_model::check_subject(dead_letter)
            .map_err(|error| TriggerError(format!("the dead letter's subject: {error}")))?;
        if pattern.matches(dead_letter) {
            return Err(TriggerError(format!(
                "the dead letter `{dead_letter}` is one of `{pattern}`, so that it would come back for ever; choose another"
            )));
        }
        Ok(())
    }

    fn within(&self) -> Duration {
        self.longest.saturating_mul(2).saturating_add(SLACK)
    }

    fn subscription(&self) -> Subscription {
        let mode = match (&self.group, self.acknowledge) {
            (Some(group), true) => Mode::Acknowledged { group: group.clone(), within: self.within(), owned: true },
            (group, _) => Mode::AtMostOnce { group: group.clone(), overflow: self.overflow },
        };
        Subscription { pattern: self.pattern.clone(), mode, queue: self.queue }
    }
}

/// A trigger by messages.
#[derive(Debug)]
pub struct Subjects {
    bus: Arc<dyn Messaging>,
    subject: Subject,
    handler: Arc<dyn Handler>,
}

impl Subjects {
    /// A trigger that hands messages of a bus to a handler. Give it a tenant's [`Share`](crate::messaging::Share).
    ///
    /// # Errors
    /// What it is to listen to cannot be, or the bus has not what it asks for.
    pub fn new(bus: Arc<dyn Messaging>, subject: Subject, handler: Arc<dyn Handler>) -> Result<Self, TriggerError> {
        subject.check()?;
        let features = bus.features();
        if subject.acknowledge && !features.acknowledgement {
            let why = "this bus acknowledges nothing; leave `acknowledge` out, or use `memory:` or `nats:`";
            return Err(TriggerError(why.to_owned()));
        }
        if subject.group.is_some() && !features.groups {
            let why = "this bus has no groups; leave `group` out, or use `memory:` or `nats:`";
            return Err(TriggerError(why.to_owned()));
        }
        Ok(Self { bus, subject, handler })
    }

    /// Starts it. A bus that is out of reach is asked again with a growing pause; [`Running::is_ready`] tells.
    pub fn start(self) -> Running {
        Running::start(|tally, stop| {
            let places = usize::try_from(self.subject.concurrency).unwrap_or(1);
            let worker = Arc::new(Worker { trigger: self, tally, stop: stop.clone() });
            worker.run(Arc::new(Semaphore::new(places)), stop)
        })
    }
}

/// Why the trigger no longer listens.
enum Over {
    Stopped,
    Lost(MessagingError),
}

struct Worker {
    trigger: Subjects,
    tally: Arc<Tally>,
    /// Ends pauses.
    stop: Stop,
}

impl Worker {
    async fn run(self: Arc<Self>, places: Arc<Semaphore>, mut stop: Stop) {
        let mut handling = JoinSet::new();
        let mut failures = 0_u32;
        loop {
            let subscribed = tokio::select! {
                () = stop.told() => break,
                subscribed = self.trigger.bus.subscribe(self.trigger.subject.subscription()) => subscribed,
            };
            let lost = match subscribed {
                Ok(deliveries) => {
                    failures = 0;
                    self.tally.ready.store(true, Ordering::Relaxed);
                    let over = self.listen(deliveries, &places, &mut handling, &mut stop).await;
                    self.tally.ready.store(false, Ordering::Relaxed);
                    match over {
                        Over::Stopped => break,
                        Over::Lost(error) => error,
                    }
                }
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            let pause = away(failures);
            tracing::warn!(pattern = %self.trigger.subject.pattern, error = %lost, "a trigger hears nothing; trying again in {pause:?}");
            if !stop.sleep(pause).await {
                break;
            }
        }
        while handling.join_next().await.is_some() {}
    }

    /// Hands out messages until the subscription is lost or the trigger is stopped.
    async fn listen(
        self: &Arc<Self>,
        mut deliveries: Box<dyn Deliveries>,
        places: &Arc<Semaphore>,
        handling: &mut JoinSet<()>,
        stop: &mut Stop,
    ) -> Over {
        let mut dropped = 0;
        let over = loop {
            // Nothing is taken from the bus that nobody has time for.
            let place = tokio::select! {
                () = stop.told() => break Over::Stopped,
                place = Arc::clone(places).acquire_owned() => place,
            };
            // The semaphore is never closed.
            let Ok(place) = place else { break Over::Stopped };
            let delivery = tokio::select! {
                () = stop.told() => break Over::Stopped,
                delivery = deliveries.next() => delivery,
            };
            count(&self.tally.lost, deliveries.dropped().saturating_sub(dropped));
            dropped = deliveries.dropped();
            match delivery {
                Ok(delivery) => {
                    while handling.try_join_next().is_some() {}
                    handling.spawn(Arc::clone(self).handle(delivery, place));
                }
                Err(error) => break Over::Lost(error),
            }
        };
        if matches!(over, Over::Stopped) {
            // What waits here goes back at once, and not when its time is over.
            let most = usize::try_from(self.trigger.subject.queue).unwrap_or(usize::MAX);
            let waiting: Vec<Delivery> = std::iter::from_fn(|| deliveries.waiting()).take(most).collect();
            drop(deliveries);
            for Delivery { receipt, .. } in waiting {
                self.hand_back(receipt, Duration::ZERO).await;
            }
        }
        over
    }

    /// Handles one message to its end.
    async fn handle(self: Arc<Self>, delivery: Delivery, _place: OwnedSemaphorePermit) {
        let Delivery { message, mut attempt, receipt } = delivery;
        let Retry { tries, .. } = self.trigger.subject.retry;
        if attempt > tries {
            let why = "it was handed out that often and nobody said what became of it";
            return self.give_up(message, receipt, attempt - 1, why).await;
        }
        loop {
            match self.ask(&message, attempt, receipt.as_deref()).await {
                None => return self.hand_back(receipt, Duration::ZERO).await,
                Some(Outcome::Done(reply)) => {
                    count(&self.tally.done, 1);
                    self.reply(&message, reply).await;
                    if let Some(receipt) = receipt {
                        self.settle(receipt, Verdict::Done).await;
                    }
                    return;
                }
                Some(Outcome::Refused(why)) => {
                    count(&self.tally.failed, 1);
                    return self.give_up(message, receipt, attempt, &why).await;
                }
                Some(Outcome::Failed(why)) => {
                    count(&self.tally.failed, 1);
                    if attempt >= tries {
                        return self.give_up(message, receipt, attempt, &why).await;
                    }
                    let pause = self.trigger.subject.retry.pause(attempt);
                    let subject = &message.subject;
                    tracing::debug!(%subject, attempt, %why, "a message failed; trying again in {pause:?}");
                    if receipt.is_some() {
                        return self.hand_back(receipt, pause).await;
                    }
                    if !self.stop.clone().sleep(pause).await {
                        count(&self.tally.lost, 1);
                        return;
                    }
                    attempt += 1;
                }
                // `ask` answers that only to pass it on.
                Some(Outcome::Busy) => return self.hand_back(receipt, Duration::ZERO).await,
            }
        }
    }

    /// Asks the handler until it has time; holds the message meanwhile. `None` if the trigger is stopped before that.
    async fn ask(&self, message: &Message, attempt: u32, receipt: Option<&dyn Receipt>) -> Option<Outcome> {
        let asking = async {
            let mut stop = self.stop.clone();
            let mut times = 0_u32;
            loop {
                let event = Event::Message { message: message.clone(), attempt };
                match self.trigger.handler.handle(event).await {
                    Outcome::Busy => {
                        times = times.saturating_add(1);
                        if !stop.sleep(busy(times)).await {
                            return None;
                        }
                    }
                    outcome => return Some(outcome),
                }
            }
        };
        let Some(receipt) = receipt else { return asking.await };
        let holding = async {
            let mut ticks = interval((self.trigger.subject.within() / 3).max(Duration::from_millis(1)));
            loop {
                ticks.tick().await;
                if let Err(error) = receipt.hold().await {
                    let subject = &message.subject;
                    tracing::debug!(%subject, %error, "a message is not held; somebody else may get it too");
                }
            }
        };
        tokio::select! {
            outcome = asking => outcome,
            () = holding => None,
        }
    }

    /// Replies, if anybody waits. Where else a message says that replies go is not for its handler's host to publish.
    async fn reply(&self, message: &Message, reply: Option<Bytes>) {
        let (Some(to), Some(body)) = (&message.reply_to, reply) else { return };
        if to.split('.').next() != Some(INBOX) {
            return;
        }
        if let Err(error) = self.trigger.bus.publish(Message::new(to.clone(), body)).await {
            tracing::warn!(subject = %message.subject, %error, "a reply was not published");
        }
    }

    /// Lets the bus hand a message out again after a pause. One that is not acknowledged is lost.
    async fn hand_back(&self, receipt: Option<Box<dyn Receipt>>, pause: Duration) {
        match receipt {
            Some(receipt) => self.settle(receipt, Verdict::Retry(pause)).await,
            None => count(&self.tally.lost, 1),
        }
    }

    async fn settle(&self, receipt: Box<dyn Receipt>, verdict: Verdict) {
        if let Err(error) = receipt.settle(verdict).await {
            let pattern = &self.trigger.subject.pattern;
            tracing::warn!(%pattern, %error, "the bus may hand a message out again");
        }
    }

    /// Gives a message up: it goes to the dead letter, if there is one.
    async fn give_up(&self, message: Message, receipt: Option<Box<dyn Receipt>>, tries: u32, why: &str) {
        let subject = message.subject.clone();
        let deaths = message.header(DEATHS).and_then(|times| times.parse::<u32>().ok()).unwrap_or(0).saturating_add(1);
        let to = self.trigger.subject.dead_letter.as_deref().filter(|_| deaths <= MAX_DEATHS);
        let Some(to) = to else {
            tracing::warn!(%subject, tries, %why, "a message is given up; no dead letter takes it");
            count(&self.tally.lost, 1);
            if let Some(receipt) = receipt {
                self.settle(receipt, Verdict::Dropped).await;
            }
            return;
        };
        let letter = self.letter(message, to, tries, deaths, why);
        let mut attempt = 1;
        let published = loop {
            match self.trigger.bus.publish(letter.clone()).await {
                Ok(()) => break Ok(()),
                // What is acknowledged comes again; so there is no need to try here.
                Err(error) if receipt.is_some() || attempt >= DEAD_LETTER_TRIES => break Err(error),
                Err(_) => {
                    if !self.stop.clone().sleep(away(attempt)).await {
                        break Err(MessagingError::Backend("the trigger was stopped".to_owned()));
                    }
                    attempt += 1;
                }
            }
        };
        match published {
            Ok(()) => {
                count(&self.tally.dead, 1);
                tracing::warn!(%subject, tries, %why, dead_letter = to, "a message is given up");
                if let Some(receipt) = receipt {
                    self.settle(receipt, Verdict::Dropped).await;
                }
            }
            Err(error) => {
                tracing::warn!(%subject, %error, dead_letter = to, "the dead letter takes no message");
                self.hand_back(receipt, self.trigger.subject.retry.longest).await;
            }
        }
    }

    /// A message as the dead letter gets it: as it was, with the reason in its headers where the bus has headers.
    fn letter(&self, mut message: Message, to: &str, tries: u32, deaths: u32, why: &str) -> Message {
        message.reply_to = None;
        let from = std::mem::replace(&mut message.subject, to.to_owned());
        if self.trigger.bus.features().envelopes {
            let why = why.chars().take(REASON_CHARACTERS).map(|c| if c.is_control() { ' ' } else { c });
            message.set_header(DEAD_SUBJECT, from);
            message.set_header(DEAD_TRIES, tries.to_string());
            message.set_header(DEAD_REASON, why.collect::<String>());
            message.set_header(DEATHS, deaths.to_string());
        }
        message
    }
}
