//! Templates: a folder of files that says what goes into an image (`template.toml`), how (`Dockerfile`), and exactly
//! from which bytes (`template.lock`).
//!
//! The bundled ones are embedded in the program from `images/`. What a file's mode is depends on its content alone, so
//! that a template is the same on every disk: files that start with `#!` are 0755, all others 0644.

pub mod digests;
mod kinds;
mod manifest;
pub mod skeleton;

use std::collections::BTreeMap;

use include_dir::{Dir, include_dir};

use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::lockfile::{self, Lock, LockError};

use digests::Digests;
pub use kinds::{FileInput, FileSource, NpmInput, WheelInput};
pub use manifest::{DebArchive, DebInputs, LaunchProfile, Network, TemplateManifest, Tmpfs, User};

/// Files of one template: real ones have fewer than ten.
pub const MAX_FILES: usize = 256;
/// Bytes of one template, its lock included. It is source text; payload comes in as locked inputs.
const MAX_BYTES: usize = 8 << 20;

static BUNDLED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/images");

/// A template, well-formed: it has a manifest with the name it goes by, and a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its name: `base`.
    pub name: String,
    /// Every file, by its path below the template's folder.
    pub files: BTreeMap<String, TemplateFile>,
    /// What `template.toml` says.
    pub manifest: TemplateManifest,
}

/// One file of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFile {
    /// 0o755 if the content starts with `#!`, else 0o644.
    pub mode: u32,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Why a template was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No bundled template has this name.
    #[error("there is no template {name:?}; bundled are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// `template.toml` says something that no template may say.
    #[error("template {name:?}, template.toml: {reason}")]
    Manifest {
        /// Which template.
        name: String,
        /// Which rule, and where.
        reason: String,
    },
    /// The folder is not a template's.
    #[error("template {name:?}: {reason}")]
    Files {
        /// Which template.
        name: String,
        /// What is missing, or may not be there.
        reason: String,
    },
    /// There is no lock.
    #[error("template {0:?} has no template.lock: run `bulla lock {0}`")]
    NotLocked(String),
    /// Its recorded digests are not what such a file says.
    #[error("template {name:?}, template.digests: {reason}")]
    Digests {
        /// Which template.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Its lock is not one.
    #[error("template {name:?}: {source}")]
    Lock {
        /// Which template.
        name: String,
        /// What is wrong with it.
        source: LockError,
    },
}

impl Classified for TemplateError {
    fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } => Class::Usage,
            Self::Manifest { .. } | Self::Files { .. } | Self::NotLocked(_) | Self::Digests { .. } => Class::Build,
            Self::Lock { source, .. } => source.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown-template",
            Self::Manifest { .. } => "malformed-template",
            Self::Files { .. } => "template-files",
            Self::NotLocked(_) => "not-locked",
            Self::Digests { .. } => "malformed-digests",
            Self::Lock { source, .. } => source.code(),
        }
    }
}

