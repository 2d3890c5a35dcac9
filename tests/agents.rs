//! The agents' templates as real images in a real container: the locked program and nothing beside it, run as its own
//! user and as another, without a network and with a read-only root.
//!
//! `make test` runs the smallest of them, `make smoke` all: the others are 170 MB each to fetch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

#[path = "support/container.rs"]
mod container;
#[path = "support/dockerd.rs"]
mod dockerd;

use std::sync::{Mutex, PoisonError};

use bulla::adapters::Store;
use bulla::build::Expected;
use bulla::content::limits;
use bulla::home;
use bulla::lockfile::Kind;
use bulla::oci::normalize::RULES;
use bulla::oci::{ImageConfig, ImageManifest, Manifest, Platform};
use container::{Image, image, launched, said};
use dockerd::Dockerd;
use flate2::read::MultiGzDecoder;

/// Images of half a gigabyte, on machines with two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What is to be seen in an image.
struct Agent {
    /// The template, and the program by which it starts.
    name: &'static str,
    /// The locked package that holds the program, for any platform.
    package: &'static str,
    /// What the image adds to its base, folders left out.
    files: &'static [&'static str],
    licence: &'static str,
    /// Prints that updates are off, by the agent's own word where it has one, and fails where they are not.
    updates_are_off: &'static str,
}

/// An agent that says what it does about updates.
const CLAUDE: Agent = Agent {
    name: "claude",
    package: "@anthropic-ai/claude-code-linux-",
    files: &[
        "opt/claude-code/LICENSE.md",
        "opt/claude-code/claude",
        "opt/claude-code/package.json",
        "usr/local/bin/claude",
    ],
    licence: "LicenseRef-Anthropic-Legal-Agreements",
    updates_are_off: "claude update </dev/null | grep 'Updates are disabled'; \
        claude doctor </dev/null | grep 'Auto-updates: disabled (set by env: DISABLE_UPDATES)'",
};

/// It reads a file of the machine's, and tells what came of that. Its report ends with failures, as there is no
/// network.
const CODEX: Agent = Agent {
    name: "codex",
    package: "@openai/codex",
    files: &[
        "etc/codex/config.toml",
        "opt/codex/bin/codex",
        "opt/codex/bin/codex-code-mode-host",
        "opt/codex/codex-package.json",
        "opt/codex/codex-resources/bwrap",
        "opt/codex/package.json",
        "usr/local/bin/codex",
    ],
    licence: "Apache-2.0",
    updates_are_off: "codex doctor --json >/tmp/report </dev/null || true; \
        jq -e '.checks[\"updates.status\"].details[\"check for update on startup\"] == \"false\"' /tmp/report",
};

/// It has no word about updates: that the program still knows the variable is the most that can be seen.
const OPENCODE: Agent = Agent {
    name: "opencode",
    package: "opencode-linux-",
    files: &["opt/opencode/LICENSE", "opt/opencode/opencode", "opt/opencode/package.json", "usr/local/bin/opencode"],
    licence: "MIT",
    updates_are_off: "test \"$OPENCODE_DISABLE_AUTOUPDATE\" = 1; \
        grep --text --fixed-strings --quiet '.OPENCODE_DISABLE_AUTOUPDATE)return' /opt/opencode/opencode; \
        grep --text --fixed-strings --quiet '\"OPENCODE_DISABLE_LSP_DOWNLOAD\"' /opt/opencode/opencode",
};

#[test]
fn opencode_is_the_locked_one_and_nothing_else() {
    examine(&OPENCODE);
}

#[test]
#[ignore = "175 MB to fetch: make smoke"]
fn claude_is_the_locked_one_and_nothing_else() {
    examine(&CLAUDE);
}

#[test]
#[ignore = "167 MB to fetch: make smoke"]
fn codex_is_the_locked_one_and_nothing_else() {
    examine(&CODEX);
}

fn examine(agent: &Agent) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(daemon) = Dockerd::start() else { return };
    let Some(image) = image(agent.name, &daemon) else { return };
    check_config(agent, &image);
    check_layer(agent, &image);
    check_runs(agent, &image, &daemon);
}

/// The version of the agent, as its package has it.
fn locked_version(agent: &Agent, image: &Image) -> String {
    let lock = image.family[0].template.lock().unwrap();
    let inputs = lock.for_platform(&Platform::host());
    let found = inputs.iter().find(|input| input.kind == Kind::Npm && input.name.starts_with(agent.package)).unwrap();
    // Codex has a version of its own for each platform: 1.2.3-linux-x64.
    found.version.split('-').next().unwrap().to_owned()
}

