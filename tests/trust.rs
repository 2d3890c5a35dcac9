//! Updates of trust roots, from a TUF repository that can lie.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/cli.rs"]
mod cli;
mod support {
    #[path = "../support/mirror.rs"]
    pub(crate) mod mirror;
    #[path = "../support/mod.rs"]
    mod shared;
    #[path = "../support/tuf.rs"]
    pub(crate) mod tuf;
    pub(crate) use shared::sigstore;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bulla::adapters::trust::{Repository, Roots, TrustError, Update};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use jiff::Timestamp;
use serde_json::{Value, json};
use support::mirror::{Answer, Mirror};
use support::sigstore::Sigstore;
use support::sigstore::key::Key;
use support::tuf::{Repo, serve, sign};

/// Somebody who follows a repository, with what was kept of it so far.
struct Client {
    folder: tempfile::TempDir,
    initial: Vec<u8>,
}

impl Client {
    fn of(repo: &Repo) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), initial: repo.initial() }
    }

    fn roots(&self) -> Roots {
        Roots::kept_in(Some(self.folder.path().to_owned()))
    }

    fn update_at(&self, mirror: &Mirror, now: &str) -> Result<Update, TrustError> {
        let now: Timestamp = now.parse().unwrap();
        self.roots().update(&Repository::private(self.initial.clone(), &mirror.url()), now)
    }

    fn update(&self, mirror: &Mirror) -> Result<Update, TrustError> {
        self.update_at(mirror, "2026-11-21T00:00:00Z")
    }

    /// The file of the update.
    fn kept(&self) -> PathBuf {
        self.folder.path().join(format!("sha256-{}.json", Digest::of(&self.initial).hex()))
    }

    /// Refused with this class and code; whatever was kept before is what is kept.
    #[track_caller]
    fn refuses(&self, mirror: &Mirror, class: Class, code: &str) {
        let before = fs::read(self.kept()).ok();
        let error = self.update(mirror).map(|update| update.version).unwrap_err();
        assert_eq!((error.class(), error.code()), (class, code), "{error}");
        assert_eq!(fs::read(self.kept()).ok(), before, "a refused update left something behind");
        let files = fs::read_dir(self.folder.path()).unwrap().count();
        assert!(files <= 2, "{files} files: the update and its lock are all there is");
    }
}

fn content() -> Vec<u8> {
    Sigstore::new().trusted_root_json().into_bytes()
}

fn repo() -> Repo {
    Repo::new(&content())
}

/// A repository after some change, from its first root on.
fn changed(change: impl FnOnce(&mut Repo)) -> (Client, Mirror) {
    let mut repo = repo();
    let client = Client::of(&repo);
    change(&mut repo);
    (client, repo.serve())
}

