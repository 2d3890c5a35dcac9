//! SPDX in its JSON form: 2.3 written, deterministically; 2.2 and 2.3 read.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::read::{Element as Read, Format, SbomPackage, Summary, Wire, add, bounded, each, hex, is_image};
use super::{Described, Inventory, OsRelease, Package, SbomError, licence_refs, purl, timestamp, uuid};
use crate::content::Digest;
use crate::json::{self, Obj};

const NO_ASSERTION: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const OPERATING_SYSTEM: &str = "SPDXRef-OperatingSystem";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    spdx_id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Element<'a>>,
    relationships: Vec<Relationship>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<Extracted>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreationInfo {
    created: String,
    creators: [String; 1],
    license_list_version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Element<'a> {
    name: &'a str,
    #[serde(rename = "SPDXID")]
    spdx_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<String>,
    supplier: &'static str,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksums: Option<[Checksum; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    license_concluded: &'static str,
    license_declared: &'a str,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_refs: Option<[ExternalRef; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Extracted {
    license_id: String,
    name: String,
    extracted_text: String,
}

/// The document, with a newline at its end. The same arguments give the same bytes.
pub fn write(inventory: &Inventory, described: &Described<'_>) -> Vec<u8> {
    let mut packages = vec![image(described)];
    packages.extend(inventory.os.as_ref().map(operating_system));
    packages.extend(inventory.packages.iter().map(element));
    let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", IMAGE)];
    relationships.extend(packages.iter().skip(1).map(|package| relationship(IMAGE, "CONTAINS", &package.spdx_id)));
    let mut document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        spdx_id: DOCUMENT,
        name: format!("{}@{}", described.name, described.digest),
        document_namespace: String::new(),
        creation_info: CreationInfo {
            created: timestamp(described.created),
            creators: [format!("Tool: {}-{}", described.tool, described.tool_version)],
            // Major and minor number alone (SPDX 2.3, 6.7).
            license_list_version: spdx::license_version().split('.').take(2).collect::<Vec<_>>().join("."),
        },
        packages,
        relationships,
        has_extracted_licensing_infos: licence_refs(inventory).into_iter().map(extracted).collect(),
    };
    // Unique to this document (SPDX 2.3, 6.5) and the same whenever the same document is written again.
    let own = uuid(&Digest::of(&json::pretty(&document)));
    document.document_namespace = format!("{}/spdx/{}/{own}", env!("CARGO_PKG_REPOSITORY"), described.digest.hex());
    json::pretty(&document)
}

fn image<'a>(described: &Described<'a>) -> Element<'a> {
    let digest = described.digest.to_string();
    Element {
        name: described.name,
        spdx_id: IMAGE.to_owned(),
        checksums: Some([Checksum { algorithm: "SHA256", checksum_value: described.digest.hex() }]),
        primary_package_purpose: Some("CONTAINER"),
        external_refs: Some(purl_ref(purl::image(described.name, &digest, &described.platform.architecture))),
        version_info: Some(digest),
        source_info: None,
        ..Element::default()
    }
}

fn operating_system(os: &OsRelease) -> Element<'_> {
    Element {
        name: &os.id,
        spdx_id: OPERATING_SYSTEM.to_owned(),
        version_info: os.version_id.clone().or_else(|| os.codename.clone()),
        primary_package_purpose: Some("OPERATING_SYSTEM"),
        ..Element::default()
    }
}

fn element(package: &Package) -> Element<'_> {
    let built_from = match &package.source {
        Some(source) => {
            let version = source.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
            format!("built package from: {}{version}; ", source.name)
        }
        None => String::new(),
    };
    Element {
        name: &package.name,
        spdx_id: id(package),
        version_info: package.version.clone(),
        source_info: Some(format!("{built_from}found in: {}", package.found_in)),
        license_declared: package.licence.as_deref().unwrap_or(NO_ASSERTION),
        external_refs: Some(purl_ref(package.purl.clone())),
        ..Element::default()
    }
}

impl Default for Element<'_> {
    fn default() -> Self {
        Self {
            name: "",
            spdx_id: String::new(),
            version_info: None,
            supplier: NO_ASSERTION,
            download_location: NO_ASSERTION,
            files_analyzed: false,
            checksums: None,
            source_info: None,
            license_concluded: NO_ASSERTION,
            license_declared: NO_ASSERTION,
            copyright_text: NO_ASSERTION,
            primary_package_purpose: None,
            external_refs: None,
        }
    }
}

/// An id of letters, digits, dots and dashes (SPDX 2.3, 3.2), told apart by the purl.
fn id(package: &Package) -> String {
    let keep = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
    let name: String = package.name.chars().take(80).map(keep).collect();
    let unique = Digest::of(package.purl.as_bytes()).hex();
    format!("SPDXRef-{}-{name}-{}", package.kind.as_str(), &unique[..16])
}

