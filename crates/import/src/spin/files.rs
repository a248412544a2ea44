//! `files` of a component as granted folders.
//!
//! Spin copies what a pattern matches into a folder made for the component. A grant is a whole folder, seen as it is. A
//! pattern gives the folder that it begins with, and nothing if that is the folder of the manifest itself: there lie
//! sources and perhaps secrets.

use crate::{
    document::Item,
    draft::{Folder, Grants},
};

/// Adds the folders of a list of files.
pub(super) fn files(item: &Item<'_>, grants: &mut Grants) {
    for entry in item.list() {
        let folder =
            if entry.is_text() { entry.text().and_then(|pattern| of_pattern(&entry, pattern)) } else { placed(&entry) };
        let Some(folder) = folder else { continue };
        match grants.fs.iter().find(|there| there.guest == folder.guest) {
            Some(there) if *there == folder => {}
            Some(_) => entry.lost("the folder", &format!("another one is `{}` in the guest already", folder.guest)),
            None => grants.fs.push(folder),
        }
    }
}

/// `{ source = "assets", destination = "/" }`.
fn placed(entry: &Item<'_>) -> Option<Folder> {
    let mut table = entry.table()?;
    let (source, destination) = (table.text("source"), table.text("destination"));
    table.finish();
    let (Some(source), Some(destination)) = (source, destination) else {
        entry.lost("the folder", "it has `source` and `destination`");
        return None;
    };
    if is_above(source) {
        entry.lost("the folder", "it is the folder of the manifest, or above it; name the folder that is meant");
        return None;
    }
    let guest = format!("/{}", destination.trim_start_matches('/').trim_start_matches("./"));
    Some(Folder { host: super::source::local(source), guest, write: false })
}

/// `"assets/**/*.jpg"`.
fn of_pattern(entry: &Item<'_>, pattern: &str) -> Option<Folder> {
    let named = pattern.split('/').take_while(|part| !part.contains(['*', '?', '[', '{']));
    let mut folders: Vec<_> = named.filter(|part| !part.is_empty() && *part != ".").collect();
    let is_file = !pattern.contains(['*', '?', '[', '{']) && !pattern.ends_with('/');
    if is_file {
        folders.pop();
    }
    let folder = folders.join("/");
    if is_above(&folder) || pattern.starts_with('/') {
        entry.lost(
            &format!("the files `{pattern}`"),
            "a grant is a whole folder, and this would be all of the manifest's; move the files into a folder of their own",
        );
        return None;
    }
    entry.changed(
        &format!("the files `{pattern}`"),
        &format!("a grant is a whole folder: the guest sees all of `{folder}`, not only what the pattern matches"),
    );
    Some(Folder { host: format!("./{folder}"), guest: format!("/{folder}"), write: false })
}

/// Whether a path is the folder of the manifest or leads out of it.
fn is_above(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    path.split('/').any(|part| part == "..") || (!path.starts_with('/') && parts.next().is_none())
}
