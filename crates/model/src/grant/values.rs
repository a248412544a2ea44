//! Grants of values that the operator hands over: where configuration and secrets are read from.
//!
//! These say places, never values: what is read there is kept by the capabilities.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

use super::ParseGrantError;

/// Where values are read: for one value, or for all there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// `env:NAME`: for one value the variable of this process, for all the variables that start with it.
    Environment(String),
    /// `file:./path`: for one value what is in the file, for all a table (`.toml`, `.json`, `.env`).
    File(PathBuf),
    /// `dir:/path`: a folder with a file for each value, named as the value is.
    Directory(PathBuf),
}

impl ValueSource {
    /// The path, if it is one.
    pub fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Environment(_) => None,
            Self::File(path) | Self::Directory(path) => Some(path),
        }
    }
}

impl FromStr for ValueSource {
    type Err = ParseGrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((_, "")) => {}
            Some(_) if text.contains('\0') => {}
            Some(("env", name)) if !name.contains('=') => return Ok(Self::Environment(name.to_owned())),
            Some(("file", path)) => return Ok(Self::File(path.into())),
            Some(("dir", path)) => return Ok(Self::Directory(path.into())),
            _ => {}
        }
        // What does not parse may be the secret itself, pasted here by mistake: it is not repeated.
        Err(ParseGrantError(
            "this does not say where to read; write `env:NAME`, `file:./path` or `dir:./path`".to_owned(),
        ))
    }
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
        }
    }
}

/// Secrets a workload may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsGrant {
    /// Single ones, by the name the guest asks for.
    pub values: BTreeMap<String, ValueSource>,
    /// Places whose every value is granted; the later one wins, and a single one over all of these.
    pub sources: Vec<ValueSource>,
}

impl SecretsGrant {
    /// Whether no secret is granted.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.sources.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["env:API_KEY", "file:./key", "dir:/etc/secrets"] {
            assert_eq!(text.parse::<ValueSource>().map(|source| source.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_secret_in_place_of_its_place_is_not_repeated() {
        for bad in ["", "hunter2", "env:", "file:", "dir:", "env:A=hunter2", "file:hunter2\0", "redis://:hunter2@host"]
        {
            let error = bad.parse::<ValueSource>().unwrap_err().to_string();
            assert!(error.contains("env:NAME") && !error.contains("hunter2"), "{error}");
        }
    }
}
