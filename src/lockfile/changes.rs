//! What a new lock has that an old one has not, as packages and versions: for a person, or for a pull request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Input, Kind, Lock};
use crate::oci::Platform;

/// The differences of two locks of a template, by kind and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(Vec<PackageChange>);

/// What became of one package, on all platforms where the same became of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageChange {
    /// What sort of thing it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What was locked; absent: it is new.
    pub before: Option<Locked>,
    /// What is locked now; absent: it is gone.
    pub after: Option<Locked>,
    /// On which platforms.
    pub platforms: BTreeSet<Platform>,
}

/// A package as it was locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Locked {
    /// Its version.
    pub version: String,
    /// Its licence, where it is known.
    pub licence: Option<String>,
}

impl Changes {
    /// Compares two locks; without an old one everything is new. The same version with another digest is a change, too.
    pub fn between(before: Option<&Lock>, after: &Lock) -> Self {
        type Key<'a> = (Kind, &'a str, Option<&'a Platform>);
        fn all(lock: &Lock) -> BTreeMap<Key<'_>, &Input> {
            fn key(input: &Input) -> Key<'_> {
                (input.kind, &input.name, input.platform.as_ref())
            }
            lock.inputs.iter().map(|input| (key(input), input)).collect()
        }
        let (before, after) = (before.map(all).unwrap_or_default(), all(after));
        let mut found: BTreeMap<_, BTreeSet<Platform>> = BTreeMap::new();
        for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let (old, new) = (before.get(key), after.get(key));
            if old.map(|input| input.digest) == new.map(|input| input.digest) {
                continue;
            }
            let locked = |input: &&Input| Locked { version: input.version.clone(), licence: input.licence.clone() };
            let (kind, name, platform) = *key;
            let platforms = found.entry((kind, name.to_owned(), old.map(locked), new.map(locked))).or_default();
            platforms.extend(platform.cloned());
        }
        let change = |((kind, name, before, after), platforms)| PackageChange { kind, name, before, after, platforms };
        Self(found.into_iter().map(change).collect())
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every change, by kind and name.
    pub fn all(&self) -> &[PackageChange] {
        &self.0
    }

    /// `2 changed, 1 added, 3 removed`
    pub fn count(&self) -> String {
        let of = |before: bool, after: bool| {
            self.0.iter().filter(|one| (one.before.is_some(), one.after.is_some()) == (before, after)).count()
        };
        format!("{} changed, {} added, {} removed", of(true, true), of(false, true), of(true, false))
    }

    /// The changes of this template as a section of Markdown, whatever the names in it are.
    pub fn markdown(&self, template: &str) -> String {
        let mut text = format!("### {}\n\n{}\n", code(template), self.count());
        if self.is_empty() {
            return text;
        }
        text.push_str("\n| package | before | after | licence | platforms |\n|---|---|---|---|---|\n");
        for change in &self.0 {
            let version = |locked: &Option<Locked>| locked.as_ref().map_or("–".to_owned(), |one| code(&one.version));
            let mut after = version(&change.after);
            if change.has_other_bytes() {
                after.push_str(" **(the same version with other bytes)**");
            }
            let licence = match change.licences() {
                (None, None) => String::new(),
                (Some(old), Some(new)) if old != new => format!("{} → {}", code(old), code(new)),
                (Some(one), _) | (None, Some(one)) => code(one),
            };
            let platforms: Vec<_> = change.platforms.iter().map(|platform| code(&platform.to_string())).collect();
            let (kind, name, before) = (change.kind.as_str(), code(&change.name), version(&change.before));
            text.push_str(&format!("| {kind} {name} | {before} | {after} | {licence} | {} |\n", platforms.join(", ")));
        }
        text
    }
}

impl PackageChange {
    /// Whether a version was replaced without getting another number.
    pub fn has_other_bytes(&self) -> bool {
        let version = |locked: &Option<Locked>| locked.as_ref().map(|one| one.version.clone());
        self.before.is_some() && version(&self.before) == version(&self.after)
    }

