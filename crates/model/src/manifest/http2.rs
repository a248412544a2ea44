//! `[http2]` of the host file: what one connection of HTTP/2 may take.
//!
//! Only what an operator would change is here; what no client needs changed is a constant in the gateway.

use std::time::Duration;

use super::{
    host::at_least_one,
    reader::{Item, Reader},
};
use crate::{format_bytes, parse_bytes, parse_duration};

/// The smallest window: what HTTP/2 begins with (RFC 9113, 6.9.2).
const LEAST_WINDOW: u32 = 65_535;
/// The largest window (RFC 9113, 6.9.1).
const MOST_WINDOW: u32 = (1 << 31) - 1;

/// What bounds connections of HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Settings {
    /// `streams`: requests of one connection at once; more wait at the client.
    pub streams: u32,
    /// `abandoned`: requests that a client may take back before they are answered, over those it lets be answered.
    pub abandoned: u32,
    /// `stream_window`: bytes of one request's body that may come before the guest has read them.
    pub stream_window: u32,
    /// `connection_window`: the same for all requests of a connection.
    pub connection_window: u32,
    /// `ping_interval`: after how long a silent client is asked whether it is there.
    pub ping_interval: Duration,
    /// `ping_timeout`: how long it may take to answer.
    pub ping_timeout: Duration,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            streams: 256,
            abandoned: 256,
            stream_window: 256 << 10,
            connection_window: 1 << 20,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

impl Http2Settings {
    /// Reads `[http2]` to its end.
    pub(super) fn read(mut reader: Reader<'_>) -> Self {
        let default = Self::default();
        let settings = Self {
            streams: reader.take("streams").and_then(|item| at_least_one(&item)).unwrap_or(default.streams),
            abandoned: reader.take("abandoned").and_then(|item| at_least_one(&item)).unwrap_or(default.abandoned),
            stream_window: reader.take("stream_window").and_then(|item| window(&item)).unwrap_or(default.stream_window),
            connection_window: reader
                .take("connection_window")
                .and_then(|item| window(&item))
                .unwrap_or(default.connection_window),
            ping_interval: reader.take("ping_interval").and_then(|item| time(&item)).unwrap_or(default.ping_interval),
            ping_timeout: reader.take("ping_timeout").and_then(|item| time(&item)).unwrap_or(default.ping_timeout),
        };
        reader.finish();
        settings
    }
}

fn window(item: &Item<'_>) -> Option<u32> {
    item.quantity(|text| {
        let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
        u32::try_from(bytes).ok().filter(|bytes| (LEAST_WINDOW..=MOST_WINDOW).contains(bytes)).ok_or_else(|| {
            let (least, most) = (LEAST_WINDOW, format_bytes(1 << 31));
            format!("`{text}` is no window of HTTP/2; write at least `{least}` and less than `{most}`")
        })
    })
}

fn time(item: &Item<'_>) -> Option<Duration> {
    let time = item.quantity(parse_duration)?;
    if time.is_zero() {
        item.problem("no client is that fast; write a time over zero");
        return None;
    }
    Some(time)
}
