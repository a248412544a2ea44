//! `samara sign` and `samara keys`: signatures that cosign verifies, and the keys to make them with.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use samara_artifact::trust::{KeyPair, SignatureLayout, sign};
use serde_json::json;

use super::{Writable, other, print, usage};
use crate::command::{Failure, OriginArgs, block_on, origin};

/// Where a password may be, ours first.
const PASSWORDS: [&str; 2] = ["SAMARA_KEY_PASSWORD", "COSIGN_PASSWORD"];

/// Arguments of `samara sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// What to sign, by tag or digest
    #[arg(value_name = "REF")]
    pub reference: String,
    /// The private key: of `samara keys new`, of cosign, or PKCS #8; its password is in SAMARA_KEY_PASSWORD or asked for
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Where it is.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl SignArgs {
    /// Signs the manifest, for every cosign in use. Signatures that are there stay.
    ///
    /// # Errors
    /// It is not there, the key cannot be read, or the repository cannot be written to.
    pub fn run(self) -> Result<ExitCode, Failure> {
        block_on(self.sign())?
    }

    async fn sign(self) -> Result<ExitCode, Failure> {
        let (reference, sources) = (origin::reference(&self.reference)?, self.origin.sources_untrusted()?);
        let key = key_pair(&self.key)?;
        let to = Writable::open(&sources, &reference).await?;
        let subject = to.repository.resolve(&to.version).await.map_err(other)?;
        let signatures = sign(&*to.repository, subject.digest(), &key, SignatureLayout::ALL).await.map_err(other)?;
        to.finish().await?;
        let digest = subject.digest();
        if self.json {
            print(&json!({ "manifest": digest.to_string(), "signatures": signatures }).to_string());
        } else {
            let already = signatures.iter().all(|signature| signature.already);
            let done = if already { "signed by this key already" } else { "signed" };
            print(&format!("{digest}: {done}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `samara keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// What to do
    #[command(subcommand)]
    pub action: KeysAction,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysAction {
    /// Make a key pair: PREFIX.key to sign with, under a password, and PREFIX.pub to give away; cosign reads both
    New {
        /// What the two files are called
        #[arg(value_name = "PREFIX", default_value = "samara")]
        prefix: PathBuf,
    },
}

impl KeysArgs {
    /// Makes a pair of keys.
    ///
    /// # Errors
    /// A file of that name is there, or cannot be written.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let KeysAction::New { prefix } = self.action;
        let with = |extension: &str| PathBuf::from(format!("{}.{extension}", prefix.display()));
        let (private, public) = (with("key"), with("pub"));
        let password = password(&format!("a password for `{}`: ", private.display()))?;
        let pair = KeyPair::generate().map_err(other)?;
        pair.write(&private, &public, password.as_bytes()).map_err(usage)?;
        print(&format!("{}: keep it\n{}: give it away", private.display(), public.display()));
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a private key, asking for its password if it has one.
pub(super) fn key_pair(file: &Path) -> Result<KeyPair, Failure> {
    /// Bytes of a key file.
    const MAX_KEY_BYTES: u64 = 64 << 10;
    let place = || format!("reading the key `{}`", file.display());
    let size = std::fs::metadata(file).with_context(place).map_err(Failure::Usage)?.len();
    if size > MAX_KEY_BYTES {
        return Err(Failure::Usage(anyhow!("`{}` is over {MAX_KEY_BYTES} bytes, and no key", file.display())));
    }
    let pem = std::fs::read_to_string(file).with_context(place).map_err(Failure::Usage)?;
    let password = if KeyPair::needs_password(&pem) {
        password(&format!("the password of `{}`: ", file.display()))?
    } else {
        String::new()
    };
    KeyPair::parse(&file.display().to_string(), &pem, password.as_bytes()).map_err(usage)
}

/// A password from the environment, or from whoever sits at the terminal, unseen.
fn password(prompt: &str) -> Result<String, Failure> {
    if let Some(password) = PASSWORDS.iter().find_map(|name| std::env::var(name).ok()) {
        return Ok(password);
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::Usage(anyhow!("there is nobody to ask for a password; set `{}`", PASSWORDS[0])));
    }
    let mut stderr = std::io::stderr().lock();
    drop(write!(stderr, "{prompt}").and_then(|()| stderr.flush()));
    let before = tcgetattr(&stdin).context("asking the terminal")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).context("silencing the terminal")?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &before).context("restoring the terminal")?;
    drop(writeln!(stderr));
    read.context("reading the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
