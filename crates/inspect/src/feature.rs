//! The WebAssembly features a module uses, and their names.
//!
//! One table of names, used for reporting, for `--features` and by policy. The names are those of the proposals.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use wasmparser::WasmFeatures;

/// A feature's name as people write it: `gc`, `relaxed-simd`.
pub type FeatureName = &'static str;

/// Every feature that has a name, oldest first.
pub const FEATURES: &[FeatureName] = &{
    let mut names = [""; TABLE.len()];
    let mut index = 0;
    while index < TABLE.len() {
        #[expect(clippy::indexing_slicing, reason = "the loop's condition bounds the index; evaluated at compile time")]
        let (name, _) = TABLE[index];
        #[expect(clippy::indexing_slicing, reason = "both arrays have the same length; evaluated at compile time")]
        {
            names[index] = name;
        }
        index += 1;
    }
    names
};

const TABLE: &[(FeatureName, WasmFeatures)] = &[
    ("floats", WasmFeatures::FLOATS),
    ("mutable-global", WasmFeatures::MUTABLE_GLOBAL),
    ("saturating-float-to-int", WasmFeatures::SATURATING_FLOAT_TO_INT),
    ("sign-extension", WasmFeatures::SIGN_EXTENSION),
    ("multi-value", WasmFeatures::MULTI_VALUE),
    ("bulk-memory", WasmFeatures::BULK_MEMORY),
    ("reference-types", WasmFeatures::REFERENCE_TYPES),
    ("simd", WasmFeatures::SIMD),
    ("relaxed-simd", WasmFeatures::RELAXED_SIMD),
    ("extended-const", WasmFeatures::EXTENDED_CONST),
    ("tail-calls", WasmFeatures::TAIL_CALL),
    ("multi-memory", WasmFeatures::MULTI_MEMORY),
    ("memory64", WasmFeatures::MEMORY64),
    ("threads", WasmFeatures::THREADS),
    ("exceptions", WasmFeatures::EXCEPTIONS),
    ("legacy-exceptions", WasmFeatures::LEGACY_EXCEPTIONS),
    ("function-references", WasmFeatures::FUNCTION_REFERENCES),
    ("gc", WasmFeatures::GC),
    ("gc-types", WasmFeatures::GC_TYPES),
    ("wide-arithmetic", WasmFeatures::WIDE_ARITHMETIC),
    ("custom-page-sizes", WasmFeatures::CUSTOM_PAGE_SIZES),
    ("stack-switching", WasmFeatures::STACK_SWITCHING),
    ("shared-everything-threads", WasmFeatures::SHARED_EVERYTHING_THREADS),
    ("memory-control", WasmFeatures::MEMORY_CONTROL),
    ("custom-descriptors", WasmFeatures::CUSTOM_DESCRIPTORS),
    ("compact-imports", WasmFeatures::COMPACT_IMPORTS),
    ("component-model", WasmFeatures::COMPONENT_MODEL),
    ("component-model-async", WasmFeatures::CM_ASYNC),
    ("component-model-async-builtins", WasmFeatures::CM_MORE_ASYNC_BUILTINS),
    ("component-model-async-stackful", WasmFeatures::CM_ASYNC_STACKFUL),
    ("component-model-threading", WasmFeatures::CM_THREADING),
    ("component-model-error-context", WasmFeatures::CM_ERROR_CONTEXT),
    ("component-model-fixed-length-lists", WasmFeatures::CM_FIXED_LENGTH_LISTS),
    ("component-model-map", WasmFeatures::CM_MAP),
    ("component-model-gc", WasmFeatures::CM_GC),
    ("component-model-values", WasmFeatures::CM_VALUES),
];

/// A set of features.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Features(pub(crate) WasmFeatures);

impl Serialize for Features {
    /// As their names.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        let known =
            |name: &String| flag(name).ok_or_else(|| D::Error::custom(format!("no feature is called `{name}`")));
        names.iter().map(known).collect::<Result<WasmFeatures, _>>().map(Self)
    }
}

impl Default for Features {
    fn default() -> Self {
        Self(WasmFeatures::empty())
    }
}

impl Features {
    /// Whether the set has the feature of this name. A name that no feature has is in no set.
    pub fn contains(self, name: &str) -> bool {
        flag(name).is_some_and(|flag| self.0.contains(flag))
    }

    /// The names in the set, oldest feature first.
    pub fn names(self) -> impl Iterator<Item = FeatureName> {
        TABLE.iter().filter(move |(_, flag)| self.0.contains(*flag)).map(|(name, _)| *name)
    }

    /// Whether nothing beyond the first release of WebAssembly is used.
    pub fn is_empty(self) -> bool {
        self.names().next().is_none()
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// The parser's flag for a feature's name.
pub(crate) fn flag(name: &str) -> Option<WasmFeatures> {
    TABLE.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag)
}
