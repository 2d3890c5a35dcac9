//! `launch` and `doctor`: what starts containers, and what says whether it could.

use bulla::adapters::runtime::{self, Kind, Runtime};
use bulla::adapters::{Served, Store};
use bulla::home;
use bulla::launch::{self, LaunchPlan, Profile, Ready, Request, Variables, Workspace};
use bulla::oci::Platform;
use bulla::policy::verdict::{AdmittedImage, Basis, Verdict};
use bulla::policy::{Evidence, Origin, Policy};
use bulla::reference::ImageName;
use bulla::template::{Network, Template};
use bulla::verify;
use serde_json::json as object;

use super::{Opened, World, chosen_policy, complain, open, parse_image, print, shout, tell};
use crate::cli::{LaunchArgs, NetworkName, PolicyArgs, RuntimeName};
use crate::progress::Line;
use crate::report::{Exit, Failure, Question, failure_text, json, verdict_json, verdict_text};

/// Judges, then replaces this process by the container's. Returns only when nothing was started, or for a dry run.
pub(crate) fn launch(args: &LaunchArgs, world: &World) -> u8 {
    let mut question = Question { image: args.image.clone(), ..Question::default() };
    let (policy, guard) = (args.policy.clone(), args.guard.clone());
    let policy = chosen_policy(&PolicyArgs { policy, guard, ..PolicyArgs::default() }, world);
    let decided = policy.as_ref().map_err(Clone::clone).and_then(|policy| decide(args, policy, world, &mut question));
    let policy = policy.ok();
    if !args.json {
        shout(&question.unsafe_options);
    }
    let (verdict, opened) = match decided {
        Ok(decided) => decided,
        Err(failure) => return not_started(args, &question, policy.as_ref(), Err(&failure), world),
    };
    let Some(image) = verdict.launchable() else {
        return not_started(args, &question, policy.as_ref(), Ok(&verdict), world);
    };
    if image.basis() == Basis::NotEnforced && !args.json {
        show_verdict(&question, policy.as_ref(), &verdict);
        tell("WARNING: the image was not admitted; its rule does not enforce, so it is started all the same");
    }
    let plan = match prepare(args, &image, &*opened.store, world) {
        Ok(plan) => plan,
        Err(failure) => return not_started(args, &question, policy.as_ref(), Err(&failure), world),
    };
    record(args, &question, policy.as_ref(), Ok(&verdict), Some(&plan), world);
    if args.dry_run {
        return match print(&format!("{}\n", plan.invocation().display())) {
            Ok(()) => Exit::Done as u8,
            Err(failure) => complain(&failure) as u8,
        };
    }
    complain(&Failure::from(plan.exec()));
    Exit::NotStarted as u8
}

/// Says why nothing is started: the verdict that denies it, or what went wrong. With `--json` the record says it, and
/// is all that stands on standard error.
fn not_started(
    args: &LaunchArgs,
    question: &Question,
    policy: Option<&Policy>,
    outcome: Result<&Verdict, &Failure>,
    world: &World,
) -> u8 {
    record(args, question, policy, outcome, None, world);
    if !args.json {
        match outcome {
            Ok(verdict) => show_verdict(question, policy, verdict),
            Err(failure) => show(&failure_text(failure)),
        }
        tell("nothing was started");
    }
    Exit::NotStarted as u8
}

/// The verdict for a person, on standard error.
fn show_verdict(question: &Question, policy: Option<&Policy>, verdict: &Verdict) {
    show(&policy.map(|policy| verdict_text(question, policy, verdict)).unwrap_or_default());
}

/// Text on standard error, which nothing hinges on.
fn show(text: &str) {
    let _ = std::io::Write::write_all(&mut anstream::stderr(), text.as_bytes());
}

/// The verdict as one JSON document on standard error: standard output is the container's.
fn record(
    args: &LaunchArgs,
    question: &Question,
    policy: Option<&Policy>,
    outcome: Result<&Verdict, &Failure>,
    plan: Option<&LaunchPlan>,
    world: &World,
) {
    if !args.json {
        return;
    }
    let mut document = verdict_json(question, policy, outcome, world.now);
    document["launch"] = object!(plan.map(LaunchPlan::record));
    show(&json(&document));
}

/// Finds the image and judges it, or builds it and judges that.
fn decide(
    args: &LaunchArgs,
    policy: &Policy,
    world: &World,
    question: &mut Question,
) -> Result<(Verdict, Opened), Failure> {
    let image = parse_image(&args.image)?;
    if args.rebuild {
        return rebuild(args, &image, policy, world, question);
    }
    let host = Platform::host();
    let platform = args.source.platform.as_ref().unwrap_or(&host);
    let opened = open(&image, &args.source, world, question)?;
    let verdict = verify::verify(opened.target(), Some(platform), policy, Vec::new(), world.now)?;
    question.notes.extend(policy.root_warnings(&verdict, world.now));
    Ok((verdict, opened))
}

