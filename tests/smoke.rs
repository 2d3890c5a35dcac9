//! Templates without an agent as real images in a real container: built, loaded, run as their own user and as another,
//! with a read-only root and what their launch section gives them. Those with one are in `agents.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

#[path = "support/container.rs"]
mod container;
#[path = "support/dockerd.rs"]
mod dockerd;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use bulla::adapters::unwatched;
use bulla::launch::Ready;
use container::{admitted, image, launched, runtime, said};
use dockerd::Dockerd;

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
