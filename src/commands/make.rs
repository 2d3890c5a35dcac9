//! `build`, `sign`, `attest`, `publish`, `sbom`, `diff`, `key`: what makes things, and what tells of them.

use std::path::Path;

use bulla::adapters::Event;
use bulla::adapters::engine::{self, Choice, Host, Workplace};
use bulla::adapters::layout::Layout;
use bulla::adapters::signer::{Author, KeyKind, PrivateKey};
use bulla::adapters::state;
use bulla::adapters::templates::{self, Found};
use bulla::attestation::predicate_types;
use bulla::build::{self, BuildRecord, BuildRequest, Expected};
use bulla::class::Class;
use bulla::content::Digest;
use bulla::oci::Platform;
use bulla::oci::normalize::compress::Compression;
use bulla::publish::{self, PublishOptions};
use bulla::reference::{ImageName, LayoutImage, Reference};
use bulla::sbom::{self, Described};
use bulla::sign::{self, Place, Signing};
use bulla::template::digests;
use bulla::{describe, home, verify};

use super::author::Signer;
use super::{
    Opened, World, has_terminal, inputs, open, parse_image, print, provenance, rebuild, shout, tell, typed_file,
};
use crate::cli::{
    AttestArgs, BuildArgs, CompressionName, CopyArgs, DiffArgs, EngineName, InputArgs, KeyType, PublishArgs, PushArgs,
    SbomArgs, SbomForm, SignArgs, SourceArgs, TargetArgs,
};
use crate::progress::Line;
use crate::report::{Exit, Failure, Question, shown};

impl From<EngineName> for Choice {
    fn from(name: EngineName) -> Self {
        match name {
            EngineName::Auto => Self::Auto,
            EngineName::Docker => Self::Docker,
            EngineName::Buildah => Self::Buildah,
            EngineName::Podman => Self::Podman,
        }
    }
}

impl From<CompressionName> for Compression {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::Gzip => Self::Gzip,
            CompressionName::Zstd => Self::Zstd,
        }
    }
}

impl From<&PushArgs> for PublishOptions {
    fn from(args: &PushArgs) -> Self {
        Self { move_tag: args.move_tag, allow_unattested: args.allow_unattested }
    }
}

/// A passphrase: from the environment, else typed by a person. `again` asks twice, for a key that is being made.
fn passphrase(world: &World, what: &str, again: bool) -> Result<Vec<u8>, Failure> {
    for name in ["BULLA_KEY_PASSWORD", "COSIGN_PASSWORD"] {
        if let Some(value) = world.var(name) {
            return Ok(value.into_encoded_bytes());
        }
    }
    if !has_terminal() {
        return Err(Failure::usage(format!("{what} takes a passphrase: set BULLA_KEY_PASSWORD, or run on a terminal")));
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map_err(|error| Failure::usage(format!("no passphrase was typed: {error}")))
    };
    let typed = ask(&format!("passphrase for {what}: "))?;
    if again && ask("the same again: ")? != typed {
        return Err(Failure::usage("the two passphrases differ; no key was made"));
    }
    Ok(typed.into_bytes())
}

/// Reads a private key, asking for its passphrase only if it has one.
pub(crate) fn private_key(file: &Path, world: &World) -> Result<PrivateKey, Failure> {
    PrivateKey::read(file, || passphrase(world, &file.display().to_string(), false)).map_err(|failure: Failure| {
        match failure.class {
            // No such file, or a large one: what was typed is wrong.
            Class::State | Class::Limit => Failure::usage(failure.message),
            _ => failure,
        }
    })
}

pub(crate) fn generate_key(output: &Path, key_type: KeyType, world: &World) -> Result<Exit, Failure> {
    let with = |ending: &str| {
        let mut name = output.as_os_str().to_owned();
        name.push(ending);
        std::path::PathBuf::from(name)
    };
    let (private, public) = (with(".key"), with(".pub"));
    for file in [&private, &public] {
        if file.symlink_metadata().is_ok() {
            return Err(Failure::usage(format!("{} is there already; a key is never replaced", file.display())));
        }
    }
    let passphrase = passphrase(world, &private.display().to_string(), true)?;
    let key = PrivateKey::generate_kind(match key_type {
        KeyType::EcdsaP256 => KeyKind::EcdsaP256,
        KeyType::EcdsaP384 => KeyKind::EcdsaP384,
        KeyType::Ed25519 => KeyKind::Ed25519,
    })?;
    key.write(&private, &passphrase)?;
    state::write_file(&public, key.public_pem().as_bytes())?;
    tell(&format!("wrote {} (keep it secret) and {}", private.display(), public.display()));
    Ok(Exit::Done)
}

