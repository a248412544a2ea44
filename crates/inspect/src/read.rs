//! One walk over the bytes that gathers the facts of [`Module`].
//!
//! Everything but function bodies is validated on the way, so that indexes can be trusted; bodies are scanned for
//! features and cost only. Full validation is [`crate::text::validate`].

use std::{borrow::Cow, collections::HashMap, path::Path, sync::Arc};

use sha2::{Digest, Sha256};
use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    CompositeInnerType, DataKind, ElementItems, ElementKind, ExternalKind, Instance, Parser, Payload, TableInit,
    TypeRef, Validator, WasmFeatures, types::CoreTypeId, types::TypesRef,
};

use crate::{
    CompileEstimate, Encoding, Export, Features, Footprint, Global, Import, Item, MAX_ITEMS, MAX_SIZE_BYTES, Memory,
    Module, ReadError, Section, Signature, Table,
    component::Wit,
    cost::Scan,
    error::describe_start,
    footprint::{ComponentScope, look_up},
    need::{WAPC_MODULES, services_in},
    nesting::{check_depth, check_types},
};

/// Whether `bytes` look like WebAssembly text rather than a binary.
pub fn is_text(bytes: &[u8]) -> bool {
    let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Comments and blanks may come before the first parenthesis.
    for _ in 0..MAX_ITEMS {
        rest = rest.trim_ascii_start();
        if let Some(comment) = rest.strip_prefix(b";;") {
            let end = comment.iter().position(|byte| *byte == b'\n').unwrap_or(comment.len());
            rest = comment.get(end..).unwrap_or_default();
        } else if let Some(comment) = rest.strip_prefix(b"(;") {
            let Some(end) = comment.windows(2).position(|pair| pair == b";)") else { return true };
            rest = comment.get(end + 2..).unwrap_or_default();
        } else {
            break;
        }
    }
    rest.first() == Some(&b'(')
}

/// The bytes as a binary: text is assembled, everything else is handed back as it is.
///
/// # Errors
/// The bytes look like text and do not parse; the message names `path`, line and column.
pub fn read_any<'a>(bytes: &'a [u8], path: Option<&Path>) -> Result<Cow<'a, [u8]>, ReadError> {
    if is_text(bytes) {
        let text = std::str::from_utf8(bytes).map_err(|error| ReadError::Text {
            message: format!("byte {} is not UTF-8; WebAssembly text is UTF-8", error.valid_up_to()),
        })?;
        return assemble(text, path).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(bytes))
}

/// Assembles text.
pub(crate) fn assemble(text: &str, path: Option<&Path>) -> Result<Vec<u8>, ReadError> {
    wat::parse_str(text).map_err(|mut error| {
        if let Some(path) = path {
            error.set_path(path);
        }
        ReadError::Text { message: error.to_string() }
    })
}

/// Refuses what is not WebAssembly at the first glance.
pub(crate) fn check_size(bytes: &[u8]) -> Result<(), ReadError> {
    let size_bytes = bytes.len() as u64;
    if bytes.is_empty() {
        return Err(ReadError::Empty);
    }
    if size_bytes > MAX_SIZE_BYTES {
        return Err(ReadError::TooLarge { size_bytes, limit_bytes: MAX_SIZE_BYTES });
    }
    // What breaks off inside the header is left to the parser, which says where.
    let start = bytes.get(..bytes.len().min(8)).unwrap_or_default();
    if Parser::is_core_wasm(bytes) || Parser::is_component(bytes) || (start.len() < 8 && starts_like_wasm(start)) {
        return Ok(());
    }
    Err(ReadError::NotWasm { found: describe_start(bytes) })
}

fn starts_like_wasm(start: &[u8]) -> bool {
    let magic = b"\0asm";
    start.starts_with(magic) || magic.starts_with(start)
}

