//! Buses on real servers: what every bus does, and what happens when the server is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use samara_capability::{
    messaging::{
        Deliveries, Delivery, Message, Messaging, MessagingError, Mode, Share, Subscription, Verdict, check_messaging,
        open,
    },
    trigger::{Event, Handler, Outcome, Retry, Subject, Subjects},
};
use samara_model::{SubjectPattern, Tenant};
use tokio::time::timeout;

use crate::servers::{PASSWORD, Server, USER};

const SOON: Duration = Duration::from_secs(60);

/// The time-out of buses whose server is away.
const SHORT: &str = "timeout = '4s'";

/// Streams that a machine with little disk takes several of: a server sets their size aside.
const SMALL: &str = "max = '4MiB'\ntimeout = '60s'";

async fn bus(url: &str, settings: &str) -> Result<Arc<dyn Messaging>, MessagingError> {
    open(url, &toml::from_str(settings).unwrap()).await
}

fn pattern(text: &str) -> SubjectPattern {
    text.parse().unwrap()
}

fn share(tenant: &str, backend: &Arc<dyn Messaging>) -> Share {
    Share::of(&Tenant::new(tenant).unwrap(), Arc::clone(backend))
}

fn acknowledged(text: &str) -> Subscription {
    let mode = Mode::Acknowledged { group: "workers".to_owned(), within: Duration::from_secs(30), owned: true };
    Subscription { pattern: pattern(text), mode, queue: 10 }
}

async fn next(deliveries: &mut Box<dyn Deliveries>) -> Delivery {
    timeout(SOON, deliveries.next()).await.expect("a message comes").unwrap()
}

async fn every_bus_does_this(url: &str, settings: &str) {
    let backend = bus(url, settings).await.unwrap();
    check_messaging(Arc::clone(&backend), "bare").await;
    check_messaging(Arc::new(share("acme.shop", &backend)), "root").await;
}

/// Two tenants of one server, by connections of their own.
async fn tenants_never_meet(url: &str, settings: &str) {
    let (a, b) = (bus(url, settings).await.unwrap(), bus(url, settings).await.unwrap());
    let (a, b) = (share("a", &a), share("a.b", &b));
    let mut heard = Vec::new();
    for (index, share) in [&a, &b].into_iter().enumerate() {
        for text in [">", "*", "b.>", "b.x", "*.*"] {
            heard.push((index, share.subscribe(Subscription::plain(pattern(text), 100)).await.unwrap()));
            if share.features().acknowledgement {
                heard.push((index, share.subscribe(acknowledged(text)).await.unwrap()));
            }
        }
    }
    for (index, share) in [&a, &b].into_iter().enumerate() {
        for subject in ["x", "b.x"] {
            share.publish(Message::new(subject, index.to_string())).await.unwrap();
        }
    }
    for (index, deliveries) in &mut heard {
        let first = next(deliveries).await;
        assert_eq!(first.message.body, index.to_string());
        while let Ok(more) = timeout(Duration::from_millis(50), deliveries.next()).await {
            assert_eq!(more.unwrap().message.body, index.to_string());
        }
    }
}

/// A server that is not there, or does not let us in, is said to be that soon, and no password is told.
async fn who_is_not_let_in_learns_why(server: &Server) {
    for password in ["wrong-of-the-test", "wr@ng/of?the#test"] {
        let url = server.url_as(USER, password);
        let refused = bus(&url, SHORT).await.unwrap_err();
        for told in [refused.to_string(), format!("{refused:?}")] {
            assert!(!told.contains("of-the-test") && !told.contains("the#test"), "{told}");
        }
    }
    let allowed = bus(&server.url_in_full(), SHORT).await.unwrap();
    assert!(!format!("{allowed:?}").contains(PASSWORD));
    server.kill();
    let since = Instant::now();
    let refused = bus(&server.url_in_full(), SHORT).await.unwrap_err();
    assert!(matches!(refused, MessagingError::Backend(_) | MessagingError::TimedOut(_)), "{refused:?}");
    assert!(!refused.to_string().contains(PASSWORD), "{refused}");
    assert!(since.elapsed() < SOON / 2);
}

/// Publishes until it succeeds: how long a bus takes to be back is its own matter.
async fn publish_when_back(bus: &dyn Messaging, subject: &str, body: &str) {
    let since = Instant::now();
    while let Err(error) = bus.publish(Message::new(subject, body.to_owned())).await {
        assert!(matches!(error, MessagingError::Backend(_) | MessagingError::TimedOut(_)), "{error:?}");
        assert!(since.elapsed() < SOON, "{error}");
        tokio::task::yield_now().await;
    }
}

