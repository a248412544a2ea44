//! `wasi:otel` 0.2.0-rc.1 and -rc.2: what a guest tells of itself goes where the host's own telemetry goes.
//!
//! Source: <https://github.com/WebAssembly/wasi-otel>. Spans that ended go to the host's collector under the span of the call, if
//! the call's trace is told at all ([`Watch::guest_span`] has the bounds); records of logs go to the workload's log, at its rate;
//! metrics are taken and dropped, because the names and the number of a guest's series are not the operator's. Where nobody
//! listens everything is accepted and nothing is done, as a guest is not to notice whether it is watched.
//!
//! The interfaces are two dozen records that change from draft to draft: they are taken by the names of their fields, and what
//! is not there is left out, so that one piece of code meets the drafts.

use std::time::{Duration, SystemTime};

use samara_runtime::Guest;
use samara_telemetry::{GuestEvent, GuestLevel, GuestSpan, GuestSpanKind, Watch};
use wasmtime::component::{Linker, Val};

/// The drafts that guests were built with.
const VERSIONS: &[&str] = &["0.2.0-rc.1", "0.2.0-rc.2"];
/// Attributes of a span or event that are looked at.
const MAX_ATTRIBUTES: usize = 64;
/// Events of a span that are looked at.
const MAX_EVENTS: usize = 64;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for version in VERSIONS {
        let mut tracing = linker.instance(&format!("wasi:otel/tracing@{version}"))?;
        // What a span is called is known when it ends: nothing is told before.
        tracing.func_new("on-start", |_, _, _, _| Ok(()))?;
        tracing.func_new("on-end", |_, _, arguments, _| {
            if let (watch, [told]) = (Watch::current(), arguments)
                && watch.is_on()
                && let Some(span) = span(told)
            {
                watch.guest_span(span);
            }
            Ok(())
        })?;
        tracing.func_new("outer-span-context", |_, _, _, results| {
            let [result] = results else { return Err(foreign()) };
            *result = outer(Watch::current().traceparent().as_deref());
            Ok(())
        })?;
        let mut logs = linker.instance(&format!("wasi:otel/logs@{version}"))?;
        logs.func_new("on-emit", |context, _, arguments, _| {
            if let [record] = arguments {
                let (level, name, text) = line(record);
                context.data().authority().log.say(level, name, text);
            }
            Ok(())
        })?;
        let mut metrics = linker.instance(&format!("wasi:otel/metrics@{version}"))?;
        metrics.func_new("export", |_, _, _, results| {
            let [result] = results else { return Err(foreign()) };
            *result = Val::Result(Ok(None));
            Ok(())
        })?;
    }
    Ok(())
}

fn foreign() -> wasmtime::Error {
    wasmtime::format_err!("it imports a `wasi:otel` of other types than 0.2.0-rc.1 and 0.2.0-rc.2 have")
}

fn field<'v>(record: &'v Val, name: &str) -> Option<&'v Val> {
    let Val::Record(fields) = record else { return None };
    let found = fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)?;
    match found {
        Val::Option(inner) => inner.as_deref(),
        value => Some(value),
    }
}

fn text<'v>(record: &'v Val, name: &str) -> Option<&'v str> {
    if let Some(Val::String(text)) = field(record, name) { Some(text) } else { None }
}

fn list<'v>(record: &'v Val, name: &str) -> &'v [Val] {
    if let Some(Val::List(items)) = field(record, name) { items } else { &[] }
}

