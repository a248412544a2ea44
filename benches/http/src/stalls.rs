//! How often the machine itself stops a core: a loop that does nothing but look at the clock.
//!
//! Kernel threads and the machine below a virtual one take a core for milliseconds. A server that is busy for a share `u` of
//! the time needs `1 / (1 - u)` times that to catch up, so the same stall costs a busier server more of its percentiles.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// What is taken for a stall: an interrupt is shorter.
const STALL: Duration = Duration::from_micros(300);

/// Times in which a core did nothing for us.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stalls {
    looked: Duration,
    count: u32,
    sum: Duration,
    worst: Duration,
}

impl Stalls {
    /// Watches a core that has nothing else to do.
    pub(crate) fn of(core: usize, time: Duration) -> anyhow::Result<Self> {
        let watching = thread::Builder::new().name("stalls".into()).spawn(move || {
            let mut cores = rustix::thread::CpuSet::new();
            cores.set(core);
            rustix::thread::sched_setaffinity(None, &cores).context("choosing a core")?;
            Ok(Self::watch(time))
        })?;
        watching.join().map_err(|_| anyhow::anyhow!("the loop panicked"))?
    }

    fn watch(time: Duration) -> Self {
        let start = Instant::now();
        let (mut stalls, mut last) = (Self { looked: time, ..Self::default() }, start);
        while last - start < time {
            let now = Instant::now();
            stalls.see(now - last);
            last = now;
        }
        stalls
    }

    fn see(&mut self, gap: Duration) {
        if gap >= STALL {
            self.count += 1;
            self.sum += gap;
            self.worst = self.worst.max(gap);
        }
    }
}

impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let Self { looked, count, sum, worst } = self;
        write!(f, "{count} stalls in {looked:.0?}, {:.1} ms in all, {:.1} ms the worst", millis(*sum), millis(*worst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_longer_than_an_interrupt_counts() {
        let mut stalls = Stalls { looked: Duration::from_secs(4), ..Stalls::default() };
        for micros in [50, 299, 300, 5_000] {
            stalls.see(Duration::from_micros(micros));
        }
        assert_eq!(stalls.to_string(), "2 stalls in 4s, 5.3 ms in all, 5.0 ms the worst");
    }
}
