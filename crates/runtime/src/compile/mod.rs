//! From verified WebAssembly to code that an engine can run: the cache, then a compiler in a process of its own.
//!
//! Read in this order: [`Compiler::code`] here; `cache.rs`, `entry.rs` and `facts.rs` for what is on disk and why it is trusted;
//! `spawn.rs` and `worker.rs` for the two sides of a compilation; `code.rs` for the two `unsafe` calls.
//!
//! Compiling the same module many times at once is one compilation: the first to ask starts it, the others wait for
//! the same future, and whoever is still waiting drives it on when the first goes away. Nothing is remembered after
//! that: success is in the cache, and a failure may have been the machine's bad day.

mod cache;
mod code;
mod entry;
mod facts;
mod order;
mod spawn;
mod sweep;
mod worker;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    ffi::OsString,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use samara_inspect::{CompileEstimate, ComponentizeError, Encoding, Module, ReadError, Report};
use samara_model::{Fault, format_bytes, format_duration};
use samara_telemetry::HostMetrics;
use tokio::sync::Semaphore;

pub use cache::{CodeCache, DEFAULT_CACHE_BYTES};
pub use code::Code;
pub use sweep::{CacheEntry, Removed};
pub use worker::run_worker;

use crate::EngineHandle;
use code::{Artifact, CodeId, Compiled, EngineHash, hex, unhex};
use facts::Facts;
use order::Order;
use worker::Refusal;

/// How far an estimate must be over a limit before it is believed without trying. Estimates are rough; limits hold.
const CERTAIN: u32 = 4;

/// Bytes of an artifact from which reading it takes a thread of its own: a smaller one is read in less than a millisecond.
const LARGE_BYTES: usize = 256 << 10;

/// What one compilation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time, summed over the compiler's threads; rounded up to seconds.
    pub cpu: Duration,
    /// Private memory of the compiler.
    pub memory_bytes: u64,
    /// Time from its start to its end.
    pub wall: Duration,
    /// Bytes of the code it writes.
    pub output_bytes: u64,
    /// Compilations at the same time; others wait for their turn.
    pub at_once: usize,
}

impl Default for CompileLimits {
    /// Several times what the largest guests in use take: a Python component of 21 MiB took 14 s and 460 MiB in an
    /// unoptimised build. A busy machine may need far longer than the processor time for the same work.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cpu: Duration::from_secs(60),
            memory_bytes: 2 << 30,
            wall: Duration::from_secs(300),
            output_bytes: 1 << 30,
            at_once: cores.min(8),
        }
    }
}

/// Where compilations happen.
#[derive(Clone, Debug, Default)]
pub enum Worker {
    /// In a process of its own, which must do nothing but [`run_worker`].
    Child {
        /// The program: normally this one.
        program: PathBuf,
        /// What makes it a worker.
        args: Vec<OsString>,
    },
    /// In this process, without limits: for tests and for guests that are trusted.
    #[default]
    InProcess,
}

impl Worker {
    /// This very program with these arguments, even after the file it was started from was replaced.
    pub fn this_program(args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let program = PathBuf::from("/proc/self/exe");
        Self::Child { program, args: args.into_iter().map(Into::into).collect() }
    }
}

/// What a [`Compiler`] is made of. The default keeps nothing and compiles in this process.
#[derive(Debug, Default)]
pub struct CompilerSettings {
    /// Where code is kept; `None` compiles on every load.
    pub cache: Option<CodeCache>,
    /// Where compilations happen.
    pub worker: Worker,
    /// What each of them may take.
    pub limits: CompileLimits,
    /// The metrics of the process, if compilations are to be counted there.
    pub metrics: Option<HostMetrics>,
}

/// What a compiler has done since it was made. Each is a metric.
#[derive(Debug, Default)]
pub struct CompileCounters {
    /// Loads answered from the cache.
    pub hits: AtomicU64,
    /// Artifacts that were not read because what was read of them before was in the cache.
    pub facts: AtomicU64,
    /// Entries of the cache that failed a check and were not used.
    pub rejected: AtomicU64,
    /// Loads that waited for a compilation that somebody else had started.
    pub joined: AtomicU64,
    /// Compilations started.
    pub started: AtomicU64,
    /// Compilations that gave no code, and modules refused by their estimate.
    pub failed: AtomicU64,
    /// Code that could not be stored.
    pub unstored: AtomicU64,
    /// Microseconds that finished compilations took.
    pub micros: AtomicU64,
}

