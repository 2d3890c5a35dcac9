//! Publishing and copying: an image and everything attached to it, from where it is to where it should be.
//!
//! The order is the point: blobs, then manifests by digest, then attestations, and the tag last. Whoever sees the tag
//! sees an image that is complete and attested; a run that ends early leaves content nobody points at.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use crate::adapters::layout::{Layout, LayoutWriter};
use crate::adapters::registry::{Pushed, Registry, RegistryStore};
use crate::adapters::{Event, LegacyKind, Progress, Served, Store, StoreError};
use crate::class::{Class, Classified};
use crate::content::{Digest, Document};
use crate::oci::{self, Descriptor, ImageManifest, Manifest};
use crate::reference::{LayoutImage, PinnedReference, Reference};

/// What may happen although it mostly should not.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishOptions {
    /// A tag that stands on another image may be moved.
    pub move_tag: bool,
    /// The image may have no attestations.
    pub allow_unattested: bool,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The image, pinned.
    pub reference: PinnedReference,
    /// The tag that stands on it.
    pub tag: String,
    /// The image the tag stood on before, if on another one.
    pub moved_from: Option<Digest>,
    /// Whether anything changed: `false` means that image, attestations and tag were all there.
    pub changed: bool,
    /// Blobs that were sent.
    pub blobs_sent: usize,
    /// Blobs that were there.
    pub blobs_present: usize,
    /// Attestations that are there now.
    pub attestations: usize,
    /// Whether the registry has no referrers API, so that attestations are listed under the fallback tag.
    pub fallback: bool,
}

/// Why an image was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It was not said under which tag.
    #[error("{0} names no tag to publish under: write REGISTRY/REPOSITORY:TAG")]
    NoTag(String),
    /// The tag stands on something else.
    #[error("the tag {tag} stands on {there}; --move-tag moves it to {new}")]
    TagTaken {
        /// The tag.
        tag: String,
        /// What it stands on.
        there: Digest,
        /// What was to be published.
        new: Digest,
    },
    /// The same image stands there, with something attached that would be gone.
    #[error(
        "{place} has {attached} attached to {image}, which the copy would lack: --move-tag replaces it all the same"
    )]
    WouldDrop {
        /// The layout.
        place: String,
        /// What is attached there alone.
        attached: Digest,
        /// The image.
        image: Digest,
    },
    /// Nothing is attached to the image.
    #[error("nothing is attached to {0}: sign and attest it first, or say --allow-unattested")]
    Unattested(Digest),
    /// The registry took attestations and does not list them.
    #[error("{place} took an attestation of {subject} and does not list it")]
    Unlisted {
        /// The registry's repository.
        place: String,
        /// The image.
        subject: Digest,
    },
    /// A place did not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classified for PublishError {
    fn class(&self) -> Class {
        match self {
            Self::NoTag(_) | Self::TagTaken { .. } | Self::WouldDrop { .. } => Class::Usage,
            Self::Unattested(_) => Class::NoAttestation,
            Self::Unlisted { .. } => Class::Registry,
            Self::Store(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::NoTag(_) => "no-tag",
            Self::TagTaken { .. } | Self::WouldDrop { .. } => "tag-taken",
            Self::Unattested(_) => "unattested",
            Self::Unlisted { .. } => "unlisted",
            Self::Store(error) => error.code(),
        }
    }
}

/// Publishes an image of a layout, with its attestations.
pub fn publish(
    layout: &Layout,
    image: &LayoutImage,
    to: &Reference,
    options: PublishOptions,
    registry: &Registry,
    progress: Progress<'_>,
) -> Result<Published, PublishError> {
    let (root, _) = layout.image(image)?;
    copy(layout, root, to, options, registry, progress)
}

/// Copies an image from any store to a registry, with its attestations.
pub fn copy(
    from: &dyn Store,
    root: Served,
    to: &Reference,
    options: PublishOptions,
    registry: &Registry,
    progress: Progress<'_>,
) -> Result<Published, PublishError> {
    let (Some(tag), None) = (to.tag.clone(), to.digest) else { return Err(PublishError::NoTag(to.to_string())) };
    let load = Load::gather(from, root)?;
    if load.attestations.is_empty() && load.legacy.is_empty() && !options.allow_unattested {
        return Err(PublishError::Unattested(load.root.digest));
    }
    let store = registry.repository(&to.repository).fresh();
    let run = Run { from, store, load, tag, progress };
    let there = run.check_tag(options)?;
    run.push(there)
}

