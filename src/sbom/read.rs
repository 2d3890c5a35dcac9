//! Reading SBOMs, ours and those of others: SPDX 2.2 and 2.3, CycloneDX 1.3 to 1.6, in their JSON forms.
//!
//! Memory stays in proportion to what is kept: lists are taken element by element from the document's own bytes, and
//! every list that is kept has a bound.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use packageurl::PackageUrl;
use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{SbomError, cut, limits, too_many};
use crate::attestation::predicate_types::{CYCLONEDX, SPDX};
use crate::content::Digest;
use crate::json::{self, Obj, Shape};

/// A document format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// SPDX.
    Spdx,
    /// CycloneDX.
    CycloneDx,
}

impl Format {
    /// The word for it in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spdx => "spdx",
            Self::CycloneDx => "cyclonedx",
        }
    }

    /// The format that a predicate type announces, and the version where it announces one; nothing for any other
    /// predicate type. Exact strings: a trailing slash is another type.
    pub(crate) fn of_predicate(predicate_type: &str) -> Option<(Self, Option<&str>)> {
        for (format, plain) in [(Self::Spdx, SPDX), (Self::CycloneDx, CYCLONEDX)] {
            if predicate_type == plain {
                return Some((format, None));
            }
            let version = predicate_type.strip_prefix(plain).and_then(|rest| rest.strip_prefix("/v"));
            if let Some(version) = version {
                return Some((format, Some(version)));
            }
        }
        None
    }

    /// The versions that are understood, with the schema's spelling.
    const fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Spdx => &["2.2", "2.3"],
            Self::CycloneDx => &["1.3", "1.4", "1.5", "1.6"],
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spdx => "SPDX",
            Self::CycloneDx => "CycloneDX",
        })
    }
}

/// One package or component of a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SbomPackage {
    /// Its name; CycloneDX's group in front where there is one.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Its package URLs, as they stand: SPDX allows several.
    pub purls: Vec<String>,
    /// Every licence that is said of it, declared or concluded: expressions, ids or names.
    pub licences: Vec<String>,
    /// Whether it is software: false for operating systems, files and images.
    pub is_software: bool,
    /// Whether it is what the document is about.
    pub is_root: bool,
}

/// What a document says, as far as policies ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its format.
    pub format: Format,
    /// The format's version: `2.3`, `1.6`.
    pub version: String,
    /// Everything in it, what it is about included: a rule that denies a package denies it there too.
    pub packages: Vec<SbomPackage>,
    /// The digests that the document gives for what it is about, in whatever field; sorted, each once. A judge accepts
    /// the document only for an image that all of them name: by index, manifest or config.
    pub described: Vec<Digest>,
}

impl Summary {
    /// How many different packages there are, what the document is about not among them. Zero is an empty SBOM.
    pub fn count(&self) -> usize {
        let counted = |package: &&SbomPackage| package.is_software && !package.is_root;
        self.packages.iter().filter(counted).collect::<BTreeSet<_>>().len()
    }

    /// What the document is about, as it is said first.
    pub fn root(&self) -> Option<&SbomPackage> {
        self.packages.iter().find(|package| package.is_root)
    }
}

/// Reads a predicate of this type. The document must be of the format, and of the version where there is one, that
/// the type announces.
pub fn read(predicate_type: &str, predicate: &[u8]) -> Result<Summary, SbomError> {
    let announced = Format::of_predicate(predicate_type)
        .ok_or_else(|| SbomError::Format(format!("{:?} is no SBOM's predicate type", cut(predicate_type))))?;
    if predicate.len() as u64 > limits::DOCUMENT {
        return Err(SbomError::Limit { what: "the SBOM".to_owned(), limit: limits::DOCUMENT, unit: "bytes" });
    }
    json::scan(predicate, &SHAPE)?;
    let Obj(wire) = serde_json::from_slice::<Obj<Wire<'_>>>(predicate)
        .map_err(|error| document(announced.0, format!("it has not the shape of one: {error}")))?;
    let (format, version) = wire.identify()?;
    if format != announced.0 || announced.1.is_some_and(|announced| announced != version) {
        return Err(SbomError::Format(format!(
            "the predicate type {:?} holds a {format} {} document",
            cut(predicate_type),
            cut(version)
        )));
    }
    if !format.versions().contains(&version) {
        return Err(SbomError::Format(format!(
            "{format} {} is not understood; {} are",
            cut(version),
            format.versions().join(", ")
        )));
    }
    let version = version.to_owned();
    match format {
        Format::Spdx => super::spdx::read(&wire, version),
        Format::CycloneDx => super::cyclonedx::read(&wire, version),
    }
}

