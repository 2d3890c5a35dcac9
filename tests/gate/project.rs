//! `--project`: a project's policy takes away and never gives, whatever it says.

use std::os::unix::fs::symlink;

use bulla::adapters::signer::PrivateKey;
use serde_json::{Value, json};

use crate::stage::{ALL, SIGN, SLSA, SPDX, Stage, bundle_of, spdx};

const FILE: &str = "work/.bulla/policy.toml";

/// Writes the project's policy, with its key beside it.
fn project(stage: &Stage, text: &str, key: &PrivateKey) {
    stage.desk.write(FILE, text);
    stage.desk.write("work/.bulla/cosign.pub", key.public_pem());
}

/// A policy that would admit nearly everything: any image, one statement, no log.
fn generous() -> String {
    "version = 1\n[[rule]]\nimages = [\"**\"]\nrequire = [\"signature\"]\nrebuild = \"allow\"\n\
     [[rule.signer]]\nkey = \"cosign.pub\"\nlog = \"none\"\n"
        .to_owned()
}

#[test]
fn both_policies_admit_and_the_verdict_names_both() {
    let stage = Stage::attested();
    project(&stage, &stage.rule(""), &stage.key);
    for flag in ["--project".to_owned(), "--project=.".to_owned(), format!("--project={}", stage.desk.arg("work"))] {
        let verdict = stage.admits(&[&stage.tag(), &flag]);
        assert_eq!(verdict["checks"].as_array().unwrap().len(), 6, "{verdict:#}");
        for (index, check) in verdict["checks"].as_array().unwrap().iter().enumerate() {
            assert_eq!(check["policy"] == json!("project"), index >= 3, "{verdict:#}");
        }
        assert_eq!(verdict["attestations"].as_array().unwrap().len(), 3);
        for (name, file) in [("policy", "config/policy.toml"), ("project", FILE)] {
            let text = std::fs::read(stage.desk.path(file)).unwrap();
            assert_eq!(verdict[name]["sha256"], json!(bulla::content::Digest::of(&text)));
            assert_eq!(verdict[name]["rule"], 0);
        }
        assert!(verdict["project"]["source"].as_str().unwrap().ends_with(".bulla/policy.toml"));
    }
    let text = stage.verify(&[&stage.tag(), "--project"]).ends(0).stdout;
    assert!(text.contains("\nproject ./.bulla/policy.toml (rule 0)\n"), "{text}");
    let audit = ["audit", "--project", "--policy", &stage.desk.arg("config/policy.toml"), &stage.tag()];
    stage.desk.run(&audit).ends(0);
    // Without the flag nothing of it is read, and its verdict is not written down.
    stage.desk.write(FILE, "no policy");
    assert_eq!(stage.admits(&[&stage.tag()]).get("project"), None);
}

