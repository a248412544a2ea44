//! A folder as a workload: its files over HTTP.
//!
//! Four steps, a file each: `path` says which file a request means, `find` opens it beneath the folder, `condition` decides
//! what of it is to be sent (RFC 9110, sections 13 and 14), `send` reads it. Everything that may wait for a disk runs on
//! blocking threads, as many at once as the workload's `concurrency` allows.
//!
//! A file is opened once and everything is said of what was opened, so that a file that is replaced meanwhile is sent as it
//! was, to its end; one that is changed in place never looks whole. A folder of its own accord shows nothing but regular
//! files: no listing, no dotfiles, no device, no pipe, nothing that a link leads to outside.
//!
//! Deliberately absent: several ranges in one answer (the whole file is one that RFC 9110 allows, and overlapping ranges
//! were an attack), compression while sending, listings.

mod condition;
mod encoding;
mod find;
mod path;
mod root;
mod send;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{FutureExt as _, future::BoxFuture};
use headers::{AcceptRanges, HeaderMapExt as _};
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri,
    header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, VARY, X_CONTENT_TYPE_OPTIONS},
};
use samara_model::{Body, Call, Fault, HttpCall, Limits, Reply, Shape, WorkloadId, manifest::Folder as Settings};
use samara_runtime::TenantAccount;
use samara_telemetry::{Outcome, WorkloadMetrics};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Target;
use condition::Part;
use find::{Found, Opened};
use root::Root;
use send::Sending;

/// How long a client that finds the queue full is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Without a word from the manifest a cache asks again each time, which costs a 304: a page is never stale.
const CACHE_CONTROL_DEFAULT: HeaderValue = HeaderValue::from_static("no-cache");

/// A folder that is served.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Inner>);

struct Inner {
    id: WorkloadId,
    limits: Limits,
    settings: Settings,
    root: Root,
    metrics: Arc<WorkloadMetrics>,
    tenant: Option<Arc<TenantAccount>>,
    /// A permit for each request that has a file open.
    open: Arc<Semaphore>,
    queued: AtomicU32,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("id", &self.id).field("path", &self.settings.path).finish_non_exhaustive()
    }
}

impl Folder {
    /// Opens a folder. Requests are booked on the tenant's account, if there is one.
    ///
    /// # Errors
    /// It is not a folder, or must not be opened.
    pub fn open(
        id: WorkloadId,
        settings: Settings,
        limits: Limits,
        metrics: Arc<WorkloadMetrics>,
        tenant: Option<Arc<TenantAccount>>,
    ) -> anyhow::Result<Self> {
        let place = || format!("opening the folder `{}`", settings.path.display());
        let root = Root::open(settings.path.clone()).with_context(place)?;
        let permits = usize::try_from(limits.concurrency).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        let open = Arc::new(Semaphore::new(permits));
        Ok(Self(Arc::new(Inner { id, limits, settings, root, metrics, tenant, open, queued: AtomicU32::new(0) })))
    }

    /// Requests that have a file open.
    pub fn in_flight(&self) -> u32 {
        let left = u32::try_from(self.0.open.available_permits()).unwrap_or(u32::MAX);
        self.0.limits.concurrency.saturating_sub(left)
    }
}

impl Target for Folder {
    fn id(&self) -> &WorkloadId {
        &self.0.id
    }

    fn shape(&self) -> Shape {
        Shape::Http
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn answer(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let folder = Arc::clone(&self.0);
        async move {
            let Call::Http(call) = call else {
                return Err(Fault::Host("a folder was given another shape of call".into()));
            };
            folder.answer(call).await.map(Reply::Http)
        }
        .boxed()
    }
}

/// What a request asks of a file: everything that the blocking part needs.
struct Asked {
    method: Method,
    headers: HeaderMap,
    path: path::Requested,
    uri: Uri,
}

impl Inner {
    async fn answer(self: Arc<Self>, call: HttpCall) -> Result<Response<Body>, Fault> {
        let began = Instant::now();
        let admitted = self.admit().await.inspect_err(|fault| {
            self.metrics.refused(&outcome(fault.label(), began));
        })?;
        let mut account = Account { metrics: Arc::clone(&self.metrics), began, ended: false };
        account.metrics.started();
        let (parts, _body) = call.request.into_parts();
        let answered = match path::requested(parts.uri.path(), &call.route, self.settings.dotfiles) {
            _ if !matches!(parts.method, Method::GET | Method::HEAD) => Ok(Prepared::done(only_read())),
            None => self.clone().blocking(move |folder| folder.missing()).await,
            Some(path) => {
                let asked = Asked { method: parts.method, headers: parts.headers, path, uri: parts.uri };
                self.clone().blocking(move |folder| folder.prepare(&asked)).await
            }
        };
        let Prepared { response, rest } = answered.inspect_err(|fault| account.end(fault.label()))?;
        Ok(match rest {
            None => {
                account.end(if response.status().is_client_error() { "caller" } else { "ok" });
                response.map(samara_model::full)
            }
            Some(sending) => response.map(|_| sending.body(account, admitted)),
        })
    }

