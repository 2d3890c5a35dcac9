//! Image configs (image-spec, config.md): platform, layers' diff_ids, and how the image wants to be run.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ImageManifest, OciError, Platform};
use crate::content::Digest;
use crate::json::{self, Obj, Shape};

/// What of an image config is used: platform, layers' diff_ids, and how it wants to be run (image-spec, config.md).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `linux`
    pub os: String,
    /// `amd64` …
    pub architecture: String,
    /// `v8` …
    pub variant: Option<String>,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// `user` or `uid:gid`, as it stands.
    pub user: String,
    /// `NAME=value`
    pub env: Vec<String>,
    /// The program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// Arguments used when none are given.
    pub cmd: Vec<String>,
    /// The working directory.
    pub working_dir: String,
    /// Paths that an engine would give a writable volume of its own.
    pub volumes: Vec<String>,
    /// Labels: somebody's own words.
    pub labels: BTreeMap<String, String>,
}

pub(crate) const CONFIG_SHAPE: Shape = Shape {
    name: "image config",
    // Engines written in Go obey a `user` or an `ENV` as well: what is judged must be all that they see.
    known: &[
        "os",
        "architecture",
        "variant",
        "rootfs",
        "diff_ids",
        "type",
        "config",
        "history",
        "User",
        "Env",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "Volumes",
        "Labels",
        "ExposedPorts",
        "Healthcheck",
        "OnBuild",
        "Shell",
        "StopSignal",
        "ArgsEscaped",
    ],
    opaque: &["Labels", "Volumes", "ExposedPorts", "history"],
};

#[derive(Deserialize)]
struct WireConfig {
    os: String,
    architecture: String,
    variant: Option<String>,
    rootfs: Obj<WireRootfs>,
    config: Option<Obj<WireRun>>,
}

#[derive(Deserialize)]
struct WireRootfs {
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct WireRun {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    labels: Option<BTreeMap<String, String>>,
}

impl ImageConfig {
    /// Reads an image config.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let wire: WireConfig = json::parse(bytes, &CONFIG_SHAPE)?;
        let Obj(rootfs) = wire.rootfs;
        let run = wire.config.unwrap_or_default().0;
        Ok(Self {
            os: wire.os,
            architecture: wire.architecture,
            variant: wire.variant.filter(|variant| !variant.is_empty()),
            diff_ids: rootfs.diff_ids,
            user: run.user.unwrap_or_default(),
            env: run.env.unwrap_or_default(),
            entrypoint: run.entrypoint.unwrap_or_default(),
            cmd: run.cmd.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
            volumes: run.volumes.unwrap_or_default().into_keys().collect(),
            labels: run.labels.unwrap_or_default(),
        })
    }

    /// The platform it was built for.
    pub fn platform(&self) -> Platform {
        Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant: self.variant.clone() }
    }

    /// Refuses a config that is not this manifest's: another platform, another number of layers.
    pub fn check_against(&self, manifest: &ImageManifest, platform: &Platform) -> Result<(), OciError> {
        if self.diff_ids.len() != manifest.layers.len() {
            return Err(OciError::LayerCount { config: self.diff_ids.len(), manifest: manifest.layers.len() });
        }
        if !platform.matches(&self.platform()) {
            return Err(OciError::Malformed {
                name: "image config",
                reason: format!("it is for {} where {platform} was asked for", self.platform()),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i13_a_config_says_the_same_to_every_reader() {
        let config = |run: &str| {
            let text = format!(
                r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":[]}},"config":{run}}}"#
            );
            ImageConfig::parse(text.as_bytes())
        };
        let read = config(r#"{"Cmd":["/x"],"Labels":{"a":"1","A":"2"},"Env":["USER=x"]}"#).unwrap();
        assert_eq!((read.cmd.len(), read.labels.len()), (1, 2));
        for hidden in ["env", "ENV", "user", "workingdir", "volumes", "entrypoint", "healthcheck", "onbuild"] {
            assert!(config(&format!(r#"{{"Cmd":["/x"],"{hidden}":null}}"#)).is_err(), "{hidden}");
        }
    }
}
