//! The one path of a call: admission, an instance, the guest under its limits, the reply, the account.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use samara_model::{Body, BodyError, Call, Fault, Limit, Reply, format_duration};
use samara_telemetry::{Outcome, Span, Watch, WorkloadMetrics};
use tokio::{sync::oneshot, task::JoinHandle};
use wasmtime::{CallHook, Store, UpdateDeadline};

use crate::{
    After, Backtrace, Failure, Guest, Live, ReplyTo, Runtime, Tier, Workload,
    error::{Stopped, backtrace, fault_of, limit},
    meter::{Meter, Metered},
    pool::Reserved,
    tier::Prepared,
    trace,
    workload::{Admitted, Idle},
};

impl Runtime {
    /// Calls a workload: the only way from any surface, and from any guest, to a guest.
    ///
    /// For HTTP the reply comes as soon as its head exists, and its body streams while the guest runs. Dropping the
    /// future, or the reply's body before its end, ends the guest.
    ///
    /// # Errors
    /// The fault says whose fault it is that there is no reply.
    pub async fn call(self: &Arc<Self>, workload: &Arc<Workload>, call: Call) -> Result<Reply, Fault> {
        if call.shape() != workload.shape {
            return Err(Fault::Caller {
                status: 405,
                message: format!(
                    "workload `{}` answers {} calls, not {} calls",
                    workload.id,
                    workload.shape,
                    call.shape()
                ),
            });
        }
        let began = Instant::now();
        let watch = Watch::current();
        watch.answered_by(&workload.id);
        let queued = watch.span("queue");
        let admitted = workload.admit().await.inspect_err(|fault| refused(workload, fault, began))?;
        let kept = workload.idle.lock().pop();
        let instance = match kept {
            Some(idle) => Instance::Kept(idle),
            None => self.reserve(workload).await.inspect_err(|fault| refused(workload, fault, began))?,
        };
        drop(queued);
        let (sender, receiver) = oneshot::channel();
        let outcome = Arc::new(CallState::new(workload));
        let call = counted(call, workload);
        let limits = workload.limits();
        let meter = Arc::new(Meter::new(limits.cpu, limits.host_calls));
        let guest = watch.span("guest");
        guest.set("samara.contract", workload.contract.name());
        let watch = watch.under(&guest);
        let account = Account::open(&outcome, meter, began, (watch.clone(), guest));
        let run = Run { runtime: Arc::clone(self), workload: Arc::clone(workload), account, _admitted: admitted };
        let run = run.run(instance, call, ReplyTo(sender));
        let mut task = Task(Some(match workload.trace.get() {
            None if !watch.is_on() => tokio::spawn(run),
            None => tokio::spawn(watch.over(run)),
            Some(trace) => tokio::spawn(trace.follow(watch.over(run))),
        }));
        match receiver.await {
            Ok(Ok(Reply::Http(response))) => {
                outcome.replied.store(true, Ordering::Release);
                Ok(Reply::Http(response.map(|body| GuestBody::new(body, task, outcome).boxed_unsync())))
            }
            Ok(Ok(reply)) => {
                // The guest is ending: let it end by itself, within its limits.
                outcome.replied.store(true, Ordering::Release);
                if let Reply::Bytes(bytes) = &reply {
                    outcome.metrics().sent(bytes.len());
                }
                task.detach();
                Ok(reply)
            }
            Ok(Err(fault)) => Err(fault),
            Err(_) => {
                let ended = task.ended().await;
                let fault = outcome.fault.lock().take();
                Err(match (fault, ended) {
                    (Some(fault), _) => fault,
                    (None, Err(error)) => Fault::Host(format!("the call's task ended: {error}")),
                    (None, Ok(())) => Fault::Guest("it ended without a reply".into()),
                })
            }
        }
    }

    pub(crate) async fn reserve(&self, workload: &Workload) -> Result<Instance, Fault> {
        let prepared = workload.tiers.now();
        let reserved = match prepared.engine.gate.try_reserve(prepared.footprint) {
            Some(reserved) => reserved,
            None => workload.reserve(prepared, || self.evict_idle()).await?,
        };
        Ok(Instance::Fresh(prepared.tier, reserved))
    }
}

/// Accounts a call that never started.
fn refused(workload: &Workload, fault: &Fault, began: Instant) {
    workload.authority.metrics.refused(&Outcome {
        label: fault.label(),
        latency: began.elapsed(),
        cpu: std::time::Duration::ZERO,
        memory_bytes: 0,
    });
}

