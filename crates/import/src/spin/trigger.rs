//! Triggers: routes, channels, schedules.

use super::{Reading, stores, variables::Resolved};
use crate::{
    document::{Item, Table},
    draft::{Origin, Starts, Target, Trigger},
    note::Severity,
};

/// What Spin gives a command for arguments when a manifest does not say, and where it begins.
const WAGI_ARGV: &str = "${SCRIPT_NAME} ${ARGS}";
const WAGI_ENTRYPOINT: &str = "_start";

/// Kinds of triggers that plugins of Spin bring and that are not served, with what may be done.
const OTHER_KINDS: &[(&str, &str)] = &[
    ("mqtt", "there is no provider for brokers of MQTT"),
    ("sqs", "there is no provider for queues of SQS"),
    ("command", "a command is not served; `samara run` runs one"),
    ("websockets", "WebSockets are not served"),
];

/// Settings that all triggers of a kind share.
#[derive(Default)]
pub(super) struct Shared<'a> {
    /// What every route begins with.
    base: &'a str,
    /// The server of those that name none.
    address: Option<Item<'a>>,
}

/// One trigger to be read.
pub(super) struct Found<'a> {
    pub(super) origin: Origin,
    pub(super) table: Table<'a>,
    /// The component, where the trigger does not name it.
    pub(super) component: Option<&'a str>,
    /// Why it must not be served.
    pub(super) guard: Option<String>,
}

impl<'a> Shared<'a> {
    /// Reads the settings of one kind to their end.
    pub(super) fn read(kind: &str, mut table: Table<'a>) -> Self {
        let mut shared = Self::default();
        match kind {
            "http" => shared.base = table.text("base").unwrap_or_default(),
            "redis" => shared.address = table.take("address"),
            _ => {
                for setting in table.entries() {
                    setting.lost("a setting of all triggers of a kind", "triggers of this kind have no settings here");
                }
                return shared;
            }
        }
        table.finish();
        shared
    }
}

impl<'a> Reading<'a> {
    /// Reads one trigger to its end.
    pub(super) fn trigger(&mut self, kind: &str, shared: &Shared<'a>, found: Found<'a>) {
        let Found { origin, mut table, component, mut guard } = found;
        // Triggers have names only so that their components can be called after them.
        let id = table.text("id").map_or_else(|| format!("{kind}-component"), |id| format!("{id}-component"));
        let component = match component {
            Some(component) => Some(component.to_owned()),
            None => table.take("component").and_then(|item| self.component_of(&item, &id)),
        };
        for item in table.take("components").and_then(|item| item.table()).into_iter().flat_map(Table::entries) {
            item.lost("further components of a trigger", "a trigger starts one workload");
        }
        guard = guard.or(table.take("dependencies").and_then(|item| middleware(&item)));
        let target = component.as_deref().and_then(|id| {
            guard = guard.take().or(self.guarded.get(id).cloned());
            let workload = self.workloads.get(id).cloned().flatten();
            if workload.is_none() {
                let why = "it is not in the manifest, or has no source that is carried over";
                table.note(Severity::Lost, &format!("a trigger of the component `{id}`"), why);
            }
            workload
        });
        let reply =
            if kind == "http" { table.take("static_response").and_then(|item| static_response(&item)) } else { None };
        let answers = component.is_some() || reply.is_some();
        let starts = match kind {
            "http" => self.http(&mut table, shared, answers, target.as_deref()),
            "redis" => self.redis(&mut table, shared, target.as_deref()),
            "cron" => table.text("cron_expression").map(|text| Starts::Cron(text.to_owned())).into_iter().collect(),
            "timer" => table.take("interval_secs").and_then(|item| item.number()).map(seconds).into_iter().collect(),
            _ => {
                let known = OTHER_KINDS.iter().find(|(known, _)| *known == kind);
                let why = known.map_or("no trigger of this kind is known", |(_, why)| why);
                table.note(Severity::Lost, &format!("a trigger of the kind `{kind}`"), why);
                return;
            }
        };
        table.finish();
        let Some(target) = reply.or(target.map(Target::Workload)) else { return };
        for starts in starts {
            let held_back = guard.clone();
            self.draft.triggers.push(Trigger { origin: origin.clone(), target: target.clone(), starts, held_back });
        }
    }

