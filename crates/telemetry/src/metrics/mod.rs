//! Counters, gauges and histograms, and their Prometheus text.
//!
//! A workload's counters are found once, when it is loaded; a call only adds to atomics that live in the calling core's own
//! cache lines. `prometheus-client` writes the text; its own `Histogram` and `Family` are not used per workload
//! because both lock.

pub mod names;
mod usage;
mod workload;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use parking_lot::RwLock;
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use samara_model::{AppId, WorkloadId};

pub use usage::{MAX_USES, OTHER, UseTotals};
pub use workload::{OUTCOMES, Outcome, WorkloadMetrics, WorkloadTotals};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of what Prometheus read before there was OpenMetrics, and other tools still do.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Workloads = RwLock<BTreeMap<WorkloadId, Arc<WorkloadMetrics>>>;

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    workloads: Arc<Workloads>,
    host: HostMetrics,
}

/// Metrics of the process as a whole. Cheap to clone: clones count together.
#[derive(Clone, Debug)]
pub struct HostMetrics {
    /// Pool slots in use.
    pub pool_calls_in_use: Gauge,
    /// Pool slots there are.
    pub pool_calls_capacity: Gauge,
    /// Modules loaded from the code cache.
    pub code_cache_hits: Counter<u64, AtomicU64>,
    /// Modules the code cache did not have.
    pub code_cache_misses: Counter<u64, AtomicU64>,
    /// Files in the code cache that failed a check.
    pub code_cache_rejected: Counter<u64, AtomicU64>,
    /// Modules that could not be compiled.
    pub compile_failures: Counter<u64, AtomicU64>,
    /// Workloads that serve baseline code.
    pub baseline_workloads: Gauge,
    /// Workloads whose optimised code took over from their baseline code.
    pub tier_swaps: Counter<u64, AtomicU64>,
    /// Workloads that go on serving baseline code because there is no optimised code.
    pub tier_failures: Counter<u64, AtomicU64>,
    /// Lines of the access log that nobody took in time.
    pub access_log_dropped: Counter<u64, AtomicU64>,
    /// Spans that no collector took.
    pub spans_dropped: Counter<u64, AtomicU64>,
    /// Open client connections.
    pub http_connections: Gauge,
    /// Connections that did not become TLS.
    pub tls_handshake_failures: Counter<u64, AtomicU64>,
    /// Times changed certificates were taken.
    pub tls_reloads: Counter<u64, AtomicU64>,
    /// Times changed certificates were refused.
    pub tls_reload_failures: Counter<u64, AtomicU64>,
    /// When the first certificate expires, in seconds since 1970.
    pub tls_certificate_expiry: Gauge,
    /// Times a workload's tag had moved and what it names now took over.
    pub tag_updates: Counter<u64, AtomicU64>,
    /// Times what a tag names now was refused, or could not be asked for.
    pub tag_update_failures: TagFailures,
    compile_seconds: Histogram,
}

