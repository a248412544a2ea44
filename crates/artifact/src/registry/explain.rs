//! What a server says went wrong, in our words first and in its own behind them, as far as they can be shown.

use std::time::Duration;

use http::{StatusCode, header};
use serde::Deserialize;

use super::{
    endpoint::authority,
    transport::{Answer, Failure},
};
use crate::{Error, bounds::MAX_ERROR_BYTES};

/// Characters of a server's explanation that are shown.
const SHOWN: usize = 300;

/// What registries answer with an error: the specification's `errors` list.
#[derive(Deserialize)]
struct Explanation {
    errors: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// An answer that is none of those hoped for becomes an error about `what`. Nothing that is in `secrets` is shown of it, in
/// case the server tells us what we told it.
pub(super) async fn refused(answer: Answer, what: &str, secrets: &[String]) -> Failure {
    let (status, strayed, host) = (answer.status, answer.strayed, authority(&answer.url));
    let after = answer.text(header::RETRY_AFTER).and_then(|after| after.trim().parse().ok());
    let after = after.map(Duration::from_secs);
    let said = answer.body.beginning(MAX_ERROR_BYTES).await;
    let said = explanation(&said, secrets).map(|said| format!(": {said}")).unwrap_or_default();
    let error = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Error::NotFound(format!("`{host}` has no {what}{said}")),
        // Where a registry sends us on to, its login is not shown.
        StatusCode::UNAUTHORIZED if secrets.is_empty() || strayed => {
            Error::Unauthorized(format!("`{host}` wants a login for {what}{said}; log in with `docker login {host}`"))
        }
        StatusCode::UNAUTHORIZED => {
            Error::Unauthorized(format!("`{host}` does not accept the login that is kept for it, for {what}{said}"))
        }
        StatusCode::FORBIDDEN => Error::Unauthorized(format!("`{host}` does not let this login to {what}{said}")),
        StatusCode::TOO_MANY_REQUESTS => {
            Error::Unreachable(format!("`{host}` is asked too often, last for {what}{said}; wait, or log in"))
        }
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Error::Unreachable(format!("`{host}` answered {status} for {what}{said}"))
        }
        status => Error::Invalid(format!("`{host}` answered {status} for {what}{said}")),
    };
    Failure { error, again: worth_another_try(status), after }
}

/// Whether the server says that it may be otherwise soon.
pub(super) fn worth_another_try(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn explanation(said: &[u8], secrets: &[String]) -> Option<String> {
    let Explanation { errors } = serde_json::from_slice(said).ok()?;
    let one = |One { code, message }: One| match message.filter(|message| !message.is_empty()) {
        Some(message) if code.is_empty() => message,
        Some(message) => format!("{code}, {message}"),
        None => code,
    };
    let all: Vec<_> = errors.into_iter().take(4).map(one).filter(|text| !text.is_empty()).collect();
    let text = all.join("; ");
    let tells = |secret: &String| !secret.is_empty() && text.contains(secret.as_str());
    if text.is_empty() || secrets.iter().any(tells) {
        return None;
    }
    Some(clean(&text))
}

/// A stranger's text for a terminal and a log: one line, no control characters, not long.
pub(super) fn clean(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c });
    let mut shown: String = shown.take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

/// Marks that turn the direction of text or take no place, so that a line reads as another.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_one_line_and_harmless() {
        let said = |text: &str, secrets: &[&str]| {
            explanation(text.as_bytes(), &secrets.iter().map(|&one| one.to_owned()).collect::<Vec<_>>())
        };
        let denied = r#"{"errors":[{"code":"DENIED","message":"not you"},{"code":"UNAUTHORIZED"}]}"#;
        assert_eq!(said(denied, &[]).unwrap(), "DENIED, not you; UNAUTHORIZED");
        let escapes = r#"{"errors":[{"message":"a\u001b[2Jb\nc\u202ed"}]}"#;
        assert_eq!(said(escapes, &[]).unwrap(), "a [2Jb c d");
        assert_eq!(said(r#"{"errors":[{"message":"you said hunter2"}]}"#, &["hunter2"]), None);
        assert_eq!(said("<html>", &[]), None);
        let long = said(&format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(10_000)), &[]).unwrap();
        assert_eq!(long.chars().count(), SHOWN + 1);
    }
}
