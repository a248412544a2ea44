//! Components built with the Spin SDK 3 (a core module that becomes a component, `fermyon:spin@2.0.0`) and 7 (async,
//! `spin:*@3.0.0`), beside each other on one store.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use samara_capability::{
    Unrecorded,
    kv::{NoWorkloads, Store, open},
    messaging::{self, Messaging as _, Subscription},
    sql,
};
use samara_model::{Capability, KvGrant, KvOperation, Limits, MessagingGrant, Shape, SqlGrant, Tenant, full};
use samara_runtime::{Definition, Workload};

use crate::testing::{get, http, load, request};

pub(super) const KITS: [&str; 2] = ["wasi_http/spin3-kit", "wasi_http/spin7-kit"];

async fn store(name: &str) -> Store {
    let backend = open("memory:", &Default::default(), &NoWorkloads).await.unwrap();
    Store::new(name, &Tenant::default(), backend).await.unwrap()
}

pub(super) async fn kit(guest: &str, change: impl FnOnce(&mut Definition)) -> Arc<Workload> {
    load(guest, Shape::Http, change).await
}

async fn send(workload: &Arc<Workload>, method: &str, path: &str, body: &str) -> u16 {
    http(workload, request(method, path, full(body.to_owned()))).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn both_generations_count_in_one_store() {
    let carts = store("carts").await;
    let mut counted = 0;
    for guest in KITS {
        let kit = kit(guest, |definition| {
            definition.stores.kv.insert("carts".into(), carts.clone());
            definition.grants.kv.insert("carts".into(), KvGrant::default());
        })
        .await;
        for name in ["carts", "default"] {
            counted += 1;
            assert_eq!(get(&kit, &format!("/count/{name}/visits")).await, format!("200 {counted}"), "{guest}");
        }
        assert_eq!(send(&kit, "PUT", &format!("/kv/carts/{counted}"), "x").await, 200);
        assert_eq!(send(&kit, "HEAD", &format!("/kv/carts/{counted}"), "").await, 200);
        assert_eq!(send(&kit, "DELETE", "/kv/carts/none", "").await, 200);
        assert_eq!(get(&kit, "/kv/carts/none").await, "404 nothing there");
    }
    let last = kit(KITS[1], |definition| {
        definition.stores.kv.insert("carts".into(), carts.clone());
        definition.grants.kv.insert("carts".into(), KvGrant::default());
    });
    assert_eq!(get(&last.await, "/keys/carts").await, "200 2\n4\nvisits");
}

#[tokio::test]
async fn a_store_that_is_not_granted_is_denied_in_spins_own_words() {
    for guest in KITS {
        let bare = kit(guest, |_| {}).await;
        let answer = get(&bare, "/count/carts/visits").await;
        assert!(answer.starts_with("500 ") && answer.contains("AccessDenied"), "{guest}: {answer}");
        let denials = bare.authority().denials();
        assert_eq!(denials.len(), 1, "{guest}");
        assert_eq!(denials[0].0.grant, "kv = [\"carts\"]", "{guest}");

        let carts = store("carts").await;
        let reader = kit(guest, |definition| {
            definition.stores.kv.insert("carts".into(), carts);
            definition.grants.kv.insert("carts".into(), KvGrant { operations: vec![KvOperation::Get] });
        })
        .await;
        assert_eq!(get(&reader, "/kv/carts/a").await, "404 nothing there", "{guest}");
        let answer = get(&reader, "/keys/carts").await;
        assert!(answer.contains("AccessDenied"), "{guest}: {answer}");
    }
}

#[tokio::test]
async fn variables_are_the_granted_values() {
    for guest in KITS {
        let told = kit(guest, |definition| {
            definition.grants.config.insert("greeting".into(), "hello".into());
        })
        .await;
        assert_eq!(get(&told, "/var/greeting").await, "200 hello", "{guest}");
        assert!(get(&told, "/var/other").await.contains("ndefined"), "{guest}");
        assert!(get(&told, "/var/Greeting").await.contains("nvalid"), "{guest}");
        let bare = kit(guest, |_| {}).await;
        assert!(get(&bare, "/var/greeting").await.contains("ndefined"), "{guest}");
        assert_eq!(bare.authority().denials()[0].0.capability, Capability::Config, "{guest}");
    }
}

#[tokio::test]
async fn both_generations_ask_one_sqlite_database() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("orders.db").display());
    let orders = sql::Store::open("orders", &Tenant::default(), &url, &Default::default()).await.unwrap();
    let mut seen = Vec::new();
    for guest in KITS {
        let kit = kit(guest, |definition| {
            definition.stores.sql.insert("orders".into(), orders.clone());
            definition.grants.sql.insert("orders".into(), SqlGrant::default());
        })
        .await;
        let ask = async |statement: &str| {
            let call = request("POST", "/sqlite/orders", full(statement.to_owned()));
            let response = http(&kit, call).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            format!("{status} {}", String::from_utf8_lossy(&body).trim())
        };
        ask("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, what TEXT, price REAL, raw BLOB)").await;
        ask("INSERT INTO orders (what, price, raw) VALUES ('apple', 1.5, x'0102')").await;
        seen.push(ask("SELECT count(*) AS n, min(what) AS what, max(price) AS price FROM orders").await);
        assert_eq!(ask("SELECT raw, NULL AS none FROM orders LIMIT 1").await, "200 raw none\n[1, 2] null", "{guest}");
        assert!(ask("SELECT * FROM nowhere").await.starts_with("500 "), "{guest}");
        assert!(ask("ATTACH DATABASE '/etc/passwd' AS other").await.starts_with("500 "), "{guest}");
    }
    assert_eq!(seen, ["200 n what price\n1 apple 1.5", "200 n what price\n2 apple 1.5"]);
    for guest in KITS {
        let bare = kit(guest, |_| {}).await;
        let answer = http(&bare, request("POST", "/sqlite/orders", full("SELECT 1"))).await.unwrap();
        assert_eq!(answer.status(), 500, "{guest}");
        assert_eq!(bare.authority().denials()[0].0.grant, "sql = [\"orders\"]", "{guest}");
    }
}

