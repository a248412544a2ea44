//! Configuration values as a workload sees them.
//!
//! A key that no source has is a key that is not there, and guests fall back to their defaults; a guest without a `config` grant
//! is refused, once for all keys: which one it asks for is its own text, and it may ask for very many.

use std::sync::Arc;

use async_trait::async_trait;
use samara_model::{Capability, Grants};

use super::{Config, ConfigError, Values};
use crate::{Lent, Operation, Recorder};

const GET: Operation = Operation { name: "get", span: "config get" };
const GET_ALL: Operation = Operation { name: "get-all", span: "config get-all" };

/// The name that uses of all values are recorded under.
const EVERYTHING: &str = "*";

/// The values lent to one workload. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Granted {
    values: Option<Arc<dyn Config>>,
    recorder: Arc<dyn Recorder>,
}

impl Granted {
    /// Lends values to a workload; `None` is no grant.
    pub fn new(values: Option<Arc<dyn Config>>, recorder: Arc<dyn Recorder>) -> Self {
        Self { values, recorder }
    }

    fn lent(&self, name: &str) -> Lent {
        Lent::new(Capability::Config, name.into(), Arc::clone(&self.recorder))
    }

    fn source(&self) -> Result<&Arc<dyn Config>, ConfigError> {
        self.values.as_ref().ok_or_else(|| {
            let grant = Grants::example(Capability::Config).to_owned();
            let denial = self.lent(EVERYTHING).refused("configuration values".to_owned(), grant);
            ConfigError::AccessDenied { what: denial.what, grant: denial.grant }
        })
    }
}

#[async_trait]
impl Config for Granted {
    async fn values(&self) -> Result<Arc<Values>, ConfigError> {
        let source = self.source()?;
        let lent = self.lent(EVERYTHING);
        lent.used(GET_ALL);
        lent.told(GET_ALL, Ok(()), source.values()).await
    }

    async fn get(&self, key: &str) -> Result<Option<Arc<str>>, ConfigError> {
        let value = self.source()?.get(key).await?;
        // What is not there is not remembered: its name is the guest's own text.
        if value.is_some() {
            let lent = self.lent(key);
            lent.used(GET);
            return lent.told(GET, Ok(()), async { Ok(value) }).await;
        }
        Ok(value)
    }
}
