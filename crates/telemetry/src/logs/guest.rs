//! What guests write to their standard streams, as log lines: split, bounded, rate-limited, harmless.
//!
//! Never blocks and never fails: a guest must not be able to stall the host by logging, nor be stalled by it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use samara_model::{WorkloadId, format_bytes};

use super::sanitize;
use crate::WorkloadMetrics;

/// The target of events that carry guests' output.
pub const GUEST_TARGET: &str = "guest";

/// A line is never longer than this, whatever the configuration says.
pub const MAX_LINE_BYTES: u32 = 1 << 20;

/// The least a line costs of the rate, in bytes: time and names are written around even an empty one.
const LINE_COST_BYTES: u64 = 64;

/// Dropped lines are reported at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// One of a guest's standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word used in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// How much a guest says that a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestLevel {
    /// Step by step.
    Trace,
    /// For whoever looks for a mistake.
    Debug,
    /// For whoever watches.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
    /// Nothing works any more; told as an error.
    Critical,
}

/// The log of one workload: all its instances share the rate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GuestLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    workload: WorkloadId,
    line_bytes: usize,
    metrics: Arc<WorkloadMetrics>,
    /// `None`: no rate.
    rate: Option<Rate>,
}

#[derive(Debug)]
struct Rate {
    bytes_per_second: u64,
    state: Mutex<RateState>,
}

#[derive(Debug)]
struct RateState {
    bucket: Bucket,
    dropped_lines: u64,
    reported: Option<Instant>,
}

impl GuestLog {
    /// The log of `workload`: at most `bytes_per_second` of lines, with one second's worth saved up, and no line longer
    /// than `line_bytes`.
    pub fn new(
        workload: WorkloadId,
        bytes_per_second: Option<u64>,
        line_bytes: u32,
        metrics: Arc<WorkloadMetrics>,
    ) -> Self {
        let line_bytes = line_bytes.clamp(1, MAX_LINE_BYTES);
        let rate = bytes_per_second.map(|bytes_per_second| {
            // Room for one whole line, or lines longer than a second's worth could never pass.
            let capacity = bytes_per_second.max(u64::from(line_bytes));
            let bucket = Bucket { bytes_per_second, capacity, level: capacity, filled: Instant::now() };
            Rate { bytes_per_second, state: Mutex::new(RateState { bucket, dropped_lines: 0, reported: None }) }
        });
        let line_bytes = usize::try_from(line_bytes).unwrap_or(usize::MAX);
        Self(Arc::new(Shared { workload, line_bytes, metrics, rate }))
    }

    /// A writer for one stream of one instance.
    pub fn line_writer(&self, stream: Stream) -> LineWriter {
        LineWriter { log: self.clone(), stream, buffer: Vec::new(), skipping: false }
    }

    /// Counts all whole lines of `bytes` as dropped, if not even the shortest line may pass now.
    fn drop_lines(&self, bytes: &[u8], now: Instant) -> bool {
        let shared = &*self.0;
        let Some(rate) = &shared.rate else { return false };
        let mut state = rate.state.lock();
        if !state.bucket.is_empty(now) {
            return false;
        }
        let last = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = bytes.get(..last).unwrap_or_default();
        let lines = whole.iter().filter(|byte| **byte == b'\n').count();
        let bytes = u64::try_from(whole.len() - lines).unwrap_or(u64::MAX);
        let lines = u64::try_from(lines).unwrap_or(u64::MAX);
        state.dropped_lines += lines;
        let report = state.report(now);
        drop(state);
        shared.metrics.log_dropped(lines, bytes);
        shared.report_dropped(report, rate.bytes_per_second);
        true
    }

    /// Logs what a guest said through an interface for logs: one line with its level and context, within the same rate and
    /// length as what it writes to its streams.
    pub fn say(&self, level: GuestLevel, context: &str, message: &str) {
        let limit = self.0.line_bytes;
        let (context, message) = (cut_at(context, limit), cut_at(message, limit));
        if !self.admits(context.0.len() + message.0.len(), Instant::now()) {
            return;
        }
        let mark = if context.1 || message.1 { " [cut]" } else { "" };
        let (context, text) = (sanitize(context.0), sanitize(message.0));
        let WorkloadId { tenant, app, name } = &self.0.workload;
        macro_rules! tell {
            ($tell:ident) => {
                tracing::$tell!(
                    target: GUEST_TARGET,
                    tenant = tenant.as_str(), app = &**app, workload = &**name, context = &*context,
                    "{text}{mark}"
                )
            };
        }
        match level {
            GuestLevel::Trace => tell!(trace),
            GuestLevel::Debug => tell!(debug),
            GuestLevel::Info => tell!(info),
            GuestLevel::Warn => tell!(warn),
            GuestLevel::Error | GuestLevel::Critical => tell!(error),
        }
    }

