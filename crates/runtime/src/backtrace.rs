//! Where a guest was when it failed, for people: demangled names, offsets in the artifact, lines of source where its
//! toolchain left them.
//!
//! Captured on the fault path only, from what the engine noted when the guest trapped. Names are the guest's own words:
//! they are shortened and made harmless here, once, so that a log, a terminal and a page may show them as they are.

use std::fmt;

use bytes::Bytes;
use samara_inspect::{LineTables, Place};
use samara_telemetry::sanitize;
use wasmtime::{FrameInfo, WasmBacktrace};

/// Frames kept of one backtrace; the engine captures no more of them either.
pub const MAX_FRAMES: usize = 32;
/// Characters kept of a function's or a module's name.
const MAX_NAME_CHARS: usize = 120;
/// Frames that go into a message of one line.
const FRAMES_IN_MESSAGE: usize = 8;

/// One function on a guest's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The module's name, where it has one: components have several.
    pub module: Option<String>,
    /// The function's name, demangled, or its index.
    pub function: String,
    /// The offset of the instruction in the artifact, as `samara print` and `wasm-objdump` count.
    pub offset: Option<usize>,
    /// The place in the source, if the artifact has line tables and somebody has read them.
    pub place: Option<Place>,
}

impl Frame {
    pub(crate) fn new(frame: &FrameInfo) -> Self {
        let function = frame.func_name().map_or_else(
            || format!("function {}", frame.func_index()),
            |name| harmless(&format!("{:#}", rustc_demangle::demangle(name))),
        );
        let module = frame.module().name().map(harmless);
        Self { module, function, offset: frame.module_offset(), place: None }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        self.offset.map_or(Ok(()), |offset| write!(f, "+{offset:#x}"))
    }
}

/// The stack of a guest, innermost function first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backtrace(pub Vec<Frame>);

impl Backtrace {
    /// What the engine noted in an error; `None` if no guest was running.
    pub(crate) fn of(error: &wasmtime::Error) -> Option<Self> {
        let trace = error.downcast_ref::<WasmBacktrace>()?;
        let frames: Vec<_> = trace.frames().iter().take(MAX_FRAMES).map(Frame::new).collect();
        (!frames.is_empty()).then_some(Self(frames))
    }

    /// The innermost frames in one line: `crash+0x12 < run+0x34`.
    pub(crate) fn line(&self) -> String {
        let told = self.runs().take(FRAMES_IN_MESSAGE).map(|(_, frame, times)| format!("{frame}{}", Times(times)));
        told.collect::<Vec<_>>().join(" < ")
    }

    /// Frames with their numbers, equal neighbours as one: a recursion is as long as a backtrace may be.
    fn runs(&self) -> impl Iterator<Item = (usize, &Frame, usize)> {
        let mut number = 0;
        self.0.chunk_by(PartialEq::eq).filter_map(move |run| {
            let first = number;
            number += run.len();
            run.first().map(|frame| (first, frame, run.len()))
        })
    }
}

/// One frame a line, numbered, with its place under it.
impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, frame, times) in self.runs() {
            let Frame { module, function, offset, place } = frame;
            write!(f, "{number:>4}: {function}")?;
            match (module, offset) {
                (Some(module), Some(offset)) => write!(f, "  {module}+{offset:#x}")?,
                (None, Some(offset)) => write!(f, "  +{offset:#x}")?,
                (Some(module), None) => write!(f, "  {module}")?,
                (None, None) => {}
            }
            writeln!(f, "{}", Times(times))?;
            if let Some(place) = place {
                writeln!(f, "        at {}", sanitize(&place.to_string()))?;
            }
        }
        Ok(())
    }
}

struct Times(usize);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 1 { write!(f, " ({} times)", self.0) } else { Ok(()) }
    }
}

fn harmless(name: &str) -> String {
    let end = name.char_indices().nth(MAX_NAME_CHARS);
    let mark = if end.is_some() { "…" } else { "" };
    let kept = end.and_then(|(end, _)| name.get(..end)).unwrap_or(name);
    format!("{}{mark}", sanitize(kept))
}

/// The line tables of an artifact, and the artifact, which is kept only where it has some.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    wasm: Bytes,
    tables: LineTables,
}

impl Source {
    pub(crate) fn find(wasm: &Bytes) -> Option<Self> {
        LineTables::find(wasm).map(|tables| Self { wasm: wasm.clone(), tables })
    }

    /// Adds the places to the frames. Reads debug sections: not for a guest's thread.
    pub(crate) fn tell(&self, backtrace: &mut Backtrace) {
        let offsets: Vec<_> = backtrace.0.iter().map(|frame| frame.offset.unwrap_or(0)).collect();
        for (frame, place) in backtrace.0.iter_mut().zip(self.tables.places(&self.wasm, &offsets)) {
            frame.place = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_are_short_and_harmless() {
        assert_eq!(harmless("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(harmless(&"é".repeat(500)).chars().count(), MAX_NAME_CHARS + 1);
    }

    #[test]
    fn a_recursion_is_told_once() {
        let frame = |function: &str| Frame { module: None, function: function.into(), offset: None, place: None };
        let backtrace = Backtrace(vec![frame("leaf"), frame("deeper"), frame("deeper"), frame("run")]);
        assert_eq!(backtrace.line(), "leaf < deeper (2 times) < run");
        assert_eq!(backtrace.to_string(), "   0: leaf\n   1: deeper (2 times)\n   3: run\n");
    }

    #[test]
    fn a_backtrace_has_a_line_a_frame_and_the_place_below() {
        let frame = |function: &str, place| Frame {
            module: Some("shop.wasm".into()),
            function: function.into(),
            offset: Some(0x12),
            place,
        };
        let place = Place { file: "src/\u{1b}lib.rs".into(), line: Some(7) };
        let backtrace = Backtrace(vec![frame("crash", Some(place)), frame("run", None)]);
        assert_eq!(backtrace.line(), "crash+0x12 < run+0x12");
        assert_eq!(
            backtrace.to_string(),
            "   0: crash  shop.wasm+0x12\n        at src/\\u{1b}lib.rs:7\n   1: run  shop.wasm+0x12\n"
        );
    }
}
