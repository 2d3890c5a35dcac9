//! What differs between two images, path by path, and why: for `diff`, and for a build that did not give the same
//! digest twice.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::json::{self, Shape};
use crate::oci::OciError;
use crate::oci::layer::{Kind, shown};
use crate::oci::normalize::{EngineImage, NormalizeError, merged};
use crate::oci::tree::{Inode, Tree};

/// Changes that are listed; all of them are counted.
const LISTED: usize = 1_000;
/// Characters of a config's value that are shown.
const VALUE: usize = 200;

/// How two images differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Paths that only the second image has.
    pub added: u64,
    /// Paths that only the first image has.
    pub removed: u64,
    /// Paths that are something else in the second image.
    pub changed: u64,
    /// The first thousand changes, in the order of their paths.
    pub files: Vec<FileChange>,
    /// The first thousand differences between the image configs.
    pub config: Vec<ConfigChange>,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// The path, escaped and cut.
    pub path: String,
    /// How it differs.
    #[serde(flatten)]
    pub change: Change,
}

/// How a path differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", content = "why", rename_all = "kebab-case")]
pub enum Change {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// Both have it, and these things about it differ: never none.
    Changed(Vec<Why>),
}

/// What differs about a path, from the first image to the second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// What kind of thing it is.
    Kind(String, String),
    /// The bytes; with the sizes.
    Content(u64, u64),
    /// Permissions, octal.
    Mode(String, String),
    /// `uid:gid`
    Owner(String, String),
    /// Modification time, in seconds since 1970.
    Mtime(i64, i64),
    /// Where a symbolic link points.
    Link(String, String),
    /// `major:minor`
    Device(String, String),
    /// The names of the extended attributes that differ.
    Xattrs(Vec<String>),
    /// The first other name of the same file; empty for none.
    HardLink(String, String),
}

/// A value that differs between two image configs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigChange {
    /// Where: `config.Env[2]`.
    pub at: String,
    /// The first image's value as JSON, cut; absent where it has none.
    pub from: Option<String>,
    /// The second image's.
    pub to: Option<String>,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added + self.removed + self.changed == 0 && self.config.is_empty()
    }

    /// For a person: at most `most` paths and `most` settings, a line for each, and how many more paths there are.
    pub fn lines(&self, most: usize) -> Vec<String> {
        let mut lines: Vec<_> = self.files.iter().take(most).map(ToString::to_string).collect();
        let more = (self.added + self.removed + self.changed).saturating_sub(lines.len() as u64);
        if more > 0 {
            lines.push(format!("… and {more} more paths"));
        }
        lines.extend(self.config.iter().take(most).map(ToString::to_string));
        lines
    }
}

/// Compares two images: the file systems that their layers make, and their configs. Every layer is checked against its
/// digest and diff_id. How files are spread over layers, and how layers are compressed, is no difference.
pub fn diff(first: &EngineImage<'_>, second: &EngineImage<'_>) -> Result<Difference, NormalizeError> {
    let mut difference = trees(&merged(first)?, &merged(second)?);
    let (first, second) = (value(first.config)?, value(second.config)?);
    configs("", Some(&first), Some(&second), &mut difference.config);
    Ok(difference)
}

/// Compares two file systems whose contents carry digests.
pub fn trees(first: &Tree, second: &Tree) -> Difference {
    let mut difference = Difference::default();
    let links = (link_names(first), link_names(second));
    let mut olds = first.iter().peekable();
    let mut news = second.iter().peekable();
    loop {
        let (path, change) = match (olds.peek(), news.peek()) {
            (None, None) => return difference,
            (Some((old, ..)), new) if new.is_none_or(|(new, ..)| old < new) => (*old, Change::Removed),
            (old, Some((new, ..))) if old.is_none_or(|(old, ..)| new < old) => (*new, Change::Added),
            (Some((path, old_number, old)), Some((_, new_number, new))) => {
                let mut why = inodes(old, new);
                let other = |links: &HashMap<u32, Vec<&[u8]>>, number| {
                    let names = links.get(number).map_or(&[][..], Vec::as_slice);
                    names.iter().find(|name| *name != path).map(|name| shown(name)).unwrap_or_default()
                };
                let (from, to) = (other(&links.0, old_number), other(&links.1, new_number));
                if from != to {
                    why.push(Why::HardLink(from, to));
                }
                (*path, Change::Changed(why))
            }
            // The arms above cover every pair; without one of them, there is nothing left to compare.
            _ => return difference,
        };
        let known = change != Change::Changed(Vec::new());
        match change {
            Change::Added => difference.added += 1,
            Change::Removed => difference.removed += 1,
            Change::Changed(_) => difference.changed += u64::from(known),
        }
        let (in_old, in_new) = (change != Change::Added, change != Change::Removed);
        if known && difference.files.len() < LISTED {
            difference.files.push(FileChange { path: shown(path), change });
        }
        if in_old {
            olds.next();
        }
        if in_new {
            news.next();
        }
    }
}

