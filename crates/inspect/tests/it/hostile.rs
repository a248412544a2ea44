//! Any bytes at all: an error that says where, or facts; never a panic.

use samara_inspect::{
    Module, ReadError, Report, Strip, metadata, needs, read_any, strip,
    text::{print, validate, wat_to_wasm},
};

use crate::{COMPONENT, MODULE, wasm};

/// A small generator, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

fn everything(bytes: &[u8]) {
    if let Ok(module) = Module::read(bytes) {
        let _ = needs(&module);
        let report = Report::new(bytes, &module, Vec::new());
        let _ = (report.to_text(80, true), report.to_json(), report.to_html());
    }
    let _ = validate(bytes, Some("all"));
    let _ = print(bytes);
    let _ = metadata(bytes);
    if let Ok(stripped) = strip(bytes, &Strip::All) {
        let _ = Module::read(&stripped);
    }
}

#[test]
fn every_truncation_is_an_error_that_says_where() {
    for text in [MODULE, COMPONENT] {
        let bytes = wasm(text);
        for end in 0..bytes.len() {
            let Err(error) = Module::read(&bytes[..end]) else {
                // A module may end after any whole section.
                everything(&bytes[..end]);
                continue;
            };
            assert!(error.offset().is_some_and(|offset| offset <= end as u64), "{end}: {error}");
        }
    }
}

/// One to five small changes to some bytes.
fn mutated(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=random.next(4) {
        let at = random.next(bytes.len());
        match random.next(4) {
            0 => bytes[at] = random.next(256) as u8,
            1 => bytes[at] ^= 1 << random.next(8),
            2 => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
            _ => drop(bytes.drain(at..(at + 1 + random.next(8)).min(bytes.len()))),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn thousands_of_mutations_do_not_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for text in [MODULE, COMPONENT] {
        let original = wasm(text);
        for _ in 0..5_000 {
            everything(&mutated(&original, &mut random));
        }
    }
}

/// What a load does with a module before it is compiled: read and validated, as one that is whole and as one that is cut.
#[test]
fn a_hundred_thousand_mutations_are_read_or_refused() {
    let mutate = |text: &str, seed: u64| {
        let (original, mut random) = (wasm(text), Random(seed));
        for _ in 0..50_000 {
            let bytes = mutated(&original, &mut random);
            let cut = &bytes[..bytes.len() - random.next(bytes.len() + 1)];
            for bytes in [&bytes, cut] {
                let (read, valid) = (Module::read(bytes), validate(bytes, None));
                assert!(read.is_ok() || valid.is_err(), "valid and not read: {:?} {bytes:02x?}", read.err());
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| mutate(MODULE, 0x2545_f491_4f6c_dd1d));
        scope.spawn(|| mutate(COMPONENT, 0x1234_5678_9abc_def1));
    });
}

#[track_caller]
fn refused(bytes: &[u8], expected: &str) {
    let error = Module::read(bytes).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(expected), "`{error}` does not say `{expected}`");
}

#[test]
fn what_is_not_webassembly_is_named() {
    refused(b"", "the file is empty");
    refused(&[0; 4096], "nothing but zeros");
    refused(b"\x7fELF\x02\x01\x01\0\0\0\0\0", "an ELF executable");
    refused(b"\x1f\x8b\x08\0\0\0\0\0", "gzip data; decompress it first");
    refused(b"<!doctype html><title>404", "HTML or XML");
    refused(b"hello, world", "found `hello, w`");
    refused(b"\xff\xfe\0\x01", "found `\\xff\\xfe\\x00\\x01`");
    refused(b"\0asm\x09\0\0\0", "version");
    refused(b"\0as", "at byte");
}

#[test]
fn lengths_that_lie_are_refused_without_believing_them() {
    let header = b"\0asm\x01\0\0\0";
    let with = |rest: &[u8]| [header.as_slice(), rest].concat();
    refused(&with(b"\x01\xff\xff\xff\xff\x0f"), "in the type section");
    refused(&with(b"\x01\x05\xff\xff\xff\xff\x0f"), "in the type section");
    refused(&with(b"\x0a\x06\x01\xff\xff\xff\xff\x0f"), "in the code section");
    refused(&with(b"\x00\x02\x7fa"), "in the custom section");
    refused(&with(b"\x63\x01a"), "at byte");
    refused(&with(b"\x01\x04\x01\x60\0\0\x01\x04\x01\x60\0\0"), "at byte");
}

/// A number as WebAssembly writes it.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

/// Everything that reads components recursively would overflow its stack, which ends the process.
#[test]
fn deep_types_are_refused_by_everything_that_would_recurse() {
    for opening in [b"\x42\x01\x01", b"\x41\x01\x01"] {
        let types = [vec![1], opening.repeat(300_000), b"\x42\0".to_vec()].concat();
        let bytes = [b"\0asm\x0d\0\x01\0\x07".to_vec(), leb(types.len()), types].concat();
        refused(&bytes, "levels of nested types");
        assert!(validate(&bytes, None).is_err() && print(&bytes).is_err());
        everything(&bytes);
    }
}

#[test]
fn types_nested_as_deep_as_people_do_are_read() {
    let text = r#"(component (type $t u32) (type (component
        (type $r (record (field "x" u32)))
        (alias outer 1 $t (type $u))
        (import "a" (instance (export "b" (func (result u32)))))
        (type $i (instance (type $s (list u8)) (alias outer 1 $u (type $v)) (export "f" (func (param "p" $s) (result $v)))))
        (export "c" (instance (type $i))))))"#;
    assert!(Module::read(&wasm(text)).is_ok());
}

#[test]
fn deep_nesting_is_refused() {
    // Components in components: each level is an 8-byte header and a section header.
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..2_000 {
        let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
        outer.extend(leb(bytes.len()));
        outer.extend_from_slice(&bytes);
        bytes = outer;
    }
    refused(&bytes, "levels of nested components");
}

#[test]
fn an_error_tells_its_offset_to_programs() {
    let error = Module::read(b"\0asm\x01\0\0\0\x01\x04\x01\x60").map(|_| ()).unwrap_err();
    assert!(matches!(error, ReadError::Malformed { .. }), "{error:?}");
    assert!(error.offset().is_some_and(|offset| offset >= 8), "{error}");
}

#[test]
fn text_nested_without_end_is_an_error_or_assembled() {
    for (start, nested, end) in [
        ("(module (func ", "(block ", "))"),
        ("(module (func ", "(if (i32.const 1) (then ", "))"),
        ("", "(component ", ""),
        ("(component (type ", "(list ", "))"),
        ("(component (type ", "(component (type ", "))"),
        ("(component (type ", "(instance (export \"a\" ", "))"),
        ("", "(; ", ""),
        ("(module (@custom \"a\" (after ", "(", ")))"),
    ] {
        let depth = 20_000;
        let open: usize = nested.matches('(').count();
        let text = format!("{start}{}{}{end}", nested.repeat(depth), ")".repeat(open * depth));
        if let Ok(bytes) = wat_to_wasm(&text, None) {
            everything(&bytes);
        }
        let _ = wat_to_wasm(&nested.repeat(depth), None);
        let _ = read_any(nested.repeat(depth).as_bytes(), None);
    }
}
