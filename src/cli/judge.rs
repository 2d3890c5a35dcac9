//! What is typed to judge an image: where it is, and by which rules.

use std::path::PathBuf;

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
    /// A Sigstore bundle to judge beside what is attached to the image
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Vec<PathBuf>,
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
}
