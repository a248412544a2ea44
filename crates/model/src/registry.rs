//! What an operator says about one registry or web server: `[registry."host:port"]` of the host file, `--insecure HOST`.

use std::path::PathBuf;

/// How one host is spoken to. The default is HTTPS with the machine's certificate authorities, and no mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryHost {
    /// Plain HTTP, which anybody on the way can read and change. Logins are sent over it too.
    pub insecure: bool,
    /// Hosts that are asked first, in this order, each as `host`, `host:port` or `host:port/prefix`. The registry itself is
    /// asked last. What is asked by digest is checked; a tag is what the first mirror that knows it says.
    pub mirrors: Vec<String>,
    /// A PEM file with certificate authorities that are believed for this host, beside those of the machine.
    pub ca: Option<PathBuf>,
}
