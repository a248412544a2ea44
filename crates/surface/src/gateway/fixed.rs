//! A route that is answered without a workload: the reply its manifest writes.

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use http::Response;
use samara_model::{Call, Fault, Limits, Reply, Shape, WorkloadId, full, manifest::FixedReply};
use samara_runtime::TenantAccount;

use super::Target;

/// A reply that is always the same. Its requests count in the tenant's quota as any.
#[derive(Debug)]
pub struct Fixed {
    id: WorkloadId,
    reply: FixedReply,
    limits: Limits,
    tenant: Arc<TenantAccount>,
}

impl Fixed {
    /// The reply of one route, under a name for logs.
    pub fn new(id: WorkloadId, reply: FixedReply, limits: Limits, tenant: Arc<TenantAccount>) -> Self {
        Self { id, reply, limits, tenant }
    }

    fn reply(&self) -> Result<Reply, Fault> {
        let _admitted = self.tenant.admit()?;
        let FixedReply { status, headers, body } = &self.reply;
        let mut response = Response::new(full(body.clone()));
        *response.status_mut() = *status;
        for (name, value) in headers {
            response.headers_mut().append(name, value.clone());
        }
        Ok(Reply::Http(response))
    }
}

impl Target for Fixed {
    fn id(&self) -> &WorkloadId {
        &self.id
    }

    fn shape(&self) -> Shape {
        Shape::Http
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn answer(&self, _: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        let reply = self.reply();
        async move { reply }.boxed()
    }
}
