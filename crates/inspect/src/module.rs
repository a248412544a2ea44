//! What can be read in an artifact without running it.
//!
//! The facts that contracts judge by ("does it export a function `_start` with no parameters?", "which version of
//! `wasi:http/types` does it import?") and that the host sizes its pool by. Gathered by [`Module::read`].

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{CompileEstimate, Features, Footprint};

/// Bytes of the largest file that is read.
pub const MAX_SIZE_BYTES: u64 = 1 << 30;
/// Levels of modules and components inside components.
pub const MAX_NESTING: usize = 64;
/// Imports, exports, memories, tables and sections that are kept, each; more are counted and dropped by the lists
/// of memories, tables and sections, and refused for imports and exports.
pub const MAX_ITEMS: usize = 100_000;

/// Which of the two formats of WebAssembly the bytes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// A core module: numbers and linear memory.
    Core,
    /// A component: WIT types, with core modules inside.
    Component,
}

impl Encoding {
    /// The words for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core module",
            Self::Component => "component",
        }
    }
}

/// The type of a core value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
    /// Nullable reference to any function.
    FuncRef,
    /// Nullable reference to something of the host's.
    ExternRef,
    /// Any other reference; their types belong to garbage collection, exceptions or typed function references.
    Reference,
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::FuncRef => "funcref",
            Self::ExternRef => "externref",
            Self::Reference => "ref",
        })
    }
}

impl From<wasmparser::ValType> for ValueType {
    fn from(ty: wasmparser::ValType) -> Self {
        match ty {
            wasmparser::ValType::I32 => Self::I32,
            wasmparser::ValType::I64 => Self::I64,
            wasmparser::ValType::F32 => Self::F32,
            wasmparser::ValType::F64 => Self::F64,
            wasmparser::ValType::V128 => Self::V128,
            wasmparser::ValType::FUNCREF => Self::FuncRef,
            wasmparser::ValType::EXTERNREF => Self::ExternRef,
            wasmparser::ValType::Ref(_) => Self::Reference,
        }
    }
}

/// The type of a core function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signature {
    /// What it takes.
    pub params: Vec<ValueType>,
    /// What it gives.
    pub results: Vec<ValueType>,
}

impl Signature {
    /// Whether the function takes exactly `params` and gives exactly `results`.
    pub fn is(&self, params: &[ValueType], results: &[ValueType]) -> bool {
        self.params == params && self.results == results
    }
}

impl fmt::Display for Signature {
    /// `(i32, i64) -> i32`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list(f: &mut fmt::Formatter<'_>, types: &[ValueType]) -> fmt::Result {
            f.write_str("(")?;
            for (index, ty) in types.iter().enumerate() {
                write!(f, "{}{ty}", if index == 0 { "" } else { ", " })?;
            }
            f.write_str(")")
        }
        list(f, &self.params)?;
        match self.results.as_slice() {
            [] => Ok(()),
            [one] => write!(f, " -> {one}"),
            many => {
                f.write_str(" -> ")?;
                list(f, many)
            }
        }
    }
}

/// A linear memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Pages it starts with.
    pub min_pages: u64,
    /// Pages it may grow to, if it says so.
    pub max_pages: Option<u64>,
    /// Bytes of one page: 65,536 unless `custom-page-sizes` is used.
    pub page_bytes: u64,
    /// Addressed with 64 bits.
    pub memory64: bool,
    /// Shared between threads.
    pub shared: bool,
    /// Given by whoever instantiates the module, not made by it.
    pub imported: bool,
}

impl Memory {
    /// Bytes it starts with.
    pub fn min_bytes(&self) -> u64 {
        self.min_pages.saturating_mul(self.page_bytes)
    }

    /// Bytes it may grow to, if it says so.
    pub fn max_bytes(&self) -> Option<u64> {
        self.max_pages.map(|pages| pages.saturating_mul(self.page_bytes))
    }

