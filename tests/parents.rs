//! Templates that stand on each other, and templates of a person's own: built for real by an engine that needs no
//! daemon, from the packages of `base`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test they are the failure"
)]

#[path = "support/building.rs"]
mod building;
#[path = "support/dockerd.rs"]
mod dockerd;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use building::{ONE_AT_A_TIME, Site, apt, bytes, fetched_into, host, with_dockerfile, with_inputs};
use bulla::adapters::engine::{Choice, EngineError};
use bulla::adapters::inputs::Inputs;
use bulla::adapters::templates::Found;
use bulla::adapters::unwatched;
use bulla::build::{self, BuildError, BuildRecord, BuildRequest, Expected};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::home;
use bulla::lock::{self, Drift, LockingError};
use bulla::oci::Platform;
use bulla::oci::normalize::RULES;
use bulla::template::digests::{self, Digests};
use bulla::template::{Template, skeleton};
use dockerd::Dockerd;
use tempfile::TempDir;

/// Locked inputs, kept from one run of the tests to the next.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// `base` with the files of its essential packages and nothing installed: quickly built. Nothing where its inputs
/// cannot be had.
static BASE: LazyLock<Option<Found>> = LazyLock::new(|| {
    let template = Template::bundled("base").unwrap();
    let start = "FROM scratch\nENV PATH=/usr/sbin:/usr/bin:/sbin:/bin\nADD inputs/bootstrap.tar /\nHEALTHCHECK CMD [\"true\"]\n";
    let template = with_inputs(with_dockerfile(&template, start), &fetched_into(&cache()))?;
    Some(Found { template, bundled: false })
});

/// A template of one's own on others, locked, without packages.
fn child(name: &str, dockerfile: &str, parents: &[Found]) -> Template {
    let made = with_dockerfile(&skeleton::template(name, &parents[0].template.manifest).unwrap(), dockerfile);
    let platform = Platform::host();
    let lock = lock::lock(&made, &[platform], &apt(), parents, &fetched_into(&cache()), &unwatched).unwrap();
    assert!(lock.inputs.is_empty() && lock.releases.is_empty());
    made.with_lock(&lock)
}

const CHILD: &str = "FROM scratch\nADD inputs/base.tar /\nRUN echo hello >/etc/motd && rm /etc/debian_version\n";

/// Finished builds of this run.
static FINISHED: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fn site() -> Site {
    Site::new(Choice::Buildah, host(&[])).keeping(FINISHED.path().to_owned())
}

