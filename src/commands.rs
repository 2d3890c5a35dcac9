//! The binary's glue: from what was typed to one call of a verb, and from its answer to what is shown.

mod author;
mod inputs;
mod inspect;
mod judge;
mod make;
mod policies;
mod provenance;
mod rebuild;
mod start;
mod trust;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use bulla::adapters::layout::Layout;
use bulla::adapters::registry::{Credentials, Registry, RegistryOptions};
use bulla::adapters::state;
use bulla::adapters::trust::{Repository, Roots};
use bulla::adapters::{Served, Store};
use bulla::content::limits;
use bulla::home;
use bulla::policy::signer::TrustedSigner;
use bulla::reference::{ImageName, LayoutImage, PinnedReference};
use bulla::sigstore::{Instance, PublicKey, TrustRoot};
use bulla::template::Template;
use bulla::verify::Target;
use clap::CommandFactory as _;
use jiff::Timestamp;

use policies::chosen_policy;

use crate::cli::{Cli, Command, KeyCommand, PolicyArgs, PolicyCommand, RegistryArgs, SourceArgs, TrustCommand};
use crate::report::{Exit, Failure, Question, failure_text};

/// What a run knows of the machine: read once, in `main`.
pub(crate) struct World {
    /// The environment.
    pub(crate) env: BTreeMap<OsString, OsString>,
    /// The time at which the run began.
    pub(crate) now: Timestamp,
}

impl World {
    /// One variable of the environment.
    pub(crate) fn var(&self, name: &str) -> Option<OsString> {
        self.env.get(std::ffi::OsStr::new(name)).cloned()
    }

    fn cache(&self) -> Result<PathBuf, Failure> {
        Ok(state::cache_dir(|name| self.var(name))?)
    }

    /// The trust roots of this machine.
    fn roots(&self) -> Roots {
        Roots::kept_in(state::state_dir(|name| self.var(name)).map(|dir| dir.join("trust")))
    }

    /// The newest root of an instance that is here.
    fn root_of(&self, instance: Instance) -> Result<TrustRoot, Failure> {
        let (repository, embedded) = match instance {
            Instance::GitHub => (Repository::github(), TrustRoot::github()),
            Instance::PublicGood | Instance::Custom => (Repository::public_good(), TrustRoot::public_good()),
        };
        Ok(self.roots().current(&repository)?.map_or(embedded, Ok)?)
    }

    fn registry(&self, args: &RegistryArgs, offline: bool) -> Registry {
        Registry::new(RegistryOptions {
            insecure: args.insecure_registry.clone(),
            credentials: Credentials::from_env(|name| self.var(name)),
            cache: self.cache().ok().map(|cache| cache.join("registry")),
            offline,
            ..RegistryOptions::default()
        })
    }

    /// The same, and what makes it less safe is said at once.
    fn registry_aloud(&self, args: &RegistryArgs, offline: bool) -> Registry {
        let registry = self.registry(args, offline);
        shout(&registry.weakened(|name| self.var(name)));
        registry
    }
}

/// Runs one command to its end.
pub(crate) fn run(cli: Cli, world: &World) -> u8 {
    let done = match cli.command {
        Command::Verify(args) => judge::verify(&args, world),
        Command::Inspect(args) => inspect::inspect(&args, world),
        Command::Audit(args) => judge::audit(&args, world),
        Command::Launch(args) => return start::launch(&args, world),
        Command::Build(args) => make::build(&args, world),
        Command::Fetch(args) => inputs::fetch(&args, world),
        Command::Lock(args) => inputs::lock(&args, world),
        Command::Init(args) => inputs::init(&args),
        Command::Sign(args) => make::sign(&args, world),
        Command::Attest(args) => make::attest(&args, world),
        Command::Publish(args) => make::publish(&args, world),
        Command::Copy(args) => make::copy(&args, world),
        Command::Diff(args) => make::diff(&args, world),
        Command::Sbom(args) => make::sbom(&args, world),
        Command::Key(KeyCommand::Generate { output, key_type }) => make::generate_key(&output, key_type, world),
        Command::Key(KeyCommand::Public { key }) => make::public_key(&key, world),
        Command::Policy(PolicyCommand::Check { file }) => policies::check(file.as_deref(), world),
        Command::Policy(PolicyCommand::Explain { image, policy }) => {
            policies::explain(&image, policy.as_deref(), world)
        }
        Command::Policy(PolicyCommand::Test { path }) => policies::test(path.as_deref(), world),
        Command::Policy(PolicyCommand::Sign { file, key }) => policies::sign(&file, &key, world),
        Command::Trust(TrustCommand::Show(args)) => trust::show(&args, world),
        Command::Trust(TrustCommand::Update(args)) => trust::update(&args, world),
        Command::Doctor => start::doctor(world),
        Command::Completions { shell } => {
            let mut page = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bulla", &mut page);
            print(&String::from_utf8_lossy(&page)).map(|()| Exit::Done)
        }
    };
    done.unwrap_or_else(|failure| complain(&failure)) as u8
}