    /// The id of the component that a trigger names or holds.
    fn component_of(&mut self, item: &Item<'a>, id: &str) -> Option<String> {
        if !item.is_table() {
            return item.text().map(str::to_owned);
        }
        let mut free = id.to_owned();
        let mut number = 2_u32;
        while self.workloads.contains_key(&free) {
            free = format!("{id}-{number}");
            number = number.saturating_add(1);
        }
        self.component(&free, item.table()?, &Origin::from(item));
        Some(free)
    }

    /// The routes of an HTTP trigger.
    fn http(
        &mut self,
        table: &mut Table<'a>,
        shared: &Shared<'_>,
        starts_one: bool,
        target: Option<&str>,
    ) -> Vec<Starts> {
        let route = table.take("route");
        if let Some(item) = table.take("executor") {
            self.executor(&item, target);
        }
        if !starts_one {
            table.note(Severity::Lost, "the trigger", "it names no component");
            return Vec::new();
        }
        let Some(route) = route else {
            table.note(Severity::Lost, "the trigger", "it has no `route`");
            return Vec::new();
        };
        if route.is_table() {
            private(&route);
            return Vec::new();
        }
        let Some(text) = route.text() else { return Vec::new() };
        let mut starts = Vec::new();
        for path in paths(shared.base, text) {
            let route_of = Starts::Http { host: None, methods: Vec::new(), path };
            let before = self.draft.triggers.iter().position(|trigger| trigger.starts == route_of);
            if let Some(replaced) = before.map(|index| self.draft.triggers.remove(index)) {
                let what = format!("the same route of `{}`", replaced.target);
                route.changed(&what, "two components cannot have one route; as in Spin, the later one has it");
            }
            starts.push(route_of);
        }
        if !text.ends_with("...") && !text.ends_with('*') && text != "/" {
            self.slashes(&route);
        }
        starts
    }

    /// Says once that a slash at the end matters here.
    fn slashes(&mut self, route: &Item<'_>) {
        if !std::mem::replace(&mut self.slashes_told, true) {
            route.changed(
                "paths that end with a slash",
                "Spin answers `/a/` by the route `/a` too; here they are two paths",
            );
        }
    }

    /// `executor = { type = "wagi" }`.
    fn executor(&mut self, item: &Item<'_>, target: Option<&str>) {
        let Some(mut table) = item.table() else { return };
        let kind = table.text("type").unwrap_or("http");
        let argv = table.take("argv");
        let entrypoint = table.take("entrypoint");
        table.finish();
        match kind {
            "wagi" => item.info("the executor", "a command that a route leads to is run as CGI without being told"),
            "http" | "spin" => {}
            _ => item.lost(&format!("the executor `{kind}`"), "it is not known"),
        }
        if let Some(item) = entrypoint
            && item.text().is_some_and(|name| name != WAGI_ENTRYPOINT)
        {
            item.lost("another entrypoint", "a command begins with `_start`");
        }
        if let Some(item) = argv
            && let Some(argv) = item.text().filter(|argv| *argv != WAGI_ARGV)
        {
            if argv.contains("${") {
                item.lost("arguments made of the request", "a command finds the path and the query in its environment");
            } else if let Some(workload) = target.and_then(|name| self.draft.workload(name)) {
                // The first is the program's name, which is not among the arguments here.
                workload.args = argv.split_whitespace().skip(1).map(str::to_owned).collect();
            }
        }
    }

