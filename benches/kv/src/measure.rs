//! Rounds of the same operation done in several ways, in turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::report::Row;

/// Rounds of each way; the median counts.
pub(crate) const ROUNDS: usize = 5;

/// What one round measured.
pub(crate) struct Round {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

/// Does `count` operations, `at_once` under way, and times each.
pub(crate) async fn round<F: Future<Output = ()> + Send>(
    count: usize,
    at_once: usize,
    operation: impl Fn(usize) -> F + Send + Sync + 'static,
) -> anyhow::Result<Round> {
    let (operation, next) = (Arc::new(operation), Arc::new(AtomicUsize::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    let since = Instant::now();
    for _ in 0..at_once {
        let (operation, next) = (operation.clone(), next.clone());
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(count / at_once * 2);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return times;
                }
                let since = Instant::now();
                operation(number).await;
                times.push(since.elapsed());
            }
        });
    }
    let mut times = Vec::with_capacity(count);
    while let Some(done) = tasks.join_next().await {
        times.extend(done?);
    }
    let took = since.elapsed();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    Ok(Round { rate: count as f64 / took.as_secs_f64(), p50: at(50), p99: at(99) })
}

/// The median of some rounds.
pub(crate) fn median(name: &'static str, mut rounds: Vec<Round>) -> Row {
    rounds.sort_unstable_by(|a, b| a.rate.total_cmp(&b.rate));
    let middle = rounds.swap_remove(rounds.len() / 2);
    Row { name, rate: middle.rate, p50: middle.p50, p99: middle.p99 }
}

/// A table of several ways, each with how many operations a round has. Whatever a way needs is cloned for each operation, as
/// it is for each call of a guest.
macro_rules! compare {
    ($scenario:expr, $at_once:expr, $($name:literal, $count:expr, $store:expr => |$own:ident, $number:ident| $operation:expr;)+) => {{
        let mut all: Vec<(&'static str, Vec<$crate::measure::Round>)> = vec![$(($name, Vec::new())),+];
        for _ in 0..$crate::measure::ROUNDS {
            let mut rounds = Vec::new();
            $(
                let store = $store.clone();
                let operation = move |$number: usize| {
                    #[allow(unused_mut, reason = "some clients are used mutably")]
                    let mut $own = store.clone();
                    async move { $operation }
                };
                rounds.push($crate::measure::round($count, $at_once, operation).await?);
            )+
            all.iter_mut().zip(rounds).for_each(|((_, all), round)| all.push(round));
        }
        let rows = all.into_iter().map(|(name, rounds)| $crate::measure::median(name, rounds)).collect();
        let table = $crate::report::Table { scenario: $scenario, rows };
        table.print();
        table
    }};
}
pub(crate) use compare;
