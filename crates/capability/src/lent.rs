//! What every store that is lent to a workload has in common: one place where an operation is allowed or refused, told to
//! whoever listens, and made a span of the call.
//!
//! A capability's own wrapper (`kv::Granted` and its siblings) knows its grant and its limits; it asks [`Lent::told`] to do
//! the rest, so that no capability has accounting of its own.

use std::{borrow::Borrow, fmt, sync::Arc, time::Instant};

use samara_model::Capability;
use samara_telemetry::{Span, client_span};

use crate::{Denial, Recorder};

/// One thing a guest may do with a store: its name in grants and metrics, and the name of its span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The word that grants, logs and metrics use: `get`.
    pub name: &'static str,
    /// The name of its span: `kv get`.
    pub span: &'static str,
}

/// A store under the name its manifest gives it, as one workload sees it.
#[derive(Clone, Debug)]
pub struct Lent {
    capability: Capability,
    store: Arc<str>,
    recorder: Arc<dyn Recorder>,
}

impl Lent {
    /// A store of a capability, and who is told what happens to it.
    pub fn new(capability: Capability, store: Arc<str>, recorder: Arc<dyn Recorder>) -> Self {
        Self { capability, store, recorder }
    }

    /// The name the manifest gives the store.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Notes that a workload does something it is granted.
    pub fn used(&self, operation: Operation) {
        self.recorder.used(self.capability, &self.store, operation.name);
    }

    /// Records that a workload may not do something, and gives the denial to answer with. `grant` is what would allow it, as
    /// a manifest writes it.
    pub fn refused(&self, what: String, grant: String) -> Denial {
        let denial = Denial { capability: self.capability, what, grant };
        self.recorder.denied(&denial);
        denial
    }

    /// Does an operation that was checked: as a span of the call, counted when it ends. `allowed` is the answer of the check;
    /// if it is an error, `work` is dropped without having been started. Work that is abandoned half-way counts as failed.
    ///
    /// # Errors
    /// Those of the check and of the work.
    pub async fn told<T, E: fmt::Display>(
        &self,
        operation: Operation,
        allowed: Result<(), E>,
        work: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let span = self.span(operation);
        let done = match allowed {
            Ok(()) => {
                let mut counting = Counting { lent: self, operation, since: Instant::now(), failed: true };
                let done = work.await;
                counting.failed = done.is_err();
                done
            }
            Err(refused) => Err(refused),
        };
        if let (true, Err(error)) = (span.is_on(), &done) {
            span.failed(&error.to_string());
        }
        done
    }

    /// Begins an operation that was checked and goes on after the call that began it, such as an upload. It is counted when
    /// what this gives is dropped.
    pub fn begin(&self, operation: Operation) -> Begun {
        Begun(Counting { lent: self.clone(), operation, since: Instant::now(), failed: true })
    }

    /// The span of an operation, for work that answers with more than one result.
    pub fn span(&self, operation: Operation) -> Span {
        let span = client_span(operation.span);
        span.set("db.operation.name", operation.name);
        span.set_text("db.collection.name", &self.store);
        span
    }
}

/// Counts an operation when it ends, however it ends: as failed, unless it [succeeded](Self::succeeded).
#[derive(Debug)]
pub struct Begun(Counting<Lent>);

impl Begun {
    /// Counts the operation as one that did what was asked.
    pub fn succeeded(mut self) {
        self.0.failed = false;
    }
}

/// An operation that is counted when this is dropped.
#[derive(Debug)]
struct Counting<L: Borrow<Lent>> {
    lent: L,
    operation: Operation,
    since: Instant,
    failed: bool,
}

impl<L: Borrow<Lent>> Drop for Counting<L> {
    fn drop(&mut self) {
        let Self { lent, operation, since, failed } = self;
        let lent: &Lent = (*lent).borrow();
        lent.recorder.finished(lent.capability, &lent.store, operation.name, since.elapsed(), *failed);
    }
}