pub(crate) fn public_key(file: &Path, world: &World) -> Result<Exit, Failure> {
    print(&private_key(file, world)?.public_pem())?;
    Ok(Exit::Done)
}

pub(crate) fn sign(args: &SignArgs, world: &World) -> Result<Exit, Failure> {
    let signer = Signer::read(&args.author, args.target.offline, world)?;
    attach(&args.image, &args.target, signer.author(), world, |signing| Ok(signing.sign()?))
}

pub(crate) fn attest(args: &AttestArgs, world: &World) -> Result<Exit, Failure> {
    if let Some(template) = &args.rebuild {
        return rebuild::attest(template, args, world);
    }
    if !args.places.inputs.is_empty() {
        return Err(Failure::usage("--inputs goes with --rebuild"));
    }
    let (Some(predicate_type), Some(file)) = (&args.predicate_type, &args.predicate) else {
        return Err(Failure::usage("give --type and --predicate, or --rebuild"));
    };
    let predicate_type = match predicate_type.as_str() {
        "spdx" => predicate_types::SPDX,
        "cyclonedx" => predicate_types::CYCLONEDX,
        "slsa-v1" => predicate_types::SLSA_V1,
        uri if uri.contains(':') => uri,
        other => {
            return Err(Failure::usage(format!(
                "--type {other}: write spdx, cyclonedx, slsa-v1 or a predicate type's URI"
            )));
        }
    };
    let predicate = typed_file(file, bulla::sbom::limits::DOCUMENT)?;
    let signer = Signer::read(&args.author, args.target.offline, world)?;
    let say = |signing: &mut Signing<'_>| Ok(signing.attest(predicate_type, &predicate)?);
    attach(&args.image, &args.target, signer.author(), world, say)
}

