//! Where the commands of a page run: a folder with an image as `bulla build base` leaves it, and a registry.

use std::path::Path;
use std::process::{Command, Output};

use bulla::adapters::layout::LayoutWriter;
use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use serde_json::json;

use crate::read;
use crate::registry::TestRegistry;

/// A folder of its own, a home of its own, and `$REGISTRY`.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    registry: TestRegistry,
}

impl Place {
    /// With `base.oci`, an image that nobody has signed yet.
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), registry: TestRegistry::start() };
        std::fs::create_dir(place.folder.path().join("work")).unwrap();
        write_image(&place.path("base.oci"));
        place
    }

    /// A file in the folder in which commands run.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// A command line, as somebody types it.
    pub(crate) fn sh(&self, line: &str) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_bulla")).parent().unwrap();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", program.display());
        let home = self.folder.path().join("home");
        Command::new("sh")
            .args(["-c", line])
            .current_dir(self.folder.path().join("work"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("REGISTRY", self.registry.host())
            .env("BULLA_KEY_PASSWORD", "only in tests")
            .output()
            .unwrap()
    }

    /// The same, which has to end well. Returns its standard output.
    pub(crate) fn run(&self, line: &str) -> String {
        let output = self.sh(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A small Debian of two packages, with its provenance beside it.
fn write_image(dir: &Path) {
    let mut layer = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("etc/os-release", "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n"),
        (
            "var/lib/dpkg/status",
            "Package: git\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.47.3-0+deb13u1\n\n\
             Package: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 8.14.1-2\n",
        ),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        layer.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let config = json!({
        "created": "2026-11-20T00:00:00Z", "os": "linux", "architecture": "amd64",
        "config": { "User": "1000:1000", "Cmd": ["/bin/bash"] },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer)] },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": names::MANIFEST,
        "config": Descriptor::of(names::CONFIG, &config),
        "layers": [Descriptor::of(names::LAYER_TAR, &layer)],
    });
    let mut writer = LayoutWriter::create(dir).unwrap();
    writer.add_blob(names::CONFIG, &config[..]).unwrap();
    writer.add_blob(names::LAYER_TAR, &layer[..]).unwrap();
    writer.add_manifest(names::MANIFEST, &serde_json::to_vec(&manifest).unwrap(), Some("base:0.1.0")).unwrap();
    writer.finish().unwrap();
    std::fs::create_dir_all(dir.join("bulla")).unwrap();
    std::fs::write(dir.join("bulla/provenance.json"), read("testdata/provenance/base.json")).unwrap();
}
