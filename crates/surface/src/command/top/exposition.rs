//! The metrics of a running host, read.
//!
//! Reads what `samara-telemetry` writes (OpenMetrics text): no timestamps, no exemplars. Lines it does not understand are
//! passed over, so that another version of the host can still be watched.

use std::{collections::BTreeMap, time::Duration};

use anyhow::bail;

use crate::command::host::Host;

/// How long a host may take to tell its metrics.
const PATIENCE: Duration = Duration::from_secs(5);

/// All metrics of a host, now.
///
/// # Errors
/// Nobody answers there, or it is not a host of ours.
pub(super) async fn metrics(host: &Host) -> anyhow::Result<Vec<Sample>> {
    let samples = read(&String::from_utf8_lossy(&host.get("/metrics", PATIENCE).await?));
    if !samples.iter().any(|sample| sample.name == "samara_build_info") {
        bail!("`{host}` has metrics, but not those of a samara");
    }
    Ok(samples)
}

/// One line of metrics.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// The series' name with its suffix.
    pub(super) name: String,
    /// Its labels.
    pub(super) labels: BTreeMap<String, String>,
    /// Its value.
    pub(super) value: f64,
}

pub(super) fn read(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}

fn line(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at_checked(end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Labels up to their closing brace, and what comes after it.
fn read_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.trim_start_matches(',').split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        loop {
            match characters.next()? {
                (at, '"') => {
                    rest = after.get(at + 1..)?;
                    break;
                }
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        }
        labels.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_metrics_are_read_and_others_passed_over() {
        let samples = read(
            "# HELP a b\na_total{x=\"1\",y=\"q\\\"}\\\\\\n\"} 3\nplain 4.5\nbroken{x=\"1 7\nnot a number\n\nb{} +Inf\n# EOF\n",
        );
        let names: Vec<_> = samples.iter().map(|sample| (sample.name.as_str(), sample.value)).collect();
        assert_eq!(names, [("a_total", 3.0), ("plain", 4.5), ("b", f64::INFINITY)]);
        assert_eq!(samples[0].labels["y"], "q\"}\\\n");
    }

    #[test]
    fn what_the_telemetry_writes_is_read() {
        let metrics = samara_telemetry::Metrics::new();
        let id =
            samara_model::WorkloadId { tenant: samara_model::Tenant::default(), app: "a\"b".into(), name: "w".into() };
        metrics.workload(&id).started();
        let samples = read(&metrics.encode());
        let in_flight = samples.iter().find(|sample| sample.name == "samara_calls_in_flight").unwrap();
        assert_eq!((in_flight.labels["app"].as_str(), in_flight.value), ("a\"b", 1.0));
        assert!(samples.iter().any(|sample| sample.name == "samara_build_info"));
    }
}
