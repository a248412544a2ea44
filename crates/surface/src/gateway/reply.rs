//! What goes back to the client: a guest's response made safe to send, or a fault as status and a short text.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri,
    header::{ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER},
    uri::PathAndQuery,
};
use http_body::Body as _;
use http_body_util::BodyExt;
use samara_model::{Body, Fault, Severity, WorkloadId};

use super::{body::Measured, request::remove_hop_by_hop};

/// A guest's response as it may be sent: no headers of the connection, a length that is true, no body where there is none.
///
/// `Date` is added when it is sent; `Server` is never added, as it tells attackers more than clients.
///
/// # Errors
/// The guest contradicts itself: a status that is not final, lengths that differ.
pub(super) fn check(
    mut response: Response<Body>,
    method: &Method,
    limit: Option<u64>,
) -> Result<Response<Body>, Fault> {
    let status = response.status();
    if status.is_informational() {
        return Err(Fault::Guest(format!("it answered with the status `{}`, which is not final", status.as_u16())));
    }
    remove_hop_by_hop(response.headers_mut());
    let declared = declared_length(response.headers())?;
    let hint = response.body().size_hint();
    if *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(bodiless(response, method, hint.exact()));
    }
    match (declared, hint.exact()) {
        (Some(declared), Some(exact)) if declared != exact => {
            Err(Fault::Guest(format!("its `content-length` of {declared} contradicts its body of {exact} bytes")))
        }
        (None, _) | (_, Some(_)) if limit.is_none_or(|limit| hint.upper().is_some_and(|upper| upper <= limit)) => {
            Ok(response)
        }
        _ => Ok(response.map(|body| Measured::new(body, declared, limit).boxed_unsync())),
    }
}

/// The one length a guest declared.
fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let mut declared = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse::<u64>().ok());
        match (length, declared) {
            (Some(length), None) => declared = Some(length),
            _ => return Err(Fault::Guest("its `content-length` is not one number".into())),
        }
    }
    Ok(declared)
}

/// A response whose body is not sent. The guest may still write it: it is not given up half-way, or `HEAD` would be
/// counted as a client that left.
fn bodiless(mut response: Response<Body>, method: &Method, exact: Option<u64>) -> Response<Body> {
    if *method != Method::HEAD {
        if response.status() == StatusCode::NO_CONTENT {
            response.headers_mut().remove(CONTENT_LENGTH);
        }
    } else if let Some(exact) = exact {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| exact.into());
    }
    response.map(|mut body| {
        if !body.is_end_stream() {
            // Bounded by the workload's deadline.
            tokio::spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
        }
        samara_model::empty()
    })
}

/// Whether a client would rather have JSON.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().windows(16).any(|part| part == b"application/json"))
}

