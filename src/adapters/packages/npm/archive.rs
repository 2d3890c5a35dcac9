//! What an npm package's archive holds, as far as a lock wants to know: its own package.json, and that nothing in it
//! would surprise whoever unpacks it as root.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use crate::content::{limits, read_bounded};

/// Most bytes of a package.json.
const PACKAGE_JSON: u64 = 4 << 20;
/// Most bytes of an archive once decompressed. Agents have single programs of 400 MB.
const UNPACKED: u64 = 8 << 30;

/// What was found.
#[derive(Debug)]
pub(super) struct Inside {
    /// The package.json at the top.
    pub(super) package_json: Vec<u8>,
    /// Whether npm would build something: a binding.gyp at the top.
    pub(super) has_gyp: bool,
}

/// Reads the whole archive.
pub(super) fn read(archive: impl Read) -> Result<Inside, String> {
    let unreadable = |error: std::io::Error| format!("the archive cannot be read: {error}");
    let mut archive = tar::Archive::new(MultiGzDecoder::new(archive).take(UNPACKED));
    let (mut package_json, mut has_gyp, mut count) = (None, false, 0);
    for entry in archive.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        count += 1;
        if count > limits::LAYER_ENTRIES {
            return Err(format!("the archive has more than {} entries", limits::LAYER_ENTRIES));
        }
        let path = entry.path_bytes().into_owned();
        let shown = || String::from_utf8_lossy(&path).chars().take(200).collect::<String>();
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            continue;
        }
        if !matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::Directory) {
            return Err(format!("{:?} in the archive is neither a file nor a folder", shown()));
        }
        let segments: Vec<_> = path.split(|byte| *byte == b'/').collect();
        if path.starts_with(b"/") || segments.contains(&&b".."[..]) || path.contains(&0) {
            return Err(format!("{:?} in the archive leads out of it", shown()));
        }
        if entry.header().mode().map_err(unreadable)? & 0o7000 != 0 {
            return Err(format!("{:?} in the archive would run as somebody else", shown()));
        }
        // npm strips the first segment, whatever it is called.
        match segments.get(1..).unwrap_or_default() {
            [b"package.json"] if kind != EntryType::Directory => {
                let bytes = read_bounded(entry, PACKAGE_JSON, "package.json").map_err(|error| error.to_string())?;
                if package_json.replace(bytes).is_some() {
                    return Err("the archive has two package.json".to_owned());
                }
            }
            [b"binding.gyp"] => has_gyp = true,
            _ => {}
        }
    }
    let package_json = package_json.ok_or_else(|| "the archive has no package.json".to_owned())?;
    Ok(Inside { package_json, has_gyp })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn tgz(entries: &[(&str, EntryType, u32, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, mode, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&builder.into_inner().unwrap()).unwrap();
        gz.finish().unwrap()
    }

    const JSON: (&str, EntryType, u32, &str) = ("package/package.json", EntryType::Regular, 0o644, "{}");

    #[test]
    fn finds_the_package_json_at_the_top() {
        let below = ("package/lib/package.json", EntryType::Regular, 0o644, "[]");
        let inside = read(&*tgz(&[below, JSON, ("package/claude", EntryType::Regular, 0o755, "x")])).unwrap();
        assert_eq!((inside.package_json.as_slice(), inside.has_gyp), (&b"{}"[..], false));
        let gyp = ("other/binding.gyp", EntryType::Regular, 0o644, "");
        assert!(read(&*tgz(&[JSON, gyp])).unwrap().has_gyp);
    }

    #[test]
    fn refuses_what_would_surprise_whoever_unpacks_it() {
        for (entry, part) in [
            (("package/../../x", EntryType::Regular, 0o644, ""), "leads out"),
            (("/etc/x", EntryType::Regular, 0o644, ""), "leads out"),
            (("package/x", EntryType::Symlink, 0o644, ""), "neither"),
            (("package/x", EntryType::Link, 0o644, ""), "neither"),
            (("package/x", EntryType::Char, 0o644, ""), "neither"),
            (("package/x", EntryType::Regular, 0o4755, ""), "somebody else"),
            (("other/package.json", EntryType::Regular, 0o644, "{}"), "two package.json"),
        ] {
            let error = read(&*tgz(&[JSON, entry])).unwrap_err();
            assert!(error.contains(part), "{}: {error}", entry.0);
        }
        assert!(read(&*tgz(&[])).unwrap_err().contains("no package.json"));
        assert!(read(&b"no gzip"[..]).is_err());
        let whole = tgz(&[JSON]);
        assert!(read(&whole[..whole.len() / 2]).is_err());
    }
}
