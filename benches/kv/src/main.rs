//! What a key-value operation costs through Samara, beside the same operation by the native client: `memory:`, `redis://`
//! with 32 requests in flight, and `redb:` with one writer and with many, who share the syncs of the disk.
//!
//! The ways of one table are measured in turn, several rounds; the medians count. It starts a `redis-server` of its own on
//! loopback. `--json FILE` keeps the figures, `--only redis` measures one kind.

use std::{
    collections::BTreeMap,
    hint::black_box,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use samara_capability::{
    Unrecorded,
    kv::{Granted, KeyValue, NoWorkloads, Store, open},
};
use samara_model::{KvGrant, Limits, Tenant};

mod measure;
mod report;

use measure::compare;
use report::Table;

/// Requests under way at once on a server.
const IN_FLIGHT: usize = 32;

/// Keys that are read and written.
const KEYS: usize = 10_000;

const VALUE: [u8; 100] = [b'v'; 100];

/// What a set is in Redis, as the provider has to do it: the value, the index of keys, whoever watches, and the length of what
/// was there, in one step.
const SAME_SET: &str = r"
local before = redis.call('STRLEN', KEYS[2])
if before == 0 and redis.call('EXISTS', KEYS[2]) == 0 then before = -1 end
if before < 0 then redis.call('ZADD', KEYS[1], 0, KEYS[2]) end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('PUBLISH', ARGV[1], '+' .. KEYS[2])
return {before}
";

fn main() -> anyhow::Result<()> {
    let (mut file, mut only) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next();
        match (option.as_str(), value) {
            ("--json", Some(value)) => file = Some(value),
            ("--only", Some(value)) => only = Some(value),
            _ => anyhow::bail!("the options are `--json FILE` and `--only memory|redis|redb`"),
        }
    }
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let load = report::load();
    println!("median of {} rounds in turn, {KEYS} keys, values of {} bytes, load {load}", measure::ROUNDS, VALUE.len());
    let tables = runtime.block_on(async {
        let mut tables = Vec::new();
        if wanted("memory") {
            tables.extend(memory().await?);
        }
        if wanted("redis") {
            tables.extend(redis().await?);
        }
        if wanted("redb") {
            tables.extend(redb().await?);
        }
        anyhow::Ok(tables)
    })?;
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(&report::to_json(&load, &tables))? + "\n";
        std::fs::write(&file, text).with_context(|| format!("writing `{file}`"))?;
    }
    Ok(())
}

/// A key as a workload knows it.
fn own(number: usize) -> String {
    format!("key-{}", number % KEYS)
}

/// A key as a tenant's share writes it.
fn key(number: usize) -> String {
    format!("bench:key-{}", number % KEYS)
}

async fn opened(url: &str) -> anyhow::Result<Arc<dyn KeyValue>> {
    Ok(open(url, &toml::Table::new(), &NoWorkloads).await?)
}

/// A store as a workload has it, filled.
async fn lent(backend: &Arc<dyn KeyValue>) -> anyhow::Result<Granted> {
    let store = Store::new("bench", &Tenant::new("bench")?, backend.clone()).await?;
    let lent = store.grant(KvGrant::default(), &Limits::serve(), Arc::new(Unrecorded));
    for first in (0..KEYS).step_by(1000) {
        let entries = (first..first + 1000).map(|number| (own(number), Bytes::from_static(&VALUE))).collect();
        lent.set_many(entries).await.into_iter().try_for_each(|set| set.map(drop))?;
    }
    Ok(lent)
}

async fn memory() -> anyhow::Result<Vec<Table>> {
    let native: Arc<RwLock<BTreeMap<String, Bytes>>> = Arc::default();
    let bare = opened("memory:").await?;
    let granted = lent(&bare).await?;
    for number in 0..KEYS {
        native.write().unwrap().insert(key(number), Bytes::from_static(&VALUE));
    }
    let get = compare!("memory, get, one at a time", 1,
        "a map behind a lock", 200_000, native => |map, n| {
            black_box(map.read().unwrap().get(&key(n)).cloned());
        };
        "memory:", 200_000, bare => |store, n| { black_box(store.get(&key(n)).await.unwrap()); };
        "memory:, as a workload", 200_000, granted => |store, n| { black_box(store.get(&own(n)).await.unwrap()); };
    );
    let set = compare!("memory, set, one at a time", 1,
        "a map behind a lock", 200_000, native => |map, n| {
            map.write().unwrap().insert(key(n), Bytes::copy_from_slice(&VALUE));
        };
        "memory:", 200_000, bare => |store, n| { store.set(&key(n), Bytes::from_static(&VALUE)).await.unwrap(); };
        "memory:, as a workload", 200_000, granted => |store, n| {
            store.set(&own(n), Bytes::from_static(&VALUE)).await.unwrap();
        };
    );
    Ok(vec![get, set])
}

