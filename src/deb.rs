//! Debian packages as files: an `ar` of `control.tar` and `data.tar` (deb(5)), and a root file system in which dpkg
//! can run, made of the essential ones.
//!
//! No dpkg is needed on the machine that builds: an image starts from [`Bootstrap`], and the dpkg in it then installs
//! every package properly. What stands here only has to be good enough for that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use crate::class::{Class, Classified};
use crate::content::{self, ContentError};

/// Most bytes of a control file; the longest in Debian are below 100 KiB.
const CONTROL: u64 = 1 << 20;
/// Most bytes of one package's files. The largest packages of Debian unpack to about 3 GiB.
const DATA: u64 = 8 << 30;
/// Memory a decompressor may take, in KiB: `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// Why a package could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// It is not what deb(5) describes.
    #[error("{name} is not a Debian package that can be read: {reason}")]
    Malformed {
        /// Which package.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Reading it, or writing what came out, failed.
    #[error("cannot unpack {name}: {source}")]
    Io {
        /// Which package.
        name: String,
        /// The operating system's or the decompressor's word.
        source: io::Error,
    },
    /// A file in it is too large.
    #[error(transparent)]
    Content(#[from] ContentError),
}

impl Classified for DebError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } => Class::Format,
            Self::Io { .. } => Class::State,
            Self::Content(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed-deb",
            Self::Io { .. } => "unpack",
            Self::Content(error) => error.code(),
        }
    }
}

/// What a package says of itself, as far as it matters for the order of unpacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// `Package`
    pub package: String,
    /// `Essential: yes`
    pub essential: bool,
    /// `Pre-Depends` and `Depends`: one of each list's names has to be there. Versions are apt's business.
    pub depends: Vec<Vec<String>>,
    /// `Provides`: other names of this package.
    pub provides: Vec<String>,
}

impl Control {
    /// Reads the control file of a package. `name` is the package's for messages.
    pub fn read(deb: impl Read, name: &str) -> Result<Self, DebError> {
        let text = control_text(deb, name)?;
        let fields = fields(&text);
        let field = |key: &str| fields.get(key).map(String::as_str).unwrap_or_default();
        if field("package").is_empty() {
            return Err(malformed(name, "the control file has no Package"));
        }
        let names = |text: &str| -> Vec<String> {
            let first = |word: &str| word.trim().split([' ', '(', ':', '[']).next().unwrap_or_default().to_owned();
            text.split('|').map(first).filter(|word| !word.is_empty()).collect()
        };
        let depends = field("pre-depends").split(',').chain(field("depends").split(','));
        Ok(Self {
            package: field("package").to_owned(),
            essential: field("essential").eq_ignore_ascii_case("yes"),
            depends: depends.map(names).filter(|names| !names.is_empty()).collect(),
            provides: field("provides").split(',').flat_map(names).collect(),
        })
    }
}

/// The entry that this package would have in dpkg's list of what is installed (`/var/lib/dpkg/status`).
pub fn installed_entry(deb: impl Read, name: &str) -> Result<String, DebError> {
    let text = control_text(deb, name)?;
    let lines =
        text.lines().filter(|line| !line.trim().is_empty() && !line.to_ascii_lowercase().starts_with("status:"));
    Ok(lines.chain(["Status: install ok installed", ""]).map(|line| format!("{line}\n")).collect())
}

fn control_text(deb: impl Read, name: &str) -> Result<String, DebError> {
    let mut found = None;
    member(deb, "control.tar", name, |tar| {
        let mut archive = tar::Archive::new(tar);
        for entry in archive.entries()? {
            let entry = entry?;
            if matches!(&*entry.path_bytes(), b"./control" | b"control") {
                found = Some(content::read_bounded(entry, CONTROL, &format!("the control file of {name}")));
                break;
            }
        }
        Ok(())
    })?;
    let Some(text) = found else { return Err(malformed(name, "there is no control file")) };
    String::from_utf8(text?).map_err(|_| malformed(name, "the control file is not UTF-8"))
}

/// Which of these packages dpkg needs to run: the essential ones and what they depend on, by index, in the order to
/// unpack them. What is not among them is left to dpkg, which refuses to configure what is incomplete.
pub fn essential(packages: &[Control]) -> Vec<usize> {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, control) in packages.iter().enumerate() {
        for provided in &control.provides {
            by_name.entry(provided).or_insert(index);
        }
    }
    by_name.extend(packages.iter().enumerate().map(|(index, control)| (control.package.as_str(), index)));
    let mut needed = BTreeSet::new();
    let mut waiting: Vec<usize> = (0..packages.len()).filter(|index| packages[*index].essential).collect();
    while let Some(index) = waiting.pop() {
        if needed.insert(index) {
            let chosen = |names: &Vec<String>| names.iter().find_map(|name| by_name.get(name.as_str()).copied());
            waiting.extend(packages[index].depends.iter().filter_map(chosen));
        }
    }
    let mut order: Vec<_> = needed.into_iter().collect();
    // base-files brings the links of the merged /usr that everything else is unpacked through.
    order.sort_by_key(|index| (packages[*index].package != "base-files", packages[*index].package.as_str()));
    order
}

