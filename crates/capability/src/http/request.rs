//! What a guest's request must be before it may leave: an origin, headers that do not contradict it, a bounded head.
//!
//! Headers that belong to one connection (RFC 9110, 7.6.1) are ours to set: a guest that sets them is not refused, they
//! are dropped, as any proxy would. What could make two servers read one request differently is refused.

use std::fmt;

use http::{
    HeaderMap, HeaderName, Method, Request, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER},
    uri::{Authority, Scheme},
};
use http_body::Body as _;
use samara_model::Body;

use super::EgressError;

/// The longest name DNS knows.
const HOST_BYTES: usize = 253;

/// What a field costs beside its name and value, as HTTP/2 counts it (RFC 9113, 6.5.2).
const FIELD_BYTES: usize = 32;

/// Headers that mean something between two neighbours only. `te` is decided by its value.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "http2-settings",
    "transfer-encoding",
    "upgrade",
];

/// Where a request goes: the unit of a grant and of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: Scheme,
    /// Lower case, without brackets and without a dot at its end.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    /// The origin of an absolute URI.
    pub(super) fn of(uri: &Uri) -> Result<Self, EgressError> {
        let scheme = uri.scheme().ok_or(EgressError::UriInvalid("it has no scheme"))?;
        let default_port = default_port(scheme).ok_or(EgressError::UriInvalid("its scheme is not http or https"))?;
        let authority = uri.authority().ok_or(EgressError::UriInvalid("it has no host"))?;
        let (host, port) = split(authority)?;
        Ok(Self { scheme: scheme.clone(), host, port: port.unwrap_or(default_port) })
    }

    pub(super) fn scheme(&self) -> &str {
        self.scheme.as_str()
    }

    /// Host and port as they are written in a URI and in `host`.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if default_port(&self.scheme) == Some(self.port) { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

fn default_port(scheme: &Scheme) -> Option<u16> {
    match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn split(authority: &Authority) -> Result<(String, Option<u16>), EgressError> {
    if authority.as_str().contains('@') {
        return Err(EgressError::UriInvalid("credentials do not belong in it"));
    }
    let host = authority.host();
    let port = match authority.as_str().get(host.len()..).and_then(|rest| rest.strip_prefix(':')) {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err(EgressError::UriInvalid("its port is not a number from 1 to 65535")),
        },
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    if bare.is_empty() || bare.len() > HOST_BYTES || bare.ends_with('.') {
        return Err(EgressError::UriInvalid("its host is not a name or an address"));
    }
    Ok((bare.to_ascii_lowercase(), port))
}

/// Limits of one head, either way.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) fields: usize,
}

/// Makes a checked request ready to send: one spelling of the origin, no header that is not the guest's to set.
pub(super) fn prepare(request: &mut Request<Body>, origin: &Origin, limits: HeadLimits) -> Result<(), EgressError> {
    if request.method() == Method::CONNECT {
        return Err(EgressError::MethodInvalid(Method::CONNECT.to_string()));
    }
    check_host(request.headers(), origin)?;
    check_length(request)?;
    remove_hop_by_hop(request.headers_mut());
    // The client writes it from the URI.
    request.headers_mut().remove(HOST);

    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
    let bytes = target.len() + fields.sum::<usize>();
    if bytes > limits.bytes || request.headers().len() > limits.fields {
        return Err(EgressError::RequestHeaderSize { bytes: limits.bytes as u64, fields: limits.fields as u64 });
    }

    let uri = Uri::builder().scheme(origin.scheme.clone()).authority(origin.authority()).path_and_query(target).build();
    *request.uri_mut() = uri.map_err(|_| EgressError::UriInvalid("its host is not a name or an address"))?;
    // What is spoken is agreed on with the server; the guest has no say.
    *request.version_mut() = Version::HTTP_11;
    Ok(())
}

/// A guest may repeat the authority in `host`. Another one would reach a virtual host that was not granted.
fn check_host(headers: &HeaderMap, origin: &Origin) -> Result<(), EgressError> {
    for value in headers.get_all(HOST) {
        let named = Authority::try_from(value.as_bytes()).ok().and_then(|authority| split(&authority).ok());
        let same = named.is_some_and(|(host, port)| {
            host == origin.host && port.or(default_port(&origin.scheme)) == Some(origin.port)
        });
        if !same {
            return Err(EgressError::HeaderDenied {
                name: "host",
                why: "it must be the host of the uri, or be left out",
            });
        }
    }
    Ok(())
}

/// A wrong length would let the body's end pass for another request on the same connection.
fn check_length(request: &mut Request<Body>) -> Result<(), EgressError> {
    let mut declared = None;
    for value in request.headers().get_all(CONTENT_LENGTH) {
        let text = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let length = text.and_then(|text| text.parse::<u64>().ok()).ok_or(EgressError::RequestBodySize)?;
        if declared.replace(length).is_some_and(|other| other != length) {
            return Err(EgressError::RequestBodySize);
        }
    }
    let Some(declared) = declared else { return Ok(()) };
    let known = if request.body().is_end_stream() { Some(0) } else { request.body().size_hint().exact() };
    if known.is_some_and(|known| known != declared) {
        return Err(EgressError::RequestBodySize);
    }
    request.headers_mut().insert(CONTENT_LENGTH, declared.into());
    Ok(())
}