/// Builds the bundled template here, says whether the result has the published digest, and asks the same judge.
fn rebuild(
    args: &LaunchArgs,
    image: &ImageName,
    policy: &Policy,
    world: &World,
    question: &mut Question,
) -> Result<(Verdict, Opened), Failure> {
    let ImageName::Template(name) = image else {
        return Err(Failure::usage(format!("--rebuild builds a bundled template; {} is none", args.image)));
    };
    let host = Platform::host();
    if let Some(asked) = args.source.platform.as_ref().filter(|asked| !host.matches(asked)) {
        return Err(Failure::usage(format!(
            "--rebuild builds for this machine, {host}, and cannot launch {asked}; leave --platform out"
        )));
    }
    let (layout, digest) = super::rebuild::rebuild(name, args, world)?;
    let published = match open(image, &args.source, world, question) {
        Ok(published) => Some(published.root.digest),
        Err(failure) => {
            question.notes.push(format!("not compared with what is published: {}", failure.message));
            None
        }
    };
    match published {
        Some(published) if published == digest => {
            question.notes.push("the rebuild has the published digest".to_owned())
        }
        Some(published) => question.notes.push(format!("the rebuild is {digest}; published is {published}")),
        None => {}
    }
    for note in question.notes.iter().filter(|_| !args.json) {
        tell(note);
    }
    (question.digest, question.reference) = (Some(digest), None);
    let root: Served = layout.manifest(&digest)?;
    let opened = Opened { store: Box::new(layout), root, name: home::template_image(name), reference: None };
    let subject = verify::examine(opened.target(), Some(&Platform::host()))?;
    let evidence = Evidence::of(subject, Origin::Rebuilt { published });
    let verdict = policy.evaluate(&evidence, world.now)?;
    Ok((verdict, opened))
}

/// Brings the image into a runtime that then shows that it holds it, and plans the start.
fn prepare(args: &LaunchArgs, image: &AdmittedImage, store: &dyn Store, world: &World) -> Result<LaunchPlan, Failure> {
    let var = |name: &str| world.var(name);
    let ready = Ready::read(image, store)?;
    let kind = args.runtime.map(|name| match name {
        RuntimeName::Docker => Kind::Docker,
        RuntimeName::Podman => Kind::Podman,
    });
    let runtime = Runtime::find(kind, var)?;
    let profile = profile(args, image)?;
    let home_dir = world.var("HOME").map(|home| launch::Home::new(home.as_ref(), runtime::real_path));
    let workspace = match &args.workspace {
        Some(folder) => {
            let sockets = runtime::engine_sockets(&runtime, var);
            Some(Workspace::new(&runtime::real_folder(folder)?, home_dir.as_ref(), &sockets)?)
        }
        None => None,
    };
    let variables = Variables::take(args.env.iter().map(String::as_str), var)?;
    let line = Line::new();
    let held = match args.dry_run {
        true => ready.expected(&runtime),
        false => ready.hold(&runtime, store, &|event| line.show(event))?,
    };
    drop(line);
    let command: Vec<std::ffi::OsString> = args.command.iter().map(Into::into).collect();
    let request = Request {
        profile: &profile,
        host_user: runtime::host_user(),
        workspace: workspace.as_ref(),
        variables: &variables,
        interactive: true,
        terminal: super::has_terminal(),
        cmd: &command,
    };
    Ok(launch::plan(image, &held, &runtime, &request)?)
}

/// The launch section of the template that was named, or of the one that the image is; else the narrow default.
fn profile(args: &LaunchArgs, image: &AdmittedImage) -> Result<Profile, Failure> {
    let own = |name: &&str| home::template_image(name) == image.subject().name;
    let template = match &args.profile {
        Some(name) => Some(name.as_str()),
        None => Template::bundled_names().into_iter().find(own),
    };
    let mut profile = match template {
        Some(name) => Profile::from(&Template::bundled(name)?.manifest),
        None => Profile::default(),
    };
    match args.network {
        Some(NetworkName::None) => profile.network = Network::None,
        Some(NetworkName::Bridge) => profile.network = Network::Bridge,
        None => {}
    }
    Ok(profile)
}

pub(crate) fn doctor(world: &World) -> Result<Exit, Failure> {
    let var = |name: &str| world.var(name);
    let mut text = String::new();
    let mut exit = Exit::Done;
    let mut say = |what: &str, found: Result<String, Failure>| match found {
        Ok(found) => text.push_str(&format!("{what:<10} {}\n", crate::report::shown(&found))),
        Err(failure) => {
            exit = Exit::Undecided;
            text.push_str(&format!("{what:<10} none: {}\n", crate::report::shown(&failure.message)));
        }
    };
    let runtime = Runtime::find(None, var).map_err(Failure::from);
    say("runtime", runtime.map(|runtime| format!("{} {}", runtime.kind.as_str(), runtime.version)));
    say("engine", super::make::engine_found(world));
    say("policy", chosen_policy(&PolicyArgs::default(), world).map(|policy| policy.origin().to_owned()));
    say("cache", world.cache().map(|cache| cache.display().to_string()));
    print(&text)?;
    Ok(exit)
}
