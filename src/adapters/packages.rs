//! Resolving packages of registries that language communities keep: what a template wants becomes exact versions with
//! hashes. Nothing is installed, and nothing of a package is run.

pub mod npm;
pub mod pypi;

use std::fmt;
use std::path::PathBuf;

use crate::adapters::http;
use crate::adapters::inputs::ask::{Asker, Downloaded};
use crate::adapters::inputs::{Attempt, Failure, Inputs, InputsError};
use crate::adapters::sources::Mirror;
use crate::adapters::state::StateError;
use crate::class::{Class, Classified};
use crate::content::limits;

/// Most bytes of what a registry says of one package, all its versions together. Packages that publish several times
/// a day reach 30 MB.
const DOCUMENT: u64 = 96 << 20;

/// A package, as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its version, or the range that was asked for.
    pub version: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Why a package was not resolved.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Nobody said where the archive is.
    #[error("no registry for the archive {0:?} is known here: name one with --mirror {0}=URL, or in config.toml")]
    NoRegistry(String),
    /// No registry gave it.
    #[error("{what} is not to be had:{}", attempts.iter().map(|one| format!("\n    {}: {}", one.place, one.reason)).collect::<String>())]
    Unavailable {
        /// What was asked for.
        what: String,
        /// Where, and what was said.
        attempts: Vec<Attempt>,
    },
    /// No version is in the range.
    #[error("{package}: {reason}")]
    NoVersion {
        /// The package, and what was asked for.
        package: Named,
        /// Why there is none.
        reason: String,
    },
    /// A package that a platform needs is not there, or is for another one.
    #[error("{package} has nothing for {platform}: {reason}")]
    NoPlatform {
        /// The package.
        package: Named,
        /// The platform that the template declares.
        platform: String,
        /// Why not.
        reason: String,
    },
    /// The package wants to run something when it is installed.
    #[error(
        "{package} has install scripts ({}), which are never run: if it works without them, say so in template.toml \
         with unrun-scripts", scripts.join(", ")
    )]
    Scripts {
        /// The package.
        package: Named,
        /// Which.
        scripts: Vec<String>,
    },
    /// The package needs another one that the template does not name, or not in such a version.
    #[error("{package} needs {dependency}, which the template does not have: name it in template.toml")]
    Dependency {
        /// The package.
        package: Named,
        /// What it needs.
        dependency: Named,
    },
    /// An archive is not what the registry says of it.
    #[error("{package} is not what its registry says: {reason}")]
    Differs {
        /// The package.
        package: Named,
        /// In what.
        reason: String,
    },
    /// A registry said something that is not understood.
    #[error("what the registry says of {what} is not understood: {reason}")]
    Format {
        /// Of which package.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The network is not usable as it is configured.
    #[error(transparent)]
    Inputs(#[from] InputsError),
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Classified for PackageError {
    fn class(&self) -> Class {
        match self {
            Self::NoRegistry(_) => Class::Usage,
            Self::Unavailable { attempts, .. } => match worst(attempts) {
                Failure::Absent | Failure::Offline => Class::Build,
                Failure::Denied => Class::Auth,
                Failure::Net => Class::Net,
                Failure::Large => Class::Limit,
                Failure::Disk => Class::State,
                Failure::Integrity => Class::Integrity,
            },
            Self::NoVersion { .. } | Self::NoPlatform { .. } | Self::Scripts { .. } | Self::Dependency { .. } => {
                Class::Build
            }
            Self::Differs { .. } => Class::Integrity,
            Self::Format { .. } => Class::Format,
            Self::Inputs(error) => error.class(),
            Self::State(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::NoRegistry(_) => "no-mirror",
            Self::Unavailable { attempts, .. } => match worst(attempts) {
                Failure::Absent | Failure::Offline => "package-not-found",
                Failure::Denied => "package-denied",
                Failure::Net => "package-unreachable",
                Failure::Large => "too-large",
                Failure::Disk => "disk",
                Failure::Integrity => "package-differs",
            },
            Self::NoVersion { .. } => "no-such-version",
            Self::NoPlatform { .. } => "no-platform-package",
            Self::Scripts { .. } => "install-scripts",
            Self::Dependency { .. } => "package-dependency",
            Self::Differs { .. } => "package-differs",
            Self::Format { .. } => "package-not-understood",
            Self::Inputs(error) => error.code(),
            Self::State(error) => error.code(),
        }
    }
}

fn worst(attempts: &[Attempt]) -> Failure {
    attempts.iter().map(|attempt| attempt.kind).max().unwrap_or(Failure::Absent)
}

/// The registries of an archive, at least one.
fn registries(inputs: &Inputs, archive: &str) -> Result<Vec<Mirror>, PackageError> {
    let mirrors = inputs.mirrors_of(archive);
    if mirrors.is_empty() { Err(PackageError::NoRegistry(archive.to_owned())) } else { Ok(mirrors) }
}

/// A file on its way into the store; it goes when this is dropped.
struct Fetched {
    path: PathBuf,
    _folder: tempfile::TempDir,
    came: Downloaded,
}

/// Downloads a file of at most [`limits::INPUT`] bytes.
async fn download(
    asker: &Asker<'_>,
    inputs: &Inputs,
    mirror: &Mirror,
    address: &str,
) -> Result<Result<Fetched, Attempt>, StateError> {
    let folder = inputs.aside()?;
    let path = folder.path().join("file");
    let came = asker.download(mirror, address, &path, limits::INPUT).await?;
    Ok(came.map(|came| Fetched { path, _folder: folder, came }))
}

/// Runs to its end what waits for the network.
fn wait<T>(future: impl Future<Output = Result<T, PackageError>>) -> Result<T, PackageError> {
    let runtime = http::runtime().map_err(StateError::io("start the runtime in", std::path::Path::new(".")))?;
    runtime.block_on(future)
}