/// Removes what is between two neighbours only, and what `connection` says is.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        // These describe the message itself, whatever a connection says of them.
        .filter(|name| ![CONTENT_LENGTH, HOST, TE, TRAILER].contains(name))
        .collect();
    for name in HOP_BY_HOP.iter().copied().chain(nominated.iter().map(HeaderName::as_str)) {
        headers.remove(name);
    }
    // gRPC needs `te: trailers`, the one value HTTP/2 allows.
    if headers.contains_key(TE) && !headers.get_all(TE).iter().all(|value| value == "trailers") {
        headers.remove(TE);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use samara_model::{empty, full};

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 1000, fields: 5 };

    fn prepared(uri: &str, headers: &[(&str, &str)], body: Body) -> Result<Request<Body>, EgressError> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).unwrap();
        let origin = Origin::of(request.uri())?;
        prepare(&mut request, &origin, LIMITS)?;
        Ok(request)
    }

    fn code(uri: &str, headers: &[(&str, &str)], body: Body) -> &'static str {
        prepared(uri, headers, body).map_or_else(|error| error.code(), |_| "sent")
    }

    #[test]
    fn an_origin_has_one_spelling() {
        for (uri, origin) in [
            ("http://a.test", "http://a.test"),
            ("http://A.Test.:80/x?y", "http://a.test"),
            ("https://a.test:443", "https://a.test"),
            ("https://a.test:80", "https://a.test:80"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
        ] {
            assert_eq!(Origin::of(&uri.parse().unwrap()).unwrap().to_string(), origin, "{uri}");
        }
        let request = prepared("http://A.Test.:80/x?y", &[], empty()).unwrap();
        assert_eq!(request.uri(), "http://a.test/x?y");
    }

    #[test]
    fn uris_that_name_no_origin_are_invalid() {
        for uri in
            ["/x", "ftp://a.test", "http://u:p@a.test", "http://u@a.test/", "http://a.test:0/", "http://./", "a.test"]
        {
            assert_eq!(code(uri, &[], empty()), "HTTP-request-URI-invalid", "{uri}");
        }
        let long = format!("http://{}.test/", "a".repeat(250));
        assert_eq!(code(&long, &[], empty()), "HTTP-request-URI-invalid");
        let mut request = Request::connect("http://a.test:80").body(empty()).unwrap();
        let origin = Origin::of(request.uri()).unwrap();
        assert_eq!(prepare(&mut request, &origin, LIMITS).unwrap_err().code(), "HTTP-request-method-invalid");
    }

    #[test]
    fn the_host_header_may_repeat_the_authority_and_nothing_else() {
        for (host, expected) in [
            ("a.test", "sent"),
            ("A.TEST", "sent"),
            ("a.test.:80", "sent"),
            ("b.test", "HTTP-request-denied"),
            ("a.test:81", "HTTP-request-denied"),
            ("u@a.test", "HTTP-request-denied"),
            ("", "HTTP-request-denied"),
            ("a.test, b.test", "HTTP-request-denied"),
        ] {
            assert_eq!(code("http://a.test/", &[("host", host)], empty()), expected, "{host}");
        }
        assert_eq!(code("http://a.test/", &[("host", "a.test"), ("host", "b.test")], empty()), "HTTP-request-denied");
        assert!(prepared("http://a.test/", &[("host", "a.test")], empty()).unwrap().headers().is_empty());
    }

    #[test]
    fn headers_of_the_connection_are_not_the_guests_to_set() {
        let request = prepared(
            "http://a.test/",
            &[
                ("connection", "close, X-Mine"),
                ("x-mine", "1"),
                ("transfer-encoding", "chunked"),
                ("te", "gzip"),
                ("x-kept", "1"),
            ],
            empty(),
        );
        let request = request.unwrap();
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-kept"]);
        let grpc = prepared("http://a.test/", &[("te", "trailers"), ("connection", "te")], empty()).unwrap();
        assert_eq!(grpc.headers().get("te"), Some(&HeaderValue::from_static("trailers")));
    }

    #[test]
    fn a_length_that_is_not_the_bodys_is_refused() {
        let wrong = "HTTP-request-body-size";
        assert_eq!(code("http://a.test/", &[("content-length", "4")], full("body")), "sent");
        assert_eq!(code("http://a.test/", &[("content-length", "0")], empty()), "sent");
        for length in ["5", "3", "+4", "-1", "", "4, 4", "0x4", "99999999999999999999"] {
            assert_eq!(code("http://a.test/", &[("content-length", length)], full("body")), wrong, "{length}");
        }
        assert_eq!(code("http://a.test/", &[("content-length", "10")], empty()), wrong);
        assert_eq!(code("http://a.test/", &[("content-length", "4"), ("content-length", "5")], full("body")), wrong);
        let twice =
            prepared("http://a.test/", &[("content-length", "4"), ("content-length", "4")], full("body")).unwrap();
        assert_eq!(twice.headers().get_all("content-length").iter().count(), 1);
    }

    #[test]
    fn the_head_is_bounded_in_bytes_and_in_fields() {
        let long = "x".repeat(970);
        assert_eq!(code("http://a.test/", &[("a", &long)], empty()), "HTTP-request-header-section-size");
        assert_eq!(code(&format!("http://a.test/{long}?{long}"), &[], empty()), "HTTP-request-header-section-size");
        let six = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1"), ("f", "1")];
        assert_eq!(code("http://a.test/", &six, empty()), "HTTP-request-header-section-size");
        assert_eq!(code("http://a.test/", &six[..5], empty()), "sent");
    }
}
