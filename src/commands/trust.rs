//! `trust show` and `trust update`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bulla::adapters::state;
use bulla::adapters::trust::{Repository, Update};
use bulla::content::limits;
use bulla::sigstore::{Instance, Member, TrustRoot};
use jiff::Timestamp;
use serde_json::{Value, json as object};

use super::{World, chosen_policy, print, tell, typed_file};
use crate::cli::{InstanceName, PolicyArgs, TrustShowArgs, TrustUpdateArgs};
use crate::report::{Exit, Failure, json, shown};

const SCHEMA: &str = "bulla.trust/v1";

/// Every root that could vouch for something here: those of the public instances, and the policy's own.
pub(crate) fn show(args: &TrustShowArgs, world: &World) -> Result<Exit, Failure> {
    let public = [Instance::PublicGood, Instance::GitHub].map(|instance| world.root_of(instance));
    let mut roots: Vec<Arc<TrustRoot>> = public.into_iter().map(|root| root.map(Arc::new)).collect::<Result<_, _>>()?;
    let policy = chosen_policy(&PolicyArgs { policy: args.policy.clone(), ..PolicyArgs::default() }, world)?;
    for root in policy.rules().iter().flat_map(|rule| &rule.signers).filter_map(|signer| signer.who.shared_root()) {
        if !roots.iter().any(|known| known.sha256() == root.sha256() && known.source() == root.source()) {
            roots.push(root.clone());
        }
    }
    if args.json {
        let roots: Vec<Value> = roots.iter().map(|root| root_json(root, world.now)).collect();
        print(&json(&object!({"schema": SCHEMA, "time": world.now.to_string(), "roots": roots})))?;
    } else {
        let texts: Vec<String> = roots.iter().map(|root| root_text(root, world.now)).collect();
        print(&texts.join("\n"))?;
    }
    Ok(Exit::Done)
}

/// Whole days since a root was known to be current.
fn days(root: &TrustRoot, now: Timestamp) -> Option<i64> {
    Some(now.duration_since(root.as_of()?).as_hours() / 24)
}

fn root_json(root: &TrustRoot, now: Timestamp) -> Value {
    let member = |member: Member| {
        object!({
            "role": member.role.as_str(),
            "name": member.name,
            "sha256": member.sha256,
            "from": member.from.to_string(),
            "until": member.until.map(|time| time.to_string()),
        })
    };
    object!({
        "source": root.source(),
        "instance": root.instance().as_str(),
        "sha256": root.sha256(),
        "asOf": root.as_of().map(|time| time.to_string()),
        "ageDays": days(root, now),
        "members": root.members().into_iter().map(member).collect::<Vec<_>>(),
        "leftOut": root.left_out(),
    })
}

fn root_text(root: &TrustRoot, now: Timestamp) -> String {
    let age = match (root.as_of(), days(root, now)) {
        (Some(time), Some(days)) => format!("current at {time}, {days} days ago"),
        _ => "of no known day".to_owned(),
    };
    let mut text = format!("{}  {age}\n  {}\n", shown(root.source()), root.sha256());
    for member in root.members() {
        let until = member.until.map(|time| time.to_string());
        let until = until.as_deref().unwrap_or("no end known");
        let _ = writeln!(text, "  {:<21}  {}", member.role.as_str(), shown(&member.name));
        let _ = writeln!(text, "  {:<21}  {} to {until}", "", member.from);
    }
    for reason in root.left_out() {
        let _ = writeln!(text, "  left out: {}", shown(reason));
    }
    text
}

/// Renews the roots that were asked for. One that cannot be renewed stays as it is, and is told of at the end.
pub(crate) fn update(args: &TrustUpdateArgs, world: &World) -> Result<Exit, Failure> {
    if let (Some(first), Some(mirror), Some(output)) = (&args.root, &args.mirror, &args.output) {
        return update_private(first, mirror, output, world);
    }
    let mut failed: Option<Failure> = None;
    for repository in
        [(InstanceName::PublicGood, Repository::public_good()), (InstanceName::Github, Repository::github())]
            .into_iter()
            .filter_map(|(name, repository)| args.instance.is_none_or(|wanted| wanted == name).then_some(repository))
    {
        let repository = match &args.mirror {
            Some(_) if args.instance.is_none() => {
                return Err(Failure::usage("--mirror serves one instance: say which with --instance, or give --root"));
            }
            Some(url) => repository.mirrored_at(url),
            None => repository,
        };
        match world.roots().update(&repository, world.now) {
            Ok(update) => tell(&told(repository.name(), &update)),
            Err(error) => {
                let failure = Failure::from(error);
                let failure = Failure { message: format!("{}: {}", repository.name(), failure.message), ..failure };
                if let Some(earlier) = failed.replace(failure) {
                    tell(&earlier.message);
                }
            }
        }
    }
    failed.map_or(Ok(Exit::Done), Err)
}

fn update_private(first: &Path, mirror: &str, output: &Path, world: &World) -> Result<Exit, Failure> {
    let initial = typed_file(first, limits::TRUST_ROOT)?;
    let update = world.roots().update(&Repository::private(initial, mirror), world.now)?;
    state::write_file(output, &update.json)?;
    tell(&told(&output.display().to_string(), &update));
    Ok(Exit::Done)
}

fn told(name: &str, update: &Update) -> String {
    let what = if update.changed { "renewed" } else { "is current; nothing in it changed" };
    format!("{name} {what}: {}, by version {} of the TUF root", update.root.sha256(), update.version)
}
