//! Reading what apt and the archives say: Release files, and the lines of `apt-get --print-uris`.

use jiff::Timestamp;

use crate::adapters::sources::Mirror;
use crate::content::Digest;
use crate::lockfile::{Input, Kind};
use crate::oci::Platform;

/// The text that the signature covers. apt refused anything around it.
pub(super) fn signed_part(text: &str) -> &str {
    let Some(rest) = text.strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----") else { return text };
    let body = rest.split_once("\n\n").map_or("", |(_, body)| body);
    body.split_once("\n-----BEGIN PGP SIGNATURE-----").map_or("", |(body, _)| body)
}

/// A date of a Release file: `Sat, 12 Sep 2026 07:55:41 UTC`.
pub(super) fn date(text: &str, field: &str) -> Option<Timestamp> {
    let value = signed_part(text).lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let utc = value.trim().strip_suffix(" UTC").or_else(|| value.trim().strip_suffix(" GMT"))?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(format!("{utc} +0000")).ok()
}

/// One line of `apt-get --print-uris`: `'address' name_version_architecture.deb size SHA256:hex`.
pub(super) fn package(line: &str, mirrors: &[(&str, &Mirror)], platform: &Platform, distro: &str) -> Option<Input> {
    let (address, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let address = unescape(address)?;
    let (archive, path) = mirrors.iter().find_map(|(archive, mirror)| {
        let root = unescape(mirror.address())?;
        Some(((*archive).to_owned(), address.strip_prefix(&root)?.strip_prefix('/')?.to_owned()))
    })?;
    let words: Vec<_> = rest.split(' ').collect();
    let [file, size, hash] = words[..] else { return None };
    let parts: Vec<_> = file.strip_suffix(".deb")?.split('_').collect();
    let [name, version, architecture] = parts[..] else { return None };
    Some(Input {
        kind: Kind::Deb,
        platform: Some(platform.clone()),
        name: name.to_owned(),
        version: unescape(version)?,
        architecture: Some(architecture.to_owned()),
        archive,
        path,
        file: None,
        size: size.parse().ok()?,
        digest: Digest::from_hex(hash.strip_prefix("SHA256:")?).ok()?,
        integrity: None,
        licence: None,
        distro: Some(distro.to_owned()),
    })
}

/// Percent-escapes undone.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let hex = std::str::from_utf8(rest.get(..2)?).ok().filter(|hex| !hex.starts_with('+'))?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Input> {
        let plain = Mirror::parse("http://one.test/debian").unwrap();
        let security = Mirror::parse("http://one.test/debian-security").unwrap();
        let mirrors = [("debian", &plain), ("debian-security", &security)];
        package(line, &mirrors, &"linux/amd64".parse().unwrap(), "trixie")
    }

    const HASH: &str = "SHA256:967aa62605721081c3eb2a17650611a792aa802d76a6511d1840242623d204c9";

    #[test]
    fn reads_what_apt_prints() {
        let path = "pool/main/g/git/git_2.47.3-0%2bdeb13u1_amd64.deb";
        let file = "git_1%3a2.47.3-0+deb13u1_amd64.deb";
        let git = parse(&format!("'http://one.test/debian-security/{path}' {file} 8861568 {HASH}")).unwrap();
        assert_eq!((git.archive.as_str(), git.name.as_str()), ("debian-security", "git"));
        assert_eq!(git.version, "1:2.47.3-0+deb13u1");
        assert_eq!(git.path, "pool/main/g/git/git_2.47.3-0+deb13u1_amd64.deb");
        assert_eq!((git.architecture.as_deref(), git.size), (Some("amd64"), 8_861_568));
    }

    #[test]
    fn refuses_lines_that_say_less_or_something_else() {
        for line in [
            "",
            "'",
            "'http://one.test/debian/pool/a_1_all.deb'",
            "'http://one.test/debian/pool/a_1_all.deb' a_1_all.deb 1",
            "'http://one.test/debian/pool/a_1_all.deb' a_1_all.deb 1 ",
            "'http://one.test/debian/pool/a_1_all.deb' a_1_all.deb 1 MD5Sum:d41d8cd98f00b204e9800998ecf8427e",
            &format!("'http://two.test/debian/pool/a_1_all.deb' a_1_all.deb 1 {HASH}"),
            &format!("'http://one.test/debianx/pool/a_1_all.deb' a_1_all.deb 1 {HASH}"),
            &format!("'http://one.test/debian/pool/a_1_all.deb' a_1_all.deb -1 {HASH}"),
            &format!("'http://one.test/debian/pool/a_1_all.deb' a_1.deb 1 {HASH}"),
            &format!("'http://one.test/debian/pool/%zz_1_all.deb' a_1_all.deb 1 {HASH}"),
            &format!("'http://one.test/debian/pool/a_1_all.deb' a_1_all.deb 1 {HASH} more"),
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn reads_dates_only_where_the_signature_covers_them() {
        let signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\nDate: Mon, 01 Jan 2001 00:00:00 UTC\n\n\
                      Origin: Debian\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n-----BEGIN PGP SIGNATURE-----\n\n\
                      Valid-Until: Sat, 12 Sep 2099 07:55:41 UTC\n";
        let parsed = date(signed, "Date").unwrap();
        assert_eq!(parsed.to_string(), "2026-09-12T07:55:41Z");
        assert_eq!(date(signed, "Valid-Until"), None);
        for bad in ["", "Date: yesterday", "Date: Sat, 12 Sep 2026 07:55:41", "Date: Sat, 31 Feb 2026 07:55:41 UTC"] {
            assert_eq!(date(bad, "Date"), None, "{bad}");
        }
    }
}
