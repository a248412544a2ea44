//! Calls that guests lead to: a store that a workload serves, a request from one workload to another.
//!
//! Such a call knows what it is under, however it came here: the task of each guest carries it. It takes no second place in
//! its tenant's concurrency, and ends with the call that waits for it. What it takes of the pool is kept for calls as deep as
//! it is, so that calls that wait for others never hold all there is to run those (`pool.rs`).

use std::{fmt, sync::Arc};

use samara_model::{Fault, Limit, Tenant};

use crate::{Workload, error::limit};

/// Workloads that a message names of a chain that is too long.
const NAMED: usize = 3;

tokio::task_local! {
    /// The call that the guest of this task serves.
    static CALL: Arc<Link>;
}

/// How deep a call is: 0 if no guest led to it.
pub(crate) type Level = u32;

/// One call of a chain.
struct Link {
    workload: Arc<Workload>,
    level: Level,
    above: Option<Arc<Self>>,
}

impl Link {
    /// This one and those above it, innermost first.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |link| link.above.as_deref())
    }
}

/// A call's place among those it is under.
pub(crate) struct Nested(Arc<Link>);

impl Nested {
    /// The place of a call that is made now, by the guest of this task or from outside.
    ///
    /// # Errors
    /// The chain is too long.
    pub(crate) fn under(workload: &Arc<Workload>) -> Result<Self, Fault> {
        let above = CALL.try_with(Arc::clone).ok();
        let level = above.as_ref().map_or(0, |above| above.level + 1);
        if let Some(above) = above.as_ref().filter(|above| level > above.workload.limits().depth) {
            let names: Vec<_> = above.chain().take(NAMED).map(|link| link.workload.id.to_string()).collect();
            let chain = names.iter().rev().map(String::as_str).collect::<Vec<_>>().join("`, `");
            let depth = above.workload.limits().depth;
            return Err(limit(Limit::Depth, format!("{depth} nested calls: `{}` is called by `{chain}`", workload.id)));
        }
        Ok(Self(Arc::new(Link { workload: Arc::clone(workload), level, above })))
    }

    /// How deep it is.
    pub(crate) fn level(&self) -> Level {
        self.0.level
    }

    /// Whether a call of the same workload waits for this one: then this one may not wait for that.
    pub(crate) fn is_again(&self) -> bool {
        self.0.chain().skip(1).any(|link| link.workload.id == self.0.workload.id)
    }

    /// Whether a call of this tenant waits for this one.
    pub(crate) fn is_within(&self, tenant: &Tenant) -> bool {
        self.0.chain().skip(1).any(|link| link.workload.id.tenant == *tenant)
    }

    /// What the call's guest does: calls that it leads to are under this one.
    pub(crate) fn over<F: Future>(self, guest: F) -> impl Future<Output = F::Output> {
        CALL.scope(self.0, guest)
    }
}

impl fmt::Debug for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.chain().map(|link| &link.workload.id)).finish()
    }
}

/// The call that the guest of this task serves, for what goes on in another task and leads to calls all the same.
pub(crate) struct Within(Option<Arc<Link>>);

impl Within {
    /// The call that is served here, if one is.
    pub(crate) fn current() -> Self {
        Self(CALL.try_with(Arc::clone).ok())
    }

    /// What goes on elsewhere: calls that it leads to are under that call.
    pub(crate) async fn over<F: Future>(self, task: F) -> F::Output {
        match self.0 {
            Some(link) => CALL.scope(link, task).await,
            None => task.await,
        }
    }
}
