//! References: what an image is called, canonicalised once by Docker's rules (distribution/reference).
//!
//! Everything here happens before any I/O. A name that two programs could take for different places (upper-case or
//! numeric hosts, trailing dots, user info) is refused rather than repaired.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::class::{Class, Classified};
use crate::content::{Digest, MalformedDigest};

/// The registry that a name without one means.
pub(crate) const DEFAULT_REGISTRY: &str = "docker.io";

/// Text that does not name an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing, or something that the grammar has no place for.
    #[error("{text:?} is not an image reference: {reason}")]
    Malformed {
        /// What was given, cut to a sensible length.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A digest that is not one.
    #[error("{text:?} is not an image reference: {source}")]
    Digest {
        /// What was given, cut to a sensible length.
        text: String,
        /// What is wrong with the digest.
        source: MalformedDigest,
    },
    /// A bare word that is no template.
    #[error(
        "{word:?} is not a template of this bulla; for an image write its registry and tag, such as docker.io/library/{word}:latest"
    )]
    BareWord {
        /// The word.
        word: String,
    },
}

impl Classified for ReferenceError {
    fn class(&self) -> Class {
        Class::Ref
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed-reference",
            Self::Digest { .. } => "malformed-digest",
            Self::BareWord { .. } => "unknown-template",
        }
    }
}

/// A repository on a registry, canonical: `docker.io/library/alpine`, `127.0.0.1:5000/x`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// Host and, where given, port.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host without port; IPv6 addresses keep their brackets.
    pub fn host(&self) -> &str {
        split_port(&self.registry).0
    }

    /// Whether the registry is a literal loopback address or `localhost`: the only place where plain http may be.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(self.host())
    }

    /// This repository, narrowed to one digest.
    pub fn pin(&self, digest: Digest) -> PinnedReference {
        PinnedReference { repository: self.clone(), digest }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    /// Reads a name without tag or digest.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let reference: Reference = text.parse()?;
        match (&reference.tag, &reference.digest) {
            (None, None) => Ok(reference.repository),
            _ => Err(malformed(text, "a repository has neither tag nor digest")),
        }
    }
}

/// A repository with a tag, a digest, or both: what a person types.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Where.
    pub repository: Repository,
    /// The tag, if one was written.
    pub tag: Option<String>,
    /// The digest, if one was written; it wins over the tag.
    pub digest: Option<Digest>,
}

impl Reference {
    /// The tag to resolve: the one written, else `latest`.
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(malformed(text, "it is empty"));
        }
        if text.len() > 512 {
            return Err(malformed(text, "it is longer than 512 characters"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed(text, "only printable ASCII without spaces can stand in one"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest =
                    digest.parse().map_err(|source| ReferenceError::Digest { text: shortened(text), source })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => {
                if !is_tag(tag) {
                    return Err(malformed(text, "the tag has characters that a tag cannot have"));
                }
                (name, Some(tag.to_owned()))
            }
            _ => (rest, None),
        };
        let (registry, path) = split_registry(name);
        let registry = canonical_registry(registry).map_err(|reason| malformed(text, reason))?;
        let path = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if !is_path(&path) {
            return Err(malformed(text, "the repository has to be lower-case words joined by . _ - and /"));
        }
        if registry.len() + 1 + path.len() > 255 {
            return Err(malformed(text, "the repository is longer than 255 characters"));
        }
        Ok(Self { repository: Repository { registry, path }, tag, digest })
    }
}

/// A repository and a digest: the only form that goes past resolving.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PinnedReference {
    /// Where.
    pub repository: Repository,
    /// What.
    pub digest: Digest,
}

impl fmt::Display for PinnedReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

/// Which image of a layout is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayoutImage {
    /// The only one there is.
    Only,
    /// The one with this `org.opencontainers.image.ref.name`, or with this after the last `:` of that name.
    Named(String),
    /// The one with this digest.
    Digest(Digest),
}

