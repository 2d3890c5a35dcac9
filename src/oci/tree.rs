//! The file system that an image's layers make together: whiteouts and opaque directories applied, hard links kept.
//!
//! Contents pass through and are not held: each one is handed to the caller once, who says what to remember of it.
//! Memory is about 300 bytes a path, whatever the files hold.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::class::{Class, Classified};
use crate::content::{Digest, Hashing, limits};
use crate::oci::layer::{self, Entry, Kind, LayerDigests, LayerError};

/// What the caller remembers of one file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Its digest, where the caller wants one.
    pub digest: Option<Digest>,
    /// Its size, in bytes.
    pub size: u64,
    /// Where the caller put it.
    pub at: u64,
}

/// One file, directory or other thing; hard-linked paths share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// What it is: never a hard link or a whiteout.
    pub kind: Kind,
    /// Permissions, at most 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, in seconds since 1970.
    pub mtime: i64,
    /// Where a symbolic link points.
    pub link: Box<[u8]>,
    /// Extended attributes, by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// The content of a regular file.
    pub content: Content,
}

/// Why layers do not make a file system.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A layer cannot be read.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A layer does not fit what the lower ones made.
    #[error("the layers do not fit together at {path:?}: {reason}")]
    Misfit {
        /// The entry, escaped.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Contents could not be kept.
    #[error("cannot keep the contents of the image: {0}")]
    Io(io::Error),
}

impl Classified for TreeError {
    fn class(&self) -> Class {
        match self {
            Self::Layer(error) => error.class(),
            Self::Misfit { .. } => Class::Format,
            Self::Io(_) => Class::State,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Layer(error) => error.code(),
            Self::Misfit { .. } => "misfit-layers",
            Self::Io(_) => "unwritable-spool",
        }
    }
}

/// A merged file system. The root directory itself is not part of it.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<Box<[u8]>, Node>,
    inodes: Vec<Inode>,
    layer: u32,
    entries: u64,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    inode: u32,
    /// The last layer that listed it, or something below it.
    layer: u32,
    /// Whether that layer listed the path itself.
    listed: bool,
}

/// Takes in contents: gets every regular file once, in the order of the layers.
pub type Keep<'a> = dyn FnMut(&Entry, &mut dyn Read) -> Result<Content, TreeError> + 'a;

/// Remembers the digest of a content and nothing else.
pub fn digest_only(_: &Entry, content: &mut dyn Read) -> Result<Content, TreeError> {
    let mut hashing = Hashing::new(content);
    io::copy(&mut hashing, &mut io::sink()).map_err(TreeError::Io)?;
    let (_, digest, size) = hashing.finish();
    Ok(Content { digest: Some(digest), size, at: 0 })
}

impl Tree {
    /// The empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lays one stored layer over what is there. The result is to be believed once the digests have been checked.
    pub fn apply(
        &mut self,
        media_type: &str,
        stored: impl Read,
        keep: &mut Keep<'_>,
    ) -> Result<LayerDigests, TreeError> {
        self.layer += 1;
        layer::walk(media_type, stored, &mut |entry, content| self.entry(entry, content, keep))
    }

