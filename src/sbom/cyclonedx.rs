//! CycloneDX in its JSON form: 1.6 written, deterministically; 1.3 to 1.6 read.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::read::{Element, Format, SbomPackage, Summary, Wire, bounded, each, hex, is_image, one};
use super::{Described, Inventory, OsRelease, Package, SbomError, purl, timestamp, too_many, uuid};
use crate::content::Digest;
use crate::json::{self, Obj};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    timestamp: String,
    tools: Tools<'a>,
    component: Component<'a>,
}

#[derive(Serialize)]
struct Tools<'a> {
    components: [Component<'a>; 1],
}

#[derive(Serialize)]
struct Component<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    bom_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hashes: Option<[Hash; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    licenses: Option<[Licence<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Serialize)]
struct Licence<'a> {
    expression: &'a str,
    acknowledgement: &'static str,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    of: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
}

/// The document, with a newline at its end. The same arguments give the same bytes.
pub fn write(inventory: &Inventory, described: &Described<'_>) -> Vec<u8> {
    let root = image(described);
    let mut components: Vec<Component<'_>> = inventory.os.iter().map(operating_system).collect();
    components.extend(inventory.packages.iter().map(component));
    let depends_on = components.iter().filter_map(|component| component.bom_ref.clone()).collect();
    let dependencies = vec![Dependency { of: root.bom_ref.clone().unwrap_or_default(), depends_on }];
    let tool =
        Component { version: Some(described.tool_version.to_owned()), ..Component::new("application", described.tool) };
    let mut document = Document {
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: String::new(),
        version: 1,
        metadata: Metadata {
            timestamp: timestamp(described.created),
            tools: Tools { components: [tool] },
            component: root,
        },
        components,
        dependencies,
    };
    // Unique to this document, and the same whenever the same document is written again.
    document.serial_number = format!("urn:uuid:{}", uuid(&Digest::of(&json::pretty(&document))));
    json::pretty(&document)
}

impl<'a> Component<'a> {
    fn new(kind: &'static str, name: &'a str) -> Self {
        Self {
            kind,
            bom_ref: None,
            group: None,
            name,
            version: None,
            description: None,
            hashes: None,
            licenses: None,
            purl: None,
            properties: Vec::new(),
        }
    }
}

fn image<'a>(described: &Described<'a>) -> Component<'a> {
    let digest = described.digest.to_string();
    let purl = purl::image(described.name, &digest, &described.platform.architecture);
    Component {
        bom_ref: Some(purl.clone()),
        version: Some(digest),
        hashes: Some([Hash { alg: "SHA-256", content: described.digest.hex() }]),
        purl: Some(purl),
        ..Component::new("container", described.name)
    }
}

fn operating_system(os: &OsRelease) -> Component<'_> {
    Component {
        bom_ref: Some(format!("os:{}", os.distro())),
        version: os.version_id.clone().or_else(|| os.codename.clone()),
        description: os.pretty_name.as_deref(),
        ..Component::new("operating-system", &os.id)
    }
}

fn component(package: &Package) -> Component<'_> {
    let (group, name) = match package.name.split_once('/') {
        Some((scope, name)) => (Some(scope), name),
        None => (None, package.name.as_str()),
    };
    let source = package.source.as_ref().map(|source| {
        let version = source.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
        Property { name: "bulla:source", value: format!("{}{version}", source.name) }
    });
    let found_in = Property { name: "bulla:found-in", value: package.found_in.clone() };
    Component {
        bom_ref: Some(package.purl.clone()),
        group,
        version: package.version.clone(),
        licenses: package.licence.as_deref().map(|expression| [Licence { expression, acknowledgement: "declared" }]),
        purl: Some(package.purl.clone()),
        properties: source.into_iter().chain([found_in]).collect(),
        ..Component::new("library", name)
    }
}

#[derive(Deserialize)]
struct WireMetadata<'a> {
    #[serde(borrow)]
    component: Option<Obj<WireComponent<'a>>>,
}

