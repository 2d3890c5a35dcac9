//! The list of attestations that is remembered: it saves requests, and nothing is denied on its word.

use crate::registry::Fault;
use crate::stage::{SIGN, SLSA, SPDX, Stage};

/// A stage on which the image was verified when only its signature was attached.
fn remembered() -> Stage {
    let stage = Stage::bare();
    stage.attest(&stage.key, &stage.image.descriptor(), &[SIGN]);
    stage.policy(&stage.rule("require = [\"signature\"]"));
    stage.verify(&[&stage.pinned()]).ends(0);
    stage.policy(&stage.rule(""));
    stage.server.clear_log();
    stage
}

#[test]
fn what_was_attached_since_is_found_before_anything_is_denied() {
    let stage = remembered();
    stage.attest(&stage.key, &stage.image.descriptor(), &[SLSA, SPDX]);
    stage.verify(&[&stage.pinned()]).ends(0);
    assert_eq!(stage.server.count("/referrers/"), 1);
    // And remembered from then on.
    stage.server.clear_log();
    stage.admits(&[&stage.pinned()]);
    assert_eq!(stage.server.log().len(), 0);
}

#[test]
fn a_denial_is_what_the_registry_says_now() {
    let stage = remembered();
    stage.refuses(&[&stage.pinned()], 1, "NO_ATTESTATION");
    assert!(stage.server.count("/referrers/") >= 2, "each run asked again");
    // Once more would be no answer: one run asks once.
    stage.server.clear_log();
    stage.verify(&[&stage.pinned()]).ends(1);
    assert_eq!(stage.server.count("/referrers/"), 1);
}

#[test]
fn a_denial_that_cannot_be_confirmed_is_undecided() {
    let stage = remembered();
    stage.server.fault("/referrers/", Fault::status(403));
    stage.refuses(&[&stage.pinned()], 3, "AUTH");
}

#[test]
fn offline_a_remembered_list_is_all_there_is() {
    let stage = remembered();
    stage.refuses(&["--offline", &stage.pinned()], 1, "NO_ATTESTATION");
    assert_eq!(stage.server.log().len(), 0);
}
