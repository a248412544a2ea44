//! The paths in what opens a store: those of its provider's URL, and of settings that are read from files.

use std::path::{Path, PathBuf};

use crate::ValueSource;

/// Providers whose URL is a path also if it begins with a name; of all others one is that begins with `/`, `./` or `../`.
const FILE_SCHEMES: &[&str] = &["redb", "fs", "sqlite"];

/// The workload of the same app that a provider names: `workload:my-kv`.
pub fn guest_of(provider: &str) -> Option<&str> {
    provider.strip_prefix("workload:").filter(|name| !name.is_empty())
}

/// Makes the relative paths of a provider and its settings relative to a folder.
pub fn resolve_provider(provider: &mut String, settings: &mut toml::Table, folder: &Path) {
    each_path(provider, settings, &mut |path| *path = folder.join(&path));
}

/// The first path of a provider, or of its settings, that does not say all of itself.
pub fn relative_path(provider: &str, settings: &toml::Table) -> Option<PathBuf> {
    let mut relative = None;
    let mut note = |path: &mut PathBuf| {
        if path.is_relative() {
            relative.get_or_insert_with(|| path.clone());
        }
    };
    each_path(&mut provider.to_owned(), &mut settings.clone(), &mut note);
    relative
}

/// The one address of a provider that is a path, however it is written: only one opens it at a time.
pub fn path_address(provider: &str) -> Option<String> {
    let (scheme, path) = path_of(provider)?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    Some(format!("{scheme}:{}", absolute.components().collect::<PathBuf>().display()))
}

pub(super) fn each_path(provider: &mut String, settings: &mut toml::Table, visit: &mut dyn FnMut(&mut PathBuf)) {
    if let Some((scheme, path)) = path_of(provider) {
        let mut path = PathBuf::from(path);
        visit(&mut path);
        *provider = format!("{scheme}:{}", path.display());
    }
    // Credentials and certificates in files: `password = "file:./password"`.
    for (_, value) in settings {
        if let toml::Value::String(text) = value
            && let Ok(mut source) = text.parse::<ValueSource>()
            && let Some(path) = source.path_mut()
        {
            visit(path);
            *text = source.to_string();
        }
    }
}

/// The path in a provider's URL, and the scheme before it: `redb:./carts.redb`, but neither `workload:carts` nor
/// `sqlite::memory:`.
fn path_of(provider: &str) -> Option<(&str, &str)> {
    let (scheme, path) = provider.split_once(':')?;
    let absolute = path.starts_with('/') && !path.starts_with("//");
    let says_so = absolute || path.starts_with("./") || path.starts_with("../");
    let is_path = FILE_SCHEMES.contains(&scheme) && !path.is_empty() && !path.starts_with(':');
    (says_so || is_path).then_some((scheme, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_providers_path_is_told_from_what_is_none() {
        for (written, resolved) in [
            ("redb:./carts.redb", "redb:/apps/shop/./carts.redb"),
            ("redb:carts.redb", "redb:/apps/shop/carts.redb"),
            ("fs:../data", "fs:/apps/shop/../data"),
            ("other:./x", "other:/apps/shop/./x"),
            ("other:/x", "other:/x"),
            ("redb:/data/carts.redb", "redb:/data/carts.redb"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("sqlite:", "sqlite:"),
            ("workload:carts", "workload:carts"),
            ("redis://cache:6379/0", "redis://cache:6379/0"),
            ("memory", "memory"),
        ] {
            let (mut provider, mut settings) = (written.to_owned(), toml::Table::new());
            assert_eq!(relative_path(&provider, &settings).is_some(), resolved != written, "{written}");
            resolve_provider(&mut provider, &mut settings, Path::new("/apps/shop"));
            assert_eq!(provider, resolved);
        }
    }

    #[test]
    fn however_it_is_written_one_file_has_one_address() {
        for written in ["redb:/apps/shop/./carts.redb", "redb:/apps//shop/carts.redb", "redb:.//carts.redb"] {
            let mut provider = written.to_owned();
            resolve_provider(&mut provider, &mut toml::Table::new(), Path::new("/apps/./shop"));
            assert_eq!(path_address(&provider).as_deref(), Some("redb:/apps/shop/carts.redb"));
        }
        let here = std::env::current_dir().unwrap().join("carts.redb");
        assert_eq!(path_address("redb:./carts.redb"), Some(format!("redb:{}", here.display())));
        assert_eq!(path_address("redis://cache"), None);
        assert_eq!(path_address("other:/data//x").as_deref(), Some("other:/data/x"));
    }

    #[test]
    fn settings_that_are_read_from_files_have_paths() {
        let mut settings: toml::Table =
            "password = 'file:./password'\ntimeout = '2s'\nuser = 'env:USER'".parse().unwrap();
        let mut provider = "redis://cache".to_owned();
        assert_eq!(relative_path(&provider, &settings), Some("./password".into()));
        resolve_provider(&mut provider, &mut settings, Path::new("/apps/shop"));
        assert_eq!(settings["password"].as_str(), Some("file:/apps/shop/./password"));
        assert_eq!(relative_path(&provider, &settings), None);
    }
}
