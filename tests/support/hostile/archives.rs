//! Layers and packages: nothing leads out, sizes are what is read, and every byte is hashed.

use std::io::{self, Cursor, Read, Write};

use bulla::content::Digest;
use bulla::deb::{Bootstrap, Control};
use bulla::oci::layer::{Bounds, Entry, Kind, LayerDigests, LayerError, walk_within};
use bulla::oci::normalize::compress::Compression;
use bulla::oci::normalize::{Canonical, EngineImage, Options, Source, normalize as canonical};
use bulla::oci::{Descriptor, names};

/// Bounds that a small input reaches.
const BOUNDS: Bounds = Bounds { stored: 1 << 20, uncompressed: 8 << 20, entries: 4_096 };

/// The first byte says how the layer is compressed.
pub fn layer(data: &[u8]) {
    let Some((which, stored)) = data.split_first() else { return };
    let media_type = [names::LAYER_TAR, names::LAYER_GZIP, names::LAYER_ZSTD][usize::from(*which) % 3];
    let mut listed = Vec::new();
    let whole = walk(media_type, stored, &mut |entry, content| {
        sound(entry);
        let read = io::copy(content, &mut io::sink()).unwrap_or(u64::MAX);
        listed.push((entry.clone(), read));
        Ok(())
    });
    let mut passed = Vec::new();
    let unread = walk(media_type, stored, &mut |entry, _| {
        passed.push(entry.clone());
        Ok(())
    });
    assert_eq!(whole.is_ok(), unread.is_ok(), "{whole:?} {unread:?}");
    let (Ok(whole), Ok(unread)) = (whole, unread) else { return };
    assert_eq!(whole, unread);
    assert_eq!((whole.digest, whole.size), (Digest::of(stored), stored.len() as u64));
    assert!(whole.uncompressed <= BOUNDS.uncompressed && listed.len() as u64 <= BOUNDS.entries);
    assert!(listed.iter().all(|(entry, read)| entry.size == *read));
    assert!(listed.iter().map(|(entry, _)| entry).eq(&passed));
    if media_type == names::LAYER_TAR {
        assert_eq!(whole.diff_id, whole.digest);
    }
}

type Visit<'a> = dyn FnMut(&Entry, &mut dyn Read) -> Result<(), LayerError> + 'a;

fn walk(media_type: &str, stored: &[u8], visit: &mut Visit<'_>) -> Result<LayerDigests, LayerError> {
    walk_within(&BOUNDS, media_type, stored, visit)
}

/// What holds of every entry that is handed out.
fn sound(entry: &Entry) {
    let inside = |path: &[u8]| {
        path.split(|byte| *byte == b'/')
            .all(|name| !name.is_empty() && name != b"." && name != b".." && name.len() <= 255)
            && path.len() <= 4_096
            && !path.contains(&0)
    };
    assert!(entry.path.is_empty() || inside(&entry.path), "{entry:?}");
    assert!(entry.mode <= 0o7777);
    assert!(entry.size == 0 || entry.kind == Kind::File, "{entry:?}");
    assert!(entry.kind != Kind::HardLink || inside(&entry.link), "{entry:?}");
}

/// The canonical image of a tar is one that any reader takes, and is the canonical image of itself.
pub fn normalize(data: &[u8]) {
    if walk(names::LAYER_TAR, data, &mut |_, _| Ok(())).is_err() {
        return; // the same reader, with bounds that fit memory
    }
    let diff_id = Digest::of(data);
    let config = format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["{diff_id}"]}}}}"#);
    let Some((first, blob)) = made(config.as_bytes(), names::LAYER_TAR, data) else { return };
    let written = first.written().unwrap();
    let read = walk(names::LAYER_GZIP, &blob, &mut |entry, _| {
        sound(entry);
        assert!(entry.mtime <= EPOCH && !matches!(entry.kind, Kind::Whiteout | Kind::Opaque));
        Ok(())
    });
    let read = read.unwrap();
    assert_eq!((read.digest, read.diff_id), (written.descriptor.digest, written.diff_id));
    let (second, again) = made(&first.config, names::LAYER_GZIP, &blob).unwrap();
    assert_eq!(again, blob);
    assert_eq!(second.written(), first.written());
}

const EPOCH: i64 = 1_700_000_000;

fn made(config: &[u8], media_type: &str, layer: &[u8]) -> Option<(Canonical, Vec<u8>)> {
    let open = || Ok(Box::new(Cursor::new(layer.to_vec())) as Box<dyn Read>);
    let source = Source { descriptor: Descriptor::of(media_type, layer), open: &open };
    let image = EngineImage { config, layers: vec![source] };
    let options = Options { epoch: EPOCH, compression: Compression::Gzip, threads: Some(1), ..Options::default() };
    let mut blob = Vec::new();
    let made = canonical(&image, &options, Cursor::new(Vec::new()), &mut blob, None).ok()?;
    Some((made, blob))
}

/// A package says its name or is refused, and what is unpacked of it stays inside.
pub fn deb(data: &[u8]) {
    if let Ok(control) = Control::read(data, "fuzzed") {
        assert!(!control.package.is_empty());
        assert!(control.depends.iter().all(|names| !names.is_empty()));
    }
    let mut bootstrap = Bootstrap::new(Little(Vec::new()));
    if bootstrap.add(data, "fuzzed").is_err() {
        return;
    }
    let Ok(Little(tar)) = bootstrap.finish() else { return };
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        assert!(!path.starts_with(b"/") && !path.split(|byte| *byte == b'/').any(|name| name == b".."), "{path:?}");
        let kind = entry.header().entry_type();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link(), "{kind:?}");
    }
}

/// Storage that a bomb does not fit into.
struct Little(Vec<u8>);

impl Write for Little {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > 16 << 20 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
