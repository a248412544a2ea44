//! One component as a workload.

use super::{
    Reading, files, hosts, source,
    stores::{self, Kind},
    tool,
    variables::Resolved,
};
use crate::{
    document::{Item, Table},
    draft::{Grants, Origin, Workload},
};

impl<'a> Reading<'a> {
    /// Reads a component to its end; answers the workload that it became.
    pub(super) fn component(&mut self, id: &str, mut table: Table<'a>, origin: &Origin) -> Option<String> {
        let mut workload = Workload { origin: origin.clone(), ..Workload::default() };
        let source = table.take("source").and_then(|item| source::source(&item));
        workload.comments.extend(table.text("description").filter(|text| !text.is_empty()).map(str::to_owned));
        if let Some(item) = table.take("build") {
            workload.comments.extend(build(&item));
        }
        self.grants(&mut table, &mut workload.grants);
        if let Some(item) = table.take("dependencies") {
            for dependency in item.table().into_iter().flat_map(Table::entries) {
                dependency.lost(
                    "a component that this one is made of",
                    "components are not composed while they are loaded; compose them first (`wac plug`) and name the result as the source",
                );
            }
        }
        if let Some(item) = table.take("dependencies_inherit_configuration") {
            item.lost(
                "what the components it is made of may do",
                "a composed component has the grants of its workload, all of it",
            );
        }
        if let Some(item) = table.take("profile") {
            for profile in item.table().into_iter().flat_map(Table::entries) {
                profile.lost("another way to build it", "the manifest's own is converted; write a manifest for each");
            }
        }
        if let Some(item) = table.take("targets") {
            item.info("environments that the component is checked against", "only `spin build` reads it");
        }
        tool(table.take("tool").as_ref());
        table.finish();
        self.add_workload(id, source, workload)
    }

    /// What it may do, as both versions and inline components write it.
    fn grants(&mut self, table: &mut Table<'a>, grants: &mut Grants) {
        // `config` is what version 1 calls the variables of a component.
        for key in ["variables", "config"] {
            if let Some(item) = table.take(key) {
                self.variables_of_component(&item, grants);
            }
        }
        if let Some(item) = table.take("environment") {
            grants.env = item.pairs().into_iter().map(|(item, value)| (item.key.to_owned(), value)).collect();
        }
        if let Some(item) = table.take("files") {
            files::files(&item, grants);
        }
        if let Some(item) = table.take("exclude_files") {
            if grants.fs.is_empty() {
                item.info("files to leave out", "it is given no files");
            }
            for (entry, pattern) in item.texts().into_iter().filter(|_| !grants.fs.is_empty()) {
                entry.lost(
                    &format!("leaving out `{pattern}`"),
                    "a granted folder is seen as it is; move these files out of it",
                );
            }
        }
        self.network_and_stores(table, grants);
    }

    /// The lists that a published component keeps in its metadata.
    pub(super) fn network_and_stores(&mut self, table: &mut Table<'a>, grants: &mut Grants) {
        if let Some(item) = table.take("allowed_outbound_hosts") {
            hosts::outbound(&item, &self.variables, &mut self.draft, grants);
        }
        if let Some(item) = table.take("allowed_http_hosts") {
            hosts::http_only(&item, &mut self.draft, grants);
        }
        if let Some(item) = table.take("key_value_stores") {
            stores::labels(&item, Kind::KeyValue, &mut self.draft, grants);
        }
        // `databases` is what a published component calls them.
        for key in ["sqlite_databases", "databases"] {
            if let Some(item) = table.take(key) {
                stores::labels(&item, Kind::Sqlite, &mut self.draft, grants);
            }
        }
        if let Some(item) = table.take("ai_models") {
            for (entry, model) in item.texts() {
                entry.lost(&format!("the model `{model}`"), "language models are not hosted; ask one over HTTP");
            }
        }
    }

    /// Variables of a component: configuration if their values are known, else secrets.
    pub(super) fn variables_of_component(&self, item: &Item<'_>, grants: &mut Grants) {
        for (entry, template) in item.pairs() {
            match self.variables.resolve(&template) {
                Resolved::Text(value) => grants.config.push((entry.key.to_owned(), value)),
                Resolved::Environment(name) => grants.secrets.push((entry.key.to_owned(), format!("env:{name}"))),
                Resolved::Unknown(why) => entry.lost("the value", &why),
            }
        }
    }

    /// Adds the workload of a component, if it has a source.
    pub(super) fn add_workload(&mut self, id: &str, source: Option<String>, mut workload: Workload) -> Option<String> {
        let name = source.map(|source| {
            workload.source = source;
            workload.name = self.names.claim(id, "component");
            let name = workload.name.clone();
            self.draft.workloads.push(workload);
            name
        });
        self.workloads.insert(id.to_owned(), name.clone());
        name
    }
}

/// How a component is built, as a comment.
pub(super) fn build(item: &Item<'_>) -> Vec<String> {
    let Some(mut table) = item.table() else { return Vec::new() };
    let commands: Vec<String> = match table.take("command") {
        Some(item) if item.is_list() => item.texts().into_iter().map(|(_, text)| text.to_owned()).collect(),
        Some(item) => item.text().into_iter().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let folder = table.text("workdir").map(|folder| format!(" in `{folder}`")).unwrap_or_default();
    let watched: Vec<_> = table.take("watch").map(|item| item.texts()).unwrap_or_default();
    table.finish();
    let mut comments: Vec<_> = commands.into_iter().map(|command| format!("Built by `{command}`{folder}.")).collect();
    if !watched.is_empty() {
        let patterns: Vec<_> = watched.into_iter().map(|(_, pattern)| format!("`{pattern}`")).collect();
        comments.push(format!("Built again when {} change.", patterns.join(", ")));
    }
    comments
}
