//! tar, as strictly as layers need it: ustar, PAX records and GNU long names (POSIX.1-2017 pax, GNU tar manual).
//!
//! Readers of tar disagree about sizes, names and repeated records, and a scanner that reads another list than the
//! engine unpacks is blind. So wherever two of them could differ, this one refuses.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::stream::uncarry;
use super::{Entry, Kind, LayerError};
use crate::content::limits;

/// Header and alignment of contents, in bytes.
const BLOCK: usize = 512;
/// From this size on, the size field of a header cannot hold the number.
const OCTAL_SIZE_END: u64 = 1 << 33;

/// The next entry, or `None` where the archive ends: at two blocks of zeros, or where the stream ends between entries
/// (every reader accepts that, and the digest says that nothing is missing).
pub(super) fn next(archive: &mut impl Read) -> Result<Option<Entry>, LayerError> {
    let mut records = Records::default();
    loop {
        let Some(block) = read_block(archive)? else {
            return records.end();
        };
        let header = Header(&block);
        if block.iter().all(|byte| *byte == 0) {
            return match read_block(archive)? {
                Some(second) if second.iter().any(|byte| *byte != 0) => {
                    Err(malformed(b"", "a single block of zeros between entries"))
                }
                _ => records.end(),
            };
        }
        header.check()?;
        let size = header.number(124..136, "size")?;
        match header.0[156] {
            b'x' => records.pax(&read_extra(archive, size)?)?,
            b'g' => check_global(&read_extra(archive, size)?)?,
            b'L' => set_once(&mut records.long_name, long_name(read_extra(archive, size)?)?)?,
            b'K' => set_once(&mut records.long_link, long_name(read_extra(archive, size)?)?)?,
            flag => return entry(&header, flag, size, records).map(Some),
        }
    }
}

/// Passes over what is left of a content of `size` bytes, and its padding.
pub(super) fn skip_content(archive: &mut impl Read, left: u64, size: u64) -> Result<(), LayerError> {
    let wanted = left + padding(size);
    let skipped = io::copy(&mut archive.take(wanted), &mut io::sink()).map_err(uncarry)?;
    if skipped < wanted { Err(truncated()) } else { Ok(()) }
}

/// A name as it may be shown: escaped and cut.
pub(super) fn shown(path: &[u8]) -> String {
    let text = path[..path.len().min(200)].escape_ascii().to_string();
    if path.len() > 200 { text + "…" } else { text }
}

pub(super) fn malformed(path: &[u8], reason: &str) -> LayerError {
    LayerError::Malformed { path: shown(path), reason: reason.to_owned() }
}

pub(super) fn truncated() -> LayerError {
    malformed(b"", "the archive ends in the middle of an entry")
}

const fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// One block, or `None` at the end of the stream.
fn read_block(archive: &mut impl Read) -> Result<Option<[u8; BLOCK]>, LayerError> {
    let mut block = [0; BLOCK];
    let mut filled = 0;
    while filled < BLOCK {
        match archive.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(truncated()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(uncarry(error)),
        }
    }
    Ok(Some(block))
}

/// The content of an entry that only describes the next one.
fn read_extra(archive: &mut impl Read, size: u64) -> Result<Vec<u8>, LayerError> {
    if size > limits::ENTRY_RECORDS {
        return Err(LayerError::TooLarge {
            what: "bytes of extra records for one entry",
            limit: limits::ENTRY_RECORDS,
        });
    }
    let mut bytes = Vec::new();
    archive.take(size).read_to_end(&mut bytes).map_err(uncarry)?;
    let left = size - bytes.len() as u64;
    skip_content(archive, left, size)?;
    Ok(bytes)
}

struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn check(&self) -> Result<(), LayerError> {
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        let own: u64 = self.0[148..156].iter().map(|byte| u64::from(*byte)).sum();
        let expected = self.number(148..156, "checksum")?;
        if sum - own + 8 * u64::from(b' ') != expected {
            return Err(malformed(self.text(0..100), "the checksum of its header is wrong"));
        }
        let (magic, version) = (&self.0[257..263], &self.0[263..265]);
        let known = match magic {
            b"ustar\0" => self.0[508..] != *b"tar\0" || self.0[475] == 0, // star's prefix is shorter than POSIX's
            b"ustar " => version == b" \0",
            _ => self.0[257..265] == [0; 8],
        };
        if known { Ok(()) } else { Err(malformed(self.text(0..100), "its header is of an unknown kind of tar")) }
    }

    /// Bytes up to the first NUL.
    fn text(&self, range: std::ops::Range<usize>) -> &[u8] {
        let field = &self.0[range];
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn name(&self) -> Vec<u8> {
        let name = self.text(0..100);
        let prefix = if &self.0[257..263] == b"ustar\0" { self.text(345..500) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    fn number(&self, range: std::ops::Range<usize>, what: &str) -> Result<u64, LayerError> {
        u64::try_from(self.signed(range, what)?).map_err(|_| self.bad_number(what))
    }

    /// Octal digits between spaces and NULs, or GNU's base 256 (two's complement after the first bit).
    fn signed(&self, range: std::ops::Range<usize>, what: &str) -> Result<i64, LayerError> {
        let field = &self.0[range];
        if field[0] & 0x80 != 0 {
            let negative = field[0] & 0x40 != 0;
            let mut value = if negative { -1_i128 } else { 0 };
            for (index, byte) in field.iter().enumerate() {
                let byte = if index == 0 && !negative { byte & 0x7f } else { *byte };
                value = value << 8 | i128::from(byte);
                if i64::try_from(value).is_err() {
                    return Err(self.bad_number(what));
                }
            }
            return i64::try_from(value).map_err(|_| self.bad_number(what));
        }
        let blank = |byte: &u8| matches!(byte, b' ' | 0);
        let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
        let digits = &field[start..];
        let end = digits.iter().position(blank).unwrap_or(digits.len());
        if digits[end..].iter().any(|byte| !blank(byte))
            || digits[..end].iter().any(|byte| !matches!(byte, b'0'..=b'7'))
        {
            return Err(self.bad_number(what));
        }
        Ok(digits[..end].iter().fold(0, |value, digit| value << 3 | i64::from(digit - b'0')))
    }

    fn bad_number(&self, what: &str) -> LayerError {
        malformed(self.text(0..100), &format!("its {what} is not a number"))
    }
}

/// What stands before an entry and changes it.
#[derive(Default)]
struct Records {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Records {
    fn pax(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        set_once(&mut self.pax, parse_pax(bytes)?)
    }

    fn end(&self) -> Result<Option<Entry>, LayerError> {
        if self.long_name.is_some() || self.long_link.is_some() || self.pax.is_some() {
            return Err(malformed(b"", "it ends with a record about an entry that does not follow"));
        }
        Ok(None)
    }

    /// The value of a PAX record; an empty one means that the header's field counts.
    fn value(&self, key: &str) -> Option<&[u8]> {
        let value = self.pax.as_ref()?.get(key.as_bytes())?;
        if value.is_empty() { None } else { Some(value) }
    }

    fn number<T: std::str::FromStr>(&self, key: &str, name: &[u8]) -> Result<Option<T>, LayerError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let digits = value.iter().all(u8::is_ascii_digit).then_some(value);
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok());
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(malformed(name, &format!("its PAX record {key:?} is not a number in range"))),
        }
    }

    /// One of the three places a name can stand in; two that could disagree are refused.
    fn pick(&self, long: Option<&Vec<u8>>, key: &str, header: Vec<u8>) -> Result<Vec<u8>, LayerError> {
        match (long, self.value(key)) {
            (Some(_), Some(_)) => Err(malformed(&header, "it has a GNU long name and a PAX name")),
            (Some(long), None) => Ok(long.clone()),
            (None, Some(value)) => Ok(value.to_vec()),
            (None, None) => Ok(header),
        }
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), LayerError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed(b"", "two records of one kind about one entry")),
    }
}

/// GNU long names end in NULs.
fn long_name(mut bytes: Vec<u8>) -> Result<Vec<u8>, LayerError> {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() { Err(malformed(b"", "a GNU long name is empty")) } else { Ok(bytes) }
}

