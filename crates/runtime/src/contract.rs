//! The seam between the engine and a guest ABI: what every folder of the `contract` crate implements.

use std::{any::Any, fmt, sync::Arc};

use async_trait::async_trait;
use samara_inspect::{Module, Need};
use samara_model::{Call, Fault, Reply, Shape};
use tokio::sync::oneshot;
use wasmtime::Store;

use crate::{Code, CodeKind, Guest};

/// How sure a contract is that a module was built for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// It could be used this way, though nothing says that it was meant so.
    Possible,
    /// It has what this ABI needs.
    Likely,
    /// It has a marker that only this ABI has.
    Certain,
}

impl Confidence {
    /// The word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

/// One shape of call that a contract can answer with a module, and why it thinks so.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The shape.
    pub shape: Shape,
    /// How sure.
    pub confidence: Confidence,
    /// The evidence, for people: ``exports `wasi:http/incoming-handler@0.2.9` ``.
    pub why: String,
}

/// A linker of the kind that the module needs, on the engine it will run on.
pub enum LinkTarget<'a> {
    /// For core modules.
    Module(&'a mut wasmtime::Linker<Guest>),
    /// For components.
    Component {
        /// The linker; shadowing is allowed, so that shared worlds can be linked twice.
        linker: &'a mut wasmtime::component::Linker<Guest>,
        /// Whether the engine has component concurrency: WASI 0.3 imports link only there.
        concurrency: bool,
    },
}

impl fmt::Debug for LinkTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(_) => f.write_str("LinkTarget::Module"),
            Self::Component { concurrency, .. } => write!(f, "LinkTarget::Component {{ concurrency: {concurrency} }}"),
        }
    }
}

/// A module linked against everything its contract provides, before its first instance. Clones share what they hold.
#[derive(Clone)]
pub enum Linked {
    /// A core module.
    Module(wasmtime::InstancePre<Guest>),
    /// A component.
    Component(wasmtime::component::InstancePre<Guest>),
}

impl fmt::Debug for Linked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Module(_) => "Linked::Module",
            Self::Component(_) => "Linked::Component",
        })
    }
}

/// What `prepare` gets: everything about one version of one workload.
#[derive(Debug)]
pub struct Loaded<'a> {
    /// What can be read in the artifact.
    pub module: &'a Module,
    /// Its compiled code.
    pub code: &'a Code,
    /// Its imports, resolved.
    pub linked: Linked,
    /// The shape of the calls that will come.
    pub shape: Shape,
    /// The workload's opaque `settings` table, as JSON.
    pub settings: &'a serde_json::Value,
}

/// A guest ABI. Stateless and `'static`; listed once, in the table of the `contract` crate.
#[async_trait]
pub trait Contract: Send + Sync + 'static {
    /// The name used in manifests, logs and metric labels.
    fn name(&self) -> &'static str;

    /// Where the ABI's facts come from.
    fn spec_url(&self) -> &'static str;

    /// The shapes it can answer with some module.
    fn shapes(&self) -> &'static [Shape];

    /// The shapes it can answer with this module; empty if it was built for another ABI. Called for every module that
    /// is inspected or loaded; reads facts only.
    fn fit(&self, module: &Module) -> Vec<Fit>;

    /// What the module needs of the host. The default reads the imports; an ABI that multiplexes one import over many
    /// capabilities knows better.
    fn needs(&self, module: &Module) -> Vec<Need> {
        samara_inspect::needs(module)
    }

    /// The engine this module needs.
    fn code_kind(&self, _module: &Module) -> CodeKind {
        CodeKind::default()
    }

    /// Defines everything guests of this ABI may import. Called once per engine and kind of module, at the first load.
    ///
    /// # Errors
    /// A definition is refused by the linker: a mistake of ours.
    fn link(&self, target: LinkTarget<'_>) -> wasmtime::Result<()>;

    /// Makes one version of a workload ready to be called: finds exports, keeps typed handles. Called once per version;
    /// no guest code runs here.
    ///
    /// # Errors
    /// The module lacks an export of the ABI, or the settings do not fit: a `Fault::Config` that names the fix.
    async fn prepare(&self, loaded: Loaded<'_>) -> Result<Arc<dyn Ready>, Fault>;
}

impl fmt::Debug for dyn Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contract({})", self.name())
    }
}

/// A version of a workload, ready to be called, shared by all its calls.
#[async_trait]
pub trait Ready: Send + Sync + 'static {
    /// The contract's own state of one call, reached in host functions through [`Guest::abi`]. Must be cheap.
    fn open(&self, _call: &Call) -> Box<dyn Any + Send> {
        Box::new(())
    }

    /// Answers one call. The reply is sent through `reply` as soon as its head exists; `serve` returns when the guest,
    /// and the body it produces, have ended. Dropping the future kills the guest.
    ///
    /// # Errors
    /// A fault before the reply's head is what the caller sees; one after it resets the stream.
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure>;
}

impl fmt::Debug for dyn Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}

/// Why `serve` failed: told by the engine (the runtime finds out whose fault it was), or known by the contract.
#[derive(Debug)]
pub enum Failure {
    /// A trap, a refused growth, an interrupted guest: the runtime reads the meters and decides.
    Engine(wasmtime::Error),
    /// The contract knows.
    Fault(Fault),
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What becomes of the instance after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It may serve another call, if the workload allows reuse.
    Keep,
    /// It is spent.
    Discard,
}

/// Makes an instance: contracts await their instantiation through this, so that a call's trace shows its time.
pub async fn instantiating<T>(instantiation: impl Future<Output = T>) -> T {
    let _span = samara_telemetry::span("instantiate");
    instantiation.await
}

/// One live guest: its store, and what its contract keeps of the instance between calls.
pub struct Live {
    /// The store; its data is the [`Guest`].
    pub store: Store<Guest>,
    /// The contract's own typed handle of the instance; `None` until the first call instantiated it.
    pub instance: Option<Box<dyn Any + Send>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("instantiated", &self.instance.is_some()).finish_non_exhaustive()
    }
}

/// Takes the one reply of a call.
#[derive(Debug)]
pub struct ReplyTo(pub(crate) oneshot::Sender<Result<Reply, Fault>>);

impl ReplyTo {
    /// Sends the reply. Whoever asked may be gone, which is not an error here: the runtime is about to drop the guest.
    pub fn send(self, reply: Reply) {
        drop(self.0.send(Ok(reply)));
    }

    /// Sends a fault that the guest survives (`serve` goes on): a bad response head, say.
    pub fn fail(self, fault: Fault) {
        drop(self.0.send(Err(fault)));
    }
}
