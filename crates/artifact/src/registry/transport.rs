//! One request, one answer: the connections below, and what their failures are called.
//!
//! Redirects are not followed here, nothing is decompressed, no cookie or login is kept.

use std::{collections::HashMap, error::Error as _, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use tokio::time::timeout;
use url::Url;

use super::{
    RegistrySettings,
    body::Body,
    endpoint::{authority, shown},
    explain::clean,
    reach::{Reach, allow, is_local},
    resolve::{Found, Judged, Lookup, Refused, System},
};
use crate::{
    Error,
    bounds::{MAX_DOCUMENT_BYTES, MAX_HEAD_BYTES, MAX_HEAD_FIELDS},
};

/// Idle connections that are kept to one host.
const IDLE_CONNECTIONS: usize = 8;

/// Why there is no answer, and whether another try may bring one.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) again: bool,
    /// How long the server wants to be left alone.
    pub(super) after: Option<Duration>,
}

impl Failure {
    /// Worth another try.
    pub(super) fn passing(message: String) -> Self {
        Self { error: Error::Unreachable(message), again: true, after: None }
    }
}

impl From<Error> for Failure {
    /// Not worth another try.
    fn from(error: Error) -> Self {
        Self { error, again: false, after: None }
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// The same with one more header.
    pub(super) fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// What came back: the head, and a body that is read within bounds.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// The kind of address it came from ([`Found::kind`]).
    pub(super) kind: Option<&'static str>,
    /// Whether redirects led to another server on the way, also if they led back: what it says then is the other's choice.
    pub(super) strayed: bool,
}

impl Answer {
    /// A header as text, if it is there and is text.
    pub(super) fn text(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// An answer that is compressed, though nobody asked for that, is not taken: nothing here unpacks it.
    pub(super) fn not_encoded(&self, what: &str) -> Result<(), Error> {
        match self.text(header::CONTENT_ENCODING).map(str::trim) {
            Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => Err(Error::Invalid(format!(
                "{what} came from `{}` encoded as `{}`, though plain bytes were asked",
                authority(&self.url),
                clean(encoding)
            ))),
            _ => Ok(()),
        }
    }

    /// The length of the body as it is announced.
    pub(super) fn length(&self) -> Option<u64> {
        self.text(header::CONTENT_LENGTH)?.trim().parse().ok()
    }
}

/// What differs between connections. What is alike shares a pool; a pool is never shared by requests of which one might not
/// connect where the other did.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Lane {
    reach: Reach,
    local: bool,
    tls: Tls,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Tls {
    /// Plain HTTP, so that a machine without certificate authorities can do that much.
    Unused,
    /// With the machine's authorities.
    Machine,
    /// And those of a file.
    And(std::path::PathBuf),
}

/// All connections.
pub(super) struct Transport {
    pub(super) settings: RegistrySettings,
    lookup: Arc<dyn Lookup>,
    found: Found,
    clients: Mutex<HashMap<Lane, reqwest::Client>>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Transport {
    pub(super) fn new(settings: RegistrySettings) -> Self {
        Self::resolving_with(settings, Arc::new(System))
    }

    pub(super) fn resolving_with(settings: RegistrySettings, lookup: Arc<dyn Lookup>) -> Self {
        Self { settings, lookup, found: Found::default(), clients: Mutex::default() }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, request: &Request, reach: Reach) -> Result<Answer, Failure> {
        if self.settings.offline {
            return Err(offline(&authority(&request.url)).into());
        }
        let patience = &self.settings.patience;
        let client = self.client(&request.url, reach).await?;
        let mut sent = client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        let mut allowed = patience.answer;
        if !request.body.is_empty() || matches!(request.method, Method::PUT | Method::POST | Method::PATCH) {
            // What is sent takes its time too.
            let seconds = request.body.len() as u64 / crate::bounds::MIN_BYTES_PER_SECOND;
            allowed = allowed.saturating_add(Duration::from_secs(seconds));
            sent = sent.body(request.body.clone());
        }
        let answered = timeout(allowed, sent.send()).await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failed(&error, &request.url)),
            Err(_) => {
                let message = format!("`{}` did not answer within {}", authority(&request.url), in_words(allowed));
                return Err(Failure::passing(message));
            }
        };
        let host = request.url.host();
        let kind = response.remote_addr().zip(host).and_then(|(address, host)| self.found.kind(&host, address.ip()));
        Ok(Answer {
            url: request.url.clone(),
            status: response.status(),
            headers: response.headers().clone(),
            kind,
            strayed: false,
            body: Body::new(response, &request.url, *patience),
        })
    }

