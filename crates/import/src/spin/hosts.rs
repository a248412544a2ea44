//! `allowed_outbound_hosts` as grants.
//!
//! One entry is `scheme://host[:port]`, each part of which may be `*`. What it gives depends on the scheme: requests of
//! HTTP, connections, or a server that a guest opens by its address. For the last there is a store of that server.

use std::{net::IpAddr, str::FromStr as _};

use samara_model::{AddressRule, OriginRule, not_public};

use super::{
    stores,
    variables::{Resolved, Variables},
};
use crate::{
    document::Item,
    draft::{Draft, Grants},
};

/// Ports of one range that are written one by one.
const MAX_PORTS: u16 = 32;

/// Adds what the entries of a list allow.
pub(super) fn outbound(item: &Item<'_>, variables: &Variables<'_>, draft: &mut Draft, grants: &mut Grants) {
    for (entry, template) in item.texts() {
        match variables.resolve(template) {
            Resolved::Text(host) => allow(&entry, host.trim(), draft, grants),
            Resolved::Environment(name) => entry.lost(
                &format!("`{template}`"),
                &format!("where a guest may connect must be known before it is loaded; write what `{name}` will be"),
            ),
            Resolved::Unknown(why) => entry.lost(&format!("`{template}`"), &why),
        }
    }
}

/// `allowed_http_hosts`, the older list: hosts without a scheme.
pub(super) fn http_only(item: &Item<'_>, draft: &mut Draft, grants: &mut Grants) {
    for (entry, host) in item.texts() {
        if host == "insecure:allow-all" {
            for all in ["http://*:*", "https://*:*"] {
                allow(&entry, all, draft, grants);
            }
        } else if host == "self" {
            allow(&entry, "http://self", draft, grants);
        } else {
            let host = host.split_once("://").map_or(host, |(_, host)| host).trim_end_matches('/');
            for scheme in ["http", "https"] {
                allow(&entry, &format!("{scheme}://{host}"), draft, grants);
            }
        }
    }
}

fn allow(entry: &Item<'_>, text: &str, draft: &mut Draft, grants: &mut Grants) {
    // Old manifests hold credentials here; they are not part of what is allowed, and are not repeated.
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let address = rest.split_once('/').map_or(rest, |(address, _)| address);
    let shown = format!("`{scheme}://{rest}`");
    if is_network(rest) {
        entry.lost(&shown, "a grant names hosts, not networks; name the hosts that are meant");
        return;
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (address, None),
    };
    let refused = |why: &str| entry.lost(&shown, why);
    match scheme {
        "http" | "https" if matches!(host, "self" | "self.alt") => {
            refused("an app cannot ask itself by `self`; grant the address under which it is served");
        }
        "https" if host.ends_with(".spin.internal") => {
            refused("components reach each other by `http://NAME.spin.internal`, without TLS; write that");
        }
        "http" | "https" => origins(entry, &shown, scheme, host, port, grants),
        "*" => {
            for scheme in ["http", "https"] {
                origins(entry, &shown, scheme, host, port, grants);
            }
            connect(entry, &shown, host, port, grants);
        }
        "tcp" | "udp" | "unix" => connect(entry, &shown, host, port, grants),
        "redis" | "rediss" | "postgres" | "postgresql" => server(entry, text, scheme, draft, grants),
        "mysql" | "mqtt" => refused("there is no provider for servers of this kind"),
        _ => refused("nothing is known that is reached by this scheme"),
    }
}

/// Whether it ends as a network does: `10.0.0.0/8`.
fn is_network(rest: &str) -> bool {
    rest.rsplit_once('/').is_some_and(|(address, bits)| {
        bits.parse::<u8>().is_ok() && address.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    })
}

/// The ports of `80`, `80..83` or `*`; `None` is the scheme's own.
fn ports(port: Option<&str>) -> Result<Vec<Option<String>>, String> {
    let Some(port) = port.filter(|port| !port.is_empty()) else { return Ok(vec![None]) };
    let Some((from, to)) = port.split_once("..") else { return Ok(vec![Some(port.to_owned())]) };
    let (Ok(from), Ok(to)) = (from.parse::<u16>(), to.parse::<u16>()) else {
        return Err(format!("`{port}` is no range of ports"));
    };
    match to.checked_sub(from) {
        Some(count) if count > 0 && count <= MAX_PORTS => Ok((from..to).map(|port| Some(port.to_string())).collect()),
        _ => Err(format!("a range of up to {MAX_PORTS} ports is written out; name the ports")),
    }
}

fn origins(entry: &Item<'_>, shown: &str, scheme: &str, host: &str, port: Option<&str>, grants: &mut Grants) {
    let ports = match ports(port) {
        Ok(ports) => ports,
        Err(why) => return entry.lost(shown, &why),
    };
    for port in ports {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let rule = format!("{scheme}://{host}{port}");
        if let Err(why) = OriginRule::from_str(&rule) {
            return entry.lost(shown, &why.to_string());
        }
        Grants::add(&mut grants.http, &rule);
    }
    if is_private(host) && !grants.http_private {
        grants.http_private = true;
        entry.changed(shown, "the host is of a private network, so that all origins of this component may lead to one");
    }
}

fn is_private(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| not_public(address).is_some())
}

fn connect(entry: &Item<'_>, shown: &str, host: &str, port: Option<&str>, grants: &mut Grants) {
    let ports = match ports(port) {
        Ok(ports) => ports,
        Err(why) => return entry.lost(shown, &why),
    };
    for port in ports {
        let rule = format!("{host}:{}", port.as_deref().unwrap_or("*"));
        if let Err(why) = AddressRule::from_str(&rule) {
            let why = format!("{why}; `net = {{ any = true }}` would allow all addresses");
            return entry.lost(&format!("connections to {shown}"), &why);
        }
        Grants::add(&mut grants.connect, &rule);
    }
}

/// A server that a guest opens by its address: a store of its own.
fn server(entry: &Item<'_>, url: &str, scheme: &str, draft: &mut Draft, grants: &mut Grants) {
    let Some(name) = stores::server(entry, url, draft) else { return };
    if scheme.starts_with("redis") {
        Grants::add(&mut grants.kv, &name);
        Grants::add(&mut grants.bus(&name).publish, ">");
    } else {
        Grants::add(&mut grants.sql, &name);
    }
}
