//! What a verdict tells: of several refusals the one that came furthest, who signed, and who should have.

use bulla::attestation::bundle::Bundle;
use bulla::class::Class;
use bulla::policy::Policy;
use bulla::policy::signer::TrustedSigner;
use bulla::policy::verdict::Check;
use bulla::sigstore::{Claimed, PublicKey, Signer};
use jiff::Timestamp;
use serde_json::json;

use crate::support::sigstore::key::Key;
use crate::support::sigstore::{Attest, Sigstore};
use crate::{HEAD, NOW, SIGN, SLSA, SPDX, WORKFLOW, evidence, judge, provenance, refusal, says, signed, signer, spdx};

const KEYS: &str = "[[rule.signer]]\nkey = \"a.pub\"\nlog = \"none\"\n\
    [[rule.signer]]\nkey = \"b.pub\"\nlog = \"none\"\nfor = [\"provenance\"]\n";

struct Desk {
    world: Sigstore,
    keys: [Key; 2],
}

impl Desk {
    fn new() -> Self {
        Self { world: Sigstore::new(), keys: [Key::p256(), Key::p256()] }
    }

    fn by(&self, key: &Key, statement: &[u8]) -> Attest {
        self.world.attest_with_key(statement, key)
    }

    /// What is told of the SBOM that a rule asks for.
    fn check(&self, bundles: &[Vec<u8>]) -> Check {
        let load = |name: &str| match name {
            "a.pub" => Ok(self.keys[0].public_pem().into_bytes()),
            "b.pub" => Ok(self.keys[1].public_pem().into_bytes()),
            _ => Ok(self.world.trusted_root_json().into_bytes()),
        };
        let require = "require = [\"sbom\", \"provenance\"]";
        let text = format!("{HEAD}{require}\n{KEYS}{WORKFLOW}[rule.sbom]\nmin-packages = 5\n");
        let policy = Policy::parse(&text, "test", &load).unwrap();
        let verdict = policy.evaluate(&evidence(bundles), NOW.parse::<Timestamp>().unwrap()).unwrap();
        let (class, code) = refusal(&verdict);
        let check = &verdict.checks()[0];
        assert_eq!((&*check.requirement, check.class, check.code), ("sbom", Some(class), code));
        check.clone()
    }
}

#[test]
fn of_several_refusals_the_one_that_came_furthest_is_told_and_of_equal_ones_the_first() {
    let desk = Desk::new();
    let sbom = |name: &str| says(SPDX, &spdx(&[name]));
    let forged = desk.by(&Key::p256(), &sbom("pkg:npm/x@1")).bundle();
    let [short, shorter] = ["pkg:npm/x@1", "pkg:npm/y@1"].map(|name| desk.by(&desk.keys[0], &sbom(name)).bundle());
    let digest = |bundle: &Vec<u8>| *Bundle::parse(bundle).unwrap().digest();
    for (bundles, nearest) in [
        (vec![forged.clone(), short.clone()], &short),
        (vec![short.clone(), forged.clone()], &short),
        (vec![short.clone(), shorter.clone()], &short),
        (vec![shorter.clone(), short.clone()], &shorter),
    ] {
        let check = desk.check(&bundles);
        assert_eq!(check.class, Some(Class::Sbom));
        assert_eq!(check.attestation, Some(digest(nearest)));
        // The signer was right.
        assert!(check.found.is_empty() && check.wanted.is_empty(), "{check:?}");
    }
}

#[test]
fn of_several_signers_the_one_that_a_bundle_came_furthest_with_is_told() {
    let world = Sigstore::new();
    let sign = signed(&world, &says(SIGN, &json!({})), &signer()).bundle();
    let stranger = WORKFLOW.replace("acme/templates", "acme/other");
    let renamed = WORKFLOW.replace("release.yml", "other.yml");
    let text = |signers: [&str; 2]| format!("{HEAD}max-age = \"1d\"\nrequire = [\"signature\"]\n{}", signers.concat());
    for signers in [[&*stranger, WORKFLOW], [WORKFLOW, &stranger]] {
        assert_eq!(refusal(&judge(&text(signers), &world, std::slice::from_ref(&sign))), (Class::Time, "too-old"));
    }
    // Of two that came as far the first is told.
    let said =
        |signers: [&str; 2]| judge(&text(signers), &world, std::slice::from_ref(&sign)).checks()[0].message.clone();
    let (one, other) = (said([&stranger, &renamed]), said([&renamed, &stranger]));
    assert!(one.contains("acme/other") && other.contains("other.yml"), "{one}\n{other}");
}

