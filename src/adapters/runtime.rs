//! The runtime: docker or podman on this machine, asked what it holds before anything is started.
//!
//! A tag is never given to it. It pulls by digest, or loads the verified blobs, and then has to show that it holds
//! the verified image: the image's id is the digest of the verified config (or, in docker's containerd store, of the
//! verified manifest), and both are digests of bytes that were judged. Nothing else about its answer is believed.

mod answers;
mod archive;
mod command;
mod error;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;

use self::answers::{DockerInfo, InspectedImage, PodmanInfo, answer};
use self::command::{Ended, Running};
pub use self::error::RuntimeError;
use super::process::{self, Invocation};
use super::{Event, Progress, Store};
use crate::content::Digest;
use crate::json::Obj;
use crate::oci::{ImageManifest, Platform};
use crate::reference::Repository;

/// A question to an engine: it answers at once, or it hangs.
const QUESTION: Duration = Duration::from_secs(30);
/// A pull or a load: gigabytes over a slow line.
const TRANSFER: Duration = Duration::from_secs(60 * 60);

/// Variables that tell an engine's client where its engine, its configuration and its credentials are. They and
/// nothing else are passed on: `DOCKER_DEFAULT_PLATFORM` and its like are not.
const PASSED_ON: [&str; 18] = [
    "HOME",
    "PATH",
    "LANG",
    "TERM",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "CONTAINER_HOST",
    "CONTAINERS_STORAGE_CONF",
    "REGISTRY_AUTH_FILE",
];

/// Which program runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// docker, with a daemon that may be elsewhere.
    Docker,
    /// podman, without one.
    Podman,
}

impl Kind {
    /// The program's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// What an engine calls an image by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// The digest of its config: docker's own store, podman.
    Config,
    /// The digest of its manifest: docker's containerd store.
    Manifest,
}

/// The image that an engine must hold, in terms of what was verified.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Where it was verified; absent for images that come from a layout.
    pub repository: Option<&'a Repository>,
    /// Digest of the platform's manifest.
    pub manifest_digest: &'a Digest,
    /// That manifest.
    pub manifest: &'a ImageManifest,
    /// The digests of its uncompressed layers, as the config has them.
    pub diff_ids: &'a [Digest],
    /// The platform it was verified for.
    pub platform: &'a Platform,
}

/// An image that an engine was seen to hold, by the id that it has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    id: Digest,
}

impl Held {
    /// The image's id: the verified config's digest, or the verified manifest's.
    pub const fn id(&self) -> &Digest {
        &self.id
    }
}

#[cfg(test)]
impl Held {
    /// An image as if it had been seen.
    pub(crate) const fn example(id: Digest) -> Self {
        Self { id }
    }
}

/// An engine that answers.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Which one.
    pub kind: Kind,
    /// Where its program is.
    pub program: PathBuf,
    /// The engine's version, as it says.
    pub version: String,
    /// Where the engine is, if that is not simply here: a socket, a remote host.
    pub endpoint: Option<String>,
    /// What it calls images by.
    pub ids: Ids,
    /// Whether it runs without root's rights.
    pub rootless: bool,
    env: Vec<(OsString, OsString)>,
}

impl Runtime {
    /// Finds an engine: the one asked for, else docker, else podman, the first that answers. `var` reads this
    /// process's environment.
    pub fn find(asked: Option<Kind>, var: impl Fn(&str) -> Option<OsString>) -> Result<Self, RuntimeError> {
        let env: Vec<(OsString, OsString)> =
            PASSED_ON.iter().filter_map(|name| var(name).map(|value| (OsString::from(name), value))).collect();
        let path = var("PATH").unwrap_or_default();
        let candidates = asked.map_or_else(|| vec![Kind::Docker, Kind::Podman], |kind| vec![kind]);
        let mut reasons = Vec::new();
        for kind in candidates {
            match process::find_program(kind.as_str(), &path) {
                None => reasons.push(format!("{} is not installed", kind.as_str())),
                Some(program) => match Self::probe(kind, program, env.clone()) {
                    Ok(runtime) => return Ok(runtime),
                    Err(error) => reasons.push(format!("{}: {error}", kind.as_str())),
                },
            }
        }
        Err(RuntimeError::NoRuntime { reasons: reasons.join("; ") })
    }

    /// A command to this engine, with the environment it gets.
    pub fn invocation<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Invocation {
        let mut invocation = Invocation::new(&self.program, args);
        invocation.env.clone_from(&self.env);
        invocation
    }

    /// The id that this engine will give an image.
    pub fn expected(&self, wanted: &Wanted<'_>) -> Held {
        Held {
            id: match self.ids {
                Ids::Config => wanted.manifest.config.digest,
                Ids::Manifest => *wanted.manifest_digest,
            },
        }
    }

