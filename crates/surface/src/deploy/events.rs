//! Triggers without a client: times, messages and changes that call the workloads of the version that serves.
//!
//! They are those of the version that has most of its app's requests: when that changes, the old ones are stopped, what they
//! have begun has [`GRACE`] to end, and those of the new one are started.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{anyhow, bail};
use async_trait::async_trait;
use bytes::Bytes;
use samara_capability::{
    Unrecorded,
    kv::Change,
    trigger::{self, Changes, Clock, Event, Handler, Outcome, Retry, Running, Schedule, Subject, Subjects},
};
use samara_model::{
    AppId, Call, Command, Encoding, Fault, Function, KvGrant, KvOperation, Message, Reply, Shape, Stdio,
    manifest::{EventTrigger, Overlap, Starts},
};
use samara_runtime::{Runtime, Workload};

use super::{AppStore, Deployment, Version};

/// The time between two attempts to start a trigger that did not.
const AGAIN: Duration = Duration::from_secs(5);
/// What handlers of a version that serves no more have to end.
const GRACE: Duration = Duration::from_secs(30);

/// The shapes of workloads that a trigger can start, best first.
pub(super) fn shapes(trigger: &EventTrigger) -> &'static [Shape] {
    match (&trigger.starts, &trigger.operation) {
        (_, Some(_)) => &[Shape::Function],
        (Starts::Subject { .. }, None) => &[Shape::Message],
        (_, None) => &[Shape::Command],
    }
}

/// A trigger of a version, ready to be started as often as the version comes to serve.
#[derive(Clone, Debug)]
pub(super) struct VersionEvent {
    starts: Starts,
    starter: Arc<Starter>,
    store: Option<Arc<AppStore>>,
}

impl VersionEvent {
    /// Checks a trigger and finds what it needs.
    ///
    /// # Errors
    /// The workload cannot be started by it, or what it says cannot be.
    pub(super) fn new(
        runtime: &Arc<Runtime>,
        workload: &Arc<Workload>,
        args: &[String],
        trigger: &EventTrigger,
        stores: &[Arc<AppStore>],
    ) -> anyhow::Result<Self> {
        if !shapes(trigger).contains(&workload.shape) {
            bail!(
                "workload `{}` answers {} calls, and this trigger starts {}; name a function with `operation`, or another workload",
                workload.id,
                workload.shape,
                shapes(trigger).iter().map(|shape| shape.as_str()).collect::<Vec<_>>().join(" or ")
            );
        }
        let store = trigger.store().and_then(|(_, name)| stores.iter().find(|store| store.name == name));
        let starter = Starter {
            runtime: Arc::clone(runtime),
            workload: Arc::clone(workload),
            operation: trigger.operation.clone(),
            args: args.to_vec(),
        };
        let event = Self { starts: trigger.starts.clone(), starter: Arc::new(starter), store: store.cloned() };
        // What cannot be is told now; nothing of it runs yet.
        event.prepare()?;
        Ok(event)
    }

    fn prepare(&self) -> anyhow::Result<Prepared> {
        let handler = Arc::clone(&self.starter) as Arc<dyn Handler>;
        Ok(match &self.starts {
            Starts::Every { interval, overlap } => {
                Prepared::Clock(Clock::new(Schedule::every(*interval)?, policy(*overlap), handler)?)
            }
            Starts::Cron { expression, time_zone, overlap } => {
                let schedule = Schedule::cron(expression, time_zone.as_deref())?;
                Prepared::Clock(Clock::new(schedule, policy(*overlap), handler)?)
            }
            Starts::Subject { pattern, store: name, group, acknowledge, concurrency, tries, dead_letter } => {
                let bus = self.store.as_ref().and_then(|store| store.bus());
                let bus = bus.ok_or_else(|| anyhow!("the bus `{name}` is not open"))?;
                let limits = self.starter.workload.limits();
                let usual = Subject::new(pattern.clone());
                let subject = Subject {
                    group: group.clone(),
                    acknowledge: *acknowledge,
                    concurrency: *concurrency,
                    queue: limits.message_queue,
                    longest: limits.deadline.unwrap_or(usual.longest),
                    retry: Retry { tries: tries.unwrap_or(usual.retry.tries), ..usual.retry },
                    dead_letter: dead_letter.clone(),
                    ..usual
                };
                Prepared::Subjects(Subjects::new(Arc::new(bus.share().clone()), subject, handler)?)
            }
            Starts::Watch { store: name, prefix } => {
                let store = self.store.as_ref().and_then(|store| store.key_value());
                let store = store.ok_or_else(|| anyhow!("the store `{name}` is not open"))?;
                let grant = KvGrant { operations: vec![KvOperation::Watch] };
                let granted = store.grant(grant, self.starter.workload.limits(), Arc::new(Unrecorded));
                Prepared::Changes(Changes::new(Arc::new(granted), prefix, Retry::default(), handler)?)
            }
        })
    }

    fn start(&self) -> anyhow::Result<Running> {
        Ok(match self.prepare()? {
            Prepared::Clock(clock) => clock.start(),
            Prepared::Subjects(subjects) => subjects.start(),
            Prepared::Changes(changes) => changes.start(),
        })
    }
}

