//! Where a program keeps what it can make or fetch again: compiled code, artifacts.
//!
//! Only the names; whoever opens such a directory checks that it is theirs.

use std::{ffi::OsString, path::PathBuf};

/// What is kept between runs, each in a directory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Compiled code: `$SAMARA_CACHE` itself, else `samara/code` in the user's cache.
    Code,
    /// Artifacts as they were fetched: `$SAMARA_CACHE/artifacts`, else `samara/artifacts` in the user's cache.
    Artifacts,
}

/// The directory for `kept` when nobody says: in `$SAMARA_CACHE`, else in `$XDG_CACHE_HOME/samara`, else in
/// `$HOME/.cache/samara`. `None` if none of them is set.
pub fn cache_directory(variable: impl Fn(&str) -> Option<OsString>, kept: Kept) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG specification says that relative paths are to be ignored.
    let absolute = |name: &str| set(name).filter(|path| path.is_absolute());
    if let Some(own) = set("SAMARA_CACHE") {
        return Some(match kept {
            Kept::Code => own,
            Kept::Artifacts => own.join("artifacts"),
        });
    }
    let users = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(users.join(match kept {
        Kept::Code => "samara/code",
        Kept::Artifacts => "samara/artifacts",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_follow_the_environment() {
        let directory = |set: &[(&str, &str)], kept| {
            let find = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            cache_directory(find, kept).map(|path| path.display().to_string())
        };
        let check = |set: &[(&str, &str)], code: Option<&str>, artifacts: Option<&str>| {
            assert_eq!(directory(set, Kept::Code).as_deref(), code);
            assert_eq!(directory(set, Kept::Artifacts).as_deref(), artifacts);
        };
        let all = [("SAMARA_CACHE", "c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        check(&all, Some("c"), Some("c/artifacts"));
        check(&all[1..], Some("/x/samara/code"), Some("/x/samara/artifacts"));
        check(&all[2..], Some("/h/.cache/samara/code"), Some("/h/.cache/samara/artifacts"));
        let ignored = [("SAMARA_CACHE", ""), ("XDG_CACHE_HOME", "x"), ("HOME", "/h")];
        check(&ignored, Some("/h/.cache/samara/code"), Some("/h/.cache/samara/artifacts"));
        check(&[], None, None);
    }
}
