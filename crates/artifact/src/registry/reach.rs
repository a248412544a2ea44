//! Where a request may lead that a server, not a person, has named: redirects, places to upload to, token servers.
//!
//! A registry that a person named may be anywhere, also on this machine. What it names may be on the public Internet, or where
//! the registry itself was found (a registry of a private network has its storage there too): else a public registry could
//! make this machine ask its own network for it. A name is judged by its addresses, and what was judged is what is connected
//! to ([`super::resolve`]). Over plain HTTP only a host is asked that was named insecure, under any port of it. An operator
//! who wants more names the host in the host file.

use std::net::IpAddr;

use samara_model::not_public;
use url::{Host, Url};

use super::{RegistrySettings, endpoint::shown};
use crate::Error;

/// Which addresses a host may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// Any: a person named the host.
    Anywhere,
    /// Those of the public Internet, and those of one more kind (a word of [`not_public`]): the kind of the registry's own.
    Public {
        /// The kind.
        and: Option<&'static str>,
    },
}

impl Reach {
    /// Why an address may not be connected to, in a word.
    pub(super) fn refuses(self, address: IpAddr) -> Option<&'static str> {
        match self {
            Self::Anywhere => None,
            Self::Public { and } => not_public(address).filter(|kind| Some(*kind) != and),
        }
    }
}

/// The server that a person named, and where it was found.
#[derive(Clone, Debug)]
pub(super) struct Home {
    /// Any URL of it.
    pub(super) url: Url,
    /// The kind of the address that it answered from; `None` if that is public, or not known.
    pub(super) kind: Option<&'static str>,
}

/// How far a URL may reach that the server at `home` named, and whether it may be asked at all. `what` begins the message:
/// "a redirect of `x`".
pub(super) fn judge(settings: &RegistrySettings, home: &Home, to: &Url, what: &str) -> Result<Reach, Error> {
    let refuse = |why: &str| Err(Error::Invalid(format!("{what} leads to `{}`, {why}", shown(to))));
    if !to.username().is_empty() || to.password().is_some() {
        return refuse("a URL with a login in it; it is not followed");
    }
    if !matches!(to.scheme(), "https" | "http") {
        return refuse("which is not on the web; it is not followed");
    }
    // Who allows plain HTTP with one host has not allowed it with others that this one names.
    let plain = to.scheme() == "http"
        && !settings.insecure(to)
        && !(home.url.scheme() == "http" && home.url.host() == to.host());
    let named = same_origin(&home.url, to) || settings.host(to).is_some();
    if named && !plain {
        return Ok(Reach::Anywhere);
    }
    let reach = Reach::Public { and: home.kind };
    let address = match to.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(name)) if is_proxy(name) => return refuse("the proxy of this machine; it is not followed"),
        Some(Host::Domain(_)) => None,
        None => return refuse("which names no host"),
    };
    match address.filter(|_| !named).and_then(|address| reach.refuses(address)) {
        Some(kind) => refuse(&format!("an address that is {kind}; {}", allow(to))),
        None if plain && home.url.scheme() == "https" => refuse("from https to plain http; it is not followed"),
        None if plain => refuse(&format!(
            "over plain http, which nobody allowed for it; if it should, say so in the host file: `[registry.\"{}\"] \
             insecure = true`",
            super::endpoint::authority(to)
        )),
        None => Ok(reach),
    }
}

/// What an operator would write to allow it.
pub(super) fn allow(url: &Url) -> String {
    format!("if it should, name it in the host file: `[registry.\"{}\"]`", super::endpoint::authority(url))
}

/// Scheme, host and port are the same.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// Whether a host is on this machine by its name. No proxy is asked for those.
pub(super) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// Whether a name is that of a proxy which the environment sets. Its addresses are the operator's choice.
pub(super) fn is_proxy(name: &str) -> bool {
    const VARIABLES: &[&str] = &["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    VARIABLES.iter().any(|variable| {
        let Ok(value) = std::env::var(variable) else { return false };
        let url = Url::parse(&value).or_else(|_| Url::parse(&format!("http://{value}")));
        url.is_ok_and(|url| url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name)))
    })
}

#[cfg(test)]
mod tests {
    use samara_model::RegistryHost;

    use super::*;

    fn check(home: &str, kind: Option<&'static str>, to: &str, expected: &str) {
        let insecure = RegistryHost { insecure: true, ..RegistryHost::default() };
        let hosts =
            [("10.0.0.9:9000".to_owned(), RegistryHost::default()), ("10.0.0.9:80".to_owned(), insecure)].into();
        let settings = RegistrySettings { hosts, ..RegistrySettings::default() };
        let home = Home { url: home.parse().unwrap(), kind };
        let judged = match judge(&settings, &home, &to.parse().unwrap(), "a redirect") {
            Ok(Reach::Anywhere) => "anywhere".to_owned(),
            Ok(Reach::Public { and }) => format!("public {}", and.unwrap_or_default()).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(judged == expected || expected.len() > 12 && judged.contains(expected), "{to}: {judged}");
    }

    #[test]
    fn a_public_registry_leads_to_public_places_alone() {
        let check = |to, expected| check("https://r.example/v2/a", None, to, expected);
        check("https://r.example/other", "anywhere");
        check("https://storage.example/x", "public");
        check("https://r.example:444/x", "public");
        check("https://1.1.1.1/x", "public");
        check("https://10.0.0.1/x?secret=1", "leads to `https://10.0.0.1/x`, an address that is private; if it should");
        check("https://127.0.0.1:8443/", "an address that is loopback");
        check("https://127.1:8443/", "an address that is loopback");
        check("https://[::1]/", "an address that is loopback");
        check("https://[::ffff:10.0.0.1]/", "an address that is private");
        check("https://169.254.169.254/latest", "an address that is link-local");
        check("http://storage.example/x", "from https to plain http");
        check("http://r.example/x", "from https to plain http");
        check("ftp://r.example/x", "which is not on the web");
        check("file:///etc/passwd", "which is not on the web");
        check("https://me:secret@storage.example/x", "a URL with a login in it");
    }

    #[test]
    fn a_private_registry_leads_to_its_own_kind_of_place_too() {
        let check = |to, expected| check("http://10.0.0.5:5000/v2/a", Some("private"), to, expected);
        check("https://10.0.0.6:9000/x", "public private");
        check("https://storage.example/x", "public private");
        check("http://10.0.0.5:9000/x", "public private");
        // That it is asked over plain HTTP itself says nothing of others.
        check("http://10.0.0.6:9000/x", "over plain http, which nobody allowed for it");
        check("http://storage.example/x", "over plain http, which nobody allowed for it");
        check("http://10.0.0.9:9000/x", "over plain http, which nobody allowed for it");
        check("http://10.0.0.9/x", "anywhere");
        check("http://127.0.0.1:9090/x", "an address that is loopback");
        check("http://169.254.169.254/latest", "an address that is link-local");
    }

    #[test]
    fn what_the_operator_named_may_be_anywhere() {
        check("https://r.example/v2/a", None, "https://10.0.0.9:9000/x", "anywhere");
        check("https://r.example/v2/a", None, "https://10.0.0.9:9001/x", "an address that is private");
        check("https://r.example/v2/a", None, "http://10.0.0.9/x", "anywhere");
    }
}
