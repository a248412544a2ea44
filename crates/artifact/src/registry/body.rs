//! Bodies: never waited for without end, never kept over a bound.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use samara_model::format_duration;
use tokio::time::{Instant, timeout};
use url::Url;

use super::{
    Patience,
    endpoint::authority,
    transport::{Failure, failed},
};
use crate::{Error, bounds::MIN_BYTES_PER_SECOND};

/// The body of an answer on its way.
#[derive(Debug)]
pub(super) struct Body {
    response: reqwest::Response,
    url: Url,
    patience: Patience,
    /// Time spent waiting for the server, without the time that our own side took.
    waited: Duration,
    received: u64,
}

impl Body {
    pub(super) fn new(response: reqwest::Response, url: &Url, patience: Patience) -> Self {
        Self { response, url: url.clone(), patience, waited: Duration::ZERO, received: 0 }
    }

    /// The next piece; `None` at the end. A server that is silent for too long or too slow on the whole is given up.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let begun = Instant::now();
        let came = timeout(self.patience.stall, self.response.chunk()).await;
        self.waited += begun.elapsed();
        let host = authority(&self.url);
        let chunk = match came {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Err(failed(&error, &self.url)),
            Err(_) => {
                let stall = format_duration(self.patience.stall);
                return Err(Failure::passing(format!("`{host}` stopped in the middle: nothing came for {stall}")));
            }
        };
        self.received = self.received.saturating_add(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        let least = self.waited.as_secs().saturating_mul(MIN_BYTES_PER_SECOND);
        if self.waited > self.patience.slow && self.received < least {
            let (received, waited) = (self.received, format_duration(self.waited));
            return Err(Error::Unreachable(format!(
                "`{host}` is too slow: {received} bytes in {waited}, and {MIN_BYTES_PER_SECOND} a second are asked for"
            ))
            .into());
        }
        Ok(chunk)
    }

    /// All of a small document. `what` it is begins the message if it is over `limit`.
    pub(super) async fn document(&mut self, what: &str, limit: u64) -> Result<Bytes, Failure> {
        let (host, allowed) = (authority(&self.url), self.patience.document);
        let over = || Error::OverLimit(format!("{what} from `{host}` is over {limit} bytes, the most that is read"));
        if self.response.content_length().is_some_and(|length| length > limit) {
            return Err(over().into());
        }
        let read = async {
            let mut bytes = BytesMut::new();
            while let Some(chunk) = self.chunk().await? {
                if bytes.len() as u64 + chunk.len() as u64 > limit {
                    return Err(over().into());
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes.freeze())
        };
        timeout(allowed, read).await.unwrap_or_else(|_| {
            Err(Failure::passing(format!("{what} from `{host}` did not come within {}", format_duration(allowed))))
        })
    }

    /// The beginning of what a server explains, as far as it comes at once.
    pub(super) async fn beginning(mut self, limit: u64) -> Bytes {
        let mut bytes = BytesMut::new();
        let allowed = self.patience.stall.min(EXPLANATION);
        let read = async {
            while let Ok(Some(chunk)) = self.chunk().await {
                let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(bytes.len());
                bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() >= room {
                    break;
                }
            }
        };
        // What came by then is shown; the error it explains is known anyway.
        drop(timeout(allowed, read).await);
        bytes.freeze()
    }
}

/// How long an explanation is waited for.
const EXPLANATION: Duration = Duration::from_secs(5);
