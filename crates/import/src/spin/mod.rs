//! Spin applications: `spin.toml` of both versions, and the form in which they are published.
//!
//! The schema: <https://github.com/spinframework/spin>, crates `manifest` (`schema/v1.rs`, `schema/v2.rs`), `http`
//! (`config.rs`), `locked-app`, `routes` and `outbound-networking-config`, as of Spin 4. Triggers of plugins: cron, timer.
//!
//! What Spin leaves to its runtime configuration (where stores are, which servers) has the defaults of a developer here:
//! files beside the manifest.

mod component;
mod files;
mod hosts;
mod locked;
mod source;
mod stores;
mod trigger;
mod variables;

use std::{collections::BTreeMap, path::Path};

use samara_model::manifest::{ManifestErrors, Position};
use trigger::{Found, Shared};
use variables::Variables;

use crate::{
    Format, Imported, Options, check_size,
    document::{Item, Node, Table},
    draft::{Draft, Origin},
    names::{Names, legal},
    note::{Notes, Severity},
    refuse, toml_text, write, yaml_text,
};

/// Reads a `spin.toml`.
///
/// # Errors
/// It is too large, is not TOML, or says no version and no name.
pub fn import(text: &str, file: &Path, options: &Options) -> Result<Imported, ManifestErrors> {
    check_size(text, file)?;
    let root = toml_text::read(text, file)?;
    finish(&root, file, options, Format::Spin, |reading, table| match version(table) {
        Some(1) => reading.version_1(table),
        Some(2) => reading.version_2(table),
        _ => Err(refuse(
            file,
            Position { line: 1, column: 1 },
            "this is neither version 1 nor version 2; write `spin_manifest_version = 2`",
        )),
    })
}

/// Reads a published Spin application: the JSON that its image has for a configuration.
///
/// # Errors
/// It is too large, or not JSON of that kind.
pub fn import_locked(text: &str, file: &Path, options: &Options) -> Result<Imported, ManifestErrors> {
    check_size(text, file)?;
    let documents = yaml_text::read(text, file)?;
    let [root] = documents.as_slice() else {
        return Err(refuse(file, Position { line: 1, column: 1 }, "this holds no application"));
    };
    finish(root, file, options, Format::LockedSpin, |reading, table| {
        reading.locked(table);
        Ok(())
    })
}

fn finish(
    root: &Node,
    file: &Path,
    options: &Options,
    format: Format,
    read: impl for<'r> FnOnce(&mut Reading<'r>, &mut Table<'r>) -> Result<(), ManifestErrors>,
) -> Result<Imported, ManifestErrors> {
    let notes = Notes::default();
    let Some(mut table) = Table::root(&notes, root) else {
        return Err(refuse(file, root.at, "this is no table of keys"));
    };
    let mut reading = Reading {
        options,
        variables: Variables::default(),
        draft: Draft::default(),
        names: Names::default(),
        workloads: BTreeMap::new(),
        guarded: BTreeMap::new(),
        slashes_told: false,
    };
    read(&mut reading, &mut table)?;
    table.finish();
    reading.variables.note_unused();
    let mut draft = reading.draft;
    draft.comments.insert(0, format!("Made by `samara convert` from a {format}."));
    let (manifest, app) = write::write(&draft, &notes, file)?;
    Ok(Imported { format, manifest, app, notes: notes.into_sorted() })
}

/// The version that a manifest says it is of.
fn version(table: &mut Table<'_>) -> Option<u64> {
    let item = table.take("spin_manifest_version").or_else(|| table.take("spin_version"))?;
    item.scalar()?.parse().ok()
}

/// What is known of an application while it is read.
struct Reading<'a> {
    options: &'a Options,
    variables: Variables<'a>,
    draft: Draft,
    names: Names,
    /// Components by their ids: the workload that each became, if it did.
    workloads: BTreeMap<String, Option<String>>,
    /// Of a published application: why the triggers of a component are held back.
    guarded: BTreeMap<String, String>,
    /// Whether it was told that a slash at the end of a path matters.
    slashes_told: bool,
}