const SHAPE: Shape = Shape {
    name: "SBOM",
    known: &[
        "spdxVersion",
        "SPDXID",
        "name",
        "packages",
        "versionInfo",
        "externalRefs",
        "referenceType",
        "referenceLocator",
        "licenseDeclared",
        "licenseConcluded",
        "primaryPackagePurpose",
        "checksums",
        "algorithm",
        "checksumValue",
        "relationships",
        "spdxElementId",
        "relationshipType",
        "relatedSpdxElement",
        "documentDescribes",
        "bomFormat",
        "specVersion",
        "metadata",
        "component",
        "components",
        "type",
        "bom-ref",
        "group",
        "version",
        "purl",
        "hashes",
        "alg",
        "content",
        "licenses",
        "license",
        "expression",
        "id",
    ],
    opaque: &[],
};

/// Both formats at once, so that a document that is both is seen.
#[derive(Deserialize)]
pub(super) struct Wire<'a> {
    #[serde(rename = "spdxVersion")]
    spdx_version: Option<String>,
    #[serde(borrow)]
    pub(super) packages: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) relationships: Option<&'a RawValue>,
    #[serde(rename = "documentDescribes", borrow)]
    pub(super) document_describes: Option<&'a RawValue>,
    #[serde(rename = "bomFormat")]
    bom_format: Option<String>,
    #[serde(rename = "specVersion")]
    spec_version: Option<String>,
    #[serde(borrow)]
    pub(super) metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) components: Option<&'a RawValue>,
    #[serde(rename = "@context")]
    context: Option<serde::de::IgnoredAny>,
}

impl Wire<'_> {
    fn identify(&self) -> Result<(Format, &str), SbomError> {
        let unknown = |reason: &str| Err(SbomError::Format(reason.to_owned()));
        match (&self.spdx_version, &self.bom_format) {
            (Some(_), Some(_)) => unknown("the document claims to be both SPDX and CycloneDX"),
            (Some(version), None) => match version.strip_prefix("SPDX-") {
                Some(version) => Ok((Format::Spdx, version)),
                None => unknown("its spdxVersion does not begin with SPDX-"),
            },
            (None, Some(format)) if format == "CycloneDX" => {
                Ok((Format::CycloneDx, self.spec_version.as_deref().unwrap_or("without a version")))
            }
            (None, None) if self.context.is_some() => unknown("SPDX 3 is not understood; SPDX 2.2 and 2.3 are"),
            _ => unknown("the document is neither SPDX nor CycloneDX"),
        }
    }
}

/// A package with what is needed only until the root is known.
pub(super) struct Element {
    pub(super) id: Option<String>,
    pub(super) digests: BTreeSet<Digest>,
    pub(super) package: SbomPackage,
}

impl Element {
    /// Every digest that it gives for itself: as checksum, as version, in a purl.
    pub(super) fn stated(&self) -> BTreeSet<Digest> {
        let mut stated = self.digests.clone();
        stated.extend(self.package.version.as_deref().and_then(|version| Digest::from_str(version).ok()));
        for purl in self.package.purls.iter().filter(|purl| is_image(purl)) {
            let version = PackageUrl::from_str(purl).ok().and_then(|purl| purl.version().map(str::to_owned));
            stated.extend(version.and_then(|version| Digest::from_str(&version).ok()));
        }
        stated
    }
}

pub(super) fn is_image(purl: &str) -> bool {
    purl.starts_with("pkg:oci/") || purl.starts_with("pkg:docker/")
}

pub(super) fn hex(format: Format, text: &str) -> Result<Digest, SbomError> {
    let lower = text.to_ascii_lowercase();
    Digest::from_hex(&lower).map_err(|_| document(format, format!("{:?} is no SHA-256", cut(text))))
}

pub(super) fn add(ids: &mut BTreeSet<String>, id: String) -> Result<(), SbomError> {
    ids.insert(id);
    bounded(ids.len())
}

pub(super) fn bounded(count: usize) -> Result<(), SbomError> {
    if count >= limits::PACKAGES { Err(too_many("the SBOM", limits::PACKAGES, "packages")) } else { Ok(()) }
}

pub(super) fn document(format: Format, reason: String) -> SbomError {
    SbomError::Document { format, reason }
}

/// One object.
pub(super) fn one<'a, T: Deserialize<'a>>(format: Format, raw: &'a RawValue) -> Result<T, SbomError> {
    let read = serde_json::from_str::<Obj<T>>(raw.get());
    read.map(|Obj(value)| value).map_err(|error| document(format, format!("a part has not the right shape: {error}")))
}