/// The first two names of every file that has several.
fn link_names(tree: &Tree) -> HashMap<u32, Vec<&[u8]>> {
    let mut names: HashMap<u32, Vec<&[u8]>> = HashMap::new();
    for (path, number, inode) in tree.iter() {
        if inode.kind != Kind::Directory {
            let names = names.entry(number).or_default();
            if names.len() < 2 {
                names.push(path);
            }
        }
    }
    names.retain(|_, names| names.len() > 1);
    names
}

fn inodes(old: &Inode, new: &Inode) -> Vec<Why> {
    let mut why = Vec::new();
    let mut note = |differs: bool, what: Why| {
        if differs {
            why.push(what);
        }
    };
    let kind = |inode: &Inode| format!("{:?}", inode.kind);
    note(old.kind != new.kind, Why::Kind(kind(old), kind(new)));
    let content = (old.content.size, new.content.size);
    note(content.0 != content.1 || old.content.digest != new.content.digest, Why::Content(content.0, content.1));
    let mode = |inode: &Inode| format!("{:04o}", inode.mode);
    note(old.mode != new.mode, Why::Mode(mode(old), mode(new)));
    let owner = |inode: &Inode| format!("{}:{}", inode.uid, inode.gid);
    note((old.uid, old.gid) != (new.uid, new.gid), Why::Owner(owner(old), owner(new)));
    note(old.mtime != new.mtime, Why::Mtime(old.mtime, new.mtime));
    note(old.link != new.link, Why::Link(shown(&old.link), shown(&new.link)));
    let device = |inode: &Inode| format!("{}:{}", inode.device.0, inode.device.1);
    note(old.device != new.device, Why::Device(device(old), device(new)));
    let names: BTreeMap<_, _> = old.xattrs.iter().chain(&new.xattrs).collect();
    let differs = |name: &&Vec<u8>| old.xattrs.get(*name) != new.xattrs.get(*name);
    let xattrs: Vec<_> = names.into_keys().filter(differs).map(|name| shown(name)).collect();
    note(!xattrs.is_empty(), Why::Xattrs(xattrs));
    why
}

fn value(config: &[u8]) -> Result<Value, OciError> {
    json::scan(config, &Shape { name: "image config", known: &[], opaque: &[] })?;
    serde_json::from_slice(config)
        .map_err(|error| OciError::Malformed { name: "image config", reason: error.to_string() })
}

/// Depth is bounded by the scan.
fn configs(at: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<ConfigChange>) {
    if old == new || changes.len() >= LISTED {
        return;
    }
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let name = shown(key.as_bytes());
                let at = if at.is_empty() { name } else { format!("{at}.{name}") };
                configs(&at, old.get(key), new.get(key), changes);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                configs(&format!("{at}[{index}]"), old.get(index), new.get(index), changes);
            }
        }
        _ => {
            let text = |value: &Value| value.to_string().chars().take(VALUE).collect();
            changes.push(ConfigChange { at: at.to_owned(), from: old.map(text), to: new.map(text) });
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines(LISTED) {
            writeln!(f, "{line}")?;
        }
        write!(f, "{} added, {} removed, {} changed", self.added, self.removed, self.changed)
    }
}