/// Times the tags of an app could not be followed, by app and reason.
#[derive(Clone, Debug, Default)]
pub struct TagFailures(Family<Vec<(&'static str, String)>, Counter<u64, AtomicU64>>);

impl TagFailures {
    /// Why, in one word: the registry does not answer, or what it has is refused.
    const REASONS: [&str; 2] = ["unanswered", "refused"];

    /// Counts one of an app whose tags were answered, or not.
    pub fn count(&self, app: &AppId, answered: bool) {
        let [unanswered, refused] = Self::REASONS;
        self.0.get_or_create(&Self::labels(app, if answered { refused } else { unanswered })).inc();
    }

    /// How often it was counted for an app.
    pub fn of(&self, app: &AppId) -> u64 {
        let count = |reason| self.0.get(&Self::labels(app, reason)).map_or(0, |counter| counter.get());
        Self::REASONS.into_iter().map(count).sum()
    }

    /// Forgets an app: its series end.
    pub fn remove(&self, app: &AppId) {
        for reason in Self::REASONS {
            self.0.remove(&Self::labels(app, reason));
        }
    }

    fn labels(app: &AppId, reason: &str) -> Vec<(&'static str, String)> {
        vec![("tenant", app.tenant.to_string()), ("app", app.name.to_string()), ("reason", reason.to_owned())]
    }
}

impl HostMetrics {
    /// Counts a compilation that took `wall` time.
    pub fn compiled(&self, wall: Duration) {
        self.compile_seconds.observe(wall.as_secs_f64());
    }

    fn register(registry: &mut Registry) -> Self {
        let gauge = |registry: &mut Registry, name: names::Name| {
            let gauge = Gauge::default();
            registry.register(name.family(), name.help, gauge.clone());
            gauge
        };
        let counter = |registry: &mut Registry, name: names::Name| {
            let counter = Counter::default();
            registry.register(name.family(), name.help, counter.clone());
            counter
        };
        // From a small cached policy to a large interpreter.
        let compile_seconds = Histogram::new([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]);
        registry.register(names::COMPILE_SECONDS.family(), names::COMPILE_SECONDS.help, compile_seconds.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register(names::BUILD.family(), names::BUILD.help, build);
        let tag_update_failures = TagFailures::default();
        let name = names::TAG_UPDATE_FAILURES;
        registry.register(name.family(), name.help, tag_update_failures.0.clone());
        Self {
            pool_calls_in_use: gauge(registry, names::POOL_IN_USE),
            pool_calls_capacity: gauge(registry, names::POOL_CAPACITY),
            code_cache_hits: counter(registry, names::CODE_CACHE_HITS),
            code_cache_misses: counter(registry, names::CODE_CACHE_MISSES),
            code_cache_rejected: counter(registry, names::CODE_CACHE_REJECTED),
            compile_failures: counter(registry, names::COMPILE_FAILURES),
            baseline_workloads: gauge(registry, names::BASELINE_WORKLOADS),
            tier_swaps: counter(registry, names::TIER_SWAPS),
            tier_failures: counter(registry, names::TIER_FAILURES),
            access_log_dropped: counter(registry, names::ACCESS_LOG_DROPPED),
            spans_dropped: counter(registry, names::SPANS_DROPPED),
            http_connections: gauge(registry, names::HTTP_CONNECTIONS),
            tls_handshake_failures: counter(registry, names::TLS_HANDSHAKE_FAILURES),
            tls_reloads: counter(registry, names::TLS_RELOADS),
            tls_reload_failures: counter(registry, names::TLS_RELOAD_FAILURES),
            tls_certificate_expiry: gauge(registry, names::TLS_CERTIFICATE_EXPIRY),
            tag_updates: counter(registry, names::TAG_UPDATES),
            tag_update_failures,
            compile_seconds,
        }
    }
}

impl Metrics {
    /// The metrics of a process, all zero.
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let host = HostMetrics::register(&mut registry);
        let workloads = Arc::<Workloads>::default();
        registry.register_collector(Box::new(Series(Arc::clone(&workloads))));
        Arc::new(Self { registry, workloads, host })
    }

    /// The metrics of the process as a whole.
    pub fn host(&self) -> &HostMetrics {
        &self.host
    }

    /// The counters of one workload, made when first asked for. Ask at load and keep the answer: this locks.
    ///
    /// A new version of a workload goes on counting where the old one was.
    pub fn workload(&self, id: &WorkloadId) -> Arc<WorkloadMetrics> {
        if let Some(known) = self.find(id) {
            return known;
        }
        let mut workloads = self.workloads.write();
        Arc::clone(workloads.entry(id.clone()).or_insert_with(|| Arc::new(WorkloadMetrics::new())))
    }

    /// The metrics of a workload, if it has any.
    pub fn find(&self, id: &WorkloadId) -> Option<Arc<WorkloadMetrics>> {
        self.workloads.read().get(id).cloned()
    }

    /// Forgets a workload: its series end. Calls still running count into nothing.
    pub fn remove(&self, id: &WorkloadId) {
        self.workloads.write().remove(id);
    }

    /// The totals of every workload, ordered by name.
    pub fn totals(&self) -> Vec<(WorkloadId, WorkloadTotals)> {
        self.workloads.read().iter().map(|(id, metrics)| (id.clone(), metrics.totals())).collect()
    }

    /// Every metric as text, of the type [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl Metrics {
    /// Every metric for a reader with this `Accept` header, as a content type and its text: OpenMetrics for those who ask for
    /// it, else the older form.
    pub fn encode_for(&self, accept: &str) -> (&'static str, String) {
        if accept.contains("application/openmetrics-text") {
            return (CONTENT_TYPE, self.encode());
        }
        (TEXT_CONTENT_TYPE, older(&self.encode()))
    }
}

/// OpenMetrics text in the older form: there a family has the full name of its series, and `info` is no type.
fn older(text: &str) -> String {
    let mut older = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let comment = line.strip_prefix("# ").and_then(|rest| {
            let (word, rest) = rest.split_once(' ')?;
            let (family, rest) = rest.split_once(' ')?;
            Some((word, family, rest))
        });
        match comment {
            Some((word, family, rest)) => {
                let full = names::ALL.iter().find(|name| name.family() == family).map_or(family, |name| name.name);
                let rest = if (word, rest) == ("TYPE", "info") { "gauge" } else { rest };
                older.extend(["# ", word, " ", full, " ", rest]);
            }
            None => older.push_str(line),
        }
        older.push('\n');
    }
    older
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("workloads", &self.workloads.read().len()).finish_non_exhaustive()
    }
}

/// Writes the series of all workloads when Prometheus asks.
#[derive(Debug)]
struct Series(Arc<Workloads>);

