//! What is typed about trust roots.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `bulla trust`
#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Say who is believed, from when to when, and how old that is
    Show(TrustShowArgs),
    /// Fetch the trust roots of today, verified by TUF from a root inside bulla
    Update(TrustUpdateArgs),
}

/// `bulla trust show`
#[derive(Debug, Args)]
pub(crate) struct TrustShowArgs {
    /// Show the roots in files that this policy names, too [default: the policy that would apply]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bulla trust update`
#[derive(Debug, Args)]
pub(crate) struct TrustUpdateArgs {
    /// Which instance's root [default: both]
    #[arg(long, value_name = "INSTANCE", conflicts_with = "root")]
    pub(crate) instance: Option<InstanceName>,
    /// Ask this place instead of the instance's own; what it serves is held to the same signatures
    #[arg(long, value_name = "URL")]
    pub(crate) mirror: Option<String>,
    /// The first root.json of a TUF repository of your own, at --mirror
    #[arg(long, value_name = "FILE", requires = "mirror", requires = "output")]
    pub(crate) root: Option<PathBuf>,
    /// Where the trusted_root.json of that repository goes, for policies to name
    #[arg(long, short, value_name = "FILE", requires = "root")]
    pub(crate) output: Option<PathBuf>,
}

/// Instances of Sigstore whose roots are inside bulla.
#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
pub(crate) enum InstanceName {
    /// The public one
    PublicGood,
    /// GitHub's own
    Github,
}
