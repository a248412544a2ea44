//! Load: `wrk` on a core of its own, in a closed loop.
//!
//! A closed loop measures what a request costs and how many fit a second. Its latencies compare servers only roughly: a
//! slower server is asked less often.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};

/// How to load a server.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// The core that `wrk` runs on.
    pub(crate) core: usize,
    /// Connections kept alive, each with one request at a time.
    pub(crate) connections: u32,
}

/// What one run of `wrk` saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) micros: u64,
    pub(crate) p50_micros: u64,
    pub(crate) p99_micros: u64,
}

/// Says what to install if `wrk` or `taskset` is missing.
pub(crate) fn check_tools() -> anyhow::Result<()> {
    for (tool, package) in [("wrk", "wrk"), ("taskset", "util-linux")] {
        let found = Command::new(tool).arg("--version").output();
        ensure!(found.is_ok(), "`{tool}` is missing; install it with `apt-get install {package}`");
    }
    Ok(())
}

impl Load {
    /// Loads `url` for `seconds`. A response that is not 2xx or 3xx, or a broken connection, is an error: a server that
    /// refuses is not fast.
    pub(crate) fn run(&self, url: &str, seconds: u64) -> anyhow::Result<Seen> {
        self.run_script(url, seconds, &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report.lua"))
    }

    /// The same with another script, which prints the same line at its end.
    pub(crate) fn run_script(&self, url: &str, seconds: u64, script: &Path) -> anyhow::Result<Seen> {
        let output = Command::new("taskset")
            .args(["-c", &self.core.to_string(), "wrk", "--threads", "1"])
            .args(["--connections", &self.connections.to_string(), "--duration", &format!("{seconds}s")])
            .arg("--script")
            .arg(script)
            .arg(url)
            .output()
            .context("starting `wrk`")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "`wrk` failed: {text}{}", String::from_utf8_lossy(&output.stderr));
        parse(&text).with_context(|| format!("reading what `wrk` said of `{url}`"))
    }
}

fn parse(text: &str) -> anyhow::Result<Seen> {
    let line = text.lines().find_map(|line| line.strip_prefix("samara-bench ")).context("it reported nothing")?;
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, micros, p50_micros, p99_micros, errors] = numbers[..] else { bail!("`{line}` is not five numbers") };
    ensure!(errors == 0, "{errors} of {requests} requests failed");
    ensure!(requests > 0, "no request was answered");
    Ok(Seen { requests, micros, p50_micros, p99_micros })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_errors_are_not_ignored() {
        let seen = parse("Running 1s test\nsamara-bench 10 1000000 5 9 0\n").expect("five numbers");
        assert_eq!(seen, Seen { requests: 10, micros: 1_000_000, p50_micros: 5, p99_micros: 9 });
        assert!(parse("samara-bench 10 1000000 5 9 1\n").is_err());
        assert!(parse("samara-bench 0 1000000 5 9 0\n").is_err());
        assert!(parse("nothing").is_err());
    }
}
