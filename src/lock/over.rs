//! Locking over a base: what it brings counts as installed, and the lock names it by the digest of its own lock.

use std::collections::BTreeMap;

use super::{Drift, LockingError, beside_packages, chosen, own_drift, own_lock};
use crate::adapters::Progress;
use crate::adapters::apt::{Apt, Installed, Resolved};
use crate::adapters::inputs::Inputs;
use crate::adapters::state;
use crate::adapters::templates::Found;
use crate::content::Digest;
use crate::deb;
use crate::lockfile::{Base, Lock};
use crate::oci::Platform;
use crate::template::Template;

/// Resolves a template for these platforms (none: all that it declares) over those it stands on, the nearest first
/// (none: over nothing). The lock then holds exactly these platforms. What has to be read to be locked is kept in the
/// store of `inputs`; so are the packages of those underneath, as only they say what they depend on and provide: a lock
/// can then be made long after the archive has newer ones.
pub fn lock(
    template: &Template,
    platforms: &[Platform],
    apt: &Apt,
    parents: &[Found],
    inputs: &Inputs,
    progress: Progress<'_>,
) -> Result<Lock, LockingError> {
    let platforms = chosen(template, platforms)?;
    let wanted = &template.manifest.deb;
    let Some((parent, further)) = parents.split_first() else {
        let mut resolved = apt.resolve(wanted, &platforms, progress)?;
        resolved.inputs.extend(beside_packages(template, &platforms, inputs, progress)?);
        return Ok(Lock::new(template.digest(), &wanted.distro, resolved.releases, resolved.inputs)?);
    };
    let mut below = Vec::new();
    for platform in &platforms {
        below = locked(&parent.template, further, platform)?;
    }
    let mut resolved = if wanted.packages.is_empty() {
        Resolved { releases: Vec::new(), inputs: Vec::new() }
    } else {
        let installed = installed(template, &below, &platforms, inputs, progress)?;
        apt.resolve_over(wanted, &platforms, &installed, progress)?
    };
    resolved.inputs.extend(beside_packages(template, &platforms, inputs, progress)?);
    let lock = parent.template.lock()?;
    let base = Base { name: parent.template.name.clone(), lock: lock.digest(), platforms };
    let base = (base, lock.source_date_epoch);
    Ok(Lock::over(base, template.digest(), &wanted.distro, resolved.releases, resolved.inputs)?)
}

/// In what a template, its lock and what it stands on disagree. An error: one of them has no lock that can be read.
pub fn check(template: &Template, parents: &[Found]) -> Result<Drift, LockingError> {
    match own_drift(template)? {
        Drift::None => base_drift(template, &template.lock()?, parents.first()),
        drift => Ok(drift),
    }
}

/// The lock of a template and of each that it stands on, the nearest first, if every one is its template's, covers
/// the platform and is the one that was underneath when the one before it was locked.
pub fn locked(template: &Template, parents: &[Found], platform: &Platform) -> Result<Vec<Lock>, LockingError> {
    let mut locks = Vec::new();
    let family = || std::iter::once(template).chain(parents.iter().map(|parent| &parent.template));
    for (template, parent) in family().zip(parents.iter().map(Some).chain([None])) {
        let lock = own_lock(template, platform)?;
        match base_drift(template, &lock, parent)? {
            Drift::None => locks.push(lock),
            drift => return Err(LockingError::Drift { template: template.name.clone(), drift: Box::new(drift) }),
        }
    }
    Ok(locks)
}

/// Whether a template's manifest, its lock and what is underneath are about the same base.
fn base_drift(template: &Template, lock: &Lock, parent: Option<&Found>) -> Result<Drift, LockingError> {
    let locked = lock.base.as_ref().map(|base| (base.name.clone(), base.lock));
    let there = |parent: &Found| -> Result<(String, Digest), LockingError> {
        Ok((parent.template.name.clone(), parent.template.lock()?.digest()))
    };
    let actual = parent.map(there).transpose()?;
    let wanted = template.manifest.base.as_ref();
    if locked == actual && wanted == actual.as_ref().map(|(name, _)| name) {
        return Ok(Drift::None);
    }
    Ok(Drift::Base { locked, actual })
}

/// What dpkg would list in an image of these locks, the nearest first. A nearer one's package takes the place of the
/// same one further down.
fn installed(
    template: &Template,
    below: &[Lock],
    platforms: &[Platform],
    inputs: &Inputs,
    progress: Progress<'_>,
) -> Result<Installed, LockingError> {
    let failed = |source| LockingError::Inputs { template: template.name.clone(), source };
    let mut installed = Installed::new();
    for platform in platforms {
        let mut entries = BTreeMap::new();
        for lock in below.iter().rev() {
            for (input, path) in inputs.fetch(&lock.for_platform(platform), false, progress).map_err(failed)? {
                let entry = deb::installed_entry(state::open_file(&path)?, &input.display())?;
                entries.insert(input.name.clone(), entry);
            }
        }
        installed.insert(platform.clone(), entries.into_values().collect());
    }
    Ok(installed)
}
