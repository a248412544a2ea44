//! How a module lays out its linear memory, as far as the file says.
//!
//! Compilers of the LLVM family put a stack, initialised data, zeroed data and a heap into one memory and leave their
//! borders in globals: `__stack_pointer`, `__data_end`, `__heap_base`. Which comes first matters: with the stack at
//! the bottom an overflow leaves the memory and traps, otherwise it silently writes over data.

use super::detail::CoreModule;

/// A stretch of linear memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) label: &'static str,
    /// The style class of its colour.
    pub(super) class: &'static str,
    pub(super) start: u64,
    pub(super) end: u64,
    /// What to know about it.
    pub(super) note: &'static str,
}

/// The layout of a memory.
#[derive(Debug)]
pub(super) struct Layout {
    /// The name of the module that makes the memory, if it has one.
    pub(super) module: Option<String>,
    /// From address 0 to what the memory starts with, without gaps.
    pub(super) regions: Vec<Region>,
    /// Bytes it may grow to.
    pub(super) max_bytes: u64,
    /// Whether it says so itself.
    pub(super) max_is_declared: bool,
    /// What the layout means for a stack that overflows.
    pub(super) remark: Option<&'static str>,
}

/// The layout of the memory that matters most: the largest one that a core module makes.
pub(super) fn layout(cores: &[CoreModule<'_>]) -> Option<Layout> {
    let rank = |core: &&CoreModule<'_>| {
        core.memory.as_ref().map(|memory| (!memory.imported, memory.min_bytes(), core.data.len()))
    };
    let core = cores.iter().filter(|core| core.memory.is_some()).max_by_key(rank)?;
    let memory = core.memory.as_ref()?;
    let size = memory.min_bytes();
    let addresses = || core.data.iter().filter_map(|(at, bytes)| Some(((*at)?, (*at)?.saturating_add(*bytes))));
    let low = addresses().map(|(start, _)| start).min();
    let high = addresses().map(|(_, end)| end).max();
    let named = core.global("__stack_pointer").filter(|stack| *stack <= size);
    // Without names, LLVM's first global is the stack pointer: mutable, aligned, inside the memory.
    let guess = || {
        let first = core.globals.first().filter(|global| global.mutable && global.name.is_none())?;
        (first.value > 1024 && first.value <= size && first.value.is_multiple_of(16)).then_some(first.value)
    };
    let stack = named.or_else(guess);
    let stack_is_certain = named.is_some();
    let data_end = core.global("__data_end");
    let heap_base = core.global("__heap_base");

    let mut regions = Regions { list: Vec::new(), at: 0, size };
    let mut remark = None;
    let stack_note = if stack_is_certain {
        "grows towards lower addresses"
    } else {
        "guessed from the first global; grows towards lower addresses"
    };
    match (stack, low, high) {
        // A snapshot of a running instance has data in the stack too.
        (Some(stack), Some(low), Some(high)) if stack < high => {
            regions.up_to(stack, "stack", "stack", stack_note);
            regions.up_to(low, "unused", "unused", "");
            regions.up_to(high, "data", "data", "initialised when the instance is made");
            remark = Some("The stack is at the bottom: when it overflows, the guest traps.");
        }
        (Some(stack), low, high) => {
            let low = low.unwrap_or(0);
            regions.up_to(low, "unused", "unused", "null pointers point here");
            regions.up_to(high.unwrap_or(low), "data", "data", "initialised when the instance is made");
            regions.up_to(data_end.unwrap_or(0).min(stack), "zeroed data", "zeroed", "");
            let before = regions.at;
            regions.up_to(stack, "stack", "stack", stack_note);
            if before > 0 && stack_is_certain {
                remark = Some(
                    "The stack is above the data: when it overflows, it writes over the data before anything traps.",
                );
            }
        }
        (None, Some(low), Some(high)) => {
            regions.up_to(low, "unused", "unused", "");
            regions.up_to(high, "data", "data", "initialised when the instance is made");
        }
        (None, _, _) => {}
    }
    if let Some(heap) = heap_base.or(data_end) {
        regions.up_to(heap, "zeroed data", "zeroed", "not in the file");
    }
    let note = if heap_base.is_some() {
        "what it starts with"
    } else {
        "and perhaps zeroed data, whose end the file does not say"
    };
    let label = if regions.list.is_empty() { "whole memory" } else { "heap" };
    regions.up_to(
        size,
        label,
        "heap",
        if regions.list.is_empty() { "the file does not say how it is used" } else { note },
    );
    let widest = if memory.memory64 { u64::MAX } else { 1 << 32 };
    Some(Layout {
        module: core.name.map(crate::display::harmless),
        regions: regions.list,
        max_bytes: memory.max_bytes().unwrap_or(widest),
        max_is_declared: memory.max_pages.is_some(),
        remark,
    })
}

struct Regions {
    list: Vec<Region>,
    at: u64,
    size: u64,
}

impl Regions {
    /// What comes next, up to `end`; nothing if that is behind us, and never beyond the memory.
    fn up_to(&mut self, end: u64, label: &'static str, class: &'static str, note: &'static str) {
        let end = end.min(self.size);
        if end > self.at {
            self.list.push(Region { label, class, start: self.at, end, note });
            self.at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::detail::core_modules;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, u64, u64)]) {
        let bytes = wat::parse_str(text).unwrap();
        let layout = layout(&core_modules(&bytes)).unwrap();
        let found: Vec<_> = layout.regions.iter().map(|region| (region.label, region.start, region.end)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_stack_below_the_data_is_seen() {
        check(
            r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 65536))
                (global (export "__heap_base") i32 (i32.const 70000)) (data (i32.const 65536) "abcd"))"#,
            &[("stack", 0, 65536), ("data", 65536, 65540), ("zeroed data", 65540, 70000), ("heap", 70000, 131_072)],
        );
    }

    #[test]
    fn a_stack_above_the_data_is_seen() {
        check(
            r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 70000))
                (global (export "__data_end") i32 (i32.const 2000)) (data (i32.const 1024) "abcd"))"#,
            &[
                ("unused", 0, 1024),
                ("data", 1024, 1028),
                ("zeroed data", 1028, 2000),
                ("stack", 2000, 70000),
                ("heap", 70000, 131_072),
            ],
        );
    }

    #[test]
    fn a_snapshot_of_a_stack_is_still_a_stack() {
        check(
            r#"(module (memory 2) (global $__stack_pointer (mut i32) (i32.const 65536))
                (data (i32.const 65000) "abcd") (data (i32.const 70000) "abcd"))"#,
            &[("stack", 0, 65536), ("data", 65536, 70004), ("heap", 70004, 131_072)],
        );
    }

    #[test]
    fn values_that_lie_stay_inside_the_memory() {
        check(
            r#"(module (memory 1) (global $__stack_pointer (mut i32) (i32.const -1))
                (global (export "__heap_base") i32 (i32.const 5)) (data (i32.const -4) "abcdefgh"))"#,
            &[("unused", 0, 65536)],
        );
        check("(module (memory 0))", &[]);
        check("(module (memory 1))", &[("whole memory", 0, 65536)]);
    }
}
