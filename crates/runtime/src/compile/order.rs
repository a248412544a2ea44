//! What the host and its compile worker say to each other.
//!
//! The host writes one order to the worker's standard input: a length of four bytes, that much JSON, then the
//! WebAssembly. The worker answers on standard output with a length of eight bytes and the code, or on standard error
//! with the reason in words and one of the exit codes below. Integers are little-endian.

use std::io::{self, Read};

use crate::CodeKind;

/// Exit code of a worker whose input is not valid WebAssembly, or not for this compiler.
pub(super) const EXIT_REFUSED: u8 = 2;
/// Exit code of a worker that could not do its work.
pub(super) const EXIT_FAILED: u8 = 3;
/// Bytes of the longest order.
const MAX_ORDER_BYTES: u32 = 4096;

/// One compilation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Order {
    /// The engine the code must fit, in hex: the worker's program may have been replaced since the host started.
    pub(super) engine: String,
    /// What to compile for.
    pub(super) kind: CodeKind,
    /// A component, or a core module.
    pub(super) component: bool,
    /// Bytes of WebAssembly that follow.
    pub(super) wasm_bytes: u64,
    /// Seconds of processor time that the worker may use.
    pub(super) cpu_seconds: u64,
    /// Bytes of private memory that the worker may use.
    pub(super) memory_bytes: u64,
}

impl Order {
    /// The order as it is sent, without the WebAssembly.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?;
        Ok([length.to_le_bytes().as_slice(), &json].concat())
    }

    /// Reads an order, and leaves the input where the WebAssembly starts.
    pub(super) fn read(input: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > MAX_ORDER_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an order of {length} bytes is too long")));
        }
        let mut json = Vec::new();
        input.take(u64::from(length)).read_to_end(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}