    /// Whether a line of so many bytes may pass now; counts it as dropped if not.
    fn admits(&self, length: usize, now: Instant) -> bool {
        let shared = &*self.0;
        let bytes = u64::try_from(length).unwrap_or(u64::MAX);
        if let Some(rate) = &shared.rate {
            let mut state = rate.state.lock();
            let passes = state.bucket.take(bytes.max(LINE_COST_BYTES), now);
            if !passes {
                state.dropped_lines += 1;
            }
            let report = state.report(now);
            drop(state);
            if !passes {
                shared.metrics.log_dropped(1, bytes);
            }
            shared.report_dropped(report, rate.bytes_per_second);
            return passes;
        }
        true
    }

    /// Logs one line, or counts it as dropped.
    fn line(&self, stream: Stream, line: &[u8], cut: bool, now: Instant) {
        if !self.admits(line.len(), now) {
            return;
        }
        let shared = &*self.0;
        let text = String::from_utf8_lossy(line);
        let text = sanitize(&text);
        let mark = if cut { " [cut]" } else { "" };
        let WorkloadId { tenant, app, name } = &shared.workload;
        tracing::info!(
            target: GUEST_TARGET,
            tenant = tenant.as_str(), app = &**app, workload = &**name, stream = stream.as_str(),
            "{text}{mark}"
        );
    }
}

/// The beginning of a text of at most `limit` bytes, and whether anything was cut off.
fn cut_at(text: &str, limit: usize) -> (&str, bool) {
    let end = text.floor_char_boundary(limit);
    (text.get(..end).unwrap_or_default(), end < text.len())
}

impl Shared {
    fn report_dropped(&self, lines: u64, bytes_per_second: u64) {
        if lines == 0 {
            return;
        }
        let WorkloadId { tenant, app, name } = &self.workload;
        let (plural, rate) = (if lines == 1 { "" } else { "s" }, format_bytes(bytes_per_second));
        tracing::warn!(
            target: GUEST_TARGET,
            tenant = tenant.as_str(), app = &**app, workload = &**name,
            "{lines} line{plural} dropped, over log = \"{rate}/s\""
        );
    }
}

/// What was dropped after the last report is reported when the last writer is gone.
impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(rate) = &mut self.rate {
            let (lines, bytes_per_second) = (rate.state.get_mut().dropped_lines, rate.bytes_per_second);
            self.report_dropped(lines, bytes_per_second);
        }
    }
}

impl RateState {
    /// The number of dropped lines to report now, which is then forgotten.
    fn report(&mut self, now: Instant) -> u64 {
        let recent = self.reported.is_some_and(|then| now.saturating_duration_since(then) < REPORT_EVERY);
        if recent || self.dropped_lines == 0 {
            return 0;
        }
        self.reported = Some(now);
        std::mem::take(&mut self.dropped_lines)
    }
}

/// A token bucket of bytes.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: u64,
    capacity: u64,
    level: u64,
    /// The moment up to which `level` has been filled.
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, bytes: u64, now: Instant) -> bool {
        if self.level < bytes {
            self.fill(now);
        }
        let passes = self.level >= bytes;
        if passes {
            self.level -= bytes;
        }
        passes
    }

    /// Whether not even the shortest line may pass.
    fn is_empty(&mut self, now: Instant) -> bool {
        if self.level < LINE_COST_BYTES {
            self.fill(now);
        }
        self.level < LINE_COST_BYTES
    }

    fn fill(&mut self, now: Instant) {
        const NANOS: u128 = 1_000_000_000;
        let elapsed = now.saturating_duration_since(self.filled).as_nanos();
        let rate = u128::from(self.bytes_per_second);
        let gained = u64::try_from(elapsed.saturating_mul(rate) / NANOS).unwrap_or(u64::MAX);
        if gained == 0 {
            return;
        }
        self.level = self.level.saturating_add(gained).min(self.capacity);
        // Only whole bytes were gained: the rest of the time counts towards the next one.
        let spent = u128::from(gained) * NANOS / rate.max(1);
        let spent = u64::try_from(spent).map_or(Duration::MAX, Duration::from_nanos);
        self.filled = self.filled.checked_add(spent).unwrap_or(now);
    }
}

