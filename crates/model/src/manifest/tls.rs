//! `[tls]` of the host file: certificates, whose certificates clients must show, and what plain HTTP is for.
//!
//! Only paths are read here. Which names a certificate stands for is written in the certificate.

use std::path::{Path, PathBuf};

use super::reader::{Item, Reader};

/// Certificates of one host; each is parsed again when one changes.
const MAX_CERTIFICATES: usize = 256;

/// How HTTPS is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificates. The first answers clients that name no host or one that no certificate is for.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show certificates too.
    pub clients: Option<ClientCertificates>,
    /// Whether clients that speak no TLS 1.3 are turned away.
    pub only_13: bool,
    /// Whether plain HTTP only sends clients to HTTPS.
    pub redirect: bool,
    /// The port that clients are sent to, where it is not the one that is listened on.
    pub redirect_port: Option<u16>,
}

/// A certificate and its key, each a PEM file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then those that lead to the authority.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Which certificates of clients are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities that sign them, a PEM file.
    pub authorities: PathBuf,
    /// Whether a client without one is turned away.
    pub required: bool,
}

impl Tls {
    /// One certificate, for every client.
    pub fn new(chain: PathBuf, key: PathBuf) -> Self {
        let certificates = vec![CertificateFiles { chain, key }];
        Self { certificates, clients: None, only_13: false, redirect: false, redirect_port: None }
    }

    /// Makes every relative path relative to `folder`, the one that holds the host file.
    pub fn resolve_paths(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| *path = folder.join(&path);
        for files in &mut self.certificates {
            resolve(&mut files.chain);
            resolve(&mut files.key);
        }
        if let Some(clients) = &mut self.clients {
            resolve(&mut clients.authorities);
        }
    }

    /// Reads `[tls]` to its end.
    pub(super) fn read(mut reader: Reader<'_>) -> Option<Self> {
        let first = read_files(&mut reader);
        let also = reader.take("also").and_then(|item| {
            let items = item.array("[[tls.also]]")?;
            if items.len() >= MAX_CERTIFICATES {
                item.problem(format!("this has {} certificates; write fewer than {MAX_CERTIFICATES}", items.len()));
            }
            Some(items)
        });
        let also: Vec<_> = also.into_iter().flatten().filter_map(|item| read_also(&item)).collect();
        let authorities = reader.take("client_ca").and_then(|item| path(&item, "tls/clients.pem"));
        let required = reader.take("client_auth").and_then(|item| {
            let required = item.parse("require", client_auth)?;
            if authorities.is_none() {
                item.problem("nobody could be checked; write `client_ca = \"tls/clients.pem\"` too");
            }
            Some(required)
        });
        let only_13 = reader.take("min_version").and_then(|item| item.parse("1.2", min_version)).unwrap_or_default();
        let redirect = reader.take("redirect").and_then(|item| item.boolean()).unwrap_or_default();
        let redirect_port = reader.take("redirect_port").and_then(|item| {
            if !redirect {
                item.problem("nobody is sent there; write `redirect = true` too");
            }
            item.number()
        });
        reader.finish();
        let mut certificates = vec![first?];
        certificates.extend(also);
        // Whoever names authorities means it: to let the others in is what must be asked for.
        let clients =
            authorities.map(|authorities| ClientCertificates { authorities, required: required.unwrap_or(true) });
        Some(Self { certificates, clients, only_13, redirect, redirect_port })
    }
}

fn read_also(item: &Item<'_>) -> Option<CertificateFiles> {
    let mut reader = item.table("tls.also", "[[tls.also]]")?;
    let files = read_files(&mut reader);
    reader.finish();
    files
}

fn read_files(reader: &mut Reader<'_>) -> Option<CertificateFiles> {
    let chain =
        reader.require("certificate", "certificate = \"tls/cert.pem\"").and_then(|item| path(&item, "tls/cert.pem"));
    let key = reader.require("key", "key = \"tls/key.pem\"").and_then(|item| path(&item, "tls/key.pem"));
    Some(CertificateFiles { chain: chain?, key: key? })
}

fn path(item: &Item<'_>, example: &str) -> Option<PathBuf> {
    item.text(example).map(PathBuf::from)
}

fn client_auth(text: &str) -> Result<bool, String> {
    match text {
        "require" => Ok(true),
        "optional" => Ok(false),
        _ => Err(format!("`{text}` is not known; write `require` or `optional`")),
    }
}

fn min_version(text: &str) -> Result<bool, String> {
    match text {
        "1.2" => Ok(false),
        "1.3" => Ok(true),
        _ => Err(format!("`{text}` is not a version of TLS that is served; write `1.2` or `1.3`")),
    }
}