/// Turns modules into code. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Compiler {
    inner: Arc<Inner>,
    flights: Arc<Mutex<HashMap<CodeId, WeakShared<Flight>>>>,
}

/// A load under way: its cache look-up, and its compilation if that finds nothing.
type Flight = BoxFuture<'static, Result<Produced, CompileError>>;

/// What a load under way comes to.
#[derive(Clone)]
struct Produced {
    artifact: Arc<Artifact>,
    /// What was found in the cache, loaded already for the engine of whoever asked first: one way to another thread and back
    /// for both.
    loaded: Option<(wasmtime::Engine, Code)>,
}

impl From<Artifact> for Produced {
    fn from(artifact: Artifact) -> Self {
        Self { artifact: Arc::new(artifact), loaded: None }
    }
}

/// Why there is no code; shared by all who waited for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Compiling takes more than the limits allow.
    #[error("{0}")]
    Refused(String),
    /// The compiler refuses the module, or gave up on it. Another compiler may not.
    #[error("{0}")]
    Unable(String),
    /// We are at fault.
    #[error("{0}")]
    Host(String),
}

impl From<CompileError> for Fault {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Refused(message) | CompileError::Unable(message) => Self::Config(message),
            CompileError::Host(message) => Self::Host(message),
        }
    }
}

impl Compiler {
    /// A compiler of its own: its cache and its limits are shared by nobody but its clones.
    pub fn new(settings: CompilerSettings) -> Self {
        let permits = Semaphore::new(settings.limits.at_once.clamp(1, Semaphore::MAX_PERMITS));
        let inner = Inner {
            cache: settings.cache,
            worker: settings.worker,
            limits: settings.limits,
            permits,
            counters: CompileCounters::default(),
            metrics: settings.metrics,
        };
        Self { inner: Arc::new(inner), flights: Arc::default() }
    }

    /// What it has done so far.
    pub fn counters(&self) -> &CompileCounters {
        &self.inner.counters
    }

    /// What each compilation may take.
    pub fn limits(&self) -> &CompileLimits {
        &self.inner.limits
    }

    /// Where code is kept.
    pub fn cache(&self) -> Option<&CodeCache> {
        self.inner.cache.as_ref()
    }

    /// What can be read in an artifact; of a large one perhaps from the cache.
    ///
    /// # Errors
    /// It is not WebAssembly, or over a bound of the reader.
    pub async fn read(&self, bytes: &Bytes) -> Result<Result<Module, ReadError>, CompileError> {
        if bytes.len() < LARGE_BYTES {
            return Ok(self.inner.read(bytes));
        }
        let (inner, bytes) = (Arc::clone(&self.inner), bytes.clone());
        blocking(move || inner.read(&bytes)).await
    }

    /// The component that a core module was built to become.
    ///
    /// # Errors
    /// The outer: this process cannot do it. The inner: the module does not fit its own type.
    pub async fn componentize(
        &self,
        module: Module,
        bytes: Bytes,
    ) -> Result<Result<Bytes, ComponentizeError>, CompileError> {
        blocking(move || samara_inspect::componentize(&module, &bytes).map(Bytes::from)).await
    }

    /// The code of `module`, whose bytes are `bytes`, for `engine`: from the cache, or compiled.
    ///
    /// # Errors
    /// The module is not valid, or costs more to compile than is allowed: the message names the limit. Or the compiler
    /// cannot be run.
    pub async fn code(&self, engine: &EngineHandle, module: &Module, bytes: &Bytes) -> Result<Code, CompileError> {
        let id = identify(engine, module).filter(|_| module.size_bytes == bytes.len() as u64);
        let Some(id) = id else {
            return Err(CompileError::Host("the module to compile is not the one that was read".to_owned()));
        };
        let engine = engine.engine.clone();
        let Produced { artifact, loaded } = self.flight(id, &engine, module, bytes).await?;
        if let Some((_, code)) = loaded.filter(|(of, _)| wasmtime::Engine::same(of, &engine)) {
            return Ok(code);
        }
        let loaded = blocking(move || artifact.load(&engine, id.encoding)).await?;
        loaded.map_err(|error| refused(&id, &error))
    }

