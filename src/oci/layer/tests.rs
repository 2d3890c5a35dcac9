use std::io::Write;

use super::samples::{Head, Tar, gzip, pax_record, zstd};
use super::*;

type Listed = Vec<(Entry, Vec<u8>)>;

fn list(media_type: &str, stored: &[u8]) -> Result<(Listed, LayerDigests), LayerError> {
    let mut entries = Vec::new();
    let digests = walk(media_type, stored, &mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(LayerError::Io)?;
        entries.push((entry.clone(), bytes));
        Ok::<_, LayerError>(())
    })?;
    Ok((entries, digests))
}

fn plain(tar: &[u8]) -> Result<Listed, LayerError> {
    list(names::LAYER_TAR, tar).map(|(entries, _)| entries)
}

fn refused(what: &str, tar: Vec<u8>, code: &str) {
    match plain(&tar) {
        Ok(entries) => panic!("{what}: accepted as {entries:?}"),
        Err(error) => assert_eq!(error.code(), code, "{what}: {error}"),
    }
}

#[test]
fn reads_an_empty_archive_and_refuses_an_empty_layer() {
    assert_eq!(plain(&Tar::new().end()).unwrap(), vec![]);
    for media_type in [names::LAYER_TAR, names::LAYER_GZIP, names::LAYER_ZSTD] {
        assert_eq!(list(media_type, b"").unwrap_err().class(), Class::Format, "{media_type}");
    }
    assert!(plain(&[0]).is_err());
}

#[test]
fn reads_the_same_entries_from_every_compression() {
    let tar = Tar::new().dir("./a/").file("./a/b", b"content").symlink("a/c", "../../x").hardlink("a/d", "./a/b").end();
    let diff_id = Digest::of(&tar);
    let stored = [
        (names::LAYER_TAR, tar.clone()),
        (names::LAYER_GZIP, gzip(&tar)),
        (names::DOCKER_LAYER_GZIP, gzip(&tar)),
        (names::LAYER_ZSTD, zstd(&tar)),
        (names::LAYER_GZIP, [gzip(&tar[..600]), gzip(&tar[600..])].concat()),
        (names::LAYER_ZSTD, [zstd(&tar[..600]), zstd(&tar[600..])].concat()),
    ];
    for (media_type, stored) in stored {
        let (entries, digests) = list(media_type, &stored).unwrap();
        digests.check(&Digest::of(&stored), stored.len() as u64, &diff_id).unwrap();
        let paths: Vec<_> = entries.iter().map(|(entry, _)| (entry.path.as_slice(), entry.kind)).collect();
        assert_eq!(
            paths,
            [(&b"a"[..], Kind::Directory), (b"a/b", Kind::File), (b"a/c", Kind::Symlink), (b"a/d", Kind::HardLink)],
        );
        assert_eq!(entries[1].1, b"content");
        assert_eq!((entries[2].0.link.as_slice(), entries[3].0.link.as_slice()), (&b"../../x"[..], &b"a/b"[..]));
    }
}

#[test]
fn i08_m05_sees_what_stands_in_a_second_gzip_member() {
    let first = Tar::new().file("a.txt", b"1");
    let second = Tar::new().file("hidden.txt", b"2").end();
    let stored = [gzip(&first.0), gzip(&second)].concat();
    assert_eq!(list(names::LAYER_GZIP, &stored).unwrap().0.len(), 2);
}

#[test]
fn refuses_what_is_not_its_digest_size_or_diff_id() {
    let tar = Tar::new().file("a", b"1").end();
    let stored = gzip(&tar);
    let (_, digests) = list(names::LAYER_GZIP, &stored).unwrap();
    let (digest, size, diff_id) = (Digest::of(&stored), stored.len() as u64, Digest::of(&tar));
    digests.check(&digest, size, &diff_id).unwrap();
    for error in [
        digests.check(&diff_id, size, &diff_id),
        digests.check(&digest, size + 1, &diff_id),
        digests.check(&digest, size, &digest),
    ] {
        assert_eq!(error.unwrap_err().class(), Class::Integrity);
    }
    let longer = [tar, vec![0; 512]].concat();
    assert_ne!(list(names::LAYER_TAR, &longer).unwrap().1.diff_id, diff_id, "padding after the end is hashed");
}

