//! The last faults of a workload, kept for whoever asks why: the admin API, the console, `samara run`.
//!
//! Written on the fault path only. A guest that fails in a loop overwrites its own records and nobody else's.

use std::{collections::VecDeque, time::SystemTime};

use parking_lot::Mutex;
use samara_model::Fault;

use crate::Backtrace;

/// Faults remembered per version of a workload.
pub const MAX_FAULTS: usize = 16;
/// Bytes kept of a fault's message.
const MAX_MESSAGE_BYTES: usize = 2 << 10;

/// A call that failed.
#[derive(Clone, Debug)]
pub struct FaultRecord {
    /// When.
    pub time: SystemTime,
    /// Whose fault it was: `Fault::label()`.
    pub label: &'static str,
    /// What happened, as in the log.
    pub message: String,
    /// Where the guest was, if it was running.
    pub backtrace: Option<Backtrace>,
}

/// The last [`MAX_FAULTS`], newest last.
#[derive(Debug, Default)]
pub(crate) struct LastFaults(Mutex<VecDeque<FaultRecord>>);

impl LastFaults {
    /// Keeps a fault. A caller's own mistake is not the workload's, and would let any client push the others out.
    pub(crate) fn record(&self, fault: &Fault, backtrace: Option<Backtrace>) {
        if matches!(fault, Fault::Caller { .. }) {
            return;
        }
        let mut message = samara_telemetry::sanitize(&fault.to_string()).into_owned();
        if message.len() > MAX_MESSAGE_BYTES {
            let cut = (0..=MAX_MESSAGE_BYTES).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(cut);
            message.push('…');
        }
        let record = FaultRecord { time: SystemTime::now(), label: fault.label(), message, backtrace };
        let mut faults = self.0.lock();
        if faults.len() >= MAX_FAULTS {
            faults.pop_front();
        }
        faults.push_back(record);
    }

    pub(crate) fn all(&self) -> Vec<FaultRecord> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_faults_are_kept_and_bounded() {
        let faults = LastFaults::default();
        for number in 0..MAX_FAULTS + 3 {
            faults.record(&Fault::bad_request("not ours"), None);
            faults.record(&Fault::Guest(format!("number {number}: {}", "é\u{1b}".repeat(5000))), None);
        }
        let kept = faults.all();
        assert_eq!(kept.len(), MAX_FAULTS);
        assert!(kept[0].message.starts_with("the guest failed: number 3: é\\u{1b}"), "{}", kept[0].message);
        assert!(kept.iter().all(|record| record.label == "guest" && record.message.len() <= MAX_MESSAGE_BYTES + 4));
    }
}
