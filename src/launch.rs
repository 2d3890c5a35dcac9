//! Launching: an admitted image, a profile and a runtime become one argument vector, and the runtime is started.
//!
//! The plan is pure and takes an image that a policy admitted; there is no other way to make one. What it names is an
//! id that the runtime was seen to hold and that is a digest of verified bytes, so nothing that happens to tags,
//! names or registries between the verdict and the start can change what starts.

mod config;
mod profile;

use std::ffi::OsString;

use serde::Serialize;

pub use self::config::{check_annotations, check_config};
pub use self::profile::{Home, Profile, Variables, WORKSPACE, Workspace};
use crate::adapters::process::Invocation;
use crate::adapters::runtime::{Held, Kind, Runtime, RuntimeError, Wanted};
use crate::adapters::{Progress, Store, StoreError};
use crate::class::{Class, Classified};
use crate::content::{Digest, limits};
use crate::oci::{ImageConfig, ImageManifest, Manifest, OciError, Platform};
use crate::policy::verdict::{AdmittedImage, Basis};
use crate::reference::PinnedReference;
use crate::template::{Network, Tmpfs};

/// An admitted image's own documents, read again by digest and found fit to be started.
#[derive(Debug)]
pub struct Ready {
    manifest_digest: Digest,
    manifest: ImageManifest,
    config: ImageConfig,
    platform: Platform,
    reference: Option<PinnedReference>,
}

impl Ready {
    /// Reads manifest and config of the image from `store` and refuses what nobody should start.
    pub fn read(image: &AdmittedImage, store: &dyn Store) -> Result<Self, LaunchError> {
        let subject = image.subject();
        let served = store.manifest(&subject.manifest)?;
        let manifest = Manifest::parse(&served.raw, served.media_type.as_deref())?.into_image()?;
        if served.digest != subject.manifest || manifest.config.digest != subject.config {
            return Err(LaunchError::AnotherImage { digest: subject.manifest });
        }
        if !manifest.is_runnable() {
            return Err(LaunchError::NotAnImage { digest: subject.manifest });
        }
        let config = ImageConfig::parse(&store.blob(&manifest.config, limits::CONFIG)?)?;
        config.check_against(&manifest, &subject.platform)?;
        check_config(&config)?;
        Ok(Self {
            manifest_digest: served.digest,
            manifest,
            config,
            platform: subject.platform.clone(),
            reference: subject.reference.clone(),
        })
    }

    /// Brings the image into the runtime and makes sure that it is there and is the one.
    pub fn hold(&self, runtime: &Runtime, store: &dyn Store, progress: Progress<'_>) -> Result<Held, LaunchError> {
        // docker leaves an image's annotations alone.
        if runtime.kind == Kind::Podman {
            check_annotations(&self.manifest.annotations)?;
        }
        Ok(runtime.hold(&self.wanted(), store, progress)?)
    }

    /// What the runtime will hold, for a plan that is only shown.
    pub fn expected(&self, runtime: &Runtime) -> Held {
        runtime.expected(&self.wanted())
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            repository: self.reference.as_ref().map(|reference| &reference.repository),
            manifest_digest: &self.manifest_digest,
            manifest: &self.manifest,
            diff_ids: &self.config.diff_ids,
            platform: &self.platform,
        }
    }
}

/// What a person wants of one container.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What it gets.
    pub profile: &'a Profile,
    /// User and group id that bulla runs as.
    pub host_user: (u32, u32),
    /// The folder that it works in, if any.
    pub workspace: Option<&'a Workspace>,
    /// Variables of the host's that it gets.
    pub variables: &'a Variables,
    /// Whether it reads standard input.
    pub interactive: bool,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// The command, in place of the image's own.
    pub cmd: &'a [OsString],
}

/// A container to be started: the whole command, and what to record about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchPlan {
    invocation: Invocation,
    record: LaunchRecord,
}