/// Builds a template of one's own; nothing where no engine works here.
fn built_at(site: &Site, request: BuildRequest<'_>) -> Option<Result<BuildRecord, BuildError>> {
    match site.run(BuildRequest { bundled: false, ..request }, &Inputs::new(&cache())) {
        Err(BuildError::Engine(EngineError::None(reasons))) => {
            println!("skipped: a build: {reasons:?}");
            None
        }
        built => Some(built),
    }
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn blob(layout: &Path, digest: &Digest) -> serde_json::Value {
    json(&layout.join("blobs/sha256").join(digest.hex()))
}

#[test]
fn a_child_keeps_its_bases_layers_and_says_where_they_are_from() {
    let _one = ONE_AT_A_TIME.lock();
    let Some(base) = &*BASE else { return };
    let site = site();
    let Some(built) = built_at(&site, BuildRequest::new(&base.template, site.path("base"))) else { return };
    let below = built.unwrap();
    let config = blob(&site.path("base"), &below.image.config);
    assert_eq!(config["config"]["Healthcheck"]["Test"], serde_json::json!(["CMD", "true"]), "{config:#}");

    let parents = [base.clone()];
    let one = child("mine", CHILD, &parents);
    let request = BuildRequest { parents: &parents, ..BuildRequest::new(&one, site.path("mine")) };
    let built = built_at(&site, request).unwrap().unwrap();
    assert_eq!(built.image.layers.len(), 2);
    assert_eq!(
        built.image.layers[0].digest, below.image.layers[0].digest,
        "the base's blob is the same in every image"
    );
    assert!(built.image.layers[1].size < 10_000, "{:?}", built.image.layers);
    let config = blob(&site.path("mine"), &built.image.config);
    let labels = &config["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.base.digest"], below.image.digest.to_string());
    assert_eq!(labels["org.opencontainers.image.base.name"], "local-base:0.1.0");
    assert_eq!(built.parents[0].lock, base.template.lock().unwrap().digest());

    // Its provenance names all that went into the base, and the base's image.
    let provenance = json(&site.path("mine").join("bulla/provenance.json"));
    let dependencies = provenance["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    let locked = base.template.lock().unwrap();
    let locked = locked.for_platform(&Platform::host());
    assert_eq!(dependencies.len(), 2 * build::OWN_DEPENDENCIES + 1 + locked.len());
    for digest in locked.iter().map(|input| input.digest).chain([below.image.digest]) {
        assert!(dependencies.iter().any(|one| one["digest"]["sha256"] == digest.hex().as_str()), "{digest}");
    }

    // A grandchild has three layers, and the file that its parent removed stays removed.
    let parents = [Found { template: one.clone(), bundled: false }, base.clone()];
    let two = child(
        "other",
        "FROM scratch\nADD inputs/base.tar /\nRUN test ! -e /etc/debian_version && test -e /etc/motd && touch /x\n",
        &parents,
    );
    let request = BuildRequest { parents: &parents, ..BuildRequest::new(&two, site.path("other")) };
    let last = built_at(&site, request).unwrap().unwrap();
    assert_eq!(last.image.layers.len(), 3);
    assert_eq!(last.image.layers[1].digest, built.image.layers[1].digest);
    assert_eq!(last.parents.len(), 2);
}

#[test]
fn docker_gives_a_child_the_digest_that_buildah_gives_it() {
    let _one = ONE_AT_A_TIME.lock();
    let Some(base) = &*BASE else { return };
    let Some(daemon) = Dockerd::start() else { return };
    let (site, parents) = (site(), [base.clone()]);
    let one = child("mine", CHILD, &parents);
    let request = |output: &str| BuildRequest { parents: &parents, ..BuildRequest::new(&one, site.path(output)) };
    let Some(built) = built_at(&site, request("buildah")) else { return };
    let address = daemon.host();
    let docker = Site::new(Choice::Docker, host(&[("DOCKER_HOST", &address)])).keeping(FINISHED.path().to_owned());
    let other = built_at(&docker, request("docker")).unwrap().unwrap();
    assert_eq!(other.image.digest, built.unwrap().image.digest);
    assert!(other.engine.name.starts_with("docker") && !other.reused, "{:?}", other.engine);
}

#[test]
fn a_finished_build_is_taken_unless_it_is_not_whole_or_a_fresh_one_is_asked_for() {
    let _one = ONE_AT_A_TIME.lock();
    let Some(base) = &*BASE else { return };
    let site = Site::new(Choice::Buildah, host(&[]));
    let finished = site.path("finished");
    let site = site.keeping(finished);
    let request = |output: &str| BuildRequest::new(&base.template, site.path(output));
    let Some(first) = built_at(&site, request("first")) else { return };
    let first = first.unwrap();
    assert!(!first.reused);
    let again = built_at(&site, request("again")).unwrap().unwrap();
    assert!(again.reused);
    assert_eq!(again.image.digest, first.image.digest);
    for document in ["sbom.spdx.json", "sbom.cdx.json", "provenance.json"] {
        let read = |output: &str| std::fs::read(site.path(output).join("bulla").join(document)).unwrap();
        assert_eq!(read("first"), read("again"), "{document}");
    }
    let fresh = built_at(&site, BuildRequest { fresh: true, ..request("fresh") }).unwrap().unwrap();
    assert!(!fresh.reused);
    assert_eq!(fresh.image.digest, first.image.digest);

    // Another blob under the layer's digest: it is noticed, and built.
    let kept: Vec<_> = std::fs::read_dir(site.path("finished")).unwrap().flatten().map(|entry| entry.path()).collect();
    let [kept] = kept.as_slice() else { panic!("{kept:?}") };
    let layer = kept.join("blobs/sha256").join(first.image.layers[0].digest.hex());
    let mut bytes = std::fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let built = built_at(&site, request("built")).unwrap().unwrap();
    assert!(!built.reused);
    assert_eq!(built.image.digest, first.image.digest);
}

#[test]
fn a_digest_that_is_not_the_recorded_one_is_no_image() {
    let _one = ONE_AT_A_TIME.lock();
    let Some(base) = &*BASE else { return };
    let site = site();
    let Some(built) = built_at(&site, BuildRequest::new(&base.template, site.path("first"))) else { return };
    let built = built.unwrap();
    assert_eq!(built.expected, Expected::NotRecorded);
    let recorded = |lock: Digest, rules: &str, digest: Digest| {
        let digests = Digests::with(None, lock, rules, &Platform::host(), digest);
        let mut files = bytes(&base.template);
        files.insert(digests::FILE_NAME.to_owned(), digests.write().into_bytes());
        Template::from_files("base", files).unwrap()
    };
    let (lock, other) = (built.template.lock, Digest::of(b"other"));
    let right = recorded(lock, RULES, built.image.digest);
    assert_eq!(right.digest(), base.template.digest(), "what follows from a template is no part of it");
    let held = built_at(&site, BuildRequest::new(&right, site.path("right"))).unwrap().unwrap();
    assert_eq!(held.expected, Expected::Match);
    for unknown in [recorded(other, RULES, other), recorded(lock, "0", other)] {
        let held = built_at(&site, BuildRequest::new(&unknown, site.path("unknown"))).unwrap().unwrap();
        assert_eq!(held.expected, Expected::NotRecorded);
    }
    let wrong = recorded(lock, RULES, other);
    let error = built_at(&site, BuildRequest::new(&wrong, site.path("wrong"))).unwrap().unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Build, "unexpected-digest"));
    assert!(!site.path("wrong").exists());
    // Nor can it be built upon, though a child has no digest of its own to be held against.
    let parents = [Found { template: wrong.clone(), bundled: false }];
    let one = child("mine", CHILD, &parents);
    let request = BuildRequest { parents: &parents, ..BuildRequest::new(&one, site.path("mine")) };
    assert_eq!(built_at(&site, request).unwrap().unwrap_err().code(), "unexpected-digest");
    // Recorded anew, it is what it is.
    let request = BuildRequest { record: true, ..BuildRequest::new(&wrong, site.path("anew")) };
    assert_eq!(built_at(&site, request).unwrap().unwrap().image.digest, built.image.digest);
}

