//! The connections to an S3 server: how many, how long, and how much of an answer is read.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::Method;
use http_body_util::{BodyExt, Limited};
use object_store::{
    ClientOptions,
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService},
};
use tokio::sync::Semaphore;

/// Requests to one store that wait for their answer at once, at most; more wait for their turn.
const REQUESTS: usize = 64;

/// Idle connections that are kept.
const IDLE_CONNECTIONS: usize = 32;

/// Bytes of an answer that is not an object: a list of 1,000 keys, or an error.
const ANSWER_BYTES: usize = 8 << 20;

/// How slowly a request's body may be taken.
const MIN_BYTES_PER_SECOND: u64 = 256 << 10;

/// The time that sending so many bytes may take beside the answer.
pub(super) fn allowance(bytes: usize) -> Duration {
    Duration::from_secs(bytes as u64 / MIN_BYTES_PER_SECOND)
}

/// How the server is reached.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) timeout: Duration,
    /// Plain HTTP, so that a machine without certificate authorities can do that much.
    pub(super) plain: bool,
    /// On this machine, where no proxy leads.
    pub(super) local: bool,
    /// Authorities beside the machine's own, as PEM.
    pub(super) authorities: Option<Vec<u8>>,
}

/// Our client, for what `object_store` has to ask.
#[derive(Clone)]
pub(super) struct Wire {
    client: reqwest::Client,
    requests: Arc<Semaphore>,
    timeout: Duration,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Wire {
    /// # Errors
    /// TLS cannot be set up; the message says why.
    pub(super) fn new(reach: &Reach) -> Result<Self, String> {
        // reqwest takes what the process has chosen, and nothing else in this program chooses.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("samara/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(reach.timeout)
            .read_timeout(reach.timeout)
            .pool_max_idle_per_host(IDLE_CONNECTIONS);
        if reach.local {
            client = client.no_proxy();
        }
        if let Some(pem) = &reach.authorities {
            let authorities = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| error.to_string())?;
            client = client.tls_certs_merge(authorities);
        } else if reach.plain {
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| error.to_string())?;
        Ok(Self { client, requests: Arc::new(Semaphore::new(REQUESTS)), timeout: reach.timeout })
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// Why a request had to end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Ended(&'static str);

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let late = || HttpError::new(HttpErrorKind::Timeout, Ended("no answer in time"));
        let is_object =
            *request.method() == Method::GET && !request.uri().query().unwrap_or_default().contains("list-type");
        let allowed = self.timeout + allowance(request.body().content_length());
        let asked = async {
            let _one = self.requests.acquire().await.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
            HttpService::call(&self.client, request).await
        };
        let answer = tokio::time::timeout(allowed, asked).await.map_err(|_| late())??;
        if is_object && answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        // Read here, where it can be cut: whoever asked would read any length.
        let whole = tokio::time::timeout(self.timeout, Limited::new(body, ANSWER_BYTES).collect()).await;
        let whole = whole.map_err(|_| late())?.map_err(|error| HttpError::new_boxed(HttpErrorKind::Decode, error))?;
        Ok(HttpResponse::from_parts(head, whole.to_bytes().into()))
    }
}
