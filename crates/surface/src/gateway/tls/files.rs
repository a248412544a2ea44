//! The PEM files of `[tls]`, read as a whole.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use samara_model::manifest::Tls as Settings;
use sha2::{Digest as _, Sha256};

/// Bytes of one PEM file: a bundle of every public authority is a fifth of it.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Certificates in one file.
const MAX_CERTIFICATES: usize = 1_000;
/// Permissions a private key should not give: to write for the group, anything for others. The group may read, as
/// orchestrators mount keys so.
const LOOSE_MODE: u32 = 0o027;

/// What tells one state of the files from another.
pub(super) type Digest = [u8; 32];

/// The content of all files.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) pairs: Vec<Pair>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// Keys that others may read.
    pub(super) warnings: Vec<String>,
    /// Of every byte of every file.
    pub(super) digest: Digest,
}

/// A certificate and its key.
#[derive(Debug)]
pub(super) struct Pair {
    /// Where the certificate is, for messages.
    pub(super) file: PathBuf,
    /// Where the key is, for messages.
    pub(super) key_file: PathBuf,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Files {
    /// Reads them all.
    ///
    /// # Errors
    /// One cannot be read, or does not hold what it is for.
    pub(super) fn read(settings: &Settings) -> anyhow::Result<Self> {
        let mut digest = Sha256::new();
        let mut warnings = Vec::new();
        let mut pairs = Vec::new();
        for files in &settings.certificates {
            let chain = read(&files.chain, &mut digest)?;
            let key = read(&files.key, &mut digest)?;
            warnings.extend(loose(&files.key));
            pairs.push(Pair {
                file: files.chain.clone(),
                key_file: files.key.clone(),
                chain: certificates(&files.chain, &chain)?,
                key: private_key(&files.key, &key)?,
            });
        }
        let authorities = match &settings.clients {
            None => Vec::new(),
            Some(clients) => certificates(&clients.authorities, &read(&clients.authorities, &mut digest)?)?,
        };
        Ok(Self { pairs, authorities, warnings, digest: digest.finalize().into() })
    }
}

fn read(path: &Path, digest: &mut Sha256) -> anyhow::Result<Vec<u8>> {
    let place = || format!("reading `{}`", path.display());
    if !fs::metadata(path).with_context(place)?.is_file() {
        bail!("`{}` is not a file; name a PEM file", path.display());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(place)?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(place)?;
    let length = u64::try_from(read).unwrap_or(u64::MAX);
    if length > MAX_FILE_BYTES {
        bail!("`{}` is over {MAX_FILE_BYTES} bytes, too large for a PEM file", path.display());
    }
    // The length too, so that bytes that move from one file to the next do not go unseen.
    digest.update(length.to_le_bytes());
    digest.update(&bytes);
    Ok(bytes)
}

fn certificates(path: &Path, pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(MAX_CERTIFICATES).collect();
    let parsed = parsed.map_err(|error| anyhow!("`{}` is not PEM: {error}", path.display()))?;
    if parsed.is_empty() {
        bail!("`{}` holds no certificate; write PEM with `-----BEGIN CERTIFICATE-----`", path.display());
    }
    Ok(parsed)
}

fn private_key(path: &Path, pem: &[u8]) -> anyhow::Result<PrivateKeyDer<'static>> {
    // The parser's error could quote a line of the key.
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        let path = path.display();
        anyhow!("`{path}` holds no private key; write PEM with `-----BEGIN PRIVATE KEY-----`, not encrypted")
    })
}

/// What is wrong with the permissions of a key.
fn loose(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & LOOSE_MODE != 0).then(|| {
        let path = path.display();
        format!("the private key `{path}` has mode {:04o}, so that others than its owner can use it; `chmod 600 {path}` would end that", mode & 0o7777)
    })
}