    /// The code of `module` for `engine`, if the cache has it: nothing is compiled.
    ///
    /// # Errors
    /// The cache has it and the engine refuses it.
    pub async fn cached(&self, engine: &EngineHandle, module: &Module) -> Result<Option<Code>, CompileError> {
        let Some(id) = identify(engine, module) else { return Ok(None) };
        let (inner, engine) = (Arc::clone(&self.inner), engine.engine.clone());
        let found = move || inner.look_up(&id).map(|artifact| artifact.load(&engine, id.encoding));
        blocking(found).await?.transpose().map_err(|error| refused(&id, &error))
    }

    /// The load under way for this code, or a new one.
    fn flight(&self, id: CodeId, engine: &wasmtime::Engine, module: &Module, bytes: &Bytes) -> Shared<Flight> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&id).and_then(WeakShared::upgrade) {
            self.inner.counters.joined.fetch_add(1, Relaxed);
            return flight;
        }
        // Nobody waits for those any more; they ended, or were given up.
        flights.retain(|_, flight| flight.upgrade().is_some());
        let inner = Arc::clone(&self.inner);
        let flight = inner.produce(id, engine.clone(), module.compile.clone(), bytes.clone()).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(id, weak);
        }
        flight
    }
}

/// What the loads under way hold on to.
#[derive(Debug)]
struct Inner {
    cache: Option<CodeCache>,
    worker: Worker,
    limits: CompileLimits,
    permits: Semaphore,
    counters: CompileCounters,
    metrics: Option<HostMetrics>,
}

impl Inner {
    fn measure(&self, count: impl FnOnce(&HostMetrics)) {
        if let Some(metrics) = &self.metrics {
            count(metrics);
        }
    }

    fn read(&self, wasm: &[u8]) -> Result<Module, ReadError> {
        let Some(facts) = self.cache.as_ref().and_then(|cache| Facts::of(cache, wasm)) else {
            return Module::read(wasm);
        };
        if let Some(module) = facts.find() {
            self.counters.facts.fetch_add(1, Relaxed);
            return Ok(module);
        }
        let module = Module::read(wasm)?;
        facts.keep(&module);
        Ok(module)
    }

    /// Everything between a name and code that can be loaded.
    async fn produce(
        self: Arc<Self>,
        id: CodeId,
        engine: wasmtime::Engine,
        estimate: CompileEstimate,
        wasm: Bytes,
    ) -> Result<Produced, CompileError> {
        let this = Arc::clone(&self);
        let look_up = move || {
            let artifact = this.look_up(&id)?;
            // Whoever asked tries again and tells why, if the engine refuses it.
            let loaded = artifact.load(&engine, id.encoding).ok().map(|code| (engine, code));
            Some(Produced { artifact: Arc::new(artifact), loaded })
        };
        if let Some(found) = blocking(look_up).await? {
            return Ok(found);
        }
        let compiled = match self.exceeded(&estimate) {
            Some(limit) => {
                let wasm = wasm.clone();
                Err(blocking(move || refusal(&id, &estimate, &limit, &wasm)).await?)
            }
            None => self.compile(&id, wasm).await,
        };
        let compiled = compiled.inspect_err(|_| {
            self.counters.failed.fetch_add(1, Relaxed);
            self.measure(|metrics| {
                metrics.compile_failures.inc();
            });
        })?;
        blocking(move || self.keep(&id, compiled).into()).await
    }

    fn look_up(&self, id: &CodeId) -> Option<Artifact> {
        match self.cache.as_ref()?.load(id) {
            Ok(found) => {
                let found = found?;
                self.counters.hits.fetch_add(1, Relaxed);
                self.measure(|metrics| {
                    metrics.code_cache_hits.inc();
                });
                Some(Artifact::Cached(found))
            }
            Err(why) => {
                self.counters.rejected.fetch_add(1, Relaxed);
                self.measure(|metrics| {
                    metrics.code_cache_rejected.inc();
                });
                tracing::debug!(code = id.name(), %why, "an entry of the code cache is not used");
                None
            }
        }
    }

