//! `wasi:keyvalue` and `wasi:config` as guests see them: what is granted works, what is not says so, and the record
//! names the grant.

use std::sync::Arc;

use samara_capability::kv::{KeyValue, NoWorkloads, Store, open};
use samara_model::{Capability, Encoding, KvGrant, KvOperation, Limits, Shape, Tenant, full};
use samara_runtime::{Definition, Workload};

use crate::testing::{function, get, http, load, request};

/// 0.2.0-draft and the released name of `wasi:config`, over HTTP.
const KIT: &str = "wasi_http/http-kit";
/// 0.2.0-draft2 and the other names of `wasi:config`, as functions.
const DRAFT2: &str = "function/kv-draft2";

async fn store(name: &str) -> Store {
    let backend = open("memory:", &Default::default(), &NoWorkloads).await.unwrap();
    Store::new(name, &Tenant::default(), backend).await.unwrap()
}

/// The kit with the store `carts`, to the extent of a grant, and whatever else a test changes.
async fn kit(grant: Option<KvGrant>, change: impl FnOnce(&mut Definition)) -> Arc<Workload> {
    with_carts(KIT, Shape::Http, grant, change).await
}

/// The functions over draft2, the same way.
async fn draft2(grant: Option<KvGrant>, change: impl FnOnce(&mut Definition)) -> Arc<Workload> {
    with_carts(DRAFT2, Shape::Function, grant, change).await
}

async fn with_carts(
    guest: &str,
    shape: Shape,
    grant: Option<KvGrant>,
    change: impl FnOnce(&mut Definition),
) -> Arc<Workload> {
    let carts = store("carts").await;
    load(guest, shape, |definition| {
        definition.stores.kv.insert("carts".into(), carts);
        definition.grants.kv.extend(grant.map(|grant| ("carts".into(), grant)));
        change(definition);
    })
    .await
}

async fn send(workload: &Arc<Workload>, method: &str, path: &str, body: &str) -> u16 {
    let call = request(method, path, full(body.to_owned()));
    http(workload, call).await.unwrap().status().as_u16()
}

fn denied(workload: &Workload, capability: Capability) -> Vec<String> {
    let denials = workload.authority().denials();
    let of = |(denial, _): &(samara_capability::Denial, u64)| denial.capability == capability;
    denials.into_iter().filter(of).map(|(denial, _)| format!("{}; {}", denial.what, denial.grant)).collect()
}

#[tokio::test]
async fn a_granted_store_outlives_the_instances_that_use_it() {
    let kit = kit(Some(KvGrant::default()), |_| {}).await;
    assert_eq!(get(&kit, "/kv/carts/a").await, "404 no such key");
    assert_eq!(send(&kit, "PUT", "/kv/carts/a", "apple").await, 204);
    assert_eq!(get(&kit, "/kv/carts/a").await, "200 apple");
    assert_eq!(send(&kit, "HEAD", "/kv/carts/a", "").await, 200);
    assert_eq!(send(&kit, "DELETE", "/kv/carts/a", "").await, 204);
    assert_eq!(send(&kit, "HEAD", "/kv/carts/a", "").await, 404);
    for (by, sum) in [(1, "200 1"), (41, "200 42")] {
        assert_eq!(get(&kit, &format!("/kv-incr/carts/count?by={by}")).await, sum);
    }
    assert_eq!(send(&kit, "PUT", "/kv-many/carts?x=1&y=2", "").await, 204);
    assert_eq!(get(&kit, "/kv-many/carts?keys=y,none,x").await, "200 y=2\nx=1");
    assert_eq!(get(&kit, "/kv/carts").await, "200 count\nx\ny");
    assert_eq!(send(&kit, "DELETE", "/kv-many/carts?keys=x,y", "").await, 204);
    assert_eq!(get(&kit, "/kv/carts").await, "200 count");
}

#[tokio::test]
async fn what_one_workload_wrote_another_reads_if_both_are_granted_the_store() {
    let carts = store("carts").await;
    let share = |definition: &mut Definition| {
        definition.stores.kv.insert("carts".into(), carts.clone());
        definition.grants.kv.insert("carts".into(), KvGrant::default());
    };
    let (one, other) = (load(KIT, Shape::Http, share).await, load(KIT, Shape::Http, share).await);
    let stranger = kit(Some(KvGrant::default()), |_| {}).await;
    assert_eq!(send(&one, "PUT", "/kv/carts/a", "apple").await, 204);
    assert_eq!(get(&other, "/kv/carts/a").await, "200 apple");
    assert_eq!(get(&stranger, "/kv/carts/a").await, "404 no such key", "its `carts` is another store");
}

