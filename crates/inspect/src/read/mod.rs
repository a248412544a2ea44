//! One walk over the bytes that gathers the facts of [`Module`].
//!
//! Everything but function bodies is validated on the way, so that indexes can be trusted; bodies are scanned for
//! features and cost only. Full validation is [`crate::text::validate`].

mod component;
mod core;
mod section;
mod walk;

use std::{borrow::Cow, path::Path};

use sha2::{Digest, Sha256};
use wasmparser::{Parser, WasmFeatures};

use crate::{Encoding, Features, MAX_ITEMS, MAX_SIZE_BYTES, Module, ReadError, error::describe_start};

use section::section_of_id;
pub(crate) use section::{section_at, section_name};
use walk::Walk;

/// Whether `bytes` look like WebAssembly text rather than a binary.
pub fn is_text(bytes: &[u8]) -> bool {
    let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Comments and blanks may come before the first parenthesis.
    for _ in 0..MAX_ITEMS {
        rest = rest.trim_ascii_start();
        if let Some(comment) = rest.strip_prefix(b";;") {
            let end = comment.iter().position(|byte| *byte == b'\n').unwrap_or(comment.len());
            rest = comment.get(end..).unwrap_or_default();
        } else if let Some(comment) = rest.strip_prefix(b"(;") {
            let Some(end) = comment.windows(2).position(|pair| pair == b";)") else { return true };
            rest = comment.get(end + 2..).unwrap_or_default();
        } else {
            break;
        }
    }
    rest.first() == Some(&b'(')
}

/// The bytes as a binary: text is assembled, everything else is handed back as it is.
///
/// # Errors
/// The bytes look like text and do not parse; the message names `path`, line and column.
pub fn read_any<'a>(bytes: &'a [u8], path: Option<&Path>) -> Result<Cow<'a, [u8]>, ReadError> {
    if is_text(bytes) {
        let text = std::str::from_utf8(bytes).map_err(|error| ReadError::Text {
            message: format!("byte {} is not UTF-8; WebAssembly text is UTF-8", error.valid_up_to()),
        })?;
        return assemble(text, path).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(bytes))
}

/// Assembles text.
pub(crate) fn assemble(text: &str, path: Option<&Path>) -> Result<Vec<u8>, ReadError> {
    wat::parse_str(text).map_err(|mut error| {
        if let Some(path) = path {
            error.set_path(path);
        }
        ReadError::Text { message: error.to_string() }
    })
}

/// Refuses what is not WebAssembly at the first glance.
pub(crate) fn check_size(bytes: &[u8]) -> Result<(), ReadError> {
    let size_bytes = bytes.len() as u64;
    if bytes.is_empty() {
        return Err(ReadError::Empty);
    }
    if size_bytes > MAX_SIZE_BYTES {
        return Err(ReadError::TooLarge { size_bytes, limit_bytes: MAX_SIZE_BYTES });
    }
    // What breaks off inside the header is left to the parser, which says where.
    let start = bytes.get(..bytes.len().min(8)).unwrap_or_default();
    if Parser::is_core_wasm(bytes) || Parser::is_component(bytes) || (start.len() < 8 && starts_like_wasm(start)) {
        return Ok(());
    }
    Err(ReadError::NotWasm { found: describe_start(bytes) })
}

fn starts_like_wasm(start: &[u8]) -> bool {
    let magic = b"\0asm";
    start.starts_with(magic) || magic.starts_with(start)
}

impl Module {
    /// Reads the facts of a module or component in binary form.
    ///
    /// # Errors
    /// The bytes are not WebAssembly, break off, or break a rule of the format outside function bodies.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        check_size(bytes)?;
        let encoding = if Parser::is_component(bytes) { Encoding::Component } else { Encoding::Core };
        let mut walk = Walk::new(encoding, bytes);
        for payload in parser().parse_all(bytes) {
            let payload = payload.map_err(|error| {
                // The parser stopped inside the code section, the only one it hands over in pieces, or in a section
                // that it has not handed over yet.
                let section = match bytes.get(walk.end) {
                    _ if error.offset() < walk.end => "code",
                    None => "file",
                    Some(id) => section_of_id(walk.open(), *id),
                };
                ReadError::malformed(&error, section)
            })?;
            walk.payload(&payload)?;
        }
        let mut module = walk.module;
        module.features = Features(walk.scan.features);
        module.sha256 = hex(&Sha256::digest(bytes));
        Ok(module)
    }
}

/// A parser that knows every feature: refusing one is the policy's business, not the reader's.
pub(crate) fn parser() -> Parser {
    let mut parser = Parser::new(0);
    parser.set_features(WasmFeatures::all());
    parser
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

/// Why the walk stopped.
pub(crate) enum Stop {
    Parser(wasmparser::Error),
    TooMuch { offset: usize, message: String },
}

impl Stop {
    /// The error for whoever passed the bytes.
    pub(crate) fn in_section(self, section: &str) -> ReadError {
        match self {
            Self::Parser(error) => ReadError::malformed(&error, section),
            Self::TooMuch { offset, message } => {
                ReadError::Malformed { offset: offset as u64, section: section.to_owned(), message }
            }
        }
    }
}

impl From<wasmparser::Error> for Stop {
    fn from(error: wasmparser::Error) -> Self {
        Self::Parser(error)
    }
}

pub(crate) fn room<T>(list: &[T], what: &str, offset: usize) -> Result<(), Stop> {
    if list.len() < MAX_ITEMS {
        return Ok(());
    }
    Err(Stop::TooMuch { offset, message: format!("more than {MAX_ITEMS} {what}") })
}
