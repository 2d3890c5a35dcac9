//! Templates of a person's own, from the command line.

use crate::cli::Desk;

#[test]
fn init_makes_a_template_that_locks_without_a_network_and_never_writes_over_one() {
    let desk = Desk::new();
    for option in ["--templates-dir", "--templates"] {
        let name = if option == "--templates" { "one" } else { "two" };
        desk.run(&["init", name, option, "own"]).ends(0);
        let said = desk.run(&["lock", name, option, "own"]).ends(0).stderr;
        assert!(said.contains("0 inputs"), "{said}");
        desk.run(&["lock", name, option, "own", "--check"]).ends(0);
    }
    let manifest = desk.path("work/own/one/template.toml");
    let before = std::fs::read_to_string(&manifest).unwrap();
    let said = desk.run(&["init", "one", "--templates", "own"]).ends(2).stderr;
    assert!(said.contains("[USAGE template-exists]"), "{said}");
    assert_eq!(std::fs::read_to_string(&manifest).unwrap(), before);
    for name in ["base", "../x", "A", ""] {
        desk.run(&["init", name, "--templates", "own"]).ends(2);
    }
    assert!(!desk.path("work/x").exists());
    // One on top of the other, and then in a ring.
    desk.run(&["init", "three", "--base", "one", "--templates", "own"]).ends(0);
    desk.run(&["lock", "--templates", "own"]).ends(0);
    std::fs::write(&manifest, before.replace("base = \"base\"", "base = \"three\"")).unwrap();
    let said = desk.run(&["lock", "one", "--templates", "own"]).ends(3).stderr;
    assert!(said.contains("[BUILD base-ring]"), "{said}");
}

#[test]
fn a_lock_over_a_base_that_was_changed_does_not_fit() {
    let desk = Desk::new();
    desk.run(&["init", "one", "--templates", "own"]).ends(0);
    desk.run(&["init", "two", "--base", "one", "--templates", "own"]).ends(0);
    desk.run(&["lock", "--templates", "own"]).ends(0);
    let dockerfile = desk.path("work/own/one/Dockerfile");
    let text = std::fs::read_to_string(&dockerfile).unwrap();
    std::fs::write(&dockerfile, format!("{text}LABEL a=b\n")).unwrap();
    desk.run(&["lock", "one", "--templates", "own"]).ends(0);
    let said = desk.run(&["lock", "two", "--templates", "own", "--check"]).ends(1).stderr;
    assert!(said.contains("one with the lock"), "{said}");
    let said = desk.run(&["build", "two", "--templates", "own", "--offline"]).ends(3).stderr;
    assert!(said.contains("[BUILD lock-drift]"), "{said}");
}
