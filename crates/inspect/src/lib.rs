//! Reads WebAssembly without running it: what a module is, needs, offers and weighs.
//!
//! Two passes, for two readers. [`Module::read`] gathers the facts that decide how an artifact is loaded (imports,
//! exports, footprint, features, cost to compile) and is walked on every load. [`Report`] looks closer, for people:
//! names, sections, custom sections, where the bytes are. Beside them is the text toolkit: [`text`] and [`strip()`].
//!
//! There is no engine here and no parser of our own: everything is the `wasmparser` family. Any bytes are legal
//! input; what is not WebAssembly is a [`ReadError`] that says where and what.

mod component;
mod componentize;
mod cost;
mod display;
mod error;
mod feature;
mod footprint;
mod line;
mod metadata;
mod module;
mod need;
mod nesting;
mod read;
mod report;
mod spin_module;
mod strip;
pub mod text;

pub use componentize::{ComponentizeError, componentize};
pub use cost::CompileEstimate;
pub use error::ReadError;
pub use feature::{FEATURES, FeatureName, Features};
pub use footprint::Footprint;
pub use line::{LineTables, Place};
pub use metadata::{Annotation, Custom, Metadata, Producer, metadata};
pub use module::{
    Encoding, Export, Global, Import, Item, MAX_ITEMS, MAX_NESTING, MAX_SIZE_BYTES, Memory, Module, Section, Signature,
    Table, ValueType, WitFunction,
};
pub use need::{Need, needs, unrecognised};
pub use read::{is_text, read_any};
pub use report::{LargeFunction, Report, Verdict};
pub use strip::{Strip, strip};
