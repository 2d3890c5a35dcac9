//! A real image of one static program, and a store in memory that serves it (or lies about it).

#![allow(dead_code, reason = "each test file uses its own part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::HashMap;
use std::io::{Seek, Write};
use std::process::Command;

use bulla::adapters::{Referrers, Served, Store, StoreError};
use bulla::content::{self, Digest};
use bulla::oci::{Descriptor, ImageManifest, Manifest, Platform, names};

/// What the container does: its words are small questions about where it runs.
const PROGRAM: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print(const char *path, const char *starts) {
    char line[512];
    FILE *file = fopen(path, "r");
    if (!file) { printf("no %s\n", path); return; }
    while (fgets(line, sizeof line, file))
        if (strncmp(line, starts, strlen(starts)) == 0) fputs(line, stdout);
    fclose(file);
}

static void interrupted(int signal) { _exit(128 + signal); }

int main(int argc, char **argv) {
    signal(SIGINT, interrupted);
    printf("%s\n", NAME);
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(word, "id")) printf("id %d:%d\n", getuid(), getgid());
        else if (!strcmp(word, "status")) {
            print("/proc/self/status", "CapEff:");
            print("/proc/self/status", "CapBnd:");
            print("/proc/self/status", "NoNewPrivs:");
        }
        else if (!strcmp(word, "networks")) print("/proc/net/dev", "");
        else if (!strcmp(word, "env")) { const char *v = getenv(value); printf("%s=%s\n", value, v ? v : "(unset)"); i++; }
        else if (!strcmp(word, "write")) {
            FILE *file = fopen(value, "w");
            printf("%s %s\n", file ? "wrote" : "could not write", value);
            if (file) { fputs("from inside\n", file); fclose(file); }
            i++;
        }
        else if (!strcmp(word, "stdin")) { char line[256]; while (fgets(line, sizeof line, stdin)) fputs(line, stdout); }
        else if (!strcmp(word, "sleep")) { fflush(stdout); sleep(atoi(value)); i++; }
        else if (!strcmp(word, "exit")) return atoi(value);
        else printf("word %s\n", word);
    }
    return 0;
}
"#;

/// A static program that says `name` first, or nothing, with the reason printed, where there is no C compiler.
pub(crate) fn program(name: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file);
    std::fs::write(at("tiny.c"), PROGRAM).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-static", "-Os", "-s", &format!("-DNAME=\"{name}\""), "-o"]).arg(at("tiny")).arg(at("tiny.c"));
    match cc.output() {
        Ok(output) if output.status.success() => Some(std::fs::read(at("tiny")).unwrap()),
        _ => {
            eprintln!("skipped: a static program (needs cc and a static C library)");
            None
        }
    }
}

/// An image and everything it is made of.
pub(crate) struct Tiny {
    /// Blobs and manifests by digest.
    pub(crate) content: HashMap<Digest, Vec<u8>>,
    /// The manifest.
    pub(crate) manifest: Descriptor,
    /// Its config.
    pub(crate) config: Descriptor,
    /// Its platform.
    pub(crate) platform: Platform,
}

impl Tiny {
    /// The image of this program. `edit` may change the config before it is written.
    pub(crate) fn new(program: &[u8], edit: impl FnOnce(&mut serde_json::Value)) -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        for folder in ["tmp/", "run/", "workspace/", "home/", "home/agent/"] {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            tar.append_data(&mut header, folder, std::io::empty()).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o755);
        header.set_size(program.len() as u64);
        tar.append_data(&mut header, "tiny", program).unwrap();
        let layer = tar.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&layer).unwrap();
        let stored = gzip.finish().unwrap();

        let platform = Platform::host();
        let mut config = serde_json::json!({
            "created": "2026-01-01T00:00:00Z",
            "architecture": platform.architecture,
            "os": platform.os,
            "config": {"Entrypoint": ["/tiny"], "Cmd": ["default"], "Env": ["PATH=/"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "test"}],
        });
        edit(&mut config);
        let config = config.to_string().into_bytes();
        let config_descriptor = Descriptor::of(names::CONFIG, &config);
        let layers = [Descriptor::of(names::LAYER_GZIP, &stored)];
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": names::MANIFEST, "config": config_descriptor, "layers": layers,
        });
        let manifest = manifest.to_string().into_bytes();
        let manifest_descriptor = Descriptor::of(names::MANIFEST, &manifest);
        let content = [manifest, config, stored].map(|bytes| (Digest::of(&bytes), bytes));
        Self {
            content: content.into_iter().collect(),
            manifest: manifest_descriptor,
            config: config_descriptor,
            platform,
        }
    }

    /// The same image, config and layers, under a manifest with these annotations.
    pub(crate) fn annotated(&self, annotations: &serde_json::Value) -> Self {
        let mut manifest: serde_json::Value = serde_json::from_slice(&self.content[&self.manifest.digest]).unwrap();
        manifest["annotations"] = annotations.clone();
        let manifest = manifest.to_string().into_bytes();
        let descriptor = Descriptor::of(names::MANIFEST, &manifest);
        let mut content = self.content.clone();
        content.insert(descriptor.digest, manifest);
        Self { content, manifest: descriptor, config: self.config.clone(), platform: self.platform.clone() }
    }

    /// The manifest, parsed.
    pub(crate) fn parsed(&self) -> ImageManifest {
        Manifest::parse(&self.content[&self.manifest.digest], None).unwrap().into_image().unwrap()
    }
}

impl Store for Tiny {
    fn manifest(&self, digest: &Digest) -> Result<Served, StoreError> {
        let raw = self.bytes(digest)?.to_vec();
        content::check_digest(&raw, digest, "a manifest")?;
        Ok(Served { raw, digest: *digest, media_type: Some(self.manifest.media_type.clone()) })
    }

    fn referrers(&self, _: &Digest) -> Result<Referrers, StoreError> {
        Ok(Referrers::default())
    }

    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.bytes(&descriptor.digest)?;
        Ok(content::read_exact(bytes, &descriptor.digest, descriptor.size, limit, "a blob")?)
    }

    fn open_blob(&self, descriptor: &Descriptor) -> Result<std::fs::File, StoreError> {
        let mut file = tempfile::tempfile().unwrap();
        self.copy_blob(descriptor, &mut file)?;
        file.rewind().unwrap();
        Ok(file)
    }

    fn copy_blob(&self, descriptor: &Descriptor, to: &mut dyn Write) -> Result<(), StoreError> {
        let io = |source| content::ContentError::Io { what: "a blob".to_owned(), source };
        let bytes = self.bytes(&descriptor.digest)?;
        to.write_all(bytes).map_err(io)?;
        Ok(content::check(bytes, &descriptor.digest, descriptor.size, "a blob")?)
    }
}

impl Tiny {
    fn bytes(&self, digest: &Digest) -> Result<&[u8], StoreError> {
        let absent = || StoreError::NotFound { what: digest.to_string(), place: "memory".to_owned() };
        self.content.get(digest).map(Vec::as_slice).ok_or_else(absent)
    }
}