#[test]
fn k02_a_projects_policy_cannot_loosen_any_field() {
    let other = PrivateKey::generate().unwrap();
    let deny = |stage: &Stage| format!("[[deny]]\ndigest = \"{}\"\nreason = \"x\"\n", stage.image.digest());
    let keep = |stage: &Stage| stage.rule("");
    type Own<'a> = &'a dyn Fn(&Stage) -> String;
    let cases: [(&str, Own<'_>, i32, &str); 13] = [
        ("images", &|stage| stage.rule("").replace("/acme/*\"", "/other/*\""), 1, "IDENTITY"),
        (
            "require",
            &|stage| stage.rule("require = [\"signature\", \"https://example.test/more\"]"),
            1,
            "NO_ATTESTATION",
        ),
        ("signer", &keep, 1, "SIGNATURE"),
        ("log", &|stage| stage.rule("").replace("\"none\"", "\"required\""), 1, "TLOG"),
        ("max-age", &|stage| stage.rule("max-age = \"1m\""), 1, "TIME"),
        ("deny", &|stage| stage.rule("") + &deny(stage), 1, "ROLLBACK"),
        ("bundle", &|stage| stage.rule("") + "[rule.formats]\nbundle = [\"v0.1\"]\n", 1, "FORMAT"),
        ("builder-id", &|stage| stage.rule("") + "[rule.provenance]\nbuilder-id = [\"https://x\"]\n", 1, "PROVENANCE"),
        ("build-type", &|stage| stage.rule("") + "[rule.provenance]\nbuild-type = [\"https://x\"]\n", 1, "PROVENANCE"),
        ("source", &|stage| stage.rule("") + "[rule.provenance]\nsource = \"git+https://x/y\"\n", 1, "PROVENANCE"),
        ("sbom formats", &|stage| stage.rule("") + "[rule.sbom]\nformats = [\"cyclonedx\"]\n", 1, "SBOM"),
        ("sbom deny", &|stage| stage.rule("") + "[rule.sbom]\ndeny = [\"pkg:deb/debian/git\"]\n", 1, "SBOM"),
        ("min-packages", &|stage| stage.rule("") + "[rule.sbom]\nmin-packages = 9\n", 1, "SBOM"),
    ];
    for (field, own, exit, class) in cases {
        let stage = Stage::bare();
        let signer = if field == "signer" { &other } else { &stage.key };
        stage.attest(signer, &stage.image.descriptor(), &ALL);
        // The project alone would admit.
        project(&stage, &generous(), signer);
        let alone = ["verify", "--policy", &stage.desk.arg(FILE), &stage.tag()];
        stage.desk.run(&alone).ends(0);
        stage.policy(&own(&stage));
        let verdict = stage.refuses(&[&stage.tag(), "--project"], exit, class);
        assert_eq!(verdict["enforced"], true, "{field}: {verdict:#}");
    }
}

#[test]
fn what_a_project_asks_for_on_top_is_asked_for() {
    let (stage, other) = (Stage::attested(), PrivateKey::generate().unwrap());
    let deny = format!("[[deny]]\ndigest = \"{}\"\nreason = \"x\"\n", stage.image.digest());
    for (text, key, class) in [
        (stage.rule("require = [\"https://example.test/more\"]"), &stage.key, "NO_ATTESTATION"),
        (stage.rule(""), &other, "SIGNATURE"),
        (stage.rule("").replace("/acme/*\"", "/other/*\""), &stage.key, "IDENTITY"),
        (stage.rule("").replace("\"none\"", "\"required\""), &stage.key, "TLOG"),
        (stage.rule("max-age = \"1m\""), &stage.key, "TIME"),
        (stage.rule("") + &deny, &stage.key, "ROLLBACK"),
        (stage.rule("") + "[rule.sbom]\nmin-packages = 9\n", &stage.key, "SBOM"),
    ] {
        project(&stage, &text, key);
        stage.admits(&[&stage.tag()]);
        let verdict = stage.refuses(&[&stage.tag(), "--project"], 1, class);
        let own = verdict["checks"].as_array().unwrap().iter().filter(|check| check["policy"] == "own");
        assert!(own.map(|check| &check["status"]).all(|status| status == "pass"), "{verdict:#}");
    }
    // What it asks for counts also where the person's own policy never asks.
    let more = bundle_of(&stage.key, &stage.image.digest(), "https://example.test/more", &json!({"a": 1}));
    stage.attach(&more, &stage.image.descriptor(), "https://example.test/more");
    project(&stage, &stage.rule("require = [\"https://example.test/more\"]"), &stage.key);
    assert_eq!(stage.admits(&[&stage.tag(), "--project"])["checks"].as_array().unwrap().len(), 4);
}

#[test]
fn two_signers_are_asked_for_where_the_policies_name_two() {
    let (stage, other) = (Stage::attested(), PrivateKey::generate().unwrap());
    project(&stage, &stage.rule(""), &other);
    stage.refuses(&[&stage.tag(), "--project"], 1, "SIGNATURE");
    let image = stage.image.descriptor();
    stage.attest(&other, &image, &[SIGN, SLSA]);
    let sbom = bundle_of(&other, &image.digest, SPDX, &spdx(&["pkg:deb/debian/curl@8"]));
    stage.attach(&sbom, &image, SPDX);
    let verdict = stage.admits(&[&stage.tag(), "--project"]);
    assert_eq!(verdict["attestations"].as_array().unwrap().len(), 6, "{verdict:#}");
}

#[test]
fn a_mode_that_does_not_enforce_is_an_error_in_a_project_and_harmless_in_ones_own() {
    let stage = Stage::bare();
    stage.attest(&stage.key, &stage.image.descriptor(), &[SIGN]);
    for mode in ["warn", "audit"] {
        stage.policy(&stage.rule(""));
        project(&stage, &stage.rule(&format!("mode = \"{mode}\"")), &stage.key);
        let verdict = stage.refuses(&[&stage.tag(), "--project"], 2, "POLICY");
        assert_eq!(verdict["error"]["code"], "malformed-policy");

        // The person's own policy only warns: the project decides alone whether it starts, and can but say no.
        stage.policy(&stage.rule(&format!("mode = \"{mode}\"")));
        project(&stage, &generous(), &stage.key);
        let verdict = stage.verify(&["--json", "--project", &stage.tag()]).ends(1).json();
        assert_eq!((&verdict["admitted"], &verdict["enforced"]), (&json!(false), &json!(false)));
        let run = stage.launch(&["--dry-run", "--json", "--project", &stage.tag()]).ends(0);
        let record: Value = serde_json::from_str(&run.stderr).unwrap();
        assert_eq!((&record["admitted"], &record["launch"]["basis"]), (&json!(false), &json!("not-enforced")));
        project(&stage, &stage.rule(""), &stage.key);
        let verdict = stage.refuses(&[&stage.tag(), "--project"], 1, "NO_ATTESTATION");
        assert_eq!(verdict["enforced"], true);
    }
}

#[test]
fn a_projects_policy_that_cannot_be_used_is_an_error_and_never_left_out() {
    let stage = Stage::attested();
    stage.refuses(&[&stage.tag(), "--project"], 2, "POLICY");
    stage.refuses(&[&stage.tag(), "--project=nowhere"], 2, "POLICY");
    let good = stage.rule("");
    for text in ["", "version = 1\n", "version = 2\n", "nonsense", &good.replace("require =", "requires =")] {
        project(&stage, text, &stage.key);
        stage.refuses(&[&stage.tag(), "--project"], 2, "POLICY");
    }
    // Two rules of the project's that fit equally well.
    let host = stage.server.host();
    let rules = good.replace("\"oci/**\"", "\"oci/x\"");
    let again = rules.replace("version = 1\n", "").replace(&format!("{host}/acme/*"), &format!("{host}/*/base"));
    let again = again.replace("\"oci/x\"", "\"oci/y\"");
    project(&stage, &format!("{rules}{again}"), &stage.key);
    let verdict = stage.refuses(&[&stage.tag(), "--project"], 2, "POLICY");
    assert_eq!(verdict["error"]["code"], "ambiguous-policy");
}

#[test]
fn a_project_reads_nothing_outside_its_own_folder() {
    let stage = Stage::attested();
    let secret = stage.desk.write("home/secret.pub", stage.key.public_pem());
    stage.desk.write("work/outside.pub", stage.key.public_pem());
    for name in [secret.as_str(), "../outside.pub", "../../home/secret.pub", "link.pub", "folder/key.pub"] {
        project(&stage, &stage.rule("").replace("cosign.pub", name), &stage.key);
        let _ = symlink(stage.desk.path("home/secret.pub"), stage.desk.path("work/.bulla/link.pub"));
        let _ = symlink(stage.desk.path("home"), stage.desk.path("work/.bulla/folder"));
        stage.desk.write("home/key.pub", stage.key.public_pem());
        let verdict = stage.refuses(&[&stage.tag(), "--project"], 2, "POLICY");
        assert_eq!(verdict["error"]["code"], "malformed-policy", "{name}");
    }
    // Neither is the policy itself a link, nor its folder: what it leads to would be shown in messages.
    let canary = stage.desk.write("home/canary", "planted-canary = [");
    std::fs::remove_file(stage.desk.path(FILE)).unwrap();
    symlink(&canary, stage.desk.path(FILE)).unwrap();
    let verdict = stage.refuses(&[&stage.tag(), "--project"], 2, "POLICY");
    assert!(!verdict.to_string().contains("planted-canary"), "{verdict:#}");
    std::fs::remove_dir_all(stage.desk.path("work/.bulla")).unwrap();
    stage.desk.write("home/.bulla/policy.toml", stage.rule(""));
    stage.desk.write("home/.bulla/cosign.pub", stage.key.public_pem());
    symlink(stage.desk.path("home/.bulla"), stage.desk.path("work/.bulla")).unwrap();
    stage.refuses(&[&stage.tag(), "--project"], 2, "POLICY");
    stage.admits(&[&stage.tag(), &format!("--project={}", stage.desk.arg("home"))]);
}
