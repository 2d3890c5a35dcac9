//! `verify` and `audit`: what judges and starts nothing.

use std::path::{Path, PathBuf};

use bulla::adapters::state;
use bulla::attestation::Statement;
use bulla::attestation::predicate_types;
use bulla::audit::{self, AuditReport, Line, Standing};
use bulla::content::limits;
use bulla::policy::Policy;
use bulla::policy::verdict::Verdict;
use bulla::verify::{self, Supplied};
use serde_json::{Map, Value, json as object};

use super::make::private_key;
use super::{World, chosen_policy, open, parse_image, print, shout, tell, typed_file};
use crate::cli::{AuditArgs, SourceArgs, VerifyArgs};
use crate::report::{Exit, Failure, Question, exit_of, failure_json, github, json, shown, verdict_json, verdict_text};

/// Judges one image under a policy that was read.
pub(crate) fn judge(
    image: &str,
    source: &SourceArgs,
    policy: &Policy,
    supplied: Vec<Supplied>,
    world: &World,
    question: &mut Question,
) -> Result<Verdict, Failure> {
    let opened = open(&parse_image(image)?, source, world, question)?;
    let verdict = verify::verify(opened.target(), source.platform.as_ref(), policy, supplied, world.now)?;
    question.notes.extend(policy.root_warnings(&verdict, world.now));
    Ok(verdict)
}

pub(crate) fn verify(args: &VerifyArgs, world: &World) -> Result<Exit, Failure> {
    let mut question = Question { image: args.image.clone(), ..Question::default() };
    let policy = chosen_policy(&args.policy, world);
    let judged = match &policy {
        Ok(policy) => read_bundles(args)
            .and_then(|bundles| judge(&args.image, &args.source, policy, bundles, world, &mut question)),
        Err(failure) => Err(failure.clone()),
    };
    let policy = policy.ok();
    let outcome = write_summary(args, policy.as_ref(), judged, world);
    shout(&question.unsafe_options);
    tell_github(args, &question, policy.as_ref(), outcome.as_ref(), world);
    if args.json {
        print(&json(&verdict_json(&question, policy.as_ref(), outcome.as_ref(), world.now)))?;
    }
    let verdict = outcome?;
    if let Some(policy) = policy.filter(|_| !args.json) {
        print(&verdict_text(&question, &policy, &verdict))?;
    }
    Ok(exit_of(&verdict))
}

/// Reads one after another, and no more together than would be read of what is attached.
fn read_bundles(args: &VerifyArgs) -> Result<Vec<Supplied>, Failure> {
    let mut room = limits::EVIDENCE;
    let read = |file: &PathBuf| {
        let bytes = state::read_file(file, limits::BUNDLE.min(room))
            .map_err(|error| Failure::usage(format!("{error} (together at most {})", limits::EVIDENCE)))?;
        room -= bytes.len() as u64;
        let bundles = one_or_lines(&bytes);
        if bundles.len() > limits::REFERRERS {
            let (file, most) = (file.display(), limits::REFERRERS);
            return Err(Failure::usage(format!("{file} has more than {most} bundles; name one with fewer")));
        }
        Ok(bundles.into_iter().map(Supplied::read).collect::<Vec<_>>())
    };
    let read: Result<Vec<Vec<Supplied>>, Failure> = args.bundle.iter().map(read).collect();
    Ok(read?.into_iter().flatten().collect())
}

/// The bundle that a file is, or those that it has one a line (JSON Lines): one more than are judged, at most.
fn one_or_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).take(limits::REFERRERS + 1).collect();
    let whole = |line: &&[u8]| line.starts_with(b"{") && line.ends_with(b"}");
    if lines.len() > 1 && lines.iter().all(whole) { lines } else { vec![bytes] }
}

/// Writes the verdict as a verification summary where that was asked for. Without a verdict, or if it cannot be
/// written, no summary of an earlier one stays behind: it would be taken for this one's.
fn write_summary(
    args: &VerifyArgs,
    policy: Option<&Policy>,
    judged: Result<Verdict, Failure>,
    world: &World,
) -> Result<Verdict, Failure> {
    let Some(file) = &args.vsa else { return judged };
    let written = judged.and_then(|verdict| match policy {
        Some(policy) => {
            state::write_file(file, &summary(args, policy, &verdict, world)?)?;
            Ok(verdict)
        }
        None => Ok(verdict),
    });
    if written.is_err() {
        state::remove_file(file)?;
    }
    written
}

