//! `audit`: a verdict for each image, and the worst of them as the exit code.

use serde_json::{Value, json};

use crate::cli::{Run, finish};
use crate::image::Image;
use crate::stage::Stage;

fn audit(stage: &Stage, args: &[&str], input: &str) -> Run {
    let policy = stage.desk.arg("config/policy.toml");
    finish(&mut stage.desk.command(&[&["audit", "--policy", &policy], args].concat()), input.as_bytes())
}

#[test]
fn every_image_gets_its_verdict_and_the_exit_code_is_the_worst() {
    let stage = Stage::attested();
    stage.push(&Image::new("bare"), Some("bare"));
    let (good, denied, gone) = (stage.tag(), stage.named(":bare"), stage.named(":gone"));
    let wrong = "NOT/a reference".to_owned();
    for (lines, worst) in [
        (vec![&good], 0),
        (vec![&good, &denied], 1),
        (vec![&denied, &good], 1),
        (vec![&denied, &wrong, &good], 2),
        (vec![&gone, &wrong, &denied, &good], 3),
        (vec![&good, &gone], 3),
    ] {
        let expected = |image: &str| match image {
            _ if image == good => ("admitted", 0),
            _ if image == denied => ("DENIED", 1),
            _ if image == wrong => ("misused", 2),
            _ => ("undecided", 3),
        };
        let text: String = lines.iter().map(|line| format!("  {line}\n\n# not this one\n")).collect();
        let file = stage.desk.write("work/images.txt", &text);
        let table = audit(&stage, &["--file", &file], "").ends(worst).stdout;
        assert_eq!(table, audit(&stage, &["--file", "-"], &text).ends(worst).stdout);
        assert_eq!(table.lines().count(), lines.len(), "{table}");
        for (line, image) in table.lines().zip(&lines) {
            assert!(line.starts_with(expected(image).0) && line.contains(image.as_str()), "{line}");
        }
        let document = audit(&stage, &["--json", "--file", &file], "").ends(worst).json();
        assert_eq!((&document["schema"], &document["exit"]), (&json!("bulla.audit/v1"), &json!(worst)));
        let verdicts = document["verdicts"].as_array().unwrap();
        assert_eq!(verdicts.len(), lines.len());
        for (verdict, image) in verdicts.iter().zip(&lines) {
            assert_eq!(verdict["image"], **image);
            assert_eq!(verdict["exit"], expected(image).1);
            assert_eq!(verdict["admitted"], expected(image).1 == 0);
            // Each is what `verify` says of that image alone.
            let mut alone = stage.verify(&["--json", "--", image]).ends(expected(image).1).json();
            alone["time"] = verdict["time"].clone();
            assert_eq!(*verdict, alone);
        }
    }
    let args = audit(&stage, &[&good, &denied], "").ends(1).stdout;
    assert_eq!(args.lines().count(), 2);
    assert!(!stage.desk.touched_engine());
}

#[test]
fn warn_does_not_make_an_audit_pass() {
    let stage = Stage::bare();
    stage.policy(&stage.rule("mode = \"warn\""));
    assert!(audit(&stage, &[&stage.tag()], "").ends(1).stdout.starts_with("DENIED"));
}

#[test]
fn a_list_that_cannot_be_read_is_an_error_and_never_an_empty_success() {
    let stage = Stage::attested();
    let empty = stage.desk.write("work/empty.txt", "# nothing\n\n");
    let binary = stage.desk.write("work/binary.txt", b"\xff\xfe");
    for args in [&[][..], &["--file", &empty], &["--file", "nowhere.txt"], &["--file", &binary], &["--file", "."]] {
        audit(&stage, args, "").ends(2);
        let document = audit(&stage, &[args, &["--json"]].concat(), "").ends(2).json();
        assert_eq!((&document["exit"], &document["verdicts"]), (&json!(2), &json!([])));
        assert_eq!(document["error"]["class"], "USAGE");
    }
    stage.policy("version = 1\n");
    let document: Value = audit(&stage, &["--json", &stage.tag()], "").ends(2).json();
    assert_eq!(document["error"]["class"], "POLICY");
}
