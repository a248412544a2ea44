//! What a module's imports ask of the host, in the words grants are written in.
//!
//! One table from the names of imports to capabilities, for every ABI whose imports say anything. It over-approximates:
//! SDKs import whole worlds and use a tenth of them, which is why an ungranted need is linked and denied when called
//! rather than refused. What every runtime gets (standard streams of exit and arguments, `wasi:io`) needs nothing.
//!
//! waPC guests name the service they call in a string, not in an import. For those the names found in data segments
//! stand in for imports.

use std::collections::HashSet;

use samara_model::Capability;

use crate::{Encoding, Import, Item, Module};

/// A capability that a module asks for, and the imports that say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What it asks for.
    pub capability: Capability,
    /// The imports, by full name, in the file's order.
    pub imports: Vec<String>,
}

/// What an import asks for: a capability, or nothing that is granted.
type Asks = Option<Capability>;

const NOTHING: Asks = None;
const KV: Asks = Some(Capability::Kv);
const BLOB: Asks = Some(Capability::Blob);
const MESSAGING: Asks = Some(Capability::Messaging);
const SQL: Asks = Some(Capability::Sql);
const CONFIG: Asks = Some(Capability::Config);
const SECRETS: Asks = Some(Capability::Secrets);
const HTTP: Asks = Some(Capability::Http);
const LOG: Asks = Some(Capability::Log);
const CLOCK: Asks = Some(Capability::Clock);
const RANDOM: Asks = Some(Capability::Random);
const FS: Asks = Some(Capability::Fs);
const ENV: Asks = Some(Capability::Env);
const NET: Asks = Some(Capability::Net);

