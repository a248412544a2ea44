//! From a host's name to addresses, which are judged here and nowhere resolved again: what is connected to is what was judged.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use samara_model::not_public;

use super::reach::{Reach, is_proxy};

/// Addresses of one name that are tried, at most.
const MAX_ADDRESSES: usize = 8;
/// Names whose addresses are remembered, at most; those of registries that people named.
const MAX_NAMES: usize = 1_000;

/// Asks for the addresses of a name.
#[async_trait]
pub(super) trait Lookup: fmt::Debug + Send + Sync {
    /// The addresses, best first.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Debug)]
pub(super) struct System;

#[async_trait]
impl Lookup for System {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.take(MAX_ADDRESSES * 4).map(|address| address.ip()).collect())
    }
}

/// What was found for names, to tell later where a server was that answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Found(Arc<Mutex<HashMap<String, Vec<IpAddr>>>>);

impl Found {
    /// The kind of address that a server answered from. Through a proxy that is not known, since the answer comes from the
    /// proxy's address, which was not found for this name: then it counts as public, which allows least.
    pub(super) fn kind(&self, host: &url::Host<&str>, answered: IpAddr) -> Option<&'static str> {
        let direct = match host {
            url::Host::Ipv4(address) => *address == answered,
            url::Host::Ipv6(address) => *address == answered,
            url::Host::Domain(name) => self.0.lock().get(*name).is_some_and(|found| found.contains(&answered)),
        };
        not_public(answered).filter(|_| direct)
    }

    fn keep(&self, name: &str, addresses: &[IpAddr]) {
        let mut found = self.0.lock();
        if found.len() >= MAX_NAMES {
            found.clear();
        }
        found.insert(name.to_owned(), addresses.to_vec());
    }
}

/// The resolver of all connections of one [`Reach`].
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) reach: Reach,
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) found: Found,
}

/// A name led to no address that may be connected to.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{name}` is at `{address}`, an address that is {kind}")]
pub(super) struct Refused {
    name: String,
    address: IpAddr,
    kind: &'static str,
}

impl Judged {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let mut addresses = self.lookup.lookup(name).await?;
        if self.reach == Reach::Anywhere {
            self.found.keep(name, &addresses);
        } else if !is_proxy(name) {
            let first = addresses.first().copied();
            addresses.retain(|address| self.reach.refuses(*address).is_none());
            if let (true, Some(address)) = (addresses.is_empty(), first) {
                let kind = not_public(address).unwrap_or("not public");
                return Err(Refused { name: name.to_owned(), address, kind }.into());
            }
        }
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }
}

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = this.addresses(name.as_str()).await?;
            // Port 0 is replaced by the URL's.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Says(&'static [&'static str]);

    #[async_trait]
    impl Lookup for Says {
        async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.iter().map(|address| address.parse().unwrap()).collect())
        }
    }

    async fn check(reach: Reach, says: &'static [&'static str], expected: Result<&[&str], &str>) {
        let judged = Judged { reach, lookup: Arc::new(Says(says)), found: Found::default() };
        let judged = judged.addresses("mixed.test").await.map_err(|error| error.to_string());
        let judged = judged.map(|all| all.iter().map(IpAddr::to_string).collect::<Vec<_>>());
        let expected = expected.map(|all| all.iter().map(|&one| one.to_owned()).collect()).map_err(str::to_owned);
        assert_eq!(judged, expected);
    }

    #[tokio::test]
    async fn of_a_mixed_answer_only_what_is_allowed_is_connected_to() {
        let public = Reach::Public { and: None };
        let beside = Reach::Public { and: Some("private") };
        check(public, &["10.0.0.1", "1.1.1.1", "::1"], Ok(&["1.1.1.1"])).await;
        check(beside, &["10.0.0.1", "1.1.1.1", "::1"], Ok(&["10.0.0.1", "1.1.1.1"])).await;
        check(Reach::Anywhere, &["10.0.0.1", "::1"], Ok(&["10.0.0.1", "::1"])).await;
        check(public, &["127.0.0.1"], Err("`mixed.test` is at `127.0.0.1`, an address that is loopback")).await;
        check(beside, &["169.254.169.254"], Err("`mixed.test` is at `169.254.169.254`, an address that is link-local"))
            .await;
        check(public, &["1.1.1.1"; 32], Ok(&["1.1.1.1"; MAX_ADDRESSES])).await;
    }

    #[test]
    fn where_a_server_is_counts_only_if_it_was_reached_there() {
        let found = Found::default();
        found.keep("r.test", &["10.0.0.1".parse().unwrap()]);
        let kind = |host: &str, answered: &str| {
            let url = url::Url::parse(&format!("http://{host}/")).unwrap();
            found.kind(&url.host().unwrap(), answered.parse().unwrap())
        };
        assert_eq!(kind("r.test", "10.0.0.1"), Some("private"));
        assert_eq!(kind("r.test", "10.0.0.2"), None, "the address of a proxy");
        assert_eq!(kind("other.test", "10.0.0.1"), None);
        assert_eq!(kind("127.0.0.1", "127.0.0.1"), Some("loopback"));
        assert_eq!(kind("1.1.1.1", "10.0.0.1"), None, "a proxy again");
        assert_eq!(kind("[::1]", "::1"), Some("loopback"));
    }
}
