//! Requests of components of Spin SDK 1, and of the modules before it: `fermyon:spin/http`, request and response as values.
//! Later SDKs have `wasi:http`.

use std::sync::Arc;

use samara_bindings::spin1::{
    self,
    http_types::{HttpError, Method, Request, Response},
};
use samara_capability::http::{EgressError, Timeouts};
use samara_model::{collect, full};
use samara_runtime::Guest;
use wasmtime::component::Linker;

use crate::world::view::{View, Views, view};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    spin1::http_types::add_to_linker::<_, Views>(linker, view)?;
    spin1::http::add_to_linker::<_, Views>(linker, view)
}

impl spin1::http_types::Host for View<'_> {}

impl spin1::http::Host for View<'_> {
    async fn send_request(&mut self, asked: Request) -> wasmtime::Result<Result<Response, HttpError>> {
        let authority = Arc::clone(self.0.authority());
        let request = match request(asked) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error)),
        };
        let (head, body) = match authority.egress().send(request, Timeouts::default()).await {
            Ok(response) => response.into_parts(),
            Err(error) => return Ok(Err(error_code(&error))),
        };
        let Ok(body) = collect(body, authority.limits.request_body_bytes).await else {
            return Ok(Err(HttpError::RuntimeError));
        };
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        Ok(Ok(Response { status: head.status.as_u16(), headers: Some(headers.collect()), body: Some(body.into()) }))
    }
}

fn request(asked: Request) -> Result<http::Request<samara_model::Body>, HttpError> {
    let Request { method, uri, headers, params, body } = asked;
    let mut uri: url::Url = uri.parse().map_err(|_| HttpError::InvalidUrl)?;
    if !params.is_empty() {
        uri.query_pairs_mut().extend_pairs(params);
    }
    let method = match method {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Delete => http::Method::DELETE,
        Method::Patch => http::Method::PATCH,
        Method::Head => http::Method::HEAD,
        Method::Options => http::Method::OPTIONS,
    };
    // Where a browser would say what is behind the `#`, nobody is told.
    uri.set_fragment(None);
    let mut request = http::Request::builder().method(method).uri(uri.as_str());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(full(body.unwrap_or_default())).map_err(|_| HttpError::InvalidUrl)
}

fn error_code(error: &EgressError) -> HttpError {
    match error {
        EgressError::Denied { .. } | EgressError::HeaderDenied { .. } | EgressError::AddressProhibited { .. } => {
            HttpError::DestinationNotAllowed
        }
        EgressError::UriInvalid(_) => HttpError::InvalidUrl,
        EgressError::ConnectionLimit(_) => HttpError::TooManyRequests,
        EgressError::Internal(why) => {
            tracing::error!("outgoing request: {why}");
            HttpError::RuntimeError
        }
        _ => HttpError::RequestError,
    }
}
