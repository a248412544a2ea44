//! `[[trigger]]` without a client: times, subjects of a bus, changes of a store.

use std::time::Duration;

use super::reader::{Item, Reader};
use crate::{Capability, DEFAULT_BUS, SubjectPattern, check_subject, parse_duration};

/// What starts a workload without being asked by a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTrigger {
    /// What it is that happens.
    pub starts: Starts,
    /// The name of the workload.
    pub target: String,
    /// The export or operation to call, where the workload is called as a function.
    pub operation: Option<String>,
    /// The line of its header.
    pub line: u32,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starts {
    /// So much time has passed.
    Every {
        /// How much.
        interval: Duration,
        /// What happens while a run is under way.
        overlap: Overlap,
    },
    /// It is time by the calendar.
    Cron {
        /// The expression, unread: whoever keeps the clock says whether it is one.
        expression: String,
        /// A name of the time-zone database; `None` is UTC.
        time_zone: Option<String>,
        /// What happens while a run is under way.
        overlap: Overlap,
    },
    /// A message is published.
    Subject {
        /// To which subjects.
        pattern: SubjectPattern,
        /// The bus, by the manifest's name.
        store: String,
        /// Who shares the messages; `None` is this host alone.
        group: Option<String>,
        /// Whether the bus keeps a message until it is handled.
        acknowledge: bool,
        /// Messages handled at once.
        concurrency: u32,
        /// How often a message is tried; `None` leaves it to the host.
        tries: Option<u32>,
        /// The subject of messages that are given up.
        dead_letter: Option<String>,
    },
    /// A key-value store changes.
    Watch {
        /// The store, by the manifest's name.
        store: String,
        /// What the keys begin with.
        prefix: String,
    },
}

/// What happens when a run is due while the one before is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It waits.
    Queue,
    /// Up to so many run at once.
    Allow(u32),
}

impl EventTrigger {
    /// The store it needs, and as what.
    pub fn store(&self) -> Option<(Capability, &str)> {
        match &self.starts {
            Starts::Subject { store, .. } => Some((Capability::Messaging, store)),
            Starts::Watch { store, .. } => Some((Capability::Kv, store)),
            Starts::Every { .. } | Starts::Cron { .. } => None,
        }
    }
}

/// What a `[[trigger]]` says of events.
pub(super) struct Read<'a> {
    pub(super) starts: Option<Starts>,
    /// The keys of kinds of triggers that are there.
    pub(super) kinds: Vec<Item<'a>>,
    /// A store that it names, to be looked up among those declared.
    pub(super) store: Option<(String, Item<'a>)>,
}

/// Takes the keys of events from a `[[trigger]]`.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Read<'a> {
    let mut read = Read { starts: None, kinds: Vec::new(), store: None };
    if let Some(item) = reader.take("every") {
        let overlap = overlap(reader);
        let interval = item.quantity(parse_duration);
        read.starts = interval.map(|interval| Starts::Every { interval, overlap });
        read.kinds.push(item);
    }
    if let Some(item) = reader.take("cron") {
        let overlap = overlap(reader);
        let time_zone = reader.take("time_zone").and_then(|item| item.text("Europe/Berlin")).map(str::to_owned);
        let expression = item.text("0 3 * * *").map(str::to_owned);
        read.starts = expression.map(|expression| Starts::Cron { expression, time_zone, overlap });
        read.kinds.push(item);
    }
    if let Some(item) = reader.take("subject") {
        read.starts = subject(reader, &item, &mut read.store);
        read.kinds.push(item);
    }
    if let Some(item) = reader.take("watch") {
        read.starts = watch(&item, &mut read.store);
        read.kinds.push(item);
    }
    read
}

fn overlap(reader: &mut Reader<'_>) -> Overlap {
    let Some(item) = reader.take("overlap") else { return Overlap::default() };
    if !item.is_text() {
        return item.number().map(Overlap::Allow).unwrap_or_default();
    }
    let read = item.parse("skip", |text| match text {
        "skip" => Ok(Overlap::Skip),
        "queue" => Ok(Overlap::Queue),
        other => Err(format!("`{other}` is no overlap; write `skip`, `queue`, or how many may run at once")),
    });
    read.unwrap_or_default()
}

fn subject<'a>(reader: &mut Reader<'a>, item: &Item<'a>, declared: &mut Option<(String, Item<'a>)>) -> Option<Starts> {
    let pattern = item.parse("orders.created", str::parse::<SubjectPattern>);
    let store = reader.take("store");
    let group = reader.take("group").and_then(|item| item.text("workers")).map(str::to_owned);
    let acknowledge = reader.take("acknowledge").and_then(|item| item.boolean()).unwrap_or_default();
    let concurrency = reader.take("concurrency").and_then(|item| item.number()).unwrap_or(1);
    let tries = reader.take("tries").and_then(|item| item.number());
    let dead = |text: &str| check_subject(text).map(|()| text.to_owned());
    let dead_letter = reader.take("dead_letter").and_then(|item| item.parse("orders.dead", dead));
    let name = match store {
        Some(item) => {
            let name = item.text("bus")?.to_owned();
            if name != DEFAULT_BUS {
                *declared = Some((name.clone(), item));
            }
            name
        }
        None => DEFAULT_BUS.to_owned(),
    };
    Some(Starts::Subject { pattern: pattern?, store: name, group, acknowledge, concurrency, tries, dead_letter })
}

/// `"carts"` or `{ store = "carts", prefix = "eu/" }`.
fn watch<'a>(item: &Item<'a>, declared: &mut Option<(String, Item<'a>)>) -> Option<Starts> {
    if item.is_text() {
        let store = item.text("carts")?.to_owned();
        *declared = Some((store.clone(), item.clone()));
        return Some(Starts::Watch { store, prefix: String::new() });
    }
    let mut reader = item.table("watch", "watch = { store = \"carts\", prefix = \"eu/\" }")?;
    let store = reader.require("store", "store = \"carts\"");
    let prefix = reader.take("prefix").and_then(|item| item.any_text("eu/")).unwrap_or_default().to_owned();
    reader.finish();
    let item = store?;
    let store = item.text("carts")?.to_owned();
    *declared = Some((store.clone(), item));
    Some(Starts::Watch { store, prefix })
}
