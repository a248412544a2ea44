//! A request as a script's arguments and environment: RFC 3875, sections 4.1 and 4.4.

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use http_body::Body as _;
use samara_model::{Body, Caller};

use crate::gateway::{function::Params, query};

/// Headers that are not passed on; those of the connection are gone already.
static WITHHELD: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy"),
    // These two are variables of their own.
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
];

/// The arguments and the environment of a request.
pub(super) fn of(
    parts: &Parts,
    body: &Body,
    caller: &Caller,
    pattern: &str,
    params: &Params,
) -> (Vec<String>, Vec<(String, String)>) {
    let path = parts.uri.path();
    let query = parts.uri.query().unwrap_or_default();
    let (script, raw_info) = split(path, pattern);
    let info = match params.last() {
        Some((_, rest)) if !raw_info.is_empty() => format!("/{rest}"),
        _ => String::new(),
    };
    let mut env: Vec<(String, String)> = Vec::with_capacity(16 + parts.headers.keys_len());
    let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.to_owned()));
    set("GATEWAY_INTERFACE", "CGI/1.1");
    set("SERVER_SOFTWARE", concat!("samara/", env!("CARGO_PKG_VERSION")));
    set("SERVER_PROTOCOL", if parts.version == http::Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" });
    set("REQUEST_METHOD", parts.method.as_str());
    set("SCRIPT_NAME", script);
    set("PATH_INFO", &info);
    set("QUERY_STRING", query);
    set("SERVER_NAME", parts.uri.host().unwrap_or_default());
    let port =
        parts.uri.port_u16().or(caller.local.map(|local| local.port())).unwrap_or(if caller.secure { 443 } else { 80 });
    set("SERVER_PORT", &port.to_string());
    if let Some(peer) = caller.peer {
        let address = peer.ip().to_canonical().to_string();
        set("REMOTE_ADDR", &address);
        set("REMOTE_HOST", &address);
        set("REMOTE_PORT", &peer.port().to_string());
    }
    if caller.secure {
        set("HTTPS", "on");
        // As servers have named them for long; none can be forged, since headers become `HTTP_...`.
        set("SSL_CLIENT_VERIFY", if caller.certificate.is_some() { "SUCCESS" } else { "NONE" });
    }
    if let Some(certificate) = &caller.certificate {
        set("SSL_CLIENT_S_DN", &certificate.subject);
        set("SSL_CLIENT_I_DN", &certificate.issuer);
        set("SSL_CLIENT_M_SERIAL", &certificate.serial);
    }
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        set("CONTENT_LENGTH", &length.to_string());
    }
    if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
        set("CONTENT_TYPE", &text(kind));
    }
    set("X_FULL_URL", &parts.uri.to_string());
    set("X_MATCHED_ROUTE", pattern);
    set("X_RAW_PATH_INFO", raw_info);
    headers(&parts.headers, &mut env);
    (arguments(script, query), env)
}

/// The part of a path that is the script's own, and what follows it: whatever `*rest` took.
fn split<'p>(path: &'p str, pattern: &str) -> (&'p str, &'p str) {
    let Some((own, _)) = pattern.rsplit_once("/*") else { return (path, "") };
    let segments = own.bytes().filter(|byte| *byte == b'/').count();
    // The script's own segments, then the slash that starts the rest.
    match path.match_indices('/').nth(segments) {
        Some((at, _)) => path.split_at(at),
        None => (path, ""),
    }
}

/// Every header as `HTTP_NAME`; several of one name are joined as RFC 3875, 4.1.18 says.
fn headers(headers: &HeaderMap, env: &mut Vec<(String, String)>) {
    for name in headers.keys().filter(|name| !WITHHELD.contains(name) && !name.as_str().contains('_')) {
        let separator = if name == header::COOKIE { "; " } else { ", " };
        let values: Vec<_> = headers.get_all(name).iter().map(text).collect();
        let variable = format!("HTTP_{}", name.as_str().replace('-', "_").to_ascii_uppercase());
        env.push((variable, values.join(separator)));
    }
}

