//! Grants of the network: origins of outgoing HTTP requests, and addresses of raw sockets.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use super::{HeaderRule, HttpPool, HttpTimeouts, ParseGrantError};

/// Which origins outgoing HTTP requests may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpGrant {
    /// Origins; empty allows none.
    pub allow: Vec<OriginRule>,
    /// Whether names and addresses that lead to private, loopback or link-local networks are allowed.
    pub private: bool,
    /// Headers that are added to requests, which the guest never sees.
    pub headers: Vec<HeaderRule>,
    /// Times; what is not said is the host's own.
    pub timeouts: HttpTimeouts,
    /// How often a request that may be repeated is tried again, at most.
    pub retries: u32,
    /// Connections; what is not said is the host's own.
    pub pool: HttpPool,
}

impl HttpGrant {
    /// Whether a request to this scheme, host and port is allowed (before its name is resolved).
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.allow.iter().any(|rule| rule.matches(scheme, host, port))
    }
}

/// One origin, or all below a domain: `https://api.example`, `https://*.cdn.example:8443`, `http://127.0.0.1:9000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRule {
    scheme: String,
    host: String,
    below: bool,
    port: u16,
}

impl OriginRule {
    /// Orders rules from those that many origins match to those that one does.
    pub fn specificity(&self) -> (bool, usize) {
        (!self.below, self.host.len())
    }

    /// Whether every origin of another rule is one of this rule's.
    pub fn covers(&self, other: &Self) -> bool {
        self == other || !other.below && self.matches(&other.scheme, &other.host, other.port)
    }

    /// Whether the origin is this rule's, or below its wildcard. Hosts compare without case.
    pub fn matches(&self, scheme: &str, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        let host_matches = if self.below {
            host.strip_suffix(self.host.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            host == self.host
        };
        self.scheme.eq_ignore_ascii_case(scheme) && self.port == port && host_matches
    }
}

impl FromStr for OriginRule {
    type Err = ParseGrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why: &str| {
            ParseGrantError(format!(
                "`{text}` is not an origin: {why}; write `https://host`, `https://*.host` or `http://host:port`"
            ))
        };
        let uri =
            text.replacen("://*.", "://wildcard-label.", 1).parse::<http::Uri>().map_err(|e| refuse(&e.to_string()))?;
        let scheme = uri.scheme_str().ok_or_else(|| refuse("it has no scheme"))?;
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(refuse("the scheme must be http or https")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("credentials do not belong here"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refuse("a path cannot be granted, only a whole origin"));
        }
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !port.is_empty() && authority.port_u16().is_none() {
            return Err(refuse("its port is not a number up to 65535"));
        }
        let host = authority.host().to_ascii_lowercase();
        let (below, host) = match host.strip_prefix("wildcard-label.") {
            Some(rest) if text.contains("://*.") => (true, rest.to_owned()),
            _ => (false, host),
        };
        if host.is_empty() || host.contains('*') {
            return Err(refuse("`*` stands only for the first labels, as in `https://*.host`"));
        }
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) if !below && address.parse::<Ipv6Addr>().is_ok() => address.to_owned(),
            None if host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')) => host,
            _ => return Err(refuse("the host is neither a name nor an address")),
        };
        Ok(Self { scheme: scheme.to_owned(), host, below, port: authority.port_u16().unwrap_or(default_port) })
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wildcard = if self.below { "*." } else { "" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{}://{wildcard}{host}:{}", self.scheme, self.port)
    }
}

/// Raw sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetGrant {
    /// Addresses the guest may connect or send to.
    pub connect: Vec<AddressRule>,
    /// Addresses the guest may bind and listen on.
    pub listen: Vec<AddressRule>,
    /// Everything (`--net any`).
    pub any: bool,
}

/// An address and port a socket may use: `10.0.0.5:5432`, `[::1]:80`, `db.internal:5432`, `127.0.0.1:*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRule {
    /// An IP address or a name.
    pub host: String,
    /// The port; `None` is any.
    pub port: Option<u16>,
}

impl AddressRule {
    /// The rule's address, if it is written as one rather than as a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for AddressRule {
    type Err = ParseGrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse =
            || ParseGrantError(format!("`{text}` is not an address: write `host:port`, `[::1]:port` or `host:*`"));
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let port = match port {
            "*" => None,
            number => Some(number.parse().map_err(|_| refuse())?),
        };
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().map_err(|_| refuse())?.to_string(),
            None if host.is_empty() || host.contains([':', '/', ' ', '*']) => return Err(refuse()),
            None => host.to_ascii_lowercase(),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            Some(port) => write!(f, "{host}:{port}"),
            None => write!(f, "{host}:*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, scheme: &str, host: &str, port: u16) -> bool {
        rule.parse::<OriginRule>().unwrap().matches(scheme, host, port)
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert!(allows("https://api.example", "https", "API.example", 443));
        assert!(allows("https://api.example", "https", "api.example.", 443));
        assert!(!allows("https://api.example", "http", "api.example", 443));
        assert!(!allows("https://api.example", "https", "api.example", 8443));
        assert!(!allows("https://api.example", "https", "xapi.example", 443));
        assert!(allows("http://[::1]:80", "http", "::1", 80));
    }

    #[test]
    fn a_wildcard_stands_for_labels_below_and_not_for_the_domain_itself() {
        assert!(allows("https://*.cdn.example:8443", "https", "a.b.cdn.example", 8443));
        assert!(!allows("https://*.cdn.example:8443", "https", "cdn.example", 8443));
        assert!(!allows("https://*.cdn.example:8443", "https", "evilcdn.example", 8443));
        assert!(!allows("https://*.cdn.example:8443", "https", ".cdn.example", 8443));
    }

    #[test]
    fn a_rule_covers_itself_and_what_is_below_its_wildcard() {
        let covers = |rule: &str, other: &str| rule.parse::<OriginRule>().unwrap().covers(&other.parse().unwrap());
        assert!(covers("https://a.test", "https://A.test:443"));
        assert!(covers("https://*.a.test", "https://b.a.test") && covers("https://*.a.test", "https://*.a.test"));
        assert!(!covers("https://a.test", "https://*.a.test") && !covers("https://a.test", "http://a.test"));
        assert!(!covers("https://*.b.a.test", "https://*.a.test"));
    }

    #[test]
    fn rules_that_do_not_parse_say_what_would() {
        for bad in [
            "api.example",
            "ftp://x",
            "https://",
            "https://a/path",
            "https://u:p@a",
            "https://a.*.b",
            "https://*",
            "https://*.[::1]",
            "https://[nothing]",
            "https://a:99999",
            "https://a!b",
        ] {
            let error = bad.parse::<OriginRule>().unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("https://host"), "{error}");
        }
        for bad in ["", "host", "host:", "host:99999", ":80", "::1:80", "*:80"] {
            assert!(bad.parse::<AddressRule>().is_err(), "{bad}");
        }
        assert_eq!("[::1]:80".parse::<AddressRule>().unwrap().to_string(), "[::1]:80");
        assert_eq!("db:*".parse::<AddressRule>().unwrap().port, None);
    }
}
