//! npm packages: the registry's word for versions and integrity, and the archive itself, read once to be locked.
//!
//! A package with native parts publishes one package for each platform and names them among its optional dependencies.
//! That one is locked, with its own name and version, and the package around it, which would fetch it at installation,
//! is not.

mod archive;
mod said;

use std::collections::BTreeMap;
use std::fs;

use said::{Manifest, Packument};

use super::{DOCUMENT, Named, PackageError, download, registries, wait};
use crate::adapters::Progress;
use crate::adapters::inputs::ask::Asker;
use crate::adapters::inputs::{Failure, Inputs};
use crate::adapters::sources::Mirror;
use crate::adapters::state::StateError;
use crate::content::Digest;
use crate::lockfile::{Input, Kind, is_licence, npm_path};
use crate::oci::Platform;
use crate::template::NpmInput;

/// Resolves what a template wants, for each of these platforms.
pub fn resolve(
    inputs: &Inputs,
    wanted: &[NpmInput],
    platforms: &[Platform],
    progress: Progress<'_>,
) -> Result<Vec<Input>, PackageError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    wait(async {
        let asker = Asker::new(inputs, progress)?;
        let mut resolver = Resolver { asker, inputs, wanted, known: BTreeMap::new() };
        let mut locked = Vec::new();
        for one in wanted {
            for platform in platforms {
                locked.push(resolver.input(one, platform).await?);
            }
        }
        Ok(locked)
    })
}

struct Resolver<'a> {
    asker: Asker<'a>,
    inputs: &'a Inputs,
    wanted: &'a [NpmInput],
    /// What registries said, by archive and package.
    known: BTreeMap<(String, String), (Mirror, Packument)>,
}

