//! Why there is no artifact. The variants are what callers branch on: try again, ask for a login, refuse for good.

/// Why there is no artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What was written is not a reference.
    #[error("{0}")]
    Reference(String),
    /// The server, file or archive has no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The server wants a login, or does not let this one in.
    #[error("{0}")]
    Unauthorized(String),
    /// Nobody answers, or answers that it cannot now; worth another try.
    #[error("{0}")]
    Unreachable(String),
    /// It is larger, deeper or more than a bound of [`crate::bounds`]; the message names the bound.
    #[error("{0}")]
    OverLimit(String),
    /// It is not what it says it is: a wrong digest, size, media type; a document that contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// The trust policy refuses it.
    #[error("{0}")]
    Untrusted(String),
    /// This machine's disk.
    #[error("{0}")]
    Disk(String),
}

/// Characters of an error that strangers had a say in.
const MAX_ERROR_CHARS: usize = 800;

impl Error {
    /// The same error for a terminal or a log, where what it says of an artifact was written by strangers: without control
    /// characters, and not at any length.
    #[must_use]
    pub fn harmless(self) -> Self {
        match self {
            Self::NotFound(text) => Self::NotFound(harmless(&text)),
            Self::Invalid(text) => Self::Invalid(harmless(&text)),
            Self::OverLimit(text) => Self::OverLimit(harmless(&text)),
            other => other,
        }
    }
}

fn harmless(text: &str) -> String {
    let mut harmless = String::new();
    for (at, character) in text.chars().enumerate() {
        match character {
            _ if at >= MAX_ERROR_CHARS => {
                harmless.push_str("...");
                break;
            }
            control if control.is_control() => harmless.extend(control.escape_debug()),
            other => harmless.push(other),
        }
    }
    harmless
}
