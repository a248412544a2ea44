//! One message, and what may be in it.

use bytes::Bytes;
use samara_model::check_subject;

use super::MessagingError;

/// Headers of one message, at most.
pub const MAX_HEADERS: usize = 128;

/// What one message takes beside its text: the struct itself, its vectors' rounding, its place in a queue.
const MESSAGE_BYTES: u64 = 256;

/// One message. What a bus hands out has everything the publisher put in, as far as its [`Features`](super::Features) go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where it is published: words between dots, without wildcards.
    pub subject: String,
    /// What is in it.
    pub body: Bytes,
    /// Names and values, in an order that not every bus keeps; a name may be there more than once.
    pub headers: Vec<(String, String)>,
    /// The subject that a reply goes to.
    pub reply_to: Option<String>,
}

impl Message {
    /// A message without headers.
    pub fn new(subject: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { subject: subject.into(), body: body.into(), headers: Vec::new(), reply_to: None }
    }

    /// The first value of a header; names compare without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Sets a header in place of all that have its name.
    pub fn set_header(&mut self, name: &str, value: impl Into<String>) {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Bytes of the body and the headers: what limits count.
    pub fn bytes(&self) -> u64 {
        let headers = self.headers.iter().map(|(name, value)| name.len() as u64 + value.len() as u64).sum::<u64>();
        headers + self.body.len() as u64
    }

    /// Bytes that it takes to keep it.
    pub(super) fn footprint(&self) -> u64 {
        MESSAGE_BYTES + self.bytes() + self.subject.len() as u64 + self.reply_to.as_ref().map_or(0, String::len) as u64
    }

    /// Checks everything that a bus would otherwise read as its own protocol.
    ///
    /// # Errors
    /// A subject or a header cannot be one.
    pub(super) fn check(&self) -> Result<(), MessagingError> {
        let malformed = |error: samara_model::ParseGrantError| MessagingError::Malformed(error.to_string());
        check_subject(&self.subject).map_err(malformed)?;
        self.reply_to.as_deref().map_or(Ok(()), check_subject).map_err(malformed)?;
        if self.headers.len() > MAX_HEADERS {
            return Err(MessagingError::TooMany { what: "headers in one message", limit: MAX_HEADERS });
        }
        for (name, value) in &self.headers {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
                let why =
                    "a header's name is not of visible ASCII characters without `:`; write one such as `trace-id`";
                return Err(MessagingError::Malformed(why.to_owned()));
            }
            if value.chars().any(char::is_control) {
                let why = format!("the header `{name}` has a control character; put such values into the body");
                return Err(MessagingError::Malformed(why));
            }
        }
        Ok(())
    }
}
