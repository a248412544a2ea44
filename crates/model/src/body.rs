//! The boxed, streaming body of HTTP calls and replies.
//!
//! One concrete type, so that surfaces and contracts meet without generics. Frames carry data or trailers and are
//! pulled by whoever consumes them, which is what gives back-pressure both ways.

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};

use crate::{Fault, format_bytes};

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The sender of this body failed; the stream is reset.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The peer went away.
    #[error("the peer closed the connection: {0}")]
    Closed(String),
    /// The body grew over its limit.
    #[error("the body is over its limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// No byte arrived for too long.
    #[error("the body was idle for {seconds} s")]
    Idle {
        /// The idle limit, in seconds.
        seconds: u64,
    },
}

/// A streaming body: data frames, then perhaps trailers.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body without bytes.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body whose bytes are all here.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Reads a body to its end.
///
/// # Errors
/// It is over `limit` bytes (413), fell silent (408) or broke off (400).
pub async fn collect(mut body: Body, limit: u64) -> Result<Bytes, Fault> {
    let too_large = || Fault::Caller { status: 413, message: format!("the body is over {}", format_bytes(limit)) };
    if body.size_hint().lower() > limit {
        return Err(too_large());
    }
    // One chunk, the usual case, is taken as it is.
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let length = whole.len().saturating_add(joined.len()).saturating_add(data.len());
        if u64::try_from(length).unwrap_or(u64::MAX) > limit {
            return Err(too_large());
        }
        if whole.is_empty() && joined.is_empty() {
            whole = data;
            continue;
        }
        joined.extend_from_slice(&std::mem::take(&mut whole));
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { whole } else { joined.freeze() })
}

/// The fault of a request body that did not come to its end.
fn broken(error: BodyError) -> Fault {
    match error {
        BodyError::Fault(fault) => fault,
        BodyError::Idle { .. } => Fault::Caller { status: 408, message: error.to_string() },
        BodyError::TooLarge { .. } => Fault::Caller { status: 413, message: error.to_string() },
        BodyError::Closed(_) => Fault::bad_request(error.to_string()),
    }
}
