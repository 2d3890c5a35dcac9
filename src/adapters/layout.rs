//! OCI layouts on disk (image-spec, image-layout.md): an image and its attestations in one folder.
//!
//! A layout is as foreign as a registry. Blobs are found by digest alone and re-hashed; a symbolic link anywhere
//! inside is refused, because it could show one program one file and the next program another. Names inside never
//! become paths.

mod write;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Deserialize;

pub(super) use write::{EMPTY_CONFIG, attestation_entry};
pub use write::{LayoutWriter, attestation_manifest};

use super::attached::{self, Attached};
use super::state::StateError;
use super::{Legacy, LegacyKind, Referrers, Served, Store, StoreError};
use crate::content::{self, Digest, Hashing, limits};
use crate::json::{self, Shape};
use crate::oci::{Descriptor, ImageIndex, Manifest, OciError, names};
use crate::reference::LayoutImage;

/// Entries of one layout with cosign's older forms of one image: its tags are three.
const LEGACY_ENTRIES: usize = 16;
/// The version of layouts that is understood, and written.
const LAYOUT_VERSION: &str = "1.0.0";

/// An OCI layout that was opened for reading: its index was read once, and is what everything below goes by.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
    handle: OwnedFd,
    index: ImageIndex,
}

impl Layout {
    /// Opens a layout: checks `oci-layout`, reads `index.json`.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = match rustix::fs::open(dir, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(not_found("an OCI layout", dir)),
            Err(error) => return Err(StateError::io("read", dir)(error.into()).into()),
        };
        let file = |name: &str, limit| -> Result<Vec<u8>, StoreError> {
            let path = dir.join(name);
            match open_inside(&handle, name, OFlags::empty(), &path)? {
                Some(file) => Ok(content::read_bounded(regular(file, &path)?, limit, &path.display().to_string())?),
                None => Err(not_found(name, dir)),
            }
        };
        check_version(&file("oci-layout", limits::OWN_FILE)?, dir)?;
        let raw = file("index.json", limits::MANIFEST)?;
        let malformed = |source| StoreError::Document { what: dir.join("index.json").display().to_string(), source };
        let index = Manifest::parse(&raw, None).and_then(Manifest::into_index).map_err(malformed)?;
        Ok(Self { dir: dir.to_owned(), handle, index })
    }

    /// The entries of `index.json`.
    pub fn entries(&self) -> &[Descriptor] {
        &self.index.manifests
    }

    /// The image that is meant, and the `ref.name` it stands under.
    ///
    /// Images are the entries whose manifest has no `subject` and that are neither a listing of attestations
    /// (`sha256-<hex>`) nor marked by cosign as signatures or attestations. A name that fits exactly wins over one
    /// that fits after its last `:`. A digest may also be that of an image inside one of the indexes.
    pub fn find(&self, image: &LayoutImage) -> Result<(Descriptor, Option<String>), StoreError> {
        let entries = || self.entries().iter().filter(|entry| !is_about_another(entry));
        let (what, fitting): (String, Vec<&Descriptor>) = match image {
            LayoutImage::Only => ("the image".to_owned(), entries().collect()),
            LayoutImage::Named(wanted) => {
                let exactly: Vec<_> = entries().filter(|entry| ref_name(entry) == Some(wanted)).collect();
                let loosely = || {
                    entries().filter(|entry| {
                        ref_name(entry).and_then(|name| name.rsplit_once(':')).is_some_and(|(_, last)| last == wanted)
                    })
                };
                let fitting = if exactly.is_empty() { loosely().collect() } else { exactly };
                (format!("an image named {wanted:?}"), fitting)
            }
            LayoutImage::Digest(digest) => return self.find_digest(digest),
        };
        let mut images: Vec<&Descriptor> = Vec::new();
        let mut unreadable = None;
        for entry in once_each(fitting) {
            match self.parse(entry) {
                Ok(manifest) if manifest.subject().is_some() => {}
                Ok(_) => images.push(entry),
                // It might be the image that is meant, unless it is listed as something else.
                Err(error) if entry.artifact_type.is_none() => unreadable = Some(error),
                Err(_) => {}
            }
        }
        if let Some(error) = unreadable {
            return Err(error);
        }
        match images.as_slice() {
            [one] => Ok(((*one).clone(), ref_name(one).map(str::to_owned))),
            [] => Err(not_found(&what, &self.dir)),
            several => Err(StoreError::Ambiguous {
                what,
                place: self.place(),
                offered: several
                    .iter()
                    .map(|entry| format!("{} ({})", ref_name(entry).unwrap_or("unnamed"), entry.digest))
                    .collect(),
            }),
        }
    }

    /// The manifest of the image that is meant, with the media type it is listed with, and the `ref.name`.
    pub fn image(&self, image: &LayoutImage) -> Result<(Served, Option<String>), StoreError> {
        let (descriptor, ref_name) = self.find(image)?;
        let served = self.manifest(&descriptor.digest)?;
        Ok((Served { media_type: Some(descriptor.media_type), ..served }, ref_name))
    }

    fn find_digest(&self, digest: &Digest) -> Result<(Descriptor, Option<String>), StoreError> {
        if let Some(entry) = self.entry(digest) {
            self.parse(entry)?;
            return Ok((entry.clone(), ref_name(entry).map(str::to_owned)));
        }
        for entry in self.entries().iter().filter(|entry| !is_about_another(entry)) {
            if let Ok(Manifest::Index(index)) = self.parse(entry)
                && let Some(child) = index.manifests.iter().find(|child| child.digest == *digest)
            {
                self.parse(child)?;
                return Ok((child.clone(), ref_name(entry).map(str::to_owned)));
            }
        }
        Err(not_found(&digest.to_string(), &self.dir))
    }

    /// Whether a manifest with this digest is an entry of the layout.
    pub fn holds(&self, digest: &Digest) -> bool {
        self.entry(digest).is_some()
    }

    fn entry(&self, digest: &Digest) -> Option<&Descriptor> {
        self.entries().iter().find(|entry| entry.digest == *digest)
    }

    /// Reads the manifest behind a descriptor: its size, digest and media type have to be what that says.
    fn parse(&self, descriptor: &Descriptor) -> Result<Manifest, StoreError> {
        let raw = self.blob(descriptor, limits::MANIFEST)?;
        Manifest::parse(&raw, Some(&descriptor.media_type))
            .map_err(|source| attached::document(&descriptor.digest, source))
    }

    /// Which of cosign's older forms an entry is, if it can be about this image: by its tag, or as `cosign save` marks
    /// what goes with the image that it saved, which is an entry itself.
    fn legacy_kind(&self, entry: &Descriptor, subject: &Digest) -> Option<LegacyKind> {
        let by_kind = match cosign_kind(entry) {
            Some("sigs") => Some(LegacyKind::Signatures),
            Some("atts") => Some(LegacyKind::Attestations),
            _ => None,
        };
        match ref_name(entry) {
            Some(name) if is_digest_tag(name) => LegacyKind::ALL.into_iter().find(|kind| kind.tag(subject) == name),
            _ => by_kind.filter(|_| self.entry(subject).is_some()),
        }
    }

    fn place(&self) -> String {
        self.dir.display().to_string()
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// The file of a blob; every step on the way has to be what it is and no link.
    fn file(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.path(digest);
        let missing = || not_found(&digest.to_string(), &self.dir);
        let folder = open_inside(&self.handle, "blobs", OFlags::DIRECTORY, &self.dir.join("blobs"))?;
        let folder = folder.ok_or_else(missing)?;
        let folder = open_inside(&folder, "sha256", OFlags::DIRECTORY, &self.dir.join("blobs/sha256"))?;
        let folder = folder.ok_or_else(missing)?;
        let file = open_inside(&folder, &digest.hex(), OFlags::empty(), &path)?.ok_or_else(missing)?;
        regular(file, &path)
    }
}

