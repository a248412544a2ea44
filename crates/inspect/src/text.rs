//! Text to binary and back, and validation: `samara wat`, `print` and `validate`.

use std::{io, path::Path};

use wasmparser::{Validator, WasmFeatures};

use crate::{
    FEATURES, ReadError,
    feature::flag,
    nesting,
    read::{assemble, check_size, section_at},
};

/// Assembles WebAssembly text into a binary module or component.
///
/// # Errors
/// The text does not parse; the message names `path`, line and column and shows the line.
pub fn wat_to_wasm(text: &str, path: Option<&Path>) -> Result<Vec<u8>, ReadError> {
    assemble(text, path)
}

/// Prints a module or component as text, piece by piece: a small hostile file can print as gigabytes, so where it
/// goes decides how much is too much.
///
/// # Errors
/// The bytes are not WebAssembly, or `out` fails; then the message is that of `out`.
pub fn print_to(bytes: &[u8], out: &mut dyn io::Write) -> Result<(), ReadError> {
    check_size(bytes)?;
    nesting::check(bytes)?;
    let result = wasmprinter::Config::new().print(bytes, &mut wasmprinter::PrintIoWrite(out));
    result.map_err(|error| match error.downcast_ref::<wasmparser::Error>() {
        Some(error) => ReadError::malformed(error, section_at(bytes, error.offset())),
        None => ReadError::Text { message: format!("{error:#}") },
    })
}

/// Prints a module or component as text, up to [`MAX_PRINTED_BYTES`].
///
/// # Errors
/// The bytes are not WebAssembly, or the text is longer than that.
pub fn print(bytes: &[u8]) -> Result<String, ReadError> {
    let mut text = Capped(Vec::new());
    print_to(bytes, &mut text)?;
    String::from_utf8(text.0).map_err(|error| ReadError::Text { message: error.to_string() })
}

/// Bytes of text that [`print()`] holds in memory.
pub const MAX_PRINTED_BYTES: usize = 256 << 20;

struct Capped(Vec<u8>);

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > MAX_PRINTED_BYTES {
            return Err(io::Error::other(format!("the text is longer than {MAX_PRINTED_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Validates all of a module or component, function bodies too.
///
/// `features` is a list like `gc,-simd`: names add to the standard's features, names after `-` are taken away, and
/// `mvp` and `all` replace what came before them.
///
/// # Errors
/// The bytes break a rule, or use a feature that is not in the list, or a name in the list is unknown.
pub fn validate(bytes: &[u8], features: Option<&str>) -> Result<(), ReadError> {
    let features = parse_features(features.unwrap_or_default())?;
    check_size(bytes)?;
    nesting::check(bytes)?;
    let Err(error) = Validator::new_with_features(features).validate_all(bytes) else { return Ok(()) };
    let mut message = error.message().to_owned();
    if let Some(missing) = error.missing_wasm_feature()
        && let Some(name) = FEATURES.iter().find(|name| flag(name).is_some_and(|flag| flag.contains(missing)))
    {
        message.push_str(&format!("; it needs the feature `{name}`"));
    }
    let section = section_at(bytes, error.offset()).to_owned();
    Err(ReadError::Invalid { offset: error.offset() as u64, section, message })
}

/// Reads a list of features.
fn parse_features(list: &str) -> Result<WasmFeatures, ReadError> {
    let mut features = WasmFeatures::default();
    for word in list.split([',', ' ']).filter(|word| !word.is_empty()) {
        let (name, add) = match word.strip_prefix('-') {
            Some(name) => (name, false),
            None => (word.strip_prefix('+').unwrap_or(word), true),
        };
        match (name, flag(name)) {
            ("all", _) if add => features = WasmFeatures::all(),
            ("mvp", _) if add => features = WasmFeatures::WASM1,
            ("default", _) if add => features = WasmFeatures::default(),
            (_, Some(flag)) => features.set(flag, add),
            (_, None) => return Err(unknown_feature(name)),
        }
    }
    Ok(features)
}

fn unknown_feature(name: &str) -> ReadError {
    let known = FEATURES.iter().chain(&["all", "mvp", "default"]);
    let near = known.clone().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    let hint = match near {
        Some((distance, near)) if distance <= 3.max(name.len() / 3) => format!("did you mean `{near}`?"),
        _ => format!("known: {}", known.copied().collect::<Vec<_>>().join(", ")),
    };
    ReadError::UnknownFeature { name: name.to_owned(), hint }
}