#[derive(Deserialize)]
struct WireComponent<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "bom-ref")]
    bom_ref: Option<String>,
    group: Option<String>,
    name: String,
    version: Option<String>,
    purl: Option<String>,
    #[serde(borrow)]
    hashes: Option<&'a RawValue>,
    #[serde(borrow)]
    licenses: Option<&'a RawValue>,
    #[serde(borrow)]
    components: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireHash {
    alg: String,
    content: String,
}

#[derive(Deserialize)]
struct WireLicenceChoice {
    license: Option<Obj<WireLicence>>,
    expression: Option<String>,
}

#[derive(Deserialize)]
struct WireLicence {
    id: Option<String>,
    name: Option<String>,
}

/// How deep components are read inside components. Writers nest once or twice.
const NESTING: usize = 8;

/// What a document says; `version` is already known to be one that is understood.
pub(super) fn read(wire: &Wire<'_>, version: String) -> Result<Summary, SbomError> {
    let format = Format::CycloneDx;
    let metadata = wire.metadata.map(|raw| one::<WireMetadata<'_>>(format, raw)).transpose()?;
    let root = metadata.and_then(|metadata| metadata.component).map(|Obj(component)| component);
    let root_element = root.as_ref().map(element).transpose()?;
    let nested_in_root = root.as_ref().and_then(|component| component.components);
    let mut elements = Vec::new();
    let mut level: Vec<&RawValue> = [nested_in_root, wire.components].into_iter().flatten().collect();
    for depth in 0.. {
        if level.is_empty() {
            break;
        }
        if depth == NESTING {
            return Err(too_many("the nesting of components", NESTING, "levels"));
        }
        let mut below = Vec::new();
        for raw in level {
            each(format, Some(raw), |Obj(component): Obj<WireComponent<'_>>| {
                bounded(elements.len())?;
                elements.push(element(&component)?);
                below.extend(component.components);
                Ok(())
            })?;
        }
        level = below;
    }
    // Some writers list the root among the components too. Its reference alone makes nothing the root: whatever has
    // another purl or name is another thing.
    let is_root = |package: &SbomPackage| {
        root_element.as_ref().is_some_and(|Element { package: root, .. }| match package.purls.as_slice() {
            [] => (&package.name, &package.version) == (&root.name, &root.version),
            purls => purls == root.purls,
        })
    };
    for element in &mut elements {
        element.package.is_root = is_root(&element.package);
    }
    if let Some(mut root) = root_element {
        root.package.is_root = true;
        elements.insert(0, root);
    }
    // What has the root's reference speaks of its digests all the same.
    let root = elements.first().filter(|element| element.package.is_root).and_then(|element| element.id.clone());
    let is_about = |element: &&Element| element.package.is_root || (root.is_some() && element.id == root);
    let described: BTreeSet<_> = elements.iter().filter(is_about).flat_map(Element::stated).collect();
    Ok(Summary {
        format,
        version,
        described: described.into_iter().collect(),
        packages: elements.into_iter().map(|element| element.package).collect(),
    })
}

fn element(wire: &WireComponent<'_>) -> Result<Element, SbomError> {
    let format = Format::CycloneDx;
    let mut digests = BTreeSet::new();
    each(format, wire.hashes, |Obj(hash): Obj<WireHash>| {
        if hash.alg == "SHA-256" {
            digests.insert(hex(format, &hash.content)?);
        }
        bounded(digests.len())
    })?;
    let mut licences = Vec::new();
    each(format, wire.licenses, |Obj(choice): Obj<WireLicenceChoice>| {
        let Obj(licence) = choice.license.unwrap_or(Obj(WireLicence { id: None, name: None }));
        licences.extend([choice.expression, licence.id, licence.name].into_iter().flatten());
        bounded(licences.len())
    })?;
    let purls: Vec<String> = wire.purl.iter().cloned().collect();
    let name = match wire.group.as_deref() {
        None | Some("") => wire.name.clone(),
        Some(group) => format!("{group}/{}", wire.name),
    };
    Ok(Element {
        id: wire.bom_ref.clone(),
        digests,
        package: SbomPackage {
            is_software: !matches!(wire.kind.as_str(), "operating-system" | "file" | "container")
                && !purls.iter().any(|purl| is_image(purl)),
            is_root: false,
            name,
            version: wire.version.clone(),
            purls,
            licences,
        },
    })
}