impl Store for Layout {
    fn manifest(&self, digest: &Digest) -> Result<Served, StoreError> {
        let what = format!("manifest {digest}");
        let raw = content::read_bounded(self.file(digest)?, limits::MANIFEST, &what)?;
        match self.entry(digest) {
            Some(entry) => content::check(&raw, digest, entry.size, &what)?,
            None => content::check_digest(&raw, digest, &what)?,
        }
        let media_type = self.entry(digest).map(|entry| entry.media_type.clone());
        Ok(Served { raw, digest: *digest, media_type })
    }

    fn referrers(&self, subject: &Digest) -> Result<Referrers, StoreError> {
        let mut attached = Attached::to(*subject);
        let fallback = attached::fallback_tag(subject);
        let mut listed = Vec::new();
        for entry in once_each(self.entries()) {
            match ref_name(entry) {
                _ if self.legacy_kind(entry, subject).is_some() => {}
                Some(name) if name == fallback => {
                    let index = self.parse(entry)?.into_index();
                    listed.extend(index.map_err(|source| attached::document(&entry.digest, source))?.manifests);
                }
                // Other images' attestations are no news here: only what names this one goes on.
                _ => match self.parse(entry) {
                    Ok(manifest) if manifest.subject().is_none_or(|named| named.digest != *subject) => {}
                    _ if entry.digest == *subject => {}
                    _ => listed.push(entry.clone()),
                },
            }
        }
        for hint in attached.candidates(listed, &self.place())? {
            let served = self.blob(&hint, limits::MANIFEST).map(|raw| Served {
                raw,
                digest: hint.digest,
                media_type: Some(hint.media_type.clone()),
            });
            attached.take(&hint, served)?;
        }
        Ok(attached.finish())
    }

