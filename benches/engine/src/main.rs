//! What one call costs without a socket: the engine with its authors' defaults, the engine as Samara sets it up, and a whole
//! `Runtime::call` with admission, limits and accounting. Medians over batches, in one process, in turn.

use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    sync::{Arc, Barrier},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use http_body_util::BodyExt as _;
use samara_model::{
    Call, Caller, Compile, Encoding, Function, Grants, HttpCall, Limits, Reply, Shape, Tenant, WorkloadId, empty,
};
use samara_runtime::{
    CodeKind, Compiler, CompilerSettings, Definition, EngineKey, Engines, PoolSize, Runtime, Workload, to_anyhow,
};
use samara_telemetry::{Gauge, Metrics};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig, Store,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Calls in a batch, and batches: the median batch counts.
const CALLS: u32 = 2_000;
const BATCHES: usize = 31;

fn main() -> anyhow::Result<()> {
    let add = guest("function/add/add.wasm")?;
    let hello = guest("wasi_http/http-hello/http-hello.wasm")?;
    println!("microseconds a call, median of {BATCHES} batches of {CALLS}; create, call, drop");
    println!("{:<58} {:>9} {:>12} {:>7}", "", "1 thread", "2 threads", "ratio");
    let defaults = Arc::new(Core::new(&defaults()?, &add)?);
    report("core module, the engine with its defaults, pooled", move || {
        let core = Arc::clone(&defaults);
        async move { core.call().await }
    })?;
    let key = EngineKey { code: CodeKind::default(), pooled: true };
    let ours = Engines::new(PoolSize::of_this_machine(None), Gauge::default()).get(key)?.engine.clone();
    let ours = Arc::new(Core::new(&ours, &add)?);
    report("core module, the engine as Samara sets it up", move || {
        let core = Arc::clone(&ours);
        async move { core.call().await }
    })?;
    let host = Host::new();
    let function = host.load("add", &add, Shape::Function)?;
    let of = host.clone();
    report("core module, Runtime::call", move || {
        let (host, workload) = (of.clone(), Arc::clone(&function));
        async move { host.add(&workload).await }
    })?;
    let http = host.load("hello", &hello, Shape::Http)?;
    let of = host.clone();
    report("wasi:http hello, Runtime::call and the whole body", move || {
        let (host, workload) = (of.clone(), Arc::clone(&http));
        async move { host.get(&workload).await }
    })?;
    drop(host);
    println!("\nmilliseconds");
    let first = first_answer("hello", &hello)?;
    println!(
        "{:<58} {:>9.2}",
        "wasi:http hello of 66 KB in the cache, load and first answer",
        first.as_secs_f64() * 1e3
    );
    println!("\nKiB an instance");
    println!("{:<58} {:>9.1}", "10,000 idle instances of a core module, each called once", idle_kib(&add)?);
    Ok(())
}

/// From asking for a module that the code cache holds to its first answer, in a running host: the median of some loads.
fn first_answer(name: &str, bytes: &[u8]) -> anyhow::Result<Duration> {
    const LOADS: usize = 21;
    let folder = std::env::temp_dir().join(format!("samara-bench-cache-{}", std::process::id()));
    let cache = samara_runtime::CodeCache::open(&folder)?;
    let host = Host::with(PoolSize::of_this_machine(None), Some(cache));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut times = Vec::new();
    for _ in 0..=LOADS {
        let began = Instant::now();
        runtime.block_on(async {
            let workload = host.load_now(name, bytes, Shape::Http, 64).await?;
            host.get(&workload).await
        })?;
        times.push(began.elapsed());
    }
    std::fs::remove_dir_all(&folder)?;
    // The first of them compiled.
    times.remove(0);
    times.sort_unstable();
    Ok(times[LOADS / 2])
}

/// What an instance that waits for its next call holds, in KiB of memory that is no file's.
fn idle_kib(bytes: &[u8]) -> anyhow::Result<f64> {
    const INSTANCES: u32 = 10_000;
    let host = Host::with(PoolSize::small(INSTANCES + 1), None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let workload = host.load_now("idle", bytes, Shape::Function, INSTANCES).await?;
        host.add(&workload).await?;
        let before = anonymous_bytes()?;
        // All are asked for before the first guest's task runs, so that none finds another's instance idle.
        let mut calls: Vec<_> = (0..INSTANCES).map(|_| Box::pin(host.add(&workload))).collect();
        std::future::poll_fn(|context| {
            Poll::Ready(calls.iter_mut().all(|call| call.as_mut().poll(context).is_pending()))
        })
        .await
        .then_some(())
        .context("a call ended before its guest ran")?;
        for call in calls {
            call.await?;
        }
        let kept = workload.kept_instances();
        ensure!(kept >= INSTANCES as usize - 1, "only {kept} instances are kept");
        Ok((anonymous_bytes()?.saturating_sub(before)) as f64 / 1024.0 / kept as f64)
    })
}

fn anonymous_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no resident size")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn guest(path: &str) -> anyhow::Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests").join(path);
    std::fs::read(&path).with_context(|| format!("reading `{}`", path.display()))
}

