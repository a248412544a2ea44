//! `BEGIN` and `COMMIT` as statements of a guest's connection to SQLite, by the kits of both SDKs.

use std::{path::Path, sync::Arc, time::Duration};

use samara_capability::sql;
use samara_model::{SqlGrant, Tenant};
use samara_runtime::{Definition, Workload};

use super::tests::{KITS, kit, post};

async fn orders(folder: &Path) -> sql::Store {
    let url = format!("sqlite:{}", folder.join("orders.db").display());
    sql::Store::open("orders", &Tenant::default(), &url, &Default::default()).await.unwrap()
}

async fn kit_with_orders(guest: &str, orders: &sql::Store, change: impl FnOnce(&mut Definition)) -> Arc<Workload> {
    kit(guest, |definition| {
        definition.stores.sql.insert("orders".into(), orders.clone());
        definition.grants.sql.insert("orders".into(), SqlGrant::default());
        change(definition);
    })
    .await
}

#[tokio::test]
async fn a_connection_has_a_transaction_that_ends_with_it() {
    for guest in KITS {
        let folder = tempfile::tempdir().unwrap();
        let orders = orders(folder.path()).await;
        let kit = kit_with_orders(guest, &orders, |_| {}).await;
        let other = kit_with_orders(KITS[0], &orders, |_| {}).await;
        let made = post(&kit, "/session/orders", "CREATE TABLE t (n INTEGER)\nINSERT INTO t VALUES (1)").await;
        assert!(made.starts_with("200 "), "{guest}: {made}");
        let count = async || post(&other, "/session/orders", "SELECT count(*) AS n FROM t").await;

        let answer = post(
            &kit,
            "/session/orders",
            "BEGIN\nINSERT INTO t VALUES (2)\nSELECT count(*) AS n FROM t\nCOMMIT\nSELECT count(*) AS n FROM t",
        )
        .await;
        assert!(!answer.contains("error") && answer.ends_with("n\n2"), "{guest}: {answer}");
        assert_eq!(count().await, "200 n\n2", "{guest}: it was committed");

        let answer = post(&kit, "/session/orders", "BEGIN\nDELETE FROM t\nROLLBACK\nSELECT count(*) AS n FROM t").await;
        assert!(answer.ends_with("n\n2"), "{guest}: {answer}");

        let answer = post(&kit, "/session/orders", "BEGIN\nDELETE FROM t\nSELECT count(*) AS n FROM t").await;
        assert!(answer.ends_with("n\n0"), "{guest}: {answer}");
        assert_eq!(count().await, "200 n\n2", "{guest}: a guest that ends in a transaction rolls it back");
        let written = post(&other, "/session/orders", "INSERT INTO t VALUES (3)").await;
        assert!(!written.contains("error"), "{guest}: nobody holds the lock: {written}");

        for (statements, said) in [
            ("COMMIT", "there is no transaction"),
            ("BEGIN\nBEGIN", "there is a transaction already"),
            ("BEGIN; DELETE FROM t; COMMIT", "says nothing else"),
        ] {
            let answer = post(&kit, "/session/orders", statements).await;
            assert!(answer.contains("error") && answer.contains(said), "{guest} {statements}: {answer}");
        }
        assert_eq!(count().await, "200 n\n3", "{guest}");
    }
}

#[tokio::test]
async fn open_transactions_of_a_workload_have_a_bound() {
    for guest in KITS {
        let folder = tempfile::tempdir().unwrap();
        let orders = orders(folder.path()).await;
        let kit = kit_with_orders(guest, &orders, |definition| {
            definition.limits.sql_open = 1;
            definition.limits.sql_time = Duration::from_millis(200);
        })
        .await;
        // The second connection asks for a place of its own, which the first has taken.
        let answer = post(&kit, "/sessions/orders", "BEGIN").await;
        assert!(answer.contains("more than `1` transactions and unread answers"), "{guest}: {answer}");
        let after = post(&kit, "/session/orders", "BEGIN\nCOMMIT").await;
        assert!(!after.contains("error"), "{guest}: {after}");
    }
}