#[tokio::test]
async fn listings_go_on_where_the_page_before_ended() {
    let carts = store("carts").await;
    let lent = carts.grant(KvGrant::default(), &Limits::serve(), Arc::new(samara_capability::Unrecorded));
    let mut expected: Vec<String> = (0..2500).map(|number| format!("key-{number}")).collect();
    for key in &expected {
        lent.set(key, "v".into()).await.unwrap();
    }
    expected.sort();
    let kit = kit(Some(KvGrant::default()), |definition| {
        definition.stores.kv.insert("carts".into(), carts);
    });
    assert_eq!(get(&kit.await, "/kv/carts").await, format!("200 {}", expected.join("\n")));
}

#[tokio::test]
async fn a_store_that_is_not_granted_is_denied_and_the_record_names_the_grant() {
    let kit = kit(None, |_| {}).await;
    assert_eq!(get(&kit, "/kv/carts/a").await, "403 access denied");
    assert_eq!(get(&kit, "/kv/other/a").await, "403 access denied", "a guest does not learn which stores there are");
    assert_eq!(
        denied(&kit, Capability::Kv),
        ["key-value store `carts`; kv = [\"carts\"]", "key-value store `other`; kv = [\"other\"]"]
    );
    let long = "x".repeat(64);
    assert_eq!(get(&kit, &format!("/kv/{long}/a")).await, "404 no such store");
    assert_eq!(denied(&kit, Capability::Kv).len(), 2, "names no store can have are not remembered");
}

#[tokio::test]
async fn an_operation_that_is_not_granted_is_denied() {
    let kit = kit(Some(KvGrant { operations: vec![KvOperation::Get] }), |_| {}).await;
    assert_eq!(get(&kit, "/kv/carts/a").await, "404 no such key");
    assert_eq!(send(&kit, "PUT", "/kv/carts/a", "apple").await, 403);
    assert_eq!(get(&kit, "/kv-incr/carts/a").await, "403 access denied");
    assert_eq!(get(&kit, "/kv/carts").await, "403 access denied");
    assert!(denied(&kit, Capability::Kv)[0].ends_with("kv = [{ store = \"carts\", ops = [\"get\", \"set\"] }]"));
}

#[tokio::test]
async fn the_only_granted_store_is_also_the_default_one() {
    let only = kit(Some(KvGrant::default()), |_| {}).await;
    assert_eq!(send(&only, "PUT", "/kv/default/a", "apple").await, 204);
    assert_eq!(get(&only, "/kv/carts/a").await, "200 apple");
    let second = store("second").await;
    let two = kit(Some(KvGrant::default()), |definition| {
        definition.stores.kv.insert("second".into(), second);
        definition.grants.kv.insert("second".into(), KvGrant::default());
    });
    assert_eq!(get(&two.await, "/kv/default/a").await, "403 access denied", "nobody guesses which");
}

#[tokio::test]
async fn limits_are_the_interfaces_own_error() {
    let kit = kit(Some(KvGrant::default()), |definition| {
        definition.limits.kv_key_bytes = 4;
        definition.limits.kv_value_bytes = 5;
        definition.limits.kv_total_bytes = 20;
    });
    let kit = kit.await;
    assert_eq!(get(&kit, "/kv/carts/five5").await, "502 the key is over its limit of `4B`");
    assert_eq!(send(&kit, "PUT", "/kv/carts/a", "apples").await, 502);
    for key in ["a", "b", "c"] {
        assert_eq!(send(&kit, "PUT", &format!("/kv/carts/{key}"), "apple").await, 204);
    }
    assert_eq!(send(&kit, "PUT", "/kv/carts/d", "apple").await, 502);
    assert_eq!(get(&kit, "/kv-incr/carts/a").await, "502 the total of keys and values is over its limit of `20B`");
}

#[tokio::test]
async fn sums_that_do_not_fit_are_errors_and_change_nothing() {
    let kit = kit(Some(KvGrant::default()), |_| {}).await;
    let most = i64::MAX;
    assert_eq!(get(&kit, &format!("/kv-incr/carts/n?by={most}")).await, format!("200 {most}"));
    assert_eq!(get(&kit, "/kv-incr/carts/n?by=1").await, "502 the sum does not fit a signed 64-bit number");
    assert_eq!(
        get(&kit, &format!("/kv-incr/carts/n?by={}", u64::MAX)).await,
        "502 the sum does not fit a signed 64-bit number"
    );
    assert_eq!(get(&kit, "/kv/carts/n").await, format!("200 {most}"));
    assert_eq!(send(&kit, "PUT", "/kv/carts/n", "-3").await, 204);
    assert_eq!(get(&kit, "/kv-incr/carts/n?by=1").await, "502 the sum `-2` is below 0; use wasi:keyvalue@0.2.0-draft2");
}

