//! How many guests this machine can hold at once, and the gate that keeps calls from finding the pool empty.
//!
//! A call is not one slot: a component compiled from Python takes 14 core instances and 2 tables. A call reserves its
//! whole footprint before it starts and waits for it in order of arrival, so that no instantiation ever fails because
//! a pool is exhausted.

use std::{collections::VecDeque, fs, sync::Arc};

use parking_lot::Mutex;
use samara_inspect::Module;
use samara_model::format_bytes;
use samara_telemetry::Gauge;
use tokio::sync::oneshot;

use crate::nesting::Level;

/// Wasm features that need a garbage-collected heap, which the pool does not hold.
const GC_FEATURES: &[&str] = &["gc", "exceptions", "function-references"];
/// Instances of a pool when nothing bounds it lower.
const DEFAULT_CALLS: u32 = 1000;
/// The least a pool is built with.
const LEAST_CALLS: u32 = 16;
/// Mappings that one call may hold: four per copy-on-write memory, two per stack (two stacks), rounded up for tables.
const MAPPINGS_PER_CALL: u64 = 16;
/// Share of the kernel's mappings left to everything that is not the pool: loaded modules, threads, files.
const MAPPINGS_KEPT_FREE: u64 = 4;
/// Memory a call is expected to touch at least; the pool is not sized for more calls than fit the machine.
const EXPECTED_BYTES_PER_CALL: u64 = 2 << 20;

/// What part of a pool calls from outside leave for those that guests lead to, where guests do: one in so many.
const KEPT_FOR_NESTED: u32 = 4;
/// Depths of calls that the pool tells apart; those deeper are with the last.
const LEVELS: Level = 16;

/// What one call takes from a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Calls (component instances, or modules).
    pub calls: u32,
    /// Core instances inside them.
    pub core_instances: u32,
    /// Linear memories.
    pub memories: u32,
    /// Tables.
    pub tables: u32,
    /// Fiber stacks.
    pub stacks: u32,
}

impl Footprint {
    /// Nothing is bounded.
    pub const MAX: Self =
        Self { calls: u32::MAX, core_instances: u32::MAX, memories: u32::MAX, tables: u32::MAX, stacks: u32::MAX };

    fn fits(self, free: Self) -> bool {
        self.calls <= free.calls
            && self.core_instances <= free.core_instances
            && self.memories <= free.memories
            && self.tables <= free.tables
            && self.stacks <= free.stacks
    }

    fn zip(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        Self {
            calls: f(self.calls, other.calls),
            core_instances: f(self.core_instances, other.core_instances),
            memories: f(self.memories, other.memories),
            tables: f(self.tables, other.tables),
            stacks: f(self.stacks, other.stacks),
        }
    }
}

/// The size of a pool, and what bounded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSize {
    /// Calls at once.
    pub calls: u32,
    /// Bytes one linear memory may grow to.
    pub memory_bytes: usize,
    /// Elements one table may hold.
    pub table_elements: usize,
    /// Garbage-collected heaps; guests that need one run on demand, so the pool has next to none.
    pub gc_heaps: u32,
    /// What decided `calls`, for the line printed at start.
    pub bound_by: String,
}

impl PoolSize {
    /// The largest pool this machine carries, up to `wanted` calls (the default if `None`).
    pub fn of_this_machine(wanted: Option<u32>) -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let mappings = read("/proc/sys/vm/max_map_count").and_then(|text| text.trim().parse().ok());
        Self::bounded(wanted, mappings, memory_limit(&read))
    }

    fn bounded(wanted: Option<u32>, mappings: Option<u64>, memory: Option<(u64, &'static str)>) -> Self {
        let mut calls = wanted.unwrap_or(DEFAULT_CALLS);
        let mut bound_by = if wanted.is_some() { "the host file".to_owned() } else { "the default".to_owned() };
        if let Some(mappings) = mappings {
            let usable = mappings - mappings / MAPPINGS_KEPT_FREE;
            let fit = u32::try_from(usable / MAPPINGS_PER_CALL).unwrap_or(u32::MAX);
            if fit < calls {
                calls = fit;
                bound_by = format!("vm.max_map_count = {mappings}");
            }
        }
        if let Some((bytes, whose)) = memory {
            let fit = u32::try_from(bytes / EXPECTED_BYTES_PER_CALL).unwrap_or(u32::MAX);
            if fit < calls {
                calls = fit;
                bound_by = format!("{} of {whose} memory", format_bytes(bytes));
            }
        }
        Self { calls: calls.max(LEAST_CALLS), memory_bytes: 128 << 20, table_elements: 100_000, gc_heaps: 1, bound_by }
    }

    /// A small pool for tests and for `run`, which needs one instance.
    pub fn small(calls: u32) -> Self {
        Self::bounded(Some(calls), None, None)
    }

    /// Why instances of a module cannot come from this pool, if they cannot: they are then allocated on demand, at about
    /// six times the cost. `limit` is the workload's `memory`.
    pub fn misfit(&self, module: &Module, limit: u64) -> Option<String> {
        let (slot, elements) = (self.memory_bytes as u64, self.table_elements as u64);
        let footprint = &module.footprint;
        if footprint.max_memory_min_bytes > slot {
            let starts = format_bytes(footprint.max_memory_min_bytes);
            return Some(format!("its memory starts at {starts}, over the pool's slot of {}", format_bytes(slot)));
        }
        if limit > slot {
            let limit = format_bytes(limit);
            return Some(format!("its `memory` limit of {limit} is over the pool's slot of {}", format_bytes(slot)));
        }
        if footprint.max_table_min_elements > elements {
            let starts = footprint.max_table_min_elements;
            return Some(format!("a table starts with {starts} elements, over the pool's slot of {elements}"));
        }
        let needs_heap = GC_FEATURES.iter().find(|feature| module.features.contains(feature));
        needs_heap.map(|feature| format!("it uses the Wasm feature `{feature}`, whose heap the pool does not hold"))
    }

    /// What the pool holds in all.
    pub fn capacity(&self) -> Footprint {
        Footprint {
            calls: self.calls,
            core_instances: self.calls.saturating_mul(4),
            memories: self.calls.saturating_add(self.calls / 2),
            tables: self.calls.saturating_mul(2),
            stacks: self.calls.saturating_mul(2),
        }
    }
}

