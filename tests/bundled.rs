//! What every template inside bulla has to be, told from its files alone: no network, no engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

use bulla::adapters::templates;
use bulla::content::Digest;
use bulla::dockerfile::Dockerfile;
use bulla::lock::{self, Drift};
use bulla::lockfile::{Kind, Lock};
use bulla::oci::Platform;
use bulla::oci::normalize::RULES;
use bulla::template::{Network, Template};

/// The templates that hold an agent.
const AGENTS: [&str; 3] = ["claude", "codex", "opencode"];

fn each(mut look: impl FnMut(&Template, &Lock)) {
    for name in Template::bundled_names() {
        let template = Template::bundled(name).unwrap();
        look(&template, &template.lock().unwrap());
    }
}

/// The arguments of an instruction, wherever it stands in the Dockerfile.
fn arguments<'a>(dockerfile: &'a Dockerfile, keyword: &str) -> Vec<&'a str> {
    let named = dockerfile.instructions.iter().filter(|one| one.keyword == keyword);
    named.map(|one| one.rest.as_str()).collect()
}

#[test]
fn every_lock_fits_its_template_and_the_lock_underneath() {
    for name in Template::bundled_names() {
        let family = templates::find(name, None).unwrap();
        let (template, parents) = (&family[0].template, &family[1..]);
        assert!(family.iter().all(|one| one.bundled), "{name} stands on what is not bundled");
        let drift = lock::check(template, parents).unwrap();
        assert_eq!(drift, Drift::None, "{name}: run `bulla lock {name}`");
        for platform in &template.manifest.platforms {
            assert_eq!(lock::locked(template, parents, platform).unwrap().len(), family.len(), "{name}");
        }
    }
}

#[test]
fn every_template_is_for_amd64_and_arm64_with_everything_it_names() {
    each(|template, lock| {
        let (name, manifest) = (&template.name, &template.manifest);
        let platforms: Vec<_> = manifest.platforms.iter().map(Platform::to_string).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"], "{name}");
        for platform in &manifest.platforms {
            let inputs = lock.for_platform(platform);
            let count = |kind| inputs.iter().filter(|input| input.kind == kind).count();
            assert_eq!(count(Kind::Npm), manifest.npm.len(), "{name} {platform}");
            assert!(count(Kind::Deb) >= manifest.deb.packages.len(), "{name} {platform}");
            for input in inputs.iter().filter(|input| input.kind == Kind::Npm) {
                let integrity = input.integrity.as_deref().unwrap_or_default();
                assert!(integrity.starts_with("sha512-"), "{name}: {}", input.name);
            }
        }
    });
}

#[test]
fn no_lock_names_a_host() {
    each(|template, lock| {
        let text = lock.write();
        for word in ["://", "npmjs", "debian.org", "ghcr.io"] {
            assert!(!text.contains(word), "{}: {word}", template.name);
        }
    });
}

#[test]
fn every_dockerfile_passes_the_rules_and_takes_nothing_but_inputs() {
    each(|template, _| {
        let name = &template.name;
        let dockerfile = Dockerfile::scan(template.dockerfile());
        dockerfile.check(name, &[]).unwrap();
        assert_eq!(arguments(&dockerfile, "FROM"), ["scratch"], "{name}");
        for source in arguments(&dockerfile, "ADD").into_iter().chain(arguments(&dockerfile, "COPY")) {
            assert!(source.starts_with("inputs/") || source.starts_with("rootfs/"), "{name}: {source}");
        }
        // Nothing that would fetch, compile or run somebody's scripts.
        for run in arguments(&dockerfile, "RUN") {
            let words: Vec<_> = run.split(|c: char| !c.is_ascii_alphanumeric() && !"._-/".contains(c)).collect();
            for word in ["npm", "npx", "node", "pip", "curl", "wget", "apt", "apt-get", "git", "make", "gcc", "chown"] {
                assert!(!words.contains(&word), "{name}: RUN … {word}");
            }
        }
    });
}

#[test]
fn every_image_runs_as_the_fixed_user_with_a_program_of_its_own() {
    let base = Template::bundled("base").unwrap().manifest.user;
    each(|template, _| {
        let name = &template.name;
        let dockerfile = Dockerfile::scan(template.dockerfile());
        let last = |keyword: &str| arguments(&dockerfile, keyword).last().map(ToString::to_string);
        assert_eq!((base.uid, base.gid), (1000, 1000));
        assert_eq!(template.manifest.user, base, "{name}");
        assert_eq!(last("USER").as_deref(), Some("1000:1000"), "{name}");
        assert!(last("ENTRYPOINT").is_some_and(|words| words.starts_with('[')), "{name}: ENTRYPOINT without a shell");
        // Nothing is done as root after it.
        let position = |keyword: &str| dockerfile.instructions.iter().rposition(|one| one.keyword == keyword);
        assert!(position("USER") > position("RUN") && position("USER") > position("COPY"), "{name}");
        if AGENTS.contains(&name.as_str()) {
            assert_eq!(last("WORKDIR").as_deref(), Some("/workspace"), "{name}");
            assert_eq!(last("CMD"), Some(format!("[\"{name}\"]")), "{name}");
            assert_eq!(template.manifest.launch.network, Network::Bridge, "{name} has a model to talk to");
        }
    });
}

#[test]
fn every_image_says_its_name_and_licence_and_has_a_recorded_digest() {
    each(|template, lock| {
        let name = &template.name;
        let label = |key: &str| template.manifest.labels.get(&format!("org.opencontainers.image.{key}"));
        assert_eq!(label("title"), Some(name));
        assert!(label("licenses").is_some_and(|licence| !licence.is_empty()), "{name}");
        let digests =
            template.digests().unwrap().unwrap_or_else(|| panic!("{name}: run `bulla build {name} --record`"));
        let amd64: Platform = "linux/amd64".parse().unwrap();
        let recorded: Option<Digest> = digests.expected(&lock.digest(), RULES, &amd64);
        assert!(recorded.is_some(), "{name}: its digest is of another lock: run `bulla build {name} --record`");
    });
}

#[test]
fn every_bundled_template_has_a_smoke_test() {
    let names = Template::bundled_names();
    assert_eq!(
        names,
        ["base", "claude", "codex", "opencode", "socket-proxy"],
        "the new one: tests/agents.rs or smoke.rs"
    );
}
