//! What goes with a granted origin: headers that the guest never sees, times, retries and connections.

use std::{fmt, str::FromStr, time::Duration};

use super::{OriginRule, ParseGrantError, ValueSource};

/// Attempts after the first, at most.
pub const MAX_HTTP_RETRIES: u32 = 5;

/// Headers that belong to the message or to the connection and are nobody's to add.
const NOT_ADDED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers whose values are credentials whatever they say, so that none is written out in a manifest.
const CREDENTIALS: &[&str] = &["authorization", "cookie", "x-api-key"];

/// A header that is added to a workload's requests to one origin, in place of what the guest wrote under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// Which requests.
    pub origin: OriginRule,
    /// The header, in lower case.
    pub name: String,
    /// Its value.
    pub value: HeaderTemplate,
}

/// The header of a name as a rule may add it: in lower case.
///
/// # Errors
/// It is no header, or one that nobody may add.
pub fn check_added_header(name: &str) -> Result<String, ParseGrantError> {
    let parsed = name.parse::<http::HeaderName>();
    let parsed = parsed.map_err(|_| ParseGrantError(format!("`{name}` is not the name of a header")))?;
    if NOT_ADDED.contains(&parsed.as_str()) {
        let why = format!("`{name}` belongs to the connection or to the body, and is not added; remove it");
        return Err(ParseGrantError(why));
    }
    Ok(parsed.as_str().to_owned())
}

/// A header's value: text with secrets in it. A value that is a single reference is written as that (`secret:API_KEY`,
/// `env:API_KEY`, `file:./key`), within text it stands in braces: `Bearer ${secret:API_KEY}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTemplate {
    /// The parts, in their order.
    pub pieces: Vec<HeaderPiece>,
}

/// A part of a header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderPiece {
    /// Text as it is.
    Text(String),
    /// A secret of the workload's own `secrets` grant, which the guest may read too.
    Secret(String),
    /// A secret that only the host reads.
    Source(ValueSource),
}

impl HeaderTemplate {
    /// Whether it is written out whole, where it would be a credential.
    fn leaks(&self, name: &str) -> bool {
        CREDENTIALS.contains(&name) && self.pieces.iter().all(|piece| matches!(piece, HeaderPiece::Text(_)))
    }

    /// Reads the value of a header of this name.
    ///
    /// # Errors
    /// It does not parse, or is a credential in plain text; the message does not repeat it.
    pub fn parse(name: &str, text: &str) -> Result<Self, ParseGrantError> {
        let template: Self = text.parse()?;
        if template.leaks(name) {
            let why = "a credential does not belong in a manifest; write `secret:NAME`, `env:NAME` or `file:./path`, \
                       within text as `Bearer ${env:NAME}`";
            return Err(ParseGrantError(why.to_owned()));
        }
        Ok(template)
    }
}

fn reference(text: &str) -> Result<HeaderPiece, ParseGrantError> {
    match text.strip_prefix("secret:") {
        Some("") => Err(ParseGrantError("`secret:` names no secret; write `secret:API_KEY`".to_owned())),
        Some(name) => Ok(HeaderPiece::Secret(name.to_owned())),
        None => match text.parse()? {
            ValueSource::Directory(_) => {
                Err(ParseGrantError("a folder is no single secret; write `file:./path`".to_owned()))
            }
            source => Ok(HeaderPiece::Source(source)),
        },
    }
}

impl FromStr for HeaderTemplate {
    type Err = ParseGrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if ["secret:", "env:", "file:", "dir:"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self { pieces: vec![reference(text)?] });
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (inner, after) = after.split_once('}').ok_or_else(|| {
                ParseGrantError("a `${` has no `}` behind it; write `Bearer ${secret:API_KEY}`".to_owned())
            })?;
            pieces.extend((!before.is_empty()).then(|| HeaderPiece::Text(before.to_owned())));
            pieces.push(reference(inner)?);
            rest = after;
        }
        pieces.extend((!rest.is_empty()).then(|| HeaderPiece::Text(rest.to_owned())));
        let plain = |piece: &HeaderPiece| match piece {
            HeaderPiece::Text(text) => http::HeaderValue::from_str(text).is_ok(),
            _ => true,
        };
        if !pieces.iter().all(plain) {
            return Err(ParseGrantError("this holds what a header cannot; write printable ASCII".to_owned()));
        }
        Ok(Self { pieces })
    }
}

impl fmt::Display for HeaderTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            HeaderPiece::Text(text) => f.write_str(text),
            HeaderPiece::Secret(name) => write!(f, "${{secret:{name}}}"),
            HeaderPiece::Source(source) => write!(f, "${{{source}}}"),
        })
    }
}

/// Times of outgoing requests; each can only be less than what the host allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// Until there is a connection, TLS included.
    pub connect: Option<Duration>,
    /// From there to the head of the response.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the response's body.
    pub between_bytes: Option<Duration>,
    /// From the request to the end of the response's body, retries included.
    pub total: Option<Duration>,
}

/// Connections of outgoing requests; each number can only be less than what the host allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpPool {
    /// At once, idle ones included.
    pub connections: Option<u32>,
    /// Idle ones kept for each origin.
    pub idle: Option<u32>,
    /// How long an idle one is kept.
    pub idle_time: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_text_with_references() {
        let text = |text: &str| HeaderPiece::Text(text.to_owned());
        let secret = |name: &str| HeaderPiece::Secret(name.to_owned());
        let variable = HeaderPiece::Source(ValueSource::Environment("KEY".to_owned()));
        for (written, pieces) in [
            ("acme", vec![text("acme")]),
            ("secret:KEY", vec![secret("KEY")]),
            ("env:KEY", vec![variable.clone()]),
            ("Bearer ${secret:KEY}", vec![text("Bearer "), secret("KEY")]),
            ("${env:KEY}.${secret:B}!", vec![variable, text("."), secret("B"), text("!")]),
            ("{}$}", vec![text("{}$}")]),
            ("", vec![]),
        ] {
            let template: HeaderTemplate = written.parse().unwrap();
            assert_eq!(template.pieces, pieces, "{written}");
            assert_eq!(template.to_string().parse::<HeaderTemplate>().unwrap(), template, "{written}");
        }
    }

    #[test]
    fn values_that_do_not_parse_are_not_repeated() {
        for bad in [
            "${hunter2}",
            "${secret:",
            "secret:",
            "env:",
            "Bearer ${",
            "dir:/hunter2",
            "hunter2\n",
            "hunter2\0${env:A}",
        ] {
            let error = bad.parse::<HeaderTemplate>().unwrap_err().to_string();
            assert!(error.contains("write ") && !error.contains("hunter2"), "{bad}: {error}");
        }
        for name in CREDENTIALS {
            let error = HeaderTemplate::parse(name, "Bearer hunter2").unwrap_err().to_string();
            assert!(error.contains("${env:NAME}") && !error.contains("hunter2"), "{error}");
            assert!(HeaderTemplate::parse(name, "Bearer ${env:A}").is_ok());
        }
        assert!(HeaderTemplate::parse("x-tenant", "acme").is_ok());
    }

    #[test]
    fn headers_of_the_connection_are_nobodys_to_add() {
        for bad in ["", "a b", "Host", "content-length", "Transfer-Encoding", "te", "ü"] {
            assert!(check_added_header(bad).is_err(), "{bad}");
        }
        assert_eq!(check_added_header("X-Tenant").as_deref(), Ok("x-tenant"));
        assert!(NOT_ADDED.is_sorted());
    }
}
