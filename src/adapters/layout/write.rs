//! Writing layouts: a new one aside and renamed, or one attestation more in a layout that is there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use super::{LAYOUT_VERSION, Layout, layout_error};
use crate::adapters::state::{self, Lock, StateError};
use crate::adapters::{Store, StoreError};
use crate::content::{self, ContentError, Digest, Hashing, limits};
use crate::oci::{Descriptor, names};

/// What bulla writes at the top of a layout. A folder that holds anything else is not replaced.
const OUR_ENTRIES: [&str; 5] = ["oci-layout", "index.json", "blobs", BESIDE, LOCK];
/// The folder for what stands beside the image: documents and the record of a build. Every layout written by
/// [`LayoutWriter`] has it, and that is how bulla knows its own layouts again.
const BESIDE: &str = "bulla";
const LOCK: &str = ".bulla.lock";
/// The empty config of artifacts (image-spec, manifest.md).
pub(in crate::adapters) const EMPTY_CONFIG: &[u8] = b"{}";

/// The manifest that attaches a Sigstore bundle to an image, as cosign and GitHub's attest action write it.
///
/// Its blobs are the bundle itself and `{}`. `created` is cut to the second.
pub fn attestation_manifest(bundle: &[u8], subject: &Descriptor, predicate_type: &str, created: Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        schema_version: u32,
        media_type: &'a str,
        artifact_type: &'a str,
        config: Descriptor,
        layers: [Descriptor; 1],
        subject: Descriptor,
        annotations: BTreeMap<&'a str, String>,
    }
    let created = Timestamp::from_second(created.as_second()).unwrap_or(created);
    let wire = Wire {
        schema_version: 2,
        media_type: names::MANIFEST,
        artifact_type: names::BUNDLE_V03,
        config: Descriptor::of(names::EMPTY, EMPTY_CONFIG),
        layers: [Descriptor::of(names::BUNDLE_V03, bundle)],
        subject: Descriptor::new(&subject.media_type, subject.digest, subject.size),
        annotations: BTreeMap::from([
            ("org.opencontainers.image.created", created.to_string()),
            ("dev.sigstore.bundle.content", "dsse-envelope".to_owned()),
            (names::PREDICATE_TYPE, predicate_type.to_owned()),
        ]),
    };
    to_json(&wire)
}

/// A layout being written. Nothing is visible at its place before [`LayoutWriter::finish`].
#[derive(Debug)]
pub struct LayoutWriter {
    target: PathBuf,
    aside: TempDir,
    entries: Vec<Descriptor>,
}

impl LayoutWriter {
    /// Starts a layout that will stand at `target`.
    ///
    /// Refused where something stands that bulla did not write: `target` has to be absent, an empty folder, or a
    /// layout of bulla's own (it has a `bulla` folder, and nothing at its top but what bulla writes there).
    pub fn create(target: &Path) -> Result<Self, StoreError> {
        let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
        check_replaceable(&target)?;
        let parent = state::parent(&target);
        state::create_dir(parent)?;
        let aside = tempfile::Builder::new().prefix(".bulla-").tempdir_in(parent);
        let aside = aside.map_err(StateError::io("write in", parent))?;
        let writer = Self { target, aside, entries: Vec::new() };
        state::create_dir(&writer.root().join("blobs/sha256"))?;
        state::create_dir(&writer.root().join(BESIDE))?;
        Ok(writer)
    }

