//! The counters of one workload, and how they become text.
//!
//! Each thread adds to a shard of its own, so that cores serving the same workload do not pull one cache line back and
//! forth; a reader adds the shards up. A reader may see one call half counted: these are statistics.

use std::{
    array, fmt,
    sync::atomic::{
        AtomicI64, AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};
use samara_model::{Capability, WorkloadId};

use super::{
    names::{self, Name},
    usage::{self, UseTotals, Uses},
};

/// Every value of the `outcome` label: success, `Fault::label()`, a caller that went away, and what we do not know.
pub const OUTCOMES: &[&str] =
    &["ok", "guest", "limit", "denied", "busy", "caller", "config", "backend", "host", "cancelled", "other"];
const OUTCOME_COUNT: usize = 11;
const CAPABILITY_COUNT: usize = 13;
/// Upper bounds of the latency buckets in microseconds: a cached hello is under 100 us, the default deadline 30 s.
const BUCKETS_MICROS: [u64; 18] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];
const BUCKET_COUNT: usize = BUCKETS_MICROS.len() + 1;
/// Enough shards that a few cores rarely meet; a shard is about 600 bytes.
const SHARDS: usize = 8;

const _: () = assert!(OUTCOMES.len() == OUTCOME_COUNT && Capability::ALL.len() == CAPABILITY_COUNT);

/// How a call ended and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `"ok"`, `Fault::label()`, or `"cancelled"` when the caller went away.
    pub label: &'static str,
    /// Wall time from admission to the end of the reply.
    pub latency: Duration,
    /// Time the guest spent running.
    pub cpu: Duration,
    /// Most linear memory the instance held, in bytes.
    pub memory_bytes: u64,
}

/// One thread's share of a workload's counters, in cache lines of its own (two, as CPUs fetch pairs).
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    outcomes: [AtomicU64; OUTCOME_COUNT],
    buckets: [AtomicU64; BUCKET_COUNT],
    latency_nanos: AtomicU64,
    cpu_nanos: AtomicU64,
    memory_bytes_max: AtomicU64,
    queue_depth: AtomicI64,
    queue_nanos: AtomicU64,
    in_flight: AtomicI64,
    kept: AtomicI64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    denials: [AtomicU64; CAPABILITY_COUNT],
    log_dropped_lines: AtomicU64,
    log_dropped_bytes: AtomicU64,
}

impl Shard {
    fn new() -> Self {
        Self {
            outcomes: array::from_fn(|_| AtomicU64::new(0)),
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            latency_nanos: AtomicU64::new(0),
            cpu_nanos: AtomicU64::new(0),
            memory_bytes_max: AtomicU64::new(0),
            queue_depth: AtomicI64::new(0),
            queue_nanos: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            kept: AtomicI64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            denials: array::from_fn(|_| AtomicU64::new(0)),
            log_dropped_lines: AtomicU64::new(0),
            log_dropped_bytes: AtomicU64::new(0),
        }
    }
}

/// The counters of one workload. No method locks, allocates or looks anything up by name, but for what is counted of
/// capabilities: that looks up a short list, which grows by what is used for the first time.
#[derive(Debug)]
pub struct WorkloadMetrics {
    shards: Box<[Shard; SHARDS]>,
    /// Too rare to be sharded.
    long_calls: AtomicU64,
    uses: Uses,
}

