//! The top-level sections of a module or component, as ranges of its bytes. Nothing inside a section is read, so that what is
//! signed can be cut out and hashed byte by byte as it is.
//!
//! Nested modules and components are inside sections of their parent, and are part of what the parent's signer vouches for.

use std::ops::Range;

/// `\0asm` and the eight bytes that follow it in all: a core module's, a component's.
const PREAMBLES: [[u8; 8]; 2] = [*b"\0asm\x01\0\0\0", *b"\0asm\x0d\0\x01\0"];
/// Bytes of a length: LEB128 of 32 bits.
const MAX_LENGTH_BYTES: usize = 5;
/// The section that producers may put anything into.
const CUSTOM: u8 = 0;

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section<'a> {
    /// The whole of it, with its id and length.
    pub(super) range: Range<usize>,
    /// What a custom section is called and holds.
    pub(super) custom: Option<Custom<'a>>,
}

/// A custom section's name, and what follows it.
pub(super) type Custom<'a> = (&'a str, &'a [u8]);

/// Walks the sections; the first thing that is no section is the last item.
#[derive(Clone, Debug)]
pub(super) struct Sections<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The sections of a binary module or component; `None` if it is neither.
pub(super) fn sections(bytes: &[u8]) -> Option<Sections<'_>> {
    let preamble = bytes.first_chunk::<8>()?;
    PREAMBLES.contains(preamble).then_some(Sections { bytes, at: preamble.len() })
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let rest = self.bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let read = read_section(rest).map(|(length, custom)| {
            self.at = start + length;
            Section { range: start..self.at, custom }
        });
        Some(read.ok_or_else(|| {
            self.at = self.bytes.len();
            format!("what is at byte {start} is no section")
        }))
    }
}

/// How long the section is that begins here, and what is in it if it is a custom one.
fn read_section(bytes: &[u8]) -> Option<(usize, Option<Custom<'_>>)> {
    let (id, mut rest) = bytes.split_first()?;
    let length = length(&mut rest)?;
    let mut body = rest.get(..length)?;
    let end = bytes.len() - rest.len() + length;
    if *id != CUSTOM {
        return Some((end, None));
    }
    let name = slice(&mut body)?;
    Some((end, Some((std::str::from_utf8(name).ok()?, body))))
}

/// Takes a length from the front: LEB128 of 32 bits.
pub(super) fn length(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for index in 0..MAX_LENGTH_BYTES {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok().and_then(|value| usize::try_from(value).ok());
        }
    }
    None
}

/// Takes a length and so many bytes from the front.
pub(super) fn slice<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = length(bytes)?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Appends a custom section, as the tests' signers do.
#[cfg(test)]
pub(super) fn push_custom(module: &mut Vec<u8>, name: &str, data: &[u8]) {
    let put = |out: &mut Vec<u8>, mut value: usize| {
        while value > 0x7f {
            out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        out.push(u8::try_from(value).unwrap());
    };
    let mut body = Vec::new();
    put(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    module.push(CUSTOM);
    put(module, body.len());
    module.extend_from_slice(&body);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found<'a> = (Range<usize>, Option<Custom<'a>>);

    fn check(bytes: &[u8], expected: &[Result<Found<'_>, &str>]) {
        let found: Vec<_> = sections(bytes)
            .expect("a preamble")
            .map(|section| section.map(|section| (section.range, section.custom)))
            .collect();
        let expected: Vec<_> = expected.iter().cloned().map(|section| section.map_err(str::to_owned)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn sections_are_ranges() {
        let mut module = PREAMBLES[0].to_vec();
        check(&module, &[]);
        module.extend_from_slice(&[1, 2, 9, 9]);
        push_custom(&mut module, "a", b"xyz");
        // A length may be padded, as linkers do.
        module.extend_from_slice(&[0, 0x83, 0x80, 0x80, 0x80, 0x00, 1, b'b', 7]);
        check(&module, &[Ok((8..12, None)), Ok((12..19, Some(("a", b"xyz")))), Ok((19..28, Some(("b", &[7]))))]);
    }

    #[test]
    fn lying_lengths_end_the_walk() {
        for tail in [
            &[1][..],
            &[1, 1],
            &[1, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[1, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[0, 1, 1],
            &[0, 2, 1, 0xff],
            &[0, 0],
        ] {
            let mut module = PREAMBLES[1].to_vec();
            module.extend_from_slice(tail);
            check(&module, &[Err("what is at byte 8 is no section")]);
        }
        assert!(sections(b"").is_none());
        assert!(sections(b"\0asm\x01\0\0").is_none());
        assert!(sections(b"(module)").is_none());
    }
}
