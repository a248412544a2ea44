//! Takes custom sections out of a module or component, and out of everything nested in it.
//!
//! All other sections keep their bytes; only the lengths around them are written anew.

use wasmparser::{Encoding, Payload};

use crate::{
    ReadError,
    nesting::check_depth,
    read::{check_size, parser, section_name},
};

/// Which custom sections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strip {
    /// All of them.
    All,
    /// Those of these names; a name may end in `*`: `.debug_*`.
    Named(Vec<String>),
}

impl Strip {
    fn takes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|wanted| match wanted.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == wanted,
            }),
        }
    }
}

/// A module or component being written.
enum Output {
    Core(wasm_encoder::Module),
    Component(wasm_encoder::Component),
}

impl Output {
    fn section(&mut self, id: u8, data: &[u8]) {
        let section = wasm_encoder::RawSection { id, data };
        match self {
            Self::Core(module) => drop(module.section(&section)),
            Self::Component(component) => drop(component.section(&section)),
        }
    }

    /// The section id that the finished bytes have in a component around them, and the bytes.
    fn finish(self) -> (u8, Vec<u8>) {
        match self {
            Self::Core(module) => (wasm_encoder::ComponentSectionId::CoreModule.into(), module.finish()),
            Self::Component(component) => (wasm_encoder::ComponentSectionId::Component.into(), component.finish()),
        }
    }
}

/// The bytes without the custom sections that `what` names.
///
/// # Errors
/// The bytes are not WebAssembly or break off.
pub fn strip(bytes: &[u8], what: &Strip) -> Result<Vec<u8>, ReadError> {
    check_size(bytes)?;
    let mut open: Vec<Output> = Vec::new();
    let mut section = "header";
    for payload in parser().parse_all(bytes) {
        let payload = payload.map_err(|error| ReadError::malformed(&error, section))?;
        section = section_name(&payload);
        match &payload {
            Payload::Version { encoding, range, .. } => {
                check_depth(open.len() + 1, range.start).map_err(|stop| stop.in_section(section))?;
                open.push(match encoding {
                    Encoding::Module => Output::Core(wasm_encoder::Module::new()),
                    Encoding::Component => Output::Component(wasm_encoder::Component::new()),
                });
            }
            Payload::End(_) => {
                let Some((id, finished)) = open.pop().map(Output::finish) else { break };
                match open.last_mut() {
                    Some(outer) => outer.section(id, &finished),
                    None => return Ok(finished),
                }
            }
            // Their contents come next, and their sections are written at their ends.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {}
            Payload::CustomSection(custom) if what.takes(custom.name()) => {}
            other => {
                if let Some((id, range)) = other.as_section()
                    && let Some(output) = open.last_mut()
                {
                    let offset = range.start as u64;
                    let data = bytes.get(range).ok_or_else(|| ReadError::Malformed {
                        offset,
                        section: section.to_owned(),
                        message: "the section ends after the file".to_owned(),
                    })?;
                    output.section(id, data);
                }
            }
        }
    }
    Err(ReadError::Malformed {
        offset: bytes.len() as u64,
        section: section.to_owned(),
        message: "the file has no end".to_owned(),
    })
}
