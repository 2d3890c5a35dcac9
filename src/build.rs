//! `bulla build`: a template and its lock become a canonical image with SBOM and provenance, in an OCI layout.
//!
//! Template and lock have to agree; every locked input is had and hashed; the engine runs the Dockerfile on those
//! alone, without a network; what it made is written canonically, described, and put in its place at once. A build
//! that fails leaves nothing.

mod documents;
mod finished;
mod ground;
pub mod rebuilt;
mod record;

use std::collections::BTreeMap;
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};

use ground::Ground;

pub use documents::{DOCUMENTS, OWN_DEPENDENCIES};
pub use record::{
    BuildRecord, EngineRecord, Expected, ImageRecord, InputsRecord, LayerRecord, Named, RECORD, SCHEMA, TemplateRecord,
};

use crate::adapters::engine::{self, Choice, Engine, EngineError, Host, Job, Workplace, context};
use crate::adapters::inputs::{Inputs, InputsError};
use crate::adapters::layout::LayoutWriter;
use crate::adapters::state::{self, StateError};
use crate::adapters::templates::Found;
use crate::adapters::{Event, Open, Progress, StoreError};
use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::describe;
use crate::dockerfile::{Dockerfile, DockerfileError};
use crate::home;
use crate::lock::{self, LockingError};
use crate::lockfile::{Input, Lock};
use crate::oci::diff;
use crate::oci::normalize::compress::Compression;
use crate::oci::normalize::{self, Canonical, NormalizeError, Options, RULES};
use crate::oci::tree::Inode;
use crate::oci::{Platform, names};
use crate::sbom::{self, Described, Inventory, SbomError, Scanner};
use crate::template::Template;
use crate::template::digests::{self, Digests};

/// What is to be built.
#[derive(Debug)]
pub struct BuildRequest<'a> {
    /// The template, with its lock.
    pub template: &'a Template,
    /// Whether it is one of those in the binary.
    pub bundled: bool,
    /// The templates that it stands on, the nearest first.
    pub parents: &'a [Found],
    /// For which platform.
    pub platform: Platform,
    /// Where the layout goes: absent, an empty folder, or a layout that bulla wrote.
    pub output: PathBuf,
    /// By which engine.
    pub engine: Choice,
    /// Whether missing inputs may be fetched.
    pub offline: bool,
    /// Whether to build twice and compare.
    pub check: bool,
    /// Whether engines run even where a finished build of the same inputs is here.
    pub fresh: bool,
    /// Whether the result is not held against the recorded digest, as it is about to be recorded.
    pub record: bool,
    /// The commit that the template is from, where that is known.
    pub source: Option<Source>,
    /// Who is accountable for the build; absent: somebody's own machine.
    pub builder_id: Option<String>,
    /// The run of a CI system in which this happens, by its address.
    pub invocation_id: Option<String>,
    /// How the new layer is stored.
    pub compression: Compression,
}

impl<'a> BuildRequest<'a> {
    /// One build of a bundled template for this machine, by whichever engine works.
    pub fn new(template: &'a Template, output: PathBuf) -> Self {
        Self {
            template,
            bundled: true,
            parents: &[],
            platform: Platform::host(),
            output,
            engine: Choice::Auto,
            offline: false,
            check: false,
            fresh: false,
            record: false,
            source: None,
            builder_id: None,
            invocation_id: None,
            compression: Compression::default(),
        }
    }
}

/// A commit of a repository.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Source {
    /// `git+https://…[@ref]`
    pub uri: String,
    /// The commit's name, in hex.
    #[serde(rename = "gitCommit")]
    pub commit: String,
}

