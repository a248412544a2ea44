//! The `[workload.NAME.grants]` table: short and long forms of what a workload is given.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::reader::{Item, Reader};
use crate::{
    AddressRule, FsGrant, Grants, HttpGrant, KvGrant, KvOperation, NetGrant, OriginRule, parse_duration, parse_rate,
};

/// Resolution of the clocks of a served guest that was not given another.
const SERVED_CLOCK: Duration = Duration::from_millis(1);

/// Every key of a `grants` table that this version reads.
pub(super) const KEYS: &[&str] = &["kv", "http", "fs", "env", "config", "net", "log", "clock"];

/// What a `grants` table says.
pub(super) struct Given<'a> {
    pub(super) grants: Grants,
    /// Files of configuration values, unread.
    pub(super) config_files: Vec<PathBuf>,
    /// `log`, which is a limit in truth.
    pub(super) log_bytes_per_second: Option<(Item<'a>, u64)>,
    /// The stores that were granted, and where.
    pub(super) stores: Vec<(String, Item<'a>)>,
}

impl Default for Given<'_> {
    fn default() -> Self {
        let grants = Grants { clock: Some(SERVED_CLOCK), ..Grants::default() };
        Self { grants, config_files: Vec::new(), log_bytes_per_second: None, stores: Vec::new() }
    }
}

/// Reads a `grants` table to its end.
pub(super) fn read(mut reader: Reader<'_>) -> Given<'_> {
    let mut given = Given::default();
    if let Some(item) = reader.take("kv") {
        kv(&item, &mut given);
    }
    let grants = &mut given.grants;
    if let Some(item) = reader.take("http") {
        grants.http = http(&item).unwrap_or_default();
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
    if let Some(clock) = reader.take("clock").and_then(|item| item.quantity(parse_duration)) {
        grants.clock = (!clock.is_zero()).then_some(clock);
    }
    if let Some(item) = reader.take("config") {
        if item.is_array() {
            given.config_files = config_files(&item).unwrap_or_default();
        } else {
            grants.config = named(&item, "config = { KEY = \"value\" }");
        }
    }
    if let Some(item) = reader.take("log") {
        given.log_bytes_per_second = item.quantity(parse_rate).map(|rate| (item, rate));
    }
    reader.finish();
    given
}

/// `["carts"]` or `[{ store = "carts", ops = ["get"] }]`.
fn kv<'a>(item: &Item<'a>, given: &mut Given<'a>) -> Option<()> {
    for entry in item.array("kv = [\"carts\"]")? {
        let (store, grant) = if entry.is_text() {
            let Some(store) = entry.text("carts") else { continue };
            (store, KvGrant::default())
        } else {
            let Some(mut reader) = entry.table("kv", "{ store = \"carts\", ops = [\"get\"] }") else { continue };
            let store = reader.require("store", "store = \"carts\"").and_then(|item| item.text("carts"));
            let operations = reader.take("ops").and_then(|item| item.list("get", kv_operation));
            reader.finish();
            let Some(store) = store else { continue };
            (store, operations.map_or_else(KvGrant::default, |operations| KvGrant { operations }))
        };
        if given.grants.kv.insert(store.to_owned(), grant).is_some() {
            entry.problem(format!("store `{store}` is granted twice; put all its operations into one grant"));
        }
        given.stores.push((store.to_owned(), entry));
    }
    Some(())
}

fn kv_operation(text: &str) -> Result<KvOperation, String> {
    KvOperation::ALL.iter().copied().find(|operation| operation.as_str() == text).ok_or_else(|| {
        let known: Vec<_> = KvOperation::ALL.iter().map(|operation| operation.as_str()).collect();
        format!("`{text}` is not an operation of a key-value store; known operations: {}", known.join(", "))
    })
}

/// `["https://api.example"]` or `{ allow = [..], private = false }`.
fn http(item: &Item<'_>) -> Option<HttpGrant> {
    let origins = |item: &Item<'_>| item.list("https://api.example", str::parse::<OriginRule>);
    if item.is_array() {
        return Some(HttpGrant { allow: origins(item)?, private: false });
    }
    let mut reader = item.table("http", "http = { allow = [\"https://api.example\"] }")?;
    let allow = reader.require("allow", "allow = [\"https://api.example\"]").and_then(|item| origins(&item));
    let private = reader.take("private").and_then(|item| item.boolean());
    reader.finish();
    Some(HttpGrant { allow: allow?, private: private.unwrap_or_default() })
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

/// A table of names and texts; the names reach the guest as they are.
fn named(item: &Item<'_>, example: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (entry, text) in item.strings(example).unwrap_or_default() {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            entry.problem("this is not a name that a guest could ask for; use letters, digits and `_`");
        } else if text.contains('\0') {
            entry.problem("this holds a zero byte, which ends a text in many guests; remove it");
        } else {
            values.insert(entry.key.to_owned(), text.to_owned());
        }
    }
    values
}

/// `["file:./cart.toml"]`.
fn config_files(item: &Item<'_>) -> Option<Vec<PathBuf>> {
    item.list("file:./cart.toml", |text| match text.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(format!("`{text}` is not a file; write `file:./cart.toml`")),
    })
}