/// A server that ends with its value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn redis() -> anyhow::Result<Vec<Table>> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .spawn()
        .context("`redis-server` does not start; `apt-get install redis-server`")?;
    let _server = Server(server);
    let url = format!("redis://127.0.0.1:{port}");
    let client = redis::Client::open(url.as_str())?;
    let connecting = async {
        loop {
            match redis::aio::ConnectionManager::new(client.clone()).await {
                Ok(connected) => return connected,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let native = tokio::time::timeout(Duration::from_secs(10), connecting).await.context("`redis-server` is late")?;
    let bare = opened(&url).await?;
    let granted = lent(&bare).await?;
    let script = (native.clone(), Arc::new(redis::Script::new(SAME_SET)));
    let get = compare!("redis, get, 32 in flight", IN_FLIGHT,
        "the native client", 60_000, native => |client, n| {
            let value: Option<Bytes> = redis::cmd("GET").arg(key(n)).query_async(&mut client).await.unwrap();
            black_box(value);
        };
        "redis://", 60_000, bare => |store, n| { black_box(store.get(&key(n)).await.unwrap()); };
        "redis://, as a workload", 60_000, granted => |store, n| { black_box(store.get(&own(n)).await.unwrap()); };
    );
    let set = compare!("redis, set, 32 in flight", IN_FLIGHT,
        "the native client, the same in a script", 60_000, script => |script, n| {
            let (client, script) = &mut script;
            let mut call = script.prepare_invoke();
            call.key("bench-index").key(key(n)).arg("bench-changes").arg(&VALUE);
            let _: Vec<i64> = call.invoke_async(client).await.unwrap();
        };
        "redis://", 60_000, bare => |store, n| { store.set(&key(n), Bytes::from_static(&VALUE)).await.unwrap(); };
        "redis://, as a workload", 60_000, granted => |store, n| {
            store.set(&own(n), Bytes::from_static(&VALUE)).await.unwrap();
        };
        "the native client, a plain SET", 60_000, native => |client, n| {
            let _: () = redis::cmd("SET").arg(key(n)).arg(&VALUE).query_async(&mut client).await.unwrap();
        };
    );
    Ok(vec![get, set])
}

const TABLE: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("entries");

/// One write of the library and its sync, which others wait for.
fn commit(database: &redb::Database, key: &str) {
    tokio::task::block_in_place(|| {
        let write = database.begin_write().unwrap();
        write.open_table(TABLE).unwrap().insert(key, &VALUE[..]).unwrap();
        write.commit().unwrap();
    });
}

async fn redb() -> anyhow::Result<Vec<Table>> {
    let folder = tempfile::tempdir()?;
    let native = Arc::new(redb::Database::create(folder.path().join("native.redb"))?);
    let write = native.begin_write()?;
    for number in 0..KEYS {
        write.open_table(TABLE)?.insert(&*key(number), &VALUE[..])?;
    }
    write.commit()?;
    let bare = opened(&format!("redb:{}", folder.path().join("ours.redb").display())).await?;
    let granted = lent(&bare).await?;
    let mut tables = Vec::new();
    for (scenario, writers, ours) in [
        ("redb, set, synced before it is answered, 1 writer", 1, 200),
        ("redb, set, synced before it is answered, 32 writers", 32, 3200),
        ("redb, set, synced before it is answered, 256 writers", 256, 12_800),
    ] {
        tables.push(compare!(scenario, writers,
            "the library, a sync for each", 200, native => |database, n| { commit(&database, &key(n)); };
            "redb:, as a workload", ours, granted => |store, n| {
                store.set(&own(n), Bytes::from_static(&VALUE)).await.unwrap();
            };
        ));
    }
    tables.push(compare!("redb, get, 32 at once", IN_FLIGHT,
        "the library", 40_000, native => |database, n| {
            use redb::ReadableDatabase as _;
            let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
            black_box(table.get(&*key(n)).unwrap().map(|value| Bytes::copy_from_slice(value.value())));
        };
        "redb:, as a workload", 40_000, granted => |store, n| { black_box(store.get(&own(n)).await.unwrap()); };
    ));
    Ok(tables)
}
