//! What a [`Client`](super::Client) is told: hosts, logins, patience. Plain data.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use samara_model::RegistryHost;

use crate::bounds;

/// Everything a client is told.
#[derive(Clone, Debug, Default)]
pub struct RegistrySettings {
    /// Hosts that are not like others, by `host` or `host:port` as references write them.
    pub hosts: BTreeMap<String, RegistryHost>,
    /// Where logins come from.
    pub logins: Logins,
    /// How long and how often.
    pub patience: Patience,
    /// No request leaves this machine, nor one to itself: what is not in the store is not to be had.
    pub offline: bool,
}

/// Where logins come from.
#[derive(Clone, Debug, Default)]
pub enum Logins {
    /// Files that `docker login`, `podman login`, `oras login` wrote, where these programs look for them, and the credential
    /// helpers which those files name.
    #[default]
    Found,
    /// Such files, in this order; the first that knows the host counts.
    Files(Vec<PathBuf>),
    /// These, by host as references write it; nothing else is looked at.
    Given(BTreeMap<String, Login>),
}

/// One login. Neither [`Debug`](fmt::Debug) nor any error shows what is secret in it.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// What a token server changes for a token: docker's `identitytoken`.
    IdentityToken(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).field("password", &"...").finish()
            }
            Self::IdentityToken(_) => f.write_str("IdentityToken(...)"),
        }
    }
}

/// How long and how often a server is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection and the head of an answer.
    pub answer: Duration,
    /// For the next byte of a body.
    pub stall: Duration,
    /// For the whole of a small document: a manifest, a token, a list, an error.
    pub document: Duration,
    /// A body may be slower than [`bounds::MIN_BYTES_PER_SECOND`] for so long.
    pub slow: Duration,
    /// Tries of one request, the first included.
    pub tries: u32,
    /// The wait before the second try; it doubles with each, up to `longest_wait`.
    pub backoff: Duration,
    /// The longest wait between two tries, also where the server asks for more.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: bounds::ANSWER_TIMEOUT,
            stall: bounds::STALL_TIMEOUT,
            document: bounds::DOCUMENT_TIMEOUT,
            slow: bounds::SLOW_TIMEOUT,
            tries: bounds::MAX_TRIES,
            backoff: bounds::FIRST_BACKOFF,
            longest_wait: bounds::MAX_BACKOFF,
        }
    }
}
