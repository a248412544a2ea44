//! What one instance takes from the host's pool, counted without instantiating anything.
//!
//! A call is not one slot: a JavaScript component takes 4 core instances, a Python one 14. The count follows the
//! instantiations written in the component, through nested components and aliases of modules. What is only known
//! when it is linked (imported modules, adapters the engine generates between components) is not in it.

use serde::{Deserialize, Serialize};

/// What one instance takes, as far as the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Core instances.
    pub core_instances: u64,
    /// Linear memories that the instance makes.
    pub memories: u64,
    /// Bytes the largest of them starts with.
    pub max_memory_min_bytes: u64,
    /// Bytes all of them start with.
    pub memory_min_bytes: u64,
    /// Tables that the instance makes.
    pub tables: u64,
    /// Elements the largest of them starts with.
    pub max_table_min_elements: u64,
    /// Elements all of them start with.
    pub table_min_elements: u64,
}

impl Footprint {
    fn add(&mut self, other: &Self) {
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.memories = self.memories.saturating_add(other.memories);
        self.max_memory_min_bytes = self.max_memory_min_bytes.max(other.max_memory_min_bytes);
        self.memory_min_bytes = self.memory_min_bytes.saturating_add(other.memory_min_bytes);
        self.tables = self.tables.saturating_add(other.tables);
        self.max_table_min_elements = self.max_table_min_elements.max(other.max_table_min_elements);
        self.table_min_elements = self.table_min_elements.saturating_add(other.table_min_elements);
    }

    /// Adds a memory that the module makes.
    pub(crate) fn add_memory(&mut self, memory: &crate::Memory) {
        let bytes = memory.min_bytes();
        self.memories = self.memories.saturating_add(1);
        self.max_memory_min_bytes = self.max_memory_min_bytes.max(bytes);
        self.memory_min_bytes = self.memory_min_bytes.saturating_add(bytes);
    }

    /// Adds a table that the module makes.
    pub(crate) fn add_table(&mut self, table: &crate::Table) {
        self.tables = self.tables.saturating_add(1);
        self.max_table_min_elements = self.max_table_min_elements.max(table.min_elements);
        self.table_min_elements = self.table_min_elements.saturating_add(table.min_elements);
    }
}

/// A component that is being read: the index spaces that instantiations refer to.
///
/// An entry is `None` when what it stands for is not in this file: an import, or an export of an instance.
#[derive(Debug, Default)]
pub(crate) struct ComponentScope {
    pub(crate) modules: Vec<Option<Footprint>>,
    pub(crate) components: Vec<Option<Footprint>>,
    total: Footprint,
}

impl ComponentScope {
    /// A core module is instantiated.
    pub(crate) fn instantiate_module(&mut self, index: u32) {
        let unknown = Footprint { core_instances: 1, ..Footprint::default() };
        self.total.add(&look_up(&self.modules, index).unwrap_or(unknown));
    }

    /// A nested component is instantiated.
    pub(crate) fn instantiate_component(&mut self, index: u32) {
        if let Some(footprint) = look_up(&self.components, index) {
            self.total.add(&footprint);
        }
    }

    /// What one instance of the component takes.
    pub(crate) fn finish(self) -> Footprint {
        self.total
    }
}

/// What is known of the module or component at `index`.
pub(crate) fn look_up(space: &[Option<Footprint>], index: u32) -> Option<Footprint> {
    usize::try_from(index).ok().and_then(|index| space.get(index).copied()).flatten()
}
