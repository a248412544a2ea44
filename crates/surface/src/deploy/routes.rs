//! The routes of every app as one table, with the weights of versions that share an app's requests.

use std::{collections::HashSet, sync::Arc};

use http::Method;
use samara_model::{
    AppId, Pattern, RouteTable,
    manifest::{App, Trigger},
};

use super::{Refused, Rollout, Version};
use crate::gateway::{Answering, Backing, Destination, Shared};

/// One route of a version, and where it leads.
#[derive(Clone, Debug)]
pub struct VersionRoute {
    /// The host; `None` is any.
    pub host: Option<String>,
    /// The methods; empty is any.
    pub methods: Vec<Method>,
    /// The pattern of the path.
    pub path: Pattern,
    /// Where the requests go.
    pub destination: Destination,
    /// Where the route is written.
    pub origin: Arc<str>,
}

/// Where a trigger is written, and whose it is.
pub(super) fn origin(app: &App, line: u32) -> Arc<str> {
    format!("{} (app {}/{})", super::load::place(app, line), app.tenant, app.name).into()
}

/// Refuses an app whose routes another one has, before anything of it is loaded.
///
/// # Errors
/// The conflict, naming both.
pub(super) fn check<'a>(app: &App, others: impl IntoIterator<Item = &'a Version>) -> Result<(), Refused> {
    let mut table = RouteTable::new();
    for other in others {
        for route in &other.routes {
            // Versions of one app share their routes; nobody else's are twice in the table.
            drop(table.insert(route.host.as_deref(), &route.methods, &route.path, Arc::clone(&route.origin)));
        }
    }
    for trigger in &app.triggers {
        let Trigger::Http { host, methods, path, line, .. } = trigger;
        let origin = origin(app, *line);
        table
            .insert(host.as_deref(), methods, path, Arc::clone(&origin))
            .map_err(|conflict| refuse(&origin, &conflict, &conflict.existing.value))?;
    }
    Ok(())
}

/// Adds the routes of an app to the table, for the versions that have a weight; the calls of one on trial are measured.
///
/// # Errors
/// The conflict, naming both. The table is of no use any more.
pub(super) fn add(
    table: &mut RouteTable<Backing>,
    app: &AppId,
    active: &[(u32, &Version)],
    trial: Option<&Rollout>,
) -> Result<(), Refused> {
    let target = |version: &Version, destination: &Destination| match trial {
        Some(trial) if trial.revision == version.revision => trial.measured(destination),
        _ => destination.clone(),
    };
    if let [(_, version)] = active {
        for route in &version.routes {
            let answering = Answering::One(target(version, &route.destination));
            let backing = Backing { answering, origin: Arc::clone(&route.origin) };
            insert(table, route.host.as_deref(), &route.methods, &route.path, backing)?;
        }
        return Ok(());
    }
    // Versions may differ in their routes: each host, path and method is divided among those that have it.
    let mut done: HashSet<(Option<&str>, &str, Option<&Method>)> = HashSet::new();
    for route in active.iter().flat_map(|(_, version)| &version.routes) {
        for method in each_method(&route.methods) {
            let key = (route.host.as_deref(), &route.path, method);
            if !done.insert((key.0, key.1.as_str(), method)) {
                continue;
            }
            let has = |(weight, version): &(u32, &Version)| {
                let destination = version.destination(key)?;
                Some((*weight, target(version, destination)))
            };
            let Some(shared) = Shared::new(active.iter().filter_map(has)) else { continue };
            let backing = Backing { answering: Answering::Shared(Arc::new(shared)), origin: Arc::clone(&route.origin) };
            insert(table, key.0, method.map_or(&[], std::slice::from_ref), key.1, backing).map_err(|refused| {
                Refused::Conflict(format!("the versions of `{app}` cannot share its requests: {refused}"))
            })?;
        }
    }
    Ok(())
}

fn each_method(methods: &[Method]) -> Vec<Option<&Method>> {
    if methods.is_empty() { vec![None] } else { methods.iter().map(Some).collect() }
}

impl Version {
    /// Where this version sends what one host, path and method stand for.
    fn destination(&self, (host, path, method): (Option<&str>, &Pattern, Option<&Method>)) -> Option<&Destination> {
        let place = || self.routes.iter().filter(|route| route.host.as_deref() == host && route.path == *path);
        let named = |method: &Method| place().find(|route| route.methods.contains(method));
        let any = || place().find(|route| route.methods.is_empty());
        let found = match method {
            None => any(),
            Some(&Method::HEAD) => named(&Method::HEAD).or_else(|| named(&Method::GET)).or_else(any),
            Some(method) => named(method).or_else(any),
        };
        found.map(|route| &route.destination)
    }
}

fn insert(
    table: &mut RouteTable<Backing>,
    host: Option<&str>,
    methods: &[Method],
    path: &Pattern,
    backing: Backing,
) -> Result<(), Refused> {
    let origin = Arc::clone(&backing.origin);
    table
        .insert(host, methods, path, backing)
        .map_err(|conflict| refuse(&origin, &conflict, &conflict.existing.value.origin))
}

fn refuse(origin: &str, conflict: &dyn std::fmt::Display, existing: &str) -> Refused {
    Refused::Conflict(format!("{origin}: {conflict}, at {existing}; change the host, the method or the path of one"))
}
