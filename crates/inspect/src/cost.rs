//! What a module would cost to compile, from one scan of its function bodies.
//!
//! The scan visits every operator once, without validating, and also learns which features the code uses. The
//! estimate is for refusing compile bombs early and for telling people what to expect; it is not a bound, which is
//! why compilation happens in a process with limits of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmparser::{FunctionBody, VisitOperator, VisitSimdOperator, WasmFeatures};

/// What the function bodies of a module, and of all modules nested in it, look like to a compiler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileEstimate {
    /// Functions with a body.
    pub functions: u64,
    /// Bytes of all bodies.
    pub code_bytes: u64,
    /// Bytes of the largest body.
    pub largest_function_bytes: u64,
    /// Locals of the function with most of them, parameters not counted.
    pub max_locals: u64,
    /// Operators in all bodies.
    pub operators: u64,
    /// Calls in the function with most of them.
    pub max_calls: u64,
    /// Branching operators in the function with most of them.
    pub max_branches: u64,
    /// Processor time to compile all of it with the optimising compiler, on one ordinary core.
    pub estimated_cpu: Duration,
    /// Memory the compiler needs at its peak.
    pub estimated_memory_bytes: u64,
}

impl CompileEstimate {
    /// Processor time of the optimising compiler per byte of ordinary code: 1.6 MB took 1.2 to 2.1 s.
    const NANOS_PER_BYTE: u64 = 900;
    /// Processor time per branch, squared: of one function with 10,000, 20,000 and 100,000 branches the time grew by
    /// 4 and by 25; the last took 13 s.
    const NANOS_PER_BRANCH_SQUARED: u64 = 2;
    /// Peak memory per byte of the function being compiled: 590 kB of calls took 650 MB.
    const MEMORY_PER_BYTE: u64 = 1_100;
    /// Peak memory of compiling nothing.
    const MEMORY_BASE: u64 = 32 << 20;

    /// Adds one function's body to the sums.
    pub(crate) fn add(&mut self, body_bytes: u64, locals: u64, counts: &Counts) {
        let branches_squared = counts.branches.saturating_mul(counts.branches);
        self.functions += 1;
        self.code_bytes = self.code_bytes.saturating_add(body_bytes);
        self.largest_function_bytes = self.largest_function_bytes.max(body_bytes);
        self.max_locals = self.max_locals.max(locals);
        self.operators = self.operators.saturating_add(counts.operators);
        self.max_calls = self.max_calls.max(counts.calls);
        self.max_branches = self.max_branches.max(counts.branches);
        let nanos = body_bytes
            .saturating_mul(Self::NANOS_PER_BYTE)
            .saturating_add(branches_squared.saturating_mul(Self::NANOS_PER_BRANCH_SQUARED));
        self.estimated_cpu = self.estimated_cpu.saturating_add(Duration::from_nanos(nanos));
        self.estimated_memory_bytes = self
            .estimated_memory_bytes
            .max(body_bytes.saturating_mul(Self::MEMORY_PER_BYTE).saturating_add(Self::MEMORY_BASE));
    }

    /// The estimate in words: `light, about 20ms`.
    pub fn cost(&self) -> String {
        let weight = match self.estimated_cpu.as_millis() {
            0..100 => "light",
            100..2_000 => "moderate",
            2_000..10_000 => "heavy",
            _ => "extreme",
        };
        let millis = self.estimated_cpu.as_millis();
        let time = match millis {
            0..1 => "under 1ms".to_owned(),
            1..1_000 => format!("about {millis}ms"),
            _ => format!("about {}.{}s", millis / 1000, millis % 1000 / 100),
        };
        format!("{weight}, {time} of one core")
    }
}

/// What one function's operators add up to.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) operators: u64,
    pub(crate) calls: u64,
    pub(crate) branches: u64,
}

/// Visits operators, counts them, and remembers the features they belong to.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) features: WasmFeatures,
    counts: Counts,
    in_constant: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self { features: WasmFeatures::empty(), counts: Counts::default(), in_constant: false }
    }
}

impl Scan {
    /// Scans one body and adds it to `estimate`.
    pub(crate) fn body(
        &mut self,
        body: &FunctionBody<'_>,
        estimate: &mut CompileEstimate,
    ) -> Result<(), wasmparser::Error> {
        self.counts = Counts::default();
        let mut locals = 0u64;
        let mut reader = body.get_locals_reader()?;
        for _ in 0..reader.get_count() {
            let (count, ty) = reader.read()?;
            locals = locals.saturating_add(u64::from(count));
            self.value_type(ty);
        }
        let mut operators = wasmparser::OperatorsReader::new(reader.get_binary_reader());
        while !operators.eof() {
            operators.visit_operator(self)?;
        }
        operators.finish()?;
        let size = body.range().len() as u64;
        let counts = std::mem::take(&mut self.counts);
        estimate.add(size, locals, &counts);
        Ok(())
    }

    /// Scans a constant expression for the features it uses.
    pub(crate) fn constant(&mut self, expression: &wasmparser::ConstExpr<'_>) -> Result<(), wasmparser::Error> {
        let mut operators = expression.get_operators_reader();
        self.in_constant = true;
        let result = (|| {
            while !operators.eof() {
                operators.visit_operator(self)?;
            }
            Ok(())
        })();
        self.in_constant = false;
        result
    }

