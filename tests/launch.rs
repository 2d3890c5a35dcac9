//! Launching on a real docker and a real podman, and on engines that lie.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up fails")]

#[path = "support/dockerd.rs"]
mod dockerd;
#[path = "support/tiny.rs"]
mod tiny;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Output, Stdio};

use bulla::adapters::runtime::{Kind, Runtime};
use bulla::adapters::unwatched;
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::launch::{self, LaunchError, LaunchPlan, Profile, Ready, Request, Variables, Workspace};
use bulla::oci::{Descriptor, Manifest, Platform, names};
use bulla::policy::verdict::{AdmittedImage, Subject};
use bulla::policy::{Evidence, Origin, Policy};
use bulla::reference::Repository;
use dockerd::Dockerd;
use tiny::Tiny;

/// The image, judged by a policy that lets local rebuilds be launched: the way to an admitted image that needs no
/// signer. `config` is the digest that the judge was told.
fn admitted_with(image: &Tiny, repository: Option<&str>, config: Digest) -> AdmittedImage {
    let policy = "version = 1\n[[rule]]\nimages = [\"**\"]\nrequire = [\"signature\"]\nrebuild = \"allow\"\n\
        [[rule.signer]]\nissuer = \"https://issuer.test\"\nidentity = \"https://issuer.test/x\"\n";
    let policy = Policy::parse(policy, "test", &|name| Err(format!("{name} does not exist"))).unwrap();
    let repository = repository.map(|text| text.parse::<Repository>().unwrap());
    let subject = Subject {
        name: "oci/unnamed".to_owned(),
        reference: repository.map(|repository| repository.pin(image.manifest.digest)),
        digest: image.manifest.digest,
        manifest: image.manifest.digest,
        config,
        platform: image.platform.clone(),
    };
    let evidence = Evidence::of(subject, Origin::Rebuilt { published: None });
    policy.evaluate(&evidence, jiff::Timestamp::UNIX_EPOCH).unwrap().launchable().unwrap()
}