#[test]
fn i08_refuses_trailing_garbage_truncation_and_other_compressions() {
    let tar = Tar::new().file("a", b"1").end();
    let cases = [
        ("garbage after gzip", names::LAYER_GZIP, [gzip(&tar), b"garbage".to_vec()].concat()),
        ("zeros after gzip", names::LAYER_GZIP, [gzip(&tar), vec![0; 64]].concat()),
        ("garbage after zstd", names::LAYER_ZSTD, [zstd(&tar), b"garbage".to_vec()].concat()),
        ("cut gzip", names::LAYER_GZIP, gzip(&tar)[..gzip(&tar).len() - 9].to_vec()),
        ("cut zstd", names::LAYER_ZSTD, zstd(&tar)[..zstd(&tar).len() - 3].to_vec()),
        ("tar as gzip", names::LAYER_GZIP, tar.clone()),
        ("gzip as zstd", names::LAYER_ZSTD, gzip(&tar)),
        ("gzip as tar", names::LAYER_TAR, gzip(&tar)),
        ("flipped gzip", names::LAYER_GZIP, {
            let mut bytes = gzip(&tar);
            let end = bytes.len() - 6;
            bytes[end] ^= 1;
            bytes
        }),
        ("unknown type", "application/vnd.oci.image.layer.nondistributable.v1.tar", tar.clone()),
        ("entries after the end", names::LAYER_TAR, [tar.clone(), tar.clone()].concat()),
        ("a lone zero block", names::LAYER_TAR, [Tar::new().file("a", b"1").0, vec![0; 512], tar.clone()].concat()),
        ("cut header", names::LAYER_TAR, tar[..300].to_vec()),
        ("cut content", names::LAYER_TAR, tar[..513].to_vec()),
    ];
    for (what, media_type, stored) in cases {
        let error = list(media_type, &stored).map(|(entries, _)| entries.len()).expect_err(what);
        assert_eq!(error.class(), Class::Format, "{what}: {error}");
    }
}

#[test]
fn i07_bounds_bombs() {
    let bomb = gzip(&vec![0_u8; 16 << 20]);
    let bounds = Bounds { uncompressed: 1 << 20, ..Bounds::default() };
    let error = walk_within(&bounds, names::LAYER_GZIP, &bomb[..], &mut |_, _| Ok::<(), LayerError>(())).unwrap_err();
    assert_eq!(error.class(), Class::Limit);

    let big = Tar::new().file("big", &vec![7; 1 << 20]).end();
    let mut seen = 0;
    let error = walk_within(&bounds, names::LAYER_GZIP, &gzip(&big)[..], &mut |_, content| {
        seen = io::copy(content, &mut io::sink()).unwrap_or(1); // swallowed here, and still reported
        Ok::<(), LayerError>(())
    });
    assert_eq!((error.unwrap_err().class(), seen), (Class::Limit, 1));

    let bounds = Bounds { stored: 100, ..Bounds::default() };
    let error = walk_within(&bounds, names::LAYER_TAR, &big[..], &mut |_, _| Ok::<(), LayerError>(())).unwrap_err();
    assert_eq!(error.class(), Class::Limit);

    let bounds = Bounds { entries: 2, ..Bounds::default() };
    let many = Tar::new().file("a", b"").file("b", b"").file("c", b"").end();
    let error = walk_within(&bounds, names::LAYER_TAR, &many[..], &mut |_, _| Ok::<(), LayerError>(())).unwrap_err();
    assert_eq!(error.class(), Class::Limit);
}

#[test]
fn i07_refuses_a_zstd_window_beyond_the_limit() {
    let tar = Tar::new().file("a", &vec![1; 1 << 16]).end();
    for (log, fine) in [(limits::ZSTD_WINDOW_LOG, true), (limits::ZSTD_WINDOW_LOG + 1, false)] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&tar).unwrap();
        assert_eq!(list(names::LAYER_ZSTD, &encoder.finish().unwrap()).is_ok(), fine, "{log}");
    }
}

