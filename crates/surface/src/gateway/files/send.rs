//! Reads a file, piece by piece.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    time::SystemTime,
};

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use samara_model::{Body, BodyError, Fault};

use super::{Account, Admitted, find::Opened};

/// Bytes read at once. A file of this size is sent whole, without a descriptor that stays open.
pub(super) const CHUNK_BYTES: u64 = 64 << 10;

/// A part of a file that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    file: File,
    left: u64,
    /// Of the whole file, when it was opened.
    length: u64,
    modified: SystemTime,
}

impl Sending {
    /// Begins at a byte of a file.
    ///
    /// # Errors
    /// The disk failed.
    pub(super) fn new(opened: Opened, first: u64, length: u64) -> io::Result<Self> {
        let Opened { mut file, length: whole, .. } = opened;
        if first > 0 {
            file.seek(SeekFrom::Start(first))?;
        }
        let modified = file.metadata()?.modified()?;
        Ok(Self { file, left: length, length: whole, modified })
    }

    /// The next piece. Blocks.
    ///
    /// # Errors
    /// The disk failed, or the file is not what it was when it was opened.
    pub(super) fn next_chunk(&mut self) -> io::Result<Bytes> {
        let wanted = self.left.min(CHUNK_BYTES);
        let mut chunk = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        let read = (&mut self.file).take(wanted).read_to_end(&mut chunk)?;
        self.left -= wanted;
        let short = u64::try_from(read).ok() != Some(wanted);
        // Before the last piece is given away: what is cut short does not look whole to the client.
        if short || (self.left == 0 && self.has_changed()?) {
            return Err(io::Error::other(
                "it was changed in place while it was sent; replace files instead of writing into them",
            ));
        }
        Ok(chunk.into())
    }

    /// Not by the time of change: a file that is replaced loses its name, which is a change too.
    fn has_changed(&self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        Ok(metadata.len() != self.length || metadata.modified()? != self.modified)
    }

    /// The body. It holds its place and is accounted as long as it is sent.
    pub(super) fn body(self, account: Account, admitted: Admitted) -> Body {
        let state = Some((self, account, admitted));
        let frames = stream::unfold(state, |state| async {
            let (mut sending, mut account, admitted) = state?;
            if sending.left == 0 {
                account.end("ok");
                return None;
            }
            let read = tokio::task::spawn_blocking(move || {
                let chunk = sending.next_chunk();
                (sending, chunk)
            });
            let failed = |error: String| BodyError::Fault(Fault::Host(format!("reading a file: {error}")));
            Some(match read.await {
                Ok((sending, Ok(chunk))) => {
                    if sending.left == 0 {
                        // Whoever counts bytes asks for no more.
                        account.end("ok");
                    }
                    (Ok(Frame::data(chunk)), Some((sending, account, admitted)))
                }
                Ok((_, Err(error))) => {
                    tracing::warn!("a file is not sent to its end: {error}");
                    account.end("host");
                    (Err(failed(error.to_string())), None)
                }
                Err(error) => {
                    account.end("host");
                    (Err(failed(error.to_string())), None)
                }
            })
        });
        StreamBody::new(frames).boxed_unsync()
    }
}
