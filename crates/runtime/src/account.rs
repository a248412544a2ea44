//! The account of one call: booked exactly once, by whoever knows first how it ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use samara_model::Fault;
use samara_telemetry::{Outcome, Span, Watch, WorkloadMetrics};

use crate::{Backtrace, Workload, meter::Meter};

/// What the task that runs the guest and whoever reads the reply share.
#[derive(Debug)]
pub(crate) struct CallState {
    pub(crate) workload: Arc<Workload>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) fault: Mutex<Option<Fault>>,
    pub(crate) failed: AtomicBool,
    pub(crate) replied: AtomicBool,
    began: Instant,
    /// Who watches the call, and the guest's part of it; gone once the call is booked.
    open: Mutex<Option<(Watch, Span)>>,
}

/// How a guest ended.
pub(crate) struct Ended {
    pub(crate) result: Result<(), Fault>,
    /// Linear memory it had.
    pub(crate) memory_bytes: u64,
    /// Where it was when it failed.
    pub(crate) backtrace: Option<Backtrace>,
}

impl CallState {
    /// Opens the account of a call that `began` then.
    pub(crate) fn open(
        workload: &Arc<Workload>,
        meter: Arc<Meter>,
        began: Instant,
        watched: (Watch, Span),
    ) -> Arc<Self> {
        let state = Self {
            workload: Arc::clone(workload),
            meter,
            fault: Mutex::default(),
            failed: AtomicBool::new(false),
            replied: AtomicBool::new(false),
            began,
            open: Mutex::new(Some(watched)),
        };
        state.metrics().started();
        Arc::new(state)
    }

    pub(crate) fn metrics(&self) -> &WorkloadMetrics {
        &self.workload.authority.metrics
    }

    /// Books how the call ended, unless that is known already.
    pub(crate) fn end(&self, ended: Ended) {
        let mut open = self.open.lock();
        let Some(watched) = open.take() else { return };
        let Ended { result, memory_bytes, backtrace } = ended;
        let mut label = "ok";
        let mut after_head = None;
        // Published before anybody else can find the account closed: the lane's thread and the one that answers for it may
        // both come here, and whoever is second answers with the fault of the first.
        if let Err(fault) = result {
            label = fault.label();
            if watched.1.is_on() {
                watched.1.failed(&fault.to_string());
            }
            self.workload.faults.record(&fault, backtrace);
            after_head = self.replied.load(Ordering::Acquire).then(|| fault.to_string());
            *self.fault.lock() = Some(fault);
            self.failed.store(true, Ordering::Release);
        }
        drop(open);
        self.book(&watched, label, memory_bytes);
        if let Some(fault) = after_head {
            tracing::warn!(workload = %self.workload.id, fault = label, "after the reply's head: {fault}");
        }
    }

    fn book(&self, (watch, span): &(Watch, Span), label: &'static str, memory_bytes: u64) {
        let cpu = self.meter.cpu();
        watch.ended(label, cpu);
        if span.is_on() {
            span.set("samara.outcome", label);
            span.set("samara.cpu_seconds", cpu.as_secs_f64());
            span.set("samara.memory_bytes", i64::try_from(memory_bytes).unwrap_or(i64::MAX));
        }
        self.metrics().ended(&Outcome { label, latency: self.began.elapsed(), cpu, memory_bytes });
    }
}

/// The guest's end of an account: it is booked even when the guest is dropped half-way or before it began.
#[derive(Debug)]
pub(crate) struct Account(pub(crate) Arc<CallState>);

impl Drop for Account {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let result = Err(Fault::Host("a panic while the guest ran".into()));
            self.0.end(Ended { result, memory_bytes: 0, backtrace: None });
        } else if let Some(watched) = self.0.open.lock().take() {
            self.0.book(&watched, "cancelled", 0);
        }
    }
}

/// Accounts a call that never started.
pub(crate) fn refused(workload: &Workload, fault: &Fault, began: Instant) {
    workload.authority.metrics.refused(&Outcome {
        label: fault.label(),
        latency: began.elapsed(),
        cpu: Duration::ZERO,
        memory_bytes: 0,
    });
}
