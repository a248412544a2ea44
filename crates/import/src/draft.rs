//! The app that an import makes, before it is text.
//!
//! Everything keeps where in the input it came from, so that what the native manifest does not take can be told there.

use std::{collections::BTreeMap, fmt};

use samara_model::manifest::Position;

use crate::document::{Item, Table};

/// Where in the input something came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) at: Position,
    pub(crate) key: String,
}

impl From<&Item<'_>> for Origin {
    fn from(item: &Item<'_>) -> Self {
        Self { at: item.at(), key: item.path().to_owned() }
    }
}

impl From<&Table<'_>> for Origin {
    fn from(table: &Table<'_>) -> Self {
        Self { at: table.at, key: table.path().to_owned() }
    }
}

/// An app.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) version: Option<(String, Origin)>,
    /// Lines at the top, for people.
    pub(crate) comments: Vec<String>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) stores: Vec<Store>,
    pub(crate) triggers: Vec<Trigger>,
}

/// `[workload.NAME]`.
#[derive(Debug, Default)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) comments: Vec<String>,
    pub(crate) source: String,
    pub(crate) args: Vec<String>,
    pub(crate) grants: Grants,
    /// Keys of `limits` and their values as they are written.
    pub(crate) limits: Vec<(&'static str, String)>,
}

/// `[workload.NAME.grants]`.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    pub(crate) kv: Vec<String>,
    pub(crate) blob: Vec<String>,
    pub(crate) sql: Vec<String>,
    /// By the store that each bus is.
    pub(crate) messaging: BTreeMap<String, Bus>,
    pub(crate) http: Vec<String>,
    /// Whether origins may be of private networks.
    pub(crate) http_private: bool,
    pub(crate) fs: Vec<Folder>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) config: Vec<(String, String)>,
    pub(crate) secrets: Vec<(String, String)>,
    /// Addresses to connect to.
    pub(crate) connect: Vec<String>,
}

/// A grant of one bus.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bus {
    pub(crate) publish: Vec<String>,
    pub(crate) subscribe: Vec<String>,
}

/// A granted folder, to be read.
#[derive(Debug, PartialEq)]
pub(crate) struct Folder {
    pub(crate) host: String,
    pub(crate) guest: String,
    pub(crate) write: bool,
}

impl Grants {
    /// Adds a text to a list once.
    pub(crate) fn add(list: &mut Vec<String>, text: &str) {
        if !list.iter().any(|there| there == text) {
            list.push(text.to_owned());
        }
    }

    /// The grant of a bus, made if it is not there.
    pub(crate) fn bus(&mut self, store: &str) -> &mut Bus {
        self.messaging.entry(store.to_owned()).or_default()
    }
}

/// `[store.NAME]`.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) comments: Vec<String>,
    pub(crate) provider: String,
    pub(crate) settings: Vec<(String, String)>,
}

/// `[[trigger]]`.
#[derive(Debug)]
pub(crate) struct Trigger {
    pub(crate) origin: Origin,
    pub(crate) starts: Starts,
    /// The workload, or what is answered without one.
    pub(crate) target: Target,
    /// Why it is written as a comment; it has been noted.
    pub(crate) held_back: Option<String>,
}

/// Who answers a trigger.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    Workload(String),
    Reply { status: u16, headers: Vec<(String, String)>, body: String },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(name) => f.write_str(name),
            Self::Reply { status, .. } => write!(f, "reply with {status}"),
        }
    }
}

/// What starts a workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Starts {
    #[default]
    Nothing,
    Http {
        host: Option<String>,
        methods: Vec<&'static str>,
        path: String,
    },
    /// A duration.
    Every(String),
    /// A cron expression.
    Cron(String),
    /// Messages of a subject, on the bus of the workload's grant.
    Subject {
        subject: String,
        store: String,
    },
}

impl Draft {
    pub(crate) fn workload(&mut self, name: &str) -> Option<&mut Workload> {
        self.workloads.iter_mut().find(|workload| workload.name == name)
    }

    /// Adds a store if none of that name is there.
    pub(crate) fn add_store(&mut self, store: Store) {
        if !self.stores.iter().any(|there| there.name == store.name) {
            self.stores.push(store);
        }
    }
}
