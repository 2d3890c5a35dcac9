//! What was typed. Every option has one name, the same as in the documents and in JSON.

use std::path::PathBuf;

use bulla::oci::Platform;
use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Verify many images: a verdict for each, as a table or as JSON
    Audit(AuditArgs),
    /// Build a template's image from its locked inputs, without a network
    Build(BuildArgs),
    /// Bring every locked input of a template to this machine
    Fetch(FetchArgs),
    /// Write down, by hash, every byte that goes into a template's image
    Lock(LockArgs),
    /// Sign an image: a statement that this key vouches for its digest
    Sign(SignArgs),
    /// Attach a signed statement about an image
    Attest(AttestArgs),
    /// Push an image with its attestations, the tag last
    Publish(PublishArgs),
    /// List what is in an image, as SPDX or CycloneDX
    Sbom(SbomArgs),
    /// Compare two images path by path
    Diff(DiffArgs),
    /// Make signing keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Look at policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Say what on this machine bulla can use
    Doctor,
    /// Print completions for a shell
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

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

/// `bulla launch`
#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// The image, or a template
    pub(crate) image: String,
    /// Policy file; without one: the user's, else the system's, else the one inside bulla
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
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

/// Where locked bytes come from, beside the content store.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct InputArgs {
    /// A mirror to ask before those of this machine, as ARCHIVE=URL (debian=…, debian-security=…)
    #[arg(long, value_name = "ARCHIVE=URL")]
    pub(crate) mirror: Vec<String>,
    /// A folder that holds locked inputs, asked before any mirror
    #[arg(long, value_name = "DIR")]
    pub(crate) inputs: Vec<PathBuf>,
    /// A certificate authority to trust while fetching inputs, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
}

/// `bulla lock`
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Templates [default: every one in the folder]
    pub(crate) templates: Vec<String>,
    /// The folder that holds the templates
    #[arg(long, value_name = "DIR", default_value = "images")]
    pub(crate) templates_dir: PathBuf,
    /// Only say whether the locks fit their templates; change nothing
    #[arg(long)]
    pub(crate) check: bool,
    /// Which platforms [default: those that the template declares]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Vec<Platform>,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    /// The keys that may sign archives [default: those of the package debian-archive-keyring]
    #[arg(long, value_name = "FILE")]
    pub(crate) keyring: Option<PathBuf>,
    /// Accept an archive whose Release file has expired; the lock records it
    #[arg(long)]
    pub(crate) allow_expired: bool,
}

/// `bulla fetch`
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// Templates [default: every bundled one]
    pub(crate) templates: Vec<String>,
    /// Which platform [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    /// A folder of templates that is searched before the bundled ones
    #[arg(long, value_name = "DIR")]
    pub(crate) templates_dir: Option<PathBuf>,
}

/// `bulla build`
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The template
    pub(crate) template: String,
    /// Where the layout goes
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Which platform [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Which engine runs the Dockerfile
    #[arg(long, value_enum, default_value_t = EngineName::Auto)]
    pub(crate) engine: EngineName,
    /// Sign and attest the image with this private key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Use nothing but what is on this machine
    #[arg(long)]
    pub(crate) offline: bool,
    /// Build twice and compare
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    /// A folder of templates that is searched before the bundled ones
    #[arg(long, value_name = "DIR")]
    pub(crate) templates_dir: Option<PathBuf>,
    /// Print the record of the build as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Programs that run Dockerfiles.
#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
pub(crate) enum EngineName {
    /// The first that works
    Auto,
    /// docker
    Docker,
    /// buildah
    Buildah,
    /// podman
    Podman,
}

/// `bulla sign`
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The image: a layout, or a reference with a digest
    pub(crate) image: String,
    /// The private key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// `bulla attest`
#[derive(Debug, Args)]
pub(crate) struct AttestArgs {
    /// The image: a layout, or a reference with a digest
    pub(crate) image: String,
    /// The private key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// What kind of statement: spdx, cyclonedx, slsa-v1, or a predicate type's URI
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) predicate_type: String,
    /// The predicate, a JSON document
    #[arg(long, value_name = "FILE")]
    pub(crate) predicate: PathBuf,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// `bulla publish`
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The layout: oci:DIR
    pub(crate) image: String,
    /// Where to, with a tag
    #[arg(long, value_name = "REPO:TAG")]
    pub(crate) to: String,
    /// Let an existing tag name this image from now on
    #[arg(long)]
    pub(crate) move_tag: bool,
    /// Publish an image to which nothing is attached
    #[arg(long)]
    pub(crate) allow_unattested: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// `bulla sbom`
#[derive(Debug, Args)]
pub(crate) struct SbomArgs {
    /// The image
    pub(crate) image: String,
    /// Which form
    #[arg(long, value_enum, default_value_t = SbomForm::Spdx)]
    pub(crate) format: SbomForm,
    /// Where to [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Forms of an SBOM.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SbomForm {
    /// SPDX 2.3
    Spdx,
    /// CycloneDX 1.6
    Cyclonedx,
}

/// `bulla diff`
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// One image
    pub(crate) first: String,
    /// The other
    pub(crate) second: String,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Print the differences as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bulla key`
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key pair: PREFIX.key, encrypted with a passphrase, and PREFIX.pub
    Generate {
        /// Name of the two files without their endings
        #[arg(long, value_name = "PREFIX", default_value = "bulla")]
        output: PathBuf,
    },
    /// Print the public key of a private one
    Public {
        /// The private key
        key: PathBuf,
    },
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
