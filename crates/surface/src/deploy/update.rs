//! `update = "poll:30s"`: a workload follows the tag that its source names.
//!
//! One request asks what the tag is now. If that is something new, the app is put anew as by the admin API: pulled, verified,
//! compiled, tried, and swapped without a dropped request. Whatever goes wrong, what served goes on, and it is told once per
//! new digest and reason: a tag that stays bad, or a registry that stays away, fills no log. What was refused is tried again, ever
//! more rarely, because a signature may come after what it signs; what the tag is moved to next is tried at once.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use samara_artifact::{Error, Reference};
use samara_model::{
    AppId,
    manifest::{App, MIN_POLL, Update},
};
use tokio::task::JoinSet;

use super::{Deployment, Put, Version};
use crate::source;

/// The time between two looks at what is due.
const LOOK: Duration = Duration::from_millis(250);
/// The same while nothing follows a tag: as long as the most eager workload, should one come, waits before its first look.
const IDLE_LOOK: Duration = MIN_POLL;
/// Apps whose tags are asked for at once; more wait.
const MAX_AT_ONCE: usize = 16;
/// A digest that was refused, or a registry that does not answer, is tried again after so many intervals at most.
const MAX_BACKOFF: u32 = 16;

/// One app that follows tags.
#[derive(Debug)]
struct Followed {
    next: Instant,
    interval: Duration,
    /// Somebody asks for it now.
    busy: bool,
    /// What the tags were when they were last taken over, whether or not that changed anything.
    settled: Option<Vec<String>>,
    /// What was told last, so that it is not told again.
    told: Option<(Vec<String>, String)>,
    refused: Option<Refusal>,
    /// How often in a row nobody said what the tags are.
    unanswered: u32,
}

/// What was refused, how often in a row, and when it is tried again.
#[derive(Clone, Debug)]
struct Refusal {
    digests: Vec<String>,
    times: u32,
    again: Instant,
}

/// What one look at an app's tags came to.
enum Looked {
    /// They are what serves, or what was settled.
    Same,
    /// They are what was refused, and it is not yet tried again.
    Refused,
    /// They were something else, and what became of it.
    Moved(Vec<String>, Result<Put, String>),
    /// They could not be asked for.
    Unknown(String),
}

/// Follows the tags of everything that is deployed, until dropped.
pub async fn follow_tags(deployment: &Arc<Deployment>) {
    let mut followed: BTreeMap<AppId, Followed> = BTreeMap::new();
    let mut looks: JoinSet<(AppId, Looked)> = JoinSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(if followed.is_empty() { IDLE_LOOK } else { LOOK }) => {}
            Some(Ok((id, looked))) = looks.join_next() => {
                if let Some(one) = followed.get_mut(&id) {
                    one.told(&id, looked, deployment);
                }
            }
        }
        let following = deployment.following();
        if following.is_empty() && followed.is_empty() {
            continue;
        }
        followed.retain(|id, _| {
            let stays = following.iter().any(|(other, _)| other == id);
            if !stays {
                deployment.runtime().metrics().host().tag_update_failures.remove(id);
            }
            stays
        });
        for (id, version) in following {
            let Some(interval) = interval(&version.app) else { continue };
            let one = followed.entry(id.clone()).or_insert_with(|| Followed::new(interval));
            if one.busy || one.next > Instant::now() || looks.len() >= MAX_AT_ONCE {
                continue;
            }
            one.busy = true;
            one.interval = interval;
            one.next = Instant::now() + backoff(interval, one.unanswered);
            let (deployment, settled, refused) = (Arc::clone(deployment), one.settled.clone(), one.refused.clone());
            looks.spawn(async move { (id, look(&deployment, &version, settled, refused).await) });
        }
    }
}

/// How often an app's tags are asked for: as often as the most eager of its workloads wants.
fn interval(app: &App) -> Option<Duration> {
    let intervals = app.workloads.iter().filter_map(|workload| match workload.update {
        Update::Poll(interval) => Some(interval),
        Update::Never => None,
    });
    intervals.min()
}

/// The pause after so many failures in a row.
fn backoff(interval: Duration, failures: u32) -> Duration {
    interval * 2_u32.saturating_pow(failures).min(MAX_BACKOFF)
}

impl Followed {
    fn new(interval: Duration) -> Self {
        let next = Instant::now() + interval;
        Self { next, interval, busy: false, settled: None, told: None, refused: None, unanswered: 0 }
    }