fn purl_ref(purl: String) -> [ExternalRef; 1] {
    [ExternalRef { reference_category: "PACKAGE-MANAGER", reference_type: "purl", reference_locator: purl }]
}

fn relationship(from: &str, kind: &'static str, to: &str) -> Relationship {
    Relationship { spdx_element_id: from.to_owned(), relationship_type: kind, related_spdx_element: to.to_owned() }
}

fn extracted(license_id: String) -> Extracted {
    let name = license_id.trim_start_matches("LicenseRef-").to_owned();
    let extracted_text = format!(
        "The packages that declare this licence call it {name:?}. Its text is in the image, in each package's copyright or licence file."
    );
    Extracted { license_id, name, extracted_text }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePackage<'a> {
    #[serde(rename = "SPDXID")]
    spdx_id: String,
    name: String,
    version_info: Option<String>,
    #[serde(borrow)]
    external_refs: Option<&'a RawValue>,
    #[serde(borrow)]
    checksums: Option<&'a RawValue>,
    license_declared: Option<String>,
    license_concluded: Option<String>,
    primary_package_purpose: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRef {
    reference_type: String,
    reference_locator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireChecksum {
    algorithm: String,
    checksum_value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRelationship {
    spdx_element_id: String,
    relationship_type: String,
    related_spdx_element: String,
}

/// What a document says; `version` is already known to be one that is understood.
pub(super) fn read(wire: &Wire<'_>, version: String) -> Result<Summary, SbomError> {
    let format = Format::Spdx;
    let mut roots = BTreeSet::new();
    each(format, wire.document_describes, |id: String| add(&mut roots, id))?;
    each(format, wire.relationships, |Obj(relationship): Obj<WireRelationship>| {
        match relationship.relationship_type.as_str() {
            "DESCRIBES" if relationship.spdx_element_id == "SPDXRef-DOCUMENT" => {
                add(&mut roots, relationship.related_spdx_element)
            }
            "DESCRIBED_BY" if relationship.related_spdx_element == "SPDXRef-DOCUMENT" => {
                add(&mut roots, relationship.spdx_element_id)
            }
            _ => Ok(()),
        }
    })?;
    let mut packages = Vec::new();
    each(format, wire.packages, |Obj(wire): Obj<WirePackage<'_>>| {
        bounded(packages.len())?;
        let mut digests = BTreeSet::new();
        each(format, wire.checksums, |Obj(checksum): Obj<WireChecksum>| {
            if checksum.algorithm == "SHA256" {
                digests.insert(hex(format, &checksum.checksum_value)?);
            }
            bounded(digests.len())
        })?;
        let mut purls = Vec::new();
        each(format, wire.external_refs, |Obj(reference): Obj<WireRef>| {
            if reference.reference_type.eq_ignore_ascii_case("purl") || reference.reference_locator.starts_with("pkg:")
            {
                purls.push(reference.reference_locator);
            }
            bounded(purls.len())
        })?;
        let purpose = wire.primary_package_purpose.unwrap_or_default();
        let licences = [wire.license_declared, wire.license_concluded].into_iter().flatten();
        packages.push(Read {
            id: Some(wire.spdx_id),
            digests,
            package: SbomPackage {
                is_software: !matches!(
                    purpose.as_str(),
                    "OPERATING-SYSTEM" | "OPERATING_SYSTEM" | "FILE" | "CONTAINER"
                ) && !purls.iter().any(|purl| is_image(purl)),
                is_root: false,
                name: wire.name,
                version: wire.version_info,
                purls,
                licences: licences.filter(|licence| !matches!(licence.as_str(), "NOASSERTION" | "NONE")).collect(),
            },
        });
        Ok(())
    })?;
    // A document of one package is about that package (SPDX 2.3, 11.1).
    if let ([only], true) = (packages.as_slice(), roots.is_empty()) {
        roots.extend(only.id.clone());
    }
    // A document that describes several things at once is about its one image, or is a mere list of packages: those
    // have purls, and their digests are those of their archives.
    let is_described = |element: &Read| element.id.as_ref().is_some_and(|id| roots.contains(id));
    let alone = packages.iter().filter(|element| is_described(element)).count() == 1;
    let mut described = BTreeSet::new();
    for element in &mut packages {
        let is_described = is_described(element);
        element.package.is_root = is_described && (alone || !element.package.is_software);
        if element.package.is_root || (is_described && element.package.purls.is_empty()) {
            described.extend(element.stated());
        }
    }
    Ok(Summary {
        format,
        version,
        packages: packages.into_iter().map(|element| element.package).collect(),
        described: described.into_iter().collect(),
    })
}
