//! `[[rule.signer]]`: a key, an exact identity, or a workflow, and never two of them at once.

use std::sync::Arc;

use serde::Deserialize;

use super::{Load, one_pattern, text, texts, unknown};
use crate::policy::pattern::Pattern;
use crate::policy::signer::{TrustedSigner, Workflow};
use crate::sigstore::{PublicKey, TrustRoot};

/// What GitHub Actions workflows are started by, where a policy does not say.
const DEFAULT_TRIGGERS: [&str; 3] = ["push", "release", "workflow_dispatch"];

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Wire {
    key: Option<String>,
    log: Option<String>,
    issuer: Option<String>,
    identity: Option<String>,
    root: Option<String>,
    repository: Option<String>,
    workflow: Option<String>,
    signer_workflow: Option<String>,
    r#ref: Option<String>,
    repository_id: Option<String>,
    owner_id: Option<String>,
    runner: Option<String>,
    triggers: Option<Vec<String>>,
}

/// Reads one signer: a key, an exact identity, or a workflow.
pub(super) fn read(wire: Wire, load: Load<'_>) -> Result<TrustedSigner, String> {
    let structured = wire.repository.is_some()
        || wire.workflow.is_some()
        || wire.signer_workflow.is_some()
        || wire.r#ref.is_some()
        || wire.repository_id.is_some()
        || wire.owner_id.is_some()
        || wire.runner.is_some()
        || wire.triggers.is_some();
    if let Some(name) = wire.key {
        if structured || wire.issuer.is_some() || wire.identity.is_some() {
            return Err("a key has no issuer, identity or workflow; write another [[rule.signer]] for those".to_owned());
        }
        let name = text("key", name)?;
        let pem = load(&name).map_err(|reason| format!("key: {reason}"))?;
        let pem = std::str::from_utf8(&pem).map_err(|_| format!("key: {name} is not PEM"))?;
        let key = PublicKey::from_pem(pem).map_err(|error| format!("key: {name}: {error}"))?;
        let log = match (wire.log.as_deref(), wire.root) {
            (None | Some("required"), root) => Some(read_root(root, load)?),
            (Some("none"), None) => None,
            (Some("none"), Some(_)) => return Err("root: it vouches for a log, and the log is \"none\"".to_owned()),
            (Some(other), _) => return Err(unknown("log", other, "required, none")),
        };
        return Ok(TrustedSigner::Key { key, name, log });
    }
    let Some(issuer) = wire.issuer else {
        return Err(
            "it names nobody: write `key`, or `issuer` with `identity` or `repository` and `workflow`".to_owned()
        );
    };
    if wire.log.is_some() {
        return Err("log: it belongs to a key; a certificate's log is decided by its root".to_owned());
    }
    let issuer = text("issuer", issuer)?;
    if issuer.contains('*') {
        return Err("issuer: it is compared exactly, and cannot hold a *".to_owned());
    }
    let root = read_root(wire.root, load)?;
    if let Some(identity) = wire.identity {
        if structured {
            return Err("identity: it is exact, and cannot stand beside repository, workflow and the like".to_owned());
        }
        let identity = text("identity", identity)?;
        if identity.contains('*') {
            return Err("identity: it is compared exactly; for patterns write repository, workflow and ref".to_owned());
        }
        return Ok(TrustedSigner::Exact { root, issuer, identity });
    }
    let (Some(repository), Some(workflow)) = (wire.repository, wire.workflow) else {
        return Err("it names nobody: beside `issuer` write `identity`, or `repository` and `workflow`".to_owned());
    };
    let repository = text("repository", repository)?;
    if repository.split('/').filter(|part| !part.is_empty()).count() != 2 || repository.contains(['*', '@', ':']) {
        return Err(format!("repository: {repository:?} is not owner/name"));
    }
    let workflow = text("workflow", workflow)?;
    if !workflow.starts_with(".github/workflows/") || workflow.contains('*') {
        return Err(format!("workflow: {workflow:?} is not a path such as .github/workflows/release.yml"));
    }
    let signer_workflow = wire.signer_workflow.map(read_signer_workflow).transpose()?;
    let git_ref = wire.r#ref.map(|pattern| one_pattern("ref", &pattern)).transpose()?;
    if git_ref.as_ref().is_some_and(|pattern| !pattern.as_str().starts_with("refs/")) {
        return Err("ref: write it whole, such as refs/tags/v* or refs/heads/main".to_owned());
    }
    let number = |name: &str, value: Option<String>| match value {
        Some(value) if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("{name}: {value:?} is not a number"))
        }
        value => Ok(value),
    };
    let runner = match wire.runner.as_deref() {
        None | Some("github-hosted") => Some("github-hosted".to_owned()),
        Some("self-hosted") => Some("self-hosted".to_owned()),
        Some("any") => None,
        Some(other) => return Err(unknown("runner", other, "github-hosted, self-hosted, any")),
    };
    let triggers = match wire.triggers {
        Some(list) => texts("triggers", list)?,
        None => DEFAULT_TRIGGERS.map(str::to_owned).to_vec(),
    };
    let repository_id = number("repository-id", wire.repository_id)?;
    let owner_id = number("owner-id", wire.owner_id)?;
    let workflow =
        Workflow { issuer, repository, workflow, signer_workflow, git_ref, repository_id, owner_id, runner, triggers };
    Ok(TrustedSigner::Workflow { root, workflow: Box::new(workflow) })
}

fn read_signer_workflow(written: String) -> Result<(String, Option<Pattern>), String> {
    let written = text("signer-workflow", written)?;
    let folder = written.find("/.github/workflows/");
    let Some(folder) = folder.filter(|at| written[..*at].split('/').count() == 2 && !written[..*at].contains('*'))
    else {
        return Err(format!("signer-workflow: {written:?} is not owner/name/.github/workflows/file"));
    };
    let (path, pattern) = match written[folder..].find('@') {
        Some(at) => (&written[..folder + at], Some(one_pattern("signer-workflow", &written[folder + at + 1..])?)),
        None => (written.as_str(), None),
    };
    if path.contains('*') {
        return Err("signer-workflow: the path is compared exactly, and cannot hold a *".to_owned());
    }
    Ok((path.to_owned(), pattern))
}

fn read_root(name: Option<String>, load: Load<'_>) -> Result<Arc<TrustRoot>, String> {
    let root = match name.as_deref() {
        None | Some("public-good") => TrustRoot::public_good().map_err(|error| format!("root: {error}")),
        Some("github") => TrustRoot::github().map_err(|error| format!("root: {error}")),
        Some("") => Err("root: it is empty".to_owned()),
        Some(file) => {
            let json = load(file).map_err(|reason| format!("root: {reason}"))?;
            TrustRoot::parse(&json, file).map_err(|error| format!("root: {error}"))
        }
    };
    root.map(Arc::new)
}