/// The memory this process may use: the cgroup's limit where there is one, else the machine's.
fn memory_limit(read: &dyn Fn(&str) -> Option<String>) -> Option<(u64, &'static str)> {
    let machine = read("/proc/meminfo")
        .and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        })
        .map(|kib| (kib << 10, "the machine's"));
    let own = read("/proc/self/cgroup")
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned)))
        .unwrap_or_default();
    let cgroup = [
        format!("/sys/fs/cgroup{own}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ]
    .iter()
    .find_map(|path| read(path)?.trim().parse::<u64>().ok())
    .map(|bytes| (bytes, "the cgroup's"));
    match (machine, cgroup) {
        (Some(machine), Some(cgroup)) => Some(if cgroup.0 < machine.0 { cgroup } else { machine }),
        (one, other) => one.or(other),
    }
}

/// Hands out footprints in order of arrival.
#[derive(Clone, Debug)]
pub struct PoolGate {
    shared: Arc<Shared>,
    capacity: Footprint,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<GateState>,
    in_use: Gauge,
}

#[derive(Debug)]
struct GateState {
    free: Footprint,
    /// What calls from outside leave for those that guests lead to.
    kept: Footprint,
    /// By how deep they are; each a line of its own.
    waiting: [Line; LEVELS as usize + 1],
}

type Line = VecDeque<(Footprint, oneshot::Sender<Reserved>)>;

/// A footprint in use; dropping it gives the slots back and wakes whoever now fits.
#[derive(Debug)]
pub struct Reserved {
    shared: Arc<Shared>,
    footprint: Footprint,
}

impl GateState {
    /// Whether a call this deep may have a footprint now. Those from outside leave what is kept, and each level half of what
    /// the one above it leaves: the deepest, which wait for nobody, end, as long as the share holds a footprint.
    fn has_room(&self, footprint: Footprint, level: Level) -> bool {
        let left = self.kept.zip(self.kept, |kept, _| kept.checked_shr(level).unwrap_or(0));
        footprint.fits(self.free.zip(left, u32::saturating_sub))
    }

    fn line(&mut self, level: Level) -> &mut Line {
        let [lines @ .., deepest] = &mut self.waiting;
        lines.get_mut(level as usize).unwrap_or(deepest)
    }
}

impl PoolGate {
    /// A gate that lets this much through; `in_use` is the metric it keeps.
    pub(crate) fn new(capacity: Footprint, in_use: Gauge) -> Self {
        let none = capacity.zip(capacity, |_, _| 0);
        let state = Mutex::new(GateState { free: capacity, kept: none, waiting: Default::default() });
        Self { shared: Arc::new(Shared { state, in_use }), capacity }
    }

    /// Whether a guest of this footprint can ever run in this pool.
    pub fn can_hold(&self, footprint: Footprint) -> bool {
        footprint.fits(self.capacity)
    }

    /// Calls in the pool now.
    pub fn in_use(&self) -> u32 {
        self.capacity.calls - self.shared.state.lock().free.calls
    }

    /// Whether somebody waits.
    pub fn has_waiting(&self) -> bool {
        self.shared.state.lock().waiting.iter().any(|line| !line.is_empty())
    }

    /// Keeps a share of the pool for calls that guests lead to, from now on.
    pub(crate) fn expect_nested_calls(&self) {
        self.shared.state.lock().kept = self.capacity.zip(self.capacity, |all, _| all / KEPT_FOR_NESTED);
    }

    /// Reserves a footprint for a call this deep, at once or not at all.
    pub(crate) fn try_reserve(&self, footprint: Footprint, level: Level) -> Option<Reserved> {
        let mut state = self.shared.state.lock();
        // Whoever waits came first.
        if !state.line(level).is_empty() || !state.has_room(footprint, level) {
            return None;
        }
        state.free = state.free.zip(footprint, u32::wrapping_sub);
        drop(state);
        Some(Reserved::new(&self.shared, footprint))
    }

    /// Reserves a footprint, waiting behind everybody who asked before. The caller bounds how long; giving up makes way
    /// for those behind.
    pub(crate) async fn reserve(&self, footprint: Footprint, level: Level) -> Reserved {
        loop {
            let mut place = {
                let mut state = self.shared.state.lock();
                let (sender, receiver) = oneshot::channel();
                state.line(level).push_back((footprint, sender));
                Place { shared: &self.shared, receiver }
            };
            // There may be room already.
            self.shared.admit();
            if let Ok(reserved) = (&mut place.receiver).await {
                return reserved;
            }
        }
    }
}

/// A place in the line, given up when it is dropped.
struct Place<'a> {
    shared: &'a Arc<Shared>,
    receiver: oneshot::Receiver<Reserved>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        // A reservation that came in the same moment goes back; and those behind may fit where this one did not.
        drop(self.receiver.try_recv());
        self.shared.admit();
    }
}

