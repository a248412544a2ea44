//! Any text as a manifest of another host: what comes of it is a manifest of ours, or an error that says where.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use samara_import::{Options, import};
use samara_model::manifest::App;

fuzz_target!(|text: &str| {
    match import(text, Path::new("spin.toml"), &Options::default()) {
        Ok(imported) => {
            let again = App::parse(&imported.manifest, Path::new("samara.toml"));
            assert!(again.is_ok(), "what is printed is a manifest: {}", imported.manifest);
            for note in imported.notes {
                assert!(!note.to_string().contains(['\n', '\r', '\u{1b}']), "a note is one line: {note}");
            }
        }
        Err(errors) => assert!(errors.to_string().contains("spin.toml"), "an error names the file: {errors}"),
    }
});
