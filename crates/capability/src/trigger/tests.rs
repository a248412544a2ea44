//! Triggers as whoever wires them meets them: a handler of the test, the bus and the store in this process.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail fast")]

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use samara_model::{KvGrant, Limits, SubjectPattern, Tenant};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};

use super::{
    Changes, Clock, Counts, Event, Handler, MAX_CONCURRENCY, MAX_DEATHS, MAX_WAITING, Outcome, Overlap, Retry, Running,
    Schedule, Subject, Subjects, Tick,
};
use crate::{
    Unrecorded,
    kv::{self, Change, KeyValue},
    messaging::{
        self, Deliveries, Delivery, Features, Message, Messaging, MessagingError, Mode, Share, Subscription, Verdict,
    },
};

const SOON: Duration = Duration::from_secs(30);

/// Pauses that a test can wait for.
const QUICK: Retry = Retry { tries: 3, first: Duration::from_millis(20), longest: Duration::from_millis(50) };

/// Answers as it was told to, then always the same.
#[derive(Debug)]
struct Scripted {
    script: Mutex<VecDeque<Outcome>>,
    then: Outcome,
    seen: mpsc::UnboundedSender<Event>,
    /// What a call waits for, if it waits.
    gate: Option<Semaphore>,
    inside: AtomicUsize,
    most: AtomicUsize,
}

fn handler(script: &[Outcome], then: Outcome) -> (Arc<Scripted>, mpsc::UnboundedReceiver<Event>) {
    let (seen, events) = mpsc::unbounded_channel();
    let script = Mutex::new(script.iter().cloned().collect());
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    (Arc::new(Scripted { script, then, seen, gate: None, inside, most }), events)
}

/// One that does not answer before the gate has a place for it.
fn gated() -> (Arc<Scripted>, mpsc::UnboundedReceiver<Event>) {
    let (scripted, events) = handler(&[], done());
    let mut scripted = Arc::into_inner(scripted).unwrap();
    scripted.gate = Some(Semaphore::new(0));
    (Arc::new(scripted), events)
}

#[async_trait]
impl Handler for Scripted {
    async fn handle(&self, event: Event) -> Outcome {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        self.seen.send(event).unwrap();
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.script.lock().pop_front().unwrap_or_else(|| self.then.clone())
    }
}

fn done() -> Outcome {
    Outcome::Done(None)
}

fn failed() -> Outcome {
    Outcome::Failed("out of\ncoffee".to_owned())
}

async fn bus() -> Arc<dyn Messaging> {
    let backend = messaging::open("memory:", &toml::Table::new()).await.unwrap();
    Arc::new(Share::of(&Tenant::new("acme").unwrap(), backend))
}

fn pattern(text: &str) -> SubjectPattern {
    text.parse().unwrap()
}

fn plain(text: &str) -> Subject {
    Subject { retry: QUICK, dead_letter: Some("dead".to_owned()), ..Subject::new(pattern(text)) }
}

fn acknowledged(text: &str) -> Subject {
    Subject { group: Some("workers".to_owned()), acknowledge: true, queue: 4, ..plain(text) }
}

async fn start(bus: &Arc<dyn Messaging>, subject: Subject, handler: &Arc<Scripted>) -> Running {
    let handler = Arc::clone(handler) as Arc<dyn Handler>;
    let running = Subjects::new(Arc::clone(bus), subject, handler).unwrap().start();
    until(|| running.is_ready()).await;
    running
}

