//! Listens to the `tracing` spans and events of the engine's bindings, for one call, and tells each crossing once.
//!
//! Source: `wasmtime-internal-wit-bindgen` and `wiggle-generate` 48.0.8. Both open a span for a call of the guest, with
//! the fields `module` and `function`, and inside it send an event with the arguments and one with the result. A preview
//! 1 function without parameters has no event for its arguments.

use std::{
    collections::HashMap,
    fmt::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::Interest,
};

use super::{CallTrace, MAX_TRACE_LINES, TARGET, Values, text};

/// The span of an imported function of a component.
const COMPONENT_IMPORT: &str = "wit-bindgen import";
/// The span of an imported function of a preview 1 module.
const PREVIEW_1_IMPORT: &str = "wiggle abi";

/// The subscriber of one call.
pub(super) struct Recorder {
    trace: CallTrace,
    call: u64,
    outer: Dispatch,
    ids: AtomicU64,
    state: Mutex<State>,
}

/// What is under way.
#[derive(Default)]
struct State {
    imports: HashMap<u64, Import>,
    /// Spans the running thread is inside of, innermost last.
    entered: Vec<u64>,
    /// The import whose call was told last: its answer needs no name.
    last_called: Option<u64>,
    lines: u64,
}

/// A call of the guest that has not ended.
struct Import {
    name: String,
    target: &'static str,
    told: Told,
}

/// How much of a crossing was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Call,
    Answer,
}

impl Recorder {
    pub(super) fn new(trace: CallTrace, call: u64, outer: Dispatch) -> Self {
        Self { trace, call, outer, ids: AtomicU64::new(1), state: Mutex::default() }
    }

    fn tell(&self, state: &mut State, line: &str) {
        state.lines += 1;
        match state.lines {
            ..=MAX_TRACE_LINES => (self.trace.sink)(self.call, &text::line(line)),
            lines if lines == MAX_TRACE_LINES + 1 => {
                (self.trace.sink)(self.call, &format!("... a trace ends after {MAX_TRACE_LINES} lines"));
            }
            _ => {}
        }
    }

    fn tell_call(&self, state: &mut State, id: u64, arguments: &str) {
        let Some(import) = state.imports.get_mut(&id).filter(|import| import.told == Told::Nothing) else { return };
        import.told = Told::Call;
        let masked = self.trace.values == Values::Masked && text::arguments_vary(&import.name);
        let arguments = if masked { "_" } else { arguments };
        let line = format!("==> {}({arguments})", import.name);
        state.last_called = Some(id);
        self.tell(state, &line);
    }

    fn tell_answer(&self, state: &mut State, id: u64, result: &str) {
        self.tell_call(state, id, "");
        let Some(import) = state.imports.get_mut(&id).filter(|import| import.told == Told::Call) else { return };
        import.told = Told::Answer;
        let masked = self.trace.values == Values::Masked && text::answer_varies(&import.name);
        let result = if masked { "_" } else { result };
        // Calls of 0.3 guests overlap, and then an answer needs the name of its call.
        let line = if state.last_called == Some(id) {
            format!("<== {result}")
        } else {
            format!("<== {}: {result}", import.name)
        };
        self.tell(state, &line);
    }
}

/// Whether a span is a call of the guest.
fn is_import(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && matches!(metadata.name(), COMPONENT_IMPORT | PREVIEW_1_IMPORT)
}

impl Subscriber for Recorder {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Others may listen too, and they change: each is asked.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            // Spans of others are not passed on: an identifier belongs to the subscriber that gave it.
            return is_import(metadata);
        }
        *metadata.level() == Level::TRACE || self.outer.enabled(metadata)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let metadata = attributes.metadata();
        if is_import(metadata) {
            let mut name = Name::default();
            attributes.record(&mut name);
            let name = text::import_name(metadata.target(), &name.module, &name.function);
            let import = Import { name, target: metadata.target(), told: Told::Nothing };
            self.state.lock().imports.insert(id, import);
        }
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if metadata.target() == TARGET {
            let mut message = Message::default();
            event.record(&mut message);
            self.tell(&mut self.state.lock(), &message.0);
            return;
        }
        // An event of the bindings: of their level, and from the module that the innermost import is of.
        let inside = {
            let state = self.state.lock();
            let import = state.entered.last().and_then(|id| Some((*id, state.imports.get(id)?)));
            import
                .filter(|(_, import)| *metadata.level() == Level::TRACE && import.target == metadata.target())
                .map(|(id, import)| (id, Fields::new(import.name.clone(), self.trace.values)))
        };
        let Some((id, mut fields)) = inside else {
            if self.outer.enabled(metadata) {
                self.outer.event(event);
            }
            return;
        };
        event.record(&mut fields);
        let mut state = self.state.lock();
        // Preview 1's events have no message, and its results no other field.
        match (fields.message.as_str(), fields.result) {
            ("return" | "", Some(result)) => self.tell_answer(&mut state, id, &result),
            _ => self.tell_call(&mut state, id, &fields.arguments),
        }
    }

    fn enter(&self, id: &Id) {
        self.state.lock().entered.push(id.into_u64());
    }

    fn exit(&self, id: &Id) {
        let mut state = self.state.lock();
        if let Some(position) = state.entered.iter().rposition(|entered| *entered == id.into_u64()) {
            state.entered.remove(position);
        }
    }

    fn try_close(&self, id: Id) -> bool {
        let id = id.into_u64();
        let mut state = self.state.lock();
        if state.imports.get(&id).is_some_and(|import| import.told != Told::Answer) {
            // Its arguments were refused before it was called, or the guest was stopped while it waited.
            self.tell_answer(&mut state, id, "no answer");
        }
        state.imports.remove(&id);
        true
    }
}

/// The message of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// The fields of an import's span.
#[derive(Default)]
struct Name {
    module: String,
    function: String,
}

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "module" => value.clone_into(&mut self.module),
            "function" => value.clone_into(&mut self.function),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The fields of an import's event.
struct Fields {
    import: String,
    values: Values,
    message: String,
    /// `name: value, ..`
    arguments: String,
    result: Option<String>,
}

impl Fields {
    fn new(import: String, values: Values) -> Self {
        Self { import, values, message: String::new(), arguments: String::new(), result: None }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = text::value(value, self.values);
        match field.name() {
            "message" => self.message = value,
            "result" => self.result = Some(value),
            name => {
                let comma = if self.arguments.is_empty() { "" } else { ", " };
                let name = text::parameter(&self.import, name);
                // Writing into a String does not fail.
                write!(self.arguments, "{comma}{name}: {value}").ok();
            }
        }
    }
}
