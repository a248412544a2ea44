//! Long calls: they go on in the lane, and everything else is as for short ones.
//!
//! Each test has a runtime of its own. What it would take to measure that nobody waits for them is in `benches/`.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::SinkExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::{Mutex, MutexGuard};
use samara_model::{Encoding, Reply, Shape};
use samara_runtime::{CallTrace, Compiler, CompilerSettings, Definition, PoolSize, Runtime, Workload, trace::Values};
use samara_telemetry::{Metrics, WorkloadTotals};

use crate::testing::{function_of, get_from, load_into, request};

const HELLO: &str = "wasi_http/http-hello";
const ECHO: &str = "wasi_http/http-echo";
const ECHO_3: &str = "wasi_http/http-p3";
/// How long a test waits before it takes something for lost.
const PATIENCE: Duration = Duration::from_secs(40);
/// Threads of the lane.
const LANE: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// Counts to its argument: some 60 ms for the count below, whatever the machine a multiple of what makes a call long.
const COUNT: &str = r#"(module (func (export "count") (param i64) (result i64) (local i64)
  (loop $more
    (local.set 1 (i64.add (local.get 1) (i64.const 1)))
    (br_if $more (i64.lt_u (local.get 1) (local.get 0))))
  (local.get 1)))"#;
const LONG: u64 = 120_000_000;
const LOOP: &str = r#"(module (func (export "spin") (loop br 0)))"#;

/// Threads of one lane give way to everything else in the process, other lanes and their tests included.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Host {
    runtime: Arc<Runtime>,
    metrics: Arc<Metrics>,
    _turn: MutexGuard<'static, ()>,
}

impl Host {
    fn new() -> Self {
        let turn = ONE_AT_A_TIME.lock();
        let metrics = Metrics::new();
        let compiler = Compiler::new(CompilerSettings::default());
        let runtime = Runtime::new(crate::ALL, PoolSize::small(0), compiler, Arc::clone(&metrics)).with_lane(LANE);
        Self { runtime: Arc::new(runtime), metrics, _turn: turn }
    }

    fn totals(&self, workload: &Workload) -> WorkloadTotals {
        self.metrics.workload(&workload.id).totals()
    }

    fn outcome(&self, workload: &Workload, outcome: &str) -> u64 {
        let totals = self.totals(workload);
        totals.outcomes().find(|(label, _)| *label == outcome).map_or(0, |(_, count)| count)
    }

    async fn counting(&self) -> Arc<Workload> {
        load_into(&self.runtime, COUNT, Shape::Function, unhurried).await
    }

    async fn count(&self, workload: &Arc<Workload>, to: u64) -> String {
        function_of(&self.runtime, workload, "count", &format!("[{to}]"), Encoding::Json).await
    }

    /// Counts until a call was a long one, which it is not where nobody came to interrupt it: how much CPU it was billed, and
    /// what happened `then`, once it had gone on in the lane.
    async fn long_count<T>(&self, workload: &Arc<Workload>, then: impl AsyncFn() -> T) -> (Duration, T) {
        loop {
            let before = self.totals(workload);
            let moved = async {
                self.until(workload, |now| now.long_calls > before.long_calls || now.calls() > before.calls()).await;
                then().await
            };
            let (answer, then) = tokio::join!(self.count(workload, LONG), moved);
            assert_eq!(answer, LONG.to_string());
            self.until(workload, |totals| totals.in_flight == 0).await;
            let after = self.totals(workload);
            if after.long_calls > before.long_calls {
                return (after.cpu - before.cpu, then);
            }
        }
    }

    /// Waits, on the executor, until what is told of a workload is so.
    async fn until(&self, workload: &Workload, condition: impl Fn(&WorkloadTotals) -> bool) {
        let wait = async {
            while !condition(&self.totals(workload)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, wait).await;
        assert!(in_time.is_ok(), "{:?}", self.totals(workload));
    }
}

#[tokio::test]
async fn a_long_call_goes_on_in_the_lane_and_a_short_one_does_not() {
    let host = Host::new();
    let workload = host.counting().await;
    assert_eq!(host.count(&workload, 3).await, "3");
    assert_eq!(host.totals(&workload).long_calls, 0);
    host.long_count(&workload, async || ()).await;
    let totals = host.totals(&workload);
    assert_eq!((host.outcome(&workload, "ok"), totals.long_calls), (totals.calls(), 1));
}

/// Without the limits that a busy machine meets by itself.
fn unhurried(definition: &mut Definition) {
    definition.limits.cpu = None;
    definition.limits.deadline = None;
}

/// Keeps every processor busy for a while, or until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    /// Far longer than [`LONG`] takes, and short enough for what waits meanwhile.
    const FOR: Duration = Duration::from_secs(1);

