//! The rules that a lock has to keep, entry by entry and together.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Base, Input, Kind, Lock, LockError, bounded, cut, debian_architecture, is_file_name, is_integrity, is_licence,
    is_npm_name, is_package_name, is_path, is_project_name, is_suite, is_version, is_word, npm_path,
};
use crate::content::limits;

impl Lock {
    pub(super) fn check(&self) -> Result<(), LockError> {
        bounded("inputs", self.inputs.len(), limits::INPUTS)?;
        bounded("releases", self.releases.len(), limits::LOCK_RELEASES)?;
        let malformed =
            |what: &str, reason: &str| Err(LockError::Malformed { what: what.to_owned(), reason: reason.to_owned() });
        if !is_word(&self.distro) {
            return malformed("distro", "not a code name");
        }
        let newest = self.releases.iter().map(|release| release.date.as_second()).max();
        let epoch = self.source_date_epoch;
        match (newest, &self.base) {
            (None, None) => return malformed("release", "there is none, and an image needs the date of one"),
            (Some(date), None) if date != epoch || date <= 0 => {
                return malformed("source-date-epoch", "it is not the date of the newest release");
            }
            (newest, Some(_)) if epoch <= 0 || newest.is_some_and(|date| date <= 0 || date > epoch) => {
                return malformed("source-date-epoch", "it is before the date of the newest release");
            }
            _ => {}
        }
        if let Some(base) = &self.base {
            self.check_base(base)?;
        } else if self.inputs.is_empty() {
            return malformed("inputs", "there are none, and an image of nothing is not an image");
        }
        for pair in self.releases.windows(2) {
            if (&pair[0].archive, &pair[0].suite) >= (&pair[1].archive, &pair[1].suite) {
                return malformed(&format!("release {:?}", cut(&pair[1].suite)), "out of order, or there twice");
            }
        }
        for release in &self.releases {
            if !is_word(&release.archive) || !is_suite(&release.suite) || release.date.subsec_nanosecond() != 0 {
                return malformed(&format!("release {:?}", cut(&release.suite)), "archive, suite or date is not one");
            }
        }
        let archives: BTreeSet<_> = self.releases.iter().map(|release| release.archive.as_str()).collect();
        for input in &self.inputs {
            let failed = |reason: String| {
                Err(LockError::Malformed { what: format!("{} {:?}", input.kind.as_str(), cut(&input.name)), reason })
            };
            if let Err(reason) = check_input(input) {
                return failed(reason);
            }
            if input.kind == Kind::Deb && !archives.contains(input.archive.as_str()) {
                return failed(format!("no release of archive {:?} is in the lock", cut(&input.archive)));
            }
        }
        self.check_together()
    }

    fn check_base(&self, base: &Base) -> Result<(), LockError> {
        let malformed = |reason: &str| {
            Err(LockError::Malformed { what: format!("base {:?}", cut(&base.name)), reason: reason.to_owned() })
        };
        if !is_word(&base.name) {
            return malformed("not the name of a template");
        }
        if base.platforms.is_empty() || base.platforms.windows(2).any(|pair| pair[0] >= pair[1]) {
            return malformed("its platforms are none, out of order, or there twice");
        }
        let elsewhere = |input: &&Input| input.platform.as_ref().is_some_and(|own| !base.platforms.contains(own));
        match self.inputs.iter().find(elsewhere) {
            Some(input) => malformed(&format!("it is not locked for the platform of {}", input.display())),
            None => Ok(()),
        }
    }

    /// What no single entry shows: order, doubles, one path with two contents.
    fn check_together(&self) -> Result<(), LockError> {
        let malformed = |input: &Input, reason: &str| {
            let what = format!("{} {:?}", input.kind.as_str(), cut(&input.name));
            Err(LockError::Malformed { what, reason: reason.to_owned() })
        };
        for pair in self.inputs.windows(2) {
            if pair[0] > pair[1] {
                return malformed(&pair[1], "out of order: run `bulla lock`");
            }
        }
        let mut names = BTreeSet::new();
        let mut files = BTreeSet::new();
        let mut contents = BTreeMap::new();
        for input in &self.inputs {
            if !names.insert((&input.platform, input.kind, &input.name)) {
                return malformed(input, "there twice for one platform");
            }
            if !files.insert((&input.platform, input.file_name())) {
                return malformed(input, "another input of the platform has the same file name");
            }
            let content = (input.size, input.digest);
            if *contents.entry((&input.archive, &input.path)).or_insert(content) != content {
                return malformed(input, "another platform has other bytes under the same path");
            }
        }
        Ok(())
    }
}

