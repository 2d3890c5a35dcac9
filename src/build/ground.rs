//! What an image stands on: the finished image of its template's base, by digest.

use std::io;

use super::{BuildError, BuildRequest, World, build};
use crate::adapters::engine::{Workplace, context};
use crate::adapters::layout::Layout;
use crate::adapters::templates::Found;
use crate::adapters::{self, Open, Store};
use crate::content::{Digest, limits};
use crate::home;
use crate::oci::normalize::{self, Base, Source};
use crate::oci::{Descriptor, ImageConfig, Manifest, OciError};

/// A finished image, to build on.
pub(super) struct Ground {
    /// `base:0.1.0`
    pub(super) name: String,
    /// Where its template's images are published, with the tag; a name of no registry for one that is not bundled.
    pub(super) reference: String,
    /// Digest of its manifest.
    pub(super) digest: Digest,
    /// Its layout.
    pub(super) layout: Layout,
    layers: Vec<(Descriptor, Digest)>,
    /// The layout is in here.
    _place: Workplace,
}

impl Ground {
    /// The image of the template that the requested one stands on: built, or taken from what was built before.
    pub(super) fn of(request: &BuildRequest<'_>, world: &World<'_>) -> Result<Option<Self>, BuildError> {
        let Some((Found { template, bundled }, parents)) = request.parents.split_first() else { return Ok(None) };
        let place = Workplace::create(world.work, 0)?;
        let output = place.path().join("base");
        let request = BuildRequest {
            bundled: *bundled,
            parents,
            platform: request.platform.clone(),
            engine: request.engine.clone(),
            offline: request.offline,
            fresh: request.fresh,
            ..BuildRequest::new(template, output.clone())
        };
        let digest = build(&request, world)?.image.digest;
        let layout = Layout::open(&output)?;
        let served = layout.manifest(&digest)?;
        let refused = |source: OciError| BuildError::Normalize(source.into());
        let manifest = Manifest::parse(&served.raw, served.media_type.as_deref()).and_then(Manifest::into_image);
        let manifest = manifest.map_err(refused)?;
        let config = ImageConfig::parse(&layout.blob(&manifest.config, limits::CONFIG)?).map_err(refused)?;
        config.check_against(&manifest, &request.platform).map_err(refused)?;
        let layers = manifest.layers.into_iter().zip(config.diff_ids).collect();
        let release = &template.manifest.release;
        let name = format!("{}:{release}", home::public_name(&template.name, *bundled));
        let reference = format!("{}:{release}", home::subject_name(&template.name, *bundled));
        Ok(Some(Self { name, reference, digest, layout, layers, _place: place }))
    }

    /// Writes its file system where the Dockerfile finds it.
    pub(super) fn put(&self, place: &Workplace, epoch: i64) -> Result<(), BuildError> {
        let opens = self.opens();
        let spool = place.file("base-spool")?;
        let mut failed = None;
        place.put_with(context::BASE, 0o644, |file| {
            let out = io::BufWriter::with_capacity(1 << 20, file);
            failed = normalize::flatten(&self.base(&opens), epoch, spool, out).err();
            Ok(())
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// How to open each of its layers.
    pub(super) fn opens(&self) -> Vec<Open<'_>> {
        adapters::opens(&self.layout, self.layers())
    }

    /// Its layers, as the canonical image keeps them.
    pub(super) fn base<'a>(&'a self, opens: &'a [Open<'a>]) -> Vec<Base<'a>> {
        let layers = self.layers.iter().zip(opens);
        let base = |((descriptor, diff_id), open): (&(Descriptor, Digest), &'a Open<'a>)| Base {
            source: Source { descriptor: descriptor.clone(), open },
            diff_id: *diff_id,
        };
        layers.map(base).collect()
    }

    /// Its layers' descriptors, lowest first.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().map(|(descriptor, _)| descriptor)
    }
}