    /// Adds a blob of any size and says what it is.
    pub fn add_blob(&mut self, media_type: &str, from: impl Read) -> Result<Descriptor, StoreError> {
        let (digest, size) = put_blob(&self.root(), from)?;
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// Copies a blob out of another store.
    pub fn copy_blob(&mut self, from: &dyn Store, descriptor: &Descriptor) -> Result<(), StoreError> {
        let folder = self.root().join("blobs/sha256");
        let mut aside = aside_in(&folder)?;
        from.copy_blob(descriptor, aside.as_file_mut())?;
        Ok(keep(aside, &folder.join(descriptor.digest.hex()))?)
    }

    /// Adds a manifest or an index as an entry of the layout, under a name if it is given one.
    pub fn add_manifest(
        &mut self,
        media_type: &str,
        bytes: &[u8],
        name: Option<&str>,
    ) -> Result<Descriptor, StoreError> {
        let mut entry = self.add_blob(media_type, bytes)?;
        let plain = entry.clone();
        if let Some(name) = name {
            entry.annotations.insert(names::REF_NAME.to_owned(), name.to_owned());
        }
        self.entries.push(entry);
        Ok(plain)
    }

    /// Adds an attestation: its manifest ([`attestation_manifest`]) and the bundle in it.
    pub fn attach(&mut self, manifest: &[u8], bundle: &[u8], predicate_type: &str) -> Result<Descriptor, StoreError> {
        put_blob(&self.root(), EMPTY_CONFIG)?;
        put_blob(&self.root(), bundle)?;
        put_blob(&self.root(), manifest)?;
        let entry = attestation_entry(manifest, predicate_type);
        self.entries.push(entry.clone());
        Ok(entry)
    }

    /// Adds an entry whose manifest was added as a blob before, as it stands.
    pub(crate) fn add_entry(&mut self, entry: Descriptor) {
        self.entries.push(entry);
    }

    /// Writes a file into the `bulla` folder beside the image.
    pub(crate) fn write_beside(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        Ok(state::write_file(&self.root().join(BESIDE).join(name), bytes)?)
    }

    /// Puts the layout in its place, at once, and opens it.
    pub fn finish(self) -> Result<Layout, StoreError> {
        let root = self.root();
        let version = json!({ "imageLayoutVersion": LAYOUT_VERSION });
        state::write_file(&root.join("oci-layout"), &to_json(&version))?;
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            schema_version: u32,
            media_type: &'a str,
            manifests: &'a [Descriptor],
        }
        let index = Wire { schema_version: 2, media_type: names::INDEX, manifests: &self.entries };
        state::sync_dir(&root.join("blobs/sha256"))?;
        state::write_file(&root.join("index.json"), &to_json(&index))?;
        check_replaceable(&self.target)?;
        replace(&root, &self.target)?;
        let layout = Layout::open(&self.target)?;
        drop(self.aside); // and with it what stood there before
        Ok(layout)
    }

    fn root(&self) -> PathBuf {
        self.aside.path().join("layout")
    }
}

impl Layout {
    /// Reads a file from the `bulla` folder beside the image, if it still has this digest.
    pub(crate) fn read_beside(&self, name: &str, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.dir.join(BESIDE).join(name);
        let bytes = state::read_file(&path, limits::BUNDLE)?;
        content::check_digest(&bytes, digest, &path.display().to_string())?;
        Ok(bytes)
    }

    /// Replaces a file in the `bulla` folder beside the image.
    pub(crate) fn write_beside(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        Ok(state::write_file(&self.dir.join(BESIDE).join(name), bytes)?)
    }

    /// Adds an attestation to a layout that is there: blobs first, `index.json` last and at once. The same one again
    /// changes nothing. Several processes may do this at the same time.
    pub fn attach(&mut self, manifest: &[u8], bundle: &[u8], predicate_type: &str) -> Result<Descriptor, StoreError> {
        let _lock = Lock::take(&self.dir.join(LOCK))?;
        let current = Self::open(&self.dir)?;
        let entry = attestation_entry(manifest, predicate_type);
        if current.entry(&entry.digest).is_none() {
            put_blob(&self.dir, EMPTY_CONFIG)?;
            put_blob(&self.dir, bundle)?;
            put_blob(&self.dir, manifest)?;
            state::sync_dir(&self.dir.join("blobs/sha256"))?;
            self.append_to_index(&entry)?;
        }
        *self = Self::open(&self.dir)?;
        Ok(entry)
    }

