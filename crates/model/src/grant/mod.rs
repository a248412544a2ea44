//! What an operator gives a workload. Nothing is the default of every field.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

mod messaging;
mod network;
mod outgoing;
mod store;
mod values;

pub use messaging::{MAX_SUBJECT_BYTES, MAX_SUBJECT_WORDS, MessagingGrant, SubjectPattern, check_subject};
pub use network::{AddressRule, HttpGrant, INSIDE_DOMAINS, NetGrant, OriginRule, inside_host};
pub use outgoing::{
    HeaderPiece, HeaderRule, HeaderTemplate, HttpPool, HttpTimeouts, MAX_HTTP_RETRIES, check_added_header,
};
pub use store::{BlobGrant, BlobOperation, KvGrant, KvOperation, SqlGrant, SqlOperation};
pub use values::{SecretsGrant, ValueSource};

/// The store that a `messaging` grant means when it names none: without a `[store.default]`, a bus inside this process that
/// the apps of one tenant share.
pub const DEFAULT_BUS: &str = "default";

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
    /// Blob stores by the name the manifest gives them.
    pub blob: BTreeMap<String, BlobGrant>,
    /// Databases by the name the manifest gives them.
    pub sql: BTreeMap<String, SqlGrant>,
    /// Buses by the name the manifest gives them.
    pub messaging: BTreeMap<String, MessagingGrant>,
    /// Outgoing HTTP.
    pub http: HttpGrant,
    /// Host folders.
    pub fs: Vec<FsGrant>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Configuration values that stand in the manifest itself: they win over all sources.
    pub config: BTreeMap<String, String>,
    /// Where more configuration values are read; the later one wins.
    pub config_sources: Vec<ValueSource>,
    /// Secrets, by where they are read.
    pub secrets: SecretsGrant,
    /// Raw sockets.
    pub net: NetGrant,
    /// Resolution of the clocks the guest sees; `None` is the machine's own (`run`), `Some` is rounded down to it.
    pub clock: Option<Duration>,
    /// How much later than due a tick of those clocks may be told, by chance; at most their resolution.
    pub clock_jitter: Duration,
}

impl Grants {
    /// Whether a capability is granted at all, to any extent.
    pub fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::Kv => !self.kv.is_empty(),
            Capability::Http => !self.http.allow.is_empty(),
            Capability::Fs => !self.fs.is_empty(),
            Capability::Env => !self.env.is_empty(),
            Capability::Config => !self.config.is_empty() || !self.config_sources.is_empty(),
            Capability::Net => self.net.any || !self.net.connect.is_empty() || !self.net.listen.is_empty(),
            Capability::Blob => !self.blob.is_empty(),
            Capability::Messaging => !self.messaging.is_empty(),
            Capability::Sql => !self.sql.is_empty(),
            Capability::Secrets => !self.secrets.is_empty(),
            Capability::Log | Capability::Clock | Capability::Random => true,
        }
    }

    /// Every store that is granted, with the capability it is granted as.
    pub fn stores(&self) -> impl Iterator<Item = (Capability, &str)> {
        let kv = self.kv.keys().map(|name| (Capability::Kv, name.as_str()));
        let blob = self.blob.keys().map(|name| (Capability::Blob, name.as_str()));
        let sql = self.sql.keys().map(|name| (Capability::Sql, name.as_str()));
        let messaging = self.messaging.keys().map(|name| (Capability::Messaging, name.as_str()));
        kv.chain(blob).chain(sql).chain(messaging)
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
            Capability::Random => "random = true",
            Capability::Fs => "fs = [{ host = \"./dir\", guest = \"/dir\" }]",
            Capability::Env => "env = { KEY = \"value\" }",
            Capability::Net => "net = { connect = [\"host:port\"] }",
        }
    }
}

/// A rule that does not parse, and what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseGrantError(pub String);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_by_default_but_what_every_runtime_needs() {
        let grants = Grants::default();
        for capability in Capability::ALL {
            assert_eq!(grants.has(*capability), capability.granted_to_all(), "{capability}");
        }
    }

    #[test]
    fn every_grant_counts_as_one() {
        let pattern: SubjectPattern = "orders.*".parse().unwrap();
        let key = ("KEY".to_owned(), ValueSource::Environment("KEY".to_owned()));
        let grants = Grants {
            blob: BTreeMap::from([("pictures".to_owned(), BlobGrant::default())]),
            sql: BTreeMap::from([("orders".to_owned(), SqlGrant::default())]),
            messaging: BTreeMap::from([(
                DEFAULT_BUS.to_owned(),
                MessagingGrant { publish: vec![pattern], subscribe: Vec::new() },
            )]),
            secrets: SecretsGrant { values: BTreeMap::from([key]), sources: Vec::new() },
            ..Grants::default()
        };
        for capability in [Capability::Blob, Capability::Sql, Capability::Messaging, Capability::Secrets] {
            assert!(grants.has(capability), "{capability}");
        }
        let stores: Vec<_> = grants.stores().collect();
        let expected =
            [(Capability::Blob, "pictures"), (Capability::Sql, "orders"), (Capability::Messaging, "default")];
        assert_eq!(stores, expected);
    }
}