    /// The limit that compiling is certain to run into, so that nothing is spent on finding out.
    fn exceeded(&self, estimate: &CompileEstimate) -> Option<String> {
        let CompileLimits { cpu, memory_bytes, .. } = self.limits;
        let (needed, allowed) = if estimate.estimated_cpu > cpu.saturating_mul(CERTAIN) {
            (format!("{} of processor time", format_duration(estimate.estimated_cpu)), format_duration(cpu))
        } else if estimate.estimated_memory_bytes > memory_bytes.saturating_mul(u64::from(CERTAIN)) {
            (format!("{} of memory", format_bytes(estimate.estimated_memory_bytes)), format_bytes(memory_bytes))
        } else {
            return None;
        };
        Some(format!("about {needed} and the limit is {allowed}"))
    }

    async fn compile(&self, id: &CodeId, wasm: Bytes) -> Result<Compiled, CompileError> {
        let closed = |_| CompileError::Host("the compiler is shut down".to_owned());
        let _permit = self.permits.acquire().await.map_err(closed)?;
        self.counters.started.fetch_add(1, Relaxed);
        self.measure(|metrics| {
            metrics.code_cache_misses.inc();
        });
        let started = Instant::now();
        let order = Order {
            engine: hex(&id.engine.0),
            kind: id.kind,
            component: id.encoding == Encoding::Component,
            wasm_bytes: wasm.len() as u64,
            cpu_seconds: self.limits.cpu.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1),
            memory_bytes: self.limits.memory_bytes,
        };
        let name = id.name();
        let compiled = match &self.worker {
            Worker::Child { program, args } => {
                spawn::compile(program, args, &order, &wasm, &name, &self.limits).await?
            }
            Worker::InProcess => {
                blocking(move || worker::compile(&order, &wasm)).await?.map_err(|error| match error {
                    Refusal::Input(why) => {
                        CompileError::Unable(format!("{name} does not compile: {}", spawn::harmless(&why)))
                    }
                    Refusal::Host(why) => CompileError::Host(why),
                })?
            }
        };
        let took = started.elapsed();
        self.measure(|metrics| metrics.compiled(took));
        self.counters.micros.fetch_add(took.as_micros().try_into().unwrap_or(u64::MAX), Relaxed);
        tracing::debug!(code = id.name(), ?took, bytes = compiled.0.len(), "compiled");
        Ok(compiled)
    }

    /// Stores fresh code and goes on with the stored file, which other processes share and memory need not hold.
    fn keep(&self, id: &CodeId, compiled: Compiled) -> Artifact {
        let Some(cache) = &self.cache else { return Artifact::Fresh(compiled) };
        if let Err(error) = cache.store(id, &compiled.0) {
            self.counters.unstored.fetch_add(1, Relaxed);
            tracing::warn!(code = id.name(), %error, "compiled code cannot be stored in `{}`", cache.directory().display());
            return Artifact::Fresh(compiled);
        }
        match cache.load(id) {
            Ok(Some(file)) => Artifact::Cached(file),
            // Removed or replaced in this moment.
            Ok(None) | Err(_) => Artifact::Fresh(compiled),
        }
    }
}

/// What the code of a module on an engine is called.
fn identify(engine: &EngineHandle, module: &Module) -> Option<CodeId> {
    let (artifact, kind) = (unhex(&module.sha256)?, engine.key.code);
    Some(CodeId { artifact, engine: EngineHash::of(&engine.engine, kind), kind, encoding: module.encoding })
}

fn refused(id: &CodeId, error: &anyhow::Error) -> CompileError {
    CompileError::Host(format!("the engine refuses the code of {}: {error:#}", id.name()))
}

/// Why a module is not even tried, and which of its functions is to blame.
fn refusal(id: &CodeId, estimate: &CompileEstimate, limit: &str, wasm: &[u8]) -> CompileError {
    let blamed = Module::read(wasm).ok().and_then(|module| {
        let report = Report::new(wasm, &module, Vec::new());
        let largest = report.largest_functions().first()?;
        Some(format!(", {} of it in `{}`", format_bytes(largest.size_bytes), largest.name))
    });
    CompileError::Refused(format!(
        "compiling {} would take {limit}: it has {} of code{}, up to {} branches and {} locals in one function; {}",
        id.name(),
        format_bytes(estimate.code_bytes),
        blamed.unwrap_or_default(),
        estimate.max_branches,
        estimate.max_locals,
        spawn::ADVICE,
    ))
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CompileError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| CompileError::Host(format!("compiling: {error}")))
}
