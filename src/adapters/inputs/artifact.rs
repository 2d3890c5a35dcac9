//! All inputs of some locks as one OCI artifact: what keeps a lock buildable when its archives have moved on.
//!
//! The manifest follows from the locks alone, so that the same locks give the same digest wherever it is made. Whoever
//! reads from an artifact asks for inputs by the digest that their own lock has, and believes nothing else about it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Attempt, Failure};
use crate::adapters::layout::{EMPTY_CONFIG, LayoutWriter};
use crate::adapters::registry::{Pushed, Registry, RegistryStore};
use crate::adapters::state::{ContentStore, StateError};
use crate::adapters::{Store, StoreError};
use crate::class::{Class, Classified as _};
use crate::content::{self, Digest};
use crate::lockfile::Input;
use crate::oci::{Descriptor, names};
use crate::reference::Reference;

/// The artifact's type.
pub const ARTIFACT_TYPE: &str = "application/vnd.bulla.inputs.v1";
/// The media type of each of its layers.
pub const LAYER_TYPE: &str = "application/vnd.bulla.input.v1";
/// The annotation of a layer that says which package it is. For people: nothing reads it.
const PURL: &str = "vnd.bulla.purl";
const TITLE: &str = "org.opencontainers.image.title";

/// An artifact that can be written or published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    manifest: Vec<u8>,
    inputs: Vec<(Descriptor, PathBuf)>,
}

/// What a publication did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Digest of the artifact.
    pub digest: Digest,
    /// Inputs that were sent.
    pub sent: usize,
    /// Inputs that were there before.
    pub present: usize,
}

impl Artifact {
    /// The artifact of these inputs, each where it lies, as [`super::Inputs::fetch`] says. Every content is there once,
    /// in the order of the inputs' purls.
    pub fn of(fetched: &[(Input, PathBuf)]) -> Self {
        let mut sorted: Vec<_> = fetched.iter().map(|(input, path)| (input.purl(), input, path)).collect();
        sorted.sort();
        let mut seen = std::collections::BTreeSet::new();
        sorted.retain(|(_, input, _)| seen.insert(input.digest));
        let layer = |(purl, input, path): (String, &Input, &PathBuf)| {
            let mut descriptor = Descriptor::new(LAYER_TYPE, input.digest, input.size);
            let title = input.bare_name().to_owned();
            descriptor.annotations = BTreeMap::from([(PURL.to_owned(), purl), (TITLE.to_owned(), title)]);
            (descriptor, path.clone())
        };
        let inputs: Vec<_> = sorted.into_iter().map(layer).collect();
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            schema_version: u32,
            media_type: &'a str,
            artifact_type: &'a str,
            config: Descriptor,
            layers: Vec<&'a Descriptor>,
        }
        let wire = Wire {
            schema_version: 2,
            media_type: names::MANIFEST,
            artifact_type: ARTIFACT_TYPE,
            config: Descriptor::of(names::EMPTY, EMPTY_CONFIG),
            layers: inputs.iter().map(|(descriptor, _)| descriptor).collect(),
        };
        // Nothing in it can fail to be JSON.
        Self { manifest: serde_json::to_vec(&wire).unwrap_or_default(), inputs }
    }

    /// Digest of its manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// How many inputs it holds; for tests.
    pub fn count(&self) -> usize {
        self.inputs.len()
    }

    /// Writes it as an OCI layout, at once.
    pub fn write(&self, target: &Path) -> Result<(), StoreError> {
        let mut writer = LayoutWriter::create(target)?;
        for (descriptor, path) in &self.inputs {
            let written = writer.add_blob(LAYER_TYPE, open(path)?)?;
            let actual = (written.digest, written.size);
            content::expect(&descriptor.digest.to_string(), (&descriptor.digest, descriptor.size), actual)?;
        }
        writer.add_blob(names::EMPTY, EMPTY_CONFIG)?;
        let mut entry = writer.add_blob(names::MANIFEST, &*self.manifest)?;
        entry.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        writer.add_entry(entry);
        writer.finish().map(drop)
    }

    /// Publishes it: the inputs that are not there, the manifest, and the tag last. A tag that names something else
    /// stays where it is.
    pub fn push(&self, to: &RegistryStore, tag: Option<&str>) -> Result<Published, StoreError> {
        let digest = self.digest();
        if let Some(tag) = tag {
            let other = to.tagged(tag)?.filter(|served| served.digest != digest);
            if let Some(other) = other {
                return Err(StoreError::TagTaken { tag: tag.to_owned(), there: other.digest });
            }
        }
        let mut published = Published { digest, sent: 0, present: 0 };
        for (descriptor, path) in &self.inputs {
            match to.push_from(descriptor, &|| Ok(Box::new(open(path)?)))? {
                Pushed::Sent => published.sent += 1,
                Pushed::Present => published.present += 1,
            }
        }
        let config = Descriptor::of(names::EMPTY, EMPTY_CONFIG);
        to.push_from(&config, &|| Ok(Box::new(std::io::Cursor::new(EMPTY_CONFIG))))?;
        to.push_manifest(names::MANIFEST, &self.manifest)?;
        if let Some(tag) = tag {
            to.push_tag(tag, names::MANIFEST, &self.manifest)?;
        }
        Ok(published)
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    Ok(File::open(path).map_err(StateError::io("read", path))?)
}

/// An artifact on a registry, from which inputs are taken by their own digests.
#[derive(Clone)]
pub struct ArtifactSource {
    registry: Registry,
    reference: Reference,
}

impl ArtifactSource {
    /// The artifact that this reference names. With neither tag nor digest, whatever the repository holds.
    pub fn new(registry: &Registry, reference: &Reference) -> Self {
        Self { registry: registry.clone(), reference: reference.clone() }
    }

    /// The repository, if the artifact that was named is in it.
    pub(super) fn open(&self) -> Result<RegistryStore, Attempt> {
        if self.reference.tag.is_some() || self.reference.digest.is_some() {
            self.registry.resolve(&self.reference).map_err(|error| self.attempt(&error))?;
        }
        Ok(self.registry.repository(&self.reference.repository))
    }

    /// Takes one input into the store. The outer error is this machine's disk.
    pub(super) fn take(
        &self,
        from: &RegistryStore,
        input: &Input,
        store: &ContentStore,
    ) -> Result<Result<(), Attempt>, StateError> {
        let descriptor = Descriptor::new(LAYER_TYPE, input.digest, input.size);
        let inserted = from.open_blob(&descriptor).and_then(|file| {
            let inserted = store.insert(file.take(input.size + 1), &input.digest, input.size, &input.display());
            inserted.map_err(StoreError::from)
        });
        match inserted {
            Ok(_) => Ok(Ok(())),
            Err(StoreError::State(error @ StateError::Io { .. })) => Err(error),
            Err(error) => Ok(Err(self.attempt(&error))),
        }
    }

    fn attempt(&self, error: &StoreError) -> Attempt {
        let kind = match (error, error.class()) {
            (StoreError::NotFound { .. }, _) => Failure::Absent,
            (_, Class::Auth) => Failure::Denied,
            (_, Class::Integrity) => Failure::Integrity,
            (_, Class::Limit) => Failure::Large,
            _ => Failure::Net,
        };
        Attempt { place: self.reference.to_string(), reason: error.to_string(), kind }
    }
}

impl fmt::Display for ArtifactSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

impl fmt::Debug for ArtifactSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArtifactSource({})", self.reference)
    }
}
