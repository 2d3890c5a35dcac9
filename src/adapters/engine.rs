//! Engines: the programs that run a Dockerfile. One is found by trying it, told what to do in one argument vector,
//! and what it made is taken in with every byte hashed again.
//!
//! None is trusted to give the same bytes as another: the canonical image is made afterwards. Each is trusted to have
//! built what it was told, without a network; where its own flags do not promise that, a network namespace does.

mod apart;
pub mod context;
pub mod import;
pub mod plan;
mod probe;
pub mod workplace;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::Stdio;

pub use import::{EngineImage, StoredLayer};
pub use plan::{Job, Output, Plan};
pub use probe::find;
pub use workplace::Workplace;

use super::Progress;
use super::process::{Invocation, ProcessError};
use super::state::StateError;
use crate::class::{Class, Classified};
use crate::content::ContentError;
use crate::oci::OciError;

/// Which engine a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The first that works.
    Auto,
    /// docker, with whatever builder it has.
    Docker,
    /// buildah.
    Buildah,
    /// podman.
    Podman,
    /// A BuildKit on this machine or another, by the name under which `docker buildx` knows it.
    Builder(String),
}

/// What builds, inside an engine, and how its output is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Builder {
    /// docker with the buildx plugin; `export`: its builder writes OCI layouts, so nothing goes through the daemon.
    Buildx {
        /// Whether the selected builder can write an OCI layout.
        export: bool,
        /// The builder that a person named; absent: the one that docker has selected.
        name: Option<String>,
    },
    /// docker with the BuildKit that is in the daemon and a client that speaks to it.
    BuildKit,
    /// docker's first builder.
    Classic,
    /// buildah, with chroot isolation in namespaces of its own.
    Buildah {
        /// Storage driver: `overlay` or `vfs`.
        storage: String,
        /// Run by an ordinary user.
        rootless: bool,
    },
    /// podman.
    Podman {
        /// Storage driver: `overlay` or `vfs`.
        storage: String,
        /// Run by an ordinary user.
        rootless: bool,
    },
}

impl Builder {
    /// As it stands in records: `docker-buildkit`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Buildx { .. } => "docker-buildx",
            Self::BuildKit => "docker-buildkit",
            Self::Classic => "docker-classic",
            Self::Buildah { .. } => "buildah",
            Self::Podman { .. } => "podman",
        }
    }
}

/// An engine that was tried and works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// The program.
    pub program: PathBuf,
    /// What it calls its version.
    pub version: String,
    /// What builds in it.
    pub builder: Builder,
    /// The environment that it gets, besides what a plan adds.
    pub env: Vec<(OsString, OsString)>,
}

/// What of this process's environment engines need: where programs, sockets and their configuration are.
#[derive(Debug, Clone, Default)]
pub struct Host {
    env: Vec<(OsString, OsString)>,
}

/// Variables that engines get. Proxies, tokens and locales are not among them.
const PASSED: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "XDG_RUNTIME_DIR",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "BUILDX_BUILDER",
];

