//! One instance, made and dropped: whether a version can start at all, before it serves.

use std::{sync::Arc, time::Duration};

use samara_model::{
    Call, Command, Encoding, Fault, Function, HttpCall, KeyValueCall, Limit, Message, Shape, format_duration,
};

use crate::{
    Failure, Linked, Runtime, Workload,
    error::{fault_of, limit},
    meter::{Meter, Metered},
    nesting::Nested,
};

/// How long an instance may take to come up when the workload has no deadline.
const PATIENCE: Duration = Duration::from_secs(30);

impl Runtime {
    /// Makes one instance under the workload's limits and drops it. The engine runs what belongs to instantiating (data
    /// segments, start functions); nothing of the contract is called, and nothing is booked as a call.
    ///
    /// # Errors
    /// The fault that every call of this version would end in.
    pub async fn try_instance(self: &Arc<Self>, workload: &Arc<Workload>) -> Result<(), Fault> {
        let nested = Nested::under(workload)?;
        let _admitted = workload.admit(&nested).await?;
        let instance = self.reserve(workload, nested.level()).await?;
        let limits = workload.limits();
        let meter = Arc::new(Meter::new(limits.cpu, limits.host_calls));
        let mut call = nothing(workload.shape);
        // The slots outlive the store that stands in them.
        let prepared = workload.tiers.of(instance.tier());
        let (_reserved, mut live, _) = instance.enter(workload, prepared, &mut call, &meter)?;
        let _ticking = self.engines.tick();
        let store = &mut live.store;
        let guest = async {
            match &prepared.linked {
                Linked::Module(pre) => pre.instantiate_async(store).await.map(drop),
                Linked::Component(pre) => pre.instantiate_async(store).await.map(drop),
            }
        };
        let metered = Metered { meter: Arc::clone(&meter), guest: Box::pin(guest) };
        let deadline = limits.deadline.unwrap_or(PATIENCE);
        let result = match tokio::time::timeout(deadline, metered).await {
            Ok(result) => result.map_err(Failure::Engine),
            Err(_) => Err(Failure::Fault(limit(Limit::Deadline, format_duration(deadline)))),
        };
        result.map_err(|failure| fault_of(failure, limits, &meter, &live.store.data().limiter))
    }
}

/// A call of a shape that asks for nothing.
fn nothing(shape: Shape) -> Call {
    match shape {
        Shape::Command => Call::Command(Command::default()),
        Shape::Http => Call::Http(HttpCall {
            request: http::Request::new(samara_model::empty()),
            caller: samara_model::Caller::default(),
            route: "/".into(),
            params: Vec::new(),
        }),
        Shape::Function => Call::Function(Function {
            operation: String::new(),
            payload: bytes::Bytes::new(),
            encoding: Encoding::default(),
        }),
        Shape::Message => Call::Message(Message::default()),
        Shape::KeyValue => Call::KeyValue(KeyValueCall::List(None)),
    }
}
