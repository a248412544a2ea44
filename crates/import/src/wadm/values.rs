//! Named configurations: `config: [{ name, properties }]`, as the values that they add up to.

use std::cell::Cell;

use crate::document::Item;

/// Values of several configurations; the later one wins.
#[derive(Default)]
pub(super) struct Values<'a>(Vec<Named<'a>>);

struct Named<'a> {
    item: Item<'a>,
    value: String,
    asked: Cell<bool>,
}

impl<'a> Values<'a> {
    /// Reads a list of configurations.
    pub(super) fn read(item: Option<Item<'a>>) -> Self {
        let mut values = Self::default();
        values.add(item);
        values
    }

    /// Adds another list.
    pub(super) fn add(&mut self, item: Option<Item<'a>>) {
        for entry in item.map(|item| item.list()).unwrap_or_default() {
            let Some(mut table) = entry.table() else { continue };
            let name = table.text("name").unwrap_or_default();
            match table.take("properties") {
                Some(properties) => self.add_pairs(Some(properties)),
                None => entry.lost(
                    &format!("the configuration `{name}`"),
                    "it is kept in the lattice and not in the manifest; write its values",
                ),
            }
            table.finish();
        }
    }

    /// Adds names and values.
    pub(super) fn add_pairs(&mut self, item: Option<Item<'a>>) {
        let pairs = item.map(|item| item.pairs()).unwrap_or_default();
        self.0.extend(pairs.into_iter().map(|(item, value)| Named { item, value, asked: Cell::new(false) }));
    }

    /// The value of a name, whose case does not matter, and where it stands.
    pub(super) fn take(&self, name: &str) -> Option<(&Item<'a>, &str)> {
        let mut found = None;
        for named in self.0.iter().filter(|named| named.item.key.eq_ignore_ascii_case(name)) {
            named.asked.set(true);
            found = Some((&named.item, named.value.as_str()));
        }
        found
    }

    /// The text of a name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.take(name).map(|(_, value)| value)
    }

    /// All of them, where the names are the guest's.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|named| {
            named.asked.set(true);
            (named.item.key, named.value.as_str())
        })
    }

    /// The values whose names begin with a prefix.
    pub(super) fn beginning(&self, prefix: &str) -> Vec<&str> {
        let found = self.0.iter().filter(|named| named.item.key.starts_with(prefix));
        found
            .map(|named| {
                named.asked.set(true);
                named.value.as_str()
            })
            .collect()
    }

    /// Notes the values that nobody asked for.
    pub(super) fn finish(&self, what: &str, why: &str) {
        for named in self.0.iter().filter(|named| !named.asked.get()) {
            named.item.lost(what, why);
        }
    }
}