fn check_config(agent: &Agent, image: &Image) {
    let config = image.layout.blob(&manifest(image).config, limits::CONFIG).unwrap();
    let config = ImageConfig::parse(&config).unwrap();
    assert_eq!(config.user, "1000:1000");
    assert_eq!(config.working_dir, "/workspace");
    assert_eq!(config.entrypoint, ["/usr/bin/tini", "--", "/usr/local/libexec/any-user"]);
    assert_eq!(config.cmd, [agent.name]);
    assert!(config.volumes.is_empty());
    let (template, base) = (&image.family[0].template, &image.family[1].template);
    let label = |name: &str| config.labels[&format!("org.opencontainers.image.{name}")].as_str();
    assert_eq!(label("title"), agent.name);
    assert_eq!(label("licenses"), agent.licence);
    assert_eq!(label("version"), template.manifest.release);
    assert_eq!(label("source"), home::REPOSITORY);
    assert_eq!(label("revision"), template.digest().to_string());
    assert_eq!(label("base.name"), format!("{}:{}", home::template_image("base"), base.manifest.release));
    // On platforms for which nobody has recorded digests, the builds of this run are all there is.
    let (digests, lock) = (base.digests().unwrap().unwrap(), base.lock().unwrap().digest());
    if let Some(digest) = digests.expected(&lock, RULES, &Platform::host()) {
        assert_eq!(label("base.digest"), digest.to_string());
        assert_eq!(image.record.expected, Expected::Match);
    }
}

/// Everything that the agent's image adds is root's, is writable by nobody else, and takes nobody's identity.
fn check_layer(agent: &Agent, image: &Image) {
    let manifest = manifest(image);
    let [base, added] = &manifest.layers[..] else { panic!("{:?}", manifest.layers) };
    println!("{}: {} MB on a base of {} MB, compressed", agent.name, added.size / 1_000_000, base.size / 1_000_000);
    let layer = MultiGzDecoder::new(image.layout.open_blob(added).unwrap());
    let mut files = Vec::new();
    for entry in tar::Archive::new(layer).entries().unwrap() {
        let entry = entry.unwrap();
        let (header, path) = (entry.header(), entry.path().unwrap().display().to_string());
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{path}");
        let kind = header.entry_type();
        if !kind.is_symlink() {
            assert_eq!(header.mode().unwrap() & 0o7022, 0, "{path}");
        }
        if !kind.is_dir() {
            files.push(path);
        }
    }
    assert_eq!(files, agent.files);
}

fn check_runs(agent: &Agent, image: &Image, daemon: &Dockerd) {
    let (name, version) = (agent.name, locked_version(agent, image));
    for (host_user, user) in [((0, 0), "1000:1000 agent"), ((4242, 4343), "4242:4343 user")] {
        let script = format!(
            "set -o pipefail; echo \"$(id -u):$(id -g) $(id -un)\"; {name} --version; \
             stat --dereference --format 'binary %u:%g %a' \"$(command -v {name})\"; \
             for path in \"$(readlink --canonicalize \"$(command -v {name})\")\" /usr/local/bin /opt /etc; do \
                 if test -w \"$path\"; then echo \"writable: $path\"; exit 1; fi; done; \
             for host in github.com gitlab.com bitbucket.org; do \
                 ssh-keygen -F \"$host\" -f /etc/ssh/ssh_known_hosts >/dev/null && echo \"known: $host\"; done; \
             if command -v node npm bun gcc cc make; then exit 1; fi; \
             git --version; rg --version; {}; echo all of it",
            agent.updates_are_off
        );
        let said = said(&launched(image, daemon, host_user, &format!("exec bash -euc '{}'", quoted(&script))));
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], user, "{said}");
        assert!(lines[1].split(' ').any(|word| word == version), "not {version}: {said}");
        for line in ["binary 0:0 555", "known: github.com", "known: gitlab.com", "known: bitbucket.org", "all of it"] {
            assert!(lines.contains(&line), "no {line:?} in {said}");
        }
    }
}

fn manifest(image: &Image) -> ImageManifest {
    let served = image.layout.manifest(&image.record.image.digest).unwrap();
    match Manifest::parse(&served.raw, served.media_type.as_deref()).unwrap() {
        Manifest::Image(manifest) => manifest,
        Manifest::Index(_) => panic!("it is an index"),
    }
}

/// Within single quotes of a shell.
fn quoted(text: &str) -> String {
    text.replace('\'', r"'\''")
}
