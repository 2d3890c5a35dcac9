//! The folder of one build: its context, the engine's storage and output. It goes when the build ends; what a killed
//! build left, the next one takes away.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::adapters::state::{self, StateError};
use crate::content::{self, Digest, Hashing};

/// What the name of every build's folder begins with.
const PREFIX: &str = "build-";
/// What the name of its runtime folder begins with.
const RUNTIME_PREFIX: &str = "bulla-run-";
/// The link in it to the runtime folder.
const RUNTIME: &str = "runtime";
/// The lock in it, held as long as the build lives.
const LOCK: &str = "lock";

/// The folder of one build, locked, empty at first.
#[derive(Debug)]
pub struct Workplace {
    dir: TempDir,
    runtime: TempDir,
    _lock: File,
    epoch: SystemTime,
}

impl Workplace {
    /// Makes one below `parent` and removes what killed builds left there. Files put into it are dated `epoch`,
    /// seconds since 1970.
    pub fn create(parent: &Path, epoch: i64) -> Result<Self, StateError> {
        state::create_dir(parent)?;
        remove_abandoned(parent);
        let dir = private(PREFIX).tempdir_in(parent);
        let dir = dir.map_err(StateError::io("create a folder in", parent))?;
        let path = dir.path().join(LOCK);
        let lock =
            File::create(&path).and_then(|file| file.lock().map(|()| file)).map_err(StateError::io("lock", &path))?;
        let runtime = private(RUNTIME_PREFIX).tempdir();
        let runtime = runtime.map_err(StateError::io("create a folder in", &std::env::temp_dir()))?;
        #[cfg(unix)]
        {
            let link = dir.path().join(RUNTIME);
            std::os::unix::fs::symlink(runtime.path(), &link).map_err(StateError::io("write", &link))?;
        }
        let seconds = Duration::from_secs(epoch.unsigned_abs());
        let epoch = if epoch < 0 { SystemTime::UNIX_EPOCH - seconds } else { SystemTime::UNIX_EPOCH + seconds };
        let place = Self { dir, runtime, _lock: lock, epoch };
        state::create_dir(&place.context())?;
        set_mode(&place.context(), 0o755)?;
        Ok(place)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A folder with a short path, which podman asks for: 50 characters and no more.
    pub fn runtime(&self) -> &Path {
        self.runtime.path()
    }

    /// What the engine gets to see.
    pub fn context(&self) -> PathBuf {
        self.path().join("context")
    }

    /// A word that no other build on this machine has, fit for a tag.
    pub fn word(&self) -> String {
        let name = self.path().file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
        name.unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).collect::<String>()
            + &std::process::id().to_string()
    }

    /// A new file of this build's own, outside the context: to be written and read again, gone with the folder.
    pub fn file(&self, name: &str) -> Result<File, StateError> {
        let path = self.path().join(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        file.map_err(StateError::io("create", &path))
    }

    /// Such a file again, from its beginning.
    pub fn open(&self, name: &str) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(self.path().join(name))?))
    }

    /// Puts a file into the context.
    pub fn put(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), StateError> {
        self.put_with(path, mode, |file| file.write_all(bytes))
    }

    /// Puts a copy of a file into the context, refusing other bytes than the digest names. A copy and not a link:
    /// nothing that happens in a build can then reach the content store.
    pub fn put_copy(&self, path: &str, from: &Path, digest: &Digest, size: u64) -> Result<(), StateError> {
        let source = File::open(from).map_err(StateError::io("read", from))?;
        let mut hashing = Hashing::new(source.take(size.saturating_add(1)));
        self.put_with(path, 0o644, |file| io::copy(&mut hashing, file).map(|_| ()))?;
        let (_, actual, actual_size) = hashing.finish();
        Ok(content::expect(&from.display().to_string(), (digest, size), (actual, actual_size))?)
    }

    /// Makes a folder of the context, unless it is there.
    pub fn folder(&self, path: &str) -> Result<(), StateError> {
        self.folder_at(&self.context().join(path))
    }

    fn folder_at(&self, path: &Path) -> Result<(), StateError> {
        let context = self.context();
        let mut folders: Vec<_> = path.ancestors().take_while(|folder| *folder != context).collect();
        folders.reverse();
        for folder in folders {
            state::create_dir(folder)?;
            set_mode(folder, 0o755)?;
        }
        Ok(())
    }

    /// Puts a file into the context that is written piece by piece. The same path twice is refused.
    pub fn put_with(
        &self,
        path: &str,
        mode: u32,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), StateError> {
        let path = self.context().join(path);
        self.folder_at(path.parent().unwrap_or(&path))?;
        let failed = |error| StateError::io("write", &path)(error);
        let mut file = File::options().write(true).create_new(true).open(&path).map_err(failed)?;
        write(&mut file).map_err(failed)?;
        file.set_modified(self.epoch).map_err(failed)?;
        set_mode(&path, mode)
    }
}

