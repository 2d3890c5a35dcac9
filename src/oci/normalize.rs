//! The canonical image: whatever an engine made of a Dockerfile, written so that every engine, machine and day gives
//! the same bytes. The rules, and why each of them, are in docs/canonical-image.md.
//!
//! The engine's layers are merged into one file system, noise is dropped, times are clamped, and the result is written
//! as one layer, or as one layer over those of a base image, which keep their blobs and digests. Contents go through a
//! spool that the caller provides, so memory is about 300 bytes a path and 40 MiB, whatever the size of the image.

pub mod compress;
mod config;
mod plan;
mod rules;
mod writer;

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use crate::class::{Class, Classified};
use crate::content::{ContentError, Digest, Hashing};
use crate::oci::layer::{Entry, Kind, LayerError};
use crate::oci::tree::{Content, Inode, Tree, TreeError, digest_only};
use crate::oci::{Descriptor, OciError, names};
use compress::{Compression, Compressor};
use config::EngineConfig;

/// The version of the rules. Another version gives other digests for the same input; it stands in every image's
/// history and in its provenance.
pub const RULES: &str = "1";

/// One stored layer: what it should be, and how to read it. `open` may be called more than once.
pub struct Source<'a> {
    /// Media type, digest and size of the stored bytes; all are checked.
    pub descriptor: Descriptor,
    /// Gives the stored bytes from their beginning.
    pub open: &'a dyn Fn() -> io::Result<Box<dyn Read>>,
}

/// What an engine made: its image config, and its layers from the lowest up.
pub struct EngineImage<'a> {
    /// The bytes of the config, as the engine wrote them. Its diff_ids are checked.
    pub config: &'a [u8],
    /// The layers, as many as the config has diff_ids.
    pub layers: Vec<Source<'a>>,
}

/// A layer of a canonical base image, which is to be part of the new image as it is.
pub struct Base<'a> {
    /// The stored layer.
    pub source: Source<'a>,
    /// The digest of its uncompressed archive.
    pub diff_id: Digest,
}

/// What the caller decides.
#[derive(Default)]
pub struct Options<'a> {
    /// The template's SOURCE_DATE_EPOCH, in seconds: no time in the image is later.
    pub epoch: i64,
    /// Layers to keep, lowest first. None: the image is one layer.
    pub base: Vec<Base<'a>>,
    /// Directories over which the build mounted something: dropped where they are empty.
    pub mount_points: Vec<String>,
    /// Labels laid over the engine's.
    pub labels: BTreeMap<String, String>,
    /// How the new layer is stored.
    pub compression: Compression,
    /// Compressing threads; `None`: one for each core. Never changes a byte.
    pub threads: Option<usize>,
}

/// A layer of the canonical image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalLayer {
    /// Media type, digest and size of the stored bytes.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Whether it is one of the base's, whose blob was not written again.
    pub base: bool,
}

/// The canonical image; the new layer's blob has gone to the caller's writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// The bytes of the image config.
    pub config: Vec<u8>,
    /// The bytes of the manifest, whose digest is the image's.
    pub manifest: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<CanonicalLayer>,
    /// What was left out, for the record: paths, or rules of the drop list with the number of paths.
    pub dropped: Vec<String>,
    /// Paths in the image's file system.
    pub paths: u64,
    /// Bytes in the image's files, each counted once however many names it has.
    pub bytes: u64,
}

impl Canonical {
    /// The digest of the image: of its manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The layer that was written, unless all of the image is its base's.
    pub fn written(&self) -> Option<&CanonicalLayer> {
        self.layers.iter().find(|layer| !layer.base)
    }
}

/// Why there is no canonical image.
#[derive(Debug, thiserror::Error)]
pub enum NormalizeError {
    /// The layers cannot be read, or make no file system.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The engine's config is not acceptable.
    #[error(transparent)]
    Config(#[from] OciError),
    /// A layer is not what its descriptor or the config says.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Reading a spool or layer, or writing the result, failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The operating system's word.
        source: io::Error,
    },
    /// An epoch that a tar header cannot hold.
    #[error("the epoch {0} is not between 1970 and 2242: correct source-date-epoch in the lock")]
    Epoch(i64),
}

impl Classified for NormalizeError {
    fn class(&self) -> Class {
        match self {
            Self::Tree(error) => error.class(),
            Self::Config(error) => error.class(),
            Self::Content(error) => error.class(),
            Self::Io { .. } => Class::State,
            Self::Epoch(_) => Class::Build,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Tree(error) => error.code(),
            Self::Config(error) => error.code(),
            Self::Content(error) => error.code(),
            Self::Io { .. } => "normalize-io",
            Self::Epoch(_) => "epoch-out-of-range",
        }
    }
}

/// Sees every path of the finished file system with its content, in canonical order.
pub type Observe<'a> = dyn FnMut(&[u8], &Inode, &mut dyn Read) -> io::Result<()> + 'a;