/// Copies an image from any store into a new layout, with its attestations. A layout of another image that bulla wrote
/// there before is replaced where `options` let a tag be moved.
pub fn copy_to_layout(
    from: &dyn Store,
    root: Served,
    name: Option<&str>,
    dir: &Path,
    options: PublishOptions,
    progress: Progress<'_>,
) -> Result<Layout, PublishError> {
    let load = Load::gather(from, root)?;
    if let (Ok(there), false) = (Layout::open(dir), options.move_tag) {
        check_layout(&there, &load, dir)?;
    }
    let mut writer = LayoutWriter::create(dir)?;
    for blob in load.blobs() {
        progress(Event::Step(&format!("copying {}", blob.digest)));
        writer.copy_blob(from, blob)?;
    }
    for child in &load.children {
        writer.add_blob(&child.media_type, &child.raw[..])?;
    }
    writer.add_manifest(&load.root.media_type, &load.root.raw, name)?;
    for attestation in &load.attestations {
        writer.add_blob(&attestation.part.media_type, &attestation.part.raw[..])?;
        writer.add_entry(attestation.entry());
    }
    for Legacy { tag, part, .. } in &load.legacy {
        writer.add_manifest(&part.media_type, &part.raw, Some(tag))?;
    }
    Ok(writer.finish()?)
}

/// Refuses to write over a layout in which something else stands than what is copied: another image, or something that
/// is attached to this one there alone.
fn check_layout(there: &Layout, load: &Load, dir: &Path) -> Result<(), PublishError> {
    let (place, image) = (dir.display().to_string(), load.root.digest);
    let attestations = load.attestations.iter().map(|attestation| attestation.part.digest);
    let legacy = load.legacy.iter().map(|legacy| legacy.part.digest);
    let ours: HashSet<Digest> = attestations.chain(legacy).chain([image]).collect();
    let is_there = there.holds(&image);
    match there.entries().iter().map(|entry| entry.digest).find(|digest| !ours.contains(digest)) {
        Some(attached) if is_there => Err(PublishError::WouldDrop { place, attached, image }),
        Some(other) => Err(PublishError::TagTaken { tag: place, there: other, new: image }),
        None => Ok(()),
    }
}

/// All manifests of one image, its platforms and what is attached to them, in bytes: they travel in memory. An index
/// of ten thousand real ones stays below it.
const MANIFESTS: u64 = 32 << 20;

/// What of [`MANIFESTS`] is left.
struct Room(u64);

impl Room {
    fn take(&mut self, what: &str, digest: &Digest, size: u64, from: &str) -> Result<(), StoreError> {
        let reason = || format!("with it, the manifests of one image have more than {MANIFESTS} bytes");
        let (what, place) = (format!("{what} {digest}"), from.to_owned());
        self.0 = self.0.checked_sub(size).ok_or_else(|| StoreError::Limit { what, place, reason: reason() })?;
        Ok(())
    }
}

/// A manifest or index as it travels.
struct Part {
    media_type: String,
    digest: Digest,
    raw: Vec<u8>,
}

impl Part {
    /// A manifest that was read, and what it says.
    fn of(document: Document<ImageManifest>) -> (Self, ImageManifest) {
        let Document { raw, digest, parsed } = document;
        let media_type = own_media_type(&raw).unwrap_or_else(|| oci::names::MANIFEST.to_owned());
        (Self { media_type, digest, raw }, parsed)
    }
}

/// An attestation as it travels.
struct Attestation {
    subject: Digest,
    part: Part,
    parsed: ImageManifest,
}

impl Attestation {
    /// How it is listed: the manifest's own words.
    fn entry(&self) -> Descriptor {
        let mut entry = Descriptor::new(&self.part.media_type, self.part.digest, self.part.raw.len() as u64);
        let own = self.parsed.artifact_type.clone();
        entry.artifact_type = Some(own.unwrap_or_else(|| self.parsed.config.media_type.clone()));
        entry.annotations.clone_from(&self.parsed.annotations);
        entry
    }
}

/// What stands under one of cosign's older tags, as it travels.
struct Legacy {
    tag: String,
    part: Part,
    parsed: ImageManifest,
}