fn check_input(input: &Input) -> Result<(), String> {
    if input.size == 0 || input.size > limits::INPUT {
        return Err(format!("a size of {} bytes is none that an input may have", input.size));
    }
    if !is_word(&input.archive) {
        return Err(format!("{:?} is not the word for an archive", cut(&input.archive)));
    }
    if input.licence.as_ref().is_some_and(|licence| !is_licence(licence)) {
        return Err("its licence is no short line of plain text".to_owned());
    }
    if input.kind != Kind::Deb && input.platform.as_ref().is_none_or(|one| debian_architecture(one).is_none()) {
        return Err("its platform is none that a template may have".to_owned());
    }
    match input.kind {
        Kind::Deb => check_deb(input),
        Kind::Npm => check_npm(input),
        Kind::Wheel => check_wheel(input),
        Kind::File => check_file(input),
    }
}

fn check_npm(input: &Input) -> Result<(), String> {
    if !is_npm_name(&input.name) {
        return Err("not the name of an npm package".to_owned());
    }
    if input.version.len() > 128 || semver::Version::parse(&input.version).is_err() {
        return Err(format!("{:?} is not a version", cut(&input.version)));
    }
    if input.path != npm_path(&input.name, &input.version) {
        return Err("its path is not where registries keep this version".to_owned());
    }
    if !input.integrity.as_deref().is_some_and(is_integrity) {
        return Err("its integrity is not sha512- and base64".to_owned());
    }
    match &input.file {
        Some(file) if is_file_name(file) && file.ends_with(".tgz") => Ok(()),
        _ => Err("its file is not the name of a .tgz".to_owned()),
    }
}

fn check_wheel(input: &Input) -> Result<(), String> {
    if !is_project_name(&input.name) {
        return Err("not the normalised name of a Python project".to_owned());
    }
    if !is_version(&input.version) {
        return Err(format!("{:?} is not a version", cut(&input.version)));
    }
    check_path(&input.path)?;
    let file = input.path.strip_prefix(&input.name).and_then(|rest| rest.strip_prefix('/'));
    match file {
        Some(file) if is_file_name(file) && file.ends_with(".whl") => Ok(()),
        _ => Err("its path is not the project and the name of a .whl".to_owned()),
    }
}

fn check_file(input: &Input) -> Result<(), String> {
    if !is_file_name(&input.name) {
        return Err("not a name that a file may have".to_owned());
    }
    if !is_version(&input.version) {
        return Err(format!("{:?} is not a version", cut(&input.version)));
    }
    if input.file.as_ref() != Some(&input.name) {
        return Err("its file is not its name".to_owned());
    }
    check_path(&input.path)
}

fn check_deb(input: &Input) -> Result<(), String> {
    if !is_package_name(&input.name) {
        return Err("not a package name".to_owned());
    }
    // Debian policy, 5.6.12: a version starts with a digit.
    let version = |byte: u8| byte.is_ascii_alphanumeric() || b".+~:-".contains(&byte);
    if !input.version.starts_with(|first: char| first.is_ascii_digit())
        || input.version.len() > 128
        || !input.version.bytes().all(version)
    {
        return Err(format!("{:?} is not a version", cut(&input.version)));
    }
    let Some(platform) = &input.platform else {
        return Err("no platform".to_owned());
    };
    let Some(expected) = debian_architecture(platform) else {
        return Err(format!("Debian has no packages for {platform}"));
    };
    match input.architecture.as_deref() {
        Some("all") => {}
        Some(architecture) if architecture == expected => {}
        _ => return Err(format!("its architecture is not one that {platform} runs")),
    }
    check_path(&input.path)?;
    if !input.path.ends_with(".deb") {
        return Err("its path does not end in .deb".to_owned());
    }
    Ok(())
}

/// Refuses a path that would leave the folder it is joined to, or that a shell, a URL or a disk could read otherwise.
fn check_path(path: &str) -> Result<(), String> {
    if !is_path(path) {
        return Err(format!("{:?} is not a path within an archive", cut(path)));
    }
    Ok(())
}