    /// Sees to it that the engine holds the image, and that it really is that one. An image that it holds already is
    /// not fetched again; one with a repository is pulled by the engine, with the engine's own credentials, by
    /// digest; any other is loaded from `store`.
    pub fn hold(&self, wanted: &Wanted<'_>, store: &dyn Store, progress: Progress<'_>) -> Result<Held, RuntimeError> {
        if let Some(held) = self.look(wanted)? {
            return Ok(held);
        }
        match wanted.repository {
            Some(repository) => self.pull(repository, wanted, progress)?,
            None => self.load(wanted, store, progress)?,
        }
        match self.look(wanted)? {
            Some(held) => Ok(held),
            None => Err(RuntimeError::NotHeld {
                expected: self.expected(wanted).id,
                found: wanted.repository.and_then(|repository| self.found_instead(repository, wanted)),
            }),
        }
    }

    /// Replaces this process by the command. Returns only if that fails.
    #[cfg(unix)]
    pub fn exec(invocation: &Invocation) -> RuntimeError {
        use std::os::unix::process::CommandExt;
        let source = invocation.command().exec();
        invocation.not_started(source).into()
    }

    fn probe(kind: Kind, program: PathBuf, env: Vec<(OsString, OsString)>) -> Result<Self, RuntimeError> {
        let value = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let shown = |value: OsString| value.to_string_lossy().into_owned();
        let mut runtime = Self {
            kind,
            program,
            version: String::new(),
            endpoint: None,
            ids: Ids::Config,
            rootless: false,
            env: env.clone(),
        };
        match kind {
            Kind::Docker => {
                let info: DockerInfo = runtime.ask(["info", "--format", "{{json .}}"])?;
                // podman installed under docker's name answers with other keys.
                let version = info.server_version.filter(|version| !version.is_empty());
                runtime.version = version.ok_or_else(|| RuntimeError::answer("info", "no server version"))?;
                let containerd = ["driver-type", "io.containerd.snapshotter.v1"];
                if info.driver_status.unwrap_or_default().iter().any(|pair| pair == &containerd) {
                    runtime.ids = Ids::Manifest;
                }
                runtime.rootless =
                    info.security_options.unwrap_or_default().iter().any(|option| option.starts_with("name=rootless"));
                runtime.endpoint = match value("DOCKER_HOST").filter(|host| !host.is_empty()) {
                    Some(host) => Some(shown(host)),
                    None => runtime.context_endpoint(),
                };
            }
            Kind::Podman => {
                let info: PodmanInfo = runtime.ask(["info", "--format", "json"])?;
                runtime.version = info.version.0.version;
                runtime.rootless = info.host.0.security.0.rootless;
                runtime.endpoint = value("CONTAINER_HOST").filter(|host| !host.is_empty()).map(shown);
            }
        }
        Ok(runtime)
    }

