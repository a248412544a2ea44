//! The `[workload.NAME.grants]` table: short and long forms of what a workload is given.

use std::{collections::BTreeMap, time::Duration};

use super::{
    outgoing,
    reader::{Item, Reader},
};
use crate::{
    AddressRule, BlobGrant, DEFAULT_BUS, FsGrant, Grants, KvGrant, MessagingGrant, NetGrant, SecretsGrant, SqlGrant,
    SubjectPattern, ValueSource, format_duration, parse_duration, parse_rate,
};

/// Resolution of the clocks of a served guest that was not given another.
const SERVED_CLOCK: Duration = Duration::from_millis(1);

/// Every key of a `grants` table that this version reads.
pub(super) const KEYS: &[&str] =
    &["kv", "blob", "sql", "messaging", "http", "fs", "env", "config", "secrets", "net", "log", "clock", "random"];

/// What a `grants` table says.
pub(super) struct Given<'a> {
    pub(super) grants: Grants,
    /// `log`, which is a limit in truth.
    pub(super) log_bytes_per_second: Option<(Item<'a>, u64)>,
    /// The stores that were granted, and where.
    pub(super) stores: Vec<(String, Item<'a>)>,
}

impl Default for Given<'_> {
    fn default() -> Self {
        let grants = Grants { clock: Some(SERVED_CLOCK), ..Grants::default() };
        Self { grants, log_bytes_per_second: None, stores: Vec::new() }
    }
}

/// Reads a `grants` table to its end.
pub(super) fn read(mut reader: Reader<'_>) -> Given<'_> {
    let mut given = Given::default();
    if let Some(item) = reader.take("kv") {
        kv(&item, &mut given);
    }
    if let Some(item) = reader.take("blob") {
        blob(&item, &mut given);
    }
    if let Some(item) = reader.take("sql") {
        sql(&item, &mut given);
    }
    if let Some(item) = reader.take("messaging") {
        messaging(&item, &mut given);
    }
    let grants = &mut given.grants;
    if let Some(item) = reader.take("http") {
        grants.http = outgoing::read(&item).unwrap_or_default();
    }
    if let Some(item) = reader.take("fs") {
        grants.fs = fs(&item).unwrap_or_default();
    }
    if let Some(item) = reader.take("env") {
        grants.env = named(&item, "env = { GREETING = \"hi\" }");
    }
    if let Some(item) = reader.take("net") {
        grants.net = net(&item).unwrap_or_default();
    }
    if let Some(item) = reader.take("clock") {
        clock(&item, grants);
    }
    if let Some(item) = reader.take("random") {
        random(&item);
    }
    if let Some(item) = reader.take("secrets") {
        grants.secrets = secrets(&item).unwrap_or_default();
    }
    if let Some(item) = reader.take("config") {
        config(&item, &mut given);
    }
    if let Some(item) = reader.take("log") {
        given.log_bytes_per_second = item.quantity(parse_rate).map(|rate| (item, rate));
    }
    reader.finish();
    given
}

/// One entry of a list of stores: its name alone, or a table of what is granted of it.
struct StoreEntry<'a> {
    name: &'a str,
    /// The table of the long form, without `store`.
    long: Option<Reader<'a>>,
    item: Item<'a>,
}

/// The entries of `["carts"]` or `[{ store = "carts", ops = ["get"] }]`; `example` is the long form.
fn stores<'a>(item: &Item<'a>, place: &'static str, short: &str, example: &str) -> Vec<StoreEntry<'a>> {
    let read = |item: Item<'a>| {
        if item.is_text() {
            return Some(StoreEntry { name: item.text("carts")?, long: None, item });
        }
        let mut reader = item.table(place, example)?;
        let name = reader.require("store", "store = \"carts\"").and_then(|item| item.text("carts"))?;
        Some(StoreEntry { name, long: Some(reader), item })
    };
    item.array(short).into_iter().flatten().filter_map(read).collect()
}

/// Adds the grant of a store, once.
fn add<'a, T>(
    granted: &mut BTreeMap<String, T>,
    stores: &mut Vec<(String, Item<'a>)>,
    entry: StoreEntry<'a>,
    grant: T,
) {
    let StoreEntry { name, item, .. } = entry;
    if granted.insert(name.to_owned(), grant).is_some() {
        item.problem(format!("store `{name}` is granted twice; put all its operations into one grant"));
    }
    stores.push((name.to_owned(), item));
}

/// `["carts"]` or `[{ store = "carts", ops = ["get"] }]`.
fn kv<'a>(item: &Item<'a>, given: &mut Given<'a>) {
    for mut entry in stores(item, "kv", "kv = [\"carts\"]", "{ store = \"carts\", ops = [\"get\"] }") {
        let mut grant = KvGrant::default();
        if let Some(mut reader) = entry.long.take() {
            if let Some(operations) = reader.take("ops").and_then(|item| item.list("get", str::parse)) {
                grant.operations = operations;
            }
            reader.finish();
        }
        add(&mut given.grants.kv, &mut given.stores, entry, grant);
    }
}