/// The top-level folders that are links into `/usr` on a merged system.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// A tar of several packages' files over each other: the first of a path wins.
pub struct Bootstrap<W: Write> {
    tar: tar::Builder<W>,
    seen: BTreeSet<Vec<u8>>,
}

impl<W: Write> Bootstrap<W> {
    /// An empty one, written to `to` as it grows.
    pub fn new(to: W) -> Self {
        Self { tar: tar::Builder::new(to), seen: BTreeSet::new() }
    }

    /// Adds a package's files, folders and links. Anything else a package could hold is refused.
    pub fn add(&mut self, deb: impl Read, name: &str) -> Result<(), DebError> {
        let mut refused = None;
        member(deb, "data.tar", name, |tar| {
            let mut archive = tar::Archive::new(tar);
            for entry in archive.entries()? {
                if let Err(reason) = self.entry(entry?)? {
                    refused = Some(malformed(name, &reason));
                    break;
                }
            }
            Ok(())
        })?;
        refused.map_or(Ok(()), Err)
    }

    /// Ends the archive and gives back what it was written to.
    pub fn finish(self) -> io::Result<W> {
        self.tar.into_inner()
    }

    fn entry(&mut self, mut entry: tar::Entry<'_, impl Read>) -> io::Result<Result<(), String>> {
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let Some(path) = inner_path(&entry.path_bytes()) else {
            return Ok(Err(format!("the path {:?} leads out of it", String::from_utf8_lossy(&entry.path_bytes()))));
        };
        if path.is_empty() {
            return Ok(Ok(()));
        }
        let path = self.merged(path)?;
        if !self.seen.insert(path.clone().into_bytes()) {
            return Ok(Ok(()));
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(entry.header().entry_type());
        header.set_mode(entry.header().mode()? & 0o7777);
        header.set_uid(entry.header().uid()?);
        header.set_gid(entry.header().gid()?);
        header.set_mtime(entry.header().mtime()?);
        header.set_size(0);
        let link = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned()).unwrap_or_default();
        match entry.header().entry_type() {
            Directory => self.tar.append_data(&mut header, format!("{path}/"), io::empty())?,
            Regular => {
                header.set_size(entry.size());
                self.tar.append_data(&mut header, &path, &mut entry)?;
            }
            Symlink => self.tar.append_link(&mut header, &path, &link)?,
            Link => {
                let Some(target) = inner_path(link.as_bytes()) else {
                    return Ok(Err(format!("the hard link {path:?} leads out of it")));
                };
                let target = self.merged(target)?;
                self.tar.append_link(&mut header, &path, &target)?;
            }
            other => return Ok(Err(format!("{path:?} is neither file, folder nor link but {other:?}"))),
        }
        Ok(Ok(()))
    }

    /// The path as a merged system has it; makes the link where no package brought it.
    fn merged(&mut self, path: String) -> io::Result<String> {
        let Some((top, _)) = path.split_once('/') else { return Ok(path) };
        if !MERGED.contains(&top) {
            return Ok(path);
        }
        if self.seen.insert(top.as_bytes().to_vec()) {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            self.tar.append_link(&mut header, top, format!("usr/{top}"))?;
        }
        Ok(format!("usr/{path}"))
    }
}

/// A path without leading `./` and trailing `/`, if it stays inside and is UTF-8.
fn inner_path(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<_> = parts.collect();
    (!path.starts_with('/') && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// Fields of a control file, by name in lower case, with continued lines joined.
fn fields(text: &str) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = fields.get_mut(&last) {
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            last = key.trim().to_ascii_lowercase();
            fields.insert(last.clone(), value.trim().to_owned());
        }
    }
    fields
}

/// Finds the member whose name begins with `prefix`, and hands its decompressed bytes on.
fn member(
    mut deb: impl Read,
    prefix: &str,
    name: &str,
    use_it: impl FnOnce(&mut dyn Read) -> io::Result<()>,
) -> Result<(), DebError> {
    let failed = |source| DebError::Io { name: name.to_owned(), source };
    let mut magic = [0; 8];
    deb.read_exact(&mut magic).map_err(|_| malformed(name, "it is shorter than the magic of ar"))?;
    if &magic != b"!<arch>\n" {
        return Err(malformed(name, "it is not an ar archive"));
    }
    loop {
        let mut header = [0; 60];
        deb.read_exact(&mut header).map_err(|_| malformed(name, &format!("there is no {prefix}")))?;
        let text =
            |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).map(str::trim).unwrap_or_default();
        let size: u64 = text(48..58).parse().map_err(|_| malformed(name, "the size of a member is not a number"))?;
        if &header[58..] != b"`\n" {
            return Err(malformed(name, "a member's header does not end as it should"));
        }
        let Some(suffix) = text(0..16).trim_end_matches('/').strip_prefix(prefix) else {
            io::copy(&mut (&mut deb).take(size + size % 2), &mut io::sink()).map_err(failed)?;
            continue;
        };
        let stored = (&mut deb).take(size);
        let mut plain: Box<dyn Read + '_> = match suffix {
            "" => Box::new(stored),
            ".gz" => Box::new(flate2::read::MultiGzDecoder::new(stored)),
            ".xz" => Box::new(lzma_rust2::XzReader::new_mem_limit(stored, true, XZ_MEMORY)),
            ".zst" => Box::new(zstd::Decoder::new(stored).map_err(failed)?),
            _ => return Err(malformed(name, &format!("{prefix}{suffix} is not a compression that is read"))),
        };
        return use_it(&mut (&mut plain).take(DATA)).map_err(failed);
    }
}