/// A repository whose files were changed on the way.
fn on_the_way(change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> (Client, Mirror) {
    let repo = repo();
    let mut files = repo.files();
    change(&mut files);
    (Client::of(&repo), serve(files))
}

#[test]
fn an_update_is_followed_from_its_first_root_and_kept() {
    let mut repo = repo();
    let client = Client::of(&repo);
    assert!(client.roots().current(&Repository::private(client.initial.clone(), "https://x")).unwrap().is_none());
    let update = client.update(&repo.serve()).unwrap();
    assert_eq!((update.version, update.changed, &update.json), (1, true, &repo.content));
    let again = client.update(&repo.serve()).unwrap();
    assert!(!again.changed);
    // Roots follow one another, keys change, content changes.
    repo.rotate(|repo| repo.timestamp.keys = vec![Key::p256()]);
    repo.rotate(|repo| repo.root.keys[0] = Key::p256());
    repo.advance(&content());
    let update = client.update_at(&repo.serve(), "2026-12-01T00:00:00Z").unwrap();
    assert_eq!((update.version, update.changed, &update.json), (3, true, &repo.content));
    // What was kept is what is used, without a network.
    let root = client.roots().current(&Repository::private(client.initial.clone(), "https://x")).unwrap().unwrap();
    assert_eq!(*root.sha256(), Digest::of(&repo.content));
    assert_eq!(root.as_of().unwrap().to_string(), "2026-12-01T00:00:00Z");
    assert!(client.update_at(&repo.serve(), "2026-12-02T00:00:00Z").is_ok());
}

#[test]
fn g17_refuses_what_is_older_than_what_was_believed() {
    for older in [
        (|repo: &mut Repo| repo.timestamp.version = 1) as fn(&mut Repo),
        |repo| (repo.timestamp.version, repo.snapshot.version) = (3, 1),
        |repo| (repo.timestamp.version, repo.snapshot.version, repo.targets.version) = (3, 3, 1),
    ] {
        let mut repo = repo();
        let client = Client::of(&repo);
        repo.advance(&content());
        client.update(&repo.serve()).unwrap();
        older(&mut repo);
        client.refuses(&repo.serve(), Class::Rollback, "tuf-rollback");
    }
    // A root that stays behind its own name, and one that jumps ahead.
    for version in [1, 3] {
        let (client, mirror) = changed(|repo| {
            let said = {
                repo.root.version = version;
                repo.root_said()
            };
            let keys: Vec<&Key> = repo.root.keys.iter().collect();
            let root = sign(&said, &keys);
            repo.roots.push(root);
        });
        client.refuses(&mirror, Class::Rollback, "tuf-rollback");
    }
}

#[test]
fn g17_refuses_what_has_expired() {
    let past = || "2026-11-20T23:59:59Z".to_owned();
    for (_, mirror, client) in [
        changed_to(|repo| repo.timestamp.expires = past()),
        changed_to(|repo| repo.snapshot.expires = past()),
        changed_to(|repo| repo.targets.expires = past()),
        changed_to(|repo| repo.rotate(|repo| repo.root.expires = past())),
    ] {
        client.refuses(&mirror, Class::Trust, "tuf-expired");
    }
    // A mirror that stands still is noticed when its timestamp runs out, though nothing in it changed.
    let mut repo = repo();
    repo.timestamp.expires = "2026-11-25T00:00:00Z".to_owned();
    let client = Client::of(&repo);
    let mirror = repo.serve();
    client.update(&mirror).unwrap();
    let frozen = client.update_at(&mirror, "2026-11-25T00:00:01Z").map(|_| ()).unwrap_err();
    assert_eq!(frozen.code(), "tuf-expired");
}

fn changed_to(change: impl FnOnce(&mut Repo)) -> ((), Mirror, Client) {
    let (client, mirror) = changed(change);
    ((), mirror, client)
}

#[test]
fn g17_refuses_what_others_signed_or_too_few() {
    let stranger = || Some(vec![Key::p256(), Key::p256(), Key::p256()]);
    for (_, mirror, client) in [
        changed_to(|repo| repo.timestamp.signers = stranger()),
        changed_to(|repo| repo.snapshot.signers = stranger()),
        changed_to(|repo| repo.targets.signers = stranger()),
        changed_to(|repo| repo.timestamp.signers = Some(Vec::new())),
        // Each role has its own keys: those of another do not count.
        changed_to(|repo| repo.timestamp.signers = Some(repo.snapshot.keys.clone())),
        changed_to(|repo| repo.targets.signers = Some(repo.timestamp.keys.clone())),
        // A key that signs twice is one key.
        changed_to(|repo| {
            repo.timestamp.signers = Some([repo.timestamp.keys.clone(), repo.timestamp.keys.clone()].concat());
        }),
    ] {
        client.refuses(&mirror, Class::Trust, "tuf-signature");
    }
    // A root signed by one of the two who have to; by the new keys alone; by the old alone.
    for signers in [
        (|before: &[Key], _: &[Key]| before[..1].to_vec()) as fn(&[Key], &[Key]) -> Vec<Key>,
        |_, after| after.to_vec(),
        |before, _| before.to_vec(),
    ] {
        let (client, mirror) = changed(|repo| {
            let before = repo.root.keys.clone();
            repo.root.keys = vec![Key::p256(), Key::p256(), Key::p256()];
            repo.root.version = 2;
            let signers = signers(&before, &repo.root.keys);
            let root = sign(&repo.root_said(), &signers.iter().collect::<Vec<_>>());
            repo.roots.push(root);
        });
        client.refuses(&mirror, Class::Trust, "tuf-signature");
    }
}

#[test]
fn g17_one_key_under_two_names_does_not_meet_a_threshold_of_two() {
    let (client, mirror) = changed(|repo| {
        repo.root.version = 2;
        let mut said = repo.root_said();
        let ids = said["roles"]["timestamp"]["keyids"].as_array().unwrap().clone();
        let key = said["keys"][ids[0].as_str().unwrap()].clone();
        said["keys"]["another"] = key;
        said["roles"]["timestamp"] = json!({ "keyids": [ids[0], "another"], "threshold": 2 });
        let root = sign(&said, &repo.root.keys.iter().collect::<Vec<_>>());
        repo.roots.push(root);
    });
    client.refuses(&mirror, Class::Trust, "tuf-signature");
}

#[test]
fn g17_refuses_files_that_do_not_belong_together() {
    // Every file is signed, and from another day.
    let mut repo = repo();
    let old = repo.files();
    repo.advance(&content());
    let new = repo.files();
    for (name, other) in [("2.snapshot.json", "1.snapshot.json"), ("2.targets.json", "1.targets.json")] {
        let mut mixed = new.clone();
        mixed.insert(name.to_owned(), old[other].clone());
        Client::of(&repo).refuses(&serve(mixed), Class::Trust, "tuf-mismatch");
    }
    let (client, mirror) = on_the_way(|files| {
        let target = files.iter_mut().find(|(name, _)| name.starts_with("targets/")).unwrap().1;
        let end = target.len() - 1;
        target[end] ^= 1;
    });
    client.refuses(&mirror, Class::Trust, "tuf-mismatch");
    // The right key, the right version, and another kind of file.
    for (name, kind) in [("timestamp.json", "snapshot"), ("1.snapshot.json", "targets"), ("1.targets.json", "root")] {
        let (client, mirror) = changed(|repo| {
            let role = match name {
                "timestamp.json" => &mut repo.timestamp,
                "1.snapshot.json" => &mut repo.snapshot,
                _ => &mut repo.targets,
            };
            role.edit = Some(match kind {
                "snapshot" => |said| said["_type"] = json!("snapshot"),
                "targets" => |said| said["_type"] = json!("targets"),
                _ => |said| said["_type"] = json!("root"),
            });
        });
        client.refuses(&mirror, Class::Trust, "tuf-malformed");
    }
}

#[test]
fn g17_a_repository_recovers_from_versions_that_were_driven_up() {
    let mut repo = repo();
    let client = Client::of(&repo);
    (repo.timestamp.version, repo.snapshot.version) = (1_000_000, 1_000_000);
    client.update(&repo.serve()).unwrap();
    (repo.timestamp.version, repo.snapshot.version) = (2, 2);
    client.refuses(&repo.serve(), Class::Rollback, "tuf-rollback");
    repo.rotate(|repo| {
        repo.timestamp.keys = vec![Key::p256()];
        repo.snapshot.keys = vec![Key::p256()];
    });
    assert_eq!(client.update(&repo.serve()).unwrap().version, 2);
}

#[test]
fn g17_two_readers_see_one_document() {
    for (from, to) in [
        ("\"version\": 1", "\"version\": 1, \"version\": 1"),
        ("\"version\": 1", "\"version\": 1, \"Version\": 2"),
        ("{", "[{"),
    ] {
        let (client, mirror) = on_the_way(|files| {
            let file = files.get_mut("timestamp.json").unwrap();
            let text = String::from_utf8(file.clone()).unwrap();
            assert!(text.contains(from));
            *file = text.replacen(from, to, 1).into_bytes();
        });
        client.refuses(&mirror, Class::Trust, "tuf-malformed");
    }
}

#[test]
fn i12_names_in_metadata_are_never_paths() {
    let names = |said: &mut Value| {
        let target = said["targets"]["trusted_root.json"].clone();
        for name in ["../../trusted_root.json", "/etc/passwd", "a%2f..%2fb", "trusted_root.json\u{0}"] {
            said["targets"][name] = target.clone();
        }
    };
    let (client, mirror) = changed(|repo| repo.targets.edit = Some(names));
    client.update(&mirror).unwrap();
    let asked = mirror.requests();
    assert!(asked.iter().all(|request| !request.contains("..") && !request.contains("passwd")), "{asked:?}");
    assert_eq!(fs::read_dir(client.folder.path()).unwrap().count(), 2);
    // A hash becomes a part of the address, and has to be one.
    for hash in ["../../../x", "", "AB", "%2e%2e"] {
        let mut repo = repo();
        repo.targets.edit = Some(match hash {
            "../../../x" => |said| said["targets"]["trusted_root.json"]["hashes"]["sha256"] = json!("../../../x"),
            "" => |said| said["targets"]["trusted_root.json"]["hashes"]["sha256"] = json!(""),
            "AB" => |said| said["targets"]["trusted_root.json"]["hashes"]["sha256"] = json!("AB".repeat(32)),
            _ => |said| said["targets"]["trusted_root.json"]["hashes"] = json!({ "sha512": "%2e%2e" }),
        });
        Client::of(&repo).refuses(&repo.serve(), Class::Trust, "tuf-malformed");
    }
    let (client, mirror) = changed(|repo| repo.targets.edit = Some(|said| said["targets"] = json!({})));
    client.refuses(&mirror, Class::Trust, "tuf-malformed");
}

#[test]
fn only_as_much_is_read_as_a_file_may_have() {
    for name in ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let (client, mirror) = changed(|_| {});
        mirror.put(name, [Answer::Endless(vec![b' '; 64 << 10])]);
        client.refuses(&mirror, Class::Limit, "tuf-too-large");
        mirror.put(name, [Answer::File(vec![b' '; 6 << 20])]);
        client.refuses(&mirror, Class::Limit, "tuf-too-large");
    }
    let huge = |said: &mut Value| said["targets"]["trusted_root.json"]["length"] = json!(1_u64 << 40);
    let (client, mirror) = changed(|repo| repo.targets.edit = Some(huge));
    client.refuses(&mirror, Class::Limit, "tuf-too-large");
    // More than was signed for is not read either.
    let repo = repo();
    let mirror = repo.serve();
    let target = repo.files().into_keys().find(|name| name.starts_with("targets/")).unwrap();
    mirror.put(&target, [Answer::Endless(repo.content.clone())]);
    Client::of(&repo).refuses(&mirror, Class::Limit, "tuf-too-large");
    // Roots without end.
    let (client, mirror) = changed(|repo| (0..40).for_each(|_| repo.rotate(|_| {})));
    client.refuses(&mirror, Class::Trust, "tuf-malformed");
}

