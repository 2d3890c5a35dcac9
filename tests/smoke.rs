//! Every bundled template as a real image in a real container: built, loaded, run as its own user and as another, with
//! a read-only root and what its launch section gives it.
//!
//! Inputs and finished images are kept in the target folder from one run to the next.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

#[path = "support/dockerd.rs"]
mod dockerd;

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use bulla::adapters::engine::{Choice, EngineError, Host};
use bulla::adapters::inputs::Inputs;
use bulla::adapters::layout::Layout;
use bulla::adapters::runtime::{Kind, Runtime};
use bulla::adapters::sources::{Access, Mirrors};
use bulla::adapters::templates::{self, Found};
use bulla::adapters::unwatched;
use bulla::build::{self, BuildError, BuildRecord, BuildRequest, World};
use bulla::launch::{self, Profile, Ready, Request, Variables};
use bulla::oci::Platform;
use bulla::policy::verdict::{AdmittedImage, Subject};
use bulla::policy::{Evidence, Origin, Policy};
use bulla::template::Template;
use dockerd::Dockerd;
use tempfile::TempDir;

struct Image {
    family: Vec<Found>,
    record: BuildRecord,
    layout: Layout,
    _folder: TempDir,
}

/// The image of a bundled template, or nothing, with the reason printed, where it cannot be built here.
fn image(name: &str, daemon: &Dockerd) -> Option<Image> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    let inputs = Inputs::new(&cache).with_mirrors(Mirrors::of_host(Path::new("/etc/apt")), Access::of_host());
    let family = templates::find(name, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("image");
    let (work, finished): (PathBuf, PathBuf) = (folder.path().join("work"), cache.join("images"));
    for choice in [Choice::Buildah, Choice::Docker] {
        let address = OsString::from(daemon.host());
        let host =
            Host::from_env(|name| if name == "DOCKER_HOST" { Some(address.clone()) } else { std::env::var_os(name) });
        let world =
            World { inputs: &inputs, host: &host, work: &work, finished: Some(&finished), progress: &unwatched };
        let request = BuildRequest {
            parents: &family[1..],
            engine: choice,
            ..BuildRequest::new(&family[0].template, output.clone())
        };
        match build::build(&request, &world) {
            Ok(record) => {
                println!("{name}: {} ({:?}, reused: {})", record.image.digest, record.expected, record.reused);
                let layout = Layout::open(&output).unwrap();
                return Some(Image { family, record, layout, _folder: folder });
            }
            Err(BuildError::Engine(EngineError::None(reasons))) => println!("{name}: {reasons:?}"),
            Err(BuildError::Inputs(error)) => {
                println!("skipped: {name} in a container: its inputs cannot be had here: {error}");
                return None;
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
    println!("skipped: {name} in a container (no engine builds here)");
    None
}

/// Judged by a policy that lets local rebuilds be launched.
fn admitted(image: &Image) -> AdmittedImage {
    let policy = "version = 1\n[[rule]]\nimages = [\"**\"]\nrequire = [\"signature\"]\nrebuild = \"allow\"\n\
        [[rule.signer]]\nissuer = \"https://issuer.test\"\nidentity = \"https://issuer.test/x\"\n";
    let policy = Policy::parse(policy, "test", &|name| Err(format!("{name} does not exist"))).unwrap();
    let subject = Subject {
        name: "oci/unnamed".to_owned(),
        reference: None,
        digest: image.record.image.digest,
        manifest: image.record.image.digest,
        config: image.record.image.config,
        platform: Platform::host(),
    };
    let evidence = Evidence::of(subject, Origin::Rebuilt { published: None });
    policy.evaluate(&evidence, jiff::Timestamp::UNIX_EPOCH).unwrap().launchable().unwrap()
}

fn runtime(daemon: &Dockerd) -> Runtime {
    let address = OsString::from(daemon.host());
    Runtime::find(Some(Kind::Docker), |name| match name {
        "DOCKER_HOST" => Some(address.clone()),
        "PATH" | "HOME" => std::env::var_os(name),
        _ => None,
    })
    .unwrap()
}

/// Runs a command in a container as `bulla launch` would on the machine of this user.
fn launched(image: &Image, daemon: &Dockerd, host_user: (u32, u32), script: &str) -> Output {
    let (runtime, admitted) = (runtime(daemon), admitted(image));
    let held = Ready::read(&admitted, &image.layout).unwrap().hold(&runtime, &image.layout, &unwatched).unwrap();
    let profile =
        Profile { network: bulla::template::Network::None, ..Profile::from(&image.family[0].template.manifest) };
    let cmd = ["sh", "-euc", script].map(OsString::from);
    let request = Request {
        profile: &profile,
        host_user,
        workspace: None,
        variables: &Variables::default(),
        interactive: false,
        terminal: false,
        cmd: &cmd,
    };
    let plan = launch::plan(&admitted, &held, &runtime, &request).unwrap();
    plan.invocation().command().stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{}: {text}", output.status);
    text
}

#[test]
fn base_works_as_its_own_user_and_as_any_other() {
    let Some(daemon) = Dockerd::start() else { return };
    let Some(image) = image("base", &daemon) else { return };
    for (host_user, name) in [((0, 0), "agent"), ((4242, 4343), "user")] {
        let script = "id -u; id -un; ssh -G github.com >/dev/null && echo ssh knows us; \
            ssh-keygen -F github.com -f /etc/ssh/ssh_known_hosts; ssh-keygen -F gitlab.com -f /etc/ssh/ssh_known_hosts; \
            ssh-keygen -F bitbucket.org -f /etc/ssh/ssh_known_hosts; \
            cd && git init -q x && git -C x config user.name me && echo a home; \
            touch /etc/x 2>/dev/null || echo read-only; \
            git --version; rg --version; fd --version; jq --version; curl --version; less --version; ps --version; \
            if command -v gcc cc make; then exit 1; fi";
        let said = said(&launched(&image, &daemon, host_user, script));
        let id = if host_user.0 == 0 { 1000 } else { host_user.0 };
        assert!(said.starts_with(&format!("{id}\n{name}\nssh knows us\n")), "{said}");
        for words in ["\na home\n", "\nread-only\n", "git version", "ripgrep", "github.com ssh-ed25519", "jq-"] {
            assert!(said.contains(words), "no {words:?} in {said}");
        }
    }
}

#[test]
fn socket_proxy_filters_a_real_engine_and_says_when_it_is_gone() {
    let Some(daemon) = Dockerd::start() else { return };
    let Some(image) = image("socket-proxy", &daemon) else { return };
    // Loaded by the same way as a launch, then run with what a launch does not give: the socket.
    let (runtime, admitted) = (runtime(&daemon), admitted(&image));
    Ready::read(&admitted, &image.layout).unwrap().hold(&runtime, &image.layout, &unwatched).unwrap();
    let host = daemon.host();
    let socket = Path::new(host.trim_start_matches("unix://"));
    let group = std::fs::metadata(socket).unwrap().gid();
    let id = image.record.image.config.to_string();
    let run = |name: &str, user: &str, more: &[&str]| {
        let mut args = vec!["run", "--detach", "--name", name, "--read-only", "--network", "none", "--cap-drop", "ALL"];
        args.extend(["--security-opt", "no-new-privileges", "--user", user, "--memory", "128m", "--pids-limit", "32"]);
        args.extend(["--health-interval", "1s", "--health-retries", "2"]);
        args.extend(more);
        args.push(&id);
        said(&daemon.docker(&args).output().unwrap());
    };
    let health = |name: &str, wanted: &str| {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let output = daemon.docker(&["inspect", "--format", "{{.State.Health.Status}}", name]).output().unwrap();
            let status = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if status == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{name} is {status}, and not {wanted}");
            std::thread::sleep(Duration::from_millis(300));
        }
    };
    let mount = format!("type=bind,source={},target=/run/docker.sock", socket.display());
    for user in [1000, 4242] {
        let name = format!("proxy-{user}");
        run(&name, &format!("{user}:{group}"), &["--mount", &mount]);
        health(&name, "healthy");
        let asked = |method: &str, path: &str| {
            let url = format!("http://127.0.0.1:2375{path}");
            let words = [
                "exec",
                &name,
                "curl",
                "--silent",
                "--path-as-is",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
            ];
            let output = daemon.docker(&[&words[..], &["--request", method, &url]].concat()).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        for (method, path, status) in [
            ("GET", "/version", "200"),
            ("GET", "/v1.41/containers/json", "200"),
            ("GET", "/info", "403"),
            ("GET", "//version", "403"),
            ("GET", "/v1.41/../version", "403"),
            ("POST", "/containers/create", "403"),
            ("DELETE", "/containers/x", "403"),
        ] {
            assert_eq!(asked(method, path), status, "{method} {path}");
        }
    }
    run("alone", "1000:1000", &[]);
    health("alone", "unhealthy");
    let version = said(&launched_program(&daemon, &id, &["-v"]));
    assert!(version.contains("HAProxy version"), "{version}");
}

/// The image's own program with other arguments.
fn launched_program(daemon: &Dockerd, id: &str, args: &[&str]) -> Output {
    let words = ["run", "--rm", "--read-only", "--network", "none", "--entrypoint", "/usr/sbin/haproxy", id];
    daemon.docker(&[&words[..], args].concat()).output().unwrap()
}

#[test]
fn every_bundled_template_has_a_smoke_test() {
    assert_eq!(Template::bundled_names(), ["base", "socket-proxy"], "add the new one to this file");
}