impl Template {
    /// The names of the bundled templates, sorted.
    pub fn bundled_names() -> Vec<&'static str> {
        let mut names: Vec<_> = BUNDLED.dirs().filter_map(|dir| dir.path().to_str()).collect();
        names.sort_unstable();
        names
    }

    /// The bundled template of this name.
    pub fn bundled(name: &str) -> Result<Self, TemplateError> {
        let found = BUNDLED.dirs().find(|dir| dir.path().to_str() == Some(name));
        let Some(dir) = found else {
            let name = name.chars().take(80).collect();
            return Err(TemplateError::Unknown { name, known: Self::bundled_names().join(", ") });
        };
        let mut files = BTreeMap::new();
        collect(dir, name, &mut files);
        Self::from_files(name, files)
    }

    /// A template of these files, by their paths below its folder.
    pub fn from_files(name: &str, files: BTreeMap<String, Vec<u8>>) -> Result<Self, TemplateError> {
        let failed = |reason: String| TemplateError::Files { name: name.chars().take(80).collect(), reason };
        if !lockfile::is_word(name) {
            return Err(failed("a name has lower-case letters, digits and hyphens, and at most 64 of them".to_owned()));
        }
        let size: usize = files.values().map(Vec::len).sum();
        if files.len() > MAX_FILES || size > MAX_BYTES {
            return Err(failed(format!("more than {MAX_FILES} files or {MAX_BYTES} bytes")));
        }
        if let Some(path) = files.keys().find(|path| !is_safe_path(path)) {
            let path: String = path.chars().take(100).collect();
            return Err(failed(format!("{path:?} is not a path that a template's file may have")));
        }
        let text = |path: &str| -> Result<&str, TemplateError> {
            let bytes = files.get(path).ok_or_else(|| failed(format!("there is no {path}")))?;
            std::str::from_utf8(bytes).map_err(|_| failed(format!("{path} is not UTF-8")))
        };
        let manifest = TemplateManifest::parse(text("template.toml")?)
            .map_err(|reason| TemplateError::Manifest { name: name.to_owned(), reason })?;
        if manifest.name != name {
            let reason = format!("it says name = {:?}, and the folder is called {name:?}", manifest.name);
            return Err(TemplateError::Manifest { name: name.to_owned(), reason });
        }
        text("Dockerfile")?;
        let with_mode = |(path, bytes): (String, Vec<u8>)| {
            let mode = if bytes.starts_with(b"#!") { 0o755 } else { 0o644 };
            (path, TemplateFile { mode, bytes })
        };
        Ok(Self { name: name.to_owned(), files: files.into_iter().map(with_mode).collect(), manifest })
    }

    /// What a lock and provenance say the template was: SHA-256 of this text, with one line for each file but
    /// `template.lock` and `template.digests`, sorted by the bytes of the path:
    ///
    /// ```text
    /// bulla template 1
    /// 644 <size> <sha256 of the content, hex> <path>
    /// ```
    ///
    /// Mode in octal, size in decimal, lines ending in one line feed. No path has a space or a line feed.
    pub fn digest(&self) -> Digest {
        let mut text = String::from("bulla template 1\n");
        for (path, file) in self.sources() {
            let TemplateFile { mode, bytes } = file;
            text.push_str(&format!("{mode:o} {} {} {path}\n", bytes.len(), Digest::of(bytes).hex()));
        }
        Digest::of(text.as_bytes())
    }

    /// Its files but those that follow from them: the lock, and the recorded digests.
    pub fn sources(&self) -> impl Iterator<Item = (&String, &TemplateFile)> {
        self.files.iter().filter(|(path, _)| !matches!(path.as_str(), lockfile::FILE_NAME | digests::FILE_NAME))
    }

    /// What its images should be, where that was recorded.
    pub fn digests(&self) -> Result<Option<Digests>, TemplateError> {
        let malformed = |reason| TemplateError::Digests { name: self.name.clone(), reason };
        let file = self.files.get(digests::FILE_NAME);
        file.map(|file| Digests::parse(&file.bytes)).transpose().map_err(malformed)
    }

    /// The Dockerfile.
    pub fn dockerfile(&self) -> &str {
        let bytes = self.files.get("Dockerfile").map_or(&b""[..], |file| &file.bytes);
        std::str::from_utf8(bytes).unwrap_or_default() // checked when the template was taken
    }

    /// What `template.lock` says. Whether it is this template's lock is another question: `lock::check`.
    pub fn lock(&self) -> Result<Lock, TemplateError> {
        let file = self.files.get(lockfile::FILE_NAME).ok_or_else(|| TemplateError::NotLocked(self.name.clone()))?;
        Lock::parse(&file.bytes).map_err(|source| TemplateError::Lock { name: self.name.clone(), source })
    }

    /// The same template with another lock.
    #[must_use]
    pub fn with_lock(mut self, lock: &Lock) -> Self {
        let file = TemplateFile { mode: 0o644, bytes: lock.write().into_bytes() };
        self.files.insert(lockfile::FILE_NAME.to_owned(), file);
        self
    }
}

fn collect(dir: &Dir<'_>, root: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for file in dir.files() {
        if let Ok(path) = file.path().strip_prefix(root) {
            files.insert(path.to_string_lossy().into_owned(), file.contents().to_vec());
        }
    }
    for below in dir.dirs() {
        collect(below, root, files);
    }
}

