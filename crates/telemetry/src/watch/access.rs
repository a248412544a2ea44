//! The access log: one line per request, on standard output, so that it can be kept apart from what this program says.
//!
//! Lines are written by a thread of their own: whoever reads them slowly loses lines, which are counted, and never holds
//! a request up. Queries are not written, as people put secrets there.

use std::{
    fmt,
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use http::{Method, Version};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use samara_model::WorkloadId;

use crate::sanitize;

/// Lines that wait to be written; more are dropped and counted.
const WAITING_LINES: usize = 8192;
/// Lines written with one system call.
const BATCH_LINES: usize = 256;
/// Bytes of a host or a path that are written.
const MAX_TEXT_BYTES: usize = 1024;

/// How lines of the access log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A word that is not a form of access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFormatError(String);

impl fmt::Display for AccessFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a form of access log; write `text`, `json` or `off`", sanitize(&self.0))
    }
}

impl std::error::Error for AccessFormatError {}

impl AccessFormat {
    /// Reads `text`, `json`, or `off`, which is `None`.
    ///
    /// # Errors
    /// It is another word.
    pub fn parse(text: &str) -> Result<Option<Self>, AccessFormatError> {
        match text {
            "text" => Ok(Some(Self::Text)),
            "json" => Ok(Some(Self::Json)),
            "off" => Ok(None),
            _ => Err(AccessFormatError(text.to_owned())),
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When its head had come.
    pub time: SystemTime,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Its method.
    pub method: Method,
    /// Whom it asked.
    pub host: String,
    /// For what, without the query.
    pub path: String,
    /// The protocol it came by.
    pub version: Version,
    /// The status of the response; 0 if there was none.
    pub status: u16,
    /// Bytes of its body that were read.
    pub bytes_in: u64,
    /// Bytes of the response's body that were handed on.
    pub bytes_out: u64,
    /// From its head to the end of the response.
    pub duration: Duration,
    /// Time the guest ran.
    pub cpu: Duration,
    /// Who answered.
    pub workload: Option<WorkloadId>,
    /// How it ended, as the label of metrics; `None` is `ok`.
    pub outcome: Option<&'static str>,
    /// The trace it belongs to, in hex.
    pub trace_id: Option<String>,
}

/// A protocol's name.
pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

impl Entry {
    fn write(&self, format: AccessFormat, line: &mut Vec<u8>) -> std::io::Result<()> {
        let time = humantime::format_rfc3339_millis(self.time);
        let Self { peer, method, status, bytes_in, bytes_out, .. } = self;
        let (method, protocol) = (cut(method.as_str()), protocol(self.version));
        let (host, path, outcome) = (cut(&self.host), cut(&self.path), self.outcome.unwrap_or("ok"));
        let (duration, cpu) = (self.duration.as_secs_f64(), self.cpu.as_secs_f64());
        match format {
            AccessFormat::Text => {
                let (host, path) = (sanitize(host), sanitize(path));
                // A quote would end the request before its end.
                let quoted = |text: &str| text.replace('"', "%22");
                write!(
                    line,
                    "{time} {peer} \"{method} {}{} {protocol}\" {status} in={bytes_in} out={bytes_out} time={duration:.6} cpu={cpu:.6}",
                    quoted(&host),
                    quoted(&path)
                )?;
                if let Some(workload) = &self.workload {
                    write!(line, " workload={workload}")?;
                }
                if let Some(trace) = &self.trace_id {
                    write!(line, " trace={trace}")?;
                }
                writeln!(line, " outcome={outcome}")
            }
            AccessFormat::Json => {
                let object = serde_json::json!({
                    "time": time.to_string(), "peer": peer.to_string(), "method": method, "host": sanitize(host), "path": sanitize(path),
                    "protocol": protocol, "status": status, "bytes_in": bytes_in, "bytes_out": bytes_out,
                    "seconds": duration, "cpu_seconds": cpu,
                    "tenant": self.workload.as_ref().map(|id| id.tenant.as_str()),
                    "app": self.workload.as_ref().map(|id| &*id.app),
                    "workload": self.workload.as_ref().map(|id| &*id.name),
                    "outcome": outcome, "trace_id": self.trace_id,
                });
                serde_json::to_writer(&mut *line, &object)?;
                line.write_all(b"\n")
            }
        }
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=MAX_TEXT_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Where requests are told. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    sender: Mutex<Option<SyncSender<Entry>>>,
    dropped: Counter,
    ended: Mutex<Receiver<()>>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").finish_non_exhaustive()
    }
}

impl AccessLog {
    /// Starts the thread that writes to `out`. What it cannot take in time is counted in `dropped`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(format: AccessFormat, out: impl Write + Send + 'static, dropped: Counter) -> std::io::Result<Self> {
        let (sender, entries) = sync_channel(WAITING_LINES);
        let (finished, ended) = sync_channel(1);
        let lost = dropped.clone();
        thread::Builder::new().name("access-log".into()).spawn(move || {
            write(format, out, &entries, &lost);
            // Nobody may be waiting.
            finished.send(()).ok();
        })?;
        Ok(Self(Arc::new(Shared { sender: Mutex::new(Some(sender)), dropped, ended: Mutex::new(ended) })))
    }

    /// Tells a request. Never blocks.
    pub(super) fn tell(&self, entry: Entry) {
        let told = self.0.sender.lock().as_ref().is_some_and(|sender| sender.try_send(entry).is_ok());
        if !told {
            self.0.dropped.inc();
        }
    }

    /// Writes what waits, within `patience`.
    pub(super) fn finish(&self, patience: Duration) {
        drop(self.0.sender.lock().take());
        if let Err(RecvTimeoutError::Timeout) = self.0.ended.lock().recv_timeout(patience) {
            tracing::warn!("the access log is not read: its last lines are lost");
        }
    }
}

fn write(format: AccessFormat, mut out: impl Write, entries: &Receiver<Entry>, dropped: &Counter) {
    let mut lines = Vec::new();
    let mut broken = false;
    while let Ok(first) = entries.recv() {
        let mut count = 0;
        for entry in std::iter::once(first).chain(entries.try_iter().take(BATCH_LINES - 1)) {
            count += 1;
            // Writing into a Vec does not fail.
            drop(entry.write(format, &mut lines));
        }
        if let Err(error) = out.write_all(&lines).and_then(|()| out.flush()) {
            dropped.inc_by(count);
            if !std::mem::replace(&mut broken, true) {
                tracing::warn!("the access log cannot be written: {error}");
            }
        }
        lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_model::Tenant;
    use std::sync::mpsc;

    fn entry() -> Entry {
        Entry {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            peer: "192.0.2.1:4242".parse().unwrap(),
            method: Method::GET,
            host: "shop.test".into(),
            path: "/cart/1".into(),
            version: Version::HTTP_11,
            status: 200,
            bytes_in: 3,
            bytes_out: 12,
            duration: Duration::from_micros(1234),
            cpu: Duration::from_micros(800),
            workload: Some(WorkloadId {
                tenant: Tenant::new("acme").unwrap(),
                app: "shop".into(),
                name: "cart".into(),
            }),
            outcome: None,
            trace_id: None,
        }
    }

    fn line(entry: &Entry, format: AccessFormat) -> String {
        let mut line = Vec::new();
        entry.write(format, &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_request_is_one_line_of_text() {
        assert_eq!(
            line(&entry(), AccessFormat::Text),
            "2023-11-14T22:13:20.123Z 192.0.2.1:4242 \"GET shop.test/cart/1 HTTP/1.1\" 200 in=3 out=12 time=0.001234 \
             cpu=0.000800 workload=acme/shop/cart outcome=ok\n"
        );
    }

    #[test]
    fn a_request_is_one_object_of_json() {
        let object: serde_json::Value = serde_json::from_str(&line(&entry(), AccessFormat::Json)).unwrap();
        for (key, value) in [("tenant", "acme"), ("path", "/cart/1"), ("outcome", "ok"), ("protocol", "HTTP/1.1")] {
            assert_eq!(object[key], value, "{object}");
        }
        assert_eq!((object["status"].as_u64(), object["cpu_seconds"].as_f64()), (Some(200), Some(0.0008)));
    }

    #[test]
    fn what_clients_write_cannot_forge_a_line_or_reach_the_terminal() {
        let mut hostile = entry();
        hostile.path = format!("/\u{1b}[2J\n\" 200 {}", "é".repeat(5000));
        hostile.host = "a\u{202e}b".into();
        hostile.outcome = Some("caller");
        for format in [AccessFormat::Text, AccessFormat::Json] {
            let line = line(&hostile, format);
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(
                !line.contains('\u{1b}') && !line.contains('\u{202e}') && line.len() < 2 * MAX_TEXT_BYTES,
                "{line}"
            );
        }
        assert_eq!(line(&hostile, AccessFormat::Text).matches('"').count(), 2);
    }

    /// Says that it is asked to write, and then waits to be let go.
    struct Slow(SyncSender<()>, Receiver<()>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(()).ok();
            self.1.recv().ok();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_does_not_read_loses_lines_and_holds_nobody_up() {
        let (asked, waits) = sync_channel(0);
        let (go, gone) = mpsc::channel();
        let dropped = Counter::default();
        let log = AccessLog::start(AccessFormat::Text, Slow(asked, gone), dropped.clone()).unwrap();
        log.tell(entry());
        waits.recv().unwrap();
        for _ in 0..WAITING_LINES + 10 {
            log.tell(entry());
        }
        assert_eq!(dropped.get(), 10);
        drop(go);
        drop(waits);
        log.finish(Duration::from_secs(60));
        log.tell(entry());
        assert_eq!(dropped.get(), 11, "what comes after the end is counted too");
    }

    #[test]
    fn words_that_are_no_form_are_refused_with_those_that_are() {
        assert_eq!(AccessFormat::parse("json"), Ok(Some(AccessFormat::Json)));
        assert_eq!(AccessFormat::parse("off"), Ok(None));
        assert!(AccessFormat::parse("xml").unwrap_err().to_string().contains("`text`, `json` or `off`"));
    }
}
