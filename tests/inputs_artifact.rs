//! The inputs of locks as one artifact: written, published, and all that is left when every mirror is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

#[path = "support/cli.rs"]
mod cli;
#[path = "support/docker_registry.rs"]
mod docker_registry;
#[path = "support/registry.rs"]
mod registry;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulla::adapters::inputs::{Artifact, ArtifactSource, Inputs, InputsError};
use bulla::adapters::registry::{Registry, RegistryOptions};
use bulla::adapters::unwatched;
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::lockfile::{Input, Lock, Release};
use bulla::reference::Reference;
use bulla::template::Template;
use cli::Desk;
use docker_registry::DockerRegistry;
use registry::{Fault, TestRegistry};

const CONTENTS: [&str; 3] = ["one", "two and more", "three"];

const TEMPLATE: &str = r#"version = 1
name = "tiny"
release = "1.0"
description = "A template for tests"
platforms = ["linux/amd64", "linux/arm64"]

[user]
name = "agent"
uid = 1000
gid = 1000
home = "/home/agent"

[deb]
distro = "test"
packages = []

[[deb.archive]]
name = "debian"
suites = ["test"]
components = ["main"]

[launch]
memory = "512MiB"
pids = 64
network = "none"
"#;

/// A template that wants plain files alone, of an archive that nobody has, and its lock.
fn template() -> Template {
    let mut manifest = TEMPLATE.to_owned();
    for (index, content) in CONTENTS.iter().enumerate() {
        let (hex, size) = (Digest::of(content.as_bytes()).hex(), content.len());
        manifest.push_str(&format!(
            "\n[[file]]\nname = \"file-{index}\"\nversion = \"1\"\narchive = \"acme\"\n\n[[file.source]]\n\
             path = \"kept/file-{index}.bin\"\nsha256 = \"{hex}\"\nsize = {size}\n"
        ));
    }
    let files = [("template.toml", manifest), ("Dockerfile", "FROM scratch\n".to_owned())];
    let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes()));
    let template = Template::from_files("tiny", BTreeMap::from(files)).unwrap();
    let release = Release {
        archive: "debian".to_owned(),
        suite: "test".to_owned(),
        date: "2026-01-01T00:00:00Z".parse().unwrap(),
        digest: Digest::of(b"release"),
        expired: false,
    };
    let platforms = &template.manifest.platforms;
    let files = template.manifest.files.iter();
    let inputs = files.flat_map(|file| platforms.iter().filter_map(|platform| file.locked(platform))).collect();
    let lock = Lock::new(template.digest(), "test", vec![release], inputs).unwrap();
    template.with_lock(&lock)
}

fn locked() -> Vec<Input> {
    template().lock().unwrap().inputs
}

/// A folder with the files under their bare names.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (index, content) in CONTENTS.iter().enumerate() {
        fs::write(folder.path().join(format!("file-{index}.bin")), content).unwrap();
    }
    folder
}

fn fetched(cache: &Path) -> Vec<(Input, PathBuf)> {
    let from = folder();
    let inputs = Inputs::new(cache).with_folders([from.path().to_owned()]);
    inputs.fetch(&locked().iter().collect::<Vec<_>>(), true, &unwatched).unwrap()
}

fn client() -> Registry {
    Registry::new(RegistryOptions { deadline: Duration::from_secs(10), ..RegistryOptions::default() })
}

/// Takes everything from an artifact on a registry, with no mirror anywhere.
fn from_registry(reference: &Reference) -> Result<usize, InputsError> {
    let cache = tempfile::tempdir().unwrap();
    let inputs = Inputs::new(cache.path()).with_artifacts([ArtifactSource::new(&client(), reference)]);
    let got = inputs.fetch(&locked().iter().collect::<Vec<_>>(), false, &unwatched)?;
    for (input, path) in &got {
        assert_eq!(Digest::of(&fs::read(path).unwrap()), input.digest);
    }
    Ok(got.len())
}

#[test]
fn the_artifact_follows_from_the_inputs_alone() {
    let (cache, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (all, mut again) = (fetched(cache.path()), fetched(other.path()));
    again.reverse();
    let artifact = Artifact::of(&all);
    assert_eq!(artifact.digest(), Artifact::of(&again).digest());
    assert_eq!((all.len(), artifact.count()), (6, 3), "both platforms share their files");
    assert_ne!(artifact.digest(), Artifact::of(&all[..2]).digest());
    let golden = "sha256:3add03ec880e312e8524d2d75fdb0d3de257424245785224219869ad4c67e625";
    assert_eq!(artifact.digest().to_string(), golden, "published artifacts would get another digest");
}

#[test]
fn a_layout_holds_all_that_a_fetch_needs() {
    let (cache, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let layout = place.path().join("inputs");
    let artifact = Artifact::of(&fetched(cache.path()));
    artifact.write(&layout).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["digest"], artifact.digest().to_string());
    assert_eq!(index["manifests"][0]["artifactType"], "application/vnd.bulla.inputs.v1");
    let manifest = fs::read(layout.join("blobs/sha256").join(artifact.digest().hex())).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert!(
        manifest["layers"][0]["annotations"]["vnd.bulla.purl"].as_str().unwrap().starts_with("pkg:generic/file-0@1")
    );
    let fetch = || {
        let empty = tempfile::tempdir().unwrap();
        let inputs = Inputs::new(empty.path()).with_folders([layout.clone()]);
        inputs.fetch(&locked().iter().collect::<Vec<_>>(), true, &unwatched).map(|all| all.len())
    };
    assert_eq!(fetch().unwrap(), 6);
    // Another valid content under the name of one.
    let blobs = layout.join("blobs/sha256");
    let path = |index: usize| blobs.join(Digest::of(CONTENTS[index].as_bytes()).hex());
    fs::copy(path(2), path(0)).unwrap();
    let error = fetch().unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Integrity, "input-differs"));
    assert!(error.to_string().contains("file-0 1") && !error.to_string().contains("file-2 1"), "{error}");
}

