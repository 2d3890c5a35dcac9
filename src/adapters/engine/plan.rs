//! What each engine is told, as argument vectors: pure, so that a reader and a test see it whole.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{Builder, Engine, apart};
use crate::adapters::process::Invocation;
use crate::oci::Platform;

/// One build, as any engine is told it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Folder with the Dockerfile, the template's files and the inputs: all that the build can see.
    pub context: PathBuf,
    /// Folder of this build alone, for the engine's storage, temporary files and output.
    pub work: PathBuf,
    /// Folder of this build alone with a path of at most 50 characters, for sockets and locks.
    pub runtime: PathBuf,
    /// Tag that no other build uses; taken away afterwards.
    pub tag: String,
    /// The platform to build for.
    pub platform: Platform,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub source_date_epoch: i64,
}

/// Where the result comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A docker archive, on standard output of this program.
    Archive(Invocation),
    /// The image's own documents and layers in this folder, once this program has run. Not an OCI layout: on its way
    /// into one the config would lose its HEALTHCHECK, which only docker's form has.
    Folder(Invocation, PathBuf),
    /// An OCI layout in this tar file, written by the build itself.
    LayoutTar(PathBuf),
}

/// What is run for one build, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The build.
    pub build: Invocation,
    /// How its result is had.
    pub output: Output,
    /// What leaves nothing behind; run whatever happened before.
    pub clean_up: Vec<Invocation>,
}

/// What buildah and podman would take from the machine or the network, and must not. Without limits of their own they
/// raise those of each step as far as they think right, which a container's root may not; the least that Linux gives
/// is the same everywhere.
const ALONE: [&str; 5] = [
    "--http-proxy=false",
    "--identity-label=false",
    "--pull=false",
    "--ulimit=nofile=4096:4096",
    "--ulimit=nproc=4096:4096",
];

impl Engine {
    /// What this engine is told for a job. No vector has a network, a cache or a frontend in it.
    pub fn plan(&self, job: &Job) -> Plan {
        match &self.builder {
            Builder::Buildx { export: true, name } => self.plan_buildx_export(job, name.as_deref()),
            Builder::Buildx { export: false, .. } | Builder::BuildKit | Builder::Classic => self.plan_docker(job),
            Builder::Buildah { storage, rootless } => self.plan_buildah(job, storage, *rootless),
            Builder::Podman { storage, rootless } => self.plan_podman(job, storage, *rootless),
        }
    }

    fn plan_docker(&self, job: &Job) -> Plan {
        let platform = job.platform.to_string();
        let front: &[&str] = match self.builder {
            Builder::Buildx { .. } => &["buildx", "build", "--load", "--platform", &platform],
            // Only the classic builder leaves containers behind, and only it knows no platforms.
            Builder::Classic => &["build", "--force-rm"],
            _ => &["build", "--platform", &platform],
        };
        let mut words = self.build_words(job);
        words.splice(0..1, front.iter().map(OsString::from));
        words.extend(["--tag".into(), job.tag.clone().into(), job.context.clone().into()]);
        let build = self.docker(job, words);
        let output = Output::Archive(self.docker(job, ["image", "save", &job.tag].map(OsString::from)));
        let clean_up = vec![self.docker(job, ["image", "rm", "--force", &job.tag].map(OsString::from))];
        Plan { build, output, clean_up }
    }

    /// A builder by name gets the same words as any other: context and result go through its connection, so it may
    /// run anywhere.
    fn plan_buildx_export(&self, job: &Job, name: Option<&str>) -> Plan {
        let to = job.work.join("image.tar");
        let mut output = OsString::from("type=oci,dest=");
        output.push(&to);
        let mut words = vec!["buildx".into()];
        words.extend(self.build_words(job));
        if let Some(name) = name {
            words.splice(2..2, ["--builder".into(), name.into()]);
        }
        words.extend(["--platform".into(), job.platform.to_string().into(), "--output".into(), output]);
        words.push(job.context.clone().into());
        Plan { build: self.docker(job, words), output: Output::LayoutTar(to), clean_up: Vec::new() }
    }