/// Gives every element of a list to `take`, one at a time; an absent list has none.
pub(super) fn each<'a, T: Deserialize<'a>>(
    format: Format,
    list: Option<&'a RawValue>,
    mut take: impl FnMut(T) -> Result<(), SbomError>,
) -> Result<(), SbomError> {
    struct Each<'f, T, F> {
        take: &'f mut F,
        stopped: &'f mut Option<SbomError>,
        element: PhantomData<T>,
    }
    impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), SbomError>> Visitor<'de> for Each<'_, T, F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
            while let Some(element) = elements.next_element()? {
                if let Err(error) = (self.take)(element) {
                    *self.stopped = Some(error);
                    return Err(A::Error::custom("stopped"));
                }
            }
            Ok(())
        }
    }
    let Some(list) = list else { return Ok(()) };
    let mut stopped = None;
    let mut deserializer = serde_json::Deserializer::from_str(list.get());
    let read = deserializer.deserialize_seq(Each { take: &mut take, stopped: &mut stopped, element: PhantomData });
    match (stopped, read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(document(format, format!("one of its lists has not the right shape: {error}"))),
        (None, Ok(())) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::{Class, Classified};

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn spdx_document(packages: &str) -> String {
        format!(
            r#"{{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"x","packages":[{packages}],
            "relationships":[{{"spdxElementId":"SPDXRef-DOCUMENT","relationshipType":"DESCRIBES","relatedSpdxElement":"SPDXRef-Root"}}]}}"#
        )
    }

    fn cyclonedx_document(components: &str) -> String {
        format!(
            r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{{"component":{{"type":"container","bom-ref":"root",
            "name":"x","version":"{DIGEST}"}}}},"components":[{components}]}}"#
        )
    }

    fn summary(predicate_type: &str, text: &str) -> Summary {
        read(predicate_type, text.as_bytes()).unwrap()
    }

    fn refused(predicate_type: &str, text: &str) -> SbomError {
        match read(predicate_type, text.as_bytes()) {
            Ok(summary) => panic!("took {text} as {summary:?}"),
            Err(error) => error,
        }
    }

    #[test]
    fn an_empty_document_has_no_packages() {
        assert_eq!(summary(SPDX, r#"{"spdxVersion":"SPDX-2.3"}"#).count(), 0);
        assert_eq!(summary(CYCLONEDX, r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#).count(), 0);
    }

    #[test]
    fn m02_a_document_of_its_root_alone_has_no_packages() {
        let root = r#"{"SPDXID":"SPDXRef-Root","name":"x","checksums":[]}"#;
        assert_eq!(summary(SPDX, &spdx_document(root)).count(), 0);
        let undescribed = format!(r#"{{"spdxVersion":"SPDX-2.3","packages":[{root}]}}"#);
        assert_eq!(summary(SPDX, &undescribed).count(), 0);
        let image = r#"{"SPDXID":"SPDXRef-X","name":"x","primaryPackagePurpose":"CONTAINER"}"#;
        let system = r#"{"SPDXID":"SPDXRef-OS","name":"debian","primaryPackagePurpose":"OPERATING-SYSTEM"}"#;
        assert_eq!(summary(SPDX, &spdx_document(&format!("{root},{image},{system}"))).count(), 0);
        for again in [
            "",
            r#"{"type":"container","bom-ref":"root","name":"x"}"#,
            r#"{"type":"operating-system","name":"debian"}"#,
            r#"{"type":"library","name":"y","purl":"pkg:oci/y@sha256%3A00"}"#,
        ] {
            assert_eq!(summary(CYCLONEDX, &cyclonedx_document(again)).count(), 0, "{again}");
        }
    }

    #[test]
    fn counts_different_packages_once_and_nested_ones_too() {
        let one = r#"{"type":"library","name":"a","version":"1","purl":"pkg:npm/a@1"}"#;
        let outer = format!(r#"{{"type":"library","name":"b","components":[{one},{{"type":"library","name":"c"}}]}}"#);
        let found = summary(CYCLONEDX, &cyclonedx_document(&format!("{one},{one},{outer}")));
        assert_eq!((found.count(), found.packages.len()), (3, 6), "the root is listed and not counted");
    }

    #[test]
    fn keeps_every_purl_and_licence_of_a_package() {
        let package = r#"{"SPDXID":"SPDXRef-a","name":"a","licenseDeclared":"MIT","licenseConcluded":"GPL-3.0-only","externalRefs":[
            {"referenceCategory":"PACKAGE_MANAGER","referenceType":"purl","referenceLocator":"pkg:npm/a@1"},
            {"referenceCategory":"SECURITY","referenceType":"other","referenceLocator":"pkg:npm/event-stream@3.3.6"}]}"#;
        let found = summary(SPDX, &spdx_document(package));
        assert_eq!(found.packages[0].purls, ["pkg:npm/a@1", "pkg:npm/event-stream@3.3.6"]);
        assert_eq!(found.packages[0].licences, ["MIT", "GPL-3.0-only"]);
    }

    #[test]
    fn gives_every_digest_the_document_states_for_its_image() {
        let other = Digest::of(b"other");
        let component = format!(r#"{{"type":"container","bom-ref":"root","name":"x","purl":"pkg:oci/x@{other}"}}"#);
        let found = summary(CYCLONEDX, &cyclonedx_document(&component));
        let mut both = vec![DIGEST.parse().unwrap(), other];
        both.sort();
        assert_eq!(found.described, both);
        let root = format!(
            r#"{{"SPDXID":"SPDXRef-Root","name":"x","versionInfo":"{DIGEST}","checksums":[{{"algorithm":"SHA256","checksumValue":"{}"}}]}}"#,
            other.hex()
        );
        assert_eq!(summary(SPDX, &spdx_document(&root)).described, both);
    }

    #[test]
    fn m03_refuses_another_format_or_version_than_announced() {
        let (spdx, cyclonedx) = (spdx_document(""), cyclonedx_document(""));
        let format = |predicate_type: &str, text: &str| {
            assert_eq!(refused(predicate_type, text).code(), "sbom-format", "{predicate_type} {text}");
        };
        format(CYCLONEDX, &spdx);
        format(SPDX, &cyclonedx);
        format("https://spdx.dev/Document/v2.2", &spdx);
        format("https://cyclonedx.org/bom/v1.5", &cyclonedx);
        format("https://spdx.dev/Document/", &spdx);
        format("https://slsa.dev/provenance/v1", &spdx);
        for version in ["SPDX-2.1", "SPDX-3.0", "SPDX-2.3.1", "2.3", ""] {
            format(SPDX, &spdx.replace("SPDX-2.3", version));
        }
        for version in ["1.2", "1.7", "1.60", ""] {
            format(CYCLONEDX, &cyclonedx.replace("\"1.6\"", &format!("{version:?}")));
        }
        format(SPDX, r#"{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}"#);
        format(SPDX, r#"{"spdxVersion":"SPDX-2.3","bomFormat":"CycloneDX","specVersion":"1.6"}"#);
        format(SPDX, "{}");
        assert_eq!(summary("https://spdx.dev/Document/v2.3", &spdx).version, "2.3");
        assert_eq!(summary("https://cyclonedx.org/bom/v1.6", &cyclonedx).version, "1.6");
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for bad in [
            r#"{"spdxVersion":"SPDX-2.3","packages":[],"packages":[{"SPDXID":"a","name":"b"}]}"#,
            r#"{"spdxVersion":"SPDX-2.3","Packages":[]}"#,
            r#"{"spdxVersion":"SPDX-2.3"} {}"#,
            r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":"a","NAME":"b","SPDXID":"x"}]}"#,
        ] {
            assert_eq!(refused(SPDX, bad).class(), Class::Format, "{bad}");
        }
        for bad in [
            r#"{"spdxVersion":"SPDX-2.3","packages":{}}"#,
            r#"{"spdxVersion":"SPDX-2.3","packages":[["SPDXRef-a","a"]]}"#,
            r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":"a"}]}"#,
            r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":5,"SPDXID":"x"}]}"#,
            r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":"a","SPDXID":"x","checksums":[{"algorithm":"SHA256","checksumValue":"zz"}]}]}"#,
            r#"{"spdxVersion":5}"#,
        ] {
            assert_eq!(refused(SPDX, bad).class(), Class::Sbom, "{bad}");
        }
    }

    #[test]
    fn m06_bounds_size_count_and_nesting() {
        let many = vec![r#"{"type":"library","name":"a"}"#; limits::PACKAGES + 1].join(",");
        assert_eq!(refused(CYCLONEDX, &cyclonedx_document(&many)).class(), Class::Limit);
        let depth = NESTED + 1;
        let nested =
            format!("{}{}", r#"{"type":"library","name":"a","components":["#.repeat(depth), "]}".repeat(depth));
        assert_eq!(refused(CYCLONEDX, &cyclonedx_document(&nested)).class(), Class::Limit);
        let large = vec![b' '; usize::try_from(limits::DOCUMENT).unwrap() + 1];
        assert_eq!(read(SPDX, &large).unwrap_err().class(), Class::Limit);
    }

    const NESTED: usize = 8;
}
