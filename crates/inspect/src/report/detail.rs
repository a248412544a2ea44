//! The second look at a file, for people: functions by name and size, data segments, globals.
//!
//! Everything borrows from the file. What cannot be read here is left out, because [`crate::Module::read`] has
//! already refused what matters.

use std::collections::HashMap;

use wasmparser::{DataKind, ExternalKind, KnownCustom, Name, Operator, Payload};

use crate::{
    MAX_ITEMS,
    display::function_name,
    read::{parser, section_name},
};

/// Function names that are kept of one module.
const MAX_NAMES: usize = 1_000_000;

/// One core module: the file itself, or one of those nested in a component.
#[derive(Debug, Default)]
pub(crate) struct CoreModule<'a> {
    /// Its name, if it has one.
    pub(crate) name: Option<&'a str>,
    /// Bytes of it.
    pub(crate) bytes: u64,
    /// Sections, as name and bytes.
    pub(crate) sections: Vec<(String, u64)>,
    /// Functions with a body: index and bytes.
    pub(crate) functions: Vec<(u32, u64)>,
    names: HashMap<u32, &'a str>,
    /// Active data segments: address and bytes, and passive ones without address.
    pub(crate) data: Vec<(Option<u64>, u64)>,
    /// Globals with a constant initial value.
    pub(crate) globals: Vec<Global<'a>>,
    /// The memory it makes, not imports.
    pub(crate) memory: Option<crate::Memory>,
    imported_functions: u32,
    imported_globals: u32,
}

/// A global with a constant initial value.
#[derive(Debug)]
pub(crate) struct Global<'a> {
    index: u32,
    pub(crate) name: Option<&'a str>,
    pub(crate) value: u64,
    pub(crate) mutable: bool,
}

impl<'a> CoreModule<'a> {
    /// A function's name as its author wrote it, or its number.
    pub(crate) fn function_name(&self, index: u32) -> String {
        match self.names.get(&index) {
            Some(name) => function_name(name),
            None => format!("function {index}"),
        }
    }

    /// Whether the function has a name.
    pub(crate) fn is_named(&self, index: u32) -> bool {
        self.names.contains_key(&index)
    }

    /// The initial value of the global with this name.
    pub(crate) fn global(&self, name: &str) -> Option<u64> {
        self.globals.iter().find(|global| global.name == Some(name)).map(|global| global.value)
    }

    fn take(&mut self, payload: &Payload<'a>) -> Result<(), wasmparser::Error> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    let import = import?;
                    match import.ty {
                        wasmparser::TypeRef::Func(_) | wasmparser::TypeRef::FuncExact(_) => {
                            if self.names.len() < MAX_NAMES {
                                self.names.insert(self.imported_functions, import.name);
                            }
                            self.imported_functions += 1;
                        }
                        wasmparser::TypeRef::Global(_) => self.imported_globals += 1,
                        wasmparser::TypeRef::Memory(ty) => self.memory = Some(crate::Memory::new(&ty, true)),
                        _ => {}
                    }
                }
            }
            Payload::MemorySection(section) => {
                if let Some(ty) = section.clone().into_iter().next() {
                    self.memory = Some(crate::Memory::new(&ty?, false));
                }
            }
            Payload::GlobalSection(section) => {
                for (index, global) in (self.imported_globals..).zip(section.clone()).take(MAX_ITEMS) {
                    let global = global?;
                    if let Some(value) = constant(&global.init_expr) {
                        self.globals.push(Global { index, name: None, value, mutable: global.ty.mutable });
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    match export.kind {
                        ExternalKind::Func if self.names.len() < MAX_NAMES => {
                            self.names.entry(export.index).or_insert(export.name);
                        }
                        ExternalKind::Global => self.name_global(export.index, export.name),
                        _ => {}
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let index = u32::try_from(self.functions.len()).unwrap_or(u32::MAX);
                self.functions.push((self.imported_functions.saturating_add(index), body.range().len() as u64));
            }
            Payload::DataSection(section) => {
                for segment in section.clone().into_iter().take(MAX_ITEMS) {
                    let segment = segment?;
                    let address = match &segment.kind {
                        DataKind::Active { offset_expr, memory_index: 0 } => constant(offset_expr),
                        _ => None,
                    };
                    self.data.push((address, segment.data.len() as u64));
                }
            }
            Payload::CustomSection(custom) if custom.name() == "name" => {
                if let KnownCustom::Name(names) = custom.as_known() {
                    for name in names {
                        self.take_names(name?)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn take_names(&mut self, names: Name<'a>) -> Result<(), wasmparser::Error> {
        match names {
            Name::Module { name, .. } => self.name = Some(name),
            Name::Function(names) => {
                for naming in names {
                    let naming = naming?;
                    if self.names.len() < MAX_NAMES {
                        self.names.insert(naming.index, naming.name);
                    }
                }
            }
            Name::Global(names) => {
                for naming in names.into_iter().take(MAX_ITEMS) {
                    let naming = naming?;
                    self.name_global(naming.index, naming.name);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Globals come in the order of their indexes.
    fn name_global(&mut self, index: u32, name: &'a str) {
        if let Ok(at) = self.globals.binary_search_by_key(&index, |global| global.index)
            && let Some(global) = self.globals.get_mut(at)
        {
            global.name = Some(name);
        }
    }
}

/// The value of a constant expression that is one constant.
fn constant(expression: &wasmparser::ConstExpr<'_>) -> Option<u64> {
    match expression.get_operators_reader().read().ok()? {
        // Addresses are unsigned, whatever the operator says.
        Operator::I32Const { value } => Some(u64::from(value.cast_unsigned())),
        Operator::I64Const { value } => Some(value.cast_unsigned()),
        _ => None,
    }
}

/// The core modules of a file, in its order; what follows an error is left out.
pub(crate) fn core_modules(bytes: &[u8]) -> Vec<CoreModule<'_>> {
    let mut done = Vec::new();
    let mut open: Vec<Option<(usize, CoreModule<'_>)>> = Vec::new();
    for payload in parser().parse_all(bytes) {
        let Ok(payload) = payload else { break };
        match &payload {
            Payload::Version { encoding, range, .. } => {
                let core = matches!(encoding, wasmparser::Encoding::Module);
                open.push(core.then(|| (range.start, CoreModule::default())));
            }
            Payload::End(end) => {
                if let Some(Some((start, mut module))) = open.pop()
                    && done.len() < MAX_ITEMS
                {
                    module.bytes = end.saturating_sub(start) as u64;
                    done.push(module);
                }
            }
            payload => {
                let Some(Some((_, module))) = open.last_mut() else { continue };
                if let Some((_, range)) = payload.as_section()
                    && module.sections.len() < MAX_ITEMS
                {
                    let name = match payload {
                        Payload::CustomSection(custom) => format!("custom {}", custom.name()),
                        other => section_name(other).to_owned(),
                    };
                    module.sections.push((name, range.len() as u64));
                }
                // A broken name section costs the names, nothing else.
                let _ = module.take(payload);
            }
        }
    }
    done
}