#[test]
fn a_place_that_does_not_answer_changes_nothing() {
    let repo = repo();
    let client = Client::of(&repo);
    client.update(&repo.serve()).unwrap();
    for answer in [
        Answer::Status(500),
        Answer::Status(404),
        Answer::With(302, "Location: http://127.0.0.1:1/timestamp.json".to_owned()),
        Answer::With(200, "Content-Encoding: gzip".to_owned()),
        Answer::BreaksOff(vec![b' '; 100], 10),
        Answer::Nonsense,
    ] {
        let mirror = repo.serve();
        mirror.put("timestamp.json", [answer]);
        client.refuses(&mirror, Class::Net, "tuf-unreachable");
    }
    let nobody = Repository::private(client.initial.clone(), "http://127.0.0.1:1");
    assert_eq!(client.roots().update(&nobody, Timestamp::now()).map(|_| ()).unwrap_err().code(), "tuf-unreachable");
}

#[test]
fn what_is_signed_and_no_trust_root_is_not_kept() {
    let repo = Repo::new(b"{}");
    Client::of(&repo).refuses(&repo.serve(), Class::Trust, "unusable-trust-root");
}

#[test]
fn g16_an_update_that_was_changed_on_the_disk_is_an_error() {
    let repo = repo();
    let client = Client::of(&repo);
    client.update(&repo.serve()).unwrap();
    let good = fs::read_to_string(client.kept()).unwrap();
    let repository = Repository::private(client.initial.clone(), "https://x");
    let record: Value = serde_json::from_str(&good).unwrap();
    let with = |key: &str, value: Value| {
        let mut record = record.clone();
        record[key] = value;
        record.to_string()
    };
    let other = content();
    for bad in [
        String::new(),
        "{}".to_owned(),
        good[..good.len() / 2].to_owned(),
        with("schema", json!("bulla.trust-record/v2")),
        with("trustedRoot", json!(String::from_utf8(other).unwrap())),
        with("checked", json!("2031-01-01T00:00:00Z")),
        with("roots", json!(["{}"])),
        with("timestamp", record["snapshot"].clone()),
        with("more", json!(1)),
    ] {
        fs::write(client.kept(), &bad).unwrap();
        let error = client.roots().current(&repository).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::State, "unusable-update"), "{bad:.80}");
        assert!(error.to_string().contains(&client.kept().display().to_string()), "{error}");
        client.refuses(&repo.serve(), Class::State, "unusable-update");
    }
    // A folder, or a file that nobody may read, is not "no update" either.
    fs::remove_file(client.kept()).unwrap();
    fs::create_dir(client.kept()).unwrap();
    assert!(client.roots().current(&repository).is_err());
    fs::remove_dir(client.kept()).unwrap();
    assert!(client.roots().current(&repository).unwrap().is_none());
    // Another first root is another repository, and vouches for nothing here.
    fs::write(client.kept(), &good).unwrap();
    let stranger = Repo::new(&content());
    let elsewhere = Client { folder: tempfile::tempdir().unwrap(), initial: stranger.initial() };
    fs::copy(client.kept(), elsewhere.kept()).unwrap();
    let theirs = Repository::private(elsewhere.initial.clone(), "https://x");
    assert_eq!(elsewhere.roots().current(&theirs).unwrap_err().code(), "unusable-update");
}

#[test]
fn a_private_repository_is_followed_into_a_file_for_policies() {
    let mut repo = repo();
    let desk = cli::Desk::new();
    let first = desk.write("work/root.json", repo.initial());
    let update = |repo: &Repo| {
        let mirror = repo.serve();
        desk.run(&["trust", "update", "--mirror", &mirror.url(), "--root", &first, "-o", "trusted_root.json"])
    };
    assert!(update(&repo).ends(0).stderr.contains("renewed"));
    assert_eq!(fs::read(desk.path("work/trusted_root.json")).unwrap(), repo.content);
    let old = repo.clone();
    repo.advance(&content());
    update(&repo).ends(0);
    let newer = fs::read(desk.path("work/trusted_root.json")).unwrap();
    assert_eq!(newer, repo.content);
    let run = update(&old).ends(1);
    assert!(run.stderr.contains("[ROLLBACK tuf-rollback]"), "{run:?}");
    assert_eq!(fs::read(desk.path("work/trusted_root.json")).unwrap(), newer);
}
