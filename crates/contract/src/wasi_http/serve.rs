//! One HTTP exchange with a guest, streaming both ways.
//!
//! The reply is sent as soon as the guest has set its head; `serve` goes on until the guest has returned (0.2) or its
//! body has been read (0.3, where the store must be driven for the body to move).

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use http::{HeaderName, HeaderValue};
use samara_model::{BodyError, Call, Fault, HttpCall, Reply, route::EVERYTHING};
use samara_runtime::{After, Failure, Guest, Live, Ready, ReplyTo, instantiating, trace};
use tokio::sync::oneshot;
use wasmtime_wasi_http::{
    Error, WasiHttpView,
    p2::{
        bindings::{Proxy, ProxyPre, http::types::Scheme},
        body::HostOutgoingBody,
        types::HostResponseOutparam,
    },
    p3::{Request, bindings::ServicePre},
};

/// A 0.2 component.
pub(super) struct Release2(pub(super) ProxyPre<Guest>);
/// A 0.3 component.
pub(super) struct Release3(pub(super) ServicePre<Guest>);

#[async_trait]
impl Ready for Release2 {
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let request = request(call)?;
        let scheme = if request.uri().scheme() == Some(&http::uri::Scheme::HTTPS) { Scheme::Https } else { Scheme::Http };
        let Live { store, instance } = live;
        let line = request_line(&request);
        let request = store.data_mut().http().new_incoming_request(scheme, request)?;
        let (alive, read) = oneshot::channel::<()>();
        let respond = move |result: Result<http::Response<_>, _>| match result {
            Ok(response) => reply.send(Reply::Http(response.map(|body| Watched { body, _alive: alive }.boxed_unsync()))),
            Err(code) => reply.fail(Fault::Guest(format!("it answered with the error `{code:?}`"))),
        };
        let out = store.data_mut().http().new_response_outparam_from_callback(respond)?;
        let proxy = match instance.take().and_then(|kept| kept.downcast::<Proxy>().ok()) {
            Some(proxy) => *proxy,
            None => instantiating(self.0.instantiate_async(&mut *store)).await?,
        };
        trace::to_guest("wasi:http/incoming-handler@0.2#handle", format_args!("{line}"));
        proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await?;
        trace::from_guest(format_args!("()"));
        match left_over(store.data_mut()) {
            LeftOver::Nothing => {}
            LeftOver::Reply => return Err(Fault::Guest("it ended without a reply".into()).into()),
            // It may be the reply's, which then never ends: the deadline decides. Dropping the store instead would end the
            // stream as if it were whole.
            LeftOver::Body => {
                let _dropped = read.await;
                return Ok(After::Discard);
            }
        }
        *instance = Some(Box::new(proxy));
        Ok(After::Keep)
    }
}

#[async_trait]
impl Ready for Release3 {
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let request = request(call)?;
        let line = request_line(&request);
        let service = instantiating(self.0.instantiate_async(&mut live.store)).await?;
        let served = live.store.run_concurrent(async |store| -> Result<(), Failure> {
            let (request, written) = store.with(|mut access| {
                let (request, written) = Request::from_http(access.data_mut().http().hooks, request);
                // Boxed because its type would otherwise borrow the store.
                let written: Written = Box::pin(written);
                (request, written)
            });
            trace::to_guest("wasi:http/handler@0.3#handle", format_args!("{line}"));
            let response = match service.handle(store, request).await? {
                Ok(response) => response,
                Err(code) => return Err(Fault::Guest(format!("it answered with the error `{code:?}`")).into()),
            };
            trace::from_guest(format_args!("Ok(response)"));
            let (alive, read) = oneshot::channel::<()>();
            let response = store.with(|access| response.into_http(access, written))?;
            reply.send(Reply::Http(response.map(|body| Watched { body, _alive: alive }.boxed_unsync())));
            // The store must be driven until the body has been read or dropped.
            let _dropped = read.await;
            Ok(())
        });
        served.await.map_err(Failure::Engine)??;
        // Tasks of the guest may still be running in this store.
        Ok(After::Discard)
    }
}

