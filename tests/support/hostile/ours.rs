//! Our own formats, as somebody else may have written them.

use std::collections::BTreeMap;

use bulla::content::Digest;
use bulla::dockerfile::Dockerfile;
use bulla::lockfile::Lock;
use bulla::policy::Policy;
use bulla::policy::pattern::Pattern;
use bulla::template::Template;

/// A Dockerfile that passes names no frontend, no heredoc and no base that is not locked.
pub fn dockerfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let base = Digest::of(b"a locked base");
    let read = Dockerfile::scan(&text);
    if read.check("Dockerfile", &[base]).is_err() {
        return;
    }
    let mut stages = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let from = words.first().is_some_and(|word| word.eq_ignore_ascii_case("from"));
        // The lines of a continued instruction are not told apart here: only what stands alone is looked at.
        if from && !text.contains('\\') {
            let named = words.iter().skip(1).find(|word| !word.starts_with("--")).unwrap();
            let locked = *named == "scratch" || named.ends_with(&base.to_string());
            assert!(locked || stages.contains(named), "{line:?}");
            stages.extend(words.last());
        }
    }
    assert!(!text.to_ascii_lowercase().lines().take(1).any(|line| line.replace(' ', "").starts_with("#syntax=")));
}

/// A lock is read as exactly what would be written, and so has one spelling.
pub fn lockfile(data: &[u8]) {
    let Ok(lock) = Lock::parse(data) else { return };
    assert_eq!(lock.write().as_bytes(), data);
    assert_eq!(lock.digest(), Digest::of(data));
    for platform in lock.platforms() {
        assert!(!lock.for_platform(platform).is_empty());
    }
    for input in &lock.inputs {
        assert!(!input.path.starts_with('/') && !input.path.split('/').any(|part| part == ".."), "{}", input.path);
        assert!(!input.file_name().is_empty() && !input.purl().contains(char::is_control));
    }
}

/// A template that is taken has a name that is a word, and one digest.
pub fn template(data: &[u8]) {
    let files = BTreeMap::from([
        ("template.toml".to_owned(), data.to_vec()),
        ("Dockerfile".to_owned(), b"FROM scratch\n".to_vec()),
    ]);
    let Ok(template) = Template::from_files("base", files.clone()) else { return };
    assert_eq!(template.name, "base");
    assert_eq!(Template::from_files("base", files).unwrap().digest(), template.digest());
    let mount = |path: &str| path.starts_with('/') && !path.split('/').any(|part| part == "..");
    assert!(template.manifest.launch.tmpfs.iter().all(|one| mount(&one.path)));
    assert!(template.manifest.user.uid != 0);
}

/// A policy that is taken has rules which ask for something of somebody; patterns match what a slow matcher says.
pub fn policy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let load = |name: &str| match name {
        "cosign.pub" => Ok(include_bytes!("../../../testdata/policy/cosign.pub").to_vec()),
        "root.json" => Ok(include_bytes!("../../../testdata/attestation/trusted_root.json").to_vec()),
        _ => Err("there is no such file".to_owned()),
    };
    if let Ok(policy) = Policy::parse(&text, "fuzzed", &load) {
        assert!(!policy.rules().is_empty());
        for rule in policy.rules() {
            assert!(!rule.images.is_empty() && !rule.require.is_empty() && !rule.signers.is_empty());
        }
        let _ = policy.rule_for("ghcr.io/acme/base");
    }
    let mut lines = text.lines();
    if let (Some(first), Some(second)) = (lines.next(), lines.next())
        && first.len() + second.len() < 24
        && let Ok(pattern) = Pattern::parse(first)
    {
        let (pieces, text): (Vec<char>, Vec<char>) = (first.chars().collect(), second.chars().collect());
        assert_eq!(pattern.matches(second), slowly(&pieces, &text), "{first:?} {second:?}");
    }
}

/// The meaning of patterns, by trying everything.
fn slowly(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', '*', rest @ ..] => (0..=text.len()).any(|skip| slowly(rest, &text[skip..])),
        ['*', rest @ ..] => {
            let run = text.iter().position(|one| *one == '/').unwrap_or(text.len());
            (0..=run).any(|skip| slowly(rest, &text[skip..]))
        }
        [one, rest @ ..] => text.split_first().is_some_and(|(first, others)| first == one && slowly(rest, others)),
    }
}
