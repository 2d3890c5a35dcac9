//! From stored bytes to the archive: bounded, decompressed, hashed, and nothing left over.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::{Compression, LayerError};
use crate::content::{Hashing, limits};

/// A reader that refuses to go past a limit, with the error that says so inside the `io::Error`.
pub(super) struct Metered<R> {
    inner: R,
    left: u64,
    limit: u64,
    what: &'static str,
    /// Whether errors of `inner` come from outside and not from a decoder.
    source: bool,
}

impl<R> Metered<R> {
    /// The stored bytes themselves: what fails here is the disk or the network.
    pub(super) const fn source(inner: R, limit: u64) -> Self {
        Self { inner, left: limit, limit, what: "bytes", source: true }
    }

    /// What a decoder makes of them.
    pub(super) const fn within(inner: R, limit: u64) -> Self {
        Self { inner, left: limit, limit, what: "bytes once decompressed", source: false }
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.inner.read(buffer) {
            Ok(count) => count,
            Err(error) if self.source && error.kind() != io::ErrorKind::Interrupted => {
                return Err(io::Error::other(LayerError::Io(error)));
            }
            Err(error) => return Err(error),
        };
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(LayerError::TooLarge { what: self.what, limit: self.limit })),
        }
        Ok(count)
    }
}

/// The error that went through somebody else's reader; what has no error of ours inside is a decoder's complaint.
pub(super) fn uncarry(error: io::Error) -> LayerError {
    match error.downcast::<LayerError>() {
        Ok(own) => own,
        Err(other) => LayerError::Compression(other.to_string()),
    }
}

type Stored<R> = Hashing<Metered<R>>;

/// A decompressor that reads on to the end of what is stored: every gzip member and every zstd frame.
pub(super) enum Decoder<R: Read> {
    Plain(BufReader<Stored<R>>),
    Gzip(Box<MultiGzDecoder<BufReader<Stored<R>>>>),
    Zstd(zstd::Decoder<'static, BufReader<Stored<R>>>),
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(compression: Compression, stored: Stored<R>) -> Result<Self, LayerError> {
        let stored = BufReader::with_capacity(128 << 10, stored);
        Ok(match compression {
            Compression::Plain => Self::Plain(stored),
            // A reader of single members would not see what follows the first one, and engines do.
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(stored))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(stored).map_err(uncarry)?;
                decoder.window_log_max(limits::ZSTD_WINDOW_LOG).map_err(uncarry)?;
                Self::Zstd(decoder)
            }
        })
    }

    /// The stored stream, after its end was reached; refused where the decoder stopped before.
    pub(super) fn finish(self) -> Result<Stored<R>, LayerError> {
        let mut stored = match self {
            Self::Plain(stored) => stored,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        };
        let mut byte = [0];
        loop {
            match stored.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => return Err(LayerError::Compression("there is data after its end".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(uncarry(error)),
            }
        }
        let stored = stored.into_inner();
        if stored.size() == 0 {
            return Err(LayerError::Compression("it is empty".to_owned()));
        }
        Ok(stored)
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(decoder) => decoder.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}
