//! What is said about a built image: its inventory, and where it came from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Source;
use crate::adapters::engine::Engine;
use crate::adapters::templates::Found;
use crate::attestation::predicate_types;
use crate::attestation::provenance::{Provenance, ResourceDescriptor};
use crate::content::Digest;
use crate::home;
use crate::lockfile::{Input, Lock};
use crate::oci::Platform;
use crate::oci::normalize::RULES;
use crate::oci::normalize::compress::Compression;
use crate::template::Template;

/// Everything that provenance is written from.
pub(super) struct Told<'a> {
    pub(super) template: &'a Template,
    pub(super) bundled: bool,
    pub(super) lock: &'a Lock,
    pub(super) inputs: &'a [(Input, PathBuf)],
    /// The templates underneath with their locks, the nearest first.
    pub(super) parents: Vec<(&'a Found, &'a Lock)>,
    /// The image underneath: its name and digest.
    pub(super) base: Option<(&'a str, &'a Digest)>,
    pub(super) platform: &'a Platform,
    pub(super) engine: &'a Engine,
    pub(super) raw_image: Digest,
    pub(super) source: Option<&'a Source>,
    pub(super) builder_id: &'a str,
    pub(super) invocation_id: Option<&'a str>,
    pub(super) compression: Compression,
    pub(super) dropped: &'a [String],
    pub(super) diff_ids: &'a [Digest],
    pub(super) documents: &'a BTreeMap<String, Digest>,
}

/// The provenance of a build, beside its image.
pub(super) const PROVENANCE: &str = "provenance.json";
/// Its SBOM as SPDX.
pub(super) const SPDX: &str = "sbom.spdx.json";
/// Its SBOM as CycloneDX.
pub(super) const CYCLONEDX: &str = "sbom.cdx.json";

/// The documents that a build leaves beside its image, and what each says.
pub const DOCUMENTS: [(&str, &str); 3] =
    [(PROVENANCE, predicate_types::SLSA_V1), (SPDX, predicate_types::SPDX), (CYCLONEDX, predicate_types::CYCLONEDX)];

/// Dependencies of every build that are not locked inputs: the template, its Dockerfile and its lock.
pub const OWN_DEPENDENCIES: usize = 3;

/// The provenance of a build, as docs/build-type.md reads it.
pub(super) fn provenance(told: &Told<'_>) -> Provenance {
    let Told { template, lock, platform, engine, .. } = told;
    let mut external = Map::new();
    if let Some(source) = told.source {
        external.insert("source".into(), json!({ "uri": source.uri, "gitCommit": source.commit }));
    }
    external.insert("template".into(), home::public_name(&template.name, told.bundled).into());
    external.insert("platform".into(), platform.to_string().into());
    external.insert("buildArguments".into(), Value::Object(Map::new()));
    external.insert("sourceDateEpoch".into(), lock.source_date_epoch.into());
    external.insert("network".into(), "none".into());
    external.insert("compression".into(), told.compression.as_str().into());
    let mut internal = Map::new();
    let mut ran = json!({ "name": engine.builder.as_str(), "version": engine.version });
    if let Some(name) = engine.builder_name() {
        ran["builder"] = name.into();
    }
    internal.insert("engine".into(), ran);
    let compression = told.compression.description();
    let canonical = json!({ "rules": RULES, "compression": compression, "dropped": told.dropped });
    internal.insert("canonicalImage".into(), canonical);
    let mut resolved_dependencies: Vec<_> =
        told.source.map(|source| ResourceDescriptor::commit(&*source.uri, &*source.commit)).into_iter().collect();
    resolved_dependencies.extend(of_template(template, told.bundled, lock, ""));
    resolved_dependencies.extend(told.inputs.iter().map(|(input, _)| of_input(input)));
    if let Some((name, digest)) = told.base {
        let (repository, _) = name.split_once(':').unwrap_or((name, ""));
        let uri = format!("pkg:oci/{repository}@sha256%3A{}", digest.hex());
        resolved_dependencies.push(ResourceDescriptor::new(uri, digest).named(name));
    }
    // What went into the image underneath went into this one.
    for (Found { template, bundled }, lock) in &told.parents {
        resolved_dependencies.extend(of_template(template, *bundled, lock, &format!("{}/", template.name)));
        resolved_dependencies.extend(lock.for_platform(platform).into_iter().map(of_input));
    }
    let mut byproducts: Vec<_> = told
        .documents
        .iter()
        .map(|(name, digest)| ResourceDescriptor::new(format!("bulla/{name}"), digest).named(name))
        .collect();
    for diff_id in told.diff_ids {
        byproducts.push(ResourceDescriptor::new("oci:diff_id", diff_id).named("diff_id"));
    }
    byproducts.push(ResourceDescriptor::new("oci:engine-image", &told.raw_image).named("engine-image"));
    Provenance {
        build_type: home::build_type(),
        external_parameters: external,
        internal_parameters: internal,
        resolved_dependencies,
        builder_id: told.builder_id.to_owned(),
        builder_version: BTreeMap::from([("bulla".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
        invocation_id: told.invocation_id.map(str::to_owned),
        started_on: None,
        finished_on: None,
        byproducts,
        config_source: None,
    }
}

/// The template itself; names begin with `prefix`.
fn of_template(
    template: &Template,
    bundled: bool,
    lock: &Lock,
    prefix: &str,
) -> [ResourceDescriptor; OWN_DEPENDENCIES] {
    let file = |name: &str| match bundled {
        true => format!("{}#images/{}/{name}", home::REPOSITORY, template.name),
        false => format!("local:{}/{name}", template.name),
    };
    let named = |uri: String, digest: &Digest, name: &str| {
        ResourceDescriptor::new(uri, digest).named(format!("{prefix}{name}"))
    };
    [
        named(file(""), &template.digest(), "template"),
        named(file("Dockerfile"), &Digest::of(template.dockerfile().as_bytes()), "Dockerfile"),
        named(file("template.lock"), &lock.digest(), "template.lock"),
    ]
}

fn of_input(input: &Input) -> ResourceDescriptor {
    ResourceDescriptor::new(input.purl(), &input.digest).named(input.file_name())
}