/// `["pictures"]` or `[{ store = "pictures", ops = ["read"] }]`.
fn blob<'a>(item: &Item<'a>, given: &mut Given<'a>) {
    for mut entry in stores(item, "blob", "blob = [\"pictures\"]", "{ store = \"pictures\", ops = [\"read\"] }") {
        let mut grant = BlobGrant::default();
        if let Some(mut reader) = entry.long.take() {
            if let Some(operations) = reader.take("ops").and_then(|item| item.list("read", str::parse)) {
                grant.operations = operations;
            }
            reader.finish();
        }
        add(&mut given.grants.blob, &mut given.stores, entry, grant);
    }
}

/// `["orders"]` or `[{ store = "orders", ops = ["query"], statements = { by_id = "select ..." }, named_only = true }]`.
fn sql<'a>(item: &Item<'a>, given: &mut Given<'a>) {
    for mut entry in stores(item, "sql", "sql = [\"orders\"]", "{ store = \"orders\", ops = [\"query\"] }") {
        let mut grant = SqlGrant::default();
        if let Some(mut reader) = entry.long.take() {
            if let Some(operations) = reader.take("ops").and_then(|item| item.list("query", str::parse)) {
                grant.operations = operations;
            }
            if let Some(item) = reader.take("statements") {
                grant.statements = named(&item, "statements = { by_id = \"select * from orders where id = $1\" }");
            }
            let named_only = reader.take("named_only");
            grant.named_only = named_only.as_ref().and_then(Item::boolean).unwrap_or_default();
            if let (Some(item), true, true) = (named_only, grant.named_only, grant.statements.is_empty()) {
                item.problem("there are no named statements, so that nothing is granted; add `statements`");
            }
            reader.finish();
        }
        add(&mut given.grants.sql, &mut given.stores, entry, grant);
    }
}

/// `{ publish = ["orders.*"], subscribe = [] }` or, of another bus than the default one, with `store = "bus"`; several
/// buses in a list.
fn messaging<'a>(item: &Item<'a>, given: &mut Given<'a>) {
    let example = "messaging = { publish = [\"orders.created\"] }";
    if item.is_array() {
        for entry in item.array(example).into_iter().flatten() {
            one_bus(&entry, example, given);
        }
    } else {
        one_bus(item, example, given);
    }
}

fn one_bus<'a>(item: &Item<'a>, example: &str, given: &mut Given<'a>) -> Option<()> {
    let mut reader = item.table("messaging", example)?;
    let mut subjects = |key| {
        let item: Option<Item<'_>> = reader.take(key);
        item.and_then(|item| item.list("orders.created", str::parse::<SubjectPattern>)).unwrap_or_default()
    };
    let grant = MessagingGrant { publish: subjects("publish"), subscribe: subjects("subscribe") };
    let store = reader.take("store");
    reader.finish();
    let name = store.as_ref().map_or(Some(DEFAULT_BUS), |store| store.text("bus"))?;
    if given.grants.messaging.insert(name.to_owned(), grant).is_some() {
        item.problem(format!("bus `{name}` is granted twice; put all its subjects into one grant"));
    }
    // The default bus is there without being declared.
    if let Some(store) = store.filter(|_| name != DEFAULT_BUS) {
        given.stores.push((name.to_owned(), store));
    }
    Some(())
}

/// `{ API_KEY = "env:CART_API_KEY" }`, or a list of places and of such tables.
fn secrets(item: &Item<'_>) -> Option<SecretsGrant> {
    let mut grant = SecretsGrant::default();
    if !item.is_array() {
        single_secrets(item, &mut grant);
        return Some(grant);
    }
    for entry in item.array("secrets = [\"dir:/etc/secrets\"]")? {
        if entry.is_table() {
            single_secrets(&entry, &mut grant);
        } else if let Some(source) = source(&entry, "dir:/etc/secrets", &grant.sources) {
            grant.sources.push(source);
        }
    }
    Some(grant)
}

fn single_secrets(item: &Item<'_>, grant: &mut SecretsGrant) {
    for (entry, text) in item.strings("secrets = { API_KEY = \"env:API_KEY\" }").unwrap_or_default() {
        match text.parse() {
            _ if !can_be_asked_for(entry.key) => entry.problem(NOT_A_NAME),
            Ok(source) => {
                grant.values.insert(entry.key.to_owned(), source);
            }
            Err(error) => entry.problem(error),
        }
    }
}

