//! Canonical tar: ustar headers with every field determined, PAX records only where a header cannot hold the value.

use std::io::{self, Read, Write};

use crate::oci::layer::Kind;
use crate::oci::tree::Inode;

/// What an entry's header says.
pub(super) struct Header<'a> {
    /// The path, without a trailing slash.
    pub(super) path: &'a [u8],
    pub(super) inode: &'a Inode,
    pub(super) mtime: i64,
    /// The first path of the same file, for every further one.
    pub(super) hard_link: Option<&'a [u8]>,
}

/// An empty file at this path, which is a whiteout's.
pub(super) fn write_whiteout(out: &mut impl Write, path: &[u8], mtime: i64) -> io::Result<()> {
    let head = Head { path, link: b"", flag: b'0', mode: 0, uid: 0, gid: 0, size: 0, mtime, device: None };
    head.write(out, Vec::new())
}

/// One entry and its content, which must have the size that the inode says.
pub(super) fn write_entry(out: &mut impl Write, header: &Header<'_>, content: &mut dyn Read) -> io::Result<()> {
    let inode = header.inode;
    let flag = match (header.hard_link, inode.kind) {
        (Some(_), _) => b'1',
        (None, Kind::Directory) => b'5',
        (None, Kind::Symlink) => b'2',
        (None, Kind::CharDevice) => b'3',
        (None, Kind::BlockDevice) => b'4',
        (None, Kind::Fifo) => b'6',
        (None, _) => b'0',
    };
    let size = if flag == b'0' { inode.content.size } else { 0 };
    let mut path = header.path.to_vec();
    if inode.kind == Kind::Directory {
        path.push(b'/');
    }
    let mut records = Vec::new();
    if header.hard_link.is_none() {
        for (name, value) in &inode.xattrs {
            records.push(([b"SCHILY.xattr.", &name[..]].concat(), value.clone()));
        }
    }
    let head = Head {
        path: &path,
        link: header.hard_link.unwrap_or(&inode.link),
        flag,
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        size,
        mtime: header.mtime,
        device: matches!(inode.kind, Kind::CharDevice | Kind::BlockDevice).then_some(inode.device),
    };
    head.write(out, records)?;
    let copied = io::copy(&mut content.take(size), out)?;
    if copied != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a content became shorter"));
    }
    out.write_all(&[0; 512][..padding(size)])
}

/// The end of an archive: two blocks of zeros, and no padding to a tape's record.
pub(super) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 1024])
}

fn padding(size: u64) -> usize {
    (size.wrapping_neg() % 512) as usize
}

struct Head<'a> {
    path: &'a [u8],
    link: &'a [u8],
    flag: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    device: Option<(u32, u32)>,
}

impl Head<'_> {
    fn write(&self, out: &mut impl Write, mut records: Vec<(Vec<u8>, Vec<u8>)>) -> io::Result<()> {
        let mut need = |key: &str, value: Vec<u8>| records.push((key.as_bytes().to_vec(), value));
        if self.path.len() > 100 {
            need("path", self.path.to_vec());
        }
        if self.link.len() > 100 {
            need("linkpath", self.link.to_vec());
        }
        let mut number = |key: &str, value: u64, digits: u32| {
            if value >> (3 * digits) == 0 {
                return value;
            }
            need(key, value.to_string().into_bytes());
            0
        };
        let uid = number("uid", u64::from(self.uid), 7);
        let gid = number("gid", u64::from(self.gid), 7);
        let size = number("size", self.size, 11);
        let mtime = u64::try_from(self.mtime).ok().filter(|mtime| mtime >> 33 == 0);
        let mtime = mtime.ok_or_else(|| io::Error::other("a time is out of range"))?;
        if !records.is_empty() {
            records.sort();
            let bytes: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
            let size = bytes.len() as u64;
            out.write_all(&block(b"././@PaxHeader", b"", b'x', [0o644, 0, 0, size, 0], None)?)?;
            out.write_all(&bytes)?;
            out.write_all(&[0; 512][..padding(size)])?;
        }
        let cut = |text: &[u8]| text[..text.len().min(100)].to_vec();
        let numbers = [u64::from(self.mode), uid, gid, size, mtime];
        out.write_all(&block(&cut(self.path), &cut(self.link), self.flag, numbers, self.device)?)
    }
}

/// A header; the numbers are mode, uid, gid, size and mtime.
fn block(path: &[u8], link: &[u8], flag: u8, numbers: [u64; 5], device: Option<(u32, u32)>) -> io::Result<[u8; 512]> {
    let mut block = [0; 512];
    block[..path.len()].copy_from_slice(path);
    block[157..157 + link.len()].copy_from_slice(link);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let (major, minor) = device.unwrap_or_default();
    let [mode, uid, gid, size, mtime] = numbers;
    for (at, width, value) in [
        (100, 8, mode),
        (108, 8, uid),
        (116, 8, gid),
        (124, 12, size),
        (136, 12, mtime),
        (329, 8, u64::from(major)),
        (337, 8, u64::from(minor)),
    ] {
        let digits = format!("{value:0width$o}\0", width = width - 1);
        if digits.len() > width {
            return Err(io::Error::other("a device number is out of range"));
        }
        block[at..at + width].copy_from_slice(digits.as_bytes());
    }
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    Ok(block)
}

/// `LENGTH KEY=VALUE\n`; the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for size in 0..2000 {
            let record = record(b"key", &vec![b'v'; size]);
            let digits = record.split(|byte| *byte == b' ').next().unwrap();
            assert_eq!(std::str::from_utf8(digits).unwrap().parse(), Ok(record.len()));
        }
    }
}
