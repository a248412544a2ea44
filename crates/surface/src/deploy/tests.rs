//! Changes that meet: of one app by several, and of stores by several tenants.

use std::{path::Path, sync::Arc};

use samara_model::{
    AppId, Tenant,
    manifest::{App, Host},
};
use samara_runtime::{Compiler, CompilerSettings, PoolSize, Runtime, Worker};
use samara_telemetry::Metrics;

use super::{
    Deployment, Put, Refused,
    stores::{Address, Place},
};

fn deployment() -> Arc<Deployment> {
    let settings = CompilerSettings { cache: None, worker: Worker::InProcess, ..CompilerSettings::default() };
    let runtime = Runtime::new(&[], PoolSize::small(1), Compiler::new(settings), Metrics::new());
    Arc::new(Deployment::new(Arc::new(runtime), Host::default(), |_| {}))
}

/// An app that is a folder, with something to tell its versions apart.
fn app(folder: &Path, version: &str) -> App {
    let text = format!(
        "app = {{ name = \"shop\", version = \"{version}\" }}\nworkload.page.files = {folder:?}\ntrigger = [{{ http = {{ path = \"/\" }}, fn = \"page\" }}]"
    );
    App::parse(&text, Path::new("samara.toml")).unwrap_or_else(|errors| panic!("{errors}"))
}

#[tokio::test]
async fn what_an_operator_did_meanwhile_is_not_undone() {
    let (deployment, folder) = (deployment(), tempfile::tempdir().unwrap());
    let id = AppId::new("default", "shop").unwrap();
    let serving = || {
        let found = deployment.app(&id)?;
        found.versions.last().cloned()
    };
    assert_eq!(deployment.put(app(folder.path(), "1"), None).await.unwrap(), Put::Created);
    let first = serving().unwrap();
    assert_eq!(deployment.renew(&first).await.unwrap(), Put::Unchanged, "and it may be renewed while it serves");

    assert_eq!(deployment.put(app(folder.path(), "2"), None).await.unwrap(), Put::Replaced);
    let refused = deployment.renew(&first).await.unwrap_err();
    assert!(matches!(refused, Refused::Conflict(_)), "{refused}");
    let found = deployment.app(&id).unwrap();
    assert!(found.refused.is_none(), "{:?}", found.refused);
    let second = serving().unwrap();
    assert_eq!(second.app.version.as_deref(), Some("2"));

    deployment.remove(&id).unwrap();
    let refused = deployment.renew(&second).await.unwrap_err();
    assert!(matches!(refused, Refused::Conflict(_)), "{refused}");
    assert!(deployment.apps().is_empty(), "it is as gone as before");
}

#[test]
fn who_asks_a_server_as_somebody_else_has_another_connection() {
    let address = |tenant: &str, provider: &str, settings: &str| {
        let place = Place { provider: provider.to_owned(), settings: settings.parse().unwrap() };
        Address::of(&Tenant::new(tenant).unwrap(), "carts", &place)
    };
    let (a, b) = ("password = 'env:A'", "password = 'env:B'");
    assert!(address("one", "redis://cache", a) == address("two", "redis://cache", a));
    assert!(address("one", "redis://cache", a) != address("two", "redis://cache", b));
    assert!(address("one", "redis://cache", a) != address("one", "redis://cache", ""));
    assert!(
        address("one", "s3:bucket", "region = 'a'\nuser = 'b'")
            == address("one", "s3:bucket", "user = 'b'\nregion = 'a'")
    );
    // A file is locked by whoever has it open: everybody shares that one, each under its own prefix.
    assert!(address("one", "redb:/data/carts.redb", "") == address("two", "redb:/data/./carts.redb", "cache = '1MiB'"));
    assert!(address("one", "memory", "") != address("two", "memory", ""));
    assert!(address("one", "memory:", "") == address("one", "memory", ""));
}
