//! A verdict as a verification summary (SLSA VSA v1), for whoever trusts this verifier.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::attestation::summary::Summary;
use crate::home;
use crate::policy::verdict::{Status, Verdict};
use crate::policy::{BUNDLED, COMMAND_LINE, Policy, Requirement};

/// What is claimed of the build track where provenance was required and verified: that there is some, by a signer whom
/// the policy names. How isolated its builder is, is nothing that a verdict knows.
const WITH_PROVENANCE: &str = "SLSA_BUILD_LEVEL_1";
/// What is said of it otherwise (SLSA, `SlsaResult`).
const UNEVALUATED: &str = "SLSA_BUILD_LEVEL_UNEVALUATED";

impl Verdict {
    /// What this verdict says, as a summary. Whether a policy only warns makes no difference: not admitted is `FAILED`.
    pub fn summary(&self, policy: &Policy, version: &str, now: Timestamp) -> Summary {
        let passed = self.is_admitted();
        let is_proven = self
            .checks()
            .iter()
            .any(|check| check.requirement == Requirement::Provenance.as_str() && check.status == Status::Pass);
        let level = if is_proven { WITH_PROVENANCE } else { UNEVALUATED };
        let inputs = self.attestations().iter().map(|attested| attested.digest);
        Summary {
            verifier_id: home::local_verifier(),
            verifier_version: BTreeMap::from([("bulla".to_owned(), version.to_owned())]),
            time_verified: Some(now),
            resource_uri: self.subject().name.clone(),
            policy_uri: policy_uri(policy.origin()),
            policy_sha256: Some(*policy.sha256()),
            input_attestations: inputs.collect(),
            passed,
            verified_levels: if passed { vec![level.to_owned()] } else { Vec::new() },
        }
    }
}

/// A URI for where a policy was read: the name of the file and not its folder, which is nobody else's business. The
/// digest beside it is what identifies the policy.
fn policy_uri(origin: &str) -> String {
    match origin {
        BUNDLED => return home::bundled_policy(),
        COMMAND_LINE => return home::command_line_policy(),
        _ => {}
    }
    let name = origin.rsplit('/').next().unwrap_or(origin);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("file:{}", name.bytes().map(encode).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policys_uri_is_one_and_names_no_folder() {
        assert_eq!(policy_uri("/home/somebody/policy.toml"), "file:policy.toml");
        assert!(policy_uri(BUNDLED).starts_with("https://") && policy_uri(COMMAND_LINE).starts_with("https://"));
        assert_eq!(policy_uri("a/b c\u{e9}%\n"), "file:b%20c%C3%A9%25%0A");
    }
}
