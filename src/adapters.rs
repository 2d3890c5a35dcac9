//! The outside world: registries, layouts, disks, programs. The only rooms with effects.
//!
//! Nothing here judges. An adapter brings bytes that are what their digest says, or an error that says what happened
//! to what; what the bytes mean is decided elsewhere.

pub mod apt;
mod attached;
pub mod ci;
pub mod engine;
mod http;
pub mod inputs;
pub mod layout;
pub mod packages;
pub mod process;
pub mod registry;
pub mod runtime;
pub mod signer;
pub mod sources;
pub mod state;
pub mod templates;
pub mod trust;

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use crate::class::{Class, Classified};
use crate::content::{ContentError, Digest, Document};
use crate::oci::{Descriptor, ImageManifest, OciError};
use crate::reference::Repository;

/// What a long step tells whoever waits for it.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A step began: one line for a person.
    Step(&'a str),
    /// So many bytes of so many have come.
    Bytes {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// Where a long step reports to. The binary draws it on a terminal and drops it elsewhere.
pub type Progress<'a> = &'a (dyn Fn(Event<'_>) + Sync);

/// A [`Progress`] that nobody watches.
pub fn unwatched(_: Event<'_>) {}

/// Bytes of a manifest and the media type they came under, where something said one.
#[derive(Debug, Clone)]
pub struct Served {
    /// The bytes as they came.
    pub raw: Vec<u8>,
    /// Their digest, computed here.
    pub digest: Digest,
    /// `Content-Type`, or the media type of the descriptor that pointed here.
    pub media_type: Option<String>,
}

/// What is attached to an image.
#[derive(Debug, Clone, Default)]
pub struct Referrers {
    /// Attestation manifests that really name the image as their subject.
    pub manifests: Vec<Document<ImageManifest>>,
    /// What was offered and passed over, with the reason.
    pub ignored: Vec<(Digest, String)>,
    /// Whether this is what was found some time ago, and not what is there now: ask again before denying.
    pub remembered: bool,
}

/// What cosign kept beside an image before there were bundles: which of its tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyKind {
    /// `sha256-….sig`: signatures, each a layer.
    Signatures,
    /// `sha256-….att`: attestations, each a layer.
    Attestations,
    /// `sha256-….sbom`: a document that nobody signed.
    Sbom,
}

impl LegacyKind {
    /// Those that hold signatures.
    pub const SIGNED: [Self; 2] = [Self::Signatures, Self::Attestations];
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Signatures, Self::Attestations, Self::Sbom];

    /// The tag for this image (cosign, specs/SIGNATURE_SPEC.md).
    pub fn tag(self, subject: &Digest) -> String {
        let suffix = match self {
            Self::Signatures => "sig",
            Self::Attestations => "att",
            Self::Sbom => "sbom",
        };
        format!("sha256-{}.{suffix}", subject.hex())
    }
}

/// What cosign's older tags hold. Nothing but the tag says which image it is about: the signed content has to.
#[derive(Debug, Clone, Default)]
pub struct Legacy {
    /// The manifests under the tags.
    pub manifests: Vec<(LegacyKind, Document<ImageManifest>)>,
    /// What stands there and is no such manifest, with the reason.
    pub ignored: Vec<(Digest, String)>,
}

/// A place that holds images and what is attached to them: a repository on a registry, or a layout on disk.
pub trait Store {
    /// The manifest or index with this digest. The bytes are checked against it.
    fn manifest(&self, digest: &Digest) -> Result<Served, StoreError>;

    /// What is attached to `subject`: bounded, each manifest read and its own `subject` compared.
    fn referrers(&self, subject: &Digest) -> Result<Referrers, StoreError>;

    /// The same, but never from what was found some time ago, where there is any way to ask.
    fn referrers_now(&self, subject: &Digest) -> Result<Referrers, StoreError> {
        self.referrers(subject)
    }

    /// What stands under cosign's older tags. Asked for only where a policy names that form, or to show it.
    fn legacy(&self, _subject: &Digest, _kinds: &[LegacyKind]) -> Result<Legacy, StoreError> {
        Ok(Legacy::default())
    }

    /// The names of those that hold signatures, unread. They are only named in a denial, so that a store that does not
    /// answer here changes nothing.
    fn legacy_names(&self, _subject: &Digest) -> Vec<String> {
        Vec::new()
    }

    /// Another repository, for attestations that a policy says are kept there; none where there are no repositories.
    fn elsewhere(&self, _repository: &Repository) -> Option<Box<dyn Store>> {
        None
    }

    /// A small blob, whole. Refused above `limit` bytes before it is read; checked against size and digest.
    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError>;

    /// Several small blobs, in parallel where that helps, in the order asked for.
    fn blobs(&self, descriptors: &[Descriptor], limit: u64) -> Vec<Result<Vec<u8>, StoreError>> {
        descriptors.iter().map(|descriptor| self.blob(descriptor, limit)).collect()
    }

    /// A blob of any size, streamed. An error means that what was written so far must not be used.
    fn copy_blob(&self, descriptor: &Descriptor, to: &mut dyn Write) -> Result<(), StoreError>;

    /// A blob of any size as a file to read from. It need not have been checked yet: whoever reads it hashes it.
    fn open_blob(&self, descriptor: &Descriptor) -> Result<File, StoreError>;
}

/// Opens a layer's stored bytes, as often as they are read.
pub type Open<'a> = Box<dyn Fn() -> io::Result<Box<dyn Read>> + 'a>;

/// How to open each of these layers.
pub fn opens<'a>(store: &'a dyn Store, layers: impl IntoIterator<Item = &'a Descriptor>) -> Vec<Open<'a>> {
    let open = |descriptor| -> Open<'a> {
        Box::new(move || Ok(Box::new(store.open_blob(descriptor).map_err(io::Error::other)?)))
    };
    layers.into_iter().map(open).collect()
}

/// A blob copied into a temporary file, for stores that have no file of it.
fn staged(store: &dyn Store, descriptor: &Descriptor) -> Result<File, StoreError> {
    let failed = |action| state::StateError::io(action, Path::new("a temporary file"));
    let mut file = tempfile::tempfile().map_err(failed("create"))?;
    store.copy_blob(descriptor, &mut file)?;
    file.rewind().map_err(failed("read"))?;
    Ok(file)
}

/// Why a store did not answer with what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing.
    #[error("{what} does not exist in {place}")]
    NotFound {
        /// The thing.
        what: String,
        /// The registry or folder.
        place: String,
    },
    /// What was asked for fits several things.
    #[error("{what} in {place} could be any of {}: say which", offered.join(", "))]
    Ambiguous {
        /// What was asked for.
        what: String,
        /// The folder.
        place: String,
        /// What there is, each with its digest.
        offered: Vec<String>,
    },
    /// A tag that names something else, and is not to be moved.
    #[error("the tag {tag} names {there} already; take another tag")]
    TagTaken {
        /// The tag.
        tag: String,
        /// What it names.
        there: Digest,
    },
    /// Credentials are missing, wrong or not enough.
    #[error("{place} does not let us read {what}: {reason}")]
    Auth {
        /// The thing.
        what: String,
        /// The registry.
        place: String,
        /// What it said, and what to do.
        reason: String,
    },
    /// It could not be reached, or only in a way that is not allowed.
    #[error("cannot reach {place} for {what}: {reason}")]
    Net {
        /// The thing.
        what: String,
        /// The registry.
        place: String,
        /// What happened.
        reason: String,
    },
    /// It answered with something that makes no sense.
    #[error("{place} answered for {what}: {reason}")]
    Registry {
        /// The thing.
        what: String,
        /// The registry or folder.
        place: String,
        /// What it answered.
        reason: String,
    },
    /// It did not send what is stored, but something made of it: encoded, cut, or under another digest.
    #[error("{place} sent {what} altered: {reason}")]
    Altered {
        /// The thing.
        what: String,
        /// The registry.
        place: String,
        /// How.
        reason: String,
    },
    /// More than is read.
    #[error("{place} offers more than is read of {what}: {reason}")]
    Limit {
        /// The thing.
        what: String,
        /// The registry or folder.
        place: String,
        /// Which bound.
        reason: String,
    },
    /// Bytes that are not what their descriptor says.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A document that is not acceptable.
    #[error("{what}: {source}")]
    Document {
        /// The thing.
        what: String,
        /// What is wrong with it.
        source: OciError,
    },
    /// The disk.
    #[error(transparent)]
    State(#[from] state::StateError),
}

impl StoreError {
    /// Whether it says that this one thing is bad, and not that the store cannot be asked.
    pub(crate) fn is_about_content(&self) -> bool {
        matches!(self, Self::NotFound { .. }) || matches!(self.class(), Class::Integrity | Class::Format | Class::Limit)
    }
}

impl Classified for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::NotFound { .. } | Self::Registry { .. } => Class::Registry,
            Self::Ambiguous { .. } | Self::TagTaken { .. } => Class::Usage,
            Self::Auth { .. } => Class::Auth,
            Self::Net { .. } => Class::Net,
            Self::Altered { .. } => Class::Integrity,
            Self::Limit { .. } => Class::Limit,
            Self::Content(error) => error.class(),
            Self::Document { source, .. } => source.class(),
            Self::State(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not-found",
            Self::Ambiguous { .. } => "ambiguous-image",
            Self::TagTaken { .. } => "tag-taken",
            Self::Auth { .. } => "access-denied",
            Self::Net { .. } => "unreachable",
            Self::Registry { .. } => "bad-answer",
            Self::Altered { .. } => "altered",
            Self::Limit { .. } => "too-much",
            Self::Content(error) => error.code(),
            Self::Document { source, .. } => source.code(),
            Self::State(error) => error.code(),
        }
    }
}
