//! From a request to its response: address, route, the workload's shape, the reply.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request, Response, Uri, request::Parts};
use hyper::body::Incoming;
use samara_model::{
    Body, Call, Caller, Fault, HttpCall, Miss, Reply, RouteTable, Shape, WorkloadId, route::MAX_PATH_BYTES,
};

use super::{body, command, connection::InFlight, function, reply, request, target::Destination};

/// Times that a script may send the server to another path (RFC 3875, 6.2.2) for one request.
const MAX_HOPS: usize = 5;

/// Everything that is served at one address.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) routes: RouteTable<Destination>,
    /// How long a client may leave a body without a byte.
    pub(super) body_timeout: Duration,
    /// Fields of one head. Bytes are counted before requests come here.
    pub(super) header_fields: usize,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: Option<SocketAddr>,
}

/// Why a request was not answered by its workload, and whose it was.
struct Refusal {
    why: Why,
    workload: Option<WorkloadId>,
}

enum Why {
    Fault(Fault),
    Method(Vec<Method>),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { why: Why::Fault(fault), workload: None }
    }
}

impl Site {
    /// Answers one request. Dropping the future, or the response's body, gives the call up.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        ends: Ends,
        in_flight: InFlight,
    ) -> Response<body::Outgoing> {
        let json = reply::wants_json(request.headers());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let response = match self.respond(request, ends).await {
            Ok(response) => response,
            Err(Refusal { why: Why::Method(allowed), .. }) => reply::method_not_allowed(&method, &allowed, json),
            Err(Refusal { why: Why::Fault(fault), workload }) => {
                reply::log(&fault, workload.as_ref(), &method, uri.path());
                reply::fault(&fault, json)
            }
        };
        response.map(|body| body::Outgoing::new(body, in_flight))
    }

    async fn respond(&self, request: Request<Incoming>, ends: Ends) -> Result<Response<Body>, Refusal> {
        let (mut parts, incoming) = request.into_parts();
        if parts.headers.len() > self.header_fields {
            let message = format!("over {} header fields", self.header_fields);
            return Err(Fault::Caller { status: 431, message }.into());
        }
        request::address(&mut parts, ends.local)?;
        let mut body = body::incoming(incoming, self.body_timeout);
        let caller = Caller { peer: Some(ends.peer), local: ends.local, secure: false };
        for _ in 0..MAX_HOPS {
            let method = parts.method.clone();
            match self.route(parts, body, &caller).await? {
                Outcome::Response(response) => return Ok(response),
                Outcome::Elsewhere(path, mut next) => {
                    next.uri = moved(&next.uri, &path)?;
                    // The other path is asked as a client would that followed: without the body and its headers.
                    next.method = if method == Method::HEAD { method } else { Method::GET };
                    next.headers.remove(http::header::CONTENT_LENGTH);
                    next.headers.remove(http::header::CONTENT_TYPE);
                    (parts, body) = (*next, samara_model::empty());
                }
            }
        }
        Err(Fault::Guest(format!("its scripts sent the request on over {MAX_HOPS} times")).into())
    }

    /// Finds the route and calls its workload in the words of its shape.
    async fn route(&self, parts: Parts, body: Body, caller: &Caller) -> Result<Outcome, Refusal> {
        let host = parts.uri.authority().map_or("", |authority| authority.as_str());
        let found = self.routes.find(host, &parts.method, parts.uri.path()).map_err(missed)?;
        let (destination, pattern, params) = (found.value, found.pattern, found.params);
        let target = &destination.target;
        let blame = |fault| Refusal { why: Why::Fault(fault), workload: Some(target.id().clone()) };
        let method = parts.method.clone();
        let response = match target.shape() {
            Shape::Http => {
                let request = Request::from_parts(parts, body);
                let call = HttpCall { request, caller: caller.clone(), route: Arc::clone(pattern), params };
                match target.answer(Call::Http(call)).await.map_err(blame)? {
                    Reply::Http(response) => response,
                    _ => return Err(blame(Fault::Host("an HTTP call was answered with something else".into()))),
                }
            }
            Shape::Function => function::answer(destination, &parts, body, pattern, params).await.map_err(blame)?,
            Shape::Command => {
                let answer = command::answer(destination, &parts, body, caller, pattern, &params).await;
                match answer.map_err(blame)? {
                    command::Answer::Response(response) => response,
                    command::Answer::Elsewhere(path) => return Ok(Outcome::Elsewhere(path, Box::new(parts))),
                }
            }
        };
        reply::check(response, &method, target.limits().response_body_bytes).map(Outcome::Response).map_err(blame)
    }
}

/// What a route's workload made of a request.
enum Outcome {
    Response(Response<Body>),
    /// Another path is to answer, for this head.
    Elsewhere(String, Box<Parts>),
}

fn missed(miss: Miss) -> Refusal {
    let fault = |status, message: String| Fault::Caller { status, message };
    let why = match miss {
        Miss::Method(allowed) => Why::Method(allowed),
        Miss::NotFound => Why::Fault(fault(404, "nothing is served here".to_owned())),
        Miss::BadPath => Why::Fault(fault(400, "the path is not percent-encoded UTF-8".to_owned())),
        Miss::TooLong => Why::Fault(fault(414, format!("the path is over {MAX_PATH_BYTES} bytes"))),
    };
    Refusal { why, workload: None }
}

/// The URI of another path at the same host.
fn moved(uri: &Uri, path: &str) -> Result<Uri, Fault> {
    let mut parts = uri.clone().into_parts();
    let path = path.split('#').next().unwrap_or(path);
    parts.path_and_query = Some(path.parse().map_err(|_| Fault::Guest(format!("`Location: {path}` is not a path")))?);
    Uri::from_parts(parts).map_err(|error| Fault::Guest(format!("`Location: {path}` is not a path: {error}")))
}
