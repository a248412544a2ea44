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
use samara_model::{AppId, Call, Fault, Limits, Reply, Shape, WorkloadId};

use super::Deployment;
use crate::gateway::Target;

/// The time between two looks at what is due.
const LOOK: Duration = Duration::from_millis(250);
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
    /// Why.
    pub why: String,
    pub(super) limits: Limits,
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

/// When an app that waits is tried again.
#[derive(Debug)]
struct Due {
    at: Instant,
    pause: Duration,
}

/// Loads apps again whose workloads wait, until dropped.
pub async fn await_stores(deployment: &Arc<Deployment>) {
    let mut due: BTreeMap<AppId, Due> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let waiting = deployment.waiting();
        due.retain(|id, _| waiting.iter().any(|version| version.id() == *id));
        for version in waiting {
            let id = version.id();
            let now = Instant::now();
            let due = due.entry(id.clone()).or_insert(Due { at: now + FIRST_PAUSE, pause: FIRST_PAUSE });
            if due.at > now {
                continue;
            }
            match deployment.load_awaited(&version).await {
                Ok(true) => tracing::info!(app = %id, "the stores it waited for are there"),
                Ok(false) => {}
                Err(refused) => {
                    tracing::error!(app = %id, "its stores are there, and still it is not loaded: {refused}");
                }
            }
            due.pause = (due.pause * 2).min(MAX_PAUSE);
            due.at = Instant::now() + due.pause;
        }
    }
}
