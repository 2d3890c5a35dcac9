//! `verify`, `audit`, `policy`: what judges and starts nothing.

use std::path::Path;

use bulla::adapters::state;
use bulla::content::limits;
use bulla::policy::Policy;
use bulla::policy::verdict::Verdict;
use bulla::verify;
use serde_json::{Value, json as object};

use super::{World, chosen_policy, open, parse_image, print, read_policy, shout};
use crate::cli::{AuditArgs, PolicyArgs, SourceArgs, VerifyArgs};
use crate::report::{Exit, Failure, Question, exit_of, failure_json, json, shown, verdict_json, verdict_text};

/// Judges one image under a policy that was read.
pub(crate) fn judge(
    image: &str,
    source: &SourceArgs,
    policy: &Policy,
    supplied: &[Vec<u8>],
    world: &World,
    question: &mut Question,
) -> Result<Verdict, Failure> {
    let opened = open(&parse_image(image)?, source, world, question)?;
    let verdict = verify::verify(opened.target(), source.platform.as_ref(), policy, supplied, world.now)?;
    question.notes.extend(policy.root_warnings(verdict.rule(), world.now));
    Ok(verdict)
}

pub(crate) fn verify(args: &VerifyArgs, world: &World) -> Result<Exit, Failure> {
    let mut question = Question { image: args.image.clone(), ..Question::default() };
    let policy = chosen_policy(&args.policy, world);
    let outcome = match &policy {
        Ok(policy) => read_bundles(args)
            .and_then(|bundles| judge(&args.image, &args.source, policy, &bundles, world, &mut question)),
        Err(failure) => Err(failure.clone()),
    };
    let policy = policy.ok();
    shout(&question.unsafe_options);
    if args.json {
        print(&json(&verdict_json(&question, policy.as_ref(), outcome.as_ref(), world.now)))?;
    }
    let verdict = outcome?;
    if let Some(policy) = policy.filter(|_| !args.json) {
        print(&verdict_text(&question, &policy, &verdict))?;
    }
    Ok(exit_of(&verdict))
}

fn read_bundles(args: &VerifyArgs) -> Result<Vec<Vec<u8>>, Failure> {
    let read = |file: &std::path::PathBuf| {
        state::read_file(file, limits::BUNDLE).map_err(|error| Failure::usage(error.to_string()))
    };
    args.bundle.iter().map(read).collect()
}

/// A verdict for each image. The exit code is the worst: undecided, then wrong, then denied, then admitted.
pub(crate) fn audit(args: &AuditArgs, world: &World) -> Result<Exit, Failure> {
    let audited = audit_each(args, world);
    if let (Err(failure), true) = (&audited, args.json) {
        let exit = Exit::from(failure.class) as u8;
        let error = failure_json(failure);
        print(&json(&object!({"schema": AUDIT_SCHEMA, "exit": exit, "verdicts": [], "error": error})))?;
    }
    let (worst, verdicts, table) = audited?;
    if args.json {
        print(&json(&object!({"schema": AUDIT_SCHEMA, "exit": worst as u8, "verdicts": verdicts})))?;
    } else {
        print(&table)?;
    }
    Ok(worst)
}

const AUDIT_SCHEMA: &str = "bulla.audit/v1";

/// The worst exit code, every verdict, and a table of them.
fn audit_each(args: &AuditArgs, world: &World) -> Result<(Exit, Vec<Value>, String), Failure> {
    let policy = chosen_policy(&args.policy, world)?;
    let mut images = args.images.clone();
    if let Some(file) = &args.file {
        images.extend(read_list(file)?);
    }
    if images.is_empty() {
        return Err(Failure::usage("there is nothing to audit: name images, or give --file"));
    }
    let mut worst = Exit::Done;
    let mut verdicts = Vec::new();
    let mut table = String::new();
    let mut unsafe_options = Vec::new();
    for image in images {
        let mut question = Question { image: image.clone(), ..Question::default() };
        let outcome = judge(&image, &args.source, &policy, &[], world, &mut question);
        let (word, why, exit) = match &outcome {
            Ok(verdict) if verdict.is_admitted() => ("admitted", verdict.subject().digest.to_string(), Exit::Done),
            Ok(verdict) => {
                let failed = verdict.checks().iter().filter(|check| check.class.is_some());
                let codes: Vec<String> = failed.map(|check| format!("{} {}", check.requirement, check.code)).collect();
                ("DENIED", codes.join(", "), exit_of(verdict))
            }
            Err(failure) if Exit::from(failure.class) == Exit::Denied => {
                ("DENIED", failure.message.clone(), Exit::Denied)
            }
            Err(failure) => ("undecided", failure.message.clone(), Exit::from(failure.class)),
        };
        worst = if exit as u8 > worst as u8 { exit } else { worst };
        table.push_str(&format!("{word:<10} {}  {}\n", shown(&image), shown(&why)));
        verdicts.push(verdict_json(&question, Some(&policy), outcome.as_ref(), world.now));
        unsafe_options.append(&mut question.unsafe_options);
    }
    shout(&unsafe_options);
    Ok((worst, verdicts, table))
}

/// A reference on each line; empty lines and lines that start with # are passed over.
fn read_list(file: &Path) -> Result<Vec<String>, Failure> {
    let bytes = if file == Path::new("-") {
        bulla::content::read_bounded(std::io::stdin().lock(), limits::OWN_FILE, "standard input")
            .map_err(|error| Failure::usage(error.to_string()))?
    } else {
        state::read_file(file, limits::OWN_FILE).map_err(|error| Failure::usage(error.to_string()))?
    };
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", file.display())))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

pub(crate) fn check_policy(file: Option<&Path>, world: &World) -> Result<Exit, Failure> {
    let policy = match file {
        Some(file) => read_policy(file)?,
        None => chosen_policy(&PolicyArgs::default(), world)?,
    };
    print(&format!("{} can be used: {} rules, {}\n", shown(policy.origin()), policy.rules().len(), policy.sha256()))?;
    Ok(Exit::Done)
}

pub(crate) fn explain_policy(image: &str, file: Option<&Path>, world: &World) -> Result<Exit, Failure> {
    let args = PolicyArgs { policy: file.map(Path::to_owned), ..PolicyArgs::default() };
    let policy = chosen_policy(&args, world)?;
    let name = match parse_image(image)? {
        bulla::reference::ImageName::Registry(reference) => reference.repository.to_string(),
        bulla::reference::ImageName::Template(template) => bulla::home::template_image(&template),
        bulla::reference::ImageName::Layout { .. } => {
            return Err(Failure::usage("a layout has no name of its own; write oci/NAME, or the name given to --as"));
        }
    };
    let Some((index, rule)) = policy.rule_for(&name)? else {
        print(&format!("no rule of {} names {name}: it is denied\n", shown(policy.origin())))?;
        return Ok(Exit::Denied);
    };
    let mut text = format!("{name}: rule {index} of {}\n", shown(policy.origin()));
    for requirement in &rule.require {
        text.push_str(&format!("  requires {}\n", shown(requirement.as_str())));
    }
    for signer in &rule.signers {
        text.push_str(&format!("  signed by {}\n", shown(&signer.to_string())));
    }
    print(&text)?;
    Ok(Exit::Done)
}
