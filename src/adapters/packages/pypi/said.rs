//! Reading what Python indexes say: pages of a project's files, and what the names of wheels mean.

use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use crate::content::Digest;
use crate::json::{self, Shape};
use crate::lockfile::{is_file_name, is_version};
use crate::oci::Platform;
use crate::sbom;

const SHAPE: Shape = Shape { name: "index's document", known: &[], opaque: &[] };
/// Files of one project: those with the most have 30,000.
const MAX_LINKS: usize = 200_000;
/// glibc's minor version that a wheel may ask for: what the oldest Debian that has security support brings.
const GLIBC: u32 = 36;

/// One file of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::adapters) struct Link {
    /// Its name.
    pub(in crate::adapters) file: String,
    /// Where it is.
    pub(in crate::adapters) url: Url,
    /// Its SHA-256, where the index says one.
    pub(in crate::adapters) digest: Option<Digest>,
    /// Its size, where the index says one.
    pub(super) size: Option<u64>,
    /// The interpreters that it is for.
    pub(super) requires_python: Option<String>,
    /// Whether it was withdrawn.
    pub(super) yanked: bool,
}

/// The files of a page, as JSON or as HTML. `base` is the page's own address.
pub(in crate::adapters) fn links(bytes: &[u8], media_type: &str, base: &Url) -> Result<Vec<Link>, String> {
    let found = match media_type {
        "application/vnd.pypi.simple.v1+json" => of_json(bytes, base)?,
        "application/vnd.pypi.simple.v1+html" | "text/html" => of_html(bytes, base)?,
        other => return Err(format!("it came as {:?}", other.chars().take(100).collect::<String>())),
    };
    Ok(found)
}

#[derive(Deserialize)]
struct WirePage {
    meta: WireMeta,
    files: Vec<WireFile>,
}

#[derive(Deserialize)]
struct WireMeta {
    #[serde(rename = "api-version")]
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WireFile {
    filename: String,
    url: String,
    hashes: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    requires_python: Option<String>,
    #[serde(default)]
    yanked: Value,
}

fn of_json(bytes: &[u8], base: &Url) -> Result<Vec<Link>, String> {
    json::scan(bytes, &SHAPE).map_err(|error| error.to_string())?;
    let page: WirePage = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if !page.meta.version.starts_with("1.") {
        return Err("it is of a version of the API that is not known".to_owned());
    }
    let link = |file: WireFile| {
        let digest = file.hashes.get("sha256").and_then(|hex| Digest::from_hex(hex).ok());
        let yanked = !matches!(file.yanked, Value::Null | Value::Bool(false));
        link(file.filename, &file.url, base, digest, yanked).map(|link| Link {
            size: file.size,
            requires_python: file.requires_python,
            ..link
        })
    };
    Ok(page.files.into_iter().take(MAX_LINKS).filter_map(link).collect())
}

/// PEP 503: every `<a>` is a file, and its text the file's name.
fn of_html(bytes: &[u8], base: &Url) -> Result<Vec<Link>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("<a") {
        rest = &rest[start + 2..];
        if !rest.starts_with(|next: char| next.is_ascii_whitespace()) {
            continue;
        }
        let (tag, after) = tag_end(rest).ok_or("a tag does not end")?;
        let (inner, after) = after.split_once("</a").ok_or("a link does not end")?;
        rest = after;
        if found.len() == MAX_LINKS {
            break;
        }
        let attributes = attributes(tag);
        let attribute = |name: &str| attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let Some(href) = attribute("href") else { continue };
        let (address, fragment) = href.split_once('#').unwrap_or((&href, ""));
        let digest = fragment.strip_prefix("sha256=").and_then(|hex| Digest::from_hex(hex).ok());
        let yanked = attributes.iter().any(|(key, _)| key == "data-yanked");
        if let Some(link) = link(unescape(inner.trim()), address, base, digest, yanked) {
            found.push(Link { requires_python: attribute("data-requires-python"), ..link });
        }
    }
    Ok(found)
}

