//! `make bench`, whole processes: what a verification costs from start to end, beside the programs of others that are
//! installed. Ratios within one run; docs/bench.md has the last ones.
//!
//! Peers are found in `PATH` and in the folders of `BULLA_CLIENTS` (`scripts/interop.sh install` brings them).

#![allow(missing_docs, reason = "a program")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot be set up is of no use")]

#[path = "../tests/support/cli.rs"]
mod cli;
#[path = "../tests/support/docker_registry.rs"]
mod docker_registry;
#[path = "../tests/support/image.rs"]
mod image;
#[path = "../tests/support/registry.rs"]
mod registry;
#[path = "../tests/support/stage.rs"]
mod stage;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bulla::adapters::Store;
use bulla::adapters::layout::Layout;
use bulla::attestation::bundle::Bundle;
use bulla::reference::LayoutImage;
use docker_registry::DockerRegistry;
use serde_json::json;
use stage::{SLSA, Stage};
use support::sigstore::Sigstore;
use support::sigstore::services::{Services, token};

const ISSUER: &str = "https://token.actions.githubusercontent.com";
const WORKFLOW: &str = "acme/templates/.github/workflows/release.yml@refs/tags/v1.0.0";
const IDENTITY: &str = "https://github.com/acme/templates/.github/workflows/release.yml@refs/tags/v1.0.0";
const PASSPHRASE: &str = "only in benchmarks";

fn main() {
    // What `cargo test --benches` calls with `--test` needs no figures.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    offline();
    registries();
}

/// Three keyless attestations in a layout, against peers that verify one of them.
fn offline() {
    let stage = Stage::bare();
    let services = Services::start(Sigstore::new());
    let layout = stage.layout("work/image.oci", "base:1", &[]);
    stage.desk.write("work/root.json", services.world.trusted_root_json());
    stage.desk.write("work/config.json", services.signing_config(1));
    let claims = json!({ "iss": ISSUER, "sub": "repo:acme/templates", "job_workflow_ref": WORKFLOW });
    stage.desk.write("work/token", token(&claims));
    let how = ["--keyless", "--identity-token", "@token", "--signing-config", "config.json"];
    describe(&stage, &layout, &[&how[..], &["--trusted-root", "root.json"]].concat(), 150);

    let who = ["--identity", IDENTITY, "--issuer", ISSUER, "--trusted-root", "root.json"];
    let work = stage.desk.path("work");
    let bulla = || bulla(&stage, &[&["verify", &layout], &who[..]].concat());
    let own = median(RUNS, bulla).unwrap_or_else(|| panic!("bulla does not verify the benchmark's image"));
    println!("keyless, offline, three attestations of a layout: bulla {own:.1?}, {}", memory(bulla));

    let bundle = provenance(&stage.desk.path("work/image.oci"));
    stage.desk.write("work/bundle.json", bundle);
    let hex = stage.image.digest().hex();
    let root = ["-expectedIssuer", ISSUER, "-expectedSAN", IDENTITY, "-trustedrootJSONpath", "root.json"];
    let go = [&["-artifact-digest", &hex], &root[..], &["bundle.json"]].concat();
    compare("one of them: sigstore-go", own, peer("sigstore-go-verification", &go, &work, RUNS));
    let who = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER, "--trusted-root", "root.json"];
    let what = ["verify-blob-attestation", "--bundle", "bundle.json", "--type", "slsaprovenance1", "--digest", &hex];
    let cosign = [&what[..], &["--digestAlg", "sha256"], &who].concat();
    compare("one of them: cosign verify-blob-attestation", own, peer("cosign", &cosign, &work, RUNS));
}

/// By tag from a registry on this machine, one of the three attestations an SBOM of 30 MB.
fn registries() {
    let stage = Stage::bare();
    stage.key.write(&stage.desk.path("work/bulla.key"), PASSPHRASE.as_bytes()).unwrap();
    stage.desk.write("work/bulla.pub", stage.key.public_pem());
    let layout = stage.layout("work/image.oci", "base:1", &[]);
    describe(&stage, &layout, &["--key", "bulla.key"], 70_000);
    let verify = |host: &str, cache: &str| {
        let image = format!("{host}/acme/base:1");
        let mut command = bulla(&stage, &["verify", &image, "--key", "bulla.pub"]);
        command.env("XDG_CACHE_HOME", stage.desk.path(cache));
        command
    };

    // Counted on the registry of the tests, which has the referrers API.
    let host = stage.server.host();
    publish(&stage, &layout, &host);
    for what in ["the first time", "again, of a known digest"] {
        stage.server.clear_log();
        assert!(verify(&host, "counted").status().unwrap().success());
        println!("by tag, three attestations, {what}: {} requests", stage.server.log().len());
    }

    // Timed on a registry that others use.
    let Some(registry) = DockerRegistry::start() else { return };
    let host = registry.host();
    publish(&stage, &layout, &host);
    let work = stage.desk.path("work");
    let mut fresh = 0..;
    let own = median(FEW, || verify(&host, &format!("cache{}", fresh.next().unwrap_or_default()))).unwrap();
    println!("by tag, an SBOM of 30 MB among three attestations: bulla, the first time {own:.1?}");
    assert!(verify(&host, "kept").status().unwrap().success());
    let again = median(FEW, || verify(&host, "kept")).unwrap();
    println!("the same, again: bulla {again:.1?}");
    let image = format!("{host}/acme/base:1");
    let by = ["--key", "bulla.pub", "--insecure-ignore-tlog=true", "--allow-http-registry", &image];
    let three = [
        &["verify"][..],
        &["verify-attestation", "--type", "slsaprovenance1"],
        &["verify-attestation", "--type", "cyclonedx"],
    ];
    let times: Option<Vec<Duration>> =
        three.iter().map(|one| peer("cosign", &[one, &by[..]].concat(), &work, FEW)).collect();
    compare("the three runs of cosign that say the same", own, times.map(|times| times.iter().sum()));
}

