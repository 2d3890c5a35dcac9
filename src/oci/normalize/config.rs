//! The canonical image config and manifest: few fields, one order, nothing of the day or the engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RULES;
use crate::content::Digest;
use crate::json::{self, Obj};
use crate::oci::{CONFIG_SHAPE, Descriptor, OciError, names};

/// What every runtime sets where an image says nothing; some engines write it down and some do not.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is taken over from an engine's config: everything else is dropped.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct EngineConfig {
    architecture: String,
    os: String,
    variant: Option<String>,
    config: Option<Obj<Run>>,
    rootfs: Obj<Rootfs>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Rootfs {
    diff_ids: Vec<Digest>,
}

/// How a container is run (image-spec, config.md), and Docker's health check. In the order in which it is written.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<BTreeMap<String, Obj<Empty>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Obj<Healthcheck>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<BTreeMap<String, Obj<Empty>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
struct Empty {}

/// Times in nanoseconds; 0 means the runtime's default.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
struct Healthcheck {
    #[serde(skip_serializing_if = "is_zero")]
    interval: u64,
    #[serde(skip_serializing_if = "is_zero")]
    retries: u64,
    #[serde(skip_serializing_if = "is_zero")]
    start_interval: u64,
    #[serde(skip_serializing_if = "is_zero")]
    start_period: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    timeout: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl EngineConfig {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let config: Self = json::parse(bytes, &CONFIG_SHAPE)?;
        if config.os.is_empty() || config.architecture.is_empty() {
            let reason = "it does not say for which platform it is".to_owned();
            return Err(OciError::Malformed { name: "image config", reason });
        }
        Ok(config)
    }

    /// Digests of the uncompressed layers, lowest first.
    pub(super) fn diff_ids(&self) -> &[Digest] {
        &self.rootfs.0.diff_ids
    }

    /// The canonical config of an image with these layers. `labels` are laid over the engine's.
    pub(super) fn write(
        &self,
        diff_ids: &[Digest],
        created: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let created_by = format!("bulla canonical image, rules {RULES}");
        let line = Line { created, created_by: &created_by };
        serde_json::to_vec(&Config {
            architecture: &self.architecture,
            config: self.run(labels),
            created,
            history: vec![line; diff_ids.len()],
            os: &self.os,
            rootfs: WrittenRootfs { diff_ids, kind: "layers" },
            variant: self.variant(),
        })
    }

    /// arm64 and arm64/v8 are one platform; engines differ in which they write.
    fn variant(&self) -> Option<&str> {
        let variant = self.variant.as_deref()?;
        let plain = variant.is_empty() || (self.architecture == "arm64" && variant == "v8");
        (!plain).then_some(variant)
    }

    /// One spelling for what means the same: absent for empty, `/` for no working directory, sorted variables.
    fn run(&self, labels: &BTreeMap<String, String>) -> Run {
        let mut run = self.config.clone().unwrap_or_default().0;
        run.cmd = run.cmd.filter(|words| !words.is_empty());
        run.entrypoint = run.entrypoint.filter(|words| !words.is_empty());
        run.exposed_ports = run.exposed_ports.filter(|ports| !ports.is_empty());
        run.volumes = run.volumes.filter(|volumes| !volumes.is_empty());
        run.healthcheck = run.healthcheck.filter(|Obj(check)| !check.test.is_empty());
        run.stop_signal = run.stop_signal.filter(|signal| !signal.is_empty());
        run.user = run.user.filter(|user| !user.is_empty());
        run.working_dir = Some(run.working_dir.filter(|folder| !folder.is_empty()).unwrap_or_else(|| "/".to_owned()));
        run.env = Some(sorted(run.env.unwrap_or_default()));
        let mut merged = run.labels.unwrap_or_default();
        merged.retain(|key, _| !key.starts_with("io.buildah."));
        merged.extend(labels.clone());
        run.labels = Some(merged).filter(|labels| !labels.is_empty());
        run
    }
}

/// Sorted by name, the last value of each name, and a search path.
fn sorted(env: Vec<String>) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut variables: BTreeMap<String, String> = [(name(DEFAULT_PATH), DEFAULT_PATH.to_owned())].into();
    variables.extend(env.into_iter().map(|variable| (name(&variable), variable)));
    variables.into_values().collect()
}

/// The canonical manifest.
pub(super) fn manifest(config: &Descriptor, layers: &[Descriptor]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Manifest { schema_version: 2, media_type: names::MANIFEST, config, layers })
}

#[derive(Serialize)]
struct Config<'a> {
    architecture: &'a str,
    config: Run,
    created: &'a str,
    history: Vec<Line<'a>>,
    os: &'a str,
    rootfs: WrittenRootfs<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
}

#[derive(Clone, Serialize)]
struct Line<'a> {
    created: &'a str,
    created_by: &'a str,
}

#[derive(Serialize)]
struct WrittenRootfs<'a> {
    diff_ids: &'a [Digest],
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'static str,
    config: &'a Descriptor,
    layers: &'a [Descriptor],
}