impl Collector for Series {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Snapshots first: the lock is not held while text is written.
        let workloads: Vec<_> = self.0.read().iter().map(|(id, metrics)| (id.clone(), metrics.totals())).collect();
        workload::encode(&workloads, encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_model::{Capability, Tenant};

    pub(crate) fn id(name: &str) -> WorkloadId {
        WorkloadId { tenant: Tenant::new("acme").unwrap(), app: "shop".into(), name: name.into() }
    }

    fn outcome(label: &'static str, millis: u64) -> Outcome {
        let latency = Duration::from_millis(millis);
        Outcome { label, latency, cpu: Duration::from_millis(1), memory_bytes: 1 << 20 }
    }

    #[test]
    fn every_declared_metric_is_exposed_with_help_and_type() {
        let metrics = Metrics::new();
        metrics.workload(&id("cart"));
        metrics.host().tag_update_failures.count(&AppId::new("default", "shop").unwrap(), true);
        let text = metrics.encode();
        for name in names::ALL {
            assert!(text.contains(&format!("# HELP {} {}", name.family(), name.help)), "{name:?}\n{text}");
            assert!(text.contains(&format!("# TYPE {} ", name.family())), "{name:?}");
        }
        assert!(text.contains(concat!("samara_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_workloads_calls_show_up_under_its_labels_until_it_is_removed() {
        let metrics = Metrics::new();
        let cart = metrics.workload(&id("cart"));
        for (label, millis) in [("ok", 2), ("ok", 200), ("guest", 2)] {
            cart.started();
            cart.ended(&outcome(label, millis));
        }
        cart.started();
        cart.queued();
        cart.denied(Capability::Kv);
        cart.used(Capability::Kv, "carts", "get");
        cart.used_up(Capability::Kv, "carts", "get", Duration::from_micros(50), false);
        cart.log_dropped(3, 99);
        cart.received(5);
        cart.sent(7);
        cart.kept(2);
        cart.kept(-1);
        cart.went_long();
        let text = metrics.encode();
        let labels = "tenant=\"acme\",app=\"shop\",workload=\"cart\"";
        for line in [
            format!("samara_calls_total{{{labels},outcome=\"ok\"}} 2"),
            format!("samara_calls_total{{{labels},outcome=\"guest\"}} 1"),
            format!("samara_call_seconds_count{{{labels}}} 3"),
            format!("samara_call_seconds_bucket{{le=\"0.0025\",{labels}}} 2"),
            format!("samara_call_seconds_bucket{{le=\"+Inf\",{labels}}} 3"),
            format!("samara_guest_cpu_seconds_total{{{labels}}} 0.003"),
            format!("samara_guest_memory_bytes_max{{{labels}}} 1048576"),
            format!("samara_queue_depth{{{labels}}} 1"),
            format!("samara_calls_in_flight{{{labels}}} 1"),
            format!("samara_denials_total{{{labels},capability=\"kv\"}} 1"),
            format!(
                "samara_capability_seconds_bucket{{le=\"0.0001\",{labels},capability=\"kv\",store=\"carts\",operation=\"get\",outcome=\"ok\"}} 1"
            ),
            format!("samara_call_bytes_in_total{{{labels}}} 5"),
            format!("samara_call_bytes_out_total{{{labels}}} 7"),
            format!("samara_long_calls_total{{{labels}}} 1"),
            format!("samara_instances_kept{{{labels}}} 1"),
            format!("samara_log_dropped_lines_total{{{labels}}} 3"),
            format!("samara_log_dropped_bytes_total{{{labels}}} 99"),
        ] {
            assert!(text.contains(&line), "no line {line} in\n{text}");
        }
        metrics.remove(&id("cart"));
        assert!(!metrics.encode().contains("cart"));
    }

    #[test]
    fn readers_that_do_not_know_openmetrics_get_the_older_form() {
        let metrics = Metrics::new();
        metrics.workload(&id("cart")).refused(&outcome("ok", 2));
        let (kind, text) = metrics.encode_for("*/*");
        assert_eq!(kind, TEXT_CONTENT_TYPE);
        for line in [
            "# TYPE samara_calls_total counter",
            "# HELP samara_calls_total Calls that ended, by outcome: ok, or who was to blame.",
            "# TYPE samara_call_seconds histogram",
            "# TYPE samara_build_info gauge",
        ] {
            assert!(text.lines().any(|one| one == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("# EOF"));
        // Apart from comments they are the same.
        let series =
            |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(series(&text), series(&metrics.encode()));
        assert_eq!(metrics.encode_for("application/openmetrics-text;version=1.0.0,*/*;q=0.1").0, CONTENT_TYPE);
    }

    #[test]
    fn asking_twice_gives_the_same_counters() {
        let metrics = Metrics::new();
        assert!(Arc::ptr_eq(&metrics.workload(&id("a")), &metrics.workload(&id("a"))));
        assert!(!Arc::ptr_eq(&metrics.workload(&id("a")), &metrics.workload(&id("b"))));
    }

    #[test]
    fn host_metrics_count() {
        let metrics = Metrics::new();
        metrics.host().code_cache_hits.inc();
        metrics.host().compiled(Duration::from_millis(50));
        metrics.host().clone().http_connections.inc();
        let text = metrics.encode();
        for line in ["samara_code_cache_hits_total 1", "samara_compile_seconds_count 1", "samara_http_connections 1"] {
            assert!(text.contains(line), "no line {line} in\n{text}");
        }
    }
}
