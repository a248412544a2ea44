//! Variables of an application, and the `{{ name }}` templates that components use them by.
//!
//! Spin asks its providers for a variable when a component does: the environment variable `SPIN_VARIABLE_NAME`, a vault,
//! then the default. A native manifest has the value, or says where a secret is read. So a default is written out, and a
//! variable that has none, or is secret, is read from the same environment variable when the app is loaded.

use std::{cell::Cell, collections::BTreeMap};

use crate::{Options, document::Item};

/// The variables of one application.
#[derive(Default)]
pub(super) struct Variables<'a>(BTreeMap<&'a str, Variable<'a>>);

struct Variable<'a> {
    value: Option<String>,
    secret: bool,
    /// Whether the value is the default, rather than one that the caller knows.
    is_default: bool,
    used: Cell<bool>,
    item: Item<'a>,
}

/// What a template comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Resolved {
    /// This text.
    Text(String),
    /// What an environment variable of this name holds.
    Environment(String),
    /// Nothing that can be said now, and why.
    Unknown(String),
}

/// A piece of a template.
enum Part<'t> {
    Text(&'t str),
    Variable(&'t str),
}

impl<'a> Variables<'a> {
    /// Reads `[variables.NAME]`; answers its description.
    pub(super) fn declare(&mut self, item: &Item<'a>, options: &Options) -> Option<&'a str> {
        let mut table = item.table()?;
        let default = table.take("default");
        let secret = table.take("secret").and_then(|item| item.boolean()).unwrap_or_default();
        let required = table.take("required").and_then(|item| item.boolean()).unwrap_or_default();
        let description = table.text("description").filter(|text| !text.is_empty());
        table.finish();
        let given = options.variables.get(item.key).cloned();
        if secret && let Some(default) = &default {
            let why = format!("a secret is not written into a manifest; set `{}`", environment(item.key));
            default.lost("the default of a secret", &why);
        }
        let is_default = given.is_none();
        // A required variable has no default, whatever stands there.
        let default = default.filter(|_| !required).and_then(|item| item.scalar());
        let value = if secret { None } else { given.or(default) };
        self.0.insert(item.key, Variable { value, secret, is_default, used: Cell::new(false), item: item.clone() });
        description
    }

    /// What a template comes to.
    pub(super) fn resolve(&self, template: &str) -> Resolved {
        let parts = match parts(template) {
            Ok(parts) => parts,
            Err(why) => return Resolved::Unknown(why),
        };
        let mut text = String::new();
        let alone = parts.len() == 1;
        for part in parts {
            let name = match part {
                Part::Text(part) => {
                    text.push_str(part);
                    continue;
                }
                Part::Variable(name) => name,
            };
            let Some(variable) = self.0.get(name) else {
                return Resolved::Unknown(format!("the application has no variable `{name}`"));
            };
            variable.used.set(true);
            match &variable.value {
                Some(value) => {
                    if variable.is_default {
                        let why =
                            format!("Spin would have asked `{}` first; change it where it is used", environment(name));
                        variable.item.changed("its default is written out", &why);
                    }
                    text.push_str(value);
                }
                None if alone => {
                    let why = format!(
                        "it is read from the environment variable `{}` when the app is loaded",
                        environment(name)
                    );
                    if variable.secret {
                        variable.item.info("a secret", &why);
                    } else {
                        variable.item.changed("a value that is not known yet", &why);
                    }
                    return Resolved::Environment(environment(name));
                }
                None => {
                    return Resolved::Unknown(format!(
                        "the variable `{name}` has no value yet, and text around it cannot be added later; write the whole value"
                    ));
                }
            }
        }
        Resolved::Text(text)
    }

    /// Notes variables that no component uses.
    pub(super) fn note_unused(&self) {
        for variable in self.0.values().filter(|variable| !variable.used.get()) {
            variable.item.info("the variable", "no component uses it");
        }
    }
}

/// The environment variable that Spin reads for a variable.
fn environment(name: &str) -> String {
    format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase())
}

/// The pieces of `text {{ name }} text`.
fn parts(template: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        match rest.split_once("{{") {
            None => {
                parts.push(Part::Text(rest));
                break;
            }
            Some((before, after)) => {
                if !before.is_empty() {
                    parts.push(Part::Text(before));
                }
                let (name, after) = after.split_once("}}").ok_or("its `{{` has no `}}`")?;
                parts.push(Part::Variable(name.trim()));
                rest = after;
            }
        }
    }
    Ok(parts)
}
