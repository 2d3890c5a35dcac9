//! Building again what somebody has published: for `launch --rebuild` and `attest --rebuild`.

use std::path::PathBuf;

use bulla::adapters::layout::Layout;
use bulla::adapters::templates::{self, Found};
use bulla::build::{BuildRequest, rebuilt};
use bulla::content::Digest;
use bulla::home;
use bulla::oci::normalize::compress::Compression;
use bulla::oci::{Manifest, Platform};

use super::author::Signer;
use super::make::{attach, run_build};
use super::{World, tell};
use crate::cli::{AttestArgs, InputArgs, LaunchArgs};
use crate::report::{Exit, Failure};

/// Builds a bundled template for this machine into a layout of the cache, for `launch --rebuild`.
pub(crate) fn rebuild(name: &str, args: &LaunchArgs, world: &World) -> Result<(Layout, Digest), Failure> {
    let family = templates::find(name, None)?;
    let output = world.cache()?.join("rebuild").join(name);
    let request = BuildRequest { offline: args.source.offline, ..again(&family, output.clone()) };
    let registry = args.source.registry.clone();
    let inputs = InputArgs { places: args.places.clone(), registry, ..InputArgs::default() };
    let record = run_build(&request, &inputs, world)?;
    Ok((Layout::open(&output)?, record.image.digest))
}

/// Builds the template as the image was built, and states that it is the same; or says that it is not.
pub(crate) fn attest(name: &str, args: &AttestArgs, world: &World) -> Result<Exit, Failure> {
    let family = templates::find(name, args.templates_dir.as_deref())?;
    let signer = Signer::read(&args.author, args.target.offline, world)?;
    let registry = args.target.registry.clone();
    let inputs = InputArgs { places: args.places.clone(), registry, ..InputArgs::default() };
    let mut other = None;
    let done = attach(&args.image, &args.target, signer.author(), world, |signing| {
        let (subject, manifest) = signing.image();
        let Manifest::Image(manifest) = manifest else {
            let digest = subject.digest;
            return Err(Failure::usage(format!("{digest} is an index; name the manifest of one platform by digest")));
        };
        let published = subject.digest;
        let is_zstd = manifest.layers.last().is_some_and(|layer| layer.media_type == Compression::Zstd.media_type());
        let request = BuildRequest {
            platform: args.platform.clone().unwrap_or_else(Platform::host),
            offline: args.target.offline,
            compression: if is_zstd { Compression::Zstd } else { Compression::Gzip },
            ..again(&family, world.cache()?.join("rebuild").join(name))
        };
        let record = run_build(&request, &inputs, world)?;
        if record.image.digest != published {
            other = Some(record.image.digest);
            return Err(Failure::usage(format!("the rebuild is {}, and not {published}", record.image.digest)));
        }
        Ok(signing.attest(&home::rebuild_type(), &rebuilt::predicate(&record))?)
    });
    match other {
        Some(digest) => {
            tell(&format!("the rebuild is {digest}, which is not that image: nothing was stated"));
            Ok(Exit::Denied)
        }
        None => done,
    }
}

/// A build of the first of the family on the others, by an engine: what was kept of an earlier build is no witness.
fn again(family: &[Found], output: PathBuf) -> BuildRequest<'_> {
    let Found { template, bundled } = &family[0];
    BuildRequest { bundled: *bundled, fresh: true, parents: &family[1..], ..BuildRequest::new(template, output) }
}
