//! `workload:NAME`: a guest of the same app is the store. What that guest is and how it is asked is the business of whoever
//! opens stores ([`Opener`]); this is the word for it.

use std::sync::Arc;

use async_trait::async_trait;

use super::{KeyValue, KvError, Opener, Provider};

/// The provider.
#[derive(Debug)]
pub(super) struct Workload;

#[async_trait]
impl Provider for Workload {
    fn scheme(&self) -> &'static str {
        "workload"
    }

    async fn open(&self, url: &str, settings: &toml::Table, opener: &dyn Opener) -> Result<Arc<dyn KeyValue>, KvError> {
        if let Some(unknown) = settings.keys().next() {
            return Err(KvError::Configuration(format!(
                "`workload:` has no setting `{unknown}`; what the guest is to know is in the `settings` of its workload"
            )));
        }
        match url.split_once(':') {
            Some((_, name)) if !name.is_empty() => opener.workload(name).await,
            _ => Err(KvError::Configuration("write the name of a workload of this app: `workload:my-kv`".to_owned())),
        }
    }
}