/// What a person may write where a command says IMAGE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    /// `registry/repository[:tag][@digest]`
    Registry(Reference),
    /// `oci:DIR`, `oci:DIR:NAME`, `oci:DIR@sha256:…`
    Layout {
        /// The layout's folder.
        dir: PathBuf,
        /// Which of its images.
        image: LayoutImage,
    },
    /// The bare name of a template.
    Template(String),
}

impl ImageName {
    /// Reads IMAGE. `is_template` says which bare words are templates.
    pub fn parse(text: &str, is_template: impl Fn(&str) -> bool) -> Result<Self, ReferenceError> {
        if let Some(layout) = text.strip_prefix("oci:") {
            return parse_layout(text, layout);
        }
        if is_template(text) {
            return Ok(Self::Template(text.to_owned()));
        }
        let reference: Reference = text.parse()?;
        if !text.contains(['/', ':', '.', '@']) {
            return Err(ReferenceError::BareWord { word: shortened(text) });
        }
        Ok(Self::Registry(reference))
    }
}

fn parse_layout(text: &str, layout: &str) -> Result<ImageName, ReferenceError> {
    if layout.chars().any(char::is_control) {
        return Err(malformed(text, "control characters"));
    }
    // The suffix is what follows the last `:` or `@` after the last `/`; `@sha256:…` has a colon of its own.
    let name_start = layout.rfind('/').map_or(0, |slash| slash + 1);
    let name = &layout[name_start..];
    let (dir, image) = if let Some(at) = name.rfind('@') {
        let digest = name[at + 1..].parse();
        let digest = digest.map_err(|source| ReferenceError::Digest { text: shortened(text), source })?;
        (&layout[..name_start + at], LayoutImage::Digest(digest))
    } else if let Some(colon) = name.rfind(':') {
        let named = &name[colon + 1..];
        if named.is_empty() {
            return Err(malformed(text, "there is no name after the colon"));
        }
        (&layout[..name_start + colon], LayoutImage::Named(named.to_owned()))
    } else {
        (layout, LayoutImage::Only)
    };
    if dir.is_empty() {
        return Err(malformed(text, "there is no folder after `oci:`"));
    }
    Ok(ImageName::Layout { dir: PathBuf::from(dir), image })
}

fn malformed(text: &str, reason: &'static str) -> ReferenceError {
    ReferenceError::Malformed { text: shortened(text), reason }
}

fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}

/// Docker's rule: what stands before the first slash is a registry if it could not be a path component.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':', '['])
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn split_port(registry: &str) -> (&str, Option<&str>) {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    }
}