/// A header's value; bytes that are not UTF-8 are replaced, as environments are text here.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The script's name, then the query: its pairs, or if it has no `=` its words (RFC 3875, 4.4).
fn arguments(script: &str, query: &str) -> Vec<String> {
    let mut arguments = vec![script.to_owned()];
    let separator = if query.contains('=') { '&' } else { '+' };
    let words = query.split(separator).filter(|word| !word.is_empty()).take(query::MAX_PAIRS);
    for word in words {
        // Differs from the spec: pairs are not decoded, as WAGI's guests expect.
        let word = if separator == '+' { query::decode(word) } else { Ok(word.to_owned()) };
        match word {
            Ok(word) if !word.starts_with('-') && !word.contains('\0') => arguments.push(word),
            // One doubtful word and there are none: a script must not see half a query.
            _ => return vec![script.to_owned()],
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn env(uri: &str, pattern: &str, rest: Option<&str>, headers: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let caller = Caller { peer: Some("192.0.2.7:5000".parse().unwrap()), ..Caller::default() };
        let params = rest.map(|rest| vec![("rest".into(), rest.to_owned())]).unwrap_or_default();
        of(&parts, &samara_model::full("abc"), &caller, pattern, &params).1.into_iter().collect()
    }

    #[test]
    fn the_variables_of_the_rfc_are_there() {
        let env =
            env("http://shop.test:81/app/a%20b?x=1", "/app/*rest", Some("a b"), &[("content-type", "text/plain")]);
        for (name, value) in [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", "/app"),
            ("PATH_INFO", "/a b"),
            ("X_RAW_PATH_INFO", "/a%20b"),
            ("QUERY_STRING", "x=1"),
            ("SERVER_NAME", "shop.test"),
            ("SERVER_PORT", "81"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("CONTENT_LENGTH", "3"),
            ("CONTENT_TYPE", "text/plain"),
            ("X_FULL_URL", "http://shop.test:81/app/a%20b?x=1"),
            ("X_MATCHED_ROUTE", "/app/*rest"),
        ] {
            assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn the_path_splits_where_the_pattern_says() {
        assert_eq!(split("/a/b/c", "/a/*rest"), ("/a", "/b/c"));
        assert_eq!(split("/a/", "/a/*rest"), ("/a", "/"));
        assert_eq!(split("/x", "/*rest"), ("", "/x"));
        assert_eq!(split("/", "/*rest"), ("", "/"));
        assert_eq!(split("/a/b", "/:x/b"), ("/a/b", ""));
        assert_eq!(split("/a//b", "/a/*rest"), ("/a", "//b"));
    }

    #[test]
    fn headers_that_would_deceive_the_script_are_withheld() {
        let env = env(
            "http://a.test/",
            "/",
            None,
            &[
                ("authorization", "Basic x"),
                ("proxy", "http://evil.test"),
                ("x_real_ip", "1"),
                ("x-real-ip", "2"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("accept", "text/html"),
                ("accept", "*/*"),
            ],
        );
        let http: Vec<_> = env.iter().filter(|(name, _)| name.starts_with("HTTP_")).collect();
        let expected = [("HTTP_ACCEPT", "text/html, */*"), ("HTTP_COOKIE", "a=1; b=2"), ("HTTP_X_REAL_IP", "2")];
        let http: Vec<_> = http.into_iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(http, expected);
    }

    #[test]
    fn arguments_are_words_or_pairs_and_never_options() {
        for (query, expected) in [
            ("", &["/s"][..]),
            ("a+b%21", &["/s", "a", "b!"]),
            ("a=1&b=2", &["/s", "a=1", "b=2"]),
            ("-d+allow", &["/s"]),
            ("%2dd", &["/s"]),
            ("a+%zz", &["/s"]),
            ("a%00b", &["/s"]),
        ] {
            assert_eq!(arguments("/s", query), expected, "{query}");
        }
    }
}
