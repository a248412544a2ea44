//! Any text as a manifest and as a host file; and what was read of the one checked against the other.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use samara_model::manifest::{App, Host};

fuzz_target!(|text: &str| {
    let host = Host::parse(text, Path::new("host.toml"));
    match App::parse(text, Path::new("samara.toml")) {
        Ok(mut app) => {
            app.resolve_paths(Path::new("/apps"));
            drop(app.check(&Host::default()));
            if let Ok(host) = host {
                drop(app.check(&host));
            }
        }
        Err(errors) => assert!(errors.to_string().contains("samara.toml"), "an error names the file: {errors}"),
    }
});
