//! An engine as Samara configures it, and scripts run on it.
//!
//! The core suite gets the very engines that `samara_runtime::Engines` gives guests, pooled as for this machine or on demand. The
//! component model's suite tests proposals that Samara does not offer: it gets the same configuration with those switched
//! on, and with `--as-served` Samara's engines as they are.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Result, anyhow};
use samara_model::Limits;
use samara_runtime::{CodeKind, EPOCH_TICK, EngineKey, Engines, PoolSize, config, to_anyhow};
use samara_telemetry::Gauge;
use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wast::{Async, SpectestConfig, WastContext};

use crate::suite::Suite;

/// Where the memory of instances comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocation {
    /// Slots of a pool, which most guests have.
    Pooled,
    /// Mapped when it is needed, for guests that fit no slot.
    OnDemand,
}

impl Allocation {
    /// As `expected.txt` and the command line call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pooled => "pooled",
            Self::OnDemand => "on-demand",
        }
    }
}

/// An engine and the thread that moves its epoch.
#[derive(Debug)]
pub(crate) struct Bench {
    engine: Engine,
    over: Arc<AtomicBool>,
}

impl Bench {
    /// The engine that a suite's guests would have.
    pub(crate) fn new(suite: Suite, allocation: Allocation) -> Result<Self> {
        let code = CodeKind { concurrency: suite != Suite::Core, ..CodeKind::default() };
        let pooled = allocation == Allocation::Pooled;
        let size = PoolSize::of_this_machine(None);
        let engine = if suite == Suite::Component {
            with_all_proposals(code, pooled.then_some(&size))?
        } else {
            Engines::new(size, Gauge::default()).get(EngineKey { code, pooled })?.engine.clone()
        };
        let over = Arc::new(AtomicBool::new(false));
        let (ticked, stop) = (engine.clone(), Arc::clone(&over));
        thread::Builder::new().name("epoch".into()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(EPOCH_TICK);
                ticked.increment_epoch();
            }
        })?;
        Ok(Self { engine, over })
    }

    /// Runs one script in fresh stores.
    pub(crate) fn run(&self, script: &Path) -> Result<()> {
        // Guests of Samara run on fibers and yield at each tick; so do these.
        let mut context = WastContext::new(&self.engine, Async::Yes, |store: &mut Store<()>| {
            store.set_epoch_deadline(1);
            store.epoch_deadline_async_yield_and_update(1);
            if let Some(bytes) = Limits::serve().host_call_bytes {
                store.set_hostcall_fuel(usize::try_from(bytes).unwrap_or(usize::MAX));
            }
        });
        let spectest = SpectestConfig { use_shared_memory: false, suppress_prints: true };
        context.ignore_error_messages(true).register_spectest(&spectest).map_err(to_anyhow)?;
        context.run_file(script).map_err(|error| anyhow!("{}", first_lines(&format!("{error:#}"))))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Samara's configuration and what the component model's suite tests beyond it, with a pool that holds as much as Samara's.
fn with_all_proposals(code: CodeKind, size: Option<&PoolSize>) -> Result<Engine> {
    let mut config = config(code);
    config
        .wasm_component_model_more_async_builtins(true)
        .wasm_component_model_async_stackful(true)
        .wasm_component_model_threading(true)
        .wasm_component_model_implements(true)
        .wasm_component_model_memory64(true)
        .wasm_component_model_map(true)
        .wasm_component_model_fixed_length_lists(true);
    if let Some(size) = size {
        let capacity = size.capacity();
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(capacity.calls)
            .total_core_instances(capacity.core_instances)
            .total_memories(capacity.memories)
            .total_tables(capacity.tables)
            .total_stacks(capacity.stacks)
            .total_gc_heaps(size.gc_heaps)
            .max_memory_size(size.memory_bytes)
            .table_elements(size.table_elements)
            .max_memories_per_module(16)
            .max_tables_per_module(16);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    Engine::new(&config).map_err(to_anyhow)
}

/// Enough of an error to find it: scripts of which a whole line is quoted have lines of 100 KB.
fn first_lines(error: &str) -> String {
    const MAX_CHARACTERS: usize = 500;
    let line = error.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_CHARACTERS).collect()
}
