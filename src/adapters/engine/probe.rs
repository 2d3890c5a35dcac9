//! Finding an engine by trying what is there, never by its version.

use std::path::{Path, PathBuf};

use super::plan::storage_words;
use super::{Builder, Choice, Engine, EngineError, Host};
use crate::adapters::process::{ProcessError, find_program};

/// The first engine of the chosen kind that works, and why those before it do not. They are tried in `work`, a folder
/// with a path of at most 30 characters: [`super::Workplace::runtime`].
pub fn find(choice: Choice, host: &Host, work: &Path) -> Result<(Engine, Vec<String>), EngineError> {
    type Try = fn(&Host, &Path) -> Result<Engine, String>;
    let engines: [(Choice, &str, Try); 3] = [
        (Choice::Docker, "docker", try_docker),
        (Choice::Buildah, "buildah", try_buildah),
        (Choice::Podman, "podman", try_podman),
    ];
    let mut passed = Vec::new();
    for (kind, name, attempt) in engines {
        if choice != Choice::Auto && choice != kind {
            continue;
        }
        match attempt(host, work) {
            Ok(engine) => return Ok((engine, passed)),
            Err(reason) => passed.push(format!("{name}: {reason}")),
        }
    }
    Err(EngineError::None(passed))
}

/// The first docker on `PATH` whose daemon answers, with the newest builder that this client can use. A later docker
/// is preferred where it has BuildKit and the first has not.
fn try_docker(host: &Host, _work: &Path) -> Result<Engine, String> {
    let mut reason = "it is not installed".to_owned();
    let mut classic = None;
    for program in all_on_path("docker", host) {
        let run = |args: &[&str]| host.invocation(&program, args.iter().copied());
        let version = match run(&["version", "--format", "{{.Server.Version}}"]).output() {
            Ok(version) => line(&version),
            Err(error) => {
                reason = said(&error);
                continue;
            }
        };
        let engine =
            |builder| Engine { program: program.clone(), version: version.clone(), builder, env: host.env.clone() };
        // Without the plugin, `docker buildx` is either refused or docker's own help.
        if run(&["buildx", "version"]).output().is_ok_and(|text| line(&text).contains("buildx")) {
            let driver = run(&["buildx", "inspect"]).output().unwrap_or_default();
            let driver = String::from_utf8_lossy(&driver).into_owned();
            let driver =
                driver.lines().find_map(|line| line.strip_prefix("Driver:")).map(str::trim).unwrap_or_default();
            return Ok(engine(Builder::Buildx { export: !matches!(driver, "" | "docker") }));
        }
        if run(&["build", "--help"]).env("DOCKER_BUILDKIT", "1").output().is_ok() {
            return Ok(engine(Builder::BuildKit));
        }
        classic.get_or_insert_with(|| engine(Builder::Classic));
    }
    classic.ok_or(reason)
}

fn try_buildah(host: &Host, work: &Path) -> Result<Engine, String> {
    let program = find_program("buildah", host.path()).ok_or("it is not installed")?;
    if find_program("unshare", host.path()).is_none() {
        return Err("unshare (util-linux) is not installed, and without it the network stays on".to_owned());
    }
    let rootless = !is_root();
    let version = version(host, &program)?;
    let isolated = |words: &[&str]| {
        let mut all: Vec<std::ffi::OsString> = Vec::new();
        if rootless {
            all.extend(["unshare", "--", "unshare"].map(Into::into));
        }
        all.extend(["--net", "--mount", "--"].map(Into::into));
        all.extend(words.iter().map(Into::into));
        let first: &Path = if rootless { &program } else { Path::new("unshare") };
        host.invocation(first, all)
    };
    let namespaces = isolated(&["true"]).output();
    namespaces.map_err(|error| format!("it cannot be cut off from the network: {}", said(&error)))?;
    let storage = storage(work, |words| {
        let mut all: Vec<std::ffi::OsString> = vec![program.clone().into()];
        all.extend(words);
        all.push("info".into());
        let mut invocation = isolated(&[]);
        invocation.args.extend(all);
        invocation.output().map(|_| ())
    })?;
    Ok(Engine { program, version, builder: Builder::Buildah { storage, rootless }, env: host.env.clone() })
}

fn try_podman(host: &Host, work: &Path) -> Result<Engine, String> {
    let program = find_program("podman", host.path()).ok_or("it is not installed")?;
    if cfg!(not(target_os = "linux")) {
        return Err(
            "outside Linux it is a client of a virtual machine, where the storage of a build cannot be its own".into(),
        );
    }
    let version = version(host, &program)?;
    let storage = storage(work, |mut words| {
        words.push("info".into());
        host.invocation(&program, words).output().map(|_| ())
    })?;
    Ok(Engine { program, version, builder: Builder::Podman { storage, rootless: !is_root() }, env: host.env.clone() })
}

/// The first storage driver with which `try_it` works, in a folder that is gone with `work`.
fn storage(
    work: &Path,
    try_it: impl Fn(Vec<std::ffi::OsString>) -> Result<(), ProcessError>,
) -> Result<String, String> {
    let mut reason = String::new();
    for driver in ["overlay", "vfs"] {
        match try_it(storage_words(&work.join(driver), &work.join(driver), driver)) {
            Ok(()) => return Ok(driver.to_owned()),
            Err(error) => reason = said(&error),
        }
    }
    Err(reason)
}

fn all_on_path(name: &str, host: &Host) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in std::env::split_paths(host.path()) {
        found.extend(find_program(name, folder.as_os_str()).filter(|program| !found.contains(program)));
    }
    found
}

/// `buildah version 1.28.2 (image-spec …)`: the first word with a digit in front.
fn version(host: &Host, program: &Path) -> Result<String, String> {
    let text = host.invocation(program, ["--version"]).output().map_err(|error| said(&error))?;
    let text = line(&text);
    let number = text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    Ok(number.unwrap_or("of unknown version").to_owned())
}

fn line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().next().unwrap_or_default().trim().to_owned()
}

/// The last line of what a program said when it failed.
fn said(error: &ProcessError) -> String {
    let text = error.to_string();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(&text).trim().to_owned()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
