//! `samara inspect` and the text toolkit: what is told of a module, and that none of it runs the module.

use std::fs;

use serde_json::Value;

use crate::{golden, guest, guests, samara};

#[test]
fn a_module_is_explained_on_one_screen() {
    for name in ["add", "shapes", "cli-p1", "cli-p3", "http-kit", "wstd-hello"] {
        let ran = samara(&format!("inspect {{{name}}}")).run();
        assert_eq!(ran.code, 0, "{ran}");
        assert!(ran.stdout.lines().count() <= 60, "{ran}");
        golden::check(&format!("inspect/{name}.txt"), &ran.stdout);
    }
}

#[test]
fn programs_read_the_same_facts_of_every_guest_as_json() {
    for path in guests() {
        let ran = samara("inspect --json").arg(&path).run();
        let facts: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran}"));
        for key in ["kind", "contracts", "needs", "imports", "exports", "sections", "sha256"] {
            assert!(facts.get(key).is_some(), "`{key}` is missing\n{ran}");
        }
    }
}

#[test]
fn the_page_is_complete_in_itself() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("shapes.html");
    let ran = samara("inspect {shapes} --html").arg(&page).run();
    assert_eq!(ran.code, 0, "{ran}");
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.starts_with("<!doctype html>") && page.contains("<svg"),
        "{}",
        page.chars().take(200).collect::<String>()
    );
    for outside in ["<link", "src=", "@import", "url(h", "fetch("] {
        assert!(!page.contains(outside), "the page asks for something: `{outside}`");
    }
}

#[test]
fn text_and_binary_turn_into_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (text, binary) = (folder.path().join("add.wat"), folder.path().join("add.wasm"));
    for name in ["add", "shapes", "cli-p1", "http-p3"] {
        let printed = samara(&format!("print {{{name}}} -o")).arg(&text).run();
        assert_eq!(printed.code, 0, "{printed}");
        let assembled = samara("wat").arg(&text).arg("-o").arg(&binary).run();
        assert_eq!(assembled.code, 0, "{assembled}");
        samara("validate").arg(&binary).prints(&format!("{}: valid\n", binary.display()));
        let again = samara("print").arg(&binary).run();
        assert!(
            again.stdout == fs::read_to_string(&text).unwrap(),
            "{name} changed on its way through the binary form"
        );
    }
}

#[test]
fn features_beyond_the_standard_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gc.wat"), "(module (type (struct (field i32))))").unwrap();
    samara("validate gc.wat").within(folder.path()).prints("gc.wat: valid\n");
    samara("validate --features=-gc gc.wat").within(folder.path()).fails(1, "gc");
    samara("validate --features=no-such gc.wat").within(folder.path()).fails(2, "no-such");
}

#[test]
fn stripping_takes_what_it_is_asked_to_and_what_is_left_runs() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.wasm");
    let ran = samara("strip {cli-p2} -o").arg(&small).run();
    assert_eq!(ran.code, 0, "{ran}");
    assert!(fs::metadata(&small).unwrap().len() < fs::metadata(guest("cli-p2")).unwrap().len());
    samara("run").arg(&small).arg("--").arg("echo").arg("still here").prints("still here\n");
    let whole: Value = serde_json::from_str(&samara("inspect --json {cli-p2}").run().stdout).unwrap();
    let stripped: Value = serde_json::from_str(&samara("inspect --json").arg(&small).run().stdout).unwrap();
    assert_eq!(whole["exports"], stripped["exports"]);
}

#[test]
fn metadata_says_who_made_a_module() {
    let ran = samara("metadata {http-hello}").run();
    assert!(ran.code == 0 && ran.stdout.contains("wit-component"), "{ran}");
    let ran = samara("metadata --json {cli-p1}").run();
    let made: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    assert_eq!(made["kind"], "core module");
}

#[test]
fn the_cache_is_listed_and_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let cached = |line: &str| samara(line).env("SAMARA_CACHE", folder.path().join("cache").to_str().unwrap());
    cached("call {add} add 1 2").prints("3\n");
    let listed = cached("cache ls").run();
    let digest: Value = serde_json::from_str(&samara("inspect --json {add}").run().stdout).unwrap();
    let digest = &digest["sha256"].as_str().unwrap()[..12];
    assert!(listed.code == 0 && listed.stdout.contains(digest), "{listed}");
    assert_eq!(cached("cache gc").run().code, 0);
    assert_eq!(cached("cache clear").run().code, 0);
    let listed = cached("cache ls").run();
    assert!(listed.code == 0 && !listed.stdout.contains(digest), "{listed}");
    cached("call {add} add 1 2").prints("3\n");
}
