//! Passwords that a store's settings name in place of its URL: taken by real servers, refused where they are written out,
//! and never told.

use std::fs;

use samara_capability::{kv, sql};
use samara_model::Tenant;

use crate::servers::{PASSWORD, Server, USER};

/// What opens a store of one kind; the error as people and as programmers read it.
async fn open(kind: &str, url: &str, settings: &str) -> Result<(), String> {
    let settings = settings.parse().unwrap();
    let refused = |told: String, debugged: String| format!("{told} {debugged}");
    match kind {
        "kv" => match kv::open(url, &settings, &kv::NoWorkloads).await {
            Ok(store) => store.get("k").await.map(drop).map_err(|error| error.to_string()),
            Err(error) => Err(refused(error.to_string(), format!("{error:?}"))),
        },
        _ => match sql::open(url, &settings, &sql::Share::of(&Tenant::default())).await {
            Ok(store) => {
                let debugged = format!("{store:?}");
                assert!(!debugged.contains(PASSWORD), "{debugged}");
                Ok(())
            }
            Err(error) => Err(refused(error.to_string(), format!("{error:?}"))),
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_named_and_not_written() {
    let (redis, postgres) = (Server::redis_with_password(), Server::postgres());
    let of_postgres = postgres.url_as(USER, "").replace(":@", "@");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    fs::write(folder.path().join("wrong"), "hunter2").unwrap();
    let path = folder.path().display();
    let user = "user = 'default'\n";
    for (kind, url, others) in [("kv", redis.url(), ""), ("kv", redis.url(), user), ("sql", of_postgres, "")] {
        for right in [format!("password = 'file:{path}/password'"), format!("password = 'dir:{path}'")] {
            open(kind, &url, &format!("{others}{right}")).await.unwrap();
        }
        for (wrong, says) in [
            (format!("password = 'file:{path}/wrong'"), "password"),
            (format!("password = 'file:{path}/none'"), "none` cannot be read"),
            ("password = 'hunter2'".to_owned(), "`password`: this does not say where to read; write `env:NAME`"),
            ("password = ['hunter2']".to_owned(), "`password`: this is no text"),
        ] {
            let told = open(kind, &url, &format!("{others}{wrong}")).await.unwrap_err();
            assert!(told.contains(says) && !told.contains("hunter2") && !told.contains(PASSWORD), "{told}");
        }
    }
}