    pub(crate) fn new(ty: &wasmparser::MemoryType, imported: bool) -> Self {
        Self {
            min_pages: ty.initial,
            max_pages: ty.maximum,
            page_bytes: 1u64.checked_shl(ty.page_size_log2.unwrap_or(16)).unwrap_or(1 << 16),
            memory64: ty.memory64,
            shared: ty.shared,
            imported,
        }
    }
}

/// A table of references.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Elements it starts with.
    pub min_elements: u64,
    /// Elements it may grow to, if it says so.
    pub max_elements: Option<u64>,
    /// What it holds.
    pub element: ValueType,
    /// Given by whoever instantiates the module, not made by it.
    pub imported: bool,
}

impl Table {
    pub(crate) fn new(ty: &wasmparser::TableType, imported: bool) -> Self {
        Self {
            min_elements: ty.initial,
            max_elements: ty.maximum,
            element: wasmparser::ValType::Ref(ty.element_type).into(),
            imported,
        }
    }
}

/// A global variable's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Global {
    /// What it holds.
    pub value: ValueType,
    /// Whether it can be set.
    pub mutable: bool,
}

/// A function of a component, as WIT writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitFunction {
    /// Its name: `add`, `[method]request.path`.
    pub name: String,
    /// Its type: `func(a: u32, b: u32) -> u32`, cut short when it is very long.
    pub signature: String,
    /// Parameters it takes.
    pub params: usize,
    /// Whether it is declared `async`.
    pub is_async: bool,
}

/// What is imported or exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// A core function.
    #[serde(with = "shared")]
    Function(Arc<Signature>),
    /// A linear memory.
    Memory(Memory),
    /// A table.
    Table(Table),
    /// A global.
    Global(Global),
    /// An exception's tag.
    #[serde(with = "shared")]
    Tag(Arc<Signature>),
    /// A component's function outside any interface.
    WitFunction(WitFunction),
    /// An interface of a component: `wasi:http/types@0.2.9`.
    Interface(Vec<WitFunction>),
    /// A type of a component.
    Type,
    /// A core module of a component.
    Module,
    /// A component of a component.
    Component,
    /// A value of a component.
    Value,
}

impl Item {
    /// What it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Function(_) | Self::WitFunction(_) => "function",
            Self::Memory(_) => "memory",
            Self::Table(_) => "table",
            Self::Global(_) => "global",
            Self::Tag(_) => "tag",
            Self::Interface(_) => "interface",
            Self::Type => "type",
            Self::Module => "module",
            Self::Component => "component",
            Self::Value => "value",
        }
    }
}

/// Something the guest asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// A core import's module: `wasi_snapshot_preview1`. Empty in a component.
    pub module: String,
    /// Its name: `fd_write`, `wasi:http/types@0.2.9`.
    pub name: String,
    /// What it must be.
    pub item: Item,
}

impl Import {
    /// The import's whole name, as people write it: `wasi_snapshot_preview1.fd_write`.
    pub fn full_name(&self) -> String {
        if self.module.is_empty() { self.name.clone() } else { format!("{}.{}", self.module, self.name) }
    }
}

/// Something the guest offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Its name: `_start`, `wasi:http/incoming-handler@0.2.9`.
    pub name: String,
    /// What it is.
    pub item: Item,
}

/// A part of the file. Together with their headers, the parts are the whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// `type`, `code`, `custom name`, `core module`.
    pub name: String,
    /// Where its contents start, in bytes from the start of the file.
    pub offset_bytes: u64,
    /// Bytes of its contents, without the header of a few bytes.
    pub size_bytes: u64,
}

