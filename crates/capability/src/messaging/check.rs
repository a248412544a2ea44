//! What every bus does, whatever is behind it: the suite that each provider passes, bare and as a tenant's share of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use samara_model::SubjectPattern;
use tokio::time::{Instant, timeout};

use super::{Deliveries, Delivery, Message, Messaging, MessagingError, Mode, Overflow, Receipt, Subscription, Verdict};

/// How long something that must happen may take, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

/// How long something that must not happen is waited for.
const NEVER: Duration = Duration::from_millis(200);

/// How long a message that was handed out is the subscriber's.
const WITHIN: Duration = Duration::from_millis(1500);

/// Checks a bus. All subjects are below `root`, one word that nothing else uses on this bus.
///
/// # Panics
/// The bus does something else than [`Messaging`] says.
pub async fn check_messaging(bus: Arc<dyn Messaging>, root: &str) {
    let suite = Suite { bus, root };
    suite.every_subscriber_gets_its_subjects_in_order().await;
    suite.a_message_arrives_as_it_was_sent().await;
    suite.what_is_no_subject_is_refused().await;
    suite.a_slow_subscriber_loses_what_its_policy_says().await;
    let features = suite.bus.features();
    if features.groups {
        suite.a_group_shares_its_messages().await;
    } else {
        suite.groups_are_refused().await;
    }
    if features.envelopes {
        suite.requests_are_answered().await;
    } else {
        suite.envelopes_are_refused().await;
    }
    if features.acknowledgement {
        suite.what_is_settled_is_not_handed_out_again().await;
        suite.what_is_not_settled_is_handed_out_again().await;
        suite.a_group_remembers_where_it_was().await;
        suite.members_of_a_group_share_what_is_acknowledged().await;
    } else {
        suite.acknowledgement_is_refused().await;
    }
}

struct Suite<'a> {
    bus: Arc<dyn Messaging>,
    root: &'a str,
}

