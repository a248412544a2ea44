//! A running host by its admin address: asked, and its metrics read.
//!
//! Reads what `samara-telemetry` writes (OpenMetrics text): no timestamps, no exemplars. Lines it does not understand are
//! passed over, so that another version of the host can still be watched.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// How long a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of metrics that are read: room for 10,000 workloads.
const MAX_BYTES: usize = 64 << 20;

/// A running host.
#[derive(Debug)]
pub(in crate::command) struct Host {
    client: Client<HttpConnector, Empty<Bytes>>,
    address: String,
}

impl Host {
    /// A host by its admin address, `127.0.0.1:9090` or `http://...`.
    pub(in crate::command) fn new(address: &str) -> Self {
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address }
    }

    /// All its metrics, now.
    ///
    /// # Errors
    /// Nobody answers there, or it is not a host of ours.
    pub(super) async fn metrics(&self) -> anyhow::Result<Vec<Sample>> {
        let address = &self.address;
        let samples = read(&String::from_utf8_lossy(&self.get("/metrics", PATIENCE).await?));
        if !samples.iter().any(|sample| sample.name == "samara_build_info") {
            bail!("`{address}` has metrics, but not those of a samara");
        }
        Ok(samples)
    }

    /// What it answers to one question.
    ///
    /// # Errors
    /// Nobody answers there, or not with what was asked for.
    pub(in crate::command) async fn get(&self, path: &str, patience: Duration) -> anyhow::Result<Bytes> {
        let address = &self.address;
        let uri: Uri = format!("http://{address}{path}")
            .parse()
            .with_context(|| format!("`{address}` is not an address; write `127.0.0.1:9090`"))?;
        let request = Request::get(uri).body(Empty::new()).context("making the request")?;
        let asked = async {
            let response = self.client.request(request).await.with_context(|| {
                format!("no host answers at `{address}`; `--admin` names the admin address that `samara serve` printed")
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("reading the answer of `{address}`: {error}"))?.to_bytes();
            if !status.is_success() {
                let problem: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
                let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
                let detail = detail.unwrap_or("is it the admin address of a samara?");
                bail!("`{address}` answers {status}: {detail}");
            }
            Ok(body)
        };
        let late = |_| anyhow::anyhow!("`{address}` does not answer within {} s", patience.as_secs());
        tokio::time::timeout(patience, asked).await.map_err(late)?
    }
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
