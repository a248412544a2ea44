//! Grants and limits on the command line, for commands that take one module rather than a manifest.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use samara_model::{AddressRule, FsGrant, Grants, KvGrant, Limits, OriginRule, parse_bytes, parse_duration};

/// What the guest may do. Nothing is granted that is not named.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Grants")]
pub struct GrantArgs {
    /// An environment variable; without `=VALUE` it is taken from this process
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = parse_env)]
    pub env: Vec<(String, String)>,
    /// A folder, under its own name or GUEST's; `:ro` forbids changes
    #[arg(long, value_name = "HOST[::GUEST][:ro]", value_parser = parse_dir)]
    pub dir: Vec<FsGrant>,
    /// Raw sockets: `connect=HOST:PORT`, `listen=HOST:PORT` or `any`
    #[arg(long, value_name = "RULE", value_parser = parse_net)]
    pub net: Vec<NetRule>,
    /// Outgoing HTTP requests to an origin such as `https://api.example`
    #[arg(long, value_name = "ORIGIN")]
    pub http: Vec<OriginRule>,
    /// Let the origins of `--http` lead to private, loopback and link-local addresses
    #[arg(long)]
    pub http_private: bool,
    /// A key-value store; the provider is `memory:` unless named
    #[arg(long, value_name = "STORE[=PROVIDER]", value_parser = parse_store)]
    pub kv: Vec<(String, String)>,
    /// A configuration value
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub config: Vec<(String, String)>,
}

/// One `--net`.
#[derive(Clone, Debug)]
pub enum NetRule {
    /// Connect or send there.
    Connect(AddressRule),
    /// Bind and listen there.
    Listen(AddressRule),
    /// Everything.
    Any,
}

/// What bounds the guest.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Linear memory, such as 64MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub memory: Option<u64>,
    /// Running time of the guest, such as 500ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub cpu: Option<Duration>,
    /// Wall time of the call, such as 2s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub deadline: Option<Duration>,
}

impl GrantArgs {
    /// The grants they add up to.
    pub fn grants(&self) -> Grants {
        let mut grants = Grants {
            env: self.env.iter().cloned().collect(),
            fs: self.dir.clone(),
            config: self.config.iter().cloned().collect(),
            kv: self.kv.iter().map(|(name, _)| (name.clone(), KvGrant::default())).collect(),
            ..Grants::default()
        };
        grants.http.allow.clone_from(&self.http);
        grants.http.private = self.http_private;
        for rule in &self.net {
            match rule {
                NetRule::Any => grants.net.any = true,
                NetRule::Connect(address) => grants.net.connect.push(address.clone()),
                NetRule::Listen(address) => grants.net.listen.push(address.clone()),
            }
        }
        grants
    }
}

impl LimitArgs {
    /// The limits with these in place of the defaults.
    pub fn over(&self, defaults: &Limits) -> Limits {
        Limits {
            memory_bytes: self.memory.unwrap_or(defaults.memory_bytes),
            cpu: self.cpu.or(defaults.cpu),
            deadline: self.deadline.or(defaults.deadline),
            ..defaults.clone()
        }
    }
}

pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

fn parse_env(text: &str) -> Result<(String, String), String> {
    if text.contains('=') {
        return parse_pair(text);
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(_) => Err(format!("`{text}` is not set in this environment; write `{text}=VALUE`")),
    }
}

fn parse_store(text: &str) -> Result<(String, String), String> {
    let (name, provider) = text.split_once('=').unwrap_or((text, "memory:"));
    if name.is_empty() {
        Err("write STORE or STORE=PROVIDER".to_owned())
    } else {
        Ok((name.to_owned(), provider.to_owned()))
    }
}

fn parse_dir(text: &str) -> Result<FsGrant, String> {
    let (text, write) = text.strip_suffix(":ro").map_or((text, true), |rest| (rest, false));
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("write HOST, HOST::GUEST or HOST::GUEST:ro".to_owned());
    }
    let path = PathBuf::from(host);
    if !path.is_dir() {
        return Err(format!("`{host}` is not a folder"));
    }
    Ok(FsGrant { host: path, guest: guest.to_owned(), write })
}

fn parse_net(text: &str) -> Result<NetRule, String> {
    let address = |rule: &str| rule.parse::<AddressRule>().map_err(|error| error.to_string());
    match text.split_once('=') {
        Some(("connect", rule)) => address(rule).map(NetRule::Connect),
        Some(("listen", rule)) => address(rule).map(NetRule::Listen),
        None if text == "any" => Ok(NetRule::Any),
        _ => Err("write connect=HOST:PORT, listen=HOST:PORT or any".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_and_may_be_read_only() {
        let grant = parse_dir("/tmp::/data:ro").unwrap();
        assert_eq!((grant.guest.as_str(), grant.write), ("/data", false));
        let grant = parse_dir("/tmp").unwrap();
        assert_eq!((grant.guest.as_str(), grant.write), ("/tmp", true));
        assert!(parse_dir("/no/such/folder").unwrap_err().contains("not a folder"));
        assert!(parse_dir("::/data").is_err());
    }

    #[test]
    fn net_rules_say_what_they_could_be() {
        assert!(matches!(parse_net("any"), Ok(NetRule::Any)));
        assert!(matches!(parse_net("connect=10.0.0.5:5432"), Ok(NetRule::Connect(_))));
        for bad in ["", "connect", "connect=", "10.0.0.5:5432", "accept=1.1.1.1:1"] {
            assert!(parse_net(bad).is_err(), "{bad}");
        }
    }
}
