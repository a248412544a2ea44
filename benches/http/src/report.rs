//! Figures as tables for people and as JSON for whoever compares days.

use std::{fs, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::rounds::Figures;

/// A scenario's servers with their figures; the first is what the others are compared with.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) scenario: &'static str,
    pub(crate) rows: Vec<(&'static str, Figures)>,
}

/// A promise, and whether it holds in this run.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) text: &'static str,
    pub(crate) value: f64,
    pub(crate) holds: bool,
}

impl Goal {
    /// Holds up to a bound; nothing was promised of what was not measured.
    pub(crate) fn most(text: &'static str, value: Option<f64>, bound: f64) -> Option<Self> {
        value.map(|value| Self { text, value, holds: value <= bound })
    }

    /// Holds from a bound on.
    pub(crate) fn least(text: &'static str, value: Option<f64>, bound: f64) -> Option<Self> {
        value.map(|value| Self { text, value, holds: value >= bound })
    }
}

/// The machine and the moment.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// The load average of the last minute when the run began: over about 0.5, figures are of a busy machine.
    pub(crate) load: String,
}

impl Scene {
    pub(crate) fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let date = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%MZ"]).output();
        let processor = read("/proc/cpuinfo");
        let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            date: date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default(),
            processor: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn print(&self) {
        println!(
            "{}, {} with {} cores, Linux {}, load {}",
            self.date, self.processor, self.cores, self.kernel, self.load
        );
    }
}

impl Table {
    /// CPU per request of one server as a multiple of another's.
    pub(crate) fn cpu_ratio(&self, name: &str, of: &str) -> Option<f64> {
        let cpu = |wanted: &str| {
            let (_, figures) = self.rows.iter().find(|(name, _)| *name == wanted)?;
            Some(figures.cpu_micros_per_request)
        };
        Some(cpu(name)? / cpu(of)?)
    }

    /// Requests per second of one server.
    pub(crate) fn rate(&self, wanted: &str) -> Option<f64> {
        self.rows.iter().find(|(name, _)| *name == wanted).map(|(_, figures)| figures.requests_per_second)
    }

    /// Requests per second of one server as a multiple of another's.
    pub(crate) fn rate_ratio(&self, name: &str, of: &str) -> Option<f64> {
        Some(self.rate(name)? / self.rate(of)?)
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.scenario);
        println!(
            "  {:<16} {:>9} {:>7}  {:>11} {:>6} {:>7}  {:>7} {:>7} {:>8}",
            "server", "req/s", "ratio", "CPU us/req", "+-", "ratio", "p50 us", "p99 us", "resident"
        );
        let Some((_, first)) = self.rows.first() else { return };
        for (name, figures) in &self.rows {
            println!(
                "  {:<16} {:>9.0} {:>7.2}  {:>11.1} {:>6.1} {:>7.2}  {:>7.0} {:>7.0} {:>4} MiB",
                name,
                figures.requests_per_second,
                figures.requests_per_second / first.requests_per_second,
                figures.cpu_micros_per_request,
                figures.cpu_micros_spread / 2.0,
                figures.cpu_micros_per_request / first.cpu_micros_per_request,
                figures.p50_micros,
                figures.p99_micros,
                figures.resident_bytes >> 20,
            );
        }
    }

    fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|(name, figures)| {
            json!({
                "server": name,
                "requests_per_second": rounded(figures.requests_per_second),
                "cpu_micros_per_request": rounded(figures.cpu_micros_per_request),
                "cpu_micros_spread": rounded(figures.cpu_micros_spread),
                "p50_micros": figures.p50_micros,
                "p99_micros": figures.p99_micros,
                "resident_bytes": figures.resident_bytes,
            })
        });
        json!({ "scenario": self.scenario, "servers": rows.collect::<Vec<_>>() })
    }
}

/// Everything of one run.
pub(crate) fn to_json(scene: &Scene, tables: &[Table], once: &[(String, Duration)], goals: &[Goal]) -> Value {
    let once = once.iter().map(|(name, time)| (name.clone(), json!(rounded(time.as_secs_f64() * 1e3))));
    json!({
        "date": scene.date,
        "processor": scene.processor,
        "cores": scene.cores,
        "kernel": scene.kernel,
        "load": scene.load,
        "scenarios": tables.iter().map(Table::to_json).collect::<Vec<_>>(),
        "milliseconds": once.collect::<serde_json::Map<_, _>>(),
        "goals": goals.iter().map(|goal| json!({ "goal": goal.text, "value": rounded(goal.value), "holds": goal.holds })).collect::<Vec<_>>(),
    })
}

/// Two decimals: the clock does not give more.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
