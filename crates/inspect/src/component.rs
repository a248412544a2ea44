//! A component's types, written as WIT.
//!
//! Signatures are printed from the validator's types. Names of types come from the interfaces that export them; a
//! type without a name is written out, as far as a line of text allows.

use std::{collections::HashMap, fmt::Write};

use wasmparser::{
    PrimitiveValType,
    component_types::{
        ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType, ComponentFuncTypeId,
        ComponentItem, ComponentValType, ResourceId,
    },
    types::TypesRef,
};

use crate::{Item, MAX_ITEMS, WitFunction};

/// Bytes of the longest signature that is kept whole.
const MAX_SIGNATURE_BYTES: usize = 4096;
/// Levels of types without names that are written out.
const MAX_TYPE_DEPTH: usize = 16;

/// Writes the types of one component's imports and exports.
pub(crate) struct Wit<'a> {
    types: TypesRef<'a>,
    defined: HashMap<ComponentDefinedTypeId, &'a str>,
    resources: HashMap<ResourceId, &'a str>,
    /// Functions that may still be kept.
    room: usize,
}

impl<'a> Wit<'a> {
    /// Reads the names of all types that `items` (a component's imports and exports) give names to.
    pub(crate) fn new(types: TypesRef<'a>, items: impl Iterator<Item = (&'a str, &'a ComponentItem)>) -> Self {
        let mut wit = Self { types, defined: HashMap::new(), resources: HashMap::new(), room: MAX_ITEMS };
        for (name, item) in items {
            match item.ty {
                ComponentEntityType::Type { referenced, created } => wit.name(name, &[created, referenced]),
                ComponentEntityType::Instance(id) => {
                    let Some(instance) = types.get(id) else { continue };
                    for (name, item) in &instance.exports {
                        if let ComponentEntityType::Type { referenced, created } = item.ty {
                            wit.name(name, &[created, referenced]);
                        }
                    }
                }
                _ => {}
            }
        }
        wit
    }

    fn name(&mut self, name: &'a str, ids: &[ComponentAnyTypeId]) {
        if self.defined.len() + self.resources.len() >= MAX_ITEMS {
            return;
        }
        for id in ids {
            match id {
                ComponentAnyTypeId::Defined(id) => {
                    self.defined.entry(*id).or_insert(name);
                }
                ComponentAnyTypeId::Resource(id) => {
                    self.resources.entry(id.resource()).or_insert(name);
                }
                _ => {}
            }
        }
    }

    /// What an import or export is.
    pub(crate) fn item(&mut self, name: &str, item: &ComponentItem) -> Item {
        match item.ty {
            ComponentEntityType::Module(_) => Item::Module,
            ComponentEntityType::Func(id) => Item::WitFunction(self.function(name, id)),
            ComponentEntityType::Value(_) => Item::Value,
            ComponentEntityType::Type { .. } => Item::Type,
            ComponentEntityType::Component(_) => Item::Component,
            ComponentEntityType::Instance(id) => {
                let mut functions = Vec::new();
                if let Some(instance) = self.types.get(id) {
                    for (name, item) in &instance.exports {
                        if let ComponentEntityType::Func(id) = item.ty
                            && self.room > 0
                        {
                            self.room -= 1;
                            functions.push(self.function(name, id));
                        }
                    }
                }
                Item::Interface(functions)
            }
        }
    }