/// Splits what one instance writes to one stream into lines. What is left without a line break is logged on drop.
#[derive(Debug)]
pub struct LineWriter {
    log: GuestLog,
    stream: Stream,
    /// The beginning of a line whose end has not come yet; never longer than the limit.
    buffer: Vec<u8>,
    /// The rest of a line that was cut is being thrown away.
    skipping: bool,
}

impl LineWriter {
    /// Takes bytes; logs every line that they end.
    pub fn write(&mut self, bytes: &[u8]) {
        self.write_at(bytes, Instant::now());
    }

    fn write_at(&mut self, bytes: &[u8], now: Instant) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1) {
            // Once the bucket is empty, lines are only counted: splitting them one by one is work that a guest could have
            // us do without end.
            if self.buffer.is_empty() && !self.skipping && self.log.drop_lines(rest, now) {
                let last = rest.iter().rposition(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
                rest = rest.get(last..).unwrap_or_default();
                break;
            }
            let (line, after) = rest.split_at(end);
            rest = after;
            self.take(line, now);
        }
        if !rest.is_empty() {
            self.take(rest, now);
        }
    }

    fn take(&mut self, bytes: &[u8], now: Instant) {
        match bytes.strip_suffix(b"\n") {
            Some(end) => self.end_line(end, now),
            None => self.keep(bytes, now),
        }
    }

    fn end_line(&mut self, end: &[u8], now: Instant) {
        if self.buffer.is_empty() && !self.skipping && end.len() <= self.log.0.line_bytes {
            let line = end.strip_suffix(b"\r").unwrap_or(end);
            return self.log.line(self.stream, line, false, now);
        }
        self.keep(end, now);
        if !std::mem::take(&mut self.skipping) {
            self.log_buffer(false, now);
        }
    }

    /// Adds to the unfinished line; once it is too long it is logged and the rest of it is dropped.
    fn keep(&mut self, bytes: &[u8], now: Instant) {
        let room = if self.skipping { 0 } else { self.log.0.line_bytes - self.buffer.len() };
        let Some((fits, over)) = bytes.split_at_checked(room) else {
            return self.buffer.extend_from_slice(bytes);
        };
        if !self.skipping && over.is_empty() {
            return self.buffer.extend_from_slice(fits);
        }
        if !self.skipping {
            self.buffer.extend_from_slice(fits);
            self.log_buffer(true, now);
            self.skipping = true;
        }
        self.log.0.metrics.log_dropped(0, u64::try_from(over.len()).unwrap_or(u64::MAX));
    }

    fn log_buffer(&mut self, cut: bool, now: Instant) {
        let mut line = self.buffer.as_slice();
        if cut {
            // A character that the cut went through is left out rather than shown as damage.
            if let Err(error) = std::str::from_utf8(line)
                && error.error_len().is_none()
            {
                line = line.get(..error.valid_up_to()).unwrap_or(line);
            }
        } else {
            line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        self.log.line(self.stream, line, cut, now);
        self.buffer.clear();
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.buffer.is_empty() {
            self.log_buffer(false, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metrics, WorkloadTotals};
    use samara_model::Tenant;
    use tracing::{
        Event, Subscriber,
        field::{Field, Visit},
    };
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    /// Collects messages.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            struct Message<'a>(&'a mut Vec<String>);
            impl Visit for Message<'_> {
                fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                    if field.name() == "message" {
                        self.0.push(format!("{value:?}"));
                    }
                }
            }
            event.record(&mut Message(&mut self.0.lock()));
        }
    }

    /// What is logged when `write` writes, and what was counted.
    fn logged(rate: Option<u64>, line_bytes: u32, write: impl FnOnce(GuestLog)) -> (Vec<String>, WorkloadTotals) {
        let lines = Lines::default();
        let id = WorkloadId { tenant: Tenant::default(), app: "app".into(), name: "guest".into() };
        let metrics = Metrics::new().workload(&id);
        let subscriber = tracing_subscriber::registry().with(lines.clone());
        tracing::subscriber::with_default(subscriber, || {
            write(GuestLog::new(id, rate, line_bytes, Arc::clone(&metrics)));
        });
        let collected = lines.0.lock().clone();
        (collected, metrics.totals())
    }

    fn check(line_bytes: u32, chunks: &[&[u8]], expected: &[&str]) {
        let (lines, _) = logged(None, line_bytes, |log| {
            let mut writer = log.line_writer(Stream::Stdout);
            chunks.iter().for_each(|chunk| writer.write(chunk));
        });
        assert_eq!(lines, expected);
    }

    #[test]
    fn output_is_split_into_lines() {
        check(80, &[b"one\ntwo\r\n"], &["one", "two"]);
        check(80, &[b"o", b"ne\ntw", b"o", b"\n"], &["one", "two"]);
        check(80, &[b"no break"], &["no break"]);
        check(80, &[b"a\n\nb\n"], &["a", "", "b"]);
        check(80, &[b""], &[]);
    }

    #[test]
    fn long_lines_are_cut_and_marked() {
        check(4, &[b"1234\n"], &["1234"]);
        check(4, &[b"12345\nx\n"], &["1234 [cut]", "x"]);
        check(4, &[b"12", b"34", b"56", b"78\nx"], &["1234 [cut]", "x"]);
        check(4, &[b"123456789"], &["1234 [cut]"]);
        check(4, &["12€€\n".as_bytes()], &["12 [cut]"]);
        check(0, &[b"ab"], &["a [cut]"]);
    }

    #[test]
    fn what_is_not_text_is_replaced_and_controls_are_shown() {
        check(80, &[b"\xff\xfe ok\n"], &["\u{fffd}\u{fffd} ok"]);
        check(80, &[b"\x1b[2J\n"], &["\\u{1b}[2J"]);
        check(80, &["é".as_bytes().get(..1).unwrap(), "é\n".as_bytes().get(1..).unwrap()], &["é"]);
    }

    #[test]
    fn bytes_of_cut_lines_are_counted() {
        let (_, totals) = logged(None, 4, |log| log.line_writer(Stream::Stderr).write(b"123456789\n12345678\n"));
        assert_eq!((totals.log_dropped_lines, totals.log_dropped_bytes), (0, 9));
    }

    #[test]
    fn lines_over_the_rate_are_dropped_counted_and_reported_once_a_second() {
        let (lines, totals) = logged(Some(128), 64, |log| {
            let start = Instant::now();
            let mut writer = log.line_writer(Stream::Stdout);
            for index in 0..10 {
                writer.write_at(format!("{index}\n").as_bytes(), start);
            }
            writer.write_at(b"later\n", start + Duration::from_millis(1100));
        });
        let report = "over log = \"128B/s\"";
        assert_eq!(
            lines,
            ["0", "1", &format!("1 line dropped, {report}"), &format!("7 lines dropped, {report}"), "later"]
        );
        assert_eq!((totals.log_dropped_lines, totals.log_dropped_bytes), (8, 8));
    }

    #[test]
    fn lines_dropped_at_the_end_are_reported_when_the_log_closes() {
        let (lines, _) = logged(Some(64), 64, |log| log.line_writer(Stream::Stdout).write(b"1\n2\n3\n4\n"));
        assert_eq!(lines, ["1", "3 lines dropped, over log = \"64B/s\""]);
    }

    #[test]
    fn a_flood_is_counted_and_not_split() {
        let flood = vec![b'\n'; 24 << 20];
        let (lines, totals) = logged(Some(64), 64, |log| log.line_writer(Stream::Stdout).write(&flood));
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(totals.log_dropped_lines, (24 << 20) - 1);
    }

    #[test]
    fn instances_share_one_rate() {
        let (lines, totals) = logged(Some(128), 64, |log| {
            let now = Instant::now();
            for _ in 0..4 {
                log.line_writer(Stream::Stdout).write_at(b"x\n", now);
            }
        });
        assert_eq!(lines.iter().filter(|line| *line == "x").count(), 2);
        assert_eq!(totals.log_dropped_lines, 2);
    }

    #[test]
    fn a_bucket_neither_loses_nor_invents_fractions() {
        let start = Instant::now();
        let mut bucket = Bucket { bytes_per_second: 3, capacity: 100, level: 0, filled: start };
        let taken = (1..=1000).filter(|tick| bucket.take(1, start + Duration::from_millis(tick * 10))).count();
        assert!((29..=30).contains(&taken), "{taken} bytes in 10 s at 3 a second");
        let mut stopped = Bucket { bytes_per_second: 0, capacity: 0, level: 0, filled: start };
        assert!(!stopped.take(1, start + Duration::from_secs(1000)));
    }
}
