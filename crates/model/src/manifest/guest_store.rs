//! Stores that are workloads of the app themselves: `provider = "workload:NAME"`.

use super::{EventTrigger, Store, Trigger, Workload, guest_of};

/// The parts of a manifest that a store of the kind depends on.
pub(super) struct Around<'a> {
    pub(super) stores: &'a [Store],
    pub(super) workloads: &'a [Workload],
    pub(super) triggers: &'a [Trigger],
    pub(super) events: &'a [EventTrigger],
}

impl Around<'_> {
    /// Refuses a store whose workload cannot be one.
    pub(super) fn check(&self, store: &Store) -> Result<(), String> {
        let Some(name) = guest_of(&store.provider) else { return Ok(()) };
        if !self.workloads.iter().any(|workload| workload.name == name) {
            return Err(format!(
                "there is no workload `{name}` that could be this store; `[workload.{name}]` would be one"
            ));
        }
        if self.triggers.iter().any(|trigger| trigger.is_for(name))
            || self.events.iter().any(|event| event.target == name)
        {
            return Err(format!(
                "workload `{name}` is this store, and a trigger starts it too; name the same source in a workload of its own"
            ));
        }
        match self.way_back(name, name, self.workloads.len()) {
            Some(by) => Err(format!(
                "workload `{name}` is this store, and uses it itself by its store `{by}`; give it a store that leads elsewhere"
            )),
            None => Ok(()),
        }
    }

    /// By which of its stores a workload leads to `to`, over at most so many others.
    fn way_back(&self, from: &str, to: &str, others: usize) -> Option<&str> {
        let workload = self.workloads.iter().find(|workload| workload.name == from)?;
        let used = workload.grants.kv.keys();
        let mut used = used.filter_map(|name| self.stores.iter().find(|store| store.name == *name));
        let leads = |store: &&Store| {
            let next = guest_of(&store.provider);
            next.is_some_and(|next| {
                next == to || others.checked_sub(1).is_some_and(|others| self.way_back(next, to, others).is_some())
            })
        };
        used.find(leads).map(|store| store.name.as_str())
    }
}
