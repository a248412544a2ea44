//! Bytes that are many: they come in pieces, from where they are wanted, and go on after a connection that broke.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderValue, Method, StatusCode, header};
use url::Url;

use super::{
    auth::Access,
    body::Body,
    endpoint::{authority, shown},
    exchange::{Exchange, pause},
    transport::{Answer, Failure, Request},
};
use crate::{BlobStream, Error, bounds::MAX_RESTARTS};

/// A connection that brought so much counts as a good one, and the tries begin anew.
const GOOD_CONNECTION_BYTES: u64 = 1 << 20;

/// What is known of the length beforehand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// It is exactly this, or wrong.
    Exactly(u64),
    /// It is not told, and may be this at most.
    AtMost(u64),
}

/// A download on its way.
#[derive(Debug)]
pub(super) struct Download {
    exchange: Arc<Exchange>,
    url: Url,
    access: Option<Access>,
    what: String,
    length: Length,
    /// The length that the server told.
    told: Option<u64>,
    /// What says that a part that is asked for later is of the same thing; `None` if nothing but a digest will.
    validator: Option<HeaderValue>,
    /// Whether the parts of two answers may be put together.
    resumes: bool,
    position: u64,
    /// Bytes still to be left out, from a server that began before the position.
    skip: u64,
    body: Option<Body>,
    failures: u32,
    since_failure: u64,
    /// How often the server began anew instead of going on.
    restarts: u32,
    backoff: std::time::Duration,
}

impl Download {
    /// Begins at `offset`, or at 0 if the server cannot. `access` is for registries: their blobs have a digest, so parts of
    /// several answers may always be put together; a web server's only if it says that they belong together.
    pub(super) async fn begin(
        exchange: Arc<Exchange>,
        url: Url,
        access: Option<Access>,
        what: String,
        length: Length,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        let backoff = exchange.transport.settings.patience.backoff;
        let mut download = Self {
            resumes: access.is_some(),
            exchange,
            url,
            access,
            what,
            length,
            told: None,
            validator: None,
            position: offset,
            skip: 0,
            body: None,
            failures: 0,
            since_failure: 0,
            restarts: 0,
            backoff,
        };
        if let Length::Exactly(size) = length
            && offset >= size
            && offset > 0
        {
            if offset > size {
                return Err(Error::Invalid(format!("{} has {size} bytes, and byte {offset} was asked", download.what)));
            }
            return Ok(BlobStream::new(offset, stream::empty().boxed()));
        }
        let begun = download.open().await?;
        download.position = begun;
        if download.access.is_none() {
            download.resumes = download.validator.is_some();
        }
        let chunks = stream::try_unfold(download, |mut download| async move {
            Ok(download.next().await?.map(|chunk| (chunk, download)))
        });
        Ok(BlobStream::new(begun, chunks.boxed()))
    }

    /// Asks for what is missing. Gives where the answer begins.
    async fn open(&mut self) -> Result<u64, Error> {
        let whole = Request::new(Method::GET, self.url.clone())
            .with(header::ACCEPT, HeaderValue::from_static("*/*"))
            .with(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut answer = None;
        if self.position > 0 {
            let range = super::endpoint::header(&format!("bytes={}-", self.position))?;
            let mut rest = whole.clone().with(header::RANGE, range);
            if let Some(validator) = &self.validator {
                rest = rest.with(header::IF_RANGE, validator.clone());
            }
            let good = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];
            let came = self.exchange.ask(&rest, self.access.as_ref(), &good, &self.what).await?;
            // A server that has no such part may have the whole.
            answer = Some(came).filter(|came| came.status != StatusCode::RANGE_NOT_SATISFIABLE);
        }
        let answer = match answer {
            Some(answer) => answer,
            None => self.exchange.ask(&whole, self.access.as_ref(), &[StatusCode::OK], &self.what).await?,
        };
        self.not_encoded(&answer)?;
        let begins = match answer.status {
            StatusCode::PARTIAL_CONTENT => self.position,
            _ => 0,
        };
        let whole = match answer.status {
            StatusCode::PARTIAL_CONTENT => self.range(&answer)?,
            _ => answer.length(),
        };
        self.right_length(&answer, whole)?;
        if self.told.is_some() && whole.is_some() && whole != self.told {
            return Err(self.invalid("has become another while it came"));
        }
        self.told = whole.or(self.told);
        let tag = answer.headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
        if let Some(known) = &self.validator
            && tag != Some(known)
        {
            return Err(self.invalid("has become another while it came"));
        }
        self.validator = tag.cloned().filter(|_| self.access.is_none());
        self.body = Some(answer.body);
        Ok(begins)
    }