/// `LENGTH KEY=VALUE\n`, where the length counts all of it; values may hold any byte.
fn parse_pax(mut bytes: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, LayerError> {
    let bad = |reason: &str| malformed(b"", &format!("a PAX record {reason}"));
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(8).position(|byte| *byte == b' ').ok_or_else(|| bad("has no length"))?;
        let digits = &bytes[..space];
        if digits.is_empty() || digits[0] == b'0' || !digits.iter().all(u8::is_ascii_digit) {
            return Err(bad("has no length"));
        }
        let length = digits.iter().fold(0, |value, digit| value * 10 + usize::from(digit - b'0'));
        if length > bytes.len() || length < space + 4 || bytes[length - 1] != b'\n' {
            return Err(bad("has a wrong length"));
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(|| bad("has no value"))?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err(bad("has no key"));
        }
        if key.starts_with(b"GNU.sparse.") {
            return Err(bad("makes its entry a sparse file, which layers do not have"));
        }
        if key == b"hdrcharset" && !matches!(value, b"BINARY" | b"ISO-IR 10646 2000 UTF-8") {
            return Err(bad("names a character set"));
        }
        if records.insert(key.to_vec(), value.to_vec()).is_some() {
            return Err(bad("appears twice"));
        }
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// Records for all that follows are read by some tools and not by others: only a comment (git's) is harmless.
fn check_global(bytes: &[u8]) -> Result<(), LayerError> {
    match parse_pax(bytes)?.keys().all(|key| key == b"comment") {
        true => Ok(()),
        false => Err(malformed(b"", "it has PAX records for all entries")),
    }
}

fn entry(header: &Header<'_>, flag: u8, stated: u64, records: Records) -> Result<Entry, LayerError> {
    let raw = records.pick(records.long_name.as_ref(), "path", header.name())?;
    let bad = |reason: &str| Err(malformed(&raw, reason));
    let mut kind = match flag {
        b'0' | 0 => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        _ => return bad(&format!("entries of type {:?} do not belong in layers", flag.escape_ascii().to_string())),
    };
    let size = match records.number("size", &raw)? {
        None => stated,
        // Readers that go by the header and readers that go by the record would go on at different places.
        Some(size) if size == stated || size >= OCTAL_SIZE_END => size,
        Some(_) => return bad("its header and its PAX records give different sizes"),
    };
    if size > limits::LAYER_UNCOMPRESSED {
        return Err(LayerError::TooLarge { what: "bytes once decompressed", limit: limits::LAYER_UNCOMPRESSED });
    }
    if size > 0 && kind != Kind::File {
        return bad("it has content and is not a regular file");
    }
    if kind != Kind::Directory && raw.ends_with(b"/") {
        return bad("its name is a directory's and its type is not");
    }
    let mut path = normalise(&raw)?;
    if path.is_empty() && kind != Kind::Directory {
        return Err(LayerError::UnsafePath { path: shown(&raw), reason: "only a directory can be the root" });
    }
    if let Some((hidden, of)) = whiteout(&path)? {
        if kind != Kind::File || size > 0 {
            return bad("a whiteout is an empty regular file");
        }
        (path, kind) = (hidden, of);
    }
    let link = records.pick(records.long_link.as_ref(), "linkpath", header.text(157..257).to_vec())?;
    let link = match kind {
        Kind::Symlink => symlink_target(link)?,
        Kind::HardLink => normalise(&link)?,
        _ => Vec::new(),
    };
    if kind == Kind::HardLink && (link.is_empty() || link == path || whiteout(&link)?.is_some()) {
        return bad("it is a hard link to nothing that can be linked");
    }
    let device = match kind {
        Kind::CharDevice | Kind::BlockDevice => {
            let number = |range, what| -> Result<u32, LayerError> {
                u32::try_from(header.number(range, what)?).map_err(|_| header.bad_number(what))
            };
            (number(329..337, "major device number")?, number(337..345, "minor device number")?)
        }
        _ => (0, 0),
    };
    if kind == Kind::CharDevice && device == (0, 0) {
        return bad("a character device 0, 0 would hide a file without being a whiteout");
    }
    let id = |range, key: &str| -> Result<u32, LayerError> {
        let number = match records.number(key, &raw)? {
            Some(number) => number,
            None => header.number(range, key)?,
        };
        let id = u32::try_from(number).ok().filter(|id| *id != u32::MAX);
        id.ok_or_else(|| malformed(&raw, &format!("its {key} is not one that Linux has")))
    };
    Ok(Entry {
        kind,
        mode: u32::try_from(header.number(100..108, "mode")? & 0o7777).unwrap_or_default(),
        uid: id(108..116, "uid")?,
        gid: id(116..124, "gid")?,
        mtime: match records.value("mtime") {
            Some(value) => seconds(value).ok_or_else(|| malformed(&raw, "its PAX mtime is not a time"))?,
            None => header.signed(136..148, "mtime")?,
        },
        size,
        link,
        xattrs: xattrs(&records, &raw)?,
        device,
        path,
    })
}

fn xattrs(records: &Records, raw: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, LayerError> {
    let mut xattrs = BTreeMap::new();
    for (key, value) in records.pax.iter().flatten() {
        let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else { continue };
        if name.is_empty() || name.len() > limits::NAME {
            return Err(malformed(raw, "an extended attribute of it has no name, or one that is too long"));
        }
        // These are how an overlay marks directories: unpacked, they would hide what the list of entries shows.
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            return Err(malformed(raw, "an extended attribute of it would steer the overlay it is unpacked into"));
        }
        xattrs.insert(name.to_vec(), value.clone());
    }
    Ok(xattrs)
}

/// `[-]SECONDS[.FRACTION]`, rounded down.
fn seconds(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let up = i64::from(negative && fraction.bytes().any(|digit| digit != b'0'));
    if negative { whole.checked_neg()?.checked_sub(up) } else { Some(whole) }
}

/// A path relative to the root, without `.` and doubled or trailing `/`.
fn normalise(raw: &[u8]) -> Result<Vec<u8>, LayerError> {
    let refuse = |reason| Err(LayerError::UnsafePath { path: shown(raw), reason });
    if raw.is_empty() {
        return refuse("it is empty");
    }
    if raw[0] == b'/' {
        return refuse("it is absolute");
    }
    if raw.contains(&0) {
        return refuse("it holds a NUL");
    }
    if raw.len() > limits::PATH {
        return refuse("it is longer than 4,096 bytes");
    }
    let mut path = Vec::with_capacity(raw.len());
    for name in raw.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => return refuse("it holds `..`"),
            _ if name.len() > limits::NAME => return refuse("a name in it is longer than 255 bytes"),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    Ok(path)
}

/// Symbolic links point wherever they like, as text: nothing here ever follows one.
fn symlink_target(link: Vec<u8>) -> Result<Vec<u8>, LayerError> {
    let refuse = |reason| Err(LayerError::UnsafePath { path: shown(&link), reason });
    match () {
        () if link.is_empty() => refuse("a symbolic link to nothing"),
        () if link.contains(&0) => refuse("it holds a NUL"),
        () if link.len() > limits::PATH => refuse("it is longer than 4,096 bytes"),
        () => Ok(link),
    }
}

/// What a whiteout hides, and how; `None` for ordinary names (image-spec, layer.md, Whiteouts).
fn whiteout(path: &[u8]) -> Result<Option<(Vec<u8>, Kind)>, LayerError> {
    let refuse = |reason| Err(LayerError::UnsafePath { path: shown(path), reason });
    let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (parent, name) = path.split_at(start);
    if parent.split(|byte| *byte == b'/').any(|name| name.starts_with(b".wh.")) {
        return refuse("it is below a whiteout");
    }
    match name.strip_prefix(b".wh.") {
        None => Ok(None),
        Some(b".wh..opq") => Ok(Some((parent.strip_suffix(b"/").unwrap_or(parent).to_vec(), Kind::Opaque))),
        Some(b"" | b"." | b"..") => refuse("a whiteout of no file that can be"),
        Some(hidden) if hidden.starts_with(b".wh.") => refuse("an unknown kind of whiteout"),
        Some(hidden) => Ok(Some(([parent, hidden].concat(), Kind::Whiteout))),
    }
}
