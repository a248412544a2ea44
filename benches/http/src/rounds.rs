//! The measurement itself: servers take turns, so that a busy minute of the machine hits all of them.

use std::time::Duration;

use crate::{
    load::{Load, Seen},
    server::{Recipe, Server},
};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) server_core: usize,
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
    pub(crate) warm_up_seconds: u64,
}

/// One server in one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    seen: Seen,
    cpu: Duration,
}

/// Medians over the rounds of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) requests_per_second: f64,
    /// User and system time of the server's process, all threads, in microseconds.
    pub(crate) cpu_micros_per_request: f64,
    /// How far the rounds are apart: the greatest less the least CPU per request.
    pub(crate) cpu_micros_spread: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    /// After the last round.
    pub(crate) resident_bytes: u64,
}

/// Loads all servers in turn and gives their figures in the same order.
pub(crate) fn measure(recipes: &[Recipe], plan: Plan, load: &Load) -> anyhow::Result<Vec<Figures>> {
    let servers: Vec<Server> = recipes.iter().map(|recipe| recipe.start(plan.server_core)).collect::<Result<_, _>>()?;
    for server in &servers {
        load.run(&server.url(), plan.warm_up_seconds)?;
    }
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); servers.len()];
    for number in 1..=plan.rounds {
        eprintln!("  round {number} of {}", plan.rounds);
        for (server, rounds) in servers.iter().zip(&mut rounds) {
            let before = server.cpu()?;
            let seen = load.run(&server.url(), plan.seconds)?;
            rounds.push(Round { seen, cpu: server.cpu()?.saturating_sub(before) });
        }
    }
    servers.iter().zip(&rounds).map(|(server, rounds)| Ok(figures(rounds, server.resident_bytes()?))).collect()
}

fn figures(rounds: &[Round], resident_bytes: u64) -> Figures {
    let each = |value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    let cpu = each(|round| round.cpu.as_secs_f64() * 1e6 / round.seen.requests as f64);
    let (least, greatest) =
        cpu.iter().fold((f64::MAX, 0.0_f64), |(least, greatest), value| (least.min(*value), greatest.max(*value)));
    Figures {
        requests_per_second: median(each(|round| round.seen.requests as f64 * 1e6 / round.seen.micros as f64)),
        cpu_micros_per_request: median(cpu),
        cpu_micros_spread: (greatest - least).max(0.0),
        p50_micros: median(each(|round| round.seen.p50_micros as f64)),
        p99_micros: median(each(|round| round.seen.p99_micros as f64)),
        resident_bytes,
    }
}

/// The middle value; of an even number, the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => f64::NAN,
        (Some(value), 1) => *value,
        (Some(value), _) => values.get(middle - 1).map_or(*value, |below| below.midpoint(*value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
