//! `compile = "tiered"`: a module that nobody compiled before answers with baseline code, and is improved while it serves.
//!
//! Each test has a code cache of its own: what is cached has no baseline code.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use serde_json::Value;
use wasm_encoder::{CodeSection, ExportKind, ExportSection, Function, FunctionSection, Module, TypeSection, ValType};

use crate::{
    samara,
    serving::{Serving, eventually, request},
};

/// Functions of the module; together they take the optimising compiler much longer than the other.
const FUNCTIONS: u32 = 256;
/// Rounds of arithmetic in each of them, about 18 bytes each.
const ROUNDS: u32 = 200;

/// The constants of one round of one function.
fn constants(function: u32, round: u32) -> (i32, i32) {
    let mixed = (function * ROUNDS + round).wrapping_mul(0x9E37_79B9).cast_signed();
    (mixed | 1, mixed.rotate_left(13))
}

/// A module whose export `f` sends a number through all its functions, one calling the next.
fn large_module() -> Vec<u8> {
    let (mut types, mut functions, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    types.ty().function([ValType::I32], [ValType::I32]);
    exports.export("f", ExportKind::Func, 0);
    for function in 0..FUNCTIONS {
        functions.function(0);
        let mut body = Function::new([]);
        let mut write = body.instructions();
        write.local_get(0);
        for round in 0..ROUNDS {
            let (factor, mask) = constants(function, round);
            write.i32_const(factor).i32_mul().i32_const(7).i32_rotl().i32_const(mask).i32_xor();
        }
        if function + 1 < FUNCTIONS {
            write.call(function + 1);
        }
        write.end();
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    module.finish()
}

/// What [`large_module`] answers.
fn answer(number: i32) -> i32 {
    let rounds = (0..FUNCTIONS).flat_map(|function| (0..ROUNDS).map(move |round| constants(function, round)));
    rounds.fold(number, |number, (factor, mask)| number.wrapping_mul(factor).rotate_left(7) ^ mask)
}

/// A folder with the large module, an app of it, and a code cache.
struct Site(tempfile::TempDir);

impl Site {
    fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("large.wasm"), large_module()).unwrap();
        let manifest = format!(
            "app.name = \"site\"\nworkload.large = {{ source = \"./large.wasm\"{settings} }}\n\
             trigger = [{{ http = {{ path = \"/:operation\" }}, fn = \"large\" }}]"
        );
        fs::write(folder.path().join("samara.toml"), manifest).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn serve(&self, options: &str) -> Serving {
        let line = format!("serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 {options}");
        let cache = self.path("cache").display().to_string();
        Serving::start(&samara(&line).arg(self.path("samara.toml")).env("SAMARA_CACHE", &cache))
    }
}

/// The one workload, as the admin API tells it.
fn workload(host: &Serving) -> Value {
    let page = request(host.admin, "GET /v1/workloads", &[], b"").unwrap().body;
    serde_json::from_str::<Value>(&page).unwrap()[0].take()
}

fn tier(host: &Serving) -> String {
    workload(host)["tier"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn answers(host: &Serving, number: i32) {
    host.answers("POST /f", &format!("[{number}]"), 200, &answer(number).to_string());
}

/// The compile workers of a host.
fn workers(host: u32) -> Vec<u32> {
    let children = fs::read_dir(format!("/proc/{host}/task")).unwrap().filter_map(|thread| {
        let text = fs::read_to_string(thread.unwrap().path().join("children")).ok()?;
        Some(text.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>())
    });
    let compiles = |child: &u32| {
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim() == "samara-compile")
    };
    children.flatten().filter(compiles).collect()
}

#[test]
fn baseline_code_answers_first_and_gives_way_without_a_request_lost() {
    let site = Site::new(", compile = \"tiered\"");
    let host = Arc::new(site.serve(""));
    assert_eq!(tier(&host), "baseline");
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (host, done, answered) = (Arc::clone(&host), Arc::clone(&done), Arc::clone(&answered));
            thread::spawn(move || {
                for number in (client..).step_by(4) {
                    answers(&host, number);
                    answered.fetch_add(1, Ordering::Relaxed);
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            })
        })
        .collect();
    assert!(eventually(|| answered.load(Ordering::Relaxed) > 4));
    assert_eq!((tier(&host).as_str(), host.metric("samara_baseline_workloads")), ("baseline", 1.0), "{}", host.log());
    assert!(eventually(|| tier(&host) == "optimized"), "{}", host.log());
    let swapped = answered.load(Ordering::Relaxed);
    assert!(eventually(|| answered.load(Ordering::Relaxed) > swapped + 20));
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    host.logs(&["optimised code has taken over from baseline code", "default/site/large"]);
    let metrics = ["samara_baseline_workloads", "samara_tier_swaps_total", "samara_tier_failures_total"];
    assert_eq!(metrics.map(|name| host.metric(name)), [0.0, 1.0, 0.0]);

    // Both are in the cache, and from now on the better one is there at once.
    let cache = site.path("cache").display().to_string();
    let listed = samara("cache ls --json").env("SAMARA_CACHE", &cache).run().stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let mut tiers: Vec<_> = listed.as_array().unwrap().iter().map(|entry| entry["tier"].as_str().unwrap()).collect();
    tiers.sort_unstable();
    assert_eq!(tiers, ["baseline", "optimized"], "{listed}");
    assert!(listed.as_array().unwrap().iter().all(|entry| entry["engine_current"] == true), "{listed}");
    let again = site.serve("");
    assert_eq!((tier(&again).as_str(), again.metric("samara_code_cache_hits_total")), ("optimized", 1.0));
    answers(&again, 1);
}

#[test]
fn baseline_code_goes_on_serving_when_the_other_compiler_dies() {
    let site = Site::new("");
    // Whoever watches gets the first answer soon without asking for it.
    let host = site.serve("--watch");
    assert_eq!(tier(&host), "baseline");
    let mut killed = 0;
    assert!(eventually(|| {
        for worker in workers(host.pid()) {
            let worker = rustix::process::Pid::from_raw(worker.cast_signed()).unwrap();
            killed += usize::from(rustix::process::kill_process(worker, rustix::process::Signal::KILL).is_ok());
        }
        killed > 0
    }));
    host.logs(&["baseline code goes on serving, there is no optimised code", "was killed"]);
    assert_eq!(tier(&host), "baseline");
    assert_eq!(host.metric("samara_tier_failures_total"), 1.0);
    let found = workload(&host);
    assert!(found["warnings"].to_string().contains("there is no optimised code"), "{found}");
    answers(&host, 5);
    // A new version is another try.
    overwrite(&site.path("samara.toml"));
    assert!(eventually(|| tier(&host) == "optimized"), "{}", host.log());
    answers(&host, 6);
}

/// The app once more, as another version.
fn overwrite(manifest: &Path) {
    let text = "app = { name = \"site\", version = \"2\" }\nworkload.large.source = \"./large.wasm\"\n\
                trigger = [{ http = { path = \"/:operation\" }, fn = \"large\" }]";
    fs::write(manifest, text).unwrap();
}

#[test]
fn what_the_baseline_compiler_cannot_do_waits_for_the_other() {
    let site = Site::new("");
    let module = "(module (func $g (result i32) i32.const 7) (func (export \"f\") (result i32) return_call $g))";
    fs::write(site.path("large.wasm"), module).unwrap();
    let host = site.serve("--compile tiered");
    host.logs(&["the baseline compiler cannot compile it", "`tail-calls`"]);
    assert_eq!(tier(&host), "optimized");
    host.answers("POST /f", "[]", 200, "7");
}

#[test]
fn a_host_file_allows_the_second_compiler_or_there_is_none() {
    let site = Site::new(", compile = \"tiered\"");
    for (engine, serves) in [("engine.tiered = true", "baseline"), ("", "optimized")] {
        fs::write(site.path("host.toml"), format!("{engine}\ntenant.default = {{}}")).unwrap();
        let host = site.serve(&format!("--host {}", site.path("host.toml").display()));
        assert_eq!(tier(&host), serves);
        if serves == "optimized" {
            host.logs(&["the baseline compiler is switched off here", "`tiered = true` in [engine]"]);
        }
        answers(&host, 3);
    }
}
