//! Who may ask: everybody who reaches the address may read, whoever has the token may change.
//!
//! The address is on loopback, so that a page in the operator's browser could reach it. A page cannot read answers of
//! another origin, unless its own name is made to lead here (DNS rebinding): so a request that reads must be addressed to
//! an address, to `localhost`, or to a name the operator listed. And it cannot send `Authorization` without being allowed
//! to by an answer to `OPTIONS` that is never given here. The two probes of health are open by any name.

use http::{HeaderMap, Method, StatusCode, header, request::Parts, uri::Authority};

use super::{Admin, problem::Problem};

/// The names, beside addresses and `localhost`, that the operator's address may be asked by.
#[derive(Clone, Debug, Default)]
pub struct Names(pub Vec<String>);

impl Names {
    /// Whether a `Host` header is one of ours. Addresses are: what is rebound is a name.
    fn allow(&self, headers: &HeaderMap) -> Result<(), String> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err("it has not one `host` header; send one".to_owned());
        };
        let text = host.to_str().unwrap_or_default();
        let authority: Authority = text.parse().map_err(|_| format!("`{}` is not a host", text.escape_debug()))?;
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let listed = |listed: &String| listed.eq_ignore_ascii_case(name);
        if name.parse::<std::net::IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(listed)
        {
            return Ok(());
        }
        Err(format!(
            "it is addressed to `{}`, which could be any web page's name for this address; ask for the address itself, send the token, or list the name in `hosts` of [admin] in the host file",
            name.escape_debug()
        ))
    }
}

/// Lets a request through, or says what it lacks.
///
/// # Errors
/// The problem to answer with.
pub(super) fn check(admin: &Admin, request: &Parts) -> Result<(), Problem> {
    let path = request.uri.path();
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    let probes = ["/livez", "/readyz"]
        .iter()
        .any(|probe| path.strip_prefix(probe).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    if reads && probes {
        return Ok(());
    }
    let given = request.headers.get(header::AUTHORIZATION);
    let unauthorized = |detail: String| Problem::new(StatusCode::UNAUTHORIZED, detail);
    match (&admin.token, given) {
        (Some(token), Some(given)) if token.is_in(given.as_bytes()) => Ok(()),
        (Some(token), Some(_)) => {
            Err(unauthorized(format!("this is not the token; the one in `{}` is", token.file.display())))
        }
        _ if reads => admin.names.allow(&request.headers).map_err(|why| Problem::new(StatusCode::FORBIDDEN, why)),
        (Some(token), None) => Err(unauthorized(format!(
            "changing what is served takes the token in `{}`; send it as `Authorization: Bearer TOKEN`",
            token.file.display()
        ))),
        (None, _) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "this host has no token, so that nothing can be changed; start it with `--token-file FILE`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_localhost_and_listed_names_may_be_asked() {
        let names = Names(vec!["ops.example".to_owned()]);
        let check = |host: &str, allowed: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            assert_eq!(names.allow(&headers).is_ok(), allowed, "{host}");
        };
        check("127.0.0.1:9090", true);
        check("[::1]:9090", true);
        check("10.1.2.3", true);
        check("localhost:9090", true);
        check("LocalHost.", true);
        check("OPS.example:9090", true);
        check("evil.example:9090", false);
        check("localhost.evil.example", false);
        check("127.0.0.1.evil.example", false);
        check("x@evil.example", false);
        check("not a host", false);
        check("", false);
        assert!(names.allow(&HeaderMap::new()).is_err());
        let mut two = HeaderMap::new();
        two.append(header::HOST, "localhost".parse().unwrap());
        two.append(header::HOST, "localhost".parse().unwrap());
        assert!(names.allow(&two).is_err());
    }
}