/// A server that goes away and comes back: operations fail in time meanwhile, and subscriptions come back.
async fn weather_passes(server: &Server) {
    let backend = bus(&server.url(), SHORT).await.unwrap();
    let share = share("acme", &backend);
    let mut plain = share.subscribe(Subscription::plain(pattern("news.*"), 1000)).await.unwrap();
    share.publish(Message::new("news.a", "before")).await.unwrap();
    assert_eq!(next(&mut plain).await.message.body, "before");

    server.kill();
    let since = Instant::now();
    let away = share.publish(Message::new("news.a", "lost")).await.unwrap_err();
    assert!(matches!(away, MessagingError::Backend(_) | MessagingError::TimedOut(_)), "{away:?}");
    assert!(share.subscribe(Subscription::plain(pattern("x"), 1)).await.is_err());
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());

    server.start();
    publish_when_back(&share, "news.b", "back").await;
    // The subscription may come back a little after that.
    let again = async {
        loop {
            // It may be back for one and late for another.
            let _ = share.publish(Message::new("news.b", "again")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        delivery = next(&mut plain) => assert_eq!(delivery.message.subject, "news.b"),
        () = again => {}
    }

    server.freeze();
    // It may have answered one more before it stood still.
    let (mut since, mut slow) = (Instant::now(), Ok(()));
    while slow.is_ok() {
        since = Instant::now();
        slow = share.publish(Message::new("news.c", "slow")).await;
    }
    let slow = slow.unwrap_err();
    assert!(matches!(slow, MessagingError::TimedOut(_)), "{slow:?}");
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    server.thaw();
    publish_when_back(&share, "news.d", "thawed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_does_what_every_bus_does() {
    let server = Server::nats();
    every_bus_does_this(&server.url(), SMALL).await;
    tenants_never_meet(&server.url(), SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_weather_passes() {
    weather_passes(&Server::nats()).await;
    who_is_not_let_in_learns_why(&Server::nats_with_password()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nats_keeps_outlives_the_server_and_us() {
    const MESSAGES: usize = 50;
    let server = Server::nats();
    let backend = bus(&server.url(), SMALL).await.unwrap();
    let here = share("acme", &backend);
    let mut jobs = here.subscribe(acknowledged("jobs.*")).await.unwrap();
    for number in 0..MESSAGES {
        here.publish(Message::new("jobs.a", number.to_string())).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..10 {
        let delivery = next(&mut jobs).await;
        seen.push(delivery.message.body);
        delivery.receipt.unwrap().settle(Verdict::Done).await.unwrap();
    }
    server.kill();
    server.start();
    // The same subscription goes on; then another process comes instead of us.
    for _ in 0..10 {
        let delivery = next(&mut jobs).await;
        seen.push(delivery.message.body);
        // A server that fell may have forgotten that it handed this out: then it settles nothing, and hands it out again.
        if let Err(error) = delivery.receipt.unwrap().settle(Verdict::Done).await {
            assert!(matches!(error, MessagingError::Backend(_)), "{error:?}");
        }
    }
    drop((jobs, here, backend));
    let backend = bus(&server.url(), SMALL).await.unwrap();
    let mut jobs = share("acme", &backend).subscribe(acknowledged("jobs.*")).await.unwrap();
    while seen.iter().collect::<std::collections::BTreeSet<_>>().len() < MESSAGES {
        let delivery = next(&mut jobs).await;
        seen.push(delivery.message.body);
        delivery.receipt.unwrap().settle(Verdict::Done).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_refuses_what_it_cannot_keep() {
    let server = Server::nats();
    let backend = bus(&server.url(), "max = '64KiB'").await.unwrap();
    let share = share("acme", &backend);
    let mut jobs = share.subscribe(acknowledged("jobs")).await.unwrap();
    let mut sent = 0;
    let full = loop {
        match share.publish(Message::new("jobs", vec![0; 8192])).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, MessagingError::TooLarge { what: "bus", limit: 65536 }), "{full:?}");
    assert!((4..=8).contains(&sent), "{sent}");
    let large = share.publish(Message::new("elsewhere", vec![0; 2 << 20])).await.unwrap_err();
    assert!(matches!(large, MessagingError::TooLarge { what: "message for this server", .. }), "{large:?}");
    for _ in 0..sent {
        next(&mut jobs).await.receipt.unwrap().settle(Verdict::Done).await.unwrap();
    }
    share.publish(Message::new("jobs", vec![0; 8192])).await.unwrap();
    next(&mut jobs).await;
    // A request is answered by those who listen, not by the stream that keeps it.
    let mut asked = share.subscribe(Subscription::plain(pattern("ask"), 1)).await.unwrap();
    let answer = async {
        let to = next(&mut asked).await.message.reply_to.unwrap();
        share.publish(Message::new(to, "yes")).await.unwrap();
    };
    let (replies, ()) = tokio::join!(share.request(Message::new("ask", ""), 1, SOON), answer);
    assert_eq!(replies.unwrap()[0].body, "yes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_of_nats_say_what_is_right() {
    for (settings, part) in [
        ("user = 'me'", "belong together"),
        ("password = 'sesame-of-the-test'\nuser = 'me'", "env:"),
        ("replicas = '2'", "\"3\""),
        ("storage = 'cloud'", "\"file\" or \"memory\""),
        ("timeout = '0s'", "write \"5s\""),
        ("tls = 'yes'", "neither true nor false"),
        ("colour = 'red'", "no setting `colour`; it has `timeout`, `max`"),
        ("credentials = 'file:/nowhere.creds'", "nowhere.creds"),
    ] {
        let error = bus("nats://127.0.0.1:1", settings).await.unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains(PASSWORD), "{error}");
    }
    let error = bus("nats://me:sesame-of-the-test@[::1", "").await.unwrap_err().to_string();
    assert!(error.contains("nats://HOST:PORT") && !error.contains(PASSWORD), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_does_what_every_bus_does() {
    let server = Server::redis();
    every_bus_does_this(&server.url(), "").await;
    tenants_never_meet(&server.url(), "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_weather_passes() {
    weather_passes(&Server::redis()).await;
    who_is_not_let_in_learns_why(&Server::redis_with_password()).await;
}

/// Fails until it is told not to.
#[derive(Debug)]
struct Moody {
    good: AtomicBool,
    tries: AtomicU64,
}

#[async_trait::async_trait]
impl Handler for Moody {
    async fn handle(&self, _: Event) -> Outcome {
        self.tries.fetch_add(1, Ordering::SeqCst);
        if self.good.load(Ordering::SeqCst) { Outcome::Done(None) } else { Outcome::Failed("a bad day".to_owned()) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_on_nats_gives_up_what_fails_and_outlives_the_server() {
    let server = Server::nats();
    let backend = bus(&server.url(), "timeout = '4s'\nmax = '4MiB'").await.unwrap();
    let share: Arc<dyn Messaging> = Arc::new(share("acme", &backend));
    let mut dead = share.subscribe(Subscription::plain(pattern("dead"), 100)).await.unwrap();
    let moody = Arc::new(Moody { good: AtomicBool::new(false), tries: AtomicU64::new(0) });
    let subject = Subject {
        group: Some("workers".to_owned()),
        acknowledge: true,
        concurrency: 4,
        retry: Retry { tries: 3, first: Duration::from_millis(50), longest: Duration::from_secs(1) },
        dead_letter: Some("dead".to_owned()),
        ..Subject::new(pattern("jobs.>"))
    };
    let running = Subjects::new(Arc::clone(&share), subject, Arc::clone(&moody) as Arc<dyn Handler>).unwrap().start();
    let until = async |what: &dyn Fn() -> bool| {
        let since = Instant::now();
        while !what() {
            assert!(since.elapsed() < SOON, "{:?}", running.counts());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    until(&|| running.is_ready()).await;
    share.publish(Message::new("jobs.a", "doomed")).await.unwrap();
    let letter = next(&mut dead).await.message;
    assert_eq!((&letter.body[..], letter.header("dead-reason")), (&b"doomed"[..], Some("a bad day")));
    assert_eq!(moody.tries.load(Ordering::SeqCst), 3);
    // The letter is read before the trigger hears that it was kept, which a server that is killed in between never says.
    until(&|| running.counts().dead == 1).await;

    moody.good.store(true, Ordering::SeqCst);
    server.kill();
    server.start();
    for number in 0..20 {
        publish_when_back(&*share, &format!("jobs.{number}"), "good").await;
    }
    until(&|| running.counts().done >= 20).await;
    assert_eq!(running.counts().dead, 1);
    assert!(running.stop(SOON).await);
}