impl fmt::Display for ConfigChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "config {}: {} -> {}", self.at, side(&self.from), side(&self.to))
    }
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::Added => write!(f, "added {}", self.path),
            Change::Removed => write!(f, "removed {}", self.path),
            Change::Changed(why) => {
                let why: Vec<_> = why.iter().map(ToString::to_string).collect();
                write!(f, "changed {}: {}", self.path, why.join(", "))
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(from, to) => write!(f, "{from} -> {to}"),
            Self::Content(from, to) if from == to => write!(f, "other content of {from} bytes"),
            Self::Content(from, to) => write!(f, "content of {from} -> {to} bytes"),
            Self::Mode(from, to) => write!(f, "mode {from} -> {to}"),
            Self::Owner(from, to) => write!(f, "owner {from} -> {to}"),
            Self::Mtime(from, to) => write!(f, "mtime {from} -> {to}"),
            Self::Link(from, to) => write!(f, "link to {from} -> {to}"),
            Self::Device(from, to) => write!(f, "device {from} -> {to}"),
            Self::Xattrs(names) => write!(f, "attributes {}", names.join(" ")),
            Self::HardLink(from, to) => write!(f, "other name {from:?} -> {to:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::layer::samples::{Head, Tar};
    use crate::oci::names;
    use crate::oci::tree::digest_only;

    fn tree(tar: Tar) -> Tree {
        let mut tree = Tree::new();
        tree.apply(names::LAYER_TAR, &tar.end()[..], &mut digest_only).unwrap();
        tree
    }

    fn text(first: Tar, second: Tar) -> String {
        trees(&tree(first), &tree(second)).to_string()
    }

    #[test]
    fn equal_file_systems_do_not_differ() {
        let tar = || Tar::new().dir("a").file("a/b", b"1").hardlink("a/c", "a/b");
        assert!(trees(&tree(tar()), &tree(tar())).is_empty());
        assert!(trees(&Tree::new(), &Tree::new()).is_empty());
        let turned = Tar::new().file("a/c", b"1").hardlink("a/b", "a/c").raw(Head::new("a", b'5', 0), b"");
        assert!(trees(&tree(tar()), &tree(turned)).is_empty(), "the direction of a hard link is no difference");
    }

    #[test]
    fn says_what_differs_and_why() {
        let first = Tar::new().file("a", b"1").file("b", b"2").file("m", b"3").symlink("l", "x").file("k", b"4");
        let second = Tar::new().file("a", b"9").file("c", b"2").symlink("l", "y").dir("k");
        let second = second.pax(&[("SCHILY.xattr.user.x", b"1")]);
        let second = second.raw(Head::new("m", b'0', 1).mode(0o4755).owner(1, 2).mtime(5), b"3");
        assert_eq!(
            text(first, second),
            "\
            changed a: other content of 1 bytes\n\
            removed b\n\
            added c\n\
            changed k: File -> Directory, content of 1 -> 0 bytes, mode 0644 -> 0755\n\
            changed l: link to x -> y\n\
            changed m: mode 0644 -> 4755, owner 0:0 -> 1:2, mtime 1000 -> 5, attributes user.x\n\
            1 added, 1 removed, 4 changed"
        );
        let first = Tar::new().file("a", b"1").hardlink("b", "a");
        let second = Tar::new().file("a", b"1").file("b", b"1");
        let expected = "changed a: other name \"b\" -> \"\"\nchanged b: other name \"a\" -> \"\"";
        assert!(text(first, second).starts_with(expected));
    }

    #[test]
    fn sees_each_path_once_at_either_end() {
        let all = || Tar::new().file("a", b"").file("b", b"").file("c", b"");
        assert_eq!(trees(&tree(all()), &Tree::new()).removed, 3);
        assert_eq!(trees(&Tree::new(), &tree(all())).added, 3);
        let difference = trees(&tree(Tar::new().file("b", b"")), &tree(all()));
        assert_eq!((difference.added, difference.removed, difference.changed), (2, 0, 0));
    }

    #[test]
    fn lists_a_bounded_number_and_counts_all() {
        let many = (0..1500).fold(Tar::new(), |tar, number| tar.file(&format!("f{number:04}"), b""));
        let difference = trees(&Tree::new(), &tree(many));
        assert_eq!((difference.added, difference.files.len()), (1500, LISTED));
        assert!(difference.to_string().contains("… and 500 more paths"));
    }

    #[test]
    fn escapes_names_that_would_steer_a_terminal() {
        let shown = text(Tar::new(), Tar::new().file("\u{1b}]0;x\n", b""));
        assert!(shown.starts_with(r"added \x1b]0;x\n"), "{shown}");
    }

    #[test]
    fn says_where_configs_differ() {
        let (old, new) =
            (br#"{"config":{"Env":["A=1","B=2"],"User":"x"}}"#, br#"{"config":{"Env":["A=1"],"Cmd":["s"]}}"#);
        let mut changes = Vec::new();
        configs("", Some(&value(old).unwrap()), Some(&value(new).unwrap()), &mut changes);
        let lines: Vec<_> =
            changes.iter().map(|change| (change.at.as_str(), change.from.is_some(), change.to.is_some())).collect();
        assert_eq!(lines, [("config.Cmd", false, true), ("config.Env[1]", true, false), ("config.User", true, false)]);
        assert!(value(b"[]").is_err() && value(br#"{"a":1,"a":2}"#).is_err());
    }
}
