//! A database as the runtime keeps it: opened for one tenant, lent to that tenant's workloads.
//!
//! Two tenants never share a table. A provider opens a database per [`Share`], and a share is a tenant: apps of one tenant
//! that name the same URL do share the database, and that is how one app's data reaches another. What a share means to
//! each provider stands at its top.

use std::sync::Arc;

use samara_model::{Limits, SqlGrant, Tenant};

use super::{Granted, Sql, SqlError, open};
use crate::{Link, Recorder};

/// Whose part of a backend a database is. Providers do not know more of it than its name: 1 to 63 letters, digits, `-`, `_`
/// and `.`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share(Tenant);

impl Share {
    /// The share of a tenant.
    pub fn of(tenant: &Tenant) -> Self {
        Self(tenant.clone())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is the share of those who have no tenants: a provider may then use what the URL names as it is, if no
    /// other share's URL can name the same.
    pub fn is_default(&self) -> bool {
        self.0 == Tenant::default()
    }
}

/// One tenant's database, under the name its manifest gives it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) name: Arc<str>,
    share: Share,
    pub(super) backend: Arc<Link<dyn Sql>>,
}

impl Store {
    /// Opens a tenant's database within what a URL names.
    ///
    /// # Errors
    /// The URL or a setting is wrong, or the backend does not answer.
    pub async fn open(name: &str, tenant: &Tenant, url: &str, settings: &toml::Table) -> Result<Self, SqlError> {
        let share = Share::of(tenant);
        let backend = open(url, settings, &share).await?;
        Ok(Self { name: name.into(), share, backend: Arc::new(Link::new(backend)) })
    }

    /// Leads the name to another database from now on, for all workloads it was lent to. Statements and transactions that
    /// have begun end on the database they began on. Nothing is copied.
    ///
    /// # Errors
    /// As [`open`](Self::open); the name then leads where it did.
    pub async fn relink(&self, url: &str, settings: &toml::Table) -> Result<(), SqlError> {
        let backend = open(url, settings, &self.share).await?;
        self.backend.set(backend);
        Ok(())
    }

    /// The name the manifest gives this store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the name leads to.
    pub fn link(&self) -> &Arc<Link<dyn Sql>> {
        &self.backend
    }

    /// Lends the database to a workload, to the extent of a grant and within its limits.
    pub fn grant(&self, grant: SqlGrant, limits: &Limits, recorder: Arc<dyn Recorder>) -> Granted {
        Granted::new(self.clone(), grant, limits, recorder)
    }
}