    /// Waits for this request's turn to open a file.
    async fn admit(&self) -> Result<Admitted, Fault> {
        let tenant = self.tenant.as_ref().map(|tenant| tenant.admit()).transpose()?.flatten();
        if let Ok(permit) = Arc::clone(&self.open).try_acquire_owned() {
            return Ok(Admitted { _open: permit, _tenant: tenant });
        }
        let place = |waiting: u32| Some(waiting + 1).filter(|waiting| *waiting <= self.limits.queue);
        if self.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, place).is_err() {
            let why = format!("workload `{}`: its queue of {} is full", self.id, self.limits.queue);
            return Err(Fault::Busy { why, retry_after: RETRY_AFTER, quota: false });
        }
        self.metrics.queued();
        let _place = Queued { folder: self, since: Instant::now() };
        let permit = Arc::clone(&self.open).acquire_owned().await;
        let permit = permit.map_err(|_| Fault::Host("the folder's semaphore is closed".into()))?;
        Ok(Admitted { _open: permit, _tenant: tenant })
    }

    /// Runs what may wait for a disk.
    async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let worked = tokio::task::spawn_blocking(move || work(&self)).await;
        worked.map_err(|error| Fault::Host(format!("reading a file: {error}")))?
    }

    /// The answer to a request: its head, and its body or what the body is read from.
    fn prepare(&self, asked: &Asked) -> Result<Prepared, Fault> {
        let encodings = encoding::accepted(&asked.headers);
        let found = find::find(&self.root.dir(), &asked.path, &encodings).map_err(|error| self.failed(&error))?;
        match found {
            Found::File(opened) => self.file(asked, *opened),
            Found::Folder => Ok(Prepared::done(with_slash(&asked.uri))),
            Found::Nothing => self.missing(),
        }
    }

    /// A file, or what of it is wanted.
    fn file(&self, asked: &Asked, opened: Opened) -> Result<Prepared, Fault> {
        let part = condition::judge(&asked.method, &asked.headers, &opened.validators, opened.length);
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.typed_insert(opened.validators.etag.clone());
        headers.typed_insert(headers::LastModified::from(opened.validators.modified));
        let cache = self.settings.cache_control.clone().unwrap_or(CACHE_CONTROL_DEFAULT);
        headers.insert(CACHE_CONTROL, cache);
        self.plain_headers(headers);
        if opened.varies {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        let (first, length) = match part {
            Part::NotModified => return Ok(Prepared::head(response, StatusCode::NOT_MODIFIED)),
            Part::Failed => return Ok(Prepared::head(response, StatusCode::PRECONDITION_FAILED)),
            Part::Nothing => {
                headers.typed_insert(headers::ContentRange::unsatisfied_bytes(opened.length));
                return Ok(Prepared::head(response, StatusCode::RANGE_NOT_SATISFIABLE));
            }
            Part::Whole => (0, opened.length),
            Part::Range { first, last } => {
                if let Ok(range) = headers::ContentRange::bytes(first..=last, opened.length) {
                    headers.typed_insert(range);
                }
                (first, last - first + 1)
            }
        };
        headers.typed_insert(AcceptRanges::bytes());
        headers.typed_insert(headers::ContentLength(length));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(opened.content_type));
        if let Some(encoding) = opened.encoding {
            headers.insert(CONTENT_ENCODING, encoding.value());
        }
        if matches!(part, Part::Range { .. }) {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        self.with_body(response, asked.method == Method::HEAD, opened, first, length)
    }

    /// The page for what is not there, if the folder has one.
    fn missing(&self) -> Result<Prepared, Fault> {
        let nothing = || Fault::Caller { status: 404, message: "nothing is served here".into() };
        let found = find::open_page(&self.root.dir(), &self.settings.not_found).map_err(|error| self.failed(&error))?;
        let opened = found.ok_or_else(nothing)?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::NOT_FOUND;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, CACHE_CONTROL_DEFAULT);
        self.plain_headers(headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(opened.content_type));
        let length = opened.length;
        headers.typed_insert(headers::ContentLength(length));
        self.with_body(response, false, opened, 0, length)
    }

    /// What every file is sent with: no guessing of types, and what the manifest says, which may take that back.
    fn plain_headers(&self, headers: &mut HeaderMap) {
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (name, value) in &self.settings.headers {
            headers.insert(name, value.clone());
        }
    }

    /// Small files are read at once, and need neither a permit nor a descriptor afterwards.
    fn with_body(
        &self,
        response: Response<()>,
        head_only: bool,
        opened: Opened,
        first: u64,
        length: u64,
    ) -> Result<Prepared, Fault> {
        if head_only || length == 0 {
            return Ok(Prepared { response: response.map(|()| bytes::Bytes::new()), rest: None });
        }
        let mut sending = Sending::new(opened, first, length).map_err(|error| self.failed(&error))?;
        if length > send::CHUNK_BYTES {
            return Ok(Prepared { response: response.map(|()| bytes::Bytes::new()), rest: Some(sending) });
        }
        let whole = sending.next_chunk().map_err(|error| self.failed(&error))?;
        Ok(Prepared { response: response.map(|()| whole), rest: None })
    }

    fn failed(&self, error: &std::io::Error) -> Fault {
        Fault::Host(format!("workload `{}` cannot read a file: {error}", self.id))
    }
}

