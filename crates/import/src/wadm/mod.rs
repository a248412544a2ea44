//! wasmCloud applications: manifests of the Open Application Model as its deployment manager reads them.
//!
//! The schema: <https://github.com/wasmCloud/wadm>, crate `wadm-types`, as of 0.21; what the settings of providers mean:
//! <https://github.com/wasmCloud/wasmCloud>, crates `provider-*` and `core`, as of 1.9.
//!
//! There a link joins a component with a provider, a program of its own. Here providers are stores, triggers and grants: a
//! link to one becomes a store and its grant, a link from one a trigger. Where things run and how often is for a lattice of
//! hosts; of that only the number of instances means something to one host.

mod guest;
mod link;
mod model;
mod provider;
mod values;

use std::path::Path;

use samara_model::manifest::{ManifestErrors, Position};

use crate::{
    Format, Imported, Options, check_size,
    document::{Item, Node, Table, Value},
    draft::{Draft, Origin},
    names::{Names, legal},
    note::{Notes, Severity},
    refuse, write, yaml_text,
};

/// Annotations that are carried over, as the version and as comments.
const VERSION: &str = "version";
const DESCRIPTION: &str = "description";
const AUTHORS: &str = "wasmcloud.dev/authors";
/// The annotation that lends an application's components to others.
const SHARED: &str = "experimental.wasmcloud.dev/shared";

/// Reads an application.
///
/// # Errors
/// It is too large, is not YAML, or no document of it is an application.
pub fn import(text: &str, file: &Path, _options: &Options) -> Result<Imported, ManifestErrors> {
    check_size(text, file)?;
    let documents = yaml_text::read(text, file)?;
    let notes = Notes::default();
    let mut applications = documents.iter().filter(|node| is_application(node));
    let table = applications.next().and_then(|node| Table::root(&notes, node));
    let Some(table) = table else {
        return Err(refuse(
            file,
            Position { line: 1, column: 1 },
            "there is no `kind: Application` in it, which is what can be converted",
        ));
    };
    for another in applications {
        let why = "one file is one app; convert each document by itself";
        notes.add(Severity::Lost, another.at, "", "another application", why);
    }
    for other in documents.iter().filter(|node| !is_application(node)) {
        notes.add(Severity::Lost, other.at, "", "a document that is no application", "it is not known what it says");
    }
    let mut draft = application(table);
    draft.comments.insert(0, format!("Made by `samara convert` from a {}.", Format::Wadm));
    let (manifest, app) = write::write(&draft, &notes, file)?;
    Ok(Imported { format: Format::Wadm, manifest, app, notes: notes.into_sorted() })
}

fn is_application(node: &Node) -> bool {
    let Value::Table(entries) = &node.value else { return false };
    let is = |entry: &crate::document::Entry| {
        entry.key == "kind" && entry.node.value == Value::Text("Application".to_owned())
    };
    entries.iter().any(is)
}

fn application(mut table: Table<'_>) -> Draft {
    // What kind of document it is has been seen.
    table.take("apiVersion");
    table.take("kind");
    let mut draft = Draft::default();
    match table.take("metadata").and_then(|item| item.table()) {
        Some(metadata) => head(metadata, &mut draft),
        None => draft.name = legal("", "app"),
    }
    let mut names = Names::default();
    if let Some(mut spec) = table.take("spec").and_then(|item| item.table()) {
        let policies = spec.take("policies").map(|item| item.list()).unwrap_or_default();
        let items = spec.take("components").map(|item| item.list()).unwrap_or_default();
        spec.finish();
        for item in policies {
            policy(&item);
        }
        let components: Vec<_> = items.iter().filter_map(|item| model::Component::read(item, &mut names)).collect();
        link::join(&components, &mut draft);
    }
    table.finish();
    draft
}

/// Name, version and what is for people.
fn head(mut metadata: Table<'_>, draft: &mut Draft) {
    let name = metadata.take("name");
    let asked = name.as_ref().and_then(Item::scalar).unwrap_or_default();
    draft.name = legal(&asked, "app");
    if let Some(item) = name.filter(|_| draft.name != asked) {
        let why = format!("a name has letters, digits, `-`, `_` and `.`; it is `{}` here", draft.name);
        item.changed("the name", &why);
    }
    if let Some(labels) = metadata.take("labels") {
        labels.info("labels", "nothing here is chosen by them");
    }
    let annotations = metadata.take("annotations");
    let mut others = Vec::new();
    for item in annotations.as_ref().and_then(Item::table).into_iter().flat_map(Table::entries) {
        let Some(text) = item.scalar() else { continue };
        match item.key {
            VERSION => draft.version = Some((text, Origin::from(&item))),
            // Texts of several lines are folded into the one that a comment is.
            DESCRIPTION => draft.comments.push(one_line(&text)),
            AUTHORS => draft.comments.push(format!("By {}.", one_line(&text))),
            SHARED if text == "true" => {
                item.lost(
                    "components that other applications use",
                    "an app has its own workloads; name the artifact in each app",
                );
            }
            _ => others.push(format!("`{}`", item.key)),
        }
    }
    if let Some(item) = annotations.filter(|_| !others.is_empty()) {
        item.info(&others.join(", "), "these are for people and for catalogues");
    }
    metadata.finish();
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A policy: where secrets are kept, or something for the lattice.
fn policy(item: &Item<'_>) {
    let Some(mut table) = item.table() else { return };
    // What they say is for the backend that they name.
    for key in ["name", "properties"] {
        table.take(key);
    }
    let kind = table.text("type").unwrap_or_default();
    if kind.starts_with("policy.secret") {
        item.changed(
            "where secrets are kept",
            "secrets are read from the environment here; each that uses this is noted",
        );
    } else {
        item.lost(&format!("a policy of the type `{kind}`"), "it is not known here");
    }
    table.finish();
}