fn publishes(reference: &Reference) {
    let cache = tempfile::tempdir().unwrap();
    let artifact = Artifact::of(&fetched(cache.path()));
    let store = client().repository(&reference.repository);
    let first = artifact.push(&store, reference.tag.as_deref()).unwrap();
    assert_eq!((first.digest, first.sent, first.present), (artifact.digest(), 3, 0));
    let again = artifact.push(&store, reference.tag.as_deref()).unwrap();
    assert_eq!((again.digest, again.sent, again.present), (artifact.digest(), 0, 3));
    let whole = Reference { tag: None, digest: None, ..reference.clone() };
    let pinned = Reference { digest: Some(artifact.digest()), ..whole.clone() };
    for reference in [reference, &whole, &pinned] {
        assert_eq!(from_registry(reference).unwrap(), 6, "{reference}");
    }
    let missing = Reference { digest: Some(Digest::of(b"other")), ..whole };
    let error = from_registry(&missing).unwrap_err();
    assert_eq!(error.code(), "input-gone", "{error}");
    assert!(error.to_string().contains(&missing.to_string()), "{error}");
    // The tag stays with what it names.
    let less = Artifact::of(&fetched(cache.path())[..1]);
    assert!(less.push(&store, reference.tag.as_deref()).is_err());
    assert!(less.push(&store, None).is_ok());
}

#[test]
fn a_published_artifact_holds_all_that_a_fetch_needs() {
    publishes(&TestRegistry::start().reference("acme/inputs:1"));
    if let Some(server) = DockerRegistry::start() {
        publishes(&server.reference("acme/inputs:1"));
    }
}

#[test]
fn a_registry_that_lies_about_an_input_is_refused_by_the_input_s_name() {
    let server = TestRegistry::start();
    let reference = server.reference("acme/inputs:1");
    let cache = tempfile::tempdir().unwrap();
    let artifact = Artifact::of(&fetched(cache.path()));
    artifact.push(&client().repository(&reference.repository), Some("1")).unwrap();
    let blob = format!("/blobs/{}", Digest::of(CONTENTS[1].as_bytes()));
    for (fault, class) in [
        (Fault::body("two and mare"), Class::Integrity),
        (Fault::body("two"), Class::Integrity),
        (Fault::status(404), Class::Build),
        (Fault::status(403), Class::Auth),
    ] {
        server.clear_faults();
        server.fault(&blob, fault);
        let error = from_registry(&reference).unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains("file-1 1") && !error.to_string().contains("file-0 1"), "{error}");
    }
}

#[test]
fn an_artifact_behind_a_password_is_another_class_than_none() {
    let server = TestRegistry::start().with_token("user", "secret");
    let error = from_registry(&server.reference("acme/inputs:1")).unwrap_err();
    assert_eq!(error.class(), Class::Auth, "{error}");
}

#[test]
fn the_binary_writes_publishes_and_takes_them() {
    let (desk, server, from) = (Desk::new(), TestRegistry::start(), folder());
    for (path, file) in &template().files {
        desk.write(&format!("templates/tiny/{path}"), &file.bytes);
    }
    let (templates, from) = (desk.arg("templates"), from.path().display().to_string());
    let fetch = |more: &[&str]| {
        let _ = fs::remove_dir_all(desk.path("cache"));
        let args = ["fetch", "tiny", "--platform", "linux/amd64", "--templates-dir", &templates];
        desk.run(&[&args, more].concat())
    };
    fetch(&[]).ends(3);
    let layout = desk.arg("inputs");
    let run = fetch(&["--inputs", &from, "--output", &layout]).ends(0);
    let digest = run.stdout.lines().last().unwrap().rsplit_once('@').unwrap().1.to_owned();
    fetch(&["--inputs", &format!("oci:{layout}")]).ends(0);
    let repository = format!("{}/acme/inputs", server.host());
    let run = fetch(&["--inputs", &layout, "--push", &format!("{repository}:1")]).ends(0);
    assert_eq!(run.stdout.lines().last(), Some(format!("{repository}@{digest}").as_str()));
    for place in [repository.clone(), format!("{repository}@{digest}"), format!("{repository}:1")] {
        fetch(&["--inputs", &place]).ends(0);
    }
    fetch(&["--inputs", &layout, "--push", &format!("{repository}@{digest}")]).ends(2);
    // A word that could be a folder is one: no registry is asked for it.
    server.clear_log();
    assert!(fetch(&["--inputs", "acme/inputs"]).ends(3).stderr.contains("acme/inputs: not there"));
    assert!(server.log().is_empty());
}