impl Module {
    /// Reads the facts of a module or component in binary form.
    ///
    /// # Errors
    /// The bytes are not WebAssembly, break off, or break a rule of the format outside function bodies.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        check_size(bytes)?;
        let encoding = if Parser::is_component(bytes) { Encoding::Component } else { Encoding::Core };
        let mut walk = Walk::new(encoding, bytes);
        for payload in parser().parse_all(bytes) {
            let payload = payload.map_err(|error| {
                // The parser stopped inside the code section, the only one it hands over in pieces, or in a section
                // that it has not handed over yet.
                let section = match bytes.get(walk.end) {
                    _ if error.offset() < walk.end => "code",
                    None => "file",
                    Some(id) => section_of_id(walk.open(), *id),
                };
                ReadError::malformed(&error, section)
            })?;
            walk.payload(&payload)?;
        }
        let mut module = walk.module;
        module.features = Features(walk.scan.features);
        module.sha256 = hex(&Sha256::digest(bytes));
        Ok(module)
    }
}

/// A parser that knows every feature: refusing one is the policy's business, not the reader's.
pub(crate) fn parser() -> Parser {
    let mut parser = Parser::new(0);
    parser.set_features(WasmFeatures::all());
    parser
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

/// The name of a payload's section: `type`, `code`.
pub(crate) fn section_name(payload: &Payload<'_>) -> &'static str {
    match payload {
        Payload::TypeSection(_) => "type",
        Payload::ImportSection(_) => "import",
        Payload::FunctionSection(_) => "function",
        Payload::TableSection(_) => "table",
        Payload::MemorySection(_) => "memory",
        Payload::TagSection(_) => "tag",
        Payload::GlobalSection(_) => "global",
        Payload::ExportSection(_) => "export",
        Payload::StartSection { .. } => "start",
        Payload::ElementSection(_) => "element",
        Payload::DataCountSection { .. } => "data count",
        Payload::DataSection(_) => "data",
        Payload::CodeSectionStart { .. } | Payload::CodeSectionEntry(_) => "code",
        Payload::ModuleSection { .. } => "core module",
        Payload::InstanceSection(_) => "core instance",
        Payload::CoreTypeSection(_) => "core type",
        Payload::ComponentSection { .. } => "component",
        Payload::ComponentInstanceSection(_) => "instance",
        Payload::ComponentAliasSection(_) => "alias",
        Payload::ComponentTypeSection(_) => "component type",
        Payload::ComponentCanonicalSection(_) => "canonical function",
        Payload::ComponentStartSection { .. } => "component start",
        Payload::ComponentImportSection(_) => "component import",
        Payload::ComponentExportSection(_) => "component export",
        Payload::CustomSection(_) => "custom",
        Payload::UnknownSection { .. } => "unknown",
        _ => "header",
    }
}

/// The name of the innermost section around a byte of the file.
pub(crate) fn section_at(bytes: &[u8], offset: usize) -> &'static str {
    let mut found = "header";
    for payload in parser().parse_all(bytes) {
        let Ok(payload) = payload else { break };
        match payload.as_section() {
            Some((_, range)) if range.start > offset => break,
            Some((_, range)) if offset <= range.end => found = section_name(&payload),
            _ => {}
        }
    }
    found
}

/// The name of the section that `id` introduces in a module or component.
fn section_of_id(encoding: Encoding, id: u8) -> &'static str {
    const CORE: &[&str] = &[
        "custom",
        "type",
        "import",
        "function",
        "table",
        "memory",
        "global",
        "export",
        "start",
        "element",
        "code",
        "data",
        "data count",
        "tag",
    ];
    const COMPONENT: &[&str] = &[
        "custom",
        "core module",
        "core instance",
        "core type",
        "component",
        "instance",
        "alias",
        "component type",
        "canonical function",
        "component start",
        "component import",
        "component export",
    ];
    let names = if encoding == Encoding::Core { CORE } else { COMPONENT };
    names.get(usize::from(id)).copied().unwrap_or("unknown")
}

/// Where the parser goes on after a payload.
fn end_of(payload: &Payload<'_>) -> Option<usize> {
    match payload {
        Payload::Version { range, .. } => Some(range.end),
        // What is inside comes next.
        Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
            Some(unchecked_range.start)
        }
        other => other.as_section().map(|(_, range)| range.end),
    }
}

