//! Layers made by hand, for the tests of this room: tars with any header one likes.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// A tar that grows entry by entry.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// A ustar header with everything but its name, type and content at ordinary values.
#[derive(Clone)]
pub(crate) struct Head(pub(crate) [u8; 512]);

impl Head {
    pub(crate) fn new(name: &str, flag: u8, size: usize) -> Self {
        let mut head = Self([0; 512]).put(0, name.as_bytes()).put(257, b"ustar\x0000");
        head.0[156] = flag;
        let mode = if flag == b'5' { 0o755 } else { 0o644 };
        head.octal(100, 8, mode).octal(108, 8, 0).octal(116, 8, 0).octal(124, 12, size as u64).octal(136, 12, 1_000)
    }

    pub(crate) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn octal(self, at: usize, width: usize, value: u64) -> Self {
        self.put(at, format!("{value:0width$o}\0", width = width - 1).as_bytes())
    }

    pub(crate) fn mode(self, mode: u64) -> Self {
        self.octal(100, 8, mode)
    }

    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        self.octal(108, 8, uid).octal(116, 8, gid)
    }

    pub(crate) fn mtime(self, mtime: u64) -> Self {
        self.octal(136, 12, mtime)
    }

    pub(crate) fn link(self, target: &str) -> Self {
        self.put(157, target.as_bytes())
    }
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Any header, with its checksum set, and content padded to blocks.
    pub(crate) fn raw(mut self, head: Head, content: &[u8]) -> Self {
        let mut head = head.put(148, b"        ");
        let sum: u32 = head.0.iter().map(|byte| u32::from(*byte)).sum();
        head = head.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&head.0);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(Head::new(name, b'0', content.len()), content)
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.raw(Head::new(name, b'5', 0), b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(Head::new(name, b'2', 0).mode(0o777).link(target), b"")
    }

    pub(crate) fn hardlink(self, name: &str, target: &str) -> Self {
        self.raw(Head::new(name, b'1', 0).link(target), b"")
    }

    /// PAX records about the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            bytes.extend_from_slice(&pax_record(key, value));
        }
        self.raw(Head::new("pax", b'x', bytes.len()), &bytes)
    }

    /// The archive, ended as POSIX has it.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
