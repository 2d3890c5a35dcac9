//! Who may have signed: a key, an exact identity, or a GitHub Actions workflow given field by field.

use std::sync::Arc;

use semver::{Version, VersionReq};

use crate::class::Class;
use crate::policy::Requirement;
use crate::policy::pattern::Pattern;
use crate::policy::verdict::Reason;
use crate::sigstore::{Identity, KeyLog, PublicKey, San, Signer, Trust, TrustRoot};

/// One `[[rule.signer]]`: somebody who is trusted, and with what.
#[derive(Debug)]
pub struct RuleSigner {
    /// Who.
    pub who: TrustedSigner,
    /// The requirements that they may satisfy; absent: every one.
    pub only_for: Option<Vec<Requirement>>,
}

impl RuleSigner {
    /// Whether what they sign may satisfy this requirement.
    pub fn may_satisfy(&self, requirement: &Requirement) -> bool {
        self.only_for.as_ref().is_none_or(|named| named.contains(requirement))
    }

    /// The trust root that they are judged under, if any.
    pub fn root(&self) -> Option<&TrustRoot> {
        self.who.root()
    }
}

impl std::fmt::Display for RuleSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.who.fmt(f)?;
        match &self.only_for {
            Some(named) => {
                let names: Vec<&str> = named.iter().map(Requirement::as_str).collect();
                write!(f, ", for {} alone", names.join(", "))
            }
            None => Ok(()),
        }
    }
}

/// Whom a signature must come from, and what vouches for that.
#[derive(Debug)]
pub enum TrustedSigner {
    /// The holder of this key.
    Key {
        /// The public key.
        key: PublicKey,
        /// As the policy names it, for messages.
        name: String,
        /// The root whose transparency log must hold the signature; absent: no log is asked for.
        log: Option<Arc<TrustRoot>>,
    },
    /// Whoever the certificate authority gave exactly this identity, on the word of exactly this issuer.
    Exact {
        /// The root that the certificate must lead to.
        root: Arc<TrustRoot>,
        /// The OIDC issuer.
        issuer: String,
        /// The subject alternative name, whatever its type.
        identity: String,
    },
    /// A GitHub Actions workflow.
    Workflow {
        /// The root that the certificate must lead to.
        root: Arc<TrustRoot>,
        /// Which workflow.
        workflow: Box<Workflow>,
    },
}

/// A GitHub Actions workflow, compared field by field with the extensions of the certificate.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// The OIDC issuer, exact.
    pub issuer: String,
    /// The repository that was built.
    pub source: Source,
    /// Path of the workflow that was started, such as `.github/workflows/release.yml`.
    pub workflow: String,
    /// `owner/name/path` of the reusable workflow that signed, with an optional `@ref` pattern; absent: the workflow
    /// that was started.
    pub signer_workflow: Option<(String, Option<Pattern>)>,
    /// The ref that was built.
    pub git_ref: GitRef,
    /// The commit that was built, in hex.
    pub commit: Option<String>,
    /// GitHub's number of the repository, which a re-registered name does not get again.
    pub repository_id: Option<String>,
    /// GitHub's number of the owner.
    pub owner_id: Option<String>,
    /// `github-hosted`, `self-hosted`; absent: any.
    pub runner: Option<String>,
    /// The events that may have started it.
    pub triggers: Vec<String>,
    /// `public`, `private` or `internal`: who could see the repository when it was built.
    pub visibility: Option<String>,
    /// The deployment environment that the job ran in.
    pub environment: Option<String>,
    /// The `sub` claim of the token, exact.
    pub token_subject: Option<String>,
}

/// Which repositories may be built; names are compared without regard to ASCII case, as GitHub does.
#[derive(Debug, Clone)]
pub enum Source {
    /// This one, `owner/name`.
    Repository(String),
    /// Any one of this owner.
    Owner(String),
}

/// Which refs may be built.
#[derive(Debug, Clone)]
pub enum GitRef {
    /// Any branch or tag.
    BranchOrTag,
    /// One that matches as a whole: `refs/tags/v*`.
    Whole(Pattern),
    /// A branch whose name matches.
    Branch(Pattern),
    /// A tag whose name matches.
    Tag(Pattern),
    /// A tag that is a semantic version of this range, with or without a `v` before it.
    Version(VersionReq),
}

