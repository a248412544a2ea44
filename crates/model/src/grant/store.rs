//! Grants of stores: which store by its name, and what may be done with it.
//!
//! A store has no kind of its own: the same name may be granted as several capabilities, and is opened as each of them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::ParseGrantError;

/// The operations of one capability: an enum, the words of manifests and metrics, and how they are read.
macro_rules! operations {
    ($(#[$doc:meta])* $name:ident of $what:literal { $($(#[$one:meta])* $operation:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name {
            $($(#[$one])* $operation,)*
        }

        impl $name {
            /// Every operation.
            pub const ALL: &[Self] = &[$(Self::$operation),*];

            /// The word used in manifests and metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$operation => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ParseGrantError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|operation| operation.as_str() == text).ok_or_else(|| {
                    let known = [$($word),*].join(", ");
                    ParseGrantError(format!(concat!("`{}` is not an operation of ", $what, "; known operations: {}"), text, known))
                })
            }
        }
    };
}

operations! {
    /// What may be done with a key-value store.
    KvOperation of "a key-value store" {
        /// Read a value, or whether it is there.
        Get = "get",
        /// Write a value.
        Set = "set",
        /// Remove a value.
        Delete = "delete",
        /// Add to a number atomically, and compare-and-swap.
        Increment = "increment",
        /// List keys.
        List = "list",
        /// Be told which keys change.
        Watch = "watch",
    }
}

operations! {
    /// What may be done with object storage.
    BlobOperation of "a blob store" {
        /// Read an object, or what is known of it.
        Read = "read",
        /// Write an object; with `read`, copy one.
        Write = "write",
        /// Remove an object; with `read` and `write`, move one.
        Delete = "delete",
        /// List containers and the objects in them.
        List = "list",
        /// Create, empty and remove containers.
        Container = "container",
    }
}

operations! {
    /// What may be done with a database.
    SqlOperation of "a database" {
        /// Read rows.
        Query = "query",
        /// Run statements that change something.
        Execute = "execute",
    }
}

/// The grant of one key-value store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvGrant {
    /// What may be done with it.
    pub operations: Vec<KvOperation>,
}

impl Default for KvGrant {
    /// Every operation: the short form `kv = ["carts"]`.
    fn default() -> Self {
        Self { operations: KvOperation::ALL.to_vec() }
    }
}

/// The grant of one blob store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobGrant {
    /// What may be done with it.
    pub operations: Vec<BlobOperation>,
}

impl Default for BlobGrant {
    /// Every operation: the short form `blob = ["pictures"]`.
    fn default() -> Self {
        Self { operations: BlobOperation::ALL.to_vec() }
    }
}

/// The grant of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlGrant {
    /// What may be done with it.
    pub operations: Vec<SqlOperation>,
    /// Statements that the guest may name instead of writing them, by name; their parameters are the guest's.
    pub statements: BTreeMap<String, String>,
    /// Whether it may do nothing but these.
    pub named_only: bool,
}

impl Default for SqlGrant {
    /// Every operation: the short form `sql = ["orders"]`.
    fn default() -> Self {
        Self { operations: SqlOperation::ALL.to_vec(), statements: BTreeMap::new(), named_only: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_as_they_are_written() {
        for operation in KvOperation::ALL {
            assert_eq!(operation.as_str().parse(), Ok(*operation));
        }
        for operation in BlobOperation::ALL {
            assert_eq!(operation.as_str().parse(), Ok(*operation));
        }
        for operation in SqlOperation::ALL {
            assert_eq!(operation.to_string().parse(), Ok(*operation));
        }
        let error = "get".parse::<BlobOperation>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`get` is not an operation of a blob store; known operations: read, write, delete, list, container"
        );
    }
}
