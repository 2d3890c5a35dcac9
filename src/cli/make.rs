//! What is typed to make an image, and what goes with it.

use std::path::PathBuf;

use bulla::oci::Platform;
use clap::{Args, Subcommand, ValueEnum};

use super::{RegistryArgs, SourceArgs};

/// Where locked inputs are already.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct PlaceArgs {
    /// What holds locked inputs, asked before any mirror: a folder, oci:DIR, or HOST/REPO[:TAG][@sha256:…]
    #[arg(long, value_name = "PLACE")]
    pub(crate) inputs: Vec<String>,
}

/// Where locked bytes come from, beside the content store.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct InputArgs {
    /// A mirror to ask before those of this machine, as ARCHIVE=URL (debian=…, debian-security=…)
    #[arg(long, value_name = "ARCHIVE=URL")]
    pub(crate) mirror: Vec<String>,
    #[command(flatten)]
    pub(crate) places: PlaceArgs,
    /// A certificate authority to trust while fetching inputs, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// `bulla lock`
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Templates [default: every one in the folder]
    pub(crate) templates: Vec<String>,
    /// The folder that holds the templates
    #[arg(long, visible_alias = "templates", value_name = "DIR", default_value = "images")]
    pub(crate) templates_dir: PathBuf,
    /// Only say whether the locks fit their templates; change nothing
    #[arg(long)]
    pub(crate) check: bool,
    /// Print which packages changed, and their versions
    #[arg(long, conflicts_with = "check")]
    pub(crate) update: bool,
    /// Print them as Markdown, for a pull request
    #[arg(long, requires = "update")]
    pub(crate) markdown: bool,
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
    /// Which platform [default: this machine's; every locked one with --push or --output]
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<Platform>,
    /// Publish the inputs as one artifact
    #[arg(long, value_name = "HOST/REPO[:TAG]")]
    pub(crate) push: Option<String>,
    /// Write the inputs as one artifact, as an OCI layout
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    /// A folder of templates that is searched before the bundled ones
    #[arg(long, visible_alias = "templates", value_name = "DIR")]
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
    /// Hand the build to this builder of `docker buildx`, which may be on other machines
    #[arg(long, value_name = "NAME", conflicts_with = "engine")]
    pub(crate) builder: Option<String>,
    /// How the layer is stored; zstd gives another digest
    #[arg(long, value_enum, default_value_t = CompressionName::Gzip)]
    pub(crate) compression: CompressionName,
    /// The repository that the template is from, as git+https://… [default: what GitHub Actions says]
    #[arg(long, value_name = "URI", requires = "commit")]
    pub(crate) source: Option<String>,
    /// The commit of it
    #[arg(long, value_name = "SHA", requires = "source")]
    pub(crate) commit: Option<String>,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    /// Use nothing but what is on this machine
    #[arg(long)]
    pub(crate) offline: bool,
    /// Build twice and compare
    #[arg(long)]
    pub(crate) check: bool,
    /// Build even if nothing changed since the last time
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Write the digest down beside the lock of the template in --templates-dir
    #[arg(long, requires = "templates_dir")]
    pub(crate) record: bool,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    /// A folder of templates that is searched before the bundled ones
    #[arg(long, visible_alias = "templates", value_name = "DIR")]
    pub(crate) templates_dir: Option<PathBuf>,
    /// Print the record of the build as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bulla init`
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Name of the template: lower-case letters, digits and hyphens
    pub(crate) name: String,
    /// The folder that holds the templates
    #[arg(long, visible_alias = "templates", value_name = "DIR", default_value = "images")]
    pub(crate) templates_dir: PathBuf,
    /// The template that it starts from
    #[arg(long, value_name = "TEMPLATE", default_value = "base")]
    pub(crate) base: String,
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

