//! `[registry."host:port"]` of the host file: registries and web servers that are not like others.

use std::{collections::BTreeMap, path::PathBuf};

use super::reader::{Item, Reader};
use crate::RegistryHost;

/// Mirrors of one host.
const MAX_MIRRORS: usize = 16;

/// Reads the names below `[registry]`.
pub(super) fn read(reader: Reader<'_>) -> BTreeMap<String, RegistryHost> {
    let mut hosts = BTreeMap::new();
    for item in reader.entries() {
        let name = check_host(item.key).map_err(|error| item.problem(error)).is_ok();
        if let (true, Some(host)) = (name, read_host(&item)) {
            hosts.insert(item.key.to_owned(), host);
        }
    }
    hosts
}

fn read_host(item: &Item<'_>) -> Option<RegistryHost> {
    let mut reader = item.table("registry", "[registry.\"registry.example:5000\"]")?;
    let insecure = reader.take("insecure").and_then(|item| item.boolean()).unwrap_or_default();
    let mirrors = reader.take("mirrors").and_then(|item| {
        let mirrors = item.list("mirror.example", |text| {
            let host = text.split('/').next().unwrap_or_default();
            check_host(host).map(|()| text.to_owned())
        })?;
        if mirrors.len() > MAX_MIRRORS {
            item.problem(format!("this has {} mirrors; write at most {MAX_MIRRORS}", mirrors.len()));
        }
        Some(mirrors)
    });
    let ca = reader.take("ca").and_then(|item| {
        let path = item.text("ca.pem").map(PathBuf::from);
        if insecure {
            item.problem("plain HTTP (`insecure`) has no certificates; remove one of the two");
        }
        path
    });
    reader.finish();
    Some(RegistryHost { insecure, mirrors: mirrors.unwrap_or_default(), ca })
}

/// Whether this names a host as references do: `registry.example`, `127.0.0.1:5000`, `[::1]:5000`.
///
/// # Errors
/// It does not; the message shows how.
pub fn check_host(text: &str) -> Result<(), String> {
    let wrong = || format!("`{text}` is not a host; write `registry.example` or `127.0.0.1:5000`");
    let authority: http::uri::Authority = text.parse().map_err(|_| wrong())?;
    let has_port = authority.as_str() != authority.host();
    if text.contains('@') || authority.host().is_empty() || (has_port && authority.port_u16().is_none()) {
        return Err(wrong());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{RegistryHost, manifest::Host};

    fn read(text: &str) -> Result<Host, String> {
        Host::parse(text, Path::new("h")).map_err(|errors| errors.to_string())
    }

    #[test]
    fn hosts_have_their_own_ways() {
        let mut host = read(
            "[registry.\"127.0.0.1:5000\"]\ninsecure = true\n[registry.\"r.example\"]\nmirrors = [\"m.example/cache\"]\nca = \"ca.pem\"",
        )
        .unwrap();
        host.resolve_paths(Path::new("/etc/samara"));
        assert_eq!(host.registries["127.0.0.1:5000"], RegistryHost { insecure: true, ..RegistryHost::default() });
        let expected = RegistryHost {
            insecure: false,
            mirrors: vec!["m.example/cache".to_owned()],
            ca: Some("/etc/samara/ca.pem".into()),
        };
        assert_eq!(host.registries["r.example"], expected);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (text, why) in [
            ("[registry.\"http://r.example\"]", "is not a host; write `registry.example` or `127.0.0.1:5000`"),
            ("[registry.\"r.example/team\"]", "is not a host"),
            ("[registry.\"me@r.example\"]", "is not a host"),
            ("[registry.\"r.example:x\"]", "is not a host"),
            ("[registry.\"r.example\"]\ninsecur = true", "did you mean `insecure`?"),
            ("[registry.\"r.example\"]\nmirrors = [\"https://m.example\"]", "is not a host"),
            ("[registry.\"r.example\"]\ninsecure = true\nca = \"x\"", "has no certificates; remove one of the two"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
