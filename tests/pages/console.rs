//! What pages tell people to type.
//!
//! A `console` block runs, in the order of its page. A command ends well, or with the code that `# exit N` below it
//! says; what is shown below a command is somewhere in what it says, `…` standing for anything. A `toml` block whose
//! first line is `# NAME.toml` is that file. What takes engines, archives or minutes stands in a `sh` block, if
//! something else runs it: [`ELSEWHERE`].

use crate::place::Place;
use crate::{blocks, pages, read};

/// Commands of `sh` blocks, the file that runs them, and the line there.
const ELSEWHERE: [(&str, &str, &str); 12] = [
    ("make quickstart", "Makefile", "scripts/quickstart.sh"),
    ("make test", ".ci/run", "make test"),
    ("make smoke", ".github/workflows/ci.yml", "make smoke"),
    ("make lint", ".ci/run", "make lint"),
    ("make bench", "Makefile", "$(CARGO) bench --locked"),
    ("make fuzz", ".github/workflows/ci.yml", "make fuzz RUNS="),
    ("make mutants", "Makefile", "$(CARGO) mutants"),
    ("bulla fetch base", "scripts/quickstart.sh", "bulla fetch \"$template\""),
    ("bulla build base ", "scripts/quickstart.sh", "bulla build \"$template\""),
    ("bulla launch ", "scripts/quickstart.sh", "bulla launch \"$image\""),
    ("bulla lock base", "scripts/quickstart.sh", "bulla lock \"$template\""),
    (
        "docker run --detach --name socket-proxy",
        "tests/smoke.rs",
        "\"run\", \"--detach\", \"--name\", name, \"--read-only\"",
    ),
];

#[test]
fn what_pages_tell_people_to_type_runs() {
    let mut ran = 0;
    for page in pages() {
        let blocks = blocks(&read(&page));
        if !blocks.iter().any(|block| block.language == "console") {
            continue;
        }
        let place = Place::new();
        for block in blocks {
            match block.language.as_str() {
                "console" => ran += run(&place, &block.text, &format!("{page}:{}", block.line)),
                "toml" => {
                    let name = block.text.lines().next().and_then(|line| line.strip_prefix("# "));
                    if let Some(name) = name.filter(|name| name.ends_with(".toml") && !name.contains([' ', '/'])) {
                        std::fs::write(place.path(name), &block.text).unwrap();
                    }
                }
                _ => {}
            }
        }
    }
    assert!(ran > 10, "only {ran} commands ran: are they still found?");
}

/// Runs the commands of a block; says how many there were.
fn run(place: &Place, text: &str, at: &str) -> usize {
    let mut lines = text.lines().peekable();
    let mut ran = 0;
    while let Some(line) = lines.next() {
        let first = line.strip_prefix("$ ").unwrap_or_else(|| panic!("{at}: {line:?} is below no command"));
        let mut command = first.to_owned();
        while command.ends_with('\\') {
            command.truncate(command.len() - 1);
            command.push_str(lines.next().unwrap().trim_start());
        }
        let mut expected = 0;
        let mut shown = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
            match line.strip_prefix("# exit ") {
                Some(code) => expected = code.parse().unwrap(),
                None => shown.push(line),
            }
        }
        let output = place.sh(&command);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(expected), "{at}: {command}\n{said}");
        for line in shown.iter().filter(|line| **line != "…") {
            assert!(said.lines().any(|one| fits(one, line)), "{at}: {command}\ndoes not say {line:?}, but\n{said}");
        }
        ran += 1;
    }
    ran
}

/// Whether a line is the one on the page, `…` standing for anything.
fn fits(line: &str, page: &str) -> bool {
    let mut rest = line.trim_end();
    let mut pieces = page.split('…');
    match pieces.next().and_then(|first| rest.strip_prefix(first)) {
        Some(after) => rest = after,
        None => return false,
    }
    let pieces: Vec<&str> = pieces.collect();
    for (index, piece) in pieces.iter().enumerate() {
        if index + 1 == pieces.len() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

#[test]
fn what_pages_only_show_is_run_elsewhere() {
    for page in pages().into_iter().chain(["CONTRIBUTING.md".to_owned()]) {
        for block in blocks(&read(&page)).iter().filter(|block| matches!(block.language.as_str(), "sh" | "")) {
            let text = block.text.replace("\\\n", "");
            for line in text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim_end()) {
                let runs_in = ELSEWHERE.iter().find(|(command, ..)| format!("{line} ").starts_with(command));
                assert!(line.is_empty() || runs_in.is_some(), "{page}:{}: nothing runs `{line}`", block.line);
            }
        }
    }
    for (command, file, line) in ELSEWHERE {
        assert!(read(file).contains(line), "{file} does not run `{command}` any more");
    }
}

#[test]
fn policies_on_pages_can_be_used() {
    let mut seen = 0;
    for page in pages() {
        let place = Place::new();
        place.run(
            "bulla key generate && cp bulla.pub cosign.pub && cp bulla.pub release.pub && cp bulla.pub security.pub",
        );
        let blocks = blocks(&read(&page));
        for block in blocks.iter().filter(|block| block.language == "toml" && block.text.contains("[[rule]]")) {
            // A page's trust root is a file of its reader's.
            let text = block.text.replace("\"trusted_root.json\"", "\"public-good\"");
            std::fs::write(place.path("it.toml"), text).unwrap();
            let output = place.sh("bulla policy check it.toml");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{page}:{}: {said}", block.line);
            seen += 1;
        }
    }
    assert!(seen > 3, "only {seen} policies were found");
}

#[test]
fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
    for (line, page, fit) in [
        ("ADMITTED sha256:ab linux/amd64", "ADMITTED sha256:… linux/amd64", true),
        ("ADMITTED sha256:ab linux/amd64", "ADMITTED …", true),
        ("ADMITTED sha256:ab linux/amd64", "ADMITTED sha256:…", true),
        ("ADMITTED sha256:ab linux/amd64", "ADMITTED", false),
        ("DENIED sha256:ab linux/amd64", "ADMITTED …", false),
        ("a b c", "… b …", true),
        ("a b c", "… b", false),
        ("", "", true),
    ] {
        assert_eq!(fits(line, page), fit, "{line} | {page}");
    }
}