/// `POST`s a body: the status and the answer.
pub(super) async fn post(workload: &Arc<Workload>, path: &str, body: &str) -> String {
    let response = http(workload, request("POST", path, full(body.to_owned()))).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    format!("{status} {}", String::from_utf8_lossy(&body).trim())
}

fn grants(workload: &Workload) -> Vec<String> {
    workload.authority().denials().into_iter().map(|(denial, _)| denial.grant).collect()
}

fn patterns(list: &[&str]) -> Vec<samara_model::SubjectPattern> {
    list.iter().map(|pattern| pattern.parse().unwrap()).collect()
}

#[tokio::test]
async fn redis_is_a_granted_store_and_a_granted_bus() {
    let (carts, bus) = (store("carts").await, messaging::open("memory:", &Default::default()).await.unwrap());
    let bus = messaging::Store::new("carts", &Tenant::default(), bus);
    let listener = bus.grant(
        MessagingGrant { publish: Vec::new(), subscribe: patterns(&["orders"]) },
        &Limits::serve(),
        Arc::new(Unrecorded),
    );
    let mut heard = listener.subscribe(Subscription::plain("orders".parse().unwrap(), 8)).await.unwrap();
    for guest in KITS {
        let kit = kit(guest, |definition| {
            definition.stores.kv.insert("carts".into(), carts.clone());
            definition.grants.kv.insert("carts".into(), KvGrant::default());
            definition.stores.messaging.insert("carts".into(), bus.clone());
            let publish = MessagingGrant { publish: patterns(&["orders"]), subscribe: Vec::new() };
            definition.grants.messaging.insert("carts".into(), publish);
        })
        .await;
        let commands = "set a apple\nget a\nget none\nincr n\nincr n\nincr a\ndel a\ndel a\ndel n";
        let answer = post(&kit, "/redis?carts", commands).await;
        assert_eq!(answer, "200 OK\napple\nnil\n1\n2\nerror Error::TypeError\n1\n0\n1", "{guest}");
        assert_eq!(post(&kit, "/redis?default", "publish orders apple").await, "200 OK", "{guest}");
        let message = tokio::time::timeout(Duration::from_secs(10), heard.next()).await.unwrap().unwrap();
        assert_eq!(&message.message.body[..], b"apple", "{guest}");
        let refused = post(&kit, "/redis?carts", "publish secrets x").await;
        assert!(refused.starts_with("200 error") && refused.contains("on bus `carts`"), "{guest}: {refused}");
        assert!(grants(&kit).iter().any(|grant| grant.contains("publish = [\"orders\", \"secrets\"]")), "{guest}");
        for command in ["sadd s m", "smembers s"] {
            let refused = post(&kit, "/redis?carts", command).await;
            let named = command.split(' ').next().unwrap();
            assert!(refused.starts_with("200 error") && refused.contains("unsupported"), "{guest}: {refused}");
            assert!(refused.contains(&format!("no `{named}`")), "{guest}: {refused}");
        }
    }
    let refused = post(&kit_with_carts(carts).await, "/redis?carts", "execute KEYS *").await;
    assert!(refused.contains("no `execute`"), "{refused}");
}

