//! One attached document as it is shown: what it says, and what its signature is worth.

use jiff::Timestamp;
use serde::Serialize;

use super::Believed;
use crate::attestation::bundle::{Bundle, Material};
use crate::attestation::provenance::Provenance;
use crate::attestation::{self, AttestationError, predicate_types};
use crate::class::{Class, Classified as _};
use crate::content::Digest;
use crate::oci::Descriptor;
use crate::policy::verdict::Reason;
use crate::sbom;
use crate::sigstore::{self, Claimed, Formats, Rejection, Signer, Trust, VerifiedAttestation};

/// What a signature is worth. None of these words is a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The signature, its log and its time were verified.
    Verified,
    /// They were not, for the reason that stands beside.
    NotVerified,
    /// It was signed with a key, and the policy names none that fits.
    UnknownKey,
    /// Nobody signed it.
    Unsigned,
    /// It should be a signed document and is none that can be read.
    Unreadable,
    /// It was not fetched.
    Unread,
    /// It is of a kind that bulla does not know.
    Unknown,
}

/// Something attached to an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `bundle v0.3`, `cosign-legacy`, `statement`, or the artifact type of something unknown.
    pub form: String,
    /// Where it was found: `referrer`, `index`, or a tag.
    pub place: String,
    /// Digest of the manifest that attaches it.
    pub manifest: Digest,
    /// Digest of the document itself.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its size, in bytes.
    pub size: u64,
    /// What it says, whoever said it.
    pub statement: Option<Statement>,
    /// Who said it.
    pub signature: Signature,
}

/// What a statement says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Its predicate type.
    pub predicate_type: String,
    /// Whether it is about what it is attached to.
    pub about_this: bool,
    /// The name of its first subject: for a legacy signature the reference that was signed.
    pub subject_name: Option<String>,
    /// What its predicate says, where that is understood.
    pub summary: Option<Summary>,
    /// Why it is not.
    pub problem: Option<String>,
}

/// What a predicate says, in a few words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Summary {
    /// SLSA provenance.
    Provenance {
        /// Who built; empty where it does not say.
        builder_id: String,
        /// The kind of build.
        build_type: String,
        /// The repositories that were built.
        sources: Vec<String>,
        /// How many things went in.
        dependencies: usize,
    },
    /// An SBOM.
    Sbom {
        /// `spdx` or `cyclonedx`.
        format: &'static str,
        /// The version of the format.
        version: String,
        /// How many packages it lists, the root not among them.
        packages: usize,
    },
}

/// Who signed, and whether that is certain.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signature {
    /// What it is worth.
    pub standing: Standing,
    /// Who signed; where it was not verified, whom the certificate claims.
    pub signer: Option<Who>,
    /// The root on whose word it was verified.
    pub root: Option<String>,
    /// When it was signed, on trusted word.
    pub time: Option<Timestamp>,
    /// Its place in the transparency log.
    pub log_index: Option<u64>,
    /// Whether the rule for the image names this signer; absent without a policy, or where nothing was verified.
    pub signer_of_policy: Option<bool>,
    /// Why it was not verified: class, code and words.
    pub reason: Option<Reason>,
}

/// A signer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Who {
    /// Whoever has this key.
    Key {
        /// SHA-256 of the key.
        key: Digest,
    },
    /// Whom a certificate names.
    Certificate {
        /// Who vouched for the identity.
        issuer: String,
        /// The subject alternative name.
        identity: String,
    },
    /// Somebody with a key that is not known, and what the bundle hints at.
    Hint {
        /// The fingerprint of a key, or another word for it. Nobody signed this.
        hint: String,
    },
}

impl Attachment {
    /// A document that is not looked into.
    pub(super) fn unread(place: &str, manifest: Digest, layer: &Descriptor, form: &str, standing: Standing) -> Self {
        Self {
            form: if form.is_empty() { layer.media_type.clone() } else { form.to_owned() },
            place: place.to_owned(),
            manifest,
            digest: layer.digest,
            media_type: layer.media_type.clone(),
            size: layer.size,
            statement: None,
            signature: Signature::of(standing),
        }
    }

    /// The same, with the reason.
    pub(super) fn because(mut self, reason: Reason) -> Self {
        self.signature.reason = Some(reason);
        self
    }

    /// A statement that nobody signed.
    pub(super) fn unsigned(
        place: &str,
        manifest: Digest,
        layer: &Descriptor,
        bytes: &[u8],
        about: Option<&Digest>,
    ) -> Self {
        let mut shown = Self::unread(place, manifest, layer, "statement", Standing::Unsigned);
        match attestation::Statement::parse(bytes) {
            Ok(statement) => shown.statement = Some(Statement::of(&statement, about)),
            Err(error) => {
                shown.signature = Signature { reason: Some(Reason::of(&error)), ..Signature::of(Standing::Unreadable) }
            }
        }
        shown
    }