/// What is recorded of a launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchRecord {
    /// `docker` or `podman`.
    pub runtime: &'static str,
    /// Its version, as it says.
    pub version: String,
    /// Where it is, if it says: a socket, or another machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The id that is started.
    pub image: Digest,
    /// The platform's manifest, as it was judged.
    pub manifest: Digest,
    /// What rules knew the image by.
    pub name: String,
    /// On what ground it may be launched: `verified`, `rebuilt` or `not-enforced`.
    pub basis: &'static str,
    /// User and group inside.
    pub user: String,
    /// `none` or `bridge`.
    pub network: &'static str,
    /// The host's folder at [`WORKSPACE`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The argument vector, program first. Variables stand there by name alone.
    pub argv: Vec<String>,
}

impl LaunchPlan {
    /// The command.
    pub const fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// What to record.
    pub const fn record(&self) -> &LaunchRecord {
        &self.record
    }

    /// Replaces this process by the container's command; its exit code is then the container's. Returns only when
    /// nothing was started.
    #[cfg(unix)]
    pub fn exec(&self) -> RuntimeError {
        Runtime::exec(&self.invocation)
    }
}

/// The command that starts an admitted image, hardened. Pure: nothing is started or looked at.
pub fn plan(
    image: &AdmittedImage,
    held: &Held,
    runtime: &Runtime,
    request: &Request<'_>,
) -> Result<LaunchPlan, LaunchError> {
    // The runtime's word counts only if it is a digest of what was verified.
    let subject = image.subject();
    if *held.id() != subject.config && *held.id() != subject.manifest {
        return Err(LaunchError::AnotherImage { digest: *held.id() });
    }
    let profile = request.profile;
    profile.check()?;
    let (uid, gid) = if request.host_user.0 == 0 { profile.user } else { request.host_user };
    let user = format!("{uid}:{gid}");
    let platform = subject.platform.to_string();
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));

    add(&["run", "--rm", "--pull=never", "--platform", &platform]);
    add(&["--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--user", &user]);
    if runtime.kind == Kind::Podman {
        if runtime.rootless {
            add(&["--userns=keep-id"]); // else the host's user would be somebody else inside
        }
        add(&["--http-proxy=false"]); // podman hands the host's proxies, credentials and all, to containers
        // An image whose command is named init would get folders and a stop signal of its own choosing, and one with
        // a health check a timer on the host.
        add(&["--systemd=false", "--no-healthcheck"]);
    }
    add(&["--network", network_argument(profile.network, runtime.kind)]);
    let memory = profile.memory.to_string();
    // Swap is counted in; without it a container could have as much again.
    add(&["--memory", &memory, "--memory-swap", &memory, "--pids-limit", &profile.pids.to_string()]);
    // What is said inside stays out of the engine's log files; no label can name a driver either.
    add(&["--log-driver=none"]);
    // The user owns what it may write to, and can run what it builds there. Some runtimes take a folder's mode from
    // the image, so it is the owner that counts.
    let owner = match runtime.kind {
        Kind::Docker => format!("uid={uid},gid={gid}"),
        Kind::Podman => "U".to_owned(),
    };
    for Tmpfs { path, size } in profile.folders() {
        add(&["--tmpfs", &format!("{path}:rw,exec,nosuid,nodev,mode=1777,{owner},size={size}")]);
    }
    add(&["--env", &format!("HOME={}", profile.home)]);
    if runtime.kind == Kind::Docker {
        // docker's client hands containers the proxies of its configuration file, unless the variables are set.
        for name in profile::PROXIES {
            add(&["--env", &format!("{name}=")]);
        }
    }
    if let Some(workspace) = request.workspace {
        add(&["--mount", &format!("type=bind,source={},target={WORKSPACE}", workspace.as_str())]);
        add(&["--workdir", WORKSPACE]);
    }
    for (name, _) in request.variables.iter() {
        add(&["--env", name]);
    }
    if request.interactive {
        add(&["--interactive"]);
    }
    if request.terminal {
        add(&["--tty"]);
    }
    // Nothing after this is an option, whatever it looks like.
    add(&["--", &held.id().to_string()]);
    args.extend_from_slice(request.cmd);

    let mut invocation = runtime.invocation(args);
    for (name, value) in request.variables.iter() {
        invocation = invocation.env(name, value);
    }
    let argv = std::iter::once(&invocation.program).chain(&invocation.args);
    let record = LaunchRecord {
        runtime: runtime.kind.as_str(),
        version: runtime.version.clone(),
        endpoint: runtime.endpoint.clone(),
        image: *held.id(),
        manifest: subject.manifest,
        name: subject.name.clone(),
        basis: match image.basis() {
            Basis::Verified => "verified",
            Basis::Rebuilt => "rebuilt",
            Basis::NotEnforced => "not-enforced",
        },
        user,
        network: match profile.network {
            Network::None => "none",
            Network::Bridge => "bridge",
        },
        workspace: request.workspace.map(|workspace| workspace.as_str().to_owned()),
        argv: argv.map(|word| word.to_string_lossy().into_owned()).collect(),
    };
    Ok(LaunchPlan { invocation, record })
}

