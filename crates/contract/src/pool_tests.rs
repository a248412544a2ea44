//! A full pool: slots are free when they are said to be free, and kept instances make way for whoever waits.
//!
//! Each test has a runtime of its own with the smallest pool there is, which other tests cannot fill.

use std::{sync::Arc, time::Duration};

use futures::SinkExt;
use http_body_util::{BodyExt, StreamBody};
use samara_model::{Body, Encoding, Reply, Shape};
use samara_runtime::{Runtime, Workload};

use crate::testing::{function_of, get_from, load_into, request, runtime_of};

/// Calls that the smallest pool holds.
const POOL_CALLS: usize = 16;
const HELLO: &str = "wasi_http/http-hello";
const ECHO: &str = "wasi_http/http-echo";
/// No test waits that long for a slot; one that it does not get is a fault of the call.
const DEADLINE: Duration = Duration::from_secs(10);

async fn hello(runtime: &Arc<Runtime>) -> Arc<Workload> {
    load_into(runtime, HELLO, Shape::Http, |definition| definition.limits.deadline = Some(DEADLINE)).await
}

async fn kept_echo(runtime: &Arc<Runtime>) -> Arc<Workload> {
    load_into(runtime, ECHO, Shape::Http, |definition| definition.reuse = 1000).await
}

/// A call that runs until its sender is dropped.
async fn held(runtime: &Arc<Runtime>, workload: &Arc<Workload>) -> (Body, impl Sized + use<>) {
    let (mut sender, receiver) = futures::channel::mpsc::channel(1);
    let Ok(Reply::Http(response)) =
        runtime.call(workload, request("POST", "/echo", StreamBody::new(receiver).boxed_unsync())).await
    else {
        panic!("the guest answers while its request goes on");
    };
    sender.send(Ok(http_body::Frame::data("x".into()))).await.unwrap();
    (response.into_body(), sender)
}

/// Takes two memories of the pool, writes so much into them that giving them back takes a while, and sleeps a little, so
/// that whoever waits for its slots finds an idle processor.
const DIRTY: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 64) (memory $other 64)
  (func (export "dirty")
    (memory.fill (i32.const 0x10000) (i32.const 1) (i32.const 0x200000))
    (memory.fill $other (i32.const 0) (i32.const 1) (i32.const 0x200000))
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 10_000_000))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"#;

/// The next call is let in when the slots are given back: that must not be before the instance is gone. As in the gateway
/// each thread has a runtime of its own, so that whoever waits on another thread starts at once.
#[test]
fn a_slot_comes_free_after_its_instance() {
    let on_this_thread = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runtime = runtime_of(0);
    let workload = on_this_thread().block_on(load_into(&runtime, DIRTY, Shape::Function, |_| {}));
    let client = || async {
        for _ in 0..5 {
            assert_eq!(function_of(&runtime, &workload, "dirty", "", Encoding::Json).await, "null");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| on_this_thread().block_on(futures::future::join_all((0..POOL_CALLS).map(|_| client()))));
        }
    });
}

#[tokio::test]
async fn instances_that_are_kept_make_way_for_whoever_waits() {
    let runtime = runtime_of(0);
    let (hello, echo) = (hello(&runtime).await, kept_echo(&runtime).await);
    let mut calls = Vec::new();
    for _ in 0..POOL_CALLS {
        calls.push(held(&runtime, &echo).await);
    }
    for (body, sender) in calls {
        drop(sender);
        body.collect().await.unwrap();
    }
    // Every slot is held by an instance that waits for its next call.
    assert_eq!(get_from(&runtime, &echo, "/count").await, "200 1");
    assert_eq!(get_from(&runtime, &hello, "/").await, "200 Hello, WASI!");
}

#[tokio::test]
async fn an_instance_is_not_kept_while_somebody_waits_for_its_slot() {
    let runtime = runtime_of(0);
    let (hello, echo) = (hello(&runtime).await, kept_echo(&runtime).await);
    let mut calls = Vec::new();
    for _ in 0..POOL_CALLS {
        calls.push(held(&runtime, &echo).await);
    }
    let mut waiting = Box::pin(get_from(&runtime, &hello, "/"));
    assert!(futures::poll!(&mut waiting).is_pending(), "the pool is full");
    let (body, sender) = calls.remove(0);
    drop(sender);
    body.collect().await.unwrap();
    assert_eq!(waiting.await, "200 Hello, WASI!");
}
