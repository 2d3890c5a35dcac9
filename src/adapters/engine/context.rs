//! What the engine gets to see: the template's files, the locked inputs, and what bulla makes of those. Nothing else.

use std::fs::File;
use std::path::PathBuf;

use super::Workplace;
use crate::adapters::state::StateError;
use crate::class::{Class, Classified};
use crate::deb::{self, Bootstrap, Control, DebError};
use crate::lockfile::{Input, Kind};
use crate::template::Template;

/// The folder of the context that belongs to bulla: locked inputs, and what is made of them.
const INPUTS: &str = "inputs";

/// Where the file system of the base goes, as one archive.
pub const BASE: &str = "inputs/base.tar";

/// Why there is no context to build from.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// A file that a template may not bring.
    #[error("the template's {path}: {reason}")]
    TemplateFile {
        /// Which file.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// A package that cannot be unpacked.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// The disk, or an input that is not what the lock says.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Classified for ContextError {
    fn class(&self) -> Class {
        match self {
            Self::TemplateFile { .. } => Class::Build,
            Self::Deb(error) => error.class(),
            Self::State(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::TemplateFile { .. } => "template-file",
            Self::Deb(error) => error.code(),
            Self::State(error) => error.code(),
        }
    }
}

/// Fills the context of a build. `inputs` are the locked files, each where the content store has it; every one is
/// hashed again on its way in.
pub fn fill(place: &Workplace, template: &Template, inputs: &[(Input, PathBuf)]) -> Result<(), ContextError> {
    for (path, file) in template.sources() {
        let name = path.rsplit('/').next().unwrap_or(path);
        // Engines differ in which of these they obey, and how.
        if name.ends_with("dockerignore") || name.ends_with("containerignore") {
            return Err(ContextError::TemplateFile { path: path.clone(), reason: "ignore files are not used" });
        }
        if path.split('/').next() == Some(INPUTS) {
            return Err(ContextError::TemplateFile { path: path.clone(), reason: "inputs/ is where locked inputs go" });
        }
        place.put(path, file.mode, &file.bytes)?;
    }
    let mut debs = Vec::new();
    for (input, path) in inputs {
        let (folder, file) = (input.kind.folder(), input.file_name());
        place.put_copy(&format!("{INPUTS}/{folder}/{file}"), path, &input.digest, input.size)?;
        if input.kind == Kind::Deb {
            debs.push((input.display(), place.context().join(INPUTS).join(folder).join(file)));
        }
    }
    place.folder(&format!("{INPUTS}/deb"))?;
    // Over a base there is a dpkg already.
    if debs.is_empty() || template.manifest.base.is_some() { Ok(()) } else { bootstrap(place, &debs) }
}

/// Writes `inputs/bootstrap.tar`: the unpacked essential packages, in which dpkg can run.
fn bootstrap(place: &Workplace, debs: &[(String, PathBuf)]) -> Result<(), ContextError> {
    let open = |path: &PathBuf| File::open(path).map_err(StateError::io("read", path));
    let mut controls = Vec::with_capacity(debs.len());
    for (name, path) in debs {
        controls.push(Control::read(open(path)?, name)?);
    }
    let mut failed = None;
    place.put_with(&format!("{INPUTS}/bootstrap.tar"), 0o644, |file| {
        let mut bootstrap = Bootstrap::new(std::io::BufWriter::with_capacity(1 << 20, file));
        for index in deb::essential(&controls) {
            let (name, path) = &debs[index];
            let added = open(path).map_err(ContextError::from).and_then(|file| Ok(bootstrap.add(file, name)?));
            if let Err(error) = added {
                failed = Some(error);
                return Ok(());
            }
        }
        bootstrap.finish()?.into_inner().map(|_| ()).map_err(std::io::IntoInnerError::into_error)
    })?;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Digest;
    use crate::lockfile::Lock;

    #[test]
    fn every_kind_of_input_has_its_folder() {
        let lock = Lock::parse(include_bytes!("../../../testdata/lockfile/every-kind.lock")).unwrap();
        let here = tempfile::tempdir().unwrap();
        let content = here.path().join("content");
        std::fs::write(&content, b"bytes").unwrap();
        let with_bytes = |input: &Input| {
            let input = Input { digest: Digest::of(b"bytes"), size: 5, ..input.clone() };
            (input, content.clone())
        };
        let inputs: Vec<_> = lock.for_platform(&"linux/amd64".parse().unwrap()).into_iter().collect();
        let inputs: Vec<_> = inputs.into_iter().filter(|input| input.kind != Kind::Deb).map(with_bytes).collect();
        let place = Workplace::create(&here.path().join("work"), 0).unwrap();
        fill(&place, &Template::bundled("base").unwrap(), &inputs).unwrap();
        for path in ["npm/agent.tgz", "wheels/six-1.17.0-py2.py3-none-any.whl", "files/tool.tar.gz"] {
            assert_eq!(std::fs::read(place.context().join("inputs").join(path)).unwrap(), b"bytes", "{path}");
        }
        assert!(!place.context().join("inputs/bootstrap.tar").exists());
        let (mut other, path) = inputs[0].clone();
        other.digest = Digest::of(b"other");
        let place = Workplace::create(&here.path().join("work"), 0).unwrap();
        let refused = fill(&place, &Template::bundled("base").unwrap(), &[(other, path)]);
        assert!(matches!(refused, Err(ContextError::State(_))));
    }
}