/// Everything that belongs to one image.
struct Load {
    root: Part,
    children: Vec<Part>,
    image_blobs: Vec<Descriptor>,
    attestations: Vec<Attestation>,
    legacy: Vec<Legacy>,
}

impl Load {
    fn gather(from: &dyn Store, root: Served) -> Result<Self, StoreError> {
        let mut room = Room(MANIFESTS);
        let place = format!("where {} is", root.digest);
        room.take("manifest", &root.digest, root.raw.len() as u64, &place)?;
        let (root, parsed) = part(root, None)?;
        let (children, image_blobs, attestations, legacy) = Default::default();
        let mut load = Self { root, children, image_blobs, attestations, legacy };
        let mut subjects = vec![load.root.digest];
        match parsed {
            Manifest::Image(image) => load.image_blobs.extend(blobs_of(&image)),
            Manifest::Index(index) => {
                for entry in &index.manifests {
                    let served = from.manifest(&entry.digest)?;
                    room.take("manifest", &entry.digest, served.raw.len() as u64, &place)?;
                    let (child, parsed) = part(served, Some(&entry.media_type))?;
                    let nested = |source| StoreError::Document { what: format!("entry {}", entry.digest), source };
                    let image = parsed.into_image().map_err(nested)?;
                    load.image_blobs.extend(blobs_of(&image));
                    subjects.push(child.digest);
                    load.children.push(child);
                }
            }
        }
        let mut seen = HashSet::new();
        for subject in subjects.into_iter().filter(|subject| seen.insert(*subject)) {
            // A list that was remembered could lack something.
            for document in from.referrers_now(&subject)?.manifests {
                room.take("attestation manifest", &document.digest, document.raw.len() as u64, &place)?;
                let (part, parsed) = Part::of(document);
                load.attestations.push(Attestation { subject, part, parsed });
            }
            for (kind, document) in from.legacy(&subject, &LegacyKind::ALL)?.manifests {
                room.take("attestation manifest", &document.digest, document.raw.len() as u64, &place)?;
                let (part, parsed) = Part::of(document);
                load.legacy.push(Legacy { tag: kind.tag(&subject), part, parsed });
            }
        }
        Ok(load)
    }

    /// Every blob, each once.
    fn blobs(&self) -> Vec<&Descriptor> {
        let of_attestations = self.attestations.iter().flat_map(|attestation| parts_of(&attestation.parsed));
        let of_legacy = self.legacy.iter().flat_map(|legacy| parts_of(&legacy.parsed));
        let mut seen = HashSet::new();
        self.image_blobs
            .iter()
            .chain(of_attestations)
            .chain(of_legacy)
            .filter(|blob| seen.insert(blob.digest))
            .collect()
    }
}

fn part(served: Served, listed_as: Option<&str>) -> Result<(Part, Manifest), StoreError> {
    let said = listed_as.or(served.media_type.as_deref());
    let parsed = Manifest::parse(&served.raw, said)
        .map_err(|source| StoreError::Document { what: format!("manifest {}", served.digest), source })?;
    let said = said.map(|said| oci::essence(said).to_owned());
    let media_type = own_media_type(&served.raw).or(said).unwrap_or_else(|| parsed.media_type().to_owned());
    Ok((Part { media_type, digest: served.digest, raw: served.raw }, parsed))
}

/// The media type a manifest says of itself: under another one, a registry would store another thing.
fn own_media_type(raw: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own {
        media_type: String,
    }
    serde_json::from_slice(raw).ok().map(|own: Own| own.media_type)
}

fn parts_of(manifest: &ImageManifest) -> impl Iterator<Item = &Descriptor> {
    std::iter::once(&manifest.config).chain(&manifest.layers)
}

fn blobs_of(manifest: &ImageManifest) -> Vec<Descriptor> {
    // Without what else is said about them, which may be much.
    parts_of(manifest).map(|blob| Descriptor::new(&blob.media_type, blob.digest, blob.size)).collect()
}

/// One publication under way.
struct Run<'a> {
    from: &'a dyn Store,
    store: RegistryStore,
    load: Load,
    tag: String,
    progress: Progress<'a>,
}

