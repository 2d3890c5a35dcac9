//! `inspect`: what is attached to an image, shown and not judged.

use bulla::inspect::{Believed, Node, inspect as look};
use bulla::policy::{Policy, Rule};
use bulla::sigstore::Instance;
use serde_json::json as object;

use super::policies::read_policy;
use super::{World, open, parse_image, print, shout};
use crate::cli::{InspectArgs, SourceArgs};
use crate::report::{Exit, Failure, Question, cut, failure_json, json, tree};

/// What was seen, and under which rule's eyes.
struct Seen {
    node: Node,
    rule: Option<usize>,
}

pub(crate) fn inspect(args: &InspectArgs, world: &World) -> Result<Exit, Failure> {
    let mut question = Question { image: args.image.clone(), ..Question::default() };
    let newest = |policy: Policy| policy.with_roots(|instance| world.root_of(instance));
    let policy = args.policy.as_deref().map(|file| read_policy(file).and_then(newest)).transpose();
    let seen = match &policy {
        Ok(policy) => see(args, policy.as_ref(), world, &mut question),
        Err(failure) => Err(failure.clone()),
    };
    shout(&question.unsafe_options);
    if args.json {
        let policy = policy.as_ref().ok().and_then(Option::as_ref);
        print(&json(&document(&question, policy, seen.as_ref(), world)))?;
    }
    let seen = seen?;
    if !args.json {
        print(&tree::inspection(&question, &seen.node))?;
    }
    Ok(Exit::Done)
}

fn see(args: &InspectArgs, policy: Option<&Policy>, world: &World, question: &mut Question) -> Result<Seen, Failure> {
    let (as_name, registry) = (args.as_name.clone(), args.registry.clone());
    let source = SourceArgs { as_name, registry, offline: args.offline, ..SourceArgs::default() };
    let opened = open(&parse_image(&args.image)?, &source, world, question)?;
    let found: Option<(usize, &Rule)> = match policy {
        Some(policy) => policy.rule_for(&opened.name)?,
        None => None,
    };
    let roots = [world.root_of(Instance::PublicGood)?, world.root_of(Instance::GitHub)?];
    let signers = policy.map(|_| found.map_or(&[][..], |(_, rule)| &rule.signers));
    // Where the rule says that attestations are kept elsewhere, that is where they are.
    let named = found.and_then(|(_, rule)| rule.attestations.as_ref());
    let elsewhere = named.and_then(|repository| opened.store.elsewhere(repository));
    if let (Some(_), Some(repository)) = (&elsewhere, named) {
        question.notes.push(format!("attestations are looked for in {repository}, as the rule says"));
    }
    let believed = Believed { signers, roots: &roots, elsewhere: elsewhere.as_deref(), now: world.now };
    let node = look(&*opened.store, opened.root, &believed)?;
    Ok(Seen { node, rule: found.map(|(index, _)| index) })
}

/// `bulla.inspect/v1` (docs/inspect.md).
fn document(
    question: &Question,
    policy: Option<&Policy>,
    seen: Result<&Seen, &Failure>,
    world: &World,
) -> serde_json::Value {
    let mut document = object!({
        "schema": "bulla.inspect/v1",
        "tool": {"name": "bulla", "version": env!("CARGO_PKG_VERSION")},
        "image": question.image,
        "digest": question.digest,
        "reference": question.reference.as_ref().map(ToString::to_string),
        "time": world.now.to_string(),
        "unsafe": question.unsafe_options,
        "notes": question.notes,
    });
    if let Some(policy) = policy {
        let rule = seen.ok().and_then(|seen| seen.rule);
        document["policy"] = object!({"source": policy.origin(), "sha256": policy.sha256(), "rule": rule});
    }
    match seen {
        Ok(seen) => document["found"] = object!(seen.node),
        Err(failure) => document["error"] = failure_json(failure),
    }
    cut(&mut document);
    document
}