impl Resolver<'_> {
    async fn input(&mut self, wanted: &NpmInput, platform: &Platform) -> Result<Input, PackageError> {
        let (mut mirror, mut manifest) = self.version(&wanted.archive, &wanted.package, &wanted.version).await?;
        let mut licence = manifest.licence();
        if let Some(package) = wanted.platforms.get(platform) {
            let around = manifest.named();
            let missing = |reason: String| PackageError::NoPlatform {
                package: around.clone(),
                platform: platform.to_string(),
                reason,
            };
            let (name, range) = manifest
                .optional(package)
                .ok_or_else(|| missing(format!("{package} is not among its optional dependencies")))?;
            (mirror, manifest) = match self.version(&wanted.archive, &name, &range).await {
                Err(PackageError::NoVersion { package, reason }) => {
                    return Err(missing(format!("{package}: {reason}")));
                }
                Err(PackageError::Unavailable { what, attempts })
                    if attempts.iter().all(|attempt| attempt.kind == Failure::Absent) =>
                {
                    return Err(missing(format!("no registry has {what}")));
                }
                other => other?,
            };
            licence = manifest.licence().or(licence);
        }
        if let Err(reason) = manifest.fits(platform) {
            return Err(PackageError::NoPlatform { package: manifest.named(), platform: platform.to_string(), reason });
        }
        self.refuse_unnamed(&manifest).await?;
        refuse_scripts(wanted, &manifest, manifest.scripts())?;
        let integrity = manifest.integrity()?;
        let path = npm_path(&manifest.name, &manifest.version);
        manifest.expect_tarball(&path)?;
        if let Some(keys) = manifest.signature_keys() {
            self.asker
                .say(&format!("{}: the registry signed it ({keys}), which is not checked here", manifest.named()));
        }
        let (digest, size) = self.archive(wanted, &mirror, &manifest, &path, &integrity).await?;
        Ok(Input {
            kind: Kind::Npm,
            platform: Some(platform.clone()),
            name: manifest.name,
            version: manifest.version,
            architecture: None,
            archive: wanted.archive.clone(),
            path,
            file: Some(format!("{}.tgz", wanted.name)),
            size,
            digest,
            integrity: Some(integrity),
            licence: licence.filter(|licence| is_licence(licence)),
            distro: None,
        })
    }

    /// The version of a package that a range means, and the registry that has it.
    async fn version(&mut self, archive: &str, name: &str, range: &str) -> Result<(Mirror, Manifest), PackageError> {
        let key = (archive.to_owned(), name.to_owned());
        if !self.known.contains_key(&key) {
            let found = self.packument(archive, name).await?;
            self.known.insert(key.clone(), found);
        }
        let (mirror, packument) = &self.known[&key];
        Ok((mirror.clone(), packument.choose(name, range)?))
    }

    async fn packument(&self, archive: &str, name: &str) -> Result<(Mirror, Packument), PackageError> {
        let mut attempts = Vec::new();
        // A folder holds archives, and says nothing about packages.
        for mirror in registries(self.inputs, archive)?.into_iter().filter(|mirror| mirror.folder().is_none()) {
            self.asker.say(&format!("asking about {name}"));
            // As npm writes it: the scope's slash is escaped, so that a package is one segment.
            let address = format!("{}/{}", mirror.address(), name.replace('/', "%2f"));
            match self.asker.document(&mirror, &address, "application/json", DOCUMENT).await {
                Ok(document) => return Ok((mirror, Packument::parse(name, &document.bytes)?)),
                Err(attempt) => attempts.push(attempt),
            }
        }
        Err(PackageError::Unavailable { what: format!("npm package {name}"), attempts })
    }

    /// Every package that it needs at run time has to be named by the template, in a version that it takes.
    async fn refuse_unnamed(&mut self, manifest: &Manifest) -> Result<(), PackageError> {
        let wanted = self.wanted;
        for (name, range) in manifest.dependencies() {
            let found = match wanted.iter().find(|other| other.package == *name) {
                Some(other) => Some(self.version(&other.archive, name, &other.version).await?.1),
                None => None,
            };
            if !found.is_some_and(|found| said::is_within(range, &found.version)) {
                let dependency = Named { name: name.clone(), version: range.clone() };
                return Err(PackageError::Dependency { package: manifest.named(), dependency });
            }
        }
        Ok(())
    }

    /// Digest and size of the archive: of the one in the store, if it has this integrity, else of the registry's.
    async fn archive(
        &self,
        wanted: &NpmInput,
        mirror: &Mirror,
        manifest: &Manifest,
        path: &str,
        integrity: &str,
    ) -> Result<(Digest, u64), PackageError> {
        let package = manifest.named();
        let differs = |reason: String| PackageError::Differs { package: package.clone(), reason };
        let (digest, size) = match self.inputs.known(integrity) {
            Some(known) => known,
            None => {
                self.asker.say(&format!("fetching {package}, to lock it"));
                let fetched = download(&self.asker, self.inputs, mirror, &mirror.file(path)).await?;
                let fetched = fetched.map_err(|attempt| PackageError::Unavailable {
                    what: format!("the archive of {package}"),
                    attempts: vec![attempt],
                })?;
                let actual = said::integrity_of(&fetched.came.sha512);
                if actual != integrity {
                    return Err(differs(format!("the archive has the integrity {actual}, not {integrity}")));
                }
                let (digest, size) = (fetched.came.digest, fetched.came.size);
                self.inputs.keep(&fetched.path, &digest, size, integrity)?;
                (digest, size)
            }
        };
        let stored = self.inputs.stored(&digest);
        let open = fs::File::open(&stored).map_err(StateError::io("read", &stored))?;
        let inside = archive::read(std::io::BufReader::with_capacity(1 << 20, open)).map_err(differs)?;
        let itself = said::Manifest::parse(&inside.package_json).map_err(differs)?;
        if (&itself.name, &itself.version) != (&manifest.name, &manifest.version) {
            return Err(differs(format!("the archive holds {}", itself.named())));
        }
        let mut scripts = itself.scripts();
        if inside.has_gyp && !scripts.iter().any(|script| script == "preinstall" || script == "install") {
            scripts.push("install".to_owned());
        }
        refuse_scripts(wanted, manifest, scripts)?;
        Ok((digest, size))
    }
}

fn refuse_scripts(wanted: &NpmInput, manifest: &Manifest, scripts: Vec<String>) -> Result<(), PackageError> {
    let scripts: Vec<_> = scripts.into_iter().filter(|script| !wanted.unrun_scripts.contains(script)).collect();
    if scripts.is_empty() { Ok(()) } else { Err(PackageError::Scripts { package: manifest.named(), scripts }) }
}
