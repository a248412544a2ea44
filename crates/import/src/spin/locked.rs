//! A published application: what `spin registry push` keeps as the configuration of an image.
//!
//! Paths have become layers of the image by then: a component is the member of its id in the image, and files that a
//! component was given lie in layers, of which no folder can be granted. Spin has moved what runs before a component
//! from the trigger to the component.

use std::collections::BTreeMap;

use super::{
    Reading,
    component::build,
    tool,
    trigger::{Found, Shared, middleware},
};
use crate::{
    document::{Item, Table},
    draft::{Origin, Workload},
    note::Severity,
};

/// What an application or a component says that its host must be able to do, and is told elsewhere.
const MIDDLEWARE: &str = "middleware";

impl<'a> Reading<'a> {
    /// Reads the whole of a published application.
    pub(super) fn locked(&mut self, table: &mut Table<'a>) {
        // How to read it; every version so far is read alike.
        table.take("spin_lock_version");
        table.take("must_understand");
        host_requirements(table);
        let mut of_kinds = BTreeMap::new();
        let mut of_all = None;
        if let Some(mut metadata) = table.take("metadata").and_then(|item| item.table()) {
            self.head(&mut metadata);
            of_all = metadata.take("trigger");
            let kinds = metadata.take("triggers").and_then(|item| item.table()).into_iter().flat_map(Table::entries);
            of_kinds.extend(kinds.map(|item| (item.key, item)));
            for (key, why) in [
                ("origin", "the manifest was there, on the machine of its builder"),
                ("profile", "it is how the application was built"),
                ("targets", "its components were checked against these"),
            ] {
                if let Some(item) = metadata.take(key) {
                    item.info("what its builder noted", why);
                }
            }
            tool(metadata.take("tool").as_ref());
            metadata.finish();
        }
        self.app_variables(table);
        for item in table.take("components").map(|item| item.list()).unwrap_or_default() {
            self.locked_component(&item);
        }
        for item in table.take("triggers").map(|item| item.list()).unwrap_or_default() {
            self.locked_trigger(&item, &of_kinds, of_all.as_ref());
        }
    }

    fn locked_trigger(&mut self, item: &Item<'a>, of_kinds: &BTreeMap<&str, Item<'a>>, of_all: Option<&Item<'a>>) {
        let Some(mut table) = item.table() else { return };
        // Names of triggers are for the messages of Spin.
        table.take("id");
        let kind = table.text("trigger_type").unwrap_or_default();
        let guard = table.take("trigger_dependencies").and_then(|item| middleware(&item));
        let config = table.take("trigger_config").and_then(|item| item.table());
        table.finish();
        let Some(config) = config else { return };
        // The older form has one kind of trigger, and writes it beside the settings.
        let shared = of_kinds.get(kind).or(of_all).and_then(Item::table).map(|mut table| {
            table.take("type");
            Shared::read(kind, table)
        });
        self.trigger(
            kind,
            &shared.unwrap_or_default(),
            Found { origin: Origin::from(item), table: config, component: None, guard },
        );
    }

    fn locked_component(&mut self, item: &Item<'a>) {
        let Some(mut table) = item.table() else { return };
        let Some(id) = table.text("id") else {
            table.note(Severity::Lost, "the component", "it has no `id`");
            return;
        };
        let mut workload = Workload { origin: Origin::from(item), ..Workload::default() };
        let source = table.take("source").and_then(|item| self.layer(&item, id));
        if let Some(item) = table.take("env") {
            workload.grants.env = item.pairs().into_iter().map(|(item, value)| (item.key.to_owned(), value)).collect();
        }
        if let Some(item) = table.take("config") {
            self.variables_of_component(&item, &mut workload.grants);
        }
        if let Some(item) = table.take("files") {
            let count = item.list().len();
            if count > 0 {
                item.lost(
                    &format!("{count} files"),
                    "they are layers of the image, and a grant is a folder; save them to one (`samara pull`) and grant it",
                );
            }
        }
        if let Some(mut metadata) = table.take("metadata").and_then(|item| item.table()) {
            workload.comments.extend(metadata.text("description").filter(|text| !text.is_empty()).map(str::to_owned));
            workload.comments.extend(metadata.take("build").into_iter().flat_map(|item| build(&item)));
            // The kind of the trigger whose middleware the component got.
            metadata.take("resolve-trigger-dependencies-using");
            self.network_and_stores(&mut metadata, &mut workload.grants);
            metadata.finish();
        }
        if let Some(item) = table.take("dependencies") {
            for dependency in item.table().into_iter().flat_map(Table::entries) {
                dependency.lost(
                    "a component that this one is made of",
                    "components are not composed while they are loaded; publish the application composed (`spin registry push --compose`)",
                );
            }
        }
        if let Some(why) = table.take("trigger_dependencies").and_then(|item| middleware(&item)) {
            self.guarded.insert(id.to_owned(), why);
        }
        host_requirements(&mut table);
        table.finish();
        self.add_workload(id, source, workload);
    }

    /// The module of a component: a member of the image that the application was published as.
    fn layer(&self, item: &Item<'_>, id: &str) -> Option<String> {
        let mut table = item.table()?;
        // The layers are found by their digests, and their kind is seen in their bytes.
        for known in ["content_type", "digest"] {
            table.take(known);
        }
        let file = table.text("source").and_then(|source| source.strip_prefix("file://"));
        let inline = table.take("inline").is_some();
        table.finish();
        match (&self.options.reference, file) {
            (Some(reference), _) => Some(format!("bundle://{reference}#{id}")),
            // What `spin` keeps before it publishes names files of this machine.
            (None, Some(file)) => Some(file.to_owned()),
            (None, None) => {
                let why = if inline { "its bytes are in the file" } else { "it is in a layer of an image" };
                let why = format!("{why}, and where the application was published is not known; convert its reference");
                item.lost("the source", &why);
                None
            }
        }
    }
}

/// What a host must be able to do.
fn host_requirements(table: &mut Table<'_>) {
    let Some(requirements) = table.take("host_requirements").and_then(|item| item.table()) else { return };
    for item in requirements.entries() {
        let optional = item.is_text() && item.text() == Some("optional");
        match item.key {
            // Told where it says what the middleware is.
            MIDDLEWARE => {}
            // Components reach each other by `NAME.spin.internal`.
            "local_service_chaining" => {}
            _ if optional => item.info("something a host may be able to do", "it is not known here"),
            _ => item.lost("something a host must be able to do", "it is not known here"),
        }
    }
}