/// `[{ host = "./public", guest = "/", write = false }]`.
fn fs(item: &Item<'_>) -> Option<Vec<FsGrant>> {
    let mut grants: Vec<FsGrant> = Vec::new();
    for entry in item.array("fs = [{ host = \"./public\", guest = \"/\" }]")? {
        let Some(mut reader) = entry.table("fs", "{ host = \"./public\", guest = \"/\" }") else { continue };
        let host = reader.require("host", "host = \"./public\"").and_then(|item| item.text("./public"));
        let guest = reader.require("guest", "guest = \"/\"").and_then(|item| item.parse("/", guest_folder));
        let write = reader.take("write").and_then(|item| item.boolean()).unwrap_or_default();
        reader.finish();
        let (Some(host), Some(guest)) = (host, guest) else { continue };
        if grants.iter().any(|grant| grant.guest == guest) {
            entry.problem(format!("two folders are both `{guest}` in the guest; give one another `guest` name"));
            continue;
        }
        grants.push(FsGrant { host: host.into(), guest, write });
    }
    Some(grants)
}

fn guest_folder(text: &str) -> Result<String, String> {
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a folder of the guest; write it from its root, such as `/` or `/data`"))
}

/// `{ connect = ["10.0.0.5:5432"], listen = [], any = false }`.
fn net(item: &Item<'_>) -> Option<NetGrant> {
    let mut reader = item.table("net", "net = { connect = [\"10.0.0.5:5432\"] }")?;
    let mut rules = |key| {
        let item: Option<Item<'_>> = reader.take(key);
        item.and_then(|item| item.list("10.0.0.5:5432", str::parse::<AddressRule>)).unwrap_or_default()
    };
    let (connect, listen) = (rules("connect"), rules("listen"));
    let any = reader.take("any").and_then(|item| item.boolean()).unwrap_or_default();
    reader.finish();
    Some(NetGrant { connect, listen, any })
}

const NOT_A_NAME: &str = "this is not a name that a guest could ask for; use letters, digits and `_`";

fn can_be_asked_for(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// A table of names and texts; the names reach the guest as they are.
fn named(item: &Item<'_>, example: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (entry, text) in item.strings(example).unwrap_or_default() {
        if !can_be_asked_for(entry.key) {
            entry.problem(NOT_A_NAME);
        } else if text.contains('\0') {
            entry.problem("this holds a zero byte, which ends a text in many guests; remove it");
        } else {
            values.insert(entry.key.to_owned(), text.to_owned());
        }
    }
    values
}

/// `{ COLOUR = "red" }`, or a list of places and of such tables.
fn config(item: &Item<'_>, given: &mut Given<'_>) -> Option<()> {
    const VALUES: &str = "config = { KEY = \"value\" }";
    let grants = &mut given.grants;
    if !item.is_array() {
        grants.config = named(item, VALUES);
        return Some(());
    }
    for entry in item.array("config = [\"file:./cart.toml\"]")? {
        if entry.is_table() {
            grants.config.extend(named(&entry, VALUES));
        } else if let Some(source) = source(&entry, "file:./cart.toml", &grants.config_sources) {
            grants.config_sources.push(source);
        }
    }
    Some(())
}

/// One place of a list of them, once.
fn source(entry: &Item<'_>, example: &str, sources: &[ValueSource]) -> Option<ValueSource> {
    let source = entry.parse(example, str::parse::<ValueSource>)?;
    if sources.contains(&source) {
        entry.problem("this is listed twice; remove one");
        return None;
    }
    Some(source)
}

/// `"1ms"` or `{ resolution = "1ms", jitter = "0.2ms" }`.
fn clock(item: &Item<'_>, grants: &mut Grants) -> Option<()> {
    if !item.is_table() {
        let resolution = item.quantity(parse_duration)?;
        grants.clock = (!resolution.is_zero()).then_some(resolution);
        return Some(());
    }
    let mut reader = item.table("clock", "clock = { resolution = \"1ms\", jitter = \"0.2ms\" }")?;
    let resolution = reader.require("resolution", "resolution = \"1ms\"");
    let jitter = reader.take("jitter");
    reader.finish();
    let resolution = resolution?.quantity(parse_duration)?;
    grants.clock = (!resolution.is_zero()).then_some(resolution);
    let item = jitter?;
    let jitter = item.quantity(parse_duration)?;
    if jitter > resolution {
        // Ticks would be told out of their order.
        let resolution = format_duration(resolution);
        item.problem(format!("this is over the resolution; write `{resolution}` at most"));
    }
    grants.clock_jitter = jitter;
    Some(())
}

/// `true`: what every guest has may be said, and cannot be taken.
fn random(item: &Item<'_>) -> Option<()> {
    if !item.boolean()? {
        item.problem("no guest starts without random numbers; write `true`, or leave it out");
    }
    Some(())
}
