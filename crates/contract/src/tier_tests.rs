//! `compile = "tiered"`: baseline code answers as optimised code does and within the same limits, and gives way to it.

use std::{sync::Arc, time::Duration};

use samara_model::{Compile, Encoding, Shape};
use samara_runtime::{Definition, Runtime, Tier, Workload};
use tokio::sync::Semaphore;

use crate::testing::{baseline_runtime, function_of, get_from, load_into, tiered_runtime};

const ECHO: &str = "wasi_http/http-echo";

async fn tiered(
    runtime: &Arc<Runtime>,
    guest: &str,
    shape: Shape,
    change: impl FnOnce(&mut Definition),
) -> Arc<Workload> {
    let load = load_into(runtime, guest, shape, |definition| {
        definition.compile = Compile::Tiered;
        change(definition);
    });
    load.await
}

/// Waits until a workload's optimised code has taken over.
async fn optimized(workload: &Workload) {
    while workload.tier() != Tier::Optimized {
        assert_eq!(workload.warnings(), [""; 0]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn new_calls_take_the_optimised_code_and_kept_instances_of_the_other_go() {
    let turns = Arc::new(Semaphore::new(0));
    let runtime = tiered_runtime(Arc::clone(&turns));
    let workload = tiered(&runtime, ECHO, Shape::Http, |definition| definition.reuse = 1000).await;
    let metrics = runtime.metrics().host().clone();
    for count in ["200 1", "200 2"] {
        assert_eq!(get_from(&runtime, &workload, "/count").await, count);
        assert_eq!((workload.tier(), workload.kept_instances()), (Tier::Baseline, 1));
    }
    assert_eq!((metrics.baseline_workloads.get(), metrics.tier_swaps.get()), (1, 0));
    turns.add_permits(1);
    optimized(&workload).await;
    assert_eq!(workload.kept_instances(), 0);
    for count in ["200 1", "200 2"] {
        assert_eq!(get_from(&runtime, &workload, "/count").await, count, "a fresh instance, of the optimised code");
    }
    assert_eq!((metrics.baseline_workloads.get(), metrics.tier_swaps.get()), (0, 1));
    assert_eq!(metrics.pool_calls_in_use.get(), 1, "only the instance that is kept");
}

#[tokio::test]
async fn a_call_ends_on_the_code_it_began_with() {
    let turns = Arc::new(Semaphore::new(0));
    let runtime = tiered_runtime(Arc::clone(&turns));
    let change = |definition: &mut Definition| {
        definition.reuse = 1000;
        definition.limits.cpu = None;
        definition.limits.deadline = None;
    };
    let workload = tiered(&runtime, ECHO, Shape::Http, change).await;
    let (runtime_of_call, called) = (Arc::clone(&runtime), Arc::clone(&workload));
    let spinning = tokio::spawn(async move { get_from(&runtime_of_call, &called, "/spin").await });
    while workload.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    turns.add_permits(1);
    optimized(&workload).await;
    assert_eq!((workload.in_flight(), workload.kept_instances()), (1, 0), "it is not broken off");
    assert_eq!(get_from(&runtime, &workload, "/count").await, "200 1");
    spinning.abort();
}

#[tokio::test]
async fn baseline_code_is_within_every_limit() {
    let runtime = baseline_runtime();
    let change = |definition: &mut Definition| definition.limits.cpu = Some(Duration::from_millis(50));
    let workload = tiered(runtime, ECHO, Shape::Http, change).await;
    for (path, outcome) in
        [("/spin", "fault limit"), ("/recurse", "fault guest"), ("/grow", "fault limit"), ("/trap", "fault guest")]
    {
        assert_eq!(get_from(runtime, &workload, path).await, outcome, "{path}");
    }
    assert_eq!(workload.tier(), Tier::Baseline);
    let faults = workload.last_faults();
    let trap = faults.last().and_then(|fault| fault.backtrace.as_ref()).expect("a trap has a backtrace");
    assert!(!trap.0.is_empty(), "{faults:?}");
}

/// What Winch does not know is compiled by the other compiler before it serves, and the operator is told.
async fn check_refused(module: &str, why: &str) {
    let workload = tiered(baseline_runtime(), module, Shape::Function, |_| {}).await;
    assert_eq!(workload.tier(), Tier::Optimized);
    let warnings = workload.warnings();
    assert!(warnings.iter().any(|line| line.contains("baseline") && line.contains(why)), "{warnings:?}");
    assert_eq!(function_of(baseline_runtime(), &workload, "f", "[]", Encoding::Json).await, "7");
}

#[tokio::test]
async fn what_the_baseline_compiler_refuses_waits_for_optimised_code() {
    let tail = "(module (func $g (result i32) i32.const 7) (func (export \"f\") (result i32) return_call $g))";
    check_refused(tail, "`tail-calls`").await;
    // Reference types are not refused by name, and this compiler has no `externref`.
    let reference = "(module (table 1 externref) (func (export \"f\") (result i32)
        (drop (table.get 0 (i32.const 0))) i32.const 7))";
    check_refused(reference, "does not compile").await;
}

#[tokio::test]
async fn a_module_that_is_not_valid_is_refused_by_both() {
    let bytes = wat::parse_str("(module (func (export \"f\") (result i32) i64.const 0))").expect("it is well formed");
    let mut definition = crate::testing::definition("function/add", Shape::Function);
    (definition.bytes, definition.compile) = (bytes.into(), Compile::Tiered);
    let fault = baseline_runtime().load(definition).await.expect_err("it is not valid");
    assert!(fault.to_string().contains("does not compile: "), "{fault}");
}

#[tokio::test]
async fn where_the_operator_forbids_it_nothing_is_tiered() {
    let runtime = Arc::into_inner(tiered_runtime(Arc::new(Semaphore::new(0)))).expect("nobody else has it");
    let runtime = Arc::new(runtime.with_tiered(false));
    let workload = tiered(&runtime, "function/add", Shape::Function, |_| {}).await;
    assert_eq!(workload.tier(), Tier::Optimized);
    assert!(
        workload.warnings()[0].contains("`tiered = true` in [engine] of the host file"),
        "{:?}",
        workload.warnings()
    );
}
