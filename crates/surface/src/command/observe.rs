//! Seeing requests one by one: where `samara serve` tells them.

use anyhow::Context as _;
use samara_model::manifest::{Host, LogFormat};
use samara_telemetry::{AccessFormat, AccessLog, Metrics, Observer, Traces, TracesTo};

use super::Failure;

/// Whether requests are told.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Seeing requests")]
pub struct ObserveArgs {
    /// Tell each request on standard output [default: off]
    #[arg(long, value_name = "text|json|off")]
    pub access_log: Option<String>,
    /// Send traces to an OpenTelemetry collector (OTLP over HTTP) [default: off]
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// The share of traces that are told, 0 to 1, where whoever calls has not decided [default: 1]
    #[arg(long, value_name = "SHARE")]
    pub sample: Option<f64>,
}

impl ObserveArgs {
    /// Who is told, as the command line has it, then the host file.
    pub(crate) fn observer(&self, host: &Host, metrics: &Metrics) -> Result<Option<Observer>, Failure> {
        let format = match &self.access_log {
            Some(text) => AccessFormat::parse(text).context("reading `--access-log`").map_err(Failure::Usage)?,
            None => host.access_log.map(|format| match format {
                LogFormat::Text => AccessFormat::Text,
                LogFormat::Json => AccessFormat::Json,
            }),
        };
        let (lines, spans) = (&metrics.host().access_log_dropped, &metrics.host().spans_dropped);
        let access = format.map(|format| AccessLog::start(format, std::io::stdout(), lines.clone()));
        let access = access.transpose().context("starting the access log")?;
        let endpoint = self.otlp.as_ref().or(host.otlp.as_ref());
        let sample = self.sample.or(host.sample).unwrap_or(1.0);
        let traces =
            endpoint.map(|endpoint| Traces::start(&TracesTo { endpoint: endpoint.clone(), sample }, spans.clone()));
        Ok(Observer::new(access, traces.transpose().map_err(Failure::Usage)?))
    }
}
