//! From two moments of metrics to a row per workload.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use samara_telemetry::metrics::names;
use serde_json::json;

use super::exposition::Sample;

/// What a host had counted at one moment.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) at: Instant,
    workloads: BTreeMap<[String; 3], Counted>,
}

/// What one workload had counted.
#[derive(Clone, Debug, Default)]
struct Counted {
    calls: f64,
    errors: f64,
    cpu_seconds: f64,
    memory_bytes: f64,
    in_flight: f64,
    queued: f64,
    denials: f64,
    /// Calls by the bound of their latency in seconds, each with all below it.
    latency: Vec<(f64, f64)>,
}

impl Moment {
    pub(super) fn new(at: Instant, samples: &[Sample]) -> Self {
        let mut workloads: BTreeMap<[String; 3], Counted> = BTreeMap::new();
        for Sample { name, labels, value } in samples {
            let label = |name: &str| labels.get(name).cloned();
            let (Some(tenant), Some(app), Some(workload)) = (label("tenant"), label("app"), label("workload")) else {
                continue;
            };
            let counted = workloads.entry([tenant, app, workload]).or_default();
            let is = |metric: names::Name| *name == metric.name;
            if is(names::CALLS) {
                counted.calls += value;
                // A caller's mistake, and a caller that leaves, say nothing about the workload.
                if !matches!(labels.get("outcome").map(String::as_str), Some("ok" | "caller" | "cancelled")) {
                    counted.errors += value;
                }
            } else if is(names::GUEST_CPU) {
                counted.cpu_seconds = *value;
            } else if is(names::GUEST_MEMORY_MAX) {
                counted.memory_bytes = *value;
            } else if is(names::IN_FLIGHT) {
                counted.in_flight = *value;
            } else if is(names::QUEUE_DEPTH) {
                counted.queued = *value;
            } else if is(names::DENIALS) {
                counted.denials += value;
            } else if name.strip_suffix("_bucket") == Some(names::CALL_SECONDS.name)
                && let Some(bound) = labels.get("le").and_then(|bound| bound.parse().ok())
            {
                counted.latency.push((bound, *value));
            }
        }
        Self { at, workloads }
    }

    /// A row per workload: what happened since `before`, the busiest first.
    pub(super) fn since(&self, before: &Self) -> Vec<Row> {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        let rate = |now: f64, then: f64| (now - then).max(0.0) / seconds;
        let nothing = Counted::default();
        let mut rows: Vec<_> = self
            .workloads
            .iter()
            .map(|(name, now)| {
                let then = before.workloads.get(name).unwrap_or(&nothing);
                let lately =
                    || now.latency.iter().map(|(bound, count)| (*bound, count - then.at_most(*bound))).collect();
                let latency: Vec<_> = if now.calls > then.calls { lately() } else { now.latency.clone() };
                Row {
                    name: name.clone(),
                    calls: now.calls,
                    calls_per_second: rate(now.calls, then.calls),
                    errors_per_second: rate(now.errors, then.errors),
                    p50: quantile(&latency, 0.5),
                    p99: quantile(&latency, 0.99),
                    cpu: rate(now.cpu_seconds, then.cpu_seconds),
                    memory_bytes: now.memory_bytes,
                    in_flight: now.in_flight,
                    queued: now.queued,
                    denials: now.denials,
                }
            })
            .collect();
        // By name where equal, as the map has them.
        rows.sort_by(|a, b| b.calls_per_second.total_cmp(&a.calls_per_second));
        rows
    }
}

impl Counted {
    fn at_most(&self, bound: f64) -> f64 {
        self.latency.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, count)| *count)
    }
}

/// One workload.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Tenant, app, workload.
    pub(super) name: [String; 3],
    pub(super) calls: f64,
    pub(super) calls_per_second: f64,
    pub(super) errors_per_second: f64,
    /// Of the calls since the moment before; of all if there were none.
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
    /// Cores kept busy.
    pub(super) cpu: f64,
    pub(super) memory_bytes: f64,
    pub(super) in_flight: f64,
    pub(super) queued: f64,
    pub(super) denials: f64,
}

impl Row {
    pub(super) fn to_json(&self) -> serde_json::Value {
        let [tenant, app, workload] = &self.name;
        let seconds = |latency: Option<Duration>| latency.map(|latency| latency.as_secs_f64());
        json!({
            "tenant": tenant, "app": app, "workload": workload, "calls": self.calls,
            "calls_per_second": self.calls_per_second, "errors_per_second": self.errors_per_second,
            "p50_seconds": seconds(self.p50), "p99_seconds": seconds(self.p99), "cpu": self.cpu,
            "memory_bytes_max": self.memory_bytes, "in_flight": self.in_flight, "queued": self.queued,
            "denials": self.denials,
        })
    }
}

/// The latency that a share of the calls stayed under, evenly spread within its bucket. Beyond the last bound it is that
/// bound.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<Duration> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let wanted = share * total;
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= wanted && *count > below {
            let seconds =
                if bound.is_finite() { low + (bound - low) * ((wanted - below) / (count - below)) } else { low };
            return Duration::try_from_secs_f64(seconds).ok();
        }
        (low, below) = (*bound, *count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_model::{Tenant, WorkloadId};
    use samara_telemetry::{Metrics, Outcome};

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let buckets = [(0.001, 50.0), (0.01, 90.0), (f64::INFINITY, 100.0)];
        let millis = |share| quantile(&buckets, share).map(|latency| latency.as_secs_f64() * 1e3);
        assert_eq!(millis(0.5), Some(1.0));
        assert!((millis(0.7).unwrap() - 5.5).abs() < 1e-6);
        assert_eq!(millis(0.99), Some(10.0));
        assert_eq!(quantile(&[(0.1, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn rows_tell_what_happened_between_two_moments() {
        let metrics = Metrics::new();
        let id = |name: &str| WorkloadId { tenant: Tenant::default(), app: "shop".into(), name: name.into() };
        let (cart, idle) = (metrics.workload(&id("cart")), metrics.workload(&id("a-idle")));
        let call = |label, millis| Outcome {
            label,
            latency: Duration::from_millis(millis),
            cpu: Duration::from_millis(100),
            memory_bytes: 1 << 20,
        };
        let began = Instant::now();
        let moment = |seconds| {
            let samples = super::super::exposition::read(&metrics.encode());
            Moment::new(began + Duration::from_secs(seconds), &samples)
        };
        idle.refused(&call("ok", 1));
        cart.refused(&call("ok", 2000));
        let before = moment(0);
        for label in ["ok", "ok", "guest", "caller"] {
            cart.refused(&call(label, 4));
        }
        cart.started();
        let rows = moment(2).since(&before);
        let [busy, quiet] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((busy.name[2].as_str(), quiet.name[2].as_str()), ("cart", "a-idle"));
        assert_eq!((busy.calls, busy.calls_per_second, busy.errors_per_second, busy.in_flight), (5.0, 2.0, 0.5, 1.0));
        assert!((busy.cpu - 0.2).abs() < 1e-6, "{busy:?}");
        let p99 = busy.p99.unwrap();
        assert!(
            p99 > Duration::from_micros(2500) && p99 <= Duration::from_millis(5),
            "the slow call was before: {p99:?}"
        );
        assert_eq!((quiet.calls_per_second, quiet.p50.is_some()), (0.0, true));
        assert_eq!(busy.to_json()["calls_per_second"], 2.0);
    }
}
