//! Building again what somebody has published: for `launch --rebuild` and `attest --rebuild`.

use bulla::adapters::layout::Layout;
use bulla::build::{BuildRequest, rebuilt};
use bulla::content::Digest;
use bulla::home;
use bulla::oci::normalize::compress::Compression;
use bulla::oci::{Manifest, Platform};
use bulla::template::Template;

use super::make::{attach, private_key, run_build};
use super::{World, inputs, tell};
use crate::cli::{AttestArgs, InputArgs};
use crate::report::{Exit, Failure};

/// Builds a bundled template for this machine into a layout of the cache, for `launch --rebuild`.
pub(crate) fn rebuild(name: &str, offline: bool, world: &World) -> Result<(Layout, Digest), Failure> {
    let template = Template::bundled(name)?;
    let output = world.cache()?.join("rebuild").join(name);
    let request = BuildRequest { offline, ..BuildRequest::new(&template, output.clone()) };
    let record = run_build(&request, &InputArgs::default(), world)?;
    Ok((Layout::open(&output)?, record.image.digest))
}

/// Builds the template as the image was built, and states that it is the same; or says that it is not.
pub(crate) fn attest(args: &AttestArgs, world: &World) -> Result<Exit, Failure> {
    let name = args.rebuild.as_deref().unwrap_or_default();
    let key = private_key(&args.key, world)?;
    let template = inputs::template(name, args.templates_dir.as_deref())?;
    let bundled = args.templates_dir.is_none() && Template::bundled_names().contains(&template.name.as_str());
    let mut other = None;
    let done = attach(&args.image, &args.source, &key, world, |signing| {
        let (subject, manifest) = signing.image();
        let Manifest::Image(manifest) = manifest else {
            let digest = subject.digest;
            return Err(Failure::usage(format!("{digest} is an index; name the manifest of one platform by digest")));
        };
        let published = subject.digest;
        let is_zstd = manifest.layers.last().is_some_and(|layer| layer.media_type == Compression::Zstd.media_type());
        let output = world.cache()?.join("rebuild").join(name);
        let request = BuildRequest {
            bundled,
            platform: args.source.platform.clone().unwrap_or_else(Platform::host),
            offline: args.source.offline,
            compression: if is_zstd { Compression::Zstd } else { Compression::Gzip },
            ..BuildRequest::new(&template, output)
        };
        let record = run_build(&request, &InputArgs::default(), world)?;
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
