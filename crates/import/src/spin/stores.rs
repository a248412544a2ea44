//! Stores that a component opens by a label, and what is behind them.

use crate::{
    document::Item,
    draft::{Draft, Grants, Origin, Store},
    names::legal,
};

/// The label that guests use when they name none.
const DEFAULT: &str = "default";

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    KeyValue,
    Sqlite,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::KeyValue => "kv",
            Self::Sqlite => "sqlite",
        }
    }

    /// The provider that is written for a label.
    fn provider(self, label: &str) -> String {
        match self {
            Self::KeyValue => format!("redb:./data/{label}.redb"),
            Self::Sqlite => format!("sqlite:./data/{label}.sqlite"),
        }
    }
}

/// Grants the stores of a list of labels, and declares them.
///
/// Spin has a `default` of each kind, and a native manifest one store of a name. A guest that is granted one store of a kind
/// finds it by `default` whatever its name is, so that the second `default` gets a name of its own.
pub(super) fn labels(item: &Item<'_>, kind: Kind, draft: &mut Draft, grants: &mut Grants) {
    let entries = item.texts();
    let is_only = entries.len() == 1;
    for (entry, label) in entries {
        let provider = kind.provider(label);
        let list = if kind == Kind::KeyValue { &mut grants.kv } else { &mut grants.sql };
        let mut name = label.to_owned();
        if let Some(other) = draft.stores.iter().find(|store| store.name == name && store.provider != provider) {
            if label != DEFAULT || !is_only || !list.is_empty() {
                let why = format!(
                    "`{}` has this name already, and one name is one store; rename it in one of the guests",
                    other.provider
                );
                entry.lost(&format!("the store `{label}`"), &why);
                continue;
            }
            name = format!("{label}-{}", kind.as_str());
        }
        if !draft.stores.iter().any(|store| store.name == name) {
            let named = if name == label { String::new() } else { format!(", and called `{name}`") };
            entry.changed(
                &format!("the store `{label}`"),
                &format!("what is behind it is in Spin's runtime configuration; here it is `{provider}`{named}"),
            );
        }
        Grants::add(list, &name);
        draft.add_store(Store { name, origin: Origin::from(&entry), provider, ..Store::default() });
    }
}

/// Declares the store that is a server, which a guest of Spin opens by its address; answers its name.
pub(super) fn server(item: &Item<'_>, url: &str, draft: &mut Draft) -> Option<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    // Credentials and databases are not of the address, and credentials are not repeated.
    let (credentials, rest) = rest.rsplit_once('@').map_or((false, rest), |(_, rest)| (true, rest));
    let address = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let shown = format!("`{scheme}://{address}`");
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (address, ""),
    };
    let is_one = port.is_empty() || port.parse::<u16>().is_ok();
    if host.is_empty() || host.contains('*') || !is_one {
        item.lost(&shown, "a store is one server; name its host and port");
        return None;
    }
    let name = legal(&format!("{scheme}-{address}"), scheme).replace('.', "-");
    let left_out = if credentials { "; the credentials of the address are left out" } else { "" };
    let why = format!(
        "the server is the store `{name}` here, whose settings say its database and credentials (`env:NAME`), not the guest{left_out}"
    );
    item.changed(&shown, &why);
    draft.add_store(Store {
        name: name.clone(),
        origin: Origin::from(item),
        provider: format!("{scheme}://{address}"),
        ..Store::default()
    });
    Some(name)
}
