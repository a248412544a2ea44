//! Guests of both Spin SDKs that take messages: what they keep, what they fail.

use std::sync::Arc;

use samara_capability::{
    Unrecorded,
    kv::{self, KeyValue as _},
};
use samara_model::{Call, Fault, KvGrant, Limits, Message, Reply, Shape, Tenant};

use samara_inspect::Module;
use samara_runtime::Contract as _;

use super::SpinRedis;
use crate::testing::{load, runtime};

#[tokio::test]
async fn both_generations_take_messages_and_fail_some() {
    for guest in ["spin_redis/spin3-redis", "spin_redis/spin7-redis"] {
        let backend = kv::open("memory:", &Default::default(), &kv::NoWorkloads).await.unwrap();
        let kept = kv::Store::new("kept", &Tenant::default(), backend).await.unwrap();
        let subscriber = load(guest, Shape::Message, |definition| {
            definition.stores.kv.insert("kept".into(), kept.clone());
            definition.grants.kv.insert("kept".into(), KvGrant::default());
        })
        .await;
        let hand = async |body: &'static str| {
            let message = Message { subject: "orders".into(), body: body.into(), ..Message::default() };
            runtime().call(&subscriber, Call::Message(message)).await
        };
        assert!(matches!(hand("apple").await, Ok(Reply::Message(None))), "{guest}");
        let reader = kept.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
        assert_eq!(reader.get("last").await.unwrap().as_deref(), Some(&b"apple"[..]), "{guest}");
        let fault = hand("fail").await.unwrap_err();
        assert!(matches!(&fault, Fault::Guest(why) if why.contains("did not handle")), "{guest}: {fault:?}");
    }
}

#[test]
fn a_component_is_known_by_what_it_exports() {
    let fit = |export: &str| {
        let text = format!(
            "(component (component $c (core module $m (func (export \"h\"))) (core instance $i (instantiate $m)) \
             (func (export \"handle-message\") (canon lift (core func $i \"h\")))) (instance $i (instantiate $c)) \
             (export \"{export}\" (instance $i)))"
        );
        let module = Module::read(&wat::parse_str(text).unwrap()).unwrap();
        SpinRedis.fit(&module).into_iter().map(|fit| fit.why).collect::<Vec<_>>()
    };
    assert_eq!(fit("fermyon:spin/inbound-redis"), ["exports `fermyon:spin/inbound-redis`"]);
    assert_eq!(fit("spin:redis/inbound-redis@3.0.0"), ["exports `spin:redis/inbound-redis@3.0.0`"]);
    assert!(fit("spin:redis/other@3.0.0").is_empty());
}