fn admitted(image: &Tiny, repository: Option<&str>) -> AdmittedImage {
    admitted_with(image, repository, image.config.digest)
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// An environment of these variables over the process's own `PATH` and `HOME`.
fn env(set: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + use<> {
    let set: Vec<(String, OsString)> = set.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    move |name| match set.iter().find(|(known, _)| known == name) {
        Some((_, value)) => Some(value.clone()),
        None if matches!(name, "PATH" | "HOME") => std::env::var_os(name),
        None => None,
    }
}

fn docker(daemon: &Dockerd) -> Runtime {
    Runtime::find(Some(Kind::Docker), env(&[("DOCKER_HOST", &daemon.host())])).unwrap()
}

/// All that stands between an admitted image and its start.
fn prepare(
    runtime: &Runtime,
    image: &Tiny,
    repository: Option<&str>,
    cmd: &[&str],
    more: impl FnOnce(&mut Request<'_>),
) -> Result<LaunchPlan, LaunchError> {
    let admitted = admitted(image, repository);
    let ready = Ready::read(&admitted, image)?;
    let held = ready.hold(runtime, image, &unwatched)?;
    let (profile, variables, cmd) = (small(), Variables::default(), words(cmd));
    let mut request = Request {
        profile: &profile,
        host_user: (0, 0),
        workspace: None,
        variables: &variables,
        interactive: false,
        terminal: false,
        cmd: &cmd,
    };
    more(&mut request);
    launch::plan(&admitted, &held, runtime, &request)
}

fn small() -> Profile {
    Profile { memory: 64 << 20, pids: 32, ..Profile::default() }
}

fn run(plan: &LaunchPlan) -> Output {
    plan.invocation().command().stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(!output.stdout.is_empty(), "nothing was printed; stderr: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_container_runs_hardened_and_its_exit_code_comes_out() {
    let Some(program) = tiny::program("good") else { return };
    let Some(daemon) = Dockerd::start() else { return };
    let image = Tiny::new(&program, |_| {});
    let runtime = docker(&daemon);
    let asked = ["id", "status", "networks", "env", "HOME", "write", "/x", "write", "/tmp/x", "write", "/home/agent/x"];
    let plan = prepare(&runtime, &image, None, &[&asked[..], &["exit", "7"]].concat(), |_| {}).unwrap();
    let output = run(&plan);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(7), "{said}");
    for line in [
        "good",
        "id 1000:1000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "HOME=/home/agent",
        "could not write /x",
        "wrote /tmp/x",
        "wrote /home/agent/x",
    ] {
        assert!(said.lines().any(|said| said == line), "no {line:?} in:\n{said}");
    }
    assert!(!said.contains("eth0"), "it has a network:\n{said}");
    let left = daemon.docker(&["ps", "--all", "--quiet"]).output().unwrap();
    assert!(left.stdout.is_empty(), "a container was left behind");
}

#[test]
fn the_images_own_command_runs_and_words_that_look_like_options_are_words() {
    let Some(program) = tiny::program("good") else { return };
    let Some(daemon) = Dockerd::start() else { return };
    let image = Tiny::new(&program, |_| {});
    let runtime = docker(&daemon);
    let output = run(&prepare(&runtime, &image, None, &[], |_| {}).unwrap());
    assert_eq!(stdout(&output), "good\nword default\n");
    let output = run(&prepare(&runtime, &image, None, &["--privileged", "--", "-it"], |_| {}).unwrap());
    assert_eq!(stdout(&output), "good\nword --privileged\nword --\nword -it\n");
}

#[test]
fn the_working_folder_and_variables_arrive() {
    use std::os::unix::fs::PermissionsExt;
    let Some(program) = tiny::program("good") else { return };
    let Some(daemon) = Dockerd::start() else { return };
    let image = Tiny::new(&program, |_| {});
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let workspace = Workspace::new(&folder.path().canonicalize().unwrap(), None, &[]).unwrap();
    let variables = Variables::take(["API_KEY"], |_| Some("s3cret".into())).unwrap();
    let asked = ["write", "/workspace/x", "env", "API_KEY", "env", "DOCKER_HOST"];
    let plan = prepare(&docker(&daemon), &image, None, &asked, |_| {}).unwrap();
    assert!(stdout(&run(&plan)).contains("could not write /workspace/x\nAPI_KEY=(unset)\n"));

    let admitted = admitted(&image, None);
    let runtime = docker(&daemon);
    let held = Ready::read(&admitted, &image).unwrap().hold(&runtime, &image, &unwatched).unwrap();
    let request = Request {
        profile: &small(),
        host_user: (1001, 1001),
        workspace: Some(&workspace),
        variables: &variables,
        interactive: false,
        terminal: false,
        cmd: &words(&asked),
    };
    let plan = launch::plan(&admitted, &held, &runtime, &request).unwrap();
    let said = stdout(&run(&plan));
    assert_eq!(said, "good\nwrote /workspace/x\nAPI_KEY=s3cret\nDOCKER_HOST=(unset)\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("x")).unwrap(), "from inside\n");
}

#[test]
fn the_proxies_of_dockers_configuration_stay_outside() {
    let Some(program) = tiny::program("good") else { return };
    let Some(daemon) = Dockerd::start() else { return };
    let image = Tiny::new(&program, |_| {});
    let folder = tempfile::tempdir().unwrap();
    let proxy = "http://ann:s3cret@proxy.test:3128";
    let kinds = ["httpProxy", "httpsProxy", "ftpProxy", "allProxy", "noProxy"];
    let proxies: serde_json::Map<_, _> = kinds.iter().map(|kind| ((*kind).to_owned(), proxy.into())).collect();
    let config = serde_json::json!({"proxies": {"default": proxies}});
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let config = folder.path().display().to_string();
    let env = env(&[("DOCKER_HOST", &daemon.host()), ("DOCKER_CONFIG", &config)]);
    let runtime = Runtime::find(Some(Kind::Docker), env).unwrap();
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"].map(str::to_owned);
    let names: Vec<String> = names.iter().flat_map(|name| [name.clone(), name.to_lowercase()]).collect();
    let asked: Vec<&str> = names.iter().flat_map(|name| ["env", name]).collect();
    // Without bulla, docker does hand them over.
    let id = image.config.digest.to_string();
    let plan = prepare(&runtime, &image, None, &asked, |_| {}).unwrap();
    let bare = runtime.invocation(["run", "--rm", "--network=none", &id, "env", "HTTP_PROXY"]);
    assert!(stdout(&bare.command().output().unwrap()).contains("s3cret"));
    let expected: String = names.iter().map(|name| format!("{name}=\n")).collect();
    assert_eq!(stdout(&run(&plan)), format!("good\n{expected}"));
}

#[test]
fn an_interrupt_reaches_the_container_which_is_removed() {
    let Some(program) = tiny::program("good") else { return };
    let Some(daemon) = Dockerd::start() else { return };
    let image = Tiny::new(&program, |_| {});
    let plan = prepare(&docker(&daemon), &image, None, &["sleep", "60"], |_| {}).unwrap();
    let mut child = plan.invocation().command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "good\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let left = daemon.docker(&["ps", "--all", "--quiet"]).output().unwrap();
    assert!(left.stdout.is_empty(), "a container was left behind");
}

#[test]
fn a01_a_tag_that_moves_after_the_verdict_changes_nothing() {
    let (Some(good), Some(evil)) = (tiny::program("good"), tiny::program("evil")) else { return };
    let Some(daemon) = Dockerd::start() else { return };
    let Some(registry) = DiskRegistry::start() else { return };
    let runtime = docker(&daemon);
    let repository = format!("127.0.0.1:{}/good", registry.port);
    let push = |program: &[u8]| {
        let image = Tiny::new(program, |_| {});
        prepare(&runtime, &image, None, &[], |_| {}).unwrap();
        let (id, tag) = (image.config.digest.to_string(), format!("{repository}:1"));
        assert!(daemon.docker(&["tag", &id, &tag]).status().unwrap().success());
        let pushed = daemon.docker(&["push", &tag]).output().unwrap();
        let said = String::from_utf8(pushed.stdout).unwrap();
        assert!(daemon.docker(&["rmi", "--force", &id]).output().unwrap().status.success());
        let digest = said.split_whitespace().find(|word| word.starts_with("sha256:")).expect(&said).to_owned();
        registry.image(&digest.parse().unwrap())
    };
    let verified = push(&good);
    push(&evil);
    let plan = prepare(&runtime, &verified, Some(&repository), &[], |_| {}).unwrap();
    assert_eq!(stdout(&run(&plan)), "good\nword default\n");
    drop(registry);
    let again = prepare(&runtime, &verified, Some(&repository), &[], |_| {});
    assert_eq!(again.unwrap(), plan, "what the engine holds is launched without the registry");
}

#[test]
fn j02_another_image_under_the_same_name_does_not_start() {
    let (Some(good), Some(evil)) = (tiny::program("good"), tiny::program("evil")) else { return };
    let Some(daemon) = Dockerd::start() else { return };
    let (good, evil) = (Tiny::new(&good, |_| {}), Tiny::new(&evil, |_| {}));
    let runtime = docker(&daemon);
    // The engine holds the evil one, under every name that it lets anybody give.
    assert_eq!(stdout(&run(&prepare(&runtime, &evil, None, &[], |_| {}).unwrap())), "evil\nword default\n");
    let id = evil.config.digest.to_string();
    for name in ["registry.test/good:latest", &format!("registry.test/good:{}", good.config.digest.hex())] {
        assert!(daemon.docker(&["tag", &id, name]).status().unwrap().success());
    }
    assert_eq!(stdout(&run(&prepare(&runtime, &good, None, &[], |_| {}).unwrap())), "good\nword default\n");
}

#[test]
fn b11_a_layer_that_is_not_what_the_config_says_is_not_loaded() {
    let Some(program) = tiny::program("good") else { return };
    let Some(daemon) = Dockerd::start() else { return };
    let other = Digest::of(b"another layer");
    let image = Tiny::new(&program, |config| config["rootfs"]["diff_ids"] = serde_json::json!([other]));
    let error = prepare(&docker(&daemon), &image, None, &[], |_| {}).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Integrity, "diff-id-mismatch"), "{error}");
    let held = daemon.docker(&["images", "--all", "--quiet"]).output().unwrap();
    assert!(held.status.success() && held.stdout.is_empty());
}

#[test]
fn i13_an_image_with_a_config_that_leads_out_is_refused_before_any_engine_sees_it() {
    let edits: [fn(&mut serde_json::Value); 4] = [
        |config| config["config"]["User"] = "4294967296".into(),
        |config| config["config"]["WorkingDir"] = "/proc/self/fd/8".into(),
        |config| config["config"]["Volumes"] = serde_json::json!({"/": {}}),
        |config| config["config"]["Env"] = serde_json::json!(["LD_PRELOAD=/x.so"]),
    ];
    for edit in edits {
        let image = Tiny::new(b"never run", edit);
        let error = Ready::read(&admitted(&image, None), &image).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Format, "unsafe-image-config"));
    }
}

