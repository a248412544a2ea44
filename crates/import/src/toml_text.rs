//! TOML as a tree with positions.

use std::path::Path;

use samara_model::manifest::{ManifestErrors, Position, Problem};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    document::{Entry, MAX_DEPTH, Node, Value},
    note::clean,
    place::Lines,
    refuse,
};

/// Problems of syntax that are told of one file.
const MAX_SYNTAX_PROBLEMS: usize = 20;

/// Reads a document.
///
/// # Errors
/// Everything that is wrong with its syntax, or that it is too deep.
pub(crate) fn read(text: &str, file: &Path) -> Result<Node, ManifestErrors> {
    let lines = Lines::of(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| Problem {
            file: file.to_owned(),
            position: lines.position(text, error.span().map_or(0, |span| span.start)),
            message: clean(error.message()),
        };
        return Err(ManifestErrors { problems: errors.iter().take(MAX_SYNTAX_PROBLEMS).map(problem).collect() });
    }
    let reader = Reader { text, lines, file };
    let start = Position { line: 1, column: 1 };
    Ok(Node { at: start, value: reader.table(root.get_ref(), 1)? })
}

struct Reader<'a> {
    text: &'a str,
    lines: Lines,
    file: &'a Path,
}

impl Reader<'_> {
    fn table(&self, table: &DeTable<'_>, depth: usize) -> Result<Value, ManifestErrors> {
        let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
            let at = self.lines.position(self.text, key.span().start);
            Ok(Entry { key: key.get_ref().clone().into_owned(), at, node: self.node(value, depth)? })
        };
        table.iter().map(entry).collect::<Result<_, _>>().map(Value::Table)
    }

    fn node(&self, node: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, ManifestErrors> {
        let at = self.lines.position(self.text, node.span().start);
        if depth == MAX_DEPTH {
            return Err(refuse(self.file, at, format!("this is over {MAX_DEPTH} levels deep; no manifest is")));
        }
        let value = match node.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                let decimal = i64::from_str_radix(number.as_str(), number.radix());
                Value::Number(decimal.map_or_else(|_| number.to_string(), |decimal| decimal.to_string()))
            }
            DeValue::Float(number) => Value::Number(number.to_string()),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(moment) => Value::Text(moment.to_string()),
            DeValue::Array(list) => {
                Value::List(list.iter().map(|node| self.node(node, depth + 1)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => self.table(table, depth + 1)?,
        };
        Ok(Node { at, value })
    }
}
