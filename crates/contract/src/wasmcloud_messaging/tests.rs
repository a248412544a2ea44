//! A component of wasmCloud's own library that takes messages, keeps them, and answers; and what it publishes itself.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use samara_capability::{
    Unrecorded,
    kv::{self, KeyValue as _},
    messaging::{self, Message as Sent, Messaging as _, Subscription},
};
use samara_model::{Call, Fault, KvGrant, Limits, Message, MessagingGrant, Reply, Shape, Tenant, full};
use samara_runtime::{Definition, Workload};

use crate::testing::{get, http, load, request, runtime};

const KIT: &str = "wasi_http/wasmcloud-kit";

fn patterns(list: &[&str]) -> Vec<samara_model::SubjectPattern> {
    list.iter().map(|pattern| pattern.parse().unwrap()).collect()
}

async fn bus() -> messaging::Store {
    let backend = messaging::open("memory:", &Default::default()).await.unwrap();
    messaging::Store::new("bus", &Tenant::default(), backend)
}

async fn store() -> kv::Store {
    let backend = kv::open("memory:", &Default::default(), &kv::NoWorkloads).await.unwrap();
    kv::Store::new("kept", &Tenant::default(), backend).await.unwrap()
}

fn grant(publish: &[&str]) -> impl Fn(&mut Definition, &messaging::Store, &kv::Store) {
    let publish = patterns(publish);
    move |definition, bus, kept| {
        definition.stores.messaging.insert("bus".into(), bus.clone());
        definition.grants.messaging.insert("bus".into(), MessagingGrant { publish: publish.clone(), subscribe: Vec::new() });
        definition.stores.kv.insert("kept".into(), kept.clone());
        definition.grants.kv.insert("kept".into(), KvGrant::default());
    }
}

async fn hand(workload: &Arc<Workload>, subject: &str, body: &str, reply_to: Option<String>) -> Result<Reply, Fault> {
    let message = Message { subject: subject.into(), body: body.to_owned().into(), headers: Vec::new(), reply_to };
    runtime().call(workload, Call::Message(message)).await
}

#[tokio::test]
async fn a_message_is_kept_and_answered() {
    let (bus, kept) = (bus().await, store().await);
    let kit = load(KIT, Shape::Message, |definition| grant(&["answers.*"])(definition, &bus, &kept)).await;
    let listener = bus.grant(
        MessagingGrant { publish: Vec::new(), subscribe: patterns(&["answers.*"]) },
        &Limits::serve(),
        Arc::new(Unrecorded),
    );
    let mut answers = listener.subscribe(Subscription::plain("answers.*".parse().unwrap(), 8)).await.unwrap();
    let reply = hand(&kit, "orders.new", "apple", Some("answers.1".into())).await.unwrap();
    assert!(matches!(reply, Reply::Message(None)), "{reply:?}");
    let answer = tokio::time::timeout(Duration::from_secs(10), answers.next()).await.unwrap().unwrap();
    assert_eq!((answer.message.subject.as_str(), &answer.message.body[..]), ("answers.1", &b"APPLE"[..]));
    let reader = kept.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
    assert_eq!(reader.get("orders.new").await.unwrap().as_deref(), Some(&b"apple"[..]));
}

#[tokio::test]
async fn what_a_handler_does_not_take_is_its_fault() {
    let (bus, kept) = (bus().await, store().await);
    let kit = load(KIT, Shape::Message, |definition| grant(&[])(definition, &bus, &kept)).await;
    let fault = hand(&kit, "orders.fail", "", None).await.unwrap_err();
    assert!(matches!(&fault, Fault::Guest(why) if why.contains("told to fail")), "{fault:?}");
    let fault = hand(&kit, "orders.new", "x", Some("not.granted".into())).await.unwrap_err();
    assert!(matches!(&fault, Fault::Guest(why) if why.contains("denied")), "{fault:?}");
    assert!(kit.authority().denials()[0].0.grant.contains("publish = [\"not.granted\"]"));
}

#[tokio::test]
async fn an_http_handler_publishes_asks_and_is_answered() {
    let (bus, kept) = (bus().await, store().await);
    let give = grant(&["orders.*"]);
    let front = load(KIT, Shape::Http, |definition| give(definition, &bus, &kept)).await;
    let answering = bus.grant(
        MessagingGrant { publish: Vec::new(), subscribe: patterns(&["orders.*"]) },
        &Limits::serve(),
        Arc::new(Unrecorded),
    );
    let mut asked = answering.subscribe(Subscription::plain("orders.*".parse().unwrap(), 8)).await.unwrap();
    let answering = tokio::spawn(async move {
        let delivery = asked.next().await.unwrap();
        let to = delivery.message.reply_to.clone().unwrap();
        answering.publish(Sent::new(to, delivery.message.body.to_ascii_uppercase())).await.unwrap();
    });
    let response = http(&front, request("POST", "/request/orders.price", full("apple"))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(&response.into_body().collect().await.unwrap().to_bytes()[..], b"APPLE");
    answering.await.unwrap();
    let denied = http(&front, request("POST", "/publish/other", full("x"))).await.unwrap();
    assert_eq!(denied.status(), 502);
    assert_eq!(get(&front, "/nothing").await, "404 no such path");
}