impl WorkloadMetrics {
    pub(super) fn new() -> Self {
        let shards = Box::new(array::from_fn(|_| Shard::new()));
        Self { shards, long_calls: AtomicU64::new(0), uses: Uses::default() }
    }

    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Relaxed) % SHARDS;
        }
        // A thread that is being torn down counts into the first shard.
        let mine = MINE.try_with(|mine| *mine).unwrap_or(0);
        let [first, ..] = &*self.shards;
        self.shards.get(mine).unwrap_or(first)
    }

    /// A call began to wait for its turn.
    pub fn queued(&self) {
        self.shard().queue_depth.fetch_add(1, Relaxed);
    }

    /// A call's wait ended, with its turn or without.
    pub fn dequeued(&self, wait: Duration) {
        let shard = self.shard();
        shard.queue_depth.fetch_sub(1, Relaxed);
        shard.queue_nanos.fetch_add(nanos(wait), Relaxed);
    }

    /// A call got its turn.
    pub fn started(&self) {
        self.shard().in_flight.fetch_add(1, Relaxed);
    }

    /// A call that had started ended. One that never got its turn is counted by [`Self::refused`].
    pub fn ended(&self, outcome: &Outcome) {
        self.refused(outcome);
        // Last: a call that is no longer in flight has been counted.
        self.shard().in_flight.fetch_sub(1, Release);
    }

    /// A call has run for so long that it went on in the lane.
    pub fn went_long(&self) {
        self.long_calls.fetch_add(1, Relaxed);
    }

    /// A call ended without having started: it was refused or given up while it waited.
    pub fn refused(&self, outcome: &Outcome) {
        let shard = self.shard();
        let which = OUTCOMES.iter().position(|label| *label == outcome.label).unwrap_or(OUTCOME_COUNT - 1);
        add(&shard.outcomes, which, 1);
        let latency = nanos(outcome.latency);
        add(&shard.buckets, BUCKETS_MICROS.partition_point(|bound| bound.saturating_mul(1000) < latency), 1);
        shard.latency_nanos.fetch_add(latency, Relaxed);
        shard.cpu_nanos.fetch_add(nanos(outcome.cpu), Relaxed);
        // Rarely higher than before: a load is cheaper than the read-modify-write.
        if shard.memory_bytes_max.load(Relaxed) < outcome.memory_bytes {
            shard.memory_bytes_max.fetch_max(outcome.memory_bytes, Relaxed);
        }
    }

    /// Instances began, or stopped, to wait for another call.
    pub fn kept(&self, more: i64) {
        self.shard().kept.fetch_add(more, Relaxed);
    }

    /// A guest was given bytes of a call.
    pub fn received(&self, bytes: usize) {
        self.shard().bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes of a guest's reply were handed on.
    pub fn sent(&self, bytes: usize) {
        self.shard().bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// The guest asked for something it was not granted.
    pub fn denied(&self, capability: Capability) {
        let which = Capability::ALL.iter().position(|known| *known == capability).unwrap_or(0);
        add(&self.shard().denials, which, 1);
    }

    /// The guest begins an operation it is granted: `name` is the store, or the origin.
    pub fn used(&self, capability: Capability, name: &str, operation: &'static str) {
        self.uses.begun(capability, name, operation);
    }

    /// An operation of the guest ended.
    pub fn used_up(&self, capability: Capability, name: &str, operation: &'static str, took: Duration, failed: bool) {
        self.uses.ended(capability, name, operation, took, failed);
    }

    /// Log lines, and bytes of lines, were dropped.
    pub fn log_dropped(&self, lines: u64, bytes: u64) {
        let shard = self.shard();
        shard.log_dropped_lines.fetch_add(lines, Relaxed);
        shard.log_dropped_bytes.fetch_add(bytes, Relaxed);
    }

    /// What has been counted so far.
    pub fn totals(&self) -> WorkloadTotals {
        let sum = |field: fn(&Shard) -> &AtomicU64| self.shards.iter().map(|s| field(s).load(Relaxed)).sum();
        let level = |field: fn(&Shard) -> &AtomicI64| {
            let level: i64 = self.shards.iter().map(|s| field(s).load(Acquire)).sum();
            u64::try_from(level).unwrap_or(0)
        };
        let at = |field: fn(&Shard) -> &[AtomicU64], index: usize| {
            self.shards.iter().filter_map(|s| field(s).get(index)).map(|n| n.load(Relaxed)).sum()
        };
        // First: what was in flight and is not has been counted by now.
        let in_flight = level(|s| &s.in_flight);
        WorkloadTotals {
            outcomes: array::from_fn(|i| at(|s| &s.outcomes, i)),
            latency_buckets: array::from_fn(|i| at(|s| &s.buckets, i)),
            latency: Duration::from_nanos(sum(|s| &s.latency_nanos)),
            cpu: Duration::from_nanos(sum(|s| &s.cpu_nanos)),
            memory_bytes_max: self.shards.iter().map(|s| s.memory_bytes_max.load(Relaxed)).max().unwrap_or(0),
            queue_depth: level(|s| &s.queue_depth),
            queue_wait: Duration::from_nanos(sum(|s| &s.queue_nanos)),
            in_flight,
            kept: level(|s| &s.kept),
            long_calls: self.long_calls.load(Relaxed),
            bytes_in: sum(|s| &s.bytes_in),
            bytes_out: sum(|s| &s.bytes_out),
            denials: array::from_fn(|i| at(|s| &s.denials, i)),
            log_dropped_lines: sum(|s| &s.log_dropped_lines),
            log_dropped_bytes: sum(|s| &s.log_dropped_bytes),
            uses: self.uses.totals(),
        }
    }
}

fn add(counters: &[AtomicU64], index: usize, amount: u64) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(amount, Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a workload has counted so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadTotals {
    /// Calls that ended, in the order of [`OUTCOMES`].
    outcomes: [u64; OUTCOME_COUNT],
    latency_buckets: [u64; BUCKET_COUNT],
    denials: [u64; CAPABILITY_COUNT],
    /// Wall time of all calls that ended.
    pub latency: Duration,
    /// Time the guest spent running.
    pub cpu: Duration,
    /// Most linear memory one instance has held, in bytes.
    pub memory_bytes_max: u64,
    /// Calls waiting now.
    pub queue_depth: u64,
    /// Time calls spent waiting.
    pub queue_wait: Duration,
    /// Calls being served now.
    pub in_flight: u64,
    /// Instances kept for another call.
    pub kept: u64,
    /// Calls that went on in the lane.
    pub long_calls: u64,
    /// Bytes of calls that guests were given.
    pub bytes_in: u64,
    /// Bytes of replies that were handed on.
    pub bytes_out: u64,
    /// Log lines dropped.
    pub log_dropped_lines: u64,
    /// Bytes of log lines dropped.
    pub log_dropped_bytes: u64,
    /// What it used of what it is granted, ordered by capability, store and operation.
    pub uses: Vec<UseTotals>,
}

impl WorkloadTotals {
    /// Calls that ended, by outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.iter().copied().zip(self.outcomes)
    }

    /// Calls that ended.
    pub fn calls(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Denials, by capability.
    pub fn denials(&self) -> impl Iterator<Item = (Capability, u64)> {
        Capability::ALL.iter().copied().zip(self.denials)
    }

    /// Calls that ended, by how long they took at most; `None` is the rest, beyond the last bound. A call is in one bucket.
    pub fn latency_buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BUCKETS_MICROS.iter().map(|micros| Some(Duration::from_micros(*micros))).chain([None]);
        bounds.zip(self.latency_buckets)
    }

    /// The latency that `fraction` (0 to 1) of the calls stayed under, as the upper bound of its bucket; `None` without
    /// calls, or when it is beyond the last bound.
    pub fn latency_quantile(&self, fraction: f64) -> Option<Duration> {
        let total: u64 = self.latency_buckets.iter().sum();
        let mut seen = 0;
        for (bound, count) in BUCKETS_MICROS.iter().zip(self.latency_buckets) {
            seen += count;
            if seen > 0 && seen as f64 >= fraction * total as f64 {
                return Some(Duration::from_micros(*bound));
            }
        }
        None
    }
}

/// Writes the series of all workloads: family by family, as the text format wants them.
pub(super) fn encode(workloads: &[(WorkloadId, WorkloadTotals)], mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    let mut family =
        |name: Name,
         kind: MetricType,
         each: &dyn Fn(&Labels<'_>, &WorkloadTotals, &mut MetricEncoder<'_>) -> fmt::Result| {
            let mut metric = encoder.encode_descriptor(name.family(), &format!("{}.", name.help), None, kind)?;
            workloads.iter().try_for_each(|(id, totals)| each(&labels(id), totals, &mut metric))
        };
    let (counter, gauge) = (MetricType::Counter, MetricType::Gauge);
    family(names::CALLS, counter, &|labels, totals, metric| {
        // A label value appears with its first call, except success, so that a rate can always be formed.
        let seen = totals.outcomes().filter(|(label, count)| *count > 0 || *label == "ok");
        seen.into_iter().try_for_each(|(label, count)| encode_counter(metric, &with(labels, "outcome", label), count))
    })?;
    family(names::CALL_SECONDS, MetricType::Histogram, &|labels, totals, metric| {
        let bounds = BUCKETS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(totals.latency_buckets).collect();
        let (sum, count) = (totals.latency.as_secs_f64(), totals.calls());
        metric.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    })?;
    family(names::GUEST_CPU, counter, &|labels, totals, metric| encode_seconds(metric, labels, totals.cpu))?;
    family(names::GUEST_MEMORY_MAX, gauge, &|labels, totals, metric| {
        metric.encode_family(labels)?.encode_gauge(&totals.memory_bytes_max)
    })?;
    family(names::QUEUE_DEPTH, gauge, &|labels, totals, metric| {
        metric.encode_family(labels)?.encode_gauge(&totals.queue_depth)
    })?;
    family(names::QUEUE_SECONDS, counter, &|labels, totals, metric| encode_seconds(metric, labels, totals.queue_wait))?;
    family(names::IN_FLIGHT, gauge, &|labels, totals, metric| {
        metric.encode_family(labels)?.encode_gauge(&totals.in_flight)
    })?;
    family(names::LONG_CALLS, counter, &|labels, totals, metric| encode_counter(metric, labels, totals.long_calls))?;
    family(names::KEPT, gauge, &|labels, totals, metric| metric.encode_family(labels)?.encode_gauge(&totals.kept))?;
    family(names::BYTES_IN, counter, &|labels, totals, metric| encode_counter(metric, labels, totals.bytes_in))?;
    family(names::BYTES_OUT, counter, &|labels, totals, metric| encode_counter(metric, labels, totals.bytes_out))?;
    family(names::DENIALS, counter, &|labels, totals, metric| {
        let seen = totals.denials().filter(|(_, count)| *count > 0);
        seen.into_iter().try_for_each(|(capability, count)| {
            encode_counter(metric, &with(labels, "capability", capability.as_str()), count)
        })
    })?;
    family(names::CAPABILITY_SECONDS, MetricType::Histogram, &|labels, totals, metric| {
        totals.uses.iter().try_for_each(|one| encode_use(metric, labels, one))
    })?;
    family(names::LOG_DROPPED_LINES, counter, &|labels, totals, metric| {
        encode_counter(metric, labels, totals.log_dropped_lines)
    })?;
    family(names::LOG_DROPPED_BYTES, counter, &|labels, totals, metric| {
        encode_counter(metric, labels, totals.log_dropped_bytes)
    })
}

/// Both outcomes of one operation, as far as they occurred.
fn encode_use(metric: &mut MetricEncoder<'_>, labels: &Labels<'_>, one: &UseTotals) -> fmt::Result {
    let [tenant, app, workload] = *labels;
    for ((outcome, time), counts) in ["ok", "failed"].iter().zip(one.times).zip(one.buckets) {
        let count: u64 = counts.iter().sum();
        if count == 0 {
            continue;
        }
        let bounds = usage::BUCKETS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let capability = ("capability", one.capability.as_str());
        let rest = [capability, ("store", &*one.name), ("operation", one.operation), ("outcome", *outcome)];
        let [capability, store, operation, outcome] = rest;
        let labels = [tenant, app, workload, capability, store, operation, outcome];
        metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(time.as_secs_f64(), count, &buckets, None)?;
    }
    Ok(())
}

type Labels<'a> = [(&'static str, &'a str); 3];

fn labels(id: &WorkloadId) -> Labels<'_> {
    [("tenant", id.tenant.as_str()), ("app", &id.app), ("workload", &id.name)]
}

