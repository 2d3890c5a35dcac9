//! What the new layer holds: everything, or what turns the base's file system into the image's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::clamped;
use crate::oci::layer::Kind;
use crate::oci::tree::{Inode, Tree};

/// One entry to write.
pub(super) enum Change<'a> {
    /// What the image has at this path, with the number that hard-linked paths share.
    Write(&'a [u8], u32),
    /// A whiteout file of this name.
    Whiteout(&'a [u8]),
}

/// The entries to write, in the order of the bytes of their paths.
pub(super) enum Changes<'a> {
    /// No base: the whole tree.
    All,
    /// Over a base: these paths; `None` for whiteout files.
    Some(BTreeMap<std::borrow::Cow<'a, [u8]>, Option<u32>>),
}

impl<'a> Changes<'a> {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Some(changes) if changes.is_empty())
    }

    pub(super) fn iter<'b>(&'b self, tree: &'b Tree) -> Box<dyn Iterator<Item = Change<'b>> + 'b>
    where
        'a: 'b,
    {
        match self {
            Self::All => Box::new(tree.iter().map(|(path, number, _)| Change::Write(path, number))),
            Self::Some(changes) => Box::new(changes.iter().map(|(path, number)| match number {
                Some(number) => Change::Write(path, *number),
                None => Change::Whiteout(path),
            })),
        }
    }
}

/// Compares the image with its base. Hard-linked files are written with all their names if one of them changed: a link
/// to a file of a lower layer cannot be unpacked by every engine. Directories on the way to a change are written too,
/// since engines would otherwise make them with modes of their own.
pub(super) fn changes<'a>(tree: &'a Tree, base: &Tree, epoch: i64) -> Changes<'a> {
    if base.is_empty() {
        return Changes::All;
    }
    let mut names: BTreeMap<u32, Vec<&[u8]>> = BTreeMap::new();
    for (path, number, _) in tree.iter() {
        names.entry(number).or_default().push(path);
    }
    let mut taken = HashMap::new();
    let mut changed = BTreeMap::new();
    let mut touched: BTreeSet<Vec<u8>> = BTreeSet::new();
    // By first name, so that which of two equals takes a base file does not depend on the engine's order.
    let mut groups: Vec<_> = names.into_iter().collect();
    groups.sort_by_key(|(_, paths)| paths[0]);
    for (number, paths) in groups {
        let Some((_, inode)) = tree.get(paths[0]) else { continue };
        let kept = base_inode(base, &paths).filter(|(_, old)| same(inode, old, epoch)).map(|(old, _)| old);
        if kept.is_some_and(|old| *taken.entry(old).or_insert(number) == number) {
            continue;
        }
        for path in paths {
            touched.insert(path.to_vec());
            changed.insert(std::borrow::Cow::Borrowed(path), Some(number));
        }
    }
    for (path, ..) in base.iter() {
        let (parent, name) = split(path);
        let parent_stays = parent.is_empty() || tree.get(parent).is_some_and(|(_, to)| to.kind == Kind::Directory);
        if tree.get(path).is_none() && parent_stays {
            let mut whiteout = parent.to_vec();
            if !parent.is_empty() {
                whiteout.push(b'/');
            }
            whiteout.extend_from_slice(b".wh.");
            whiteout.extend_from_slice(name);
            touched.insert(whiteout.clone());
            changed.insert(std::borrow::Cow::Owned(whiteout), None);
        }
    }
    for path in touched {
        let mut parent = split(&path).0;
        while !parent.is_empty() {
            if let Some((own, number)) = tree.iter_at(parent) {
                changed.insert(std::borrow::Cow::Borrowed(own), Some(number));
            }
            parent = split(parent).0;
        }
    }
    Changes::Some(changed)
}

/// The one file of the base that all these paths name.
fn base_inode<'a>(base: &'a Tree, paths: &[&[u8]]) -> Option<(u32, &'a Inode)> {
    let first = base.get(paths[0])?;
    let all = paths[1..].iter().all(|path| base.get(path).is_some_and(|(number, _)| number == first.0));
    all.then_some(first)
}

fn same(new: &Inode, old: &Inode, epoch: i64) -> bool {
    let mtime = |inode: &Inode| clamped(inode, epoch);
    new.kind == old.kind
        && (new.mode, new.uid, new.gid, new.device) == (old.mode, old.uid, old.gid, old.device)
        && new.link == old.link
        && new.xattrs == old.xattrs
        && (new.content.digest, new.content.size) == (old.content.digest, old.content.size)
        && mtime(new) == mtime(old)
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