    /// Notes the features that a value's type belongs to.
    pub(crate) fn value_type(&mut self, ty: wasmparser::ValType) {
        match ty {
            wasmparser::ValType::V128 => self.features |= WasmFeatures::SIMD,
            wasmparser::ValType::Ref(ty) => self.ref_type(ty),
            _ => {}
        }
    }

    /// Notes the features that a reference's type belongs to.
    pub(crate) fn ref_type(&mut self, ty: wasmparser::RefType) {
        use wasmparser::{AbstractHeapType, HeapType};
        self.features |= WasmFeatures::REFERENCE_TYPES;
        match ty.heap_type() {
            HeapType::Abstract { ty: AbstractHeapType::Func | AbstractHeapType::Extern, .. } => {
                if !ty.is_nullable() {
                    self.features |= WasmFeatures::FUNCTION_REFERENCES;
                }
            }
            HeapType::Abstract { ty: AbstractHeapType::Exn | AbstractHeapType::NoExn, .. } => {
                self.features |= WasmFeatures::EXCEPTIONS;
            }
            HeapType::Abstract { ty: AbstractHeapType::Cont | AbstractHeapType::NoCont, .. } => {
                self.features |= WasmFeatures::STACK_SWITCHING;
            }
            HeapType::Abstract { .. } => self.features |= WasmFeatures::GC,
            HeapType::Concrete(_) | HeapType::Exact(_) => self.features |= WasmFeatures::FUNCTION_REFERENCES,
        }
    }

    fn block(&mut self, ty: wasmparser::BlockType) {
        match ty {
            wasmparser::BlockType::FuncType(_) => self.features |= WasmFeatures::MULTI_VALUE,
            wasmparser::BlockType::Type(ty) => self.value_type(ty),
            wasmparser::BlockType::Empty => {}
        }
    }
}

/// The flag of a group of operators, by the name the parser gives the group.
macro_rules! group {
    (mvp) => {
        WasmFeatures::empty()
    };
    (sign_extension) => {
        WasmFeatures::SIGN_EXTENSION
    };
    (gc) => {
        WasmFeatures::GC
    };
    (custom_descriptors) => {
        WasmFeatures::CUSTOM_DESCRIPTORS
    };
    (saturating_float_to_int) => {
        WasmFeatures::SATURATING_FLOAT_TO_INT
    };
    (bulk_memory) => {
        WasmFeatures::BULK_MEMORY
    };
    (reference_types) => {
        WasmFeatures::REFERENCE_TYPES
    };
    (tail_call) => {
        WasmFeatures::TAIL_CALL
    };
    (memory_control) => {
        WasmFeatures::MEMORY_CONTROL
    };
    (threads) => {
        WasmFeatures::THREADS
    };
    (simd) => {
        WasmFeatures::SIMD
    };
    (relaxed_simd) => {
        WasmFeatures::RELAXED_SIMD
    };
    (exceptions) => {
        WasmFeatures::EXCEPTIONS
    };
    (legacy_exceptions) => {
        WasmFeatures::LEGACY_EXCEPTIONS
    };
    (shared_everything_threads) => {
        WasmFeatures::SHARED_EVERYTHING_THREADS
    };
    (function_references) => {
        WasmFeatures::FUNCTION_REFERENCES
    };
    (stack_switching) => {
        WasmFeatures::STACK_SWITCHING
    };
    (wide_arithmetic) => {
        WasmFeatures::WIDE_ARITHMETIC
    };
}

/// What an operator adds beside its group: a branch, a call, or a block whose type tells more.
macro_rules! note {
    ($scan:ident If $ty:ident) => {{
        $scan.counts.branches += 1;
        $scan.block($ty);
    }};
    ($scan:ident Block $ty:ident) => {{
        $scan.counts.branches += 1;
        $scan.block($ty);
    }};
    ($scan:ident Loop $ty:ident) => {{
        $scan.counts.branches += 1;
        $scan.block($ty);
    }};
    ($scan:ident Br $depth:ident) => {
        $scan.counts.branches += 1
    };
    ($scan:ident BrIf $depth:ident) => {
        $scan.counts.branches += 1
    };
    ($scan:ident BrTable $targets:ident) => {
        $scan.counts.branches += 1
    };
    ($scan:ident Call $index:ident) => {
        $scan.counts.calls += 1
    };
    ($scan:ident CallIndirect $index:ident $table:ident) => {
        $scan.counts.calls += 1
    };
    ($scan:ident I32Add) => {
        $scan.extended()
    };
    ($scan:ident I32Sub) => {
        $scan.extended()
    };
    ($scan:ident I32Mul) => {
        $scan.extended()
    };
    ($scan:ident I64Add) => {
        $scan.extended()
    };
    ($scan:ident I64Sub) => {
        $scan.extended()
    };
    ($scan:ident I64Mul) => {
        $scan.extended()
    };
    ($scan:ident $($rest:tt)*) => {};
}

impl Scan {
    fn extended(&mut self) {
        if self.in_constant {
            self.features |= WasmFeatures::EXTENDED_CONST;
        }
    }
}

macro_rules! visit {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(
            #[inline]
            fn $visit(&mut self $($(, $arg: $argty)*)?) {
                self.features |= group!($proposal);
                self.counts.operators += 1;
                $($(let _ = &$arg;)*)?
                note!(self $op $($($arg)*)?);
            }
        )*
    };
}

impl<'a> VisitOperator<'a> for Scan {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(visit);
}

impl VisitSimdOperator<'_> for Scan {
    wasmparser::for_each_visit_simd_operator!(visit);
}
