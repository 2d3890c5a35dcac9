//! One stored layer, read as a stream: decompressed, hashed to its last byte and walked entry by entry.
//!
//! Nothing is ever written and nothing is kept but a hash of every name, so that memory does not grow with contents.
//! What two readers could read differently is refused rather than guessed at: the list of entries that comes out is
//! the one that every container engine would unpack. It may be *believed* only once the digests that [`walk`] returns
//! have been compared with what names the layer ([`LayerDigests::check`]).

mod archive;
mod stream;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, BufReader, Read};

use crate::class::{Class, Classified};
use crate::content::{self, ContentError, Digest, limits};
use crate::oci::names;
use stream::{Decoder, HashedAside, Metered, uncarry};

/// What kind of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of a file that stands before it, in this layer or a lower one.
    HardLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// `.wh.NAME`: what lower layers have at `path` is gone (image-spec, layer.md).
    Whiteout,
    /// `.wh..wh..opq`: what lower layers have below the directory `path` is gone.
    Opaque,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is: relative to the root, without `.` and `..`, `/` between names; empty for the root directory. For
    /// whiteouts, the path that is hidden.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions with setuid, setgid and sticky bits: never more than 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, in whole seconds since 1970 (rounded down).
    pub mtime: i64,
    /// Bytes of content; 0 for everything but regular files.
    pub size: u64,
    /// Where a symbolic link points, as it stands; for hard links the path of the other name, as in `path`.
    pub link: Vec<u8>,
    /// Extended attributes (`SCHILY.xattr.*`), by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

/// What a layer turned out to be, once read to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerDigests {
    /// Digest of the bytes as they are stored.
    pub digest: Digest,
    /// How many bytes are stored.
    pub size: u64,
    /// Digest of the uncompressed archive, with everything that follows its end.
    pub diff_id: Digest,
    /// Bytes of the uncompressed archive.
    pub uncompressed: u64,
}

impl LayerDigests {
    /// Refuses a layer that is not the one which a manifest (digest, size) and a config (diff_id) name.
    pub fn check(&self, digest: &Digest, size: u64, diff_id: &Digest) -> Result<(), ContentError> {
        content::expect(&format!("layer {digest}"), (digest, size), (self.digest, self.size))?;
        self.check_diff_id(diff_id)
    }

    /// Refuses a layer whose uncompressed archive is not what a config names.
    fn check_diff_id(&self, diff_id: &Digest) -> Result<(), ContentError> {
        if self.diff_id != *diff_id {
            let what = format!("the uncompressed layer {}", self.digest);
            return Err(ContentError::Digest { what, expected: *diff_id, actual: self.diff_id });
        }
        Ok(())
    }
}

/// Why a layer was not read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A media type that is no layer's, or one whose compression is not understood.
    #[error("{0:?} is not the media type of a layer that can be read (a tar, plain or with gzip or zstd)")]
    MediaType(String),
    /// The stored bytes are not what their media type says.
    #[error("the layer cannot be decompressed: {0}")]
    Compression(String),
    /// The archive breaks a rule of tar or of the image-spec, or can be read in two ways.
    #[error("the layer's archive is not acceptable at {path:?}: {reason}")]
    Malformed {
        /// The entry, escaped; the last one before the place where no name is known.
        path: String,
        /// Which rule.
        reason: String,
    },
    /// A name that could lead out of the image, or that no file can have.
    #[error("the layer names {path:?}, which is not acceptable: {reason}")]
    UnsafePath {
        /// The name, escaped.
        path: String,
        /// Which rule.
        reason: &'static str,
    },
    /// One path that is two things in one layer: readers differ in which of them they keep.
    #[error("the layer has {path:?} twice")]
    Duplicate {
        /// The path, escaped.
        path: String,
    },
    /// More of something than a layer may have.
    #[error("the layer has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of, with its unit.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The stored bytes could not be read at all.
    #[error("cannot read the layer: {0}")]
    Io(io::Error),
    /// It is another layer than it should be.
    #[error(transparent)]
    Content(#[from] ContentError),
}

impl Classified for LayerError {
    fn class(&self) -> Class {
        match self {
            Self::MediaType(_)
            | Self::Compression(_)
            | Self::Malformed { .. }
            | Self::UnsafePath { .. }
            | Self::Duplicate { .. } => Class::Format,
            Self::TooLarge { .. } => Class::Limit,
            Self::Io(_) => Class::State,
            Self::Content(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::MediaType(_) => "unknown-layer-type",
            Self::Compression(_) => "malformed-compression",
            Self::Malformed { .. } => "malformed-layer",
            Self::UnsafePath { .. } => "unsafe-path",
            Self::Duplicate { .. } => "duplicate-entry",
            Self::TooLarge { .. } => "layer-too-large",
            Self::Io(_) => "unreadable",
            Self::Content(error) => error.code(),
        }
    }
}

/// How much of a layer is read before it is refused.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes as stored.
    pub stored: u64,
    /// Bytes once decompressed.
    pub uncompressed: u64,
    /// Entries.
    pub entries: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { stored: limits::LAYER, uncompressed: limits::LAYER_UNCOMPRESSED, entries: limits::LAYER_ENTRIES }
    }
}

