//! The drop list and the one content rule of the canonical image (docs/canonical-image.md). A change here is a new
//! [`super::RULES`].

use std::collections::BTreeMap;

use crate::oci::layer::{Kind, shown};
use crate::oci::tree::{Inode, Tree};

/// What of a path a rule looks at.
enum Match {
    /// A regular file at exactly this path.
    File(&'static str),
    /// Everything at this path and below it.
    Tree(&'static str),
    /// Everything below this directory, which itself stays.
    Below(&'static str),
    /// All that is not a directory below this directory, at any depth.
    FilesBelow(&'static str),
    /// Regular files directly in this directory whose name ends so.
    Suffix(&'static str, &'static str),
    /// This path and what is below it, in `root` and in every home directory.
    Home(&'static str),
}

/// Each with the name it has in records and in the documentation.
const DROPPED: &[(&str, Match)] = &[
    // Mounted over by every runtime; engines leave stubs, empty or with the build machine's words.
    ("etc/hosts", Match::File("etc/hosts")),
    ("etc/hostname", Match::File("etc/hostname")),
    ("etc/resolv.conf", Match::File("etc/resolv.conf")),
    ("dev/*", Match::Below("dev")),
    ("proc/*", Match::Below("proc")),
    ("sys/*", Match::Below("sys")),
    (".dockerenv", Match::File(".dockerenv")),
    ("run/.containerenv", Match::File("run/.containerenv")),
    ("run/secrets", Match::Tree("run/secrets")),
    // One for each machine, made anew where it is missing.
    ("etc/machine-id", Match::File("etc/machine-id")),
    ("var/lib/dbus/machine-id", Match::File("var/lib/dbus/machine-id")),
    // What package managers leave behind: caches, indexes, backups, and logs with times in them.
    ("var/cache/apt/**", Match::FilesBelow("var/cache/apt")),
    ("var/lib/apt/lists/**", Match::FilesBelow("var/lib/apt/lists")),
    ("var/lib/dpkg/*-old", Match::Suffix("var/lib/dpkg", "-old")),
    ("var/cache/debconf/*-old", Match::Suffix("var/cache/debconf", "-old")),
    ("etc/*-", Match::Suffix("etc", "-")),
    ("var/cache/ldconfig/aux-cache", Match::File("var/cache/ldconfig/aux-cache")),
    ("var/log/dpkg.log", Match::File("var/log/dpkg.log")),
    ("var/log/alternatives.log", Match::File("var/log/alternatives.log")),
    ("var/log/bootstrap.log", Match::File("var/log/bootstrap.log")),
    ("var/log/apt/**", Match::FilesBelow("var/log/apt")),
    ("~/.npm/_cacache", Match::Home(".npm/_cacache")),
    ("~/.npm/_logs", Match::Home(".npm/_logs")),
    ("~/.npm/_update-notifier-last-checked", Match::Home(".npm/_update-notifier-last-checked")),
];

/// Removes what the list names, and the engines' mount points where they are empty directories. What was removed, as
/// lines for a record: a path, or a rule with the number of paths.
pub(super) fn drop_noise(tree: &mut Tree, mount_points: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut paths = Vec::new();
    for (path, _, inode) in tree.iter() {
        if let Some((name, _)) = DROPPED.iter().find(|(_, rule)| rule.matches(path, inode)) {
            *counts.entry(name).or_default() += 1;
            paths.push(path.to_vec());
        }
    }
    for path in &paths {
        tree.remove(path);
    }
    let line = |(name, count)| if count == 1 { String::from(name) } else { format!("{name} ({count} paths)") };
    let mut dropped: Vec<String> = counts.into_iter().map(line).collect();
    for point in mount_points {
        let point = point.trim_matches('/').as_bytes();
        let empty = |inode: &Inode| inode.kind == Kind::Directory && !tree.has_below(point);
        if tree.get(point).is_some_and(|(_, inode)| empty(inode)) {
            tree.remove(point);
            dropped.push(shown(point));
        }
    }
    dropped
}

impl Match {
    fn matches(&self, path: &[u8], inode: &Inode) -> bool {
        let below = |folder: &str| path.strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
        match self {
            Self::File(file) => inode.kind == Kind::File && path == file.as_bytes(),
            Self::Tree(top) => path == top.as_bytes() || below(top),
            Self::Below(folder) => below(folder),
            Self::FilesBelow(folder) => inode.kind != Kind::Directory && below(folder),
            Self::Suffix(folder, suffix) => {
                let name = path.strip_prefix(folder.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
                inode.kind == Kind::File
                    && name.is_some_and(|name| !name.contains(&b'/') && name.ends_with(suffix.as_bytes()))
            }
            Self::Home(top) => {
                let home = match path.strip_prefix(b"home/") {
                    Some(rest) => rest.iter().position(|byte| *byte == b'/').map(|slash| &rest[slash + 1..]),
                    None => path.strip_prefix(b"root/"),
                };
                let rest = home.and_then(|home| home.strip_prefix(top.as_bytes()));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            }
        }
    }
}

/// Where the password ages are.
pub(super) const SHADOW: &[u8] = b"etc/shadow";
/// Larger than any real one; it is the one file that is held in memory.
pub(super) const SHADOW_LIMIT: u64 = 1 << 20;

/// `etc/shadow` with the day of the last change (field 3, shadow(5)) no later than the epoch's day: `useradd` writes
/// the day of the build there. Other lines, and days before, stay as they are.
pub(super) fn clamp_shadow(content: &[u8], epoch: i64) -> Vec<u8> {
    let epoch_day = epoch.div_euclid(86_400);
    let lines = content.split(|byte| *byte == b'\n').map(|line| {
        let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let day = fields.get(2).and_then(|day| std::str::from_utf8(day).ok()).and_then(|day| day.parse::<i64>().ok());
        let clamped = epoch_day.to_string();
        if fields.len() == 9 && day.is_some_and(|day| day > epoch_day) {
            fields[2] = clamped.as_bytes();
        }
        fields.join(&b':')
    });
    lines.collect::<Vec<_>>().join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamps_the_day_and_nothing_else() {
        let before = b"root:*:20500:0:99999:7:::\nold:!:10:0:99999:7:::\nnone:*::0:99999:7:::\nodd:20500:20500\n";
        let after = b"root:*:20400:0:99999:7:::\nold:!:10:0:99999:7:::\nnone:*::0:99999:7:::\nodd:20500:20500\n";
        assert_eq!(clamp_shadow(before, 20_400 * 86_400 + 5), after);
        assert_eq!(clamp_shadow(after, 20_400 * 86_400 + 5), after);
        assert_eq!(clamp_shadow(b"", 0), b"");
        assert_eq!(clamp_shadow(b"a:b\xff:99999:::::\xfe:", 86_400), b"a:b\xff:1:::::\xfe:");
    }
}
