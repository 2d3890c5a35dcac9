//! Building for real: locked inputs from the host's archive, every engine that works here, no network.
//!
//! What is not there is named and passed over: `skipped: …`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "in a test they are the failure")]

#[path = "support/building.rs"]
mod building;
#[path = "support/dockerd.rs"]
mod dockerd;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use building::{BASE, ONE_AT_A_TIME, START, Site, bytes, host, with_dockerfile};
use bulla::adapters::engine::{Choice, EngineError, Host};
use bulla::adapters::inputs::InputsError;
use bulla::build::{self, BuildError};
use bulla::class::{Class, Classified};
use bulla::oci::Platform;
use bulla::template::Template;
use dockerd::Dockerd;

/// The first engine that works here, among those that need no daemon.
fn any_engine() -> Option<Site> {
    let folder = tempfile::tempdir().unwrap();
    for choice in [Choice::Buildah, Choice::Podman] {
        match bulla::adapters::engine::find(&choice, &host(&[]), folder.path()) {
            Ok(_) => return Some(Site::new(choice, host(&[]))),
            Err(error) => println!("{error}"),
        }
    }
    println!("skipped: a build (neither buildah nor podman works here)");
    None
}

#[test]
fn every_engine_gives_base_the_same_digest() {
    let _one = ONE_AT_A_TIME.lock();
    let Some((template, cache)) = &*BASE else { return };
    let aside = tempfile::tempdir().unwrap();
    let later = later(aside.path());
    let daemon = Dockerd::start_with(later.as_deref().unwrap_or_default(), "{}");
    let mut sites = vec![("buildah", Site::new(Choice::Buildah, host(&[])))];
    if let Some(daemon) = &daemon {
        let address = daemon.host();
        sites.push(("docker", Site::new(Choice::Docker, host(&[("DOCKER_HOST", &address)]))));
    }
    let mut records = Vec::new();
    for (name, site) in &sites {
        // The second engine runs with another umask, too.
        let umask = (*name == "docker").then(|| rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077)));
        let built = site.build(template, cache.path(), false);
        umask.map(rustix::process::umask);
        match built {
            Ok(record) => {
                println!("{name}: {} {} -> {}", record.engine.name, record.engine.version, record.image.digest);
                records.push((site.output(), record));
            }
            Err(BuildError::Engine(EngineError::None(reasons))) => println!("skipped: {name}: {reasons:?}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    if let (Some(_), Some((_, site))) = (&later, sites.get(1)) {
        // It was another day in there: this step succeeds on no other.
        let tomorrow = jiff::Timestamp::now().as_second() + 39 * 86_400;
        let clock = with_dockerfile(template, &format!("{START}RUN test $(date +%s) -gt {tomorrow}\n"));
        site.build(&clock, cache.path(), false).unwrap();
    }
    if let Some(daemon) = &daemon {
        let images =
            daemon.docker(&["image", "ls", "--quiet", "--filter", "reference=*/bulla-build"]).output().unwrap();
        assert!(images.stdout.is_empty(), "a build left an image in the daemon");
    }
    let Some((output, first)) = records.first() else { return };
    for (_, record) in &records {
        assert_eq!(record.image.digest, first.image.digest, "{} and {}", record.engine.name, first.engine.name);
        assert_eq!(record.documents["sbom.spdx.json"], first.documents["sbom.spdx.json"]);
        assert_eq!(record.documents["sbom.cdx.json"], first.documents["sbom.cdx.json"]);
    }
    // The provenance names every byte that went in.
    let lock = template.lock().unwrap();
    let count = lock.for_platform(&Platform::host()).len();
    assert_eq!(first.inputs.count, count);
    assert!(first.image.packages >= count, "{} packages of {count} inputs", first.image.packages);
    let provenance: serde_json::Value = read_json(&output.join("bulla/provenance.json"));
    let dependencies = provenance["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    assert_eq!(dependencies.len(), count + build::OWN_DEPENDENCIES);
    for input in lock.for_platform(&Platform::host()) {
        let named = dependencies.iter().filter(|one| {
            one["uri"] == input.purl().as_str() && one["digest"]["sha256"] == input.digest.hex().as_str()
        });
        assert_eq!(named.count(), 1, "{}", input.display());
    }
    reads_as_in_toto(&output.join("bulla/provenance.json"), &first.image.digest.hex(), dependencies.len());
    let record = read_json(&output.join("bulla/build.json"));
    assert_eq!(record["schema"], build::SCHEMA);
    assert_eq!(record["image"]["digest"], first.image.digest.to_string().as_str());
    let index = read_json(&output.join("index.json"));
    let name = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(*name, format!("base:{}", template.manifest.release).as_str());
}

/// in-toto's own types take the provenance, with as many dependencies, and refuse it with a word changed.
fn reads_as_in_toto(provenance: &Path, digest: &str, dependencies: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/peers/bin/python");
    if !python.exists() {
        println!("skipped: reading provenance with in-toto's types (scripts/setup.sh test installs them)");
        return;
    }
    let read = |file: &Path| {
        let mut command = Command::new(&python);
        command.arg(root.join("scripts/check-provenance.py")).arg(file).arg(digest).output().unwrap()
    };
    let good = read(provenance);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert_eq!(String::from_utf8_lossy(&good.stdout).trim(), dependencies.to_string());
    let text = std::fs::read_to_string(provenance).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("\"runDetails\"", "\"runDetail\""), ("\"sha256\": \"", "\"sha256\": 5, \"x\": \"")] {
        let bad = folder.path().join("bad.json");
        std::fs::write(&bad, text.replace(from, to)).unwrap();
        assert!(!read(&bad).status.success(), "took {to}");
    }
}

