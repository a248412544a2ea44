//! Log lines: what they look like, and how guests' output becomes some of them.
//!
//! Lines go to standard error. What a guest writes arrives as events of the target `guest` with the fields `tenant`,
//! `app`, `workload` and `stream`.

mod guest;
mod sanitize;
mod text;

use std::{fmt, io::IsTerminal, str::FromStr};

use tracing_subscriber::{EnvFilter, fmt::time::SystemTime, layer::SubscriberExt, util::SubscriberInitExt};

pub use guest::{GUEST_TARGET, GuestLevel, GuestLog, LineWriter, MAX_LINE_BYTES, Stream};
pub use sanitize::sanitize;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, message, fields; colours on a terminal.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// A word that is not a log format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFormatError(String);

impl fmt::Display for LogFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a log format; known formats: text, json", sanitize(&self.0))
    }
}

impl std::error::Error for LogFormatError {}

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(text: &str) -> Result<Self, LogFormatError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogFormatError(text.to_owned())),
        }
    }
}

/// Sends log lines of this process to standard error. Call once.
///
/// `filter` is a list such as `info` or `warn,guest=info,samara_runtime=debug`.
///
/// # Errors
/// The filter does not parse, or logs are already set up.
pub fn init(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(filter).map_err(|error| {
        anyhow::anyhow!("`{}` is not a log filter: {error}; write `info` or `warn,guest=info`", sanitize(filter))
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(layer.event_format(text::TextLine { colour })).try_init()?;
        }
        LogFormat::Json => {
            let json = layer.json().flatten_event(true).with_span_list(false).with_timer(SystemTime);
            registry.with(json).try_init()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_filters_that_do_not_exist_are_refused_with_what_does() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("xml".parse::<LogFormat>().unwrap_err().to_string().contains("text, json"));
        assert!(init(LogFormat::Text, "guest=loudest").unwrap_err().to_string().contains("warn,guest=info"));
    }
}