impl Shared {
    /// Lets in everybody at the front of a line who fits, the deepest first. Nothing is sent under the lock: a receiver that is gone drops
    /// its reservation, which takes the lock again.
    fn admit(self: &Arc<Self>) {
        let mut admitted = Vec::new();
        {
            let mut state = self.state.lock();
            for level in (0..=LEVELS).rev() {
                while let Some((footprint, sender)) = state.line(level).front() {
                    let (footprint, gone) = (*footprint, sender.is_closed());
                    if !gone && !state.has_room(footprint, level) {
                        break;
                    }
                    let Some((_, sender)) = state.line(level).pop_front() else { break };
                    if !gone {
                        state.free = state.free.zip(footprint, u32::wrapping_sub);
                        admitted.push((sender, footprint));
                    }
                }
            }
        }
        for (sender, footprint) in admitted {
            drop(sender.send(Reserved::new(self, footprint)));
        }
    }
}

impl Reserved {
    fn new(shared: &Arc<Shared>, footprint: Footprint) -> Self {
        shared.in_use.inc();
        Self { shared: Arc::clone(shared), footprint }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shared.in_use.dec();
        let waited_for = {
            let mut state = self.shared.state.lock();
            state.free = state.free.zip(self.footprint, u32::wrapping_add);
            state.waiting.iter().any(|line| !line.is_empty())
        };
        if waited_for {
            self.shared.admit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Footprint = Footprint { calls: 1, core_instances: 1, memories: 1, tables: 1, stacks: 1 };

    #[test]
    fn the_pool_is_bounded_by_mappings_memory_and_the_default_whichever_is_least() {
        let size =
            |mappings, memory: Option<u64>| PoolSize::bounded(None, mappings, memory.map(|m| (m, "the cgroup's")));
        assert_eq!(size(Some(65_530), Some(16 << 30)).calls, DEFAULT_CALLS);
        assert_eq!(size(Some(8_000), Some(16 << 30)).bound_by, "vm.max_map_count = 8000");
        assert_eq!(size(Some(8_000), None).calls, 375);
        assert_eq!(size(None, Some(512 << 20)).calls, 256);
        assert_eq!(size(None, Some(512 << 20)).bound_by, "512MiB of the cgroup's memory");
        assert_eq!(size(None, Some(1 << 20)).calls, LEAST_CALLS);
    }

    #[test]
    fn the_cgroup_wins_over_the_machine_when_it_is_smaller() {
        let files = |path: &str| match path {
            "/proc/meminfo" => Some("MemTotal:       1048576 kB\n".to_owned()),
            "/proc/self/cgroup" => Some("0::/a/b\n".to_owned()),
            "/sys/fs/cgroup/a/b/memory.max" => Some("536870912\n".to_owned()),
            _ => None,
        };
        assert_eq!(memory_limit(&files), Some((536_870_912, "the cgroup's")));
        let unlimited = |path: &str| if path.ends_with("memory.max") { Some("max\n".to_owned()) } else { files(path) };
        assert_eq!(memory_limit(&unlimited), Some((1 << 30, "the machine's")));
    }

    #[tokio::test]
    async fn slots_are_handed_out_in_order_and_come_back() {
        let gate = PoolGate::new(Footprint { calls: 2, ..Footprint::MAX }, Gauge::default());
        let (first, second) = (gate.reserve(ONE, 0).await, gate.reserve(ONE, 0).await);
        assert!(gate.try_reserve(ONE, 0).is_none());
        let mut third = Box::pin(gate.reserve(ONE, 0));
        assert!(futures::poll!(&mut third).is_pending());
        drop(first);
        let third = third.await;
        assert_eq!(gate.in_use(), 2);
        drop((second, third));
        assert_eq!(gate.in_use(), 0);
    }

    #[tokio::test]
    async fn calls_that_guests_lead_to_have_a_share_that_others_leave_them() {
        let all = LEVELS * KEPT_FOR_NESTED;
        let gate = PoolGate::new(Footprint { calls: all, ..Footprint::MAX }, Gauge::default());
        let fill = |level| std::iter::from_fn(|| gate.try_reserve(ONE, level)).collect::<Vec<_>>();
        assert_eq!(fill(0).len(), all as usize, "nothing is kept where guests call nobody");
        gate.expect_nested_calls();
        let outside = fill(0);
        assert_eq!(outside.len(), (all - LEVELS) as usize);
        // Whoever comes from outside waits, and not before those who do not.
        let mut waiting = Box::pin(gate.reserve(ONE, 0));
        assert!(futures::poll!(&mut waiting).is_pending());
        let mut held = Vec::new();
        for (level, room) in [(1, 8), (2, 4), (3, 2), (4, 1), (5, 1), (6, 0)] {
            let taken = fill(level);
            assert_eq!(taken.len(), room, "at level {level}");
            let mut deeper = Box::pin(gate.reserve(ONE, level));
            assert!(futures::poll!(&mut deeper).is_pending());
            held.extend(taken);
        }
        assert!(gate.try_reserve(ONE, LEVELS + 5).is_none(), "all are taken");
        let mut deepest = Box::pin(gate.reserve(ONE, LEVELS + 5));
        assert!(futures::poll!(&mut deepest).is_pending());
        drop(held.pop());
        let deepest = deepest.await;
        assert!(futures::poll!(&mut waiting).is_pending());
        drop((deepest, held));
        drop(outside);
        drop(waiting.await);
        assert_eq!(gate.in_use(), 0);
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_does_not_block_those_behind() {
        let gate = PoolGate::new(Footprint { calls: 1, ..Footprint::MAX }, Gauge::default());
        let held = gate.reserve(ONE, 0).await;
        let mut impatient = Box::pin(gate.reserve(ONE, 0));
        assert!(futures::poll!(&mut impatient).is_pending());
        let mut patient = Box::pin(gate.reserve(ONE, 0));
        assert!(futures::poll!(&mut patient).is_pending());
        drop(impatient);
        drop(held);
        drop(patient.await);
        assert_eq!(gate.in_use(), 0);
    }

    #[tokio::test]
    async fn a_large_footprint_that_gives_up_makes_way_for_the_small_ones_behind() {
        let gate = PoolGate::new(Footprint { calls: 4, core_instances: 4, ..Footprint::MAX }, Gauge::default());
        let held = gate.reserve(ONE, 0).await;
        let mut large = Box::pin(gate.reserve(Footprint { core_instances: 4, ..ONE }, 0));
        assert!(futures::poll!(&mut large).is_pending());
        let mut small = Box::pin(gate.reserve(ONE, 0));
        assert!(futures::poll!(&mut small).is_pending(), "the large one came first");
        drop(large);
        let small = small.await;
        assert!(gate.try_reserve(ONE, 0).is_some(), "nobody waits any more");
        drop((held, small));
        assert_eq!(gate.in_use(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_hammer_of_mixed_footprints_loses_no_slot() {
        let gate = Arc::new(PoolGate::new(
            Footprint { calls: 8, core_instances: 20, memories: 8, tables: 16, stacks: 8 },
            Gauge::default(),
        ));
        let tasks: Vec<_> = (0..64u32)
            .map(|n| {
                let gate = Arc::clone(&gate);
                let footprint = Footprint { core_instances: 1 + n % 14, tables: n % 3, ..ONE };
                tokio::spawn(async move {
                    for round in 0..50 {
                        let mut wait = Box::pin(gate.reserve(footprint, 0));
                        if round % 7 == 0 && futures::poll!(&mut wait).is_pending() {
                            continue; // gave up
                        }
                        if round % 7 != 0 {
                            let held = wait.await;
                            tokio::task::yield_now().await;
                            drop(held);
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(gate.in_use(), 0);
        assert_eq!(gate.shared.state.lock().free, gate.capacity);
    }
}