/// What a docker daemon is started with so that containers see a clock that is 40 days ahead.
fn later(folder: &Path) -> Option<Vec<(OsString, OsString)>> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library = libraries.map(|dir| dir.path().join("faketime/libfaketime.so.1")).find(|path| path.is_file());
    let (Some(library), Some(_)) = (library, bulla::adapters::process::find_program("jq", &path)) else {
        println!("skipped: a clock that is 40 days ahead (libfaketime and jq are not both installed)");
        return None;
    };
    let runc = folder.join("runc");
    std::fs::write(&runc, include_bytes!("../scripts/later-runc.sh")).unwrap();
    std::fs::set_permissions(&runc, std::fs::Permissions::from_mode(0o755)).unwrap();
    let paths = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
    let log = folder.join("log");
    let variables =
        [("PATH", std::env::join_paths(paths).unwrap()), ("LATER_LIBRARY", library.into()), ("LATER_LOG", log.into())];
    Some(variables.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_build_cannot_reach_the_network() {
    let _one = ONE_AT_A_TIME.lock();
    let Some((template, cache)) = &*BASE else { return };
    let daemon = Dockerd::start();
    let address = daemon.as_ref().map(Dockerd::host).unwrap_or_default();
    let docker = daemon.as_ref().map(|_| Site::new(Choice::Docker, host(&[("DOCKER_HOST", &address)])));
    let others = [Choice::Buildah, Choice::Podman].map(|choice| Site::new(choice, host(&[])));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let reaching = format!("{START}RUN bash -c 'echo hello >/dev/tcp/127.0.0.1/{port}'\n");
    for site in docker.iter().chain(&others) {
        let error = match site.build(&with_dockerfile(template, &reaching), cache.path(), false) {
            Err(BuildError::Engine(EngineError::None(reasons))) => {
                println!("skipped: an engine: {reasons:?}");
                continue;
            }
            built => built.unwrap_err(),
        };
        assert_eq!((error.class(), error.code()), (Class::Build, "engine-failed"));
        assert!(error.to_string().contains("/dev/tcp/127.0.0.1"), "{error}");
        assert!(listener.accept().is_err(), "the build reached this machine");
    }
}

#[test]
fn an_input_that_is_not_locked_is_not_there() {
    let _one = ONE_AT_A_TIME.lock();
    let (Some((template, cache)), Some(site)) = (&*BASE, any_engine()) else { return };
    let unlocked = with_dockerfile(template, &format!("{START}COPY inputs/deb/unlocked_1_all.deb /x\n"));
    let error = site.build(&unlocked, cache.path(), false).unwrap_err();
    assert_eq!(error.code(), "engine-failed");
    assert!(error.to_string().contains("unlocked_1_all.deb"), "{error}");
}

#[test]
fn a_second_build_that_differs_is_refused_with_the_paths() {
    let _one = ONE_AT_A_TIME.lock();
    let (Some((template, cache)), Some(site)) = (&*BASE, any_engine()) else { return };
    let random = with_dockerfile(template, &format!("{START}RUN head -c 8 /dev/urandom >/etc/different\n"));
    match site.build(&random, cache.path(), true).unwrap_err() {
        BuildError::NotReproducible { first, second, paths } => {
            assert_ne!(first, second);
            assert_eq!(paths[0], "changed etc/different: other content of 8 bytes", "{paths:?}");
        }
        error => panic!("{error}"),
    }
    let steady = with_dockerfile(template, &format!("{START}RUN date >/dev/null\n"));
    assert_eq!(site.build(&steady, cache.path(), true).unwrap().builds, 2);
}

/// A BuildKit that this docker does not run: another daemon's, behind a socket that forwards to it.
#[test]
fn a_builder_by_name_gives_the_same_digest() {
    let _one = ONE_AT_A_TIME.lock();
    let Some((template, cache)) = &*BASE else { return };
    let buildx = Command::new("docker").args(["buildx", "version"]).output();
    if !buildx.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("buildx")) {
        println!("skipped: a builder by name (docker has no buildx)");
        return;
    }
    let Some(daemon) = Dockerd::start_with(&[], r#"{"features": {"containerd-snapshotter": true}}"#) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (socket, config) = (folder.path().join("far.sock"), folder.path().join("config"));
    forward(UnixListener::bind(&socket).unwrap(), daemon.host());
    let config = config.to_str().unwrap();
    // No daemon but the one behind the socket, and nothing that a person has set up.
    let nowhere = format!("unix://{}/none.sock", folder.path().display());
    let host = host(&[("DOCKER_CONFIG", config), ("DOCKER_HOST", &nowhere)]);
    let address = format!("unix://{}", socket.display());
    let create = ["buildx", "create", "--name", "far", "--driver", "remote", &address];
    let created = Command::new("docker").args(create).env("DOCKER_CONFIG", config).output().unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));

    let far = Site::new(Choice::Builder("far".to_owned()), host.clone());
    let record = far.build(template, cache.path(), false).unwrap();
    assert_eq!((record.engine.name.as_str(), record.engine.builder.as_deref()), ("docker-buildx", Some("far")));
    let near = Site::new(Choice::Buildah, self::host(&[]));
    match near.build(template, cache.path(), false) {
        Ok(near) => assert_eq!(record.image.digest, near.image.digest),
        Err(BuildError::Engine(EngineError::None(reasons))) => println!("skipped: comparing with buildah: {reasons:?}"),
        Err(error) => panic!("{error}"),
    }
    let unknown = Site::new(Choice::Builder("unknown".to_owned()), host);
    let error = unknown.build(template, cache.path(), false).unwrap_err();
    assert_eq!(error.code(), "no-engine");
    assert!(error.to_string().contains("builder unknown: ERROR: no builder \"unknown\" found"), "{error}");
}

