//! Hands one message to a guest and tells how that went.

use async_trait::async_trait;
use samara_bindings::{
    wasmcloud_messaging::{
        subscriber::{Subscriber as Subscriber2, SubscriberPre as Pre2},
        types::BrokerMessage as Message2,
    },
    wasmcloud_messaging3::{subscriber::SubscriberPre as Pre3, types::BrokerMessage as Message3},
};
use samara_model::{Call, Message, Reply};
use samara_runtime::{After, Failure, Guest, Live, Ready, ReplyTo, instantiating, trace};

use crate::message::{failed, message};

/// A guest of 0.2.0.
pub(super) struct Release2(pub(super) Pre2<Guest>);
/// A guest of 0.3.0, whose handler is async.
pub(super) struct Release3(pub(super) Pre3<Guest>);

#[async_trait]
impl Ready for Release2 {
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let Message { subject, body, reply_to, .. } = message(call)?;
        let Live { store, instance } = live;
        let handler = match instance.take().and_then(|kept| kept.downcast::<Subscriber2>().ok()) {
            Some(handler) => *handler,
            None => instantiating(self.0.instantiate_async(&mut *store)).await?,
        };
        trace::to_guest("wasmcloud:messaging/handler@0.2#handle-message", format_args!("{subject}, {} bytes", body.len()));
        let message = Message2 { subject, body: body.into(), reply_to };
        let handled = handler.wasmcloud_messaging_handler().call_handle_message(&mut *store, &message).await?;
        trace::from_guest(format_args!("{handled:?}"));
        handled.map_err(|why| failed(&why))?;
        reply.send(Reply::Message(None));
        *instance = Some(Box::new(handler));
        Ok(After::Keep)
    }
}

#[async_trait]
impl Ready for Release3 {
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let Message { subject, body, reply_to, .. } = message(call)?;
        let handler = instantiating(self.0.instantiate_async(&mut live.store)).await?;
        trace::to_guest("wasmcloud:messaging/handler@0.3#handle-message", format_args!("{subject}, {} bytes", body.len()));
        let message = Message3 { subject, body: body.into(), reply_to };
        let handled = live
            .store
            .run_concurrent(async |store| handler.wasmcloud_messaging_handler().call_handle_message(store, message).await)
            .await??;
        trace::from_guest(format_args!("{handled:?}"));
        handled.map_err(|error| failed(&format!("{error:?}")))?;
        reply.send(Reply::Message(None));
        // Tasks of the guest may still be running in this store.
        Ok(After::Discard)
    }
}
