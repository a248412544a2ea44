//! `source` of a component: a file, a URL with its digest, a package of a registry.

use crate::document::{Item, Table};

/// The source as a native manifest writes it; `None` if there is none, which has been noted.
pub(super) fn source(item: &Item<'_>) -> Option<String> {
    if item.is_text() {
        return item.text().map(local);
    }
    let mut table = item.table()?;
    let source = if table.has("url") { url(item, &mut table) } else { package(item, &mut table) };
    table.finish();
    source
}

/// A path of the manifest's folder, so that no part of it is read as a scheme.
pub(super) fn local(path: &str) -> String {
    let path = path.strip_prefix("file://").unwrap_or(path);
    if path.starts_with(['/', '.']) { path.to_owned() } else { format!("./{path}") }
}

fn url(item: &Item<'_>, table: &mut Table<'_>) -> Option<String> {
    let url = table.text("url")?;
    if let Some(digest) = table.take("digest") {
        digest.lost(
            "the digest",
            "what a URL answers is not compared with a digest; push the module to a registry and name it by its digest there",
        );
    }
    let known = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
    if !known {
        item.lost("the source", "a URL must be of https or http");
    }
    known.then(|| url.to_owned())
}

fn package(item: &Item<'_>, table: &mut Table<'_>) -> Option<String> {
    let registry = table.text("registry");
    let package = table.text("package");
    let version = table.text("version");
    let (Some(package), Some(version)) = (package, version) else {
        item.lost("the source", "a package has `registry`, `package` and `version`");
        return None;
    };
    let Some(registry) = registry else {
        item.lost("the source", "it is in the default registry of whoever built it; name the registry");
        return None;
    };
    item.changed(
        "the package",
        "a package registry may say in `.well-known/wasm-pkg/registry.json` that its images are elsewhere; look before you rely on this",
    );
    Some(format!("oci://{registry}/{}:{version}", package.replace(':', "/")))
}