    fn new() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let end = Instant::now() + Self::FOR;
        for _ in 0..2 * thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            let stop = Arc::clone(&stop);
            thread::spawn(move || while !stop.load(Ordering::Relaxed) && Instant::now() < end {});
        }
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A thread of the lane is stopped while others are busy; what it waits is no work of its guest.
#[tokio::test]
async fn a_long_call_is_billed_what_it_runs_and_not_what_it_waits() {
    let host = Host::new();
    let workload = host.counting().await;
    let (alone, ()) = host.long_count(&workload, async || ()).await;
    let (beside, wall) = loop {
        let (beside, (busy, began)) = host.long_count(&workload, async || (Busy::new(), Instant::now())).await;
        let wall = began.elapsed();
        drop(busy);
        // It may have ended before the others began.
        if wall > Busy::FOR / 2 {
            break (beside, wall);
        }
    };
    // Beside twice as many as there are processors it has waited most of the time.
    assert!(beside < wall / 2, "billed {beside:?} of {wall:?}; alone {alone:?}");
    assert!(beside > alone / 4, "billed {beside:?} beside others, {alone:?} alone");
}

#[tokio::test]
async fn a_long_call_meets_its_limits_while_its_neighbour_answers() {
    let host = Host::new();
    let good = load_into(&host.runtime, HELLO, Shape::Http, |_| {}).await;
    let deadline = load_into(&host.runtime, LOOP, Shape::Function, |definition| {
        definition.id.name = "deadline".into();
        definition.limits.deadline = Some(Duration::from_secs(1));
        definition.limits.cpu = Some(Duration::from_secs(60));
    })
    .await;
    let cpu = load_into(&host.runtime, LOOP, Shape::Function, |definition| {
        definition.id.name = "cpu".into();
        unhurried(definition);
        definition.limits.cpu = Some(Duration::from_millis(100));
    })
    .await;
    let answers = async {
        while host.totals(&cpu).calls() + host.totals(&deadline).calls() < 2 {
            assert_eq!(get_from(&host.runtime, &good, "/").await, "200 Hello, WASI!");
        }
    };
    let spin = |workload| function_of(&host.runtime, workload, "spin", "", Encoding::Json);
    let (over_deadline, over_cpu, ()) = tokio::join!(spin(&deadline), spin(&cpu), answers);
    assert_eq!(over_deadline, "504: the guest is over its `deadline` limit of 1s");
    assert_eq!(over_cpu, "504: the guest is over its `cpu` limit of 100ms");
    assert_eq!((host.totals(&cpu).long_calls, host.totals(&deadline).long_calls), (1, 1));
    assert!(host.totals(&cpu).cpu >= Duration::from_millis(100), "{:?}", host.totals(&cpu));
}