    /// Every path and what is there, in the order of the bytes of the path: directories before what they hold.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u32, &Inode)> {
        self.nodes.iter().map(|(path, node)| (&path[..], node.inode, self.inode(node.inode)))
    }

    /// What is at this path, and the number that hard-linked paths share.
    pub fn get(&self, path: &[u8]) -> Option<(u32, &Inode)> {
        self.nodes.get(path).map(|node| (node.inode, self.inode(node.inode)))
    }

    /// The tree's own copy of a path, and the number of what is there.
    pub(crate) fn iter_at(&self, path: &[u8]) -> Option<(&[u8], u32)> {
        self.nodes.get_key_value(path).map(|(path, node)| (&path[..], node.inode))
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether anything is below this path.
    pub(crate) fn has_below(&self, path: &[u8]) -> bool {
        self.below(path).next().is_some()
    }

    /// Removes a path and what is below it.
    pub fn remove(&mut self, path: &[u8]) {
        self.nodes.remove(path);
        let below: Vec<_> = self.below(path).map(|(path, _)| path.clone()).collect();
        for path in below {
            self.nodes.remove(&path);
        }
    }

    fn inode(&self, number: u32) -> &Inode {
        &self.inodes[number as usize]
    }

    fn below(&self, path: &[u8]) -> impl Iterator<Item = (&Box<[u8]>, &Node)> {
        let (from, to) = match path {
            b"" => (Vec::new(), None),
            // `0` follows `/`.
            _ => ([path, b"/"].concat(), Some([path, b"0"].concat())),
        };
        let bounds = (
            std::ops::Bound::Excluded(from.into_boxed_slice()),
            to.map_or(std::ops::Bound::Unbounded, |to| std::ops::Bound::Excluded(to.into_boxed_slice())),
        );
        self.nodes.range::<Box<[u8]>, _>(bounds)
    }

    fn entry(&mut self, entry: &Entry, content: &mut dyn Read, keep: &mut Keep<'_>) -> Result<(), TreeError> {
        self.entries += 1;
        if self.entries > limits::IMAGE_ENTRIES {
            return Err(LayerError::TooLarge { what: "entries in all", limit: limits::IMAGE_ENTRIES }.into());
        }
        match entry.kind {
            Kind::Whiteout => {
                self.parents(&entry.path)?;
                self.remove(&entry.path);
                Ok(())
            }
            Kind::Opaque => self.opaque(&entry.path),
            // The root has neither a name nor, in any engine, another mode than 0755.
            _ if entry.path.is_empty() => Ok(()),
            Kind::HardLink => {
                let Some((number, _)) = self.get(&entry.link).filter(|(_, inode)| inode.kind != Kind::Directory) else {
                    return Err(misfit(&entry.path, "it is a hard link to something that is not there"));
                };
                self.insert(&entry.path, number)
            }
            _ => {
                let content = match entry.kind {
                    Kind::File => keep(entry, content)?,
                    _ => Content { digest: None, size: 0, at: 0 },
                };
                let number = self.add(Inode {
                    kind: entry.kind,
                    mode: entry.mode,
                    uid: entry.uid,
                    gid: entry.gid,
                    mtime: entry.mtime,
                    link: entry.link.clone().into_boxed_slice(),
                    xattrs: entry.xattrs.clone(),
                    device: entry.device,
                    content,
                })?;
                self.insert(&entry.path, number)
            }
        }
    }

    fn add(&mut self, inode: Inode) -> Result<u32, TreeError> {
        let number = u32::try_from(self.inodes.len()).map_err(|_| misfit(b"", "there are too many files"))?;
        self.inodes.push(inode);
        Ok(number)
    }

    fn insert(&mut self, path: &[u8], inode: u32) -> Result<(), TreeError> {
        self.parents(path)?;
        if self.inode(inode).kind != Kind::Directory && self.nodes.contains_key(path) {
            self.remove(path); // with all that a directory held which this replaces
        }
        self.nodes.insert(path.into(), Node { inode, layer: self.layer, listed: true });
        Ok(())
    }

    /// Makes the directories on the way to `path` that nothing listed, and refuses a way through anything else.
    fn parents(&mut self, path: &[u8]) -> Result<(), TreeError> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for end in ends.collect::<Vec<_>>().into_iter().rev() {
            let parent = &path[..end];
            match self.nodes.get_mut(parent) {
                Some(node) if self.inodes[node.inode as usize].kind != Kind::Directory => {
                    return Err(misfit(path, "it is below something that is not a directory"));
                }
                Some(node) if node.layer == self.layer => return Ok(()),
                Some(node) => (node.layer, node.listed) = (self.layer, false),
                None => {
                    let inode = self.add(implied())?;
                    self.nodes.insert(parent.into(), Node { inode, layer: self.layer, listed: false });
                }
            }
        }
        Ok(())
    }

    /// Hides what lower layers have below a directory; what this layer has there stays, listed before or after.
    fn opaque(&mut self, path: &[u8]) -> Result<(), TreeError> {
        if !path.is_empty() {
            self.parents(&[path, b"/x"].concat())?;
        }
        let layer = self.layer;
        let below = self.below(path).filter(|(_, node)| node.layer != layer || !node.listed);
        let below: Vec<_> = below.map(|(path, node)| (path.clone(), node.layer == layer)).collect();
        for (path, implied_here) in below {
            if implied_here {
                let inode = self.add(implied())?;
                self.nodes.insert(path, Node { inode, layer, listed: false });
            } else {
                self.nodes.remove(&path);
            }
        }
        Ok(())
    }
}

/// A directory that no layer lists.
fn implied() -> Inode {
    Inode {
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        link: Box::default(),
        xattrs: BTreeMap::new(),
        device: (0, 0),
        content: Content { digest: None, size: 0, at: 0 },
    }
}

