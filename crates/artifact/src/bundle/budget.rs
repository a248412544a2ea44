//! What an archive may cost to read: entries, names, unpacked bytes, and the ratio between these and what came.
//!
//! One budget may be shared by several archives, as by all layers of an image. It counts bytes that were really unpacked.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use crate::{
    Error,
    bounds::{Bounds, FREE_EXPANSION_BYTES, MAX_NAMES_BYTES},
};

/// What is left to spend.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) bounds: Bounds,
    names: Cell<usize>,
    unpacked: Rc<Cell<u64>>,
}

impl Budget {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        Self { bounds: *bounds, names: Cell::new(0), unpacked: Rc::default() }
    }

    /// Bytes that were unpacked so far.
    pub(super) fn spent(&self) -> u64 {
        self.unpacked.get()
    }

    /// One more entry, the `number`th of its archive.
    pub(super) fn entry(&self, number: usize) -> Result<(), Error> {
        if number > self.bounds.archive_entries {
            return Err(Error::OverLimit(format!(
                "the archive has more than {} entries, the most that are read",
                self.bounds.archive_entries
            )));
        }
        Ok(())
    }

    /// One more name that is kept.
    pub(crate) fn name(&self, name: &str) -> Result<(), Error> {
        // What a list of names keeps beside the text.
        const EACH: usize = 64;
        self.names.set(self.names.get().saturating_add(name.len()).saturating_add(EACH));
        if self.names.get() > MAX_NAMES_BYTES {
            return Err(Error::OverLimit(format!(
                "the names of the archive's entries take more than {MAX_NAMES_BYTES} bytes, the most that are kept"
            )));
        }
        Ok(())
    }

    /// Counts what a decoder gives against what it was given.
    pub(super) fn metered<R: Read>(&self, unpacked: R, came: Rc<Cell<u64>>) -> Metered<R> {
        Metered { inner: unpacked, came, here: 0, all: Rc::clone(&self.unpacked), bounds: self.bounds }
    }
}

/// A decoder whose output is counted.
pub(super) struct Metered<R> {
    inner: R,
    /// Bytes that went into the decoder.
    came: Rc<Cell<u64>>,
    /// Bytes that came out of this one.
    here: u64,
    /// Bytes that came out of all that share the budget.
    all: Rc<Cell<u64>>,
    bounds: Bounds,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.here = self.here.saturating_add(count as u64);
        self.all.set(self.all.get().saturating_add(count as u64));
        let Bounds { unpacked_bytes, expansion, .. } = self.bounds;
        if self.all.get() > unpacked_bytes {
            return Err(io::Error::other(Error::OverLimit(format!(
                "it unpacks to more than {unpacked_bytes} bytes, the most that are unpacked of one artifact"
            ))));
        }
        if self.here > FREE_EXPANSION_BYTES && self.here / expansion.max(1) > self.came.get() {
            return Err(io::Error::other(Error::OverLimit(format!(
                "it unpacks to more than {expansion} times its size, as nothing but a bomb does"
            ))));
        }
        Ok(count)
    }
}

/// Counts what a decoder is given.
pub(super) struct Counted<R> {
    pub(super) inner: R,
    pub(super) count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.count.set(self.count.get().saturating_add(count as u64));
        Ok(count)
    }
}