/// What the task that runs the guest and whoever reads the reply share.
#[derive(Debug)]
struct CallState {
    workload: Arc<Workload>,
    fault: Mutex<Option<Fault>>,
    failed: AtomicBool,
    replied: AtomicBool,
}

impl CallState {
    fn new(workload: &Arc<Workload>) -> Self {
        let workload = Arc::clone(workload);
        Self { workload, fault: Mutex::default(), failed: AtomicBool::new(false), replied: AtomicBool::new(false) }
    }

    fn metrics(&self) -> &WorkloadMetrics {
        &self.workload.authority.metrics
    }
}

/// The call, with the bytes that its guest is given counted.
fn counted(call: Call, workload: &Arc<Workload>) -> Call {
    match call {
        Call::Http(mut http) if !http.request.body().is_end_stream() => {
            let metrics = Arc::clone(&workload.authority.metrics);
            let count = move |frame: Frame<Bytes>| {
                metrics.received(frame.data_ref().map_or(0, Bytes::len));
                frame
            };
            http.request = http.request.map(|body| body.map_frame(count).boxed_unsync());
            Call::Http(http)
        }
        Call::Function(function) => {
            workload.authority.metrics.received(function.payload.len());
            Call::Function(function)
        }
        other => other,
    }
}

pub(crate) enum Instance {
    Kept(Idle),
    Fresh(Tier, Reserved),
}

/// The task that runs one guest.
struct Run {
    runtime: Arc<Runtime>,
    workload: Arc<Workload>,
    account: Account,
    _admitted: Admitted,
}

impl Run {
    async fn run(self, instance: Instance, mut call: Call, reply: ReplyTo) {
        let Self { runtime, workload, mut account, _admitted } = self;
        let limits = workload.limits();
        let meter = Arc::clone(&account.meter);
        // Dropped in reverse order, also when this task is aborted: the store before the slots it stands in, or the next call
        // would be let in before there is room for it.
        let prepared = workload.tiers.of(instance.tier());
        let (reserved, mut live, served) = match instance.enter(&workload, prepared, &mut call, &meter) {
            Ok(instance) => instance,
            Err(fault) => return account.end(Err(fault)),
        };
        let ticking = runtime.engines.tick();
        let guest = prepared.ready.serve(&mut live, call, reply);
        let metered = Metered { meter: Arc::clone(&meter), guest };
        let served_result = match limits.deadline {
            None => metered.await,
            Some(deadline) => match tokio::time::timeout(deadline, metered).await {
                Ok(result) => result,
                Err(_) => Err(Failure::Fault(limit(Limit::Deadline, format_duration(deadline)))),
            },
        };
        drop(ticking);
        let limiter = &live.store.data().limiter;
        account.memory_bytes = limiter.memory_bytes();
        let result = served_result.map_err(|failure| {
            account.backtrace = backtrace(&failure);
            fault_of(failure, limits, &meter, limiter)
        });
        let keep = matches!(result, Ok(After::Keep)) && served + 1 < workload.reuse;
        // The fault is told before the store is dropped: its drop ends the body's stream, and whoever reads that asks why.
        if let Err(fault) = &result {
            trace::from_guest(format_args!("{}: {fault}", fault.label()));
        }
        account.end(result.map(drop));
        if keep {
            workload.keep(Idle::new(&workload, live, prepared.tier, reserved, served + 1));
            // Whoever began to wait for slots while this call ran would wait for ever behind an idle instance.
            if prepared.engine.gate.has_waiting() {
                runtime.evict_idle();
            }
        }
    }
}

impl Instance {
    /// Which code it runs.
    pub(crate) fn tier(&self) -> Tier {
        match self {
            Self::Kept(idle) => idle.tier,
            Self::Fresh(tier, _) => *tier,
        }
    }

    /// A guest for this call: the kept one, or a new one in the slots that were reserved.
    pub(crate) fn enter(
        self,
        workload: &Workload,
        prepared: &Prepared,
        call: &mut Call,
        meter: &Arc<Meter>,
    ) -> Result<(Reserved, Live, u32), Fault> {
        let abi = prepared.ready.open(call);
        match self {
            Self::Kept(Idle { mut live, reserved, served, .. }) => {
                live.store.data_mut().renew(meter, abi);
                Ok((reserved, live, served))
            }
            Self::Fresh(_, reserved) => {
                let guest = Guest::new(&workload.authority, meter, call, abi)
                    .map_err(|error| Fault::Config(format!("{error:#}")))?;
                let mut store = Store::new(&prepared.engine.engine, guest);
                bound(&mut store, workload);
                Ok((reserved, Live { store, instance: None }, 0))
            }
        }
    }
}