/// What to say to the runtime: podman's `private` is a bridge for root and its user-mode network for others.
const fn network_argument(network: Network, kind: Kind) -> &'static str {
    match (network, kind) {
        (Network::None, _) => "none",
        (Network::Bridge, Kind::Docker) => "bridge",
        (Network::Bridge, Kind::Podman) => "private",
    }
}

/// Why nothing is started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// An image config that nobody should start.
    #[error("the image's {what} {value:?} is refused: {reason}")]
    Config {
        /// Which instruction.
        what: &'static str,
        /// Its value, cut to a sensible length.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not something that a container is started from.
    #[error("{digest} is not an image that can be started")]
    NotAnImage {
        /// What it is about.
        digest: Digest,
    },
    /// Not what was admitted.
    #[error("{digest} is not the image that was admitted")]
    AnotherImage {
        /// What it is about.
        digest: Digest,
    },
    /// A profile that sets no bounds.
    #[error("the launch profile is refused: {reason}")]
    Profile {
        /// What is wrong with it.
        reason: String,
    },
    /// A folder that must not be handed over.
    #[error("{path} cannot be the working folder: {reason}; give a project's folder")]
    Workspace {
        /// The folder.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable that must not be handed over.
    #[error("{name:?} cannot be handed to the container: {reason}")]
    Variable {
        /// Its name, cut to a sensible length.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The image could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document of the image is not acceptable.
    #[error(transparent)]
    Oci(#[from] OciError),
}

impl Classified for LaunchError {
    fn class(&self) -> Class {
        match self {
            Self::Config { .. } | Self::NotAnImage { .. } => Class::Format,
            Self::AnotherImage { .. } => Class::Runtime,
            Self::Profile { .. } | Self::Workspace { .. } | Self::Variable { .. } => Class::Usage,
            Self::Runtime(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Oci(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Config { .. } => "unsafe-image-config",
            Self::NotAnImage { .. } => "not-an-image",
            Self::AnotherImage { .. } => "another-image",
            Self::Profile { .. } => "bad-profile",
            Self::Workspace { .. } => "unsafe-workspace",
            Self::Variable { .. } => "unsafe-variable",
            Self::Runtime(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Oci(error) => error.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::verdict::Subject;
    use crate::policy::{Evidence, Origin, Policy};

    /// An image that a policy lets be launched: the only way to one leads through a policy.
    fn image() -> AdmittedImage {
        let policy = "version = 1\n[[rule]]\nimages = [\"oci/x\"]\nrequire = [\"signature\"]\nrebuild = \"allow\"\n\
            [[rule.signer]]\nissuer = \"https://issuer.test\"\nidentity = \"https://issuer.test/x\"\n";
        let policy = Policy::parse(policy, "test", &|name| Err(format!("{name} does not exist"))).unwrap();
        let subject = Subject {
            name: "oci/x".to_owned(),
            reference: None,
            digest: Digest::of(b"index"),
            manifest: Digest::of(b"manifest"),
            config: Digest::of(b"config"),
            platform: Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None },
        };
        let evidence = Evidence::of(subject, Origin::Rebuilt { published: None });
        policy.evaluate(&evidence, jiff::Timestamp::UNIX_EPOCH).unwrap().launchable().unwrap()
    }

    fn request<'a>(profile: &'a Profile, variables: &'a Variables, cmd: &'a [OsString]) -> Request<'a> {
        Request {
            profile,
            host_user: (1001, 100),
            workspace: None,
            variables,
            interactive: false,
            terminal: false,
            cmd,
        }
    }

    /// One argument a line, options with their values.
    fn lines(plan: &LaunchPlan) -> String {
        let mut text = String::new();
        for word in &plan.record().argv {
            text.push_str(if text.is_empty() { "" } else { "\n" });
            text.push_str(word);
        }
        text.push('\n');
        text
    }

    fn planned(runtime: &Runtime, request: &Request<'_>) -> LaunchPlan {
        plan(&image(), &Held::example(Digest::of(b"config")), runtime, request).unwrap()
    }

    #[test]
    fn docker_gets_exactly_this() {
        let (profile, variables) = (Profile::default(), Variables::default());
        let plan = planned(&Runtime::example(Kind::Docker, false), &request(&profile, &variables, &[]));
        assert_eq!(lines(&plan), include_str!("../testdata/launch/docker.txt"));
    }

    #[test]
    fn rootless_podman_gets_exactly_this_with_everything_asked_for() {
        let profile = Profile { network: Network::Bridge, ..Profile::default() };
        let variables = Variables::take(["API_KEY"], |_| Some("s3cret".into())).unwrap();
        let workspace = Workspace::new(std::path::Path::new("/srv/project"), None, &[]).unwrap();
        let cmd = ["sh".into(), "-c".into(), "echo $API_KEY".into()];
        let request = Request {
            workspace: Some(&workspace),
            interactive: true,
            terminal: true,
            ..request(&profile, &variables, &cmd)
        };
        let plan = planned(&Runtime::example(Kind::Podman, true), &request);
        assert_eq!(lines(&plan), include_str!("../testdata/launch/podman.txt"));
    }

    #[test]
    fn k08_values_of_variables_are_in_the_environment_and_nowhere_else() {
        let profile = Profile::default();
        let variables = Variables::take(["API_KEY"], |_| Some("s3cret".into())).unwrap();
        let plan = planned(&Runtime::example(Kind::Docker, false), &request(&profile, &variables, &[]));
        assert!(plan.invocation().env.contains(&("API_KEY".into(), "s3cret".into())));
        assert!(!plan.invocation().display().contains("s3cret"));
        assert!(!format!("{:?}", plan.record()).contains("s3cret"));
    }

    #[test]
    fn root_on_the_host_is_not_root_inside() {
        let (profile, variables) = (Profile::default(), Variables::default());
        let request = Request { host_user: (0, 0), ..request(&profile, &variables, &[]) };
        let plan = planned(&Runtime::example(Kind::Docker, false), &request);
        assert_eq!(plan.record().user, "1000:1000");
    }

    #[test]
    fn k06_words_of_the_command_never_become_options() {
        let (profile, variables) = (Profile::default(), Variables::default());
        let cmd = ["--privileged".into(), "-v/:/host".into(), "--".into()];
        let plan = planned(&Runtime::example(Kind::Docker, false), &request(&profile, &variables, &cmd));
        let argv = &plan.record().argv;
        let end = argv.iter().position(|word| word == "--").unwrap();
        assert_eq!(argv[end + 1], Digest::of(b"config").to_string());
        assert_eq!(argv[end + 2..], ["--privileged", "-v/:/host", "--"]);
    }

    #[test]
    fn j04_plans_nothing_for_an_id_that_was_not_verified() {
        let (profile, variables) = (Profile::default(), Variables::default());
        let runtime = Runtime::example(Kind::Docker, false);
        for (id, taken) in [("config", true), ("manifest", true), ("index", false), ("other", false)] {
            let held = Held::example(Digest::of(id.as_bytes()));
            let planned = plan(&image(), &held, &runtime, &request(&profile, &variables, &[]));
            assert_eq!(planned.is_ok(), taken, "{id}");
        }
    }
}