fn malformed(name: &str, reason: &str) -> DebError {
    DebError::Malformed { name: name.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Entry<'a> = (tar::EntryType, &'a str, &'a str);

    fn tar_of(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, path, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            // `append_data` refuses what a hostile package would hold, so the name goes in by hand.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            let body = if kind.is_file() { content.as_bytes() } else { b"" };
            if !kind.is_file() {
                header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_size(body.len() as u64);
            header.set_cksum();
            tar.append(&header, body).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn deb(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut ar = b"!<arch>\n".to_vec();
        for (name, body) in members {
            ar.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, body.len()).bytes());
            ar.extend(*body);
            ar.extend(&b"\n"[..body.len() % 2]);
        }
        ar
    }

    fn control(text: &str) -> Control {
        let tar = tar_of(&[(tar::EntryType::Regular, "./control", text)]);
        let packed = zstd::encode_all(&*tar, 1).unwrap();
        let deb = deb(&[("debian-binary", b"2.0\n"), ("control.tar.zst", &packed), ("data.tar", b"")]);
        Control::read(&*deb, "x").unwrap()
    }

    #[test]
    fn refuses_what_is_no_package() {
        let gz = deb(&[("control.tar.gz", b"not gzip"), ("data.tar.lzma", b"x")]);
        for bad in [&b""[..], b"!<arch>", b"!<arch>\n", b"PK\x03\x04aaaaaaaaaaaaa", &gz[..40], &gz] {
            assert!(Control::read(bad, "x").is_err());
            assert!(Bootstrap::new(Vec::new()).add(bad, "x").is_err());
        }
        let without_name = deb(&[("control.tar", &tar_of(&[(tar::EntryType::Regular, "control", "Version: 1\n")]))]);
        assert!(matches!(Control::read(&*without_name, "x"), Err(DebError::Malformed { .. })));
    }

    #[test]
    fn takes_the_essential_packages_and_what_they_depend_on() {
        let packages = [
            control("Package: zz\nEssential: yes\nPre-Depends: libz (>= 1), libq:any | libq2\nDepends: awk,\n more\n"),
            control("Package: git\nDepends: libz\n"),
            control("Package: libz\nVersion: 1\n"),
            control("Package: mawk\nProvides: awk (= 1), other\n"),
            control("Package: more\n"),
            control("Package: libq2\n"),
            control("Package: base-files\nEssential: yes\n"),
        ];
        let names: Vec<_> = essential(&packages).into_iter().map(|index| packages[index].package.as_str()).collect();
        assert_eq!(names, ["base-files", "libq2", "libz", "mawk", "more", "zz"]);
        assert!(essential(&packages[1..3]).is_empty());
    }

    #[test]
    fn unpacks_over_a_merged_usr_and_only_once() {
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let data = tar_of(&[
            (Directory, "./", ""),
            (Regular, "./bin/sh", "one"),
            (Regular, "./usr/bin/sh", "two"),
            (Link, "./bin/bash", "./bin/sh"),
            (Symlink, "./etc/mtab", "../proc/mounts"),
        ]);
        let mut bootstrap = Bootstrap::new(Vec::new());
        bootstrap.add(&*deb(&[("data.tar", &data)]), "x").unwrap();
        bootstrap.add(&*deb(&[("data.tar", &data)]), "y").unwrap();
        let tar = bootstrap.finish().unwrap();
        let mut archive = tar::Archive::new(&*tar);
        let seen: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let link = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned());
                (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), link.unwrap_or_default())
            })
            .collect();
        let pairs: Vec<_> = seen.iter().map(|(path, link)| (path.as_str(), link.as_str())).collect();
        let expected =
            [("bin", "usr/bin"), ("usr/bin/sh", ""), ("usr/bin/bash", "usr/bin/sh"), ("etc/mtab", "../proc/mounts")];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn i01_refuses_paths_that_lead_out_and_devices() {
        use tar::EntryType::{Char, Link, Regular};
        for entry in [
            (Regular, "../x", ""),
            (Regular, "/etc/x", ""),
            (Regular, "a/../../x", ""),
            (Char, "dev/x", ""),
            (Link, "x", "../y"),
        ] {
            let data = tar_of(&[entry]);
            let refused = Bootstrap::new(Vec::new()).add(&*deb(&[("data.tar", &data)]), "x");
            assert!(matches!(refused, Err(DebError::Malformed { .. })), "{entry:?}");
        }
    }
}