    fn function(&self, name: &str, id: ComponentFuncTypeId) -> WitFunction {
        let Some(ty) = self.types.get(id) else {
            return WitFunction { name: name.to_owned(), signature: "func".to_owned(), params: 0, is_async: false };
        };
        let mut text = String::from(if ty.async_ { "async func(" } else { "func(" });
        for (index, (name, ty)) in ty.params.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            let _ = write!(text, "{name}: ");
            self.value(&mut text, *ty, 0);
            if text.len() > MAX_SIGNATURE_BYTES {
                break;
            }
        }
        text.push(')');
        if let Some(result) = ty.result {
            text.push_str(" -> ");
            self.value(&mut text, result, 0);
        }
        if text.len() > MAX_SIGNATURE_BYTES {
            text.truncate(text.floor_char_boundary(MAX_SIGNATURE_BYTES));
            text.push_str("...");
        }
        WitFunction { name: name.to_owned(), signature: text, params: ty.params.len(), is_async: ty.async_ }
    }

    fn value(&self, text: &mut String, ty: ComponentValType, depth: usize) {
        match ty {
            ComponentValType::Primitive(ty) => text.push_str(primitive(ty)),
            ComponentValType::Type(id) => self.type_name(text, id, depth),
        }
    }

    fn type_name(&self, text: &mut String, id: ComponentDefinedTypeId, depth: usize) {
        let mut alias = Some(id);
        let mut peeled = 0;
        while let Some(id) = alias {
            if let Some(name) = self.defined.get(&id) {
                text.push_str(name);
                return;
            }
            peeled += 1;
            alias = if peeled > MAX_TYPE_DEPTH { None } else { self.types.peel_alias(id) };
        }
        if depth > MAX_TYPE_DEPTH || text.len() > MAX_SIGNATURE_BYTES {
            text.push_str("...");
            return;
        }
        if let Some(ty) = self.types.get(id) {
            self.defined_type(text, ty, depth + 1);
        }
    }

    fn defined_type(&self, text: &mut String, ty: &ComponentDefinedType, depth: usize) {
        match ty {
            ComponentDefinedType::Primitive(ty) => text.push_str(primitive(*ty)),
            ComponentDefinedType::List { element, .. } => self.generic(text, "list", &[Some(*element)], depth),
            ComponentDefinedType::Map { key, value, .. } => {
                self.generic(text, "map", &[Some(*key), Some(*value)], depth);
            }
            ComponentDefinedType::FixedLengthList { element, length, .. } => {
                text.push_str("list<");
                self.value(text, *element, depth);
                let _ = write!(text, ", {length}>");
            }
            ComponentDefinedType::Tuple(tuple) => {
                self.fields(text, "tuple<", tuple.types.iter().map(|ty| ("", Some(*ty))), ">", depth);
            }
            ComponentDefinedType::Record(record) => self.fields(
                text,
                "record { ",
                record.fields.iter().map(|(name, ty)| (name.as_str(), Some(*ty))),
                " }",
                depth,
            ),
            ComponentDefinedType::Variant(variant) => self.fields(
                text,
                "variant { ",
                variant.cases.iter().map(|(name, case)| (name.as_str(), case.ty)),
                " }",
                depth,
            ),
            ComponentDefinedType::Flags(names) => {
                self.fields(text, "flags { ", names.iter().map(|name| (name.as_str(), None)), " }", depth);
            }
            ComponentDefinedType::Enum(names) => {
                self.fields(text, "enum { ", names.iter().map(|name| (name.as_str(), None)), " }", depth);
            }
            ComponentDefinedType::Option { ty, .. } => self.generic(text, "option", &[Some(*ty)], depth),
            ComponentDefinedType::Result { ok, err, .. } => self.generic(text, "result", &[*ok, *err], depth),
            ComponentDefinedType::Future { ty, .. } => self.generic(text, "future", &[*ty], depth),
            ComponentDefinedType::Stream { ty, .. } => self.generic(text, "stream", &[*ty], depth),
            // WIT writes an owned handle as the resource's own name.
            ComponentDefinedType::Own(id) => text.push_str(self.resource(id.resource())),
            ComponentDefinedType::Borrow(id) => {
                let _ = write!(text, "borrow<{}>", self.resource(id.resource()));
            }
        }
    }

    fn resource(&self, id: ResourceId) -> &str {
        self.resources.get(&id).copied().unwrap_or("resource")
    }

    /// `list<u8>`, `result<_, string>`, `result`.
    fn generic(&self, text: &mut String, name: &str, arguments: &[Option<ComponentValType>], depth: usize) {
        text.push_str(name);
        let Some(last) = arguments.iter().rposition(Option::is_some) else { return };
        text.push('<');
        for (index, argument) in arguments.iter().take(last + 1).enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            match argument {
                Some(ty) => self.value(text, *ty, depth),
                None => text.push('_'),
            }
        }
        text.push('>');
    }

    fn fields<'b>(
        &self,
        text: &mut String,
        open: &str,
        fields: impl Iterator<Item = (&'b str, Option<ComponentValType>)>,
        close: &str,
        depth: usize,
    ) {
        text.push_str(open);
        for (index, (name, ty)) in fields.enumerate() {
            if text.len() > MAX_SIGNATURE_BYTES {
                break;
            }
            text.push_str(if index > 0 { ", " } else { "" });
            text.push_str(name);
            if let Some(ty) = ty {
                text.push_str(if name.is_empty() { "" } else { ": " });
                self.value(text, ty, depth);
            }
        }
        text.push_str(close);
    }
}

fn primitive(ty: PrimitiveValType) -> &'static str {
    match ty {
        PrimitiveValType::Bool => "bool",
        PrimitiveValType::S8 => "s8",
        PrimitiveValType::U8 => "u8",
        PrimitiveValType::S16 => "s16",
        PrimitiveValType::U16 => "u16",
        PrimitiveValType::S32 => "s32",
        PrimitiveValType::U32 => "u32",
        PrimitiveValType::S64 => "s64",
        PrimitiveValType::U64 => "u64",
        PrimitiveValType::F32 => "f32",
        PrimitiveValType::F64 => "f64",
        PrimitiveValType::Char => "char",
        PrimitiveValType::String => "string",
        PrimitiveValType::ErrorContext => "error-context",
    }
}
