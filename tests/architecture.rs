//! The order of rooms, and what only some of them may touch, kept by reading the source as text.

#![allow(clippy::unwrap_used, reason = "a source file that cannot be read fails the test")]

use std::fs;
use std::path::Path;

/// Every room of the library: each uses only those before it.
const ROOMS: [&str; 25] = [
    "class",
    "content",
    "home",
    "reference",
    "json",
    "oci",
    "deb",
    "attestation",
    "sbom",
    "dockerfile",
    "lockfile",
    "template",
    "sigstore",
    "policy",
    "adapters",
    "lock",
    "describe",
    "build",
    "sign",
    "publish",
    "verify",
    "cases",
    "inspect",
    "launch",
    "audit",
];
/// What belongs to the binary: it may use every room, and no room uses it.
const BINARY: [&str; 5] = ["main", "cli", "commands", "progress", "report"];
/// What has effects, or depends on when and where it runs. Addresses and constants do not.
const OUTSIDE: [&str; 17] = [
    "std::fs",
    "std::process",
    "std::os::unix::net",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::env",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "tokio",
    "reqwest",
    "oci_client",
    "rustix",
    "tempfile",
];
/// What only the binary speaks.
const TERMINAL: [&str; 6] = ["clap", "anyhow", "indicatif", "anstream", "println!", "eprintln!"];
/// The only files that name the sigstore crates: every minor of theirs breaks.
const SIGSTORE: [&str; 4] = ["sigstore", "attestation/bundle", "adapters/signer", "adapters/trust"];
/// Lines of a file; most have 150 to 400.
const LINES: usize = 600;

/// Calls `look` with each source file: its path below `src` without `.rs`, its whole text, and its code without
/// comments and unit tests.
fn each_file(look: &mut dyn FnMut(&str, &str, &str)) {
    fn walk(folder: &Path, root: &Path, look: &mut dyn FnMut(&str, &str, &str)) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, look);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code: Vec<_> = text
                    .lines()
                    .take_while(|line| !line.starts_with("mod tests {"))
                    .map(|line| line.split("//").next().unwrap_or_default())
                    .collect();
                let name = path.strip_prefix(root).unwrap().with_extension("").display().to_string();
                look(&name, &text, &code.join("\n"));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    walk(&root, &root, look);
}

fn room(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

/// Whether the word stands in the code as a word of its own.
fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

/// The first names after each `crate::`, groups included.
fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.extend(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned));
            continue;
        };
        let (mut depth, mut name) = (0, String::new());
        for c in group.chars() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => found.push(std::mem::take(&mut name)),
                c if depth == 0 && !c.is_whitespace() => name.push(c),
                _ => {}
            }
        }
        found.push(name);
    }
    found
        .iter()
        .map(|path| path.split(':').next().unwrap_or_default().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn a_room_uses_only_rooms_before_it() {
    let place = |name: &str| ROOMS.iter().position(|known| *known == name);
    let mut wrong = Vec::new();
    each_file(&mut |name, _, code| {
        let own = room(name);
        if own == "lib" || BINARY.contains(&own) {
            return;
        }
        let Some(own_place) = place(own) else { return wrong.push(format!("src/{name}.rs is in no room")) };
        for used in uses(code) {
            match place(&used) {
                Some(used_place) if used_place <= own_place => {}
                _ => wrong.push(format!("src/{name}.rs uses {used}, which does not stand before {own}")),
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_adapters_touch_the_outside_world() {
    let mut wrong = Vec::new();
    each_file(&mut |name, _, code| {
        let own = room(name);
        if own == "adapters" || BINARY.contains(&own) {
            return;
        }
        let code = code.replace("std::env::consts", "");
        let words = OUTSIDE.iter().chain(&TERMINAL).filter(|word| has_word(&code, word));
        wrong.extend(words.map(|word| format!("src/{name}.rs uses {word}")));
        let groups = code.lines().filter(|line| line.contains("use std::{"));
        wrong.extend(groups.map(|line| format!("src/{name}.rs: write one `use` for each module: {line}")));
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_four_rooms_name_the_sigstore_crates() {
    let mut wrong = Vec::new();
    each_file(&mut |name, _, code| {
        let named = SIGSTORE.iter().any(|own| name == *own || name.starts_with(&format!("{own}/")));
        if !named && code.match_indices("sigstore_").any(|(at, _)| is_path(&code[at..])) {
            wrong.push(format!("src/{name}.rs"));
        }
    });
    assert!(wrong.is_empty(), "these name a sigstore crate: {}", wrong.join(", "));
}

/// Whether the text starts with a name and `::`.
fn is_path(text: &str) -> bool {
    text.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').starts_with("::")
}

#[test]
fn no_file_is_longer_than_somebody_reads() {
    let mut wrong = Vec::new();
    each_file(&mut |name, text, _| {
        if text.lines().count() > LINES {
            wrong.push(format!("src/{name}.rs has {} lines", text.lines().count()));
        }
    });
    assert!(wrong.is_empty(), "split these at a second reason to change: {}", wrong.join(", "));
}

#[test]
fn the_reader_of_uses_sees_groups_and_single_names() {
    let code =
        "use crate::oci::{self, Digest};\nuse crate::{class::{Class, X}, json, lock};\nlet x = crate::audit::run();";
    assert_eq!(uses(code), ["oci", "class", "json", "lock", "audit"]);
    assert!(has_word("use tokio::net;", "tokio") && !has_word("tokio_x my_tokio", "tokio"));
}
