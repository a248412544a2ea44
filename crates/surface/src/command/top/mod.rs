//! `samara top`: the workloads of a running host, live.
//!
//! It reads the metrics at the admin address and nothing else, so that it can watch any host it can reach.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use samara_model::{UnitError, format_bytes, manifest::LISTEN_ADMIN, parse_duration};

use super::{Failure, block_on, host::Host};

mod exposition;
mod rows;

use rows::{Moment, Row};

/// Takes the screen and hides the cursor.
const TAKE_SCREEN: &str = "\u{1b}[?1049h\u{1b}[?25l";
/// Gives both back.
const GIVE_SCREEN: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// The cursor to the first place.
const HOME: &str = "\u{1b}[H";
/// Forgets what stands after the cursor.
const CLEAR_REST: &str = "\u{1b}[J";
/// Forgets the rest of a line.
const CLEAR_LINE: &str = "\u{1b}[K";

/// Arguments of `samara top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The admin address of the host
    #[arg(long, value_name = "ADDRESS", default_value_t = LISTEN_ADMIN.to_string())]
    pub admin: String,
    /// How often to look; rates are over this time
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "1s")]
    pub interval: Duration,
    /// Print one table and end
    #[arg(long)]
    pub once: bool,
    /// Print JSON: one array of workloads, or with --once left out, one a line for ever
    #[arg(long)]
    pub json: bool,
}

fn interval(text: &str) -> Result<Duration, UnitError> {
    /// Looking more often tells more about looking than about the host.
    const LEAST: Duration = Duration::from_millis(100);
    parse_duration(text).map(|interval| interval.max(LEAST))
}

impl TopArgs {
    /// Shows the workloads until it is interrupted.
    ///
    /// # Errors
    /// No host answers at the address.
    pub fn run(self) -> Result<ExitCode, Failure> {
        block_on(self.watch())?
    }

    async fn watch(self) -> Result<ExitCode, Failure> {
        let host = Host::new(&self.admin);
        let mut before = Moment::new(Instant::now(), &exposition::metrics(&host).await?);
        let live = !self.once && !self.json && std::io::stdout().is_terminal();
        let _screen = live.then(Screen::take);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + self.interval, self.interval);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // An error means that there are no signals here: then none comes.
                Ok(()) = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            }
            let now = Moment::new(Instant::now(), &exposition::metrics(&host).await?);
            let rows = now.since(&before);
            let printed = if self.json {
                let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
                print(&format!("{}\n", serde_json::Value::from(rows)))
            } else if live {
                print(&frame(&rows, &self.admin))
            } else {
                print(&format!("{}\n", table(&rows)))
            };
            match printed {
                // Whoever read it has seen enough.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                other => other.context("printing").map_err(Failure::Other)?,
            }
            if self.once {
                return Ok(ExitCode::SUCCESS);
            }
            before = now;
        }
    }
}

fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The terminal, while it is ours.
struct Screen;

impl Screen {
    fn take() -> Self {
        // If this cannot be written, neither can the rows, which tell it.
        drop(print(TAKE_SCREEN));
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        drop(print(GIVE_SCREEN));
    }
}

/// One screen: written over the last one, so that nothing flickers.
fn frame(rows: &[Row], admin: &str) -> String {
    let sum = |value: fn(&Row) -> f64| rows.iter().map(value).sum::<f64>();
    let mut text = format!(
        "{HOME}samara at {admin}: {} workloads, {:.0} calls/s, {:.1} errors/s, {:.2} cores{CLEAR_LINE}\n{CLEAR_LINE}\n",
        rows.len(),
        sum(|row| row.calls_per_second),
        sum(|row| row.errors_per_second),
        sum(|row| row.cpu)
    );
    // The rows that fit are the busiest: the rest is what scrolling would show, and there is no scrolling here.
    let height = terminal_height().saturating_sub(5).max(1);
    for line in table(rows.get(..height).unwrap_or(rows)).lines() {
        text.push_str(line);
        text.push_str(CLEAR_LINE);
        text.push('\n');
    }
    text.push_str(CLEAR_REST);
    text
}

fn terminal_height() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or(24, |size| usize::from(size.ws_row)).max(6)
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "WORKLOAD", "CALLS", "CALLS/S", "ERRORS/S", "P50", "P99", "CPU", "MEMORY", "RUNNING", "QUEUED", "DENIED",
    ]);
    for row in rows {
        let [tenant, app, workload] = &row.name;
        let latency = |latency: Option<Duration>| latency.map_or_else(|| "-".to_owned(), brief);
        table.add_row([
            samara_telemetry::sanitize(&format!("{tenant}/{app}/{workload}")).into_owned(),
            format!("{:.0}", row.calls),
            format!("{:.1}", row.calls_per_second),
            format!("{:.1}", row.errors_per_second),
            latency(row.p50),
            latency(row.p99),
            format!("{:.1}%", row.cpu * 100.0),
            whole(row.memory_bytes),
            format!("{:.0}", row.in_flight),
            format!("{:.0}", row.queued),
            format!("{:.0}", row.denials),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of memory, for people")]
fn whole(bytes: f64) -> String {
    format_bytes(bytes.max(0.0) as u64)
}

/// A time as people compare them: three digits and a unit.
fn brief(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1e-3 => format!("{:.0}us", s * 1e6),
        s if s < 1.0 => format!("{:.1}ms", s * 1e3),
        s => format!("{s:.2}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_brief() {
        for (micros, text) in [(50, "50us"), (1_500, "1.5ms"), (250_000, "250.0ms"), (2_000_000, "2.00s")] {
            assert_eq!(brief(Duration::from_micros(micros)), text);
        }
    }
}
