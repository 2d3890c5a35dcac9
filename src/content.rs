//! Content: digests, bounded reading, and every limit with its reason.
//!
//! Bytes from outside come in through [`read_bounded`] and [`read_exact`] alone: the first refuses what is longer
//! than it may be before it is in memory, the second also refuses what is not what its digest says.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::class::{Class, Classified};

/// Every bound on foreign input, in bytes unless the name says otherwise.
pub mod limits {
    /// Manifests and indexes: distribution-spec asks registries to take 4 MiB, and nobody ships a larger one.
    pub const MANIFEST: u64 = 4 << 20;
    /// A bundle: base64 of an SBOM of up to 64 MiB.
    pub const BUNDLE: u64 = 96 << 20;
    /// An image config: real ones are below 100 KiB; history and labels could be long.
    pub const CONFIG: u64 = 8 << 20;
    /// A layer as it is stored. Larger than any template; a bound against endless bodies.
    pub const LAYER: u64 = 16 << 30;
    /// A layer once decompressed: gzip reaches 1000:1, so this is what stops a bomb.
    pub const LAYER_UNCOMPRESSED: u64 = 64 << 30;
    /// Entries of one layer. A complete distribution with a desktop stays below 500,000.
    pub const LAYER_ENTRIES: u64 = 1_000_000;
    /// Entries of all layers of one image together, where they are merged in memory (about 300 bytes each).
    pub const IMAGE_ENTRIES: u64 = 1_000_000;
    /// A path inside a layer, or what a link in it points at: Linux takes no longer one (PATH_MAX).
    pub const PATH: usize = 4_096;
    /// One name of a path (NAME_MAX).
    pub const NAME: usize = 255;
    /// Extended attributes and other extra records of one layer entry. Linux keeps 64 KiB of attributes for a file.
    pub const ENTRY_RECORDS: u64 = 1 << 20;
    /// The window a zstd frame may ask for, as a power of two: 32 MiB, the most that engines write.
    pub const ZSTD_WINDOW_LOG: u32 = 25;
    /// Attestation manifests read for one image. Real images have fewer than ten.
    pub const REFERRERS: usize = 1_000;
    /// All attestations that are judged for one image, in bytes: the largest SBOM and then some, in memory at once.
    pub const EVIDENCE: u64 = 128 << 20;
    /// Pages of a referrers listing.
    pub const REFERRER_PAGES: usize = 32;
    /// Entries of one index: platforms plus attestations.
    pub const INDEX_ENTRIES: usize = 10_000;
    /// Layers of one image; engines stop at 127.
    pub const LAYERS: usize = 512;
    /// Inputs of one lock, all platforms together: a desktop has 2,500 packages, a template a few hundred.
    pub const INPUTS: usize = 20_000;
    /// One input. The largest packages of Debian (kernels with debug symbols) stay below it.
    pub const INPUT: u64 = 2 << 30;
    /// Release files that one lock names: archives times suites.
    pub const LOCK_RELEASES: usize = 64;
    /// Depth of any JSON document. Real bundles and SBOMs stay below 20.
    pub const JSON_DEPTH: usize = 64;
    /// Members of one JSON object: the scan remembers their names. Annotations and labels stay below 1,000.
    pub const JSON_MEMBERS: usize = 65_536;
    /// What a bundle or statement would need in memory as a tree of all that is in it, in bytes: an SBOM
    /// of 30 MiB stays below 200 MiB with long names in it, and below 300 MiB where it is nothing but small objects.
    pub const JSON_TREE: usize = 320 << 20;
    /// Subjects of one statement.
    pub const SUBJECTS: usize = 4_096;
    /// Policies, locks, templates, Dockerfiles: written by people or by us.
    pub const OWN_FILE: u64 = 16 << 20;
    /// A trusted root file; the public one is 7 KiB.
    pub const TRUST_ROOT: u64 = 4 << 20;
    /// A key file.
    pub const KEY: u64 = 64 << 10;
    /// Body of an error answer, as far as it is read for its message.
    pub const ERROR_BODY: u64 = 64 << 10;
}