    /// `build` and the flags that docker, buildah and podman have in common.
    fn build_words(&self, job: &Job) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["build".into(), "--no-cache".into()];
        // buildah's chroot isolation knows no network but the one it is started in.
        if !matches!(self.builder, Builder::Buildah { .. }) {
            words.extend(["--network".into(), "none".into()]);
        }
        words.extend(["--file".into(), job.context.join("Dockerfile").into()]);
        words.extend(["--build-arg".into(), format!("SOURCE_DATE_EPOCH={}", job.source_date_epoch).into()]);
        words
    }

    fn docker(&self, job: &Job, words: impl IntoIterator<Item = OsString>) -> Invocation {
        let buildkit = if matches!(self.builder, Builder::Classic) { "0" } else { "1" };
        self.with_env(Invocation::new(&self.program, words), job)
            .env("DOCKER_BUILDKIT", buildkit)
            .env("BUILDKIT_PROGRESS", "plain")
            .env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1")
    }

    fn plan_buildah(&self, job: &Job, storage: &str, rootless: bool) -> Plan {
        let mut words = self.build_words(job);
        words.splice(1..1, ["--isolation", "chroot", "--format", "docker", "--layers=false"].map(OsString::from));
        words.extend(ALONE.map(OsString::from));
        words.push(apart::dropped());
        words.extend(["--platform".into(), job.platform.to_string().into()]);
        words.extend(["--tag".into(), job.tag.clone().into(), job.context.clone().into()]);
        let build = self.isolated(job, storage, rootless, words);
        let to = job.work.join("image");
        let push = self.push_words(job, &to);
        let clean_up = self.remove_storage(job, rootless);
        Plan { build, output: Output::Folder(self.isolated(job, storage, rootless, push), to), clean_up }
    }

    fn plan_podman(&self, job: &Job, storage: &str, rootless: bool) -> Plan {
        let mut words = self.build_words(job);
        words.splice(1..1, ["--format", "docker", "--layers=false"].map(OsString::from));
        words.extend(ALONE.map(OsString::from));
        words.push(apart::dropped());
        words.extend(["--platform".into(), job.platform.to_string().into()]);
        words.extend(["--tag".into(), job.tag.clone().into(), job.context.clone().into()]);
        // As root in a mount namespace of its own: where a build fails, podman leaves its storage mounted.
        let run = |words: Vec<OsString>| {
            let mut all = Vec::new();
            if !rootless {
                all.extend(["--mount".into(), "--".into(), self.program.clone().into()]);
            }
            all.extend(storage_words(&job.work, &job.runtime, storage));
            all.extend(words);
            let first: &OsStr = if rootless { self.program.as_os_str() } else { OsStr::new("unshare") };
            self.with_env(Invocation::new(first, all), job)
        };
        let to = job.work.join("image");
        let output = Output::Folder(run(self.push_words(job, &to)), to);
        Plan { build: run(words), output, clean_up: self.remove_storage(job, rootless) }
    }

    fn push_words(&self, job: &Job, to: &Path) -> Vec<OsString> {
        let mut target = OsString::from("dir:");
        target.push(to);
        let mut words: Vec<OsString> = vec!["push".into()];
        if matches!(self.builder, Builder::Buildah { .. }) {
            words.push("--disable-compression".into()); // podman has no such word and compresses
        }
        words.extend([job.tag.clone().into(), target]);
        words
    }

    /// buildah apart from the machine. An ordinary user gets there inside buildah's user namespace.
    fn isolated(&self, job: &Job, storage: &str, rootless: bool, words: Vec<OsString>) -> Invocation {
        let mut all = Vec::new();
        if rootless {
            all.extend(["unshare".into(), "--".into(), "unshare".into()]);
        }
        all.extend(apart::words(&job.work, &job.runtime));
        all.push(self.program.clone().into());
        all.extend(storage_words(&job.work, &job.runtime, storage));
        all.extend(words);
        let first: &OsStr = if rootless { self.program.as_os_str() } else { OsStr::new("unshare") };
        self.with_env(Invocation::new(first, all), job).env(apart::SCRIPT.0, apart::SCRIPT.1)
    }

    /// Storage made by an ordinary user belongs to that user's subordinate ids, which only the user namespace can
    /// remove. As root, removing the folder does it.
    fn remove_storage(&self, job: &Job, rootless: bool) -> Vec<Invocation> {
        if !rootless {
            return Vec::new();
        }
        let (storage, run) = (job.work.join("storage"), job.runtime.join("run"));
        let words: [OsString; 6] =
            ["unshare".into(), "rm".into(), "-rf".into(), "--".into(), storage.into(), run.into()];
        vec![self.with_env(Invocation::new(&self.program, words), job)]
    }

    fn with_env(&self, invocation: Invocation, job: &Job) -> Invocation {
        let invocation = self.env.iter().fold(invocation, |invocation, (name, value)| invocation.env(name, value));
        invocation.env("LC_ALL", "C").env("TMPDIR", job.work.join("tmp"))
    }
}

