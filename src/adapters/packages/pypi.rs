//! Python wheels: an index's word for files and hashes (the simple repository API, PEP 503 and 691), and which of them
//! fits an interpreter on a platform. What a wheel depends on is not followed: every wheel is named by the template.

mod said;
mod version;

pub(in crate::adapters) use said::links;

use super::{DOCUMENT, Named, PackageError, download, registries, wait};
use crate::adapters::Progress;
use crate::adapters::inputs::Inputs;
use crate::adapters::inputs::ask::{Asker, Document};
use crate::adapters::sources::Mirror;
use crate::content::{Digest, limits};
use crate::lockfile::{Input, Kind};
use crate::oci::Platform;
use crate::template::WheelInput;

use said::{Link, Wheel};
use version::{Specifiers, Version};

/// What an index is asked for: JSON where it has it, else the page for people.
pub(in crate::adapters) const ACCEPT: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// Resolves what a template wants, for each of these platforms.
pub fn resolve(
    inputs: &Inputs,
    wanted: &[WheelInput],
    platforms: &[Platform],
    progress: Progress<'_>,
) -> Result<Vec<Input>, PackageError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    wait(async {
        let asker = Asker::new(inputs, progress)?;
        let mut locked = Vec::new();
        for one in wanted {
            let (mirror, all) = index(&asker, inputs, one).await?;
            for platform in platforms {
                let (wheel, link) = choose(one, &all, platform)?;
                let (digest, size) = bytes(&asker, inputs, &mirror, one, &wheel, link).await?;
                locked.push(Input {
                    kind: Kind::Wheel,
                    platform: Some(platform.clone()),
                    name: one.package.clone(),
                    version: wheel.version,
                    architecture: None,
                    archive: one.archive.clone(),
                    path: format!("{}/{}", one.package, link.file),
                    file: None,
                    size,
                    digest,
                    integrity: None,
                    licence: None,
                    distro: None,
                });
            }
        }
        Ok(locked)
    })
}

/// The address of a project's page.
pub(in crate::adapters) fn page(mirror: &Mirror, project: &str) -> String {
    format!("{}/{project}/", mirror.address())
}

/// The most that is read of a project's page.
pub(in crate::adapters) const PAGE: u64 = DOCUMENT;

async fn index(asker: &Asker<'_>, inputs: &Inputs, wanted: &WheelInput) -> Result<(Mirror, Vec<Link>), PackageError> {
    let mut attempts = Vec::new();
    for mirror in registries(inputs, &wanted.archive)?.into_iter().filter(|mirror| mirror.folder().is_none()) {
        asker.say(&format!("asking about {}", wanted.package));
        match asker.document(&mirror, &page(&mirror, &wanted.package), ACCEPT, DOCUMENT).await {
            Ok(document) => {
                let failed = |reason| PackageError::Format { what: wanted.package.clone(), reason };
                return Ok((mirror, read(&document).map_err(failed)?));
            }
            Err(attempt) => attempts.push(attempt),
        }
    }
    Err(PackageError::Unavailable { what: format!("Python project {}", wanted.package), attempts })
}

/// The files of a project's page.
pub(in crate::adapters) fn read(document: &Document) -> Result<Vec<Link>, String> {
    links(&document.bytes, &document.media_type, &document.address)
}

/// The newest version that has a wheel for this platform, and of its wheels the one that fits best.
fn choose<'a>(wanted: &WheelInput, all: &'a [Link], platform: &Platform) -> Result<(Wheel, &'a Link), PackageError> {
    let package = Named { name: wanted.package.clone(), version: wanted.version.clone() };
    let exact = wanted.version.trim();
    let specifiers = Specifiers::parse(exact);
    let is_exact = exact.starts_with(|first: char| first.is_ascii_digit());
    if !is_exact && specifiers.is_none() {
        let reason = "this is neither a version nor a list of specifiers".to_owned();
        return Err(PackageError::NoVersion { package, reason });
    }
    let mut seen = false;
    /// Newer versions first, then the better fit; the file's name makes it one order.
    type Rank = (Option<Version>, (u32, u32), String);
    let mut best: Option<(Rank, Wheel, &Link)> = None;
    for link in all {
        let Some(wheel) = Wheel::parse(&link.file).filter(|wheel| wheel.project == wanted.package) else { continue };
        let version = Version::parse(&wheel.version);
        let fits = match (&version, &specifiers) {
            _ if is_exact => wheel.version == exact,
            // Withdrawn files, and versions before a release, are taken only by whoever names them.
            (Some(version), Some(specifiers)) => specifiers.match_version(version) && !link.yanked,
            _ => false,
        };
        let python = link.requires_python.as_deref().is_none_or(|text| {
            Specifiers::parse(text).is_some_and(|specifiers| specifiers.match_version(&Version::python(wanted.python)))
        });
        if !fits || !python {
            continue;
        }
        seen = true;
        let Some(rank) = wheel.rank(wanted.python, platform) else { continue };
        let key = (version, rank, link.file.clone());
        if best.as_ref().is_none_or(|(other, ..)| *other < key) {
            best = Some((key, wheel, link));
        }
    }
    match best {
        Some((_, wheel, link)) => Ok((wheel, link)),
        None if seen => {
            let (major, minor) = wanted.python;
            let reason = format!("none of its wheels fits Python {major}.{minor} there");
            Err(PackageError::NoPlatform { package, platform: platform.to_string(), reason })
        }
        None => {
            let reason = "the index has no wheel of such a version for this Python".to_owned();
            Err(PackageError::NoVersion { package, reason })
        }
    }
}

/// Digest and size of a wheel: the index's word, else the wheel is fetched and measured.
async fn bytes(
    asker: &Asker<'_>,
    inputs: &Inputs,
    mirror: &Mirror,
    wanted: &WheelInput,
    wheel: &Wheel,
    link: &Link,
) -> Result<(Digest, u64), PackageError> {
    let package = Named { name: wanted.package.clone(), version: wheel.version.clone() };
    let digest = link.digest.ok_or_else(|| PackageError::Format {
        what: package.to_string(),
        reason: format!("the index gives no SHA-256 for {}", link.file),
    })?;
    if let Some(size) = link.size.filter(|size| (1..=limits::INPUT).contains(size)) {
        return Ok((digest, size));
    }
    let stored = inputs.stored(&digest).metadata().map(|meta| meta.len());
    if let Some(size) = stored.ok().filter(|size| inputs.holds(&digest, *size)) {
        return Ok((digest, size));
    }
    asker.say(&format!("fetching {package}, to lock it"));
    let fetched = download(asker, inputs, mirror, link.url.as_str()).await?;
    let fetched = fetched.map_err(|attempt| PackageError::Unavailable {
        what: format!("the wheel {}", link.file),
        attempts: vec![attempt],
    })?;
    if fetched.came.digest != digest {
        let reason = format!("{} has the digest {}, not {digest}", link.file, fetched.came.digest);
        return Err(PackageError::Differs { package, reason });
    }
    inputs.take(&fetched.path, &digest, fetched.came.size)?;
    Ok((digest, fetched.came.size))
}
