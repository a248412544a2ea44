//! A `wasi:http` 0.2 proxy over what a host may grant: key-value stores, configuration, outgoing requests.
//!
//! | request | what it does |
//! | --- | --- |
//! | `GET`, `PUT`, `DELETE`, `HEAD /kv/STORE/KEY` | reads, writes, deletes a value, asks whether it is there |
//! | `GET /kv/STORE` | lists the keys |
//! | `/kv-incr/STORE/KEY?by=` | adds to a counter |
//! | `GET`, `DELETE /kv-many/STORE?keys=a,b`, `PUT /kv-many/STORE?a=1&b=2` | several keys in one call |
//! | `/config/KEY`, `/config` | one configuration value, or all |
//! | `/fetch?url=` | makes the request with the same method and body, relays status, type and body |
//! | `/fetch?url=&times=` | the same several times at once, answers the statuses |
//!
//! A denied store answers 403, an unknown one 404, another failure 502, each with the host's own words.

use std::io;

use reply::{Target, read_pieces, start, text};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingRequest, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, ResponseOutparam, Scheme,
};

use wasi::keyvalue::store::{Bucket, Error as StoreError};
use wasi::keyvalue::{atomics, batch, store};

wit_bindgen::generate!({ world: "kit", path: "kit.wit", generate_all });

/// The most bytes of a request that are kept, for a value or for a request to pass on.
const BODY_LIMIT: usize = 16 << 20;

struct Kit;

impl Guest for Kit {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        if let Err(error) = answer(&request, out) {
            eprintln!("the client went away: {error}");
        }
    }
}

wasip2::http::proxy::export!(Kit);

fn answer(request: &IncomingRequest, out: ResponseOutparam) -> io::Result<()> {
    let target = Target::of(request);
    let (status, said) = match target.segments().as_slice() {
        [] => (200, b"Hello, kit!\n".to_vec()),
        ["kv", name] => settle(list(name)),
        ["kv", name, key] => settle(value(request, name, key)?),
        ["kv-incr", name, key] => settle(increment(name, key, target.number("by", 1))),
        ["kv-many", name] => settle(many(request, name, &target)),
        ["config"] => settings(),
        ["config", key] => setting(key),
        ["fetch"] => return fetch(request, &target, out),
        _ => (404, format!("no `{}` here\n", target.path).into_bytes()),
    };
    let mut body = start(out, status, &[("content-type", "text/plain; charset=utf-8")])?;
    body.write(&said)?;
    body.finish(None)
}

/// A status and a body: the answer of a store, or what its refusal means to a client.
type Said = (u16, Vec<u8>);

fn settle(result: Result<Said, StoreError>) -> Said {
    match result {
        Ok(said) => said,
        Err(StoreError::AccessDenied) => (403, b"access denied\n".to_vec()),
        Err(StoreError::NoSuchStore) => (404, b"no such store\n".to_vec()),
        Err(StoreError::Other(why)) => (502, format!("{why}\n").into_bytes()),
    }
}

fn read_body(request: &IncomingRequest) -> io::Result<Vec<u8>> {
    let body = request.consume().map_err(|()| io::Error::other("the body was taken"))?;
    let mut bytes = Vec::new();
    read_pieces(body, |piece| {
        if bytes.len() + piece.len() > BODY_LIMIT {
            return Err(io::Error::other("the body is too large"));
        }
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

fn value(request: &IncomingRequest, name: &str, key: &str) -> io::Result<Result<Said, StoreError>> {
    let method = request.method();
    let given = if matches!(method, Method::Put | Method::Post) { read_body(request)? } else { Vec::new() };
    Ok(store::open(name).and_then(|bucket| one_key(&bucket, &method, key, &given)))
}

fn one_key(bucket: &Bucket, method: &Method, key: &str, given: &[u8]) -> Result<Said, StoreError> {
    match method {
        Method::Get => Ok(bucket.get(key)?.map_or((404, b"no such key\n".to_vec()), |value| (200, value))),
        Method::Head => Ok((if bucket.exists(key)? { 200 } else { 404 }, Vec::new())),
        Method::Put | Method::Post => bucket.set(key, given).map(|()| (204, Vec::new())),
        Method::Delete => bucket.delete(key).map(|()| (204, Vec::new())),
        _ => Ok((405, Vec::new())),
    }
}

fn list(name: &str) -> Result<Said, StoreError> {
    let bucket = store::open(name)?;
    let mut lines = String::new();
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor)?;
        page.keys.iter().for_each(|key| lines.extend([key, "\n"]));
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok((200, lines.into_bytes()));
        }
    }
}

