//! Compares samara with native hyper and `wasmtime serve`: one core each for server and client, servers in turn, CPU per
//! request from the kernel. See `benches/README.md` for what the figures mean.

mod first;
mod load;
mod offered;
mod once;
mod peers;
mod report;
mod rounds;
mod scale;
mod server;
mod stalls;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Parser;

use crate::{
    load::Load,
    offered::Offer,
    report::{Goal, Scene, Table},
    rounds::Plan,
    server::Recipe,
    stalls::Stalls,
};

/// Names in tables.
const NATIVE: &str = "native hyper";
const SAMARA: &str = "samara";
const WASMTIME: &str = "wasmtime serve";
const CEILING: &str = "engine alone";
/// Calls that one instance serves in the scenario with reuse.
const REUSE: &str = "1000";
/// The promises: CPU per request, a fresh instance for each.
const MOST_OF_NATIVE: f64 = 3.0;
const MOST_OF_WASMTIME: f64 = 1.0 / 3.0;
const MOST_OF_CEILING: f64 = 1.3;
/// Requests per second, of native's and of `wasmtime serve`'s.
const LEAST_RATE_OF_NATIVE: f64 = 0.40;
const LEAST_RATE_OF_WASMTIME: f64 = 4.5;
/// The same with reuse, of native's.
const LEAST_REUSED_RATE_OF_NATIVE: f64 = 0.75;
/// Latency at p99 at one offered rate, of native's; and beside loops without end, of that alone.
const MOST_P99_OF_NATIVE: f64 = 1.3;
const MOST_P99_BESIDE_LOOPS: f64 = 2.0;
/// The offered rate, of what Samara can do.
const OFFERED_SHARE: f64 = 0.6;
/// 1,000 apps: seconds to start, anonymous bytes each, rate of one app's.
const MOST_TENANTS_START_SECONDS: f64 = 10.0;
const MOST_TENANT_KIB: f64 = 64.0;
const LEAST_TENANTS_RATE: f64 = 0.8;
/// Milliseconds from starting the process to the first answer.
const MOST_START_MS: f64 = 15.0;

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
    /// A `ceiling` of benches/engine built already, instead of building one
    #[arg(long, value_name = "FILE")]
    ceiling: Option<PathBuf>,
    /// Leave `wasmtime serve` out
    #[arg(long)]
    no_wasmtime: bool,
    /// Only the first scenario, which the goals are about
    #[arg(long)]
    quick: bool,
    /// Only first answers: of modules never seen, and of those in the code cache
    #[arg(long, conflicts_with = "quick")]
    first: bool,
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
    ceiling: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    if options.first {
        return first_only(&options);
    }
    load::check_tools()?;
    ensure!(options.server_core != options.client_core, "server and client need a core each");
    let programs = Programs {
        samara: options.samara.clone().map_or_else(peers::samara, Ok)?,
        native: peers::native()?,
        ceiling: options.ceiling.clone().map_or_else(peers::ceiling, Ok)?,
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
    let mut goals = goals(&tables);
    let mut once = Vec::new();
    if !options.quick {
        once = self::once(&programs, options.server_core)?;
        goals.extend(start_goal(&once));
        goals.extend(latency(&programs, &tables, &options)?);
        goals.extend(crowd(&programs, &options, &load)?);
        goals.extend(first(&programs.samara, &mut once)?);
    }
    tell(&options, &scene, &tables, &once, &goals)
}

/// First answers need no peers.
fn first_only(options: &Options) -> anyhow::Result<ExitCode> {
    let samara = options.samara.clone().map_or_else(peers::samara, Ok)?;
    let scene = Scene::now();
    scene.print();
    let mut once = Vec::new();
    let goals = first(&samara, &mut once)?;
    tell(options, &scene, &[], &once, &goals)
}

/// What a module's first answer takes in a running host.
fn first(samara: &Path, once: &mut Vec<(String, Duration)>) -> anyhow::Result<Vec<Goal>> {
    eprintln!("first answers in a running host");
    let scratch = once::scratch()?.join("samara-bench-scratch");
    std::fs::create_dir_all(&scratch)?;
    let hello = PathBuf::from(guest("wasi_http/http-hello/http-hello.wasm")?);
    let all = first::first_answers(samara, &hello, &scratch)?;
    for first::First { name, first, warm } in &all {
        once.push((format!("first answer, {name}"), *first));
        once.push((format!("warm answer, {name}"), *warm));
    }
    Ok(first::goals(&all))
}