/// Writes the canonical image of what an engine made.
///
/// `spool` is empty storage for the uncompressed contents, private to this call; `blob` takes the new layer as it is
/// to be stored. Nothing that was written is to be used unless this returns `Ok`.
pub fn normalize<S: Read + Write + Seek>(
    image: &EngineImage<'_>,
    options: &Options<'_>,
    mut spool: S,
    blob: impl Write,
    observe: Option<&mut Observe<'_>>,
) -> Result<Canonical, NormalizeError> {
    if !(0..1 << 33).contains(&options.epoch) {
        return Err(NormalizeError::Epoch(options.epoch));
    }
    let engine = parse_config(image)?;
    spool.rewind().map_err(|source| NormalizeError::Io { action: "write the spool", source })?;
    let mut spool = Spool { file: BufWriter::with_capacity(256 << 10, spool), end: 0 };
    let hash = !options.base.is_empty(); // contents are compared with the base's, and only then
    let mut tree = Tree::new();
    for (source, diff_id) in image.layers.iter().zip(engine.diff_ids()) {
        apply(&mut tree, source, diff_id, &mut |entry, content| spool.keep(entry, content, options.epoch, hash))?;
    }
    let dropped = rules::drop_noise(&mut tree, &options.mount_points);
    let mut base = Tree::new();
    for layer in &options.base {
        apply(&mut base, &layer.source, &layer.diff_id, &mut digest_only)?;
    }
    let mut contents = spool.into_reader()?;
    let mut layers: Vec<_> = options.base.iter().map(CanonicalLayer::kept).collect();
    let changes = plan::changes(&tree, &base, options.epoch);
    if layers.is_empty() || !changes.is_empty() {
        layers.push(write_layer(&tree, &changes, &mut contents, options, blob)?);
    }
    if let Some(observe) = observe {
        for (path, _, inode) in tree.iter() {
            contents.of(inode, |content| observe(path, inode, content))?;
        }
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id).collect();
    let created = rfc3339(options.epoch)?;
    let json = |error: serde_json::Error| NormalizeError::Io { action: "write JSON", source: error.into() };
    let config = engine.write(&diff_ids, &created, &options.labels).map_err(json)?;
    let descriptors: Vec<_> = layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let manifest = config::manifest(&Descriptor::of(names::CONFIG, &config), &descriptors).map_err(json)?;
    let sizes: BTreeMap<_, _> = tree.iter().map(|(_, number, inode)| (number, inode.content.size)).collect();
    let bytes = sizes.into_values().sum();
    Ok(Canonical { config, manifest, layers, dropped, paths: tree.len() as u64, bytes })
}

/// The file system that an image's layers make, with the digest of every content: for comparing. Every layer is
/// checked against its descriptor and the config's diff_ids.
pub fn merged(image: &EngineImage<'_>) -> Result<Tree, NormalizeError> {
    let engine = parse_config(image)?;
    let mut tree = Tree::new();
    for (source, diff_id) in image.layers.iter().zip(engine.diff_ids()) {
        apply(&mut tree, source, diff_id, &mut digest_only)?;
    }
    Ok(tree)
}

