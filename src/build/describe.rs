//! `bulla sbom`: an SBOM of any image, made from its layers here and now; nobody's word is taken for it.

use std::io::{self, Seek};
use std::path::Path;

use super::{BuildError, documents};
use crate::adapters::state::StateError;
use crate::adapters::{Served, Store};
use crate::content::limits;
use crate::oci::tree::{Content, Tree, TreeError};
use crate::oci::{ImageConfig, ImageManifest, Manifest, OciError, Platform};
use crate::sbom::read::Format;
use crate::sbom::{self, Described, Scanner};

/// Contents that are kept while the layers are read: package databases and licence texts, never whole programs.
const KEPT: u64 = 1 << 30;

/// The SBOM of an image that `store` holds. `root` is its manifest or index; of an index, the image of `platform` is
/// described (this machine's if none is named). Every layer is checked against manifest and config.
pub fn describe_image(
    store: &dyn Store,
    root: Served,
    name: &str,
    platform: Option<&Platform>,
    format: Format,
) -> Result<Vec<u8>, BuildError> {
    let (digest, manifest) = image(store, root, platform)?;
    let raw = store.blob(&manifest.config, limits::CONFIG)?;
    let config = ImageConfig::parse(&raw)?;
    if config.diff_ids.len() != manifest.layers.len() {
        let reason = format!("it has {} diff_ids for {} layers", config.diff_ids.len(), manifest.layers.len());
        return Err(OciError::Malformed { name: "image config", reason }.into());
    }
    let mut scanner = Scanner::new();
    let (mut tree, mut kept) = (Tree::new(), Vec::new());
    let scratch = |source| BuildError::State(StateError::io("write", Path::new("a temporary file"))(source));
    for (layer, diff_id) in manifest.layers.iter().zip(&config.diff_ids) {
        let mut stored = tempfile::tempfile().map_err(scratch)?;
        store.copy_blob(layer, &mut stored)?;
        stored.rewind().map_err(scratch)?;
        let found = tree.apply(&layer.media_type, stored, &mut |entry, content| {
            let at = kept.len() as u64;
            if scanner.wants(&String::from_utf8_lossy(&entry.path)) {
                let room = sbom::limits::FILE.min(KEPT.saturating_sub(at));
                if entry.size > room {
                    return Err(TreeError::Io(io::Error::other("the package databases are larger than is read")));
                }
                content.read_to_end(&mut kept).map_err(TreeError::Io)?;
            }
            Ok(Content { digest: None, size: kept.len() as u64 - at, at })
        })?;
        found.check(&layer.digest, layer.size, diff_id)?;
    }
    for (path, _, inode) in tree.iter() {
        let range = usize::try_from(inode.content.at).ok().zip(usize::try_from(inode.content.size).ok());
        let content = range.and_then(|(at, size)| kept.get(at..at.checked_add(size)?)).unwrap_or_default();
        documents::scan(&mut scanner, path, inode, &mut &*content).map_err(scratch)?;
    }
    let platform = Platform { os: config.os, architecture: config.architecture, variant: config.variant };
    let described = Described {
        name,
        digest: &digest,
        platform: Some(&platform),
        created: created(&raw),
        tool: env!("CARGO_PKG_NAME"),
        tool_version: env!("CARGO_PKG_VERSION"),
    };
    let inventory = scanner.finish()?;
    Ok(match format {
        Format::Spdx => sbom::spdx::write(&inventory, &described),
        Format::CycloneDx => sbom::cyclonedx::write(&inventory, &described),
    })
}

fn image(
    store: &dyn Store,
    root: Served,
    platform: Option<&Platform>,
) -> Result<(crate::content::Digest, ImageManifest), BuildError> {
    let index = match Manifest::parse(&root.raw, root.media_type.as_deref())? {
        Manifest::Image(image) => return Ok((root.digest, image)),
        Manifest::Index(index) => index,
    };
    let entry = index.select(&platform.cloned().unwrap_or_else(Platform::host))?;
    let served = store.manifest(&entry.digest)?;
    match Manifest::parse(&served.raw, Some(&entry.media_type))? {
        Manifest::Image(image) => Ok((served.digest, image)),
        Manifest::Index(_) => {
            let reason = "an index inside an index is not read".to_owned();
            Err(OciError::Malformed { name: "image index", reason }.into())
        }
    }
}

/// When the config says the image was made, in seconds since 1970; 0 where it does not say.
fn created(config: &[u8]) -> i64 {
    #[derive(serde::Deserialize)]
    struct Config {
        created: Option<jiff::Timestamp>,
    }
    let config = serde_json::from_slice::<Config>(config).ok().and_then(|config| config.created);
    config.map_or(0, jiff::Timestamp::as_second)
}
