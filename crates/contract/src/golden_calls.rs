//! Golden call logs: what crosses between each kind of guest and the host, as text that people can read and a test
//! compares. They show what an ABI looks like, and catch a crossing that moves, vanishes or changes its answer.
//!
//! `UPDATE=1 cargo test -p samara-contract golden` writes `tests/golden/calls/CONTRACT.GUEST.txt` anew.

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::BodyExt;
use samara_model::{Call, Command, Compile, Encoding, Function, KeyValueCall, Message, Reply, Shape, Stdio, empty};
use samara_runtime::{
    CallTrace, Definition, Runtime, Tier, Workload,
    trace::{MAX_TRACE_LINES, Values},
};
use tokio::sync::mpsc;

use crate::testing::{baseline_runtime, load, load_into, request, runtime};

/// Lines a golden file may have: it is to be read.
const MAX_LINES: usize = 120;

/// What is asked of a guest.
enum Asked {
    /// Arguments after the program's name, and the environment.
    Command(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// The path of a `GET`.
    Get(&'static str),
    /// A function and its arguments as JSON.
    Function(&'static str, &'static str),
    /// A message's subject and its body.
    Message(&'static str, &'static str),
    /// The first page of a store's keys.
    Keys,
}

/// Contract, guest, and what is asked of it.
const LOGS: &[(&str, &str, Asked)] = &[
    ("wasi-cli", "wasi_cli/cli-p1", Asked::Command(&["echo", "hello"], &[])),
    ("wasi-cli", "wasi_cli/cli-p2", Asked::Command(&["random"], &[])),
    ("wasi-cli", "wasi_cli/cli-p3", Asked::Command(&["echo", "hello"], &[])),
    ("wasi-cli", "wasi_cli/c-hello", Asked::Command(&[], &[])),
    ("wasi-cli", "cgi/cgi-hello", Asked::Command(&[], &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/")])),
    ("wasi-http", "wasi_http/http-hello", Asked::Get("/")),
    ("wasi-http", "wasi_http/http-echo", Asked::Get("/headers")),
    ("wasi-http", "wasi_http/http-p3", Asked::Get("/headers")),
    ("wasi-http", "wasi_http/wstd-hello", Asked::Get("/")),
    ("wasi-http", "wasi_http/spin7-hello", Asked::Get("/")),
    ("spin-http", "spin_http/spin0-kit", Asked::Get("/echo?a=b")),
    ("wasmcloud-messaging", "wasi_http/wasmcloud-kit", Asked::Message("orders.new", "apple")),
    ("wasi-keyvalue", "wasi_keyvalue/kv-checked", Asked::Keys),
    ("wasi-keyvalue", "wasi_keyvalue/kv-folded", Asked::Keys),
    ("spin-redis", "spin_redis/spin3-redis", Asked::Message("orders", "apple")),
    ("spin-redis", "spin_redis/spin7-redis", Asked::Message("orders", "apple")),
    ("function", "function/add", Asked::Function("add", "[20, 22]")),
    ("function", "function/shapes", Asked::Function("greet", r#"["bob"]"#)),
];

impl Asked {
    fn call(&self) -> Call {
        match self {
            Self::Command(args, env) => Call::Command(Command {
                args: std::iter::once("main.wasm").chain(args.iter().copied()).map(str::to_owned).collect(),
                env: env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
                stdio: Stdio::Log,
            }),
            Self::Get(path) => request("GET", path, empty()),
            Self::Function(operation, arguments) => Call::Function(Function {
                operation: (*operation).to_owned(),
                payload: (*arguments).into(),
                encoding: Encoding::Json,
            }),
            Self::Message(subject, body) => {
                Call::Message(Message { subject: (*subject).to_owned(), body: (*body).into(), ..Message::default() })
            }
            Self::Keys => Call::KeyValue(KeyValueCall::List(None)),
        }
    }

    /// The first line of the file.
    fn title(&self) -> String {
        match self {
            Self::Command(args, env) => {
                let env: String = env.iter().map(|(key, value)| format!("{key}={value} ")).collect();
                format!("{env}main.wasm {}", args.join(" ")).trim_end().to_owned()
            }
            Self::Get(path) => format!("GET {path}"),
            Self::Function(operation, arguments) => format!("{operation} {arguments}"),
            Self::Message(subject, body) => format!("message {subject} {body}"),
            Self::Keys => "list of keys".to_owned(),
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/calls")
}

fn file_name(contract: &str, guest: &str) -> String {
    let name = Path::new(guest).file_name().expect("a guest has a name").to_string_lossy();
    format!("{contract}.{name}.txt")
}

/// Everything that crossed in one call, between the question and the answer.
async fn record(tier: Tier, contract: &str, guest: &str, asked: &Asked) -> String {
    let call = asked.call();
    let (runtime, compile) = match tier {
        Tier::Optimized => (runtime(), Compile::Optimized),
        Tier::Baseline => (baseline_runtime(), Compile::Tiered),
    };
    let workload = load_into(runtime, guest, call.shape(), |definition| definition.compile = compile).await;
    assert_eq!((workload.contract.name(), workload.tier()), (contract, tier), "{guest}");
    let mut told = follow(&workload);
    let answer = match Runtime::call(runtime, &workload, call).await {
        Ok(Reply::Exit(code)) => format!("exit {code}"),
        Ok(Reply::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(Reply::Message(answer)) => format!("{answer:?}"),
        Ok(Reply::KeyValue(answer)) => format!("{answer:?}"),
        Ok(Reply::Http(response)) => {
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.expect("the body is whole").to_bytes();
            format!("{status}, {} bytes", body.len())
        }
        Err(fault) => format!("{fault}"),
    };
    // The guest may end after its reply.
    drop(workload);
    let mut log = format!("# contract {contract}, guest {guest}: {}\n", asked.title());
    while let Some(line) = told.recv().await {
        writeln!(log, "{line}").expect("a String takes it");
    }
    log + &format!("# {answer}\n")
}

/// Recordings of which one must be as the golden log. A guest that runs over a millisecond yields, and then whoever reads
/// its body may come between two of its calls: a busy machine sees another order now and then, a mistake every time.
const ATTEMPTS: usize = 5;

#[tokio::test]
async fn crossings_are_as_the_golden_logs_have_them() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for (contract, guest, asked) in LOGS {
        let mut log = record(Tier::Optimized, contract, guest, asked).await;
        assert!(log.lines().count() <= MAX_LINES, "{guest}: a golden log of {} lines is not read", log.lines().count());
        let path = folder().join(file_name(contract, guest));
        if update {
            std::fs::create_dir_all(folder()).and_then(|()| std::fs::write(&path, &log)).expect("the log is written");
            continue;
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        for tier in Tier::ALL {
            for _ in 0..ATTEMPTS {
                if log == golden {
                    break;
                }
                log = record(tier, contract, guest, asked).await;
            }
            if let Some((line, (expected, found))) = first_difference(&golden, &log) {
                let (path, tier) = (path.display(), tier.as_str());
                wrong.push(format!("{path}:{line}\n  golden: {expected}\n  now:    {found} ({tier} code)"));
            }
            log.clear();
        }
    }
    // A log that nothing compares would go stale.
    let named: BTreeSet<_> = LOGS.iter().map(|(contract, guest, _)| file_name(contract, guest)).collect();
    let found = std::fs::read_dir(folder())
        .expect("the golden logs are there")
        .map(|entry| entry.expect("the folder can be read").file_name().to_string_lossy().into_owned());
    assert_eq!(found.collect::<BTreeSet<_>>(), named);
    assert!(wrong.is_empty(), "{}\n`UPDATE=1 cargo test -p samara-contract golden` accepts this", wrong.join("\n"));
}

/// The number of the first line that differs, and both its forms.
fn first_difference(golden: &str, now: &str) -> Option<(usize, (String, String))> {
    let lines = golden.lines().count().max(now.lines().count());
    let line = |text: &str, number: usize| text.lines().nth(number).unwrap_or("(ends)").to_owned();
    let pairs = (0..lines).map(|number| (number + 1, (line(golden, number), line(now, number))));
    pairs.into_iter().find(|(_, (golden, now))| golden != now)
}

#[test]
fn every_contract_has_a_golden_log() {
    for contract in crate::ALL {
        assert!(LOGS.iter().any(|(name, ..)| *name == contract.name()), "no golden log of `{}`", contract.name());
    }
}

#[tokio::test]
async fn a_trace_ends_with_why_the_guest_died() {
    let workload = |definition: &mut Definition| definition.limits.cpu = Some(Duration::from_millis(50));
    for (path, last) in [("/spin", "<-- limit: the guest is over its `cpu` limit of 50ms"), ("/trap", "<-- guest: ")] {
        let workload = load("wasi_http/http-echo", Shape::Http, workload).await;
        let told = told(workload, request("GET", path, empty())).await;
        assert!(told.last().is_some_and(|line| line.starts_with(last)), "{path}: {told:#?}");
    }
}

#[tokio::test]
async fn a_trace_shows_what_this_host_does_not_provide() {
    let guest = r#"(component
      (import "acme:lib/api" (instance $api (export "f" (func (param "n" u32) (result (result))))))
      (core func $f (canon lower (func $api "f")))
      (core module $m
        (import "api" "f" (func $f (param i32) (result i32)))
        (func (export "ask") (result i32) (call $f (i32.const 7))))
      (core instance $i (instantiate $m (with "api" (instance (export "f" (func $f))))))
      (func (export "ask") (result u32) (canon lift (core func $i "ask"))))"#;
    let workload = load(guest, Shape::Function, |_| {}).await;
    let told = told(workload, Asked::Function("ask", "[]").call()).await;
    assert_eq!(told, ["--> ask()", "==> acme:lib/api#f(7)", "<== err", "<-- 1"]);
}

#[tokio::test]
async fn a_trace_is_bounded_however_long_the_guest_runs() {
    let guest = r#"(module
      (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
      (memory (export "memory") 1)
      (func (export "_start") (loop (drop (call $yield)) (br 0))))"#;
    let limits = |definition: &mut Definition| {
        definition.limits.host_calls = Some(MAX_TRACE_LINES);
        definition.limits.cpu = None;
    };
    let told = told(load(guest, Shape::Command, limits).await, Asked::Command(&[], &[]).call()).await;
    assert_eq!(told.len() as u64, MAX_TRACE_LINES + 1);
    assert_eq!(told.last().map(String::as_str), Some("... a trace ends after 100000 lines"));
}

/// The trace of one call, whatever its answer.
async fn told(workload: Arc<Workload>, call: Call) -> Vec<String> {
    let mut lines = follow(&workload);
    drop(Runtime::call(runtime(), &workload, call).await);
    drop(workload);
    let mut told = Vec::new();
    while let Some(line) = lines.recv().await {
        told.push(line);
    }
    told
}

/// The lines of a workload's calls; they end when the workload is gone and the last of its guests has ended.
fn follow(workload: &Workload) -> mpsc::UnboundedReceiver<String> {
    let (lines, told) = mpsc::unbounded_channel();
    workload.trace_calls(CallTrace::new(Values::Masked, move |_, line| drop(lines.send(line.to_owned()))));
    told
}
