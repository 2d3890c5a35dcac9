//! Where a build says that it comes from: what was typed, else what the CI system around it says.

use std::path::PathBuf;

use bulla::adapters::ci::{self, Job};
use bulla::adapters::signer::keyless::Token;
use bulla::adapters::templates;
use bulla::build::Source;
use bulla::template::Template;

use super::World;
use crate::cli::BuildArgs;
use crate::report::Failure;

/// The job of a CI system in which this runs. Nothing is asked over the network if that is not wanted.
pub(crate) fn job(offline: bool, world: &World) -> Result<Option<Job>, Failure> {
    let signing_workflow = || if offline { None } else { Token::ambient().ok()?.claim("job_workflow_ref") };
    Ok(ci::github(|name| world.var(name), signing_workflow)?)
}

/// The commit that a template is from. A job's is taken only where its checkout holds this very template: a job may as
/// well build a template that came with bulla, in a repository that has nothing to do with it.
pub(crate) fn source(
    args: &BuildArgs,
    job: Option<&Job>,
    template: &Template,
    world: &World,
) -> Result<Option<Source>, Failure> {
    if let (Some(uri), Some(commit)) = (&args.source, &args.commit) {
        if !uri.starts_with("git+") || !uri.contains("://") {
            return Err(Failure::usage(format!("--source {uri}: write it as git+https://… or git+ssh://…")));
        }
        let hex = commit.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        if !hex || !matches!(commit.len(), 40 | 64) {
            return Err(Failure::usage(format!("--commit {commit}: write the whole name of the commit, in hex")));
        }
        return Ok(Some(Source { uri: uri.clone(), commit: commit.clone() }));
    }
    let (Some(job), Some(workspace)) = (job, world.var("GITHUB_WORKSPACE")) else { return Ok(None) };
    let folder = args.templates_dir.clone().unwrap_or_else(|| PathBuf::from("images"));
    let folder = PathBuf::from(workspace).join(folder).join(&template.name);
    let same = templates::read(&folder).is_ok_and(|checked_out| checked_out.digest() == template.digest());
    Ok(same.then(|| Source { uri: job.source.clone(), commit: job.commit.clone() }))
}
