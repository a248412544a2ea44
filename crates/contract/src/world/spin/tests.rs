//! Components built with the Spin SDK 3 (a core module that becomes a component, `fermyon:spin@2.0.0`) and 7 (async,
//! `spin:*@3.0.0`), beside each other on one store.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use samara_capability::{
    kv::{NoWorkloads, Store, open},
    sql,
};
use samara_model::{Capability, KvGrant, KvOperation, Shape, SqlGrant, Tenant, full};
use samara_runtime::{Definition, Workload};

use crate::testing::{get, http, load, request};

const KITS: [&str; 2] = ["wasi_http/spin3-kit", "wasi_http/spin7-kit"];

async fn store(name: &str) -> Store {
    let backend = open("memory:", &Default::default(), &NoWorkloads).await.unwrap();
    Store::new(name, &Tenant::default(), backend).await.unwrap()
}

async fn kit(guest: &str, change: impl FnOnce(&mut Definition)) -> Arc<Workload> {
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
