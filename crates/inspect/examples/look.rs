//! Inspects files and says how long it took: `cargo run --release -p samara-inspect --example look -- FILE...`
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "an example")]

use std::time::Instant;

use samara_inspect::{Module, Report, read_any};

fn main() {
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path).unwrap();
        let start = Instant::now();
        let wasm = match read_any(&bytes, Some(path.as_ref())) {
            Ok(wasm) => wasm,
            Err(error) => {
                eprintln!("{path}: {error}");
                continue;
            }
        };
        let module = match Module::read(&wasm) {
            Ok(module) => module,
            Err(error) => {
                eprintln!("{path}: {error}");
                continue;
            }
        };
        let read = start.elapsed();
        let report = Report::new(&wasm, &module, Vec::new());
        let text = report.to_text(110, false);
        let all = start.elapsed();
        if let Ok(folder) = std::env::var("HTML") {
            let name = std::path::Path::new(&path).file_name().unwrap().to_string_lossy().into_owned();
            let mut report = report;
            report.set_title(name.clone());
            std::fs::write(format!("{folder}/{name}.html"), report.to_html()).unwrap();
        }
        println!("{path}\n{text}read {read:?}, with report {all:?}\n");
    }
}