#[test]
fn who_signed_and_who_would_do_are_told_where_nobody_trusts_the_signer() {
    let desk = Desk::new();
    let stranger = Key::p256();
    let sbom = says(SPDX, &spdx(&["pkg:npm/x@1"]));
    let forged = desk.by(&stranger, &sbom).bundle();
    // What is of another type is not asked for, and who signed it is nobody's concern.
    let other = desk.by(&desk.keys[1], &says(SIGN, &json!({}))).bundle();
    let check = desk.check(&[other.clone(), forged.clone()]);
    assert_eq!(check.class, Some(Class::Trust));
    assert_eq!(check.attestation, Some(*Bundle::parse(&forged).unwrap().digest()));
    assert_eq!(check.found, [format!("the key sha256:{}", hex(&stranger.fingerprint()))]);
    // The second key vouches for provenance alone.
    let wanted = |check: &Check| {
        let [key, workflow] = check.wanted.as_slice() else { panic!("{:?}", check.wanted) };
        assert!(key.contains(&hex(&desk.keys[0].fingerprint())) || key.contains("a.pub"), "{key}");
        assert!(workflow.contains("acme/templates"), "{workflow}");
    };
    wanted(&check);
    let attached = [desk.by(&desk.keys[0], &says(SLSA, &provenance())).bundle(), other];
    let nothing = desk.check(&attached);
    assert_eq!((nothing.class, nothing.attestation), (Some(Class::NoAttestation), None));
    assert_eq!(nothing.found, [SIGN, "https://slsa.dev/provenance/v1"]);
    wanted(&nothing);
}

#[test]
fn who_a_bundle_says_signed_it_is_read_and_never_made_up() {
    let desk = Desk::new();
    let key = Key::p256();
    let hinted = |hint: &str| {
        let hint = hint.to_owned();
        let bundle = desk.by(&key, &says(SIGN, &json!({})));
        let bundle =
            bundle.tamper(move |json| json["verificationMaterial"]["publicKey"]["hint"] = json!(hint)).bundle();
        Claimed::by(&Bundle::parse(&bundle).unwrap()).to_string()
    };
    assert_eq!(hinted(""), "a key, without saying which");
    assert_eq!(hinted("AAAA"), "the key \"AAAA\"");
    assert_eq!(hinted("release"), "the key \"release\"");
    assert_eq!(hinted(&format!("{}A=", "A".repeat(42))), format!("the key sha256:{}", "00".repeat(32)));
    let by = signed(&desk.world, &says(SIGN, &json!({})), &signer()).bundle();
    let by = Claimed::by(&Bundle::parse(&by).unwrap()).to_string();
    let file = "https://github.com/acme/templates/.github/workflows/release.yml";
    assert!(by.contains(file) && by.contains("token.actions.githubusercontent.com"), "{by}");
}

#[test]
fn the_first_signature_stands_for_the_image_and_its_signer_is_told() {
    let desk = Desk::new();
    let at = |time: &str| desk.world.attest(&says(SIGN, &json!({})), &signer()).at(time).bundle();
    let (old, new) = (at("2025-06-01T00:00:00Z"), at("2025-06-20T00:00:00Z"));
    for bundles in [[old.clone(), new.clone()], [new, old]] {
        let verdict = judge(&format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}"), &desk.world, &bundles);
        let check = &verdict.checks()[0];
        assert_eq!(check.attestation, Some(*Bundle::parse(&bundles[0]).unwrap().digest()));
        assert!(check.message.contains("acme/templates/.github/workflows/release.yml"), "{}", check.message);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_summary_speaks_of_levels_where_provenance_passed() {
    let world = Sigstore::new();
    let sign = signed(&world, &says(SIGN, &json!({})), &signer()).bundle();
    let built = signed(&world, &says(SLSA, &provenance()), &signer()).bundle();
    let levels = |require: &str, bundles: &[Vec<u8>]| {
        let policy = crate::policy(&format!("{HEAD}require = [{require}]\n{WORKFLOW}"), &world);
        let verdict = policy.evaluate(&evidence(bundles), NOW.parse().unwrap()).unwrap();
        let summary = verdict.summary(&policy, "1", NOW.parse().unwrap());
        assert_eq!(summary.passed, verdict.is_admitted());
        summary.verified_levels
    };
    let unevaluated = ["SLSA_BUILD_LEVEL_UNEVALUATED"];
    assert_eq!(levels("\"signature\"", &[sign.clone(), built.clone()]), unevaluated);
    let proven = levels("\"provenance\"", std::slice::from_ref(&built));
    assert!(proven.len() == 1 && proven != unevaluated, "{proven:?}");
    assert_eq!(levels("\"signature\", \"provenance\"", &[sign.clone(), built]), proven);
    assert!(levels("\"provenance\"", &[sign]).is_empty());
}

#[test]
fn a_verified_key_is_the_policys_or_it_is_refused() {
    let [own, other] = [Key::p256(), Key::p256()].map(|key| PublicKey::from_pem(&key.public_pem()).unwrap());
    let by = |key: &PublicKey| Signer::Key { fingerprint: key.fingerprint() };
    let trusted = TrustedSigner::Key { key: own.clone(), name: "own.pub".to_owned(), log: None };
    trusted.check(&by(&own)).unwrap();
    assert_eq!(trusted.check(&by(&other)).unwrap_err().code, "signer-kind");
}