/// The statement, or the bundle around it.
fn summary(args: &VerifyArgs, policy: &Policy, verdict: &Verdict, world: &World) -> Result<Vec<u8>, Failure> {
    let subject = verdict.subject();
    let summary = verdict.summary(policy, env!("CARGO_PKG_VERSION"), world.now);
    let statement = Statement::write(&subject.name, &subject.digest, predicate_types::VSA, &summary.write())?;
    match &args.vsa_key {
        Some(key) => Ok(private_key(key, world)?.sign_statement(&statement)?),
        None => Ok(statement),
    }
}

/// Tells GitHub Actions, where this runs there or was asked to: on standard error, so that standard output stays one
/// document. That the summary cannot be written changes nothing about the verdict.
fn tell_github(
    args: &VerifyArgs,
    question: &Question,
    policy: Option<&Policy>,
    outcome: Result<&Verdict, &Failure>,
    world: &World,
) {
    if !args.github && world.var("GITHUB_ACTIONS").is_none_or(|value| value != "true") {
        return;
    }
    let annotations = github::annotations(question, outcome);
    let _ = std::io::Write::write_all(&mut std::io::stderr(), annotations.as_bytes());
    let Some(file) = world.var("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty()) else { return };
    let summary = github::summary(question, policy, outcome);
    if let Err(error) = state::append_file(Path::new(&file), summary.as_bytes()) {
        tell(&format!("the summary of the step was not written: {error}"));
    }
}

/// A verdict for each image. The exit code is the worst: undecided, then wrong, then denied, then admitted.
pub(crate) fn audit(args: &AuditArgs, world: &World) -> Result<Exit, Failure> {
    let audited = audit_each(args, world);
    if let (Err(failure), true) = (&audited, args.json) {
        let exit = Exit::from(failure.class) as u8;
        let error = failure_json(failure);
        print(&json(&object!({"schema": AUDIT_SCHEMA, "exit": exit, "verdicts": [], "error": error})))?;
    }
    let (report, verdicts) = audited?;
    let worst = Exit::from(report.worst());
    if args.json {
        let count = |standing: Standing| (standing.as_str().to_owned(), object!(report.count(standing)));
        let summary: Map<String, Value> = Standing::ALL.into_iter().map(count).collect();
        print(&json(&object!({
            "schema": AUDIT_SCHEMA, "exit": worst as u8, "summary": summary, "verdicts": verdicts,
        })))?;
    } else {
        let table = report.lines.iter().map(|line| {
            let safe = Line { image: shown(&line.image), why: shown(&line.why), ..line.clone() };
            format!("{safe}\n")
        });
        print(&table.collect::<String>())?;
    }
    Ok(worst)
}

const AUDIT_SCHEMA: &str = "bulla.audit/v1";

/// How it stands with each, and every verdict.
fn audit_each(args: &AuditArgs, world: &World) -> Result<(AuditReport, Vec<Value>), Failure> {
    let policy = chosen_policy(&args.policy, world)?;
    let mut images = args.images.clone();
    if let Some(file) = &args.file {
        images.extend(audit::list(&read_list(file)?));
    }
    if images.is_empty() {
        return Err(Failure::usage("there is nothing to audit: name images, or give --file"));
    }
    let mut report = AuditReport::default();
    let mut verdicts = Vec::new();
    let mut unsafe_options = Vec::new();
    for image in images {
        let mut question = Question { image: image.clone(), ..Question::default() };
        let outcome = judge(&image, &args.source, &policy, Vec::new(), world, &mut question);
        report.lines.push(match &outcome {
            Ok(verdict) => Line::judged(&image, verdict),
            Err(failure) => Line::failed(&image, failure.class, &failure.message),
        });
        verdicts.push(verdict_json(&question, Some(&policy), outcome.as_ref(), world.now));
        unsafe_options.append(&mut question.unsafe_options);
    }
    shout(&unsafe_options);
    Ok((report, verdicts))
}

/// The text of a list of images.
fn read_list(file: &Path) -> Result<String, Failure> {
    let bytes = if file == Path::new("-") {
        bulla::content::read_bounded(std::io::stdin().lock(), limits::OWN_FILE, "standard input")
            .map_err(|error| Failure::usage(error.to_string()))?
    } else {
        typed_file(file, limits::OWN_FILE)?
    };
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", file.display())))
}
