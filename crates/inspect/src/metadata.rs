//! What a file says about itself: its custom sections, read as far as their format is known.
//!
//! Nothing here is proven. Claims and signatures are shown, not checked; checking them is the trust policy's work.

use samara_model::format_bytes;
use serde::Serialize;
use serde_json::Value;
use wasmparser::{CustomSectionReader, KnownCustom, Name, Payload};

use crate::{
    Encoding, MAX_ITEMS, ReadError,
    display::harmless,
    nesting::check_depth,
    read::{check_size, parser, section_name},
};

/// Bytes of the longest custom section that is parsed as text, JSON or claims.
const MAX_PARSED_BYTES: usize = 64 << 10;
/// Custom sections that are kept of one module or component.
const MAX_CUSTOM: usize = 1_000;
/// Entries that are kept of one custom section's lists.
const MAX_ENTRIES: usize = 1_000;

/// What a module or component says about itself, and what those nested in it say.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    /// `core module` or `component`.
    pub kind: &'static str,
    /// Where it starts, in bytes from the start of the file.
    pub offset: u64,
    /// Bytes of it.
    pub size: u64,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The tools that made it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub producers: Vec<Producer>,
    /// Features its compiler was told to use: `+simd128`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_features: Vec<String>,
    /// The custom sections that are plain text: `description`, `licenses`, `version`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// The claims of a signed waPC or wasmCloud module, not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Value>,
    /// The metadata of a Kubewarden policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubewarden: Option<Value>,
    /// Every custom section.
    pub custom: Vec<Custom>,
    /// The modules and components nested in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Self>,
}

/// A tool that took part in making the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Producer {
    /// `language`, `sdk` or `processed-by`.
    pub field: String,
    /// The tool.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A custom section that is plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Annotation {
    /// The section's name.
    pub name: String,
    /// The text.
    pub text: String,
}

/// A custom section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Custom {
    /// Its name.
    pub name: String,
    /// Where its data starts, in bytes from the start of the file.
    pub offset: u64,
    /// Bytes of its data.
    pub size: u64,
    /// What it is, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<&'static str>,
}

/// Names of custom sections and what they are; a name may end in `*`.
const MEANINGS: &[(&str, &str)] = &[
    ("name", "names of functions and variables"),
    ("component-name", "names of a component's parts"),
    ("producers", "the tools that made it"),
    ("target_features", "features its compiler used"),
    ("component-type*", "WIT of the component it becomes"),
    ("jwt", "claims, signed by their issuer"),
    ("wasmcloud_jwt", "claims, signed by their issuer"),
    ("signature", "signatures"),
    ("signature_delimiter", "the end of a signed part"),
    ("io.kubewarden.metadata", "the metadata of a Kubewarden policy"),
    (".debug_*", "DWARF debugging information"),
    ("external_debug_info", "where debugging information is"),
    ("build_id", "the build's identity"),
    ("sourceMappingURL", "where the source map is"),
    ("linking", "symbols for a linker: this is an object file"),
    ("reloc.*", "relocations for a linker"),
    ("dylink.0", "a shared library"),
    ("metadata.code.branch_hint", "hints on branches"),
    ("core", "a core dump"),
    ("package-docs", "documentation of WIT packages"),
    ("wit-component-encoding", "the version of an encoded WIT package"),
    (".dep-v0", "the dependencies it was built from"),
    ("go.*", "the Go toolchain's own"),
    ("go:*", "the Go toolchain's own"),
];

/// The plain-text sections of the tool conventions for OCI annotations.
const ANNOTATIONS: &[&str] =
    &["authors", "description", "licenses", "source", "homepage", "revision", "version", "sourceMappingURL"];

/// Reads what a file says about itself.
///
/// # Errors
/// The bytes are not WebAssembly or break off. A custom section with broken contents is listed, not refused.
pub fn metadata(bytes: &[u8]) -> Result<Metadata, ReadError> {
    check_size(bytes)?;
    let mut open: Vec<Metadata> = Vec::new();
    let mut section = "header";
    for payload in parser().parse_all(bytes) {
        let payload = payload.map_err(|error| ReadError::malformed(&error, section))?;
        section = section_name(&payload);
        match &payload {
            Payload::Version { encoding, range, .. } => {
                check_depth(open.len() + 1, range.start).map_err(|stop| stop.in_section(section))?;
                open.push(Metadata::new(*encoding, range.start));
            }
            Payload::CustomSection(custom) => {
                if let Some(metadata) = open.last_mut() {
                    metadata.take(custom);
                }
            }
            Payload::End(offset) => {
                let Some(mut done) = open.pop() else { break };
                done.size = (*offset as u64).saturating_sub(done.offset);
                match open.last_mut() {
                    Some(outer) if outer.children.len() < MAX_CUSTOM => outer.children.push(done),
                    Some(_) => {}
                    None => return Ok(done),
                }
            }
            _ => {}
        }
    }
    let offset = bytes.len() as u64;
    Err(ReadError::Malformed { offset, section: section.to_owned(), message: "the file has no end".to_owned() })
}

impl Metadata {
    fn new(encoding: wasmparser::Encoding, offset: usize) -> Self {
        let encoding = match encoding {
            wasmparser::Encoding::Module => Encoding::Core,
            wasmparser::Encoding::Component => Encoding::Component,
        };
        Self {
            kind: encoding.as_str(),
            offset: offset as u64,
            size: 0,
            name: None,
            producers: Vec::new(),
            target_features: Vec::new(),
            annotations: Vec::new(),
            claims: None,
            kubewarden: None,
            custom: Vec::new(),
            children: Vec::new(),
        }
    }