#[tokio::test]
async fn configuration_is_what_was_granted_and_nothing_else() {
    let granted = kit(None, |definition| {
        definition.grants.config.insert("greeting".into(), "hi".into());
        definition.grants.config.insert("color".into(), "red".into());
    });
    let granted = granted.await;
    assert_eq!(get(&granted, "/config/greeting").await, "200 hi");
    assert_eq!(get(&granted, "/config/other").await, "404 no such setting");
    assert_eq!(get(&granted, "/config").await, "200 color=red\ngreeting=hi");
    assert_eq!(denied(&granted, Capability::Config), [""; 0]);

    let without = kit(None, |_| {}).await;
    assert_eq!(get(&without, "/config/greeting").await, "404 no such setting");
    assert_eq!(get(&without, "/config").await, "200 ");
    assert_eq!(denied(&without, Capability::Config), ["configuration values; config = { KEY = \"value\" }"]);
}

async fn call(workload: &Arc<Workload>, name: &str, arguments: &str) -> String {
    function(workload, name, arguments, Encoding::Json).await
}

#[tokio::test]
async fn the_second_revision_says_the_same_in_its_own_types() {
    let guest = draft2(Some(KvGrant::default()), |_| {}).await;
    assert_eq!(
        call(&guest, "walk", r#"["carts"]"#).await,
        r#"["get: nothing","get: apple","exists: true","get-many: c=corn x=nothing a=apple","list-keys: a b c None","list-keys: c None","exists: false"]"#
    );
    assert_eq!(call(&guest, "add", r#"["carts","n",-7]"#).await, r#"{"ok":-7}"#);
    assert_eq!(call(&guest, "add", r#"["carts","n",10]"#).await, r#"{"ok":3}"#);
    let without = draft2(None, |_| {}).await;
    assert_eq!(call(&without, "walk", r#"["carts"]"#).await, r#"["access denied"]"#);
}

#[tokio::test]
async fn a_swap_that_comes_late_fails_and_can_be_tried_again() {
    let guest = draft2(Some(KvGrant::default()), |_| {}).await;
    let race = r#"["current: nothing","won","lost to: first","won","get: again"]"#;
    assert_eq!(call(&guest, "race", r#"["carts","key"]"#).await, race);
    let reader = draft2(Some(KvGrant { operations: vec![KvOperation::Get] }), |_| {}).await;
    assert_eq!(call(&reader, "race", r#"["carts","key"]"#).await, r#"["current: nothing","access denied"]"#);
}

#[tokio::test]
async fn handles_are_bounded_and_the_guest_is_told() {
    let guest = draft2(Some(KvGrant::default()), |definition| definition.limits.handles = 100).await;
    let answer = call(&guest, "hoard", r#"["carts",1000]"#).await;
    let kept = answer.trim_matches('"').split_once(':').and_then(|(kept, _)| kept.parse::<u32>().ok());
    assert!(kept.is_some_and(|kept| (50..=100).contains(&kept)), "{answer}");
    assert_eq!(call(&guest, "hoard", r#"["carts",10]"#).await, r#""10""#, "the next call starts with none");
}

#[tokio::test]
async fn both_revisions_share_one_store() {
    let carts = store("carts").await;
    let share = |definition: &mut Definition| {
        definition.stores.kv.insert("carts".into(), carts.clone());
    };
    let (over_http, functions) =
        (kit(Some(KvGrant::default()), share).await, draft2(Some(KvGrant::default()), share).await);
    assert_eq!(get(&over_http, "/kv-incr/carts/n?by=5").await, "200 5");
    assert_eq!(call(&functions, "add", r#"["carts","n",-3]"#).await, r#"{"ok":2}"#);
    assert_eq!(get(&over_http, "/kv/carts/n").await, "200 2");
}

#[tokio::test]
async fn configuration_has_the_same_values_under_each_of_its_names() {
    let guest = draft2(None, |definition| {
        definition.grants.config.insert("greeting".into(), "hi".into());
    });
    assert_eq!(
        call(&guest.await, "setting", r#"["greeting"]"#).await,
        r#"["Ok(Some(\"hi\"))","Ok(Some(\"hi\"))","Ok([(\"greeting\", \"hi\")])"]"#
    );
}
