//! One loaded version of a workload, and who may call it now.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use samara_model::{Capability, Fault, Limits, Shape, WorkloadId};
use samara_telemetry::WorkloadMetrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    CallTrace, Contract, FaultRecord, Live, Tier,
    authority::Authority,
    backtrace::Source,
    faults::LastFaults,
    lane::Lane,
    nesting::{Level, Nested},
    pool::Reserved,
    tier::{Prepared, Tiers},
};

/// How long a caller is told to wait when a queue is full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One version of a workload, ready to be called.
#[derive(Debug)]
pub struct Workload {
    /// Its full name.
    pub id: WorkloadId,
    /// Digest of its artifact, sha-256 in hex.
    pub digest: String,
    /// The guest ABI it speaks.
    pub contract: &'static dyn Contract,
    /// The shape of the calls it answers.
    pub shape: Shape,
    /// Whether its instances come from the pool.
    pub pooled: bool,
    /// What its imports ask the host for, whether or not it is granted.
    pub needs: Vec<Capability>,
    pub(crate) warnings: Vec<String>,
    pub(crate) tiers: Tiers,
    pub(crate) authority: Arc<Authority>,
    pub(crate) running: Arc<Semaphore>,
    pub(crate) queued: AtomicU32,
    pub(crate) reuse: u32,
    pub(crate) idle: Mutex<Vec<Idle>>,
    /// Where its long calls go on; `None` leaves them where they began.
    pub(crate) lane: Option<Arc<Lane>>,
    /// Set while no new calls are sent here: nothing is kept for a next one.
    pub(crate) resting: AtomicBool,
    pub(crate) trace: OnceLock<CallTrace>,
    pub(crate) faults: LastFaults,
    pub(crate) source: Option<Source>,
}

/// An instance kept for another call, and the slots it holds.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) live: Live,
    pub(crate) tier: Tier,
    pub(crate) reserved: Reserved,
    pub(crate) served: u32,
    _kept: Kept,
}

impl Idle {
    pub(crate) fn new(workload: &Workload, live: Live, tier: Tier, reserved: Reserved, served: u32) -> Self {
        let metrics = Arc::clone(&workload.authority.metrics);
        metrics.kept(1);
        Self { live, tier, reserved, served, _kept: Kept(metrics) }
    }
}

/// Counts an instance as kept while it is.
#[derive(Debug)]
struct Kept(Arc<WorkloadMetrics>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.kept(-1);
    }
}

/// A call's right to run: its places in the workload's and the tenant's concurrency.
#[derive(Debug)]
pub(crate) struct Admitted {
    _workload: OwnedSemaphorePermit,
    _tenant: Option<OwnedSemaphorePermit>,
}

impl Workload {
    /// What it may do, and the record of what it did.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// What bounds it.
    pub fn limits(&self) -> &Limits {
        &self.authority.limits
    }

    /// The last calls of this version that failed, oldest first, with their backtraces. Reads the artifact's line tables, so
    /// it may take some milliseconds.
    pub fn last_faults(&self) -> Vec<FaultRecord> {
        let mut faults = self.faults.all();
        if let Some(source) = &self.source {
            faults.iter_mut().filter_map(|fault| fault.backtrace.as_mut()).for_each(|backtrace| source.tell(backtrace));
        }
        faults
    }

    /// What an operator should know: denied needs, missing imports, its size, a tier it does not have.
    pub fn warnings(&self) -> Vec<String> {
        let failed =
            self.tiers.failed().map(|why| format!("baseline code goes on serving, there is no optimised code: {why}"));
        self.warnings.iter().cloned().chain(failed).collect()
    }

    /// Says that guests will call this workload, so that those of them who wait for it never hold all there is to run it.
    pub fn expect_nested_calls(&self) {
        self.tiers.now().engine.gate.expect_nested_calls();
    }

    /// Calls of this version being served.
    pub fn in_flight(&self) -> u32 {
        let free = u32::try_from(self.running.available_permits()).unwrap_or(u32::MAX);
        self.limits().concurrency.saturating_sub(free)
    }

