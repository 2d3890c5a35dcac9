//! The image of a bundled template, built and run: what the tests of real containers share.
//!
//! Inputs and finished images are kept in the target folder from one run to the next.

#![allow(dead_code, reason = "each test file uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use bulla::adapters::engine::{Choice, EngineError, Host};
use bulla::adapters::inputs::Inputs;
use bulla::adapters::layout::Layout;
use bulla::adapters::runtime::{Kind, Runtime};
use bulla::adapters::sources::{Access, HostClients, Mirrors};
use bulla::adapters::templates::{self, Found};
use bulla::adapters::unwatched;
use bulla::build::{self, BuildError, BuildRecord, BuildRequest, World};
use bulla::launch::{self, Profile, Ready, Request, Variables};
use bulla::oci::Platform;
use bulla::policy::verdict::{AdmittedImage, Subject};
use bulla::policy::{Evidence, Origin, Policy};
use tempfile::TempDir;

use crate::dockerd::Dockerd;

/// An image, and what it was built from.
pub(crate) struct Image {
    /// The template, and those that it stands on.
    pub(crate) family: Vec<Found>,
    /// What the build says of itself.
    pub(crate) record: BuildRecord,
    /// Where the image is.
    pub(crate) layout: Layout,
    _folder: TempDir,
}

/// The image of a bundled template, or nothing, with the reason printed, where it cannot be built here.
pub(crate) fn image(name: &str, daemon: &Dockerd) -> Option<Image> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    let inputs = Inputs::new(&cache)
        .with_mirrors(Mirrors::of_host(Path::new("/etc/apt")), Access::of_host())
        .with_host_clients(HostClients::from_env(|name| std::env::var_os(name)));
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
pub(crate) fn admitted(image: &Image) -> AdmittedImage {
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

/// The docker that speaks to this daemon.
pub(crate) fn runtime(daemon: &Dockerd) -> Runtime {
    let address = OsString::from(daemon.host());
    Runtime::find(Some(Kind::Docker), |name| match name {
        "DOCKER_HOST" => Some(address.clone()),
        "PATH" | "HOME" => std::env::var_os(name),
        _ => None,
    })
    .unwrap()
}

/// Runs a command in a container as `bulla launch` would on the machine of this user.
pub(crate) fn launched(image: &Image, daemon: &Dockerd, host_user: (u32, u32), script: &str) -> Output {
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

/// What a program that succeeded has said.
#[track_caller]
pub(crate) fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{}: {text}", output.status);
    text
}
