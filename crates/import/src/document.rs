//! A manifest as a tree with positions, whatever language it was written in, and the walk over it that forgets nothing.
//!
//! [`Table`] is one mapping of the input being read. What was asked for is the reader's business; whatever nobody asked
//! for is noted by [`Table::finish`].

use std::collections::HashSet;

use samara_model::manifest::Position;

use crate::note::{Notes, Severity};

/// Levels of a document; deeper ones are refused.
pub const MAX_DEPTH: usize = 32;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    /// As it is written in decimal.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) node: Node,
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Boolean(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// One mapping being read.
pub(crate) struct Table<'a> {
    notes: &'a Notes,
    path: String,
    pub(crate) at: Position,
    entries: &'a [Entry],
    asked: HashSet<&'static str>,
}

impl<'a> Table<'a> {
    /// The mapping that is the whole document.
    pub(crate) fn root(notes: &'a Notes, root: &'a Node) -> Option<Self> {
        match &root.value {
            Value::Table(entries) => {
                Some(Self { notes, path: String::new(), at: root.at, entries, asked: HashSet::new() })
            }
            _ => None,
        }
    }

    /// The value of a key, if it is there and not null.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.asked.insert(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (entry.node.value != Value::Null).then(|| self.item(entry))
    }

    /// The text of a key; anything else is noted.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.take(key)?.text()
    }

    /// Every entry, of a table whose keys are names that the author chose.
    pub(crate) fn entries(self) -> impl Iterator<Item = Item<'a>> {
        let entries = self.entries;
        entries.iter().map(move |entry| self.item(entry))
    }

    /// Whether a key is there, without asking for it.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    fn item(&self, entry: &'a Entry) -> Item<'a> {
        Item {
            notes: self.notes,
            path: join(&self.path, &entry.key),
            key: &entry.key,
            key_at: entry.at,
            node: &entry.node,
        }
    }

    /// The path of the table, or of a key in it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Notes something about the table as a whole.
    pub(crate) fn note(&self, severity: Severity, what: &str, why: &str) {
        self.notes.add(severity, self.at, &self.path, what, why);
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !self.asked.contains(entry.key.as_str())) {
            self.item(entry).lost(entry.node.value.kind(), "this key is not known; look up what it means");
        }
    }
}

/// One value being read, with the key it belongs to.
#[derive(Clone)]
pub(crate) struct Item<'a> {
    notes: &'a Notes,
    path: String,
    pub(crate) key: &'a str,
    key_at: Position,
    node: &'a Node,
}

impl<'a> Item<'a> {
    /// Where the key stands.
    pub(crate) fn at(&self) -> Position {
        self.key_at
    }

    /// The whole path of the key.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn note(&self, severity: Severity, what: &str, why: &str) {
        self.notes.add(severity, self.key_at, &self.path, what, why);
    }

    /// Notes that something is not carried over.
    pub(crate) fn lost(&self, what: &str, why: &str) {
        self.note(Severity::Lost, what, why);
    }

    /// Notes that something is carried over and is not quite what it was.
    pub(crate) fn changed(&self, what: &str, why: &str) {
        self.note(Severity::Changed, what, why);
    }

    /// Notes what is good to know.
    pub(crate) fn info(&self, what: &str, why: &str) {
        self.note(Severity::Info, what, why);
    }

    /// Notes that the value is of the wrong kind.
    fn expected<T>(&self, what: &str) -> Option<T> {
        self.lost(self.node.value.kind(), &format!("{what} belongs here"));
        None
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.node.value, Value::Text(_))
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self.node.value, Value::Table(_))
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.expected("text"),
        }
    }

    /// Text, a number or a boolean, as text: what YAML makes of a value without quotes.
    pub(crate) fn scalar(&self) -> Option<String> {
        match &self.node.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Boolean(value) => Some(value.to_string()),
            _ => self.expected("a single value"),
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            Value::Boolean(value) => Some(*value),
            _ => self.expected("`true` or `false`"),
        }
    }

    pub(crate) fn number(&self) -> Option<u64> {
        match &self.node.value {
            Value::Number(number) => number.parse().ok().or_else(|| self.expected("a whole number")),
            _ => self.expected("a number"),
        }
    }

    pub(crate) fn table(&self) -> Option<Table<'a>> {
        match &self.node.value {
            Value::Table(entries) => Some(Table {
                notes: self.notes,
                path: self.path.clone(),
                at: self.key_at,
                entries,
                asked: HashSet::new(),
            }),
            _ => self.expected("a table"),
        }
    }

    /// The elements of a list; each is told by the path of the list and its number.
    pub(crate) fn list(&self) -> Vec<Self> {
        let Value::List(list) = &self.node.value else {
            self.expected::<()>("a list");
            return Vec::new();
        };
        let element = |(index, node): (usize, &'a Node)| Self {
            notes: self.notes,
            path: format!("{}[{index}]", self.path),
            key: self.key,
            key_at: node.at,
            node,
        };
        list.iter().enumerate().map(element).collect()
    }

    /// The texts of a list of texts.
    pub(crate) fn texts(&self) -> Vec<(Self, &'a str)> {
        self.list().into_iter().filter_map(|item| item.text().map(|text| (item, text))).collect()
    }

    /// The names and single values of a table.
    pub(crate) fn pairs(&self) -> Vec<(Self, String)> {
        let entries = self.table().into_iter().flat_map(Table::entries);
        entries.filter_map(|item| item.scalar().map(|value| (item, value))).collect()
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