    /// Instances that wait for their next call.
    pub fn kept_instances(&self) -> usize {
        self.idle.lock().len()
    }

    /// Tells every crossing of its calls from now on. A second trace is ignored.
    pub fn trace_calls(&self, trace: CallTrace) {
        drop(self.trace.set(trace));
    }

    /// Waits for this call's turn, within the workload's queue and deadline.
    pub(crate) async fn admit(&self, nested: &Nested) -> Result<Admitted, Fault> {
        let account = self.authority.tenant();
        // What a call of the tenant leads to is in that call's place.
        let tenant = if nested.is_within(&self.id.tenant) { account.admit_within()? } else { account.admit()? };
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(Admitted { _workload: permit, _tenant: tenant });
        }
        if nested.is_again() {
            return Err(self.busy("all its calls are taken, and one of them waits for this one"));
        }
        let place = self.queue()?;
        let wait = Arc::clone(&self.running).acquire_owned();
        let permit = match self.limits().deadline {
            Some(deadline) => {
                tokio::time::timeout(deadline, wait).await.map_err(|_| self.busy("its queue did not move"))?
            }
            None => wait.await,
        };
        drop(place);
        let permit = permit.map_err(|_| Fault::Host("the workload's semaphore is closed".into()))?;
        Ok(Admitted { _workload: permit, _tenant: tenant })
    }

    /// Waits for slots of the pool, within the deadline. `evict` drops kept instances: it is called once this call stands
    /// in the line, so that an instance kept a moment later sees that somebody waits.
    pub(crate) async fn reserve(
        &self,
        prepared: &Prepared,
        level: Level,
        evict: impl FnOnce(),
    ) -> Result<Reserved, Fault> {
        let place = self.queue()?;
        let mut wait = std::pin::pin!(prepared.engine.gate.reserve(prepared.footprint, level));
        let reserved = match futures::poll!(&mut wait) {
            std::task::Poll::Ready(reserved) => reserved,
            std::task::Poll::Pending => {
                evict();
                match self.limits().deadline {
                    Some(deadline) => tokio::time::timeout(deadline, wait)
                        .await
                        .map_err(|_| self.busy("the instance pool is full"))?,
                    None => wait.await,
                }
            }
        };
        drop(place);
        Ok(reserved)
    }

    fn queue(&self) -> Result<Queued<'_>, Fault> {
        let limit = self.limits().queue;
        let place = |waiting: u32| Some(waiting + 1).filter(|waiting| *waiting <= limit);
        if self.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, place).is_err() {
            return Err(self.busy(&format!("its queue of {limit} is full")));
        }
        self.authority.metrics.queued();
        Ok(Queued { workload: self, since: Instant::now() })
    }

    fn busy(&self, why: &str) -> Fault {
        Fault::Busy { why: format!("workload `{}`: {why}", self.id), retry_after: RETRY_AFTER, quota: false }
    }

    /// Says whether calls are still sent here. A version that rests keeps no instances; its running calls go on.
    pub fn set_resting(&self, resting: bool) {
        self.resting.store(resting, Ordering::Release);
        if resting {
            self.evict_idle();
        }
    }

    /// Keeps an instance for the next call, if there will be one.
    pub(crate) fn keep(&self, instance: Idle) {
        let mut idle = self.idle.lock();
        // Under the lock, as `set_resting` and `take_over` empty the list after they have said so.
        if !self.resting.load(Ordering::Acquire) && instance.tier == self.tier() {
            idle.push(instance);
            return;
        }
        drop(idle);
        drop(instance);
    }

    /// Drops the kept instances, so that others may have their slots.
    pub(crate) fn evict_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }
}

/// A place in a queue, given up when the wait ends, however it ends.
struct Queued<'a> {
    workload: &'a Workload,
    since: Instant,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.workload.queued.fetch_sub(1, Ordering::AcqRel);
        self.workload.authority.metrics.dequeued(self.since.elapsed());
    }
}
