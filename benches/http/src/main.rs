//! Compares samara with native hyper and `wasmtime serve`: one core each for server and client, servers in turn, CPU per
//! request from the kernel. See `benches/README.md` for what the figures mean.

mod load;
mod once;
mod peers;
mod report;
mod rounds;
mod server;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, ensure};
use clap::Parser;

use crate::{
    load::Load,
    report::{Goal, Scene, Table},
    rounds::Plan,
    server::Recipe,
};

/// Names in tables.
const NATIVE: &str = "native hyper";
const SAMARA: &str = "samara";
const WASMTIME: &str = "wasmtime serve";
/// Calls that one instance serves in the scenario with reuse.
const REUSE: &str = "1000";
/// The promises: CPU per request, a fresh instance for each.
const MOST_OF_NATIVE: f64 = 3.0;
const MOST_OF_WASMTIME: f64 = 1.0 / 3.0;

/// Builds samara and its peers, loads them in turn, prints ratios
#[derive(Debug, Parser)]
struct Options {
    /// Times that each server is loaded
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of load each time
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Seconds of load before anything is measured
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// Connections kept alive
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// The core that servers run on
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core that `wrk` runs on
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// A samara built already, instead of building one with the `dist` profile
    #[arg(long, value_name = "FILE")]
    samara: Option<PathBuf>,
    /// A wasmtime 48 installed already, instead of installing one
    #[arg(long, value_name = "FILE", conflicts_with = "no_wasmtime")]
    wasmtime: Option<PathBuf>,
    /// Leave `wasmtime serve` out
    #[arg(long)]
    no_wasmtime: bool,
    /// Only the first scenario, which the goals are about
    #[arg(long)]
    quick: bool,
    /// Write the figures there too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail if a goal is missed
    #[arg(long)]
    check: bool,
}

/// The programs that are compared.
#[derive(Debug)]
struct Programs {
    samara: PathBuf,
    native: PathBuf,
    wasmtime: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    load::check_tools()?;
    ensure!(options.server_core != options.client_core, "server and client need a core each");
    let programs = Programs {
        samara: options.samara.clone().map_or_else(peers::samara, Ok)?,
        native: peers::native()?,
        wasmtime: match (&options.wasmtime, options.no_wasmtime) {
            (_, true) => None,
            (Some(given), false) => Some(given.clone()),
            (None, false) => Some(peers::wasmtime()?),
        },
    };
    let scene = Scene::now();
    scene.print();
    let plan = Plan {
        server_core: options.server_core,
        rounds: options.rounds,
        seconds: options.seconds,
        warm_up_seconds: options.warm_up,
    };
    let load = Load { core: options.client_core, connections: options.connections };
    let mut tables = Vec::new();
    for (scenario, recipes) in scenarios(&programs)?.into_iter().take(if options.quick { 1 } else { usize::MAX }) {
        eprintln!("{scenario}");
        let figures = rounds::measure(&recipes, plan, &load)?;
        let table = Table { scenario, rows: recipes.iter().map(|recipe| recipe.name).zip(figures).collect() };
        table.print();
        tables.push(table);
    }
    let once = if options.quick { Vec::new() } else { once(&programs, options.server_core)? };
    let goals = tables.first().map(goals).unwrap_or_default();
    println!();
    for (name, time) in &once {
        println!("{name}: {:.1} ms", time.as_secs_f64() * 1e3);
    }
    for goal in &goals {
        println!("{}: {:.2}, {}", goal.text, goal.value, if goal.holds { "holds" } else { "MISSED" });
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report::to_json(&scene, &tables, &once, &goals))?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing `{}`", path.display()))?;
    }
    let missed = options.check && goals.iter().any(|goal| !goal.holds);
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is measured, and by whom. The native server always answers the same: it is what HTTP alone costs.
fn scenarios(programs: &Programs) -> anyhow::Result<Vec<(&'static str, Vec<Recipe>)>> {
    let hello = guest("wasi_http/http-hello/http-hello.wasm")?;
    let add = guest("function/add/add.wasm")?;
    let native = || Recipe {
        name: NATIVE,
        program: programs.native.clone(),
        arguments: vec!["{address}".into()],
        path: "/",
        answer: "Hello, WASI!",
    };
    let samara = |more: &[&str], guest: &str, path, answer| Recipe {
        name: SAMARA,
        program: programs.samara.clone(),
        arguments: strings(&["serve", "--listen", "{address}", "--admin", "127.0.0.1:0"], more, guest),
        path,
        answer,
    };
    let wasmtime = |reuse| {
        // Rust's standard library imports the command line's interfaces, which `serve` links only when asked.
        let arguments =
            strings(&["serve", "-Scli", "--addr", "{address}"], &["--max-instance-reuse-count", reuse], &hello);
        let recipe = |program: &PathBuf| Recipe {
            name: WASMTIME,
            program: program.clone(),
            arguments,
            path: "/",
            answer: "Hello, WASI!",
        };
        programs.wasmtime.as_ref().map(recipe)
    };
    let hello_from = |more: &[&str]| samara(more, &hello, "/", "Hello, WASI!");
    Ok(vec![
        (
            "wasi:http hello, a fresh instance per request",
            [native(), hello_from(&[])].into_iter().chain(wasmtime("1")).collect(),
        ),
        (
            "wasi:http hello, an instance serves 1000 requests",
            [native(), hello_from(&["--reuse", REUSE])].into_iter().chain(wasmtime(REUSE)).collect(),
        ),
        (
            "core module, GET /add?a=1&b=2, a fresh instance per request",
            vec![native(), samara(&[], &add, "/add?a=1&b=2", "3")],
        ),
    ])
}

fn strings(first: &[&str], more: &[&str], guest: &str) -> Vec<String> {
    first.iter().chain(more).chain([&guest]).map(|&text| text.to_owned()).collect()
}

fn guest(path: &str) -> anyhow::Result<String> {
    let path = peers::root().join("guests").join(path);
    let path = path.canonicalize().with_context(|| format!("no guest `{}`", path.display()))?;
    path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("`{}` is not UTF-8", path.display()))
}

/// What happens once in a process.
fn once(programs: &Programs, core: usize) -> anyhow::Result<Vec<(String, std::time::Duration)>> {
    let (bytes, inspected) = once::inspect(&programs.samara)?;
    let mut times = vec![(format!("samara inspect, a module of {:.1} MB", bytes as f64 / 1e6), inspected)];
    let scenarios = scenarios(programs)?;
    for recipe in scenarios.iter().take(1).flat_map(|(_, recipes)| recipes) {
        times.push((format!("{}, from start to the first answer", recipe.name), once::first_answer(recipe, core)?));
    }
    Ok(times)
}

fn goals(table: &Table) -> Vec<Goal> {
    let goal = |text, ratio: Option<f64>, most: f64| ratio.map(|value| Goal { text, value, holds: value <= most });
    [
        goal("CPU per request, of native's, at most 3", table.cpu_ratio(SAMARA, NATIVE), MOST_OF_NATIVE),
        goal(
            "CPU per request, of wasmtime serve's, at most a third",
            table.cpu_ratio(SAMARA, WASMTIME),
            MOST_OF_WASMTIME,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