/// A file whose name and address are such; others cannot be locked and are passed over.
fn link(file: String, address: &str, base: &Url, digest: Option<Digest>, yanked: bool) -> Option<Link> {
    let mut url = base.join(address).ok().filter(|_| is_file_name(&file))?;
    let downgraded = base.scheme() == "https" && url.scheme() != "https";
    if downgraded || !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let same_place = (url.host_str(), url.port_or_known_default()) == (base.host_str(), base.port_or_known_default());
    if same_place && url.username().is_empty() {
        // The index's own credentials, for the index's own files alone.
        let _ = url.set_username(base.username()).and_then(|()| url.set_password(base.password()));
    }
    url.set_fragment(None);
    Some(Link { file, url, digest, size: None, requires_python: None, yanked })
}

/// The inside of a tag, and what follows it. A `>` in quotes does not end it.
fn tag_end(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return Some((&text[..at], &text[at + 1..])),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

/// Attributes with their values unescaped; those without a value have an empty one.
fn attributes(tag: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = tag.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '=').unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = String::new();
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start();
            let quoted = ['"', '\''].into_iter().find_map(|quote| after.strip_prefix(quote)?.split_once(quote));
            let plain = || after.split_at(after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len()));
            let (inside, after) = quoted.unwrap_or_else(plain);
            value = unescape(inside);
            rest = after.trim_start();
        } else if end == 0 {
            break;
        }
        if !name.is_empty() {
            found.push((name, value));
        }
    }
    found
}

fn unescape(text: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&#x27;", "'")];
    named.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)).replace("&amp;", "&")
}

/// What the name of a wheel says (PEP 427).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wheel {
    /// The project, normalised.
    pub(super) project: String,
    /// The version.
    pub(super) version: String,
    pythons: Vec<String>,
    abis: Vec<String>,
    platforms: Vec<String>,
}

impl Wheel {
    /// `name-version[-build]-python-abi-platform.whl`
    pub(super) fn parse(file: &str) -> Option<Self> {
        let parts: Vec<_> = file.strip_suffix(".whl")?.split('-').collect();
        let (name, version, tags) = match parts[..] {
            [name, version, ref tags @ ..] if tags.len() == 3 => (name, version, tags),
            [name, version, build, ref tags @ ..]
                if tags.len() == 3 && build.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                (name, version, tags)
            }
            _ => return None,
        };
        let words = |tag: &str| tag.split('.').map(str::to_owned).collect();
        is_version(version).then(|| Self {
            project: sbom::pypi_name(name),
            version: version.to_owned(),
            pythons: words(tags[0]),
            abis: words(tags[1]),
            platforms: words(tags[2]),
        })
    }

    /// How well it fits; nothing if it does not. Higher is better: an extension for this very interpreter first, then
    /// one for any later interpreter, then plain Python.
    pub(super) fn rank(&self, (major, minor): (u32, u32), platform: &Platform) -> Option<(u32, u32)> {
        let own = format!("cp{major}{minor}");
        let no_later = |tag: &str, prefix: &str| {
            let number = tag.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(&major.to_string()));
            number.is_some_and(|rest| rest.is_empty() || rest.parse().is_ok_and(|least: u32| least <= minor))
        };
        let abi = |wanted: &str| self.abis.iter().any(|abi| abi == wanted);
        let interpreter = if self.pythons.contains(&own) && abi(&own) {
            4
        } else if abi("abi3") && self.pythons.iter().any(|tag| no_later(tag, "cp")) {
            3
        } else if abi("none") && self.pythons.contains(&own) {
            2
        } else if abi("none") && self.pythons.iter().any(|tag| no_later(tag, "py")) {
            1
        } else {
            return None;
        };
        let system = self.platforms.iter().filter_map(|tag| system(tag, platform)).max()?;
        Some((interpreter, system))
    }
}

