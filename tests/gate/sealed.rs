//! Which policy it is: `--policy-sha256` and `--policy-signer`. Whoever can change a policy, or a file that it names,
//! is refused.

use bulla::adapters::signer::PrivateKey;
use bulla::content::Digest;

use crate::stage::{ALL, Stage, bundle_of};

const POLICY: &str = "config/policy.toml";
const BUNDLE: &str = "config/policy.toml.sigstore.json";

fn pin(stage: &Stage) -> String {
    let said = stage.desk.run(&["policy", "check", &stage.desk.arg(POLICY)]).ends(0).stdout;
    said.lines().find_map(|line| line.strip_prefix("pin (--policy-sha256): ")).unwrap().to_owned()
}

/// A key file without a passphrase to type, and its public half.
fn keys(stage: &Stage, key: &PrivateKey) -> (String, String) {
    let private = stage.desk.write("home/policy.key", key.to_pem(b"").unwrap());
    (private, stage.desk.write("home/policy.pub", key.public_pem()))
}

fn sign(stage: &Stage, private: &str) {
    let mut command = stage.desk.command(&["policy", "sign", &stage.desk.arg(POLICY), "--key", private]);
    crate::cli::finish(command.env("BULLA_KEY_PASSWORD", ""), b"").ends(0);
}

#[test]
fn k01_a_pinned_policy_is_that_policy_with_those_keys() {
    let stage = Stage::attested();
    let pin = pin(&stage);
    for written in [pin.clone(), format!("sha256:{pin}")] {
        stage.admits(&[&stage.tag(), "--policy-sha256", &written]);
    }
    let args = [&stage.tag(), "--policy-sha256", &pin];
    let changed = |what: &str| {
        let verdict = stage.refuses(&args, 2, "POLICY");
        assert_eq!(verdict["error"]["code"], "policy-pin", "{what}");
        let audit = ["audit", "--policy", &stage.desk.arg(POLICY), "--policy-sha256", &pin, &stage.tag()];
        stage.desk.run(&audit).ends(2);
    };
    stage.policy(&stage.rule("\n"));
    changed("one byte of the text");
    stage.policy(&stage.rule(""));
    stage.admits(&args);
    // Another key of the same name, which has signed everything too.
    let other = PrivateKey::generate().unwrap();
    stage.attest(&other, &stage.image.descriptor(), &ALL);
    stage.desk.write("config/cosign.pub", other.public_pem());
    stage.admits(&[&stage.tag()]);
    changed("the key beside it");
    stage.desk.write("config/cosign.pub", stage.key.public_pem());
    stage.admits(&args);
    // The digest of the text alone is no pin where the text names files.
    let text = Digest::of(&std::fs::read(stage.desk.path(POLICY)).unwrap()).hex();
    assert_ne!(text, pin);
    stage.refuses(&[&stage.tag(), "--policy-sha256", &text], 2, "POLICY");
    for wrong in ["", "sha256:", "abc", &pin.to_uppercase(), &format!("sha512:{pin}")] {
        stage.desk.run(&["verify", &stage.tag(), "--policy-sha256", wrong]).ends(2);
    }
}

#[test]
fn a_pin_is_held_against_whichever_policy_applies() {
    let stage = Stage::attested();
    let pin = pin(&stage);
    // The one inside bulla, and the command line's own.
    let image = stage.tag();
    let inside = stage.desk.run(&["verify", &image, "--json", "--policy-sha256", &pin]).ends(2).json();
    assert_eq!(inside["error"]["code"], "policy-pin");
    let key = stage.desk.arg("config/cosign.pub");
    stage.desk.run(&["verify", &image, "--key", &key, "--policy-sha256", &pin]).ends(2);
    stage.desk.run(&["verify", &image, "--key", &key, "--policy-signer", &key]).ends(2);
    let inside = stage.desk.run(&["verify", &image, "--json", "--policy-signer", &key]).ends(2).json();
    assert_eq!(inside["error"]["code"], "policy-signature");
    // A project's policy is no way around it, and needs none.
    stage.desk.write("work/.bulla/policy.toml", stage.rule(""));
    stage.desk.write("work/.bulla/cosign.pub", stage.key.public_pem());
    stage.admits(&[&image, "--policy-sha256", &pin, "--project"]);
    stage.policy(&stage.rule("\n"));
    stage.refuses(&[&image, "--policy-sha256", &pin, "--project"], 2, "POLICY");
}

#[test]
fn k01_a_signed_policy_is_what_its_signer_signed() {
    let (stage, author) = (Stage::attested(), PrivateKey::generate().unwrap());
    let (private, public) = keys(&stage, &author);
    let image = stage.tag();
    let args = [image.as_str(), "--policy-signer", &public];
    let refused = |what: &str| {
        let verdict = stage.refuses(&args, 2, "POLICY");
        assert_eq!(verdict["error"]["code"], "policy-signature", "{what}");
    };
    refused("nothing beside it");
    sign(&stage, &private);
    stage.admits(&args);
    let good = std::fs::read(stage.desk.path(BUNDLE)).unwrap();
    // cosign's and everybody's form: a statement about the pin.
    let bundle = bulla::attestation::bundle::Bundle::parse(&good).unwrap();
    assert!(bundle.unverified_statement().unwrap().names(&Digest::from_hex(&pin(&stage)).unwrap()));

    stage.policy(&stage.rule("\n"));
    refused("another text");
    stage.policy(&stage.rule(""));
    stage.desk.write("config/cosign.pub", author.public_pem());
    refused("another key beside it");
    stage.desk.write("config/cosign.pub", stage.key.public_pem());
    stage.admits(&args);

    let pinned = Digest::from_hex(&pin(&stage)).unwrap();
    let kind = bulla::policy::seal::predicate_type();
    for (what, bytes) in [
        ("another signer", bundle_of(&stage.key, &pinned, &kind, &serde_json::json!({}))),
        ("another type", bundle_of(&author, &pinned, "https://sigstore.dev/cosign/sign/v1", &serde_json::json!({}))),
        ("another subject", bundle_of(&author, &stage.image.digest(), &kind, &serde_json::json!({}))),
        ("cut", good[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("two", [&good[..], &good[..]].concat()),
    ] {
        stage.desk.write(BUNDLE, bytes);
        refused(what);
    }
    stage.desk.write(BUNDLE, &good);
    stage.admits(&args);
    for wrong in ["nowhere.pub", ".", &stage.desk.arg(POLICY), &private] {
        stage.desk.run(&["verify", &image, "--policy", &stage.desk.arg(POLICY), "--policy-signer", wrong]).ends(2);
    }
}

#[test]
fn a_policy_that_cannot_be_used_is_not_signed() {
    let stage = Stage::bare();
    let (private, _) = keys(&stage, &stage.key);
    for text in ["", "version = 1\n", &stage.rule("").replace("cosign.pub", "nowhere.pub")] {
        stage.policy(text);
        let mut command = stage.desk.command(&["policy", "sign", &stage.desk.arg(POLICY), "--key", &private]);
        crate::cli::finish(command.env("BULLA_KEY_PASSWORD", ""), b"").ends(2);
        assert!(!stage.desk.path(BUNDLE).exists());
    }
}