    fn legacy(&self, subject: &Digest, kinds: &[LegacyKind]) -> Result<Legacy, StoreError> {
        let mut legacy = Legacy::default();
        let entries = once_each(self.entries()).filter_map(|entry| Some((self.legacy_kind(entry, subject)?, entry)));
        for (taken, (kind, entry)) in entries.filter(|(kind, _)| kinds.contains(kind)).enumerate() {
            if taken == LEGACY_ENTRIES {
                let (what, place) = (format!("cosign's older attestations of {subject}"), self.place());
                let reason = format!("more than {LEGACY_ENTRIES} manifests");
                return Err(StoreError::Limit { what, place, reason });
            }
            match self.blob(entry, limits::MANIFEST) {
                Ok(raw) => {
                    let media_type = Some(entry.media_type.clone());
                    legacy.take(kind, Served { raw, digest: entry.digest, media_type });
                }
                Err(error) if error.is_about_content() => legacy.ignored.push((entry.digest, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(legacy)
    }

    fn legacy_names(&self, subject: &Digest) -> Vec<String> {
        let named = |entry: &Descriptor| {
            let kind = self.legacy_kind(entry, subject).filter(|kind| *kind != LegacyKind::Sbom)?;
            let own = ref_name(entry).filter(|name| *name == kind.tag(subject));
            Some(own.map_or_else(|| format!("{} (from cosign save)", entry.digest), str::to_owned))
        };
        once_each(self.entries()).filter_map(named).take(LEGACY_ENTRIES).collect()
    }

    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > limit {
            return Err(content::ContentError::TooLarge { what: digest.to_string(), limit }.into());
        }
        Ok(content::read_exact(self.file(digest)?, digest, *size, limit, &digest.to_string())?)
    }

    fn copy_blob(&self, descriptor: &Descriptor, to: &mut dyn Write) -> Result<(), StoreError> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > limits::LAYER {
            return Err(content::ContentError::TooLarge { what: digest.to_string(), limit: limits::LAYER }.into());
        }
        let mut hashing = Hashing::new(self.file(digest)?.take(size.saturating_add(1)));
        io::copy(&mut hashing, to).map_err(StateError::io("copy", &self.path(digest)))?;
        let (_, actual, actual_size) = hashing.finish();
        Ok(content::expect(&digest.to_string(), (digest, *size), (actual, actual_size))?)
    }

    fn open_blob(&self, descriptor: &Descriptor) -> Result<File, StoreError> {
        self.file(&descriptor.digest)
    }
}

/// The name an entry stands under, if it is one by the image-spec's grammar; others are as good as none.
fn ref_name(entry: &Descriptor) -> Option<&str> {
    let name = entry.annotations.get(names::REF_NAME)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:@/+".contains(&byte);
    (name.len() <= 255 && !name.is_empty() && name.bytes().all(plain)).then_some(name)
}

/// Entries without those whose digest came before: two names for one image are one image.
fn once_each<'a>(entries: impl IntoIterator<Item = &'a Descriptor>) -> impl Iterator<Item = &'a Descriptor> {
    let mut seen = HashSet::new();
    entries.into_iter().filter(move |entry| seen.insert(entry.digest))
}