fn moment(record: &Val, name: &str) -> Option<SystemTime> {
    let time = field(record, name)?;
    let (Some(Val::U64(seconds)), Some(Val::U32(nanoseconds))) = (field(time, "seconds"), field(time, "nanoseconds"))
    else {
        return None;
    };
    let since = Duration::from_secs(*seconds).checked_add(Duration::from_nanos((*nanoseconds).into()))?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

fn attributes(record: &Val) -> Vec<(String, String)> {
    let pair = |one: &Val| Some((text(one, "key")?.to_owned(), text(one, "value")?.to_owned()));
    list(record, "attributes").iter().take(MAX_ATTRIBUTES).filter_map(pair).collect()
}

/// A span of the interface's `span-data`; `None` if it lacks what every span has.
fn span(told: &Val) -> Option<GuestSpan> {
    let context = field(told, "span-context")?;
    let event = |one: &Val| {
        Some(GuestEvent {
            name: text(one, "name")?.to_owned(),
            time: moment(one, "time")?,
            attributes: attributes(one),
        })
    };
    Some(GuestSpan {
        trace: text(context, "trace-id")?.to_owned(),
        id: text(context, "span-id")?.to_owned(),
        parent: text(told, "parent-span-id").unwrap_or_default().to_owned(),
        name: text(told, "name")?.to_owned(),
        kind: match field(told, "span-kind") {
            Some(Val::Enum(kind)) if kind == "client" => GuestSpanKind::Client,
            Some(Val::Enum(kind)) if kind == "server" => GuestSpanKind::Server,
            Some(Val::Enum(kind)) if kind == "producer" => GuestSpanKind::Producer,
            Some(Val::Enum(kind)) if kind == "consumer" => GuestSpanKind::Consumer,
            _ => GuestSpanKind::Internal,
        },
        start: moment(told, "start-time")?,
        end: moment(told, "end-time")?,
        attributes: attributes(told),
        events: list(told, "events").iter().take(MAX_EVENTS).filter_map(event).collect(),
        outcome: match field(told, "status") {
            Some(Val::Variant(case, _)) if case == "ok" => Some(Ok(())),
            Some(Val::Variant(case, why)) if case == "error" => match why.as_deref() {
                Some(Val::String(why)) => Some(Err(why.clone())),
                _ => Some(Err(String::new())),
            },
            _ => None,
        },
        scope: field(told, "instrumentation-scope")
            .and_then(|scope| text(scope, "name"))
            .unwrap_or_default()
            .to_owned(),
    })
}

/// The `span-context` of the host's span of this call; where there is none, the invalid one of OpenTelemetry.
fn outer(traceparent: Option<&str>) -> Val {
    let mut parts = traceparent.unwrap_or_default().split('-').skip(1);
    let zeros = |digits: usize| "0".repeat(digits);
    let trace = parts.next().map_or_else(|| zeros(32), str::to_owned);
    let span = parts.next().map_or_else(|| zeros(16), str::to_owned);
    let sampled = parts.next().and_then(|flags| u8::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & 1 == 1);
    let flags = if sampled { vec!["sampled".to_owned()] } else { Vec::new() };
    let fields = [
        ("trace-id", Val::String(trace)),
        ("span-id", Val::String(span)),
        ("trace-flags", Val::Flags(flags)),
        ("is-remote", Val::Bool(true)),
        ("trace-state", Val::List(Vec::new())),
    ];
    Val::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A record of a log: its level, the library it is of, and what it says.
fn line(record: &Val) -> (GuestLevel, &str, &str) {
    let number = if let Some(Val::U8(number)) = field(record, "severity-number") { *number } else { 9 };
    let level = match number {
        0..=4 => GuestLevel::Trace,
        5..=8 => GuestLevel::Debug,
        9..=12 => GuestLevel::Info,
        13..=16 => GuestLevel::Warn,
        17..=20 => GuestLevel::Error,
        _ => GuestLevel::Critical,
    };
    let scope = field(record, "instrumentation-scope").and_then(|scope| text(scope, "name")).unwrap_or_default();
    (level, scope, text(record, "body").or_else(|| text(record, "event-name")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_span_is_that_of_the_call_or_none() {
        let told = outer(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert_eq!(text(&told, "trace-id"), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(text(&told, "span-id"), Some("00f067aa0ba902b7"));
        assert_eq!(field(&told, "trace-flags"), Some(&Val::Flags(vec!["sampled".to_owned()])));
        let none = outer(None);
        assert_eq!(text(&none, "trace-id"), Some("00000000000000000000000000000000"));
        assert_eq!(text(&none, "span-id"), Some("0000000000000000"));
    }

    #[test]
    fn what_lacks_what_every_span_has_is_none() {
        for told in [Val::Bool(true), Val::Record(Vec::new()), Val::String("span".to_owned())] {
            assert_eq!(span(&told), None);
        }
        assert_eq!(line(&Val::Bool(true)), (GuestLevel::Info, "", ""));
    }
}
