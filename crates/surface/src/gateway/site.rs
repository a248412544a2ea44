//! From a request to its response: address, route, the workload's shape, the reply.

use std::{future::ready, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::{
    Method, Request, Response, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    request::Parts,
    uri::{Authority, Scheme},
};
use hyper::body::Incoming;
use samara_model::{
    Body, Call, Caller, ClientCertificate, Fault, HttpCall, Match, Miss, Reply, RouteTable, Shape, WorkloadId,
    route::MAX_PATH_BYTES,
};
use samara_telemetry::{Observer, Watch, Watched};

use super::{
    body, command,
    connection::InFlight,
    function, reply,
    request::{self, LastHost},
    target::{Backing, Destination, Routes, Target},
};

/// Times that a script may send the server to another path (RFC 3875, 6.2.2) for one request.
const MAX_HOPS: usize = 5;

/// Everything that is served at one address.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) routes: Routes,
    /// How long a client may leave a body without a byte.
    pub(super) body_timeout: Duration,
    /// Fields of one head. Bytes are counted before requests come here.
    pub(super) header_fields: usize,
    /// Who is told of each request.
    pub(super) observer: Option<Observer>,
    /// The port of HTTPS, where plain HTTP only sends clients there.
    pub(super) redirect: Option<u16>,
}

/// The two ends of a connection.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: Option<SocketAddr>,
    /// Whether TLS is between them.
    pub(super) secure: bool,
    /// What the client showed of itself, verified.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
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
    ///
    /// What can be done at once is done before the first poll: the library moves the future around, and a small one is
    /// cheaper to move.
    pub(super) fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        ends: &Ends,
        last: &LastHost,
        in_flight: InFlight,
    ) -> impl Future<Output = Response<body::Outgoing>> + Send + use<> {
        let json = reply::wants_json(request.headers());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let watched = self.observer.as_ref().map(|observer| Box::new(observer.request(seen(&request, ends))));
        let begun = self.begin(request, ends, last, watched.as_deref());
        async move {
            let response = match begun {
                Ok(Begun::Called { target, call }) => replied(call.await, &*target, &method),
                Ok(Begun::Adapted(response)) => response.await,
                Err(refusal) => Err(refusal),
            };
            let mut label = None;
            let response = response.unwrap_or_else(|refusal| match refusal {
                Refusal { why: Why::Method(allowed), .. } => {
                    label = Some("caller");
                    reply::method_not_allowed(&method, &allowed, json)
                }
                Refusal { why: Why::Fault(fault), workload } => {
                    label = Some(fault.label());
                    reply::log(&fault, workload.as_ref(), &method, uri.path());
                    reply::fault(&fault, json)
                }
            });
            if let Some(watched) = &watched {
                watched.replied(response.status().as_u16(), label);
            }
            response.map(|body| body::Outgoing::new(body, in_flight, watched))
        }
    }

    /// Finds the route and calls its workload in the words of its shape.
    fn begin(
        self: &Arc<Self>,
        request: Request<Incoming>,
        ends: &Ends,
        last: &LastHost,
        watched: Option<&Watched>,
    ) -> Result<Begun, Refusal> {
        let watch = watched.map(|watched| watched.watch().clone()).unwrap_or_default();
        let (mut parts, incoming) = request.into_parts();
        if parts.headers.len() > self.header_fields {
            let message = format!("over {} header fields", self.header_fields);
            return Err(Fault::Caller { status: 431, message }.into());
        }
        let scheme = if ends.secure { Scheme::HTTPS } else { Scheme::HTTP };
        request::address(&mut parts, scheme, ends.local, last)?;
        if let (false, Some(port)) = (ends.secure, self.redirect) {
            return Ok(Begun::Adapted(Box::pin(ready(reply::to_https(&parts.uri, port).map_err(Refusal::from)))));
        }
        let certificate = ends.certificate.clone();
        let caller = Caller { peer: Some(ends.peer), local: ends.local, secure: ends.secure, certificate };
        let body = body::noted(body::incoming(incoming, self.body_timeout), &watch);
        self.call(parts, body, caller, watched)
    }

    /// Answers a request of our own.
    ///
    /// # Errors
    /// The fault as it is, where a client would see a status.
    pub(super) async fn ask(
        self: &Arc<Self>,
        parts: Parts,
        body: Body,
        caller: Caller,
    ) -> Result<Response<Body>, Fault> {
        let method = parts.method.clone();
        let response = match self.call(parts, body, caller, None) {
            Ok(Begun::Called { target, call }) => replied(call.await, &*target, &method),
            Ok(Begun::Adapted(response)) => response.await,
            Err(refusal) => Err(refusal),
        };
        response.map_err(|refusal| match refusal.why {
            Why::Fault(fault) => fault,
            Why::Method(_) => Fault::Caller { status: 405, message: format!("no route takes `{method}`") },
        })
    }

    /// Calls the workload of a request that is addressed as it should be.
    fn call(
        self: &Arc<Self>,
        mut parts: Parts,
        body: Body,
        caller: Caller,
        watched: Option<&Watched>,
    ) -> Result<Begun, Refusal> {
        let routes = self.routes.load();
        let found = find(&routes, &parts)?;
        let watch = watched.map(|watched| watched.watch().clone()).unwrap_or_default();
        if let Some(watched) = watched {
            watched.routed(&parts.method, found.pattern);
            watch.tell(&mut parts.headers);
        }
        let destination = found.value.next();
        if destination.target.shape() == Shape::Http {
            let target = Arc::clone(&destination.target);
            let call = target.answer(http_call(parts, body, caller, found.pattern, found.params));
            return Ok(Begun::Called { target, call: over(&watch, call) });
        }
        let way = Way { destination: destination.clone(), pattern: Arc::clone(found.pattern), params: found.params };
        Ok(Begun::Adapted(over(&watch, Box::pin(Arc::clone(self).adapt(way, parts, body, caller)))))
    }

    /// Calls workloads that do not speak HTTP, and follows where scripts send the request.
    async fn adapt(
        self: Arc<Self>,
        mut way: Way,
        mut parts: Parts,
        mut body: Body,
        caller: Caller,
    ) -> Result<Response<Body>, Refusal> {
        for _ in 0..MAX_HOPS {
            let Way { destination, pattern, params } = way;
            let target = &*destination.target;
            let blame = |fault| Refusal { why: Why::Fault(fault), workload: Some(target.id().clone()) };
            let method = parts.method.clone();
            let response = match target.shape() {
                Shape::Http => {
                    let call = target.answer(http_call(parts, body, caller, &pattern, params));
                    return replied(call.await, target, &method);
                }
                Shape::Function => {
                    function::answer(&destination, &parts, body, &pattern, params).await.map_err(blame)?
                }
                // Loading chooses a shape that a route can use; this is for the day when somebody forgets to.
                Shape::Message => return Err(blame(Fault::Config("it takes messages, not requests".into()))),
                Shape::KeyValue => return Err(blame(Fault::Config("it is a store, and takes no requests".into()))),
                Shape::Command => {
                    let answer = command::answer(&destination, &parts, body, &caller, &pattern, &params).await;
                    match answer.map_err(blame)? {
                        command::Answer::Response(response) => response,
                        command::Answer::Elsewhere(path) => {
                            move_to(&mut parts, &path).map_err(blame)?;
                            let routes = self.routes.load();
                            let found = find(&routes, &parts)?;
                            let (destination, pattern) = (found.value.next().clone(), Arc::clone(found.pattern));
                            way = Way { destination, pattern, params: found.params };
                            body = samara_model::empty();
                            continue;
                        }
                    }
                }
            };
            return reply::check(response, &method, target.limits().response_body_bytes).map_err(blame);
        }
        Err(Fault::Guest(format!("its scripts sent the request on over {MAX_HOPS} times")).into())
    }
}

