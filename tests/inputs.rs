//! Fetching locked inputs: from mirrors that lie, break off and stall, from folders, and from none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

#[path = "support/mirror.rs"]
mod mirror;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bulla::adapters::inputs::{Inputs, InputsError, Pace};
use bulla::adapters::sources::{Access, Mirrors};
use bulla::adapters::{Event, unwatched};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::lockfile::{Input, Kind};
use mirror::{Answer, Mirror};

fn bytes(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

fn input(name: &str, content: &[u8]) -> Input {
    Input {
        platform: Some("linux/amd64".parse().unwrap()),
        kind: Kind::Deb,
        name: name.to_owned(),
        version: "1+x".to_owned(),
        architecture: Some("amd64".to_owned()),
        archive: "debian".to_owned(),
        path: format!("pool/{name}_1+x_amd64.deb"),
        file: None,
        size: content.len() as u64,
        digest: Digest::of(content),
        integrity: None,
        licence: None,
        distro: None,
    }
}

fn impatient() -> Pace {
    Pace {
        connect: Duration::from_secs(2),
        stall: Duration::from_millis(400),
        file: Duration::from_secs(10),
        bytes_per_second: 1 << 20,
        tries: 3,
        back_off: Duration::from_millis(5),
    }
}

fn inputs(cache: &Path, mirrors: &[&str]) -> Inputs {
    let mirrors = Mirrors::parse(mirrors.iter().map(|url| format!("debian={url}"))).unwrap();
    Inputs::new(cache).with_mirrors(mirrors, Access::default()).with_pace(impatient())
}

/// What lies in the cache as content.
fn visible(cache: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(cache.join("content/sha256")).into_iter().flatten().flatten();
    below.map(|entry| entry.path()).collect()
}

#[test]
fn nothing_wanted_is_nothing_done() {
    let cache = tempfile::tempdir().unwrap();
    assert!(inputs(cache.path(), &[]).fetch(&[], false, &unwatched).unwrap().is_empty());
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn brings_many_files_over_few_connections_and_then_needs_none() {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    let contents: Vec<_> = (0..40_u8).map(|seed| bytes(seed, 1_000 + usize::from(seed))).collect();
    let locked: Vec<_> =
        contents.iter().enumerate().map(|(index, content)| input(&format!("p{index}"), content)).collect();
    for (input, content) in locked.iter().zip(&contents) {
        mirror.put(&input.path, [Answer::File(content.clone())]);
    }
    let wanted: Vec<_> = locked.iter().collect();
    let last = Mutex::new((0, 0));
    let watch = |event: Event<'_>| {
        if let Event::Bytes { done, total } = event {
            *last.lock().unwrap() = (done, total);
        }
    };
    let fetched = inputs(cache.path(), &[&mirror.url()]).fetch(&wanted, false, &watch).unwrap();
    for ((input, path), content) in fetched.iter().zip(&contents) {
        assert_eq!(&fs::read(path).unwrap(), content, "{}", input.name);
    }
    let total: u64 = locked.iter().map(|input| input.size).sum();
    assert_eq!(*last.lock().unwrap(), (total, total));
    assert!(mirror.connections() <= 8, "{} connections", mirror.connections());
    assert_eq!(mirror.requests().len(), 40);
    let again = inputs(cache.path(), &[]).fetch(&wanted, true, &unwatched).unwrap();
    assert_eq!(again, fetched);
    assert_eq!(mirror.requests().len(), 40);
    assert_eq!(fs::read_dir(cache.path().join("partial")).unwrap().count(), 1, "more than the lock is left");
}

/// One file whose mirror answers like this: what comes of it.
fn one(answers: impl IntoIterator<Item = Answer>, content: &[u8]) -> (Result<(), InputsError>, Vec<String>) {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    let input = input("git", content);
    mirror.put(&input.path, answers);
    let result = inputs(cache.path(), &[&mirror.url()]).fetch(&[&input], false, &unwatched);
    match &result {
        Ok(fetched) => assert_eq!(fs::read(&fetched[0].1).unwrap(), content),
        Err(error) => {
            assert_eq!(visible(cache.path()), Vec::<PathBuf>::new(), "refused bytes are visible");
            let text = error.to_string();
            for part in ["git 1+x (amd64)", "pool/git_1+x_amd64.deb", &mirror.host()] {
                assert!(text.contains(part), "{part:?} is not in: {text}");
            }
        }
    }
    (result.map(drop), mirror.requests())
}

#[test]
fn refuses_bytes_that_are_not_what_was_locked() {
    let good = bytes(1, 5_000);
    let mut flipped = good.clone();
    flipped[4_999] ^= 1;
    let another = bytes(2, 5_000);
    for (what, answer) in [
        ("one byte differs", Answer::File(flipped)),
        ("another valid file", Answer::File(another)),
        ("shorter", Answer::File(good[..4_999].to_vec())),
        ("longer", Answer::File(bytes(1, 5_001))),
        ("empty", Answer::File(Vec::new())),
        ("endless", Answer::Endless(good.clone())),
    ] {
        let (result, requests) = one([answer], &good);
        let error = result.expect_err(what);
        assert_eq!((error.class(), error.code()), (Class::Integrity, "input-differs"), "{what}: {error}");
        assert_eq!(requests.len(), 1, "{what}: asked again for bytes that are wrong");
    }
}

#[test]
fn what_the_archive_dropped_is_named_with_what_to_do() {
    let (result, requests) = one([Answer::Status(404)], b"x");
    let error = result.unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Build, "input-gone"));
    assert!(error.to_string().contains("bulla lock"), "{error}");
    assert_eq!(requests.len(), 1);
}