/// The older kit, granted a key-value store.
async fn kit_with_carts(carts: Store) -> Arc<Workload> {
    kit(KITS[0], |definition| {
        definition.stores.kv.insert("carts".into(), carts);
        definition.grants.kv.insert("carts".into(), KvGrant::default());
    })
    .await
}

#[tokio::test]
async fn an_address_is_the_store_of_that_server() {
    for guest in KITS {
        let server = store("redis-db-example-6379").await;
        let kit = kit(guest, |definition| {
            definition.stores.kv.insert("redis-db-example-6379".into(), server);
            definition.grants.kv.insert("redis-db-example-6379".into(), KvGrant::default());
        })
        .await;
        let answer = post(&kit, "/redis?redis://user:hunter2@db.example:6379/1", "incr n").await;
        assert_eq!(answer, "200 1", "{guest}");
        assert!(post(&kit, "/redis?redis://other.example:6379", "incr n").await.starts_with("500 "), "{guest}");
    }
}

#[tokio::test]
async fn redis_without_a_grant_says_which_one_it_takes() {
    for guest in KITS {
        let bare = kit(guest, |_| {}).await;
        for (address, said) in [
            ("redis://user:hunter2@db.example:6379/0", "by its address"),
            ("carts", "kv = [\\\"carts\\\"]"),
            (&"x".repeat(64), "by its address"),
        ] {
            let answer = post(&bare, &format!("/redis?{address}"), "get a").await;
            assert!(answer.starts_with("500 ") && answer.contains(said), "{guest}: {answer}");
            assert!(!answer.contains("hunter2"), "{guest}: {answer}");
        }
        assert_eq!(grants(&bare), ["kv = [\"NAME\"]", "kv = [\"carts\"]"], "{guest}");
    }
    // A bus alone can be opened, and has no keys.
    let bus = messaging::open("memory:", &Default::default()).await.unwrap();
    let bus = messaging::Store::new("events", &Tenant::default(), bus);
    for guest in KITS {
        let kit = kit(guest, |definition| {
            definition.stores.messaging.insert("events".into(), bus.clone());
            let publish = MessagingGrant { publish: patterns(&[">"]), subscribe: Vec::new() };
            definition.grants.messaging.insert("events".into(), publish);
        })
        .await;
        let answer = post(&kit, "/redis?events", "publish orders apple\nget a").await;
        assert!(answer.starts_with("200 OK\nerror ") && answer.contains("kv = [\\\"events\\\"]"), "{guest}: {answer}");
    }
}

#[tokio::test]
async fn connections_to_redis_are_handles_with_a_bound() {
    let carts = store("carts").await;
    for guest in KITS {
        let kit = kit(guest, |definition| {
            definition.stores.kv.insert("carts".into(), carts.clone());
            definition.grants.kv.insert("carts".into(), KvGrant::default());
            definition.limits.handles = 64;
        })
        .await;
        // Whichever is met first: the table's bound or the engine's, which is the same number of other handles too.
        let answer = get(&kit, "/redis-many?carts").await;
        assert!(answer.contains("TooManyConnections") || answer == "fault guest", "{guest}: {answer}");
    }
}

#[tokio::test]
async fn what_has_no_provider_says_what_to_use_instead() {
    for guest in KITS {
        let bare = kit(guest, |_| {}).await;
        for (path, said) in [
            ("/mysql?mysql://root:hunter2@db.example/shop", "unsupported: this host has no provider of a MySQL server"),
            ("/mqtt?mqtt://db.example:1883?client_id=1", "unsupported: this host has no provider of an MQTT broker"),
            ("/llm", "unsupported: this host has no provider of a language model"),
            ("/embeddings", "unsupported: this host has no provider of a language model"),
        ] {
            let answer = post(&bare, path, "select 1").await;
            assert!(answer.starts_with("500 ") && answer.contains(said), "{guest} {path}: {answer}");
            assert!(!answer.contains("hunter2"), "{guest} {path}: {answer}");
        }
        let expected = ["sql = [\"NAME\"]", "messaging = { publish = [\"SUBJECT\"] }", "http = [\"https://HOST\"]"];
        assert_eq!(grants(&bare), expected, "{guest}");
    }
}