/// Names of imports (`*` stands for anything, versions are left out) and what they ask for; the first match counts.
const TABLE: &[(&str, Asks)] = &[
    // WASI preview 1: witx/preview1 of the WASI repository. Its oldest name is still found in proxies' guests.
    ("wasi_*.environ_*", ENV),
    ("wasi_*.clock_*", CLOCK),
    ("wasi_*.poll_oneoff", CLOCK),
    ("wasi_*.random_get", RANDOM),
    ("wasi_*.sock_*", NET),
    ("wasi_*.path_*", FS),
    ("wasi_*.fd_write", LOG),
    // Every language's runtime asks these of its standard streams and looks for preopened folders.
    ("wasi_*.fd_read", NOTHING),
    ("wasi_*.fd_close", NOTHING),
    ("wasi_*.fd_seek", NOTHING),
    ("wasi_*.fd_fdstat_*", NOTHING),
    ("wasi_*.fd_prestat_*", NOTHING),
    ("wasi_*.fd_filestat_get", NOTHING),
    ("wasi_*.fd_*", FS),
    ("wasi_snapshot_preview1.*", NOTHING),
    ("wasi_unstable.*", NOTHING),
    // WASI 0.2 and 0.3.
    ("wasi:cli/environment", ENV),
    ("wasi:cli/stdout", LOG),
    ("wasi:cli/stderr", LOG),
    ("wasi:cli/*", NOTHING),
    ("wasi:io/*", NOTHING),
    ("wasi:clocks/types", NOTHING),
    ("wasi:clocks/*", CLOCK),
    ("wasi:random/*", RANDOM),
    ("wasi:filesystem/*", FS),
    ("wasi:sockets/*", NET),
    ("wasi:http/types", NOTHING),
    ("wasi:http/*", HTTP),
    ("wasi:keyvalue/*", KV),
    ("wasi:blobstore/*", BLOB),
    ("wasi:config/*", CONFIG),
    ("wasi:runtime-config/*", CONFIG),
    ("wasi:logging/*", LOG),
    ("wasi:messaging/*", MESSAGING),
    ("wasi:sql/*", SQL),
    ("wasi:otel/*", LOG),
    // Spin: wit/ of the spin repository, versions 1 to 4, and the modules from before components.
    ("*spin*/key-value", KV),
    ("spin:key-value/*", KV),
    ("*spin*/sqlite", SQL),
    ("*spin*/postgres", SQL),
    ("*spin*/mysql", SQL),
    ("*spin*/rdbms-types", NOTHING),
    ("spin:sqlite/*", SQL),
    ("spin:postgres/*", SQL),
    ("spin:mysql/*", SQL),
    ("*spin*/redis", NET),
    ("*spin*/redis-types", NOTHING),
    ("spin:redis/*", NET),
    ("*spin*/mqtt", MESSAGING),
    ("spin:mqtt/*", MESSAGING),
    ("*spin*/variables", CONFIG),
    ("*spin*/config", CONFIG),
    ("spin:variables/*", CONFIG),
    ("*spin*/http", HTTP),
    ("*spin*/llm", HTTP),
    ("fermyon:spin/*", NOTHING),
    ("key-value.*", KV),
    ("outbound-redis.*", NET),
    ("outbound-pg.*", SQL),
    ("outbound-mysql.*", SQL),
    ("sqlite.*", SQL),
    ("wasi-outbound-http.*", HTTP),
    ("spin-config.*", CONFIG),
    // wasmCloud components.
    ("wasmcloud:keyvalue/*", KV),
    ("wasmcloud:blobstore/*", BLOB),
    ("wasmcloud:messaging/types", NOTHING),
    ("wasmcloud:messaging/*", MESSAGING),
    ("wasmcloud:postgres/*", SQL),
    ("wasmcloud:secrets/*", SECRETS),
    ("wasmcloud:bus/*", NOTHING),
    ("wasmcloud:identity/*", SECRETS),
    // Services that waPC actors name in their host calls: waSCC and wasmCloud before components.
    ("wascc:keyvalue", KV),
    ("wascc:blobstore", BLOB),
    ("wascc:messaging", MESSAGING),
    ("wascc:logging", LOG),
    ("wascc:http_client", HTTP),
    ("wascc:http_server", NOTHING),
    ("wascc:extras", RANDOM),
    ("wascc:*", NOTHING),
    ("wasmcloud:keyvalue", KV),
    ("wasmcloud:blobstore", BLOB),
    ("wasmcloud:messaging", MESSAGING),
    ("wasmcloud:httpclient", HTTP),
    ("wasmcloud:httpserver", NOTHING),
    ("wasmcloud:sqldb", SQL),
    ("wasmcloud:logging", LOG),
    ("wasmcloud:builtin:logging", LOG),
    ("wasmcloud:builtin:numbergen", RANDOM),
    ("wasmcloud:*", NOTHING),
    ("wapc.__console_log", LOG),
    ("wasmbus.__console_log", LOG),
    ("wapc.*", NOTHING),
    ("wasmbus.*", NOTHING),
    ("host.call", NOTHING),
    ("kubewarden:*", NOTHING),
    // Fastly Compute: compute-at-edge.witx. Downstream requests and responses are the call itself.
    ("fastly_log.*", LOG),
    ("fastly_dictionary.*", CONFIG),
    ("fastly_config_store.*", CONFIG),
    ("fastly_secret_store.*", SECRETS),
    ("fastly_kv_store.*", KV),
    ("fastly_object_store.*", KV),
    ("fastly_cache.*", KV),
    ("fastly_http_cache.*", KV),
    ("fastly_erl.*", KV),
    ("fastly_acl.*", CONFIG),
    ("fastly_backend.*", HTTP),
    ("fastly_http_req.send*", HTTP),
    ("fastly_http_req.pending_req_*", HTTP),
    ("fastly_http_req.register_dynamic_backend", HTTP),
    ("fastly_*", NOTHING),
    ("fastly:compute/log", LOG),
    ("fastly:compute/dictionary", CONFIG),
    ("fastly:compute/config-store", CONFIG),
    ("fastly:compute/acl", CONFIG),
    ("fastly:compute/secret-store", SECRETS),
    ("fastly:compute/kv-store", KV),
    ("fastly:compute/cache", KV),
    ("fastly:compute/http-cache", KV),
    ("fastly:compute/erl", KV),
    ("fastly:compute/backend", HTTP),
    ("fastly:compute/http-req", HTTP),
    ("fastly:*", NOTHING),
    // proxy-wasm: ABI 0.1.0 to 0.2.1.
    ("env.proxy_log", LOG),
    ("env.proxy_get_log_level", LOG),
    ("env.proxy_get_current_time_nanoseconds", CLOCK),
    ("env.proxy_set_tick_period_milliseconds", CLOCK),
    ("env.proxy_http_call", HTTP),
    ("env.proxy_grpc_*", HTTP),
    ("env.proxy_redis_*", NET),
    ("env.proxy_*_shared_data", KV),
    ("env.proxy_*_shared_queue", MESSAGING),
    ("env.proxy_*", NOTHING),
    // Suborbital runnables; Swift's have a suffix.
    ("env.cache_get*", KV),
    ("env.cache_set*", KV),
    ("env.fetch_url*", HTTP),
    ("env.graphql_query*", HTTP),
    ("env.log_msg*", LOG),
    ("env.get_static_file*", FS),
    ("env.db_exec*", SQL),
    ("env.get_secret_value*", SECRETS),
    ("env.return_*", NOTHING),
    ("env.get_ffi_result*", NOTHING),
    ("env.add_ffi_var*", NOTHING),
    ("env.request_*_field*", NOTHING),
    ("env.resp_set_header*", NOTHING),
    // Trivy modules.
    ("env.debug", LOG),
    ("env.info", LOG),
    ("env.warn", LOG),
    ("env.error", LOG),
    // Policies of the Open Policy Agent: what a built-in reaches is decided when it is called.
    ("env.opa_println", LOG),
    ("env.opa_*", NOTHING),
    // AssemblyScript's runtime.
    ("env.abort", NOTHING),
    ("env.trace", LOG),
    ("env.seed", RANDOM),
];

