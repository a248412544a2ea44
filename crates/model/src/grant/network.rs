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
        // What leads to everything outside is not meant to lead to what is inside.
        let inside = inside_host(host).is_some();
        self.allow.iter().any(|rule| rule.matches(scheme, host, port) && !(inside && rule.is_any_host()))
    }

    /// Whether it includes workloads of the same app.
    pub fn is_of_workloads(&self) -> bool {
        let leads_inside = |rule: &OriginRule| match &rule.host {
            HostRule::Named(name) => inside_host(name).is_some(),
            HostRule::Below(domain) => INSIDE_DOMAINS.contains(&domain.as_str()),
            HostRule::Any => false,
        };
        self.allow.iter().any(leads_inside)
    }
}

/// What the names of an app's own workloads end with, where its guests ask them by HTTP: `http://NAME.workload.internal`,
/// and as Spin has it.
pub const INSIDE_DOMAINS: [&str; 2] = ["workload.internal", "spin.internal"];

/// The workload of the same app that a host's name stands for.
pub fn inside_host(host: &str) -> Option<&str> {
    let named = |domain: &&str| host.strip_suffix(*domain)?.strip_suffix('.');
    INSIDE_DOMAINS.iter().find_map(named).filter(|name| !name.is_empty() && !name.contains('.'))
}

/// One origin, all below a domain, or all of a scheme: `https://api.example`, `https://*.cdn.example:8443`,
/// `http://127.0.0.1:9000`, `https://*`, `https://*:*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRule {
    scheme: String,
    host: HostRule,
    /// `None` is any.
    port: Option<u16>,
}

/// Which hosts a rule is about; names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HostRule {
    Named(String),
    Below(String),
    Any,
}

impl HostRule {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(domain), Self::Named(host)) => is_below(host, domain),
            (Self::Below(domain), Self::Below(other)) => domain == other || is_below(other, domain),
            (Self::Named(name), Self::Named(other)) => name == other,
            _ => false,
        }
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl OriginRule {
    /// Orders rules from those that many origins match to those that one does.
    pub fn specificity(&self) -> (u8, usize, bool) {
        let (kind, length) = match &self.host {
            HostRule::Any => (0, 0),
            HostRule::Below(domain) => (1, domain.len()),
            HostRule::Named(host) => (2, host.len()),
        };
        (kind, length, self.port.is_some())
    }

    /// Whether it is about every host of a scheme.
    pub fn is_any_host(&self) -> bool {
        self.host == HostRule::Any
    }

    /// Whether every origin of another rule is one of this rule's.
    pub fn covers(&self, other: &Self) -> bool {
        let port = self.port.is_none() || self.port == other.port;
        self.scheme == other.scheme && port && self.host.covers(&other.host)
    }

    /// Whether the origin is this rule's, or below its wildcard. Hosts compare without case.
    pub fn matches(&self, scheme: &str, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        let host_matches = match &self.host {
            HostRule::Any => !host.is_empty(),
            HostRule::Below(domain) => is_below(&host, domain),
            HostRule::Named(name) => host == *name,
        };
        self.scheme.eq_ignore_ascii_case(scheme) && self.port.is_none_or(|own| own == port) && host_matches
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
        let (origin, any_port) = text.strip_suffix(":*").map_or((text, false), |origin| (origin, true));
        let uri = origin.replacen("://*", "://wildcard-label", 1).parse::<http::Uri>();
        let uri = uri.map_err(|error| refuse(&error.to_string()))?;
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
        if !port.is_empty() && (any_port || authority.port_u16().is_none()) {
            return Err(refuse("its port is not a number up to 65535"));
        }
        let host = authority.host().to_ascii_lowercase();
        let wildcard = host.strip_prefix("wildcard-label").filter(|_| text.contains("://*"));
        let (host, below) =
            wildcard.map_or((host.as_str(), false), |below| (below.strip_prefix('.').unwrap_or(below), true));
        if host.contains('*') || (below && !host.is_empty() && wildcard == Some(host)) {
            return Err(refuse("`*` stands only for the first labels, as in `https://*.host`, or for all of the host"));
        }
        let name = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) if !below && address.parse::<Ipv6Addr>().is_ok() => address.to_owned(),
            None if host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')) => host.to_owned(),
            _ => return Err(refuse("the host is neither a name nor an address")),
        };
        let host = match (wildcard, below) {
            (Some(""), _) => HostRule::Any,
            (_, _) if name.is_empty() => return Err(refuse("it has no host")),
            (_, true) => HostRule::Below(name),
            (_, false) => HostRule::Named(name),
        };
        let port = if any_port { None } else { Some(authority.port_u16().unwrap_or(default_port)) };
        Ok(Self { scheme: scheme.to_owned(), host, port })
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match &self.host {
            HostRule::Any => f.write_str("*")?,
            HostRule::Below(domain) => write!(f, "*.{domain}")?,
            HostRule::Named(host) if host.contains(':') => write!(f, "[{host}]")?,
            HostRule::Named(host) => f.write_str(host)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
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
    fn a_lone_wildcard_is_every_host_or_every_port_of_the_scheme() {
        assert!(allows("https://*", "https", "a.example", 443) && allows("https://*", "https", "::1", 443));
        assert!(!allows("https://*", "https", "a.example", 8443) && !allows("https://*", "http", "a.example", 443));
        assert!(allows("https://*:*", "https", "a.example", 8443) && allows("http://*:81", "http", "a", 81));
        assert!(
            allows("http://a.example:*", "http", "a.example", 3000) && !allows("http://a.example:*", "http", "b", 80)
        );
        assert!(!allows("https://*:*", "https", "", 443));
        for text in ["https://*:443", "https://*:*", "http://[::1]:*", "http://*.a.example:8080"] {
            assert_eq!(text.parse::<OriginRule>().unwrap().to_string(), text);
        }
        let covers = |rule: &str, other: &str| rule.parse::<OriginRule>().unwrap().covers(&other.parse().unwrap());
        assert!(covers("https://*", "https://*.a.test") && covers("https://*:*", "https://*"));
        assert!(!covers("https://*.a.test", "https://*") && !covers("https://*", "https://*:*"));
        assert!(covers("https://*.a.test", "https://*.b.a.test"));
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
            "https://*b.example",
            "https://*.",
            "https://*.*",
            "https://**",
            "https://:*",
            "https://a:80:*",
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
