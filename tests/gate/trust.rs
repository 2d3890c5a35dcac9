//! Trust roots that were updated, or that somebody put in their place.

use serde_json::Value;

use crate::cli::Desk;
use crate::stage::Stage;

const BY_IDENTITY: [&str; 4] = ["--identity", "somebody@example.test", "--issuer", "https://issuer.test"];

#[test]
fn what_is_trusted_is_shown_with_its_age() {
    let desk = Desk::new();
    let run = desk.run(&["trust", "show"]).ends(0);
    for word in ["public-good (embedded)", "github (embedded)", "transparency-log", "days ago", "no end known"] {
        assert!(run.stdout.contains(word), "{word}: {}", run.stdout);
    }
    let shown: Value = desk.run(&["trust", "show", "--json"]).ends(0).json();
    assert_eq!(shown["schema"], "bulla.trust/v1");
    assert_eq!(shown["roots"][0]["instance"], "public-good");
    assert!(shown["roots"][0]["ageDays"].is_i64());
    assert!(shown["roots"][1]["members"].as_array().unwrap().len() > 1);
}

#[test]
fn g16_an_update_that_cannot_be_believed_is_undecided_and_never_passed_over() {
    let stage = Stage::attested();
    let tag = stage.tag();
    stage.desk.write("home/.local/state/bulla/trust/public-good.json", "{\"schema\":\"bulla.trust-record/v1\"}");
    let run = stage.desk.run(&[&["verify", &tag, "--json"], &BY_IDENTITY[..]].concat()).ends(3);
    assert_eq!(run.json()["error"]["code"], "unusable-update");
    stage.desk.run(&["trust", "show"]).ends(3);
    stage.desk.run(&["launch", &tag]).ends(125);
    assert!(!stage.desk.touched_engine());
    // Who does not go by it is not bothered by it.
    stage.policy(&stage.rule(""));
    stage.admits(&[&tag]);
    // A root from the command line is taken in its place.
    let run =
        stage.desk.run(&[&["verify", &tag, "--json", "--trusted-root", "nowhere.json"], &BY_IDENTITY[..]].concat());
    assert_eq!(run.ends(2).json()["error"]["class"], "USAGE");
}

#[test]
fn an_update_that_fails_says_so_and_changes_nothing() {
    let desk = Desk::new();
    let before = desk.files();
    for (args, code) in [
        (&["--instance", "github", "--mirror", "http://127.0.0.1:1"][..], 3),
        (&["--instance", "public-good", "--mirror", "http://tuf.example.org"], 2),
        (&["--mirror", "http://127.0.0.1:1"], 2),
        (&["--root", "root.json"], 2),
    ] {
        let run = desk.run(&[&["trust", "update"], args].concat()).ends(code);
        assert!(!run.stderr.is_empty() && run.stdout.is_empty(), "{run:?}");
    }
    let after = desk.files();
    let lock = desk.path("home/.local/state/bulla/trust/lock");
    assert!(after.keys().all(|file| before.contains_key(file) || *file == lock), "{after:?}");
}
