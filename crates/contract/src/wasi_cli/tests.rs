//! Commands through `Runtime::call`: their exit codes, streams and limits.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use samara_model::{Call, Command, Fault, Reply, Shape, Sink, SinkClosed, Stdio, full};
use samara_runtime::Workload;

use crate::testing::{load, runtime};

const GUESTS: &[&str] = &["wasi_cli/cli-p1", "wasi_cli/cli-p2", "wasi_cli/cli-p3"];

/// Keeps what a guest writes.
#[derive(Debug)]
struct Kept(futures::channel::mpsc::Sender<Bytes>);

impl Sink for Kept {
    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), SinkClosed>> {
        self.0.poll_ready(context).map_err(|_| SinkClosed)
    }

    fn send(&mut self, chunk: Bytes) -> Result<(), SinkClosed> {
        self.0.start_send(chunk).map_err(|_| SinkClosed)
    }
}

/// Runs a command; `exit N: output`, or the label of its fault.
async fn run(workload: &Arc<Workload>, args: &[&str], stdin: &str) -> String {
    let (sender, output) = futures::channel::mpsc::channel(4);
    let stdio = Stdio::Piped { stdin: full(stdin.to_owned()), stdout: Box::new(Kept(sender)) };
    let args = std::iter::once("main.wasm").chain(args.iter().copied()).map(str::to_owned).collect();
    let call = Call::Command(Command { args, env: Vec::new(), stdio });
    let output = futures::StreamExt::collect::<Vec<_>>(output);
    let (reply, output) = tokio::join!(runtime().call(workload, call), output);
    let output = output.concat();
    match reply {
        Ok(Reply::Exit(code)) => format!("exit {code}: {}", String::from_utf8_lossy(&output)).trim_end().to_owned(),
        Ok(other) => panic!("not an exit code: {other:?}"),
        Err(Fault::Limit { limit, .. }) => format!("limit {limit}"),
        Err(fault) => format!("fault {}", fault.label()),
    }
}

#[tokio::test]
async fn arguments_input_output_and_exit_codes_pass_through() {
    for guest in GUESTS {
        let workload = load(guest, Shape::Command, |_| {}).await;
        assert_eq!(run(&workload, &["echo", "a", "b"], "").await, "exit 0: a b", "{guest}");
        assert_eq!(run(&workload, &["cat"], "from stdin").await, "exit 0: from stdin", "{guest}");
        let code = run(&workload, &["exit", "7"], "").await;
        // WASI 0.2's `exit` knows only success and failure.
        assert!(code == "exit 7:" || guest.ends_with("p2") && code == "exit 1:", "{guest}: {code}");
    }
}

#[tokio::test]
async fn each_limit_is_its_own_fault() {
    for guest in GUESTS {
        let hurried = load(guest, Shape::Command, |definition| {
            definition.limits.cpu = Some(Duration::from_millis(100));
        })
        .await;
        assert_eq!(run(&hurried, &["spin"], "").await, "limit cpu", "{guest}");
        let workload = load(guest, Shape::Command, |definition| {
            definition.limits.cpu = None;
            definition.limits.memory_bytes = 16 << 20;
        })
        .await;
        assert_eq!(run(&workload, &["grow"], "").await, "limit memory", "{guest}");
        assert_eq!(run(&workload, &["recurse"], "").await, "fault guest", "{guest}");
        assert_eq!(run(&workload, &["trap"], "").await, "fault guest", "{guest}");
    }
}

#[tokio::test]
async fn files_are_denied_unless_a_folder_is_granted() {
    for guest in GUESTS {
        let bare = load(guest, Shape::Command, |_| {}).await;
        let answer = run(&bare, &["ls", "/"], "").await;
        assert!(!answer.starts_with("exit 0"), "{guest}: {answer}");
    }
}

#[tokio::test]
async fn host_calls_are_counted() {
    let guest = r#"(module
      (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
      (memory (export "memory") 1)
      (func (export "_start") (loop (drop (call $yield)) (br 0))))"#;
    let workload = load(guest, Shape::Command, |definition| {
        definition.limits.host_calls = Some(1000);
        definition.limits.cpu = None;
    })
    .await;
    assert_eq!(run(&workload, &[], "").await, "limit host_calls");
}
