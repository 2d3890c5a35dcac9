//! Finding an engine by trying what is there, never by its version.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::apart;
use super::plan::storage_words;
use super::{Builder, Choice, Engine, EngineError, Host};
use crate::adapters::process::{ProcessError, find_program};
use crate::adapters::state;

/// The first engine of the chosen kind that works, and why those before it do not. They are tried in `work`, a folder
/// with a path of at most 30 characters: [`super::Workplace::runtime`].
pub fn find(choice: &Choice, host: &Host, work: &Path) -> Result<(Engine, Vec<String>), EngineError> {
    if let Choice::Builder(name) = choice {
        let engine = try_builder(name, host, work);
        return engine.map(|engine| (engine, Vec::new())).map_err(|reason| {
            EngineError::None(vec![format!("builder {name}: {reason}; `docker buildx ls` lists those there are")])
        });
    }
    type Try = fn(&Host, &Path) -> Result<Engine, String>;
    let engines: [(Choice, &str, Try); 3] = [
        (Choice::Docker, "docker", try_docker),
        (Choice::Buildah, "buildah", try_buildah),
        (Choice::Podman, "podman", try_podman),
    ];
    let mut passed = Vec::new();
    for (kind, name, attempt) in engines {
        if *choice != Choice::Auto && *choice != kind {
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
fn try_docker(host: &Host, work: &Path) -> Result<Engine, String> {
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
        if has_buildx(host, &program) {
            let export = try_export(host, &program, None, work).is_ok();
            return Ok(engine(Builder::Buildx { export, name: None }));
        }
        if run(&["build", "--help"]).env("DOCKER_BUILDKIT", "1").output().is_ok() {
            return Ok(engine(Builder::BuildKit));
        }
        classic.get_or_insert_with(|| engine(Builder::Classic));
    }
    classic.ok_or(reason)
}

/// The builder of this name, which may be on another machine: no daemon has to run on this one.
fn try_builder(name: &str, host: &Host, work: &Path) -> Result<Engine, String> {
    let clients = all_on_path("docker", host);
    let program = clients.into_iter().find(|program| has_buildx(host, program));
    let program = program.ok_or("there is no docker with the buildx plugin on PATH")?;
    let told = host.invocation(&program, ["buildx", "inspect", "--bootstrap", name]).output();
    let told = told.map_err(|error| said(&error))?;
    try_export(host, &program, Some(name), work)?;
    let told = String::from_utf8_lossy(&told).to_ascii_lowercase();
    let version = told.lines().filter(|line| line.starts_with("buildkit")).find_map(|line| line.split_once(':'));
    let version = version.map_or("of unknown version", |(_, version)| version.trim()).to_owned();
    let builder = Builder::Buildx { export: true, name: Some(name.to_owned()) };
    Ok(Engine { program, version, builder, env: host.env.clone() })
}

/// Without the plugin, `docker buildx` is either refused or docker's own help.
fn has_buildx(host: &Host, program: &Path) -> bool {
    let text = host.invocation(program, ["buildx", "version"]).output();
    text.is_ok_and(|text| line(&text).contains("buildx"))
}

/// Lets the builder write an OCI layout with one file in it. Whether it can depends on its driver and on how the daemon
/// stores images, and no version says so.
fn try_export(host: &Host, program: &Path, name: Option<&str>, work: &Path) -> Result<(), String> {
    let context = work.join("probe");
    let dockerfile = context.join("Dockerfile");
    state::write_file(&dockerfile, b"FROM scratch\nCOPY Dockerfile /\n").map_err(|error| error.to_string())?;
    let mut output = OsString::from("type=oci,dest=");
    output.push(work.join("probe.tar"));
    let mut words: Vec<OsString> = ["buildx", "build"].map(Into::into).into();
    words.extend(name.into_iter().flat_map(|name| ["--builder", name]).map(Into::into));
    words.extend(["--network".into(), "none".into(), "--output".into(), output, context.into()]);
    host.invocation(program, words).output().map(|_| ()).map_err(|error| said(&error))
}

fn try_buildah(host: &Host, work: &Path) -> Result<Engine, String> {
    let program = find_program("buildah", host.path()).ok_or("it is not installed")?;
    if find_program("unshare", host.path()).is_none() {
        return Err("unshare (util-linux) is not installed, and without it steps are not kept apart from this machine"
            .to_owned());
    }
    let rootless = !is_root();
    let version = version(host, &program)?;
    let isolated = |words: &[&str]| {
        let mut all: Vec<OsString> = Vec::new();
        if rootless {
            all.extend(["unshare", "--", "unshare"].map(Into::into));
        }
        all.extend(apart::words(work, work));
        all.extend(words.iter().map(Into::into));
        let first: &Path = if rootless { &program } else { Path::new("unshare") };
        host.invocation(first, all).env(apart::SCRIPT.0, apart::SCRIPT.1)
    };
    let namespaces = isolated(&["true"]).output();
    namespaces.map_err(|error| format!("it cannot be kept apart from this machine: {}", said(&error)))?;
    let storage = storage(work, |words| {
        let mut all: Vec<OsString> = vec![program.clone().into()];
        all.extend(words);
        all.push("info".into());
        let mut invocation = isolated(&[]);
        invocation.args.extend(all);
        invocation.output().map(|_| ())
    })?;
    Ok(Engine { program, version, builder: Builder::Buildah { storage, rootless }, env: without_docker(host) })
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
    Ok(Engine {
        program,
        version,
        builder: Builder::Podman { storage, rootless: !is_root() },
        env: without_docker(host),
    })
}

/// What engines get that are not docker: podman asks for the files that docker's variables name.
fn without_docker(host: &Host) -> Vec<(OsString, OsString)> {
    let of_docker =
        |name: &OsString| ["DOCKER_", "BUILDX_"].iter().any(|start| name.to_string_lossy().starts_with(start));
    host.env.iter().filter(|(name, _)| !of_docker(name)).cloned().collect()
}

/// The first storage driver with which `try_it` works, in a folder that is gone with `work`.
fn storage(work: &Path, try_it: impl Fn(Vec<OsString>) -> Result<(), ProcessError>) -> Result<String, String> {
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

/// The line that says why a program failed.
fn said(error: &ProcessError) -> String {
    let text = error.to_string();
    // docker says it first and then where to read more; the others end in it.
    let line = text
        .lines()
        .find(|line| line.starts_with("ERROR"))
        .or_else(|| text.lines().rfind(|line| !line.trim().is_empty()));
    line.unwrap_or(&text).trim().to_owned()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