/// A SHA-256 content digest, written `sha256:` and 64 lower-case hex digits (image-spec, descriptor.md). No other
/// algorithm is understood.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest whose raw value this is.
    pub(crate) const fn from_raw(raw: [u8; 32]) -> Self {
        Self(raw)
    }

    /// The raw 32 bytes.
    pub const fn raw(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits, without the algorithm.
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        hex
    }

    /// Reads 64 lower-case hex digits, without the algorithm.
    pub fn from_hex(hex: &str) -> Result<Self, MalformedDigest> {
        let malformed = || MalformedDigest(hex.chars().take(80).collect());
        let bytes = hex.as_bytes();
        if bytes.len() != 64 {
            return Err(malformed());
        }
        let mut raw = [0_u8; 32];
        for (index, byte) in bytes.iter().enumerate() {
            let nibble = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return Err(malformed()),
            };
            raw[index / 2] = raw[index / 2] << 4 | nibble;
        }
        Ok(Self(raw))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = MalformedDigest;

    fn from_str(text: &str) -> Result<Self, MalformedDigest> {
        match text.strip_prefix("sha256:") {
            Some(hex) => Self::from_hex(hex),
            None => Err(MalformedDigest(text.chars().take(80).collect())),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: write `sha256:` and 64 lower-case hex digits")]
pub struct MalformedDigest(String);

impl Classified for MalformedDigest {
    fn class(&self) -> Class {
        Class::Ref
    }
    fn code(&self) -> &'static str {
        "malformed-digest"
    }
}

/// Why bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// More bytes than this kind of thing may have.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What was being read.
        what: String,
        /// The bound, in bytes.
        limit: u64,
    },
    /// Another number of bytes than was announced.
    #[error("{what} has {actual} bytes where {expected} were announced")]
    Size {
        /// What was being read.
        what: String,
        /// Announced size, in bytes.
        expected: u64,
        /// Size received, in bytes.
        actual: u64,
    },
    /// Other bytes than the digest names.
    #[error("{what} has the digest {actual}, not {expected}")]
    Digest {
        /// What was being read.
        what: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// Reading itself failed.
    #[error("cannot read {what}: {source}")]
    Io {
        /// What was being read.
        what: String,
        /// The operating system's word.
        source: io::Error,
    },
}

impl Classified for ContentError {
    fn class(&self) -> Class {
        match self {
            Self::TooLarge { .. } => Class::Limit,
            Self::Size { .. } | Self::Digest { .. } => Class::Integrity,
            Self::Io { .. } => Class::State,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Size { .. } => "size-mismatch",
            Self::Digest { .. } => "digest-mismatch",
            Self::Io { .. } => "unreadable",
        }
    }
}

/// Why a TOML document cannot be read, and in which line: nothing of the document itself.
#[derive(Debug)]
pub(crate) struct TomlError {
    pub(crate) line: usize,
    pub(crate) reason: String,
}

impl fmt::Display for TomlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Reads a TOML document.
pub(crate) fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T, TomlError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let offset = error.span().map_or(0, |span| span.start);
        let line = 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        TomlError { line, reason: error.message().chars().take(300).collect() }
    })
}

/// Reads to the end, refusing more than `limit` bytes. `what` names the thing in errors.
pub fn read_bounded(reader: impl Read, limit: u64, what: &str) -> Result<Vec<u8>, ContentError> {
    let mut bytes = Vec::new();
    let io = |source| ContentError::Io { what: what.to_owned(), source };
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(ContentError::TooLarge { what: what.to_owned(), limit });
    }
    Ok(bytes)
}