impl GitRef {
    fn check(&self, git_ref: &str) -> Result<(), Reason> {
        let (branch, tag) = (git_ref.strip_prefix("refs/heads/"), git_ref.strip_prefix("refs/tags/"));
        match self {
            Self::BranchOrTag if branch.is_some() || tag.is_some() => Ok(()),
            Self::BranchOrTag => {
                Err(identity("ref", format!("it was built from {git_ref}, which is no branch or tag")))
            }
            Self::Whole(pattern) => matching("ref", git_ref, pattern),
            Self::Branch(pattern) => match branch {
                Some(branch) => matching("branch", branch, pattern),
                None => Err(differs("branch", git_ref, pattern.as_str())),
            },
            Self::Tag(pattern) => match tag {
                Some(tag) => matching("tag", tag, pattern),
                None => Err(differs("tag", git_ref, pattern.as_str())),
            },
            Self::Version(range) => {
                let version = tag.map(|tag| tag.strip_prefix('v').unwrap_or(tag));
                match version.and_then(|version| Version::parse(version).ok()) {
                    Some(version) if range.matches(&version) => Ok(()),
                    _ => Err(differs("version", git_ref, &range.to_string())),
                }
            }
        }
    }
}

impl TrustedSigner {
    /// What a bundle is verified under when this signer is expected.
    pub fn trust(&self) -> Trust<'_> {
        match self {
            Self::Key { key, log: Some(root), .. } => Trust::Key { key, log: KeyLog::Required(root) },
            Self::Key { key, log: None, .. } => Trust::Key { key, log: KeyLog::None },
            Self::Exact { root, .. } | Self::Workflow { root, .. } => Trust::Keyless { root },
        }
    }

    /// The trust root that this signer is judged under, if any.
    pub fn root(&self) -> Option<&TrustRoot> {
        self.shared_root().map(|root| &**root)
    }

    /// The same, for those who keep it.
    pub fn shared_root(&self) -> Option<&Arc<TrustRoot>> {
        match self {
            Self::Key { log, .. } => log.as_ref(),
            Self::Exact { root, .. } | Self::Workflow { root, .. } => Some(root),
        }
    }

    /// The same, to put a newer one in its place.
    pub(super) fn root_mut(&mut self) -> Option<&mut Arc<TrustRoot>> {
        match self {
            Self::Key { log, .. } => log.as_mut(),
            Self::Exact { root, .. } | Self::Workflow { root, .. } => Some(root),
        }
    }

    /// Refuses a verified signature that is somebody else's.
    pub fn check(&self, signer: &Signer) -> Result<(), Reason> {
        match (self, signer) {
            (Self::Key { key, .. }, Signer::Key { fingerprint }) if key.fingerprint() == *fingerprint => Ok(()),
            (Self::Exact { issuer, identity, .. }, Signer::Certificate(certificate)) => {
                same("issuer", &certificate.issuer, issuer)?;
                same("identity", certificate.san.as_str(), identity)
            }
            (Self::Workflow { workflow, .. }, Signer::Certificate(certificate)) => workflow.check(certificate),
            _ => Err(identity("signer-kind", format!("it was signed by {signer}, not by {self}"))),
        }
    }
}

impl std::fmt::Display for TrustedSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key { key, name, .. } => write!(f, "the key {name} ({})", key.fingerprint()),
            Self::Exact { issuer, identity, .. } => write!(f, "{identity} (by {issuer})"),
            Self::Workflow { workflow, .. } => {
                let Workflow { workflow, source, issuer, .. } = &**workflow;
                match source {
                    Source::Repository(repository) => write!(f, "{workflow} of {repository} (by {issuer})"),
                    Source::Owner(owner) => write!(f, "{workflow} of any repository of {owner} (by {issuer})"),
                }
            }
        }
    }
}

const GITHUB: &str = "https://github.com/";

