//! TEMPORARY shim.
#![allow(missing_docs, reason = "temporary")]
use crate::Recorder;
use samara_model::{Body, HttpGrant};
use std::{sync::Arc, time::Duration};
#[derive(Debug)]
pub struct Egress;
#[derive(Debug, Default, Clone, Copy)]
pub struct Timeouts {
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub between_bytes: Option<Duration>,
}
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error("denied")]
    Denied {},
    #[error("prohibited")]
    AddressProhibited {},
    #[error("other")]
    Other,
}
impl Egress {
    pub fn new(_: HttpGrant, _: Arc<dyn Recorder>) -> Self {
        Self
    }
    pub async fn send(&self, _: http::Request<Body>, _: Timeouts) -> Result<http::Response<Body>, EgressError> {
        Err(EgressError::Denied {})
    }
}
