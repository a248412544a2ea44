//! Outgoing `wasi:http` requests: every one goes through the workload's egress, which checks the grant.

use std::sync::Arc;

use http_body_util::BodyExt;
use samara_capability::http::{EgressError, Timeouts};
use samara_model::BodyError;
use samara_telemetry::Watch;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::{authority::Authority, nesting::Within};

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
        // The engine polls the answer in a task of its own.
        let (watch, within) = (Watch::current(), Within::current());
        Box::new(async move {
            let sent = within.over(egress.send(request, timeouts));
            let response = if watch.is_on() { watch.over(sent).await } else { sent.await }.map_err(error_code)?;
            let response =
                response.map(|body| body.map_err(|error| Error::InternalError(Some(error.to_string()))).boxed_unsync());
            Ok((response, Box::new(async { Ok(()) }) as Io))
        })
    }
}

/// The egress's errors are one to one those of `wasi:http`.
fn error_code(error: EgressError) -> Error {
    let header_bytes = |bytes: u64| Some(u32::try_from(bytes).unwrap_or(u32::MAX));
    match error {
        EgressError::Denied { .. } | EgressError::HeaderDenied { .. } => Error::HttpRequestDenied,
        EgressError::AddressProhibited { .. } => Error::DestinationIpProhibited,
        EgressError::UriInvalid(_) => Error::HttpRequestUriInvalid,
        EgressError::MethodInvalid(_) => Error::HttpRequestMethodInvalid,
        EgressError::RequestBodySize => Error::HttpRequestBodySize(None),
        EgressError::RequestHeaderSize { bytes, .. } => Error::HttpRequestHeaderSectionSize(header_bytes(bytes)),
        EgressError::DnsTimeout(_) => Error::DnsTimeout,
        // What a resolver says may name the operator's network: the guest learns only that it failed.
        EgressError::Dns { .. } => Error::DnsError { rcode: None, info_code: None },
        EgressError::NotFound(_) => Error::DestinationNotFound,
        EgressError::Unroutable(_) => Error::DestinationIpUnroutable,
        EgressError::Unavailable(_) => Error::DestinationUnavailable,
        EgressError::ConnectionRefused => Error::ConnectionRefused,
        EgressError::ConnectionTimeout => Error::ConnectionTimeout,
        EgressError::ConnectionTerminated(_) => Error::ConnectionTerminated,
        EgressError::ConnectionLimit(_) => Error::ConnectionLimitReached,
        EgressError::TlsProtocol(_) => Error::TlsProtocolError,
        EgressError::TlsCertificate(_) => Error::TlsCertificateError,
        EgressError::TlsAlert { id, message } => {
            Error::TlsAlertReceived { alert_id: Some(id), alert_message: Some(message) }
        }
        EgressError::ResponseTimeout => Error::HttpResponseTimeout,
        EgressError::ResponseHeaderSize { bytes, .. } => Error::HttpResponseHeaderSectionSize(header_bytes(bytes)),
        EgressError::ResponseIncomplete => Error::HttpResponseIncomplete,
        EgressError::UpgradeFailed => Error::HttpUpgradeFailed,
        EgressError::RequestBody(_) | EgressError::Protocol(_) => Error::HttpProtocolError,
        EgressError::Internal(why) => {
            tracing::error!("outgoing request: {why}");
            Error::InternalError(None)
        }
    }
}