#[test]
fn refused_access_is_another_class_than_absence() {
    for status in [401, 403, 407] {
        let (result, requests) = one([Answer::Status(status)], b"x");
        assert_eq!(result.unwrap_err().class(), Class::Auth, "{status}");
        assert_eq!(requests.len(), 1);
    }
}

#[test]
fn tries_again_what_may_go_better() {
    let good = bytes(1, 50_000);
    for (what, bad) in [
        ("500", Answer::Status(500)),
        ("503", Answer::Status(503)),
        ("429", Answer::With(429, "retry-after: 0".to_owned())),
        ("breaks off at once", Answer::BreaksOff(good.clone(), 0)),
        ("breaks off", Answer::BreaksOff(good.clone(), 20_000)),
        ("stalls", Answer::Stalls(good.clone(), 20_000)),
        ("nonsense", Answer::Nonsense),
    ] {
        let (result, requests) = one([bad.clone(), Answer::File(good.clone())], &good);
        assert!(result.is_ok(), "{what}: {result:?}");
        assert_eq!(requests.len(), 2, "{what}");
        let (result, requests) = one([bad], &good);
        assert!(requests.len() == 3, "{what}: {requests:?}");
        let error = result.expect_err(what);
        assert_eq!((error.class(), error.code()), (Class::Net, "input-unreachable"), "{what}: {error}");
    }
}