#[test]
fn a_source_that_fails_is_no_malformed_layer() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk"))
        }
    }
    for media_type in [names::LAYER_TAR, names::LAYER_GZIP, names::LAYER_ZSTD] {
        let error = walk(media_type, Broken, &mut |_, _| Ok::<(), LayerError>(())).unwrap_err();
        assert_eq!(error.class(), Class::State, "{error}");
    }
}

#[test]
fn i01_i04_refuses_names_that_lead_out_or_cannot_be() {
    let long = "x/".repeat(2100) + "x";
    for name in ["../x", "a/../../x", "..", "/etc/passwd", "a/.."] {
        refused(name, Tar::new().file(name, b"").end(), "unsafe-path");
    }
    refused("empty", Tar::new().file("", b"").end(), "unsafe-path");
    refused("absolute directory", Tar::new().dir("/etc/").end(), "unsafe-path");
    refused("absolute root", Tar::new().dir("/").end(), "unsafe-path");
    for (what, name) in
        [("NUL", &b"a\0b"[..]), ("long", long.as_bytes()), ("long name", &[b'x'; 256]), ("up", b"a/../b")]
    {
        refused(what, Tar::new().pax(&[("path", name)]).file("a", b"").end(), "unsafe-path");
        if what != "NUL" {
            let long_name = Tar::new().raw(Head::new("././@LongLink", b'L', name.len() + 1), &[name, b"\0"].concat());
            refused(what, long_name.file("a", b"").end(), "unsafe-path");
        }
    }
    refused("root as a link", Tar::new().symlink(".", "/etc").end(), "unsafe-path");
    refused("root as a file", Tar::new().file("./", b"").end(), "malformed-layer");
    assert_eq!(plain(&Tar::new().dir("./").end()).unwrap()[0].0.path, b"");
    for target in ["../x", "/etc/passwd"] {
        refused(target, Tar::new().hardlink("a", target).end(), "unsafe-path");
    }
    refused("a hard link to itself", Tar::new().hardlink("a", "./a").end(), "malformed-layer");
    refused("a symbolic link to nothing", Tar::new().symlink("a", "").end(), "unsafe-path");
}

#[test]
fn refuses_a_path_that_is_two_things() {
    refused("twice", Tar::new().file("a", b"1").file("./a", b"2").end(), "duplicate-entry");
    refused("file and directory", Tar::new().file("a", b"1").dir("a").end(), "duplicate-entry");
    refused("directory and link", Tar::new().dir("a").symlink("a", "/etc").end(), "duplicate-entry");
    refused("through a link", Tar::new().symlink("a", "/etc").file("a/passwd", b"").end(), "malformed-layer");
    refused("deep through a link", Tar::new().symlink("a", "/etc").file("a/b/c", b"").end(), "malformed-layer");
    refused("a link after the fact", Tar::new().file("a/b", b"").symlink("a", "/etc").end(), "duplicate-entry");
    refused("whiteout and file", Tar::new().file(".wh.a", b"").file("a", b"").end(), "duplicate-entry");
    refused("file and whiteout", Tar::new().file("a", b"").file(".wh.a", b"").end(), "duplicate-entry");
    let twice = Tar::new().dir("a").file("a/b", b"").dir("./a/").end();
    assert_eq!(plain(&twice).unwrap().len(), 3, "a directory may be listed again");
}

#[test]
fn i05_classifies_whiteouts() {
    let tar = Tar::new().file("a/.wh.b", b"").file("c/.wh..wh..opq", b"").file(".wh..wh..opq", b"").end();
    let entries = plain(&tar).unwrap();
    let found: Vec<_> = entries.iter().map(|(entry, _)| (entry.path.as_slice(), entry.kind)).collect();
    assert_eq!(found, [(&b"a/b"[..], Kind::Whiteout), (b"c", Kind::Opaque), (b"", Kind::Opaque)]);
    for name in [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh..wh.plnk", ".wh..wh.aufs", "a/.wh.b/c"] {
        refused(name, Tar::new().file(name, b"").end(), "unsafe-path");
    }
    refused("a whiteout with content", Tar::new().file(".wh.a", b"x").end(), "malformed-layer");
    refused("a whiteout that is a directory", Tar::new().dir(".wh.a").end(), "malformed-layer");
    refused("a link to a whiteout", Tar::new().hardlink("a", ".wh.b").end(), "malformed-layer");
}

