//! Trying a request again: only one that may be repeated, only while most go through, and never at once.
//!
//! The budget is what keeps retries from being the last straw: a server that fails all requests is sent a fifth more of them, not
//! several times as many. A response that says when to come back (`retry-after`) is the guest's to read.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header::RETRY_AFTER};
use http_body::Body as _;
use samara_model::{Body, empty};

use super::EgressError;

/// What one retry costs of the budget.
const RETRY_COST: u32 = 10;

/// What one request adds to the budget: a fifth of a retry.
const REQUEST_WORTH: u32 = 2;

/// The most that is saved up, and what there is at first: ten retries.
const BUDGET: u32 = 10 * RETRY_COST;

/// The pause before the first retry is up to this, before the next up to twice as much.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The retries that one workload may still make.
#[derive(Debug)]
pub(super) struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(BUDGET))
    }
}

impl Budget {
    /// Notes a request that somebody asked for.
    pub(super) fn request(&self) {
        let more = |saved: u32| Some(saved.saturating_add(REQUEST_WORTH).min(BUDGET));
        // The closure never refuses.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes a retry, if there is one left.
    pub(super) fn retry(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(RETRY_COST)).is_ok()
    }
}

/// A request that may be sent more than once, without its body because it has none.
#[derive(Debug)]
pub(super) struct Repeatable {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Repeatable {
    /// A copy of a request, if doing it twice is as good as doing it once.
    pub(super) fn of(request: &Request<Body>) -> Option<Self> {
        let repeatable = request.method().is_idempotent() && request.body().is_end_stream();
        repeatable.then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    /// The request once more.
    pub(super) fn again(&self) -> Request<Body> {
        let mut request = Request::new(empty());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        *request.version_mut() = Version::HTTP_11;
        request
    }
}

/// Whether another attempt may end better. A wait that ran out is no reason: it took the time there was.
pub(super) fn may_end_better<T>(outcome: &Result<Response<T>, EgressError>) -> bool {
    match outcome {
        Ok(response) => {
            matches!(
                response.status(),
                StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
            ) && !response.headers().contains_key(RETRY_AFTER)
        }
        Err(error) => matches!(
            error,
            EgressError::ConnectionRefused
                | EgressError::ConnectionTerminated(_)
                | EgressError::ResponseIncomplete
                | EgressError::Unroutable(_)
                | EgressError::Unavailable(_)
                | EgressError::Dns { .. }
        ),
    }
}

/// How long to wait before a retry, the first being number 0: by chance, so that those who failed together do not come back together.
pub(super) fn pause(retry: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(retry)).min(LONGEST_PAUSE);
    let chance = RandomState::new().hash_one(retry);
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(chance % nanos.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_fifth_of_requests_once_the_savings_are_spent() {
        let budget = Budget::default();
        assert_eq!((0..100).filter(|_| budget.retry()).count(), 10);
        let retried = (0..100).filter(|_| {
            budget.request();
            budget.retry()
        });
        assert_eq!(retried.count(), 20);
        (0..10_000).for_each(|_| budget.request());
        assert_eq!((0..100).filter(|_| budget.retry()).count(), 10);
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        for retry in 0..40 {
            assert!(pause(retry) <= LONGEST_PAUSE.min(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(retry))));
        }
        let pauses: std::collections::HashSet<_> = (0..20).map(|_| pause(5)).collect();
        assert!(pauses.len() > 10, "by chance: {pauses:?}");
    }
}
