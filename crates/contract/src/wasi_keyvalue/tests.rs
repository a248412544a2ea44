//! Two real components as stores: one of each revision, over a store of their own.

use std::sync::Arc;

use bytes::Bytes;
use samara_capability::kv;
use samara_model::{Call, Fault, KeyValueCall as Ask, KeyValueReply as Told, KvGrant, Reply, Shape, Tenant};
use samara_runtime::Workload;

use crate::testing::{load, runtime};

async fn guest(name: &str, bucket: &str) -> Arc<Workload> {
    let backend = kv::open("memory:", &Default::default(), &kv::NoWorkloads).await.unwrap();
    let store = kv::Store::new("back", &Tenant::default(), backend).await.unwrap();
    load(&format!("wasi_keyvalue/{name}"), Shape::KeyValue, |definition| {
        definition.stores.kv.insert("back".into(), store);
        definition.grants.kv.insert("back".into(), KvGrant::default());
        definition.settings = serde_json::json!({ "bucket": bucket });
        definition.reuse = 4;
    })
    .await
}

async fn told(guest: &Arc<Workload>, call: Ask) -> Result<Told, Fault> {
    match runtime().call(guest, Call::KeyValue(call)).await? {
        Reply::KeyValue(told) => Ok(told),
        other => panic!("{other:?}"),
    }
}

fn key(key: &str) -> String {
    key.to_owned()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn a_component_of_the_second_revision_is_a_store() {
    let guest = guest("kv-checked", "back").await;
    assert_eq!(guest.contract.name(), "wasi-keyvalue");
    let now = |value: Option<&'static str>| Told::Swapped(Err(value.map(bytes)));
    for (call, expected) in [
        (Ask::Get(vec![key("a")]), Told::Values(vec![None])),
        (Ask::Set(key("a"), bytes("apple")), Told::Replaced(None)),
        (Ask::Set(key("a"), bytes("pear")), Told::Replaced(Some(5))),
        (Ask::Get(vec![key("b"), key("a")]), Told::Values(vec![None, Some(bytes("pear"))])),
        (Ask::Exists(key("a")), Told::Exists(true)),
        (Ask::Swap(key("a"), Some(bytes("apple")), bytes("fig")), now(Some("pear"))),
        (Ask::Swap(key("a"), None, bytes("fig")), now(Some("pear"))),
        (Ask::Swap(key("b"), Some(bytes("apple")), bytes("fig")), now(None)),
        (Ask::Swap(key("a"), Some(bytes("pear")), bytes("fig")), Told::Swapped(Ok(()))),
        (Ask::Swap(key("b"), None, bytes("")), Told::Swapped(Ok(()))),
        (Ask::Increment(key("n"), 5), Told::Sum(5, None)),
        (Ask::Increment(key("n"), -12), Told::Sum(-7, Some(1))),
        (Ask::List(None), Told::Keys(vec![key("a"), key("b"), key("n")], None)),
        (Ask::Delete(key("a")), Told::Replaced(Some(3))),
        (Ask::Delete(key("a")), Told::Replaced(None)),
        (Ask::Exists(key("a")), Told::Exists(false)),
    ] {
        let asked = format!("{call:?}");
        assert_eq!(told(&guest, call).await.unwrap(), expected, "{asked}");
    }
}

#[tokio::test]
async fn what_a_component_refuses_is_told_in_its_words_and_ends_nothing() {
    let guest = guest("kv-checked", "back").await;
    let failed = |said: &str| Told::Failed(said.to_owned());
    let locked = failed("it denies access; its bucket is `back`");
    assert_eq!(told(&guest, Ask::Set(key("locked"), bytes("x"))).await.unwrap(), locked);
    assert_eq!(told(&guest, Ask::Increment(key("n"), i64::MAX)).await.unwrap(), Told::Sum(i64::MAX, None));
    assert_eq!(told(&guest, Ask::Increment(key("n"), 1)).await.unwrap(), failed("too large"));
    assert_eq!(told(&guest, Ask::Set(key("damage"), bytes("x"))).await.unwrap(), Told::Replaced(None));
    assert_eq!(told(&guest, Ask::Get(vec![key("damage")])).await.unwrap(), failed("the value is damaged"));
    let trap = told(&guest, Ask::Get(vec![key("trap")])).await.unwrap_err();
    assert!(matches!(trap, Fault::Guest(_)), "{trap}");
    assert_eq!(told(&guest, Ask::Exists(key("n"))).await.unwrap(), Told::Exists(true));
}

#[tokio::test]
async fn a_component_of_the_first_revision_is_one_too() {
    let guest = guest("kv-folded", "back").await;
    let keys = |keys: &[&str], cursor: Option<&str>| {
        Told::Keys(keys.iter().map(|key| (*key).to_owned()).collect(), cursor.map(str::to_owned))
    };
    for (call, expected) in [
        (Ask::Set(key("Apple"), bytes("1")), Told::Replaced(None)),
        (Ask::Set(key("aPPLE"), bytes("22")), Told::Replaced(Some(1))),
        (Ask::Increment(key("N"), 3), Told::Sum(3, None)),
        (Ask::Increment(key("n"), -1), Told::Unsupported("increment by less than 0")),
        (Ask::Swap(key("n"), None, bytes("1")), Told::Unsupported("compare-and-swap")),
        (Ask::Set(key("b"), bytes("")), Told::Replaced(None)),
        (Ask::Set(key("c"), bytes("")), Told::Replaced(None)),
        (Ask::List(None), keys(&["apple", "b", "c"], Some("3"))),
        (Ask::List(Some(key("3"))), keys(&["n"], None)),
        (Ask::List(Some(key("x"))), Told::Failed("a cursor that is none of this store's".to_owned())),
    ] {
        let asked = format!("{call:?}");
        assert_eq!(told(&guest, call).await.unwrap(), expected, "{asked}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_granted_is_named() {
    let guest = guest("kv-checked", "other").await;
    let Told::Failed(why) = told(&guest, Ask::List(None)).await.unwrap() else { panic!("it has no such bucket") };
    assert!(why.contains("its bucket is `other`"), "{why}");
}