/// Reads exactly `size` bytes whose digest is `digest`, refusing a `size` above `limit` before reading anything.
pub fn read_exact(
    reader: impl Read,
    digest: &Digest,
    size: u64,
    limit: u64,
    what: &str,
) -> Result<Vec<u8>, ContentError> {
    if size > limit {
        return Err(ContentError::TooLarge { what: what.to_owned(), limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    let io = |source| ContentError::Io { what: what.to_owned(), source };
    reader.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    check(&bytes, digest, size, what)?;
    Ok(bytes)
}

/// Refuses bytes that have not this size and digest.
pub fn check(bytes: &[u8], digest: &Digest, size: u64, what: &str) -> Result<(), ContentError> {
    if bytes.len() as u64 != size {
        return Err(ContentError::Size { what: what.to_owned(), expected: size, actual: bytes.len() as u64 });
    }
    check_digest(bytes, digest, what)
}

/// Refuses what was hashed in passing and has not the digest and size that were announced; the size is told first.
pub fn expect(what: &str, expected: (&Digest, u64), actual: (Digest, u64)) -> Result<(), ContentError> {
    if actual.1 != expected.1 {
        return Err(ContentError::Size { what: what.to_owned(), expected: expected.1, actual: actual.1 });
    }
    if actual.0 != *expected.0 {
        return Err(ContentError::Digest { what: what.to_owned(), expected: *expected.0, actual: actual.0 });
    }
    Ok(())
}

/// Refuses bytes that have not this digest.
pub fn check_digest(bytes: &[u8], digest: &Digest, what: &str) -> Result<(), ContentError> {
    let actual = Digest::of(bytes);
    if actual != *digest {
        return Err(ContentError::Digest { what: what.to_owned(), expected: *digest, actual });
    }
    Ok(())
}

/// A digest and a size that grow with what passes: wraps a reader or a writer.
pub struct Hashing<T> {
    inner: T,
    hasher: Sha256,
    size: u64,
}

impl<T> Hashing<T> {
    /// Starts at the empty digest.
    pub fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new(), size: 0 }
    }

    /// The wrapped value, the digest of all that passed, and its size in bytes.
    pub fn finish(self) -> (T, Digest, u64) {
        (self.inner, Digest(self.hasher.finalize().into()), self.size)
    }

    /// The digest of what passed so far.
    pub fn digest(&self) -> Digest {
        Digest(self.hasher.clone().finalize().into())
    }

    /// Bytes so far.
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
}

impl<T: io::Write> io::Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Raw bytes, their digest, and what they say. Only ever hashed as received, never re-serialised.
#[derive(Debug, Clone)]
pub struct Document<T> {
    /// The bytes as they came.
    pub raw: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// What they say.
    pub parsed: T,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a09_reads_only_canonical_sha256() {
        let digest = Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        let upper = text.to_uppercase();
        let long = format!("{text}0");
        for bad in ["", "sha256:", &upper, &long, &text[..70], "sha512:00", "sha256:../../etc/passwd", &text[7..]] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_more_than_the_limit_without_reading_it_all() {
        let endless = io::repeat(7);
        assert!(matches!(read_bounded(endless, 1000, "x"), Err(ContentError::TooLarge { limit: 1000, .. })));
        assert_eq!(read_bounded(&b"abc"[..], 3, "x").ok(), Some(b"abc".to_vec()));
    }

    #[test]
    fn refuses_another_size_or_digest() {
        let digest = Digest::of(b"abc");
        assert!(read_exact(&b"abc"[..], &digest, 3, 10, "x").is_ok());
        assert!(matches!(read_exact(&b"ab"[..], &digest, 3, 10, "x"), Err(ContentError::Size { .. })));
        assert!(matches!(read_exact(&b"abcd"[..], &digest, 3, 10, "x"), Err(ContentError::Size { .. })));
        assert!(matches!(read_exact(&b"abd"[..], &digest, 3, 10, "x"), Err(ContentError::Digest { .. })));
        assert!(matches!(read_exact(&b"abc"[..], &digest, 11, 10, "x"), Err(ContentError::TooLarge { .. })));
    }
}