    /// Rewrites `index.json` with one entry more, keeping what other programs put into it.
    fn append_to_index(&self, entry: &Descriptor) -> Result<(), StoreError> {
        let path = self.dir.join("index.json");
        let raw = state::read_file(&path, limits::MANIFEST)?;
        let malformed = |reason: &str| StoreError::Document {
            what: path.display().to_string(),
            source: layout_error(reason.to_owned()),
        };
        let mut index: Value = serde_json::from_slice(&raw).map_err(|error| malformed(&error.to_string()))?;
        let entries = index.get_mut("manifests").and_then(Value::as_array_mut);
        let entries = entries.ok_or_else(|| malformed("it has no `manifests`"))?;
        entries.push(serde_json::to_value(entry).unwrap_or_default());
        Ok(state::write_file(&path, &to_json(&index))?)
    }
}

/// The entry of an attestation in an index: its hints are the manifest's own words.
pub(in crate::adapters) fn attestation_entry(manifest: &[u8], predicate_type: &str) -> Descriptor {
    let mut entry = Descriptor::of(names::MANIFEST, manifest);
    entry.artifact_type = Some(names::BUNDLE_V03.to_owned());
    entry.annotations.insert(names::PREDICATE_TYPE.to_owned(), predicate_type.to_owned());
    entry
}

fn put_blob(root: &Path, from: impl Read) -> Result<(Digest, u64), StoreError> {
    let folder = root.join("blobs/sha256");
    let mut aside = aside_in(&folder)?;
    let mut hashing = Hashing::new(from.take(limits::LAYER + 1));
    io::copy(&mut hashing, aside.as_file_mut()).map_err(StateError::io("write in", &folder))?;
    let (_, digest, size) = hashing.finish();
    if size > limits::LAYER {
        return Err(ContentError::TooLarge { what: "a blob".to_owned(), limit: limits::LAYER }.into());
    }
    keep(aside, &folder.join(digest.hex()))?;
    Ok((digest, size))
}

fn aside_in(folder: &Path) -> Result<NamedTempFile, StateError> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bulla-").permissions(fs::Permissions::from_mode(0o666)); // the umask takes its part
    builder.tempfile_in(folder).map_err(StateError::io("write in", folder))
}

fn keep(mut aside: NamedTempFile, path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Io { action: "write", path: path.to_owned(), source };
    aside.as_file_mut().flush().map_err(failed)?;
    aside.as_file().sync_all().map_err(failed)?;
    aside.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Refuses a place that holds anything bulla did not write.
fn check_replaceable(target: &Path) -> Result<(), StoreError> {
    let listing = match fs::read_dir(target) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StateError::io("replace", target)(error).into()),
    };
    let mut found = Vec::new();
    for entry in listing {
        found.push(entry.map_err(StateError::io("read", target))?.file_name().to_string_lossy().into_owned());
    }
    let has = |name: &str| found.iter().any(|found| found == name);
    let foreign = found.iter().find(|name| !OUR_ENTRIES.contains(&name.as_str()));
    if found.is_empty() || (foreign.is_none() && has(BESIDE) && has("oci-layout")) {
        return Ok(());
    }
    let reason = match foreign {
        Some(name) => format!("it holds {name:?}, which bulla did not write; choose another folder"),
        None => "it was not written by bulla; choose another folder".to_owned(),
    };
    Err(StateError::Io { action: "replace", path: target.to_owned(), source: io::Error::other(reason) }.into())
}

/// Exchanges the new folder for what stands at its place, in one step where the system can.
fn replace(new: &Path, target: &Path) -> Result<(), StoreError> {
    let failed = || StateError::io("write", target);
    if target.exists() {
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        if rustix::fs::renameat_with(rustix::fs::CWD, new, rustix::fs::CWD, target, exchange).is_err() {
            let old = new.with_file_name("old");
            fs::rename(target, &old).map_err(failed())?;
            if let Err(error) = fs::rename(new, target) {
                let _ = fs::rename(&old, target);
                return Err(failed()(error).into());
            }
        }
    } else {
        fs::rename(new, target).map_err(failed())?;
    }
    Ok(state::sync_dir(state::parent(target))?)
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Maps with text keys, text and integers: there is nothing in them that could fail to be written.
    serde_json::to_vec(value).unwrap_or_default()
}
