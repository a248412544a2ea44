//! The sections of core modules.

use std::sync::Arc;

use wasmparser::{
    CompositeInnerType, DataKind, ElementItems, ElementKind, ExternalKind, TypeRef, WasmFeatures,
    types::{CoreTypeId, TypesRef},
};

use super::{
    Stop, room,
    walk::{Level, Walk},
};
use crate::{
    Export, Global, Import, Item, MAX_ITEMS, Memory, Signature, Table,
    need::{WAPC_MODULES, services_in},
};

impl<'a> Walk<'a> {
    pub(super) fn core_types(&mut self, section: wasmparser::TypeSectionReader<'a>) -> Result<(), Stop> {
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

    pub(super) fn core_imports(&mut self, section: wasmparser::ImportSectionReader<'a>) -> Result<(), Stop> {
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

    pub(super) fn core_exports(&mut self, section: wasmparser::ExportSectionReader<'a>) -> Result<(), Stop> {
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

    pub(super) fn memory(&mut self, ty: &wasmparser::MemoryType, imported: bool) {
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

    pub(super) fn table(&mut self, ty: &wasmparser::TableType, imported: bool) {
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
    pub(super) fn global(&mut self, ty: &wasmparser::GlobalType) {
        self.scan.value_type(ty.content_type);
        if ty.mutable {
            self.scan.features |= WasmFeatures::MUTABLE_GLOBAL;
        }
    }

    pub(super) fn elements(&mut self, section: wasmparser::ElementSectionReader<'a>) -> Result<(), Stop> {
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

    pub(super) fn data(&mut self, section: wasmparser::DataSectionReader<'a>) -> Result<(), Stop> {
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
}
