//! From stored bytes to the archive: bounded, decompressed, hashed, and nothing left over.

use std::io::{self, BufReader, Read, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use flate2::bufread::MultiGzDecoder;

use super::{Compression, LayerError};
use crate::content::{Digest, Hashing, limits};

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

/// A reader whose bytes are hashed by a thread of their own, so that hashing takes no time from decompressing.
pub(super) struct HashedAside<R> {
    inner: R,
    /// A few buffers at most are under way.
    bytes: SyncSender<Vec<u8>>,
    hasher: JoinHandle<(Digest, u64)>,
}

impl<R> HashedAside<R> {
    pub(super) fn new(inner: R) -> Result<Self, LayerError> {
        let (bytes, queue) = sync_channel::<Vec<u8>>(4);
        let hash = move || {
            let mut hashing = Hashing::new(io::sink());
            for bytes in queue {
                let _ = hashing.write_all(&bytes); // a sink takes everything
            }
            let (_, digest, size) = hashing.finish();
            (digest, size)
        };
        let hasher = thread::Builder::new().name("hash".to_owned()).spawn(hash).map_err(LayerError::Io)?;
        Ok(Self { inner, bytes, hasher })
    }

    /// The wrapped reader, the digest of all that came out of it, and its size in bytes.
    pub(super) fn finish(self) -> Result<(R, Digest, u64), LayerError> {
        drop(self.bytes);
        let (digest, size) = self.hasher.join().map_err(|_| LayerError::Io(gone()))?;
        Ok((self.inner, digest, size))
    }
}

impl<R: Read> Read for HashedAside<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count > 0 {
            self.bytes.send(buffer[..count].to_vec()).map_err(|_| io::Error::other(LayerError::Io(gone())))?;
        }
        Ok(count)
    }
}

fn gone() -> io::Error {
    io::Error::other("the hashing thread ended early")
}

type Stored<R> = BufReader<Hashing<Metered<R>>>;

/// A decompressor that reads on to the end of what is stored: every gzip member and every zstd frame.
pub(super) enum Decoder<R: Read> {
    /// What is stored is the archive, so it is hashed once, as that.
    Plain(Metered<R>),
    Gzip(Box<MultiGzDecoder<Stored<R>>>),
    Zstd(zstd::Decoder<'static, Stored<R>>),
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(compression: Compression, stored: Metered<R>) -> Result<Self, LayerError> {
        let hashed = |stored| BufReader::with_capacity(128 << 10, Hashing::new(stored));
        Ok(match compression {
            Compression::Plain => Self::Plain(stored),
            // A reader of single members would not see what follows the first one, and engines do.
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(hashed(stored)))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(hashed(stored)).map_err(uncarry)?;
                decoder.window_log_max(limits::ZSTD_WINDOW_LOG).map_err(uncarry)?;
                Self::Zstd(decoder)
            }
        })
    }

    /// Digest and size of the stored bytes, after the end was reached, where they are not the archive itself; refused
    /// where the decoder stopped before.
    pub(super) fn finish(self) -> Result<Option<(Digest, u64)>, LayerError> {
        let mut stored = match self {
            Self::Plain(_) => return Ok(None),
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
        let (_, digest, size) = stored.into_inner().finish();
        Ok(Some((digest, size)))
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stored) => stored.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}