impl Workflow {
    fn check(&self, certificate: &Identity) -> Result<(), Reason> {
        same("issuer", &certificate.issuer, &self.issuer)?;
        let San::Uri(san) = &certificate.san else {
            return Err(identity(
                "identity",
                format!("the certificate names {}, which is no workflow", certificate.san.as_str()),
            ));
        };
        let claims = &certificate.claims;

        // The workflow that signed: the subject alternative name, which extension .9 repeats.
        same("signer-workflow", required("build signer URI", claims.build_signer_uri.as_deref())?, san)?;
        let (signer_path, signer_ref) = split_workflow_uri(san)?;
        let repository = required("source repository", claims.source_repository_uri.as_deref())?;
        let name = repository.strip_prefix(GITHUB).unwrap_or(repository);
        let expected = match &self.source {
            Source::Repository(repository) => repository.as_str(),
            Source::Owner(_) => name,
        };
        let started = format!("{expected}/{}", self.workflow);
        let (expected_path, expected_ref) = match &self.signer_workflow {
            Some((path, pattern)) => (path.as_str(), pattern.as_ref()),
            None => (started.as_str(), None),
        };
        same_workflow("signer-workflow", signer_path, expected_path)?;
        if let Some(pattern) = expected_ref {
            matching("signer-workflow", signer_ref, pattern)?;
        }

        // The repository that was built, and the workflow in it that was started.
        match &self.source {
            Source::Repository(expected) if !name.eq_ignore_ascii_case(expected) => {
                return Err(differs("repository", name, expected));
            }
            Source::Owner(expected) => {
                let owner = required("repository's owner", claims.source_repository_owner_uri.as_deref())?;
                let inside = repository.strip_prefix(GITHUB).and_then(|name| name.split_once('/'));
                let owners = [inside.map(|(owner, _)| owner), owner.strip_prefix(GITHUB)];
                if !owners.iter().all(|own| own.is_some_and(|own| own.eq_ignore_ascii_case(expected))) {
                    return Err(differs("owner", owner, expected));
                }
            }
            Source::Repository(_) => {}
        }
        let config = required("build config URI", claims.build_config_uri.as_deref())?;
        let (config_path, config_ref) = split_workflow_uri(config)?;
        same_workflow("workflow", config_path, &started)?;

        // The ref: of the source, and of a workflow that lives in the same place, which cannot come from elsewhere.
        let git_ref = required("source ref", claims.source_repository_ref.as_deref())?;
        self.git_ref.check(git_ref)?;
        if self.signer_workflow.is_none() {
            same("ref", signer_ref, git_ref)?;
        }
        same("ref", config_ref, git_ref)?;

        for Exact { code, name, actual, expected } in [
            Exact {
                code: "repository-id",
                name: "repository id",
                actual: &claims.source_repository_identifier,
                expected: &self.repository_id,
            },
            Exact {
                code: "owner-id",
                name: "owner id",
                actual: &claims.source_repository_owner_identifier,
                expected: &self.owner_id,
            },
            Exact {
                code: "runner",
                name: "runner environment",
                actual: &claims.runner_environment,
                expected: &self.runner,
            },
            Exact {
                code: "commit",
                name: "source commit",
                actual: &claims.source_repository_digest,
                expected: &self.commit,
            },
            Exact {
                code: "visibility",
                name: "repository's visibility",
                actual: &claims.source_repository_visibility,
                expected: &self.visibility,
            },
            Exact {
                code: "environment",
                name: "deployment environment",
                actual: &claims.deployment_environment,
                expected: &self.environment,
            },
            Exact {
                code: "token-subject",
                name: "token's subject",
                actual: &claims.token_subject,
                expected: &self.token_subject,
            },
        ] {
            if let Some(expected) = expected {
                same(code, required(name, actual.as_deref())?, expected)?;
            }
        }
        let trigger = required("build trigger", claims.build_trigger.as_deref())?;
        if !self.triggers.iter().any(|allowed| allowed == trigger) {
            return Err(differs("trigger", trigger, &self.triggers.join(" or ")));
        }
        Ok(())
    }
}

/// A claim that is compared to the letter, where the policy says anything about it.
struct Exact<'a> {
    code: &'static str,
    name: &'static str,
    actual: &'a Option<String>,
    expected: &'a Option<String>,
}

/// `https://github.com/owner/name/.github/workflows/file@ref`, split at the first `@` after the workflow's folder:
/// refs and file names may hold an `@` of their own, owners and repositories may not.
fn split_workflow_uri(uri: &str) -> Result<(&str, &str), Reason> {
    let malformed = || identity("identity", format!("{uri:?} is not the address of a GitHub Actions workflow"));
    let path = uri.strip_prefix(GITHUB).ok_or_else(malformed)?;
    let folder = path.find("/.github/workflows/").ok_or_else(malformed)?;
    if path[..folder].contains('@') {
        return Err(malformed());
    }
    path.split_once('@').ok_or_else(malformed)
}

/// Compares `owner/name/path`: owner and name without regard to ASCII case, the path exactly.
fn same_workflow(code: &'static str, actual: &str, expected: &str) -> Result<(), Reason> {
    let split = |text: &str| {
        let mut slashes = text.match_indices('/').map(|(index, _)| index);
        slashes.nth(1).map(|index| (text[..index].to_ascii_lowercase(), text[index..].to_owned()))
    };
    match (split(actual), split(expected)) {
        (Some(actual), Some(expected)) if actual == expected => Ok(()),
        _ => Err(differs(code, actual, expected)),
    }
}

fn required<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, Reason> {
    value.ok_or_else(|| identity("claim-missing", format!("the certificate does not state the {name}")))
}

fn same(code: &'static str, actual: &str, expected: &str) -> Result<(), Reason> {
    if actual == expected { Ok(()) } else { Err(differs(code, actual, expected)) }
}

fn matching(code: &'static str, actual: &str, pattern: &Pattern) -> Result<(), Reason> {
    if pattern.matches(actual) { Ok(()) } else { Err(differs(code, actual, pattern.as_str())) }
}

fn differs(code: &'static str, actual: &str, expected: &str) -> Reason {
    identity(code, format!("the signer's {code} is {actual:?}, and the policy asks for {expected:?}"))
}

fn identity(code: &'static str, message: String) -> Reason {
    Reason { class: Class::Identity, code, message }
}
