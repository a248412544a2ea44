//! The one path of a call: admission, an instance, the guest under its limits, the reply, the account.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Instant,
};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use samara_model::{Call, Fault, Limit, Reply, format_duration};
use samara_telemetry::Watch;
use tokio::sync::oneshot;
use wasmtime::{CallHook, Store, UpdateDeadline};

use crate::{
    After, Failure, Guest, Live, ReplyTo, Runtime, Tier, Workload,
    account::{Account, CallState, Ended, refused},
    body::GuestBody,
    error::{Stopped, backtrace, fault_of, limit},
    meter::{Meter, Metered},
    nesting::{Level, Nested},
    pool::Reserved,
    task::Task,
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
        let nested = Nested::under(workload).inspect_err(|fault| refused(workload, fault, began))?;
        let admitted = workload.admit(&nested).await.inspect_err(|fault| refused(workload, fault, began))?;
        let kept = workload.idle.lock().pop();
        let instance = match kept {
            Some(idle) => Instance::Kept(idle),
            None => {
                self.reserve(workload, nested.level()).await.inspect_err(|fault| refused(workload, fault, began))?
            }
        };
        drop(queued);
        let (sender, mut receiver) = oneshot::channel();
        let call = counted(call, workload);
        let limits = workload.limits();
        let meter = Arc::new(Meter::new(limits.cpu, limits.host_calls));
        let guest = watch.span("guest");
        guest.set("samara.contract", workload.contract.name());
        let watch = watch.under(&guest);
        let outcome = CallState::open(workload, meter, began, (watch.clone(), guest));
        let run = Run { runtime: Arc::clone(self), account: Account(Arc::clone(&outcome)), _admitted: admitted };
        let run = nested.over(run.run(instance, call, ReplyTo(sender)));
        let mut task = match workload.trace.get() {
            None if !watch.is_on() => Task::start(run, &outcome),
            None => Task::start(watch.over(run), &outcome),
            Some(trace) => Task::start(trace.follow(watch.over(run)), &outcome),
        };
        let mut waiting = true;
        // The task's end counts too: a guest in the lane may have been answered for, and still hold its end of the reply.
        let answered = poll_fn(|context| {
            if waiting {
                match Pin::new(&mut receiver).poll(context) {
                    Poll::Ready(Ok(reply)) => return Poll::Ready(Ok(reply)),
                    Poll::Ready(Err(_)) => waiting = false,
                    Poll::Pending => {}
                }
            }
            task.poll_ended(context).map(|ended| receiver.try_recv().map_err(|_| ended))
        });
        match answered.await {
            Ok(Ok(Reply::Http(response))) => {
                outcome.replied.store(true, Ordering::Release);
                Ok(Reply::Http(response.map(|body| GuestBody::new(body, task, outcome).boxed_unsync())))
            }
            Ok(Ok(reply)) => {
                // The guest is ending: let it end by itself, within its limits.
                outcome.replied.store(true, Ordering::Release);
                if let Reply::Bytes(bytes) | Reply::Message(Some(bytes)) = &reply {
                    outcome.metrics().sent(bytes.len());
                }
                task.detach();
                Ok(reply)
            }
            Ok(Err(fault)) => Err(fault),
            Err(ended) => {
                let fault = outcome.fault.lock().take();
                Err(match (fault, ended) {
                    (Some(fault), _) => fault,
                    (None, Err(error)) => Fault::Host(format!("the call's task ended: {error}")),
                    (None, Ok(())) => Fault::Guest("it ended without a reply".into()),
                })
            }
        }
    }

    pub(crate) async fn reserve(&self, workload: &Workload, level: Level) -> Result<Instance, Fault> {
        let prepared = workload.tiers.now();
        let reserved = match prepared.engine.gate.try_reserve(prepared.footprint, level) {
            Some(reserved) => reserved,
            None => workload.reserve(prepared, level, || self.evict_idle()).await?,
        };
        Ok(Instance::Fresh(prepared.tier, reserved))
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
        Call::Message(message) => {
            workload.authority.metrics.received(message.body.len());
            Call::Message(message)
        }
        Call::KeyValue(call) => {
            workload.authority.metrics.received(call.bytes());
            Call::KeyValue(call)
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
    account: Account,
    _admitted: Admitted,
}

impl Run {
    async fn run(self, instance: Instance, mut call: Call, reply: ReplyTo) {
        let Self { runtime, account, _admitted } = self;
        let Account(state) = &account;
        let (workload, meter) = (&state.workload, &state.meter);
        let limits = workload.limits();
        // Dropped in reverse order, also when this task is aborted: the store before the slots it stands in, or the next call
        // would be let in before there is room for it.
        let prepared = workload.tiers.of(instance.tier());
        let (reserved, mut live, served) = match instance.enter(workload, prepared, &mut call, meter) {
            Ok(instance) => instance,
            Err(fault) => return state.end(Ended { result: Err(fault), memory_bytes: 0, backtrace: None }),
        };
        let ticking = runtime.engines.tick();
        let guest = prepared.ready.serve(&mut live, call, reply);
        let metered = Metered { meter: Arc::clone(meter), guest };
        let served_result = match limits.deadline {
            None => metered.await,
            Some(deadline) => match tokio::time::timeout(deadline, metered).await {
                Ok(result) => result,
                Err(_) => Err(Failure::Fault(limit(Limit::Deadline, format_duration(deadline)))),
            },
        };
        drop(ticking);
        let limiter = &live.store.data().limiter;
        let memory_bytes = limiter.memory_bytes();
        let mut at = None;
        let result = served_result.map_err(|failure| {
            at = backtrace(&failure);
            fault_of(failure, limits, meter, limiter)
        });
        let keep = matches!(result, Ok(After::Keep)) && served + 1 < workload.reuse;
        // The fault is told before the store is dropped: its drop ends the body's stream, and whoever reads that asks why.
        if let Err(fault) = &result {
            trace::from_guest(format_args!("{}: {fault}", fault.label()));
        }
        state.end(Ended { result: result.map(drop), memory_bytes, backtrace: at });
        if keep {
            workload.keep(Idle::new(workload, live, prepared.tier, reserved, served + 1));
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
