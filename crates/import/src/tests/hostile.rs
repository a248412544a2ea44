//! Inputs that mean harm: refused with a line, or read, never a panic.

use std::path::Path;

use super::{read, refused};
use crate::{MAX_DEPTH, MAX_INPUT_BYTES, MAX_NOTES, Options, import};

const SPIN: &str = "spin_manifest_version = 2\napplication.name = \"a\"\n";

#[test]
fn what_is_no_manifest_says_what_would_be() {
    for input in ["", "{}", "[app]\nname = \"a\"", "kind: Deployment", "\0\0\0"] {
        assert!(refused(input).starts_with("in:1:1: this is no manifest that can be converted"), "{input}");
    }
    let huge = format!("{SPIN}#{}", "x".repeat(MAX_INPUT_BYTES));
    assert_eq!(refused(&huge), "in:1:1: the file is over 4MiB");
}

#[test]
fn syntax_is_refused_with_its_line() {
    assert!(refused("spin_manifest_version = 2\n[application\n").starts_with("in:2:"));
    assert!(refused("{\n\"spin_lock_version\": 1,\n").starts_with("in:"));
    assert_eq!(
        refused("spin_manifest_version = 3"),
        "in:1:1: this is neither version 1 nor version 2; write `spin_manifest_version = 2`"
    );
}

#[test]
fn depth_is_bounded() {
    let lists = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
    assert!(
        refused(&format!("{SPIN}x = {lists}")).contains("levels deep"),
        "{}",
        refused(&format!("{SPIN}x = {lists}"))
    );
    for count in [1_000, 100_000] {
        let deep = "[".repeat(count);
        assert!(refused(&format!("{SPIN}x = {deep}")).starts_with("in:3:"));
        assert!(refused(&format!("{{\"spin_lock_version\": 1, \"x\": {deep}")).starts_with("in:1:"));
    }
}

#[test]
fn breaks_and_turns_of_writing_stay_inside_of_their_text() {
    let input = format!(
        "{SPIN}application.description = \"one\\r\\n[workload.evil]\\nsource = 'x'\\u202e\"\napplication.version = \"1\\n[workload.evil2]\"\n[component.\"a\\r\\n[workload.evil3]\"]\nsource = \"a\\nb.wasm\"\nenvironment = {{ \"K\\n[x]\" = \"v\\r\\n[y]\" }}\n[[trigger.http]]\nroute = \"/\\n[workload.evil4]\"\ncomponent = \"a\\r\\n[workload.evil3]\""
    );
    let imported = read(&input);
    assert!(imported.manifest.lines().all(|line| !line.starts_with("[workload.evil")), "{}", imported.manifest);
    assert!(!imported.manifest.contains(['\r', '\u{202e}']), "{}", imported.manifest);
    for note in &imported.notes {
        assert!(!note.to_string().contains(['\r', '\n']), "{note}");
    }
    assert_eq!(imported.app.workloads.len(), 1);
}

#[test]
fn notes_are_bounded_and_say_so() {
    let mut input = SPIN.to_owned();
    for number in 0..MAX_NOTES * 2 {
        input += &format!("key{number} = 1\n");
    }
    let notes = read(&input).notes;
    assert_eq!(notes.len(), MAX_NOTES + 1);
    assert!(notes.iter().any(|note| note.why.starts_with("there are more notes")));
}

#[test]
fn many_of_everything_ends_soon() {
    let mut input = SPIN.to_owned();
    for number in 0..3_000 {
        input += &format!(
            "[component.c{number}]\nsource = \"c.wasm\"\n[[trigger.http]]\nroute = \"/{number}/...\"\ncomponent = \"c{number}\"\n"
        );
    }
    // More than the model takes of anything, which it says.
    assert!(refused(&input).starts_with("in:1:1: "));
}

#[test]
fn every_beginning_of_a_manifest_is_read_or_refused() {
    let spin = super::spin::everything();
    let wadm = super::wadm::everything();
    for text in [spin, wadm] {
        for (end, _) in text.char_indices() {
            drop(import(&text[..end], Path::new("in"), &Options::default()));
        }
    }
}

#[test]
fn yaml_that_multiplies_is_refused_with_a_line() {
    let head = "apiVersion: core.oam.dev/v1beta1\nkind: Application\n";
    let mut bomb = format!("{head}a: &a [x, x, x, x, x, x, x, x, x]\n");
    for level in 'b'..='z' {
        let before = char::from_u32(u32::from(level) - 1).unwrap();
        let list = vec![format!("*{before}"); 9].join(", ");
        bomb += &format!("{level}: &{level} [{list}]\n");
    }
    let told = refused(&bomb);
    assert!(told.starts_with("in:") && !told.starts_with("in:0:"), "{told}");
    let own = format!("{head}a: &a [*a]\n");
    assert!(refused(&own).starts_with("in:3:"), "{}", refused(&own));
    for bad in [
        format!("{head}x: {}", "[".repeat(100_000)),
        format!("{head}{}", "- ".repeat(100_000)),
        format!("{head}{}", "---\n".repeat(10_000)),
        format!("{head}x: [{}]", "1, ".repeat(200_000)),
        format!("{head}x: 1\nx: 2"),
        format!("{head}? [a, b]\n: c"),
        format!("{head}\tx: 1"),
        format!("{head}x: 'open"),
        format!("{head}x: *nobody"),
    ] {
        let told = refused(&bad);
        assert!(told.starts_with("in:"), "{told}");
        assert!(told.len() < 600, "{told}");
    }
}

#[test]
fn an_application_without_its_parts_is_an_app_without_them() {
    for input in [
        "apiVersion: core.oam.dev/v1beta1\nkind: Application",
        "apiVersion: core.oam.dev/v1beta1\nkind: Application\nmetadata: 1\nspec: []",
        "apiVersion: core.oam.dev/v1beta1\nkind: Application\nspec: { components: { a: b } }",
        "apiVersion: core.oam.dev/v1beta1\nkind: Application\nspec: { components: [1, null, [], {}, { type: component }, { type: capability, traits: [1, { type: link }, { type: link, properties: { target: 1 } }] }] }",
    ] {
        let imported = read(input);
        assert_eq!(imported.app.name, "app");
        assert!(imported.app.workloads.is_empty());
    }
    assert_eq!(
        refused("apiVersion: core.oam.dev/v1beta1\nkind: List"),
        "in:1:1: there is no `kind: Application` in it, which is what can be converted"
    );
}