/// What of the outside world a build needs.
pub struct World<'a> {
    /// Where inputs come from.
    pub inputs: &'a Inputs,
    /// What engines get of the environment.
    pub host: &'a Host,
    /// Folder for builds in progress, on a disk with room for a few images.
    pub work: &'a Path,
    /// Folder for finished builds, which may go at any time; absent: none is kept or looked for.
    pub finished: Option<&'a Path>,
    /// Who is told how far it is.
    pub progress: Progress<'a>,
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The template has no lock for this, or its lock is another template's.
    #[error(transparent)]
    Lock(#[from] LockingError),
    /// The Dockerfile could take in what is not locked.
    #[error(transparent)]
    Dockerfile(#[from] DockerfileError),
    /// Inputs that cannot be had.
    #[error(transparent)]
    Inputs(#[from] InputsError),
    /// Inputs or files of the template that cannot be handed to an engine.
    #[error(transparent)]
    Context(#[from] context::ContextError),
    /// No engine, or one that failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What the engine made cannot be made canonical.
    #[error("what the engine built cannot be made canonical: {0}")]
    Normalize(#[from] NormalizeError),
    /// What is in the image cannot be told.
    #[error(transparent)]
    Sbom(#[from] SbomError),
    /// The layout cannot be written.
    #[error(transparent)]
    Layout(#[from] StoreError),
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
    /// Two builds of the same inputs gave two images.
    #[error("two builds of the same inputs differ: {first} and {second}\n{}", .paths.join("\n"))]
    NotReproducible {
        /// Digest of the first.
        first: Digest,
        /// Digest of the second.
        second: Digest,
        /// The first paths that differ, each with what differs.
        paths: Vec<String>,
    },
    /// The image is another one than everybody's.
    #[error(
        "template {template:?} came to {actual}, and {expected} is recorded for its lock: the machine, the engine or \
         bulla differs in what it should not; nothing was kept. If bulla itself was changed, write it down with --record"
    )]
    Unexpected {
        /// Which template.
        template: String,
        /// The recorded digest.
        expected: Digest,
        /// What was built.
        actual: Digest,
    },
}

impl Classified for BuildError {
    fn class(&self) -> Class {
        match self {
            Self::Lock(error) => error.class(),
            Self::Dockerfile(error) => error.class(),
            Self::Inputs(error) => error.class(),
            Self::Context(error) => error.class(),
            Self::Engine(error) => error.class(),
            Self::Layout(error) => error.class(),
            Self::State(error) => error.class(),
            Self::Normalize(_) | Self::Sbom(_) | Self::NotReproducible { .. } | Self::Unexpected { .. } => Class::Build,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Lock(error) => error.code(),
            Self::Dockerfile(error) => error.code(),
            Self::Inputs(error) => error.code(),
            Self::Context(error) => error.code(),
            Self::Engine(error) => error.code(),
            Self::Layout(error) => error.code(),
            Self::State(error) => error.code(),
            Self::Normalize(error) => error.code(),
            Self::Sbom(error) => error.code(),
            Self::NotReproducible { .. } => "not-reproducible",
            Self::Unexpected { .. } => "unexpected-digest",
        }
    }
}

/// Builds a template's image for one platform and leaves it, described but unsigned, in `request.output`.
pub fn build(request: &BuildRequest<'_>, world: &World<'_>) -> Result<BuildRecord, BuildError> {
    let locks = lock::locked(request.template, request.parents, &request.platform)?;
    let lock = &locks[0];
    let dockerfile = Dockerfile::scan(request.template.dockerfile());
    dockerfile.check(&format!("images/{}/Dockerfile", request.template.name), &[])?;
    // Asked for before anything slow begins, so that a folder that may not be replaced is refused at once.
    let mut writer = LayoutWriter::create(&request.output)?;
    let expected = request.template.digests().map_err(LockingError::from)?;
    let expected = expected.and_then(|digests| digests.expected(&lock.digest(), RULES, &request.platform));
    // What is recorded is the digest of the image as it is stored by default.
    let expected = expected.filter(|_| !request.record && request.compression == Compression::default());
    let place = world.finished.map(|folder| finished::Place::of(folder, request, &locks));
    // A statement of who built it and from which commit is made by building, and so is a digest that is recorded.
    let reuse = !request.fresh && !request.check && !request.record;
    let reuse = reuse && request.source.is_none() && request.builder_id.is_none();
    let kept = place.as_ref().filter(|_| reuse).and_then(|place| place.find(request, &locks));
    // What is kept and not as it should be is no reason to fail: it is built.
    let kept = kept.filter(|(_, record)| expected.is_none_or(|expected| expected == record.image.digest));
    if let Some((layout, mut record)) = kept {
        (world.progress)(Event::Step("nothing changed since it was built here: taken from there"));
        if finished::copy(&layout, &record, &mut writer).is_ok() {
            record.reused = true;
            record.expected = compared(&request.template.name, expected, record.image.digest)?;
            writer.write_beside(RECORD, &record.write())?;
            writer.finish()?;
            return Ok(record);
        }
        writer = LayoutWriter::create(&request.output)?;
    }
    let ground = Ground::of(request, world)?;
    let inputs = world.inputs.fetch(&lock.for_platform(&request.platform), request.offline, world.progress)?;
    let build = Build { request, world, locks: &locks, lock, ground: ground.as_ref(), inputs: &inputs };
    let made = build.make()?;
    let mut builds = 1;
    if request.check {
        let again = build.make()?;
        if again.canonical.digest() != made.canonical.digest() {
            let (first, second) = (made.canonical.digest(), again.canonical.digest());
            let paths = made.differences(&again, ground.as_ref())?;
            return Err(BuildError::NotReproducible { first, second, paths });
        }
        builds = 2;
    }
    let expected = compared(&request.template.name, expected, made.canonical.digest())?;
    let record = build.write(made, builds, expected, writer)?;
    if let Some(place) = place.filter(|_| request.source.is_none() && request.builder_id.is_none()) {
        place.keep(&request.output, &record);
    }
    Ok(record)
}

/// Writes a build's digest down beside the template's lock.
pub fn write_digest(folder: &Path, template: &Template, record: &BuildRecord) -> Result<(), BuildError> {
    let before = template.digests().map_err(LockingError::from)?;
    let (platform, digest) = (&record.platform, record.image.digest);
    let digests = Digests::with(before, record.template.lock, RULES, platform, digest);
    Ok(state::write_file(&folder.join(digests::FILE_NAME), digests.write().as_bytes())?)
}

/// Holds a digest against the one that everybody's build should have.
fn compared(template: &str, expected: Option<Digest>, actual: Digest) -> Result<Expected, BuildError> {
    match expected {
        None => Ok(Expected::NotRecorded),
        Some(expected) if expected == actual => Ok(Expected::Match),
        Some(expected) => Err(BuildError::Unexpected { template: template.to_owned(), expected, actual }),
    }
}

/// One request, with everything it needs at hand.
struct Build<'a> {
    request: &'a BuildRequest<'a>,
    world: &'a World<'a>,
    /// Its lock, and those of the templates that it stands on.
    locks: &'a [Lock],
    lock: &'a Lock,
    ground: Option<&'a Ground>,
    inputs: &'a [(Input, PathBuf)],
}

/// An image, made and not yet written to its place.
struct Made {
    engine: Engine,
    passed_over: Vec<String>,
    raw_image: Digest,
    canonical: Canonical,
    inventory: Inventory,
    /// The folder of the build, with the new layer's stored bytes in [`LAYER`].
    place: Workplace,
}

/// How many differing paths are named when two builds differ.
const NAMED: usize = 20;
/// The file of a build's folder that takes the new layer.
const LAYER: &str = "layer";

impl Made {
    /// Compares two images, for a person: the first paths and settings that differ.
    fn differences(&self, other: &Self, ground: Option<&Ground>) -> Result<Vec<String>, BuildError> {
        let (own, others) = (|| self.place.open(LAYER), || other.place.open(LAYER));
        let base = ground.map(Ground::opens).unwrap_or_default();
        let (first, second) = (as_source(&self.canonical, &base, &own), as_source(&other.canonical, &base, &others));
        Ok(diff::diff(&first, &second)?.lines(NAMED))
    }
}

impl Build<'_> {
    /// Runs the engine once, and writes what it made canonically.
    fn make(&self) -> Result<Made, BuildError> {
        let Self { request, world, lock, .. } = self;
        let epoch = lock.source_date_epoch;
        let place = Workplace::create(world.work, epoch)?;
        let (engine, passed_over) = engine::find(&request.engine, world.host, place.runtime())?;
        (world.progress)(Event::Step(&format!(
            "unpacking what {} inputs need to install themselves",
            self.inputs.len()
        )));
        context::fill(&place, request.template, self.inputs)?;
        if let Some(ground) = self.ground {
            ground.put(&place, epoch)?;
        }
        let job = Job {
            context: place.context(),
            work: place.path().to_owned(),
            runtime: place.runtime().to_owned(),
            tag: format!("localhost/bulla-build:{}", place.word()),
            platform: request.platform.clone(),
            source_date_epoch: epoch,
        };
        let raw = engine.build(&job, world.progress)?;
        (world.progress)(Event::Step("writing the canonical image"));
        let opens: Vec<_> = raw.layers.iter().map(|layer| move || layer.open()).collect();
        let layers = raw.layers.iter().zip(&opens);
        let layers = layers.map(|(layer, open)| normalize::Source { descriptor: layer.descriptor(), open }).collect();
        let image = normalize::EngineImage { config: &raw.config, layers };
        let below = self.ground.map(Ground::opens).unwrap_or_default();
        let options = Options {
            epoch,
            base: self.ground.map(|ground| ground.base(&below)).unwrap_or_default(),
            labels: self.labels(),
            compression: request.compression,
            ..Options::default()
        };
        let blob = BufWriter::with_capacity(1 << 20, place.file(LAYER)?);
        let mut scanner = Scanner::new();
        let mut observe =
            |path: &[u8], inode: &Inode, content: &mut dyn Read| describe::scan(&mut scanner, path, inode, content);
        let canonical = normalize::normalize(&image, &options, place.file("spool")?, blob, Some(&mut observe))?;
        let inventory = scanner.finish()?;
        Ok(Made { engine, passed_over, raw_image: raw.digest, canonical, inventory, place })
    }

    /// Labels of the image: the template's, and those that bulla alone can say. They name no commit, so that the same
    /// template gives the same digest from any commit: the revision is the template's own digest.
    fn labels(&self) -> BTreeMap<String, String> {
        let (manifest, bundled) = (&self.request.template.manifest, self.request.bundled);
        let mut labels = manifest.labels.clone();
        let title = (!bundled).then(|| ("title", home::public_name(&manifest.name, bundled)));
        let source = bundled.then(|| ("source", home::REPOSITORY.to_owned()));
        let base = self
            .ground
            .map(|ground| [("base.name", ground.reference.clone()), ("base.digest", ground.digest.to_string())]);
        for name in ["source", "base.name", "base.digest"] {
            let key = format!("org.opencontainers.image.{name}");
            // Nobody else's images are this project's, and what an image stands on is not said but so.
            if name != "source" || labels.get(&key).is_some_and(|value| value.starts_with(home::REPOSITORY)) {
                labels.remove(&key);
            }
        }
        for (name, value) in title.into_iter().chain(source).chain(base.into_iter().flatten()).chain([
            ("revision", self.lock.template.to_string()),
            ("version", manifest.release.clone()),
            ("description", manifest.description.clone()),
        ]) {
            labels.insert(format!("org.opencontainers.image.{name}"), value);
        }
        labels
    }

    /// Writes layout, documents and record, and puts them in their place.
    fn write(
        &self,
        made: Made,
        builds: u32,
        expected: Expected,
        mut writer: LayoutWriter,
    ) -> Result<BuildRecord, BuildError> {
        let Self { request, lock, .. } = self;
        let (template, canonical) = (request.template, &made.canonical);
        let public_name = home::public_name(&template.name, request.bundled);
        let name = format!("{public_name}:{}", template.manifest.release);
        if let Some(ground) = self.ground {
            for layer in ground.layers() {
                writer.copy_blob(&ground.layout, layer)?;
            }
        }
        if let Some(layer) = canonical.written() {
            let blob = made.place.open(LAYER).map_err(StateError::io("read", made.place.path()))?;
            writer.add_blob(&layer.descriptor.media_type, blob)?;
        }
        let config = writer.add_blob(names::CONFIG, &*canonical.config)?;
        let image = writer.add_manifest(names::MANIFEST, &canonical.manifest, Some(&name))?;
        let described = Described::new(&public_name, &image.digest, &request.platform, lock.source_date_epoch);
        let mut documents = BTreeMap::new();
        let mut beside = |name: &str, bytes: &[u8]| -> Result<(), BuildError> {
            documents.insert(name.to_owned(), Digest::of(bytes));
            Ok(writer.write_beside(name, bytes)?)
        };
        beside(documents::SPDX, &sbom::spdx::write(&made.inventory, &described))?;
        beside(documents::CYCLONEDX, &sbom::cyclonedx::write(&made.inventory, &described))?;
        let local = if request.bundled { home::local_builder } else { home::own_builder };
        let builder_id = request.builder_id.clone().unwrap_or_else(local);
        let provenance = documents::provenance(&documents::Told {
            template,
            bundled: request.bundled,
            lock,
            inputs: self.inputs,
            parents: request.parents.iter().zip(&self.locks[1..]).collect(),
            base: self.ground.map(|ground| (&*ground.name, &ground.digest)),
            platform: &request.platform,
            engine: &made.engine,
            raw_image: made.raw_image,
            source: request.source.as_ref(),
            builder_id: &builder_id,
            invocation_id: request.invocation_id.as_deref(),
            compression: request.compression,
            dropped: &canonical.dropped,
            diff_ids: &canonical.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>(),
            documents: &documents,
        });
        let bytes = provenance.write();
        documents.insert(documents::PROVENANCE.to_owned(), Digest::of(&bytes));
        writer.write_beside(documents::PROVENANCE, &bytes)?;
        let layer = |layer: &normalize::CanonicalLayer| LayerRecord {
            digest: layer.descriptor.digest,
            size: layer.descriptor.size,
            diff_id: layer.diff_id,
        };
        let record = BuildRecord {
            schema: SCHEMA.into(),
            tool: Named { name: env!("CARGO_PKG_NAME").into(), version: env!("CARGO_PKG_VERSION").into() },
            template: template_record(template, request.bundled, lock),
            parents: request
                .parents
                .iter()
                .zip(&self.locks[1..])
                .map(|(parent, lock)| template_record(&parent.template, parent.bundled, lock))
                .collect(),
            platform: request.platform.clone(),
            source_date_epoch: lock.source_date_epoch,
            source: request.source.clone(),
            builder_id,
            engine: EngineRecord {
                name: made.engine.builder.as_str().to_owned(),
                version: made.engine.version.clone(),
                builder: made.engine.builder_name().map(str::to_owned),
                network: "none".into(),
                passed_over: made.passed_over,
                raw_image: made.raw_image,
            },
            inputs: InputsRecord {
                count: self.inputs.len(),
                bytes: self.inputs.iter().map(|(input, _)| input.size).sum(),
            },
            image: ImageRecord {
                name,
                digest: image.digest,
                config: config.digest,
                layers: canonical.layers.iter().map(layer).collect(),
                packages: made.inventory.packages.len(),
                rules: RULES.into(),
                compression: request.compression.as_str().into(),
                dropped: canonical.dropped.clone(),
            },
            documents,
            builds,
            reused: false,
            expected,
            signed: false,
        };
        writer.write_beside(RECORD, &record.write())?;
        writer.finish()?;
        Ok(record)
    }
}

fn template_record(template: &Template, bundled: bool, lock: &Lock) -> TemplateRecord {
    TemplateRecord {
        name: home::public_name(&template.name, bundled),
        release: template.manifest.release.clone(),
        bundled,
        digest: template.digest(),
        lock: lock.digest(),
    }
}

/// A canonical image, to be read again: its base's layers, and its own where it has one.
fn as_source<'a>(
    canonical: &'a Canonical,
    base: &'a [Open<'a>],
    open: &'a dyn Fn() -> std::io::Result<Box<dyn Read>>,
) -> normalize::EngineImage<'a> {
    let opens = base.iter().map(|open| &**open).chain([open]);
    let layers = canonical.layers.iter().zip(opens);
    let layers = layers.map(|(layer, open)| normalize::Source { descriptor: layer.descriptor.clone(), open });
    normalize::EngineImage { config: &canonical.config, layers: layers.collect() }
}