    fn context_endpoint(&self) -> Option<String> {
        let invocation = self.invocation(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]);
        let ended = command::run(&invocation, QUESTION).ok().filter(|ended| ended.status.success())?;
        let endpoint = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
        (!endpoint.is_empty()).then_some(endpoint)
    }

    /// The image by its id, if it is here. The answer must repeat the id, and agree about platform, layers and,
    /// where they count, annotations.
    fn look(&self, wanted: &Wanted<'_>) -> Result<Option<Held>, RuntimeError> {
        let expected = self.expected(wanted);
        let Some(image) = self.inspect(&expected.id.to_string())? else { return Ok(None) };
        let id = image.id()?;
        if id != expected.id {
            return Err(RuntimeError::Id { expected: expected.id, actual: id });
        }
        let offered = Platform { os: image.os, architecture: image.architecture, variant: None };
        let asked = Platform { variant: None, ..wanted.platform.clone() };
        if offered != asked {
            return Err(RuntimeError::OtherPlatform { expected: asked.to_string(), actual: offered.to_string() });
        }
        let layers = image.root_fs.and_then(|Obj(root_fs)| root_fs.layers).unwrap_or_default();
        if layers != wanted.diff_ids {
            return Err(RuntimeError::Layers { id });
        }
        // podman knows an image by its config alone, and hands the annotations of whichever manifest came last to the
        // program that starts containers, which takes orders from them. None at all is what a docker archive leaves.
        let annotations = image.annotations.unwrap_or_default();
        if self.kind == Kind::Podman && !annotations.is_empty() && annotations != wanted.manifest.annotations {
            return Err(RuntimeError::Annotations { id });
        }
        Ok(Some(expected))
    }

    fn inspect(&self, name: &str) -> Result<Option<InspectedImage>, RuntimeError> {
        let invocation = self.invocation(["image", "inspect", "--", name]);
        let Ended { status, stdout, stderr } = command::run(&invocation, QUESTION)?;
        if status.success() {
            let images: Vec<Obj<InspectedImage>> = answer(&stdout, "image inspect")?;
            return match <[_; 1]>::try_from(images) {
                Ok([Obj(image)]) => Ok(Some(image)),
                Err(images) => Err(RuntimeError::answer("image inspect", &format!("{} images", images.len()))),
            };
        }
        let said = String::from_utf8_lossy(&stderr).to_lowercase();
        if ["no such image", "no such object", "image not known"].iter().any(|absent| said.contains(absent)) {
            return Ok(None);
        }
        Err(invocation.failed(status, &stderr).into())
    }

    /// What the engine has under the pinned name: for the message of a refusal, never for a decision.
    fn found_instead(&self, repository: &Repository, wanted: &Wanted<'_>) -> Option<Digest> {
        self.inspect(&repository.pin(*wanted.manifest_digest).to_string()).ok()??.id().ok()
    }

    fn pull(&self, repository: &Repository, wanted: &Wanted<'_>, progress: Progress<'_>) -> Result<(), RuntimeError> {
        let pinned = repository.pin(*wanted.manifest_digest).to_string();
        progress(Event::Step(&format!("{} pulls {pinned}", self.kind.as_str())));
        let platform = wanted.platform.to_string();
        let mut args = vec!["pull", "--quiet", "--platform", &platform];
        if self.kind == Kind::Podman && repository.is_loopback() {
            // docker speaks plain http to loopback by itself; what comes is checked by digest either way.
            args.push("--tls-verify=false");
        }
        args.extend(["--", &pinned]);
        let invocation = self.invocation(args);
        let ended = command::run(&invocation, TRANSFER)?;
        if ended.status.success() { Ok(()) } else { Err(invocation.failed(ended.status, &ended.stderr).into()) }
    }

    fn load(&self, wanted: &Wanted<'_>, store: &dyn Store, progress: Progress<'_>) -> Result<(), RuntimeError> {
        progress(Event::Step(&format!("{} loads {}", self.kind.as_str(), wanted.manifest_digest)));
        let invocation = self.invocation(["load", "--quiet"]);
        let mut running = Running::start(&invocation, Stdio::piped(), TRANSFER)?;
        let written = match running.child.stdin.take() {
            Some(stdin) => {
                let watch = running.watch();
                let mut stdin = BufWriter::with_capacity(1 << 20, stdin);
                let written = archive::write(store, wanted, &mut stdin);
                let written = written.and_then(|()| stdin.flush().map_err(RuntimeError::Stream));
                drop(watch);
                if written.as_ref().is_err_and(|error| !error.is_hang_up()) {
                    // What came so far must not look like all there is, so the command does not live to see the end.
                    let _ = running.child.kill();
                }
                written
            }
            None => Err(RuntimeError::Stream(io::Error::other("the engine takes no input"))),
        };
        match written {
            Ok(()) => {}
            // Its own words say why.
            Err(error) if error.is_hang_up() => {}
            Err(error) => return Err(error),
        }
        let ended = running.wait()?;
        if ended.status.success() { Ok(()) } else { Err(invocation.failed(ended.status, &ended.stderr).into()) }
    }

    fn ask<T: for<'de> Deserialize<'de>>(&self, args: [&str; 3]) -> Result<T, RuntimeError> {
        let invocation = self.invocation(args);
        let ended = command::run(&invocation, QUESTION)?;
        if !ended.status.success() {
            return Err(invocation.failed(ended.status, &ended.stderr).into());
        }
        let Obj(said) = answer(&ended.stdout, args[0])?;
        Ok(said)
    }
}

#[cfg(test)]
impl Runtime {
    /// An engine as if it had been found.
    pub(crate) fn example(kind: Kind, rootless: bool) -> Self {
        Self {
            kind,
            program: PathBuf::from("/usr/bin").join(kind.as_str()),
            version: "1.2.3".to_owned(),
            endpoint: None,
            ids: Ids::Config,
            rootless,
            env: vec![("PATH".into(), "/usr/bin".into())],
        }
    }
}

/// The user that this process runs as: user id and group id.
#[cfg(unix)]
pub fn host_user() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
}

/// A folder by its one real path, without links. An error if it is none.
pub fn real_folder(path: &Path) -> Result<PathBuf, RuntimeError> {
    let failed = |source| RuntimeError::Folder { path: path.to_owned(), source };
    let real = path.canonicalize().map_err(failed)?;
    if real.is_dir() { Ok(real) } else { Err(failed(io::ErrorKind::NotADirectory.into())) }
}

/// A path without links in it, if anything is there.
pub fn real_path(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// The sockets through which this machine's engines are commanded, those that exist, by their real paths.
pub fn engine_sockets(runtime: &Runtime, var: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut sockets: Vec<PathBuf> = ["/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock"]
        .iter()
        .map(PathBuf::from)
        .collect();
    if let Some(runtime_dir) = var("XDG_RUNTIME_DIR").map(PathBuf::from) {
        sockets.extend([runtime_dir.join("docker.sock"), runtime_dir.join("podman/podman.sock")]);
    }
    let endpoint = runtime.endpoint.as_deref().and_then(|endpoint| endpoint.strip_prefix("unix://"));
    sockets.extend(endpoint.map(PathBuf::from));
    sockets.iter().filter_map(|socket| socket.canonicalize().ok()).collect()
}