    /// A channel of a Redis server.
    fn redis(&mut self, table: &mut Table<'a>, shared: &Shared<'a>, target: Option<&str>) -> Vec<Starts> {
        let channel = table.take("channel");
        let address = table.take("address").or_else(|| shared.address.clone());
        let (Some(channel), Some(address)) = (channel, address) else {
            table.note(Severity::Lost, "the trigger", "it has no `channel`, or no `address`, nor do all of its kind");
            return Vec::new();
        };
        let known = |item: &Item<'_>| match self.variables.resolve(item.text()?) {
            Resolved::Text(text) => Some(text),
            Resolved::Environment(name) => {
                item.lost(
                    "the trigger",
                    &format!("its server and channel must be known now; write what `{name}` will be"),
                );
                None
            }
            Resolved::Unknown(why) => {
                item.lost("the trigger", &why);
                None
            }
        };
        let (Some(subject), Some(server)) = (known(&channel), known(&address)) else { return Vec::new() };
        let Some(store) = stores::server(&address, &server, &mut self.draft) else { return Vec::new() };
        if let Some(workload) = target.and_then(|name| self.draft.workload(name)) {
            workload.grants.bus(&store).subscribe.push(subject.clone());
        }
        vec![Starts::Subject { subject, store }]
    }
}

fn seconds(count: u64) -> Starts {
    Starts::Every(format!("{count}s"))
}

/// `route = { private = true }`.
fn private(route: &Item<'_>) {
    let Some(mut table) = route.table() else { return };
    let is_private = table.take("private").and_then(|item| item.boolean()) == Some(true);
    table.finish();
    // Other components reach it by `NAME.spin.internal`, which needs no route here.
    if !is_private {
        route.lost("the route", "it is a path, or `{ private = true }`");
    }
}

/// A response without a component.
fn static_response(item: &Item<'_>) -> Option<Target> {
    let mut table = item.table()?;
    let status = table.take("status_code").and_then(|item| item.number()).unwrap_or(200);
    let headers = table.take("headers").map(|item| item.pairs()).unwrap_or_default();
    let headers = headers.into_iter().map(|(item, value)| (item.key.to_owned(), value)).collect();
    let body = table.text("body").unwrap_or_default().to_owned();
    table.finish();
    Some(Target::Reply { status: u16::try_from(status).unwrap_or(u16::MAX), headers, body })
}

/// What runs before a component. It may be what guards it: the answer is why the route is held back.
pub(super) fn middleware(item: &Item<'_>) -> Option<String> {
    let kinds: Vec<_> = item.table().into_iter().flat_map(Table::entries).collect();
    let guards = kinds.iter().any(|kind| !kind.is_list() || !kind.list().is_empty());
    if !guards {
        return None;
    }
    item.lost(
        "components that a request passes first",
        "they are not composed while they are loaded, and without them the route might be unguarded: it is held back; compose them first (`wac plug`) and name the result as the source",
    );
    Some("the components that a request must pass first are not carried over".to_owned())
}

/// The native paths of a route.
fn paths(base: &str, route: &str) -> Vec<String> {
    let cut = |text: &str| {
        let text = text.strip_suffix('/').unwrap_or(text).to_owned();
        if text.is_empty() || text.starts_with('/') { text } else { format!("/{text}") }
    };
    let whole = format!("{}{}", cut(base), cut(route));
    let Some(above) = whole.strip_suffix("/...").or_else(|| whole.strip_suffix("/*")) else {
        return vec![if whole.is_empty() { "/".to_owned() } else { whole }];
    };
    // A pattern does not have two parameters of one name.
    let name = if above.split('/').any(|part| part == ":rest") { "remainder" } else { "rest" };
    let below = format!("{above}/*{name}");
    if above.is_empty() { vec![below] } else { vec![above.to_owned(), below] }
}

#[cfg(test)]
mod tests {
    use super::paths;

    #[test]
    fn a_route_is_one_path_or_a_path_and_all_below_it() {
        for (base, route, expected) in [
            ("", "/", &["/"][..]),
            ("/", "", &["/"]),
            ("/", "/...", &["/*rest"]),
            ("", "/a", &["/a"]),
            ("", "/a/", &["/a"]),
            ("", "a", &["/a"]),
            ("", "/a/...", &["/a", "/a/*rest"]),
            ("", "/a/*", &["/a", "/a/*rest"]),
            ("", "/:id/b", &["/:id/b"]),
            ("", "/:rest/...", &["/:rest", "/:rest/*remainder"]),
            ("/base/", "/a/...", &["/base/a", "/base/a/*rest"]),
            ("base", "/...", &["/base", "/base/*rest"]),
        ] {
            assert_eq!(paths(base, route), expected, "{base} {route}");
        }
    }
}