async fn until(what: impl Fn() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(since.elapsed() < SOON, "it never comes");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn event(events: &mut mpsc::UnboundedReceiver<Event>) -> Event {
    timeout(SOON, events.recv()).await.unwrap().unwrap()
}

/// The body and the number of the try.
async fn tried(events: &mut mpsc::UnboundedReceiver<Event>) -> (Bytes, u32) {
    match event(events).await {
        Event::Message { message, attempt } => (message.body, attempt),
        other => panic!("{other:?}"),
    }
}

async fn listen(bus: &Arc<dyn Messaging>, text: &str) -> Box<dyn Deliveries> {
    bus.subscribe(Subscription::plain(pattern(text), 100)).await.unwrap()
}

async fn next(deliveries: &mut Box<dyn Deliveries>) -> Delivery {
    timeout(SOON, deliveries.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_message_is_handled_and_its_reply_published() {
    for subject in [plain("orders.*"), acknowledged("orders.*")] {
        let bus = bus().await;
        let (handler, mut events) = handler(&[], Outcome::Done(Some("thanks".into())));
        let running = start(&bus, subject, &handler).await;
        let mut elsewhere = listen(&bus, "elsewhere").await;
        // Only who waits for a reply gets one.
        let message = Message { reply_to: Some("elsewhere".to_owned()), ..Message::new("orders.a", "one") };
        bus.publish(message).await.unwrap();
        assert_eq!(tried(&mut events).await, ("one".into(), 1));
        let replies = bus.request(Message::new("orders.b", "two"), 1, SOON).await.unwrap();
        assert_eq!(replies[0].body, "thanks");
        until(|| running.counts().done == 2).await;
        assert_eq!(running.counts(), Counts { done: 2, ..Counts::default() });
        assert!(timeout(Duration::ZERO, elsewhere.next()).await.is_err());
        assert!(running.stop(SOON).await);
        drop(bus);
    }
}

#[tokio::test]
async fn what_always_fails_goes_to_the_dead_letter_with_its_reason() {
    for subject in [plain("orders.*"), acknowledged("orders.*")] {
        let bus = bus().await;
        let mut dead = listen(&bus, "dead").await;
        let (handler, mut events) = handler(&[], failed());
        let running = start(&bus, subject, &handler).await;
        let since = Instant::now();
        let mut message = Message::new("orders.a", "doomed");
        message.set_header("trace-id", "7");
        bus.publish(message).await.unwrap();
        for attempt in 1..=3 {
            assert_eq!(tried(&mut events).await, ("doomed".into(), attempt));
        }
        let letter = next(&mut dead).await.message;
        assert!(since.elapsed() >= (QUICK.first + QUICK.first * 2) * 3 / 4, "there were pauses: {:?}", since.elapsed());
        assert_eq!((letter.subject.as_str(), &letter.body[..]), ("dead", &b"doomed"[..]));
        for (name, value) in [
            ("trace-id", "7"),
            ("dead-subject", "orders.a"),
            ("dead-tries", "3"),
            ("dead-reason", "out of coffee"),
            ("dead-times", "1"),
        ] {
            assert_eq!(letter.header(name), Some(value), "{name}");
        }
        until(|| running.counts().dead == 1).await;
        assert_eq!(running.counts(), Counts { failed: 3, dead: 1, ..Counts::default() });
        // The next one is not held up by it.
        bus.publish(Message::new("orders.b", "next")).await.unwrap();
        assert_eq!(tried(&mut events).await, ("next".into(), 1));
    }
}

#[tokio::test]
async fn what_is_refused_is_not_tried_again_and_what_was_busy_was_not_tried() {
    for subject in [plain("orders.*"), acknowledged("orders.*")] {
        let bus = bus().await;
        let mut dead = listen(&bus, "dead").await;
        let script = [Outcome::Busy, Outcome::Busy, failed(), Outcome::Busy, Outcome::Refused("nonsense".to_owned())];
        let (handler, mut events) = handler(&script, done());
        let running = start(&bus, subject, &handler).await;
        bus.publish(Message::new("orders.a", "x")).await.unwrap();
        for attempt in [1, 1, 1, 2, 2] {
            assert_eq!(tried(&mut events).await.1, attempt);
        }
        assert_eq!(next(&mut dead).await.message.header("dead-reason"), Some("nonsense"));
        until(|| running.counts().dead == 1).await;
        assert_eq!(running.counts(), Counts { failed: 2, dead: 1, ..Counts::default() });
    }
}

#[tokio::test]
async fn what_killed_its_handlers_is_given_up_unopened() {
    let bus = bus().await;
    let mut dead = listen(&bus, "dead").await;
    let mode = Mode::Acknowledged { group: "workers".to_owned(), within: SOON, owned: true };
    let subscription = Subscription { pattern: pattern("orders.*"), mode, queue: 4 };
    let mut dying = bus.subscribe(subscription).await.unwrap();
    bus.publish(Message::new("orders.a", "poison")).await.unwrap();
    for _ in 0..3 {
        next(&mut dying).await.receipt.unwrap().settle(Verdict::Retry(Duration::ZERO)).await.unwrap();
    }
    let (handler, mut events) = handler(&[], done());
    let running = start(&bus, acknowledged("orders.*"), &handler).await;
    let letter = next(&mut dead).await.message;
    assert_eq!((&letter.body[..], letter.header("dead-tries")), (&b"poison"[..], Some("3")));
    assert!(events.try_recv().is_err());
    until(|| running.counts().dead == 1).await;
}

#[tokio::test]
async fn dead_letters_do_not_go_round_for_ever() {
    let bus = bus().await;
    let (handler, mut events) = handler(&[], Outcome::Refused("no".to_owned()));
    let there = Subject { dead_letter: Some("b".to_owned()), ..plain("a") };
    let back = Subject { dead_letter: Some("a".to_owned()), ..acknowledged("b") };
    let (there, back) = (start(&bus, there, &handler).await, start(&bus, back, &handler).await);
    bus.publish(Message::new("a", "x")).await.unwrap();
    until(|| there.counts().lost + back.counts().lost == 1).await;
    let deaths = u64::from(MAX_DEATHS);
    assert_eq!(there.counts().dead + back.counts().dead, deaths);
    for _ in 0..=deaths {
        event(&mut events).await;
    }
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn without_a_dead_letter_it_is_counted() {
    let bus = bus().await;
    let (handler, _events) = handler(&[], failed());
    let subject = Subject { dead_letter: None, ..acknowledged("orders.*") };
    let running = start(&bus, subject, &handler).await;
    bus.publish(Message::new("orders.a", "x")).await.unwrap();
    until(|| running.counts().lost == 1).await;
    assert_eq!(running.counts(), Counts { failed: 3, lost: 1, ..Counts::default() });
}

#[tokio::test]
async fn no_more_are_handled_at_once_than_it_says() {
    for mut subject in [plain("orders.*"), acknowledged("orders.*")] {
        subject.concurrency = 3;
        subject.queue = 100;
        let bus = bus().await;
        let (handler, mut events) = gated();
        let running = start(&bus, subject, &handler).await;
        for number in 0..20 {
            bus.publish(Message::new("orders.a", number.to_string())).await.unwrap();
        }
        for _ in 0..3 {
            event(&mut events).await;
        }
        assert!(timeout(Duration::from_millis(50), events.recv()).await.is_err());
        handler.gate.as_ref().unwrap().add_permits(20);
        until(|| running.counts().done == 20).await;
        assert_eq!(handler.most.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test]
async fn a_trigger_that_is_stopped_ends_what_it_has_begun_and_gives_back_the_rest() {
    let bus = bus().await;
    let (handler, mut events) = gated();
    let running = start(&bus, acknowledged("orders.*"), &handler).await;
    for number in 0..5 {
        bus.publish(Message::new("orders.a", number.to_string())).await.unwrap();
    }
    assert_eq!(tried(&mut events).await, ("0".into(), 1));
    let stopping = tokio::spawn(running.stop(SOON));
    let (later, mut later_events) = super::tests::handler(&[], done());
    let _running = start(&bus, acknowledged("orders.*"), &later).await;
    for number in 1..5 {
        assert_eq!(tried(&mut later_events).await.0, number.to_string());
    }
    handler.gate.as_ref().unwrap().add_permits(1);
    assert!(stopping.await.unwrap(), "what it had begun has ended");
    // It is handled, and nobody else gets it.
    assert!(timeout(Duration::from_millis(50), later_events.recv()).await.is_err());

    let (stubborn, mut events) = gated();
    let running = start(&bus, acknowledged("others"), &stubborn).await;
    bus.publish(Message::new("others", "x")).await.unwrap();
    event(&mut events).await;
    assert!(!running.stop(Duration::from_millis(20)).await, "its grace was over");
}

/// A bus that refuses so many subscriptions and publications.
#[derive(Debug)]
struct Flaky {
    bus: Arc<dyn Messaging>,
    refuses: AtomicU32,
}

impl Flaky {
    fn refuse(&self) -> Result<(), MessagingError> {
        let less = |left: u32| left.checked_sub(1);
        match self.refuses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(MessagingError::Backend("away".to_owned())),
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Messaging for Flaky {
    fn features(&self) -> Features {
        self.bus.features()
    }
    async fn publish(&self, message: Message) -> Result<(), MessagingError> {
        self.refuse()?;
        self.bus.publish(message).await
    }
    async fn request(
        &self,
        message: Message,
        replies: usize,
        within: Duration,
    ) -> Result<Vec<Message>, MessagingError> {
        self.bus.request(message, replies, within).await
    }
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Deliveries>, MessagingError> {
        self.refuse()?;
        self.bus.subscribe(subscription).await
    }
}

#[tokio::test]
async fn a_bus_that_is_away_is_waited_for_and_costs_no_message() {
    for subject in [plain("orders.*"), acknowledged("orders.*")] {
        let bus = bus().await;
        let flaky = Arc::new(Flaky { bus: Arc::clone(&bus), refuses: AtomicU32::new(2) });
        let (handler, _events) = handler(&[], Outcome::Refused("no".to_owned()));
        let mut dead = listen(&bus, "dead").await;
        let since = Instant::now();
        let running = start(&(Arc::clone(&flaky) as Arc<dyn Messaging>), subject, &handler).await;
        assert!(since.elapsed() >= Duration::from_millis(200), "it was not asked in a hot loop: {:?}", since.elapsed());
        // Neither does a dead letter get lost that cannot be published at once.
        flaky.refuses.store(2, Ordering::SeqCst);
        bus.publish(Message::new("orders.a", "x")).await.unwrap();
        assert_eq!(next(&mut dead).await.message.body, "x");
        until(|| running.counts().dead == 1).await;
        assert_eq!(running.counts().lost, 0);
    }
}

#[tokio::test]
async fn triggers_that_cannot_be_say_why() {
    let bus = bus().await;
    let refused = |subject: Subject| {
        let (handler, _) = handler(&[], done());
        Subjects::new(Arc::clone(&bus), subject, handler).unwrap_err().to_string()
    };
    let dead = |text: &str| Subject { dead_letter: Some(text.to_owned()), ..plain("orders.>") };
    assert!(refused(dead("orders.dead")).contains("it would come back for ever"));
    assert!(refused(dead("a..b")).contains("not a subject"));
    assert!(refused(Subject { concurrency: 0, ..plain("x") }).contains("choose 1 to 1024"));
    assert!(refused(Subject { concurrency: MAX_CONCURRENCY + 1, ..plain("x") }).contains("choose 1 to 1024"));
    assert!(refused(Subject { group: None, ..acknowledged("x") }).contains("name one"));
    let tries = |tries| Subject { retry: Retry { tries, ..QUICK }, ..plain("x") };
    assert!(refused(tries(0)).contains("choose 1 to 100"));
}

/// Runs by the clock every tenth of a second, each of which takes as long as the test wants.
fn clock(overlap: Overlap, handler: &Arc<Scripted>) -> Running {
    let schedule = Schedule::every(Duration::from_millis(100)).unwrap();
    Clock::new(schedule, overlap, Arc::clone(handler) as Arc<dyn Handler>).unwrap().start()
}

#[tokio::test]
async fn a_run_that_is_due_while_another_is_not_over_follows_the_policy() {
    // Left out.
    let (skips, mut events) = gated();
    let running = clock(Overlap::Skip, &skips);
    assert!(matches!(event(&mut events).await, Event::Tick(Tick { missed: _, due: _ })));
    until(|| running.counts().skipped >= 3).await;
    assert!(events.try_recv().is_err());
    skips.gate.as_ref().unwrap().add_permits(1);
    event(&mut events).await;
    drop(running);
    assert_eq!(skips.most.load(Ordering::SeqCst), 1);

    // Waiting, up to a number.
    let (queues, mut events) = gated();
    let running = clock(Overlap::Queue, &queues);
    event(&mut events).await;
    until(|| running.counts().skipped >= 2).await;
    queues.gate.as_ref().unwrap().add_permits(MAX_WAITING + 1);
    for _ in 0..MAX_WAITING {
        event(&mut events).await;
    }
    assert_eq!(queues.most.load(Ordering::SeqCst), 1);
    drop(running);

    // Beside it, up to a number.
    let (allows, mut events) = gated();
    let running = clock(Overlap::Allow(2), &allows);
    event(&mut events).await;
    event(&mut events).await;
    until(|| running.counts().skipped >= 2).await;
    assert!(events.try_recv().is_err());
    assert_eq!(allows.most.load(Ordering::SeqCst), 2);
    let stopping = tokio::spawn(running.stop(SOON));
    allows.gate.as_ref().unwrap().add_permits(2);
    assert!(stopping.await.unwrap());
    assert_eq!(allows.inside.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_run_that_fails_waits_for_its_next_time() {
    let (fails, mut events) = handler(&[failed(), Outcome::Busy], done());
    let running = clock(Overlap::Skip, &fails);
    let since = Instant::now();
    for _ in 0..3 {
        event(&mut events).await;
    }
    assert!(since.elapsed() >= Duration::from_millis(290), "{:?}", since.elapsed());
    until(|| running.counts().done >= 1).await;
    assert_eq!(running.counts().failed, 1);
    for overlap in [Overlap::Allow(0), Overlap::Allow(MAX_CONCURRENCY + 1)] {
        let schedule = Schedule::every(Duration::from_secs(1)).unwrap();
        assert!(Clock::new(schedule, overlap, Arc::clone(&fails) as Arc<dyn Handler>).is_err());
    }
}

#[tokio::test]
async fn a_cron_expression_starts_runs() {
    let (handler, mut events) = handler(&[], done());
    let schedule = Schedule::cron("* * * * * *", Some("Europe/Berlin")).unwrap();
    let _running = Clock::new(schedule, Overlap::Skip, handler).unwrap().start();
    let mut last = None;
    for _ in 0..2 {
        let Event::Tick(Tick { due, .. }) = event(&mut events).await else { panic!("no tick") };
        assert_eq!(due.timestamp_subsec_nanos(), 0);
        assert!(last < Some(due));
        last = Some(due);
    }
}

#[tokio::test]
async fn changes_of_a_store_are_handled_in_order_and_tried_again() {
    let backend = kv::open("memory:", &toml::Table::new(), &kv::NoWorkloads).await.unwrap();
    let store = kv::Store::new("carts", &Tenant::new("acme").unwrap(), backend).await.unwrap();
    let store: Arc<dyn KeyValue> = Arc::new(store.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded)));
    let script = [done(), failed(), Outcome::Busy, done(), Outcome::Refused("no".to_owned())];
    let (handler, mut events) = handler(&script, failed());
    let changes = Changes::new(Arc::clone(&store), "cart:", QUICK, handler).unwrap();
    let running = changes.start();
    until(|| running.is_ready()).await;
    for key in ["cart:1", "other", "cart:2", "cart:3", "cart:4"] {
        store.set(key, "x".into()).await.unwrap();
    }
    let set = |key: &str| Event::Change(Change::Set(key.to_owned()));
    // The second is tried three times, of which one was busy; the fourth fails for good.
    for key in ["cart:1", "cart:2", "cart:2", "cart:2", "cart:3", "cart:4", "cart:4", "cart:4"] {
        assert_eq!(event(&mut events).await, set(key));
    }
    until(|| running.counts().lost == 2).await;
    assert_eq!(running.counts(), Counts { done: 2, failed: 5, lost: 2, ..Counts::default() });
    assert!(running.stop(SOON).await);
}
