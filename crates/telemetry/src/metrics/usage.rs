//! What a workload really used of what it is granted: each operation on each store, how often, how long, how often in vain.
//!
//! An operation that was seen before costs a scan of a short list and a few additions. The list only grows, up to
//! [`MAX_USES`]: a guest that may reach any host below a wildcard must not make series without end.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use samara_model::Capability;

/// Operations on stores that are told apart for one workload; those after them are counted together by capability.
pub const MAX_USES: usize = 64;

/// The store and the operation under which is counted what is over [`MAX_USES`].
pub const OTHER: &str = "other";

/// Upper bounds of the buckets in microseconds: a value in memory takes a few, one across the world some hundred thousand.
pub(super) const BUCKETS_MICROS: [u64; 7] = [10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const BUCKET_COUNT: usize = BUCKETS_MICROS.len() + 1;

/// One operation on one store.
#[derive(Debug)]
struct Use {
    capability: Capability,
    name: Box<str>,
    operation: &'static str,
    begun: AtomicU64,
    failed: AtomicU64,
    nanos: [AtomicU64; 2],
    buckets: [[AtomicU64; BUCKET_COUNT]; 2],
}

/// What one workload used.
#[derive(Debug, Default)]
pub(super) struct Uses {
    known: ArcSwap<Vec<Arc<Use>>>,
    /// Held while the list is replaced by a longer one.
    growing: Mutex<()>,
}

impl Uses {
    /// An operation begins.
    pub(super) fn begun(&self, capability: Capability, name: &str, operation: &'static str) {
        self.with(capability, name, operation, |one| {
            one.begun.fetch_add(1, Relaxed);
        });
    }

    /// An operation ended.
    pub(super) fn ended(
        &self,
        capability: Capability,
        name: &str,
        operation: &'static str,
        took: Duration,
        failed: bool,
    ) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.with(capability, name, operation, |one| {
            let outcome = usize::from(failed);
            one.failed.fetch_add(u64::from(failed), Relaxed);
            if let (Some(sum), Some(buckets)) = (one.nanos.get(outcome), one.buckets.get(outcome)) {
                sum.fetch_add(nanos, Relaxed);
                let bucket = BUCKETS_MICROS.partition_point(|bound| bound.saturating_mul(1000) < nanos);
                if let Some(bucket) = buckets.get(bucket) {
                    bucket.fetch_add(1, Relaxed);
                }
            }
        });
    }

    fn with(&self, capability: Capability, name: &str, operation: &'static str, count: impl FnOnce(&Use)) {
        let known = self.known.load();
        match find(&known, capability, name, operation) {
            Some(one) => count(one),
            None => count(&self.add(capability, name, operation)),
        }
    }

    fn add(&self, capability: Capability, name: &str, operation: &'static str) -> Arc<Use> {
        let _growing = self.growing.lock();
        let known = self.known.load_full();
        let told_apart = known.iter().filter(|one| one.operation != OTHER).count();
        let (name, operation) = if told_apart < MAX_USES { (name, operation) } else { (OTHER, OTHER) };
        if let Some(one) = find(&known, capability, name, operation) {
            return Arc::clone(one);
        }
        let one = Arc::new(Use {
            capability,
            name: name.into(),
            operation,
            begun: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            nanos: array::from_fn(|_| AtomicU64::new(0)),
            buckets: array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0))),
        });
        let mut longer = Vec::clone(&known);
        longer.push(Arc::clone(&one));
        self.known.store(Arc::new(longer));
        one
    }

    /// What was counted so far, ordered by capability, store and operation.
    pub(super) fn totals(&self) -> Vec<UseTotals> {
        let mut totals: Vec<_> = self.known.load().iter().map(|one| UseTotals::of(one)).collect();
        totals.sort_by(|a, b| (a.capability, &a.name, a.operation).cmp(&(b.capability, &b.name, b.operation)));
        totals
    }
}

fn find<'u>(known: &'u [Arc<Use>], capability: Capability, name: &str, operation: &str) -> Option<&'u Arc<Use>> {
    known.iter().find(|one| one.capability == capability && one.operation == operation && *one.name == *name)
}

/// How often one operation was done on one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UseTotals {
    /// The capability.
    pub capability: Capability,
    /// The store by the manifest's name, or the origin; [`OTHER`] for all that are not told apart.
    pub name: String,
    /// The operation, in the words of grants.
    pub operation: &'static str,
    /// How often it was begun.
    pub begun: u64,
    /// How often it failed or was given up.
    pub failed: u64,
    /// The time of those that succeeded, and of those that did not.
    pub(super) times: [Duration; 2],
    pub(super) buckets: [[u64; BUCKET_COUNT]; 2],
}

impl UseTotals {
    fn of(one: &Use) -> Self {
        Self {
            capability: one.capability,
            name: one.name.to_string(),
            operation: one.operation,
            begun: one.begun.load(Relaxed),
            failed: one.failed.load(Relaxed),
            times: one.nanos.each_ref().map(|nanos| Duration::from_nanos(nanos.load(Relaxed))),
            buckets: one.buckets.each_ref().map(|buckets| buckets.each_ref().map(|count| count.load(Relaxed))),
        }
    }

    /// How long all that ended took together.
    pub fn time(&self) -> Duration {
        let [done, failed] = self.times;
        done.saturating_add(failed)
    }

    /// How many have ended.
    pub fn ended(&self) -> u64 {
        self.buckets.iter().flatten().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_apart_and_counted_together() {
        let uses = Uses::default();
        for failed in [false, false, true] {
            uses.begun(Capability::Kv, "carts", "get");
            uses.ended(Capability::Kv, "carts", "get", Duration::from_micros(50), failed);
        }
        uses.begun(Capability::Kv, "carts", "set");
        uses.begun(Capability::Blob, "carts", "read");
        let totals = uses.totals();
        let seen: Vec<_> = totals.iter().map(|one| (one.capability, one.operation, one.begun, one.failed)).collect();
        let expected = [(Capability::Kv, "get", 3, 1), (Capability::Kv, "set", 1, 0), (Capability::Blob, "read", 1, 0)];
        assert_eq!(seen, expected);
        assert_eq!((totals[0].ended(), totals[0].time()), (3, Duration::from_micros(150)));
        assert_eq!((totals[0].buckets[0][1], totals[0].buckets[1][1]), (2, 1), "within 100 us");
    }

    #[test]
    fn a_guest_cannot_make_the_list_grow_without_end() {
        let uses = Uses::default();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let uses = &uses;
                scope.spawn(move || {
                    for number in 0..1000 {
                        let origin = format!("https://{thread}-{number}.example");
                        uses.begun(Capability::Http, &origin, "request");
                        uses.ended(Capability::Http, &origin, "request", Duration::ZERO, false);
                    }
                });
            }
        });
        let totals = uses.totals();
        assert_eq!(totals.len(), MAX_USES + 1);
        assert_eq!(totals.iter().map(|one| one.begun).sum::<u64>(), 8000, "nothing is lost");
        assert_eq!(totals.iter().map(UseTotals::ended).sum::<u64>(), 8000);
        assert_eq!(totals.iter().filter(|one| one.name == OTHER).count(), 1);
    }
}