#[test]
fn annotations_that_only_inform_are_taken_and_all_others_refused() {
    let read = |key: &str| {
        let title = ("org.opencontainers.image.title".to_owned(), "x".to_owned());
        let annotations = [(key.to_owned(), "1".to_owned()), title].into();
        launch::check_annotations(&annotations).map_err(|error| (error.class(), error.code()))
    };
    for key in [
        "org.opencontainers.image.created",
        "org.opencontainers.image.base.digest",
        "com.docker.official-images.bashbrew.arch",
        "org.label-schema.vcs-url",
    ] {
        assert_eq!(read(key), Ok(()), "{key}");
    }
    for key in [
        "",
        "run.oci.hooks.stdout",
        "run.oci.keep_original_groups",
        "io.podman.annotations.seccomp",
        "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel",
        "io.containers.trace-syscall",
        "org.systemd.property.ExecStartPost",
        "org.opencontainers.image",
        "xorg.opencontainers.image.title",
        "a-hook.test/anything",
    ] {
        assert_eq!(read(key), Err((Class::Format, "unsafe-image-config")), "{key:?}");
    }
}

#[test]
fn another_config_or_manifest_than_the_admitted_one_is_refused() {
    let (image, other) = (Tiny::new(b"one", |_| {}), Tiny::new(b"two", |_| {}));
    let swapped = admitted_with(&image, None, other.config.digest);
    assert_eq!(Ready::read(&swapped, &image).unwrap_err().code(), "another-image");
    let mut lying = Tiny::new(b"one", |_| {});
    let swapped = lying.content[&lying.config.digest].iter().map(|byte| byte ^ 1).collect();
    lying.content.insert(lying.config.digest, swapped);
    assert_eq!(Ready::read(&admitted(&image, None), &lying).unwrap_err().code(), "digest-mismatch");
}

