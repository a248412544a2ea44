//! House rules that a program can check, so that no review has to.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::ROOT;

/// Lines of a file before it surely has two subjects.
const MAX_LINES: usize = 1_000;
/// Files that are long because they are one table.
const TABLES: &[&str] = &[];
/// Bytes of a built guest that may be committed.
const MAX_GUEST_BYTES: u64 = 1 << 20;
/// What belongs to the engine.
const ENGINE: &[&str] = &["wasmtime", "cranelift", "samara-runtime"];
/// The arrows that must not be. The lower crates check and test in seconds because nothing in them pulls in the engine;
/// contracts and surfaces are siblings that only the binary joins.
const NO_ARROWS: &[(&str, &[&str])] = &[
    ("samara-model", ENGINE),
    ("samara-telemetry", ENGINE),
    ("samara-inspect", ENGINE),
    ("samara-artifact", ENGINE),
    ("samara-capability", ENGINE),
    ("samara-import", ENGINE),
    ("samara-runtime", &["samara-contract", "samara-surface"]),
    ("samara-contract", &["samara-surface"]),
    ("samara-surface", &["samara-contract"]),
];
/// What a folder of the `contract` crate may hold, and what it must.
const CONTRACT_FILES: &[&str] = &["mod.rs", "imports.rs", "serve.rs", "codec.rs", "tests.rs"];
const CONTRACT_MUST_HAVE: &[&str] = &["mod.rs", "serve.rs"];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// The files that git knows, and new ones that it would.
fn tracked() -> Vec<String> {
    let listed =
        Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(ROOT).output();
    let listed = listed.expect("git lists the files");
    assert!(listed.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    let exists = |name: &&str| Path::new(ROOT).join(name).is_file();
    names.lines().filter(exists).map(str::to_owned).collect()
}

fn sources() -> impl Iterator<Item = (String, String)> {
    tracked().into_iter().filter(|name| name.ends_with(".rs")).map(|name| {
        let text = read(&name);
        (name, text)
    })
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Asserts that nothing is wrong, or says all that is.
#[track_caller]
fn none(what: &str, wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_source_says_first_what_it_is_for() {
    none("these do not open with `//!`", sources().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name));
}

#[test]
fn no_source_has_grown_over_its_subject() {
    let long = sources().filter(|(name, text)| text.lines().count() > MAX_LINES && !TABLES.contains(&name.as_str()));
    none("these have over 1,000 lines and are no table", long.map(|(name, _)| name));
}

#[test]
fn no_test_is_ignored() {
    let attribute = concat!("#[", "ignore");
    none("these ignore a test", sources().filter(|(_, text)| text.contains(attribute)).map(|(name, _)| name));
}

#[test]
fn names_say_what_is_inside() {
    let empty = |name: &String| {
        Path::new(name).iter().any(|part| {
            let part = Path::new(part).file_stem().unwrap_or_default();
            EMPTY_NAMES.iter().any(|empty| part.eq_ignore_ascii_case(empty))
        })
    };
    none("these names say nothing", tracked().into_iter().filter(empty));
}

#[test]
fn contracts_are_laid_out_alike_and_name_their_specification() {
    let folders = fs::read_dir(Path::new(ROOT).join("crates/contract/src")).unwrap();
    let mut wrong = Vec::new();
    // What all of them import is in `world/`, which is no contract.
    let is_contract = |path: &PathBuf| path.is_dir() && !path.ends_with("world");
    for folder in folders.map(|entry| entry.unwrap().path()).filter(is_contract) {
        let contract = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        for file in files.iter().filter(|file| !CONTRACT_FILES.contains(&file.as_str())) {
            wrong.push(format!("{contract}/{file} is none of {CONTRACT_FILES:?}"));
        }
        for file in CONTRACT_MUST_HAVE.iter().filter(|file| !files.iter().any(|has| has == *file)) {
            wrong.push(format!("{contract}/ has no {file}"));
        }
        let about = fs::read_to_string(folder.join("mod.rs")).unwrap_or_default();
        if !about.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains("https://")) {
            wrong.push(format!("{contract}/mod.rs names no specification (a URL) in its first paragraph"));
        }
    }
    none("contracts differ from each other", wrong);
}

#[test]
fn every_built_guest_has_its_source_and_a_way_to_rebuild_it() {
    let all = tracked();
    let (readme, script) = (read("guests/README.md"), read("guests/rebuild.sh"));
    let mut wrong = Vec::new();
    for wasm in all.iter().filter(|name| name.ends_with(".wasm")) {
        let (folder, file) = wasm.rsplit_once('/').unwrap_or_default();
        let name = file.trim_end_matches(".wasm");
        if !wasm.starts_with("guests/") && !wasm.starts_with("examples/") {
            wrong.push(format!("{wasm} is not under guests/ or examples/"));
        }
        if !all.iter().any(|other| other.starts_with(folder) && !other.ends_with(".wasm")) {
            wrong.push(format!("{wasm} has no source beside it"));
        }
        let built = |line: &str| line.split_whitespace().next() == Some(name);
        if wasm.starts_with("guests/")
            && (!readme.contains(&format!("`rebuild.sh {name}`")) || !script.lines().any(built))
        {
            wrong.push(format!("{wasm} has no line in guests/README.md and guests/rebuild.sh"));
        }
        if fs::metadata(Path::new(ROOT).join(wasm)).unwrap().len() > MAX_GUEST_BYTES {
            wrong.push(format!("{wasm} is larger than 1 MiB: build it in guests/interop.sh"));
        }
    }
    none("built guests", wrong);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // In pieces, or this file would be found.
    let folders = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Use", "rs/")];
    let hosts = [
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("registry.npmjs", ".org"),
        concat!("files.pythonhosted", ".org"),
        concat!("deb.debian", ".org"),
    ];
    let mut wrong = Vec::new();
    for name in tracked() {
        let bytes = fs::read(Path::new(ROOT).join(&name)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for folder in folders {
            // A pattern that searches for such paths is not one.
            let mut named = text.split(folder).skip(1).filter_map(|rest| rest.chars().next());
            if named.any(|first| first.is_ascii_alphanumeric() || first == '.') {
                wrong.push(format!("{name} contains a path below {folder}"));
            }
        }
        wrong.extend(hosts.iter().filter(|host| text.contains(*host)).map(|host| format!("{name} names {host}")));
    }
    none("machines and mirrors", wrong);
}

/// `FILE: TEST` in SPECIFICATION.md, with `it/` for `tests/it/`; and paths of the tree in any document.
#[test]
fn documents_name_tests_and_files_that_exist() {
    let mut wrong = Vec::new();
    let specification = read("SPECIFICATION.md");
    let mut shown = 0;
    for (file, test) in specification.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once(".rs: ")) {
        let file = format!("{file}.rs").replacen("it/", "tests/it/", usize::from(file.starts_with("it/")));
        let source = fs::read_to_string(Path::new(ROOT).join(&file)).unwrap_or_default();
        if !source.contains(&format!("fn {test}(")) {
            wrong.push(format!("SPECIFICATION.md: there is no test `{test}` in {file}"));
        }
        shown += 1;
    }
    assert!(shown > 20, "SPECIFICATION.md is read wrongly: {shown} tests");
    let roots = ["crates/", "tests/", "guests/", "examples/", "benches/", "src/"];
    for document in tracked().into_iter().filter(|name| name.ends_with(".md")) {
        for quoted in read(&document).split('`').skip(1).step_by(2) {
            let path = quoted.split(": ").next().unwrap_or_default();
            let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if plain && roots.iter().any(|root| path.starts_with(root)) && !Path::new(ROOT).join(path).exists() {
                wrong.push(format!("{document}: there is no {path}"));
            }
        }
    }
    none("documents", wrong);
}

/// The same rules as in deny.toml, for machines without cargo-deny.
#[test]
fn dependencies_point_down_only() {
    let mut wrong = Vec::new();
    for (member, banned) in NO_ARROWS {
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
            .args(["--package", member])
            .current_dir(ROOT)
            .output()
            .unwrap();
        assert!(tree.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&tree.stderr));
        let names = String::from_utf8(tree.stdout).unwrap();
        assert!(names.starts_with(member), "cargo tree lists something else: {names}");
        let is_banned = |line: &&str| banned.iter().any(|name| line.starts_with(name));
        wrong.extend(names.lines().filter(is_banned).map(|found| format!("{member} depends on {found}")));
    }
    none("arrows that do not point down", wrong);
}

