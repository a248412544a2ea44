//! Registries and web servers: the OCI distribution protocol (<https://github.com/opencontainers/distribution-spec>, 1.1) as a
//! client, which believes nothing of what it is told.
//!
//! A question goes down and comes back: `remote` says it in the protocol's words (with `list`, `upload` and `download`) ->
//! `exchange` tries again, logs in (`auth`, `login`), follows redirects as far as `reach` lets it -> `transport` sends
//! one request over connections to addresses that `resolve` has judged -> `body` reads the answer within its bounds, and
//! `explain` says what is wrong with one that nobody hoped for.

mod auth;
mod body;
mod download;
mod endpoint;
mod exchange;
mod explain;
mod list;
mod login;
mod reach;
mod remote;
mod resolve;
mod settings;
#[cfg(test)]
mod tests;
mod transport;
mod upload;

use std::sync::Arc;

pub use settings::{Login, Logins, Patience, RegistrySettings};
use url::Url;

use self::{
    auth::Auth,
    download::{Download, Length},
    endpoint::{Endpoint, authority, shown},
    exchange::Exchange,
    remote::Remote,
    transport::Transport,
};
use crate::{BlobStream, Error, OciReference, Repository};

/// Speaks with registries and web servers. One for a process: it keeps connections and tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    exchange: Arc<Exchange>,
}

impl Client {
    /// A client that has not spoken with anybody yet.
    pub fn new(settings: RegistrySettings) -> Self {
        Self { exchange: Arc::new(Exchange { transport: Transport::new(settings), auth: Auth::default() }) }
    }

    /// Whether no request leaves.
    pub fn is_offline(&self) -> bool {
        self.exchange.transport.settings.offline
    }

    /// The repository that a reference names; nothing is asked yet. It is read from the registry's mirrors first, in their
    /// order, and from the registry itself last; what is pushed goes to the registry itself.
    ///
    /// # Errors
    /// The host, or one of its mirrors, is none.
    pub fn repository(&self, reference: &OciReference) -> Result<Arc<dyn Repository>, Error> {
        Ok(Arc::new(self.remote(reference)?))
    }

    fn remote(&self, reference: &OciReference) -> Result<Remote, Error> {
        let settings = &self.exchange.transport.settings;
        Ok(Remote {
            exchange: Arc::clone(&self.exchange),
            name: format!("{}/{}", reference.registry, reference.repository),
            mirrors: Endpoint::mirrors(settings, reference)?,
            own: Endpoint::of(settings, reference)?,
        })
    }

    /// The tags of a repository, in the registry's order, at most [`crate::bounds::MAX_TAGS`].
    ///
    /// # Errors
    /// There is no such repository, or nobody answers.
    pub async fn tags(&self, reference: &OciReference) -> Result<Vec<String>, Error> {
        let remote = self.remote(reference)?;
        remote.first_of(|at| remote.tags_at(at)).await
    }

    /// What a web server has at a URL, from `offset` on (or from 0, if the server cannot begin elsewhere), and at most `limit`
    /// bytes in all. No login is sent.
    ///
    /// # Errors
    /// It is not there, is longer, or the URL is of plain HTTP and its host was not named insecure.
    pub async fn get_url(&self, url: &Url, offset: u64, limit: u64) -> Result<BlobStream, Error> {
        let host = authority(url);
        match url.scheme() {
            "https" => {}
            "http" if self.exchange.transport.settings.insecure(url) => {}
            "http" => {
                return Err(Error::Reference(format!(
                    "`{}` is plain HTTP, which anybody on the way can change; write `https`, or allow it: `--insecure {host}`, \
                     or `[registry.\"{host}\"] insecure = true` in the host file",
                    shown(url)
                )));
            }
            scheme => return Err(Error::Reference(format!("`{scheme}` is not spoken here; write `https`"))),
        }
        let what = format!("`{}`", shown(url));
        Download::begin(Arc::clone(&self.exchange), url.clone(), None, what, Length::AtMost(limit), offset).await
    }
}