#[test]
fn podman_loads_and_runs_the_same() {
    let Some(program) = tiny::program("good") else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(runtime) = podman(folder.path()) else { return };
    let image = Tiny::new(&program, |_| {});
    let plan =
        prepare(&runtime, &image, None, &["id", "status", "write", "/x", "write", "/tmp/x", "exit", "7"], |_| {})
            .unwrap();
    let output = run(&plan);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(125 | 126 | 127) {
        return eprintln!("skipped: containers of podman ({})", stderr.trim());
    }
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(7), "{said}{stderr}");
    for line in
        ["good", "id 1000:1000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "could not write /x", "wrote /tmp/x"]
    {
        assert!(said.lines().any(|said| said == line), "no {line:?} in:\n{said}");
    }
}

#[test]
fn podman_that_pulled_another_manifest_of_the_same_config_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(runtime) = podman(folder.path()) else { return };
    let plain = Tiny::new(b"never run", |_| {});
    let other = plain.annotated(&serde_json::json!({"run.oci.hooks.stdout": "/x"}));
    let layout = folder.path().join("layout");
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    for (digest, bytes) in &other.content {
        std::fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [other.manifest]});
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    // A relative path: podman makes a name of it, which may have no capital letters.
    let mut pull = runtime.invocation(["pull", "oci:layout"]).command();
    let pulled = pull.current_dir(folder.path()).output().unwrap();
    if !pulled.status.success() {
        return eprintln!("skipped: podman pull ({})", String::from_utf8_lossy(&pulled.stderr).trim());
    }
    let error = prepare(&runtime, &plain, None, &[], |_| {}).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Runtime, "annotations-mismatch"), "{error}");
    let id = plain.config.digest.to_string();
    assert!(runtime.invocation(["image", "rm", "--force", &id]).command().output().unwrap().status.success());
    assert!(prepare(&runtime, &plain, None, &[], |_| {}).is_ok(), "what the message advises does not help");
    let titled = Tiny::new(b"another", |_| {}).annotated(&serde_json::json!({"org.opencontainers.image.title": "x"}));
    assert!(prepare(&runtime, &titled, None, &[], |_| {}).is_ok(), "its own annotations are refused");
}