/// What a trace says of a request; empty when nobody listens.
fn request_line<B>(request: &http::Request<B>) -> String {
    if trace::enabled() { format!("{} {}", request.method(), request.uri()) } else { String::new() }
}

/// What a guest that has returned did not finish.
enum LeftOver {
    Nothing,
    /// It still holds the place of its reply.
    Reply,
    /// It still holds a body that it was writing.
    Body,
}

fn left_over(guest: &mut Guest) -> LeftOver {
    let mut found = LeftOver::Nothing;
    for entry in guest.http().table.iter_mut() {
        let entry: &dyn std::any::Any = entry;
        if entry.is::<HostResponseOutparam>() {
            return LeftOver::Reply;
        }
        if entry.is::<HostOutgoingBody>() {
            found = LeftOver::Body;
        }
    }
    found
}

/// Resolves when the guest's body has been written, or failed to be.
type Written = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// The request with its body's errors in the guest's words.
fn request(call: Call) -> Result<http::Request<wasmtime_wasi_http::WasiBody>, Failure> {
    let Call::Http(mut call) = call else {
        return Err(Fault::Host("an HTTP contract was given another shape of call".into()).into());
    };
    tell_route(&mut call);
    Ok(call.request.map(|body| body.map_err(incoming_error).boxed_unsync()))
}

/// `wasi:http` has no place for what a route's parameters matched, so they are headers: `samara-route` has the pattern,
/// `samara-param-NAME` what `:NAME` or `*NAME` stands for, percent-encoded where a header could not carry it. What a
/// client sends under these names is removed, so that a guest may trust them. So are the subject, issuer and serial number
/// of a client's verified certificate, as `samara-client-NAME`.
fn tell_route(call: &mut HttpCall) {
    let headers = call.request.headers_mut();
    if headers.keys().any(is_ours) {
        let forged: Vec<_> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
    }
    if let Some(certificate) = &call.caller.certificate {
        for (name, value) in
            [("subject", &certificate.subject), ("issuer", &certificate.issuer), ("serial", &certificate.serial)]
        {
            let name = HeaderName::try_from(format!("{CLIENT}{name}"));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(header_text(value))) {
                headers.insert(name, value);
            }
        }
    }
    if call.params.is_empty() || &*call.route == EVERYTHING {
        return;
    }
    if let Ok(pattern) = HeaderValue::from_str(&call.route) {
        headers.insert(HeaderName::from_static(ROUTE), pattern);
    }
    for (name, value) in &call.params {
        let named = HeaderName::try_from(format!("{PARAM}{name}"));
        if let (Ok(name), Ok(value)) = (named, HeaderValue::try_from(header_text(value))) {
            headers.append(name, value);
        }
    }
}

const ROUTE: &str = "samara-route";
const PARAM: &str = "samara-param-";
const CLIENT: &str = "samara-client-";

fn is_ours(name: &HeaderName) -> bool {
    // One look at most names: few begin so.
    let name = name.as_str();
    name.starts_with("samara-") && (name == ROUTE || name.starts_with(PARAM) || name.starts_with(CLIENT))
}

/// A parameter as a header carries it: everything but visible ASCII is percent-encoded, and `%` too.
fn header_text(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    if value.bytes().all(plain) {
        return value.to_owned();
    }
    value.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn incoming_error(error: BodyError) -> Error {
    match error {
        BodyError::TooLarge { limit } => Error::HttpRequestBodySize(Some(limit)),
        BodyError::Idle { .. } => Error::ConnectionReadTimeout,
        BodyError::Closed(_) => Error::ConnectionTerminated,
        BodyError::Fault(fault) => Error::InternalError(Some(fault.public_message())),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn outgoing_error(error: Error) -> BodyError {
    BodyError::Fault(Fault::Guest(format!("its response body broke off: {error}")))
}

/// A body that tells, by being dropped, that nobody reads it any more.
struct Watched<B> {
    body: B,
    _alive: oneshot::Sender<()>,
}

impl<B> http_body::Body for Watched<B>
where
    B: http_body::Body<Data = Bytes, Error = Error> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(outgoing_error)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
