//! One operation on a key-value store that a workload serves to others, and what comes of it.
//!
//! Every operation is about one key, the values of some, or a page of names: what ABIs have for it differs, what it means does not.

use bytes::Bytes;

/// An operation on a store that the guest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValueCall {
    /// The values of these keys, in their order.
    Get(Vec<String>),
    /// Writes a value.
    Set(String, Bytes),
    /// Removes a key.
    Delete(String),
    /// Whether a key is there.
    Exists(String),
    /// A page of keys; the cursor is that of the page before, in the guest's own words.
    List(Option<String>),
    /// Adds to the number a key holds.
    Increment(String, i64),
    /// Writes a value if the key still holds this (`None`: if it is not there).
    Swap(String, Option<Bytes>, Bytes),
}

impl KeyValueCall {
    /// Bytes of keys and values that the guest is given.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Get(keys) => keys.iter().map(String::len).sum(),
            Self::Set(key, value) => key.len() + value.len(),
            Self::Delete(key) | Self::Exists(key) | Self::Increment(key, _) => key.len(),
            Self::List(cursor) => cursor.as_ref().map_or(0, String::len),
            Self::Swap(key, expected, new) => key.len() + expected.as_ref().map_or(0, Bytes::len) + new.len(),
        }
    }
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValueReply {
    /// The values that were asked for.
    Values(Vec<Option<Bytes>>),
    /// Written or removed; the length of the value that was there before.
    Replaced(Option<u64>),
    /// Whether it is there.
    Exists(bool),
    /// A page of keys, and where the next one starts.
    Keys(Vec<String>, Option<String>),
    /// The sum, and the length of the text that was there before.
    Sum(i64, Option<u64>),
    /// Whether the value was written, and what is there now if it was not.
    Swapped(Result<(), Option<Bytes>>),
    /// The guest has no such operation.
    Unsupported(&'static str),
    /// The guest says that it failed, in its own words.
    Failed(String),
}