/// A podman with storage of its own below a folder.
fn podman(folder: &Path) -> Option<Runtime> {
    let storage = folder.join("storage.conf");
    let at = |name: &str| folder.join(name).display().to_string();
    let text = format!("[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\n", at("graph"), at("run"));
    std::fs::write(&storage, text).unwrap();
    // podman's own default limits are above what a confined machine allows.
    let raised = "--ulimit nofile=1024:1024 --ulimit nproc=4096:4096";
    let script = format!(
        "#!/bin/sh\nPATH=/usr/bin:/bin\n[ \"$1\" = run ] || exec podman \"$@\"\nshift\nexec podman run {raised} \"$@\"\n"
    );
    let programs = folder.join("programs");
    std::fs::create_dir(&programs).unwrap();
    executable(&programs.join("podman"), &script);
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let env = env(&[("CONTAINERS_STORAGE_CONF", &storage.display().to_string()), ("PATH", &path)]);
    match Runtime::find(Some(Kind::Podman), env) {
        Ok(runtime) => Some(runtime),
        Err(error) => {
            eprintln!("skipped: podman ({error})");
            None
        }
    }
}

/// Written by another process: a file that this one holds open for writing, or a child that another test starts
/// meanwhile, could not be run.
fn executable(path: &Path, script: &str) {
    let mut install = std::process::Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut child = install.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// An engine that answers as told and records what it was asked.
struct Liar {
    folder: tempfile::TempDir,
    kind: Kind,
}

impl Liar {
    /// `inspect` is what the shell says to `docker image inspect`.
    fn new(inspect: &str) -> Self {
        Self::of(Kind::Docker, inspect)
    }

    fn of(kind: Kind, inspect: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let info = match kind {
            Kind::Docker => r#"{"ServerVersion":"1.0"}"#,
            Kind::Podman => r#"{"host":{"security":{"rootless":true}},"version":{"Version":"1.0"}}"#,
        };
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {log}\ncase \"$1 $2\" in\n\
             info*) echo '{info}';;\n\"image inspect\") {inspect};;\nload*) cat >/dev/null;;\nesac\n",
            log = folder.path().join("log").display(),
        );
        executable(&folder.path().join(kind.as_str()), &script);
        Self { folder, kind }
    }

    fn runtime(&self) -> Runtime {
        let path = format!("{}:/usr/bin:/bin", self.folder.path().display());
        Runtime::find(Some(self.kind), env(&[("PATH", &path), ("DOCKER_DEFAULT_PLATFORM", "linux/s390x")])).unwrap()
    }

    fn asked(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn inspected(image: &Tiny, id: &str) -> String {
    inspected_with(image, id, &serde_json::Value::Null)
}

fn inspected_with(image: &Tiny, id: &str, annotations: &serde_json::Value) -> String {
    let layers = image.content[&image.config.digest].clone();
    let config: serde_json::Value = serde_json::from_slice(&layers).unwrap();
    let answer = serde_json::json!({
        "Id": id, "Os": "linux", "Architecture": image.platform.architecture,
        "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]}, "Annotations": annotations,
    });
    format!("echo '[{answer}]'")
}

#[test]
fn j03_an_engine_that_holds_something_else_starts_nothing() {
    let image = Tiny::new(b"never run", |_| {});
    let id = image.config.digest.to_string();
    let other = Digest::of(b"other").to_string();
    let honest = inspected(&image, &id);
    let cases = [
        ("image-id-mismatch", inspected(&image, &other)),
        ("runtime-answer", inspected(&image, "latest")),
        ("runtime-answer", "echo 'null'".to_owned()),
        ("runtime-answer", "echo '[]'".to_owned()),
        ("runtime-answer", format!("{honest}; {honest}")),
        ("runtime-answer", "true".to_owned()),
        ("program-failed", "echo 'permission denied' >&2; exit 1".to_owned()),
        ("platform-mismatch", honest.replace(&image.platform.architecture, "s390x")),
        ("layers-mismatch", inspected(&Tiny::new(b"other layers", |_| {}), &id)),
        ("image-not-held", "echo 'Error: No such image: x' >&2; exit 1".to_owned()),
    ];
    for (code, inspect) in cases {
        let liar = Liar::new(&inspect);
        for repository in [None, Some("registry.test/good")] {
            let error = prepare(&liar.runtime(), &image, repository, &[], |_| {}).unwrap_err();
            assert_eq!((error.class(), error.code()), (Class::Runtime, code), "{error}");
        }
        assert!(!liar.asked().lines().any(|line| line.starts_with("run") || line.starts_with("create")));
    }
    assert!(prepare(&Liar::new(&honest).runtime(), &image, None, &[], |_| {}).is_ok());
}

#[test]
fn podman_that_holds_the_image_under_anothers_annotations_starts_nothing() {
    let plain = Tiny::new(b"never run", |_| {});
    let own = serde_json::json!({"org.opencontainers.image.title": "own"});
    let annotated = plain.annotated(&own);
    let id = plain.config.digest.hex();
    let orders = serde_json::json!({"run.oci.hooks.stdout": "/x", "run.oci.keep_original_groups": "1"});
    let more = serde_json::json!({"org.opencontainers.image.title": "own", "run.oci.hooks.stdout": "/x"});
    let other = serde_json::json!({"org.opencontainers.image.title": "other"});
    let none = serde_json::json!({});
    for (image, held, taken) in [
        (&plain, &serde_json::Value::Null, true),
        (&plain, &none, true),
        (&plain, &orders, false),
        (&plain, &own, false),
        (&annotated, &own, true),
        (&annotated, &none, true),
        (&annotated, &more, false),
        (&annotated, &other, false),
    ] {
        let liar = Liar::of(Kind::Podman, &inspected_with(image, &id, held));
        let planned = prepare(&liar.runtime(), image, None, &[], |_| {}).map(|_| ());
        let refused = planned.map_err(|error| (error.class(), error.code()));
        let expected = if taken { Ok(()) } else { Err((Class::Runtime, "annotations-mismatch")) };
        assert_eq!(refused, expected, "{held}");
    }
}

#[test]
fn a01_b05_an_engine_is_asked_for_the_digest_and_the_platform_that_were_verified_and_for_no_tag() {
    let image = Tiny::new(b"never run", |_| {});
    let liar = Liar::new("echo 'Error: No such image: x' >&2; exit 1");
    prepare(&liar.runtime(), &image, Some("registry.test/good"), &[], |_| {}).unwrap_err();
    let asked = liar.asked();
    let pull: Vec<_> = asked.lines().filter(|line| line.starts_with("pull")).collect();
    let pinned = format!("registry.test/good@{}", image.manifest.digest);
    assert_eq!(pull, [format!("pull --quiet --platform {} -- {pinned}", image.platform)]);
    assert!(!asked.contains(":latest"));
}

/// The program, with nothing of this machine's but an empty folder for its cache and settings, and these programs.
fn bulla(folder: &Path, path: &str, args: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bulla"));
    command.args(args).env_clear().env("HOME", folder).env("PATH", path).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_rebuild_is_for_this_machine_and_for_no_other_platform() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let host = Platform::host().to_string();
    let rebuild = |platform: &str| {
        let args = ["launch", "--offline", "--rebuild", "--json", "--platform", platform, "base"];
        let output = bulla(folder.path(), &path, &args);
        assert_eq!(output.status.code(), Some(125));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = rebuild("linux/s390x");
    assert!(said.contains("cannot launch linux/s390x") && said.contains("\"USAGE\""), "{said}");
    let said = rebuild(&host);
    assert!(!said.contains("cannot launch"), "{said}");
}

#[test]
fn doctor_leaves_nothing_of_the_engines_that_it_asked() {
    let folder = tempfile::tempdir().unwrap();
    let output = bulla(folder.path(), "/usr/bin:/bin", &["doctor"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("engine"));
    let work = folder.path().join(".cache/bulla/work");
    assert_eq!(std::fs::read_dir(work).unwrap().count(), 0);
}

#[test]
fn no_engine_is_an_error_that_says_what_was_tried() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let error = Runtime::find(None, env(&[("PATH", &path)])).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Runtime, "no-runtime"));
    assert!(error.to_string().contains("docker is not installed; podman is not installed"), "{error}");
    let gone = Path::new("/nonexistent").join("docker.sock");
    let host = format!("unix://{}", gone.display());
    if let Err(error) = Runtime::find(Some(Kind::Docker), env(&[("DOCKER_HOST", &host)])) {
        assert_eq!(error.code(), "no-runtime");
    } else {
        panic!("a daemon that is not there answered");
    }
}

/// Debian's registry, whose storage is read from disk.
struct DiskRegistry {
    folder: tempfile::TempDir,
    child: std::process::Child,
    port: u16,
}

impl DiskRegistry {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {:?}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            folder.path().join("data").display().to_string()
        );
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let mut command = std::process::Command::new("timeout");
        command.args(["300", "docker-registry", "serve"]).arg(folder.path().join("config.yml"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(Self { folder, child, port });
            }
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = child.kill();
        let _ = child.wait();
        eprintln!("skipped: a registry (needs docker-registry)");
        None
    }

    /// A pushed image, as it stands in the registry.
    fn image(&self, manifest: &Digest) -> Tiny {
        let read = |digest: &Digest| {
            let hex = digest.hex();
            let blob = format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
            std::fs::read(self.folder.path().join(blob)).unwrap()
        };
        let raw = read(manifest);
        let parsed = Manifest::parse(&raw, None).unwrap().into_image().unwrap();
        let config = read(&parsed.config.digest);
        Tiny {
            manifest: Descriptor::of(names::DOCKER_MANIFEST, &raw),
            config: parsed.config.clone(),
            platform: Platform::host(),
            content: [(*manifest, raw), (parsed.config.digest, config)].into(),
        }
    }
}

impl Drop for DiskRegistry {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
