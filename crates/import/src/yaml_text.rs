//! YAML, and the JSON that it contains, as a tree with positions.
//!
//! The parser's budgets bound what a document may cost before anything of it is believed: aliases that multiply
//! (`&a [*a, *a]`), nesting, and the number of nodes.

use std::{fmt, path::Path};

use samara_model::manifest::{ManifestErrors, Position};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Options, Spanned};

use crate::{
    document::{Entry, MAX_DEPTH, Node, Value},
    refuse,
};

/// Values of all documents of a file.
const MAX_NODES: usize = 100_000;
/// Uses of anchors, and anchors.
const MAX_ALIASES: usize = 1_000;
/// Values that aliases put in their places.
const MAX_ALIASED_NODES: usize = 10_000;
/// Documents of one file.
const MAX_DOCUMENTS: usize = 32;

/// Reads all documents of a file; those that hold nothing are left out.
///
/// # Errors
/// It is not YAML, or goes over a bound.
pub(crate) fn read(text: &str, file: &Path) -> Result<Vec<Node>, ManifestErrors> {
    let options: Options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES.saturating_mul(3),
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_recorded_anchor_events: MAX_NODES,
            max_documents: MAX_DOCUMENTS,
            max_merge_keys: MAX_ALIASES,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIASED_NODES },
        with_snippet: false,
    };
    let documents: Vec<Node> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let at = error.location().map_or(Position { line: 1, column: 1 }, |location| Position {
            line: whole(location.line()),
            column: whole(location.column()),
        });
        // The position is told in front.
        let message = error.without_snippet().to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        refuse(file, at, message)
    })?;
    Ok(documents.into_iter().filter(|node| node.value != Value::Null).collect())
}

fn whole(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let at = Position { line: whole(spanned.referenced.line()), column: whole(spanned.referenced.column()) };
        Ok(Self { at, value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Node>()? {
            let name = match key.value {
                Value::Text(name) | Value::Number(name) => name,
                Value::Boolean(value) => value.to_string(),
                Value::Null => String::new(),
                Value::List(_) | Value::Table(_) => return Err(A::Error::custom("a key is a list or a table")),
            };
            entries.push(Entry { key: name, at: key.at, node: map.next_value()? });
        }
        Ok(Value::Table(entries))
    }
}
