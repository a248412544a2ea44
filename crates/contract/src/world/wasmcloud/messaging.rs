//! `wasmcloud:messaging/consumer` 0.2.0 and 0.3.0: publishing and requests, over the bus of the workload's `messaging` grant.
//!
//! The interface names no bus: it is the only granted one, or the one named `default`.

use std::time::Duration;

use bytes::Bytes;
use samara_bindings::{wasmcloud_messaging as release2, wasmcloud_messaging3 as release3};
use samara_capability::{
    Denial,
    messaging::{Granted, Message, Messaging, MessagingError},
};
use samara_runtime::Guest;
use wasmtime::component::{Accessor, Linker};

use crate::world::view::{View, Views, view};

pub(super) fn link(linker: &mut Linker<Guest>, concurrency: bool) -> wasmtime::Result<()> {
    if concurrency {
        release3::consumer::add_to_linker::<_, Views>(linker, view)?;
    }
    release2::consumer::add_to_linker::<_, Views>(linker, view)
}

/// The bus a guest publishes to.
fn bus(guest: &Guest) -> Result<Granted, MessagingError> {
    let authority = guest.authority();
    match authority.only_messaging() {
        Some(bus) => Ok(bus.clone()),
        None => authority
            .messaging("default")
            .cloned()
            .map_err(|Denial { what, grant, .. }| MessagingError::AccessDenied { what, grant }),
    }
}

async fn ask(bus: &Granted, subject: String, body: Vec<u8>, timeout_ms: u32) -> Result<Message, MessagingError> {
    let within = Duration::from_millis(timeout_ms.into());
    let mut replies = bus.request(Message::new(subject, Bytes::from(body)), 1, within).await?;
    replies.pop().ok_or(MessagingError::NoResponders)
}

fn message(subject: String, body: Vec<u8>, reply_to: Option<String>) -> Message {
    Message { reply_to, ..Message::new(subject, Bytes::from(body)) }
}

impl release2::types::Host for View<'_> {}

impl release2::consumer::Host for View<'_> {
    async fn request(
        &mut self,
        subject: String,
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<release2::types::BrokerMessage, String>> {
        let answer = match bus(self.0) {
            Ok(bus) => ask(&bus, subject, body, timeout_ms).await,
            Err(refused) => Err(refused),
        };
        let told = |Message { subject, body, reply_to, .. }: Message| release2::types::BrokerMessage {
            subject,
            body: body.into(),
            reply_to,
        };
        Ok(answer.map(told).map_err(|error| error.to_string()))
    }

    async fn publish(&mut self, sent: release2::types::BrokerMessage) -> wasmtime::Result<Result<(), String>> {
        let published = match bus(self.0) {
            Ok(bus) => bus.publish(message(sent.subject, sent.body, sent.reply_to)).await,
            Err(refused) => Err(refused),
        };
        Ok(published.map_err(|error| error.to_string()))
    }
}

fn error3(error: MessagingError) -> release3::types::Error {
    use release3::types::Error;
    match error {
        MessagingError::AccessDenied { .. } | MessagingError::NoSuchStore { .. } => Error::AccessDenied,
        MessagingError::Malformed(_) => Error::SubjectInvalid,
        MessagingError::TooLarge { .. } => Error::MessageTooLarge,
        MessagingError::TooMany { .. } => Error::QuotaExceeded,
        MessagingError::TimedOut(_) | MessagingError::NoResponders => Error::Timeout,
        MessagingError::Backend(_) => Error::BrokerUnavailable,
        other => Error::Other(other.to_string()),
    }
}

impl release3::types::Host for View<'_> {}

impl release3::consumer::Host for View<'_> {}

impl<U> release3::consumer::HostWithStore<U> for Views {
    async fn request(
        accessor: &Accessor<U, Self>,
        subject: String,
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<release3::types::BrokerMessage, release3::types::Error>> {
        let answer = match accessor.with(|mut access| bus(access.get().0)) {
            Ok(bus) => ask(&bus, subject, body, timeout_ms).await,
            Err(refused) => Err(refused),
        };
        let told = |Message { subject, body, reply_to, .. }: Message| release3::types::BrokerMessage {
            subject,
            body: body.into(),
            reply_to,
        };
        Ok(answer.map(told).map_err(error3))
    }

    async fn publish(
        accessor: &Accessor<U, Self>,
        sent: release3::types::BrokerMessage,
    ) -> wasmtime::Result<Result<(), release3::types::Error>> {
        let published = match accessor.with(|mut access| bus(access.get().0)) {
            Ok(bus) => bus.publish(message(sent.subject, sent.body, sent.reply_to)).await,
            Err(refused) => Err(refused),
        };
        Ok(published.map_err(error3))
    }
}
