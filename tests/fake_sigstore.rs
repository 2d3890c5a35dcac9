//! The in-process Sigstore against the library that other programs verify with.

mod support;

use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, Sha256Hash};
use sigstore_verify::{VerificationPolicy, VerificationResult, Verifier};
use support::sigstore::cert::Signer;
use support::sigstore::{Attest, Sigstore, statement};

const SUBJECT: &str = "c811d58de79c92f03214e63aa339484e488d694ae8a6283b5f3f17a9faf50172";

fn signer() -> Signer {
    Signer::github("acme/templates", ".github/workflows/release.yml", "refs/tags/v1.0.0")
}

fn verify(root: &str, bundle: &[u8], policy: VerificationPolicy) -> Result<VerificationResult, String> {
    let root = TrustedRoot::from_json(root).map_err(|error| error.to_string())?;
    let bundle = Bundle::from_json(std::str::from_utf8(bundle).unwrap()).map_err(|error| error.to_string())?;
    let verifier = Verifier::new(&root).map_err(|error| error.to_string())?;
    verifier.verify(Sha256Hash::from_hex(SUBJECT).unwrap(), &bundle, &policy).map_err(|error| error.to_string())
}

#[test]
fn rekor_v1() {
    let world = Sigstore::new();
    let st = statement(SUBJECT, "https://example.test/p", &serde_json::json!({}));
    let b = world.attest(&st, &signer()).bundle();
    verify(&world.trusted_root_json(), &b, VerificationPolicy::any_identity()).unwrap();
    let b = world.attest(&st, &signer()).rekor_v2().bundle();
    verify(&world.trusted_root_json(), &b, VerificationPolicy::any_identity()).unwrap();
    let b = world.attest(&st, &signer()).github_instance().bundle();
    verify(&world.trusted_root_json(), &b, VerificationPolicy::any_identity().skip_sct().skip_tlog_unsafe()).unwrap();
}
