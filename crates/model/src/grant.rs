//! What an operator gives a workload. Nothing is the default of every field.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

/// Something a guest may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Key-value stores.
    Kv,
    /// Object storage.
    Blob,
    /// Publish and subscribe.
    Messaging,
    /// SQL databases.
    Sql,
    /// Configuration values.
    Config,
    /// Secrets.
    Secrets,
    /// Outgoing HTTP requests.
    Http,
    /// Log lines.
    Log,
    /// Wall and monotonic clocks.
    Clock,
    /// Random numbers.
    Random,
    /// Files and folders.
    Fs,
    /// Environment variables.
    Env,
    /// Raw sockets and name look-ups.
    Net,
}

impl Capability {
    /// Every capability, in the order tables list them.
    pub const ALL: &[Self] = &[
        Self::Kv,
        Self::Blob,
        Self::Messaging,
        Self::Sql,
        Self::Config,
        Self::Secrets,
        Self::Http,
        Self::Log,
        Self::Clock,
        Self::Random,
        Self::Fs,
        Self::Env,
        Self::Net,
    ];

    /// The word used in manifests, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Blob => "blob",
            Self::Messaging => "messaging",
            Self::Sql => "sql",
            Self::Config => "config",
            Self::Secrets => "secrets",
            Self::Http => "http",
            Self::Log => "log",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::Fs => "fs",
            Self::Env => "env",
            Self::Net => "net",
        }
    }

    /// Whether every guest has it without asking: language runtimes cannot start without these.
    pub fn granted_to_all(self) -> bool {
        matches!(self, Self::Log | Self::Clock | Self::Random)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything one workload was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Key-value stores by the name the manifest gives them.
    pub kv: BTreeMap<String, KvGrant>,
    /// Outgoing HTTP.
    pub http: HttpGrant,
    /// Host folders.
    pub fs: Vec<FsGrant>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Configuration values.
    pub config: BTreeMap<String, String>,
    /// Raw sockets.
    pub net: NetGrant,
    /// Resolution of the clocks the guest sees; `None` is the machine's own (`run`), `Some` is rounded down to it.
    pub clock: Option<Duration>,
}

impl Grants {
    /// Whether a capability is granted at all, to any extent.
    pub fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::Kv => !self.kv.is_empty(),
            Capability::Http => !self.http.allow.is_empty(),
            Capability::Fs => !self.fs.is_empty(),
            Capability::Env => !self.env.is_empty(),
            Capability::Config => !self.config.is_empty(),
            Capability::Net => self.net.any || !self.net.connect.is_empty() || !self.net.listen.is_empty(),
            Capability::Blob | Capability::Messaging | Capability::Sql | Capability::Secrets => false,
            Capability::Log | Capability::Clock | Capability::Random => true,
        }
    }

    /// The grant that would allow a capability, as a manifest writes it.
    pub fn example(capability: Capability) -> &'static str {
        match capability {
            Capability::Kv => "kv = [\"STORE\"]",
            Capability::Blob => "blob = [\"STORE\"]",
            Capability::Messaging => "messaging = { publish = [\"SUBJECT\"] }",
            Capability::Sql => "sql = [\"STORE\"]",
            Capability::Config => "config = { KEY = \"value\" }",
            Capability::Secrets => "secrets = { KEY = \"env:NAME\" }",
            Capability::Http => "http = [\"https://host\"]",
            Capability::Log => "log = \"64KiB/s\"",
            Capability::Clock => "clock = \"1ms\"",
            Capability::Random => "random",
            Capability::Fs => "fs = [{ host = \"./dir\", guest = \"/dir\" }]",
            Capability::Env => "env = { KEY = \"value\" }",
            Capability::Net => "net = { connect = [\"host:port\"] }",
        }
    }
}

/// What may be done with a key-value store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvOperation {
    /// Read a value, or whether it is there.
    Get,
    /// Write a value.
    Set,
    /// Remove a value.
    Delete,
    /// Add to a number atomically, and compare-and-swap.
    Increment,
    /// List keys.
    List,
}

impl KvOperation {
    /// Every operation.
    pub const ALL: &[Self] = &[Self::Get, Self::Set, Self::Delete, Self::Increment, Self::List];

    /// The word used in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Delete => "delete",
            Self::Increment => "increment",
            Self::List => "list",
        }
    }
}

/// The grant of one key-value store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvGrant {
    /// What may be done with it.
    pub operations: Vec<KvOperation>,
}

impl Default for KvGrant {
    /// Every operation: the short form `kv = ["carts"]`.
    fn default() -> Self {
        Self { operations: KvOperation::ALL.to_vec() }
    }
}

/// A rule that does not parse, and what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseGrantError(pub String);

/// Which origins outgoing HTTP requests may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpGrant {
    /// Origins; empty allows none.
    pub allow: Vec<OriginRule>,
    /// Whether names and addresses that lead to private, loopback or link-local networks are allowed.
    pub private: bool,
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

/// One host folder a guest may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsGrant {
    /// The folder on the host.
    pub host: PathBuf,
    /// Its name inside the guest, such as `/data`.
    pub guest: String,
    /// Whether the guest may change it.
    pub write: bool,
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

    #[test]
    fn nothing_is_granted_by_default_but_what_every_runtime_needs() {
        let grants = Grants::default();
        for capability in Capability::ALL {
            assert_eq!(grants.has(*capability), capability.granted_to_all(), "{capability}");
        }
    }
}
