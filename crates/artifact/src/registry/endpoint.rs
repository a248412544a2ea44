//! From a registry's name to the addresses of its API, and what the operator says about a host.

use http::HeaderValue;
use samara_model::RegistryHost;
use url::Url;

use super::RegistrySettings;
use crate::{Error, OciReference};

/// What people call Docker's registry, and where it is.
const DOCKER: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io"];
const DOCKER_API: &str = "registry-1.docker.io";
/// Under what Docker's programs keep its login.
const DOCKER_LOGIN: &str = "https://index.docker.io/v1/";

/// One repository at one host: the registry that a reference names, or a mirror of it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// The host as its login is kept under.
    pub(super) login: String,
    /// The repository's path at this host.
    pub(super) repository: String,
    /// `https://host/v2/repository/`.
    base: Url,
}

impl Endpoint {
    fn new(settings: &RegistrySettings, host: &str, repository: String) -> Result<Self, Error> {
        let login = if DOCKER.contains(&host) { DOCKER_LOGIN } else { host };
        let host = if DOCKER.contains(&host) { DOCKER_API } else { host };
        let no_host = || Error::Reference(format!("`{host}` is no host; write `registry.example` or `127.0.0.1:5000`"));
        // The scheme first: it decides which port is the usual one.
        let insecure = settings.hosts.get(host).is_some_and(|host| host.insecure);
        let scheme = if insecure { "http" } else { "https" };
        let origin = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| no_host())?;
        let bare = origin.path() == "/" && origin.query().is_none() && origin.fragment().is_none();
        if !bare
            || !origin.username().is_empty()
            || origin.password().is_some()
            || host.ends_with(':')
            || host.contains(['/', '\\', '@'])
        {
            return Err(no_host());
        }
        let base = origin.join(&format!("v2/{repository}/")).map_err(|_| no_host())?;
        Ok(Self { login: login.to_owned(), repository, base })
    }

    /// The registry's own endpoint.
    pub(super) fn of(settings: &RegistrySettings, reference: &OciReference) -> Result<Self, Error> {
        let mut repository = reference.repository.clone();
        if DOCKER.contains(&reference.registry.as_str()) && !repository.contains('/') {
            repository.insert_str(0, "library/");
        }
        Self::new(settings, &reference.registry, repository)
    }

    /// The mirrors of the registry that a reference names, in their order.
    pub(super) fn mirrors(settings: &RegistrySettings, reference: &OciReference) -> Result<Vec<Self>, Error> {
        let Some(host) = settings.hosts.get(&reference.registry) else { return Ok(Vec::new()) };
        let mirror = |mirror: &String| {
            let (host, prefix) = mirror.split_once('/').unwrap_or((mirror, ""));
            let prefix = prefix.trim_matches('/');
            let slash = if prefix.is_empty() { "" } else { "/" };
            Self::new(settings, host, format!("{prefix}{slash}{}", reference.repository))
        };
        host.mirrors.iter().map(mirror).collect()
    }

    /// `host[:port]`, for messages.
    pub(super) fn host(&self) -> String {
        authority(&self.base)
    }

    /// A URL of the repository: `manifests/v1`. What is joined is a tag, a digest or a word of the API.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }
}

impl RegistrySettings {
    /// What the operator says about the host of a URL, if anything.
    pub(super) fn host(&self, url: &Url) -> Option<&RegistryHost> {
        let host = url.host_str()?;
        let with_port = || self.hosts.get(&format!("{host}:{}", url.port_or_known_default()?));
        match url.port() {
            Some(_) => with_port(),
            None => self.hosts.get(host).or_else(with_port),
        }
    }

    /// Whether the operator allows plain HTTP to the host of a URL.
    pub(super) fn insecure(&self, url: &Url) -> bool {
        self.host(url).is_some_and(|host| host.insecure)
    }
}

/// `host[:port]` of a URL.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A URL as messages show it: without a query, in which storage services put what opens them.
pub(super) fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), authority(url), url.path())
}

/// A header's value of our own making.
pub(super) fn header(value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value).map_err(|_| Error::Invalid("a header would hold what headers cannot".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reference: &str, hosts: &[(&str, RegistryHost)], expected: &[&str]) {
        let hosts = hosts.iter().map(|(name, host)| ((*name).to_owned(), host.clone())).collect();
        let settings = RegistrySettings { hosts, ..RegistrySettings::default() };
        let reference = reference.parse().unwrap();
        let mut all = Endpoint::mirrors(&settings, &reference).unwrap();
        all.push(Endpoint::of(&settings, &reference).unwrap());
        let urls: Vec<_> = all.iter().map(|endpoint| endpoint.url("tags/list").to_string()).collect();
        assert_eq!(urls, expected);
    }

    fn insecure() -> RegistryHost {
        RegistryHost { insecure: true, ..RegistryHost::default() }
    }

    fn mirrored(mirrors: &[&str]) -> RegistryHost {
        let mirrors = mirrors.iter().map(|&mirror| mirror.to_owned()).collect();
        RegistryHost { mirrors, ..RegistryHost::default() }
    }

    #[test]
    fn a_registry_is_https_unless_it_was_named_insecure() {
        check("r.example/a/b:1", &[], &["https://r.example/v2/a/b/tags/list"]);
        check("127.0.0.1:5000/a", &[], &["https://127.0.0.1:5000/v2/a/tags/list"]);
        check("127.0.0.1:5000/a", &[("127.0.0.1:5000", insecure())], &["http://127.0.0.1:5000/v2/a/tags/list"]);
        check("127.0.0.1:5000/a", &[("127.0.0.1:5001", insecure())], &["https://127.0.0.1:5000/v2/a/tags/list"]);
        check("r.example/a", &[("r.example:5000", insecure())], &["https://r.example/v2/a/tags/list"]);
    }

    #[test]
    fn mirrors_come_first_and_may_have_a_prefix() {
        check(
            "r.example/a",
            &[("r.example", mirrored(&["m.example", "127.0.0.1:5000/hub"])), ("127.0.0.1:5000", insecure())],
            &[
                "https://m.example/v2/a/tags/list",
                "http://127.0.0.1:5000/v2/hub/a/tags/list",
                "https://r.example/v2/a/tags/list",
            ],
        );
    }

    #[test]
    fn dockers_registry_has_names_of_its_own() {
        check("docker.io/busybox", &[], &["https://registry-1.docker.io/v2/library/busybox/tags/list"]);
        check("docker.io/me/app", &[], &["https://registry-1.docker.io/v2/me/app/tags/list"]);
        let hub = Endpoint::of(&RegistrySettings::default(), &"docker.io/busybox".parse().unwrap()).unwrap();
        assert_eq!(hub.login, DOCKER_LOGIN);
    }

    #[test]
    fn a_mirror_that_is_no_host_is_refused() {
        for mirror in ["", "me:secret@m.example", "https://m.example", "m.example?x", "a b"] {
            let hosts = [("r.example".to_owned(), mirrored(&[mirror]))].into();
            let settings = RegistrySettings { hosts, ..RegistrySettings::default() };
            let error = Endpoint::mirrors(&settings, &"r.example/a".parse().unwrap()).unwrap_err();
            assert!(matches!(&error, Error::Reference(why) if why.contains("is no host")), "{mirror}: {error}");
        }
    }
}