/// Storage of this build alone: no tag of anybody else's is touched, and two builds never meet.
pub(super) fn storage_words(work: &Path, runtime: &Path, driver: &str) -> Vec<OsString> {
    let (root, run) = (work.join("storage"), runtime.join("run"));
    let mut words: Vec<OsString> =
        vec!["--root".into(), root.into(), "--runroot".into(), run.into(), "--storage-driver".into(), driver.into()];
    if driver == "overlay" {
        // A node that an archive or an image brings along opens no device.
        words.extend(["--storage-opt".into(), "overlay.mountopt=nodev".into()]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            context: "/w/context".into(),
            work: "/w".into(),
            runtime: "/r".into(),
            tag: "localhost/bulla-build:abc".into(),
            platform: "linux/amd64".parse().unwrap(),
            source_date_epoch: 1_760_000_000,
        }
    }

    fn engine(program: &str, builder: Builder) -> Engine {
        let env = vec![("PATH".into(), "/bin".into())];
        Engine { program: program.into(), version: "1".into(), builder, env }
    }

    fn text(engine: &Engine) -> Vec<String> {
        let plan = engine.plan(&job());
        let mut lines = vec![plan.build.display()];
        match &plan.output {
            Output::Archive(invocation) => lines.push(invocation.display()),
            Output::Folder(invocation, dir) => lines.push(format!("{} > {}", invocation.display(), dir.display())),
            Output::LayoutTar(path) => lines.push(format!("> {}", path.display())),
        }
        lines.extend(plan.clean_up.iter().map(Invocation::display));
        lines
    }

    #[test]
    fn tells_docker_to_build_without_network_and_cache() {
        let common = "--no-cache --network none --file /w/context/Dockerfile --build-arg SOURCE_DATE_EPOCH=1760000000";
        let end = "--tag localhost/bulla-build:abc /w/context";
        let save = "/bin/docker image save localhost/bulla-build:abc";
        let remove = "/bin/docker image rm --force localhost/bulla-build:abc";
        for (builder, words) in [
            (Builder::Classic, "build --force-rm"),
            (Builder::BuildKit, "build --platform linux/amd64"),
            (Builder::Buildx { export: false, name: None }, "buildx build --load --platform linux/amd64"),
        ] {
            let seen = text(&engine("/bin/docker", builder));
            assert_eq!(seen, [&format!("/bin/docker {words} {common} {end}"), save, remove]);
        }
        let end = "--platform linux/amd64 --output type=oci,dest=/w/image.tar /w/context";
        for (name, words) in [(None, ""), (Some("far"), "--builder far ")] {
            let name = name.map(str::to_owned);
            let seen = text(&engine("/bin/docker", Builder::Buildx { export: true, name }));
            assert_eq!(seen, [&format!("/bin/docker buildx build {words}{common} {end}"), "> /w/image.tar"]);
        }
    }

    #[test]
    fn runs_buildah_apart_from_the_machine() {
        let storage =
            "--root /w/storage --runroot /r/run --storage-driver overlay --storage-opt overlay.mountopt=nodev";
        let dropped = apart::dropped().into_string().unwrap();
        let build = format!(
            "build --isolation chroot --format docker --layers=false --no-cache --file /w/context/Dockerfile \
                     --build-arg SOURCE_DATE_EPOCH=1760000000 --http-proxy=false \
                     --identity-label=false --pull=false --ulimit=nofile=4096:4096 --ulimit=nproc=4096:4096 {dropped} \
                     --platform linux/amd64 --tag localhost/bulla-build:abc /w/context"
        );
        let push = "push --disable-compression localhost/bulla-build:abc dir:/w/image > /w/image";
        let buildah = |rootless| Builder::Buildah { storage: "overlay".into(), rootless };
        let apart = Invocation::new("unshare", apart::words(Path::new("/w"), Path::new("/r"))).display();
        let inner = format!("{apart} /bin/buildah {storage}");
        let seen = text(&engine("/bin/buildah", buildah(false)));
        assert_eq!(seen, [format!("{inner} {build}"), format!("{inner} {push}")]);
        let seen = text(&engine("/bin/buildah", buildah(true)));
        let outer = "/bin/buildah unshare --";
        let remove = "/bin/buildah unshare rm -rf -- /w/storage /r/run".to_owned();
        assert_eq!(seen, [format!("{outer} {inner} {build}"), format!("{outer} {inner} {push}"), remove]);
    }

    #[test]
    fn gives_engines_no_environment_but_what_is_named() {
        let plan = engine("/bin/docker", Builder::Classic).plan(&job());
        let names: Vec<_> = plan.build.env.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
        let expected =
            ["PATH", "LC_ALL", "TMPDIR", "DOCKER_BUILDKIT", "BUILDKIT_PROGRESS", "BUILDX_NO_DEFAULT_ATTESTATIONS"];
        assert_eq!(names, expected);
    }
}
