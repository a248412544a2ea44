//! Why bytes could not be read: always where, always what.

/// Bytes that are not a readable module or component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There are no bytes at all.
    #[error("the file is empty; expected a WebAssembly module or component")]
    Empty,
    /// The first bytes are not those of WebAssembly.
    #[error("not WebAssembly at byte 0: found {found}; a module or component starts with `\\0asm`")]
    NotWasm {
        /// What the first bytes look like.
        found: String,
    },
    /// More bytes than this crate reads.
    #[error("the file is {size_bytes} bytes, over the limit of {limit_bytes} bytes")]
    TooLarge {
        /// Its size.
        size_bytes: u64,
        /// The limit, [`crate::MAX_SIZE_BYTES`].
        limit_bytes: u64,
    },
    /// WebAssembly that breaks off or breaks the rules.
    #[error("malformed at byte {offset} (0x{offset:x}), in the {section} section: {message}")]
    Malformed {
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// The section that was being read: `type`, `code`, `core module`; `header` and `file` are outside of any.
        section: String,
        /// What is wrong there.
        message: String,
    },
    /// WebAssembly that can be read and breaks a rule, or uses a feature that is not enabled.
    #[error("invalid at byte {offset} (0x{offset:x}), in the {section} section: {message}")]
    Invalid {
        /// Where, in bytes from the start of the file.
        offset: u64,
        /// The section that breaks the rule.
        section: String,
        /// The rule.
        message: String,
    },
    /// WebAssembly text that does not parse; the message names the file, line and column.
    #[error("not WebAssembly text: {message}")]
    Text {
        /// What the parser says, with the line it is about.
        message: String,
    },
    /// A feature that does not exist.
    #[error("no WebAssembly feature is called `{name}`; {hint}")]
    UnknownFeature {
        /// What was asked for.
        name: String,
        /// The nearest right name, or all of them.
        hint: String,
    },
}

impl ReadError {
    /// Where the bytes are wrong, if that is one place.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::Malformed { offset, .. } | Self::Invalid { offset, .. } => Some(*offset),
            Self::NotWasm { .. } | Self::Empty => Some(0),
            Self::TooLarge { .. } | Self::Text { .. } | Self::UnknownFeature { .. } => None,
        }
    }

    /// An error of the parser, in `section`.
    pub(crate) fn malformed(error: &wasmparser::Error, section: &str) -> Self {
        let message = match error.message().strip_suffix("end-of-file") {
            Some(start) => format!("{start}end of file; the file is truncated, or a length in it is wrong"),
            None => error.message().to_owned(),
        };
        Self::Malformed { offset: error.offset() as u64, section: section.to_owned(), message }
    }
}

/// Says what bytes look like that are not WebAssembly, because "wrong magic" helps nobody.
pub(crate) fn describe_start(bytes: &[u8]) -> String {
    /// First bytes of what people pass by mistake.
    const KNOWN: &[(&[u8], &str)] = &[
        (b"\x7fELF", "an ELF executable"),
        (b"MZ", "a Windows executable"),
        (b"\x1f\x8b", "gzip data; decompress it first"),
        (b"\x28\xb5\x2f\xfd", "zstd data; decompress it first"),
        (b"PK\x03\x04", "a zip archive; name a member of it"),
        (b"!<arch>", "a static library; link it first"),
        (b"BC\xc0\xde", "LLVM bitcode; compile it first"),
        (b"\xcf\xfa\xed\xfe", "a Mach-O executable"),
        (b"#!", "a script"),
        (b"<", "HTML or XML, perhaps an error page that was saved"),
        (b"{", "JSON"),
        (b"\0asm", "`\\0asm` with a version that does not exist"),
    ];
    if let Some((_, what)) = KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return (*what).to_owned();
    }
    if bytes.len() >= 16 && bytes.iter().take(4096).all(|byte| *byte == 0) {
        return "nothing but zeros".to_owned();
    }
    let shown: String =
        bytes.iter().take(8).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    format!("`{shown}`")
}