    async fn client(&self, url: &Url, reach: Reach) -> Result<reqwest::Client, Error> {
        let tls = match (url.scheme(), self.settings.host(url).and_then(|host| host.ca.as_ref())) {
            ("http", _) => Tls::Unused,
            (_, None) => Tls::Machine,
            (_, Some(file)) => Tls::And(file.clone()),
        };
        let lane = Lane { reach, local: is_local(url), tls };
        if let Some(client) = self.clients.lock().get(&lane) {
            return Ok(client.clone());
        }
        let client = self.connections(&lane).await?;
        self.clients.lock().insert(lane, client.clone());
        Ok(client)
    }

    async fn connections(&self, lane: &Lane) -> Result<reqwest::Client, Error> {
        // reqwest takes what the process has chosen, and nothing else in this program chooses.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let resolver = Judged { reach: lane.reach, lookup: Arc::clone(&self.lookup), found: self.found.clone() };
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("samara/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .dns_resolver(resolver)
            .connect_timeout(self.settings.patience.answer)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_headers(MAX_HEAD_FIELDS)
            .http2_max_header_list_size(MAX_HEAD_BYTES);
        if lane.local {
            client = client.no_proxy();
        }
        client = match &lane.tls {
            Tls::Unused => client.tls_certs_only([]),
            Tls::Machine => client,
            Tls::And(file) => client.tls_certs_merge(authorities(file).await?),
        };
        client.build().map_err(|error| {
            Error::Unreachable(format!(
                "HTTPS cannot be set up on this machine: {}; install its certificate authorities (`ca-certificates`), or name \
                 a PEM file of them: `ca = \"FILE\"` under `[registry.\"HOST\"]` in the host file",
                chain(&error)
            ))
        })
    }
}

/// Why a host is not asked.
fn offline(host: &str) -> Error {
    Error::Unreachable(format!(
        "`{host}` is not asked: `--offline`, or `offline = true` under `[artifacts]` in the host file, lets no request leave"
    ))
}

async fn authorities(file: &std::path::Path) -> Result<Vec<reqwest::Certificate>, Error> {
    let unread =
        |why: String| Error::Disk(format!("the certificate authorities in `{}` cannot be read: {why}", file.display()));
    let size = tokio::fs::metadata(file).await.map_err(|error| unread(error.to_string()))?.len();
    if size > MAX_DOCUMENT_BYTES {
        return Err(unread(format!("it is of {size} bytes, and at most {MAX_DOCUMENT_BYTES} are read")));
    }
    let pem = tokio::fs::read(file).await.map_err(|error| unread(error.to_string()))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(all) if all.is_empty() => Err(unread("it holds no certificate; write them as PEM".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(unread(chain(&error))),
    }
}

/// What a failed request is called. No URL's query and no header ends in it.
pub(super) fn failed(error: &reqwest::Error, url: &Url) -> Failure {
    let host = authority(url);
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Error::Invalid(format!("`{}` is not asked: {refused}; {}", shown(url), allow(url))).into();
        }
        if let Some(error) = tls_error(error) {
            return match error {
                rustls::Error::InvalidMessage(_) => Error::Unreachable(format!(
                    "`{host}` does not speak TLS; if it is meant to be plain HTTP, which anybody on the way can change, say so: \
                     `--insecure {host}`, or `[registry.\"{host}\"] insecure = true` in the host file"
                ))
                .into(),
                rustls::Error::InvalidCertificate(_) => Error::Unreachable(format!(
                    "the certificate of `{host}` is not believed: {}; if an authority of your own made it, name its file: \
                     `[registry.\"{host}\"] ca = \"FILE\"` in the host file",
                    clean(&error.to_string())
                ))
                .into(),
                _ => Failure::passing(format!("no TLS with `{host}`: {}", clean(&error.to_string()))),
            };
        }
        cause = error.source();
    }
    Failure::passing(match error {
        error if error.is_connect() => format!("`{host}` cannot be reached: {}", chain(error)),
        error => format!("the answer of `{host}` broke off: {}", chain(error)),
    })
}

/// rustls hands its errors up in an I/O error, which shows what is in it only if asked.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<std::io::Error>() {
        Some(outer) => tls_error(outer.get_ref()?),
        None => error.downcast_ref(),
    }
}

/// The causes of an error, without those that only repeat what comes after.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if let Some(last) = said.last_mut()
            && let Some(shorter) = last.strip_suffix(&text)
        {
            *last = shorter.trim_end_matches([' ', ':']).to_owned();
        }
        said.push(text);
        cause = error.source();
    }
    // The layer below only says which of its own parts it was.
    said.retain(|text| !text.is_empty() && !text.starts_with("client error ("));
    if said.is_empty() {
        said.push("no reason was given".to_owned());
    }
    clean(&said.join(": "))
}

fn in_words(time: Duration) -> String {
    samara_model::format_duration(time)
}
