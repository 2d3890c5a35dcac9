//! `bulla sign` and `bulla attest`: a signed statement about one digest, attached to the image it is about.
//!
//! What is signed is the digest of bytes that were just read, never a tag that is looked up again. Every bundle has
//! been verified by our own judge before it is attached anywhere.

use jiff::Timestamp;

use crate::adapters::layout::{self, Layout};
use crate::adapters::registry::RegistryStore;
use crate::adapters::signer::{Author, SignerError};
use crate::adapters::{Served, StoreError};
use crate::attestation::provenance::Provenance;
use crate::attestation::{AttestationError, Statement, predicate_types};
use crate::build::{self, BuildRecord};
use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::oci::{Descriptor, Manifest, OciError};
use crate::reference::LayoutImage;
use crate::sbom;

/// Why nothing was signed, or what was signed could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The image is none.
    #[error("{digest} cannot be signed: {source}")]
    Image {
        /// What was to be signed.
        digest: Digest,
        /// What is wrong with it.
        source: OciError,
    },
    /// The predicate is not what its type says.
    #[error("the predicate is no {predicate_type}: {reason}")]
    Predicate {
        /// The type.
        predicate_type: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No statement could be made of it.
    #[error(transparent)]
    Statement(#[from] AttestationError),
    /// The key did not sign, or what it signed did not verify.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The place did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classified for SignError {
    fn class(&self) -> Class {
        match self {
            Self::Image { source, .. } => source.class(),
            Self::Predicate { .. } => Class::Usage,
            Self::Statement(error) => error.class(),
            Self::Signer(error) => error.class(),
            Self::Store(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Image { source, .. } => source.code(),
            Self::Predicate { .. } => "malformed-predicate",
            Self::Statement(error) => error.code(),
            Self::Signer(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }
}

/// Where attestations are attached.
pub enum Place<'a> {
    /// A layout on disk.
    Layout(&'a mut Layout),
    /// A repository on a registry.
    Registry(&'a RegistryStore),
}

/// An image about which statements are made.
pub struct Signing<'a> {
    place: Place<'a>,
    subject: Descriptor,
    manifest: Manifest,
    name: String,
    author: Author<'a>,
    now: Timestamp,
}

impl<'a> Signing<'a> {
    /// Statements about `image`, which was just read from `place`, signed by `author`. `name` is the subject's name in
    /// them: the image's repository.
    pub fn of(
        place: Place<'a>,
        image: &Served,
        name: &str,
        author: impl Into<Author<'a>>,
        now: Timestamp,
    ) -> Result<Self, SignError> {
        let manifest = Manifest::parse(&image.raw, image.media_type.as_deref())
            .map_err(|source| SignError::Image { digest: image.digest, source })?;
        let media_type = image.media_type.as_deref().unwrap_or(manifest.media_type());
        let subject = Descriptor::new(media_type, image.digest, image.raw.len() as u64);
        Ok(Self { place, subject, manifest, name: name.to_owned(), author: author.into(), now })
    }

    /// What statements will be about: the manifest that was read.
    pub const fn image(&self) -> (&Descriptor, &Manifest) {
        (&self.subject, &self.manifest)
    }

    /// Says that whoever signs vouches for this digest (cosign's `sign/v1`). Returns the bundle's digest.
    pub fn sign(&mut self) -> Result<Digest, SignError> {
        self.attach(predicate_types::SIGNATURE, b"{}")
    }

    /// Says what the predicate says, which has to be what its type promises. Returns the bundle's digest.
    pub fn attest(&mut self, predicate_type: &str, predicate: &[u8]) -> Result<Digest, SignError> {
        let wrong = |reason: String| SignError::Predicate { predicate_type: predicate_type.to_owned(), reason };
        if predicate_types::is_sbom(predicate_type) {
            sbom::read::read(predicate_type, predicate).map_err(|error| wrong(error.to_string()))?;
        } else if predicate_types::is_provenance(predicate_type) {
            Provenance::parse(predicate_type, predicate).map_err(|error| wrong(error.to_string()))?;
        }
        self.attach(predicate_type, predicate)
    }

    fn attach(&mut self, predicate_type: &str, predicate: &[u8]) -> Result<Digest, SignError> {
        let statement = Statement::write(&self.name, &self.subject.digest, predicate_type, predicate)?;
        let bundle = self.author.sign_statement(&statement)?;
        let manifest = layout::attestation_manifest(&bundle, &self.subject, predicate_type, self.now);
        match &mut self.place {
            Place::Layout(layout) => {
                layout.attach(&manifest, &bundle, predicate_type)?;
            }
            Place::Registry(store) => {
                store.attach(&manifest, &bundle, predicate_type)?;
            }
        }
        Ok(Digest::of(&bundle))
    }
}

/// Says about a built image what `bulla build` found out about it: a signature, its provenance, its SBOMs. The documents
/// have to be the ones that this build wrote. The record, and the file of it, then say that it was done.
pub fn sign_build(
    layout: &mut Layout,
    record: &mut BuildRecord,
    name: &str,
    author: Author<'_>,
    now: Timestamp,
) -> Result<(), SignError> {
    let (served, _) = layout.image(&LayoutImage::Digest(record.image.digest))?;
    let mut documents = Vec::new();
    for (file, predicate_type) in build::DOCUMENTS {
        if let Some(digest) = record.documents.get(file) {
            documents.push((predicate_type, layout.read_beside(file, digest)?));
        }
    }
    let mut signing = Signing::of(Place::Layout(&mut *layout), &served, name, author, now)?;
    signing.sign()?;
    for (predicate_type, document) in documents {
        signing.attest(predicate_type, &document)?;
    }
    record.signed = true;
    Ok(layout.write_beside(build::RECORD, &record.write())?)
}