/// The module that waPC guests import, by its old and its new name.
pub(crate) const WAPC_MODULES: &[&str] = &["wapc", "wasmbus"];
/// What the names of services in waPC host calls start with.
const WAPC_SERVICES: &[&str] = &["wascc:", "wasmcloud:"];

/// Adds the services that `data`, a data segment, names. Strings lie side by side there, so only known names are found.
pub(crate) fn services_in(data: &[u8], found: &mut Vec<String>) {
    for start in WAPC_SERVICES {
        let names =
            TABLE.iter().map(|(name, _)| *name).filter(|name| name.starts_with(start) && !name.contains(['*', '/']));
        for (at, _) in data.windows(start.len()).enumerate().filter(|(_, window)| *window == start.as_bytes()) {
            let here = data.get(at..).unwrap_or_default();
            for name in names.clone().filter(|name| here.starts_with(name.as_bytes())) {
                if !found.iter().any(|known| known == name) {
                    found.push(name.to_owned());
                }
            }
        }
    }
}

/// The needs of a module, in the order capabilities are listed.
pub fn needs(module: &Module) -> Vec<Need> {
    let imports = module.imports.iter().map(|import| (pattern_name(module, import), shown_name(import)));
    let services = module.services.iter().map(|service| (Some(service.clone()), service.clone()));
    let mut needs: Vec<Need> =
        Capability::ALL.iter().map(|capability| Need { capability: *capability, imports: Vec::new() }).collect();
    // Go imports one function under several declarations.
    let mut seen = HashSet::new();
    for (pattern, name) in imports.chain(services) {
        let asked = pattern.and_then(|pattern| asks(&pattern)).flatten();
        if let Some(need) = needs.iter_mut().find(|need| Some(need.capability) == asked)
            && seen.insert(name.clone())
        {
            need.imports.push(name);
        }
    }
    needs.retain(|need| !need.imports.is_empty());
    needs
}

/// Imports that no table knows: they link to stubs that say so when they are called.
pub fn unrecognised(module: &Module) -> Vec<String> {
    // An interface of nothing but types is satisfied by linking it.
    let calls = |import: &Import| !matches!(&import.item, Item::Interface(functions) if functions.is_empty());
    let unknown =
        |import: &&Import| calls(import) && pattern_name(module, import).is_some_and(|name| asks(&name).is_none());
    let mut seen = HashSet::new();
    module.imports.iter().filter(unknown).map(shown_name).filter(|name| seen.insert(name.clone())).collect()
}

/// The name that the table has for an import; none for what is not a service of the host.
fn pattern_name(module: &Module, import: &Import) -> Option<String> {
    match (module.encoding, &import.item) {
        (Encoding::Core, Item::Function(_)) if is_interface(&import.module) => Some(unversioned(&import.module)),
        (Encoding::Core, Item::Function(_)) => Some(import.full_name()),
        (Encoding::Component, Item::Interface(_) | Item::WitFunction(_)) => Some(unversioned(&import.name)),
        _ => None,
    }
}

/// The name to show for an import. A core module that is not a component yet imports the functions of interfaces one
/// by one; the interface says enough.
fn shown_name(import: &Import) -> String {
    if is_interface(&import.module) { import.module.clone() } else { import.full_name() }
}

/// Whether a core import's module is an interface: `wasi:http/types@0.2.10`.
fn is_interface(module: &str) -> bool {
    module.contains(':') && module.contains('/')
}

fn unversioned(name: &str) -> String {
    name.split_once('@').map_or(name, |(name, _)| name).to_owned()
}

/// What the import of this name asks for, if the table knows it.
fn asks(name: &str) -> Option<Asks> {
    TABLE.iter().find(|(pattern, _)| matches(pattern, name)).map(|(_, asks)| *asks)
}

/// Whether `name` fits `pattern`, in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some((_, after)) = rest.split_once(middle) else { return false };
            rest = after;
        }
    }
    match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.*", "a.", true),
            ("*spin*/http", "fermyon:spin/http", true),
            ("*spin*/http", "fermyon:spin/httpx", false),
            ("wasi_*.fd_*", "wasi_snapshot_preview1.fd_write", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn every_line_of_the_table_can_be_reached() {
        for (index, (pattern, _)) in TABLE.iter().enumerate() {
            let example = pattern.replace('*', "x");
            let first = TABLE.iter().position(|(pattern, _)| matches(pattern, &example));
            assert_eq!(first, Some(index), "`{pattern}` is hidden by `{:?}`", first.and_then(|index| TABLE.get(index)));
        }
    }
}