/// Whoever asks is answered at the deadline although the lane, whose threads are all held, cannot come to the guest.
#[tokio::test]
async fn a_lane_that_is_held_up_holds_up_no_answer() {
    // So much that it is interrupted whatever else the machine does: this thread must not be the one that is held.
    const MOST: u64 = 10 * LONG;
    let host = Host::new();
    let holding = host.counting().await;
    let (held, mut holds) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    // The end of a traced call is told inside its guest's poll, on a thread of the lane.
    holding.trace_calls(CallTrace::new(Values::Masked, move |_, line| {
        if line.starts_with("<--") {
            drop(held.send(thread::current().name().map(str::to_owned)));
            drop(released.lock().map(|released| released.recv()));
        }
    }));
    let looping = load_into(&host.runtime, LOOP, Shape::Function, |definition| {
        definition.id.name = "looping".into();
        definition.limits.deadline = Some(Duration::from_millis(200));
        definition.limits.cpu = Some(Duration::from_secs(60));
    })
    .await;
    let counts = async { tokio::join!(host.count(&holding, MOST), host.count(&holding, MOST)) };
    let answered = async {
        for _ in 0..LANE.get() {
            assert_eq!(holds.recv().await.flatten().as_deref(), Some("lane"));
        }
        let spin = function_of(&host.runtime, &looping, "spin", "", Encoding::Json);
        let answer = tokio::time::timeout(PATIENCE, spin).await;
        assert_eq!(answer.as_deref(), Ok("504: the guest is over its `deadline` limit of 200ms"));
        assert_eq!(
            (host.outcome(&looping, "limit"), looping.in_flight()),
            (1, 1),
            "its slots are taken until it is gone"
        );
        drop(release);
    };
    let (counts, ()) = tokio::join!(counts, answered);
    assert_eq!(counts, (MOST.to_string(), MOST.to_string()));
    host.until(&looping, |_| looping.in_flight() == 0).await;
    assert_eq!((host.totals(&looping).calls(), host.outcome(&looping, "limit")), (1, 1), "it is booked once");
}

#[tokio::test]
async fn a_long_call_ends_with_whoever_waits_for_it() {
    let host = Host::new();
    let workload = load_into(&host.runtime, LOOP, Shape::Function, unhurried).await;
    tokio::select! {
        answer = function_of(&host.runtime, &workload, "spin", "", Encoding::Json) => panic!("it has ended: {answer}"),
        () = host.until(&workload, |totals| totals.long_calls == 1) => {}
    }
    host.until(&workload, |totals| totals.in_flight == 0 && workload.in_flight() == 0).await;
    assert_eq!((host.totals(&workload).calls(), host.outcome(&workload, "cancelled")), (1, 1));
}

/// Streams pieces through a guest until its call is long, and some more.
#[tokio::test]
async fn a_long_call_streams_on_and_ends_with_its_reader() {
    const MORE: usize = 20;
    for (guest, path) in [(ECHO, "/echo"), (ECHO_3, "/copy")] {
        let host = Host::new();
        let workload = load_into(&host.runtime, guest, Shape::Http, unhurried).await;
        for leaves in [false, true] {
            let (mut sender, receiver) = futures::channel::mpsc::channel(1);
            let call = request("POST", path, StreamBody::new(receiver).boxed_unsync());
            // Before the call: a busy machine makes a long one of it before its head is here.
            let (before, mut left) = (host.totals(&workload).long_calls, MORE);
            let Ok(Reply::Http(response)) = host.runtime.call(&workload, call).await else { panic!("{guest} answers") };
            let mut body = response.into_body();
            let piece = Bytes::from(vec![7; 64 << 10]);
            while left > 0 {
                sender.send(Ok(Frame::data(piece.clone()))).await.unwrap();
                let mut back = 0;
                while back < piece.len() {
                    back += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
                }
                left -= usize::from(host.totals(&workload).long_calls > before);
            }
            if leaves {
                // Its request goes on; nobody reads what it answers.
                drop(body);
            } else {
                drop(sender);
                assert!(body.collect().await.unwrap().to_bytes().is_empty(), "{guest}: more than was sent");
            }
            host.until(&workload, |totals| totals.in_flight == 0 && workload.in_flight() == 0).await;
            // A guest that sees its reader leave may end by itself before it is ended.
            let well = host.outcome(&workload, "ok") + host.outcome(&workload, "cancelled");
            assert_eq!(well, 1 + u64::from(leaves), "{guest}: {:?}", host.totals(&workload));
        }
    }
}

/// What it waits for was registered, before it was long, with the runtime that it began on.
#[tokio::test]
async fn a_long_call_keeps_its_timers() {
    let host = Host::new();
    let workload = load_into(&host.runtime, ECHO, Shape::Http, unhurried).await;
    let mut lines = 300;
    loop {
        let answer = get_from(&host.runtime, &workload, &format!("/slow?ms=1&n={lines}")).await;
        assert_eq!(answer.lines().count(), lines, "{answer}");
        host.until(&workload, |totals| totals.in_flight == 0).await;
        if host.totals(&workload).long_calls > 0 {
            return;
        }
        // The machine is faster than those that were thought of.
        lines *= 2;
    }
}
