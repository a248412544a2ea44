//! A store's name is made to lead elsewhere while many count through it: no call fails, and each is found where it was
//! answered.

use std::{sync::Arc, time::Duration};

use samara_capability::{
    Unrecorded,
    kv::{KeyValue, Store, copy},
};
use samara_model::{KvGrant, Limits, Tenant};

use super::{PATIENT, opened};

const TASKS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_a_store_moves_from_backend_to_backend() {
    let folder = tempfile::tempdir().unwrap();
    let mut backends = vec![
        opened("memory:", "").await.unwrap(),
        opened(&format!("redb:{}/store.redb", folder.path().display()), PATIENT).await.unwrap(),
    ];
    #[cfg(feature = "external-tests")]
    let servers = [crate::servers::Server::redis(), crate::servers::Server::nats()];
    #[cfg(feature = "external-tests")]
    for server in &servers {
        backends.push(opened(&server.url(), PATIENT).await.unwrap());
    }

    let store = Store::new("carts", &Tenant::default(), backends[0].clone()).await.unwrap();
    let lent = store.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
    let (end, ended) = tokio::sync::watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (lent, ended) = (lent.clone(), ended.clone());
        tasks.spawn(async move {
            let mut counted = 0_u64;
            while !*ended.borrow() {
                lent.increment("count", 1).await.unwrap();
                lent.set(&format!("seen-{task}"), counted.to_string().into()).await.unwrap();
                counted += 1;
                tokio::task::yield_now().await;
            }
            counted
        });
    }
    for round in 0..3 * backends.len() {
        let next = &backends[(round + 1) % backends.len()];
        // Not before somebody has counted on this one.
        let here = store.link().get();
        while !here.exists("default:count").await.unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        store.link().set(next.clone());
    }
    end.send(true).unwrap();
    let mut counted = 0;
    while let Some(task) = tasks.join_next().await {
        counted += task.unwrap();
    }
    let mut found = 0;
    for backend in &backends {
        let count = backend.get("default:count").await.unwrap().expect("each was counted on");
        found += String::from_utf8_lossy(&count).parse::<u64>().unwrap();
    }
    assert_eq!(found, counted, "every answered increment is on the store that answered it");

    // And a store that is copied first has all of it.
    let (from, to) = (&backends[1], opened("memory:", "").await.unwrap());
    let copied = copy(&**from, &*to, "default:", &|_| ()).await.unwrap();
    assert_eq!(copied.bytes, to.usage("default:").await.unwrap().bytes);
    store.link().set(to.clone());
    store.measure().await.unwrap();
    assert_eq!(store.bytes(), lent.usage("").await.unwrap().bytes);
}
