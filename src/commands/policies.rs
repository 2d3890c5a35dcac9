//! `policy`, and where policies come from: which one applies, whether it is the one that was asked for, and what a
//! project adds to it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bulla::adapters::state::{self, StateError};
use bulla::cases;
use bulla::class::Class;
use bulla::content::limits;
use bulla::policy::seal::Seal;
use bulla::policy::{Policy, Requirement, requirements};

use super::make::private_key;
use super::{World, named_signer, parse_image, print, read_public_key};
use crate::cli::{GuardArgs, PolicyArgs};
use crate::report::{Exit, Failure, shown};

/// A policy, with what it was read from.
struct Found {
    policy: Policy,
    seal: Seal,
    /// Where a signature would stand beside it.
    file: Option<PathBuf>,
}

/// The policy that applies: the one that was named, else the user's, else the system's, else the one inside bulla. It
/// is refused if it is not the one that was asked for, tightened by the project's where that was asked for, and judges
/// under the newest trust roots that are here.
pub(crate) fn chosen_policy(args: &PolicyArgs, world: &World) -> Result<Policy, Failure> {
    let found = find(args, world)?;
    expect(&found, &args.guard)?;
    let policy = match &args.guard.project {
        Some(project) => found.policy.tightened_by(read_project(project)?)?,
        None => found.policy,
    };
    policy.with_roots(|instance| world.root_of(instance))
}

fn find(args: &PolicyArgs, world: &World) -> Result<Found, Failure> {
    if let Some(signer) = named_signer(args)? {
        if args.guard.policy_sha256.is_some() || args.guard.policy_signer.is_some() {
            return Err(Failure::usage("--policy-sha256 and --policy-signer are about a policy, not about --key"));
        }
        let names = if args.require.is_empty() {
            ["signature", "provenance", "sbom"].map(str::to_owned).to_vec()
        } else {
            args.require.clone()
        };
        let require: Vec<Requirement> = requirements(&names).map_err(Failure::usage)?;
        return Ok(Found::without_files(Policy::of_signer(signer, require)));
    }
    if !args.require.is_empty() {
        return Err(Failure::usage("--require goes with --key or --identity; a policy file says what it requires"));
    }
    if let Some(file) = &args.policy {
        return read(file);
    }
    let user = state::config_dir(|name| world.var(name)).map(|dir| dir.join("policy.toml"));
    for file in user.into_iter().chain([PathBuf::from("/etc/bulla/policy.toml")]) {
        // Only what is certainly not there is passed over: falling back from a policy that cannot be read, or cannot
        // even be looked at, would judge by other rules.
        match file.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            _ => return read(&file),
        }
    }
    Ok(Found::without_files(Policy::default_policy()?))
}

impl Found {
    fn without_files(policy: Policy) -> Self {
        Self { seal: Seal::of(*policy.sha256()), policy, file: None }
    }
}

/// Refuses a policy that is not the one that was asked for.
fn expect(found: &Found, guard: &GuardArgs) -> Result<(), Failure> {
    let origin = found.policy.origin();
    if let Some(pin) = &guard.policy_sha256 {
        found.seal.expect(pin, origin)?;
    }
    let Some(signer) = &guard.policy_signer else { return Ok(()) };
    let key = read_public_key(signer)?;
    let unsigned = |why: String| Failure {
        class: Class::Policy,
        code: "policy-signature",
        message: format!("{origin} is not signed: {why}; `bulla policy sign` signs a policy"),
    };
    let file = found.file.as_ref().ok_or_else(|| unsigned("it is no file".to_owned()))?;
    let bundle = state::read_file(&beside(file), limits::OWN_FILE).map_err(|error| unsigned(error.to_string()))?;
    Ok(found.seal.expect_signed(&bundle, &key, origin)?)
}

/// Where the signature of a policy stands.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sigstore.json");
    PathBuf::from(name)
}

/// One policy file, for what does not judge.
pub(crate) fn read_policy(file: &Path) -> Result<Policy, Failure> {
    read(file).map(|found| found.policy)
}

fn read(file: &Path) -> Result<Found, Failure> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let bytes = |path: &Path, limit| state::read_file(path, limit);
    let (policy, seal) =
        load(file, &|| bytes(file, limits::OWN_FILE), &|name| bytes(&folder.join(name), limits::TRUST_ROOT))?;
    Ok(Found { policy, seal, file: Some(file.to_owned()) })
}

/// The policy of a project, which may come from anywhere: nothing outside its folder is read for it.
fn read_project(project: &Path) -> Result<Policy, Failure> {
    let below = |name: &str, limit| state::read_file_below(project, &Path::new(".bulla").join(name), limit);
    let file = project.join(".bulla/policy.toml");
    let (policy, _) = load(&file, &|| below("policy.toml", limits::OWN_FILE), &|name| below(name, limits::TRUST_ROOT))?;
    Ok(policy)
}

type Bytes = Result<Vec<u8>, StateError>;