/// The facts of one module or component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Module {
    /// Core module or component.
    pub encoding: Encoding,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file, in lower-case hex.
    pub sha256: String,
    /// What it asks for, in the file's order.
    pub imports: Vec<Import>,
    /// What it offers, in the file's order.
    pub exports: Vec<Export>,
    /// Its memories; of a component, those of the core modules in it.
    pub memories: Vec<Memory>,
    /// Its tables; of a component, those of the core modules in it.
    pub tables: Vec<Table>,
    /// How many globals it defines, nested modules included.
    pub globals: u64,
    /// How many functions it defines, nested modules included.
    pub functions: u64,
    /// How many core modules are in a component, at any depth.
    pub core_modules: u64,
    /// The index of the function that runs when it is instantiated; never set for a component.
    pub start: Option<u32>,
    /// Bytes of data segments, nested modules included.
    pub data_bytes: u64,
    /// How many data segments those are.
    pub data_segments: u64,
    /// The file's top-level sections, in the file's order.
    pub sections: Vec<Section>,
    /// Names of custom sections, nested ones included, each once, in the file's order.
    pub custom_sections: Vec<String>,
    /// Services that a waPC guest names in its data: `wasmcloud:keyvalue`.
    pub services: Vec<String>,
    /// Features it uses beyond the first release of WebAssembly.
    pub features: Features,
    /// What one instance of it takes from a pool.
    pub footprint: Footprint,
    /// What it would cost to compile.
    pub compile: CompileEstimate,
}

impl Module {
    /// Whether anything is imported from this core module: `wasi_snapshot_preview1`.
    pub fn imports_from(&self, module: &str) -> bool {
        self.encoding == Encoding::Core && self.imports.iter().any(|import| import.module == module)
    }

    /// The type of the core function imported under this name.
    pub fn imports_function(&self, module: &str, name: &str) -> Option<&Signature> {
        self.imports.iter().find_map(|import| match &import.item {
            Item::Function(signature) if import.module == module && import.name == name => Some(&**signature),
            _ => None,
        })
    }

    /// The type of the core function exported under this name.
    pub fn exports_function(&self, name: &str) -> Option<&Signature> {
        self.exports.iter().find_map(|export| match &export.item {
            Item::Function(signature) if export.name == name => Some(&**signature),
            _ => None,
        })
    }

    /// The component function exported under this name outside any interface.
    pub fn exports_wit_function(&self, name: &str) -> Option<&WitFunction> {
        self.exports.iter().find_map(|export| match &export.item {
            Item::WitFunction(function) if export.name == name => Some(function),
            _ => None,
        })
    }

    /// Whether a memory is exported under the name that every ABI expects, `memory`.
    pub fn exports_memory(&self) -> bool {
        self.exports.iter().any(|export| export.name == "memory" && matches!(export.item, Item::Memory(_)))
    }

    /// The version of the interface `name` (`wasi:http/types`) that a component imports; empty if it has none.
    pub fn imports_interface(&self, name: &str) -> Option<&str> {
        self.imports.iter().find_map(|import| interface_version(&import.name, &import.item, name))
    }

    /// The version of the interface `name` (`wasi:http/incoming-handler`) that a component exports; empty if it has
    /// none. Of several the newest: a Rust program for 0.3 also exports its `main` by 0.2, and that only aborts.
    pub fn exports_interface(&self, name: &str) -> Option<&str> {
        let versions = self.exports.iter().filter_map(|export| interface_version(&export.name, &export.item, name));
        versions.max_by_key(|version| age(version))
    }

    /// Whether a custom section of this name is in the file, at any depth.
    pub fn has_custom_section(&self, name: &str) -> bool {
        self.custom_sections.iter().any(|known| known == name)
    }
}

/// A signature that many items share, written out for each.
mod shared {
    use super::{Arc, Deserialize, Deserializer, Serialize, Serializer, Signature};

    pub(super) fn serialize<S: Serializer>(signature: &Arc<Signature>, to: S) -> Result<S::Ok, S::Error> {
        signature.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Signature>, D::Error> {
        Signature::deserialize(from).map(Arc::new)
    }
}

/// A version's numbers in order; what is no number (`-draft`, `-rc`) counts as the oldest of its kind.
fn age(version: &str) -> Vec<Option<u64>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

fn interface_version<'a>(full_name: &'a str, item: &Item, name: &str) -> Option<&'a str> {
    if !matches!(item, Item::Interface(_)) {
        return None;
    }
    match full_name.strip_prefix(name)? {
        "" => Some(""),
        rest => rest.strip_prefix('@'),
    }
}