/// Hands every connection to BuildKit's own way in.
fn forward(listener: UnixListener, daemon: String) {
    let pump = |mut from: Box<dyn Read + Send>, mut to: Box<dyn Write + Send>, end: Option<UnixStream>| {
        std::thread::spawn(move || {
            let mut piece = [0; 1 << 15];
            while let Ok(count @ 1..) = from.read(&mut piece) {
                if to.write_all(&piece[..count]).and_then(|()| to.flush()).is_err() {
                    break;
                }
            }
            drop(to);
            end.map(|stream| stream.shutdown(std::net::Shutdown::Both))
        })
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut command = Command::new("docker");
            command.args(["buildx", "dial-stdio"]).env("DOCKER_HOST", &daemon).env_remove("BUILDX_BUILDER");
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            pump(Box::new(stream.try_clone().unwrap()), Box::new(stdin), None);
            pump(Box::new(stdout), Box::new(stream.try_clone().unwrap()), Some(stream));
            std::thread::spawn(move || child.wait());
        }
    });
}

#[test]
fn a_rebuild_is_attested_only_where_it_is_the_same() {
    let _one = ONE_AT_A_TIME.lock();
    let (Some((template, cache)), Some(_)) = (&*BASE, any_engine()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (images, step) in [("images", "true"), ("others", "echo >/other")] {
        for (path, file) in &with_dockerfile(template, &format!("{START}RUN {step}\n")).files {
            let path = folder.path().join(images).join("base").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &file.bytes).unwrap();
        }
    }
    let bulla = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulla"));
        command.args(args).env("XDG_CACHE_HOME", cache.path()).env("BULLA_KEY_PASSWORD", "secret");
        let output = command.env_remove("GITHUB_ACTIONS").output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(bulla(&["key", "generate", "--output", &at("k")]).0, 0);
    let (key, public, images) = (at("k.key"), at("k.pub"), at("images"));
    let rebuild_type = bulla::home::rebuild_type();
    for (published, code) in [("images", 0), ("others", 1)] {
        let layout = at(&format!("{published}.oci"));
        let said = bulla(&["build", "base", "--templates-dir", &at(published), "--output", &layout, "--offline"]);
        assert_eq!(said.0, 0, "{}", said.1);
        let image = format!("oci:{layout}");
        let said =
            bulla(&["attest", &image, "--rebuild", "base", "--templates-dir", &images, "--key", &key, "--offline"]);
        assert_eq!(said.0, code, "{}", said.1);
        let said = bulla(&["verify", &image, "--key", &public, "--require", &rebuild_type]);
        assert_eq!(said.0, code, "{}", said.1);
    }
}

