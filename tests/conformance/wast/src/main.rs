//! Runs WebAssembly's own test scripts (`.wast`) on the engines that Samara runs guests on:
//! `samara-wast CHECKOUT [--pooled | --on-demand]`.
//!
//! A checkout is of WebAssembly/testsuite (core) or WebAssembly/component-model; which one, `suite.rs` sees. Each script gets
//! fresh stores under Samara's epoch and host-call limits. What a script prints is dropped, and the wording of errors is not
//! compared: the suites say it in the reference interpreter's words. A file that fails must be in `expected.txt` with its
//! reason, and a file in there must fail: both directions end with exit code 1.

mod engine;
mod expected;
mod suite;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};

use crate::{
    engine::{Allocation, Bench},
    expected::Expected,
    suite::{Script, Suite},
};

/// Runs WebAssembly's own test scripts on Samara's engines.
#[derive(Debug, Parser)]
struct Args {
    /// A checkout of WebAssembly/testsuite or WebAssembly/component-model
    checkout: PathBuf,
    /// Only instances from the pool
    #[arg(long, conflicts_with = "on_demand")]
    pooled: bool,
    /// Only instances allocated on demand
    #[arg(long)]
    on_demand: bool,
    /// Only files whose path contains this
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Only the proposals that Samara offers to guests; otherwise the component model's suite has all that it tests
    #[arg(long)]
    as_served: bool,
    /// Threads, each with an engine of its own [default: one per core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// A line for each file that fails as expected, too
    #[arg(long, short)]
    verbose: bool,
}

/// What became of one script.
#[derive(Debug)]
enum Outcome {
    Passed,
    FailedAsExpected { reason: String },
    FailedUnexpectedly { error: String },
    PassedUnexpectedly { reason: String },
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went as expected.
fn run(args: &Args) -> Result<bool> {
    let (suite, scripts) = suite::find(&args.checkout, args.as_served)?;
    let scripts: Vec<_> = scripts.into_iter().filter(|script| script.name.contains(&args.only)).collect();
    if scripts.is_empty() {
        bail!("no scripts with `{}` in `{}`", args.only, args.checkout.display());
    }
    let expected = Expected::read()?;
    let jobs = args.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)).max(1);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "ALLOCATION",
        "FOLDER",
        "FILES",
        "PASSED",
        "EXPECTED",
        "UNEXPECTED",
    ]);
    let mut good = true;
    for allocation in [Allocation::OnDemand, Allocation::Pooled] {
        if (args.pooled && allocation == Allocation::OnDemand) || (args.on_demand && allocation == Allocation::Pooled) {
            continue;
        }
        let began = Instant::now();
        let mut folders = BTreeMap::<&str, Tally>::new();
        for (script, failure) in scripts.iter().zip(run_all(&scripts, suite, allocation, jobs)?) {
            let outcome = judge(failure, expected.reason(suite, allocation, &script.name));
            report(&outcome, allocation, script, args.verbose);
            folders.entry(script.folder()).or_default().count(&outcome);
        }
        for (folder, tally) in folders.iter().chain([(&"(all)", &folders.values().sum())]) {
            good &= tally.unexpected == 0;
            table.add_row([allocation.name(), folder].map(str::to_owned).into_iter().chain(tally.cells()));
        }
        eprintln!("{} took {:.0?}", allocation.name(), began.elapsed());
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(good)
}

/// The error of each script, in their order.
fn run_all(scripts: &[Script], suite: Suite, allocation: Allocation, jobs: usize) -> Result<Vec<Option<String>>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Option<String>)>> {
        let bench = Bench::new(suite, allocation)?;
        let mut results = Vec::new();
        while let Some((at, script)) = scripts.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
            // An engine's own assertion is that file's failure, and must not end the run.
            let ran = catch_unwind(AssertUnwindSafe(|| bench.run(&script.path)));
            results.push((
                at,
                ran.unwrap_or_else(|_| Err(anyhow!("the engine panicked"))).err().map(|e| format!("{e:#}")),
            ));
        }
        Ok(results)
    };
    let mut results = thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.min(scripts.len())).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
            .collect::<Result<Vec<_>>>()
    })
    .context("running the scripts")?
    .concat();
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, failure)| failure).collect())
}

fn judge(failure: Option<String>, reason: Option<&str>) -> Outcome {
    match (failure, reason.map(str::to_owned)) {
        (None, None) => Outcome::Passed,
        (Some(_), Some(reason)) => Outcome::FailedAsExpected { reason },
        (Some(error), None) => Outcome::FailedUnexpectedly { error },
        (None, Some(reason)) => Outcome::PassedUnexpectedly { reason },
    }
}

fn report(outcome: &Outcome, allocation: Allocation, script: &Script, verbose: bool) {
    let (allocation, name) = (allocation.name(), &script.name);
    match outcome {
        Outcome::FailedUnexpectedly { error } => println!("FAIL {allocation} {name}: {error}"),
        Outcome::PassedUnexpectedly { reason } => println!("PASS {allocation} {name}, which was to fail: {reason}"),
        Outcome::FailedAsExpected { reason } if verbose => println!("fail {allocation} {name}, as expected: {reason}"),
        Outcome::Passed | Outcome::FailedAsExpected { .. } => {}
    }
}

/// The outcomes of one folder.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    passed: usize,
    expected: usize,
    unexpected: usize,
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::FailedAsExpected { .. } => self.expected += 1,
            Outcome::FailedUnexpectedly { .. } | Outcome::PassedUnexpectedly { .. } => self.unexpected += 1,
        }
    }

    fn cells(self) -> [String; 4] {
        let all = self.passed + self.expected + self.unexpected;
        [all, self.passed, self.expected, self.unexpected].map(|count| count.to_string())
    }
}

impl<'a> std::iter::Sum<&'a Self> for Tally {
    fn sum<I: Iterator<Item = &'a Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |sum, one| Self {
            passed: sum.passed + one.passed,
            expected: sum.expected + one.expected,
            unexpected: sum.unexpected + one.unexpected,
        })
    }
}
