//! Outgoing HTTP of guests: only to granted origins, only to addresses that may be reached, within limits.
//!
//! HTTP/1.1 in the clear and over TLS; HTTP/2 where the server offers it over TLS. Deliberately absent: redirects (the
//! guest sees them and asks again, which is checked again), cookies, decompression, proxies from the environment.
//! A grant may add headers that the guest never sees (`headers.rs`), and have requests tried again (`retry.rs`).
//!
//! Each [`Egress`] has a pool of its own, so that no connection of one workload ever carries a request of another.

use std::{
    error::Error,
    fmt,
    pin::pin,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{Either, select};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::{
    client::legacy::{Client, connect::capture_connection},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use samara_model::{Body, Capability, HeaderRule, HttpGrant, MAX_HTTP_RETRIES, inside_host};
use samara_telemetry::{Span, Watch};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{Denial, Recorder};

mod body;
mod connect;
mod error;
mod headers;
mod request;
mod retry;
#[cfg(test)]
mod tests;

pub use connect::{Resolver, SystemResolver};
pub use error::EgressError;
pub use headers::AddedHeaders;

use body::{End, Timed};
use connect::{Connecting, Connector};
use request::{HeadLimits, Origin};
use retry::{Budget, Repeatable, may_end_better};

/// The smallest buffer the client reads heads into.
const MIN_HEAD_BYTES: usize = 8 << 10;

/// What a guest asks of the time one request may take; `None` is the policy's own, which is also the most it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection, TLS included.
    pub connect: Option<Duration>,
    /// From there to the head of the response.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the response's body, while the guest waits for one.
    pub between_bytes: Option<Duration>,
}

/// Who answers requests to the app's own workloads ([`samara_model::inside_host`]): no name is looked up for them, and nothing
/// leaves.
#[async_trait]
pub trait Inside: fmt::Debug + Send + Sync {
    /// Answers a request that was granted and checked; its URI is absolute.
    ///
    /// # Errors
    /// There is no such workload. What goes wrong in one is a response with the status that a client would see.
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, EgressError>;
}

/// What one workload's requests may be.
#[derive(Clone, Debug)]
pub struct EgressPolicy {
    /// The origins it may reach.
    pub grant: HttpGrant,
    /// Is told of uses and denials.
    pub recorder: Arc<dyn Recorder>,
    /// Looks names up.
    pub resolver: Arc<dyn Resolver>,
    /// Whom to trust over TLS; `None` is the web's certificate authorities. Its ALPN protocols and session cache are
    /// replaced.
    pub tls: Option<Arc<ClientConfig>>,
    /// Time for one look-up of a name.
    pub lookup: Duration,
    /// Time for a connection, TLS included; the most a guest may ask for.
    pub connect: Duration,
    /// Time for the head of a response; the most a guest may ask for.
    pub first_byte: Duration,
    /// Time between two pieces of a response's body; the most a guest may ask for.
    pub between_bytes: Duration,
    /// Time for all of a request, retries and the response's body included; `None` is unbounded.
    pub total: Option<Duration>,
    /// How often a request that may be repeated is tried again, at most; all of a workload's retries together have a budget.
    pub retries: u32,
    /// The headers of the grant, opened. While they are `None`, requests to an origin that has some are refused.
    pub headers: Option<Arc<AddedHeaders>>,
    /// Who answers for the app's own workloads; without it there are none.
    pub inside: Option<Arc<dyn Inside>>,
    /// How long an idle connection is kept.
    pub idle: Duration,
    /// Idle connections kept per origin.
    pub idle_per_origin: usize,
    /// Connections at once, idle ones included.
    pub connections: usize,
    /// Bytes of a request's or a response's head; less than 8 KiB is taken as 8 KiB for responses.
    pub head_bytes: usize,
    /// Fields of a request's or a response's head.
    pub head_fields: usize,
}

impl EgressPolicy {
    /// The defaults around a grant, or less where the grant says so.
    pub fn new(grant: HttpGrant, recorder: Arc<dyn Recorder>) -> Self {
        let time = |granted: Option<Duration>, most: Duration| granted.map_or(most, |granted| granted.min(most));
        let number = |granted: Option<u32>, most: usize| {
            granted.map_or(most, |granted| usize::try_from(granted).unwrap_or(usize::MAX).min(most))
        };
        let (times, pool) = (grant.timeouts, grant.pool);
        Self {
            recorder,
            resolver: Arc::new(SystemResolver),
            tls: None,
            lookup: Duration::from_secs(10),
            connect: time(times.connect, Duration::from_secs(30)),
            first_byte: time(times.first_byte, Duration::from_secs(600)),
            between_bytes: time(times.between_bytes, Duration::from_secs(600)),
            total: times.total,
            retries: grant.retries.min(MAX_HTTP_RETRIES),
            headers: None,
            inside: None,
            idle: time(pool.idle_time, Duration::from_secs(30)),
            idle_per_origin: number(pool.idle, 16),
            connections: number(pool.connections, 256),
            head_bytes: 64 << 10,
            head_fields: 128,
            grant,
        }
    }
}

/// Trust in the web's certificate authorities; made once, because the list is long.
static WEB_TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(versions.expect("ring has the cipher suites of TLS 1.2 and 1.3").with_webpki_roots().with_no_client_auth())
});

