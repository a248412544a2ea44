//! The suite on the bus in this process, and what the wrappers around every bus add: tenants, grants, limits, links.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail fast")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use samara_model::{Capability, DEFAULT_BUS, Limits, MessagingGrant, SubjectPattern, Tenant};
use tokio::time::timeout;

use super::{
    Deliveries, Message, Messaging, MessagingError, Mode, Overflow, PROVIDERS, REQUESTS_IN_FLIGHT, Share, Store,
    Subscription, Verdict, check_messaging, open,
};
use crate::{Denial, Recorder, Unrecorded};

const SOON: Duration = Duration::from_secs(20);

async fn memory() -> Arc<dyn Messaging> {
    open("memory:", &toml::Table::new()).await.unwrap()
}

async fn memory_with(settings: &str) -> Result<Arc<dyn Messaging>, MessagingError> {
    open("memory:", &toml::from_str(settings).unwrap()).await
}

fn pattern(text: &str) -> SubjectPattern {
    text.parse().unwrap()
}

fn plain(text: &str) -> Subscription {
    Subscription::plain(pattern(text), 100)
}

fn acknowledged(text: &str, group: &str) -> Subscription {
    let mode = Mode::Acknowledged { group: group.to_owned(), within: SOON, owned: true };
    Subscription { pattern: pattern(text), mode, queue: 10 }
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

fn grant(publish: &[&str], subscribe: &[&str]) -> MessagingGrant {
    let all = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect();
    MessagingGrant { publish: all(publish), subscribe: all(subscribe) }
}

async fn next(deliveries: &mut Box<dyn Deliveries>) -> Message {
    timeout(SOON, deliveries.next()).await.unwrap().unwrap().message
}

/// Whether nothing waits: what was published before this is there already, in this process.
async fn silent(deliveries: &mut Box<dyn Deliveries>) -> bool {
    timeout(Duration::ZERO, deliveries.next()).await.is_err()
}

#[tokio::test]
async fn the_bus_in_this_process_does_what_every_bus_does() {
    check_messaging(memory().await, "root").await;
}

#[tokio::test]
async fn a_share_and_a_loan_do_what_every_bus_does() {
    let backend = memory().await;
    let store = Store::new("bus", &tenant("acme"), Arc::clone(&backend));
    check_messaging(Arc::new(store.share().clone()), "root").await;
    let granted = store.grant(grant(&["lent.>"], &["lent.>"]), &Limits::serve(), Arc::new(Unrecorded));
    check_messaging(Arc::new(granted), "lent").await;
    let outside = Share::outside("", backend).unwrap();
    check_messaging(Arc::new(outside), "other").await;
}

#[tokio::test]
async fn urls_and_settings_that_are_wrong_say_what_would_be_right() {
    let refused = |url: &'static str| async move { open(url, &toml::Table::new()).await.unwrap_err().to_string() };
    assert!(refused("mqtt://x").await.contains("known schemes: memory"));
    assert!(refused("memory:bus").await.contains("write `memory:`"));
    for (settings, part) in [
        ("timeout = '1s'", "no setting `timeout`; it has `max`, `keep`"),
        ("max = 3", "64MiB"),
        ("max = 'much'", "`max`: `much` is not a size"),
        ("keep = 'long'", "`keep`: `long` is not a duration"),
    ] {
        let error = memory_with(settings).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let mut schemes: Vec<_> = PROVIDERS.iter().map(|provider| provider.scheme()).collect();
    schemes.sort_unstable();
    schemes.dedup();
    assert_eq!(schemes.len(), PROVIDERS.len());
}

#[tokio::test]
async fn tenants_on_one_bus_never_hear_each_other() {
    let backend = memory().await;
    // A dot in a name must not put one tenant below another.
    let names = ["a", "a.b", "a.b.c", "b"];
    let shares: Vec<_> = names.iter().map(|name| Share::of(&tenant(name), Arc::clone(&backend))).collect();
    let mut all = Vec::new();
    for share in &shares {
        for text in [">", "*", "*.>", "b.>", "*.*.x", "b.x"] {
            all.push(share.subscribe(plain(text)).await.unwrap());
            all.push(share.subscribe(acknowledged(text, "group")).await.unwrap());
        }
    }
    for (number, share) in shares.iter().enumerate() {
        for subject in ["x", "b.x", "b.c.x", "c.x"] {
            share.publish(Message::new(subject, number.to_string())).await.unwrap();
        }
        let stranger = share.request(Message::new("ask.nobody", number.to_string()), 1, Duration::ZERO).await;
        assert!(stranger.is_err());
    }
    let of_each = all.len() / shares.len();
    for (index, deliveries) in all.iter_mut().enumerate() {
        let owner = (index / of_each).to_string();
        let mut heard = 0;
        while let Ok(delivery) = timeout(Duration::ZERO, deliveries.next()).await {
            assert_eq!(delivery.unwrap().message.body, owner);
            heard += 1;
        }
        assert!(heard > 0, "subscription {index} hears its own tenant");
    }
}

#[tokio::test]
async fn no_subject_leads_out_of_a_share() {
    let backend = memory().await;
    let mut everything = backend.subscribe(plain(">")).await.unwrap();
    let share = Share::of(&tenant("a.b"), Arc::clone(&backend));
    for subject in ["$SYS.REQ.SERVER.PING", "$JS.API.STREAM.DELETE.x", "_INBOX", "$"] {
        assert!(
            matches!(share.publish(Message::new(subject, "")).await, Err(MessagingError::Malformed(_))),
            "{subject}"
        );
        let listened = share.subscribe(plain(subject)).await;
        assert!(matches!(listened, Err(MessagingError::Malformed(_))), "{subject}");
    }
    for text in ["_INBOX.>", "_INBOX.*", "_INBOX.x"] {
        assert!(matches!(share.subscribe(plain(text)).await, Err(MessagingError::Malformed(_))), "{text}");
    }
    assert!(silent(&mut everything).await);
    let addressed = Message { reply_to: Some("_INBOX.x.y".to_owned()), ..Message::new("c.d", "") };
    share.publish(addressed.clone()).await.unwrap();
    let seen = next(&mut everything).await;
    assert_eq!((seen.subject.as_str(), seen.reply_to.as_deref()), ("a:b.c.d", Some("_INBOX.a:b.x.y")));
    // What comes back is what was sent; an address of somebody else's is left out.
    let mut own = share.subscribe(plain("c.d")).await.unwrap();
    share.publish(addressed.clone()).await.unwrap();
    assert_eq!(next(&mut own).await, addressed);
    for foreign in ["_INBOX.other.x", "other.x", "_INBOX.a:bb.x", "a:bb.x", "_INBOX.a:b"] {
        let message = Message { reply_to: Some(foreign.to_owned()), ..Message::new("a:b.c.d", "") };
        backend.publish(message).await.unwrap();
        assert_eq!(next(&mut own).await.reply_to, None, "{foreign}");
    }
    let long = Message::new("x".repeat(252), "");
    assert!(share.publish(long).await.unwrap_err().to_string().contains("at most 251"), "{share:?}");
}

#[tokio::test]
async fn what_is_outside_of_all_tenants_hides_the_servers_own() {
    let backend = memory().await;
    let all = Share::outside("", Arc::clone(&backend)).unwrap();
    let below = Share::outside("site.one", Arc::clone(&backend)).unwrap();
    assert!(Share::outside("site.*", Arc::clone(&backend)).is_err());
    let mut everything = all.subscribe(plain(">")).await.unwrap();
    let mut one = below.subscribe(plain(">")).await.unwrap();
    for subject in ["$SYS.secret", "_INBOX.somebody.else", "site.two.x"] {
        backend.publish(Message::new(subject, "")).await.unwrap();
    }
    let answerable = Message { reply_to: Some("_INBOX.asker".to_owned()), ..Message::new("site.one.ask", "") };
    backend.publish(answerable).await.unwrap();
    assert_eq!(next(&mut everything).await.subject, "site.two.x");
    assert_eq!(next(&mut everything).await.subject, "site.one.ask");
    let asked = next(&mut one).await;
    assert_eq!((asked.subject.as_str(), asked.reply_to.as_deref()), ("ask", Some("_INBOX.asker")));
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Recorder for Told {
    fn used(&self, capability: Capability, name: &str, operation: &'static str) {
        self.0.lock().unwrap().push(format!("{capability} {name} {operation}"));
    }
    fn finished(&self, _: Capability, _: &str, operation: &'static str, _: Duration, failed: bool) {
        self.0.lock().unwrap().push(format!("{operation} {}", if failed { "failed" } else { "done" }));
    }
    fn denied(&self, denial: &Denial) {
        self.0.lock().unwrap().push(format!("denied {}: {}", denial.what, denial.grant));
    }
}

#[tokio::test]
async fn a_denial_names_the_grant_that_would_allow_it() {
    let store = Store::new("bus", &tenant("acme"), memory().await);
    let told = Arc::new(Told::default());
    let granted = store.grant(grant(&["orders.*"], &[]), &Limits::serve(), Arc::clone(&told) as Arc<dyn Recorder>);
    let denied = |error: MessagingError| match error {
        MessagingError::AccessDenied { what, grant } => format!("{what}: {grant}"),
        other => panic!("{other:?}"),
    };
    granted.publish(Message::new("orders.created", "")).await.unwrap();
    assert_eq!(
        denied(granted.publish(Message::new("bills.paid", "")).await.unwrap_err()),
        "`publish` `bills.paid` on bus `bus`: messaging = { store = \"bus\", publish = [\"orders.*\", \"bills.paid\"] }"
    );
    assert_eq!(
        denied(granted.request(Message::new("ask", ""), 1, SOON).await.unwrap_err()),
        "`request` `ask` on bus `bus`: messaging = { store = \"bus\", publish = [\"orders.*\", \"ask\"] }"
    );
    assert_eq!(
        denied(granted.subscribe(plain("orders.>")).await.unwrap_err()),
        "`subscribe` `orders.>` on bus `bus`: messaging = { store = \"bus\", publish = [\"orders.*\"], subscribe = [\"orders.>\"] }"
    );
    let told = std::mem::take(&mut *told.0.lock().unwrap());
    assert_eq!(told[..2], ["messaging bus publish", "publish done"]);
    assert_eq!(told.iter().filter(|line| line.starts_with("denied ")).count(), 3);

    let default = Store::new(DEFAULT_BUS, &tenant("acme"), memory().await);
    let granted = default.grant(MessagingGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
    let denied = denied(granted.check_publish("x").unwrap_err());
    assert_eq!(denied, "`publish` `x` on bus `default`: messaging = { publish = [\"x\"] }");
    // What is no subject is said to be none, not offered as a grant.
    assert!(matches!(granted.check_publish("a\"]\nb"), Err(MessagingError::Malformed(_))));
}

#[tokio::test]
async fn whoever_is_asked_may_answer_without_a_grant() {
    let store = Store::new("bus", &tenant("acme"), memory().await);
    let asks = store.grant(grant(&["ask"], &[]), &Limits::serve(), Arc::new(Unrecorded));
    let answers = store.grant(grant(&[], &["ask"]), &Limits::serve(), Arc::new(Unrecorded));
    let mut asked = answers.subscribe(plain("ask")).await.unwrap();
    let reply = async {
        let to = next(&mut asked).await.reply_to.unwrap();
        assert!(to.starts_with("_INBOX.") && to.len() > 30, "{to}");
        answers.publish(Message::new(to, "yes")).await.unwrap();
    };
    // An address of the guest's own choice is not used: it could be one that others listen to.
    let request = Message { reply_to: Some("ask".to_owned()), ..Message::new("ask", "") };
    let (replies, ()) = tokio::join!(asks.request(request, 1, SOON), reply);
    assert_eq!(replies.unwrap()[0].body, "yes");
    assert!(matches!(answers.publish(Message::new("ask", "")).await, Err(MessagingError::AccessDenied { .. })));
}

#[tokio::test]
async fn a_workload_stays_within_its_limits() {
    let backend = memory().await;
    let store = Store::new("bus", &tenant("acme"), Arc::clone(&backend));
    let limits = Limits { message_bytes: 10, message_queue: 3, subscriptions: 2, ..Limits::serve() };
    let granted = store.grant(grant(&[">"], &[">"]), &limits, Arc::new(Unrecorded));
    granted.publish(Message::new("x", "0123456789")).await.unwrap();
    let mut headed = Message::new("x", "012345678");
    headed.set_header("a", "b");
    for long in [Message::new("x", "0123456789a"), headed] {
        let error = granted.publish(long).await.unwrap_err();
        assert!(matches!(error, MessagingError::TooLarge { what: "message", limit: 10 }), "{error}");
    }
    let mut first = granted.subscribe(plain("x")).await.unwrap();
    let second = granted.subscribe(plain("y")).await.unwrap();
    let third = granted.subscribe(plain("z")).await.unwrap_err();
    assert!(matches!(third, MessagingError::TooMany { limit: 2, .. }), "{third}");
    drop(second);
    drop(granted.subscribe(plain("z")).await.unwrap());
    for number in 0..5 {
        granted.publish(Message::new("x", number.to_string())).await.unwrap();
    }
    // Others on the bus have other limits.
    backend.publish(Message::new("acme.x", "longer than it may be")).await.unwrap();
    assert_eq!(next(&mut first).await.body, "3");
    assert_eq!(next(&mut first).await.body, "4");
    assert!(silent(&mut first).await);
    assert_eq!(first.dropped(), 4, "three for the queue, one for its size");
    assert!(granted.request(Message::new("x", ""), 1, Duration::ZERO).await.is_err());

    let ask = || granted.request(Message::new("x", ""), 1, SOON);
    let mut waiting: Vec<_> = (0..REQUESTS_IN_FLIGHT).map(|_| Box::pin(ask())).collect();
    for request in &mut waiting {
        assert!(futures::poll!(request).is_pending());
    }
    let error = ask().await.unwrap_err();
    assert!(matches!(error, MessagingError::TooMany { limit: REQUESTS_IN_FLIGHT, .. }), "{error}");
    drop(waiting);
    assert!(futures::poll!(Box::pin(ask())).is_pending());
}

#[tokio::test]
async fn a_full_bus_refuses_what_it_cannot_keep() {
    let bus = memory_with("max = '4KiB'").await.unwrap();
    let mut jobs = bus.subscribe(acknowledged("jobs", "workers")).await.unwrap();
    let mut listener = bus.subscribe(plain("jobs")).await.unwrap();
    let job = || Message::new("jobs", vec![0; 512]);
    let mut taken = 0;
    let full = loop {
        match bus.publish(job()).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, MessagingError::TooLarge { what: "bus", limit: 4096 }), "{full}");
    assert_eq!(taken, 5, "what an entry takes is counted too");
    // Others are not held up, and a message that was refused reached nobody.
    bus.publish(Message::new("others", vec![0; 5000])).await.unwrap();
    for _ in 0..taken {
        next(&mut listener).await;
    }
    assert!(silent(&mut listener).await);
    let delivery = jobs.next().await.unwrap();
    assert!(bus.publish(job()).await.is_err(), "what was handed out still counts");
    delivery.receipt.unwrap().settle(Verdict::Done).await.unwrap();
    bus.publish(job()).await.unwrap();
    for verdict in [Verdict::Dropped, Verdict::Retry(Duration::ZERO)] {
        jobs.next().await.unwrap().receipt.unwrap().settle(verdict).await.unwrap();
    }
    bus.publish(job()).await.unwrap();
    assert!(bus.publish(job()).await.is_err());
}

#[tokio::test]
async fn a_group_that_nobody_comes_back_to_is_forgotten() {
    let bus = memory_with("max = '2KiB'\nkeep = '0s'").await.unwrap();
    let jobs = bus.subscribe(acknowledged("jobs", "workers")).await.unwrap();
    bus.publish(Message::new("jobs", vec![0; 1500])).await.unwrap();
    assert!(bus.publish(Message::new("jobs", vec![0; 1500])).await.is_err());
    drop(jobs);
    for _ in 0..10 {
        bus.publish(Message::new("jobs", vec![0; 1500])).await.unwrap();
    }
    let mut jobs = bus.subscribe(acknowledged("jobs", "workers")).await.unwrap();
    assert!(silent(&mut jobs).await);
    bus.publish(Message::new("jobs", vec![0; 1500])).await.unwrap();
    assert_eq!(next(&mut jobs).await.body.len(), 1500);
}

#[tokio::test]
async fn subscriptions_and_groups_of_one_bus_are_bounded() {
    let bus = memory().await;
    let mut open = Vec::new();
    let refused = loop {
        match bus.subscribe(plain("x")).await {
            Ok(one) => open.push(one),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, MessagingError::TooMany { limit: 10_000, .. }), "{refused}");
    open.pop();
    open.push(bus.subscribe(plain("*.y")).await.unwrap());
    assert!(bus.subscribe(plain("z")).await.is_err());
    drop(open);
    let mut open = Vec::new();
    let refused = loop {
        match bus.subscribe(acknowledged("x", &format!("group-{}", open.len()))).await {
            Ok(one) => open.push(one),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, MessagingError::TooMany { limit: 1000, .. }), "{refused}");
    let endless = Subscription::plain(pattern("x"), u32::MAX);
    assert!(matches!(bus.subscribe(endless).await, Err(MessagingError::Configuration(_))));
    for bad in ["", "a b", "a*", "ä", &"x".repeat(64)] {
        assert!(matches!(bus.subscribe(acknowledged("x", bad)).await, Err(MessagingError::Malformed(_))), "{bad:?}");
        let mode = Mode::AtMostOnce { group: Some(bad.to_owned()), overflow: Overflow::Oldest };
        let plain = Subscription { mode, ..plain("x") };
        assert!(matches!(bus.subscribe(plain).await, Err(MessagingError::Malformed(_))), "{bad:?}");
    }
}

#[tokio::test]
async fn a_member_that_is_alone_in_its_slowness_is_passed_over() {
    let bus = memory().await;
    let mode = || Mode::AtMostOnce { group: Some("workers".to_owned()), overflow: Overflow::Newest };
    let slow = bus.subscribe(Subscription { pattern: pattern("x"), mode: mode(), queue: 1 }).await.unwrap();
    let quick = bus.subscribe(Subscription { pattern: pattern("x"), mode: mode(), queue: 100 }).await.unwrap();
    for number in 0..100 {
        bus.publish(Message::new("x", number.to_string())).await.unwrap();
    }
    assert_eq!((slow.dropped(), quick.dropped()), (0, 0));
}

#[tokio::test]
async fn a_subscription_goes_with_its_store_to_another_bus() {
    let (old, new) = (memory().await, memory().await);
    let store = Store::new("bus", &tenant("acme"), Arc::clone(&old));
    let mut plain = store.share().subscribe(plain("x")).await.unwrap();
    let mut jobs = store.share().subscribe(acknowledged("y", "workers")).await.unwrap();
    for number in 0..10 {
        for subject in ["x", "y"] {
            store.share().publish(Message::new(subject, number.to_string())).await.unwrap();
        }
    }
    assert!(Arc::ptr_eq(&store.link().set(Arc::clone(&new)), &old));
    // What the old bus has is not lost.
    for number in 0..10 {
        assert_eq!(next(&mut plain).await.body, number.to_string());
        let delivery = timeout(SOON, jobs.next()).await.unwrap().unwrap();
        assert_eq!(delivery.message.body, number.to_string());
        delivery.receipt.unwrap().settle(Verdict::Done).await.unwrap();
    }
    // Both get to the new bus by themselves; what is published there before they do finds nobody.
    for (subject, deliveries) in [("x", &mut plain), ("y", &mut jobs)] {
        let again = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            loop {
                tick.tick().await;
                store.share().publish(Message::new(subject, "new")).await.unwrap();
            }
        };
        tokio::select! {
            message = next(deliveries) => assert_eq!(message.body, "new"),
            () = again => {}
        }
    }
    // And they leave the old one when it has nothing more for them.
    let gone = async {
        while !format!("{old:?}").contains("listeners: 0") {
            let _ = timeout(Duration::from_millis(10), plain.next()).await;
        }
    };
    timeout(SOON, gone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_publishers_and_workers_lose_and_double_nothing() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 500;
    let bus = memory().await;
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut jobs = bus.subscribe(acknowledged("jobs.*", "workers")).await.unwrap();
        workers.spawn(async move {
            let mut done = Vec::new();
            while let Ok(delivery) = timeout(Duration::from_secs(1), jobs.next()).await {
                let delivery = delivery.unwrap();
                let number: usize = String::from_utf8_lossy(&delivery.message.body).parse().unwrap();
                // Every third fails the first time.
                let verdict = match (number % 3, delivery.attempt) {
                    (0, 1) => Verdict::Retry(Duration::from_millis(1)),
                    _ => Verdict::Done,
                };
                delivery.receipt.unwrap().settle(verdict).await.unwrap();
                if verdict == Verdict::Done {
                    done.push(number);
                }
            }
            done
        });
    }
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let bus = Arc::clone(&bus);
        publishers.spawn(async move {
            for number in 0..EACH {
                let body = (publisher * EACH + number).to_string();
                bus.publish(Message::new(format!("jobs.{publisher}"), body)).await.unwrap();
            }
        });
    }
    publishers.join_all().await;
    let mut done: Vec<usize> = workers.join_all().await.concat();
    done.sort_unstable();
    assert!(done.into_iter().eq(0..PUBLISHERS * EACH));
}
