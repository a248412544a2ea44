//! HTTP for workloads that answer functions.
//!
//! Which function: the route's `operation`; else what a parameter at the end of its pattern took (`/math/:op`, `/*rest`);
//! else the last segment of the path. Its arguments:
//!
//! * a body that is JSON (`application/json`, `text/json`, `...+json`), an array in order or an object by name, goes to the
//!   guest as [`Encoding::Json`]. A body that starts with `[` or `{` counts as JSON when its type is missing,
//!   `text/plain` or a form's: that is what `curl -d '[1,2]'` sends;
//! * a form (`application/x-www-form-urlencoded`), or without a body the route's parameters and the query, goes as
//!   [`Encoding::Text`]: a JSON array of `[name, text]` pairs, parameters first, in order; `?1&2` has empty names;
//! * any other body goes as it is, [`Encoding::Bytes`].
//!
//! The reply is `application/json`, or `application/octet-stream` for bytes; an empty reply is 204.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header::CONTENT_TYPE, request::Parts};
use http_body::Body as _;
use samara_model::{Body, Call, Encoding, Fault, Function, Reply, collect};

use super::{query, reply, target::Destination};

/// What a route's parameters took.
pub(super) type Params = Vec<(Arc<str>, String)>;

/// Answers one request.
///
/// # Errors
/// The request is not one for a function, or the function failed.
pub(super) async fn answer(
    destination: &Destination,
    parts: &Parts,
    body: Body,
    pattern: &str,
    mut params: Params,
) -> Result<Response<Body>, Fault> {
    if !matches!(parts.method, Method::GET | Method::HEAD | Method::POST) {
        let message = format!("a function takes `GET` or `POST`, not `{}`", parts.method);
        return Err(Fault::Caller { status: 405, message });
    }
    let operation = operation(destination, parts.uri.path(), pattern, &mut params)?;
    let (encoding, payload) = if body.is_end_stream() {
        (Encoding::Text, arguments(params, parts.uri.query().unwrap_or_default())?)
    } else {
        let body = collect(body, destination.target.limits().request_body_bytes).await?;
        match kind(&parts.headers, &body) {
            Kind::Json => (Encoding::Json, body),
            Kind::Bytes => (Encoding::Bytes, body),
            Kind::Form => {
                let form = str::from_utf8(&body).map_err(|_| Fault::bad_request("the form is not UTF-8"))?;
                (Encoding::Text, arguments(params, form.trim())?)
            }
        }
    };
    let call = Call::Function(Function { operation, payload, encoding });
    let Reply::Bytes(result) = destination.target.answer(call).await? else {
        return Err(Fault::Host("a function was answered with something else than bytes".into()));
    };
    let mut response = match encoding {
        Encoding::Bytes => reply::bytes(result, "application/octet-stream"),
        _ => reply::bytes(result, "application/json"),
    };
    if response.body().is_end_stream() {
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().clear();
    }
    Ok(response)
}

fn operation(destination: &Destination, path: &str, pattern: &str, params: &mut Params) -> Result<String, Fault> {
    if let Some(operation) = &destination.operation {
        return Ok((**operation).to_owned());
    }
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    if last(pattern).starts_with([':', '*']) {
        return Ok(params.pop().map(|(_, operation)| operation).unwrap_or_default());
    }
    // The pattern's own text took this segment, so it decodes; `+` is itself in a path.
    query::decode(&last(path).replace('+', "%2B"))
}

/// Pairs of the path and of a query, as [`Encoding::Text`] writes them.
fn arguments(params: Params, query: &str) -> Result<Bytes, Fault> {
    let mut pairs: Vec<_> = params.into_iter().map(|(name, value)| ((*name).to_owned(), value)).collect();
    pairs.extend(query::pairs(query)?);
    let json = serde_json::to_vec(&pairs).map_err(|error| Fault::Host(format!("pairs as JSON: {error}")))?;
    Ok(json.into())
}

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Form,
    Bytes,
}

fn kind(headers: &HeaderMap, body: &[u8]) -> Kind {
    let full = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let looks_like_json = matches!(body.trim_ascii_start().first(), Some(b'[' | b'{'));
    match essence.as_str() {
        "application/json" | "text/json" => Kind::Json,
        json if json.ends_with("+json") => Kind::Json,
        "" | "text/plain" | "application/x-www-form-urlencoded" if looks_like_json => Kind::Json,
        "application/x-www-form-urlencoded" => Kind::Form,
        _ => Kind::Bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_kind(content_type: &str, body: &str, expected: Kind) {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        assert_eq!(kind(&headers, body.as_bytes()), expected, "{content_type} {body}");
    }

    #[test]
    fn bodies_are_read_as_what_they_say_they_are() {
        check_kind("application/json; charset=utf-8", "1", Kind::Json);
        check_kind("application/problem+json", "{}", Kind::Json);
        check_kind("Application/JSON", "[]", Kind::Json);
        check_kind("application/x-www-form-urlencoded", "a=1", Kind::Form);
        check_kind("application/octet-stream", "[1]", Kind::Bytes);
        check_kind("", "abc", Kind::Bytes);
    }

    #[test]
    fn json_without_a_type_of_its_own_is_recognised() {
        check_kind("application/x-www-form-urlencoded", "[1,2]", Kind::Json);
        check_kind("", " {\"a\":1}", Kind::Json);
        check_kind("text/plain", "\n[1]", Kind::Json);
    }

    #[test]
    fn arguments_come_from_the_path_then_the_query() {
        let params = vec![("a".into(), "1".to_owned())];
        assert_eq!(arguments(params, "b=two+2&3").unwrap(), r#"[["a","1"],["b","two 2"],["","3"]]"#);
        assert_eq!(arguments(Vec::new(), "").unwrap(), "[]");
    }
}