/// A fault as a response.
pub(super) fn fault(fault: &Fault, json: bool) -> Response<Body> {
    let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = fault.public_message();
    let (kind, text) = if json {
        let body = serde_json::json!({ "error": fault.label(), "status": status.as_u16(), "message": message });
        ("application/json", format!("{body}\n"))
    } else {
        ("text/plain; charset=utf-8", format!("{message}\n"))
    };
    let mut response = Response::new(samara_model::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Fault::Busy { retry_after, .. } = fault {
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
    }
    response
}

/// 405, with the methods that would do.
pub(super) fn method_not_allowed(method: &Method, allowed: &[Method], json: bool) -> Response<Body> {
    let list = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let message = format!("`{method}` is not allowed here; use {list}");
    let mut response = fault(&Fault::Caller { status: 405, message }, json);
    if let Ok(value) = HeaderValue::try_from(list) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// Where plain HTTP sends its clients. 308, so that methods and bodies are kept.
///
/// # Errors
/// The request's URI has no host, which `request::address` has seen to.
pub(super) fn to_https(uri: &Uri, port: u16) -> Result<Response<Body>, Fault> {
    let host = uri.host().unwrap_or_default();
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let location = if port == 443 { format!("https://{host}{path}") } else { format!("https://{host}:{port}{path}") };
    let location = HeaderValue::try_from(location).map_err(|_| Fault::bad_request("the host is not one"))?;
    let mut response = Response::new(samara_model::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// A result of a function.
pub(super) fn bytes(bytes: Bytes, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(samara_model::full(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The one log line of a fault.
pub(super) fn log(fault: &Fault, workload: Option<&WorkloadId>, method: &Method, path: &str) {
    let (status, blame) = (fault.status(), fault.label());
    let workload = workload.map(tracing::field::display);
    let method = method.as_str();
    match fault.severity() {
        Severity::Error => tracing::error!(workload, method, path, status, blame, "{fault}"),
        Severity::Warn => tracing::warn!(workload, method, path, status, blame, "{fault}"),
        Severity::Info => tracing::info!(workload, method, path, status, blame, "{fault}"),
        Severity::Debug => tracing::debug!(workload, method, path, status, blame, "{fault}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn response(headers: &[(&str, &str)], body: &'static str) -> Response<Body> {
        let mut builder = Response::builder();
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(samara_model::full(body)).unwrap()
    }

    fn refused(response: Response<Body>) -> String {
        check(response, &Method::GET, None).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn guests_that_contradict_themselves_are_refused() {
        assert!(refused(response(&[("content-length", "4")], "abc")).contains("contradicts"));
        assert!(refused(response(&[("content-length", "3"), ("content-length", "3")], "abc")).contains("one number"));
        assert!(refused(response(&[("content-length", "+3")], "abc")).contains("one number"));
        assert!(refused(response(&[("content-length", "99999999999999999999")], "abc")).contains("one number"));
        let mut early = response(&[], "");
        *early.status_mut() = StatusCode::CONTINUE;
        assert!(refused(early).contains("`100`"));
    }

    #[tokio::test]
    async fn responses_without_a_body_keep_the_length_of_the_one_they_stand_for() {
        let head = check(response(&[], "abc"), &Method::HEAD, None).unwrap();
        assert_eq!(head.headers()[CONTENT_LENGTH], "3");
        assert!(head.body().is_end_stream());
        let mut nothing = response(&[("content-length", "3")], "abc");
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        let nothing = check(nothing, &Method::GET, None).unwrap();
        assert!(nothing.body().is_end_stream() && !nothing.headers().contains_key(CONTENT_LENGTH));
    }

    #[tokio::test]
    async fn a_response_over_its_limit_is_cut() {
        let cut = check(response(&[], "abcd"), &Method::GET, Some(3)).unwrap();
        assert!(cut.into_body().collect().await.is_err());
        let fits = check(response(&[], "abc"), &Method::GET, Some(3)).unwrap();
        assert_eq!(fits.into_body().collect().await.unwrap().to_bytes(), "abc");
    }

    #[tokio::test]
    async fn a_fault_is_a_status_and_a_text_that_gives_nothing_away() {
        let text = |response: Response<Body>| async { response.into_body().collect().await.unwrap().to_bytes() };
        let trap = Fault::Guest("secret".into());
        let plain = fault(&trap, false);
        assert_eq!(
            (plain.status().as_u16(), &plain.headers()[CONTENT_TYPE]),
            (502, &"text/plain; charset=utf-8".parse().unwrap())
        );
        assert_eq!(text(plain).await, "the application failed\n");
        let json = text(fault(&trap, true)).await;
        assert_eq!(json, "{\"error\":\"guest\",\"status\":502,\"message\":\"the application failed\"}\n");
    }

    #[test]
    fn who_is_busy_says_when_to_come_back() {
        let busy =
            |millis| Fault::Busy { why: String::new(), retry_after: Duration::from_millis(millis), quota: false };
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            assert_eq!(fault(&busy(millis), false).headers()[RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn a_method_that_is_not_allowed_is_answered_with_those_that_are() {
        let response = method_not_allowed(&Method::PUT, &[Method::GET, Method::HEAD], false);
        assert_eq!((response.status().as_u16(), &response.headers()[ALLOW]), (405, &"GET, HEAD".parse().unwrap()));
    }
}
