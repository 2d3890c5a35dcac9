//! What a verdict is told as: to people, to GitHub Actions, and to whoever takes this verifier's word.

use bulla::adapters::signer::PrivateKey;
use bulla::attestation::Statement;
use bulla::attestation::bundle::Bundle;
use bulla::attestation::summary::Summary;
use bulla::sigstore::{Formats, KeyLog, Trust, verify_bundle};
use serde_json::{Value, json};

use crate::cli::Run;
use crate::stage::{ALL, SIGN, SLSA, Stage};

const VSA: &str = "https://slsa.dev/verification_summary/v1";

#[test]
fn a_denial_says_who_signed_and_who_should_have() {
    let (stage, other) = (Stage::bare(), PrivateKey::generate().unwrap());
    stage.attest(&other, &stage.image.descriptor(), &[SIGN]);
    let verdict = stage.refuses(&[&stage.tag()], 1, "SIGNATURE");
    let (theirs, ours) = (other.public_key().fingerprint(), stage.key.public_key().fingerprint());
    let check = &verdict["checks"][0];
    assert_eq!(check["found"], json!([format!("the key {theirs}")]), "{verdict:#}");
    assert_eq!(check["wanted"], json!([format!("the key cosign.pub ({ours})")]));
    let text = stage.verify(&[&stage.tag()]).ends(1).stdout;
    let lines: Vec<&str> = text.lines().collect();
    let failed = lines.iter().position(|line| line.starts_with("FAIL    signature")).unwrap();
    assert!(lines[failed + 1].contains("found") && lines[failed + 1].contains(&theirs.to_string()), "{text}");
    assert!(lines[failed + 2].contains("asked") && lines[failed + 2].contains(&ours.to_string()), "{text}");
    // Where nothing of the type is attached: which types are, and who would have been believed.
    let check = &verdict["checks"][1];
    assert_eq!((&check["code"], &check["found"]), (&json!("no-attestation"), &json!([SIGN])));
    assert_eq!(check["wanted"], verdict["checks"][0]["wanted"]);
    // What passed needs neither.
    stage.attest(&stage.key, &stage.image.descriptor(), &ALL);
    for check in stage.admits(&[&stage.tag()])["checks"].as_array().unwrap() {
        assert_eq!((&check["found"], &check["wanted"]), (&json!([]), &json!([])));
    }
}

/// `verify` as a step on GitHub Actions sees it.
fn step(stage: &Stage, args: &[&str], env: &[(&str, &str)]) -> (Run, String) {
    let policy = stage.desk.arg("config/policy.toml");
    let mut command = stage.desk.command(&[&["verify", "--policy", &policy], args].concat());
    let output = command.envs(env.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let run = Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    (run, std::fs::read_to_string(stage.desk.path("work/summary.md")).unwrap_or_default())
}

#[test]
fn github_is_told_by_annotations_and_a_summary_of_the_step() {
    let stage = Stage::attested();
    let file = stage.desk.write("work/summary.md", "before\n");
    let there = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", file.as_str())];
    let (run, summary) = step(&stage, &[&stage.tag(), "--json"], &there);
    assert_eq!(run.json()["admitted"], true);
    let notice = format!("::notice title=bulla%3A admitted::{} is {}\n", stage.tag(), stage.image.digest());
    assert_eq!(run.stderr, notice);
    assert!(summary.starts_with("before\n### bulla: admitted "), "{summary}");
    assert_eq!(summary.lines().filter(|line| line.starts_with("| pass | ")).count(), 3, "{summary}");

    let bare = Stage::bare();
    let file = bare.desk.arg("work/summary.md");
    let (run, summary) = step(&bare, &[&bare.tag(), "--github"], &[("GITHUB_STEP_SUMMARY", &file)]);
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stderr.lines().filter(|line| line.starts_with("::error title=bulla%3A ")).count(), 3, "{run:?}");
    assert!(!run.stdout.contains("::error"), "{run:?}");
    assert_eq!(summary.lines().filter(|line| line.starts_with("| fail | ")).count(), 3, "{summary}");
    // An error is told too, and is no verdict.
    let (run, summary) = step(&bare, &["nonsense", "--github"], &[("GITHUB_STEP_SUMMARY", &file)]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.starts_with("::error title=bulla%3A REF unknown-template::"), "{run:?}");
    assert!(summary.contains("### bulla: undecided "), "{summary}");

    // Elsewhere nothing of it; and a summary that cannot be written changes no verdict.
    for env in [&[][..], &[("GITHUB_ACTIONS", "false")], &[("GITHUB_STEP_SUMMARY", "work/none.md")]] {
        let (run, _) = step(&stage, &[&stage.tag()], env);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    }
    let gone = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", "/dev/null/nowhere")];
    let (run, _) = step(&stage, &[&stage.tag()], &gone);
    assert!(run.code == Some(0) && run.stderr.contains("was not written"), "{run:?}");
}

