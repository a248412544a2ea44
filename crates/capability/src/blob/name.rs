//! Names as file names and S3 keys can carry them.
//!
//! A name is written with `_` before it, so that none is empty, `.` or `..`, and every byte that might mean something to a
//! file system, a URL or a shell is written as `!` and two hexadecimal digits. A byte's writing does not depend on its
//! neighbours, so what starts with a name's prefix starts with the prefix's writing, and no two names are written alike.

/// Which bytes stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Lower-case letters, digits, `-`, `_` and `.`: two names stay two where upper and lower case are one.
    InFiles,
    /// Upper-case letters as well: S3 tells cases apart. What is not ASCII is written out, for servers that would normalise
    /// it.
    #[cfg(feature = "s3")]
    InKeys,
}

impl Kept {
    fn keeps(self, byte: u8) -> bool {
        let upper = match self {
            Self::InFiles => false,
            #[cfg(feature = "s3")]
            Self::InKeys => byte.is_ascii_uppercase(),
        };
        upper || byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
    }
}

/// A name, or the prefix of one, as it is written.
pub(super) fn escape(name: &str, kept: Kept) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0').to_ascii_uppercase();
    let mut written = String::with_capacity(name.len() + 1);
    written.push('_');
    for byte in name.bytes() {
        if kept.keeps(byte) {
            written.push(char::from(byte));
        } else {
            written.extend(['!', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    written
}

/// The name that is written so, `None` if [`escape`] writes none like that.
pub(super) fn unescape(written: &str, kept: Kept) -> Option<String> {
    let digit = |byte: Option<u8>| match byte {
        Some(byte) if byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte) => char::from(byte).to_digit(16),
        _ => None,
    };
    let mut name = Vec::with_capacity(written.len());
    let mut bytes = written.strip_prefix('_')?.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'!' => {
                let value = u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?;
                if kept.keeps(value) {
                    return None;
                }
                name.push(value);
            }
            byte if kept.keeps(byte) => name.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_writing_that_means_nothing_to_a_file_system() {
        let names =
            ["", "a", "A", "a/b", "../../etc", ".", "..", "\0", "\u{1f341}", "con", "a!2F", "a b", "a\\b", "~", "%2e"];
        let mut writings = std::collections::BTreeSet::new();
        for name in names {
            let written = escape(name, Kept::InFiles);
            assert!(written.bytes().all(|b| b.is_ascii_alphanumeric() || b"!-_.".contains(&b)), "{written}");
            assert_eq!(unescape(&written, Kept::InFiles).as_deref(), Some(name));
            assert!(writings.insert(written.to_lowercase()), "{name} is written like another");
        }
    }

    #[test]
    fn what_starts_with_a_prefix_is_written_with_its_writing_first() {
        for (name, prefix) in [("a//b", "a/"), ("\u{e9}t\u{e9}", "\u{e9}"), ("!x", "!")] {
            assert!(escape(name, Kept::InFiles).starts_with(&escape(prefix, Kept::InFiles)));
        }
    }

    #[test]
    fn what_nobody_wrote_is_no_name() {
        for written in
            ["", "a", "_A", "_!", "_!2", "_!2f", "_!61", "_!FF", "_!80", "_a/b", "_\u{e9}", "_!2\u{e9}", "-_"]
        {
            assert_eq!(unescape(written, Kept::InFiles), None, "{written}");
        }
    }
}