/// A folder that nobody but its owner can look into.
fn private(prefix: &str) -> tempfile::Builder<'_, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o700));
    }
    builder
}

/// Removes the folders of builds that no longer run: those whose lock nobody holds.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let lock = File::open(entry.path().join(LOCK));
        // A folder without a lock is being made at this moment, or is not one of ours.
        if ours && lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            if let Ok(runtime) = fs::read_link(entry.path().join(RUNTIME))
                && runtime.file_name().is_some_and(|name| name.to_string_lossy().starts_with(RUNTIME_PREFIX))
            {
                let _ = fs::remove_dir_all(runtime);
            }
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Sets permissions whatever the umask: they end up in the image.
fn set_mode(path: &Path, mode: u32) -> Result<(), StateError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(StateError::io("write", path))?;
    }
    #[cfg(not(unix))]
    let _ = (path, mode);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_what_the_digest_names_and_nothing_twice() {
        let parent = tempfile::tempdir().unwrap();
        let place = Workplace::create(parent.path(), 1_000).unwrap();
        let source = parent.path().join("source");
        fs::write(&source, "abc").unwrap();
        assert!(place.put_copy("inputs/other", &source, &Digest::of(b"abd"), 3).is_err());
        assert!(place.put_copy("inputs/short", &source, &Digest::of(b"ab"), 2).is_err());
        place.put_copy("inputs/deb/right", &source, &Digest::of(b"abc"), 3).unwrap();
        assert!(place.put("inputs/deb/right", 0o644, b"again").is_err());
        let meta = fs::metadata(place.context().join("inputs/deb/right")).unwrap();
        assert_eq!(meta.modified().unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    }

    #[cfg(unix)]
    #[test]
    fn j11_folders_have_names_that_nobody_can_guess_and_are_their_owners() {
        use std::os::unix::fs::PermissionsExt;
        let shared = tempfile::tempdir().unwrap();
        let parent = shared.path().join("builds");
        fs::create_dir(&parent).unwrap();
        fs::set_permissions(&parent, fs::Permissions::from_mode(0o1777)).unwrap();
        let places: Vec<_> = (0..8).map(|_| Workplace::create(&parent, 0).unwrap()).collect();
        let folders: Vec<_> = places.iter().flat_map(|place| [place.path(), place.runtime()]).collect();
        let random = |path: &&Path, prefix: &str| {
            path.file_name().unwrap().to_str().unwrap().strip_prefix(prefix).map(|name| name.to_owned())
        };
        let names: Vec<_> =
            folders.iter().filter_map(|path| random(path, PREFIX).or_else(|| random(path, RUNTIME_PREFIX))).collect();
        let different: std::collections::BTreeSet<_> = names.iter().filter(|name| name.len() >= 6).collect();
        assert_eq!(different.len(), 16, "{names:?}");
        for path in folders {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o700, "{}", path.display());
        }
    }

    #[test]
    fn removes_what_a_killed_build_left_and_no_living_one() {
        let parent = tempfile::tempdir().unwrap();
        let living = Workplace::create(parent.path(), 0).unwrap();
        let dead = parent.path().join("build-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let runtime = parent.path().join("bulla-run-dead");
        fs::create_dir(&runtime).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&runtime, dead.join(RUNTIME)).unwrap();
        let next = Workplace::create(parent.path(), 0).unwrap();
        assert!(living.context().exists() && next.context().exists() && !dead.exists() && !runtime.exists());
        assert_ne!(living.word(), next.word());
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }
}
