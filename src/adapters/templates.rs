//! Reading a template from a folder of the person's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::adapters::state::{self, StateError};
use crate::class::{Class, Classified};
use crate::content::limits;
use crate::template::{MAX_FILES, Template, TemplateError};

/// Why a folder was not read as a template.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// What is in it is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It has something that is neither a file nor a folder: a template is the same everywhere, a link is not.
    #[error("{0} is neither a file nor a folder: a template has nothing else")]
    Special(String),
    /// More files than a template has: this is some other folder.
    #[error("{0} has more than {MAX_FILES} files, which no template has")]
    TooMany(String),
    /// A new template would stand where something is already.
    #[error("{0} is there already; a template is never written over")]
    Exists(String),
    /// Templates that stand on each other in a ring, or as good as.
    #[error("template {0:?}: its `base` and theirs never end, or only after {GENERATIONS} templates")]
    Ring(String),
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Classified for FolderError {
    fn class(&self) -> Class {
        match self {
            Self::Template(error) => error.class(),
            Self::Special(_) | Self::Ring(_) => Class::Build,
            Self::TooMany(_) => Class::Limit,
            Self::Exists(_) => Class::Usage,
            Self::State(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Template(error) => error.code(),
            Self::Special(_) => "template-files",
            Self::TooMany(_) => "template-too-large",
            Self::Ring(_) => "base-ring",
            Self::Exists(_) => "template-exists",
            Self::State(error) => error.code(),
        }
    }
}

/// A template, and whether it is exactly one of those in the program: the same files under the same lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The template.
    pub template: Template,
    /// Whether it is a bundled one. A template of the person's own is not, whatever it is called.
    pub bundled: bool,
}

impl From<Template> for Found {
    fn from(template: Template) -> Self {
        let same = |bundled: Template| bundled.digest() == template.digest() && lock(&bundled) == lock(&template);
        let bundled = Template::bundled(&template.name).is_ok_and(same);
        Self { template, bundled }
    }
}

fn lock(template: &Template) -> Option<&[u8]> {
    template.files.get(crate::lockfile::FILE_NAME).map(|file| &*file.bytes)
}

/// How many templates may stand on each other: more would be a mistake, or a ring.
const GENERATIONS: usize = 8;

/// The template of this name, and after it those it stands on, the nearest first. Each is taken from `folder` where
/// that has it, else it is a bundled one; what a bundled template stands on is bundled.
pub fn find(name: &str, folder: Option<&Path>) -> Result<Vec<Found>, FolderError> {
    let mut found: Vec<Found> = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        let own = folder.filter(|_| found.last().is_none_or(|child| !child.bundled)).map(|folder| folder.join(&name));
        let template = match own {
            Some(own) if crate::lockfile::is_word(&name) && own.is_dir() => read(&own)?,
            _ => Template::bundled(&name)?,
        };
        if found.len() == GENERATIONS || found.iter().any(|child| child.template.name == name) {
            return Err(FolderError::Ring(found.swap_remove(0).template.name));
        }
        next = template.manifest.base.clone();
        found.push(template.into());
    }
    Ok(found)
}

/// The names of the templates in a folder: of its folders that hold a `template.toml`.
pub fn names(folder: &Path) -> Result<Vec<String>, FolderError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(StateError::io("read", folder))? {
        let entry = entry.map_err(StateError::io("read", folder))?;
        if entry.path().join("template.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// The template in this folder; its name is the folder's.
pub fn read(folder: &Path) -> Result<Template, FolderError> {
    let absolute = fs::canonicalize(folder).map_err(StateError::io("read", folder))?;
    let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut files = BTreeMap::new();
    collect(&absolute, "", &mut files)?;
    Ok(Template::from_files(&name, files)?)
}

/// Writes the files of a new template into a folder that is not there yet.
pub fn create(folder: &Path, template: &Template) -> Result<(), FolderError> {
    if folder.symlink_metadata().is_ok() {
        return Err(FolderError::Exists(folder.display().to_string()));
    }
    for (path, file) in &template.files {
        state::write_file(&folder.join(path), &file.bytes)?;
    }
    Ok(())
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<(), FolderError> {
    let entries = fs::read_dir(folder).map_err(StateError::io("read", folder))?;
    for entry in entries {
        let entry = entry.map_err(StateError::io("read", folder))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(StateError::io("read", folder))?);
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if kind.is_dir() {
            collect(&path, &format!("{name}/"), files)?;
        } else if kind.is_file() {
            files.insert(name, state::read_file(&path, limits::OWN_FILE)?);
        } else {
            return Err(FolderError::Special(path.display().to_string()));
        }
        if files.len() > MAX_FILES {
            return Err(FolderError::TooMany(folder.display().to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_bundled_template_from_disk_as_it_is_in_the_program() {
        let bundled = Template::bundled("base").unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/base");
        let read = read(&folder).unwrap();
        assert_eq!(read, bundled);
        assert_eq!(read.digest(), bundled.digest());
    }

    #[test]
    fn refuses_no_folder_an_empty_one_and_a_link() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(&folder.path().join("absent")), Err(FolderError::State(_))));
        let own = folder.path().join("own");
        fs::create_dir(&own).unwrap();
        assert!(matches!(read(&own), Err(FolderError::Template(_))));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc/passwd", own.join("Dockerfile")).unwrap();
            assert!(matches!(read(&own), Err(FolderError::Special(_))));
        }
    }
}
