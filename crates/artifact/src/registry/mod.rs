//! Registries and web servers: the OCI distribution protocol (<https://github.com/opencontainers/distribution-spec>, 1.1) as a
//! client.

mod settings;

use std::sync::Arc;

pub use settings::{Login, Logins, Patience, RegistrySettings};
use url::Url;

use crate::{BlobStream, Error, OciReference, Repository};

/// Speaks with registries and web servers. One for a process: it keeps connections, tokens and what it learnt of hosts.
#[derive(Clone, Debug)]
pub struct Client {
    settings: Arc<RegistrySettings>,
}

impl Client {
    /// A client that has not spoken with anybody yet.
    pub fn new(settings: RegistrySettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// The repository that a reference names; nothing is asked yet.
    ///
    /// # Errors
    /// The host is none.
    pub fn repository(&self, reference: &OciReference) -> Result<Arc<dyn Repository>, Error> {
        Err(Error::Unreachable(format!("`{reference}`: registries are not spoken with yet ({:?})", self.settings)))
    }

    /// The tags of a repository, sorted as the registry sorts them, at most [`crate::bounds::MAX_TAGS`].
    ///
    /// # Errors
    /// There is no such repository, or nobody answers.
    pub async fn tags(&self, reference: &OciReference) -> Result<Vec<String>, Error> {
        Err(Error::Unreachable(format!("`{reference}`: registries are not spoken with yet")))
    }

    /// What a web server has at a URL, from `offset` on, and at most `limit` bytes in all.
    ///
    /// # Errors
    /// It is not there, is longer, or the URL is of plain HTTP and its host was not named insecure.
    pub async fn get_url(&self, url: &Url, offset: u64, limit: u64) -> Result<BlobStream, Error> {
        Err(Error::Unreachable(format!("`{url}` from {offset} to {limit}: web servers are not spoken with yet")))
    }
}
