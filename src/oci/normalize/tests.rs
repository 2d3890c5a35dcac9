use std::io::Cursor;

use super::*;
use crate::oci::layer::samples::{Head, Tar, gzip, zstd};
use crate::oci::layer::walk;
use crate::oci::{ImageConfig, Manifest, Platform};

const EPOCH: i64 = 1_700_000_000;

/// An engine's layer, as it is stored.
#[derive(Clone)]
struct Stored {
    media_type: &'static str,
    bytes: Vec<u8>,
    diff_id: Digest,
}

fn plain(tar: Tar) -> Stored {
    let bytes = tar.end();
    Stored { media_type: names::LAYER_TAR, diff_id: Digest::of(&bytes), bytes }
}

fn gzipped(tar: Tar) -> Stored {
    let Stored { bytes, diff_id, .. } = plain(tar);
    Stored { media_type: names::DOCKER_LAYER_GZIP, bytes: gzip(&bytes), diff_id }
}

fn zstandard(tar: Tar) -> Stored {
    let Stored { bytes, diff_id, .. } = plain(tar);
    Stored { media_type: names::LAYER_ZSTD, bytes: zstd(&bytes), diff_id }
}

fn engine_config(layers: &[Stored], run: &str) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| format!("\"{}\"", layer.diff_id)).collect();
    let rootfs = format!(r#"{{"type":"layers","diff_ids":[{}]}}"#, diff_ids.join(","));
    format!(r#"{{"os":"linux","architecture":"amd64","created":"now","config":{run},"rootfs":{rootfs}}}"#).into_bytes()
}

type Opener = Box<dyn Fn() -> io::Result<Box<dyn Read>>>;

fn opener(layer: &Stored) -> Opener {
    let bytes = layer.bytes.clone();
    Box::new(move || Ok(Box::new(Cursor::new(bytes.clone()))))
}

fn source<'a>(layer: &Stored, open: &'a Opener) -> Source<'a> {
    Source { descriptor: Descriptor::of(layer.media_type, &layer.bytes), open }
}