#[test]
fn every_dependency_is_declared_once_for_the_workspace() {
    let mut wrong = Vec::new();
    for manifest in tracked()
        .into_iter()
        .filter(|name| name == "Cargo.toml" || (name.starts_with("crates/") && name.ends_with("/Cargo.toml")))
    {
        let mut within = false;
        for line in read(&manifest).lines().map(str::trim) {
            if line.starts_with('[') {
                within = line.ends_with("dependencies]") && line != "[workspace.dependencies]";
            } else if within && !line.is_empty() && !line.starts_with('#') && !line.contains("workspace = true") {
                wrong.push(format!("{manifest}: {line}"));
            }
        }
    }
    none("these do not inherit from the workspace", wrong);
}

/// Names and versions in a lock file.
fn locked(lock: &str) -> BTreeSet<(String, String)> {
    let text = read(lock);
    let mut lines = text.lines();
    let mut found = BTreeSet::new();
    while let Some(line) = lines.next() {
        let version =
            line.strip_prefix("name = ").and_then(|name| Some((name, lines.next()?.strip_prefix("version = ")?)));
        found.extend(version.map(|(name, version)| (name.to_owned(), version.to_owned())));
    }
    assert!(found.len() > 100, "{lock} is read wrongly: {} packages", found.len());
    found
}

/// `tests/conformance` has a lock file of its own; what it shows of another engine than ours says nothing.
#[test]
fn the_conformance_runners_have_our_engine() {
    let ours = locked("Cargo.lock");
    let engine = ["wasmtime", "cranelift", "wasm", "wit-", "regalloc", "pulley"];
    let other = locked("tests/conformance/Cargo.lock").into_iter().filter(|(name, version)| {
        let known = ours.iter().any(|(our_name, _)| our_name == name);
        let of_the_engine = engine.iter().any(|prefix| name.trim_matches('"').starts_with(prefix));
        known && of_the_engine && !ours.contains(&(name.clone(), version.clone()))
    });
    none(
        "copy Cargo.lock to tests/conformance and run `cargo metadata --manifest-path tests/conformance/Cargo.toml`",
        other.map(|(name, version)| format!("{name} {version}")),
    );
}