fn cosign_kind(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(names::COSIGN_KIND)?.strip_prefix("dev.cosignproject.cosign/")
}

/// Listings of attestations and cosign's older formats: entries that are about an image and are none.
fn is_about_another(entry: &Descriptor) -> bool {
    matches!(cosign_kind(entry), Some("sigs" | "atts")) || ref_name(entry).is_some_and(is_digest_tag)
}

/// Whether a name is a tag made of an image's digest: the fallback tag, or one of cosign's.
fn is_digest_tag(name: &str) -> bool {
    name.strip_prefix("sha256-").is_some_and(|rest| {
        let hex = rest.split('.').next().unwrap_or_default();
        Digest::from_hex(hex).is_ok() && matches!(&rest[hex.len()..], "" | ".sig" | ".att" | ".sbom")
    })
}

fn check_version(bytes: &[u8], dir: &Path) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct WireLayout {
        image_layout_version: String,
    }
    const SHAPE: Shape = Shape { name: "image layout", known: &["imageLayoutVersion"], opaque: &[] };
    let malformed = |source| StoreError::Document { what: dir.join("oci-layout").display().to_string(), source };
    let wire: WireLayout = json::parse(bytes, &SHAPE).map_err(|error| malformed(error.into()))?;
    if wire.image_layout_version != LAYOUT_VERSION {
        let reason = format!("its version is {:?}, and only {LAYOUT_VERSION} is understood", wire.image_layout_version);
        return Err(malformed(layout_error(reason)));
    }
    Ok(())
}

/// Opens a name directly inside a folder, following no link; `None` if there is nothing.
fn open_inside(folder: &OwnedFd, name: &str, kind: OFlags, path: &Path) -> Result<Option<OwnedFd>, StoreError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | kind;
    match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        // A link is ELOOP, or ENOTDIR where a folder was asked for.
        Err(Errno::LOOP | Errno::NOTDIR) => Err(irregular(path)),
        Err(error) => Err(StateError::io("read", path)(error.into()).into()),
    }
}

fn regular(file: OwnedFd, path: &Path) -> Result<File, StoreError> {
    let file = File::from(file);
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(irregular(path)),
        Err(error) => Err(StateError::io("read", path)(error).into()),
    }
}

fn irregular(path: &Path) -> StoreError {
    let reason = "it is a link or something else than a plain file or folder".to_owned();
    StoreError::Document { what: path.display().to_string(), source: layout_error(reason) }
}

fn layout_error(reason: String) -> OciError {
    OciError::Malformed { name: "image layout", reason }
}

fn not_found(what: &str, dir: &Path) -> StoreError {
    StoreError::NotFound { what: what.to_owned(), place: dir.display().to_string() }
}