/// Who signs.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct AuthorArgs {
    /// Sign with this private key
    #[arg(long, value_name = "FILE", conflicts_with = "keyless")]
    pub(crate) key: Option<PathBuf>,
    /// Sign as whom an identity token names, with a certificate from Sigstore in place of a key
    #[arg(long)]
    pub(crate) keyless: bool,
    /// The identity token, or @FILE [default: SIGSTORE_ID_TOKEN, else the one that the CI system gives]
    #[arg(long, value_name = "TOKEN", requires = "keyless")]
    pub(crate) identity_token: Option<String>,
    /// The services to sign with [default: the public-good instance's, where what is signed becomes public]
    #[arg(long, value_name = "FILE", requires = "keyless", requires = "trusted_root")]
    pub(crate) signing_config: Option<PathBuf>,
    /// What is signed has to be believed by this trusted_root.json [default: the public-good instance's]
    #[arg(long, value_name = "FILE", requires = "keyless")]
    pub(crate) trusted_root: Option<PathBuf>,
}

/// How layers are stored.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CompressionName {
    /// What every engine and registry reads
    Gzip,
    /// Smaller and faster to unpack; not every older engine reads it
    Zstd,
}

/// `bulla sign`
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The image: a layout, or a reference with a digest
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// How the image that a statement is about is reached.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct TargetArgs {
    /// Call a layout NAME in the statement [default: the name that it has in the layout]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) as_name: Option<String>,
    /// Use nothing but what is on this machine
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// `bulla attest`
#[derive(Debug, Args)]
pub(crate) struct AttestArgs {
    /// The image: a layout, or a reference with a digest
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    /// What kind of statement: spdx, cyclonedx, slsa-v1, or a predicate type's URI
    #[arg(long = "type", value_name = "TYPE", requires = "predicate", required_unless_present = "rebuild")]
    pub(crate) predicate_type: Option<String>,
    /// The predicate, a JSON document
    #[arg(long, value_name = "FILE", requires = "predicate_type", conflicts_with = "rebuild")]
    pub(crate) predicate: Option<PathBuf>,
    /// Build this template here, and state that it came out as this image; nothing is stated if it did not
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) rebuild: Option<String>,
    /// A folder of templates that is searched before the bundled ones
    #[arg(long, visible_alias = "templates", value_name = "DIR", requires = "rebuild")]
    pub(crate) templates_dir: Option<PathBuf>,
    /// Which platform to build [default: this machine's]
    #[arg(long, value_name = "OS/ARCH", requires = "rebuild")]
    pub(crate) platform: Option<Platform>,
    #[command(flatten)]
    pub(crate) places: PlaceArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// `bulla publish`
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The layout: oci:DIR
    pub(crate) image: String,
    /// Where to, with a tag
    #[arg(long, value_name = "REPO:TAG")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) push: PushArgs,
}

/// How an image is put on a registry.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Let an existing tag, or layout, hold this image from now on
    #[arg(long)]
    pub(crate) move_tag: bool,
    /// Put an image to which nothing is attached on a registry
    #[arg(long)]
    pub(crate) allow_unattested: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// `bulla copy`
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The image, of which every platform is copied
    pub(crate) source: String,
    /// Where to: REPO:TAG, or oci:DIR, or oci:DIR:NAME
    pub(crate) destination: String,
    #[command(flatten)]
    pub(crate) push: PushArgs,
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

/// Kinds of keys.
#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
pub(crate) enum KeyType {
    /// ECDSA on P-256, which every client takes
    EcdsaP256,
    /// ECDSA on P-384
    EcdsaP384,
    /// Ed25519
    Ed25519,
}

/// `bulla key`
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key pair: PREFIX.key, encrypted with a passphrase, and PREFIX.pub
    Generate {
        /// Name of the two files without their endings
        #[arg(long, value_name = "PREFIX", default_value = "bulla")]
        output: PathBuf,
        /// What kind of key
        #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t = KeyType::EcdsaP256)]
        key_type: KeyType,
    },
    /// Print the public key of a private one
    Public {
        /// The private key
        key: PathBuf,
    },
}