/// A relative path of plain segments: nothing that leaves the folder, needs quoting, or reads differently elsewhere.
fn is_safe_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..") && !segment.starts_with('-') && segment.bytes().all(allowed)
    };
    path.len() <= 200 && path.split('/').all(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(entries: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        let manifest = manifest::tests::MINIMAL;
        let mut files: BTreeMap<_, _> =
            [("template.toml", manifest), ("Dockerfile", "FROM scratch\n")].map(owned).into_iter().collect();
        files.extend(entries.iter().copied().map(owned));
        files
    }

    fn owned((path, text): (&str, &str)) -> (String, Vec<u8>) {
        (path.to_owned(), text.as_bytes().to_vec())
    }

    fn template(entries: &[(&str, &str)]) -> Template {
        Template::from_files("tiny", files(entries)).unwrap()
    }

    #[test]
    fn every_bundled_template_reads_and_is_locked_as_it_is() {
        assert!(Template::bundled_names().contains(&"base"));
        for name in Template::bundled_names() {
            let template = Template::bundled(name).unwrap();
            let lock = template.lock().unwrap();
            assert_eq!(lock.template, template.digest(), "{name} changed since it was locked: run `bulla lock {name}`");
            assert!(template.digests().is_ok(), "{name}");
            assert!(!name.starts_with(crate::home::LOCAL), "{name} would read as somebody's own");
        }
    }

    #[test]
    fn refuses_an_unknown_name_and_lists_the_known_ones() {
        for name in ["", "nope", "base/", "../images/base", "base/Dockerfile"] {
            let error = Template::bundled(name).unwrap_err();
            assert_eq!(error.class(), Class::Usage, "{name}");
            assert!(error.to_string().contains("base"));
        }
    }

    #[test]
    fn refuses_a_folder_without_manifest_or_dockerfile() {
        assert!(Template::from_files("tiny", BTreeMap::new()).is_err());
        for missing in ["template.toml", "Dockerfile"] {
            let mut files = files(&[]);
            files.remove(missing);
            let error = Template::from_files("tiny", files).unwrap_err();
            assert!(error.to_string().contains(missing), "{error}");
        }
    }

    #[test]
    fn refuses_the_manifest_of_another_template() {
        let error = Template::from_files("other", files(&[])).unwrap_err();
        assert!(error.to_string().contains("\"tiny\""), "{error}");
    }

    #[test]
    fn refuses_paths_that_leave_the_folder() {
        for path in ["../x", "/x", "a/../b", "a//b", "", "a\nb", "a b", "./a", "-rf", "a/.."] {
            assert!(Template::from_files("tiny", files(&[(path, "x")])).is_err(), "{path:?}");
        }
    }

    #[test]
    fn the_digest_covers_path_mode_and_content_of_everything_but_the_lock() {
        let plain = template(&[("a", "x"), ("b", "y")]);
        assert_eq!(plain.digest(), template(&[("a", "x"), ("b", "y"), (lockfile::FILE_NAME, "z")]).digest());
        for other in [
            template(&[("a", "x")]),
            template(&[("a", "y"), ("b", "x")]),
            template(&[("a", "x"), ("c", "y")]),
            template(&[("a", "x"), ("b/c", "y")]),
            template(&[("a", "#!x"), ("b", "y")]),
            template(&[("a", "x"), ("b", "y"), ("below/template.lock", "z")]),
        ] {
            assert_ne!(plain.digest(), other.digest());
        }
        let mut mode = plain.clone();
        mode.files.get_mut("a").unwrap().mode = 0o755;
        assert_ne!(plain.digest(), mode.digest());
    }

    #[test]
    fn the_digest_is_the_documented_text_s() {
        let template = template(&[("run", "#!/bin/sh\n")]);
        let mut text = String::from("bulla template 1\n");
        for (mode, path) in [("644", "Dockerfile"), ("755", "run"), ("644", "template.toml")] {
            let bytes = &template.files[path].bytes;
            text.push_str(&format!("{mode} {} {} {path}\n", bytes.len(), Digest::of(bytes).hex()));
        }
        assert_eq!(template.digest(), Digest::of(text.as_bytes()));
    }

    #[test]
    fn a_template_without_a_lock_says_so() {
        assert!(matches!(template(&[]).lock(), Err(TemplateError::NotLocked(_))));
        assert!(matches!(template(&[(lockfile::FILE_NAME, "")]).lock(), Err(TemplateError::Lock { .. })));
    }
}