    fn licences(&self) -> (Option<&str>, Option<&str>) {
        (
            self.before.as_ref().and_then(|one| one.licence.as_deref()),
            self.after.as_ref().and_then(|one| one.licence.as_deref()),
        )
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.0 {
            let (mark, versions) = match (&change.before, &change.after) {
                (None, Some(new)) => ('+', new.version.clone()),
                (Some(old), None) => ('-', old.version.clone()),
                (Some(_), Some(new)) if change.has_other_bytes() => {
                    ('!', format!("{} (the same version with other bytes)", new.version))
                }
                (Some(old), Some(new)) => ('~', format!("{} -> {}", old.version, new.version)),
                (None, None) => continue,
            };
            let licence = match change.licences() {
                (Some(old), Some(new)) if old != new => format!(", licence {old} -> {new}"),
                (_, Some(new)) => format!(", licence {new}"),
                _ => String::new(),
            };
            let platforms: Vec<_> = change.platforms.iter().map(ToString::to_string).collect();
            let (kind, name) = (change.kind.as_str(), &change.name);
            writeln!(f, "  {mark} {kind} {name} {versions} ({}{licence})", platforms.join(", "))?;
        }
        Ok(())
    }
}

/// A code span: nothing in it is a link, a mention, a tag or the end of a table's cell.
fn code(text: &str) -> String {
    let clean = |c: char| match c {
        '`' => '\'',
        c if c.is_control() => ' ',
        c => c,
    };
    format!("`{}`", text.chars().map(clean).collect::<String>().replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Digest;

    fn lock() -> Lock {
        Lock::parse(include_bytes!("../../testdata/lockfile/every-kind.lock")).unwrap()
    }

    #[test]
    fn the_same_lock_changes_nothing() {
        let changes = Changes::between(Some(&lock()), &lock());
        assert!(changes.is_empty());
        assert_eq!((changes.to_string(), changes.count().as_str()), (String::new(), "0 changed, 0 added, 0 removed"));
    }

    #[test]
    fn says_what_was_added_removed_and_changed_on_which_platforms() {
        let (before, mut after) = (lock(), lock());
        after.inputs.retain(|input| input.name != "git");
        for input in &mut after.inputs {
            let more = match input.name.as_str() {
                "six" => "1.18.0",
                "@s/agent" => "1.0.0-linux-arm64",
                "tool.tar.gz" => {
                    input.name = "|`<b>`@team".to_owned();
                    "3"
                }
                _ => continue,
            };
            input.version = more.to_owned();
            input.digest = Digest::of(b"other");
        }
        after.inputs.iter_mut().filter(|input| input.name == "@s/agent").for_each(|one| one.licence = Some("X".into()));
        let changes = Changes::between(Some(&before), &after);
        let expected = [
            "  - deb git 1:2.47.3-0+deb13u1 (linux/amd64)",
            "  ! npm @s/agent 1.0.0-linux-arm64 (the same version with other bytes) (linux/arm64, licence MIT -> X)",
            "  ~ wheel six 1.17.0 -> 1.18.0 (linux/amd64, linux/arm64)",
            "  - file tool.tar.gz 2.0 (linux/amd64)",
            "  + file |`<b>`@team 3 (linux/amd64, licence Apache-2.0 OR MIT)",
        ];
        assert_eq!(changes.to_string().lines().collect::<Vec<_>>(), expected);
        assert_eq!(changes.count(), "2 changed, 1 added, 2 removed");
    }

    #[test]
    fn markdown_keeps_names_from_being_read_as_markup() {
        let mut after = lock();
        for input in &mut after.inputs {
            input.digest = Digest::of(b"other");
            if input.kind == Kind::File {
                input.name = "|`<b>`@team".to_owned();
            }
        }
        let text = Changes::between(Some(&lock()), &after).markdown("x");
        assert!(text.contains("| file `\\|'<b>'@team` | – | `2.0` | `Apache-2.0 OR MIT` | `linux/amd64` |"), "{text}");
        assert!(
            text.contains("| npm `@s/agent-x64` | `1.0.0` | `1.0.0` **(the same version with other bytes)** | `MIT` |")
        );
        let new = Changes::between(None, &lock()).markdown("x");
        assert!(new.contains("| wheel `six` | – | `1.17.0` |  | `linux/amd64`, `linux/arm64` |"), "{new}");
    }
}
