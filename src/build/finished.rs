//! Finished builds, kept so that nothing is done twice whose outcome the inputs' hashes already say.
//!
//! What is kept is a help and no authority: everything that is taken from it is hashed again, what does not fit is as if
//! it were not there, and whoever asks for a fresh build gets one. It stands in the person's own cache; who can write
//! there can do more than lie to a build.

use std::path::{Path, PathBuf};

use super::{BuildError, BuildRecord, BuildRequest, DOCUMENTS, RECORD};
use crate::adapters::engine::Choice;
use crate::adapters::layout::{Layout, LayoutWriter};
use crate::adapters::state;
use crate::adapters::{Store, StoreError};
use crate::content::{Digest, limits};
use crate::lockfile::Lock;
use crate::oci::normalize::RULES;
use crate::oci::{Manifest, OciError, names};

/// Where one build is kept, or would be.
pub(super) struct Place {
    folder: PathBuf,
    /// What the folder's name begins with; the rest says from which inputs the build is.
    prefix: String,
    key: String,
}

/// Hex digits of the key in a folder's name.
const KEY: usize = 32;

impl Place {
    /// The place of this request's build. Its key covers everything that the image and its documents follow from.
    pub(super) fn of(folder: &Path, request: &BuildRequest<'_>, locks: &[Lock]) -> Self {
        let mut text = format!("bulla build 1\n{} {RULES}\n", env!("CARGO_PKG_VERSION"));
        text.push_str(&format!("{}\n{}\n", request.compression.description(), request.platform));
        let family = std::iter::once((request.template, request.bundled));
        let family = family.chain(request.parents.iter().map(|parent| (&parent.template, parent.bundled)));
        for ((template, bundled), lock) in family.zip(locks) {
            text.push_str(&format!("{} {bundled} {} {}\n", template.name, template.digest(), lock.digest()));
        }
        // What a base is recorded to come to is checked by building on it, and not by taking what was built on it.
        for (parent, lock) in request.parents.iter().zip(locks.iter().skip(1)) {
            let digests = parent.template.digests().ok().flatten();
            let expected = digests.and_then(|digests| digests.expected(&lock.digest(), RULES, &request.platform));
            text.push_str(&format!("{}\n", expected.map(|digest| digest.to_string()).unwrap_or_default()));
        }
        let platform = request.platform.to_string().replace('/', "-");
        let prefix = format!("{}-{platform}-", request.template.name);
        Self { folder: folder.to_owned(), prefix, key: Digest::of(text.as_bytes()).hex()[..KEY].to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}{}", self.prefix, self.key))
    }

    /// The finished build, if it is here, whole, and by the engine that was asked for.
    pub(super) fn find(&self, request: &BuildRequest<'_>, locks: &[Lock]) -> Option<(Layout, BuildRecord)> {
        let layout = Layout::open(&self.path()).ok()?;
        let bytes = state::read_file(&self.path().join("bulla").join(RECORD), limits::BUNDLE).ok()?;
        let record: BuildRecord = serde_json::from_slice(&bytes).ok()?;
        let same = record.template.digest == request.template.digest()
            && locks.first().is_some_and(|lock| record.template.lock == lock.digest())
            && record.template.bundled == request.bundled
            && record.platform == request.platform
            && record.image.rules == RULES;
        let engine = match &request.engine {
            Choice::Auto => true,
            Choice::Docker => record.engine.name.starts_with("docker"),
            Choice::Buildah => record.engine.name == "buildah",
            Choice::Podman => record.engine.name == "podman",
            Choice::Builder(name) => record.engine.builder.as_ref() == Some(name),
        };
        (same && engine).then_some((layout, record))
    }

    /// Keeps a build that has just been finished, and no older one of the same template. That it cannot be kept is no
    /// failure.
    pub(super) fn keep(&self, from: &Path, record: &BuildRecord) {
        let kept = || -> Result<(), BuildError> {
            let mut writer = LayoutWriter::create(&self.path())?;
            copy(&Layout::open(from)?, record, &mut writer)?;
            writer.write_beside(RECORD, &record.write())?;
            writer.finish()?;
            Ok(())
        };
        if kept().is_ok() {
            state::remove_others(&self.folder, &self.path(), |name| {
                name.strip_prefix(&self.prefix)
                    .is_some_and(|key| key.len() == KEY && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
            });
        }
    }
}

/// Copies an image with its documents, but for the record. Every byte is checked against its digest on the way.
pub(super) fn copy(from: &Layout, record: &BuildRecord, to: &mut LayoutWriter) -> Result<(), BuildError> {
    let served = from.manifest(&record.image.digest)?;
    let refused = |source: OciError| StoreError::Document { what: record.image.digest.to_string(), source };
    let manifest = Manifest::parse(&served.raw, Some(names::MANIFEST)).and_then(Manifest::into_image);
    let manifest = manifest.map_err(refused)?;
    to.copy_blob(from, &manifest.config)?;
    for layer in &manifest.layers {
        to.copy_blob(from, layer)?;
    }
    to.add_manifest(names::MANIFEST, &served.raw, Some(&record.image.name))?;
    for (document, _) in DOCUMENTS {
        let absent = || OciError::Malformed { name: "manifest", reason: "it has not all its documents".to_owned() };
        let digest = record.documents.get(document).ok_or_else(|| refused(absent()))?;
        to.write_beside(document, &from.read_beside(document, digest)?)?;
    }
    Ok(())
}
