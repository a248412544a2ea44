//! Servers as Spin's guests name them, by address, and the stores that stand for them here.
//!
//! A guest opens a store by the name its manifest gives it; an address is the name that `samara convert` gives the server it is
//! of (`redis://user:password@cache.example:6379/1` is `redis-cache-example-6379`), so that a converted app runs as it is. The
//! credentials and the database of an address are nobody's business here: the store's are in the manifest.

use samara_model::Capability;
use samara_runtime::Authority;

use crate::world::view::NAME_BYTES;

/// The longest address that is looked at.
const ADDRESS_BYTES: usize = 1024;

/// The name of a store, from that or from an address; `None` if it can be no name.
pub(super) fn store_name(opened: &str) -> Option<String> {
    let Some((scheme, rest)) = opened.split_once("://") else {
        return (opened.len() <= NAME_BYTES).then(|| opened.to_owned());
    };
    if opened.len() > ADDRESS_BYTES {
        return None;
    }
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let address = rest.split(['/', '?', '#']).next().filter(|address| !address.is_empty())?;
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let name: String =
        format!("{scheme}-{address}").chars().map(legal).skip_while(|c| !c.is_ascii_alphanumeric()).collect();
    let name: String = name.chars().take(NAME_BYTES).collect();
    Some(name.trim_end_matches('-').to_owned())
}

/// Refuses what no store stands for. The address may hold a password: it is not repeated.
pub(super) fn refused(authority: &Authority, capability: Capability, server: &str) -> String {
    let denial =
        authority.deny(capability, format!("a {server} server by its address"), format!("{capability} = [\"NAME\"]"));
    format!(
        "denied: {}; a guest opens a store by the name its manifest gives it, `{}`; the manifest has the address and the \
         password",
        denial.what, denial.grant
    )
}

#[cfg(test)]
mod tests {
    use super::store_name;

    fn check(opened: &str, name: Option<&str>) {
        assert_eq!(store_name(opened).as_deref(), name, "{opened}");
    }

    #[test]
    fn an_address_is_the_name_that_convert_gives_it() {
        check("carts", Some("carts"));
        check("", Some(""));
        check("redis://u:hunter2@r.example:6379/1", Some("redis-r-example-6379"));
        check("redis://r.example", Some("redis-r-example"));
        check("postgres://u:p@ss@[::1]:5432/shop?sslmode=disable", Some("postgres----1--5432"));
        check("redis://", None);
        check(&"x".repeat(64), None);
        check(&format!("redis://{}", "x".repeat(1100)), None);
    }
}
