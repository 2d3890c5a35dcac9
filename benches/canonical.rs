//! `make bench`: writing the canonical image of a large file system, beside `gzip -6` of the same layer by one thread.
//! The file system is this machine's /usr, so that sizes differ from place to place; docs/bench.md has the last figures.

#![allow(missing_docs, reason = "a program")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up is of no use")]

use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bulla::content::{Digest, Hashing};
use bulla::oci::normalize::compress::Compression;
use bulla::oci::normalize::{self, EngineImage, Options, Source};
use bulla::oci::{Descriptor, names};
use serde_json::json;

fn main() {
    // What `cargo test --benches` calls with `--test` needs no figures.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let layer = folder.path().join("layer.tar");
    if !archive(&layer) {
        println!("skipped: canonical image (no tar here)");
        return;
    }
    let size = layer.metadata().unwrap().len();
    println!("a layer of {:.0} MB", size as f64 / 1e6);
    let gzip = gzip(&layer, &folder.path().join("layer.tar.gz"));
    if let Some((time, size)) = gzip {
        println!("gzip -6, one thread: {time:.1?}, {:.0} MB", size as f64 / 1e6);
    }
    for compression in [Compression::Gzip, Compression::Zstd] {
        forget_memory();
        let (time, stored) = canonical(&layer, folder.path(), compression);
        print!("canonical, {}: {time:.1?}, {:.0} MB, {}", compression.as_str(), stored as f64 / 1e6, memory());
        match gzip {
            Some((slow, large)) => println!(
                ", {:.1} times faster, {:+.1} % in size",
                slow.as_secs_f64() / time.as_secs_f64(),
                (stored as f64 / large as f64 - 1.0) * 100.0
            ),
            None => println!(),
        }
    }
}

/// About 1 GB of files.
fn archive(to: &Path) -> bool {
    let mut command = Command::new("sh");
    command
        .args(["-c", "tar --create --directory / --sort name usr/bin usr/share usr/lib | head -c 1000000000 > \"$0\""]);
    let done = command.arg(to).stderr(Stdio::null()).status();
    if !done.is_ok_and(|status| status.success()) {
        return false;
    }
    // The end may be in the middle of a file, which no reader of archives takes: cut there.
    let mut whole = 0;
    let mut archive = tar::Archive::new(BufReader::new(File::open(to).unwrap()));
    for entry in archive.entries().unwrap() {
        let Ok(entry) = entry else { break };
        let end = entry.raw_file_position() + entry.size().next_multiple_of(512);
        if end > to.metadata().unwrap().len() {
            break;
        }
        whole = end;
    }
    let file = File::options().write(true).open(to).unwrap();
    file.set_len(whole).unwrap();
    file.set_len(whole + 1024).unwrap(); // two blocks of zeros end an archive
    whole > 0
}

fn gzip(layer: &Path, to: &Path) -> Option<(Duration, u64)> {
    let start = Instant::now();
    let input = File::open(layer).unwrap();
    let done = Command::new("gzip").args(["-6", "-c"]).stdin(input).stdout(File::create(to).unwrap()).status();
    done.ok().filter(std::process::ExitStatus::success)?;
    Some((start.elapsed(), to.metadata().unwrap().len()))
}

fn canonical(layer: &Path, folder: &Path, compression: Compression) -> (Duration, u64) {
    let diff_id = digest(layer);
    let descriptor = Descriptor::new(names::LAYER_TAR, diff_id, layer.metadata().unwrap().len());
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let open = || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(BufReader::new(File::open(layer)?))) };
    let image = EngineImage { config: &config, layers: vec![Source { descriptor, open: &open }] };
    let options = Options { epoch: 1_760_000_000, compression, ..Options::default() };
    let file = |name: &str| File::options().read(true).write(true).create(true).truncate(true).open(folder.join(name));
    let (spool, blob) = (file("spool").unwrap(), BufWriter::new(file("blob").unwrap()));
    let start = Instant::now();
    let made = normalize::normalize(&image, &options, spool, blob, None).unwrap();
    (start.elapsed(), made.written().unwrap().descriptor.size)
}

fn digest(file: &Path) -> Digest {
    let mut hashing = Hashing::new(File::open(file).unwrap());
    std::io::copy(&mut hashing, &mut std::io::sink()).unwrap();
    hashing.digest()
}

/// Sets the highest memory of this process back to what it has now.
fn forget_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(str::trim).map(str::to_owned);
    most.unwrap_or_else(|| "memory not measured".to_owned())
}