    /// The whole length that a part's `Content-Range` tells, which must be of the part that was asked for.
    fn range(&self, answer: &Answer) -> Result<Option<u64>, Error> {
        let text = answer.text(header::CONTENT_RANGE).unwrap_or_default();
        let wrong = || {
            let (range, position) = (super::explain::clean(text), self.position);
            self.invalid(&format!("came with the range `{range}`, and bytes from {position} on were asked"))
        };
        let (range, whole) = text.strip_prefix("bytes ").and_then(|text| text.split_once('/')).ok_or_else(wrong)?;
        let (first, last) = range.split_once('-').ok_or_else(wrong)?;
        let (first, last): (u64, u64) = first.parse().ok().zip(last.parse().ok()).ok_or_else(wrong)?;
        let whole: Option<u64> = match whole {
            "*" => None,
            whole => Some(whole.parse().map_err(|_| wrong())?),
        };
        let inside = whole.is_none_or(|whole| last < whole);
        let as_long =
            answer.length().is_none_or(|length| last.checked_sub(first).is_some_and(|more| more + 1 == length));
        (first == self.position && last >= first && inside && as_long).then_some(whole).ok_or_else(wrong)
    }

    fn right_length(&self, answer: &Answer, whole: Option<u64>) -> Result<(), Error> {
        match (self.length, whole) {
            (Length::Exactly(size), Some(whole)) if whole != size => Err(self.invalid(&format!(
                "is announced as {whole} bytes by `{}`, and its descriptor says {size}",
                authority(&answer.url)
            ))),
            (Length::AtMost(limit), Some(whole)) if whole > limit => {
                Err(Error::OverLimit(format!("{} is of {whole} bytes, and at most {limit} are read", self.what)))
            }
            _ => Ok(()),
        }
    }

    /// Blobs are judged by their digest. What has none would be taken for something else than it is.
    fn not_encoded(&self, answer: &Answer) -> Result<(), Error> {
        match self.access {
            None => answer.not_encoded(&self.what),
            Some(_) => Ok(()),
        }
    }

    fn invalid(&self, why: &str) -> Error {
        Error::Invalid(format!("{} {why} (`{}`)", self.what, shown(&self.url)))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let came = match &mut self.body {
                Some(body) => body.chunk().await,
                None => {
                    let begins = self.open().await?;
                    self.skip = self.position.saturating_sub(begins);
                    self.restarts += u32::from(self.skip > 0);
                    continue;
                }
            };
            let failure = match came {
                Ok(Some(mut chunk)) => {
                    let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
                    self.skip -= skipped as u64;
                    drop(chunk.split_to(skipped));
                    if chunk.is_empty() {
                        continue;
                    }
                    self.count(chunk.len() as u64)?;
                    return Ok(Some(chunk));
                }
                Ok(None) => match self.missing() {
                    None => return Ok(None),
                    Some(whole) => Failure::passing(format!(
                        "{} from `{}` ended after {} of {whole} bytes",
                        self.what,
                        authority(&self.url),
                        self.position
                    )),
                },
                // All came; how the connection ends does not matter.
                Err(_) if self.told_whole() && self.missing().is_none() => return Ok(None),
                Err(failure) => failure,
            };
            self.body = None;
            self.failures += 1;
            let enough = self.failures >= self.exchange.transport.settings.patience.tries;
            if !failure.again || !self.resumes || enough {
                return Err(failure.error);
            }
            if self.restarts >= MAX_RESTARTS {
                return Err(Error::OverLimit(format!(
                    "{} broke off again: {}; `{}` began it anew {MAX_RESTARTS} time instead of going on, the most that is asked \
                     for",
                    self.what,
                    failure.error,
                    authority(&self.url)
                )));
            }
            tracing::debug!(error = %failure.error, position = self.position, "going on with another connection");
            self.since_failure = 0;
            pause(None, &mut self.backoff, &self.exchange.transport.settings.patience).await;
        }
    }

    fn count(&mut self, bytes: u64) -> Result<(), Error> {
        self.position = self.position.saturating_add(bytes);
        self.since_failure = self.since_failure.saturating_add(bytes);
        if self.since_failure >= GOOD_CONNECTION_BYTES {
            self.failures = 0;
            self.backoff = self.exchange.transport.settings.patience.backoff;
        }
        match self.length {
            Length::Exactly(size) if self.position > size => {
                Err(self.invalid(&format!("is longer than the {size} bytes that its descriptor says")))
            }
            Length::AtMost(limit) if self.position > limit => {
                Err(Error::OverLimit(format!("{} is over {limit} bytes, the most that is read", self.what)))
            }
            _ => Ok(()),
        }
    }

    fn told_whole(&self) -> bool {
        matches!(self.length, Length::Exactly(_)) || self.told.is_some()
    }

    /// How long it should be, if it is not yet.
    fn missing(&self) -> Option<u64> {
        let whole = match self.length {
            Length::Exactly(size) => Some(size),
            Length::AtMost(_) => self.told,
        };
        whole.filter(|whole| self.position < *whole)
    }
}