#[test]
fn i09_refuses_sizes_that_readers_disagree_about() {
    let hidden = Tar::new().file("hidden", b"").0;
    let desync = Tar::new().pax(&[("size", b"0")]).file("a", &hidden).end();
    refused("PAX size smaller", desync, "malformed-layer");
    let desync = Tar::new().pax(&[("size", b"512")]).raw(Head::new("a", b'0', 0), &hidden).end();
    refused("PAX size larger", desync, "malformed-layer");
    for flag in *b"123456" {
        let head = Head::new("a", flag, 512).link("b").octal(329, 8, 1);
        refused("content of a link or directory", Tar::new().raw(head, &hidden).end(), "malformed-layer");
    }
    for size in [&b"-1"[..], b"0x1", b" 1", b"18446744073709551616", b"1e3"] {
        refused("PAX size", Tar::new().pax(&[("size", size)]).file("a", b"").end(), "malformed-layer");
    }
    let endless = Tar::new().pax(&[("size", b"18446744073709551615")]).file("a", b"").end();
    refused("endless", endless, "layer-too-large");
    let same = Tar::new().pax(&[("size", b"3")]).file("a", b"abc").end();
    assert_eq!(plain(&same).unwrap()[0].1, b"abc");
    let base256 = Head::new("a", b'0', 0).put(124, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(plain(&Tar::new().raw(base256, b"abc").end()).unwrap()[0].1, b"abc");
    let negative = Head::new("a", b'0', 0).put(124, &[0xff; 12]);
    refused("negative size", Tar::new().raw(negative, b"").end(), "malformed-layer");
}

#[test]
fn i09_refuses_records_that_readers_disagree_about() {
    let long = |name: &[u8]| Tar::new().raw(Head::new("././@LongLink", b'L', name.len()), name);
    refused("two long names", Tar(([long(b"a\0").0, long(b"b\0").0]).concat()).file("c", b"").end(), "malformed-layer");
    let both = Tar([Tar::new().pax(&[("path", b"x")]).0, long(b"y\0").0].concat());
    refused("a long name and a PAX name", both.file("c", b"").end(), "malformed-layer");
    refused("a long name of nothing", long(b"a\0").end(), "malformed-layer");
    refused("NUL in a long name", long(b"a\0b\0").file("c", b"").end(), "unsafe-path");
    refused("twice", Tar::new().pax(&[("path", b"x"), ("path", b"y")]).file("a", b"").end(), "malformed-layer");
    let twice = Tar::new().pax(&[("mtime", b"1")]).pax(&[("path", b"x")]).file("a", b"").end();
    refused("two headers", twice, "malformed-layer");
    let sparse = Tar::new().pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.name", b"x")]).file("a", b"").end();
    refused("sparse PAX", sparse, "malformed-layer");
    for flag in *b"S7MVDNXAI" {
        refused("type", Tar::new().raw(Head::new("a", flag, 0), b"").end(), "malformed-layer");
    }
    for (what, record) in [
        ("wrong length", &b"8 path=x\n"[..]),
        ("longer", b"99 path=x\n"),
        ("no newline", b"9 path=xy"),
        ("no value", b"7 path\n"),
        ("zero", b"0 path=x\n"),
        ("leading zero", b"011 path=x\n"),
        ("newline in the value", b"9 path=x\n/etc\n"),
    ] {
        let tar = Tar::new().raw(Head::new("pax", b'x', record.len()), record).file("a", b"").end();
        refused(what, tar, "malformed-layer");
    }
    let global = pax_record("path", b"x");
    let tar = Tar::new().raw(Head::new("pax", b'g', global.len()), &global).file("a", b"").end();
    refused("global path", tar, "malformed-layer");
    let comment = pax_record("comment", b"0123");
    let tar = Tar::new().raw(Head::new("pax", b'g', comment.len()), &comment).file("a", b"").end();
    assert_eq!(plain(&tar).unwrap().len(), 1, "git's comment is harmless");
    let huge = Tar::new().raw(Head::new("pax", b'x', 2 << 20), &vec![b'x'; 2 << 20]).end();
    refused("huge records", huge, "layer-too-large");
}

#[test]
fn i06_refuses_what_would_steer_an_overlay() {
    for name in ["SCHILY.xattr.trusted.overlay.opaque", "SCHILY.xattr.user.overlay.whiteout"] {
        refused(name, Tar::new().pax(&[(name, b"y")]).dir("a").end(), "malformed-layer");
    }
    refused("device 0, 0", Tar::new().raw(Head::new("a", b'3', 0), b"").end(), "malformed-layer");
}

#[test]
fn refuses_bad_headers() {
    let mut tar = Tar::new().file("a", b"").end();
    tar[0] = b'b';
    refused("checksum", tar, "malformed-layer");
    refused("magic", Tar::new().raw(Head::new("a", b'0', 0).put(257, b"xxxxx"), b"").end(), "malformed-layer");
    refused("mode", Tar::new().raw(Head::new("a", b'0', 0).put(100, b"0000009\0"), b"").end(), "malformed-layer");
    let owner = Tar::new().pax(&[("uid", b"4294967295")]).file("a", b"").end();
    refused("owner", owner, "malformed-layer");
}

#[test]
fn reads_all_that_an_entry_says() {
    let capability = b"\x01\0\0\x02\x0a\n=\xff\0";
    let name = format!("{}/{}", "d".repeat(120), "ä".repeat(60));
    let records: [(&str, &[u8]); 5] = [
        ("path", name.as_bytes()),
        ("mtime", b"1700000000.999"),
        ("uid", b"3000000"),
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.user.x", b""),
    ];
    let tar = Tar::new().pax(&records).raw(Head::new("short", b'0', 2).mode(0o106755).owner(1, 7), b"xy").end();
    let (entry, content) = plain(&tar).unwrap().remove(0);
    assert_eq!((entry.path.as_slice(), content.as_slice()), (name.as_bytes(), &b"xy"[..]));
    assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime), (0o6755, 3_000_000, 7, 1_700_000_000));
    assert_eq!(entry.xattrs.get(&b"security.capability"[..]).map(Vec::as_slice), Some(&capability[..]));
    let before = Tar::new().pax(&[("mtime", b"-1.5")]).file("a", b"").end();
    assert_eq!(plain(&before).unwrap()[0].0.mtime, -2);
    let device = Tar::new().raw(Head::new("dev/null", b'3', 0).octal(329, 8, 1).octal(337, 8, 3), b"").end();
    assert_eq!(plain(&device).unwrap()[0].0.device, (1, 3));
    let prefix = Tar::new().raw(Head::new("name", b'0', 0).put(345, b"folder"), b"").end();
    assert_eq!(plain(&prefix).unwrap()[0].0.path, b"folder/name");
}

#[test]
fn reads_what_the_tar_crate_writes() {
    let mut builder = tar::Builder::new(Vec::new());
    let long = format!("{}/{}", "a".repeat(150), "b".repeat(150));
    for name in ["x", &long] {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o600);
        header.set_cksum();
        builder.append_data(&mut header, name, &b"abc"[..]).unwrap();
    }
    let entries = plain(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(entries.iter().map(|(entry, _)| entry.path.as_slice()).collect::<Vec<_>>(), [b"x", long.as_bytes()]);
    assert!(entries.iter().all(|(entry, content)| content == b"abc" && entry.mode == 0o600));
}

#[test]
fn d08_never_panics_on_a_flipped_byte() {
    let tar = Tar::new()
        .pax(&[("path", b"long"), ("mtime", b"12.5")])
        .file("a", b"content")
        .raw(Head::new("././@LongLink", b'L', 3), b"xy\0")
        .symlink("b", "c")
        .end();
    for at in 0..tar.len() {
        for bit in [0, 3, 7] {
            let mut flipped = tar.clone();
            flipped[at] ^= 1 << bit;
            let _ = plain(&flipped);
        }
    }
}