fn canonical_of(
    config: &[u8],
    layers: &[Stored],
    base: &[Stored],
    change: impl FnOnce(&mut Options<'_>),
) -> Result<(Canonical, Stored), NormalizeError> {
    let openers: Vec<_> = layers.iter().map(opener).collect();
    let base_openers: Vec<_> = base.iter().map(opener).collect();
    let bases = base.iter().zip(&base_openers);
    let mut options = Options {
        epoch: EPOCH,
        base: bases.map(|(layer, open)| Base { source: source(layer, open), diff_id: layer.diff_id }).collect(),
        ..Options::default()
    };
    change(&mut options);
    let sources = layers.iter().zip(&openers).map(|(layer, open)| source(layer, open)).collect();
    let mut blob = Vec::new();
    let image = EngineImage { config, layers: sources };
    let canonical = normalize(&image, &options, Cursor::new(Vec::new()), &mut blob, None)?;
    let layer = canonical.written().cloned();
    let diff_id = layer.as_ref().map_or(Digest::of(b""), |layer| layer.diff_id);
    Ok((canonical, Stored { media_type: options.compression.media_type(), bytes: blob, diff_id }))
}

fn canonical(layers: &[Stored]) -> (Canonical, Stored) {
    canonical_of(&engine_config(layers, "{}"), layers, &[], |_| {}).unwrap()
}

/// The entries of a stored layer, as text.
fn listing(layer: &Stored) -> Vec<String> {
    let mut lines = Vec::new();
    let digests = walk(layer.media_type, &layer.bytes[..], &mut |entry, content| {
        let mut text = String::new();
        content.read_to_string(&mut text).map_err(LayerError::Io)?;
        lines.push(format!(
            "{} {:?} {:o} {}:{} {} {:?} {text:?}",
            String::from_utf8_lossy(&entry.path),
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime,
            String::from_utf8_lossy(&entry.link)
        ));
        Ok::<_, LayerError>(())
    })
    .unwrap();
    assert_eq!(digests.diff_id, layer.diff_id);
    lines
}

fn names_in(layer: &Stored) -> Vec<String> {
    listing(layer).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn base_tar() -> Tar {
    Tar::new().dir("etc").file("etc/os-release", b"debian").dir("usr").dir("usr/bin").file("usr/bin/git", b"git")
}

#[test]
fn writes_an_image_of_nothing() {
    let (image, layer) = canonical(&[]);
    assert_eq!(listing(&layer), Vec::<String>::new());
    assert_eq!((image.paths, image.bytes, image.layers.len()), (0, 0, 1));
}

/// Every byte of a small image: a change here is a new version of the rules.
#[test]
fn the_rules_give_these_bytes() {
    let long = format!("opt/{}/{}", "a".repeat(90), "b".repeat(90));
    let tar = base_tar()
        .file("usr/bin/z", b"tool")
        .hardlink("usr/bin/a", "usr/bin/z")
        .raw(Head::new("usr/bin/su", b'0', 2).mode(0o4755).owner(0, 42), b"su")
        .pax(&[("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x20\0\0\n"), ("uid", b"3000000")])
        .file("usr/bin/ping", b"ping")
        .pax(&[("path", long.as_bytes()), ("mtime", b"1600000000.123")])
        .file("x", b"long")
        .symlink("bin", "usr/bin")
        .file("etc/shadow", b"root:*:30000:0:99999:7:::\n");
    let (image, layer) = canonical(&[plain(tar)]);
    let found = format!(
        "{}\n\n{}\n\n{}\n",
        listing(&layer).join("\n"),
        String::from_utf8(image.config.clone()).unwrap(),
        String::from_utf8(image.manifest.clone()).unwrap()
    );
    let golden = include_str!("../../../testdata/oci/canonical-small.txt");
    assert_eq!(found, golden, "write it to testdata/oci/canonical-small.txt if this is meant");
}

#[test]
fn what_engines_do_differently_gives_the_same_bytes() {
    let whole =
        base_tar().file("usr/bin/tool", b"tool").hardlink("usr/bin/link", "usr/bin/tool").symlink("bin", "usr/bin");
    let (expected, blob) = canonical(&[plain(whole.clone())]);
    let shadow = |day: &str| format!("root:*:{day}:0:99999:7:::\nnode:!:{day}:::::: \n");
    let cases = [
        ("gzip", vec![gzipped(whole.clone())]),
        ("zstd", vec![zstandard(whole.clone())]),
        (
            "one layer for each step",
            vec![
                gzipped(base_tar()),
                plain(
                    Tar::new()
                        .dir("usr")
                        .dir("usr/bin")
                        .file("usr/bin/tool", b"tool")
                        .hardlink("usr/bin/link", "usr/bin/tool"),
                ),
                plain(Tar::new().symlink("bin", "usr/bin")),
            ],
        ),
        (
            "something made and removed again",
            vec![
                plain(whole.clone().file("usr/bin/tmp", b"x").file("etc/tmp/a/b", b"y")),
                plain(Tar::new().file("usr/bin/.wh.tmp", b"").file("etc/.wh.tmp", b"")),
            ],
        ),
        (
            "a directory made again",
            vec![
                plain(Tar::new().dir("usr").file("usr/old", b"x").file("usr/bin/git", b"old")),
                plain(whole.clone().file("usr/.wh..wh..opq", b"")),
            ],
        ),
        (
            "order, and the direction of a hard link",
            vec![plain(
                Tar::new()
                    .symlink("./bin", "usr/bin")
                    .dir("./usr/bin/")
                    .file("usr/bin/link", b"tool")
                    .hardlink("./usr/bin/tool", "./usr/bin/link")
                    .file("usr/bin/git", b"git")
                    .dir("./")
                    .dir("usr")
                    .file("./etc/os-release", b"debian"),
            )],
        ),
        (
            "stubs and noise",
            vec![plain(
                whole
                    .clone()
                    .file("etc/hosts", b"127.0.0.1 builder")
                    .file("etc/resolv.conf", b"")
                    .file("etc/hostname", b"")
                    .file("etc/machine-id", b"0123")
                    .file("etc/passwd-", b"x")
                    .dir("debs"),
            )],
        ),
    ];
    for (what, layers) in cases {
        let mounts = |options: &mut Options<'_>| options.mount_points = vec!["/debs".to_owned()];
        let (image, other) = canonical_of(&engine_config(&layers, "{}"), &layers, &[], mounts).unwrap();
        assert_eq!(listing(&other), listing(&blob), "{what}");
        assert_eq!(image.digest(), expected.digest(), "{what}");
        assert!(other.bytes == blob.bytes, "{what}");
    }
    let on_day = |day: &str, mtime| {
        let text = shadow(day);
        plain(base_tar().raw(Head::new("etc/shadow", b'0', text.len()).mtime(mtime), text.as_bytes()))
    };
    let today = canonical(&[on_day("20500", 1_750_000_000)]).0;
    assert_eq!(today.digest(), canonical(&[on_day("20540", 1_790_000_000)]).0.digest(), "the day of useradd");
    assert_ne!(today.digest(), canonical(&[on_day("10", 1_750_000_000)]).0.digest(), "a day before is kept");
}

#[test]
fn what_differs_in_the_image_differs_in_its_digest() {
    let of = |tar: Tar| canonical(&[plain(tar)]).0.digest();
    let original = of(base_tar().file("a", b"1"));
    for (what, tar) in [
        ("content", base_tar().file("a", b"2")),
        ("name", base_tar().file("b", b"1")),
        ("mode", base_tar().raw(Head::new("a", b'0', 1).mode(0o755), b"1")),
        ("owner", base_tar().raw(Head::new("a", b'0', 1).owner(5, 0), b"1")),
        ("an earlier time", base_tar().raw(Head::new("a", b'0', 1).mtime(999), b"1")),
        ("attribute", base_tar().pax(&[("SCHILY.xattr.user.x", b"1")]).file("a", b"1")),
        ("kind", base_tar().symlink("a", "1")),
        ("missing", base_tar()),
        ("mode of a directory", base_tar().file("a", b"1").raw(Head::new("usr", b'5', 0).mode(0o700), b"")),
    ] {
        assert_ne!(of(tar), original, "{what}");
    }
    let run = |run: &str| {
        let layers = [plain(base_tar())];
        canonical_of(&engine_config(&layers, run), &layers, &[], |_| {}).unwrap().0.digest()
    };
    for field in [
        r#"{"User":"node"}"#,
        r#"{"Cmd":["x"]}"#,
        r#"{"Entrypoint":["x"]}"#,
        r#"{"Env":["A=1"]}"#,
        r#"{"WorkingDir":"/x"}"#,
        r#"{"Labels":{"a":"b"}}"#,
        r#"{"ExposedPorts":{"80/tcp":{}}}"#,
        r#"{"Volumes":{"/x":{}}}"#,
        r#"{"StopSignal":"SIGINT"}"#,
        r#"{"Healthcheck":{"Test":["CMD","x"]}}"#,
    ] {
        assert_ne!(run(field), run("{}"), "{field}");
    }
    for same in [
        r#"{"Hostname":"builder","Image":"x","OnBuild":null,"Env":null,"Cmd":null,"WorkingDir":"/"}"#,
        r#"{"Labels":{"io.buildah.version":"1.28"},"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}"#,
        "null",
    ] {
        assert_eq!(run(same), run("{}"), "{same}");
    }
    assert_eq!(run(r#"{"Env":["B=2","A=0","A=1"]}"#), run(r#"{"Env":["A=1","B=2"]}"#));
}

#[test]
fn a_canonical_image_is_its_own_canonical_image() {
    let long = "d/".repeat(60) + "file";
    let tar = base_tar().file("x", b"1").hardlink("b", "x").pax(&[("path", long.as_bytes())]).file("l", b"");
    let tar = tar.file("etc/shadow", b"root:*:30000:0:99999:7:::\n").raw(Head::new("fifo", b'6', 0), b"");
    let layers = [plain(tar)];
    let run =
        r#"{"User":"1000:1000","Env":["A=1"],"Healthcheck":{"Test":["CMD","x"],"Interval":5},"Labels":{"a":"b"}}"#;
    for compression in [Compression::Gzip, Compression::Zstd] {
        let (first, blob) =
            canonical_of(&engine_config(&layers, run), &layers, &[], |options| options.compression = compression)
                .unwrap();
        let again = [blob];
        let (second, _) =
            canonical_of(&first.config, &again, &[], |options| options.compression = compression).unwrap();
        assert_eq!(first.manifest, second.manifest);
        assert_eq!(first.config, second.config);
        assert!(second.dropped.is_empty());
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let big: Vec<u8> = (0..5_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 & 63).collect();
    let layers = [plain(base_tar().file("big", &big))];
    let of = |threads| {
        canonical_of(&engine_config(&layers, "{}"), &layers, &[], |options| options.threads = Some(threads)).unwrap()
    };
    assert_eq!(of(1).0, of(8).0);
    assert!(of(1).1.bytes == of(8).1.bytes);
}

#[test]
fn keeps_base_layers_and_writes_what_changed() {
    let (base, base_blob) = canonical(&[plain(base_tar().file("etc/old", b"x").file("usr/share/a/b", b"y"))]);
    let base_layer = [base_blob.clone()];
    let steps = [
        base_blob.clone(),
        plain(
            Tar::new()
                .raw(Head::new("usr/bin/claude", b'0', 6).mtime(1_900_000_000), b"claude")
                .file("etc/.wh.old", b"")
                .file("usr/share/.wh.a", b""),
        ),
    ];
    let squashed =
        [plain(base_tar().raw(Head::new("usr/bin/claude", b'0', 6).mtime(1_950_000_000), b"claude").dir("usr/share"))];
    let of = |layers: &[Stored]| canonical_of(&engine_config(layers, "{}"), layers, &base_layer, |_| {}).unwrap();
    let (image, blob) = of(&steps);
    assert_eq!(image.layers[0].descriptor, base.layers[0].descriptor);
    assert!(image.layers[0].base && !image.layers[1].base);
    assert_eq!(names_in(&blob), ["etc", "etc/old", "usr", "usr/bin", "usr/bin/claude", "usr/share", "usr/share/a"]);
    assert_eq!(image.digest(), of(&squashed).0.digest(), "an engine that merges layers makes the same image");

    // The two layers together are the image that one layer would have been.
    let both = [base_blob.clone(), blob.clone()];
    assert_eq!(canonical(&both).0.digest(), canonical(&steps).0.digest());
    let (again, _) = canonical_of(&image.config, &both, &base_layer, |_| {}).unwrap();
    assert_eq!(again.manifest, image.manifest, "and it is its own canonical image");

    let (unchanged, nothing) = of(&base_layer);
    assert_eq!((unchanged.layers.len(), nothing.bytes.len()), (1, 0), "no layer for no change");
    assert!(unchanged.written().is_none());
}

#[test]
fn writes_all_names_of_a_changed_hard_link_over_a_base() {
    let (_, base) = canonical(&[plain(base_tar().file("a", b"1").hardlink("b", "a").file("c", b"1"))]);
    let base = [base];
    let of = |tar: Tar| {
        let layers = [plain(tar)];
        canonical_of(&engine_config(&layers, "{}"), &layers, &base, |_| {}).unwrap()
    };
    let linked = of(base_tar().file("a", b"1").hardlink("b", "a").hardlink("n", "a").file("c", b"1"));
    assert_eq!(names_in(&linked.1), ["a", "b", "n"]);
    let split = of(base_tar().file("a", b"1").file("b", b"1").file("c", b"1"));
    assert_eq!(names_in(&split.1), ["b"], "one of them keeps the base's file");
    let same = of(base_tar().file("b", b"1").hardlink("a", "b").file("c", b"1"));
    assert!(same.0.written().is_none(), "the direction of a link is no change");
}

#[test]
fn replaces_directories_and_files_of_a_base() {
    let (_, base) = canonical(&[plain(base_tar().dir("d").file("d/x", b"1").file("f", b"2"))]);
    let base = [base];
    let layers = [plain(base_tar().file("d", b"now a file").dir("f").file("f/y", b"3"))];
    let (image, blob) = canonical_of(&engine_config(&layers, "{}"), &layers, &base, |_| {}).unwrap();
    assert_eq!(names_in(&blob), ["d", "f", "f/y"]);
    let both = [base[0].clone(), blob];
    assert_eq!(canonical(&both).0.digest(), canonical(&layers).0.digest());
    assert_eq!(image.layers.len(), 2);
}

#[test]
fn says_what_was_dropped() {
    let tar = base_tar()
        .file("etc/hosts", b"")
        .file("var/lib/apt/lists/a", b"")
        .file("var/lib/apt/lists/partial/b", b"")
        .file("root/.npm/_logs/x.log", b"")
        .file("home/node/.npm/_cacache/x", b"")
        .raw(Head::new("dev/console", b'3', 0).octal(329, 8, 5).octal(337, 8, 1), b"")
        .symlink("etc/resolv.conf", "../run/resolv.conf")
        .file("etc/hosts.allow", b"")
        .dir("debs")
        .dir("inputs")
        .file("inputs/left", b"");
    let layers = [plain(tar)];
    let mounts = |options: &mut Options<'_>| options.mount_points = vec!["debs".to_owned(), "/inputs/".to_owned()];
    let (image, blob) = canonical_of(&engine_config(&layers, "{}"), &layers, &[], mounts).unwrap();
    assert_eq!(
        image.dropped,
        [
            "dev/*",
            "etc/hosts",
            "var/lib/apt/lists/** (2 paths)",
            "~/.npm/_cacache (2 paths)",
            "~/.npm/_logs (2 paths)",
            "debs"
        ]
    );
    let names = names_in(&blob);
    for kept in ["dev", "etc/hosts.allow", "etc/resolv.conf", "inputs/left", "var/lib/apt/lists/partial", "root/.npm"] {
        assert!(names.iter().any(|name| name == kept), "{kept} is kept: {names:?}");
    }
}

#[test]
fn shows_every_file_of_the_finished_image() {
    let layers = [plain(base_tar().file("etc/hosts", b"x")), plain(Tar::new().file("usr/bin/git", b"newer"))];
    let openers: Vec<_> = layers.iter().map(opener).collect();
    let sources = layers.iter().zip(&openers).map(|(layer, open)| source(layer, open)).collect();
    let config = engine_config(&layers, "{}");
    let image = EngineImage { config: &config, layers: sources };
    let mut seen = Vec::new();
    let mut observe = |path: &[u8], _: &Inode, content: &mut dyn Read| {
        let mut text = String::new();
        if path != b"etc/os-release" {
            content.read_to_string(&mut text)?; // not reading one must not shift the others
        }
        seen.push(format!("{}={text}", String::from_utf8_lossy(path)));
        Ok(())
    };
    let options = Options { epoch: EPOCH, ..Options::default() };
    normalize(&image, &options, Cursor::new(Vec::new()), io::sink(), Some(&mut observe)).unwrap();
    assert_eq!(seen, ["etc=", "etc/os-release=", "usr=", "usr/bin=", "usr/bin/git=newer"]);
}

#[test]
fn refuses_layers_and_configs_that_are_not_each_others() {
    let good = plain(base_tar());
    let other = plain(base_tar().file("x", b""));
    let config = engine_config(std::slice::from_ref(&good), "{}");
    let error = |config: &[u8], layers: &[Stored]| canonical_of(config, layers, &[], |_| {}).map(|_| ()).unwrap_err();
    assert_eq!(error(&config, &[other]).class(), Class::Integrity, "another layer's content");
    assert_eq!(error(&config, &[]).class(), Class::Format, "a layer too few");
    assert_eq!(error(&config, &[good.clone(), good.clone()]).class(), Class::Format, "a layer too many");
    assert_eq!(error(b"{}", &[]).class(), Class::Format);
    assert_eq!(error(b"", &[]).class(), Class::Format);
    let mut wrong = good.clone();
    wrong.diff_id = Digest::of(b"other");
    let base = canonical_of(&config, std::slice::from_ref(&good), &[wrong], |_| {}).map(|_| ()).unwrap_err();
    assert_eq!(base.class(), Class::Integrity, "a base that is not what its diff_id says");
    for epoch in [-1, 1 << 33] {
        let error = canonical_of(&config, std::slice::from_ref(&good), &[], |options| options.epoch = epoch);
        assert_eq!(error.map(|_| ()).unwrap_err().class(), Class::Build);
    }
}

#[test]
fn a_full_disk_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("disk full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let layers = [plain(base_tar())];
    let openers: Vec<_> = layers.iter().map(opener).collect();
    let config = engine_config(&layers, "{}");
    let image = EngineImage { config: &config, layers: vec![source(&layers[0], &openers[0])] };
    let options = Options { epoch: EPOCH, ..Options::default() };
    let error = normalize(&image, &options, Cursor::new(Vec::new()), Full, None).unwrap_err();
    assert_eq!(error.class(), Class::State);
    let mut small = [0_u8; 4];
    let error = normalize(&image, &options, Cursor::new(&mut small[..]), io::sink(), None).unwrap_err();
    assert_eq!(error.class(), Class::State);
}

#[test]
fn others_read_config_and_manifest() {
    let (image, _) = canonical(&[plain(base_tar())]);
    let manifest = Manifest::parse(&image.manifest, Some(names::MANIFEST)).unwrap().into_image().unwrap();
    let config = ImageConfig::parse(&image.config).unwrap();
    let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None };
    config.check_against(&manifest, &platform).unwrap();
    assert_eq!(manifest.config.digest, Digest::of(&image.config));
    assert_eq!(config.diff_ids, [image.layers[0].diff_id]);
}