/// Measures on one thread and on two at once, each with an async runtime of its own.
fn report<F, C>(name: &str, call: F) -> anyhow::Result<()>
where
    F: Fn() -> C + Send + Clone + 'static,
    C: Future<Output = anyhow::Result<()>>,
{
    let one = rate(1, &call)?;
    let two = rate(2, &call)?;
    println!(
        "{name:<58} {:>9.2} {:>9.2} each {:>7.2}",
        micros(one),
        micros(two),
        2.0 * one.as_secs_f64() / two.as_secs_f64()
    );
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The median time of one call on each of so many threads at once; the slowest thread counts.
fn rate<F, C>(threads: usize, call: &F) -> anyhow::Result<Duration>
where
    F: Fn() -> C + Send + Clone + 'static,
    C: Future<Output = anyhow::Result<()>>,
{
    let start = Arc::new(Barrier::new(threads));
    let running: Vec<_> = (0..threads)
        .map(|_| {
            let (start, call) = (Arc::clone(&start), call.clone());
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                start.wait();
                runtime.block_on(batches(&call))
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for thread in running {
        slowest = slowest.max(thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
    }
    Ok(slowest)
}

async fn batches<F, C>(call: &F) -> anyhow::Result<Duration>
where
    F: Fn() -> C,
    C: Future<Output = anyhow::Result<()>>,
{
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let began = Instant::now();
        for _ in 0..CALLS {
            call().await?;
        }
        times.push(began.elapsed() / CALLS);
    }
    times.sort_unstable();
    Ok(times[BATCHES / 2])
}

/// The engine with a pool and nothing else set.
fn defaults() -> anyhow::Result<Engine> {
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::new()));
    Engine::new(&config).map_err(to_anyhow)
}

/// A core module on a bare engine.
struct Core {
    engine: Engine,
    module: InstancePre<()>,
}

impl Core {
    fn new(engine: &Engine, bytes: &[u8]) -> anyhow::Result<Self> {
        let module = Module::new(engine, bytes).map_err(to_anyhow)?;
        let module = Linker::new(engine).instantiate_pre(&module).map_err(to_anyhow)?;
        Ok(Self { engine: engine.clone(), module })
    }

    async fn call(&self) -> anyhow::Result<()> {
        let mut store = Store::new(&self.engine, ());
        // Code that checks an epoch would stop at once; it never moves here.
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.module.instantiate_async(&mut store).await.map_err(to_anyhow)?;
        let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add").map_err(to_anyhow)?;
        let sum = add.call_async(&mut store, (1, 2)).await.map_err(to_anyhow)?;
        ensure!(sum == 3, "1 + 2 = {sum}");
        Ok(())
    }
}

/// Samara without a surface.
#[derive(Clone)]
struct Host {
    runtime: Arc<Runtime>,
}

impl Host {
    fn new() -> Self {
        Self::with(PoolSize::of_this_machine(None), None)
    }

    fn with(size: PoolSize, cache: Option<samara_runtime::CodeCache>) -> Self {
        let compiler = Compiler::new(CompilerSettings { cache, ..CompilerSettings::default() });
        Self { runtime: Arc::new(Runtime::new(samara_contract::ALL, size, compiler, Metrics::new())) }
    }

    fn load(&self, name: &str, bytes: &[u8], shape: Shape) -> anyhow::Result<Arc<Workload>> {
        let loading = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        loading.block_on(self.load_now(name, bytes, shape, 0))
    }

    /// Loads with instances kept for another call, if `kept` is more than none.
    async fn load_now(&self, name: &str, bytes: &[u8], shape: Shape, kept: u32) -> anyhow::Result<Arc<Workload>> {
        let mut limits = Limits::serve();
        limits.concurrency = limits.concurrency.max(kept);
        limits.queue = limits.queue.max(kept);
        let definition = Definition {
            id: WorkloadId { tenant: Tenant::default(), app: "bench".into(), name: name.into() },
            bytes: bytes.to_vec().into(),
            contract: None,
            shapes: vec![shape],
            grants: Grants::default(),
            limits,
            strict: false,
            features: Some(Vec::new()),
            reuse: if kept > 0 { 1_000 } else { 0 },
            compile: Compile::Optimized,
            settings: serde_json::Value::Null,
            stores: BTreeMap::new(),
        };
        self.runtime.load(definition).await.map_err(|fault| anyhow::anyhow!("{name}: {fault}"))
    }

    async fn add(&self, workload: &Arc<Workload>) -> anyhow::Result<()> {
        let call = Function { operation: "add".to_owned(), payload: "[1,2]".into(), encoding: Encoding::Json };
        match self.runtime.call(workload, Call::Function(call)).await {
            Ok(Reply::Bytes(sum)) if sum == "3" => Ok(()),
            other => anyhow::bail!("1 + 2 = {other:?}"),
        }
    }

    async fn get(&self, workload: &Arc<Workload>) -> anyhow::Result<()> {
        let call = Call::Http(HttpCall {
            request: http::Request::get("http://bench.test/").body(empty())?,
            caller: Caller::default(),
            route: "/*rest".into(),
            params: Vec::new(),
        });
        let Ok(Reply::Http(response)) = self.runtime.call(workload, call).await else {
            anyhow::bail!("no HTTP reply");
        };
        let body = response.into_body().collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
        ensure!(body == "Hello, WASI!", "it answered {body:?}");
        Ok(())
    }
}
