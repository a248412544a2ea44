//! A loaded workload as what a route leads to.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use samara_model::{Call, Fault, Limits, Reply, Shape, WorkloadId};
use samara_runtime::{Runtime, Workload};

use super::Target;

/// A workload, and the runtime that calls it.
#[derive(Clone, Debug)]
pub struct Served {
    /// The runtime.
    pub runtime: Arc<Runtime>,
    /// The workload.
    pub workload: Arc<Workload>,
}

impl Target for Served {
    fn id(&self) -> &WorkloadId {
        &self.workload.id
    }

    fn shape(&self) -> Shape {
        self.workload.shape
    }

    fn limits(&self) -> &Limits {
        self.workload.limits()
    }

    fn answer(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let Self { runtime, workload } = self.clone();
        async move { runtime.call(&workload, call).await }.boxed()
    }
}
