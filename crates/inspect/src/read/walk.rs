//! The state of the walk: which modules and components are open, and what was found so far.

use std::{collections::HashMap, sync::Arc};

use wasmparser::{Payload, TableInit, Validator, WasmFeatures, types::CoreTypeId};

use super::{
    Stop,
    component::component_items,
    section::{end_of, section_name},
};
use crate::{
    CompileEstimate, Encoding, Features, Footprint, MAX_ITEMS, Module, ReadError, Section, Signature,
    cost::Scan,
    footprint::ComponentScope,
    nesting::{check_depth, check_types},
};

/// A module or component whose end has not been seen yet.
pub(super) enum Level<'a> {
    Core(Footprint),
    Component(Box<OpenComponent<'a>>),
}

#[derive(Default)]
pub(super) struct OpenComponent<'a> {
    pub(super) scope: ComponentScope,
    pub(super) imports: Vec<&'a str>,
    pub(super) exports: Vec<&'a str>,
}

pub(super) struct Walk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) module: Module,
    pub(super) scan: Scan,
    pub(super) validator: Validator,
    pub(super) levels: Vec<Level<'a>>,
    pub(super) signatures: HashMap<CoreTypeId, Arc<Signature>>,
    /// Where the last payload ended.
    pub(super) end: usize,
    /// Whether the guest names the services it calls in strings.
    pub(super) wapc: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(encoding: Encoding, bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            module: Module {
                encoding,
                size_bytes: bytes.len() as u64,
                sha256: String::new(),
                imports: Vec::new(),
                exports: Vec::new(),
                memories: Vec::new(),
                tables: Vec::new(),
                globals: 0,
                functions: 0,
                core_modules: 0,
                start: None,
                data_bytes: 0,
                data_segments: 0,
                sections: Vec::new(),
                custom_sections: Vec::new(),
                services: Vec::new(),
                features: Features::default(),
                footprint: Footprint::default(),
                compile: CompileEstimate::default(),
            },
            scan: Scan::default(),
            validator: Validator::new_with_features(WasmFeatures::all()),
            levels: Vec::new(),
            signatures: HashMap::new(),
            end: 0,
            wapc: false,
        }
    }

    pub(super) fn payload(&mut self, payload: &Payload<'a>) -> Result<(), ReadError> {
        let result = self.level(payload).and_then(|()| self.take(payload));
        self.end = end_of(payload).unwrap_or(self.end);
        result.map_err(|stop| stop.in_section(section_name(payload)))
    }

    /// The format of the innermost module or component that is open.
    pub(super) fn open(&self) -> Encoding {
        match self.levels.last() {
            Some(Level::Core(_)) => Encoding::Core,
            Some(Level::Component(_)) => Encoding::Component,
            None => self.module.encoding,
        }
    }

    /// Opens and closes levels, and validates.
    fn level(&mut self, payload: &Payload<'a>) -> Result<(), Stop> {
        if let Payload::Version { encoding, range, .. } = payload {
            check_depth(self.levels.len() + 1, range.start)?;
            self.levels.push(match encoding {
                wasmparser::Encoding::Module => Level::Core(Footprint { core_instances: 1, ..Footprint::default() }),
                wasmparser::Encoding::Component => Level::Component(Box::default()),
            });
        } else if self.levels.len() == 1
            && self.module.sections.len() < MAX_ITEMS
            && let Some((_, range)) = payload.as_section()
        {
            let name = match payload {
                Payload::CustomSection(custom) => format!("custom {}", custom.name()),
                other => section_name(other).to_owned(),
            };
            self.module.sections.push(Section {
                name,
                offset_bytes: range.start as u64,
                size_bytes: range.len() as u64,
            });
        }
        if let Payload::ComponentTypeSection(section) = payload {
            check_types(self.bytes.get(section.range()).unwrap_or_default(), section.range().start)?;
        }
        if let Payload::End(_) = payload {
            self.close();
        }
        self.validator.payload(payload)?;
        Ok(())
    }

    /// A module or component ends; the validator still has its types.
    fn close(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        let top = self.levels.is_empty();
        let footprint = match level {
            Level::Core(footprint) => {
                if let Some(Level::Component(parent)) = self.levels.last_mut() {
                    parent.scope.modules.push(Some(footprint));
                }
                footprint
            }
            Level::Component(open) => {
                if top && let Some(types) = self.validator.types(0) {
                    component_items(&mut self.module, types, &open);
                }
                let footprint = open.scope.finish();
                if let Some(Level::Component(parent)) = self.levels.last_mut() {
                    parent.scope.components.push(Some(footprint));
                }
                footprint
            }
        };
        if top {
            self.module.footprint = footprint;
        }
    }

    fn take(&mut self, payload: &Payload<'a>) -> Result<(), Stop> {
        match payload {
            Payload::Version { encoding: wasmparser::Encoding::Module, .. } => {
                if self.levels.len() > 1 {
                    self.module.core_modules += 1;
                }
            }
            Payload::Version { .. } => self.scan.features |= WasmFeatures::COMPONENT_MODEL,
            Payload::CustomSection(custom) => {
                let known = &mut self.module.custom_sections;
                if known.len() < MAX_ITEMS && !known.iter().rev().take(64).any(|name| name == custom.name()) {
                    known.push(custom.name().to_owned());
                }
            }
            Payload::CodeSectionEntry(body) => self.scan.body(body, &mut self.module.compile)?,
            Payload::StartSection { func, .. } if self.levels.len() == 1 => self.module.start = Some(*func),
            Payload::TypeSection(section) => self.core_types(section.clone())?,
            Payload::ImportSection(section) => self.core_imports(section.clone())?,
            Payload::FunctionSection(section) => self.module.functions += u64::from(section.count()),
            Payload::TableSection(section) => {
                for table in section.clone() {
                    let table = table?;
                    if let TableInit::Expr(expression) = &table.init {
                        self.scan.features |= WasmFeatures::FUNCTION_REFERENCES;
                        self.scan.constant(expression)?;
                    }
                    self.table(&table.ty, false);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.memory(&memory?, false);
                }
            }
            Payload::TagSection(_) => self.scan.features |= WasmFeatures::EXCEPTIONS,
            Payload::GlobalSection(section) => {
                for global in section.clone() {
                    let global = global?;
                    self.module.globals += 1;
                    self.scan.value_type(global.ty.content_type);
                    self.scan.constant(&global.init_expr)?;
                }
            }
            Payload::ExportSection(section) => self.core_exports(section.clone())?,
            Payload::ElementSection(section) => self.elements(section.clone())?,
            Payload::DataSection(section) => self.data(section.clone())?,
            _ => self.take_component(payload)?,
        }
        Ok(())
    }
}
