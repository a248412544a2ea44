//! The operator's token: whoever has it may change what is served.
//!
//! It lives in a file that only its owner can read, so that whoever may run programs as the operator may also change what
//! the operator's host serves, and nobody else.

use std::{
    env, fmt, fs,
    io::{ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use subtle::ConstantTimeEq;

/// Random bytes of a token of ours.
const RANDOM_BYTES: usize = 32;
/// A token shorter than this could be guessed.
const MIN_BYTES: usize = 16;
/// A token file over this is not one.
const MAX_BYTES: u64 = 1 << 10;

/// The secret, never shown.
pub struct Token {
    secret: Vec<u8>,
    /// The file it came from, for messages.
    pub file: PathBuf,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Where the token is when nobody says otherwise: in the user's state folder, `None` without one.
pub fn default_file() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("samara/admin.token"))
}

impl Token {
    /// Reads the token from its file.
    ///
    /// # Errors
    /// There is none, others may read it, or it is too short.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let opened = fs::File::open(file).with_context(|| format!("reading the admin token `{shown}`"))?;
        let about = opened.metadata().with_context(|| format!("reading the admin token `{shown}`"))?;
        if !about.is_file() || about.len() > MAX_BYTES {
            bail!("the admin token `{shown}` is not a file of at most {MAX_BYTES} bytes");
        }
        if about.mode() & 0o077 != 0 {
            bail!("others may read the admin token `{shown}`; `chmod 600 {shown}` would keep it to you");
        }
        let mut text = String::new();
        opened
            .take(MAX_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("reading the admin token `{shown}`"))?;
        let secret = text.trim().as_bytes().to_vec();
        if secret.len() < MIN_BYTES || !secret.iter().all(u8::is_ascii_graphic) {
            bail!(
                "the admin token in `{shown}` is not one word of at least {MIN_BYTES} letters and digits; remove the file, and `samara serve` makes another"
            );
        }
        Ok(Self { secret, file: file.to_owned() })
    }

    /// Reads the token, or makes one if the file is not there.
    ///
    /// # Errors
    /// As [`Self::read`]; or the file cannot be made.
    pub fn read_or_make(file: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making the folder `{}`", folder.display()))?;
        }
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness for a token: {error}"))?;
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // Complete before it has its name: whoever starts at the same time reads all of it or makes their own.
        let mut scratch = file.as_os_str().to_owned();
        scratch.push(format!(".{}", std::process::id()));
        let scratch = PathBuf::from(scratch);
        let made = || -> std::io::Result<()> {
            let mut fresh = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch)?;
            fresh.write_all(text.as_bytes())?;
            fresh.write_all(b"\n")?;
            fs::hard_link(&scratch, file)
        };
        let linked = if file.exists() { Ok(()) } else { made() };
        drop(fs::remove_file(&scratch));
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("making the admin token `{}`", file.display()))
            }
            _ => Self::read(file),
        }
    }

    /// The token as a header's value.
    pub fn header(&self) -> String {
        format!("Bearer {}", String::from_utf8_lossy(&self.secret))
    }

    /// Whether a request's `Authorization` has it; takes as long for a near miss as for any other.
    pub(super) fn is_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && given.ct_eq(&self.secret).into()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/admin.token");
        let made = Token::read_or_make(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Token::read_or_make(&file).unwrap().header(), made.header());
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        assert!(made.is_in(made.header().as_bytes()));
        for wrong in ["", "Bearer", "Bearer ", "Basic x", &made.header()[..made.header().len() - 1]] {
            assert!(!made.is_in(wrong.as_bytes()), "{wrong}");
        }
        assert!(!format!("{made:?}").contains(&made.header()[7..]));
    }

    #[test]
    fn a_token_that_others_know_or_could_guess_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("admin.token");
        let check = |text: &str, mode: u32, message: &str| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let error = Token::read_or_make(&file).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        check("0123456789abcdef0123456789abcdef", 0o640, "chmod 600");
        check("short", 0o600, "at least 16");
        check("two words of which none counts", 0o600, "one word");
    }
}
