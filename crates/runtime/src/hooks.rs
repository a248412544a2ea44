//! Outgoing `wasi:http` requests: every one goes through the workload's egress, which checks the grant.

use std::sync::Arc;

use http_body_util::BodyExt;
use samara_capability::http::{EgressError, Timeouts};
use samara_model::BodyError;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::authority::Authority;

/// What a workload leaves to be checked when its guest sends a request.
#[derive(Debug)]
pub(crate) struct Hooks {
    authority: Arc<Authority>,
}

impl Hooks {
    pub(crate) fn new(authority: Arc<Authority>) -> Self {
        Self { authority }
    }
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _written: Io,
    ) -> Sent {
        let egress = Arc::clone(self.authority.egress());
        let options = options.unwrap_or_default();
        let timeouts = Timeouts {
            connect: options.connect_timeout,
            first_byte: options.first_byte_timeout,
            between_bytes: options.between_bytes_timeout,
        };
        let request = request.map(|body| body.map_err(|error| BodyError::Closed(error.to_string())).boxed_unsync());
        Box::new(async move {
            let response = egress.send(request, timeouts).await.map_err(error_code)?;
            let response =
                response.map(|body| body.map_err(|error| Error::InternalError(Some(error.to_string()))).boxed_unsync());
            Ok((response, Box::new(async { Ok(()) }) as Io))
        })
    }
}

/// The egress's errors are one to one those of `wasi:http`.
fn error_code(error: EgressError) -> Error {
    match error {
        EgressError::Denied { .. } => Error::HttpRequestDenied,
        EgressError::AddressProhibited { .. } => Error::DestinationIpProhibited,
        other => Error::InternalError(Some(other.to_string())),
    }
}
