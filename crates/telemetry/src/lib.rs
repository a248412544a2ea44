//! What samara says about itself: metrics for machines, log lines for people, and each request for who asks.
//!
//! One place holds every metric's name and the form of every log line, so that dashboards and readers can rely on
//! them. No engine and no I/O beyond writing log lines to standard error.

pub mod logs;
pub mod metrics;
mod watch;

pub use logs::{GuestLevel, GuestLog, LineWriter, LogFormat, Stream, sanitize};
pub use prometheus_client::metrics::gauge::Gauge;

pub use watch::{
    AccessFormat, AccessFormatError, AccessLog, Entry, GuestEvent, GuestSpan, GuestSpanKind, Observer, Request, Span,
    Traces, TracesTo, Watch, Watched, client_span, span,
};

pub use metrics::{HostMetrics, Metrics, Outcome, UseTotals, WorkloadMetrics, WorkloadTotals};
