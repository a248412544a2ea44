//! Where a workload's guests spend their time: their stacks, looked at once each tick of the epoch.
//!
//! The epoch's callback runs inside whichever guest is running when a tick passes, so a function that runs long is seen
//! often, over calls of any length. What is not seen is time in host functions: they are ours to profile. While nobody asks
//! for a profile this costs a load per tick.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use wasmtime::{AsContext, WasmBacktrace};

use crate::{Backtrace, Frame, Workload, authority::Authority};

/// Stacks looked at for one profile: two minutes of a whole core. More are counted and left out.
pub const MAX_SAMPLES: usize = 120_000;
/// Different stacks in one profile, against a guest that makes each one new.
const MAX_STACKS: usize = 10_000;

/// A profile of one workload.
#[derive(Clone, Debug)]
pub struct Profile {
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// The different stacks that were seen.
    pub stacks: Vec<Backtrace>,
    /// When each was seen, after the beginning, as an index of `stacks`.
    pub samples: Vec<(Duration, usize)>,
    /// Samples left out, over [`MAX_SAMPLES`] or over the number of different stacks.
    pub left_out: u64,
}

/// What takes samples, one a workload.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    on: AtomicBool,
    taking: Mutex<Option<Taking>>,
}

/// A function, as cheap to compare as can be: where its module's code is, and its index there.
type Function = (usize, u32);

#[derive(Debug)]
struct Taking {
    began: SystemTime,
    since: Instant,
    known: HashMap<Vec<Function>, usize>,
    stacks: Vec<Backtrace>,
    samples: Vec<(Duration, usize)>,
    left_out: u64,
}

impl Sampler {
    /// Looks at the guest that runs now. Called from the epoch's callback.
    pub(crate) fn sample(&self, guest: impl AsContext) {
        if !self.on.load(Relaxed) {
            return;
        }
        let trace = WasmBacktrace::force_capture(guest);
        let function = |frame: &wasmtime::FrameInfo| (frame.module().image_range().start.addr(), frame.func_index());
        let stack: Vec<_> = trace.frames().iter().map(function).collect();
        if let Some(taking) = &mut *self.taking.lock() {
            taking.add(stack, || {
                // Samples of one function are one, wherever in it they were.
                let frames = trace.frames().iter().map(|frame| Frame { offset: None, ..Frame::new(frame) });
                Backtrace(frames.collect())
            });
        }
    }

    fn stop(&self) -> Option<Profile> {
        self.on.store(false, Relaxed);
        let Taking { began, since, stacks, samples, left_out, .. } = self.taking.lock().take()?;
        Some(Profile { began, duration: since.elapsed(), stacks, samples, left_out })
    }
}

impl Taking {
    fn new() -> Self {
        let (began, since) = (SystemTime::now(), Instant::now());
        Self { began, since, known: HashMap::new(), stacks: Vec::new(), samples: Vec::new(), left_out: 0 }
    }

    fn add(&mut self, stack: Vec<Function>, told: impl FnOnce() -> Backtrace) {
        let known = self.known.get(&stack).copied();
        if self.samples.len() >= MAX_SAMPLES || (known.is_none() && self.stacks.len() >= MAX_STACKS) {
            self.left_out += 1;
            return;
        }
        let index = known.unwrap_or_else(|| {
            self.stacks.push(told());
            self.known.insert(stack, self.stacks.len() - 1);
            self.stacks.len() - 1
        });
        self.samples.push((self.since.elapsed(), index));
    }
}

impl Workload {
    /// Begins a profile of its guests; `None` if somebody else takes one.
    pub fn profile(&self) -> Option<Profiling> {
        Profiling::begin(&self.authority)
    }
}

/// A profile being taken; dropped, it is given up.
#[derive(Debug)]
pub struct Profiling(Option<Arc<Authority>>);

impl Profiling {
    /// Begins a profile of a workload's guests; `None` if somebody else takes one.
    pub(crate) fn begin(authority: &Arc<Authority>) -> Option<Self> {
        let mut taking = authority.sampler.taking.lock();
        if taking.is_some() {
            return None;
        }
        *taking = Some(Taking::new());
        authority.sampler.on.store(true, Relaxed);
        Some(Self(Some(Arc::clone(authority))))
    }

    /// Ends it.
    pub fn finish(mut self) -> Profile {
        let nothing = || Profile {
            began: SystemTime::now(),
            duration: Duration::ZERO,
            stacks: Vec::new(),
            samples: Vec::new(),
            left_out: 0,
        };
        self.0.take().and_then(|authority| authority.sampler.stop()).unwrap_or_else(nothing)
    }
}

impl Drop for Profiling {
    fn drop(&mut self) {
        if let Some(authority) = &self.0 {
            authority.sampler.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_stacks_are_bounded() {
        let mut taking = Taking::new();
        for number in 0..u32::try_from(MAX_STACKS).unwrap() + 5 {
            taking.add(vec![(0, number)], Backtrace::default);
        }
        assert_eq!((taking.stacks.len(), taking.samples.len(), taking.left_out), (MAX_STACKS, MAX_STACKS, 5));
        for _ in MAX_STACKS..MAX_SAMPLES + 7 {
            taking.add(vec![(0, 1)], || panic!("it is known"));
        }
        assert_eq!((taking.samples.len(), taking.left_out), (MAX_SAMPLES, 12));
    }
}