impl Run<'_> {
    /// What the tag stands on, refusing what may not be moved: it, or a tag with older signatures of this image.
    fn check_tag(&self, options: PublishOptions) -> Result<Option<Digest>, PublishError> {
        let on = |tag: &str, new: Digest| {
            let there = self.store.tagged(tag)?.map(|served| served.digest);
            match there {
                Some(there) if there != new && !options.move_tag => {
                    Err(PublishError::TagTaken { tag: tag.to_owned(), there, new })
                }
                there => Ok(there),
            }
        };
        for legacy in &self.load.legacy {
            on(&legacy.tag, legacy.part.digest)?;
        }
        on(&self.tag, self.load.root.digest)
    }

    fn push(self, there: Option<Digest>) -> Result<Published, PublishError> {
        let new = self.load.root.digest;
        let same = there == Some(new);
        let mut published = Published {
            reference: self.store.name().pin(new),
            tag: self.tag.clone(),
            moved_from: there.filter(|there| *there != new),
            changed: true,
            blobs_sent: 0,
            blobs_present: 0,
            attestations: self.load.attestations.len() + self.load.legacy.len(),
            fallback: false,
        };
        if same && self.unlisted()?.is_none() && self.legacy_stands()? {
            published.changed = false;
            return Ok(published);
        }
        for blob in self.load.blobs() {
            (self.progress)(Event::Step(&format!("pushing {}", blob.digest)));
            match self.store.push_blob(blob, self.from)? {
                Pushed::Sent => published.blobs_sent += 1,
                Pushed::Present => published.blobs_present += 1,
            }
        }
        for part in self.load.children.iter().chain([&self.load.root]) {
            self.store.push_manifest(&part.media_type, &part.raw)?;
        }
        // Where the list is kept by its writers, one of them may have overtaken us: then it is written again.
        for attempt in 1.. {
            published.fallback = self.attach()?;
            match self.unlisted()? {
                None => break,
                Some(subject) if attempt >= 3 || !published.fallback => {
                    return Err(PublishError::Unlisted { place: self.store.name().to_string(), subject });
                }
                Some(_) => {}
            }
        }
        for Legacy { tag, part, .. } in &self.load.legacy {
            self.store.push_tag(tag, &part.media_type, &part.raw)?;
        }
        if !same {
            self.put_tag(there)?;
        }
        Ok(published)
    }

    /// Whether every older tag stands where it should.
    fn legacy_stands(&self) -> Result<bool, StoreError> {
        for Legacy { tag, part, .. } in &self.load.legacy {
            if self.store.tagged(tag)?.is_none_or(|there| there.digest != part.digest) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Pushes the attestations; says whether the fallback tag was needed.
    fn attach(&self) -> Result<bool, PublishError> {
        let mut by_hand: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
        for attestation in &self.load.attestations {
            (self.progress)(Event::Step(&format!("attaching {}", attestation.part.digest)));
            if !self.store.push_manifest(&attestation.part.media_type, &attestation.part.raw)? {
                by_hand.entry(attestation.subject).or_default().push(attestation.entry());
            }
        }
        for (subject, entries) in &by_hand {
            self.store.list_in_fallback(subject, entries)?;
        }
        Ok(!by_hand.is_empty())
    }

    /// An image of which the registry does not list every attestation we have.
    fn unlisted(&self) -> Result<Option<Digest>, StoreError> {
        let mut ours: BTreeMap<Digest, HashSet<Digest>> = BTreeMap::new();
        for attestation in &self.load.attestations {
            ours.entry(attestation.subject).or_default().insert(attestation.part.digest);
        }
        for (subject, ours) in ours {
            let listed = self.store.referrers(&subject)?.manifests;
            let listed: HashSet<_> = listed.into_iter().map(|manifest| manifest.digest).collect();
            if !ours.is_subset(&listed) {
                return Ok(Some(subject));
            }
        }
        Ok(None)
    }

    /// The tag, unless somebody put it elsewhere since we looked.
    fn put_tag(&self, seen: Option<Digest>) -> Result<(), PublishError> {
        let now = self.store.tagged(&self.tag)?.map(|served| served.digest);
        let root = &self.load.root;
        match now {
            Some(there) if now != seen && there != root.digest => {
                Err(PublishError::TagTaken { tag: self.tag.clone(), there, new: root.digest })
            }
            _ => {
                (self.progress)(Event::Step(&format!("tagging {}", self.tag)));
                Ok(self.store.push_tag(&self.tag, &root.media_type, &root.raw)?)
            }
        }
    }
}