#[test]
fn a_stalled_mirror_does_not_hold_us_longer_than_the_pace_says() {
    let start = Instant::now();
    let (result, _) = one([Answer::Stalls(bytes(1, 1_000), 10)], &bytes(1, 1_000));
    assert!(result.is_err());
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn goes_on_where_it_broke_off() {
    let good = bytes(1, 50_000);
    let (result, requests) = one([Answer::BreaksOff(good.clone(), 20_000), Answer::File(good.clone())], &good);
    assert!(result.is_ok());
    let asked = requests[1].rsplit("bytes=").next().unwrap().trim_end_matches('-');
    let from: usize = asked.parse().unwrap();
    assert!(from > 0 && from <= 20_000, "{requests:?}");
    // A mirror that knows no ranges sends the whole: that is taken as the whole.
    let (result, requests) = one([Answer::BreaksOff(good.clone(), 20_000), Answer::Whole(good.clone())], &good);
    assert!(result.is_ok());
    assert!(requests[1].contains("bytes="));
}

#[test]
fn a_partial_file_of_other_bytes_is_thrown_away_and_fetched_whole() {
    let good = bytes(1, 50_000);
    for junk in [bytes(9, 20_000), bytes(9, 50_000), bytes(9, 60_000)] {
        let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
        let input = input("git", &good);
        mirror.put(&input.path, [Answer::File(good.clone())]);
        fs::create_dir_all(cache.path().join("partial")).unwrap();
        fs::write(cache.path().join("partial").join(input.digest.hex()), &junk).unwrap();
        let fetched = inputs(cache.path(), &[&mirror.url()]).fetch(&[&input], false, &unwatched).unwrap();
        assert_eq!(fs::read(&fetched[0].1).unwrap(), good);
        assert!(!mirror.requests().last().unwrap().contains("bytes="), "{:?}", mirror.requests());
    }
}

#[test]
fn a_second_run_goes_on_where_the_first_ended() {
    let good = bytes(1, 50_000);
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    let input = input("git", &good);
    mirror.put(&input.path, [Answer::BreaksOff(good.clone(), 30_000), Answer::Status(503)]);
    assert!(inputs(cache.path(), &[&mirror.url()]).fetch(&[&input], false, &unwatched).is_err());
    assert_eq!(visible(cache.path()), Vec::<PathBuf>::new());
    mirror.put(&input.path, [Answer::File(good.clone())]);
    inputs(cache.path(), &[&mirror.url()]).fetch(&[&input], false, &unwatched).unwrap();
    assert!(mirror.requests().last().unwrap().contains("bytes="), "{:?}", mirror.requests());
}

#[test]
fn corrupt_content_in_the_store_is_fetched_again() {
    let good = bytes(1, 5_000);
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    let input = input("git", &good);
    mirror.put(&input.path, [Answer::File(good.clone())]);
    let from = inputs(cache.path(), &[&mirror.url()]);
    let path = from.fetch(&[&input], false, &unwatched).unwrap().remove(0).1;
    for corrupt in [b"".to_vec(), good[..4_999].to_vec(), bytes(2, 5_000)] {
        fs::write(&path, corrupt).unwrap();
        assert!(inputs(cache.path(), &[]).fetch(&[&input], true, &unwatched).is_err(), "offline believed the store");
        from.fetch(&[&input], false, &unwatched).unwrap();
        assert_eq!(fs::read(&path).unwrap(), good);
    }
}

#[test]
fn the_next_mirror_is_asked_when_one_has_it_not_or_has_it_wrong() {
    let good = bytes(1, 5_000);
    for bad in [Answer::Status(404), Answer::Status(403), Answer::Status(500), Answer::File(bytes(2, 5_000))] {
        let (cache, first, second) = (tempfile::tempdir().unwrap(), Mirror::start(), Mirror::start());
        let input = input("git", &good);
        first.put(&input.path, [bad]);
        second.put(&input.path, [Answer::File(good.clone())]);
        let from = inputs(cache.path(), &[&first.url(), &second.url()]);
        assert_eq!(fs::read(&from.fetch(&[&input], false, &unwatched).unwrap()[0].1).unwrap(), good);
        assert!(!first.requests().is_empty() && !second.requests().is_empty());
    }
}

#[test]
fn a_mirror_that_is_down_is_given_up_before_every_file_was_tried() {
    let cache = tempfile::tempdir().unwrap();
    // A port that was free a moment ago: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let locked: Vec<_> = (0..200_u16).map(|index| input(&format!("p{index}"), &index.to_be_bytes())).collect();
    let from = inputs(cache.path(), &[&format!("http://127.0.0.1:{port}/debian")]);
    let start = Instant::now();
    let error = from.fetch(&locked.iter().collect::<Vec<_>>(), false, &unwatched).unwrap_err();
    assert_eq!(error.class(), Class::Net);
    let text = error.to_string();
    assert!(text.contains("200 locked inputs") && text.contains("and 180 more"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn offline_opens_no_socket() {
    let good = bytes(1, 5_000);
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    let input = input("git", &good);
    mirror.put(&input.path, [Answer::File(good)]);
    let error = inputs(cache.path(), &[&mirror.url()]).fetch(&[&input], true, &unwatched).unwrap_err();
    assert_eq!(error.code(), "input-gone");
    assert!(error.to_string().contains("offline"), "{error}");
    assert_eq!(mirror.connections(), 0);
}

#[test]
fn folders_are_asked_first_and_believed_no_more_than_mirrors() {
    let good = bytes(1, 5_000);
    let locked = input("git", &good);
    for place in [
        format!("debian/{}", locked.path),
        locked.path.clone(),
        "git_1+x_amd64.deb".to_owned(),
        format!("blobs/sha256/{}", locked.digest.hex()),
    ] {
        let (cache, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = folder.path().join(&place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let from = inputs(cache.path(), &[]).with_folders([folder.path().to_owned()]);
        fs::write(&path, bytes(2, 5_000)).unwrap();
        let error = from.fetch(&[&locked], true, &unwatched).unwrap_err();
        assert_eq!(error.class(), Class::Integrity, "{place}");
        fs::write(&path, &good).unwrap();
        assert_eq!(fs::read(&from.fetch(&[&locked], true, &unwatched).unwrap()[0].1).unwrap(), good, "{place}");
    }
}

#[test]
fn a_mirror_may_be_a_folder() {
    let good = bytes(1, 5_000);
    let locked = input("git", &good);
    let (cache, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path().join(&locked.path);
    let from = inputs(cache.path(), &[&format!("file://{}", folder.path().display())]);
    assert_eq!(from.fetch(&[&locked], false, &unwatched).unwrap_err().code(), "input-gone");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &good).unwrap();
    assert_eq!(fs::read(&from.fetch(&[&locked], false, &unwatched).unwrap()[0].1).unwrap(), good);
}

#[test]
fn without_any_mirror_the_error_says_how_to_name_one() {
    let cache = tempfile::tempdir().unwrap();
    let error = inputs(cache.path(), &[]).fetch(&[&input("git", b"x")], false, &unwatched).unwrap_err();
    assert!(error.to_string().contains("--mirror debian=URL"), "{error}");
}

#[test]
fn a_cache_that_cannot_be_written_serves_what_it_has() {
    use std::os::unix::fs::PermissionsExt;
    let good = bytes(1, 5_000);
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    let git = input("git", &good);
    mirror.put(&git.path, [Answer::File(good)]);
    inputs(cache.path(), &[&mirror.url()]).fetch(&[&git], false, &unwatched).unwrap();
    fs::remove_dir_all(cache.path().join("partial")).unwrap();
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o555)).unwrap();
    assert!(inputs(cache.path(), &[]).fetch(&[&git], true, &unwatched).is_ok());
    let error = inputs(cache.path(), &[]).fetch(&[&input("jq", b"y")], true, &unwatched).unwrap_err();
    assert_eq!(error.code(), "input-gone");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1, "something was written");
}

#[test]
fn credentials_are_sent_to_the_mirror_and_shown_to_nobody() {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    let url = format!("http://me:secret@{}/debian", mirror.host());
    let said = Mutex::new(String::new());
    let watch = |event: Event<'_>| said.lock().unwrap().push_str(&format!("{event:?}"));
    let git = input("git", b"x");
    for answer in [Answer::Status(500), Answer::Status(404), Answer::Nonsense] {
        mirror.put(&git.path, [answer]);
        let error = inputs(cache.path(), &[&url]).fetch(&[&git], false, &watch).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
    assert!(!said.lock().unwrap().contains("secret"));
    assert!(mirror.authorizations().iter().all(|sent| sent.as_deref() == Some("Basic bWU6c2VjcmV0")));
}

#[test]
fn a_redirect_is_followed_and_a_loop_is_not() {
    let good = bytes(1, 5_000);
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    let git = input("git", &good);
    mirror.put(&git.path, [Answer::With(302, format!("location: {}/elsewhere", mirror.url()))]);
    mirror.put("elsewhere", [Answer::File(good)]);
    let from = inputs(cache.path(), &[&mirror.url()]);
    from.fetch(&[&git], false, &unwatched).unwrap();
    let jq = input("jq", b"y");
    mirror.put(&jq.path, [Answer::With(302, format!("location: {}/{}", mirror.url(), jq.path.replace('+', "%2B")))]);
    let error = from.fetch(&[&jq], false, &unwatched).unwrap_err();
    assert!(error.to_string().contains("redirects too often"), "{error}");
    assert!(mirror.requests().len() < 12);
    let less = input("less", b"z");
    let elsewhere = Mirror::start();
    mirror.put(&less.path, [Answer::With(302, format!("location: {}/x", elsewhere.url()))]);
    elsewhere.put("x", [Answer::File(b"z".to_vec())]);
    let url = format!("http://me:secret@{}/debian", mirror.host());
    inputs(cache.path(), &[&url]).fetch(&[&less], false, &unwatched).unwrap();
    assert_eq!(elsewhere.authorizations(), [None], "credentials went along to another host");
}

#[test]
fn j07_two_fetches_at_once_both_end_well() {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    let contents: Vec<_> = (0..20_u8).map(|seed| bytes(seed, 30_000)).collect();
    let locked: Vec<_> =
        contents.iter().enumerate().map(|(index, content)| input(&format!("p{index}"), content)).collect();
    for (input, content) in locked.iter().zip(&contents) {
        mirror.put(&input.path, [Answer::BreaksOff(content.clone(), 10_000), Answer::File(content.clone())]);
    }
    let wanted: Vec<_> = locked.iter().collect();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| inputs(cache.path(), &[&mirror.url()]).fetch(&wanted, false, &unwatched).map(drop)))
            .collect();
        for run in runs {
            run.join().unwrap().unwrap();
        }
    });
    assert_eq!(visible(cache.path()).len(), 20);
    assert_eq!(mirror.requests().len(), 40, "the second and third run asked for what the first had brought");
}

#[test]
fn a_full_disk_ends_the_fetch_and_leaves_nothing_visible() {
    let cache = tempfile::tempdir().unwrap();
    let mount = cache.path().join("small");
    fs::create_dir(&mount).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "bulla-test"])
        .arg(&mount)
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: a small tmpfs: not root, or no mount here");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let mirror = Mirror::start();
        let good = bytes(1, 1 << 20);
        let git = input("git", &good);
        mirror.put(&git.path, [Answer::File(good)]);
        let error = inputs(&mount, &[&mirror.url()]).fetch(&[&git], false, &unwatched).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::State, "disk"), "{error}");
        assert!(error.to_string().to_lowercase().contains("no space"), "{error}");
        assert_eq!(visible(&mount), Vec::<PathBuf>::new());
        assert_eq!(mirror.requests().len(), 1);
    });
    let _ = std::process::Command::new("umount").arg(&mount).status();
    result.unwrap();
}
