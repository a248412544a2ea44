//! What a workload asked of the host: what it was granted and used, and what it was refused.
//!
//! Capabilities report here as they go. Uses are counted by the workload's metrics, over all its versions; denials are kept
//! for each version, because the next one may be granted more.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use samara_capability::{Denial, Recorder};
use samara_model::{Capability, WorkloadId};
use samara_telemetry::WorkloadMetrics;

/// Distinct denials remembered per workload; more are counted but not told apart.
const MAX_DENIALS: usize = 256;

/// Counts what guests use and what they are refused; each distinct denial is logged once.
#[derive(Debug)]
pub(crate) struct Record {
    workload: WorkloadId,
    metrics: Arc<WorkloadMetrics>,
    denials: Mutex<Vec<(Denial, u64)>>,
}

impl Record {
    pub(crate) fn new(workload: WorkloadId, metrics: Arc<WorkloadMetrics>) -> Self {
        Self { workload, metrics, denials: Mutex::default() }
    }

    pub(crate) fn denials(&self) -> Vec<(Denial, u64)> {
        self.denials.lock().clone()
    }
}

impl Recorder for Record {
    fn used(&self, capability: Capability, name: &str, operation: &'static str) {
        self.metrics.used(capability, name, operation);
    }

    fn finished(&self, capability: Capability, name: &str, operation: &'static str, took: Duration, failed: bool) {
        self.metrics.used_up(capability, name, operation, took, failed);
    }

    fn denied(&self, denial: &Denial) {
        self.metrics.denied(denial.capability);
        let first = {
            let mut denials = self.denials.lock();
            if let Some((_, count)) = denials.iter_mut().find(|(known, _)| known == denial) {
                *count += 1;
                false
            } else if denials.len() < MAX_DENIALS {
                denials.push((denial.clone(), 1));
                true
            } else {
                false
            }
        };
        if first {
            let (what, grant) = (samara_telemetry::sanitize(&denial.what), samara_telemetry::sanitize(&denial.grant));
            tracing::warn!(workload = %self.workload, capability = %denial.capability, what = %what, "denied; `{grant}` would allow it");
        }
    }
}
