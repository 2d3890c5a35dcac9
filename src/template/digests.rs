//! `template.digests`: what a template and its lock come to, for each platform: the digest that everybody's build has.
//!
//! It stands beside the lock and is written by `bulla build --record`. Like a lock it has one canonical spelling. It is
//! no part of what the template's own digest covers, as it says what follows from that.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use crate::content::{Digest, parse_toml};
use crate::oci::Platform;

/// The name of the file, beside `template.toml`.
pub const FILE_NAME: &str = "template.digests";

const HEADER: &str = "# Written by `bulla build --record`. What the lock comes to, whoever builds it.\n";
/// Platforms of one template: there are fewer than ten that Debian has packages for.
const MAX_IMAGES: usize = 32;

/// The digests of a template's images, as they were recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Digest of the lock that they are for.
    pub lock: Digest,
    /// Version of the rules for canonical images that they are for.
    pub rules: String,
    /// Digests of the images' manifests.
    pub images: BTreeMap<Platform, Digest>,
}

impl Digests {
    /// Reads the file, or says what is wrong with it. Anything but what [`Digests::write`] writes is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let wire: Wire = parse_toml(text).map_err(|error| error.to_string())?;
        if wire.version != 1 {
            return Err(format!("version is {}, and this program knows version 1: use a newer bulla", wire.version));
        }
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
        if !(1..=16).contains(&wire.rules.len()) || !wire.rules.bytes().all(word) || wire.image.len() > MAX_IMAGES {
            return Err("its rules are not a version, or it has too many images".to_owned());
        }
        let image = |image: WireImage| -> Result<_, String> {
            Ok((image.platform.parse().map_err(|error| format!("{error}"))?, image.digest))
        };
        let images = wire.image.into_iter().map(image).collect::<Result<_, _>>()?;
        let digests = Self { lock: wire.lock, rules: wire.rules, images };
        if digests.write() != text {
            return Err("it is not in its canonical form: delete it and run `bulla build --record`".to_owned());
        }
        Ok(digests)
    }

    /// The canonical bytes.
    pub fn write(&self) -> String {
        let mut text = format!("{HEADER}version = 1\nlock = \"{}\"\nrules = \"{}\"\n", self.lock, self.rules);
        for (platform, digest) in &self.images {
            let _ = write!(text, "\n[[image]]\nplatform = \"{platform}\"\ndigest = \"{digest}\"\n");
        }
        text
    }

    /// The digest that an image of this lock, made by these rules, has on this platform, if it was recorded.
    pub fn expected(&self, lock: &Digest, rules: &str, platform: &Platform) -> Option<Digest> {
        let same = self.lock == *lock && self.rules == rules;
        self.images.iter().find(|(known, _)| same && platform.matches(known)).map(|(_, digest)| *digest)
    }

    /// The same with one more image: those of another lock, or of other rules, are forgotten.
    #[must_use]
    pub fn with(before: Option<Self>, lock: Digest, rules: &str, platform: &Platform, digest: Digest) -> Self {
        let kept = before.filter(|before| before.lock == lock && before.rules == rules);
        let mut images = kept.map(|before| before.images).unwrap_or_default();
        images.retain(|known, _| !platform.matches(known));
        images.insert(platform.clone(), digest);
        Self { lock, rules: rules.to_owned(), images }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: i64,
    lock: Digest,
    rules: String,
    #[serde(default)]
    image: Vec<WireImage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireImage {
    platform: String,
    digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn keeps_what_is_of_the_same_lock_and_rules() {
        let (lock, other) = (Digest::of(b"lock"), Digest::of(b"other"));
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let amd64 = Digests::with(None, lock, "1", &platform("linux/amd64"), one);
        let both = Digests::with(Some(amd64.clone()), lock, "1", &platform("linux/arm64"), two);
        assert_eq!(Digests::parse(both.write().as_bytes()), Ok(both.clone()));
        assert_eq!(both.expected(&lock, "1", &platform("linux/amd64")), Some(one));
        assert_eq!(both.expected(&lock, "1", &platform("linux/arm64/v8")), Some(two));
        for (lock, rules, wanted) in [(other, "1", "linux/amd64"), (lock, "2", "linux/amd64"), (lock, "1", "linux/386")]
        {
            assert_eq!(both.expected(&lock, rules, &platform(wanted)), None);
        }
        assert_eq!(Digests::with(Some(both.clone()), other, "1", &platform("linux/arm64"), two).images.len(), 1);
        assert_eq!(Digests::with(Some(both), lock, "2", &platform("linux/arm64"), two).images.len(), 1);
    }

    #[test]
    fn refuses_every_other_spelling() {
        let good = Digests::with(None, Digest::of(b"lock"), "1", &platform("linux/amd64"), Digest::of(b"1")).write();
        assert!(Digests::parse(good.as_bytes()).is_ok());
        for (before, after) in [
            ("version = 1", "version = 2"),
            ("version = 1", "version=1"),
            ("version = 1\n", ""),
            ("rules = \"1\"", "rules = \"\""),
            ("rules = \"1\"", "rules = \"1\"\nextra = 1"),
            ("linux/amd64", "linux"),
            ("[[image]]", "[[images]]"),
            (HEADER, ""),
        ] {
            let text = good.replacen(before, after, 1);
            assert_ne!(text, good);
            assert!(Digests::parse(text.as_bytes()).is_err(), "{after}");
        }
        let twice = format!("{good}{}", &good[good.find("\n[[image]]").unwrap()..]);
        assert!(Digests::parse(twice.as_bytes()).is_err());
        assert!(Digests::parse(b"\xff").is_err());
    }
}
