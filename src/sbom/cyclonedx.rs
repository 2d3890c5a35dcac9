//! CycloneDX 1.6, JSON form, written deterministically.

use serde::Serialize;

use super::{Described, Inventory, OsRelease, Package, purl, timestamp, uuid};
use crate::content::Digest;

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
    document.serial_number = format!("urn:uuid:{}", uuid(&Digest::of(&super::json(&document))));
    super::json(&document)
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
    let architecture = described.platform.map(|platform| platform.architecture.as_str());
    let purl = purl::image(described.name, &digest, architecture);
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