    /// A signed document, judged as far as it can be.
    pub(super) fn signed(
        place: &str,
        manifest: Digest,
        layer: &Descriptor,
        read: Result<Bundle, AttestationError>,
        subject: &Digest,
        believed: &Believed<'_>,
    ) -> Self {
        let mut shown = Self::unread(place, manifest, layer, "", Standing::Unreadable);
        match read.and_then(|bundle| Ok((bundle.whole_statement()?, bundle))) {
            Ok((statement, bundle)) => {
                shown.form = bundle.version().as_str().to_owned();
                shown.statement = Some(Statement::of(&statement, Some(subject)));
                shown.signature = Signature::judge(&bundle, subject, believed);
            }
            Err(error) => shown.signature.reason = Some(Reason::of(&error)),
        }
        shown
    }
}

impl Statement {
    fn of(statement: &attestation::Statement, about: Option<&Digest>) -> Self {
        let predicate_type = statement.predicate_type.clone();
        let predicate = statement.predicate_text().as_bytes();
        let summary = if predicate_types::is_provenance(&predicate_type) {
            Some(Summary::of_provenance(&predicate_type, predicate))
        } else if predicate_types::is_sbom(&predicate_type) {
            Some(Summary::of_sbom(&predicate_type, predicate))
        } else {
            None
        };
        let (summary, problem) = match summary {
            Some(Ok(summary)) => (Some(summary), None),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, None),
        };
        let about_this = about.is_some_and(|digest| statement.names(digest));
        let subject_name = statement.subjects.first().and_then(|subject| subject.name.clone());
        Self { predicate_type, about_this, subject_name, summary, problem }
    }
}

impl Summary {
    fn of_provenance(predicate_type: &str, predicate: &[u8]) -> Result<Self, String> {
        let read = Provenance::read(predicate_type, predicate).map_err(|error| error.to_string())?;
        Ok(Self::Provenance {
            sources: read.sources().into_iter().map(str::to_owned).collect(),
            dependencies: read.resolved_dependencies.len(),
            builder_id: read.builder_id,
            build_type: read.build_type,
        })
    }

    fn of_sbom(predicate_type: &str, predicate: &[u8]) -> Result<Self, String> {
        let read = sbom::read::read(predicate_type, predicate).map_err(|error| error.to_string())?;
        Ok(Self::Sbom { format: read.format.as_str(), packages: read.count(), version: read.version })
    }
}

impl Signature {
    fn of(standing: Standing) -> Self {
        let (signer, root, time, log_index, signer_of_policy, reason) = Default::default();
        Self { standing, signer, root, time, log_index, signer_of_policy, reason }
    }

    /// On the word of the policy's signers first, then of the roots: the first that can say who signed does.
    fn judge(bundle: &Bundle, subject: &Digest, believed: &Believed<'_>) -> Self {
        let verify = |trust: &Trust<'_>| sigstore::verify_bundle(bundle, subject, trust, Formats::ALL, believed.now);
        let is_certificate = bundle.material() == Material::Certificate;
        let mut refused: Option<Rejection> = None;
        let mut stranger = None;
        // One that is valid and about something else was understood best.
        let mut keep = |rejection: Rejection| {
            if refused.is_none() || rejection.class() == Class::Subject {
                refused = Some(rejection);
            }
        };
        for signer in believed.signers.unwrap_or_default() {
            match verify(&signer.who.trust()) {
                Ok(attestation) => {
                    let root = signer.root().map(|root| root.source().to_owned());
                    if signer.who.check(attestation.signer()).is_ok() {
                        return Self::verified(&attestation, root, Some(true));
                    }
                    stranger.get_or_insert_with(|| Self::verified(&attestation, root, Some(false)));
                }
                Err(rejection) => keep(rejection),
            }
        }
        if let Some(stranger) = stranger {
            return stranger;
        }
        for root in believed.roots.iter().filter(|_| is_certificate) {
            match verify(&Trust::Keyless { root }) {
                Ok(attestation) => {
                    let of_policy = believed.signers.map(|_| false);
                    return Self::verified(&attestation, Some(root.source().to_owned()), of_policy);
                }
                Err(rejection) => keep(rejection),
            }
        }
        let (standing, signer) = match Claimed::by(bundle) {
            Claimed::Certificate(identity) => (Standing::NotVerified, Some(Who::of_identity(*identity))),
            Claimed::Nobody => (Standing::NotVerified, None),
            Claimed::Key(fingerprint) => (Standing::UnknownKey, Some(Who::Hint { hint: fingerprint.to_string() })),
            Claimed::Hint(hint) => (Standing::UnknownKey, Some(Who::Hint { hint })),
        };
        Self { signer, reason: refused.as_ref().map(Reason::of), ..Self::of(standing) }
    }

    fn verified(attestation: &VerifiedAttestation, root: Option<String>, signer_of_policy: Option<bool>) -> Self {
        let signer = match attestation.signer() {
            Signer::Key { fingerprint } => Who::Key { key: *fingerprint },
            Signer::Certificate(identity) => Who::of_identity((**identity).clone()),
        };
        Self {
            signer: Some(signer),
            root,
            time: attestation.times().last().copied(),
            log_index: attestation.log_index(),
            signer_of_policy,
            ..Self::of(Standing::Verified)
        }
    }
}

impl Who {
    fn of_identity(identity: sigstore::Identity) -> Self {
        Self::Certificate { identity: identity.san.as_str().to_owned(), issuer: identity.issuer }
    }
}