/// Walks a stored layer to its end within the ordinary bounds.
///
/// `visit` gets every entry in order with its content, which it may read in part or not at all. Whatever was wrong
/// with the layer itself is returned even where `visit` swallowed it.
pub fn walk<E: From<LayerError>>(
    media_type: &str,
    stored: impl Read,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), E>,
) -> Result<LayerDigests, E> {
    walk_within(&Bounds::default(), media_type, stored, visit)
}

/// [`walk`], within narrower or wider bounds.
pub fn walk_within<E: From<LayerError>>(
    bounds: &Bounds,
    media_type: &str,
    stored: impl Read,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), E>,
) -> Result<LayerDigests, E> {
    let decoder = Decoder::new(compression(media_type)?, Metered::source(stored, bounds.stored))?;
    let archive = HashedAside::new(Metered::within(decoder, bounds.uncompressed))?;
    let mut archive = BufReader::with_capacity(BUFFER, archive);
    let mut names = Names::default();
    let mut count = 0_u64;
    while let Some(entry) = archive::next(&mut archive)? {
        count += 1;
        if count > bounds.entries {
            return Err(LayerError::TooLarge { what: "entries", limit: bounds.entries }.into());
        }
        names.take(&entry)?;
        let mut content = Content { archive: &mut archive, left: entry.size, failure: None };
        let visited = visit(&entry, &mut content);
        let (left, failure) = (content.left, content.failure);
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        visited?;
        archive::skip_content(&mut archive, left, entry.size)?;
    }
    drain_zeros(&mut archive)?;
    let (metered, diff_id, uncompressed) = archive.into_inner().finish()?;
    let (digest, size) = metered.into_inner().finish()?.unwrap_or((diff_id, uncompressed));
    if size == 0 {
        return Err(LayerError::Compression("it is empty".to_owned()).into());
    }
    Ok(LayerDigests { digest, size, diff_id, uncompressed })
}

/// A name from a layer as it may be shown: escaped and cut.
pub fn shown(path: &[u8]) -> String {
    archive::shown(path)
}

/// Bytes read ahead from the decoder.
const BUFFER: usize = 256 << 10;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

/// The compression of layers of this media type; an error for what is no layer.
pub(crate) fn compression(media_type: &str) -> Result<Compression, LayerError> {
    match media_type {
        names::LAYER_GZIP | names::DOCKER_LAYER_GZIP => Ok(Compression::Gzip),
        names::LAYER_ZSTD | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        names::LAYER_TAR | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::Plain),
        other => Err(LayerError::MediaType(other.chars().take(120).collect())),
    }
}

/// The content of one entry, as the visitor sees it. Remembers what went wrong.
struct Content<'a, R> {
    archive: &'a mut R,
    left: u64,
    failure: Option<LayerError>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Err(io::Error::other("the layer could not be read on"));
        }
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let failure = match self.archive.read(&mut buffer[..wanted]) {
            Ok(0) => archive::truncated(),
            Ok(count) => {
                self.left -= count as u64;
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => uncarry(error),
        };
        let message = failure.to_string();
        self.failure = Some(failure);
        Err(io::Error::other(message))
    }
}

/// What follows the end of an archive is padding. Anything else would be entries to readers that go on.
fn drain_zeros(archive: &mut impl BufRead) -> Result<(), LayerError> {
    loop {
        let bytes = archive.fill_buf().map_err(uncarry)?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(archive::malformed(b"", "there is data after the end of the archive"));
        }
        let count = bytes.len();
        archive.consume(count);
    }
}

/// Every path of the layer, as a hash with one bit for "is a directory": refuses a path that is two things, which
/// includes names below something that is not a directory. A directory may be listed again: all readers then keep
/// the last one's mode.
#[derive(Default)]
struct Names {
    seen: HashSet<[u8; 16]>,
    parent: Vec<u8>,
}

impl Names {
    fn take(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if let Some(end) = entry.path.iter().rposition(|byte| *byte == b'/') {
            self.below(&entry.path[..end], &entry.path)?;
        }
        match entry.kind {
            // The marker stands inside its directory, so it says that there is one.
            Kind::Directory | Kind::Opaque => self.directory(&entry.path, &entry.path),
            _ if self.seen.contains(&key(&entry.path, true)) || !self.seen.insert(key(&entry.path, false)) => {
                Err(LayerError::Duplicate { path: archive::shown(&entry.path) })
            }
            _ => Ok(()),
        }
    }

    /// Notes that everything on the way to `parent`, and `parent`, are directories.
    fn below(&mut self, parent: &[u8], path: &[u8]) -> Result<(), LayerError> {
        if self.parent == parent {
            return Ok(());
        }
        let ends = parent.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for end in ends.chain([parent.len()]) {
            self.directory(&parent[..end], path)?;
        }
        self.parent.clear();
        self.parent.extend_from_slice(parent);
        Ok(())
    }

    fn directory(&mut self, directory: &[u8], path: &[u8]) -> Result<(), LayerError> {
        if self.seen.contains(&key(directory, false)) {
            let reason = "it is below something that is not a directory".to_owned();
            if directory == path {
                return Err(LayerError::Duplicate { path: archive::shown(path) });
            }
            return Err(LayerError::Malformed { path: archive::shown(path), reason });
        }
        self.seen.insert(key(directory, true));
        Ok(())
    }
}

fn key(path: &[u8], directory: bool) -> [u8; 16] {
    let digest = Digest::of(path);
    let mut key = [0; 16];
    key.copy_from_slice(&digest.raw()[..16]);
    key[0] = key[0] & !1 | u8::from(directory);
    key
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
