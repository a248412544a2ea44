//! What a route leads to, and the table of routes that is replaced while requests are on their way.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use futures::future::BoxFuture;
use samara_model::{Call, Fault, Limits, Reply, RouteTable, Shape, WorkloadId};

/// Something that answers calls: a loaded workload, and whatever else may stand behind a route.
pub trait Target: Send + Sync + fmt::Debug {
    /// Its name, for logs.
    fn id(&self) -> &WorkloadId;
    /// The shape of the calls it answers: the gateway adapts requests to it.
    fn shape(&self) -> Shape;
    /// What bounds it.
    fn limits(&self) -> &Limits;
    /// Answers a call. Called once a request; dropping the future, or the reply's body before its end, gives the call up.
    ///
    /// # Errors
    /// The fault says whose fault it is that there is no reply.
    fn answer(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>>;
}

/// Where a route leads, and how.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Who answers.
    pub target: Arc<dyn Target>,
    /// The function to call, when the path does not say it.
    pub operation: Option<Arc<str>>,
    /// The first arguments of a command.
    pub args: Arc<[String]>,
}

impl Destination {
    /// A destination whose path says the rest.
    pub fn new(target: Arc<dyn Target>) -> Self {
        Self { target, operation: None, args: Arc::default() }
    }
}

/// What stands behind one route.
#[derive(Clone, Debug)]
pub struct Backing {
    /// Who answers.
    pub answering: Answering,
    /// Where the route is written, for messages: `samara.toml:12 (app acme/shop)`.
    pub origin: Arc<str>,
}

/// Who answers the requests of a route.
#[derive(Clone, Debug)]
pub enum Answering {
    /// Every request goes here.
    One(Destination),
    /// Each request goes to one of these.
    Shared(Arc<Shared>),
}

impl Backing {
    /// Where the next request goes.
    pub fn next(&self) -> &Destination {
        match &self.answering {
            Answering::One(destination) => destination,
            Answering::Shared(shared) => shared.next(),
        }
    }

    /// One of its destinations, for lists of routes: no request's turn is taken.
    pub fn first(&self) -> &Destination {
        match &self.answering {
            Answering::One(destination) => destination,
            Answering::Shared(shared) => &shared.first,
        }
    }
}

impl From<Destination> for Backing {
    fn from(destination: Destination) -> Self {
        Self { answering: Answering::One(destination), origin: Arc::from("") }
    }
}

/// Destinations that share the requests of a route.
#[derive(Debug)]
pub struct Shared {
    /// Each with the sum of the weights up to and with its own.
    shares: Vec<(u32, Destination)>,
    first: Destination,
    turn: AtomicU64,
}

impl Shared {
    /// Spreads requests by weight; destinations of weight 0 get none. `None` when nothing has a weight.
    pub fn new(weighted: impl IntoIterator<Item = (u32, Destination)>) -> Option<Self> {
        let mut sum = 0_u32;
        let shares: Vec<_> = weighted
            .into_iter()
            .filter(|(weight, _)| *weight > 0)
            .map(|(weight, destination)| {
                sum = sum.saturating_add(weight);
                (sum, destination)
            })
            .collect();
        let (_, first) = shares.first()?.clone();
        Some(Self { shares, first, turn: AtomicU64::new(0) })
    }

    /// The next request's destination. Turns are spread by the golden ratio, so that even a few requests in a row are
    /// divided by weight, and none of the shares gets its requests in a bunch.
    fn next(&self) -> &Destination {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN);
        let total = self.shares.last().map_or(1, |(sum, _)| u64::from(*sum));
        // The upper half of the product: a number below `total`, evenly spread.
        let point = u64::try_from((u128::from(turn) * u128::from(total)) >> 64).unwrap_or(0);
        let found = self.shares.iter().find(|(sum, _)| point < u64::from(*sum));
        found.map_or(&self.first, |(_, destination)| destination)
    }
}

/// The routes that are served. Clones are the same table: what one puts there all serve from the next request on.
#[derive(Clone, Debug, Default)]
pub struct Routes(Arc<ArcSwap<RouteTable<Backing>>>);

impl Routes {
    /// Serves this table.
    pub fn new(table: RouteTable<Backing>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(table)))
    }

    /// Replaces the table at once. Requests that found their route in the old one are not touched.
    pub fn replace(&self, table: RouteTable<Backing>) {
        self.0.store(Arc::new(table));
    }

    /// The table of this moment. Costs about as much as reading a thread-local; do not keep the guard for long.
    pub fn load(&self) -> Guard<Arc<RouteTable<Backing>>> {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use samara_model::Tenant;

    use super::*;

    #[derive(Debug)]
    struct Named(WorkloadId, Limits);

    impl Target for Named {
        fn id(&self) -> &WorkloadId {
            &self.0
        }

        fn shape(&self) -> Shape {
            Shape::Http
        }

        fn limits(&self) -> &Limits {
            &self.1
        }

        fn answer(&self, _: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
            Box::pin(async { Err(Fault::Guest("it only has a name".into())) })
        }
    }

    fn named(name: &str) -> Destination {
        let id = WorkloadId { tenant: Tenant::default(), app: "app".into(), name: name.into() };
        Destination::new(Arc::new(Named(id, Limits::serve())))
    }

    #[test]
    fn requests_are_divided_by_weight_and_not_in_bunches() {
        let shared = Shared::new([(90, named("old")), (10, named("new")), (0, named("none"))]).unwrap();
        let turns: Vec<_> = (0..1000).map(|_| shared.next().target.id().name.to_string()).collect();
        assert_eq!(turns.iter().filter(|name| *name == "new").count(), 100);
        assert!(!turns.iter().any(|name| name == "none"));
        for window in turns.chunks(100) {
            let new = window.iter().filter(|name| *name == "new").count();
            assert!((9..=11).contains(&new), "{new} of 100");
        }
        assert!(Shared::new([(0, named("none"))]).is_none());
    }
}
