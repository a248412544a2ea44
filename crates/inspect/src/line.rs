//! Where in its source an instruction came from: the line tables that toolchains leave in `.debug_*` sections.
//!
//! Two steps, because DWARF is large, hostile and rarely asked for: [`LineTables::find`] notes where the sections are,
//! which costs a walk over section heads, and [`LineTables::places`] reads them when somebody looks at a backtrace. Never
//! read while a guest runs: the engine's own way reads all of it again for every frame of every trap.
//!
//! Source: DWARF for WebAssembly (<https://yurydelendik.github.io/webassembly-dwarf/>): addresses count from the start of
//! the code section's contents, and the sections have their ELF names.

use std::{fmt, ops::Range};

use addr2line::{
    Context,
    gimli::{Dwarf, EndianSlice, LittleEndian, SectionId},
};
use wasmparser::{Parser, Payload};

/// Bytes of debug sections of one core module that are read; a larger one has no lines.
const MAX_DEBUG_BYTES: usize = 64 << 20;
/// Core modules of one component whose sections are noted.
const MAX_MODULES: usize = 256;
/// Debug sections of one core module that are noted; DWARF has 20 or so.
const MAX_SECTIONS: usize = 64;
/// Bytes kept of the name of a source file.
const MAX_FILE_BYTES: usize = 256;

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// The file, as its compiler called it.
    pub file: String,
    /// The line, counted from 1.
    pub line: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// Where the line tables of an artifact are. Holds no bytes of it.
#[derive(Clone, Debug, Default)]
pub struct LineTables {
    modules: Vec<Debugged>,
}

/// A core module with debug sections.
#[derive(Clone, Debug, Default)]
struct Debugged {
    code: Range<usize>,
    sections: Vec<(SectionId, Range<usize>)>,
}

impl LineTables {
    /// Notes the debug sections of a module, or of the core modules of a component. `None` if it has none, which is how
    /// most artifacts are shipped.
    pub fn find(wasm: &[u8]) -> Option<Self> {
        let mut found = Vec::new();
        let mut open: Vec<Debugged> = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.ok()? {
                Payload::Version { .. } => open.push(Debugged::default()),
                Payload::CodeSectionStart { range, .. } => {
                    if let Some(module) = open.last_mut() {
                        module.code = range;
                    }
                }
                Payload::CustomSection(section) => {
                    let id = section_id(section.name());
                    let start = section.data_offset();
                    if let (Some(module), Some(id)) = (open.last_mut(), id)
                        && module.sections.len() < MAX_SECTIONS
                    {
                        module.sections.push((id, start..start.saturating_add(section.data().len())));
                    }
                }
                Payload::End(_) => {
                    let module = open.pop()?;
                    if module.has_lines() && found.len() < MAX_MODULES {
                        found.push(module);
                    }
                }
                _ => {}
            }
        }
        (!found.is_empty()).then_some(Self { modules: found })
    }

    /// The places of instructions, given as offsets into the same artifact; in the same order. Reads the sections: for the
    /// few who look at a backtrace.
    pub fn places(&self, wasm: &[u8], offsets: &[usize]) -> Vec<Option<Place>> {
        let mut places = vec![None; offsets.len()];
        for module in &self.modules {
            let mut inside =
                offsets.iter().zip(&mut places).filter(|(offset, _)| module.code.contains(offset)).peekable();
            if inside.peek().is_none() {
                continue;
            }
            let Some(context) = module.read(wasm) else { continue };
            for (offset, place) in inside {
                *place = place_at(&context, (offset - module.code.start) as u64);
            }
        }
        places
    }
}

type Section<'a> = EndianSlice<'a, LittleEndian>;

impl Debugged {
    fn has_lines(&self) -> bool {
        self.sections.iter().any(|(id, _)| *id == SectionId::DebugLine)
    }

    fn read<'a>(&self, wasm: &'a [u8]) -> Option<Context<Section<'a>>> {
        if self.sections.iter().map(|(_, range)| range.len()).sum::<usize>() > MAX_DEBUG_BYTES {
            return None;
        }
        let load = |id: SectionId| {
            let range = self.sections.iter().find(|(known, _)| *known == id).map(|(_, range)| range.clone());
            let bytes = range.and_then(|range| wasm.get(range)).unwrap_or_default();
            Ok::<_, std::convert::Infallible>(EndianSlice::new(bytes, LittleEndian))
        };
        Context::from_dwarf(Dwarf::load(load).ok()?).ok()
    }
}

fn place_at(context: &Context<Section<'_>>, address: u64) -> Option<Place> {
    let location = context.find_location(address).ok()??;
    let mut file = location.file?.to_owned();
    if file.len() > MAX_FILE_BYTES {
        // The end of a path says more than its start.
        let cut = (file.len() - MAX_FILE_BYTES..file.len()).find(|at| file.is_char_boundary(*at))?;
        file.replace_range(..cut, "…");
    }
    Some(Place { file, line: location.line })
}

fn section_id(name: &str) -> Option<SectionId> {
    /// What the line tables and the units that lead to them consist of.
    const NEEDED: [SectionId; 12] = [
        SectionId::DebugAbbrev,
        SectionId::DebugAddr,
        SectionId::DebugAranges,
        SectionId::DebugInfo,
        SectionId::DebugLine,
        SectionId::DebugLineStr,
        SectionId::DebugLoc,
        SectionId::DebugLocLists,
        SectionId::DebugRanges,
        SectionId::DebugRngLists,
        SectionId::DebugStr,
        SectionId::DebugStrOffsets,
    ];
    NEEDED.into_iter().find(|id| id.name() == name)
}
