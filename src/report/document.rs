//! The verdict as `bulla.verdict/v1`: docs/verdict.md, docs/verdict.schema.json.

use bulla::class::Class;
use bulla::policy::Policy;
use bulla::policy::verdict::{Attested, Check, Rejected, Verdict};
use bulla::sigstore::{Claims, Identity, San, Signer};
use jiff::Timestamp;
use serde_json::{Map, Value, json as object};

use super::{Exit, Failure, Question, exit_of};

/// Longest text in a verdict as JSON, in characters.
const RECORDED: usize = 2_000;

/// The verdict as `bulla.verdict/v1`. With a failure the same document carries it and whatever was known.
pub(crate) fn verdict_json(
    question: &Question,
    policy: Option<&Policy>,
    outcome: Result<&Verdict, &Failure>,
    now: Timestamp,
) -> Value {
    let mut document = object!({
        "schema": "bulla.verdict/v1",
        "tool": {"name": "bulla", "version": env!("CARGO_PKG_VERSION")},
        "image": question.image,
        "admitted": false,
        "enforced": true,
        "exit": 0,
        "time": now.to_string(),
        "checks": [],
        "attestations": [],
        "rejections": [],
        "unsafe": question.unsafe_options,
        "notes": question.notes,
    });
    if let Some(policy) = policy {
        document["policy"] = policy_json(policy);
        if let Some(project) = policy.project() {
            document["project"] = policy_json(project);
        }
    }
    match outcome {
        Ok(verdict) => fill_verdict(&mut document, verdict, policy),
        Err(failure) => {
            document["exit"] = object!(Exit::from(failure.class) as u8);
            document["error"] = failure_json(failure);
            if let Some(digest) = &question.digest {
                document["digest"] = object!(digest);
                document["reference"] = object!(question.reference.as_ref().map(ToString::to_string));
            }
        }
    }
    cut(&mut document);
    document
}

/// Cuts every text of a document to a sensible length.
pub(crate) fn cut(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(RECORDED) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Array(values) => values.iter_mut().for_each(cut),
        Value::Object(members) => members.values_mut().for_each(cut),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An error as it stands in every document.
pub(crate) fn failure_json(failure: &Failure) -> Value {
    object!({"class": failure.class.as_str(), "code": failure.code, "message": failure.message})
}

fn fill_verdict(document: &mut Value, verdict: &Verdict, policy: Option<&Policy>) {
    let subject = verdict.subject();
    document["reference"] = object!(subject.reference.as_ref().map(ToString::to_string));
    document["digest"] = object!(subject.digest);
    document["manifest"] = object!(subject.manifest);
    document["platform"] = object!(subject.platform.to_string());
    document["admitted"] = object!(verdict.is_admitted());
    document["enforced"] = object!(verdict.is_enforced());
    document["exit"] = object!(exit_of(verdict) as u8);
    document["policy"]["rule"] = object!(verdict.rule());
    let rule = policy.zip(verdict.rule()).and_then(|(policy, rule)| policy.rules().get(rule));
    let roots = rule.map(|rule| rule.signers.iter().filter_map(|signer| signer.root()).collect::<Vec<_>>());
    if let Some(root) = roots.unwrap_or_default().first() {
        document["trustRoot"] = object!({"source": root.source(), "sha256": root.sha256()});
    }
    if policy.is_some_and(|policy| policy.project().is_some()) {
        document["project"]["rule"] = object!(verdict.project_rule());
    }
    let own = verdict.checks().len() - verdict.project_checks().len();
    let checks = verdict.checks().iter().enumerate().map(|(index, check)| check_json(check, index >= own));
    document["checks"] = checks.collect();
    document["attestations"] = verdict.attestations().iter().map(attestation_json).collect();
    document["rejections"] = verdict.rejections().iter().map(rejection_json).collect();
}

fn policy_json(policy: &Policy) -> Value {
    object!({"source": policy.origin(), "sha256": policy.sha256()})
}

fn check_json(check: &Check, of_project: bool) -> Value {
    let mut document = object!({
        "requirement": check.requirement,
        "code": check.code,
        "class": check.class.map(Class::as_str),
        "status": check.status.as_str(),
        "message": check.message,
        "attestation": check.attestation,
    });
    for (name, texts) in [("found", &check.found), ("wanted", &check.wanted)] {
        if !texts.is_empty() {
            document[name] = object!(texts);
        }
    }
    if of_project {
        document["policy"] = object!("project");
    }
    document
}

fn attestation_json(attested: &Attested) -> Value {
    let root = attested.root.as_ref().map(|root| object!({"source": root.source, "sha256": root.sha256}));
    object!({
        "predicateType": attested.predicate_type,
        "digest": attested.digest,
        "signer": signer_json(&attested.signer),
        "time": attested.time.map(|time| time.to_string()),
        "logIndex": attested.log_index,
        "logId": attested.log_id,
        "trustRoot": root,
        "satisfies": attested.satisfies,
    })
}

fn rejection_json(rejected: &Rejected) -> Value {
    let reason = &rejected.reason;
    object!({
        "digest": rejected.digest,
        "class": reason.class.as_str(),
        "code": reason.code,
        "message": reason.message,
    })
}

fn signer_json(signer: &Signer) -> Value {
    match signer {
        Signer::Key { fingerprint } => object!({"key": fingerprint}),
        Signer::Certificate(identity) => certificate_json(identity),
    }
}

fn certificate_json(identity: &Identity) -> Value {
    let kind = match identity.san {
        San::Uri(_) => "uri",
        San::Email(_) => "email",
        San::Other(_) => "other",
    };
    object!({
        "issuer": identity.issuer,
        "identity": identity.san.as_str(),
        "kind": kind,
        "certificate": claims_json(&identity.claims),
    })
}

/// What the certificate says beside the name, under the names that other Sigstore clients print. What it does not
/// say is not there.
fn claims_json(claims: &Claims) -> Map<String, Value> {
    let named = [
        ("githubWorkflowTrigger", &claims.github_workflow_trigger),
        ("githubWorkflowSHA", &claims.github_workflow_sha),
        ("githubWorkflowName", &claims.github_workflow_name),
        ("githubWorkflowRepository", &claims.github_workflow_repository),
        ("githubWorkflowRef", &claims.github_workflow_ref),
        ("buildSignerURI", &claims.build_signer_uri),
        ("buildSignerDigest", &claims.build_signer_digest),
        ("runnerEnvironment", &claims.runner_environment),
        ("sourceRepositoryURI", &claims.source_repository_uri),
        ("sourceRepositoryDigest", &claims.source_repository_digest),
        ("sourceRepositoryRef", &claims.source_repository_ref),
        ("sourceRepositoryIdentifier", &claims.source_repository_identifier),
        ("sourceRepositoryOwnerURI", &claims.source_repository_owner_uri),
        ("sourceRepositoryOwnerIdentifier", &claims.source_repository_owner_identifier),
        ("buildConfigURI", &claims.build_config_uri),
        ("buildConfigDigest", &claims.build_config_digest),
        ("buildTrigger", &claims.build_trigger),
        ("runInvocationURI", &claims.run_invocation_uri),
        ("sourceRepositoryVisibilityAtSigning", &claims.source_repository_visibility),
        ("deploymentEnvironment", &claims.deployment_environment),
        ("tokenSubject", &claims.token_subject),
    ];
    let stated = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), object!(value.as_ref()?))));
    stated.collect()
}