/// A signature, provenance and an SBOM of so many packages, by bulla itself.
fn describe(stage: &Stage, layout: &str, how: &[&str], packages: usize) {
    let purl = |index: usize| format!("pkg:deb/debian/package{index}@1.0-{index}?arch=amd64");
    let used = |index| json!({ "uri": purl(index), "digest": { "sha256": format!("{index:064x}") } });
    let provenance = json!({
        "buildDefinition": {
            "buildType": "https://example.test/build", "externalParameters": {},
            "resolvedDependencies": (0..130).map(used).collect::<Vec<_>>(),
        },
        "runDetails": { "builder": { "id": "https://example.test/builder" } },
    });
    let component = |index: usize| {
        json!({
            "type": "library", "bom-ref": purl(index), "name": format!("package{index}"), "version": format!("1.0-{index}"),
            "purl": purl(index), "licenses": [{ "license": { "id": "Apache-2.0" } }],
            "hashes": [{ "alg": "SHA-256", "content": format!("{index:064x}") }],
            "description": "A package like many others, with a line that says what it is good for.",
        })
    };
    let sbom = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6",
        "components": (0..packages).map(component).collect::<Vec<_>>(),
    });
    stage.desk.write("work/provenance.json", provenance.to_string());
    let size = sbom.to_string().len();
    stage.desk.write("work/sbom.json", sbom.to_string());
    for words in [
        &["sign", layout][..],
        &["attest", layout, "--type", "slsa-v1", "--predicate", "provenance.json"],
        &["attest", layout, "--type", "cyclonedx", "--predicate", "sbom.json"],
    ] {
        assert!(bulla(stage, &[words, how].concat()).status().unwrap().success(), "{words:?}");
    }
    println!("an SBOM of {:.1} MB", size as f64 / 1e6);
}

fn publish(stage: &Stage, layout: &str, host: &str) {
    let to = format!("{host}/acme/base:1");
    assert!(bulla(stage, &["publish", layout, "--to", &to]).status().unwrap().success());
}

/// The bundle with the provenance, as it lies in a layout.
fn provenance(dir: &Path) -> Vec<u8> {
    let layout = Layout::open(dir).unwrap();
    let (image, _) = layout.find(&LayoutImage::Only).unwrap();
    let manifests = layout.referrers(&image.digest).unwrap().manifests;
    let mut bundles = manifests.iter().map(|one| layout.blob(&one.parsed.layers[0], u64::MAX).unwrap());
    let is_provenance =
        |bytes: &Vec<u8>| Bundle::parse(bytes).unwrap().unverified_statement().unwrap().predicate_type == SLSA;
    bundles.find(is_provenance).unwrap()
}

fn bulla(stage: &Stage, args: &[&str]) -> Command {
    let mut command = clean(Path::new(env!("CARGO_BIN_EXE_bulla")), &stage.desk.path("work"));
    command.env("XDG_CACHE_HOME", stage.desk.path("cache")).env("BULLA_KEY_PASSWORD", PASSPHRASE).args(args);
    command
}

/// A program with nothing inherited and nothing shown.
fn clean(program: &Path, work: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(work).env("HOME", work).env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What somebody else's program takes; absent, and said, if it is not installed or does not succeed.
fn peer(name: &str, args: &[&str], work: &Path, runs: usize) -> Option<Duration> {
    let folders = ["BULLA_CLIENTS", "PATH"].map(|name| std::env::var_os(name).unwrap_or_default());
    let mut files = folders.iter().flat_map(|list| std::env::split_paths(list)).map(|folder| folder.join(name));
    let program: PathBuf = files.find(|file| file.is_file())?;
    median(runs, || {
        let mut command = clean(&program, work);
        command.args(args);
        command
    })
}

const RUNS: usize = 30;
/// Of what takes seconds.
const FEW: usize = 5;

/// The median time of a command as a whole process; absent if it does not succeed.
fn median(runs: usize, mut command: impl FnMut() -> Command) -> Option<Duration> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let mut command = command();
        let start = Instant::now();
        if !command.status().ok()?.success() {
            return None;
        }
        times.push(start.elapsed());
    }
    times.sort();
    times.get(runs / 2).copied()
}

/// The most memory that a command takes, where there is a python to say so.
fn memory(command: impl Fn() -> Command) -> String {
    let own = command();
    let mut asked = clean(Path::new("/usr/bin/env"), own.get_current_dir().unwrap_or(Path::new("/")));
    asked.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    asked.args(["python3", "-c", "import resource,subprocess,sys; subprocess.run(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"]);
    let output = asked.arg(own.get_program()).args(own.get_args()).stdout(Stdio::piped()).output();
    let told = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let kib = told.and_then(|told| told.lines().last().and_then(|line| line.trim().parse::<f64>().ok()));
    kib.map_or_else(|| "memory not measured (no python3)".to_owned(), |kib| format!("{:.1} MiB", kib / 1024.0))
}

fn compare(what: &str, own: Duration, theirs: Option<Duration>) {
    match theirs {
        Some(time) => println!("{what} {time:.1?}, {:.1} times as long", time.as_secs_f64() / own.as_secs_f64()),
        None => println!("skipped: {what} (not installed, or not content)"),
    }
}
