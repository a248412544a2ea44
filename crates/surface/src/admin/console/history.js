// What workloads did lately: the host counts, and the page remembers what it counted before.
//
// All versions of a workload count together, so there is one history per name.

// Moments remembered of one workload.
const MOMENTS = 60;
// Rates are over so many seconds: steadier than between two moments.
const RATE_SECONDS = 10;
const LATENCY_SECONDS = 60;
// Neither a caller's mistake nor a caller that left is a failure of the workload. `samara top` counts the same.
const NOT_FAILED = new Set(["ok", "caller", "cancelled"]);

const sum = (values) => values.reduce((all, one) => all + one, 0);

function moment(at, counters) {
  const outcomes = Object.entries(counters.calls);
  return {
    at,
    calls: sum(outcomes.map(([, calls]) => calls)),
    failed: sum(outcomes.filter(([outcome]) => !NOT_FAILED.has(outcome)).map(([, calls]) => calls)),
    cpu: counters.cpu_seconds,
    bytesIn: counters.bytes_in,
    bytesOut: counters.bytes_out,
    buckets: counters.latency_buckets,
  };
}

/** Below what a part of the calls stayed: the bound of a bucket, as far as the counting is fine. */
function quantile(buckets, part) {
  const all = sum(buckets.map((bucket) => bucket.calls));
  let seen = 0;
  for (const bucket of buckets) {
    seen += bucket.calls;
    if (all > 0 && seen >= part * all) return bucket.at_most_seconds ?? Infinity;
  }
  return null;
}

export class Histories {
  #moments = new Map();
  #started = null;

  /** Remembers what workloads have counted at a moment, in seconds of this page's own clock. */
  remember(at, started, workloads) {
    // Another process counts from zero.
    if (started !== this.#started) this.#moments.clear();
    this.#started = started;
    const known = new Set(workloads.map((workload) => workload.id));
    for (const id of this.#moments.keys()) if (!known.has(id)) this.#moments.delete(id);
    for (const { id, counters } of workloads) {
      const moments = this.#moments.get(id) ?? [];
      moments.push(moment(at, counters));
      if (moments.length > MOMENTS) moments.shift();
      this.#moments.set(id, moments);
    }
  }

  /** What a workload did lately. */
  of(id) {
    const moments = this.#moments.get(id);
    const last = moments.at(-1);
    const since = (seconds) => moments.find((earlier) => last.at - earlier.at <= seconds + 0.5);
    const before = since(RATE_SECONDS);
    const seconds = Math.max(last.at - before.at, 0.001);
    const per = (field) => Math.max(0, last[field] - before[field]) / seconds;
    const earlier = since(LATENCY_SECONDS).buckets;
    const lately = last.buckets.map((bucket, index) => ({ ...bucket, calls: Math.max(0, bucket.calls - (earlier[index]?.calls ?? 0)) }));
    const isLately = sum(lately.map((bucket) => bucket.calls)) > 0;
    const latencies = isLately ? lately : last.buckets;
    return {
      calls: last.calls,
      failed: last.failed,
      callsPerSecond: per("calls"),
      failedPerSecond: per("failed"),
      cores: per("cpu"),
      bytesInPerSecond: per("bytesIn"),
      bytesOutPerSecond: per("bytesOut"),
      // Of the last minute, or of all calls if there were none.
      isLately,
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99),
      lately,
      buckets: last.buckets,
      rates: moments.slice(1).map((now, index) => Math.max(0, now.calls - moments[index].calls) / Math.max(now.at - moments[index].at, 0.001)),
    };
  }
}
