//! Archives as tools write them, and as attackers do: each bound and each refusal by name.

use std::io::{Cursor, Write};

use ::zip::CompressionMethod;

use super::*;
use crate::bounds::MAX_NAME_BYTES;

pub(crate) const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A header and contents, with a size that may be a lie.
pub(crate) fn entry(name: &str, kind: u8, contents: &[u8], size: u64) -> Vec<u8> {
    let mut header = ::tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
    header.set_entry_type(::tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    if matches!(kind, b'1' | b'2') {
        header.set_link_name_literal("/etc/passwd").unwrap();
    }
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(contents);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn file(name: &str, contents: &[u8]) -> Vec<u8> {
    entry(name, b'0', contents, contents.len() as u64)
}

fn special(name: &str, kind: u8) -> Vec<u8> {
    entry(name, kind, b"", 0)
}

/// A pax header of records as they are.
fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut all = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len();
        while length.to_string().len() + rest.len() != length {
            length += 1;
        }
        all += &format!("{length}{rest}");
    }
    entry("pax", b'x', all.as_bytes(), all.len() as u64)
}

pub(crate) fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = ::zip::write::SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, contents) in files {
        writer.start_file(*name, options).unwrap();
        writer.write_all(contents).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// What is listed, or the error.
fn listed(bytes: &[u8]) -> String {
    listed_within(bytes, &Bounds::default())
}

fn listed_within(bytes: &[u8], bounds: &Bounds) -> String {
    match members(&mut Cursor::new(bytes), bounds) {
        Ok(listing) => {
            let members =
                listing.members.iter().map(|member| format!("{} {} {}", member.name, member.size, member.kind));
            format!("{}: {}", listing.format, members.collect::<Vec<_>>().join("; "))
        }
        Err(error) => error.to_string(),
    }
}

/// The name and length of what is read, or the error.
fn taken(bytes: &[u8], member: Option<&str>) -> String {
    match read(&mut Cursor::new(bytes), member, &Bounds::default()) {
        Ok((name, bytes)) => format!("{name} {}", bytes.len()),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(found: &str, expected: &str) {
    assert!(found.starts_with(expected), "{found}\n  is not\n{expected}");
}

#[test]
fn bundles_are_told_by_what_they_hold() {
    let runnables = zip_of(&[("Directive.yaml", b"id: x"), ("hello.wasm", MODULE), ("static/a", b"a")]);
    check(&listed(&runnables), "Suborbital runnables: Directive.yaml 5 file; hello.wasm 8 module; static/a 1 file");
    let opa = gzip(&tar_of(&[file("/data.json", b"{}"), file("/policy.wasm", MODULE), file("/.manifest", b"{}")]));
    check(&listed(&opa), "OPA bundle: data.json 2 file; policy.wasm 8 module; .manifest 2 file");
    let par =
        gzip(&tar_of(&[file("claims.jwt", b"e30"), file("x86_64-linux.bin", b"\x7fELF"), file("wasm32.bin", MODULE)]));
    check(&listed(&par), "wasmCloud provider archive: claims.jwt 3 file; x86_64-linux.bin 4 file; wasm32.bin 8 module");
    check(&taken(&par, None), "wasm32.bin 8");
    let plain = tar_of(&[special("dir/", b'5'), file("./dir/c.wasm", COMPONENT)]);
    check(&listed(&plain), "tar: dir/c.wasm 8 component");
    check(&listed(&zstd::encode_all(&plain[..], 3).unwrap()), "tar: dir/c.wasm 8 component");
    let layout = tar_of(&[file("oci-layout", b"{}"), file("index.json", b"{}")]);
    check(&taken(&layout, None), "it is an image layout in a tar; write `oci-archive:FILE`");
    let saved = tar_of(&[file("manifest.json", b"[]"), file("repositories", b"{}"), file("1/layer.tar", b"")]);
    check(&taken(&saved, None), "it is an image as `docker save` writes it; `skopeo copy docker-archive:FILE");
}

#[test]
fn the_member_that_is_meant_is_read() {
    let two = zip_of(&[("a.wasm", MODULE), ("b/b.wasm", COMPONENT)]);
    check(&taken(&two, Some("b/b.wasm")), "b/b.wasm 8");
    check(&taken(&two, Some("/a.wasm")), "a.wasm 8");
    check(&taken(&two, Some("a")), "a.wasm 8");
    check(&taken(&zip_of(&[("a", MODULE), ("a.wasm", COMPONENT)]), Some("a")), "a 8");
    check(&taken(&two, None), "it holds 2 modules, `a.wasm`, `b/b.wasm`; name one: `bundle://REF#a.wasm`");
    check(&taken(&two, Some("c.wasm")), "it has no member `c.wasm`; it has `a.wasm`, `b/b.wasm`");
    let plugin = tar_of(&[file("x.wasm", MODULE), file("deep/plugin.wasm", MODULE)]);
    check(&taken(&plugin, None), "deep/plugin.wasm 8");
    let plugins = tar_of(&[file("a/plugin.wasm", MODULE), file("b/plugin.wasm", MODULE)]);
    check(&taken(&plugins, None), "it holds 2 modules, `a/plugin.wasm`, `b/plugin.wasm`");
    let both = tar_of(&[file("a/plugin.wasm", MODULE), file("plugin.wasm", MODULE)]);
    check(&taken(&both, None), "plugin.wasm 8");
    check(&taken(&tar_of(&[file("policy.wasm", MODULE), file("x.wasm", MODULE)]), None), "policy.wasm 8");
    check(&taken(&tar_of(&[file("readme", b"x")]), None), "it holds no WebAssembly; it has `readme`");
    check(&taken(&zip_of(&[]), None), "it holds no WebAssembly; it has nothing");
}

#[test]
fn links_and_devices_are_refused_by_name_and_never_followed() {
    for (kind, what) in
        [(b'1', "a link to `/etc/passwd`"), (b'2', "a link to `/etc/passwd`"), (b'3', "a device, a pipe")]
    {
        let archive = tar_of(&[special("plugin.wasm", kind), file("other.wasm", MODULE)]);
        check(&taken(&archive, Some("plugin.wasm")), &format!("`plugin.wasm` is {what}"));
        check(&taken(&archive, None), &format!("`plugin.wasm` is {what}"));
        check(&taken(&archive, Some("other.wasm")), "other.wasm 8");
    }
    let with_contents = tar_of(&[entry("x.wasm", b'2', MODULE, 8)]);
    check(&listed(&with_contents), "the entry `x.wasm` is a folder or a link with contents");
}

#[test]
fn an_entry_that_leaves_the_archive_refuses_it() {
    for name in ["../x.wasm", "a/../../x.wasm", "a/..", "..\\x.wasm"] {
        let why = format!("the entry `{name}` leaves the archive");
        check(&listed(&tar_of(&[file(name, MODULE)])), &why);
    }
    check(&listed(&tar_of(&[pax(&[("path", "../x")]), file("x", MODULE)])), "the entry `../x` leaves the archive");
    check(&listed(&zip_of(&[("../x.wasm", MODULE)])), "the entry `../x.wasm` leaves the archive");
    check(&listed(&zip_of(&[("/x.wasm", MODULE)])), "the entry `/x.wasm` has a path of a machine");
    check(&listed(&zip_of(&[("C:/x.wasm", MODULE)])), "the entry `C:/x.wasm` has a path of a machine");
    check(&listed(&zip_of(&[("a\\x.wasm", MODULE)])), "the entry `a\\\\x.wasm` has a path of a machine");
    check(
        &listed(&tar_of(&[file("a\x1b[2Jb", MODULE)])),
        "the name of the entry `a\\u{1b}[2Jb` has control characters",
    );
}

#[test]
fn long_names_are_read_and_bounded() {
    let long = format!("{}/x.wasm", "d".repeat(300));
    let gnu = |name: &str| entry("././@LongLink", b'L', format!("{name}\0").as_bytes(), name.len() as u64 + 1);
    check(&listed(&tar_of(&[gnu(&long), file("short", MODULE)])), &format!("tar: {long} 8 module"));
    check(
        &listed(&tar_of(&[pax(&[("path", &long), ("mtime", "1.5")]), file("short", MODULE)])),
        &format!("tar: {long} 8"),
    );
    let newline = pax(&[("SCHILY.xattr.user.x", "a\n11 path=b\n"), ("path", "real.wasm")]);
    check(&listed(&tar_of(&[newline, file("short", MODULE)])), "tar: real.wasm 8 module");
    let over = "n".repeat(MAX_NAME_BYTES + 1);
    check(
        &listed(&tar_of(&[gnu(&over), file("s", MODULE)])),
        "what describes an entry of the archive is of 4098 bytes",
    );
    check(&listed(&tar_of(&[pax(&[("path", &over)]), file("s", MODULE)])), "an entry's name is of 4097 bytes");
    let claim = tar_of(&[entry("@", b'L', b"", 1 << 40)]);
    check(
        &listed(&claim),
        "what describes an entry of the archive is of 1099511627776 bytes, and at most 4097 are read",
    );
    let claim = tar_of(&[entry("@", b'x', b"", 1 << 31)]);
    check(
        &listed(&claim),
        "what describes an entry of the archive is of 2147483648 bytes, and at most 1048576 are read",
    );
}

#[test]
fn what_two_readers_read_differently_is_refused() {
    let two = |why: &str, entries: &[Vec<u8>]| check(&listed(&tar_of(entries)), why);
    two("the entry `a` has two sizes", &[pax(&[("size", "512")]), file("a", MODULE)]);
    two("tar: a 8 module", &[pax(&[("size", "8")]), file("a", MODULE)]);
    two("an entry of the archive has two names", &[pax(&[("path", "b")]), pax(&[("path", "c")]), file("a", MODULE)]);
    two(
        "an extended header of the archive says one thing twice",
        &[pax(&[("path", "b"), ("path", "c")]), file("a", MODULE)],
    );
    let mut global = pax(&[("path", "b")]);
    global[156] = b'g';
    let mut header = ::tar::Header::from_byte_slice(&global[..512]).clone();
    header.set_cksum();
    global[..512].copy_from_slice(header.as_bytes());
    two("the archive gives one name or size to all its entries", &[global, file("a", MODULE)]);
    two("an extended header of the archive is malformed", &[entry("p", b'x', b"999 path=b\n", 11), file("a", MODULE)]);
    let twice = tar_of(&[file("a.wasm", MODULE), file("./a.wasm", COMPONENT)]);
    check(&taken(&twice, Some("a.wasm")), "it has `a.wasm` twice, which two readers read differently");
}

#[test]
fn sparse_files_are_not_read() {
    let sparse = tar_of(&[pax(&[("GNU.sparse.major", "1"), ("path", "s.wasm")]), file("x", MODULE)]);
    check(&taken(&sparse, Some("s.wasm")), "`s.wasm` is a device, a pipe or a sparse file, which is never read");
    let mut header = ::tar::Header::new_gnu();
    header.set_path("s.wasm").unwrap();
    header.set_entry_type(::tar::EntryType::GNUSparse);
    header.set_size(0);
    header.as_gnu_mut().unwrap().set_real_size(1 << 50);
    header.as_gnu_mut().unwrap().set_is_extended(true);
    header.set_cksum();
    let extended = tar_of(&[header.as_bytes().to_vec()]);
    check(&listed(&extended), "the entry `s.wasm` is a sparse file in many pieces");
}

#[test]
fn sizes_are_counted_and_never_believed() {
    // What Envoy's control plane allocated: a header's size.
    let lie = tar_of(&[entry("plugin.wasm", b'0', MODULE, 1 << 40)]);
    check(&listed(&lie), "the archive is not read: unexpected EOF during skip");
    let bounds = Bounds { module_bytes: 100, ..Bounds::default() };
    let over = tar_of(&[file("plugin.wasm", &[MODULE, &[0; 200]].concat())]);
    let error = read(&mut Cursor::new(&over), None, &bounds).unwrap_err();
    check(&error.to_string(), "`plugin.wasm` is of more than 100 bytes, the most that a module may have");
    assert!(matches!(error, Error::OverLimit(_)));
    let cut = &tar_of(&[file("plugin.wasm", &[MODULE, &[0; 5000]].concat())])[..2048];
    check(&taken(cut, None), "the archive is not read: unexpected EOF");
    check(&taken(&gzip(&over)[..40], None), "it is no archive that is read here: the archive is not read:");
    check(&listed(b"no archive of any kind"), "it is no archive");
    check(&listed(b""), "it is no archive");
    check(&listed(&[0; 1024]), "tar: ");
}

#[test]
fn entries_names_and_unpacked_bytes_are_bounded() {
    let many = tar_of(&(0..30).map(|n| file(&format!("{n}"), b"")).collect::<Vec<_>>());
    let bounds = Bounds { archive_entries: 20, ..Bounds::default() };
    check(&listed_within(&many, &bounds), "the archive has more than 20 entries, the most that are read");
    let zip = zip_of(&vec![("a", MODULE); 1].into_iter().chain([("b", MODULE), ("c", MODULE)]).collect::<Vec<_>>());
    let bounds = Bounds { archive_entries: 2, ..Bounds::default() };
    check(&listed_within(&zip, &bounds), "the archive has more than 2 entries, the most that are read");
    let long = "n".repeat(4000);
    let names: Vec<_> = (0..1100).flat_map(|n| [pax(&[("path", &format!("{n}{long}"))]), file("x", b"")]).collect();
    check(&listed(&tar_of(&names)), "the names of the archive's entries take more than 4194304 bytes");
    let bounds = Bounds { unpacked_bytes: 10_000, ..Bounds::default() };
    let large = gzip(&tar_of(&[file("large", &[7; 20_000])]));
    check(&listed_within(&large, &bounds), "it unpacks to more than 10000 bytes, the most that are unpacked");
}

#[test]
fn bombs_are_known_by_their_ratio() {
    let zeros = vec![0; 64 << 20];
    let bomb = gzip(&tar_of(&[file("zeros", &zeros)]));
    check(&listed(&bomb), "it unpacks to more than 100 times its size, as nothing but a bomb does");
    let bomb = zstd::encode_all(&tar_of(&[file("zeros", &zeros)])[..], 1).unwrap();
    check(&listed(&bomb), "it unpacks to more than 100 times its size, as nothing but a bomb does");
    check(&taken(&zip_of(&[("plugin.wasm", &[MODULE, &zeros].concat())]), None), "it unpacks to more than 100 times");
    // A window that the decoder would have to keep.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&zeros).unwrap();
    check(
        &listed(&encoder.finish().unwrap()),
        "it is no archive that is read here: the archive is not read: Frame requires",
    );
}

#[test]
fn zips_that_lie_are_refused() {
    let honest = zip_of(&[("a.wasm", MODULE), ("b.wasm", COMPONENT)]);
    let at = |bytes: &[u8], what: &[u8], from: usize| {
        from + bytes[from..].windows(what.len()).position(|window| window == what).unwrap()
    };
    let first_in_directory = at(&honest, b"PK\x01\x02", 0);
    let second_in_directory = at(&honest, b"PK\x01\x02", first_in_directory + 4);

    // The second entry's bytes are the first's.
    let mut overlapping = honest.clone();
    overlapping[second_in_directory + 42..second_in_directory + 46].copy_from_slice(&[0; 4]);
    check(&listed(&overlapping), "the zip is not read:");

    // The local header has another name than the directory.
    let mut other_name = honest.clone();
    other_name[30] = b'z';
    check(&listed(&other_name), "the zip is not read:");

    // The directory says that it is short; the contents are not.
    let mut short = honest.clone();
    short[first_in_directory + 24..first_in_directory + 28].copy_from_slice(&4_u32.to_le_bytes());
    check(&taken(&short, Some("a.wasm")), "the zip is not read:");

    // More entries than the directory has room for, also by zip64.
    let mut many = honest.clone();
    let end = at(&many, b"PK\x05\x06", 0);
    many[end + 8..end + 12].copy_from_slice(&[0xfe, 0xff, 0xfe, 0xff]);
    check(&listed(&many), "the zip is not read: invalid Zip archive: Central directory declares more entries");
    let mut zip64 = honest[..end].to_vec();
    let start = zip64.len() as u64;
    zip64.extend_from_slice(b"PK\x06\x06");
    zip64.extend_from_slice(&44_u64.to_le_bytes());
    zip64.extend_from_slice(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for value in [1_u64 << 40, 1 << 40, 1 << 50, first_in_directory as u64] {
        zip64.extend_from_slice(&value.to_le_bytes());
    }
    zip64.extend_from_slice(b"PK\x06\x07\0\0\0\0");
    zip64.extend_from_slice(&start.to_le_bytes());
    zip64.extend_from_slice(&[1, 0, 0, 0]);
    zip64.extend_from_slice(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    check(&listed(&zip64), "the");
    assert!(members(&mut Cursor::new(&zip64), &Bounds::default()).is_err());

    // An entry that only a password opens.
    let mut locked = honest;
    for flags in [6, at(&locked, b"PK\x01\x02", 0) + 8] {
        locked[flags] |= 1;
    }
    check(&taken(&locked, Some("a.wasm")), "`a.wasm` is encrypted, or compressed in a way that is not read");
    check(&taken(&locked, Some("b.wasm")), "b.wasm 8");
}

#[test]
fn a_zip_whose_entries_share_bytes_is_a_bomb() {
    let mut zip = zip_of(&[("a", b"0123456789"), ("b", b"0123456789")]);
    let first = zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let second = first + 46 + 1;
    assert_eq!(&zip[second..second + 4], b"PK\x01\x02");
    // `b` begins where `a` does, and calls itself so in its own header too.
    zip[second + 42..second + 46].copy_from_slice(&[0; 4]);
    zip[second + 46] = b'a';
    let found = listed(&zip);
    check(&found, "entries of the zip overlap, as nothing but a bomb's do");
}

#[test]
fn a_zip_written_as_a_stream_is_read() {
    // Sizes behind the data, as `zip -` and Go write them.
    let mut writer = ::zip::ZipWriter::new_stream(Vec::new());
    writer.start_file("a.wasm", ::zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(MODULE).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    check(&taken(&bytes, None), "a.wasm 8");
}

/// Every byte of small archives, changed in several ways: each ends in members or an error, none in a panic, and what is
/// read of one is never more than it holds.
#[test]
fn archives_with_any_byte_changed_end_in_a_verdict() {
    let long = "d/".repeat(80);
    let plain = tar_of(&[pax(&[("path", &long)]), special("d/", b'5'), file("a.wasm", MODULE), special("l", b'2')]);
    let gnu = tar_of(&[entry("@", b'L', b"long.wasm\0", 10), file("short", COMPONENT)]);
    let zip = zip_of(&[("Directive.yaml", b"id: x"), ("a/b.wasm", COMPONENT)]);
    let (gzipped, packed) = (gzip(&gnu), zstd::encode_all(&gnu[..], 3).unwrap());
    let bounds = Bounds { unpacked_bytes: 1 << 20, ..Bounds::default() };
    let (mut read_whole, mut refused) = (0, 0);
    for archive in [plain, gnu, zip, gzipped, packed] {
        for at in 0..archive.len() {
            for change in [0x01, 0x08, 0x20, 0x80, 0xff] {
                let mut changed = archive.clone();
                changed[at] ^= change;
                match read(&mut Cursor::new(&changed), None, &bounds) {
                    Ok((_, bytes)) => {
                        assert!(bytes.len() <= 1 << 20);
                        read_whole += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        for length in 0..archive.len() {
            drop(members(&mut Cursor::new(&archive[..length]), &bounds));
        }
    }
    assert!(read_whole > 1000 && refused > 1000, "{read_whole} {refused}");
}
