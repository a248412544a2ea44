//! What stands in a file of configuration values: TOML, JSON, or lines of `KEY=value`.
//!
//! A value within tables has their names before its own: `[db] host = "x"` is the key `db.host`. Errors tell the line and
//! never what stands there. In `.env` files nothing is put in for `$NAME`: a file of values must not reach into the
//! environment of the host, which the grant did not name.

use std::path::Path;

use serde_json::Value as Json;

use crate::SOURCE_VALUES;

/// The language of a file, told by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `.toml`
    Toml,
    /// `.json`
    Json,
    /// `.env`, and files that are called so.
    Env,
}

/// Keys and values in the order of a file.
type Read = Vec<(String, String)>;

impl Format {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        match name.rsplit_once('.')?.1 {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            "env" => Some(Self::Env),
            _ => None,
        }
    }

    pub(crate) fn read(self, text: &str) -> Result<Read, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut read = Read::new();
        match self {
            Self::Toml => {
                let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
                    let line = error.span().map_or(1, |span| line_of(text, span.start));
                    format!("line {line} is no TOML")
                })?;
                for (key, value) in table {
                    toml_value(key, value, &mut read)?;
                }
            }
            Self::Json => {
                let value: Json =
                    serde_json::from_str(text).map_err(|error| format!("line {} is no JSON", error.line()))?;
                let Json::Object(table) = value else { return Err("it is no object with names".to_owned()) };
                for (key, value) in table {
                    json_value(key, value, &mut read)?;
                }
            }
            Self::Env => {
                for entry in env_lines(text) {
                    let (key, value) = entry?;
                    push(&mut read, key.to_owned(), value)?;
                }
            }
        }
        Ok(read)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1)
}

fn push(read: &mut Read, key: String, value: String) -> Result<(), String> {
    if read.len() >= SOURCE_VALUES {
        return Err(format!("it has more than {SOURCE_VALUES} values; divide it"));
    }
    read.push((key, value));
    Ok(())
}

fn list(key: &str) -> String {
    format!("`{key}` is a list; write it as one text, as the guest reads it")
}

fn toml_value(key: String, value: toml::Value, read: &mut Read) -> Result<(), String> {
    match value {
        toml::Value::String(text) => push(read, key, text),
        toml::Value::Array(_) => Err(list(&key)),
        toml::Value::Table(table) => {
            table.into_iter().try_for_each(|(below, value)| toml_value(format!("{key}.{below}"), value, read))
        }
        scalar => push(read, key, scalar.to_string()),
    }
}

fn json_value(key: String, value: Json, read: &mut Read) -> Result<(), String> {
    match value {
        // What is not there, a guest has a default for.
        Json::Null => Ok(()),
        Json::String(text) => push(read, key, text),
        Json::Array(_) => Err(list(&key)),
        Json::Object(table) => {
            table.into_iter().try_for_each(|(below, value)| json_value(format!("{key}.{below}"), value, read))
        }
        scalar => push(read, key, scalar.to_string()),
    }
}

/// The entries of lines of `KEY=value`: `export ` before the key is skipped, `#` begins a comment, `'as it is'` and `"with \n"` are
/// quotes on one line.
pub(crate) fn env_lines(text: &str) -> impl Iterator<Item = Result<(&str, String), String>> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        Some(env_line(line).ok_or_else(|| format!("line {} is no `KEY=value`", index + 1)))
    })
}

fn env_line(line: &str) -> Option<(&str, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if key.is_empty() || !key.chars().all(name) {
        return None;
    }
    let value = value.trim_start();
    let (value, rest) = if let Some(rest) = value.strip_prefix('\'') {
        let (value, rest) = rest.split_once('\'')?;
        (value.to_owned(), rest)
    } else if let Some(rest) = value.strip_prefix('"') {
        quoted(rest)?
    } else {
        let end = value.find(" #").unwrap_or(value.len());
        (value.get(..end)?.trim_end().to_owned(), "")
    };
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with('#')).then_some((key, value))
}

/// The text up to the closing quote, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    // As long as its source at most, so that it never moves.
    let mut value = String::with_capacity(text.len());
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '"' => return Some((value, rest.as_str())),
            '\\' => value.push(match rest.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other @ ('\\' | '"' | '$' | '\'') => other,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
}
