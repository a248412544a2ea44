//! What a guest exports, found once, and typed for each instance.

use samara_model::Fault;
use samara_runtime::Guest;
use wasmtime::{
    StoreContextMut,
    component::{Component, ComponentExportIndex, ComponentType, Instance, Lift, ResourceAny, TypedFunc},
};

use super::{ATOMICS, STORE};

/// The guest's own word for what went wrong.
#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

/// A page of keys, with the cursor of a revision.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Page<C> {
    pub(super) keys: Vec<String>,
    pub(super) cursor: Option<C>,
}

/// Why a value was not written.
#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum CasError {
    #[component(name = "store-error")]
    Store(Error),
    #[component(name = "cas-failed")]
    Differs(ResourceAny),
}

type Func<P, R, E = Error> = TypedFunc<P, (Result<R, E>,)>;

/// Where the functions are in a component.
pub(super) struct Exports {
    open: ComponentExportIndex,
    get: ComponentExportIndex,
    set: ComponentExportIndex,
    delete: ComponentExportIndex,
    exists: ComponentExportIndex,
    list_keys: ComponentExportIndex,
    increment: Option<ComponentExportIndex>,
    cas: Option<[ComponentExportIndex; 3]>,
    /// 0.2.0-draft, where numbers are unsigned and cursors are numbers.
    unsigned: bool,
}

/// The functions of one instance.
pub(super) struct Functions {
    pub(super) open: Func<(String,), ResourceAny>,
    pub(super) get: Func<(ResourceAny, String), Option<Vec<u8>>>,
    pub(super) set: Func<(ResourceAny, String, Vec<u8>), ()>,
    pub(super) delete: Func<(ResourceAny, String), ()>,
    pub(super) exists: Func<(ResourceAny, String), bool>,
    pub(super) list_keys: ListKeys,
    pub(super) increment: Option<Increment>,
    pub(super) cas: Option<Cas>,
}

/// `list-keys` of a revision.
pub(super) enum ListKeys {
    Numbers(Func<(ResourceAny, Option<u64>), Page<u64>>),
    Texts(Func<(ResourceAny, Option<String>), Page<String>>),
}

/// `increment` of a revision.
pub(super) enum Increment {
    Unsigned(Func<(ResourceAny, String, u64), u64>),
    Signed(Func<(ResourceAny, String, i64), i64>),
}

/// Compare-and-swap.
pub(super) struct Cas {
    pub(super) new: Func<(ResourceAny, String), ResourceAny>,
    pub(super) current: Func<(ResourceAny,), Option<Vec<u8>>>,
    pub(super) swap: Func<(ResourceAny, Vec<u8>), (), CasError>,
}

impl Exports {
    /// Finds the functions of one version.
    pub(super) fn find(component: &Component, version: &str) -> Result<Self, Fault> {
        let unsigned = match version {
            "0.2.0-draft" => true,
            "0.2.0-draft2" => false,
            other => {
                return Err(Fault::Config(format!(
                    "it exports `{STORE}@{other}`; this host speaks 0.2.0-draft and 0.2.0-draft2"
                )));
            }
        };
        let store = format!("{STORE}@{version}");
        let parent = component.get_export_index(None, &store);
        let function = |name: &str| {
            let found = parent.as_ref().and_then(|parent| component.get_export_index(Some(parent), name));
            found.ok_or_else(|| Fault::Config(format!("its `{store}` has no `{name}`")))
        };
        let atomics = component.get_export_index(None, format!("{ATOMICS}@{version}"));
        let atomic = |name: &str| component.get_export_index(Some(atomics.as_ref()?), name);
        let cas = || Some([atomic("[static]cas.new")?, atomic("[method]cas.current")?, atomic("swap")?]);
        Ok(Self {
            open: function("open")?,
            get: function("[method]bucket.get")?,
            set: function("[method]bucket.set")?,
            delete: function("[method]bucket.delete")?,
            exists: function("[method]bucket.exists")?,
            list_keys: function("[method]bucket.list-keys")?,
            increment: atomic("increment"),
            cas: cas(),
            unsigned,
        })
    }

    /// The functions of an instance, each checked against its type.
    pub(super) fn of(
        &self,
        instance: &Instance,
        mut store: StoreContextMut<'_, Guest>,
    ) -> wasmtime::Result<Functions> {
        macro_rules! typed {
            ($index:expr) => {
                instance.get_typed_func(&mut store, $index)?
            };
        }
        let list_keys =
            if self.unsigned { ListKeys::Numbers(typed!(&self.list_keys)) } else { ListKeys::Texts(typed!(&self.list_keys)) };
        let increment = match &self.increment {
            None => None,
            Some(index) if self.unsigned => Some(Increment::Unsigned(typed!(index))),
            Some(index) => Some(Increment::Signed(typed!(index))),
        };
        let cas = match &self.cas {
            None => None,
            Some([new, current, swap]) => Some(Cas { new: typed!(new), current: typed!(current), swap: typed!(swap) }),
        };
        Ok(Functions {
            open: typed!(&self.open),
            get: typed!(&self.get),
            set: typed!(&self.set),
            delete: typed!(&self.delete),
            exists: typed!(&self.exists),
            list_keys,
            increment,
            cas,
        })
    }
}
