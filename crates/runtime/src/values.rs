//! What the operator hands over to a workload as values: configuration and secrets, from where its grants say they are read.

use std::sync::Arc;

use samara_capability::{FRESH, Recorder, config, http::AddedHeaders, secrets};
use samara_model::{Capability, Fault, Grants, WorkloadId};

/// A workload's values, open. They follow their sources while it is loaded.
pub(crate) struct Values {
    config: Option<Arc<dyn config::Config>>,
    secrets: Option<Arc<dyn secrets::Secrets>>,
    headers: Option<Arc<AddedHeaders>>,
}

/// The same, lent to one workload.
pub(crate) struct Lent {
    pub(crate) config: config::Granted,
    pub(crate) secrets: secrets::Granted,
    /// What is added to its requests, which it never sees.
    pub(crate) headers: Option<Arc<AddedHeaders>>,
}

impl Values {
    /// Opens what a workload is granted.
    ///
    /// # Errors
    /// A source cannot be read; the message names the place and no value.
    pub(crate) async fn open(id: &WorkloadId, grants: &Grants) -> Result<Self, Fault> {
        let mut values = Self { config: None, secrets: None, headers: None };
        if grants.has(Capability::Config) {
            let opened = config::Layers::open(&grants.config_sources, &grants.config, FRESH).await;
            let refused = |error| Fault::Config(format!("workload `{id}`: its configuration: {error}"));
            values.config = Some(Arc::new(opened.map_err(refused)?));
        }
        if grants.has(Capability::Secrets) {
            let opened = secrets::Sources::open(&grants.secrets, FRESH).await;
            let refused = |error| Fault::Config(format!("workload `{id}`: its secrets: {error}"));
            values.secrets = Some(Arc::new(opened.map_err(refused)?));
        }
        if !grants.http.headers.is_empty() {
            let opened = AddedHeaders::open(&grants.http, values.secrets.as_ref(), FRESH).await;
            let refused = |error| Fault::Config(format!("workload `{id}`: headers of its requests: {error}"));
            values.headers = Some(Arc::new(opened.map_err(refused)?));
        }
        Ok(values)
    }

    /// Lends them.
    pub(crate) fn lend(self, recorder: &Arc<dyn Recorder>) -> Lent {
        Lent {
            config: config::Granted::new(self.config, Arc::clone(recorder)),
            secrets: secrets::Granted::new(self.secrets, Arc::clone(recorder)),
            headers: self.headers,
        }
    }
}