fn misfit(path: &[u8], reason: &'static str) -> TreeError {
    TreeError::Misfit { path: layer::shown(path), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::layer::samples::{Head, Tar};
    use crate::oci::names;

    fn merged(layers: &[Vec<u8>]) -> Result<Tree, TreeError> {
        let mut tree = Tree::new();
        for layer in layers {
            tree.apply(names::LAYER_TAR, &layer[..], &mut digest_only)?;
        }
        Ok(tree)
    }

    fn paths(layers: &[Vec<u8>]) -> Vec<String> {
        merged(layers).unwrap().iter().map(|(path, ..)| String::from_utf8(path.to_vec()).unwrap()).collect()
    }

    #[test]
    fn applies_whiteouts_to_lower_layers() {
        let lower = Tar::new().dir("a").file("a/b", b"1").file("a/c/d", b"2").file("a.x", b"3").end();
        assert_eq!(paths(&[]), Vec::<String>::new());
        assert_eq!(paths(std::slice::from_ref(&lower)), ["a", "a.x", "a/b", "a/c", "a/c/d"]);
        assert_eq!(paths(&[lower.clone(), Tar::new().file(".wh.a", b"").end()]), ["a.x"]);
        assert_eq!(paths(&[lower.clone(), Tar::new().file("a/.wh.c", b"").end()]), ["a", "a.x", "a/b"]);
        assert_eq!(paths(&[lower.clone(), Tar::new().file("a/.wh.nothing", b"").end()]).len(), 5);
        let again = Tar::new().file("a/c/e", b"").end();
        assert_eq!(paths(&[lower, Tar::new().file("a/.wh.c", b"").end(), again]), ["a", "a.x", "a/b", "a/c", "a/c/e"]);
    }

    #[test]
    fn an_opaque_directory_hides_lower_layers_wherever_it_stands() {
        let lower =
            Tar::new().dir("a").file("a/b", b"1").raw(Head::new("a/c", b'5', 0).mode(0o700), b"").file("z", b"");
        let lower = lower.file("a/c/d", b"").end();
        let first = Tar::new().file("a/.wh..wh..opq", b"").file("a/c/new", b"2").end();
        let last = Tar::new().file("a/c/new", b"2").file("a/.wh..wh..opq", b"").end();
        for upper in [first, last] {
            let tree = merged(&[lower.clone(), upper]).unwrap();
            let paths: Vec<_> = tree.iter().map(|(path, ..)| path.to_vec()).collect();
            assert_eq!(paths, [&b"a"[..], b"a/c", b"a/c/new", b"z"]);
            assert_eq!(tree.get(b"a/c").unwrap().1.mode, 0o755, "the lower directory is hidden with its mode");
        }
        assert_eq!(paths(&[lower, Tar::new().file(".wh..wh..opq", b"").file("n", b"").end()]), ["n"]);
    }

    #[test]
    fn replaces_files_by_directories_and_back() {
        let file = Tar::new().file("a", b"1").end();
        let folder = Tar::new().dir("a").file("a/b", b"2").end();
        assert_eq!(paths(&[file.clone(), folder.clone()]), ["a", "a/b"]);
        assert_eq!(paths(&[folder.clone(), file]), ["a"]);
        let mode = Tar::new().raw(Head::new("a/", b'5', 0).mode(0o700), b"").end();
        let tree = merged(&[folder, mode]).unwrap();
        assert_eq!(
            (tree.len(), tree.get(b"a").unwrap().1.mode),
            (2, 0o700),
            "a directory listed again keeps its files"
        );
    }

    #[test]
    fn hard_links_share_what_they_point_at_across_layers() {
        let lower = Tar::new().file("a", b"1").hardlink("b", "a").end();
        let tree = merged(&[lower.clone(), Tar::new().hardlink("c", "b").end()]).unwrap();
        let number = |path: &[u8]| tree.get(path).map(|(number, _)| number);
        assert!(number(b"a").is_some() && number(b"a") == number(b"b") && number(b"b") == number(b"c"));
        let tree = merged(&[lower, Tar::new().file("a", b"2").end()]).unwrap();
        assert_ne!(tree.get(b"a").unwrap().1.content, tree.get(b"b").unwrap().1.content, "a new file is a new file");
    }

    #[test]
    fn i02_i03_refuses_layers_that_do_not_fit() {
        let link = Tar::new().symlink("lib", "/etc").end();
        for (what, layers) in [
            ("a file through a link", vec![link.clone(), Tar::new().file("lib/passwd", b"").end()]),
            ("a whiteout through a link", vec![link.clone(), Tar::new().file("lib/.wh.passwd", b"").end()]),
            ("an opaque link", vec![link, Tar::new().file("lib/.wh..wh..opq", b"").end()]),
            ("a link to nothing", vec![Tar::new().hardlink("a", "b").end()]),
            ("a link to a directory", vec![Tar::new().dir("b").hardlink("a", "b").end()]),
            (
                "a link to what is hidden",
                vec![Tar::new().file("b", b"").end(), Tar::new().file(".wh.b", b"").hardlink("a", "b").end()],
            ),
        ] {
            let error = merged(&layers).map(|tree| tree.len()).expect_err(what);
            assert_eq!(error.code(), "misfit-layers", "{what}");
        }
    }
}
