//! Seeing requests one by one: where `samara serve` tells them.

use anyhow::Context as _;
use samara_model::manifest::{Host, LogFormat};
use samara_telemetry::{AccessFormat, AccessLog, Metrics, Observer};

use super::Failure;

/// Whether requests are told.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Seeing requests")]
pub struct ObserveArgs {
    /// Tell each request on standard output [default: off]
    #[arg(long, value_name = "text|json|off")]
    pub access_log: Option<String>,
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
        let Some(format) = format else { return Ok(None) };
        let dropped = metrics.host().access_log_dropped.clone();
        let access = AccessLog::start(format, std::io::stdout(), dropped).context("starting the access log")?;
        Ok(Some(Observer::new(access)))
    }
}
