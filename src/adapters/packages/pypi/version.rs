//! Versions of Python projects (PEP 440), as far as releases go: numbers, and `.post`. Anything else is no release, and
//! is taken only by its exact name.

use std::cmp::Ordering;

/// A release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    numbers: Vec<u64>,
    post: Option<u64>,
}

impl Version {
    /// `1.2.3`, `1.2.post1`; nothing for whatever comes before a release.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (numbers, post) = match text.split_once(".post") {
            Some((numbers, post)) => (numbers, Some(number(post)?)),
            None => (text, None),
        };
        let numbers: Option<Vec<_>> = numbers.split('.').map(number).collect();
        Some(Self { numbers: numbers?, post })
    }

    /// The newest patch of an interpreter.
    pub(super) fn python((major, minor): (u32, u32)) -> Self {
        Self { numbers: vec![major.into(), minor.into(), 999], post: None }
    }

    fn starts_with(&self, prefix: &[u64]) -> bool {
        prefix.iter().enumerate().all(|(index, number)| self.numbers.get(index).copied().unwrap_or(0) == *number)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let length = self.numbers.len().max(other.numbers.len());
        let at = |version: &Self, index: usize| version.numbers.get(index).copied().unwrap_or(0);
        let numbers = (0..length).map(|index| at(self, index).cmp(&at(other, index))).find(|order| order.is_ne());
        numbers.unwrap_or(Ordering::Equal).then(self.post.cmp(&other.post))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Conditions that all have to hold: `>=1.16, <2`.
#[derive(Debug)]
pub(super) struct Specifiers(Vec<Specifier>);

#[derive(Debug)]
enum Specifier {
    Compare(&'static str, Version),
    Begins(bool, Vec<u64>),
}

impl Specifiers {
    /// `*` and nothing at all are every release. Nothing if one of them is not understood.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts = text.split(',').map(str::trim).filter(|part| !matches!(*part, "" | "*"));
        parts.map(Specifier::parse).collect::<Option<Vec<_>>>().map(|parts| Self(parts.into_iter().flatten().collect()))
    }

    pub(super) fn match_version(&self, version: &Version) -> bool {
        self.0.iter().all(|one| one.matches(version))
    }
}

impl Specifier {
    fn parse(text: &str) -> Option<Vec<Self>> {
        let operator = ["===", "~=", "==", "!=", ">=", "<=", ">", "<"].into_iter().find(|op| text.starts_with(op))?;
        let rest = text[operator.len()..].trim();
        if let Some(prefix) = rest.strip_suffix(".*") {
            let numbers = Version::parse(prefix).filter(|version| version.post.is_none())?.numbers;
            return match operator {
                "==" => Some(vec![Self::Begins(true, numbers)]),
                "!=" => Some(vec![Self::Begins(false, numbers)]),
                _ => None,
            };
        }
        let version = Version::parse(rest)?;
        if operator == "~=" {
            let prefix = version.numbers.len().checked_sub(1).filter(|length| *length > 0)?;
            let begins = Self::Begins(true, version.numbers[..prefix].to_vec());
            return Some(vec![Self::Compare(">=", version), begins]);
        }
        Some(vec![Self::Compare(operator, version)])
    }

    fn matches(&self, version: &Version) -> bool {
        match self {
            Self::Begins(wanted, prefix) => version.starts_with(prefix) == *wanted,
            Self::Compare(operator, other) => match *operator {
                ">=" => version >= other,
                "<=" => version <= other,
                ">" => version > other,
                "<" => version < other,
                "!=" => version != other && version.cmp(other).is_ne(),
                _ => version.cmp(other).is_eq(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_releases() {
        let sorted = ["1", "1.0.1", "1.2", "1.2.post1", "1.10", "2.0"];
        for pair in sorted.windows(2) {
            assert!(Version::parse(pair[0]) < Version::parse(pair[1]), "{pair:?}");
        }
        assert_eq!(Version::parse("1").unwrap().cmp(&Version::parse("1.0.0").unwrap()), Ordering::Equal);
        for none in ["", "1.0rc1", "1.0.dev0", "1!2.0", "1.0+local", "v1", "1..2", "-1"] {
            assert_eq!(Version::parse(none), None, "{none}");
        }
    }

    #[test]
    fn specifiers_hold_together() {
        for (text, version, holds) in [
            (">=1.16,<2", "1.17.0", true),
            (">=1.16,<2", "2.0", false),
            ("==1.2.*", "1.2.9", true),
            ("==1.2.*", "1.20", false),
            ("!=1.2.*", "1.2", false),
            ("~=1.4.2", "1.4.9", true),
            ("~=1.4.2", "1.5", false),
            ("==1.0", "1.0.0", true),
            ("!=1.0", "1.0.0", false),
            ("*", "7", true),
            ("", "7", true),
            (">=3.9, !=3.9.7", "3.13", true),
        ] {
            let specifiers = Specifiers::parse(text).unwrap();
            assert_eq!(specifiers.match_version(&Version::parse(version).unwrap()), holds, "{text} {version}");
        }
        for bad in ["1.0", "^1", "~=1", ">=x", ">=1.*", "=1.0"] {
            assert!(Specifiers::parse(bad).is_none(), "{bad}");
        }
    }
}