fn canonical_registry(registry: &str) -> Result<String, &'static str> {
    let (host, port) = split_port(registry);
    if let Some(port) = port {
        let plain = !port.is_empty() && !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || port.parse::<u16>().is_err() {
            return Err("the registry's port has to be 1 to 65535");
        }
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        let Some(address) = address else { return Err("the registry is not an IPv6 address") };
        return Ok(match port {
            Some(port) => format!("[{address}]:{port}"),
            None => format!("[{address}]"),
        });
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("the registry has to be in lower case");
    }
    let labels_ok = host.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    if !labels_ok {
        return Err("the registry is not a host name");
    }
    // URL readers take hosts such as 127.1 or 0x7f000001 for IPv4 addresses; only the dotted quad means one here.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err("the registry is a number that is not an IPv4 address");
    }
    let host = if matches!(registry, "index.docker.io" | "registry-1.docker.io") { DEFAULT_REGISTRY } else { host };
    Ok(match port {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// Whether a host, as it stands in a reference, is literally this machine.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_ok =
        component.bytes().next().is_some_and(alphanumeric) && component.bytes().last().is_some_and(alphanumeric);
    let separators = component.split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit());
    ends_ok
        && separators
            .filter(|separator| !separator.is_empty())
            .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a07_canonicalises_once_by_dockers_rules() {
        for (typed, canonical) in [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("docker.io/alpine", "docker.io/library/alpine"),
            ("index.docker.io/a/b", "docker.io/a/b"),
            ("acme/tool", "docker.io/acme/tool"),
            ("localhost/alpine", "localhost/alpine"),
            ("localhost:5000/alpine", "localhost:5000/alpine"),
            ("127.0.0.1:5000/x/y:t", "127.0.0.1:5000/x/y:t"),
            ("[::1]:5000/x", "[::1]:5000/x"),
            ("ghcr.io/acme/a__b.c-d:1.4", "ghcr.io/acme/a__b.c-d:1.4"),
        ] {
            assert_eq!(typed.parse::<Reference>().unwrap().to_string(), canonical, "{typed}");
        }
        let both = format!("ghcr.io/a/b:1@{DIGEST}");
        assert_eq!(both.parse::<Reference>().unwrap().to_string(), both);
    }

    #[test]
    fn a06_refuses_what_could_mean_two_places() {
        let short = format!("ghcr.io/a/b@{}", &DIGEST[..40]);
        let upper = format!("ghcr.io/a/b@{}", DIGEST.to_uppercase());
        let userinfo = format!("ghcr.io@evil.example/a@{DIGEST}");
        for bad in [
            "",
            "--privileged",
            "-v/:/h",
            "a b",
            "ghcr.io/Acme/x",
            "ghcr.io/../x",
            "ghcr.io/a/%2e%2e/x",
            "ghcr.io/a//b",
            &short,
            &upper,
            &userinfo,
            "ghcr.io/a@sha512:00",
            "ghcr.io/a@sha256:../../x",
            "ghcr.io/a\0b",
            "ghcr.io/a\nb",
            "ghcr.io/a\u{202e}b",
            "ghcr\u{0456}.io/a",
            "ghcr.io./a",
            "GHCR.IO/a",
            "ghcr.io:0/a",
            "ghcr.io:65536/a",
            "ghcr.io:05/a",
            "ghcr.io:/a",
            "ghcr.io@evil/a",
            "0x7f.1/a",
            "127.1/a",
            "0x7f000001:5000/a",
            "2130706433:80/a",
            "[::1/a",
            "[fe80::1%25eth0]/a",
            "ghcr.io/a:",
            "ghcr.io/a:-x",
            "ghcr.io/a:x y",
            ":x",
            "ghcr.io/",
            "/a",
            "ghcr.io/a___b",
            "ghcr.io/a.-b",
            "http://ghcr.io/a",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "accepted {bad:?}");
        }
    }

    #[test]
    fn tells_layouts_templates_and_registries_apart() {
        let parse = |text: &str| ImageName::parse(text, |word| word == "base");
        assert_eq!(parse("base"), Ok(ImageName::Template("base".into())));
        assert!(matches!(parse("bass"), Err(ReferenceError::BareWord { .. })));
        assert!(matches!(parse("ghcr.io/a/b"), Ok(ImageName::Registry(_))));
        let layout = |dir: &str, image| Ok(ImageName::Layout { dir: dir.into(), image });
        assert_eq!(parse("oci:out"), layout("out", LayoutImage::Only));
        assert_eq!(parse("oci:/a:b/out"), layout("/a:b/out", LayoutImage::Only));
        assert_eq!(parse("oci:out:v1"), layout("out", LayoutImage::Named("v1".into())));
        let digest = LayoutImage::Digest(DIGEST.parse().unwrap());
        assert_eq!(parse(&format!("oci:x/out@{DIGEST}")), layout("x/out", digest));
        for bad in ["oci:", "oci:out:", "oci:out@sha256:00", "oci::x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_literal_loopback_is_loopback() {
        for (name, loopback) in [
            ("127.0.0.1:5000/a", true),
            ("127.9.9.9/a", true),
            ("[::1]/a", true),
            ("localhost:1/a", true),
            ("localhost.evil.example/a", false),
            ("10.0.0.1/a", false),
            ("ghcr.io/a/b", false),
        ] {
            assert_eq!(name.parse::<Repository>().unwrap().is_loopback(), loopback, "{name}");
        }
    }
}