    /// Itself and everything nested in it, outermost first.
    pub fn all(&self) -> Vec<&Self> {
        let mut all = vec![self];
        let mut next = 0;
        while let Some(metadata) = all.get(next).copied() {
            next += 1;
            if all.len() < MAX_ITEMS {
                all.extend(&metadata.children);
            }
        }
        all
    }

    /// The metadata for people: a line for each fact, parts inside parts further to the right.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text
    }

    fn write(&self, text: &mut String, depth: usize) {
        let mut line = |label: &str, value: &str| {
            text.push_str(&format!("{:indent$}{label:<16}{value}\n", "", indent = depth * 2));
        };
        let name = self.name.as_ref().map(|name| format!(" `{}`", harmless(name))).unwrap_or_default();
        let place = if depth == 0 { String::new() } else { format!(" at 0x{:x}", self.offset) };
        line(self.kind, &format!("{}{name}{place}", format_bytes(self.size)));
        for producer in &self.producers {
            line(
                &harmless(&producer.field),
                format!("{} {}", harmless(&producer.name), harmless(&producer.version)).trim_end(),
            );
        }
        for annotation in &self.annotations {
            line(&harmless(&annotation.name), &harmless(&annotation.text));
        }
        if !self.target_features.is_empty() {
            let features: Vec<_> = self.target_features.iter().map(|feature| harmless(feature)).collect();
            line("target features", &features.join(" "));
        }
        for (label, value) in [("claims", &self.claims), ("kubewarden", &self.kubewarden)] {
            let pretty = value.as_ref().and_then(|value| serde_json::to_string_pretty(value).ok()).unwrap_or_default();
            for (index, shown) in pretty.lines().enumerate() {
                line(if index == 0 { label } else { "" }, &harmless(shown));
            }
        }
        for custom in &self.custom {
            let meaning = custom.meaning.map(|meaning| format!(", {meaning}")).unwrap_or_default();
            line("custom", &format!("`{}` {}{meaning}", harmless(&custom.name), format_bytes(custom.size)));
        }
        for child in &self.children {
            child.write(text, depth + 1);
        }
    }

    fn take(&mut self, section: &CustomSectionReader<'_>) {
        if self.custom.len() >= MAX_CUSTOM {
            return;
        }
        let (name, data) = (section.name(), section.data());
        self.custom.push(Custom {
            name: name.to_owned(),
            offset: section.data_offset() as u64,
            size: data.len() as u64,
            meaning: meaning(name),
        });
        match name {
            "name" => {
                if let KnownCustom::Name(names) = section.as_known() {
                    let mut names = names.into_iter();
                    if let Some(Ok(Name::Module { name, .. })) = names.next() {
                        self.name = Some(name.to_owned());
                    }
                }
            }
            "component-name" => {
                if let KnownCustom::ComponentName(names) = section.as_known() {
                    let mut names = names.into_iter();
                    if let Some(Ok(wasmparser::ComponentName::Component { name, .. })) = names.next() {
                        self.name = Some(name.to_owned());
                    }
                }
            }
            "producers" => self.producers.extend(producers(section)),
            "target_features" => self.target_features.extend(target_features(section)),
            _ if data.len() > MAX_PARSED_BYTES => {}
            "jwt" | "wasmcloud_jwt" => self.claims = claims(data),
            "io.kubewarden.metadata" => self.kubewarden = serde_json::from_slice(data).ok(),
            _ if ANNOTATIONS.contains(&name) => {
                if let Ok(text) = std::str::from_utf8(data) {
                    self.annotations.push(Annotation { name: name.to_owned(), text: text.to_owned() });
                }
            }
            _ => {}
        }
    }
}

fn meaning(name: &str) -> Option<&'static str> {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    MEANINGS.iter().find(|(pattern, _)| fits(pattern)).map(|(_, meaning)| *meaning)
}

fn producers(section: &CustomSectionReader<'_>) -> Vec<Producer> {
    let KnownCustom::Producers(fields) = section.as_known() else { return Vec::new() };
    let mut producers = Vec::new();
    for field in fields.into_iter().flatten() {
        for value in field.values.into_iter().flatten() {
            if producers.len() >= MAX_ENTRIES {
                return producers;
            }
            producers.push(Producer {
                field: field.name.to_owned(),
                name: value.name.to_owned(),
                version: value.version.to_owned(),
            });
        }
    }
    producers
}

/// A count, then a sign and a name for each, by the tool conventions.
fn target_features(section: &CustomSectionReader<'_>) -> Vec<String> {
    let mut reader = section.data_reader();
    let mut features = Vec::new();
    let Ok(count) = reader.read_var_u32() else { return features };
    for _ in 0..count.min(1_000) {
        let (Ok(sign), Ok(name)) = (reader.read_u8(), reader.read_string()) else { break };
        features.push(format!("{}{name}", char::from(sign)));
    }
    features
}

/// The claims of a JSON Web Token: the middle one of three parts between dots.
fn claims(token: &[u8]) -> Option<Value> {
    let token = std::str::from_utf8(token).ok()?.trim();
    serde_json::from_slice(&base64url(token.split('.').nth(1)?)?).ok()
}

fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut buffer, mut bits) = (0u32, 0u32);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(value)) & 0x00ff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_decodes_with_and_without_padding() {
        for (text, bytes) in [("", ""), ("Zg", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64url(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64url("-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(base64url("a b"), None);
    }
}
