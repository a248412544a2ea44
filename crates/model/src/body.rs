//! The boxed, streaming body of HTTP calls and replies.
//!
//! One concrete type, so that surfaces and contracts meet without generics. Frames carry data or trailers and are
//! pulled by whoever consumes them, which is what gives back-pressure both ways.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};

use crate::Fault;

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
