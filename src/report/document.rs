//! The verdict as `bulla.verdict/v1`: docs/verdict.md, docs/verdict.schema.json.

use bulla::class::Class;
use bulla::policy::Policy;
use bulla::policy::verdict::{Attested, Check, Rejected, Verdict};
use bulla::sigstore::{Claims, Identity, Signer};
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
    object!({
        "requirement": check.requirement,
        "policy": if of_project { "project" } else { "own" },
        "code": check.code,
        "class": check.class.map(Class::as_str),
        "status": check.status.as_str(),
        "message": check.message,
        "attestation": check.attestation,
        "found": check.found,
        "wanted": check.wanted,
    })
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
    object!({
        "issuer": identity.issuer,
        "identity": identity.san.as_str(),
        "kind": identity.san.kind(),
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

#[cfg(test)]
mod tests {
    use bulla::content::Digest;
    use bulla::policy::verdict::Subject;
    use bulla::verify::evidence_of;

    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/policy/");
    const NAME: &str = "ghcr.io/acme/agent-templates/base";
    const DIGEST: &str = "sha256:95c7411dfa12758009352013c7ba002cab62a9381d87227e163005035bfb8f0d";

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(format!("{FOLDER}{name}")).unwrap()
    }

    /// The verdict about what a workflow signed, under a policy whose text was changed.
    fn verdict(change: &dyn Fn(String) -> String) -> Value {
        let text = change(String::from_utf8(file("workflow.toml")).unwrap());
        let policy = Policy::parse(&text, "workflow.toml", &|name| Ok(file(name))).unwrap();
        let digest: Digest = DIGEST.parse().unwrap();
        let subject = Subject {
            name: NAME.to_owned(),
            reference: None,
            digest,
            manifest: digest,
            config: digest,
            platform: "linux/amd64".parse().unwrap(),
        };
        let bundle = file("../attestation/keyless-rekor1.bundle.json");
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let verdict = policy.evaluate(&evidence_of(subject, &[bundle]), now).unwrap();
        let question = Question { image: NAME.to_owned(), ..Question::default() };
        let document = verdict_json(&question, Some(&policy), Ok(&verdict), now);
        let schema = include_str!("../../docs/verdict.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{document:#}");
        let known = schema["$defs"]["certificate"]["properties"].as_object().unwrap();
        for attested in document["attestations"].as_array().unwrap() {
            for name in attested["signer"]["certificate"].as_object().unwrap().keys() {
                assert!(known.contains_key(name), "{name} is not in the schema");
            }
        }
        document
    }

    #[test]
    fn a_certificate_is_told_with_all_that_it_says() {
        let document = verdict(&|text| text);
        assert_eq!(document["admitted"], true, "{document:#}");
        let attested = &document["attestations"][0];
        assert_eq!(attested["signer"]["kind"], "uri");
        let certificate = &attested["signer"]["certificate"];
        for (name, value) in [
            ("sourceRepositoryURI", "https://github.com/acme/agent-templates"),
            ("sourceRepositoryRef", "refs/heads/main"),
            ("sourceRepositoryIdentifier", "123456"),
            ("sourceRepositoryOwnerIdentifier", "654321"),
            ("buildTrigger", "push"),
            ("runnerEnvironment", "github-hosted"),
            ("runInvocationURI", "https://github.com/acme/agent-templates/actions/runs/9001/attempts/1"),
        ] {
            assert_eq!(certificate[name], value);
        }
        assert_eq!(certificate.get("deploymentEnvironment"), None);
        assert!(attested["time"].is_string() && attested["logIndex"].is_u64(), "{attested:#}");
        assert_eq!(attested["logId"].as_str().unwrap().len(), 64);
        assert_eq!(attested["trustRoot"], document["trustRoot"]);
    }

    #[test]
    fn a_denial_names_the_identity_that_was_found_and_the_one_that_was_asked_for() {
        for (from, to, code) in [
            ("refs/heads/main", "refs/tags/v*", "ref"),
            ("\"acme/agent-templates\"", "\"acme/other\"", "signer-workflow"),
            ("123456", "1", "repository-id"),
            ("[\"push\"]", "[\"release\"]", "trigger"),
        ] {
            let document = verdict(&|text| text.replace(from, to));
            let check = &document["checks"][0];
            assert_eq!((&check["code"], &document["admitted"]), (&object!(code), &object!(false)), "{document:#}");
            let found = check["found"][0].as_str().unwrap();
            assert!(found.contains("build.yml@refs/heads/main (by https://token.actions"), "{found}");
            assert_eq!(check["wanted"].as_array().unwrap().len(), 1);
        }
    }
}
