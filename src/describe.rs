//! `bulla sbom` and `bulla diff`: what is in an image, read from its layers.
//!
//! Every layer is read to its end and compared with its descriptor and its diff_id before anything it said counts.

use std::io::{self, Read};

use crate::adapters::{self, Open, Store, StoreError};
use crate::class::{Class, Classified};
use crate::content::{self, ContentError, Digest, limits};
use crate::oci::diff::{self, Difference};
use crate::oci::layer::Kind;
use crate::oci::normalize::{EngineImage, NormalizeError, Source};
use crate::oci::tree::{Content, Inode, Tree, TreeError, digest_only};
use crate::oci::{ImageConfig, ImageManifest, Manifest, OciError};
use crate::policy::verdict::Subject;
use crate::sbom::{self, Inventory, SbomError, Scanner, Seen};

/// All package databases of all layers together, in bytes. Real images have less than 30 MiB.
const DATABASES: u64 = 256 << 20;

/// Why it cannot be said what is in an image.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document is not acceptable.
    #[error(transparent)]
    Document(#[from] OciError),
    /// The layers make no file system.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A layer is not what it should be.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The layers cannot be compared.
    #[error(transparent)]
    Compare(#[from] NormalizeError),
    /// The package databases cannot be read.
    #[error(transparent)]
    Sbom(#[from] SbomError),
}

impl Classified for DescribeError {
    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Document(error) => error.class(),
            Self::Tree(error) => error.class(),
            Self::Content(error) => error.class(),
            Self::Compare(error) => error.class(),
            Self::Sbom(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Document(error) => error.code(),
            Self::Tree(error) => error.code(),
            Self::Content(error) => error.code(),
            Self::Compare(error) => error.code(),
            Self::Sbom(error) => error.code(),
        }
    }
}

/// An image's own documents.
struct Image {
    manifest: ImageManifest,
    config: Vec<u8>,
    diff_ids: Vec<Digest>,
    created: i64,
}

fn documents(store: &dyn Store, subject: &Subject) -> Result<Image, DescribeError> {
    let served = store.manifest(&subject.manifest)?;
    let manifest = Manifest::parse(&served.raw, served.media_type.as_deref())?.into_image()?;
    let config = store.blob(&manifest.config, limits::CONFIG)?;
    let parsed = ImageConfig::parse(&config)?;
    parsed.check_against(&manifest, &subject.platform)?;
    let created = created(&config);
    Ok(Image { manifest, config, diff_ids: parsed.diff_ids, created })
}

fn created(config: &[u8]) -> i64 {
    #[derive(serde::Deserialize)]
    struct Config {
        created: Option<jiff::Timestamp>,
    }
    let config = serde_json::from_slice::<Config>(config).ok().and_then(|config| config.created);
    config.map_or(0, jiff::Timestamp::as_second)
}

/// The packages of an image, and when it says it was made, in seconds since 1970 (0 where it does not say).
pub fn inventory(store: &dyn Store, subject: &Subject) -> Result<(Inventory, i64), DescribeError> {
    let image = documents(store, subject)?;
    let mut scanner = Scanner::new();
    let mut tree = Tree::new();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut left = DATABASES;
    for (descriptor, diff_id) in image.manifest.layers.iter().zip(&image.diff_ids) {
        let stored = store.open_blob(descriptor)?;
        let digests = tree.apply(&descriptor.media_type, stored, &mut |entry, content| {
            let path = String::from_utf8_lossy(&entry.path);
            if !scanner.wants(&path) {
                return digest_only(entry, content);
            }
            let bytes = content::read_bounded(content, left.min(sbom::limits::FILE), &path)
                .map_err(|error| TreeError::Io(io::Error::other(error)))?;
            left -= bytes.len() as u64;
            kept.push(bytes);
            Ok(Content { digest: None, size: entry.size, at: kept.len() as u64 })
        })?;
        digests.check(&descriptor.digest, descriptor.size, diff_id)?;
    }
    for (path, _, inode) in tree.iter() {
        let content = usize::try_from(inode.content.at).ok().and_then(|at| kept.get(at.checked_sub(1)?));
        scan(&mut scanner, path, inode, &mut content.map_or(&[][..], Vec::as_slice)).map_err(TreeError::Io)?;
    }
    Ok((scanner.finish()?, image.created))
}

/// Feeds the scanner one path of a finished file system; directories are of no interest to it.
pub fn scan(scanner: &mut Scanner, path: &[u8], inode: &Inode, content: &mut dyn Read) -> io::Result<()> {
    let path = String::from_utf8_lossy(path);
    match inode.kind {
        Kind::Directory => {}
        Kind::File | Kind::HardLink if scanner.wants(&path) => {
            let bytes = content::read_bounded(content, sbom::limits::FILE, &path).map_err(io::Error::other)?;
            scanner.file(&path, &bytes);
        }
        Kind::File | Kind::HardLink => scanner.seen(&path, Seen::File),
        Kind::Symlink => scanner.seen(&path, Seen::Link(&String::from_utf8_lossy(&inode.link))),
        _ => scanner.seen(&path, Seen::Other),
    }
    Ok(())
}

/// What differs between two images, path by path and in their configs.
pub fn compare(first: (&dyn Store, &Subject), second: (&dyn Store, &Subject)) -> Result<Difference, DescribeError> {
    let (first_image, second_image) = (documents(first.0, first.1)?, documents(second.0, second.1)?);
    let first_opens = adapters::opens(first.0, &first_image.manifest.layers);
    let second_opens = adapters::opens(second.0, &second_image.manifest.layers);
    Ok(diff::diff(&engine_image(&first_image, &first_opens), &engine_image(&second_image, &second_opens))?)
}

fn engine_image<'a>(image: &'a Image, opens: &'a [Open<'a>]) -> EngineImage<'a> {
    let layers = image.manifest.layers.iter().zip(opens);
    let layers = layers.map(|(descriptor, open)| Source { descriptor: descriptor.clone(), open: &**open }).collect();
    EngineImage { config: &image.config, layers }
}
