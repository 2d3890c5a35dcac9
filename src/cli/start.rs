//! What is typed to start an image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{GuardArgs, PlaceArgs, SourceArgs};

/// `bulla launch`
#[derive(Debug, Args)]
#[command(mut_arg("inputs", |inputs| inputs.requires("rebuild")))]
pub(crate) struct LaunchArgs {
    /// The image, or a template
    pub(crate) image: String,
    /// Policy file; without one: the user's, else the system's, else the one inside bulla
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) guard: GuardArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Which program runs containers [default: the first that works]
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<RuntimeName>,
    /// Apply the launch section of this bundled template [default: the image's own, else a narrow one]
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) profile: Option<String>,
    /// What the container can reach [default: what the launch section says, else nothing]
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Option<NetworkName>,
    /// Build the bundled template here and launch that, if the policy allows it
    #[arg(long)]
    pub(crate) rebuild: bool,
    #[command(flatten)]
    pub(crate) places: PlaceArgs,
    /// Mount this folder at /workspace, writable
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,
    /// Pass this variable of the environment on, by name
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Vec<String>,
    /// Print what would be run, and run nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the verdict and what was done as one JSON document on standard error
    #[arg(long)]
    pub(crate) json: bool,
    /// The command to run instead of the image's own
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// Programs that run containers.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RuntimeName {
    /// docker
    Docker,
    /// podman
    Podman,
}

/// What a container can reach.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum NetworkName {
    /// Nothing
    None,
    /// Whatever the host can
    Bridge,
}