/// A module or component whose end has not been seen yet.
enum Level<'a> {
    Core(Footprint),
    Component(Box<OpenComponent<'a>>),
}

#[derive(Default)]
struct OpenComponent<'a> {
    scope: ComponentScope,
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
}

struct Walk<'a> {
    bytes: &'a [u8],
    module: Module,
    scan: Scan,
    validator: Validator,
    levels: Vec<Level<'a>>,
    signatures: HashMap<CoreTypeId, Arc<Signature>>,
    /// Where the last payload ended.
    end: usize,
    /// Whether the guest names the services it calls in strings.
    wapc: bool,
}

impl<'a> Walk<'a> {
    fn new(encoding: Encoding, bytes: &'a [u8]) -> Self {
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

    fn payload(&mut self, payload: &Payload<'a>) -> Result<(), ReadError> {
        let result = self.level(payload).and_then(|()| self.take(payload));
        self.end = end_of(payload).unwrap_or(self.end);
        result.map_err(|stop| stop.in_section(section_name(payload)))
    }

    /// The format of the innermost module or component that is open.
    fn open(&self) -> Encoding {
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

    fn core_types(&mut self, section: wasmparser::TypeSectionReader<'a>) -> Result<(), Stop> {
        for group in section {
            let group = group?;
            if group.is_explicit_rec_group() {
                self.scan.features |= WasmFeatures::GC;
            }
            for ty in group.types() {
                if !ty.is_final || ty.supertype_idx.is_some() {
                    self.scan.features |= WasmFeatures::GC;
                }
                match &ty.composite_type.inner {
                    CompositeInnerType::Func(function) => {
                        if function.results().len() > 1 {
                            self.scan.features |= WasmFeatures::MULTI_VALUE;
                        }
                        for ty in function.params().iter().chain(function.results()) {
                            self.scan.value_type(*ty);
                        }
                    }
                    CompositeInnerType::Array(_) | CompositeInnerType::Struct(_) => {
                        self.scan.features |= WasmFeatures::GC;
                    }
                    CompositeInnerType::Cont(_) => self.scan.features |= WasmFeatures::STACK_SWITCHING,
                }
            }
        }
        Ok(())
    }

    fn core_imports(&mut self, section: wasmparser::ImportSectionReader<'a>) -> Result<(), Stop> {
        let offset = section.range().start;
        for import in section.into_imports() {
            let import = import?;
            match import.ty {
                TypeRef::Memory(ty) => self.memory(&ty, true),
                TypeRef::Table(ty) => self.table(&ty, true),
                TypeRef::Global(ty) => self.global(&ty),
                TypeRef::Tag(_) => self.scan.features |= WasmFeatures::EXCEPTIONS,
                TypeRef::Func(_) | TypeRef::FuncExact(_) => {}
            }
            if self.levels.len() > 1 {
                continue;
            }
            let item = match import.ty {
                TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                    Item::Function(self.signature(|types| types.core_type_at_in_module(index)))
                }
                TypeRef::Tag(tag) => Item::Tag(self.signature(|types| types.core_type_at_in_module(tag.func_type_idx))),
                TypeRef::Memory(ty) => Item::Memory(Memory::new(&ty, true)),
                TypeRef::Table(ty) => Item::Table(Table::new(&ty, true)),
                TypeRef::Global(ty) => Item::Global(Global { value: ty.content_type.into(), mutable: ty.mutable }),
            };
            room(&self.module.imports, "imports", offset)?;
            self.wapc |= WAPC_MODULES.contains(&import.module);
            let (module, name) = (import.module.to_owned(), import.name.to_owned());
            self.module.imports.push(Import { module, name, item });
        }
        Ok(())
    }

    fn core_exports(&mut self, section: wasmparser::ExportSectionReader<'a>) -> Result<(), Stop> {
        let offset = section.range().start;
        for export in section {
            let export = export?;
            let index = export.index;
            if export.kind == ExternalKind::Global
                && self.validator.types(0).is_some_and(|types| types.global_at(index).mutable)
            {
                self.scan.features |= WasmFeatures::MUTABLE_GLOBAL;
            }
            if self.levels.len() > 1 {
                continue;
            }
            room(&self.module.exports, "exports", offset)?;
            let item = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => {
                    Item::Function(self.signature(|types| types.core_function_at(index)))
                }
                ExternalKind::Tag => Item::Tag(self.signature(|types| types.tag_at(index))),
                kind => {
                    let Some(types) = self.validator.types(0) else { continue };
                    match kind {
                        ExternalKind::Memory => Item::Memory(Memory::new(&types.memory_at(index), false)),
                        ExternalKind::Table => Item::Table(Table::new(&types.table_at(index), false)),
                        _ => {
                            let ty = types.global_at(index);
                            Item::Global(Global { value: ty.content_type.into(), mutable: ty.mutable })
                        }
                    }
                }
            };
            self.module.exports.push(Export { name: export.name.to_owned(), item });
        }
        Ok(())
    }

