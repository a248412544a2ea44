//! What a request is addressed to, checked before anybody looks at it: host, form of the target, headers of the
//! connection.
//!
//! RFC 9112 sections 3.2 and 7.2, RFC 9113 section 8.3.1, RFC 9110 section 7.6.1. A request that two parties could read as
//! two different ones is refused.

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use parking_lot::Mutex;
use samara_model::Fault;

/// Headers that concern one connection and are not passed on in either direction.
static HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The host that a connection's last request named: clients ask the same one again and again, so it is read once.
#[derive(Debug, Default)]
pub(super) struct LastHost(Mutex<Option<Authority>>);

impl LastHost {
    fn checked(&self, text: &[u8]) -> Result<Authority, Fault> {
        let mut last = self.0.lock();
        match &*last {
            Some(known) if known.as_str().as_bytes() == text => Ok(known.clone()),
            _ => Ok(last.insert(checked(text)?).clone()),
        }
    }
}

/// Makes a request's URI absolute, whatever scheme it names itself, and takes the connection's headers out.
///
/// # Errors
/// The host is missing, doubtful or not a host; the target has a form that only proxies take.
pub(super) fn address(
    parts: &mut Parts,
    scheme: Scheme,
    local: Option<SocketAddr>,
    last: &LastHost,
) -> Result<(), Fault> {
    if parts.method == Method::CONNECT {
        return Err(Fault::bad_request("`CONNECT` is for proxies; this is a server"));
    }
    let authority = authority(parts, local, last)?;
    if parts.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Fault::bad_request("the target's scheme is not `http`"));
    }
    // One truth for everybody behind us: CGI commands read the header, components the URI.
    if parts.headers.get(header::HOST).is_none_or(|host| host.as_bytes() != authority.as_str().as_bytes())
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, value);
    }
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(authority);
    uri.path_and_query = Some(parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
    parts.uri =
        Uri::from_parts(uri).map_err(|error| Fault::bad_request(format!("the target is not a URI: {error}")))?;
    remove_hop_by_hop(&mut parts.headers);
    Ok(())
}

fn authority(parts: &Parts, local: Option<SocketAddr>, last: &LastHost) -> Result<Authority, Fault> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Fault::bad_request("more than one `host` header"));
    }
    let host = host.map(|value| last.checked(value.as_bytes())).transpose()?;
    let target = parts.uri.authority().map(|authority| checked(authority.as_str().as_bytes())).transpose()?;
    match (host, target) {
        // HTTP/1: the target wins, as proxies rewrite it. HTTP/2: they must agree.
        (Some(host), Some(target)) if parts.version == Version::HTTP_2 && host != target => {
            Err(Fault::bad_request("`host` and `:authority` differ"))
        }
        (None, Some(_)) if parts.version == Version::HTTP_11 => Err(missing()),
        (_, Some(target)) => Ok(target),
        (Some(host), None) => Ok(host),
        (None, None) if parts.version < Version::HTTP_11 => local_authority(local),
        (None, None) => Err(missing()),
    }
}

fn missing() -> Fault {
    Fault::bad_request("the `host` header is missing")
}

/// HTTP/1.0 clients need not say whom they ask: whoever they reached.
fn local_authority(local: Option<SocketAddr>) -> Result<Authority, Fault> {
    local.and_then(|local| local.to_string().parse().ok()).ok_or_else(missing)
}

fn checked(text: &[u8]) -> Result<Authority, Fault> {
    let refuse = |why| Err(Fault::bad_request(format!("the host is refused: {why}")));
    let Ok(authority) = Authority::try_from(text) else { return refuse("it is not a name or an address") };
    if authority.as_str().contains('@') {
        return refuse("it names a user");
    }
    if authority.host().is_empty() {
        return refuse("it is empty");
    }
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    if !port.is_empty() && authority.port_u16().is_none() {
        return refuse("its port is not a number up to 65535");
    }
    Ok(authority)
}

/// Takes out what concerns the connection, and whatever `connection` names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none: one look at the names is cheaper than looking each of the list up.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // What frames or routes the message is not for a peer to take away.
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::CONTENT_TYPE))
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(version: Version, uri: &str, hosts: &[&str]) -> Parts {
        let mut request = http::Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn check(version: Version, uri: &str, hosts: &[&str], expected: Result<&str, &str>) {
        let mut parts = parts(version, uri, hosts);
        let local = Some("127.0.0.1:8080".parse().unwrap());
        let last = LastHost::default();
        // The second time from memory.
        let mut again = parts.clone();
        let both = (address(&mut parts, Scheme::HTTP, local, &last), address(&mut again, Scheme::HTTP, local, &last));
        assert_eq!(both.0.is_ok(), both.1.is_ok());
        match (both.0, expected) {
            (Ok(()), Ok(expected)) => {
                assert_eq!((parts.uri.to_string(), again.uri.to_string()), (expected.into(), expected.into()));
            }
            (Err(fault), Err(expected)) => {
                assert_eq!(fault.status(), 400);
                assert!(fault.to_string().contains(expected), "{fault}");
            }
            (other, _) => panic!("{uri} with {hosts:?}: {other:?}, not {expected:?}"),
        }
    }

    #[test]
    fn targets_become_absolute() {
        check(Version::HTTP_11, "/a?b", &["x.test:81"], Ok("http://x.test:81/a?b"));
        check(Version::HTTP_11, "/", &["[::1]:81"], Ok("http://[::1]:81/"));
        check(Version::HTTP_10, "/", &[], Ok("http://127.0.0.1:8080/"));
        check(Version::HTTP_2, "http://x.test/a", &[], Ok("http://x.test/a"));
        check(Version::HTTP_2, "http://x.test/a", &["x.test"], Ok("http://x.test/a"));
    }

    #[test]
    fn an_absolute_target_wins_over_the_host_header() {
        check(Version::HTTP_11, "http://a.test/x", &["b.test"], Ok("http://a.test/x"));
        check(Version::HTTP_11, "https://a.test", &["a.test"], Ok("http://a.test/"));
    }

    #[test]
    fn doubtful_hosts_are_refused() {
        check(Version::HTTP_11, "/", &[], Err("missing"));
        check(Version::HTTP_11, "http://a.test/", &[], Err("missing"));
        check(Version::HTTP_11, "/", &["a.test", "a.test"], Err("more than one"));
        check(Version::HTTP_11, "/", &["user@a.test"], Err("user"));
        check(Version::HTTP_11, "/", &[""], Err("refused"));
        check(Version::HTTP_11, "/", &["a.test:99999"], Err("port"));
        check(Version::HTTP_11, "/", &["a.test:x"], Err("refused"));
        check(Version::HTTP_11, "/", &["a test"], Err("refused"));
        check(Version::HTTP_11, "/", &["a.test/x"], Err("refused"));
        check(Version::HTTP_2, "http://a.test/", &["b.test"], Err("differ"));
        check(Version::HTTP_11, "ftp://a.test/", &["a.test"], Err("scheme"));
    }

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-Private, close, host"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("host", "a.test"),
            ("x-public", "1"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-public"]);
    }
}
