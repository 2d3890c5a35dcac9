//! Which policy applies, what a policy cannot be, and the fields that deny.

use serde_json::json;

use crate::stage::{ALL, SIGN, Stage};

#[test]
fn k03_a_policy_that_is_empty_misspelt_or_contradictory_admits_nothing() {
    let stage = Stage::attested();
    let good = stage.rule("");
    stage.policy(&good);
    stage.admits(&[&stage.tag()]);
    for (what, text) in [
        ("empty", String::new()),
        ("no rule", "version = 1\n".to_owned()),
        ("no version", good.replace("version = 1\n", "")),
        ("version", good.replace("version = 1", "version = 2")),
        ("version type", good.replace("version = 1", "version = \"1\"")),
        ("misspelt key", good.replace("require =", "requires =")),
        ("case", good.replace("require =", "Require =")),
        ("unknown in rule", good.replace("[[rule.signer]]", "colour = \"red\"\n[[rule.signer]]")),
        ("unknown in signer", format!("{good}colour = \"red\"\n")),
        ("unknown at top", good.replace("version = 1", "version = 1\ncolour = \"red\"")),
        ("unknown requirement", good.replace("\"sbom\"]", "\"sbon\"]")),
        ("requirement twice", good.replace("\"sbom\"]", "\"signature\"]")),
        ("no requirement", good.replace("[\"signature\", \"provenance\", \"sbom\"]", "[]")),
        ("empty requirement", good.replace("\"sbom\"]", "\"\"]")),
        ("requirement type", good.replace("[\"signature\", \"provenance\", \"sbom\"]", "\"signature\"")),
        ("no images", good.replace("images = [", "images = [] #")),
        ("no signer", good.split("[[rule.signer]]").next().unwrap().to_owned()),
        ("empty signer", good.replace("key = \"cosign.pub\"\nlog = \"none\"\n", "")),
        ("missing key file", good.replace("cosign.pub", "nowhere.pub")),
        ("mode", good.replace("[[rule.signer]]", "mode = \"off\"\n[[rule.signer]]")),
        ("log", good.replace("log = \"none\"", "log = \"maybe\"")),
        ("age", good.replace("[[rule.signer]]", "max-age = \"soon\"\n[[rule.signer]]")),
        ("rule twice", format!("{good}{}", good.replace("version = 1\n", ""))),
        ("key twice", good.replace("require =", "require = [\"signature\"]\nrequire =")),
        ("short", good[..good.len() / 2].to_owned()),
        ("deny without reason", format!("{good}[[deny]]\ndigest = \"{}\"\n", stage.image.digest())),
        ("deny of no digest", format!("{good}[[deny]]\ndigest = \"sha256:abc\"\nreason = \"x\"\n")),
        ("NUL", format!("{good}\0")),
        ("conflict", format!("<<<<<<< ours\n{good}=======\n>>>>>>> theirs\n")),
    ] {
        stage.policy(&text);
        let verdict = stage.refuses(&[&stage.tag()], 2, "POLICY");
        assert_eq!(verdict["error"]["code"], "malformed-policy", "{what}");
        let policy = stage.desk.arg("config/policy.toml");
        let run = stage.desk.run(&["policy", "check", &policy]);
        assert_eq!(run.code, Some(2), "{what}: {run:?}");
        stage.desk.run(&["audit", &stage.tag(), "--policy", &policy]).ends(2);
    }
    stage.desk.write("config/policy.toml", b"version = 1\n\xff\xfe");
    stage.refuses(&[&stage.tag()], 2, "POLICY");
    std::fs::remove_file(stage.desk.path("config/policy.toml")).unwrap();
    stage.refuses(&[&stage.tag()], 2, "POLICY");
}

#[test]
fn a_key_file_that_is_no_public_key_makes_the_policy_unusable() {
    let stage = Stage::attested();
    let secret = stage.key.to_pem(b"planted-canary").unwrap();
    for key in ["", "not a key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", &secret] {
        stage.desk.write("config/cosign.pub", key);
        let verdict = stage.refuses(&[&stage.tag()], 2, "POLICY");
        assert!(!verdict.to_string().contains("SIGSTORE PRIVATE KEY-----\\n"), "{verdict:#}");
    }
}

