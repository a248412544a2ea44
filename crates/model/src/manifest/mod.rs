//! The two files of a deployment: an app's `samara.toml` and the operator's host file.
//!
//! Text in, plain data out: nothing here opens a file, so relative paths and `file:` references stay as they were
//! written until [`App::resolve_paths`] and the loader deal with them. A file is read to its end before it is refused:
//! every problem is reported at once, each as `file:line:column: what is wrong; what would fix it`.
//!
//! Both files are walked by hand over TOML's spanned tables rather than through serde, because serde stops at the first
//! error and does not know where the key it misses should have been. Keys that a later version brings are refused by
//! name (`not_yet.rs`), so that nobody believes them to be in force.

mod app;
mod artifacts;
mod event;
mod folder;
mod grants;
mod guest_store;
mod host;
mod http2;
mod limits;
mod not_yet;
mod outgoing;
mod provider;
mod reader;
mod registry;
mod reply;
mod rollout;
mod source;
#[cfg(test)]
mod tests;
mod tls;
mod trust;

use std::{fmt, path::PathBuf};

pub use app::{Answer, App, Canary, Store, Trigger, Workload};
pub use artifacts::{
    ArtifactSettings, MAX_ENTRIES_CEILING, MAX_EXPANSION_CEILING, MAX_LAYER_CEILING_BYTES, MAX_MODULE_CEILING_BYTES,
    MAX_UNPACKED_CEILING_BYTES, MAX_VERIFY_TIMEOUT,
};
pub use event::{EventTrigger, Overlap, Starts};
pub use folder::Folder;
pub use host::{
    BODY_TIMEOUT, HEADER_TIMEOUT, Host, HttpSettings, IDLE_TIMEOUT, LISTEN_ADMIN, LISTEN_HTTP, LISTEN_HTTPS, LogFormat,
    MAX_CONNECTIONS, TenantQuota, UnknownTenant,
};
pub use http2::Http2Settings;
pub use limits::{LimitOver, LimitOverrides};
pub use provider::{guest_of, path_address, relative_path, resolve_provider};
pub use reader::{MAX_ELEMENTS, MAX_MANIFEST_BYTES, MAX_PROBLEMS};
pub use registry::check_host;
pub use reply::FixedReply;
pub use rollout::Rollout;
pub use source::{MAX_POLL, MIN_POLL, Source, Update};
pub use tls::{CertificateFiles, ClientCertificates, Tls};

/// A place in a file, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// One thing wrong with a file, and what would fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to the parser.
    pub file: PathBuf,
    /// Where in it.
    pub position: Position,
    /// What is wrong and what would fix it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{}:{line}:{column}: {}", self.file.display(), self.message)
    }
}

/// Everything wrong with a file, in the order of its lines; printed one problem a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestErrors {
    /// The problems: at least one, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestErrors {}
