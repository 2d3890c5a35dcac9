//! How old a trust root may be, by `[trust]` of a policy; and newer roots in the place of old ones.

#![expect(clippy::unwrap_used, reason = "a case that cannot be judged is a failed test")]

#[path = "support/mod.rs"]
mod support;

use bulla::attestation::bundle::Bundle;
use bulla::class::Class;
use bulla::content::Digest;
use bulla::policy::verdict::{Subject, Verdict};
use bulla::policy::{Candidate, Evidence, Origin, Policy};
use bulla::sigstore::{Instance, TrustRoot};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use support::sigstore::cert::Signer;
use support::sigstore::{Sigstore, statement};

const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const RULE: &str = "version = 1\n[[rule]]\nimages = [\"ghcr.io/acme/*\"]\nrequire = [\"signature\"]\n\
    [[rule.signer]]\nissuer = \"https://issuer.test\"\nidentity = \"somebody@example.test\"\n";

fn read(text: &str) -> Result<Policy, String> {
    Policy::parse(text, "test", &|name| Err(format!("{name} is not there"))).map_err(|error| error.to_string())
}

/// The rule with these limits, under a root of this many days.
fn policy(world: &Sigstore, trust: &str, days: i64, now: Timestamp) -> Policy {
    let root = |instance| {
        assert_eq!(instance, Instance::PublicGood, "no signer is judged under another");
        let root = TrustRoot::parse_as(instance, world.trusted_root_json().as_bytes(), "public-good (updated)")?;
        Ok::<_, bulla::sigstore::TrustRootError>(root.known_at(now - SignedDuration::from_hours(24 * days)))
    };
    read(&format!("{RULE}{trust}")).unwrap().with_roots(root).unwrap()
}

fn evidence(world: &Sigstore) -> Evidence {
    let digest = Digest::of(b"an image");
    let signed = statement(&digest.hex(), SIGN, &json!({}));
    let bundle = world.attest(&signed, &Signer::email("somebody@example.test", "https://issuer.test")).bundle();
    let subject = Subject {
        name: "ghcr.io/acme/base".to_owned(),
        reference: None,
        digest,
        manifest: digest,
        config: Digest::of(b"its config"),
        platform: "linux/amd64".parse().unwrap(),
    };
    let candidate = Candidate { bundle: Bundle::parse(&bundle).unwrap(), predicate_type: SIGN.to_owned() };
    Evidence { candidates: vec![candidate], ..Evidence::of(subject, Origin::Published) }
}

#[test]
fn g18_an_old_root_is_warned_of_and_then_refused() {
    let world = Sigstore::new();
    let evidence = evidence(&world);
    let now: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    let limits = "[trust]\nwarn-age = \"90d\"\nmax-age = \"400d\"\n";
    for (days, trust, admitted, warned) in [
        (1, limits, true, false),
        (90, limits, true, false),
        (91, limits, true, true),
        (400, limits, true, true),
        (401, limits, false, true),
        // A root from the future: a clock was wrong, and nobody knows how old it is.
        (-401, limits, false, true),
        (5_000, "", true, false),
        (5_000, "[trust]\nwarn-age = \"90d\"\n", true, true),
        (5_000, "[trust]\nmax-age = \"400d\"\n", false, false),
    ] {
        let policy = policy(&world, trust, days, now);
        let verdict: Verdict = policy.evaluate(&evidence, now).unwrap();
        assert_eq!(verdict.is_admitted(), admitted, "{days}: {:?}", verdict.checks());
        let warnings = policy.root_warnings(&verdict, now);
        assert_eq!(!warnings.is_empty(), warned, "{days}");
        let said = "the trust root public-good (updated) was current at";
        assert!(warnings.iter().all(|one| one.contains(said) && one.contains(&format!("{} days", days.abs()))));
        if !admitted {
            let check = &verdict.checks()[0];
            assert_eq!((check.class, check.code), (Some(Class::Trust), "root-too-old"), "{}", check.message);
        }
    }
}

#[test]
fn a_newer_root_takes_the_place_of_the_embedded_one_and_of_no_other() {
    let world = Sigstore::new();
    let now: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    // Under the embedded root nobody of this world is believed.
    let embedded = read(RULE).unwrap();
    assert!(!embedded.evaluate(&evidence(&world), now).unwrap().is_admitted());
    assert!(policy(&world, "", 1, now).evaluate(&evidence(&world), now).unwrap().is_admitted());
    // A root that the policy brings itself stays, and so does one of another instance.
    let own = |name: &str| match name {
        "root.json" => Ok(world.trusted_root_json().into_bytes()),
        _ => Err("no".to_owned()),
    };
    let text = format!("{RULE}root = \"root.json\"\n");
    let untouched = |_| Err::<TrustRoot, &str>("it was asked for");
    let policy = Policy::parse(&text, "test", &own).unwrap().with_roots(untouched).unwrap();
    assert!(policy.evaluate(&evidence(&world), now).unwrap().is_admitted());
    let github = read(&format!("{RULE}root = \"github\"\n")).unwrap();
    let asked = github.with_roots(Err::<TrustRoot, Instance>).unwrap_err();
    assert_eq!(asked, Instance::GitHub);
    // What cannot be read is an error, not a reason to go on with an older one.
    assert!(read(RULE).unwrap().with_roots(untouched).is_err());
}

#[test]
fn k03_limits_that_mean_nothing_are_refused() {
    for (trust, why) in [
        ("[trust]\n", "says nothing"),
        ("[trust]\nmax-age = \"soon\"\n", "trust.max-age"),
        ("[trust]\nwarn-age = \"0d\"\n", "trust.warn-age"),
        ("[trust]\nwarn-age = \"400d\"\nmax-age = \"400d\"\n", "warn-age is not below"),
        ("[trust]\nage = \"400d\"\n", "age"),
    ] {
        let error = read(&format!("{RULE}{trust}")).unwrap_err();
        assert!(error.contains(why), "{trust}: {error}");
    }
    let keys = "version = 1\n[[rule]]\nimages = [\"**\"]\nrequire = [\"signature\"]\n[[rule.signer]]\nkey = \"k\"\n\
        log = \"none\"\n[trust]\nmax-age = \"400d\"\n";
    let load = |_: &str| Ok(include_bytes!("../testdata/policy/cosign.pub").to_vec());
    let error = Policy::parse(keys, "test", &load).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("no effect"), "{error}");
}