/// Writes the file system that a canonical image's layers make as one plain archive, for an engine to start from.
/// `spool` is as in [`normalize`]. Every layer is checked; nothing that was written is to be used unless this
/// returns `Ok`.
pub fn flatten<S: Read + Write + Seek>(
    layers: &[Base<'_>],
    epoch: i64,
    spool: S,
    mut out: impl Write,
) -> Result<(), NormalizeError> {
    let mut spool = Spool { file: BufWriter::with_capacity(256 << 10, spool), end: 0 };
    let mut tree = Tree::new();
    for layer in layers {
        apply(&mut tree, &layer.source, &layer.diff_id, &mut |entry, content| {
            spool.keep(entry, content, epoch, false)
        })?;
    }
    write_archive(&tree, &plan::Changes::All, &mut spool.into_reader()?, epoch, &mut out)?;
    out.flush().map_err(|source| NormalizeError::Io { action: "write the archive", source })
}

/// The config, refused where it does not list the layers that there are.
fn parse_config(image: &EngineImage<'_>) -> Result<EngineConfig, NormalizeError> {
    let engine = EngineConfig::parse(image.config)?;
    if engine.diff_ids().len() != image.layers.len() {
        let reason = format!("it has {} diff_ids for {} layers", engine.diff_ids().len(), image.layers.len());
        return Err(OciError::Malformed { name: "image config", reason }.into());
    }
    Ok(engine)
}

impl CanonicalLayer {
    fn kept(base: &Base<'_>) -> Self {
        let from = &base.source.descriptor;
        let descriptor = Descriptor::new(&from.media_type, from.digest, from.size);
        Self { descriptor, diff_id: base.diff_id, base: true }
    }
}

fn apply(
    tree: &mut Tree,
    source: &Source<'_>,
    diff_id: &Digest,
    keep: &mut crate::oci::tree::Keep<'_>,
) -> Result<(), NormalizeError> {
    let Descriptor { media_type, digest, size, .. } = &source.descriptor;
    let stored = (source.open)().map_err(|source| NormalizeError::Io { action: "open a layer", source })?;
    let found = tree.apply(media_type, stored, keep)?;
    Ok(found.check(digest, *size, diff_id)?)
}

fn rfc3339(epoch: i64) -> Result<String, NormalizeError> {
    let time = jiff::Timestamp::from_second(epoch).map_err(|_| NormalizeError::Epoch(epoch))?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The time an entry gets: files keep what is not later than the epoch (.pyc files hold their source's time), and
/// directories, whose times say when something was built in them, get the epoch.
fn clamped(inode: &Inode, epoch: i64) -> i64 {
    if inode.kind == Kind::Directory { epoch } else { inode.mtime.clamp(0, epoch) }
}

fn write_layer<S: Read + Seek>(
    tree: &Tree,
    changes: &plan::Changes<'_>,
    contents: &mut Contents<S>,
    options: &Options<'_>,
    blob: impl Write,
) -> Result<CanonicalLayer, NormalizeError> {
    let io = |source| NormalizeError::Io { action: "write the layer", source };
    let stored = Hashing::new(blob);
    let mut archive = Hashing::new(Compressor::new(stored, options.compression, options.threads).map_err(io)?);
    write_archive(tree, changes, contents, options.epoch, &mut archive)?;
    let (compressor, diff_id, _) = archive.finish();
    let (mut blob, digest, size) = compressor.finish().map_err(io)?.finish();
    blob.flush().map_err(io)?;
    let descriptor = Descriptor::new(options.compression.media_type(), digest, size);
    Ok(CanonicalLayer { descriptor, diff_id, base: false })
}

/// The entries and the end of a canonical archive.
fn write_archive<S: Read + Seek>(
    tree: &Tree,
    changes: &plan::Changes<'_>,
    contents: &mut Contents<S>,
    epoch: i64,
    out: &mut impl Write,
) -> Result<(), NormalizeError> {
    let io = |source| NormalizeError::Io { action: "write the layer", source };
    let mut firsts: BTreeMap<u32, &[u8]> = BTreeMap::new();
    for change in changes.iter(tree) {
        let (path, number) = match change {
            plan::Change::Whiteout(path) => {
                writer::write_whiteout(out, path, epoch).map_err(io)?;
                continue;
            }
            plan::Change::Write(path, number) => (path, number),
        };
        let Some((_, inode)) = tree.get(path) else { continue };
        let first = *firsts.entry(number).or_insert(path);
        let hard_link = (first != path).then_some(first);
        let header = writer::Header { path, inode, mtime: clamped(inode, epoch), hard_link };
        contents.of(inode, |content| writer::write_entry(out, &header, content))?;
    }
    writer::write_end(out).map_err(io)
}

/// Contents on their way into the spool.
struct Spool<S: Write> {
    file: BufWriter<S>,
    end: u64,
}

impl<S: Write> Spool<S> {
    fn keep(&mut self, entry: &Entry, content: &mut dyn Read, epoch: i64, hash: bool) -> Result<Content, TreeError> {
        let mut shadow;
        let content: &mut dyn Read = if entry.path == rules::SHADOW {
            if entry.size > rules::SHADOW_LIMIT {
                let what = "bytes of etc/shadow";
                return Err(LayerError::TooLarge { what, limit: rules::SHADOW_LIMIT }.into());
            }
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(TreeError::Io)?;
            shadow = io::Cursor::new(rules::clamp_shadow(&bytes, epoch));
            &mut shadow
        } else {
            content
        };
        let (digest, size) = if hash {
            let mut hashing = Hashing::new(content);
            io::copy(&mut hashing, &mut self.file).map_err(TreeError::Io)?;
            let (_, digest, size) = hashing.finish();
            (Some(digest), size)
        } else {
            (None, io::copy(content, &mut self.file).map_err(TreeError::Io)?)
        };
        let at = self.end;
        self.end += size;
        Ok(Content { digest, size, at })
    }
}

impl<S: Read + Write + Seek> Spool<S> {
    fn into_reader(self) -> Result<Contents<S>, NormalizeError> {
        let io = |source| NormalizeError::Io { action: "write the spool", source };
        let mut file = self.file.into_inner().map_err(|error| io(error.into_error()))?;
        file.rewind().map_err(io)?;
        Ok(Contents { file: BufReader::with_capacity(256 << 10, file), position: 0 })
    }
}

/// Contents on their way out of it. What is wanted next mostly stands next, so what is buffered is kept on a seek.
struct Contents<S> {
    file: BufReader<S>,
    position: u64,
}

impl<S: Read + Seek> Contents<S> {
    fn of(&mut self, inode: &Inode, read: impl FnOnce(&mut dyn Read) -> io::Result<()>) -> Result<(), NormalizeError> {
        let Content { size, at, .. } = inode.content;
        let io = |source| NormalizeError::Io { action: "write the layer", source };
        if size == 0 {
            return read(&mut io::empty()).map_err(io);
        }
        let spool = |source| NormalizeError::Io { action: "read the spool", source };
        self.file.seek_relative(at.cast_signed() - self.position.cast_signed()).map_err(spool)?;
        let mut content = (&mut self.file).take(size);
        let done = read(&mut content);
        self.position = at + size - content.limit();
        done.map_err(io)
    }
}

#[cfg(test)]
mod tests;