#[test]
fn k07_hostile_names_and_types_are_no_commands_and_no_markup() {
    let stage = Stage::attested();
    let hostile = "https://x.test/|</code><img src=x>`\n::set-output name=a::b ##[stop-commands]c %0A::error::d @all";
    stage.attest(&stage.key, &stage.image.descriptor(), &[hostile]);
    stage.policy(&stage.rule("require = [\"https://example.test/more\"]"));
    let file = stage.desk.arg("work/summary.md");
    let there = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", file.as_str())];
    for image in [stage.tag().as_str(), "x\n::error::y/##[add-mask]z|<b>"] {
        for json in [&["--json"][..], &[]] {
            let (run, summary) = step(&stage, &[json, &["--", image]].concat(), &there);
            assert_ne!(run.code, Some(0));
            for line in run.stdout.lines().chain(run.stderr.lines()) {
                let is_ours = line.starts_with("::error title=bulla%3A ");
                assert!(is_ours || !line.trim_start().starts_with("::"), "{line}");
                assert!(!line.contains("##["), "{line}");
            }
            assert!(run.stderr.lines().filter(|line| line.starts_with("::")).count() == 1, "{run:?}");
            for danger in ["<img", "<b>", "`", "##[", "@all", "</code><", "\n::"] {
                assert!(!summary.contains(danger), "{danger}: {summary}");
            }
        }
    }
}

