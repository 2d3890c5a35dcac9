//! `[[rule.signer]]`: a key, an exact identity, or a workflow, and never two of them at once.

use std::sync::Arc;

use semver::VersionReq;
use serde::Deserialize;

use super::Load;
use super::fields::{exact, one_pattern, text, texts, unknown};
use super::rule::named;
use crate::policy::pattern::Pattern;
use crate::policy::signer::{GitRef, RuleSigner, Source, TrustedSigner, Workflow};
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
    r#for: Option<Vec<String>>,
    repository: Option<String>,
    owner: Option<String>,
    workflow: Option<String>,
    signer_workflow: Option<String>,
    r#ref: Option<String>,
    branch: Option<String>,
    tag: Option<String>,
    version: Option<String>,
    commit: Option<String>,
    repository_id: Option<String>,
    owner_id: Option<String>,
    runner: Option<String>,
    triggers: Option<Vec<String>>,
    visibility: Option<String>,
    environment: Option<String>,
    token_subject: Option<String>,
}

impl Wire {
    /// Whether anything is there that only a workflow has.
    fn is_structured(&self) -> bool {
        let texts = [
            &self.repository,
            &self.owner,
            &self.workflow,
            &self.signer_workflow,
            &self.r#ref,
            &self.branch,
            &self.tag,
            &self.version,
            &self.commit,
            &self.repository_id,
            &self.owner_id,
            &self.runner,
            &self.visibility,
            &self.environment,
            &self.token_subject,
        ];
        self.triggers.is_some() || texts.into_iter().any(Option::is_some)
    }
}

/// Reads one signer: a key, an exact identity, or a workflow.
pub(super) fn read(mut wire: Wire, load: Load<'_>) -> Result<RuleSigner, String> {
    let only_for = wire.r#for.take().map(|names| named("for", &names)).transpose()?;
    Ok(RuleSigner { who: read_who(wire, load)?, only_for })
}

fn read_who(mut wire: Wire, load: Load<'_>) -> Result<TrustedSigner, String> {
    if let Some(name) = wire.key.take() {
        return read_key(name, wire, load);
    }
    let Some(issuer) = wire.issuer.take() else {
        return Err(
            "it names nobody: write `key`, or `issuer` with `identity` or `repository` and `workflow`".to_owned()
        );
    };
    if wire.log.is_some() {
        return Err("log: it belongs to a key; a certificate's log is decided by its root".to_owned());
    }
    let issuer = exact("issuer", issuer)?;
    let root = read_root(wire.root.take(), load)?;
    let Some(identity) = wire.identity.take() else {
        return Ok(TrustedSigner::Workflow { root, workflow: Box::new(read_workflow(issuer, wire)?) });
    };
    if wire.is_structured() {
        return Err("identity: it is exact, and cannot stand beside repository, workflow and the like".to_owned());
    }
    let identity = text("identity", identity)?;
    if identity.contains('*') {
        return Err("identity: it is compared exactly; for patterns write repository, workflow and ref".to_owned());
    }
    Ok(TrustedSigner::Exact { root, issuer, identity })
}