/// What a request holds as long as it has a file open: its place among the folder's, and its part of the tenant's quota.
#[derive(Debug)]
struct Admitted {
    _open: OwnedSemaphorePermit,
    _tenant: Option<OwnedSemaphorePermit>,
}

/// A place in the queue, given up when the wait ends, however it ends.
struct Queued<'a> {
    folder: &'a Inner,
    since: Instant,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.folder.queued.fetch_sub(1, Ordering::AcqRel);
        self.folder.metrics.dequeued(self.since.elapsed());
    }
}

/// An answer whose body is here, or is to be read.
struct Prepared {
    response: Response<bytes::Bytes>,
    rest: Option<Sending>,
}

impl Prepared {
    fn done(response: Response<bytes::Bytes>) -> Self {
        Self { response, rest: None }
    }

    fn head(response: Response<()>, status: StatusCode) -> Self {
        let mut response = response.map(|()| bytes::Bytes::new());
        *response.status_mut() = status;
        Self { response, rest: None }
    }
}

fn only_read() -> Response<bytes::Bytes> {
    let mut response = Response::new(bytes::Bytes::from_static(b"files are only read here; use GET, HEAD\n"));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Sends a client to the folder of this name, so that its page's relative links work.
///
/// The location is relative (RFC 3986, 4.2) to what was asked: no host is repeated that a client made up, and no path that
/// begins with two slashes is read as a host.
fn with_slash(uri: &Uri) -> Response<bytes::Bytes> {
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(bytes::Bytes::new());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    // It came as part of a URI, so it is a header's value.
    if let Ok(location) = HeaderValue::try_from(format!("./{name}/{query}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Books a request exactly once, also when its client leaves half-way.
struct Account {
    metrics: Arc<WorkloadMetrics>,
    began: Instant,
    ended: bool,
}

impl Account {
    fn end(&mut self, label: &'static str) {
        if !std::mem::replace(&mut self.ended, true) {
            self.metrics.ended(&outcome(label, self.began));
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.end("cancelled");
    }
}

fn outcome(label: &'static str, began: Instant) -> Outcome {
    Outcome { label, latency: began.elapsed(), cpu: Duration::ZERO, memory_bytes: 0 }
}