/// SLSA's rules for a summary, version 1, as a statement.
fn assert_is_summary(statement: &Value, stage: &Stage) {
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], VSA);
    assert_eq!(statement["subject"][0]["digest"]["sha256"], json!(stage.image.digest().hex()));
    let uri = json!({"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:[^ ]+$"});
    let digests = json!({"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}});
    let schema = json!({
        "type": "object",
        "required": ["verifier", "timeVerified", "resourceUri", "policy", "verificationResult", "verifiedLevels"],
        "properties": {
            "verifier": {"type": "object", "required": ["id"], "properties": {
                "id": uri, "version": {"type": "object", "additionalProperties": {"type": "string"}},
            }},
            "timeVerified": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$"},
            "resourceUri": {"type": "string", "minLength": 1},
            "policy": {"type": "object", "required": ["uri", "digest"], "properties": {"uri": uri, "digest": digests}},
            "inputAttestations": {"type": "array", "items": {"type": "object", "required": ["digest"], "properties": {"digest": digests}}},
            "verificationResult": {"enum": ["PASSED", "FAILED"]},
            "verifiedLevels": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        },
        "additionalProperties": false,
    });
    assert!(jsonschema::is_valid(&schema, &statement["predicate"]), "{statement:#}");
    let failed = statement["predicate"]["verificationResult"] == "FAILED";
    assert_eq!(statement["predicate"]["verifiedLevels"] == json!(["FAILED"]), failed, "{statement:#}");
}

#[test]
fn a_verdict_is_written_as_a_verification_summary() {
    let stage = Stage::attested();
    let file = stage.desk.arg("tmp/vsa.json");
    let read = || serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap();
    let verdict = stage.verify(&["--json", "--vsa", &file, &stage.tag()]).ends(0).json();
    let statement = read();
    assert_is_summary(&statement, &stage);
    let summary = Summary::parse(statement["predicate"].to_string().as_bytes()).unwrap();
    assert!(summary.passed && summary.has_level("SLSA_BUILD_LEVEL_1") && !summary.has_level("SLSA_BUILD_LEVEL_2"));
    assert_eq!(summary.resource_uri, stage.named(""));
    assert_eq!(json!(summary.policy_sha256), verdict["policy"]["sha256"]);
    let used = verdict["attestations"].as_array().unwrap().iter().map(|one| one["digest"].clone());
    assert_eq!(json!(summary.input_attestations), json!(used.collect::<Vec<_>>()));

    // Without provenance nothing is said of the build track; a denial is FAILED, and in `warn` too.
    stage.policy(&stage.rule("require = [\"signature\"]"));
    stage.verify(&["--vsa", &file, &stage.tag()]).ends(0);
    assert_eq!(read()["predicate"]["verifiedLevels"], json!(["SLSA_BUILD_LEVEL_UNEVALUATED"]));
    assert_is_summary(&read(), &stage);
    for mode in ["enforce", "warn"] {
        stage.policy(&stage.rule(&format!("require = [\"https://example.test/x\"]\nmode = \"{mode}\"")));
        stage.verify(&["--vsa", &file, &stage.tag()]).ends(1);
        assert_is_summary(&read(), &stage);
        assert_eq!(read()["predicate"]["verificationResult"], "FAILED");
    }
    // Without a verdict no older summary stays that could be taken for this one's.
    stage.policy("version = 1\n");
    stage.verify(&["--vsa", &file, &stage.tag()]).ends(2);
    assert!(!std::path::Path::new(&file).exists());
    stage.policy(&stage.rule(""));
    let verdict = stage.verify(&["--json", "--vsa", "/dev/null/vsa", &stage.tag()]).ends(3).json();
    assert_eq!((&verdict["admitted"], &verdict["error"]["class"]), (&json!(false), &json!("STATE")));
}

#[test]
fn a_summary_is_signed_where_a_key_is_given() {
    let stage = Stage::attested();
    let key = PrivateKey::generate().unwrap();
    let (file, private) = (stage.desk.arg("tmp/vsa.json"), stage.desk.write("home/v.key", key.to_pem(b"x").unwrap()));
    let sign = |password: &str| {
        let policy = stage.desk.arg("config/policy.toml");
        let image = stage.tag();
        let args = ["verify", &image, "--policy", &policy, "--vsa", &file, "--vsa-key", &private];
        let mut command = stage.desk.command(&args);
        crate::cli::finish(command.env("BULLA_KEY_PASSWORD", password), b"")
    };
    sign("x").ends(0);
    let bundle = Bundle::parse(&std::fs::read(&file).unwrap()).unwrap();
    let trust = Trust::Key { key: key.public_key(), log: KeyLog::None };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let verified = verify_bundle(&bundle, &stage.image.digest(), &trust, Formats::default(), now).unwrap();
    assert_eq!(verified.statement().predicate_type, VSA);
    let statement = Statement::parse(bundle.payload().unwrap()).unwrap();
    assert!(Summary::parse(statement.predicate_text().as_bytes()).unwrap().passed);
    // A key that cannot be used is no verdict, and leaves none.
    sign("wrong").ends(3);
    assert!(!std::path::Path::new(&file).exists());
    stage.verify(&[&stage.tag(), "--vsa-key", &private]).ends(2);
}

#[test]
fn cases_beside_a_policy_are_judged_without_a_network() {
    let stage = Stage::bare();
    stage.layout("config/good", "base:1.0", &ALL);
    stage.layout("config/less", "base:1.0", &[SIGN, SLSA]);
    let bundle = crate::stage::bundle(&stage.key, &stage.image.digest(), SIGN);
    stage.desk.write("config/signature.json", bundle);
    let case = |name: &str, lines: &str| {
        format!("[[case]]\nname = \"{name}\"\nimage = \"oci/base\"\ntime = \"2026-11-21T08:00:00Z\"\n{lines}\n")
    };
    let digest = stage.image.digest();
    let good = case("complete", "layout = \"good\"\nexpect = \"admit\"")
        + &case("no sbom", "layout = \"less\"\nexpect = \"deny\"\ncodes = [\"no-attestation\"]")
        + &case(
            "a signature alone",
            &format!(
                "digest = \"{digest}\"\nbundles = [\"signature.json\"]\nexpect = \"deny\"\n\
                 codes = [\"no-attestation\", \"no-attestation\"]"
            ),
        )
        + &case(
            "another platform",
            "layout = \"good\"\nplatform = \"linux/riscv64\"\nexpect = \"deny\"\ncodes = [\"malformed-manifest\"]",
        );
    let (policy, folder) = (stage.desk.arg("config/policy.toml"), stage.desk.arg("config"));
    let cases = "config/policy.cases.toml";
    stage.desk.write(cases, format!("version = 1\n{good}"));
    let file = stage.desk.arg(cases);
    for path in [&policy, &file, &folder] {
        let run = stage.desk.run(&["policy", "test", path]);
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(run.stdout.lines().filter(|line| line.starts_with("ok ")).count(), 4, "{run:?}");
    }
    // The policy changes, and the cases notice.
    stage.policy(&stage.rule("require = [\"signature\"]"));
    let run = stage.desk.run(&["policy", "test", &policy]).ends(1);
    assert!(run.stdout.contains("DIFFERS") && run.stdout.contains("expected denied (no-attestation)"), "{run:?}");
    stage.policy("version = 1\n");
    stage.desk.run(&["policy", "test", &policy]).ends(2);
    stage.policy(&stage.rule(""));
    for (from, to) in [("\"good\"", "\"gone\""), ("signature.json", "gone.json"), ("version = 1", "version = 2")] {
        stage.desk.write(cases, format!("version = 1\n{good}").replace(from, to));
        stage.desk.run(&["policy", "test", &policy]).ends(2);
    }
    std::fs::remove_file(stage.desk.path(cases)).unwrap();
    stage.desk.run(&["policy", "test", &policy]).ends(2);
    stage.desk.run(&["policy", "test", &folder]).ends(2);
    stage.desk.run(&["policy", "test"]).ends(2);
    assert!(!stage.desk.touched_engine());
}

#[test]
fn the_policies_of_the_repository_decide_what_their_cases_say() {
    let desk = crate::cli::Desk::new();
    for (folder, count) in [("policies", 5), ("testdata/policy", 5)] {
        let folder = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
        let run = desk.run(&["policy", "test", &folder]).ends(0);
        assert_eq!(run.stdout.lines().filter(|line| line.starts_with("ok ")).count(), count, "{run:?}");
    }
}