/// Puts a store under its limits.
fn bound(store: &mut Store<Guest>, workload: &Workload) {
    let limits = workload.limits();
    store.limiter(|guest| &mut guest.limiter);
    if let Some(bytes) = limits.host_call_bytes {
        store.set_hostcall_fuel(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    // The guest's own tables of handles; what handles of ours it may hold, `Guest::new` bounds.
    store.set_max_component_handles(usize::try_from(limits.handles).unwrap_or(usize::MAX));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context| {
        context.data().authority().sampler.sample(&context);
        if !context.data().meter.within_cpu() {
            return Err(Stopped::Cpu.into());
        }
        // wasmtime's own yield wakes itself and starves timers; a task that yields goes to the back of the queue.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    if limits.host_calls.is_some() {
        store.call_hook(|context, hook| match hook {
            CallHook::CallingHost if !context.data().meter.count_host_call() => Err(Stopped::HostCalls.into()),
            _ => Ok(()),
        });
    }
}

/// Books a call exactly once, even when its task is dropped half-way or before it began.
struct Account {
    state: Arc<CallState>,
    meter: Arc<Meter>,
    began: Instant,
    memory_bytes: u64,
    backtrace: Option<Backtrace>,
    ended: bool,
    watch: Watch,
    span: Span,
}

impl Account {
    fn open(state: &Arc<CallState>, meter: Arc<Meter>, began: Instant, (watch, span): (Watch, Span)) -> Self {
        state.metrics().started();
        Self { state: Arc::clone(state), meter, began, memory_bytes: 0, backtrace: None, ended: false, watch, span }
    }

    fn end(&mut self, result: Result<(), Fault>) {
        let label = match &result {
            Ok(()) => "ok",
            Err(fault) => fault.label(),
        };
        self.book(label);
        if let Err(fault) = result {
            if self.span.is_on() {
                self.span.failed(&fault.to_string());
            }
            self.state.workload.faults.record(&fault, self.backtrace.take());
            let state = &self.state;
            if state.replied.load(Ordering::Acquire) {
                tracing::warn!(workload = %self.state.workload.id, fault = fault.label(), "after the reply's head: {fault}");
            }
            *state.fault.lock() = Some(fault);
            state.failed.store(true, Ordering::Release);
        }
    }

    fn book(&mut self, label: &'static str) {
        self.ended = true;
        self.watch.ended(label, self.meter.cpu());
        if self.span.is_on() {
            self.span.set("samara.outcome", label);
            self.span.set("samara.cpu_seconds", self.meter.cpu().as_secs_f64());
            self.span.set("samara.memory_bytes", i64::try_from(self.memory_bytes).unwrap_or(i64::MAX));
        }
        self.state.metrics().ended(&Outcome {
            label,
            latency: self.began.elapsed(),
            cpu: self.meter.cpu(),
            memory_bytes: self.memory_bytes,
        });
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if std::thread::panicking() {
            self.end(Err(Fault::Host("a panic while the guest ran".into())));
        } else {
            self.book("cancelled");
        }
    }
}

/// A guest's task, which ends with whoever waits for it.
#[derive(Debug)]
struct Task(Option<JoinHandle<()>>);

impl Task {
    /// Lets the task go on by itself: dropping a handle does not abort.
    fn detach(mut self) {
        drop(self.0.take());
    }

    async fn ended(&mut self) -> Result<(), tokio::task::JoinError> {
        match &mut self.0 {
            Some(handle) => handle.await,
            None => Ok(()),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// A reply's body as its reader sees it: a guest that dies resets it, a reader that leaves ends the guest.
struct GuestBody {
    body: Body,
    task: Option<Task>,
    state: Arc<CallState>,
}

impl GuestBody {
    fn new(body: Body, task: Task, state: Arc<CallState>) -> Self {
        Self { body, task: Some(task), state }
    }
}

impl http_body::Body for GuestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let ended = match polled {
            Some(Ok(frame)) => {
                self.state.metrics().sent(frame.data_ref().map_or(0, Bytes::len));
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        };
        if self.state.failed.load(Ordering::Acquire) {
            // The guest died and its stream just ended: without this the client would take the part for the whole.
            if let Some(fault) = self.state.fault.lock().take() {
                return Poll::Ready(Some(Err(fault.into())));
            }
        }
        if ended.is_none() {
            // Read to its end: the guest may finish what it does after the reply.
            if let Some(task) = self.task.take() {
                task.detach();
            }
        }
        Poll::Ready(ended)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        // hyper does not poll a body again that said it is at its end.
        if self.body.is_end_stream()
            && let Some(task) = self.task.take()
        {
            task.detach();
        }
    }
}
