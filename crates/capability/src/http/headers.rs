//! Headers that the operator adds to a workload's requests: credentials that the guest uses and never sees.
//!
//! They are added last, after everything that a guest may write was checked, in place of what it wrote under their names, and
//! only to requests to their origin. Redirects are the guest's to follow, so that a request that one leads to has the headers
//! of where it goes. A server that tells in its response what it was sent tells the guest: grant origins that do not.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use samara_model::{HeaderPiece, HttpGrant, OriginRule};
use zeroize::Zeroizing;

use super::{EgressError, request::Origin};
use crate::secrets::{Secret, SecretError, Secrets, open_one};

/// Bytes of one added header, at most: servers refuse longer ones.
const HEADER_BYTES: usize = 16 << 10;

/// The name under which a source that is written in a header holds its secret.
const VALUE: &str = "value";

/// The headers of a grant, with the secrets they are made of.
#[derive(Debug, Default)]
pub struct AddedHeaders(Vec<Added>);

struct Added {
    origin: OriginRule,
    name: HeaderName,
    parts: Vec<Part>,
    /// The value, and the secrets it was made of: as long as they are the same, so is it, and there is one copy of it.
    made: Mutex<Option<(Vec<Secret>, HeaderValue)>>,
}

enum Part {
    Text(String),
    Secret { source: Arc<dyn Secrets>, name: String },
}

impl fmt::Debug for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.origin, self.name)
    }
}

impl AddedHeaders {
    /// Reads what the headers of a grant are made of. `secrets` are those of the workload's own grant, which
    /// `secret:NAME` means. Changed secrets are in requests at most `fresh` later.
    ///
    /// # Errors
    /// A secret is not there, cannot be read, or is none that a header can hold.
    pub async fn open(
        grant: &HttpGrant,
        secrets: Option<&Arc<dyn Secrets>>,
        fresh: Duration,
    ) -> Result<Self, SecretError> {
        let mut rules: Vec<_> = grant.headers.iter().collect();
        // What is said of one origin is over what is said of all below a domain.
        rules.sort_by_key(|rule| rule.origin.specificity());
        let mut added = Vec::with_capacity(rules.len());
        for rule in rules {
            let at = |why: &dyn fmt::Display| format!("header `{}` for `{}`: {why}", rule.name, rule.origin);
            let mut parts = Vec::with_capacity(rule.value.pieces.len());
            for piece in &rule.value.pieces {
                parts.push(match piece {
                    HeaderPiece::Text(text) => Part::Text(text.clone()),
                    HeaderPiece::Secret(name) => {
                        let missing = || {
                            SecretError::Configuration(at(&format_args!(
                                "no secret `{name}` is granted; `secrets = {{ {name} = \"env:NAME\" }}` would grant it"
                            )))
                        };
                        Part::Secret { source: Arc::clone(secrets.ok_or_else(missing)?), name: name.clone() }
                    }
                    HeaderPiece::Source(source) => {
                        let source = open_one(VALUE, source, fresh).await?;
                        Part::Secret { source, name: VALUE.to_owned() }
                    }
                });
            }
            let name = HeaderName::try_from(rule.name.as_str());
            let name = name.map_err(|error| SecretError::Configuration(at(&error)))?;
            let header = Added { origin: rule.origin.clone(), name, parts, made: Mutex::default() };
            header.value().await.map_err(|why| SecretError::Configuration(at(&why)))?;
            added.push(header);
        }
        Ok(Self(added))
    }

    /// Adds the headers of an origin to a request that goes there.
    pub(super) async fn add(&self, origin: &Origin, headers: &mut HeaderMap) -> Result<(), EgressError> {
        for added in self.0.iter().filter(|added| added.origin.matches(origin.scheme(), &origin.host, origin.port)) {
            let value = added.value().await;
            let value =
                value.map_err(|why| EgressError::Internal(format!("header `{}` for `{origin}`: {why}", added.name)))?;
            headers.insert(added.name.clone(), value);
        }
        Ok(())
    }
}

impl Added {
    /// The value as it is now; the error says nothing of it.
    async fn value(&self) -> Result<HeaderValue, String> {
        let mut secrets = Vec::new();
        for part in &self.parts {
            if let Part::Secret { source, name } = part {
                let secret = source.get(name).await.map_err(|error| error.to_string())?;
                secrets.push(secret.ok_or_else(|| format!("there is no secret `{name}` any more"))?);
            }
        }
        let mut made = self.made.lock();
        if let Some((of, value)) = &*made
            && of.iter().zip(&secrets).all(|(one, other)| one.is(other))
        {
            return Ok(value.clone());
        }
        let value = self.make(&secrets)?;
        *made = Some((secrets, value.clone()));
        Ok(value)
    }

    fn make(&self, secrets: &[Secret]) -> Result<HeaderValue, String> {
        let mut next = secrets.iter();
        let pieces: Vec<&[u8]> = self
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) => Some(text.as_bytes()),
                Part::Secret { .. } => next.next().map(Secret::expose),
            })
            .collect();
        let bytes = Zeroizing::new(pieces.concat());
        if bytes.len() > HEADER_BYTES {
            return Err(format!("it is over its limit of `{HEADER_BYTES}` bytes"));
        }
        let printable = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
        let value = HeaderValue::from_bytes(&bytes).ok().filter(|_| bytes.iter().all(printable));
        let mut value = value.ok_or("a secret holds what a header cannot; write printable ASCII in one line")?;
        // It is left out of `Debug`, and of the tables that HTTP/2 compresses headers with.
        value.set_sensitive(true);
        Ok(value)
    }
}
