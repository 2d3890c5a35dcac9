//! A verified image as a stream that an engine loads: an OCI layout and a docker archive in one tar.
//!
//! Engines with either kind of image store read it: `manifest.json` is docker's own format, `index.json` the OCI
//! layout's. Every layer is inflated in passing, and one whose diff_id is not the config's ends the stream before it
//! is whole, so that nothing is loaded.

use std::io::{self, Write};

use serde_json::json;

use crate::adapters::Store;
use crate::content::{Digest, Hashing, limits};
use crate::oci::layer::{Compression, compression};
use crate::oci::{Descriptor, ImageManifest, names};

use super::{RuntimeError, Wanted};

/// Writes the image that `wanted` names, reading its blobs from `store`.
pub(super) fn write(store: &dyn Store, wanted: &Wanted<'_>, to: &mut dyn Write) -> Result<(), RuntimeError> {
    let manifest = store.manifest(wanted.manifest_digest)?;
    let config = store.blob(&wanted.manifest.config, limits::CONFIG)?;
    let media_type = manifest.media_type.as_deref().unwrap_or(names::MANIFEST);
    let descriptor = Descriptor::of(media_type, &manifest.raw);
    let index = json!({"schemaVersion": 2, "mediaType": names::INDEX, "manifests": [descriptor]});
    let layers: Vec<_> = wanted.manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
    let docker = json!([{"Config": path(&wanted.manifest.config.digest), "RepoTags": null, "Layers": layers}]);
    file(to, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    file(to, "index.json", index.to_string().as_bytes())?;
    file(to, "manifest.json", docker.to_string().as_bytes())?;
    file(to, &path(&descriptor.digest), &manifest.raw)?;
    file(to, &path(&wanted.manifest.config.digest), &config)?;
    copy_layers(store, wanted.manifest, wanted.diff_ids, to)?;
    to.write_all(&[0; 1024]).map_err(RuntimeError::Stream)
}

fn copy_layers(
    store: &dyn Store,
    manifest: &ImageManifest,
    diff_ids: &[Digest],
    to: &mut dyn Write,
) -> Result<(), RuntimeError> {
    let mut written: Vec<(&Digest, &Digest)> = Vec::new();
    for (layer, expected) in manifest.layers.iter().zip(diff_ids) {
        // The same blob twice is stored once, and must have been called the same both times.
        if let Some((_, before)) = written.iter().find(|(digest, _)| *digest == &layer.digest) {
            same_diff_id(layer, expected, before)?;
            continue;
        }
        header(to, &path(&layer.digest), layer.size)?;
        let mut tee = Tee { to, copied: 0, inflated: Inflated::new(&layer.media_type)? };
        store.copy_blob(layer, &mut tee)?;
        let Tee { copied, inflated, .. } = tee;
        if copied != layer.size {
            return Err(RuntimeError::Stream(io::Error::other("a layer had another size than announced")));
        }
        same_diff_id(layer, expected, &inflated.finish().map_err(RuntimeError::Stream)?)?;
        pad(to, layer.size)?;
        written.push((&layer.digest, expected));
    }
    Ok(())
}

fn same_diff_id(layer: &Descriptor, expected: &Digest, actual: &Digest) -> Result<(), RuntimeError> {
    if expected == actual {
        return Ok(());
    }
    Err(RuntimeError::DiffId { layer: layer.digest, expected: *expected, actual: *actual })
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn file(to: &mut dyn Write, name: &str, bytes: &[u8]) -> Result<(), RuntimeError> {
    header(to, name, bytes.len() as u64)?;
    to.write_all(bytes).map_err(RuntimeError::Stream)?;
    pad(to, bytes.len() as u64)
}

fn header(to: &mut dyn Write, name: &str, size: u64) -> Result<(), RuntimeError> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).map_err(RuntimeError::Stream)?;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    to.write_all(header.as_bytes()).map_err(RuntimeError::Stream)
}

fn pad(to: &mut dyn Write, size: u64) -> Result<(), RuntimeError> {
    let rest = usize::try_from(size.wrapping_neg() % 512).unwrap_or(0);
    to.write_all(&[0; 512][..rest]).map_err(RuntimeError::Stream)
}

/// Passes a stored layer on and inflates it at the same time.
struct Tee<'a> {
    to: &'a mut dyn Write,
    copied: u64,
    inflated: Inflated,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        self.inflated.write_all(bytes)?;
        self.copied += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The digest of a layer's uncompressed bytes.
enum Inflated {
    Tar(Bounded),
    Gzip(Box<flate2::write::MultiGzDecoder<Bounded>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Bounded>>),
}

impl Inflated {
    fn new(media_type: &str) -> Result<Self, RuntimeError> {
        let into = Bounded(Hashing::new(io::sink()));
        let unknown = |_| RuntimeError::LayerType { media_type: media_type.chars().take(120).collect() };
        Ok(match compression(media_type).map_err(unknown)? {
            Compression::Plain => Self::Tar(into),
            Compression::Gzip => Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(into))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::write::Decoder::new(into).map_err(RuntimeError::Stream)?;
                decoder.window_log_max(limits::ZSTD_WINDOW_LOG).map_err(RuntimeError::Stream)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }

    fn finish(self) -> io::Result<Digest> {
        let Bounded(hashing) = match self {
            Self::Tar(into) => into,
            Self::Gzip(decoder) => decoder.finish()?,
            Self::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner()
            }
        };
        Ok(hashing.finish().1)
    }
}

impl Write for Inflated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tar(into) => into.write(bytes),
            Self::Gzip(decoder) => decoder.write(bytes),
            Self::Zstd(decoder) => decoder.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stops a decompression bomb.
struct Bounded(Hashing<io::Sink>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.size() + bytes.len() as u64 > limits::LAYER_UNCOMPRESSED {
            return Err(io::Error::other("a layer inflates to more than the limit"));
        }
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