fn increment(name: &str, key: &str, by: u64) -> Result<Said, StoreError> {
    let bucket = store::open(name)?;
    Ok((200, format!("{}\n", atomics::increment(&bucket, key, by)?).into_bytes()))
}

fn many(request: &IncomingRequest, name: &str, target: &Target) -> Result<Said, StoreError> {
    let bucket = store::open(name)?;
    let keys: Vec<String> = target.get("keys").unwrap_or_default().split(',').map(str::to_owned).collect();
    match request.method() {
        Method::Put => {
            let pairs: Vec<_> =
                target.query.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect();
            batch::set_many(&bucket, &pairs).map(|()| (204, Vec::new()))
        }
        Method::Delete => batch::delete_many(&bucket, &keys).map(|()| (204, Vec::new())),
        _ => {
            let found = batch::get_many(&bucket, &keys)?;
            let line = |(key, value): (String, Vec<u8>)| format!("{key}={}\n", String::from_utf8_lossy(&value));
            Ok((200, found.into_iter().flatten().map(line).collect::<String>().into_bytes()))
        }
    }
}

fn setting(key: &str) -> Said {
    match wasi::config::store::get(key) {
        Ok(Some(value)) => (200, value.into_bytes()),
        Ok(None) => (404, b"no such setting\n".to_vec()),
        Err(error) => (502, format!("{error:?}\n").into_bytes()),
    }
}

fn settings() -> Said {
    match wasi::config::store::get_all() {
        Ok(all) => (200, all.iter().map(|(key, value)| format!("{key}={value}\n")).collect::<String>().into_bytes()),
        Err(error) => (502, format!("{error:?}\n").into_bytes()),
    }
}

fn fetch(request: &IncomingRequest, target: &Target, out: ResponseOutparam) -> io::Result<()> {
    let url = target.get("url").unwrap_or_default();
    let Some((scheme, authority, path)) = split(url) else {
        return text(out, 400, &format!("`{url}` is no http URL\n"));
    };
    let method = request.method();
    let given = if matches!(method, Method::Put | Method::Post) { read_body(request)? } else { Vec::new() };
    let times = target.number("times", 1).clamp(1, 64);
    let sent: Result<Vec<_>, _> = (0..times).map(|_| send(&method, &scheme, authority, path, &given)).collect();
    let received = sent.and_then(|waiting| waiting.iter().map(receive).collect::<Result<Vec<_>, _>>());
    match received {
        Err(error) => text(out, 502, &format!("{error:?}\n")),
        Ok(mut responses) if times == 1 => responses.pop().map_or(Ok(()), |response| relay(&response, out)),
        Ok(responses) => text(out, 200, &responses.iter().map(|one| format!("{}\n", one.status())).collect::<String>()),
    }
}

fn split(url: &str) -> Option<(Scheme, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    Some((scheme, authority, if path.is_empty() { "/" } else { path }))
}

fn send(
    method: &Method,
    scheme: &Scheme,
    authority: &str,
    path: &str,
    body: &[u8],
) -> Result<FutureIncomingResponse, ErrorCode> {
    let refused = |()| ErrorCode::HttpRequestUriInvalid;
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(method).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    request.set_scheme(Some(scheme)).map_err(refused)?;
    request.set_authority(Some(authority)).map_err(refused)?;
    request.set_path_with_query(Some(path)).map_err(refused)?;
    let outgoing = request.body().map_err(|()| ErrorCode::InternalError(None))?;
    let future = outgoing_handler::handle(request, None)?;
    if !body.is_empty() {
        use std::io::Write;
        let mut stream = outgoing.write().map_err(|()| ErrorCode::InternalError(None))?;
        stream
            .write_all(body)
            .and_then(|()| Write::flush(&mut stream))
            .map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
    }
    OutgoingBody::finish(outgoing, None)?;
    Ok(future)
}

fn receive(future: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    future.subscribe().block();
    match future.get() {
        Some(Ok(response)) => response,
        _ => Err(ErrorCode::InternalError(Some("the response was taken".to_owned()))),
    }
}

fn relay(response: &IncomingResponse, out: ResponseOutparam) -> io::Result<()> {
    let kind = response.headers().get("content-type").into_iter().next();
    let kind = kind.map(|value| String::from_utf8_lossy(&value).into_owned());
    let mut body = start(out, response.status(), &[("content-type", kind.as_deref().unwrap_or("text/plain"))])?;
    let incoming = response.consume().map_err(|()| io::Error::other("the body was taken"))?;
    read_pieces(incoming, |piece| {
        body.write(piece)?;
        body.flush()
    })?;
    body.finish(None)
}