/// glibc's minor version that a platform tag asks for, plus one; 0 for `any`. Nothing if it is of another platform.
fn system(tag: &str, platform: &Platform) -> Option<u32> {
    if tag == "any" {
        return Some(0);
    }
    let machine = match (platform.architecture.as_str(), platform.variant.as_deref()) {
        ("amd64", _) => "x86_64",
        ("arm64", _) => "aarch64",
        ("arm", _) => "armv7l",
        ("386", _) => "i686",
        (other, _) => other,
    };
    let version = tag.strip_suffix(machine)?.strip_suffix('_')?;
    let minor = match version {
        "manylinux1" => 5,
        "manylinux2010" => 12,
        "manylinux2014" => 17,
        other => other.strip_prefix("manylinux_2_")?.parse().ok()?,
    };
    (minor <= GLIBC).then_some(minor + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "967aa62605721081c3eb2a17650611a792aa802d76a6511d1840242623d204c9";

    fn html(page: &str) -> Vec<Link> {
        let base = Url::parse("https://me:secret@index.test/simple/a/").unwrap();
        links(page.as_bytes(), "text/html", &base).unwrap()
    }

    #[test]
    fn reads_both_forms_of_a_page() {
        let page = format!(
            "<!DOCTYPE html><a href=\"../../f/a-1.0-py3-none-any.whl#sha256={HEX}\" data-requires-python=\"&gt;=3.9\" \
             data-yanked=\"no > good\">a-1.0-py3-none-any.whl</a>\n<abbr>x</abbr><a\nhref='https://cdn.test/b.whl'>b.whl</a>"
        );
        let found = html(&page);
        assert_eq!(found[0].url.as_str(), "https://me:secret@index.test/f/a-1.0-py3-none-any.whl");
        assert_eq!(found[0].digest.unwrap().hex(), HEX);
        assert_eq!((found[0].requires_python.as_deref(), found[0].yanked), (Some(">=3.9"), true));
        assert_eq!(found[1].url.as_str(), "https://cdn.test/b.whl");
        let json = format!(
            r#"{{"meta":{{"api-version":"1.1"}},"files":[{{"filename":"a.whl","url":"/f/a.whl","size":7,
               "hashes":{{"sha256":"{HEX}"}},"requires-python":">=3.9","yanked":false}}]}}"#
        );
        let base = Url::parse("https://index.test/simple/a/").unwrap();
        let found = links(json.as_bytes(), "application/vnd.pypi.simple.v1+json", &base).unwrap();
        assert_eq!((found[0].size, found[0].yanked), (Some(7), false));
        assert!(links(json.replace("1.1", "2.0").as_bytes(), "application/vnd.pypi.simple.v1+json", &base).is_err());
        assert!(links(b"", "application/json", &base).is_err());
    }

    #[test]
    fn passes_over_links_that_lead_where_nobody_may_go() {
        for page in [
            "<a href=\"http://index.test/a.whl\">a.whl</a>",
            "<a href=\"file:///etc/passwd\">a.whl</a>",
            "<a href=\"a.whl\">../a.whl</a>",
            "<a href=\"a.whl\"></a>",
            "<a>a.whl</a>",
        ] {
            assert_eq!(html(page), [], "{page}");
        }
        let base = Url::parse("https://index.test/").unwrap();
        for page in ["<a href=\"x", "<a href=\"x\">y"] {
            assert!(links(page.as_bytes(), "text/html", &base).is_err(), "{page}");
        }
    }

    #[test]
    fn ranks_wheels_as_pip_does() {
        let (amd64, arm64): (Platform, Platform) = ("linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap());
        let rank = |file: &str, platform| Wheel::parse(file).and_then(|wheel| wheel.rank((3, 13), platform));
        let sorted = [
            "a-1-py2.py3-none-any.whl",
            "a-1-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp39-abi3-manylinux_2_17_x86_64.whl",
            "a-1-1-cp313-cp313-manylinux_2_17_x86_64.whl",
            "a-1-cp313-cp313-manylinux_2_28_x86_64.whl",
        ];
        for pair in sorted.windows(2) {
            assert!(rank(pair[0], &amd64) < rank(pair[1], &amd64), "{pair:?}");
            assert!(rank(pair[0], &amd64).is_some());
        }
        assert_eq!(rank(sorted[4], &arm64), None);
        for other in [
            "a-1-cp312-cp312-manylinux_2_17_x86_64.whl",
            "a-1-cp314-abi3-manylinux_2_17_x86_64.whl",
            "a-1-cp313-cp313t-manylinux_2_17_x86_64.whl",
            "a-1-cp313-cp313-musllinux_1_2_x86_64.whl",
            "a-1-cp313-cp313-manylinux_2_39_x86_64.whl",
            "a-1-cp313-cp313-macosx_11_0_arm64.whl",
            "a-1-py2-none-any.whl",
            "a-1.tar.gz",
            "a-1-x-cp313-cp313-any.whl",
        ] {
            assert_eq!(rank(other, &amd64), None, "{other}");
        }
    }
}
