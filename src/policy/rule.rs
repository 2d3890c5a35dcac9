//! What a rule asks for. Everything here was read strictly and means something; judging by it is `judge`'s.

use jiff::SignedDuration;

use crate::attestation::predicate_types;
use crate::content::Digest;
use crate::policy::RootAge;
use crate::policy::name::SubjectName;
use crate::policy::pattern::Pattern;
use crate::policy::predicate::{ProvenanceRule, SbomRule, ScanRule, SummaryRule};
use crate::policy::signer::RuleSigner;
use crate::policy::verdict::Subject;
use crate::reference::Repository;
use crate::sigstore::Formats;

/// What holds for the images that one of the patterns names.
#[derive(Debug)]
pub struct Rule {
    /// Which images.
    pub images: Vec<Pattern>,
    /// Whether a launch goes by the verdict.
    pub mode: Mode,
    /// What there must be. Never empty.
    pub require: Vec<Requirement>,
    /// What `launch --rebuild` may do.
    pub rebuild: Rebuild,
    /// Longest time since an attestation was signed.
    pub max_age: Option<SignedDuration>,
    /// Who may sign, each what it may; for every requirement there is one. Never empty.
    pub signers: Vec<RuleSigner>,
    /// Which forms of evidence count.
    pub formats: Formats,
    /// How old the trust roots of public instances may be.
    pub root_age: RootAge,
    /// The repository in which the attestations are kept; absent: the image's own.
    pub attestations: Option<Repository>,
    /// Which digest statements must be about, where an image is one of several platforms'.
    pub about: About,
    /// What the statements must call the image; absent: the digest alone is compared.
    pub subject_name: Option<SubjectName>,
    /// How many different signers there must be, where it is not one.
    pub thresholds: Vec<(Requirement, usize)>,
    pub(super) provenance: ProvenanceRule,
    pub(super) sbom: SbomRule,
    pub(super) scan: ScanRule,
    /// Present wherever `vsa` is required: a summary is believed of one verifier alone.
    pub(super) summary: Option<SummaryRule>,
}

impl Rule {
    /// How many different signers must say what is required.
    pub fn threshold(&self, requirement: &Requirement) -> usize {
        let written = self.thresholds.iter().find(|(about, _)| about == requirement);
        written.map_or(1, |(_, count)| *count)
    }

    /// The digests that a statement may be about, the first before the second. Never empty; twice the same for an image
    /// of one platform alone.
    pub fn subjects(&self, image: &Subject) -> Vec<Digest> {
        match self.about {
            About::Index => vec![image.digest],
            About::Manifest => vec![image.manifest],
            About::Either => vec![image.digest, image.manifest],
        }
    }
}

/// Whether a launch goes by the verdict. `verify` returns the same in every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A denied image does not start.
    Enforce,
    /// It starts, with a warning.
    Warn,
    /// It starts, and the record says so.
    Audit,
}

/// What `launch --rebuild` may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuild {
    /// Nothing.
    Forbid,
    /// Launch a local rebuild that has the published digest.
    Match,
    /// Launch a local rebuild, whatever its digest.
    Allow,
}

/// Which digest statements must be about. For an image of one platform alone there is only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// What the name resolved to: the index.
    Index,
    /// The manifest of the platform that was picked, whatever is said about the index.
    Manifest,
    /// Either of them.
    Either,
}

/// What there must be: a statement of this kind, verified, by one of the signers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// A cosign signature statement.
    Signature,
    /// SLSA provenance.
    Provenance,
    /// An SBOM, SPDX or CycloneDX.
    Sbom,
    /// A vulnerability scan, as cosign has it.
    Vuln,
    /// A SLSA verification summary.
    Vsa,
    /// A statement of exactly this predicate type.
    Predicate(String),
}

impl Requirement {
    /// Those that have a word of their own.
    pub const NAMED: [Self; 5] = [Self::Signature, Self::Provenance, Self::Sbom, Self::Vuln, Self::Vsa];

    /// As it stands in a policy and in a verdict.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Signature => "signature",
            Self::Provenance => "provenance",
            Self::Sbom => "sbom",
            Self::Vuln => "vuln",
            Self::Vsa => "vsa",
            Self::Predicate(uri) => uri,
        }
    }

    /// Whether a statement of this predicate type is what is asked for.
    pub fn asks_for(&self, predicate_type: &str) -> bool {
        match self {
            Self::Signature => predicate_type == predicate_types::SIGNATURE,
            Self::Provenance => predicate_types::is_provenance(predicate_type),
            Self::Sbom => predicate_types::is_sbom(predicate_type),
            Self::Vuln => predicate_type == predicate_types::VULN,
            Self::Vsa => predicate_type == predicate_types::VSA,
            Self::Predicate(uri) => uri == predicate_type,
        }
    }
}
