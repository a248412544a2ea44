//! Figures as tables for people and as JSON for whoever compares days.

use std::{fs, process::Command, time::Duration};

use serde_json::{Value, json};

/// The ways to do one thing; the first is what the others are compared with.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) scenario: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// The median round of one way to do something.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Table {
    /// Operations per second of one row as a multiple of the first one's.
    pub(crate) fn ratio(&self, row: &Row) -> f64 {
        self.rows.first().map_or(0.0, |first| row.rate / first.rate)
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.scenario);
        println!("  {:<44} {:>10} {:>7} {:>9} {:>9}", "", "ops/s", "ratio", "p50 us", "p99 us");
        for row in &self.rows {
            let ratio = self.ratio(row);
            let (p50, p99) = (micros(row.p50), micros(row.p99));
            println!("  {:<44} {:>10.0} {ratio:>7.2} {p50:>9.2} {p99:>9.2}", row.name, row.rate);
        }
    }

    fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "way": row.name,
                "operations_per_second": rounded(row.rate),
                "ratio": rounded(self.ratio(row)),
                "p50_micros": rounded(micros(row.p50)),
                "p99_micros": rounded(micros(row.p99)),
            })
        });
        json!({ "scenario": self.scenario, "ways": rows.collect::<Vec<_>>() })
    }
}

/// Everything of one run, with the machine and the moment.
pub(crate) fn to_json(load: &str, tables: &[Table]) -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let date = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%MZ"]).output();
    let processor = read("/proc/cpuinfo");
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({
        "date": date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default(),
        "processor": model.map_or("unknown", |(_, name)| name),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": load,
        "scenarios": tables.iter().map(Table::to_json).collect::<Vec<_>>(),
    })
}

/// The load average of the last minute: over about 0.5, figures are of a busy machine.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Two decimals: the clock does not give more.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