#[test]
fn refuses_an_unpinned_base_before_anything_is_fetched() {
    let template = Template::bundled("base").unwrap();
    let site = Site::new(Choice::Auto, Host::default());
    let empty = tempfile::tempdir().unwrap();
    let error = site.build(&with_dockerfile(&template, "FROM debian:trixie\n"), empty.path(), false).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Build, "unpinned-base"));
    assert!(error.to_string().starts_with("images/base/Dockerfile:1: "), "{error}");
}

#[test]
fn refuses_a_template_that_is_not_the_locked_one() {
    let template = Template::bundled("base").unwrap();
    let lock = template.lock().unwrap();
    let mut files = bytes(&template);
    files.insert("rootfs/etc/motd".to_owned(), b"another".to_vec());
    let drifted = Template::from_files("base", files).unwrap().with_lock(&lock);
    let site = Site::new(Choice::Auto, Host::default());
    let error = site.build(&drifted, Path::new("/nonexistent"), false).unwrap_err();
    assert!(matches!(error, BuildError::Lock(_)), "{error}");
}

#[test]
fn an_input_that_cannot_be_had_is_named() {
    let template = Template::bundled("base").unwrap();
    let template = with_dockerfile(&template, template.dockerfile());
    let site = Site::new(Choice::Auto, Host::default());
    let empty = tempfile::tempdir().unwrap();
    let error = site.build(&template, empty.path(), false).unwrap_err();
    assert!(matches!(error, BuildError::Inputs(InputsError::Unavailable(_))), "{error}");
    assert!(error.to_string().contains("git"), "{error}");
}

