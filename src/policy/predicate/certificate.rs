//! Provenance against the certificate that it is signed with. The predicate is written by code in the job, the
//! certificate by the authority: where both speak, they agree.

use serde_json::Value;

use super::provenance::{split_ref, without_ref};
use super::refused;
use crate::attestation::provenance::Provenance;
use crate::policy::verdict::Reason;
use crate::sigstore::Identity;

const GITHUB: &str = "https://github.com/";

/// What the provenance says, under a word for it, and what the certificate says.
struct Pair<'a> {
    what: &'static str,
    said: Option<String>,
    certified: &'a Option<String>,
}

/// Refuses provenance that says something else than its certificate.
pub(super) fn agrees(provenance: &Provenance, certificate: &Identity) -> Result<(), Reason> {
    let claims = &certificate.claims;
    // Certificates of before 2023 have the older claims alone.
    let old_repository = claims.github_workflow_repository.as_ref().map(|name| format!("{GITHUB}{name}"));
    let repository = claims.source_repository_uri.clone().or(old_repository);
    let git_ref = claims.source_repository_ref.clone().or(claims.github_workflow_ref.clone());
    let commit = claims.source_repository_digest.clone().or(claims.github_workflow_sha.clone());
    let trigger = claims.build_trigger.clone().or(claims.github_workflow_trigger.clone());

    let mut pairs = Vec::new();
    let mut pair = |what, said: Option<String>, certified| pairs.push(Pair { what, said, certified });
    let run = provenance.invocation_id.as_deref().zip(claims.run_invocation_uri.as_deref());
    let run = run.and_then(|(said, certified)| run_in_the_words_of(said, certified));
    pair("run", run, &claims.run_invocation_uri);
    if let Some(certified) = &repository {
        for source in provenance.sources() {
            if without_ref(source) != without_ref(certified) {
                pair("source", Some(source.to_owned()), &repository);
            }
        }
    }
    // The places that name the repository which was built: its ref and commit are the certificate's.
    let dependencies = provenance.resolved_dependencies.iter().map(|one| (one.uri.as_deref(), &one.digest));
    let config = provenance.config_source.iter().map(|one| (one.uri.as_deref(), &one.digest));
    for (uri, digest) in dependencies.chain(config) {
        let (Some(uri), Some(certified)) = (uri, &repository) else { continue };
        let (place, said_ref) = split_ref(uri);
        if place == without_ref(certified) {
            pair("ref", said_ref.filter(|text| text.starts_with("refs/")).map(str::to_owned), &git_ref);
            pair("commit", ["gitCommit", "sha1"].iter().find_map(|key| digest.get(*key)).cloned(), &commit);
        }
    }
    for source in provenance.sources() {
        let said_ref = split_ref(source).1.filter(|text| text.starts_with("refs/"));
        pair("ref", said_ref.map(str::to_owned), &git_ref);
    }
    if let Some(Value::Object(workflow)) = provenance.external_parameters.get("workflow") {
        let text = |key: &str| workflow.get(key).and_then(Value::as_str);
        pair("ref", text("ref").map(str::to_owned), &git_ref);
        if let (Some(repository), Some(path), Some(git_ref)) = (text("repository"), text("path"), text("ref")) {
            pair("workflow", Some(format!("{repository}/{path}@{git_ref}")), &claims.build_config_uri);
        }
    }
    // What GitHub's own build type repeats of the token.
    if let Some(Value::Object(github)) = provenance.internal_parameters.get("github") {
        let text = |key: &str| github.get(key).and_then(Value::as_str).map(str::to_owned);
        pair("event", text("event_name"), &trigger);
        pair("repository's id", text("repository_id"), &claims.source_repository_identifier);
        pair("owner's id", text("repository_owner_id"), &claims.source_repository_owner_identifier);
        pair("runner", text("runner_environment"), &claims.runner_environment);
    }
    if provenance.builder_id.contains("/.github/workflows/") {
        pair("builder", Some(provenance.builder_id.clone()), &claims.build_signer_uri);
    }
    for Pair { what, said, certified } in pairs {
        if let (Some(said), Some(certified)) = (said, certified)
            && said != *certified
        {
            let message = format!("it says that the {what} was {said:?}, and its certificate says {certified:?}");
            return Err(refused("certificate-disagrees", message));
        }
    }
    Ok(())
}

/// The run that provenance names, as a certificate would name it. Builders that write SLSA v0.2 say `RUN-ATTEMPT`, of the
/// repository that the certificate speaks of; what is neither that nor an address is a name of the builder's own.
fn run_in_the_words_of(said: &str, certified: &str) -> Option<String> {
    if said.contains("://") {
        return Some(said.to_owned());
    }
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (run, attempt) = said.split_once('-').filter(|(run, attempt)| number(run) && number(attempt))?;
    let (repository, _) = certified.split_once("/actions/runs/")?;
    Some(format!("{repository}/actions/runs/{run}/attempts/{attempt}"))
}
