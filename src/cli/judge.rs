//! What is typed to judge an image: where it is, and by which rules.

use std::path::PathBuf;

use bulla::content::{Digest, MalformedDigest};
use bulla::oci::Platform;
use clap::{Args, Subcommand};

/// Where the rules come from.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct PolicyArgs {
    /// Policy file; without one: the user's, else the system's, else the one inside bulla
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "identity"])]
    pub(crate) policy: Option<PathBuf>,
    /// Trust this public key alone, and ask for no log
    #[arg(long, value_name = "FILE", conflicts_with = "identity")]
    pub(crate) key: Option<PathBuf>,
    /// Trust this exact certificate identity alone
    #[arg(long, value_name = "SAN", requires = "issuer")]
    pub(crate) identity: Option<String>,
    /// The exact OIDC issuer of that identity
    #[arg(long, value_name = "URL", requires = "identity")]
    pub(crate) issuer: Option<String>,
    /// The trusted_root.json that this identity is vouched for by [default: the public-good instance's]
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// What there must be, with --key or --identity [default: signature,provenance,sbom]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) require: Vec<String>,
    #[command(flatten)]
    pub(crate) guard: GuardArgs,
}

/// Which policy it has to be, and what is asked for on top of it.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct GuardArgs {
    /// Ask also for what .bulla/policy.toml of a project asks for [default: of the working directory's]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = ".")]
    pub(crate) project: Option<PathBuf>,
    /// Refuse any policy but the one with this pin, which `policy check` prints
    #[arg(long, value_name = "HEX", value_parser = pin)]
    pub(crate) policy_sha256: Option<Digest>,
    /// Refuse a policy that was not signed with this public key (see `policy sign`)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy_signer: Option<PathBuf>,
}

/// A SHA-256, with or without the name of the algorithm before it.
fn pin(text: &str) -> Result<Digest, MalformedDigest> {
    Digest::from_hex(text.strip_prefix("sha256:").unwrap_or(text))
}

/// How an image is found.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct SourceArgs {
    /// Which platform of an index [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Apply the rules for NAME to a layout, which has no repository of its own
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) as_name: Option<String>,
    /// Use nothing but what is on this machine
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// How registries are talked to.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct RegistryArgs {
    /// Allow plain http to this registry: anybody on the way can answer in its place
    #[arg(long, value_name = "HOST")]
    pub(crate) insecure_registry: Vec<String>,
}

/// `bulla verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The image
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// A Sigstore bundle, or one a line, to judge beside what is attached to the image
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Vec<PathBuf>,
    /// Write the verdict to this file as a SLSA verification summary
    #[arg(long, value_name = "FILE")]
    pub(crate) vsa: Option<PathBuf>,
    /// Sign that summary with this private key: the file is a Sigstore bundle then
    #[arg(long, value_name = "FILE", requires = "vsa")]
    pub(crate) vsa_key: Option<PathBuf>,
    /// Tell GitHub Actions too: annotations, and a summary of the step [default: where GITHUB_ACTIONS is true]
    #[arg(long)]
    pub(crate) github: bool,
    /// Print the verdict as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bulla audit`
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Images
    pub(crate) images: Vec<String>,
    /// A file with an image on each line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Print one JSON document with every verdict
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bulla inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The image
    pub(crate) image: String,
    /// Policy file whose signers are to be known again, beside this machine's trust roots
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Take the signers of the rule for NAME for a layout, which has no repository of its own
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) as_name: Option<String>,
    /// Use nothing but what is on this machine
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Print what was found as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bulla policy`
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say whether a policy can be used
    Check {
        /// The policy file [default: the one that would apply]
        file: Option<PathBuf>,
    },
    /// Say which rule applies to an image, and what it asks for
    Explain {
        /// The image's name
        image: String,
        /// The policy file [default: the one that would apply]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Judge the cases beside a policy, and say where it decides otherwise than they expect
    Test {
        /// A policy with a file of cases beside it, such a file, or a folder of them [default: the policy that would
        /// apply]
        path: Option<PathBuf>,
    },
    /// Sign a policy, with the files that it names: FILE.sigstore.json, beside it
    Sign {
        /// The policy file
        file: PathBuf,
        /// The private key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}
