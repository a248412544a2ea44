//! Secrets as a workload sees them: those of its grant, each use told by name and none by value.

use std::sync::Arc;

use async_trait::async_trait;
use samara_model::{Capability, Grants};

use super::{Secret, SecretError, Secrets};
use crate::{Lent, Operation, Recorder};

const GET: Operation = Operation { name: "get", span: "secrets get" };
const LIST: Operation = Operation { name: "list", span: "secrets list" };

/// The name that uses of no single secret are recorded under.
const EVERYTHING: &str = "*";

/// The secrets lent to one workload. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Granted {
    secrets: Option<Arc<dyn Secrets>>,
    recorder: Arc<dyn Recorder>,
}

impl Granted {
    /// Lends secrets to a workload; `None` is no grant.
    pub fn new(secrets: Option<Arc<dyn Secrets>>, recorder: Arc<dyn Recorder>) -> Self {
        Self { secrets, recorder }
    }

    fn lent(&self, name: &str) -> Lent {
        Lent::new(Capability::Secrets, name.into(), Arc::clone(&self.recorder))
    }

    /// One refusal for all names: which one a guest asks for is its own text, and it may ask for very many.
    fn refused(&self) -> SecretError {
        let grant = Grants::example(Capability::Secrets).to_owned();
        let denial = self.lent(EVERYTHING).refused("a secret".to_owned(), grant);
        SecretError::AccessDenied { what: denial.what, grant: denial.grant }
    }
}

#[async_trait]
impl Secrets for Granted {
    /// A secret that the grant does not have is refused and not merely absent: guests cannot run without their secrets,
    /// and whoever runs them must learn of it.
    async fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        let secrets = self.secrets.as_ref().ok_or_else(|| self.refused())?;
        let Some(secret) = secrets.get(name).await? else { return Err(self.refused()) };
        let lent = self.lent(name);
        lent.used(GET);
        lent.told(GET, Ok(()), async { Ok(Some(secret)) }).await
    }

    async fn names(&self) -> Result<Vec<String>, SecretError> {
        let secrets = self.secrets.as_ref().ok_or_else(|| self.refused())?;
        let lent = self.lent(EVERYTHING);
        lent.used(LIST);
        lent.told(LIST, Ok(()), secrets.names()).await
    }
}