fn with<'a>(labels: &Labels<'a>, name: &'static str, value: &'a str) -> [(&'static str, &'a str); 4] {
    let [tenant, app, workload] = *labels;
    [tenant, app, workload, (name, value)]
}

fn encode_counter(metric: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, count: u64) -> fmt::Result {
    metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
}

fn encode_seconds(metric: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, time: Duration) -> fmt::Result {
    metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(&time.as_secs_f64(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_together() {
        let metrics = WorkloadMetrics::new();
        std::thread::scope(|scope| {
            for thread in 0..16u64 {
                let metrics = &metrics;
                scope.spawn(move || {
                    for call in 0..1000u64 {
                        metrics.queued();
                        metrics.dequeued(Duration::from_nanos(1));
                        metrics.started();
                        let latency = Duration::from_micros(call);
                        let memory_bytes = thread * 1000 + call;
                        metrics.ended(&Outcome { label: "ok", latency, cpu: Duration::from_nanos(2), memory_bytes });
                    }
                });
            }
        });
        let totals = metrics.totals();
        assert_eq!(totals.calls(), 16_000);
        assert_eq!((totals.in_flight, totals.queue_depth), (0, 0));
        assert_eq!((totals.cpu, totals.queue_wait), (Duration::from_nanos(32_000), Duration::from_nanos(16_000)));
        assert_eq!(totals.memory_bytes_max, 15_999);
        assert_eq!(totals.latency_quantile(0.5), Some(Duration::from_micros(500)));
    }

    #[test]
    fn a_start_on_one_thread_and_an_end_on_another_meet() {
        let metrics = WorkloadMetrics::new();
        std::thread::scope(|scope| {
            scope.spawn(|| metrics.started());
        });
        let zero = Duration::ZERO;
        std::thread::scope(|scope| {
            let outcome = Outcome { label: "cancelled", latency: zero, cpu: zero, memory_bytes: 0 };
            scope.spawn(move || metrics_end(&metrics, &outcome));
        });
        fn metrics_end(metrics: &WorkloadMetrics, outcome: &Outcome) {
            metrics.ended(outcome);
            assert_eq!(metrics.totals().in_flight, 0);
            assert!(metrics.totals().outcomes().any(|seen| seen == ("cancelled", 1)));
        }
    }

    #[test]
    fn latencies_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let bucket = |latency: Duration| {
            let metrics = WorkloadMetrics::new();
            metrics.refused(&Outcome { label: "busy", latency, cpu: Duration::ZERO, memory_bytes: 0 });
            metrics.totals().latency_buckets().position(|(_, count)| count == 1)
        };
        let bounds: Vec<_> = WorkloadMetrics::new().totals().latency_buckets().map(|(bound, _)| bound).collect();
        assert_eq!(bounds.len(), BUCKET_COUNT);
        assert_eq!((bounds[0], bounds[18]), (Some(Duration::from_micros(50)), None));
        assert_eq!(bucket(Duration::ZERO), Some(0));
        assert_eq!(bucket(Duration::from_micros(50)), Some(0));
        assert_eq!(bucket(Duration::from_nanos(50_001)), Some(1));
        assert_eq!(bucket(Duration::from_secs(30)), Some(17));
        assert_eq!(bucket(Duration::MAX), Some(18));
    }

    #[test]
    fn an_outcome_we_do_not_know_is_still_counted() {
        let metrics = WorkloadMetrics::new();
        let zero = Duration::ZERO;
        metrics.refused(&Outcome { label: "surprise", latency: zero, cpu: zero, memory_bytes: 0 });
        assert!(metrics.totals().outcomes().any(|seen| seen == ("other", 1)));
    }
}