impl<'a> Reading<'a> {
    fn version_2(&mut self, table: &mut Table<'a>) -> Result<(), ManifestErrors> {
        let mut settings = Vec::new();
        if let Some(mut application) = table.take("application").and_then(|item| item.table()) {
            self.head(&mut application);
            if let Some(item) = application.take("targets") {
                item.info("environments that components are checked against", "only `spin build` reads it");
            }
            tool(application.take("tool").as_ref());
            settings
                .extend(application.take("trigger").and_then(|item| item.table()).into_iter().flat_map(Table::entries));
            application.finish();
        }
        self.app_variables(table);
        for item in table.take("component").and_then(|item| item.table()).into_iter().flat_map(Table::entries) {
            if let Some(component) = item.table() {
                self.component(item.key, component, &Origin::from(&item));
            }
        }
        let mut settings: BTreeMap<_, _> = settings.into_iter().map(|item| (item.key, item)).collect();
        for of_kind in table.take("trigger").and_then(|item| item.table()).into_iter().flat_map(Table::entries) {
            let kind = of_kind.key;
            let shared = settings.remove(kind).and_then(|item| item.table());
            let shared = shared.map(|table| Shared::read(kind, table)).unwrap_or_default();
            for item in of_kind.list() {
                let Some(table) = item.table() else { continue };
                self.trigger(kind, &shared, Found { origin: Origin::from(&item), table, component: None, guard: None });
            }
        }
        for unused in settings.into_values() {
            unused.info("settings of a kind of trigger", "the application has no trigger of this kind");
        }
        Ok(())
    }

    fn version_1(&mut self, table: &mut Table<'a>) -> Result<(), ManifestErrors> {
        self.head(table);
        self.app_variables(table);
        let kind_of_all = table.take("trigger");
        let mut triggers = Vec::new();
        for item in table.take("component").map(|item| item.list()).unwrap_or_default() {
            let Some(mut component) = item.table() else { continue };
            let Some(id) = component.text("id") else {
                component.note(Severity::Lost, "the component", "it has no `id`");
                continue;
            };
            let trigger = component.take("trigger");
            if !component.has("allowed_outbound_hosts") {
                component.note(
                    Severity::Lost,
                    "servers of redis, mysql and postgres",
                    "without `allowed_outbound_hosts` a manifest of version 1 lets a component reach all of them; name those it needs",
                );
            }
            self.component(id, component, &Origin::from(&item));
            triggers.extend(trigger.map(|trigger| (id, trigger)));
        }
        let (mut kind, mut shared) = ("http", Shared::default());
        if let Some(mut table) = kind_of_all.and_then(|item| item.table()) {
            kind = table.text("type").unwrap_or(kind);
            shared = Shared::read(kind, table);
        }
        for (id, item) in triggers {
            let Some(table) = item.table() else { continue };
            self.trigger(kind, &shared, Found { origin: Origin::from(&item), table, component: Some(id), guard: None });
        }
        Ok(())
    }

    /// Name, version and what is for people.
    fn head(&mut self, table: &mut Table<'_>) {
        let name = table.take("name");
        let asked = name.as_ref().and_then(Item::text).unwrap_or_default();
        self.draft.name = legal(asked, "app");
        if self.draft.name != asked
            && let Some(item) = &name
        {
            item.changed(
                "the name",
                &format!("a name has letters, digits, `-`, `_` and `.`; it is `{}` here", self.draft.name),
            );
        }
        if let Some(item) = table.take("version")
            && let Some(version) = item.text().filter(|version| !version.is_empty())
        {
            self.draft.version = Some((version.to_owned(), Origin::from(&item)));
        }
        if let Some(description) = table.text("description").filter(|text| !text.is_empty()) {
            self.draft.comments.push(description.to_owned());
        }
        let authors: Vec<_> = table
            .take("authors")
            .map(|item| item.texts())
            .unwrap_or_default()
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        if !authors.is_empty() {
            self.draft.comments.push(format!("By {}.", authors.join(", ")));
        }
    }

    fn app_variables(&mut self, table: &mut Table<'a>) {
        for item in table.take("variables").and_then(|item| item.table()).into_iter().flat_map(Table::entries) {
            if let Some(description) = self.variables.declare(&item, self.options) {
                self.draft.comments.push(format!("Variable `{}`: {description}", item.key));
            }
        }
    }
}

/// Notes settings of tools, which say nothing about how the application is served.
fn tool(item: Option<&Item<'_>>) {
    if let Some(item) = item {
        item.info("settings of tools", "hosts do not read them");
    }
}
