//! A new version on trial: what its calls come to, and whether it may stay.
//!
//! Only the version on trial is measured, by a layer around its targets that is not there otherwise. A call is judged when
//! its reply's head is there, or its fault: what breaks off later is the metrics' to count.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use samara_model::{Call, Fault, Limits, Reply, Shape, WorkloadId, format_duration, manifest};

use super::{Share, Version};
use crate::gateway::{Destination, Target};

/// Looks at the counters in one window.
const LOOKS: u32 = 40;
/// The least and the longest time between two of them.
const LOOK: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(1));

/// One version on trial.
#[derive(Debug)]
pub struct Rollout {
    /// The version.
    pub revision: u64,
    /// When its trial began.
    pub began: Instant,
    /// What the manifest asks of it.
    pub terms: manifest::Rollout,
    /// Who served before, and does again if it fails.
    pub before: Vec<Share>,
    tally: Arc<Tally>,
}

/// What the calls of a version on trial came to.
#[derive(Debug, Default)]
struct Tally {
    calls: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
}

/// What is known of a trial at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Calls it answered.
    pub calls: u64,
    /// Those that were its failures.
    pub failed: u64,
    /// Those that took longer than the terms allow.
    pub slow: u64,
    /// Times it asked for what it is not granted.
    pub denials: u64,
}

/// What is to become of a version on trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is too early to tell.
    Wait,
    /// It gets all requests.
    Passed,
    /// It gets none any more, and why.
    Failed(String),
}

impl Rollout {
    pub(super) fn new(version: &Version, terms: manifest::Rollout, before: Vec<Share>) -> Self {
        Self { revision: version.revision, began: Instant::now(), terms, before, tally: Arc::default() }
    }

    /// How long to wait between two looks.
    pub(super) fn pause(&self) -> Duration {
        (self.terms.window / LOOKS).clamp(LOOK.0, LOOK.1)
    }

    /// What its calls came to so far.
    pub fn trial(&self, version: &Version) -> Trial {
        let denials = |workload: &Arc<samara_runtime::Workload>| -> u64 {
            workload.authority().denials().iter().map(|(_, count)| *count).sum()
        };
        let Tally { calls, failed, slow } = &*self.tally;
        Trial {
            calls: calls.load(Relaxed),
            failed: failed.load(Relaxed),
            slow: slow.load(Relaxed),
            denials: version.workloads.iter().map(denials).sum(),
        }
    }

    /// Whether it may stay, as far as can be told.
    pub(super) fn judge(&self, version: &Version) -> Verdict {
        judge(&self.terms, &self.trial(version), self.began.elapsed())
    }

    /// A destination whose calls are measured.
    pub(super) fn measured(&self, destination: &Destination) -> Destination {
        let target = Arc::clone(&destination.target);
        let latency = self.terms.latency.unwrap_or(Duration::MAX);
        let measured = Measured { target, tally: Arc::clone(&self.tally), latency };
        Destination { target: Arc::new(measured), ..destination.clone() }
    }
}

fn judge(terms: &manifest::Rollout, trial: &Trial, watched: Duration) -> Verdict {
    if let Some(allowed) = terms.denials
        && trial.denials > allowed
    {
        return Verdict::Failed(format!(
            "it asked {} times for what it is not granted, and {allowed} are allowed",
            trial.denials
        ));
    }
    // A version that nobody asks is neither good nor bad.
    if trial.calls < terms.calls.max(1) {
        return Verdict::Wait;
    }
    #[expect(clippy::cast_precision_loss, reason = "a fraction of calls need not be exact")]
    let fraction = |part: u64| part as f64 / trial.calls as f64;
    if fraction(trial.failed) > terms.errors {
        return Verdict::Failed(format!(
            "{} of its {} calls failed, and {}% are allowed",
            trial.failed,
            trial.calls,
            terms.errors * 100.0
        ));
    }
    if let Some(latency) = terms.latency
        && fraction(trial.slow) > 0.01
    {
        return Verdict::Failed(format!(
            "{} of its {} calls took over {}, and one of 100 is allowed",
            trial.slow,
            trial.calls,
            format_duration(latency)
        ));
    }
    if watched < terms.window { Verdict::Wait } else { Verdict::Passed }
}

/// A target whose calls are counted.
#[derive(Debug)]
struct Measured {
    target: Arc<dyn Target>,
    tally: Arc<Tally>,
    latency: Duration,
}

impl Target for Measured {
    fn id(&self) -> &WorkloadId {
        self.target.id()
    }

    fn shape(&self) -> Shape {
        self.target.shape()
    }

    fn limits(&self) -> &Limits {
        self.target.limits()
    }

    fn answer(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let answer = self.target.answer(call);
        let (tally, latency) = (Arc::clone(&self.tally), self.latency);
        Box::pin(async move {
            let began = Instant::now();
            let reply = answer.await;
            // What a caller did wrong, or came too many of, says nothing about the version.
            let failed = match &reply {
                Err(Fault::Caller { .. } | Fault::Busy { .. }) => return reply,
                Err(_) => true,
                Ok(Reply::Http(response)) => response.status().is_server_error(),
                Ok(Reply::Exit(_) | Reply::Bytes(_) | Reply::Message(_) | Reply::KeyValue(_)) => false,
            };
            tally.failed.fetch_add(u64::from(failed), Relaxed);
            tally.slow.fetch_add(u64::from(began.elapsed() > latency), Relaxed);
            tally.calls.fetch_add(1, Relaxed);
            reply
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_judged_by_its_terms() {
        let terms = manifest::Rollout {
            calls: 10,
            errors: 0.1,
            latency: Some(Duration::from_millis(5)),
            denials: Some(2),
            ..manifest::Rollout::default()
        };
        let check = |trial: Trial, seconds: u64, expected: &str| {
            let verdict = format!("{:?}", judge(&terms, &trial, Duration::from_secs(seconds)));
            assert!(verdict.contains(expected), "{trial:?}: {verdict}");
        };
        let good = Trial { calls: 200, failed: 20, slow: 2, denials: 2 };
        check(good, 1, "Wait");
        check(good, 60, "Passed");
        check(Trial { failed: 21, ..good }, 1, "21 of its 200 calls failed, and 10% are allowed");
        check(Trial { slow: 3, ..good }, 1, "3 of its 200 calls took over 5ms, and one of 100 is allowed");
        check(Trial { denials: 3, ..good }, 1, "it asked 3 times for what it is not granted, and 2 are allowed");
        // Too few calls tell nothing, however long it is watched; a denial does.
        check(Trial { calls: 9, failed: 9, slow: 9, denials: 0 }, 600, "Wait");
        check(Trial { calls: 1, failed: 0, slow: 0, denials: 3 }, 0, "Failed");
    }
}