#[test]
fn k05_the_most_specific_rule_applies_and_two_that_are_equal_are_an_error() {
    let stage = Stage::attested();
    let host = stage.server.host();
    let rule = |image: &str, require: &str| {
        format!(
            "[[rule]]\nimages = [\"{image}\"]\nrequire = [\"{require}\"]\n\
             [[rule.signer]]\nkey = \"cosign.pub\"\nlog = \"none\"\n"
        )
    };
    let narrow = rule(&format!("{host}/acme/base"), "https://example.test/missing");
    let wide = rule(&format!("{host}/**"), "signature");
    for rules in [format!("{narrow}{wide}"), format!("{wide}{narrow}")] {
        stage.policy(&format!("version = 1\n{rules}"));
        stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    }
    stage.policy(&format!("version = 1\n{wide}"));
    assert_eq!(stage.admits(&[&stage.tag()])["checks"].as_array().unwrap().len(), 1);
    // `*` stays within a segment.
    stage.policy(&format!("version = 1\n{}", rule(&format!("{host}/*"), "signature")));
    let verdict = stage.refuses(&[&stage.tag()], 1, "IDENTITY");
    assert_eq!((&verdict["checks"][0]["code"], &verdict["policy"]["rule"]), (&json!("no-rule"), &json!(null)));
    let (left, right) = (rule(&format!("{host}/acme/*"), "signature"), rule(&format!("{host}/*/base"), "signature"));
    stage.policy(&format!("version = 1\n{left}{right}"));
    let run = stage.verify(&["--json", &stage.tag()]);
    assert!(matches!(run.code, Some(0 | 2)), "{run:?}");
}

#[test]
fn j05_a_withdrawn_digest_is_denied_under_any_name_and_in_any_mode() {
    let stage = Stage::attested();
    let deny = format!("[[deny]]\ndigest = \"{}\"\nreason = \"CVE-2026-1\u{a0}\"\n", stage.image.digest());
    for lines in ["", "mode = \"warn\"", "mode = \"audit\""] {
        stage.policy(&format!("{}{deny}", stage.rule(lines)));
        for name in [stage.tag(), stage.pinned()] {
            let verdict = stage.refuses(&[&name], 1, "ROLLBACK");
            assert_eq!(verdict["enforced"], true);
            assert!(verdict["checks"][0]["message"].as_str().unwrap().contains("CVE-2026-1"));
        }
    }
    // Also where no rule names it, and in a layout.
    let layout = stage.layout("work/layout", "base:1.0", &ALL);
    stage.policy(&format!("{}{deny}", stage.rule("")));
    stage.refuses(&[&layout], 1, "ROLLBACK");
    // Another digest is not meant.
    let other = bulla::content::Digest::of(b"other");
    stage.policy(&format!("{}[[deny]]\ndigest = \"{other}\"\nreason = \"x\"\n", stage.rule("")));
    stage.admits(&[&stage.tag()]);
}

#[test]
fn e02_max_age_admits_nothing_that_no_trusted_time_stands_on() {
    let stage = Stage::attested();
    for age in ["1m", "3650d"] {
        stage.policy(&stage.rule(&format!("max-age = \"{age}\"")));
        let verdict = stage.refuses(&[&stage.tag()], 1, "TIME");
        assert_eq!(verdict["checks"][0]["code"], "no-trusted-time");
    }
}

#[test]
fn a_key_whose_signatures_have_to_be_logged_denies_those_that_are_not() {
    let stage = Stage::attested();
    for log in ["log = \"required\"", ""] {
        stage.policy(&stage.rule("").replace("log = \"none\"", log));
        stage.refuses(&[&stage.tag()], 1, "TLOG");
    }
}

#[test]
fn warn_and_audit_change_nothing_for_verify_and_let_launch_go_on_with_a_record() {
    for mode in ["warn", "audit"] {
        let stage = Stage::bare();
        stage.attest(&stage.key, &stage.image.descriptor(), &[SIGN]);
        stage.policy(&stage.rule(&format!("mode = \"{mode}\"")));
        let verdict = stage.verify(&["--json", &stage.tag()]).ends(1).json();
        assert_eq!((&verdict["admitted"], &verdict["enforced"]), (&json!(false), &json!(false)));
        assert_eq!(verdict["exit"], 1);
        assert!(stage.verify(&[&stage.tag()]).ends(1).stdout.contains("DENIED (not enforced at launch)"));

        let run = stage.launch(&["--dry-run", "--json", &stage.tag()]).ends(0);
        let record: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
        assert_eq!((&record["admitted"], &record["enforced"]), (&json!(false), &json!(false)));
        assert!(!record["launch"].is_null(), "{record:#}");
        assert!(run.stdout.contains(" run "), "{run:?}");
        let run = stage.launch(&["--dry-run", &stage.tag()]).ends(0);
        assert!(run.stderr.contains("WARNING") && run.stderr.contains("NO_ATTESTATION"), "{run:?}");

        // A registry that cannot be asked is undecided in every mode.
        stage.server.fault("/manifests/1.0", crate::registry::Fault::status(403));
        stage.refuses(&[&stage.tag()], 3, "AUTH");
    }
}

