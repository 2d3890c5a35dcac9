//! `--help` of every command, as it was when somebody last looked at it: testdata/cli.

use crate::place::Place;
use crate::root;

/// Every command with a page of its own.
const COMMANDS: [&str; 27] = [
    "",
    "verify",
    "launch",
    "audit",
    "inspect",
    "build",
    "fetch",
    "lock",
    "init",
    "sign",
    "attest",
    "publish",
    "copy",
    "sbom",
    "diff",
    "key",
    "key generate",
    "key public",
    "policy",
    "policy check",
    "policy explain",
    "policy test",
    "policy sign",
    "trust",
    "trust show",
    "trust update",
    "doctor",
];

#[test]
fn help_is_what_was_looked_at() {
    let place = Place::new();
    let update = std::env::var_os("BULLA_UPDATE").is_some();
    let folder = root().join("testdata/cli");
    for command in COMMANDS {
        let page = place.run(&format!("bulla {command} --help"));
        let name = if command.is_empty() { "bulla".to_owned() } else { command.replace(' ', "-") };
        let file = folder.join(format!("{name}.txt"));
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &page).unwrap();
        }
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            page, known,
            "`bulla {command} --help` changed: if it should, write it anew with BULLA_UPDATE=1 cargo test --test pages"
        );
    }
}

#[test]
fn no_command_is_without_a_page() {
    let help = Place::new().run("bulla --help");
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for line in commands.lines() {
        let command = line.split_whitespace().next().unwrap();
        let known = COMMANDS.contains(&command) || ["completions", "help"].contains(&command);
        assert!(known, "{command} has no page in testdata/cli: add it to COMMANDS");
    }
}

#[test]
fn completions_are_there_for_the_shells_that_people_use() {
    let place = Place::new();
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef bulla"), ("fish", "complete -c bulla")] {
        let script = place.run(&format!("bulla completions {shell}"));
        assert!(script.contains(word) && script.contains("verify"), "{shell}");
    }
}

#[test]
fn k10_an_answer_that_nobody_can_read_is_no_success() {
    if !std::path::Path::new("/dev/full").exists() {
        println!("skipped: /dev/full");
        return;
    }
    let place = Place::new();
    for line in ["bulla --help >/dev/full", "bulla policy check >/dev/full", "bulla completions bash >/dev/full"] {
        assert!(!place.sh(line).status.success(), "{line}");
    }
}