    /// The type that `find` looks up in the current module; each is made once and shared, because a hostile module
    /// may export a function of a thousand parameters under a hundred thousand names.
    fn signature(&mut self, find: impl FnOnce(TypesRef<'_>) -> CoreTypeId) -> Arc<Signature> {
        let Some(types) = self.validator.types(0) else { return Arc::default() };
        let id = find(types);
        if let Some(known) = self.signatures.get(&id) {
            return Arc::clone(known);
        }
        let signature = match types.get(id).map(|ty| &ty.composite_type.inner) {
            Some(CompositeInnerType::Func(ty)) => Signature {
                params: ty.params().iter().map(|ty| (*ty).into()).collect(),
                results: ty.results().iter().map(|ty| (*ty).into()).collect(),
            },
            _ => Signature::default(),
        };
        let signature = Arc::new(signature);
        self.signatures.insert(id, Arc::clone(&signature));
        signature
    }

    fn memory(&mut self, ty: &wasmparser::MemoryType, imported: bool) {
        if ty.memory64 {
            self.scan.features |= WasmFeatures::MEMORY64;
        }
        if ty.shared {
            self.scan.features |= WasmFeatures::THREADS;
        }
        if ty.page_size_log2.is_some() {
            self.scan.features |= WasmFeatures::CUSTOM_PAGE_SIZES;
        }
        if self.validator.types(0).is_some_and(|types| types.memory_count() > 1) {
            self.scan.features |= WasmFeatures::MULTI_MEMORY;
        }
        let memory = Memory::new(ty, imported);
        if let Some(Level::Core(footprint)) = self.levels.last_mut()
            && !imported
        {
            footprint.add_memory(&memory);
        }
        // In a component, what one nested module imports another one makes.
        if self.module.memories.len() < MAX_ITEMS && !(imported && self.levels.len() > 1) {
            self.module.memories.push(memory);
        }
    }

    fn table(&mut self, ty: &wasmparser::TableType, imported: bool) {
        if ty.element_type != wasmparser::RefType::FUNCREF {
            self.scan.ref_type(ty.element_type);
        }
        if ty.table64 {
            self.scan.features |= WasmFeatures::MEMORY64;
        }
        if self.validator.types(0).is_some_and(|types| types.table_count() > 1) {
            self.scan.features |= WasmFeatures::REFERENCE_TYPES;
        }
        let table = Table::new(ty, imported);
        if let Some(Level::Core(footprint)) = self.levels.last_mut()
            && !imported
        {
            footprint.add_table(&table);
        }
        if self.module.tables.len() < MAX_ITEMS && !(imported && self.levels.len() > 1) {
            self.module.tables.push(table);
        }
    }

    /// An imported global.
    fn global(&mut self, ty: &wasmparser::GlobalType) {
        self.scan.value_type(ty.content_type);
        if ty.mutable {
            self.scan.features |= WasmFeatures::MUTABLE_GLOBAL;
        }
    }

    fn elements(&mut self, section: wasmparser::ElementSectionReader<'a>) -> Result<(), Stop> {
        for element in section {
            let element = element?;
            match &element.kind {
                ElementKind::Active { offset_expr, .. } => self.scan.constant(offset_expr)?,
                ElementKind::Passive => self.scan.features |= WasmFeatures::BULK_MEMORY,
                ElementKind::Declared => self.scan.features |= WasmFeatures::REFERENCE_TYPES,
            }
            if let ElementItems::Expressions(ty, items) = element.items {
                if ty != wasmparser::RefType::FUNCREF {
                    self.scan.ref_type(ty);
                }
                for item in items {
                    self.scan.constant(&item?)?;
                }
            }
        }
        Ok(())
    }

    fn data(&mut self, section: wasmparser::DataSectionReader<'a>) -> Result<(), Stop> {
        for segment in section {
            let segment = segment?;
            self.module.data_segments += 1;
            self.module.data_bytes = self.module.data_bytes.saturating_add(segment.data.len() as u64);
            if self.wapc {
                services_in(segment.data, &mut self.module.services);
            }
            match &segment.kind {
                DataKind::Active { offset_expr, .. } => self.scan.constant(offset_expr)?,
                DataKind::Passive => self.scan.features |= WasmFeatures::BULK_MEMORY,
            }
        }
        Ok(())
    }

    fn take_component(&mut self, payload: &Payload<'a>) -> Result<(), Stop> {
        let Some((Level::Component(last), outer)) = self.levels.split_last_mut() else { return Ok(()) };
        match payload {
            Payload::ComponentImportSection(section) => {
                let offset = section.range().start;
                for import in section.clone() {
                    let import = import?;
                    match import.ty {
                        ComponentTypeRef::Module(_) => last.scope.modules.push(None),
                        ComponentTypeRef::Component(_) => last.scope.components.push(None),
                        _ => {}
                    }
                    room(&last.imports, "imports", offset)?;
                    last.imports.push(import.name.name);
                }
            }
            Payload::ComponentExportSection(section) => {
                let offset = section.range().start;
                for export in section.clone() {
                    let export = export?;
                    // Exporting gives the thing a second index.
                    match export.kind {
                        wasmparser::ComponentExternalKind::Module => {
                            last.scope.modules.push(look_up(&last.scope.modules, export.index));
                        }
                        wasmparser::ComponentExternalKind::Component => {
                            last.scope.components.push(look_up(&last.scope.components, export.index));
                        }
                        _ => {}
                    }
                    room(&last.exports, "exports", offset)?;
                    last.exports.push(export.name.name);
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        last.scope.instantiate_module(module_index);
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        last.scope.instantiate_component(component_index);
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    alias_scope(&alias?, &mut last.scope, outer);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    self.scan.features |= canonical_features(&function?);
                }
            }
            Payload::ComponentTypeSection(section) => {
                for ty in section.clone() {
                    self.scan.features |= component_type_features(&ty?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// An alias gives a module or component of another level, or of an instance, an index here.
fn alias_scope(alias: &ComponentAlias<'_>, scope: &mut ComponentScope, outer: &[Level<'_>]) {
    match alias {
        ComponentAlias::Outer { kind, count, index } => {
            // Level 0 is the component itself, 1 the one around it.
            let from = match usize::try_from(*count).ok().and_then(|count| count.checked_sub(1)) {
                None => None,
                Some(above) => match outer.iter().rev().nth(above) {
                    Some(Level::Component(open)) => Some(&open.scope),
                    _ => None,
                },
            };
            match kind {
                ComponentOuterAliasKind::CoreModule => {
                    let found = look_up(&from.unwrap_or(scope).modules, *index);
                    scope.modules.push(found);
                }
                ComponentOuterAliasKind::Component => {
                    let found = look_up(&from.unwrap_or(scope).components, *index);
                    scope.components.push(found);
                }
                _ => {}
            }
        }
        ComponentAlias::InstanceExport { kind, .. } => match kind {
            wasmparser::ComponentExternalKind::Module => scope.modules.push(None),
            wasmparser::ComponentExternalKind::Component => scope.components.push(None),
            _ => {}
        },
        ComponentAlias::CoreInstanceExport { .. } => {}
    }
}

fn canonical_features(function: &CanonicalFunction) -> WasmFeatures {
    let asynchronous = |options: &[CanonicalOption]| {
        let found =
            options.iter().any(|option| matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_)));
        if found { WasmFeatures::CM_ASYNC } else { WasmFeatures::empty() }
    };
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => asynchronous(options),
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => WasmFeatures::empty(),
        CanonicalFunction::ThreadSpawnRef { .. }
        | CanonicalFunction::ThreadSpawnIndirect { .. }
        | CanonicalFunction::ThreadAvailableParallelism => WasmFeatures::SHARED_EVERYTHING_THREADS,
        CanonicalFunction::ErrorContextNew { .. }
        | CanonicalFunction::ErrorContextDebugMessage { .. }
        | CanonicalFunction::ErrorContextDrop => WasmFeatures::CM_ASYNC | WasmFeatures::CM_ERROR_CONTEXT,
        _ => WasmFeatures::CM_ASYNC,
    }
}

fn component_type_features(ty: &wasmparser::ComponentType<'_>) -> WasmFeatures {
    use wasmparser::{ComponentDefinedType, ComponentType, ComponentTypeDeclaration, InstanceTypeDeclaration};
    let mut features = WasmFeatures::empty();
    match ty {
        ComponentType::Func(function) if function.async_ => features |= WasmFeatures::CM_ASYNC,
        ComponentType::Defined(ComponentDefinedType::Future(_) | ComponentDefinedType::Stream(_)) => {
            features |= WasmFeatures::CM_ASYNC;
        }
        ComponentType::Defined(ComponentDefinedType::FixedLengthList(..)) => {
            features |= WasmFeatures::CM_FIXED_LENGTH_LISTS;
        }
        ComponentType::Defined(ComponentDefinedType::Map(..)) => features |= WasmFeatures::CM_MAP,
        ComponentType::Component(declarations) => {
            for declaration in declarations {
                if let ComponentTypeDeclaration::Type(ty) = declaration {
                    features |= component_type_features(ty);
                }
            }
        }
        ComponentType::Instance(declarations) => {
            for declaration in declarations {
                if let InstanceTypeDeclaration::Type(ty) = declaration {
                    features |= component_type_features(ty);
                }
            }
        }
        _ => {}
    }
    features
}

/// The imports and exports of the outermost component, with their types.
fn component_items(module: &mut Module, types: TypesRef<'_>, open: &OpenComponent<'_>) {
    let imports = open.imports.iter().filter_map(|name| Some((*name, types.component_item_for_import(name)?)));
    let exports = open.exports.iter().filter_map(|name| Some((*name, types.component_item_for_export(name)?)));
    let mut wit = Wit::new(types, imports.clone().chain(exports.clone()));
    for (name, item) in imports {
        let item = wit.item(name, item);
        module.imports.push(Import { module: String::new(), name: name.to_owned(), item });
    }
    for (name, item) in exports {
        let item = wit.item(name, item);
        module.exports.push(Export { name: name.to_owned(), item });
    }
}

/// Why the walk stopped.
pub(crate) enum Stop {
    Parser(wasmparser::Error),
    TooMuch { offset: usize, message: String },
}

impl Stop {
    /// The error for whoever passed the bytes.
    pub(crate) fn in_section(self, section: &str) -> ReadError {
        match self {
            Self::Parser(error) => ReadError::malformed(&error, section),
            Self::TooMuch { offset, message } => {
                ReadError::Malformed { offset: offset as u64, section: section.to_owned(), message }
            }
        }
    }
}

impl From<wasmparser::Error> for Stop {
    fn from(error: wasmparser::Error) -> Self {
        Self::Parser(error)
    }
}

fn room<T>(list: &[T], what: &str, offset: usize) -> Result<(), Stop> {
    if list.len() < MAX_ITEMS {
        return Ok(());
    }
    Err(Stop::TooMuch { offset, message: format!("more than {MAX_ITEMS} {what}") })
}