/// Prints what is no table, and keeps everything if asked to.
fn tell(
    options: &Options,
    scene: &Scene,
    tables: &[Table],
    once: &[(String, Duration)],
    goals: &[Goal],
) -> anyhow::Result<ExitCode> {
    println!();
    for (name, time) in once {
        println!("{name}: {:.2} ms", time.as_secs_f64() * 1e3);
    }
    for goal in goals {
        println!("{}: {:.2}, {}", goal.text, goal.value, if goal.holds { "holds" } else { "MISSED" });
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report::to_json(scene, tables, once, goals))?;
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
    let ceiling = Recipe {
        name: CEILING,
        program: programs.ceiling.clone(),
        arguments: vec!["{address}".into(), hello.clone()],
        path: "/",
        answer: "Hello, WASI!",
    };
    Ok(vec![
        (
            "wasi:http hello, a fresh instance per request",
            [native(), hello_from(&[]), ceiling].into_iter().chain(wasmtime("1")).collect(),
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
fn once(programs: &Programs, core: usize) -> anyhow::Result<Vec<(String, Duration)>> {
    let (bytes, inspected) = once::inspect(&programs.samara)?;
    let mut times = vec![(format!("samara inspect, a module of {:.1} MB", bytes as f64 / 1e6), inspected)];
    let scenarios = scenarios(programs)?;
    for recipe in scenarios.iter().take(1).flat_map(|(_, recipes)| recipes) {
        times.push((format!("{}, from start to the first answer", recipe.name), once::first_answer(recipe, core)?));
    }
    Ok(times)
}

/// What the tables promise.
fn goals(tables: &[Table]) -> Vec<Goal> {
    let [fresh, rest @ ..] = tables else { return Vec::new() };
    let reused = rest.first();
    [
        Goal::most("CPU per request, of native's, at most 3", fresh.cpu_ratio(SAMARA, NATIVE), MOST_OF_NATIVE),
        Goal::most(
            "CPU per request, of wasmtime serve's, at most a third",
            fresh.cpu_ratio(SAMARA, WASMTIME),
            MOST_OF_WASMTIME,
        ),
        Goal::most(
            "CPU per request, of the engine's alone, at most 1.3",
            fresh.cpu_ratio(SAMARA, CEILING),
            MOST_OF_CEILING,
        ),
        Goal::least(
            "requests per second, of native's, at least 0.40",
            fresh.rate_ratio(SAMARA, NATIVE),
            LEAST_RATE_OF_NATIVE,
        ),
        Goal::least(
            "requests per second, of wasmtime serve's, at least 4.5",
            fresh.rate_ratio(SAMARA, WASMTIME),
            LEAST_RATE_OF_WASMTIME,
        ),
        Goal::least(
            "requests per second with reuse, of native's, at least 0.75",
            reused.and_then(|table| table.rate_ratio(SAMARA, NATIVE)),
            LEAST_REUSED_RATE_OF_NATIVE,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn start_goal(once: &[(String, Duration)]) -> Option<Goal> {
    let start = once.iter().find(|(name, _)| name.starts_with("samara, from start"));
    let milliseconds = start.map(|(_, time)| time.as_secs_f64() * 1e3);
    Goal::most("milliseconds from start to the first answer, at most 15", milliseconds, MOST_START_MS)
}

/// Latency at one offered rate: what Samara's clients see beside what native's see.
fn latency(programs: &Programs, tables: &[Table], options: &Options) -> anyhow::Result<Option<Goal>> {
    let Some(most) = tables.first().and_then(|table| table.rate(SAMARA)) else { return Ok(None) };
    let per_second = most * OFFERED_SHARE;
    let offer =
        Offer { core: options.client_core, connections: options.connections, per_second, seconds: options.seconds };
    let stalls = Stalls::of(options.server_core, Duration::from_secs(options.seconds))?;
    eprintln!("  the server's core without a server: {stalls}");
    let scenarios = scenarios(programs)?;
    let mut p99s = [Vec::new(), Vec::new()];
    let recipes: Vec<_> = scenarios.iter().take(1).flat_map(|(_, recipes)| recipes.iter().take(2)).collect();
    let servers: Vec<_> =
        recipes.iter().map(|recipe| recipe.start(options.server_core)).collect::<anyhow::Result<_>>()?;
    for _ in 0..options.rounds {
        for ((recipe, server), p99s) in recipes.iter().zip(&servers).zip(&mut p99s) {
            let (began, cpu) = (Instant::now(), server.cpu()?);
            let seen = offer.run(server.address, recipe.path)?;
            let busy = (server.cpu()? - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
            eprintln!(
                "  {} at {per_second:.0} a second, {:.0} % busy: p50 {:.0} us, p99 {:.0} us, worst {:.1} ms of {}",
                recipe.name,
                busy * 100.0,
                seen.p50.as_secs_f64() * 1e6,
                seen.p99.as_secs_f64() * 1e6,
                seen.worst.as_secs_f64() * 1e3,
                seen.requests
            );
            p99s.push(seen.p99.as_secs_f64());
        }
    }
    let [native, samara] = p99s.map(rounds::median);
    Ok(Goal::most("p99 at one offered rate, of native's, at most 1.3", Some(samara / native), MOST_P99_OF_NATIVE))
}

/// Many tenants, and bad neighbours.
fn crowd(programs: &Programs, options: &Options, load: &Load) -> anyhow::Result<Vec<Goal>> {
    let scratch = once::scratch()?.join("samara-bench-scratch");
    std::fs::create_dir_all(&scratch)?;
    let guests = peers::root().join("guests").canonicalize()?;
    let hello = guests.join("wasi_http/http-hello/http-hello.wasm");
    let (alone, beside) = scale::neighbours(&programs.samara, &guests, &scratch)?;
    eprintln!("  a good guest's p99: {alone:?} alone, {beside:?} beside eight loops");
    let tenants = scale::tenants(&programs.samara, &hello, &scratch, options.server_core, load)?;
    let kib = tenants.bytes_each as f64 / 1024.0;
    let beside = beside.as_secs_f64() / alone.as_secs_f64();
    Ok([
        Goal::most(
            "p99 beside eight loops on all cores, of that alone, at most 2",
            Some(beside),
            MOST_P99_BESIDE_LOOPS,
        ),
        Goal::most(
            "seconds to start 1,000 apps from the cache, at most 10",
            Some(tenants.start.as_secs_f64()),
            MOST_TENANTS_START_SECONDS,
        ),
        Goal::most("anonymous KiB for each of 1,000 apps, at most 64", Some(kib), MOST_TENANT_KIB),
        Goal::least(
            "requests per second over 1,000 apps, of one's, at least 0.8",
            Some(tenants.rate_ratio),
            LEAST_TENANTS_RATE,
        ),
    ]
    .into_iter()
    .flatten()
    .collect())
}