/// Shows a failure and says what the run ends in.
fn complain(failure: &Failure) -> Exit {
    // Standard error may be closed; the exit code still says it.
    let _ = anstream::stderr().write_all(failure_text(failure).as_bytes());
    Exit::from(failure.class)
}

/// Prints to standard output. An output that cannot be written is a failure: nobody would have read the answer.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure {
        class: bulla::class::Class::State,
        code: "output",
        message: format!("cannot write to standard output: {error}"),
    })
}

/// A line for the person, on standard error.
fn tell(line: &str) {
    let _ = writeln!(anstream::stderr(), "{}", crate::report::shown(line));
}

/// What was typed that makes things less safe: said aloud, once each, beside standing in the record.
fn shout(options: &[String]) {
    let mut told = std::collections::BTreeSet::new();
    for option in options.iter().filter(|option| told.insert(*option)) {
        tell(&format!("UNSAFE: {option}"));
    }
}

/// An image that was resolved, with whatever it is read from.
struct Opened {
    store: Box<dyn Store>,
    root: Served,
    name: String,
    reference: Option<PinnedReference>,
}

impl Opened {
    fn target(&self) -> Target<'_> {
        Target {
            store: &*self.store,
            root: self.root.clone(),
            name: self.name.clone(),
            reference: self.reference.clone(),
        }
    }
}

/// Resolves what was typed, once. `question` takes down what a person should know about it.
fn open(image: &ImageName, source: &SourceArgs, world: &World, question: &mut Question) -> Result<Opened, Failure> {
    let opened = resolve(image, source, world, question)?;
    question.digest = Some(opened.root.digest);
    question.reference.clone_from(&opened.reference);
    Ok(opened)
}

fn resolve(image: &ImageName, source: &SourceArgs, world: &World, question: &mut Question) -> Result<Opened, Failure> {
    let reference = match image {
        ImageName::Layout { dir, image } => return open_layout(dir, image, source, question),
        ImageName::Registry(reference) => reference.clone(),
        ImageName::Template(template) => {
            let release = Template::bundled(template)?.manifest.release;
            format!("{}:{release}", home::template_image(template)).parse()?
        }
    };
    if source.as_name.is_some() {
        return Err(Failure::usage("--as names a layout; an image on a registry has its own name"));
    }
    let registry = world.registry(&source.registry, source.offline);
    question.unsafe_options.extend(registry.weakened(|name| world.var(name)));
    let (root, disagreeing_tag) = registry.resolve(&reference)?;
    if let Some(tagged) = disagreeing_tag {
        let tag = reference.tag_or_latest();
        question.notes.push(format!("the tag {tag} now names {tagged}; the digest that was typed is what was judged"));
    }
    let pinned = reference.repository.pin(root.digest);
    let name = reference.repository.to_string();
    let store = Box::new(registry.repository(&reference.repository));
    Ok(Opened { store, root, name, reference: Some(pinned) })
}

fn open_layout(
    dir: &Path,
    image: &LayoutImage,
    source: &SourceArgs,
    question: &mut Question,
) -> Result<Opened, Failure> {
    let layout = Layout::open(dir)?;
    let (root, ref_name) = layout.image(image)?;
    let name = match &source.as_name {
        Some(name) => {
            question.unsafe_options.push(format!("--as {name}"));
            let repository: bulla::reference::Repository = name.parse()?;
            repository.to_string()
        }
        None => format!("oci/{}", ref_name.as_deref().unwrap_or("unnamed")),
    };
    Ok(Opened { store: Box::new(layout), root, name, reference: None })
}

fn parse_image(text: &str) -> Result<ImageName, Failure> {
    Ok(ImageName::parse(text, |word| Template::bundled_names().contains(&word))?)
}

fn named_signer(args: &PolicyArgs) -> Result<Option<TrustedSigner>, Failure> {
    if let Some(file) = &args.key {
        let key = read_public_key(file)?;
        return Ok(Some(TrustedSigner::Key { key, name: file.display().to_string(), log: None }));
    }
    let (Some(identity), Some(issuer)) = (&args.identity, &args.issuer) else { return Ok(None) };
    let root = match &args.trusted_root {
        Some(file) => read_root(file)?.into(),
        None => TrustRoot::public_good()?.into(),
    };
    Ok(Some(TrustedSigner::Exact { root, issuer: issuer.clone(), identity: identity.clone() }))
}

/// The bytes of a file that was named on the command line: that it cannot be read is the fault of what was typed.
fn typed_file(file: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    state::read_file(file, limit).map_err(|error| Failure::usage(error.to_string()))
}

fn read_public_key(file: &Path) -> Result<PublicKey, Failure> {
    let pem = typed_file(file, limits::KEY)?;
    let pem = String::from_utf8_lossy(&pem);
    PublicKey::from_pem(&pem).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}

/// A trust root in a file that was named on the command line.
fn read_root(file: &Path) -> Result<TrustRoot, Failure> {
    let json = typed_file(file, limits::TRUST_ROOT)?;
    TrustRoot::parse(&json, &file.display().to_string()).map_err(|error| Failure::usage(error.to_string()))
}

/// Whether a person is there to be asked.
fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
