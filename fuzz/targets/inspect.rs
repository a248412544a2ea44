//! Any bytes as a module or component, through everything that reads one without running it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use samara_inspect::{LineTables, Module, Report, Strip, metadata, needs, strip, text};

fuzz_target!(|bytes: &[u8]| {
    let module = Module::read(bytes);
    if text::validate(bytes, None).is_ok() {
        assert!(module.is_ok(), "what is valid can be read: {:?}", module.err());
    }
    if let Ok(module) = &module {
        drop(needs(module));
        let report = Report::new(bytes, module, Vec::new());
        drop((report.to_text(80, true), report.to_json(), report.to_html()));
    }
    drop(metadata(bytes));
    if let Ok(stripped) = strip(bytes, &Strip::All) {
        assert!(module.is_err() || Module::read(&stripped).is_ok(), "what was stripped can still be read");
    }
    if let Some(lines) = LineTables::find(bytes) {
        drop(lines.places(bytes, &[0, 1, 100, u32::MAX as usize]));
    }
    drop(text::print(bytes));
});
