//! Locking a template: what it wants becomes exactly which bytes.

mod over;

use std::fmt;
use std::path::{Path, PathBuf};

pub use over::{check, lock, locked};

use crate::adapters::Progress;
use crate::adapters::apt::AptError;
use crate::adapters::inputs::{Inputs, InputsError};
use crate::adapters::packages::{self, PackageError};
use crate::adapters::state::{self, StateError};
use crate::class::{Class, Classified};
use crate::content::{Digest, limits};
use crate::deb::DebError;
use crate::lockfile::{self, Input, Lock, LockError};
use crate::oci::Platform;
use crate::template::{Template, TemplateError};

/// Why a template could not be locked, or its lock not be used.
#[derive(Debug, thiserror::Error)]
pub enum LockingError {
    /// The template or its lock is not one.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The packages could not be resolved.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// Packages of a registry could not be resolved.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The packages of its base, which count as installed, cannot be had.
    #[error("what template {template:?} stands on has to be here to lock it: {source}")]
    Inputs {
        /// Which template.
        template: String,
        /// Why not.
        source: InputsError,
    },
    /// A package of its base cannot be read.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// What was resolved does not make a lock.
    #[error("what was resolved does not make a lock: {0}")]
    Lock(#[from] LockError),
    /// A platform that the template does not declare.
    #[error("template {template:?} is not for {platform}: it declares {declared}")]
    Platform {
        /// Which template.
        template: String,
        /// What was asked for.
        platform: Platform,
        /// The platforms it has.
        declared: String,
    },
    /// The lock is another template's, or an older one's.
    #[error("template {template:?} and its lock disagree: {drift}; run `bulla lock {template}`")]
    Drift {
        /// Which template.
        template: String,
        /// In what.
        drift: Box<Drift>,
    },
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Classified for LockingError {
    fn class(&self) -> Class {
        match self {
            Self::Template(error) => error.class(),
            Self::Apt(error) => error.class(),
            Self::Package(error) => error.class(),
            Self::Inputs { source, .. } => source.class(),
            Self::Deb(error) => error.class(),
            Self::Lock(error) => error.class(),
            Self::Platform { .. } => Class::Usage,
            Self::Drift { .. } => Class::Build,
            Self::State(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Template(error) => error.code(),
            Self::Apt(error) => error.code(),
            Self::Package(error) => error.code(),
            Self::Inputs { source, .. } => source.code(),
            Self::Deb(error) => error.code(),
            Self::Lock(error) => error.code(),
            Self::Platform { .. } => "platform-not-declared",
            Self::Drift { .. } => "lock-drift",
            Self::State(error) => error.code(),
        }
    }
}

/// In what a template and its lock disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// Nothing: the lock is this template's.
    None,
    /// A file of the template changed since, or the lock is another template's.
    Template {
        /// The template that was locked.
        locked: Digest,
        /// The template as it is.
        actual: Digest,
    },
    /// It stands on another template than the one that was locked with it, or that one was locked anew.
    Base {
        /// What the lock says: a name and a lock's digest; absent: nothing is underneath.
        locked: Option<(String, Digest)>,
        /// The same of what is there.
        actual: Option<(String, Digest)>,
    },
    /// Platforms that the template declares and the lock has nothing for, or the other way round.
    Platforms {
        /// Declared, not locked.
        missing: Vec<Platform>,
        /// Locked, not declared.
        extra: Vec<Platform>,
    },
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |platforms: &[Platform]| platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::None => f.write_str("nothing differs"),
            Self::Template { locked, actual } => {
                write!(f, "the lock was made for a template with the digest {locked}, and this one has {actual}")
            }
            Self::Base { locked, actual } => {
                let said = |base: &Option<(String, Digest)>| match base {
                    Some((name, lock)) => format!("{name} with the lock {lock}"),
                    None => "no base".to_owned(),
                };
                write!(f, "the lock was made over {}, and there is {}", said(locked), said(actual))
            }
            Self::Platforms { missing, extra } if extra.is_empty() => {
                write!(f, "{} is declared and not locked", names(missing))
            }
            Self::Platforms { missing, extra } if missing.is_empty() => {
                write!(f, "{} is locked and not declared", names(extra))
            }
            Self::Platforms { missing, extra } => {
                write!(f, "{} is declared and not locked, {} locked and not declared", names(missing), names(extra))
            }
        }
    }
}

/// Everything that does not come from an archive of Debian packages.
fn beside_packages(
    template: &Template,
    platforms: &[Platform],
    inputs: &Inputs,
    progress: Progress<'_>,
) -> Result<Vec<Input>, LockingError> {
    let mut locked = packages::npm::resolve(inputs, &template.manifest.npm, platforms, progress)?;
    locked.extend(packages::pypi::resolve(inputs, &template.manifest.wheels, platforms, progress)?);
    for file in &template.manifest.files {
        locked.extend(platforms.iter().filter_map(|platform| file.locked(platform)));
    }
    Ok(locked)
}

/// The platforms that are meant, sorted; each has to be declared.
fn chosen(template: &Template, platforms: &[Platform]) -> Result<Vec<Platform>, LockingError> {
    let declared = &template.manifest.platforms;
    let unknown = platforms.iter().find(|platform| !declared.contains(platform));
    if let Some(platform) = unknown {
        let declared = declared.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ");
        return Err(LockingError::Platform { template: template.name.clone(), platform: platform.clone(), declared });
    }
    let mut platforms = if platforms.is_empty() { declared.clone() } else { platforms.to_vec() };
    platforms.sort();
    platforms.dedup();
    Ok(platforms)
}

/// In what a template and its lock disagree, whatever it stands on. An error: there is no lock, or none that can be
/// read.
fn own_drift(template: &Template) -> Result<Drift, LockingError> {
    let lock = template.lock()?;
    let actual = template.digest();
    if lock.template != actual {
        return Ok(Drift::Template { locked: lock.template, actual });
    }
    let locked = lock.platforms();
    let declared = &template.manifest.platforms;
    let missing: Vec<_> = declared.iter().filter(|platform| !locked.contains(platform)).cloned().collect();
    let extra: Vec<_> = locked.into_iter().filter(|platform| !declared.contains(platform)).cloned().collect();
    if !missing.is_empty() || !extra.is_empty() {
        return Ok(Drift::Platforms { missing, extra });
    }
    Ok(Drift::None)
}

/// The lock of a template, if it is this template's and has something for this platform. What it has for other
/// platforms does not matter here.
fn own_lock(template: &Template, platform: &Platform) -> Result<Lock, LockingError> {
    let lock = template.lock()?;
    let drift = |drift| LockingError::Drift { template: template.name.clone(), drift: Box::new(drift) };
    let actual = template.digest();
    if lock.template != actual {
        return Err(drift(Drift::Template { locked: lock.template, actual }));
    }
    if !lock.covers(platform) {
        return Err(drift(Drift::Platforms { missing: vec![platform.clone()], extra: Vec::new() }));
    }
    Ok(lock)
}

/// Writes a lock beside the template's other files, as a whole or not at all. Says whether the file changed.
pub fn write(folder: &Path, lock: &Lock) -> Result<(PathBuf, bool), LockingError> {
    let path = folder.join(lockfile::FILE_NAME);
    let text = lock.write();
    let same = state::read_file(&path, limits::OWN_FILE).is_ok_and(|bytes| bytes == text.as_bytes());
    if !same {
        state::write_file(&path, text.as_bytes())?;
    }
    Ok((path, !same))
}