impl Host {
    /// Takes the variables that engines get.
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>) -> Self {
        Self { env: PASSED.iter().filter_map(|name| Some(((*name).into(), var(name)?))).collect() }
    }

    fn path(&self) -> &OsStr {
        let found = self.env.iter().find(|(name, _)| name == "PATH");
        found.map_or(OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), |(_, path)| path)
    }

    fn invocation<A: Into<OsString>>(
        &self,
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
    ) -> Invocation {
        let invocation = Invocation::new(program, args).env("LC_ALL", "C");
        self.env.iter().fold(invocation, |invocation, (name, value)| invocation.env(name, value))
    }
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// None works here.
    #[error("no engine can build here: install docker, buildah or podman, or see what each of them lacks:\n{}", .0.join("\n"))]
    None(Vec<String>),
    /// The build ended badly, or its output could not be had.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// What came out is not an image that can be taken.
    #[error("what {engine} built cannot be taken: {reason}")]
    Output {
        /// The engine.
        engine: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document in it is not acceptable.
    #[error("what the engine built cannot be taken: {0}")]
    Document(#[from] OciError),
    /// A blob in it is not what its name says.
    #[error("what the engine built cannot be taken: {0}")]
    Content(#[from] ContentError),
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Classified for EngineError {
    fn class(&self) -> Class {
        match self {
            Self::None(_) | Self::Process(_) | Self::Output { .. } | Self::Document(_) => Class::Build,
            Self::Content(error) => error.class(),
            Self::State(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::None(_) => "no-engine",
            Self::Process(_) => "engine-failed",
            Self::Output { .. } | Self::Document(_) => "engine-output",
            Self::Content(error) => error.code(),
            Self::State(error) => error.code(),
        }
    }
}

impl Engine {
    /// The builder that a person named, where one was.
    pub fn builder_name(&self) -> Option<&str> {
        match &self.builder {
            Builder::Buildx { name, .. } => name.as_deref(),
            _ => None,
        }
    }

    /// For a person and for records: `buildah 1.28.2`.
    pub fn display(&self) -> String {
        format!("{} {}", self.builder.as_str(), self.version)
    }

    /// Builds, and takes in what came out: blobs below the job's work folder. Nothing stays in the engine's own
    /// storage that a next build could see, whether this one worked or not.
    pub fn build(&self, job: &Job, progress: Progress<'_>) -> Result<EngineImage, EngineError> {
        let plan = self.plan(job);
        progress(super::Event::Step(&format!("building with {}, without a network", self.display())));
        let result = self.run(job, &plan);
        for invocation in &plan.clean_up {
            // A build that failed left nothing to remove, and the result does not depend on it.
            let _ = invocation.output();
        }
        result
    }

    fn run(&self, job: &Job, plan: &Plan) -> Result<EngineImage, EngineError> {
        super::state::create_dir(&job.work.join("tmp"))?;
        logged(&plan.build, &job.work.join("build.log"))?;
        let blobs = job.work.join("blobs");
        let image = match &plan.output {
            Output::Archive(invocation) => {
                let mut command = invocation.command();
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = command.spawn().map_err(|source| invocation.not_started(source))?;
                let taken = match child.stdout.take() {
                    Some(stdout) => import::docker_archive(stdout, &blobs),
                    None => Err(self.output("it has no standard output")),
                };
                if taken.is_err() {
                    let _ = child.kill(); // it may wait for a reader that is gone
                }
                let ended = child.wait_with_output().map_err(|source| invocation.not_started(source))?;
                match taken {
                    Ok(_) if !ended.status.success() => Err(invocation.failed(ended.status, &ended.stderr))?,
                    taken => taken?,
                }
            }
            Output::Folder(invocation, dir) => {
                invocation.output()?;
                import::folder(dir)?
            }
            Output::LayoutTar(path) => import::layout_tar(path, &job.work.join("image"))?,
        };
        let (built, asked) = (&image.platform, &job.platform);
        if !asked.matches(built) {
            return Err(self.output(&format!("it is for {built}, and {asked} was asked for")));
        }
        Ok(image)
    }

    fn output(&self, reason: &str) -> EngineError {
        EngineError::Output { engine: self.display(), reason: reason.to_owned() }
    }
}

/// Runs a program to its end with everything it prints in one file, the end of which is the reason if it fails.
fn logged(invocation: &Invocation, log: &std::path::Path) -> Result<(), EngineError> {
    let open = || File::options().create(true).append(true).read(true).open(log).map_err(StateError::io("write", log));
    let (out, err) = (open()?, open()?);
    let mut command = invocation.command();
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let status = command.status().map_err(|source| invocation.not_started(source))?;
    if status.success() {
        return Ok(());
    }
    let mut file = open()?;
    let length = file.metadata().map_or(0, |meta| meta.len());
    let mut end = Vec::new();
    let seeking = file.seek(std::io::SeekFrom::Start(length.saturating_sub(16 << 10)));
    seeking.and_then(|_| file.take(16 << 10).read_to_end(&mut end)).map_err(StateError::io("read", log))?;
    Err(invocation.failed(status, &end).into())
}
