//! Python packages: `*.dist-info/METADATA` (PEP 566, PEP 639) and `*.egg-info/PKG-INFO`.

use super::{Kind, Package, licence, limits, purl};

/// The folder's own name without its suffix, where `path` is a folder of installed metadata.
pub(super) fn folder<'a>(path: &'a str, suffix: &str) -> Option<&'a str> {
    path.rsplit('/').next()?.strip_suffix(suffix).filter(|name| !name.is_empty())
}

/// The package. Where the metadata has no name that could be true, the folder's (`name-version`) is used.
pub(super) fn package(path: &str, folder: &str, content: &[u8]) -> Package {
    let headers = Headers::read(content);
    let (folder_name, folder_version) = match folder.split_once('-') {
        Some((name, rest)) => (name, rest.split('-').next()),
        None => (folder, None),
    };
    let (name, version) = match headers.name.filter(|name| is_word(name)) {
        Some(name) => (name, headers.version.filter(|version| is_word(version))),
        None => (folder_name.to_owned(), folder_version.filter(|version| is_word(version)).map(str::to_owned)),
    };
    Package {
        kind: Kind::Python,
        purl: purl::language("pypi", None, &pypi_name(&name), version.as_deref()),
        name,
        version,
        architecture: None,
        licence: headers.expression.or(headers.licence).as_deref().and_then(licence::declared),
        source: None,
        found_in: path.to_owned(),
    }
}

#[derive(Default)]
struct Headers {
    name: Option<String>,
    version: Option<String>,
    expression: Option<String>,
    licence: Option<String>,
}

impl Headers {
    /// The first of each header; a `License` that goes on over more lines is a text and no name.
    fn read(content: &[u8]) -> Self {
        let text = String::from_utf8_lossy(content);
        let mut headers = Self::default();
        let mut in_licence = false;
        for line in text.lines().take_while(|line| !line.is_empty()) {
            if line.starts_with([' ', '\t']) {
                if in_licence {
                    headers.licence = None;
                }
                continue;
            }
            let Some((key, value)) = line.split_once(':') else { continue };
            let slot = match key.to_ascii_lowercase().as_str() {
                "name" => &mut headers.name,
                "version" => &mut headers.version,
                "license-expression" => &mut headers.expression,
                "license" => &mut headers.licence,
                _ => {
                    in_licence = false;
                    continue;
                }
            };
            in_licence = key.eq_ignore_ascii_case("license");
            if slot.is_none() {
                *slot = Some(value.trim().to_owned());
            }
        }
        headers
    }
}

/// PEP 503: lower case, and one dash for every run of dashes, dots and underscores.
pub(crate) fn pypi_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        if !matches!(character, '-' | '_' | '.') {
            normal.push(character.to_ascii_lowercase());
        } else if !normal.ends_with('-') {
            normal.push('-');
        }
    }
    normal
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= limits::FIELD && text.chars().all(|c| c.is_ascii_graphic() && c != '/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_headers_and_normalises_the_name() {
        let text = b"Metadata-Version: 2.4\nName: Ruamel.YAML_clib\nVersion: 0.2.8\nLicense-Expression: MIT\nLicense: x\n\nName: body\n";
        let found = package("p", "x-1", text);
        assert_eq!(found.purl, "pkg:pypi/ruamel-yaml-clib@0.2.8");
        assert_eq!(found.licence.as_deref(), Some("MIT"));
    }

    #[test]
    fn takes_no_licence_from_a_text() {
        let found = package("p", "x-1", b"Name: a\nVersion: 1\nLicense: Copyright (c) me\n All rights\n\n");
        assert_eq!(found.licence, None);
    }

    #[test]
    fn lists_by_its_folder_what_cannot_be_read() {
        assert_eq!(folder("usr/lib/python3/dist-packages/six-1.16.0.egg-info", ".egg-info"), Some("six-1.16.0"));
        for bad in [&b""[..], b"\xff\xfe", b"Name:\n", b"Name: a b\nVersion: 9\n", b"Name: a\x00\n"] {
            assert_eq!(package("p", "six-1.16.0-py3", bad).purl, "pkg:pypi/six@1.16.0", "{bad:?}");
        }
        assert_eq!(package("p", ".dist", b"").purl, "pkg:pypi/-dist");
    }
}
