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
    /// Nobody is asked now, and what is remembered does not tell whether there is such a thing: it was never asked for.
    #[error("{0}")]
    Unasked(String),
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
            Self::NotFound(text) => Self::NotFound(harmless(&text, MAX_ERROR_CHARS)),
            Self::Invalid(text) => Self::Invalid(harmless(&text, MAX_ERROR_CHARS)),
            Self::OverLimit(text) => Self::OverLimit(harmless(&text, MAX_ERROR_CHARS)),
            other => other,
        }
    }
}

/// Text that strangers have a say in: without what a terminal would obey or a reader would not see, and not at any length.
pub(crate) fn harmless(text: &str, most_chars: usize) -> String {
    let mut harmless = String::new();
    for (at, character) in text.chars().enumerate() {
        match character {
            _ if at >= most_chars => {
                harmless.push_str("...");
                break;
            }
            // Marks that turn the direction of what follows, break a line, or take no place.
            '\u{061c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}' => harmless.extend(character.escape_unicode()),
            control if control.is_control() => harmless.extend(control.escape_default()),
            other => harmless.push(other),
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_wrote_is_seen_and_not_obeyed() {
        let shown = |text: &str| harmless(text, 20);
        assert_eq!(shown("caf\u{e9} `x`"), "caf\u{e9} `x`");
        assert_eq!(shown("a\u{1b}[2J\nb"), r"a\u{1b}[2J\nb");
        assert_eq!(shown("a\u{202e}\u{200b}\u{2028}\u{9b}"), r"a\u{202e}\u{200b}\u{2028}\u{9b}");
        assert_eq!(shown(&"x".repeat(21)), format!("{}...", "x".repeat(20)));
        let error = Error::Invalid("a\u{1b}".to_owned()).harmless();
        assert_eq!(error, Error::Invalid(r"a\u{1b}".to_owned()));
    }
}
