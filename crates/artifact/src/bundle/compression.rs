//! How a stream is compressed, told by its first bytes and never by its name or media type, which are wrong too often.

use std::{
    cell::Cell,
    io::{BufReader, Read},
    rc::Rc,
};

use super::{
    Budget, Source,
    budget::{Counted, Metered},
    not_read, rewind,
};
use crate::{Error, bounds::MAX_ZSTD_WINDOW_LOG};

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    /// One or several members, as `pigz` and `stargz` write them.
    Gzip,
    /// One or several frames, skippable ones among them, as `zstd:chunked` has them.
    Zstd,
}

impl Compression {
    pub(super) fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The unpacked bytes of a source from its beginning on, counted against the budget.
pub(super) fn unpacked<'s>(source: &'s mut dyn Source, budget: &Budget) -> Result<Box<dyn Read + 's>, Error> {
    rewind(source)?;
    let mut head = Vec::with_capacity(4);
    let mut source = source;
    Read::take(&mut source, 4).read_to_end(&mut head).map_err(not_read)?;
    rewind(source)?;
    let came = Rc::new(Cell::new(0));
    let counted = BufReader::new(Counted { inner: source, count: Rc::clone(&came) });
    Ok(match Compression::of(&head) {
        Compression::None => Box::new(budget.metered(counted, came)),
        Compression::Gzip => Box::new(budget.metered(flate2::bufread::MultiGzDecoder::new(counted), came)),
        Compression::Zstd => Box::new(zstd_metered(counted, budget, came)?),
    })
}

fn zstd_metered<R: std::io::BufRead>(
    counted: R,
    budget: &Budget,
    came: Rc<Cell<u64>>,
) -> Result<Metered<zstd::stream::read::Decoder<'static, R>>, Error> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(counted).map_err(not_read)?;
    decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(not_read)?;
    Ok(budget.metered(decoder, came))
}
