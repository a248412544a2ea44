//! The engines of one process, keyed by what changes a guest's code or where its memory comes from.
//!
//! An [`Engines`] builds each engine when it is first needed and keeps one epoch ticker for all of them. Three things
//! select an engine: whether a guest needs component concurrency (WASI 0.3; switching it on costs every other guest
//! about 10 us a call), which compiler its code is from, and whether it fits a slot of the pool. The last does not change
//! compiled code, so the code cache has one entry for both.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use samara_telemetry::Gauge;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy, WasmBacktraceDetails,
};

use crate::{
    pool::{Footprint, PoolGate, PoolSize},
    tier::Tier,
    to_anyhow,
};

/// How often a running guest is looked at: it yields to its neighbours, and its CPU budget is checked.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);
/// Stack a guest may use. Deeper recursion is a trap.
pub const GUEST_STACK_BYTES: usize = 1 << 20;
/// Stack of the fiber that a guest and the host functions it calls share.
const FIBER_STACK_BYTES: usize = 2 << 20;
/// Frames kept of a trap's backtrace.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(crate::MAX_FRAMES).expect("it is not zero");
/// Bytes of a slot's memory that are zeroed in place rather than given back, when the kernel can say which were touched.
const KEEP_RESIDENT_BYTES: usize = 1 << 20;
/// Bytes of a slot's table that are zeroed in place.
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// What makes two engines compile different code. Part of the code cache's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct CodeKind {
    /// Component concurrency: needed by WASI 0.3, and slower for everybody else.
    pub concurrency: bool,
    /// The compiler. Contracts leave this at its default: it is the workload that chooses.
    pub tier: Tier,
}

/// Which engine a guest runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EngineKey {
    /// What its code was compiled for.
    pub code: CodeKind,
    /// From the pool, or allocated on demand (slower, but of any size).
    pub pooled: bool,
}

/// One engine, and the gate that keeps its pool from overflowing.
#[derive(Debug)]
pub struct EngineHandle {
    /// The engine.
    pub engine: Engine,
    /// What selected it.
    pub key: EngineKey,
    /// Slots of the pool; engines that allocate on demand have a gate as wide as the pool's calls.
    pub gate: PoolGate,
}

/// All engines of a process.
#[derive(Debug)]
pub struct Engines {
    size: PoolSize,
    in_use: Gauge,
    ticker: Arc<Ticker>,
    built: [OnceLock<Arc<EngineHandle>>; 8],
    gates: [OnceLock<PoolGate>; 4],
}

impl Engines {
    /// No engine is built yet; pools will have this size, and `in_use` is the metric of their calls.
    pub fn new(size: PoolSize, in_use: Gauge) -> Self {
        Self {
            size,
            in_use,
            ticker: Arc::default(),
            built: [const { OnceLock::new() }; 8],
            gates: [const { OnceLock::new() }; 4],
        }
    }

    /// The size of each pool.
    pub fn pool_size(&self) -> &PoolSize {
        &self.size
    }

    /// The engine for a key, built on first use.
    ///
    /// # Errors
    /// The engine refuses its configuration, typically because the address space for the pool cannot be reserved.
    pub fn get(&self, key: EngineKey) -> anyhow::Result<Arc<EngineHandle>> {
        let [a, b, c, d, e, f, g, h] = &self.built;
        let slot = match (key.code.tier, key.code.concurrency, key.pooled) {
            (Tier::Optimized, false, false) => a,
            (Tier::Optimized, false, true) => b,
            (Tier::Optimized, true, false) => c,
            (Tier::Optimized, true, true) => d,
            (Tier::Baseline, false, false) => e,
            (Tier::Baseline, false, true) => f,
            (Tier::Baseline, true, false) => g,
            (Tier::Baseline, true, true) => h,
        };
        if let Some(handle) = slot.get() {
            return Ok(Arc::clone(handle));
        }
        let handle = Arc::new(self.build(key)?);
        // Two threads may build at once; the loser's engine is dropped before it was used.
        let kept = slot.get_or_init(|| Arc::clone(&handle));
        if Arc::ptr_eq(kept, &handle) {
            self.ticker.add(&handle.engine);
        }
        Ok(Arc::clone(kept))
    }

    /// Keeps the epoch moving for as long as the answer lives. A process without live calls has no ticking thread.
    pub fn tick(&self) -> Ticking {
        self.ticker.start()
    }

    fn build(&self, key: EngineKey) -> anyhow::Result<EngineHandle> {
        let mut config = config(key.code);
        if key.pooled {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(self.size.to_config(key.code.concurrency)));
        }
        let engine = Engine::new(&config).map_err(to_anyhow)?;
        Ok(EngineHandle { engine, key, gate: self.gate(key) })
    }

    /// The gate of an engine's pool. The two tiers of a workload share one: while one takes over from the other, both
    /// together hold no more than the machine was measured for.
    fn gate(&self, key: EngineKey) -> PoolGate {
        let [a, b, c, d] = &self.gates;
        let (slot, capacity) = match (key.code.concurrency, key.pooled) {
            (false, false) => (a, None),
            (false, true) => (b, Some(self.size.capacity())),
            (true, false) => (c, None),
            (true, true) => (d, Some(self.size.capacity())),
        };
        let capacity = capacity.unwrap_or(Footprint { calls: self.size.calls, ..Footprint::MAX });
        slot.get_or_init(|| PoolGate::new(capacity, self.in_use.clone())).clone()
    }
}