#[test]
fn k02_nothing_in_the_working_directory_is_a_policy() {
    let stage = Stage::attested();
    let host = stage.server.host();
    let generous = format!(
        "version = 1\n[[rule]]\nimages = [\"{host}/**\"]\nrequire = [\"signature\"]\nmode = \"audit\"\n\
         [[rule.signer]]\nkey = \"cosign.pub\"\nlog = \"none\"\n"
    );
    for folder in ["work", "work/.bulla", "work/bulla", "work/.config/bulla", "home/.config/bulla"] {
        stage.desk.write(&format!("{folder}/policy.toml"), &generous);
        stage.desk.write(&format!("{folder}/cosign.pub"), stage.key.public_pem());
    }
    let image = stage.tag();
    // Neither the folder nor variables that other tools listen to: the policy inside bulla names no such image.
    let mut command = stage.desk.command(&["verify", "--json", &image]);
    for name in ["BULLA_POLICY", "POLICY", "SIGSTORE_ROOT_FILE", "TUF_ROOT", "COSIGN_EXPERIMENTAL", "COSIGN_REPOSITORY"]
    {
        command.env(name, stage.desk.path("work/policy.toml"));
    }
    let verdict = crate::cli::finish(&mut command, b"").ends(1).json();
    assert_eq!(verdict["checks"][0]["code"], "no-rule");
    assert_eq!(verdict["policy"]["source"], "the policy inside bulla");
    stage.desk.run(&["launch", &image]).ends(125);
    assert!(!stage.desk.touched_engine());
    // A relative XDG_CONFIG_HOME is ignored (its specification says so), and the home folder's is used.
    let mut command = stage.desk.command(&["verify", "--json", &image]);
    let verdict = crate::cli::finish(command.env("XDG_CONFIG_HOME", "."), b"").ends(0).json();
    assert_eq!(verdict["policy"]["source"], stage.desk.arg("home/.config/bulla/policy.toml"));
}

#[test]
fn k02_the_users_policy_is_used_and_is_an_error_when_it_cannot_be() {
    let stage = Stage::attested();
    let image = stage.tag();
    let user = "config/bulla/policy.toml";
    stage.desk.write("config/bulla/cosign.pub", stage.key.public_pem());
    stage.desk.write(user, stage.rule(""));
    let verdict = stage.desk.run(&["verify", "--json", &image]).ends(0).json();
    assert_eq!(verdict["policy"]["source"], stage.desk.arg(user));
    let unusable = |what: &str| {
        let verdict = stage.desk.run(&["verify", "--json", &image]).ends(2).json();
        assert_eq!((&verdict["error"]["class"], &verdict["admitted"]), (&json!("POLICY"), &json!(false)), "{what}");
        stage.desk.run(&["launch", &image]).ends(125);
        assert!(!stage.desk.touched_engine());
    };
    stage.desk.write(user, "version = 1\n[[rule]]\n");
    unusable("malformed");
    stage.desk.write(user, "");
    unusable("empty");
    let path = stage.desk.path(user);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    unusable("a link to nothing");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("policy.toml", &path).unwrap();
    unusable("a link to itself");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    unusable("a folder");
    // A folder on the way that cannot be looked into is no absence.
    std::fs::remove_dir_all(stage.desk.path("config/bulla")).unwrap();
    std::os::unix::fs::symlink("bulla", stage.desk.path("config/bulla")).unwrap();
    unusable("a folder that is a link to itself");
}

#[test]
fn k02_a_configuration_folder_without_a_home_is_still_the_users() {
    let stage = Stage::attested();
    stage.desk.write("config/bulla/cosign.pub", stage.key.public_pem());
    stage.desk.write("config/bulla/policy.toml", "version = 1\n");
    let mut command = stage.desk.command(&["verify", &stage.tag()]);
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME");
    crate::cli::finish(&mut command, b"").ends(2);
    stage.desk.write("config/bulla/policy.toml", stage.rule(""));
    crate::cli::finish(&mut command, b"").ends(0);
}

#[test]
fn a_key_on_the_command_line_is_a_policy_of_its_own() {
    let stage = Stage::bare();
    stage.attest(&stage.key, &stage.image.descriptor(), &[SIGN]);
    let (image, key) = (stage.tag(), stage.desk.arg("config/cosign.pub"));
    stage.desk.run(&["verify", &image, "--key", &key]).ends(1);
    let verdict = stage.desk.run(&["verify", &image, "--key", &key, "--require", "signature", "--json"]).ends(0).json();
    assert_eq!(verdict["policy"]["source"], "the command line");
    stage.desk.run(&["verify", &image, "--key", &key, "--require", "signature,sbom"]).ends(1);

    for wrong in [
        &["--require", "signature"][..],
        &["--key", &key, "--require", ""],
        &["--key", &key, "--require", "signature,signature"],
        &["--key", &key, "--require", "everything"],
        &["--key", "nowhere.pub"],
        &["--key", "/dev/null"],
        &["--key", "."],
        &["--identity", "https://example.test/x"],
        &["--issuer", "https://example.test"],
        &["--key", &key, "--identity", "x", "--issuer", "y"],
        &["--key", &key, "--policy", &stage.desk.arg("config/policy.toml")],
        &["--platform", "linux"],
        &["--unknown"],
    ] {
        let run = stage.desk.run(&[&["verify", &image], wrong].concat());
        assert_eq!(run.code, Some(2), "{wrong:?}: {run:?}");
    }
    stage.desk.run(&["verify"]).ends(2);
    stage.desk.run(&[]).ends(2);
    assert!(stage.desk.run(&["--help"]).ends(0).stdout.contains("launch"));
}
