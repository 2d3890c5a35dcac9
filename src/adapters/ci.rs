//! What a CI system says about the job around this process: which commit it works on, and which workflow is
//! accountable for what it makes.
//!
//! It is a claim, as everything in provenance is; any program in the job could have set it. What makes it worth
//! something is the certificate of a keyless signature, in which the authority says the same: the judge refuses
//! provenance that disagrees with it.

use std::ffi::OsString;

use crate::class::{Class, Classified};

/// A job on GitHub Actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// `git+https://…@ref` of the repository.
    pub source: String,
    /// The commit, in hex.
    pub commit: String,
    /// Address of the workflow that builds, with its ref: the reusable one, where one was called.
    pub workflow: String,
    /// Address of this attempt of this run.
    pub run: String,
}

/// The variables of a CI system are not what it documents, so that nothing can be said from them.
#[derive(Debug, thiserror::Error)]
#[error("this says that it is a job on GitHub Actions, but {0} is {1:?}: unset GITHUB_ACTIONS to build without it")]
pub struct CiError(&'static str, String);

impl Classified for CiError {
    fn class(&self) -> Class {
        Class::Usage
    }
    fn code(&self) -> &'static str {
        "malformed-ci"
    }
}

/// The variable by which a job knows that it may ask for an identity token.
const MAY_ASK: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";

/// The job around this process, where there is one. `signing_workflow` asks for the `job_workflow_ref` of an identity
/// token; it is called only in jobs that may have one. Others cannot sign as a workflow, and are known by the workflow
/// that was started: for a called one, its caller.
pub fn github(
    var: impl Fn(&str) -> Option<OsString>,
    signing_workflow: impl FnOnce() -> Option<String>,
) -> Result<Option<Job>, CiError> {
    let text = |name: &str| var(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
    if text("GITHUB_ACTIONS") != "true" {
        return Ok(None);
    }
    let checked = |name: &'static str, good: fn(&str) -> bool| {
        let value = text(name);
        if good(&value) { Ok(value) } else { Err(CiError(name, value)) }
    };
    let server =
        checked("GITHUB_SERVER_URL", |url| url.starts_with("https://") && is_plain(url) && !url.ends_with('/'))?;
    let repository = checked("GITHUB_REPOSITORY", |name| is_plain(name) && name.split('/').count() == 2)?;
    let git_ref = checked("GITHUB_REF", |name| name.starts_with("refs/") && is_plain(name))?;
    let commit = checked("GITHUB_SHA", |sha| matches!(sha.len(), 40 | 64) && sha.bytes().all(is_hex))?;
    let run = checked("GITHUB_RUN_ID", is_number)?;
    let attempt = checked("GITHUB_RUN_ATTEMPT", is_number)?;
    let started = checked("GITHUB_WORKFLOW_REF", is_workflow)?;
    let signing = var(MAY_ASK).and_then(|_| signing_workflow()).filter(|name| is_workflow(name));
    Ok(Some(Job {
        source: format!("git+{server}/{repository}@{git_ref}"),
        commit,
        workflow: format!("{server}/{}", signing.unwrap_or(started)),
        run: format!("{server}/{repository}/actions/runs/{run}/attempts/{attempt}"),
    }))
}

/// `owner/name/.github/workflows/file.yml@ref`
fn is_workflow(text: &str) -> bool {
    let parts =
        text.split_once("/.github/workflows/").and_then(|(repository, rest)| Some((repository, rest.split_once('@')?)));
    is_plain(text)
        && parts.is_some_and(|(repository, (file, git_ref))| {
            repository.split('/').count() == 2 && !file.is_empty() && git_ref.starts_with("refs/")
        })
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|one| one.is_ascii_graphic() && !"\"'\\<>?#".contains(one))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

const fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const STARTED: &str = "acme/templates/.github/workflows/release.yml@refs/tags/v1.0.0";

    fn job(change: (&str, &str), signing: Option<&str>) -> Result<Option<Job>, CiError> {
        let variables = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "acme/templates"),
            ("GITHUB_REF", "refs/tags/v1.0.0"),
            ("GITHUB_SHA", COMMIT),
            ("GITHUB_RUN_ID", "77"),
            ("GITHUB_RUN_ATTEMPT", "2"),
            ("GITHUB_WORKFLOW_REF", STARTED),
        ];
        let var = |name: &str| {
            let value = if name == change.0 { Some(change.1) } else { None };
            value.or_else(|| Some(variables.iter().find(|(key, _)| *key == name)?.1)).map(OsString::from)
        };
        github(var, || signing.map(str::to_owned))
    }

    #[test]
    fn nothing_is_said_outside_a_ci_system() {
        assert_eq!(github(|_| None, || panic!("no token is asked for")).unwrap(), None);
        assert_eq!(job(("GITHUB_ACTIONS", "false"), None).unwrap(), None);
    }

    #[test]
    fn a_job_is_known_by_its_workflow_and_commit() {
        let found = job(("", ""), Some("evil/x/.github/workflows/x.yml@refs/heads/y")).unwrap().unwrap();
        assert_eq!(
            found,
            Job {
                source: "git+https://github.com/acme/templates@refs/tags/v1.0.0".into(),
                commit: COMMIT.into(),
                workflow: format!("https://github.com/{STARTED}"),
                run: "https://github.com/acme/templates/actions/runs/77/attempts/2".into(),
            },
            "without the right to a token, none is asked for"
        );
    }

    #[test]
    fn a_called_workflow_is_the_one_that_its_token_names() {
        let called = "acme/shared/.github/workflows/images.yml@refs/tags/v3";
        let may_ask = (MAY_ASK, "https://token.invalid");
        assert_eq!(job(may_ask, Some(called)).unwrap().unwrap().workflow, format!("https://github.com/{called}"));
        for none in [None, Some(""), Some("no workflow")] {
            assert_eq!(job(may_ask, none).unwrap().unwrap().workflow, format!("https://github.com/{STARTED}"));
        }
    }

    #[test]
    fn variables_that_are_not_what_they_should_be_are_refused() {
        for (name, value) in [
            ("GITHUB_SERVER_URL", "http://github.com"),
            ("GITHUB_SERVER_URL", "https://github.com/"),
            ("GITHUB_REPOSITORY", "acme"),
            ("GITHUB_REPOSITORY", "acme/x y"),
            ("GITHUB_REPOSITORY", "acme/x/y"),
            ("GITHUB_REF", ""),
            ("GITHUB_REF", "main"),
            ("GITHUB_SHA", "main"),
            ("GITHUB_SHA", "0123456789ABCDEF0123456789abcdef01234567"),
            ("GITHUB_RUN_ID", "7/../8"),
            ("GITHUB_RUN_ATTEMPT", ""),
            ("GITHUB_WORKFLOW_REF", "acme/templates/.github/workflows/release.yml"),
            ("GITHUB_WORKFLOW_REF", "acme/templates/release.yml@refs/heads/main"),
        ] {
            let error = job((name, value), None).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_local_rebuild_is_no_workflow() {
        let local = crate::home::local_builder();
        assert!(!is_workflow(&local) && !local.contains("/.github/workflows/"));
    }
}
