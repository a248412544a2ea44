//! The sections of components.

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    Instance, Payload, WasmFeatures, types::TypesRef,
};

use super::{
    Stop, room,
    walk::{Level, OpenComponent, Walk},
};
use crate::{
    Export, Import, Module,
    component::Wit,
    footprint::{ComponentScope, look_up},
};

impl<'a> Walk<'a> {
    pub(super) fn take_component(&mut self, payload: &Payload<'a>) -> Result<(), Stop> {
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
pub(super) fn component_items(module: &mut Module, types: TypesRef<'_>, open: &OpenComponent<'_>) {
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
