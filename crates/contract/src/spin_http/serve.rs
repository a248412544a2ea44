//! One HTTP exchange as two values.

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request::Parts};
use samara_bindings::spin1::{
    http_trigger::{HttpTrigger, HttpTriggerPre},
    http_types::{Method, Request, Response},
};
use samara_model::{Call, Fault, HttpCall, Reply, collect, full};
use samara_runtime::{After, Failure, Guest, Live, Ready, ReplyTo, instantiating, trace};

/// How the headers begin in which Spin tells of its route.
const OURS: &str = "spin-";

/// A guest of `fermyon:spin`.
pub(super) struct Handler(pub(super) HttpTriggerPre<Guest>);

#[async_trait]
impl Ready for Handler {
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let Call::Http(HttpCall { request, caller, route, params }) = call else {
            return Err(Fault::Host("an HTTP contract was given another shape of call".into()).into());
        };
        let (parts, body) = request.into_parts();
        let method = method(&parts.method)?;
        let body = collect(body, live.store.data().authority().limits.request_body_bytes).await?;
        let peer = caller.peer.map(|peer| peer.to_string());
        let rest = params.iter().find(|(name, _)| ends_with(&route, name)).map(|(_, rest)| rest.as_str());
        let request = Request {
            method,
            uri: parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            headers: headers(&parts, &route, rest, peer.as_deref()),
            params: query(&parts),
            body: (!body.is_empty()).then(|| body.into()),
        };
        let Live { store, instance } = live;
        let trigger = match instance.take().and_then(|kept| kept.downcast::<HttpTrigger>().ok()) {
            Some(trigger) => *trigger,
            None => instantiating(self.0.instantiate_async(&mut *store)).await?,
        };
        trace::to_guest("fermyon:spin/inbound-http#handle-request", format_args!("{} {}", parts.method, parts.uri));
        let answered = trigger.fermyon_spin_inbound_http().call_handle_request(&mut *store, &request).await?;
        trace::from_guest(format_args!("{}", answered.status));
        reply.send(Reply::Http(response(answered)?));
        *instance = Some(Box::new(trigger));
        Ok(After::Keep)
    }
}

fn method(method: &http::Method) -> Result<Method, Fault> {
    Ok(match method.as_str() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        _ => {
            let message = "use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS: its interface has no other".to_owned();
            return Err(Fault::Caller { status: 405, message });
        }
    })
}

/// Whether a parameter stands for the rest of the path.
fn ends_with(route: &str, name: &str) -> bool {
    route.strip_suffix(name).is_some_and(|before| before.ends_with("/*"))
}

/// What a client sends, and what Spin says of the route: `spin-full-url`, `spin-path-info` (the path behind the route's),
/// `spin-matched-route`, `spin-client-addr`. What a client sends under such names is left out, so that a guest may trust them.
fn headers(parts: &Parts, route: &str, rest: Option<&str>, peer: Option<&str>) -> Vec<(String, String)> {
    let theirs = parts.headers.iter().filter(|(name, _)| !name.as_str().starts_with(OURS));
    // The interface has text: what is none is as near to it as may be.
    let theirs = theirs.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let ours = [
        ("full-url", Some(parts.uri.to_string())),
        ("path-info", Some(rest.map(|rest| format!("/{rest}")).unwrap_or_default())),
        ("matched-route", Some(route.to_owned())),
        ("client-addr", peer.map(str::to_owned)),
    ];
    let ours = ours.into_iter().filter_map(|(name, value)| Some((format!("{OURS}{name}"), value?)));
    theirs.chain(ours).collect()
}

fn query(parts: &Parts) -> Vec<(String, String)> {
    let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn response(answered: Response) -> Result<http::Response<samara_model::Body>, Fault> {
    let Response { status, headers, body } = answered;
    let wrong = |what: &str| Fault::Guest(format!("it answered with {what}"));
    let mut response = http::Response::new(full(body.unwrap_or_default()));
    *response.status_mut() =
        StatusCode::from_u16(status).map_err(|_| wrong(&format!("the status {status}, which is none")))?;
    let mut fields = HeaderMap::new();
    for (name, value) in headers.unwrap_or_default() {
        let name = HeaderName::try_from(name).map_err(|_| wrong("a header whose name is none"))?;
        let value = HeaderValue::try_from(value).map_err(|_| wrong(&format!("a header `{name}` whose value is none")))?;
        fields.append(name, value);
    }
    *response.headers_mut() = fields;
    Ok(response)
}
