//! `lock` and `fetch`: templates, their locks, and the bytes that locks name.

use std::path::{Path, PathBuf};

use bulla::adapters::apt::Apt;
use bulla::adapters::inputs::{Artifact, ArtifactSource, Inputs};
use bulla::adapters::sources::{self, Access, HostClients, Mirrors, config};
use bulla::adapters::state;
use bulla::adapters::templates;
use bulla::class::Class;
use bulla::lock::{self, Drift};
use bulla::lockfile::Changes;
use bulla::oci::Platform;
use bulla::reference::Reference;
use bulla::template::{Template, TemplateError, skeleton};

use super::{World, print, tell};
use crate::cli::{FetchArgs, InitArgs, InputArgs, LockArgs};
use crate::progress::Line;
use crate::report::{Exit, Failure};

/// Where archives are: what was typed, then `BULLA_MIRRORS`, then the configuration file, then what this machine's apt
/// is set up with.
pub(crate) fn mirrors(args: &InputArgs, world: &World) -> Result<Mirrors, Failure> {
    let of_env = world.var(sources::VARIABLE).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
    let typed = Mirrors::parse(&args.mirror)?;
    let of_env = Mirrors::parse(of_env.split_whitespace())?;
    let file = state::config_dir(|name| world.var(name)).map(|folder| folder.join(config::FILE_NAME));
    let configured = file.map(|file| Mirrors::of_configuration(&file)).transpose()?.unwrap_or_default();
    let of_host = Mirrors::of_host(Path::new("/etc/apt"));
    Ok(typed.then(of_env).then(configured).then(of_host).or_debootstrap(Path::new(config::DEBOOTSTRAP)))
}

fn access(args: &InputArgs) -> Access {
    Access { ca_cert: args.ca_cert.clone(), ..Access::of_host() }
}

/// The inputs that this machine can get.
pub(crate) fn inputs(args: &InputArgs, world: &World) -> Result<Inputs, Failure> {
    let (mut folders, mut artifacts) = (Vec::new(), Vec::new());
    for place in &args.places.inputs {
        match place.strip_prefix("oci:") {
            Some(layout) => folders.push(PathBuf::from(layout)),
            None if names_registry(place) => {
                let registry = world.registry_aloud(&args.registry, false);
                artifacts.push(ArtifactSource::new(&registry, &place.parse()?));
            }
            None => folders.push(PathBuf::from(place)),
        }
    }
    let inputs = Inputs::new(&world.cache()?).with_folders(folders).with_artifacts(artifacts);
    let inputs = inputs.with_host_clients(HostClients::from_env(|name| world.var(name)));
    Ok(inputs.with_mirrors(mirrors(args, world)?, access(args)))
}

/// Whether this is a registry's and no folder: its first part is a host beyond doubt, and no such folder is there.
fn names_registry(place: &str) -> bool {
    let host = place.split_once('/').map(|(host, _)| host).unwrap_or_default();
    let is_host = host == "localhost" || host.contains(':') || (host.contains('.') && !host.starts_with('.'));
    is_host && !Path::new(place).exists()
}

pub(crate) fn lock(args: &LockArgs, world: &World) -> Result<Exit, Failure> {
    let names = if args.templates.is_empty() { folders(&args.templates_dir)? } else { args.templates.clone() };
    let mut exit = Exit::Done;
    for name in bases_first(names, &args.templates_dir)? {
        let folder = args.templates_dir.join(&name);
        let template = templates::read(&folder)?;
        let family = templates::find(&name, Some(&args.templates_dir))?;
        let parents = &family[1..];
        if args.check {
            match lock::check(&template, parents)? {
                Drift::None => tell(&format!("{name}: the lock is this template's")),
                drift => {
                    exit = Exit::Denied;
                    tell(&format!("{name}: {drift}; run `bulla lock {name}`"));
                }
            }
            continue;
        }
        let apt = Apt {
            mirrors: mirrors(&args.inputs, world)?,
            access: access(&args.inputs),
            keyring: args.keyring.clone(),
            allow_expired: args.allow_expired,
            now: world.now,
        };
        let line = Line::new();
        let inputs = inputs(&args.inputs, world)?;
        let lock = lock::lock(&template, &args.platform, &apt, parents, &inputs, &|event| line.show(event))?;
        drop(line);
        let (path, changed) = lock::write(&folder, &lock)?;
        if args.update {
            // A lock that cannot be read is none: everything is new then.
            let changes = Changes::between(template.lock().ok().as_ref(), &lock);
            let text =
                if args.markdown { changes.markdown(&name) } else { format!("{name}: {}\n{changes}", changes.count()) };
            print(&text)?;
        }
        let word = if changed { "wrote" } else { "nothing changed in" };
        tell(&format!("{word} {}: {} inputs", path.display(), lock.inputs.len()));
    }
    Ok(exit)
}

