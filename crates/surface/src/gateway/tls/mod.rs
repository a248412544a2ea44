//! TLS: which certificate a client sees, whose certificates are taken, and how both change while it serves.
//!
//! rustls does the protocol (1.2 and 1.3, its own choice of ciphers); here is what an operator decides. A handshake is a
//! connection from its first byte: it holds a slot, and it must be over before the time for a request's head is. Session
//! tickets are signed with a key of this process that changes with the certificates, so that a resumed session never
//! outlives an authority that was taken away. There is no early data (0-RTT): it can be played back.
//!
//! Deliberately absent: ACME, OCSP stapling, revocation lists.

mod certificate;
mod files;
mod names;
mod watch;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use parking_lot::RwLock;
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use samara_model::manifest::Tls as Settings;
use tokio_rustls::TlsAcceptor;

pub(super) use certificate::client_certificate;
use files::{Digest, Files};
use names::Names;

/// The protocols offered, best first.
const ALPN: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// HTTP/2, as ALPN calls it.
pub(super) const HTTP2: &[u8] = b"h2";

/// Where HTTPS is served, and how.
#[derive(Clone, Debug)]
pub struct Https {
    /// Where clients connect. Port 0 picks one.
    pub listen: SocketAddr,
    /// Certificates, and what else the operator says.
    pub tls: Settings,
}

/// What HTTPS connections are made with.
#[derive(Debug)]
pub(super) struct Tls {
    settings: Settings,
    current: RwLock<Arc<ServerConfig>>,
    /// The files `current` was made of.
    loaded: Digest,
    /// When the first of the certificates expires, in seconds since 1970.
    expires: i64,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read or used; the message names it.
    pub(super) fn load(settings: Settings) -> anyhow::Result<Self> {
        let files = Files::read(&settings)?;
        for warning in &files.warnings {
            tracing::warn!("{warning}");
        }
        let made = configuration(&settings, &files)?;
        Ok(Self { settings, current: RwLock::new(made.config), loaded: files.digest, expires: made.expires })
    }

    /// What shakes hands with the next client.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read()))
    }
}

/// A configuration, and what is to be told of it.
struct Made {
    config: Arc<ServerConfig>,
    names: usize,
    expires: i64,
}

/// Everything rustls is told.
///
/// # Errors
/// A key that is not its certificate's, an authority that is none.
fn configuration(settings: &Settings, files: &Files) -> anyhow::Result<Made> {
    let provider = Arc::new(ring::default_provider());
    let mut names = Names::default();
    let mut expires = i64::MAX;
    for pair in &files.pairs {
        let facts = names.add(pair, &provider)?;
        expires = expires.min(facts.expires);
        // It is served all the same: a certificate that clients refuse is no worse than none.
        if let Some(dated) = facts.dated {
            tracing::warn!("the certificate `{}` {dated}; clients will refuse it", pair.file.display());
        }
    }
    let versions: &[&SupportedProtocolVersion] = if settings.only_13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .context("while choosing the versions of TLS")?;
    let builder = match &settings.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let file = clients.authorities.display();
            let verifier = verifier(files, clients.required, provider);
            builder.with_client_cert_verifier(verifier.with_context(|| format!("using the authorities in `{file}`"))?)
        }
    };
    let count = names.len();
    let mut config = builder.with_cert_resolver(Arc::new(names));
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    config.ticketer = ring::Ticketer::new().context("while making a key for session tickets")?;
    Ok(Made { config: Arc::new(config), names: count, expires })
}

fn verifier(
    files: &Files,
    required: bool,
    provider: Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for authority in &files.authorities {
        roots.add(authority.clone())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    Ok(if required { builder } else { builder.allow_unauthenticated() }.build()?)
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
