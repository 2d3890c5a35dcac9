//! What is kept on disk: files written aside and renamed, locks between processes, content by digest.
//!
//! A file is either the old one or the new one, whatever happens: a crash, a full disk, two runs at once.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use tempfile::NamedTempFile;

use crate::class::{Class, Classified};
use crate::content::{self, ContentError, Digest, Hashing};

/// Why local state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The operating system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read`, `write`, `create` …
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// Something stands there that is no file, and would be one afterwards.
    #[error(
        "{} is {what}, and is not replaced by a file: name a plain file, or leave the option out and redirect what is printed",
        path.display()
    )]
    Special {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Bytes that are not what they should be; nothing was kept.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// No folder to keep things in.
    #[error("there is no home folder to keep {0} in: set HOME or {1}")]
    NoHome(&'static str, &'static str),
}

impl StateError {
    /// An [`StateError::Io`] of this action on this path.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl Classified for StateError {
    fn class(&self) -> Class {
        match self {
            Self::Content(error) => error.class(),
            Self::Special { .. } => Class::Usage,
            Self::Io { .. } | Self::NoHome(..) => Class::State,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Content(error) => error.code(),
            Self::Special { .. } => "not-a-plain-file",
            Self::Io { .. } => "disk",
            Self::NoHome(..) => "no-home",
        }
    }
}

/// `$XDG_CACHE_HOME/bulla`: what may be deleted at any time. `var` reads this process's environment.
pub fn cache_dir(var: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, StateError> {
    below_home(var, "XDG_CACHE_HOME", ".cache").ok_or(StateError::NoHome("the cache", "XDG_CACHE_HOME"))
}

/// `$XDG_CONFIG_HOME/bulla`: what the person configured; nothing for a process without a home.
pub fn config_dir(var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    below_home(var, "XDG_CONFIG_HOME", ".config")
}

/// `$XDG_STATE_HOME/bulla`: what was found out and is kept; nothing for a process without a home.
pub fn state_dir(var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    below_home(var, "XDG_STATE_HOME", ".local/state")
}

/// By the XDG base directory specification; relative values are ignored, as it says.
fn below_home(var: impl Fn(&str) -> Option<OsString>, name: &str, home_child: &str) -> Option<PathBuf> {
    let absolute = |name: &str| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(name).or_else(|| absolute("HOME").map(|home| home.join(home_child)))?;
    Some(base.join("bulla"))
}

/// Creates a folder and its parents.
pub fn create_dir(path: &Path) -> Result<(), StateError> {
    fs::create_dir_all(path).map_err(StateError::io("create", path))
}

/// Reads a whole file, refusing more than `limit` bytes, and anything but a plain file: a pipe that nobody writes to
/// would be waited for without end.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, StateError> {
    let file = open_file(path)?;
    Ok(content::read_bounded(file, limit, &path.display().to_string())?)
}

/// Reads a file below a folder that comes from elsewhere: nothing on the way from `root` is a link, and nothing leads
/// out of it.
pub fn read_file_below(root: &Path, name: &Path, limit: u64) -> Result<Vec<u8>, StateError> {
    let refused =
        |path: &Path, reason: &str| StateError::io("read", path)(io::Error::new(io::ErrorKind::InvalidInput, reason));
    let mut path = root.to_owned();
    for part in name.components() {
        let Component::Normal(part) = part else {
            return Err(refused(name, "it has to be a path that stays below its folder"));
        };
        path.push(part);
        if path.is_symlink() {
            return Err(refused(&path, "it is a symbolic link"));
        }
    }
    let file = open_plain(File::options().read(true), Links::Refused, &path).map_err(StateError::io("read", &path))?;
    Ok(content::read_bounded(file, limit, &path.display().to_string())?)
}

/// What is in a folder, in the order of the names.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, StateError> {
    let entries = fs::read_dir(folder).map_err(StateError::io("read", folder))?;
    let paths: Result<Vec<PathBuf>, io::Error> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(StateError::io("read", folder))?;
    paths.sort();
    Ok(paths)
}

/// Opens a plain file to read it piece by piece.
pub fn open_file(path: &Path) -> Result<File, StateError> {
    open_plain(File::options().read(true), Links::Followed, path).map_err(StateError::io("read", path))
}

/// What is done about a symbolic link in the last place of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    /// It is a name like any other.
    Followed,
    /// It leads where nobody asked to go.
    Refused,
}

/// Opens a plain file and nothing else, without waiting.
fn open_plain(options: &mut fs::OpenOptions, links: Links, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, links == Links::Refused);
        options.custom_flags(flags.bits().cast_signed());
    }
    let refused = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, reason);
    if links == Links::Refused && path.is_symlink() {
        return Err(refused("it is a symbolic link"));
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(refused("it is not a plain file (a pipe, a device or a folder); write what it says into a file"));
    }
    Ok(file)
}