/// Every kind of engine, with a docker daemon where one runs.
fn engines() -> (Option<Dockerd>, Vec<(&'static str, Site)>) {
    let daemon = Dockerd::start();
    let mut sites =
        vec![("buildah", Site::new(Choice::Buildah, host(&[]))), ("podman", Site::new(Choice::Podman, host(&[])))];
    if let Some(daemon) = &daemon {
        sites.push(("docker", Site::new(Choice::Docker, host(&[("DOCKER_HOST", &daemon.host())]))));
    }
    (daemon, sites)
}

#[test]
fn l18_a_step_finds_no_way_out_of_the_image() {
    use std::os::unix::fs::PermissionsExt as _;
    let _one = ONE_AT_A_TIME.lock();
    let Some((template, cache)) = &*BASE else { return };
    let outside = tempfile::tempdir().unwrap();
    let (secret, made) = (outside.path().join("secret"), outside.path().join("made"));
    std::fs::write(&secret, "of the machine").unwrap();
    // A process of the same user.
    let mut bystander = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let pid = bystander.id();
    // What a step finds goes into the image as a file: a line for every way out.
    let escape = format!(
        r#"perl -e 'open(O,">>","/found"); mkdir "/zz"; opendir(D,"/"); if(chroot("/zz")){{chdir(D); chdir("..") for 1..64; chroot("."); print O "file\n" if -e "{secret}"; open(F,">","{made}") and print F "x"}}'"#,
        secret = secret.display(),
        made = made.display(),
    );
    let ways = [
        "touch /found",
        &escape,
        &format!(
            "if kill -0 {pid} && grep -q '^sleep' /proc/{pid}/cmdline; then echo process >>/found; kill {pid}; fi"
        ),
        &format!("for one in /proc/[0-9]*; do test ! -e $one/root{} || echo root >>/found; done", secret.display()),
        // What is a device here is not the machine's, or cannot be changed.
        "chmod 640 /dev/full",
        "chmod 640 /dev/zero",
        "for disk in /dev/vd* /dev/sd* /dev/nvme* /dev/mem /dev/kvm; do test ! -e $disk || echo $disk >>/found; done",
        "if mknod /x c 1 3 && head -c 1 /x; then echo mknod >>/found; fi",
        "if head -c 1 /brought; then echo brought >>/found; fi",
        "for one in /proc/sys/kernel/core_pattern /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent; \
         do if test -e $one && (: >>$one); then echo $one >>/found; fi; done",
        "if chroot / true; then echo chroot >>/found; fi",
        "if unshare --user --map-root-user chroot / true; then echo userns >>/found; fi",
    ];
    let text = format!("{START}ADD rootfs/brought.tar /\nRUN {}; true\n", ways.join("; "));
    let attack = with_file(&with_dockerfile(template, &text), "rootfs/brought.tar", device());
    let mode = |node: &str| std::fs::metadata(node).unwrap().permissions().mode();
    let before = ["/dev/full", "/dev/zero"].map(mode);
    let (_daemon, sites) = engines();
    let mut seen = Vec::new();
    for (name, site) in &sites {
        match site.build(&attack, cache.path(), false) {
            Ok(record) => seen.push((*name, found(site, &record))),
            Err(BuildError::Engine(EngineError::None(reasons))) => println!("skipped: {name}: {reasons:?}"),
            Err(error) => panic!("{name}: {error}"),
        }
        let after = ["/dev/full", "/dev/zero"].map(mode);
        for (node, mode) in ["/dev/full", "/dev/zero"].iter().zip(before) {
            let _ = std::fs::set_permissions(node, std::fs::Permissions::from_mode(mode));
        }
        assert_eq!(after, before, "{name}: a step changed a device of the machine");
        assert!(!made.exists(), "{name}: a step wrote outside of its image");
        assert!(bystander.try_wait().unwrap().is_none(), "{name}: a step ended a process of the machine");
    }
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    println!("{seen:?}");
    for (name, found) in seen {
        // docker cannot be told otherwise: `chroot` stays in a root that was pivoted to, and its list of devices lets
        // these two be made and opened, which everybody may.
        let ways: Vec<_> =
            found.lines().filter(|way| name != "docker" || !matches!(*way, "chroot" | "mknod" | "brought")).collect();
        assert!(ways.is_empty(), "{name}: {ways:?}");
    }
}

/// Whether a file of the machine gets into the image through a link that an earlier stage made.
#[test]
fn l19_a_mount_is_refused_before_an_engine_is_asked() {
    let template = Template::bundled("base").unwrap();
    let outside = tempfile::tempdir().unwrap();
    let (secret, made) = (outside.path().join("secret"), outside.path().join("made"));
    std::fs::write(&secret, "of the machine").unwrap();
    let empty = tempfile::tempdir().unwrap();
    for (mount, step) in [
        ("type=bind,from=a,source=/link,target=/host".to_owned(), format!("cat /host{} >/leak", secret.display())),
        (format!("type=bind,source=inputs/deb,target=/link{}", made.display()), "true".to_owned()),
        (format!("type=tmpfs,target=/link{}", made.display()), "true".to_owned()),
    ] {
        let text = format!(
            "FROM scratch AS a\nADD inputs/bootstrap.tar /\nRUN ln -s / /link\n{START}RUN ln -s / /link\nRUN --mount={mount} {step}\n"
        );
        for choice in [Choice::Docker, Choice::Buildah, Choice::Podman] {
            let site = Site::new(choice, host(&[]));
            let error = site.build(&with_dockerfile(&template, &text), empty.path(), false).unwrap_err();
            assert_eq!((error.class(), error.code()), (Class::Build, "mount"), "{error}");
            assert!(error.to_string().starts_with("images/base/Dockerfile:8: RUN --mount="), "{error}");
        }
        assert!(!made.exists(), "{mount} made a folder of the machine");
    }
}

/// A template with one more file, and its lock made to fit.
fn with_file(template: &Template, path: &str, bytes: Vec<u8>) -> Template {
    let mut lock = template.lock().unwrap();
    let mut files: BTreeMap<_, _> =
        template.files.iter().map(|(path, file)| (path.clone(), file.bytes.clone())).collect();
    files.insert(path.to_owned(), bytes);
    let template = Template::from_files("base", files).unwrap();
    lock.template = template.digest();
    template.with_lock(&lock)
}

/// An archive with a device in it: `/dev/zero` by another name.
fn device() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Char);
    header.set_mode(0o666);
    header.set_size(0);
    header.set_device_major(1).unwrap();
    header.set_device_minor(5).unwrap();
    tar.append_data(&mut header, "brought", &b""[..]).unwrap();
    tar.into_inner().unwrap()
}

/// What stands in `/found` of the image.
fn found(site: &Site, record: &build::BuildRecord) -> String {
    let layer = record.image.layers.last().unwrap().digest.hex();
    let layer = std::fs::File::open(site.output().join("blobs/sha256").join(layer)).unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(layer));
    let entry = tar.entries().unwrap().map(Result::unwrap).find(|entry| entry.path().unwrap() == Path::new("found"));
    let mut text = String::new();
    entry.unwrap().read_to_string(&mut text).unwrap();
    text
}