#[test]
fn a_template_of_ones_own_has_the_name_of_a_bundled_one_nowhere() {
    let _one = ONE_AT_A_TIME.lock();
    let Some(base) = &*BASE else { return };
    // It is called `base` and says of itself what the project's images say.
    let mut files = bytes(&base.template);
    let manifest = String::from_utf8(files.remove("template.toml").unwrap()).unwrap();
    let claims = format!(
        "[labels]\n\"org.opencontainers.image.source\" = \"{}\"\n\"org.opencontainers.image.base.name\" = \"{}\"",
        home::REPOSITORY,
        home::template_image("claude")
    );
    files.insert("template.toml".to_owned(), manifest.replace("[labels]", &claims).into_bytes());
    let claiming = Template::from_files("base", files).unwrap();
    let mut lock = base.template.lock().unwrap();
    lock.template = claiming.digest();
    let claiming = claiming.with_lock(&lock);
    assert!(!Found::from(claiming.clone()).bundled);
    assert!(Found::from(Template::bundled("base").unwrap()).bundled);

    let site = site();
    let Some(built) = built_at(&site, BuildRequest::new(&claiming, site.path("base"))) else { return };
    let built = built.unwrap();
    assert_eq!((built.template.name.as_str(), built.template.bundled), ("local-base", false));
    assert_eq!(built.image.name, "local-base:0.1.0");
    let index = json(&site.path("base").join("index.json"));
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "local-base:0.1.0");
    let labels = blob(&site.path("base"), &built.image.config)["config"]["Labels"].clone();
    assert_eq!(labels["org.opencontainers.image.title"], "local-base");
    assert!(
        labels["org.opencontainers.image.source"].is_null() && labels["org.opencontainers.image.base.name"].is_null()
    );
    let provenance = json(&site.path("base").join("bulla/provenance.json"));
    assert_eq!(provenance["buildDefinition"]["externalParameters"]["template"], "local-base");
    assert_eq!(provenance["runDetails"]["builder"]["id"], home::own_builder());
    let text = provenance["buildDefinition"]["resolvedDependencies"].to_string();
    assert!(text.contains("local:base/Dockerfile") && !text.contains(home::REPOSITORY), "{text}");
    assert_eq!(home::subject_name("base", false), "local-base");
}

#[test]
fn a_base_that_was_locked_anew_or_is_another_is_refused() {
    let Some(base) = &*BASE else { return };
    let one = child("mine", CHILD, std::slice::from_ref(base));
    let platform = Platform::host();
    assert_eq!(lock::locked(&one, std::slice::from_ref(base), &platform).unwrap().len(), 2);
    // It is locked for this platform alone, and with its base agrees.
    let drift = lock::check(&one, std::slice::from_ref(base)).unwrap();
    assert!(matches!(drift, Drift::Platforms { .. }), "{drift}");
    let other = Found::from(with_dockerfile(&base.template, "FROM scratch\nADD inputs/bootstrap.tar /\n"));
    let ring = Found::from(one.clone());
    for parents in [vec![other], vec![], vec![base.clone(), base.clone()], vec![ring, base.clone()]] {
        let error = lock::locked(&one, &parents, &platform).unwrap_err();
        assert!(
            matches!(&error, LockingError::Drift { drift, .. } if matches!(**drift, Drift::Base { .. })),
            "{error}"
        );
        assert_eq!(error.code(), "lock-drift");
    }
}

#[test]
fn only_packages_that_the_base_lacks_are_locked() {
    let Some(base) = &*BASE else { return };
    let made = skeleton::template("mine", &base.template.manifest).unwrap();
    let mut files = bytes(&made);
    let manifest = String::from_utf8(files.remove("template.toml").unwrap()).unwrap();
    let manifest = manifest.replace("packages = []", "packages = [\"git\", \"tree\"]");
    files.insert("template.toml".to_owned(), manifest.into_bytes());
    let made = Template::from_files("mine", files).unwrap();
    let parents = std::slice::from_ref(base);
    let lock = || lock::lock(&made, &[Platform::host()], &apt(), parents, &fetched_into(&cache()), &unwatched);
    let (first, second) = match (lock(), lock()) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => return println!("skipped: locking over base: {error}"),
    };
    if first.releases == second.releases {
        assert_eq!(first.write(), second.write());
    }
    // `git` is there; what `tree` needs beside itself is there too.
    let names: Vec<_> = first.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["tree"]);
    assert!(first.source_date_epoch >= base.template.lock().unwrap().source_date_epoch);
    assert_eq!(bulla::lockfile::Lock::parse(first.write().as_bytes()).unwrap(), first);
}