    fn told(&mut self, id: &AppId, looked: Looked, deployment: &Deployment) {
        self.busy = false;
        let metrics = deployment.runtime().metrics().host();
        let unanswered = std::mem::take(&mut self.unanswered);
        let (digests, why) = match looked {
            Looked::Same => {
                self.refused = None;
                return;
            }
            Looked::Refused => return,
            Looked::Moved(digests, Ok(put)) => {
                self.refused = None;
                self.told = None;
                if put != Put::Unchanged {
                    metrics.tag_updates.inc();
                    tracing::info!(app = %id, "its tag moved to {}, which serves now", digests.join(", "));
                }
                self.settled = Some(digests);
                return;
            }
            Looked::Moved(digests, Err(why)) => {
                let before = self.refused.take().filter(|refused| refused.digests == digests);
                let times = before.map_or(1, |refused| refused.times.saturating_add(1));
                let again = Instant::now() + backoff(self.interval, times);
                self.refused = Some(Refusal { digests: digests.clone(), times, again });
                (digests, why)
            }
            Looked::Unknown(why) => {
                self.unanswered = unanswered.saturating_add(1);
                (Vec::new(), why)
            }
        };
        let told = Some((digests, why));
        if self.told != told {
            if let Some((digests, why)) = &told {
                metrics.tag_update_failures.count(id, !digests.is_empty());
                let to = if digests.is_empty() { String::new() } else { format!(" to {}", digests.join(", ")) };
                tracing::error!(app = %id, "not updated{to}, and what served goes on: {why}");
            }
            self.told = told;
        }
    }
}

async fn look(
    deployment: &Arc<Deployment>,
    version: &Version,
    settled: Option<Vec<String>>,
    refused: Option<Refusal>,
) -> Looked {
    let now = match digests(deployment, &version.app).await {
        Ok(now) => now,
        Err(error) => return Looked::Unknown(error.to_string()),
    };
    let polled = version.app.workloads.iter().zip(&version.provenances);
    let serving =
        polled.filter(|(workload, _)| workload.update != Update::Never).map(|(_, from)| from.manifest.clone());
    if settled.as_ref() == Some(&now) || serving.eq(now.iter().cloned().map(Some)) {
        return Looked::Same;
    }
    if refused.is_some_and(|refused| refused.digests == now && refused.again > Instant::now()) {
        return Looked::Refused;
    }
    let put = deployment.renew(version).await;
    Looked::Moved(now, put.map_err(|refused| refused.to_string()))
}

/// What the tags of an app are now: one request each, in the order of its workloads.
async fn digests(deployment: &Deployment, app: &App) -> Result<Vec<String>, Error> {
    let fetcher = deployment.sources().fetcher()?;
    let mut digests = Vec::new();
    for workload in app.workloads.iter().filter(|workload| workload.update != Update::Never) {
        let reference: Reference = source::reference(&workload.source)?;
        let (repository, tag) = fetcher.repository(&reference).await?;
        digests.push(repository.resolve(&tag).await?.digest().to_string());
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use samara_runtime::{Compiler, CompilerSettings, PoolSize, Runtime, Worker};
    use samara_telemetry::Metrics;

    use super::*;

    #[test]
    fn what_goes_wrong_is_counted_once_per_digest_and_reason() {
        let settings = CompilerSettings { cache: None, worker: Worker::InProcess, ..CompilerSettings::default() };
        let runtime = Runtime::new(&[], PoolSize::small(1), Compiler::new(settings), Metrics::new());
        let deployment = Deployment::new(Arc::new(runtime), samara_model::manifest::Host::default(), |_| {});
        let id = AppId::new("default", "shop").expect("they are names");
        let mut one = Followed::new(Duration::from_secs(1));
        let failures = || deployment.runtime().metrics().host().tag_update_failures.of(&id);
        let refused = |digest: &str| Looked::Moved(vec![digest.to_owned()], Err("it is not trusted".to_owned()));
        for (looked, counted, refusals, unanswered) in [
            (refused("sha256:a"), 1, 1, 0),
            (Looked::Refused, 1, 1, 0),
            (refused("sha256:a"), 1, 2, 0),
            // Another digest is another matter.
            (refused("sha256:b"), 2, 1, 0),
            (Looked::Unknown("nobody answers".to_owned()), 3, 1, 1),
            (Looked::Unknown("nobody answers".to_owned()), 3, 1, 2),
            (Looked::Refused, 3, 1, 0),
            (Looked::Same, 3, 0, 0),
        ] {
            one.told(&id, looked, &deployment);
            let times = one.refused.as_ref().map_or(0, |refused| refused.times);
            assert_eq!((failures(), times, one.unanswered), (counted, refusals, unanswered));
        }
        one.told(&id, Looked::Moved(vec!["sha256:c".to_owned()], Ok(Put::Replaced)), &deployment);
        assert_eq!(deployment.runtime().metrics().host().tag_updates.get(), 1);
        assert_eq!(one.settled, Some(vec!["sha256:c".to_owned()]));
    }
}
