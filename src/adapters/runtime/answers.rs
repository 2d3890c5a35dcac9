//! What engines print about themselves and about images, as far as it is read.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::RuntimeError;
use crate::content::Digest;
use crate::json::Obj;

/// What an engine printed, read as JSON. Nothing of it is believed without a comparison.
pub(super) fn answer<T: for<'de> Deserialize<'de>>(bytes: &[u8], command: &str) -> Result<T, RuntimeError> {
    serde_json::from_slice(bytes).map_err(|error| RuntimeError::answer(command, &error.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerInfo {
    pub(super) server_version: Option<String>,
    pub(super) driver_status: Option<Vec<Vec<String>>>,
    pub(super) security_options: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(super) struct PodmanInfo {
    pub(super) host: Obj<PodmanHost>,
    pub(super) version: Obj<PodmanVersion>,
}

#[derive(Deserialize)]
pub(super) struct PodmanHost {
    pub(super) security: Obj<PodmanSecurity>,
}

#[derive(Deserialize)]
pub(super) struct PodmanSecurity {
    pub(super) rootless: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PodmanVersion {
    pub(super) version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedImage {
    pub(super) id: String,
    pub(super) os: String,
    pub(super) architecture: String,
    #[serde(rename = "RootFS")]
    pub(super) root_fs: Option<Obj<InspectedRootFs>>,
    /// podman: those of the manifest that it stored last for this config.
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedRootFs {
    pub(super) layers: Option<Vec<Digest>>,
}

impl InspectedImage {
    /// podman writes the hex digits alone.
    pub(super) fn id(&self) -> Result<Digest, RuntimeError> {
        let hex = self.id.strip_prefix("sha256:").unwrap_or(&self.id);
        Digest::from_hex(hex).map_err(|error| RuntimeError::answer("image inspect", &error.to_string()))
    }
}
