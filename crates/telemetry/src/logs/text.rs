//! Log lines for people.
//!
//! `12:03:04.123Z WARN  the guest failed: ... workload=acme/shop/cart`, and for guests' own output
//! `12:03:04.123Z guest acme/shop/cart stdout: hello`. Everything that could come from a stranger is sanitized here, whoever logged it.

use std::{
    fmt::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::{GUEST_TARGET, sanitize};

/// Writes one event as one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextLine {
    pub(super) colour: bool,
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let (dim, colour, plain) =
            if self.colour { ("\x1b[2m", paint(metadata.level()), "\x1b[0m") } else { ("", "", "") };
        let time = clock(SystemTime::now());
        if metadata.target() == GUEST_TARGET {
            let Fields { message, tenant, app, workload, stream, rest } = &fields;
            let level = if *metadata.level() == Level::INFO { "guest" } else { "GUEST" };
            write!(writer, "{dim}{time}{plain} {colour}{level}{plain} {tenant}/{app}/{workload}")?;
            let space = if stream.is_empty() { "" } else { " " };
            return writeln!(writer, "{space}{dim}{stream}{plain}: {message}{dim}{rest}{plain}");
        }
        write!(writer, "{dim}{time}{plain} {colour}{:<5}{plain} {}", metadata.level().as_str(), fields.message)?;
        for (name, value) in [
            ("tenant", &fields.tenant),
            ("app", &fields.app),
            ("workload", &fields.workload),
            ("stream", &fields.stream),
        ] {
            if !value.is_empty() {
                write!(writer, "{dim} {name}={plain}{value}")?;
            }
        }
        writeln!(writer, "{dim}{}{plain}", fields.rest)
    }
}

fn paint(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    }
}

/// The time of day in UTC, to the millisecond: the day is in JSON, for machines.
fn clock(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since.as_secs() % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// An event's fields as text.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    tenant: String,
    app: String,
    workload: String,
    stream: String,
    /// All others, each as ` name=value`.
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = sanitize(value);
        let known = match field.name() {
            "message" => &mut self.message,
            "tenant" => &mut self.tenant,
            "app" => &mut self.app,
            "workload" => &mut self.workload,
            "stream" => &mut self.stream,
            name => {
                // Quoted only where the reader could not tell where the value ends. Writing into a String does not fail.
                let quote = if value.is_empty() || value.contains([' ', '"', '=']) { "\"" } else { "" };
                let _ = write!(self.rest, " {name}={quote}{}{quote}", value.replace('"', "\\\""));
                return;
            }
        };
        known.push_str(&value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::{io, sync::Arc, time::Duration};
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `log` writes, without the time.
    fn line(colour: bool, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = tracing_subscriber::fmt::layer().event_format(TextLine { colour });
        let subscriber = tracing_subscriber::registry().with(layer.with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = buffer.0.lock().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.split_once("Z").unwrap().1.to_owned()
    }

    #[test]
    fn a_line_has_level_message_and_fields() {
        let text = line(false, || tracing::warn!(workload = "acme/shop/cart", status = 502, why = "a b", "it broke"));
        assert_eq!(text, " WARN  it broke workload=acme/shop/cart status=502 why=\"a b\"\n");
    }

    #[test]
    fn a_guests_line_names_the_guest() {
        let text = line(false, || {
            tracing::info!(target: GUEST_TARGET, tenant = "acme", app = "shop", workload = "cart", stream = "stdout", "hi");
        });
        assert_eq!(text, " guest acme/shop/cart stdout: hi\n");
    }

    #[test]
    fn nothing_in_a_line_can_forge_another_or_reach_the_terminal() {
        let text = line(false, || tracing::info!(path = "/\u{1b}[2J", "a\nb {}", "\u{9b}"));
        assert_eq!(text, " INFO  a\\nb \\u{9b} path=/\\u{1b}[2J\n");
    }

    #[test]
    fn colours_are_only_there_when_asked_for() {
        assert!(line(true, || tracing::error!("x")).contains("\x1b[31mERROR\x1b[0m"));
        assert!(!line(false, || tracing::error!("x")).contains('\x1b'));
    }

    #[test]
    fn the_clock_shows_the_time_of_day() {
        assert_eq!(clock(UNIX_EPOCH + Duration::from_millis(86_400_000 * 365 + 3_723_004)), "01:02:03.004Z");
    }
}
