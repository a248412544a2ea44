//! Workloads that wait for their stores: a server that is down when an app is loaded is no mistake of the app.
//!
//! What does not need it serves meanwhile. Requests of those who wait are answered at once with "busy, come back", and the
//! app is loaded again, ever more rarely, until its servers are there: then the version that has them takes over as any other
//! new version does.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use samara_model::{AppId, Call, Capability, Fault, Limits, Reply, Shape, WorkloadId};
use tokio::task::JoinSet;

use super::Deployment;
use crate::gateway::Target;

/// Apps that are tried at once; more wait.
const MAX_ATTEMPTS: usize = 8;
/// The pause before the second attempt; it doubles with each, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How long a caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A workload that cannot be loaded yet, in the place where it will be.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its full name.
    pub id: WorkloadId,
    /// The store that is not there.
    pub store: String,
    /// What it is needed as.
    pub(super) capability: Capability,
    /// Why.
    pub why: String,
    pub(super) limits: Limits,
}

impl Waiting {
    /// Who waits, and for what.
    pub(super) fn on(&self) -> (&WorkloadId, Capability, &str) {
        (&self.id, self.capability, &self.store)
    }
}

impl Target for Waiting {
    fn id(&self) -> &WorkloadId {
        &self.id
    }

    fn shape(&self) -> Shape {
        Shape::Http
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn answer(&self, _: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let why = format!("workload `{}` waits for its store `{}`: {}", self.id, self.store, self.why);
        let fault = Fault::Busy { why, retry_after: RETRY_AFTER, quota: false };
        async move { Err(fault) }.boxed()
    }
}

/// When a version that waits is tried again.
#[derive(Debug)]
struct Due {
    revision: u64,
    /// `None` while it is tried.
    at: Option<Instant>,
    pause: Duration,
}

/// Loads apps again whose workloads wait, until dropped.
pub async fn await_stores(deployment: &Arc<Deployment>) {
    let mut due: BTreeMap<AppId, Due> = BTreeMap::new();
    let mut attempts = JoinSet::new();
    let mut changes = deployment.changes();
    loop {
        changes.mark_unchanged();
        let waiting: BTreeMap<_, _> = deployment.waiting().into_iter().map(|version| (version.id(), version)).collect();
        due.retain(|id, due| waiting.get(id).is_some_and(|version| version.revision == due.revision));
        let now = Instant::now();
        for (id, version) in waiting {
            let first = || Due { revision: version.revision, at: Some(now + FIRST_PAUSE), pause: FIRST_PAUSE };
            let due = due.entry(id.clone()).or_insert_with(first);
            if due.at.is_some_and(|at| at <= now) && attempts.len() < MAX_ATTEMPTS {
                due.at = None;
                let deployment = Arc::clone(deployment);
                attempts.spawn(async move {
                    match deployment.load_awaited(&version).await {
                        Ok(true) => tracing::info!(app = %id, "the stores it waited for are there"),
                        Ok(false) => {}
                        Err(refused) => {
                            tracing::error!(app = %id, "its stores are there, and still it is not loaded: {refused}");
                        }
                    }
                    (id, version.revision)
                });
            }
        }
        let room = attempts.len() < MAX_ATTEMPTS;
        let next = due.values().filter_map(|due| due.at).min().filter(|_| room);
        let pause = next.map_or(Duration::MAX, |next| next.saturating_duration_since(now));
        tokio::select! {
            Some(tried) = attempts.join_next() => {
                // One that panicked is of a version that nobody tries again.
                let Ok((id, revision)) = tried else { continue };
                if let Some(due) = due.get_mut(&id).filter(|due| due.revision == revision) {
                    due.pause = (due.pause * 2).min(MAX_PAUSE);
                    due.at = Some(Instant::now() + due.pause);
                }
            }
            _ = changes.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