/// TLS sessions one workload may resume.
const TLS_SESSIONS: usize = 64;

/// The way out for one workload's requests. Made once per workload, shared by its calls.
pub struct Egress {
    policy: EgressPolicy,
    connecting: Arc<Connecting>,
    budget: Budget,
    /// Made for the first request: reading the certificate authorities takes longer than most guests need to start.
    client: OnceLock<Client<HttpsConnector<Connector>, Body>>,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("grant", &self.policy.grant).finish_non_exhaustive()
    }
}

impl Egress {
    /// A way out with the defaults of [`EgressPolicy::new`].
    pub fn new(grant: HttpGrant, recorder: Arc<dyn Recorder>) -> Self {
        Self::with_policy(EgressPolicy::new(grant, recorder))
    }

    /// A way out with a pool of its own.
    pub fn with_policy(policy: EgressPolicy) -> Self {
        let connecting = Arc::new(Connecting {
            private: policy.grant.private,
            resolver: Arc::clone(&policy.resolver),
            recorder: Arc::clone(&policy.recorder),
            connections: Arc::new(Semaphore::new(policy.connections)),
            max_connections: policy.connections,
            lookup: policy.lookup,
            connect: policy.connect,
        });
        Self { policy, connecting, budget: Budget::default(), client: OnceLock::new() }
    }

    fn client(&self) -> &Client<HttpsConnector<Connector>, Body> {
        self.client.get_or_init(|| {
            let policy = &self.policy;
            let mut tls = ClientConfig::clone(policy.tls.as_ref().unwrap_or(&WEB_TLS));
            tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            // Sessions are as private as connections: a server could tell that two workloads share a host.
            tls.resumption = rustls::client::Resumption::in_memory_sessions(TLS_SESSIONS);
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                .pool_idle_timeout(policy.idle)
                .pool_max_idle_per_host(policy.idle_per_origin)
                .http1_max_buf_size(policy.head_bytes.max(MIN_HEAD_BYTES))
                .http1_max_headers(policy.head_fields)
                .http2_max_header_list_size(u32::try_from(policy.head_bytes).unwrap_or(u32::MAX))
                .build(HttpsConnector::from((Connector(Arc::clone(&self.connecting)), tls)))
        })
    }

    /// Sends a request and waits for the head of its response; the bodies stream. Dropping the future or the response's
    /// body closes the connection. The URI is absolute.
    ///
    /// # Errors
    /// The origin or where it leads is not granted, the request is not one that may be sent, or there is no response; each
    /// with the error code of `wasi:http`.
    pub async fn send(&self, request: Request<Body>, asked: Timeouts) -> Result<Response<Body>, EgressError> {
        let watch = Watch::current();
        if !watch.is_on() {
            return self.exchange(request, asked, &Span::default()).await;
        }
        let span = watch.client_span(request.method().as_str().to_owned());
        span.set_text("http.request.method", request.method().as_str());
        let answer = self.exchange(request, asked, &span).await;
        match &answer {
            Ok(response) => span.set("http.response.status_code", i64::from(response.status().as_u16())),
            Err(error) => span.failed(&error.to_string()),
        }
        answer
    }

