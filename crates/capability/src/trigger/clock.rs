//! Runs by the clock, and what happens when one is not over when the next is due.

use std::{collections::VecDeque, sync::Arc, sync::atomic::Ordering, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Event, Handler, MAX_CONCURRENCY, Outcome, Running, Schedule, Stop, Tally, Tick, TriggerError, count,
    schedule::Calendar,
};

/// Runs of one schedule that wait for the one before them, at most.
pub const MAX_WAITING: usize = 16;

/// How often the wall clock is looked at: it may be set while a trigger waits for a time.
const LOOK: Duration = Duration::from_secs(10);

/// A time of a calendar that is further in the past is not made up for: the machine was asleep, or the clock was set.
const GRACE: TimeDelta = TimeDelta::seconds(60);

/// Times that were missed are counted up to this many at once.
const COUNTED: u64 = 1000;

/// What happens when a run is due while the one before it is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It waits for the one before, behind at most [`MAX_WAITING`] others; one more is left out.
    Queue,
    /// It begins, unless this many are running; then it is left out. 1 to [`MAX_CONCURRENCY`].
    Allow(u32),
}

/// A trigger by the clock.
#[derive(Debug)]
pub struct Clock {
    schedule: Schedule,
    overlap: Overlap,
    handler: Arc<dyn Handler>,
}

impl Clock {
    /// A trigger that asks a handler at the times of a schedule. A run that fails is not tried again: its next time comes.
    ///
    /// # Errors
    /// The overlap allows none, or too many.
    pub fn new(schedule: Schedule, overlap: Overlap, handler: Arc<dyn Handler>) -> Result<Self, TriggerError> {
        if let Overlap::Allow(most) = overlap
            && !(1..=MAX_CONCURRENCY).contains(&most)
        {
            return Err(TriggerError(format!("an overlap of `{most}` cannot be; choose 1 to {MAX_CONCURRENCY}")));
        }
        Ok(Self { schedule, overlap, handler })
    }

    /// Starts it. The first run of [`Schedule::Every`] is one interval from now.
    pub fn start(self) -> Running {
        Running::start(|tally, stop| {
            let runs = Runs { clock: self, tally, running: JoinSet::new(), waiting: VecDeque::new() };
            runs.run(stop)
        })
    }
}

/// The runs of one schedule.
struct Runs {
    clock: Clock,
    tally: Arc<Tally>,
    running: JoinSet<Outcome>,
    waiting: VecDeque<Tick>,
}

impl Runs {
    async fn run(mut self, mut stop: Stop) {
        self.tally.ready.store(true, Ordering::Relaxed);
        let mut times = Times::new(self.clock.schedule.clone(), Utc::now());
        while let Some(look) = times.next_look(Utc::now()) {
            tokio::select! {
                () = stop.told() => break,
                () = sleep_until(look) => {
                    let (tick, missed) = times.look(Instant::now(), Utc::now());
                    count(&self.tally.skipped, missed);
                    if let Some(tick) = tick {
                        self.begin(tick);
                    }
                }
                Some(ended) = self.running.join_next() => self.ended(ended),
            }
        }
        self.waiting.clear();
        while let Some(ended) = self.running.join_next().await {
            self.ended(ended);
        }
    }

    /// A run is due.
    fn begin(&mut self, tick: Tick) {
        let running = self.running.len();
        let free = match self.clock.overlap {
            Overlap::Skip | Overlap::Queue => running == 0,
            Overlap::Allow(most) => running < usize::try_from(most).unwrap_or(usize::MAX),
        };
        if free {
            let handler = Arc::clone(&self.clock.handler);
            self.running.spawn(async move { handler.handle(Event::Tick(tick)).await });
        } else if self.clock.overlap == Overlap::Queue && self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(tick);
        } else {
            count(&self.tally.skipped, 1);
        }
    }

    /// A run is over.
    fn ended(&mut self, ended: Result<Outcome, tokio::task::JoinError>) {
        match ended {
            Ok(Outcome::Done(_)) => count(&self.tally.done, 1),
            Ok(Outcome::Busy) => count(&self.tally.skipped, 1),
            Ok(Outcome::Failed(why) | Outcome::Refused(why)) => {
                count(&self.tally.failed, 1);
                tracing::warn!(%why, "a run by the clock failed; its next time comes");
            }
            Err(error) => {
                count(&self.tally.failed, 1);
                tracing::error!(%error, "a run by the clock ended badly; its next time comes");
            }
        }
        if let Some(tick) = self.waiting.pop_front() {
            self.begin(tick);
        }
    }
}

/// Goes through the times of a schedule. Knows no clock: it is told what time it is.
#[derive(Debug)]
enum Times {
    /// By a clock that nobody sets.
    Every { interval: Duration, next: Instant },
    /// By the one on the wall.
    Calendar {
        calendar: Box<Calendar>,
        next: Option<DateTime<Utc>>,
        /// When it was looked at last.
        looked: DateTime<Utc>,
        /// Times that were missed since the last one that was taken.
        missed: u64,
    },
}

impl Times {
    fn new(schedule: Schedule, now: DateTime<Utc>) -> Self {
        match schedule {
            Schedule::Every(interval) => Self::Every { interval, next: Instant::now() + interval },
            Schedule::Cron(calendar) => Self::Calendar { next: calendar.after(now), calendar, looked: now, missed: 0 },
        }
    }

    /// When to look whether it is time; `None` if it never will be again.
    fn next_look(&self, now: DateTime<Utc>) -> Option<Instant> {
        match self {
            Self::Every { next, .. } => Some(*next),
            Self::Calendar { next, .. } => {
                let left = ((*next)? - now).to_std().unwrap_or(Duration::ZERO);
                Some(Instant::now() + left.min(LOOK))
            }
        }
    }