fn read_key(name: String, wire: Wire, load: Load<'_>) -> Result<TrustedSigner, String> {
    if wire.is_structured() || wire.issuer.is_some() || wire.identity.is_some() {
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
    Ok(TrustedSigner::Key { key, name, log })
}

fn read_workflow(issuer: String, wire: Wire) -> Result<Workflow, String> {
    let git_ref = read_git_ref(&wire)?;
    let (source, Some(workflow)) = (read_source(wire.repository, wire.owner)?, wire.workflow) else {
        return Err("it names nobody: beside `issuer` write `identity`, or `repository` and `workflow`".to_owned());
    };
    let workflow = text("workflow", workflow)?;
    if !workflow.starts_with(".github/workflows/") || workflow.contains('*') {
        return Err(format!("workflow: {workflow:?} is not a path such as .github/workflows/release.yml"));
    }
    let number = |name: &str, value: Option<String>| match value {
        Some(value) if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("{name}: {value:?} is not a number"))
        }
        value => Ok(value),
    };
    let is_hex = |commit: &str| {
        matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    Ok(Workflow {
        issuer,
        source,
        workflow,
        signer_workflow: wire.signer_workflow.map(read_signer_workflow).transpose()?,
        git_ref,
        commit: match wire.commit {
            Some(commit) if !is_hex(&commit) => {
                return Err(format!("commit: {commit:?} is not a whole commit id in lower-case hex"));
            }
            commit => commit,
        },
        repository_id: number("repository-id", wire.repository_id)?,
        owner_id: number("owner-id", wire.owner_id)?,
        runner: match wire.runner.as_deref() {
            None | Some("github-hosted") => Some("github-hosted".to_owned()),
            Some("self-hosted") => Some("self-hosted".to_owned()),
            Some("any") => None,
            Some(other) => return Err(unknown("runner", other, "github-hosted, self-hosted, any")),
        },
        triggers: match wire.triggers {
            Some(list) => texts("triggers", list)?,
            None => DEFAULT_TRIGGERS.map(str::to_owned).to_vec(),
        },
        visibility: match wire.visibility {
            Some(other) if !["public", "private", "internal"].contains(&other.as_str()) => {
                return Err(unknown("visibility", &other, "public, private, internal"));
            }
            visibility => visibility,
        },
        environment: wire.environment.map(|name| exact("environment", name)).transpose()?,
        token_subject: wire.token_subject.map(|subject| exact("token-subject", subject)).transpose()?,
    })
}

fn read_source(repository: Option<String>, owner: Option<String>) -> Result<Source, String> {
    match (repository, owner) {
        (Some(_), Some(_)) => Err("owner: the repository names its owner already; write one of them".to_owned()),
        (Some(repository), None) => {
            let repository = text("repository", repository)?;
            if repository.split('/').filter(|part| !part.is_empty()).count() != 2
                || repository.contains(['*', '@', ':'])
            {
                return Err(format!("repository: {repository:?} is not owner/name"));
            }
            Ok(Source::Repository(repository))
        }
        (None, Some(owner)) => {
            let owner = text("owner", owner)?;
            if owner.contains(['/', '*', '@', ':']) {
                return Err(format!("owner: {owner:?} is not the name of an owner"));
            }
            Ok(Source::Owner(owner))
        }
        (None, None) => {
            Err("it names nobody: beside `issuer` write `identity`, or `repository` and `workflow`".to_owned())
        }
    }
}

/// One way of saying which refs; two of them contradict each other, or one says nothing.
fn read_git_ref(wire: &Wire) -> Result<GitRef, String> {
    let written = [("ref", &wire.r#ref), ("branch", &wire.branch), ("tag", &wire.tag), ("version", &wire.version)];
    let mut written = written.into_iter().filter_map(|(field, value)| value.as_deref().map(|value| (field, value)));
    let Some((field, value)) = written.next() else { return Ok(GitRef::BranchOrTag) };
    if let Some((other, _)) = written.next() {
        return Err(format!("{field} and {other} both say which refs may be built; write one of them"));
    }
    if field == "version" {
        let range = VersionReq::parse(value);
        let range = range.map_err(|error| format!("version: {value:?} is not a range such as >=1.4, <2: {error}"))?;
        return Ok(GitRef::Version(range));
    }
    let pattern = one_pattern(field, value)?;
    match field {
        "ref" if value.starts_with("refs/") => Ok(GitRef::Whole(pattern)),
        "ref" => Err("ref: write it whole, such as refs/tags/v* or refs/heads/main".to_owned()),
        // No branch is called so by accident, and a policy that means the ref would never match.
        _ if value.starts_with("refs/") => Err(format!("{field}: write the name alone, or `ref` for the whole of it")),
        "branch" => Ok(GitRef::Branch(pattern)),
        _ => Ok(GitRef::Tag(pattern)),
    }
}

fn read_signer_workflow(written: String) -> Result<(String, Option<Pattern>), String> {
    let written = text("signer-workflow", written)?;
    let folder = written.find("/.github/workflows/");
    let Some(folder) = folder.filter(|at| written[..*at].split('/').count() == 2) else {
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
