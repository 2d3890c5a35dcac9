//! `launch` between a judge and an engine: what is started is what was judged, or nothing is.

use bulla::content::Digest;
use serde_json::{Value, json};

use crate::image::Image;
use crate::registry::Fault;
use crate::stage::Stage;

/// The calls that start something.
fn started(stage: &Stage) -> Vec<Vec<String>> {
    stage.desk.calls().into_iter().filter(|call| matches!(call[0].as_str(), "run" | "create" | "start")).collect()
}

fn config(image: &Image) -> Digest {
    Digest::of(&image.config)
}

fn layers(image: &Image) -> Vec<Digest> {
    vec![Digest::of(&image.layer)]
}

#[test]
fn a01_a_tag_is_asked_for_once_and_the_first_answer_is_what_starts() {
    let stage = Stage::attested();
    let other = Image::new("other");
    stage.push(&other, None);
    // The honest answer the first time, another image from then on.
    stage.server.fault("/manifests/1.0", Fault::default().times(1));
    let lie = Fault::body(other.manifest.clone()).and_header("Docker-Content-Digest", &other.digest().to_string());
    stage.server.fault("/manifests/1.0", lie);
    stage.desk.engine_holds("pulled.json", &config(&stage.image), &layers(&stage.image));

    let run = stage.launch(&[&stage.tag(), "--", "echo", "--privileged"]).ends(42);
    assert_eq!(stage.server.count("/manifests/1.0"), 1, "{run:?}");
    let calls = stage.desk.calls();
    let pulls: Vec<_> = calls.iter().filter(|call| call[0] == "pull").collect();
    assert_eq!(pulls.len(), 1);
    assert_eq!(pulls[0].last(), Some(&stage.pinned()));
    let started = started(&stage);
    assert_eq!(started.len(), 1);
    let words = started[0].join(" ");
    assert!(words.contains(&config(&stage.image).to_string()) || words.contains(&stage.pinned()), "{words}");
    for call in &calls {
        let call = call.join(" ");
        assert!(!call.contains(&other.digest().to_string()) && !call.contains(":1.0"), "{call}");
    }
    for option in ["--rm", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only"] {
        assert!(words.contains(option), "{option} in {words}");
    }
    assert!(words.ends_with("echo --privileged"), "{words}");
}

#[test]
fn j02_j03_an_engine_that_holds_something_else_starts_nothing() {
    let stage = Stage::attested();
    let other = Image::new("other");
    for (file, id, layers) in [
        ("held.json", config(&other), layers(&stage.image)),
        ("held.json", config(&stage.image), layers(&other)),
        ("pulled.json", config(&other), layers(&other)),
        ("pulled.json", stage.image.digest(), layers(&stage.image)),
    ] {
        for old in ["bin/held.json", "bin/pulled.json"] {
            let _ = std::fs::remove_file(stage.desk.path(old));
        }
        stage.desk.engine_holds(file, &id, &layers);
        let run = stage.launch(&["--json", &stage.tag()]).ends(125);
        let record: Value = serde_json::from_str(&run.stderr).unwrap();
        assert_eq!((&record["error"]["class"], &record["exit"]), (&json!("RUNTIME"), &json!(3)));
        assert_eq!(record["admitted"], false);
        assert!(started(&stage).is_empty());
    }
}

#[test]
fn a_dry_run_prints_the_arguments_and_starts_nothing() {
    let stage = Stage::attested();
    let run = stage.launch(&["--dry-run", &stage.tag(), "--", "id"]).ends(0);
    assert!(run.stdout.contains(" run ") && run.stdout.contains("--cap-drop=ALL"), "{run:?}");
    assert!(!stage.desk.touched_engine());
    let run = stage.launch(&["--dry-run", "--json", &stage.tag()]).ends(0);
    let record: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!((&record["admitted"], &record["exit"]), (&json!(true), &json!(0)));
}

#[test]
fn a_refused_launch_with_json_is_one_document_on_standard_error() {
    let stage = Stage::bare();
    let cases = [(stage.tag(), 1, "NO_ATTESTATION"), (stage.named(":2.0"), 3, "REGISTRY"), ("X".to_owned(), 2, "REF")];
    for (image, exit, class) in cases {
        let run = stage.launch(&["--json", &image]).ends(125);
        let record: Value = serde_json::from_str(&run.stderr).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        assert_eq!((&record["exit"], &record["launch"]), (&json!(exit), &Value::Null));
        assert!(record.to_string().contains(class), "{record:#}");
        assert_eq!(run.stdout, "");
        let text = stage.launch(&[&image]).ends(125);
        assert!(text.stderr.contains(class) && text.stderr.contains("nothing was started"), "{text:?}");
    }
    assert!(!stage.desk.touched_engine());
}

#[test]
fn a_command_line_that_cannot_be_meant_starts_nothing_and_looks_like_no_containers_code() {
    let stage = Stage::attested();
    let image = stage.tag();
    for wrong in [&["--unknown"][..], &["--platform", "x"], &["--runtime", "rkt"], &["--policy", "nowhere.toml"]] {
        stage.desk.run(&[&["launch", &image], wrong].concat()).ends(125);
    }
    stage.desk.run(&["launch"]).ends(125);
    stage.desk.run(&["launch", "--help"]).ends(0);
    assert!(stage.desk.calls().is_empty());
}

#[test]
fn b05_the_engine_does_not_choose_the_platform() {
    let stage = Stage::attested();
    stage.desk.engine_holds("pulled.json", &config(&stage.image), &layers(&stage.image));
    let policy = stage.desk.arg("config/policy.toml");
    let args = ["launch", "--runtime", "docker", "--policy", &policy, &stage.tag()];
    let mut command = stage.desk.command(&args);
    crate::cli::finish(command.env("DOCKER_DEFAULT_PLATFORM", "linux/arm64"), b"").ends(42);
    let calls = stage.desk.calls();
    let pull = calls.iter().find(|call| call[0] == "pull").unwrap();
    assert!(pull.windows(2).any(|pair| pair == ["--platform", "linux/amd64"]), "{pull:?}");
}

#[test]
fn an_engine_that_is_not_there_starts_nothing() {
    let stage = Stage::attested();
    std::fs::remove_file(stage.desk.path("bin/docker")).unwrap();
    let run = stage.launch(&[&stage.tag()]).ends(125);
    assert!(run.stderr.contains("RUNTIME"), "{run:?}");
}

#[test]
fn k10_a_dry_run_that_nobody_can_read_is_a_failure() {
    let stage = Stage::attested();
    let policy = stage.desk.arg("config/policy.toml");
    let mut command = stage.desk.command(&["launch", "--dry-run", "--policy", &policy, &stage.tag()]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = command.stdout(full).stderr(std::process::Stdio::null()).status().unwrap();
    assert!(!status.success());
}
