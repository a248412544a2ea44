//! How often something that fails is tried, and how long the pauses are.

use std::time::Duration;

use super::TriggerError;

/// Tries of one event, at most.
pub const MAX_TRIES: u32 = 100;

/// The first pause after nobody had time; it doubles up to [`BUSY_LONGEST`].
const BUSY_FIRST: Duration = Duration::from_millis(50);

/// The longest pause after nobody had time.
const BUSY_LONGEST: Duration = Duration::from_secs(2);

/// The first pause after a bus or a store was out of reach.
const AWAY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause after a bus or a store was out of reach.
const AWAY_LONGEST: Duration = Duration::from_secs(10);

/// How often an event is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries altogether, the first one included: 1 to [`MAX_TRIES`].
    pub tries: u32,
    /// The pause after the first failure. Each one after it is twice as long, a quarter more or less.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Retry {
    /// Five tries within a quarter of a minute.
    fn default() -> Self {
        Self { tries: 5, first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}

impl Retry {
    /// Checks the bounds.
    pub(super) fn check(&self) -> Result<(), TriggerError> {
        if !(1..=MAX_TRIES).contains(&self.tries) {
            return Err(TriggerError(format!("`{}` tries cannot be; choose 1 to {MAX_TRIES}", self.tries)));
        }
        if self.tries > 1 && self.first.is_zero() {
            return Err(TriggerError(
                "tries without a pause are a hot loop; choose a first pause such as `1s`".to_owned(),
            ));
        }
        Ok(())
    }

    /// The pause after a try, of which the first is 1.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        spread(doubled(self.first, self.longest, attempt))
    }
}

/// The pause after somebody was busy for the so-many-th time.
pub(super) fn busy(times: u32) -> Duration {
    spread(doubled(BUSY_FIRST, BUSY_LONGEST, times))
}

/// The pause after a bus or a store was out of reach for the so-many-th time.
pub(super) fn away(times: u32) -> Duration {
    spread(doubled(AWAY_FIRST, AWAY_LONGEST, times))
}

fn doubled(first: Duration, longest: Duration, times: u32) -> Duration {
    let factor = 1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

/// A quarter more or less, so that what failed together does not come again together.
fn spread(pause: Duration) -> Duration {
    // Without randomness there is no spread, which is no harm.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause.mul_f64(0.75 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may fail fast")]

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let retry = Retry { tries: 9, first: Duration::from_secs(1), longest: Duration::from_secs(10) };
        for (attempt, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (99, 10.0), (u32::MAX, 10.0)] {
            for _ in 0..100 {
                let pause = retry.pause(attempt).as_secs_f64();
                assert!((seconds * 0.749..=seconds * 1.251).contains(&pause), "{attempt}: {pause}");
            }
        }
        assert!((0..100).map(|_| retry.pause(5)).collect::<std::collections::BTreeSet<_>>().len() > 50);
    }

    #[test]
    fn tries_are_bounded_and_never_a_hot_loop() {
        for (tries, first, good) in [(0, 1, false), (1, 0, true), (2, 0, false), (100, 1, true), (101, 1, false)] {
            let retry = Retry { tries, first: Duration::from_secs(first), longest: Duration::from_secs(9) };
            assert_eq!(retry.check().is_ok(), good, "{tries} and {first}");
        }
        Retry::default().check().unwrap();
    }
}
