//! The record of a build: what `DIR/bulla/build.json` says. Schema `bulla.build/v1`: fields are added, never renamed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::content::Digest;
use crate::json;
use crate::oci::Platform;

/// The name of the schema.
pub const SCHEMA: &str = "bulla.build/v1";

/// The file that the record stands in, beside the image.
pub const RECORD: &str = "build.json";

/// What was built, from what, by what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildRecord {
    /// [`SCHEMA`]
    pub schema: Cow<'static, str>,
    /// bulla itself.
    pub tool: Named,
    /// The template, as it was built.
    pub template: TemplateRecord,
    /// The templates that it stands on, the nearest first.
    pub parents: Vec<TemplateRecord>,
    /// The image's platform.
    #[serde(serialize_with = "as_text", deserialize_with = "of_text")]
    pub platform: Platform,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub source_date_epoch: i64,
    /// The commit that the template is from, where that is known.
    pub source: Option<super::Source>,
    /// Who is accountable: a workflow of a CI system, or `<repository>/local-rebuild`.
    pub builder_id: String,
    /// The engine that ran the Dockerfile.
    pub engine: EngineRecord,
    /// What the engine was given.
    pub inputs: InputsRecord,
    /// The canonical image.
    pub image: ImageRecord,
    /// The documents beside it, by file name, with their digests.
    pub documents: BTreeMap<String, Digest>,
    /// How many builds gave this digest: 2 after `--check`.
    pub builds: u32,
    /// Whether no engine ran, as a finished build of the same inputs was here.
    pub reused: bool,
    /// What the digest was held against.
    pub expected: Expected,
    /// Whether image and documents were signed in the same run. A build by itself leaves them unsigned.
    pub signed: bool,
}

/// What a digest was held against, and with what result. That it differs is no record but an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// It is the digest that was recorded beside the lock.
    Match,
    /// None was recorded for this lock, these rules and this platform.
    NotRecorded,
}

/// A program and its version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Which template, exactly.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRecord {
    /// Its name; one that is not bundled is called `local-…`.
    pub name: String,
    /// Its version.
    pub release: String,
    /// Whether it is one of those in the binary. A template of the user's own is not, whatever it is called.
    pub bundled: bool,
    /// Digest over its files: `Template::digest`.
    pub digest: Digest,
    /// Digest of its lock.
    pub lock: Digest,
}

/// What ran the Dockerfile.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineRecord {
    /// `docker-buildkit`, `buildah` …
    pub name: String,
    /// Its own word for its version.
    pub version: String,
    /// The builder that was named, as `docker buildx` knows it; it may be on another machine.
    pub builder: Option<String>,
    /// Always `none`.
    pub network: Cow<'static, str>,
    /// Engines that were tried first, and why they were not taken.
    pub passed_over: Vec<String>,
    /// Digest of the image as the engine made it, before it was made canonical.
    pub raw_image: Digest,
}

/// What went in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputsRecord {
    /// How many files; as many as the provenance names beside the template's own.
    pub count: usize,
    /// Their size together, in bytes.
    pub bytes: u64,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// `<template>:<version>`, its name in the layout.
    pub name: String,
    /// Digest of its manifest: what is signed, published and launched.
    pub digest: Digest,
    /// Digest of its config, which engines call the image id.
    pub config: Digest,
    /// Layers, lowest first.
    pub layers: Vec<LayerRecord>,
    /// Packages that were found in it.
    pub packages: usize,
    /// Version of the rules that made it canonical.
    pub rules: Cow<'static, str>,
    /// How the new layer is stored: `gzip` or `zstd`.
    pub compression: Cow<'static, str>,
    /// Paths that those rules removed.
    pub dropped: Vec<String>,
}

/// One layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerRecord {
    /// Digest of the stored bytes.
    pub digest: Digest,
    /// Size of the stored bytes.
    pub size: u64,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
}

impl BuildRecord {
    /// The document, with a newline at its end.
    pub fn write(&self) -> Vec<u8> {
        json::pretty(self)
    }
}

fn of_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Platform, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn as_text<S: serde::Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