/// The configuration that decides what code a module compiles to. The compile worker builds its engine from this too.
pub fn config(kind: CodeKind) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.concurrency_support(kind.concurrency);
    config.wasm_component_model_async(kind.concurrency);
    config.max_wasm_stack(GUEST_STACK_BYTES);
    config.async_stack_size(FIBER_STACK_BYTES);
    config.wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES));
    // The engine would read all DWARF of a hostile guest again for each frame of each trap: `backtrace.rs` reads it when asked.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.shared_memory(false);
    config.wasm_memory64(true);
    match kind.tier {
        Tier::Optimized => {
            config.wasm_gc(true);
            config.wasm_function_references(true);
            config.wasm_exceptions(true);
        }
        // What this compiler does not know it switches off by itself.
        Tier::Baseline => {
            config.strategy(Strategy::Winch);
        }
    }
    config
}

impl PoolSize {
    fn to_config(&self, concurrency: bool) -> PoolingAllocationConfig {
        let capacity = self.capacity();
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(capacity.calls)
            .total_core_instances(capacity.core_instances)
            .total_memories(capacity.memories)
            .total_tables(capacity.tables)
            .total_stacks(if concurrency { capacity.stacks.saturating_mul(2) } else { capacity.stacks })
            .total_gc_heaps(self.gc_heaps)
            .max_memory_size(self.memory_bytes)
            .table_elements(self.table_elements)
            .max_core_instances_per_component(u32::MAX)
            .max_memories_per_component(u32::MAX)
            .max_tables_per_component(u32::MAX)
            .max_component_instance_size(2 << 20)
            .max_core_instance_size(2 << 20)
            .max_memories_per_module(16)
            .max_tables_per_module(16)
            .max_unused_warm_slots(self.calls.min(256));
        // Zeroing in place pays only where the kernel reports which pages were touched; without it, it costs.
        if kernel_reports_touched_pages() {
            pool.pagemap_scan(Enabled::Yes)
                .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
                .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES);
        }
        pool
    }
}

/// Whether the kernel has `PAGEMAP_SCAN`: Linux 6.7 and later.
fn kernel_reports_touched_pages() -> bool {
    let uname = rustix::system::uname();
    let mut numbers = uname.release().to_str().unwrap_or_default().split(['.', '-']).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 7))
}

/// Advances the epoch of every engine while any call is live.
#[derive(Default)]
struct Ticker {
    engines: Mutex<Vec<wasmtime::EngineWeak>>,
    live: AtomicUsize,
    wake: Mutex<TickerThread>,
    condition: Condvar,
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").field("live", &self.live).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct TickerThread {
    started: bool,
    parked: bool,
}

/// Keeps the epoch moving until it is dropped.
#[derive(Debug)]
pub struct Ticking(Arc<Ticker>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Release);
    }
}

impl Ticker {
    fn add(&self, engine: &Engine) {
        self.engines.lock().push(engine.weak());
    }

    fn start(self: &Arc<Self>) -> Ticking {
        if self.live.fetch_add(1, Ordering::AcqRel) == 0 {
            let mut thread = self.wake.lock();
            if thread.parked {
                thread.parked = false;
                self.condition.notify_one();
            } else if !thread.started {
                let ticker = Arc::downgrade(self);
                let spawned = std::thread::Builder::new().name("epoch".into()).spawn(move || run(&ticker));
                thread.started = spawned.is_ok();
            }
        }
        Ticking(Arc::clone(self))
    }
}

/// The ticking thread. It parks after [`IDLE_TICKS`] ticks without a live call and ends with its `Ticker`.
fn run(ticker: &std::sync::Weak<Ticker>) {
    /// Ticks without a call before the thread parks: calls that come one after the other should not wake it each time.
    const IDLE_TICKS: u32 = 100;
    /// How long a parked thread sleeps before it checks whether its ticker still exists.
    const PARK: Duration = Duration::from_secs(5);
    let mut idle = 0;
    loop {
        #[expect(clippy::disallowed_methods, reason = "this is a thread of its own, not an executor's")]
        std::thread::sleep(EPOCH_TICK);
        let Some(ticker) = ticker.upgrade() else { return };
        if ticker.live.load(Ordering::Acquire) > 0 {
            idle = 0;
            for engine in ticker.engines.lock().iter().filter_map(wasmtime::EngineWeak::upgrade) {
                engine.increment_epoch();
            }
            continue;
        }
        idle += 1;
        if idle < IDLE_TICKS {
            continue;
        }
        idle = 0;
        let mut thread = ticker.wake.lock();
        // A call that started since the check above saw `parked` unset, so look again under the lock.
        if ticker.live.load(Ordering::Acquire) == 0 {
            thread.parked = true;
            ticker.condition.wait_for(&mut thread, PARK);
            thread.parked = false;
        }
    }
}
