//! What an error of S3 is called. A server's own words are not repeated, but for its error code: they may hold the key's
//! name, the text that was signed, or whatever else a server likes to tell.

use object_store::{
    Error,
    client::{HttpError, HttpErrorKind},
};

use crate::blob::BlobError;

/// Characters of an error code, at most.
const CODE_CHARACTERS: usize = 64;

/// Whether the server answered with this status.
pub(super) fn is_status(error: &Error, status: u16) -> bool {
    said(error).0 == Some(status)
}

/// The status and the error code of the server's answer, as far as there was one.
fn said(error: &Error) -> (Option<u16>, Option<String>) {
    let text = error.to_string();
    let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest);
    let status = after("non-2xx status code: ").and_then(|rest| rest.get(..3)?.parse().ok());
    let code = after("<Code>").and_then(|rest| rest.split_once("</Code>")).map(|(code, _)| code);
    let plain = |code: &&str| code.len() <= CODE_CHARACTERS && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (status, code.filter(plain).map(str::to_owned))
}

/// What the connection said, if it was that which failed.
fn connection(error: &Error) -> Option<(HttpErrorKind, String)> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            let mut last: &(dyn std::error::Error + 'static) = http;
            while let Some(deeper) = last.source() {
                last = deeper;
            }
            return Some((http.kind(), last.to_string()));
        }
        cause = error.source();
    }
    None
}

/// The error in words of ours.
pub(super) fn explain(place: &str, error: &Error) -> BlobError {
    if let Some((kind, why)) = connection(error) {
        return match kind {
            HttpErrorKind::Timeout => BlobError::TimedOut(format!("`{place}` did not answer")),
            HttpErrorKind::Connect => BlobError::Backend(format!("`{place}` cannot be reached: {why}")),
            HttpErrorKind::Decode => BlobError::Backend(format!("the answer of `{place}` cannot be read: {why}")),
            _ => BlobError::Backend(format!("the connection to `{place}` broke: {why}")),
        };
    }
    let (status, code) = said(error);
    let code = code.map(|code| format!(" (`{code}`)")).unwrap_or_default();
    // Which variant it is depends on what was asked; the status does not.
    let status = status.or(match error {
        Error::Unauthenticated { .. } => Some(401),
        Error::PermissionDenied { .. } => Some(403),
        Error::NotFound { .. } => Some(404),
        Error::AlreadyExists { .. } => Some(409),
        Error::Precondition { .. } => Some(412),
        _ => None,
    });
    BlobError::Backend(match status {
        Some(401) => {
            format!("`{place}` does not know the credentials{code}; check `access_key_id` and `secret_access_key`")
        }
        Some(403) => format!("`{place}` refuses what the credentials ask for{code}; check them, and what they may do"),
        Some(404) => format!("`{place}` is not there{code}; create the bucket first"),
        Some(409 | 412) => format!("`{place}` says that somebody else was faster{code}"),
        Some(status) => format!("`{place}` answered with status {status}{code}"),
        None => format!("the answer of `{place}` is none of S3's{code}"),
    })
}
