//! Hands one payload to a guest and tells how that went.

use async_trait::async_trait;
use samara_bindings::{
    spin1::redis_trigger::{RedisTrigger as Trigger1, RedisTriggerPre as Pre1},
    spin3::redis_trigger::RedisTriggerPre as Pre3,
};
use samara_model::{Call, Message, Reply};
use samara_runtime::{After, Failure, Guest, Live, Ready, ReplyTo, instantiating, trace};

use crate::message::{failed, message};

/// A guest of `fermyon:spin`.
pub(super) struct Release1(pub(super) Pre1<Guest>);
/// A guest of `spin:redis`, whose handler is async.
pub(super) struct Release3(pub(super) Pre3<Guest>);

#[async_trait]
impl Ready for Release1 {
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let Message { body, .. } = message(call)?;
        let Live { store, instance } = live;
        let trigger = match instance.take().and_then(|kept| kept.downcast::<Trigger1>().ok()) {
            Some(trigger) => *trigger,
            None => instantiating(self.0.instantiate_async(&mut *store)).await?,
        };
        trace::to_guest("fermyon:spin/inbound-redis#handle-message", format_args!("{} bytes", body.len()));
        let handled = trigger.fermyon_spin_inbound_redis().call_handle_message(&mut *store, &Vec::from(body)).await?;
        trace::from_guest(format_args!("{handled:?}"));
        handled.map_err(|error| failed(&format!("{error:?}")))?;
        reply.send(Reply::Message(None));
        *instance = Some(Box::new(trigger));
        Ok(After::Keep)
    }
}

#[async_trait]
impl Ready for Release3 {
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let Message { body, .. } = message(call)?;
        let trigger = instantiating(self.0.instantiate_async(&mut live.store)).await?;
        trace::to_guest("spin:redis/inbound-redis@3.0#handle-message", format_args!("{} bytes", body.len()));
        let handled = live
            .store
            .run_concurrent(async |store| {
                trigger.spin_redis_inbound_redis().call_handle_message(store, Vec::from(body)).await
            })
            .await??;
        trace::from_guest(format_args!("{handled:?}"));
        handled.map_err(|error| failed(&format!("{error:?}")))?;
        reply.send(Reply::Message(None));
        // Tasks of the guest may still be running in this store.
        Ok(After::Discard)
    }
}
