//! One request from its first byte to the last thing its guest does, for whoever asked to see requests one by one.
//!
//! An [`Observer`] is made at start if the operator asked for one. The surface tells it of each [`Request`] and keeps the
//! [`Watched`] it gets; what runs on the request's behalf finds the same call as [`Watch::current`], wherever it is, and
//! adds what it knows. When the last of them is gone the call is told as one line of the access log.
//!
//! Without an observer all of this is a load of a static that says so.

mod access;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{Method, Uri, Version, uri::Authority};
use parking_lot::Mutex;
use samara_model::WorkloadId;

pub use access::{AccessFormat, AccessFormatError, AccessLog, Entry};

/// Whether there has been an observer in this process: what everybody asks first.
static ANY: AtomicBool = AtomicBool::new(false);

tokio::task_local! {
    static CURRENT: Watch;
}

/// Sees requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Observer {
    access: AccessLog,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Its method.
    pub method: Method,
    /// Its target, in whichever form it came.
    pub uri: Uri,
    /// Its `host` header, for targets that do not name one.
    pub host: Option<http::HeaderValue>,
    /// The protocol it came by.
    pub version: Version,
}

impl Observer {
    /// An observer that tells of every request here.
    pub fn new(access: AccessLog) -> Self {
        ANY.store(true, Relaxed);
        Self { access }
    }

    /// A request has come.
    pub fn request(&self, request: Request) -> Watched {
        let Request { peer, method, uri, host, version } = request;
        let host = match uri.authority().map(Authority::as_str) {
            Some(host) => host.to_owned(),
            None => host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()).unwrap_or_default(),
        };
        let entry = Entry {
            time: SystemTime::now(),
            peer,
            method,
            host,
            path: uri.path().to_owned(),
            version,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            cpu: Duration::ZERO,
            workload: None,
            outcome: None,
        };
        let call = Call { access: self.access.clone(), entry: Mutex::new(Some(entry)) };
        Watched { watch: Watch(Some(Arc::new(call))), began: Instant::now(), whole: false }
    }

    /// Writes what is left, within `patience`. What is told after this is dropped.
    pub fn finish(&self, patience: Duration) {
        self.access.finish(patience);
    }
}

/// A call that is watched. Told when the last one who watches it is gone.
struct Call {
    access: AccessLog,
    /// Taken once, at the end.
    entry: Mutex<Option<Entry>>,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.get_mut().take() {
            self.access.tell(entry);
        }
    }
}

/// The call that is being served, if it is watched. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watch(Option<Arc<Call>>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0.is_some()).finish()
    }
}

impl Watch {
    /// The call on whose behalf this runs.
    pub fn current() -> Self {
        if !ANY.load(Relaxed) {
            return Self(None);
        }
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Whether anybody watches.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The same work, on this call's behalf.
    pub fn over<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), work)
    }

    /// Bytes of the request's body were read.
    pub fn received(&self, bytes: usize) {
        self.note(|entry| entry.bytes_in = entry.bytes_in.saturating_add(bytes as u64));
    }

    /// The workload that answers it.
    pub fn answered_by(&self, workload: &WorkloadId) {
        self.note(|entry| entry.workload = Some(workload.clone()));
    }

    /// The guest has ended: how (`"ok"`, `Fault::label()`, `"cancelled"`), and the time it ran.
    pub fn ended(&self, outcome: &'static str, cpu: Duration) {
        self.note(|entry| {
            entry.cpu = cpu;
            entry.outcome.get_or_insert(outcome);
        });
    }

    fn note(&self, note: impl FnOnce(&mut Entry)) {
        if let Some(call) = &self.0
            && let Some(entry) = &mut *call.entry.lock()
        {
            note(entry);
        }
    }
}

/// The surface's end of a watched call: it ends when this is dropped.
#[derive(Debug)]
pub struct Watched {
    watch: Watch,
    began: Instant,
    whole: bool,
}

impl Watched {
    /// The call.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The response's head: its status, and whose fault it is if it is not the workload's own.
    pub fn replied(&self, status: u16, fault: Option<&'static str>) {
        self.watch.note(|entry| {
            entry.status = status;
            // What the surface found comes after what the guest's end said.
            entry.outcome = fault.or(entry.outcome);
        });
    }

    /// Bytes of the response's body were handed on.
    pub fn sent(&self, bytes: usize) {
        self.watch.note(|entry| entry.bytes_out = entry.bytes_out.saturating_add(bytes as u64));
    }

    /// The response was handed on to its end.
    pub fn completed(&mut self) {
        self.whole = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let (duration, whole) = (self.began.elapsed(), self.whole);
        self.watch.note(|entry| {
            entry.duration = duration;
            if !whole {
                entry.outcome.get_or_insert("cancelled");
            }
        });
    }
}
