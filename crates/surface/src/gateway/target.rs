//! What a route leads to.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use samara_model::{Call, Fault, Limits, Reply, Shape, WorkloadId};

/// Something that answers calls: a loaded workload, and whatever else may stand behind a route.
pub trait Target: Send + Sync + fmt::Debug {
    /// Its name, for logs.
    fn id(&self) -> &WorkloadId;
    /// The shape of the calls it answers: the gateway adapts requests to it.
    fn shape(&self) -> Shape;
    /// What bounds it.
    fn limits(&self) -> &Limits;
    /// Answers a call. Called once a request; dropping the future, or the reply's body before its end, gives the call up.
    ///
    /// # Errors
    /// The fault says whose fault it is that there is no reply.
    fn answer(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>>;
}

/// Where a route leads, and how.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Who answers.
    pub target: Arc<dyn Target>,
    /// The function to call, when the path does not say it.
    pub operation: Option<Arc<str>>,
    /// The first arguments of a command.
    pub args: Arc<[String]>,
}

impl Destination {
    /// A destination whose path says the rest.
    pub fn new(target: Arc<dyn Target>) -> Self {
        Self { target, operation: None, args: Arc::default() }
    }
}