fn find<'t>(routes: &'t RouteTable<Backing>, parts: &Parts) -> Result<Match<'t, Backing>, Refusal> {
    let host = parts.uri.authority().map_or("", Authority::as_str);
    routes.find(host, &parts.method, parts.uri.path()).map_err(missed)
}

/// A request on its way.
enum Begun {
    /// Its workload answers HTTP.
    Called { target: Arc<dyn Target>, call: BoxFuture<'static, Result<Reply, Fault>> },
    /// Its workload answers something else.
    Adapted(BoxFuture<'static, Result<Response<Body>, Refusal>>),
}

/// The work of a call, on behalf of its request.
fn over<T: 'static>(watch: &Watch, work: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
    if watch.is_on() { Box::pin(watch.over(work)) } else { work }
}

/// A request as an observer is told of it.
fn seen<'a>(request: &'a Request<Incoming>, ends: &Ends) -> samara_telemetry::Request<'a> {
    samara_telemetry::Request {
        peer: ends.peer,
        method: request.method().clone(),
        uri: request.uri().clone(),
        headers: request.headers(),
        secure: ends.secure,
        version: request.version(),
    }
}

/// A route, and what its parameters took.
struct Way {
    destination: Destination,
    pattern: Arc<str>,
    params: function::Params,
}

fn http_call(parts: Parts, body: Body, caller: Caller, pattern: &Arc<str>, params: function::Params) -> Call {
    let request = Request::from_parts(parts, body);
    Call::Http(HttpCall { request, caller, route: Arc::clone(pattern), params })
}

/// The response of a workload that answers HTTP.
fn replied(reply: Result<Reply, Fault>, target: &dyn Target, method: &Method) -> Result<Response<Body>, Refusal> {
    let checked = match reply {
        Ok(Reply::Http(response)) => reply::check(response, method, target.limits().response_body_bytes),
        Ok(_) => Err(Fault::Host("an HTTP call was answered with something else".into())),
        Err(fault) => Err(fault),
    };
    checked.map_err(|fault| Refusal { why: Why::Fault(fault), workload: Some(target.id().clone()) })
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

/// Makes a request one for another path at the same host, as a client would ask that followed: without the body.
fn move_to(parts: &mut Parts, path: &str) -> Result<(), Fault> {
    let path = path.split('#').next().unwrap_or(path);
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(path.parse().map_err(|_| Fault::Guest(format!("`Location: {path}` is not a path")))?);
    parts.uri =
        Uri::from_parts(uri).map_err(|error| Fault::Guest(format!("`Location: {path}` is not a path: {error}")))?;
    if parts.method != Method::HEAD {
        parts.method = Method::GET;
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_TYPE);
    Ok(())
}
