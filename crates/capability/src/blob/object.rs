//! What an object is: its bytes as a stream, and what is known of it beside them.

use std::{collections::BTreeMap, fmt, ops::Range, time::SystemTime};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};

use super::BlobError;

/// Bytes in one chunk of a body, at most.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Bytes of all attributes of one object, names and values, at most: what S3 takes.
pub const ATTRIBUTES_BYTES: u64 = 2 << 10;

/// A container and an object in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The container's name.
    pub container: &'a str,
    /// The object's name.
    pub object: &'a str,
}

/// What is known of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container {
    /// When it was created.
    pub created: SystemTime,
}

/// What a writer says of an object beside its bytes. None of it means anything to a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// Its media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What its bytes are compressed with; nothing here unpacks them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// The writer's own, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub user: BTreeMap<String, String>,
}

impl Attributes {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that they can be kept anywhere, which is what an HTTP header carries: names of lower-case letters, digits and
    /// `-`, values of printable ASCII without spaces at their ends, [`ATTRIBUTES_BYTES`] altogether.
    ///
    /// # Errors
    /// They cannot; the message says what would do.
    pub fn check(&self) -> Result<(), BlobError> {
        let named = self.user.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let known = [("content-type", &self.content_type), ("content-encoding", &self.content_encoding)];
        let known = known.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let mut bytes = 0_u64;
        for (name, value) in known.chain(named) {
            bytes = bytes.saturating_add(name.len() as u64).saturating_add(value.len() as u64);
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || !name.bytes().all(plain) {
                return Err(BlobError::Invalid(format!(
                    "`{}` is not the name of an attribute; write it in lower-case letters, digits and `-`",
                    name.chars().take(63).flat_map(char::escape_debug).collect::<String>()
                )));
            }
            if value.trim() != value || value.is_empty() || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                return Err(BlobError::Invalid(format!(
                    "the value of the attribute `{name}` is not printable ASCII; encode it, for example as base 64"
                )));
            }
        }
        if bytes > ATTRIBUTES_BYTES {
            return Err(BlobError::TooLarge { what: "sum of all attributes", limit: ATTRIBUTES_BYTES });
        }
        Ok(())
    }
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its size.
    pub bytes: u64,
    /// When it was written, and so created and last changed.
    pub written: SystemTime,
    /// What its writer says of it.
    pub attributes: Attributes,
}

/// An object, or a part of one, that is being read.
pub struct Object {
    /// What is known of the whole object.
    pub info: Info,
    /// Which of its bytes the body has: what was asked for, as far as it is there.
    pub range: Range<u64>,
    /// The bytes.
    pub body: Body,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("info", &self.info).field("range", &self.range).finish_non_exhaustive()
    }
}

/// The bytes of an object, in chunks of at most [`CHUNK_BYTES`], read as they are asked for.
pub type Body = BoxStream<'static, Result<Bytes, BlobError>>;

impl Object {
    /// Reads the whole body into memory.
    ///
    /// # Errors
    /// It is longer than `limit` (nothing is read then), or the backend failed.
    pub async fn collect(mut self, limit: u64) -> Result<Bytes, BlobError> {
        let length = self.range.end.saturating_sub(self.range.start);
        let capacity = usize::try_from(length).ok().filter(|_| length <= limit);
        let Some(capacity) = capacity else { return Err(BlobError::TooLarge { what: "object", limit }) };
        let mut whole = BytesMut::with_capacity(capacity);
        while let Some(chunk) = self.body.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.freeze())
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The size of the object.
    pub bytes: u64,
    /// The size of the object it replaced, `None` if there was none.
    pub replaced: Option<u64>,
}

/// One object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    pub written: SystemTime,
}

/// Some of what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Where the next page starts; `None` after the last one. Opaque.
    pub cursor: Option<String>,
}

/// The part of `range` that an object of `bytes` has.
pub(super) fn within(range: &Range<u64>, bytes: u64) -> Range<u64> {
    let start = range.start.min(bytes);
    start..range.end.clamp(start, bytes)
}