/// A trigger that was checked.
enum Prepared {
    Clock(Clock),
    Subjects(Subjects),
    Changes(Changes),
}

fn policy(overlap: Overlap) -> trigger::Overlap {
    match overlap {
        Overlap::Skip => trigger::Overlap::Skip,
        Overlap::Queue => trigger::Overlap::Queue,
        Overlap::Allow(most) => trigger::Overlap::Allow(most),
    }
}

/// Calls a workload when something happens.
#[derive(Debug)]
struct Starter {
    runtime: Arc<Runtime>,
    workload: Arc<Workload>,
    operation: Option<String>,
    args: Vec<String>,
}

impl Starter {
    /// The call for an event.
    fn call(&self, event: Event) -> Result<Call, String> {
        if let Some(operation) = &self.operation {
            let payload = match event {
                Event::Tick(_) => Bytes::from_static(b"[]"),
                // As a client posts them: the arguments as JSON.
                Event::Message { message, .. } => message.body,
                Event::Change(change) => {
                    let (what, key) = told(&change);
                    serde_json::json!([what, key]).to_string().into()
                }
            };
            return Ok(Call::Function(Function { operation: operation.clone(), payload, encoding: Encoding::Json }));
        }
        match event {
            Event::Message { message, .. } => Ok(Call::Message(Message {
                subject: message.subject,
                body: message.body,
                headers: message.headers,
                reply_to: message.reply_to,
            })),
            Event::Tick(tick) => Ok(self.command(vec![("TRIGGER_DUE".to_owned(), tick.due.to_rfc3339())])),
            Event::Change(change) => {
                let (what, key) = told(&change);
                let key = key.unwrap_or_default();
                if key.contains('\0') {
                    return Err("the key has a zero byte, which no variable can hold".to_owned());
                }
                Ok(self.command(vec![("TRIGGER_CHANGE".to_owned(), what.to_owned()), ("TRIGGER_KEY".to_owned(), key)]))
            }
        }
    }

    fn command(&self, env: Vec<(String, String)>) -> Call {
        let name = self.workload.id.name.to_string();
        let args = std::iter::once(name).chain(self.args.iter().cloned()).collect();
        Call::Command(Command { args, env, stdio: Stdio::Log })
    }
}

/// What has changed, in a word, and which key.
fn told(change: &Change) -> (&'static str, Option<String>) {
    match change {
        Change::Set(key) => ("set", Some(key.clone())),
        Change::Removed(key) => ("removed", Some(key.clone())),
        Change::Missed => ("missed", None),
    }
}

#[async_trait]
impl Handler for Starter {
    async fn handle(&self, event: Event) -> Outcome {
        let call = match self.call(event) {
            Ok(call) => call,
            Err(why) => return Outcome::Refused(why),
        };
        match self.runtime.call(&self.workload, call).await {
            Ok(Reply::Bytes(bytes)) => Outcome::Done(Some(bytes)),
            Ok(Reply::Message(reply)) => Outcome::Done(reply),
            Ok(Reply::Exit(0) | Reply::Http(_) | Reply::KeyValue(_)) => Outcome::Done(None),
            Ok(Reply::Exit(code)) => Outcome::Failed(format!("it ended with the exit code {code}")),
            Err(Fault::Busy { .. }) => Outcome::Busy,
            Err(fault @ Fault::Caller { .. }) => Outcome::Refused(fault.to_string()),
            Err(fault) => Outcome::Failed(fault.to_string()),
        }
    }
}

/// The triggers of one version: those that run, and those that would not start.
#[derive(Debug)]
struct Started {
    revision: u64,
    running: Vec<Running>,
    refused: Vec<VersionEvent>,
}

impl Started {
    /// Starts what does not run yet.
    fn start(&mut self, id: &AppId) {
        self.refused.retain(|event| match event.start() {
            Ok(running) => {
                self.running.push(running);
                false
            }
            Err(why) => {
                tracing::error!(app = %id, "a trigger does not start, and is tried again: {why:#}");
                true
            }
        });
    }
}

/// Runs the triggers of the versions that serve, until dropped.
pub async fn run_triggers(deployment: &Arc<Deployment>) {
    let mut started: BTreeMap<AppId, Started> = BTreeMap::new();
    let mut changes = deployment.changes();
    loop {
        changes.mark_unchanged();
        let apps = deployment.apps();
        let serving: BTreeMap<&AppId, &Version> = apps.iter().filter_map(|(id, app)| Some((id, app.main()?))).collect();
        let over: Vec<_> = started
            .iter()
            .filter(|(id, started)| serving.get(id).is_none_or(|version| version.revision != started.revision))
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            for running in started.remove(&id).into_iter().flat_map(|started| started.running) {
                tokio::spawn(running.stop(GRACE));
            }
        }
        for (id, version) in serving {
            if version.events.is_empty() {
                continue;
            }
            let all = || Started { revision: version.revision, running: Vec::new(), refused: version.events.clone() };
            started.entry(id.clone()).or_insert_with(all).start(id);
        }
        let again = started.values().any(|started| !started.refused.is_empty());
        let changed = changes.changed();
        // The end of the deployment is that of this task.
        drop(tokio::time::timeout(if again { AGAIN } else { Duration::MAX }, changed).await);
    }
}
