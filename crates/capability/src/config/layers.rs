//! Sources of values one over another, as a grant lists them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use samara_model::ValueSource;

use super::{Config, ConfigError, Values, open};

/// Sources in an order: of two that have a key, the later one is told.
#[derive(Debug)]
pub struct Layers {
    sources: Vec<Arc<dyn Config>>,
    merged: Mutex<Merged>,
}

/// What the sources were when they were last put together.
#[derive(Debug, Default)]
struct Merged {
    parts: Vec<Arc<Values>>,
    whole: Arc<Values>,
}

impl Layers {
    /// Opens what a `config` grant lists: the sources in their order, and over them the values of the manifest itself.
    ///
    /// # Errors
    /// A source cannot be opened.
    pub async fn open(
        sources: &[ValueSource],
        manifest: &BTreeMap<String, String>,
        fresh: Duration,
    ) -> Result<Self, ConfigError> {
        let mut opened = Vec::with_capacity(sources.len() + 1);
        for source in sources {
            opened.push(open(&source.to_string(), fresh).await?);
        }
        if !manifest.is_empty() {
            let values = manifest.iter().map(|(key, text)| (key.as_str(), text.as_str()));
            opened.push(Arc::new(Self::constant(Values::from_place(&"manifest".into(), values))) as _);
        }
        Ok(Self::new(opened))
    }

    /// Sources that are open already.
    pub fn new(sources: Vec<Arc<dyn Config>>) -> Self {
        Self { sources, merged: Mutex::default() }
    }

    /// Values that never change.
    pub fn constant(values: Values) -> Self {
        let whole = Arc::new(values);
        Self { sources: Vec::new(), merged: Mutex::new(Merged { parts: Vec::new(), whole }) }
    }
}

#[async_trait]
impl Config for Layers {
    async fn values(&self) -> Result<Arc<Values>, ConfigError> {
        let mut parts = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            parts.push(source.values().await?);
        }
        let mut merged = self.merged.lock();
        let same = merged.parts.len() == parts.len() && merged.parts.iter().zip(&parts).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            let mut whole = Values::default();
            parts.iter().for_each(|part| whole.overlay(part));
            *merged = Merged { parts, whole: Arc::new(whole) };
        }
        Ok(Arc::clone(&merged.whole))
    }
}
