//! Clocks that are too coarse to time a neighbour by: told in ticks, and each tick a little late by chance.
//!
//! Rounding alone is not enough. A guest that asks in a loop sees the moment a tick begins, and so has a fine clock at each
//! tick's edge, which it can count from. So the edge itself is moved: the tick that begins at `n` times the resolution is told
//! up to the jitter later, by an amount that depends on `n` and on a key of the workload. Asking again, or in another call,
//! gives the same answer, so that there is nothing to take a mean of; and ticks never go back.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The clock of one workload. Made at load, shared by its calls.
#[derive(Clone, Debug)]
pub struct Clock {
    resolution: Duration,
    jitter: Duration,
    key: RandomState,
}

impl Clock {
    /// A clock of a resolution, zero being as fine as the time that it is given. The jitter is the resolution at most: more
    /// would put ticks out of order.
    pub fn new(resolution: Duration, jitter: Duration) -> Self {
        Self { resolution, jitter: jitter.min(resolution), key: RandomState::new() }
    }

    /// The time between two ticks.
    pub fn resolution(&self) -> Duration {
        self.resolution
    }

    /// What a guest is told when it is `now`, counted from any beginning that stays the same for the guest.
    pub fn tell(&self, now: Duration) -> Duration {
        let (Ok(nanos), Ok(resolution)) = (u64::try_from(now.as_nanos()), u64::try_from(self.resolution.as_nanos()))
        else {
            return now;
        };
        let (Some(tick), Some(since)) = (nanos.checked_div(resolution), nanos.checked_rem(resolution)) else {
            return now;
        };
        let late = since < self.late(tick);
        let told = if late { tick.saturating_sub(1) } else { tick };
        Duration::from_nanos(told.saturating_mul(resolution))
    }

    /// By how many nanoseconds a tick is told late.
    fn late(&self, tick: u64) -> u64 {
        match u64::try_from(self.jitter.as_nanos()) {
            Ok(0) | Err(_) => 0,
            Ok(jitter) => self.key.hash_one(tick) % jitter.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    #[test]
    fn without_jitter_time_is_rounded_down() {
        let clock = Clock::new(TICK, Duration::ZERO);
        for (micros, millis) in [(0, 0), (999, 0), (1_000, 1), (2_999, 2), (1_700_000_000_000_001, 1_700_000_000_000)] {
            assert_eq!(clock.tell(Duration::from_micros(micros)), Duration::from_millis(millis), "{micros}");
        }
        let fine = Clock::new(Duration::ZERO, TICK);
        assert_eq!(fine.tell(Duration::from_nanos(7)), Duration::from_nanos(7));
        assert_eq!(clock.tell(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn ticks_are_late_by_chance_within_the_jitter_and_never_go_back() {
        let jitter = Duration::from_micros(200);
        let clock = Clock::new(TICK, jitter);
        let mut edges = Vec::new();
        let mut before = Duration::ZERO;
        for micros in 0..300_000 {
            let now = Duration::from_micros(micros);
            let told = clock.tell(now);
            assert!(told >= before && told <= now && now - told < TICK + jitter, "{told:?} is told at {now:?}");
            assert_eq!((told.as_nanos() % TICK.as_nanos(), clock.tell(now)), (0, told));
            if told > before {
                edges.push((now - told).as_micros());
            }
            before = told;
        }
        assert!(edges.len() >= 298, "no tick is left out: {}", edges.len());
        let (least, most) = (edges.iter().min().unwrap(), edges.iter().max().unwrap());
        assert!(*least < 20 && *most > 180 && *most <= 201, "{least} to {most}");
    }

    #[test]
    fn the_most_jitter_is_a_tick() {
        let clock = Clock::new(TICK, Duration::from_secs(1));
        let mut before = Duration::ZERO;
        for micros in 0..100_000 {
            let told = clock.tell(Duration::from_micros(micros));
            assert!(told >= before && Duration::from_micros(micros) - told <= TICK * 2);
            before = told;
        }
    }

    #[test]
    fn no_two_workloads_are_late_alike() {
        let (one, other) = (Clock::new(TICK, TICK), Clock::new(TICK, TICK));
        let at = |micros| Duration::from_micros(micros);
        let differ = (0..10_000).filter(|micros| one.tell(at(*micros)) != other.tell(at(*micros))).count();
        assert!(differ > 1_000, "{differ}");
    }
}