/// The same names, each after those it stands on: a lock names the lock underneath.
fn bases_first(names: Vec<String>, dir: &Path) -> Result<Vec<String>, Failure> {
    let depth =
        |name: String| -> Result<(usize, String), Failure> { Ok((templates::find(&name, Some(dir))?.len(), name)) };
    let mut names = names.into_iter().map(depth).collect::<Result<Vec<_>, _>>()?;
    names.sort();
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

/// The templates of a folder: its folders with a template.toml.
fn folders(dir: &Path) -> Result<Vec<String>, Failure> {
    let mut names = templates::names(dir)?;
    names.sort();
    if names.is_empty() {
        let message = format!("there is no template below {}", dir.display());
        return Err(Failure { class: Class::Usage, code: "no-template", message });
    }
    Ok(names)
}

pub(crate) fn fetch(args: &FetchArgs, world: &World) -> Result<Exit, Failure> {
    let to = args.push.as_deref().map(str::parse::<Reference>).transpose()?;
    if to.as_ref().is_some_and(|to| to.digest.is_some()) {
        return Err(Failure::usage(
            "--push takes a repository, with a tag or without; the digest follows from the locks",
        ));
    }
    let bundled = || Template::bundled_names().iter().map(ToString::to_string).collect();
    let names: Vec<String> = if args.templates.is_empty() { bundled() } else { args.templates.clone() };
    let inputs = inputs(&args.inputs, world)?;
    let mut all = Vec::new();
    for name in names {
        let family = templates::find(&name, args.templates_dir.as_deref())?;
        let platforms = match &args.platform {
            Some(platform) => vec![platform.clone()],
            None if args.push.is_some() || args.output.is_some() => family[0].template.manifest.platforms.clone(),
            None => vec![Platform::host()],
        };
        for platform in platforms {
            let locks = lock::locked(&family[0].template, &family[1..], &platform)?;
            // Those that two templates of a family both have are one.
            let wanted: std::collections::BTreeSet<_> =
                locks.iter().flat_map(|lock| lock.for_platform(&platform)).collect();
            let wanted: Vec<_> = wanted.into_iter().collect();
            let line = Line::new();
            let fetched = inputs.fetch(&wanted, false, &|event| line.show(event))?;
            drop(line);
            let bytes: u64 = fetched.iter().map(|(input, _)| input.size).sum();
            let (count, size) = (fetched.len(), bytes.div_ceil(1_000_000));
            print(&format!("{name} {platform}: {count} inputs, {size} MB, all here\n"))?;
            all.extend(fetched);
        }
    }
    let artifact = Artifact::of(&all);
    if let Some(folder) = &args.output {
        artifact.write(folder)?;
        print(&format!("oci:{}@{}\n", folder.display(), artifact.digest()))?;
    }
    if let Some(to) = &to {
        let registry = world.registry_aloud(&args.inputs.registry, false);
        let published = artifact.push(&registry.repository(&to.repository), to.tag.as_deref())?;
        tell(&format!("{} inputs sent, {} there already", published.sent, published.present));
        print(&format!("{}\n", to.repository.pin(published.digest)))?;
    }
    Ok(Exit::Done)
}

/// Makes the folder of a new template.
pub(crate) fn init(args: &InitArgs) -> Result<Exit, Failure> {
    if Template::bundled_names().contains(&args.name.as_str()) {
        return Err(Failure::usage(format!("{} is bundled with bulla; give your template another name", args.name)));
    }
    let base = templates::find(&args.base, Some(&args.templates_dir))?;
    let template = skeleton::template(&args.name, &base[0].template.manifest).map_err(|error| match error {
        // Of its files, the name alone was typed.
        TemplateError::Files { .. } => Failure::usage(error.to_string()),
        error => error.into(),
    })?;
    let folder = args.templates_dir.join(&args.name);
    templates::create(&folder, &template)?;
    tell(&format!(
        "made {}; change its files, then: bulla lock {name} --templates-dir {dir} and bulla build {name} --templates-dir {dir}",
        folder.display(),
        name = args.name,
        dir = args.templates_dir.display()
    ));
    Ok(Exit::Done)
}