impl Suite<'_> {
    fn pattern(&self, below: &str) -> SubjectPattern {
        format!("{}.{below}", self.root).parse().unwrap()
    }

    fn message(&self, below: &str, body: &str) -> Message {
        Message::new(format!("{}.{below}", self.root), body.to_owned())
    }

    async fn publish(&self, below: &str, body: &str) {
        self.bus.publish(self.message(below, body)).await.unwrap();
    }

    async fn subscribe(&self, below: &str) -> Box<dyn Deliveries> {
        self.bus.subscribe(Subscription::plain(self.pattern(below), 1000)).await.unwrap()
    }

    async fn subscribe_in(&self, below: &str, group: &str) -> Box<dyn Deliveries> {
        let mode = Mode::AtMostOnce { group: Some(group.to_owned()), overflow: Overflow::Oldest };
        self.bus.subscribe(Subscription { pattern: self.pattern(below), mode, queue: 1000 }).await.unwrap()
    }

    async fn acknowledge(&self, below: &str, group: &str) -> Box<dyn Deliveries> {
        self.acknowledge_within(below, group, WITHIN).await
    }

    async fn acknowledge_within(&self, below: &str, group: &str, within: Duration) -> Box<dyn Deliveries> {
        let mode = Mode::Acknowledged { group: group.to_owned(), within, owned: true };
        self.bus.subscribe(Subscription { pattern: self.pattern(below), mode, queue: 10 }).await.unwrap()
    }

    async fn every_subscriber_gets_its_subjects_in_order(&self) {
        let mut exact = self.subscribe("orders.created").await;
        let mut word = self.subscribe("orders.*").await;
        let mut rest = self.subscribe("orders.>").await;
        let mut middle = self.subscribe("*.created").await;
        let mut none = self.subscribe("orders").await;
        for number in 0..100 {
            self.publish("orders.created", &number.to_string()).await;
        }
        self.publish("orders.created.eu", "deeper").await;
        self.publish("orders.gone", "other").await;
        for deliveries in [&mut exact, &mut word, &mut rest, &mut middle] {
            for number in 0..100 {
                assert_eq!(text(&next(deliveries).await), number.to_string());
            }
        }
        assert_eq!(text(&next(&mut rest).await), "deeper");
        assert_eq!(text(&next(&mut rest).await), "other");
        assert_eq!(text(&next(&mut word).await), "other");
        for deliveries in [&mut exact, &mut middle, &mut none] {
            nothing(deliveries).await;
        }
        drop(exact);
        self.publish("orders.created", "to those who are left").await;
        assert_eq!(text(&next(&mut word).await), "to those who are left");
    }

    async fn a_message_arrives_as_it_was_sent(&self) {
        let mut all = self.subscribe("odd.>").await;
        let every_byte: Vec<u8> = (0..=255).collect();
        let long = vec![b'x'; 500_000];
        for (subject, body) in [
            ("odd.empty", Bytes::new()),
            ("odd.binary", every_byte.into()),
            ("odd.long", long.into()),
            ("odd.grüße.✓", Bytes::from_static(b"words")),
            ("odd.a-b_c:d/e=f[g]?h^i\\j", Bytes::from_static(b"signs")),
        ] {
            let mut sent = self.message(subject, "");
            sent.body = body;
            if self.bus.features().envelopes {
                sent.headers = vec![("Trace-Id".to_owned(), "a b: c".to_owned()), ("empty".to_owned(), String::new())];
                sent.reply_to = Some(format!("{}.answers", self.root));
            }
            self.bus.publish(sent.clone()).await.unwrap();
            let Delivery { mut message, attempt, receipt } = next(&mut all).await;
            message.headers.sort();
            sent.headers.sort();
            assert_eq!(message, sent);
            assert!(attempt == 1 && receipt.is_none());
        }
        // Signs that mean something to a backend mean nothing here.
        let mut signs = self.subscribe("[ab]?\\^-.*").await;
        self.publish("a1\\^-.no", "").await;
        self.publish("[ab]?\\^-.yes", "yes").await;
        assert_eq!(text(&next(&mut signs).await), "yes");
        if self.bus.features().envelopes {
            let mut sent = self.message("odd.twice", "");
            sent.headers = ["1", "2"].map(|value| ("twice".to_owned(), value.to_owned())).to_vec();
            self.bus.publish(sent.clone()).await.unwrap();
            assert_eq!(next(&mut all).await.message, sent);
        }
    }

    async fn what_is_no_subject_is_refused(&self) {
        let long = "x".repeat(300);
        for below in ["", ".a", "a..b", "a.", "*", "a.>", "a b", "a\0b", "a\r\nPUB x 1", "a\tb", &long] {
            let refused = self.bus.publish(self.message(below, "")).await.unwrap_err();
            assert!(matches!(refused, MessagingError::Malformed(_)), "{below:?}: {refused}");
        }
        if self.bus.features().envelopes {
            for (name, value) in [("", "v"), ("a:b", "v"), ("a b", "v"), ("ä", "v"), ("a", "v\r\nb: w"), ("a", "\0")] {
                let mut message = self.message("headers", "");
                message.headers.push((name.to_owned(), value.to_owned()));
                let refused = self.bus.publish(message).await.unwrap_err();
                assert!(matches!(refused, MessagingError::Malformed(_)), "{name:?}: {refused}");
            }
            let message = Message { reply_to: Some("a\r\nb".to_owned()), ..self.message("answers", "") };
            assert!(matches!(self.bus.publish(message).await, Err(MessagingError::Malformed(_))));
        }
        let endless = Subscription::plain(self.pattern("endless"), 0);
        assert!(matches!(self.bus.subscribe(endless).await, Err(MessagingError::Configuration(_))));
    }

    async fn a_slow_subscriber_loses_what_its_policy_says(&self) {
        for (overflow, kept) in [(Overflow::Oldest, ["8", "9"]), (Overflow::Newest, ["0", "1"])] {
            let mode = Mode::AtMostOnce { group: None, overflow };
            let subscription = Subscription { pattern: self.pattern("slow"), mode, queue: 2 };
            let mut slow = self.bus.subscribe(subscription).await.unwrap();
            for number in 0..10 {
                self.publish("slow", &number.to_string()).await;
            }
            let until = Instant::now() + SOON;
            while slow.dropped() < 8 {
                assert!(Instant::now() < until, "{} of 8 were dropped", slow.dropped());
                tokio::task::yield_now().await;
            }
            for number in kept {
                assert_eq!(text(&next(&mut slow).await), number);
            }
            assert_eq!(slow.dropped(), 8);
        }
    }

    async fn a_group_shares_its_messages(&self) {
        let mut first = self.subscribe_in("work", "workers").await;
        let mut second = self.subscribe_in("work", "workers").await;
        let mut other = self.subscribe_in("work", "auditors").await;
        let mut alone = self.subscribe("work").await;
        for number in 0..200 {
            self.publish("work", &number.to_string()).await;
        }
        for number in 0..200 {
            assert_eq!(text(&next(&mut other).await), number.to_string());
            assert_eq!(text(&next(&mut alone).await), number.to_string());
        }
        let (mut ones, mut twos) = (Vec::new(), Vec::new());
        while ones.len() + twos.len() < 200 {
            tokio::select! {
                one = next(&mut first) => ones.push(text(&one)),
                two = next(&mut second) => twos.push(text(&two)),
            }
        }
        assert!(!ones.is_empty() && !twos.is_empty(), "{} and {}", ones.len(), twos.len());
        ones.extend(twos);
        let mut numbers: Vec<u32> = ones.iter().map(|text| text.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..200));
        nothing(&mut first).await;
        nothing(&mut second).await;
    }

    async fn groups_are_refused(&self) {
        let mode = Mode::AtMostOnce { group: Some("workers".to_owned()), overflow: Overflow::Oldest };
        let refused = self.bus.subscribe(Subscription { pattern: self.pattern("work"), mode, queue: 10 }).await;
        assert!(matches!(refused, Err(MessagingError::Unsupported { .. })));
    }

    async fn requests_are_answered(&self) {
        let mut asked = self.subscribe("ask").await;
        let answers = async {
            let Message { reply_to, body, headers, .. } = next(&mut asked).await.message;
            assert_eq!(headers, [("a".to_owned(), "b".to_owned())]);
            let to = reply_to.unwrap();
            for answer in ["one", "two", "three"] {
                let mut reply = Message::new(to.clone(), [body.as_ref(), answer.as_bytes()].concat());
                reply.set_header("number", answer);
                self.bus.publish(reply).await.unwrap();
            }
        };
        let mut request = self.message("ask", "number ");
        request.set_header("a", "b");
        let (replies, ()) = tokio::join!(self.bus.request(request, 2, SOON), answers);
        let replies = replies.unwrap();
        assert_eq!(replies.iter().map(|reply| &reply.body[..]).collect::<Vec<_>>(), [b"number one", b"number two"]);
        assert_eq!(replies.first().and_then(|reply| reply.header("Number")), Some("one"));

        // As many as come in time.
        let answers = async {
            let to = next(&mut asked).await.message.reply_to.unwrap();
            self.bus.publish(Message::new(to, "only")).await.unwrap();
        };
        let (replies, ()) = tokio::join!(self.bus.request(self.message("ask", ""), 10, NEVER * 5), answers);
        assert_eq!(replies.unwrap().len(), 1);

        // Somebody listens and says nothing.
        let silence = self.bus.request(self.message("ask", ""), 1, NEVER).await;
        assert!(matches!(silence, Err(MessagingError::TimedOut(_))), "{silence:?}");

        let since = Instant::now();
        let nobody = self.bus.request(self.message("nobody", ""), 1, SOON).await;
        assert!(matches!(nobody, Err(MessagingError::NoResponders)), "{nobody:?}");
        assert!(since.elapsed() < SOON);

        // What was asked in silence is still there.
        next(&mut asked).await;

        // Many at once get their own answers.
        let echo = async {
            for _ in 0..50 {
                let message = next(&mut asked).await.message;
                self.bus.publish(Message::new(message.reply_to.unwrap(), message.body)).await.unwrap();
            }
        };
        let ask = |number: usize| async move {
            let body = number.to_string();
            let replies = self.bus.request(self.message("ask", &body), 1, SOON).await.unwrap();
            assert_eq!(replies.first().map(|reply| reply.body.clone()), Some(Bytes::from(body)));
        };
        tokio::join!(echo, futures::future::join_all((0..50).map(ask)));
    }

    async fn envelopes_are_refused(&self) {
        let unsupported =
            |error: MessagingError| assert!(matches!(error, MessagingError::Unsupported { .. }), "{error}");
        let mut headed = self.message("headed", "");
        headed.set_header("a", "b");
        unsupported(self.bus.publish(headed).await.unwrap_err());
        let addressed = Message { reply_to: Some("answers".to_owned()), ..self.message("addressed", "") };
        unsupported(self.bus.publish(addressed).await.unwrap_err());
        unsupported(self.bus.request(self.message("ask", ""), 1, SOON).await.unwrap_err());
    }

    async fn acknowledgement_is_refused(&self) {
        let mode = Mode::Acknowledged { group: "workers".to_owned(), within: WITHIN, owned: true };
        let refused = self.bus.subscribe(Subscription { pattern: self.pattern("jobs"), mode, queue: 10 }).await;
        assert!(matches!(refused, Err(MessagingError::Unsupported { .. })));
    }

    async fn what_is_settled_is_not_handed_out_again(&self) {
        let mut jobs = self.acknowledge("settled.*", "workers").await;
        self.publish("settled.done", "done").await;
        self.publish("settled.dropped", "dropped").await;
        self.publish("settled.retried", "retried").await;
        for (expected, verdict) in
            [("done", Verdict::Done), ("dropped", Verdict::Dropped), ("retried", Verdict::Retry(NEVER))]
        {
            let delivery = next(&mut jobs).await;
            assert_eq!((text(&delivery).as_str(), delivery.attempt), (expected, 1));
            receipt(delivery).settle(verdict).await.unwrap();
        }
        let since = Instant::now();
        let again = next(&mut jobs).await;
        assert_eq!((text(&again).as_str(), again.attempt), ("retried", 2));
        assert!(since.elapsed() >= NEVER / 2, "it came back after {:?}", since.elapsed());
        receipt(again).settle(Verdict::Done).await.unwrap();
        assert!(timeout(WITHIN * 2, jobs.next()).await.is_err());
    }

    async fn what_is_not_settled_is_handed_out_again(&self) {
        let mut jobs = self.acknowledge("unsettled", "workers").await;
        self.publish("unsettled", "held").await;
        let mut since = Instant::now();
        let held = receipt(next(&mut jobs).await);
        for _ in 0..4 {
            if timeout(WITHIN / 2, jobs.next()).await.is_ok() {
                // Whoever is stopped for so long by a busy machine has not held it, and nobody can say more.
                assert!(since.elapsed() > WITHIN, "it is held");
                return;
            }
            since = Instant::now();
            held.hold().await.unwrap();
        }
        drop(held);
        let again = next(&mut jobs).await;
        assert_eq!((text(&again).as_str(), again.attempt), ("held", 2));
        drop(again);
        let again = next(&mut jobs).await;
        assert_eq!(again.attempt, 3);
        receipt(again).settle(Verdict::Done).await.unwrap();
        assert!(timeout(WITHIN * 2, jobs.next()).await.is_err());
    }

    async fn a_group_remembers_where_it_was(&self) {
        drop(self.acknowledge_within("remembered.>", "workers", SOON).await);
        for number in 0..20 {
            self.publish("remembered.jobs.a", &number.to_string()).await;
        }
        let mut later = self.acknowledge_within("remembered.>", "latecomers", SOON).await;
        let mut jobs = self.acknowledge_within("remembered.>", "workers", SOON).await;
        for number in 0..20 {
            let delivery = next(&mut jobs).await;
            assert_eq!(text(&delivery), number.to_string());
            receipt(delivery).settle(Verdict::Done).await.unwrap();
        }
        nothing(&mut jobs).await;
        nothing(&mut later).await;
        drop(jobs);
        let mut jobs = self.acknowledge_within("remembered.>", "workers", SOON).await;
        nothing(&mut jobs).await;
    }

    async fn members_of_a_group_share_what_is_acknowledged(&self) {
        let mut members = Vec::new();
        for _ in 0..3 {
            members.push(self.acknowledge_within("shared.*", "workers", SOON).await);
        }
        let mut auditor = self.acknowledge("shared.*", "auditors").await;
        for number in 0..60 {
            self.publish("shared.jobs", &number.to_string()).await;
        }
        let (seen, mut all) = tokio::sync::mpsc::unbounded_channel();
        let (until, count) = (Instant::now() + SOON, &AtomicUsize::new(0));
        let work = members.into_iter().map(|mut member| {
            let seen = seen.clone();
            async move {
                // To the last, and then for a moment more, in which nothing may come.
                let mut last = false;
                while !last {
                    last = count.load(Ordering::SeqCst) >= 60 || Instant::now() > until;
                    let Ok(delivery) = timeout(NEVER, member.next()).await else { continue };
                    let delivery = delivery.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    seen.send(text(&delivery).parse::<u32>().unwrap()).unwrap();
                    receipt(delivery).settle(Verdict::Done).await.unwrap();
                }
            }
        });
        futures::future::join_all(work).await;
        drop(seen);
        let mut numbers = Vec::new();
        while let Some(number) = all.recv().await {
            numbers.push(number);
        }
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..60));
        // The auditor was as slow as it gets: its share is all there, perhaps not for the first time.
        let mut audited = std::collections::BTreeSet::new();
        while audited.len() < 60 {
            let delivery = next(&mut auditor).await;
            audited.insert(text(&delivery));
            receipt(delivery).settle(Verdict::Done).await.unwrap();
        }
    }
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message.body).into_owned()
}

fn receipt(delivery: Delivery) -> Box<dyn Receipt> {
    delivery.receipt.expect("a subscription that acknowledges has receipts")
}

async fn next(deliveries: &mut Box<dyn Deliveries>) -> Delivery {
    timeout(SOON, deliveries.next()).await.expect("a message comes").unwrap()
}

async fn nothing(deliveries: &mut Box<dyn Deliveries>) {
    if let Ok(delivery) = timeout(NEVER, deliveries.next()).await {
        panic!("{delivery:?} came");
    }
}
