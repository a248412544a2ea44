//! Names of tenants and workloads.

use std::{fmt, sync::Arc};

/// A name that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` is not a name: use 1 to 63 of a-z, A-Z, 0-9, `-`, `_` and `.`, starting with a letter or digit")]
pub struct NameError {
    name: String,
}

/// Checks the one rule for names of tenants, apps, workloads and stores: they appear in logs, metrics and paths.
pub(crate) fn check_name(name: &str) -> Result<(), NameError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(legal);
    if good { Ok(()) } else { Err(NameError { name: name.to_owned() }) }
}

/// The boundary of isolation, quota and accounting.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// A tenant of this name.
    ///
    /// # Errors
    /// The name breaks the rule for names.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_name(name)?;
        Ok(Self(name.into()))
    }

    /// The tenant's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One app's full name: unique in a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its name.
    pub name: Arc<str>,
}

impl AppId {
    /// The app of this name.
    ///
    /// # Errors
    /// One of the names breaks the rule for names.
    pub fn new(tenant: &str, name: &str) -> Result<Self, NameError> {
        check_name(name)?;
        Ok(Self { tenant: Tenant::new(tenant)?, name: name.into() })
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

/// One workload's full name: unique in a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadId {
    /// Whose it is.
    pub tenant: Tenant,
    /// The app it belongs to.
    pub app: Arc<str>,
    /// Its name in the app.
    pub name: Arc<str>,
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.app, self.name)
    }
}