    async fn exchange(
        &self,
        mut request: Request<Body>,
        asked: Timeouts,
        span: &Span,
    ) -> Result<Response<Body>, EgressError> {
        let origin = Origin::of(request.uri())?;
        if span.is_on() {
            span.set_text("server.address", &origin.host);
            span.set("server.port", i64::from(origin.port));
            span.set_text("url.path", request.uri().path());
        }
        self.check(&origin)?;
        span.hand_on(request.headers_mut());
        let head = HeadLimits { bytes: self.policy.head_bytes, fields: self.policy.head_fields };
        request::prepare(&mut request, &origin, head)?;
        self.add_headers(&origin, request.headers_mut()).await?;
        let between = at_most(asked.between_bytes, self.policy.between_bytes);
        let end = self
            .policy
            .total
            .and_then(|total| Some(End { at: Instant::now().checked_add(total)?, total, origin: origin.to_string() }));
        if inside_host(&origin.host).is_some() {
            return self.ask_inside(request, &origin, asked, end).await;
        }
        let attempts = self.attempts(request, asked, span);
        let mut response = match &end {
            Some(end) => timeout_at(end.at, attempts).await.map_err(|_| EgressError::ResponseTimeout)?,
            None => attempts.await,
        }?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(EgressError::UpgradeFailed);
        }
        request::remove_hop_by_hop(response.headers_mut());
        Ok(response.map(|incoming| Timed::new(incoming, between, end).boxed_unsync()))
    }

    /// Has another workload of the app answer.
    async fn ask_inside(
        &self,
        request: Request<Body>,
        origin: &Origin,
        asked: Timeouts,
        end: Option<End>,
    ) -> Result<Response<Body>, EgressError> {
        let inside = self.policy.inside.as_ref().ok_or_else(|| EgressError::NotFound(origin.host.clone()))?;
        let first_byte = at_most(asked.first_byte, self.policy.first_byte);
        let by = Instant::now().checked_add(first_byte);
        let by = [by, end.map(|end| end.at)].into_iter().flatten().min();
        let answer = inside.answer(request);
        let mut response = match by {
            Some(by) => timeout_at(by, answer).await.map_err(|_| EgressError::ResponseTimeout)?,
            None => answer.await,
        }?;
        request::remove_hop_by_hop(response.headers_mut());
        Ok(response)
    }

    /// Sends a request, and again as long as that is allowed and may help.
    async fn attempts(
        &self,
        request: Request<Body>,
        asked: Timeouts,
        span: &Span,
    ) -> Result<Response<Incoming>, EgressError> {
        let retries = self.policy.retries;
        let repeatable = if retries == 0 { None } else { Repeatable::of(&request) };
        self.budget.request();
        let mut outcome = self.attempt(request, asked).await;
        let Some(repeatable) = repeatable else { return outcome };
        for retry in 0..retries {
            if !may_end_better(&outcome) || !self.budget.retry() {
                break;
            }
            // A response that is not read closes its connection.
            drop(outcome);
            sleep(retry::pause(retry)).await;
            span.set("http.request.resend_count", i64::from(retry) + 1);
            outcome = self.attempt(repeatable.again(), asked).await;
        }
        outcome
    }

    async fn attempt(&self, mut request: Request<Body>, asked: Timeouts) -> Result<Response<Incoming>, EgressError> {
        let mut captured = capture_connection(&mut request);
        let mut response = pin!(self.client().request(request));
        let connected = pin!(async {
            captured.wait_for_connection_metadata().await;
        });
        // There is a response without a connection first when there is none to be had: then it is an error.
        let connect = at_most(asked.connect, self.policy.connect);
        let response = match timeout(connect, select(response.as_mut(), connected)).await {
            Err(_) => return Err(self.connecting.timed_out()),
            Ok(Either::Left((response, _))) => response,
            Ok(Either::Right(((), response))) => {
                let first_byte = at_most(asked.first_byte, self.policy.first_byte);
                timeout(first_byte, response).await.map_err(|_| EgressError::ResponseTimeout)?
            }
        };
        response.map_err(|error| self.meaning(&error))
    }

    /// Adds what the grant has for the origin, or refuses the request rather than sending it without.
    async fn add_headers(&self, origin: &Origin, headers: &mut HeaderMap) -> Result<(), EgressError> {
        let has_some = |rule: &HeaderRule| rule.origin.matches(origin.scheme(), &origin.host, origin.port);
        match &self.policy.headers {
            Some(added) => added.add(origin, headers).await,
            None if self.policy.grant.headers.iter().any(has_some) => {
                Err(EgressError::Internal(format!("the headers of `{origin}` were not opened")))
            }
            None => Ok(()),
        }
    }

    /// Whether the grant includes an origin, before it is known where that leads.
    fn check(&self, origin: &Origin) -> Result<(), EgressError> {
        let recorder = &self.policy.recorder;
        if self.policy.grant.allows(origin.scheme(), &origin.host, origin.port) {
            recorder.used(Capability::Http, &origin.to_string(), "request");
            return Ok(());
        }
        let what = format!("request to `{origin}`");
        let grant = format!("http = [\"{origin}\"]");
        recorder.denied(&Denial { capability: Capability::Http, what: what.clone(), grant: grant.clone() });
        Err(EgressError::Denied { what, grant })
    }

    fn meaning(&self, error: &(dyn Error + 'static)) -> EgressError {
        let (bytes, fields) = (self.policy.head_bytes as u64, self.policy.head_fields as u64);
        EgressError::find(error, &EgressError::ResponseHeaderSize { bytes, fields })
    }
}

/// What a guest asks for, if it is allowed that much.
fn at_most(asked: Option<Duration>, limit: Duration) -> Duration {
    asked.map_or(limit, |asked| asked.min(limit))
}
