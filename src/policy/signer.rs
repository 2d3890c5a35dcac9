//! Who may have signed: a key, an exact identity, or a GitHub Actions workflow given field by field.

use std::sync::Arc;

use crate::class::Class;
use crate::policy::pattern::Pattern;
use crate::policy::verdict::Reason;
use crate::sigstore::{Identity, KeyLog, PublicKey, San, Signer, Trust, TrustRoot};

/// One `[[rule.signer]]`: whom a signature must come from, and what vouches for that.
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
    /// `owner/name` of the repository that was built; compared without regard to ASCII case, as GitHub does.
    pub repository: String,
    /// Path of the workflow that was started, such as `.github/workflows/release.yml`.
    pub workflow: String,
    /// `owner/name/path` of the reusable workflow that signed, with an optional `@ref` pattern; absent: the workflow
    /// that was started.
    pub signer_workflow: Option<(String, Option<Pattern>)>,
    /// The ref that was built; absent: any branch or tag.
    pub git_ref: Option<Pattern>,
    /// GitHub's number of the repository, which a re-registered name does not get again.
    pub repository_id: Option<String>,
    /// GitHub's number of the owner.
    pub owner_id: Option<String>,
    /// `github-hosted`, `self-hosted`; absent: any.
    pub runner: Option<String>,
    /// The events that may have started it.
    pub triggers: Vec<String>,
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
                write!(f, "{} of {} (by {})", workflow.workflow, workflow.repository, workflow.issuer)
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
        let started = format!("{}/{}", self.repository, self.workflow);
        let (expected_path, expected_ref) = match &self.signer_workflow {
            Some((path, pattern)) => (path.as_str(), pattern.as_ref()),
            None => (started.as_str(), None),
        };
        same_workflow("signer-workflow", signer_path, expected_path)?;
        if let Some(pattern) = expected_ref {
            matching("signer-workflow", signer_ref, pattern)?;
        }

        // The repository that was built, and the workflow in it that was started.
        let repository = required("source repository", claims.source_repository_uri.as_deref())?;
        let name = repository.strip_prefix(GITHUB).unwrap_or(repository);
        if !name.eq_ignore_ascii_case(&self.repository) {
            return Err(differs("repository", name, &self.repository));
        }
        let config = required("build config URI", claims.build_config_uri.as_deref())?;
        let (config_path, config_ref) = split_workflow_uri(config)?;
        same_workflow("workflow", config_path, &started)?;

        // The ref: of the source, and of a workflow that lives in the same place, which cannot come from elsewhere.
        let git_ref = required("source ref", claims.source_repository_ref.as_deref())?;
        match &self.git_ref {
            Some(pattern) => matching("ref", git_ref, pattern)?,
            None if git_ref.starts_with("refs/heads/") || git_ref.starts_with("refs/tags/") => {}
            None => return Err(identity("ref", format!("it was built from {git_ref}, which is no branch or tag"))),
        }
        if self.signer_workflow.is_none() {
            same("ref", signer_ref, git_ref)?;
        }
        same("ref", config_ref, git_ref)?;

        for (code, name, actual, expected) in [
            ("repository-id", "repository id", &claims.source_repository_identifier, &self.repository_id),
            ("owner-id", "owner id", &claims.source_repository_owner_identifier, &self.owner_id),
            ("runner", "runner environment", &claims.runner_environment, &self.runner),
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