/// Reads a policy and takes down what it was read from. Each file is read once: what is pinned is what is used.
fn load(file: &Path, text: &dyn Fn() -> Bytes, other: &dyn Fn(&str) -> Bytes) -> Result<(Policy, Seal), Failure> {
    let unusable = |message: String| Failure { class: Class::Policy, code: "malformed-policy", message };
    let text = text().map_err(|error| unusable(error.to_string()))?;
    let text = String::from_utf8(text).map_err(|_| unusable(format!("{} is not text", file.display())))?;
    let files: RefCell<BTreeMap<String, Vec<u8>>> = RefCell::default();
    let policy = Policy::parse(&text, &file.display().to_string(), &|name| {
        if let Some(known) = files.borrow().get(name) {
            return Ok(known.clone());
        }
        let bytes = other(name).map_err(|error| error.to_string())?;
        files.borrow_mut().insert(name.to_owned(), bytes.clone());
        Ok(bytes)
    })?;
    let mut seal = Seal::of(*policy.sha256());
    files.into_inner().iter().for_each(|(name, bytes)| seal.add(name, bytes));
    Ok((policy, seal))
}

pub(crate) fn check(file: Option<&Path>, world: &World) -> Result<Exit, Failure> {
    let found = match file {
        Some(file) => read(file)?,
        None => find(&PolicyArgs::default(), world)?,
    };
    let (origin, rules) = (shown(found.policy.origin()), found.policy.rules().len());
    print(&format!(
        "{origin} can be used: {rules} rules, {}\npin (--policy-sha256): {}\n",
        found.policy.sha256(),
        found.seal.pin().hex()
    ))?;
    Ok(Exit::Done)
}

pub(crate) fn explain(image: &str, file: Option<&Path>, world: &World) -> Result<Exit, Failure> {
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
        let by = match rule.threshold(requirement) {
            1 => String::new(),
            count => format!(" by {count} different signers"),
        };
        text.push_str(&format!("  requires {}{by}\n", shown(requirement.as_str())));
    }
    if let Some(repository) = &rule.attestations {
        text.push_str(&format!("  attestations in {repository}\n"));
    }
    for signer in &rule.signers {
        text.push_str(&format!("  signed by {}\n", shown(&signer.to_string())));
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// Signs a policy as it is now.
pub(crate) fn sign(file: &Path, key: &Path, world: &World) -> Result<Exit, Failure> {
    let found = read(file)?;
    let statement = found.seal.statement()?;
    let bundle = private_key(key, world)?.sign_statement(&statement)?;
    let beside = beside(file);
    state::write_file(&beside, &bundle)?;
    print(&format!("signed {} as {}\n", shown(&beside.display().to_string()), found.seal.pin()))?;
    Ok(Exit::Done)
}

/// Judges the cases of one file, of a folder, or beside a policy, each in its place.
pub(crate) fn test(path: Option<&Path>, world: &World) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for file in case_files(path, world)? {
        let malformed = |message: String| Failure { class: Class::Policy, code: "malformed-cases", message };
        let text = state::read_file(&file, limits::OWN_FILE).map_err(|error| malformed(error.to_string()))?;
        let text = String::from_utf8(text).map_err(|_| malformed(format!("{} is not text", file.display())))?;
        let cases = cases::parse(&text, &file.display().to_string())?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let policy = match &cases.policy {
            cases::Which::Bundled => Policy::default_policy()?,
            cases::Which::File(name) => read(&folder.join(name))?.policy,
            cases::Which::Beside => read(&policy_of(&file))?.policy,
        };
        for case in &cases.cases {
            let outcome = case.judge(&policy, folder)?;
            let (word, rest) = match case.difference(&outcome) {
                None => ("ok", String::new()),
                Some(difference) => {
                    exit = Exit::Denied;
                    ("DIFFERS", format!(": {difference}"))
                }
            };
            print(&format!(
                "{word:<8} {}: {}{}\n",
                shown(&file.display().to_string()),
                shown(&case.name),
                shown(&rest)
            ))?;
        }
    }
    Ok(exit)
}

const CASES: &str = ".cases.toml";

/// The files of cases that are meant. A folder without any is an error: nothing would have been tested.
fn case_files(path: Option<&Path>, world: &World) -> Result<Vec<PathBuf>, Failure> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => find(&PolicyArgs::default(), world)?.file.ok_or_else(|| {
            Failure::usage("the policy that applies is the one inside bulla, which has no cases beside it; name a file")
        })?,
    };
    let is_cases = |path: &Path| path.to_string_lossy().ends_with(CASES);
    if !path.is_dir() {
        return Ok(vec![if is_cases(&path) { path } else { path.with_extension("cases.toml") }]);
    }
    let entries = state::entries(&path).map_err(|error| Failure::usage(error.to_string()))?;
    let files: Vec<PathBuf> = entries.into_iter().filter(|entry| is_cases(entry)).collect();
    if files.is_empty() {
        return Err(Failure::usage(format!("{} has no file that ends in {CASES}", path.display())));
    }
    Ok(files)
}

/// `policy.toml` for `policy.cases.toml`.
fn policy_of(cases: &Path) -> PathBuf {
    let name = cases.to_string_lossy();
    PathBuf::from(format!("{}.toml", name.strip_suffix(CASES).unwrap_or(&name)))
}
