//! What was typed. Every option has one name, the same as in the documents and in JSON.

mod judge;
mod make;
mod start;
mod trust;

use clap::{Parser, Subcommand};

pub(crate) use judge::*;
pub(crate) use make::*;
pub(crate) use start::*;
pub(crate) use trust::*;

/// Builds, signs, verifies and launches template images: the container images in which AI-agent sandboxes run.
///
/// IMAGE is a reference (ghcr.io/acme/claude:1.4, with or without @sha256:…), a layout on disk (oci:DIR, oci:DIR:NAME,
/// oci:DIR@sha256:…), or the name of a template that is bundled with bulla (base).
///
/// Exit codes: 0 admitted or done, 1 denied, 2 wrong command line, reference or policy, 3 could not be decided.
/// `launch` ends with the container's own code, or with 125 when nothing was started.
#[derive(Debug, Parser)]
#[command(name = "bulla", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check that an image is what its policy asks for
    Verify(VerifyArgs),
    /// Verify an image and start exactly that in a hardened container
    Launch(LaunchArgs),
    /// Show what is attached to an image, whoever signed it
    Inspect(InspectArgs),
    /// Verify many images: a verdict for each, as a table or as JSON
    Audit(AuditArgs),
    /// Build a template's image from its locked inputs, without a network
    Build(BuildArgs),
    /// Bring every locked input of a template to this machine
    Fetch(FetchArgs),
    /// Write down, by hash, every byte that goes into a template's image
    Lock(LockArgs),
    /// Make a template of your own, to be changed, locked and built
    Init(InitArgs),
    /// Sign an image: a statement that you vouch for its digest
    Sign(SignArgs),
    /// Attach a signed statement about an image
    Attest(AttestArgs),
    /// Push an image with its attestations, the tag last
    Publish(PublishArgs),
    /// Copy an image with its attestations: between registries, to a layout, or from one
    Copy(CopyArgs),
    /// List what is in an image, as SPDX or CycloneDX
    Sbom(SbomArgs),
    /// Compare two images path by path
    Diff(DiffArgs),
    /// Make and read signing keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Check, explain, test and sign policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Show and renew the trust roots on whose word signatures are believed
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Say what on this machine bulla can use
    Doctor,
    /// Print completions for a shell
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}