/// Writes a file as a whole: aside, flushed to disk, renamed over what was there, the folder flushed. Only a plain file
/// is replaced: a device would be one afterwards, and a link would lead nowhere else any more.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    write_file_with(path, |file| file.write_all(bytes))
}

/// Like [`write_file`], for what is produced piece by piece.
pub(crate) fn write_file_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StateError> {
    check_plain(path)?;
    let mut aside = aside(path, ANYBODY)?;
    let failed = |source| StateError::Io { action: "write", path: path.to_owned(), source };
    write(aside.as_file_mut()).map_err(failed)?;
    keep(aside, path)
}

/// Adds to the end of a file, which is created where it is not there.
pub fn append_file(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    open_plain(File::options().create(true).append(true), Links::Followed, path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(StateError::io("write", path))
}

/// Refuses what is there and no plain file.
fn check_plain(path: &Path) -> Result<(), StateError> {
    let what = match fs::symlink_metadata(path).map(|there| there.file_type()) {
        Ok(there) if there.is_symlink() => "a symbolic link",
        Ok(there) if there.is_dir() => "a folder",
        Ok(there) if !there.is_file() => "a device, a pipe or a socket",
        // What cannot be looked at is found out when it is written.
        _ => return Ok(()),
    };
    Err(StateError::Special { path: path.to_owned(), what })
}

/// Removes a plain file, if it is there.
pub fn remove_file(path: &Path) -> Result<(), StateError> {
    check_plain(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Writes a file that only its owner may read, as a whole, and never over another: what it would replace (a private
/// key) may exist nowhere else.
pub fn create_secret_file(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let mut aside = aside(path, OWNER)?;
    aside.as_file_mut().write_all(bytes).map_err(StateError::io("write", path))?;
    aside.as_file().sync_all().map_err(StateError::io("write", path))?;
    let failed = |source| StateError::Io { action: "create", path: path.to_owned(), source };
    aside.persist_noclobber(path).map_err(|error| failed(error.error))?;
    sync_dir(parent(path))
}

/// Permissions of a new file, of which the umask takes its part.
const ANYBODY: u32 = 0o666;
/// Permissions of a secret.
const OWNER: u32 = 0o600;

/// A temporary file beside `path`, with these permissions where the system has such.
#[cfg_attr(not(unix), expect(unused_variables, reason = "permissions are Unix's"))]
fn aside(path: &Path, mode: u32) -> Result<NamedTempFile, StateError> {
    let folder = parent(path);
    create_dir(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bulla-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    builder.tempfile_in(folder).map_err(StateError::io("write in", folder))
}

fn keep(aside: NamedTempFile, path: &Path) -> Result<(), StateError> {
    aside.as_file().sync_all().map_err(StateError::io("write", path))?;
    aside.persist(path).map_err(|error| StateError::Io {
        action: "write",
        path: path.to_owned(),
        source: error.error,
    })?;
    sync_dir(parent(path))
}

/// The folder that a path is in; the current one for a bare name.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Flushes a folder's entries to disk.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StateError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(StateError::io("write", path))
}

/// Removes the folders in `folder` whose names fit, but for one. What cannot be removed stays.
pub(crate) fn remove_others(folder: &Path, but: &Path, fits: impl Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path != but && path.file_name().is_some_and(|name| fits(&name.to_string_lossy())) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// An exclusive lock between processes, held until dropped. Waits for whoever holds it.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its effect: closing the file releases the lock")] File);

impl Lock {
    /// Takes the lock named by this file, which is created and stays. A link in its place is refused: it may lie in a
    /// folder that comes from elsewhere.
    pub fn take(path: &Path) -> Result<Self, StateError> {
        create_dir(parent(path))?;
        let file = open_plain(File::options().create(true).truncate(false).write(true), Links::Refused, path)
            .map_err(StateError::io("lock", path))?;
        file.lock().map_err(StateError::io("lock", path))?;
        Ok(Self(file))
    }
}

/// Content by digest, below one folder: `sha256/<hex>`. Nothing is visible before it was checked, and everything is
/// checked again when it is read.
#[derive(Debug, Clone)]
pub struct ContentStore {
    root: PathBuf,
}

impl ContentStore {
    /// The store below this folder, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where content with this digest is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join("sha256").join(digest.hex())
    }

    /// Small content, whole, if it is here and still is what its name says; corrupt content counts as absent.
    pub fn get(&self, digest: &Digest, limit: u64) -> Option<Vec<u8>> {
        let bytes = read_file(&self.path(digest), limit).ok()?;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    }

    /// The file with this content, re-hashed now; corrupt content is removed and counts as absent.
    pub fn find(&self, digest: &Digest, size: u64) -> Option<PathBuf> {
        let path = self.path(digest);
        let file = open_plain(File::options().read(true), Links::Followed, &path).ok()?;
        let mut hashing = Hashing::new(file);
        let copied = io::copy(&mut hashing, &mut io::sink());
        let (_, actual, actual_size) = hashing.finish();
        if copied.is_ok() && actual == *digest && actual_size == size {
            return Some(path);
        }
        let _ = fs::remove_file(&path);
        None
    }

    /// Takes content in, or refuses it: never more than `size` bytes are written, and nothing stays on refusal.
    pub fn insert(&self, mut from: impl Read, digest: &Digest, size: u64, what: &str) -> Result<PathBuf, StateError> {
        let path = self.path(digest);
        let mut aside = aside(&path, ANYBODY)?;
        let mut hashing = Hashing::new((&mut from).take(size.saturating_add(1)));
        io::copy(&mut hashing, aside.as_file_mut()).map_err(StateError::io("write", &path))?;
        let (_, actual, actual_size) = hashing.finish();
        content::expect(what, (digest, size), (actual, actual_size))?;
        keep(aside, &path)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_visible_only_when_it_is_what_it_should_be() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::at(folder.path());
        let digest = Digest::of(b"abc");
        for (bytes, size) in [(&b"abd"[..], 3), (b"ab", 3), (b"abcd", 3), (b"abc", 2)] {
            assert!(store.insert(bytes, &digest, size, "x").is_err());
            assert!(store.find(&digest, 3).is_none());
        }
        let files = fs::read_dir(folder.path().join("sha256")).unwrap().count();
        assert_eq!(files, 0, "refused content was left behind");
        store.insert(&b"abc"[..], &digest, 3, "x").unwrap();
        assert_eq!(store.get(&digest, 10), Some(b"abc".to_vec()));
    }

    #[test]
    fn corrupt_content_counts_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::at(folder.path());
        let digest = Digest::of(b"abc");
        let path = store.insert(&b"abc"[..], &digest, 3, "x").unwrap();
        fs::write(&path, b"abd").unwrap();
        assert_eq!(store.get(&digest, 10), None);
        assert!(store.find(&digest, 3).is_none());
        assert!(!path.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_no_lock_and_nothing_is_created_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let (outside, lock) = (folder.path().join("outside"), folder.path().join("lock"));
        std::os::unix::fs::symlink(&outside, &lock).unwrap();
        assert_eq!(Lock::take(&lock).unwrap_err().code(), "disk");
        assert!(!outside.exists());
        fs::write(&outside, "").unwrap();
        assert!(Lock::take(&lock).is_err());
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        assert!(Lock::take(&lock).is_err());
        fs::remove_dir(&lock).unwrap();
        assert!(Lock::take(&lock).is_ok() && Lock::take(&lock).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn only_plain_files_are_read_and_a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [&pipe, folder.path(), Path::new("/dev/null")] {
            let error = read_file(path, 10).unwrap_err();
            assert!(error.to_string().contains("not a plain file"), "{error}");
        }
        assert!(Lock::take(&pipe).is_err());
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "abc").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_file(&link, 10).unwrap(), b"abc");
        assert!(read_file(&file, 2).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_is_its_owners_and_replaces_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_secret_file(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(create_secret_file(&path, b"two").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn only_plain_files_are_replaced_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| folder.path().join(name);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, of("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        fs::write(of("file"), "old").unwrap();
        std::os::unix::fs::symlink(of("file"), of("link")).unwrap();
        std::os::unix::fs::symlink(of("nowhere"), of("dangling")).unwrap();
        std::os::unix::fs::symlink("/dev/null", of("null")).unwrap();
        fs::create_dir(of("folder")).unwrap();
        let kind = |name: &str| fs::symlink_metadata(of(name)).unwrap().file_type();
        for name in ["pipe", "link", "dangling", "null", "folder"] {
            let before = kind(name);
            for refused in [write_file(&of(name), b"new"), remove_file(&of(name))] {
                let error = refused.unwrap_err();
                assert_eq!((error.class(), error.code()), (Class::Usage, "not-a-plain-file"), "{name}");
            }
            assert_eq!(kind(name), before, "{name}");
        }
        assert_eq!(fs::read(of("file")).unwrap(), b"old");
        assert!(!of("nowhere").exists());
        write_file(&of("file"), b"new").unwrap();
        write_file(&of("fresh"), b"new").unwrap();
        remove_file(&of("fresh")).unwrap();
        remove_file(&of("fresh")).unwrap();
    }

    #[test]
    fn j08_a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_file(&path, b"old").unwrap();
        let failed = write_file_with(&path, |file| {
            file.write_all(b"ne")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