/// Finds the image by digest or in a layout, and lets `say` make statements about it.
pub(super) fn attach(
    image: &str,
    target: &TargetArgs,
    author: Author<'_>,
    world: &World,
    say: impl FnOnce(&mut Signing<'_>) -> Result<Digest, Failure>,
) -> Result<Exit, Failure> {
    let (digest, bundle) = match parse_image(image)? {
        ImageName::Layout { dir, image } => {
            let mut layout = Layout::open(&dir)?;
            let (served, ref_name) = layout.image(&image)?;
            let name = target.as_name.clone().or(ref_name).unwrap_or_else(|| "unnamed".to_owned());
            let mut signing = Signing::of(Place::Layout(&mut layout), &served, &name, author, world.now)?;
            (served.digest, say(&mut signing)?)
        }
        ImageName::Registry(reference) => {
            if reference.digest.is_none() {
                return Err(Failure::usage(format!(
                    "{reference} is a tag, which may name another image by the time it is signed; write it with @sha256:…"
                )));
            }
            if target.as_name.is_some() {
                return Err(Failure::usage("--as names a layout; an image on a registry has its own name"));
            }
            let registry = world.registry_aloud(&target.registry, target.offline);
            let (served, _) = registry.resolve(&reference)?;
            let store = registry.repository(&reference.repository);
            let name = reference.repository.to_string();
            let mut signing = Signing::of(Place::Registry(&store), &served, &name, author, world.now)?;
            (served.digest, say(&mut signing)?)
        }
        ImageName::Template(name) => {
            return Err(Failure::usage(format!("{name} is a template; name a built image, such as oci:DIR")));
        }
    };
    tell(&format!("attached {bundle} to {digest}"));
    Ok(Exit::Done)
}

pub(crate) fn publish(args: &PublishArgs, world: &World) -> Result<Exit, Failure> {
    let ImageName::Layout { dir, image } = parse_image(&args.image)? else {
        return Err(Failure::usage("publish takes a layout: oci:DIR"));
    };
    let to: Reference = args.to.parse()?;
    let layout = Layout::open(&dir)?;
    let registry = world.registry_aloud(&args.push.registry, false);
    let line = Line::new();
    let options = PublishOptions::from(&args.push);
    let published = publish::publish(&layout, &image, &to, options, &registry, &|event| line.show(event))?;
    if let Some(before) = published.moved_from {
        tell(&format!("the tag {} named {before} before", published.tag));
    }
    if !published.changed {
        tell("all of it was there already");
    }
    print(&format!("{}\n", published.reference))?;
    Ok(Exit::Done)
}

/// Copies from wherever to wherever; what is printed is the copy's exact name.
pub(crate) fn copy(args: &CopyArgs, world: &World) -> Result<Exit, Failure> {
    let source = SourceArgs { registry: args.push.registry.clone(), ..SourceArgs::default() };
    let image = parse_image(&args.source)?;
    let to = parse_image(&args.destination)?;
    let mut question = Question::default();
    let opened = open(&image, &source, world, &mut question)?;
    let registry = world.registry(&args.push.registry, false);
    if matches!(to, ImageName::Registry(_)) {
        question.unsafe_options.extend(registry.weakened(|name| world.var(name)));
    }
    shout(&question.unsafe_options);
    let options = PublishOptions::from(&args.push);
    let line = Line::new();
    let progress = |event: Event<'_>| line.show(event);
    let copied = match to {
        ImageName::Template(name) => Err(Failure::usage(format!("{name} is a template, and no place to copy to"))),
        ImageName::Layout { image: LayoutImage::Digest(_), .. } => {
            Err(Failure::usage("a layout to be written has a name at most: oci:DIR or oci:DIR:NAME"))
        }
        ImageName::Layout { dir, image: name } => {
            let name = match name {
                LayoutImage::Named(name) => Some(name),
                _ => name_of(&image, &opened),
            };
            let (store, root) = (&*opened.store, opened.root.clone());
            publish::copy_to_layout(store, root, name.as_deref(), &dir, options, &progress)?;
            Ok(format!("oci:{}@{}", dir.display(), opened.root.digest))
        }
        ImageName::Registry(to) => {
            let copied = publish::copy(&*opened.store, opened.root, &to, options, &registry, &progress)?;
            Ok(copied.reference.to_string())
        }
    };
    drop(line);
    print(&format!("{}\n", copied?))?;
    Ok(Exit::Done)
}

/// The name under which an image goes into a layout: the one that it has in a layout, else its repository's last word
/// with its tag.
fn name_of(image: &ImageName, opened: &Opened) -> Option<String> {
    match image {
        ImageName::Layout { .. } => {
            opened.name.strip_prefix("oci/").filter(|name| *name != "unnamed").map(str::to_owned)
        }
        ImageName::Registry(reference) => {
            let word = reference.repository.path().rsplit('/').next()?.to_owned();
            let tag = reference.tag.clone().or_else(|| reference.digest.is_none().then(|| "latest".to_owned()));
            Some(tag.map_or(word.clone(), |tag| format!("{word}:{tag}")))
        }
        ImageName::Template(name) => Some(name.clone()),
    }
}

pub(crate) fn sbom(args: &SbomArgs, world: &World) -> Result<Exit, Failure> {
    let mut question = Question::default();
    let opened = open(&parse_image(&args.image)?, &args.source, world, &mut question)?;
    shout(&question.unsafe_options);
    let subject = verify::examine(opened.target(), args.source.platform.as_ref())?;
    let (inventory, created) = describe::inventory(&*opened.store, &subject)?;
    let described = Described::new(&opened.name, &subject.digest, &subject.platform, created);
    let document = match args.format {
        SbomForm::Spdx => sbom::spdx::write(&inventory, &described),
        SbomForm::Cyclonedx => sbom::cyclonedx::write(&inventory, &described),
    };
    match &args.output {
        Some(file) => state::write_file(file, &document)?,
        None => print(&String::from_utf8_lossy(&document))?,
    }
    Ok(Exit::Done)
}

/// Builds, and signs what was built where a key was given.
pub(crate) fn build(args: &BuildArgs, world: &World) -> Result<Exit, Failure> {
    let mut signer = Signer::if_asked(&args.author, args.offline, world)?;
    let family = templates::find(&args.template, args.templates_dir.as_deref())?;
    let Found { template, bundled } = &family[0];
    let output = args.output.clone().unwrap_or_else(|| format!("{}.oci", template.name).into());
    if args.record && matches!(args.compression, CompressionName::Zstd) {
        return Err(Failure::usage("--record is for images as they are stored by default: leave --compression out"));
    }
    let job = provenance::job(args.offline, world)?;
    let request = BuildRequest {
        bundled: *bundled,
        parents: &family[1..],
        // What was kept is not signed: nothing but this user's own files vouch for it.
        fresh: args.fresh || signer.is_some(),
        record: args.record,
        platform: args.platform.clone().unwrap_or_else(Platform::host),
        engine: args.builder.clone().map_or_else(|| args.engine.into(), Choice::Builder),
        offline: args.offline,
        check: args.check,
        source: provenance::source(args, job.as_ref(), template, world)?,
        builder_id: job.as_ref().map(|job| job.workflow.clone()),
        invocation_id: job.as_ref().map(|job| job.run.clone()),
        compression: args.compression.into(),
        ..BuildRequest::new(template, output.clone())
    };
    let mut record = run_build(&request, &args.inputs, world)?;
    if args.author.keyless {
        // A token lives for minutes, and the build may have taken longer.
        signer = Signer::if_asked(&args.author, args.offline, world)?;
    }
    if let Some(signer) = &signer {
        let mut layout = Layout::open(&output)?;
        let name = home::subject_name(&template.name, *bundled);
        sign::sign_build(&mut layout, &mut record, &name, signer.author(), world.now)?;
    }
    if let Some(folder) = args.templates_dir.as_ref().filter(|_| args.record) {
        let folder = folder.join(&template.name);
        build::write_digest(&folder, template, &record)?;
        tell(&format!("wrote {}", folder.join(digests::FILE_NAME).display()));
    }
    if args.json {
        print(&String::from_utf8_lossy(&record.write()))?;
        return Ok(Exit::Done);
    }
    let signed = if signer.is_some() { "signed and attested" } else { "not signed: --key or --keyless signs it" };
    let how = if record.reused { "nothing changed since it was built, so it was not built again:" } else { "built" };
    let expected = match record.expected {
        _ if args.record => "its digest is recorded from now on",
        Expected::Match => "the digest is the recorded one",
        Expected::NotRecorded => "no digest is recorded for this lock",
    };
    tell(&format!(
        "{how} {} with {} {} from {} inputs: {} packages, {expected}, {signed}",
        record.image.name, record.engine.name, record.engine.version, record.inputs.count, record.image.packages
    ));
    print(&format!("oci:{}@{}\n", output.display(), record.image.digest))?;
    Ok(Exit::Done)
}

pub(super) fn run_build(request: &BuildRequest<'_>, args: &InputArgs, world: &World) -> Result<BuildRecord, Failure> {
    let cache = world.cache()?;
    let host = Host::from_env(|name| world.var(name));
    let line = Line::new();
    let world = build::World {
        inputs: &inputs::inputs(args, world)?,
        host: &host,
        work: &cache.join("work"),
        finished: Some(&cache.join("images")),
        progress: &|event| line.show(event),
    };
    Ok(build::build(request, &world)?)
}

/// Which engine would build, for `doctor`.
pub(crate) fn engine_found(world: &World) -> Result<String, Failure> {
    let work = world.cache()?.join("work");
    // A folder of its own, as a build has it: what the engines are asked leaves storage behind, below a short path.
    let place = Workplace::create(&work, 0)?;
    let (engine, _) = engine::find(&Choice::Auto, &Host::from_env(|name| world.var(name)), place.runtime())?;
    Ok(engine.display())
}

pub(crate) fn diff(args: &DiffArgs, world: &World) -> Result<Exit, Failure> {
    let mut question = Question::default();
    let first = open(&parse_image(&args.first)?, &args.source, world, &mut question)?;
    let second = open(&parse_image(&args.second)?, &args.source, world, &mut question)?;
    shout(&question.unsafe_options);
    let platform = args.source.platform.as_ref();
    let subjects = (verify::examine(first.target(), platform)?, verify::examine(second.target(), platform)?);
    let difference = describe::compare((&*first.store, &subjects.0), (&*second.store, &subjects.1))?;
    let text = match args.json {
        true => crate::report::json(&difference),
        false => difference.to_string().lines().map(|line| shown(line) + "\n").collect(),
    };
    print(&text)?;
    Ok(if difference.is_empty() { Exit::Done } else { Exit::Denied })
}