    /// The time that is due, if one is, and how many were missed since the last look.
    fn look(&mut self, steady: Instant, wall: DateTime<Utc>) -> (Option<Tick>, u64) {
        match self {
            Self::Every { interval, next } => {
                let Some(late) = steady.checked_duration_since(*next) else { return (None, 0) };
                let behind = u32::try_from(late.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u32::MAX - 1);
                *next += *interval * (behind + 1);
                (Some(Tick { due: wall, missed: behind.into() }), behind.into())
            }
            Self::Calendar { calendar, next, looked, missed } => {
                let before = std::mem::replace(looked, wall);
                if wall + GRACE < before {
                    // The clock was set back: its times come again.
                    *next = calendar.after(wall);
                }
                let Some(due) = *next else { return (None, 0) };
                if wall < due {
                    return (None, 0);
                }
                let passed = between(calendar, due, wall);
                *next = calendar.after(wall);
                if wall - due > GRACE {
                    *missed += passed + 1;
                    return (None, passed + 1);
                }
                (Some(Tick { due, missed: std::mem::take(missed) + passed }), passed)
            }
        }
    }
}

/// Times of a calendar after one moment and up to another, as far as anybody wants to know.
fn between(calendar: &Calendar, mut after: DateTime<Utc>, until: DateTime<Utc>) -> u64 {
    let mut times = 0;
    while times < COUNTED {
        match calendar.after(after) {
            Some(next) if next <= until => (after, times) = (next, times + 1),
            _ => break,
        }
    }
    times
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail fast")]

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    fn calendar(expression: &str, now: &str) -> Times {
        Times::new(Schedule::cron(expression, None).unwrap(), at(now))
    }

    /// What is found when the wall clock is looked at: the time that is due, how many it says were missed, how many are new.
    fn look(times: &mut Times, now: &str) -> (Option<(DateTime<Utc>, u64)>, u64) {
        let (tick, missed) = times.look(Instant::now(), at(now));
        (tick.map(|tick| (tick.due, tick.missed)), missed)
    }

    #[test]
    fn a_time_is_taken_once() {
        let mut times = calendar("*/10 * * * *", "12:00:00");
        assert_eq!(look(&mut times, "12:09:59"), (None, 0));
        assert_eq!(look(&mut times, "12:10:00"), (Some((at("12:10:00"), 0)), 0));
        assert_eq!(look(&mut times, "12:10:00"), (None, 0));
        // A little late is in time.
        assert_eq!(look(&mut times, "12:20:59"), (Some((at("12:20:00"), 0)), 0));
        assert_eq!(look(&mut times, "12:30:00"), (Some((at("12:30:00"), 0)), 0));
    }

    #[test]
    fn times_that_were_slept_through_are_counted_and_not_made_up_for() {
        let mut times = calendar("*/10 * * * *", "12:00:00");
        assert_eq!(look(&mut times, "12:45:00"), (None, 4));
        assert_eq!(look(&mut times, "12:50:01"), (Some((at("12:50:00"), 4)), 0));
        assert_eq!(look(&mut times, "13:00:00"), (Some((at("13:00:00"), 0)), 0));
        // Of those within the grace one is taken.
        let mut times = calendar("*/5 * * * * *", "12:00:00");
        assert_eq!(look(&mut times, "12:00:17"), (Some((at("12:00:05"), 2)), 2));
        assert_eq!(look(&mut times, "12:00:20"), (Some((at("12:00:20"), 0)), 0));
        // Counting is bounded, however long it was.
        let mut times = calendar("* * * * * *", "00:00:00");
        assert_eq!(look(&mut times, "23:00:00"), (None, COUNTED + 1));
    }

    #[test]
    fn a_clock_that_is_set_neither_doubles_nor_starves() {
        let mut times = calendar("*/10 * * * *", "12:05:00");
        assert_eq!(look(&mut times, "12:10:00"), (Some((at("12:10:00"), 0)), 0));
        // A few seconds back: what was taken is not taken again.
        assert_eq!(look(&mut times, "12:09:55"), (None, 0));
        assert_eq!(look(&mut times, "12:10:00"), (None, 0));
        // Hours back: it goes on from there, and not only when the old time comes again.
        assert_eq!(look(&mut times, "09:58:00"), (None, 0));
        assert_eq!(look(&mut times, "10:00:00"), (Some((at("10:00:00"), 0)), 0));
        // And forward again.
        assert_eq!(look(&mut times, "12:55:00"), (None, 17));
        assert_eq!(look(&mut times, "13:00:00"), (Some((at("13:00:00"), 17)), 0));
    }

    #[test]
    fn intervals_are_counted_from_the_start_and_leave_out_what_is_over() {
        let every = Duration::from_secs(10);
        let mut times = Times::new(Schedule::every(every).unwrap(), Utc::now());
        let Times::Every { next: first, .. } = times else { panic!("{times:?}") };
        let mut look = |seconds: u64| {
            let (tick, missed) = times.look(first + Duration::from_secs(seconds), Utc::now());
            (tick.map(|tick| tick.missed), missed)
        };
        assert_eq!(look(0), (Some(0), 0));
        assert_eq!(look(9), (None, 0));
        assert_eq!(look(12), (Some(0), 0), "two seconds late");
        assert_eq!(look(20), (Some(0), 0), "and not later for it");
        assert_eq!(look(59), (Some(2), 2), "at 30; 40 and 50 are missed");
        assert_eq!(look(60), (Some(0), 0));
    }
}
